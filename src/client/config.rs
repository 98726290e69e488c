//! The configuration of a client's start.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::data_dir::default_data_dir;
use super::relay_options::RelayOptions;
use crate::net::is_own_address;
use crate::swarm::Limits;
use crate::types::{Fingerprint, TrackerInfo};

/// Default number of downloads that run at a time. Enough that one without seeders does not block
/// the rest and that many small files keep the links busy; few enough that each gets its share of
/// the buffers and the first ones complete soon.
pub const DOWNLOADS_MAX: usize = 8;

/// Where a client listens, which trackers it knows, and where it keeps its state.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Address on which links from other clients are accepted; port 0 takes any free one. `[::]`
    /// is every address of IPv6 and of IPv4, `0.0.0.0` every one of IPv4.
    pub listen: SocketAddr,
    /// Addresses at which others can reach this device, as its user knows; port 0 stands for the
    /// port it listens on.
    pub advertise: Vec<SocketAddr>,
    /// Whether this device announces itself on local networks, and finds others there.
    pub lan: bool,
    /// Whether other members are told the addresses of this machine's interfaces.
    pub tell_interfaces: bool,
    /// Whether routers are asked to forward the port on which links are accepted.
    pub map_port: bool,
    /// The trackers of the network.
    pub trackers: TrackerInfo,
    /// Directory of the device's state: identity, shares, downloads. Only one client at a time can
    /// use it.
    pub data_dir: PathBuf,
    /// The fingerprint of the network's key, if the user names it. It overrides the one in
    /// `trackers`, and the stored one.
    pub network: Option<Fingerprint>,
    /// Threads that fetch, hash and write; `None` for twice the number of cores, at least 4.
    pub threads: Option<usize>,
    /// Rate limits of the start; the user can change them.
    pub limits: Limits,
    /// Downloads that run at a time; 0 for any number.
    pub downloads_max: usize,
    /// How relays are used.
    pub relays: RelayOptions,
}

impl ClientConfig {
    /// The default configuration for an address. The state goes below the platform's data
    /// directory, into one directory for each network ([`default_data_dir`]).
    pub fn new(listen: SocketAddr, trackers: TrackerInfo) -> Self {
        let data_dir = default_data_dir(&trackers, None);
        Self {
            listen,
            advertise: Vec::new(),
            lan: true,
            tell_interfaces: true,
            map_port: true,
            trackers,
            data_dir,
            network: None,
            threads: None,
            limits: Limits::default(),
            downloads_max: DOWNLOADS_MAX,
            relays: RelayOptions::default(),
        }
    }
}

impl ClientConfig {
    /// A warning that other devices cannot reach this one, and what to type instead: it listens on
    /// this machine's loopback address, and the trackers are elsewhere; or on an address, `bound`,
    /// that this machine has no more. `None` if they can.
    pub fn unreachable(&self, bound: SocketAddr) -> Option<String> {
        self.on_loopback().or_else(|| on_lost_address(bound))
    }

    fn on_loopback(&self) -> Option<String> {
        let is_here = |host: &str| match host.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().is_loopback(),
            Err(_) => host == "localhost" || host.ends_with(".localhost"),
        };
        let ip = self.listen.ip();
        let is_elsewhere = self.trackers.iter().any(|(_, tracker)| !is_here(tracker.host()));
        (ip.to_canonical().is_loopback() && is_elsewhere).then(|| {
            let port = self.listen.port();
            format!(
                "others cannot reach this device at {ip}, which only this machine reaches, and the \
                 trackers are elsewhere; start the client with 0.0.0.0:{port} instead of {}",
                self.listen
            )
        })
    }
}

fn on_lost_address(bound: SocketAddr) -> Option<String> {
    (!is_own_address(bound)).then(|| {
        format!(
            "others cannot reach this device: it listens on {bound}, which is no address of this \
             machine any more; start the client with 0.0.0.0:{}",
            bound.port()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(listen: &str, trackers: &str) -> Option<String> {
        let trackers = TrackerInfo::parse(trackers).unwrap();
        let listen = listen.parse().unwrap();
        ClientConfig::new(listen, trackers).unreachable(listen)
    }

    #[test]
    fn who_listens_on_this_machine_alone_is_told_what_to_type() {
        let elsewhere = "10.0.0.5:5000\n127.0.0.1:7000";
        let text = warning("127.0.0.1:6001", elsewhere).unwrap();
        assert!(text.contains("0.0.0.0:6001 instead of 127.0.0.1:6001"), "{text}");
        assert!(!text.contains('\n'));
        assert!(warning("[::1]:6001", "tracker.example:5000").unwrap().contains("[::1]:6001"));
        for (listen, trackers) in [
            ("127.0.0.1:6001", "127.0.0.1:5000\nlocalhost:7000\n[::1]:7001"),
            ("0.0.0.0:6001", elsewhere),
            ("[::]:6001", elsewhere),
        ] {
            assert_eq!(warning(listen, trackers), None);
        }
        // For documents: no machine has it.
        let text = warning("192.0.2.7:6001", elsewhere).unwrap();
        assert!(text.contains("192.0.2.7:6001") && text.contains("0.0.0.0:6001"), "{text}");
    }
}
