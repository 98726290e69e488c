//! Whose block goes next while what is sent is limited.
//!
//! **Invariant:** at most one portion is given at a time the bucket allows one, to one of those that wait; devices that always wait get the same within
//! a turn; a message that was begun ends in time.
//!
//! Devices take turns of up to a piece, as far as that takes no more than half a second: a piece is of use to the swarm once it is whole, and at a low
//! rate everybody is to hear something now and then. Two rules keep messages within the minute that the other end allows. A message is
//! only begun while those that were begun before it will have gone soon. And one that was begun long ago goes before everything else.
//!
//! Pure: time is an argument, the number of a ticket says who is meant.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Bucket, Fair};
use crate::types::limits::PIECE_LEN;
use crate::types::{DeviceId, Rate};

/// Seconds between two portions, as far as their sizes allow.
const PORTION_TIME: f64 = 0.05;
const PORTION_MIN: u64 = 1 << 10;
/// Bytes sent by one system call or two.
const PORTION_MAX: u64 = 256 << 10;
/// Seconds that a device's turn may take.
const TURN_TIME: f64 = 0.5;
/// Seconds that all messages which were begun may need, for another to be begun.
const BEGUN_TIME: f64 = 25.0;
/// Age at which a message goes before all others.
const OVERDUE: Duration = Duration::from_secs(15);
/// A writer that is back after longer sits on a socket that takes nothing: nobody waits for it.
const STUCK: Duration = Duration::from_secs(1);

/// Names one message that is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::swarm) struct Ticket(u64);

/// Everybody who has something to send.
#[derive(Debug)]
pub(in crate::swarm) struct Turns {
    bucket: Bucket,
    fair: Fair<DeviceId>,
    senders: BTreeMap<Ticket, Sender>,
    /// Whose turn it is, and what they had of it.
    turn: Option<(DeviceId, u64)>,
    last: u64,
}

#[derive(Debug)]
struct Sender {
    device: DeviceId,
    /// Bytes of the message that have not been given.
    left: u64,
    /// Since when it is being sent.
    begun: Option<Duration>,
    /// Since when it is away writing a portion; none while it waits for one.
    writes: Option<Duration>,
}

impl Sender {
    fn waits(&self) -> bool {
        self.writes.is_none()
    }
}

impl Turns {
    pub(in crate::swarm) fn new(rate: Option<Rate>) -> Self {
        Self { bucket: Bucket::new(rate), fair: Fair::new(), senders: BTreeMap::new(), turn: None, last: 0 }
    }

    pub(in crate::swarm) fn set_rate(&mut self, now: Duration, rate: Option<Rate>) {
        self.bucket.set_rate(now, rate);
    }

    /// A device is to be sent a message of about so many bytes: it waits for its turn.
    pub(in crate::swarm) fn join(&mut self, device: DeviceId, len: u64) -> Ticket {
        self.last += 1;
        self.senders.insert(Ticket(self.last), Sender { device, left: len, begun: None, writes: None });
        Ticket(self.last)
    }

    /// It is the ticket's turn: its message is being made.
    pub(in crate::swarm) fn begin(&mut self, now: Duration, ticket: Ticket) {
        if let Some(sender) = self.senders.get_mut(&ticket) {
            (sender.begun, sender.writes) = (Some(now), Some(now));
        }
    }

    /// Of its message so many bytes are to go: it waits for the next portion.
    pub(in crate::swarm) fn again(&mut self, ticket: Ticket, left: u64) {
        if let Some(sender) = self.senders.get_mut(&ticket) {
            (sender.left, sender.writes) = (left, None);
        }
    }

    /// Its message has gone, or will not go.
    pub(in crate::swarm) fn leave(&mut self, ticket: Ticket) {
        self.senders.remove(&ticket);
    }

    /// Who of those that wait is next, and when.
    pub(in crate::swarm) fn next(&self, now: Duration) -> Option<(Ticket, Duration)> {
        let overdue = self.waiting().filter_map(|(ticket, sender)| Some((sender.begun?, ticket)));
        let overdue = overdue.min().filter(|(begun, _)| now.saturating_sub(*begun) >= OVERDUE).map(|(_, ticket)| ticket);
        let may_begin = self.may_begin(now);
        let fitting = || self.waiting().filter(|(_, sender)| sender.begun.is_some() || may_begin(sender.left));
        let holder = self.turn.filter(|(_, had)| *had < self.turn_len()).map(|(device, _)| device);
        let next = overdue
            .or_else(|| fitting().find(|(_, sender)| Some(sender.device) == holder).map(|(ticket, _)| ticket))
            .or_else(|| fitting().min_by_key(|(_, sender)| self.fair.tag(sender.device)).map(|(ticket, _)| ticket))?;
        Some((next, self.bucket.ready_at(now)))
    }

    /// Gives the ticket its next portion; the bytes.
    pub(in crate::swarm) fn take(&mut self, now: Duration, ticket: Ticket) -> u64 {
        let least = self.waiting().map(|(_, sender)| self.fair.tag(sender.device)).min().unwrap_or(0);
        let portion = self.portion();
        let Some(sender) = self.senders.get_mut(&ticket) else { return 0 };
        let bytes = sender.left.min(portion);
        sender.left -= bytes;
        sender.writes = Some(now);
        let device = sender.device;
        self.bucket.take(now, bytes);
        self.fair.gave(device, bytes, least);
        // A turn that is over is so until another device has had one: whoever goes on because nobody else may begin gains nothing by it.
        let had = self.turn.filter(|(holder, _)| *holder == device).map_or(0, |(_, had)| had);
        self.turn = Some((device, had.saturating_add(bytes)));
        bytes
    }

    /// Bytes gathered into one message: what goes in a moment, so that other messages of the link need not wait for it.
    pub(in crate::swarm) fn batch_len(&self) -> u64 {
        self.portion()
    }

    fn waiting(&self) -> impl Iterator<Item = (Ticket, &Sender)> {
        self.senders.iter().filter(|(_, sender)| sender.waits()).map(|(ticket, sender)| (*ticket, sender))
    }

    fn portion(&self) -> u64 {
        self.of_rate(PORTION_TIME).clamp(PORTION_MIN, PORTION_MAX)
    }

    fn turn_len(&self) -> u64 {
        self.of_rate(TURN_TIME).min(u64::from(PIECE_LEN))
    }

    fn of_rate(&self, seconds: f64) -> u64 {
        self.bucket.rate().map_or(u64::MAX, |rate| (rate.get() as f64 * seconds) as u64)
    }

    /// Tells whether a message of so many bytes may be begun.
    fn may_begin(&self, now: Duration) -> impl Fn(u64) -> bool {
        let moves = |sender: &&Sender| sender.writes.is_none_or(|since| now.saturating_sub(since) < STUCK);
        let begun = || self.senders.values().filter(|sender| sender.begun.is_some()).filter(moves);
        let (any, left) = (begun().next().is_some(), begun().map(|sender| sender.left).sum::<u64>());
        let most = self.of_rate(BEGUN_TIME);
        move |len| !any || left.saturating_add(len) <= most
    }
}
