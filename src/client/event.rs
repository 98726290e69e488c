//! What a client tells whoever has subscribed.
//!
//! **Invariant:** telling never blocks: a subscriber that does not keep up loses events, and the log says so.

use std::path::PathBuf;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use log::warn;
use parking_lot::Mutex;

use crate::types::Label;

/// Events that wait for one subscriber.
const QUEUE_LEN: usize = 1024;

/// Something that happened by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// A download is complete, checked and under its name.
    DownloadComplete {
        /// The group.
        group: Label,
        /// The file.
        file: Label,
        /// Where it is.
        path: PathBuf,
    },
    /// A download cannot go on.
    DownloadFailed {
        /// The group.
        group: Label,
        /// The file.
        file: Label,
        /// Why.
        reason: String,
    },
    /// A download has paused itself.
    DownloadPaused {
        /// The group.
        group: Label,
        /// The file.
        file: Label,
        /// Why.
        reason: String,
    },
    /// A share of this device is not offered.
    ShareNotOffered {
        /// The group.
        group: Label,
        /// The file.
        file: Label,
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The user was let into a group.
    Admitted {
        /// The group.
        group: Label,
    },
    /// The user is no longer a member of a group.
    Removed {
        /// The group.
        group: Label,
    },
}

/// The subscribers of one client.
#[derive(Debug, Default)]
pub(crate) struct Bus {
    subscribers: Mutex<Vec<Sender<ClientEvent>>>,
}

impl Bus {
    pub(crate) fn subscribe(&self) -> Receiver<ClientEvent> {
        let (sender, receiver) = bounded(QUEUE_LEN);
        self.subscribers.lock().push(sender);
        receiver
    }

    pub(crate) fn tell(&self, event: &ClientEvent) {
        self.subscribers.lock().retain(|subscriber| match subscriber.try_send(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                warn!("a subscriber does not keep up and loses an event");
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        });
    }
}
