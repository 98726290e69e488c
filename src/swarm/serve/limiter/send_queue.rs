//! Which link sends next while the upload rate is limited.
//!
//! **Invariant:** at most one portion is given at a time the bucket allows one, to one of those
//! that wait; devices that always wait get the same within a turn; a message that was begun ends in
//! time.
//!
//! The one exception: where the limit is lowered so far that messages on their way could not end in
//! time, these go before everything else, and as fast as they must ([`HURRY_TIME`]). What was sent
//! of them would be lost otherwise, and sent again.
//!
//! Devices take turns of up to a piece, as far as that takes no more than half a second: a piece is
//! of use to the swarm once it is whole, and at a low rate every device hears something now and
//! then. Two rules keep messages within the minute that the other end allows. A message is only
//! begun while those that were begun before it will have gone soon. And one that was begun long ago
//! goes before everything else.
//!
//! Pure: time is an argument.

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
/// Time in which messages that were on their way when the limit was lowered are sent, if the limit
/// would take longer than [`BEGUN_TIME`]: shorter than the silence after which the other end gives
/// a block up.
const HURRY_TIME: f64 = 8.0;
/// A writer that takes longer for a portion sits on a socket that takes nothing: the others do not
/// wait for it.
const STUCK: Duration = Duration::from_secs(1);

/// Names one message that is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SenderId(u64);

/// The links that have something to send.
#[derive(Debug)]
pub(crate) struct SendQueue {
    bucket: Bucket,
    fair: Fair<DeviceId>,
    senders: BTreeMap<SenderId, Sender>,
    /// Whose turn it is, and what they had of it.
    turn: Option<(DeviceId, u64)>,
    /// What the messages that hurry may take.
    hurry: Bucket,
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
    /// Whether it was on its way when the limit became too low for it.
    hurries: bool,
}

impl Sender {
    fn waits(&self) -> bool {
        self.writes.is_none()
    }
}

impl SendQueue {
    pub(crate) fn new(rate: Option<Rate>) -> Self {
        let (bucket, hurry) = (Bucket::new(rate), Bucket::new(None));
        Self { bucket, fair: Fair::new(), senders: BTreeMap::new(), turn: None, hurry, last: 0 }
    }

    pub(crate) fn set_rate(&mut self, now: Duration, rate: Option<Rate>) {
        self.bucket.set_rate(now, rate);
        let begun = |sender: &&mut Sender| sender.begun.is_some();
        let left: u64 = self.senders.values_mut().filter(begun).map(|sender| sender.left).sum();
        let hurries = left > self.of_rate(BEGUN_TIME);
        self.senders.values_mut().filter(begun).for_each(|sender| sender.hurries = hurries);
        let least = Rate::new((left as f64 / HURRY_TIME) as u64).ok();
        // Where the least rate there is does it, the limit does.
        self.hurry = Bucket::new(least.max(rate).filter(|_| hurries));
    }

    pub(crate) fn join(&mut self, device: DeviceId, len: u64) -> SenderId {
        self.last += 1;
        self.senders.insert(
            SenderId(self.last),
            Sender { device, left: len, begun: None, writes: None, hurries: false },
        );
        SenderId(self.last)
    }

    /// Notes that the sender's message is being made.
    pub(crate) fn begin(&mut self, now: Duration, id: SenderId) {
        if let Some(sender) = self.senders.get_mut(&id) {
            (sender.begun, sender.writes) = (Some(now), Some(now));
        }
    }

    /// Has a sender wait for the next portion of its message, of which `left` bytes are to go.
    pub(crate) fn again(&mut self, id: SenderId, left: u64) {
        if let Some(sender) = self.senders.get_mut(&id) {
            (sender.left, sender.writes) = (left, None);
        }
    }

    /// Passes a sender over for a while.
    pub(crate) fn leave_for(&mut self, now: Duration, id: SenderId) {
        if let Some(sender) = self.senders.get_mut(&id) {
            sender.writes = Some(now);
        }
    }

    /// Has a sender that was passed over wait again.
    pub(crate) fn back(&mut self, id: SenderId) {
        if let Some(sender) = self.senders.get_mut(&id) {
            sender.writes = None;
        }
    }

    pub(crate) fn leave(&mut self, id: SenderId) {
        self.senders.remove(&id);
    }

    /// Returns the waiting sender that is next, and when it may send.
    pub(crate) fn next(&self, now: Duration) -> Option<(SenderId, Duration)> {
        let hurried = self
            .waiting()
            .filter(|(_, sender)| sender.hurries)
            .min_by_key(|(_, sender)| sender.begun);
        if let Some((id, _)) = hurried {
            return Some((id, self.hurry.ready_at(now)));
        }
        let overdue = self.waiting().filter_map(|(id, sender)| Some((sender.begun?, id)));
        let overdue = overdue
            .min()
            .filter(|(begun, _)| now.saturating_sub(*begun) >= OVERDUE)
            .map(|(_, id)| id);
        let may_begin = self.may_begin(now);
        let fitting = || {
            self.waiting().filter(|(_, sender)| sender.begun.is_some() || may_begin(sender.left))
        };
        let holder = self.turn.filter(|(_, had)| *had < self.turn_len()).map(|(device, _)| device);
        let next = overdue
            .or_else(|| {
                fitting().find(|(_, sender)| Some(sender.device) == holder).map(|(id, _)| id)
            })
            .or_else(|| {
                fitting().min_by_key(|(_, sender)| self.fair.tag(sender.device)).map(|(id, _)| id)
            })?;
        Some((next, self.bucket.ready_at(now)))
    }

    /// Gives a sender its next portion; returns the bytes.
    pub(crate) fn take(&mut self, now: Duration, id: SenderId) -> u64 {
        let least =
            self.waiting().map(|(_, sender)| self.fair.tag(sender.device)).min().unwrap_or(0);
        let Some(sender) = self.senders.get_mut(&id) else { return 0 };
        let bucket = if sender.hurries { &mut self.hurry } else { &mut self.bucket };
        let bytes = sender.left.min(portion(bucket));
        sender.left -= bytes;
        sender.writes = Some(now);
        let device = sender.device;
        bucket.take(now, bytes);
        self.fair.gave(device, bytes, least);
        // A turn stays over until another device has had one: a device that goes on because no
        // other may begin gains nothing by it.
        let had = self.turn.filter(|(holder, _)| *holder == device).map_or(0, |(_, had)| had);
        self.turn = Some((device, had.saturating_add(bytes)));
        bytes
    }

    /// Bytes gathered into one message: what goes in a moment, so that other messages of the link
    /// need not wait for it.
    pub(crate) fn batch_len(&self) -> u64 {
        portion(&self.bucket)
    }

    fn waiting(&self) -> impl Iterator<Item = (SenderId, &Sender)> {
        self.senders.iter().filter(|(_, sender)| sender.waits()).map(|(id, sender)| (*id, sender))
    }

    fn turn_len(&self) -> u64 {
        self.of_rate(TURN_TIME).min(u64::from(PIECE_LEN))
    }

    fn of_rate(&self, seconds: f64) -> u64 {
        of_rate(&self.bucket, seconds)
    }

    fn may_begin(&self, now: Duration) -> impl Fn(u64) -> bool {
        let moves =
            |sender: &&Sender| sender.writes.is_none_or(|since| now.saturating_sub(since) < STUCK);
        let begun = || self.senders.values().filter(|sender| sender.begun.is_some()).filter(moves);
        let (any, left) =
            (begun().next().is_some(), begun().map(|sender| sender.left).sum::<u64>());
        let most = self.of_rate(BEGUN_TIME);
        move |len| !any || left.saturating_add(len) <= most
    }
}

/// Bytes that go in so many seconds.
fn of_rate(bucket: &Bucket, seconds: f64) -> u64 {
    bucket.rate().map_or(u64::MAX, |rate| (rate.get() as f64 * seconds) as u64)
}

/// Bytes given at a time.
fn portion(bucket: &Bucket) -> u64 {
    of_rate(bucket, PORTION_TIME).clamp(PORTION_MIN, PORTION_MAX)
}
