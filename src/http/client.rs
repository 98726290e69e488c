//! The client's side: sends a request and reads the response in parts.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use zeroize::Zeroizing;

use super::chunks::{Chunk, Framing};
use super::wire::Wire;
use super::{HEAD_LEN_MAX, HEADERS_MAX, Socket, WRITE_TIMEOUT};

/// Maximum length of one part of a body.
const PART_LEN_MAX: usize = 64 << 10;

/// A response whose head was read.
pub struct Response {
    /// The status.
    pub status: StatusCode,
    wire: Wire,
    framing: Framing,
}

/// Sends a request and reads the head of the response. `headers` are whole lines. Every `interval`
/// without input, `goes_on` decides whether to keep waiting.
///
/// # Errors
/// The socket's, [`io::ErrorKind::InvalidData`] for an invalid response, and
/// [`io::ErrorKind::Interrupted`] if `goes_on` returned false.
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
            // Informational responses precede the final one.
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
    /// Reads the next part of the body and appends it to `body`; false at the end.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] after `timeout` without input,
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

    /// Reads the whole body.
    ///
    /// # Errors
    /// Those of [`Response::read`], and [`io::ErrorKind::InvalidData`] if it is longer than `max`.
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
