//! The stop signal of a program: any number of threads can check it, wait for it, or select on it.
//!
//! **Invariant:** once set it stays set, and every waiter, present or future, returns at once.
//!
//! Called on any thread; only [`Stop::wait`] blocks, until its time-out.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;

/// A shared stop signal; clones are the same signal.
#[derive(Debug, Clone)]
pub struct Stop {
    /// Dropped when the signal is set, which disconnects every receiver.
    sender: Arc<Mutex<Option<Sender<()>>>>,
    receiver: Receiver<()>,
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

impl Stop {
    /// Makes a signal that is not set.
    pub fn new() -> Self {
        let (sender, receiver) = bounded(0);
        Self { sender: Arc::new(Mutex::new(Some(sender))), receiver }
    }

    /// Sets the signal; setting it again does nothing.
    pub fn set(&self) {
        self.sender.lock().take();
    }

    /// Tells whether the signal is set.
    pub fn is_set(&self) -> bool {
        self.sender.lock().is_none()
    }

    /// Waits until the signal is set or `timeout` has passed; tells whether it is set.
    ///
    /// # Blocking
    /// For at most `timeout`.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.receiver.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected)
    }

    /// A channel that carries nothing and is disconnected when the signal is set, for use in a
    /// select.
    pub fn channel(&self) -> &Receiver<()> {
        &self.receiver
    }
}
