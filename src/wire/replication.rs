//! What trackers say to each other.
//!
//! The dialling tracker's first frame is an [`Opening`](super::tracker::Opening) with a
//! [`Hello::Replica`](super::tracker::Hello); the other answers [`ToDialler::Welcome`] or
//! [`ToDialler::Unwelcome`]. From then on the dialler sends [`ToAcceptor::Rows`], or
//! [`ToAcceptor::Ping`] when it has had nothing to say for a while; the acceptor says
//! [`ToDialler::Durable`] whenever more has become durable there, and at every ping. A message that
//! one end does not know it ignores.

use super::codec::{list_items, wire_enum, wire_leaf_enum, wire_struct};
use super::{Decoder, Wire, WireError};
use crate::types::{
    Durable, KeyRotation, Label, Lineage, Row, RowBatch, StoreId, VersionVector, limits,
};

/// A peer tracker's first words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaHello {
    /// The dialler's number among the network's trackers, from 1.
    pub number: u32,
    /// The dialler's address, `host:port`.
    pub address: Label,
    /// The dialler's store and those that it goes on from.
    pub lineage: Lineage,
    /// The dialler's wall clock, milliseconds since the Unix epoch.
    pub clock_ms: u64,
    /// The network's trackers as the dialler knows them, `host:port`.
    pub trackers: Vec<Label>,
}

/// The acceptor's first words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaWelcome {
    /// The version of the protocol spoken from here on.
    pub version: u16,
    /// The acceptor's number among the network's trackers, from 1.
    pub number: u32,
    /// The acceptor's address, `host:port`.
    pub address: Label,
    /// The acceptor's store and those that it goes on from.
    pub lineage: Lineage,
    /// The acceptor's wall clock, milliseconds since the Unix epoch.
    pub clock_ms: u64,
    /// Whether the acceptor's directory holds nothing.
    pub is_empty: bool,
    /// What is durable there.
    pub durable: Durable,
    /// The network's trackers as the acceptor knows them, `host:port`.
    pub trackers: Vec<Label>,
}

/// Why a tracker refuses a replication link.
///
/// It begins with the reasons of [`Unwelcome`](super::tracker::Unwelcome), in the same bytes: they
/// are given before the hello was read, or could be, so to clients and trackers alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum LinkRefusal {
    /// It speaks another version of the protocol.
    #[error("the other tracker speaks another version of the protocol; update the older program")]
    Version,
    /// It serves as many connections as it may.
    #[error("the other tracker has no room for another connection")]
    Full,
    /// A tracker dialled itself.
    #[error("that address is this tracker itself; check tracker_info.txt")]
    Myself,
    /// The dialler was away for longer than deletions are kept.
    #[error("this tracker was away for longer than the others keep deletions; it must start anew")]
    MustResync,
    /// The two belong to different networks.
    #[error(
        "the other tracker belongs to another network: its tracker_info.txt names other trackers"
    )]
    Network,
    /// The dialler shows a key that another has taken the place of, as the old key has signed.
    #[error(
        "the network goes on under another key, and this tracker shows the one before; see `rotate_key` in OPERATING.md"
    )]
    KeyReplaced(KeyRotation),
    /// The operator has removed the dialler from the network.
    #[error("the operator has removed this tracker from the network; stop it, or add it again")]
    Removed,
}

/// One frame from the dialler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToAcceptor {
    /// Asks for a sign of life.
    Ping,
    /// Rows in the order of their update sequences in the dialler's store.
    Rows(RowBatch),
    /// The acceptor was away for longer than the dialler keeps deletions: it must start anew.
    MustResync,
    /// A message of a later version, to be ignored.
    Unknown {
        /// Its tag.
        tag: u8,
    },
}

/// One frame from the acceptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToDialler {
    /// The first one.
    Welcome(ReplicaWelcome),
    /// Instead of the first one.
    Unwelcome(LinkRefusal),
    /// What has become durable.
    Durable(Durable),
    /// A message of a later version, to be ignored.
    Unknown {
        /// Its tag.
        tag: u8,
    },
}

/// A list of store and `u64` sequence, the stores ascending and the sequences from 1, so that a
/// vector has one encoding.
impl Wire for VersionVector {
    const LEN_MIN: usize = 4;

    fn encode(&self, out: &mut Vec<u8>) {
        debug_assert!(self.iter().len() <= limits::STORES_MAX, "a vector that would be refused");
        (self.iter().len() as u32).encode(out);
        self.iter().for_each(|entry| entry.encode(out));
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        let count = from.count("version vector", limits::STORES_MAX, StoreId::LEN + 8)?;
        let mut vector = Self::default();
        let mut last = None;
        for _ in 0..count {
            let (store, sequence) = Wire::decode(from)?;
            if last >= Some(store) || sequence == 0 {
                let why = "its stores do not ascend, or one has no update sequence";
                return Err(WireError::bad("version vector", why));
            }
            last = Some(store);
            vector.raise(store, sequence);
        }
        Ok(vector)
    }
}

/// An earlier store and its last update sequence.
type Ancestor = (StoreId, u64);

list_items!(Ancestor "ancestors" limits::ANCESTORS_MAX;);

wire_struct! {
    RowBatch { rows: Vec<Row>, through: u64, complete: Option<VersionVector> }
    Durable { checkpoint: u64, vector: VersionVector }
    Lineage { store: StoreId, ancestors: Vec<Ancestor> }
    ReplicaHello { number: u32, address: Label, lineage: Lineage, clock_ms: u64, trackers: Vec<Label> }
    ReplicaWelcome {
        version: u16, number: u32, address: Label, lineage: Lineage, clock_ms: u64, is_empty: bool,
        durable: Durable, trackers: Vec<Label>,
    }
}
// Tag 3 was "the clock is ahead" in version 2.
wire_leaf_enum!(LinkRefusal "link refusal" {
    0 => Version, 1 => Full, 2 => Network, 4 => Myself, 5 => MustResync, 6 => KeyReplaced(rotation), 7 => Removed,
});
wire_enum!(ToAcceptor "replication frame" {
    0 => Ping,
    1 => Rows(batch),
    2 => MustResync,
    _ => Unknown { tag },
});
wire_enum!(ToDialler "replication frame" {
    0 => Welcome(welcome),
    1 => #[leaf] Unwelcome(why),
    2 => Durable(durable),
    _ => Unknown { tag },
});

#[cfg(test)]
mod tests;
