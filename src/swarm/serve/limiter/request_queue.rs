//! Requests that wait while the download rate is limited.
//!
//! **Invariant:** a request goes when its download's own limit and that of all allow it; among
//! downloads that always have one to send, the limit is divided evenly, and what one does not use
//! goes to the others.
//!
//! A download holds little more than goes in a moment ([`RequestQueue::has_room`]), so that it can
//! still choose pieces and links when the time comes. Among the links of a download that choice is
//! the download's: it asks the one that has least to bring.
//!
//! Pure: time is an argument; `T` is the request.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Bucket, Fair};
use crate::types::{InfoHash, Rate};

/// Seconds' worth of requests that a download holds.
const AHEAD: f64 = 0.1;

/// The requests that wait.
#[derive(Debug)]
pub(crate) struct RequestQueue<T> {
    bucket: Bucket,
    fair: Fair<InfoHash>,
    flows: BTreeMap<InfoHash, Flow<T>>,
}

#[derive(Debug)]
struct Flow<T> {
    bucket: Bucket,
    waiting: VecDeque<(u64, T)>,
    bytes: u64,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NextRequest<T> {
    /// Send this.
    Send(InfoHash, T),
    /// Nothing before that time.
    At(Duration),
    /// No request waits.
    Nothing,
}

impl<T> Flow<T> {
    fn new() -> Self {
        Self { bucket: Bucket::new(None), waiting: VecDeque::new(), bytes: 0 }
    }

    fn drop_dead(&mut self, lives: &impl Fn(&T) -> bool) {
        while let Some((len, _)) = self.waiting.front().filter(|(_, item)| !lives(item)) {
            self.bytes -= len;
            self.waiting.pop_front();
        }
    }
}

impl<T> RequestQueue<T> {
    pub(crate) fn new(rate: Option<Rate>) -> Self {
        Self { bucket: Bucket::new(rate), fair: Fair::new(), flows: BTreeMap::new() }
    }

    /// Tells whether anything is limited, or still waits from when it was.
    pub(crate) fn is_any_limited(&self) -> bool {
        self.bucket.rate().is_some() || !self.flows.is_empty()
    }

    pub(crate) fn is_limited(&self, flow: InfoHash) -> bool {
        self.bucket.rate().is_some() || self.flows.contains_key(&flow)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.flows.values().all(|flow| flow.waiting.is_empty())
    }

    pub(crate) fn set_rate(&mut self, now: Duration, rate: Option<Rate>) {
        self.bucket.set_rate(now, rate);
    }

    pub(crate) fn set_limit(&mut self, now: Duration, flow: InfoHash, rate: Option<Rate>) {
        self.flows.entry(flow).or_insert_with(Flow::new).bucket.set_rate(now, rate);
        self.tidy(flow);
    }

    pub(crate) fn rate_of(&self, flow: InfoHash) -> Option<Rate> {
        let own = self.flows.get(&flow).and_then(|flow| flow.bucket.rate());
        own.into_iter().chain(self.bucket.rate()).min()
    }

    /// Holds a request for so many bytes.
    pub(crate) fn push(&mut self, flow: InfoHash, len: u64, item: T) {
        let flow = self.flows.entry(flow).or_insert_with(Flow::new);
        flow.waiting.push_back((len, item));
        flow.bytes += len;
    }

    /// Tells whether the download may choose something more to ask for. Requests that do not live
    /// any more are dropped.
    pub(crate) fn has_room(&mut self, flow: InfoHash, lives: impl Fn(&T) -> bool) -> bool {
        let ahead = self.rate_of(flow).map_or(f64::INFINITY, |rate| rate.get() as f64 * AHEAD);
        let Some(flow) = self.flows.get_mut(&flow) else { return true };
        flow.drop_dead(&lives);
        flow.bytes == 0 || (flow.bytes as f64) < ahead
    }

    /// The requests of the download that wait.
    pub(crate) fn of(&self, flow: InfoHash) -> impl Iterator<Item = &T> {
        self.flows.get(&flow).into_iter().flat_map(|flow| flow.waiting.iter().map(|(_, item)| item))
    }

    /// Takes the next request that may go. Requests that are not live any more are dropped,
    /// and cost nothing.
    pub(crate) fn next(&mut self, now: Duration, lives: impl Fn(&T) -> bool) -> NextRequest<T> {
        self.flows.values_mut().for_each(|flow| flow.drop_dead(&lives));
        self.flows.retain(|_, flow| !flow.waiting.is_empty() || flow.bucket.rate().is_some());
        let waiting = || self.flows.iter().filter(|(_, flow)| !flow.waiting.is_empty());
        let all = self.bucket.ready_at(now);
        let Some(own) = waiting().map(|(_, flow)| flow.bucket.ready_at(now)).min() else {
            return NextRequest::Nothing;
        };
        if own.max(all) > now {
            return NextRequest::At(own.max(all));
        }
        let ready = waiting().filter(|(_, flow)| flow.bucket.ready_at(now) <= now);
        let Some((tag, key)) = ready.map(|(key, _)| (self.fair.tag(*key), *key)).min() else {
            return NextRequest::Nothing;
        };
        let Some(flow) = self.flows.get_mut(&key) else { return NextRequest::Nothing };
        let Some((len, item)) = flow.waiting.pop_front() else { return NextRequest::Nothing };
        flow.bytes -= len;
        flow.bucket.take(now, len);
        self.bucket.take(now, len);
        self.fair.gave(key, len, tag);
        self.tidy(key);
        NextRequest::Send(key, item)
    }

    fn tidy(&mut self, flow: InfoHash) {
        if self
            .flows
            .get(&flow)
            .is_some_and(|flow| flow.waiting.is_empty() && flow.bucket.rate().is_none())
        {
            self.flows.remove(&flow);
        }
    }
}
