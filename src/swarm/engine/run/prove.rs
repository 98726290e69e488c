//! Proving, once every piece is there, what was not proven as it came.
//!
//! **Invariant:** a file passes only if it has the SHA-1 of the facts: every piece of it passed the
//! chain, or the whole was hashed.
//!
//! Called on the download's thread; reads the disk, without the torrent's lock.

use std::sync::Arc;

use super::{End, Run, scan};
use crate::swarm::disk::part_file::PartFile;
use crate::swarm::pick::chain::ChainHasher;
use crate::types::{Bitfield, ChainingValues, PieceIndex, Sha1Digest};

/// The SHA-1 of the whole, and its chaining values.
pub(crate) type Whole = (Sha1Digest, ChainingValues);

/// What came of it.
pub(super) enum Proof {
    /// The file is right; its chaining values.
    Right(Arc<ChainingValues>),
    /// The disk has only these pieces any more.
    Lacks(Bitfield),
}

/// Proves the file. `whole` is what it has, if it was hashed already.
pub(super) fn prove(run: &Run<'_>, part: &PartFile, whole: Option<Whole>) -> Result<Proof, End> {
    let (chain, proven, sha1) = run
        .with(|transfer| (transfer.chain.clone(), transfer.proven.clone(), transfer.facts.sha1))?;
    let Some(chain) = chain else {
        let (digest, values) = whole.map_or_else(|| hash_whole(run, part), Ok)?;
        return match digest == sha1 {
            true => Ok(Proof::Right(Arc::new(values))),
            false => scan::explain(run, part, sha1).map(Proof::Lacks),
        };
    };
    let mut buffer = Vec::new();
    let lacking = |piece: &PieceIndex| !proven.has(*piece);
    for piece in run.torrent.geometry.indexes().filter(lacking) {
        if !chain.proves(piece, read(run, part, piece, &mut buffer)?) {
            return scan::explain(run, part, sha1).map(Proof::Lacks);
        }
    }
    Ok(Proof::Right(chain.values().clone()))
}

fn hash_whole(run: &Run<'_>, part: &PartFile) -> Result<Whole, End> {
    let geometry = run.torrent.geometry;
    let (mut hasher, mut buffer) = (ChainHasher::new(geometry.piece_len()), Vec::new());
    for piece in geometry.indexes() {
        hasher.update(read(run, part, piece, &mut buffer)?);
    }
    Ok(hasher.finish())
}

/// Reads a piece, unless the download has ended.
fn read<'a>(
    run: &Run<'_>,
    part: &PartFile,
    piece: PieceIndex,
    buffer: &'a mut Vec<u8>,
) -> Result<&'a [u8], End> {
    run.check_running()?;
    let geometry = run.torrent.geometry;
    buffer.resize(geometry.len_of(piece) as usize, 0);
    let read = part.read(buffer, geometry.offset(piece));
    read.map_err(|e| End::Failed(format!("cannot read {}: {e}", part.name())))?;
    Ok(buffer)
}
