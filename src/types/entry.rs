//! Lines of the directory's listings, as a tracker answers and a client shows them.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    DeviceId, DeviceName, FileFacts, GroupId, GroupSettings, InfoHash, InvitationId, Label, Stamp,
    UserId,
};

/// A user as others see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserEntry {
    /// Id.
    pub user: UserId,
    /// Name as shown.
    pub label: Label,
}

/// What somebody is to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Nothing.
    Stranger,
    /// Waits for the owner's answer.
    Requested,
    /// A member.
    Member,
    /// The owner, who is a member too.
    Owner,
}

impl Part {
    /// Tells whether somebody with that part is a member.
    pub fn is_member(self) -> bool {
        matches!(self, Self::Member | Self::Owner)
    }
}

/// A group and what the asking user is to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupEntry {
    /// Id.
    pub group: GroupId,
    /// Name as shown.
    pub label: Label,
    /// The asking user's part.
    pub part: Part,
    /// Number of members.
    pub member_count: u32,
    /// The owner's name as shown.
    pub owner: Label,
    /// Requests to join that wait for the asking user's answer: 0 unless that user is the owner.
    /// `None` from a tracker that does not tell.
    pub requests: Option<u32>,
    /// What the owner has set. `None` from a tracker that knows no such settings.
    pub settings: Option<GroupSettings>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberEntry {
    /// Who.
    pub user: UserEntry,
    /// Whether they own the group.
    pub owner: bool,
    /// Whether a device of theirs is connected to the answering tracker.
    pub online: bool,
    /// Since when they are in.
    pub since: Stamp,
    /// Who invited them, if they came by an invitation that is remembered.
    pub invited_by: Option<Label>,
}

/// A pending request to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestEntry {
    /// Who asks.
    pub user: UserEntry,
    /// Since when.
    pub since: Stamp,
}

/// An invitation that was not revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationEntry {
    /// The group.
    pub group: GroupId,
    /// The group's name as shown.
    pub label: Label,
    /// Which one.
    pub invitation: InvitationId,
    /// Who made it.
    pub inviter: UserEntry,
    /// When.
    pub created: Stamp,
    /// Up to when it may be used, in milliseconds since the Unix epoch.
    pub expires_ms: u64,
    /// How many users it lets in.
    pub uses: u32,
    /// How many it has let in.
    pub used: u32,
}

/// A file offered to a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// The group.
    pub group: GroupId,
    /// Name as shown: `name`, or `name~2` where two files bear it.
    pub label: Label,
    /// The content.
    pub facts: FileFacts,
    /// Some of those who share it, by name as shown, the first sharer first (at most 8).
    pub sharers: Vec<Label>,
    /// How many share it.
    pub sharer_count: u32,
    /// How many devices that have it whole are connected to the answering tracker.
    pub online: u32,
    /// When it was offered.
    pub at: Stamp,
}

/// A device that may log in as the asking user, or is logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceEntry {
    /// Which.
    pub device: DeviceId,
    /// What people call it, if it may log in by its key.
    pub name: Option<DeviceName>,
    /// Since when it may log in by its key, if it may.
    pub stays_since: Option<Stamp>,
    /// Whether it is logged in at the answering tracker.
    pub online: bool,
    /// From where the answering tracker saw it last, if it did since its start.
    pub address: Option<SocketAddr>,
    /// When that was, in milliseconds since the Unix epoch; 0 if it was not.
    pub seen_ms: u64,
}

/// What a device says about a file when it announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DownloadState {
    /// It offers and wants nothing any more.
    Stopped,
    /// It downloads, and offers what it has.
    Leeching,
    /// It has the whole file.
    Seeding,
}

/// A device that takes part in a file's swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerEntry {
    /// The file.
    pub info_hash: InfoHash,
    /// The group in which it announced it.
    pub group: GroupId,
    /// The device.
    pub device: DeviceId,
    /// The user logged in there.
    pub user: UserId,
    /// Where it listens, as the tracker observed its address.
    pub address: SocketAddr,
    /// What it does with the file; `Stopped` means it has gone.
    pub state: DownloadState,
}

/// How a tracker stands with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrackerState {
    /// The tracker that answers.
    Myself,
    /// Caught up, and acknowledging.
    Up,
    /// Connected and catching up.
    CatchingUp,
    /// Not connected, or not acknowledging.
    Down,
    /// Away for longer than the retention time: it must start anew.
    MustResync,
}

/// One tracker of the network as another sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackerEntry {
    /// Line in `tracker_info.txt`, from 1.
    pub number: u32,
    /// `host:port` as configured.
    pub address: Label,
    /// State of the link.
    pub state: TrackerState,
    /// Operations known here that it has not acknowledged.
    pub lag: u64,
}
