//! What trackers tell unasked.

use std::net::SocketAddr;
use std::time::Duration;

use crate::types::{
    DeviceId, FileId, Fingerprint, GroupEntry, GroupId, InfoHash, Label, PeerEntry, RotationStage,
    Stamp, UserEntry, UserId,
};

/// Something that trackers told unasked.
#[derive(Debug)]
pub(crate) enum News {
    /// Devices in swarms of files that this device announced.
    Peers {
        /// Index of the tracker that says so.
        tracker: usize,
        /// What it says.
        peers: Vec<PeerEntry>,
    },
    /// The tracker's session stands (again), and it is about to say everything about peers.
    Joined {
        /// Index of the tracker.
        tracker: usize,
    },
    /// The tracker's connection has ended: what it said about peers is from before.
    Lost {
        /// Index of the tracker.
        tracker: usize,
    },
    /// The user is no longer a member of the group.
    Removed(GroupId),
    /// The user was let into a group.
    Admitted(GroupEntry),
    /// Somebody asks to join a group of the user's.
    JoinRequested {
        /// The group.
        group: GroupId,
        /// Its name.
        label: Label,
        /// Who asks.
        user: UserEntry,
        /// Since when.
        since: Stamp,
    },
    /// The user had asked to join, and was turned down.
    JoinRejected {
        /// The group.
        group: GroupId,
        /// Its name.
        label: Label,
        /// When.
        at: Stamp,
    },
    /// So many members say that what this device sends of a file is wrong.
    BadDataReported {
        /// The group.
        group: GroupId,
        /// The file.
        info_hash: InfoHash,
        /// How many, by one tracker's count.
        members: u32,
    },
    /// So many members cannot connect to this device.
    UnreachableReported {
        /// Where they dialled.
        address: SocketAddr,
        /// How many, by one tracker's count.
        members: u32,
    },
    /// A device has left a file's swarm in a group, by its user's own doing.
    Withdrawn {
        /// The group.
        group: GroupId,
        /// The file.
        info_hash: InfoHash,
        /// Which device.
        device: DeviceId,
    },
    /// Tickets of a user are void.
    Void {
        /// In this group, or in all.
        group: Option<GroupId>,
        /// Whose.
        user: UserId,
        /// Those signed at this time or before.
        until_ms: u64,
    },
    /// A user's device was forgotten: its tickets are void.
    DeviceVoid {
        /// Whose.
        user: UserId,
        /// Which.
        device: DeviceId,
        /// Those signed at this time or before.
        until_ms: u64,
    },
    /// The user stopped sharing a file on another device.
    ShareStopped(GroupId, InfoHash),
    /// A file was removed from a group, or another has taken its place.
    FileRemoved(RemovedFile),
    /// The addresses of the network's trackers.
    Trackers(Vec<String>),
    /// The clocks of the two connected trackers differ by more than a request bears, and nothing
    /// tells which is right.
    ClocksDiffer(ClocksDiffer),
    /// The session of that generation is over: its token is void.
    SessionOver(u64),
    /// The first tracker ever met is of a network, which is trusted from now on.
    Trusted(FirstMet),
    /// Another key of the network counts than before.
    KeyChanged(KeyChange),
}

/// A file that its group has no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemovedFile {
    pub(crate) group: GroupId,
    pub(crate) file: FileId,
    pub(crate) info_hash: InfoHash,
    /// Its name as shown.
    pub(crate) label: Label,
    /// The name as shown of the file that has taken its place.
    pub(crate) replaced_by: Option<Label>,
}

/// Two trackers whose clocks differ too much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClocksDiffer {
    /// `host:port` of both.
    pub(crate) trackers: [String; 2],
    pub(crate) difference: Duration,
}

/// The first network that was ever met here; it is trusted from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FirstMet {
    pub(crate) network: Fingerprint,
    /// Why it is not written down, if it is not: the next start would trust the first that it
    /// meets.
    pub(crate) unwritten: Option<String>,
}

/// Another key of the network counts than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyChange {
    pub(crate) stage: RotationStage,
    pub(crate) old: Fingerprint,
    pub(crate) new: Fingerprint,
}
