//! What trackers say to each other once a replication link stands (design section 4, "Replication").
//!
//! The tracker that dialled sends operations, the one that accepted answers with vectors; two trackers hold two links, one for
//! each direction of data.

use super::{Operation, VersionVector};

/// One message of a replication link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncMessage {
    /// Acceptor to dialler: what is durable at the acceptor. The first one on a link is the whole vector; each later one holds
    /// only the origins that rose, and is merged.
    Durable(VersionVector),
    /// Dialler to acceptor: operations, contiguous within each origin and continuing what the acceptor has, at most
    /// [`crate::types::limits::OPERATIONS_PER_BATCH_MAX`]. One the acceptor has already is passed over.
    Operations(Vec<Operation>),
}
