//! Turns: the session plans the inputs that have arrived, writes them in one transaction, and then
//! commits them.
//!
//! **Invariant:** while a turn waits for the store, no other turn is planned. If the store fails,
//! the turn's commands have changed nothing and are answered with the error. Its facts count all
//! the same, and are written again later. A command that writes nothing does not fail with the
//! others.
//!
//! Facts go before commands of the same turn. To undo commands, the library from before them is
//! restored; keeping it costs a few pointers.
//!
//! A turn that changes nothing but what the next login would find out again is not written: that
//! goes with the next turn that is, or follows within [`LATER`].

use std::sync::Arc;
use std::time::Duration;

use super::input::{Answer, Asked, Command, Effect, Ends, Input, Now, Order, ReplyTo};
use super::news::News;
use super::{Planning, Session, is_fact};
use crate::client::error::ClientError;
use crate::store::StoreError;

/// Inputs of one turn: bounds a transaction, and how long its first input waits for the others.
const INPUTS_MAX: usize = 512;
/// Pause before a failed write is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long a change that nothing waits for is not written, if no other is.
const LATER: Duration = Duration::from_secs(1);

/// A turn that waits for the store.
#[derive(Debug)]
pub(super) struct Turn {
    number: u64,
    /// Effects of facts that wait for the store.
    told: Vec<Effect>,
    commands: Vec<(ReplyTo, Command)>,
    /// Facts that are answered when they are written, or with the store's error.
    answered_written: Vec<ReplyTo>,
    /// Effects of the commands.
    effects: Vec<Effect>,
}

impl Session {
    /// Takes an input. Revocations end links now, also while a turn waits for the store.
    pub(crate) fn input(&mut self, input: Input, now: Now) {
        match input {
            Input::Stored(number, result) => self.stored(number, result, now),
            Input::Tick => {}
            Input::WantTicket(reply, group) => self.ticket_wanted(reply, group, now),
            Input::Asked(Asked::Tickets { groups, passed, deadline, given }) => {
                self.tickets_given(groups, passed, deadline, given, now);
            }
            Input::KeysChanged(change, keys) => self.keys_changed(change, &keys, now),
            Input::Found(found) => self.take_found(found),
            Input::News(news) => {
                if let Some(fact) = self.news_at_once(news, now) {
                    self.inbox.push_back(Input::News(fact));
                }
            }
            other => {
                if let Input::Command(_, Command::Leave(Some(_))) = other
                    && self.library.user().is_some()
                {
                    // The session is over: links end before the store answers.
                    self.out.push_back(Effect::Engine(Order::EndLinks(Ends::All)));
                }
                self.inbox.push_back(other);
                return;
            }
        }
        self.has_new_view = true;
    }

    /// Plans the inputs that have arrived, unless a turn waits for the store.
    pub(crate) fn advance(&mut self, now: Now) {
        self.at_times(now);
        while self.turn.is_none() && self.is_due(now) {
            self.plan(now);
        }
    }

    fn is_due(&self, now: Now) -> bool {
        let times = [self.retry_at, self.planned_at()];
        !self.inbox.is_empty()
            || self.has_to_share()
            || times.into_iter().flatten().any(|at| at <= now.up)
    }

    /// Plans one turn.
    fn plan(&mut self, now: Now) {
        let count = self.inbox.len().min(INPUTS_MAX);
        let (mut facts, mut commands) = (Vec::new(), Vec::new());
        for input in self.inbox.drain(..count) {
            match input {
                Input::Command(reply, command) if !is_fact(&command) => {
                    commands.push((reply, command))
                }
                fact => facts.push(fact),
            }
        }
        if !self.revoked.is_empty() {
            let waits = |input: &Input| match input {
                Input::News(News::Removed(group)) => Some(*group),
                _ => None,
            };
            self.revoked = self.inbox.iter().filter_map(waits).collect();
        }
        let is_retry = self.retry_at.take_if(|at| *at <= now.up).is_some();
        let written = self.library.touches();
        self.planning = Planning::Facts;
        facts.into_iter().for_each(|fact| self.fact(fact, now));
        self.at_planned_times(now);
        self.fill_slots(now);
        let told = std::mem::take(&mut self.held);
        let answered_written = std::mem::take(&mut self.answered_written);
        self.committed = self.library.clone();
        self.has_new_view = true;
        self.planning = Planning::Commands;
        for (reply, command) in &commands {
            self.command(*reply, command, now);
        }
        self.fill_slots(now);
        let effects = std::mem::take(&mut self.held);
        self.planning = Planning::Nothing;
        let is_to_store = is_retry
            || self.library.touches() != written
            || self.is_ending() && self.library.is_dirty();
        let turn = Turn { number: self.last_store + 1, told, commands, answered_written, effects };
        if !is_to_store || !self.library.is_dirty() {
            if self.library.is_dirty() {
                self.retry_at.get_or_insert(now.up + LATER);
            }
            return self.commit(turn);
        }
        self.last_store = turn.number;
        self.out.push_back(Effect::Store(turn.number, self.library.writes()));
        self.turn = Some(turn);
    }

    /// The store has answered for a turn.
    fn stored(&mut self, number: u64, result: Result<(), Arc<StoreError>>, now: Now) {
        let Some(turn) = self.turn.take_if(|turn| turn.number == number) else { return };
        match result {
            Ok(()) => {
                self.library.written();
                self.retry_at = None;
                self.commit(turn);
            }
            Err(error) => self.undo(turn, &error, now),
        }
    }

    /// The planned state becomes the committed state.
    fn commit(&mut self, turn: Turn) {
        self.has_new_view = true;
        self.committed = self.library.clone();
        self.out.extend(turn.told);
        let done = |reply| Effect::Reply(reply, Ok(Answer::Done));
        self.out.extend(turn.answered_written.into_iter().map(done));
        self.out.extend(turn.effects);
        self.end_if_ending();
    }

    /// Nothing was written. Undoes the commands, and carries out again those that write nothing.
    fn undo(&mut self, turn: Turn, error: &Arc<StoreError>, now: Now) {
        self.has_new_view = true;
        self.library = self.committed.clone();
        self.retry_at = self.library.is_dirty().then(|| now.up + RETRY_AFTER);
        self.out.extend(turn.told);
        let failed = |reply| Effect::Reply(reply, Err(ClientError::Store(error.clone())));
        self.out.extend(turn.answered_written.into_iter().map(failed));
        for (reply, command) in &turn.commands {
            let before = self.library.clone();
            if let Command::Cancel(info_hash) = command
                && self.waiting.cancels.get(info_hash).is_some_and(|(waiting, _)| waiting == reply)
            {
                // `command` below plans the cancellation again, and would refuse a second one.
                self.waiting.cancels.remove(info_hash);
            }
            self.planning = Planning::Commands;
            self.command(*reply, command, now);
            self.fill_slots(now);
            let effects = std::mem::take(&mut self.held);
            self.planning = Planning::Nothing;
            if self.library.touches() == before.touches() {
                self.out.extend(effects);
            } else {
                self.library = before;
                if let Some(reply) = self.cannot_store(*reply, command) {
                    let error = ClientError::Store(error.clone());
                    self.out.push_back(Effect::Reply(reply, Err(error)));
                }
            }
        }
        self.committed = self.library.clone();
        self.end_if_ending();
    }

    /// Applies a fact.
    fn fact(&mut self, fact: Input, now: Now) {
        match fact {
            Input::Command(reply, command) => self.command(reply, &command, now),
            Input::News(News::Removed(group)) => self.end_membership(group, true, now),
            Input::News(News::FileRemoved(removed)) => self.file_removed(&removed, now),
            Input::News(News::ShareStopped(group, info_hash)) => {
                self.share_stopped(group, info_hash, now);
            }
            Input::News(News::Admitted(entry)) => self.admitted(&entry),
            Input::Trackers(network, addresses) => {
                self.library.note_trackers(network, addresses);
            }
            Input::News(other) => drop(self.news_at_once(other, now)),
            Input::Engine(id, info_hash, news) => self.engine_told(id, info_hash, news, now),
            Input::FileChanged { info_hash, path, is_gone } => {
                self.file_changed(info_hash, &path, is_gone, now);
            }
            Input::LookAtShares => self.look_soon(now),
            Input::Halted(id, info_hash, has_halted) => {
                self.halted_for_cancel(id, info_hash, has_halted, now);
            }
            Input::Asked(Asked::Share(row, told)) => self.share_told(&row, told, now),
            Input::Asked(Asked::Sources { wanted, found }) => {
                self.sources_told(&wanted, found.as_deref(), now);
            }
            Input::Done(done) => self.job_done(done, now),
            Input::Pulses(pulses) => self.take_pulses(&pulses, now),
            Input::Asked(Asked::Tickets { .. })
            | Input::WantTicket(..)
            | Input::KeysChanged(..)
            | Input::Found(_)
            | Input::Stored(..)
            | Input::Tick => {}
        }
    }
}
