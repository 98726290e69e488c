//! In which order a device's addresses are dialled, and which of them are left alone for a time.
//!
//! **Invariant:** an address behind which another key answered for a device is not dialled for that
//! device again before a pause has passed that doubles from [`WRONG_KEY_MIN`], for any file: a
//! member who names a third party's address costs that party a few connections.
//!
//! Plain state under a lock of its own, which nothing else is locked within. Bounded by
//! [`ADDRESSES_MAX`] and [`WINNERS_MAX`].

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use parking_lot::Mutex;

use crate::net::InterfaceAddress;
use crate::types::{Candidate, CandidateKind, DeviceId, is_private};

/// Addresses of a device dialled in one round.
pub(super) const PER_ROUND_MAX: usize = 8;

/// First and longest time for which an address is left alone behind which something else than the
/// device answered. The device may have it again: two clients of one machine swap ports.
const WRONG_KEY_MIN: Duration = Duration::from_secs(30);
const WRONG_KEY_MAX: Duration = Duration::from_secs(600);
/// First and longest time for which an address is left alone that takes connections and does not
/// finish a handshake: a client that stands still, or a third party's service.
const UNFINISHED_MIN: Duration = Duration::from_secs(1);
const UNFINISHED_MAX: Duration = Duration::from_secs(300);
/// How long one is left alone that takes no connection: less than a peer's own pause.
const UNREACHED_FOR: Duration = Duration::from_millis(300);
/// Addresses remembered that failed. When there are more, those whose time has passed are
/// forgotten, or all.
const ADDRESSES_MAX: usize = 4_096;
/// Devices whose best address is remembered; when there are more, all are forgotten.
const WINNERS_MAX: usize = 4_096;

/// How a dialled address failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// It took no connection.
    Unreached,
    /// It took one, and proved nothing.
    Unfinished,
    /// Something else than the device answered.
    WrongKey,
}

#[derive(Debug, Clone, Copy, Default)]
struct Failed {
    /// How often it took a connection in vain.
    count: u32,
    until: Duration,
}

/// What came of earlier dials, over all files.
#[derive(Debug, Default)]
pub(super) struct DialMemory {
    state: Mutex<MemoryState>,
}

#[derive(Debug, Default)]
struct MemoryState {
    failed: HashMap<(DeviceId, SocketAddr), Failed>,
    /// Where each device proved its key last.
    won: HashMap<DeviceId, SocketAddr>,
}

impl DialMemory {
    /// The addresses to dial now, in order: at most [`PER_ROUND_MAX`], and none that is left alone.
    pub(super) fn round(
        &self,
        now: Duration,
        device: DeviceId,
        candidates: &[Candidate],
        own: &[InterfaceAddress],
    ) -> Vec<SocketAddr> {
        let state = self.state.lock();
        let failed = |address: &SocketAddr| state.failed.get(&(device, *address));
        let mut order = in_order(candidates, own, state.won.get(&device).copied());
        order.retain(|address| failed(address).is_none_or(|failed| failed.until <= now));
        if order.len() > PER_ROUND_MAX {
            // The others have their turn in the next round.
            order.sort_by_key(|address| failed(address).map(|failed| failed.until));
            order.truncate(PER_ROUND_MAX);
        }
        order
    }

    pub(super) fn note_failed(
        &self,
        now: Duration,
        device: DeviceId,
        address: SocketAddr,
        failure: Failure,
    ) {
        let mut state = self.state.lock();
        if state.failed.len() >= ADDRESSES_MAX && !state.failed.contains_key(&(device, address)) {
            state.failed.retain(|_, failed| failed.until > now);
            if state.failed.len() >= ADDRESSES_MAX {
                state.failed.clear();
            }
        }
        let failed = state.failed.entry((device, address)).or_default();
        let (min, max) = match failure {
            Failure::Unreached => (UNREACHED_FOR, UNREACHED_FOR),
            Failure::Unfinished => (UNFINISHED_MIN, UNFINISHED_MAX),
            Failure::WrongKey => (WRONG_KEY_MIN, WRONG_KEY_MAX),
        };
        let wait = min.saturating_mul(1 << failed.count.min(16)).min(max);
        failed.count += u32::from(failure != Failure::Unreached);
        failed.until = failed.until.max(now + wait);
    }

    pub(super) fn note_won(&self, device: DeviceId, address: SocketAddr) {
        let mut state = self.state.lock();
        state.failed.remove(&(device, address));
        if state.won.len() >= WINNERS_MAX && !state.won.contains_key(&device) {
            state.won.clear();
        }
        state.won.insert(device, address);
    }
}

/// How near an address is, the nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    /// This machine, or a network of this machine's interfaces.
    Here,
    /// Private like one of ours, or named by the device's user.
    Likely,
    Public,
    /// Private, and this machine has no such address.
    Elsewhere,
}

fn nearness(candidate: &Candidate, own: &[InterfaceAddress]) -> Nearness {
    let ip = candidate.address.ip();
    let has_private = || {
        let same = |address: &&InterfaceAddress| address.ip.is_ipv4() == ip.is_ipv4();
        own.iter().filter(same).any(|address| is_private(address.ip))
    };
    if ip.is_loopback() || own.iter().any(|address| address.has_neighbour(ip)) {
        Nearness::Here
    } else if candidate.kind == CandidateKind::Advertised || (is_private(ip) && has_private()) {
        Nearness::Likely
    } else if is_private(ip) {
        Nearness::Elsewhere
    } else {
        Nearness::Public
    }
}

/// The order in which addresses are dialled: where the device proved its key last, then the
/// nearest; among equals the families alternate, IPv6 first (RFC 8305, section 4).
fn in_order(
    candidates: &[Candidate],
    own: &[InterfaceAddress],
    won: Option<SocketAddr>,
) -> Vec<SocketAddr> {
    let is_won = |candidate: &&Candidate| Some(candidate.address) == won;
    let mut order: Vec<SocketAddr> =
        candidates.iter().find(is_won).map(|candidate| candidate.address).into_iter().collect();
    for rank in [Nearness::Here, Nearness::Likely, Nearness::Public, Nearness::Elsewhere] {
        let of_rank = candidates
            .iter()
            .filter(|candidate| !is_won(candidate) && nearness(candidate, own) == rank)
            .map(|candidate| candidate.address);
        let (v6, v4): (Vec<_>, Vec<_>) =
            of_rank.partition(|address| matches!(address.ip(), IpAddr::V6(_)));
        let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
        loop {
            let (six, four) = (v6.next(), v4.next());
            if six.is_none() && four.is_none() {
                break;
            }
            order.extend(six.into_iter().chain(four));
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEVICE: DeviceId = DeviceId::from_bytes([1; 32]);

    fn at(address: &str, kind: CandidateKind) -> Candidate {
        Candidate::new(address.parse().unwrap(), kind)
    }

    fn own(all: &[(&str, u8)]) -> Vec<InterfaceAddress> {
        let own = |&(ip, prefix_len): &(&str, u8)| InterfaceAddress {
            ip: ip.parse().unwrap(),
            prefix_len,
        };
        all.iter().map(own).collect()
    }

    #[test]
    fn the_near_go_before_the_far_and_families_alternate() {
        use CandidateKind::*;
        let candidates = [
            at("203.0.113.9:1", Observed),
            at("203.0.113.8:1", Mapped),
            at("[2001:db8::9]:1", Interface),
            at("10.9.9.9:1", Interface),
            at("192.168.1.7:1", Interface),
            at("198.51.100.1:1", Advertised),
            at("[fd00::1]:1", Interface),
        ];
        let own = own(&[("192.168.1.2", 24), ("2001:db8:5::1", 64)]);
        let order = |won: Option<&str>| -> Vec<String> {
            let won = won.map(|won| won.parse().unwrap());
            in_order(&candidates, &own, won).iter().map(|address| address.to_string()).collect()
        };
        let want = [
            "192.168.1.7:1",
            "10.9.9.9:1",
            "198.51.100.1:1",
            "[2001:db8::9]:1",
            "203.0.113.9:1",
            "203.0.113.8:1",
            "[fd00::1]:1",
        ];
        assert_eq!(order(None), want);
        assert_eq!(order(Some("203.0.113.8:1"))[..2], ["203.0.113.8:1", "192.168.1.7:1"]);
        assert_eq!(order(Some("9.9.9.9:1")), want, "it is no address of the device any more");
    }

    #[test]
    fn what_another_key_answered_at_is_left_alone_whatever_the_file() {
        let (memory, at_s) = (DialMemory::default(), Duration::from_secs);
        let candidates = [at("198.51.100.1:1", CandidateKind::Interface)];
        let round = |now| memory.round(now, DEVICE, &candidates, &[]).len();
        let address = candidates[0].address;
        memory.note_failed(at_s(1), DEVICE, address, Failure::WrongKey);
        assert_eq!((round(at_s(30)), round(at_s(31))), (0, 1));
        for _ in 0..9 {
            memory.note_failed(at_s(31), DEVICE, address, Failure::WrongKey);
        }
        assert_eq!((round(at_s(630)), round(at_s(631))), (0, 1));
        memory.note_won(DEVICE, address);
        let other = DeviceId::from_bytes([2; 32]);
        assert_eq!(memory.round(at_s(2), other, &candidates, &[]).len(), 1, "it may be its own");
        // One that takes connections and says nothing waits longer each time.
        let mut now = at_s(700);
        for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            memory.note_failed(now, DEVICE, address, Failure::Unfinished);
            assert_eq!((round(now + at_s(wait) - Duration::from_millis(1)), wait > 0), (0, true));
            now += at_s(wait);
            assert_eq!(round(now), 1, "after {wait} s");
        }
        memory.note_won(DEVICE, address);
        memory.note_failed(now, DEVICE, address, Failure::Unfinished);
        assert_eq!(round(now + at_s(1)), 1, "it counts from the start again");
    }

    #[test]
    fn of_many_addresses_each_has_its_turn() {
        let memory = DialMemory::default();
        let candidates: Vec<Candidate> =
            (1..=16).map(|n| at(&format!("198.51.100.{n}:1"), CandidateKind::Interface)).collect();
        let first = memory.round(Duration::ZERO, DEVICE, &candidates, &[]);
        assert_eq!(first.len(), PER_ROUND_MAX);
        for address in &first {
            memory.note_failed(Duration::ZERO, DEVICE, *address, Failure::Unreached);
        }
        let second = memory.round(Duration::from_secs(9), DEVICE, &candidates, &[]);
        assert!(second.len() == PER_ROUND_MAX && second.iter().all(|a| !first.contains(a)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let memory = DialMemory::default();
        for n in 0..3 * ADDRESSES_MAX as u32 {
            let address = SocketAddr::new(std::net::Ipv4Addr::from_bits(n).into(), 1);
            memory.note_failed(Duration::ZERO, DEVICE, address, Failure::WrongKey);
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_be_bytes());
            memory.note_won(DeviceId::from_bytes(id), address);
        }
        let state = memory.state.lock();
        assert!(state.failed.len() <= ADDRESSES_MAX && state.won.len() <= WINNERS_MAX);
    }

    proptest! {
        #[test]
        fn every_address_is_there_once(
            hosts in proptest::collection::vec((any::<bool>(), 0u8..6, any::<u8>()), 0..16),
            won in 0usize..20,
        ) {
            let candidates: Vec<Candidate> = hosts
                .iter()
                .enumerate()
                .map(|(n, (is_v6, kind, host))| {
                    let ip = match is_v6 {
                        true => format!("[fd00::{n:x}:{host:x}]:9"),
                        false => format!("10.{n}.0.{host}:9"),
                    };
                    let kinds = [
                        CandidateKind::Interface,
                        CandidateKind::Observed,
                        CandidateKind::Mapped,
                        CandidateKind::Advertised,
                    ];
                    at(&ip, kinds[usize::from(*kind) % 4])
                })
                .collect();
            let own = own(&[("10.3.0.1", 24)]);
            let won = candidates.get(won).map(|candidate| candidate.address);
            let mut order = in_order(&candidates, &own, won);
            prop_assert_eq!(order.first().copied().filter(|_| won.is_some()), won);
            let mut all: Vec<_> = candidates.iter().map(|candidate| candidate.address).collect();
            order.sort();
            all.sort();
            prop_assert_eq!(order, all);
        }
    }
}
