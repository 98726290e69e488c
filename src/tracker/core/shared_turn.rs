//! Turns of a tracker that shares its rows with others, in a database.
//!
//! **Invariant:** the changes of a turn are one serializable transaction. If the database has not
//! stored it, since another tracker has changed what it rests on, nothing of it is left here, and
//! it is carried out anew. What comes of it leaves when it is stored.
//!
//! So a change is not carried out when it comes, as it is with rows of the tracker's own, but at the
//! end of the turn, behind the questions of that turn.

use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use log::{debug, warn};

use super::{Changed, Core, SWEEP_ROWS_MAX};
use crate::directory::{Asked, Ticket};
use crate::store::Committed;
use crate::tracker::answer::with_presence;
use crate::tracker::config::TrackerError;
use crate::tracker::core::View;
use crate::tracker::presence::elsewhere::{goes_on, with_counts};
use crate::tracker::presence::{
    CANDIDATE_BYTES_MAX, PEERS_PER_ANNOUNCE_MAX, SessionKey, SwarmKey, leave_out_candidates,
};
use crate::types::limits::PEERS_PER_ANSWER_MAX;
use crate::types::{FileEntry, Refusal, Transaction, UserId};
use crate::wire::tracker::{AnnounceEntry, Reply};

/// Changes in one transaction: the more there are, the more often another tracker is in its way.
const CHANGES_MAX: usize = 128;
/// How often a transaction of several changes is tried before it is divided.
const ATTEMPTS_TOGETHER: u32 = 3;
/// How often a transaction of one change is tried.
const ATTEMPTS_MAX: u32 = 12;
/// The longest pause between two attempts, in milliseconds.
const PAUSE_MS_MAX: u64 = 200;
/// How often it is looked what the other trackers have done.
const POLL: Duration = Duration::from_millis(200);

/// A change that is to be carried out.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    /// On which session; `None` for the operator, and for the tracker itself.
    pub(super) session: Option<SessionKey>,
    /// Who asks, and what.
    pub(super) asked: Asked,
    /// Takes the outcome, if anybody waits for it; has room for it.
    pub(super) answer: Option<Sender<Changed>>,
}

impl Core {
    /// Tells whether other trackers write the same rows.
    pub(super) fn is_shared(&self) -> bool {
        self.replica.directory().rows().is_shared()
    }

    /// Carries out the changes that wait, and those that follow from them. The more often the
    /// database rolls back, the fewer are carried out at a time.
    pub(super) fn carry_out_pending(&mut self) -> Result<(), TrackerError> {
        let mut at_once = CHANGES_MAX;
        while !self.pending.is_empty() {
            let count = self.pending.len().min(at_once);
            let attempts = if count > 1 { ATTEMPTS_TOGETHER } else { ATTEMPTS_MAX };
            let changes: Vec<Pending> = self.pending.drain(..count).collect();
            let stored = self.in_transaction(attempts, |core| {
                let now_ms = core.clock.now_ms();
                changes.iter().for_each(|change| core.submit(change.clone(), now_ms));
                Ok(())
            })?;
            match stored {
                Some(transactions) => self.follow_stored(&transactions)?,
                None if count > 1 => {
                    at_once = (count / 4).max(1);
                    self.pending.splice(..0, changes);
                }
                None => {
                    // The database stores nothing now: the others would wait in vain, too.
                    let refused = changes.into_iter().chain(std::mem::take(&mut self.pending));
                    for answer in refused.filter_map(|change| change.answer) {
                        let changed = Changed { outcome: Err(Refusal::Busy), is_repeated: false };
                        self.deferred.push(Box::new(move || _ = answer.send(changed)));
                    }
                }
            }
        }
        Ok(())
    }

    /// Does something in a transaction, as often as need be; `None` if the database has not stored
    /// it.
    fn in_transaction(
        &mut self,
        attempts: u32,
        act: impl Fn(&mut Self) -> Result<(), TrackerError>,
    ) -> Result<Option<Vec<Transaction>>, TrackerError> {
        let mut reason = String::new();
        for attempt in 0..attempts {
            if attempt > 0 {
                let most = PAUSE_MS_MAX.min(1 << attempt);
                std::thread::sleep(Duration::from_millis(rand::random_range(0..=most)));
            }
            let (effects, deferred) = (self.effects.len(), self.deferred.len());
            let ticket = Ticket(self.next_ticket);
            self.replica.store_mut().begin()?;
            let mark = self.replica.mark();
            act(self)?;
            self.drain();
            let transactions = std::mem::take(&mut self.unsaved);
            self.unsaved_rows = 0;
            match self.replica.store_mut().commit(&transactions)? {
                Committed::Stored => return Ok(Some(transactions)),
                Committed::RolledBack(why) => {
                    debug!("a transaction was rolled back, attempt {}: {why}", attempt + 1);
                    self.replica.abandon(mark);
                    self.effects.truncate(effects);
                    self.deferred.truncate(deferred);
                    self.tickets.retain(|given, _| *given <= ticket);
                    reason = why;
                }
            }
        }
        if attempts == ATTEMPTS_MAX {
            warn!("the database has not stored a transaction in {attempts} attempts: {reason}");
        }
        Ok(None)
    }

    /// Deletes what is old. What could not be deleted is looked for again later.
    pub(super) fn sweep_shared(&mut self, before_ms: u64) -> Result<(), TrackerError> {
        let swept = self.in_transaction(ATTEMPTS_MAX, |core| {
            let (rows, swept) = core.replica.store_mut().old_rows(before_ms, SWEEP_ROWS_MAX)?;
            core.replica.sweep(&rows, swept, rows.len() == SWEEP_ROWS_MAX);
            Ok(())
        })?;
        swept.map_or(Ok(()), |transactions| self.follow_stored(&transactions))
    }

    /// Follows what other trackers have done to the rows since the last time.
    pub(super) fn hear_others(&mut self) -> Result<(), TrackerError> {
        if !self.is_shared() || self.polled.elapsed() < POLL {
            return Ok(());
        }
        self.polled = Instant::now();
        let changed = self.presence.take_changed();
        if !self.replica.store_mut().put_presence(&changed)? {
            self.presence.put_back(changed);
        }
        let Some(news) = self.replica.store_mut().poll()? else { return Ok(()) };
        self.replica.forget_cached();
        if !news.transactions.is_empty() {
            debug!("heard of {} transactions of other trackers", news.transactions.len());
        }
        if news.is_lost {
            warn!(
                "this tracker has missed what others have changed: {} sessions end, and come again",
                self.presence.session_count()
            );
            self.presence.end_all();
        }
        self.follow_changes(&news.transactions)?;
        // Behind the changes, which may let a session here take part.
        let stopped = self.presence.stopped_elsewhere(&news.present);
        let still_there = self.replica.directory().rows().still_there(&stopped);
        let news = news.present.iter().filter(|present| !goes_on(present, &still_there));
        news.for_each(|present| self.presence.hear_elsewhere(present));
        for (key, swarm) in self.presence.take_unnamed() {
            let rows = self.replica.directory().rows();
            let found = rows.peers_elsewhere(&[swarm], PEERS_PER_ANSWER_MAX);
            self.presence.tell_elsewhere(key, found);
        }
        Ok(())
    }
}

impl View<'_> {
    /// Fills in who is online, here and at the other trackers of the database.
    pub(crate) fn with_presence(&self, reply: Reply) -> Reply {
        let reply = with_presence(self.presence, reply);
        let rows = self.directory().rows();
        if !rows.is_shared() {
            return reply;
        }
        let swarm = |entry: &FileEntry| (entry.facts.info_hash, entry.group);
        let (mut swarms, mut users): (Vec<SwarmKey>, Vec<UserId>) = (Vec::new(), Vec::new());
        match &reply {
            Reply::Members { entries, .. } => {
                users.extend(entries.iter().map(|entry| entry.user.user));
            }
            Reply::Files { entries, .. } => swarms.extend(entries.iter().map(swarm)),
            Reply::File(entry) => swarms.push(swarm(entry)),
            Reply::Resolved(resolved) => swarms.extend(resolved.file.iter().map(swarm)),
            _ => return reply,
        }
        with_counts(&rows.count_present(&swarms, &users), reply)
    }

    /// Names the devices, too, that are present at the other trackers of the database.
    pub(crate) fn with_peers_elsewhere(
        &self,
        key: SessionKey,
        entries: &[AnnounceEntry],
        reply: Reply,
    ) -> Reply {
        let rows = self.directory().rows();
        let Reply::Peers(mut peers) = reply else { return reply };
        if rows.is_shared() {
            let announced = entries.iter().map(|entry| (entry.info_hash, entry.group));
            let swarms = self.presence.leeches_in(key, announced);
            let room = PEERS_PER_ANNOUNCE_MAX.saturating_sub(peers.len());
            let of_each = (room / swarms.len().max(1)).min(PEERS_PER_ANSWER_MAX);
            let found = rows.peers_elsewhere(&swarms, of_each);
            peers.extend(self.presence.told_elsewhere(key, found));
            let mut room = CANDIDATE_BYTES_MAX;
            leave_out_candidates(&mut peers, &mut room);
        }
        Reply::Peers(peers)
    }
}
