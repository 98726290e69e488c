//! Two trackers that were apart each took writes that contradict each other; afterwards both hold
//! both, under names of their own.

use posse::types::{Change, Effect, Success};
use posse::wire::tracker::{Reply, Request};

use crate::harness::{Content, RawClient, World, device, password as typed, request_id};

/// Makes an account with a password of its own and logs in.
fn account(session: &mut RawClient, name: &str, password: &str) {
    let password = typed(password);
    let create = Request::CreateUser {
        request: request_id(),
        name: name.parse().unwrap(),
        password: password.clone(),
    };
    assert!(matches!(
        session.ask(create).unwrap(),
        Reply::Done(Success { effect: Effect::User(_), .. })
    ));
    let login = session.ask(Request::Login { name: name.parse().unwrap(), password }).unwrap();
    assert!(matches!(login, Reply::LoggedIn { .. }), "{login:?}");
}

/// What the people on one side of a partition do.
fn write_alone(world: &World, side: usize, seed: u64) {
    let tracker = world.tracker(side);
    // The first write is on its way to the tracker that sleeps, which reads it when it wakes: let
    // it be one without conflicts.
    account(&mut RawClient::connect(tracker, &device(), 1).unwrap(), &format!("spark{side}"), "pw");
    let mut nik = RawClient::connect(tracker, &device(), 1).unwrap();
    account(&mut nik, "nik", &format!("of side {side}"));
    nik.create_group("lab");
    let mut bob = RawClient::connect(tracker, &device(), 1).unwrap();
    bob.login("bob").unwrap();
    let common = bob.group("common").group;
    bob.share(common, Content::new("notes.txt", 100, seed).facts());
}

#[test]
fn conflicting_names_made_apart_are_all_there_afterwards() {
    let mut world = World::new(2);
    world.group("common", &["bob"]);
    world.wait_synced();

    world.trackers[0].freeze();
    write_alone(&world, 2, 1);
    world.trackers[1].freeze();
    world.trackers[0].thaw();
    write_alone(&world, 1, 2);
    world.trackers[1].thaw();
    world.wait_synced();

    for side in [1, 2] {
        let other = 3 - side;
        world.trackers[other - 1].kill9();
        let home = format!("carl{side}");
        let mut client = world.plain(&home);
        client.ok("login nik 'of side 2'", &["logged in as nik"]);
        client.ok("list_my_groups", &["lab\towner\t1 member"]);
        client.ok("logout", &["logged out"]);
        client.ok("login nik 'of side 1'", &["logged in as nik~2: another nik was there first"]);
        client.ok("list_my_groups", &["lab~2\towner\t1 member"]);
        client.refused("leave_group lab", "not a member");
        client.ok("logout", &["logged out"]);
        client.ok("login nik~2 'of side 1'", &["logged in as nik~2"]);
        client.ok("logout", &["logged out"]);
        client.refused("login nik~2 'of side 2'", "wrong user name or password");
        client.login("bob");
        client.ok(
            "list_groups",
            &[
                "common\t1 member\towner bob",
                "lab\t1 member\towner nik",
                "lab~2\t1 member\towner nik~2",
            ],
        );
        let [first, second] = [1, 2].map(|seed| Content::new("notes.txt", 100, seed).sha1());
        client.ok(
            "list_files common",
            &[
                &format!("notes.txt\t100\t{first}\tbob\t*"),
                &format!("notes.txt~2\t100\t{second}\tbob\t*"),
            ],
        );
        drop(client);
        world.trackers[other - 1].restart();
        world.wait_synced();
    }
}

#[test]
fn nobody_is_let_in_and_thrown_out_by_accident_when_both_sides_wrote() {
    let mut world = World::new(2);
    world.group("lab", &["nik", "bob"]);
    world.wait_synced();
    let member = |world: &World, side: usize, user: &str| {
        let mut session = RawClient::connect(world.tracker(side), &device(), 1).unwrap();
        session.login(user).unwrap();
        session
    };
    // On one side eve asks; on the other bob leaves, later.
    world.trackers[0].freeze();
    let mut eve = RawClient::enter(world.tracker(2), "eve");
    let group = eve.group("lab").group;
    assert!(matches!(
        eve.change(request_id(), &Change::JoinGroup { group }).unwrap(),
        Reply::Done(_)
    ));
    world.trackers[1].freeze();
    world.trackers[0].thaw();
    let mut bob = member(&world, 1, "bob");
    assert!(matches!(
        bob.change(request_id(), &Change::LeaveGroup { group }).unwrap(),
        Reply::Done(_)
    ));
    world.trackers[1].thaw();
    world.wait_synced();
    for side in [1, 2] {
        let mut nik = member(&world, side, "nik");
        let Reply::Members { entries, .. } =
            nik.ask(Request::ListMembers { group, after: None }).unwrap()
        else {
            panic!()
        };
        assert_eq!(entries.iter().map(|m| m.user.label.as_str()).collect::<Vec<_>>(), ["nik"]);
        let Reply::Requests { entries, .. } =
            nik.ask(Request::ListRequests { group, after: None }).unwrap()
        else {
            panic!()
        };
        assert_eq!(entries.iter().map(|r| r.user.label.as_str()).collect::<Vec<_>>(), ["eve"]);
    }
}

#[test]
fn a_tracker_alone_says_that_it_is_degraded_and_answers_all_the_same() {
    let mut world = World::new(2);
    assert!(!world.trackers[1].status().is_degraded());
    world.trackers[0].freeze();
    RawClient::enter(world.tracker(2), "nik");
    crate::harness::eventually("it says that it is alone", || {
        world.trackers[1].status().is_degraded().then_some(())
    });
    world.trackers[0].thaw();
    world.wait_synced();
    crate::harness::eventually("it has company again", || {
        (!world.trackers[1].status().is_degraded()).then_some(())
    });
}
