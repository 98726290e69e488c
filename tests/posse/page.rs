//! The page and the HTTP API of a running client, and the page of a running tracker.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Content, FuseDisk, PATIENCE, Process, World, eventually};

/// Starts a client that serves its page at any free port.
fn service(world: &World, name: &str, more: &[&str]) -> Process {
    let arguments = [&["--service", "--json", "--page", "127.0.0.1:0"], more].concat();
    let service = world.spawn(name, &arguments);
    service.wait_out("that it listens", |line| line.contains("\"listening\"").then_some(()));
    service
}

/// A browser, as far as HTTP goes.
struct Browser {
    host: String,
    token: String,
}

impl Browser {
    /// Opens the page by the link that `page` prints at an attached prompt.
    fn open(world: &World, name: &str) -> Self {
        let link = world.client(name).object("page")["url"].as_str().unwrap().to_owned();
        let rest = link.strip_prefix("http://").unwrap();
        let (host, code) = rest.split_once("/#code=").unwrap();
        let mut browser = Self { host: host.to_owned(), token: String::new() };
        let (status, answer) =
            browser.ask("POST", "/api/v1/session", json!({"code": code}).to_string());
        assert_eq!(status, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["token"].as_str().unwrap().clone_into(&mut browser.token);
        browser
    }

    fn ask(&self, method: &str, path: &str, body: impl AsRef<[u8]>) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (host, token, len) = (&self.host, &self.token, body.as_ref().len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
             content-length: {len}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_ref()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn command(&self, command: Value) -> Value {
        let (_, answer) = self.ask("POST", "/api/v1/command", command.to_string());
        serde_json::from_str(&answer).unwrap()
    }

    fn snapshot(&self) -> (u16, Value) {
        let (status, answer) = self.ask("GET", "/api/v1/snapshot", "");
        (status, serde_json::from_str(&answer).unwrap())
    }
}

fn end(service: Process) {
    service.signal(Signal::TERM);
    assert_eq!(service.finish(PATIENCE).status, Some(0));
}

#[test]
fn a_browser_shares_and_fetches_and_stays_logged_in_across_a_restart() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let (nik_home, bob_home) = (world.home("nik"), world.home("bob"));
    let nik = service(&world, "nik", &["--page-directory", nik_home.to_str().unwrap()]);
    let bob = service(&world, "bob", &["--page-directory", bob_home.to_str().unwrap()]);
    let (page, other) = (Browser::open(&world, "nik"), Browser::open(&world, "bob"));
    for (browser, user) in [(&page, "nik"), (&other, "bob")] {
        let login = json!({"command": "login", "user": user, "password": format!("pw-{user}"), "stay": true});
        assert_eq!(browser.command(login)["reply"], "account");
    }
    let content = Content::new("a b&c.bin", 3 << 20, 5);
    let query =
        form(&[("directory", nik_home.to_str().unwrap()), ("name", "a b&c.bin"), ("group", "lab")]);
    let (status, answer) =
        page.ask("PUT", &format!("/api/v1/drops?{query}"), content.read(0, 3 << 20));
    assert_eq!(status, 201, "{answer}");
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["value"]["sha1"], content.sha1());
    let target = bob_home.join("got.bin");
    let fetch = json!({
        "command": "download_file", "group": "lab", "file": "a b&c.bin", "destination": target.to_str()
    });
    assert_eq!(other.command(fetch)["reply"], "download");
    eventually("the file is there", || target.is_file().then_some(()));
    assert_eq!(std::fs::read(&target).unwrap(), content.read(0, 3 << 20));
    // Outside of its directories the page reads and writes nothing.
    let outside = json!({"command": "upload_file", "path": "/etc/hostname", "group": "lab"});
    assert_eq!(page.command(outside)["error"]["code"], "not_allowed");

    // A service that is started again knows the browser; nobody has to log in.
    let port = other.host.rsplit_once(':').unwrap().1.to_owned();
    end(bob);
    let address = format!("127.0.0.1:{port}");
    let bob = world.spawn("bob", &["--service", "--json", "--page", &address]);
    eventually("bob is logged in again", || {
        let host = address.clone();
        TcpStream::connect(&host).ok()?;
        let (status, snapshot) = other.snapshot();
        (status == 200 && snapshot["account"]["user"] == "bob").then_some(())
    });
    let mut prompt = world.client("bob");
    let tokens = prompt.object("tokens")["tokens"].clone();
    let name = tokens[0]["name"].as_str().unwrap().to_owned();
    prompt.ok(&format!("revoke_token '{name}'"), &[]);
    assert_eq!(other.snapshot().0, 401);
    end(bob);
    end(nik);
}

/// Pairs as the query of a URL.
fn form(pairs: &[(&str, &str)]) -> String {
    let escape = |text: &str| -> String {
        let byte = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        };
        text.bytes().map(byte).collect()
    };
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={}", escape(value)));
    pairs.collect::<Vec<_>>().join("&")
}

#[test]
fn a_client_without_a_page_says_how_to_get_one_and_a_page_for_all_needs_tls() {
    let world = World::new(1);
    let setup = world.home("nik").join(".posse/setup.json");
    for arguments in [
        &["--page", "0.0.0.0:0"][..],
        &["--page", "nowhere"],
        &["--page", "127.0.0.1:0", "--page-directory", "/no/such"],
        &["--page", "127.0.0.1:0", "--page-origin", "nowhere"],
    ] {
        let mut process = world.spawn("nik", &[&["--service"], arguments].concat());
        assert_eq!(process.wait_exit(PATIENCE).code(), Some(2), "{arguments:?}");
        // What was refused is not remembered as the way to start.
        assert!(!setup.exists(), "{arguments:?}");
    }
    world.client("nik").refused("page", "--page");
    assert!(setup.exists());
}

#[test]
fn a_service_says_where_its_page_is() {
    let world = World::new(1);
    let service = world.spawn("nik", &["--service", "--page", "127.0.0.1:0"]);
    let url = service.wait_out("where the page is", |line| {
        Some(line.strip_prefix("page ")?.split(' ').next()?.to_owned())
    });
    let link = world.client("nik").object("page")["url"].as_str().unwrap().to_owned();
    assert!(link.starts_with(&url), "{link} is not at {url}");
    end(service);
}

/// Has `promtool` read metrics. It may be missing where no CI runs.
fn check_metrics(text: &str) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut tool = match command.spawn() {
        Ok(tool) => tool,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "promtool: {error}");
            eprintln!("promtool is not installed: metrics are not checked");
            return;
        }
    };
    tool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let done = tool.wait_with_output().unwrap();
    assert!(done.status.success(), "{}\n{text}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_trackers_metrics_are_ones_that_promtool_reads_and_alerts_name() {
    let world = World::with_options(2, &["--page", "127.0.0.1:0"]);
    let admin = |words: &[&str]| -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tracker"));
        command.args(["admin", "--json", "--data-dir"]).arg(world.path().join("tracker1"));
        let done = command.args(words).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        // The last line says that it was carried out.
        let first = done.stdout.split(|byte| *byte == b'\n').next().unwrap();
        serde_json::from_slice(first).unwrap()
    };
    let token = admin(&["create_token", "prometheus"])["token"].as_str().unwrap().to_owned();
    let link = admin(&["page"])["url"].as_str().unwrap().to_owned();
    let host = link.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
    let (status, text) = Browser { host, token }.ask("GET", "/metrics", "");
    assert_eq!(status, 200, "{text}");
    check_metrics(&text);
    for line in ["posse_peer_up{tracker=\"2\"} 1", "posse_degraded_time_seconds 0"] {
        assert!(text.contains(line), "{line} is missing:\n{text}");
    }
    // A rule about a metric that is gone never fires. Those of clients are in their own test.
    let rules = include_str!("../../packaging/prometheus/alerts.yml");
    let named = rules
        .split("posse_")
        .skip(1)
        .map(|rest| rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap());
    let of_clients = ["logged_in", "downloads"];
    for name in named.filter(|name| !of_clients.contains(name)) {
        assert!(text.contains(&format!("\nposse_{name}")), "posse_{name} is missing:\n{text}");
    }
}

#[test]
fn metrics_tell_numbers_and_no_names() {
    let world = World::new(1);
    world.group("lab", &["nik"]);
    let service = service(&world, "nik", &[]);
    let browser = Browser::open(&world, "nik");
    let ready = |status| {
        eventually("readiness", || (browser.ask("GET", "/readyz", "").0 == status).then_some(()));
    };
    ready(503);
    let login = json!({"command": "login", "user": "nik", "password": "pw-nik"});
    assert_eq!(browser.command(login)["reply"], "account");
    ready(200);
    let content = Content::new("secret-name.bin", 1000, 5);
    world.put("nik", &content);
    world.client("nik").ok("upload_file secret-name.bin lab", &[]);
    let (status, text) = browser.ask("GET", "/metrics", "");
    assert_eq!(status, 200);
    for line in ["posse_logged_in 1", "posse_shares 1", "posse_downloads{state=\"running\"} 0"] {
        assert!(text.contains(line), "{line} is missing:\n{text}");
    }
    for name in ["nik", "lab", "secret"] {
        assert!(!text.contains(name), "{name} is told:\n{text}");
    }
    check_metrics(&text);
    end(service);
}

#[test]
fn the_page_is_reached_while_many_idle_connections_are_open() {
    let world = World::new(1);
    let service = service(&world, "nik", &[]);
    let browser = Browser::open(&world, "nik");
    let idle: Vec<TcpStream> =
        (0..200).map(|_| TcpStream::connect(&browser.host).unwrap()).collect();
    // Heads that do not end.
    for stream in idle.iter().take(40) {
        let _ = (&*stream).write_all(b"GET / HTTP/1.1\r\n");
    }
    std::thread::sleep(Duration::from_millis(100));
    eventually("it answers", || {
        let mut stream = TcpStream::connect(&browser.host).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let head =
            format!("GET /healthz HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", browser.host);
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.ends_with("ok\n").then_some(())
    });
    drop(idle);
    end(service);
}

/// Opens the page of a new client, logs in, and returns both.
fn logged_in(world: &World, name: &str) -> (Process, Browser) {
    let home = world.home(name);
    let service = service(world, name, &["--page-directory", home.to_str().unwrap()]);
    let browser = Browser::open(world, name);
    let login = json!({"command": "login", "user": name, "password": format!("pw-{name}")});
    assert_eq!(browser.command(login)["reply"], "account");
    (service, browser)
}

fn get(browser: &Browser, path: &str) -> (u16, Value) {
    let (status, answer) = browser.ask("GET", &format!("/api/v1/{path}"), "");
    (status, serde_json::from_str(&answer).unwrap())
}

#[test]
fn both_ends_show_the_peers_and_the_pieces_of_a_transfer() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let ((nik, gives), (bob, takes)) = (logged_in(&world, "nik"), logged_in(&world, "bob"));
    let content = Content::new("a b.bin", 16 << 20, 5);
    let path = world.put("nik", &content);
    let share = json!({"command": "upload_file", "path": path.to_str(), "group": "lab"});
    assert_eq!(gives.command(share)["reply"], "shared");
    assert_eq!(
        takes.command(json!({"command": "limit_downloads", "limit": 1_000_000}))["reply"],
        "limits"
    );
    let target = world.home("bob").join("got.bin");
    let fetch = json!({
        "command": "download_file", "group": "lab", "file": "a b.bin", "destination": target.to_str()
    });
    assert_eq!(takes.command(fetch)["reply"], "download");
    let shown = |browser: &Browser, is_it: fn(&Value) -> bool| {
        eventually("a peer that moves data", || {
            let (status, peers) = get(browser, "groups/lab/files/a%20b.bin/peers");
            assert_eq!(status, 200, "{peers}");
            let peer = peers["peers"].get(0).filter(|peer| is_it(peer)).cloned();
            peer.map(|peer| (peers["pieces"].clone(), peer))
        })
    };
    let (pieces, nik_seen) = shown(&takes, |peer| {
        peer["received_per_second"].as_u64() > Some(300_000) && peer["user"] == "nik"
    });
    assert_eq!((pieces.as_u64(), nik_seen["pieces"].as_u64()), (Some(32), Some(32)));
    assert_eq!((&nik_seen["direction"], &nik_seen["choked"]), (&json!("out"), &json!(false)));
    let (_, bob_seen) = shown(&gives, |peer| {
        peer["sent_per_second"].as_u64() > Some(300_000) && peer["user"] == "bob"
    });
    assert_eq!(
        (&bob_seen["direction"], &bob_seen["peer_interested"]),
        (&json!("in"), &json!(true))
    );
    assert!(bob_seen["since_ms"].as_u64() > Some(1_600_000_000_000));
    let (status, map) = get(&takes, "groups/lab/files/a%20b.bin/pieces");
    assert_eq!(
        (status, map["pieces"].as_u64(), map["pieces_per_bucket"].as_u64()),
        (200, Some(32), Some(1))
    );
    for list in ["have", "partial", "requested", "availability"] {
        assert_eq!(map[list].as_array().unwrap().len(), 32, "{list}");
    }
    let (_, whole) = get(&gives, "groups/lab/files/a%20b.bin/pieces");
    assert_eq!((&whole["have"], &whole["availability"]), (&json!(vec![1; 32]), &Value::Null));
    // The rates of everything are in the snapshot, and of a share in the list of shares.
    let rate = |browser: &Browser, name: &str| browser.snapshot().1["traffic"][name].as_u64();
    eventually("rates of all", || {
        let rates = (rate(&takes, "received_per_second"), rate(&gives, "sent_per_second"));
        (rates > (Some(300_000), Some(300_000))).then_some(())
    });
    let shares = gives.command(json!({"command": "show_uploads"}));
    assert!(shares["value"]["entries"][0]["sent_per_second"].as_u64() > Some(0), "{shares}");
    // The prompt shows the same, with a map.
    let mut prompt = world.client("bob");
    let result = prompt.object("show_peers lab 'a b.bin' --pieces");
    assert_eq!(
        (&result["peers"][0]["user"], &result["map"]["pieces"]),
        (&json!("nik"), &json!(32))
    );
    prompt.refused("show_peers lab nothing", "neither shared");
    assert_eq!(get(&takes, "groups/lab/files/nothing/peers").0, 404);
    let pause = json!({"command": "pause_download", "group": "lab", "file": "a b.bin"});
    assert_eq!(takes.command(pause)["reply"], "done");
    eventually("nothing is claimed when nothing moves", || {
        let rates = (rate(&takes, "received_per_second"), rate(&gives, "sent_per_second"));
        (rates == (Some(0), Some(0))).then_some(())
    });
    assert!(rate(&gives, "bytes_sent") > Some(0));
    end(bob);
    end(nik);
}

#[test]
fn a_disk_that_hangs_is_answered_and_leaves_the_page_free() {
    let world = World::new(1);
    world.group("lab", &["nik"]);
    let Some(disk) = FuseDisk::mount(&world.path().join("disk")) else { return };
    Content::new("slow.bin", 1 << 20, 5).write(&disk.path().join("slow.bin"));
    let service = service(&world, "nik", &["--page-directory", disk.path().to_str().unwrap()]);
    let browser = Browser::open(&world, "nik");
    let login = json!({"command": "login", "user": "nik", "password": "pw-nik"});
    assert_eq!(browser.command(login)["reply"], "account");
    let hanging = disk.hang();
    let path = disk.path().join("slow.bin");
    let share =
        json!({"command": "upload_file", "path": path.to_str(), "group": "lab"}).to_string();
    let list = format!("directories?{}", form(&[("path", disk.path().to_str().unwrap())]));
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        for number in 0..60 {
            let (browser, share, list) = (&browser, &share, &list);
            scope.spawn(move || match number % 2 {
                0 => {
                    let (status, answer) = browser.ask("POST", "/api/v1/command", share);
                    assert!(matches!(status, 400 | 503), "{status} {answer}");
                }
                _ => {
                    let (status, answer) = browser.ask("GET", &format!("/api/v1/{list}"), "");
                    assert!(matches!(status, 400 | 503), "{status} {answer}");
                }
            });
        }
        eventually("the page answers meanwhile", || (browser.snapshot().0 == 200).then_some(()));
    });
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    drop(hanging);
    eventually("the disk is used again", || {
        (browser.ask("GET", &format!("/api/v1/{list}"), "").0 == 200).then_some(())
    });
    end(service);
}
