//! Who is connected to this tracker, and what they seed and leech: soft state, never on disk.
//!
//! **Invariant:** an entry is *active*, that is, counted and shown to others, exactly while the
//! directory allows it: seeding while its user shares the file, leeching while its user is a
//! member. An entry that the directory does not allow yet is kept, and becomes active when the
//! operation that allows it arrives from another tracker, in whatever order operations come. A
//! leecher that had to wait so is then told who is there.
//!
//! Owned by the core thread, so that what it says and what the directory says never differ. Events
//! leave at the end of a turn, into outboxes, which never block. Who hears of what: a device that
//! leeches a file hears of everybody in its swarm, one that seeds it of those who leech; that a
//! device has withdrawn, everybody in the swarm hears.

mod candidates;
mod changes;
mod devices;
pub(crate) mod elsewhere;
mod follow;
mod groups;
mod late;
mod punches;
mod punching;
mod relays;
mod reports;
mod swarm;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use self::changes::Changes;
use self::devices::{LastSeen, UserDevice};
use self::elsewhere::Elsewhere;
use self::groups::GroupChanges;
use self::late::LateEnds;
use self::punching::Punching;
pub(crate) use self::relays::told_address;
use self::relays::{Introductions, RelayUse};
pub(crate) use self::reports::Fault;
use self::reports::Reports;
use self::swarm::{Word, check};
use super::outbox::{Frame, Outbox};
use crate::directory::{Directory, Rows};
use crate::types::limits::PEERS_PER_ANSWER_MAX;
use crate::types::{
    Candidate, DeviceId, DownloadState, GroupId, InfoHash, PeerEntry, Refusal, RequestId, UserId,
    Version,
};
use crate::wire::frame::to_frame;
use crate::wire::tracker::{AnnounceEntry, Event, FromTracker, Reply};

/// Entries of one session: more files than a device offers, and few enough to bound what one
/// session can make the tracker hold.
const ENTRIES_PER_SESSION_MAX: usize = 65_536;
/// Entries of one user over all sessions: a few devices with as many files as they may have.
const ENTRIES_PER_USER_MAX: usize = 4 * ENTRIES_PER_SESSION_MAX;
/// Entries of all sessions up to which a user may have so many: some 600 MiB. Beyond,
/// [`ENTRIES_PER_USER_SCARCE`].
const ENTRIES_PLENTY: usize = 4 << 20;
/// Entries of one user when there are very many in all: so a few cannot take the room of all
/// others.
const ENTRIES_PER_USER_SCARCE: usize = 2_048;
/// Entries of one session that the directory does not allow: some trackers have not heard of the
/// latest shares, and files may have lost their sharers. Anybody with an account can make these up.
const WAITING_PER_SESSION_MAX: usize = 8_192;
/// The same, of all sessions: some 150 MiB.
const WAITING_MAX: usize = 1 << 20;
/// Peers in one answer, over all files announced: keeps it at about 256 KiB. Each file has one
/// named if there is any.
pub(crate) const PEERS_PER_ANNOUNCE_MAX: usize = 2_560;
/// Maximum bytes of candidates in one answer; later peers are sent without candidates. The rest of
/// the largest answer fills half a frame.
pub(crate) const CANDIDATE_BYTES_MAX: usize = 1 << 20;
/// Bytes of a candidate on the wire, at most: a kind, a length, an IPv6 address and a port, and
/// lengths of later fields.
const CANDIDATE_LEN_MAX: usize = 32;
/// Sessions of one user: more devices than anybody has.
const SESSIONS_PER_USER_MAX: usize = 16;
/// Sessions of one device, each of another user: a client has one at a time.
const SESSIONS_PER_DEVICE_MAX: usize = 8;

/// Number of a client connection, unique while the tracker runs; a later one has a larger one.
pub(crate) type SessionKey = u64;
/// A file in a group.
pub(crate) type SwarmKey = (InfoHash, GroupId);

/// A session that has logged in.
#[derive(Debug)]
pub(crate) struct Visitor {
    /// The user.
    pub(crate) user: UserId,
    /// The installation.
    pub(crate) device: DeviceId,
    /// Where it takes links: the address seen, the port told.
    pub(crate) address: SocketAddr,
    /// Where its events go.
    pub(crate) outbox: Arc<Outbox>,
    /// The write that set the password which was shown, here or, for a token, elsewhere. The
    /// session ends when another replaces it.
    pub(crate) password: Version,
    /// When that was shown, or the token was signed, milliseconds since the Unix epoch: the session
    /// ends if the device is forgotten later.
    pub(crate) proven_ms: u64,
    /// Set when the login ends by anything but its own request.
    pub(crate) over: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Session {
    visitor: Visitor,
    entries: HashMap<SwarmKey, Entry>,
    /// How many of them are not active.
    waiting: usize,
    /// The last change it asked for: what comes of that, it learns by the reply.
    asked: Option<RequestId>,
    /// When it logged in, by the tracker's clock.
    since_ms: u64,
    /// Where else its device may take links, as it said: at most
    /// [`CANDIDATES_MAX`](crate::types::limits::CANDIDATES_MAX).
    candidates: Arc<[Candidate]>,
    relay_use: RelayUse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    state: DownloadState,
    active: bool,
}

/// A user with at least one session.
#[derive(Debug, Default)]
struct Online {
    sessions: HashSet<SessionKey>,
    /// Entries of all of them.
    entries: usize,
    /// Groups the user is known to be a member of: tells when that changes.
    groups: HashSet<GroupId>,
}

/// The active entries for one file in one group.
type Swarm = HashMap<SessionKey, DownloadState>;

/// All sessions, users and swarms of this tracker.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    sessions: HashMap<SessionKey, Session>,
    users: HashMap<UserId, Online>,
    devices: HashMap<DeviceId, HashSet<SessionKey>>,
    swarms: BTreeMap<SwarmKey, Swarm>,
    /// How many of a swarm seed.
    seeders: HashMap<SwarmKey, u32>,
    /// Who has an entry that is not active, by what it is about: they are looked at when that
    /// changes.
    waiting: BTreeSet<(SwarmKey, SessionKey)>,
    /// Entries of all sessions.
    entries: usize,
    changes: Changes,
    group_changes: GroupChanges,
    late: LateEnds,
    late_devices: LateEnds<UserDevice>,
    /// Devices that were forgotten, which this tracker has heard of late in this turn.
    forgotten_late: Vec<UserDevice>,
    last_seen: LastSeen,
    reports: Reports,
    introductions: Introductions,
    elsewhere: Elsewhere,
    punching: Punching,
    /// What sessions are to be told at the end of the turn.
    leaving: RefCell<Vec<(Arc<Outbox>, Frame)>>,
}

/// A password was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replaced {
    /// Whose.
    pub(crate) user: UserId,
    /// The device here that asked for it, if one did.
    pub(crate) by: Option<DeviceId>,
}

impl Presence {
    /// Number of sessions that have logged in.
    pub(crate) fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Every session that has logged in: its user, and when it did so.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = (&Visitor, u64)> {
        self.sessions.values().map(|session| (&session.visitor, session.since_ms))
    }

    /// Entries of all sessions, and how many of them are not active.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> (usize, usize) {
        let (all, waiting) = self.sessions.values().fold((0, 0), |(all, waiting), session| {
            let inactive = session.entries.values().filter(|entry| !entry.active).count();
            assert_eq!(session.waiting, inactive);
            (all + session.entries.len(), waiting + inactive)
        });
        assert_eq!((self.entries, self.waiting.len()), (all, waiting));
        assert_eq!(self.users.values().map(|online| online.entries).sum::<usize>(), all);
        (all, waiting)
    }

    /// Tells whether a device of the user is connected.
    pub(crate) fn is_online(&self, user: UserId) -> bool {
        self.users.contains_key(&user)
    }

    /// Number of devices connected that have the whole file and offer it to the group.
    pub(crate) fn seeder_count(&self, group: GroupId, info_hash: InfoHash) -> u32 {
        self.seeders.get(&(info_hash, group)).copied().unwrap_or(0)
    }

    /// Notes a login, tells the session which tickets are void, and returns how many things were
    /// looked at for that. An earlier session of the same device and user is over: the device has
    /// dialled again, and the tracker has not noticed yet that the old connection is dead. When a
    /// user or a device has as many sessions as it may, the oldest is over: were the newcomer
    /// turned away instead, an intruder who holds them all would keep the owner out, who comes to
    /// change the password.
    ///
    /// # Errors
    /// [`Refusal::SessionOver`] if the password shown has been replaced since, or the device was
    /// forgotten.
    pub(crate) fn log_in(
        &mut self,
        key: SessionKey,
        visitor: Visitor,
        directory: &Directory<impl Rows>,
        now_ms: u64,
    ) -> Result<usize, Refusal> {
        let (user, device) = (visitor.user, visitor.device);
        if !self.is_good(&visitor, directory) {
            return Err(Refusal::SessionOver);
        }
        // Logging in as another is logging out; whoever logs in again goes on.
        let word = if self.user_of(key) == Some(user) { Word::Some } else { Word::Withdrawn };
        self.log_out(key, word);
        for other in self.sessions_of(user) {
            let same = self
                .sessions
                .get(&other)
                .is_some_and(|session| session.visitor.device == visitor.device);
            if same {
                self.turn_out(other);
            }
        }
        self.make_room(SESSIONS_PER_USER_MAX, |presence| {
            presence.users.get(&user).map(|online| &online.sessions)
        });
        self.make_room(SESSIONS_PER_DEVICE_MAX, |presence| presence.devices.get(&visitor.device));
        let groups = || directory.groups_of(user).collect();
        let online = self
            .users
            .entry(user)
            .or_insert_with(|| Online { groups: groups(), ..Online::default() });
        online.sessions.insert(key);
        self.devices.entry(visitor.device).or_default().insert(key);
        visitor.over.store(false, Ordering::Relaxed);
        self.sessions.insert(
            key,
            Session {
                visitor,
                entries: HashMap::new(),
                waiting: 0,
                asked: None,
                since_ms: now_ms,
                candidates: Arc::default(),
                relay_use: RelayUse::default(),
            },
        );
        self.note_seen(key, now_ms);
        self.note_online(user, device, true);
        let groups: Vec<GroupId> =
            self.users.get(&user).into_iter().flat_map(|online| &online.groups).copied().collect();
        Ok(self.tell_voids(&[key], &groups, directory, now_ms))
    }

    /// The user logged in on a session.
    pub(crate) fn user_of(&self, key: SessionKey) -> Option<UserId> {
        self.sessions.get(&key).map(|session| session.visitor.user)
    }

    /// The write that set the password on which a user's session rests; `None` if they are not
    /// logged in there. In the turn in which a password is replaced its sessions still stand, and
    /// are good for nothing any more.
    pub(crate) fn password_of(
        &self,
        key: SessionKey,
        user: UserId,
        directory: &Directory<impl Rows>,
    ) -> Option<Version> {
        let visitor = &self.sessions.get(&key)?.visitor;
        let is_good = visitor.user == user && self.is_good(visitor, directory);
        is_good.then_some(visitor.password)
    }

    /// Tells whether what a session has shown still counts.
    fn is_good(&self, visitor: &Visitor, directory: &Directory<impl Rows>) -> bool {
        let Visitor { user, device, password, proven_ms, .. } = *visitor;
        directory.is_password_current(user, password) != Some(false)
            && proven_ms > self.device_void_until_ms(user, device, directory)
    }

    /// Notes which change a session asks for; false if the user is not logged in there.
    pub(crate) fn asks(
        &mut self,
        key: SessionKey,
        user: UserId,
        request: RequestId,
        directory: &Directory<impl Rows>,
    ) -> bool {
        let is_good = self.password_of(key, user, directory).is_some();
        if is_good && let Some(session) = self.sessions.get_mut(&key) {
            session.asked = Some(request);
        }
        is_good
    }

    /// The time up to which signed tickets of a user for a group are void on every device, in
    /// milliseconds; 0 if none are.
    pub(crate) fn tickets_void_until_ms(
        &self,
        group: GroupId,
        user: UserId,
        directory: &Directory<impl Rows>,
    ) -> u64 {
        directory.tickets_void_until_ms(group, user).max(self.late.until_ms(group, user))
    }

    /// Notes that a session's user has logged out: what the device offered is withdrawn.
    pub(crate) fn leave(&mut self, key: SessionKey, now_ms: u64) {
        self.note_seen(key, now_ms);
        self.log_out(key, Word::Withdrawn);
    }

    /// Notes the end of a session's connection: its entries go. One that is not logged in is passed
    /// over.
    pub(crate) fn end(&mut self, key: SessionKey, now_ms: u64) {
        self.note_seen(key, now_ms);
        self.log_out(key, Word::Some);
    }

    /// Ends the oldest of some sessions, so that there is room for one more.
    fn make_room(&mut self, max: usize, sessions: impl Fn(&Self) -> Option<&HashSet<SessionKey>>) {
        while let Some(oldest) = sessions(self)
            .filter(|keys| keys.len() >= max)
            .and_then(|keys| keys.iter().min().copied())
        {
            self.turn_out(oldest);
        }
    }

    /// Ends a session and its connection.
    fn turn_out(&mut self, key: SessionKey) {
        if let Some(session) = self.log_out(key, Word::Some) {
            session.visitor.outbox.close();
        }
    }

    /// Ends all sessions and their connections: they may not have been told of something. Their
    /// clients come back, and hear all that counts.
    pub(crate) fn end_all(&mut self) {
        let keys: Vec<SessionKey> = self.sessions.keys().copied().collect();
        keys.into_iter().for_each(|key| self.turn_out(key));
    }

    fn log_out(&mut self, key: SessionKey, word: Word) -> Option<Session> {
        let keys: Vec<SwarmKey> = self.sessions.get(&key)?.entries.keys().copied().collect();
        for swarm in keys {
            self.show(key, swarm, DownloadState::Stopped, word);
            self.note_waiting(key, swarm, false);
        }
        let session = self.sessions.remove(&key)?;
        self.relays_no_more(key, &session);
        self.note_online(session.visitor.user, session.visitor.device, false);
        self.entries -= session.entries.len();
        if let Some(online) = self.users.get_mut(&session.visitor.user) {
            online.entries -= session.entries.len();
            online.sessions.remove(&key);
            if online.sessions.is_empty() {
                self.users.remove(&session.visitor.user);
            }
        }
        if let Some(keys) = self.devices.get_mut(&session.visitor.device) {
            keys.remove(&key);
            if keys.is_empty() {
                self.devices.remove(&session.visitor.device);
            }
        }
        Some(session)
    }

    /// Takes what a user's device says about files, one thing of each ([`last_of_each`]), and names
    /// peers for those it leeches. Entries that the directory does not allow are passed over until
    /// it does; if it allows none of them, the answer is the reason for the first.
    ///
    /// # Errors
    /// How long this has to wait, if the user's part has changed too often: nothing was taken.
    pub(crate) fn announce(
        &mut self,
        key: SessionKey,
        user: UserId,
        entries: &[AnnounceEntry],
        directory: &Directory<impl Rows>,
    ) -> Result<Reply, Duration> {
        if self.password_of(key, user, directory).is_none() {
            return Ok(Reply::Refused(Refusal::LoginFirst));
        }
        let wait = self
            .changes
            .wait(user, entries.iter().filter(|entry| self.is_change(key, entry)).map(key_of));
        if !wait.is_zero() {
            return Err(wait);
        }
        Ok(self.take_announced(key, entries, directory))
    }

    /// Tells whether an entry is another than the session has, as far as others may see, or asks
    /// who they are.
    fn is_change(&self, key: SessionKey, entry: &AnnounceEntry) -> bool {
        let known = self.sessions.get(&key).and_then(|session| session.entries.get(&key_of(entry)));
        let shown =
            known.filter(|known| known.active).map_or(DownloadState::Stopped, |known| known.state);
        shown != entry.state || entry.state == DownloadState::Leeching
    }

    fn take_announced(
        &mut self,
        key: SessionKey,
        entries: &[AnnounceEntry],
        directory: &Directory<impl Rows>,
    ) -> Reply {
        let (mut peers, mut refusal, mut allowed) = (Vec::new(), None, entries.is_empty());
        let leeching =
            entries.iter().filter(|entry| entry.state == DownloadState::Leeching).count();
        let of_each = (PEERS_PER_ANNOUNCE_MAX / leeching.max(1)).clamp(1, PEERS_PER_ANSWER_MAX);
        let mut members = HashMap::new();
        let mut room = CANDIDATE_BYTES_MAX;
        for entry in entries {
            if let Err(why) = self.announce_one(key, entry, &mut members, directory) {
                refusal = refusal.or(Some(why));
                continue;
            }
            allowed = true;
            if entry.state == DownloadState::Leeching {
                let named = peers.len();
                self.name_peers(key, key_of(entry), of_each, &mut peers);
                leave_out_candidates(&mut peers[named..], &mut room);
                if peers.len() > named
                    && let Some(user) = self.user_of(key)
                {
                    self.changes.note(user, key_of(entry));
                }
            }
        }
        match refusal {
            Some(why) if !allowed => Reply::Refused(why),
            _ => Reply::Peers(peers),
        }
    }

    /// Tells every session something.
    pub(crate) fn broadcast(&self, event: Event) {
        let frame = event_frame(event);
        self.sessions.values().for_each(|session| self.send(session, frame.clone()));
    }

    /// Lets out what sessions are to be told. Not to be called when the directory could not be
    /// read: what seemed not to be there may be.
    pub(crate) fn let_out(&mut self) {
        self.leaving.get_mut().drain(..).for_each(|(outbox, frame)| outbox.push(frame));
    }

    fn send(&self, session: &Session, frame: Frame) {
        self.leaving.borrow_mut().push((session.visitor.outbox.clone(), frame));
    }

    /// Tells some sessions something.
    fn push(&self, keys: &[SessionKey], event: Event) {
        if keys.is_empty() {
            return;
        }
        let frame = event_frame(event);
        keys.iter()
            .filter_map(|key| self.sessions.get(key))
            .for_each(|session| self.send(session, frame.clone()));
    }

    fn sessions_of(&self, user: UserId) -> Vec<SessionKey> {
        self.users.get(&user).into_iter().flat_map(|online| &online.sessions).copied().collect()
    }

    /// `members` tells in which groups the user is, as far as it has been looked up.
    fn announce_one(
        &mut self,
        key: SessionKey,
        entry: &AnnounceEntry,
        members: &mut HashMap<GroupId, bool>,
        directory: &Directory<impl Rows>,
    ) -> Result<(), Refusal> {
        let swarm = key_of(entry);
        if entry.state == DownloadState::Stopped {
            self.drop_entry(key, swarm, Word::Withdrawn);
            return Ok(());
        }
        let Some(session) = self.sessions.get(&key) else { return Err(Refusal::LoginFirst) };
        let known = session.entries.get(&swarm).copied();
        let was_active = known.is_some_and(|entry| entry.active);
        // What is active is allowed, until the directory changes.
        let allowed = if known == Some(Entry { state: entry.state, active: true }) {
            Ok(())
        } else {
            let user = session.visitor.user;
            let is_member =
                *members.entry(swarm.1).or_insert_with(|| directory.is_member(swarm.1, user));
            check(user, is_member, swarm, entry.state, was_active, directory)
        };
        if allowed.is_err() {
            let user = session.visitor.user;
            self.changes.note_looked_up(user);
        }
        let Some(session) = self.sessions.get(&key) else { return Err(Refusal::LoginFirst) };
        let waits = known.is_some_and(|entry| !entry.active);
        if allowed.is_err()
            && !waits
            && (session.waiting >= WAITING_PER_SESSION_MAX || self.waiting.len() >= WAITING_MAX)
        {
            self.drop_entry(key, swarm, Word::All);
            return Err(Refusal::TooManyShares);
        }
        if known.is_none() && !self.has_room(session) {
            return Err(Refusal::TooManyShares);
        }
        self.put_entry(key, swarm, Entry { state: entry.state, active: was_active });
        let (state, word) = if allowed.is_ok() {
            (entry.state, Word::Some)
        } else {
            (DownloadState::Stopped, Word::All)
        };
        self.show(key, swarm, state, word);
        allowed
    }

    /// Tells whether a session may have one more entry.
    fn has_room(&self, session: &Session) -> bool {
        let of_user = if self.entries < ENTRIES_PLENTY {
            ENTRIES_PER_USER_MAX
        } else {
            ENTRIES_PER_USER_SCARCE
        };
        let user = self.users.get(&session.visitor.user).map_or(0, |online| online.entries);
        session.entries.len() < ENTRIES_PER_SESSION_MAX && user < of_user
    }

    fn put_entry(&mut self, key: SessionKey, swarm: SwarmKey, entry: Entry) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if session.entries.insert(swarm, entry).is_none() {
            self.entries += 1;
            if let Some(online) = self.users.get_mut(&session.visitor.user) {
                online.entries += 1;
            }
        }
    }

    fn drop_entry(&mut self, key: SessionKey, swarm: SwarmKey, word: Word) {
        self.show(key, swarm, DownloadState::Stopped, word);
        self.note_waiting(key, swarm, false);
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if session.entries.remove(&swarm).is_some() {
            self.entries -= 1;
            if let Some(online) = self.users.get_mut(&session.visitor.user) {
                online.entries -= 1;
            }
        }
    }
}

/// Names peers without their candidates once there is no room for more of them. Older trackers told
/// none either: a client then knows what others told.
pub(crate) fn leave_out_candidates(peers: &mut [PeerEntry], room: &mut usize) {
    for peer in peers {
        let len = peer.candidates.as_ref().map_or(0, |all| all.len() * CANDIDATE_LEN_MAX);
        match room.checked_sub(len) {
            Some(left) => *room = left,
            None => peer.candidates = None,
        }
    }
}

/// The last that is said of each swarm.
pub(crate) fn last_of_each(entries: Vec<AnnounceEntry>) -> Vec<AnnounceEntry> {
    let mut seen = HashSet::with_capacity(entries.len());
    let mut last: Vec<AnnounceEntry> =
        entries.into_iter().rev().filter(|entry| seen.insert(key_of(entry))).collect();
    last.reverse();
    last
}

fn key_of(entry: &AnnounceEntry) -> SwarmKey {
    (entry.info_hash, entry.group)
}

fn event_frame(event: Event) -> Frame {
    to_frame(&FromTracker::Event(event)).into()
}

#[cfg(test)]
mod tests;
