//! Reading a request.

use std::io;
use std::time::Instant;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use zeroize::Zeroizing;

use super::chunks::{Chunk, Framing};
use super::wire::Wire;
use super::{BODY_LEN_MAX, HEAD_LEN_MAX, HEAD_TIMEOUT, HEADERS_MAX, WRITE_TIMEOUT};

/// A request. It has no `Debug`, because it may hold a password or a token.
pub struct Request {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: Uri,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, which may hold a password.
    pub body: Zeroizing<Vec<u8>>,
    /// The client wants to reuse the connection.
    pub(super) keeps_alive: bool,
    /// The client understands chunks.
    pub(super) takes_chunks: bool,
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

impl Request {
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

    /// Tells whether `Accept` lists a media type; its parameters are ignored.
    pub fn accepts(&self, media_type: &str) -> bool {
        let values = self.headers.get_all(http::header::ACCEPT).iter();
        let mut types = values.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
        types.any(|entry| {
            entry.split(';').next().is_some_and(|t| t.trim().eq_ignore_ascii_case(media_type))
        })
    }

    /// Reads a request whose first byte has arrived.
    pub(super) fn read(wire: &mut Wire) -> Result<Self, NoRequest> {
        let deadline = Instant::now() + HEAD_TIMEOUT;
        let mut looked = 0;
        let mut request = loop {
            if wire.skip_empty_lines() {
                looked = 0;
            }
            if wire.has_blank_line(looked)
                && let Some(request) = Self::parse_head(wire)?
            {
                break request;
            }
            looked = wire.buffer.len();
            if looked > HEAD_LEN_MAX {
                return Err(NoRequest::Bad(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
            }
            if wire.read_more(deadline)? == 0 {
                return Err(NoRequest::Lost);
            }
        };
        request.read_body(wire)?;
        Ok(request)
    }

    fn parse_head(wire: &mut Wire) -> Result<Option<Self>, NoRequest> {
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
        let request = Self {
            method: method.map_err(|_| bad())?,
            target,
            body: Zeroizing::default(),
            keeps_alive: is_1_1 && !has_token(&map, "close"),
            takes_chunks: is_1_1,
            headers: map,
        };
        wire.consume(len);
        Ok(Some(request))
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
                    Some(length) if length <= BODY_LEN_MAX as u64 => Ok(Framing::Length(length)),
                    None if !digits => Err(bad),
                    _ => Err(NoRequest::Bad(StatusCode::PAYLOAD_TOO_LARGE)),
                }
            }
            (Some(coding), None, None, _) if self.takes_chunks => {
                if coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
                    Ok(Framing::Chunked(Chunk::Size))
                } else {
                    Err(NoRequest::Bad(StatusCode::NOT_IMPLEMENTED))
                }
            }
            _ => Err(bad),
        }
    }

    fn read_body(&mut self, wire: &mut Wire) -> Result<(), NoRequest> {
        let mut framing = self.framing()?;
        let deadline = Instant::now() + HEAD_TIMEOUT;
        let waits = self.headers.get(EXPECT).is_some_and(|value| {
            value.as_bytes().eq_ignore_ascii_case(b"100-continue") && self.takes_chunks
        });
        if waits && wire.buffer.is_empty() && !framing.is_done() {
            wire.socket.send_all(b"HTTP/1.1 100 Continue\r\n\r\n", WRITE_TIMEOUT)?;
        }
        loop {
            // One byte more than the limit shows that the body is too long.
            wire.take_body(&mut framing, &mut self.body, BODY_LEN_MAX + 1)?;
            if self.body.len() > BODY_LEN_MAX {
                return Err(NoRequest::Bad(StatusCode::PAYLOAD_TOO_LARGE));
            }
            if framing.is_done() {
                return Ok(());
            }
            if wire.read_more(deadline)? == 0 {
                return Err(NoRequest::Lost);
            }
        }
    }
}

/// Tells whether `Connection` lists a token.
fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|t| t.trim().eq_ignore_ascii_case(token))
}
