//! Makes the `.part` of a download before the engine begins it, so that the row of the download can
//! say which file it is from the first.
//!
//! **Invariant:** only a file that was not there is made, and only an empty one that was made so and
//! that no download has open is removed.
//!
//! Called on a disk's thread; makes a few system calls.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags, flock};

use super::part_file::{is_empty, part_path};
use crate::types::{InfoHash, InodeId};

/// Makes an empty `.part`; `None` if that fails, as if something is there. Then the engine looks at
/// it when it begins, and says what is wrong.
pub fn make_part(target: &Path, info_hash: InfoHash) -> Option<InodeId> {
    let part = part_path(target, info_hash);
    let made = OpenOptions::new().write(true).create_new(true).open(part);
    Some(InodeId::new(&made.and_then(|file| file.metadata()).ok()?))
}

/// Removes a `.part` that [`make_part`] made for a download that did not begin.
pub fn remove_new_part(target: &Path, info_hash: InfoHash, made: InodeId) {
    let part = part_path(target, info_hash);
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let opened = OpenOptions::new().write(true).custom_flags(flags).open(&part);
    // Another download may have taken it over meanwhile: that one has locked it, or makes another.
    let is_unused = |file: &File| {
        flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
            && file
                .metadata()
                .is_ok_and(|facts| is_empty(&facts) && InodeId::new(&facts).is_same_file(&made))
    };
    if opened.is_ok_and(|file| is_unused(&file))
        && let Err(error) = fs::remove_file(&part)
    {
        log::warn!("{}: cannot be removed: {error}", part.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: InfoHash = InfoHash::from_bytes([1; InfoHash::LEN]);

    #[test]
    fn only_a_new_file_is_made_and_only_an_unused_one_removed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a");
        let part = part_path(&target, FILE);
        let made = make_part(&target, FILE).unwrap();
        assert_eq!(make_part(&target, FILE), None, "something is there");
        let locked = File::open(&part).unwrap();
        flock(&locked, FlockOperation::LockExclusive).unwrap();
        remove_new_part(&target, FILE, made);
        assert!(part.exists(), "a download has it open");
        drop(locked);
        fs::write(&part, "data").unwrap();
        remove_new_part(&target, FILE, made);
        assert!(part.exists(), "it is not empty");
        fs::write(&part, "").unwrap();
        remove_new_part(&target, FILE, InodeId { inode: made.inode + 1, ..made });
        assert!(part.exists(), "it is another file");
        remove_new_part(&target, FILE, made);
        assert!(!part.exists());
        std::os::unix::fs::symlink(dir.path().join("b"), &part).unwrap();
        assert_eq!(make_part(&target, FILE), None);
        assert!(!dir.path().join("b").exists(), "a link is not followed");
        assert_eq!(make_part(&dir.path().join("none/a"), FILE), None);
    }
}
