//! Datagrams to and from all machines of the local networks.
//!
//! **Invariant:** a datagram is passed on only if its sender is on a network of the interfaces that
//! were joined, and sent from the group's port: nothing from behind a router.
//!
//! One thread uses it. [`Multicast::wait`] blocks, until its timeout.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};

use super::{Interface, InterfaceAddress};

/// Sent with a datagram, so that no router passes it on and receivers can tell (RFC 6762, section
/// 11).
const HOPS: u32 = 255;

/// A group of machines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MulticastGroup {
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Ipv6Addr,
    pub(crate) port: u16,
}

/// The sockets of a group, on some interfaces.
#[derive(Debug)]
pub(crate) struct Multicast {
    group: MulticastGroup,
    interfaces: Vec<Interface>,
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
}

impl Multicast {
    /// Joins the group on these interfaces, with each family that works. Other programs may use the
    /// port, too.
    ///
    /// # Errors
    /// The system's, if neither family works.
    pub(crate) fn join(group: MulticastGroup, interfaces: Vec<Interface>) -> io::Result<Self> {
        let v4 = open_v4(group, &interfaces);
        let v6 = open_v6(group, &interfaces);
        match (v4, v6) {
            (Err(error), Err(_)) => Err(error),
            (v4, v6) => Ok(Self { group, interfaces, v4: v4.ok(), v6: v6.ok() }),
        }
    }

    /// The interfaces on which the group was joined.
    pub(crate) fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Sends a datagram to the machines on an interface's networks, with each of its families.
    /// Nothing is known of who has it, so errors are of no use but for the log.
    pub(crate) fn send(&self, interface: &Interface, datagram: &[u8]) {
        let first_v4 = interface.addresses.iter().find_map(|address| match address.ip {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        });
        let has_v6 = interface.addresses.iter().any(|address| address.ip.is_ipv6());
        if let (Some(socket), Some(ip)) = (&self.v4, first_v4) {
            let chosen = SockRef::from(socket).set_multicast_if_v4(&ip);
            self.note(
                chosen.and_then(|()| socket.send_to(datagram, (self.group.v4, self.group.port))),
            );
        }
        if let (Some(socket), true) = (&self.v6, has_v6) {
            let chosen = SockRef::from(socket).set_multicast_if_v6(interface.index);
            self.note(
                chosen.and_then(|()| socket.send_to(datagram, (self.group.v6, self.group.port))),
            );
        }
    }

    fn note(&self, sent: io::Result<usize>) {
        if let Err(error) = sent {
            log::debug!(
                "nothing could be sent to port {} of the network: {error}",
                self.group.port
            );
        }
    }

    /// Reads one datagram that has arrived, without waiting; `Ok(None)` if it is dropped.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is none.
    pub(crate) fn read(&self, into: &mut [u8]) -> io::Result<Option<(usize, IpAddr)>> {
        let mut last = io::Error::from(io::ErrorKind::WouldBlock);
        for socket in self.v4.iter().chain(&self.v6) {
            match socket.recv_from(into) {
                Ok((len, from)) => {
                    return Ok(self.is_from_here(from).then(|| (len, from.ip().to_canonical())));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn is_from_here(&self, from: SocketAddr) -> bool {
        let is_link_local = matches!(from.ip(), IpAddr::V6(ip) if ip.is_unicast_link_local());
        from.port() == self.group.port && (is_link_local || self.has_neighbour(from.ip()))
    }

    /// Tells whether an address is on a network of the interfaces.
    pub(crate) fn has_neighbour(&self, ip: IpAddr) -> bool {
        let has_it = |address: &InterfaceAddress| address.has_neighbour(ip);
        self.interfaces.iter().flat_map(|interface| &interface.addresses).any(has_it)
    }

    /// Waits until a datagram has arrived, `woken` can be read, or `timeout` has passed.
    pub(crate) fn wait(this: Option<&Self>, woken: &UnixStream, timeout: Duration) {
        let sockets = this.iter().flat_map(|this| this.v4.iter().chain(&this.v6));
        let mut waiting: Vec<PollFd<'_>> =
            sockets.map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
        waiting.push(PollFd::new(woken, PollFlags::IN));
        // An interrupted wait is a short one.
        let _ = Timespec::try_from(timeout).map(|timeout| poll(&mut waiting, Some(&timeout)));
    }
}

fn open(domain: Domain, address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    // The systems differ in which of the two lets programs share the port.
    let _ = socket.set_reuse_port(true);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Joins on each interface; fails if none could be joined.
fn join_each(
    interfaces: &[Interface],
    is_family: impl Fn(&IpAddr) -> bool,
    join: impl Fn(u32) -> io::Result<()>,
) -> io::Result<()> {
    let mut joined = Err(io::ErrorKind::AddrNotAvailable.into());
    for interface in interfaces {
        if !interface.addresses.iter().any(|address| is_family(&address.ip)) {
            continue;
        }
        match join(interface.index) {
            Err(error) if joined.is_err() => joined = Err(error),
            Err(error) => log::debug!("interface {}: {error}", interface.index),
            Ok(()) => joined = Ok(()),
        }
    }
    joined
}

fn open_v4(group: MulticastGroup, interfaces: &[Interface]) -> io::Result<UdpSocket> {
    let socket = open(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, group.port).into())?;
    socket.set_multicast_ttl_v4(HOPS)?;
    // Clients on one machine find each other, too.
    socket.set_multicast_loop_v4(true)?;
    join_each(interfaces, IpAddr::is_ipv4, |index| {
        socket.join_multicast_v4_n(&group.v4, &InterfaceIndexOrAddress::Index(index))
    })?;
    Ok(socket.into())
}

fn open_v6(group: MulticastGroup, interfaces: &[Interface]) -> io::Result<UdpSocket> {
    let socket = open(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, group.port).into())?;
    socket.set_multicast_hops_v6(HOPS)?;
    socket.set_multicast_loop_v6(true)?;
    join_each(interfaces, IpAddr::is_ipv6, |index| socket.join_multicast_v6(&group.v6, index))?;
    Ok(socket.into())
}
