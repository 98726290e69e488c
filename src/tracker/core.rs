//! The one thread that owns the directory: takes inputs, applies a batch of them, makes it durable,
//! and only then answers.
//!
//! **Invariant:** nothing leaves the tracker, be it an answer to a change, to a question, or a
//! message to another tracker, that rests on rows which are not on the disk.
//!
//! A turn: wait for an input; take what else is there, up to a bound; apply it in order; one
//! record of the journal for all changes of the turn; [`Replica::persisted`]; then the answers and
//! messages. So the more there is to do, the more changes share one wait for the disk. The store's
//! writer moves what is in the journal to the tables meanwhile. The core blocks on nothing but the
//! disk: answers go into channels with room for them, events into
//! [`Outbox`](super::outbox::Outbox)es.
//!
//! **A disk that fails** or is full ends the tracker. What has been applied and is not on the disk
//! cannot be kept, and must not be served either: so nothing of the turn is answered, every
//! connection is closed, and the program ends with an error. Clients turn to another tracker, under
//! the same request ids; after a restart this tracker fetches what it missed.

mod queue;
mod shared_turn;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, Sender};
use log::{error, info, warn};

pub(crate) use self::queue::{Changed, CoreHandle, Input, Owed, StoredDirectory, View};
use self::queue::{Deferred, Inputs};
use self::shared_turn::Pending;
use super::audit::note_of_order;
use super::clock::Clock;
use super::config::TrackerError;
use super::link::Links;
use super::presence::{Presence, Replaced};
use super::replicator;
use super::shared::{Others, Shared};
use super::sink::LinkSink;
use crate::directory::{Asked, LinkId, Notice, Output, Replica, Ticket};
use crate::store::{StoreError, TrackerStore};
use crate::types::{
    Change, Content, Order, Refusal, RequestId, RequestStamp, RotationStage, Stamp, Transaction,
    UserId,
};
use crate::wire::tracker::Event;

/// Inputs of one turn: bounds how long the first of them waits for its answer.
const TURN_INPUTS_MAX: usize = 512;
/// Rows of one turn after which no more inputs are taken: bounds the transaction.
const TURN_ROWS_MAX: usize = 16_384;
/// Rows deleted at once for their age: bounds how long the core is busy with it.
const SWEEP_ROWS_MAX: usize = 1_000;
/// How often time passes for the replica.
const TICK: Duration = Duration::from_millis(100);
/// How often members are told that their groups have changed.
const TELL_CHANGES: Duration = Duration::from_secs(1);
/// Time for changes under way when the tracker stops.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(1500);

/// What happens when the turn is durable. Links come and go in the same order as what is sent to
/// them, so that nothing meant for a link reaches the one that took its place.
enum Effect {
    Output(Output),
    AddLink(LinkId, LinkSink),
    RemoveLink(LinkId),
}

/// The core's state; lives on its thread.
pub(crate) struct Core {
    shared: Arc<Shared>,
    replica: Replica<TrackerStore>,
    presence: Presence,
    clock: Clock,
    links: Links,
    next_ticket: u64,
    /// Who is to be told, and whether the request was on record.
    tickets: HashMap<Ticket, (Sender<Changed>, bool)>,
    /// Applied, not yet durable.
    unsaved: Vec<Transaction>,
    unsaved_rows: usize,
    /// What happens when the turn is durable.
    effects: Vec<Effect>,
    /// Changes that are carried out at the end of the turn, where trackers share the rows.
    pending: Vec<Pending>,
    /// When it was last looked what the other trackers have done to the rows.
    polled: Instant,
    deferred: Vec<Deferred>,
    ticked: Instant,
    told_changes: Instant,
    /// Since when some other tracker is not up.
    degraded_since: Option<Instant>,
    stop_by: Option<Instant>,
    /// The last to go: who waits hears of the end when nothing more can come.
    inputs: Inputs,
    /// What is committed is to go to the tables.
    is_flush_due: bool,
    /// Who has asked for that in this turn.
    asking_for_flush: Vec<Sender<()>>,
    /// Who waits until what was committed then is in the tables: the earliest first.
    waiting_for_flush: VecDeque<(u64, Sender<()>)>,
    /// Is ready when that may be.
    moves: Receiver<Result<(), StoreError>>,
    /// Something was made durable since the last tick.
    has_written: bool,
    /// Why the tracker cannot go on, found out in this turn.
    failure: Option<TrackerError>,
}

impl Core {
    /// Puts the core together around what the store holds.
    pub(crate) fn new(
        shared: Arc<Shared>,
        inputs: Inputs,
        mut replica: Replica<TrackerStore>,
    ) -> Self {
        let mut presence = Presence::default();
        if replica.directory().rows().is_shared() {
            presence.share();
        }
        Self {
            inputs,
            moves: replica.store_mut().moves(),
            replica,
            presence,
            clock: Clock::new(shared.limits.clock_offset_ms),
            links: Links::new(shared.clone()),
            shared,
            next_ticket: 0,
            tickets: HashMap::new(),
            unsaved: Vec::new(),
            unsaved_rows: 0,
            effects: Vec::new(),
            pending: Vec::new(),
            polled: Instant::now(),
            deferred: Vec::new(),
            ticked: Instant::now(),
            told_changes: Instant::now(),
            degraded_since: None,
            stop_by: None,
            is_flush_due: false,
            asking_for_flush: Vec::new(),
            waiting_for_flush: VecDeque::new(),
            has_written: false,
            failure: None,
        }
    }

    /// Works until told to stop.
    ///
    /// # Errors
    /// [`TrackerError::Store`] when the disk fails.
    ///
    /// # Blocking
    /// Until stopped; belongs on a thread of its own.
    pub(crate) fn run(mut self) -> Result<(), TrackerError> {
        self.follow_settings();
        self.failure.take().map_or(Ok(()), Err)?;
        // The first question is not answered from before it was asked.
        self.replica.store_mut().check()?;
        loop {
            if let Some(input) = self.next() {
                // With shared rows all questions of a turn are answered as of its beginning: what
                // was asked later waits for the next one.
                let most = if self.is_shared() { self.inputs.queue.len() } else { usize::MAX };
                self.take(input);
                self.take_more(most);
            }
            if self.ticked.elapsed() >= TICK {
                self.ticked = Instant::now();
                let now_ms = self.clock.now_ms();
                self.replica.tick(now_ms);
                if self.told_changes.elapsed() >= TELL_CHANGES {
                    self.told_changes = Instant::now();
                    self.presence.tell_changes();
                }
                #[cfg(feature = "later-version")]
                if !self.is_shared() {
                    self.act_as_later(now_ms);
                }
                self.drain();
                self.hear_others()?;
                let is_degraded = self.replica.is_degraded();
                let since = self.degraded_since.unwrap_or(self.ticked);
                self.degraded_since = is_degraded.then_some(since);
                // While nothing is written, so that questions need not wait for it.
                self.is_flush_due |= !std::mem::take(&mut self.has_written);
            }
            self.commit()?;
            if self.stop_by.is_some_and(|by| self.tickets.is_empty() || Instant::now() >= by) {
                break;
            }
        }
        info!("telling {} sessions that this tracker ends", self.presence.session_count());
        self.presence.broadcast(Event::Closing);
        self.presence.let_out();
        Ok(self.replica.store_mut().close()?)
    }

    /// Does what this version does not know: now and then a row of another kind, an event, a frame.
    #[cfg(feature = "later-version")]
    fn act_as_later(&mut self, now_ms: u64) {
        use crate::wire::later::TAG;
        if now_ms % 1000 < TICK.as_millis() as u64 {
            self.replica.write_later_row(now_ms, TAG);
            self.presence.broadcast(Event::Unknown { tag: TAG });
        }
    }

    /// Waits for an input, for the next tick, or until the store has moved something.
    fn next(&self) -> Option<Input> {
        if let Ok(input) = self.inputs.queue.try_recv() {
            return Some(input);
        }
        let mut either = Select::new();
        either.recv(&self.inputs.queue);
        either.recv(&self.moves);
        // Then it is time for the tick.
        let _ = either.ready_timeout(TICK.saturating_sub(self.ticked.elapsed()));
        self.inputs.queue.try_recv().ok()
    }

    fn take_more(&mut self, most: usize) {
        for _ in 1..TURN_INPUTS_MAX.min(most.saturating_add(1)) {
            if self.unsaved_rows >= TURN_ROWS_MAX {
                return;
            }
            match self.inputs.queue.try_recv() {
                Ok(input) => self.take(input),
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, input: Input) {
        let now_ms = self.clock.now_ms();
        match input {
            Input::Change { session, asked, answer } => {
                self.place(Pending { session, asked, answer: Some(answer) }, now_ms);
            }
            Input::Ask(question) => {
                let answer = question(&mut View {
                    replica: &self.replica,
                    presence: &mut self.presence,
                    now_ms,
                    degraded_since: self.degraded_since,
                });
                self.deferred.push(answer);
            }
            Input::LinkUp { link, lineage, greeting, sink } => {
                self.effects.push(Effect::AddLink(link, sink));
                self.replica.connected(now_ms, link, &lineage);
                if let (LinkId::To(number), Some((durable, is_empty))) = (link, greeting) {
                    self.drain();
                    self.replica.greeted(now_ms, number, durable, is_empty);
                }
            }
            Input::LinkDown(link) => {
                self.effects.push(Effect::RemoveLink(link));
                self.replica.disconnected(now_ms, link);
            }
            Input::LinkSaid(link, message) => self.replica.handle(now_ms, link, message),
            Input::KeyReplaced(ended) => {
                let noted = self.shared.keys.note_ended(ended);
                self.keys_followed(noted, now_ms);
            }
            Input::LookAtKeys => self.follow_keys(now_ms),
            Input::Flush(answer) => {
                self.is_flush_due = true;
                self.asking_for_flush.push(answer);
            }
            Input::Damaged(error) => self.failure = Some(error.into()),
            Input::Stop => self.stop_by = Some(Instant::now() + DRAIN_TIMEOUT),
        }
        self.drain();
    }

    /// Has a change carried out: now, or at the end of the turn where it may have to be done again.
    fn place(&mut self, change: Pending, now_ms: u64) {
        if self.is_shared() {
            self.pending.push(change);
        } else {
            self.submit(change, now_ms);
        }
    }

    fn submit(&mut self, change: Pending, now_ms: u64) {
        let Pending { session, asked, answer } = change;
        let directory = self.replica.directory();
        let (actor, request) = (asked.actor, asked.request.id);
        let is_allowed = match (session, &asked.change) {
            (None, _) => true,
            (Some(_), Change::CreateUser { .. } | Change::CreateInvitedUser { .. }) => true,
            (Some(_), Change::Operator(_)) => false,
            (Some(key), _) => self.presence.asks(key, actor, request, directory),
        };
        if is_allowed {
            self.next_ticket += 1;
            let ticket = Ticket(self.next_ticket);
            if let Some(answer) = answer {
                let is_repeated = directory.outcome(request, actor).is_some();
                self.tickets.insert(ticket, (answer, is_repeated));
            }
            self.replica.submit(now_ms, ticket, asked);
        } else if let Some(answer) = answer {
            // The login has ended while the request waited. Sending fails only if the session has
            // gone.
            let changed = Changed { outcome: Err(Refusal::LoginFirst), is_repeated: false };
            self.deferred.push(Box::new(move || _ = answer.send(changed)));
        }
    }

    /// Takes over what the replica wants done.
    fn drain(&mut self) {
        while let Some(output) = self.replica.poll() {
            match output {
                Output::Persist(transaction) => {
                    self.unsaved_rows += transaction.rows.len();
                    self.unsaved.push(transaction);
                }
                other => self.effects.push(Effect::Output(other)),
            }
        }
    }

    /// Ends the turn: makes everything durable, then lets everything out.
    fn commit(&mut self) -> Result<(), TrackerError> {
        self.failure.take().map_or(Ok(()), Err)?;
        self.carry_out_pending()?;
        while !self.unsaved.is_empty() {
            let transactions = std::mem::take(&mut self.unsaved);
            self.unsaved_rows = 0;
            self.replica.store_mut().commit(&transactions).inspect_err(|e| {
                error!(
                    "cannot store {} changes: {e}; this tracker ends, and answers nothing that is not stored",
                    transactions.len()
                );
            })?;
            self.follow_stored(&transactions)?;
        }
        self.replica.store_mut().check()?;
        self.presence.let_out();
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Output(output) => self.carry_out(output)?,
                Effect::AddLink(link, sink) => self.links.add(link, sink),
                Effect::RemoveLink(link) => self.links.remove(link),
            }
        }
        self.deferred.drain(..).for_each(|answer| answer());
        self.flush()
    }

    /// These transactions are stored.
    fn follow_stored(&mut self, transactions: &[Transaction]) -> Result<(), TrackerError> {
        self.has_written = true;
        self.replica.persisted(self.clock.now_ms());
        self.drain();
        self.follow_changes(transactions)
    }

    /// Follows what has changed in the directory, whoever has stored it.
    fn follow_changes(&mut self, transactions: &[Transaction]) -> Result<(), TrackerError> {
        let now_ms = self.clock.now_ms();
        for transaction in transactions {
            for Replaced { user, by } in
                self.presence.observe(transaction, self.replica.directory(), now_ms)
            {
                self.shared.gate.note_changed(user, by);
            }
        }
        self.end_devices_again(now_ms);
        if let Some(log) = &self.shared.audit_log {
            log.note(transactions, self.replica.directory());
        }
        let is_setting = |row: &crate::types::Row| matches!(row.content, Content::Setting(..));
        if transactions.iter().flat_map(|transaction| &transaction.rows).any(is_setting) {
            self.follow_settings();
            self.failure.take().map_or(Ok(()), Err)?;
        }
        Ok(())
    }

    /// Has what is committed moved to the tables, if that is due, and tells those who wait for it.
    fn flush(&mut self) -> Result<(), TrackerError> {
        let store = self.replica.store_mut();
        if std::mem::take(&mut self.is_flush_due) {
            store.begin_flush();
            let asking = self.asking_for_flush.drain(..);
            self.waiting_for_flush.extend(asking.map(|answer| (store.committed(), answer)));
            store.check()?;
        }
        while let Some((_, answer)) =
            self.waiting_for_flush.pop_front_if(|(committed, _)| *committed <= store.moved())
        {
            // Fails only if the thread that asked has ended.
            let _ = answer.send(());
        }
        Ok(())
    }

    /// A device that was forgotten while the trackers were apart may have had its token renewed
    /// meanwhile: everything that it was given until now is void, everywhere.
    fn end_devices_again(&mut self, now_ms: u64) {
        for (user, device) in self.presence.take_forgotten_late() {
            self.order(Order::ForgetDevice { user, device }, now_ms);
        }
    }

    /// Carries out an order of the tracker's own. No thread waits for the outcome.
    fn order(&mut self, order: Order, now_ms: u64) {
        let request =
            RequestStamp { id: RequestId::from_bytes(rand::random()), at: Stamp::new(now_ms, 0) };
        let asked = Asked {
            actor: UserId::NOBODY,
            request,
            note: note_of_order(&order, None),
            change: Change::Operator(order),
        };
        self.place(Pending { session: None, asked, answer: None }, now_ms);
        self.drain();
    }

    /// Takes over what the operator has set: the trackers to dial, and to tell clients of.
    fn follow_settings(&mut self) {
        let now_ms = self.clock.now_ms();
        self.follow_keys(now_ms);
        let settings = self.replica.directory().settings();
        let Others { new, changed } = self.shared.follow_settings(&settings);
        let Some(numbers) = changed else { return };
        if self.is_shared() {
            // There is nothing to replicate.
            return self.presence.broadcast(self.shared.trackers_event());
        }
        new.into_iter().for_each(|number| replicator::start(&self.shared, number));
        let known: Vec<u32> = self.replica.links().iter().map(|link| link.tracker).collect();
        known
            .iter()
            .filter(|number| !numbers.contains(number))
            .for_each(|&number| self.replica.set_peer(number, false));
        numbers.iter().for_each(|&number| self.replica.set_peer(number, true));
        self.presence.broadcast(self.shared.trackers_event());
        self.drain();
    }

    /// Takes over which of the network's keys count.
    fn follow_keys(&mut self, now_ms: u64) {
        let followed = self.shared.keys.follow(&self.replica.directory().settings());
        self.keys_followed(followed, now_ms);
    }

    /// Tells clients of a change of keys, and the other trackers whether this one holds the new
    /// key.
    fn keys_followed(&mut self, followed: Result<bool, TrackerError>, now_ms: u64) {
        match followed {
            Ok(true) => self
                .shared
                .key_events()
                .into_iter()
                .for_each(|event| self.presence.broadcast(event)),
            Ok(false) => {}
            Err(error) => return self.failure = Some(error),
        }
        let ring = self.shared.keys.ring();
        let Some(rotation) =
            ring.rotation().filter(|rotation| rotation.stage == RotationStage::Begun)
        else {
            return;
        };
        let value = ring.holds_new().then(|| rotation.new.fingerprint().to_string());
        let number = self.shared.number;
        let settings = self.replica.directory().settings();
        let said = settings.key_holders.get(&number);
        let Some(name) =
            format!("key.holder.{number}").parse().ok().filter(|_| said != value.as_ref())
        else {
            return;
        };
        // If it is refused, `rotate_key` shows that it is missing.
        self.order(Order::Set { name, value }, now_ms);
    }

    fn carry_out(&mut self, output: Output) -> Result<(), TrackerError> {
        match output {
            Output::Persist(_) => unreachable!("drain keeps these apart"),
            Output::Send(link, message) => self.links.send(link, message, self.replica.is_empty()),
            Output::SendStored { link, after, through, known } => {
                // The link's thread reads the tables.
                self.replica.store_mut().flush()?;
                self.links.send_stored(link, after, through, known);
            }
            Output::Sweep(before_ms) if self.is_shared() => self.sweep_shared(before_ms)?,
            Output::Sweep(before_ms) => {
                let (rows, swept) = self.replica.store_mut().old_rows(before_ms, SWEEP_ROWS_MAX)?;
                self.replica.sweep(&rows, swept, rows.len() == SWEEP_ROWS_MAX);
                self.replica.store_mut().flush()?;
            }
            Output::Reply(ticket, outcome) => {
                if let Some((answer, is_repeated)) = self.tickets.remove(&ticket) {
                    // Fails only if the session has gone; its client asks again, elsewhere.
                    let _ = answer.send(Changed { outcome, is_repeated });
                }
            }
            Output::Notice(notice @ Notice::Up { .. }) => info!("{notice}"),
            Output::Notice(notice) => warn!("{notice}"),
            Output::Drop(link) => self.links.close(link),
        }
        Ok(())
    }
}
