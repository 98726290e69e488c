//! Dispatches commands.

use super::input::{Answer, Command, Effect, Now, ReplyTo};
use super::library::Phase;
use super::{Answered, Session};
use crate::client::error::ClientError;
use crate::types::{Refusal, UserEntry};

impl Session {
    /// Carries out a command. It is answered now or later, once.
    pub(super) fn command(&mut self, reply: ReplyTo, command: &Command, now: Now) {
        let answer = match command {
            Command::Reserve => self.reserve(reply),
            Command::Release => self.release(),
            Command::Enter(entry) => self.enter(reply, entry, now),
            Command::Leave(reason) => self.leave(reply, *reason, now),
            Command::Claim(row) => self.claim(row),
            Command::Unclaim(info_hash) => {
                self.library.claims.remove(info_hash);
                done()
            }
            Command::Begin(begin) => self.begin(reply, begin, now),
            Command::Adopt(row, seed, stale) => self.adopt(row, seed, stale, now),
            Command::Pause(info_hash) => self.pause(*info_hash, now),
            Command::Resume(info_hash) => self.resume(reply, *info_hash, now),
            Command::Cancel(info_hash) => self.cancel(reply, *info_hash, now),
            Command::FinishCancel(info_hash) => self.cancel_halted(reply, *info_hash, now),
            Command::Prioritize(info_hash) => self.prioritize(*info_hash, now),
            Command::Limit(info_hash, rate) => self.limit(*info_hash, *rate),
            Command::DownloadsMax(max) => {
                self.downloads_max = *max;
                let displaced = self.library.queue.set_max(*max);
                self.displace(displaced, now);
                done()
            }
            Command::PutShare(row) => self.put_share(row),
            Command::ShareTaken(row) => self.share_taken(reply, row, now),
            Command::ShareNotTaken { row, before, is_refused } => {
                self.share_not_taken(row, before.as_deref(), *is_refused)
            }
            Command::EndVersion { group, facts, reason } => {
                self.end_version(*group, facts, now);
                if let Some(reason) = reason {
                    self.end_download_of(*group, facts.id(), facts.info_hash, reason, now);
                }
                self.answered_written.push(reply);
                Ok(None)
            }
            Command::ExpectRemoval(group, info_hash, file) => {
                self.expect_removal(*group, *info_hash, *file);
                done()
            }
            Command::UnexpectRemoval(group, info_hash) => {
                self.known.removals.remove(&(*group, *info_hash));
                done()
            }
            Command::ExpectLeaving(group) => {
                self.expect_leaving(*group);
                done()
            }
            Command::UnexpectLeaving(group) => {
                self.unexpect_leaving(*group);
                done()
            }
            Command::Left(group) => {
                self.end_membership(*group, false, now);
                done()
            }
            Command::Relabel(group, label) => {
                self.library.relabel(*group, label);
                done()
            }
            Command::OwnVoid(until_ms) => {
                if let Some(user) = self.library.user().map(|user| user.user)
                    && self.tickets.void(None, user, *until_ms, now.up)
                {
                    self.tickets.look_now(now.up);
                }
                done()
            }
        };
        match answer {
            Ok(None) => {}
            Ok(Some(answer)) => self.emit(Effect::Reply(reply, Ok(answer))),
            Err(error) => self.emit(Effect::Reply(reply, Err(error))),
        }
    }

    /// The store has failed, and the command's changes are undone: undoes its earlier preparations,
    /// too. Returns the caller if it has no answer yet.
    pub(super) fn cannot_store(&mut self, reply: ReplyTo, command: &Command) -> Option<ReplyTo> {
        let info_hash = match command {
            Command::Cancel(info_hash) | Command::FinishCancel(info_hash) => info_hash,
            // It is not begun: it can be claimed again.
            Command::Begin(begin) => {
                self.library.claims.remove(&begin.row.facts.info_hash);
                return Some(reply);
            }
            Command::Adopt(row, ..) => {
                self.library.claims.remove(&row.facts.info_hash);
                return Some(reply);
            }
            _ => return Some(reply),
        };
        let waits =
            self.waiting.cancels.get(info_hash).is_some_and(|(waiting, _)| *waiting == reply);
        if waits {
            self.waiting.cancels.remove(info_hash);
            self.go_on_halted(*info_hash);
        }
        waits.then_some(reply)
    }

    /// The session's user; an error if no user is logged in.
    pub(super) fn need_user(&self) -> Result<&UserEntry, ClientError> {
        match &self.library.phase {
            Phase::In(user) => Ok(user),
            Phase::Out | Phase::Changing => Err(Refusal::LoginFirst.into()),
        }
    }
}

fn done() -> Answered {
    Ok(Some(Answer::Done))
}
