//! Trackers that share one database over PostgreSQL's wire: the life of a network on it, and faults
//! of the trackers and of the database in the middle of changes.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use posse::types::{Change, DownloadState, Refusal};
use posse::wire::tracker::{Event, FromTracker, Reply};

use crate::harness::{
    Cluster, Content, LOGGING, Process, RawClient, TrackerProcess, World, device, eventually,
    request_id,
};

fn world(cluster: &Cluster, trackers: usize) -> World {
    World::with_options(trackers, &["--store", &cluster.url()])
}

/// nik makes a group, bob joins it, and fetches what nik offers.
fn live(world: &World) {
    let content = Content::new("a.bin", 3 << 20, 71);
    world.put("nik", &content);
    let (mut nik, mut bob) = (world.client("nik"), world.client("bob"));
    nik.enter("nik");
    bob.enter("bob");
    nik.ok("create_group lab", &[]);
    bob.ok("join_group lab", &[]);
    nik.ok("accept_request lab bob", &[]);
    nik.ok("upload_file a.bin lab", &[]);
    bob.ok("download_file lab a.bin", &[]);
    bob.wait_downloads();
    assert_eq!(crate::harness::sha1_of(&bob.path("a.bin")), content.sha1());
    nik.ok("remove_member lab bob", &[]);
    bob.refused("list_files lab", "not a member");
}

#[test]
fn a_network_lives_on_one_database_and_its_trackers_come_and_go() {
    let cluster = Cluster::start();
    let mut world = world(&cluster, 3);
    live(&world);
    world.wait_synced();
    let before = world.trackers[1].status();
    assert_eq!((&*before.0["users"], &*before.0["groups"]), ("2", "1"));
    // Any of them goes; what it did stays, and it comes again with nothing of its own.
    world.trackers[0].kill9();
    let mut carl = RawClient::enter(world.tracker(2), "carl");
    carl.create_group("late");
    std::fs::remove_dir_all(world.trackers[0].data_dir()).unwrap();
    world.trackers[0].restart();
    world.wait_synced();
    let status = world.trackers[0].status();
    assert_eq!((&*status.0["users"], &*status.0["groups"]), ("3", "2"));
    let mut again = RawClient::connect(world.tracker(1), &device(), 1).unwrap();
    again.login("carl").unwrap();
    assert_eq!(again.group_names(), ["lab", "late"]);
}

/// Waits for an event of the group, notes it, and returns how long that took.
fn wait_event(client: &mut RawClient, heard: &mut Vec<Event>) -> Duration {
    let since = Instant::now();
    loop {
        if let FromTracker::Event(event @ (Event::Admitted { .. } | Event::Removed { .. })) =
            client.receive().unwrap()
        {
            heard.push(event);
            return since.elapsed();
        }
    }
}

#[test]
fn what_is_changed_at_one_tracker_is_told_at_the_others_once_and_within_a_second() {
    let cluster = Cluster::start();
    let world = world(&cluster, 2);
    let mut nik = RawClient::enter(world.tracker(1), "nik");
    let group = nik.create_group("lab");
    let mut bob = RawClient::enter(world.tracker(2), "bob");
    let mut other = RawClient::connect(world.tracker(1), &device(), 1).unwrap();
    let user = other.login("bob").unwrap().user;
    let (mut slowest, mut heard) = (Duration::ZERO, Vec::new());
    for _ in 0..6 {
        other.change(request_id(), &Change::JoinGroup { group }).unwrap();
        for change in [Change::AcceptRequest { group, user }, Change::RemoveMember { group, user }]
        {
            assert!(matches!(nik.change(request_id(), &change).unwrap(), Reply::Done(_)));
            slowest = slowest.max(wait_event(&mut bob, &mut heard));
        }
    }
    println!("the slowest event took {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    // An event that came twice would have come in the place of the next one.
    let in_turn = |pair: &[Event]| matches!(pair, [Event::Admitted { .. }, Event::Removed { group: of }] if *of == group);
    assert!(heard.chunks(2).all(in_turn), "{heard:?}");
}

/// Waits until a device is told to do that in a swarm.
fn wait_peer(client: &mut RawClient, state: DownloadState) {
    loop {
        match client.receive().expect("it is told") {
            FromTracker::Event(Event::Peer(peer)) if peer.state == state => return,
            _ => continue,
        }
    }
}

#[test]
fn who_is_at_one_tracker_is_found_at_all_others() {
    let cluster = Cluster::start();
    let mut world = world(&cluster, 3);
    let mut nik = RawClient::enter(world.tracker(1), "nik");
    let group = nik.create_group("lab");
    let mut bob = RawClient::enter(world.tracker(2), "bob");
    let user =
        RawClient::connect(world.tracker(3), &device(), 1).unwrap().login("bob").unwrap().user;
    bob.change(request_id(), &Change::JoinGroup { group }).unwrap();
    nik.change(request_id(), &Change::AcceptRequest { group, user }).unwrap();
    let facts = Content::new("a.bin", 1 << 20, 73).facts();
    let file = facts.info_hash;
    nik.share(group, facts);
    nik.announce(group, file, DownloadState::Seeding);
    let found = |client: &mut RawClient| {
        eventually("the seeder is found", || {
            let found = client.announce(group, file, DownloadState::Leeching);
            client.announce(group, file, DownloadState::Stopped);
            found.first().map(|peer| (peer.state, peer.address.ip().is_loopback()))
        })
    };
    assert_eq!(found(&mut bob), (DownloadState::Seeding, true));
    // Who is counted: at the tracker with the seeder, at one with another session, and at one with
    // none.
    let mut other = RawClient::connect(world.tracker(3), &device(), 1).unwrap();
    other.login("bob").unwrap();
    for client in [&mut nik, &mut bob, &mut other] {
        eventually("one seeds, two are online", || (client.online(group) == (1, 2)).then_some(()));
    }
    // What changes is told: to the one that leeches that the seeder goes and comes, to the seeder
    // that one leeches.
    bob.announce(group, file, DownloadState::Leeching);
    wait_peer(&mut nik, DownloadState::Leeching);
    nik.announce(group, file, DownloadState::Stopped);
    wait_peer(&mut bob, DownloadState::Stopped);
    loop {
        if let FromTracker::Event(Event::Withdrawn { info_hash, .. }) = bob.receive().unwrap() {
            break assert_eq!(info_hash, file);
        }
    }
    nik.announce(group, file, DownloadState::Seeding);
    wait_peer(&mut bob, DownloadState::Seeding);
    // One whose tracker is killed is there no more.
    world.trackers[0].kill9();
    eventually("the seeder is gone with its tracker", || {
        (bob.online(group) == (0, 1)).then_some(())
    });
    assert!(bob.announce(group, file, DownloadState::Leeching).is_empty());
}

#[test]
fn clients_keep_sessions_with_two_trackers_and_find_each_other_through_any() {
    let cluster = Cluster::start();
    let mut world = world(&cluster, 5);
    live(&world);
    let content = Content::new("b.bin", 2 << 20, 72);
    world.put("carl", &content);
    let (mut carl, mut dora) = (world.client("carl"), world.client("dora"));
    carl.enter("carl");
    dora.enter("dora");
    let sessions = |client: &mut crate::harness::ClientProcess| {
        eventually("the client has two sessions", || {
            let status = client.object("trackers");
            let trackers = status["trackers"].as_array().unwrap().clone();
            let with = |role: &str| trackers.iter().filter(|one| one["role"] == role).count();
            (with("spare") == 3 && with("primary") + with("standby") == 2).then_some(())
        });
    };
    sessions(&mut carl);
    sessions(&mut dora);
    carl.ok("create_group studio", &[]);
    dora.ok("join_group studio", &[]);
    carl.ok("accept_request studio dora", &[]);
    carl.ok("upload_file b.bin studio", &[]);
    dora.ok("download_file studio b.bin", &[]);
    dora.wait_downloads();
    assert_eq!(crate::harness::sha1_of(&dora.path("b.bin")), content.sha1());
    // All but one go: everybody is at that one.
    for victim in 0..4 {
        world.trackers[victim].kill9();
    }
    dora.ok("create_group late", &[]);
    eventually("carl is at the last tracker, too", || {
        let groups = carl.object("list_groups");
        groups.to_string().contains("late").then_some(())
    });
}

/// Who makes groups, at whichever tracker answers, each with a request that is repeated until it
/// was answered.
fn make_groups(trackers: &[SocketAddr], user: &str, count: usize, made: &AtomicUsize) {
    let mut at = 0;
    let mut session = None;
    for number in 0..count {
        let name = format!("{user}-{number}").parse().unwrap();
        let (request, create) = (request_id(), Change::CreateGroup { name });
        let since = Instant::now();
        loop {
            assert!(since.elapsed() < Duration::from_secs(100), "{user} waits in vain");
            let client = match &mut session {
                Some(client) => client,
                none => {
                    at = (at + 1) % trackers.len();
                    let Ok(mut client) = RawClient::connect(trackers[at], &device(), 1) else {
                        continue;
                    };
                    if client.login(user).is_err() {
                        continue;
                    }
                    none.insert(client)
                }
            };
            match client.change(request, &create) {
                Ok(Reply::Done(_)) => break,
                Ok(Reply::Refused(Refusal::Busy)) => {}
                Ok(other) => panic!("{user}-{number}: {other:?}"),
                Err(_) => session = None,
            }
        }
        made.fetch_add(1, Ordering::SeqCst);
    }
}

const USERS: [&str; 4] = ["ann", "bob", "carl", "dora"];

/// Users make groups at three trackers while something happens to these or to the database. Every
/// group is there once afterwards.
fn disturbed(world: &mut World, each: usize, disturb: impl FnOnce(&mut World, &dyn Fn(usize))) {
    USERS.iter().for_each(|user| drop(RawClient::enter(world.tracker(1), user)));
    let addresses = [1, 2, 3].map(|number| world.tracker(number));
    let (made, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (made, is_over) = (&made, &is_over);
        let makers: Vec<_> = USERS
            .iter()
            .map(|user| scope.spawn(move || make_groups(&addresses, user, each, made)))
            .collect();
        disturb(world, &|count| {
            eventually("enough groups are made", || {
                let is_enough = made.load(Ordering::SeqCst) >= count;
                (is_enough || is_over.load(Ordering::SeqCst)).then_some(())
            });
        });
        let ended: Vec<_> = makers.into_iter().map(|maker| maker.join()).collect();
        is_over.store(true, Ordering::SeqCst);
        ended.into_iter().for_each(|end| end.unwrap());
    });
    let mut client = RawClient::enter(world.tracker(3), "ann");
    let names = client.group_names();
    let once: BTreeSet<&String> = names.iter().collect();
    assert_eq!((names.len(), once.len()), (USERS.len() * each, USERS.len() * each));
    world.wait_synced();
    assert_eq!(world.trackers[0].status().0["groups"], names.len().to_string());
}

#[test]
fn trackers_that_are_killed_lose_nothing_and_do_nothing_twice() {
    let cluster = Cluster::start();
    let mut world = world(&cluster, 3);
    disturbed(&mut world, 40, |world, wait_made| {
        for (round, victim) in [0, 1, 0, 1].into_iter().enumerate() {
            wait_made(20 + 25 * round);
            world.trackers[victim].restart();
        }
    });
}

#[test]
fn a_database_that_is_killed_loses_nothing_and_does_nothing_twice() {
    let mut cluster = Cluster::make(&[]);
    cluster.start_server();
    let mut world = world(&cluster, 3);
    disturbed(&mut world, 30, |_, wait_made| {
        for round in 0..3 {
            wait_made(20 + 25 * round);
            cluster.stop_server("KILL");
            cluster.start_server();
        }
    });
}

#[test]
fn a_standby_takes_over_and_nothing_acknowledged_is_lost() {
    let mut primary = Cluster::start();
    let standby = Cluster::standby_of(&primary);
    let hosts = format!("{},{}", primary.path().display(), standby.path().display());
    let url = format!("postgres:///postgres?user=posse&host={hosts}");
    let mut world = World::with_options(3, &["--store", &url]);
    disturbed(&mut world, 30, |_, wait_made| {
        wait_made(40);
        primary.stop_server("KILL");
        standby.promote();
    });
}

/// Starts a tracker that is to refuse, and returns its words.
fn refused(world: &World, store: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracker"));
    command.args(["127.0.0.1", "0", "--store", store, "--network-key"]).arg(world.network_key());
    command.arg("--data-dir").arg(world.path().join("refused"));
    let finished = Process::spawn("tracker", &mut command).finish(Duration::from_secs(90));
    assert_eq!(finished.status, Some(2), "{finished:?}");
    finished.err.join("\n")
}

#[test]
fn a_database_that_takes_no_writes_or_is_not_there_is_named_and_a_password_is_no_argument() {
    let primary = Cluster::start();
    let world = world(&primary, 1);
    let standby = Cluster::standby_of(&primary);
    let words = refused(&world, &standby.url());
    assert!(words.contains("hot standby"), "{words}");
    let words = refused(&world, "postgres://me:secret@127.0.0.1/posse");
    assert!(words.contains("list of processes") && !words.contains("secret"), "{words}");
    let words = refused(&world, &primary.url().replace("/postgres?", "/nowhere?"));
    assert!(words.contains("\"nowhere\" does not exist"), "{words}");
    let file = world.path().join("store.url");
    std::fs::write(&file, primary.url()).unwrap();
    let set = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&file, mode).unwrap();
    };
    set(0o644);
    let words = refused(&world, file.to_str().unwrap());
    assert!(words.contains("chmod 600"), "{words}");
    set(0o600);
    let data = world.path().join("tracker2");
    let key = world.network_key();
    let options = ["--store", file.to_str().unwrap()];
    let second = TrackerProcess::start(
        &world.info,
        1,
        &data,
        &key,
        &[&options[..], &["--listen", "127.0.0.1:0"]].concat(),
    );
    RawClient::enter(world.tracker(1), "nik");
    RawClient::connect(second.address, &device(), 1).unwrap().login("nik").unwrap();
}

#[test]
fn a_database_that_is_full_or_slow_refuses_changes_and_goes_on_answering() {
    let cluster = Cluster::start();
    let mut world = world(&cluster, 1);
    let mut nik = RawClient::enter(world.tracker(1), "nik");
    nik.create_group("lab");
    let fail = |body: &str| {
        cluster.sql(&format!(
            "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;
             CREATE OR REPLACE TRIGGER fail BEFORE INSERT OR UPDATE ON posse_rows
                FOR EACH STATEMENT EXECUTE FUNCTION fail()"
        ));
    };
    fail("RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100';");
    let (request, name) = (request_id(), "later".parse().unwrap());
    let create = Change::CreateGroup { name };
    assert_eq!(nik.change(request, &create).unwrap(), Reply::Refused(Refusal::Busy));
    assert_eq!(nik.group_names(), ["lab"], "what is there is answered");
    fail("PERFORM pg_sleep(1); RETURN NULL;");
    assert!(matches!(nik.change(request, &create).unwrap(), Reply::Done(_)));
    cluster.sql("DROP TRIGGER fail ON posse_rows");
    assert!(matches!(nik.change(request, &create).unwrap(), Reply::Done(_)));
    assert_eq!(nik.group_names(), ["lab", "later"]);
    assert!(world.trackers[0].is_up());
}

/// Rows and entries that no request asks for, so that the tables have a size.
const POPULATE: &str =
    "INSERT INTO posse_rows SELECT '\\xf0'::bytea || decode(md5(n::text), 'hex'), 0, n, '' FROM
        generate_series(1, 30000) AS n;
    INSERT INTO posse_entries SELECT '\\xf0'::bytea || decode(md5(n::text), 'hex'), '' FROM
        generate_series(1, 30000) AS n;
    INSERT INTO posse_feed SELECT decode(md5((n % 7)::text), 'hex'), n, '' FROM
        generate_series(1, 30000) AS n;
    INSERT INTO posse_presence SELECT decode(md5((n % 97)::text), 'hex'), decode(md5(n::text), 'hex'),
        decode(md5((n % 7)::text), 'hex'), n, 2, '' FROM generate_series(1, 30000) AS n;";

#[test]
fn no_request_reads_a_whole_table() {
    let explaining = [
        "fsync=off",
        "session_preload_libraries=auto_explain",
        "auto_explain.log_min_duration=0",
        "auto_explain.log_nested_statements=on",
    ];
    let mut cluster = Cluster::make(&[&explaining[..], &LOGGING].concat());
    cluster.start_server();
    drop(world(&cluster, 1));
    cluster.sql(POPULATE);
    cluster.sql("ANALYZE");
    let world = world(&cluster, 2);
    live(&world);
    let mut client = RawClient::enter(world.tracker(2), "eve");
    for n in 0..20 {
        client.create_group(&format!("g{n}"));
    }
    assert_eq!(client.group_names().len(), 21);
    let log = cluster.log();
    let plans = |scan: &str| log.matches(scan).count();
    let used =
        plans("Index Scan using posse_rows_pkey") + plans("Index Scan using posse_entries_pkey");
    println!("{used} scans of the keys, {} of ages", plans("posse_rows_by_age"));
    assert!(used > 100 && plans("posse_rows_by_age") > 0, "the plans are in the log");
    let present =
        plans("Index Scan using posse_presence_pkey") + plans("Index Scan on posse_presence_pkey");
    let changed = plans("Index Scan using posse_presence_by_sequence");
    println!("{present} scans of the swarms, {changed} of what has changed in them");
    assert!(present > 0 && changed > 0, "the plans are in the log");
    for table in ["posse_rows", "posse_entries", "posse_feed", "posse_presence", "posse_trackers"] {
        let populating = format!("Seq Scan on {table}");
        assert_eq!(plans(&populating), 0, "a whole table is read: {log}");
    }
    let list = include_str!("../../docs/CONFORMANCE.md");
    for statement in cluster.statements() {
        assert!(list.contains(&format!("| `{statement}` | C")), "it is not listed: {statement}");
    }
}

/// `tracker admin` with a data directory and a command.
fn admin(data: &std::path::Path, words: &[&str]) -> crate::harness::Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracker"));
    command.args(["admin", "--data-dir"]).arg(data).args(words);
    Process::spawn("admin", &mut command).finish(Duration::from_secs(60))
}

#[test]
fn a_directory_goes_into_a_database_and_back() {
    let cluster = Cluster::start();
    let mut before = World::new(1);
    live(&before);
    let digest = before.trackers[0].status().directory().to_owned();
    let data = before.trackers[0].data_dir().to_owned();
    let running = admin(&data, &["import", &cluster.url()]);
    assert!(running.err.join("").contains("in use by another process"), "{running:?}");
    before.trackers[0].kill9();
    let imported = admin(&data, &["import", &cluster.url()]);
    assert_eq!(imported.status, Some(0), "{imported:?}");
    assert!(imported.out.join("").contains("rows of"), "{imported:?}");
    let again = admin(&data, &["import", &cluster.url()]);
    assert!(again.err.join("").contains("import needs an empty one"), "{again:?}");

    let mut shared = world(&cluster, 2);
    assert_eq!(shared.trackers[0].status().directory(), digest);
    RawClient::enter(shared.tracker(2), "nik").create_group("later");
    shared.wait_synced();
    let digest = shared.trackers[1].status().directory().to_owned();
    drop(shared);

    let back = tempfile::tempdir().unwrap();
    let exported = admin(&back.path().join("data"), &["export", &cluster.url()]);
    assert_eq!(exported.status, Some(0), "{exported:?}");
    let alone = World::prepared(1, |dir| {
        std::fs::rename(back.path().join("data"), dir.join("tracker1")).unwrap();
    });
    let mut alone = alone;
    assert_eq!(alone.trackers[0].status().directory(), digest);
    let mut nik = RawClient::connect(alone.tracker(1), &device(), 1).unwrap();
    nik.login("nik").unwrap();
    assert_eq!(nik.group_names(), ["lab", "later"]);
}
