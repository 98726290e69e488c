//! Keeps the addresses that this device offers up to date.
//!
//! **Invariant:** what is offered follows from where the client listens, the interfaces' addresses,
//! the routers' mappings and what the user named; the trackers hear of every change.
//!
//! The thread "addresses" wakes every [`LOOK_EVERY`]. It notices that the machine slept because
//! `uptime` counts during sleep.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use log::{debug, info};
use parking_lot::Mutex;

use super::Runtime;
use crate::client::trackers::uptime;
use crate::net::{InterfaceAddress, Stop, interface_addresses};
use crate::types::limits::CANDIDATES_MAX;
use crate::types::{Candidate, CandidateKind, usable_candidates};

/// How often the interfaces are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// If a pause takes this much longer than asked for, the machine was asleep.
const ASLEEP_MIN: Duration = Duration::from_secs(5);
/// Addresses that routers forward: one or two of each family.
const MAPPED_MAX: usize = 4;

/// The addresses that this device offers.
#[derive(Debug)]
pub(crate) struct OwnAddresses {
    listen: SocketAddr,
    advertised: Vec<SocketAddr>,
    state: Mutex<OwnState>,
}

#[derive(Debug, Default)]
struct OwnState {
    interfaces: Arc<[InterfaceAddress]>,
    mapped: Vec<SocketAddr>,
}

impl OwnAddresses {
    /// Addresses of a client that listens there. One named without a port has that of `listen`.
    pub(crate) fn new(listen: SocketAddr, advertised: &[SocketAddr]) -> Self {
        let with_port = |address: &SocketAddr| match address.port() {
            0 => SocketAddr::new(address.ip(), listen.port()),
            _ => *address,
        };
        let advertised = advertised.iter().map(with_port).collect();
        Self { listen, advertised, state: Mutex::default() }
    }

    /// The interfaces' addresses as they were last seen.
    pub(crate) fn interfaces(&self) -> Arc<[InterfaceAddress]> {
        self.state.lock().interfaces.clone()
    }

    /// Looks at the interfaces; tells whether they have changed.
    fn look(&self) -> bool {
        let seen = match interface_addresses() {
            Ok(seen) => seen,
            Err(error) => {
                debug!("the interfaces' addresses cannot be read: {error}");
                return false;
            }
        };
        let mut state = self.state.lock();
        let has_changed = *state.interfaces != *seen;
        if has_changed {
            state.interfaces = seen.into();
        }
        has_changed
    }

    /// Replaces the addresses that routers forward to this device; tells whether they differ.
    fn set_mapped(&self, mapped: &[SocketAddr]) -> bool {
        let mapped = &mapped[..mapped.len().min(MAPPED_MAX)];
        let mut state = self.state.lock();
        let has_changed = state.mapped != mapped;
        state.mapped = mapped.to_vec();
        has_changed
    }

    /// What is offered, the best first. Trackers add where they see this device.
    pub(crate) fn offered(&self) -> Vec<Candidate> {
        let state = self.state.lock();
        let as_kind = |kind| move |address: SocketAddr| Candidate::new(address, kind);
        let named = self.advertised.iter().copied().map(as_kind(CandidateKind::Advertised));
        let mapped = state.mapped.iter().copied().map(as_kind(CandidateKind::Mapped));
        let interfaces: Vec<SocketAddr> = if self.listen.ip().is_unspecified() {
            let with_port =
                |address: &InterfaceAddress| SocketAddr::new(address.ip, self.listen.port());
            state.interfaces.iter().map(with_port).collect()
        } else {
            vec![self.listen]
        };
        let interfaces = interfaces.into_iter().map(as_kind(CandidateKind::Interface));
        usable_candidates(named.chain(mapped).chain(interfaces), false, CANDIDATES_MAX)
    }
}

impl Runtime {
    /// Replaces the addresses that routers forward to this device, and tells the trackers.
    pub(crate) fn set_mapped(&self, mapped: &[SocketAddr]) {
        if self.own_addresses.set_mapped(mapped) {
            self.trackers.offer(self.own_addresses.offered());
        }
    }
}

/// Looks until the client stops.
pub(super) fn run(runtime: &Runtime, stop: &Stop) {
    runtime.own_addresses.look();
    let mut looked = uptime();
    loop {
        runtime.trackers.offer(runtime.own_addresses.offered());
        if stop.wait(LOOK_EVERY) {
            return;
        }
        let now = uptime();
        let has_slept = now.saturating_sub(looked) >= LOOK_EVERY + ASLEEP_MIN;
        looked = now;
        let has_moved = runtime.own_addresses.look();
        if has_slept || has_moved {
            info!("the machine has {}", if has_moved { "other addresses" } else { "been asleep" });
            runtime.trackers.look_again();
            runtime.lan.wake();
            if let Some(engine) = runtime.engine() {
                engine.networks_changed();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(own: &OwnAddresses) -> Vec<String> {
        let text = |one: &Candidate| format!("{} {}", one.kind.word(), one.address);
        own.offered().iter().map(text).collect()
    }

    fn parse(all: &[&str]) -> Vec<SocketAddr> {
        all.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_offered_follows_from_where_it_listens() {
        let named = parse(&["203.0.113.1:0", "[2001:db8::1]:9", "127.0.0.1:9"]);
        let own = OwnAddresses::new("0.0.0.0:6001".parse().unwrap(), &named);
        let of = |ip: &str| InterfaceAddress { ip: ip.parse().unwrap(), prefix_len: 24 };
        own.state.lock().interfaces = [of("10.0.0.5"), of("2001:db8::5")].into();
        assert!(own.set_mapped(&parse(&["198.51.100.1:7001"])));
        assert!(!own.set_mapped(&parse(&["198.51.100.1:7001"])));
        let want = [
            "advertised 203.0.113.1:6001",
            "advertised [2001:db8::1]:9",
            "mapped 198.51.100.1:7001",
            "interface 10.0.0.5:6001",
            "interface [2001:db8::5]:6001",
        ];
        assert_eq!(offered(&own), want);
        let own = OwnAddresses::new("10.0.0.5:6001".parse().unwrap(), &[]);
        own.state.lock().interfaces = [of("10.0.0.5"), of("10.0.0.6")].into();
        assert_eq!(offered(&own), ["interface 10.0.0.5:6001"], "it listens there alone");
        let own = OwnAddresses::new("127.0.0.1:6001".parse().unwrap(), &[]);
        own.state.lock().interfaces = [of("10.0.0.5")].into();
        assert!(offered(&own).is_empty());
    }

    #[test]
    fn no_more_is_offered_than_trackers_take() {
        let own = OwnAddresses::new("0.0.0.0:6001".parse().unwrap(), &[]);
        let of = |n: u8| InterfaceAddress { ip: [10, 0, 0, n].into(), prefix_len: 24 };
        own.state.lock().interfaces = (1..=99).map(of).collect();
        assert_eq!(own.offered().len(), CANDIDATES_MAX);
    }
}
