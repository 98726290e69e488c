//! How far a command is.

use serde::{Deserialize, Serialize};

/// What a command is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// A file is read and hashed.
    Hashing,
    /// A file that is there already is compared.
    Comparing,
}

/// How far a command is with one piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What it is at.
    pub work: Work,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all.
    pub size: u64,
}
