//! The results of commands.
//!
//! Paths are for display: bytes that are not UTF-8 are replaced.

mod account;
mod addresses;
mod groups;
mod trackers;
mod transfers;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::account::{Account, Link, NewToken, Notification, SessionEnded, UserDevice};
pub use self::addresses::{
    Addresses, FoundDevice, Lan, ObservedAddress, OfferedAddress, ReachedAddress, RouterMapping,
};
pub use self::groups::{
    File, Group, GroupSettings, Invite, Joined, Member, NewInvite, QrImage, Request,
};
pub use self::trackers::{Tracker, TrackerRole, TrackerState, Trackers};
pub use self::transfers::{
    Begun, Device, Download, DownloadState, Ends, Limited, Limits, Shared, Unreachable, Upload,
};
use super::{ApiError, Peers, Pieces};
use crate::http::access::TokenEntry;

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
    /// The device's addresses.
    Addresses(Addresses),
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
    addresses: Addresses(Addresses),
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
