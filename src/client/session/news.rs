//! Notifications from trackers.

use std::net::SocketAddr;
use std::time::Duration;

use crate::types::{
    DeviceId, FileId, Fingerprint, GroupEntry, GroupId, InfoHash, Label, PeerEntry, PunchSecret,
    RotationStage, Stamp, UserEntry, UserId,
};

/// A notification from the trackers.
#[derive(Debug)]
pub(crate) enum News {
    /// Devices in the swarms of files that this device announced.
    Peers {
        /// Index of the tracker that sent it.
        tracker: usize,
        /// The devices.
        peers: Vec<PeerEntry>,
    },
    /// The tracker's session is open, again or for the first time. Its full peer lists follow.
    Joined {
        /// Index of the tracker.
        tracker: usize,
    },
    /// The tracker's connection has ended. Its peer lists are out of date from now on.
    Lost {
        /// Index of the tracker.
        tracker: usize,
    },
    /// The user is no longer a member of the group.
    Removed(GroupId),
    /// The user was accepted into a group.
    Admitted(GroupEntry),
    /// A user asks to join a group of this user.
    JoinRequested {
        /// The group.
        group: GroupId,
        /// Its name.
        label: Label,
        /// The user who asks.
        user: UserEntry,
        /// The time of the request.
        since: Stamp,
    },
    /// A user has joined by an invitation.
    MemberJoined {
        /// The group.
        group: GroupId,
        /// Its name.
        label: Label,
        /// The user who has joined.
        user: UserEntry,
        /// The user who had made the invitation.
        inviter: Label,
        /// The time.
        since: Stamp,
    },
    /// The user's request to join was rejected.
    JoinRejected {
        /// The group.
        group: GroupId,
        /// Its name.
        label: Label,
        /// The time of the rejection.
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
    /// The files or the members of a group have changed.
    GroupChanged {
        /// The group.
        group: GroupId,
        /// Files came or went, or have other sharers.
        files: bool,
        /// Members came or went, or have another part, or the group has another name.
        members: bool,
    },
    /// A device has left a file's swarm in a group because its user chose to.
    Withdrawn {
        /// The group.
        group: GroupId,
        /// The file.
        info_hash: InfoHash,
        /// The device.
        device: DeviceId,
    },
    /// Tickets of a user are revoked.
    Void {
        /// In this group, or in all.
        group: Option<GroupId>,
        /// The user.
        user: UserId,
        /// Those signed at this time or before.
        until_ms: u64,
    },
    /// Another device asks for a hole punch with this one.
    PunchOffered(PunchOffer),
    /// A user's device was forgotten: its tickets are revoked.
    DeviceVoid {
        /// The user.
        user: UserId,
        /// The device.
        device: DeviceId,
        /// Those signed at this time or before.
        until_ms: u64,
    },
    /// The user stopped sharing a file on another device.
    ShareStopped(GroupId, InfoHash),
    /// A file was removed from a group, or replaced by another.
    FileRemoved(RemovedFile),
    /// The addresses of the network's trackers.
    Trackers(Vec<String>),
    /// The clocks of the two connected trackers differ by more than a request tolerates, and no
    /// third clock tells which is right.
    ClocksDiffer(ClocksDiffer),
    /// The session of that generation is over: its token is revoked.
    SessionOver(u64),
    /// This device has met its first tracker. It trusts that tracker's network from now on.
    Trusted(FirstMet),
    /// The network's valid keys have changed.
    KeyChanged(KeyChange),
}

/// A hole punch that a tracker has begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PunchOffer {
    /// Index of the tracker.
    pub(crate) tracker: usize,
    /// The connection on which it said so.
    pub(crate) key: u64,
    /// This end's secret.
    pub(crate) secret: PunchSecret,
    pub(crate) group: GroupId,
    pub(crate) info_hash: InfoHash,
    /// The device at the other end.
    pub(crate) device: DeviceId,
}

/// A file that was removed from its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemovedFile {
    pub(crate) group: GroupId,
    pub(crate) file: FileId,
    pub(crate) info_hash: InfoHash,
    /// Its display name.
    pub(crate) label: Label,
    /// The display name of the file that has replaced it.
    pub(crate) replaced_by: Option<Label>,
}

/// Two trackers whose clocks differ too much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClocksDiffer {
    /// `host:port` of both.
    pub(crate) trackers: [String; 2],
    pub(crate) difference: Duration,
}

/// The first network that this device has met. It is trusted from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FirstMet {
    pub(crate) network: Fingerprint,
    /// Why the trust could not be saved, if it was not. The next start would then trust the first
    /// network that it meets.
    pub(crate) unwritten: Option<String>,
}

/// A change of the network's valid keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyChange {
    pub(crate) stage: RotationStage,
    pub(crate) old: Fingerprint,
    pub(crate) new: Fingerprint,
}
