//! Membership is proven, and its end is felt: whoever loses it in the middle of a download gets
//! nothing more within a second of the tracker's word, from anybody, on any device; right after a
//! tracker died as well.
//!
//! The ends that lose the right to a file are the tests' own: they neither hang up nor heed any
//! word. So each test shows what the others do. The figures are printed: `cargo test --test posse
//! -- membership:: --nocapture`.

mod stage;

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use posse::trust::KeyPair;
use posse::types::{Change, DeviceId, GroupId, Ticket, TicketClaims, UserId};
use posse::wire::tracker::{Reply, Request};

use self::stage::{AT_ONCE, Stage, shut_out};
use crate::harness::{
    ClientProcess, Content, RawClient, RawLink, Sipper, World, device, eventually, request_id,
    sha1_of,
};

/// Eve's membership ends, by nik's word or her own, while two devices of hers fetch from both
/// seeders, bob fetches a file from a third device of hers, and her client fetches one from carl.
fn eve_goes(
    failover: bool,
    what: &str,
    seed: u64,
    go: impl FnOnce(&mut Stage, &mut ClientProcess),
) {
    let mut stage = Stage::new(failover, seed);
    let mut client = stage.world.client("eve");
    client.login("eve");
    let from_carl = stage.slow_peer("carl", "carls.bin", &mut client);
    let mut bob = stage.world.client("bob2");
    bob.login("bob");
    let from_eve = stage.slow_peer("eve", "eves.bin", &mut bob);
    let mut sessions = [stage.session("eve"), stage.session("eve")];
    let ticket = sessions[0].ticket(stage.group).unwrap();
    let sippers = stage.sippers("eve", &mut sessions).concat();
    let said = stage.say(what, |stage| go(stage, &mut client));
    said.all_stopped(&sippers);
    said.stopped("eve's client at carl", from_carl.wait_ended());
    said.stopped("bob's client at eve", from_eve.wait_ended());
    shut_out(&stage, &mut sessions[1], &ticket);
    // Among those who stay all goes on.
    stage.sippers("carl", &mut [stage.session("carl")]);
    client.refused("list_files lab", "not a member");
}

#[test]
fn a_removed_member_gets_and_gives_nothing_more() {
    for failover in [false, true] {
        eve_goes(failover, "remove_member", 111, |stage, _| {
            stage.nik.ok("remove_member lab eve", &[])
        });
    }
}

#[test]
fn whoever_leaves_gets_and_gives_nothing_more() {
    for failover in [false, true] {
        eve_goes(failover, "leave_group", 112, |_, eve| eve.ok("leave_group lab", &[]));
    }
}

/// Bob stops seeding, in some way; and carl, whose own device serves on whatever he says, does so
/// too: nik's client ends that link.
fn bob_stops(
    failover: bool,
    what: &str,
    seed: u64,
    stop: impl FnOnce(&mut Stage),
    stop_carl: impl FnOnce(&mut Stage, &mut RawClient, &Content),
) {
    let mut stage = Stage::new(failover, seed);
    let mut client = stage.world.client("nik2");
    client.login("nik");
    let mut from_carl = stage.slow_peer("carl", "carls.bin", &mut client);
    let mut sessions = [stage.session("eve"), stage.session("eve")];
    let [at_nik, at_bob] = stage.sippers("eve", &mut sessions);
    let said = stage.say(what, stop);
    said.all_stopped(&at_bob);
    at_nik.iter().for_each(Sipper::wait_more);
    let content = Content::new("carls.bin", 32 << 20, 304);
    stage.failover = false;
    let said = stage.say(&format!("{what} of one who serves on"), |stage| {
        stop_carl(stage, from_carl.session(), &content)
    });
    said.stopped("nik's client at carl", from_carl.wait_ended());
}

/// Ends the session of a device that goes on serving.
fn log_out(_: &mut Stage, session: &mut RawClient, _: &Content) {
    assert_eq!(session.ask(Request::Logout).unwrap(), Reply::Pong);
}

/// Stops the share of a user, from another device of theirs, while the first serves on.
fn stop_elsewhere(stage: &mut Stage, session: &mut RawClient, content: &Content) {
    let mut other = RawClient::connect(stage.tracker(), &device(), 1).unwrap();
    other.login("carl").unwrap();
    let stop = Change::StopShare { group: stage.group, file: content.facts().id() };
    assert!(matches!(other.change(request_id(), &stop).unwrap(), Reply::Done(_)));
    // It is there, and has nothing to say.
    assert_eq!(session.ask(Request::Ping).unwrap(), Reply::Pong);
}

#[test]
fn nothing_is_served_once_the_seeder_has_logged_out() {
    for failover in [false, true] {
        bob_stops(failover, "logout", 113, |stage| stage.bob.ok("logout", &[]), log_out);
    }
}

#[test]
fn nothing_is_served_once_the_share_was_stopped() {
    for failover in [false, true] {
        bob_stops(
            failover,
            "stop_share",
            114,
            |stage| stage.bob.ok("stop_share lab big.bin", &[]),
            stop_elsewhere,
        );
    }
}

#[test]
fn nothing_is_served_once_the_share_was_stopped_on_another_device() {
    for failover in [false, true] {
        let stop = |stage: &mut Stage| {
            let mut other = stage.world.client("bob2");
            other.login("bob");
            other.ok("stop_share lab big.bin", &[]);
        };
        bob_stops(failover, "stop_share on another device", 115, stop, stop_elsewhere);
    }
}

#[test]
fn a_changed_password_ends_every_other_session_and_its_links() {
    for failover in [false, true] {
        let mut stage = Stage::new(failover, 116);
        // The thief knows the password: a client, two devices that fetch, and one that serves.
        let mut thief = stage.world.client("thief");
        thief.login("eve");
        let mut sessions = [stage.session("eve"), stage.session("eve")];
        let sippers = stage.sippers("eve", &mut sessions).concat();
        let ticket = sessions[0].ticket(stage.group).unwrap();
        let mut bob = stage.world.client("bob2");
        bob.login("bob");
        let from_thief = stage.slow_peer("eve", "eves.bin", &mut bob);
        // The owner of the account is in the middle of a download, too.
        let mut eve = stage.world.client("eve");
        eve.login("eve");
        let from_carl = stage.slow_peer("carl", "carls.bin", &mut eve);
        let said = stage.say("change_password", |_| eve.ok("change_password pw-eve changed", &[]));
        said.all_stopped(&sippers);
        said.stopped("bob's client at the thief", from_thief.wait_ended());
        for session in &mut sessions {
            let reply = session.ask(Request::WhoAmI);
            assert!(
                matches!(reply, Ok(Reply::Refused(_)) | Err(_)),
                "the thief is still somebody: {reply:?}"
            );
        }
        thief.refused("list_my_groups", "log in");
        thief
            .process()
            .wait_out("why", |line| line.contains("the password was changed").then_some(()));
        thief.refused("login eve pw-eve", "wrong user name or password");
        for client in [&stage.nik, &stage.bob] {
            let peer = (client.address, client.device());
            let link =
                RawLink::open(&sessions[0].device, &ticket, peer, stage.content.facts().info_hash);
            assert!(link.is_err(), "a ticket of before opened a link");
        }
        // The changer goes on, with the session and the download.
        let before = from_carl.sent();
        eventually("the changer's download goes on", || {
            (from_carl.sent() > before + (1 << 20)).then_some(())
        });
        eve.ok("list_files lab", &[]);
        eve.ok("download_file lab big.bin", &[]);
        eventually("the changer gets another file", || eve.path("big.bin").exists().then_some(()));
        assert_eq!(sha1_of(&eve.path("big.bin")), stage.content.sha1());
        thief.ok("login eve changed", &[]);
    }
}

/// Resumes the session of a token on a new connection of its device.
fn resume(tracker: SocketAddr, of: &RawClient) -> Reply {
    let mut session =
        RawClient::connect(tracker, &of.device, 1).expect("the tracker takes connections");
    session
        .ask(Request::Resume { token: of.token.clone().expect("it has logged in") })
        .expect("the tracker answers")
}

#[test]
fn a_token_is_good_at_every_tracker_until_the_password_changes_and_then_at_none() {
    let mut world = World::new(3);
    let mut thief = RawClient::enter(world.tracker(1), "eve");
    let mut eve = RawClient::connect(world.tracker(1), &device(), 1).unwrap();
    eve.login("eve").unwrap();
    world.wait_synced();
    for number in 1..=3 {
        assert!(
            matches!(resume(world.tracker(number), &thief), Reply::LoggedIn { .. }),
            "tracker {number} takes no token"
        );
    }
    // Another device that has it gets nowhere.
    let mut other = RawClient::connect(world.tracker(2), &device(), 1).unwrap();
    let stolen = other.ask(Request::Resume { token: thief.token.clone().unwrap() }).unwrap();
    assert!(matches!(stolen, Reply::Refused(_)), "{stolen:?}");
    // One tracker is down while the password is changed.
    world.trackers[2].kill9();
    let [old, new] = ["pw-eve", "changed"].map(crate::harness::password);
    let change = Request::ChangePassword { request: request_id(), old, new };
    let Reply::Renewed(token) = eve.ask(change).unwrap() else {
        panic!("the password was not changed")
    };
    eve.token = Some(token);
    eventually("the change has reached the second", || {
        matches!(resume(world.tracker(2), &thief), Reply::Refused(_)).then_some(())
    });
    assert!(matches!(resume(world.tracker(1), &thief), Reply::Refused(_)));
    world.trackers[2].restart();
    let back = Instant::now();
    // It may not have heard of it yet: then the session ends as soon as it has.
    let mut early = RawClient::connect(world.tracker(3), &thief.device, 1).unwrap();
    let taken = early.ask(Request::Resume { token: thief.token.clone().unwrap() }).unwrap();
    eventually("the tracker that was down knows", || {
        matches!(resume(world.tracker(3), &thief), Reply::Refused(_)).then_some(())
    });
    println!(
        "the tracker that was down refuses the old token {} ms after it is back",
        back.elapsed().as_millis()
    );
    if matches!(taken, Reply::LoggedIn { .. }) {
        eventually("the early session has ended", || {
            matches!(early.ask(Request::WhoAmI), Ok(Reply::Refused(_)) | Err(_)).then_some(())
        });
    }
    world.wait_synced();
    for number in 1..=3 {
        assert!(
            matches!(resume(world.tracker(number), &thief), Reply::Refused(_)),
            "tracker {number} takes the old token"
        );
        assert!(
            matches!(resume(world.tracker(number), &eve), Reply::LoggedIn { .. }),
            "tracker {number} refuses the new token"
        );
    }
    assert!(
        matches!(thief.ask(Request::WhoAmI), Ok(Reply::Refused(_)) | Err(_)),
        "the thief's session has not ended"
    );
}

#[test]
fn failover_and_reconnection_need_no_password() {
    let mut world = World::new(3);
    world.group("lab", &["nik"]);
    let mut nik = world.client("nik");
    nik.login("nik");
    nik.ok("list_my_groups", &[]);
    for (round, victim) in [0, 1, 2, 0].into_iter().enumerate() {
        world.trackers[victim].kill9();
        let start = Instant::now();
        nik.ok(&format!("create_group g{round}"), &[]);
        println!(
            "tracker {} killed: the next command took {} ms",
            victim + 1,
            start.elapsed().as_millis()
        );
        world.trackers[victim].restart();
    }
    world.wait_synced();
    // All at once, and back.
    world.trackers.iter_mut().for_each(|tracker| tracker.kill9());
    nik.refused("list_my_groups", "tracker");
    world.trackers.iter_mut().for_each(|tracker| tracker.restart());
    eventually("the client is back", || (nik.object("list_my_groups")["ok"] == true).then_some(()));
    assert_eq!(nik.object("list_my_groups")["groups"].as_array().map(Vec::len), Some(5));
    nik.ok("whoami", &[]);
}

/// What a seeder says to a device with this ticket that asks for this file: bytes, until it hangs
/// up.
fn heard(
    device: &crate::harness::Device,
    ticket: &Ticket,
    seeder: &ClientProcess,
    content: &Content,
) -> Result<RawLink, usize> {
    use std::io::Read;
    let mut link = RawLink::dial(device, seeder.address, seeder.device())
        .expect("anybody may make the handshake of TLS");
    let shown = link.show(ticket);
    if shown.is_ok() && link.shake_hands(content.facts().info_hash).is_ok() {
        return Ok(link);
    }
    let mut rest = Vec::new();
    let _ = link.stream().read_to_end(&mut rest);
    Err(rest.len() + if shown.is_ok() { posse::wire::frame::to_frame(ticket).len() } else { 0 })
}

#[test]
fn members_of_other_groups_get_a_file_only_through_a_group_that_both_are_in() {
    let world = World::new(1);
    let content = Content::new("big.bin", 3 << 20, 117);
    let unknown = Content::new("big.bin", 3 << 20, 118);
    // Nik shares it in lab; eve shares the same file in club; both are in pub, where nobody shares
    // it.
    world.group("lab", &["nik", "bob"]);
    world.group("club", &["eve", "carl"]);
    world.group("pub", &["nik", "eve"]);
    world.put("nik", &content);
    world.put("eve", &content);
    let (mut nik, mut eve) = (world.client("nik"), world.client("eve"));
    nik.login("nik");
    nik.ok("upload_file big.bin lab", &[]);
    eve.login("eve");
    eve.ok("upload_file big.bin club", &[]);
    let mut session = RawClient::enter(world.tracker(1), "eve");
    let [club, shared, lab] = ["club", "pub", "lab"].map(|name| session.group(name).group);
    let tickets = [club, shared].map(|group| session.ticket(group).expect("eve is in it"));
    assert_eq!(session.ticket(lab), None);
    // A group that nik is not in: not a byte, whether the file is there or not.
    assert_eq!(heard(&session.device, &tickets[0], &nik, &content).err(), Some(0));
    assert_eq!(heard(&session.device, &tickets[0], &nik, &unknown).err(), Some(0));
    // A group that both are in, where it is not offered: the same answer as for a file that is not
    // there at all.
    let refused =
        heard(&session.device, &tickets[1], &nik, &content).expect_err("it is not offered there");
    assert_eq!(heard(&session.device, &tickets[1], &nik, &unknown).err(), Some(refused));
    // Nobody else's ticket helps: bob's, for the group where it is offered.
    let stolen = RawClient::enter(world.tracker(1), "bob").ticket(lab).expect("bob is in it");
    assert_eq!(heard(&session.device, &stolen, &nik, &content).err(), Some(0));
    // Offered in the common group, it is given; and the same client gets it as anybody does.
    nik.ok("upload_file big.bin pub", &[]);
    assert!(heard(&session.device, &tickets[1], &nik, &content).is_ok());
    let peer = (nik.address, nik.device());
    Sipper::start(
        "eve at nik, through pub",
        &session.device,
        &tickets[1],
        peer,
        content.facts().info_hash,
    );
    assert_eq!(
        heard(&session.device, &tickets[0], &nik, &content).err(),
        Some(0),
        "and still not through the other"
    );
}

/// A ticket as trackers sign it, with another life.
fn ticket_for(
    world: &World,
    group: GroupId,
    user: UserId,
    device: DeviceId,
    from_ms: i64,
    life_ms: i64,
) -> Ticket {
    let key = KeyPair::load(&world.network_key()).unwrap();
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let issued = now_ms + from_ms;
    let (issued_ms, expires_ms) = (issued as u64, (issued + life_ms) as u64);
    key.sign_ticket(TicketClaims { group, user, device, issued_ms, expires_ms })
}

#[test]
fn a_ticket_that_expires_ends_its_link_without_any_tracker() {
    const LIFE: Duration = Duration::from_secs(4);
    let mut stage = Stage::new(false, 119);
    let mut session = stage.session("eve");
    let Reply::User(eve) = session.ask(Request::WhoAmI).unwrap() else { panic!("nobody") };
    let info_hash = stage.content.facts().info_hash;
    let peer = (stage.nik.address, stage.nik.device());
    let (user, device, group) = (eve.user, session.device.clone(), stage.group);
    // Expired already: by a little, and by a day.
    for ago_ms in [1_000, 24 * 3_600_000] {
        let expired = ticket_for(&stage.world, group, user, device.id, -ago_ms - 600_000, 600_000);
        assert!(
            RawLink::open(&device, &expired, peer, info_hash).is_err(),
            "a ticket that expired {ago_ms} ms ago opened a link"
        );
    }
    // Signed by another network's key.
    let other = KeyPair::generate().unwrap().sign_ticket(session.ticket(group).unwrap().claims);
    assert!(
        RawLink::open(&device, &other, peer, info_hash).is_err(),
        "another network's ticket opened a link"
    );
    let began = Instant::now();
    let short = ticket_for(&stage.world, group, user, device.id, 0, LIFE.as_millis() as i64);
    let sipper = Sipper::start("eve at nik", &device, &short, peer, info_hash);
    stage.world.trackers.iter_mut().for_each(|tracker| tracker.kill9());
    let sipped = sipper.wait_ended();
    let [last, ended] = [sipped.last, sipped.ended].map(|at| at.unwrap() - began);
    println!(
        "a ticket of {LIFE:?}, without trackers: last data after {last:?}, end of the link after {ended:?}"
    );
    assert!(last + AT_ONCE > LIFE, "the link ended before its ticket: after {ended:?}");
    assert!(ended < LIFE + AT_ONCE, "the link outlived its ticket: {ended:?}");
    assert!(
        RawLink::open(&device, &short, peer, info_hash).is_err(),
        "an expired ticket opened a link"
    );
}
