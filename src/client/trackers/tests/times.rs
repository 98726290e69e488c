//! The times of requests, with trackers whose clocks are wrong.

use super::*;

/// A changing request with a new stamp.
fn stamped(set: &TrackerSet) -> Request {
    Request::CreateGroup { request: set.request_stamp(), name: "lab".parse().unwrap() }
}

fn stamps(fake: &Fake) -> Vec<RequestStamp> {
    let asked = fake.asked().into_iter();
    asked
        .filter_map(|request| {
            if let Request::CreateGroup { request, .. } = request { Some(request) } else { None }
        })
        .collect()
}

/// A tracker that accepts requests of its own time only.
fn strict(ahead_ms: i64) -> Fake {
    let terms = Terms { ahead_ms, ..Terms::default() };
    let script = move |request: &Request| match request {
        Request::CreateGroup { request, .. }
            if request.at.ms().abs_diff(terms.now_ms()) > 60_000 =>
        {
            wrong_time(terms)
        }
        other => usual(other),
    };
    Fake::start_at("127.0.0.1:0".parse().unwrap(), network_key(), terms, script)
}

fn wrong_time(terms: Terms) -> Act {
    refuse(Refusal::WrongTime { clock_ms: terms.now_ms() })
}

fn connected(set: &TrackerSet) -> usize {
    set.views().iter().filter(|view| view.number.is_some()).count()
}

#[test]
fn a_request_is_later_than_what_its_client_was_told() {
    let told = Stamp::new(Terms::default().now_ms() + 20_000, 3);
    let fake = Fake::start(move |request| match request {
        Request::CreateGroup { .. } => Act::Answer(Box::new(done(told))),
        other => usual(other),
    });
    let (set, _news) = set_of(&[&fake]);
    log_in(&set);
    set.call(&stamped(&set), Need::Session).unwrap();
    assert_eq!(set.request_stamp().at, told.next().unwrap());
    assert_eq!(set.last_request_time(), told.next());
    set.stop(PATIENCE);
}

#[test]
fn every_copy_has_the_same_stamp_and_one_that_is_refused_for_its_time_is_asked_elsewhere() {
    let (right, wrong, also_right) = (strict(0), strict(3_600_000), strict(1_000));
    let (set, news) = set_of(&[&wrong, &right, &also_right]);
    wait_for("all are connected", || connected(&set) == 3);
    log_in(&set);
    for _ in 0..4 {
        assert!(matches!(set.call(&stamped(&set), Need::Session), Ok(Reply::Done(_))));
    }
    let mut ids: Vec<RequestStamp> =
        [&right, &wrong, &also_right].into_iter().flat_map(stamps).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4, "a copy had a stamp of its own");
    assert!(
        !news.try_iter().any(|item| matches!(item, News::ClocksDiffer(_))),
        "the third clock decides"
    );
    set.stop(PATIENCE);
}

#[test]
fn with_two_clocks_that_differ_the_tracker_that_answers_is_gone_on_with_and_the_user_is_told_once()
{
    let (right, wrong) = (strict(0), strict(3_600_000));
    let (set, news) = set_of(&[&wrong, &right]);
    wait_for("both are connected", || connected(&set) == 2);
    log_in(&set);
    for _ in 0..5 {
        assert!(matches!(set.call(&stamped(&set), Need::Session), Ok(Reply::Done(_))));
        // Makes the other tracker the first to be asked.
        let primary = set.views().iter().position(|view| view.primary).unwrap();
        let mut state = set.shared.state.lock();
        state.links[primary].live.as_mut().unwrap().suspect = true;
    }
    let differ: Vec<News> =
        news.try_iter().filter(|item| matches!(item, News::ClocksDiffer(_))).collect();
    assert_eq!(differ.len(), usize::from(!stamps(&wrong).is_empty()), "{differ:?}");
    set.stop(PATIENCE);
}

#[test]
fn a_request_that_every_tracker_refuses_for_its_time_gets_a_new_stamp_once() {
    // Two trackers that agree have sent their time, and are gone; the third is an hour ahead.
    let (left, gone) = (strict(3_600_000), [strict(0), strict(0)]);
    let (set, _news) = set_of(&[&gone[0], &gone[1], &left]);
    wait_for("all are connected", || connected(&set) == 3);
    log_in(&set);
    for fake in gone {
        fake.kill();
    }
    wait_for("they are gone", || connected(&set) == 1);
    assert!(matches!(set.call(&stamped(&set), Need::Session), Ok(Reply::Done(_))));
    let asked = stamps(&left);
    assert_eq!(asked.len(), 2);
    assert!(
        asked[0].id != asked[1].id && asked[1].at.ms() > asked[0].at.ms() + 3_000_000,
        "{asked:?}"
    );
    set.stop(PATIENCE);
}

#[test]
fn a_request_that_may_have_been_carried_out_keeps_its_stamp() {
    let late = Terms { ahead_ms: 3_600_000, ..Terms::default() };
    let [dies, refuses] = [true, false].map(|dies| {
        Fake::start(move |request| match request {
            Request::CreateGroup { .. } if dies => Act::Close,
            Request::CreateGroup { .. } => wrong_time(late),
            other => usual(other),
        })
    });
    let (set, _news) = set_of(&[&dies, &refuses]);
    wait_for("both are connected", || connected(&set) == 2);
    log_in(&set);
    // The tracker that ends is asked first.
    {
        let mut state = set.shared.state.lock();
        state.links[1].live.as_mut().unwrap().suspect = true;
    }
    let request = stamped(&set);
    let refused = set.call(&request, Need::Session);
    if stamps(&dies).is_empty() {
        // On a slow machine the other tracker was asked first, and nothing can have been carried
        // out.
        return;
    }
    assert!(matches!(refused, Err(ClientError::Refused(Refusal::WrongTime { .. }))), "{refused:?}");
    let mut asked = stamps(&refuses);
    asked.extend(stamps(&dies));
    asked.dedup();
    assert_eq!(asked.len(), 1, "{asked:?}");
    set.stop(PATIENCE);
}

/// A tracker that requires times above a stamp.
fn overtaken(above: Stamp) -> Fake {
    Fake::start(move |request| match request {
        Request::CreateGroup { request, .. } if request.at <= above => {
            refuse(Refusal::Overtaken { above })
        }
        other => usual(other),
    })
}

#[test]
fn a_request_that_was_overtaken_is_asked_again_with_a_later_time_and_the_same_id() {
    let above = Stamp::new(Terms::default().now_ms() + 20_000, 3);
    let fake = overtaken(above);
    let (set, _news) = set_of(&[&fake]);
    log_in(&set);
    assert!(matches!(set.call(&stamped(&set), Need::Session), Ok(Reply::Done(_))));
    let asked = stamps(&fake);
    assert_eq!(asked.len(), 2);
    assert!(asked[0].id == asked[1].id && asked[0].at <= above && asked[1].at > above, "{asked:?}");
    assert!(set.request_stamp().at > asked[1].at, "what is asked next is later than every copy");
    set.stop(PATIENCE);
}

#[test]
fn trackers_asked_after_the_one_that_was_overtaken_get_the_later_time() {
    let above = Stamp::new(Terms::default().now_ms() + 20_000, 3);
    let dies = Fake::start(move |request| match request {
        Request::CreateGroup { request, .. } if request.at <= above => {
            refuse(Refusal::Overtaken { above })
        }
        Request::CreateGroup { .. } => Act::Close,
        other => usual(other),
    });
    let answers = Fake::start(usual);
    let (set, _news) = set_of(&[&dies, &answers]);
    wait_for("both are connected", || connected(&set) == 2);
    log_in(&set);
    // The tracker that ends is asked first.
    set.shared.state.lock().links[1].live.as_mut().unwrap().suspect = true;
    assert!(matches!(set.call(&stamped(&set), Need::Session), Ok(Reply::Done(_))));
    let first = stamps(&dies);
    if first.len() < 2 {
        // On a slow machine the other tracker was asked first.
        return;
    }
    let last = stamps(&answers);
    assert_eq!(last, first[1..], "{first:?}");
    assert!(first[0].id == last[0].id && first[0].at <= above && last[0].at > above);
    set.stop(PATIENCE);
}

#[test]
fn a_request_that_is_overtaken_again_and_again_is_given_up() {
    let fake = Fake::start(|request| match request {
        Request::CreateGroup { request, .. } => refuse(Refusal::Overtaken { above: request.at }),
        other => usual(other),
    });
    let (set, _news) = set_of(&[&fake]);
    log_in(&set);
    let refused = set.call(&stamped(&set), Need::Session);
    assert!(matches!(refused, Err(ClientError::Refused(Refusal::Overtaken { .. }))), "{refused:?}");
    let asked = stamps(&fake);
    assert_eq!(asked.len(), 9);
    assert!(asked.is_sorted_by(|one, next| one.id == next.id && one.at < next.at), "{asked:?}");
    set.stop(PATIENCE);
}
