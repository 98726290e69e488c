//! Serves the page's files, trades codes for tokens, and hands what has a token to the routes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use include_dir::{Dir, include_dir};
use serde::Deserialize;
use serde_json::json;

use super::guard::Holder;
use super::headers::secure;
use super::links::Links;
use super::{Page, PageConfig, PageError};
use crate::client::api::Api;
use crate::client::routes::answer::{answer, refuse, refuse_body};
use crate::client::routes::{ROOT, Routes};
use crate::http::access::{Access, Origins};
use crate::http::{
    self, Assets, HeaderValue, Method, Request, Responder, Server, StatusCode, Tcp, Tls, header,
};

/// Time for responses under way at the end.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Path of a content's link, in front of its id.
const CONTENT: &str = "/content/";

/// The page's files.
static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/client/page/assets");

/// The page of one client.
pub(super) struct Handler {
    routes: Routes,
    access: Arc<Access>,
    origins: Origins,
    assets: Assets,
    links: Links,
    directories: Arc<[PathBuf]>,
}

/// Starts the page; see [`Page::start`].
pub(super) fn start(
    api: Arc<dyn Api>,
    access: Arc<Access>,
    config: &PageConfig,
) -> Result<Page, PageError> {
    let listen = config.listen;
    if !listen.ip().is_loopback() && config.tls.is_none() {
        return Err(PageError::NeedsTls(listen));
    }
    let directory = |path: &PathBuf| {
        path.canonicalize().map_err(|source| PageError::Directory { path: path.clone(), source })
    };
    let directories = config.directories.iter().map(directory).collect::<Result<_, _>>()?;
    let system = |source| PageError::System { address: listen, source };
    let tcp = match Tcp::bind(listen) {
        Err(error) if config.takes_any_port && error.kind() == io::ErrorKind::AddrInUse => {
            Tcp::bind((listen.ip(), 0).into())
        }
        bound => bound,
    };
    let tcp = tcp.map_err(system)?;
    let address = tcp.local_addr().map_err(system)?;
    let origins = Origins::new(address, config.tls.is_some(), &config.origins)?;
    access.set_url(origins.url());
    let handler = Arc::new(Handler {
        routes: Routes::start(api).map_err(system)?,
        access,
        origins,
        assets: Assets::new(files(&FILES)),
        links: Links::default(),
        directories,
    });
    let server = match &config.tls {
        Some((certificates, key)) => {
            let tls = Tls::new(tcp, certificates, key)?;
            Server::start("page", tls, handler.clone())
        }
        None => Server::start("page", tcp, handler.clone()),
    };
    Ok(Page { address, server: server.map_err(system)?, handler })
}

/// The files of a directory and of those within it, with their paths.
fn files(dir: &Dir<'_>) -> Vec<(String, Vec<u8>)> {
    let own = dir
        .files()
        .map(|file| (file.path().to_string_lossy().into_owned(), file.contents().to_vec()));
    own.chain(dir.dirs().flat_map(files)).collect()
}

impl http::Handler for Handler {
    fn handle(&self, request: &mut Request<'_>, responder: Responder<'_>) -> io::Result<()> {
        let responder = secure(responder);
        if let Err((status, text)) = self.origins.check(request) {
            return refuse(responder, status, text);
        }
        let path = self.origins.path(request).to_owned();
        if let Some(path) = path.strip_prefix(ROOT) {
            return self.api(path, request, responder);
        }
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return refuse(responder, StatusCode::METHOD_NOT_ALLOWED, "files are only read");
        }
        match (path.as_str(), path.strip_prefix(CONTENT)) {
            ("/healthz", _) => responder.send(StatusCode::OK, "text/plain", b"ok\n"),
            (_, Some(id)) => self.content(id, request, responder),
            ("" | "/", _) => self.file("index.html", request, responder),
            (path, _) => self.file(path.trim_start_matches('/'), request, responder),
        }
    }
}

/// `POST session`.
#[derive(Deserialize)]
struct Code {
    code: String,
}

/// `POST link`.
#[derive(Deserialize)]
struct LinkTo {
    path: String,
}

impl Handler {
    /// Ends the commands of all browsers.
    pub(super) fn stop(&self) {
        self.routes.stop();
    }

    fn file(&self, path: &str, request: &Request<'_>, responder: Responder<'_>) -> io::Result<()> {
        match self.assets.get(path) {
            Some(asset) => asset.send(request, responder),
            None => refuse(responder, StatusCode::NOT_FOUND, "there is no such page"),
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
        let Some(holder) = Holder::of(request, &self.access, &self.directories) else {
            let responder =
                responder.header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            let text = "a valid token is needed: `page` at the client's prompt prints a link that opens \
                        the page, `create_token` makes a token for a program";
            return refuse(responder, StatusCode::UNAUTHORIZED, text);
        };
        if path == "link" && request.method == Method::POST {
            return self.link(request, responder, &holder);
        }
        self.routes.handle(path, request, responder, &holder)
    }

    /// Trades a one-time code for a token.
    fn session(&self, request: &mut Request<'_>, responder: Responder<'_>) -> io::Result<()> {
        let body = match request.body() {
            Ok(body) => body,
            Err(error) => return refuse_body(responder, error),
        };
        let Ok(Code { code }) = serde_json::from_slice(&body) else {
            return refuse(responder, StatusCode::BAD_REQUEST, "the body has no code");
        };
        match self.access.trade(&code) {
            Ok(Some(new)) => {
                let mut value = json!(new.entry);
                value["token"] = json!(new.secret);
                answer(responder, StatusCode::OK, &value)
            }
            Ok(None) => {
                let text = "this link was used already, or is too old; `page` prints a new one";
                refuse(responder, StatusCode::UNAUTHORIZED, text)
            }
            Err(error) => refuse(responder, StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }

    /// Makes a link to a content.
    fn link(
        &self,
        request: &mut Request<'_>,
        responder: Responder<'_>,
        holder: &Holder,
    ) -> io::Result<()> {
        let body = match request.body() {
            Ok(body) => body,
            Err(error) => return refuse_body(responder, error),
        };
        match serde_json::from_slice(&body) {
            Ok(LinkTo { path }) if path.starts_with("groups/") && path.ends_with("/content") => {
                let id = self.links.make(&path, holder.token_id(), Instant::now())?;
                let url = format!("{}{id}", &CONTENT[1..]);
                answer(responder, StatusCode::OK, &json!({ "url": url }))
            }
            _ => refuse(responder, StatusCode::BAD_REQUEST, "the body has no path of a content"),
        }
    }

    /// Serves a content by its link.
    fn content(
        &self,
        id: &str,
        request: &mut Request<'_>,
        responder: Responder<'_>,
    ) -> io::Result<()> {
        let found = self.links.open(id, Instant::now()).and_then(|(path, token_id)| {
            Some((path, Holder::of_id(&token_id, &self.access, &self.directories)?))
        });
        match found {
            Some((path, holder)) => self.routes.handle(&path, request, responder, &holder),
            None => refuse(responder, StatusCode::NOT_FOUND, "this link is too old; open it anew"),
        }
    }
}
