//! Owners hear of requests to join, who asked hears the answer, once each; and what happened while
//! nobody looked is kept.

use serde_json::Value;

use crate::harness::{ClientProcess, Content, PATIENCE, World, eventually};

fn count(client: &mut ClientProcess, event: &str) -> usize {
    let words = format!("\"event\":\"{event}\"");
    client.process().said().out.iter().filter(|line| line.contains(&words)).count()
}

#[track_caller]
fn wait_event(client: &mut ClientProcess, event: &str) {
    let words = format!("\"event\":\"{event}\"");
    let heard = client.process().wait_said(PATIENCE, |said| {
        said.out.iter().any(|line| line.contains(&words)).then_some(())
    });
    assert!(heard.is_some(), "no event {event}");
}

fn notifications(client: &mut ClientProcess, all: &str) -> Vec<Value> {
    let said = client.object(&format!("notifications{all}"));
    said["notifications"].as_array().unwrap_or_else(|| panic!("{said}")).clone()
}

fn names(notifications: &[Value]) -> Vec<&str> {
    notifications.iter().map(|one| one["event"].as_str().unwrap()).collect()
}

#[test]
fn requests_to_join_and_their_answers_are_told_once_and_kept() {
    let world = World::new(3);
    let (mut nik, mut bob) = (world.client("nik"), world.client("bob"));
    nik.enter("nik");
    bob.enter("bob");
    nik.refused("notifications --no", "no option");
    nik.ok("create_group lab", &[]);
    let requests = |client: &mut ClientProcess| {
        client.object("list_my_groups")["groups"][0]["requests"].clone()
    };
    assert_eq!(requests(&mut nik), 0);
    bob.ok("join_group lab", &[]);
    wait_event(&mut nik, "join_requested");
    assert_eq!((requests(&mut nik), requests(&mut bob)), (1.into(), 0.into()));
    nik.ok("reject_request lab bob", &[]);
    wait_event(&mut bob, "join_rejected");
    assert_eq!(requests(&mut nik), 0);
    bob.ok("join_group lab", &[]);
    eventually("the owner is told again", || {
        (count(&mut nik, "join_requested") == 2).then_some(())
    });
    nik.ok("accept_request lab bob", &[]);
    wait_event(&mut bob, "admitted");
    world.put("nik", &Content::new("a.bin", 100_000, 931));
    nik.ok("upload_file a.bin lab", &[]);
    bob.ok("download_file lab a.bin", &[]);
    bob.wait_downloads();
    nik.ok("remove_member lab bob", &[]);
    wait_event(&mut bob, "removed");
    // Three trackers have told of each.
    assert_eq!((count(&mut nik, "join_requested"), count(&mut bob, "join_rejected")), (2, 1));
    let told = eventually("all is written down", || {
        let all = notifications(&mut nik, " --all");
        (all.len() == 2).then_some(all)
    });
    assert_eq!((&told[0]["group"], &told[0]["user"]), (&"lab".into(), &"bob".into()));
    eventually("all is written down", || {
        (notifications(&mut bob, " --all").len() >= 4).then_some(())
    });
    bob.process().kill9();
    let mut bob = world.client("bob");
    bob.refused("notifications", "log in");
    bob.login("bob");
    let all = notifications(&mut bob, " --all");
    assert_eq!(
        names(&all)[..3],
        ["join_rejected", "admitted", "download_complete"],
        "in order: {all:?}"
    );
    assert!(names(&all).contains(&"removed"));
    assert!(notifications(&mut bob, "").is_empty(), "they were shown");
    // Another user of the device sees nothing of it.
    bob.ok("logout", &[]);
    bob.login("nik");
    assert!(notifications(&mut bob, " --all").is_empty());
}

#[test]
fn what_happened_to_requests_meanwhile_is_told_at_the_login() {
    let world = World::new(2);
    let (mut nik, mut bob, mut eve) =
        (world.client("nik"), world.client("bob"), world.client("eve"));
    [(&mut nik, "nik"), (&mut bob, "bob"), (&mut eve, "eve")]
        .into_iter()
        .for_each(|(client, user)| client.enter(user));
    nik.ok("create_group lab", &[]);
    nik.process().kill9();
    bob.ok("join_group lab", &[]);
    eve.ok("join_group lab", &[]);
    bob.process().kill9();
    eve.process().kill9();
    let mut nik = world.client("nik");
    nik.login("nik");
    let told = notifications(&mut nik, "");
    assert_eq!(names(&told), ["join_requested"; 2], "{told:?}");
    assert!(told.iter().any(|one| one["user"] == "bob" && one["group"] == "lab"), "{told:?}");
    assert!(notifications(&mut nik, "").is_empty(), "they were shown");
    // They wait still, and that is no news.
    nik.ok("logout", &[]);
    nik.login("nik");
    assert_eq!(notifications(&mut nik, " --all").len(), 2);
    nik.ok("reject_request lab bob", &[]);
    nik.ok("accept_request lab eve", &[]);
    for (user, answer) in [("bob", "join_rejected"), ("eve", "admitted")] {
        let mut client = world.client(user);
        client.login(user);
        let told = notifications(&mut client, "");
        assert_eq!((names(&told), &told[0]["group"]), (vec![answer], &"lab".into()), "{user}");
        client.ok("logout", &[]);
        client.login(user);
        assert_eq!(names(&notifications(&mut client, " --all")), [answer], "{user}");
    }
}
