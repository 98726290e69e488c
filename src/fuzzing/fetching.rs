//! One file's download under peers that say and send whatever they like.
//!
//! The fuzzer's bytes choose what happens next; after each step everything that a download says of
//! itself must hold. In the end the hostile peers go, one honest seeder comes, and the download
//! must finish.

use std::collections::VecDeque;
use std::time::Duration;

use super::Input;
use crate::swarm::{Action, BlockFate, ChunkJob, Download, LinkKey, LinkTraits, Options};
use crate::types::{Bitfield, Geometry, PieceIndex, Span, limits};

/// Bytes in a piece: several blocks of the least length.
const PIECE_LEN: u32 = 64 << 10;
/// Links at a time, known or not.
const LINKS: usize = 6;
/// Jobs that wait to be started.
const JOBS_MAX: usize = 8;
/// Steps of one run: as a fuzzer's input has 4 KiB, the time of a run is bounded elsewhere too.
const STEPS_MAX: usize = 2_000;

struct Run {
    geometry: Geometry,
    download: Download,
    now: Duration,
    jobs: VecDeque<ChunkJob>,
    asked: Vec<(LinkKey, Span)>,
    whole: Vec<(LinkKey, PieceIndex)>,
    had: Bitfield,
    completed: u32,
}

/// A download and its picker, step by step.
pub fn download(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut run = Run::new(&mut input);
    for _ in 0..STEPS_MAX {
        if input.is_over() {
            break;
        }
        run.step(&mut input);
        run.settle();
        run.download.check_invariants();
        assert_eq!(run.download.have(), &run.had);
        assert_eq!(run.completed, u32::from(run.download.is_complete()), "completion is told once");
    }
    run.heal();
}

impl Run {
    fn new(input: &mut Input<'_>) -> Self {
        let len = u64::from(input.u32()) % (24 * u64::from(PIECE_LEN));
        let geometry = Geometry::new(len, PIECE_LEN).expect("a short file has few pieces");
        let mut had = Bitfield::empty(geometry.piece_count());
        let bits = input.u16();
        geometry
            .indexes()
            .filter(|piece| piece.get() < 16 && bits >> piece.get() & 1 == 1)
            .for_each(|piece| _ = had.insert(piece));
        let options = Options {
            window_sum_max: input.below(12) as u64 * u64::from(PIECE_LEN),
            window_pieces_min: input.below(4) as u32,
            ..Options::default()
        };
        let download = Download::new(geometry, had.clone(), options, u64::from(input.byte()));
        let mut run = Self {
            geometry,
            download,
            now: Duration::ZERO,
            jobs: VecDeque::new(),
            asked: Vec::new(),
            whole: Vec::new(),
            had,
            completed: 0,
        };
        run.settle();
        run
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let (what, link) = (input.below(27), LinkKey(input.below(LINKS) as u64));
        match what {
            0 => self.join(input, link),
            1 => self.leave(link),
            2 => self.download.peer_has_all(link),
            3 => self.download.peer_has_none(link),
            4 => self.bitfield(input, link),
            5 | 6 => self.with_piece(input, |run, piece| run.download.peer_have(link, piece)),
            7 => self.choked(link),
            8 | 9 => self.download.unchoked(self.now, link),
            10 => self.with_piece(input, |run, piece| run.download.suggested(link, piece)),
            11 => self.download.delay_measured(link, Duration::from_micros(input.u32().into())),
            12 => self.download.requests_allowed(link, input.u32()),
            13 => self.download.suspect(link),
            14 => self.download.set_paused(input.bool()),
            15..=17 => self.take_job(),
            18 => self.start_job(input),
            19..=21 => self.deliver(input),
            22 => self.junk(input, link),
            23 => self.reject(input, link),
            24 => self.verdict(input, link),
            25 => {
                let came = input.u32();
                self.with_piece(input, |run, piece| {
                    run.download.data_arriving(run.now, link, piece, came);
                });
            }
            _ => self.advance(Duration::from_millis(u64::from(input.u16()))),
        }
    }

    fn with_piece(&mut self, input: &mut Input<'_>, act: impl FnOnce(&mut Self, PieceIndex)) {
        let number = u64::from(input.byte());
        if let Some(piece) = self.geometry.index(number) {
            act(self, piece);
        }
    }

    fn join(&mut self, input: &mut Input<'_>, link: LinkKey) {
        // As the two handshakes bring them within their bounds.
        let block_len_max = input.u32().clamp(limits::BLOCK_LEN, limits::BLOCK_LEN_MAX);
        let traits = LinkTraits {
            block_len_max,
            requests_max: u32::from(input.u16()).max(1),
            fast: input.bool(),
        };
        self.download.join(self.now, link, traits);
    }

    fn leave(&mut self, link: LinkKey) {
        self.download.leave(self.now, link);
        self.asked.retain(|(asked, _)| *asked != link);
    }

    fn choked(&mut self, link: LinkKey) {
        self.download.choked(self.now, link);
    }

    fn bitfield(&mut self, input: &mut Input<'_>, link: LinkKey) {
        let count = self.geometry.piece_count();
        if let Ok(field) =
            Bitfield::from_bytes(input.take(count.div_ceil(8) as usize).to_vec(), count)
        {
            self.download.peer_bitfield(link, field);
        }
    }

    fn take_job(&mut self) {
        if self.jobs.len() < JOBS_MAX
            && let Some(job) = self.download.next_job(self.now)
        {
            self.jobs.push_back(job);
        }
        if let Some(job) = self.jobs.pop_front() {
            let spans = self.download.start(self.now, &job).unwrap_or_default();
            self.ask(job.link, spans);
        }
    }

    /// Starts a job late, or for the second time.
    fn start_job(&mut self, input: &mut Input<'_>) {
        let Some(job) = self.download.next_job(self.now) else { return };
        if input.bool() {
            self.jobs.push_back(job);
            self.jobs.truncate(JOBS_MAX);
        }
        let spans = self.download.start(self.now, &job).unwrap_or_default();
        assert_eq!(self.download.start(self.now, &job), None, "a job is started once");
        self.ask(job.link, spans);
    }

    fn ask(&mut self, link: LinkKey, spans: Vec<Span>) {
        for span in spans {
            assert!(!self.had.has(span.piece), "{span:?} is verified");
            assert_eq!(self.geometry.span(span.piece.get(), span.begin, span.len), Some(span));
            self.asked.push((link, span));
        }
    }

    /// A block comes that was asked for, perhaps long ago.
    fn deliver(&mut self, input: &mut Input<'_>) {
        if self.asked.is_empty() {
            return;
        }
        let at = usize::from(input.byte()) % self.asked.len();
        let (link, span) = if input.bool() { self.asked[at] } else { self.asked.swap_remove(at) };
        self.receive(link, span);
    }

    fn receive(&mut self, link: LinkKey, span: Span) {
        if self.download.block_received(self.now, link, span) == BlockFate::Completed {
            self.whole.push((link, span.piece));
        }
        let more = self.download.more_requests(self.now, link);
        self.ask(link, more);
    }

    /// A block comes that may never have been asked for.
    fn junk(&mut self, input: &mut Input<'_>, link: LinkKey) {
        if let Some(span) = self.any_span(input) {
            self.receive(link, span);
        }
    }

    fn any_span(&self, input: &mut Input<'_>) -> Option<Span> {
        let (piece, begin, len) =
            (input.byte(), u32::from(input.byte()) << 12, u32::from(input.byte()) << 12);
        self.geometry.span(piece.into(), begin, len)
    }

    fn reject(&mut self, input: &mut Input<'_>, link: LinkKey) {
        let asked = input.bool().then(|| self.asked.pop()).flatten();
        let Some((link, span)) = asked.or_else(|| self.any_span(input).map(|span| (link, span)))
        else {
            return;
        };
        self.download.block_rejected(self.now, link, span);
    }

    /// The pool has hashed a piece, or says so of one that it never got.
    fn verdict(&mut self, input: &mut Input<'_>, link: LinkKey) {
        let choice = input.below(5);
        if choice == 4 || self.whole.is_empty() {
            return self.with_piece(input, |run, piece| {
                run.download.corrupt(run.now, piece, LinkKey(link.0 + 100))
            });
        }
        let (link, piece) = self.whole.swap_remove(usize::from(input.byte()) % self.whole.len());
        match choice {
            0 | 1 => self.download.verified(self.now, piece, link),
            2 => self.download.corrupt(self.now, piece, link),
            _ => self.download.write_failed(piece),
        }
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        self.download.tick(self.now);
    }

    fn settle(&mut self) {
        while let Some(action) = self.download.poll_action() {
            match action {
                Action::Have(piece) => assert!(self.had.insert(piece), "{piece} is verified twice"),
                Action::Complete => self.completed += 1,
                Action::Ban(link) => self.asked.retain(|(asked, _)| *asked != link),
                Action::Interested(..) | Action::Cancel(..) => {}
            }
        }
    }

    /// The hostile peers go; one honest seeder comes.
    fn heal(&mut self) {
        (0..LINKS as u64).for_each(|link| self.leave(LinkKey(link)));
        for (link, piece) in std::mem::take(&mut self.whole) {
            self.download.verified(self.now, piece, link);
        }
        self.jobs.clear();
        self.download.set_paused(false);
        let link = LinkKey(1_000);
        self.download.join(
            self.now,
            link,
            LinkTraits { block_len_max: limits::BLOCK_LEN, requests_max: 8, fast: true },
        );
        self.download.peer_has_all(link);
        self.download.unchoked(self.now, link);
        self.settle();
        let limit = self.now + Duration::from_secs(300);
        while !self.download.is_complete() {
            assert!(self.now < limit, "the download has stopped: {:?}", self.download.stats());
            self.take_job();
            match self.asked.iter().position(|(asked, _)| *asked == link) {
                Some(at) => {
                    let (link, span) = self.asked.swap_remove(at);
                    self.receive(link, span);
                }
                None => self.advance(Duration::from_millis(100)),
            }
            if let Some((link, piece)) = self.whole.pop() {
                self.download.verified(self.now, piece, link);
            }
            self.settle();
            self.download.check_invariants();
        }
        assert_eq!((self.completed, self.had.is_full()), (1, true));
    }
}
