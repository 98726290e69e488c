//! Writing a response, at once or in parts.
//!
//! **Invariant:** a connection is reused only after a complete response with an unambiguous end. A
//! body of known length that is not sent whole closes the connection.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE};
use http::header::{TRANSFER_ENCODING, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{SIZED_WRITE_TIMEOUT, Socket, WRITE_TIMEOUT};
use crate::net::Stop;

/// Bytes that are written within one [`WRITE_TIMEOUT`].
const PART_LEN: usize = 64 << 10;

/// Writes the response to one request.
pub struct Responder<'a> {
    pub(super) socket: &'a Arc<dyn Socket>,
    /// Set when the server stops.
    pub(super) stop: &'a Stop,
    /// Keeps the connection from being closed for a new one until it waits for its next request.
    pub(super) hold: &'a dyn Fn(),
    /// Whether the connection is reused.
    pub(super) keeps_alive: &'a mut bool,
    /// The method is HEAD: there is no body.
    pub(super) is_head: bool,
    /// The client understands chunks.
    pub(super) takes_chunks: bool,
    /// The whole body of the request was read: the connection can carry another.
    pub(super) is_read: Rc<Cell<bool>>,
    pub(super) has_answered: &'a mut bool,
    /// Headers of the handler.
    pub(super) headers: HeaderMap,
}

impl<'a> Responder<'a> {
    /// Adds a header to the response, or replaces one.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The connection, for noticing a client that is gone.
    pub fn socket(&self) -> Arc<dyn Socket> {
        self.socket.clone()
    }

    /// Marks the request as authorized: the connection is not closed for a new one before the
    /// response ends.
    pub fn hold_connection(&self) {
        (self.hold)();
    }

    /// A signal that is set when the server stops. Endless responses have to watch it.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Sends a whole response.
    ///
    /// # Errors
    /// The socket's; the connection is closed then.
    ///
    /// # Blocking
    /// For at most [`WRITE_TIMEOUT`] for each 64 KiB.
    pub fn send(self, status: StatusCode, media_type: &str, body: &[u8]) -> io::Result<()> {
        let again = self.is_reusable();
        let mut headers = self.headers;
        if status != StatusCode::NOT_MODIFIED && status != StatusCode::NO_CONTENT {
            headers.insert(CONTENT_LENGTH, body.len().into());
        }
        let mut bytes = head(status, media_type, headers, again);
        if !self.is_head {
            bytes.extend_from_slice(body);
        }
        *self.has_answered = true;
        let sent = send_parts(&**self.socket, &bytes);
        *self.keeps_alive = again && sent.is_ok();
        sent
    }

    /// Begins a response in parts.
    ///
    /// # Errors
    /// The socket's.
    ///
    /// # Blocking
    /// For at most [`WRITE_TIMEOUT`].
    pub fn stream(self, status: StatusCode, media_type: &str) -> io::Result<BodyStream<'a>> {
        let again = self.takes_chunks && self.is_reusable();
        let mut headers = self.headers;
        if self.takes_chunks {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let head = head(status, media_type, headers, again);
        // `finish` sets it again.
        *self.keeps_alive = false;
        *self.has_answered = true;
        self.socket.send_all(&head, WRITE_TIMEOUT)?;
        Ok(BodyStream {
            socket: self.socket,
            keeps_alive: self.keeps_alive,
            again,
            is_head: self.is_head,
            takes_chunks: self.takes_chunks,
        })
    }

    /// Tells whether the connection can carry another request after this response.
    fn is_reusable(&self) -> bool {
        *self.keeps_alive && self.is_read.get() && !self.stop.is_set()
    }
}

impl<'a> Responder<'a> {
    /// Begins a response whose body has `len` bytes. `headers` are sent beside the common ones,
    /// which are the date, the media type, the length, `cache-control` and
    /// `x-content-type-options`.
    ///
    /// # Errors
    /// The socket's.
    ///
    /// # Blocking
    /// For at most [`WRITE_TIMEOUT`].
    pub fn sized(
        self,
        status: StatusCode,
        media_type: &str,
        headers: &HeaderMap,
        len: u64,
    ) -> io::Result<SizedBody<'a>> {
        let again = self.is_reusable();
        let mut all = self.headers;
        for (name, value) in headers {
            all.insert(name, value.clone());
        }
        all.insert(CONTENT_LENGTH, len.into());
        let head = head(status, media_type, all, again);
        // `finish` sets it again.
        *self.keeps_alive = false;
        *self.has_answered = true;
        self.socket.send_all(&head, WRITE_TIMEOUT)?;
        let left = if self.is_head { 0 } else { len };
        Ok(SizedBody { socket: self.socket, keeps_alive: self.keeps_alive, again, left })
    }
}

/// The body of a response whose length is known.
pub struct SizedBody<'a> {
    socket: &'a Arc<dyn Socket>,
    keeps_alive: &'a mut bool,
    /// Whether the connection is reused after the whole body.
    again: bool,
    left: u64,
}

impl SizedBody<'_> {
    /// Bytes that are still to be sent; none if the request was HEAD.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Sends the next bytes of the body.
    ///
    /// # Errors
    /// The socket's, when the client is gone; [`io::ErrorKind::InvalidInput`] for more bytes than
    /// are left.
    ///
    /// # Blocking
    /// For at most [`SIZED_WRITE_TIMEOUT`].
    pub fn write(&mut self, part: &[u8]) -> io::Result<()> {
        let left = self.left.checked_sub(part.len() as u64);
        self.left = left.ok_or(io::ErrorKind::InvalidInput)?;
        self.socket.send_all(part, SIZED_WRITE_TIMEOUT)
    }

    /// Ends the body. Dropping it instead closes the connection, which marks the body as
    /// incomplete.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if bytes are left.
    pub fn finish(self) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *self.keeps_alive = self.again;
        Ok(())
    }
}

/// Sends bytes of any length to a reader that takes each part in time.
fn send_parts(socket: &dyn Socket, bytes: &[u8]) -> io::Result<()> {
    bytes.chunks(PART_LEN).try_for_each(|part| socket.send_all(part, WRITE_TIMEOUT))
}

/// The status line and the headers: the handler's, and those of every response.
fn head(
    status: StatusCode,
    media_type: &str,
    mut headers: HeaderMap,
    keeps_alive: bool,
) -> Vec<u8> {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let common = [
        (DATE, HeaderValue::try_from(date).ok()),
        (CONTENT_TYPE, HeaderValue::from_str(media_type).ok()),
        (CACHE_CONTROL, Some(HeaderValue::from_static("no-store"))),
        (X_CONTENT_TYPE_OPTIONS, Some(HeaderValue::from_static("nosniff"))),
        (CONNECTION, (!keeps_alive).then(|| HeaderValue::from_static("close"))),
    ];
    for (name, value) in common {
        if let Some(value) = value {
            headers.entry(name).or_insert(value);
        }
    }
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in &headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// The body of a response in parts.
pub struct BodyStream<'a> {
    socket: &'a Arc<dyn Socket>,
    keeps_alive: &'a mut bool,
    /// Whether the connection is reused after the whole body.
    again: bool,
    is_head: bool,
    takes_chunks: bool,
}

impl BodyStream<'_> {
    /// Sends a part. An empty part sends nothing.
    ///
    /// # Errors
    /// The socket's, when the client is gone.
    ///
    /// # Blocking
    /// For at most [`WRITE_TIMEOUT`] for each 64 KiB.
    pub fn write(&mut self, part: &[u8]) -> io::Result<()> {
        if part.is_empty() || self.is_head {
            return Ok(());
        }
        if !self.takes_chunks {
            return send_parts(&**self.socket, part);
        }
        let mut chunk = format!("{:x}\r\n", part.len()).into_bytes();
        chunk.extend_from_slice(part);
        chunk.extend_from_slice(b"\r\n");
        send_parts(&**self.socket, &chunk)
    }

    /// Ends the body. Dropping the stream instead closes the connection, which marks the body as
    /// incomplete.
    ///
    /// # Errors
    /// The socket's.
    pub fn finish(self) -> io::Result<()> {
        if self.takes_chunks && !self.is_head {
            self.socket.send_all(b"0\r\n\r\n", WRITE_TIMEOUT)?;
        }
        *self.keeps_alive = self.again;
        Ok(())
    }
}

/// Formats one server-sent event. `data` is a single line.
pub fn server_sent_event(id: u64, name: &str, data: &str) -> String {
    debug_assert!(!data.contains(['\n', '\r']) && !name.contains(['\n', '\r']));
    format!("id: {id}\nevent: {name}\ndata: {data}\n\n")
}
