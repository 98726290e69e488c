//! From a missing piece to the requests for it.

use std::time::Duration;

use rand::RngExt;

use super::chunk::Chunk;
use super::{Active, ChunkJob, Download, LinkKey, PieceState};
use crate::types::{PieceIndex, Span};

/// A piece is not taken from one link to another sooner than it could have come, in seconds.
const TAKE_OVER_MIN: f64 = 0.05;
/// How many times as long it must take there as here, and how many seconds more: blocks
/// on their way when they are taken back were sent in vain.
const TAKE_OVER_GAIN: f64 = 1.5;
const TAKE_OVER_GAIN_MIN: f64 = 0.25;
/// How often it is looked for a link that does nothing whether it could take a piece over: it means
/// looking at all that are under way.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Download {
    /// Chooses the next piece and link: the link with the emptiest window, and the rarest piece
    /// that it can give. Call after every event, until it is `None` or the jobs queue is full.
    pub fn next_job(&mut self, now: Duration) -> Option<ChunkJob> {
        self.now = self.now.max(now);
        if self.is_paused || self.is_held || !self.has_room() {
            return None;
        }
        let mut ready = self.ready_links(now);
        // Links that keep their promises first, then the emptiest; the random number breaks ties.
        while let Some(at) = (0..ready.len()).min_by_key(|&at| ready[at]) {
            let (.., link) = ready.swap_remove(at);
            if let Some(piece) = self.choose(now, link) {
                return Some(self.queue(now, link, piece));
            }
        }
        None
    }

    /// Begins a job: the blocks to ask `job.link` for now; `None` if the job was overtaken by
    /// events and is to be dropped.
    ///
    /// Where the peer's `requests_max` held back blocks of an earlier chunk, those may come first.
    pub fn start(&mut self, now: Duration, job: &ChunkJob) -> Option<Vec<Span>> {
        self.now = self.now.max(now);
        let state = self.links.get_mut(job.link)?;
        let len = state.block_len(&self.options);
        let fresh = |chunk: &&mut Chunk| {
            chunk.piece == job.piece && chunk.token == job.token && !chunk.is_started()
        };
        state.chunks.iter_mut().find(fresh)?.start(now, &self.geometry, len);
        let spans = state.requests(now, &self.geometry);
        self.settle(job.piece);
        Some(spans)
    }

    /// Further blocks to ask the link for, when `requests_max` held some back at `start`. Call
    /// after each block.
    pub fn more_requests(&mut self, now: Duration, link: LinkKey) -> Vec<Span> {
        self.now = self.now.max(now);
        self.links
            .get_mut(link)
            .map(|state| state.requests(now, &self.geometry))
            .unwrap_or_default()
    }

    /// Tells whether one more buffer fits into the bounds; the first always does.
    fn has_room(&self) -> bool {
        let piece_len = u64::from(self.geometry.piece_len());
        let verifying = u64::from(self.picker.count_of(PieceState::Verifying)) * piece_len;
        let keeps_up = verifying == 0 || verifying + piece_len <= self.options.verifying_max;
        self.reserved == 0 || (keeps_up && self.reserved + piece_len <= self.options.window_sum_max)
    }

    /// The links that may be asked for something: whether it was silent lately, load, a random
    /// number, key.
    fn ready_links(&mut self, now: Duration) -> Vec<(bool, u64, u32, LinkKey)> {
        let is_ending = self.is_endgame() || self.is_awaited();
        let Self { links, picker, rng, geometry, options, .. } = self;
        let mut ready = Vec::new();
        for (link, state) in links.candidates(geometry, options) {
            let is_idle =
                state.chunks.is_empty() && state.look_at <= now && picker.lacking(link) > 0;
            let is_useful = picker.wanted(link) > 0 || is_ending || is_idle;
            if is_useful && state.resume_at <= now {
                let load = state.load(geometry, options);
                ready.push((state.snubbed, load, rng.random(), link));
            }
        }
        ready
    }

    /// Chooses a piece for the link: one that a reader waits for, else what the link suggested,
    /// else the rarest, else at the very end one that another link is slow with.
    fn choose(&mut self, now: Duration, link: LinkKey) -> Option<PieceIndex> {
        if let Some(piece) = self.next_for_readers(now, link) {
            return Some(piece);
        }
        if self.is_endgame() {
            return self.duplicate_for(now, link);
        }
        if let Some(piece) = self.next_suggestion(link).or_else(|| self.next_in_order(link)) {
            return Some(piece);
        }
        let (links, picker) = (&self.links, &mut self.picker);
        let avoid = &links.get(link)?.avoid;
        let others_can = |picker: &super::Picker, piece| {
            links.others_can(link, piece, |other, _| picker.offers(other, piece))
        };
        let piece = picker.pick(link, |picker, piece| match avoid.get(&piece) {
            None => true,
            Some(&until) => until <= now && !others_can(picker, piece),
        });
        match piece {
            Some(piece) => self.geometry.index(u64::from(piece)),
            // Nothing of it is missing, and it is here for a reader's sake.
            None if picker.wanted(link) == 0 && links.get(link)?.look_at > now => None,
            None => self.take_over(now, link),
        }
    }

    /// Takes a piece back that waits in the queue of a busier link, to ask it of this one, which
    /// would do nothing else.
    ///
    /// Of which nothing has come yet, and which was asked for as long ago as it would take here:
    /// what moves once does not move back at once.
    fn take_over(&mut self, now: Duration, link: LinkKey) -> Option<PieceIndex> {
        let mine = self
            .links
            .get_mut_unindexed(link)
            .filter(|mine| mine.chunks.is_empty() && !mine.snubbed)?;
        mine.look_at = now + LOOK_EVERY;
        let mine = self.links.get(link)?;
        let here = mine.time_for(now, self.geometry.piece_len().into())?.max(TAKE_OVER_MIN);
        let gain = |(&piece, active): (&PieceIndex, &Active)| {
            let [other] = active.copies[..] else { return None };
            let theirs =
                self.links.get(other).filter(|_| active.verifying.is_none() && other != link)?;
            let chunk = theirs.chunks.iter().find(|chunk| chunk.piece == piece)?;
            let waited = now.saturating_sub(chunk.progress).as_secs_f64();
            let untouched = chunk.is_started()
                && !chunk.arriving
                && chunk.received(&self.geometry) == 0
                && waited >= here;
            let left = theirs.time_left(now, piece)? - waited;
            let may = untouched
                && self.picker.offers(link, piece.get())
                && !mine.avoid.contains_key(&piece.get());
            (may && left > TAKE_OVER_GAIN * here + TAKE_OVER_GAIN_MIN)
                .then_some((left, other, piece))
        };
        let (_, other, piece) =
            self.active.iter().filter_map(gain).max_by(|a, b| a.0.total_cmp(&b.0))?;
        self.drop_chunk(other, piece, true);
        Some(piece)
    }

    /// The oldest suggestion of the link that is still missing.
    fn next_suggestion(&mut self, link: LinkKey) -> Option<PieceIndex> {
        let state = self.links.get_mut_unindexed(link)?;
        while let Some(piece) = state.suggestions.pop_front() {
            let avoided = state.avoid.contains_key(&piece.get());
            if !avoided
                && self.picker.state(piece.get()) == PieceState::Missing
                && self.picker.offers(link, piece.get())
            {
                return Some(piece);
            }
        }
        None
    }

    /// The next piece of the file, if pieces are chosen in order and it can be asked of the link.
    fn next_in_order(&mut self, link: LinkKey) -> Option<PieceIndex> {
        if !self.is_in_order {
            return None;
        }
        let geometry = self.geometry;
        let piece = loop {
            let piece = geometry.index(self.next_in_order.into())?;
            match self.picker.state(piece.get()) {
                PieceState::Have => self.next_in_order += 1,
                PieceState::Missing => break piece,
                _ => return None,
            }
        };
        let is_avoided = self.links.get(link)?.avoid.contains_key(&piece.get());
        (!is_avoided && self.picker.offers(link, piece.get())).then_some(piece)
    }

    /// Makes the job and reserves its buffer.
    fn queue(&mut self, now: Duration, link: LinkKey, piece: PieceIndex) -> ChunkJob {
        self.tokens += 1;
        if piece.get() == self.next_in_order {
            self.next_in_order += 1;
        }
        let len = self.geometry.len_of(piece);
        if let Some(state) = self.links.get_mut(link) {
            state.add(Chunk::queued(now, piece, self.tokens, len));
        }
        self.active.entry(piece).or_default().copies.push(link);
        self.reserved += u64::from(len);
        self.settle(piece);
        ChunkJob { link, piece, token: self.tokens }
    }
}
