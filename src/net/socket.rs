//! A TCP socket and its options: dialling, sending, resetting.
//!
//! **Invariant:** a socket has a write time-out from the start, so that no send blocks for good.
//! [`Incoming::close`] may be called from any thread, and wakes the threads that wait for the
//! socket.
//!
//! Dialling and sending block, on the caller's thread; the functions named `try_` do not.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::SendFlags;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::stream::SendBuffer;

/// How long a write may make no progress at all before the connection is given up.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a dial looks whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// When the other end is asked whether it is still there, and how often.
const PROBE_AFTER: Duration = Duration::from_secs(2);
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Tells whether an address is one of this machine's. Nothing is sent.
pub fn is_own_address(address: SocketAddr) -> bool {
    // The port may be any. The scope of an address stays.
    let address = match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), 0),
        IpAddr::V6(_) => {
            let mut address = address;
            address.set_port(0);
            address
        }
    };
    match UdpSocket::bind(address) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => false,
        // An interface that is gone takes its scope with it.
        Err(error) => error.raw_os_error() != Some(rustix::io::Errno::NODEV.raw_os_error()),
    }
}

/// A TCP connection before its handshake; clones are the same connection.
#[derive(Debug, Clone)]
pub struct Incoming {
    socket: Arc<TcpSocket>,
}

/// A TCP stream and its two addresses.
#[derive(Debug)]
pub(super) struct TcpSocket {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
}

impl Incoming {
    /// Dials `address`, from the local address `from` if that is possible: so the other end sees
    /// the address we listen on.
    ///
    /// # Errors
    /// The system's: refused, unreachable, timed out.
    ///
    /// # Blocking
    /// For at most `timeout`.
    pub fn dial(address: SocketAddr, from: Option<IpAddr>, timeout: Duration) -> io::Result<Self> {
        Self::dial_unless(address, from, timeout, &|| false)
    }

    /// The same, but gives up soon after `is_over` says so; it is asked twenty times a second.
    ///
    /// # Errors
    /// The system's; `ConnectionAborted` if it was given up.
    ///
    /// # Blocking
    /// For at most `timeout`.
    pub fn dial_unless(
        address: SocketAddr,
        from: Option<IpAddr>,
        timeout: Duration,
        is_over: &dyn Fn() -> bool,
    ) -> io::Result<Self> {
        let from = from.filter(|ip| !ip.is_unspecified() && ip.is_ipv4() == address.is_ipv4());
        let dial_from = |from| dial_from(address, from, timeout, is_over);
        let stream = match from.map(|ip| dial_from(Some(ip))) {
            Some(Ok(stream)) => stream,
            // The other end was asked; asking from elsewhere would only take as long again.
            Some(Err(e))
                if matches!(
                    e.kind(),
                    io::ErrorKind::TimedOut
                        | io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::ConnectionAborted
                ) =>
            {
                return Err(e);
            }
            _ => dial_from(None)?,
        };
        Self::new(stream)
    }

    /// Dials `address` from a port that a listener of this process shares
    /// ([`Listener::share_port`](super::Listener::share_port)), at `from`'s address if it has one of
    /// that family. Gives up soon after `is_over` says so.
    ///
    /// # Errors
    /// The system's; `AddrInUse` or `AddrNotAvailable` if there is a connection between the two
    /// ports already; `ConnectionAborted` if it was given up.
    ///
    /// # Blocking
    /// For at most `timeout`.
    pub fn dial_from_port(
        address: SocketAddr,
        from: SocketAddr,
        timeout: Duration,
        is_over: &dyn Fn() -> bool,
    ) -> io::Result<Self> {
        let ip = match address.ip() {
            ip if ip.is_ipv4() == from.is_ipv4() => from.ip(),
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = new_socket(address)?;
        share_port(&socket)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(ip, from.port()).into())?;
        Self::new(connected(socket, address, timeout, is_over)?)
    }

    /// Takes a stream that a listener accepted.
    ///
    /// # Errors
    /// The system's, if the stream has ended already.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        // On a socket of both families an IPv4 address comes inside an IPv6 one.
        let (peer, local) = (canonical(stream.peer_addr()?), canonical(stream.local_addr()?));
        Ok(Self { socket: Arc::new(TcpSocket { stream, peer, local }) })
    }

    /// The other end's address.
    pub fn peer_addr(&self) -> SocketAddr {
        self.socket.peer
    }

    /// This end's address.
    pub fn local_addr(&self) -> SocketAddr {
        self.socket.local
    }

    /// Sends bytes in clear, ahead of the handshake: for something between the two ends.
    ///
    /// # Errors
    /// The system's; `TimedOut`.
    ///
    /// # Blocking
    /// For at most 30 s beyond `timeout`.
    pub fn send_first(&self, bytes: &[u8], timeout: Duration) -> io::Result<()> {
        let (mut rest, deadline) = (bytes, Instant::now() + timeout);
        while !rest.is_empty() {
            match self.socket.send(rest, deadline) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => rest = &rest[len..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Ends the connection in both directions. Does not block.
    pub fn close(&self) {
        self.socket.close();
    }

    pub(super) fn of(socket: Arc<TcpSocket>) -> Self {
        Self { socket }
    }

    pub(super) fn socket(&self) -> &TcpSocket {
        &self.socket
    }

    pub(super) fn into_socket(self) -> Arc<TcpSocket> {
        self.socket
    }
}

fn dial_from(
    address: SocketAddr,
    from: Option<IpAddr>,
    timeout: Duration,
    is_over: &dyn Fn() -> bool,
) -> io::Result<TcpStream> {
    let socket = new_socket(address)?;
    if let Some(ip) = from {
        socket.bind(&SocketAddr::new(ip, 0).into())?;
    }
    connected(socket, address, timeout, is_over)
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))
}

/// Lets other sockets of this user bind the port that a socket has, or will have, if they do the
/// same.
///
/// # Errors
/// `Unsupported` where it is not known what the system makes of that.
pub(super) fn share_port(socket: &Socket) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return socket.set_reuse_port(true);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = socket;
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn connected(
    socket: Socket,
    address: SocketAddr,
    timeout: Duration,
    is_over: &dyn Fn() -> bool,
) -> io::Result<TcpStream> {
    connect(&socket, address, timeout, is_over)?;
    let stream = TcpStream::from(socket);
    // Linux connects a socket to itself when the port dialled is free and ephemeral. Nothing
    // listens there.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// Connects within `timeout`, or gives up when `is_over` says so.
fn connect(
    socket: &Socket,
    address: SocketAddr,
    timeout: Duration,
    is_over: &dyn Fn() -> bool,
) -> io::Result<()> {
    let deadline = Instant::now() + timeout;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Ok(()) => return socket.set_nonblocking(false),
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(e) => return Err(e),
    }
    loop {
        if is_over() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let wait = Timespec::try_from(left.min(LOOK_EVERY)).map_err(io::Error::other)?;
        let mut waiting = [PollFd::new(socket, PollFlags::OUT)];
        match poll(&mut waiting, Some(&wait)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => break,
            Err(e) => return Err(e.into()),
        }
    }
    match socket.take_error()? {
        Some(error) => Err(error),
        None => socket.set_nonblocking(false),
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        // It keeps its scope.
        IpAddr::V6(_) => address,
    }
}

impl TcpSocket {
    /// Ends the connection in both directions. What was sent may still arrive.
    pub(super) fn close(&self) {
        // It fails only if the connection has ended already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Ends the connection with a reset, and throws away what the system has not sent yet: at once
    /// on Linux, elsewhere when the last handle is dropped.
    pub(super) fn reset(&self) {
        // It fails only if the connection has ended already.
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        // Dissolving the connection resets it and wakes the threads that wait for it. A system may
        // refuse that, always or while a thread waits; then closing the descriptor resets it.
        let _ = rustix::net::connect_unspec(&self.stream);
        self.close();
    }

    /// Bounds the bytes that the system takes beyond those it can send soon.
    ///
    /// Does nothing where the system has no such option.
    pub(super) fn bound_unsent(&self, len: u32) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let _ = SockRef::from(&self.stream).set_tcp_notsent_lowat(len);
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = len;
    }

    /// Has the system end the connection after `timeout` without an acknowledgement that is due.
    ///
    /// Does nothing where the system has no such option.
    pub(super) fn end_when_unacknowledged(&self, timeout: Duration) {
        end_when_unacknowledged(&self.stream, timeout);
    }

    /// Has the system ask the other end's whether it is still there when nothing has come for a
    /// while, and end the connection after `timeout` without an answer. `None`: it does not ask.
    pub(super) fn probe(&self, timeout: Option<Duration>) {
        match timeout {
            Some(timeout) => probe(&self.stream, PROBE_AFTER, timeout),
            None => drop(SockRef::from(&self.stream).set_keepalive(false)),
        }
    }

    /// Sends what the system takes without blocking; 0 if it takes nothing.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        match rustix::net::send(&self.stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(len) => Ok(len),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(0),
            Err(e) => Err(e.into()),
        }
    }

    /// Sends some of `bytes`.
    ///
    /// # Errors
    /// `TimedOut` after 30 s without progress, or when a part was sent after `deadline`; else the
    /// system's.
    ///
    /// # Blocking
    /// For at most 30 s.
    pub(super) fn send(&self, bytes: &[u8], deadline: Instant) -> io::Result<usize> {
        match (&self.stream).write(bytes) {
            Err(e) if is_timeout(&e) => Err(io::ErrorKind::TimedOut.into()),
            // The other end takes something now and then, and too little.
            Ok(len) if len < bytes.len() && Instant::now() >= deadline => {
                Err(io::ErrorKind::TimedOut.into())
            }
            other => other,
        }
    }

    /// Sends what the system takes without blocking; tells whether everything was sent.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn try_send_all(&self, output: &mut SendBuffer) -> io::Result<bool> {
        while !output.waiting().is_empty() {
            match self.try_send(output.waiting())? {
                0 => return Ok(false),
                len => output.sent(len),
            }
        }
        Ok(true)
    }

    /// Sends everything.
    ///
    /// # Errors
    /// Those of [`TcpSocket::send`].
    ///
    /// # Blocking
    /// Until everything was sent, and for 30 s beyond `deadline` at most.
    pub(super) fn send_all(&self, output: &mut SendBuffer, deadline: Instant) -> io::Result<()> {
        while !output.waiting().is_empty() {
            match self.send(output.waiting(), deadline) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => output.sent(len),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

fn end_when_unacknowledged(stream: &TcpStream, timeout: Duration) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(timeout));
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (stream, timeout);
}

/// Has the system ask the other end's whether it is still there after a silence of `after`, and end
/// the connection after `timeout` without an answer, or without an acknowledgement that is due.
pub(super) fn probe(stream: &TcpStream, after: Duration, timeout: Duration) {
    let keepalive = TcpKeepalive::new().with_time(after).with_interval(PROBE_EVERY);
    // Where there is an end by time, Linux does not count.
    let count = timeout.saturating_sub(after).as_secs() / PROBE_EVERY.as_secs();
    let keepalive = keepalive.with_retries((count as u32).max(1));
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
    end_when_unacknowledged(stream, timeout);
}

/// Blocking sockets report an expired time-out as `WouldBlock` on some systems and `TimedOut` on
/// others.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
