//! The devices that take part in a file's swarm: which are linked, which are to be dialled and
//! when, which are banned.
//!
//! **Invariant:** a device that is banned, linked or being dialled is never due, but for one that has
//! left the address at which it is linked.
//!
//! Plain state under the torrent's lock.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::direct_again::DirectAgain;
use crate::swarm::LinkKey;
use crate::swarm::api::{SeenPeer, UnreachablePeer, Way};
use crate::swarm::link::Link;
use crate::types::{Candidate, CandidateKind, DeviceId, UserId};

/// Peers remembered a file: more than will ever be linked.
const PEERS_MAX: usize = 1000;
/// Devices of one user that send bad data of a file before no device of theirs is linked for it:
/// no user has so many broken ones.
const BAD_DEVICES_MAX: u32 = 4;
/// First and longest wait before a lost or unreachable peer is dialled again.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Dials that fail before that is told: a device may be starting again.
const UNREACHABLE_AFTER: u32 = 3;
/// How often it is told again while they go on failing.
const UNREACHABLE_AGAIN: Duration = Duration::from_secs(300);

/// The peers of one file.
#[derive(Default)]
pub(super) struct Peers {
    known: HashMap<DeviceId, Peer>,
    /// Devices of each user that sent bad data.
    bad: HashMap<UserId, u32>,
}

#[derive(Default)]
struct Peer {
    /// Where it may take links.
    candidates: Arc<[Candidate]>,
    /// A tracker lists it.
    is_listed: bool,
    link: Option<LinkKey>,
    /// Where its link was dialled, if we dialled it.
    dialled_at: Option<SocketAddr>,
    /// It has left the address at which its link was dialled: it is dialled although it is linked.
    has_moved: bool,
    /// It is linked through a relay: when it is dialled again.
    relayed: Option<DirectAgain>,
    dialling: bool,
    /// It has come to another address since the dial under way began.
    is_elsewhere: bool,
    failures: u32,
    retry_at: Duration,
    banned: bool,
    /// It sent bad data once.
    suspect: bool,
    error: Option<String>,
    /// Dials in a row to which nothing answered, and when that was told last.
    unanswered: (u32, Option<Duration>),
    /// When its last link ended, and the pieces it had then.
    seen: Option<(Duration, u32)>,
}

impl Peer {
    fn can_be_dialled(&self) -> bool {
        self.is_listed && !self.candidates.is_empty()
    }
}

impl Peers {
    /// Lists a device. It is dialled at once if it has come, or has another address that a tracker
    /// sees, at which it announces itself on this network, or at which it has proven its key; other
    /// addresses are its user's word alone, and end no pause.
    pub(super) fn list(
        &mut self,
        device: DeviceId,
        candidates: Vec<Candidate>,
        is_proven: impl Fn(&[Candidate]) -> bool,
    ) {
        if !self.has_room_for(device) {
            return;
        }
        let peer = self.known.entry(device).or_default();
        let is_other = |at: SocketAddr| candidates.iter().all(|candidate| candidate.address != at);
        peer.has_moved = peer.link.is_some() && peer.dialled_at.is_some_and(is_other);
        let mut others = candidates.clone();
        others.retain(|candidate| !peer.candidates.contains(candidate));
        let is_seen = |candidate: &Candidate| {
            matches!(candidate.kind, CandidateKind::Observed | CandidateKind::Lan)
        };
        if !peer.is_listed || others.iter().any(is_seen) || is_proven(&others) {
            (peer.failures, peer.retry_at) = (0, Duration::ZERO);
            peer.is_elsewhere = peer.dialling;
        }
        if peer.relayed.is_some() && !others.is_empty() {
            peer.relayed = Some(DirectAgain::at_once());
        }
        peer.candidates = candidates.into();
        peer.is_listed = true;
    }

    /// Ends the pauses before peers are dialled again.
    pub(super) fn retry_now(&mut self) {
        for peer in self.known.values_mut() {
            (peer.failures, peer.retry_at) = (0, Duration::ZERO);
            peer.relayed = peer.relayed.map(|_| DirectAgain::at_once());
        }
    }

    pub(super) fn unlist(&mut self, device: DeviceId) {
        if let Some(peer) = self.known.get_mut(&device) {
            peer.is_listed = false;
        }
    }

    /// Makes room for a device, if need be by forgetting devices that left.
    fn has_room_for(&mut self, device: DeviceId) -> bool {
        if self.known.len() >= PEERS_MAX && !self.known.contains_key(&device) {
            self.known.retain(|_, peer| {
                peer.is_listed
                    || peer.link.is_some()
                    || peer.dialling
                    || peer.banned
                    || peer.suspect
            });
        }
        self.known.len() < PEERS_MAX || self.known.contains_key(&device)
    }

    /// Closes the link of a peer that sent bad data, for good if it is one of our own clients.
    pub(super) fn ban(&mut self, link: &Link) {
        log::warn!(
            "{}: sent bad data; it is not asked again in this session",
            link.connection.peer_addr()
        );
        self.suspect(link);
        self.known.entry(link.device).or_default().banned = true;
        link.close();
    }

    /// Notes that a link brought a piece with a wrong hash.
    pub(super) fn suspect(&mut self, link: &Link) {
        let peer = self.known.entry(link.device).or_default();
        if !std::mem::replace(&mut peer.suspect, true) {
            *self.bad.entry(link.proof().user).or_default() += 1;
        }
    }

    pub(super) fn is_suspect(&self, device: DeviceId) -> bool {
        self.known.get(&device).is_some_and(|peer| peer.suspect)
    }

    /// Tells whether the device is banned, or its user for what others of their devices sent: a
    /// device is made for nothing.
    pub(super) fn is_banned(&self, device: DeviceId, user: UserId) -> bool {
        self.known.get(&device).is_some_and(|peer| peer.banned)
            || self.bad.get(&user).is_some_and(|bad| *bad >= BAD_DEVICES_MAX)
    }

    /// Takes peers to dial. `first_free` tells when the first of a device's addresses may be dialled:
    /// until then the device is not due. Nor is one that seems to have moved while its link brings
    /// something: a tracker that named the address may have gone instead.
    pub(super) fn take_due(
        &mut self,
        now: Duration,
        room: usize,
        dials: usize,
        first_free: impl Fn(DeviceId, &[Candidate]) -> Duration,
        is_silent: impl Fn(LinkKey) -> bool,
    ) -> Vec<(DeviceId, Arc<[Candidate]>)> {
        let due = |peer: &Peer| {
            let is_wanted = peer.link.is_none_or(|link| match peer.relayed {
                Some(again) => again.is_due(now),
                None => peer.has_moved && is_silent(link),
            });
            is_wanted && !peer.dialling && !peer.banned && peer.retry_at <= now
        };
        let under_way = self.known.values().filter(|peer| peer.dialling).count();
        let listed = self.known.iter_mut().filter(|(_, peer)| peer.can_be_dialled() && due(peer));
        let take = |(device, peer): (&DeviceId, &mut Peer)| {
            let free_at = first_free(*device, &peer.candidates);
            if free_at > now {
                peer.retry_at = free_at;
                return None;
            }
            (peer.dialling, peer.is_elsewhere) = (true, false);
            Some((*device, peer.candidates.clone()))
        };
        let room = room.saturating_sub(under_way).min(dials);
        listed.filter_map(take).take(room).collect()
    }

    /// Tells whether a device that is being dialled has come to another address meanwhile: the dial
    /// under way may wait for ten seconds where the device is no more.
    pub(super) fn is_elsewhere(&self, device: DeviceId) -> bool {
        self.known.get(&device).is_some_and(|peer| peer.is_elsewhere)
    }

    /// Notes that no address of a device could be dialled: that says nothing about the device.
    pub(super) fn put_off(&mut self, until: Duration, device: DeviceId) {
        let Some(peer) = self.known.get_mut(&device) else { return };
        (peer.dialling, peer.retry_at) = (false, until);
        if let Some(again) = &mut peer.relayed {
            again.put_off(until, rand::random());
        }
    }

    pub(super) fn dial_failed(&mut self, now: Duration, device: DeviceId, error: String) {
        let Some(peer) = self.known.get_mut(&device) else { return };
        (peer.dialling, peer.has_moved) = (false, false);
        if let Some(again) = &mut peer.relayed {
            return again.put_off(now, rand::random());
        }
        peer.retry_at = now + retry_after(peer.failures);
        peer.failures += 1;
        peer.error = Some(error);
    }

    /// Notes whether something answered a dial that failed; tells whether the host is to hear that
    /// the device cannot be reached.
    pub(super) fn note_answer(
        &mut self,
        now: Duration,
        device: DeviceId,
        is_unreachable: bool,
    ) -> bool {
        let Some(peer) = self.known.get_mut(&device) else { return false };
        let can_be_dialled = peer.can_be_dialled();
        let (count, told) = &mut peer.unanswered;
        *count = if is_unreachable { *count + 1 } else { 0 };
        let is_due = *count >= UNREACHABLE_AFTER
            && can_be_dialled
            && peer.link.is_none()
            && told.is_none_or(|told| now.saturating_sub(told) >= UNREACHABLE_AGAIN);
        if is_due {
            *told = Some(now);
        }
        is_due
    }

    pub(super) fn linked(&mut self, now: Duration, link: &Link) {
        // Behind a router the port is one that no tracker lists; a relay's is not the device's.
        let is_at_candidate = link.dialled && matches!(link.way, Way::Lan | Way::Direct);
        let dialled_at = is_at_candidate.then(|| link.connection.peer_addr());
        self.linked_in_way(now, link.device, link.key, link.way, dialled_at);
    }

    fn linked_in_way(
        &mut self,
        now: Duration,
        device: DeviceId,
        link: LinkKey,
        way: Way,
        dialled_at: Option<SocketAddr>,
    ) {
        if self.has_room_for(device) {
            let peer = self.known.entry(device).or_default();
            (peer.link, peer.dialled_at) = (Some(link), dialled_at);
            let is_relayed = way == Way::Relayed;
            peer.relayed = is_relayed.then(|| DirectAgain::relayed(now, rand::random()));
            (peer.dialling, peer.has_moved) = (false, false);
            (peer.error, peer.unanswered.0) = (None, 0);
        }
    }

    pub(super) fn unlinked(
        &mut self,
        now: Duration,
        device: DeviceId,
        link: LinkKey,
        pieces: u32,
        useful: bool,
    ) {
        let Some(peer) = self.known.get_mut(&device).filter(|peer| peer.link == Some(link)) else {
            return;
        };
        (peer.link, peer.relayed) = (None, None);
        peer.seen = Some((now, pieces));
        peer.failures = if useful { 0 } else { peer.failures + 1 };
        peer.retry_at = now + retry_after(peer.failures);
    }

    /// Devices that were linked and are not, the latest first.
    pub(super) fn seen(&self, now: Duration) -> Vec<SeenPeer> {
        let gone = self.known.iter().filter(|(_, peer)| peer.link.is_none());
        let seen =
            gone.filter_map(|(device, peer)| peer.seen.map(|(at, pieces)| (*device, at, pieces)));
        let mut seen: Vec<_> = seen
            .map(|(device, at, pieces)| SeenPeer { device, pieces, ago: now.saturating_sub(at) })
            .collect();
        seen.sort_by_key(|peer| peer.ago);
        seen
    }

    pub(super) fn unreachable(&self) -> Vec<UnreachablePeer> {
        let absent = self.known.iter().filter(|(_, peer)| peer.link.is_none());
        let failed = absent.filter(|(_, peer)| peer.is_listed).filter_map(|(device, peer)| {
            let address = peer.candidates.first()?.address;
            Some(UnreachablePeer { device: *device, address, error: peer.error.clone()? })
        });
        failed.collect()
    }

    pub(super) fn banned(&self) -> Vec<DeviceId> {
        self.known.iter().filter(|(_, peer)| peer.banned).map(|(device, _)| *device).collect()
    }
}

/// Doubles from half a second to a minute, a quarter of it at random, so that clients that lost
/// each other do not dial in step.
fn retry_after(failures: u32) -> Duration {
    let base = RETRY_MIN.saturating_mul(1 << failures.min(16)).min(RETRY_MAX);
    base.mul_f64(0.75 + rand::random::<f64>() / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: u32) -> DeviceId {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        DeviceId::from_bytes(bytes)
    }

    fn at_once(_: DeviceId, _: &[Candidate]) -> Duration {
        Duration::ZERO
    }

    #[test]
    fn those_that_left_do_not_stand_in_the_way_of_those_that_came() {
        let mut peers = Peers::default();
        let address = "127.0.0.1:1".parse().unwrap();
        let addresses = || vec![Candidate::new(address, crate::types::CandidateKind::Observed)];
        for number in 0..PEERS_MAX as u32 {
            peers.list(device(number), addresses(), |_| false);
            peers.unlist(device(number));
        }
        peers.list(device(5000), addresses(), |_| false);
        peers.list(device(5001), addresses(), |_| false);
        for number in 0..500 {
            peers.list(device(number), addresses(), |_| false);
            peers.unlist(device(number));
        }
        assert_eq!(peers.take_due(Duration::ZERO, 1, 10, at_once, |_| true).len(), 1);
        assert_eq!(
            peers.take_due(Duration::ZERO, 1, 10, at_once, |_| true).len(),
            0,
            "one is under way"
        );
        assert_eq!(peers.take_due(Duration::ZERO, 9, 10, at_once, |_| true).len(), 1);
    }

    #[test]
    fn what_a_device_says_of_itself_ends_no_pause() {
        let (mut peers, now) = (Peers::default(), Duration::from_secs(9));
        let at = |port: u16, kind| {
            vec![Candidate::new(SocketAddr::new([198, 51, 100, 1].into(), port), kind)]
        };
        let (seen, told) = (CandidateKind::Observed, CandidateKind::Interface);
        let fail = |peers: &mut Peers| {
            assert_eq!(peers.take_due(now, 9, 9, at_once, |_| true).len(), 1);
            peers.dial_failed(now, device(1), "it is silent".into());
        };
        peers.list(device(1), at(1, told), |_| false);
        fail(&mut peers);
        peers.list(device(1), at(2, told), |_| false);
        assert!(peers.take_due(now, 9, 9, at_once, |_| true).is_empty());
        peers.list(device(1), at(3, told), |new| new == at(3, told));
        fail(&mut peers);
        peers.list(device(1), at(3, seen), |_| false);
        fail(&mut peers);
        peers.list(device(1), at(3, seen), |_| false);
        assert!(peers.take_due(now, 9, 9, at_once, |_| true).is_empty(), "there is nothing new");
        peers.unlist(device(1));
        peers.list(device(1), at(3, seen), |_| false);
        fail(&mut peers);
    }

    #[test]
    fn a_relayed_device_is_dialled_again_in_time_and_a_direct_link_takes_over() {
        let (mut peers, second) = (Peers::default(), Duration::from_secs(1));
        let now = 9 * second;
        let at = |port: u16| {
            let address = SocketAddr::new([198, 51, 100, 1].into(), port);
            vec![Candidate::new(address, CandidateKind::Observed)]
        };
        let due = |peers: &mut Peers, now| peers.take_due(now, 9, 9, at_once, |_| true).len();
        let fail = |peers: &mut Peers, now| peers.dial_failed(now, device(1), "silent".into());
        peers.list(device(1), at(1), |_| false);
        assert_eq!(due(&mut peers, now), 1);
        let (relayed, direct) = (LinkKey(1), LinkKey(2));
        peers.linked_in_way(now, device(1), relayed, Way::Relayed, None);
        assert_eq!(due(&mut peers, now + 22 * second), 0);
        assert_eq!(due(&mut peers, now + 30 * second), 1);
        assert_eq!(due(&mut peers, now + 90 * second), 0, "it is under way");
        fail(&mut peers, now + 40 * second);
        assert_eq!(due(&mut peers, now + 84 * second), 0);
        assert_eq!(due(&mut peers, now + 100 * second), 1);
        fail(&mut peers, now + 100 * second);
        // Another address of either device ends the pause.
        peers.list(device(1), at(2), |_| false);
        assert_eq!(due(&mut peers, now + 100 * second), 1);
        fail(&mut peers, now + 101 * second);
        peers.retry_now();
        assert_eq!(due(&mut peers, now + 101 * second), 1);
        peers.linked_in_way(now + 102 * second, device(1), direct, Way::Direct, None);
        // The end of the link that was replaced says nothing.
        peers.unlinked(now + 103 * second, device(1), relayed, 0, true);
        assert_eq!(due(&mut peers, now + 9_000 * second), 0, "it is linked directly");
    }

    #[test]
    fn a_device_whose_addresses_are_all_left_alone_is_not_due_and_keeps_its_reason() {
        let (mut peers, now) = (Peers::default(), Duration::from_secs(9));
        let address = "198.51.100.1:1".parse().unwrap();
        peers.list(device(1), vec![Candidate::new(address, CandidateKind::Observed)], |_| false);
        peers.take_due(now, 9, 9, at_once, |_| true);
        peers.dial_failed(now, device(1), "it is silent".into());
        peers.note_answer(now, device(1), true);
        let free_at = now + Duration::from_secs(30);
        assert!(peers.take_due(now + RETRY_MAX / 4, 9, 9, |_, _| free_at, |_| true).is_empty());
        assert_eq!(peers.take_due(free_at, 9, 9, |_, _| free_at, |_| true).len(), 1);
        peers.put_off(free_at + RETRY_MIN, device(1));
        assert!(peers.take_due(free_at, 9, 9, at_once, |_| true).is_empty());
        assert_eq!(peers.unreachable()[0].error, "it is silent");
        assert_eq!(peers.known[&device(1)].unanswered.0, 1);
    }
}
