//! In whatever order pieces come, the digest is that of the whole.

use proptest::prelude::*;

use super::super::LinkKey;
use super::super::pool::Buffers;
use super::*;

const LEN: u64 = 10 * (16 << 10) + 77;

fn digest(bytes: &[u8]) -> Sha1Digest {
    Sha1Digest::from_bytes(Sha1::digest(bytes).into())
}

/// A front with what it is told, and what it is to be told.
struct World {
    bytes: Vec<u8>,
    geometry: Geometry,
    front: Front,
    have: Bitfield,
    buffers: Arc<Buffers>,
    sum: Arc<KeptSum>,
}

impl World {
    fn new() -> Self {
        let bytes: Vec<u8> = (0..LEN).map(|i| (i * 7 % 251) as u8).collect();
        let geometry = Geometry::new(LEN, 16 << 10).unwrap();
        let have = Bitfield::empty(geometry.piece_count());
        Self {
            bytes,
            geometry,
            front: Front::default(),
            have,
            buffers: Arc::default(),
            sum: Arc::default(),
        }
    }

    fn piece(&self, number: u32) -> (PieceIndex, Buffer) {
        let piece = self.geometry.index(number.into()).unwrap();
        let (start, len) =
            (self.geometry.offset(piece) as usize, self.geometry.len_of(piece) as usize);
        let mut buffer = self.buffers.take(len);
        buffer.copy_from_slice(&self.bytes[start..start + len]);
        (piece, buffer)
    }

    /// A worker checks a piece; `alter` makes it a wrong one.
    fn check(&mut self, number: u32, alter: bool) {
        let (piece, mut buffer) = self.piece(number);
        let want = digest(&buffer);
        buffer[0] ^= u8::from(alter);
        let good = match self.front.lend_beside(piece, self.is_near()) {
            Some(mut lent) => {
                let earlier = (lent.piece != number).then(|| self.bytes_of(&lent));
                let good = lent.check(&buffer, &want, earlier.as_deref());
                self.front.take_back(lent);
                good
            }
            None => digest(&buffer) == want,
        };
        assert_eq!(good, !alter);
        if good {
            self.have.insert(piece);
            self.front.keep(piece, &Arc::new(buffer), &self.sum);
        }
        if let Some(lent) = self.front.lend_behind(self.is_near()) {
            self.advance(lent);
        }
    }

    fn is_near(&self) -> bool {
        self.front.next >= self.front.old_end && self.is_there(self.front.next)
    }

    fn is_there(&self, number: u32) -> bool {
        self.geometry.index(number.into()).is_some_and(|piece| self.have.has(piece))
    }

    /// What is kept of the piece that the front waits for, or can be read.
    fn bytes_of(&self, lent: &Lent) -> Vec<u8> {
        assert!(
            lent.kept.is_some() || self.is_there(lent.piece),
            "what was not verified is in the digest"
        );
        lent.kept.as_deref().map_or_else(|| self.piece(lent.piece).1.to_vec(), <[u8]>::to_vec)
    }

    fn advance(&mut self, mut lent: Lent) {
        lent.advanced = Some(lent.hasher.clone().chain_update(self.bytes_of(&lent)));
        self.front.take_back(lent);
    }

    /// When the download's thread has something to do, if it has.
    fn due(&self, grown: bool) -> Option<Instant> {
        self.front.due(&self.have, &self.geometry, grown)
    }

    fn is_due_now(&self) -> bool {
        self.due(true).is_some_and(|due| due <= Instant::now())
    }

    /// The download's thread does what there is to do, after a while in which no worker did.
    fn run_thread(&mut self) {
        while self.front.next < self.geometry.piece_count() && self.due(true).is_some() {
            let lent = self.front.lend_alone().unwrap();
            self.advance(lent);
        }
    }
}

proptest! {
    /// In whatever order the pieces come, some of them wrong at first, and whenever the thread
    /// looks: the digest is that of the file.
    #[test]
    fn the_digest_is_that_of_the_whole(
        order in Just((0..11).collect::<Vec<u32>>()).prop_shuffle(),
        wrong in prop::collection::vec(any::<bool>(), 11),
        looks in prop::collection::vec(any::<bool>(), 11),
    ) {
        let mut world = World::new();
        for (number, (wrong, looks)) in order.into_iter().zip(wrong.into_iter().zip(looks)) {
            if wrong {
                world.check(number, true);
            }
            world.check(number, false);
            if looks {
                world.run_thread();
            }
            prop_assert!(world.front.kept.len() <= KEPT_MAX);
            prop_assert_eq!(world.front.digest(11).is_some(), world.front.next == 11);
        }
        world.run_thread();
        prop_assert_eq!(world.front.digest(11), Some(digest(&world.bytes)));
    }
}

#[test]
fn pieces_in_order_leave_nothing_for_the_thread() {
    let mut world = World::new();
    for number in 0..10 {
        world.check(number, false);
        assert_eq!(world.due(true), None, "after piece {number}");
    }
    world.check(10, false);
    assert_eq!(world.front.digest(11), Some(digest(&world.bytes)));
}

#[test]
fn what_an_earlier_front_lent_changes_nothing() {
    let mut world = World::new();
    let mut lent = world.front.lend().unwrap();
    lent.advanced = Some(Sha1::new_with_prefix("another file"));
    world.front = Front::default();
    world.front.take_back(lent);
    (0..11).for_each(|number| world.check(number, false));
    assert_eq!(world.front.digest(11), Some(digest(&world.bytes)));
}

/// A piece that is to be checked.
fn check(world: &World, number: u32) -> Check {
    let (piece, buffer) = world.piece(number);
    Check { link: LinkKey(1), piece, buffer }
}

/// The pieces that are left to whoever began with `id`.
fn left(front: &mut Front, id: u64) -> Vec<u32> {
    std::iter::from_fn(|| front.next_check(id)).map(|check| check.piece.get()).collect()
}

#[test]
fn what_comes_while_somebody_has_the_turn_is_left_to_it() {
    let mut world = World::new();
    let [third, second, first] = [2, 1, 0].map(|number| check(&world, number));
    let first = world.front.leave(first).expect_err("nobody checks any");
    let id = world.front.begin();
    let lent = world.front.lend_beside(first.piece, false).unwrap();
    assert!(world.front.leave(third).is_ok() && world.front.leave(second).is_ok());
    let other = world.front.begin();
    assert!(
        left(&mut world.front, other).is_empty(),
        "another leaves them to the one that has the turn"
    );
    world.front.take_back(lent);
    assert_eq!(left(&mut world.front, id), [1, 2], "the first in the file first");
    assert_eq!(world.front.checkers, 0);
    let again = check(&world, 3);
    assert!(world.front.leave(again).is_err(), "it has ended");
}

#[test]
fn none_is_checked_beside_the_one_who_has_much_to_go_on_with() {
    let mut world = World::new();
    let id = world.front.begin();
    (1..=KEPT_HIGH as u32).for_each(|number| world.check(number, false));
    let [ninth, again] = [9, 9].map(|number| check(&world, number));
    assert!(world.front.leave(ninth).is_err(), "the first is not there: nobody can go on");
    let first = world.piece(0);
    world.have.insert(first.0);
    world.front.keep(first.0, &Arc::new(first.1), &world.sum);
    assert!(world.front.leave(again).is_ok());
    assert!(Front::default().next_check(id).is_none(), "that was another front's");
    assert_eq!(left(&mut world.front, id), [9]);
}

#[test]
fn what_is_left_when_one_ends_is_for_the_next_who_begins() {
    let mut world = World::new();
    let id = world.front.begin();
    let lent = world.front.lend_beside(world.piece(0).0, false).unwrap();
    let [first, second, third] = [1, 2, 3].map(|number| check(&world, number));
    assert!(world.front.leave(first).is_ok() && world.front.leave(second).is_ok());
    world.front.take_back(lent);
    let handed_over = world.front.next_check(id).unwrap();
    world.front.end(id);
    let handed_over = world.front.leave(handed_over).expect_err("nobody checks any");
    assert_eq!(handed_over.piece.get(), 1);
    let id = world.front.begin();
    assert!(world.front.leave(third).is_err());
    assert_eq!(left(&mut world.front, id), [2]);
}

#[test]
fn whoever_brings_too_many_is_told() {
    let mut world = World::new();
    let lent = world.front.lend_beside(world.piece(0).0, false);
    assert!(lent.is_some());
    for _ in 0..WAITING_MAX {
        assert!(!world.front.is_crowded());
        let check = check(&world, 1);
        assert!(world.front.leave(check).is_ok());
    }
    assert!(world.front.is_crowded());
}

#[test]
fn a_worker_goes_on_over_what_is_there_if_that_is_near() {
    let mut world = World::new();
    let [first, second, third] = [0, 1, 2].map(|number| world.piece(number).0);
    assert!(world.front.lend_beside(third, false).is_none(), "nothing is there");
    // Two pieces that nobody kept.
    [first, second].into_iter().for_each(|piece| _ = world.have.insert(piece));
    world.check(2, false);
    assert_eq!(world.front.next, 2, "one beside it, and one behind");
    world.check(3, false);
    assert_eq!(world.front.next, 3);
    world.front = Front::new(&world.have, &world.geometry);
    assert_eq!(world.front.old_end, 4);
    world.check(4, false);
    assert_eq!(world.front.next, 0, "an earlier run left it: it may have to be read from the disk");
}

#[test]
fn what_cannot_be_read_is_left_to_the_thread() {
    let mut world = World::new();
    world.have.insert(world.piece(0).0);
    let mut lent = world.front.lend_behind(world.is_near()).unwrap();
    lent.is_unread = true;
    world.front.take_back(lent);
    assert!(!world.is_near() && world.is_due_now());
}

#[test]
fn the_thread_goes_on_by_itself_where_workers_do_not() {
    let mut world = World::new();
    [0, 1].into_iter().for_each(|number| _ = world.have.insert(world.piece(number).0));
    assert!(world.is_due_now(), "no worker ever did");
    let taken = Instant::now() + Duration::from_secs(60);
    world.front.taken_at = Some(taken);
    assert_eq!(world.due(true), Some(taken + QUIET));
    let lent = world.front.lend_alone().unwrap();
    assert_eq!(world.due(true), None, "somebody is at it");
    let [third, fourth] = [2, 3].map(|number| check(&world, number));
    assert!(world.front.leave(third).is_err(), "it may have to wait for the disk");
    world.front.take_back(lent);
    let first = world.piece(0);
    world.front.keep(first.0, &Arc::new(first.1), &world.sum);
    let lent = world.front.lend_alone().unwrap();
    assert!(world.front.leave(fourth).is_ok(), "that is checked next");
    world.front.take_back(lent);
    (2..11).for_each(|number| _ = world.have.insert(world.piece(number).0));
    assert!(world.is_due_now(), "everything is there");
    let geometry = Geometry::new(1 << 30, 16 << 10).unwrap();
    let mut have = Bitfield::empty(geometry.piece_count());
    (0..BACKLOG_MAX).for_each(|number| _ = have.insert(geometry.index(number.into()).unwrap()));
    let is_due =
        |front: &Front| front.due(&have, &geometry, true).is_some_and(|due| due <= Instant::now());
    assert!(is_due(&world.front), "much is there");
    world.front.begin();
    assert!(!is_due(&world.front), "somebody checks, and takes it along");
}

#[test]
fn what_an_earlier_run_left_waits_until_this_one_has_brought_something() {
    let mut world = World::new();
    world.have.insert(world.piece(0).0);
    world.front = Front::new(&world.have, &world.geometry);
    assert_eq!(world.due(false), None);
    assert!(world.due(true).is_some());
    world.run_thread();
    assert_eq!(world.front.next, 1);
}
