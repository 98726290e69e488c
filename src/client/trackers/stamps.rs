//! The times of this client's requests.
//!
//! **Invariant:** the times increase, and each is above every stamp that a tracker has sent, except
//! for stamps further ahead than [`REACH`]: a tracker whose clock is right would refuse them. So a
//! change that the user makes after another one was acknowledged wins over a late copy of that one.
//! Later times of copies ([`TrackerSet::ask_later`]) count like those of requests.
//!
//! The network's clock is an argument: [`super::clock`] estimates it. Pure.

use std::time::Duration;

use super::TrackerSet;
use crate::types::limits::REQUEST_TIME_MAX;
use crate::types::{FileEntry, MemberEntry, Refusal, RequestEntry, RequestId, RequestStamp, Stamp};
use crate::wire::tracker::{Reply, Request};

/// How far a request's time may be ahead of the estimated clock: half of the tracker's limit, since
/// the tracker's own clock differs from the estimate.
const REACH: Duration = Duration::from_secs(REQUEST_TIME_MAX.as_secs() / 2);

/// Makes the times of requests.
#[derive(Debug, Default)]
pub(super) struct RequestClock {
    /// The largest time that was used, or received within reach.
    last: Stamp,
}

impl RequestClock {
    /// Continues after the last time of an earlier run.
    pub(super) fn resume(&mut self, last: Stamp) {
        self.last = self.last.max(last);
    }

    /// Notes a stamp that a tracker has sent.
    pub(super) fn told(&mut self, stamp: Stamp, now_ms: u64) {
        if stamp <= reach(now_ms) {
            self.last = self.last.max(stamp);
        }
    }

    /// Makes the time of a new request.
    pub(super) fn next(&mut self, now_ms: u64) -> Stamp {
        let above = self.last.next().filter(|above| *above <= reach(now_ms)).unwrap_or(Stamp::ZERO);
        self.last = above.max(Stamp::new(now_ms, 0));
        self.last
    }

    /// Makes a time above that stamp. The tracker that sent it accepts times that far ahead.
    fn next_above(&mut self, stamp: Stamp, now_ms: u64) -> Stamp {
        self.told(stamp, now_ms);
        self.next(now_ms).max(stamp.next().unwrap_or(stamp))
    }
}

fn reach(now_ms: u64) -> Stamp {
    Stamp::new(now_ms.saturating_add(REACH.as_millis() as u64), u16::MAX)
}

impl TrackerSet {
    /// Makes the stamp of a new changing request. Every copy of the request carries it.
    pub(crate) fn request_stamp(&self) -> RequestStamp {
        let mut state = self.shared.state.lock();
        let now_ms = state.now_ms();
        RequestStamp { id: new_id(), at: state.requests.next(now_ms) }
    }

    /// The largest request time so far, to be stored for the next run; `None` if it is that of
    /// earlier runs.
    pub(crate) fn last_request_time(&self) -> Option<Stamp> {
        Some(self.shared.state.lock().requests.last)
            .filter(|last| *last > self.shared.options.last_request)
    }

    /// Gives a request that no tracker has acknowledged a time above that stamp, unless it has one.
    /// It keeps its id: if a tracker has carried out an earlier copy, the id keeps it from doing so
    /// twice.
    pub(super) fn ask_later(&self, request: &mut Request, above: Stamp) {
        let mut state = self.shared.state.lock();
        let now_ms = state.now_ms();
        if let Some(stamp) = request.stamp_mut().filter(|stamp| stamp.at <= above) {
            stamp.at = state.requests.next_above(above, now_ms);
        }
    }

    /// Gives a request that no tracker has carried out a new stamp, by the clock of the tracker
    /// that is asked next.
    pub(super) fn stamp_again(&self, request: &mut Request, clock_ms: u64) {
        let at = self.shared.state.lock().requests.next(clock_ms);
        if let Some(stamp) = request.stamp_mut() {
            *stamp = RequestStamp { id: new_id(), at };
        }
    }
}

fn new_id() -> RequestId {
    RequestId::from_bytes(rand::random())
}

/// The largest stamp in a reply.
pub(super) fn told_by(reply: &Reply) -> Option<Stamp> {
    match reply {
        Reply::Done(success) => Some(success.stamp),
        Reply::Refused(Refusal::Overtaken { above }) => Some(*above),
        Reply::Renewed(token) => Some(token.claims.password.stamp),
        Reply::Resolved(resolved) => resolved.file.as_ref().map(|file| file.at),
        Reply::Members { entries, .. } => {
            entries.iter().map(|entry: &MemberEntry| entry.since).max()
        }
        Reply::Requests { entries, .. } => {
            entries.iter().map(|entry: &RequestEntry| entry.since).max()
        }
        Reply::Files { entries, .. } => entries.iter().map(|entry: &FileEntry| entry.at).max(),
        Reply::File(file) => Some(file.at),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000_000;
    const REACH_MS: u64 = REACH.as_millis() as u64;

    #[test]
    fn times_increase_also_when_the_clock_is_set_back_a_little() {
        let mut clock = RequestClock::default();
        let first = clock.next(NOW);
        assert_eq!(first, Stamp::new(NOW, 0));
        assert_eq!(clock.next(NOW), Stamp::new(NOW, 1));
        assert_eq!(clock.next(NOW - REACH_MS), Stamp::new(NOW, 2));
        assert_eq!(clock.next(NOW + 1), Stamp::new(NOW + 1, 0));
    }

    #[test]
    fn a_time_is_above_what_was_told_within_reach() {
        let mut clock = RequestClock::default();
        clock.told(Stamp::new(NOW + REACH_MS, 7), NOW);
        assert_eq!(clock.next(NOW), Stamp::new(NOW + REACH_MS, 8));
        clock.told(Stamp::new(NOW, 0), NOW);
        assert_eq!(clock.next(NOW), Stamp::new(NOW + REACH_MS, 9));
    }

    #[test]
    fn a_later_time_is_above_what_it_must_be_above_and_counts_within_reach() {
        let mut clock = RequestClock::default();
        clock.next(NOW);
        let near = Stamp::new(NOW + 5, 3);
        assert_eq!(clock.next_above(near, NOW), near.next().unwrap());
        assert_eq!(clock.next_above(near, NOW), Stamp::new(NOW + 5, 5));
        assert_eq!(clock.next_above(near, NOW + 9), Stamp::new(NOW + 9, 0));
        let far = Stamp::new(NOW + 2 * REACH_MS, 0);
        assert_eq!(clock.next_above(far, NOW + 9), far.next().unwrap());
        assert_eq!(clock.next(NOW + 9), Stamp::new(NOW + 9, 2));
    }

    #[test]
    fn a_stamp_of_a_tracker_whose_clock_is_wrong_does_not_carry_the_client_away() {
        let mut clock = RequestClock::default();
        let first = clock.next(NOW);
        clock.told(Stamp::new(NOW + 3_600_000, 0), NOW);
        assert_eq!(clock.next(NOW), first.next().unwrap());
        // The only tracker that answered was an hour ahead; then the right ones reconnect.
        clock.next(NOW + 3_600_000);
        assert_eq!(clock.next(NOW + 5), Stamp::new(NOW + 5, 0));
    }
}
