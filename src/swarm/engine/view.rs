//! What is shown of a file's links and pieces.
//!
//! **Invariant:** looking holds a torrent's lock no longer than taking in a peer's bitfield does:
//! the map of the pieces is made a part at a time. Since no lock is held across IO, a disk that
//! hangs delays no answer.
//!
//! Called by the client on any thread.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Engine;
use super::torrent::{Torrent, TorrentState};
use crate::swarm::Download;
use crate::swarm::api::{LinkPicture, PieceBucket, PieceMap};
use crate::swarm::link::Link;
use crate::types::InfoHash;

/// Pieces looked at under one lock: one in 128 of the most that a file has.
const PIECES_AT_ONCE: u32 = 16_384;

impl Engine {
    /// The links of a file, in the order in which they were made: at most as many as a client has.
    /// Empty for a file that the engine does not know.
    pub fn link_pictures(&self, info_hash: InfoHash) -> Vec<LinkPicture> {
        let Some(torrent) = self.torrents.get(info_hash) else { return Vec::new() };
        let (state, now) = (torrent.state.lock(), torrent.now());
        state.links.iter().map(|link| picture(&torrent, &state, link, now)).collect()
    }

    /// The pieces of a file in buckets; `None` for a file that the engine does not know. The parts
    /// of a large map are from one moment after the other.
    pub fn piece_map(&self, info_hash: InfoHash) -> Option<PieceMap> {
        let torrent = self.torrents.get(info_hash)?;
        let mut map = PieceMap::empty(torrent.geometry.piece_count());
        let at_once = (PIECES_AT_ONCE / map.bucket_len).max(1) as usize;
        for first in (0..map.buckets.len()).step_by(at_once) {
            let state = torrent.state.lock();
            map.knows_availability = download_of(&state).is_some();
            for bucket in first..(first + at_once).min(map.buckets.len()) {
                map.buckets[bucket] = bucket_of(&torrent, &state, map.range(bucket));
            }
        }
        Some(map)
    }
}

fn picture(torrent: &Torrent, state: &TorrentState, link: &Link, now: Duration) -> LinkPicture {
    let proof = link.proof();
    let from = download_of(state).and_then(|download| download.link_view(link.key));
    let to = state.uploads.view(now, link.key);
    let (count, sent) = (torrent.geometry.piece_count(), link.sent.load(Ordering::Relaxed));
    let pieces = match link.has_all() {
        true => Some(count),
        // A leecher reports its pieces to a seeder once, at the start.
        false => from.map(|view| view.pieces).or_else(|| {
            let given = sent / u64::from(torrent.geometry.piece_len());
            to.pieces.map(|told| told.saturating_add(given.min(count.into()) as u32).min(count))
        }),
    };
    let from = from.unwrap_or_default();
    LinkPicture {
        device: link.device,
        user: proof.user,
        group: proof.group,
        address: link.connection.peer_addr(),
        is_dialled: link.dialled,
        way: link.way,
        age: Instant::now().saturating_duration_since(link.since),
        pieces,
        received_per_second: from.bytes_per_second,
        sent_per_second: to.bytes_per_second,
        received: from.received,
        sent,
        is_interested: from.is_interested,
        is_choked: !from.is_unchoked,
        is_peer_interested: to.is_interested,
        is_peer_choked: !to.is_unchoked,
        requests: from.requests,
        peer_requests: to.requests,
    }
}

fn download_of(state: &TorrentState) -> Option<&Download> {
    state.transfer.as_ref()?.download.as_ref()
}

fn bucket_of(torrent: &Torrent, state: &TorrentState, pieces: std::ops::Range<u32>) -> PieceBucket {
    let record = state.transfer.as_ref();
    if let Some(download) = download_of(state) {
        return download.bucket(pieces);
    }
    let is_here = |piece: u32| {
        let index = torrent.geometry.index(u64::from(piece));
        index.is_some_and(|index| record.is_some_and(|record| record.have().has(index)))
    };
    let have = match state.seed.is_some() {
        true => pieces.len() as u32,
        false => pieces.clone().filter(|piece| is_here(*piece)).count() as u32,
    };
    PieceBucket { have, ..PieceBucket::default() }
}
