//! What a client keeps of an unfinished download: which pieces its `.part` has, and when the
//! `.part` was last changed.
//!
//! **Invariant:** if nothing but the download has written to the `.part`, its time fits the stamp.
//! If another program wrote to it while no client had it open, the time fits only within the few
//! seconds after a client was killed.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use super::Bitfield;

/// How much later than its last entry in the journal a client that was killed may have written:
/// several intervals of the journal, in nanoseconds.
const KILLED_AFTER_NS: i64 = 10_000_000_000;
/// How much earlier the time may be after a power cut, in nanoseconds: systems write a file's times
/// to the disk up to half a minute after its data.
const POWER_CUT_NS: i64 = 60_000_000_000;

/// The pieces of a download that are durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedPieces {
    /// These pieces.
    pub pieces: Bitfield,
    /// When their file was last changed; `None`: not known, and they are to be hashed again.
    pub part: Option<PartStamp>,
}

impl VerifiedPieces {
    /// No piece of `count`.
    pub fn none(count: u32) -> Self {
        Self { pieces: Bitfield::empty(count), part: None }
    }
}

/// When a `.part` was last changed by its download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartStamp {
    /// The later of the times of its last write and its last change of status, in nanoseconds
    /// since 1970.
    pub changed_ns: i64,
    /// Whether the download wrote nothing after that.
    pub is_final: bool,
}

impl PartStamp {
    /// Returns the time from what the system says about a file.
    pub fn changed_ns(facts: &Metadata) -> i64 {
        let nanoseconds = |s: i64, ns: i64| s.saturating_mul(1_000_000_000).saturating_add(ns);
        nanoseconds(facts.mtime(), facts.mtime_nsec())
            .max(nanoseconds(facts.ctime(), facts.ctime_nsec()))
    }

    /// Tells whether a file that was changed last at that time may be as the download left it.
    pub fn fits(&self, changed_ns: i64) -> bool {
        let later_ns = changed_ns.saturating_sub(self.changed_ns);
        let later_max_ns = if self.is_final { 0 } else { KILLED_AFTER_NS };
        (-POWER_CUT_NS..=later_max_ns).contains(&later_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_change_is_seen_but_for_the_last_seconds_of_a_killed_client() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("part");
        std::fs::write(&path, "0123").unwrap();
        let facts = std::fs::metadata(&path).unwrap();
        let now_ns = PartStamp::changed_ns(&facts);
        let before = |seconds: i64, is_final| {
            let changed_ns = now_ns - seconds * 1_000_000_000;
            PartStamp { changed_ns, is_final }.fits(now_ns)
        };
        assert!(before(0, true) && before(0, false));
        assert!(!before(1, true) && before(10, false) && !before(11, false));
        assert!(before(-60, true) && !before(-61, true), "after a power cut");
    }

    #[test]
    fn a_time_of_modification_that_was_set_back_hides_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("part");
        std::fs::write(&path, "0123").unwrap();
        let facts = std::fs::metadata(&path).unwrap();
        let (changed_ns, modified) = (PartStamp::changed_ns(&facts), facts.modified().unwrap());
        let stamp = PartStamp { changed_ns, is_final: true };
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        let look = || PartStamp::changed_ns(&std::fs::metadata(&path).unwrap());
        // The clock of a file system may tick some milliseconds apart.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while stamp.fits(look()) && std::time::Instant::now() < deadline {
            std::fs::write(&path, "4567").unwrap();
            file.set_modified(modified).unwrap();
        }
        assert!(!stamp.fits(look()));
    }
}
