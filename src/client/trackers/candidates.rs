//! Tells every tracker at which addresses this device may take links.
//!
//! **Invariant:** a tracker hears of them after each login and whenever they change, once it has
//! answered what it was told before. A tracker that does not know the request is not asked again on
//! that connection. No tracker is told a loopback address: it sees that itself.

use std::net::SocketAddr;

use super::state::{Pending, SetState};
use super::{Shared, TrackerSet};
use crate::types::limits::CANDIDATES_MAX;
use crate::types::{Candidate, CandidateKind, Refusal, usable_candidates};
use crate::wire::tracker::{Reply, Request};

impl TrackerSet {
    /// Replaces this device's own addresses, and tells them to every tracker, now or when its
    /// session is confirmed. Does not block.
    pub(crate) fn offer(&self, candidates: Vec<Candidate>) {
        let mut state = self.shared.state.lock();
        state.candidates = candidates;
        (0..state.links.len()).for_each(|index| state.tell_candidates(index));
    }

    /// Where each connected tracker sees this device: the tracker's address, and this device's.
    pub(crate) fn observed(&self) -> Vec<(String, SocketAddr)> {
        let state = self.shared.state.lock();
        let seen = state
            .links
            .iter()
            .filter_map(|link| Some((link.address.clone(), link.live.as_ref()?.observed)));
        seen.collect()
    }

    /// This machine has another address or was asleep: asks every connected tracker for a sign of
    /// life, and dials the others. Does not block.
    pub(crate) fn look_again(&self) {
        let keys: Vec<(usize, u64)> = {
            let mut state = self.shared.state.lock();
            self.shared.dial_soon(&mut state);
            state.links.iter_mut().for_each(|link| link.last_observed = None);
            let live = state.links.iter().enumerate();
            live.filter_map(|(index, link)| Some((index, link.live.as_ref()?.key))).collect()
        };
        keys.into_iter().for_each(|(index, key)| self.shared.ping(index, key));
    }
}

impl SetState {
    /// Sends one tracker this device's addresses if they differ from those it was told.
    pub(super) fn tell_candidates(&mut self, index: usize) {
        let is_ready =
            self.session.as_ref().is_some_and(|session| self.links[index].is_ready(Some(session)));
        if !is_ready {
            return;
        }
        let candidates = self.candidates_for(index);
        let Some(live) = self.links[index].live.as_mut() else { return };
        if live.told.is_older || live.told.asked.is_some() || live.told.taken == candidates {
            return;
        }
        let request = Request::Candidates { candidates: candidates.clone() };
        if live.send(request, Pending::Candidates) {
            live.told.asked = Some(candidates);
        }
    }

    /// This device's own addresses, and those at which the other trackers see it or last saw it. A
    /// tracker that goes down changes no address.
    fn candidates_for(&self, index: usize) -> Vec<Candidate> {
        let seen = |link: usize| {
            let link = &self.links[link];
            let last = link.last_observed.filter(|_| !link.is_removed);
            link.live.as_ref().map(|live| live.observed).or(last)
        };
        let others = (0..self.links.len()).filter(|other| *other != index);
        let observed = others
            .filter_map(seen)
            .filter(|address| seen(index) != Some(*address))
            .map(|address| Candidate::new(address, CandidateKind::Observed));
        let own = self.candidates.iter().copied();
        usable_candidates(own.chain(observed), false, CANDIDATES_MAX)
    }
}

impl Shared {
    /// Takes a tracker's answer to the addresses that it was told.
    pub(super) fn candidates_answered(&self, state: &mut SetState, index: usize, reply: &Reply) {
        let Some(live) = state.links[index].live.as_mut() else { return };
        match (reply, live.told.asked.take()) {
            (Reply::Refused(Refusal::Unsupported), _) => live.told.is_older = true,
            // The next look at this device's addresses tells it again.
            (Reply::Refused(_), _) | (_, None) => {}
            (_, Some(asked)) => {
                live.told.taken = asked;
                state.tell_candidates(index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::trackers::Need;
    use crate::client::trackers::tests::*;

    fn at(address: &str) -> Candidate {
        Candidate::new(address.parse().unwrap(), CandidateKind::Interface)
    }

    fn told(request: &Request) -> Option<&[Candidate]> {
        match request {
            Request::Candidates { candidates } => Some(candidates),
            _ => None,
        }
    }

    #[test]
    fn a_tracker_is_told_after_the_login_and_when_they_change() {
        let fake = Fake::start(usual);
        let (set, _news) = set_of(&[&fake]);
        set.offer(vec![at("10.0.0.1:9"), at("127.0.0.1:9")]);
        log_in(&set);
        let all = || {
            let asked = fake.asked();
            asked.iter().filter_map(told).map(<[Candidate]>::to_vec).collect::<Vec<_>>()
        };
        wait_for("it is told", || all().len() == 1);
        assert_eq!(all()[0], [at("10.0.0.1:9")], "it sees a loopback address itself");
        set.offer(vec![at("10.0.0.1:9")]);
        set.offer(vec![at("10.0.0.2:9")]);
        wait_for("it is told of the change", || all().last() == Some(&vec![at("10.0.0.2:9")]));
        set.offer(vec![at("10.0.0.2:9")]);
        assert_eq!(all().len(), 2, "what it knows is not told again");
        set.stop(PATIENCE);
    }

    #[test]
    fn a_tracker_of_before_is_asked_once() {
        let fake = Fake::start(|request| match request {
            Request::Candidates { .. } => {
                Act::Answer(Box::new(Reply::Refused(Refusal::Unsupported)))
            }
            _ => usual(request),
        });
        let (set, _news) = set_of(&[&fake]);
        log_in(&set);
        set.offer(vec![at("10.0.0.1:9")]);
        let is_older = || {
            let state = set.shared.state.lock();
            state.links[0].live.as_ref().is_some_and(|live| live.told.is_older)
        };
        wait_for("it has answered", is_older);
        set.offer(vec![at("10.0.0.2:9")]);
        assert!(matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))));
        assert_eq!(fake.count(|request| told(request).is_some()), 1);
        set.stop(PATIENCE);
    }

    #[test]
    fn where_a_tracker_saw_this_device_counts_until_the_networks_change() {
        let fakes = [Fake::start(usual), Fake::start(usual)];
        let (set, _news) = set_of(&[&fakes[0], &fakes[1]]);
        let offered = || set.shared.state.lock().candidates_for(0);
        let is_up = || set.shared.state.lock().links[1].live.is_some();
        wait_for("the second is up", is_up);
        let seen: SocketAddr = "198.51.100.1:9".parse().unwrap();
        {
            let mut state = set.shared.state.lock();
            assert!(state.links[1].last_observed.is_some(), "a loopback address is not told");
            state.links[1].live.as_mut().unwrap().observed = seen;
            state.links[1].last_observed = Some(seen);
        }
        let [_first, second] = fakes;
        assert_eq!(offered(), [Candidate::new(seen, CandidateKind::Observed)]);
        second.kill();
        wait_for("the second is down", || !is_up());
        assert_eq!(offered(), [Candidate::new(seen, CandidateKind::Observed)]);
        set.look_again();
        assert!(offered().is_empty());
        set.stop(PATIENCE);
    }
}
