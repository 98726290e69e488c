//! Requests and their refusals.

use super::*;
use crate::types::FileId;
use crate::types::FileOrder;
use crate::types::Part;

fn id() -> RequestStamp {
    request_id()
}

#[test]
fn accounts_and_logins() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let mut guest = Guest::connect(tracker.local_addr(), 1);
    assert_eq!(guest.welcome.number, 1);
    assert_eq!(guest.welcome.observed, SocketAddr::new(LOCALHOST, 4000));
    assert_eq!(guest.ask(Request::Ping), Reply::Pong);
    for request in [
        Request::Logout,
        Request::WhoAmI,
        Request::ListGroups { after: None, pattern: None },
        Request::Announce { entries: vec![] },
    ] {
        guest.refused(request, Refusal::LoginFirst);
    }
    guest.refused(
        Request::CreateGroup { request: id(), name: "g".parse().unwrap() },
        Refusal::LoginFirst,
    );
    let create = |request| Request::CreateUser {
        request,
        name: "nik".parse().unwrap(),
        password: password("pw"),
    };
    let request = id();
    let made = guest.done(create(request));
    assert_eq!(guest.done(create(request)), made, "a retry gets the first outcome");
    guest.refused(create(id()), Refusal::NameTaken);
    assert_eq!(guest.log_in("nik", "PW"), Err(Refusal::WrongPassword));
    assert_eq!(guest.log_in("nobody", "pw"), Err(Refusal::WrongPassword));
    let user = guest.log_in("nik", "pw").unwrap();
    assert_eq!(made, Effect::User(user));
    assert!(
        matches!(guest.ask(Request::WhoAmI), Reply::User(entry) if entry.user == user && entry.label.as_str() == "nik")
    );
    let status = status(&tracker);
    assert_eq!((status.sessions, status.counts.users, status.degraded), (1, 1, false));
    assert_eq!(guest.ask(Request::Logout), Reply::Pong);
    guest.refused(Request::WhoAmI, Refusal::LoginFirst);
    let Reply::Trackers { entries, degraded } = guest.ask(Request::ListTrackers) else { panic!() };
    assert_eq!((entries.len(), degraded), (1, false));
    tracker.stop().unwrap();
}

#[test]
fn passwords_change_once_and_only_with_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let (mut guest, user) = Guest::new(&tracker, "nik", 1);
    let change = |request, old: &str| Request::ChangePassword {
        request,
        old: password(old),
        new: password("next"),
    };
    guest.refused(change(id(), "wrong"), Refusal::WrongOldPassword);
    let request = id();
    assert!(matches!(guest.ask(change(request, "pw")), Reply::Renewed(_)));
    assert!(
        matches!(guest.ask(change(request, "pw")), Reply::Renewed(_)),
        "a retry, though the old password is no longer the old one"
    );
    assert_eq!(guest.log_in("nik", "pw"), Err(Refusal::WrongPassword));
    assert_eq!(guest.log_in("nik", "next"), Ok(user));
}

#[test]
fn groups_and_their_refusals() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let (mut nik, nik_id) = Guest::new(&tracker, "nik", 1);
    let (mut bob, bob_id) = Guest::new(&tracker, "bob", 2);
    let group = nik.create_group("lab");
    bob.refused(
        Request::CreateGroup { request: id(), name: "lab".parse().unwrap() },
        Refusal::NameTaken,
    );
    let nowhere = GroupId::from_bytes([9; 16]);
    bob.refused(Request::JoinGroup { request: id(), group: nowhere }, Refusal::NoSuchGroup);
    bob.refused(Request::ListMembers { group: nowhere, after: None }, Refusal::NoSuchGroup);
    bob.refused(Request::ListMembers { group, after: None }, Refusal::NotMember);
    bob.refused(
        Request::ListFiles { group, after: None, pattern: None, order: FileOrder::Name },
        Refusal::NotMember,
    );
    bob.refused(Request::LeaveGroup { request: id(), group }, Refusal::NotMember);
    bob.refused(Request::ListRequests { group, after: None }, Refusal::NotOwner);
    bob.done(Request::JoinGroup { request: id(), group });
    bob.refused(Request::JoinGroup { request: id(), group }, Refusal::AlreadyRequested);
    let Reply::Requests { entries, more: false } =
        nik.ask(Request::ListRequests { group, after: None })
    else {
        panic!()
    };
    assert_eq!(entries.iter().map(|entry| entry.user.user).collect::<Vec<_>>(), [bob_id]);
    bob.refused(Request::AcceptRequest { request: id(), group, user: bob_id }, Refusal::NotOwner);
    nik.done(Request::AcceptRequest { request: id(), group, user: bob_id });
    assert!(
        matches!(bob.event(), Event::Admitted { group: entry } if entry.group == group && entry.part == Part::Member)
    );
    nik.refused(
        Request::AcceptRequest { request: id(), group, user: bob_id },
        Refusal::NoSuchRequest,
    );
    let Reply::Members { entries, .. } = bob.ask(Request::ListMembers { group, after: None })
    else {
        panic!()
    };
    assert!(entries.iter().all(|entry| entry.online) && entries.len() == 2 && entries[0].owner);
    nik.done(Request::TransferGroup { request: id(), group, user: bob_id });
    nik.refused(Request::RemoveMember { request: id(), group, user: bob_id }, Refusal::NotOwner);
    bob.done(Request::RemoveMember { request: id(), group, user: nik_id });
    assert_eq!(nik.event(), Event::Removed { group });
    let Reply::Groups { entries, .. } = nik.ask(Request::ListGroups { after: None, pattern: None })
    else {
        panic!()
    };
    assert_eq!(
        (entries.len(), entries[0].part, entries[0].owner.as_str()),
        (1, Part::Stranger, "bob")
    );
    let Reply::Groups { entries, .. } = nik.ask(Request::ListMyGroups { after: None }) else {
        panic!()
    };
    assert!(entries.is_empty());
    let reused = id();
    bob.done(Request::CreateGroup { request: reused, name: "x".parse().unwrap() });
    bob.refused(Request::LeaveGroup { request: reused, group }, Refusal::RequestReused);
}

#[test]
fn files_are_for_members() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let (mut nik, _) = Guest::new(&tracker, "nik", 1);
    let (mut bob, bob_id) = Guest::new(&tracker, "bob", 2);
    let group = nik.create_group("lab");
    let info_hash = nik.share(group, "a.bin");
    bob.refused(
        Request::ShareFile { request: id(), group, file: facts("b.bin") },
        Refusal::NotMember,
    );
    bob.refused(Request::FindFile { group, file: facts("a.bin").id() }, Refusal::NotMember);
    let resolve = |file: Option<&str>| Request::Resolve {
        group: "lab".parse().unwrap(),
        user: Some("bob".parse().unwrap()),
        file: file.map(|file| file.parse().unwrap()),
    };
    bob.refused(resolve(Some("a.bin")), Refusal::NotMember);
    let Reply::Resolved(found) = bob.ask(resolve(None)) else { panic!() };
    assert_eq!(
        (found.group.group, found.user.map(|entry| entry.user), found.file),
        (group, Some(bob_id), None)
    );
    bob.refused(
        Request::Resolve { group: "none".parse().unwrap(), user: None, file: None },
        Refusal::NoSuchGroup,
    );
    admit(&mut nik, &mut bob, bob_id, group);
    let Reply::Resolved(found) = bob.ask(resolve(Some("a.bin"))) else { panic!() };
    assert_eq!(found.file.unwrap().facts, facts("a.bin"));
    let other = FileFacts { info_hash: InfoHash::from_bytes([1; 20]), ..facts("a.bin") };
    bob.refused(Request::ShareFile { request: id(), group, file: other }, Refusal::FileNameTaken);
    bob.refused(
        Request::StopShare { request: id(), group, file: facts("a.bin").id() },
        Refusal::NotShared,
    );
    bob.refused(
        Request::FindFile { group, file: FileId::from_bytes([2; 20]) },
        Refusal::NoSuchFile,
    );
    let bad = FileFacts { piece_len: 0, ..facts("bad") };
    bob.refused(Request::ShareFile { request: id(), group, file: bad }, Refusal::BadFile);
    assert_eq!(
        bob.announce(group, info_hash, DownloadState::Seeding),
        Reply::Refused(Refusal::NotShared)
    );
    nik.announce(group, info_hash, DownloadState::Seeding);
    let Reply::Files { entries, .. } =
        bob.ask(Request::ListFiles { group, after: None, pattern: None, order: FileOrder::Name })
    else {
        panic!()
    };
    assert_eq!((entries.len(), entries[0].online, entries[0].sharer_count), (1, 1, 1));
    nik.done(Request::StopShare { request: id(), group, file: facts("a.bin").id() });
    bob.refused(Request::FindFile { group, file: facts("a.bin").id() }, Refusal::NoSuchFile);
}

#[test]
fn what_was_acknowledged_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let (mut nik, user) = Guest::new(&tracker, "nik", 1);
    let group = nik.create_group("lab");
    nik.share(group, "a.bin");
    let before = status(&tracker);
    tracker.stop().unwrap();
    assert_eq!(nik.event(), Event::Closing);
    assert!(nik.is_closed());
    let tracker = alone(dir.path());
    let after = status(&tracker);
    assert_eq!((after.counts, after.directory), (before.counts, before.directory));
    let mut nik = Guest::connect(tracker.local_addr(), 1);
    assert_eq!(nik.log_in("nik", "pw"), Ok(user));
    let Reply::Groups { entries, .. } = nik.ask(Request::ListMyGroups { after: None }) else {
        panic!()
    };
    assert_eq!((entries.len(), entries[0].part), (1, Part::Owner));
}

#[test]
fn a_store_that_cannot_be_written_ends_the_tracker_and_acknowledges_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let (mut nik, _) = Guest::new(&tracker, "nik", 1);
    // Another connection drops the table: the next transaction fails as on a disk that does.
    let saboteur = rusqlite::Connection::open(dir.path().join("directory.sqlite")).unwrap();
    saboteur.execute("DROP TABLE rows", []).unwrap();
    let request = Request::CreateGroup { request: request_id(), name: "lab".parse().unwrap() };
    assert!(nik.try_ask(request).is_err(), "nothing may be acknowledged");
    assert!(
        tracker
            .ended()
            .recv_timeout(PATIENCE)
            .is_err_and(|e| e == crossbeam_channel::RecvTimeoutError::Disconnected)
    );
    assert!(tracker.status().is_err());
    assert!(tracker.stop().unwrap_err().to_string().contains("rows"));
}

#[test]
fn a_tracker_that_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let start = |text: &str, number, dir: &Path| {
        Tracker::start(config(TrackerInfo::parse(text).unwrap(), number, dir))
            .unwrap_err()
            .to_string()
    };
    assert!(start("127.0.0.1:0", 2, dir.path()).contains("no tracker 2"));
    assert!(start("127.0.0.1:0\n127.0.0.2:0", 1, dir.path()).contains("port 0"));
    assert!(start("no.such.host.invalid:0", 1, dir.path()).contains("no.such.host.invalid"));
    let tracker = alone(dir.path());
    assert!(start("127.0.0.1:0", 1, dir.path()).contains("in use by another process"));
    let other = tempfile::tempdir().unwrap();
    assert!(
        start(&tracker.local_addr().to_string(), 1, other.path())
            .contains("another program uses the port")
    );
}

#[test]
fn shares_that_come_together_are_answered_in_order_and_before_what_comes_behind() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let (mut nik, user) = Guest::new(&tracker, "nik", 1);
    let group = nik.create_group("lab");
    let names: Vec<String> = (0..40).map(|number| format!("file {number}")).collect();
    let share =
        |name: &String| Request::ShareFile { request: request_id(), group, file: facts(name) };
    let requests = names.iter().map(share).chain([share(&names[0]), Request::WhoAmI]);
    let mut bytes = Vec::new();
    let first = nik.number + 1;
    for request in requests {
        nik.number += 1;
        bytes.extend(frame::to_frame(&FromClient { number: nik.number, request }));
    }
    std::io::Write::write_all(&mut nik.connection.writer(), &bytes).unwrap();
    let mut replies = Vec::new();
    while replies.len() < names.len() + 2 {
        match read_message(&mut nik.reader, TRACKER_FRAME_LEN_MAX).unwrap() {
            FromTracker::Reply { number, reply, .. } => replies.push((number, reply)),
            FromTracker::Event(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(
        replies.iter().map(|(number, _)| *number).eq(first..first + names.len() as u32 + 2),
        "{replies:?}"
    );
    assert!(
        replies[..names.len()].iter().all(|(_, reply)| matches!(reply, Reply::Done(_))),
        "{replies:?}"
    );
    assert!(matches!(&replies[names.len() + 1].1, Reply::User(entry) if entry.user == user));
    let Reply::Files { entries, .. } =
        nik.ask(Request::ListFiles { group, after: None, pattern: None, order: FileOrder::Name })
    else {
        panic!()
    };
    assert_eq!(entries.len(), names.len());
}

#[test]
fn damage_that_only_a_question_meets_ends_the_tracker() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let (mut nik, _) = Guest::new(&tracker, "nik", 1);
    let group = nik.create_group("lab");
    let list = || Request::ListMembers { group, after: None };
    assert!(matches!(nik.ask(list()), Reply::Members { .. }));
    // The core has the rows of late at hand, and does not read them again.
    let store = rusqlite::Connection::open(dir.path().join("directory.sqlite")).unwrap();
    store.execute("UPDATE rows SET body = x'00'", []).unwrap();
    nik.try_ask(list()).unwrap_err();
    wait_for("the tracker to end", || tracker.shared.stop.is_set());
    let error = tracker.stop().unwrap_err().to_string();
    assert!(error.contains("is damaged"), "{error}");
}

#[test]
fn owners_hear_of_requests_to_join_and_who_asked_of_a_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let (mut nik, _) = Guest::new(&tracker, "nik", 1);
    let mut second = Guest::again(&tracker, "nik", 2);
    let (mut bob, bob_id) = Guest::new(&tracker, "bob", 3);
    let (mut eve, eve_id) = Guest::new(&tracker, "eve", 4);
    let group = nik.create_group("lab");
    admit(&mut nik, &mut bob, bob_id, group);
    nik.heard();
    nik.joins.clear();
    let count = |guest: &mut Guest| match guest.ask(Request::ListMyGroups { after: None }) {
        Reply::Groups { entries, .. } => entries[0].requests,
        other => panic!("{other:?}"),
    };
    eve.done(Request::JoinGroup { request: request_id(), group });
    assert_eq!((count(&mut nik), count(&mut bob), count(&mut eve)), (Some(1), Some(0), Some(0)));
    second.heard();
    second
        .joins
        .retain(|event| matches!(event, Event::JoinRequested { user, .. } if user.user == eve_id));
    assert_eq!((nik.joins.len(), second.joins.len(), bob.joins.len()), (1, 1, 0));
    nik.done(Request::RejectRequest { request: request_id(), group, user: eve_id });
    eve.heard();
    assert!(matches!(&eve.joins[..], [Event::JoinRejected { .. }]), "{:?}", eve.joins);
    // Leaving and being let in is none of that.
    bob.done(Request::LeaveGroup { request: request_id(), group });
    admit(&mut nik, &mut eve, eve_id, group);
    bob.heard();
    eve.heard();
    assert_eq!((bob.joins.len(), eve.joins.len(), count(&mut nik)), (0, 1, Some(0)));
}
