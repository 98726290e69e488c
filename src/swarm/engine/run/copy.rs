//! Taking a download's pieces from files of this disk that have them already, before any peer is
//! asked.
//!
//! **Invariant:** where a file came from makes no difference to what is checked: every piece, and
//! where its chain is not known the whole, as read from the `.part`. A file that has changed since
//! its content was known brings no piece that counts; it is only ever read.
//!
//! Where the file system can, the `.part` shares the blocks of the other file (a reflink), and is
//! then read and hashed in place; else each piece is read, hashed and written. Where the chain is
//! not known, a second thread hashes the whole of a large file just behind.
//!
//! The file may be known under another info hash, if length and SHA-1 of the whole are the same:
//! then its own pieces make an info dictionary under our file's name, which is the right one if it
//! has our info hash. So no peer is needed for that either.
//!
//! Called on the download's thread, between the check of the `.part` ([`super::scan`]) and the
//! first request; blocks on the `.part`'s disk, and for a while on the other file's ([`Source`]). Nothing is fetched meanwhile, since links come only
//! afterwards.

use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use sha1::{Digest, Sha1};

use super::prove::Whole;
use super::scan::piece_buffer;
use super::source::{Opened, Source};
use super::{End, Run};
use crate::swarm::api::{LocalCopy, SeedSpec};
use crate::swarm::disk::buffers::Buffer;
use crate::swarm::disk::part_file::PartFile;
use crate::swarm::disk::seed_files::{is_same, stamp_of};
use crate::swarm::engine::torrent::Torrent;
use crate::swarm::pick::chain::ChainHasher;
use crate::swarm::pick::check::Checker;
use crate::types::{Bitfield, PieceIndex, Sha1Digest};
use crate::wire::metainfo::Metainfo;

/// Pieces that the second thread may be behind: few enough that it finds them in the page cache.
const BEHIND_MAX: usize = 32;
/// Bytes that the second thread reads and hashes at a time.
const BLOCK_LEN: usize = 256 << 10;
/// Length from which a second thread is worth its start.
const LARGE_LEN: u64 = 4 << 20;

pub(crate) struct Filled {
    /// The pieces.
    pub(crate) have: Bitfield,
    /// The hash of the whole, if it was computed on the way.
    pub(crate) whole: Option<Whole>,
}

/// Takes what is missing from other files of this disk, as far as they have it.
pub(crate) fn fill(run: &Run<'_>, part: &PartFile, have: Bitfield) -> Result<Filled, End> {
    let mut filled = Filled { have, whole: None };
    if filled.have.is_full() {
        return Ok(filled);
    }
    let torrent = run.torrent;
    let facts = run.with(|transfer| transfer.facts.clone())?;
    let seed = torrent.state.lock().seed.clone();
    let offered =
        seed.as_ref().map(|seed| LocalCopy { path: seed.path.clone(), stamp: seed.stamp });
    let mut is_hopeless = false;
    let others = torrent
        .services
        .host
        .copies(&facts)
        .into_iter()
        .filter(|other| Some(other) != offered.as_ref());
    for source in offered.iter().cloned().chain(others) {
        let mut file = match Source::open(torrent, &source) {
            Opened::Same(file) => file,
            Opened::Hangs => continue,
            Opened::Other => {
                let is_offered = Some(&source) == offered.as_ref();
                if let Some(seed) = seed.as_ref().filter(|_| is_offered) {
                    check_seed(torrent, seed);
                }
                continue;
            }
        };
        run.check_running()?;
        if torrent.metainfo.get().is_none() {
            if is_hopeless {
                break;
            }
            let read = |bytes: &mut [u8], offset| {
                file.read(offset, bytes.len()).map(|read| bytes.copy_from_slice(read))
            };
            match learn(run, read)? {
                Learned::Ours => {}
                Learned::Nothing => continue,
                Learned::Other => {
                    is_hopeless = true;
                    continue;
                }
            }
        }
        let before = filled.have.ones();
        let checker = run.with(|transfer| transfer.checker(torrent.metainfo.get()))?;
        let copy = Copy { run, part, file, checker, buffer: piece_buffer(torrent) };
        copy.take(&mut filled)?;
        let brought = filled.have.ones() - before;
        log::info!(
            "{}: {brought} of {} pieces are copied from {}",
            torrent.info_hash,
            filled.have.count(),
            source.path.display()
        );
        if filled.have.is_full() {
            break;
        }
    }
    Ok(filled)
}

/// Stops offering a shared file that has changed: while we say that we have the whole file, no
/// seeder stays linked.
fn check_seed(torrent: &Torrent, seed: &SeedSpec) {
    // It may only be unreadable now.
    match stamp_of(&seed.path) {
        Ok(stamp) if is_same(&seed.path, &stamp, &seed.stamp) => {}
        other => torrent.seed_changed(seed, other.is_err()),
    }
}

/// What a file that should have the content told.
pub(super) enum Learned {
    /// The metainfo.
    Ours,
    /// Nothing: it cannot be read.
    Nothing,
    /// It makes another info hash, and so will all that have the same SHA-1.
    Other,
}

/// Makes the metainfo out of a file that should have the content: it is ours if it has our info
/// hash.
pub(super) fn learn(
    run: &Run<'_>,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
) -> Result<Learned, End> {
    let torrent = run.torrent;
    let geometry = torrent.geometry;
    let (mut buffer, mut pieces) =
        (piece_buffer(torrent), Vec::with_capacity(geometry.piece_count() as usize));
    for piece in geometry.indexes() {
        run.wait_unpaused(&mut torrent.state.lock())?;
        let bytes = &mut buffer[..geometry.len_of(piece) as usize];
        if read(bytes, geometry.offset(piece)).is_err() {
            return Ok(Learned::Nothing);
        }
        pieces.push(Sha1Digest::from_bytes(Sha1::digest(bytes).into()));
    }
    let name = run.with(|transfer| transfer.facts.name.clone())?;
    let metainfo = Metainfo::new(name, geometry, pieces)
        .ok()
        .filter(|metainfo| metainfo.info_hash() == torrent.info_hash);
    let Some(metainfo) = metainfo.map(Arc::new) else { return Ok(Learned::Other) };
    if torrent.metainfo.set(metainfo.clone()).is_ok() {
        torrent.services.host.metainfo(torrent.info_hash, &metainfo);
    }
    Ok(Learned::Ours)
}

/// One walk along one file.
struct Copy<'a> {
    run: &'a Run<'a>,
    part: &'a PartFile,
    file: Source,
    checker: Checker,
    buffer: Buffer,
}

impl Copy<'_> {
    /// Takes the pieces that are missing and that the file has, in order; the SHA-1 of the whole,
    /// if then none is missing.
    fn take(mut self, filled: &mut Filled) -> Result<(), End> {
        // Blocks are shared at one go, and only while nothing else is there that counts.
        let cloned = filled.have.is_empty() && self.clone_whole()?;
        let (part, torrent) = (self.part, self.run.torrent);
        std::thread::scope(|scope| {
            let (behind, pieces) = bounded(BEHIND_MAX);
            let follow = move || hash_behind(torrent, part, &pieces);
            let is_worth = torrent.geometry.len() >= LARGE_LEN && self.checker.chain.is_none();
            let builder = std::thread::Builder::new().name("posse-copy".to_owned());
            let whole = is_worth.then(|| builder.spawn_scoped(scope, follow)).and_then(Result::ok);
            let taken = self.pieces(filled, cloned, whole.is_some().then_some(behind));
            // The sender has gone by now, so the thread ends.
            let whole = whole.and_then(|whole| whole.join().ok()).flatten();
            filled.whole = whole.filter(|_| filled.have.is_full());
            taken
        })
    }

    /// Has the `.part` share the blocks of the file; false where the file system cannot.
    fn clone_whole(&self) -> Result<bool, End> {
        match self.part.clone_from(self.file.file()) {
            Ok(()) => Ok(true),
            Err(error) => {
                log::debug!("{}: no reflink, each piece is copied: {error}", self.part.name());
                self.run.check_running().map(|()| false)
            }
        }
    }

    fn pieces(
        &mut self,
        filled: &mut Filled,
        cloned: bool,
        mut behind: Option<Sender<PieceIndex>>,
    ) -> Result<(), End> {
        let torrent = self.run.torrent;
        for piece in torrent.geometry.indexes() {
            if !filled.have.has(piece) {
                self.run.wait_unpaused(&mut torrent.state.lock())?;
                if self.piece(piece, cloned)? {
                    filled.have.insert(piece);
                    let len = u64::from(torrent.geometry.len_of(piece));
                    let is_proven = self.checker.chain.is_some();
                    self.run.with(|transfer| {
                        transfer.bytes_checked += len;
                        if is_proven {
                            transfer.proven.insert(piece);
                        }
                    })?;
                }
            }
            // Without this piece there is no SHA-1 of the whole yet.
            let good = filled.have.has(piece);
            behind = behind.filter(|behind| good && behind.send(piece).is_ok());
        }
        Ok(())
    }

    /// Takes one piece; false if the file has another in its place, or cannot be read.
    fn piece(&mut self, piece: PieceIndex, cloned: bool) -> Result<bool, End> {
        let torrent = self.run.torrent;
        let (offset, len) =
            (torrent.geometry.offset(piece), torrent.geometry.len_of(piece) as usize);
        let read = if cloned {
            let bytes = &mut self.buffer[..len];
            self.part.read(bytes, offset).map(|()| &*bytes)
        } else {
            self.file.read(offset, len)
        };
        let Some(bytes) = read.ok().filter(|bytes| self.checker.is_good(piece, bytes)) else {
            return Ok(false);
        };
        let failed = |e: io::Error| End::Failed(format!("cannot write {}: {e}", self.part.name()));
        if !cloned {
            self.part.write(bytes, offset).map_err(failed)?;
        }
        Ok(true)
    }
}

/// Hashes the `.part` behind the thread that fills it; `None` if not every piece is told of, or one
/// cannot be read.
fn hash_behind(torrent: &Torrent, part: &PartFile, pieces: &Receiver<PieceIndex>) -> Option<Whole> {
    let geometry = torrent.geometry;
    let mut hasher = ChainHasher::new(geometry.piece_len());
    let (mut block, mut hashed) = (vec![0; BLOCK_LEN], 0);
    for piece in pieces {
        let (start, len) = (geometry.offset(piece), u64::from(geometry.len_of(piece)));
        for at in (start..start + len).step_by(BLOCK_LEN) {
            let bytes = &mut block[..(start + len - at).min(BLOCK_LEN as u64) as usize];
            part.read(bytes, at).ok()?;
            hasher.update(bytes);
        }
        hashed += len;
    }
    (hashed == geometry.len()).then(|| hasher.finish())
}
