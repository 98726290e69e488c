//! What a tracker tells a client unasked.

use std::net::SocketAddr;

use crate::types::{
    DeviceId, FileId, GroupEntry, GroupId, InfoHash, KeyRotation, Label, PeerEntry, PunchSecret,
    RelayMeeting, RelaySecret, Stamp, UserEntry, UserId,
};
use crate::wire::codec::wire_enum;

/// Something that a client is told unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A device joined, changed its part in, or left the swarm of a file that this device
    /// announced.
    Peer(PeerEntry),
    /// The session's user is no longer a member of the group: offers and downloads there end.
    Removed {
        /// The group.
        group: GroupId,
    },
    /// The session's user was let into a group.
    Admitted {
        /// The group.
        group: GroupEntry,
    },
    /// The tracker is shutting down in order.
    Closing,
    /// A device no longer takes part in the swarm of a file in a group, by its user's own doing: it
    /// stopped sharing or downloading, or logged out. Links for that file that rest on that group
    /// end.
    Withdrawn {
        /// The group.
        group: GroupId,
        /// The file.
        info_hash: InfoHash,
        /// Whose.
        user: UserId,
        /// Which.
        device: DeviceId,
    },
    /// A user's tickets that were signed earlier than that are void: the membership has ended, or
    /// the password was changed. Links that rest on one end.
    Void {
        /// In this group; in every group if none is named.
        group: Option<GroupId>,
        /// Whose.
        user: UserId,
        /// Tickets issued at this time or before, milliseconds since the Unix epoch.
        until_ms: u64,
    },
    /// The session's user stopped sharing a file, on another device: it is no longer offered here
    /// either.
    ShareStopped {
        /// The group.
        group: GroupId,
        /// The file.
        info_hash: InfoHash,
    },
    /// The session's user is logged out: the token is void, because the password was changed.
    SessionOver,
    /// A file was removed from a group, or another has taken its place: offers and downloads of it
    /// end.
    FileRemoved {
        /// The group.
        group: GroupId,
        /// The file.
        file: FileId,
        /// The content that it has.
        info_hash: InfoHash,
        /// Its name as shown.
        label: Label,
        /// The name as shown of the file that has taken its place.
        replaced_by: Option<Label>,
    },
    /// The network's trackers: told after the login, and when they change.
    Trackers {
        /// `host:port` of each.
        addresses: Vec<Label>,
        /// `host:port` of those that the operator has removed: sessions with them end.
        removed: Vec<Label>,
    },
    /// Another key takes the place of the network's: told behind the welcome, after the login, and
    /// when it changes.
    NetworkKey {
        /// Which keys, and which of them counts.
        rotation: KeyRotation,
    },
    /// A user's device was forgotten: its tickets that were signed earlier than that are void. Links
    /// with it that rest on one end.
    DeviceVoid {
        /// Whose.
        user: UserId,
        /// Which.
        device: DeviceId,
        /// Tickets issued at this time or before, milliseconds since the Unix epoch.
        until_ms: u64,
    },
    /// Somebody asks to join a group of the session's user's.
    JoinRequested {
        /// The group.
        group: GroupId,
        /// Its name as shown.
        label: Label,
        /// Who asks.
        user: UserEntry,
        /// Since when.
        since: Stamp,
    },
    /// The owner of a group has turned down the session's user, who had asked to join.
    JoinRejected {
        /// The group.
        group: GroupId,
        /// Its name as shown.
        label: Label,
        /// When.
        at: Stamp,
    },
    /// Members have banned this device: what it sends of a file is not that file.
    BadDataReported {
        /// The group.
        group: GroupId,
        /// The file.
        info_hash: InfoHash,
        /// How many members say so.
        members: u32,
    },
    /// Members cannot connect to this device.
    UnreachableReported {
        /// Where they dialled.
        address: SocketAddr,
        /// How many members say so: two at least.
        members: u32,
    },
    /// The files or the members of a group of the session's user have changed: told at most once a
    /// second for a group, to all members who are online.
    GroupChanged {
        /// The group.
        group: GroupId,
        /// Files came or went, or have other sharers.
        files: bool,
        /// Members came or went, or have another part, or the group has another name.
        members: bool,
    },
    /// A user has joined a group of the session's user's by an invitation, or by one that the
    /// session's user made.
    MemberJoined {
        /// The group.
        group: GroupId,
        /// Its name as shown.
        label: Label,
        /// Who has joined.
        user: UserEntry,
        /// Who had made the invitation.
        inviter: Label,
        /// Since when.
        since: Stamp,
    },
    /// Another member's device and this one may meet at a relay: to this device's request, or to the
    /// other's.
    Relayed {
        /// The group.
        group: GroupId,
        /// The other device.
        device: DeviceId,
        /// This device has asked: it dials inside, and the other one answers.
        is_dialler: bool,
        /// Where the relay is; with an unspecified IP, at the tracker's own.
        address: SocketAddr,
        /// What this device shows the relay.
        secret: RelaySecret,
    },
    /// This device relays: it is to pass on what two members' devices send each other.
    RelayFor {
        /// Who they are.
        meeting: RelayMeeting,
    },
    /// A hole punch begins: the device has the tracker see a port of its own, over a connection in
    /// which it shows the secret.
    PunchBegun {
        /// This end's.
        secret: PunchSecret,
        /// The group.
        group: GroupId,
        /// The file.
        info_hash: InfoHash,
        /// The device at the other end.
        device: DeviceId,
        /// Whether this device asked for it: then it is TLS's client on the link.
        is_asker: bool,
    },
    /// Both ports were seen: both devices connect at one moment.
    PunchNow {
        /// This end's.
        secret: PunchSecret,
        /// Where the other's port was seen.
        address: SocketAddr,
        /// When to connect, in milliseconds from now.
        in_ms: u32,
    },
    /// A session with so many of the trackers is enough: each answers for all. Told after the login,
    /// before [`Event::Trackers`]; where it is not told, a client keeps a session with each.
    EnoughSessions {
        /// How many.
        count: u8,
    },
    /// An event of a later version, to be ignored.
    Unknown {
        /// Its tag.
        tag: u8,
    },
}

wire_enum!(Event "event" {
    0 => Peer(peer),
    1 => Removed { group },
    2 => Admitted { group },
    3 => Closing,
    4 => Withdrawn { group, info_hash, user, device },
    5 => Void { group, user, until_ms },
    6 => ShareStopped { group, info_hash },
    7 => SessionOver,
    8 => FileRemoved { group, file, info_hash, label, replaced_by },
    9 => Trackers { addresses, removed },
    10 => NetworkKey { rotation },
    11 => DeviceVoid { user, device, until_ms },
    12 => JoinRequested { group, label, user, since },
    13 => JoinRejected { group, label, at },
    14 => BadDataReported { group, info_hash, members },
    15 => UnreachableReported { address, members },
    16 => GroupChanged { group, files, members },
    17 => MemberJoined { group, label, user, inviter, since },
    18 => Relayed { group, device, is_dialler, address, secret },
    19 => RelayFor { meeting },
    20 => PunchBegun { secret, group, info_hash, device, is_asker },
    21 => PunchNow { secret, address, in_ms },
    22 => EnoughSessions { count },
    _ => Unknown { tag },
});
