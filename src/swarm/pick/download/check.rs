//! What must hold after every call.

use std::collections::BTreeSet;

use super::endgame::COPIES_MAX;
use super::{Download, LinkKey, PieceState};

impl Download {
    /// Checks everything that must hold; for tests and simulators. Its cost grows with pieces times
    /// links.
    ///
    /// # Panics
    /// If something does not hold.
    pub fn check_invariants(&self) {
        self.picker.check();
        self.check_pieces();
        self.check_links();
        let count = self
            .active
            .values()
            .map(|active| active.copies.len() + usize::from(active.verifying.is_some()))
            .sum::<usize>();
        assert!(
            count <= 1 || self.reserved <= self.options.window_sum_max,
            "{} bytes reserved",
            self.reserved
        );
    }

    fn check_pieces(&self) {
        let mut reserved = 0;
        for piece in self.geometry.indexes() {
            let state = self.picker.state(piece.get());
            let Some(active) = self.active.get(&piece) else {
                assert!(
                    matches!(state, PieceState::Missing | PieceState::Have),
                    "piece {piece} is {state:?} and no link fetches it"
                );
                continue;
            };
            let started = |link: &LinkKey| {
                let chunk = self
                    .links
                    .get(*link)
                    .expect("a copy's link is there")
                    .chunks
                    .iter()
                    .find(|chunk| chunk.piece == piece);
                chunk
                    .unwrap_or_else(|| panic!("link {link:?} has no chunk of piece {piece}"))
                    .is_started()
            };
            let started = active.copies.iter().filter(|link| started(link)).count();
            match active.verifying {
                Some(_) => assert!(
                    state == PieceState::Verifying && active.copies.is_empty(),
                    "piece {piece}: {active:?} {state:?}"
                ),
                None if started > 0 => {
                    assert_eq!(state, PieceState::InFlight, "piece {piece}: {active:?}")
                }
                None => assert!(
                    state == PieceState::Queued && !active.copies.is_empty(),
                    "piece {piece}: {active:?} {state:?}"
                ),
            }
            assert!(
                active.copies.len() <= COPIES_MAX,
                "piece {piece} has {} copies",
                active.copies.len()
            );
            let buffers = active.copies.len() + usize::from(active.verifying.is_some());
            reserved += buffers as u64 * u64::from(self.geometry.len_of(piece));
        }
        assert_eq!(self.reserved, reserved, "bytes reserved");
    }

    fn check_links(&self) {
        self.links.check(&self.geometry, &self.options);
        for (key, link) in self.links.iter() {
            let pieces: BTreeSet<_> = link.chunks.iter().map(|chunk| chunk.piece).collect();
            assert_eq!(pieces.len(), link.chunks.len(), "link {key:?} fetches a piece twice");
            for chunk in &link.chunks {
                assert!(
                    self.active[&chunk.piece].copies.contains(&key),
                    "a chunk of {key:?} is not among its piece's copies"
                );
                assert!(
                    self.picker.offers(key, chunk.piece.get()),
                    "link {key:?} is asked for what it has not"
                );
                assert!(
                    link.unchoked || (link.traits.fast && chunk.is_started()),
                    "link {key:?} is asked while it chokes us"
                );
                assert!(
                    chunk.outstanding() <= link.requests_max_ever.max(1),
                    "too many requests on {key:?}"
                );
            }
            assert_eq!(
                link.in_flight,
                link.chunks.iter().map(|chunk| u64::from(chunk.left)).sum::<u64>(),
                "bytes in flight of {key:?}"
            );
            assert!(
                !self.is_paused || link.chunks.is_empty(),
                "link {key:?} is asked during a pause"
            );
            let wanted = !self.is_paused && self.picker.lacking(key) > 0;
            assert!(
                !wanted || link.interested,
                "link {key:?} was not told that we want its pieces"
            );
        }
    }
}
