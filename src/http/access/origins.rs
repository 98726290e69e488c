//! The addresses at which a page is reached, and the sites that may use its API.
//!
//! **Invariant:** a request whose `Host` is a name that nobody gave the page is refused, so a foreign
//! name that is made to point here (DNS rebinding) reaches nothing. A request whose `Origin` is
//! another site is refused.

use std::net::{IpAddr, SocketAddr};

use http::header::{HOST, HeaderName, ORIGIN};
use http::uri::Authority;
use http::{StatusCode, Uri};

use crate::http::Request;

/// How a browser says where a request comes from (W3C Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why an origin cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no address of a page; give scheme, host, port and path, as https://posse.example/files"
)]
pub struct OriginError(String);

/// Where a page is reached.
#[derive(Debug, Clone)]
pub struct Origins {
    scheme: &'static str,
    listen: SocketAddr,
    /// Addresses at a reverse proxy.
    named: Vec<Named>,
}

#[derive(Debug, Clone)]
struct Named {
    scheme: String,
    /// Host, and port if it is not the scheme's; lower case.
    authority: String,
    /// Empty, or a path that begins and does not end with `/`.
    base: String,
}

impl Origins {
    /// The addresses of a page that listens at `listen`, itself and behind proxies at `named`.
    ///
    /// # Errors
    /// [`OriginError`] for an address that cannot be one.
    pub fn new(listen: SocketAddr, is_tls: bool, named: &[String]) -> Result<Self, OriginError> {
        let named = named.iter().map(|text| Named::parse(text)).collect::<Result<_, _>>()?;
        Ok(Self { scheme: if is_tls { "https" } else { "http" }, listen, named })
    }

    /// The address that a user opens, with a `/` at its end.
    pub fn url(&self) -> String {
        if let Some(Named { scheme, authority, base }) = self.named.first() {
            return format!("{scheme}://{authority}{base}/");
        }
        let ip = match self.listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        format!("{}://{}/", self.scheme, SocketAddr::new(ip, self.listen.port()))
    }

    /// Checks where a request comes from and goes to.
    ///
    /// # Errors
    /// The status and the text of the refusal.
    pub fn check(&self, request: &Request<'_>) -> Result<(), (StatusCode, &'static str)> {
        let text = |name: HeaderName| {
            let mut values = request.headers.get_all(name).iter();
            let value = values.next().map(|value| value.to_str().unwrap_or("?").to_owned());
            if values.next().is_some() { Some("?".to_owned()) } else { value }
        };
        let refused = "the page is not served at this address; --page-origin names another one";
        let host = text(HOST).and_then(|host| authority(&host)).unwrap_or_default();
        if !self.is_host(&host) {
            return Err((StatusCode::MISDIRECTED_REQUEST, refused));
        }
        let foreign = Err((StatusCode::FORBIDDEN, "another site may not use this page"));
        if let Some(origin) = text(ORIGIN) {
            let origin = origin.to_ascii_lowercase();
            let own = format!("{}://{host}", self.scheme);
            let is_named =
                self.named.iter().any(|n| format!("{}://{}", n.scheme, n.authority) == origin);
            if origin != own && !is_named {
                return foreign;
            }
        }
        match text(SEC_FETCH_SITE).as_deref() {
            None | Some("same-origin" | "none") => Ok(()),
            _ if is_navigation(request) => Ok(()),
            _ => foreign,
        }
    }

    /// The path of a request below the base path of the page.
    pub fn path<'a>(&self, request: &'a Request<'_>) -> &'a str {
        let path = request.path();
        let below = |named: &Named| {
            let rest = path.strip_prefix(&named.base)?;
            (!named.base.is_empty() && (rest.is_empty() || rest.starts_with('/'))).then_some(rest)
        };
        self.named.iter().find_map(below).unwrap_or(path)
    }

    fn is_host(&self, host: &str) -> bool {
        let port = self.listen.port();
        let (name, at) = match host.rsplit_once(':') {
            Some((name, digits)) if !digits.ends_with(']') => (name, digits.parse().ok()),
            _ => (host, Some(if self.scheme == "https" { 443 } else { 80 })),
        };
        // A number cannot be made to point elsewhere.
        let is_number = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let is_direct = (is_number || name == "localhost") && at == Some(port);
        is_direct
            || self.named.iter().any(|named| named.authority == without_port(host, &named.scheme))
    }
}

/// A user has followed a link: the browser shows the page itself, and gives no site its content.
fn is_navigation(request: &Request<'_>) -> bool {
    let is = |name: &'static str, want: &str| {
        request.headers.get(name).is_some_and(|value| value.as_bytes() == want.as_bytes())
    };
    request.method == http::Method::GET
        && is("sec-fetch-mode", "navigate")
        && is("sec-fetch-dest", "document")
}

/// Host and port, lower case.
fn authority(text: &str) -> Option<String> {
    let authority: Authority = text.parse().ok()?;
    (!text.contains('@')).then(|| authority.as_str().to_ascii_lowercase())
}

/// The authority without the scheme's own port, which some proxies write.
fn without_port<'a>(authority: &'a str, scheme: &str) -> &'a str {
    let usual = if scheme == "https" { ":443" } else { ":80" };
    authority.strip_suffix(usual).unwrap_or(authority)
}

impl Named {
    fn parse(text: &str) -> Result<Self, OriginError> {
        let wrong = || OriginError(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"));
        let authority = uri.authority().and_then(|a| authority(a.as_str())).ok_or_else(wrong)?;
        if uri.query().is_some() {
            return Err(wrong());
        }
        let scheme = scheme.ok_or_else(wrong)?.to_owned();
        let authority = without_port(&authority, &scheme).to_owned();
        Ok(Self { scheme, authority, base: uri.path().trim_end_matches('/').to_owned() })
    }
}
