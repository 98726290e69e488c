//! The server against clients that split, cut, flood, dawdle and lie.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::*;

mod tls;

const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes that no socket's buffer holds, and those of one part.
const LONG: u64 = 64 << 20;
const PART: usize = 512 << 10;

/// Connections that a test makes.
struct Pairs(Receiver<UnixStream>, Sender<UnixStream>);

impl Acceptor for Pairs {
    fn accept(&self) -> io::Result<Arc<dyn Socket>> {
        match self.0.recv() {
            Ok(stream) => Ok(Arc::new(stream)),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn wake(&self) {
        let (one, _) = UnixStream::pair().unwrap();
        let _ = self.1.send(one);
    }
}

/// Says what it was asked.
struct Echo;

impl Handler for Echo {
    fn handle(&self, request: &mut Request<'_>, responder: Responder<'_>) -> io::Result<()> {
        match request.path() {
            "/parts" => {
                let mut stream = responder.stream(StatusCode::OK, "text/plain")?;
                for part in ["one ", "", "two ", "three"] {
                    stream.write(part.as_bytes())?;
                }
                stream.finish()
            }
            "/wait" => {
                responder.hold_connection();
                let stop = responder.stop();
                stop.wait(PATIENCE);
                responder.send(StatusCode::OK, "text/plain", b"waited")
            }
            "/sized" | "/short" => {
                let mut headers = HeaderMap::new();
                headers.insert(header::ETAG, HeaderValue::from_static("\"x\""));
                let status = StatusCode::PARTIAL_CONTENT;
                let len = LONG.min(request.parameter("len").map_or(8, |len| len.parse().unwrap()));
                let mut body = responder.sized(status, "text/plain", &headers, len)?;
                if request.path() == "/short" {
                    return Err(io::Error::other("no more comes"));
                }
                while body.left() > 0 {
                    body.write(&[b'y'; PART][..body.left().min(PART as u64) as usize])?;
                }
                assert!(body.write(b"more").is_err());
                body.finish()
            }
            "/panic" => panic!("on purpose"),
            "/nothing" => Ok(()),
            "/unread" => responder.send(StatusCode::UNAUTHORIZED, "text/plain", b"no"),
            "/count" => {
                let (mut part, mut count) = (Vec::new(), 0);
                while request.next_part(&mut part).is_ok_and(|more| more) {
                    count += part.len();
                }
                responder.send(StatusCode::OK, "text/plain", count.to_string().as_bytes())
            }
            _ => {
                let body = match request.body() {
                    Ok(body) => body,
                    Err(BodyError::Refused(status)) => {
                        return responder.send(status, "text/plain", b"refused");
                    }
                    Err(BodyError::Lost(error)) => return Err(error),
                };
                let text = format!(
                    "{} {} {:?} {}",
                    request.method,
                    request.path(),
                    request.parameter("a"),
                    body.len()
                );
                responder.send(StatusCode::OK, "text/plain", text.as_bytes())
            }
        }
    }
}

struct Stage {
    server: Server,
    connect: Sender<UnixStream>,
}

impl Stage {
    fn new() -> Self {
        let (connect, accept) = unbounded();
        let server = Server::start("test", Pairs(accept, connect.clone()), Echo).unwrap();
        Self { server, connect }
    }

    fn connect(&self) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        self.connect.send(theirs).unwrap();
        ours
    }

    /// Sends bytes, ends its side, and reads to the end.
    fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // What is refused may not be read to its end.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    fn status(&self, bytes: &[u8]) -> u16 {
        let answer = self.exchange(bytes);
        answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }
}

const GET: &[u8] = b"GET /x?b=1&a=2 HTTP/1.1\r\nHost: h\r\n\r\n";
const POST: &[u8] = b"POST /y HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKED: &[u8] =
    b"POST /z HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";

#[test]
fn requests_are_answered_in_order_however_they_are_split() {
    let stage = Stage::new();
    let all = [GET, POST, CHUNKED, GET].concat();
    let whole = stage.exchange(&all);
    let bodies = |answer: &str| {
        let texts = ["GET /x Some(\"2\") 0", "POST /y None 5", "POST /z None 5"];
        let mut found: Vec<(usize, &str)> = Vec::new();
        for text in texts {
            found.extend(answer.match_indices(text));
        }
        found.sort_unstable();
        found.into_iter().map(|(_, text)| text.to_owned()).collect::<Vec<_>>()
    };
    let want = bodies(&whole);
    assert_eq!(want.len(), 4, "{whole}");
    for step in [1, 7, 64] {
        let mut stream = stage.connect();
        for part in all.chunks(step) {
            stream.write_all(part).unwrap();
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(bodies(&answer), want, "{step}");
    }
}

#[test]
fn a_request_that_is_cut_off_is_not_carried_out() {
    let stage = Stage::new();
    for message in [GET, POST, CHUNKED] {
        for len in 1..message.len() {
            let answer = stage.exchange(&message[..len]);
            assert!(!answer.contains("200 OK"), "{len} bytes of {message:?}: {answer}");
        }
    }
}

#[test]
fn what_can_be_read_in_two_ways_or_is_too_long_is_refused() {
    let stage = Stage::new();
    let head = |more: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{more}\r\n\r\n").into_bytes();
    for (more, status) in [
        ("Content-Length: 1\r\nContent-Length: 1", 400),
        ("Content-Length: 1\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: gzip", 501),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
        ("Content-Length: +1", 400),
        ("Content-Length: -1", 400),
        ("Content-Length: 1x", 400),
        ("Content-Length: ", 400),
        ("Content-Length: 1048577", 413),
        ("Content-Length: 99999999999999999999999", 413),
        ("Host: other", 400),
        ("A b: c", 400),
    ] {
        assert_eq!(stage.status(&head(more)), status, "{more}");
    }
    assert_eq!(stage.status(b"GET / HTTP/1.1\r\n\r\n"), 400, "there is no host");
    assert_eq!(stage.status(b"GET / HTTP/1.0\r\n\r\n"), 200);
    assert_eq!(stage.status(b"GET / HTTP/2.0\r\nHost: h\r\n\r\n"), 505);
    assert_eq!(stage.status(b"\x16\x03\x01\x02\x00\x01\x00\n\n"), 400, "TLS is spoken");
    assert_eq!(stage.status(&head(&format!("X: {}", "x".repeat(HEAD_LEN_MAX)))), 431);
    let many = (0..HEADERS_MAX + 1).map(|i| format!("X-{i}: y\r\n")).collect::<String>();
    assert_eq!(stage.status(&head(many.trim_end())), 431);
    let endless = [
        &b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
        &b"200000\r\n"[..],
        &vec![b'x'; 2 << 20][..],
    ]
    .concat();
    assert_eq!(stage.status(&endless), 413);
    let most = [
        format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {BODY_LEN_MAX}\r\n\r\n").as_bytes(),
        &vec![b'x'; BODY_LEN_MAX][..],
    ]
    .concat();
    assert!(stage.exchange(&most).contains(&BODY_LEN_MAX.to_string()));
}

#[test]
fn answers_come_in_parts_and_say_where_they_end() {
    let stage = Stage::new();
    let ask = |target: &str| {
        let socket: Arc<dyn Socket> = Arc::new(stage.connect());
        let mut response =
            send(socket, "GET", target, "", b"", Duration::from_millis(50), &|| true).unwrap();
        let body = response.read_all(1000, PATIENCE).unwrap();
        (response.status.as_u16(), String::from_utf8(body).unwrap())
    };
    assert_eq!(ask("/parts"), (200, "one two three".into()));
    assert_eq!(ask("/x?a=1"), (200, "GET /x Some(\"1\") 0".into()));
    assert_eq!(ask("/nothing").0, 500);
    // Without chunks an answer in parts ends with the connection.
    let old = stage.exchange(b"GET /parts HTTP/1.0\r\n\r\n");
    assert!(old.ends_with("\r\n\r\none two three"), "{old}");
    let head = stage.exchange(b"HEAD /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert!(head.contains("content-length: 14") && head.ends_with("\r\n\r\n"), "{head}");
    // The same connection serves on behind an answer in parts.
    let both = [&b"GET /parts HTTP/1.1\r\nHost: h\r\n\r\n"[..], GET].concat();
    let both = stage.exchange(&both);
    assert!(both.contains("0\r\n\r\nHTTP/1.1 200 OK"), "{both}");
}

#[test]
fn a_body_of_known_length_is_sent_whole_or_shows_that_it_is_not() {
    let stage = Stage::new();
    let sized = b"GET /sized HTTP/1.1\r\nHost: h\r\n\r\n";
    // The same connection serves on.
    let both = stage.exchange(&[&sized[..], GET].concat());
    assert!(both.starts_with("HTTP/1.1 206 Partial Content\r\n"), "{both}");
    assert!(both.contains("etag: \"x\"\r\n") && both.contains("content-length: 8\r\n"), "{both}");
    assert!(both.contains("\r\n\r\nyyyyyyyyHTTP/1.1 200 OK"), "{both}");
    let head = stage.exchange(b"HEAD /sized HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(head.contains("content-length: 8\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    // Nothing else follows a body that ends early.
    let short = [&b"GET /short HTTP/1.1\r\nHost: h\r\n\r\n"[..], GET].concat();
    let short = stage.exchange(&short);
    assert!(short.contains("content-length: 8\r\n") && short.ends_with("\r\n\r\n"), "{short}");
    let old = stage.exchange(b"GET /sized HTTP/1.0\r\n\r\n");
    assert!(old.contains("connection: close\r\n") && old.ends_with("yyyyyyyy"), "{old}");
}

/// A player that pauses takes nothing for longer than others may need for a part of a response.
#[test]
fn the_reader_of_a_long_body_may_pause_and_a_stop_does_not_wait_for_it() {
    let stage = Stage::new();
    let ask = format!("GET /sized?len={LONG} HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut paused = stage.connect();
    paused.write_all(ask.as_bytes()).unwrap();
    let mut stalled = stage.connect();
    stalled.write_all(ask.as_bytes()).unwrap();
    std::thread::sleep(WRITE_TIMEOUT + Duration::from_secs(1));
    let mut answer = vec![0; LONG as usize];
    paused.read_exact(&mut answer).unwrap();
    assert!(answer.ends_with(b"yyyy"));
    let begun = Instant::now();
    assert!(stage.server.stop(Duration::from_millis(100)).is_empty());
    assert!(begun.elapsed() < WRITE_TIMEOUT, "{:?}", begun.elapsed());
    assert!(stalled.read_to_end(&mut answer).is_ok());
}

#[test]
fn a_panic_ends_one_connection_alone() {
    let stage = Stage::new();
    assert_eq!(stage.exchange(b"GET /panic HTTP/1.1\r\nHost: h\r\n\r\n"), "");
    assert_eq!(stage.status(GET), 200);
}

#[test]
fn a_body_that_waits_to_be_asked_for_is_asked_for() {
    let stage = Stage::new();
    let mut stream = stage.connect();
    let head = b"POST /y HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    stream.write_all(head).unwrap();
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("POST /y None 5"), "{answer}");
}

/// Sends a request whose answer waits for the end of the server.
fn keep_busy(stage: &Stage) -> UnixStream {
    let mut stream = stage.connect();
    stream.write_all(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    stream
}

#[test]
fn connections_are_bounded_and_idle_ones_give_way() {
    let stage = Stage::new();
    let mut idle: Vec<UnixStream> = (0..CONNECTIONS_MAX).map(|_| stage.connect()).collect();
    // All are served: each has been answered.
    for stream in &mut idle {
        stream.write_all(GET).unwrap();
        let mut start = [0; 15];
        stream.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1 200 OK");
    }
    for _ in 0..CONNECTIONS_MAX * 3 {
        assert_eq!(stage.status(GET), 200);
    }
    let mut busy: Vec<UnixStream> = (0..CONNECTIONS_MAX).map(|_| keep_busy(&stage)).collect();
    let begun = Instant::now();
    while stage.status(GET) != 503 {
        assert!(begun.elapsed() < PATIENCE);
        // One whose request had not been read yet has given way to ours.
        busy.push(keep_busy(&stage));
    }
}

#[test]
fn connections_that_have_shown_no_right_give_way() {
    let stage = Stage::new();
    let half = b"GET /";
    let no_body = b"POST /y HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n";
    let unread = format!("GET /sized?len={LONG} HTTP/1.1\r\nHost: h\r\n\r\n");
    for slow in [&half[..], &no_body[..], unread.as_bytes()] {
        let begin = || {
            let mut stream = stage.connect();
            stream.write_all(slow).unwrap();
            stream
        };
        let _slow: Vec<UnixStream> = (0..CONNECTIONS_MAX).map(|_| begin()).collect();
        for _ in 0..CONNECTIONS_MAX * 2 {
            assert_eq!(stage.status(GET), 200, "{}", String::from_utf8_lossy(slow));
        }
    }
}

#[test]
fn a_request_is_refused_by_its_head_alone() {
    let stage = Stage::new();
    let head = b"POST /unread HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n";
    let answer = stage.exchange(head);
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("connection: close"), "{answer}");
    // What follows is a body, and no request.
    let both =
        [&b"POST /unread HTTP/1.1\r\nHost: h\r\nContent-Length: 200\r\n\r\n"[..], GET].concat();
    assert!(!stage.exchange(&both).contains("200 OK"));
}

#[test]
fn a_body_of_any_length_can_be_streamed() {
    let stage = Stage::new();
    let len = 5 * BODY_LEN_MAX + 1;
    let head = format!("PUT /count HTTP/1.1\r\nHost: h\r\nContent-Length: {len}\r\n\r\n");
    let answer = stage.exchange(&[head.as_bytes(), &vec![b'x'; len], GET].concat());
    assert!(answer.contains(&len.to_string()) && answer.contains("GET /x"), "{answer}");
}

#[test]
fn a_head_that_does_not_end_is_given_up() {
    let stage = Stage::new();
    let mut stream = stage.connect();
    stream.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
    let begun = Instant::now();
    let mut answer = Vec::new();
    // A byte now and then does not extend the time.
    let mut bytes = b"GET / HTTP/1.1\r\nX: ".iter().copied().chain(std::iter::repeat(b'x'));
    while begun.elapsed() < PATIENCE {
        if stream.write_all(&[bytes.next().unwrap()]).is_err() {
            break;
        }
        let mut part = [0; 100];
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&part[..count]),
            Err(_) => {}
        }
    }
    let took = begun.elapsed();
    assert!(String::from_utf8_lossy(&answer).contains("408"), "{answer:?}");
    assert!(took > HEAD_TIMEOUT - Duration::from_secs(1) && took < HEAD_TIMEOUT * 2, "{took:?}");
}

#[test]
fn stopping_answers_what_is_under_way_and_ends_the_rest() {
    let stage = Stage::new();
    let mut idle = stage.connect();
    idle.write_all(GET).unwrap();
    let mut start = [0; 15];
    idle.read_exact(&mut start).unwrap();
    let mut busy = stage.connect();
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let mut half = stage.connect();
    half.write_all(b"GET /").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    assert!(stage.server.stop(Duration::from_secs(2)).is_empty());
    assert!(begun.elapsed() < Duration::from_secs(5));
    let mut answer = String::new();
    busy.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("connection: close") && answer.ends_with("waited"), "{answer}");
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).unwrap();
    assert!(half.read_to_end(&mut rest).is_ok());
}

#[test]
fn a_reader_that_has_gone_is_noticed() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let theirs: Arc<dyn Socket> = Arc::new(theirs);
    assert!(!theirs.is_gone());
    (&ours).write_all(b"x").unwrap();
    assert!(!theirs.is_gone(), "it has something to say");
    let mut byte = [0; 1];
    theirs.receive(&mut byte, PATIENCE).unwrap();
    // A request that waits behind the one under way hides nothing.
    (&ours).write_all(b"x").unwrap();
    drop(ours);
    assert!(theirs.is_gone());
    assert!(theirs.send_all(b"x", PATIENCE).is_err());
}

/// A stream that notes how much is sent at a time, and within which time.
#[derive(Default)]
struct Sent(parking_lot::Mutex<Vec<(usize, Duration)>>);

impl Socket for Sent {
    fn receive(&self, _: &mut [u8], _: Duration) -> io::Result<usize> {
        Ok(0)
    }

    fn send_all(&self, bytes: &[u8], timeout: Duration) -> io::Result<()> {
        self.0.lock().push((bytes.len(), timeout));
        Ok(())
    }

    fn is_gone(&self) -> bool {
        false
    }

    fn end_reading(&self) {}

    fn close(&self) {}
}

#[test]
fn each_part_of_a_long_answer_has_its_own_time() {
    let sent = Arc::new(Sent::default());
    let socket: Arc<dyn Socket> = sent.clone();
    let stop = crate::net::Stop::new();
    let body = vec![b'x'; 3 << 20];
    for is_stream in [false, true] {
        let (mut keeps_alive, mut has_answered) = (true, false);
        let responder = Responder {
            socket: &socket,
            stop: &stop,
            hold: &|| {},
            keeps_alive: &mut keeps_alive,
            is_head: false,
            takes_chunks: true,
            is_read: std::rc::Rc::new(std::cell::Cell::new(true)),
            has_answered: &mut has_answered,
            headers: HeaderMap::new(),
        };
        if is_stream {
            let mut stream = responder.stream(StatusCode::OK, "text/plain").unwrap();
            stream.write(&body).unwrap();
            stream.finish().unwrap();
        } else {
            responder.send(StatusCode::OK, "text/plain", &body).unwrap();
        }
        let parts = std::mem::take(&mut *sent.0.lock());
        let total: usize = parts.iter().map(|(len, _)| len).sum();
        assert!(total > body.len());
        let is_part =
            |(len, timeout): &(usize, Duration)| *len <= 64 << 10 && *timeout == WRITE_TIMEOUT;
        assert!(parts.iter().all(is_part), "{is_stream}: {parts:?}");
    }
}
