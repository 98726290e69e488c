//! Sessions, clocks and trust, with scripted trackers.

use super::*;
use crate::client::error::SessionEnd;

fn change_password() -> Request {
    let [old, new] = ["pw", "new"].map(|text| Password::new(text.into()).unwrap());
    let request = RequestStamp { id: RequestId::from_bytes([9; 16]), at: Stamp::new(1, 0) };
    Request::ChangePassword { request, old, new }
}

fn over(news: &Receiver<News>) -> bool {
    news.try_iter().any(|item| matches!(item, News::SessionOver(_)))
}

#[test]
fn the_password_is_shown_to_one_tracker_once_and_the_token_to_all() {
    let fakes = [Fake::start(usual), Fake::start(usual)];
    let (set, _news) = set_of(&[&fakes[0], &fakes[1]]);
    wait_for("both are connected", || set.views().iter().all(|view| view.number.is_some()));
    log_in(&set);
    let count = |of: fn(&Request) -> bool| fakes.iter().map(|fake| fake.count(of)).sum::<usize>();
    let password = |request: &Request| matches!(request, Request::Login { .. });
    wait_for("the other was shown the token", || count(is_resume) == 1);
    fakes.iter().for_each(Fake::cut);
    wait_for("both are shown the token after the cut", || count(is_resume) == 3);
    assert!(matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))));
    assert_eq!(count(password), 1);
    set.stop(PATIENCE);
}

#[test]
fn a_session_whose_password_was_changed_elsewhere_is_over() {
    let fake = Fake::start(usual);
    let (set, news) = set_of(&[&fake]);
    log_in(&set);
    // The event alone does not end the session: the token is valid.
    fake.tell(&Event::SessionOver);
    wait_for("it is shown the token again", || fake.count(is_resume) == 1);
    assert!(matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))));
    assert!(!over(&news) && set.is_over().is_none());
    fake.terms.lock().password_ms += 1;
    fake.tell(&Event::SessionOver);
    wait_for("it is over", || set.is_over() == Some(SessionEnd::PasswordChanged));
    wait_for("it is told", || over(&news));
    let refused = set.call(&change(2), Need::Session);
    assert!(
        matches!(refused, Err(ClientError::SessionEnded(SessionEnd::PasswordChanged))),
        "{refused:?}"
    );
    assert_eq!(set.renew_due(), None);
    set.logout();
    assert!(matches!(
        set.call(&change(3), Need::Session),
        Err(ClientError::Refused(Refusal::LoginFirst))
    ));
    log_in(&set);
    assert!(matches!(set.call(&change(4), Need::Session), Ok(Reply::Done(_))));
    assert_eq!(fake.count(is_resume), 2, "a token that is void is not shown again");
    set.stop(PATIENCE);
}

#[test]
fn a_token_that_expired_while_all_trackers_were_away_ends_the_session_with_those_words() {
    let fake = Fake::start(usual);
    let (set, news) = set_of(&[&fake]);
    log_in(&set);
    let later = Terms { ahead_ms: 25 * 3_600_000, ..Terms::default() };
    let _again = Fake::start_at(fake.kill(), network_key(), later, usual);
    wait_for("it is over", || over(&news));
    assert_eq!(set.is_over(), Some(SessionEnd::Expired));
    set.stop(PATIENCE);
}

#[test]
fn a_change_of_the_password_that_another_tracker_hears_of_first_does_not_end_the_session_that_made_it()
 {
    let (release, held) = unbounded::<()>();
    let slow = Fake::start(move |request| {
        if matches!(request, Request::ChangePassword { .. }) {
            held.recv_timeout(PATIENCE).unwrap();
        }
        usual(request)
    });
    let other = Fake::start(usual);
    let options = options(&[&slow, &other], None);
    let other = other.kill();
    let (news_out, news) = bounded(1024);
    let set = TrackerSet::start(options, news_out).unwrap();
    assert!(set.wait_for_any(PATIENCE));
    log_in(&set);
    let asking = std::thread::spawn({
        let set = set.clone();
        move || {
            let _changing = set.changing_password();
            set.call(&change_password(), Need::Session)
        }
    });
    wait_for("it was asked", || slow.count(|r| matches!(r, Request::ChangePassword { .. })) == 1);
    // The slow tracker's change reaches the other one before its answer reaches the client.
    let terms = Terms { password_ms: 2, ..Terms::default() };
    let other = Fake::start_at(other, network_key(), terms, usual);
    wait_for("the old token is refused", || other.count(is_resume) >= 1);
    release.send(()).unwrap();
    assert!(matches!(asking.join().unwrap(), Ok(Reply::Renewed(_))));
    slow.kill();
    assert!(
        matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))),
        "the new token is good there"
    );
    assert!(!over(&news) && set.is_over().is_none());
    set.stop(PATIENCE);
}

#[test]
fn a_change_of_the_password_whose_answer_was_lost_is_proven_by_the_new_one() {
    let done = Mutex::new(false);
    let fake = Arc::new(Mutex::new(None::<Arc<Mutex<Terms>>>));
    let terms = fake.clone();
    let dies = Fake::start(move |request| match request {
        Request::ChangePassword { .. } if !std::mem::replace(&mut *done.lock(), true) => {
            terms.lock().as_ref().unwrap().lock().password_ms += 1;
            Act::Close
        }
        other => usual(other),
    });
    *fake.lock() = Some(dies.terms.clone());
    let (set, news) = set_of(&[&dies]);
    log_in(&set);
    {
        let _changing = set.changing_password();
        let refused = set.call(&change_password(), Need::Session);
        assert!(matches!(refused, Err(ClientError::Refused(Refusal::SessionOver))), "{refused:?}");
        set.prove_again(Password::new("new".into()).unwrap()).unwrap();
    }
    assert!(matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))));
    assert!(!over(&news));
    set.stop(PATIENCE);
}

#[test]
fn a_command_of_one_session_is_never_asked_for_the_next() {
    let silent =
        Fake::start(|request| if is_change(request) { Act::Silence } else { usual(request) });
    let (set, _news) = set_of(&[&silent]);
    log_in(&set);
    let call = std::thread::spawn({
        let set = set.clone();
        move || set.call(&change(1), Need::Session)
    });
    wait_for("it was asked", || silent.count(is_change) == 1);
    set.logout();
    log_in(&set);
    silent.cut();
    assert!(matches!(call.join().unwrap(), Err(ClientError::Refused(Refusal::LoginFirst))));
    assert_eq!(silent.count(is_change), 1);
    set.stop(PATIENCE);
}

#[test]
fn a_token_is_renewed_on_demand_and_not_replaced_by_one_that_ends_sooner() {
    let fake = Fake::start(usual);
    let (set, _news) = set_of(&[&fake]);
    log_in(&set);
    let half = Duration::from_secs(12 * 3600);
    let due = |set: &TrackerSet| set.renew_due().unwrap().saturating_duration_since(Instant::now());
    assert!(due(&set) <= half && due(&set) > half - PATIENCE);
    fake.terms.lock().token_ms = 3_600_000;
    set.renew();
    wait_for("it was asked", || fake.count(|request| matches!(request, Request::Renew)) == 1);
    assert!(due(&set) < half - PATIENCE, "no better one came: it is asked again soon");
    fake.terms.lock().token_ms = 48 * 3_600_000;
    set.renew();
    assert!(due(&set) > half + PATIENCE, "{:?}", due(&set));
    fake.kill();
    wait_for("the tracker is gone", || !set.is_reachable());
    let started = Instant::now();
    set.renew();
    assert!(started.elapsed() < Duration::from_secs(2), "nobody to ask, nothing to wait for");
    set.stop(PATIENCE);
}

#[test]
fn of_clocks_that_agree_the_earliest_counts_and_one_that_is_wrong_does_not() {
    let fakes = [-3_600_000, 40_000, 0].map(fake_ahead);
    let (set, _news) = set_of(&[&fakes[0], &fakes[1], &fakes[2]]);
    wait_for("all are connected", || set.views().iter().all(|view| view.number.is_some()));
    let near = |ahead_ms| {
        Terms { ahead_ms, ..Terms::default() }.now_ms().abs_diff(set.clock_ms()) < 15_000
    };
    assert!(near(0), "an hour behind is left out");
    let [wrong, ahead, right] = fakes;
    ahead.kill();
    right.kill();
    wait_for("they are gone", || {
        set.views().iter().filter(|view| view.number.is_some()).count() == 1
    });
    assert!(near(0), "it is left out when it is the only one, too");
    wrong.kill();
    set.stop(PATIENCE);
}

/// A tracker whose clock is ahead, and which is too busy for passwords.
fn fake_ahead(ahead_ms: i64) -> Fake {
    let script = move |request: &Request| match request {
        Request::Login { .. } if ahead_ms.abs() > 60_000 => refuse(Refusal::Busy),
        other => usual(other),
    };
    Fake::start_at(
        "127.0.0.1:0".parse().unwrap(),
        network_key(),
        Terms { ahead_ms, ..Terms::default() },
        script,
    )
}

#[test]
fn a_tracker_whose_clock_is_a_day_ahead_ends_no_session() {
    let (right, wrong) = (fake_ahead(0), fake_ahead(25 * 3_600_000));
    let (set, news) = set_of(&[&right, &wrong]);
    wait_for("both are connected", || set.views().iter().all(|view| view.number.is_some()));
    log_in(&set);
    wait_for("the token is shown to it, and later again", || wrong.count(is_resume) >= 2);
    assert!(matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))));
    assert!(set.is_over().is_none() && !over(&news));
    // Both trackers report the end of a session whose password has changed.
    right.terms.lock().password_ms += 1;
    right.tell(&Event::SessionOver);
    wait_for("it is over", || set.is_over() == Some(SessionEnd::PasswordChanged));
    set.stop(PATIENCE);
}

#[test]
fn a_token_of_a_key_that_counts_no_more_ends_the_session_with_those_words() {
    let fake =
        Fake::start(
            |request| {
                if is_resume(request) { refuse(Refusal::SessionOver) } else { usual(request) }
            },
        );
    let (set, news) = set_of(&[&fake]);
    log_in(&set);
    let next = KeyPair::generate().unwrap().network();
    fake.tell(&Event::NetworkKey {
        rotation: fake.key.sign_rotation(crate::types::RotationStage::Ended, next),
    });
    fake.tell(&Event::SessionOver);
    wait_for("it is over", || over(&news));
    assert_eq!(set.is_over(), Some(SessionEnd::KeyReplaced));
    set.stop(PATIENCE);
}

#[test]
fn a_password_crosses_to_one_tracker_at_a_time() {
    let (release, held) = unbounded::<()>();
    let held = Arc::new(held);
    let shown = |request: &Request| matches!(request, Request::Login { .. });
    let slow = || {
        let held = held.clone();
        Fake::start(move |request| {
            if shown(request) {
                held.recv_timeout(PATIENCE).unwrap();
            }
            usual(request)
        })
    };
    let fakes = [slow(), slow()];
    let (set, _news) = set_of(&[&fakes[0], &fakes[1]]);
    wait_for("both are connected", || set.views().iter().all(|view| view.number.is_some()));
    let count = || fakes.iter().map(|fake| fake.count(shown)).sum::<usize>();
    std::thread::scope(|scope| {
        let login = scope.spawn(|| log_in(&set));
        wait_for("one was asked", || count() == 1);
        let deadline = Instant::now() + call::HEDGE_AFTER + call::HEDGE_AFTER / 2;
        while Instant::now() < deadline {
            assert_eq!(count(), 1, "another tracker was shown the password while the first had it");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        // Its connection ends: the next one is asked.
        fakes.iter().filter(|fake| fake.count(shown) > 0).for_each(Fake::cut);
        wait_for("the next was asked", || count() >= 2);
        (0..4).for_each(|_| release.send(()).unwrap());
        login.join().unwrap();
    });
    set.stop(PATIENCE);
}

#[test]
fn a_tracker_that_says_nothing_is_told_no_password() {
    let silent = Fake::start(|request| match request {
        Request::Ping | Request::Login { .. } => Act::Silence,
        other => usual(other),
    });
    let lives = Fake::start(usual);
    let (set, _news) = set_of(&[&silent, &lives]);
    wait_for("both are connected", || set.views().iter().all(|view| view.number.is_some()));
    let started = Instant::now();
    log_in(&set);
    assert!(started.elapsed() < Duration::from_secs(9));
    assert_eq!(silent.count(|request| matches!(request, Request::Login { .. })), 0);
    set.stop(PATIENCE);
}

#[test]
fn a_tracker_of_another_network_is_named_with_the_way_to_accept_it() {
    let fake = Fake::start(usual);
    let other = KeyPair::generate().unwrap().fingerprint();
    let (news, _news) = bounded(1024);
    let set = TrackerSet::start(options(&[&fake], Some(other)), news).unwrap();
    wait_for("it is refused", || set.views()[0].error.is_some());
    let found = fake.key.fingerprint();
    assert_eq!(
        set.call(&change(1), Need::Tracker).unwrap_err().to_string(),
        set.why_unreachable().to_string()
    );
    for text in [set.why_unreachable().to_string(), set.views()[0].error.clone().unwrap()] {
        assert!(
            text.contains(&other.to_string()) && text.contains(&format!("--network {found}")),
            "{text}"
        );
        assert!(
            text.contains(&format!("`network {found}` into tracker_info.txt"))
                && !text.contains('\n'),
            "{text}"
        );
    }
    assert!(fake.asked().is_empty(), "not a word was said to it");
    set.stop(PATIENCE);
}

#[test]
fn what_does_not_prove_to_be_a_tracker_is_said_so() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stop = Stop::new();
    let stopped = stop.clone();
    let babbler = std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            if stopped.is_set() {
                return;
            }
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let (news, _news) = bounded(1024);
    let options = SetOptions { addresses: vec![address.clone()], ..options(&[], None) };
    let set = TrackerSet::start(options, news).unwrap();
    wait_for("it is refused", || set.views()[0].error.is_some());
    let why = set.why_unreachable();
    assert!(
        matches!(&why, ClientError::UntrustedTracker { address: at, .. } if *at == address),
        "{why}"
    );
    set.stop(PATIENCE);
    stop.set();
    drop(std::net::TcpStream::connect(address));
    babbler.join().unwrap();
}

#[test]
fn a_tracker_that_hangs_holds_passwords_up_for_a_moment() {
    let is_asked = |request: &Request| {
        matches!(
            request,
            Request::Login { .. } | Request::CreateUser { .. } | Request::ChangePassword { .. }
        )
    };
    // It still answers pings, like a tracker whose disk hangs.
    let hung =
        Fake::start(move |request| if is_asked(request) { Act::Silence } else { usual(request) });
    let well = Fake::start(|request| match request {
        Request::CreateUser { request, .. } | Request::ChangePassword { request, .. } => {
            Act::Answer(Box::new(done(request.at)))
        }
        other => usual(other),
    });
    let (set, _news) = set_of(&[&hung, &well]);
    wait_for("both are connected", || set.views().iter().all(|view| view.number.is_some()));
    let (name, password) = ("nik".parse().unwrap(), Password::new("pw".into()).unwrap());
    let request = Request::CreateUser { request: set.request_stamp(), name, password };
    let asked = [hung.count(is_asked), well.count(is_asked)];
    let began = Instant::now();
    assert!(matches!(set.call(&request, Need::Tracker), Ok(Reply::Done(_))));
    log_in(&set);
    let [old, new] = ["pw", "new"].map(|text| Password::new(text.into()).unwrap());
    let request = Request::ChangePassword { request: set.request_stamp(), old, new };
    assert!(matches!(set.call(&request, Need::Session), Ok(Reply::Done(_))));
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    assert!(well.count(is_asked) == asked[1] + 3 && hung.count(is_asked) <= asked[0] + 3);
    wait_for("its connection was ended before another saw the password", || {
        hung.count(is_asked) == 0 || hung.welcomed() > hung.count(is_asked)
    });
    set.stop(PATIENCE);
}

#[test]
fn the_last_tracker_has_all_the_time_to_look_at_a_password() {
    let late = Fake::start(|request| {
        if matches!(request, Request::Login { .. }) {
            std::thread::sleep(Duration::from_millis(2_500));
        }
        usual(request)
    });
    let (set, _news) = set_of(&[&late]);
    log_in(&set);
    assert_eq!(late.count(|request| matches!(request, Request::Login { .. })), 1);
    set.stop(PATIENCE);
}

#[test]
fn a_session_whose_account_the_operator_has_disabled_says_so() {
    let is_disabled = Arc::new(Mutex::new(false));
    let disabled = is_disabled.clone();
    let fake = Fake::start(move |request| match request {
        Request::Resume { .. } if *disabled.lock() => refuse(Refusal::Disabled),
        other => usual(other),
    });
    let (set, news) = set_of(&[&fake]);
    log_in(&set);
    *is_disabled.lock() = true;
    fake.tell(&Event::SessionOver);
    wait_for("it is over", || set.is_over() == Some(SessionEnd::Disabled));
    wait_for("it is told", || over(&news));
    set.stop(PATIENCE);
}

#[test]
fn a_token_that_is_dated_ahead_gives_way_to_one_that_is_not() {
    let fake = Fake::start(usual);
    // A tracker's clock was ten minutes ahead, and is set right while the tracker is away.
    fake.terms.lock().ahead_ms = 600_000;
    let (set, _news) = set_of(&[&fake]);
    log_in(&set);
    let issued_ms = || set.session().unwrap().token.claims.issued_ms;
    let ahead_ms = issued_ms();
    fake.terms.lock().ahead_ms = 0;
    fake.cut();
    wait_for("the token is replaced", || issued_ms() < ahead_ms);
    assert!(set.is_over().is_none());
    // A slightly earlier date is no reason: the token that expires later is kept.
    let before_ms = issued_ms();
    fake.terms.lock().ahead_ms = -30_000;
    fake.cut();
    wait_for("it is shown the token again", || fake.count(is_resume) == 2);
    assert!(matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))));
    assert_eq!(issued_ms(), before_ms);
    set.stop(PATIENCE);
}
