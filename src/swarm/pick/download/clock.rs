//! What was promised and does not come.

use std::time::Duration;

use super::link::{AVOID_TIME, Link};
use super::{Download, LinkKey};
use crate::types::PieceIndex;

/// Silence of a link after which its chunks are asked for elsewhere; a block is made to take a
/// tenth of a second.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// A chunk of which nothing comes while the link brings others is waited for longer: it may stand
/// far back in a queue.
const CHUNK_SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long a peer has nothing we lack before it is told so: telling sooner costs the slot that is
/// wanted a moment later.
const DULL_TIME: Duration = Duration::from_secs(5);

/// A link whose block trickles loses its pieces to one that is so many times as fast.
const FAR_FASTER: f64 = 32.0;
/// How long a link is left alone that lost its pieces so.
const TRICKLE_PAUSE: Duration = Duration::from_secs(10);

impl Download {
    /// Finds what was promised and does not come, and gives it up. Call a few times a second, then
    /// `next_job`.
    pub fn tick(&mut self, now: Duration) {
        self.now = self.now.max(now);
        self.measure_for_readers();
        let links: Vec<LinkKey> = self.links.keys();
        for link in links {
            self.give_up_late(now, link);
            self.give_up_trickling(now, link);
            let dull = self.links.get(link).and_then(|state| state.dull_since);
            if dull.is_some_and(|since| now.saturating_sub(since) >= DULL_TIME) {
                self.lose_interest(link);
            }
        }
    }

    fn give_up_late(&mut self, now: Duration, link: LinkKey) {
        let Some(state) = self.links.get_mut(link) else { return };
        let late = late_chunks(now, state);
        for &piece in &late {
            state.avoid.insert(piece.get(), now + AVOID_TIME);
            state.snubbed = true;
            // What it brought once says nothing of it any more.
            state.window.forget_rate();
        }
        self.totals.timed_out += late.len() as u32;
        late.into_iter().for_each(|piece| self.drop_chunk(link, piece, true));
    }

    /// Takes the pieces from a link that brings some bytes now and then, if another can bring them
    /// far sooner.
    fn give_up_trickling(&mut self, now: Duration, link: LinkKey) {
        let Some(state) = self.links.get(link) else { return };
        let Some(rate) = state.trickle_rate(now) else { return };
        let is_faster = |piece: PieceIndex, (other, state): (LinkKey, &Link)| {
            other != link
                && state.unchoked
                && !state.snubbed
                && state.rate_now(now).is_some_and(|theirs| theirs > rate * FAR_FASTER)
                && self.picker.offers(other, piece.get())
        };
        let had_elsewhere =
            |piece: &PieceIndex| self.links.iter().any(|other| is_faster(*piece, other));
        let lost: Vec<PieceIndex> =
            state.chunks.iter().map(|chunk| chunk.piece).filter(had_elsewhere).collect();
        if lost.is_empty() {
            return;
        }
        if let Some(state) = self.links.get_mut(link) {
            (state.snubbed, state.resume_at) = (true, now + TRICKLE_PAUSE);
            state.avoid.extend(lost.iter().map(|piece| (piece.get(), now + AVOID_TIME)));
            state.window.forget_rate();
        }
        self.totals.timed_out += lost.len() as u32;
        lost.into_iter().for_each(|piece| self.drop_chunk(link, piece, true));
    }
}

fn late_chunks(now: Duration, link: &Link) -> Vec<PieceIndex> {
    let block = link.window.delay().unwrap_or_default() * 4;
    let silent = now.saturating_sub(link.alive);
    let late = |progress: Duration, started: bool| {
        let waited = now.saturating_sub(progress);
        let all_silent =
            started && waited >= SILENCE_MAX.max(block) && silent >= SILENCE_MAX.max(block);
        // A job that no worker took for so long is lost, too.
        all_silent || waited >= CHUNK_SILENCE_MAX.max(block)
    };
    link.chunks
        .iter()
        .filter(|chunk| late(chunk.progress, chunk.is_started()))
        .map(|chunk| chunk.piece)
        .collect()
}
