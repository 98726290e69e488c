//! Which pieces the disk has: before a download asks for any, and after the whole turned out to be
//! wrong.
//!
//! **Invariant:** a piece counts as there if the journal vouches for it and the file has data at
//! its place, or if what can be read has its hash. A hole has zeros: a piece that is vouched for
//! and a hole now was lost with the file, unless it is all zeros.
//!
//! Called on the download's thread; reads the disk, without the torrent's lock.

use std::collections::BTreeMap;

use sha1::{Digest, Sha1};

use super::{End, Run};
use crate::swarm::api::DownloadSpec;
use crate::swarm::disk::part_file::PartFile;
use crate::swarm::engine::verify::Checker;
use crate::types::{Bitfield, PieceIndex, Sha1Digest};
use crate::wire::metainfo::Metainfo;

/// Bytes that a download will write: zeros are not, as far as it is known where they are.
pub(crate) fn lacking(spec: &DownloadSpec, verified: &Bitfield) -> u64 {
    let Some(metainfo) = &spec.metainfo else { return spec.facts.len };
    let (geometry, mut zeros) = (metainfo.geometry(), Zeros::default());
    let lacking = geometry
        .indexes()
        .filter(|piece| !verified.has(*piece) && !zeros.is_hash(metainfo, *piece));
    lacking.map(|piece| u64::from(geometry.len_of(piece))).sum()
}

/// Finds out which pieces are there: those vouched for, and those in the `.part`.
pub(crate) fn check(run: &Run<'_>, part: &PartFile) -> Result<Bitfield, End> {
    let torrent = run.torrent;
    let (verified, rewrite, checker) = run.with(|transfer| {
        (transfer.verified.clone(), transfer.rewrite, transfer.checker(torrent))
    })?;
    let (geometry, mut have) = (torrent.geometry, Bitfield::empty(torrent.geometry.piece_count()));
    let mut buffer = torrent.engine.buffers.take(if geometry.piece_count() == 0 {
        0
    } else {
        geometry.piece_len() as usize
    });
    let (mut next_data, mut zeros) = (None, Zeros::default());
    let failed = |e| End::Failed(format!("cannot write {}: {e}", part.name()));
    for piece in geometry.indexes() {
        let (offset, end) =
            (geometry.offset(piece), geometry.offset(piece) + u64::from(geometry.len_of(piece)));
        if next_data.is_none_or(|data| data < offset) {
            next_data = Some(part.next_data(offset).unwrap_or(u64::MAX));
        }
        let bytes = &mut buffer[..geometry.len_of(piece) as usize];
        let good = match (verified.has(piece), next_data.is_some_and(|data| data < end)) {
            (true, true) => true,
            (true, false) => {
                torrent.metainfo.get().is_some_and(|metainfo| zeros.is_hash(metainfo, piece))
            }
            (false, true) => part.read(bytes, offset).is_ok() && checker.is_good(piece, bytes),
            (false, false) => false,
        };
        if good {
            have.insert(piece);
            if rewrite && !verified.has(piece) {
                part.write_again(bytes, offset).map_err(failed)?;
            }
        }
        let len = if have.has(piece) { end - offset } else { 0 };
        run.with(|transfer| {
            transfer.checked += len;
            if !have.has(piece) {
                transfer.proven.remove(piece);
            } else if checker.chain.is_some() && !verified.has(piece) {
                transfer.proven.insert(piece);
            }
        })?;
    }
    Ok(have)
}

/// Every piece was right and the whole is not: looks whether the disk still has what was written.
/// What it has not is missing from now on, and in the journal, too. Returns the end of the download.
pub(crate) fn explain(run: &Run<'_>, part: &PartFile, want: Sha1Digest) -> Result<End, End> {
    let torrent = run.torrent;
    let (geometry, mut have) = (torrent.geometry, Bitfield::empty(torrent.geometry.piece_count()));
    let mut buffer =
        torrent.engine.buffers.take(geometry.len().min(geometry.piece_len().into()) as usize);
    let checker = Checker { metainfo: torrent.metainfo.get().cloned(), chain: None };
    for piece in geometry.indexes() {
        let bytes = &mut buffer[..geometry.len_of(piece) as usize];
        if part.read(bytes, geometry.offset(piece)).is_ok() && checker.is_good(piece, bytes) {
            have.insert(piece);
        }
        run.with(|_| ())?;
    }
    let bad = have.count() - have.ones();
    if bad == 0 {
        return Ok(End::Failed(format!(
            "every piece is right, but the whole does not have the SHA-1 {want}, as the group says"
        )));
    }
    let (id, vouched) = run.with(|transfer| {
        transfer.put_away();
        (transfer.proven, transfer.verified) = (Bitfield::empty(have.count()), have);
        transfer.durable = transfer.vouched().clone();
        (transfer.number, transfer.durable.clone())
    })?;
    let info_hash = torrent.info_hash;
    torrent.engine.later(move |engine| engine.host.journal(id, info_hash, &vouched));
    Ok(End::Failed(format!(
        "{bad} pieces of {} were changed after they had been checked; resume fetches them again",
        part.name()
    )))
}

/// The hashes of pieces of zeros, by their length: one, and that of the last piece.
#[derive(Default)]
struct Zeros(BTreeMap<u32, Sha1Digest>);

impl Zeros {
    fn is_hash(&mut self, metainfo: &Metainfo, piece: PieceIndex) -> bool {
        let len = metainfo.geometry().len_of(piece);
        let zeros = || Sha1Digest::from_bytes(Sha1::digest(vec![0; len as usize]).into());
        *self.0.entry(len).or_insert_with(zeros) == metainfo.piece_hash(piece)
    }
}
