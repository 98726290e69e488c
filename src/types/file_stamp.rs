//! How a file on a disk looks: what tells it from any other, and from itself after somebody wrote
//! to it.
//!
//! **Invariant:** two files never look the same while both are there, whatever their names, lengths
//! and times; one that was made in the place of another does not either, on file systems that note
//! when a file was made.
//!
//! File systems that number a file anew once they have forgotten it (FAT, exFAT, those in user
//! space) make it look like another one: for these, who compares leaves the number out.
//!
//! The time of the last change of status (`ctime`) is left out on purpose: a backup that links to a
//! file, or a `chmod`, changes that and not a byte.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::time::SystemTime;

/// What is noted of a file when it is hashed, and compared with what is there each time it is
/// opened and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    /// Length in bytes.
    pub len: u64,
    /// Last modification in nanoseconds since 1970.
    pub modified_ns: i64,
    /// Number of the file system; it may be another after a reboot.
    pub dev: u64,
    /// Number of the file there.
    pub inode: u64,
    /// When the file was made, in nanoseconds since 1970: a number that is free again goes to
    /// another file. `None` where the file system does not say, and in stores that were made before
    /// this was noted.
    pub born_ns: Option<i64>,
}

impl FileStamp {
    /// Takes from what the system says about a file what does not change while nobody writes to it.
    pub fn new(facts: &Metadata) -> Self {
        let modified_ns =
            facts.mtime().saturating_mul(1_000_000_000).saturating_add(facts.mtime_nsec());
        let born_ns = facts.created().ok().map(nanoseconds);
        Self { len: facts.len(), modified_ns, dev: facts.dev(), inode: facts.ino(), born_ns }
    }

    /// Tells whether this is the file that was noted earlier, perhaps before a reboot that numbered
    /// the file systems anew. Where one of the two does not know when the file was made, the rest
    /// decides.
    pub fn is_same_file(&self, earlier: &Self) -> bool {
        self.is_alike(earlier) && self.inode == earlier.inode
    }

    /// Tells whether everything but the file's number is as noted earlier: enough where a file
    /// system numbers its files anew each time it is mounted.
    pub fn is_alike(&self, earlier: &Self) -> bool {
        let born = self.born_ns.zip(earlier.born_ns).is_none_or(|(now, then)| now == then);
        born && (self.len, self.modified_ns) == (earlier.len, earlier.modified_ns)
    }
}

/// Which file it is, whatever is written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InodeId {
    /// Number of the file system; it may be another after a reboot.
    pub dev: u64,
    /// Number of the file there.
    pub inode: u64,
    /// When the file was made, in nanoseconds since 1970, where the file system says.
    pub born_ns: Option<i64>,
}

impl InodeId {
    /// Takes from what the system says about a file what stays.
    pub fn new(facts: &Metadata) -> Self {
        let FileStamp { dev, inode, born_ns, .. } = FileStamp::new(facts);
        Self { dev, inode, born_ns }
    }

    /// Tells whether this is the file that was noted earlier. Where the file system does not say
    /// when it was made, it counts as another one after a reboot that numbered the file systems
    /// anew.
    pub fn is_same_file(&self, earlier: &Self) -> bool {
        let born = self.born_ns.zip(earlier.born_ns);
        self.inode == earlier.inode
            && born.map_or(self.dev == earlier.dev, |(now, then)| now == then)
    }
}

/// Nanoseconds since 1970; those of a time out of range are the nearest that can be told.
fn nanoseconds(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => {
            i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanoseconds| -nanoseconds)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: FileStamp =
        FileStamp { len: 77, modified_ns: -5, dev: 1, inode: 9, born_ns: Some(3) };

    #[test]
    fn a_file_is_the_same_after_a_reboot_numbered_the_file_systems_anew() {
        assert!(STAMP.is_same_file(&FileStamp { dev: 2, ..STAMP }));
        assert_ne!(STAMP, FileStamp { dev: 2, ..STAMP }, "while it runs, it is another file");
        for other in [
            FileStamp { len: 78, ..STAMP },
            FileStamp { modified_ns: 0, ..STAMP },
            FileStamp { inode: 8, ..STAMP },
            FileStamp { born_ns: Some(4), ..STAMP },
        ] {
            assert!(!STAMP.is_same_file(&other) && !other.is_same_file(&STAMP), "{other:?}");
        }
    }

    #[test]
    fn a_file_that_is_written_to_stays_the_same_file() {
        let id = InodeId { dev: 1, inode: 9, born_ns: Some(3) };
        assert!(id.is_same_file(&InodeId { dev: 2, ..id }), "after a reboot");
        for other in [
            InodeId { inode: 8, ..id },
            InodeId { born_ns: Some(4), ..id },
            InodeId { dev: 2, born_ns: None, ..id },
        ] {
            assert!(!id.is_same_file(&other) && !other.is_same_file(&id), "{other:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
        let id = |path| InodeId::new(&std::fs::symlink_metadata(path).unwrap());
        std::fs::write(&a, "0123").unwrap();
        let before = id(&a);
        std::fs::write(&a, "4").unwrap();
        assert!(id(&a).is_same_file(&before));
        std::fs::write(&b, "4").unwrap();
        std::fs::rename(&b, &a).unwrap();
        assert!(!id(&a).is_same_file(&before));
    }

    #[test]
    fn what_was_not_noted_does_not_make_it_another_file() {
        let unknown = FileStamp { born_ns: None, ..STAMP };
        assert!(STAMP.is_same_file(&unknown) && unknown.is_same_file(&STAMP));
        assert!(!FileStamp { inode: 8, ..unknown }.is_same_file(&STAMP));
    }

    /// Many file systems give a number that became free to the next file that is made.
    #[test]
    fn a_file_with_the_number_of_one_that_was_removed_differs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let make = || {
            std::fs::write(&path, "0123").unwrap();
            std::fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(SystemTime::UNIX_EPOCH)
                .unwrap();
            FileStamp::new(&std::fs::metadata(&path).unwrap())
        };
        let before = make();
        std::fs::remove_file(&path).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(1);
        // The clock of a file system may tick some milliseconds apart.
        let mut after = make();
        while after.inode == before.inode
            && after.born_ns == before.born_ns
            && std::time::Instant::now() < deadline
        {
            std::fs::remove_file(&path).unwrap();
            after = make();
        }
        assert!(
            after.born_ns.is_none() || !after.is_same_file(&before),
            "{before:?} and {after:?}"
        );
    }

    #[test]
    fn a_file_that_takes_anothers_place_differs() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
        let time = SystemTime::UNIX_EPOCH;
        for path in [&a, &b] {
            std::fs::write(path, "0123").unwrap();
            std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        }
        let stamp = |path| FileStamp::new(&std::fs::metadata(path).unwrap());
        let before = stamp(&a);
        assert_eq!((before, before.modified_ns), (stamp(&a), 0));
        std::fs::rename(&b, &a).unwrap();
        assert!(!stamp(&a).is_same_file(&before));
    }
}
