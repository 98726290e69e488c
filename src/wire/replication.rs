//! What trackers say to each other (design section 4, "Replication").
//!
//! The dialling tracker's first frame is a [`Hello::Replica`](super::tracker::Hello); the other answers [`ToDialler::Welcome`] or
//! [`ToDialler::Unwelcome`]. From then on the dialler sends [`ToAcceptor::Operations`], or [`ToAcceptor::Ping`] when it has had nothing to
//! say for a while; the acceptor says [`ToDialler::Durable`] whenever more has become durable there, and at every ping.

use super::codec::{list_items, wire_enum, wire_struct};
use super::{Decoder, Wire, WireError};
use crate::types::{Effect, Operation, OriginId, RequestId, Sha1Digest, Stamp, UserId, VersionVector, Write, limits};

/// A peer tracker's first words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaHello {
    /// SHA-1 over the normalised lines of `tracker_info.txt`: trackers of different networks do not mix.
    pub network: Sha1Digest,
    /// The dialler's line in `tracker_info.txt`, from 1.
    pub number: u32,
    /// The dialler's store.
    pub origin: OriginId,
    /// The dialler's wall clock, milliseconds since the Unix epoch.
    pub clock_ms: u64,
}

/// The acceptor's first words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaWelcome {
    /// The acceptor's line in `tracker_info.txt`, from 1.
    pub number: u32,
    /// The acceptor's store.
    pub origin: OriginId,
    /// The acceptor's wall clock, milliseconds since the Unix epoch.
    pub clock_ms: u64,
    /// What is durable there.
    pub durable: VersionVector,
}

/// Why a tracker refuses a replication link.
///
/// It begins with the reasons of [`Unwelcome`](super::tracker::Unwelcome), in the same bytes: they are given before the hello was
/// read, or could be, so to clients and trackers alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum LinkRefusal {
    /// It speaks another version of the protocol.
    #[error("the other tracker speaks another version of the protocol; update the older program")]
    Version,
    /// It serves as many connections as it may.
    #[error("the other tracker has no room for another connection")]
    Full,
    /// The two read different `tracker_info.txt` files.
    #[error("the other tracker belongs to another network: its tracker_info.txt names other trackers")]
    Network,
    /// The dialler's clock is too far ahead.
    #[error("the clock here is over 60 s ahead of the other tracker's; set it right")]
    ClockAhead,
    /// A tracker dialled itself.
    #[error("that address is this tracker itself; check tracker_info.txt")]
    Myself,
}

/// One frame from the dialler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToAcceptor {
    /// Asks for a sign of life.
    Ping,
    /// Operations, contiguous within each origin.
    Operations(Vec<Operation>),
}

/// One frame from the acceptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToDialler {
    /// The first one.
    Welcome(ReplicaWelcome),
    /// Instead of the first one.
    Unwelcome(LinkRefusal),
    /// What has become durable; origins that did not rise may be absent.
    Durable(VersionVector),
}

/// A list of origin and `u64` sequence, the origins ascending and the sequences from 1, so that a vector has one encoding.
impl Wire for VersionVector {
    const LEN_MIN: usize = 4;

    fn encode(&self, out: &mut Vec<u8>) {
        (self.iter().len() as u32).encode(out);
        for (origin, sequence) in self.iter() {
            origin.encode(out);
            sequence.encode(out);
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        let count = from.count("version vector", limits::ORIGINS_MAX, OriginId::LEN + 8)?;
        let mut vector = Self::default();
        let mut last = None;
        for _ in 0..count {
            let (origin, sequence) = (OriginId::decode(from)?, u64::decode(from)?);
            if last >= Some(origin) || sequence == 0 {
                return Err(WireError::bad("version vector", "its origins do not ascend, or one has no operation"));
            }
            last = Some(origin);
            vector.raise(origin, sequence);
        }
        Ok(vector)
    }
}

list_items!(
    Write "writes of an operation" limits::OPERATION_WRITES_MAX;
    Operation "operations" limits::OPERATIONS_PER_BATCH_MAX;
);

wire_struct! {
    Operation {
        origin: OriginId, sequence: u64, stamp: Stamp, request: RequestId, actor: UserId, effect: Effect, writes: Vec<Write>
    }
    ReplicaHello { network: Sha1Digest, number: u32, origin: OriginId, clock_ms: u64 }
    ReplicaWelcome { number: u32, origin: OriginId, clock_ms: u64, durable: VersionVector }
}
wire_enum!(LinkRefusal "link refusal" { 0 => Version, 1 => Full, 2 => Network, 3 => ClockAhead, 4 => Myself });
wire_enum!(ToAcceptor "replication frame" { 0 => Ping, 1 => Operations(operations) });
wire_enum!(ToDialler "replication frame" { 0 => Welcome(welcome), 1 => Unwelcome(why), 2 => Durable(vector) });
wire_enum!(Write "register" {
    0 => User { user, name, hash, created },
    1 => Group { group, name, created_by, created },
    2 => Membership { group, user, state, since },
    3 => Owner { group, user },
    4 => File { group, file, shared_by, at },
    5 => Sharing { group, info_hash, user, on },
});

#[cfg(test)]
mod tests;
