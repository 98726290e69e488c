//! Readers of a file that is being fetched: the pieces in front of them come before the rarest.
//!
//! **Invariant:** there are at most [`READERS_MAX`] windows of at most [`WINDOW_PIECES_MAX`] pieces,
//! so the cost of a choice does not depend on the number of pieces. Without readers, nothing here
//! is looked at.
//!
//! The order: the piece that each reader waits for, the first and the last piece of the file, where
//! players look for its index, then the windows, nearest first. A link takes the first of these
//! that no faster link would bring sooner: a slow link is not to hold up the reader. Of a link that
//! suggests pieces, because it spreads a new file, only the nearest are asked before these. If a
//! reader waits for a piece on its way over a slow link, another link is asked for it as well.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::endgame::Terms;
use super::link::Link;
use super::{Download, LinkKey, PieceState, ReaderKey};
use crate::types::PieceIndex;

/// Readers of one download.
pub(crate) const READERS_MAX: usize = 16;
/// Pieces in the window of one reader.
pub(crate) const WINDOW_PIECES_MAX: u32 = 32;
/// Pieces that a reader waits for may be asked for twice up to one part in this of the file.
const DUPLICATES_PART: u64 = 32;
/// Pieces in front of a reader that go before what a link suggests. More get to the reader no sooner:
/// a seeder that is the only source sends them twice, and all wait longer. (Of 8 leechers in the
/// simulator, one of which reads, the last was complete after 1.03 times as long as without a
/// reader, and 1.04 if a whole window goes before.)
const NEAR: u32 = 4;
/// How many times as long a piece must take here as elsewhere to be left to the others: links that
/// are about as fast share the work.
const LEAVE_GAIN: f64 = 1.25;

/// The windows, and what the links do together.
#[derive(Debug, Default)]
pub(super) struct Readers {
    windows: BTreeMap<ReaderKey, Range<u32>>,
    /// There is or was a reader.
    wants_ends: bool,
    /// Bytes a second of all links that serve us, at the last tick.
    rate: f64,
    /// Seconds that the fastest of them needs for a piece.
    best: f64,
    /// Bytes asked for twice so far.
    duplicated: u64,
}

impl Readers {
    /// The pieces in order, each with its distance from a reader.
    fn order(&self, count: u32) -> impl Iterator<Item = (u32, u32)> {
        let longest = self.windows.values().map(|window| window.end - window.start).max();
        let row = move |distance: u32| {
            let piece = move |window: &Range<u32>| {
                let piece = window.start + distance;
                (piece < window.end).then_some((piece, distance))
            };
            self.windows.values().filter_map(piece)
        };
        let ends = [0, count.saturating_sub(1)].into_iter().filter(move |piece| *piece < count);
        row(0)
            .chain(ends.filter(|_| self.wants_ends).map(|piece| (piece, 1)))
            .chain((1..longest.unwrap_or(0)).flat_map(row))
    }
}

impl Download {
    /// Sets the window of a reader: these pieces come before others, the first of them first.
    /// Pieces beyond the file and beyond 32 are left out. False if there are 16 other readers.
    pub fn set_reader(&mut self, reader: ReaderKey, window: Range<u32>) -> bool {
        let is_new = !self.readers.windows.contains_key(&reader);
        if is_new && self.readers.windows.len() >= READERS_MAX {
            return false;
        }
        let start = window.start.min(self.geometry.piece_count());
        let end = window.end.min(self.geometry.piece_count());
        let window = start..end.clamp(start, start.saturating_add(WINDOW_PIECES_MAX));
        self.readers.windows.insert(reader, window);
        self.readers.wants_ends = true;
        if is_new {
            self.measure_for_readers();
        }
        true
    }

    /// Drops a reader and its window; an unknown one is ignored.
    pub fn remove_reader(&mut self, reader: ReaderKey) {
        self.readers.windows.remove(&reader);
    }

    /// Notes what the links do together, if there are readers. The cost grows with the links.
    pub(super) fn measure_for_readers(&mut self) {
        if self.readers.windows.is_empty() {
            return;
        }
        let piece = f64::from(self.geometry.piece_len());
        let serving = self.links.iter().filter(|(_, link)| link.unchoked && !link.snubbed);
        let rates = serving.filter_map(|(_, link)| {
            let rate = link.window.rate().filter(|&rate| rate > 0.0)?;
            Some((rate, piece / rate + link.window.delay().unwrap_or_default().as_secs_f64()))
        });
        let none = (0.0, f64::INFINITY);
        let all = rates.fold(none, |(sum, best), (rate, time)| (sum + rate, best.min(time)));
        (self.readers.rate, self.readers.best) = all;
    }

    /// Tells whether a reader waits for a piece that is on its way.
    pub(super) fn is_awaited(&self) -> bool {
        let awaits = |window: &Range<u32>| {
            !window.is_empty()
                && matches!(
                    self.picker.state(window.start),
                    PieceState::Queued | PieceState::InFlight
                )
        };
        self.readers.windows.values().any(awaits)
    }

    /// Chooses a piece that a reader is to get soon.
    pub(super) fn next_for_readers(&mut self, now: Duration, link: LinkKey) -> Option<PieceIndex> {
        if !self.readers.wants_ends {
            return None;
        }
        let spreads = self.links.get(link).is_some_and(|link| !link.suggestions.is_empty());
        let chosen = self.readers.order(self.geometry.piece_count()).find(|&(piece, distance)| {
            match self.picker.state(piece) {
                PieceState::Missing if spreads && distance >= NEAR => false,
                PieceState::Missing => {
                    self.may_ask(now, link, piece)
                        && !self.is_left_to_others(now, link, piece, distance)
                }
                PieceState::Queued | PieceState::InFlight => {
                    distance == 0 && self.is_worth_twice(now, link, piece)
                }
                PieceState::Verifying | PieceState::Have => false,
            }
        });
        let piece = self.geometry.index(chosen?.0.into())?;
        if self.picker.state(piece.get()) != PieceState::Missing {
            self.readers.duplicated += u64::from(self.geometry.len_of(piece));
        }
        Some(piece)
    }

    /// Tells whether the missing piece can be asked of the link now.
    fn may_ask(&self, now: Duration, link: LinkKey, piece: u32) -> bool {
        let Some(mine) = self.links.get(link).filter(|_| self.picker.offers(link, piece)) else {
            return false;
        };
        match mine.avoid.get(&piece) {
            None => true,
            Some(&until) => {
                let offers = |other, _: &Link| self.picker.offers(other, piece);
                until <= now && !self.links.others_can(link, piece, offers)
            }
        }
    }

    /// Tells whether other links, together, would have brought the piece before this one brings it:
    /// what is in front of it, and then the piece.
    fn is_left_to_others(&self, now: Duration, link: LinkKey, piece: u32, distance: u32) -> bool {
        let piece_len = u64::from(self.geometry.piece_len());
        let Some(here) = self.links.get(link).and_then(|mine| mine.time_for(now, piece_len)) else {
            return false;
        };
        let mine = self.links.get(link).and_then(|mine| mine.window.rate()).unwrap_or(0.0);
        let others = (self.readers.rate - mine).max(0.0);
        let before = piece_len as f64 * (f64::from(distance) + 1.0);
        let there = (before / others).max(self.readers.best);
        let is_faster = |other, state: &Link| {
            let time = state.time_for(now, piece_len).filter(|_| !state.snubbed);
            time.is_some_and(|time| here > LEAVE_GAIN * time) && self.picker.offers(other, piece)
        };
        here > LEAVE_GAIN * there && self.links.others_can(link, piece, is_faster)
    }

    /// Tells whether a second copy of a piece that is on its way is worth its bytes.
    fn is_worth_twice(&self, now: Duration, link: LinkKey, piece: u32) -> bool {
        let Some(piece) = self.geometry.index(piece.into()) else { return false };
        let used = self.readers.duplicated;
        let terms = Terms { part: DUPLICATES_PART, used, is_impatient: true };
        let active = self.active.get(&piece);
        active.is_some_and(|active| self.gain(now, link, piece, active, terms).is_some())
    }
}

#[cfg(test)]
mod tests;
