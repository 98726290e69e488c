//! The replicated state of a tracker and its synchronisation with the others (design section 4). PURE.
mod clock;
mod digest;
mod group;
mod links;
mod names;
mod output;
mod queries;
mod registers;
mod replica;
mod replication;
mod requests;
mod rules;
mod state;
mod waiting;

pub use output::{Batch, LinkId, LinkInfo, Notice, Output, RestoreError, Ticket};
pub use queries::Counts;
pub use replica::Replica;
pub use state::Directory;

#[cfg(test)]
mod sim;
