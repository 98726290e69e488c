//! Somebody who records everything learns nothing, and somebody who alters anything ends that
//! connection and nothing else.
//!
//! Both trackers run in this process, so that they can be told to listen elsewhere than where their
//! lines say: there a recorder stands. Between the clients, which are processes, and everybody else
//! there are recorders too.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use posse::trust::KeyPair;
use posse::types::TrackerInfo;
use posse::{Tracker, TrackerConfig};

use crate::harness::{ClientProcess, Content, Mischief, Plan, Recorder, eventually, two_addresses};

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Two trackers whose links, and all of whose clients, are listened in on.
struct Wired {
    between: Vec<Recorder>,
    trackers: Vec<Tracker>,
    key: Arc<KeyPair>,
    dir: tempfile::TempDir,
}

/// A client, and the recorders around it.
struct WiredClient {
    client: ClientProcess,
    to_trackers: Vec<Recorder>,
    links: Recorder,
}

impl Wired {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = Arc::new(KeyPair::generate().unwrap());
        let between: Vec<Recorder> = (0..2).map(|_| Recorder::start(local(0), None)).collect();
        let lines: String =
            between.iter().map(|recorder| format!("{}\n", recorder.address)).collect();
        let start = |number: u32| {
            let data = dir.path().join(format!("tracker{number}"));
            let mut config =
                TrackerConfig::new(TrackerInfo::parse(&lines).unwrap(), number, data, key.clone());
            config.listen = Some(local(0));
            let tracker = Tracker::start(config).unwrap();
            between[number as usize - 1].aim(tracker.local_addr());
            tracker
        };
        let trackers = vec![start(1), start(2)];
        let wired = Self { between, trackers, key, dir };
        wired.wait_synced();
        wired
    }

    fn wait_synced(&self) {
        eventually("the trackers are up for each other and hold the same directory", || {
            let states: Vec<_> =
                self.trackers.iter().map(|tracker| tracker.status().unwrap()).collect();
            states
                .iter()
                .all(|state| !state.degraded && state.directory == states[0].directory)
                .then_some(())
        });
    }

    fn home(&self, name: &str) -> std::path::PathBuf {
        let home = self.dir.path().join(name);
        std::fs::create_dir_all(&home).unwrap();
        home
    }

    fn client(&self, name: &str) -> WiredClient {
        self.client_of(name, self.trackers.len())
    }

    /// A client that knows only the first trackers.
    fn client_of(&self, name: &str, count: usize) -> WiredClient {
        let (inner, outer) = two_addresses();
        let home = self.home(name);
        let to_trackers: Vec<Recorder> = self
            .trackers
            .iter()
            .take(count)
            .map(|tracker| aimed(outer, tracker.local_addr()))
            .collect();
        let lines: String =
            to_trackers.iter().map(|recorder| format!("{}\n", recorder.address)).collect();
        let info = home.join("tracker_info.txt");
        std::fs::write(&info, format!("network {}\n{lines}", self.key.fingerprint())).unwrap();
        let client = ClientProcess::start(&home, SocketAddr::new(inner, 0), &info, true);
        let links = Recorder::start(SocketAddr::new(outer, client.address.port()), None);
        links.aim(client.address);
        WiredClient { client, to_trackers, links }
    }

    fn put(&self, name: &str, content: &Content) {
        content.write(&self.home(name).join(&content.name));
    }
}

fn aimed(outer: IpAddr, target: SocketAddr) -> Recorder {
    let recorder = Recorder::start(SocketAddr::new(outer, 0), Some(outer));
    recorder.aim(target);
    recorder
}

/// Makes a group with a file of the first that the second may fetch.
fn share(wired: &Wired, content: &Content) -> (WiredClient, WiredClient) {
    wired.put("alice-home", content);
    let (mut alice, mut bob) = (wired.client("alice-home"), wired.client("bob-home"));
    alice.client.enter("alice.of.the.archive");
    alice.client.object("create_group the-secret-group");
    assert_eq!(
        alice.client.object(&format!("upload_file {} the-secret-group", content.name))["ok"],
        true
    );
    bob.client.enter("bob.of.the.archive");
    assert_eq!(bob.client.object("join_group the-secret-group")["ok"], true);
    wired.wait_synced();
    assert_eq!(
        alice.client.object("accept_request the-secret-group bob.of.the.archive")["ok"],
        true
    );
    wired.wait_synced();
    (alice, bob)
}

fn fetch(wired: &Wired, bob: &mut WiredClient, content: &Content, to: &str) {
    let command = format!("download_file the-secret-group {} {to}", content.name);
    eventually("the tracker asked knows that bob is a member", || {
        (bob.client.object(&command)["ok"] == true).then_some(())
    });
    bob.client.wait_downloads();
    assert_same(&wired.home("bob-home").join(to), content);
}

fn assert_same(path: &Path, content: &Content) {
    assert!(
        std::fs::read(path).unwrap() == content.bytes,
        "{} is not what was shared",
        path.display()
    );
}

/// Every window of `len` bytes of the secret that `step` picks is looked for.
fn assert_absent(seen: &[u8], what: &str, secret: &[u8]) {
    let finder = seen.windows(secret.len().max(1)).any(|window| window == secret);
    assert!(!finder, "{what} went over the wire in clear");
}

#[test]
fn whoever_records_everything_learns_nothing() {
    let wired = Wired::new();
    let content = Content::new("the.secret.recipe.txt", 3 << 20, 77);
    let (mut alice, mut bob) = share(&wired, &content);
    fetch(&wired, &mut bob, &content, "copy.bin");
    alice.client.object("list_members the-secret-group");
    alice.client.object("list_files the-secret-group");
    assert_eq!(
        alice.client.object("change_password pw-alice.of.the.archive another-secret-word")["ok"],
        true
    );
    assert_eq!(alice.client.object("logout")["ok"], true);
    wired.wait_synced();

    let facts = content.facts();
    let link_bytes = alice.links.passed() + bob.links.passed();
    assert!(
        link_bytes > content.bytes.len() as u64,
        "the file did not pass the recorders: {link_bytes} bytes"
    );
    let all = wired
        .between
        .iter()
        .chain(&alice.to_trackers)
        .chain(&bob.to_trackers)
        .chain([&alice.links, &bob.links]);
    let mut recorded = 0;
    for (number, recorder) in all.enumerate() {
        let seen = recorder.seen();
        recorded += seen.len();
        // Nobody had a reason to dial alice's or bob's port if the other dialled first.
        assert!(!seen.is_empty() || number >= 6, "recorder {number} saw nothing");
        for text in [
            "alice.of",
            "bob.of",
            "pw-alice",
            "pw-bob",
            "another-secret-word",
            "the-secret-group",
            "the.secret.recipe",
            "BitTorrent",
            "PSSE",
            "posse_block",
            "argon2",
        ] {
            assert_absent(&seen, text, text.as_bytes());
        }
        assert_absent(&seen, "the file's SHA-1", facts.sha1.as_bytes());
        assert_absent(&seen, "the info hash", facts.info_hash.as_bytes());
        assert_absent(&seen, "the info hash in digits", facts.info_hash.to_string().as_bytes());
        // A few windows of the file: it has no two pieces alike.
        for at in (0..content.bytes.len()).step_by(content.bytes.len() / 16) {
            assert_absent(&seen, "a part of the file", &content.bytes[at..at + 16]);
        }
    }
    println!(
        "{recorded} bytes were recorded on 8 wires, {link_bytes} of them between the clients; nothing was found in them"
    );
}

/// What is done to connections, one after the other: to records of the handshake and behind it.
/// What does not come is noticed when something else does, or when the time for a handshake is
/// over. The second record of each direction is left alone: it is the `change_cipher_spec` for the
/// sake of old middle boxes, which says nothing and is ignored however often it comes (RFC 8446,
/// D.4).
fn plans() -> impl Iterator<Item = Plan> {
    let plan = |(mischief, record, to_dialler)| Plan { mischief, record, to_dialler };
    [
        (Mischief::Flip, 0, true),
        (Mischief::Flip, 2, false),
        (Mischief::Flip, 4, false),
        (Mischief::Flip, 5, true),
        (Mischief::Replay, 2, false),
        (Mischief::Replay, 4, true),
        (Mischief::Replay, 5, false),
        (Mischief::Drop, 4, false),
        (Mischief::Swap, 4, true),
        (Mischief::Truncate, 2, true),
        (Mischief::Truncate, 5, false),
    ]
    .into_iter()
    .map(plan)
}

#[test]
fn a_spoiled_link_between_clients_ends_and_the_file_comes_all_the_same() {
    let wired = Wired::new();
    let content = Content::new("data.bin", 1 << 20, 5);
    let (alice, mut bob) = share(&wired, &content);
    let mut spoiled = 0;
    for plan in plans() {
        alice.links.spoil(plan);
        spoiled += 1;
        let to = format!("copy{spoiled}.bin");
        fetch(&wired, &mut bob, &content, &to);
        // What is shared is not fetched again.
        assert_eq!(
            bob.client.object(&format!("stop_share the-secret-group {}", content.name))["ok"],
            true
        );
        std::fs::remove_file(wired.home("bob-home").join(&to)).unwrap();
    }
    let ended = alice.links.spoiled();
    assert_eq!(ended, spoiled, "not every spoiled link has ended");
    println!("{ended} links were spoiled and ended; every download ended with the right bytes");
}

#[test]
fn a_spoiled_session_ends_and_the_next_one_serves() {
    let wired = Wired::new();
    let mut count = 0;
    for plan in plans() {
        count += 1;
        let mut carol = wired.client_of(&format!("carol{count}-home"), 1);
        carol.client.enter(&format!("carol{count}"));
        let recorder = &carol.to_trackers[0];
        recorder.spoil(plan);
        recorder.cut();
        // There is no other tracker to ask: the spoiled session has to end, and the next one to
        // answer.
        eventually(&format!("the next session answers after {plan:?}"), || {
            let answer = carol.client.object("list_my_groups");
            (answer["ok"] == true && carol.to_trackers[0].spoiled() == 1).then_some(())
        });
    }
    println!("{count} sessions were spoiled and ended; the next ones answered");
}

#[test]
fn a_spoiled_replication_link_ends_and_the_next_one_brings_everything() {
    let wired = Wired::new();
    let mut dora = wired.client("dora-home");
    dora.client.enter("dora");
    let mut count = 0;
    for plan in plans().step_by(2) {
        count += 1;
        let recorder = &wired.between[count % 2];
        let before = recorder.spoiled();
        recorder.spoil(plan);
        recorder.cut();
        eventually(&format!("the link has ended after {plan:?}"), || {
            (recorder.spoiled() > before).then_some(())
        });
        assert_eq!(dora.client.object(&format!("create_group g{count}"))["ok"], true, "{plan:?}");
        wired.wait_synced();
    }
    println!(
        "{count} replication links were spoiled and ended; both trackers hold the same directory"
    );
}
