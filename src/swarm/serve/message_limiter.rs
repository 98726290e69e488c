//! Limits of the messages on one link: of each that costs us more than it costs the peer, no more
//! than an honest peer has reason to send.
//!
//! **Invariant:** what a link makes us do is bounded by the data that moves on it, by the file, or
//! by time.
//!
//! Pure; kept by the link's reader.

use std::time::{Duration, Instant};

use crate::types::Sha1Digest;
use crate::types::limits::METADATA_PART_LEN;
use crate::wire::peer::PeerMessage;

/// Newer tickets shown: one a second, and a few at once, as when a tracker comes back. Each costs a
/// check of a signature.
const TICKETS: (u32, u32) = (3, 1);
/// Messages that move no data, at once and a second: each takes the file's lock for some
/// microseconds. A swarm that moves 2,000 pieces a second comes to a few thousand.
const CHATTER: (u32, u32) = (20_000, 10_000);
/// How often each part of the metainfo and of the chaining values may be asked for on one link: it
/// is served without a slot. One that arrives spoilt is asked for again.
const PARTS_FACTOR: u64 = 3;
/// Parts beyond that: no metainfo is smaller than this.
const PARTS_MIN: u64 = 64;
/// How often each piece may be announced: once is enough.
const HAVES_FACTOR: u64 = 2;
/// Announcements beyond that.
const HAVES_MIN: u64 = 256;

/// What a peer may still send.
#[derive(Debug)]
pub(crate) struct MessageLimiter {
    tickets: EventLimiter,
    chatter: EventLimiter,
    haves_left: u64,
    parts_left: u64,
}

impl MessageLimiter {
    pub(crate) fn new(piece_count: u32) -> Self {
        let pieces = u64::from(piece_count);
        // A piece has as many bytes in the one as in the other.
        let parts = (pieces * Sha1Digest::LEN as u64).div_ceil(METADATA_PART_LEN as u64) + 1;
        Self {
            tickets: EventLimiter::new(TICKETS),
            chatter: EventLimiter::new(CHATTER),
            haves_left: HAVES_FACTOR * pieces + HAVES_MIN,
            parts_left: PARTS_FACTOR * 2 * parts + PARTS_MIN,
        }
    }

    /// Counts a message.
    ///
    /// # Errors
    /// In what way it is too much.
    pub(crate) fn count(
        &mut self,
        message: &PeerMessage,
        now: Instant,
    ) -> Result<(), &'static str> {
        match message {
            PeerMessage::Have(_) => {
                take(&mut self.haves_left, "it announces the same pieces again and again")
            }
            // Answered with data, and bounded by its queue; a refusal is counted by
            // `count_refusal`.
            PeerMessage::Request { .. } => Ok(()),
            _ if self.chatter.take(now) => Ok(()),
            _ => Err("it talks without end"),
        }
    }

    /// Counts a request that was refused.
    pub(crate) fn count_refusal(&mut self, now: Instant) -> Result<(), &'static str> {
        if self.chatter.take(now) {
            Ok(())
        } else {
            Err("it asks without end for what it does not get")
        }
    }

    /// Counts a request for a part of the metainfo or of the chaining values.
    pub(crate) fn count_part(&mut self) -> Result<(), &'static str> {
        take(&mut self.parts_left, "it asks for the metainfo again and again")
    }

    /// Counts a newer ticket, before it is looked at.
    pub(crate) fn count_ticket(&mut self, now: Instant) -> Result<(), &'static str> {
        if self.tickets.take(now) { Ok(()) } else { Err("it shows one ticket after the other") }
    }
}

fn take(left: &mut u64, otherwise: &'static str) -> Result<(), &'static str> {
    *left = left.checked_sub(1).ok_or(otherwise)?;
    Ok(())
}

/// A number of events at once, and a number a second.
#[derive(Debug)]
struct EventLimiter {
    burst: u32,
    /// Time from one to the next, in the long run.
    gap: Duration,
    /// When all will be there again.
    full_at: Option<Instant>,
}

impl EventLimiter {
    fn new((burst, per_second): (u32, u32)) -> Self {
        Self { burst, gap: Duration::from_secs(1) / per_second, full_at: None }
    }

    fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + self.gap;
        let fits = full_at - now <= self.gap * self.burst;
        if fits {
            self.full_at = Some(full_at);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limiter_allows_a_burst_and_then_its_rate() {
        let (mut limiter, start) = (EventLimiter::new((3, 2)), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(
            (0..5).map(|_| limiter.take(at(0))).collect::<Vec<_>>(),
            [true, true, true, false, false]
        );
        assert!(!limiter.take(at(499)) && limiter.take(at(500)) && !limiter.take(at(500)));
        assert_eq!(
            (0..5).map(|_| limiter.take(at(60_000))).collect::<Vec<_>>(),
            [true, true, true, false, false]
        );
    }

    #[test]
    fn an_honest_peer_is_never_too_much_and_a_flood_is() {
        let (mut limiter, now) = (MessageLimiter::new(100), Instant::now());
        for piece in 0..100 {
            assert!(limiter.count(&PeerMessage::Have(piece), now).is_ok());
            assert!(piece >= 60 || limiter.count_part().is_ok());
            assert!(limiter.count(&PeerMessage::Request { piece, begin: 0, len: 1 }, now).is_ok());
        }
        assert!((0..1_000).any(|_| limiter.count(&PeerMessage::Have(1), now).is_err()));
        assert!((0..100).any(|_| limiter.count_part().is_err()));
        assert!((0..10).any(|_| limiter.count_ticket(now).is_err()));
        assert!((0..30_000).any(|_| limiter.count(&PeerMessage::Interested, now).is_err()));
        assert!(limiter.count_refusal(now).is_err());
    }
}
