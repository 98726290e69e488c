//! The HTTP/1.1 server of both programs, and the client of its control sockets.
//!
//! **Invariant:** input meets its limit before memory is allocated: heads [`HEAD_LEN_MAX`], bodies
//! [`BODY_LEN_MAX`], both [`HEAD_TIMEOUT`], connections [`CONNECTIONS_MAX`]. A body that a handler
//! streams has any length, and [`PART_TIMEOUT`] for each part. A message whose end is ambiguous
//! closes its connection.
//!
//! The server knows no route. [`access`] tells who may use an API over TCP. A [`Handler`] gets each request on the connection's thread and may
//! block it. Requests of one connection are answered in order. `httparse` parses heads and `http`
//! has the types of names and values; this room has framing (RFC 9112), threads, limits and shutdown.
//! Ranges and percent-encoding are parsed by crates, too.

pub mod access;
mod assets;
mod chunks;
mod client;
mod content;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod metrics;
pub mod openapi;
pub mod page;
mod request;
mod respond;
mod server;
mod socket;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;
mod wire;

use std::time::Duration;

pub use assets::{Asset, Assets};
pub use client::{Response, send};
pub use content::{Selection, attachment_name, decoded_segment, select};
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
pub use metrics::Metrics;
pub use request::{BodyError, Request};
pub use respond::{BodyStream, Responder, SizedBody, server_sent_event};
pub use server::{Acceptor, Handler, Server};
pub use socket::Socket;
pub use tcp::Tcp;
pub use tls::{CertificateError, Tls};

/// Maximum length of a head (request line and headers) in bytes.
pub const HEAD_LEN_MAX: usize = 16 << 10;
/// Maximum number of headers.
pub const HEADERS_MAX: usize = 64;
/// Maximum length of a request's body in bytes.
pub const BODY_LEN_MAX: usize = 1 << 20;
/// Maximum number of connections.
pub const CONNECTIONS_MAX: usize = 64;
/// Time for a whole head, from its first byte, and for a whole body.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for which an idle connection stays open.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for which a streamed body of a request may stand still.
pub const PART_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for writing one part of a response, which has 64 KiB at most.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for a body of known length, whose reader may pause, as players do.
pub const SIZED_WRITE_TIMEOUT: Duration = Duration::from_secs(300);
