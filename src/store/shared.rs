//! What a store that several trackers write says of its transactions.

use crate::types::Transaction;

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// It is stored.
    Stored,
    /// Nothing of it is stored, for that reason: another tracker has changed what it rests on, or
    /// the database refuses. It may be tried again.
    RolledBack(String),
}

/// What the other trackers of a database have done.
#[derive(Debug, Default)]
pub struct News {
    /// Their transactions, those of each tracker in order. Each was committed before.
    pub transactions: Vec<Transaction>,
    /// Some of their transactions were not read, and cannot be read any more.
    pub is_lost: bool,
}
