//! Limits how many of the page's connections a hanging file system can block.
//!
//! **Invariant:** a path is looked at on a thread of its own, and its caller waits for
//! [`LOOK_TIMEOUT`] at most. There are at most [`LOOKS_MAX`] such threads, and for callers over the
//! page at most [`WORKS_MAX`] requests that read or write a file, so that a connection is left for
//! everything else.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::client::api::{ApiError, ErrorCode};

/// Time for a file system to answer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum number of threads that look at paths: those that hang stay.
const LOOKS_MAX: usize = 32;
/// Maximum number of requests at a time that read or write a file: a quarter of the connections.
const WORKS_MAX: usize = 16;

/// What is under way.
#[derive(Default)]
pub(super) struct Paths {
    looks: Arc<AtomicUsize>,
    works: Arc<AtomicUsize>,
}

/// A place in a bounded number; dropping it gives it back.
pub(crate) struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn take(taken: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let more = |count| (count < max).then_some(count + 1);
        taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Self(taken.clone()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Paths {
    /// Runs work that may wait for the file system of `path`.
    ///
    /// # Errors
    /// [`ErrorCode::Path`] if the file system does not answer, [`ErrorCode::Crowded`].
    ///
    /// # Blocking
    /// For at most [`LOOK_TIMEOUT`]. The work itself may go on; its result is dropped.
    pub(super) fn look<T: Send + 'static>(
        &self,
        path: &Path,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let slot = Slot::take(&self.looks, LOOKS_MAX).ok_or_else(crowded)?;
        let (sender, result) = bounded(1);
        let look = move || {
            let done = work();
            // Before the caller goes on, so that it finds the slot free.
            drop(slot);
            let _ = sender.send(done);
        };
        // Not joined: a file system that hangs must not hold up the client's end.
        let started = std::thread::Builder::new().name("page path".into()).spawn(look);
        started.map_err(|error| ApiError::system("cannot start a thread", &error))?;
        result.recv_timeout(LOOK_TIMEOUT).map_err(|_| {
            ApiError::path(path, "its disk does not answer; look at what is mounted there")
        })
    }

    /// Admits a request that reads or writes a file; `is_bounded` tells whether such requests of
    /// its caller are counted.
    ///
    /// # Errors
    /// [`ErrorCode::Crowded`].
    pub(super) fn admit(&self, is_bounded: bool) -> Result<Option<Slot>, ApiError> {
        let take = || Slot::take(&self.works, WORKS_MAX).ok_or_else(crowded);
        is_bounded.then(take).transpose()
    }
}

fn crowded() -> ApiError {
    let text = "as many files are being read or looked at as may be at a time; a disk may not \
                answer; try again later";
    ApiError::new(ErrorCode::Crowded, text)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_hangs_is_told_in_time_and_bounded() {
        let paths = Paths::default();
        let (release, held) = bounded::<()>(0);
        let path = Path::new("/mnt/disk");
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..LOOKS_MAX {
                let (paths, held) = (&paths, held.clone());
                scope.spawn(move || {
                    let error = paths.look(path, move || _ = held.recv()).unwrap_err();
                    assert_eq!(error.code, ErrorCode::Path);
                    assert!(error.message.contains("/mnt/disk: its disk does not answer"));
                });
            }
        });
        assert!(begun.elapsed() < 4 * LOOK_TIMEOUT);
        assert_eq!(paths.look(path, || ()).unwrap_err().code, ErrorCode::Crowded);
        drop(release);
        while paths.looks.load(Ordering::Acquire) > 0 {
            assert!(begun.elapsed() < Duration::from_secs(60));
            std::thread::yield_now();
        }
        assert_eq!(paths.look(path, || 5).unwrap(), 5);
    }

    #[test]
    fn slots_come_back() {
        let taken = Arc::default();
        let slots: Vec<_> = (0..5).map(|_| Slot::take(&taken, 3)).collect();
        assert_eq!(slots.iter().flatten().count(), 3);
        drop(slots);
        assert!(Slot::take(&taken, 1).is_some());
    }
}
