//! One connection, used in both directions at once: the one place where a byte stream is made.
//!
//! **Invariant:** one descriptor a connection. Its [`Reader`] and [`Writer`] never wait for each
//! other, and [`Connection::close`] wakes both.
//!
//! A connection is TLS 1.3 ([`super::security`]). Each direction has a lock. That of receiving is
//! held while bytes are decrypted, never while the socket is waited for. That of sending also
//! orders what is sent: it may be held for as long as a peer takes nothing, and readers never wait
//! for it. TLS's own farewell is said where it costs no waiting, and an end without it counts as an
//! end: everything above is framed, and no end is ever taken for that of a message.
//!
//! A reader's deadline is for a whole message: it holds however slowly the bytes drip in.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::stream::{Output, Received, Sending, TlsStream};

/// How far a read may overshoot its deadline: lets one system call set the time-out for many reads.
const TIMEOUT_SLACK: Duration = Duration::from_millis(500);
/// A time-out that is shorter than the deadline allows is left as it is if it is at least this
/// long: when it expires the read goes on. So deadlines that come and go cost no system calls.
const TIMEOUT_LONG: Duration = Duration::from_secs(10);
/// How long a write may make no progress at all before the connection is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes a second that the other end has to take on average of a large write, once
/// [`WRITE_TIMEOUT`] is over.
const WRITE_RATE_MIN: u64 = 16 << 10;
/// Bytes encrypted at a time.
const WRITE_LEN: usize = 128 << 10;
/// Bytes of a write beyond which the memory it took is given back once a smaller one has been sent.
const SMALL_LEN: usize = 8 << 10;

/// A TCP connection on which nothing has been said yet; clones are the same connection.
#[derive(Debug, Clone)]
pub struct Incoming {
    socket: Arc<Sock>,
}

/// A connection; clones are the same connection.
#[derive(Debug, Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    socket: Arc<Sock>,
    /// Absent on the plain transport.
    tls: Option<TlsStream>,
}

/// The socket and its two addresses.
#[derive(Debug)]
pub(super) struct Sock {
    pub(super) stream: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
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
        let from = from.filter(|ip| !ip.is_unspecified() && ip.is_ipv4() == address.is_ipv4());
        let stream = match from.map(|ip| dial_from(address, Some(ip), timeout)) {
            Some(Ok(stream)) => stream,
            // The other end was asked; asking from elsewhere would only take as long again.
            Some(Err(e))
                if matches!(
                    e.kind(),
                    io::ErrorKind::TimedOut | io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Err(e);
            }
            _ => dial_from(address, None, timeout)?,
        };
        Self::new(stream)
    }

    /// Takes a stream that a listener accepted.
    ///
    /// # Errors
    /// The system's, if the stream has died already.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
        Ok(Self { socket: Arc::new(Sock { stream, peer, local }) })
    }

    /// The other end's address.
    pub fn peer_addr(&self) -> SocketAddr {
        self.socket.peer
    }

    /// Ends the connection in both directions.
    pub fn close(&self) {
        self.socket.close();
    }

    pub(super) fn socket(&self) -> &Sock {
        &self.socket
    }

    /// Makes it a connection without TLS, for a fuzzer that speaks to what is above.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn into_plain(self) -> Connection {
        self.into_connection(None)
    }

    /// Makes it a connection, encrypted if TLS has been agreed on.
    pub(super) fn into_connection(self, tls: Option<TlsStream>) -> Connection {
        Connection { shared: Arc::new(Shared { socket: self.socket, tls }) }
    }
}

impl Sock {
    fn close(&self) {
        // It fails only if the connection has ended already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Shared {
    fn has_input(&self) -> bool {
        self.tls.as_ref().is_some_and(TlsStream::has_input)
    }

    /// Sends TLS's last word, if nothing is in its way.
    fn say_farewell(&self) {
        let Some(tls) = &self.tls else { return };
        // Whoever sends just now, and waits perhaps, leaves no room for it. An end without it
        // counts as one, too.
        let Some(mut sending) = tls.try_sending() else { return };
        tls.say_farewell(&mut sending);
        let _ = self.socket.try_send_all(&mut sending);
    }

    fn encrypt(&self, tls: &TlsStream, bytes: &[u8], sending: &mut Sending) -> io::Result<()> {
        tls.write(bytes, sending).inspect_err(|_| {
            // Instead of the bytes it may be the reason for the end that is to be sent.
            let _ = self.socket.try_send_all(sending);
        })
    }
}

impl Connection {
    /// The half that reads.
    pub fn reader(&self) -> Reader {
        Reader { shared: self.shared.clone(), deadline: None, timeout: None }
    }

    /// The half that writes.
    pub fn writer(&self) -> Writer {
        Writer { shared: self.shared.clone() }
    }

    /// The other end's address.
    pub fn peer_addr(&self) -> SocketAddr {
        self.shared.socket.peer
    }

    /// This end's address.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.socket.local
    }

    /// The socket below, to be closed from elsewhere.
    pub fn to_incoming(&self) -> Incoming {
        Incoming { socket: self.shared.socket.clone() }
    }

    /// Has the system take no more to send than it can send soon: `len` bytes beyond what is on its
    /// way. A write waits instead.
    ///
    /// Does nothing where the system does not know of that.
    pub fn bound_unsent(&self, len: u32) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let _ = SockRef::from(&self.shared.socket.stream).set_tcp_notsent_lowat(len);
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = len;
    }

    /// Has the system end the connection when the other end's system has acknowledged nothing for so
    /// long while there was something to acknowledge. A program at the other end that is stopped or
    /// slow does not count: its system goes on.
    ///
    /// Does nothing where the system does not know of that.
    pub fn end_when_unacknowledged(&self, timeout: Duration) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let _ = SockRef::from(&self.shared.socket.stream).set_tcp_user_timeout(Some(timeout));
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = timeout;
    }

    /// Ends the connection in both directions; whoever reads or writes is woken with an end or an
    /// error. What was written may still arrive.
    pub fn close(&self) {
        self.shared.say_farewell();
        self.shared.socket.close();
    }

    /// The same, but the connection is reset, and what the system has not sent yet is thrown away:
    /// at once on Linux, elsewhere as soon as nobody holds the connection any more.
    pub fn abort(&self) {
        let stream = &self.shared.socket.stream;
        // It fails only if the connection has ended already.
        let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        // Undoing the connection resets it and wakes whoever waits for it. Some systems refuse
        // that, or do while somebody waits; then the last descriptor's end resets it.
        let _ = rustix::net::connect_unspec(stream);
        self.shared.socket.close();
    }
}

fn dial_from(
    address: SocketAddr,
    from: Option<IpAddr>,
    timeout: Duration,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(ip) = from {
        socket.bind(&SocketAddr::new(ip, 0).into())?;
    }
    socket.connect_timeout(&address.into(), timeout)?;
    let stream = TcpStream::from(socket);
    // Linux can connect a socket to itself when the port dialled is free and ephemeral; nobody
    // listens there.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// The reading half of a connection. One at a time reads.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    deadline: Option<Instant>,
    /// The time-out the socket has now; spares a system call a read.
    timeout: Option<Duration>,
}

impl Reader {
    /// Sets the time by which reads must have succeeded, or none: then they wait until the
    /// connection ends.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// The socket below, to be closed from elsewhere.
    pub fn to_incoming(&self) -> Incoming {
        Incoming { socket: self.shared.socket.clone() }
    }

    /// Waits until data, the end or an error can be read; false if `idle` passes first, whatever
    /// TLS itself says meanwhile. What is not needed while idle is given back.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Blocking
    /// For about `idle` at most.
    pub fn wait(&mut self, idle: Duration) -> io::Result<bool> {
        if self.shared.has_input() {
            return Ok(true);
        }
        let (until, mut left) = (Instant::now() + idle, idle);
        loop {
            self.set_timeout(Some(left.max(Duration::from_millis(1))))?;
            match self.shared.socket.stream.peek(&mut [0]) {
                Ok(0) => return Ok(true),
                Ok(_) if self.is_ready() => return Ok(true),
                Err(e) if is_timeout(&e) => return Ok(false),
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                _ => {}
            }
            left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
        }
    }

    /// Tells whether data, or the end, can be read without waiting.
    pub fn is_ready(&self) -> bool {
        let socket = &self.shared.socket.stream;
        let Some(tls) = &self.shared.tls else {
            return rustix::net::recv(socket, &mut [0][..], RecvFlags::PEEK | RecvFlags::DONTWAIT)
                .is_ok();
        };
        while !tls.has_input() {
            let mut input = tls.lend();
            let received = rustix::net::recv(socket, input.room(), RecvFlags::DONTWAIT);
            if let Ok((len, _)) = received {
                input.received(len);
            }
            tls.put_back(input);
            match received {
                Ok((0, _)) => return true,
                Ok(_) => {}
                Err(_) => {
                    // Gives back the room.
                    return tls.has_input();
                }
            }
        }
        true
    }

    fn set_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if self.timeout != timeout {
            self.shared.socket.stream.set_read_timeout(timeout)?;
            self.timeout = timeout;
        }
        Ok(())
    }

    /// Makes the socket's time-out fit the deadline, give or take the slack.
    fn arm(&mut self) -> io::Result<()> {
        let Some(deadline) = self.deadline else {
            return self.set_timeout(None);
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let fits = |now: Duration| {
            now <= left + TIMEOUT_SLACK && (now + TIMEOUT_SLACK >= left || now >= TIMEOUT_LONG)
        };
        if self.timeout.is_some_and(fits) { Ok(()) } else { self.set_timeout(Some(left)) }
    }

    /// Receives once. `WouldBlock` means that the deadline has not passed yet.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.arm()?;
        match (&self.shared.socket.stream).read(buffer) {
            Err(e) if is_timeout(&e) => match self.deadline {
                Some(deadline) if Instant::now() < deadline => {
                    Err(io::ErrorKind::WouldBlock.into())
                }
                _ => Err(io::ErrorKind::TimedOut.into()),
            },
            other => other,
        }
    }

    fn receive_plain(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.receive(buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }

    fn read_tls(&mut self, tls: &TlsStream, buffer: &mut [u8]) -> io::Result<usize> {
        let mut lent = None;
        loop {
            let mut input = match tls.read(lent, buffer) {
                Ok(Received::Bytes(len)) => return Ok(len),
                Ok(Received::Closed) => return Ok(0),
                Ok(Received::More(input)) => input,
                Err(e) => {
                    self.shared.say_farewell();
                    return Err(e);
                }
            };
            // Not under the lock, which is for what takes no time.
            let received = self.receive(input.room());
            match &received {
                Ok(len) if *len > 0 => input.received(*len),
                // Nothing has come for a while, and there is time left.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => input.shrink(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                _ => {
                    tls.put_back(input);
                    return received;
                }
            }
            lent = Some(input);
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let shared = self.shared.clone();
        match &shared.tls {
            Some(tls) => self.read_tls(tls, buffer),
            None => self.receive_plain(buffer),
        }
    }
}

/// The writing half of a connection. A write that makes no progress for 30 s fails, and a large one
/// that goes at under 16 KiB/s.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
}

impl Writer {
    /// Writes what the connection takes at once; 0 if it takes nothing now. What was taken may
    /// still wait to be sent: see [`Writer::try_flush`].
    ///
    /// # Errors
    /// The system's.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &self.shared.tls else { return self.shared.socket.try_send(bytes) };
        // Another thread is writing, and blocks perhaps.
        let Some(mut sending) = tls.try_sending() else { return Ok(0) };
        if bytes.is_empty() || !self.shared.socket.try_send_all(&mut sending)? {
            return Ok(0);
        }
        let taken = chunk(bytes);
        self.shared.encrypt(tls, taken, &mut sending)?;
        self.try_empty(&mut sending)?;
        Ok(taken.len())
    }

    /// Sends what was taken and waits, as far as that goes without blocking; tells whether nothing
    /// waits any more.
    ///
    /// # Errors
    /// The system's.
    pub fn try_flush(&mut self) -> io::Result<bool> {
        match self.shared.tls.as_ref().map(TlsStream::try_sending) {
            None => Ok(true),
            Some(Some(mut sending)) => self.try_empty(&mut sending),
            Some(None) => Ok(false),
        }
    }

    fn try_empty(&self, sending: &mut Sending) -> io::Result<bool> {
        let all = self.shared.socket.try_send_all(sending)?;
        sending.output.shrink(SMALL_LEN);
        Ok(all)
    }

    /// When a write of `len` bytes that was begun at `start` has taken too long.
    pub fn deadline(start: Instant, len: usize) -> Instant {
        start + WRITE_TIMEOUT + Duration::from_secs(len as u64 / WRITE_RATE_MIN)
    }

    /// Writes all of `bytes`, as part of something that is to be written by `deadline`.
    ///
    /// # Errors
    /// `TimedOut` when the deadline has passed, or nothing was taken for 30 s; else the system's.
    ///
    /// # Blocking
    /// Until the system has taken them, and for 30 s beyond the deadline at most.
    pub fn write_all_by(&mut self, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
        let whole_len = bytes.len();
        while !bytes.is_empty() {
            if Instant::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self.write_by(bytes, whole_len, deadline) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => bytes = &bytes[len..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Writes some of `bytes`, the rest of a write of `whole_len`.
    fn write_by(&mut self, bytes: &[u8], whole_len: usize, deadline: Instant) -> io::Result<usize> {
        let socket = &self.shared.socket;
        let Some(tls) = &self.shared.tls else {
            return socket.send(bytes).and_then(|len| in_time(len, bytes.len(), deadline));
        };
        let Some(mut sending) = tls.sending_by(deadline) else {
            return Err(io::ErrorKind::TimedOut.into());
        };
        socket.send_all_of(&mut sending, deadline)?;
        let taken = chunk(bytes);
        self.shared.encrypt(tls, taken, &mut sending)?;
        socket.send_all_of(&mut sending, deadline)?;
        if whole_len <= SMALL_LEN {
            sending.output.shrink(2 * SMALL_LEN);
        }
        Ok(taken.len())
    }
}

/// What is encrypted next of `bytes`: what would be left over for a small one comes along.
fn chunk(bytes: &[u8]) -> &[u8] {
    if bytes.len() < WRITE_LEN + SMALL_LEN { bytes } else { &bytes[..WRITE_LEN] }
}

/// Fails if a part was sent past the deadline: the other end takes something now and then, and too
/// little.
fn in_time(len: usize, of: usize, deadline: Instant) -> io::Result<usize> {
    if len < of && Instant::now() >= deadline {
        Err(io::ErrorKind::TimedOut.into())
    } else {
        Ok(len)
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_by(bytes, bytes.len(), Self::deadline(Instant::now(), bytes.len()))
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all_by(bytes, Self::deadline(Instant::now(), bytes.len()))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sock {
    fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        match rustix::net::send(&self.stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(len) => Ok(len),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(0),
            Err(e) => Err(e.into()),
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        match (&self.stream).write(bytes) {
            Err(e) if is_timeout(&e) => Err(io::ErrorKind::TimedOut.into()),
            other => other,
        }
    }

    /// Sends without blocking; tells whether nothing is left. After an error nothing is sent any
    /// more.
    fn try_send_all(&self, sending: &mut Sending) -> io::Result<bool> {
        while !sending.output.waiting().is_empty() {
            match self.try_send(sending.output.waiting()).inspect_err(|_| sending.fail())? {
                0 => return Ok(false),
                len => sending.output.sent(len),
            }
        }
        Ok(true)
    }

    /// Sends everything. After an error nothing is sent any more.
    fn send_all_of(&self, sending: &mut Sending, deadline: Instant) -> io::Result<()> {
        self.send_all(&mut sending.output, deadline).inspect_err(|_| sending.fail())
    }

    /// Sends everything.
    pub(super) fn send_all(&self, output: &mut Output, deadline: Instant) -> io::Result<()> {
        while !output.waiting().is_empty() {
            match self.send(output.waiting()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => {
                    let of = output.waiting().len();
                    output.sent(len);
                    in_time(len, of, deadline)?;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Blocking sockets report an expired time-out as `WouldBlock` on some systems and `TimedOut` on
/// others.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests;
