//! Downloads: how they are begun, paused, resumed, cancelled, and how they end.
//!
//! **Invariant:** a user has at most one download of a content, and one that makes a file. It is in
//! the store before the engine begins. What the engine refuses leaves everything as it was. A
//! download is gone once its data is: a cancelled one stays in the store until then, unseen.

use std::sync::Arc;

use super::input::{
    Answer, Ask, Begin, Command, Effect, EngineNews, Input, Job, Now, Order, ReplyTo, TransferId,
};
use super::library::{Download, Work};
use super::{Answered, DISK_TIMEOUT, Session};
use crate::client::error::ClientError;
use crate::client::event::ClientEvent;
use crate::store::{DownloadRow, OwnPart, Progress, ShareRow, ShareState, Write};
use crate::swarm::{DownloadSpec, SeedSpec};
use crate::types::{Bitfield, Geometry, GroupId, InfoHash, Rate, Refusal};

/// Completed downloads of which the directory is told at the same time.
const SHARING_MAX: usize = 16;

/// What the engine is told to be there of a download: nothing, as long as it has no `.part` of its
/// own; else a journal, if an empty one.
fn journal(row: &DownloadRow) -> Option<Bitfield> {
    let pieces = || {
        Geometry::new(row.facts.len, row.facts.piece_len)
            .map_or(0, |geometry| geometry.piece_count())
    };
    row.part.map(|_| row.verified.clone().unwrap_or_else(|| Bitfield::empty(pieces())))
}

impl Session {
    /// Claims a content and a place for a download that is about to be begun.
    pub(super) fn claim(&mut self, row: &DownloadRow) -> Answered {
        self.need_user()?;
        let info_hash = row.facts.info_hash;
        let is_claimed = self.library.claims.contains_key(&info_hash)
            || self.library.claims.values().any(|target| *target == row.target);
        if is_claimed {
            return Err(state("it is being begun already; wait for that"));
        }
        if self.cancels.contains_key(&info_hash) {
            return Err(being_cancelled());
        }
        let old = self.library.download(info_hash);
        match old.map(|old| &old.row.progress) {
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
            // What it has fetched is the new one's.
            self.emit(Effect::Engine(Order::Release(id)));
            self.set_work(info_hash, Work::None);
        }
        self.library.claims.insert(info_hash, row.target.clone());
        Ok(Some(Answer::Claimed { failed: failed.map(|(row, _)| row), other_version }))
    }

    /// Begins a download whose content and place are claimed. It takes the place of one of the same
    /// content that is complete or has failed.
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

    /// The file is there and was compared: it counts as downloaded.
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

    /// Shares of this content whose file is gone or has changed are offered no more: what is begun
    /// now has nothing to do with them.
    fn drop_stale(&mut self, info_hash: InfoHash, stale: &[GroupId], now: Now) {
        if stale.is_empty() {
            return;
        }
        stale.iter().for_each(|group| _ = self.library.set_offered(*group, info_hash, false));
        self.emit(Effect::Engine(Order::Unseed(info_hash)));
        self.announce(stale.iter().map(|group| (*group, info_hash)), now);
    }

    /// A download is to run: it does from now on, or waits for a slot.
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

    /// A download has a slot: the engine begins it, or goes on with it.
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
            verified: journal(&row),
            paused: false,
        };
        let limit = self.library.queue.limit(info_hash);
        if let Some(download) = self.library.download_mut(info_hash) {
            (download.work, download.beginner) = (Work::Beginning(id), reply);
        }
        self.begins.push_back((now.up + DISK_TIMEOUT, info_hash, id));
        self.emit(Effect::Job(Job::Begin(id, Box::new(spec), limit)));
        None
    }

    /// Has the engine do what is noted here, if it has the download.
    pub(super) fn steer(&mut self, info_hash: InfoHash) {
        let Some(download) = self.library.download(info_hash) else { return };
        let Work::Live(id) = download.work else { return };
        let order = match download.row.progress {
            Progress::Running if download.queued => Order::Shelve(id),
            Progress::Running => Order::Run(id),
            Progress::Paused(_) | Progress::Failed(_) => Order::Pause(id),
            Progress::Complete | Progress::Cancelled => return,
        };
        self.emit(Effect::Engine(order));
    }

    /// The engine has begun a download, or refuses to.
    pub(super) fn begun(
        &mut self,
        id: TransferId,
        info_hash: InfoHash,
        result: Result<(), String>,
        now: Now,
    ) {
        let is_it = |download: &&Download| download.work == Work::Beginning(id);
        let Some(download) = self.library.download(info_hash).filter(is_it) else {
            // It was given up meanwhile.
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
                if self.cancels.contains_key(&info_hash) {
                    self.set_work(info_hash, Work::Halting(id));
                    self.emit(Effect::Engine(Order::Halt(id, info_hash)));
                } else if !self.library.download(info_hash).is_some_and(Download::is_let_run) {
                    self.steer(info_hash);
                }
                let mut groups = vec![group];
                groups.extend(self.library.sources_of(info_hash));
                let peers = self.book.peers_in(info_hash, &groups);
                if !peers.is_empty() {
                    self.emit(Effect::Engine(Order::AddPeers(info_hash, peers)));
                }
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
            && let Some((reply, _)) = self.cancels.remove(&info_hash)
        {
            self.again(reply, Command::Cancel(info_hash));
        }
    }

    /// The file system takes its time over a download that somebody waits for.
    pub(super) fn begins_late(&mut self, info_hash: InfoHash, id: TransferId, now: Now) {
        let is_it = |download: &&mut Download| download.work == Work::Beginning(id);
        let Some(download) = self.library.download_mut(info_hash).filter(is_it) else { return };
        let beginner = download.beginner.take();
        self.watch.late.insert(id);
        // It gives its slot up at the next look, if others wait.
        self.pulses_at = self.pulses_at.min(now.up);
        self.answer(beginner, Ok(Answer::Done));
    }

    /// Who waits for the engine to begin a download, to be answered now.
    fn take_beginner(&mut self, info_hash: InfoHash) -> Option<ReplyTo> {
        self.library.download_mut(info_hash)?.beginner.take()
    }

    fn answer(&mut self, reply: Option<ReplyTo>, answer: Result<Answer, ClientError>) {
        if let Some(reply) = reply {
            self.emit(Effect::Reply(reply, answer));
        }
    }

    /// Has a command planned in the next turn.
    fn again(&mut self, reply: ReplyTo, command: Command) {
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

    /// Gives a download up: the engine halts it, the store notes so, and then its data is removed.
    pub(super) fn cancel(&mut self, reply: ReplyTo, info_hash: InfoHash, now: Now) -> Answered {
        self.need_user()?;
        let download = self.library.download(info_hash).ok_or_else(gone)?;
        match &download.row.progress {
            Progress::Complete => return Err(complete_stays()),
            Progress::Cancelled => return Err(gone()),
            Progress::Running | Progress::Paused(_) | Progress::Failed(_) => {}
        }
        if self.library.claims.contains_key(&info_hash) {
            return Err(state("it is being begun; cancel it when it runs"));
        }
        if self.cancels.contains_key(&info_hash) {
            return Err(being_cancelled());
        }
        let work = download.work;
        self.cancels.insert(info_hash, (reply, now.up + DISK_TIMEOUT));
        match work {
            Work::None | Work::Looking => return self.finish_cancel(info_hash, now),
            Work::Live(id) => {
                self.set_work(info_hash, Work::Halting(id));
                self.emit(Effect::Engine(Order::Halt(id, info_hash)));
            }
            // When it is known whether the engine has it.
            Work::Beginning(_) | Work::Halting(_) => {}
        }
        Ok(None)
    }

    /// The engine has halted a download that is to be cancelled, or is finishing it.
    pub(super) fn halted_for_cancel(
        &mut self,
        id: TransferId,
        info_hash: InfoHash,
        has_halted: bool,
        now: Now,
    ) {
        let is_it = |download: &&Download| download.work == Work::Halting(id);
        if self.library.download(info_hash).filter(is_it).is_none() {
            return;
        }
        if has_halted {
            match self.cancels.get(&info_hash) {
                Some((reply, _)) => self.again(*reply, Command::FinishCancel(info_hash)),
                // It took too long, and the user was told so.
                None => self.go_on_halted(info_hash),
            }
        } else {
            // It ends in a moment, and then it is known how.
            self.set_work(info_hash, Work::Live(id));
            if let Some((_, at)) = self.cancels.get_mut(&info_hash) {
                *at = now.up + DISK_TIMEOUT;
            }
        }
    }

    /// The engine has halted a download: it is given up, if that is waited for still.
    pub(super) fn cancel_halted(
        &mut self,
        reply: ReplyTo,
        info_hash: InfoHash,
        now: Now,
    ) -> Answered {
        match self.cancels.get(&info_hash) {
            Some((waiting, _)) if *waiting == reply => {}
            // Another one waits for the same by now.
            Some((waiting, _)) => {
                self.again(*waiting, Command::FinishCancel(info_hash));
                return Ok(None);
            }
            None => {
                self.go_on_halted(info_hash);
                return Ok(None);
            }
        }
        let cancelled = self.finish_cancel(info_hash, now);
        if cancelled.is_err() {
            self.cancels.remove(&info_hash);
        }
        cancelled
    }

    /// A download that was halted to be cancelled goes on as it was.
    pub(super) fn go_on_halted(&mut self, info_hash: InfoHash) {
        if let Some(download) = self.library.download_mut(info_hash)
            && let Work::Halting(id) = download.work
        {
            download.work = Work::Live(id);
            self.steer(info_hash);
        }
    }

    /// Notes that a download is given up; its data is removed when the store has it.
    pub(super) fn finish_cancel(&mut self, info_hash: InfoHash, now: Now) -> Answered {
        let download = self.library.download(info_hash).ok_or_else(gone)?;
        let (transfer, group) = (download.transfer(), download.row.group);
        self.library.change(info_hash, |row| row.progress = Progress::Cancelled);
        self.leave_slot(info_hash);
        self.set_work(info_hash, Work::None);
        let beginner = self.take_beginner(info_hash);
        self.answer(beginner, Err(state("it was cancelled")));
        let row = self.library.download(info_hash).map(|download| download.row.clone());
        if let Some(row) = row {
            self.emit(Effect::Job(Job::Remove(transfer, row)));
        }
        self.withdraw(group, [info_hash], now);
        self.emit(Effect::Changed(info_hash));
        Ok(None)
    }

    /// A cancelled download's data is gone.
    pub(super) fn removed(&mut self, info_hash: InfoHash) {
        let is_cancelled = |download: &Download| download.row.progress == Progress::Cancelled;
        match self.library.download(info_hash).map(is_cancelled) {
            Some(true) => _ = self.library.remove(info_hash),
            // What an earlier one left was removed.
            Some(false) => return,
            None => {}
        }
        self.emit(Effect::Changed(info_hash));
        let reply = self.cancels.remove(&info_hash).map(|(reply, _)| reply);
        self.answer(reply, Ok(Answer::Done));
    }

    /// The file system takes its time over a cancelled download, or the engine finishes it.
    pub(super) fn cancels_late(&mut self, info_hash: InfoHash) {
        let Some((reply, _)) = self.cancels.remove(&info_hash) else { return };
        let answer = match self.library.download(info_hash) {
            Some(download) if download.row.progress != Progress::Cancelled => {
                Err(match download.work {
                    Work::Beginning(_) | Work::Looking => ClientError::path(
                        &download.row.target,
                        "its disk does not answer; cancel the download again when it does",
                    ),
                    Work::None | Work::Live(_) | Work::Halting(_) => {
                        state("the file is being finished; cancel it again if it does not complete")
                    }
                })
            }
            // It is noted; its data goes when the disk answers.
            _ => Ok(Answer::Done),
        };
        self.emit(Effect::Reply(reply, answer));
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

    /// The engine tells of a download.
    pub(super) fn engine_told(
        &mut self,
        id: TransferId,
        info_hash: InfoHash,
        news: EngineNews,
        now: Now,
    ) {
        let is_known = self.library.of_transfer(info_hash, id).is_some();
        match news {
            EngineNews::Opened(reply, part) => {
                if is_known {
                    let part = Some(OwnPart::File(part));
                    if self.library.download(info_hash).is_some_and(|d| d.row.part != part) {
                        self.library.change(info_hash, |row| row.part = part);
                    }
                }
                self.emit(Effect::Reply(reply, Ok(Answer::Done)));
            }
            EngineNews::Metainfo(reply, metainfo) => {
                self.library.write(Write::Metainfo(metainfo));
                self.answer(reply, Ok(Answer::Done));
            }
            _ if !is_known => {}
            EngineNews::Journal(verified) => {
                self.library.change(info_hash, |row| row.verified = Some(verified));
            }
            EngineNews::Completed(seed) => self.complete(info_hash, Some(&seed), now),
            EngineNews::Failed(reason) => self.halt(info_hash, Progress::Failed(reason), now),
            EngineNews::Paused(reason) => {
                self.halt(info_hash, Progress::Paused(Some(reason)), now);
            }
        }
    }

    /// A download is complete: it becomes a share, first here, then in the directory.
    pub(super) fn complete(&mut self, info_hash: InfoHash, seed: Option<&SeedSpec>, now: Now) {
        let Some(download) = self.library.download(info_hash) else { return };
        let (transfer, row) = (download.transfer(), download.row.clone());
        self.library.change(info_hash, |row| row.progress = Progress::Complete);
        if let Some(download) = self.library.download_mut(info_hash) {
            (download.work, download.queued, download.settled) = (Work::None, false, false);
        }
        let beginner = self.take_beginner(info_hash);
        self.answer(beginner, Ok(Answer::Done));
        if let Some(id) = transfer {
            self.emit(Effect::Engine(Order::Forget(id)));
        }
        if self.library.queue.kept(info_hash).is_some() {
            self.library.touch_queued(info_hash);
        }
        self.library.queue.forget(info_hash);
        self.leave_sources(info_hash, now);
        if let Some(seed) = seed {
            self.library.write(Write::Metainfo(seed.metainfo.clone()));
            self.keep_share(&row, seed);
        }
        if let Some((reply, _)) = self.cancels.remove(&info_hash) {
            self.emit(Effect::Reply(reply, Err(complete_stays())));
        }
        self.to_share.insert((row.group, info_hash));
        self.emit(Effect::Changed(info_hash));
    }

    /// The share that a file which came from the group becomes; one that is offered from elsewhere
    /// already stays so.
    fn keep_share(&mut self, row: &DownloadRow, seed: &SeedSpec) {
        let before = self.library.share(row.group, row.facts.info_hash);
        if before.is_some_and(|before| before.offered) {
            return;
        }
        let share = ShareRow {
            user: row.user,
            group: row.group,
            group_label: row.group_label.clone(),
            label: row.label.clone(),
            facts: row.facts.clone(),
            path: seed.path.clone(),
            stamp: seed.stamp,
            state: ShareState::Pending,
        };
        self.library.put_share(share, true);
    }

    /// The file at the place of a download was compared after a login.
    pub(super) fn compared(
        &mut self,
        row: &Arc<DownloadRow>,
        result: Result<Box<SeedSpec>, String>,
        now: Now,
    ) {
        let info_hash = row.facts.info_hash;
        let is_it = |download: &&Download| {
            download.work == Work::Looking && download.row.target == row.target
        };
        let Some(download) = self.library.download(info_hash).filter(is_it) else { return };
        let runs = download.row.progress == Progress::Running;
        self.set_work(info_hash, Work::None);
        if !runs {
            return;
        }
        match result {
            Ok(seed) => self.complete(info_hash, Some(&seed), now),
            Err(reason) => self.halt(info_hash, Progress::Failed(reason), now),
        }
    }

    /// A download has stopped by itself, or is stopped by what others did.
    pub(super) fn halt(&mut self, info_hash: InfoHash, progress: Progress, now: Now) {
        let Some(download) = self.library.download(info_hash) else { return };
        if matches!(download.row.progress, Progress::Complete | Progress::Cancelled) {
            return;
        }
        let group = download.row.group;
        self.library.change(info_hash, |row| row.progress = progress);
        self.leave_slot(info_hash);
        let beginner = self.take_beginner(info_hash);
        self.answer(beginner, Ok(Answer::Done));
        // It may have been set going again before this was heard.
        self.steer(info_hash);
        self.announce([(group, info_hash)], now);
        self.tell_end(info_hash);
        let is_halting = |download: &Download| matches!(download.work, Work::Halting(_));
        if !self.library.download(info_hash).is_some_and(is_halting)
            && let Some((reply, _)) = self.cancels.remove(&info_hash)
        {
            self.again(reply, Command::Cancel(info_hash));
        }
    }

    /// The directory has been told of a completed download, or not: now it counts as complete.
    pub(super) fn settle(&mut self, info_hash: InfoHash) {
        let is_it = |d: &&mut Download| d.row.progress == Progress::Complete && !d.settled;
        let Some(download) = self.library.download_mut(info_hash).filter(is_it) else { return };
        download.settled = true;
        self.tell_end(info_hash);
    }

    /// Tells where a download has ended, or that it has paused itself.
    fn tell_end(&mut self, info_hash: InfoHash) {
        let Some(download) = self.library.download(info_hash) else { return };
        let row = download.row.clone();
        self.last_end += 1;
        self.library.note_end(info_hash, self.last_end);
        self.emit(Effect::Changed(info_hash));
        let (group, file, path) = (row.group_label.clone(), row.label.clone(), row.target.clone());
        let (group_id, id) = (row.group, info_hash);
        let event = match &row.progress {
            Progress::Complete => ClientEvent::DownloadComplete { group, group_id, file, id, path },
            Progress::Failed(reason) => {
                ClientEvent::DownloadFailed { group, group_id, file, id, reason: reason.clone() }
            }
            Progress::Paused(Some(reason)) => {
                ClientEvent::DownloadPaused { group, group_id, file, id, reason: reason.clone() }
            }
            Progress::Paused(None) | Progress::Running | Progress::Cancelled => return,
        };
        self.emit(Effect::Tell(event));
    }

    /// Tells whether the directory can be told of a completed download.
    pub(super) fn has_to_share(&self) -> bool {
        !self.to_share.is_empty() && self.sharing.len() < SHARING_MAX
    }

    /// Has the directory told of completed downloads, several at a time.
    pub(super) fn share_on(&mut self) {
        while self.has_to_share() {
            let Some(key) = self.to_share.pop_first() else { return };
            let pending = self
                .library
                .share(key.0, key.1)
                .filter(|share| share.row.state == ShareState::Pending && share.offered)
                .map(|share| share.row.clone());
            match pending {
                Some(row) => {
                    self.sharing.insert(key);
                    self.emit(Effect::Ask(Ask::Share(row)));
                }
                None => self.settle(key.1),
            }
        }
    }

    pub(super) fn leave_slot(&mut self, info_hash: InfoHash) {
        // When it goes on, its sources are asked for anew.
        self.sources_due.remove(&info_hash);
        self.library.queue.leave(info_hash);
        if let Some(download) = self.library.download_mut(info_hash) {
            download.queued = false;
        }
    }
}

/// Says in what state a download cannot do what was asked.
pub(crate) fn state(text: &str) -> ClientError {
    ClientError::DownloadState(text.into())
}

/// No such download is known; who asked fills its names in.
pub(crate) fn gone() -> ClientError {
    ClientError::NoSuchDownload { group: String::new(), file: String::new() }
}

pub(crate) fn complete_already() -> ClientError {
    state("the download is complete already")
}

pub(crate) fn complete_stays() -> ClientError {
    state("the download is complete; the file stays, stop_share stops offering it")
}

fn being_cancelled() -> ClientError {
    state("the download is being cancelled; try again in a moment")
}

fn waits_already(place: usize) -> ClientError {
    state(&format!(
        "the download waits for others to end, at place {place} of the queue; prioritize lets it go first"
    ))
}

pub(crate) fn taken(row: &DownloadRow) -> ClientError {
    let place = row.target.display();
    state(&format!(
        "this content is being downloaded to {place} already; cancel_download that one first"
    ))
}
