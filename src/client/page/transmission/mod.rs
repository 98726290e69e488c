//! Transmission's RPC, in its classic dialect (rpc-version 16): programs that steer Transmission
//! list, add, stop and limit downloads of this client.
//!
//! **Invariant:** this is a view of [`Api`] like the others. It decides nothing, and a caller can
//! do no more than the token allows. A file that is complete or shared is never deleted.
//!
//! A request needs a token, as bearer or as the password of HTTP's basic authentication. It also
//! needs the id of this run in `X-Transmission-Session-Id`, which the first response tells. A site
//! that a browser visits cannot send that header. docs/TRANSMISSION.md lists methods and fields.

mod actions;
mod fields;
mod parts;
mod request;
mod session;
mod table;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use self::fields::Torrent;
use self::parts::PARTS_MAX;
pub(super) use self::request::Asked;
use self::request::{Arguments, GetTorrents};
use self::session::Settings;
use self::table::Table;
use super::bounded::Bounded;
use crate::client::api::{Api, ApiError, Command, ErrorCode, Listing, Reply};
use crate::client::routes::answer::{answer, fail, refuse, refuse_body};
use crate::client::routes::{Caller, Directories, Routes};
use crate::http::access::{Access, Rights, random_text};
use crate::http::page::Holder;
use crate::http::{
    HeaderName, HeaderValue, Method, Request, Responder, Socket, StatusCode, header,
};

/// Where it is served: programs write it either way.
pub(super) const PATHS: [&str; 2] = ["/transmission/rpc", "/transmission/rpc/"];
/// The header that shows that a caller has read a response of ours.
pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("x-transmission-session-id");

/// Every method, and the rights that it needs.
const METHODS: [(&str, Rights); 12] = [
    ("torrent-get", Rights::Read),
    ("session-get", Rights::Read),
    ("session-stats", Rights::Read),
    ("free-space", Rights::Read),
    ("torrent-add", Rights::Manage),
    ("torrent-start", Rights::Manage),
    ("torrent-start-now", Rights::Manage),
    ("torrent-stop", Rights::Manage),
    ("torrent-remove", Rights::Manage),
    ("torrent-set", Rights::Manage),
    ("queue-move-top", Rights::Manage),
    ("session-set", Rights::Manage),
];

/// The RPC of one client.
pub(super) struct Rpc {
    api: Arc<dyn Api>,
    session_id: HeaderValue,
    table: Mutex<Table>,
    settings: Mutex<Settings>,
    started: Instant,
}

/// One call, and who makes it.
struct Call<'a> {
    rpc: &'a Rpc,
    routes: &'a Routes,
    caller: &'a dyn Caller,
    socket: Arc<dyn Socket>,
}

/// Why a method was not carried out.
#[derive(Debug)]
enum Problem {
    /// The token may not do that, which the status tells.
    NotAllowed(ApiError),
    /// The body tells it, as Transmission does.
    Told(ApiError),
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        Self::Told(error)
    }
}

/// A response.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TransmissionAnswer")]
pub(super) struct Answer {
    /// `success`, or what went wrong.
    result: String,
    /// What the method returns.
    #[schemars(with = "Map<String, Value>")]
    arguments: Value,
    /// The tag of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<i64>,
}

impl Rpc {
    /// # Errors
    /// The system's, if it gives no random numbers.
    pub(super) fn new(api: Arc<dyn Api>, directories: &Directories) -> io::Result<Self> {
        let session_id = HeaderValue::try_from(random_text()?).map_err(io::Error::other)?;
        let settings = Mutex::new(Settings::new(directories.roots()));
        let (table, started) = (Mutex::default(), Instant::now());
        Ok(Self { api, session_id, table, settings, started })
    }

    /// Answers a request.
    ///
    /// # Errors
    /// The socket's.
    pub(super) fn handle(
        &self,
        request: &mut Request<'_>,
        responder: Responder<'_>,
        routes: &Routes,
        access: &Arc<Access>,
        directories: &Directories,
    ) -> io::Result<()> {
        let Some(holder) = Holder::of_any_scheme(request, access) else {
            let schemes = HeaderValue::from_static("Basic realm=\"Posse\", Bearer");
            let responder = responder.header(header::WWW_AUTHENTICATE, schemes);
            let text = "a token is needed, as bearer or as the password of any user";
            let error = ApiError::new(ErrorCode::NoToken, text);
            return fail(responder, &error);
        };
        responder.hold_connection();
        if request.method != Method::POST {
            let responder = responder.header(header::ALLOW, HeaderValue::from_static("POST"));
            let text = "this route needs another method";
            return refuse(responder, StatusCode::METHOD_NOT_ALLOWED, text);
        }
        let responder = responder.header(SESSION_ID, self.session_id.clone());
        if request.headers.get(SESSION_ID) != Some(&self.session_id) {
            let text = "send the X-Transmission-Session-Id of this response";
            return refuse(responder, StatusCode::CONFLICT, text);
        }
        let body = match request.body() {
            Ok(body) => body,
            Err(error) => return refuse_body(responder, error),
        };
        let Ok(asked) = serde_json::from_slice::<Asked>(&body) else {
            return refuse(responder, StatusCode::BAD_REQUEST, "the body has no method");
        };
        let caller = Bounded { holder: &holder, directories };
        let call = Call { rpc: self, routes, caller: &caller, socket: responder.socket() };
        let (result, arguments) = match call.carry_out(&asked) {
            Ok(arguments) => ("success".to_owned(), arguments),
            Err(Problem::NotAllowed(error)) => return fail(responder, &error),
            Err(Problem::Told(error)) => (error.message, json!({})),
        };
        answer(responder, StatusCode::OK, &Answer { result, arguments, tag: asked.tag })
    }
}

impl Call<'_> {
    /// Carries a method out.
    fn carry_out(&self, asked: &Asked) -> Result<Value, Problem> {
        let Some((method, needs)) = METHODS.iter().find(|(name, _)| *name == asked.method) else {
            return Err(ApiError::bad_argument("method name not recognized").into());
        };
        if *needs > self.caller.rights() {
            let text = "this token may look and change nothing";
            return Err(Problem::NotAllowed(ApiError::new(ErrorCode::NotAllowed, text)));
        }
        let arguments = &asked.arguments;
        let done = match *method {
            "torrent-get" => self.torrent_get(arguments),
            "session-get" => self.session_get(arguments),
            "session-stats" => self.session_stats(),
            "free-space" => self.free_space(arguments),
            "torrent-add" => self.torrent_add(arguments),
            "torrent-start" => self.torrent_start(arguments, false),
            "torrent-start-now" => self.torrent_start(arguments, true),
            "torrent-stop" => self.torrent_stop(arguments),
            "torrent-remove" => self.torrent_remove(arguments),
            "torrent-set" => self.torrent_set(arguments),
            "queue-move-top" => self.queue_move_top(arguments),
            "session-set" => self.session_set(arguments),
            other => Err(ApiError::bad_argument(format!("{other} is not served"))),
        };
        done.map_err(Problem::Told)
    }

    /// Has the client carry out a command that the caller may give.
    fn command(&self, command: Command) -> Result<Reply, ApiError> {
        self.routes.carry_out(command, self.caller, self.socket.clone())
    }

    /// All torrents: unfinished downloads, and shares.
    fn torrents(&self) -> Result<Vec<Torrent>, ApiError> {
        // Locked before the snapshot is taken, so that newer snapshots are numbered after older
        // ones. Nothing here waits for a tracker.
        let mut table = self.rpc.table.lock();
        let snapshot = self.rpc.api.snapshot()?;
        if snapshot.account.is_none() {
            let text = "nobody is logged in; `login` at the prompt or on the page";
            return Err(ApiError::new(ErrorCode::Refused, text));
        }
        let (mut uploads, mut after) = (Vec::new(), None);
        loop {
            let listing = Listing { after, limit: None };
            let page = self.command(Command::ShowUploads { listing })?.uploads()?;
            uploads.extend(page.entries);
            after = page.next;
            if !page.more || after.is_none() {
                break;
            }
        }
        Ok(table.number(snapshot.downloads, uploads, Instant::now()))
    }

    fn torrent_get(&self, arguments: &Arguments) -> Result<Value, ApiError> {
        let GetTorrents { ids, fields, format } = request::read(arguments)?;
        if fields.is_empty() {
            return Err(ApiError::bad_argument("no fields specified"));
        }
        let torrents = self.torrents()?;
        let chosen: Vec<&Torrent> = torrents
            .iter()
            .filter(|torrent| match &ids {
                None => true,
                Some(ids) if ids.is_recent() => torrent.is_recent,
                Some(ids) => ids.name(torrent.id, &torrent.hash),
            })
            .collect();
        let has_parts = chosen.len() <= PARTS_MAX;
        let objects = chosen.into_iter().map(|torrent| {
            let pairs = fields.iter().filter_map(|name| Some((name.clone(), torrent.field(name)?)));
            let mut object: Map<String, Value> = pairs.collect();
            if has_parts {
                object.extend(self.parts(torrent, fields.iter()));
            }
            object
        });
        let shown: Vec<Value> = match format.as_deref() {
            Some("table") => {
                // The fields that are known, then a row a torrent.
                let is_known = |name: &&String| fields::is_known(name) || parts::is_part(name);
                let known: Vec<&String> = fields.iter().filter(is_known).collect();
                let row = |object: Map<String, Value>| {
                    known.iter().map(|name| object.get(*name).cloned()).collect::<Value>()
                };
                std::iter::once(json!(known)).chain(objects.map(row)).collect()
            }
            _ => objects.map(Value::Object).collect(),
        };
        let mut value = json!({ "torrents": shown });
        if ids.is_some_and(|ids| ids.is_recent()) {
            value["removed"] = json!(self.rpc.table.lock().removed(Instant::now()));
        }
        Ok(value)
    }
}
