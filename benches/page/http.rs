//! A browser, as far as these measurements need one.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::support::Result;
use crate::support::network::PATIENCE;

/// Bytes read at a time.
const PART_LEN: usize = 512 << 10;

/// A client's page.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    host: String,
    token: String,
}

/// A response whose head was read.
pub(crate) struct Body {
    stream: TcpStream,
    part: Vec<u8>,
    /// Bytes of the body in `part`.
    filled: usize,
}

impl Page {
    /// The page to which a link leads.
    pub(crate) fn new(link: &str, token: &str) -> Result<Self> {
        let rest = link.strip_prefix("http://").ok_or("the page is not served in clear")?;
        let host = rest.split('/').next().unwrap_or_default().to_owned();
        Ok(Self { host, token: token.to_owned() })
    }

    /// Asks for a path below the API, and reads the head of the response.
    pub(crate) fn get(&self, path: &str) -> Result<Body> {
        let mut stream = TcpStream::connect(&self.host)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = format!(
            "GET /api/v1/{path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
            self.host, self.token
        );
        stream.write_all(head.as_bytes())?;
        let (mut part, mut filled) = (vec![0; PART_LEN], 0);
        let body = loop {
            let count = stream.read(&mut part[filled..])?;
            filled += count;
            if let Some(end) = part[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if count == 0 {
                return Err("the response has no head".into());
            }
        };
        let head = String::from_utf8_lossy(&part[..body]).into_owned();
        if !head.starts_with("HTTP/1.1 200 ") {
            return Err(format!("{path} is not served: {head}").into());
        }
        part.copy_within(body..filled, 0);
        Ok(Body { stream, part, filled: filled - body })
    }
}

impl Body {
    /// Reads to the end; returns the number of bytes.
    pub(crate) fn read(mut self) -> Result<u64> {
        let mut len = self.filled as u64;
        loop {
            match self.stream.read(&mut self.part)? {
                0 => return Ok(len),
                count => len += count as u64,
            }
        }
    }

    /// Reads what comes until the other end, or this one, closes the connection; returns the number
    /// of bytes.
    pub(crate) fn read_until_closed(mut self) -> u64 {
        // What is read of a stream of events does not matter here.
        let mut len = self.filled as u64;
        while let Ok(count @ 1..) = self.stream.read(&mut self.part) {
            len += count as u64;
        }
        len
    }

    /// The connection, by which another thread can close it.
    pub(crate) fn connection(&self) -> Result<TcpStream> {
        Ok(self.stream.try_clone()?)
    }
}
