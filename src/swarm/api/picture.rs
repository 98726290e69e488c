//! What is shown of a file's links and pieces, and of all that the engine moves.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::net::InterfaceAddress;
use crate::types::{Bitfield, DeviceId, GroupId, UserId};

/// How the two devices of a link came together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// One has connected to the other on a network that both are on.
    Lan,
    /// One has connected to the other.
    Direct,
    /// Both have connected to each other at one moment.
    Punched,
    /// Through a relay: a link of another way takes its place.
    Relayed,
}

impl Way {
    /// The same way, to an address that may be on one of this machine's networks.
    pub(crate) fn to(self, other: IpAddr, own_networks: &[InterfaceAddress]) -> Self {
        let is_near = || own_networks.iter().any(|own| own.has_neighbour(other));
        if self == Self::Direct && is_near() { Self::Lan } else { self }
    }
}

/// One link, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkPicture {
    /// The device at the other end.
    pub device: DeviceId,
    /// Its user.
    pub user: UserId,
    /// The group on whose ticket the link rests.
    pub group: GroupId,
    /// The address of the other end.
    pub address: SocketAddr,
    /// Whether we dialled it.
    pub is_dialled: bool,
    /// How the devices came together. Of a relayed link the relay's address is shown.
    pub way: Way,
    /// How long ago it was registered.
    pub age: Duration,
    /// Known pieces of the peer. A leecher reports its pieces to a seeder once, at the start, so
    /// the pieces sent since are added. `None` if it has reported none.
    pub pieces: Option<u32>,
    /// Bytes per second received lately; 0 if nothing came for 2 s.
    pub received_per_second: u64,
    /// Bytes per second sent in the last 2 s.
    pub sent_per_second: u64,
    /// Bytes of blocks received on it.
    pub received: u64,
    /// Bytes of blocks sent on it.
    pub sent: u64,
    /// We want pieces of the peer.
    pub is_interested: bool,
    /// The peer does not let us ask.
    pub is_choked: bool,
    /// The peer wants pieces of us.
    pub is_peer_interested: bool,
    /// We do not let the peer ask.
    pub is_peer_choked: bool,
    /// Requests of ours that the peer has not answered.
    pub requests: u32,
    /// Requests of the peer that wait here.
    pub peer_requests: u32,
}

/// The pieces of a file in buckets of equal size, so that it is small whatever the file.
///
/// **Bound:** [`PieceMap::BUCKETS_MAX`] buckets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PieceMap {
    /// Pieces in the file.
    pub pieces: u32,
    /// Pieces in each bucket; the last one may have fewer.
    pub bucket_len: u32,
    /// Whether `availability` is known: only a download learns it.
    pub knows_availability: bool,
    /// The buckets, in the order of the file.
    pub buckets: Vec<PieceBucket>,
}

/// Some pieces in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PieceBucket {
    /// Verified pieces.
    pub have: u32,
    /// Pieces of which some data is here.
    pub partial: u32,
    /// Pieces that are asked for, and of which nothing has come.
    pub requested: u32,
    /// Connected peers that have the rarest piece of the bucket.
    pub availability: u32,
}

impl PieceMap {
    /// Maximum number of buckets: more than a screen has columns for.
    pub const BUCKETS_MAX: u32 = 1_000;

    /// A map of so many pieces, none of which is here or offered.
    pub(crate) fn empty(pieces: u32) -> Self {
        let bucket_len = pieces.div_ceil(Self::BUCKETS_MAX).max(1);
        let count = pieces.div_ceil(bucket_len) as usize;
        let buckets = vec![PieceBucket::default(); count];
        Self { pieces, bucket_len, knows_availability: false, buckets }
    }

    /// The map of a file of which these pieces are here, and of which nothing else is known.
    pub(crate) fn of(have: &Bitfield) -> Self {
        let mut map = Self::empty(have.count());
        for piece in have.iter_ones() {
            map.buckets[(piece / map.bucket_len) as usize].have += 1;
        }
        map
    }

    /// The numbers of a bucket's pieces.
    pub(crate) fn range(&self, bucket: usize) -> std::ops::Range<u32> {
        let first = bucket as u32 * self.bucket_len;
        first..(first + self.bucket_len).min(self.pieces)
    }
}

/// What the engine has moved, and moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes of blocks received since the engine started.
    pub received: u64,
    /// Bytes of blocks sent since the engine started.
    pub sent: u64,
    /// Bytes per second received lately, over all links.
    pub received_per_second: u64,
    /// Bytes per second sent in the last 2 s, over all links.
    pub sent_per_second: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_bounded_and_covers_every_piece_once() {
        for pieces in [1, 2, 999, 1_000, 1_001, 1_999, 2_000, 2_001, 1 << 21] {
            let map = PieceMap::empty(pieces);
            assert!(map.buckets.len() <= PieceMap::BUCKETS_MAX as usize, "{pieces} pieces");
            let mut next = 0;
            for bucket in 0..map.buckets.len() {
                let range = map.range(bucket);
                assert!(range.start == next && !range.is_empty(), "{pieces} pieces: {range:?}");
                next = range.end;
            }
            assert_eq!(next, pieces);
            let whole = PieceMap::of(&Bitfield::full(pieces));
            assert_eq!(whole.buckets.iter().map(|bucket| bucket.have).sum::<u32>(), pieces);
        }
        assert!(PieceMap::of(&Bitfield::empty(0)).buckets.is_empty());
    }

    #[test]
    fn a_direct_link_to_an_address_of_an_own_network_is_on_a_lan() {
        let own = InterfaceAddress { ip: "192.168.1.7".parse().unwrap(), prefix_len: 24 };
        let way = |way: Way, ip: &str| way.to(ip.parse().unwrap(), &[own]);
        assert_eq!(way(Way::Direct, "192.168.1.9"), Way::Lan);
        assert_eq!(way(Way::Direct, "::ffff:192.168.1.9"), Way::Lan);
        assert_eq!(way(Way::Direct, "192.168.2.9"), Way::Direct);
        assert_eq!(way(Way::Direct, "127.0.0.1"), Way::Direct);
        // A relay may stand beside this machine.
        assert_eq!(way(Way::Relayed, "192.168.1.9"), Way::Relayed);
        assert_eq!(way(Way::Punched, "192.168.1.9"), Way::Punched);
    }
}
