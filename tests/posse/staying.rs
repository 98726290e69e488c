//! A device that stays logged in logs in by its key, whatever ended it and whichever tracker
//! answers; what ends that, ends it within a second at every tracker.

use std::process::Command;
use std::time::{Duration, Instant};

use posse::types::{Refusal, UserId};
use posse::wire::tracker::{Reply, Request};
use serde_json::Value;

use crate::harness::{
    ClientProcess, Content, PATIENCE, Process, RawClient, Sipper, World, eventually, password,
    request_id, sha1_of,
};

/// What may pass between the tracker's word and the end of what it ends.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Waits for an event of a client.
#[track_caller]
fn event(client: &mut ClientProcess, name: &str) -> Value {
    let is_it = |line: &String| line.contains(&format!("\"event\":\"{name}\""));
    let found =
        client.process().wait_said(PATIENCE, |said| said.out.iter().find(|l| is_it(l)).cloned());
    let line = found.unwrap_or_else(|| panic!("no event {name}"));
    serde_json::from_str(&line).unwrap()
}

#[track_caller]
fn stay(client: &mut ClientProcess, user: &str) {
    let said = client.object(&format!("login {user} pw-{user} --stay"));
    assert_eq!((&said["ok"], &said["stays"]), (&true.into(), &true.into()), "{said}");
}

fn id_of(client: &mut RawClient) -> UserId {
    match client.ask(Request::WhoAmI).unwrap() {
        Reply::User(user) => user.user,
        other => panic!("{other:?}"),
    }
}

/// A device of the test's own with a session at each tracker, which may log in by its key.
fn staying_device(world: &World, user: &str) -> (Vec<RawClient>, UserId) {
    let mut first = RawClient::enter(world.tracker(1), user);
    let id = id_of(&mut first);
    let stays = first.ask(Request::StayOnDevice {
        request: request_id(),
        name: "stolen".parse().unwrap(),
        password: password(&format!("pw-{user}")),
    });
    assert!(matches!(stays.unwrap(), Reply::Done(_)));
    let device = first.device.clone();
    let mut sessions = vec![first];
    for number in 2..=world.trackers.len() {
        let mut session = RawClient::connect(world.tracker(number), &device, 1).unwrap();
        assert!(matches!(by_key(&mut session, id), Reply::LoggedIn { .. }));
        sessions.push(session);
    }
    (sessions, id)
}

fn by_key(session: &mut RawClient, user: UserId) -> Reply {
    session.ask(Request::LoginByKey { user }).unwrap()
}

/// Every tracker refuses the device's key, its token, and what its sessions ask.
#[track_caller]
fn shut_out(world: &World, sessions: &mut [RawClient], user: UserId, since: Instant) {
    let token = sessions[0].token.clone().unwrap();
    for (number, session) in (1..).zip(sessions) {
        let groups = vec![];
        let asked = session.ask(Request::Tickets { groups }).unwrap();
        assert_eq!(asked, Reply::Refused(Refusal::LoginFirst), "tracker {number}: its session");
        let mut again = RawClient::connect(world.tracker(number), &session.device, 1).unwrap();
        let refused = Reply::Refused(Refusal::NotStaying);
        assert_eq!(by_key(&mut again, user), refused, "tracker {number}: its key");
        let resumed = again.ask(Request::Resume { token: token.clone() }).unwrap();
        assert_eq!(resumed, Reply::Refused(Refusal::SessionOver), "tracker {number}: its token");
    }
    let passed = since.elapsed();
    println!("refused at every tracker {} ms after the answer", passed.as_millis());
    assert!(passed < AT_ONCE, "{passed:?}");
}

#[test]
fn a_device_that_stays_is_back_after_kill_9_and_after_a_failover() {
    let mut world = World::new(2);
    world.group("lab", &["nik", "bob"]);
    world.wait_synced();
    let content = Content::new("a.bin", 3 << 20, 901);
    world.put("nik", &content);
    let mut nik = world.client("nik");
    stay(&mut nik, "nik");
    nik.ok("upload_file a.bin lab", &[]);
    for survivor in [2, 1] {
        nik.process().kill9();
        world.trackers[2 - survivor].kill9();
        nik = world.client("nik");
        // The first command finds the session.
        let who = nik.object("whoami");
        assert_eq!((&who["ok"], &who["user"]), (&true.into(), &"nik".into()), "{who}");
        event(&mut nik, "logged_in");
        let uploads = nik.object("show_uploads");
        assert_eq!(uploads["uploads"][0]["file"], "a.bin", "{uploads}");
        world.trackers[2 - survivor].restart();
        world.wait_synced();
    }
    let mut bob = world.client("bob");
    bob.login("bob");
    bob.ok("download_file lab a.bin", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("a.bin")), content.sha1());
}

#[test]
fn the_first_command_of_a_script_finds_the_session_of_a_device_that_stays() {
    let world = World::new(1);
    let mut nik = world.client("nik");
    nik.enter("nik");
    stay(&mut nik, "nik");
    drop(nik);
    for _ in 0..5 {
        let script = world.script("nik", &["-c", "whoami", "-c", "create_group lab"], &[]);
        assert_eq!(script.out.get(1).map(String::as_str), Some("nik"), "{script:?}");
        assert!(script.errors().iter().all(|error| error.contains("taken")), "{script:?}");
    }
}

#[test]
fn a_device_that_stays_waits_for_its_trackers() {
    let mut world = World::new(1);
    let mut nik = world.client("nik");
    nik.enter("nik");
    stay(&mut nik, "nik");
    nik.process().kill9();
    world.trackers[0].kill9();
    nik = world.client_with("nik", &["--wait-trackers", "60"]);
    world.trackers[0].restart();
    assert_eq!(event(&mut nik, "logged_in")["user"], "nik");
    // A logout ends the session alone.
    nik.ok("logout", &[]);
    nik.refused("whoami", "log in");
    nik.process().kill9();
    nik = world.client("nik");
    assert_eq!(nik.object("whoami")["user"], "nik");
}

#[test]
fn a_forgotten_device_is_refused_within_a_second_at_every_tracker() {
    let mut world = World::new(3);
    world.group("lab", &["nik", "bob"]);
    world.wait_synced();
    let content = Content::new("a.bin", 4 << 20, 902);
    world.put("bob", &content);
    let (mut bob, mut nik) = (world.client("bob"), world.client("nik"));
    bob.login("bob");
    bob.ok("upload_file a.bin lab", &[]);
    nik.login("nik");
    let (mut sessions, user) = staying_device(&world, "nik");
    let group = sessions[0].group("lab").group;
    let ticket = sessions[2].ticket(group).unwrap();
    let stolen = sessions[0].device.clone();
    let peer = (bob.address, bob.device());
    let sipper = Sipper::start("stolen", &stolen, &ticket, peer, content.facts().info_hash);
    let devices = nik.object("devices");
    let listed = devices["devices"].as_array().unwrap();
    assert_eq!(listed.len(), 2, "{devices}");
    let entry = listed.iter().find(|device| device["name"] == "stolen").unwrap();
    assert_eq!(entry["device"], stolen.id.to_string());
    assert!(entry["stays"] == true && entry["online"] == true && entry["this"] == false, "{entry}");
    assert_eq!(entry["address"], "127.0.0.1");
    let own = listed.iter().find(|device| device["this"] == true).unwrap();
    assert_eq!((&own["stays"], &own["online"]), (&false.into(), &true.into()), "{own}");
    nik.refused("forget_device phone", "devices lists them");
    let forgot = nik.object(&format!("forget_device {}", &stolen.id.to_string()[..6]));
    let answered = Instant::now();
    assert_eq!((&forgot["ok"], &forgot["this"]), (&true.into(), &false.into()), "{forgot}");
    shut_out(&world, &mut sessions, user, answered);
    let ended = sipper.wait_ended().ended.unwrap();
    let after = ended.saturating_duration_since(answered);
    println!("its link ended {} ms after the answer", after.as_millis());
    assert!(after < AT_ONCE, "{after:?}");
    // Its user goes on elsewhere, and may log in there again with the password.
    nik.ok("list_files lab", &[]);
    assert_eq!(nik.object("devices")["devices"].as_array().unwrap().len(), 1);
    let mut again = RawClient::connect(world.tracker(2), &stolen, 1).unwrap();
    again.login("nik").unwrap();
    assert!(again.ticket(group).is_some());
    let token = again.token.clone().unwrap();
    let mut elsewhere = RawClient::connect(world.tracker(3), &stolen, 1).unwrap();
    let resumed = elsewhere.ask(Request::Resume { token }).unwrap();
    assert!(matches!(resumed, Reply::LoggedIn { .. }), "{resumed:?}");
    assert!(elsewhere.ticket(group).is_some());
}

#[test]
fn another_password_ends_staying_everywhere() {
    let mut world = World::new(2);
    let mut laptop = world.client("laptop");
    laptop.enter("nik");
    stay(&mut laptop, "nik");
    let (mut sessions, user) = staying_device(&world, "nik");
    let mut phone = world.client("phone");
    phone.login("nik");
    phone.ok("change_password pw-nik pw-new-one", &[]);
    let answered = Instant::now();
    shut_out(&world, &mut sessions, user, answered);
    assert_eq!(event(&mut laptop, "session_ended")["code"], "password_changed");
    assert_eq!(event(&mut laptop, "staying_ended")["user"], "nik");
    laptop.process().kill9();
    laptop = world.client("laptop");
    laptop.refused("whoami", "log in");
    assert_eq!(phone.object("devices")["devices"].as_array().unwrap().len(), 1);
    laptop.ok("login nik pw-new-one --stay", &[]);
    // From the device itself, too, and it says so.
    let said = laptop.object("change_password pw-new-one pw-newer-one");
    assert!(said["text"].as_str().is_none_or(|text| text.contains("stays")), "{said}");
    world.trackers[0].kill9();
    laptop.process().kill9();
    laptop = world.client("laptop");
    laptop.refused("whoami", "log in");
}

#[test]
fn the_operator_ends_staying() {
    let world = World::new(2);
    let admin = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tracker"));
        command.arg("admin").arg("--data-dir").arg(world.trackers[0].data_dir()).args(arguments);
        let done = Process::spawn("tracker admin", &mut command).finish(PATIENCE);
        assert_eq!(done.status, Some(0), "{done:?}");
    };
    for (user, order) in
        [("ann", "disable_user"), ("bob", "reset_password"), ("eve", "delete_user")]
    {
        let mut client = world.client(user);
        client.enter(user);
        stay(&mut client, user);
        let (mut sessions, id) = staying_device(&world, user);
        let arguments: &[&str] = match order {
            "delete_user" => &[order, user, "--yes"],
            _ => &[order, user],
        };
        admin(arguments);
        event(&mut client, "staying_ended");
        let mut again = RawClient::connect(world.tracker(2), &sessions[0].device, 1).unwrap();
        let refused = if order == "disable_user" { Refusal::Disabled } else { Refusal::NotStaying };
        assert_eq!(by_key(&mut again, id), Reply::Refused(refused), "{order}");
        if order == "disable_user" {
            admin(&["enable_user", user]);
            eventually("tracker 2 has heard", || {
                (by_key(&mut again, id) == Reply::Refused(Refusal::NotStaying)).then_some(())
            });
        }
        assert!(matches!(sessions[1].ask(Request::ListDevices).unwrap(), Reply::Refused(_)));
    }
}

#[test]
fn this_device_can_be_forgotten_from_itself_and_from_another() {
    let world = World::new(2);
    let mut laptop = world.client("laptop");
    laptop.enter("nik");
    stay(&mut laptop, "nik");
    let device = laptop.device().to_string();
    let forgot = laptop.object(&format!("forget_device {device}"));
    assert_eq!((&forgot["ok"], &forgot["this"]), (&true.into(), &true.into()), "{forgot}");
    laptop.refused("whoami", "log in");
    laptop.process().kill9();
    laptop = world.client("laptop");
    laptop.refused("whoami", "log in");
    stay(&mut laptop, "nik");
    let mut phone = world.client("phone");
    phone.login("nik");
    phone.ok(&format!("forget_device {device}"), &[]);
    assert_eq!(event(&mut laptop, "session_ended")["code"], "device_forgotten");
    event(&mut laptop, "staying_ended");
    laptop.refused("whoami", "log in");
    // A device that does not stay can be forgotten, too.
    laptop.login("nik");
    phone.ok(&format!("forget_device {device}"), &[]);
    eventually("the session has ended", || (laptop.object("whoami")["ok"] == false).then_some(()));
    // Without the password nothing stays.
    eventually("a login is taken", || {
        let said = laptop.object("login nik wrong-one --stay");
        said["error"].as_str().unwrap().contains("wrong user name").then_some(())
    });
    laptop.login("nik");
    laptop.refused("login nik wrong-one --stay", "wrong user name or password");
    stay(&mut laptop, "nik");
}
