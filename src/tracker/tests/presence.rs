//! Who is told of whom.

use super::*;
use crate::types::FileOrder;
use crate::types::PeerEntry;

/// A tracker, a group of nik's with a file that nik seeds, and bob, a member.
fn scene(dir: &Path) -> (Tracker, Guest, Guest, GroupId, InfoHash, UserId) {
    let tracker = alone(dir);
    let (mut nik, _) = Guest::new(&tracker, "nik", 1);
    let (mut bob, bob_id) = Guest::new(&tracker, "bob", 2);
    let group = nik.create_group("lab");
    let info_hash = nik.share(group, "a.bin");
    admit(&mut nik, &mut bob, bob_id, group);
    assert!(matches!(bob.event(), Event::Admitted { .. }));
    assert_eq!(nik.announce(group, info_hash, DownloadState::Seeding), Reply::Peers(vec![]));
    (tracker, nik, bob, group, info_hash, bob_id)
}

#[track_caller]
fn peer(event: Event) -> PeerEntry {
    match event {
        Event::Peer(peer) => peer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn leechers_hear_of_all_and_seeders_of_leechers() {
    let dir = tempfile::tempdir().unwrap();
    let (tracker, mut nik, mut bob, group, info_hash, bob_id) = scene(dir.path());
    let Reply::Peers(peers) = bob.announce(group, info_hash, DownloadState::Leeching) else {
        panic!()
    };
    assert_eq!(peers.len(), 1);
    assert_eq!(
        (peers[0].device, peers[0].state, peers[0].group),
        (nik.device, DownloadState::Seeding, group)
    );
    assert_eq!(peers[0].address, SocketAddr::new(LOCALHOST, 4000));
    let heard = peer(nik.event());
    assert_eq!(
        (heard.device, heard.user, heard.state),
        (bob.device, bob_id, DownloadState::Leeching)
    );
    // A second device of nik's seeds too: bob, who leeches, hears of it, the first device does not.
    let mut second = Guest::again(&tracker, "nik", 3);
    second.announce(group, info_hash, DownloadState::Seeding);
    assert_eq!(peer(bob.event()).device, second.device);
    drop(second);
    assert_eq!(
        peer(bob.event()).state,
        DownloadState::Stopped,
        "a dead connection ends presence at once"
    );
    bob.share(group, "a.bin");
    bob.announce(group, info_hash, DownloadState::Seeding);
    assert_eq!((peer(nik.event()).state, nik.events.len()), (DownloadState::Seeding, 0));
    bob.announce(group, info_hash, DownloadState::Stopped);
    let events = nik.heard();
    assert!(
        matches!(events[..], [Event::Withdrawn { .. }]),
        "of seeders a seeder hears only that they withdraw: {events:?}"
    );
}

#[test]
fn a_device_is_found_by_members_only_while_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (tracker, mut nik, mut bob, group, info_hash, _) = scene(dir.path());
    let (mut eve, _) = Guest::new(&tracker, "eve", 4);
    let Reply::Peers(found) = bob.announce(group, info_hash, DownloadState::Leeching) else {
        panic!()
    };
    assert_eq!(found.iter().map(|peer| peer.device).collect::<Vec<_>>(), [nik.device]);
    assert_eq!(
        eve.announce(group, info_hash, DownloadState::Leeching),
        Reply::Refused(Refusal::NotMember)
    );
    assert_eq!(peer(nik.event()).device, bob.device);
    assert_eq!(
        (nik.ask(Request::Ping), nik.events.len()),
        (Reply::Pong, 0),
        "of eve nothing is said"
    );
    nik.ask(Request::Logout);
    assert_eq!(bob.announce(group, info_hash, DownloadState::Leeching), Reply::Peers(vec![]));
}

#[test]
fn losing_the_right_ends_presence() {
    let dir = tempfile::tempdir().unwrap();
    let (_tracker, mut nik, mut bob, group, info_hash, bob_id) = scene(dir.path());
    bob.announce(group, info_hash, DownloadState::Leeching);
    assert_eq!(peer(nik.event()).state, DownloadState::Leeching);
    nik.done(Request::StopShare { request: request_id(), group, file: facts("a.bin").id() });
    assert_eq!(peer(bob.event()).state, DownloadState::Stopped);
    assert!(matches!(bob.event(), Event::Withdrawn { device, .. } if device == nik.device));
    nik.share(group, "a.bin");
    assert_eq!(
        peer(bob.event()).state,
        DownloadState::Seeding,
        "the entry announced before is shown again"
    );
    nik.done(Request::RemoveMember { request: request_id(), group, user: bob_id });
    assert_eq!(bob.event(), Event::Removed { group });
    assert_eq!(peer(nik.event()).device, bob.device);
    assert!(matches!(nik.heard()[..], [Event::Void { user, .. }] if user == bob_id));
    assert_eq!(nik.announce(group, info_hash, DownloadState::Leeching), Reply::Peers(vec![]));
    let mut other = facts("b.bin");
    other.info_hash = info_hash;
    bob.refused(
        Request::ShareFile { request: request_id(), group, file: other },
        Refusal::NotMember,
    );
    // Leaving tells the user's own devices, too.
    nik.done(Request::LeaveGroup { request: request_id(), group });
    assert_eq!(nik.event(), Event::Removed { group });
}

#[test]
fn what_the_directory_does_not_allow_yet_is_shown_once_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let (_tracker, mut nik, mut bob, group, info_hash, _) = scene(dir.path());
    assert_eq!(
        bob.announce(group, info_hash, DownloadState::Seeding),
        Reply::Refused(Refusal::NotShared)
    );
    nik.announce(group, info_hash, DownloadState::Leeching);
    bob.share(group, "a.bin");
    let heard = peer(nik.event());
    assert_eq!((heard.device, heard.state), (bob.device, DownloadState::Seeding));
}

#[test]
fn a_leecher_that_came_too_early_is_let_in_and_told_who_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (tracker, mut nik, mut bob, group, info_hash, _) = scene(dir.path());
    // The directory has not heard of the file yet.
    let late = facts("late.bin").info_hash;
    assert_eq!(
        bob.announce(group, late, DownloadState::Leeching),
        Reply::Refused(Refusal::NoSuchFile)
    );
    assert_eq!(
        nik.announce(group, late, DownloadState::Seeding),
        Reply::Refused(Refusal::NotShared)
    );
    nik.share(group, "late.bin");
    assert_eq!((bob.ask(Request::Ping), nik.ask(Request::Ping)), (Reply::Pong, Reply::Pong));
    let told = |guest: &mut Guest| {
        guest
            .events
            .drain(..)
            .map(peer)
            .map(|peer| (peer.device, peer.info_hash))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&mut bob), [(nik.device, late)]);
    // Whether nik heard of bob depends on who was let in first; a seeder that comes later is not
    // told who leeches.
    nik.events.clear();
    // Nor of the membership.
    let (mut eve, eve_id) = Guest::new(&tracker, "eve", 3);
    assert_eq!(
        eve.announce(group, info_hash, DownloadState::Leeching),
        Reply::Refused(Refusal::NotMember)
    );
    admit(&mut nik, &mut eve, eve_id, group);
    assert_eq!(eve.ask(Request::Ping), Reply::Pong);
    assert!(matches!(eve.events.pop_back(), Some(Event::Admitted { .. })));
    assert_eq!(told(&mut eve), [(nik.device, info_hash)]);
    // What was taken back while it waited does not come to life.
    let never = facts("never.bin").info_hash;
    bob.announce(group, never, DownloadState::Leeching);
    bob.announce(group, never, DownloadState::Stopped);
    nik.share(group, "never.bin");
    assert_eq!(nik.announce(group, never, DownloadState::Seeding), Reply::Peers(vec![]));
    assert_eq!(bob.ask(Request::Ping), Reply::Pong);
    assert_eq!((told(&mut bob), told(&mut nik)), (vec![], vec![(eve.device, info_hash)]));
}

#[test]
fn a_device_that_dials_again_takes_the_place_of_its_dead_session() {
    let dir = tempfile::tempdir().unwrap();
    let (tracker, mut nik, mut bob, group, info_hash, _) = scene(dir.path());
    bob.announce(group, info_hash, DownloadState::Leeching);
    let mut again = Guest::again(&tracker, "nik", 1);
    assert!(nik.is_closed());
    assert_eq!(peer(bob.event()).state, DownloadState::Stopped);
    again.announce(group, info_hash, DownloadState::Seeding);
    assert_eq!(peer(bob.event()).state, DownloadState::Seeding);
    assert_eq!(status(&tracker).sessions, 2);
}

#[test]
fn answers_name_a_bounded_number_of_peers() {
    let dir = tempfile::tempdir().unwrap();
    let (tracker, mut nik, mut bob, group, _, _) = scene(dir.path());
    let hashes: Vec<InfoHash> = (0..300).map(|n| nik.share(group, &format!("f{n}"))).collect();
    let entries = |state| {
        hashes
            .iter()
            .map(|&info_hash| AnnounceEntry { group, info_hash, state })
            .collect::<Vec<_>>()
    };
    nik.ask(Request::Announce { entries: entries(DownloadState::Seeding) });
    let Reply::Peers(peers) =
        bob.ask(Request::Announce { entries: entries(DownloadState::Leeching) })
    else {
        panic!()
    };
    assert_eq!(peers.len(), 300);
    let listed =
        bob.ask(Request::ListFiles { group, after: None, pattern: None, order: FileOrder::Name });
    assert!(matches!(listed, Reply::Files { entries, more: false } if entries.len() == 301));
    // Stopping them all leaves nothing behind.
    drop(nik);
    wait_for("the seeder to be gone", || status(&tracker).sessions == 1);
    let Reply::Peers(peers) =
        bob.ask(Request::Announce { entries: entries(DownloadState::Leeching) })
    else {
        panic!()
    };
    assert!(peers.is_empty());
}

#[test]
fn a_device_is_told_what_members_of_its_swarms_report() {
    let dir = tempfile::tempdir().unwrap();
    let (tracker, mut nik, mut bob, group, info_hash, _) = scene(dir.path());
    let (mut eve, eve_id) = Guest::new(&tracker, "eve", 3);
    let mut second = Guest::again(&tracker, "nik", 4);
    second.announce(group, info_hash, DownloadState::Seeding);
    let device = nik.device;
    let bad = || Request::ReportBadData { group, info_hash, device };
    let unreachable = || Request::ReportUnreachable { group, info_hash, device };
    // Of no member, of nobody in the swarm, of nik's own device.
    for guest in [&mut eve, &mut bob, &mut second] {
        assert_eq!((guest.ask(bad()), guest.ask(unreachable())), (Reply::Pong, Reply::Pong));
    }
    assert!(nik.heard().is_empty());
    bob.announce(group, info_hash, DownloadState::Leeching);
    nik.heard();
    (0..3).for_each(|_| _ = (bob.ask(bad()), bob.ask(unreachable())));
    assert_eq!(nik.heard(), [Event::BadDataReported { group, info_hash, members: 1 }]);
    admit(&mut nik, &mut eve, eve_id, group);
    eve.announce(group, info_hash, DownloadState::Leeching);
    nik.heard();
    assert_eq!((eve.ask(bad()), eve.ask(unreachable())), (Reply::Pong, Reply::Pong));
    let address = SocketAddr::new(LOCALHOST, 4000);
    assert_eq!(
        nik.heard(),
        [
            Event::BadDataReported { group, info_hash, members: 2 },
            Event::UnreachableReported { address, members: 2 },
        ]
    );
    let mut stranger = Guest::connect(tracker.local_addr(), 5);
    stranger.refused(bad(), Refusal::LoginFirst);
    for _ in 0..300 {
        eve.ask(bad());
    }
    assert_eq!(eve.ask(bad()), Reply::Refused(Refusal::Busy), "reports have a rate");
}

#[test]
fn members_hear_that_their_groups_have_changed_and_nobody_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let (tracker, mut nik, mut bob, group, ..) = scene(dir.path());
    let (mut eve, eve_id) = Guest::new(&tracker, "eve", 3);
    let other = eve.create_group("other");
    eve.share(other, "b.bin");
    // What was changed before is told by now, or with what follows.
    for number in 0..50 {
        nik.share(group, &format!("{number}.bin"));
    }
    let heard = |guest: &mut Guest, what: fn(&(GroupId, bool, bool)) -> bool| {
        let mut count = 1;
        while !what(&guest.change()) {
            count += 1;
        }
        count
    };
    let count = heard(&mut bob, |(_, files, _)| *files);
    assert!(count < 10, "50 changes are told {count} times");
    admit(&mut nik, &mut eve, eve_id, group);
    heard(&mut bob, |(_, _, members)| *members);
    // A member who has left hears no more; the others hear that, and of a removed file.
    bob.done(Request::LeaveGroup { request: request_id(), group });
    heard(&mut nik, |(_, _, members)| *members);
    bob.heard();
    bob.changes.clear();
    let file = facts("a.bin").id();
    nik.done(Request::RemoveFile { request: request_id(), group, file });
    heard(&mut nik, |(_, files, _)| *files);
    while eve.change().0 != group {}
    assert_eq!(bob.ask(Request::Ping), Reply::Pong);
    assert!(bob.changes.is_empty(), "{:?}", bob.changes);
}
