//! In whatever order pieces come, the digest is that of the whole.

use proptest::prelude::*;

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
        Self { bytes, geometry, front: Front::default(), have, buffers: Arc::default(), sum: Arc::default() }
    }

    fn piece(&self, number: u32) -> (PieceIndex, Buffer) {
        let piece = self.geometry.index(number.into()).unwrap();
        let (start, len) = (self.geometry.offset(piece) as usize, self.geometry.len_of(piece) as usize);
        let mut buffer = self.buffers.take(len);
        buffer.copy_from_slice(&self.bytes[start..start + len]);
        (piece, buffer)
    }

    /// A worker checks a piece; `alter` makes it a wrong one.
    fn check(&mut self, number: u32, alter: bool) {
        let (piece, mut buffer) = self.piece(number);
        let want = digest(&buffer);
        buffer[0] ^= u8::from(alter);
        let good = match self.front.goes_beside(piece).then(|| self.front.lend()).flatten() {
            Some(mut lent) => {
                let good = lent.check(&buffer, &want);
                self.front.take_back(lent);
                good
            }
            None => digest(&buffer) == want,
        };
        assert_eq!(good, !alter);
        if good {
            self.have.insert(piece);
            self.front.keep(piece, buffer, &self.sum);
        }
    }

    /// The download's thread does what there is to do.
    fn run_thread(&mut self) {
        while self.front.next < self.geometry.piece_count() && self.front.is_due(&self.have, &self.geometry, true) {
            let mut lent = self.front.lend().unwrap();
            let read = self.piece(lent.piece).1;
            let bytes = lent.kept.take().map_or_else(|| read.to_vec(), |kept| kept.to_vec());
            lent.advanced = Some(lent.hasher.clone().chain_update(bytes));
            self.front.take_back(lent);
        }
    }
}

proptest! {
    /// In whatever order the pieces come, some of them wrong at first, and whenever the thread looks: the digest is that of the file.
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
        assert!(!world.front.is_due(&world.have, &world.geometry, true), "after piece {number}");
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

#[test]
fn whoever_comes_a_little_early_waits_and_nobody_else() {
    let mut front = Front::default();
    assert!(!front.is_worth_waiting(0) && !front.is_worth_waiting(1), "nobody has the turn");
    let lent = front.lend().unwrap();
    assert!(front.is_worth_waiting(1) && front.is_worth_waiting(2) && !front.is_worth_waiting(0));
    assert!(!front.is_worth_waiting(KEPT_MAX as u32), "too far ahead");
    front.alone = true;
    assert!(!front.is_worth_waiting(1), "the download's thread may read for long");
    front.alone = false;
    front.waiting = vec![1, 2];
    assert!(!front.is_worth_waiting(3), "enough wait");
    let next = Lent { advanced: Some(Sha1::new()), ..lent };
    front.take_back(next);
    assert!(!front.is_worth_waiting(1) && front.is_worth_waiting(2), "the turn is that of piece 1");
    front.waiting = vec![2];
    assert!(!front.is_worth_waiting(2), "nobody brings piece 1");
}

#[test]
fn what_an_earlier_run_left_waits_until_this_one_has_brought_something() {
    let mut world = World::new();
    world.have.insert(world.piece(0).0);
    assert!(!world.front.is_due(&world.have, &world.geometry, false));
    assert!(world.front.is_due(&world.have, &world.geometry, true));
    world.run_thread();
    assert_eq!(world.front.next, 1);
}
