//! Which tracker was of no use to which client, and when. Pure but for the moment at which a fault
//! is noted.
//!
//! **Invariant:** a period covers its fault from before it begins until after it has ended.

use std::time::{Duration, Instant};

use super::history::Request;
use super::schedule::{Action, Node};

/// Seconds by which a clock may be wrong while the tracker is still to be of use.
const CLOCK_TOLERANCE: i64 = 60;

/// Whom a fault keeps from a tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Case {
    tracker: usize,
    /// One client, or all.
    client: Option<usize>,
    /// The kind of fault: an end ends those of its kind alone.
    kind: &'static str,
}

/// Periods in which trackers were of no use.
#[derive(Debug)]
pub(crate) struct Impairments {
    start: Instant,
    open: Vec<(Case, Duration)>,
    closed: Vec<(Case, Duration, Duration)>,
}

impl Impairments {
    /// Starts with everything in order.
    pub(crate) fn new(start: Instant) -> Self {
        Self { start, open: Vec::new(), closed: Vec::new() }
    }

    /// Notes what an action puts out of order, before it is carried out.
    pub(crate) fn begin(&mut self, action: &Action) {
        let now = self.start.elapsed();
        match action {
            Action::Freeze(tracker) => self.open_all(*tracker, "process", now),
            Action::HangDisk(tracker) | Action::FillDisk(tracker) => {
                self.open_all(*tracker, "disk", now)
            }
            Action::Kill(tracker) | Action::Copy(tracker) | Action::Restore(tracker) => {
                self.open_all(*tracker, "process", now)
            }
            Action::Unplug(tracker) => self.open_all(*tracker, "cable", now),
            Action::Clock(tracker, seconds) if seconds.abs() > CLOCK_TOLERANCE => {
                self.open_all(*tracker, "clock", now)
            }
            Action::Cut(ways) => {
                for way in ways {
                    if let (Node::Tracker(tracker), Node::Client(client))
                    | (Node::Client(client), Node::Tracker(tracker)) = (way.from, way.to)
                    {
                        self.open.push((Case { tracker, client: Some(client), kind: "cut" }, now));
                    }
                }
            }
            _ => {}
        }
    }

    /// Notes what an action has put in order.
    pub(crate) fn end(&mut self, action: &Action) {
        match action {
            Action::Thaw(tracker)
            | Action::Start(tracker)
            | Action::Copy(tracker)
            | Action::Restore(tracker) => {
                self.close(|case| case.tracker == *tracker && case.kind == "process");
            }
            Action::FreeDisk(tracker) | Action::DrainDisk(tracker) => {
                self.close(|case| case.tracker == *tracker && case.kind == "disk");
            }
            Action::Plug(tracker) => {
                self.close(|case| case.tracker == *tracker && case.kind == "cable")
            }
            Action::Clock(tracker, seconds) if seconds.abs() <= CLOCK_TOLERANCE => {
                self.close(|case| case.tracker == *tracker && case.kind == "clock");
            }
            Action::Cut(ways) if ways.is_empty() => self.close(|case| case.kind == "cut"),
            _ => {}
        }
    }

    fn open_all(&mut self, tracker: usize, kind: &'static str, now: Duration) {
        self.open.push((Case { tracker, client: None, kind }, now));
    }

    fn close(&mut self, is_over: impl Fn(&Case) -> bool) {
        let now = self.start.elapsed();
        let (over, open) =
            std::mem::take(&mut self.open).into_iter().partition(|(case, _)| is_over(case));
        self.open = open;
        self.closed.extend(Vec::into_iter(over).map(|(case, from)| (case, from, now)));
    }

    /// Whether one of `trackers` trackers was of use to the request's client all the time that the
    /// request took.
    pub(crate) fn had_tracker(&self, request: &Request, trackers: usize) -> bool {
        let concerns = |case: &Case, tracker| {
            case.tracker == tracker && case.client.is_none_or(|one| one == request.client)
        };
        let is_open = |tracker| {
            self.open.iter().any(|(case, from)| concerns(case, tracker) && *from <= request.ended)
        };
        let was_open = |tracker| {
            let mut closed = self.closed.iter();
            closed.any(|(case, from, to)| {
                concerns(case, tracker) && *from <= request.ended && *to >= request.asked
            })
        };
        (1..=trackers).any(|tracker| !is_open(tracker) && !was_open(tracker))
    }
}
