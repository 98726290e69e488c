//! Which pieces the disk has: before a download asks for any, and after the whole turned out to be
//! wrong.
//!
//! **Invariant:** a piece counts as there if the journal lists it and the file has data at its
//! place, or if what can be read has its hash. A hole reads as zeros: a piece that is listed and is
//! a hole now was lost with the file, unless it is all zeros.
//!
//! Called on the download's thread; reads the disk, without the torrent's lock.

use super::{End, Run};
use crate::swarm::disk::buffers::Buffer;
use crate::swarm::disk::part_file::PartFile;
use crate::swarm::engine::services::Notice;
use crate::swarm::engine::torrent::Torrent;
use crate::swarm::pick::check::Checker;
use crate::swarm::pick::zeros::ZeroHashes;
use crate::types::{Bitfield, Sha1Digest};

pub(super) fn piece_buffer(torrent: &Torrent) -> Buffer {
    let geometry = torrent.geometry;
    torrent.services.buffers.take(geometry.len().min(geometry.piece_len().into()) as usize)
}

/// Finds the pieces that are there: those that the journal lists, and others in the `.part`.
pub(super) fn find_pieces(run: &Run<'_>, part: &PartFile) -> Result<Bitfield, End> {
    let torrent = run.torrent;
    let (verified, must_rewrite, checker) = run.with(|transfer| {
        let checker = transfer.checker(torrent.metainfo.get());
        (transfer.verified.clone(), transfer.must_rewrite, checker)
    })?;
    let (geometry, mut have) = (torrent.geometry, Bitfield::empty(torrent.geometry.piece_count()));
    let mut buffer = piece_buffer(torrent);
    let (mut next_data, mut zeros) = (None, ZeroHashes::default());
    for piece in geometry.indexes() {
        let (offset, len) = (geometry.offset(piece), u64::from(geometry.len_of(piece)));
        if next_data.is_none_or(|data| data < offset) {
            next_data = Some(part.next_data(offset).unwrap_or(u64::MAX));
        }
        let (is_listed, has_data) =
            (verified.has(piece), next_data.is_some_and(|data| data < offset + len));
        let bytes = &mut buffer[..len as usize];
        let is_good = match has_data {
            true => is_listed || part.read(bytes, offset).is_ok() && checker.is_good(piece, bytes),
            false => {
                let metainfo = torrent.metainfo.get().filter(|_| is_listed);
                metainfo.is_some_and(|metainfo| zeros.is_zeros(metainfo, piece))
            }
        };
        if is_good {
            have.insert(piece);
        }
        if is_good && must_rewrite && !is_listed {
            let failed = |e| End::Failed(format!("cannot write {}: {e}", part.name()));
            part.write_again(bytes, offset).map_err(failed)?;
        }
        run.with(|transfer| {
            if !is_good {
                transfer.proven.remove(piece);
                return;
            }
            transfer.bytes_checked += len;
            if checker.chain.is_some() && !is_listed {
                transfer.proven.insert(piece);
            }
        })?;
    }
    Ok(have)
}

/// Every piece was right and the whole is not: finds out whether the disk still has what was
/// written. What it has not is missing from now on, also in the journal. Returns the end of the
/// download.
pub(super) fn explain(run: &Run<'_>, part: &PartFile, want: Sha1Digest) -> Result<End, End> {
    let torrent = run.torrent;
    let (geometry, mut have) = (torrent.geometry, Bitfield::empty(torrent.geometry.piece_count()));
    let mut buffer = piece_buffer(torrent);
    let checker = Checker { metainfo: torrent.metainfo.get().cloned(), chain: None };
    for piece in geometry.indexes() {
        let bytes = &mut buffer[..geometry.len_of(piece) as usize];
        if part.read(bytes, geometry.offset(piece)).is_ok() && checker.is_good(piece, bytes) {
            have.insert(piece);
        }
        run.check_running()?;
    }
    let bad = have.count() - have.ones();
    if bad == 0 {
        return Ok(End::Failed(format!(
            "every piece is right, but the whole does not have the SHA-1 {want}, as the group says"
        )));
    }
    let (id, durable) = run.with(|transfer| {
        transfer.put_away();
        (transfer.proven, transfer.verified) = (Bitfield::empty(have.count()), have);
        transfer.durable = transfer.journaled().clone();
        (transfer.id, transfer.durable.clone())
    })?;
    torrent.services.notify(Notice::Journal(id, torrent.info_hash, durable));
    Ok(End::Failed(format!(
        "{bad} pieces of {} were changed after they had been checked; resume fetches them again",
        part.name()
    )))
}
