//! What other threads know of the thread "lan".
//!
//! **Invariant:** waking it never blocks.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

use log::debug;
use parking_lot::Mutex;

/// Whether this device is announced on local networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LanStatus {
    /// No, for this reason.
    Off(String),
    /// Under this rotating id.
    On(String),
}

/// What other threads see of the thread "lan", and how they wake it.
#[derive(Debug, Default)]
pub(crate) struct LanState {
    status: Mutex<Option<LanStatus>>,
    waker: OnceLock<UnixStream>,
}

impl LanState {
    /// Whether this device is announced.
    pub(crate) fn status(&self) -> LanStatus {
        let nobody = || LanStatus::Off("nobody is logged in".into());
        self.status.lock().clone().unwrap_or_else(nobody)
    }

    /// Gives others the end by which they wake the thread.
    pub(super) fn set_waker(&self, waker: UnixStream) {
        let _ = self.waker.set(waker);
    }

    /// Has the thread look now.
    pub(super) fn wake(&self) {
        // If its buffer is full, the thread is awake.
        let _ = self.waker.get().map(|mut waker| waker.write(&[0]));
    }

    /// Notes whether it is announced.
    pub(super) fn set(&self, status: LanStatus) {
        let mut current = self.status.lock();
        if current.as_ref() == Some(&status) {
            return;
        }
        match &status {
            LanStatus::On(_) => debug!("this device is announced on its networks"),
            LanStatus::Off(why) => debug!("this device is not announced on its networks: {why}"),
        }
        *current = Some(status);
    }
}
