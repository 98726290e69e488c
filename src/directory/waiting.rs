//! Replies that wait until what they tell is safe, and the transactions that were handed out last.

use std::collections::VecDeque;

use super::output::Ticket;
use crate::types::limits::ROWS_PER_BATCH_MAX;
use crate::types::{Outcome, Place, Row, RowBatch, VersionVector};

/// One reply that waits.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    pub(super) outcome: Outcome,
    /// The update sequence here that must be durable wherever it counts.
    pub(super) needs: u64,
    /// Where another tracker carried the request out, and since when the rows that it wrote there are
    /// waited for: some of them may be here before the others.
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

/// Rows kept in [`Recent`]: two batches.
const KEPT_ROWS_MAX: usize = 2 * ROWS_PER_BATCH_MAX;

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

    /// Puts together the next batch behind `after`, of what is durable here and not known there.
    pub(super) fn batch(&self, after: u64, durable: u64, there: &VersionVector) -> Next {
        if after < self.below {
            return Next::Stored;
        }
        let mut batch = RowBatch { through: after, ..RowBatch::default() };
        for (sequence, rows) in self.transactions.iter().filter(|(sequence, _)| *sequence > after) {
            if *sequence > durable {
                break;
            }
            let missing = rows.iter().filter(|row| !there.has(row.place));
            let before = batch.rows.len();
            batch.rows.extend(missing.cloned());
            if before > 0 && batch.rows.len() > ROWS_PER_BATCH_MAX {
                batch.rows.truncate(before);
                return Next::Rows(batch);
            }
            batch.through = *sequence;
        }
        batch.through = batch.through.max(durable);
        Next::Rows(batch)
    }
}
