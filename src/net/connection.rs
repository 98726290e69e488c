//! One connection, used in both directions at once: the one place where a byte stream is made.
//!
//! **Invariant:** a connection has one descriptor. Its [`Reader`] and its [`Writer`] never wait for
//! each other's socket calls, and [`Connection::close`] wakes both.
//!
//! A connection is TLS 1.3 ([`super::security`], [`super::stream`]). `close_notify` is sent where
//! that takes no waiting, and an end without it counts as an end: everything above has its length
//! in front, so no end is taken for that of a message.
//!
//! The methods of [`Connection`] do not block, and may be called on any thread. A reader and a
//! writer block, on the thread that uses them.

mod reader;
mod writer;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use self::reader::Reader;
pub use self::writer::Writer;
use super::Incoming;
use super::socket::TcpSocket;
use super::stream::{Sending, TlsStream};

/// A connection; clones are the same connection.
#[derive(Debug, Clone)]
pub struct Connection {
    inner: Arc<ConnectionInner>,
}

/// What the clones of a connection, its reader and its writer share.
#[derive(Debug)]
struct ConnectionInner {
    socket: Arc<TcpSocket>,
    /// Absent on the plain transport.
    tls: Option<TlsStream>,
}

impl ConnectionInner {
    /// Sends TLS's last record, if that takes no waiting.
    fn close_tls(&self) {
        let Some(tls) = &self.tls else { return };
        // A thread that is sending now, and blocks perhaps, is not waited for.
        let Some(mut sending) = tls.try_lock_sending() else { return };
        tls.close(&mut sending);
        let _ = self.try_send_all(&mut sending);
    }

    /// Sends without blocking; tells whether everything was sent. After an error nothing is sent
    /// any more.
    fn try_send_all(&self, sending: &mut Sending) -> io::Result<bool> {
        self.socket.try_send_all(&mut sending.output).inspect_err(|_| sending.fail())
    }
}

impl Incoming {
    /// Makes a connection without TLS, for a fuzzer of the layers above.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn into_plain(self) -> Connection {
        self.into_connection(None)
    }

    /// Makes a connection, encrypted if there is a TLS stream.
    pub(super) fn into_connection(self, tls: Option<TlsStream>) -> Connection {
        Connection { inner: Arc::new(ConnectionInner { socket: self.into_socket(), tls }) }
    }
}

impl Connection {
    /// The half that reads.
    pub fn reader(&self) -> Reader {
        Reader::new(self.inner.clone())
    }

    /// The half that writes.
    pub fn writer(&self) -> Writer {
        Writer::new(self.inner.clone())
    }

    /// The other end's address.
    pub fn peer_addr(&self) -> SocketAddr {
        self.inner.socket.peer
    }

    /// This end's address.
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.socket.local
    }

    /// The socket below, to be closed from elsewhere.
    pub fn to_incoming(&self) -> Incoming {
        Incoming::of(self.inner.socket.clone())
    }

    /// Has the system take no more to send than it can send soon: `len` bytes beyond what is on its
    /// way. A write waits instead.
    ///
    /// Does nothing where the system has no such option.
    pub fn bound_unsent(&self, len: u32) {
        self.inner.socket.bound_unsent(len);
    }

    /// Has the system end the connection when the other end's system has acknowledged nothing for so
    /// long while there was something to acknowledge, or has had no room for more for so long. A
    /// program at the other end that is stopped or slow does not count until that room is used up.
    ///
    /// Does nothing where the system has no such option.
    pub fn end_when_unacknowledged(&self, timeout: Duration) {
        self.inner.socket.end_when_unacknowledged(timeout);
    }

    /// Has the system ask the other end's whether it is still there when nothing comes, and end the
    /// connection after `timeout` without an answer; or, with `None`, ask no more.
    pub fn probe(&self, timeout: Option<Duration>) {
        self.inner.socket.probe(timeout);
    }

    /// Ends the connection in both directions, and wakes its reader and its writer with an end or
    /// an error. What was written may still arrive.
    pub fn close(&self) {
        self.inner.close_tls();
        self.inner.socket.close();
    }

    /// Ends the connection with a reset, and throws away what the system has not sent yet: at once
    /// on Linux, elsewhere as soon as the last handle of the connection is dropped.
    pub fn abort(&self) {
        self.inner.socket.reset();
    }
}

#[cfg(test)]
mod tests;
