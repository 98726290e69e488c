//! One download under random faults: joins, haves, leaves, corrupt pieces, time-outs, rejects,
//! chokes, pauses, readers that come and go, junk.
//!
//! After every step the download's invariants hold, and what it asks for is checked against what a
//! peer may be asked. In the end one honest seeder stays, and the download must finish.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::super::{
    Action, BlockFate, ChunkJob, Download, LinkKey, LinkTraits, Options, ReaderKey,
};
use super::{Replay, seeds};
use crate::types::{Bitfield, Geometry, PieceIndex, Span};

const PIECE_LEN: u32 = 64 << 10;
const STEPS: u32 = 400;
const LINKS_MAX: usize = 6;

/// A peer as the download should see it.
struct Peer {
    traits: LinkTraits,
    has: Bitfield,
    unchoked: bool,
    /// Sends bad data every time.
    liar: bool,
    corrupt: u32,
    /// Requests that wait for an answer.
    asked: Vec<Span>,
    /// Requests taken back, to which an answer may still come.
    late: Vec<Span>,
}

struct Run {
    rng: SmallRng,
    geometry: Geometry,
    download: Download,
    now: Duration,
    window: u64,
    keys: u64,
    peers: BTreeMap<LinkKey, Peer>,
    jobs: VecDeque<ChunkJob>,
    hashing: Vec<(LinkKey, PieceIndex, bool)>,
    had: BTreeSet<PieceIndex>,
    completed: u32,
    paused: bool,
    seen: Seen,
}

#[test]
fn a_download_survives_everything_and_finishes() {
    let seeds = seeds(1_000);
    let mut seen = Seen::default();
    for seed in seeds.clone() {
        let _replay = Replay(seed);
        let mut run = Run::new(seed);
        for _ in 0..STEPS {
            run.random_step();
            run.check();
        }
        run.heal();
        seen.add(&run);
    }
    println!("{seeds:?}: {seen:?}");
    // A simulator in which nothing goes wrong proves nothing.
    let rare = [
        seen.corrupt,
        seen.timed_out,
        seen.bans,
        seen.stale,
        seen.rejects,
        seen.late,
        seen.duplicates,
    ];
    assert!(seeds.end - seeds.start < 1_000 || rare.iter().all(|&count| count > 100), "{seen:?}");
}

/// How often the faults came to pass.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    corrupt: u32,
    timed_out: u32,
    bans: u32,
    stale: u32,
    rejects: u32,
    late: u32,
    duplicates: u32,
}

impl Seen {
    fn add(&mut self, run: &Run) {
        let stats = run.download.stats();
        self.corrupt += stats.corrupt;
        self.timed_out += stats.timed_out;
        self.bans += run.seen.bans;
        self.stale += run.seen.stale;
        self.rejects += run.seen.rejects;
        self.late += run.seen.late;
        self.duplicates += run.seen.duplicates;
    }
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let len = rng.random_range(1..24 * u64::from(PIECE_LEN));
        let geometry = Geometry::new(len, PIECE_LEN).unwrap();
        let mut have = Bitfield::empty(geometry.piece_count());
        let had: BTreeSet<PieceIndex> =
            geometry.indexes().filter(|_| rng.random_ratio(1, 8)).collect();
        had.iter().for_each(|&piece| _ = have.insert(piece));
        let window = rng.random_range(1..12) * u64::from(PIECE_LEN);
        let options = Options { window_sum_max: window, ..Options::default() };
        Self {
            download: Download::new(geometry, have, options, seed),
            rng,
            geometry,
            now: Duration::ZERO,
            window: window.max(u64::from(PIECE_LEN)),
            keys: 0,
            peers: BTreeMap::new(),
            jobs: VecDeque::new(),
            hashing: Vec::new(),
            had,
            completed: 0,
            paused: false,
            seen: Seen::default(),
        }
    }

    fn random_step(&mut self) {
        match self.rng.random_range(0..100) {
            0..5 => self.join(),
            5..8 => self.leave(),
            8..14 => self.have(),
            14..20 => self.choke(),
            20..22 => self.suggest(),
            22..40 => self.take_job(),
            40..72 => self.deliver(),
            72..76 => self.reject(),
            76..90 => self.verdict(),
            90..92 => self.late_block(),
            92..94 => self.junk(),
            94..95 => self.read(),
            95..96 => self.pause(),
            96..97 => self.advance(Duration::from_secs(20)),
            _ => self.advance(Duration::from_millis(300)),
        }
        self.settle();
    }

    fn join(&mut self) {
        if self.peers.len() == LINKS_MAX {
            return;
        }
        let count = self.geometry.piece_count();
        let link = self.new_peer(Bitfield::empty(count), false);
        match self.rng.random_range(0..4) {
            0 => {
                self.download.peer_has_all(link);
                self.peer(link).has = Bitfield::full(count);
            }
            1 => self.download.peer_has_none(link),
            2 => {}
            _ => {
                let mut has = Bitfield::empty(count);
                let some: Vec<PieceIndex> =
                    self.geometry.indexes().filter(|_| self.rng.random()).collect();
                some.into_iter().for_each(|piece| _ = has.insert(piece));
                self.download.peer_bitfield(link, has.clone());
                self.peer(link).has = has;
            }
        }
    }

    fn new_peer(&mut self, has: Bitfield, honest: bool) -> LinkKey {
        self.keys += 1;
        let link = LinkKey(self.keys);
        let block_len_max = [16 << 10, 40_000, 512 << 10][self.rng.random_range(0..3)];
        let traits = LinkTraits {
            block_len_max,
            requests_max: self.rng.random_range(1..6),
            fast: self.rng.random(),
        };
        let liar = !honest && self.rng.random_ratio(1, 4);
        self.download.join(self.now, link, traits);
        self.peers.insert(
            link,
            Peer {
                traits,
                has,
                unchoked: false,
                liar,
                corrupt: 0,
                asked: Vec::new(),
                late: Vec::new(),
            },
        );
        link
    }

    fn peer(&mut self, link: LinkKey) -> &mut Peer {
        self.peers.get_mut(&link).unwrap()
    }

    fn any_link(&mut self) -> Option<LinkKey> {
        let links: Vec<LinkKey> = self.peers.keys().copied().collect();
        (!links.is_empty()).then(|| links[self.rng.random_range(0..links.len())])
    }

    fn any_piece(&mut self) -> PieceIndex {
        let number = self.rng.random_range(0..u64::from(self.geometry.piece_count()));
        self.geometry.index(number).unwrap()
    }

    fn leave(&mut self) {
        if let Some(link) = self.any_link() {
            self.download.leave(self.now, link);
            self.peers.remove(&link);
            self.download.leave(self.now, link);
        }
    }

    fn have(&mut self) {
        let piece = self.any_piece();
        if let Some(link) = self.any_link() {
            self.peer(link).has.insert(piece);
            self.download.peer_have(link, piece);
        }
    }

    fn choke(&mut self) {
        let Some(link) = self.any_link() else { return };
        let peer = self.peer(link);
        peer.unchoked = !peer.unchoked;
        if peer.unchoked {
            return self.download.unchoked(self.now, link);
        }
        if !peer.traits.fast {
            peer.asked.clear();
        }
        self.download.choked(self.now, link);
    }

    fn suggest(&mut self) {
        let piece = self.any_piece();
        if let Some(link) = self.any_link() {
            self.download.suggested(link, piece);
        }
    }

    /// Jobs wait in a short queue, and some are overtaken there.
    fn take_job(&mut self) {
        if self.jobs.len() < 4
            && let Some(job) = self.download.next_job(self.now)
        {
            assert!(
                !self.paused && self.peers.contains_key(&job.link),
                "a job for a link that is gone, or in a pause"
            );
            self.jobs.push_back(job);
        }
        if self.rng.random()
            && let Some(job) = self.jobs.pop_front()
        {
            let spans = self.download.start(self.now, &job);
            self.seen.stale += u32::from(spans.is_none());
            assert_eq!(self.download.start(self.now, &job), None, "a job is started once");
            self.asked(job.link, spans.unwrap_or_default());
        }
    }

    fn asked(&mut self, link: LinkKey, spans: Vec<Span>) {
        for span in spans {
            assert!(!self.had.contains(&span.piece), "{span:?} is verified");
            let others = self.peers.iter().filter(|&(&other, _)| other != link);
            let elsewhere =
                others.flat_map(|(_, peer)| &peer.asked).any(|asked| asked.piece == span.piece);
            self.seen.duplicates += u32::from(elsewhere);
            assert!(
                self.geometry.span(span.piece.get(), span.begin, span.len).is_some(),
                "{span:?} is not in the file"
            );
            let peer = self.peer(link);
            assert!(peer.has.has(span.piece), "{link:?} has no {span:?}");
            assert!(span.len <= peer.traits.block_len_max, "{span:?} is too long for {link:?}");
            assert!(!peer.asked.contains(&span), "{span:?} is asked for twice");
            peer.asked.push(span);
        }
    }

    fn any_asked(&mut self) -> Option<(LinkKey, Span)> {
        let asked: Vec<(LinkKey, Span)> = self
            .peers
            .iter()
            .flat_map(|(&link, peer)| peer.asked.iter().map(move |&span| (link, span)))
            .collect();
        (!asked.is_empty()).then(|| asked[self.rng.random_range(0..asked.len())])
    }

    fn deliver(&mut self) {
        let Some((link, span)) = self.any_asked() else { return };
        self.peer(link).asked.retain(|&asked| asked != span);
        let fate = self.download.block_received(self.now, link, span);
        assert_ne!(fate, BlockFate::Unwanted, "{span:?} was asked of {link:?}");
        self.fate(link, span, fate);
    }

    fn fate(&mut self, link: LinkKey, span: Span, fate: BlockFate) {
        if fate == BlockFate::Completed {
            let liar = self.peer(link).liar;
            self.hashing.push((link, span.piece, liar));
            let rest =
                self.peer(link).asked.iter().filter(|asked| asked.piece == span.piece).count();
            assert_eq!(rest, 0, "a chunk is whole although blocks of it are awaited");
        }
    }

    fn reject(&mut self) {
        let Some((link, span)) = self.any_asked().filter(|(link, _)| self.peers[link].traits.fast)
        else {
            return;
        };
        self.peer(link).asked.retain(|&asked| asked != span);
        self.seen.rejects += 1;
        self.download.block_rejected(self.now, link, span);
    }

    fn verdict(&mut self) {
        if self.hashing.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..self.hashing.len());
        let (link, piece, bad) = self.hashing.swap_remove(at);
        if self.rng.random_ratio(1, 20) {
            self.download.write_failed(piece);
        } else if bad {
            let strikes = self.peers.get_mut(&link).map(|peer| {
                peer.corrupt += 1;
                peer.corrupt
            });
            self.download.corrupt(self.now, piece, link);
            assert_eq!(
                strikes.is_some_and(|strikes| strikes >= 2),
                self.banned(link),
                "banned at the second bad piece"
            );
        } else {
            self.download.verified(self.now, piece, link);
            // A second verdict is ignored.
            self.download.corrupt(self.now, piece, link);
        }
    }

    /// Carries out the actions; true if the link was banned among them.
    fn banned(&mut self, link: LinkKey) -> bool {
        let before = self.peers.contains_key(&link);
        self.settle();
        before && !self.peers.contains_key(&link)
    }

    /// A block whose request was taken back comes all the same.
    fn late_block(&mut self) {
        let Some(link) = self.any_link() else { return };
        if let Some(span) = self.peer(link).late.pop() {
            let asked = self.peer(link).asked.contains(&span);
            self.peer(link).asked.retain(|&waiting| waiting != span);
            let fate = self.download.block_received(self.now, link, span);
            assert_eq!(fate != BlockFate::Unwanted, asked, "{span:?} from {link:?}");
            self.seen.late += 1;
            self.fate(link, span, fate);
        }
    }

    /// Blocks, rejects and verdicts that nobody asked for.
    fn junk(&mut self) {
        let piece = self.any_piece();
        let span = Span { piece, begin: 1, len: self.geometry.len_of(piece).min(7) };
        let link = self.any_link().unwrap_or(LinkKey(999));
        assert_eq!(self.download.block_received(self.now, link, span), BlockFate::Unwanted);
        self.download.block_rejected(self.now, link, span);
        self.download.verified(self.now, piece, LinkKey(999));
        assert!(self.download.more_requests(self.now, LinkKey(999)).is_empty());
    }

    /// A reader comes, moves or goes.
    fn read(&mut self) {
        let reader = ReaderKey(self.rng.random_range(0..3));
        if self.rng.random_ratio(1, 4) {
            return self.download.remove_reader(reader);
        }
        let from = self.rng.random_range(0..self.geometry.piece_count() + 2);
        let to = from + self.rng.random_range(0..8);
        assert!(self.download.set_reader(reader, from..to));
    }

    fn pause(&mut self) {
        self.paused = !self.paused;
        self.download.set_paused(self.paused);
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        self.download.tick(self.now);
    }

    /// Carries out the actions and sends the requests that were held back.
    fn settle(&mut self) {
        while let Some(action) = self.download.poll_action() {
            match action {
                Action::Interested(..) => {}
                Action::Cancel(link, piece) => {
                    let peer = self.peer(link);
                    let (gone, kept) = peer.asked.drain(..).partition(|span| span.piece == piece);
                    peer.asked = kept;
                    peer.late.extend::<Vec<Span>>(gone);
                }
                Action::Have(piece) => assert!(self.had.insert(piece), "{piece} is verified twice"),
                Action::Ban(link) => {
                    self.seen.bans += 1;
                    assert!(
                        self.peers.remove(&link).is_some_and(|peer| peer.corrupt == 2),
                        "{link:?} is banned"
                    );
                }
                Action::Complete => self.completed += 1,
            }
        }
        let links: Vec<LinkKey> = self.peers.keys().copied().collect();
        for link in links {
            let spans = self.download.more_requests(self.now, link);
            self.asked(link, spans);
        }
    }

    fn check(&self) {
        self.download.check_invariants();
        assert_eq!(self.had.len() as u32, self.download.have().ones());
        assert_eq!(
            self.completed,
            u32::from(self.download.is_complete()),
            "completion is told once"
        );
        let asked: u64 =
            self.peers.values().flat_map(|peer| &peer.asked).map(|span| u64::from(span.len)).sum();
        assert!(asked <= self.window, "{asked} bytes are asked for");
        for (link, peer) in &self.peers {
            assert!(
                peer.asked.len() as u32 <= peer.traits.requests_max,
                "too many requests for {link:?}"
            );
            assert!(!self.paused || peer.asked.is_empty(), "asked in a pause");
        }
    }

    /// Faults end, one honest seeder comes: everything is fetched, and soon.
    fn heal(&mut self) {
        if self.paused {
            self.pause();
        }
        let link = self.new_peer(Bitfield::full(self.geometry.piece_count()), true);
        self.download.peer_has_all(link);
        self.peer(link).unchoked = true;
        self.download.unchoked(self.now, link);
        let limit = self.now + Duration::from_secs(300);
        while !self.download.is_complete() {
            assert!(self.now < limit, "the download has stopped: {:?}", self.download.stats());
            self.take_job();
            self.verdict();
            let honest = self.peer(link).asked.first().copied();
            if let Some(span) = honest {
                self.peer(link).asked.remove(0);
                let fate = self.download.block_received(self.now, link, span);
                self.fate(link, span, fate);
            } else {
                self.advance(Duration::from_millis(100));
            }
            self.settle();
            self.check();
        }
        assert_eq!(self.download.stats().have, self.geometry.piece_count());
    }
}
