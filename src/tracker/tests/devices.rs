//! Devices that log in by their key, and devices that are forgotten.

use super::*;

fn stay(guest: &mut Guest, word: &str) -> Reply {
    let (request, name) = (request_id(), "laptop".parse().unwrap());
    guest.ask(Request::StayOnDevice { request, name, password: password(word) })
}

fn by_key(guest: &mut Guest, user: UserId) -> Result<UserId, Refusal> {
    match guest.ask(Request::LoginByKey { user }) {
        Reply::LoggedIn { user, .. } => Ok(user.user),
        Reply::Refused(why) => Err(why),
        other => panic!("{other:?}"),
    }
}

fn forget(guest: &mut Guest, device: DeviceId) {
    guest.done(Request::ForgetDevice { request: request_id(), device });
}

#[test]
fn a_device_logs_in_by_its_key_and_no_other_does() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let address = tracker.local_addr();
    let (mut nik, user) = Guest::new(&tracker, "nik", 1);
    assert_eq!(by_key(&mut Guest::connect(address, 1), user), Err(Refusal::NoSuchDevice));
    assert_eq!(stay(&mut nik, "guess"), Reply::Refused(Refusal::WrongPassword));
    assert!(matches!(stay(&mut nik, "pw"), Reply::Done(_)));
    Guest::connect(address, 3).refused(Request::ListDevices, Refusal::LoginFirst);
    let (_, other) = Guest::new(&tracker, "bob", 2);
    for (device, whose) in [(2, user), (1, other), (3, user)] {
        let refused = by_key(&mut Guest::connect(address, device), whose);
        assert_eq!(refused, Err(Refusal::NoSuchDevice), "device {device}");
    }
    // It is a session like any other.
    let mut again = Guest::connect(address, 1);
    assert_eq!(by_key(&mut again, user), Ok(user));
    again.create_group("lab");
    // It ends with the password on which it rests.
    again.change_password("pw", "next");
    assert_eq!(by_key(&mut Guest::connect(address, 1), user), Err(Refusal::NotStaying));
}

#[test]
fn what_is_listed_are_those_that_stay_and_those_that_are_logged_in() {
    let dir = tempfile::tempdir().unwrap();
    let mut tracker = alone(dir.path());
    let list = |guest: &mut Guest| match guest.ask(Request::ListDevices) {
        Reply::Devices(entries) => entries,
        other => panic!("{other:?}"),
    };
    let (mut nik, user) = Guest::new(&tracker, "nik", 1);
    stay(&mut nik, "pw");
    let first = nik.device;
    drop(nik);
    let mut other = Guest::again(&tracker, "nik", 2);
    wait_for("the device has gone", || list(&mut other).iter().any(|entry| !entry.online));
    let entries = list(&mut other);
    assert_eq!(entries.len(), 2);
    assert_eq!((entries[0].device, entries[1].device), (first, other.device));
    assert_eq!(entries[0].name.as_ref().unwrap().as_str(), "laptop");
    assert!(entries[0].stays_since.is_some() && entries[1].stays_since.is_none());
    assert!(entries[1].online && entries[1].name.is_none());
    for entry in &entries {
        assert_eq!(entry.address.unwrap().ip(), LOCALHOST);
        assert!(entry.seen_ms > 1_600_000_000_000);
    }
    // What was seen is lost with the tracker's end; what stays is not.
    drop(other);
    tracker.stop().unwrap();
    tracker = alone(dir.path());
    let mut other = Guest::again(&tracker, "nik", 2);
    let entries = list(&mut other);
    assert_eq!((entries.len(), entries[0].address, entries[0].seen_ms), (2, None, 0));
    assert_eq!(by_key(&mut Guest::connect(tracker.local_addr(), 1), user), Ok(user));
}

#[test]
fn who_logs_in_later_is_told_which_devices_were_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let mut tracker = alone(dir.path());
    let (mut nik, user) = Guest::new(&tracker, "nik", 1);
    let (mut bob, bob_id) = Guest::new(&tracker, "bob", 2);
    let group = nik.create_group("lab");
    admit(&mut nik, &mut bob, bob_id, group);
    let (mut eve, _) = Guest::new(&tracker, "eve", 3);
    let stolen = Guest::again(&tracker, "nik", 4).device;
    bob.heard();
    eve.heard();
    forget(&mut nik, stolen);
    let is_it = |event: &Event| match event {
        Event::DeviceVoid { user: whose, device, .. } => {
            assert_eq!((*whose, *device), (user, stolen));
            true
        }
        _ => false,
    };
    assert_eq!(bob.heard().iter().filter(|event| is_it(event)).count(), 1);
    assert_eq!(eve.heard().iter().filter(|event| is_it(event)).count(), 0, "in no group with nik");
    for restarted in [false, true] {
        if restarted {
            tracker.stop().unwrap();
            tracker = alone(dir.path());
        }
        let mut bob = Guest::again(&tracker, "bob", 5);
        assert_eq!(bob.heard().iter().filter(|event| is_it(event)).count(), 1, "{restarted}");
        let mut eve = Guest::again(&tracker, "eve", 3);
        assert_eq!(eve.heard().iter().filter(|event| is_it(event)).count(), 0);
    }
}

/// The tracker that has not heard that a device was forgotten signs a token so late that the time
/// of the end does not make it void.
#[test]
fn a_token_of_a_tracker_that_heard_late_is_void_at_all() {
    let info = network(2);
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let start = |number: u32, ahead_ms: i64| {
        let mut config = config(info.clone(), number, dirs[number as usize - 1].path());
        config.limits.clock_offset_ms = ahead_ms;
        Tracker::start(config).unwrap()
    };
    let both_up = |trackers: [&Tracker; 2]| {
        wait_for("both are up", || trackers.iter().all(|tracker| !status(tracker).degraded));
    };
    // The second one's clock is ahead by as much as may be, to spare the test a minute.
    let (mut one, mut two) = (start(1, 0), start(2, 58_000));
    both_up([&one, &two]);
    let (nik, user) = Guest::new(&one, "nik", 1);
    let token = nik.token.clone().unwrap();
    let mut other = Guest::again(&one, "nik", 2);
    let stolen = nik.device;
    drop(nik);
    both_up([&one, &two]);
    two.stop().unwrap();
    forget(&mut other, stolen);
    let forgotten = Instant::now();
    drop(other);
    let mut guest = Guest::connect(one.local_addr(), 1);
    assert_eq!(guest.resume(&token), Err(Refusal::SessionOver));
    assert!(matches!(guest.event(), Event::DeviceVoid { device, .. } if device == stolen));
    drop(guest);
    one.stop().unwrap();
    two = start(2, 58_000);
    let mut guest = Guest::connect(two.local_addr(), 1);
    let mut late = token.clone();
    wait_for("a token that is dated late", || {
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(guest.resume(&token), Ok(user));
        late = guest.token.clone().unwrap();
        forgotten.elapsed() > Duration::from_millis(2_500)
    });
    one = start(1, 0);
    both_up([&one, &two]);
    for tracker in [&one, &two] {
        wait_for("it is void", || {
            let mut guest = Guest::connect(tracker.local_addr(), 1);
            guest.resume(&late) == Err(Refusal::SessionOver)
        });
    }
    assert_eq!(guest.ask(Request::Renew), Reply::Refused(Refusal::LoginFirst));
}
