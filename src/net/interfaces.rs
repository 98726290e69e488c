//! The addresses of this machine's network interfaces.
//!
//! **Invariant:** what is listed could be dialled by another machine on one of its networks:
//! neither loopback nor link-local IPv6 addresses, whose meaning ends at this machine.
//!
//! Does not wait for anything but the kernel.

use std::io;
use std::net::IpAddr;

/// Name prefixes of virtual interfaces for containers and virtual machines. Their addresses are the
/// same on every machine, so other devices cannot use them.
const INNER: [&str; 11] =
    ["docker", "podman", "br-", "veth", "virbr", "vnet", "lxc", "lxd", "cni", "cali", "flannel"];
/// The most addresses looked at: bounds the work on a machine with very many.
const ADDRESSES_MAX: usize = 256;

/// An address of an interface, and its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InterfaceAddress {
    /// The address.
    pub ip: IpAddr,
    /// How many of its leading bits name the network.
    pub prefix_len: u8,
}

impl InterfaceAddress {
    /// Tells whether an address is on the interface's network. One without a known network has no
    /// neighbours.
    pub fn has_neighbour(&self, other: IpAddr) -> bool {
        let (own, other, width) = match (self.ip.to_canonical(), other.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (u128::from(own.to_bits()), u128::from(other.to_bits()), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits(), other.to_bits(), 128),
            _ => return false,
        };
        let host_len = width - u32::from(self.prefix_len).min(width);
        host_len < width && (own ^ other) >> host_len == 0
    }
}

/// An interface that is up, and its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The system's number of it.
    pub index: u32,
    /// At least one.
    pub addresses: Vec<InterfaceAddress>,
}

/// Tells the name of an interface for containers or virtual machines.
pub(super) fn is_inner(name: &str) -> bool {
    INNER.iter().any(|inner| name.starts_with(inner))
}

/// Lists the addresses of this machine's interfaces that are up.
///
/// # Errors
/// The system's.
pub fn interface_addresses() -> io::Result<Vec<InterfaceAddress>> {
    let mut addresses: Vec<InterfaceAddress> =
        usable()?.into_iter().map(|(_, address)| address).collect();
    addresses.sort_by_key(|address| (address.ip, address.prefix_len));
    addresses.dedup();
    Ok(addresses)
}

/// The same by interface, in the order of their numbers.
///
/// # Errors
/// The system's.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let mut all = usable()?;
    all.sort_by_key(|(index, address)| (*index, address.ip, address.prefix_len));
    all.dedup();
    let numbered = all.chunk_by(|(one, _), (other, _)| one == other).filter_map(|of_one| {
        let index = of_one.first()?.0?;
        Some(Interface { index, addresses: of_one.iter().map(|(_, address)| *address).collect() })
    });
    Ok(numbered.collect())
}

/// Each address, and the number of its interface.
fn usable() -> io::Result<Vec<(Option<u32>, InterfaceAddress)>> {
    let all = if_addrs::get_if_addrs()?;
    let usable = all.iter().filter(|interface| {
        let ip = interface.ip();
        let is_link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let is_up = interface.is_oper_up();
        is_up && !is_link_local && !interface.is_loopback() && !is_inner(&interface.name)
    });
    let address = |interface: &if_addrs::Interface| match &interface.addr {
        if_addrs::IfAddr::V4(v4) => InterfaceAddress { ip: v4.ip.into(), prefix_len: v4.prefixlen },
        if_addrs::IfAddr::V6(v6) => InterfaceAddress { ip: v6.ip.into(), prefix_len: v6.prefixlen },
    };
    let numbered = usable.map(|interface| (interface.index, address(interface)));
    Ok(numbered.take(ADDRESSES_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(ip: &str, prefix_len: u8) -> InterfaceAddress {
        InterfaceAddress { ip: ip.parse().unwrap(), prefix_len }
    }

    #[test]
    fn neighbours_are_on_the_same_network() {
        for (own, prefix_len, other, is_near) in [
            ("10.1.2.3", 24, "10.1.2.200", true),
            ("10.1.2.3", 24, "10.1.3.3", false),
            ("10.1.2.3", 32, "10.1.2.3", true),
            ("10.1.2.3", 0, "8.8.8.8", false),
            ("10.1.2.3", 24, "::ffff:10.1.2.9", true),
            ("10.1.2.3", 24, "2001:db8::1", false),
            ("2001:db8::1", 64, "2001:db8::ffff:1", true),
            ("2001:db8::1", 64, "2001:db8:0:1::1", false),
            ("2001:db8::1", 0, "::1", false),
            ("2001:db8::1", 255, "2001:db8::1", true),
        ] {
            let is = on(own, prefix_len).has_neighbour(other.parse().unwrap());
            assert_eq!(is, is_near, "{own}/{prefix_len} {other}");
        }
    }

    #[test]
    fn no_loopback_address_is_listed() {
        let all = interface_addresses().unwrap();
        assert!(all.iter().all(|address| !address.ip.is_loopback()), "{all:?}");
        let by_interface = interfaces().unwrap();
        assert!(by_interface.iter().flat_map(|one| &one.addresses).all(|one| all.contains(one)));
    }
}
