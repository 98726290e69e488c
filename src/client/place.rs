//! The paths of a download: its target file, and the `.part` beside it until it is complete.
//!
//! **Invariant:** a name from the network becomes part of a path in [`below`] alone, as one
//! component of it. A `.part` is moved or removed only if it is the file that a download of this
//! device made. No other file at a destination is touched, and no link there is followed.
//!
//! Every function makes a few system calls on the destination's file system.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, CWD, RenameFlags};

use super::error::ClientError;
use crate::store::DownloadRow;
use crate::swarm::{is_empty_part, missing_part, part_path};
use crate::types::{FileEntry, FileName, InfoHash, InodeId};

/// The target path: in a directory under the file's name, or one that every file system takes, else
/// the path itself.
pub(crate) fn target_path(
    destination: &Path,
    entry: &FileEntry,
    is_safe: bool,
) -> Result<PathBuf, ClientError> {
    let absolute = std::path::absolute(destination)
        .map_err(|e| ClientError::path(destination, e.to_string()))?;
    if absolute.is_dir() {
        // The label distinguishes two files of one name. A label that is no valid file name is
        // replaced by the name itself.
        let label: Option<FileName> = entry.label.as_str().parse().ok();
        let name = label.as_ref().unwrap_or(&entry.facts.name);
        return Ok(match is_safe {
            true => below(&absolute, &name.safe()),
            false => below(&absolute, name),
        });
    }
    match absolute.parent() {
        Some(parent)
            if parent.is_dir()
                && absolute.file_name().is_some()
                && !names_directory(destination) =>
        {
            Ok(absolute)
        }
        _ => Err(ClientError::path(destination, "there is no such directory; make it first")),
    }
}

/// The path of a name from the network below a directory of the user: the only place where the two
/// are joined. The name stays one component. Characters that would make a file manager show another
/// name, as `exe.jpg` for `gpj.exe`, are removed.
fn below(directory: &Path, name: &FileName) -> PathBuf {
    directory.join(name.straight().as_str())
}

/// Resolves a path that the user typed: a link there is the user's own, and is followed once, now.
pub(crate) fn follow_once(path: &Path) -> io::Result<PathBuf> {
    if path.symlink_metadata()?.is_symlink() { path.canonicalize() } else { Ok(path.to_owned()) }
}

/// Refuses a destination that is no plain file, and names its kind: it is never followed, opened or
/// replaced.
pub(crate) fn refuse_odd(path: &Path) -> Result<(), ClientError> {
    let what = match path.symlink_metadata().map(|facts| facts.file_type()) {
        Ok(kind) if kind.is_symlink() => "a symbolic link, which is not followed",
        Ok(kind) if kind.is_dir() => "a directory",
        Ok(kind) if kind.is_fifo() => "a named pipe",
        Ok(kind) if !kind.is_file() => "a device or socket",
        _ => return Ok(()),
    };
    Err(ClientError::path(path, format!("it is {what}; move it away or name another destination")))
}

/// Tells whether a path can only be a directory's, as `out/` and `out/.`.
fn names_directory(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes.ends_with(b"/") || bytes.ends_with(b"/.")
}

/// Tells whether the path exists.
pub(crate) fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Refuses the target path of a new download if the download cannot write there.
pub(crate) fn check_place(target: &Path, info_hash: InfoHash) -> Result<(), ClientError> {
    let parent = target.parent().unwrap_or(Path::new("/"));
    if let Err(errno) = rustix::fs::access(parent, Access::WRITE_OK | Access::EXEC_OK) {
        return Err(ClientError::path(
            parent,
            format!("it cannot be written to: {}", io::Error::from(errno)),
        ));
    }
    let part = part_path(target, info_hash);
    refuse_odd(&part)?;
    // An empty one may be left from an earlier attempt, and holds no data of another owner.
    if part.symlink_metadata().is_ok_and(|facts| !is_empty_part(&facts)) {
        return Err(ClientError::path(
            part,
            "it exists and was not begun by this download; move it away or name another destination",
        ));
    }
    Ok(())
}

/// Tells whether the file at that path is the one that the download made.
fn is_ours(row: &DownloadRow, path: &Path) -> bool {
    let there = path.symlink_metadata().ok().filter(|facts| facts.is_file());
    row.part.zip(there).is_some_and(|(part, there)| part.is(&InodeId::new(&there)))
}

/// Tells whether a download's `.part` is in its place.
pub(crate) fn has_part(row: &DownloadRow) -> bool {
    is_ours(row, &part_path(&row.target, row.facts.info_hash))
}

/// Why a download cannot continue, if its `.part` is gone. It is not begun again: the `.part` may
/// be on a disk that is not mounted.
pub(crate) fn missing(row: &DownloadRow) -> Option<String> {
    let part = part_path(&row.target, row.facts.info_hash);
    (row.part.is_some() && !is_there(&part)).then(|| missing_part(&part))
}

/// Moves a failed download's `.part` to the new download's place; false if that fails.
pub(crate) fn move_part(from: &DownloadRow, to: &Path) -> bool {
    let info_hash = from.facts.info_hash;
    let (old, new) = (part_path(&from.target, info_hash), part_path(to, info_hash));
    let rename =
        |old, new| rustix::fs::renameat_with(CWD, old, CWD, new, RenameFlags::NOREPLACE).is_ok();
    let moved = old != new && is_ours(from, &old) && rename(&old, &new);
    if moved && !is_ours(from, &new) {
        // Another program replaced the file between the check and the rename.
        rename(&new, &old);
        return false;
    }
    moved
}

/// Removes a download's `.part`, if it is the download's own.
pub(crate) fn remove_part(row: &DownloadRow) {
    let part = part_path(&row.target, row.facts.info_hash);
    if !is_ours(row, &part) {
        return;
    }
    match std::fs::remove_file(&part) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            log::warn!("{}: cannot be removed: {e}", part.display())
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
