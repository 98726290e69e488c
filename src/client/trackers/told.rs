//! What one connection's tracker has been told of this device's addresses, and has said of relays.
//!
//! **Invariant:** at most one list waits for its answer.

use std::time::Instant;

use crate::types::Candidate;

/// What one tracker has been told of this device's addresses.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What it has taken.
    pub(super) taken: Vec<Candidate>,
    /// What it was told and has not answered.
    pub(super) asked: Option<Vec<Candidate>>,
    /// It does not know the request.
    pub(super) is_older: bool,
}

impl Told {
    /// A login begins without addresses.
    pub(super) fn forget(&mut self) {
        (self.taken, self.asked) = (Vec::new(), None);
    }
}

/// What one connection's tracker has said of relays.
#[derive(Debug, Default)]
pub(super) struct TrackerRelay {
    /// It relays itself.
    pub(super) has_one: bool,
    /// It had none, and is not asked before that.
    pub(super) none_until: Option<Instant>,
}
