//! Replies that wait until what they tell is safe, and the transactions that were handed out last.

use std::collections::{HashMap, VecDeque};

use super::output::Ticket;
use crate::types::limits::ROWS_PER_BATCH_MAX;
use crate::types::{Outcome, Place, Row, RowBatch, RowKey, VersionVector};

/// One reply that waits.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    pub(super) outcome: Outcome,
    /// The update sequence here that must be durable wherever it counts.
    pub(super) needs: u64,
    /// Where another tracker carried the request out, and since when the rows that it wrote there
    /// are waited for: some of them may be here before the others.
    pub(super) unfinished: Option<(Place, u64)>,
}

/// How long a reply waits for the rest of what another tracker wrote.
pub(super) const UNFINISHED_MS_MAX: u64 = 5_000;

/// What a link is to be sent next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// These rows; there may be none, if the other end has all of them.
    Rows(RowBatch),
    /// Rows that only the store has.
    Stored,
}

/// The rows of the latest transactions, so that links which keep up are served without reading the
/// store.
///
/// **Invariant:** at most [`KEPT_ROWS_MAX`] rows, but for one transaction that has more; every
/// transaction above `first` is here.
#[derive(Debug, Clone, Default)]
pub(super) struct Recent {
    transactions: VecDeque<(u64, Vec<Row>)>,
    /// Transactions up to this one are not here.
    below: u64,
    row_count: usize,
}

/// Rows in one batch that is put together from [`Recent`]; few in tests, where stores are small.
const BATCH_ROWS_MAX: usize = if cfg!(test) { 10 } else { ROWS_PER_BATCH_MAX };
/// Rows kept in [`Recent`]: two batches.
const KEPT_ROWS_MAX: usize = 2 * BATCH_ROWS_MAX;

impl Recent {
    /// Starts behind what the store holds already.
    pub(super) fn new(below: u64) -> Self {
        Self { below, ..Self::default() }
    }

    pub(super) fn push(&mut self, sequence: u64, rows: &[Row]) {
        self.transactions.push_back((sequence, rows.to_vec()));
        self.row_count += rows.len();
        while self.row_count > KEPT_ROWS_MAX && self.transactions.len() > 1 {
            if let Some((sequence, rows)) = self.transactions.pop_front() {
                self.below = sequence;
                self.row_count -= rows.len();
            }
        }
    }

    /// Puts together the next batch behind `after`, of what is durable here and not known there. Of
    /// a row that was written again only the last write is sent, and of one that has been deleted
    /// for its age, none: it would come back where nothing of it is left.
    pub(super) fn batch(
        &self,
        after: u64,
        durable: u64,
        there: &VersionVector,
        is_kept: impl Fn(&RowKey) -> bool,
    ) -> Next {
        if after < self.below {
            return Next::Stored;
        }
        let waiting = self
            .transactions
            .iter()
            .filter(|(sequence, _)| *sequence > after && *sequence <= durable);
        let rows = waiting.flat_map(|(sequence, rows)| {
            rows.iter().enumerate().map(|(index, row)| (*sequence, index, row))
        });
        let last: HashMap<RowKey, (u64, usize)> =
            rows.map(|(sequence, index, row)| (row.content.key(), (sequence, index))).collect();
        let stands = |sequence: u64, index: usize, row: &Row| {
            let key = row.content.key();
            last.get(&key) == Some(&(sequence, index)) && is_kept(&key)
        };
        let mut batch = RowBatch { through: after, ..RowBatch::default() };
        for (sequence, rows) in self.transactions.iter().filter(|(sequence, _)| *sequence > after) {
            if *sequence > durable {
                break;
            }
            let missing = rows
                .iter()
                .enumerate()
                .filter(|(index, row)| !there.has(row.place) && stands(*sequence, *index, row));
            let before = batch.rows.len();
            batch.rows.extend(missing.map(|(_, row)| row.clone()));
            if before > 0 && batch.rows.len() > BATCH_ROWS_MAX {
                batch.rows.truncate(before);
                return Next::Rows(batch);
            }
            batch.through = *sequence;
        }
        batch.through = batch.through.max(durable);
        Next::Rows(batch)
    }
}
