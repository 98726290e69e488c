//! The replicated state of a tracker and its synchronisation with the others (design section 4). PURE.

mod output;
mod queries;
mod replica;

pub use output::{Batch, LinkId, LinkInfo, Notice, Output, RestoreError, Ticket};
pub use queries::Counts;
pub use replica::Replica;

/// The replicated state: a map of registers, and the indexes that answer queries.
#[derive(Debug, Clone, Default)]
pub struct Directory {}
