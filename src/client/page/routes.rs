//! The client's routes for holders of tokens, and its contents for media elements.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::bounded::Bounded;
use super::links::{CONTENT, LinkMade, LinkTo, Links, PATH_LEN_MAX};
use super::transmission::{self, Rpc};
use super::{metrics, openapi};
use crate::client::api::Api;
use crate::client::routes::answer::{answer, refuse, refuse_body};
use crate::client::routes::{Directories, Routes, is_content};
use crate::http::access::Access;
use crate::http::page::{Holder, PageRoutes};
use crate::http::{HeaderValue, Method, Request, Responder, StatusCode, header};

/// The routes of one client over TCP.
pub(super) struct OverTcp {
    api: Arc<dyn Api>,
    routes: Routes,
    access: Arc<Access>,
    links: Links,
    transmission: Rpc,
    directories: Directories,
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
        let (routes, links) = (Routes::start(api.clone(), openapi::describe)?, Links::default());
        let transmission = Rpc::new(api.clone(), &directories)?;
        Ok(Self { api, routes, access, links, transmission, directories })
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
                answer(responder, StatusCode::OK, &LinkMade { url })
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
        if path == "link" {
            if request.method == Method::POST {
                return self.link(request, responder, holder);
            }
            let responder = responder.header(header::ALLOW, HeaderValue::from_static("POST"));
            let text = "this route needs another method";
            return refuse(responder, StatusCode::METHOD_NOT_ALLOWED, text);
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
        if transmission::PATHS.contains(&path) {
            let (access, directories) = (&self.access, &self.directories);
            self.transmission.handle(request, responder, &self.routes, access, directories)?;
            return Ok(None);
        }
        let is_read = matches!(request.method, Method::GET | Method::HEAD);
        let Some(id) = path.strip_prefix(CONTENT).filter(|_| is_read) else {
            return Ok(Some(responder));
        };
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
