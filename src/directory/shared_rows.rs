//! A replica whose rows are shared: several trackers write them in one database, each in
//! serializable transactions, and there is nothing to replicate.
//!
//! **Invariant:** what a transaction that was not stored has left in memory is taken back before
//! the next call. The driver puts a [`Mark`] before the transaction, and goes back to it.
//!
//! What other trackers have stored is read when it is needed. So nothing that follows from rows is
//! kept in memory from one transaction to the next.

use super::replica::Replica;
use super::rows::RowsMut;

/// Where a transaction has begun.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    sequence: u64,
    handed: u64,
}

impl<R: RowsMut> Replica<R> {
    /// Says that other trackers write the same rows. A request that one of them has carried out is
    /// answered at once: it was stored whole.
    pub fn share_rows(&mut self) {
        self.is_shared = true;
    }

    /// Forgets what is kept in memory of the rows, which others may have written.
    pub fn forget_cached(&mut self) {
        self.directory.forget_cached();
    }

    /// Marks the beginning of a transaction, and forgets what is kept in memory of the rows. All
    /// outputs have been drained.
    pub fn mark(&mut self) -> Mark {
        debug_assert!(self.outputs.is_empty());
        self.directory.forget_cached();
        Mark { sequence: self.sequence, handed: self.handed }
    }

    /// Takes back everything since the mark: the store has not taken it. Outputs drained since then
    /// are void.
    pub fn abandon(&mut self, mark: Mark) {
        self.outputs.clear();
        self.waiting.retain(|reply| reply.needs <= mark.sequence);
        (self.sequence, self.handed) = (mark.sequence, mark.handed);
        self.directory.forget_cached();
    }
}
