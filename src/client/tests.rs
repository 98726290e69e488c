//! A whole client with a scripted tracker.

mod own;
mod slots;
mod staying;
mod versions;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use parking_lot::Mutex;

use super::runtime::SessionHost;
use super::trackers::tests::{Act, Fake, is_resume, user, usual, wait_for};
use super::*;
use crate::client::session::TICKET_TIMEOUT;
use crate::store::{DeviceStore, ShareRow, ShareState, SuccessorRow, Write};
use crate::swarm::{Host as _, hash_file};
use crate::trust::KeyPair;
use crate::types::limits::TICKETS_PER_REQUEST_MAX;
use crate::types::{
    DeviceId, DownloadState, FileFacts, GroupEntry, GroupId, Part, Password, PeerEntry, Refusal,
    RotationStage, TrackerInfo, UserId,
};
use crate::wire::tracker::{Event, Reply, Request};

/// Stores a share of the user that scripted trackers log in.
fn put_share(store: &DeviceStore, path: &Path) {
    let hashed = hash_file(path, &mut |_| true).unwrap();
    let metainfo = &hashed.seed.metainfo;
    let (name, geometry) = (metainfo.name().clone(), metainfo.geometry());
    let (len, piece_len) = (geometry.len(), geometry.piece_len());
    store.put_metainfo(metainfo).unwrap();
    let row = ShareRow {
        user: UserId::from_bytes([5; 16]),
        group: GroupId::from_bytes([6; 16]),
        group_label: "lab".parse().unwrap(),
        label: name.as_str().parse().unwrap(),
        facts: FileFacts {
            info_hash: metainfo.info_hash(),
            name,
            len,
            piece_len,
            sha1: hashed.sha1,
            chain: None,
        },
        path: path.to_owned(),
        stamp: hashed.seed.stamp,
        state: ShareState::Offered,
    };
    store.apply(&[Write::Share(Arc::new(row.clone()))]).unwrap();
}

#[test]
fn the_shares_of_a_device_are_announced_together_at_login() {
    const SHARES: usize = 40;
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    {
        let store = DeviceStore::open(&data_dir).unwrap();
        for number in 0..SHARES {
            let path = dir.path().join(format!("{number}.bin"));
            std::fs::write(&path, number.to_string()).unwrap();
            put_share(&store, &path);
        }
    }
    let fake = Fake::start(usual);
    let trackers = TrackerInfo::parse(&fake.address.to_string()).unwrap();
    let config =
        ClientConfig { data_dir, ..ClientConfig::new("127.0.0.1:0".parse().unwrap(), trackers) };
    let client = Client::start(config).unwrap();
    client.login("nik", Password::new("pw".into()).unwrap()).unwrap();
    assert_eq!(client.show_uploads().unwrap().len(), SHARES);
    let announced = || -> Vec<usize> {
        let asked = fake.asked().into_iter();
        asked
            .filter_map(|r| {
                if let Request::Announce { entries } = r { Some(entries.len()) } else { None }
            })
            .collect()
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while announced().iter().sum::<usize>() < SHARES {
        assert!(Instant::now() < deadline, "only {:?} were announced", announced());
        std::thread::park_timeout(Duration::from_millis(2));
    }
    assert!(announced().len() <= 2, "a message a share fills a tracker's queue: {:?}", announced());
}

/// A client of these trackers whose state is in `data_dir`.
fn client_of(data_dir: &Path, fakes: &[&Fake]) -> Client {
    let text: String = fakes.iter().map(|fake| format!("{}\n", fake.address)).collect();
    let trackers = TrackerInfo::parse(&text).unwrap();
    let config = ClientConfig {
        data_dir: data_dir.to_owned(),
        ..ClientConfig::new("127.0.0.1:0".parse().unwrap(), trackers)
    };
    Client::start(config).unwrap()
}

fn log_in(client: &Client) {
    client.login("nik", Password::new("pw".into()).unwrap()).unwrap();
}

/// A data directory in which the user offers a file in these groups.
fn with_share(dir: &Path, groups: impl IntoIterator<Item = GroupId>) -> PathBuf {
    let (data_dir, path) = (dir.join("data"), dir.join("a.bin"));
    std::fs::write(&path, "0123").unwrap();
    let store = DeviceStore::open(&data_dir).unwrap();
    put_share(&store, &path);
    let row = store.shares(user().user).unwrap().remove(0);
    let ShareRow { user, group, facts, .. } = row.clone();
    store.apply(&[Write::NoShare { user, group, info_hash: facts.info_hash }]).unwrap();
    let share = |group| Write::Share(Arc::new(ShareRow { group, ..row.clone() }));
    store.apply(&groups.into_iter().map(share).collect::<Vec<_>>()).unwrap();
    data_dir
}

fn lab() -> GroupEntry {
    let [label, owner] = ["lab", "eve"].map(|name| name.parse().unwrap());
    GroupEntry {
        group: group(1),
        label,
        part: Part::Member,
        member_count: 2,
        owner,
        requests: Some(0),
        settings: None,
    }
}

fn group(number: u16) -> GroupId {
    let mut bytes = [7; 16];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    GroupId::from_bytes(bytes)
}

fn asked_groups(fake: &Fake) -> Vec<Vec<GroupId>> {
    let asked = fake.asked().into_iter();
    asked
        .filter_map(
            |request| if let Request::Tickets { groups } = request { Some(groups) } else { None },
        )
        .collect()
}

fn wait_for_event(
    events: &Receiver<ClientEvent>,
    wanted: impl Fn(&ClientEvent) -> bool,
) -> ClientEvent {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let event = events.recv_deadline(deadline).expect("an event that did not come");
        if wanted(&event) {
            return event;
        }
    }
}

#[test]
fn tickets_are_there_before_anybody_wants_to_see_one_and_are_renewed_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = with_share(dir.path(), [group(1), group(2)]);
    let fake = Fake::start(usual);
    fake.terms.lock().ticket_ms = 3_000;
    let client = client_of(&data_dir, &[&fake]);
    log_in(&client);
    let now = || client.inner.trackers.clock_ms();
    let own = |number| client.inner.view().tickets.own(group(number), now());
    wait_for("both are there", || own(1).is_some() && own(2).is_some());
    assert_eq!(asked_groups(&fake).concat().len(), 2, "for both at once, or one after the other");
    let first = own(1).unwrap();
    wait_for("it is renewed", || own(1).is_some_and(|ticket| ticket != first));
    assert!(now() < first.claims.expires_ms, "in time");
    client.logout().unwrap();
    assert!(own(1).is_none());
    let asked = asked_groups(&fake).len();
    assert!(client.inner.own_ticket(group(1)).is_none());
    assert_eq!(asked_groups(&fake).len(), asked);
}

#[test]
fn for_a_thousand_groups_tickets_are_asked_in_batches() {
    let dir = tempfile::tempdir().unwrap();
    let count = TICKETS_PER_REQUEST_MAX + 76;
    let data_dir = with_share(dir.path(), (0..count as u16).map(group));
    let fake = Fake::start(usual);
    let client = client_of(&data_dir, &[&fake]);
    log_in(&client);
    let sizes = || asked_groups(&fake).iter().map(Vec::len).collect::<Vec<_>>();
    wait_for("all are asked for", || sizes().iter().sum::<usize>() == count);
    assert!(
        sizes().iter().all(|size| *size <= TICKETS_PER_REQUEST_MAX) && sizes().len() <= 3,
        "{:?}",
        sizes()
    );
}

#[test]
fn links_that_want_the_same_ticket_ask_once_and_a_stranger_makes_nobody_ask() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = with_share(dir.path(), [group(1)]);
    let (release, held) = crossbeam_channel::unbounded::<()>();
    let fake = Fake::start(move |request| {
        if matches!(request, Request::Tickets { .. }) {
            held.recv_timeout(Duration::from_secs(30)).unwrap();
        }
        usual(request)
    });
    let client = client_of(&data_dir, &[&fake]);
    log_in(&client);
    assert!(client.inner.own_ticket(group(2)).is_none(), "we take no part there");
    std::thread::scope(|scope| {
        let links: Vec<_> =
            (0..8).map(|_| scope.spawn(|| client.inner.own_ticket(group(1)))).collect();
        wait_for("somebody asks", || !asked_groups(&fake).is_empty());
        release.send(()).unwrap();
        assert!(links.into_iter().all(|link| link.join().unwrap().is_some()));
    });
    assert_eq!(asked_groups(&fake), [[group(1)]]);
}

#[test]
fn a_link_does_not_wait_long_for_a_ticket_nor_ask_again_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = with_share(dir.path(), [group(1)]);
    let silent = Fake::start(|request| {
        if matches!(request, Request::Tickets { .. }) { Act::Silence } else { usual(request) }
    });
    let client = client_of(&data_dir, &[&silent]);
    log_in(&client);
    let started = Instant::now();
    assert!(client.inner.own_ticket(group(1)).is_none());
    assert!(
        started.elapsed() < Duration::from_secs(9),
        "the other end waits ten seconds for the whole handshake"
    );
    let (asked, begun) = (asked_groups(&silent).len(), Instant::now());
    (0..100).for_each(|_| {
        assert!(
            client.inner.view().tickets.may_ask(super::trackers::uptime())
                || client.inner.own_ticket(group(1)).is_none()
        )
    });
    // On a busy machine a pause may end between two calls: then one question is asked, and waited for.
    let waited = begun.elapsed().as_secs() / TICKET_TIMEOUT.as_secs();
    assert!(asked_groups(&silent).len() <= asked + 2 + waited as usize);
}

/// A tracker that does not know of any membership yet.
fn ignorant() -> Fake {
    Fake::start(|request| match request {
        Request::Tickets { .. } => Act::Answer(Box::new(Reply::Tickets(Vec::new()))),
        other => usual(other),
    })
}

#[test]
fn a_ticket_that_a_tracker_does_not_give_is_asked_of_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = with_share(dir.path(), [group(1)]);
    let (ignorant, knows) = (ignorant(), Fake::start(usual));
    let client = client_of(&data_dir, &[&ignorant, &knows]);
    wait_for("both are connected", || {
        client.inner.trackers.views().iter().all(|view| view.number.is_some())
    });
    log_in(&client);
    let own =
        || client.inner.view().tickets.own(group(1), client.inner.trackers.clock_ms()).is_some();
    wait_for("it is there", own);
}

#[test]
fn a_ticket_that_no_tracker_renews_is_shown_until_it_expires() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = with_share(dir.path(), [group(1), group(2)]);
    let out = Arc::new(Mutex::new(false));
    let is_out = out.clone();
    let fake = Fake::start(move |request| match request {
        Request::Tickets { groups } if *is_out.lock() && groups.contains(&group(2)) => {
            Act::Answer(Box::new(Reply::Tickets(Vec::new())))
        }
        other => usual(other),
    });
    fake.terms.lock().ticket_ms = 60_000;
    let client = client_of(&data_dir, &[&fake]);
    log_in(&client);
    let own = |number| {
        client.inner.view().tickets.own(group(number), client.inner.trackers.clock_ms()).is_some()
    };
    wait_for("both are there", || own(1) && own(2));
    *out.lock() = true;
    // Half of their lifetime is over by the tracker's clock.
    let asked = asked_groups(&fake).len();
    fake.terms.lock().ahead_ms = 32_000;
    fake.cut();
    wait_for("it is asked again and again", || asked_groups(&fake).len() > asked + 2);
    assert!(own(2), "a tracker that does not know of us is no proof that we are out");
    fake.terms.lock().ahead_ms = 61_000;
    fake.cut();
    wait_for("it has expired", || !own(2));
}

/// The engine's interface to that client.
fn host_of(client: &Client) -> SessionHost {
    SessionHost::new(&client.inner, user().user)
}

#[test]
fn who_has_left_a_swarm_is_refused_there_until_a_tracker_lists_them_again() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = with_share(dir.path(), [group(1), group(2)]);
    let fake = Fake::start(usual);
    let client = client_of(&data_dir, &[&fake]);
    log_in(&client);
    let info_hash = client.inner.store.shares(user().user).unwrap()[0].facts.info_hash;
    let [left, stays] = [8, 9].map(|byte| DeviceId::from_bytes([byte; 32]));
    let host = host_of(&client);
    let is_offered = |number, device| host.is_offered(info_hash, group(number), device);
    assert!(is_offered(1, left) && is_offered(1, stays));
    let other = UserId::from_bytes([9; 16]);
    fake.tell(&Event::Withdrawn { group: group(1), info_hash, user: other, device: left });
    wait_for("it has left", || !is_offered(1, left));
    assert!(is_offered(1, stays) && is_offered(2, left));
    let address = "127.0.0.1:9".parse().unwrap();
    let state = DownloadState::Leeching;
    fake.tell(&Event::Peer(PeerEntry {
        info_hash,
        group: group(1),
        device: left,
        user: other,
        address,
        state,
    }));
    wait_for("it is back", || is_offered(1, left));
}

#[test]
fn while_the_trackers_are_told_of_a_logout_nobody_is_let_in_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = with_share(dir.path(), [group(1)]);
    let fake =
        Fake::start(
            |request| {
                if matches!(request, Request::Logout) { Act::Silence } else { usual(request) }
            },
        );
    let client = client_of(&data_dir, &[&fake]);
    log_in(&client);
    let device = DeviceId::from_bytes([8; 32]);
    let ticket = fake.terms.lock().ticket(&fake.key, device, group(1));
    let host = host_of(&client);
    assert!(host.check_ticket(&ticket, device).is_some());
    std::thread::scope(|scope| {
        let logout = scope.spawn(|| client.logout());
        wait_for("the tracker is told", || {
            fake.count(|request| matches!(request, Request::Logout)) == 1
        });
        assert!(host.check_ticket(&ticket, device).is_none() && client.inner.engine().is_none());
        logout.join().unwrap().unwrap();
    });
}

#[test]
fn a_session_that_is_over_ends_though_a_share_is_being_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = with_share(dir.path(), [group(1)]);
    {
        let store = DeviceStore::open(&data_dir).unwrap();
        let row = store.shares(user().user).unwrap().remove(0);
        let pending = ShareRow { state: ShareState::Pending, ..row };
        store.apply(&[Write::Share(Arc::new(pending))]).unwrap();
    }
    let is_share = |request: &Request| matches!(request, Request::ShareFile { .. });
    let fake =
        Fake::start(move |request| if is_share(request) { Act::Silence } else { usual(request) });
    let client = client_of(&data_dir, &[&fake]);
    let events = client.subscribe();
    log_in(&client);
    wait_for("it is being told of", || fake.count(is_share) > 0);
    fake.terms.lock().password_ms += 1;
    fake.tell(&Event::SessionOver);
    wait_for_event(&events, |event| matches!(event, ClientEvent::SessionEnded { .. }));
}

#[test]
fn a_removed_member_has_no_ticket_and_offers_nothing_there() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = with_share(dir.path(), [group(1), group(2)]);
    let fake = Fake::start(usual);
    let client = client_of(&data_dir, &[&fake]);
    let events = client.subscribe();
    log_in(&client);
    let own = |number| {
        client.inner.view().tickets.own(group(number), client.inner.trackers.clock_ms()).is_some()
    };
    wait_for("both are there", || own(1) && own(2));
    fake.tell(&Event::Removed { group: group(1) });
    wait_for_event(&events, |event| matches!(event, ClientEvent::Removed { .. }));
    assert!(!own(1) && own(2) && client.inner.own_ticket(group(1)).is_none());
    let uploads = client.show_uploads().unwrap();
    assert_eq!(uploads.len(), 1);
    // Our ticket is revoked: the client asks for another.
    let until_ms = client.inner.trackers.clock_ms() + 1;
    let asked = asked_groups(&fake).len();
    wait_for("the trackers' clock has gone on", || client.inner.trackers.clock_ms() > until_ms + 1);
    fake.tell(&Event::Void { group: Some(group(2)), user: user().user, until_ms });
    wait_for("a new one is there", || asked_groups(&fake).len() > asked && own(2));
}

#[test]
fn a_share_that_was_stopped_on_another_device_is_offered_no_more_and_said_so_once() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = with_share(dir.path(), [group(1), group(2)]);
    let fake = Fake::start(usual);
    let client = client_of(&data_dir, &[&fake]);
    let events = client.subscribe();
    log_in(&client);
    let info_hash = client.inner.store.shares(user().user).unwrap()[0].facts.info_hash;
    for _ in 0..2 {
        fake.tell(&Event::ShareStopped { group: group(1), info_hash });
    }
    fake.tell(&Event::Removed { group: group(2) });
    let told =
        wait_for_event(&events, |event| matches!(event, ClientEvent::ShareNotOffered { .. }));
    assert!(
        matches!(told, ClientEvent::ShareNotOffered { reason, .. } if reason.contains("another device"))
    );
    let next =
        wait_for_event(&events, |event| !matches!(event, ClientEvent::TrustedNetwork { .. }));
    assert!(matches!(next, ClientEvent::Removed { .. }), "{next:?}");
    assert!(client.show_uploads().unwrap().is_empty());
    let states: Vec<ShareState> =
        client.inner.store.shares(user().user).unwrap().iter().map(|row| row.state).collect();
    assert_eq!(states, [ShareState::Stopped; 2]);
}

#[test]
fn a_session_that_is_over_leaves_nothing_and_the_next_login_brings_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = with_share(dir.path(), [group(1)]);
    let fake = Fake::start(usual);
    let client = client_of(&data_dir, &[&fake]);
    let events = client.subscribe();
    log_in(&client);
    assert_eq!(client.show_uploads().unwrap().len(), 1);
    fake.terms.lock().password_ms += 1;
    fake.tell(&Event::SessionOver);
    let ended = wait_for_event(&events, |event| matches!(event, ClientEvent::SessionEnded { .. }));
    assert_eq!(
        ended,
        ClientEvent::SessionEnded {
            user: user().label,
            user_id: user().user,
            reason: SessionEnd::PasswordChanged
        }
    );
    for refused in [
        client.whoami().map(drop),
        client.list_groups(None).all().map(drop),
        client.show_uploads().map(drop),
        client.logout(),
    ] {
        assert!(matches!(refused, Err(ClientError::Refused(Refusal::LoginFirst))), "{refused:?}");
    }
    assert!(client.inner.engine().is_none() && client.ended().is_some());
    log_in(&client);
    assert_eq!(client.show_uploads().unwrap().len(), 1);
    assert!(client.ended().is_none());
}

#[test]
fn a_session_lasts_beyond_the_life_of_its_first_token() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::start(usual);
    fake.terms.lock().token_ms = 4_000;
    let client = client_of(&dir.path().join("data"), &[&fake]);
    log_in(&client);
    wait_for("it was renewed again and again", || {
        fake.count(|request| matches!(request, Request::Renew)) >= 3
    });
    // The client's current token is valid on a connection without the earlier login.
    fake.cut();
    wait_for("it is resumed", || fake.count(is_resume) >= 1 && client.create_group("lab").is_ok());
    assert!(client.ended().is_none());
}

#[test]
fn a_change_of_the_password_keeps_the_session_and_renews_the_tickets() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = with_share(dir.path(), [group(1)]);
    let fake = Fake::start(usual);
    let client = client_of(&data_dir, &[&fake]);
    log_in(&client);
    let own = || client.inner.view().tickets.own(group(1), client.inner.trackers.clock_ms());
    wait_for("a ticket is there", || own().is_some());
    let before = own().unwrap();
    wait_for("the clock has gone on", || fake.terms.lock().now_ms() > before.claims.issued_ms);
    fake.terms.lock().password_ms = before.claims.issued_ms;
    let [old, new] = ["pw", "new"].map(|text| Password::new(text.into()).unwrap());
    client.change_password(old, new).unwrap();
    wait_for("there is a newer one", || {
        own().is_some_and(|ticket| ticket.claims.issued_ms > before.claims.issued_ms)
    });
    fake.tell(&Event::SessionOver);
    fake.cut();
    wait_for("the new token is taken", || {
        fake.count(is_resume) >= 1 && client.create_group("lab").is_ok()
    });
}

#[test]
fn the_first_network_is_trusted_said_so_and_remembered_until_the_user_names_another() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let fake = Fake::start(usual);
    let first = fake.key.fingerprint();
    {
        let client = client_of(&data_dir, &[&fake]);
        assert!(client.wait_for_tracker(Duration::from_secs(30)));
        // Also for a subscriber that comes after the event.
        wait_for("it is trusted", || client.network() == Some(first));
        let told = wait_for_event(&client.subscribe(), |_| true);
        assert_eq!(
            told,
            ClientEvent::TrustedNetwork { network: first, before: None, unwritten: None }
        );
    }
    let other = Fake::start_of(Arc::new(KeyPair::generate().unwrap()), usual);
    let second = other.key.fingerprint();
    {
        let client = client_of(&data_dir, &[&other]);
        wait_for("it is refused", || client.trackers().unwrap().trackers[0].error.is_some());
        let error = client.create_user("nik", Password::new("pw".into()).unwrap()).unwrap_err();
        assert!(matches!(error, ClientError::WrongNetwork(_)), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(&first.to_string()) && text.contains(&format!("`network {second}`")),
            "{text}"
        );
        let status = client.trackers().unwrap();
        assert_eq!(status.network, Some(first));
        assert!(status.trackers[0].error.as_ref().unwrap().contains(&second.to_string()));
    }
    let trackers = TrackerInfo::parse(&format!("{}\nnetwork {second}\n", other.address)).unwrap();
    let config = ClientConfig {
        data_dir: data_dir.clone(),
        ..ClientConfig::new("127.0.0.1:0".parse().unwrap(), trackers)
    };
    {
        let client = Client::start(config).unwrap();
        assert!(client.wait_for_tracker(Duration::from_secs(30)));
        let told = wait_for_event(&client.subscribe(), |_| true);
        assert_eq!(
            told,
            ClientEvent::TrustedNetwork { network: second, before: Some(first), unwritten: None }
        );
    }
    let client = client_of(&data_dir, &[&other]);
    assert!(client.wait_for_tracker(Duration::from_secs(30)), "it is remembered");
    assert!(client.subscribe().try_recv().is_err(), "and need not be said again");
}

#[test]
fn an_option_that_names_a_key_from_before_means_the_one_that_followed() {
    let dir = tempfile::tempdir().unwrap();
    let [old, new] = [(); 2].map(|()| KeyPair::generate().unwrap().network());
    {
        let store = DeviceStore::open(dir.path()).unwrap();
        store.set_network(old.fingerprint()).unwrap();
        let row = SuccessorRow { old: old.fingerprint(), new: new.into(), has_ended: true };
        store.set_successor(&row).unwrap();
    }
    let trackers = TrackerInfo::parse("127.0.0.1:1\n").unwrap();
    let config = ClientConfig::new("127.0.0.1:0".parse().unwrap(), trackers);
    let config = ClientConfig {
        data_dir: dir.path().to_owned(),
        network: Some(old.fingerprint()),
        ..config
    };
    let client = Client::start(config).unwrap();
    let (stage, old, new) = (RotationStage::Ended, old.fingerprint(), new.fingerprint());
    assert_eq!(
        wait_for_event(&client.subscribe(), |_| true),
        ClientEvent::NetworkKey { stage, old, new }
    );
    assert_eq!(client.trackers().unwrap().network, Some(new));
    client.stop();
    drop(client);
    assert_eq!(DeviceStore::open(dir.path()).unwrap().network().unwrap(), Some(new));
}

/// The schema from before devices had keys, as that version wrote it.
const SCHEMA_1: &str = "
    CREATE TABLE identity (device BLOB NOT NULL);
    CREATE TABLE metainfo (info_hash BLOB PRIMARY KEY, bytes BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE share (
        user BLOB NOT NULL, grp BLOB NOT NULL, info_hash BLOB NOT NULL,
        group_label TEXT NOT NULL, label TEXT NOT NULL,
        name TEXT NOT NULL, len INTEGER NOT NULL, piece_len INTEGER NOT NULL, sha1 BLOB NOT NULL,
        path BLOB NOT NULL, modified_ns INTEGER NOT NULL, dev INTEGER NOT NULL, inode INTEGER NOT NULL,
        state INTEGER NOT NULL,
        PRIMARY KEY (user, grp, info_hash)) WITHOUT ROWID;
    CREATE INDEX share_path ON share (path);
    CREATE TABLE download (
        user BLOB NOT NULL, info_hash BLOB NOT NULL, grp BLOB NOT NULL,
        group_label TEXT NOT NULL, label TEXT NOT NULL,
        name TEXT NOT NULL, len INTEGER NOT NULL, piece_len INTEGER NOT NULL, sha1 BLOB NOT NULL,
        target BLOB NOT NULL, state INTEGER NOT NULL, reason TEXT,
        verified BLOB, begun INTEGER NOT NULL,
        PRIMARY KEY (user, info_hash)) WITHOUT ROWID;
    PRAGMA application_id = 1347634262;
    PRAGMA user_version = 1;
";

#[test]
fn a_device_of_before_there_were_keys_goes_on_with_what_it_had() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let dir = tempfile::tempdir().unwrap();
    let (data_dir, path, target) =
        (dir.path().join("data"), dir.path().join("a.bin"), dir.path().join("b.bin"));
    std::fs::create_dir(&data_dir).unwrap();
    std::fs::write(&path, "0123").unwrap();
    let hashed = hash_file(&path, &mut |_| true).unwrap();
    let (metainfo, facts) = (&hashed.seed.metainfo, std::fs::metadata(&path).unwrap());
    {
        let old = rusqlite::Connection::open(data_dir.join("device.sqlite")).unwrap();
        old.execute_batch(SCHEMA_1).unwrap();
        old.execute("INSERT INTO identity VALUES (?1)", [[7u8; 32]]).unwrap();
        let (user, group, info_hash) = ([5u8; 16], [6u8; 16], *metainfo.info_hash().as_bytes());
        old.execute(
            "INSERT INTO metainfo VALUES (?1, ?2)",
            rusqlite::params![info_hash, metainfo.to_bytes()],
        )
        .unwrap();
        let modified_ns = facts.mtime() * 1_000_000_000 + facts.mtime_nsec();
        let share = rusqlite::params![
            user,
            group,
            info_hash,
            hashed.sha1.as_bytes(),
            path.to_str().unwrap().as_bytes(),
            modified_ns,
            facts.dev() as i64,
            facts.ino() as i64
        ];
        let sql = "INSERT INTO share VALUES (?1, ?2, ?3, 'lab', 'a.bin', 'a.bin', 4, 524288, ?4, ?5, ?6, ?7, ?8, 1)";
        old.execute(sql, share).unwrap();
        let download = rusqlite::params![
            user,
            [9u8; 20],
            group,
            [2u8; 20],
            target.to_str().unwrap().as_bytes()
        ];
        let sql = "INSERT INTO download VALUES (?1, ?2, ?3, 'lab', 'b.bin', 'b.bin', 9, 524288, ?4, ?5, 1, 'disk full', NULL, 5)";
        old.execute(sql, download).unwrap();
    }
    let fake = Fake::start(usual);
    let client = client_of(&data_dir, &[&fake]);
    log_in(&client);
    let uploads = client.show_uploads().unwrap();
    assert_eq!((uploads.len(), &uploads[0].path), (1, &path));
    let downloads = client.show_downloads().unwrap();
    assert_eq!((downloads.len(), &downloads[0].path), (1, &target));
    assert_eq!(downloads[0].phase, DownloadPhase::Paused(Some("disk full".into())));
    let key = std::fs::metadata(data_dir.join("device.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    let device = client.device();
    drop(client);
    assert_eq!(client_of(&data_dir, &[&fake]).device(), device, "the key is made once");
}
