//! Hashes a file that is to be shared: every piece and the whole, at the same time.
//!
//! **Invariant:** both hashes are of the same bytes, each read once; and the result describes one
//! state of the file: one that was written to meanwhile is refused.
//!
//! The calling thread reads, and hashes two pieces at a time side by side ([`super::twin`]), which
//! leaves it time to spare; a second one, which it hands the blocks to, hashes the whole. That one
//! cannot be divided: its speed is that of one core's SHA-1, and it hardly ever waits. (Each
//! reading for itself reached 0.74 to 0.86 of that, one reader that hashed one piece at a time
//! 0.68.) Blocks for as long as that takes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use sha1::{Digest, Sha1};

use super::api::{HashError, Hashed, SeedSpec};
use super::files::open_plain;
use super::twin::update_both;
use crate::types::{FileName, FileStamp, Geometry, Sha1Digest};
use crate::wire::metainfo::Metainfo;

/// Bytes read at a time: a piece of nearly every file.
const BLOCK_LEN: u64 = 512 << 10;
/// Blocks in memory: two being read and hashed, one being hashed for the whole, the others on their
/// way.
const BLOCKS_MAX: usize = 6;

/// Hashes a file that is to be shared under its own name. `progress` is told the bytes done so far
/// now and then, and returns false to cancel. A link is not followed: whoever means what it leads
/// to names that.
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
    let (pieces, sha1) = match before.len {
        0..=BLOCK_LEN => hash_short(&input, progress)?,
        _ => hash_long(&input, progress)?,
    };
    if FileStamp::new(&file.metadata().map_err(read_failed)?) != before {
        return Err(HashError::Changed(path.to_owned()));
    }
    let metainfo =
        Metainfo::new(name, geometry, pieces).map_err(|e| read_failed(io::Error::other(e)))?;
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

/// What is hashed.
struct Input<'a> {
    file: &'a File,
    path: &'a Path,
    geometry: Geometry,
}

/// Bytes of the file, at the front of a buffer that is used again.
struct Block {
    bytes: Vec<u8>,
    len: usize,
}

impl Block {
    fn data(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The hashes of the pieces, and of the whole.
type Hashes = (Vec<Sha1Digest>, Sha1Digest);

/// Hashes a file of one block at most, which is one piece at most.
fn hash_short(
    input: &Input<'_>,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Hashes, HashError> {
    let (mut pieces, mut whole, len) = (Pieces::default(), Sha1::new(), input.geometry.len());
    if len > 0 {
        let mut block = Block { bytes: Vec::new(), len: 0 };
        input.read(&mut block, 0)?;
        update_both((&mut pieces.current, block.data()), (&mut whole, block.data()));
        pieces.end_one();
        if !progress(len) {
            return Err(HashError::Cancelled);
        }
    }
    Ok((pieces.done, digest(whole)))
}

/// Hashes a longer file on two threads.
fn hash_long(
    input: &Input<'_>,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Hashes, HashError> {
    let (filled, blocks) = bounded(BLOCKS_MAX);
    let (emptied, empty) = bounded(BLOCKS_MAX);
    for _ in 0..BLOCKS_MAX {
        // There is room for all.
        let _ = emptied.try_send(Vec::new());
    }
    thread::scope(|scope| {
        let whole = thread::Builder::new().name("posse-hash".to_owned());
        let whole = whole
            .spawn_scoped(scope, move || hash_whole(&blocks, &emptied))
            .map_err(HashError::Threads)?;
        // It drops its end of the channel, also when it fails: so the other thread ends.
        let pieces = hash_pieces(input, filled, &empty, progress);
        let whole = whole
            .join()
            .map_err(|_| input.failed(io::Error::other("the hashing thread panicked")))?;
        Ok((pieces?, whole))
    })
}

/// Hashes what comes, in order, until no more does.
fn hash_whole(blocks: &Receiver<Block>, emptied: &Sender<Vec<u8>>) -> Sha1Digest {
    let mut whole = Sha1::new();
    for block in blocks {
        whole.update(block.data());
        // If nobody takes it any more, no more blocks will come.
        let _ = emptied.send(block.bytes);
    }
    digest(whole)
}

/// Reads the file, hashes its pieces and hands every block on.
fn hash_pieces(
    input: &Input<'_>,
    filled: Sender<Block>,
    empty: &Receiver<Vec<u8>>,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Vec<Sha1Digest>, HashError> {
    let gone = || input.failed(io::Error::other("the hashing thread ended"));
    let (mut pieces, mut at) = (Pieces::default(), 0);
    while at < input.geometry.len() {
        let mut pair = Vec::with_capacity(2);
        while pair.len() < 2 && at < input.geometry.len() {
            let mut block = Block { bytes: empty.recv().map_err(|_| gone())?, len: 0 };
            input.read(&mut block, at)?;
            at += block.len as u64;
            pair.push(block);
        }
        pieces.take(&pair, input.geometry.piece_len() as usize);
        for block in pair {
            filled.send(block).map_err(|_| gone())?;
        }
        if !progress(at) {
            return Err(HashError::Cancelled);
        }
    }
    pieces.end();
    Ok(pieces.done)
}

impl Input<'_> {
    /// Reads the block at `offset`, which begins where another ends and never reaches beyond its
    /// piece.
    fn read(&self, block: &mut Block, offset: u64) -> Result<(), HashError> {
        // A piece is a block, or a power of two of them.
        let len = BLOCK_LEN.min(self.geometry.piece_len().into()).min(self.geometry.len() - offset)
            as usize;
        if block.bytes.len() < len {
            block.bytes.resize(len, 0);
        }
        block.len = len;
        self.file.read_exact_at(&mut block.bytes[..len], offset).map_err(|e| self.failed(e))
    }

    fn failed(&self, error: io::Error) -> HashError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => HashError::Changed(self.path.to_owned()),
            _ => HashError::Read { path: self.path.to_owned(), source: error },
        }
    }
}

/// The hashes of pieces, as their blocks come.
#[derive(Default)]
struct Pieces {
    done: Vec<Sha1Digest>,
    current: Sha1,
    /// Bytes of the current one so far.
    len: usize,
}

impl Pieces {
    /// Takes the next block or two. Two whole pieces are hashed side by side.
    fn take(&mut self, blocks: &[Block], piece_len: usize) {
        match blocks {
            [first, second] if self.len == 0 && first.len == piece_len => {
                let mut next = Sha1::new();
                update_both((&mut self.current, first.data()), (&mut next, second.data()));
                self.end_one();
                (self.current, self.len) = (next, second.len);
                self.end_if_whole(piece_len);
            }
            _ => {
                for block in blocks {
                    self.current.update(block.data());
                    self.len += block.len;
                    self.end_if_whole(piece_len);
                }
            }
        }
    }

    fn end_if_whole(&mut self, piece_len: usize) {
        if self.len == piece_len {
            self.end_one();
        }
    }

    /// Ends the last piece, which may be short.
    fn end(&mut self) {
        if self.len > 0 {
            self.end_one();
        }
    }

    fn end_one(&mut self) {
        self.done.push(digest(std::mem::take(&mut self.current)));
        self.len = 0;
    }
}

fn digest(hasher: Sha1) -> Sha1Digest {
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
        let bytes: Vec<u8> =
            (0..5 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 9) as u8).collect();
        for (piece_len, len) in
            [(1 << 20, 5 << 20), (1 << 20, 4_700_000), (2 << 20, 4_700_000), (512 << 10, 4_700_000)]
        {
            let mut pieces = Pieces::default();
            let blocks: Vec<Block> = bytes[..len]
                .chunks(512 << 10)
                .map(|b| Block { bytes: b.to_vec(), len: b.len() })
                .collect();
            blocks.chunks(2).for_each(|pair| pieces.take(pair, piece_len));
            pieces.end();
            let want: Vec<_> = bytes[..len]
                .chunks(piece_len)
                .map(|p| Sha1Digest::from_bytes(Sha1::digest(p).into()))
                .collect();
            assert_eq!(pieces.done, want, "{len} bytes in pieces of {piece_len}");
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
