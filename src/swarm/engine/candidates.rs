//! In which order a device's addresses are dialled, and which of them are left alone for a time.
//!
//! **Invariant:** an address behind which another key answered for a device is not dialled for that
//! device again before a pause has passed that doubles from [`WRONG_KEY_MIN`], for any file: a
//! member who names a third party's address costs that party a few connections. Addresses that are
//! a member's word alone are also dialled only so often for each source, over all devices and ports.
//!
//! Plain state under a lock of its own, which nothing else is locked within. Bounded by
//! [`ADDRESSES_MAX`], [`SOURCES_MAX`] and [`WINNERS_MAX`].

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use parking_lot::Mutex;

use crate::net::{InterfaceAddress, Source};
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
/// The same at an address where the device has proven its key: it stands still.
const UNFINISHED_PROVEN_MAX: Duration = Duration::from_secs(60);
/// How long one is left alone that takes no connection: less than a peer's own pause.
const UNREACHED_FOR: Duration = Duration::from_millis(300);
/// Dials to one source that prove nothing: so many at once, then one in an interval.
const UNPROVEN_BURST: u32 = 8;
const UNPROVEN_EVERY: Duration = Duration::from_secs(10);
/// A failure so long ago does not put an address behind the others.
const RECENT: Duration = Duration::from_secs(30);
/// Sources remembered; when there are more, the one that would be free again first is forgotten.
const SOURCES_MAX: usize = 4_096;
/// Addresses remembered that failed; when there are more, those are forgotten that would be dialled
/// again first.
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

/// An address to dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    /// It is a member's word alone: no tracker sees the device there.
    pub(super) is_hearsay: bool,
}

#[derive(Debug, Default)]
struct MemoryState {
    /// Up to when the unproven dials to each source are spoken for (GCRA).
    spoken_for: HashMap<Source, Duration>,
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
    ) -> Vec<Target> {
        let state = self.state.lock();
        let failed_until = |target: &Target| {
            state.failed.get(&(device, target.address)).map(|failed| failed.until)
        };
        let mut order = in_order(candidates, own, state.won.get(&device).copied());
        order.retain(|target| state.free_at(now, device, target) <= now);
        // The others have their turn in the next round; so have those for which time ran out.
        let has_too_many = order.len() > PER_ROUND_MAX;
        order.sort_by_key(|target| {
            failed_until(target).filter(|until| has_too_many || *until + RECENT > now)
        });
        order.truncate(PER_ROUND_MAX);
        order
    }

    /// When the first of a device's addresses may be dialled; no later than `now` if one may be.
    pub(super) fn first_free(
        &self,
        now: Duration,
        device: DeviceId,
        candidates: &[Candidate],
    ) -> Duration {
        let state = self.state.lock();
        let free_at = |candidate: &Candidate| state.free_at(now, device, &candidate.into());
        candidates.iter().map(free_at).min().unwrap_or_default()
    }

    /// Counts a dial that is about to begin. False if its source has had too many that proved
    /// nothing: it is not to begin.
    pub(super) fn begin(&self, now: Duration, device: DeviceId, target: &Target) -> bool {
        let mut state = self.state.lock();
        if !state.is_counted(device, target) {
            return true;
        }
        let source = Source::of(target.address.ip());
        if state.source_free_at(source) > now {
            return false;
        }
        make_room(&mut state.spoken_for, SOURCES_MAX, &source, |until| *until);
        let until = state.spoken_for.entry(source).or_default();
        *until = (*until).max(now) + UNPROVEN_EVERY;
        true
    }

    pub(super) fn note_failed(
        &self,
        now: Duration,
        device: DeviceId,
        address: SocketAddr,
        failure: Failure,
    ) {
        let mut state = self.state.lock();
        let is_proven = state.won.get(&device) == Some(&address);
        let key = (device, address);
        make_room(&mut state.failed, ADDRESSES_MAX, &key, |failed| failed.until);
        let failed = state.failed.entry(key).or_default();
        let (min, max) = match failure {
            Failure::Unreached => (UNREACHED_FOR, UNREACHED_FOR),
            Failure::Unfinished if is_proven => (UNFINISHED_MIN, UNFINISHED_PROVEN_MAX),
            Failure::Unfinished => (UNFINISHED_MIN, UNFINISHED_MAX),
            Failure::WrongKey => (WRONG_KEY_MIN, WRONG_KEY_MAX),
        };
        let wait = min.saturating_mul(1 << failed.count.min(16)).min(max);
        failed.count += u32::from(failure != Failure::Unreached);
        failed.until = failed.until.max(now + wait);
    }

    /// Notes that a dial there was not in vain: it does not count.
    pub(super) fn give_back(&self, device: DeviceId, target: &Target) {
        self.state.lock().give_back(device, target);
    }

    /// Notes that the device proved its key there: that dial does not count.
    pub(super) fn note_won(&self, device: DeviceId, target: &Target) {
        let mut state = self.state.lock();
        state.give_back(device, target);
        state.failed.remove(&(device, target.address));
        if state.won.len() >= WINNERS_MAX && !state.won.contains_key(&device) {
            state.won.clear();
        }
        state.won.insert(device, target.address);
    }

    /// Tells whether the device proved its key last at one of the addresses.
    pub(super) fn is_proven(&self, device: DeviceId, candidates: &[Candidate]) -> bool {
        let won = self.state.lock().won.get(&device).copied();
        candidates.iter().any(|candidate| Some(candidate.address) == won)
    }

    /// This machine's networks have changed: what failed may be reached now.
    pub(super) fn forget_failures(&self) {
        self.state.lock().failed.clear();
    }
}

impl MemoryState {
    fn give_back(&mut self, device: DeviceId, target: &Target) {
        if self.is_counted(device, target)
            && let Some(until) = self.spoken_for.get_mut(&Source::of(target.address.ip()))
        {
            *until = until.saturating_sub(UNPROVEN_EVERY);
        }
    }

    /// Tells whether dials there count against the source: no tracker sees the device there, and it
    /// has proven nothing there.
    fn is_counted(&self, device: DeviceId, target: &Target) -> bool {
        target.is_hearsay && self.won.get(&device) != Some(&target.address)
    }

    fn free_at(&self, now: Duration, device: DeviceId, target: &Target) -> Duration {
        let failed = self.failed.get(&(device, target.address)).map_or(now, |failed| failed.until);
        if self.is_counted(device, target) {
            failed.max(self.source_free_at(Source::of(target.address.ip())))
        } else {
            failed
        }
    }

    /// When a source may be dialled in vain once more.
    fn source_free_at(&self, source: Source) -> Duration {
        let until = self.spoken_for.get(&source).copied().unwrap_or_default();
        until.saturating_sub(UNPROVEN_EVERY * (UNPROVEN_BURST - 1))
    }
}

impl From<&Candidate> for Target {
    fn from(candidate: &Candidate) -> Self {
        let is_hearsay = candidate.kind != CandidateKind::Observed;
        Self { address: candidate.address, is_hearsay }
    }
}

/// Makes room for one more key, if need be by forgetting the one whose time comes first.
fn make_room<K: Copy + Eq + Hash, V>(
    map: &mut HashMap<K, V>,
    max: usize,
    key: &K,
    time: impl Fn(&V) -> Duration,
) {
    if map.len() >= max
        && !map.contains_key(key)
        && let Some(first) = map.iter().min_by_key(|(_, value)| time(value)).map(|(key, _)| *key)
    {
        map.remove(&first);
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
) -> Vec<Target> {
    let is_won = |candidate: &&Candidate| Some(candidate.address) == won;
    let mut order: Vec<Target> =
        candidates.iter().find(is_won).map(Target::from).into_iter().collect();
    for rank in [Nearness::Here, Nearness::Likely, Nearness::Public, Nearness::Elsewhere] {
        let of_rank = candidates
            .iter()
            .filter(|candidate| !is_won(candidate) && nearness(candidate, own) == rank)
            .map(Target::from);
        let (v6, v4): (Vec<_>, Vec<_>) =
            of_rank.partition(|target| matches!(target.address.ip(), IpAddr::V6(_)));
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
            in_order(&candidates, &own, won).iter().map(|to| to.address.to_string()).collect()
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
        memory.note_won(DEVICE, &Target::from(&candidates[0]));
        let other = DeviceId::from_bytes([2; 32]);
        assert_eq!(memory.round(at_s(2), other, &candidates, &[]).len(), 1, "it may be its own");
        // One that takes connections and says nothing waits longer each time, the device's own address
        // for a minute at most.
        let mut now = at_s(700);
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            memory.note_failed(now, DEVICE, address, Failure::Unfinished);
            assert_eq!((round(now + at_s(wait) - Duration::from_millis(1)), wait > 0), (0, true));
            now += at_s(wait);
            assert_eq!(round(now), 1, "after {wait} s");
        }
        memory.note_won(DEVICE, &Target::from(&candidates[0]));
        memory.note_failed(now, DEVICE, address, Failure::Unfinished);
        assert_eq!(round(now + at_s(1)), 1, "it counts from the start again");
    }

    #[test]
    fn devices_and_ports_without_number_cost_a_third_party_a_few_dials() {
        let memory = DialMemory::default();
        let dials = |now: Duration| {
            let mut dials = 0;
            for number in 0..50 {
                let device = DeviceId::from_bytes([number; 32]);
                let hosts = (1..=16u16).map(|n| {
                    let port = u16::from(number) * 16 + n + now.as_secs() as u16;
                    at(&format!("198.51.100.1:{port}"), CandidateKind::Mapped)
                });
                let candidates: Vec<Candidate> = hosts.collect();
                let targets = memory.round(now, device, &candidates, &[]);
                for target in targets.iter().filter(|to| memory.begin(now, device, to)) {
                    dials += 1;
                    memory.note_failed(now, device, target.address, Failure::Unreached);
                }
            }
            dials
        };
        let now = Duration::from_secs(1_000);
        assert_eq!(dials(now), 8);
        let later: usize = (1..=100).map(|s| dials(now + Duration::from_secs(s))).sum();
        assert_eq!(later, 10, "one in ten seconds");
        // What a tracker has seen, and what the device has proven, does not count; a dial that
        // proves it is given back.
        let now = now + Duration::from_secs(110);
        let seen = [at("198.51.100.1:7", CandidateKind::Observed)];
        let own = [at("198.51.100.1:8", CandidateKind::Interface)];
        assert_eq!(memory.round(now, DEVICE, &seen, &[]).len(), 1);
        let target = Target::from(&own[0]);
        assert!(memory.begin(now, DEVICE, &target) && !memory.begin(now, DEVICE, &target));
        assert_eq!(memory.first_free(now, DEVICE, &own), now + UNPROVEN_EVERY);
        memory.note_won(DEVICE, &target);
        assert_eq!(memory.first_free(now, DEVICE, &own), now);
        assert!(memory.begin(now, DEVICE, &target) && memory.begin(now, DEVICE, &target));
        let other = DeviceId::from_bytes([200; 32]);
        assert!(memory.begin(now, other, &target) && !memory.begin(now, other, &target));
    }

    #[test]
    fn other_networks_end_the_wait() {
        let memory = DialMemory::default();
        let candidates = [at("198.51.100.1:1", CandidateKind::Observed)];
        memory.note_failed(Duration::ZERO, DEVICE, candidates[0].address, Failure::WrongKey);
        assert_eq!(memory.round(Duration::ZERO, DEVICE, &candidates, &[]).len(), 0);
        assert_eq!(memory.first_free(Duration::ZERO, DEVICE, &candidates), WRONG_KEY_MIN);
        memory.forget_failures();
        assert_eq!(memory.round(Duration::ZERO, DEVICE, &candidates, &[]).len(), 1);
    }

    #[test]
    fn of_many_addresses_each_has_its_turn() {
        let memory = DialMemory::default();
        let candidates: Vec<Candidate> =
            (1..=16).map(|n| at(&format!("198.51.100.{n}:1"), CandidateKind::Interface)).collect();
        let first = memory.round(Duration::ZERO, DEVICE, &candidates, &[]);
        assert_eq!(first.len(), PER_ROUND_MAX);
        for target in &first {
            memory.note_failed(Duration::ZERO, DEVICE, target.address, Failure::Unreached);
        }
        let second = memory.round(Duration::from_secs(9), DEVICE, &candidates, &[]);
        assert!(second.len() == PER_ROUND_MAX && second.iter().all(|a| !first.contains(a)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let memory = DialMemory::default();
        for n in 0..ADDRESSES_MAX as u32 + 300 {
            let address = SocketAddr::new(std::net::Ipv4Addr::from_bits(n).into(), 1);
            memory.note_failed(Duration::ZERO, DEVICE, address, Failure::WrongKey);
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_be_bytes());
            let target = Target { address, is_hearsay: true };
            assert!(memory.begin(Duration::ZERO, DEVICE, &target));
            memory.note_won(DeviceId::from_bytes(id), &target);
        }
        let state = memory.state.lock();
        assert!(state.failed.len() <= ADDRESSES_MAX && state.won.len() <= WINNERS_MAX);
        assert!(state.spoken_for.len() <= SOURCES_MAX);
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
            let order = in_order(&candidates, &own, won);
            let mut order: Vec<_> = order.iter().map(|target| target.address).collect();
            prop_assert_eq!(order.first().copied().filter(|_| won.is_some()), won);
            let mut all: Vec<_> = candidates.iter().map(|candidate| candidate.address).collect();
            order.sort();
            all.sort();
            prop_assert_eq!(order, all);
        }
    }
}
