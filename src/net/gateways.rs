//! The routers through which this machine reaches other networks.
//!
//! **Invariant:** a gateway is listed with addresses of this machine on the interface that leads
//! to it, of the same family.
//!
//! Does not wait for anything but the kernel.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::interfaces::is_inner;

/// The most routers, and addresses behind each, that are listed.
const GATEWAYS_MAX: usize = 8;
const ADDRESSES_MAX: usize = 16;

/// A default route's router.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Gateway {
    /// Its address on the network that it shares with this machine. One of IPv6 is usually
    /// link-local, and then has the interface as its scope. The port is 0.
    pub address: SocketAddr,
    /// This machine's addresses on that network: for IPv6 all but those that are link-local.
    pub own: Vec<IpAddr>,
}

/// Lists the routers of the default routes; those of IPv4 come first. Empty if there are none, or
/// if the system does not tell.
pub fn default_gateways() -> Vec<Gateway> {
    let (mut gateways, mut of_v6) = (Vec::new(), Vec::new());
    for interface in netdev::get_interfaces() {
        let Some(router) = &interface.gateway else { continue };
        if is_inner(&interface.name) {
            continue;
        }
        for address in &router.ipv4 {
            let on_network = interface.ipv4.iter().filter(|network| network.contains(address));
            let own: Vec<IpAddr> = on_network.map(|network| network.addr().into()).collect();
            gateways.push(gateway(SocketAddr::new((*address).into(), 0), own));
        }
        for address in &router.ipv6 {
            let scope = if address.is_unicast_link_local() { interface.index } else { 0 };
            let is_link_local = |ip: &Ipv6Addr| ip.is_unicast_link_local();
            let own = interface.ipv6.iter().map(|network| network.addr());
            let own = own.filter(|ip| !is_link_local(ip)).map(IpAddr::from).collect();
            of_v6.push(gateway(SocketAddrV6::new(*address, 0, 0, scope).into(), own));
        }
    }
    gateways.append(&mut of_v6);
    gateways.retain(|gateway| !gateway.own.is_empty());
    gateways.truncate(GATEWAYS_MAX);
    gateways
}

fn gateway(address: SocketAddr, mut own: Vec<IpAddr>) -> Gateway {
    own.sort();
    own.truncate(ADDRESSES_MAX);
    Gateway { address, own }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_is_on_a_network_of_this_machine() {
        for Gateway { address, own } in default_gateways() {
            assert!(!address.ip().is_unspecified() && !address.ip().is_loopback(), "{address}");
            assert!(own.iter().all(|ip| ip.is_ipv4() == address.is_ipv4()), "{address} {own:?}");
        }
    }
}
