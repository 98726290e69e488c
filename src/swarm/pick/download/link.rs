//! One link as the download sees it.
//!
//! **Invariant:** `in_flight` is the sum of what the chunks still lack; no piece is in two chunks.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::super::window::{SpeedMeter, Window};
use super::chunk::{Chunk, block_len};
use super::values::{LinkTraits, Options};
use crate::types::{Geometry, PieceIndex, Span};

/// Suggestions remembered: a peer that sends more replaces its oldest.
const SUGGESTIONS_MAX: usize = 64;
/// Time over which the shown rate is averaged.
const RATE_FADE: Duration = Duration::from_secs(2);
/// A link that brought nothing for so long is shown as standing still.
pub(super) const STILL_AFTER: Duration = Duration::from_secs(2);
/// How long a link is left alone after its first reject while it serves us; doubles with each
/// further one.
const REJECT_PAUSE: Duration = Duration::from_millis(50);
/// Time for which requests run ahead on a link that is fast at least: if the system lets either end
/// wait for its processor for some milliseconds, the link does not stand still. Beyond 131 MB/s
/// that is more than two pieces.
const AHEAD_MIN: f64 = 0.008;
/// Most doublings of the pause: 6.4 s.
const REJECT_DOUBLINGS_MAX: u32 = 7;
/// How long a block has to come in parts before they tell the link's rate.
const TRICKLE_MIN: Duration = Duration::from_millis(1_500);
/// How long a piece is not asked of a link that did not bring it, if no other link can give it.
pub(super) const AVOID_TIME: Duration = Duration::from_secs(1);

/// A link's state.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) traits: LinkTraits,
    /// The most requests that the peer ever said it keeps: of so many it may still owe the answers.
    pub(super) requests_max_ever: u32,
    /// The peer lets us ask.
    pub(super) unchoked: bool,
    /// What the peer was told last.
    pub(super) interested: bool,
    /// Since when it has nothing that we lack.
    pub(super) dull_since: Option<Duration>,
    pub(super) window: Window,
    pub(super) rate: SpeedMeter,
    pub(super) chunks: Vec<Chunk>,
    pub(super) in_flight: u64,
    pub(super) received: u64,
    pub(super) suggestions: VecDeque<PieceIndex>,
    /// Pieces to ask elsewhere; from the time noted also here, if no other link has them.
    pub(super) avoid: BTreeMap<u32, Duration>,
    pub(super) strikes: u32,
    rejects: u32,
    /// Not asked before this time.
    pub(super) resume_at: Duration,
    /// Not looked for pieces to take over before this time.
    pub(super) look_at: Duration,
    /// Brought nothing for too long; one piece at a time until it does.
    pub(super) snubbed: bool,
    /// When it last brought anything, or was asked, or held back here.
    pub(super) alive: Duration,
    /// When it last brought data.
    came: Option<Duration>,
    /// The block that comes in parts now.
    trickle: Option<Trickle>,
}

/// A block of which parts were said to have come: when first, how much of it by then, and how much
/// by now.
#[derive(Debug, Clone, Copy)]
struct Trickle {
    since: Duration,
    first: u32,
    came: u32,
}

impl Link {
    pub(super) fn new(now: Duration, traits: LinkTraits) -> Self {
        Self {
            traits,
            requests_max_ever: traits.requests_max,
            unchoked: false,
            interested: false,
            dull_since: None,
            window: Window::default(),
            rate: SpeedMeter::new(now, RATE_FADE),
            chunks: Vec::new(),
            in_flight: 0,
            received: 0,
            suggestions: VecDeque::new(),
            avoid: BTreeMap::new(),
            strikes: 0,
            rejects: 0,
            resume_at: Duration::ZERO,
            look_at: Duration::ZERO,
            snubbed: false,
            alive: now,
            came: None,
            trickle: None,
        }
    }

    /// Notes that so many bytes of a block have come, and not all.
    pub(super) fn trickled(&mut self, now: Duration, came: u32) {
        let trickle = self.trickle.filter(|trickle| trickle.came <= came);
        let trickle = trickle.unwrap_or(Trickle { since: now, first: came, came });
        self.trickle = Some(Trickle { came, ..trickle });
    }

    /// Bytes per second of a block that has been coming in parts for long.
    pub(super) fn trickle_rate(&self, now: Duration) -> Option<f64> {
        let Trickle { since, first, came } = self.trickle?;
        let time = now.saturating_sub(since);
        (time >= TRICKLE_MIN).then(|| f64::from((came - first).max(1)) / time.as_secs_f64())
    }

    /// Bytes per second as measured by whole blocks, or less if the next one trickles.
    pub(super) fn rate_now(&self, now: Duration) -> Option<f64> {
        let whole = self.window.rate().filter(|&rate| rate > 0.0);
        match self.trickle_rate(now) {
            Some(rate) => Some(whole.map_or(rate, |whole| whole.min(rate))),
            None => whole,
        }
    }

    pub(super) fn data_came(&mut self, now: Duration) {
        self.alive = self.alive.max(now);
        self.came = self.came.max(Some(now));
    }

    /// Bytes per second lately; 0 when nothing came for [`STILL_AFTER`].
    pub(super) fn bytes_per_second(&self, now: Duration) -> f64 {
        let moves = |came: Duration| now.saturating_sub(came) < STILL_AFTER;
        if self.came.is_some_and(moves) { self.rate.get(now) } else { 0.0 }
    }

    /// Bytes that may be in flight.
    ///
    /// On a slow link the next piece is asked for when the last block of the one before is on its
    /// way, and no sooner: what waits in a slow peer's queue could have been had elsewhere, and
    /// rarity changes meanwhile. (Of 32 leechers at 5 MB/s in the simulator the last was complete
    /// after 1.18 times the bound with two whole pieces in flight, and 1.15 so.)
    pub(super) fn target(&self, geometry: &Geometry, options: &Options) -> u64 {
        let piece = u64::from(geometry.piece_len());
        if self.snubbed {
            return piece;
        }
        let min = piece * u64::from(options.window_pieces_min.max(1));
        let ahead = u64::from(self.block_len(options)) + self.window.target(0, u64::MAX);
        let min = match self.window.rate() {
            Some(rate) => {
                min.min(piece + ahead).max(options.window_max.min((rate * AHEAD_MIN) as u64))
            }
            None => min,
        };
        self.window.target(min, options.window_max.max(min))
    }

    pub(super) fn block_len(&self, options: &Options) -> u32 {
        block_len(&self.window, self.traits.block_len_max.min(options.block_len_max))
    }

    /// Tells whether one more piece fits into the window; the first always does. Depends on the
    /// link's own state alone.
    pub(super) fn fits(&self, geometry: &Geometry, options: &Options) -> bool {
        let piece = u64::from(geometry.piece_len());
        self.unchoked
            && (self.chunks.is_empty() || self.in_flight + piece <= self.target(geometry, options))
    }

    /// How full the window is, in 65,536ths.
    pub(super) fn load(&self, geometry: &Geometry, options: &Options) -> u64 {
        (self.in_flight << 16) / self.target(geometry, options).max(1)
    }

    /// Seconds until `bytes` more would have come, behind what was asked for already; none if
    /// nothing was measured.
    pub(super) fn time_for(&self, now: Duration, bytes: u64) -> Option<f64> {
        let rate = self.rate_now(now)?;
        Some(
            (self.in_flight + bytes) as f64 / rate
                + self.window.delay().unwrap_or_default().as_secs_f64(),
        )
    }

    /// Seconds until the link's chunk of the piece will have come, with all that was asked for
    /// before it.
    pub(super) fn time_left(&self, now: Duration, piece: PieceIndex) -> Option<f64> {
        let place = self.chunks.iter().position(|chunk| chunk.piece == piece)?;
        let bytes: u64 = self.chunks[..=place].iter().map(|chunk| u64::from(chunk.left)).sum();
        self.rate_now(now).map(|rate| bytes as f64 / rate)
    }

    pub(super) fn add(&mut self, chunk: Chunk) {
        self.in_flight += u64::from(chunk.left);
        self.chunks.push(chunk);
    }

    pub(super) fn remove(&mut self, piece: PieceIndex) -> Option<Chunk> {
        let place = self.chunks.iter().position(|chunk| chunk.piece == piece)?;
        let chunk = self.chunks.remove(place);
        self.in_flight -= u64::from(chunk.left);
        if self.chunks.iter().all(|chunk| chunk.outstanding() == 0) {
            self.window.idle();
        }
        Some(chunk)
    }

    /// The blocks that may be asked for now, oldest chunk first.
    pub(super) fn requests(&mut self, now: Duration, geometry: &Geometry) -> Vec<Span> {
        let mut outstanding: u32 = self.chunks.iter().map(Chunk::outstanding).sum();
        let (idle, max) = (outstanding == 0, self.traits.requests_max.max(1));
        let mut spans = Vec::new();
        for chunk in self.chunks.iter_mut().filter(|chunk| chunk.is_started()) {
            while outstanding < max
                && let Some(span) = chunk.next_request(geometry)
            {
                if idle && spans.is_empty() {
                    chunk.probe = Some(now);
                }
                outstanding += 1;
                spans.push(span);
            }
        }
        if !spans.is_empty() {
            self.window.requested(now, idle);
            // The time before it was asked does not count as silence.
            self.alive = if idle { self.alive.max(now) } else { self.alive };
        }
        spans
    }

    pub(super) fn delivered(&mut self, now: Duration, bytes: u32) {
        self.in_flight -= u64::from(bytes);
        self.received += u64::from(bytes);
        self.rate.add(now, u64::from(bytes));
        self.window.received(now, u64::from(bytes));
        self.data_came(now);
        self.trickle = None;
        self.snubbed = false;
        self.rejects = 0;
    }

    /// Notes a reject while the peer serves us: such a link is asked ever less often, so that it
    /// cannot keep us busy.
    pub(super) fn rejected(&mut self, now: Duration) {
        self.resume_at = now + REJECT_PAUSE * (1 << self.rejects.min(REJECT_DOUBLINGS_MAX));
        self.rejects += 1;
    }

    pub(super) fn suggest(&mut self, piece: PieceIndex) {
        if self.suggestions.len() == SUGGESTIONS_MAX {
            self.suggestions.pop_front();
        }
        if !self.suggestions.contains(&piece) {
            self.suggestions.push_back(piece);
        }
    }
}
