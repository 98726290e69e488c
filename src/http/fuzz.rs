//! The fuzz target of HTTP.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::request::{BodyError, NoRequest, Request};
use super::wire::Wire;
use super::{
    BODY_LEN_MAX, HeaderValue, Selection, Socket, attachment_name, decoded_segment, select, send,
};

/// A stream that yields at most `step` bytes a read and discards output.
struct Memory {
    bytes: Mutex<Vec<u8>>,
    step: usize,
}

impl Socket for Memory {
    fn receive(&self, buffer: &mut [u8], _: Duration) -> io::Result<usize> {
        let mut bytes = self.bytes.lock();
        let count = bytes.len().min(buffer.len()).min(self.step);
        buffer[..count].copy_from_slice(&bytes[..count]);
        bytes.drain(..count);
        Ok(count)
    }

    fn send_all(&self, _: &[u8], _: Duration) -> io::Result<()> {
        Ok(())
    }

    fn is_gone(&self) -> bool {
        false
    }

    fn end_reading(&self) {}

    fn close(&self) {}
}

fn socket(bytes: &[u8], step: usize) -> Arc<dyn Socket> {
    Arc::new(Memory { bytes: Mutex::new(bytes.to_vec()), step })
}

/// Reads all requests of a stream.
fn requests(bytes: &[u8], step: usize) -> Vec<String> {
    let mut wire = Wire::new(socket(bytes, step));
    let mut seen = Vec::new();
    let patience = Duration::from_secs(1);
    while !wire.buffer.is_empty() || matches!(wire.read_within(patience), Ok(1..)) {
        match Request::read(&mut wire) {
            Ok(mut request) => {
                let body = match request.body() {
                    Ok(body) => body,
                    Err(BodyError::Refused(status)) => {
                        seen.push(status.to_string());
                        break;
                    }
                    Err(BodyError::Lost(_)) => break,
                };
                assert!(body.len() <= BODY_LEN_MAX);
                let _ = (request.parameter("a"), request.accepts("text/html"));
                content(&request);
                let (method, target) = (&request.method, &request.target);
                seen.push(format!("{method} {target} {:?} {body:?}", request.headers));
            }
            Err(NoRequest::Bad(status)) => {
                seen.push(status.to_string());
                break;
            }
            Err(NoRequest::End | NoRequest::Lost) => break,
        }
    }
    seen
}

/// Reads the range that a request wants, and the names in its path.
fn content(request: &Request<'_>) {
    let etag = HeaderValue::from_static("\"x\"");
    for len in [0, 1, 1000] {
        let selection = select(&request.method, &request.headers, len, &etag);
        if let Selection::Part(range) = selection {
            assert!(range.start() <= range.end() && *range.end() < len, "{range:?} of {len}");
        }
    }
    for name in request.path().split('/').filter_map(decoded_segment) {
        let value = attachment_name("inline", &name);
        let text = value.to_str().unwrap_or_default();
        assert!(
            text.starts_with("inline; filename=\"") && text.matches('"').count() == 2,
            "{text}"
        );
    }
}

/// Reads one response.
fn answer(bytes: &[u8], step: usize) -> Option<(u16, Vec<u8>)> {
    let patience = Duration::from_secs(1);
    let socket = socket(bytes, step);
    let mut response = send(socket, "GET", "/", "", b"", patience, &|| true).ok()?;
    let body = response.read_all(1 << 20, patience).ok()?;
    Some((response.status.as_u16(), body))
}

/// Reads the bytes as requests and as a response, whole and byte by byte, which must not differ.
pub fn http_messages(bytes: &[u8]) {
    assert_eq!(requests(bytes, 1), requests(bytes, usize::MAX));
    assert_eq!(answer(bytes, 1), answer(bytes, usize::MAX));
}
