//! What all torrents of an engine have moved, and move.
//!
//! Links count bytes as they go; the timer notes the rates.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::swarm::api::Traffic;

/// The counters.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
    received_per_second: AtomicU64,
    sent_per_second: AtomicU64,
}

impl Counters {
    /// Notes the rates of all torrents together.
    pub(super) fn set_rates(&self, received: u64, sent: u64) {
        self.received_per_second.store(received, Ordering::Relaxed);
        self.sent_per_second.store(sent, Ordering::Relaxed);
    }

    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            received_per_second: self.received_per_second.load(Ordering::Relaxed),
            sent_per_second: self.sent_per_second.load(Ordering::Relaxed),
        }
    }
}
