//! Who is connected to this tracker, and what they seed and leech: soft state, never on disk (design section 4, "Presence").
//!
//! **Invariant:** an entry is *active*, that is, counted and shown to others, exactly while the directory allows it: seeding while
//! its user shares the file, leeching while its user is a member. An entry that the directory does not allow yet is kept, and
//! becomes active when the operation that allows it arrives from another tracker, in whatever order operations come. A leecher that
//! had to wait so is then told who is there.
//!
//! Owned by the core thread, so that what it says and what the directory says never differ. Events are pushed into outboxes, which
//! never block. Who hears of what: a device that leeches a file hears of everybody in its swarm, one that seeds it of those who leech.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use rand::seq::IteratorRandom;

use super::outbox::{Frame, Outbox};
use crate::directory::Directory;
use crate::types::limits::{PAGE_ENTRIES_MAX, PEERS_PER_ANSWER_MAX};
use crate::types::{DeviceId, DownloadState, GroupId, InfoHash, Operation, Part, PeerEntry, Refusal, UserId, Write};
use crate::wire::frame::to_frame;
use crate::wire::tracker::{AnnounceEntry, Event, FromTracker, Reply};

/// Entries of one session: more files than a device offers, and few enough to bound what one session can make the tracker hold.
const ENTRIES_PER_SESSION_MAX: usize = 65_536;
/// Peers in one answer, over all files announced: keeps the frame below 2 MiB.
const PEERS_PER_ANNOUNCE_MAX: usize = 16_384;
/// Sessions that hear of one device's coming and going: more than it will have links. All hear of one that lost its right.
const LISTENERS_MAX: usize = PEERS_PER_ANSWER_MAX;

/// Sessions of one user: more devices than anybody has.
const SESSIONS_PER_USER_MAX: usize = 64;
/// Sessions of one device, each of another user: a client has one at a time.
const SESSIONS_PER_DEVICE_MAX: usize = 8;

/// Number of a client connection, unique while the tracker runs; a later one has a larger one.
pub(crate) type SessionKey = u64;
/// A file in a group.
type SwarmKey = (InfoHash, GroupId);

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
}

#[derive(Debug)]
struct Session {
    visitor: Visitor,
    entries: HashMap<SwarmKey, Entry>,
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
    /// Who has an entry that is not active, by what it is about: they are looked at when that changes.
    waiting: HashMap<SwarmKey, HashSet<SessionKey>>,
}

impl Presence {
    /// Number of sessions that have logged in.
    pub(crate) fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Tells whether a device of the user is connected.
    pub(crate) fn is_online(&self, user: UserId) -> bool {
        self.users.contains_key(&user)
    }

    /// Number of devices connected that have the whole file and offer it to the group.
    pub(crate) fn seeder_count(&self, group: GroupId, info_hash: InfoHash) -> u32 {
        self.seeders.get(&(info_hash, group)).copied().unwrap_or(0)
    }

    /// Notes a login. An earlier session of the same device and user is over: the device has dialled again, and the tracker has
    /// not noticed yet that the old connection is dead. When a user or a device has as many sessions as it may, the oldest is over:
    /// were the newcomer turned away instead, an intruder who holds them all would keep the owner out, who comes to change the
    /// password.
    pub(crate) fn log_in(&mut self, key: SessionKey, visitor: Visitor, directory: &Directory) {
        self.log_out(key);
        let user = visitor.user;
        for other in self.sessions_of(user) {
            let same = self.sessions.get(&other).is_some_and(|session| session.visitor.device == visitor.device);
            if same {
                self.turn_out(other);
            }
        }
        self.make_room(SESSIONS_PER_USER_MAX, |presence| presence.users.get(&user).map(|online| &online.sessions));
        self.make_room(SESSIONS_PER_DEVICE_MAX, |presence| presence.devices.get(&visitor.device));
        let online = self.users.entry(user).or_insert_with(|| Online { groups: groups_of(user, directory), ..Online::default() });
        online.sessions.insert(key);
        self.devices.entry(visitor.device).or_default().insert(key);
        self.sessions.insert(key, Session { visitor, entries: HashMap::new() });
    }

    /// Notes the end of a session's login: its entries go. One that is not logged in is passed over.
    pub(crate) fn end(&mut self, key: SessionKey) {
        self.log_out(key);
    }

    /// Ends the oldest of some sessions, so that there is room for one more.
    fn make_room(&mut self, max: usize, sessions: impl Fn(&Self) -> Option<&HashSet<SessionKey>>) {
        while let Some(oldest) = sessions(self).filter(|keys| keys.len() >= max).and_then(|keys| keys.iter().min().copied()) {
            self.turn_out(oldest);
        }
    }

    /// Ends a session and its connection.
    fn turn_out(&mut self, key: SessionKey) {
        if let Some(session) = self.log_out(key) {
            session.visitor.outbox.close();
        }
    }

    fn log_out(&mut self, key: SessionKey) -> Option<Session> {
        let keys: Vec<SwarmKey> = self.sessions.get(&key)?.entries.keys().copied().collect();
        for swarm in keys {
            self.show(key, swarm, DownloadState::Stopped, LISTENERS_MAX);
            self.note_waiting(key, swarm, false);
        }
        let session = self.sessions.remove(&key)?;
        if let Some(online) = self.users.get_mut(&session.visitor.user) {
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

    /// Takes what a device says about files, and names peers for those it leeches. Entries that the directory does not allow are
    /// passed over until it does; if it allows none of them, the answer is the reason for the first.
    pub(crate) fn announce(&mut self, key: SessionKey, entries: &[AnnounceEntry], directory: &Directory) -> Reply {
        if !self.sessions.contains_key(&key) {
            return Reply::Refused(Refusal::LoginFirst);
        }
        let (mut peers, mut refusal, mut allowed) = (Vec::new(), None, entries.is_empty());
        for entry in entries {
            if let Err(why) = self.announce_one(key, entry, directory) {
                refusal = refusal.or(Some(why));
                continue;
            }
            allowed = true;
            if entry.state == DownloadState::Leeching && peers.len() < PEERS_PER_ANNOUNCE_MAX {
                self.name_peers(key, (entry.info_hash, entry.group), &mut peers);
            }
        }
        match refusal {
            Some(why) if !allowed => Reply::Refused(why),
            _ => Reply::Peers(peers),
        }
    }

    /// Finds a device in the swarms of a file, as far as `asking` may see them.
    pub(crate) fn find_peer(
        &self,
        asking: UserId,
        info_hash: InfoHash,
        device: DeviceId,
        directory: &Directory,
    ) -> Vec<PeerEntry> {
        let range = (info_hash, GroupId::from_bytes([0; GroupId::LEN]))..=(info_hash, GroupId::from_bytes([0xff; GroupId::LEN]));
        let mut found = Vec::new();
        for (&swarm_key, swarm) in self.swarms.range(range) {
            if !directory.is_member(swarm_key.1, asking) {
                continue;
            }
            let sessions = self.devices.get(&device).into_iter().flatten();
            found.extend(sessions.filter_map(|&key| self.peer_entry(key, swarm_key, *swarm.get(&key)?)));
        }
        found.truncate(PEERS_PER_ANSWER_MAX);
        found
    }

    /// Follows what operations have changed, whoever recorded them: lets in, throws out, shows and hides.
    pub(crate) fn observe(&mut self, operation: &Operation, directory: &Directory) {
        for write in &operation.writes {
            match *write {
                Write::Group { group, .. } => {
                    // Memberships may have arrived before the group itself.
                    for user in directory.member_ids(group).filter(|user| self.is_online(*user)).collect::<Vec<_>>() {
                        self.membership_changed(group, user, operation.actor, directory);
                    }
                }
                Write::Membership { group, user, .. } => {
                    if self.is_online(user) {
                        self.membership_changed(group, user, operation.actor, directory);
                    }
                    // With a member come the files that this member shares.
                    for info_hash in directory.shares_of(group, user).collect::<Vec<_>>() {
                        self.refresh_waiting((info_hash, group), directory);
                    }
                }
                Write::File { group, ref file, .. } => self.refresh_waiting((file.info_hash, group), directory),
                Write::Sharing { group, info_hash, user, .. } => {
                    for key in self.sessions_of(user) {
                        self.refresh(key, (info_hash, group), directory);
                    }
                    self.refresh_waiting((info_hash, group), directory);
                }
                Write::User { .. } | Write::Owner { .. } => {}
            }
        }
    }

    /// Tells every session something.
    pub(crate) fn broadcast(&self, event: Event) {
        let frame = event_frame(event);
        self.sessions.values().for_each(|session| session.visitor.outbox.push(frame.clone()));
    }

    fn sessions_of(&self, user: UserId) -> Vec<SessionKey> {
        self.users.get(&user).into_iter().flat_map(|online| &online.sessions).copied().collect()
    }

    fn membership_changed(&mut self, group: GroupId, user: UserId, actor: UserId, directory: &Directory) {
        let is_member = directory.is_member(group, user);
        let Some(online) = self.users.get_mut(&user) else { return };
        let changed = if is_member { online.groups.insert(group) } else { online.groups.remove(&group) };
        if !changed {
            return;
        }
        for key in self.sessions_of(user) {
            let Some(session) = self.sessions.get(&key) else { continue };
            let swarms: Vec<SwarmKey> = session.entries.keys().filter(|swarm| swarm.1 == group).copied().collect();
            swarms.into_iter().for_each(|swarm| self.refresh(key, swarm, directory));
        }
        let event = match is_member {
            false => Some(Event::Removed { group }),
            // Whoever makes a group is in it by their own doing.
            true if actor == user => None,
            true => directory.group(group, user).map(|group| Event::Admitted { group }),
        };
        if let Some(frame) = event.map(event_frame) {
            let sessions = self.sessions_of(user);
            sessions
                .iter()
                .filter_map(|key| self.sessions.get(key))
                .for_each(|session| session.visitor.outbox.push(frame.clone()));
        }
    }

    fn announce_one(&mut self, key: SessionKey, entry: &AnnounceEntry, directory: &Directory) -> Result<(), Refusal> {
        let swarm = (entry.info_hash, entry.group);
        let Some(session) = self.sessions.get_mut(&key) else { return Err(Refusal::LoginFirst) };
        if entry.state == DownloadState::Stopped {
            self.show(key, swarm, DownloadState::Stopped, LISTENERS_MAX);
            self.sessions.get_mut(&key).and_then(|session| session.entries.remove(&swarm));
            self.note_waiting(key, swarm, false);
            return Ok(());
        }
        if !session.entries.contains_key(&swarm) && session.entries.len() >= ENTRIES_PER_SESSION_MAX {
            return Err(Refusal::TooManyShares);
        }
        let was_active = session.entries.get(&swarm).is_some_and(|entry| entry.active);
        let allowed = check(session.visitor.user, swarm, entry.state, was_active, directory);
        session.entries.insert(swarm, Entry { state: entry.state, active: was_active });
        self.show(key, swarm, if allowed.is_ok() { entry.state } else { DownloadState::Stopped }, LISTENERS_MAX);
        allowed
    }

    /// Makes an entry active or not, as the directory now has it.
    fn refresh(&mut self, key: SessionKey, swarm: SwarmKey, directory: &Directory) {
        let Some(session) = self.sessions.get(&key) else { return };
        let Some(&Entry { state, active }) = session.entries.get(&swarm) else { return };
        let allowed = check(session.visitor.user, swarm, state, active, directory).is_ok();
        if allowed == active {
            return;
        }
        self.show(key, swarm, if allowed { state } else { DownloadState::Stopped }, usize::MAX);
        if allowed && state == DownloadState::Leeching {
            self.tell_who_is_there(key, swarm);
        }
    }

    /// Looks again at the entries that wait to become active.
    fn refresh_waiting(&mut self, swarm: SwarmKey, directory: &Directory) {
        let keys: Vec<SessionKey> = self.waiting.get(&swarm).into_iter().flatten().copied().collect();
        keys.into_iter().for_each(|key| self.refresh(key, swarm, directory));
    }

    /// Notes that a session has an entry there which is not active, or that it has none.
    fn note_waiting(&mut self, key: SessionKey, swarm: SwarmKey, waits: bool) {
        if waits {
            self.waiting.entry(swarm).or_default().insert(key);
        } else if let Some(keys) = self.waiting.get_mut(&swarm) {
            keys.remove(&key);
            if keys.is_empty() {
                self.waiting.remove(&swarm);
            }
        }
    }

    /// Shows the others an entry in its new state, `Stopped` to take it away. At most `listeners_max` hear of it.
    fn show(&mut self, key: SessionKey, swarm_key: SwarmKey, state: DownloadState, listeners_max: usize) {
        let Some(entry) = self.sessions.get_mut(&key).and_then(|session| session.entries.get_mut(&swarm_key)) else { return };
        entry.active = state != DownloadState::Stopped;
        self.note_waiting(key, swarm_key, state == DownloadState::Stopped);
        let swarm = self.swarms.entry(swarm_key).or_default();
        let old = match state {
            DownloadState::Stopped => swarm.remove(&key),
            _ => swarm.insert(key, state),
        };
        if swarm.is_empty() {
            self.swarms.remove(&swarm_key);
        }
        let old = old.unwrap_or(DownloadState::Stopped);
        self.count_seeders(swarm_key, old, state);
        if old != state {
            self.tell(key, swarm_key, old, state, listeners_max);
        }
    }

    fn count_seeders(&mut self, swarm_key: SwarmKey, old: DownloadState, new: DownloadState) {
        let seeds = |state| u32::from(state == DownloadState::Seeding);
        if seeds(old) == seeds(new) {
            return;
        }
        let count = self.seeders.entry(swarm_key).or_default();
        *count = (*count + seeds(new)).saturating_sub(seeds(old));
        if *count == 0 {
            self.seeders.remove(&swarm_key);
        }
    }

    fn tell(&self, key: SessionKey, swarm_key: SwarmKey, old: DownloadState, new: DownloadState, listeners_max: usize) {
        let leeches = |state| state == DownloadState::Leeching;
        let concerns =
            |&(other, state): &(&SessionKey, &DownloadState)| *other != key && (leeches(*state) || leeches(old) || leeches(new));
        let listeners = self.swarms.get(&swarm_key).into_iter().flatten().filter(concerns).map(|(other, _)| *other);
        let listeners: Vec<SessionKey> = match listeners_max {
            usize::MAX => listeners.collect(),
            max => listeners.sample(&mut rand::rng(), max),
        };
        let Some(peer) = self.peer_entry(key, swarm_key, new).filter(|_| !listeners.is_empty()) else { return };
        let frame = event_frame(Event::Peer(peer));
        listeners
            .iter()
            .filter_map(|other| self.sessions.get(other))
            .for_each(|session| session.visitor.outbox.push(frame.clone()));
    }

    /// Tells a session what the answer to its announce could not say.
    fn tell_who_is_there(&self, key: SessionKey, swarm_key: SwarmKey) {
        let Some(session) = self.sessions.get(&key) else { return };
        let mut peers = Vec::new();
        self.name_peers(key, swarm_key, &mut peers);
        peers.into_iter().for_each(|peer| session.visitor.outbox.push(event_frame(Event::Peer(peer))));
    }

    /// Adds some of the others in a swarm, chosen at random if there are many.
    fn name_peers(&self, key: SessionKey, swarm_key: SwarmKey, peers: &mut Vec<PeerEntry>) {
        let swarm = self.swarms.get(&swarm_key).into_iter().flatten();
        let chosen = swarm.filter(|(other, _)| **other != key).sample(&mut rand::rng(), PEERS_PER_ANSWER_MAX);
        peers.extend(chosen.into_iter().filter_map(|(other, state)| self.peer_entry(*other, swarm_key, *state)));
    }

    fn peer_entry(&self, key: SessionKey, (info_hash, group): SwarmKey, state: DownloadState) -> Option<PeerEntry> {
        let Visitor { user, device, address, .. } = self.sessions.get(&key)?.visitor;
        Some(PeerEntry { info_hash, group, device, user, address, state })
    }
}

/// Tells whether the directory lets a user take part in a swarm. Who leeches a file may go on while nobody shares it.
fn check(
    user: UserId,
    (info_hash, group): SwarmKey,
    state: DownloadState,
    active: bool,
    directory: &Directory,
) -> Result<(), Refusal> {
    if !directory.is_member(group, user) {
        return Err(Refusal::NotMember);
    }
    match state {
        DownloadState::Stopped => Ok(()),
        DownloadState::Seeding if directory.shares(group, info_hash, user) => Ok(()),
        DownloadState::Seeding => Err(Refusal::NotShared),
        DownloadState::Leeching if active || directory.file(group, info_hash).is_some() => Ok(()),
        DownloadState::Leeching => Err(Refusal::NoSuchFile),
    }
}

fn groups_of(user: UserId, directory: &Directory) -> HashSet<GroupId> {
    let (mut groups, mut after) = (HashSet::new(), None);
    loop {
        let (entries, more) = directory.my_groups(user, after.as_ref(), PAGE_ENTRIES_MAX);
        after = entries.last().map(|entry| entry.label.clone());
        let member = entries.iter().filter(|entry| matches!(entry.part, Part::Member | Part::Owner));
        groups.extend(member.map(|entry| entry.group));
        if !more || after.is_none() {
            return groups;
        }
    }
}

fn event_frame(event: Event) -> Frame {
    to_frame(&FromTracker::Event(event)).into()
}
