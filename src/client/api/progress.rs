//! The progress of a command.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind of work that reports progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Hashing a file.
    Hashing,
    /// Comparing a file that exists already.
    Comparing,
}

/// The progress of one piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// The kind of work.
    pub work: Work,
    /// Bytes done.
    pub done: u64,
    /// Total bytes.
    pub size: u64,
}
