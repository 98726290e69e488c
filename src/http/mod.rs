//! The HTTP/1.1 server of both programs, and the client of its control sockets.
//!
//! **Invariant:** what arrives is bounded before memory is taken for it: heads by [`HEAD_LEN_MAX`],
//! bodies by [`BODY_LEN_MAX`], both by [`HEAD_TIMEOUT`], connections by [`CONNECTIONS_MAX`]. A
//! message whose end is not certain ends its connection.
//!
//! It knows no route: a [`Handler`] gets each request on the thread of its connection, and may take
//! its time. Requests of one connection are answered in order. Parsing is `httparse`'s, names and
//! values are `http`'s; what is here is framing (RFC 9112), threads, bounds and the end.

mod chunks;
mod client;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod request;
mod respond;
mod server;
mod socket;
#[cfg(test)]
mod tests;
mod wire;

use std::time::Duration;

pub use client::{Response, send};
pub use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
pub use request::Request;
pub use respond::{BodyStream, Responder, server_sent_event};
pub use server::{Acceptor, Handler, Server};
pub use socket::Socket;

/// Bytes of a head: request line and headers.
pub const HEAD_LEN_MAX: usize = 16 << 10;
/// Headers of a head.
pub const HEADERS_MAX: usize = 64;
/// Bytes of a request's body.
pub const BODY_LEN_MAX: usize = 1 << 20;
/// Connections served at a time.
pub const CONNECTIONS_MAX: usize = 64;
/// Time for a head from its first byte, and for a body.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for which a connection stays open without a request.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for a part of an answer to be taken by its reader.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
