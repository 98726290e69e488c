//! One client's connection, from its hello to its end.
//!
//! **Invariant:** requests are carried out and answered in order. Only files that are shared by
//! requests which have come together are handed to the core together, so that they share its wait
//! for the disk; what comes behind waits for their answers. Nothing but the device's key, the
//! address observed, and the password or token shown says who the client is. What rests on a login
//! is done only while the core has it: a password that is replaced ends it at once, and the
//! connection goes on logged out.
//!
//! Runs on the connection's own thread, which waits for the socket, for its turn to check a
//! password, or for the core; it holds no lock meanwhile. While idle it holds no buffer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use log::{debug, info, warn};

use super::answer::{answer, is_look_up, look_of};
use super::clock::wall_ms;
use super::core::{Input, View};
use super::guard::{Caller, Making};
use super::outbox::Outbox;
use super::presence::{Fault, SessionKey, SwarmKey, Visitor, last_of_each, told_address};
use super::request_log::{Logged, who};
use super::shared::Shared;
use super::vouch::{Allowance, RESUME_COST, later_than};
use crate::net::{Admission, Connection, Reader, Source};
use crate::types::limits::{TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN, TRACKER_REQUEST_LEN_MAX};
use crate::types::{
    Candidate, DeviceId, DeviceName, GroupId, Label, Outcome, Password, PunchSecret, Refusal,
    RequestStamp, SessionToken, TokenClaims, UserEntry, UserId, Version,
};
use crate::wire::frame::{FrameError, read_message_within, to_frame};
use crate::wire::tracker::{
    AnnounceEntry, ClientHello, Event, FromClient, FromTracker, Reply, Request, Unwelcome, Welcome,
};

/// How long an announce waits for its turn at most: less than the silence after which a connection
/// is given up.
const ANNOUNCE_WAIT_MAX: Duration = Duration::from_secs(if cfg!(fuzzing) { 0 } else { 30 });
/// How often an announce that waits looks whether its connection is still there.
const LOOK: Duration = Duration::from_millis(100);
/// Shares handed to the core before the first of them is answered.
const SHARES_AT_ONCE_MAX: usize = 16;
/// Things looked at for a login that cost as much as a signature.
const LOOKS_PER_SIGNATURE: usize = 64;

/// Serves a client to its end.
///
/// # Errors
/// Why the connection ended, unless in order.
///
/// # Blocking
/// Until the connection ends.
pub(crate) fn serve(
    shared: &Arc<Shared>,
    connection: &Connection,
    admission: Admission,
    hello: ClientHello,
    device: DeviceId,
    version: u16,
) -> Result<(), FrameError> {
    let outbox = Outbox::new(connection.clone(), &shared.notifier);
    if shared.accepted.is_full() {
        return Ok(outbox.send(to_frame(&FromTracker::Unwelcome(Unwelcome::Full)).into())?);
    }
    let address = SocketAddr::new(connection.peer_addr().ip().to_canonical(), hello.port);
    let clock_ms = wall_ms(shared.limits.clock_offset_ms);
    let store = shared.lineage.store;
    let welcome = Welcome { version, number: shared.number, store, observed: address, clock_ms };
    outbox.send(to_frame(&FromTracker::Welcome(welcome)).into())?;
    shared
        .key_events()
        .into_iter()
        .for_each(|event| outbox.push(to_frame(&FromTracker::Event(event)).into()));
    let (key, over, allowance) =
        (shared.new_key(), Arc::new(AtomicBool::new(false)), Allowance::default());
    let session = Session {
        shared,
        key,
        device,
        address,
        outbox,
        admission,
        allowance,
        over,
        user: None,
        label: None,
        was: None,
    };
    session.run(connection)
}

struct Session<'a> {
    shared: &'a Arc<Shared>,
    key: SessionKey,
    device: DeviceId,
    address: SocketAddr,
    outbox: Arc<Outbox>,
    admission: Admission,
    /// What may be signed and checked for it.
    allowance: Allowance,
    /// Set by the core when the password has been replaced.
    over: Arc<AtomicBool>,
    user: Option<UserId>,
    /// The name of that user, or of the one before.
    label: Option<Label>,
    /// Whoever the device was until the password was replaced: it may be this device that did so,
    /// and repeats its request.
    was: Option<UserId>,
}

/// The core has ended, and the connection with it.
struct CoreEnded;

impl<'a> Session<'a> {
    fn run(mut self, connection: &Connection) -> Result<(), FrameError> {
        let mut reader = connection.reader();
        loop {
            if !reader.wait(self.shared.limits.idle)? {
                debug!("{}: silent for {:?}", connection.peer_addr(), self.shared.limits.idle);
                return Ok(());
            }
            let mut shares = Vec::new();
            let behind = loop {
                let FromClient { number, request } = match self.read(&mut reader) {
                    Ok(asked) => asked,
                    // What was begun is answered first, and counted.
                    Err(error) => break Err(error),
                };
                let logged = Logged::begin(&request);
                match self.begin_share(&request) {
                    Some(Ok(making)) => shares.push((number, making, logged)),
                    Some(Err(CoreEnded)) => return Ok(()),
                    None => break Ok(Some((number, request, logged))),
                }
                if shares.len() >= SHARES_AT_ONCE_MAX || !reader.is_ready() {
                    break Ok(None);
                }
            };
            let mut sent = Ok(());
            for (number, making, logged) in shares {
                let Some(outcome) = making.outcome() else { return Ok(()) };
                let reply = reply(outcome);
                self.log(logged, None, &reply);
                sent = sent.and_then(|()| self.send(number, reply));
            }
            sent?;
            if let Some((number, request, logged)) = behind? {
                let before = self.user.and(self.label.as_ref()).filter(|_| logged.is_on()).cloned();
                let Ok(reply) = self.handle(request) else { return Ok(()) };
                self.log(logged, before.as_ref(), &reply);
                self.send(number, reply)?;
            }
        }
    }

    /// Reads a request.
    fn read(&mut self, reader: &mut Reader) -> Result<FromClient, FrameError> {
        self.notice_end();
        let deadline = Instant::now() + self.shared.limits.message;
        reader.set_deadline(Some(deadline));
        let max = if self.user.is_some() {
            TRACKER_REQUEST_LEN_MAX
        } else {
            TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN
        };
        let mut room =
            self.shared.unfinished.lease(self.address.ip(), reader.to_incoming(), deadline);
        read_message_within(reader, max, &mut room)
    }

    /// Writes a request's line into the log; `before` is who was logged in when it came.
    fn log(&self, logged: Logged, before: Option<&Label>, reply: &Reply) {
        if !logged.is_on() {
            return;
        }
        let label = self.user.and(self.label.as_ref()).or(before);
        let from = format!("{}, {}", self.address, who(label));
        logged.end(self.shared, (self.user, &from), reply);
    }

    fn send(&self, number: u32, reply: Reply) -> Result<(), FrameError> {
        let clock_ms = wall_ms(self.shared.limits.clock_offset_ms);
        Ok(self.outbox.send(to_frame(&FromTracker::Reply { number, clock_ms, reply }).into())?)
    }

    /// Hands a file that is shared to the core, if that is what is asked for.
    fn begin_share(&self, request: &Request) -> Option<Result<Making<'a>, CoreEnded>> {
        let (user, (id, change)) = (
            self.user?,
            request.to_change().filter(|_| matches!(request, Request::ShareFile { .. }))?,
        );
        let shared: &'a Shared = self.shared;
        Some(shared.begin_change(self.caller(), user, id, change).ok_or(CoreEnded))
    }

    /// Catches up with the core, which has ended the login.
    fn notice_end(&mut self) {
        if self.over.swap(false, Ordering::Relaxed) {
            self.was = self.user.take();
            self.admission.unprove();
        }
    }

    fn handle(&mut self, request: Request) -> Result<Reply, CoreEnded> {
        match request {
            Request::Ping => Ok(Reply::Pong),
            Request::CreateUser { request, name, password } => self
                .shared
                .create_user(self.caller(), request, name, &password, None)
                .map(reply)
                .ok_or(CoreEnded),
            Request::CreateInvitedUser { request, name, password, group, secret } => {
                let invited = Some((group, secret.id(group)));
                let made =
                    self.shared.create_user(self.caller(), request, name, &password, invited);
                made.map(reply).ok_or(CoreEnded)
            }
            Request::Login { name, password } => self.log_in(name, &password),
            Request::Resume { token } => self.resume(&token),
            Request::LoginByKey { user } => self.log_in_by_key(user),
            Request::ListTrackers => {
                let shared = self.shared.clone();
                let asked = self
                    .shared
                    .core
                    .ask(move |view| (shared.trackers(view), view.replica.is_degraded()));
                asked
                    .map(|(entries, degraded)| Reply::Trackers { entries, degraded })
                    .ok_or(CoreEnded)
            }
            Request::Unknown { .. } => Ok(Reply::Refused(Refusal::Unsupported)),
            other => match (self.user, self.was, other) {
                (Some(user), _, other) => self.handle_of(user, other),
                (None, Some(was), Request::ChangePassword { request, new, .. }) => {
                    self.password_changed(was, request, &new)
                }
                _ => Ok(Reply::Refused(Refusal::LoginFirst)),
            },
        }
    }

    /// Requests that need a user.
    fn handle_of(&mut self, user: UserId, request: Request) -> Result<Reply, CoreEnded> {
        if let Some((id, change)) = request.to_change() {
            return self.shared.change(self.caller(), user, id, change).map(reply).ok_or(CoreEnded);
        }
        let (key, core) = (self.key, &self.shared.core);
        match request {
            Request::Logout => {
                (self.user, self.was) = (None, None);
                self.admission.unprove();
                core.ask(move |view| view.presence.leave(key, view.now_ms))
                    .map(|()| Reply::Pong)
                    .ok_or(CoreEnded)
            }
            Request::Renew => self.renew(user),
            Request::Tickets { groups } => self.tickets(user, groups),
            Request::ChangePassword { request, old, new } => {
                self.change_password(user, request, &old, &new)
            }
            Request::Announce { entries } => self.announce(user, last_of_each(entries)),
            Request::Candidates { candidates } => self.set_candidates(user, candidates),
            Request::RelayUse { accepts, relays_at } => {
                self.set_relay_use(user, (accepts, relays_at))
            }
            Request::AskRelay { group, device } => self.ask_relay(user, (group, device)),
            Request::Punch { group, info_hash, device } => {
                let secrets = [(); 2].map(|()| PunchSecret::from_bytes(rand::random()));
                let asked = ((info_hash, group), device);
                let punch = move |view: &mut View<'_>| {
                    view.presence.punch(key, user, asked, secrets, view.replica.directory())
                };
                core.ask(punch).ok_or(CoreEnded)
            }
            Request::StayOnDevice { request, name, password } => {
                self.stay_on_device(user, request, name, &password)
            }
            Request::ListDevices => self.list_devices(user),
            Request::ReportBadData { group, info_hash, device } => {
                self.report(user, (Fault::BadData, (info_hash, group), device))
            }
            Request::ReportUnreachable { group, info_hash, device } => {
                self.report(user, (Fault::Unreachable, (info_hash, group), device))
            }
            question => {
                let are_behind = self.shared.readers.are_behind();
                if are_behind && is_look_up(&question) {
                    let answered = core.ask(move |view| {
                        view.presence.password_of(key, user, view.directory())?;
                        let answered = answer(view.directory(), user, &question)?;
                        Some(view.with_presence(answered))
                    });
                    let refused = Reply::Refused(Refusal::LoginFirst);
                    return Ok(answered.ok_or(CoreEnded)?.unwrap_or(refused));
                }
                if are_behind {
                    core.flush().ok_or(CoreEnded)?;
                }
                let looked = self
                    .shared
                    .readers
                    .look(look_of(&question), |directory| answer(directory, user, &question));
                let answered = match looked {
                    Ok(Some(answered)) => answered,
                    Ok(None) => return Ok(Reply::Refused(Refusal::Busy)),
                    Err(damaged) => {
                        core.send(Input::Damaged(damaged));
                        return Err(CoreEnded);
                    }
                };
                let answered = answered.unwrap_or(Reply::Refused(Refusal::LoginFirst));
                let answered = core.ask(move |view| {
                    view.presence.password_of(key, user, view.directory())?;
                    Some(view.with_presence(answered))
                });
                Ok(answered.ok_or(CoreEnded)?.unwrap_or(Reply::Refused(Refusal::LoginFirst)))
            }
        }
    }

    /// Tells what the device does with files, when the user's turn for that comes.
    fn announce(&self, user: UserId, entries: Vec<AnnounceEntry>) -> Result<Reply, CoreEnded> {
        let key = self.key;
        self.in_turn(entries, move |view, entries| {
            let reply = view.presence.announce(key, user, entries, view.replica.directory())?;
            Ok(view.with_peers_elsewhere(key, entries, reply))
        })
    }

    /// Tells where the device may take links. Does not wait for the user's turn, as that would hold
    /// up the session's other requests: the client tells it again.
    fn set_candidates(&self, user: UserId, candidates: Vec<Candidate>) -> Result<Reply, CoreEnded> {
        let key = self.key;
        let asked = self.shared.core.ask(move |view| {
            view.presence.set_candidates(key, user, &candidates, view.replica.directory())
        });
        Ok(asked.ok_or(CoreEnded)?.unwrap_or(Reply::Refused(Refusal::Busy)))
    }

    fn set_relay_use(
        &self,
        user: UserId,
        relay_use: (bool, Option<u16>),
    ) -> Result<Reply, CoreEnded> {
        let (key, has_own) = (self.key, self.shared.relay.is_some());
        let asked = self.shared.core.ask(move |view| {
            let directory = view.replica.directory();
            view.presence.set_relay_use(key, user, relay_use, directory, has_own)
        });
        asked.ok_or(CoreEnded)
    }

    fn ask_relay(&self, user: UserId, whom: (GroupId, DeviceId)) -> Result<Reply, CoreEnded> {
        let (key, shared) = (self.key, self.shared.clone());
        let asked = self.shared.core.ask(move |view| {
            let own = shared.relay.as_deref();
            let own = own.map(|relay| (relay, told_address(relay.local_addr(), shared.address)));
            view.presence.introduce(key, user, whom, view.replica.directory(), own)
        });
        asked.ok_or(CoreEnded)
    }

    /// Has the core take what others are told of, and waits for as long as it says before it is
    /// asked again.
    fn in_turn<T: Send + 'static>(
        &self,
        mut items: Vec<T>,
        take: impl Fn(&mut View<'_>, &[T]) -> Result<Reply, Duration> + Copy + Send + 'static,
    ) -> Result<Reply, CoreEnded> {
        let until = Instant::now() + ANNOUNCE_WAIT_MAX;
        loop {
            let asked = self.shared.core.ask(move |view| {
                let taken = take(view, &items);
                taken.map_err(|wait| (wait, items))
            });
            let wait = match asked.ok_or(CoreEnded)? {
                Ok(reply) => return Ok(reply),
                Err((wait, back)) => {
                    items = back;
                    Instant::now() + wait
                }
            };
            if wait > until {
                return Ok(Reply::Refused(Refusal::Busy));
            }
            while let Some(left) =
                wait.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            {
                if self.admission.is_over() || self.shared.stop.wait(left.min(LOOK)) {
                    return Ok(Reply::Refused(Refusal::Busy));
                }
            }
        }
    }

    /// Tells a device what is wrong with it.
    fn report(
        &self,
        user: UserId,
        report: (Fault, SwarmKey, DeviceId),
    ) -> Result<Reply, CoreEnded> {
        let key = self.key;
        let asked = move |view: &mut View<'_>| {
            view.presence.report(key, user, report, view.replica.directory())
        };
        self.shared.core.ask(asked).ok_or(CoreEnded)
    }

    fn caller(&self) -> Caller<'_> {
        Caller {
            source: Source::of(self.address.ip()),
            address: self.address.ip(),
            device: self.device,
            session: self.key,
            admission: &self.admission,
        }
    }

    fn log_in(&mut self, name: Label, password: &Password) -> Result<Reply, CoreEnded> {
        match self.shared.find_user(self.caller(), name, password).ok_or(CoreEnded)? {
            Ok((entry, tag)) => self.enter(entry, tag, None),
            Err(refusal) => {
                info!("{}: a login failed: {refusal}", self.address);
                Ok(Reply::Refused(refusal))
            }
        }
    }

    /// The client shows a token instead of a password.
    fn resume(&mut self, token: &SessionToken) -> Result<Reply, CoreEnded> {
        if !self.allowance.take(Instant::now(), RESUME_COST) {
            return Ok(Reply::Refused(Refusal::Busy));
        }
        if let Err(refusal) = self.shared.check_token(token, self.device) {
            return Ok(Reply::Refused(refusal));
        }
        let TokenClaims { user, device, password, issued_ms, .. } = token.claims;
        let asked = self.shared.core.ask(move |view| {
            let directory = view.directory();
            let is_disabled = directory.user_row(user).is_some_and(|row| row.is_disabled);
            let current = directory.is_password_current(user, password);
            let until_ms = view.presence.device_void_until_ms(user, device, directory);
            (directory.user_entry(user), current, is_disabled, until_ms)
        });
        let (entry, current, is_disabled, until_ms) = asked.ok_or(CoreEnded)?;
        if issued_ms <= until_ms && current != Some(false) {
            // Tells the client why.
            let void = Event::DeviceVoid { user, device, until_ms };
            self.outbox.push(to_frame(&FromTracker::Event(void)).into());
            return Ok(Reply::Refused(Refusal::SessionOver));
        }
        match (entry, current, is_disabled) {
            (_, Some(false), true) => Ok(Reply::Refused(Refusal::Disabled)),
            // Also if the account was deleted.
            (_, Some(false), false) => {
                self.was = Some(user).filter(|_| self.user.is_none());
                Ok(Reply::Refused(Refusal::SessionOver))
            }
            (Some(entry), Some(true), _) => {
                // Some tracker has seen the password on this device.
                self.shared.gate.note_known(user, self.device);
                self.enter(entry, password, Some(issued_ms))
            }
            // The account was made on another tracker, and this one has not heard of it.
            _ => Ok(Reply::Refused(Refusal::Busy)),
        }
    }

    /// The device's key is all that the client shows.
    fn log_in_by_key(&mut self, user: UserId) -> Result<Reply, CoreEnded> {
        if !self.allowance.take(Instant::now(), RESUME_COST) {
            return Ok(Reply::Refused(Refusal::Busy));
        }
        let device = self.device;
        let asked = self.shared.core.ask(move |view| {
            let directory = view.directory();
            let password = directory.login_by_key(user, device)?;
            Ok((directory.user_entry(user).ok_or(Refusal::NoSuchDevice)?, password))
        });
        match asked.ok_or(CoreEnded)? {
            Ok((entry, password)) => {
                self.shared.gate.note_known(user, device);
                self.enter(entry, password, None)
            }
            Err(refusal) => {
                info!("{}: a login by key failed: {refusal}", self.address);
                Ok(Reply::Refused(refusal))
            }
        }
    }

    /// The right to log in by its key a device gets for the password alone: a token may be in the
    /// hands of somebody who found the device.
    fn stay_on_device(
        &mut self,
        user: UserId,
        request: RequestStamp,
        name: DeviceName,
        password: &Password,
    ) -> Result<Reply, CoreEnded> {
        let outcome = self.shared.stay_on_device(self.caller(), user, request, name, password);
        outcome.map(reply).ok_or(CoreEnded)
    }

    fn list_devices(&self, user: UserId) -> Result<Reply, CoreEnded> {
        let key = self.key;
        let asked = self.shared.core.ask(move |view| {
            let (presence, directory) = (&*view.presence, view.directory());
            presence.password_of(key, user, directory).ok_or(Refusal::LoginFirst)?;
            if directory.user_row(user).is_some_and(|row| row.must_change) {
                return Err(Refusal::MustChangePassword);
            }
            Ok(presence.devices(user, directory, view.now_ms))
        });
        Ok(asked.ok_or(CoreEnded)?.map_or_else(Reply::Refused, Reply::Devices))
    }

    /// Gives a token that lasts from now on, and rests on the same password as the session: it
    /// never outlives a replaced one.
    fn renew(&mut self, user: UserId) -> Result<Reply, CoreEnded> {
        if self.allowance.take(Instant::now(), 1) {
            self.renewed(user)
        } else {
            Ok(Reply::Refused(Refusal::Busy))
        }
    }

    fn renewed(&self, user: UserId) -> Result<Reply, CoreEnded> {
        let key = self.key;
        let device = self.device;
        let asked = self.shared.core.ask(move |view| {
            let (presence, directory) = (&*view.presence, view.directory());
            let password = presence.password_of(key, user, directory)?;
            Some((password, presence.device_void_until_ms(user, device, directory)))
        });
        let password = asked.ok_or(CoreEnded)?;
        let renewed = |(password, void_until_ms)| {
            Reply::Renewed(self.shared.token(user, device, password, void_until_ms))
        };
        Ok(password.map_or(Reply::Refused(Refusal::LoginFirst), renewed))
    }

    /// Signs tickets for those of the groups that the user is in now.
    fn tickets(&mut self, user: UserId, mut groups: Vec<GroupId>) -> Result<Reply, CoreEnded> {
        groups.sort_unstable();
        groups.dedup();
        if !self.allowance.take(Instant::now(), groups.len()) {
            return Ok(Reply::Refused(Refusal::Busy));
        }
        let (key, device) = (self.key, self.device);
        let asked = self.shared.core.ask(move |view| {
            let (presence, directory) = (&*view.presence, view.directory());
            presence.password_of(key, user, directory)?;
            groups.retain(|group| directory.is_member(*group, user));
            let of_device_ms = presence.device_void_until_ms(user, device, directory);
            let void_until_ms =
                |group| presence.tickets_void_until_ms(group, user, directory).max(of_device_ms);
            Some(groups.into_iter().map(|group| (group, void_until_ms(group))).collect::<Vec<_>>())
        });
        let Some(groups) = asked.ok_or(CoreEnded)? else {
            return Ok(Reply::Refused(Refusal::LoginFirst));
        };
        let ticket =
            |(group, void_until_ms)| self.shared.ticket(group, user, self.device, void_until_ms);
        Ok(Reply::Tickets(groups.into_iter().map(ticket).collect()))
    }

    /// The client has proven to be this user, by the password that the write `password` set: now,
    /// or at `proven_ms`, when a tracker signed the token that it has shown.
    fn enter(
        &mut self,
        entry: UserEntry,
        password: Version,
        proven_ms: Option<u64>,
    ) -> Result<Reply, CoreEnded> {
        let user = entry.user;
        if !self.admission.prove() {
            warn!(
                "{}: turned away after login: too many sessions here, or from there",
                self.address
            );
            return Ok(Reply::Refused(Refusal::Busy));
        }
        let (outbox, over) = (self.outbox.clone(), self.over.clone());
        let (key, device, address) = (self.key, self.device, self.address);
        let entered = self.shared.core.ask(move |view| {
            let row = view.replica.directory().user_row(user).ok_or(Refusal::SessionOver)?;
            if row.is_disabled {
                return Err(Refusal::Disabled);
            }
            let must_change = row.must_change;
            let directory = view.replica.directory();
            let void_until_ms = view.presence.device_void_until_ms(user, device, directory);
            let proven_ms = proven_ms.unwrap_or_else(|| later_than(void_until_ms, view.now_ms));
            let visitor = Visitor { user, device, address, outbox, password, proven_ms, over };
            let looked = view.presence.log_in(key, visitor, directory, view.now_ms)?;
            Ok((looked, must_change, void_until_ms))
        });
        let (must_change, void_until_ms) = match entered.ok_or(CoreEnded)? {
            Ok((looked, must_change, void_until_ms)) => {
                self.allowance.owe(Instant::now(), looked / LOOKS_PER_SIGNATURE);
                (must_change, void_until_ms)
            }
            Err(refusal) => {
                if self.user.is_none() {
                    self.admission.unprove();
                }
                return Ok(Reply::Refused(refusal));
            }
        };
        (self.user, self.was) = (Some(user), None);
        self.label = Some(entry.label.clone());
        debug!("{}: {} has logged in", self.address, entry.label);
        let trackers = std::iter::once(self.shared.trackers_event());
        let enough = self.shared.enough_event().into_iter();
        for event in enough.chain(trackers).chain(self.shared.key_events()) {
            self.outbox.push(to_frame(&FromTracker::Event(event)).into());
        }
        Ok(Reply::LoggedIn {
            user: entry,
            token: self.shared.token(user, self.device, password, void_until_ms),
            must_change,
        })
    }

    fn change_password(
        &mut self,
        user: UserId,
        request: RequestStamp,
        old: &Password,
        new: &Password,
    ) -> Result<Reply, CoreEnded> {
        match self
            .shared
            .change_password(self.caller(), user, request, old, new)
            .ok_or(CoreEnded)?
        {
            // Whatever may be signed else: the token that the client has is void.
            Ok(_) => self.renewed(user),
            Err(refusal) => Ok(Reply::Refused(refusal)),
        }
    }

    /// The client repeats a request that has been carried out, and by that has ended its own login
    /// here: the new password is shown.
    fn password_changed(
        &mut self,
        was: UserId,
        request: RequestStamp,
        new: &Password,
    ) -> Result<Reply, CoreEnded> {
        match self.shared.find_changed(self.caller(), was, request, new).ok_or(CoreEnded)? {
            Ok((entry, tag)) => match self.enter(entry, tag, None)? {
                Reply::LoggedIn { token, .. } => Ok(Reply::Renewed(token)),
                refused => Ok(refused),
            },
            Err(refusal) => Ok(Reply::Refused(refusal)),
        }
    }
}

fn reply(outcome: Outcome) -> Reply {
    outcome.map_or_else(Reply::Refused, Reply::Done)
}

/// However a session ends, the others learn that its device has gone.
impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.outbox.close();
        if self.user.is_some() {
            let key = self.key;
            self.shared.core.tell(move |view| view.presence.end(key, view.now_ms));
        }
    }
}
