//! What readers change: scenes of few pieces, and random ones against a naive order.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::tests::{PIECE, Pair, SECOND, Scene};
use super::super::{Action, BlockFate};
use super::*;
use crate::swarm::{LinkTraits, Options};
use crate::types::{Bitfield, Geometry, Span};

const READER: ReaderKey = ReaderKey(1);

/// A scene of 64 pieces with so many seeders.
fn scene(links: usize) -> Scene {
    Scene::new(&vec!["x".repeat(64).as_str(); links])
}

fn pieces(jobs: &[Pair]) -> Vec<u32> {
    let mut pieces: Vec<u32> = jobs.iter().map(|&(_, piece)| piece).collect();
    pieces.sort_unstable();
    pieces
}

/// A piece, the link over which it came, and when.
type Came = (u32, u64, Duration);

/// A scene whose links bring what is asked of them, each at its own rate in bytes a second.
struct Live {
    scene: Scene,
    rates: Vec<f64>,
    waiting: Vec<Vec<Span>>,
    free: Vec<Duration>,
    /// What the reader still reads.
    read: Option<Range<u32>>,
}

impl Live {
    fn new(scene: Scene, rates: &[f64]) -> Self {
        let waiting = vec![Vec::new(); rates.len()];
        let free = vec![Duration::ZERO; rates.len()];
        Self { scene, rates: rates.to_vec(), waiting, free, read: None }
    }

    fn read(&mut self, pieces: Range<u32>) {
        self.read = Some(pieces);
        self.advance_reader();
    }

    /// The reader reads on as far as it can.
    fn advance_reader(&mut self) {
        let (download, geometry) = (&mut self.scene.download, self.scene.geometry);
        let Some(read) = &mut self.read else { return };
        let has = |piece: u32| geometry.index(piece.into()).is_some_and(|p| download.have().has(p));
        while read.start < read.end && has(read.start) {
            read.start += 1;
        }
        assert!(download.set_reader(READER, read.clone()));
    }

    /// Runs for a while; returns what has come.
    fn run(&mut self, time: Duration) -> Vec<Came> {
        let (until, mut came) = (self.scene.now + time, Vec::new());
        while self.scene.now < until && !self.scene.download.is_complete() {
            let (_, spans) = self.scene.jobs();
            spans.into_iter().for_each(|(link, span)| self.waiting[link.0 as usize].push(span));
            for action in self.scene.actions() {
                if let Action::Cancel(link, piece) = action {
                    self.waiting[link.0 as usize].retain(|span| span.piece != piece);
                }
            }
            for link in 0..self.rates.len() {
                came.extend(self.deliver(link));
            }
            self.advance_reader();
            self.scene.now += Duration::from_millis(1);
            if self.scene.now.as_millis().is_multiple_of(100) {
                self.scene.download.tick(self.scene.now);
            }
        }
        came
    }

    fn deliver(&mut self, link: usize) -> Vec<Came> {
        let (scene, mut came) = (&mut self.scene, Vec::new());
        if self.waiting[link].is_empty() {
            self.free[link] = scene.now;
        }
        while let Some(&span) = self.waiting[link].first() {
            let time = Duration::from_secs_f64(f64::from(span.len) / self.rates[link]);
            if self.free[link] + time > scene.now {
                break;
            }
            self.free[link] += time;
            self.waiting[link].remove(0);
            let (key, now) = (LinkKey(link as u64), scene.now);
            if scene.download.block_received(now, key, span) == BlockFate::Completed {
                came.push((span.piece.get(), key.0, now));
                scene.download.verified(now, span.piece, key);
            }
        }
        came
    }
}

#[test]
fn the_window_comes_first_over_several_links_with_the_ends_of_the_file() {
    let mut scene = scene(4);
    assert!(scene.download.set_reader(READER, 20..30));
    let (jobs, _) = scene.jobs();
    assert_eq!(pieces(&jobs), [0, 20, 21, 22, 23, 24, 25, 63]);
    let links: BTreeSet<u64> = jobs.iter().map(|&(link, _)| link).collect();
    assert_eq!(links.len(), 4, "every link helps: {jobs:?}");
}

#[test]
fn two_readers_have_their_turns() {
    let mut scene = scene(4);
    assert!(scene.download.set_reader(READER, 20..30));
    assert!(scene.download.set_reader(ReaderKey(2), 40..42));
    assert_eq!(pieces(&scene.jobs().0), [0, 20, 21, 22, 23, 40, 41, 63]);
}

#[test]
fn a_reader_that_moves_takes_its_window_along_and_one_that_goes_leaves_none() {
    let mut live = Live::new(scene(1), &[10e6]);
    assert!(live.scene.download.set_reader(READER, 20..30));
    assert!(live.scene.download.set_reader(READER, 50..60));
    let came = live.run(Duration::from_millis(15));
    assert_eq!(came.iter().map(|came| came.0).collect::<Vec<_>>(), [50, 0]);
    live.scene.download.remove_reader(READER);
    let came: Vec<u32> = live.run(SECOND / 10).iter().map(|came| came.0).collect();
    assert!(came[..3].contains(&63), "the end comes early: {came:?}");
    assert!(came[5..10] != [54, 55, 56, 57, 58], "nobody reads there any more: {came:?}");
}

#[test]
fn readers_and_windows_are_bounded() {
    let mut scene = scene(1);
    for reader in 0..READERS_MAX as u64 {
        assert!(scene.download.set_reader(ReaderKey(reader), 0..u32::MAX));
    }
    assert!(!scene.download.set_reader(ReaderKey(99), 0..1), "one too many");
    assert!(scene.download.set_reader(READER, u32::MAX..u32::MAX), "it is at the end of the file");
    let longest = scene.download.readers.windows.values().map(ExactSizeIterator::len).max();
    assert_eq!(longest, Some(WINDOW_PIECES_MAX as usize));
    scene.download.remove_reader(ReaderKey(99));
    scene.download.remove_reader(READER);
    assert!(scene.download.set_reader(ReaderKey(99), 0..1));
}

/// Of two links, one is 50 times as fast: what is read comes over that one, and the other is of use
/// all the same.
#[test]
fn a_slow_link_does_not_hold_up_the_reader() {
    let mut live = Live::new(scene(2), &[1e6, 4e4]);
    // Long enough that its rate is known.
    let before = live.run(2 * SECOND);
    assert!(before.iter().any(|&(_, link, _)| link == 1), "{before:?}");
    let missing = |live: &Live, piece: u32| live.scene.download.picker.state(piece);
    let lacking: Vec<u32> =
        (0..64).filter(|&piece| missing(&live, piece) == PieceState::Missing).collect();
    let (begun, first) = (live.scene.now, *lacking.first().unwrap());
    live.read(first..64);
    let came = live.run(10 * SECOND);
    let missing: Vec<&Came> = came.iter().filter(|came| lacking.contains(&came.0)).collect();
    let last = missing.iter().map(|came| came.2).max().unwrap() - begun;
    let bound = (lacking.len() as u32 * PIECE) as f64 / 1e6;
    assert!(
        missing.len() == lacking.len() && last.as_secs_f64() < bound + 0.5,
        "{last:?}: {came:?}"
    );
    // What came before each, by number, came by the fast link in about the time that it takes.
    for came in &missing {
        let before = missing.iter().filter(|other| other.0 <= came.0).count();
        let expected = (before as u32 * PIECE) as f64 / 1e6 + 0.6;
        assert!(
            (came.2 - begun).as_secs_f64() < expected,
            "{came:?} within {expected}: {missing:?}"
        );
    }
}

/// Only the slow link has what is read.
#[test]
fn a_piece_that_only_a_slow_link_has_is_asked_of_it() {
    let (all, most) = ("x".repeat(64), ["x".repeat(40), ".".into(), "x".repeat(23)].concat());
    let mut live = Live::new(Scene::new(&[most.as_str(), all.as_str()]), &[5e6, 3e5]);
    let came = live.run(SECOND / 5);
    assert!(!came.iter().any(|came| came.0 == 40));
    let begun = live.scene.now;
    live.read(40..60);
    let came = live.run(10 * SECOND);
    let at = came.iter().find(|came| came.0 == 40).unwrap().2;
    // What that link brings already, and this piece.
    assert!(at - begun < SECOND, "{:?}: {came:?}", at - begun);
}

/// The reader comes when its piece is on its way over a link that has become slow.
#[test]
fn a_piece_that_is_waited_for_is_asked_for_twice_within_bounds() {
    for rate in [1.0, 2e4] {
        let mut live = Live::new(scene(2), &[5e6, 5e6]);
        live.run(SECOND / 20);
        let of_second = |(piece, active): (&PieceIndex, &super::super::Active)| {
            (active.copies == [LinkKey(1)]).then_some(piece.get())
        };
        let piece = live.scene.download.active.iter().find_map(of_second).unwrap();
        live.rates[1] = rate;
        let begun = live.scene.now;
        live.read(piece..piece + 1);
        let came = live.run(10 * SECOND);
        let at = came.iter().find(|came| came.0 == piece).expect("it came").2;
        assert!(at - begun < 3 * SECOND, "after {:?}", at - begun);
        let bound = (live.scene.geometry.len() / DUPLICATES_PART).max(4 * u64::from(PIECE));
        let duplicated = live.scene.download.readers.duplicated;
        assert!((1..=bound).contains(&duplicated), "{duplicated}");
    }
}

/// Without a reader a download makes the very same choices as one that knows no readers: nothing is
/// looked at, and no random number is drawn.
#[test]
fn without_readers_nothing_is_looked_at() {
    let scene = scene(3);
    assert!(!scene.download.readers.wants_ends && !scene.download.is_awaited());
    let mut idle = Readers::default();
    assert_eq!(idle.order(64).count(), 0);
    idle.wants_ends = true;
    assert_eq!(idle.order(64).map(|(piece, _)| piece).collect::<Vec<_>>(), [0, 63]);
    assert_eq!(idle.order(0).count(), 0);
}

/// The pieces by rank, computed from the definition.
fn naive(windows: &[Range<u32>], count: u32) -> Vec<u32> {
    let mut ranked: Vec<(u32, usize, u32)> = Vec::new();
    for (reader, window) in windows.iter().enumerate() {
        ranked.extend(window.clone().take(WINDOW_PIECES_MAX as usize).filter(|p| *p < count).map(
            |piece| {
                let distance = piece - window.start;
                (if distance == 0 { 0 } else { distance + 1 }, reader, piece)
            },
        ));
    }
    if !windows.is_empty() {
        ranked.extend([0, count - 1].map(|piece| (1, 0, piece)));
    }
    ranked.sort_by_key(|&(rank, reader, _)| (rank, reader));
    ranked.into_iter().map(|(.., piece)| piece).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Whatever links have and readers want: each link is given the first piece in order that it
    /// has, and any other only when it has none of those.
    #[test]
    fn choices_agree_with_a_naive_order(
        (count, have, links) in (1..150u32).prop_flat_map(|count| (
            Just(count),
            prop::collection::vec(any::<bool>(), count as usize),
            prop::collection::vec(prop::collection::vec(any::<bool>(), count as usize), 1..5),
        )),
        readers in prop::collection::vec((0..160u32, 0..50u32), 0..4),
        seed in any::<u64>(),
    ) {
        let geometry = Geometry::new(u64::from(count) * u64::from(PIECE), PIECE).unwrap();
        let field = |bits: &[bool]| {
            let mut field = Bitfield::empty(count);
            let set = bits.iter().zip(geometry.indexes()).filter(|(bit, _)| **bit);
            set.for_each(|(_, piece)| _ = field.insert(piece));
            field
        };
        let mut download = Download::new(geometry, field(&have), Options::default(), seed);
        let traits = LinkTraits { block_len_max: PIECE, requests_max: 64, fast: true };
        for (link, bits) in (0..).map(LinkKey).zip(&links) {
            download.join(Duration::ZERO, link, traits);
            download.peer_bitfield(link, field(bits));
            download.unchoked(Duration::ZERO, link);
        }
        let windows: Vec<Range<u32>> =
            readers.iter().map(|&(start, len)| start..start.saturating_add(len)).collect();
        for (reader, window) in (0..).map(ReaderKey).zip(&windows) {
            prop_assert!(download.set_reader(reader, window.clone()));
        }
        let order = naive(&windows, count);
        loop {
            let missing: Vec<bool> =
                (0..count).map(|piece| download.picker.state(piece) == PieceState::Missing).collect();
            let Some(job) = download.next_job(Duration::ZERO) else { break };
            let offers = |piece: u32| links[job.link.0 as usize][piece as usize];
            let first = order.iter().copied().find(|&p| missing[p as usize] && offers(p));
            prop_assert!(missing[job.piece.as_usize()] && offers(job.piece.get()));
            if let Some(first) = first {
                prop_assert_eq!(job.piece.get(), first);
            }
            download.check_invariants();
        }
    }
}
