//! Sets of pieces that find a member fast wherever it hides.
//!
//! **Invariant:** bit `w` of `summary` is set exactly if word `w` of `words` has a bit set; `count`
//! is the number of bits.
//!
//! One summary bit stands for 64 pieces, so that a search over 2^21 pieces reads 512 words at most.

/// A set of piece numbers below a fixed bound.
#[derive(Debug, Clone)]
pub(crate) struct PieceSet {
    words: Vec<u64>,
    summary: Summary,
    count: u32,
}

impl PieceSet {
    pub(crate) fn empty(bound: u32) -> Self {
        let words = vec![0; bound.div_ceil(64) as usize];
        Self { summary: Summary::empty(words.len()), words, count: 0 }
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn has(&self, piece: u32) -> bool {
        self.words[piece as usize / 64] & bit(piece) != 0
    }

    pub(crate) fn words(&self) -> usize {
        self.words.len()
    }

    pub(crate) fn word(&self, index: usize) -> u64 {
        self.words[index]
    }

    pub(crate) fn insert(&mut self, piece: u32) -> bool {
        let index = piece as usize / 64;
        let new = !self.has(piece);
        self.words[index] |= bit(piece);
        self.summary.set(index, true);
        self.count += u32::from(new);
        new
    }

    pub(crate) fn remove(&mut self, piece: u32) -> bool {
        let index = piece as usize / 64;
        let old = self.has(piece);
        self.words[index] &= !bit(piece);
        self.summary.set(index, self.words[index] != 0);
        self.count -= u32::from(old);
        old
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(index, &word)| bits(index, word))
    }
}

/// One bit for each word of a set: which words are worth reading.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    bits: Vec<u64>,
}

impl Summary {
    pub(crate) fn empty(words: usize) -> Self {
        Self { bits: vec![0; words.div_ceil(64)] }
    }

    pub(crate) fn set(&mut self, index: usize, on: bool) {
        let mask = 1u64 << (index % 64);
        match on {
            true => self.bits[index / 64] |= mask,
            false => self.bits[index / 64] &= !mask,
        }
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn is_set(&self, index: usize) -> bool {
        self.bits[index / 64] & (1 << (index % 64)) != 0
    }

    /// The words that have a member, from `start` on and around, each once.
    pub(crate) fn words_from(&self, start: usize) -> impl Iterator<Item = usize> + '_ {
        let (at, low) = (start / 64, (1u64 << (start % 64)) - 1);
        let len = self.bits.len();
        (0..=len).flat_map(move |step| {
            let index = (at + step) % len.max(1);
            let word = self.bits.get(index).copied().unwrap_or(0);
            let part = match step {
                0 => word & !low,
                step if step == len => word & low,
                _ => word,
            };
            bits(index, part).map(|bit| bit as usize)
        })
    }
}

/// The numbers of the bits set in word `index`, in order.
pub(crate) fn bits(index: usize, word: u64) -> impl Iterator<Item = u32> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let low = (rest != 0).then(|| rest.trailing_zeros())?;
        rest &= rest - 1;
        Some(index as u32 * 64 + low)
    })
}

fn bit(piece: u32) -> u64 {
    1 << (piece % 64)
}
