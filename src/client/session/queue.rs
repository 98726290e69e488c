//! The download queue: which downloads run, which wait, and in what order.
//!
//! **Invariant:** a download is in one lane at most. No more than `max` downloads hold a slot. A
//! free slot goes to the first waiting download.
//!
//! A download that has received nothing for long while others wait keeps running, but gives its
//! slot up ([`Queue::stalled`]): a file without seeders must not block files with seeders. At most
//! [`STALLED_MAX`] downloads run like this; beyond it the one that stalled first goes to the end of
//! the queue.
//!
//! Pure. A clone costs a few pointers.

use imbl::{HashMap, OrdSet, Vector};

use crate::types::{InfoHash, Rate};

/// Downloads that run without a slot, because they have stalled.
const STALLED_MAX: usize = 32;

/// The running and waiting downloads of a session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Queue {
    /// Maximum number of slots; 0 for any number.
    max: usize,
    /// No slot is given yet: the order is known when all downloads have entered.
    closed: bool,
    lanes: HashMap<InfoHash, (Lane, i64)>,
    /// By place. Downloads of the same place, as an earlier version may have stored, by info hash.
    waiting: OrdSet<QueuePlace>,
    running: OrdSet<QueuePlace>,
    stalled: Vector<InfoHash>,
    /// Places that differ from the time of the request, and rate limits; also of paused downloads.
    places: HashMap<InfoHash, i64>,
    limits: HashMap<InfoHash, Rate>,
    /// The smallest and the largest place given.
    first: i64,
    last: i64,
}

/// A download's position in its lane.
type QueuePlace = (i64, InfoHash);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    Waiting,
    Running,
    Stalled,
}

/// The part of a download's queue state that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) place: Option<i64>,
    pub(crate) limit: Option<Rate>,
}

impl Queue {
    /// Makes a queue that gives no slot until [`Queue::open`].
    pub(crate) fn new(max: usize, kept: impl IntoIterator<Item = (InfoHash, Kept)>) -> Self {
        let mut queue = Self { max, closed: true, ..Self::default() };
        for (info_hash, Kept { place, limit }) in kept {
            place.into_iter().for_each(|place| queue.note_place(info_hash, place));
            queue.set_limit(info_hash, limit);
        }
        queue
    }

    /// Slots are given from now on.
    pub(crate) fn open(&mut self) {
        self.closed = false;
    }

    /// Returns a time of request that is later than that of all other downloads.
    pub(crate) fn stamp(&mut self, now_ms: u64) -> u64 {
        self.last = self.last.saturating_add(1).max(i64::try_from(now_ms).unwrap_or(i64::MAX));
        self.last as u64
    }

    /// Adds a download that was requested at that time. True: it has a slot. False: it waits.
    pub(crate) fn enter(&mut self, info_hash: InfoHash, begun_ms: u64) -> bool {
        self.leave(info_hash);
        let asked = i64::try_from(begun_ms).unwrap_or(i64::MAX);
        let place = self.places.get(&info_hash).copied().unwrap_or(asked);
        (self.first, self.last) = (self.first.min(place), self.last.max(place));
        self.put(info_hash, Lane::Waiting, place);
        let is_first = self.waiting.get_min() == Some(&(place, info_hash));
        is_first && self.next() == Some(info_hash)
    }

    /// Gives a free slot to the first waiting download, if there are both.
    pub(crate) fn next(&mut self) -> Option<InfoHash> {
        if self.closed || !self.has_room() {
            return None;
        }
        let (place, info_hash) = self.waiting.remove_min()?;
        self.put(info_hash, Lane::Running, place);
        Some(info_hash)
    }

    /// Removes a download that has ended or is paused.
    pub(crate) fn leave(&mut self, info_hash: InfoHash) {
        let Some((lane, place)) = self.lanes.remove(&info_hash) else { return };
        match lane {
            Lane::Waiting => _ = self.waiting.remove(&(place, info_hash)),
            Lane::Running => _ = self.running.remove(&(place, info_hash)),
            Lane::Stalled => self.stalled.retain(|other| *other != info_hash),
        }
    }

    /// Removes a download and its stored queue state.
    pub(crate) fn forget(&mut self, info_hash: InfoHash) {
        self.leave(info_hash);
        self.places.remove(&info_hash);
        self.limits.remove(&info_hash);
    }

    /// Moves a running or waiting download to the front. If it has no slot and none is free, it
    /// takes the slot of the last running download, which then waits. `None` if it neither runs nor
    /// waits.
    pub(crate) fn prioritize(&mut self, info_hash: InfoHash) -> Option<Prioritized> {
        let (lane, _) = *self.lanes.get(&info_hash)?;
        let place = self.first.saturating_sub(1);
        self.leave(info_hash);
        self.note_place(info_hash, place);
        let mut displaced = None;
        if lane != Lane::Running && !self.closed && !self.has_room() {
            displaced = self.displace_last();
        }
        self.put(info_hash, if lane == Lane::Waiting { lane } else { Lane::Running }, place);
        Some(Prioritized { place, displaced })
    }

    /// Sets the number of slots, 0 for any; returns the downloads that have lost theirs.
    pub(crate) fn set_max(&mut self, max: usize) -> Vec<InfoHash> {
        self.max = max;
        let mut displaced = Vec::new();
        while max > 0 && self.running.len() > max {
            displaced.extend(self.displace_last());
        }
        displaced
    }

    /// Takes the slot of the last running download, which then waits.
    fn displace_last(&mut self) -> Option<InfoHash> {
        let (place, last) = self.running.remove_max()?;
        self.put(last, Lane::Waiting, place);
        Some(last)
    }

    /// A download has stalled: it gives its slot up. If too many have stalled, returns the one that
    /// now waits at the end of the queue, and its new place.
    pub(crate) fn stalled(&mut self, info_hash: InfoHash) -> Option<(InfoHash, i64)> {
        let (lane, place) = *self.lanes.get(&info_hash)?;
        if lane == Lane::Running {
            self.leave(info_hash);
            self.put(info_hash, Lane::Stalled, place);
        }
        let back = self.stalled.front().copied().filter(|_| self.stalled.len() > STALLED_MAX)?;
        self.leave(back);
        let place = self.last.saturating_add(1);
        self.note_place(back, place);
        self.put(back, Lane::Waiting, place);
        Some((back, place))
    }

    /// A stalled download receives data again: it has a slot again. If there are too many now,
    /// returns the last download with a slot, which may be this one: it waits from now on.
    pub(crate) fn moves(&mut self, info_hash: InfoHash) -> Option<InfoHash> {
        let Some((Lane::Stalled, place)) = self.lanes.get(&info_hash).copied() else { return None };
        self.leave(info_hash);
        self.put(info_hash, Lane::Running, place);
        if self.max > 0 && self.running.len() > self.max { self.displace_last() } else { None }
    }

    /// Tells whether a download runs, with a slot or without.
    pub(crate) fn has_running(&self) -> bool {
        !self.running.is_empty() || !self.stalled.is_empty()
    }

    /// The running downloads, with a slot or without.
    pub(crate) fn running(&self) -> Vec<InfoHash> {
        self.running.iter().map(|(_, info_hash)| info_hash).chain(&self.stalled).copied().collect()
    }

    /// Tells whether a slot is free though a download waits for one.
    #[cfg(test)]
    pub(crate) fn is_unused(&self) -> bool {
        !self.waiting.is_empty() && self.has_room()
    }

    /// Tells whether a download waits while every slot is taken.
    pub(crate) fn is_full(&self) -> bool {
        !self.waiting.is_empty() && !self.has_room()
    }

    /// Position of a waiting download in the queue, from 1.
    pub(crate) fn place_of(&self, info_hash: InfoHash) -> Option<usize> {
        let (lane, place) = self.lanes.get(&info_hash)?;
        (*lane == Lane::Waiting).then(|| self.waiting.range(..=(*place, info_hash)).count())
    }

    /// The same for all waiting downloads, in one pass.
    pub(crate) fn places(&self) -> std::collections::HashMap<InfoHash, usize> {
        self.waiting
            .iter()
            .enumerate()
            .map(|(before, (_, info_hash))| (*info_hash, before + 1))
            .collect()
    }

    /// The download's own rate limit.
    pub(crate) fn limit(&self, info_hash: InfoHash) -> Option<Rate> {
        self.limits.get(&info_hash).copied()
    }

    /// Sets or removes the download's own rate limit.
    pub(crate) fn set_limit(&mut self, info_hash: InfoHash, limit: Option<Rate>) {
        match limit {
            Some(rate) => drop(self.limits.insert(info_hash, rate)),
            None => drop(self.limits.remove(&info_hash)),
        }
    }

    /// The queue state to store for the download, if there is any.
    pub(crate) fn kept(&self, info_hash: InfoHash) -> Option<Kept> {
        let kept =
            Kept { place: self.places.get(&info_hash).copied(), limit: self.limit(info_hash) };
        (kept != Kept { place: None, limit: None }).then_some(kept)
    }

    /// Tells whether a download that enters now has a slot at once.
    pub(crate) fn has_free_slot(&self) -> bool {
        !self.closed && self.waiting.is_empty() && self.has_room()
    }

    fn has_room(&self) -> bool {
        self.max == 0 || self.running.len() < self.max
    }

    fn note_place(&mut self, info_hash: InfoHash, place: i64) {
        self.places.insert(info_hash, place);
        (self.first, self.last) = (self.first.min(place), self.last.max(place));
    }

    fn put(&mut self, info_hash: InfoHash, lane: Lane, place: i64) {
        self.lanes.insert(info_hash, (lane, place));
        match lane {
            Lane::Waiting => _ = self.waiting.insert((place, info_hash)),
            Lane::Running => _ = self.running.insert((place, info_hash)),
            Lane::Stalled => self.stalled.push_back(info_hash),
        }
    }
}

/// The result of moving a download to the front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prioritized {
    /// Its place now.
    pub(crate) place: i64,
    /// The download that has lost its slot.
    pub(crate) displaced: Option<InfoHash>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(number: u8) -> InfoHash {
        InfoHash::from_bytes([number; 20])
    }

    fn open(max: usize) -> Queue {
        let mut queue = Queue::new(max, []);
        queue.open();
        queue
    }

    fn has_slot(queue: &Queue, number: u8) -> bool {
        matches!(queue.lanes.get(&file(number)), Some((Lane::Running, _)))
    }

    fn names(files: &[InfoHash]) -> Vec<u8> {
        files.iter().map(|file| file.as_bytes()[0]).collect()
    }

    #[test]
    fn so_many_run_and_the_others_follow_in_order() {
        let mut queue = open(2);
        let entered: Vec<bool> = (1..=4).map(|n| queue.enter(file(n), u64::from(n))).collect();
        assert_eq!(entered, [true, true, false, false]);
        assert_eq!(
            (queue.place_of(file(3)), queue.place_of(file(4)), queue.place_of(file(1))),
            (Some(1), Some(2), None)
        );
        assert_eq!(queue.next(), None);
        queue.leave(file(1));
        assert_eq!((queue.next(), queue.next()), (Some(file(3)), None));
        assert!(!queue.enter(file(5), 5) && queue.is_full());
        // A download that was requested earlier and returns stands before those requested later.
        assert!(!queue.enter(file(1), 1));
        assert_eq!((queue.place_of(file(1)), queue.place_of(file(4))), (Some(1), Some(2)));
        assert_eq!(queue.set_max(0), []);
        assert_eq!(
            [queue.next(), queue.next(), queue.next(), queue.next()],
            [Some(file(1)), Some(file(4)), Some(file(5)), None]
        );
        assert_eq!(names(&queue.set_max(1)), [5, 4, 3, 2]);
        assert_eq!(names(&queue.running()), [1]);
    }

    #[test]
    fn the_one_that_matters_takes_the_last_ones_slot() {
        let mut queue = open(2);
        (1..=4).for_each(|n| _ = queue.enter(file(n), u64::from(n)));
        let moved = queue.prioritize(file(4)).unwrap();
        assert_eq!(moved.displaced, Some(file(2)));
        assert_eq!((queue.next(), queue.next()), (Some(file(4)), None));
        assert_eq!((queue.place_of(file(2)), queue.place_of(file(3))), (Some(1), Some(2)));
        // It is the last to lose its slot, also to the next prioritized download.
        assert_eq!(queue.prioritize(file(3)).unwrap().displaced, Some(file(1)));
        assert_eq!(queue.next(), Some(file(3)));
        assert_eq!(queue.prioritize(file(4)).unwrap().displaced, None, "it runs already");
        assert_eq!(names(&queue.running()), [4, 3]);
        assert_eq!(queue.prioritize(file(9)), None);
        // After a restart its stored place puts it before the others.
        let kept = [3, 4].map(|n| (file(n), queue.kept(file(n)).unwrap()));
        let mut again = Queue::new(1, kept);
        (1..=4).for_each(|n| assert!(!again.enter(file(n), u64::from(n))));
        again.open();
        assert_eq!(again.next(), Some(file(4)));
        let order: Vec<usize> =
            [3, 1, 2].iter().map(|n| again.place_of(file(*n)).unwrap()).collect();
        assert_eq!(order, [1, 2, 3]);
    }

    #[test]
    fn stalled_downloads_do_not_block_others() {
        let mut queue = open(1);
        let count = STALLED_MAX as u8 + 3;
        (0..count).for_each(|n| _ = queue.enter(file(n), u64::from(n)));
        for n in 0..STALLED_MAX as u8 {
            assert_eq!(queue.stalled(file(n)), None);
            assert_eq!(queue.next(), Some(file(n + 1)));
        }
        let (back, _) = queue.stalled(file(STALLED_MAX as u8)).unwrap();
        assert_eq!(back, file(0), "the one that has brought nothing for longest");
        assert_eq!((queue.place_of(file(0)), queue.place_of(file(count - 1))), (Some(3), Some(2)));
        assert_eq!(queue.running().len(), STALLED_MAX);
        // A download that receives data again has its slot back; no other enters before a slot is
        // free.
        queue.next();
        assert_eq!(
            queue.moves(file(5)),
            Some(file(count - 2)),
            "no more run than may, but for those that bring nothing"
        );
        assert_eq!(
            (queue.moves(file(5)), queue.place_of(file(count - 2)), queue.next()),
            (None, Some(1), None)
        );
        queue.leave(file(count - 2));
        assert_eq!(queue.next(), None);
        queue.leave(file(5));
        assert_eq!(queue.next(), Some(file(count - 1)));
        // The download that loses its slot may be the same one.
        queue.stalled(file(count - 1));
        assert!(queue.enter(file(90), 1));
        assert_eq!(
            (queue.moves(file(count - 1)), queue.place_of(file(count - 1))),
            (Some(file(count - 1)), Some(1))
        );
        // A stalled download that is prioritized takes a slot like any other.
        let moved = queue.prioritize(file(7)).unwrap();
        assert_eq!(
            (moved.displaced, has_slot(&queue, 7), has_slot(&queue, 90)),
            (Some(file(90)), true, false)
        );
    }

    #[test]
    fn those_of_one_moment_keep_apart() {
        let mut queue = open(1);
        (1..=4).for_each(|n| _ = queue.enter(file(n), 7));
        assert_eq!(queue.next(), None);
        queue.stalled(file(1));
        assert_eq!(queue.next(), Some(file(2)));
        assert_eq!(queue.moves(file(1)), Some(file(2)));
        assert_eq!(
            (names(&queue.running()), queue.place_of(file(2)), queue.place_of(file(4))),
            (vec![1], Some(1), Some(3))
        );
        queue.leave(file(1));
        assert_eq!(queue.next(), Some(file(2)));
    }

    #[test]
    fn no_slot_is_given_before_the_queue_is_open() {
        let mut queue = Queue::new(1, []);
        assert!(!queue.enter(file(2), 2) && !queue.enter(file(1), 1) && queue.next().is_none());
        queue.open();
        assert_eq!(queue.next(), Some(file(1)));
        let stamps = [queue.stamp(10), queue.stamp(10), queue.stamp(5)];
        assert!(stamps.is_sorted() && stamps[0] < stamps[1] && stamps[1] < stamps[2]);
    }

    proptest! {
        #[test]
        fn no_download_is_lost_and_no_slot_is_left_unused(max in 0usize..5, steps in prop::collection::vec((0u8..9, 0u8..8), 0..200)) {
            let mut queue = open(max);
            let mut there = std::collections::BTreeSet::new();
            for (what, n) in steps {
                match what {
                    0..=2 => {
                        queue.enter(file(n), u64::from(n));
                        there.insert(n);
                    }
                    3 => {
                        queue.leave(file(n));
                        there.remove(&n);
                    }
                    4 => drop(queue.prioritize(file(n))),
                    5 => drop(queue.stalled(file(n))),
                    6 => drop(queue.moves(file(n))),
                    7 => drop(queue.set_max(usize::from(n % 5))),
                    _ => {}
                }
                while queue.next().is_some() {}
                let mut all = names(&queue.running());
                all.extend(queue.waiting.iter().map(|(_, file)| file.as_bytes()[0]));
                all.sort_unstable();
                prop_assert_eq!(&all, &there.iter().copied().collect::<Vec<_>>());
                prop_assert!(queue.waiting.is_empty() || (queue.max > 0 && queue.running.len() >= queue.max));
                prop_assert!(queue.max == 0 || queue.running.len() <= queue.max);
                let places = queue.places();
                prop_assert!(places.iter().all(|(file, place)| queue.place_of(*file) == Some(*place)));
            }
        }
    }
}
