//! One client's connection, from its hello to its end.
//!
//! **Invariant:** requests are answered one at a time, in order. Nothing but the address observed and the password given says who
//! the client is.
//!
//! Runs on the connection's own thread, which waits for the socket, for its turn to check a password, or for the core; it holds no
//! lock meanwhile. While idle it holds no buffer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use log::{debug, info, warn};

use super::answer::answer;
use super::clock::wall_ms;
use super::guard::Caller;
use super::outbox::Outbox;
use super::presence::{SessionKey, Visitor};
use super::shared::Shared;
use crate::net::{Admission, Connection, Source};
use crate::types::limits::{TRACKER_FRAME_LEN_MAX, TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN};
use crate::types::{DeviceId, GroupId, Label, Outcome, Password, Refusal, RequestId, SessionToken, Tag, UserEntry, UserId};
use crate::wire::frame::{FrameError, read_message, to_frame};
use crate::wire::tracker::{ClientHello, FromClient, FromTracker, Reply, Request, Unwelcome, VERSION, Welcome};

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
) -> Result<(), FrameError> {
    let outbox = Outbox::new(connection.clone(), &shared.notifier);
    if shared.accepted.is_full() {
        return Ok(outbox.send(to_frame(&FromTracker::Unwelcome(Unwelcome::Full)).into())?);
    }
    let address = SocketAddr::new(connection.peer_addr().ip().to_canonical(), hello.port);
    let origin = *shared.origin.lock();
    let clock_ms = wall_ms(shared.limits.clock_offset_ms);
    let welcome = Welcome { version: VERSION, number: shared.number, origin, observed: address, clock_ms };
    outbox.send(to_frame(&FromTracker::Welcome(welcome)).into())?;
    let session = Session { shared, key: shared.new_key(), device, address, outbox, admission, user: None };
    session.run(connection)
}

struct Session<'a> {
    shared: &'a Arc<Shared>,
    key: SessionKey,
    device: DeviceId,
    address: SocketAddr,
    outbox: Arc<Outbox>,
    admission: Admission,
    user: Option<UserId>,
}

/// The core has ended, and the connection with it.
struct CoreEnded;

impl Session<'_> {
    fn run(mut self, connection: &Connection) -> Result<(), FrameError> {
        let mut reader = connection.reader();
        loop {
            if !reader.wait(self.shared.limits.idle)? {
                debug!("{}: silent for {:?}", connection.peer_addr(), self.shared.limits.idle);
                return Ok(());
            }
            reader.set_deadline(Some(Instant::now() + self.shared.limits.message));
            let max = if self.user.is_some() { TRACKER_FRAME_LEN_MAX } else { TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN };
            let FromClient { number, request } = read_message(&mut reader, max)?;
            let Ok(reply) = self.handle(request) else { return Ok(()) };
            self.outbox.send(to_frame(&FromTracker::Reply { number, reply }).into())?;
        }
    }

    fn handle(&mut self, request: Request) -> Result<Reply, CoreEnded> {
        match request {
            Request::Ping => Ok(Reply::Pong),
            Request::CreateUser { request, name, password } => {
                self.shared.create_user(self.caller(), request, name, &password).map(reply).ok_or(CoreEnded)
            }
            Request::Login { name, password } => self.log_in(name, &password),
            Request::Resume { token } => self.resume(&token),
            Request::ListTrackers => {
                let shared = self.shared.clone();
                let asked = self.shared.core.ask(move |view| (shared.trackers(view), view.replica.is_degraded()));
                asked.map(|(entries, degraded)| Reply::Trackers { entries, degraded }).ok_or(CoreEnded)
            }
            other => match self.user {
                Some(user) => self.handle_of(user, other),
                None => Ok(Reply::Refused(Refusal::LoginFirst)),
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
                self.user = None;
                self.admission.unprove();
                core.ask(move |view| view.presence.end(key)).map(|()| Reply::Pong).ok_or(CoreEnded)
            }
            Request::Renew => self.renew(user),
            Request::Tickets { groups } => self.tickets(user, groups),
            Request::ChangePassword { request, old, new } => self.change_password(user, request, &old, &new),
            Request::Announce { entries } => {
                let announce = core.ask(move |view| view.presence.announce(key, &entries, view.replica.directory()));
                announce.ok_or(CoreEnded)
            }
            question => {
                let answered = core.ask(move |view| answer(view, user, &question)).ok_or(CoreEnded)?;
                Ok(answered.unwrap_or(Reply::Refused(Refusal::LoginFirst)))
            }
        }
    }

    fn caller(&self) -> Caller<'_> {
        Caller { source: Source::of(self.address.ip()), device: self.device, admission: &self.admission }
    }

    fn log_in(&mut self, name: Label, password: &Password) -> Result<Reply, CoreEnded> {
        match self.shared.find_user(self.caller(), name, password).ok_or(CoreEnded)? {
            Ok((entry, tag)) => self.enter(entry, tag),
            Err(refusal) => {
                info!("{}: a login failed: {refusal}", self.address);
                Ok(Reply::Refused(refusal))
            }
        }
    }

    /// The client shows a token instead of a password.
    fn resume(&mut self, token: &SessionToken) -> Result<Reply, CoreEnded> {
        if !self.shared.takes_token(token, self.device) {
            return Ok(Reply::Refused(Refusal::SessionOver));
        }
        let (user, password) = (token.claims.user, token.claims.password);
        let asked = self.shared.core.ask(move |view| {
            let directory = view.directory();
            directory.user_entry(user).zip(directory.password_tag(user))
        });
        match asked.ok_or(CoreEnded)? {
            // The account was made on another tracker, and this one has not heard of it.
            None => Ok(Reply::Refused(Refusal::Busy)),
            Some((_, tag)) if tag > password => Ok(Reply::Refused(Refusal::SessionOver)),
            Some((entry, _)) => {
                // Some tracker has seen the password on this device.
                self.shared.gate.note_known(user, self.device);
                self.enter(entry, password)
            }
        }
    }

    /// Gives a token that lasts from now on.
    fn renew(&self, user: UserId) -> Result<Reply, CoreEnded> {
        let tag = self.shared.core.ask(move |view| view.directory().password_tag(user)).ok_or(CoreEnded)?;
        Ok(tag.map_or(Reply::Refused(Refusal::SessionOver), |tag| Reply::Renewed(self.shared.token(user, self.device, tag))))
    }

    fn tickets(&self, user: UserId, groups: Vec<GroupId>) -> Result<Reply, CoreEnded> {
        let asked = self.shared.core.ask(move |view| {
            let since = |group: &GroupId| Some((*group, view.directory().member_since(*group, user)?));
            groups.iter().filter_map(since).collect::<Vec<_>>()
        });
        let ticket = |(group, since)| self.shared.ticket(group, user, self.device, since);
        Ok(Reply::Tickets(asked.ok_or(CoreEnded)?.into_iter().map(ticket).collect()))
    }

    /// The client has proven to be this user, by the password that the write `password` set.
    fn enter(&mut self, entry: UserEntry, password: Tag) -> Result<Reply, CoreEnded> {
        let user = entry.user;
        if !self.admission.prove() {
            warn!("{}: turned away after login: too many sessions here, or from there", self.address);
            return Ok(Reply::Refused(Refusal::Busy));
        }
        let visitor = Visitor { user, device: self.device, address: self.address, outbox: self.outbox.clone() };
        let key = self.key;
        let entered = self.shared.core.ask(move |view| view.presence.log_in(key, visitor, view.replica.directory()));
        entered.ok_or(CoreEnded)?;
        self.user = Some(user);
        debug!("{}: {} has logged in", self.address, entry.label);
        Ok(Reply::LoggedIn { user: entry, token: self.shared.token(user, self.device, password) })
    }

    fn change_password(&self, user: UserId, request: RequestId, old: &Password, new: &Password) -> Result<Reply, CoreEnded> {
        match self.shared.change_password(self.caller(), user, request, old, new).ok_or(CoreEnded)? {
            Ok(_) => self.renew(user),
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
            self.shared.core.tell(move |view| view.presence.end(key));
        }
    }
}
