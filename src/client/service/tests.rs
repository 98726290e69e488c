//! A remote client against the control socket of a scripted client.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};

use crossbeam_channel::unbounded;

use super::*;
use crate::client::api::samples::Scripted;
use crate::client::api::{ApiError, Command, ErrorCode, Event, Update, call};
use crate::net::Stop;

const PATIENCE: Duration = Duration::from_secs(30);

struct Stage {
    client: Arc<Scripted>,
    service: Service,
    dir: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let (client, dir) = (Arc::new(Scripted::default()), tempfile::tempdir().unwrap());
        let service = Service::start(client.clone(), dir.path()).unwrap();
        Self { client, service, dir }
    }

    fn attach(&self) -> Remote {
        find(self.dir.path()).unwrap().expect("it is served")
    }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn commands_and_what_comes_of_them_pass_through() {
    let stage = Stage::new();
    let remote = stage.attach();
    assert_eq!(call(&remote, Command::Whoami).unwrap().account().unwrap().user.as_str(), "nik");
    let upload = || Command::UploadFile {
        path: "/x y".into(),
        group: "lab".into(),
        trust_stamp: true,
        is_resolved: false,
    };
    let mut seen = Vec::new();
    let error = remote.call(upload(), &Stop::new(), &mut |at| {
        seen.push(at.done);
        true
    });
    assert_eq!(error, Err(ApiError::new(ErrorCode::Quota, "you are full")));
    assert_eq!(seen, [0, 1, 2]);
    assert_eq!(*stage.client.asked.lock(), [Command::Whoami, upload()]);
    let refused = remote.call(upload(), &Stop::new(), &mut |_| false);
    assert_eq!(refused.unwrap_err().code, ErrorCode::Interrupted);
}

#[test]
fn an_interrupted_call_interrupts_its_own_command_only() {
    let stage = Stage::new();
    let (one, other) = (Stop::new(), Stop::new());
    std::thread::scope(|scope| {
        let wait = |file: &str, stop: &Stop| {
            let (remote, stop, file) = (stage.attach(), stop.clone(), file.to_owned());
            scope.spawn(move || {
                remote.call(Command::Why { group: "lab".into(), file }, &stop, &mut |_| true)
            })
        };
        let (first, second) = (wait("one", &one), wait("other", &other));
        until("both wait", || stage.client.asked.lock().len() == 2);
        one.set();
        assert_eq!(first.join().unwrap().unwrap_err().code, ErrorCode::Interrupted);
        until("the client has noticed", || stage.client.ended.lock().len() == 1);
        assert_eq!(*stage.client.ended.lock(), ["one"]);
        assert!(!second.is_finished());
        // The end of the service interrupts the other command.
        stage.service.stop();
        assert!(second.join().unwrap().is_err());
    });
}

#[test]
fn events_arrive_and_the_end_is_noticed() {
    let stage = Stage::new();
    let remote = stage.attach();
    let updates = remote.subscribe(true).unwrap();
    let subscriber = stage.client.subscribers.lock()[0].clone();
    for revision in 8..50 {
        subscriber.send(Update { revision, event: Event::LoggedOut }).unwrap();
    }
    for revision in 8..50 {
        let update = updates.recv_timeout(PATIENCE).unwrap();
        assert_eq!(update, Update { revision, event: Event::LoggedOut });
    }
    stage.service.stop();
    assert!(updates.recv_timeout(PATIENCE).is_err());
    let error = call(&remote, Command::Whoami).unwrap_err();
    assert_eq!(error.code, ErrorCode::ClientGone);
    assert!(!error.message.contains('\n'));
    assert!(find(stage.dir.path()).unwrap().is_none());
}

/// The result of `find` for a listener that sends these bytes.
fn found(answer: &'static [u8]) -> Result<bool, String> {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join(socket::NAME)).unwrap();
    let (done, is_done) = unbounded::<()>();
    let thread = std::thread::spawn(move || {
        let mut served = Vec::new();
        listener.set_nonblocking(true).unwrap();
        while is_done.is_empty() {
            if let Ok((mut stream, _)) = listener.accept() {
                let _ = stream.write_all(answer);
                served.push(stream);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let found = find(dir.path()).map(|remote| remote.is_some()).map_err(|e| e.message);
    done.send(()).unwrap();
    thread.join().unwrap();
    found
}

#[test]
fn a_listener_that_is_not_a_client_is_reported_in_one_line() {
    for (answer, words) in [
        (&b"220 smtp ready\r\n\r\n"[..], "not a client"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", "not a client"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"api\":2}", "version 2"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", "not a client"),
    ] {
        let error = found(answer).unwrap_err();
        assert!(error.contains(words) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn requests_of_other_programs_are_answered_in_json() {
    let stage = Stage::new();
    let ask = |request: &str| {
        let mut stream = UnixStream::connect(stage.dir.path().join(socket::NAME)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str::<serde_json::Value>(body).unwrap_or_default())
    };
    let end = "host: x\r\nconnection: close\r\n";
    let post = |body: &str| {
        ask(&format!(
            "POST /api/v1/command HTTP/1.1\r\n{end}content-length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    let (status, reply) = post(r#"{"command":"whoami"}"#);
    assert_eq!((status, reply["value"]["user"].as_str()), (200, Some("nik")));
    let (status, reply) = post(r#"{"command":"upload_file","path":"/x","group":"lab"}"#);
    assert_eq!((status, reply["error"]["code"].as_str()), (409, Some("quota")));
    let (status, reply) = post(r#"{"command":"of_tomorrow"}"#);
    assert_eq!((status, reply["error"]["code"].as_str()), (400, Some("unsupported")));
    let (status, reply) = post(r#"{"command":"login","user":"nik","password":12345678}"#);
    assert_eq!((status, reply.to_string().contains("12345678")), (400, false), "{reply}");
    let get = |target: &str| ask(&format!("GET {target} HTTP/1.1\r\n{end}\r\n"));
    assert_eq!(get("/api/v1/snapshot").1["revision"], 7);
    assert_eq!(get("/api/v1/command").0, 405);
    assert_eq!(get("/").0, 404);
}

#[test]
fn a_snapshot_of_any_length_arrives_whole() {
    let stage = Stage::new();
    let remote = stage.attach();
    for len in [0, 60_000, 61_000, 61_440, 122_880, 122_881, 1_000_000] {
        *stage.client.warning_len.lock() = len;
        let snapshot = remote.snapshot().unwrap();
        assert_eq!((snapshot.revision, snapshot.warning.unwrap_or_default().len()), (7, len));
    }
}

#[test]
fn content_is_sent_as_it_comes_and_a_reader_that_leaves_ends_its_own_alone() {
    let stage = Stage::new();
    let ask = |method: &str, path: &str, headers: &str| {
        let mut stream = UnixStream::connect(stage.dir.path().join(socket::NAME)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let end = "host: x\r\nconnection: close\r\n";
        let request =
            format!("{method} /api/v1/groups/{path}/content HTTP/1.1\r\n{end}{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        stream
    };
    let whole = |mut stream: UnixStream| {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        (String::from_utf8(answer[..head].to_vec()).unwrap(), answer.len() - head)
    };
    let (head, len) = whole(ask("GET", "the%20lab/files/a.mp3", "range: bytes=2097152-\r\n"));
    assert!(head.starts_with("HTTP/1.1 206 Partial Content\r\n"), "{head}");
    assert!(head.contains("content-range: bytes 2097152-4194303/4194304\r\n"), "{head}");
    assert!(head.contains("content-type: audio/mpeg\r\n") && len == 2 << 20, "{head}{len}");
    let (head, len) = whole(ask("HEAD", "the%20lab/files/a.mp3", "range: bytes=0-1\r\n"));
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && len == 0, "{head}");
    assert!(head.contains("content-length: 4194304\r\n"), "{head}");
    assert!(whole(ask("GET", "lab/files/a.mp3", "")).0.starts_with("HTTP/1.1 404 "));
    assert!(whole(ask("PUT", "the%20lab/files/a.mp3", "")).0.starts_with("HTTP/1.1 405 "));
    // Of two that wait for more, one leaves.
    let read = |file: &str| {
        let mut stream = ask("GET", &format!("the%20lab/files/{file}"), "");
        stream.read_exact(&mut vec![0; 1 << 20]).unwrap();
        stream
    };
    let (leaves, mut stays) = (read("leaves"), read("stays"));
    let ended = |file: &str| stage.client.ended.lock().iter().any(|ended| ended == file);
    drop(leaves);
    until("its reading ends", || ended("leaves"));
    assert!(!ended("stays"));
    // The end of the service ends the other, which shows that it is not whole.
    stage.service.stop();
    let mut rest = Vec::new();
    stays.read_to_end(&mut rest).unwrap();
    assert!(rest.len() < 3 << 20, "{}", rest.len());
}
