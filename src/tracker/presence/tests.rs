//! What is kept, who waits, and what is void, without a tracker around it.

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use super::*;
use crate::directory::Replica;
use crate::net::{Connection, Incoming};
use crate::relay::{Relay, RelayBounds};
use crate::tracker::outbox::Notifier;
use crate::types::limits::TRACKER_FRAME_LEN_MAX;
use crate::types::{
    Content, Effect, FileFacts, FileRow, GroupRow, InvitationId, InvitationUseRow, MembershipRow,
    MembershipState, PasswordHash, Place, PunchSecret, RequestRow, Row, Sha1Digest, SharingRow,
    Stamp, StoreId, StoreState, Transaction, UserName, UserRow,
};
use crate::wire::frame::read_message;

const NIK: UserId = UserId::from_bytes([1; 16]);
const BOB: UserId = UserId::from_bytes([2; 16]);
const GROUP: GroupId = GroupId::from_bytes([9; 16]);
/// When everything began, and a time of partition later.
const START_MS: u64 = 1_000_000;
const LATER_MS: u64 = START_MS + 3_600_000;

struct Scene {
    presence: Presence,
    replica: Replica,
    notifier: Notifier,
    sequence: u64,
    ends: HashMap<SessionKey, (Arc<Outbox>, Connection)>,
}

impl Scene {
    /// Nik's group, with bob in it, and as many of nik's files.
    fn new(files: u64) -> Self {
        let replica = Replica::new(StoreState::new(StoreId::from_bytes([1; 16])), &[]);
        let (presence, notifier) = (Presence::default(), Notifier::new());
        let mut scene = Self { presence, replica, notifier, sequence: 0, ends: HashMap::new() };
        let at = Stamp::new(START_MS, 0);
        let standing = |user, since| member(user, MembershipState::Member, since, None);
        let about = GroupRow { name: "lab".parse().unwrap(), created_by: NIK, created: at };
        let mut writes = vec![
            password_of(NIK, "first", None),
            password_of(BOB, "first", None),
            Content::Group(GROUP, Some(about)),
            standing(NIK, at),
            standing(BOB, Stamp::new(START_MS, 1)),
        ];
        for number in 0..files {
            let sha1 = Sha1Digest::from_bytes([7; 20]);
            let name = format!("f{number}").parse().unwrap();
            let (info_hash, len, piece_len) = (hash(number), 1 << 20, 512 << 10);
            let facts = FileFacts { info_hash, name, len, piece_len, sha1, chain: None };
            let id = facts.id();
            let row = FileRow { facts, shared_by: NIK, at, replaces: None, removed: None };
            writes.push(Content::File(GROUP, id, Some(row)));
            // The request of the first transaction let nik in.
            writes.push(Content::Sharing(
                GROUP,
                id,
                NIK,
                SharingRow { on: true, admission: request_of(1) },
            ));
        }
        scene.apply(START_MS, NIK, writes);
        scene
    }

    /// Applies writes of that time, and does not let presence know yet.
    fn apply(&mut self, at_ms: u64, actor: UserId, mut writes: Vec<Content>) -> Transaction {
        self.sequence += 1;
        let request = request_of(self.sequence);
        writes.push(Content::Request(
            request,
            RequestRow { actor, effect: Effect::Done, note: String::new() },
        ));
        let version = Version { stamp: Stamp::new(at_ms, 0), request };
        let place = Place { store: StoreId::from_bytes([1; 16]), sequence: self.sequence };
        let row = |content| Row { content, version, place, extra: Box::default() };
        let rows: Vec<Row> = writes.into_iter().map(row).collect();
        rows.iter().for_each(|row| self.replica.restore(row));
        let displaced = vec![None; rows.len()];
        Transaction { sequence: self.sequence, rows, displaced, ..Transaction::default() }
    }

    fn hear(&mut self, at_ms: u64, now_ms: u64, write: Content) -> Vec<Replaced> {
        let transaction = self.apply(at_ms, NIK, vec![write]);
        self.presence.observe(&transaction, self.replica.directory(), now_ms)
    }

    fn log_in(&mut self, key: SessionKey, user: UserId, now_ms: u64) -> usize {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let here = Incoming::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap())
            .unwrap()
            .into_plain();
        let there = Incoming::new(listener.accept().unwrap().0).unwrap().into_plain();
        let outbox = Outbox::new(here, &self.notifier);
        self.ends.insert(key, (outbox.clone(), there));
        let mut device = [0; 32];
        device[..8].copy_from_slice(&key.to_be_bytes());
        let password = self.replica.directory().password_version(user).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 4000));
        let over = Arc::default();
        let visitor = Visitor {
            user,
            device: DeviceId::from_bytes(device),
            address,
            outbox,
            password,
            proven_ms: now_ms,
            over,
        };
        self.presence.log_in(key, visitor, self.replica.directory(), now_ms).unwrap()
    }

    /// What a session was told so far.
    fn told(&mut self, key: SessionKey) -> Vec<Event> {
        self.presence.let_out();
        let (outbox, there) = &self.ends[&key];
        outbox.send(event_frame(Event::Closing)).unwrap();
        let mut reader = there.reader();
        let mut events = Vec::new();
        loop {
            match read_message(&mut reader, TRACKER_FRAME_LEN_MAX).unwrap() {
                FromTracker::Event(Event::Closing) => return events,
                FromTracker::Event(event) => events.push(event),
                other => panic!("{other:?}"),
            }
        }
    }

    fn announce(
        &mut self,
        key: SessionKey,
        user: UserId,
        entries: &[AnnounceEntry],
    ) -> Result<Reply, Duration> {
        let answer = self.presence.announce(key, user, entries, self.replica.directory());
        self.presence.sizes();
        answer
    }
}

fn hash(number: u64) -> InfoHash {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    InfoHash::from_bytes(bytes)
}

fn request_of(sequence: u64) -> RequestId {
    let mut request = [0; 16];
    request[8..].copy_from_slice(&sequence.to_be_bytes());
    RequestId::from_bytes(request)
}

fn member(user: UserId, state: MembershipState, since: Stamp, ended: Option<Stamp>) -> Content {
    Content::Membership(GROUP, user, MembershipRow { state, since, ended })
}

fn password_of(user: UserId, text: &str, replaced_ms: Option<u64>) -> Content {
    let name: UserName = format!("u{}", user.as_bytes()[0]).parse().unwrap();
    let row = UserRow {
        name,
        hash: PasswordHash::from_phc(text.to_owned()),
        created: Stamp::new(START_MS, 0),
        replaced: replaced_ms.map(|ms| Stamp::new(ms, 0)),
        must_change: false,
        is_disabled: false,
    };
    Content::User(user, Some(row))
}

fn entry(number: u64, state: DownloadState) -> AnnounceEntry {
    AnnounceEntry { group: GROUP, info_hash: hash(number), state }
}

#[test]
fn what_may_not_be_is_kept_within_bounds() {
    let mut scene = Scene::new(1);
    scene.log_in(1, BOB, START_MS);
    let waiting = WAITING_PER_SESSION_MAX as u64;
    let entries: Vec<AnnounceEntry> =
        (1..=waiting + 10).map(|number| entry(number, DownloadState::Leeching)).collect();
    assert_eq!(scene.announce(1, BOB, &entries), Ok(Reply::Refused(Refusal::NoSuchFile)));
    assert_eq!(scene.presence.sizes(), (WAITING_PER_SESSION_MAX, WAITING_PER_SESSION_MAX));
    assert_eq!(
        scene.announce(1, BOB, &[entry(waiting + 20, DownloadState::Leeching)]),
        Ok(Reply::Refused(Refusal::TooManyShares))
    );
    assert_eq!(
        scene.announce(1, BOB, &[entry(1, DownloadState::Seeding)]),
        Ok(Reply::Refused(Refusal::NotShared)),
        "kept already"
    );
    // What is allowed is not kept out by that, and what is so no longer, and said again, is.
    assert_eq!(
        scene.announce(1, BOB, &[entry(0, DownloadState::Leeching)]),
        Ok(Reply::Peers(vec![]))
    );
    assert_eq!(
        scene.announce(1, BOB, &[entry(0, DownloadState::Seeding)]),
        Ok(Reply::Refused(Refusal::TooManyShares))
    );
    assert_eq!(scene.presence.sizes(), (WAITING_PER_SESSION_MAX, WAITING_PER_SESSION_MAX));
    scene.presence.leave(1, START_MS);
    assert_eq!(scene.presence.sizes(), (0, 0));
}

#[test]
fn an_inviter_who_has_left_hears_of_no_new_members() {
    let mut scene = Scene::new(0);
    scene.log_in(1, BOB, START_MS);
    scene.log_in(2, NIK, START_MS);
    // The uses come from a tracker that has not heard of bob's end.
    let join = |scene: &mut Scene, byte: u8| {
        let (user, at) = (UserId::from_bytes([byte; 16]), Stamp::new(START_MS, 2));
        scene.apply(
            START_MS,
            NIK,
            vec![password_of(user, "first", None), member(user, MembershipState::Member, at, None)],
        );
        let used = InvitationUseRow { inviter: BOB };
        let invitation = InvitationId::from_bytes([byte; 16]);
        scene.hear(START_MS, START_MS, Content::InvitationUse(GROUP, invitation, user, used));
        [1, 2].map(|key| {
            let told = scene.told(key);
            told.iter().filter(|event| matches!(event, Event::MemberJoined { .. })).count()
        })
    };
    assert_eq!(join(&mut scene, 3), [1, 1]);
    let ended = Some(Stamp::new(START_MS + 1, 0));
    let standing = member(BOB, MembershipState::None, Stamp::new(START_MS + 1, 0), ended);
    scene.hear(START_MS + 1, START_MS + 1, standing);
    assert_eq!(join(&mut scene, 4), [0, 1]);
}

#[test]
fn when_very_much_is_kept_each_user_has_a_small_share() {
    let files = ENTRIES_PER_USER_SCARCE as u64;
    let mut scene = Scene::new(files + 1);
    scene.log_in(1, BOB, START_MS);
    scene.log_in(2, BOB, START_MS);
    let entries: Vec<AnnounceEntry> =
        (0..files).map(|number| entry(number, DownloadState::Leeching)).collect();
    scene.announce(1, BOB, &entries).unwrap();
    assert_eq!(
        scene.announce(2, BOB, &[entry(files, DownloadState::Leeching)]),
        Ok(Reply::Peers(vec![]))
    );
    scene.announce(2, BOB, &[entry(files, DownloadState::Stopped)]).unwrap();
    // As if others had as many.
    scene.presence.entries += ENTRIES_PLENTY;
    let answer = scene.presence.announce(
        2,
        BOB,
        &[entry(files, DownloadState::Leeching)],
        scene.replica.directory(),
    );
    assert_eq!(answer, Ok(Reply::Refused(Refusal::TooManyShares)));
}

#[test]
fn whoever_comes_and_goes_without_a_pause_has_to_wait() {
    let mut scene = Scene::new(2);
    scene.log_in(1, NIK, START_MS);
    scene.log_in(2, BOB, START_MS);
    let both = |state| [entry(0, state), entry(1, state)];
    scene.announce(2, BOB, &both(DownloadState::Leeching)).unwrap();
    let mut changes = 0;
    let wait = loop {
        let state = if changes % 2 == 0 { DownloadState::Seeding } else { DownloadState::Stopped };
        match scene.announce(1, NIK, &[entry(0, state)]) {
            Ok(_) => changes += 1,
            Err(wait) => break wait,
        }
        assert!(changes < 1000, "nothing slows it");
    };
    assert!(changes >= 64 && wait <= Duration::from_secs(1), "{changes} changes, then {wait:?}");
    // Neither another login nor another device is a way around it, and other files are not
    // concerned.
    scene.presence.leave(1, START_MS);
    scene.log_in(3, NIK, START_MS);
    let again = [
        scene.announce(3, NIK, &[entry(0, DownloadState::Seeding)]),
        scene.announce(3, NIK, &[entry(1, DownloadState::Seeding)]),
    ];
    assert!(matches!(again, [Err(_), Ok(_)]), "{again:?}");
    // What a device says twice counts once.
    let twice = vec![
        entry(0, DownloadState::Seeding),
        entry(1, DownloadState::Seeding),
        entry(0, DownloadState::Stopped),
    ];
    assert_eq!(
        last_of_each(twice),
        [entry(1, DownloadState::Seeding), entry(0, DownloadState::Stopped)]
    );
}

#[test]
fn files_that_are_not_there_are_looked_up_so_often_and_then_have_to_wait() {
    let mut scene = Scene::new(1);
    scene.log_in(1, NIK, START_MS);
    let missing: Vec<_> = (10..10 + WAITING_PER_SESSION_MAX as u64)
        .map(|n| entry(n, DownloadState::Seeding))
        .collect();
    let announces = (0..100).position(|_| scene.announce(1, NIK, &missing).is_err());
    assert!(announces.is_some_and(|count| (32..40).contains(&count)), "{announces:?}");
}

#[test]
fn many_files_have_few_peers_named_each() {
    let mut scene = Scene::new(PEERS_PER_ANNOUNCE_MAX as u64);
    let entries = |state| {
        (0..PEERS_PER_ANNOUNCE_MAX as u64).map(|number| entry(number, state)).collect::<Vec<_>>()
    };
    for key in [1, 2] {
        scene.log_in(key, NIK, START_MS);
        scene.announce(key, NIK, &entries(DownloadState::Seeding)).unwrap();
    }
    scene.log_in(3, BOB, START_MS);
    let Ok(Reply::Peers(all)) = scene.announce(3, BOB, &entries(DownloadState::Leeching)) else {
        panic!("not allowed")
    };
    assert_eq!(all.len(), PEERS_PER_ANNOUNCE_MAX, "one of each");
    let Ok(Reply::Peers(of_one)) = scene.announce(3, BOB, &[entry(0, DownloadState::Leeching)])
    else {
        panic!("not allowed")
    };
    assert_eq!(of_one.len(), 2);
}

#[test]
fn a_session_is_good_for_nothing_once_its_password_is_replaced() {
    let mut scene = Scene::new(1);
    scene.log_in(1, NIK, START_MS);
    scene.log_in(2, NIK, START_MS);
    let request = RequestId::from_bytes([5; 16]);
    assert!(
        scene.presence.asks(1, NIK, request, scene.replica.directory())
            && !scene.presence.asks(1, BOB, request, scene.replica.directory())
    );
    let transaction =
        scene.apply(START_MS + 1, NIK, vec![password_of(NIK, "second", Some(START_MS + 1))]);
    // Presence has not followed yet.
    assert!(!scene.presence.asks(2, NIK, request, scene.replica.directory()));
    assert_eq!(scene.presence.password_of(2, NIK, scene.replica.directory()), None);
    assert_eq!(
        scene.announce(2, NIK, &[entry(0, DownloadState::Seeding)]),
        Ok(Reply::Refused(Refusal::LoginFirst))
    );
    // Session 1 has asked for it.
    let asked = transaction.rows[0].version.request;
    scene.presence.sessions.get_mut(&1).unwrap().asked = Some(asked);
    let replaced = scene.presence.observe(&transaction, scene.replica.directory(), START_MS + 1);
    let mut device = [0; 32];
    device[7] = 1;
    assert_eq!(replaced, [Replaced { user: NIK, by: Some(DeviceId::from_bytes(device)) }]);
    assert!(scene.presence.password_of(1, NIK, scene.replica.directory()).is_some());
    assert_eq!((scene.presence.user_of(2), scene.told(2)), (None, vec![Event::SessionOver]));
}

#[test]
fn what_ended_while_the_trackers_were_apart_voids_what_was_signed_until_it_is_heard() {
    let mut scene = Scene::new(0);
    scene.log_in(1, NIK, LATER_MS);
    assert_eq!(scene.presence.tickets_void_until_ms(GROUP, BOB, scene.replica.directory()), 0);
    let replaced =
        scene.hear(START_MS + 1, LATER_MS, password_of(BOB, "second", Some(START_MS + 1)));
    assert_eq!(replaced, [Replaced { user: BOB, by: None }]);
    let void = |group, until_ms| Event::Void { group, user: BOB, until_ms };
    assert_eq!(scene.told(1), [void(None, LATER_MS)]);
    assert_eq!(
        scene.presence.tickets_void_until_ms(GROUP, BOB, scene.replica.directory()),
        LATER_MS,
        "so those signed now are dated later"
    );
    // Who comes later hears the same, although the change itself was long ago.
    scene.log_in(2, NIK, LATER_MS + 60_000);
    assert_eq!(scene.told(2), [void(None, LATER_MS)]);
    let at = Stamp::new(START_MS + 2, 0);
    let out = member(BOB, MembershipState::None, at, Some(at));
    scene.hear(START_MS + 2, LATER_MS + 90_000, out);
    scene.log_in(3, NIK, LATER_MS + 100_000);
    assert_eq!(
        scene.told(3),
        [void(Some(GROUP), LATER_MS + 90_000)],
        "bob is in no group of nik's any more"
    );
    assert_eq!(
        scene.presence.tickets_void_until_ms(GROUP, BOB, scene.replica.directory()),
        LATER_MS + 90_000
    );
    scene.log_in(4, NIK, LATER_MS + 1_300_000);
    assert_eq!(scene.told(4), [], "no ticket lives that long");
    // What is heard in time goes by its own time.
    scene.hear(LATER_MS, LATER_MS + 100, password_of(NIK, "second", Some(LATER_MS)));
    assert_eq!(
        scene.presence.tickets_void_until_ms(GROUP, NIK, scene.replica.directory()),
        LATER_MS + 60_000
    );
}

#[test]
fn what_is_looked_at_for_a_login_is_counted() {
    let mut scene = Scene::new(0);
    let few = scene.log_in(1, NIK, START_MS);
    let stranger = |number: u64| UserId::from_bytes([3 + number as u8; 16]);
    for number in 0..100 {
        let user = stranger(number);
        scene.hear(START_MS, START_MS, password_of(user, "first", None));
        scene.hear(START_MS + 1, START_MS, password_of(user, "second", Some(START_MS + 1)));
    }
    assert!(scene.log_in(2, NIK, START_MS) >= few + 100);
    assert_eq!(scene.told(2), [], "strangers' passwords are nobody's concern");
}

fn candidate(address: &str) -> Candidate {
    Candidate::new(address.parse().unwrap(), crate::types::CandidateKind::Interface)
}

#[test]
fn an_address_of_this_machine_is_told_to_those_on_it_alone() {
    let mut scene = Scene::new(1);
    for (key, user) in [(1, NIK), (2, BOB), (3, BOB)] {
        scene.log_in(key, user, START_MS);
    }
    scene.presence.sessions.get_mut(&3).unwrap().visitor.address =
        "198.51.100.7:4000".parse().unwrap();
    let swarm = (hash(0), GROUP);
    let told = |scene: &Scene, to_local| {
        let peer = scene.presence.peer_entry(1, swarm, DownloadState::Seeding, to_local).unwrap();
        (peer.address.to_string(), peer.candidates.unwrap())
    };
    assert_eq!(told(&scene, true), ("127.0.0.1:4000".into(), vec![]));
    assert_eq!(told(&scene, false), ("0.0.0.0:0".into(), vec![]), "there is none to tell");
    let all = ["127.0.0.1:5", "10.0.0.5:4000", "0.0.0.0:1", "224.0.0.1:1", "10.0.0.5:4000"];
    let set = |scene: &mut Scene, key, user, all: &[&str]| {
        let all: Vec<Candidate> = all.iter().map(|address| candidate(address)).collect();
        let directory = scene.replica.directory();
        scene.presence.set_candidates(key, user, &all, directory)
    };
    assert_eq!(set(&mut scene, 1, NIK, &all), Ok(Reply::Pong));
    let [own, lan] = [candidate("127.0.0.1:5"), candidate("10.0.0.5:4000")];
    assert_eq!(told(&scene, true), ("127.0.0.1:4000".into(), vec![own, lan]));
    assert_eq!(
        told(&scene, false),
        ("10.0.0.5:4000".into(), vec![lan]),
        "older clients look there"
    );
    // Who is elsewhere has no address here.
    assert_eq!(set(&mut scene, 3, BOB, &all), Ok(Reply::Pong));
    assert_eq!(*scene.presence.sessions[&3].candidates, [lan]);
    let not_bobs = set(&mut scene, 1, BOB, &all);
    assert_eq!(not_bobs, Ok(Reply::Refused(Refusal::LoginFirst)));
    // A new login begins without.
    scene.log_in(1, NIK, START_MS + 1);
    assert!(scene.presence.sessions[&1].candidates.is_empty());
}

#[test]
fn those_are_told_to_punch_who_are_in_one_swarm_at_two_addresses() {
    let mut scene = Scene::new(2);
    let eve = UserId::from_bytes([3; 16]);
    scene.hear(START_MS, START_MS, password_of(eve, "first", None));
    let users = [(1, NIK, "198.51.100.1:1"), (2, BOB, "203.0.113.1:2"), (3, eve, "192.0.2.1:3")];
    for (key, user, address) in users {
        scene.log_in(key, user, START_MS);
        scene.presence.sessions.get_mut(&key).unwrap().visitor.address = address.parse().unwrap();
    }
    let device = |key| scene.presence.sessions[&key].visitor.device;
    let (nik, bob) = (device(1), device(2));
    let secrets = [1, 2].map(|number| PunchSecret::from_bytes([number; 16]));
    let punch = |scene: &mut Scene, key, user, file, device| {
        let asked = ((hash(file), GROUP), device);
        scene.presence.punch(key, user, asked, secrets, scene.replica.directory())
    };
    let refused = Reply::Refused(Refusal::NoSuchDevice);
    scene.announce(1, NIK, &[entry(0, DownloadState::Seeding)]).unwrap();
    assert_eq!(punch(&mut scene, 2, BOB, 0, nik), refused, "he has no part in it");
    let leeches = entry(0, DownloadState::Leeching);
    scene.announce(2, BOB, &[leeches.clone(), entry(1, DownloadState::Leeching)]).unwrap();
    scene.announce(3, eve, &[leeches]).unwrap();
    assert_eq!(punch(&mut scene, 3, eve, 0, nik), refused, "she is no member");
    assert_eq!(punch(&mut scene, 2, BOB, 1, nik), refused, "nik has no part in that");
    assert_eq!(punch(&mut scene, 2, BOB, 0, bob), refused, "it is himself");
    let not_his = punch(&mut scene, 1, BOB, 0, nik);
    assert_eq!(not_his, Reply::Refused(Refusal::LoginFirst));
    let begins = |event: &Event| matches!(event, Event::PunchBegun { .. });
    assert!(!scene.told(1).iter().any(begins) && !scene.told(2).iter().any(begins));
    assert_eq!(punch(&mut scene, 2, BOB, 0, nik), Reply::Pong);
    let (info_hash, group) = (hash(0), GROUP);
    let begun =
        |secret, device, is_asker| Event::PunchBegun { secret, group, info_hash, device, is_asker };
    assert!(scene.told(1).contains(&begun(secrets[1], bob, false)));
    assert!(scene.told(2).contains(&begun(secrets[0], nik, true)));
    assert!(!scene.told(3).iter().any(begins));
    assert_eq!(punch(&mut scene, 2, BOB, 0, nik), Reply::Refused(Refusal::Busy));
    // The ports that probes have shown are told, not those that the clients say they listen on.
    let shown = |scene: &mut Scene, secret, device, address: &str| {
        let address = address.parse().unwrap();
        scene.presence.probed((secret, device), address, Duration::ZERO)
    };
    assert!(shown(&mut scene, secrets[1], nik, "198.51.100.1:71").is_ok());
    assert!(shown(&mut scene, secrets[0], nik, "198.51.100.1:72").is_err(), "it is bob's");
    assert!(shown(&mut scene, secrets[0], bob, "203.0.113.1:82").is_ok());
    let now = |scene: &mut Scene, key| {
        let told = scene.told(key).into_iter().find_map(|event| match event {
            Event::PunchNow { secret, address, .. } => Some((secret, address.to_string())),
            _ => None,
        });
        told.unwrap()
    };
    assert_eq!(now(&mut scene, 1), (secrets[1], "203.0.113.1:82".into()));
    assert_eq!(now(&mut scene, 2), (secrets[0], "198.51.100.1:71".into()));
}

#[test]
fn a_change_of_addresses_is_told_to_the_swarm_and_only_so_often() {
    let mut scene = Scene::new(1);
    for (key, user) in [(1, NIK), (2, BOB)] {
        scene.log_in(key, user, START_MS);
    }
    let announce = |scene: &mut Scene, key, user, state| {
        let entry = AnnounceEntry { group: GROUP, info_hash: hash(0), state };
        scene.presence.announce(key, user, &[entry], scene.replica.directory()).unwrap()
    };
    announce(&mut scene, 1, NIK, DownloadState::Seeding);
    announce(&mut scene, 2, BOB, DownloadState::Leeching);
    scene.presence.leaving.borrow_mut().clear();
    let set = |scene: &mut Scene, number: u16| {
        let all = [candidate(&format!("10.0.0.5:{number}"))];
        scene.presence.set_candidates(1, NIK, &all, scene.replica.directory())
    };
    assert_eq!(set(&mut scene, 1), Ok(Reply::Pong));
    assert_eq!(scene.presence.leaving.borrow().len(), 1, "bob hears of it");
    assert_eq!(set(&mut scene, 1), Ok(Reply::Pong));
    assert_eq!(scene.presence.leaving.borrow().len(), 1, "nothing has changed");
    let waits = (2..200).map(|number| set(&mut scene, number)).filter(Result::is_err).count();
    assert!(waits > 100, "{waits}");
}

#[test]
fn addresses_that_nobody_else_hears_of_are_taken_only_so_often_too() {
    let mut scene = Scene::new(1);
    scene.log_in(1, NIK, START_MS);
    let entry = AnnounceEntry { group: GROUP, info_hash: hash(0), state: DownloadState::Seeding };
    scene.presence.announce(1, NIK, &[entry], scene.replica.directory()).unwrap();
    scene.presence.leaving.borrow_mut().clear();
    let set = |scene: &mut Scene, number: u16| {
        let all = [candidate(&format!("10.0.0.5:{number}"))];
        scene.presence.set_candidates(1, NIK, &all, scene.replica.directory())
    };
    let taken = (1..50).filter(|number| set(&mut scene, *number).is_ok()).count();
    assert!((4..8).contains(&taken), "{taken}");
    assert!(scene.presence.leaving.borrow().is_empty());
    // Nor is another session a way around it.
    let (mut changes, now) = (Changes::default(), std::time::Instant::now());
    let taken = (0..500).filter(|key| changes.take_addresses(*key, NIK).is_zero()).count();
    assert!(taken <= 65 + 2 * now.elapsed().as_secs() as usize, "{taken}");
}

#[test]
fn the_longest_answer_about_peers_fits_a_frame() {
    use crate::types::limits::{ANNOUNCE_ENTRIES_MAX, CANDIDATES_MAX};
    use crate::types::{CandidateKind, PeerEntry};
    use crate::wire::Wire as _;
    let address = "[2001:db8::9]:6881".parse().unwrap();
    let kind = CandidateKind::Interface;
    let entry = PeerEntry {
        info_hash: hash(0),
        group: GROUP,
        device: DeviceId::from_bytes([1; 32]),
        user: NIK,
        address,
        state: DownloadState::Seeding,
        candidates: Some(vec![Candidate { address, kind }; CANDIDATES_MAX]),
    };
    let one = entry.candidates.as_ref().unwrap();
    let bare = PeerEntry { candidates: None, ..entry.clone() };
    assert!(entry.to_bytes().len() - bare.to_bytes().len() <= one.len() * CANDIDATE_LEN_MAX);
    // One of each file, of as many as an announce may name.
    let (mut peers, mut room) = (vec![entry; ANNOUNCE_ENTRIES_MAX], CANDIDATE_BYTES_MAX);
    leave_out_candidates(&mut peers, &mut room);
    let with = peers.iter().filter(|peer| peer.candidates.is_some()).count();
    assert_eq!(with, CANDIDATE_BYTES_MAX / (CANDIDATES_MAX * CANDIDATE_LEN_MAX));
    assert!(Reply::Peers(peers).to_bytes().len() + 64 <= TRACKER_FRAME_LEN_MAX);
}

fn device_of(key: SessionKey) -> DeviceId {
    let mut device = [0; 32];
    device[..8].copy_from_slice(&key.to_be_bytes());
    DeviceId::from_bytes(device)
}

#[test]
fn willing_members_relay_in_turn_and_never_for_themselves() {
    let mut scene = Scene::new(0);
    for (key, user) in [(1, NIK), (2, BOB), (3, NIK), (4, BOB)] {
        scene.log_in(key, user, START_MS);
    }
    let say = |scene: &mut Scene, key, user, accepts, port| {
        let directory = scene.replica.directory();
        scene.presence.set_relay_use(key, user, (accepts, port), directory, false)
    };
    let ask = |scene: &mut Scene, key, user, of| {
        let directory = scene.replica.directory();
        scene.presence.introduce(key, user, (GROUP, device_of(of)), directory, None)
    };
    let refused = |refusal| Reply::Refused(refusal);
    assert_eq!(ask(&mut scene, 1, NIK, 2), refused(Refusal::NoSuchDevice), "it takes none");
    for key in [1, 2] {
        let user = if key == 1 { NIK } else { BOB };
        let said = say(&mut scene, key, user, true, Some(70 + key as u16));
        assert_eq!(said, refused(Refusal::Unsupported), "the tracker has none itself");
    }
    // Both ends relay, and nobody else does.
    assert_eq!(ask(&mut scene, 1, NIK, 2), refused(Refusal::Unsupported));
    say(&mut scene, 3, NIK, false, Some(73));
    say(&mut scene, 4, BOB, false, Some(74));
    let mut ports = Vec::new();
    for _ in 0..4 {
        assert_eq!(ask(&mut scene, 1, NIK, 2), Reply::Pong);
        let [first, second] = [1, 2].map(|key| match &scene.told(key)[..] {
            [Event::Relayed { group: GROUP, device, is_dialler, address, secret }] => {
                assert_eq!((*is_dialler, *device), (key == 1, device_of(3 - key)));
                (*address, secret.clone())
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(first.0, second.0);
        assert_ne!(first.1, second.1, "each end has a secret of its own");
        let port = first.0.port();
        let told = scene.told(SessionKey::from(port - 70));
        let [Event::RelayFor { meeting }] = &told[..] else { panic!("{told:?}") };
        assert_eq!(meeting.parties().map(|party| &party.secret), [&first.1, &second.1]);
        ports.push(port);
    }
    assert_eq!(ports.iter().filter(|port| **port == 73).count(), 2, "{ports:?}");
    // One that has gone relays no more.
    scene.presence.end(3, START_MS);
    scene.presence.end(4, START_MS);
    assert_eq!(ask(&mut scene, 1, NIK, 2), refused(Refusal::Unsupported));
    let asked = (0..100).filter(|_| ask(&mut scene, 1, NIK, 2) != refused(Refusal::Busy)).count();
    assert!(asked < 64, "{asked}");
}

#[test]
fn a_former_member_is_introduced_to_nobody() {
    let mut scene = Scene::new(0);
    for (key, user) in [(1, NIK), (2, BOB)] {
        scene.log_in(key, user, START_MS);
    }
    let relay = Relay::start("127.0.0.1:0".parse().unwrap(), RelayBounds::default()).unwrap();
    let at = relay.local_addr();
    let say = |scene: &mut Scene, key, user| {
        let directory = scene.replica.directory();
        scene.presence.set_relay_use(key, user, (true, None), directory, true)
    };
    assert_eq!((say(&mut scene, 1, NIK), say(&mut scene, 2, BOB)), (Reply::Pong, Reply::Pong));
    let ask = |scene: &mut Scene, key, user, of| {
        let directory = scene.replica.directory();
        let own = Some((&relay, at));
        scene.presence.introduce(key, user, (GROUP, device_of(of)), directory, own)
    };
    assert_eq!(ask(&mut scene, 2, BOB, 1), Reply::Pong);
    assert_eq!(relay.meetings().len(), 1);
    let removed = member(BOB, MembershipState::None, Stamp::new(START_MS, 1), None);
    scene.hear(LATER_MS, LATER_MS, removed);
    assert_eq!(ask(&mut scene, 2, BOB, 1), Reply::Refused(Refusal::NotMember));
    assert_eq!(ask(&mut scene, 1, NIK, 2), Reply::Refused(Refusal::NoSuchDevice));
    assert_eq!(relay.meetings().len(), 1);
}
