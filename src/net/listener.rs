//! Accepts connections until it is stopped; a fault of one connection ends that one alone.
//!
//! **Invariant:** the accept loop never spins and never ends before [`Stop`] is set. Out of
//! descriptors it sheds the connections that wait, logs once, and goes on.
//!
//! [`Listener::run`] blocks, on the program's accept thread; [`Listener::wake`] is called on another.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use log::{info, warn};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::socket::{probe, share_port};
use super::{Incoming, Stop};

/// Connections that the system holds until they are accepted: a whole class may log in at once.
const BACKLOG: i32 = 4096;
/// How long the loop waits when the system has no room for another connection.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds `address`; port 0 takes any free one. A port that a crashed process held can be bound
    /// again at once.
    ///
    /// # Errors
    /// The system's: in use, not permitted, no such address.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() && address.ip().is_unspecified() {
            // Every address: of both families, where the system has both.
            let _ = socket.set_only_v6(false);
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The same, but that every address of IPv6 stands for every one of IPv4 alone where the system
    /// has no IPv6.
    ///
    /// # Errors
    /// The system's: in use, not permitted, no such address.
    pub fn bind_any(address: SocketAddr) -> io::Result<Self> {
        let bound = Self::bind(address);
        let is_every = address.is_ipv6() && address.ip().is_unspecified();
        match &bound {
            Err(error) if is_every && error.kind() != io::ErrorKind::AddrInUse => {
                let of_v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
                Self::bind(of_v4).or(bound)
            }
            _ => bound,
        }
    }

    /// Lets this user's sockets that ask for it dial from this port
    /// ([`Incoming::dial_from_port`]). Another listener still cannot bind it, unless it asks for the
    /// same.
    ///
    /// # Errors
    /// `Unsupported` on other systems than Linux.
    pub fn share_port(&self) -> io::Result<()> {
        share_port(&SockRef::from(&self.listener))
    }

    /// Takes a connection that waits, if one does. For a listener that is not run.
    pub fn try_accept(&self) -> Option<Incoming> {
        self.listener.set_nonblocking(true).ok()?;
        let (stream, _) = self.listener.accept().ok()?;
        stream.set_nonblocking(false).ok()?;
        Incoming::new(stream).ok()
    }

    /// Tells whether it takes connections of both families.
    pub fn takes_both(&self) -> bool {
        let is_every = self.address.is_ipv6() && self.address.ip().is_unspecified();
        is_every && SockRef::from(&self.listener).only_v6().is_ok_and(|only| !only)
    }

    /// The address bound, with the port chosen.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Makes [`Listener::accept_now`] return at once.
    ///
    /// # Errors
    /// The system's.
    pub fn set_nonblocking(&self) -> io::Result<()> {
        self.listener.set_nonblocking(true)
    }

    /// Takes a connection that waits, if one does: one whose reads and writes do not block either.
    /// The system ends it after `dead_after` without a sign of life from the other end's system.
    ///
    /// # Errors
    /// The system's: it has no room for another connection.
    pub fn accept_now(&self, dead_after: Duration) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        match self.listener.accept() {
            Ok((stream, peer)) => {
                let is_ready =
                    stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).is_ok();
                probe(&stream, dead_after / 2, dead_after);
                // An error means that the other end has gone already.
                Ok(is_ready.then_some((stream, peer)))
            }
            Err(e) if is_momentary(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Hands every connection to `serve`, which must not block, until `stop` is set and
    /// [`Listener::wake`] called.
    ///
    /// # Blocking
    /// Until stopped; belongs on a thread of its own.
    pub fn run(&self, stop: &Stop, mut serve: impl FnMut(Incoming)) {
        let mut spare = File::open("/dev/null").ok();
        let mut short = false;
        while !stop.is_set() {
            match self.listener.accept() {
                Ok(_) if stop.is_set() => {}
                Ok((stream, _)) => {
                    if std::mem::take(&mut short) {
                        info!("{}: accepting connections again", self.address);
                    }
                    spare = spare.or_else(|| File::open("/dev/null").ok());
                    // An error means that the other end has gone already.
                    let _ = Incoming::new(stream).map(&mut serve);
                }
                Err(e) if is_momentary(&e) || stop.is_set() => {}
                Err(e) => {
                    if !std::mem::replace(&mut short, true) {
                        warn!(
                            "{}: cannot accept connections: {e}; new ones are shed until there is room",
                            self.address
                        );
                    }
                    spare = self.shed(spare.take());
                    stop.wait(SHORTAGE_PAUSE);
                }
            }
        }
    }

    /// Wakes the accept loop, so that it notices that [`Stop`] is set.
    pub fn wake(&self) {
        // Either call wakes it where it works. If both fail, the next connection does.
        let _ = SockRef::from(&self.listener).shutdown(std::net::Shutdown::Both);
        // A scoped address keeps its scope.
        let mut address = self.address;
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        let _ = TcpStream::connect_timeout(&address, SHORTAGE_PAUSE);
    }

    /// Out of descriptors: gives up the spare one to take a waiting connection and close it, so
    /// that it does not wait in vain.
    fn shed(&self, spare: Option<File>) -> Option<File> {
        let spare = spare?;
        drop(spare);
        let _ = self.listener.set_nonblocking(true);
        let _ = self.listener.accept();
        let _ = self.listener.set_nonblocking(false);
        File::open("/dev/null").ok()
    }
}

/// Tells an error that concerns one connection, not the listener.
fn is_momentary(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | WouldBlock)
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn it_serves_until_stopped() {
        let listener = Arc::new(Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap());
        let stop = Stop::new();
        let (sender, served) = crossbeam_channel::unbounded();
        let thread = std::thread::spawn({
            let (listener, stop) = (listener.clone(), stop.clone());
            move || listener.run(&stop, |incoming| sender.send(incoming.peer_addr()).unwrap())
        });
        let dialled = TcpStream::connect(listener.local_addr()).unwrap();
        assert_eq!(
            served.recv_timeout(Duration::from_secs(10)).unwrap(),
            dialled.local_addr().unwrap()
        );
        stop.set();
        listener.wake();
        thread.join().unwrap();
    }

    #[test]
    fn every_address_of_ipv6_is_every_one_of_both_families_and_that_of_ipv4_is_not() {
        let of_v4 = Listener::bind_any("0.0.0.0:0".parse().unwrap()).unwrap();
        assert!(!of_v4.takes_both());
        let port = of_v4.local_addr().port();
        assert!(TcpStream::connect(("::1", port)).is_err());
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
        let listener = Listener::bind_any("[::]:0".parse().unwrap()).unwrap();
        let (port, stop) = (listener.local_addr().port(), Stop::new());
        assert!(listener.takes_both());
        let again = Listener::bind_any(listener.local_addr()).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
        let (listener, (sender, served)) = (Arc::new(listener), crossbeam_channel::unbounded());
        let thread = std::thread::spawn({
            let (listener, stop) = (listener.clone(), stop.clone());
            move || listener.run(&stop, |incoming| sender.send(incoming.peer_addr()).unwrap())
        });
        for ip in ["127.0.0.1", "::1"] {
            let dialled = TcpStream::connect((ip, port)).unwrap();
            let seen = served.recv_timeout(Duration::from_secs(10)).unwrap();
            assert_eq!(seen, dialled.local_addr().unwrap(), "an IPv4 address is shown as one");
        }
        stop.set();
        listener.wake();
        thread.join().unwrap();
    }

    #[test]
    fn a_shared_port_is_dialled_from_and_not_bound_by_another_listener() {
        let listener = Listener::bind_any("[::]:0".parse().unwrap()).unwrap();
        if listener.share_port().is_err() {
            return;
        }
        let from = listener.local_addr();
        let others = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let dialled = others.iter().map(|other| {
            let address = other.local_addr().unwrap();
            let patience = Duration::from_secs(10);
            let dialled = Incoming::dial_from_port(address, from, patience, &|| false).unwrap();
            assert_eq!(other.accept().unwrap().1.port(), from.port());
            dialled
        });
        let dialled: Vec<Incoming> = dialled.collect();
        let again = Incoming::dial_from_port(
            dialled[0].peer_addr(),
            from,
            Duration::from_secs(10),
            &|| false,
        );
        let in_use = [io::ErrorKind::AddrInUse, io::ErrorKind::AddrNotAvailable];
        assert!(in_use.contains(&again.unwrap_err().kind()), "there is one already");
        for bind in [Listener::bind, Listener::bind_any] {
            assert_eq!(bind(from).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
        TcpStream::connect((Ipv4Addr::LOCALHOST, from.port())).unwrap();
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn the_system_watches_the_other_end_of_what_is_accepted_now() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        listener.set_nonblocking().unwrap();
        let dead_after = Duration::from_secs(10);
        assert!(listener.accept_now(dead_after).unwrap().is_none());
        let _dialled = TcpStream::connect(listener.local_addr()).unwrap();
        let (accepted, _) = listener.accept_now(dead_after).unwrap().unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), dead_after / 2);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(dead_after));
    }

    #[test]
    fn a_port_in_use_is_an_error_and_a_released_one_is_not() {
        let first = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr();
        assert_eq!(Listener::bind(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        Listener::bind(address).unwrap();
    }
}
