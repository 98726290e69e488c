//! One client's connection, from its hello to its end.
//!
//! **Invariant:** requests are answered one at a time, in order. Nothing but the address observed and the password given says who
//! the client is.
//!
//! Runs on the connection's own thread, which waits for the socket, for a place to check a password, or for the core; it holds no
//! lock meanwhile. While idle it holds no buffer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use log::{debug, info};

use super::answer::answer;
use super::clock::wall_ms;
use super::outbox::Outbox;
use super::presence::{SessionKey, Visitor};
use super::shared::Shared;
use crate::net::{Admission, Connection};
use crate::types::limits::{TRACKER_FRAME_LEN_MAX, TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN};
use crate::types::{Change, DeviceId, GroupId, Label, Password, Refusal, RequestId, SessionToken, Tag, UserEntry, UserId};
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
    if shared.accepted.count() > shared.limits.connections {
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
                let Ok(hash) = self.shared.hasher.hash(&password) else { return Ok(Reply::Refused(Refusal::Busy)) };
                self.change(UserId::NOBODY, request, Change::CreateUser { name, hash })
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
            return self.change(user, id, change);
        }
        let (key, core) = (self.key, &self.shared.core);
        match request {
            Request::Logout => {
                self.user = None;
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

    fn change(&self, actor: UserId, request: RequestId, change: Change) -> Result<Reply, CoreEnded> {
        match self.shared.core.change(actor, request, change).ok_or(CoreEnded)? {
            Ok(effect) => Ok(Reply::Done(effect)),
            Err(refusal) => Ok(Reply::Refused(refusal)),
        }
    }

    fn log_in(&mut self, name: Label, password: &Password) -> Result<Reply, CoreEnded> {
        let asked = self.shared.core.ask(move |view| {
            let directory = view.directory();
            let candidates = directory.login_candidates(name.as_str()).into_iter();
            let with_tag = |(entry, hash): (UserEntry, _)| Some((directory.password_tag(entry.user)?, entry, hash));
            candidates.filter_map(with_tag).collect::<Vec<_>>()
        });
        let candidates = asked.ok_or(CoreEnded)?;
        let hashes: Vec<_> = candidates.iter().map(|(_, _, hash)| hash).collect();
        let found = match self.shared.hasher.find(password, &hashes) {
            Ok(Some(index)) => candidates.into_iter().nth(index).map(|(tag, entry, _)| (tag, entry)),
            Ok(None) => None,
            Err(refusal) => return Ok(Reply::Refused(refusal)),
        };
        match found {
            Some((tag, entry)) => self.enter(entry, tag),
            None => {
                info!("{}: a login failed", self.address);
                Ok(Reply::Refused(Refusal::WrongPassword))
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
            Some((entry, _)) => self.enter(entry, password),
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
        let visitor = Visitor { user, device: self.device, address: self.address, outbox: self.outbox.clone() };
        let key = self.key;
        let entered = self.shared.core.ask(move |view| view.presence.log_in(key, visitor, view.replica.directory()));
        entered.ok_or(CoreEnded)?;
        self.user = Some(user);
        self.admission.prove();
        debug!("{}: {} has logged in", self.address, entry.label);
        Ok(Reply::LoggedIn { user: entry, token: self.shared.token(user, self.device, password) })
    }

    fn change_password(&self, user: UserId, request: RequestId, old: &Password, new: &Password) -> Result<Reply, CoreEnded> {
        let asked = self.shared.core.ask(move |view| {
            let directory = view.directory();
            (directory.password_hash(user).cloned(), directory.outcome(request, user).is_some())
        });
        let (present, repeated) = asked.ok_or(CoreEnded)?;
        let Some(present) = present else { return Ok(Reply::Refused(Refusal::LoginFirst)) };
        // A repeated request finds the old password replaced already, by itself; its outcome is on record.
        if !repeated {
            match self.shared.hasher.find(old, &[&present]) {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(Reply::Refused(Refusal::WrongOldPassword)),
                Err(refusal) => return Ok(Reply::Refused(refusal)),
            }
        }
        match self.shared.hasher.hash(new) {
            Ok(hash) => match self.change(user, request, Change::ChangePassword { hash })? {
                Reply::Done(_) => self.renew(user),
                refused => Ok(refused),
            },
            Err(refusal) => Ok(Reply::Refused(refusal)),
        }
    }
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
