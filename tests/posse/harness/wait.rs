//! Waiting for conditions with a deadline.

use std::time::{Duration, Instant};

/// How long anything may take on a busy machine before the test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition that nothing announces is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Returns the first `Some` of `probe`, or none if `limit` passes first.
pub(crate) fn until<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        match probe() {
            Some(found) => return Some(found),
            None if Instant::now() >= end => return None,
            None => std::thread::sleep(LOOK),
        }
    }
}

/// Returns the first `Some` of `probe`.
///
/// # Panics
/// If [`PATIENCE`] runs out: `what` did not come about.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    until(PATIENCE, probe).unwrap_or_else(|| panic!("waited {PATIENCE:?} in vain until {what}"))
}
