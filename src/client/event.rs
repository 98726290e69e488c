//! What a client tells whoever has subscribed.
//!
//! **Invariant:** telling never blocks: a subscriber that does not keep up loses events, and the
//! log says so.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use log::warn;
use parking_lot::Mutex;

use super::error::SessionEnd;
use crate::types::{Fingerprint, GroupId, InfoHash, Label, RotationStage, Stamp, UserId};

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
        /// Its id.
        group_id: GroupId,
        /// The file.
        file: Label,
        /// The id of its content.
        id: InfoHash,
        /// Where it is.
        path: PathBuf,
    },
    /// A download cannot go on.
    DownloadFailed {
        /// The group.
        group: Label,
        /// Its id.
        group_id: GroupId,
        /// The file.
        file: Label,
        /// The id of its content.
        id: InfoHash,
        /// Why.
        reason: String,
    },
    /// A download has paused itself.
    DownloadPaused {
        /// The group.
        group: Label,
        /// Its id.
        group_id: GroupId,
        /// The file.
        file: Label,
        /// The id of its content.
        id: InfoHash,
        /// Why.
        reason: String,
    },
    /// A share of this device is not offered.
    ShareNotOffered {
        /// The group.
        group: Label,
        /// Its id.
        group_id: GroupId,
        /// The file.
        file: Label,
        /// The id of its content.
        id: InfoHash,
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Members have banned this device: what it sends of a file is not that file. They may be wrong,
    /// or lie.
    BadDataReported {
        /// The group.
        group: Label,
        /// Its id.
        group_id: GroupId,
        /// The file.
        file: Label,
        /// The id of its content.
        id: InfoHash,
        /// Where it is.
        path: PathBuf,
        /// How many members say so.
        members: u32,
    },
    /// Members cannot connect to this device.
    Unreachable {
        /// Where they dialled.
        address: SocketAddr,
        /// How many members say so: two at least.
        members: u32,
    },
    /// Somebody asks to join a group of the user's.
    JoinRequested {
        /// The group.
        group: Label,
        /// Its id.
        group_id: GroupId,
        /// Who asks.
        user: Label,
        /// The id.
        user_id: UserId,
        /// Since when.
        since: Stamp,
    },
    /// The user had asked to join a group, and was turned down.
    JoinRejected {
        /// The group.
        group: Label,
        /// Its id.
        group_id: GroupId,
    },
    /// The user was let into a group.
    Admitted {
        /// The group.
        group: Label,
        /// Its id.
        group_id: GroupId,
    },
    /// The user is no longer a member of a group.
    Removed {
        /// The group.
        group: Label,
        /// Its id.
        group_id: GroupId,
    },
    /// This device trusts another network than before, and remembers it: its trackers are spoken to
    /// from now on, and no others.
    TrustedNetwork {
        /// The network.
        network: Fingerprint,
        /// The one that was trusted before, if the user has named another; `None` if this is the
        /// first that was met.
        before: Option<Fingerprint>,
        /// Why it could not be written down, if it could not: then the next start trusts the first
        /// network that it meets.
        unwritten: Option<String>,
    },
    /// The operator replaces the network's key, and this device goes along with that.
    NetworkKey {
        /// Which of the two counts.
        stage: RotationStage,
        /// The key before.
        old: Fingerprint,
        /// The key after.
        new: Fingerprint,
    },
    /// The clocks of two trackers differ too much, and nothing tells which is right: changes go to
    /// the one that takes them.
    ClocksDiffer {
        /// `host:port` of both.
        trackers: [String; 2],
        /// By how much.
        difference: Duration,
    },
    /// This device stays logged in, and has logged in by its key.
    LoggedInByKey {
        /// As whom.
        user: Label,
        /// The id.
        user_id: UserId,
    },
    /// This device does not stay logged in any more.
    StayingEnded {
        /// As whom it did.
        user: Label,
        /// The id.
        user_id: UserId,
        /// Why.
        reason: String,
    },
    /// The session has ended by itself: nothing is offered, downloads pause until the next login.
    SessionEnded {
        /// Whose session.
        user: Label,
        /// Their id.
        user_id: UserId,
        /// Why.
        reason: SessionEnd,
    },
}

/// Events kept for the first subscriber: those of a start.
const EARLY_MAX: usize = 16;

/// The subscribers of one client.
#[derive(Debug, Default)]
pub(crate) struct Bus {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    subscribers: Vec<Sender<ClientEvent>>,
    /// Writes events down.
    recorder: Option<Sender<ClientEvent>>,
    /// What was told before anybody had subscribed.
    early: Vec<ClientEvent>,
    /// Somebody has subscribed.
    heard: bool,
}

impl Bus {
    pub(crate) fn subscribe(&self) -> Receiver<ClientEvent> {
        let (sender, receiver) = bounded(QUEUE_LEN);
        let mut state = self.state.lock();
        // There is room for them all.
        state.early.drain(..).for_each(|event| drop(sender.try_send(event)));
        state.heard = true;
        state.subscribers.push(sender);
        receiver
    }

    /// Hands every event from now on to what writes them down. Nobody has heard them by that.
    pub(crate) fn record(&self) -> Receiver<ClientEvent> {
        let (sender, receiver) = bounded(QUEUE_LEN);
        self.state.lock().recorder = Some(sender);
        receiver
    }

    /// Nothing more is written down.
    pub(crate) fn stop_recording(&self) {
        self.state.lock().recorder = None;
    }

    pub(crate) fn tell(&self, event: &ClientEvent) {
        let mut state = self.state.lock();
        if let Some(recorder) = &state.recorder
            && recorder.try_send(event.clone()).is_err()
        {
            warn!("an event is not written down: there are too many at once");
        }
        if !state.heard && state.early.len() < EARLY_MAX {
            state.early.push(event.clone());
        }
        state.subscribers.retain(|subscriber| match subscriber.try_send(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                warn!("a subscriber does not keep up and loses an event");
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_at_the_start_is_heard_by_whoever_subscribes_first() {
        let bus = Bus::default();
        let event = |n: u8| ClientEvent::TrustedNetwork {
            network: Fingerprint::from_bytes([n; 32]),
            before: None,
            unwritten: None,
        };
        (0..20).for_each(|n| bus.tell(&event(n)));
        let first = bus.subscribe();
        bus.tell(&event(99));
        let second = bus.subscribe();
        bus.tell(&event(100));
        let heard: Vec<ClientEvent> = first.try_iter().collect();
        assert_eq!(
            (heard.len(), &heard[0], &heard[EARLY_MAX]),
            (EARLY_MAX + 2, &event(0), &event(99))
        );
        assert_eq!(second.try_iter().collect::<Vec<_>>(), [event(100)]);
    }
}
