//! The page against browsers and programs without rights.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::client::api::samples::Scripted;
use crate::client::api::{Command, Event, Update};
use crate::client::routes::{ROOT, ROUTES};
use crate::http::Method;
use crate::http::access::Rights;

const PATIENCE: Duration = Duration::from_secs(30);

struct Stage {
    client: Arc<Scripted>,
    access: Arc<Access>,
    page: PageServer,
    address: SocketAddr,
    home: tempfile::TempDir,
    data: tempfile::TempDir,
}

fn config() -> PageConfig {
    PageConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        takes_any_port: false,
        tls: None,
        origins: vec!["https://posse.example/base".into()],
    }
}

impl Stage {
    fn new() -> Self {
        Self::with_data_in(None)
    }

    /// With the data directory in the home directory, or elsewhere.
    fn with_data_in(place: Option<tempfile::TempDir>) -> Self {
        let data = match &place {
            Some(home) => tempfile::Builder::new().prefix("data").tempdir_in(home.path()),
            None => tempfile::tempdir(),
        }
        .unwrap();
        let home = place.unwrap_or_else(|| tempfile::tempdir().unwrap());
        let (client, access) =
            (Arc::new(Scripted::default()), Arc::new(Access::open(data.path()).unwrap()));
        let directories = [home.path().to_owned()];
        let page = start(client.clone(), access.clone(), &config(), &directories, &[]).unwrap();
        let address = page.address;
        Self { client, access, page, address, home, data }
    }

    fn token(&self, rights: Rights) -> String {
        let name = format!("t{}", self.access.tokens.list().len());
        self.access.tokens.create(&name, rights, None, None).unwrap().secret
    }

    /// Sends a request and reads the response to its end.
    fn ask(&self, method: &str, path: &str, token: &str, more: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let token = match token {
            "" => String::new(),
            token => format!("authorization: Bearer {token}\r\n"),
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{token}{more}content-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // What is refused may not be read to its end.
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Answer::of(&answer)
    }

    fn get(&self, path: &str, token: &str) -> Answer {
        self.ask("GET", path, token, "", b"")
    }

    fn drop(&self, directory: &str, name: &str, token: &str, body: &[u8]) -> Answer {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("directory", directory), ("name", name), ("group", "g")])
            .finish();
        self.ask("PUT", &format!("{ROOT}drops?{query}"), token, "", body)
    }

    fn post(&self, path: &str, token: &str, value: &Value) -> Answer {
        self.ask("POST", path, token, "", value.to_string().as_bytes())
    }
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn of(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Self { status, head, body: bytes[end + 4..].to_vec() }
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

#[test]
fn every_route_needs_a_valid_token_with_its_rights() {
    let stage = Stage::new();
    let (read, manage) = (stage.token(Rights::Read), stage.token(Rights::Manage));
    let ended = stage.access.tokens.create("ended", Rights::Manage, Some(0), None).unwrap().secret;
    let revoked = stage.token(Rights::Manage);
    let id = stage.access.tokens.authorize(&revoked).unwrap().token_id;
    stage.access.tokens.revoke(&id).unwrap();
    let more = [(Method::POST, "link", Rights::Read), (Method::GET, "no/such", Rights::Read)];
    let routes = ROUTES.iter().map(|route| (route.method.clone(), route.path, route.needs));
    for (method, path, needs) in routes.chain(more) {
        // An endless answer is looked at by its head alone.
        if path == "events" {
            continue;
        }
        let path = format!("{ROOT}{path}");
        for wrong in ["", "x", &ended, &revoked, &manage[..manage.len() - 1]] {
            let answer = stage.ask(method.as_str(), &path, wrong, "", b"{}");
            assert_eq!(answer.status, 401, "{method} {path} {wrong}: {}", answer.head);
            assert!(answer.head.contains("www-authenticate: Bearer"), "{}", answer.head);
        }
        let two = format!("authorization: Bearer {manage}\r\n");
        assert_eq!(stage.ask(method.as_str(), &path, "x", &two, b"{}").status, 401);
        let looks = stage.ask(method.as_str(), &path, &read, "", b"{}").status;
        assert_eq!(looks == 403, needs > Rights::Read, "{method} {path}: {looks}");
        let manages = stage.ask(method.as_str(), &path, &manage, "", b"{}").status;
        assert!(!matches!(manages, 401 | 403), "{method} {path}: {manages}");
    }
    let is_look = |command: &Command| {
        matches!(command, Command::ShowPeers { .. } | Command::ShowPieces { .. })
    };
    assert!(stage.client.asked.lock().iter().all(is_look));
    assert_eq!(stage.get(&format!("{ROOT}events"), "x").status, 401);
}

#[test]
fn a_token_that_may_look_changes_nothing() {
    let stage = Stage::new();
    let (read, manage) = (stage.token(Rights::Read), stage.token(Rights::Manage));
    let command = format!("{ROOT}command");
    let whoami = json!({"command": "whoami"});
    assert_eq!(stage.post(&command, &read, &whoami).status, 200);
    for changing in [
        json!({"command": "logout"}),
        json!({"command": "page"}),
        json!({"command": "create_token", "name": "mine", "rights": "manage"}),
        json!({"command": "shutdown"}),
    ] {
        let answer = stage.post(&command, &read, &changing);
        assert_eq!(answer.status, 403, "{changing}");
        assert_eq!(answer.json()["error"]["code"], "not_allowed");
        assert_eq!(stage.post(&command, &manage, &changing).status, 200, "{changing}");
    }
    assert_eq!(stage.client.asked.lock().len(), 5);
}

#[test]
fn transmissions_rpc_wants_a_token_and_the_id_of_this_run() {
    use base64::Engine as _;
    let stage = Stage::new();
    let secret = stage.token(Rights::Read);
    let basic = |secret: &str| {
        let text = base64::prelude::BASE64_STANDARD.encode(format!("posse:{secret}"));
        format!("authorization: Basic {text}\r\n")
    };
    let body = br#"{"method":"session-get","tag":7}"#;
    for path in ["/transmission/rpc", "/transmission/rpc/", "/base/transmission/rpc"] {
        let ask = |more: &str| stage.ask("POST", path, "", more, body);
        for wrong in ["", &basic("x"), "authorization: Basic ?\r\n"] {
            let answer = ask(wrong);
            assert_eq!(answer.status, 401, "{path} {wrong}");
            assert!(answer.head.contains("www-authenticate: Basic realm"), "{}", answer.head);
        }
        let answer = ask(&basic(&secret));
        assert_eq!(answer.status, 409);
        let name = "x-transmission-session-id: ";
        let id = answer.head.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
        assert_eq!(ask(&format!("{}{name}{id}0\r\n", basic(&secret))).status, 409);
        let answer = ask(&format!("{}{name}{id}\r\n", basic(&secret)));
        assert_eq!((answer.status, &answer.json()["tag"]), (200, &json!(7)));
        assert_eq!(answer.json()["result"], "success");
        let bearer = stage.ask("POST", path, &secret, &format!("{name}{id}\r\n"), body);
        assert_eq!(bearer.status, 200);
        let evil = format!("{}{name}{id}\r\norigin: https://evil.example\r\n", basic(&secret));
        assert_eq!(ask(&evil).status, 403);
        assert_eq!(stage.ask("GET", path, &secret, "", b"").status, 405);
        let remove = br#"{"method":"torrent-remove"}"#;
        let more = format!("{name}{id}\r\n");
        let answer = stage.ask("POST", path, &secret, &more, remove);
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (403, &json!("not_allowed")));
    }
    // A password opens nothing else.
    let snapshot = stage.ask("GET", &format!("{ROOT}snapshot"), "", &basic(&secret), b"");
    assert_eq!(snapshot.status, 401);
}

#[test]
fn what_a_token_makes_ends_with_it() {
    let stage = Stage::new();
    let lasting = stage.token(Rights::Manage);
    let ending = stage.access.tokens.create("ending", Rights::Manage, Some(7), None).unwrap();
    let command = format!("{ROOT}command");
    let make = json!({"command": "create_token", "name": "n", "rights": "read", "days": 30});
    let soon = json!({"command": "page", "until_ms": 5});
    for (token, body, want) in [
        (&lasting, &make, None),
        (&ending.secret, &make, ending.entry.expires_ms),
        (&ending.secret, &json!({"command": "page"}), ending.entry.expires_ms),
        (&ending.secret, &soon, Some(5)),
    ] {
        assert_eq!(stage.post(&command, token, body).status, 200);
        let mut asked = stage.client.asked.lock().pop().unwrap();
        assert_eq!(asked.until_mut(), Some(&mut want.clone()), "{body}");
    }
}

#[test]
fn a_code_is_traded_for_a_token_one_time() {
    let stage = Stage::new();
    let link = stage.access.link(None).unwrap().unwrap();
    let code = link.strip_prefix("https://posse.example/base/#code=").expect("the named origin");
    let session = format!("{ROOT}session");
    let answer = stage.post(&session, "", &json!({"code": code}));
    assert_eq!(answer.status, 200);
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(answer.json()["rights"], "manage");
    assert_eq!(stage.get(&format!("{ROOT}snapshot"), &token).status, 200);
    for bad in [json!({"code": code}), json!({"code": ""})] {
        assert_eq!(stage.post(&session, "", &bad).status, 401, "{bad}");
    }
    assert_eq!(stage.post(&session, "", &json!({})).status, 400);
}

#[test]
fn the_page_is_served_with_headers_that_bind_it_and_is_not_sent_twice() {
    let stage = Stage::new();
    for path in ["/", "/index.html", "/base/"] {
        let answer = stage.get(path, "");
        assert_eq!(answer.status, 200, "{path}");
        for header in [
            "content-type: text/html; charset=utf-8",
            "content-security-policy: default-src 'none'; script-src 'self'",
            "referrer-policy: no-referrer",
            "x-content-type-options: nosniff",
            "x-frame-options: DENY",
        ] {
            assert!(answer.head.contains(header), "{header} is missing: {}", answer.head);
        }
    }
    let answer = stage.get("/base", "");
    assert!(answer.status == 308 && answer.head.contains("location: /base/"), "{}", answer.head);
    let answer = stage.ask("GET", "/main.js", "", "accept-encoding: gzip\r\n", b"");
    assert!(answer.head.contains("content-encoding: gzip"), "{}", answer.head);
    let etag = answer.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    let again = format!("accept-encoding: gzip\r\nif-none-match: \"x\", {etag}\r\n");
    let again = stage.ask("GET", "/main.js", "", &again, b"");
    assert_eq!((again.status, again.body.len()), (304, 0));
    for path in ["/../Cargo.toml", "/%2e%2e/main.js", "/no", "/style/", "//main.js/", "/content/x"]
    {
        assert_eq!(stage.get(path, "").status, 404, "{path}");
    }
    assert_eq!(stage.ask("POST", "/", "", "", b"").status, 405);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(stage.get(path, "").body, b"ok\n", "{path}");
    }
    // Nothing was asked that costs more with each download.
    assert_eq!(*stage.client.asked.lock(), [Command::Whoami]);
}

#[test]
fn another_site_is_refused_before_its_token_is_looked_at() {
    let stage = Stage::new();
    let token = stage.token(Rights::Manage);
    let path = format!("{ROOT}command");
    let body = json!({"command": "logout"}).to_string();
    for (more, status) in [
        ("origin: https://evil.example\r\n", 403),
        ("sec-fetch-site: cross-site\r\n", 403),
        ("origin: null\r\n", 403),
        ("origin: https://posse.example\r\n", 200),
    ] {
        assert_eq!(
            stage.ask("POST", &path, &token, more, body.as_bytes()).status,
            status,
            "{more}"
        );
    }
    assert_eq!(stage.client.asked.lock().len(), 1);
}

#[test]
fn paths_stay_in_the_directories_of_the_page() {
    let stage = Stage::new();
    let token = stage.token(Rights::Manage);
    let home = stage.home.path().canonicalize().unwrap();
    std::fs::write(home.join("a & b.txt"), "x").unwrap();
    std::fs::create_dir(home.join("sub")).unwrap();
    std::fs::write(home.join(".hidden"), "x").unwrap();
    std::os::unix::fs::symlink("/etc", home.join("etc")).unwrap();
    let command = format!("{ROOT}command");
    let upload = |path: &str| {
        stage.post(&command, &token, &json!({"command": "upload_file", "path": path, "group": "g"}))
    };
    let own = home.join("a & b.txt");
    assert_eq!(upload(own.to_str().unwrap()).json()["error"]["code"], "quota", "it was asked");
    let asked = stage.client.asked.lock().last().cloned();
    assert!(
        matches!(asked, Some(Command::UploadFile { is_resolved: true, .. })),
        "a link that is put there is not followed"
    );
    for outside in ["/etc/passwd", home.join("etc/passwd").to_str().unwrap(), "/"] {
        let answer = upload(outside);
        assert_eq!(
            (answer.status, answer.json()["error"]["code"].as_str()),
            (403, Some("not_allowed"))
        );
    }
    let download =
        json!({"command": "download_file", "group": "g", "file": "f", "destination": "/etc/f"});
    assert_eq!(stage.post(&command, &token, &download).status, 403);
    let list = |path: &str| {
        let query: String = form_urlencoded::byte_serialize(path.as_bytes()).collect();
        stage.get(&format!("{ROOT}directories?path={query}"), &token)
    };
    let roots = list("").json();
    assert_eq!(roots["roots"], json!([home.to_str().unwrap()]));
    let listed = list(home.to_str().unwrap()).json();
    let names: Vec<&str> =
        listed["entries"].as_array().unwrap().iter().filter_map(|e| e["name"].as_str()).collect();
    assert_eq!(names, ["sub", "a & b.txt"]);
    assert_eq!(listed["parent"], Value::Null);
    let parent = list(home.join("sub").to_str().unwrap()).json();
    assert_eq!(parent["parent"].as_str(), home.to_str());
    for outside in
        ["/", "/etc", home.join("etc").to_str().unwrap(), home.join("..").to_str().unwrap()]
    {
        assert_eq!(list(outside).status, 403, "{outside}");
    }
}

#[test]
fn keys_and_what_is_hidden_are_out_of_reach() {
    let stage = Stage::with_data_in(Some(tempfile::tempdir().unwrap()));
    let token = stage.token(Rights::Manage);
    let home = stage.home.path().canonicalize().unwrap();
    let data = stage.data.path().canonicalize().unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    std::fs::create_dir(home.join(".ssh")).unwrap();
    let hidden = home.join(".ssh");
    for file in [data.join("device.key"), hidden.join("id"), home.join(".profile")] {
        std::fs::write(&file, "x").unwrap();
    }
    let command = |value: Value| stage.post(&format!("{ROOT}command"), &token, &value);
    for file in [data.join("device.key"), data.join("tokens.json"), hidden.join("id")] {
        let upload = json!({"command": "upload_file", "path": path(&file), "group": "g"});
        assert_eq!(command(upload).status, 403, "{file:?}");
    }
    for (file, destination, status) in [
        ("f", data.clone(), 403),
        ("f", data.join("new"), 403),
        ("f", hidden.join("authorized_keys"), 403),
        (".bashrc", home.clone(), 403),
        ("a/b", home.clone(), 400),
        // Outside, a directory that exists is not told from one that does not.
        ("a/b", "/etc".into(), 403),
        ("a/b", "/no such directory".into(), 403),
        ("f", home.clone(), 200),
        (".bashrc", home.join("bashrc"), 200),
    ] {
        let download = json!({"command": "download_file", "group": "g", "file": file,
            "destination": path(&destination)});
        assert_eq!(command(download).status, status, "{file} {destination:?}");
    }
    for (directory, name) in [(&data, "x"), (&hidden, "x"), (&home, ".x")] {
        assert_eq!(stage.drop(&path(directory), name, &token, b"x").status, 403, "{name}");
        assert!(!directory.join(name).exists());
    }
    let list = |dir: &Path| {
        let query: String = form_urlencoded::byte_serialize(path(dir).as_bytes()).collect();
        stage.get(&format!("{ROOT}directories?path={query}"), &token)
    };
    assert_eq!(list(&home).json()["entries"], json!([]));
    assert_eq!((list(&data).status, list(&hidden).status), (403, 403));
}

#[test]
fn a_dropped_file_is_stored_whole_or_not_at_all() {
    let stage = Stage::new();
    let token = stage.token(Rights::Manage);
    let home = stage.home.path().canonicalize().unwrap();
    let text = home.to_str().unwrap();
    let drop = |directory: &str, name: &str, body: &[u8]| stage.drop(directory, name, &token, body);
    let body = vec![7; 3 << 20];
    // The scripted client refuses every share: the file stays, and the answer says so.
    let answer = drop(text, "ä b.bin", &body);
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("is stored, but not shared: you are full"), "{message}");
    assert_eq!(std::fs::read(home.join("ä b.bin")).unwrap(), body);
    assert_eq!(drop(text, "ä b.bin", b"other").status, 400, "nothing is overwritten");
    for bad in ["../x", "a/b", "..", "", "a\nb", &"x".repeat(256)] {
        assert_eq!(drop(text, bad, b"x").status, 400, "{bad:?}");
    }
    assert_eq!(drop("/etc", "x", b"x").status, 403);
    assert_eq!(drop("/no/such", "x", b"x").status, 403);
    // The browser goes away in the middle.
    let mut stream = TcpStream::connect(stage.address).unwrap();
    let head = format!(
        "PUT {ROOT}drops?directory={text}&name=half&group=g HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n\
         expect: 100-continue\r\ncontent-length: 100000\r\n\r\n",
        stage.address
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut proceed = [0; 25];
    stream.read_exact(&mut proceed).unwrap();
    stream.write_all(&[7; 50000]).unwrap();
    stream.shutdown(std::net::Shutdown::Both).unwrap();
    // More than any disk has.
    let more = format!("expect: 100-continue\r\ncontent-length: {}\r\n", 1_u64 << 62);
    let path = format!("{ROOT}drops?directory={text}&name=huge&group=g");
    let mut stream = TcpStream::connect(stage.address).unwrap();
    let head = format!(
        "PUT {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n{more}\r\n",
        stage.address
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = Answer::of(&answer);
    let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(answer.status == 400 && message.contains("no room"), "{}: {message}", answer.status);
    // It waits for those who are served.
    stage.page.stop();
    let names: Vec<_> = std::fs::read_dir(&home).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["ä b.bin"]);
}

#[test]
fn a_link_is_made_to_a_content_alone() {
    let stage = Stage::new();
    let token = stage.token(Rights::Read);
    let make = |path: &str| stage.post(&format!("{ROOT}link"), &token, &json!({"path": path}));
    let made = make("groups/the%20lab/files/a.mp4/content");
    let url = format!("/{}", made.json()["url"].as_str().unwrap());
    let head = stage.ask("HEAD", &url, "", "", b"");
    assert!(head.status == 200 && head.head.contains("video/mp4"), "{}", head.head);
    let long = format!("groups/lab/files/{}/content", "x".repeat(links::PATH_LEN_MAX));
    for bad in ["groups/content", "groups/a/b/files/c/content", "snapshot", "", &long] {
        assert_eq!(make(bad).status, 400, "{bad:.40}");
    }
}

#[test]
fn the_head_of_a_stream_of_events_is_an_answer_of_its_own() {
    let stage = Stage::new();
    let begun = std::time::Instant::now();
    let answer = stage.ask("HEAD", &format!("{ROOT}events"), &stage.token(Rights::Read), "", b"");
    assert!(answer.status == 200 && answer.head.contains("text/event-stream"), "{}", answer.head);
    assert!(answer.body.is_empty() && begun.elapsed() < PATIENCE / 2);
}

#[test]
fn events_end_with_their_token() {
    let stage = Stage::new();
    let secret = stage.token(Rights::Read);
    let mut stream = TcpStream::connect(stage.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "GET {ROOT}events HTTP/1.1\r\nhost: {}\r\nauthorization: bearer {secret}\r\n\r\n",
        stage.address
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut seen = Vec::new();
    let mut part = [0; 4096];
    while !String::from_utf8_lossy(&seen).contains("event: snapshot") {
        let count = stream.read(&mut part).unwrap();
        seen.extend_from_slice(&part[..count]);
    }
    let id = stage.access.tokens.authorize(&secret).unwrap().token_id;
    stage.access.tokens.revoke(&id).unwrap();
    let update = Update { revision: 8, event: Event::LoggedOut };
    stage.client.subscribers.lock()[0].send(update).unwrap();
    let mut rest = Vec::new();
    // The connection can be used again, so it stays open: the last chunk is the end.
    while !rest.ends_with(b"0\r\n\r\n") {
        let count = stream.read(&mut part).unwrap();
        assert!(count > 0);
        rest.extend_from_slice(&part[..count]);
    }
    assert!(!String::from_utf8_lossy(&rest).contains("logged_out"));
}

#[test]
fn commands_and_contents_that_wait_end_with_their_token() {
    let stage = Stage::new();
    let secret = stage.token(Rights::Read);
    let id = stage.access.tokens.authorize(&secret).unwrap().token_id;
    let mut content = TcpStream::connect(stage.address).unwrap();
    content.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "GET {ROOT}groups/the%20lab/files/a.mp4/content HTTP/1.1\r\nhost: {}\r\n\
         authorization: Bearer {secret}\r\n\r\n",
        stage.address
    );
    content.write_all(head.as_bytes()).unwrap();
    // The second mebibyte does not come.
    content.read_exact(&mut vec![0; 1 << 20]).unwrap();
    let asked = json!({"command": "why", "group": "g", "file": "f"});
    std::thread::scope(|scope| {
        let command = scope.spawn(|| stage.post(&format!("{ROOT}command"), &secret, &asked));
        let begun = std::time::Instant::now();
        while stage.client.asked.lock().is_empty() {
            assert!(begun.elapsed() < PATIENCE);
            std::thread::yield_now();
        }
        let begun = std::time::Instant::now();
        stage.access.tokens.revoke(&id).unwrap();
        assert_eq!(command.join().unwrap().json()["error"]["code"], "interrupted");
        let mut rest = Vec::new();
        content.read_to_end(&mut rest).unwrap();
        assert!(rest.len() < 1 << 20 && begun.elapsed() < PATIENCE / 2, "{}", rest.len());
    });
}

#[test]
fn a_drop_whose_token_ends_is_not_stored() {
    let stage = Stage::new();
    let secret = stage.token(Rights::Manage);
    let id = stage.access.tokens.authorize(&secret).unwrap().token_id;
    let home = stage.home.path().canonicalize().unwrap();
    let mut stream = TcpStream::connect(stage.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "PUT {ROOT}drops?directory={}&name=late&group=g HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
         expect: 100-continue\r\nauthorization: Bearer {secret}\r\ncontent-length: 100000\r\n\r\n",
        home.display(),
        stage.address
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut proceed = [0; 25];
    stream.read_exact(&mut proceed).unwrap();
    stage.access.tokens.revoke(&id).unwrap();
    let _ = stream.write_all(&[7; 100_000]);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = Answer::of(&answer);
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (403, &json!("not_allowed")));
    assert_eq!(std::fs::read_dir(&home).unwrap().count(), 0);
    assert!(stage.client.asked.lock().is_empty());
}

fn pem(label: &str, bytes: &[u8]) -> String {
    pem::encode(&pem::Pem::new(label, bytes))
}

#[test]
fn the_page_needs_tls_elsewhere_than_on_loopback() {
    let stage = Stage::new();
    let (client, access): (Arc<Scripted>, _) = (Arc::default(), stage.access.clone());
    let error = |config: PageConfig| {
        start(client.clone(), access.clone(), &config, &[], &[]).err().map(|e| e.to_string())
    };
    let home = stage.home.path();
    let open = PageConfig { listen: "0.0.0.0:0".parse().unwrap(), ..config() };
    assert!(error(open.clone()).unwrap().contains("--page-cert"));
    let (cert, key) = (home.join("cert.pem"), home.join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&cert, pem("CERTIFICATE", made.cert.der())).unwrap();
    let tls = Some((cert.clone(), key.clone()));
    assert!(error(PageConfig { tls: tls.clone(), ..open.clone() }).unwrap().contains("key.pem"));
    std::fs::write(&key, pem("PRIVATE KEY", &made.signing_key.serialize_der())).unwrap();
    let page = start(client.clone(), access.clone(), &PageConfig { tls, ..open.clone() }, &[], &[])
        .unwrap();
    let port = page.address.port();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let connection = rustls::ClientConnection::new(Arc::new(tls), name).unwrap();
    let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, socket);
    let head = format!("GET / HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(Answer::of(&answer).status, 200);
    // Who speaks in clear is told nothing.
    let mut clear = TcpStream::connect(("127.0.0.1", port)).unwrap();
    clear.set_read_timeout(Some(PATIENCE)).unwrap();
    clear.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = clear.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    let missing = start(client.clone(), access.clone(), &config(), &["/no/such".into()], &[]);
    assert!(missing.err().unwrap().to_string().contains("/no/such"));
    let taken = PageConfig { listen: stage.address, ..config() };
    assert!(error(taken.clone()).unwrap().contains("--page"));
    assert!(error(PageConfig { takes_any_port: true, ..taken }).is_none());
}

/// An open tab may have shown its token to the program that has the port.
#[test]
fn browsers_are_logged_out_when_the_port_is_taken() {
    let (stage, data) = (Stage::new(), tempfile::tempdir().unwrap());
    let access = Arc::new(Access::open(data.path()).unwrap());
    let browser = access.tokens.create_for_page(None).unwrap();
    let program = access.tokens.create("program", Rights::Read, None, None).unwrap();
    let start_at = |listen| {
        let config = PageConfig { listen, takes_any_port: true, ..config() };
        start(Arc::<Scripted>::default(), access.clone(), &config, &[], &[]).unwrap()
    };
    drop(start_at("127.0.0.1:0".parse().unwrap()));
    assert!(access.tokens.authorize(&browser.secret).is_some());
    assert_ne!(start_at(stage.address).address, stage.address);
    assert!(access.tokens.authorize(&browser.secret).is_none());
    assert!(access.tokens.authorize(&program.secret).is_some());
    // After a restart, too.
    let again = Access::open(data.path()).unwrap();
    assert_eq!(again.tokens.list().len(), 1);
}

#[test]
fn a_page_that_ends_interrupts_commands_and_lets_go_of_its_port() {
    let stage = Stage::new();
    let token = stage.token(Rights::Manage);
    let asked = json!({"command": "why", "group": "g", "file": "f"});
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| stage.post(&format!("{ROOT}command"), &token, &asked));
        let begun = std::time::Instant::now();
        while !matches!(stage.client.asked.lock().first(), Some(Command::Why { .. })) {
            assert!(begun.elapsed() < PATIENCE);
            std::thread::yield_now();
        }
        stage.page.stop();
        assert_eq!(waiting.join().unwrap().json()["error"]["code"], "interrupted");
    });
    assert!(TcpStream::connect(stage.address).is_err());
}
