//! Begins, pauses and resumes downloads.
//!
//! **Invariant:** a user has at most one download of a content, and at most one that writes a file.
//! The store has it before the engine begins it. If the engine refuses it, the earlier state is
//! restored.

use std::sync::Arc;

use super::input::{Answer, Begin, Command, Effect, Input, Job, Now, Order, ReplyTo, TransferId};
use super::library::{Download, Work};
use super::refusals::{being_cancelled, complete_already, gone, state, taken, waits_already};
use super::{Answered, DISK_TIMEOUT, Session};
use crate::client::error::ClientError;
use crate::store::{DownloadRow, Progress};
use crate::swarm::{DownloadSpec, SeedSpec};
use crate::types::{GroupId, InfoHash, Rate, Refusal, VerifiedPieces};

/// The verified pieces for the engine: none if the download has no `.part` of its own yet, else the
/// stored journal, or an empty one.
fn journal(row: &DownloadRow) -> Option<VerifiedPieces> {
    let none = || VerifiedPieces::none(row.facts.piece_count());
    row.part.map(|_| row.verified.clone().unwrap_or_else(none))
}

impl Session {
    /// Reserves a content and a target path for a download that is about to begin.
    pub(super) fn claim(&mut self, row: &DownloadRow) -> Answered {
        self.need_user()?;
        let info_hash = row.facts.info_hash;
        let is_claimed = self.library.claims.contains_key(&info_hash)
            || self.library.claims.values().any(|target| *target == row.target);
        if is_claimed {
            return Err(state("it is being begun already; wait for that"));
        }
        if self.waiting.cancels.contains_key(&info_hash) {
            return Err(being_cancelled());
        }
        let old = self.library.download(info_hash);
        match old.map(|old| &old.row.progress) {
            Some(Progress::Running) if old.is_some_and(|old| old.row.target == row.target) => {
                // Another command has just begun it.
                return Ok(old.map(|old| Answer::Running(old.row.clone())));
            }
            Some(Progress::Running | Progress::Paused(_)) => {
                return Err(old.map_or_else(gone, |old| taken(&old.row)));
            }
            Some(Progress::Cancelled) => return Err(being_cancelled()),
            Some(Progress::Failed(_) | Progress::Complete) | None => {}
        }
        self.refuse_rival(row)?;
        let is_failed = |old: &&Download| matches!(old.row.progress, Progress::Failed(_));
        let failed = old.filter(is_failed).map(|old| (old.row.clone(), old.transfer()));
        let other_version = self.library.other_version(row).map(Download::info_hash);
        if let Some((_, Some(id))) = failed {
            // The new download takes over its data.
            self.emit(Effect::Engine(Order::Release(id)));
            self.set_work(info_hash, Work::None);
        }
        self.library.claims.insert(info_hash, row.target.clone());
        Ok(Some(Answer::Claimed { failed: failed.map(|(row, _)| row), other_version }))
    }

    /// Begins a reserved download. It replaces a complete or failed one of the same content.
    pub(super) fn begin(&mut self, reply: ReplyTo, begin: &Begin, now: Now) -> Answered {
        let (row, info_hash) = (&begin.row, begin.row.facts.info_hash);
        self.need_claim(row)?;
        self.library.claims.remove(&info_hash);
        self.refuse_rival(row)?;
        self.drop_stale(info_hash, &begin.stale, now);
        let known = self.library.download(info_hash).map(|before| before.row.clone());
        let before = known.or_else(|| begin.before.clone().map(Arc::new));
        let begun_ms = self.library.queue.stamp(row.begun_ms);
        let row = DownloadRow { begun_ms, ..row.clone() };
        self.library.push(Download { before, ..Download::new(row) });
        Ok(self.run(info_hash, Some(reply), now))
    }

    /// The target file exists and matches the content: it counts as downloaded.
    pub(super) fn adopt(
        &mut self,
        row: &DownloadRow,
        seed: &SeedSpec,
        stale: &[GroupId],
        now: Now,
    ) -> Answered {
        self.need_claim(row)?;
        let info_hash = row.facts.info_hash;
        self.library.claims.remove(&info_hash);
        self.drop_stale(info_hash, stale, now);
        if let Some(failed) = self.library.download(info_hash).filter(|d| d.row.part.is_some()) {
            let row = failed.row.clone();
            self.emit(Effect::Job(Job::Remove(None, row)));
        }
        let begun_ms = self.library.queue.stamp(row.begun_ms);
        let row = DownloadRow { progress: Progress::Running, begun_ms, ..row.clone() };
        self.library.push(Download::new(row));
        self.complete(info_hash, Some(seed), now);
        Ok(Some(Answer::Done))
    }

    fn need_claim(&self, row: &DownloadRow) -> Result<(), ClientError> {
        let user = self.need_user()?;
        // Another session may have begun meanwhile.
        match user.user == row.user && self.library.claims.contains_key(&row.facts.info_hash) {
            true => Ok(()),
            false => Err(Refusal::LoginFirst.into()),
        }
    }

    fn refuse_rival(&self, row: &DownloadRow) -> Result<(), ClientError> {
        self.library.rival(row).map_or(Ok(()), |rival| {
            let (group, file) = (&rival.group_label, &rival.label);
            Err(state(&format!(
                "{file} in {group} is being downloaded to that place; name another destination"
            )))
        })
    }

    /// Stops offering shares of this content whose file is gone or has changed: the new download
    /// does not rest on them.
    fn drop_stale(&mut self, info_hash: InfoHash, stale: &[GroupId], now: Now) {
        if stale.is_empty() {
            return;
        }
        stale.iter().for_each(|group| _ = self.library.set_offered(*group, info_hash, false));
        self.emit(Effect::Engine(Order::Unseed(info_hash)));
        self.announce(stale.iter().map(|group| (*group, info_hash)), now);
    }

    /// Puts a download into the queue: it runs, or waits for a slot.
    pub(super) fn run(
        &mut self,
        info_hash: InfoHash,
        reply: Option<ReplyTo>,
        now: Now,
    ) -> Option<Answer> {
        let (begun_ms, group) = {
            let download = self.library.download(info_hash)?;
            (download.row.begun_ms, download.row.group)
        };
        self.library.forget_end(info_hash);
        let has_slot = self.library.queue.enter(info_hash, begun_ms);
        if let Some(download) = self.library.download_mut(info_hash) {
            download.queued = !has_slot;
        }
        let answer = if has_slot {
            self.go(info_hash, reply, now)
        } else {
            self.steer(info_hash);
            Some(Answer::Done)
        };
        self.announce([(group, info_hash)], now);
        self.emit(Effect::Changed(info_hash));
        answer
    }

    /// A download has a slot: the engine begins or resumes it.
    pub(super) fn go(
        &mut self,
        info_hash: InfoHash,
        reply: Option<ReplyTo>,
        now: Now,
    ) -> Option<Answer> {
        self.want_sources(info_hash, now);
        let download = self.library.download(info_hash)?;
        if download.work != Work::None {
            self.steer(info_hash);
            return Some(Answer::Done);
        }
        let row = download.row.clone();
        self.last_transfer += 1;
        let id = TransferId(self.last_transfer);
        let spec = DownloadSpec {
            id,
            facts: row.facts.clone(),
            target: row.target.clone(),
            part: row.part.and_then(|part| part.file()),
            metainfo: None,
            chain: None,
            verified: journal(&row),
            paused: false,
        };
        let limit = self.library.queue.limit(info_hash);
        if let Some(download) = self.library.download_mut(info_hash) {
            (download.work, download.beginner) = (Work::Beginning(id), reply);
        }
        self.waiting.begins.push_back((now.up + DISK_TIMEOUT, info_hash, id));
        self.emit(Effect::Job(Job::Begin(id, Box::new(spec), limit)));
        None
    }

    /// Sends the download's state to the engine, if the engine has it.
    pub(super) fn steer(&mut self, info_hash: InfoHash) {
        let Some(download) = self.library.download(info_hash) else { return };
        let Work::Live(id) = download.work else { return };
        let order = match download.row.progress {
            Progress::Running if download.queued => Order::Shelve(id),
            Progress::Running => Order::Run(id),
            Progress::Paused(_) | Progress::Failed(_) => Order::Pause(id),
            Progress::Complete | Progress::Cancelled => return,
        };
        let is_run = matches!(order, Order::Run(_));
        self.emit(Effect::Engine(order));
        if is_run {
            // Those that have been found meanwhile; without a tracker nobody else names them.
            self.name_peers(info_hash);
        }
    }

    /// Tells the engine which devices take part in a download's swarms.
    fn name_peers(&mut self, info_hash: InfoHash) {
        let Some(download) = self.library.download(info_hash) else { return };
        let mut groups = vec![download.row.group];
        groups.extend(self.library.sources_of(info_hash));
        let peers = self.book.peers_in(info_hash, &groups);
        if !peers.is_empty() {
            self.emit(Effect::Engine(Order::AddPeers(info_hash, peers)));
        }
    }

    /// The engine has begun a download, or has refused it.
    pub(super) fn begun(
        &mut self,
        id: TransferId,
        info_hash: InfoHash,
        result: Result<(), String>,
        now: Now,
    ) {
        let is_it = |download: &&Download| download.work == Work::Beginning(id);
        let Some(download) = self.library.download(info_hash).filter(is_it) else {
            // It was cancelled or replaced meanwhile.
            if result.is_ok() {
                self.emit(Effect::Engine(Order::Release(id)));
            }
            return;
        };
        let (beginner, before) = (download.beginner, download.before.clone());
        let group = download.row.group;
        if let Some(download) = self.library.download_mut(info_hash) {
            (download.beginner, download.before) = (None, None);
            download.work = if result.is_ok() { Work::Live(id) } else { Work::None };
        }
        match (result, beginner) {
            (Ok(()), beginner) => {
                if self.waiting.cancels.contains_key(&info_hash) {
                    self.set_work(info_hash, Work::Halting(id));
                    self.emit(Effect::Engine(Order::Halt(id, info_hash)));
                } else if !self.library.download(info_hash).is_some_and(Download::is_let_run) {
                    self.steer(info_hash);
                }
                self.name_peers(info_hash);
                self.answer(beginner, Ok(Answer::Done));
            }
            (Err(reason), Some(_)) => {
                self.library.queue.leave(info_hash);
                match before {
                    Some(before) => {
                        self.library.restore_row(&before);
                        if let Some(download) = self.library.download_mut(info_hash) {
                            download.settled = download.row.progress == Progress::Complete;
                        }
                    }
                    None => _ = self.library.remove(info_hash),
                }
                self.announce([(group, info_hash)], now);
                self.emit(Effect::Changed(info_hash));
                self.answer(beginner, Err(state(&reason)));
            }
            (Err(reason), None) => self.halt(info_hash, Progress::Failed(reason), now),
        }
        if self.library.download(info_hash).is_none_or(|download| download.work == Work::None)
            && let Some((reply, _)) = self.waiting.cancels.remove(&info_hash)
        {
            self.again(reply, Command::Cancel(info_hash));
        }
    }

    /// The file system is slow to begin a download: the caller is answered now.
    pub(super) fn begins_late(&mut self, info_hash: InfoHash, id: TransferId, now: Now) {
        let is_it = |download: &&mut Download| download.work == Work::Beginning(id);
        let Some(download) = self.library.download_mut(info_hash).filter(is_it) else { return };
        let beginner = download.beginner.take();
        self.watch.late.insert(id);
        // It gives its slot up at the next check, if others wait.
        self.pulses_at = self.pulses_at.min(now.up);
        self.answer(beginner, Ok(Answer::Done));
    }

    /// Takes the caller that waits for the engine to begin a download.
    pub(super) fn take_beginner(&mut self, info_hash: InfoHash) -> Option<ReplyTo> {
        self.library.download_mut(info_hash)?.beginner.take()
    }

    pub(super) fn answer(&mut self, reply: Option<ReplyTo>, answer: Result<Answer, ClientError>) {
        if let Some(reply) = reply {
            self.emit(Effect::Reply(reply, answer));
        }
    }

    /// Plans a command again in the next turn.
    pub(super) fn again(&mut self, reply: ReplyTo, command: Command) {
        self.inbox.push_front(Input::Command(reply, command));
    }

    pub(super) fn pause(&mut self, info_hash: InfoHash, now: Now) -> Answered {
        self.need_user()?;
        let download = self.library.download(info_hash).ok_or_else(gone)?;
        match &download.row.progress {
            Progress::Running => {}
            Progress::Complete => return Err(complete_already()),
            Progress::Paused(_) => return Err(state("the download is paused already")),
            Progress::Failed(_) => {
                return Err(state("the download has failed; resume_download tries again"));
            }
            Progress::Cancelled => return Err(gone()),
        }
        let group = download.row.group;
        self.library.change(info_hash, |row| row.progress = Progress::Paused(None));
        self.leave_slot(info_hash);
        self.steer(info_hash);
        self.announce([(group, info_hash)], now);
        self.emit(Effect::Changed(info_hash));
        Ok(Some(Answer::Done))
    }

    pub(super) fn resume(&mut self, reply: ReplyTo, info_hash: InfoHash, now: Now) -> Answered {
        self.need_user()?;
        let download = self.library.download(info_hash).ok_or_else(gone)?;
        match &download.row.progress {
            Progress::Paused(_) | Progress::Failed(_) => {}
            Progress::Running if download.queued => {
                let place = self.library.queue.place_of(info_hash).unwrap_or(1);
                return Err(waits_already(place));
            }
            Progress::Running => return Err(state("the download is running already")),
            Progress::Complete => return Err(complete_already()),
            Progress::Cancelled => return Err(gone()),
        }
        if self.library.claims.contains_key(&info_hash) {
            return Err(state("it is being begun already; wait for that"));
        }
        self.refuse_rival(&download.row.clone())?;
        let before = (download.work == Work::None).then(|| download.row.clone());
        self.library.change(info_hash, |row| row.progress = Progress::Running);
        if let Some(download) = self.library.download_mut(info_hash) {
            download.before = before;
        }
        Ok(self.run(info_hash, Some(reply), now))
    }

    pub(super) fn limit(&mut self, info_hash: InfoHash, rate: Option<Rate>) -> Answered {
        let transfer = self.need_unfinished(info_hash)?;
        self.library.queue.set_limit(info_hash, rate);
        self.library.touch_queued(info_hash);
        if let Some(id) = transfer {
            self.emit(Effect::Engine(Order::Limit(id, rate)));
        }
        Ok(Some(Answer::Done))
    }

    pub(super) fn prioritize(&mut self, info_hash: InfoHash, now: Now) -> Answered {
        self.need_unfinished(info_hash)?;
        let moved = self.library.queue.prioritize(info_hash).ok_or_else(|| {
            state("the download neither runs nor waits; resume_download goes on with it")
        })?;
        self.library.touch_queued(info_hash);
        self.displace(moved.displaced, now);
        Ok(Some(Answer::Done))
    }

    fn need_unfinished(&self, info_hash: InfoHash) -> Result<Option<TransferId>, ClientError> {
        self.need_user()?;
        let download = self.library.download(info_hash).ok_or_else(gone)?;
        match download.row.progress {
            Progress::Complete => Err(complete_already()),
            Progress::Cancelled => Err(gone()),
            _ => Ok(download.transfer()),
        }
    }
}
