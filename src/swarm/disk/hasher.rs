//! Hashes a file that is to be shared: every piece, the whole, and its chaining values.
//!
//! **Invariant:** all hashes are of the same bytes, each read once; and the result describes one
//! state of the file: one that was written to meanwhile is refused.
//!
//! The calling thread reads, a second one hashes the pieces and a third one the whole. The hash of
//! the whole cannot be divided: its speed is that of one core's SHA-1. Blocks for as long as that
//! takes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, Scope, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use sha1::{Digest, Sha1};

use crate::swarm::api::{HashError, Hashed, SeedSpec};
use crate::swarm::disk::buffers::{Buffer, Buffers};
use crate::swarm::disk::seed_files::open_plain;
use crate::swarm::pick::chain::ChainHasher;
use crate::types::{ChainingValues, FileName, FileStamp, Geometry, Sha1Digest};
use crate::wire::metainfo::Metainfo;

/// Bytes read at a time: a piece of nearly every file.
const BLOCK_LEN: u64 = 512 << 10;
/// Blocks that wait for each of the two hashes.
const BLOCKS_MAX: usize = 4;

/// Hashes a file that is to be shared under its own name. `progress` is told the bytes done so far
/// now and then, and returns false to cancel. A symbolic link is not followed.
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
pub fn hash_file_as(
    path: &Path,
    name: FileName,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Hashed, HashError> {
    let read_failed = |source| HashError::Read { path: path.to_owned(), source };
    let (file, before) = open(path)?;
    let geometry = Geometry::for_file(before.len)?;
    let input = Input { file: &file, path, geometry };
    let (pieces, (sha1, chain)) = match before.len {
        0..=BLOCK_LEN => hash_short(&input, progress)?,
        _ => hash_long(&input, progress)?,
    };
    if FileStamp::new(&file.metadata().map_err(read_failed)?) != before {
        return Err(HashError::Changed(path.to_owned()));
    }
    let metainfo =
        Metainfo::new(name, geometry, pieces).map_err(|e| read_failed(io::Error::other(e)))?;
    let path = std::path::absolute(path).map_err(read_failed)?;
    let chain = Some(Arc::new(chain));
    let seed = SeedSpec { metainfo: Arc::new(metainfo), chain, path, stamp: before };
    Ok(Hashed { seed, sha1 })
}

fn file_name(path: &Path) -> Result<FileName, HashError> {
    let name = path.file_name().and_then(|name| name.to_str());
    Ok(name.ok_or_else(|| HashError::NoName(path.to_owned()))?.parse()?)
}

fn open(path: &Path) -> Result<(File, FileStamp), HashError> {
    open_plain(path).map_err(|source| match source.kind() {
        io::ErrorKind::InvalidInput => HashError::NotAFile(path.to_owned()),
        _ => HashError::Read { path: path.to_owned(), source },
    })
}

struct Input<'a> {
    file: &'a File,
    path: &'a Path,
    geometry: Geometry,
}

/// Called with the bytes done so far; false cancels.
type Progress<'a> = dyn FnMut(u64) -> bool + 'a;
/// The hashes of the pieces, and of the whole.
type Hashes = (Vec<Sha1Digest>, (Sha1Digest, ChainingValues));

/// Hashes a file of one block at most, which is one piece at most: the hash of the whole is that of
/// the piece.
fn hash_short(input: &Input<'_>, progress: &mut Progress<'_>) -> Result<Hashes, HashError> {
    let (len, mut whole) = (input.geometry.len(), ChainHasher::new(input.geometry.piece_len()));
    if len > 0 {
        whole.update(&input.read(&Arc::default(), 0)?);
        if !progress(len) {
            return Err(HashError::Cancelled);
        }
    }
    let whole = whole.finish();
    Ok((vec![whole.0; input.geometry.piece_count() as usize], whole))
}

/// Hashes a longer file on two more threads.
fn hash_long(input: &Input<'_>, progress: &mut Progress<'_>) -> Result<Hashes, HashError> {
    let piece_len = input.geometry.piece_len();
    let (to_pieces, for_pieces) = bounded::<Arc<Buffer>>(BLOCKS_MAX);
    let (to_whole, for_whole) = bounded::<Arc<Buffer>>(BLOCKS_MAX);
    thread::scope(|scope| {
        let pieces = start(scope, move || hash_pieces(&for_pieces, piece_len as usize))?;
        let whole = start(scope, move || {
            let mut whole = ChainHasher::new(piece_len);
            for_whole.iter().for_each(|block| whole.update(&block));
            whole.finish()
        })?;
        // It drops its ends of the channels, also when it fails: so the other threads end.
        let read = read_blocks(input, [to_pieces, to_whole], progress);
        let panicked = |_| input.failed(io::Error::other("a hashing thread panicked"));
        let hashes = (pieces.join().map_err(panicked)?, whole.join().map_err(panicked)?);
        read.map(|()| hashes)
    })
}

fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, HashError> {
    let thread = thread::Builder::new().name("posse-hash".to_owned());
    thread.spawn_scoped(scope, work).map_err(HashError::Threads)
}

fn read_blocks(
    input: &Input<'_>,
    hashes: [Sender<Arc<Buffer>>; 2],
    progress: &mut Progress<'_>,
) -> Result<(), HashError> {
    let (buffers, mut at) = (Arc::default(), 0);
    while at < input.geometry.len() {
        let block = Arc::new(input.read(&buffers, at)?);
        at += block.len() as u64;
        for hash in &hashes {
            let ended = |_| input.failed(io::Error::other("a hashing thread ended"));
            hash.send(block.clone()).map_err(ended)?;
        }
        if !progress(at) {
            return Err(HashError::Cancelled);
        }
    }
    Ok(())
}

/// Hashes the pieces whose blocks come, in order, until no more do.
fn hash_pieces(blocks: &Receiver<Arc<Buffer>>, piece_len: usize) -> Vec<Sha1Digest> {
    let (mut pieces, mut current, mut len) = (Vec::new(), Sha1::new(), 0);
    for block in blocks {
        current.update(&**block);
        len += block.len();
        if len == piece_len {
            pieces.push(digest(current.finalize_reset()));
            len = 0;
        }
    }
    // The last piece may be short.
    if len > 0 {
        pieces.push(digest(current.finalize()));
    }
    pieces
}

impl Input<'_> {
    /// Reads the block at `offset`, which begins where another ends and never reaches beyond its
    /// piece.
    fn read(&self, buffers: &Arc<Buffers>, offset: u64) -> Result<Buffer, HashError> {
        // A piece is a block, or a power of two of them.
        let len = BLOCK_LEN.min(self.geometry.piece_len().into()).min(self.geometry.len() - offset);
        let mut block = buffers.take(len as usize);
        self.file.read_exact_at(&mut block, offset).map_err(|e| self.failed(e))?;
        Ok(block)
    }

    fn failed(&self, error: io::Error) -> HashError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => HashError::Changed(self.path.to_owned()),
            _ => HashError::Read { path: self.path.to_owned(), source: error },
        }
    }
}

fn digest(digest: impl Into<[u8; Sha1Digest::LEN]>) -> Sha1Digest {
    Sha1Digest::from_bytes(digest.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::pick::chain::Chain;

    fn hash(path: &Path) -> Result<Hashed, HashError> {
        hash_file(path, &mut |_| true)
    }

    #[test]
    fn all_hashes_are_right_at_every_size() {
        let directory = tempfile::tempdir().unwrap();
        for len in [
            0usize,
            1,
            256 << 10,
            512 << 10,
            (512 << 10) + 1,
            1 << 20,
            (1 << 20) + 1,
            3_000_000,
            8 << 20,
        ] {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 7 % 251) as u8).collect();
            let path = directory.path().join(format!("file {len}"));
            std::fs::write(&path, &bytes).unwrap();
            let hashed = hash(&path).unwrap();
            assert_eq!(hashed.sha1.as_bytes()[..], Sha1::digest(&bytes)[..]);
            let want: Vec<_> = bytes
                .chunks(512 << 10)
                .map(|p| Sha1Digest::from_bytes(Sha1::digest(p).into()))
                .collect();
            assert_eq!(hashed.seed.metainfo.pieces(), want);
            assert_eq!(hashed.facts().chain.is_some(), len > 512 << 10);
            let (geometry, values) = (hashed.seed.metainfo.geometry(), hashed.seed.chain.unwrap());
            let chain = Chain::new(geometry, values, hashed.sha1);
            for (index, piece) in geometry.indexes().zip(bytes.chunks(512 << 10)) {
                assert!(chain.as_ref().unwrap().proves(index, piece));
            }
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

    #[test]
    fn pieces_of_several_blocks_are_hashed_right() {
        let buffers = Arc::<Buffers>::default();
        let bytes: Vec<u8> =
            (0..5 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 9) as u8).collect();
        for (piece_len, len) in
            [(1 << 20, 5 << 20), (1 << 20, 4_700_000), (2 << 20, 4_700_000), (512 << 10, 4_700_000)]
        {
            let (send, blocks) = crossbeam_channel::unbounded();
            for part in bytes[..len].chunks(512 << 10) {
                let mut block = buffers.take(part.len());
                block.copy_from_slice(part);
                send.send(Arc::new(block)).unwrap();
            }
            drop(send);
            let want: Vec<_> = bytes[..len]
                .chunks(piece_len)
                .map(|p| Sha1Digest::from_bytes(Sha1::digest(p).into()))
                .collect();
            let pieces = hash_pieces(&blocks, piece_len);
            assert_eq!(pieces, want, "{len} bytes in pieces of {piece_len}");
        }
    }

    #[test]
    fn progress_never_goes_back_and_ends_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, vec![3; 5_000_000]).unwrap();
        let mut told = vec![0];
        hash_file(&path, &mut |done| {
            told.push(done);
            true
        })
        .unwrap();
        assert!(told.is_sorted() && told.last() == Some(&5_000_000), "{told:?}");
    }
}
