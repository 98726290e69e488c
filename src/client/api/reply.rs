//! The results of commands.
//!
//! Paths are for display: bytes that are not UTF-8 are replaced.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ApiError, Peers, Pieces};
use crate::http::access::TokenEntry;
use crate::types::{
    DeviceId, FileId, Fingerprint, GroupId, InfoHash, InvitationId, Label, Part, Rate, Sha1Digest,
    UserId,
};

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "reply", content = "value", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reply {
    /// Success, with no value.
    Done,
    /// Yes or no.
    Is(bool),
    /// An account.
    Account(Account),
    /// Groups.
    Groups(Page<Group>),
    /// Members.
    Members(Page<Member>),
    /// Requests to join.
    Requests(Page<Request>),
    /// Files.
    Files(Page<File>),
    /// A newly shared file.
    Shared(Shared),
    /// Offered files.
    Uploads(Page<Upload>),
    /// One download.
    Download(Download),
    /// Downloads.
    Downloads(Page<Download>),
    /// Results of begun downloads.
    Begun(Vec<Begun>),
    /// Downloads that ended.
    Ends(Ends),
    /// Links to other devices.
    Peers(Peers),
    /// Pieces.
    Pieces(Pieces),
    /// Sentences.
    Lines(Vec<String>),
    /// The limits.
    Limits(Limits),
    /// The trackers.
    Trackers(Trackers),
    /// Devices of the user.
    Devices(Vec<UserDevice>),
    /// What happened.
    Notifications(Vec<Notification>),
    /// A link to the page.
    Link(Link),
    /// Tokens.
    Tokens(Vec<TokenEntry>),
    /// A new token.
    Token(NewToken),
    /// A new invitation.
    NewInvite(NewInvite),
    /// One invitation.
    Invite(Invite),
    /// Invitations.
    Invites(Page<Invite>),
    /// The group that was joined.
    Joined(Joined),
    /// What the owner of a group has set.
    GroupSettings(GroupSettings),
}

/// Defines one accessor a variant, which fails for every other variant.
macro_rules! expect {
    ($($name:ident: $variant:ident($value:ty)),+ $(,)?) => {
        impl Reply {
            $(
                #[doc = concat!("The value of [`Reply::", stringify!($variant), "`].")]
                ///
                /// # Errors
                /// [`ApiError::bad_reply`] for any other reply.
                pub fn $name(self) -> Result<$value, ApiError> {
                    if let Self::$variant(value) = self { Ok(value) } else { Err(ApiError::bad_reply()) }
                }
            )+
        }
    };
}

expect! {
    is: Is(bool),
    account: Account(Account),
    groups: Groups(Page<Group>),
    members: Members(Page<Member>),
    requests: Requests(Page<Request>),
    files: Files(Page<File>),
    shared: Shared(Shared),
    uploads: Uploads(Page<Upload>),
    download: Download(Download),
    downloads: Downloads(Page<Download>),
    begun: Begun(Vec<Begun>),
    ends: Ends(Ends),
    peers: Peers(Peers),
    pieces: Pieces(Pieces),
    lines: Lines(Vec<String>),
    limits: Limits(Limits),
    trackers: Trackers(Trackers),
    devices: Devices(Vec<UserDevice>),
    notifications: Notifications(Vec<Notification>),
    link: Link(Link),
    tokens: Tokens(Vec<TokenEntry>),
    token: Token(NewToken),
    new_invite: NewInvite(NewInvite),
    invite: Invite(Invite),
    invites: Invites(Page<Invite>),
    joined: Joined(Joined),
    group_settings: GroupSettings(GroupSettings),
}

/// A link that opens the page one time.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// The link, with a secret.
    pub url: String,
    /// Milliseconds for which it is valid.
    pub valid_ms: u64,
}

/// A new token. The secret is told once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewToken {
    /// The secret.
    pub token: String,
    /// The rest.
    #[serde(flatten)]
    pub entry: TokenEntry,
}

/// An open invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invite {
    /// The id.
    pub invite: InvitationId,
    /// The group's name as shown.
    pub group: Label,
    /// The group's id.
    pub group_id: GroupId,
    /// Who made it.
    pub inviter: Label,
    /// The id of that user.
    pub inviter_id: UserId,
    /// Time at which it was made.
    pub created_ms: u64,
    /// Time up to which it may be used.
    pub expires_ms: u64,
    /// Users whom it lets in.
    pub uses: u32,
    /// Users whom it has let in.
    pub used: u32,
}

/// A new invitation. The link is told once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewInvite {
    /// The link, with a secret.
    pub link: String,
    /// The link as a QR code, unless it is too long for one.
    #[serde(default)]
    pub qr: Option<QrImage>,
    /// The rest.
    #[serde(flatten)]
    pub invite: Invite,
}

/// A QR code as a path of SVG, without a margin.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QrImage {
    /// Width and height in modules, each of which is one unit.
    pub size: usize,
    /// The dark modules: the `d` of a `path`.
    pub path: String,
}

/// A group that was joined by an invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Joined {
    /// The group's name as shown.
    pub group: Label,
    /// The group's id.
    pub group_id: GroupId,
}

/// What the owner of a group has set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupSettings {
    /// The group's name as shown.
    pub group: Label,
    /// The group's id.
    pub group_id: GroupId,
    /// Whether every member may invite. `None` if the tracker does not tell.
    #[serde(default)]
    pub members_invite: Option<bool>,
}

impl fmt::Debug for NewInvite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NewInvite").field(&self.invite).finish()
    }
}

/// It holds the secret.
impl fmt::Debug for QrImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QrImage([redacted])")
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link([redacted])")
    }
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NewToken").field(&self.entry).finish()
    }
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// Whether more pages follow.
    pub more: bool,
    /// The cursor of the next page: an opaque string.
    #[serde(default)]
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// The only page of a listing.
    pub fn whole(entries: Vec<T>) -> Self {
        Self { entries, more: false, next: None }
    }
}

/// The session's user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// The name as shown.
    pub user: Label,
    /// The id.
    pub user_id: UserId,
    /// The operator has set the password: trackers refuse everything else until it is changed.
    pub must_change_password: bool,
    /// This device logs in as this user by its key.
    #[serde(default)]
    pub stays: bool,
}

/// A device of the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserDevice {
    /// The id.
    pub device: DeviceId,
    /// Its name for people, if it stays logged in.
    pub name: Option<String>,
    /// It is this device.
    pub this: bool,
    /// It logs in by its key.
    pub stays: bool,
    /// Time since which it does.
    pub stays_since_ms: Option<u64>,
    /// Whether it is connected.
    pub online: bool,
    /// The IP address from which the tracker saw it last.
    pub address: Option<String>,
    /// The time of that.
    pub seen_ms: Option<u64>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notification {
    /// Time.
    pub at_ms: u64,
    /// Name of the event.
    pub event: String,
    /// The group.
    pub group: Option<String>,
    /// The user.
    pub user: Option<String>,
    /// The file.
    pub file: Option<String>,
    /// The path of the file.
    pub path: Option<String>,
    /// The reason.
    pub reason: Option<String>,
    /// It was shown before.
    pub seen: bool,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// The name as shown.
    pub group: Label,
    /// The id.
    pub group_id: GroupId,
    /// The user's part in the group.
    pub part: Part,
    /// Number of members.
    pub members: u32,
    /// The owner's name as shown.
    pub owner: Label,
    /// Number of pending requests to join, for the owner; else 0. `None` if the tracker does not
    /// tell.
    #[serde(default)]
    pub requests: Option<u32>,
    /// Whether every member may invite. `None` if the tracker does not tell.
    #[serde(default)]
    pub members_invite: Option<bool>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    /// The name as shown.
    pub user: Label,
    /// The id.
    pub user_id: UserId,
    /// The member's part in the group.
    pub part: Part,
    /// Whether a device of theirs is connected.
    pub online: bool,
    /// Time of the admission.
    pub since_ms: u64,
    /// Who invited them, if they came by an invitation in the last 90 days.
    #[serde(default)]
    pub invited_by: Option<Label>,
}

/// A request to join a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// The name as shown.
    pub user: Label,
    /// The id.
    pub user_id: UserId,
    /// Time of the request.
    pub since_ms: u64,
}

/// A file of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct File {
    /// The group's name as shown, where files of several groups are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Label>,
    /// The group's id.
    pub group_id: GroupId,
    /// The name as shown.
    pub file: Label,
    /// The id: of the content and every fact about it.
    pub file_id: FileId,
    /// Length in bytes.
    pub size: u64,
    /// SHA-1 of the whole.
    pub sha1: Sha1Digest,
    /// The id of the content.
    pub info_hash: InfoHash,
    /// Length of a piece in bytes.
    pub piece_size: u32,
    /// Names of some sharers, the first sharer first.
    pub sharers: Vec<Label>,
    /// Number of sharers.
    pub sharer_count: u32,
    /// Number of connected devices that have the whole file.
    pub online: u32,
    /// Time at which it was shared.
    pub since_ms: u64,
}

/// A newly shared file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shared {
    /// The group's name as shown.
    pub group: Label,
    /// The group's id.
    pub group_id: GroupId,
    /// The file's name.
    pub file: Label,
    /// The id: of the content and every fact about it.
    pub file_id: FileId,
    /// Length in bytes.
    pub size: u64,
    /// SHA-1 of the whole.
    pub sha1: Sha1Digest,
    /// The id of the content.
    pub info_hash: InfoHash,
    /// Time at which the replaced version was shared, if one was replaced.
    pub replaces_ms: Option<u64>,
}

/// A file that this device offers to a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Upload {
    /// The group's name as shown.
    pub group: Label,
    /// The group's id.
    pub group_id: GroupId,
    /// The file's name as shown.
    pub file: Label,
    /// The id of the content.
    pub info_hash: InfoHash,
    /// Path of the file.
    pub path: String,
    /// Length in bytes; 0 if the client is older than this field.
    #[serde(default)]
    pub size: u64,
    /// Bytes present, if the file is an unfinished download.
    pub bytes_here: Option<u64>,
    /// Links to other devices for this file.
    pub peers: u32,
    /// Bytes sent since login.
    pub bytes_sent: u64,
    /// Bytes per second sent in the last 2 seconds.
    #[serde(default)]
    pub sent_per_second: u64,
    /// Bytes sent by device.
    pub to: Vec<Device>,
    /// Members who say that what this device sends of the file is wrong.
    #[serde(default)]
    pub bad_data_members: u32,
    /// Members could not connect to this device lately.
    #[serde(default)]
    pub unreachable: Option<Unreachable>,
}

/// Members cannot connect to this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unreachable {
    /// Where they dialled.
    pub address: SocketAddr,
    /// How many.
    pub members: u32,
}

/// A device that received data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Device {
    /// The id.
    pub device: DeviceId,
    /// Bytes sent since login.
    pub bytes_sent: u64,
}

/// The state of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DownloadState {
    /// It is fetching, or waiting for peers that have the missing pieces.
    Running,
    /// It waits in the queue.
    Queued,
    /// Paused by the user, or for a reason.
    Paused,
    /// It cannot go on.
    Failed,
    /// The file is complete and verified.
    Complete,
}

/// A download.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Download {
    /// The group's name as shown.
    pub group: Label,
    /// The group's id.
    pub group_id: GroupId,
    /// The file's name as shown.
    pub file: Label,
    /// The id of the content. A client has at most one download with a given id.
    pub info_hash: InfoHash,
    /// The state.
    pub state: DownloadState,
    /// Why it is paused or failed, if the client knows.
    pub reason: Option<String>,
    /// Path of the complete file.
    pub path: String,
    /// Length in bytes.
    pub size: u64,
    /// Bytes verified and written.
    pub bytes_done: u64,
    /// Bytes per second received lately; 0 if nothing came for 2 seconds.
    pub bytes_per_second: u64,
    /// Bytes sent to others since login.
    #[serde(default)]
    pub bytes_sent: u64,
    /// Bytes per second sent to others in the last 2 seconds.
    #[serde(default)]
    pub sent_per_second: u64,
    /// Links to other devices for this file.
    pub peers: u32,
    /// Estimated time left at the current rate; `None` above one day.
    pub seconds_left: Option<u64>,
    /// Place in the queue, from 1.
    pub place: Option<usize>,
    /// The download's own rate limit.
    pub limit: Option<Rate>,
    /// Sequence number of its end, if it ended in this session.
    #[serde(default)]
    pub ended: Option<u64>,
}

impl Download {
    /// Completed fraction, from 0 to 1.
    pub fn fraction(&self) -> f64 {
        if self.size == 0 {
            f64::from(u8::from(self.state == DownloadState::Complete))
        } else {
            self.bytes_done as f64 / self.size as f64
        }
    }

    /// Tells whether it runs or waits in the queue.
    pub fn is_unfinished(&self) -> bool {
        matches!(self.state, DownloadState::Running | DownloadState::Queued)
    }

    /// Estimated time left at the current rate; `None` above one day.
    pub fn time_left(&self) -> Option<Duration> {
        self.seconds_left.map(Duration::from_secs)
    }
}

/// The result of a download that was begun with `soon`: one of the two fields is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Begun {
    /// The id of the content.
    pub info_hash: InfoHash,
    /// The download.
    #[serde(default)]
    pub download: Option<Download>,
    /// Why it was not begun.
    #[serde(default)]
    pub error: Option<ApiError>,
}

/// Downloads that ended after a given end, for callers that wait for downloads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ends {
    /// The ended downloads.
    pub downloads: Vec<Download>,
    /// Sequence number of the last end: `after` of the next call.
    pub last: u64,
    /// Whether any download runs or waits in the queue.
    pub has_unfinished: bool,
    /// The first download of the session that has paused itself.
    pub stuck: Option<Download>,
    /// The end of the last session, if the session ended by itself.
    pub session_ended: Option<SessionEnded>,
}

/// The client's limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// Upload rate in bytes per second.
    pub upload: Option<Rate>,
    /// Download rate in bytes per second.
    pub download: Option<Rate>,
    /// Number of downloads that run at a time.
    pub downloads: Option<usize>,
    /// Unfinished downloads with their own rate limits.
    pub limited: Vec<Limited>,
}

/// A download with its own rate limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limited {
    /// The group's name as shown.
    pub group: Label,
    /// The group's id.
    pub group_id: GroupId,
    /// The file's name as shown.
    pub file: Label,
    /// The id of the content.
    pub info_hash: InfoHash,
    /// Bytes per second.
    pub limit: Rate,
}

/// The state of a tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TrackerState {
    /// Up and caught up.
    #[serde(rename = "up")]
    Up,
    /// Connected, but not caught up.
    #[serde(rename = "catching up")]
    CatchingUp,
    /// Not connected to the other trackers.
    #[serde(rename = "down")]
    Down,
    /// Away for longer than the retention time.
    #[serde(rename = "must resync")]
    MustResync,
}

/// The role of a tracker for this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrackerRole {
    /// Receives commands first.
    Primary,
    /// Connected, and next when the primary fails.
    Standby,
    /// Not connected to this client.
    Down,
}

/// One tracker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tracker {
    /// Line in the tracker file, from 1.
    pub number: u32,
    /// `host:port`.
    pub address: String,
    /// The state.
    pub state: TrackerState,
    /// The role.
    pub role: TrackerRole,
    /// Number of changes that it lacks and the primary has.
    pub lag: u64,
    /// Why this client cannot reach it or does not trust it.
    pub error: Option<String>,
}

/// All trackers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trackers {
    /// In the order of the file.
    pub trackers: Vec<Tracker>,
    /// Changes are currently not safe on every tracker.
    pub degraded: bool,
    /// Numbers of the trackers on which changes are safe.
    pub safe_on: Vec<u32>,
    /// The trusted network.
    pub network: Option<Fingerprint>,
}

/// The end of a session that ended by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionEnded {
    /// The session's user, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Label>,
    /// The user's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// The reason, for people.
    pub reason: String,
    /// The reason, for programs: `password_changed`, `disabled`, `key_replaced`, `expired`.
    pub code: String,
    /// Number of downloads that were running.
    #[serde(default)]
    pub unfinished: usize,
}
