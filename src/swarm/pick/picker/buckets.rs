//! Missing pieces sorted by how many peers offer them.
//!
//! **Invariant:** a piece that is in stands in the list of its level, at the place that `place`
//! notes; one that is out has the place [`OUT`]. So that each change is a constant number of steps:
//! a list gives up a member by putting its last one there.

/// The place of a piece that is in no list.
const OUT: u32 = u32::MAX;

/// Pieces in lists by level; the level of a piece is kept while it is out, too.
#[derive(Debug)]
pub(crate) struct Buckets {
    level: Vec<u16>,
    place: Vec<u32>,
    lists: Vec<Vec<u32>>,
}

impl Buckets {
    pub(crate) fn new(bound: u32) -> Self {
        Self {
            level: vec![0; bound as usize],
            place: vec![OUT; bound as usize],
            lists: vec![Vec::new()],
        }
    }

    pub(crate) fn level(&self, piece: u32) -> u16 {
        self.level[piece as usize]
    }

    pub(crate) fn levels(&self) -> usize {
        self.lists.len()
    }

    pub(crate) fn list(&self, level: usize) -> &[u32] {
        &self.lists[level]
    }

    pub(crate) fn is_in(&self, piece: u32) -> bool {
        self.place[piece as usize] != OUT
    }

    pub(crate) fn insert(&mut self, piece: u32) {
        debug_assert!(!self.is_in(piece), "piece {piece} is in already");
        let list = &mut self.lists[usize::from(self.level[piece as usize])];
        self.place[piece as usize] = list.len() as u32;
        list.push(piece);
    }

    pub(crate) fn remove(&mut self, piece: u32) {
        debug_assert!(self.is_in(piece), "piece {piece} is out already");
        let list = &mut self.lists[usize::from(self.level[piece as usize])];
        let place = std::mem::replace(&mut self.place[piece as usize], OUT);
        list.swap_remove(place as usize);
        if let Some(&moved) = list.get(place as usize) {
            self.place[moved as usize] = place;
        }
    }

    pub(crate) fn raise(&mut self, piece: u32) {
        self.shift(piece, self.level(piece) + 1);
    }

    pub(crate) fn lower(&mut self, piece: u32) {
        debug_assert!(self.level(piece) > 0, "piece {piece} is at the lowest level");
        self.shift(piece, self.level(piece).saturating_sub(1));
    }

    fn shift(&mut self, piece: u32, level: u16) {
        let inside = self.is_in(piece);
        if inside {
            self.remove(piece);
        }
        self.level[piece as usize] = level;
        if self.lists.len() <= usize::from(level) {
            self.lists.resize_with(usize::from(level) + 1, Vec::new);
        }
        if inside {
            self.insert(piece);
        }
    }

    /// Checks the invariant; for tests.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn check(&self) {
        for (level, list) in self.lists.iter().enumerate() {
            for (place, &piece) in list.iter().enumerate() {
                assert_eq!(
                    usize::from(self.level(piece)),
                    level,
                    "piece {piece} stands in the list of another level"
                );
                assert_eq!(
                    self.place[piece as usize] as usize, place,
                    "piece {piece} is noted at another place"
                );
            }
        }
        let listed: usize = self.lists.iter().map(Vec::len).sum();
        assert_eq!(
            listed,
            self.place.iter().filter(|&&place| place != OUT).count(),
            "a piece stands in two lists"
        );
    }
}
