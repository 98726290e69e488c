//! Cancels downloads.
//!
//! **Invariant:** the engine halts a download before it is cancelled; one that the engine is
//! finishing completes instead. A cancelled download stays in the store, invisible to the user,
//! until its data is removed.

use super::input::{Answer, Command, Effect, Job, Now, Order, ReplyTo, TransferId};
use super::library::{Download, Work};
use super::refusals::{being_cancelled, complete_stays, gone, state};
use super::{Answered, DISK_TIMEOUT, Session};
use crate::client::error::ClientError;
use crate::store::Progress;
use crate::types::InfoHash;

impl Session {
    /// Cancels a download: the engine halts it, the store notes so, and then its data is removed.
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
        if self.waiting.cancels.contains_key(&info_hash) {
            return Err(being_cancelled());
        }
        let work = download.work;
        self.waiting.cancels.insert(info_hash, (reply, now.up + DISK_TIMEOUT));
        match work {
            Work::None | Work::Looking => return self.finish_cancel(info_hash, now),
            Work::Live(id) => {
                self.set_work(info_hash, Work::Halting(id));
                self.emit(Effect::Engine(Order::Halt(id, info_hash)));
            }
            // The cancellation continues when the engine has answered.
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
            match self.waiting.cancels.get(&info_hash) {
                Some((reply, _)) => self.again(*reply, Command::FinishCancel(info_hash)),
                // The deadline has passed, and the caller was told so.
                None => self.go_on_halted(info_hash),
            }
        } else {
            // It ends in a moment; then the result is known.
            self.set_work(info_hash, Work::Live(id));
            if let Some((_, at)) = self.waiting.cancels.get_mut(&info_hash) {
                *at = now.up + DISK_TIMEOUT;
            }
        }
    }

    /// The engine has halted a download: it is cancelled if a caller still waits for that.
    pub(super) fn cancel_halted(
        &mut self,
        reply: ReplyTo,
        info_hash: InfoHash,
        now: Now,
    ) -> Answered {
        match self.waiting.cancels.get(&info_hash) {
            Some((waiting, _)) if *waiting == reply => {}
            // Another caller waits for the same by now.
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
            self.waiting.cancels.remove(&info_hash);
        }
        cancelled
    }

    /// A download that was halted to be cancelled continues as before.
    pub(super) fn go_on_halted(&mut self, info_hash: InfoHash) {
        if let Some(download) = self.library.download_mut(info_hash)
            && let Work::Halting(id) = download.work
        {
            download.work = Work::Live(id);
            self.steer(info_hash);
        }
    }

    /// Notes the cancellation. The data is removed when the store has written it.
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

    /// The data of a cancelled download is removed.
    pub(super) fn removed(&mut self, info_hash: InfoHash) {
        let is_cancelled = |download: &Download| download.row.progress == Progress::Cancelled;
        match self.library.download(info_hash).map(is_cancelled) {
            Some(true) => _ = self.library.remove(info_hash),
            // It was the data of an earlier download.
            Some(false) => return,
            None => {}
        }
        self.emit(Effect::Changed(info_hash));
        let reply = self.waiting.cancels.remove(&info_hash).map(|(reply, _)| reply);
        self.answer(reply, Ok(Answer::Done));
    }

    /// The deadline of a cancellation has passed: the file system is slow, or the engine is
    /// finishing the file.
    pub(super) fn cancels_late(&mut self, info_hash: InfoHash) {
        let Some((reply, _)) = self.waiting.cancels.remove(&info_hash) else { return };
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
            // The cancellation is noted; the data is removed when the disk answers.
            _ => Ok(Answer::Done),
        };
        self.emit(Effect::Reply(reply, answer));
    }
}
