//! The rules of `benches/chaos.rs`: which states of the directory a history of requests allows.
//!
//! **Invariant:** nothing here starts a process: the rules and the plans are pure.

#[path = "../../benches/chaos/history.rs"]
#[allow(dead_code, reason = "the benchmark uses all of it")]
mod history;
#[path = "../../benches/chaos/impairment.rs"]
mod impairment;
#[path = "../../benches/chaos/rules.rs"]
#[allow(dead_code, reason = "the benchmark uses all of it")]
mod rules;
#[path = "../../benches/chaos/schedule.rs"]
#[allow(dead_code, reason = "the benchmark uses all of it")]
mod schedule;

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

use history::{Command, Observed, Outcome, Request, Thing, Value};
use impairment::Impairments;
use rules::{Finding, Kind, judge};
use schedule::{Action, Node, SCHEDULES, Way};

const GROUP: &str = "lab";

/// A history in the making; times are in seconds.
#[derive(Default)]
struct Story(Vec<Request>);

impl Story {
    fn ask(
        mut self,
        actor: &str,
        command: Command,
        asked: u64,
        ended: u64,
        outcome: Outcome,
    ) -> Self {
        let (asked, ended) = (Duration::from_secs(asked), Duration::from_secs(ended));
        self.0.push(Request { client: 0, actor: actor.to_owned(), command, asked, ended, outcome });
        self
    }

    /// An acknowledged request.
    fn ok(self, actor: &str, command: Command, asked: u64, ended: u64) -> Self {
        self.ask(actor, command, asked, ended, Outcome::Acknowledged)
    }

    /// One without an answer.
    fn lost(self, actor: &str, command: Command, asked: u64, ended: u64) -> Self {
        self.ask(actor, command, asked, ended, Outcome::Unanswered("no_answer".to_owned()))
    }

    /// nik has made the group, and eve is let in.
    fn with_eve() -> Self {
        Self::default().ok("nik", create(), 0, 1).ok("eve", join(), 2, 3).ok(
            "nik",
            accept("eve"),
            4,
            5,
        )
    }

    /// What the rules say about trackers that all show this.
    fn judge(&self, things: &[(Thing, Value)]) -> Vec<Finding> {
        let things = things.iter().cloned().collect();
        judge(&self.0, &[Observed { tracker: 1, things, doubles: vec![] }])
    }

    #[track_caller]
    fn allows(&self, things: &[(Thing, Value)]) {
        let findings = self.judge(things);
        assert!(findings.is_empty(), "{findings:#?}");
    }

    #[track_caller]
    fn finds(&self, kind: Kind, thing: &str, things: &[(Thing, Value)]) -> Finding {
        let findings = self.judge(things);
        let fits = |finding: &&Finding| finding.kind == kind && finding.thing == thing;
        findings
            .iter()
            .find(fits)
            .unwrap_or_else(|| panic!("no {kind:?} of {thing} in {findings:#?}"))
            .clone()
    }
}

fn group() -> String {
    GROUP.to_owned()
}

fn create() -> Command {
    Command::CreateGroup { group: group() }
}

fn join() -> Command {
    Command::Join { group: group() }
}

fn leave() -> Command {
    Command::Leave { group: group() }
}

fn accept(user: &str) -> Command {
    Command::Accept { group: group(), user: user.to_owned() }
}

fn remove(user: &str) -> Command {
    Command::Remove { group: group(), user: user.to_owned() }
}

fn transfer(user: &str) -> Command {
    Command::Transfer { group: group(), user: user.to_owned() }
}

fn upload() -> Command {
    Command::Upload { group: group(), file: "song".to_owned() }
}

fn stop_share() -> Command {
    Command::StopShare { group: group(), file: "song".to_owned() }
}

fn owner(user: &str) -> (Thing, Value) {
    (Thing::Owner { group: group() }, Value::User(user.to_owned()))
}

fn member(user: &str) -> (Thing, Value) {
    (Thing::Membership { group: group(), user: user.to_owned() }, Value::Member)
}

fn requested(user: &str) -> (Thing, Value) {
    (Thing::Membership { group: group(), user: user.to_owned() }, Value::Requested)
}

fn share(user: &str) -> (Thing, Value) {
    (
        Thing::Share { group: group(), file: "song".to_owned(), user: user.to_owned() },
        Value::Present,
    )
}

#[test]
fn a_removed_member_who_is_back_is_found() {
    let story = Story::with_eve().ok("nik", remove("eve"), 6, 7);
    story.allows(&[owner("nik"), member("nik")]);
    let found = story.finds(
        Kind::Undone,
        "membership of eve in lab",
        &[owner("nik"), member("nik"), member("eve")],
    );
    assert_eq!(found.found, [(1, "member".to_owned())]);
    assert_eq!(found.requests, [1, 2, 3], "the history of the thing, and nothing else");
}

#[test]
fn what_was_acknowledged_and_is_nowhere_is_found() {
    let story = Story::with_eve();
    story.allows(&[owner("nik"), member("nik"), member("eve")]);
    story.finds(Kind::Undone, "membership of eve in lab", &[owner("nik"), member("nik")]);
    story.finds(
        Kind::Undone,
        "membership of eve in lab",
        &[owner("nik"), member("nik"), requested("eve")],
    );
    story.finds(Kind::Undone, "membership of nik in lab", &[]);
}

#[test]
fn each_tracker_is_judged_by_itself() {
    let story = Story::with_eve();
    let observed = |tracker, things: &[(Thing, Value)]| Observed {
        tracker,
        things: things.iter().cloned().collect(),
        doubles: vec![],
    };
    let all = [owner("nik"), member("nik"), member("eve")];
    let findings = judge(&story.0, &[observed(1, &all), observed(2, &all[..2]), observed(3, &all)]);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].found, [(2, "none".to_owned())]);
}

#[test]
fn changes_that_overlap_count_in_any_order() {
    let story = Story::with_eve().ok("nik", remove("eve"), 6, 9).ok("eve", join(), 8, 10);
    story.allows(&[owner("nik"), member("nik")]);
    story.allows(&[owner("nik"), member("nik"), requested("eve")]);
    story.finds(
        Kind::Undone,
        "membership of eve in lab",
        &[owner("nik"), member("nik"), member("eve")],
    );
    // A request that was asked at the moment of the answer may have been asked before it.
    let story = Story::with_eve().ok("nik", remove("eve"), 5, 6);
    story.allows(&[owner("nik"), member("nik"), member("eve")]);
}

#[test]
fn a_request_without_an_answer_has_happened_or_not() {
    let story = Story::with_eve().lost("nik", remove("eve"), 6, 16);
    story.allows(&[owner("nik"), member("nik"), member("eve")]);
    story.allows(&[owner("nik"), member("nik")]);
}

#[test]
fn a_request_that_comes_after_it_was_given_up_is_late_and_not_wrong() {
    let story = Story::with_eve().lost("nik", remove("eve"), 6, 16).ok("eve", join(), 17, 18).ok(
        "nik",
        accept("eve"),
        19,
        20,
    );
    story.allows(&[owner("nik"), member("nik"), member("eve")]);
    story.finds(Kind::Late, "membership of eve in lab", &[owner("nik"), member("nik")]);
    story.finds(
        Kind::Undone,
        "membership of eve in lab",
        &[owner("nik"), member("nik"), requested("eve")],
    );
}

#[test]
fn a_refusal_may_have_been_carried_out_by_another_copy() {
    let refused = Outcome::Refused("refused".to_owned());
    let story = Story::with_eve().ask("nik", remove("eve"), 6, 7, refused);
    story.allows(&[owner("nik"), member("nik"), member("eve")]);
    story.allows(&[owner("nik"), member("nik")]);
}

#[test]
fn the_last_transfer_stands() {
    let story = Story::with_eve().ok("nik", transfer("eve"), 6, 7);
    story.allows(&[owner("eve"), member("nik"), member("eve")]);
    story.finds(Kind::Undone, "owner of lab", &[owner("nik"), member("nik"), member("eve")]);
    let story = story.ok("eve", transfer("nik"), 8, 9);
    story.allows(&[owner("nik"), member("nik"), member("eve")]);
    story.finds(Kind::Undone, "owner of lab", &[owner("eve"), member("nik"), member("eve")]);
}

#[test]
fn an_owner_who_leaves_is_followed_by_another_member() {
    let story = Story::with_eve().ok("nik", leave(), 6, 7);
    story.allows(&[owner("eve"), member("eve")]);
    // The membership of before the transfer has nothing to do with it.
    let story = Story::with_eve()
        .ok("nik", remove("eve"), 6, 7)
        .ok("eve", join(), 8, 9)
        .ok("nik", accept("eve"), 10, 11)
        .ok("nik", transfer("eve"), 12, 13);
    story.finds(Kind::Undone, "owner of lab", &[owner("nik"), member("nik"), member("eve")]);
}

#[test]
fn an_owner_who_is_wrongly_no_member_is_one_fault() {
    let story = Story::with_eve().ok("nik", transfer("eve"), 6, 7);
    let findings = story.judge(&[owner("nik"), member("nik")]);
    assert_eq!(
        findings.iter().map(|finding| finding.thing.as_str()).collect::<Vec<_>>(),
        ["membership of eve in lab"]
    );
}

#[test]
fn what_no_request_asked_for_is_found() {
    let story = Story::default().ok("nik", create(), 0, 1);
    story.finds(
        Kind::Unasked,
        "membership of eve in lab",
        &[owner("nik"), member("nik"), member("eve")],
    );
}

#[test]
fn a_group_ends_with_its_last_member_and_so_do_requests() {
    let story =
        Story::default().ok("nik", create(), 0, 1).ok("bob", join(), 2, 3).ok("nik", leave(), 4, 5);
    story.allows(&[]);
    story.finds(
        Kind::Undone,
        "membership of nik in lab",
        &[owner("nik"), member("nik"), requested("bob")],
    );
}

#[test]
fn shares_stand_and_end_with_the_membership() {
    let here = [owner("nik"), member("nik"), member("eve")];
    let and_share = [&here[..], &[share("eve")]].concat();
    let story = Story::with_eve().ok("eve", upload(), 6, 7);
    story.allows(&and_share);
    story.finds(Kind::Undone, "share of song by eve in lab", &here);
    let stopped = Story::with_eve().ok("eve", upload(), 6, 7).ok("eve", stop_share(), 8, 9);
    stopped.allows(&here);
    stopped.finds(Kind::Undone, "share of song by eve in lab", &and_share);
    let back =
        story.ok("eve", leave(), 8, 9).ok("eve", join(), 10, 11).ok("nik", accept("eve"), 12, 13);
    back.allows(&here);
    back.finds(Kind::Undone, "share of song by eve in lab", &and_share);
    let gone = Story::with_eve().ok("eve", upload(), 6, 7).ok("nik", remove("eve"), 8, 9);
    gone.allows(&here[..2]);
    gone.finds(
        Kind::Undone,
        "share of song by eve in lab",
        &[here[0].clone(), here[1].clone(), share("eve")],
    );
}

#[test]
fn accounts_are_judged_where_somebody_looked() {
    let story = Story::default().ok("", Command::CreateUser { user: "bob".to_owned() }, 0, 1);
    let bob = |value| (Thing::Account { user: "bob".to_owned() }, value);
    story.allows(&[bob(Value::Present)]);
    story.allows(&[]);
    story.finds(Kind::Undone, "account bob", &[bob(Value::Absent)]);
}

#[test]
fn something_made_twice_is_found_once() {
    let story = Story::default().ok("nik", create(), 0, 1);
    let things = [owner("nik"), member("nik")].into_iter().collect();
    let observed = Observed { tracker: 2, things, doubles: vec!["lab~2".to_owned()] };
    let findings = judge(&story.0, &[observed.clone(), observed]);
    assert_eq!(findings.len(), 1);
    assert_eq!((findings[0].kind, findings[0].requests.as_slice()), (Kind::Double, &[0][..]));
}

/// Every fault of a plan is ended by the plan, in the time that it was given, and each tracker runs
/// in the end.
#[test]
fn every_schedule_ends_its_own_faults() {
    for schedule in &SCHEDULES {
        for seed in 0..50 {
            let seconds = 4.0 + seed as f64;
            let plan =
                schedule.plan(3 + seed as usize % 3, 8, seconds, StdRng::seed_from_u64(seed));
            assert_eq!(plan.is_empty(), schedule.name == "quiet", "{}", schedule.name);
            assert!(plan.is_sorted_by_key(|step| step.at), "{}", schedule.name);
            let last = plan.last().map_or(Duration::ZERO, |step| step.at);
            assert!(
                last < Duration::from_secs_f64(seconds),
                "{} ends at {last:?} of {seconds} s",
                schedule.name
            );
            let mut open = Vec::new();
            for step in plan {
                let ended = match &step.action {
                    Action::Thaw(tracker) => Some(Action::Freeze(*tracker)),
                    Action::FreeDisk(tracker) => Some(Action::HangDisk(*tracker)),
                    Action::Start(tracker) => Some(Action::Kill(*tracker)),
                    Action::Plug(tracker) => Some(Action::Unplug(*tracker)),
                    Action::DrainDisk(tracker) => Some(Action::FillDisk(*tracker)),
                    Action::Restore(tracker) => Some(Action::Copy(*tracker)),
                    Action::Unthrottle(tracker) => Some(Action::Throttle(*tracker, 0)),
                    Action::Clock(tracker, 0) => Some(Action::Clock(*tracker, 0)),
                    Action::Cut(ways) if ways.is_empty() => Some(Action::Cut(vec![])),
                    _ => None,
                };
                let begun = match step.action {
                    Action::Throttle(tracker, _) => Action::Throttle(tracker, 0),
                    Action::Clock(tracker, _) => Action::Clock(tracker, 0),
                    Action::Cut(_) => Action::Cut(vec![]),
                    other => other,
                };
                match ended {
                    Some(ended) => open.retain(|action| *action != ended),
                    None => open.push(begun),
                }
            }
            assert!(open.is_empty(), "{} with seed {seed} leaves {open:?}", schedule.name);
        }
    }
}

/// A request has a tracker if one of them was of use to its client all the time.
#[test]
fn a_client_had_a_tracker_unless_each_was_out_of_order_at_some_time() {
    let mut impairments = Impairments::new(Instant::now());
    let request = |client| {
        let (asked, ended) = (Duration::ZERO, Duration::from_secs(3600));
        Request {
            client,
            actor: String::new(),
            command: create(),
            asked,
            ended,
            outcome: Outcome::Acknowledged,
        }
    };
    let mut apply = |action: Action| {
        impairments.begin(&action);
        impairments.end(&action);
        [0, 1].map(|client| impairments.had_tracker(&request(client), 2))
    };
    assert_eq!(apply(Action::Freeze(1)), [true, true]);
    let cut = vec![Way { from: Node::Client(1), to: Node::Tracker(2) }];
    assert_eq!(apply(Action::Cut(cut)), [true, false]);
    assert_eq!(apply(Action::Thaw(1)), [true, false], "it was frozen for a time");
    assert_eq!(apply(Action::Clock(2, 5)), [true, false], "such a clock does no harm");
    assert_eq!(apply(Action::Clock(2, 4000)), [false, false]);
}
