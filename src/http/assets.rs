//! The files of a page, compressed once.
//!
//! **Invariant:** a file changes with the program alone, so its entity tag is a hash of its bytes.

use std::collections::HashMap;
use std::io::{self, Write as _};

use data_encoding::HEXLOWER;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderValue, StatusCode};
use sha2::{Digest as _, Sha256};

use super::{Request, Responder};

/// One file of a page.
#[derive(Debug)]
pub struct Asset {
    media_type: &'static str,
    bytes: Vec<u8>,
    gzip: Option<Vec<u8>>,
    etag: String,
}

/// The files of a page, by their paths.
#[derive(Debug, Default)]
pub struct Assets(HashMap<String, Asset>);

impl Assets {
    /// Compresses files, each with its path.
    pub fn new(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let asset = |(path, bytes): (String, Vec<u8>)| {
            let digest = Sha256::digest(&bytes);
            let etag = HEXLOWER.encode(&digest[..12]);
            let gzip = compress(&bytes).filter(|gzip| gzip.len() < bytes.len());
            (path.clone(), Asset { media_type: media_type(&path), bytes, gzip, etag })
        };
        Self(files.into_iter().map(asset).collect())
    }

    /// Finds a file.
    pub fn get(&self, path: &str) -> Option<&Asset> {
        self.0.get(path)
    }

    /// Total length of the files as they are sent to a browser, in bytes.
    pub fn sent_len(&self) -> usize {
        let len = |asset: &Asset| asset.gzip.as_ref().map_or(asset.bytes.len(), Vec::len);
        self.0.values().map(len).sum()
    }
}

impl Asset {
    /// Sends the file, or tells the browser that it has the file already.
    ///
    /// # Errors
    /// The socket's.
    pub fn send(&self, request: &Request<'_>, responder: Responder<'_>) -> io::Result<()> {
        let takes_gzip = accepts_gzip(request);
        let gzip = self.gzip.as_ref().filter(|_| takes_gzip);
        // Different bytes have different tags.
        let etag = format!("\"{}{}\"", self.etag, if gzip.is_some() { "-gz" } else { "" });
        let has = |value: &HeaderValue| {
            let tags = value.to_str().unwrap_or_default().split(',').map(str::trim);
            tags.into_iter().any(|tag| tag.trim_start_matches("W/") == etag)
        };
        let has_it = request.headers.get_all(IF_NONE_MATCH).iter().any(has);
        let mut responder = responder
            // The browser asks each time whether the file has changed.
            .header(CACHE_CONTROL, HeaderValue::from_static("no-cache"))
            .header(VARY, HeaderValue::from_static("accept-encoding"))
            .header(ETAG, HeaderValue::try_from(&etag).map_err(io::Error::other)?);
        if has_it {
            return responder.send(StatusCode::NOT_MODIFIED, self.media_type, b"");
        }
        if gzip.is_some() {
            responder = responder.header(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        responder.send(StatusCode::OK, self.media_type, gzip.unwrap_or(&self.bytes))
    }
}

fn accepts_gzip(request: &Request<'_>) -> bool {
    let values = request.headers.get_all(http::header::ACCEPT_ENCODING).iter();
    let mut codings = values.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    codings.any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        is_gzip && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("json" | "webmanifest") => "application/json",
        _ => "text/plain; charset=utf-8",
    }
}
