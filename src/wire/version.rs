//! Versions of the tracker protocol, sessions and replication alike.
//!
//! | version | what changed |
//! |---|---|
//! | 1 | in clear, the device told by the client |
//! | 2 | inside TLS, which proves the device; tokens, tickets and the events that end links |
//! | 3 | rows instead of operations; lengths before structures; the hello carries a range of versions |
//!
//! **Invariant:** the magic, the range of versions and the frame that says
//! [`Unwelcome`](super::tracker::Unwelcome) are the same in every version, so that any two programs
//! can tell that they share none.

use std::fmt;

/// The oldest version that this program speaks.
pub const VERSION_OLDEST: u16 = 3;
/// The newest version that this program speaks.
#[cfg(not(feature = "later-version"))]
pub const VERSION_NEWEST: u16 = 3;
/// The newest version that this program speaks: an invented one, which exists for tests alone.
#[cfg(feature = "later-version")]
pub const VERSION_NEWEST: u16 = 4;
/// The first version whose hello carries a range.
pub const VERSION_FIRST_WITH_RANGE: u16 = 3;

/// The versions that a program speaks: all of them from `oldest` to `newest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VersionRange {
    /// The oldest one.
    pub oldest: u16,
    /// The newest one.
    pub newest: u16,
}

impl VersionRange {
    /// The versions that this program speaks.
    pub const OURS: Self = Self { oldest: VERSION_OLDEST, newest: VERSION_NEWEST };

    /// Returns the highest version that both speak.
    pub fn common(self, other: Self) -> Option<u16> {
        let highest = self.newest.min(other.newest);
        (highest >= self.oldest.max(other.oldest)).then_some(highest)
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.oldest == self.newest {
            true => write!(f, "{}", self.newest),
            false => write!(f, "{} to {}", self.oldest, self.newest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_chosen() {
        let range = |oldest, newest| VersionRange { oldest, newest };
        assert_eq!(range(3, 5).common(range(4, 9)), Some(5));
        assert_eq!(range(3, 5).common(range(1, 3)), Some(3));
        assert_eq!(range(3, 3).common(range(3, 3)), Some(3));
        assert_eq!(range(3, 9).common(range(4, 6)), Some(6));
        assert_eq!(range(3, 5).common(range(6, 9)), None);
        assert_eq!(range(6, 9).common(range(3, 5)), None);
        assert_eq!(
            (range(3, 5).to_string(), range(3, 3).to_string()),
            ("3 to 5".into(), "3".into())
        );
    }
}
