//! The headers of every response of the page.

use crate::http::{HeaderName, HeaderValue, Responder, header};

/// Adds headers by which a browser runs nothing but the page's own scripts, shows the page in no
/// frame, and tells other sites nothing of it.
pub(super) fn secure(responder: Responder<'_>) -> Responder<'_> {
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self' data: blob:; media-src 'self' blob:; manifest-src 'self'; form-action 'none'; \
         base-uri 'none'; frame-ancestors 'none'";
    let headers: [(HeaderName, &'static str); 5] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    headers.into_iter().fold(responder, |responder, (name, value)| {
        responder.header(name, HeaderValue::from_static(value))
    })
}
