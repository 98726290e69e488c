//! Where a download is put: the file it makes, and the `.part` beside it until then.
//!
//! **Invariant:** a `.part` is moved or removed only if it is a download's of this device; nothing else at a destination is touched.
//!
//! Every function makes a few system calls on the destination's file system.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, CWD, RenameFlags};

use super::ClientError;
use crate::store::{DownloadRow, Progress};
use crate::swarm::part_path;
use crate::types::{FileEntry, FileName, InfoHash};

/// The file to be made: below a directory under its name, else the path itself.
pub(crate) fn target_path(destination: &Path, entry: &FileEntry) -> Result<PathBuf, ClientError> {
    let absolute = std::path::absolute(destination).map_err(|e| ClientError::path(destination, e.to_string()))?;
    if absolute.is_dir() {
        // The label tells two files of one name apart; where it is no file name, the name itself is.
        let label: Option<FileName> = entry.label.as_str().parse().ok();
        return Ok(absolute.join(label.unwrap_or_else(|| entry.facts.name.clone()).as_str()));
    }
    match absolute.parent() {
        Some(parent) if parent.is_dir() && absolute.file_name().is_some() && !names_directory(destination) => Ok(absolute),
        _ => Err(ClientError::path(destination, "there is no such directory; make it first")),
    }
}

/// Tells a path that can only be a directory's, as `out/` and `out/.`.
fn names_directory(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes.ends_with(b"/") || bytes.ends_with(b"/.")
}

/// Tells whether anything bears that name.
pub(crate) fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Refuses a place for a new download where it is known at once that it cannot be made.
pub(crate) fn check_place(target: &Path, info_hash: InfoHash) -> Result<(), ClientError> {
    let parent = target.parent().unwrap_or(Path::new("/"));
    if let Err(errno) = rustix::fs::access(parent, Access::WRITE_OK | Access::EXEC_OK) {
        return Err(ClientError::path(parent, format!("it cannot be written to: {}", io::Error::from(errno))));
    }
    let part = part_path(target, info_hash);
    if is_there(&part) {
        return Err(ClientError::path(
            part,
            "it exists and was not begun by this download; move it away or name another destination",
        ));
    }
    Ok(())
}

/// Tells whether a `.part` at the download's place is its own. One that failed before its first note in the journal may have
/// failed because somebody else's was there.
pub(crate) fn is_ours(row: &DownloadRow) -> bool {
    row.verified.is_some() || !matches!(row.progress, Progress::Failed(_))
}

/// Gives what a failed download has fetched to the one that takes its place; false if that cannot be done.
pub(crate) fn move_part(from: &DownloadRow, to: &Path) -> bool {
    let info_hash = from.facts.info_hash;
    let (old, new) = (part_path(&from.target, info_hash), part_path(to, info_hash));
    is_ours(from) && old != new && rustix::fs::renameat_with(CWD, &old, CWD, &new, RenameFlags::NOREPLACE).is_ok()
}

/// Removes what a download has fetched, if that is its own.
pub(crate) fn remove_part(row: &DownloadRow) {
    if !is_ours(row) {
        return;
    }
    let part = part_path(&row.target, row.facts.info_hash);
    match std::fs::remove_file(&part) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => log::warn!("{}: cannot be removed: {e}", part.display()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{FileFacts, Sha1Digest};

    fn entry() -> FileEntry {
        let facts = FileFacts {
            info_hash: InfoHash::from_bytes([1; 20]),
            name: "big.bin".parse().unwrap(),
            len: 1,
            piece_len: 512 << 10,
            sha1: Sha1Digest::from_bytes([2; 20]),
        };
        let group = crate::types::GroupId::from_bytes([3; 16]);
        FileEntry { group, label: "big.bin~2".parse().unwrap(), facts, sharers: Vec::new(), sharer_count: 1, online: 1 }
    }

    #[test]
    fn what_can_only_be_a_directory_is_not_taken_for_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let place = |text: &str| target_path(&dir.path().join(text), &entry()).ok();
        assert_eq!(place(""), Some(dir.path().join("big.bin~2")));
        assert_eq!(place("out"), Some(dir.path().join("out")));
        for none in ["out/", "out/.", "out/..", "no/out"] {
            assert_eq!(place(none), None, "{none}");
        }
        std::fs::create_dir(dir.path().join("out")).unwrap();
        for there in ["out", "out/", "out/."] {
            assert_eq!(place(there), Some(dir.path().join("out/big.bin~2")), "{there}");
        }
        std::fs::write(dir.path().join("file"), "x").unwrap();
        assert_eq!((place("file/"), place("file")), (None, Some(dir.path().join("file"))));
    }

    #[test]
    fn a_part_that_is_not_ours_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("x");
        assert!(check_place(&target, InfoHash::from_bytes([1; 20])).is_ok());
        std::fs::write(dir.path().join("x.part"), "somebody's").unwrap();
        assert!(check_place(&target, InfoHash::from_bytes([1; 20])).is_err());
    }
}
