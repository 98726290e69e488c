//! Serves the page's files, trades codes for tokens, and hands what has a token to the routes.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use include_dir::Dir;
use log::warn;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::headers::secure;
use super::holder::Holder;
use super::refusal::{Code, refuse};
use super::{API_ROOT, PageConfig, PageError, PageRoutes};
use crate::http::access::{Access, Origins, TokenEntry};
use crate::http::{
    self, Assets, BodyError, HeaderValue, Method, Request, Responder, Server, StatusCode, Tcp, Tls,
    header,
};

/// Time for responses under way at the end.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// A page that is served. Dropping it ends that.
pub struct PageServer {
    /// Where it listens, with the actual port.
    pub address: SocketAddr,
    server: Server,
    handler: Arc<Handler>,
}

impl PageServer {
    /// Serves a page with these files, and notes in `access` where.
    ///
    /// # Errors
    /// [`PageError`].
    ///
    /// # Blocking
    /// On the file system of the certificate.
    pub fn start(
        config: &PageConfig,
        access: Arc<Access>,
        files: &Dir<'_>,
        routes: Arc<dyn PageRoutes>,
    ) -> Result<Self, PageError> {
        let listen = config.listen;
        if !listen.ip().is_loopback() && config.tls.is_none() {
            return Err(PageError::NeedsTls(listen));
        }
        let system = |source| PageError::System { address: listen, source };
        let tcp = match Tcp::bind(listen) {
            Err(error) if config.takes_any_port && error.kind() == io::ErrorKind::AddrInUse => {
                leave_port(listen, &access).and_then(|()| Tcp::bind((listen.ip(), 0).into()))
            }
            bound => bound,
        };
        let tcp = tcp.map_err(system)?;
        let address = tcp.local_addr().map_err(system)?;
        let origins = Origins::new(address, config.tls.is_some(), &config.origins)?;
        let url = origins.url();
        let assets = Assets::new(all_files(files));
        let handler = Arc::new(Handler { routes, access: access.clone(), origins, assets });
        let server = match &config.tls {
            Some((certificates, key)) => {
                let tls = Tls::new(tcp, certificates, key)?;
                Server::start("page", tls, handler.clone())
            }
            None => Server::start("page", tcp, handler.clone()),
        };
        let server = server.map_err(system)?;
        access.set_url(url);
        Ok(Self { address, server, handler })
    }

    /// Ends what runs for callers, and their connections. Calling it again does nothing.
    ///
    /// # Blocking
    /// For some seconds at most.
    pub fn stop(&self) {
        self.handler.routes.stop();
        self.server.stop(STOP_TIMEOUT);
    }
}

/// Gives up the usual port, which another program has taken. Open tabs may send that program their
/// tokens, so the pages' tokens are revoked.
///
/// # Errors
/// The system's, if the tokens cannot be written.
fn leave_port(listen: SocketAddr, access: &Access) -> io::Result<()> {
    let ended = access.tokens.revoke_pages().map_err(io::Error::other)?;
    warn!(
        "another program has taken {listen}, so the page is served at another port; {ended} browsers \
         that were logged in need a new link, as they may have shown that program their tokens"
    );
    Ok(())
}

impl fmt::Debug for PageServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageServer").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The files of a directory and of those within it, with their paths.
fn all_files(dir: &Dir<'_>) -> Vec<(String, Vec<u8>)> {
    let own = dir
        .files()
        .map(|file| (file.path().to_string_lossy().into_owned(), file.contents().to_vec()));
    own.chain(dir.dirs().flat_map(all_files)).collect()
}

struct Handler {
    routes: Arc<dyn PageRoutes>,
    access: Arc<Access>,
    origins: Origins,
    assets: Assets,
}

/// `POST session`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Traded {
    /// The code of a link, which stands behind `#code=`.
    code: String,
}

/// What it answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct Begun {
    /// The secret.
    token: String,
    #[serde(flatten)]
    entry: TokenEntry,
}

impl http::Handler for Handler {
    fn handle(&self, request: &mut Request<'_>, responder: Responder<'_>) -> io::Result<()> {
        let responder = secure(responder);
        if let Err((status, text)) = self.origins.check(request) {
            return refuse(responder, status, Code::NotAllowed, text);
        }
        let path = self.origins.path(request).to_owned();
        if let Some(path) = path.strip_prefix(API_ROOT) {
            return self.api(path, request, responder);
        }
        let Some(responder) = self.routes.open(&path, request, responder)? else { return Ok(()) };
        if !matches!(request.method, Method::GET | Method::HEAD) {
            let responder = responder.header(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return refuse(responder, status, Code::BadArgument, "files are only read");
        }
        match path.as_str() {
            "/healthz" => responder.send(StatusCode::OK, "text/plain", b"ok\n"),
            "/readyz" => match self.routes.ready() {
                Ok(()) => responder.send(StatusCode::OK, "text/plain", b"ok\n"),
                Err(why) => {
                    let (status, text) = (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"));
                    responder.send(status, "text/plain", text.as_bytes())
                }
            },
            "/metrics" => match Holder::of(request, &self.access) {
                Some(_) => {
                    responder.hold_connection();
                    self.routes.metrics(responder)
                }
                None => unauthorized(responder),
            },
            // Relative addresses in the page need the slash.
            "" => {
                let location = format!("{}/", request.path());
                let location = HeaderValue::try_from(location).map_err(io::Error::other)?;
                let responder = responder.header(header::LOCATION, location);
                responder.send(StatusCode::PERMANENT_REDIRECT, "text/plain", b"see /\n")
            }
            "/" => self.file("index.html", request, responder),
            path => self.file(path.trim_start_matches('/'), request, responder),
        }
    }
}

fn unauthorized(responder: Responder<'_>) -> io::Result<()> {
    let responder = responder.header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    let text = "a valid token is needed: the command `page` prints a link that opens the page, and \
                `create_token` makes a token for a program";
    refuse(responder, StatusCode::UNAUTHORIZED, Code::NoToken, text)
}

impl Handler {
    fn file(&self, path: &str, request: &Request<'_>, responder: Responder<'_>) -> io::Result<()> {
        match self.assets.get(path) {
            Some(asset) => asset.send(request, responder),
            None => {
                let status = StatusCode::NOT_FOUND;
                refuse(responder, status, Code::BadArgument, "there is no such page")
            }
        }
    }

    /// Answers a request to the API. A request without a valid token learns nothing about it.
    fn api(
        &self,
        path: &str,
        request: &mut Request<'_>,
        responder: Responder<'_>,
    ) -> io::Result<()> {
        if path == "session" && request.method == Method::POST {
            return self.session(request, responder);
        }
        match Holder::of(request, &self.access) {
            Some(_) if path == "session" => {
                let responder = responder.header(header::ALLOW, HeaderValue::from_static("POST"));
                let status = StatusCode::METHOD_NOT_ALLOWED;
                refuse(responder, status, Code::BadArgument, "this route needs POST")
            }
            Some(holder) => {
                responder.hold_connection();
                self.routes.api(path, request, responder, &holder)
            }
            None => unauthorized(responder),
        }
    }

    /// Trades a one-time code for a token.
    fn session(&self, request: &mut Request<'_>, responder: Responder<'_>) -> io::Result<()> {
        let bad = StatusCode::BAD_REQUEST;
        let body = match request.body() {
            Ok(body) => body,
            Err(BodyError::Refused(status)) => {
                return refuse(responder, status, Code::BadArgument, "the body is refused");
            }
            Err(BodyError::Lost(error)) => return Err(error),
        };
        let Ok(Traded { code }) = serde_json::from_slice(&body) else {
            return refuse(responder, bad, Code::BadArgument, "the body has no code");
        };
        match self.access.trade(&code) {
            Ok(Some(new)) => {
                let begun = Begun { token: new.secret, entry: new.entry };
                let body = serde_json::to_vec(&begun).map_err(io::Error::other)?;
                responder.send(StatusCode::OK, "application/json", &body)
            }
            Ok(None) => {
                let text = "this link was used already, or is too old; `page` prints a new one";
                let bearer = HeaderValue::from_static("Bearer");
                let responder = responder.header(header::WWW_AUTHENTICATE, bearer);
                refuse(responder, StatusCode::UNAUTHORIZED, Code::NoToken, text)
            }
            Err(error) => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                refuse(responder, status, Code::Failed, &error.to_string())
            }
        }
    }
}
