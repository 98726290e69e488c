//! One TCP connection, used in both directions at once: the one place where a byte stream is made.
//!
//! **Invariant:** one descriptor a connection. Its [`Reader`] and [`Writer`] never wait for each other, and [`Connection::close`]
//! wakes both.
//!
//! A reader's deadline is for a whole message: it holds however slowly the bytes drip in. Encryption will be put in here, below
//! [`Reader`] and [`Writer`], and nothing above will know.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::SendFlags;
use socket2::{Domain, Protocol, Socket, Type};

/// How far a read may overshoot its deadline: lets one system call set the time-out for many reads.
const TIMEOUT_SLACK: Duration = Duration::from_millis(500);
/// How long a write may make no progress at all before the connection is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection; clones are the same connection.
#[derive(Debug, Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stream: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
}

impl Connection {
    /// Dials `address`, from the local address `from` if that is possible: so the other end sees the address we listen on.
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
            Some(Err(e)) if matches!(e.kind(), io::ErrorKind::TimedOut | io::ErrorKind::ConnectionRefused) => return Err(e),
            _ => dial_from(address, None, timeout)?,
        };
        Self::accepted(stream)
    }

    /// Takes a stream that a listener accepted.
    ///
    /// # Errors
    /// The system's, if the stream has died already.
    pub fn accepted(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
        Ok(Self { shared: Arc::new(Shared { stream, peer, local }) })
    }

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
        self.shared.peer
    }

    /// This end's address.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local
    }

    /// Ends the connection in both directions; whoever reads or writes is woken with an end or an error.
    pub fn close(&self) {
        // It fails only if the connection has ended already.
        let _ = self.shared.stream.shutdown(Shutdown::Both);
    }
}

fn dial_from(address: SocketAddr, from: Option<IpAddr>, timeout: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(ip) = from {
        socket.bind(&SocketAddr::new(ip, 0).into())?;
    }
    socket.connect_timeout(&address.into(), timeout)?;
    let stream = TcpStream::from(socket);
    // Linux can connect a socket to itself when the port dialled is free and ephemeral; nobody listens there.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// The reading half of a connection.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    deadline: Option<Instant>,
    /// The time-out the socket has now; spares a system call a read.
    timeout: Option<Duration>,
}

impl Reader {
    /// Sets the time by which reads must have succeeded, or none: then they wait until the connection ends.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Waits until a byte, the end or an error can be read; false if `idle` passes first.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Blocking
    /// For about `idle` at most.
    pub fn wait(&mut self, idle: Duration) -> io::Result<bool> {
        self.set_timeout(Some(idle.max(Duration::from_millis(1))))?;
        loop {
            return match self.shared.stream.peek(&mut [0]) {
                Ok(_) => Ok(true),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if is_timeout(&e) => Ok(false),
                Err(e) => Err(e),
            };
        }
    }

    fn set_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if self.timeout != timeout {
            self.shared.stream.set_read_timeout(timeout)?;
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
        let fits = self.timeout.is_some_and(|now| now <= left + TIMEOUT_SLACK && now + TIMEOUT_SLACK >= left);
        if fits { Ok(()) } else { self.set_timeout(Some(left)) }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.arm()?;
        match (&self.shared.stream).read(buffer) {
            Err(e) if is_timeout(&e) => Err(io::ErrorKind::TimedOut.into()),
            other => other,
        }
    }
}

/// The writing half of a connection. A write that makes no progress for 30 s fails.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
}

impl Writer {
    /// Writes what the connection takes at once; 0 if it takes nothing now.
    ///
    /// # Errors
    /// The system's.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match rustix::net::send(&self.shared.stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(len) => Ok(len),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(0),
            Err(e) => Err(e.into()),
        }
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match (&self.shared.stream).write(bytes) {
            Err(e) if is_timeout(&e) => Err(io::ErrorKind::TimedOut.into()),
            other => other,
        }
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match (&self.shared.stream).write_vectored(parts) {
            Err(e) if is_timeout(&e) => Err(io::ErrorKind::TimedOut.into()),
            other => other,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Blocking sockets report an expired time-out as `WouldBlock` on some systems and `TimedOut` on others.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn pair() -> (Connection, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dialled = Connection::dial(listener.local_addr().unwrap(), None, Duration::from_secs(5)).unwrap();
        (dialled, Connection::accepted(listener.accept().unwrap().0).unwrap())
    }

    /// What the system does to a connection that it neither makes nor refuses: the backlog is full.
    #[cfg(target_os = "linux")]
    #[test]
    fn an_address_that_does_not_answer_is_waited_for_once() {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let timeout = Duration::from_millis(700);
        let mut held = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, timeout) {
            held.push(stream);
            assert!(held.len() < 100, "the backlog never fills");
        }
        let started = Instant::now();
        let error = Connection::dial(address, Some(address.ip()), timeout).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() < 2 * timeout, "{:?} for a time-out of {timeout:?}", started.elapsed());
    }

    #[test]
    fn both_directions_work_while_a_reader_waits() {
        let (a, b) = pair();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut got = [0; 4];
                a.reader().read_exact(&mut got).unwrap();
                assert_eq!(&got, b"pong");
            });
            a.writer().write_all(b"ping").unwrap();
            let mut got = [0; 4];
            b.reader().read_exact(&mut got).unwrap();
            assert_eq!(&got, b"ping");
            b.writer().write_all(b"pong").unwrap();
        });
    }

    #[test]
    fn a_deadline_holds_against_dripping_bytes() {
        let (a, b) = pair();
        let started = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut writer = b.writer();
                while started.elapsed() < Duration::from_secs(20) && writer.write_all(b".").is_ok() {
                    std::thread::park_timeout(Duration::from_millis(20));
                }
            });
            let mut reader = a.reader();
            reader.set_deadline(Some(started + Duration::from_millis(200)));
            let error = reader.read_exact(&mut [0; 1 << 20]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(started.elapsed() < Duration::from_secs(10), "the deadline was ignored");
            a.close();
        });
    }

    #[test]
    fn waiting_tells_idle_from_ready_and_close_wakes() {
        let (a, b) = pair();
        let mut reader = a.reader();
        assert!(!reader.wait(Duration::from_millis(10)).unwrap());
        b.writer().write_all(b"x").unwrap();
        assert!(reader.wait(Duration::from_secs(10)).unwrap());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| b.reader().read(&mut [0]));
            a.close();
            // Closed with a byte unread, so the other end may see an end or a reset; either wakes it.
            let _ = waiting.join().unwrap();
        });
    }

    #[test]
    fn try_write_never_blocks() {
        let (a, _b) = pair();
        let mut writer = a.writer();
        let chunk = vec![0; 1 << 20];
        let mut rounds = 0;
        while writer.try_write(&chunk).unwrap() > 0 {
            rounds += 1;
            assert!(rounds < 10_000, "loopback took 10 GB without a reader");
        }
    }
}
