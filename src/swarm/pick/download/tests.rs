//! Scenarios of one download: who is asked, who is asked next, and who is never asked again.

use super::*;
use crate::types::Span;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const PIECE: u32 = 64 << 10;
const FAST: LinkTraits = LinkTraits { block_len_max: PIECE, requests_max: 64, fast: true };

/// A link's number and a piece's.
pub(super) type Pair = (u64, u32);

/// A download with one unchoked link for each string (`x`: has the piece), numbered from 0.
pub(super) struct Scene {
    pub(super) download: Download,
    pub(super) geometry: Geometry,
    pub(super) now: Duration,
}

impl Scene {
    pub(super) fn new(peers: &[&str]) -> Self {
        Self::with(peers, Options::default())
    }

    pub(super) fn with(peers: &[&str], options: Options) -> Self {
        let geometry = Geometry::new(peers[0].len() as u64 * u64::from(PIECE), PIECE).unwrap();
        let download = Download::new(geometry, Bitfield::empty(geometry.piece_count()), options, 1);
        let mut scene = Self { download, geometry, now: Duration::ZERO };
        peers.iter().zip(0..).for_each(|(peer, link)| scene.join(link, peer, FAST));
        scene
    }

    pub(super) fn join(&mut self, link: u64, peer: &str, traits: LinkTraits) {
        let mut field = Bitfield::empty(self.geometry.piece_count());
        peer.bytes()
            .zip(self.geometry.indexes())
            .filter(|(c, _)| *c == b'x')
            .for_each(|(_, piece)| _ = field.insert(piece));
        self.download.join(self.now, LinkKey(link), traits);
        self.download.peer_bitfield(LinkKey(link), field);
        self.download.unchoked(self.now, LinkKey(link));
    }

    pub(super) fn piece(&self, number: u64) -> PieceIndex {
        self.geometry.index(number).unwrap()
    }

    /// Takes and starts every job there is: `(link, piece)` each, and the blocks.
    pub(super) fn jobs(&mut self) -> (Vec<Pair>, Vec<(LinkKey, Span)>) {
        let (mut jobs, mut spans) = (Vec::new(), Vec::new());
        while let Some(job) = self.download.next_job(self.now) {
            jobs.push((job.link.0, job.piece.get()));
            let asked = self.download.start(self.now, &job).unwrap();
            spans.extend(asked.into_iter().map(|span| (job.link, span)));
            self.download.check_invariants();
        }
        jobs.sort_unstable();
        (jobs, spans)
    }

    pub(super) fn receive(&mut self, spans: &[(LinkKey, Span)]) {
        for &(link, span) in spans {
            assert_ne!(self.download.block_received(self.now, link, span), BlockFate::Unwanted);
        }
    }

    pub(super) fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.download.poll_action())
            .filter(|action| !matches!(action, Action::Interested(..)))
            .collect()
    }
}

#[test]
fn a_file_comes_whole() {
    let mut scene = Scene::new(&["xxxxx"]);
    assert_eq!(scene.download.poll_action(), Some(Action::Interested(LinkKey(0), true)));
    let mut had = 0;
    while !scene.download.is_complete() {
        let (jobs, spans) = scene.jobs();
        assert!(!jobs.is_empty() && jobs.len() <= 2, "two pieces are in flight at first");
        scene.receive(&spans);
        had += jobs.len();
        jobs.iter().for_each(|&(_, piece)| {
            scene.download.verified(scene.now, scene.piece(u64::from(piece)), LinkKey(0))
        });
    }
    assert_eq!(had, 5);
    let actions: Vec<Action> = std::iter::from_fn(|| scene.download.poll_action()).collect();
    assert_eq!(actions.iter().filter(|action| matches!(action, Action::Have(_))).count(), 5);
    assert!(
        actions.contains(&Action::Complete)
            && actions.contains(&Action::Interested(LinkKey(0), false))
    );
}

#[test]
fn an_empty_file_and_a_complete_one_say_so() {
    for len in [0, 1] {
        let geometry = Geometry::new(len, PIECE).unwrap();
        let mut download =
            Download::new(geometry, Bitfield::full(geometry.piece_count()), Options::default(), 1);
        assert_eq!(download.poll_action(), Some(Action::Complete));
        assert!(download.is_complete() && download.next_job(SECOND).is_none());
        download.check_invariants();
    }
}

#[test]
fn load_is_spread_over_links() {
    let mut scene = Scene::new(&["xxxxxxxx", "xxxxxxxx", "xxxxxxxx"]);
    let (jobs, _) = scene.jobs();
    let links: Vec<u64> = jobs.iter().map(|job| job.0).collect();
    assert_eq!(links, [0, 0, 1, 1, 2, 2]);
}

#[test]
fn a_suggestion_goes_before_rarity() {
    let mut scene = Scene::new(&["xxxxxxxx", "xxxxxxx.", ".......x"]);
    scene.download.suggested(LinkKey(1), scene.piece(3));
    scene.download.suggested(LinkKey(1), scene.piece(7));
    let (jobs, _) = scene.jobs();
    assert!(jobs.contains(&(1, 3)), "{jobs:?}");
    assert_eq!(
        scene.download.peer_pieces(LinkKey(1)).iter_ones().collect::<Vec<_>>(),
        [0, 1, 2, 3, 4, 5, 6]
    );
    assert!(
        scene.download.peer_pieces(LinkKey(0)).is_full()
            && scene.download.peer_pieces(LinkKey(9)).is_empty()
    );
    assert!(!jobs.contains(&(1, 7)), "it has not got it: {jobs:?}");
}

#[test]
fn a_fast_link_is_asked_for_what_it_brings_in_some_milliseconds() {
    for (rate, window) in [(10e6, 1..=2), (200e6, 20..=30)] {
        let mut scene = Scene::new(&["x".repeat(2_000).as_str()]);
        let mut waiting = VecDeque::new();
        while scene.now < SECOND / 5 {
            waiting.extend(scene.jobs().1);
            let (link, span) = waiting.pop_front().unwrap();
            scene.now += Duration::from_secs_f64(f64::from(span.len) / rate);
            scene.receive(&[(link, span)]);
            scene.download.verified(scene.now, span.piece, link);
        }
        let stats = scene.download.link_stats(LinkKey(0)).unwrap();
        assert!(window.contains(&(stats.window / u64::from(PIECE))), "{rate}: {stats:?}");
    }
}

#[test]
fn the_sum_of_windows_is_bounded() {
    let options = Options { window_sum_max: 3 * u64::from(PIECE), ..Options::default() };
    let mut scene = Scene::with(&["xxxxxxxx"; 5], options);
    let (jobs, spans) = scene.jobs();
    assert_eq!(jobs.len(), 3);
    scene.receive(&spans);
    assert_eq!(scene.jobs().0.len(), 0, "pieces being hashed hold their buffers");
    let link = LinkKey(jobs[0].0);
    scene.download.verified(scene.now, scene.piece(u64::from(jobs[0].1)), link);
    assert_eq!(scene.jobs().0.len(), 1);
}

#[test]
fn a_corrupt_piece_is_asked_elsewhere_and_two_are_a_ban() {
    let mut scene = Scene::new(&["x.xxx", "x...."]);
    let (jobs, spans) = scene.jobs();
    let on_zero: Vec<_> = spans.iter().copied().filter(|(link, _)| link.0 == 0).collect();
    scene.receive(&on_zero);
    let pieces: Vec<u32> = jobs.iter().filter(|job| job.0 == 0).map(|job| job.1).collect();
    scene.download.corrupt(scene.now, scene.piece(u64::from(pieces[0])), LinkKey(0));
    assert_eq!(scene.actions(), []);
    // Only link 0 has any piece but the first: it is asked again for what it spoilt.
    scene.now += SECOND;
    scene.download.corrupt(scene.now, scene.piece(u64::from(pieces[1])), LinkKey(0));
    assert_eq!(scene.actions(), [Action::Ban(LinkKey(0))]);
    assert_eq!(scene.download.unoffered(9).0, 4);
    assert!(scene.jobs().0.iter().all(|job| job.0 == 1));
}

#[test]
fn a_spoilt_piece_is_retried_where_it_is_alone() {
    let mut scene = Scene::new(&["x"]);
    let (_, spans) = scene.jobs();
    scene.receive(&spans);
    scene.download.corrupt(scene.now, scene.piece(0), LinkKey(0));
    assert_eq!(scene.jobs().0, [(0, 0)]);
    scene.join(1, "x", FAST);
    scene.download.choked(scene.now, LinkKey(0));
    scene.download.block_rejected(scene.now, LinkKey(0), spans[0].1);
    scene.download.unchoked(scene.now, LinkKey(0));
    assert_eq!(scene.jobs().0, [(1, 0)]);
    scene.actions();
    scene.download.suspect(LinkKey(1));
    scene.receive(&spans.iter().map(|&(_, span)| (LinkKey(1), span)).collect::<Vec<_>>());
    scene.download.corrupt(scene.now, scene.piece(0), LinkKey(1));
    assert_eq!(scene.actions(), [Action::Ban(LinkKey(1))], "its device had one strike already");
}

#[test]
fn leaving_and_choking_give_pieces_back() {
    let slow = LinkTraits { fast: false, ..FAST };
    let mut scene = Scene::new(&["..", "..", ".."]);
    scene.join(5, "xx", slow);
    assert_eq!(scene.jobs().0.len(), 2);
    scene.download.choked(scene.now, LinkKey(5));
    assert_eq!(scene.actions().len(), 2, "both chunks are cancelled");
    assert_eq!(scene.download.stats().in_flight, 0);
    scene.join(6, "xx", FAST);
    let (_, spans) = scene.jobs();
    scene.download.choked(scene.now, LinkKey(6));
    assert_eq!(scene.download.stats().in_flight, 2, "a fast peer answers what it was asked");
    scene.receive(&spans[..1]);
    scene.download.leave(scene.now, LinkKey(6));
    assert_eq!(scene.actions(), []);
    assert_eq!(scene.download.stats().in_flight, 0);
    scene.download.check_invariants();
}

#[test]
fn an_overtaken_job_is_dropped() {
    let mut scene = Scene::new(&["xx"]);
    let job = scene.download.next_job(scene.now).unwrap();
    scene.download.choked(scene.now, LinkKey(0));
    assert_eq!(scene.download.start(scene.now, &job), None);
    scene.download.unchoked(scene.now, LinkKey(0));
    let again: Vec<ChunkJob> = std::iter::from_fn(|| scene.download.next_job(scene.now)).collect();
    assert_eq!(again.len(), 2);
    assert_eq!(
        scene.download.start(scene.now, &job),
        None,
        "the same piece and link, but another job"
    );
    assert!(scene.download.start(scene.now, &again[0]).is_some());
}

#[test]
fn requests_are_held_back_for_a_peer_that_keeps_few() {
    let foreign = LinkTraits { block_len_max: 16 << 10, requests_max: 3, fast: false };
    let mut scene = Scene::new(&["."]);
    scene.join(1, "x", foreign);
    let (_, spans) = scene.jobs();
    assert_eq!(spans.len(), 3);
    assert!(scene.download.more_requests(scene.now, LinkKey(1)).is_empty());
    scene.receive(&spans[1..2]);
    let more = scene.download.more_requests(scene.now, LinkKey(1));
    assert_eq!(more.len(), 1);
    assert_eq!(
        scene.download.block_received(scene.now, LinkKey(1), spans[1].1),
        BlockFate::Unwanted,
        "it came already"
    );
    scene.receive(&[spans[0], spans[2]]);
    assert_eq!(scene.download.block_received(scene.now, LinkKey(1), more[0]), BlockFate::Completed);
}

/// A silent link loses its pieces after ten seconds, gets one at a time after that, and only when
/// nobody better has room.
#[test]
fn silence_is_not_waited_for() {
    let mut scene = Scene::new(&["xxxx"]);
    assert_eq!(scene.jobs().0.len(), 2);
    scene.now += 9 * SECOND;
    scene.download.tick(scene.now);
    assert_eq!(scene.actions(), []);
    scene.now += 2 * SECOND;
    scene.download.tick(scene.now);
    assert_eq!(scene.actions().len(), 2);
    assert_eq!(scene.download.stats().timed_out, 2);
    scene.join(1, "xxxx", FAST);
    let jobs = scene.jobs().0;
    let of = |link| jobs.iter().filter(|job| job.0 == link).count();
    assert!(of(1) == 2 && of(0) <= 1, "{jobs:?}");
}

/// A peer that rejects everything is asked ever less often.
#[test]
fn a_link_that_brings_nothing_stands_still_after_two_seconds() {
    let mut scene = Scene::new(&["xxxxxxxx"]);
    let (_, spans) = scene.jobs();
    scene.now = SECOND / 10;
    scene.receive(&spans[..1]);
    let at = |scene: &mut Scene, now: Duration| {
        scene.download.tick(now);
        scene.download.stats().bytes_per_second
    };
    assert!(at(&mut scene, SECOND * 2) > 0);
    assert_eq!(at(&mut scene, SECOND * 21 / 10), 0);
    // Parts of a large block count, too.
    scene.download.data_arriving(SECOND * 3, LinkKey(0), spans[1].1.piece, 1);
    assert!(at(&mut scene, SECOND * 4) > 0);
    assert_eq!(at(&mut scene, SECOND * 6), 0);
}

#[test]
fn rejects_do_not_make_a_busy_loop() {
    let mut scene = Scene::new(&["xxxxxxxx"]);
    let mut rejects = 0;
    for _ in 0..3_000 {
        let (_, spans) = scene.jobs();
        rejects += spans.len();
        spans.iter().for_each(|&(link, span)| scene.download.block_rejected(scene.now, link, span));
        scene.now += SECOND / 100;
        scene.download.tick(scene.now);
    }
    assert!((5..40).contains(&rejects), "{rejects} in 30 s");
}

/// At the end a piece stuck at a silent link is asked for elsewhere too; one that is coming along
/// is not.
#[test]
fn the_endgame_duplicates_only_what_is_stuck() {
    let mut scene = Scene::new(&["x."]);
    assert_eq!(scene.jobs().0, [(0, 0)]);
    scene.join(1, "xx", FAST);
    let (jobs, spans) = scene.jobs();
    assert_eq!(jobs, [(1, 1)], "piece 0 is on its way");
    scene.receive(&spans);
    scene.download.verified(scene.now, scene.piece(1), LinkKey(1));
    scene.now += 3 * SECOND;
    let (jobs, spans) = scene.jobs();
    assert_eq!(jobs, [(1, 0)]);
    scene.actions();
    scene.receive(&spans);
    assert_eq!(
        scene.actions(),
        [Action::Cancel(LinkKey(0), scene.piece(0))],
        "the slower copy is given up"
    );
    scene.download.verified(scene.now, scene.piece(0), LinkKey(1));
    assert!(scene.download.is_complete());
}

#[test]
fn a_pause_stops_at_once_and_goes_on() {
    let mut scene = Scene::new(&["xxxx"]);
    let (_, spans) = scene.jobs();
    scene.actions();
    scene.download.set_paused(true);
    assert_eq!(scene.actions().len(), 2);
    assert_eq!(
        scene.download.block_received(scene.now, LinkKey(0), spans[0].1),
        BlockFate::Unwanted
    );
    assert!(scene.jobs().0.is_empty());
    scene.download.set_paused(false);
    assert_eq!(scene.jobs().0.len(), 2);
}

/// Until the metainfo is there: the peer is told at once that we want pieces, so that it serves us
/// by then.
#[test]
fn a_held_download_says_what_it_wants_and_asks_for_nothing() {
    let mut scene = Scene::new(&["xxxx"]);
    scene.download.set_held(true);
    assert!(scene.jobs().0.is_empty());
    scene.download.join(scene.now, LinkKey(7), FAST);
    scene.download.peer_has_all(LinkKey(7));
    let told: Vec<Action> = std::iter::from_fn(|| scene.download.poll_action()).collect();
    assert!(told.contains(&Action::Interested(LinkKey(7), true)), "{told:?}");
    scene.download.unchoked(scene.now, LinkKey(7));
    assert!(scene.jobs().0.is_empty());
    scene.download.set_held(false);
    assert_eq!(scene.jobs().0.len(), 4);
}

#[test]
fn a_failed_write_makes_the_piece_missing() {
    let mut scene = Scene::new(&["x"]);
    let (_, spans) = scene.jobs();
    scene.receive(&spans);
    scene.download.write_failed(scene.piece(0));
    scene.download.verified(scene.now, scene.piece(0), LinkKey(0));
    assert!(!scene.download.is_complete());
    assert_eq!(scene.jobs().0, [(0, 0)]);
}

/// A choice looks at the links that something happened to, and not at all of them.
#[test]
fn a_block_has_few_links_looked_at_however_many_there_are() {
    let pieces = "x".repeat(1_000);
    let mut scene = Scene::new(&[pieces.as_str(); 200]);
    let mut spans: VecDeque<(LinkKey, Span)> = VecDeque::new();
    let fill = |scene: &mut Scene, spans: &mut VecDeque<(LinkKey, Span)>| {
        while let Some(job) = scene.download.next_job(scene.now) {
            let asked = scene.download.start(scene.now, &job).unwrap();
            spans.extend(asked.into_iter().map(|span| (job.link, span)));
        }
    };
    fill(&mut scene, &mut spans);
    scene.download.check_invariants();
    let (before, blocks) = (scene.download.links_looked_at(), 400);
    for _ in 0..blocks {
        let (link, span) = spans.pop_front().unwrap();
        scene.receive(&[(link, span)]);
        scene.download.verified(scene.now, span.piece, link);
        fill(&mut scene, &mut spans);
    }
    scene.download.check_invariants();
    let each = (scene.download.links_looked_at() - before) / blocks;
    assert!(each <= 4, "{each} links looked at for each block");
}

#[test]
fn a_link_that_trickles_loses_its_pieces_to_one_that_does_not() {
    let mut scene = Scene::new(&["xxxxxxxxxxxx", "xxxxxxxxxxxx"]);
    let (_, spans) = scene.jobs();
    let (mut slow, mut fast): (Vec<_>, Vec<_>) =
        spans.into_iter().partition(|(link, _)| *link == LinkKey(0));
    let (stuck, count) = (slow[0].1.piece, slow.len());
    for tenth in 1..40 {
        scene.now = SECOND / 10 * tenth;
        if tenth % 10 == 5 {
            scene.download.data_arriving(scene.now, LinkKey(0), stuck, tenth / 10 + 1);
        }
        if !fast.is_empty() {
            let (_, span) = fast.remove(0);
            if scene.download.block_received(scene.now, LinkKey(1), span) == BlockFate::Completed {
                scene.download.verified(scene.now, span.piece, LinkKey(1));
            }
        }
        scene.download.tick(scene.now);
        scene.download.check_invariants();
        let (_, spans) = scene.jobs();
        let (more, others): (Vec<_>, Vec<_>) =
            spans.into_iter().partition(|(link, _)| *link == LinkKey(0));
        slow.extend(more);
        fast.extend(others);
    }
    assert!(scene.download.is_complete(), "{:?}", scene.download.stats());
    assert_eq!(slow.len(), count, "it was asked again");
}

#[test]
fn a_lone_link_that_trickles_keeps_its_pieces() {
    let mut scene = Scene::new(&["xxxx"]);
    let (jobs, spans) = scene.jobs();
    for second in 1..30 {
        scene.now = SECOND * second;
        scene.download.data_arriving(scene.now, LinkKey(0), spans[0].1.piece, second);
        scene.download.tick(scene.now);
    }
    assert_eq!(scene.download.stats().in_flight, jobs.len() as u32);
}

#[test]
fn a_bucket_tells_what_is_here_in_part_and_asked_for() {
    let options = Options { block_len_max: PIECE / 4, ..Options::default() };
    let mut scene = Scene::with(&["xxx.", "x..."], options);
    let (_, spans) = scene.jobs();
    let bucket = |scene: &Scene, piece: u32| scene.download.bucket(piece..piece + 1);
    let asked = |piece| spans.iter().filter(move |(_, span)| span.piece.get() == piece);
    let (begun, waiting) = (spans[0].1.piece.get(), spans.last().unwrap().1.piece.get());
    assert!(begun != waiting, "{spans:?}");
    assert_eq!((bucket(&scene, begun).requested, bucket(&scene, begun).partial), (1, 0));
    let (link, span) = *asked(begun).next().unwrap();
    assert_eq!(scene.download.block_received(scene.now, link, span), BlockFate::Accepted);
    assert_eq!((bucket(&scene, begun).requested, bucket(&scene, begun).partial), (0, 1));
    assert_eq!((bucket(&scene, waiting).requested, bucket(&scene, waiting).partial), (1, 0));
    let availability: Vec<u32> = (0..4).map(|piece| bucket(&scene, piece).availability).collect();
    assert_eq!(availability, [2, 1, 1, 0]);
    assert_eq!(scene.download.bucket(0..4).availability, 0, "of the rarest");
    let view = scene.download.link_view(link).unwrap();
    let open = spans.iter().filter(|(of, _)| *of == link).count() as u32 - 1;
    assert!(view.is_interested && view.is_unchoked);
    assert_eq!((view.received, view.requests), (u64::from(span.len), open));
}
