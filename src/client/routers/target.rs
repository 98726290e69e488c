//! Which routers are asked, and for which address of this machine.

use std::net::{IpAddr, SocketAddr};

use crate::net::Gateway;
use crate::types::is_private;

/// Addresses of this machine for which routers are asked: each may become a candidate.
pub(super) const TARGETS_MAX: usize = 4;

/// A router, and an address of this machine behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    /// The router; the port is 0.
    pub(super) router: SocketAddr,
    pub(super) own: IpAddr,
}

/// The targets of a client that listens at `listen`, over both families if `is_both`. An IPv4
/// address counts if it is private, since another needs no translation; an IPv6 address if it is
/// not, since a private one is of no use outside.
pub(crate) fn targets(listen: IpAddr, is_both: bool, gateways: &[Gateway]) -> Vec<Target> {
    let listen = listen.to_canonical();
    let is_heard = |own: &&IpAddr| {
        let is_family = own.is_ipv4() == listen.is_ipv4() || is_both;
        if listen.is_unspecified() { is_family } else { **own == listen }
    };
    let is_behind = |own: &&IpAddr| own.is_ipv4() == is_private(**own) && !own.is_loopback();
    let all = gateways.iter().flat_map(|gateway| {
        let own = gateway.own.iter().filter(is_heard).filter(is_behind);
        own.map(|own| Target { router: gateway.address, own: *own })
    });
    all.take(TARGETS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routers_are_asked_for_addresses_that_are_heard_and_need_it() {
        let gateway = |address: &str, own: &[&str]| Gateway {
            address: address.parse().unwrap(),
            own: own.iter().map(|own| own.parse().unwrap()).collect(),
        };
        let gateways = [
            gateway("192.168.1.1:0", &["192.168.1.5", "192.168.1.6"]),
            gateway("203.0.113.1:0", &["203.0.113.5"]),
            gateway("[fe80::1%2]:0", &["2001:db8::5", "fd00::5"]),
        ];
        let own = |listen: &str, is_both: bool| {
            let found = targets(listen.parse().unwrap(), is_both, &gateways);
            found.iter().map(|target| target.own.to_string()).collect::<Vec<_>>()
        };
        let of_v4 = ["192.168.1.5", "192.168.1.6"];
        assert_eq!(own("0.0.0.0", true), [&of_v4[..], &["2001:db8::5"]].concat());
        assert_eq!(own("::", true), own("0.0.0.0", true));
        assert_eq!(own("0.0.0.0", false), of_v4);
        assert_eq!(own("::", false), ["2001:db8::5"]);
        assert_eq!(own("192.168.1.6", false), ["192.168.1.6"]);
        assert!(own("127.0.0.1", false).is_empty() && own("203.0.113.5", false).is_empty());
        let many: Vec<String> = (1..99).map(|n| format!("10.0.0.{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let many = [gateway("10.0.0.254:0", &many)];
        assert_eq!(targets("0.0.0.0".parse().unwrap(), true, &many).len(), TARGETS_MAX);
    }
}
