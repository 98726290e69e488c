//! Writing a response, at once or in parts.
//!
//! **Invariant:** a connection is reused only after a complete response with an unambiguous end. A
//! body of known length that is not sent whole closes the connection.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, StatusCode};

use super::{SIZED_WRITE_TIMEOUT, Socket, WRITE_TIMEOUT};
use crate::net::Stop;

/// Writes the response to one request.
pub struct Responder<'a> {
    pub(super) socket: &'a Arc<dyn Socket>,
    /// Set when the server stops.
    pub(super) stop: &'a Stop,
    /// Whether the connection is reused.
    pub(super) keeps_alive: &'a mut bool,
    /// The method is HEAD: there is no body.
    pub(super) is_head: bool,
    /// The client understands chunks.
    pub(super) takes_chunks: bool,
    pub(super) has_answered: &'a mut bool,
}

impl<'a> Responder<'a> {
    /// The connection, for noticing a client that is gone.
    pub fn socket(&self) -> Arc<dyn Socket> {
        self.socket.clone()
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
    /// For at most [`WRITE_TIMEOUT`].
    pub fn send(self, status: StatusCode, media_type: &str, body: &[u8]) -> io::Result<()> {
        let mut head = head(status, media_type, *self.keeps_alive && !self.stop.is_set());
        // Writing to a `String` cannot fail.
        let _ = write!(head, "content-length: {}\r\n\r\n", body.len());
        let mut bytes = head.into_bytes();
        if !self.is_head {
            bytes.extend_from_slice(body);
        }
        *self.has_answered = true;
        let sent = self.socket.send_all(&bytes, WRITE_TIMEOUT);
        *self.keeps_alive &= sent.is_ok();
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
        let again = self.takes_chunks && *self.keeps_alive && !self.stop.is_set();
        let mut head = head(status, media_type, again);
        head.push_str(if self.takes_chunks {
            "transfer-encoding: chunked\r\n\r\n"
        } else {
            "\r\n"
        });
        // `finish` sets it again.
        *self.keeps_alive = false;
        *self.has_answered = true;
        self.socket.send_all(head.as_bytes(), WRITE_TIMEOUT)?;
        Ok(BodyStream {
            socket: self.socket,
            keeps_alive: self.keeps_alive,
            again,
            is_head: self.is_head,
            takes_chunks: self.takes_chunks,
        })
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
        let again = *self.keeps_alive && !self.stop.is_set();
        let mut head = head(status, media_type, again).into_bytes();
        for (name, value) in headers {
            // A `HeaderValue` has no line end.
            let parts = [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"];
            parts.into_iter().for_each(|part| head.extend_from_slice(part));
        }
        head.extend_from_slice(format!("content-length: {len}\r\n\r\n").as_bytes());
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

/// The status line and the common headers.
fn head(status: StatusCode, media_type: &str, keeps_alive: bool) -> String {
    let (reason, now) = (status.canonical_reason().unwrap_or_default(), SystemTime::now());
    let connection = if keeps_alive { "" } else { "connection: close\r\n" };
    format!(
        "HTTP/1.1 {} {reason}\r\ndate: {}\r\ncontent-type: {media_type}\r\ncache-control: no-store\r\n\
         x-content-type-options: nosniff\r\n{connection}",
        status.as_u16(),
        httpdate::fmt_http_date(now)
    )
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
    /// For at most [`WRITE_TIMEOUT`].
    pub fn write(&mut self, part: &[u8]) -> io::Result<()> {
        if part.is_empty() || self.is_head {
            return Ok(());
        }
        if !self.takes_chunks {
            return self.socket.send_all(part, WRITE_TIMEOUT);
        }
        let mut chunk = format!("{:x}\r\n", part.len()).into_bytes();
        chunk.extend_from_slice(part);
        chunk.extend_from_slice(b"\r\n");
        self.socket.send_all(&chunk, WRITE_TIMEOUT)
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
