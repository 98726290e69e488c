//! Hashes a file that is to be shared: every piece and the whole, at the same time.
//!
//! **Invariant:** the result describes one state of the file: a file that was written to meanwhile is refused.
//!
//! The calling thread hashes the pieces and a second one the whole, each reading for itself: they go at one speed, so that what the
//! first brings from the disk the other finds in the page cache. That reaches 0.86 of one core's SHA-1 on two cores; one reader that
//! handed its blocks over reached 0.68. Blocks for as long as that takes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha1::{Digest, Sha1};

use super::api::{HashError, Hashed, SeedSpec};
use super::files::open_plain;
use crate::types::{FileName, FileStamp, Geometry, Sha1Digest};
use crate::wire::metainfo::Metainfo;

/// Bytes read and hashed at a time: they are still in the second level of cache when they are hashed.
const BLOCK_LEN: usize = 256 << 10;

/// Hashes a file that is to be shared under its own name. `progress` is told the bytes done so far now and then, and returns false to
/// cancel. A link is not followed: whoever means what it leads to names that.
///
/// # Errors
/// See [`HashError`]: not a plain file, changed meanwhile, cancelled.
///
/// # Blocking
/// For as long as reading the file takes.
pub fn hash_file(path: &Path, progress: &mut dyn FnMut(u64) -> bool) -> Result<Hashed, HashError> {
    hash_file_as(path, file_name(path)?, progress)
}

/// As [`hash_file`], for a file that is to be shared under another name than its own.
///
/// # Errors
/// Those of [`hash_file`].
///
/// # Blocking
/// For as long as reading the file takes.
pub fn hash_file_as(path: &Path, name: FileName, progress: &mut dyn FnMut(u64) -> bool) -> Result<Hashed, HashError> {
    let read_failed = |source| HashError::Read { path: path.to_owned(), source };
    let (file, before) = open(path)?;
    let before_len = before.len;
    let geometry = Geometry::for_file(before_len)?;
    let stop = Arc::new(AtomicBool::new(false));
    let whole = {
        let (file, stop) = (file.try_clone().map_err(read_failed)?, stop.clone());
        let work = move || hash_whole(&file, before_len, &stop);
        std::thread::Builder::new().name("posse-hash".to_owned()).spawn(work).map_err(HashError::Threads)?
    };
    let pieces = hash_pieces(&file, path, geometry, progress);
    stop.store(pieces.is_err(), Ordering::Relaxed);
    let sha1 = whole.join().map_err(|_| read_failed(io::Error::other("the hashing thread panicked")))?;
    let pieces = pieces?;
    let sha1 = sha1.map_err(|e| failure(path, e))?;
    if FileStamp::new(&file.metadata().map_err(read_failed)?) != before {
        return Err(HashError::Changed(path.to_owned()));
    }
    let metainfo = Metainfo::new(name, geometry, pieces).map_err(|e| read_failed(io::Error::other(e)))?;
    let path = std::path::absolute(path).map_err(read_failed)?;
    let seed = SeedSpec { metainfo: Arc::new(metainfo), path, stamp: before };
    Ok(Hashed { seed, sha1 })
}

fn file_name(path: &Path) -> Result<FileName, HashError> {
    let name = path.file_name().and_then(|name| name.to_str());
    Ok(name.ok_or_else(|| HashError::NoName(path.to_owned()))?.parse()?)
}

/// Opens a plain file.
fn open(path: &Path) -> Result<(File, FileStamp), HashError> {
    open_plain(path).map_err(|source| match source.kind() {
        io::ErrorKind::InvalidInput => HashError::NotAFile(path.to_owned()),
        _ => HashError::Read { path: path.to_owned(), source },
    })
}

fn hash_pieces(
    file: &File,
    path: &Path,
    geometry: Geometry,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Vec<Sha1Digest>, HashError> {
    let mut block = vec![0; BLOCK_LEN];
    let mut pieces = Vec::with_capacity(geometry.piece_count() as usize);
    for piece in geometry.indexes() {
        let mut hasher = Sha1::new();
        let (start, len) = (geometry.offset(piece), u64::from(geometry.len_of(piece)));
        update(&mut hasher, file, start..start + len, &mut block, || false).map_err(|e| failure(path, e))?;
        pieces.push(Sha1Digest::from_bytes(hasher.finalize().into()));
        if !progress(start + len) {
            return Err(HashError::Cancelled);
        }
    }
    Ok(pieces)
}

/// Hashes the whole file, or nothing of use once `stop` is set.
fn hash_whole(file: &File, len: u64, stop: &AtomicBool) -> io::Result<Sha1Digest> {
    let mut hasher = Sha1::new();
    update(&mut hasher, file, 0..len, &mut vec![0; BLOCK_LEN], || stop.load(Ordering::Relaxed))?;
    Ok(Sha1Digest::from_bytes(hasher.finalize().into()))
}

/// Reads a range block by block into a hash, until its end or until `stopped`.
fn update(hasher: &mut Sha1, file: &File, range: Range<u64>, block: &mut [u8], stopped: impl Fn() -> bool) -> io::Result<()> {
    let mut at = range.start;
    while at < range.end && !stopped() {
        let len = (range.end - at).min(block.len() as u64) as usize;
        file.read_exact_at(&mut block[..len], at)?;
        hasher.update(&block[..len]);
        at += len as u64;
    }
    Ok(())
}

fn failure(path: &Path, error: io::Error) -> HashError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => HashError::Changed(path.to_owned()),
        _ => HashError::Read { path: path.to_owned(), source: error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(path: &Path) -> Result<Hashed, HashError> {
        hash_file(path, &mut |_| true)
    }

    #[test]
    fn both_hashes_are_right_at_every_size() {
        let directory = tempfile::tempdir().unwrap();
        for len in [0usize, 1, BLOCK_LEN, 512 << 10, (512 << 10) + 1, 3_000_000] {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 7 % 251) as u8).collect();
            let path = directory.path().join(format!("file {len}"));
            std::fs::write(&path, &bytes).unwrap();
            let hashed = hash(&path).unwrap();
            assert_eq!(hashed.sha1.as_bytes()[..], Sha1::digest(&bytes)[..]);
            let want: Vec<_> = bytes.chunks(512 << 10).map(|p| Sha1Digest::from_bytes(Sha1::digest(p).into())).collect();
            assert_eq!(hashed.seed.metainfo.pieces(), want);
            assert_eq!(hashed.seed.stamp.len, len as u64);
        }
    }

    #[test]
    fn what_is_no_plain_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(hash(directory.path()), Err(HashError::NotAFile(_))));
        assert!(matches!(hash(Path::new("/dev/null")), Err(HashError::NotAFile(_))));
        assert!(matches!(hash(&directory.path().join("none")), Err(HashError::Read { .. })));
        assert!(matches!(hash(&directory.path().join("..")), Err(HashError::NoName(_))));
        let link = directory.path().join("link");
        std::fs::write(directory.path().join("plain"), "x").unwrap();
        std::os::unix::fs::symlink("plain", &link).unwrap();
        assert!(matches!(hash(&link), Err(HashError::NotAFile(_))), "a link was followed");
    }

    #[test]
    fn a_file_that_changes_is_refused_and_a_cancel_heard() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("growing");
        std::fs::write(&path, vec![1; 2 << 20]).unwrap();
        let grow = |_| {
            std::fs::write(&path, vec![1; 3 << 20]).unwrap();
            true
        };
        assert!(matches!(hash_file(&path, &mut { grow }), Err(HashError::Changed(_))));
        assert!(matches!(hash_file(&path, &mut |_| false), Err(HashError::Cancelled)));
    }
}
