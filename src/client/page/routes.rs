//! The client's routes for holders of tokens, and its contents for media elements.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;
use serde_json::json;

use super::links::{Links, PATH_LEN_MAX};
use super::metrics;
use crate::client::api::Api;
use crate::client::routes::answer::{answer, refuse, refuse_body};
use crate::client::routes::{Caller, Directories, Routes, Validity, is_content};
use crate::http::access::{Access, Rights};
use crate::http::page::{Holder, PageRoutes};
use crate::http::{Method, Request, Responder, StatusCode};

/// Path of a content's link, in front of its id.
const CONTENT: &str = "/content/";

/// The routes of one client over TCP.
pub(super) struct OverTcp {
    api: Arc<dyn Api>,
    routes: Routes,
    access: Arc<Access>,
    links: Links,
    directories: Directories,
}

/// The holder of a token, and where that holder may read and write.
struct Bounded<'a> {
    holder: &'a Holder,
    directories: &'a Directories,
}

impl Caller for Bounded<'_> {
    fn rights(&self) -> Rights {
        self.holder.rights()
    }

    fn validity(&self) -> Validity {
        let holder = self.holder.clone();
        Arc::new(move || holder.is_valid())
    }

    fn directories(&self) -> Option<&Directories> {
        Some(self.directories)
    }
}

/// `POST link`.
#[derive(Deserialize)]
struct LinkTo {
    path: String,
}

impl OverTcp {
    /// Starts the routes.
    ///
    /// # Errors
    /// The system's, if it has no room for a thread.
    pub(super) fn start(
        api: Arc<dyn Api>,
        access: Arc<Access>,
        directories: Directories,
    ) -> io::Result<Self> {
        let (routes, links) = (Routes::start(api.clone())?, Links::default());
        Ok(Self { api, routes, access, links, directories })
    }

    fn handle(
        &self,
        path: &str,
        request: &mut Request<'_>,
        responder: Responder<'_>,
        holder: &Holder,
    ) -> io::Result<()> {
        let caller = Bounded { holder, directories: &self.directories };
        self.routes.handle(path, request, responder, &caller)
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
            Ok(LinkTo { path }) if path.len() <= PATH_LEN_MAX && is_content(&path) => {
                let id = self.links.make(&path, holder.token_id(), Instant::now())?;
                let url = format!("{}{id}", &CONTENT[1..]);
                answer(responder, StatusCode::OK, &json!({ "url": url }))
            }
            _ => refuse(responder, StatusCode::BAD_REQUEST, "the body has no path of a content"),
        }
    }
}

impl PageRoutes for OverTcp {
    fn api(
        &self,
        path: &str,
        request: &mut Request<'_>,
        responder: Responder<'_>,
        holder: &Holder,
    ) -> io::Result<()> {
        if path == "link" && request.method == Method::POST {
            return self.link(request, responder, holder);
        }
        self.handle(path, request, responder, holder)
    }

    fn metrics(&self, responder: Responder<'_>) -> io::Result<()> {
        metrics::send(&*self.api, responder)
    }

    fn ready(&self) -> Result<(), String> {
        metrics::ready(&*self.api)
    }

    fn open<'a>(
        &self,
        path: &str,
        request: &mut Request<'_>,
        responder: Responder<'a>,
    ) -> io::Result<Option<Responder<'a>>> {
        let Some(id) = path.strip_prefix(CONTENT) else { return Ok(Some(responder)) };
        let found = self
            .links
            .open(id, Instant::now())
            .and_then(|(path, token_id)| Some((path, Holder::of_id(&token_id, &self.access)?)));
        match found {
            Some((path, holder)) => {
                responder.hold_connection();
                self.handle(&path, request, responder, &holder)?;
            }
            None => refuse(responder, StatusCode::NOT_FOUND, "this link is too old; open it anew")?,
        }
        Ok(None)
    }

    fn stop(&self) {
        self.routes.stop();
    }
}
