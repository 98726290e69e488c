//! The client's interface over HTTP: the routes of the control socket and of the page.
//!
//! **Invariant:** when a caller disconnects or its token ends, its own command is interrupted, and no
//! other. A caller
//! does what its rights allow. Every route is in [`ROUTES`], with the rights that it needs.

pub(crate) mod answer;
mod caller;
mod command;
mod content;
mod directories;
mod drops;
mod events;
mod files;
pub(crate) mod openapi;
mod paths;
mod watch;

use std::io;
use std::sync::{Arc, LazyLock};

use self::answer::refuse;
use self::paths::Paths;
use self::watch::Watch;
use super::api::Api;
use crate::http::access::Rights;
use crate::http::{Method, Request, Responder, StatusCode, header};

pub(crate) use caller::{Caller, Directories, Owner, Validity};

/// The prefix of all routes.
pub(crate) const ROOT: &str = "/api/v1/";
/// One JSON value a line.
pub(crate) const LINES: &str = "application/x-ndjson";

/// One route.
#[derive(Debug)]
pub(crate) struct Route {
    /// The method; a route for GET serves HEAD, too.
    pub(crate) method: Method,
    /// Path below [`ROOT`].
    pub(crate) path: &'static str,
    /// The rights that every request needs.
    pub(crate) needs: Rights,
    action: Action,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    OpenApi,
    Command,
    Snapshot,
    Events,
    Directories,
    Drop,
    Content,
    Peers,
    Pieces,
}

impl Route {
    /// The last part of its path.
    fn last_part(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    fn is_at(&self, path: &str) -> bool {
        match self.action {
            Action::Content | Action::Peers | Action::Pieces => {
                files::names_in(path, self.last_part()).is_some()
            }
            _ => self.path == path,
        }
    }
}

const fn route(method: Method, path: &'static str, needs: Rights, action: Action) -> Route {
    Route { method, path, needs, action }
}

/// All routes.
pub(crate) const ROUTES: &[Route] = &[
    route(Method::GET, "openapi.json", Rights::Read, Action::OpenApi),
    // Each command says what it needs.
    route(Method::POST, "command", Rights::Read, Action::Command),
    route(Method::GET, "snapshot", Rights::Read, Action::Snapshot),
    route(Method::GET, "events", Rights::Read, Action::Events),
    route(Method::GET, "groups/{group}/files/{file}/content", Rights::Read, Action::Content),
    route(Method::GET, "groups/{group}/files/{file}/peers", Rights::Read, Action::Peers),
    route(Method::GET, "groups/{group}/files/{file}/pieces", Rights::Read, Action::Pieces),
    route(Method::GET, "directories", Rights::Manage, Action::Directories),
    route(Method::PUT, "drops", Rights::Manage, Action::Drop),
];

/// Tells whether a path below [`ROOT`] is that of a content.
pub(crate) fn is_content(path: &str) -> bool {
    files::names_in(path, "content").is_some()
}

/// The routes of one client.
pub(crate) struct Routes {
    api: Arc<dyn Api>,
    watch: Arc<Watch>,
    paths: Paths,
    /// The document that describes them.
    document: LazyLock<String>,
}

impl Routes {
    /// Starts the thread that notices lost callers. `describe` makes the OpenAPI document of the
    /// place where the routes are served.
    ///
    /// # Errors
    /// The system's, if it has no room for a thread.
    pub(crate) fn start(api: Arc<dyn Api>, describe: fn() -> String) -> io::Result<Self> {
        let document = LazyLock::new(describe);
        Ok(Self { api, watch: Watch::start()?, paths: Paths::default(), document })
    }

    /// Ends the commands of all callers, present and future.
    pub(crate) fn stop(&self) {
        self.watch.stop();
    }

    /// Answers a request. `path` is the request's path below [`ROOT`].
    ///
    /// # Errors
    /// The socket's.
    pub(crate) fn handle(
        &self,
        path: &str,
        request: &mut Request<'_>,
        responder: Responder<'_>,
        caller: &dyn Caller,
    ) -> io::Result<()> {
        let method = if request.method == Method::HEAD { &Method::GET } else { &request.method };
        let mut known = ROUTES.iter().filter(|route| route.is_at(path)).peekable();
        if known.peek().is_none() {
            let text = "no such route; docs/JSON.md lists the routes";
            return refuse(responder, StatusCode::NOT_FOUND, text);
        }
        let Some(route) = known.find(|route| route.method == *method) else {
            let methods = ROUTES.iter().filter(|route| route.is_at(path));
            let methods: Vec<&str> = methods
                .flat_map(|route| match route.method {
                    Method::GET => vec!["GET", "HEAD"],
                    ref other => vec![other.as_str()],
                })
                .collect();
            let allowed = methods.join(", ").parse().map_err(io::Error::other)?;
            let responder = responder.header(header::ALLOW, allowed);
            let text = "this route needs another method";
            return refuse(responder, StatusCode::METHOD_NOT_ALLOWED, text);
        };
        if route.needs > caller.rights() {
            let text =
                "this token may look and change nothing; the route needs one that may manage";
            return refuse(responder, StatusCode::FORBIDDEN, text);
        }
        let names = files::names_in(path, route.last_part()).unwrap_or_default();
        match route.action {
            Action::OpenApi => {
                responder.send(StatusCode::OK, "application/json", self.document.as_bytes())
            }
            Action::Command => self.command(request, responder, caller),
            Action::Snapshot => self.snapshot(responder),
            Action::Events => self.events(request, responder, caller),
            Action::Directories => self.directories(request, responder, caller),
            Action::Peers => self.peers(names, responder),
            Action::Pieces => self.pieces(names, responder),
            Action::Content => {
                content::answer(&*self.api, &self.watch, request, names, responder, caller)
            }
            Action::Drop => self.drop_file(request, responder, caller),
        }
    }
}
