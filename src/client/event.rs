//! The client's events, and their subscribers.
//!
//! **Invariant:** sending an event never blocks: a subscriber that does not keep up loses events,
//! and the log says so.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use log::warn;
use parking_lot::Mutex;

use super::error::SessionEnd;
use crate::types::{Fingerprint, GroupId, InfoHash, Label, RotationStage, Stamp, UserId};

/// Maximum number of events that wait for one subscriber.
const QUEUE_LEN: usize = 1024;

/// An event that no command of the user caused directly.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// A download is complete: verified, and under its final name.
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
    /// A download has failed.
    DownloadFailed {
        /// The group.
        group: Label,
        /// Its id.
        group_id: GroupId,
        /// The file.
        file: Label,
        /// The id of its content.
        id: InfoHash,
        /// The reason.
        reason: String,
    },
    /// A download has paused for a reason.
    DownloadPaused {
        /// The group.
        group: Label,
        /// Its id.
        group_id: GroupId,
        /// The file.
        file: Label,
        /// The id of its content.
        id: InfoHash,
        /// The reason.
        reason: String,
    },
    /// A share of this device is no longer offered.
    ShareNotOffered {
        /// The group.
        group: Label,
        /// Its id.
        group_id: GroupId,
        /// The file.
        file: Label,
        /// The id of its content.
        id: InfoHash,
        /// The path where it should be.
        path: PathBuf,
        /// The reason.
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
    /// A user asks to join a group of this user.
    JoinRequested {
        /// The group.
        group: Label,
        /// Its id.
        group_id: GroupId,
        /// The user who asks.
        user: Label,
        /// Their id.
        user_id: UserId,
        /// Since when.
        since: Stamp,
    },
    /// A user has joined a group of this user by an invitation, or by one that this user made.
    MemberJoined {
        /// The group.
        group: Label,
        /// Its id.
        group_id: GroupId,
        /// The user who has joined.
        user: Label,
        /// Their id.
        user_id: UserId,
        /// The user who had made the invitation.
        inviter: Label,
    },
    /// The user's request to join a group was rejected.
    JoinRejected {
        /// The group.
        group: Label,
        /// Its id.
        group_id: GroupId,
    },
    /// The user was accepted into a group.
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
    /// The files or the members of a group of the user have changed. Every tracker tells it, at
    /// most once a second for a group.
    GroupChanged {
        /// The group's id.
        group_id: GroupId,
        /// Files came or went, or have other sharers.
        files: bool,
        /// Members came or went, or have another part, or the group has another name.
        members: bool,
    },
    /// This device trusts another network than before, and stores that: from now on it accepts the
    /// trackers of this network only.
    TrustedNetwork {
        /// The network.
        network: Fingerprint,
        /// The network that was trusted before, if the user has named another; `None` if this is
        /// the first one met.
        before: Option<Fingerprint>,
        /// Why the trust could not be stored, if it could not: then the next start trusts the first
        /// network that it meets.
        unwritten: Option<String>,
    },
    /// The operator replaces the network's key, and this device follows.
    NetworkKey {
        /// The stage of the rotation, which tells the valid keys.
        stage: RotationStage,
        /// The earlier key.
        old: Fingerprint,
        /// The new key.
        new: Fingerprint,
    },
    /// The clocks of two trackers differ too much, and no third clock tells which is right: changes
    /// go to the tracker that accepts them.
    ClocksDiffer {
        /// `host:port` of both.
        trackers: [String; 2],
        /// The difference.
        difference: Duration,
    },
    /// This device stays logged in, and has logged in by its key.
    LoggedInByKey {
        /// The user.
        user: Label,
        /// Their id.
        user_id: UserId,
    },
    /// This device does not stay logged in any more.
    StayingEnded {
        /// The user as whom it stayed logged in.
        user: Label,
        /// Their id.
        user_id: UserId,
        /// The reason.
        reason: String,
    },
    /// The session has ended by itself: nothing is offered, downloads pause until the next login.
    SessionEnded {
        /// The session's user.
        user: Label,
        /// Their id.
        user_id: UserId,
        /// The reason.
        reason: SessionEnd,
    },
}

/// Maximum number of events of a start that are kept for the first subscriber.
const EARLY_MAX: usize = 16;

/// The subscribers of one client.
#[derive(Debug, Default)]
pub(crate) struct Bus {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    subscribers: Vec<Sender<ClientEvent>>,
    /// Receives the events to store.
    recorder: Option<Sender<ClientEvent>>,
    /// Events from before the first subscription.
    early: Vec<ClientEvent>,
    /// There was a subscriber.
    heard: bool,
}

impl Bus {
    pub(crate) fn subscribe(&self) -> Receiver<ClientEvent> {
        let (sender, receiver) = bounded(QUEUE_LEN);
        let mut state = self.state.lock();
        // The queue has room for them all.
        state.early.drain(..).for_each(|event| drop(sender.try_send(event)));
        state.heard = true;
        state.subscribers.push(sender);
        receiver
    }

    /// Returns a channel with every event from now on, for storing. It does not count as a
    /// subscriber.
    pub(crate) fn record(&self) -> Receiver<ClientEvent> {
        let (sender, receiver) = bounded(QUEUE_LEN);
        self.state.lock().recorder = Some(sender);
        receiver
    }

    /// Closes the recorder's channel.
    pub(crate) fn stop_recording(&self) {
        self.state.lock().recorder = None;
    }

    pub(crate) fn tell(&self, event: &ClientEvent) {
        let mut state = self.state.lock();
        // A list that is read later shows what has changed.
        let is_kept = !matches!(event, ClientEvent::GroupChanged { .. });
        if let Some(recorder) = &state.recorder
            && is_kept
            && recorder.try_send(event.clone()).is_err()
        {
            warn!("an event is not stored: there are too many at once");
        }
        if is_kept && !state.heard && state.early.len() < EARLY_MAX {
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
