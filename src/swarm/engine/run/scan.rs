//! Which pieces the disk has: before a download asks for any, and after another process may have
//! written to the file.
//!
//! **Invariant:** a piece counts as there if the journal lists it, and the file is the one that the
//! journal is of, was last changed when the journal says, and has data at its place; or if what can
//! be read has its hash. A hole reads as zeros: a piece that is listed and is a hole now was lost
//! with the file, unless it is all zeros.
//!
//! Called on the download's thread; reads the disk, without the torrent's lock.

use std::io;

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
    let (verified, left, must_rewrite, checker) = run.with(|transfer| {
        let checker = transfer.checker(torrent.metainfo.get());
        (transfer.verified.clone(), transfer.part_stamp, transfer.must_rewrite, checker)
    })?;
    let (is_as_left, mut lost) = (part.is_as_left(left), 0);
    if !is_as_left && verified.ones() > 0 {
        log::info!("{}: may have changed; what it has is checked again", part.name());
    }
    let (geometry, mut have) = (torrent.geometry, Bitfield::empty(torrent.geometry.piece_count()));
    let mut buffer = piece_buffer(torrent);
    let (mut next_data, mut zeros) = (None, ZeroHashes::default());
    for piece in geometry.indexes() {
        let (offset, len) = (geometry.offset(piece), u64::from(geometry.len_of(piece)));
        if next_data.is_none_or(|data| data < offset) {
            next_data = Some(part.next_data(offset).unwrap_or(u64::MAX));
        }
        let has_data = next_data.is_some_and(|data| data < offset + len);
        let is_listed = verified.has(piece) && (is_as_left || !has_data);
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
                lost += u32::from(verified.has(piece));
                return;
            }
            transfer.bytes_checked += len;
            match checker.chain {
                _ if is_listed => {}
                Some(_) => _ = transfer.proven.insert(piece),
                None => _ = transfer.proven.remove(piece),
            }
        })?;
    }
    if lost > 0 {
        let name = part.name();
        log::warn!("{name}: {lost} pieces are not there any more and are fetched again");
    }
    Ok(have)
}

/// Every piece was right when it came and the whole is not: finds out which pieces the disk does
/// not have. Fails if it has all of them.
pub(super) fn explain(run: &Run<'_>, part: &PartFile, want: Sha1Digest) -> Result<Bitfield, End> {
    let checker = Checker { metainfo: run.torrent.metainfo.get().cloned(), chain: None };
    let have = check_again_by(run, part, &checker)?;
    if have.is_full() {
        return Err(End::Failed(format!(
            "every piece is right, but the whole does not have the SHA-1 {want}, as the group says"
        )));
    }
    Ok(have)
}

/// Reads the verified pieces again: another process may have written to the file. What is not right
/// any more is missing from now on, also in the journal. Returns the pieces that are right.
pub(super) fn check_again(run: &Run<'_>, part: &PartFile) -> Result<Bitfield, End> {
    let checker = run.with(|transfer| transfer.checker(run.torrent.metainfo.get()))?;
    match checker.metainfo.is_none() && checker.chain.is_none() {
        // Every piece was here from the start; the whole is still to be hashed.
        true => {
            part.accept_changes().map_err(|e| unreadable(part, &e))?;
            run.with(|transfer| transfer.have().clone())
        }
        false => check_again_by(run, part, &checker),
    }
}

fn check_again_by(run: &Run<'_>, part: &PartFile, checker: &Checker) -> Result<Bitfield, End> {
    let torrent = run.torrent;
    part.accept_changes().map_err(|e| unreadable(part, &e))?;
    let before = run.with(|transfer| transfer.have().clone())?;
    let (geometry, mut have) = (torrent.geometry, before.clone());
    let mut buffer = piece_buffer(torrent);
    for piece in geometry.indexes().filter(|piece| before.has(*piece)) {
        let bytes = &mut buffer[..geometry.len_of(piece) as usize];
        if part.read(bytes, geometry.offset(piece)).is_err() || !checker.is_good(piece, bytes) {
            have.remove(piece);
        }
        run.check_running()?;
    }
    let bad = before.ones() - have.ones();
    if bad > 0 {
        log::warn!("{}: another program wrote to it; {bad} pieces are fetched again", part.name());
        let (id, durable) = run.with(|transfer| {
            transfer.lose_all_but(&have);
            (transfer.id, transfer.for_journal())
        })?;
        torrent.services.notify(Notice::Journal(id, torrent.info_hash, durable));
    }
    Ok(have)
}

fn unreadable(part: &PartFile, error: &io::Error) -> End {
    End::Failed(format!("cannot read {}: {error}", part.name()))
}
