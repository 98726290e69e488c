//! The readers of a torrent: where each reads, for the download that there is now or comes later.
//!
//! **Invariant:** there are at most [`READERS_MAX`] readers. Each window that was set is told to a
//! download when it is made and when the window moves.
//!
//! Plain state under the torrent's lock.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::swarm::pick::download::{READERS_MAX, WINDOW_PIECES_MAX};
use crate::swarm::{Download, ReaderKey};
use crate::types::{Geometry, PieceIndex};

/// Bytes in front of a reader that are fetched before others.
const AHEAD: u64 = 16 << 20;
/// Pieces in front of a reader at least: one that it reads, and one that comes meanwhile.
const PIECES_MIN: u32 = 2;

/// The readers, with the pieces in front of them.
#[derive(Default)]
pub(super) struct ReadWindows {
    by_reader: BTreeMap<ReaderKey, Reading>,
}

#[derive(Default)]
struct Reading {
    /// None until it has read.
    window: Option<Range<u32>>,
    /// It may read no more.
    is_revoked: bool,
}

impl ReadWindows {
    pub(super) fn is_empty(&self) -> bool {
        self.by_reader.is_empty()
    }

    /// Adds a reader; false if there are too many.
    pub(super) fn add(&mut self, reader: ReaderKey) -> bool {
        let has_room = self.by_reader.len() < READERS_MAX;
        if has_room {
            self.by_reader.insert(reader, Reading::default());
        }
        has_room
    }

    pub(super) fn remove(&mut self, reader: ReaderKey, download: Option<&mut Download>) {
        self.by_reader.remove(&reader);
        download.into_iter().for_each(|download| download.remove_reader(reader));
    }

    /// A reader may read no more.
    pub(super) fn revoke(&mut self, reader: ReaderKey) {
        if let Some(reading) = self.by_reader.get_mut(&reader) {
            reading.is_revoked = true;
        }
    }

    pub(super) fn is_revoked(&self, reader: ReaderKey) -> bool {
        self.by_reader.get(&reader).is_none_or(|reading| reading.is_revoked)
    }

    /// A reader reads that piece. Tells whether its window has changed.
    pub(super) fn place(
        &mut self,
        reader: ReaderKey,
        piece: PieceIndex,
        geometry: Geometry,
        download: Option<&mut Download>,
    ) -> bool {
        let Some(reading) = self.by_reader.get_mut(&reader) else { return false };
        let ahead = (AHEAD / u64::from(geometry.piece_len())) as u32;
        let count = ahead.clamp(PIECES_MIN, WINDOW_PIECES_MAX);
        let window = piece.get()..piece.get().saturating_add(count);
        if reading.window.as_ref() == Some(&window) {
            return false;
        }
        reading.window = Some(window.clone());
        download.is_some_and(|download| download.set_reader(reader, window))
    }

    /// Tells the windows to a download that was made.
    pub(super) fn tell(&self, download: &mut Download) {
        for (reader, reading) in &self.by_reader {
            if let Some(window) = &reading.window {
                download.set_reader(*reader, window.clone());
            }
        }
    }
}
