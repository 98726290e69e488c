//! The version of a row: which of two writes stays.

use super::{RequestId, Stamp};

/// Decides which of two writes of one row stays: the larger one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// When, by the request's own time and the rows that it read or wrote.
    pub stamp: Stamp,
    /// The request that wrote it. It orders equal stamps, so that all copies of one request are one
    /// write.
    pub request: RequestId,
}
