//! The route of a file's content: a shared file, or one that is being downloaded, by ranges.
//!
//! **Invariant:** nothing that a member shared runs as a script of our origin: what browsers may
//! show in place are media, PDF and plain text, and these are sandboxed; everything else is
//! downloaded. The bytes sent are verified. A response that cannot go on ends incomplete.
//!
//! Runs on the connection's thread, and blocks it while pieces are waited for.

use std::io;

use log::debug;

use super::answer::fail;
use super::caller::Caller;
use super::files::decoded;
use super::watch::Watch;
use crate::client::api::{Api, Content};
use crate::http::{
    HeaderMap, HeaderValue, Request, Responder, Selection, SizedBody, StatusCode, attachment_name,
    header, select,
};
use crate::net::Stop;

/// Bytes sent at a time.
const PART_LEN: usize = 512 << 10;
/// For what is shown in place: no script, no form, no plugin, nothing from elsewhere.
const SANDBOX: &str = "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; \
                       style-src 'unsafe-inline'";

/// Answers a GET or HEAD request for a file's content.
pub(super) fn answer(
    api: &dyn Api,
    watch: &Watch,
    request: &Request<'_>,
    names: (&str, &str),
    responder: Responder<'_>,
    caller: &dyn Caller,
) -> io::Result<()> {
    let mut content = match decoded(names).and_then(|(group, file)| api.open(&group, &file)) {
        Ok(content) => content,
        Err(error) => return fail(responder, &error),
    };
    let (len, etag) = (content.len(), etag(&*content));
    let guessed = content.media_type();
    let presentation = Presentation::of(&guessed);
    let mut headers = presentation.headers(content.name().as_str());
    headers.insert(header::ETAG, etag.clone());
    let (status, range) = match select(&request.method, &request.headers, len, &etag) {
        Selection::Whole => (StatusCode::OK, 0..len),
        Selection::Part(range) => {
            let value = format!("bytes {}-{}/{len}", range.start(), range.end());
            insert(&mut headers, header::CONTENT_RANGE, &value);
            (StatusCode::PARTIAL_CONTENT, *range.start()..range.end() + 1)
        }
        Selection::Unsatisfiable => {
            insert(&mut headers, header::CONTENT_RANGE, &format!("bytes */{len}"));
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            return responder.sized(status, presentation.media_type, &headers, 0)?.finish();
        }
    };
    let watched = watch.caller(responder.socket(), caller.validity());
    let length = range.end - range.start;
    let body = responder.sized(status, presentation.media_type, &headers, length)?;
    send(&mut *content, range.start, body, &watched.stop, caller)
}

/// Sends the body as it comes.
fn send(
    content: &mut dyn Content,
    mut offset: u64,
    mut body: SizedBody<'_>,
    stop: &Stop,
    caller: &dyn Caller,
) -> io::Result<()> {
    let mut buffer = vec![0; body.left().min(PART_LEN as u64) as usize];
    while body.left() > 0 {
        let wanted = &mut buffer[..body.left().min(PART_LEN as u64) as usize];
        let read = content.read_at(wanted, offset, stop);
        if !caller.is_valid() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let count = match read {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) => {
                debug!("the content of {} ends early: {error}", content.name());
                return Err(io::Error::other(error));
            }
        };
        body.write(&wanted[..count])?;
        offset += count as u64;
    }
    body.finish()
}

/// The SHA-1 of the whole as a strong ETag.
fn etag(content: &dyn Content) -> HeaderValue {
    let quoted = format!("\"{}\"", content.sha1());
    HeaderValue::try_from(quoted).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// How browsers are to treat a file.
struct Presentation<'a> {
    media_type: &'a str,
    disposition: &'static str,
    is_sandboxed: bool,
}

impl<'a> Presentation<'a> {
    /// Decides by the type that the name suggests; the content may be anything.
    fn of(media_type: &'a str) -> Self {
        let (class, kind) = media_type.split_once('/').unwrap_or_default();
        // Scripts can be in SVG and other formats in XML.
        let is_markup = kind.contains("svg") || kind.contains("xml");
        let is_media = matches!(class, "audio" | "video" | "image") && !is_markup;
        let shown =
            |media_type, is_sandboxed| Self { media_type, disposition: "inline", is_sandboxed };
        match media_type {
            "text/plain" => shown("text/plain; charset=utf-8", true),
            // Browsers show it in a process of its own, and not at all in a sandbox.
            "application/pdf" => shown(media_type, false),
            _ if is_media => shown(media_type, true),
            _ => Self {
                media_type: "application/octet-stream",
                disposition: "attachment",
                is_sandboxed: true,
            },
        }
    }

    fn headers(&self, name: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(header::CONTENT_DISPOSITION, attachment_name(self.disposition, name));
        let of_us = HeaderValue::from_static("same-origin");
        headers.insert(header::HeaderName::from_static("cross-origin-resource-policy"), of_us);
        if self.is_sandboxed {
            let policy = HeaderValue::from_static(SANDBOX);
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_scriptable_is_shown() {
        for (name, media_type, disposition) in [
            ("a.mp4", "video/mp4", "inline"),
            ("a.MKV", "video/x-matroska", "inline"),
            ("a.mp3", "audio/mpeg", "inline"),
            ("a.png", "image/png", "inline"),
            ("a.pdf", "application/pdf", "inline"),
            ("a.txt", "text/plain; charset=utf-8", "inline"),
            ("a.svg", "application/octet-stream", "attachment"),
            ("a.svgz", "application/octet-stream", "attachment"),
            ("a.html", "application/octet-stream", "attachment"),
            ("a.htm", "application/octet-stream", "attachment"),
            ("a.xhtml", "application/octet-stream", "attachment"),
            ("a.xml", "application/octet-stream", "attachment"),
            ("a.xsl", "application/octet-stream", "attachment"),
            ("a.js", "application/octet-stream", "attachment"),
            ("a.mjs", "application/octet-stream", "attachment"),
            ("a.css", "application/octet-stream", "attachment"),
            ("a.wasm", "application/octet-stream", "attachment"),
            ("a.swf", "application/octet-stream", "attachment"),
            ("a.mht", "application/octet-stream", "attachment"),
            ("a", "application/octet-stream", "attachment"),
            ("a.mp4.html", "application/octet-stream", "attachment"),
        ] {
            let guessed = mime_guess::from_path(name).first_or_octet_stream().to_string();
            let shown = Presentation::of(&guessed);
            assert_eq!((shown.media_type, shown.disposition), (media_type, disposition), "{name}");
            assert_eq!(shown.is_sandboxed, media_type != "application/pdf", "{name}");
        }
    }
}
