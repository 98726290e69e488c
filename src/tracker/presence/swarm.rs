//! Who is in the swarm of a file, and who is told of whom.
//!
//! **Invariant:** whoever heard of a device that then withdraws hears of that too; the swarm, the
//! seeders counted and the entries that wait follow from the sessions' entries.

use rand::seq::IteratorRandom;

use super::{Entry, Presence, SessionKey, SwarmKey, Visitor, event_frame};
use crate::directory::{Directory, Rows};
use crate::types::limits::PEERS_PER_ANSWER_MAX;
use crate::types::{DownloadState, PeerEntry, Refusal, UserId};
use crate::wire::tracker::Event;

/// Sessions that hear of one device's coming, or of its connection's end: more than it will have
/// links.
const LISTENERS_MAX: usize = PEERS_PER_ANSWER_MAX;

/// How the others hear that an entry has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Some of those whom it concerns, if they are very many, are told of the device's part.
    Some,
    /// All of them: it has, or has no longer, the right to its part.
    All,
    /// All of them, and the whole swarm is told that the device has withdrawn: by its user's own
    /// doing, so links end.
    Withdrawn,
}

impl Presence {
    /// Makes an entry active or not, as the directory now has it.
    pub(super) fn refresh(
        &mut self,
        key: SessionKey,
        swarm: SwarmKey,
        word: Word,
        directory: &Directory<impl Rows>,
    ) {
        let Some(session) = self.sessions.get(&key) else { return };
        let Some(&Entry { state, active }) = session.entries.get(&swarm) else { return };
        let user = session.visitor.user;
        let is_member = directory.is_member(swarm.1, user);
        let allowed = check(user, is_member, swarm, state, active, directory).is_ok();
        if allowed == active {
            return;
        }
        self.show(key, swarm, if allowed { state } else { DownloadState::Stopped }, word);
        if allowed && state == DownloadState::Leeching {
            self.tell_who_is_there(key, swarm);
            self.note_unnamed(key, swarm);
        }
    }

    /// Sessions with an entry there, active or not.
    pub(super) fn sessions_in(&self, swarm: SwarmKey) -> Vec<SessionKey> {
        let active = self.swarms.get(&swarm).into_iter().flatten().map(|(key, _)| *key);
        let all = (swarm, SessionKey::MIN)..=(swarm, SessionKey::MAX);
        active.chain(self.waiting.range(all).map(|(_, key)| *key)).collect()
    }

    /// Looks again at the entries that wait to become active.
    pub(super) fn refresh_waiting(&mut self, swarm: SwarmKey, directory: &Directory<impl Rows>) {
        let all = (swarm, SessionKey::MIN)..=(swarm, SessionKey::MAX);
        let keys: Vec<SessionKey> = self.waiting.range(all).map(|(_, key)| *key).collect();
        keys.into_iter().for_each(|key| self.refresh(key, swarm, Word::All, directory));
    }

    /// Notes that a session has an entry there which is not active, or that it has none.
    pub(super) fn note_waiting(&mut self, key: SessionKey, swarm: SwarmKey, waits: bool) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if waits {
            session.waiting += usize::from(self.waiting.insert((swarm, key)));
        } else {
            session.waiting -= usize::from(self.waiting.remove(&(swarm, key)));
        }
    }

    /// Shows the others an entry in its new state, `Stopped` to take it away.
    pub(super) fn show(
        &mut self,
        key: SessionKey,
        swarm_key: SwarmKey,
        state: DownloadState,
        word: Word,
    ) {
        let Some(entry) =
            self.sessions.get_mut(&key).and_then(|session| session.entries.get_mut(&swarm_key))
        else {
            return;
        };
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
            self.note_change(key, swarm_key);
            self.tell(key, swarm_key, old, state, word);
            self.note_elsewhere(key, swarm_key, state, word == Word::Withdrawn);
        }
    }

    /// Tells whether a swarm has another session than that one.
    pub(super) fn has_others(&self, key: SessionKey, swarm_key: SwarmKey) -> bool {
        let swarm = self.swarms.get(&swarm_key);
        swarm.is_some_and(|swarm| swarm.len() > usize::from(swarm.contains_key(&key)))
    }

    /// Counts a change against the user's pace, if there is anybody who may be told.
    pub(super) fn note_change(&mut self, key: SessionKey, swarm_key: SwarmKey) {
        if self.has_others(key, swarm_key)
            && let Some(user) = self.user_of(key)
        {
            self.changes.note(user, swarm_key);
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

    pub(super) fn tell(
        &self,
        key: SessionKey,
        swarm_key: SwarmKey,
        old: DownloadState,
        new: DownloadState,
        word: Word,
    ) {
        let leeches = |state| state == DownloadState::Leeching;
        let concerns = |&(other, state): &(&SessionKey, &DownloadState)| {
            *other != key && (leeches(*state) || leeches(old) || leeches(new))
        };
        let listeners = self
            .swarms
            .get(&swarm_key)
            .into_iter()
            .flatten()
            .filter(concerns)
            .map(|(other, _)| *other);
        let listeners: Vec<SessionKey> = match word {
            Word::Some => listeners.sample(&mut rand::rng(), LISTENERS_MAX),
            Word::All | Word::Withdrawn => listeners.collect(),
        };
        self.push_peer(listeners, key, swarm_key, new);
        if word == Word::Withdrawn && new == DownloadState::Stopped {
            let all: Vec<SessionKey> = self
                .swarms
                .get(&swarm_key)
                .into_iter()
                .flatten()
                .map(|(other, _)| *other)
                .collect();
            let Some(session) = self.sessions.get(&key) else { return };
            let Visitor { user, device, .. } = session.visitor;
            let (info_hash, group) = swarm_key;
            self.push(&all, Event::Withdrawn { group, info_hash, user, device });
        }
    }

    /// Tells a session what the answer to its announce could not say.
    fn tell_who_is_there(&self, key: SessionKey, swarm_key: SwarmKey) {
        let Some(session) = self.sessions.get(&key) else { return };
        let mut peers = Vec::new();
        self.name_peers(key, swarm_key, PEERS_PER_ANSWER_MAX, &mut peers);
        peers.into_iter().for_each(|peer| self.send(session, event_frame(Event::Peer(peer))));
    }

    /// Adds `max` of the others in a swarm, chosen at random if there are more.
    pub(super) fn name_peers(
        &self,
        key: SessionKey,
        swarm_key: SwarmKey,
        max: usize,
        peers: &mut Vec<PeerEntry>,
    ) {
        let (to_local, swarm) = (self.is_local(key), self.swarms.get(&swarm_key));
        let swarm = swarm.into_iter().flatten();
        let chosen = swarm.filter(|(other, _)| **other != key).sample(&mut rand::rng(), max);
        peers.extend(
            chosen
                .into_iter()
                .filter_map(|(other, state)| self.peer_entry(*other, swarm_key, *state, to_local)),
        );
    }
}

/// Tells whether the directory lets a user take part in a swarm. Who leeches a file may go on while
/// nobody shares it.
pub(super) fn check(
    user: UserId,
    is_member: bool,
    (info_hash, group): SwarmKey,
    state: DownloadState,
    active: bool,
    directory: &Directory<impl Rows>,
) -> Result<(), Refusal> {
    if !is_member {
        return Err(Refusal::NotMember);
    }
    match state {
        DownloadState::Stopped => Ok(()),
        DownloadState::Seeding if directory.shares(group, info_hash, user) => Ok(()),
        DownloadState::Seeding => Err(Refusal::NotShared),
        DownloadState::Leeching if active || directory.lists(group, info_hash) => Ok(()),
        DownloadState::Leeching => Err(Refusal::NoSuchFile),
    }
}
