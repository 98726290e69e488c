//! What trackers say to each other once a replication link stands.
//!
//! The tracker that dialled sends rows, the one that accepted says what is durable there; two
//! trackers hold two links, one for each direction of data.

use super::{Row, StoreId, VersionVector};

/// Rows of the dialling tracker's store, in the order of their update sequences there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowBatch {
    /// The rows, at most [`crate::types::limits::ROWS_PER_BATCH_MAX`] but for one transaction that
    /// has more; a transaction is never split.
    pub rows: Vec<Row>,
    /// With these rows the receiver has merged the sender's store up to this update sequence.
    pub through: u64,
    /// With these rows the receiver has merged all that the sender had: what the sender knew of
    /// every store by then. Entries that did not rise since the last batch of the link may be
    /// absent.
    pub complete: Option<VersionVector>,
}

/// What an accepting tracker has durably.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Durable {
    /// The dialling tracker's store is merged up to this update sequence: its checkpoint.
    pub checkpoint: u64,
    /// How far every store is known. After the first message of a link it holds only what rose.
    pub vector: VersionVector,
}

/// One message of a replication link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncMessage {
    /// Acceptor to dialler.
    Durable(Durable),
    /// Dialler to acceptor.
    Rows(RowBatch),
    /// Dialler to acceptor: the acceptor's store is older than the retention time. It may still
    /// hold what has been deleted since, so it must start anew.
    MustResync,
}

/// What a store knows of itself and of others, besides its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreState {
    /// Its id, and those before.
    pub lineage: Lineage,
    /// The last update sequence used.
    pub sequence: u64,
    /// The largest update sequence of a row that was deleted for its age.
    pub swept: u64,
    /// Up to which update sequence other stores are merged here.
    pub checkpoints: VersionVector,
    /// How far every store is known, this one too.
    pub vector: VersionVector,
}

impl StoreState {
    /// A store without rows.
    pub fn new(store: StoreId) -> Self {
        Self {
            lineage: Lineage::new(store),
            sequence: 0,
            swept: 0,
            checkpoints: VersionVector::default(),
            vector: VersionVector::default(),
        }
    }
}

/// Names a store and those it goes on from: each start of a tracker takes a new id, so that a store
/// which was put back from a copy never uses an update sequence twice under one id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    /// The store's id since this start.
    pub store: StoreId,
    /// Earlier ids of this store, the latest first, each with the last update sequence under it. At
    /// most [`crate::types::limits::ANCESTORS_MAX`].
    pub ancestors: Vec<(StoreId, u64)>,
}

impl Lineage {
    /// A store without ancestors.
    pub fn new(store: StoreId) -> Self {
        Self { store, ancestors: Vec::new() }
    }

    /// Returns up to which update sequence a tracker with that knowledge of stores has merged this
    /// store. A store that was put back shares with its earlier self what both had.
    pub fn known_to(&self, known: impl Fn(StoreId) -> u64) -> u64 {
        let of_ancestors = self.ancestors.iter().map(|&(store, last)| known(store).min(last));
        of_ancestors.fold(known(self.store), u64::max)
    }

    /// The lineage after another start, under a new id.
    pub fn restarted(&self, store: StoreId, last: u64) -> Self {
        let mut ancestors = vec![(self.store, last)];
        ancestors
            .extend(self.ancestors.iter().map(|&(store, sequence)| (store, sequence.min(last))));
        ancestors.truncate(super::limits::ANCESTORS_MAX);
        Self { store, ancestors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_was_put_back_shares_what_both_had() {
        let id = |n: u8| StoreId::from_bytes([n; 16]);
        let first = Lineage::new(id(1));
        let second = first.restarted(id(2), 10);
        let peer = |n: StoreId| if n == id(1) { 7 } else { 0 };
        assert_eq!(second.known_to(peer), 7);
        let ahead = |n: StoreId| if n == id(1) { 15 } else { 0 };
        assert_eq!(second.known_to(ahead), 10, "what the peer has beyond, this store has lost");
        let third = second.restarted(id(3), 12);
        assert_eq!(third.ancestors, [(id(2), 12), (id(1), 10)]);
        assert_eq!(third.known_to(|n| if n == id(2) { 11 } else { 3 }), 11);
    }
}
