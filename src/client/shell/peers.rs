//! The command `show_peers`: the links for one file, and a map of its pieces.

use std::time::{SystemTime, UNIX_EPOCH};

use super::answer::Answer;
use super::devices::short_id;
use super::output::Format;
use super::render::{clock, to_value};
use super::session::Shell;
use crate::client::api::{ApiError, Command, Direction, Peer, Peers, Pieces};
use crate::types::human_bytes;

/// Characters in a line of the map, and its lines at most.
const MAP_WIDTH: usize = 64;
const MAP_LINES: usize = 8;
const LEGEND: &str = "# here   + coming, or in part   . missing   ! missing, and no peer has it";

impl Shell {
    /// Carries out `show_peers`.
    pub(super) fn show_peers(
        &self,
        group: &str,
        file: &str,
        with_pieces: bool,
    ) -> Result<Answer, ApiError> {
        let names = || (group.to_owned(), file.to_owned());
        let (group, file) = names();
        let peers = self.call(Command::ShowPeers { group, file })?.peers()?;
        let format = self.output.format();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = now.as_millis() as u64;
        let mut rows: Vec<Vec<String>> =
            peers.peers.iter().map(|peer| row(peer, &peers, now_ms, format)).collect();
        if rows.is_empty() {
            rows.push(vec!["no peers".into()]);
        }
        let values: Vec<_> = peers.peers.iter().map(to_value).collect();
        let mut fields = Vec::new();
        if with_pieces {
            let (group, file) = names();
            let pieces = self.call(Command::ShowPieces { group, file })?.pieces()?;
            rows.extend(map(&pieces).into_iter().map(|line| vec![line]));
            fields.push(("map", to_value(&pieces)));
        }
        let answer = Answer { rows, ..Answer::default() }
            .with("info_hash", peers.info_hash.to_string())
            .with("pieces", peers.pieces)
            .with("peers", values);
        Ok(fields.into_iter().fold(answer, |answer, (name, value)| answer.with(name, value)))
    }
}

fn row(peer: &Peer, peers: &Peers, now_ms: u64, format: Format) -> Vec<String> {
    let device = match format {
        Format::Table => short_id(peer.device),
        Format::Plain | Format::Json => peer.device.to_string(),
    };
    let user = peer.user.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string);
    let pieces = peer.pieces.map_or_else(|| "?".to_owned(), |pieces| pieces.to_string());
    let rate = |rate: u64| match format {
        Format::Table => format!("{}/s", human_bytes(rate)),
        Format::Plain | Format::Json => format!("{rate} bytes/s"),
    };
    vec![
        user,
        device,
        way(peer),
        format!("{pieces} of {} piece{}", peers.pieces, if peers.pieces == 1 { "" } else { "s" }),
        format!("down {}", rate(peer.received_per_second)),
        format!("up {}", rate(peer.sent_per_second)),
        format!("for {}", clock(now_ms.saturating_sub(peer.since_ms) / 1000)),
        state(peer),
    ]
}

/// Where the other device is, and how the two came together.
fn way(peer: &Peer) -> String {
    let (direction, address) = match peer.direction {
        Direction::In => ("from", peer.address),
        Direction::Out => ("to", peer.address),
    };
    match peer {
        Peer { relayed: true, .. } => format!("relayed by {address}"),
        Peer { punched: true, .. } => format!("{direction} {address}, punched"),
        Peer { lan: true, .. } => format!("{direction} {address}, LAN"),
        _ => format!("{direction} {address}, direct"),
    }
}

/// What goes on between the two, in words.
fn state(peer: &Peer) -> String {
    let takes = match (peer.interested, peer.choked) {
        (true, false) => Some(format!("we take, {} asked", peer.requests)),
        (true, true) => Some("we wait for our turn".into()),
        (false, _) => None,
    };
    let gives = match (peer.peer_interested, peer.peer_choked) {
        (true, false) => Some(format!("it takes, {} asked", peer.peer_requests)),
        (true, true) => Some("it waits for its turn".into()),
        (false, _) => None,
    };
    let parts: Vec<String> = takes.into_iter().chain(gives).collect();
    if parts.is_empty() { "idle".into() } else { parts.join("; ") }
}

/// The pieces as lines of characters, each for as many buckets as needed, and what they mean.
fn map(pieces: &Pieces) -> Vec<String> {
    let buckets = pieces.have.len();
    let at_once = buckets.div_ceil(MAP_WIDTH * MAP_LINES).max(1);
    let marks: Vec<char> =
        (0..buckets).step_by(at_once).map(|first| mark(pieces, first, at_once)).collect();
    let lines = marks.chunks(MAP_WIDTH).map(|line| line.iter().collect());
    lines.chain((!marks.is_empty()).then(|| LEGEND.to_owned())).collect()
}

/// The character for buckets in a row.
fn mark(pieces: &Pieces, first: usize, count: usize) -> char {
    let range = first..(first + count).min(pieces.have.len());
    let sum = |list: &[u32]| list.get(range.clone()).unwrap_or_default().iter().sum::<u32>();
    let begin = first as u32 * pieces.pieces_per_bucket;
    let all = (range.len() as u32 * pieces.pieces_per_bucket).min(pieces.pieces - begin);
    let available = pieces.availability.as_ref().and_then(|list| list.get(range.clone()));
    let is_lost = available.is_some_and(|list| list.contains(&0));
    match sum(&pieces.have) {
        have if have == all => '#',
        _ if is_lost => '!',
        have if have + sum(&pieces.partial) + sum(&pieces.requested) > 0 => '+',
        _ => '.',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{DeviceId, GroupId, InfoHash, UserId};

    fn pieces(have: Vec<u32>, availability: Option<Vec<u32>>, each: u32) -> Pieces {
        let zeros = vec![0; have.len()];
        let mut partial = zeros.clone();
        partial[1] = 1;
        Pieces {
            info_hash: InfoHash::from_bytes([2; 20]),
            size: 1,
            piece_size: 1,
            pieces: have.len() as u32 * each,
            pieces_per_bucket: each,
            have,
            partial,
            requested: zeros,
            availability,
        }
    }

    #[test]
    fn a_map_is_bounded_and_tells_what_is_lost() {
        let small = pieces(vec![1, 0, 0, 0], Some(vec![0, 1, 2, 0]), 1);
        assert_eq!(map(&small)[0], "#+.!");
        let unknown = pieces(vec![2, 1, 0], None, 2);
        assert_eq!(map(&unknown)[0], "#+.");
        let large = map(&pieces(vec![3; 1000], None, 3));
        assert!(large.len() <= MAP_LINES + 1);
        assert!(large.iter().all(|line| line.len() < 80 && !line.is_empty()));
        assert!(large[0].chars().all(|mark| mark == '#'), "{}", large[0]);
    }

    #[test]
    fn a_peer_is_told_in_words() {
        let peer = Peer {
            user: Some("nik".parse().unwrap()),
            user_id: UserId::from_bytes([1; 16]),
            device: DeviceId::from_bytes([0xab; 32]),
            address: "10.0.0.2:6001".parse().unwrap(),
            direction: Direction::Out,
            punched: false,
            lan: false,
            group_id: GroupId::from_bytes([1; 16]),
            since_ms: 1_000,
            pieces: Some(3),
            received_per_second: 1_200_000,
            sent_per_second: 0,
            bytes_received: 5,
            relayed: false,
            bytes_sent: 0,
            interested: true,
            choked: false,
            peer_interested: true,
            peer_choked: true,
            requests: 4,
            peer_requests: 0,
        };
        let info_hash = InfoHash::from_bytes([2; 20]);
        let peers = Peers { info_hash, pieces: 24, peers: Vec::new() };
        assert_eq!(
            row(&peer, &peers, 62_000, Format::Table).join(" | "),
            "nik | abababababab | to 10.0.0.2:6001, direct | 3 of 24 pieces | down 1.2 MB/s | up 0 B/s | \
             for 0:01:01 | we take, 4 asked; it waits for its turn"
        );
        let idle = Peer { interested: false, peer_interested: false, user: None, ..peer };
        assert_eq!(row(&idle, &peers, 0, Format::Plain)[7], "idle");
        let from = Peer { direction: Direction::In, ..idle };
        let ways = [
            (Peer { lan: true, ..from.clone() }, "from 10.0.0.2:6001, LAN"),
            (Peer { punched: true, ..from.clone() }, "from 10.0.0.2:6001, punched"),
            (Peer { relayed: true, ..from }, "relayed by 10.0.0.2:6001"),
        ];
        for (peer, told) in ways {
            assert_eq!(row(&peer, &peers, 0, Format::Plain)[2], told);
        }
    }
}
