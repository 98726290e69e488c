//! Looks up a tracker's addresses, and whether a program listens there.
//!
//! **Invariant:** nothing is remembered: a name is looked up anew each time, since it may have
//! moved.
//!
//! A scoped IPv6 address (`fe80::1%eth0`) resolves to one with the interface's number, which the
//! system needs to dial it. Blocks on the system's resolver and on the network; callers are threads
//! that dial.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use super::Incoming;
use crate::types::TrackerAddress;

/// Finds the addresses that a tracker's line stands for.
///
/// # Errors
/// The resolver's; `NotFound` if the name stands for no address.
///
/// # Blocking
/// On the system's resolver, for names.
pub fn resolve(address: &TrackerAddress) -> io::Result<Vec<SocketAddr>> {
    let found: Vec<SocketAddr> = (address.host(), address.port()).to_socket_addrs()?.collect();
    if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) }
}

/// Tells whether something accepts connections at a tracker's address now.
///
/// # Blocking
/// On the resolver, and for at most `timeout` for each address that the name stands for.
pub fn is_listening(address: &TrackerAddress, timeout: Duration) -> bool {
    let found = resolve(address).unwrap_or_default();
    found.into_iter().any(|address| Incoming::dial(address, None, timeout).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv6Addr, SocketAddrV6};

    fn address(text: &str) -> TrackerAddress {
        text.parse().unwrap()
    }

    #[test]
    fn a_scope_becomes_the_number_of_its_interface() {
        let ip: Ipv6Addr = "fe80::1".parse().unwrap();
        for (text, scope) in
            [("[fe80::1%1]:5000", 1), ("[fe80::1%7]:5000", 7), ("[fe80::1]:5000", 0)]
        {
            assert_eq!(
                resolve(&address(text)).unwrap()[0],
                SocketAddrV6::new(ip, 5000, 0, scope).into(),
                "{text}"
            );
        }
        assert!(resolve(&address("[fe80::1%nosuchif]:5000")).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_interface_is_found_by_its_name() {
        let SocketAddr::V6(found) = resolve(&address("[fe80::1%lo]:5000")).unwrap()[0] else {
            panic!("not IPv6")
        };
        let index = std::fs::read_to_string("/sys/class/net/lo/ifindex").unwrap();
        assert_eq!(found.scope_id().to_string(), index.trim());
    }

    #[test]
    fn a_port_that_is_listened_at_is_told_from_one_that_is_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let there = address(&listener.local_addr().unwrap().to_string());
        assert!(is_listening(&there, Duration::from_secs(10)));
        drop(listener);
        assert!(!is_listening(&there, Duration::from_secs(10)));
    }
}
