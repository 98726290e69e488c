//! Reading a request: its head, and its body when the handler asks for it.
//!
//! **Invariant:** nothing of a body is read before the handler asks. The handler can refuse a request
//! by its head alone.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use zeroize::Zeroizing;

use super::chunks::{Chunk, Framing};
use super::wire::Wire;
use super::{BODY_LEN_MAX, HEAD_LEN_MAX, HEAD_TIMEOUT, HEADERS_MAX, PART_TIMEOUT, WRITE_TIMEOUT};

/// Maximum length of a part of a streamed body.
const PART_LEN_MAX: usize = 256 << 10;

/// A request. It has no `Debug`, because it may hold a password or a token.
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: Uri,
    /// The headers.
    pub headers: HeaderMap,
    /// The client wants to reuse the connection.
    pub(super) keeps_alive: bool,
    /// The client understands chunks.
    pub(super) takes_chunks: bool,
    /// The client waits for an interim response before it sends the body.
    waits: bool,
    framing: Framing,
    /// The whole body was read; shared with the responder.
    pub(super) is_read: Rc<Cell<bool>>,
    wire: &'a mut Wire,
}

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The body is refused with this status, which the handler sends.
    #[error("the body of the request is refused: {0}")]
    Refused(StatusCode),
    /// The connection is lost.
    #[error("the connection was lost")]
    Lost(#[source] io::Error),
}

/// Why there is no further request on a connection.
#[derive(Debug)]
pub(super) enum NoRequest {
    /// The connection was closed between requests.
    End,
    /// The connection was closed within a request.
    Lost,
    /// The input is refused with this status.
    Bad(StatusCode),
}

impl From<io::Error> for NoRequest {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::Bad(StatusCode::REQUEST_TIMEOUT),
            io::ErrorKind::InvalidData => Self::Bad(StatusCode::BAD_REQUEST),
            _ => Self::Lost,
        }
    }
}

impl From<io::Error> for BodyError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::Refused(StatusCode::REQUEST_TIMEOUT),
            io::ErrorKind::InvalidData => Self::Refused(StatusCode::BAD_REQUEST),
            _ => Self::Lost(error),
        }
    }
}

impl<'a> Request<'a> {
    /// The path, without the query.
    pub fn path(&self) -> &str {
        self.target.path()
    }

    /// The value of a query parameter, not decoded.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let pairs = self.target.query()?.split('&');
        let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The value of a query parameter, decoded; bytes that are not UTF-8 are replaced.
    pub fn decoded_parameter(&self, name: &str) -> Option<String> {
        let query = self.target.query()?.as_bytes();
        let mut pairs = form_urlencoded::parse(query);
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// Tells whether `Accept` lists a media type; its parameters are ignored.
    pub fn accepts(&self, media_type: &str) -> bool {
        let values = self.headers.get_all(http::header::ACCEPT).iter();
        let mut types = values.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
        types.any(|entry| {
            entry.split(';').next().is_some_and(|t| t.trim().eq_ignore_ascii_case(media_type))
        })
    }

    /// Reads a request whose first byte has arrived.
    pub(super) fn read(wire: &'a mut Wire) -> Result<Self, NoRequest> {
        let deadline = Instant::now() + HEAD_TIMEOUT;
        let mut looked = 0;
        let head = loop {
            if wire.skip_empty_lines() {
                looked = 0;
            }
            if wire.has_blank_line(looked)
                && let Some(head) = Head::parse(wire)?
            {
                break head;
            }
            looked = wire.buffer.len();
            if looked > HEAD_LEN_MAX {
                return Err(NoRequest::Bad(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
            }
            if wire.read_more(deadline)? == 0 {
                return Err(NoRequest::Lost);
            }
        };
        let framing = head.framing()?;
        let Head { method, target, headers, is_1_1 } = head;
        let waits = is_1_1
            && headers
                .get(EXPECT)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let keeps_alive = is_1_1 && !has_token(&headers, "close");
        let takes_chunks = is_1_1;
        let is_read = Rc::new(Cell::new(framing.is_done()));
        let request = Self {
            method,
            target,
            headers,
            keeps_alive,
            takes_chunks,
            waits,
            framing,
            is_read,
            wire,
        };
        Ok(request)
    }

    /// The length of the body, if the client has told it.
    pub fn body_len(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(len) => Some(len),
            _ => None,
        }
    }

    /// Reads the whole body, which may hold a password.
    ///
    /// # Errors
    /// [`BodyError::Refused`] for a body that is longer than [`BODY_LEN_MAX`], whose end is
    /// ambiguous, or that takes longer than [`HEAD_TIMEOUT`].
    ///
    /// # Blocking
    /// For at most [`HEAD_TIMEOUT`].
    pub fn body(&mut self) -> Result<Zeroizing<Vec<u8>>, BodyError> {
        let too_long = BodyError::Refused(StatusCode::PAYLOAD_TOO_LARGE);
        if self.body_len().is_some_and(|len| len > BODY_LEN_MAX as u64) {
            return Err(too_long);
        }
        self.send_continue()?;
        let mut body = Zeroizing::default();
        let deadline = Instant::now() + HEAD_TIMEOUT;
        loop {
            // One byte more than the limit shows that the body is too long.
            self.take(&mut body, BODY_LEN_MAX + 1)?;
            if body.len() > BODY_LEN_MAX {
                return Err(too_long);
            }
            if self.framing.is_done() {
                return Ok(body);
            }
            if self.wire.read_more(deadline)? == 0 {
                return Err(BodyError::Lost(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Reads the next part of the body, of any length in all, and replaces `part` by it; false at
    /// the end.
    ///
    /// # Errors
    /// [`BodyError::Refused`] if nothing arrives for [`PART_TIMEOUT`], or the end of the body is
    /// ambiguous.
    ///
    /// # Blocking
    /// For at most [`PART_TIMEOUT`].
    pub fn next_part(&mut self, part: &mut Vec<u8>) -> Result<bool, BodyError> {
        part.clear();
        self.send_continue()?;
        loop {
            self.take(part, PART_LEN_MAX)?;
            if !part.is_empty() {
                return Ok(true);
            }
            if self.framing.is_done() {
                return Ok(false);
            }
            if self.wire.read_within(PART_TIMEOUT)? == 0 {
                return Err(BodyError::Lost(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn take(&mut self, body: &mut Vec<u8>, max: usize) -> Result<(), BodyError> {
        self.wire.take_body(&mut self.framing, body, max)?;
        self.is_read.set(self.framing.is_done());
        Ok(())
    }

    fn send_continue(&mut self) -> Result<(), BodyError> {
        let waits = std::mem::take(&mut self.waits);
        if waits && self.wire.buffer.is_empty() && !self.framing.is_done() {
            self.wire.socket.send_all(b"HTTP/1.1 100 Continue\r\n\r\n", WRITE_TIMEOUT)?;
        }
        Ok(())
    }
}

/// A parsed head.
struct Head {
    method: Method,
    target: Uri,
    headers: HeaderMap,
    is_1_1: bool,
}

impl Head {
    fn parse(wire: &mut Wire) -> Result<Option<Self>, NoRequest> {
        let bad = || NoRequest::Bad(StatusCode::BAD_REQUEST);
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Request::new(&mut headers);
        let len = match head.parse(&wire.buffer) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => {
                return Err(NoRequest::Bad(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
            }
            Err(httparse::Error::Version) => {
                return Err(NoRequest::Bad(StatusCode::HTTP_VERSION_NOT_SUPPORTED));
            }
            Err(_) => return Err(bad()),
        };
        if len > HEAD_LEN_MAX {
            return Err(NoRequest::Bad(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        }
        let is_1_1 = head.version == Some(1);
        let method = Method::from_bytes(head.method.unwrap_or_default().as_bytes());
        let target: Uri = head.path.unwrap_or_default().parse().map_err(|_| bad())?;
        let mut map = HeaderMap::with_capacity(head.headers.len());
        for header in head.headers.iter() {
            let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| bad())?;
            map.append(name, HeaderValue::from_bytes(header.value).map_err(|_| bad())?);
        }
        let hosts = map.get_all(HOST).iter().count();
        if hosts > 1 || (is_1_1 && hosts == 0) {
            return Err(bad());
        }
        wire.consume(len);
        Ok(Some(Self { method: method.map_err(|_| bad())?, target, headers: map, is_1_1 }))
    }

    /// The framing of the body. Ambiguous heads are refused.
    fn framing(&self) -> Result<Framing, NoRequest> {
        let bad = NoRequest::Bad(StatusCode::BAD_REQUEST);
        let mut lengths = self.headers.get_all(CONTENT_LENGTH).iter();
        let mut codings = self.headers.get_all(TRANSFER_ENCODING).iter();
        match (codings.next(), codings.next(), lengths.next(), lengths.next()) {
            (None, _, None, _) => Ok(Framing::Length(0)),
            (None, _, Some(length), None) => {
                let text = length.to_str().unwrap_or_default();
                // `parse` accepts a sign.
                let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                match text.parse::<u64>().ok().filter(|_| digits) {
                    Some(length) => Ok(Framing::Length(length)),
                    None if !digits => Err(bad),
                    None => Err(NoRequest::Bad(StatusCode::PAYLOAD_TOO_LARGE)),
                }
            }
            (Some(coding), None, None, _) if self.is_1_1 => {
                if coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
                    Ok(Framing::Chunked(Chunk::Size))
                } else {
                    Err(NoRequest::Bad(StatusCode::NOT_IMPLEMENTED))
                }
            }
            _ => Err(bad),
        }
    }
}

/// Tells whether `Connection` lists a token.
fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|t| t.trim().eq_ignore_ascii_case(token))
}
