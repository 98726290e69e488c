//! A file's content over HTTP at the control socket, while it is downloaded and afterwards.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Instant;

use crate::harness::{ClientProcess, Content, PATIENCE, World, eventually};

const MIB: usize = 1 << 20;

/// A response.
struct Answer {
    status: u16,
    headers: HashMap<String, String>,
    body: Vec<u8>,
    /// The body had the length that the head said.
    is_whole: bool,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The code of an error in JSON.
    fn code(&self) -> String {
        let value: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        value["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A GET that is under way.
struct Streamed {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Streamed {
    fn begin(home: &str, world: &World, method: &str, target: &str, headers: &str) -> Self {
        let socket: PathBuf = world.home(home).join(".posse/control.sock");
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// Reads until there are `len` bytes of the body, or no more come; returns the body so far.
    fn body(&mut self, len: usize) -> Vec<u8> {
        let mut part = vec![0; 64 << 10];
        loop {
            let head = self.buffer.windows(4).position(|four| four == b"\r\n\r\n");
            let have = head.map(|end| self.buffer.len() - end - 4);
            if let (Some(end), Some(have)) = (head, have)
                && have >= len
            {
                return self.buffer[end + 4..].to_vec();
            }
            match self.stream.read(&mut part).unwrap() {
                0 => return head.map_or(Vec::new(), |end| self.buffer[end + 4..].to_vec()),
                count => self.buffer.extend_from_slice(&part[..count]),
            }
        }
    }

    /// Reads to the end.
    fn finish(mut self) -> Answer {
        let body = self.body(usize::MAX);
        let head = String::from_utf8(self.buffer[..self.buffer.len() - body.len()].to_vec());
        let head = head.unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or("0");
        let headers: HashMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let length = headers.get("content-length").and_then(|len| len.parse().ok());
        Answer {
            status: status.parse().unwrap(),
            is_whole: length == Some(body.len()),
            headers,
            body,
        }
    }
}

fn get(world: &World, home: &str, target: &str, headers: &str) -> Answer {
    Streamed::begin(home, world, "GET", target, headers).finish()
}

fn target(file: &str) -> String {
    format!("/api/v1/groups/lab/files/{file}/content")
}

/// A world in which nik shares a file, sending so many bytes a second.
fn slow(content: &Content, limit: &str) -> (World, ClientProcess, ClientProcess) {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    world.put("nik", content);
    let mut nik = world.client_with("nik", &["--upload-limit", limit]);
    nik.login("nik");
    nik.ok(&format!("upload_file {} lab", content.name), &[]);
    let mut bob = world.client("bob");
    bob.login("bob");
    (world, nik, bob)
}

#[test]
fn a_film_is_seen_while_it_comes() {
    let content = Content::new("film.mp4", 64 * MIB, 901);
    let (world, mut nik, mut bob) = slow(&content, "6M");
    let film = target("film.mp4");
    let missing = get(&world, "bob", &film, "");
    assert_eq!((missing.status, missing.code().as_str()), (404, "not_here"));
    assert!(String::from_utf8_lossy(&missing.body).contains("download_file"));
    bob.ok("download_file lab film.mp4", &[]);
    let (from, len) = (40 * MIB + 12_345, 4 * MIB);
    let range = format!("range: bytes={from}-{}\r\n", from + len - 1);
    let part = get(&world, "bob", &film, &range);
    assert_eq!(part.status, 206);
    assert!(part.is_whole && part.body == content.bytes[from..from + len], "other bytes");
    let whole = content.bytes.len();
    assert_eq!(part.header("content-range"), format!("bytes {from}-{}/{whole}", from + len - 1));
    assert_eq!(part.header("content-type"), "video/mp4");
    assert_eq!(part.header("accept-ranges"), "bytes");
    assert_eq!(part.header("etag"), format!("\"{}\"", content.sha1()));
    assert_eq!(part.header("x-content-type-options"), "nosniff");
    assert!(part.header("content-security-policy").contains("sandbox"));
    // Both ends are there, too, where a player looks for its index.
    let first = get(&world, "bob", &film, "range: bytes=0-99\r\n");
    let last = get(&world, "bob", &film, "range: bytes=-100\r\n");
    assert!(first.body == content.bytes[..100] && last.body == content.bytes[whole - 100..]);
    let done = bob.bytes_done("film.mp4") as usize;
    assert!(done < whole / 2, "{done} bytes of {whole} have come already");
    // One that reads to the end, and sees the file through its completion.
    let mut rest = Streamed::begin("bob", &world, "GET", &film, "range: bytes=33554432-\r\n");
    assert!(rest.body(MIB)[..MIB] == content.bytes[32 * MIB..33 * MIB]);
    nik.ok("limits upload off", &[]);
    let rest = rest.finish();
    assert!(rest.is_whole && rest.body == content.bytes[32 * MIB..]);
    bob.wait_downloads();
    let all = get(&world, "bob", &film, "");
    assert!(all.status == 200 && all.is_whole && all.body == content.bytes);
}

#[test]
fn a_complete_file_is_served_by_range_and_a_hostile_name_is_only_text() {
    let mut content = Content::new("plain.bin", 3 * MIB, 902);
    let (world, mut nik, _bob) = slow(&content, "100M");
    let path = target("plain.bin");
    let sha1 = content.sha1();
    let head = Streamed::begin("nik", &world, "HEAD", &path, "").finish();
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), content.bytes.len().to_string());
    assert_eq!(head.header("content-type"), "application/octet-stream");
    assert!(head.header("content-disposition").starts_with("attachment; filename=\"plain.bin\""));
    let same = format!("range: bytes=7-11\r\nif-range: \"{sha1}\"\r\n");
    let part = get(&world, "nik", &path, &same);
    assert_eq!((part.status, &part.body[..]), (206, &content.bytes[7..12]));
    let other = get(&world, "nik", &path, "range: bytes=7-11\r\nif-range: \"0000\"\r\n");
    assert!(other.status == 200 && other.body == content.bytes);
    let beyond = get(&world, "nik", &path, "range: bytes=9999999-\r\n");
    assert_eq!((beyond.status, beyond.body.len()), (416, 0));
    assert_eq!(beyond.header("content-range"), format!("bytes */{}", content.bytes.len()));
    let post = Streamed::begin("nik", &world, "POST", &path, "").finish();
    assert_eq!(post.status, 405);
    for (wrong, status) in [
        ("/api/v1/groups/lab/files/none/content", 404),
        ("/api/v1/groups/none/files/plain.bin/content", 404),
        ("/api/v1/groups/lab/files/%2e%2e%2fplain.bin/content", 404),
        ("/api/v1/groups/lab/files/%ff/content", 400),
        ("/api/v1/groups/lab/files/a/b/content", 404),
    ] {
        assert_eq!(get(&world, "nik", wrong, "").status, status, "{wrong}");
    }
    // A page that would run as our own, and a name that would end the header's.
    content.name = "\"; filename=evil.exe <script>\u{20ac}.html".into();
    world.put("nik", &content);
    let mut again = Content::new("empty.txt", 0, 1);
    again.bytes.clear();
    world.put("nik", &again);
    nik.ok(&format!("upload_file '{}' lab", content.name), &[]);
    nik.ok("upload_file empty.txt lab", &[]);
    let encoded: String = content.name.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let page = get(&world, "nik", &target(&encoded), "range: bytes=0-9\r\n");
    assert_eq!((page.status, &page.body[..]), (206, &content.bytes[..10]));
    assert_eq!(page.header("content-type"), "application/octet-stream");
    assert!(page.header("content-security-policy").contains("sandbox"));
    let named = page.header("content-disposition");
    assert_eq!(
        named,
        "attachment; filename=\"_; filename=evil.exe _script__.html\"; \
         filename*=UTF-8''%22%3B%20filename%3Devil.exe%20%3Cscript%3E%E2%82%AC.html"
    );
    let empty = get(&world, "nik", &target("empty.txt"), "");
    assert_eq!((empty.status, empty.body.len()), (200, 0));
    assert_eq!(empty.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(get(&world, "nik", &target("empty.txt"), "range: bytes=0-\r\n").status, 416);
    // The end of a session ends the reading.
    nik.ok("logout", &[]);
    let out = get(&world, "nik", &path, "");
    assert_eq!((out.status, out.code().as_str()), (409, "refused"));
}

/// Begins to read a file whose rest does not come, and returns what is under way.
fn stalled(world: &World, bob: &mut ClientProcess, content: &Content) -> Streamed {
    bob.ok(&format!("download_file lab {}", content.name), &[]);
    let mut reading = Streamed::begin("bob", world, "GET", &target(&content.name), "");
    assert!(reading.body(512 << 10)[..512 << 10] == content.bytes[..512 << 10]);
    reading
}

/// Checks that the response ends at once, and shows that it is not whole.
fn ends_incomplete(reading: Streamed, content: &Content) {
    let begun = Instant::now();
    let answer = reading.finish();
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    assert!(!answer.is_whole && answer.status == 200);
    assert_eq!(answer.header("content-length"), content.bytes.len().to_string());
    assert!(answer.body == content.bytes[..answer.body.len()], "other bytes");
}

#[test]
fn a_cancelled_download_ends_its_response_incomplete() {
    let content = Content::new("cancelled.mkv", 32 * MIB, 903);
    let (world, _nik, mut bob) = slow(&content, "500K");
    let reading = stalled(&world, &mut bob, &content);
    bob.ok("cancel_download lab cancelled.mkv", &[]);
    ends_incomplete(reading, &content);
    let after = get(&world, "bob", &target("cancelled.mkv"), "");
    assert_eq!((after.status, after.code().as_str()), (404, "not_here"));
}

#[test]
fn a_member_who_is_removed_reads_no_more() {
    let content = Content::new("secret.mkv", 32 * MIB, 904);
    let (world, mut nik, mut bob) = slow(&content, "500K");
    let reading = stalled(&world, &mut bob, &content);
    nik.ok("remove_member lab bob", &[]);
    ends_incomplete(reading, &content);
    eventually("the download has failed here", || {
        let after = get(&world, "bob", &target("secret.mkv"), "");
        (after.status == 409 && after.code() == "download_state").then_some(())
    });
}

#[test]
fn a_download_that_waits_or_is_paused_is_waited_for() {
    let content = Content::new("later.mkv", 8 * MIB, 905);
    let (world, mut nik, mut bob) = slow(&content, "1M");
    let first = Content::new("first.bin", 32 * MIB, 906);
    world.put("nik", &first);
    nik.ok("upload_file first.bin lab", &[]);
    bob.ok("limits downloads 1", &[]);
    bob.ok("download_file lab first.bin", &[]);
    bob.ok("download_file lab later.mkv", &[]);
    let mut waiting = Streamed::begin("bob", &world, "GET", &target("later.mkv"), "");
    // Its head is there at once.
    assert!(waiting.body(0).is_empty());
    bob.ok("prioritize lab later.mkv", &[]);
    assert!(waiting.body(1)[0] == content.bytes[0]);
    bob.ok("pause_download lab later.mkv", &[]);
    nik.ok("limits upload off", &[]);
    bob.ok("resume_download lab later.mkv", &[]);
    bob.ok("prioritize lab later.mkv", &[]);
    let answer = waiting.finish();
    assert!(answer.is_whole && answer.body == content.bytes);
}

/// A reader that pauses goes on, and one that leaves frees its place.
#[test]
fn a_reader_may_pause_and_one_that_leaves_frees_its_place() {
    let content = Content::new("long.mp4", 16 * MIB, 907);
    let (world, mut nik, _bob) = slow(&content, "100M");
    let path = target("long.mp4");
    let mut paused = Streamed::begin("nik", &world, "GET", &path, "");
    paused.body(1);
    // As many as may read at a time come and go.
    for _ in 0..3 {
        let open = eventually("those of before have left", || {
            let mut open: Vec<Streamed> =
                (0..15).map(|_| Streamed::begin("nik", &world, "GET", &path, "")).collect();
            let is_open = |one: &mut Streamed| one.body(1)[0] == content.bytes[0];
            open.iter_mut().all(is_open).then_some(open)
        });
        let crowded = get(&world, "nik", &path, "");
        assert_eq!((crowded.status, crowded.code().as_str()), (503, "crowded"));
        drop(open);
    }
    let answer = paused.finish();
    assert!(answer.is_whole && answer.body == content.bytes);
    // A client with a reader that has stalled ends all the same.
    let mut stalled = Streamed::begin("nik", &world, "GET", &path, "");
    stalled.body(1);
    nik.ok("exit", &[]);
    assert_eq!(nik.finish().status, Some(0));
}
