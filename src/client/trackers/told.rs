//! What one connection's tracker has been told of this device's addresses.
//!
//! **Invariant:** at most one list waits for its answer.

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
