//! Begins and ends a session.
//!
//! **Invariant:** a file is offered only after its file system has confirmed that it is unchanged.
//! A file system that does not answer delays its own files only. What a session leaves unwritten is
//! written, or given up if the store refuses, before the next one begins.

use std::sync::Arc;
use std::time::Duration;

use super::input::{
    Answer, Asked, Done, Effect, Ends, Entry, Job, Now, Order, Place, ReplyTo, TransferId,
};
use super::library::{Download, Ended, Phase, Work};
use super::looks::Looks;
use super::queue::{Kept, Queue};
use super::slots::Watch;
use super::{Answered, DISK_TIMEOUT, KnownChanges, Session, Sharing, SourceQuestions};
use crate::client::error::{ClientError, SessionEnd};
use crate::client::event::ClientEvent;
use crate::store::{DownloadRow, Progress, ShareRow, ShareState};
use crate::types::{GroupId, InfoHash, Refusal, UserEntry};

/// Why files of a group that the user has left are no longer offered or fetched.
pub(super) const NO_MEMBER: &str = "you are no longer a member of the group";

/// A login whose files are being checked.
#[derive(Debug)]
pub(super) struct Entering {
    reply: Option<ReplyTo>,
    /// Shares and downloads that are not checked yet.
    left: usize,
    pub(super) deadline: Duration,
    /// Announced together: one message each would overflow a tracker's queue.
    parts: Vec<(GroupId, InfoHash)>,
}

/// A session that is ending.
#[derive(Debug)]
pub(super) struct Leaving {
    /// Waits for the end, until `deadline`.
    reply: Option<ReplyTo>,
    deadline: Duration,
    /// A login that waits for the end.
    next: Option<ReplyTo>,
    reason: Option<SessionEnd>,
    user: UserEntry,
    unfinished: usize,
    /// The engine has stopped; its last reports are still to be written.
    has_stopped: bool,
}

impl Leaving {
    /// The time at which the command is answered at the latest, if it is not yet.
    pub(super) fn answers_at(&self) -> Option<Duration> {
        self.reply.map(|_| self.deadline)
    }
}

impl Session {
    pub(super) fn reserve(&mut self, reply: ReplyTo) -> Answered {
        if let Some(leaving) = self.leaving.as_mut().filter(|leaving| leaving.next.is_none()) {
            leaving.next = Some(reply);
            return Ok(None);
        }
        match &self.library.phase {
            Phase::In(user) => Err(ClientError::AlreadyLoggedIn(user.label.clone())),
            Phase::Changing => {
                Err(ClientError::BadArgument("a login or logout is under way; wait for it".into()))
            }
            Phase::Out => {
                self.library.phase = Phase::Changing;
                Ok(Some(Answer::Done))
            }
        }
    }

    pub(super) fn release(&mut self) -> Answered {
        if self.library.phase == Phase::Changing && self.leaving.is_none() {
            self.library.phase = Phase::Out;
        }
        Ok(Some(Answer::Done))
    }

    /// Restores the user's shares and downloads from the store's rows.
    pub(super) fn enter(&mut self, reply: ReplyTo, entry: &Entry, now: Now) -> Answered {
        let kept = entry
            .queued
            .iter()
            .map(|row| (row.info_hash, Kept { place: row.place, limit: row.limit }));
        let queue = Queue::new(self.downloads_max, kept);
        self.library.begin_anew(Phase::In(entry.user.clone()), queue);
        self.tickets.open(entry.user.user, entry.device);
        self.expired_at = now.up;
        self.entering = Some(Entering {
            reply: Some(reply),
            left: 0,
            deadline: now.up + DISK_TIMEOUT,
            parts: Vec::new(),
        });
        let mut looks: Vec<Arc<ShareRow>> = Vec::new();
        for row in &entry.shares {
            let row = Arc::new(row.clone());
            self.library.restore_share(row.clone(), false);
            if row.state == ShareState::Stopped {
                continue;
            }
            if entry.is_member(row.group) {
                looks.push(row);
            } else {
                self.tell_not_offered(&row, NO_MEMBER.into());
            }
        }
        for row in &entry.downloads {
            self.restore_download(row, entry.is_member(row.group), now);
        }
        for (group, label) in entry.mine.iter().flatten() {
            if self.library.group_label(*group).is_some_and(|known| known != *label) {
                self.library.relabel(*group, label);
            }
        }
        self.looks.begin(&looks, now);
        if !looks.is_empty() {
            self.look(looks.len(), Job::LookAtShares(looks));
        }
        self.enter_if_looked(now);
        Ok(None)
    }

    fn restore_download(&mut self, row: &DownloadRow, is_member: bool, now: Now) {
        let info_hash = row.facts.info_hash;
        let mut restored = Download::new(row.clone());
        match row.progress {
            Progress::Running if is_member => {
                (restored.work, restored.queued) = (Work::Looking, true);
                let row = restored.row.clone();
                self.library.restore(restored);
                self.look(1, Job::LookAtDownload(row));
            }
            Progress::Running => {
                self.library.restore(restored);
                self.halt(info_hash, Progress::Failed(NO_MEMBER.into()), now);
            }
            Progress::Cancelled => {
                let row = restored.row.clone();
                self.library.restore(restored);
                self.emit(Effect::Job(Job::Remove(None, row)));
            }
            Progress::Paused(_) | Progress::Failed(_) | Progress::Complete => {
                restored.settled = true;
                self.library.restore(restored);
            }
        }
    }

    fn look(&mut self, count: usize, job: Job) {
        if let Some(entering) = &mut self.entering {
            entering.left += count;
        }
        self.emit(Effect::Job(job));
    }

    /// A job on a file system is done.
    pub(super) fn job_done(&mut self, done: Done, now: Now) {
        match done {
            Done::Begun(id, info_hash, result) => self.begun(id, info_hash, result, now),
            Done::Removed(info_hash) => self.removed(info_hash),
            Done::Shares(looked) => {
                let (count, mut offered) = (looked.len(), Vec::new());
                for (row, looked) in looked {
                    offered.extend(self.share_looked_at(&row, looked, now));
                }
                self.looked(count, offered, now);
            }
            Done::Download(row, place) => {
                // Before `looked`, which opens the queue after the last of them.
                self.download_looked_at(&row, place, now);
                self.looked(1, Vec::new(), now);
            }
            Done::Compared(row, result) => self.compared(&row, result, now),
            Done::EngineStopped => {
                if let Some(leaving) = &mut self.leaving {
                    leaving.has_stopped = true;
                }
            }
        }
    }

    /// Counts checked shares and downloads of a login, which may have been answered already.
    fn looked(&mut self, count: usize, offered: Vec<(GroupId, InfoHash)>, now: Now) {
        match &mut self.entering {
            Some(entering) => {
                entering.left = entering.left.saturating_sub(count);
                entering.parts.extend(offered);
                self.enter_if_looked(now);
            }
            None => self.announce(offered, now),
        }
    }

    fn enter_if_looked(&mut self, now: Now) {
        if self.entering.as_ref().is_some_and(|entering| entering.left == 0) {
            self.end_entering(now);
        }
    }

    /// A file system does not answer in time: the login continues without it.
    pub(super) fn enter_late(&mut self, now: Now) {
        let waits = |share: &super::library::Share| {
            !share.offered && share.row.state != ShareState::Stopped
        };
        let late: Vec<Arc<ShareRow>> = self
            .library
            .shares
            .values()
            .filter(|share| waits(share))
            .map(|share| share.row.clone())
            .collect();
        if let Some(first) = late.first() {
            let others = match late.len() - 1 {
                0 => String::new(),
                count => format!(" (and {count} more)"),
            };
            let reason = format!(
                "it is still being checked: its disk is slow, or does not answer; it is offered \
                 after the check{others}"
            );
            self.tell_not_offered(first, reason);
        }
        self.end_entering(now);
    }

    fn end_entering(&mut self, now: Now) {
        let Some(entering) = self.entering.take() else { return };
        self.library.queue.open();
        self.fill_slots(now);
        let downloads: Vec<(GroupId, InfoHash)> = self
            .library
            .downloads()
            .filter(|download| download.takes_part())
            .map(|download| (download.row.group, download.info_hash()))
            .collect();
        self.announce(entering.parts.into_iter().chain(downloads), now);
        self.tickets.look_now(now.up);
        if let Some(reply) = entering.reply {
            self.emit(Effect::Reply(reply, Ok(Answer::Done)));
        }
    }

    /// Ends the session, links first. From then on no ticket is valid, and no link is accepted.
    pub(super) fn leave(
        &mut self,
        reply: ReplyTo,
        reason: Option<SessionEnd>,
        now: Now,
    ) -> Answered {
        let user = self.need_user()?.clone();
        let unfinished = self
            .library
            .downloads()
            .filter(|download| download.row.progress == Progress::Running)
            .count();
        self.library.phase = Phase::Changing;
        self.leaving = Some(Leaving {
            reply: Some(reply),
            deadline: now.up + DISK_TIMEOUT,
            next: None,
            reason,
            user,
            unfinished,
            has_stopped: false,
        });
        self.emit(Effect::Engine(Order::EndLinks(Ends::All)));
        self.emit(Effect::Job(Job::StopEngine));
        Ok(None)
    }

    /// A thread of the engine waits for a disk: the user need not.
    pub(super) fn leaves_late(&mut self) {
        let reply = self.leaving.as_mut().and_then(|leaving| leaving.reply.take());
        self.answer(reply, Ok(Answer::Done));
    }

    /// Tells whether the session is ending and its engine has stopped.
    pub(super) fn is_ending(&self) -> bool {
        self.leaving.as_ref().is_some_and(|leaving| leaving.has_stopped)
    }

    /// Drops the session's state, once the last facts are written or the store has failed to.
    pub(super) fn end_if_ending(&mut self) {
        let Some(leaving) = self.leaving.take_if(|leaving| leaving.has_stopped) else { return };
        let Leaving { reply, next, reason, user, unfinished, .. } = leaving;
        let over = || Err(Refusal::LoginFirst.into());
        for beginner in self.library.downloads().filter_map(|download| download.beginner) {
            self.out.push_back(Effect::Reply(beginner, over()));
        }
        let phase = if next.is_some() { Phase::Changing } else { Phase::Out };
        self.library.begin_anew(phase, Queue::default());
        self.library.ended = reason.map(|reason| Ended { reason, unfinished });
        self.committed = self.library.clone();
        self.tickets.clear();
        self.book.clear();
        self.withdrawn.clear();
        self.reports.clear();
        self.waiting.begins.clear();
        self.known = KnownChanges::default();
        self.source_questions = SourceQuestions::default();
        self.sharing = Sharing::default();
        self.watch = Watch::default();
        self.looks = Looks::default();
        for (_, (reply, _)) in self.waiting.cancels.drain() {
            self.out.push_back(Effect::Reply(reply, over()));
        }
        for (_, reply) in self.waiting.tickets.drain(..) {
            self.out.push_back(Effect::Reply(reply, Ok(Answer::Ticket(None))));
        }
        if let Some(reply) = self.entering.take().and_then(|entering| entering.reply) {
            self.out.push_back(Effect::Reply(reply, over()));
        }
        // Requests of this session must not reach the next one.
        self.inbox.retain(|input| !is_of_session(input));
        self.out.push_back(Effect::SessionEnded);
        if let Some(reason) = reason {
            let UserEntry { user: user_id, label: user } = user;
            self.out.push_back(Effect::Tell(ClientEvent::SessionEnded { user, user_id, reason }));
        }
        for reply in reply.into_iter().chain(next) {
            self.out.push_back(Effect::Reply(reply, Ok(Answer::Done)));
        }
    }

    pub(super) fn tell_not_offered(&mut self, row: &ShareRow, reason: String) {
        self.emit(Effect::Tell(ClientEvent::ShareNotOffered {
            group: row.group_label.clone(),
            group_id: row.group,
            file: row.label.clone(),
            id: row.facts.info_hash,
            path: row.path.clone(),
            reason,
        }));
    }

    fn download_looked_at(&mut self, row: &Arc<DownloadRow>, place: Place, now: Now) {
        let info_hash = row.facts.info_hash;
        let is_it = |download: &&Download| {
            download.work == Work::Looking && download.row.target == row.target
        };
        let Some(download) = self.library.download(info_hash).filter(is_it) else { return };
        if download.row.progress != Progress::Running {
            // It was paused meanwhile, or has failed.
            return self.set_work(info_hash, Work::None);
        }
        match place {
            Place::TargetThere => {
                // The client was killed between renaming the file and writing that it is complete.
                let is_shared = self
                    .library
                    .share(row.group, info_hash)
                    .is_some_and(|share| share.offered && share.row.path == row.target);
                if is_shared {
                    self.complete(info_hash, None, now);
                } else {
                    self.emit(Effect::Job(Job::Compare(row.clone())));
                }
            }
            Place::Missing(reason) => {
                self.set_work(info_hash, Work::None);
                self.halt(info_hash, Progress::Paused(Some(reason)), now);
            }
            Place::Fine => {
                self.set_work(info_hash, Work::None);
                self.run(info_hash, None, now);
            }
        }
    }

    /// The engine has completed a download, but the session has not received its report: checks the
    /// file.
    pub(super) fn look_again(&mut self, info_hash: InfoHash, id: TransferId) {
        self.emit(Effect::Engine(Order::Forget(id)));
        self.set_work(info_hash, Work::Looking);
        let row = self.library.download(info_hash).map(|download| download.row.clone());
        if let Some(row) = row {
            self.emit(Effect::Job(Job::LookAtDownload(row)));
        }
    }

    pub(super) fn set_work(&mut self, info_hash: InfoHash, work: Work) {
        if let Some(download) = self.library.download_mut(info_hash) {
            download.work = work;
        }
    }
}

impl Entry {
    /// Tells whether the user is in that group; true if no tracker has answered.
    fn is_member(&self, group: GroupId) -> bool {
        self.mine.as_ref().is_none_or(|mine| mine.contains_key(&group))
    }
}

/// Tells whether an input belongs to the session that was open when it was made.
fn is_of_session(input: &super::input::Input) -> bool {
    use super::input::Input;
    matches!(
        input,
        Input::Asked(Asked::Share(..) | Asked::Sources { .. })
            | Input::Done(_)
            | Input::Pulses(_)
            | Input::FileChanged { .. }
            | Input::Halted(..)
    )
}
