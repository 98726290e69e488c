//! Converts links, pieces and traffic to the types of the interface.

use std::time::{Duration, SystemTime};

use super::super::api::{Direction, Peer, Peers, Pieces, Traffic};
use crate::client;
use crate::swarm::{self, PieceBucket, PieceMap, Way};
use crate::types::FileFacts;

pub(super) fn peers(facts: &FileFacts, peers: Vec<client::Peer>) -> Peers {
    let pieces = facts.piece_count();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let peers = peers.into_iter().map(|peer| self::peer(peer, now)).collect();
    Peers { info_hash: facts.info_hash, pieces, peers }
}

fn peer(client::Peer { user, link }: client::Peer, now: Duration) -> Peer {
    Peer {
        user,
        user_id: link.user,
        device: link.device,
        address: link.address,
        direction: if link.is_dialled { Direction::Out } else { Direction::In },
        relayed: link.way == Way::Relayed,
        punched: link.way == Way::Punched,
        lan: link.way == Way::Lan,
        group_id: link.group,
        since_ms: now.saturating_sub(link.age).as_millis() as u64,
        pieces: link.pieces,
        received_per_second: link.received_per_second,
        sent_per_second: link.sent_per_second,
        bytes_received: link.received,
        bytes_sent: link.sent,
        interested: link.is_interested,
        choked: link.is_choked,
        peer_interested: link.is_peer_interested,
        peer_choked: link.is_peer_choked,
        requests: link.requests,
        peer_requests: link.peer_requests,
    }
}

pub(super) fn pieces(facts: &FileFacts, map: &PieceMap) -> Pieces {
    let list = |of: fn(&PieceBucket) -> u32| map.buckets.iter().map(of).collect();
    Pieces {
        info_hash: facts.info_hash,
        size: facts.len,
        piece_size: facts.piece_len,
        pieces: map.pieces,
        pieces_per_bucket: map.bucket_len,
        have: list(|bucket| bucket.have),
        partial: list(|bucket| bucket.partial),
        requested: list(|bucket| bucket.requested),
        availability: map.knows_availability.then(|| list(|bucket| bucket.availability)),
    }
}

pub(super) fn traffic(traffic: swarm::Traffic) -> Traffic {
    Traffic {
        received_per_second: traffic.received_per_second,
        sent_per_second: traffic.sent_per_second,
        bytes_received: traffic.received,
        bytes_sent: traffic.sent,
    }
}
