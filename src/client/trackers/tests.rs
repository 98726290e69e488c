//! Failover with scripted trackers.

mod fake;
mod session;
mod times;

use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, bounded, unbounded};

use super::*;
use crate::client::ClientError;
use crate::trust::KeyPair;
use crate::types::{
    DownloadState, GroupId, InfoHash, Password, Refusal, RequestId, RequestStamp, Stamp,
};
use crate::wire::tracker::{Event, Reply, Request};

pub(in crate::client) use self::fake::*;

#[test]
fn a_command_whose_tracker_dies_is_repeated_at_the_next_with_the_same_id() {
    let dies = Fake::start(|request| if is_change(request) { Act::Close } else { usual(request) });
    let lives = Fake::start(usual);
    let (set, _news) = set_of(&[&dies, &lives]);
    wait_for("both are connected", || set.views().iter().all(|view| view.number.is_some()));
    log_in(&set);
    let started = Instant::now();
    // With either tracker as primary, the surviving one carries the request out, once and under its
    // id.
    assert!(matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))));
    assert!(started.elapsed() < Duration::from_secs(9), "the next tracker was not asked at once");
    let copies: Vec<Request> = lives.asked().into_iter().filter(is_change).collect();
    assert_eq!(copies, [change(1)]);
    assert!(
        dies.asked()
            .iter()
            .filter(|request| is_change(request))
            .all(|request| *request == change(1))
    );
    set.stop(PATIENCE);
}

#[test]
fn a_silent_primary_is_passed_over_then_avoided() {
    let [silent, lives] = [
        Fake::start(|request| {
            if matches!(request, Request::CreateGroup { .. }) {
                Act::Silence
            } else {
                usual(request)
            }
        }),
        Fake::start(usual),
    ];
    let (set, _news) = set_of(&[&silent, &lives]);
    wait_for("both are connected", || set.views().iter().all(|view| view.number.is_some()));
    log_in(&set);
    wait_for("both are logged in", || set.views().iter().any(|view| view.primary));
    for byte in 1..=3 {
        assert!(matches!(set.call(&change(byte), Need::Session), Ok(Reply::Done(_))));
    }
    let silent_asked = silent.asked().into_iter().filter(is_change).count();
    assert!(silent_asked <= 1, "a tracker that did not answer was asked {silent_asked} times");
    assert_eq!(lives.asked().into_iter().filter(is_change).count(), 3);
    set.stop(PATIENCE);
}

#[test]
fn success_of_the_first_outweighs_a_refusal_of_the_second() {
    // The first carries the change out but is slow; the second lags behind and refuses.
    let (heard, wait) = unbounded::<()>();
    let slow = Fake::start(move |request| {
        if is_change(request) {
            wait.recv_timeout(PATIENCE).unwrap();
        }
        usual(request)
    });
    let (set, _news) = set_of(&[&slow]);
    log_in(&set);
    let hasty = Fake::start(move |request| match request {
        Request::CreateGroup { .. } => {
            heard.send(()).unwrap();
            refuse(Refusal::NoSuchGroup)
        }
        other => usual(other),
    });
    drop((set, _news));
    let (set, _news) = set_of(&[&slow, &hasty]);
    wait_for("both are connected", || set.views().iter().all(|view| view.number.is_some()));
    log_in(&set);
    let outcome = set.call(&change(1), Need::Session);
    let slow_was_first = slow.asked().iter().any(is_change);
    assert_eq!(outcome.is_ok(), slow_was_first, "{outcome:?}");
    set.stop(PATIENCE);
}

#[test]
fn a_refusal_is_the_answer_when_nobody_else_was_asked() {
    let refuses =
        Fake::start(
            |request| if is_change(request) { refuse(Refusal::NameTaken) } else { usual(request) },
        );
    let (set, _news) = set_of(&[&refuses]);
    assert!(matches!(
        set.call(&change(1), Need::Session),
        Err(ClientError::Refused(Refusal::LoginFirst))
    ));
    log_in(&set);
    assert!(matches!(
        set.call(&change(1), Need::Session),
        Err(ClientError::Refused(Refusal::NameTaken))
    ));
    set.stop(PATIENCE);
}

#[test]
fn commands_wait_for_a_login_that_is_under_way_elsewhere() {
    let (release, held) = unbounded::<()>();
    let first = Fake::start(usual);
    let standby = Fake::start(move |request| match request {
        // If it is the nearest, it receives the password and is busy; then the first takes it.
        Request::Login { .. } => refuse(Refusal::Busy),
        Request::Resume { .. } => {
            held.recv_timeout(PATIENCE).unwrap();
            Act::Usual
        }
        other => usual(other),
    });
    let (set, _news) = set_of(&[&first]);
    log_in(&set);
    drop((set, _news));
    let (set, _news) = set_of(&[&first, &standby]);
    log_in(&set);
    wait_for("the standby was asked to log in", || standby.count(is_resume) > 0);
    first.kill();
    let call = std::thread::spawn({
        let set = set.clone();
        move || set.call(&change(1), Need::Session)
    });
    wait_for("the dead tracker is gone", || set.views()[0].number.is_none());
    assert!(
        !standby.asked().iter().any(is_change),
        "it was asked before it had confirmed the user"
    );
    (0..2).for_each(|_| release.send(()).unwrap());
    assert!(matches!(call.join().unwrap(), Ok(Reply::Done(_))));
    set.stop(PATIENCE);
}

#[test]
fn a_tracker_that_was_too_busy_for_an_announce_is_told_everything_again() {
    let turned_away = AtomicBool::new(false);
    let fake = Fake::start(move |request| match request {
        Request::Announce { entries }
            if !entries.is_empty() && !turned_away.swap(true, Ordering::SeqCst) =>
        {
            Act::Answer(Box::new(Reply::Refused(Refusal::Busy)))
        }
        other => usual(other),
    });
    let (set, news) = set_of(&[&fake]);
    log_in(&set);
    let (group, info_hash) = (GroupId::from_bytes([1; 16]), InfoHash::from_bytes([1; 20]));
    set.announce([(group, info_hash, DownloadState::Seeding)]);
    let announces = || {
        fake.count(|request| matches!(request, Request::Announce { entries } if entries.len() == 1))
    };
    wait_for("it is announced once more", || announces() == 2);
    assert!(news.try_iter().any(|item| matches!(item, News::Lost { .. })));
    set.stop(PATIENCE);
}

#[test]
fn a_tracker_that_returns_is_logged_in_and_told_everything_again() {
    let first = Fake::start(usual);
    let (set, news) = set_of(&[&first]);
    log_in(&set);
    let [group, file] = [GroupId::from_bytes([1; 16]), GroupId::from_bytes([2; 16])];
    let info_hash = |n| InfoHash::from_bytes([n; 20]);
    set.announce([
        (group, info_hash(1), DownloadState::Seeding),
        (file, info_hash(2), DownloadState::Leeching),
    ]);
    set.announce([(file, info_hash(2), DownloadState::Stopped)]);
    wait_for("both announces came", || {
        first.asked().iter().filter(|r| matches!(r, Request::Announce { .. })).count() >= 2
    });
    let address = first.kill();
    let again = Fake::start_at(address, network_key(), Terms::default(), usual);
    let announced = || {
        again.asked().iter().any(|request| match request {
            Request::Announce { entries } => {
                entries.len() == 1 && entries[0].info_hash == info_hash(1)
            }
            _ => false,
        })
    };
    wait_for("what is offered is announced again", announced);
    assert!(matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))));
    assert!(news.try_iter().filter(|item| matches!(item, News::Joined { .. })).count() >= 2);
    set.stop(PATIENCE);
}

#[test]
fn a_tracker_that_forgot_the_session_is_told_again() {
    let forgetful = Mutex::new(true);
    let fake = Fake::start(move |request| match request {
        Request::CreateGroup { .. } if std::mem::take(&mut *forgetful.lock()) => {
            refuse(Refusal::LoginFirst)
        }
        other => usual(other),
    });
    let (set, _news) = set_of(&[&fake]);
    log_in(&set);
    assert!(matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))));
    set.stop(PATIENCE);
}

#[test]
fn a_tracker_that_knows_the_account_late_is_asked_again_long_before_the_next_ping() {
    let refusals = Mutex::new(2);
    let (first, late) = (
        Fake::start(usual),
        Fake::start(move |request| match request {
            // If it is the nearest, it receives the password and is busy; then another takes it.
            Request::Login { .. } => refuse(Refusal::Busy),
            Request::Resume { .. } if *refusals.lock() > 0 => {
                *refusals.lock() -= 1;
                refuse(Refusal::Busy)
            }
            other => usual(other),
        }),
    );
    let (set, _news) = set_of(&[&first, &late]);
    log_in(&set);
    let started = Instant::now();
    wait_for("it is asked a third time", || {
        late.count(|request| matches!(request, Request::Resume { .. })) >= 3
    });
    assert!(started.elapsed() < Duration::from_secs(10), "it had to wait for a ping");
    first.kill();
    assert!(matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))));
    set.stop(PATIENCE);
}

#[test]
fn without_any_tracker_the_error_says_so_soon() {
    let fake = Fake::start(usual);
    let (set, _news) = set_of(&[&fake]);
    log_in(&set);
    fake.kill();
    wait_for("the tracker is gone", || !set.is_reachable());
    let started = Instant::now();
    assert!(matches!(set.call(&change(1), Need::Session), Err(ClientError::NoTracker)));
    assert!(started.elapsed() < Duration::from_secs(9));
    assert!(set.views()[0].error.is_some());
    set.stop(PATIENCE);
}

#[test]
fn a_logout_is_heard_and_ends_the_session() {
    let fake = Fake::start(usual);
    let (set, _news) = set_of(&[&fake]);
    log_in(&set);
    set.logout();
    assert!(matches!(fake.asked().last(), Some(Request::Logout)));
    assert!(matches!(
        set.call(&change(1), Need::Session),
        Err(ClientError::Refused(Refusal::LoginFirst))
    ));
    log_in(&set);
    set.stop(PATIENCE);
}

#[test]
fn an_interrupt_ends_the_calls_that_somebody_waits_for() {
    let silent =
        Fake::start(|request| if is_change(request) { Act::Silence } else { usual(request) });
    let (set, _news) = set_of(&[&silent]);
    log_in(&set);
    let calls = [set.clone(), set.patient()]
        .map(|set| std::thread::spawn(move || set.call(&change(1), Need::Session)));
    wait_for("both were asked", || {
        silent.asked().iter().filter(|request| is_change(request)).count() == 2
    });
    set.interrupt();
    let [interrupted, patient] = calls;
    assert!(matches!(interrupted.join().unwrap(), Err(ClientError::Interrupted)));
    assert!(!patient.is_finished());
    silent.kill();
    // A call that waits for a connection is interrupted, too.
    wait_for("the tracker is gone", || !set.is_reachable());
    let waits = std::thread::spawn({
        let set = set.clone();
        move || set.call(&change(2), Need::Session)
    });
    wait_for("it is ended", || {
        set.interrupt();
        waits.is_finished()
    });
    assert!(matches!(waits.join().unwrap(), Err(ClientError::Interrupted)));
    assert!(
        matches!(patient.join().unwrap(), Err(ClientError::NoTracker)),
        "what nobody waits for is not interrupted"
    );
    set.stop(PATIENCE);
}

#[test]
fn a_login_behind_a_logout_is_not_ended_by_the_answer_to_an_earlier_one() {
    let (release, held) = unbounded::<()>();
    let slow = Fake::start(move |request| {
        if matches!(request, Request::Login { .. }) {
            held.recv_timeout(PATIENCE).unwrap();
        }
        usual(request)
    });
    let (set, _news) = set_of(&[&slow]);
    let login =
        |set: &TrackerSet| set.login("nik".parse().unwrap(), Password::new("pw".into()).unwrap());
    let interrupted = std::thread::spawn({
        let set = set.clone();
        move || login(&set)
    });
    let logins = || slow.count(is_login);
    wait_for("it was asked", || logins() == 1);
    set.interrupt();
    assert!(matches!(interrupted.join().unwrap(), Err(ClientError::Interrupted)));
    let again = std::thread::spawn({
        let set = set.clone();
        move || login(&set)
    });
    (0..2).for_each(|_| release.send(()).unwrap());
    assert_eq!(again.join().unwrap().unwrap().user, user());
    assert!(matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))));
    let order: Vec<bool> = slow
        .asked()
        .iter()
        .filter_map(|request| match request {
            Request::Login { .. } => Some(true),
            Request::Logout => Some(false),
            _ => None,
        })
        .collect();
    assert_eq!(order, [true, false, true], "the later login is undone");
    set.stop(PATIENCE);
}
