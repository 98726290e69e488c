//! Ends downloads: complete, failed, or paused by the engine.
//!
//! **Invariant:** a complete download is a share before it counts as ended; every end is reported
//! once.

use std::sync::Arc;

use super::Session;
use super::input::{Answer, Ask, Command, Effect, EngineNews, Now, Order, TransferId};
use super::library::{Download, Work};
use super::refusals::complete_stays;
use crate::client::event::ClientEvent;
use crate::store::{DownloadRow, OwnPart, Progress, ShareRow, ShareState, Write};
use crate::swarm::SeedSpec;
use crate::types::InfoHash;

/// Completed downloads that are reported to the directory at the same time.
const SHARING_MAX: usize = 16;

impl Session {
    /// The engine reports on a download.
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
                    let is_noted = |download: &Download| download.row.part == part;
                    if !self.library.download(info_hash).is_some_and(is_noted)
                        || !self.library.is_written(info_hash)
                    {
                        self.library.change(info_hash, |row| row.part = part);
                    }
                }
                self.answered_written.push(reply);
            }
            EngineNews::Metainfo(reply, metainfo) => {
                self.library.write(Write::Metainfo(metainfo));
                self.answered_written.push(reply);
            }
            EngineNews::Chain(values) => self.library.write(Write::Chain(info_hash, values)),
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
            if let Some(chain) = &seed.chain {
                self.library.write(Write::Chain(info_hash, chain.clone()));
            }
            self.keep_share(&row, seed);
        }
        if let Some((reply, _)) = self.waiting.cancels.remove(&info_hash) {
            self.emit(Effect::Reply(reply, Err(complete_stays())));
        }
        self.sharing.due.insert((row.group, info_hash));
        self.emit(Effect::Changed(info_hash));
    }

    /// Makes a share of a completed download. A share that is offered from another path stays.
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

    /// After a login, the file at a download's target path was compared with the content.
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

    /// A download fails or pauses for a reason, not at the user's request.
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
        // The engine may have been told to run it before this report arrived.
        self.steer(info_hash);
        self.announce([(group, info_hash)], now);
        self.tell_end(info_hash);
        let is_halting = |download: &Download| matches!(download.work, Work::Halting(_));
        if !self.library.download(info_hash).is_some_and(is_halting)
            && let Some((reply, _)) = self.waiting.cancels.remove(&info_hash)
        {
            self.again(reply, Command::Cancel(info_hash));
        }
    }

    /// The directory has answered about a completed download, or could not be asked: it counts as
    /// complete.
    pub(super) fn settle(&mut self, info_hash: InfoHash) {
        let is_it = |d: &&mut Download| d.row.progress == Progress::Complete && !d.settled;
        let Some(download) = self.library.download_mut(info_hash).filter(is_it) else { return };
        download.settled = true;
        self.tell_end(info_hash);
    }

    /// Reports that a download has ended, or has paused for a reason.
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

    /// Tells whether another completed download can be reported to the directory.
    pub(super) fn has_to_share(&self) -> bool {
        !self.sharing.due.is_empty() && self.sharing.under_way.len() < SHARING_MAX
    }

    /// Reports completed downloads to the directory, several at a time.
    pub(super) fn share_on(&mut self) {
        while self.has_to_share() {
            let Some(key) = self.sharing.due.pop_first() else { return };
            let pending = self
                .library
                .share(key.0, key.1)
                .filter(|share| share.row.state == ShareState::Pending && share.offered)
                .map(|share| share.row.clone());
            match pending {
                Some(row) => {
                    self.sharing.under_way.insert(key);
                    // A removal that a tracker reports from now on is another one.
                    self.known.removals.remove(&key);
                    self.emit(Effect::Ask(Ask::Share(row)));
                }
                None => self.settle(key.1),
            }
        }
    }

    pub(super) fn leave_slot(&mut self, info_hash: InfoHash) {
        // When it resumes, its sources are asked for again.
        self.source_questions.due.remove(&info_hash);
        self.library.queue.leave(info_hash);
        if let Some(download) = self.library.download_mut(info_hash) {
            download.queued = false;
        }
    }
}
