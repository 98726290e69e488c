//! Hashes a file that is to be shared: every piece and the whole, in one pass.
//!
//! **Invariant:** the result describes one state of the file: a file that was written to meanwhile is refused.
//!
//! The calling thread reads and hashes pieces; a second one hashes the whole. Both hash a block while it is in the processor's
//! cache, so that the file goes through memory once. Blocks for as long as that takes.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::fs::OFlags;
use sha1::{Digest, Sha1};

use super::api::{HashError, Hashed, SeedSpec};
use super::storage::modified_ns;
use crate::types::{FileName, Geometry, Sha1Digest};
use crate::wire::metainfo::Metainfo;

/// Bytes read and hashed at a time: small enough for the second level of cache, large enough that switching costs nothing.
const BLOCK_LEN: usize = 256 << 10;
/// Blocks on their way to the second hash.
const BLOCKS: usize = 8;

type Block = Arc<Vec<u8>>;

/// Hashes a file. `progress` is told the bytes done so far now and then, and returns false to cancel.
///
/// # Errors
/// See [`HashError`]: not a plain file, changed meanwhile, cancelled.
///
/// # Blocking
/// For as long as reading the file takes.
pub fn hash_file(path: &Path, progress: &mut dyn FnMut(u64) -> bool) -> Result<Hashed, HashError> {
    let read_failed = |source| HashError::Read { path: path.to_owned(), source };
    let name = file_name(path)?;
    let file = open(path)?;
    let before = file.metadata().map_err(read_failed)?;
    let geometry = Geometry::for_file(before.len())?;
    let (filled, blocks) = bounded::<Block>(BLOCKS);
    let whole = std::thread::Builder::new()
        .name("posse-hash".to_owned())
        .spawn(move || hash_whole(&blocks))
        .map_err(HashError::Threads)?;
    let pieces = hash_pieces(&file, path, geometry, &filled, progress);
    drop(filled);
    let sha1 = whole.join().map_err(|_| read_failed(io::Error::other("the hashing thread panicked")))?;
    let pieces = pieces?;
    let after = file.metadata().map_err(read_failed)?;
    if identity(&before) != identity(&after) {
        return Err(HashError::Changed(path.to_owned()));
    }
    let metainfo = Metainfo::new(name, geometry, pieces).map_err(|e| read_failed(io::Error::other(e)))?;
    let path = std::path::absolute(path).map_err(read_failed)?;
    let seed = SeedSpec { metainfo: Arc::new(metainfo), path, len: before.len(), modified_ns: modified_ns(&before) };
    Ok(Hashed { seed, sha1 })
}

fn file_name(path: &Path) -> Result<FileName, HashError> {
    let name = path.file_name().and_then(|name| name.to_str());
    Ok(name.ok_or_else(|| HashError::NoName(path.to_owned()))?.parse()?)
}

/// Opens a plain file without waiting for the other end if it is a pipe after all.
fn open(path: &Path) -> Result<File, HashError> {
    let failed = |source| HashError::Read { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(HashError::NotAFile(path.to_owned()));
    }
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    match file.metadata().map_err(failed)?.is_file() {
        true => Ok(file),
        false => Err(HashError::NotAFile(path.to_owned())),
    }
}

/// What does not change while nobody writes.
fn identity(facts: &Metadata) -> (u64, u64, u64, i64) {
    (facts.dev(), facts.ino(), facts.len(), modified_ns(facts))
}

fn hash_pieces(
    file: &File,
    path: &Path,
    geometry: Geometry,
    whole: &Sender<Block>,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Vec<Sha1Digest>, HashError> {
    let mut ring: Vec<Block> = (0..BLOCKS + 2).map(|_| Arc::new(Vec::new())).collect();
    let mut turn = 0;
    let mut pieces = Vec::with_capacity(geometry.piece_count() as usize);
    for piece in geometry.indexes() {
        let mut hasher = Sha1::new();
        let (start, total) = (geometry.offset(piece), geometry.len_of(piece) as usize);
        for begin in (0..total).step_by(BLOCK_LEN) {
            let block = fill(&mut ring[turn], file, start + begin as u64, BLOCK_LEN.min(total - begin));
            let block = block.map_err(|e| match e.kind() {
                io::ErrorKind::UnexpectedEof => HashError::Changed(path.to_owned()),
                _ => HashError::Read { path: path.to_owned(), source: e },
            })?;
            turn = (turn + 1) % ring.len();
            // The other end only goes away by a panic, which is seen when it is joined.
            let _ = whole.send(block.clone());
            hasher.update(block.as_slice());
        }
        pieces.push(Sha1Digest::from_bytes(hasher.finalize().into()));
        if !progress(start + total as u64) {
            return Err(HashError::Cancelled);
        }
    }
    Ok(pieces)
}

/// Reads into a block of the ring, or into a new one if the second hash still holds it.
fn fill(block: &mut Block, file: &File, offset: u64, len: usize) -> io::Result<Block> {
    if Arc::get_mut(block).is_none() {
        *block = Arc::new(Vec::new());
    }
    if let Some(bytes) = Arc::get_mut(block) {
        bytes.resize(len, 0);
        file.read_exact_at(bytes, offset)?;
    }
    Ok(block.clone())
}

fn hash_whole(blocks: &Receiver<Block>) -> Sha1Digest {
    let mut hasher = Sha1::new();
    blocks.iter().for_each(|block| hasher.update(block.as_slice()));
    Sha1Digest::from_bytes(hasher.finalize().into())
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
            assert_eq!(hashed.seed.len, len as u64);
        }
    }

    #[test]
    fn what_is_no_plain_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(hash(directory.path()), Err(HashError::NotAFile(_))));
        assert!(matches!(hash(Path::new("/dev/null")), Err(HashError::NotAFile(_))));
        assert!(matches!(hash(&directory.path().join("none")), Err(HashError::Read { .. })));
        assert!(matches!(hash(&directory.path().join("..")), Err(HashError::NoName(_))));
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
