//! The client's side of one exchange: a request, and its answer part by part.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use zeroize::Zeroizing;

use super::chunks::{Chunk, Framing};
use super::wire::Wire;
use super::{HEAD_LEN_MAX, HEADERS_MAX, Socket, WRITE_TIMEOUT};

/// Bytes of an answer that are handed on at a time.
const PART_LEN_MAX: usize = 64 << 10;

/// An answer whose head has come.
pub struct Response {
    /// What it says of the request.
    pub status: StatusCode,
    wire: Wire,
    framing: Framing,
}

/// Sends a request and waits for the head of its answer. `headers` are whole lines. `goes_on` is
/// asked again and again, `interval` apart, whether to wait any longer.
///
/// # Errors
/// The socket's, [`io::ErrorKind::InvalidData`] for what is no answer of HTTP, and
/// [`io::ErrorKind::Interrupted`] if `goes_on` said no.
///
/// # Blocking
/// As long as `goes_on` allows.
pub fn send(
    socket: Arc<dyn Socket>,
    method: &str,
    target: &str,
    headers: &str,
    body: &[u8],
    interval: Duration,
    goes_on: &dyn Fn() -> bool,
) -> io::Result<Response> {
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    let mut request = Zeroizing::new(Vec::with_capacity(head.len() + body.len()));
    request.extend_from_slice(head.as_bytes());
    request.extend_from_slice(body);
    socket.send_all(&request, WRITE_TIMEOUT)?;
    let mut wire = Wire::new(socket);
    loop {
        if let Some((status, framing)) = parse_head(&mut wire)? {
            // What comes before the answer is none.
            if !status.is_informational() {
                return Ok(Response { status, wire, framing });
            }
            continue;
        }
        if wire.buffer.len() > HEAD_LEN_MAX {
            return Err(invalid("its head does not end"));
        }
        match wire.read_more(Instant::now() + interval) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                if !goes_on() {
                    return Err(io::ErrorKind::Interrupted.into());
                }
            }
            Err(error) => return Err(error),
        }
    }
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn parse_head(wire: &mut Wire) -> io::Result<Option<(StatusCode, Framing)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let len = match head.parse(&wire.buffer) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(invalid("it does not speak HTTP")),
    };
    let status = StatusCode::from_u16(head.code.unwrap_or_default())
        .map_err(|_| invalid("its status is none"))?;
    let value = |name: &http::HeaderName| {
        let header = head.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name.as_str()));
        header.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let framing = match (value(&TRANSFER_ENCODING), value(&CONTENT_LENGTH)) {
        _ if status.is_informational() || status == StatusCode::NO_CONTENT => Framing::Length(0),
        (Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => {
            Framing::Chunked(Chunk::Size)
        }
        (Some(_), _) => return Err(invalid("its body is coded in a way that is not known")),
        (None, Some(len)) => {
            Framing::Length(len.parse().map_err(|_| invalid("its length is no number"))?)
        }
        (None, None) => Framing::Close,
    };
    wire.consume(len);
    Ok(Some((status, framing)))
}

impl Response {
    /// Waits for the next part of the body, which is added to `body`; false at the end.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] if nothing has come in that time,
    /// [`io::ErrorKind::UnexpectedEof`] if the connection ended before the body, and the socket's.
    pub fn read(&mut self, body: &mut Vec<u8>, timeout: Duration) -> io::Result<bool> {
        let before = body.len();
        loop {
            self.wire.take_body(&mut self.framing, body, before + PART_LEN_MAX)?;
            if body.len() > before {
                return Ok(true);
            }
            if self.framing.is_done() {
                return Ok(false);
            }
            if self.wire.read_within(timeout)? == 0 {
                return match self.framing {
                    Framing::Close => Ok(false),
                    _ => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    /// Waits for the whole body, up to `max` bytes.
    ///
    /// # Errors
    /// Those of [`Response::read`], and [`io::ErrorKind::InvalidData`] if it is longer.
    pub fn read_all(&mut self, max: usize, timeout: Duration) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while self.read(&mut body, timeout)? {
            if body.len() > max {
                return Err(invalid("its answer is too long"));
            }
        }
        Ok(body)
    }

    /// The connection.
    pub fn socket(&self) -> &Arc<dyn Socket> {
        &self.wire.socket
    }
}
