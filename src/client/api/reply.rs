//! What commands bring.
//!
//! A path here is for people to read: what is not UTF-8 in it is replaced.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ApiError;
use crate::types::{
    DeviceId, FileId, Fingerprint, GroupId, InfoHash, Label, Part, Rate, Sha1Digest, UserId,
};

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", content = "value", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reply {
    /// It was carried out.
    Done,
    /// Whether it is so.
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
    /// A file that is shared now.
    Shared(Shared),
    /// What is offered.
    Uploads(Page<Upload>),
    /// One download.
    Download(Download),
    /// Downloads.
    Downloads(Page<Download>),
    /// Downloads that ended.
    Ends(Ends),
    /// Sentences.
    Lines(Vec<String>),
    /// The limits.
    Limits(Limits),
    /// The trackers.
    Trackers(Trackers),
}

/// Gives a reply of the kind that a command brings, or says that it does not fit.
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
    ends: Ends(Ends),
    lines: Lines(Vec<String>),
    limits: Limits(Limits),
    trackers: Trackers(Trackers),
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// Whether others follow.
    pub more: bool,
    /// Where the next page begins, if there is one: a text that means nothing to the reader.
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The name as shown.
    pub user: Label,
    /// The id.
    pub user_id: UserId,
    /// The operator has set the password: trackers refuse everything else until it is changed.
    pub must_change_password: bool,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The name as shown.
    pub group: Label,
    /// The id.
    pub group_id: GroupId,
    /// What the user is to it.
    pub part: Part,
    /// Number of members.
    pub members: u32,
    /// The owner's name as shown.
    pub owner: Label,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The name as shown.
    pub user: Label,
    /// The id.
    pub user_id: UserId,
    /// What they are to the group.
    pub part: Part,
    /// Whether a device of theirs is connected.
    pub online: bool,
    /// Since when they are in.
    pub since_ms: u64,
}

/// A request to join a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The name as shown.
    pub user: Label,
    /// The id.
    pub user_id: UserId,
    /// Since when they wait.
    pub since_ms: u64,
}

/// A file of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Some of those who share it.
    pub sharers: Vec<Label>,
    /// How many share it.
    pub sharer_count: u32,
    /// How many devices that have it whole are connected.
    pub online: u32,
    /// Since when it is there.
    pub since_ms: u64,
}

/// A file that is shared now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// When the version was shared whose place it took, if it took one.
    pub replaces_ms: Option<u64>,
}

/// What this device offers of one file in one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// The group's name as shown.
    pub group: Label,
    /// The group's id.
    pub group_id: GroupId,
    /// The file's name as shown.
    pub file: Label,
    /// The id of the content.
    pub info_hash: InfoHash,
    /// Where it is, or will be.
    pub path: String,
    /// Bytes that are here, of a download that is under way.
    pub bytes_here: Option<u64>,
    /// Links to other members for it.
    pub peers: u32,
    /// Bytes sent since login.
    pub bytes_sent: u64,
    /// The same by device.
    pub to: Vec<Device>,
}

/// A device that something was sent to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The id.
    pub device: DeviceId,
    /// Bytes sent since login.
    pub bytes_sent: u64,
}

/// Where a download is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DownloadState {
    /// It goes on, or waits for members who have what is missing.
    Running,
    /// It goes on when others have ended.
    Queued,
    /// Paused by the user, or for a reason.
    Paused,
    /// It cannot go on as it is.
    Failed,
    /// The file is there.
    Complete,
}

/// Where a download stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Download {
    /// The group's name as shown.
    pub group: Label,
    /// The group's id.
    pub group_id: GroupId,
    /// The file's name as shown.
    pub file: Label,
    /// The id of the content; a client has one download of a content at most.
    pub info_hash: InfoHash,
    /// Where it is in its life.
    pub state: DownloadState,
    /// Why it is paused or failed, if there is a reason.
    pub reason: Option<String>,
    /// The file to be made, or made.
    pub path: String,
    /// Length in bytes.
    pub size: u64,
    /// Bytes verified and written.
    pub bytes_done: u64,
    /// Bytes received a second lately.
    pub bytes_per_second: u64,
    /// Links to other members for it.
    pub peers: u32,
    /// Time left at the present rate, up to a day.
    pub seconds_left: Option<u64>,
    /// Its place among those that wait, from 1.
    pub place: Option<usize>,
    /// Its own limit.
    pub limit: Option<Rate>,
    /// The number of its end among all of this client, if it has ended in this session.
    #[serde(default)]
    pub ended: Option<u64>,
}

impl Download {
    /// Share of the file that is here, from 0 to 1.
    pub fn fraction(&self) -> f64 {
        if self.size == 0 {
            f64::from(u8::from(self.state == DownloadState::Complete))
        } else {
            self.bytes_done as f64 / self.size as f64
        }
    }

    /// Tells whether it runs or waits.
    pub fn is_unfinished(&self) -> bool {
        matches!(self.state, DownloadState::Running | DownloadState::Queued)
    }

    /// Time left at the present rate, up to a day.
    pub fn time_left(&self) -> Option<Duration> {
        self.seconds_left.map(Duration::from_secs)
    }
}

/// Downloads that ended behind some end, and what else a waiting reader wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// Those that ended.
    pub downloads: Vec<Download>,
    /// The number of the last end; the next question asks behind it.
    pub last: u64,
    /// Whether any download runs or waits.
    pub has_unfinished: bool,
    /// The first download of the session that has paused itself.
    pub stuck: Option<Download>,
    /// The session has ended by itself and nobody has logged in since.
    pub session_ended: Option<super::SessionEnded>,
}

/// What the client keeps to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes sent a second.
    pub upload: Option<Rate>,
    /// Bytes fetched a second.
    pub download: Option<Rate>,
    /// Downloads that run at a time.
    pub downloads: Option<usize>,
    /// Unfinished downloads with limits of their own.
    pub limited: Vec<Limited>,
}

/// A download with a limit of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limited {
    /// The group's name as shown.
    pub group: Label,
    /// The group's id.
    pub group_id: GroupId,
    /// The file's name as shown.
    pub file: Label,
    /// The id of the content.
    pub info_hash: InfoHash,
    /// Bytes a second.
    pub limit: Rate,
}

/// How a tracker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TrackerState {
    /// As it should be.
    #[serde(rename = "up")]
    Up,
    /// It has not got everything yet.
    #[serde(rename = "catching up")]
    CatchingUp,
    /// Not there.
    #[serde(rename = "down")]
    Down,
    /// It was away for too long and must start anew.
    #[serde(rename = "must resync")]
    MustResync,
}

/// What a tracker is to this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackerRole {
    /// Commands go there first.
    Primary,
    /// Connected, and next when the primary fails.
    Standby,
    /// Not connected to this client.
    Down,
}

/// One tracker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracker {
    /// Its line in the file, from 1.
    pub number: u32,
    /// `host:port`.
    pub address: String,
    /// How it is.
    pub state: TrackerState,
    /// What it is to this client.
    pub role: TrackerRole,
    /// Changes that the primary knows and it does not.
    pub lag: u64,
    /// Why this client does not reach it, or does not trust it.
    pub error: Option<String>,
}

/// All trackers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trackers {
    /// In the order of the file.
    pub trackers: Vec<Tracker>,
    /// Changes are at present not safe on every one.
    pub degraded: bool,
    /// The numbers of those on which they are.
    pub safe_on: Vec<u32>,
    /// The network that is trusted.
    pub network: Option<Fingerprint>,
}
