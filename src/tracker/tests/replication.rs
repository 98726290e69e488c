//! Several trackers in one process.

use std::net::TcpListener;

use tempfile::TempDir;

use super::*;
use crate::net::{Incoming, PeerIdentity, TrackerSecurity, WrongNetwork};
use crate::types::{
    Content, Durable, FileRow, GroupRow, Lineage, MembershipRow, MembershipState, Place, Row,
    RowBatch, SharingRow, StoreId, TrackerState, Version,
};
use crate::wire::replication::{LinkRefusal, ReplicaHello, ReplicaWelcome, ToAcceptor, ToDialler};

pub(super) struct Net {
    info: TrackerInfo,
    dirs: Vec<TempDir>,
    trackers: Vec<Option<Tracker>>,
}

impl Net {
    pub(super) fn start(count: usize) -> Self {
        let dirs = (0..count).map(|_| tempfile::tempdir().unwrap()).collect();
        let mut net =
            Self { info: network(count), dirs, trackers: (0..count).map(|_| None).collect() };
        (1..=count).for_each(|number| net.restart(number));
        net.settle();
        net
    }

    fn config(&self, number: usize) -> TrackerConfig {
        config(self.info.clone(), number as u32, self.dirs[number - 1].path())
    }

    pub(super) fn restart(&mut self, number: usize) {
        self.trackers[number - 1] = Some(Tracker::start(self.config(number)).unwrap());
    }

    pub(super) fn stop(&mut self, number: usize) {
        self.trackers[number - 1].take().unwrap().stop().unwrap();
    }

    pub(super) fn tracker(&self, number: usize) -> &Tracker {
        self.trackers[number - 1].as_ref().unwrap()
    }

    fn all(&self) -> impl Iterator<Item = TrackerStatus> + '_ {
        self.trackers.iter().flatten().map(status)
    }

    /// Waits until every tracker that runs is up with every other, and all know the same.
    pub(super) fn settle(&self) {
        let running = self.trackers.iter().flatten().count();
        wait_for("the trackers to agree", || {
            let all: Vec<TrackerStatus> = self.all().collect();
            let ups = |status: &TrackerStatus| {
                status.trackers.iter().filter(|entry| entry.state == TrackerState::Up).count()
            };
            all.iter()
                .all(|status| ups(status) + 1 == running && status.directory == all[0].directory)
        });
    }
}

#[test]
fn what_one_tracker_acknowledged_the_other_has() {
    let net = Net::start(2);
    assert!(net.all().all(|status| !status.degraded));
    let (mut nik, user) = Guest::new(net.tracker(1), "nik", 1);
    let group = nik.create_group("lab");
    // No waiting: an acknowledged change is on every tracker that was up.
    let mut again = Guest::connect(net.tracker(2).local_addr(), 1);
    assert_eq!(again.welcome.number, 2);
    assert_eq!(again.log_in("nik", "pw"), Ok(user));
    let Reply::Groups { entries, .. } = again.ask(Request::ListMyGroups { after: None }) else {
        panic!()
    };
    assert_eq!(entries.iter().map(|entry| entry.group).collect::<Vec<_>>(), [group]);
    // A request repeated at the other tracker gets the first outcome.
    let request = Request::CreateGroup { request: request_id(), name: "x".parse().unwrap() };
    assert_eq!(nik.done(request.clone()), again.done(request));
    // What changes at one tracker is told to those connected to the other.
    let (mut bob, bob_id) = Guest::new(net.tracker(2), "bob", 2);
    admit(&mut nik, &mut bob, bob_id, group);
    assert!(matches!(bob.event(), Event::Admitted { .. }));
    nik.done(Request::RemoveMember { request: request_id(), group, user: bob_id });
    assert_eq!(bob.event(), Event::Removed { group });
    net.settle();
}

#[test]
fn a_tracker_alone_goes_on_degraded_and_the_other_catches_up() {
    let mut net = Net::start(2);
    let (mut nik, user) = Guest::new(net.tracker(1), "nik", 1);
    net.stop(2);
    let started = Instant::now();
    let group = nik.create_group("lab");
    assert!(started.elapsed() < Duration::from_secs(10), "a tracker that is gone was waited for");
    assert!(status(net.tracker(1)).degraded);
    net.restart(2);
    net.settle();
    net.stop(1);
    let mut nik = Guest::connect(net.tracker(2).local_addr(), 1);
    assert_eq!(nik.log_in("nik", "pw"), Ok(user));
    assert!(matches!(nik.ask(Request::ListMembers { group, after: None }), Reply::Members { .. }));
    nik.create_group("second");
    net.restart(1);
    net.settle();
    assert_eq!(status(net.tracker(1)).counts.groups, 2);
}

#[test]
fn a_tracker_that_lost_its_disk_comes_back_whole() {
    let mut net = Net::start(2);
    let (mut nik, _) = Guest::new(net.tracker(1), "nik", 1);
    // More than one batch, so that it is read from the store.
    let group = nik.create_group("lab");
    (0..1500).for_each(|n| {
        assert_eq!(nik.share(group, &format!("f{n}")), facts(&format!("f{n}")).info_hash)
    });
    net.stop(1);
    net.dirs[0] = tempfile::tempdir().unwrap();
    net.restart(1);
    net.settle();
    assert_eq!(status(net.tracker(1)).counts.files, 1500);
}

#[test]
fn conflicting_names_are_told_apart_when_trackers_meet() {
    let mut net = Net::start(2);
    net.stop(2);
    let (_one, first) = Guest::new(net.tracker(1), "nik", 1);
    net.stop(1);
    net.restart(2);
    let (_two, second) = Guest::new(net.tracker(2), "nik", 2);
    net.restart(1);
    net.settle();
    let mut guest = Guest::connect(net.tracker(1).local_addr(), 3);
    assert_eq!(guest.log_in("nik~2", "pw"), Ok(second));
    assert_eq!(
        guest.log_in("nik", "pw"),
        Ok(first),
        "with equal passwords the plain name is the first one's"
    );
    guest.change_password("pw", "p1");
    for number in [1, 2] {
        let mut guest = Guest::connect(net.tracker(number).local_addr(), 3);
        assert_eq!(
            guest.log_in("nik", "pw"),
            Ok(second),
            "the other bearer's password, under the plain name"
        );
        assert_eq!(guest.log_in("nik", "p1"), Ok(first));
        assert_eq!(guest.log_in("nik~2", "p1"), Err(Refusal::WrongPassword));
    }
}

#[test]
fn three_trackers_agree() {
    let mut net = Net::start(3);
    let (mut nik, _) = Guest::new(net.tracker(3), "nik", 1);
    net.stop(2);
    nik.create_group("lab");
    net.stop(3);
    net.restart(2);
    net.settle();
    assert_eq!(status(net.tracker(2)).counts.groups, 1, "relayed by the tracker that stayed");
    net.restart(3);
    net.settle();
}

/// Connects to tracker 1 as a tracker of its network does.
fn dial_link(net: &Net) -> Connection {
    TrackerSecurity::new(&NETWORK_KEY)
        .unwrap()
        .dial(net.tracker(1).local_addr(), None, PATIENCE)
        .unwrap()
        .0
}

/// Speaks to a tracker as a peer would, and returns its answer.
fn dial_as(net: &Net, hello: ReplicaHello) -> ToDialler {
    let connection = dial_link(net);
    write_message(&mut connection.writer(), &Opening::new(Hello::Replica(hello))).unwrap();
    read_message(&mut connection.reader(), TRACKER_FRAME_LEN_MAX).unwrap()
}

/// What tracker 2 says when it dials, with a store of that number.
fn hello_of(store: u8) -> ReplicaHello {
    ReplicaHello {
        number: 2,
        address: "127.0.0.1:2".parse().unwrap(),
        lineage: Lineage::new(StoreId::from_bytes([store; 16])),
        clock_ms: super::super::clock::wall_ms(0),
        trackers: Vec::new(),
    }
}

#[test]
fn presence_follows_rows_that_come_before_those_they_rest_on() {
    let mut net = Net::start(2);
    net.stop(2);
    let (mut nik, user) = Guest::new(net.tracker(1), "nik", 1);
    let (group, facts) = (GroupId::from_bytes([7; 16]), facts("a.bin"));
    let (info_hash, file) = (facts.info_hash, facts.id());
    let store = StoreId::from_bytes([3; 16]);
    let connection = dial_link(&net);
    write_message(&mut connection.writer(), &Opening::new(Hello::Replica(hello_of(3)))).unwrap();
    let mut reader = connection.reader();
    assert!(matches!(
        read_message(&mut reader, TRACKER_FRAME_LEN_MAX).unwrap(),
        ToDialler::Welcome(_)
    ));
    let RequestStamp { id: request, at: since } = request_id();
    let mut tell = |sequence, contents: Vec<Content>| {
        let version = Version { stamp: since, request };
        let place = Place { store, sequence };
        let row = |content| Row { content, version, place, extra: Box::default() };
        let batch = RowBatch {
            rows: contents.into_iter().map(row).collect(),
            through: sequence,
            complete: None,
        };
        write_message(&mut connection.writer(), &ToAcceptor::Rows(batch)).unwrap();
        loop {
            let heard: ToDialler = read_message(&mut reader, TRACKER_FRAME_LEN_MAX).unwrap();
            if matches!(heard, ToDialler::Durable(durable) if durable.checkpoint == sequence) {
                break;
            }
        }
    };
    // Nik's part in a group that is not known yet: it was made at a third tracker.
    let row = MembershipRow { state: MembershipState::Member, since, ended: None };
    let member = |user| Content::Membership(group, user, row);
    let sharing = SharingRow { on: true, admission: request };
    tell(1, vec![member(user), Content::Sharing(group, file, user, sharing)]);
    assert_eq!(
        nik.announce(group, info_hash, DownloadState::Seeding),
        Reply::Refused(Refusal::NotMember)
    );
    let maker = UserId::from_bytes([9; 16]);
    let about = GroupRow { name: "lab".parse().unwrap(), created_by: maker, created: since };
    let listed = FileRow { facts, shared_by: user, at: since, replaces: None, removed: None };
    tell(
        2,
        vec![
            Content::Group(group, Some(about)),
            member(maker),
            Content::File(group, file, Some(listed)),
        ],
    );
    assert!(matches!(nik.event(), Event::Admitted { group: entry } if entry.group == group));
    let entry = nik.ask(Request::FindFile { group, file });
    assert!(
        matches!(entry, Reply::File(entry) if entry.online == 1),
        "what was announced too early counts now"
    );
}

#[test]
fn a_tracker_takes_no_link_from_itself() {
    let mut net = Net::start(2);
    net.stop(2);
    let refused = |change: &dyn Fn(&mut ReplicaHello)| {
        let mut hello = hello_of(5);
        change(&mut hello);
        dial_as(&net, hello)
    };
    assert!(matches!(refused(&|_| ()), ToDialler::Welcome(welcome) if welcome.number == 1));
    assert_eq!(refused(&|hello| hello.number = 1), ToDialler::Unwelcome(LinkRefusal::Myself));
    let own = status(net.tracker(1)).store;
    assert_eq!(
        refused(&|hello| hello.lineage = Lineage::new(own)),
        ToDialler::Unwelcome(LinkRefusal::Myself)
    );
    // Neither a clock that is wrong nor another list of trackers keeps a tracker of the network
    // out.
    assert!(matches!(refused(&|hello| hello.clock_ms += 7_000_000), ToDialler::Welcome(_)));
    assert!(matches!(refused(&|hello| hello.number = 3), ToDialler::Welcome(_)));
}

#[test]
fn a_certificate_of_the_network_opens_a_link_from_any_address_and_nothing_else_does() {
    let port = network(1).get(1).unwrap().port();
    // Tracker 2 is said to be at an address from which this test does not dial: as if behind a
    // router.
    let info = TrackerInfo::parse(&format!("127.0.0.1:{port}\n127.0.0.2:{port}")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let tracker = Tracker::start(config(info.clone(), 1, dir.path())).unwrap();
    let net = Net { info, dirs: vec![dir], trackers: vec![Some(tracker)] };
    let hello = hello_of(5);
    assert!(matches!(dial_as(&net, hello.clone()), ToDialler::Welcome(_)));
    // A device that knows all that a tracker says.
    let device = dial(net.tracker(1).local_addr(), 1);
    write_message(&mut device.writer(), &Opening::new(Hello::Replica(hello))).unwrap();
    assert!(read_message::<ToDialler>(&mut device.reader(), TRACKER_FRAME_LEN_MAX).is_err());
    // Nor does a tracker open a session.
    let link = dial_link(&net);
    write_message(&mut link.writer(), &Opening::new(Hello::Client(ClientHello { port: 1 })))
        .unwrap();
    assert!(read_message::<FromTracker>(&mut link.reader(), TRACKER_FRAME_LEN_MAX).is_err());
}

#[test]
fn trackers_of_two_networks_do_not_mix() {
    let (info, other) = (network(2), Arc::new(KeyPair::generate().unwrap()));
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let one = Tracker::start(config(info.clone(), 1, dirs[0].path())).unwrap();
    let two = Tracker::start(TrackerConfig {
        network_key: other.clone(),
        ..config(info, 2, dirs[1].path())
    })
    .unwrap();
    let dialled =
        TrackerSecurity::new(&other).unwrap().dial(one.local_addr(), None, PATIENCE).unwrap_err();
    let wrong = WrongNetwork { expected: other.fingerprint(), found: NETWORK_KEY.fingerprint() };
    assert_eq!(WrongNetwork::of(&dialled), Some(wrong), "refused by the one that dials");
    // Each of the two has been refused by the other, and serves its own clients alone.
    wait_for("both to have dialled", || {
        [&one, &two].iter().all(|tracker| tracker.shared.named.count() > 0)
    });
    for tracker in [&one, &two] {
        assert!(
            status(tracker).degraded
                && status(tracker).trackers.iter().all(|entry| entry.state != TrackerState::Up)
        );
    }
    Guest::new(&one, "nik", 1).0.create_group("lab");
    assert_eq!(status(&two).counts.rows, 0);
}

#[test]
fn a_clock_that_was_ahead_stops_nothing() {
    let mut net = Net::start(2);
    let (mut nik, _) = Guest::new(net.tracker(1), "nik", 1);
    net.stop(2);
    let mut config = net.config(2);
    config.limits.clock_offset_ms = 2 * 3_600_000;
    net.trackers[1] = Some(Tracker::start(config).unwrap());
    net.settle();
    nik.create_group("lab");
    net.settle();
    // Written by the clock that is ahead: the client has no other.
    let mut ahead = Guest::again(net.tracker(2), "nik", 2);
    let late = RequestStamp {
        at: Stamp::new(super::super::clock::wall_ms(2 * 3_600_000), 0),
        ..request_id()
    };
    ahead.done(Request::CreateGroup { request: late, name: "den".parse().unwrap() });
    let now = Request::CreateGroup { request: request_id(), name: "far".parse().unwrap() };
    assert!(matches!(ahead.ask(now), Reply::Refused(Refusal::WrongTime { .. })));
    net.settle();
    net.stop(2);
    net.restart(2);
    net.settle();
    nik.create_group("after");
    net.settle();
    assert_eq!(status(net.tracker(2)).counts.groups, 3);
}

#[test]
fn a_store_that_went_back_in_time_gets_back_what_it_lost() {
    let mut net = Net::start(2);
    drop(Guest::new(net.tracker(1), "nik", 1));
    net.stop(1);
    let old = tempfile::tempdir().unwrap();
    let file = |dir: &Path| dir.join("directory.sqlite");
    std::fs::copy(file(net.dirs[0].path()), file(old.path())).unwrap();
    net.restart(1);
    net.settle();
    Guest::again(net.tracker(1), "nik", 1).create_group("lab");
    let before = status(net.tracker(1)).store;
    net.stop(1);
    net.dirs[0] = old;
    net.restart(1);
    net.settle();
    let after = status(net.tracker(1));
    assert_ne!(after.store, before);
    assert_eq!(after.counts.groups, 1, "what the store forgot came back");
    Guest::again(net.tracker(1), "nik", 1).create_group("second");
    net.settle();
    net.stop(1);
    net.restart(1);
    net.settle();
    assert_eq!(status(net.tracker(1)).counts.groups, 2);
}

/// Takes tracker 1's link as tracker 2 would.
fn take_link(listener: &TcpListener) -> (Connection, Reader) {
    let incoming = Incoming::new(listener.accept().unwrap().0).unwrap();
    let (connection, visitor) =
        TrackerSecurity::new(&NETWORK_KEY).unwrap().accept(incoming, PATIENCE).unwrap();
    assert_eq!(visitor, PeerIdentity::Tracker(NETWORK_KEY.network()));
    let mut reader = connection.reader();
    let opening: Opening = read_message(&mut reader, TRACKER_FRAME_LEN_MAX).unwrap();
    assert!(matches!(opening.hello, Hello::Replica(hello) if hello.number == 1));
    let ReplicaHello { number, address, lineage, clock_ms, trackers } = hello_of(2);
    let (version, durable) = (crate::wire::version::VERSION_NEWEST, Durable::default());
    let welcome = ReplicaWelcome {
        version,
        number,
        address,
        lineage,
        clock_ms,
        is_empty: true,
        durable,
        trackers,
    };
    write_message(&mut connection.writer(), &ToDialler::Welcome(welcome)).unwrap();
    (connection, reader)
}

#[test]
fn a_link_that_ends_at_once_is_dialled_ever_more_slowly() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!("{}\n{}", network(1).get(1).unwrap(), listener.local_addr().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let _tracker =
        Tracker::start(config(TrackerInfo::parse(&text).unwrap(), 1, dir.path())).unwrap();
    // As a peer does that cannot take a row: it drops the link, every time.
    let links =
        (0..6).map(|_| take_link(&listener).0.close()).map(|()| Instant::now()).collect::<Vec<_>>();
    let (first, last) = (links[1] - links[0], links[5] - links[4]);
    assert!(last > Duration::from_millis(600), "the pause did not grow: {first:?}, then {last:?}");
}

/// Answers pings until rows come; returns up to where they reach.
fn next_rows(connection: &Connection, reader: &mut Reader) -> u64 {
    loop {
        match read_message(reader, TRACKER_FRAME_LEN_MAX).unwrap() {
            ToAcceptor::Ping => acknowledge(connection, 0),
            ToAcceptor::Rows(batch) if batch.rows.is_empty() => {
                acknowledge(connection, batch.through)
            }
            ToAcceptor::Rows(batch) => return batch.through,
            other => panic!("{other:?}"),
        }
    }
}

fn acknowledge(connection: &Connection, checkpoint: u64) {
    let durable = Durable { checkpoint, ..Durable::default() };
    write_message(&mut connection.writer(), &ToDialler::Durable(durable)).unwrap();
}

#[test]
fn a_late_peer_holds_replies_for_a_second_only_and_a_silent_one_is_dialled_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = network(1);
    let text = format!("{}\n{}", own.get(1).unwrap(), listener.local_addr().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(TrackerInfo::parse(&text).unwrap(), 1, dir.path());
    config.limits.link_silence = Duration::from_secs(3);
    config.limits.link_ping = Duration::from_millis(100);
    let tracker = Tracker::start(config).unwrap();
    let state = || status(&tracker).trackers[1].state;
    let (connection, mut reader) = take_link(&listener);
    wait_for("the link to be up", || state() == TrackerState::Up);
    std::thread::scope(|scope| {
        let started = Instant::now();
        let guest = scope.spawn(|| Guest::new(&tracker, "nik", 1));
        let through = next_rows(&connection, &mut reader);
        assert_eq!(through, 1);
        // Pings are answered, the rows are not.
        while !guest.is_finished() {
            let ToAcceptor::Ping = read_message(&mut reader, TRACKER_FRAME_LEN_MAX).unwrap() else {
                continue;
            };
            acknowledge(&connection, 0);
        }
        assert!(
            started.elapsed() >= Duration::from_millis(900),
            "the reply did not wait for a tracker that was up"
        );
        let (mut guest, _) = guest.join().unwrap();
        assert!(status(&tracker).degraded && state() == TrackerState::CatchingUp);
        acknowledge(&connection, through);
        wait_for("the link to be up again", || state() == TrackerState::Up);
        let changing = scope.spawn(move || guest.create_group("lab"));
        let through = next_rows(&connection, &mut reader);
        acknowledge(&connection, through);
        changing.join().unwrap();
        assert_eq!(state(), TrackerState::Up);
    });
    // From here on the peer says nothing.
    let (_second, _) = take_link(&listener);
    assert_ne!(state(), TrackerState::Up, "it has a batch to acknowledge first");
}
