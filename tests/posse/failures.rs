//! What systems of this kind got wrong when they were run: a test for each line of that list, named
//! after it.
//!
//! Where a line names several faults, the test here shows those that no other test shows. The
//! others:
//!
//! | fault | proved by |
//! |---|---|
//! | no retry after corruption | [`crate::corrupt`] |
//! | an idle connection that blocks all seeding, slow and garbage frames, `GET_PIECE /etc/passwd` | [`crate::hostile`] |
//! | replication that never catches up, never deletes, splits for good | [`crate::partition`], [`crate::restart`] |
//! | non-members who list | [`crate::commands`] |
//! | shares forgotten on restart | [`crate::transfers`] |
//! | empty files refused, a shared file touched | [`crate::transfers`] |
//! | separators inside names, a space | [`crate::names`], [`crate::scripts`] |
//! | unchecked products of `u32`s, bitfields rounded down | [`crate::hostile`], [`crate::corrupt`] |
//! | a tracker that exits without a terminal | [`crate::starting`] |

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use posse::types::{Change, DownloadState, Refusal};
use posse::wire::frame::{read_message, to_frame};
use posse::wire::peer::{Handshake, PeerId};
use posse::wire::tracker::{ClientHello, FromClient, FromTracker, Hello, Opening, Reply, Request};

use crate::harness::{
    Behaviour, Content, EvilPeer, PATIENCE, RawClient, RawLink, World, device, eventually,
    request_id, sha1_of,
};

const MIB: u64 = 1 << 20;

/// "One `read` taken for one message; hash lists over a buffer's size cut off while reporting
/// success; replies glued or leaking memory."
#[test]
fn line_1_messages_are_not_reads_and_long_hash_lists_are_whole() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    // Frames that come a byte at a time, and many frames in one write.
    let pings: Vec<u8> = (1..=100)
        .flat_map(|number| to_frame(&FromClient { number, request: Request::Ping }))
        .collect();
    let bytes = [to_frame(&Opening::new(Hello::Client(ClientHello { port: 1 }))), pings].concat();
    for step in [1, 7, bytes.len()] {
        let mut stream = device().dial_tracker(world.tracker(1)).unwrap();
        bytes.chunks(step).for_each(|part| stream.write_all(part).unwrap());
        assert!(matches!(read_message(&mut stream, 1 << 20).unwrap(), FromTracker::Welcome(_)));
        for want in 1..=100 {
            let FromTracker::Reply { number, reply, .. } =
                read_message(&mut stream, 1 << 20).unwrap()
            else {
                panic!("no reply")
            };
            assert_eq!((number, reply), (want, Reply::Pong));
        }
    }
    // 2,048 pieces: a hash list of 40 KiB, which comes in three parts.
    let content = Content::new("fine.bin", 32 << 20, 91).with_piece_len(16 << 10);
    let _seeder = EvilPeer::start(world.tracker(1), "nik", "lab", &content, Behaviour::Honest);
    let mut bob = world.client("bob");
    bob.login("bob");
    bob.ok("download_file lab fine.bin", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("fine.bin")), content.sha1());
}

/// "'Downloaded', with 0 bytes, holes or corruption under the final name; `[C]` before the check;
/// no retry allowed afterwards."
#[test]
fn line_2_the_final_name_stands_only_on_a_whole_file() {
    let mut world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("big.bin", 8 << 20, 92);
    world.put("nik", &content);
    let (mut nik, gate) = world.gated("nik");
    nik.login("nik");
    nik.ok("upload_file big.bin lab", &[]);
    let mut bob = world.client("bob");
    bob.login("bob");
    gate.allow(0);
    bob.ok("download_file lab big.bin", &[]);
    // At every step of the way: either no file of that name, or the whole one.
    for allowed in (0..=10).map(|n| n * MIB) {
        gate.allow(allowed);
        let reached = eventually("the next part is through", || {
            let complete = bob.path("big.bin").exists();
            (gate.passed() >= allowed || complete).then_some(complete)
        });
        let shown = bob.download("big.bin");
        match reached || shown["state"] == "complete" {
            true => assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1()),
            false => assert_ne!(shown["state"], "complete"),
        }
    }
    gate.lift();
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
}

/// "A crash from a blank line, a directory, a missing file, a bad index, a NUL, an unknown group,
/// one word too few."
#[test]
fn line_3_nothing_typed_crashes_a_client() {
    let world = World::new(1);
    let mut nik = world.client("nik");
    nik.enter("nik");
    nik.ok("create_group lab", &[]);
    let odd: [&[u8]; 14] = [
        b"\n",
        b"   \t \n",
        b"\0\n",
        b"upload_file \0 lab\n",
        b"login \0 \0\n",
        b"upload_file /tmp lab\n",
        b"upload_file /no/such/file lab\n",
        b"list_files unknown\n",
        b"download_file lab 99999999999999999999\n",
        b"accept_request lab\n",
        b"wait 99999999999999999999999999\n",
        b"\xff\xfe\n",
        b"'\n",
        b"\\\n",
    ];
    for line in odd {
        nik.process().send_bytes(line).unwrap();
    }
    let long = [&b"create_group "[..], &vec![b'x'; 200_000], b"\n"].concat();
    nik.process().send_bytes(&long).unwrap();
    nik.process().send("whoami");
    nik.process().wait_out("who it is, after all that", |line| {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        (object["command"] == "whoami" && object["ok"] == true).then_some(())
    });
    assert!(nik.process().is_running());
    let end = nik.finish();
    assert_eq!(end.status, Some(1), "failed commands are exit status 1: {end:#?}");
    assert!(!end.err.iter().any(|line| line.contains("panicked")), "{end:#?}");
}

/// "SIGPIPE or an unhandled reset when a tracker or peer vanishes; endless retries without pause,
/// limit or message; one stuck download that blocks the others or the prompt; one idle connection
/// that blocks all seeding."
#[test]
fn line_4_what_vanishes_or_sticks_holds_up_nothing_else() {
    let mut world = World::new(1);
    world.group("lab", &["nik", "bob", "eve"]);
    let (stuck, fine) =
        (Content::new("stuck.bin", 4 << 20, 93), Content::new("fine.bin", 4 << 20, 94));
    let silent = EvilPeer::start(world.tracker(1), "eve", "lab", &stuck, Behaviour::Silent);
    world.put("nik", &fine);
    let (mut nik, mut bob) = (world.client("nik"), world.client("bob"));
    nik.login("nik");
    nik.ok("upload_file fine.bin lab", &[]);
    bob.login("bob");
    bob.ok("download_file lab stuck.bin", &[]);
    silent.wait_requests(1);
    bob.ok("download_file lab fine.bin", &[]);
    eventually("the other download is done", || bob.path("fine.bin").exists().then_some(()));
    assert_eq!(sha1_of(&bob.path("fine.bin")), fine.sha1());
    // The tracker and the silent peer vanish: nobody dies of it, and nobody spins.
    drop(silent);
    world.trackers[0].kill9();
    let (cpu, start) = (bob.process().cpu_seconds(), Instant::now());
    bob.refused("list_groups", "tracker");
    std::thread::sleep(Duration::from_secs(2));
    let share = (bob.process().cpu_seconds() - cpu) / start.elapsed().as_secs_f64();
    assert!(share < 0.3, "a client without a tracker uses {:.0} % of a core", share * 100.0);
    assert!(bob.process().is_running() && nik.process().is_running());
    let lines = bob.process().said().err.len();
    assert!(lines < 200, "{lines} lines of log in a few seconds");
    // A reader that goes away, as in `client ... | head -1`.
    world.trackers[0].restart();
    let command = format!(
        "'{}' 127.0.0.1:0 '{}' --data-dir '{}' -c help -c help -c help | head -1",
        env!("CARGO_BIN_EXE_client"),
        world.info.display(),
        world.home("piped").join(".posse").display()
    );
    let piped = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
    let err = String::from_utf8_lossy(&piped.stderr).into_owned();
    assert!(!err.contains("panicked"), "{err}");
}

/// "The first peer asked for everything, so that a second seeder gains nothing; 100 ms scheduler
/// ticks; a thread or connection a piece."
#[test]
fn line_5_seeders_share_the_work_and_pieces_cost_no_threads() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob", "eve"]);
    let content = Content::new("fine.bin", 24 << 20, 95).with_piece_len(16 << 10);
    let seeders = ["nik", "eve"]
        .map(|user| EvilPeer::start(world.tracker(1), user, "lab", &content, Behaviour::Honest));
    seeders.iter().for_each(|seeder| seeder.allow_bytes(0));
    let mut bob = world.client("bob");
    bob.login("bob");
    let before = bob.process().proc_status("Threads");
    bob.ok("download_file lab fine.bin", &[]);
    seeders.iter().for_each(|seeder| seeder.wait_requests(1));
    let start = Instant::now();
    seeders.iter().for_each(|seeder| seeder.allow_bytes(6 * MIB));
    eventually("both have sent a quarter", || {
        seeders.iter().all(|s| s.sent() >= 5 * MIB).then_some(())
    });
    let threads = bob.process().proc_status("Threads") - before;
    seeders.iter().for_each(EvilPeer::lift);
    bob.wait_downloads();
    // 1,536 pieces at a tick of 100 ms each would be 153 s.
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "1,536 small pieces took {:?}",
        start.elapsed()
    );
    assert!(threads < 40, "{threads} threads for one download from two peers");
    assert!(seeders.iter().all(|seeder| seeder.links() <= 4), "links were made again and again");
    assert_eq!(sha1_of(&bob.path("fine.bin")), content.sha1());
}

/// "Descriptors leaked at each accept; `FD_SETSIZE`; two clients a tracker; a full core spent idle,
/// or at the end of stdin; a tracker that exits without a terminal; a port that cannot be bound
/// again after a crash."
#[test]
fn line_6_descriptors_cores_and_ports_are_given_back() {
    let mut world = World::new(1);
    world.group("lab", &["nik"]);
    let tracker = world.tracker(1);
    let mut nik = world.client("nik");
    nik.login("nik");
    let ports = [tracker, nik.address];
    let from = |number: u32, to: SocketAddr| {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket
            .bind(&SocketAddr::new(IpAddr::from([127, 79, (number / 40) as u8, 1]), 0).into())
            .unwrap();
        socket.connect(&to.into()).map(|()| TcpStream::from(socket))
    };
    let counts = |world: &mut World, nik: &mut crate::harness::ClientProcess| {
        [world.trackers[0].process().fd_count(), nik.process().fd_count()]
    };
    let before = counts(&mut world, &mut nik);
    // More at once than FD_SETSIZE, each with a session of its own.
    let home = |number: u32| [127, 79, (number / 40) as u8, 1];
    let crowd: Vec<RawClient> = (0..1100)
        .map(|number| RawClient::connect(tracker, &device().at(home(number)), 1).unwrap())
        .collect();
    drop(crowd);
    for number in 0..400 {
        for port in ports {
            drop(from(number, port).unwrap());
        }
    }
    eventually("every descriptor is given back", || {
        let now = counts(&mut world, &mut nik);
        (now[0] <= before[0] + 3 && now[1] <= before[1] + 3).then_some(())
    });
    // Idle, with stdin at its end: the tracker and a client that seeds.
    world.trackers[0].process().close_stdin();
    nik.process().send("seed");
    nik.process().close_stdin();
    let cpu = [world.trackers[0].process().cpu_seconds(), nik.process().cpu_seconds()];
    std::thread::sleep(Duration::from_secs(2));
    for (used, before) in
        [world.trackers[0].process().cpu_seconds(), nik.process().cpu_seconds()].iter().zip(cpu)
    {
        assert!(used - before < 0.4, "{:.2} s of a core in 2 s of idleness", used - before);
    }
    // Killed with connections open, it takes its port again at once; the client comes back by
    // itself.
    world.trackers[0].restart();
    assert_eq!(world.tracker(1), tracker);
}

/// "Whole files in memory (4 GiB for 2 GiB); hashing from the start for every piece."
#[test]
fn line_7_memory_and_hashing_do_not_grow_with_the_file() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("big.bin", 256 << 20, 97);
    world.put("nik", &content);
    let (mut nik, mut bob) = (world.client("nik"), world.client("bob"));
    nik.login("nik");
    nik.ok("upload_file big.bin lab", &[]);
    bob.login("bob");
    bob.ok("download_file lab big.bin", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
    for client in [&mut nik, &mut bob] {
        let peak = client.process().proc_status("VmHWM");
        assert!(peak < 100 << 10, "{peak} kB at the peak for a file of {} kB", 256 << 10);
        // Each byte is hashed twice; from the start for each of 512 pieces would be 256 times that.
        let cpu = client.process().cpu_seconds();
        assert!(cpu < 30.0, "{cpu} s of processor time for 256 MiB");
    }
}

/// "Replication that is fire-and-forget, never deletes, never catches up, splits for good, or lets
/// one owner's group vanish without a word."
#[test]
fn line_8_what_is_ended_is_ended_everywhere() {
    let mut world = World::new(2);
    world.group("lab", &["nik", "bob"]);
    let file = Content::new("a.bin", 1000, 98).facts();
    let mut bob = RawClient::enter(world.tracker(1), "bob");
    let group = bob.group("lab").group;
    bob.share(group, file.clone());
    world.wait_synced();
    world.trackers[1].freeze();
    let stop = Change::StopShare { group, file: file.id() };
    assert!(matches!(bob.change(request_id(), &stop).unwrap(), Reply::Done(_)));
    assert!(matches!(
        bob.change(request_id(), &Change::LeaveGroup { group }).unwrap(),
        Reply::Done(_)
    ));
    world.trackers[1].thaw();
    world.wait_synced();
    let mut nik = RawClient::enter(world.tracker(2), "nik");
    assert!(nik.files(group).is_empty());
    let Reply::Members { entries, .. } =
        nik.ask(Request::ListMembers { group, after: None }).unwrap()
    else {
        panic!()
    };
    assert_eq!(entries.len(), 1);
    assert!(matches!(
        nik.change(request_id(), &Change::LeaveGroup { group }).unwrap(),
        Reply::Done(_)
    ));
    assert!(
        RawClient::enter(world.tracker(1), "nik").group_names().is_empty(),
        "a group without members has ended everywhere"
    );
}

/// "The command that met the dead tracker lost; 'already logged in' after a crash; sessions that do
/// not survive failover."
#[test]
fn line_9_commands_and_sessions_survive_the_tracker_they_met() {
    let mut world = World::new(2);
    let mut nik = world.client("nik");
    nik.enter("nik");
    for number in 0..6 {
        let victim = number % 2;
        world.trackers[victim].kill9();
        let start = Instant::now();
        nik.ok(&format!("create_group g{number}"), &[]);
        assert!(start.elapsed() < Duration::from_secs(10), "failover took {:?}", start.elapsed());
        nik.ok("whoami", &[]);
        world.trackers[victim].restart();
        world.wait_synced();
    }
    let groups = nik.object("list_my_groups");
    assert_eq!(groups["groups"].as_array().map(Vec::len), Some(6), "each was made once: {groups}");
    // One that hangs rather than dies: the command goes to the other.
    world.trackers[0].freeze();
    nik.ok("create_group frozen0", &[]);
    world.trackers[0].thaw();
    world.wait_synced();
    world.trackers[1].freeze();
    nik.ok("create_group frozen1", &[]);
    world.trackers[1].thaw();
    // The client itself crashes: nothing of the old session stands in the way.
    nik.process().kill9();
    let mut nik = world.client("nik");
    nik.login("nik");
}

/// "Identity the client may choose; passwords stored, sent or printed in clear; a wrong password
/// that logs in; replication open to anyone; `GET_PIECE /etc/passwd`; non-members who list and
/// fetch."
#[test]
fn line_10_identity_comes_from_the_session_and_passwords_stay_secret() {
    const SECRET: &str = "correct-horse-battery-staple";
    let mut world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    // Before login, nothing; after it, nothing that is not one's own.
    let mut stranger = RawClient::connect(world.tracker(1), &device(), 1).unwrap();
    let reply = stranger.ask(Request::WhoAmI).unwrap();
    assert_eq!(reply, Reply::Refused(Refusal::LoginFirst));
    let group = RawClient::enter(world.tracker(1), "nik").group("lab").group;
    for request in [
        Request::ListFiles {
            group,
            after: None,
            pattern: None,
            order: posse::types::FileOrder::Name,
        },
        Request::ListMembers { group, after: None },
    ] {
        assert_eq!(stranger.ask(request.clone()).unwrap(), Reply::Refused(Refusal::LoginFirst));
        let mut eve = RawClient::enter(world.tracker(1), "eve");
        assert_eq!(eve.ask(request).unwrap(), Reply::Refused(Refusal::NotMember));
    }
    let mut eve = RawClient::enter(world.tracker(1), "eve");
    let file = Content::new("a.bin", 1000, 99).facts();
    let share = eve.change(request_id(), &Change::ShareFile { group, file: file.clone() }).unwrap();
    assert_eq!(share, Reply::Refused(Refusal::NotMember));
    RawClient::enter(world.tracker(1), "bob").share(group, file.clone());
    let peers = eve.announce_raw(group, file.info_hash, DownloadState::Leeching);
    assert!(
        !format!("{peers:?}").contains("127.0.0.1"),
        "a non-member was told of peers: {peers:?}"
    );
    // Passwords: wrong ones, and where right ones end up.
    let mut carl = world.client("carl");
    carl.ok(&format!("create_user carl {SECRET}"), &[]);
    for wrong in [
        "",
        "x",
        "correct-horse-battery-stapl",
        "correct-horse-battery-staple2",
        "Correct-horse-battery-staple",
    ] {
        carl.refused(&format!("login carl '{wrong}'"), "");
    }
    carl.ok(&format!("login carl {SECRET}"), &[]);
    carl.refused(&format!("login carl {SECRET} extra"), "usage");
    carl.refused(&format!("change_password wrong {SECRET}"), "");
    carl.process().kill9();
    let shown = world.script(
        "carl",
        &["--log", "trace", "-c", &format!("login carl {SECRET}"), "-c", "seed 0"],
        &[],
    );
    assert_eq!(shown.status, Some(0), "{shown:#?}");
    world.trackers[0].process().signal(rustix::process::Signal::TERM);
    world.trackers[0].process().wait_exit(PATIENCE);
    let said = world.trackers[0].process().said();
    let printed =
        [&shown.out, &shown.err, &said.out, &said.err].map(|lines| lines.join("\n")).concat();
    assert!(!printed.contains(SECRET), "a password was printed");
    for path in files_below(world.path()) {
        let mut bytes = Vec::new();
        std::fs::File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
        assert!(
            !bytes.windows(SECRET.len()).any(|w| w == SECRET.as_bytes()),
            "{} holds a password",
            path.display()
        );
    }
}

/// "Shares forgotten on restart, or still served after logout. Separators inside names; no way to
/// write a space; empty files refused."
#[test]
fn line_11_nothing_is_served_after_logout() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("a.bin", 4 << 20, 100);
    world.put("nik", &content);
    let (mut nik, mut bob) = (world.client("nik"), world.client("bob"));
    nik.login("nik");
    nik.ok("upload_file a.bin lab", &[]);
    bob.login("bob");
    nik.ok("logout", &[]);
    bob.ok("download_file lab a.bin", &[]);
    eventually("it is known that nobody offers it", || {
        bob.object("why lab a.bin").to_string().contains("nobody").then_some(())
    });
    // Whoever knows the address is not served either.
    let mut session = RawClient::enter(world.tracker(1), "bob");
    let group = session.group("lab").group;
    let ticket = session.ticket(group).unwrap();
    // It may hang up before the handshake of TLS, or after.
    if let Ok(mut link) = RawLink::dial(&session.device, nik.address, nik.device()) {
        let shake = Handshake::new(content.facts().info_hash, PeerId::of_device(session.device.id))
            .encode();
        let _ = link.send_bytes(&[&to_frame(&ticket)[..], &shake].concat());
        let mut got = Vec::new();
        let _ = link.stream().read_to_end(&mut got);
        assert!(got.is_empty(), "it answers after logout");
    }
    assert_eq!(bob.bytes_done("a.bin"), 0);
    nik.login("nik");
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("a.bin")), content.sha1());
}

/// "Unchecked `u32` products; bitfield lengths rounded down; disk IO under the state lock; the same
/// truth stored twice; pieces lost when their worker fails; threads nobody owns."
#[test]
fn line_12_odd_counts_slow_disks_and_threads_are_in_hand() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    // While a large file is hashed and read, another session's command is answered; 9 pieces make a
    // bitfield of 2 bytes.
    let contents = [
        Content::new("large.bin", 128 << 20, 101),
        Content::new("odd.bin", 9 * (512 << 10) - 3, 102),
    ];
    contents.iter().for_each(|content| drop(world.put("nik", content)));
    let (mut nik, mut bob) = (world.client("nik"), world.client("bob"));
    nik.login("nik");
    bob.login("bob");
    nik.ok("upload_file odd.bin lab", &[]);
    nik.process().send("upload_file large.bin lab");
    bob.ok("download_file lab odd.bin", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("odd.bin")), contents[1].sha1());
    assert_eq!(nik.object_of("upload_file")["ok"], true);
    // Stopped in the middle of a download, with every kind of thread at work, both end in order and
    // soon.
    bob.ok("download_file lab large.bin", &[]);
    for client in [&mut bob, &mut nik] {
        client.process().signal(rustix::process::Signal::TERM);
        let start = Instant::now();
        client.process().wait_exit(Duration::from_secs(30));
        assert!(start.elapsed() < Duration::from_secs(15), "it took {:?} to stop", start.elapsed());
        assert!(!client.process().said().err.iter().any(|line| line.contains("panicked")));
    }
}

/// All files below a directory.
fn files_below(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// A password goes to one tracker at a time, and to one that hangs for a moment only.
#[test]
fn one_hung_tracker_holds_up_neither_a_new_account_nor_a_login_nor_a_new_password() {
    for hung in 0..2 {
        let mut world = World::new(2);
        let mut nik = world.client("nik");
        nik.ok("trackers", &[]);
        world.trackers[hung].freeze();
        for user in ["nik", "eve"] {
            let began = Instant::now();
            nik.ok(&format!("create_user {user} pw-{user}"), &[]);
            nik.ok(&format!("login {user} pw-{user}"), &[]);
            assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
            nik.ok("logout", &[]);
        }
        world.trackers[hung].thaw();
        nik.ok("login nik pw-nik", &[]);
        world.trackers[hung].freeze();
        let began = Instant::now();
        nik.ok("change_password pw-nik new-password", &[]);
        assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
        world.trackers[hung].thaw();
        world.wait_synced();
        nik.ok("create_group lab", &[]);
        for tracker in 1..=2 {
            let mut other = RawClient::connect(world.tracker(tracker), &device(), 1).unwrap();
            other.login_with("nik", "pw-nik").unwrap_err();
            other.login_with("nik", "new-password").unwrap();
        }
    }
}
