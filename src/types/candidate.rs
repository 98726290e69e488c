//! Addresses at which a device may take links.
//!
//! **Invariant:** a candidate is a hint. A member can tell any address, so the key of the device
//! that answers decides, and [`Candidate::is_usable`] bounds what may be passed on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// How a device came by an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CandidateKind {
    /// One of its interfaces has it.
    Interface,
    /// A tracker sees the device's connection come from there; the port is the one it listens on.
    Observed,
    /// A router forwards it to the device.
    Mapped,
    /// Its user has named it.
    Advertised,
    /// It announces itself there on a network of this machine. No tracker is told.
    Lan,
    /// A kind of a later version.
    Other(u8),
}

impl CandidateKind {
    /// The word for it in JSON and at the prompt.
    pub fn word(self) -> &'static str {
        match self {
            Self::Interface => "interface",
            Self::Observed => "observed",
            Self::Mapped => "mapped",
            Self::Advertised => "advertised",
            Self::Lan => "lan",
            Self::Other(_) => "other",
        }
    }
}

/// An address at which a device may take links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// The address.
    pub address: SocketAddr,
    /// How the device came by it.
    pub kind: CandidateKind,
}

impl Candidate {
    /// Names an address; an IPv4 address in an IPv6 one is taken out.
    pub fn new(address: SocketAddr, kind: CandidateKind) -> Self {
        Self { address: SocketAddr::new(address.ip().to_canonical(), address.port()), kind }
    }

    /// Tells whether another device could dial it. Loopback addresses count only with
    /// `with_loopback`. Link-local IPv6 addresses do not: what they mean differs by interface.
    pub fn is_usable(&self, with_loopback: bool) -> bool {
        let ip = self.address.ip().to_canonical();
        let is_host = match ip {
            IpAddr::V4(ip) => {
                let [first, ..] = ip.octets();
                // 0.0.0.0/8 is this network, 240.0.0.0/4 is reserved and has the broadcast address.
                first != 0 && first < 240 && !ip.is_multicast()
            }
            IpAddr::V6(ip) => {
                !ip.is_unspecified() && !ip.is_multicast() && !ip.is_unicast_link_local()
            }
        };
        let is_known = !matches!(self.kind, CandidateKind::Other(_));
        is_known && is_host && self.address.port() != 0 && (with_loopback || !ip.is_loopback())
    }
}

/// Keeps the first usable candidate of each address, at most `max`.
pub fn usable_candidates(
    candidates: impl IntoIterator<Item = Candidate>,
    with_loopback: bool,
    max: usize,
) -> Vec<Candidate> {
    let mut kept: Vec<Candidate> = Vec::new();
    for Candidate { address, kind } in candidates {
        let candidate = Candidate::new(address, kind);
        let is_new = kept.iter().all(|other| other.address != candidate.address);
        if kept.len() < max && is_new && candidate.is_usable(with_loopback) {
            kept.push(candidate);
        }
    }
    kept
}

/// Tells whether an address is for one site: RFC 1918, RFC 6598 (carriers), RFC 3927 and RFC 4193.
pub fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || is_of_carrier(ip),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

fn is_of_carrier(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    first == 100 && second & 0xc0 == 64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Candidate {
        Candidate::new(address.parse().unwrap(), CandidateKind::Interface)
    }

    #[test]
    fn what_no_other_device_could_dial_is_not_passed_on() {
        for bad in [
            "0.0.0.0:1",
            "0.1.2.3:1",
            "255.255.255.255:1",
            "240.0.0.1:1",
            "224.0.0.251:1",
            "10.0.0.1:0",
            "[::]:1",
            "[ff02::1]:1",
            "[fe80::1]:1",
            "[::ffff:0.0.0.0]:1",
            "[::ffff:224.0.0.1]:1",
        ] {
            assert!(!at(bad).is_usable(true), "{bad}");
        }
        for good in
            ["10.0.0.1:1", "192.0.2.1:65535", "169.254.1.1:9", "[2001:db8::1]:1", "[fd00::1]:1"]
        {
            assert!(at(good).is_usable(false), "{good}");
        }
        for own in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(at(own).is_usable(true) && !at(own).is_usable(false), "{own}");
        }
        let later = Candidate { kind: CandidateKind::Other(9), ..at("10.0.0.1:1") };
        assert!(!later.is_usable(true));
    }

    #[test]
    fn the_first_of_each_address_is_kept_up_to_a_number() {
        let all = ["10.0.0.1:1", "[::ffff:10.0.0.1]:1", "0.0.0.0:1", "10.0.0.2:1", "10.0.0.3:1"];
        let kept = usable_candidates(all.map(at), false, 2);
        assert_eq!(kept, [at("10.0.0.1:1"), at("10.0.0.2:1")]);
    }

    #[test]
    fn addresses_of_one_site_are_told_apart() {
        for ip in ["10.1.1.1", "192.168.0.9", "172.16.0.1", "100.64.0.1", "169.254.0.1", "fd00::1"]
        {
            assert!(is_private(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["100.128.0.1", "172.32.0.1", "8.8.8.8", "2001:db8::1", "127.0.0.1"] {
            assert!(!is_private(ip.parse().unwrap()), "{ip}");
        }
    }
}
