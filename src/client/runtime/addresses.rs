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
use crate::client::config::ClientConfig;
use crate::client::trackers::uptime;
use crate::net::{InterfaceAddress, Listener, Stop, interface_addresses};
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
    /// Whether it takes links over IPv4 and IPv6.
    is_both: bool,
    tells_interfaces: bool,
    advertised: Vec<SocketAddr>,
    state: Mutex<OwnState>,
}

#[derive(Debug, Default)]
struct OwnState {
    interfaces: Arc<[InterfaceAddress]>,
    mapped: Vec<SocketAddr>,
}

impl OwnAddresses {
    /// Addresses of a client that listens there. One named without a port has that of the listener.
    pub(crate) fn new(config: &ClientConfig, listener: &Listener) -> Self {
        let listen = listener.local_addr();
        let with_port = |address: &SocketAddr| match address.port() {
            0 => SocketAddr::new(address.ip(), listen.port()),
            _ => *address,
        };
        let advertised = config.advertise.iter().map(with_port).collect();
        let (is_both, tells_interfaces) = (listener.takes_both(), config.tell_interfaces);
        Self { listen, is_both, tells_interfaces, advertised, state: Mutex::default() }
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
        let interfaces: Vec<SocketAddr> = if !self.tells_interfaces {
            Vec::new()
        } else if self.listen.ip().is_unspecified() {
            let is_heard = |address: &&InterfaceAddress| {
                self.is_both || address.ip.is_ipv4() == self.listen.is_ipv4()
            };
            let with_port =
                |address: &InterfaceAddress| SocketAddr::new(address.ip, self.listen.port());
            state.interfaces.iter().filter(is_heard).map(with_port).collect()
        } else {
            vec![self.listen]
        };
        let interfaces = interfaces.into_iter().map(as_kind(CandidateKind::Interface));
        usable_candidates(named.chain(mapped).chain(interfaces), false, CANDIDATES_MAX)
    }
}

impl Runtime {
    /// Replaces the addresses that routers forward to this device, and tells the trackers.
    pub(super) fn set_mapped(&self, mapped: &[SocketAddr]) {
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
            runtime.routers.look_again();
            if let Some(engine) = runtime.engine() {
                engine.networks_changed();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::TrackerInfo;

    fn offered(own: &OwnAddresses) -> Vec<String> {
        let text = |one: &Candidate| format!("{} {}", one.kind.word(), one.address);
        own.offered().iter().map(text).collect()
    }

    fn parse(all: &[&str]) -> Vec<SocketAddr> {
        all.iter().map(|address| address.parse().unwrap()).collect()
    }

    fn own(listen: &str, named: &[SocketAddr]) -> OwnAddresses {
        let trackers = TrackerInfo::parse("127.0.0.1:5000").unwrap();
        let mut config = ClientConfig::new(listen.parse().unwrap(), trackers);
        config.advertise = named.to_vec();
        let own = OwnAddresses::new(&config, &Listener::bind(config.listen).unwrap());
        let of = |ip: &str| InterfaceAddress { ip: ip.parse().unwrap(), prefix_len: 24 };
        own.state.lock().interfaces = [of("10.0.0.5"), of("2001:db8::5")].into();
        own
    }

    #[test]
    fn what_is_offered_follows_from_where_it_listens() {
        let named = parse(&["203.0.113.1:0", "[2001:db8::1]:9", "127.0.0.1:9"]);
        let of_both = own("[::]:0", &named);
        let port = of_both.listen.port();
        assert!(of_both.set_mapped(&parse(&["198.51.100.1:7001"])));
        assert!(!of_both.set_mapped(&parse(&["198.51.100.1:7001"])));
        let want = [
            format!("advertised 203.0.113.1:{port}"),
            "advertised [2001:db8::1]:9".into(),
            "mapped 198.51.100.1:7001".into(),
            format!("interface 10.0.0.5:{port}"),
            format!("interface [2001:db8::5]:{port}"),
        ];
        assert_eq!(offered(&of_both), want);
        let of_v4 = own("0.0.0.0:0", &[]);
        let port = of_v4.listen.port();
        assert_eq!(offered(&of_v4), [format!("interface 10.0.0.5:{port}")]);
        let mut of_one = own("127.0.0.1:0", &[]);
        assert!(offered(&of_one).is_empty());
        of_one.listen = "10.0.0.6:6001".parse().unwrap();
        assert_eq!(offered(&of_one), ["interface 10.0.0.6:6001"], "it listens there alone");
    }

    #[test]
    fn addresses_of_interfaces_are_kept_back_if_the_user_says_so() {
        let mut own = own("[::]:0", &parse(&["203.0.113.1:9"]));
        own.tells_interfaces = false;
        own.set_mapped(&parse(&["198.51.100.1:7001"]));
        assert_eq!(offered(&own), ["advertised 203.0.113.1:9", "mapped 198.51.100.1:7001"]);
    }

    #[test]
    fn no_more_is_offered_than_trackers_take() {
        let own = own("0.0.0.0:0", &[]);
        let of = |n: u8| InterfaceAddress { ip: [10, 0, 0, n].into(), prefix_len: 24 };
        own.state.lock().interfaces = (1..=99).map(of).collect();
        assert_eq!(own.offered().len(), CANDIDATES_MAX);
    }
}
