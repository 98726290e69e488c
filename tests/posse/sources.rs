//! Where else a file comes from: members of another group that both ends are in, and this disk.
//!
//! Whoever offers the same content in another common group serves a download; nobody there is given
//! anything for it, since anybody may say that they offer a file. And what the user has on this
//! disk already, under whatever name, is copied.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use posse::types::{DownloadState, PeerEntry};
use posse::wire::peer::PeerMessage;
use posse::wire::tracker::{Event, FromTracker, Reply, Request};

use crate::harness::{
    ClientProcess, Content, Gate, RawClient, RawLink, World, eventually, sha1_of,
};

const MIB: u64 = 1 << 20;

/// Bob is in lab and in club. In lab nik has uploaded big.bin, in club carl has.
struct Stage {
    nik: ClientProcess,
    nik_gate: Gate,
    carl: ClientProcess,
    carl_gate: Gate,
    bob: ClientProcess,
    content: Content,
    world: World,
}

impl Stage {
    fn new(len: usize, seed: u64) -> Self {
        let mut world = World::new(1);
        world.group("lab", &["nik", "bob", "eve"]);
        world.group("club", &["carl", "bob", "dave"]);
        let content = Content::new("big.bin", len, seed);
        let [(mut nik, nik_gate), (mut carl, carl_gate)] =
            ["nik", "carl"].map(|name| world.gated(name));
        for (client, user, group) in [(&mut nik, "nik", "lab"), (&mut carl, "carl", "club")] {
            world.put(user, &content);
            client.login(user);
            client.ok(&format!("upload_file big.bin {group}"), &[]);
        }
        let mut bob = world.client("bob");
        bob.login("bob");
        Self { nik, nik_gate, carl, carl_gate, bob, content, world }
    }

    /// A session of a device of dave's, who is in club alone and says that he fetches the file
    /// there: he hears of everybody in that swarm.
    fn watcher(&self) -> RawClient {
        let mut dave = RawClient::enter(self.world.tracker(1), "dave");
        let club = dave.group("club").group;
        dave.announce(club, self.content.facts().info_hash, DownloadState::Leeching);
        dave
    }

    fn has_all(&self, client: &ClientProcess) {
        assert_eq!(sha1_of(&client.path("big.bin")), self.content.sha1());
    }
}

/// What a session is told of a swarm, until `last` is told.
fn told(session: &mut RawClient, last: impl Fn(&PeerEntry) -> bool) -> Vec<PeerEntry> {
    let mut all = Vec::new();
    loop {
        if let FromTracker::Event(Event::Peer(peer)) =
            session.receive().expect("the tracker speaks on")
        {
            let is_last = last(&peer);
            all.push(peer);
            if is_last {
                return all;
            }
        }
    }
}

#[test]
fn members_of_another_common_group_serve_a_download_though_nobody_in_its_own_is_online() {
    let mut stage = Stage::new(6 << 20, 401);
    let mut watcher = stage.watcher();
    stage.nik.ok("logout", &[]);
    // Eve is in lab alone: she is not told of club, and nobody there of her.
    let mut eve = stage.world.client("eve");
    eve.login("eve");
    eve.ok("download_file lab big.bin", &[]);
    stage.bob.ok("download_file lab big.bin", &[]);
    stage.bob.wait_downloads();
    stage.has_all(&stage.bob);
    // Bob is a seeder in lab now, and has left club, where he shares nothing.
    let bob = stage.bob.device();
    let swarm =
        told(&mut watcher, |peer| peer.device == bob && peer.state == DownloadState::Stopped);
    assert!(
        swarm.iter().any(|peer| peer.device == bob && peer.state == DownloadState::Leeching),
        "{swarm:?}"
    );
    assert!(
        swarm.iter().all(|peer| peer.state != DownloadState::Seeding || peer.device != bob),
        "{swarm:?}"
    );
    assert!(swarm.iter().all(|peer| peer.device != eve.device()), "{swarm:?}");
    let uploads = stage.bob.object("show_uploads");
    let groups: Vec<_> = uploads["uploads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|upload| upload["group"].clone())
        .collect();
    assert_eq!(groups, ["lab"]);
    eve.wait_downloads();
    stage.has_all(&eve);
    eventually("carl serves nobody", || {
        (stage.carl.object("show_uploads")["uploads"][0]["peers"] == 0).then_some(())
    });
    let mut asked = RawClient::enter(stage.world.tracker(1), "eve");
    let club = asked.group("club").group;
    let found = asked
        .ask(Request::FindFile { group: club, file: stage.content.proven_facts().id() })
        .unwrap();
    assert!(
        matches!(found, Reply::Refused(_)),
        "who is not in a group is told what it offers: {found:?}"
    );
}

#[test]
fn the_end_of_a_membership_ends_what_comes_by_way_of_that_group_and_nothing_else() {
    let mut stage = Stage::new(48 << 20, 402);
    [&stage.nik_gate, &stage.carl_gate].iter().for_each(|gate| gate.allow(4 * MIB));
    stage.bob.ok("download_file lab big.bin", &[]);
    [&stage.nik_gate, &stage.carl_gate].iter().for_each(|gate| gate.wait_passed(4 * MIB));
    assert_eq!(stage.bob.download("big.bin")["peers"], 2);
    let why = stage.bob.object("why lab big.bin").to_string();
    assert!(why.contains("club offers it too"), "{why}");
    stage.carl.ok("remove_member club bob", &[]);
    eventually("the link to carl has ended", || {
        (stage.carl.object("show_uploads")["uploads"][0]["peers"] == 0).then_some(())
    });
    eventually("bob has the link to nik alone", || {
        (stage.bob.download("big.bin")["peers"] == 1).then_some(())
    });
    let sent = stage.carl.object("show_uploads")["uploads"][0]["bytes_sent"].clone();
    stage.carl_gate.lift();
    stage.nik_gate.lift();
    stage.bob.wait_downloads();
    stage.has_all(&stage.bob);
    assert_eq!(
        stage.carl.object("show_uploads")["uploads"][0]["bytes_sent"],
        sent,
        "who is removed is served on"
    );
}

#[test]
fn leaving_the_group_of_a_download_ends_it_though_another_offers_the_same() {
    let mut stage = Stage::new(48 << 20, 403);
    [&stage.nik_gate, &stage.carl_gate].iter().for_each(|gate| gate.allow(4 * MIB));
    stage.bob.ok("download_file lab big.bin", &[]);
    [&stage.nik_gate, &stage.carl_gate].iter().for_each(|gate| gate.wait_passed(4 * MIB));
    stage.bob.ok("leave_group lab", &[]);
    for (client, gate) in [(&mut stage.carl, &stage.carl_gate), (&mut stage.nik, &stage.nik_gate)] {
        eventually("its link has ended", || {
            (client.object("show_uploads")["uploads"][0]["peers"] == 0).then_some(())
        });
        gate.lift();
    }
    assert_eq!(stage.bob.download("big.bin")["state"], "failed");
    // In the other group it goes on, by the user's own word.
    stage.bob.ok("download_file club big.bin again.bin", &[]);
    stage.bob.wait_downloads();
    assert_eq!(sha1_of(&stage.bob.path("again.bin")), stage.content.sha1());
}

#[test]
fn whoever_offers_a_file_in_a_common_group_gets_nothing_of_it_from_those_who_fetch_it_elsewhere() {
    let mut stage = Stage::new(48 << 20, 404);
    stage.carl.ok("stop_share club big.bin", &[]);
    // Dave has been in lab, say, and knows all facts of the file, but not its bytes.
    let facts = stage.content.proven_facts();
    let mut dave = RawClient::enter(stage.world.tracker(1), "dave");
    let club = dave.group("club").group;
    dave.share(club, facts.clone());
    dave.announce(club, facts.info_hash, DownloadState::Leeching);
    stage.nik_gate.allow(8 * MIB);
    stage.bob.ok("download_file lab big.bin", &[]);
    stage.nik_gate.wait_passed(8 * MIB);
    let bob = stage.bob.device();
    told(&mut dave, |peer| peer.device == bob && peer.state == DownloadState::Leeching);
    eventually("bob's client has pieces", || (stage.bob.bytes_done("big.bin") > MIB).then_some(()));
    // Bob's client takes part there, to take; it gives no block, says of none, and refuses what is
    // asked for.
    let ticket = dave.ticket(club).expect("dave is in it");
    let peer = (stage.bob.address, bob);
    let mut link = eventually("bob's client takes the link", || {
        RawLink::open(&dave.device, &ticket, peer, facts.info_hash).ok()
    });
    link.send(&PeerMessage::Interested).unwrap();
    for piece in 0..8 {
        link.send(&PeerMessage::Request { piece, begin: 0, len: 16 << 10 }).unwrap();
    }
    let mut refused = 0;
    while refused < 8 {
        match link.receive().expect("the link stands") {
            PeerMessage::Reject { .. } => refused += 1,
            PeerMessage::HaveNone
            | PeerMessage::Extended { .. }
            | PeerMessage::KeepAlive
            | PeerMessage::Interested => {}
            said => panic!("bob's client says {said:?}"),
        }
    }
    stage.nik_gate.lift();
    stage.bob.wait_downloads();
    stage.has_all(&stage.bob);
    // To its end it heard of no piece, and got none.
    while let Ok(said) = link.receive() {
        let quiet = matches!(
            said,
            PeerMessage::KeepAlive | PeerMessage::Extended { .. } | PeerMessage::NotInterested
        );
        assert!(quiet, "bob's client says {said:?}");
    }
    assert!(
        RawLink::open(&dave.device, &ticket, peer, facts.info_hash).is_err(),
        "what is complete is offered in club"
    );
}

/// What a file is, so that nobody can have touched it unseen.
fn facts_of(path: &std::path::Path) -> (u64, i64, u64, String) {
    let meta = std::fs::metadata(path).unwrap();
    (meta.len(), meta.mtime_nsec(), meta.ino(), sha1_of(path).to_string())
}

#[test]
fn what_is_on_this_disk_is_copied_with_no_peer_online_whatever_its_name() {
    let mut stage = Stage::new((9 << 20) + 7, 405);
    // The same bytes once more, under another name.
    let other = Content::new("other.bin", (9 << 20) + 7, 405);
    stage.world.put("nik", &other);
    stage.nik.ok("upload_file other.bin lab", &[]);
    let (nik, carl) = (stage.nik.finish(), stage.carl.finish());
    assert_eq!((nik.status, carl.status), (Some(0), Some(0)));
    let bob = &mut stage.bob;
    let own = stage.world.put("bob", &stage.content);
    bob.ok("upload_file big.bin club", &[]);
    let before = facts_of(&own);
    std::fs::create_dir(bob.path("copies")).unwrap();
    for name in ["big.bin", "other.bin"] {
        bob.ok(&format!("download_file lab {name} copies"), &[]);
        bob.wait_downloads();
        let copy = bob.path(&format!("copies/{name}"));
        assert!(std::fs::read(&copy).unwrap() == stage.content.bytes, "{name} is another");
        assert_ne!(facts_of(&copy).2, before.2, "{name} is a file of its own");
    }
    assert_eq!(facts_of(&own), before, "what was copied was touched");
    // A share that was stopped is still a file of the user's.
    for command in ["stop_share club big.bin", "stop_share lab big.bin", "stop_share lab other.bin"]
    {
        bob.ok(command, &[]);
    }
    std::fs::remove_dir_all(bob.path("copies")).unwrap();
    bob.ok("logout", &[]);
    bob.login("bob");
    bob.ok("download_file lab other.bin again.bin", &[]);
    bob.wait_downloads();
    assert!(std::fs::read(bob.path("again.bin")).unwrap() == stage.content.bytes);
}

#[test]
fn a_local_file_that_has_changed_is_left_alone_and_the_download_fetched() {
    let mut stage = Stage::new(4 << 20, 406);
    let own = stage.world.put("bob", &stage.content);
    stage.bob.ok("upload_file big.bin club", &[]);
    let mut changed = stage.content.bytes.clone();
    changed[2 << 20] ^= 1;
    let later = std::fs::metadata(&own).unwrap().modified().unwrap() + Duration::from_secs(2);
    std::fs::write(&own, &changed).unwrap();
    std::fs::File::options().write(true).open(&own).unwrap().set_modified(later).unwrap();
    let before = facts_of(&own);
    stage.bob.ok("download_file lab big.bin fetched.bin", &[]);
    stage.bob.wait_downloads();
    assert!(std::fs::read(stage.bob.path("fetched.bin")).unwrap() == stage.content.bytes);
    assert_eq!(facts_of(&own), before);
    let sent: u64 = [&mut stage.nik, &mut stage.carl]
        .into_iter()
        .map(|client| client.object("show_uploads")["uploads"][0]["bytes_sent"].as_u64().unwrap())
        .sum();
    assert!(sent >= stage.content.bytes.len() as u64, "{sent} bytes were fetched");
}
