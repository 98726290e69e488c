//! The operator's page: the operator's commands over HTTP, and the tracker's metrics.
//!
//! **Invariant:** a command does over HTTP what it does at the console, and no more. An answer has at
//! most [`LINES_MAX`] lines.

mod openapi;

use std::io;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use include_dir::{Dir, include_dir};
use log::info;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::admin::{AdminError, Line, carry_out, is_read};
use super::config::{TrackerError, TrackerStatus};
use super::relay_config::RelayStatus;
use super::shared::Shared;
use crate::http::access::Rights;
use crate::http::page::{Code, Holder, PageConfig, PageRoutes, PageServer, refuse};
use crate::http::{
    BodyError, HeaderValue, Method, Metrics, Request, Responder, StatusCode, header,
};
use crate::types::{TrackerState, escape};

/// Maximum number of lines in one answer.
const LINES_MAX: usize = 10_000;
/// Lines of an answer if the request does not say.
const LINES: usize = 1000;
/// Time for which a tracker may be degraded and still count as ready: a restart of another takes
/// less.
const DEGRADED_MAX: Duration = Duration::from_secs(60);

/// Interval at which the core's thread is asked whether the tracker is ready: no token is needed.
const READY_INTERVAL: Duration = Duration::from_secs(1);

/// The page's files.
static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/tracker/page/assets");

/// Serves the page.
///
/// # Errors
/// [`TrackerError::Page`].
pub(super) fn start(shared: &Arc<Shared>, config: &PageConfig) -> Result<PageServer, TrackerError> {
    let access = shared.access.clone().ok_or(TrackerError::Core)?;
    let routes = Operator { shared: shared.clone(), readiness: Recent(Mutex::default()) };
    Ok(PageServer::start(config, access, &FILES, Arc::new(routes))?)
}

struct Operator {
    shared: Arc<Shared>,
    readiness: Recent<Result<(), String>>,
}

/// A value that was made within [`READY_INTERVAL`].
struct Recent<T>(Mutex<Option<(Instant, T)>>);

impl<T: Clone> Recent<T> {
    fn get(&self, now: Instant, make: impl FnOnce() -> T) -> T {
        let mut made = self.0.lock();
        match &*made {
            Some((at, value)) if now.saturating_duration_since(*at) < READY_INTERVAL => {
                value.clone()
            }
            // Under the lock: those who ask meanwhile get the same.
            _ => made.insert((now, make())).1.clone(),
        }
    }
}

/// The OpenAPI document of the page.
static DOCUMENT: LazyLock<String> = LazyLock::new(openapi::describe);

/// `POST admin`.
#[derive(Deserialize, JsonSchema)]
struct Asked {
    /// The first word of the command.
    command: String,
    /// Its other words.
    #[serde(default)]
    arguments: Vec<String>,
    /// The maximum number of lines; 10,000 at most.
    #[serde(default)]
    limit: Option<usize>,
}

/// What it answers.
#[derive(Serialize, JsonSchema)]
struct Answer {
    /// One object a line of the command's output.
    #[schemars(with = "Vec<serde_json::Map<String, Value>>")]
    lines: Vec<Value>,
    /// There were more.
    more: bool,
}

fn send(responder: Responder<'_>, status: StatusCode, value: &impl Serialize) -> io::Result<()> {
    responder.send(status, "application/json", format!("{}\n", json!(value)).as_bytes())
}

impl Operator {
    fn status(&self) -> Option<TrackerStatus> {
        let shared = self.shared.clone();
        self.shared.core.ask(move |view| shared.status(view))
    }

    fn admin(
        &self,
        request: &mut Request<'_>,
        responder: Responder<'_>,
        holder: &Holder,
    ) -> io::Result<()> {
        let body = match request.body() {
            Ok(body) => body,
            Err(BodyError::Refused(status)) => {
                return refuse(responder, status, Code::BadArgument, "the body is refused");
            }
            Err(BodyError::Lost(error)) => return Err(error),
        };
        let bad = StatusCode::BAD_REQUEST;
        let Ok(Asked { command, arguments, limit }) = serde_json::from_slice(&body) else {
            return refuse(responder, bad, Code::BadArgument, "the body is no command");
        };
        let words: Vec<String> = std::iter::once(command).chain(arguments).collect();
        match is_read(&words) {
            Ok(is_read) if !is_read && holder.rights() < Rights::Manage => {
                let text = "this token may look and change nothing";
                return refuse(responder, StatusCode::FORBIDDEN, Code::NotAllowed, text);
            }
            Ok(is_read) if !is_read => {
                info!("page: token {}: {}", holder.token_id(), escape(&words[0]));
            }
            Ok(_) => {}
            Err(error) => return refuse(responder, bad, Code::BadArgument, &error.to_string()),
        }
        let max = limit.unwrap_or(LINES).min(LINES_MAX);
        let (mut lines, mut more): (Vec<Value>, bool) = (Vec::new(), false);
        let mut put = |line: Line| {
            if lines.len() >= max {
                more = true;
                return Err(io::Error::other("enough"));
            }
            lines.push(line.json);
            Ok(())
        };
        match carry_out(&self.shared, &words, holder.expires_ms(), &mut put) {
            Err(AdminError::Output(_)) if more => {}
            Ok(()) => {}
            Err(error) => {
                let (status, code) = match error {
                    AdminError::Usage(_) => (bad, Code::BadArgument),
                    AdminError::Refused(_) | AdminError::Unconfirmed => {
                        (StatusCode::CONFLICT, Code::Refused)
                    }
                    AdminError::Late => (StatusCode::SERVICE_UNAVAILABLE, Code::NoAnswer),
                    _ => (StatusCode::INTERNAL_SERVER_ERROR, Code::Failed),
                };
                return refuse(responder, status, code, &error.to_string());
            }
        }
        send(responder, StatusCode::OK, &Answer { lines, more })
    }
}

impl PageRoutes for Operator {
    fn api(
        &self,
        path: &str,
        request: &mut Request<'_>,
        responder: Responder<'_>,
        holder: &Holder,
    ) -> io::Result<()> {
        let other = |responder: Responder<'_>, allowed| {
            let responder = responder.header(header::ALLOW, HeaderValue::from_static(allowed));
            let (status, text) =
                (StatusCode::METHOD_NOT_ALLOWED, "this route needs another method");
            refuse(responder, status, Code::BadArgument, text)
        };
        match (path, &request.method) {
            ("admin", &Method::POST) => self.admin(request, responder, holder),
            ("admin", _) => other(responder, "POST"),
            ("openapi.json", &Method::GET | &Method::HEAD) => {
                responder.send(StatusCode::OK, "application/json", DOCUMENT.as_bytes())
            }
            ("openapi.json", _) => other(responder, "GET, HEAD"),
            _ => refuse(responder, StatusCode::NOT_FOUND, Code::BadArgument, "no such route"),
        }
    }

    fn metrics(&self, responder: Responder<'_>) -> io::Result<()> {
        let Some(status) = self.status() else {
            let (status, text) = (StatusCode::SERVICE_UNAVAILABLE, "the tracker has ended");
            return refuse(responder, status, Code::Failed, text);
        };
        metrics_of(&status).send(responder)
    }

    fn ready(&self) -> Result<(), String> {
        self.readiness.get(Instant::now(), || {
            let status = self.status().ok_or("the tracker has ended")?;
            match status.degraded_for.filter(|time| *time > DEGRADED_MAX) {
                Some(time) => Err(format!("degraded for {} s", time.as_secs())),
                None => Ok(()),
            }
        })
    }
}

fn metrics_of(status: &TrackerStatus) -> Metrics {
    let mut metrics = Metrics::default();
    let counts = status.counts;
    metrics.seconds("uptime", "Time since the start", status.uptime);
    metrics.gauge("users", "Accounts", counts.users);
    metrics.gauge("groups", "Groups", counts.groups);
    metrics.gauge("files", "Listed files", counts.files);
    metrics.gauge("rows", "Rows of the directory", counts.rows);
    metrics.bytes("directory_size", "Size of the directory's rows", counts.bytes);
    metrics.gauge("connections", "Connections of clients and trackers", status.connections as u64);
    metrics.gauge("sessions", "Sessions that are logged in", status.sessions as u64);
    if let Some(RelayStatus { stats, .. }) = status.relay {
        metrics.gauge("relay_pairs", "Pairs of devices that are relayed", stats.sessions as u64);
        let waiting = stats.waiting as u64;
        metrics.gauge("relay_waiting", "Introductions that wait for a device", waiting);
        metrics.counter("relay_pairs_met", "Pairs relayed since the start", stats.sessions_total);
        metrics.counter("relay_bytes", "Bytes relayed since the start", stats.bytes_total);
        metrics.counter("relay_refused", "Introductions refused for a bound", stats.refused_total);
        let strangers = stats.strangers_total;
        metrics.counter("relay_strangers", "Connections that nobody was introduced for", strangers);
    }
    metrics.gauge(
        "degraded",
        "1 while changes are not safe on all trackers",
        status.degraded.into(),
    );
    let degraded_for = status.degraded_for.unwrap_or_default();
    metrics.seconds("degraded_time", "For how long that has been so", degraded_for);
    let number = |number: u32| number.to_string();
    let others: Vec<(String, bool, u64)> = status
        .trackers
        .iter()
        .filter(|tracker| tracker.state != TrackerState::Myself)
        .map(|tracker| (number(tracker.number), tracker.state == TrackerState::Up, tracker.lag))
        .collect();
    let up = others.iter().map(|(number, is_up, _)| (number.as_str(), u64::from(*is_up)));
    metrics.gauges("peer_up", "1 while another tracker is up and in step", "tracker", up);
    let lag = others.iter().map(|(number, _, lag)| (number.as_str(), *lag));
    metrics.gauges("peer_lag", "Changes that another tracker lacks", "tracker", lag);
    metrics
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;
    use crate::tracker::{Tracker, TrackerConfig};
    use crate::trust::KeyPair;
    use crate::types::TrackerInfo;

    struct Stage {
        tracker: Tracker,
        _dir: tempfile::TempDir,
    }

    impl Stage {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let info = TrackerInfo::parse("127.0.0.1:0").unwrap();
            let mut config =
                TrackerConfig::new(info, 1, dir.path(), Arc::new(KeyPair::generate().unwrap()));
            config.page = Some(PageConfig {
                listen: "127.0.0.1:0".parse().unwrap(),
                takes_any_port: false,
                tls: None,
                origins: Vec::new(),
            });
            Self { tracker: Tracker::start(config).unwrap(), _dir: dir }
        }

        fn token(&self, rights: &str) -> String {
            self.command(&["create_token", rights, rights])[0]["token"].as_str().unwrap().to_owned()
        }

        fn command(&self, words: &[&str]) -> Vec<Value> {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let mut lines = Vec::new();
            carry_out(&self.tracker.shared, &words, None, &mut |line| {
                lines.push(line.json);
                Ok(())
            })
            .unwrap();
            lines
        }

        fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> (u16, String) {
            let host = self.tracker.page_url().unwrap().trim_start_matches("http://");
            let host = host.trim_end_matches('/');
            let mut stream = TcpStream::connect(host).unwrap();
            let head = format!(
                "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(head.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
            (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
        }
    }

    #[test]
    fn the_operators_commands_need_a_token_with_their_rights() {
        let stage = Stage::new();
        let (read, manage) = (stage.token("read"), stage.token("manage"));
        let admin = |token: &str, body: &str| stage.ask("POST", "/api/v1/admin", token, body);
        for path in ["/api/v1/admin", "/api/v1/no", "/metrics"] {
            assert_eq!(
                stage.ask("POST", path, "x", "").0,
                if path == "/metrics" { 405 } else { 401 }
            );
            assert_eq!(stage.ask("GET", path, "", "").0, 401, "{path}");
        }
        let (status, body) = admin(&read, r#"{"command":"status"}"#);
        assert_eq!(status, 200);
        let value: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&value["lines"][0]["number"], &value["more"]), (&json!(1), &json!(false)));
        for (body, looks, manages) in [
            (r#"{"command":"accounts"}"#, 200, 200),
            (r#"{"command":"accounts","arguments":["closed"]}"#, 403, 200),
            (r#"{"command":"delete_user","arguments":["nik"]}"#, 403, 409),
            (r#"{"command":"delete_user","arguments":["nik","--yes"]}"#, 403, 500),
            (r#"{"command":"page"}"#, 403, 200),
            (r#"{"command":"fly"}"#, 400, 400),
            ("{}", 400, 400),
        ] {
            assert_eq!(admin(&read, body).0, looks, "{body}");
            assert_eq!(admin(&manage, body).0, manages, "{body}");
        }
        let (_, body) = admin(&read, r#"{"command":"quota","limit":2}"#);
        let value: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((value["lines"].as_array().unwrap().len(), &value["more"]), (2, &json!(true)));
        stage.command(&["revoke_token", "manage"]);
        assert_eq!(admin(&manage, r#"{"command":"status"}"#).0, 401);
        assert_eq!(stage.ask("GET", "/api/v1/admin", &read, "").0, 405);
    }

    #[test]
    fn readiness_is_asked_for_once_a_second() {
        let (recent, begun) = (Recent(Mutex::default()), Instant::now());
        let get = |after_ms, value| recent.get(begun + Duration::from_millis(after_ms), || value);
        assert_eq!([get(0, 1), get(500, 2), get(999, 3)], [1, 1, 1]);
        assert_eq!([get(1000, 4), get(1999, 5)], [4, 4]);
        assert_eq!(get(2000, 6), 6);
    }

    #[test]
    fn metrics_and_health_are_told() {
        let stage = Stage::new();
        let read = stage.token("read");
        let (status, text) = stage.ask("GET", "/metrics", &read, "");
        assert_eq!(status, 200);
        for line in [
            "# TYPE posse_uptime_seconds gauge",
            "posse_users 0",
            "posse_degraded 0",
            "posse_build_info{version=",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is missing:\n{text}");
        }
        for path in ["/healthz", "/readyz"] {
            assert_eq!(stage.ask("GET", path, "", ""), (200, "ok\n".to_owned()), "{path}");
        }
    }
}
