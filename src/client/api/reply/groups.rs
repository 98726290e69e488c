//! Groups, their members, files and invitations.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::{FileId, GroupId, InfoHash, InvitationId, Label, Part, Sha1Digest, UserId};

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
