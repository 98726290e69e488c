//! The hybrid logical clock reading that orders two writes of one row.
//!
//! Source: Kulkarni et al., "Logical Physical Clocks" (2014). The layout is 48 bits of milliseconds
//! since the Unix epoch above a 16-bit counter, so that comparing the integers compares the
//! readings.

use std::fmt;

/// One hybrid logical clock reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(u64);

impl Stamp {
    /// The earliest reading.
    pub const ZERO: Self = Self(0);
    /// The largest number of milliseconds a reading holds: the year 10889.
    pub const MAX_MS: u64 = (1 << 48) - 1;

    /// Makes a reading; milliseconds beyond [`Stamp::MAX_MS`] are held there.
    pub const fn new(ms: u64, counter: u16) -> Self {
        let ms = if ms > Self::MAX_MS { Self::MAX_MS } else { ms };
        Self(ms << 16 | counter as u64)
    }

    /// Takes a reading apart from its integer form, as stored and sent.
    pub const fn from_u64(value: u64) -> Self {
        Self(value)
    }

    /// Returns the integer form.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Milliseconds since the Unix epoch.
    pub const fn ms(self) -> u64 {
        self.0 >> 16
    }

    /// Position within the millisecond.
    pub const fn counter(self) -> u16 {
        self.0 as u16
    }

    /// The least reading above this one, or `None` at the end of time.
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.ms(), self.counter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_time_then_counter() {
        assert!(Stamp::new(5, 9) < Stamp::new(6, 0));
        assert!(Stamp::new(6, 0) < Stamp::new(6, 1));
        assert_eq!(Stamp::new(6, u16::MAX).next(), Some(Stamp::new(7, 0)));
        assert_eq!(Stamp::from_u64(u64::MAX).next(), None);
        assert_eq!((Stamp::new(77, 3).ms(), Stamp::new(77, 3).counter()), (77, 3));
    }
}
