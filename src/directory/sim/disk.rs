//! A tracker's store as plain data.
//!
//! **Invariant:** what a disk holds follows from its log alone, so that a store which goes back in
//! time is a shorter log.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::types::{
    Lineage, Row, RowBatch, RowKey, StoreId, StoreState, Transaction, Version, VersionVector,
};

/// What a store was told, in order.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    /// The tracker started, under this id.
    Start(StoreId),
    Transaction(Rc<Transaction>),
    /// Tombstones and requests with a stamp before that time were deleted.
    Sweep(u64),
}

/// A row, and the update sequence at which it last changed in the store.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) sequence: u64,
    pub(super) row: Rc<Row>,
}

/// One tracker's store.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    pub(super) log: Vec<Entry>,
    pub(super) rows: BTreeMap<RowKey, Stored>,
    /// Rows that were deleted for their age, with the version that they had.
    pub(super) gone: BTreeMap<RowKey, Version>,
    pub(super) sequence: u64,
    swept: u64,
    checkpoints: VersionVector,
    vector: VersionVector,
    lineage: Option<Lineage>,
}

impl Disk {
    pub(super) fn push(&mut self, entry: Entry) {
        match &entry {
            Entry::Start(store) => self.start(*store),
            Entry::Transaction(transaction) => self.append(transaction),
            Entry::Sweep(before_ms) => drop(self.delete_old(*before_ms)),
        }
        self.log.push(entry);
    }

    /// As the real store: an id under which nothing was written does not become an ancestor.
    fn start(&mut self, fresh: StoreId) {
        self.lineage = Some(match self.lineage.take() {
            None => Lineage::new(fresh),
            Some(mut before) => {
                if before.ancestors.first().is_some_and(|&(_, last)| last == self.sequence) {
                    before.store = before.ancestors.remove(0).0;
                }
                before.restarted(fresh, self.sequence)
            }
        });
    }

    fn append(&mut self, transaction: &Transaction) {
        assert_eq!(transaction.sequence, self.sequence + 1, "an update sequence is left out");
        assert!(!transaction.rows.is_empty(), "a transaction without rows");
        self.sequence = transaction.sequence;
        for row in &transaction.rows {
            let stored = Stored { sequence: self.sequence, row: Rc::new(row.clone()) };
            self.rows.insert(row.content.key(), stored);
        }
        let own = self.lineage().store;
        let others = transaction.vector.iter().filter(|(store, _)| *store != own);
        others.for_each(|&(store, sequence)| self.vector.raise(store, sequence));
        let checkpoints = transaction.checkpoints.iter();
        checkpoints.for_each(|&(store, sequence)| self.checkpoints.raise(store, sequence));
    }

    /// Deletes tombstones, requests and invitations from before that time; returns them, and what a replica is
    /// told with them.
    pub(super) fn sweep(&mut self, before_ms: u64) -> (Vec<Row>, u64) {
        let rows = self.delete_old(before_ms);
        self.log.push(Entry::Sweep(before_ms));
        (rows, self.swept)
    }

    fn delete_old(&mut self, before_ms: u64) -> Vec<Row> {
        let is_old = |stored: &&Stored| {
            stored.row.content.is_tombstone() && stored.row.version.stamp.ms() < before_ms
        };
        let old: Vec<Stored> = self.rows.values().filter(is_old).cloned().collect();
        for stored in &old {
            let key = stored.row.content.key();
            if !stored.row.content.is_expiring() {
                self.swept = self.swept.max(stored.sequence);
            }
            self.rows.remove(&key);
            self.gone.insert(key, stored.row.version);
        }
        old.iter().map(|stored| (*stored.row).clone()).collect()
    }

    pub(super) fn lineage(&self) -> &Lineage {
        self.lineage.as_ref().unwrap()
    }

    pub(super) fn state(&self) -> StoreState {
        let (lineage, mut vector) = (self.lineage().clone(), self.vector.clone());
        lineage.ancestors.iter().for_each(|&(store, last)| vector.raise(store, last));
        vector.raise(lineage.store, self.sequence);
        let (sequence, swept) = (self.sequence, self.swept);
        StoreState { lineage, sequence, swept, checkpoints: self.checkpoints.clone(), vector }
    }

    /// Tells whether the store has that write, one that took its place, or had it until it was
    /// deleted for its age.
    pub(super) fn covers(&self, key: &RowKey, version: Version) -> bool {
        let stored = self.rows.get(key).map(|stored| &stored.row);
        stored.is_some_and(|row| row.version >= version || row.content.is_final())
            || self.gone.get(key).is_some_and(|gone| *gone >= version)
    }

    /// The frames in which a link's thread sends rows of the store: they end between transactions
    /// and have at least `frame_rows` rows, but for the last one.
    pub(super) fn read(
        &self,
        after: u64,
        through: u64,
        known: &VersionVector,
        frame_rows: usize,
    ) -> Vec<RowBatch> {
        let wanted = |stored: &&Stored| stored.sequence > after && stored.sequence <= through;
        let mut stored: Vec<&Stored> = self.rows.values().filter(wanted).collect();
        stored.sort_by_key(|stored| stored.sequence);
        let mut batches = Vec::new();
        let (mut rows, mut last) = (Vec::new(), 0);
        for stored in stored {
            if stored.sequence != last && rows.len() >= frame_rows {
                let rows = std::mem::take(&mut rows);
                batches.push(RowBatch { rows, through: last, complete: None });
            }
            last = stored.sequence;
            if !known.has(stored.row.place) {
                rows.push((*stored.row).clone());
            }
        }
        batches.push(RowBatch { rows, through, complete: None });
        batches
    }
}
