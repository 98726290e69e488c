//! A device that stays logged in, with scripted trackers.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::client::trackers::tests::refuse;
use crate::store::StayingRow;
use crate::types::{Stamp, UserEntry};

fn is_by_key(request: &Request) -> bool {
    matches!(request, Request::LoginByKey { user: asked } if *asked == user().user)
}

/// A data directory of a device that stays as the user.
fn staying() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = DeviceStore::open(dir.path()).unwrap();
    let (UserEntry { user, label }, since) = (user(), Stamp::new(1, 0));
    store.set_staying(Some(&StayingRow { user, label, since })).unwrap();
    dir
}

fn stored(dir: &tempfile::TempDir) -> Option<StayingRow> {
    DeviceStore::open(dir.path()).unwrap().staying().unwrap()
}

/// A tracker that answers the first logins by key with these refusals.
fn refusing(refusals: &'static [Refusal]) -> Fake {
    let count = AtomicUsize::new(0);
    Fake::start(move |request| match is_by_key(request) {
        true => match refusals.get(count.fetch_add(1, Ordering::Relaxed)) {
            Some(refusal) => refuse(*refusal),
            None => Act::Usual,
        },
        false => usual(request),
    })
}

fn wait_event(events: &Receiver<ClientEvent>, is_it: impl Fn(&ClientEvent) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_it(&events.recv_deadline(deadline).unwrap()) {}
}

#[test]
fn what_passes_is_tried_again_until_the_device_is_in() {
    let dir = staying();
    let fake = refusing(&[
        Refusal::Busy,
        Refusal::Unsupported,
        Refusal::NoSuchDevice,
        Refusal::TooManyAttempts,
    ]);
    let client = client_of(dir.path(), &[&fake]);
    let events = client.subscribe();
    wait_event(&events, |event| matches!(event, ClientEvent::LoggedInByKey { .. }));
    assert_eq!(client.whoami().unwrap(), user());
    assert_eq!(fake.count(is_by_key), 5);
    // After a logout nothing is tried; with the password it goes on.
    client.logout().unwrap();
    client.login("nik", Password::new("pw".into()).unwrap()).unwrap();
    client.logout().unwrap();
    assert_eq!((fake.count(is_by_key), client.whoami().is_err()), (5, true));
    drop(client);
    assert!(stored(&dir).is_some());
}

#[test]
fn a_definite_refusal_ends_it_and_is_told() {
    for refusal in [Refusal::NotStaying, Refusal::Disabled] {
        let dir = staying();
        let fake = Fake::start(move |request| match is_by_key(request) {
            true => refuse(refusal),
            false => usual(request),
        });
        let client = client_of(dir.path(), &[&fake]);
        client.wait_for_staying(Duration::from_secs(30));
        let events = client.subscribe();
        wait_event(&events, |event| {
            let reason = refusal.to_string();
            *event == ClientEvent::StayingEnded { user: user().label, user_id: user().user, reason }
        });
        assert!(client.stays_as().is_none() && client.whoami().is_err());
        drop(client);
        assert_eq!((stored(&dir), fake.count(is_by_key)), (None, 1));
    }
}

#[test]
fn of_two_trackers_the_one_that_knows_devices_is_asked() {
    let dir = staying();
    let older = Fake::start(|request| match is_by_key(request) {
        true => refuse(Refusal::Unsupported),
        false => usual(request),
    });
    let fake = Fake::start(usual);
    let client = client_of(dir.path(), &[&older, &fake]);
    let events = client.subscribe();
    wait_event(&events, |event| matches!(event, ClientEvent::LoggedInByKey { .. }));
    // The older one is shown the token.
    wait_for("it is shown the token", || older.count(is_resume) > 0);
    assert_eq!(client.whoami().unwrap(), user());
}

#[test]
fn a_session_that_was_void_is_begun_again_and_a_new_password_from_here_ends_it() {
    let dir = staying();
    let fake = Fake::start(usual);
    let client = client_of(dir.path(), &[&fake]);
    let events = client.subscribe();
    let is_in = |event: &ClientEvent| matches!(event, ClientEvent::LoggedInByKey { .. });
    wait_event(&events, is_in);
    // Nobody has said so to this device: it tries, and this tracker lets it in.
    fake.terms.lock().password_ms += 1;
    fake.tell(&Event::SessionOver);
    wait_event(&events, |event| matches!(event, ClientEvent::SessionEnded { .. }));
    wait_event(&events, is_in);
    let [old, new] = ["pw", "pw2"].map(|text| Password::new(text.into()).unwrap());
    client.change_password(old, new).unwrap();
    assert!(client.stays_as().is_none());
    drop(client);
    assert_eq!(stored(&dir), None);
}

#[test]
fn a_device_that_was_forgotten_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let forgotten = Arc::new(std::sync::atomic::AtomicBool::default());
    let fake = Fake::start({
        let forgotten = forgotten.clone();
        move |request| match is_resume(request) && forgotten.load(Ordering::Relaxed) {
            true => refuse(Refusal::SessionOver),
            false => usual(request),
        }
    });
    let client = client_of(dir.path(), &[&fake]);
    let events = client.subscribe();
    log_in(&client);
    let (device, until_ms) = (client.device(), u64::MAX);
    // Another device, and another user's.
    let user = user().user;
    let others = [(user, DeviceId::from_bytes([1; 32])), (UserId::from_bytes([9; 16]), device)];
    for (user, device) in others {
        fake.tell(&Event::DeviceVoid { user, device, until_ms });
    }
    fake.tell(&Event::SessionOver);
    wait_for("the session goes on", || fake.count(is_resume) > 0);
    forgotten.store(true, Ordering::Relaxed);
    fake.tell(&Event::DeviceVoid { user, device, until_ms });
    fake.tell(&Event::SessionOver);
    wait_event(&events, |event| match event {
        ClientEvent::SessionEnded { reason, .. } => {
            assert_eq!(*reason, SessionEnd::DeviceForgotten);
            true
        }
        _ => false,
    });
}
