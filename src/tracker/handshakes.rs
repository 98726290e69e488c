//! Threads that make the handshakes of accepted connections, one after the other while more come.
//!
//! **Invariant:** a connection is either taken by a thread that waits for one, or given back: it
//! never waits here.
//!
//! A handshake leaves behind five pages of stack and an allocator's cache of small blocks. In a
//! session's thread both would stay for as long as the session does.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::net::{Admission, Incoming, Stop};

/// How long a thread that has made a handshake waits for another one to make.
const IDLE: Duration = Duration::from_secs(1);

/// A connection that was accepted and has not made its handshake.
pub(crate) type Newcomer = (Incoming, Admission);

/// The way to the threads that wait.
#[derive(Debug)]
pub(crate) struct Handshakes {
    /// Has no room: what goes in is taken by a thread that waits.
    newcomers: Sender<Newcomer>,
    waiting: Receiver<Newcomer>,
}

impl Handshakes {
    /// Makes it without threads.
    pub(crate) fn new() -> Self {
        let (newcomers, waiting) = bounded(0);
        Self { newcomers, waiting }
    }

    /// Gives a connection to a thread that waits, or back if none does. Does not block.
    pub(crate) fn offer(&self, newcomer: Newcomer) -> Result<(), Newcomer> {
        self.newcomers.try_send(newcomer).map_err(|unsent| unsent.into_inner())
    }

    /// Waits for another connection; `None` if none comes for a while, or `stop` is set.
    ///
    /// # Blocking
    /// For a second at most.
    pub(crate) fn next(&self, stop: &Stop) -> Option<Newcomer> {
        select! {
            recv(self.waiting) -> newcomer => newcomer.ok(),
            recv(stop.channel()) -> _ => None,
            default(IDLE) => None,
        }
    }
}
