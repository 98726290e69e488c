//! The addresses at which each session's device may take links, and who is told which.
//!
//! **Invariant:** a loopback address is told only to sessions that come from a loopback address:
//! to any other device it would mean that device itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::swarm::Word;
use super::{Presence, Session, SessionKey, SwarmKey, Visitor};
use crate::directory::{Directory, Rows};
use crate::types::limits::CANDIDATES_MAX;
use crate::types::{
    Candidate, CandidateKind, DownloadState, PeerEntry, Refusal, UserId, usable_candidates,
};
use crate::wire::tracker::{Event, Reply};

/// Stands in a peer's entry for an address that the recipient could not dial.
const NO_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

impl Session {
    fn is_local(&self) -> bool {
        self.visitor.address.ip().is_loopback()
    }
}

impl Presence {
    /// Takes the addresses at which a session's device may take links, in place of the earlier
    /// ones; those that nobody could dial are left out. Tells the swarms that the device is in.
    ///
    /// # Errors
    /// How long this has to wait, if the session has told others or the user's part has changed too
    /// often: nothing was taken.
    pub(crate) fn set_candidates(
        &mut self,
        key: SessionKey,
        user: UserId,
        candidates: &[Candidate],
        directory: &Directory<impl Rows>,
    ) -> Result<Reply, Duration> {
        if self.password_of(key, user, directory).is_none() {
            return Ok(Reply::Refused(Refusal::LoginFirst));
        }
        let Some(session) = self.sessions.get(&key) else {
            return Ok(Reply::Refused(Refusal::LoginFirst));
        };
        let kept =
            usable_candidates(candidates.iter().copied(), session.is_local(), CANDIDATES_MAX);
        if *session.candidates == *kept {
            return Ok(Reply::Pong);
        }
        let wait = self.changes.take_addresses(key, user);
        if !wait.is_zero() {
            return Err(wait);
        }
        let has_others = |swarm: &SwarmKey| self.has_others(key, *swarm);
        let active = session.entries.iter().filter(|(_, entry)| entry.active);
        let all: Vec<(SwarmKey, DownloadState)> =
            active.map(|(swarm, entry)| (*swarm, entry.state)).collect();
        let swarms: Vec<(SwarmKey, DownloadState)> =
            all.iter().filter(|(swarm, _)| has_others(swarm)).copied().collect();
        let wait = self.changes.wait(user, swarms.iter().map(|(swarm, _)| *swarm));
        if !wait.is_zero() {
            return Err(wait);
        }
        if let Some(session) = self.sessions.get_mut(&key) {
            session.candidates = kept.into();
        }
        for (swarm, state) in swarms {
            self.note_change(key, swarm);
            self.tell(key, swarm, state, state, Word::Some);
        }
        all.into_iter().for_each(|(swarm, state)| self.note_elsewhere(key, swarm, state, false));
        Ok(Reply::Pong)
    }

    /// Tells sessions of a device's part in a swarm.
    pub(super) fn push_peer(
        &self,
        listeners: Vec<SessionKey>,
        key: SessionKey,
        swarm: SwarmKey,
        state: DownloadState,
    ) {
        let (near, far): (Vec<_>, Vec<_>) =
            listeners.into_iter().partition(|listener| self.is_local(*listener));
        for (listeners, is_local) in [(near, true), (far, false)] {
            if !listeners.is_empty()
                && let Some(peer) = self.peer_entry(key, swarm, state, is_local)
            {
                self.push(&listeners, Event::Peer(peer));
            }
        }
    }

    /// A device's part in a swarm, as a session hears of it that is on this machine or is not.
    pub(super) fn peer_entry(
        &self,
        key: SessionKey,
        (info_hash, group): SwarmKey,
        state: DownloadState,
        to_local: bool,
    ) -> Option<PeerEntry> {
        let session = self.sessions.get(&key)?;
        let Visitor { user, device, address, .. } = session.visitor;
        let candidates = Some(session.candidates.to_vec());
        let peer = PeerEntry { info_hash, group, device, user, address, state, candidates };
        Some(as_told(peer, to_local))
    }

    /// Tells whether a session comes from this machine.
    pub(super) fn is_local(&self, key: SessionKey) -> bool {
        self.sessions.get(&key).is_some_and(Session::is_local)
    }
}

/// A device's part in a swarm as a session hears of it that is on this machine or is not: without
/// the addresses that it could not dial.
pub(super) fn as_told(mut peer: PeerEntry, to_local: bool) -> PeerEntry {
    if let Some(candidates) = &mut peer.candidates {
        candidates.retain(|candidate| candidate.is_usable(to_local));
    }
    if !Candidate::new(peer.address, CandidateKind::Observed).is_usable(to_local) {
        let first = peer.candidates.iter().flatten().next();
        peer.address = first.map_or(NO_ADDRESS, |first| first.address);
    }
    peer
}
