//! Last-writer-wins registers: one for each row, with the version of the write that it holds.
//!
//! **Invariant:** a register holds the largest write that it was ever offered, whatever the order of
//! the offers. So merging is commutative, associative and idempotent, even for input that no tracker
//! of ours writes (one version used for two contents).

use crate::types::Row;

/// Tells whether a write takes the place of the one that is there. A final deletion gives way to
/// nothing but a later one.
pub(super) fn wins(offer: &Row, there: &Row) -> bool {
    let rank = |row: &Row| (row.content.is_final(), row.version);
    (rank(offer), &offer.content, &offer.extra) > (rank(there), &there.content, &there.extra)
}
