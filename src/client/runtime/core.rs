//! The thread "core": it owns the session, and passes its effects on.
//!
//! **Invariant:** it waits for messages alone. Work that may wait for a disk or a tracker goes to
//! other threads. The one exception is its last act, when it writes the time of the last request
//! itself.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, after, never, select};
use log::{debug, error, warn};

use super::{CommandResult, Message, Runtime, files};
use crate::client::event::ClientEvent;
use crate::client::session::Session;
use crate::client::session::input::{
    Ask, Asked, Command, Done, Effect, Ends, Input, Job, Now, Order, ReplyTo, Told, Wanted,
};
use crate::client::session::news::News;
use crate::client::trackers::{Need, uptime};
use crate::net::Threads;
use crate::store::{ShareRow, StoreError, Write};
use crate::swarm::LinkFacts;
use crate::types::{FileFacts, GroupId, InfoHash, Refusal, Stamp, Ticket};
use crate::wire::tracker::{Reply, Request};

/// Shares that are checked in one go; their results are planned together.
const LOOK_LEN: usize = 256;
/// Maximum number of messages taken together.
const BATCH_LEN: usize = 1_024;
/// Maximum number of groups that are asked about one download.
const GROUPS_MAX: usize = 64;
/// Time for one question about other sources. If the trackers are busy, a later one will do.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(3);

/// The result of a transaction.
type Stored = (u64, Result<(), Arc<StoreError>>);

/// The core's state.
pub(super) struct Core {
    runtime: Arc<Runtime>,
    session: Session,
    store: Sender<(u64, Vec<Write>)>,
    replies: HashMap<ReplyTo, Sender<CommandResult>>,
    last_reply: u64,
    /// The next inputs of the session.
    inputs: Vec<Input>,
    /// The time of the last request that was written, or is being written.
    last_request: Option<Stamp>,
    /// A thread is renewing the session's token.
    is_renewing: bool,
    is_stopping: bool,
}

impl Core {
    pub(super) fn new(
        runtime: Arc<Runtime>,
        session: Session,
        store: Sender<(u64, Vec<Write>)>,
    ) -> Self {
        Self {
            runtime,
            session,
            store,
            replies: HashMap::new(),
            last_reply: 0,
            inputs: Vec::new(),
            last_request: None,
            is_renewing: false,
            is_stopping: false,
        }
    }

    /// Runs until the runtime stops it.
    pub(super) fn run(
        mut self,
        messages: &Receiver<Message>,
        news: &Receiver<News>,
        stored: &Receiver<Stored>,
    ) {
        let mut news = news.clone();
        loop {
            let wait = self.wait();
            let timeout = wait.map_or_else(never, after);
            select! {
                recv(messages) -> message => match message {
                    Ok(message) => self.take(message),
                    Err(_) => return,
                },
                recv(news) -> item => match item {
                    Ok(item) => self.take_news(item),
                    // The trackers have been stopped.
                    Err(_) => news = never(),
                },
                recv(stored) -> outcome => match outcome {
                    Ok((number, result)) => {
                        if result.is_err() {
                            self.last_request = None;
                        }
                        self.inputs.push(Input::Stored(number, result));
                    }
                    Err(_) => {
                        error!("the thread that writes to the store is gone: that is a bug in Posse");
                        self.runtime.close_engine();
                        return;
                    }
                },
                recv(timeout) -> _ => self.inputs.push(Input::Tick),
            }
            news.try_iter().take(BATCH_LEN).for_each(|item| self.take_news(item));
            messages.try_iter().take(BATCH_LEN).for_each(|message| self.take(message));
            self.renew_if_due();
            self.advance();
            if self.is_stopping && self.session.is_idle() {
                self.note_last_request();
                return;
            }
        }
    }

    /// How long the core can wait for messages, if a timer runs.
    fn wait(&self) -> Option<Duration> {
        let now = self.now();
        let session = self.session.wake_at(now).map(|at| at.saturating_sub(now.up));
        let renewal = self.runtime.trackers.renew_due().filter(|_| !self.is_renewing);
        let renewal = renewal.map(|at| at.saturating_duration_since(Instant::now()));
        session.into_iter().chain(renewal).min()
    }

    fn now(&self) -> Now {
        Now { up: uptime(), clock_ms: self.runtime.trackers.clock_ms() }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Input(input) => self.inputs.push(input),
            Message::Question(make, sender) => {
                self.last_reply += 1;
                let reply = ReplyTo(self.last_reply);
                self.replies.insert(reply, sender);
                self.inputs.push(make(reply));
            }
            Message::Renewed => self.is_renewing = false,
            Message::Stop => self.is_stopping = true,
        }
    }

    fn take_news(&mut self, news: News) {
        let runtime = &self.runtime;
        match news {
            News::Trackers(addresses) => {
                let network = runtime.network.expected();
                self.inputs.extend(network.map(|network| Input::Trackers(network, addresses)));
            }
            News::KeyChanged(change) => {
                runtime.trackers.renew_soon();
                self.inputs.push(Input::KeysChanged(change, runtime.network.keys()));
            }
            News::SessionOver(generation) => {
                let session = runtime.trackers.session();
                if session.is_some_and(|session| session.generation == generation) {
                    self.end_session_if_over();
                }
            }
            News::PunchOffered(offer) => runtime.answer_punch(offer),
            News::Admitted(entry) => {
                runtime.names.learn_groups([(entry.group, entry.label.clone())].into_iter());
                self.inputs.push(Input::News(News::Admitted(entry)));
            }
            other => self.inputs.push(Input::News(other)),
        }
    }

    /// The session's token is revoked: ends the session here, too.
    fn end_session_if_over(&mut self) {
        if let Some(reason) = self.runtime.trackers.is_over() {
            // No caller waits for this reply.
            self.last_reply += 1;
            let leave = Command::Leave(Some(reason));
            self.inputs.push(Input::Command(ReplyTo(self.last_reply), leave));
        }
    }

    fn renew_if_due(&mut self) {
        if self.is_renewing
            || self.runtime.trackers.renew_due().is_none_or(|at| at > Instant::now())
        {
            return;
        }
        self.is_renewing = true;
        let runtime = self.runtime.clone();
        self.runtime.errands.run(move || {
            runtime.trackers.renew();
            let _ = runtime.messages.send(Message::Renewed);
        });
    }

    /// Passes the inputs to the session and carries out its effects, until there are no more
    /// inputs.
    fn advance(&mut self) {
        loop {
            let now = self.now();
            for input in std::mem::take(&mut self.inputs) {
                self.session.input(input, now);
            }
            self.session.advance(now);
            let effects: Vec<Effect> = std::iter::from_fn(|| self.session.poll()).collect();
            let wakes =
                |effect: &Effect| matches!(effect, Effect::Changed(_) | Effect::SessionEnded);
            // Published before any event or answer leaves.
            if let Some(view) = self.session.take_view() {
                self.runtime.published.set(view, effects.iter().any(wakes));
            }
            effects.into_iter().for_each(|effect| self.carry_out(effect));
            if self.inputs.is_empty() {
                return;
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        let runtime = &self.runtime;
        match effect {
            Effect::Store(number, mut writes) => {
                let last = runtime.trackers.last_request_time();
                if last != self.last_request {
                    writes.extend(last.map(Write::LastRequest));
                    self.last_request = last;
                }
                // It has room: there is one transaction at a time.
                let _ = self.store.send((number, writes));
            }
            Effect::Engine(order) => self.order(order),
            Effect::Ask(ask) => self.ask(ask),
            Effect::Announce(parts) => runtime.trackers.announce(parts),
            Effect::Job(job) => self.job(job),
            Effect::Tell(event) => runtime.bus.tell(&event),
            Effect::TellRemoved(group_id, label) => {
                if let Some(group) = label.or_else(|| runtime.names.group(group_id)) {
                    runtime.bus.tell(&ClientEvent::Removed { group, group_id });
                }
            }
            Effect::Changed(info_hash) => {
                let callbacks = runtime.published.take_callbacks(info_hash);
                if !callbacks.is_empty() {
                    self.runtime.call_back(info_hash, callbacks);
                }
            }
            Effect::Reply(reply, answer) => match (self.replies.remove(&reply), answer) {
                // The caller may have stopped waiting.
                (Some(sender), answer) => drop(sender.send(answer)),
                (None, Err(error)) => debug!("no caller waits for this error: {error}"),
                (None, Ok(_)) => {}
            },
            Effect::SessionEnded => {
                runtime.published.drop_callbacks();
                runtime.names.clear();
                runtime.staying.wake();
                runtime.must_change_password.store(false, std::sync::atomic::Ordering::Relaxed);
            }
        }
    }

    fn order(&mut self, order: Order) {
        let runtime = &self.runtime;
        let Some(engine) = runtime.engine() else {
            if let Order::Halt(id, info_hash) = order {
                self.inputs.push(Input::Halted(id, info_hash, true));
            }
            return;
        };
        // An order for a transfer that is gone is dropped.
        match order {
            Order::Run(id) => _ = runtime.transfer(id).is_some_and(|transfer| transfer.resume()),
            Order::Pause(id) => _ = runtime.transfer(id).is_some_and(|transfer| transfer.pause()),
            Order::Shelve(id) => _ = runtime.transfer(id).is_some_and(|transfer| transfer.shelve()),
            Order::Halt(id, info_hash) => {
                let has_halted = runtime.transfer(id).is_none_or(|transfer| {
                    transfer.shelve()
                        || matches!(transfer.status().state, crate::swarm::TransferState::Failed(_))
                });
                self.inputs.push(Input::Halted(id, info_hash, has_halted));
            }
            Order::Release(id) => {
                let transfer = runtime.running.lock().transfers.remove(&id);
                transfer.inspect(|transfer| _ = transfer.shelve());
            }
            Order::Forget(id) => drop(runtime.running.lock().transfers.remove(&id)),
            Order::Limit(id, rate) => {
                runtime.transfer(id).inspect(|transfer| transfer.set_limit(rate));
            }
            Order::AddPeers(info_hash, peers) => engine.add_peers(info_hash, peers),
            Order::RemovePeer(info_hash, device) => engine.remove_peer(info_hash, device),
            Order::EndLinks(ends) => {
                if ends == Ends::All {
                    // And no more are accepted.
                    runtime.close_engine();
                }
                match &ends {
                    Ends::All => engine.end_readers(|_, _| true),
                    Ends::Group(group) => engine.end_readers(|_, of| of == *group),
                    // Those who read here are not concerned by what ends others' rights.
                    _ => {}
                }
                engine.end_links(|link| is_ended(&ends, link));
            }
            Order::ShowTicket(ticket) => engine.show_ticket(&ticket),
            Order::Unseed(info_hash) => {
                engine.unseed(info_hash);
                self.runtime.offers.run(move || engine.close_file(info_hash));
            }
            Order::Reseed(info_hash) => {
                if engine.knows(info_hash) {
                    let runtime = self.runtime.clone();
                    // On another thread: it reads the metainfo from the store.
                    self.runtime.offers.run(move || runtime.reseed(&engine, info_hash));
                }
            }
            Order::Pulses(downloads) => {
                let pulse = |(info_hash, id)| {
                    runtime.transfer(id).map(|transfer| (info_hash, id, transfer.pulse()))
                };
                let pulses = downloads.into_iter().filter_map(pulse).collect();
                self.inputs.push(Input::Pulses(pulses));
            }
        }
    }

    fn ask(&self, ask: Ask) {
        let runtime = self.runtime.clone();
        match ask {
            Ask::Tickets { groups, passed, deadline } => self.runtime.errands.run(move || {
                let timeout = deadline.saturating_sub(uptime());
                let given = runtime.ask_for_tickets(&groups, &passed, timeout);
                runtime.tell(Input::Asked(Asked::Tickets { groups, passed, deadline, given }));
            }),
            Ask::Share(row) => self.runtime.sharers.run(move || {
                let told = runtime.tell_share(row.group, &row.facts);
                runtime.tell(Input::Asked(Asked::Share(row, told)));
            }),
            Ask::Sources(wanted) => self.runtime.sources.run(move || {
                let found = runtime.ask_for_sources(&wanted);
                let wanted = wanted.into_iter().map(|wanted| wanted.facts.info_hash).collect();
                runtime.tell(Input::Asked(Asked::Sources { wanted, found }));
            }),
        }
    }

    fn job(&self, job: Job) {
        let runtime = self.runtime.clone();
        match job {
            Job::Begin(id, spec, limit) => {
                let target = spec.target.clone();
                self.runtime.disks.run(&target, move || {
                    let info_hash = spec.facts.info_hash;
                    let result = runtime.begin(id, *spec, limit);
                    runtime.tell(Input::Done(Done::Begun(id, info_hash, result)));
                });
            }
            Job::Remove(transfer, row) => {
                let target = row.target.clone();
                let transfer =
                    transfer.and_then(|id| self.runtime.running.lock().transfers.remove(&id));
                self.runtime.disks.run(&target, move || {
                    // If the engine does not have the transfer any more, the client removes the
                    // data.
                    if !transfer.is_some_and(|transfer| transfer.cancel()) {
                        crate::client::place::remove_part(&row);
                    }
                    runtime.tell(Input::Done(Done::Removed(row.facts.info_hash)));
                });
            }
            Job::LookAtShares(rows) => {
                let mut mounts: HashMap<PathBuf, Vec<Arc<ShareRow>>> = HashMap::new();
                for row in rows {
                    mounts.entry(runtime.disks.mount_of(&row.path)).or_default().push(row);
                }
                for (mount, rows) in mounts {
                    for rows in rows.chunks(LOOK_LEN) {
                        let (rows, runtime) = (rows.to_vec(), self.runtime.clone());
                        let look = move || runtime.look_at_shares(rows);
                        self.runtime.disks.run_at(mount.clone(), look);
                    }
                }
            }
            Job::LookAtDownload(row) => {
                let target = row.target.clone();
                self.runtime.disks.run(&target, move || {
                    let place = files::look_at_place(&row);
                    runtime.tell(Input::Done(Done::Download(row, place)));
                });
            }
            Job::Compare(row) => {
                let target = row.target.clone();
                self.runtime.disks.run(&target, move || {
                    let is_wanted = || {
                        let view = runtime.view();
                        let is_ours = view.library.user().is_some_and(|user| user.user == row.user);
                        !runtime.is_stopping() && is_ours
                    };
                    let result = files::compare(&row, &mut |_, _| is_wanted())
                        .map(Box::new)
                        .map_err(|error| error.to_string());
                    runtime.tell(Input::Done(Done::Compared(row, result)));
                });
            }
            Job::StopEngine => {
                let stop = move || {
                    runtime.stop_engine();
                    runtime.tell(Input::Done(Done::EngineStopped));
                };
                // At the client's end the workers are closed already, so this needs a thread of its
                // own.
                if let Err(error) = Threads::spawn(&self.runtime.threads, "leaving", stop) {
                    warn!("no thread to end the session: {error}");
                }
            }
        }
    }

    /// Writes the time of the last request, so that the requests of the next run are later.
    fn note_last_request(&mut self) {
        let last = self.runtime.trackers.last_request_time();
        if let Some(last) = last.filter(|last| Some(*last) != self.last_request) {
            let result = self.runtime.store.apply(&[Write::LastRequest(last)]);
            if let Err(error) = result {
                warn!("{error}");
            }
        }
    }
}

/// Tells whether an order ends this link.
fn is_ended(ends: &Ends, link: &LinkFacts) -> bool {
    let proof = &link.proof;
    match ends {
        Ends::All => true,
        Ends::Group(group) => proof.group == *group,
        Ends::Swarms(swarms) => swarms.contains(&(proof.group, link.info_hash)),
        Ends::Parts(parts) => parts.contains(&(link.info_hash, link.device, proof.group)),
        Ends::Void(voids) => [Some(proof.group), None].into_iter().any(|group| {
            voids.get(&(group, proof.user)).is_some_and(|until| proof.issued_ms <= *until)
        }),
        Ends::Device(user, device, until_ms) => {
            (link.device, proof.user) == (*device, *user) && proof.issued_ms <= *until_ms
        }
        Ends::Expired(now_ms) => proof.expires_ms <= *now_ms,
        Ends::OtherKeys(keys) => !keys.contains(&proof.key),
    }
}

impl Runtime {
    /// Tickets from the nearest tracker that is not in `passed`, and that tracker's index; `None`
    /// if there is none, or if none answers in time.
    fn ask_for_tickets(
        &self,
        groups: &[GroupId],
        passed: &[usize],
        timeout: Duration,
    ) -> Option<(Vec<Ticket>, usize)> {
        let request = Request::Tickets { groups: groups.to_vec() };
        match self.trackers.patient().call_next(&request, passed, timeout)? {
            Ok((Reply::Tickets(list), tracker)) => {
                // Drops tickets that no valid key signed. Either that tracker or this device has
                // not heard of a key rotation yet.
                let keys = self.network.keys();
                let is_good = |ticket: &Ticket| keys.iter().any(|key| key.signed_ticket(ticket));
                Some((list.into_iter().filter(is_good).collect(), tracker))
            }
            other => {
                debug!("no tickets for {} groups now: {:?}", groups.len(), other.err());
                None
            }
        }
    }

    /// Reports a completed download to the directory.
    fn tell_share(&self, group: GroupId, facts: &FileFacts) -> Told {
        if !self.trackers.is_reachable() {
            return Told::Nothing("no tracker can be reached".into());
        }
        let request = self.trackers.request_stamp();
        let request = Request::ShareFile { request, group, file: facts.clone() };
        match self.trackers.patient().call(&request, Need::Session) {
            Ok(_) => Told::Taken,
            Err(crate::client::ClientError::Refused(refusal)) if !is_passing(refusal) => {
                Told::Refused(refusal.to_string())
            }
            Err(error) => Told::Nothing(error.to_string()),
        }
    }

    /// Asks which of the user's other groups offer these files; `None` if no tracker listed the
    /// groups.
    fn ask_for_sources(&self, wanted: &[Wanted]) -> Option<Vec<(InfoHash, GroupId)>> {
        if !self.trackers.is_reachable() {
            return None;
        }
        let mine: Vec<GroupId> = self
            .my_groups()
            .all()
            .ok()?
            .into_iter()
            .filter(|group| group.part.is_member())
            .map(|group| group.group)
            .collect();
        let mut found = Vec::new();
        for Wanted { group: own, label, facts } in wanted {
            for group in mine.iter().filter(|group| *group != own).take(GROUPS_MAX) {
                let view = self.view();
                let runs = view.library.download(facts.info_hash).is_some_and(|d| d.is_let_run());
                if self.is_stopping() || !runs {
                    break;
                }
                if self.is_listed(*group, facts) {
                    log::info!("{label} is offered in {} too", self.names.group_text(*group));
                    found.push((facts.info_hash, *group));
                }
            }
        }
        Some(found)
    }

    /// Tells whether the directory lists the content in a group.
    fn is_listed(&self, group: GroupId, facts: &FileFacts) -> bool {
        let request = Request::FindFile { group, file: facts.id() };
        match self.trackers.patient().call_within(&request, Need::Session, SOURCE_TIMEOUT) {
            Ok(Reply::File(entry)) => entry.group == group && entry.facts == *facts,
            Ok(_) => false,
            Err(error) => {
                debug!("{} is not asked for in another group: {error}", facts.info_hash);
                false
            }
        }
    }
}

/// Tells whether a refusal is temporary: the directory has not judged the request, and may accept
/// the same one later.
fn is_passing(refusal: Refusal) -> bool {
    let for_now = matches!(
        refusal,
        Refusal::LoginFirst
            | Refusal::SessionOver
            | Refusal::Busy
            | Refusal::TooMany
            | Refusal::Overtaken { .. }
    );
    for_now
        || matches!(
            refusal,
            Refusal::WrongTime { .. }
                | Refusal::MustChangePassword
                | Refusal::NetworkFull
                | Refusal::Quota(_)
        )
}
