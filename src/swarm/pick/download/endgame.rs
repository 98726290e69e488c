//! The last pieces: asked for twice where a slow or silent link holds up the end, and hardly
//! anywhere else.
//!
//! The rule compares two estimates: when the piece will come from where it was asked, and when it
//! would come from the link that has room now. Only a gain of half the time is worth a duplicate,
//! and all duplicates together are bounded, except where a link has gone silent.

use std::time::Duration;

use super::{Active, Download, LinkKey, PieceState};
use crate::types::PieceIndex;

/// Copies of one piece on their way at once.
pub(super) const COPIES_MAX: usize = 2;
/// Silence that makes a duplicate worth it against any estimate.
const SILENCE: Duration = Duration::from_secs(2);
/// A duplicate must save at least this, in seconds: below it, it arrives with the original.
const GAIN_MIN: f64 = 0.25;
/// Duplicates by estimate may add up to one part in this of the file.
const DUPLICATES_PART: u64 = 128;
/// A few pieces are always allowed.
const DUPLICATES_MIN: u64 = 4;

/// Under which terms a piece may be asked for twice by estimate.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    /// Up to one part in this of the file.
    pub(super) part: u64,
    /// Bytes of these that are used up.
    pub(super) used: u64,
    /// If nothing is known of the link's rate, a piece is expected to take as long again as it has
    /// taken.
    pub(super) is_impatient: bool,
}

impl Download {
    /// Tells whether every piece is verified or on its way, and some are on their way.
    pub(super) fn is_endgame(&self) -> bool {
        self.picker.count_of(PieceState::Missing) == 0
            && self.picker.count_of(PieceState::Queued) + self.picker.count_of(PieceState::InFlight)
                > 0
    }

    /// Chooses a piece to ask this link for as well: the one that would otherwise come last.
    pub(super) fn duplicate_for(&mut self, now: Duration, link: LinkKey) -> Option<PieceIndex> {
        let terms = Terms { part: DUPLICATES_PART, used: self.duplicated, is_impatient: false };
        let worth = |(&piece, active): (&PieceIndex, &Active)| {
            Some((self.gain(now, link, piece, active, terms)?, piece))
        };
        let (_, piece) = self.active.iter().filter_map(worth).max_by(|a, b| a.0.total_cmp(&b.0))?;
        self.duplicated += u64::from(self.geometry.len_of(piece));
        Some(piece)
    }

    /// Seconds that a second copy over `link` would save; none if it is not worth its bytes.
    pub(super) fn gain(
        &self,
        now: Duration,
        link: LinkKey,
        piece: PieceIndex,
        active: &Active,
        terms: Terms,
    ) -> Option<f64> {
        let mine = self.links.get(link)?;
        let other = *active.copies.first().filter(|_| active.copies.len() < COPIES_MAX)?;
        let theirs = self.links.get(other)?;
        let chunk = theirs.chunks.iter().find(|chunk| chunk.piece == piece)?;
        if other == link
            || mine.avoid.contains_key(&piece.get())
            || !self.picker.offers(link, piece.get())
        {
            return None;
        }
        let silent = now.saturating_sub(chunk.progress.max(theirs.alive));
        if chunk.is_started() && silent >= SILENCE && !mine.snubbed {
            return Some(f64::MAX);
        }
        let cost = u64::from(self.geometry.len_of(piece));
        let bound = (self.geometry.len() / terms.part)
            .max(DUPLICATES_MIN * u64::from(self.geometry.piece_len()));
        if terms.used + cost > bound {
            return None;
        }
        let waited = now.saturating_sub(chunk.progress).as_secs_f64();
        let unknown = || terms.is_impatient.then_some(waited);
        let (here, there) =
            (mine.time_for(now, cost)?, theirs.time_left(now, piece).or_else(unknown)?);
        (there > 2.0 * here && there > here + GAIN_MIN).then_some(there - here)
    }
}
