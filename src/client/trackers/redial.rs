//! When a disconnected tracker is dialled again.
//!
//! **Invariant:** between two dials of one tracker is its pause, which grows. The pause is
//! [`NEEDED_AFTER`] if something asks for the tracker: a command that has no other tracker to ask,
//! another tracker that reports it up, or a connection to another tracker, since the network may be
//! back.

use super::Shared;
use super::pause::NEEDED_AFTER;
use super::state::{LinkState, SetState};
use crate::types::{TrackerEntry, TrackerState};

impl SetState {
    /// Cuts the pauses of those trackers short; tells whether there were any. The caller notifies
    /// [`Shared::changed`].
    pub(super) fn dial_soon(&mut self, which: impl Fn(&LinkState) -> bool) -> bool {
        let links = self.links.iter_mut().filter(|link| which(link));
        links
            .filter_map(|link| link.pause.as_mut())
            .fold(false, |any, pause| pause.cut_short() | any)
    }

    /// Makes refused logins due again soon.
    fn log_in_soon(&mut self) {
        for live in self.links.iter_mut().filter_map(|link| link.live.as_mut()) {
            if live.login.retry_soon(NEEDED_AFTER) {
                live.wake_writer();
            }
        }
    }
}

impl Shared {
    /// A command has no tracker to ask: dials the others, or logs in there, as soon as allowed.
    pub(super) fn dial_soon(&self, state: &mut SetState) {
        state.log_in_soon();
        if state.dial_soon(|_| true) {
            self.changed.notify_all();
        }
    }

    /// A tracker reports the state of the others: those that are up are dialled soon.
    pub(super) fn told_states(&self, state: &mut SetState, entries: &[TrackerEntry]) {
        let is_up = |link: &LinkState| {
            let is_it = |entry: &&TrackerEntry| entry.address.as_str() == link.address;
            entries.iter().find(is_it).is_some_and(|entry| {
                matches!(entry.state, TrackerState::Up | TrackerState::CatchingUp)
            })
        };
        if state.dial_soon(is_up) {
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::pause::Pause;
    use super::*;
    use crate::client::ClientError;
    use crate::client::trackers::Need;
    use crate::client::trackers::tests::*;
    use crate::types::Refusal;
    use crate::wire::tracker::{Reply, Request};

    const LONG: Duration = Duration::from_secs(3600);

    /// Gives the tracker of that index a pause of an hour before the next dial.
    fn wait_long(set: &super::super::TrackerSet, index: usize) {
        wait_for("its pause is long", || {
            let mut state = set.shared.state.lock();
            let pause = &mut state.links[index].pause;
            if pause.is_some() {
                *pause = Some(Pause::new(Instant::now(), LONG));
            }
            pause.is_some()
        });
    }

    #[test]
    fn a_pause_is_cut_short_once_and_not_to_nothing() {
        let now = Instant::now();
        let mut pause = Pause::new(now, LONG);
        assert!(pause.cut_short() && !pause.cut_short());
        assert_eq!(pause.until(), now + NEEDED_AFTER);
        let mut short = Pause::new(now, NEEDED_AFTER / 2);
        assert!(!short.cut_short() && short.until() == now + NEEDED_AFTER / 2);
    }

    #[test]
    fn a_command_dials_a_tracker_that_is_back_at_once() {
        let [first, second] = [Fake::start(usual), Fake::start(usual)];
        let (set, _news) = set_of(&[&first, &second]);
        log_in(&set);
        let address = second.kill();
        wait_for("the second is gone", || set.views()[1].number.is_none());
        wait_long(&set, 1);
        let terms = Terms::default();
        let _second = Fake::start_at(address, network_key(), terms, usual);
        first.kill();
        let started = Instant::now();
        let answer = set.call(&change(1), Need::Session);
        assert!(matches!(answer, Ok(Reply::Done(_))), "{answer:?}");
        assert!(started.elapsed() < Duration::from_secs(5));
        set.stop(PATIENCE);
    }

    #[test]
    fn a_command_whose_tracker_is_silent_dials_the_others() {
        let silent = |request: &Request| match request {
            Request::CreateGroup { .. } => Act::Silence,
            other => usual(other),
        };
        let [first, second] = [Fake::start(silent), Fake::start(usual)];
        let (set, _news) = set_of(&[&first, &second]);
        log_in(&set);
        let address = second.kill();
        wait_for("the second is gone", || set.views()[1].number.is_none());
        wait_long(&set, 1);
        let _second = Fake::start_at(address, network_key(), Terms::default(), usual);
        let started = Instant::now();
        let answer = set.call(&change(1), Need::Session);
        assert!(matches!(answer, Ok(Reply::Done(_))), "{answer:?}");
        assert!(started.elapsed() < Duration::from_secs(5));
        set.stop(PATIENCE);
    }

    #[test]
    fn a_login_that_was_refused_often_is_tried_again_for_a_command() {
        let is_late = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let late = is_late.clone();
        let [first, second] = [
            Fake::start(usual),
            Fake::start(move |request| match request {
                Request::Login { .. } => refuse(Refusal::Busy),
                Request::Resume { .. } if late.load(std::sync::atomic::Ordering::SeqCst) => {
                    refuse(Refusal::LoginFirst)
                }
                other => usual(other),
            }),
        ];
        let (set, _news) = set_of(&[&first, &second]);
        log_in(&set);
        wait_for("its next login is far off", || {
            let mut state = set.shared.state.lock();
            let live = state.links[1].live.as_mut();
            live.is_some_and(|live| match &mut live.login {
                super::super::login::Login::Refused { retry, pause, .. } => {
                    (*retry, *pause) = (Instant::now() + LONG, LONG);
                    true
                }
                _ => false,
            })
        });
        is_late.store(false, std::sync::atomic::Ordering::SeqCst);
        first.kill();
        let answer = set.call(&change(1), Need::Session);
        assert!(matches!(answer, Ok(Reply::Done(_))), "{answer:?}");
        set.stop(PATIENCE);
    }

    #[test]
    fn a_tracker_that_another_calls_up_is_dialled_at_once() {
        let [first, second] = [Fake::start(usual), Fake::start(usual)];
        let (set, _news) = set_of(&[&first, &second]);
        let address = second.kill();
        wait_for("the second is gone", || set.views()[1].number.is_none());
        wait_long(&set, 1);
        let second = Fake::start_at(address, network_key(), Terms::default(), usual);
        let told = |state: TrackerState| {
            let entry = TrackerEntry {
                number: 2,
                address: address.to_string().parse().unwrap(),
                state,
                lag: 0,
            };
            let shared = &set.shared;
            shared.told_states(&mut shared.state.lock(), &[entry]);
        };
        told(TrackerState::Down);
        assert!(
            set.shared.state.lock().links[1].pause.unwrap().until() > Instant::now() + LONG / 2
        );
        told(TrackerState::Up);
        wait_for("it is dialled", || second.welcomed() == 1);
        set.stop(PATIENCE);
    }

    #[test]
    fn without_any_tracker_dials_are_no_storm() {
        let [first] = [Fake::start(usual)];
        let (set, _news) = set_of(&[&first]);
        log_in(&set);
        first.kill();
        wait_for("the tracker is gone", || !set.is_reachable());
        let before = set.shared.state.lock().links[0].attempts;
        assert!(matches!(set.call(&change(1), Need::Session), Err(ClientError::NoTracker)));
        let dials = set.shared.state.lock().links[0].attempts - before;
        // A command gives up after three seconds.
        assert!((1..=16).contains(&dials), "{dials} dials");
        set.stop(PATIENCE);
    }
}
