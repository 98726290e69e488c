//! The reading half of a connection.
//!
//! **Invariant:** no lock is held while the socket is waited for. A deadline is for a whole
//! message: it holds however slowly the bytes arrive.
//!
//! Blocks, on the thread that reads; one thread at a time does.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::RecvFlags;

use super::ConnectionInner;
use crate::net::Incoming;
use crate::net::socket::is_timeout;
use crate::net::stream::{Received, TlsStream};

/// How far a read may overshoot its deadline: lets one system call set the time-out for many reads.
const TIMEOUT_SLACK: Duration = Duration::from_millis(500);
/// A time-out of at least this length is kept though the deadline is later: when it expires the
/// read goes on. So most changes of the deadline cost no system call.
const TIMEOUT_LONG: Duration = Duration::from_secs(10);

/// The reading half of a connection. One thread at a time reads.
#[derive(Debug)]
pub struct Reader {
    connection: Arc<ConnectionInner>,
    deadline: Option<Instant>,
    /// The socket's present time-out; spares a system call a read.
    timeout: Option<Duration>,
}

impl Reader {
    pub(super) fn new(connection: Arc<ConnectionInner>) -> Self {
        Self { connection, deadline: None, timeout: None }
    }

    /// Sets the time by which reads must have succeeded; with none they wait until the connection
    /// ends.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// The socket below, to be closed from elsewhere.
    pub fn to_incoming(&self) -> Incoming {
        Incoming::of(self.connection.socket.clone())
    }

    /// Waits until data, the end or an error can be read; false if `idle` passes first. Messages of
    /// TLS itself do not count. Frees memory that is not needed while idle.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Blocking
    /// For about `idle` at most.
    pub fn wait(&mut self, idle: Duration) -> io::Result<bool> {
        if self.connection.tls.as_ref().is_some_and(TlsStream::has_input) {
            return Ok(true);
        }
        let (until, mut left) = (Instant::now() + idle, idle);
        loop {
            self.set_timeout(Some(left.max(Duration::from_millis(1))))?;
            match self.connection.socket.stream.peek(&mut [0]) {
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
        let socket = &self.connection.socket.stream;
        let Some(tls) = &self.connection.tls else {
            return rustix::net::recv(socket, &mut [0][..], RecvFlags::PEEK | RecvFlags::DONTWAIT)
                .is_ok();
        };
        while !tls.has_input() {
            let mut input = tls.lend();
            let received = rustix::net::recv(socket, input.room(), RecvFlags::DONTWAIT);
            if let Ok((len, _)) = received {
                input.received(len);
            }
            tls.give_back(input);
            match received {
                Ok((0, _)) => return true,
                Ok(_) => {}
                // Asking once more frees the room.
                Err(_) => return tls.has_input(),
            }
        }
        true
    }

    fn set_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if self.timeout != timeout {
            self.connection.socket.stream.set_read_timeout(timeout)?;
            self.timeout = timeout;
        }
        Ok(())
    }

    /// Makes the socket's time-out fit the deadline, give or take the slack.
    fn fit_timeout(&mut self) -> io::Result<()> {
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
        self.fit_timeout()?;
        match (&self.connection.socket.stream).read(buffer) {
            Err(e) if is_timeout(&e) => match self.deadline {
                Some(deadline) if Instant::now() < deadline => {
                    Err(io::ErrorKind::WouldBlock.into())
                }
                _ => Err(io::ErrorKind::TimedOut.into()),
            },
            other => other,
        }
    }

    fn read_plain(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
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
                    self.connection.close_tls();
                    return Err(e);
                }
            };
            // Without the lock: writers go on meanwhile.
            let received = self.receive(input.room());
            match &received {
                Ok(len) if *len > 0 => input.received(*len),
                // Nothing has come for a while, and the deadline has not passed.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => input.shrink(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                _ => {
                    tls.give_back(input);
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
        let connection = self.connection.clone();
        match &connection.tls {
            Some(tls) => self.read_tls(tls, buffer),
            None => self.read_plain(buffer),
        }
    }
}
