//! The fields of a torrent that its peers and pieces tell.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::Call;
use super::fields::Torrent;
use crate::client::api::{Command, Direction, Peer, Pieces, Reply};

/// Torrents of one request for which these fields are told: each is a look at its links or pieces.
pub(super) const PARTS_MAX: usize = 100;

/// Tells whether a field is one of these.
pub(super) fn is_part(name: &str) -> bool {
    matches!(name, "peers" | "pieces" | "pieceCount" | "pieceSize" | "desiredAvailable")
}

impl Call<'_> {
    /// Some of these fields of a torrent; none if it has gone meanwhile.
    pub(super) fn parts<'n>(
        &self,
        torrent: &Torrent,
        names: impl Iterator<Item = &'n String>,
    ) -> Vec<(String, Value)> {
        let (mut peers, mut pieces) = (None, None);
        let mut values = Vec::new();
        for name in names.filter(|name| is_part(name)) {
            let (group, file) = torrent.names();
            let value = if name == "peers" {
                let look = || self.command(Command::ShowPeers { group, file });
                let peers =
                    peers.get_or_insert_with(|| look().and_then(Reply::peers).ok()).as_ref();
                peers.map(|found| {
                    json!(found.peers.iter().map(|p| peer(p, found.pieces)).collect::<Vec<_>>())
                })
            } else {
                let look = || self.command(Command::ShowPieces { group, file });
                let pieces =
                    pieces.get_or_insert_with(|| look().and_then(Reply::pieces).ok()).as_ref();
                pieces.and_then(|found| of_pieces(name, found))
            };
            values.extend(value.map(|value| (name.clone(), value)));
        }
        values
    }
}

fn peer(peer: &Peer, pieces: u32) -> Value {
    let flags = [
        (peer.interested && !peer.choked, "D"),
        (peer.interested && peer.choked, "d"),
        (peer.peer_interested && !peer.peer_choked, "U"),
        (peer.peer_interested && peer.peer_choked, "u"),
        (true, "E"),
        (peer.direction == Direction::In, "I"),
    ];
    let name = peer.user.as_ref().map_or("Posse".to_owned(), |user| format!("Posse, {user}"));
    let progress = match pieces {
        0 => 1.0,
        _ => f64::from(peer.pieces.unwrap_or(0)) / f64::from(pieces),
    };
    json!({
        "address": peer.address.ip(),
        "port": peer.address.port(),
        "clientName": name,
        "clientIsChoked": peer.choked,
        "clientIsInterested": peer.interested,
        "peerIsChoked": peer.peer_choked,
        "peerIsInterested": peer.peer_interested,
        "flagStr": flags.iter().filter(|(is, _)| *is).map(|(_, flag)| *flag).collect::<String>(),
        "isEncrypted": true,
        "isIncoming": peer.direction == Direction::In,
        "isDownloadingFrom": peer.received_per_second > 0,
        "isUploadingTo": peer.sent_per_second > 0,
        "isUTP": false,
        "progress": progress,
        "rateToClient": peer.received_per_second,
        "rateToPeer": peer.sent_per_second,
    })
}

fn of_pieces(name: &str, map: &Pieces) -> Option<Value> {
    Some(match name {
        "pieceCount" => json!(map.pieces),
        "pieceSize" => json!(map.piece_size),
        // Of a larger file the map has no single pieces.
        "pieces" if map.pieces_per_bucket == 1 => {
            let bits = |eight: &[u32]| {
                let bit = |(at, have): (usize, &u32)| u8::from(*have > 0) << (7 - at);
                eight.iter().enumerate().map(bit).sum::<u8>()
            };
            json!(BASE64_STANDARD.encode(map.have.chunks(8).map(bits).collect::<Vec<_>>()))
        }
        // Whole buckets of which somebody has every piece: at least so much.
        "desiredAvailable" => {
            let in_bucket = |at: usize| {
                let begin = at as u32 * map.pieces_per_bucket;
                map.pieces_per_bucket.min(map.pieces.saturating_sub(begin))
            };
            let piece_len = u64::from(map.piece_size);
            // The last piece may be shorter, and may be the one that is missing.
            let short = (u64::from(map.pieces) * piece_len).saturating_sub(map.size);
            let missing = |(at, have): (usize, u32)| {
                let len = u64::from(in_bucket(at).saturating_sub(have)) * piece_len;
                len.saturating_sub(if at + 1 == map.have.len() { short } else { 0 })
            };
            let offered = map.availability.as_ref()?.iter().zip(&map.have).enumerate();
            let bytes: u64 = offered
                .filter(|(_, (available, _))| **available > 0)
                .map(|(at, (_, have))| missing((at, *have)))
                .sum();
            json!(bytes)
        }
        _ => return None,
    })
}
