//! Events of a client.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Account, Download, SessionEnded, Snapshot, Traffic};
use crate::types::{Fingerprint, GroupId, InfoHash, Label, RotationStage, UserId};

/// An event with its revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Update {
    /// Grows with every update of a client. A snapshot follows a gap.
    pub revision: u64,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

/// An event. `docs/JSON.md` describes the fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "docs/JSON.md describes the fields")]
pub enum Event {
    /// The whole state. Updates before it may be missing.
    Snapshot { snapshot: Box<Snapshot> },
    /// A download was begun, made progress, or changed its state.
    Download { download: Download },
    /// A download was removed.
    DownloadGone { group_id: GroupId, info_hash: InfoHash },
    /// What all downloads and shares move has changed.
    Traffic { traffic: Traffic },
    /// A user has logged in.
    LoggedIn {
        account: Account,
        /// This device stays logged in, and has logged in by its key.
        #[serde(default)]
        by_key: bool,
    },
    /// The user has logged out.
    LoggedOut,
    /// A download is complete, verified and renamed.
    DownloadComplete {
        group: Label,
        group_id: GroupId,
        file: Label,
        info_hash: InfoHash,
        path: String,
    },
    /// A download cannot go on.
    DownloadFailed {
        group: Label,
        group_id: GroupId,
        file: Label,
        info_hash: InfoHash,
        reason: String,
    },
    /// A download has paused itself.
    DownloadPaused {
        group: Label,
        group_id: GroupId,
        file: Label,
        info_hash: InfoHash,
        reason: String,
    },
    /// A share of this device is not offered.
    ShareNotOffered {
        group: Label,
        group_id: GroupId,
        file: Label,
        info_hash: InfoHash,
        path: String,
        reason: String,
    },
    /// Members say that what this device sends of a file is wrong.
    BadDataReported {
        group: Label,
        group_id: GroupId,
        file: Label,
        info_hash: InfoHash,
        path: String,
        members: u32,
    },
    /// Members cannot connect to this device.
    Unreachable { address: SocketAddr, members: u32 },
    /// This device does not log in by its key any more.
    StayingEnded { user: Label, user_id: UserId, reason: String },
    /// A user requests to join a group of this user's.
    JoinRequested { group: Label, group_id: GroupId, user: Label, user_id: UserId },
    /// A user has joined a group of this user's by an invitation, or by one that this user made.
    MemberJoined {
        group: Label,
        group_id: GroupId,
        user: Label,
        user_id: UserId,
        invited_by: Label,
    },
    /// The user's request to join a group was rejected.
    JoinRejected { group: Label, group_id: GroupId },
    /// The user was admitted to a group.
    Admitted { group: Label, group_id: GroupId },
    /// The user is no longer a member of a group.
    Removed { group: Label, group_id: GroupId },
    /// The files or the members of a group of the user have changed. Several trackers may tell it.
    GroupChanged { group_id: GroupId, files: bool, members: bool },
    /// This device trusts another network than before.
    NetworkTrusted { network: Fingerprint, before: Option<Fingerprint>, unwritten: Option<String> },
    /// The operator replaces the network's key.
    NetworkKey { stage: RotationStage, old: Fingerprint, new: Fingerprint },
    /// The clocks of two trackers differ too much.
    ClocksDiffer { trackers: [String; 2], difference_ms: u64 },
    /// The session has ended by itself.
    SessionEnded(SessionEnded),
    /// An event of a later version.
    #[serde(other)]
    Unknown,
}

impl Event {
    /// Tells whether the event is kept for the first subscriber.
    pub(crate) fn is_kept(&self) -> bool {
        !self.is_movement() && !matches!(self, Self::GroupChanged { .. })
    }

    /// Tells whether the event is about progress and rates only.
    pub fn is_movement(&self) -> bool {
        matches!(self, Self::Download { .. } | Self::DownloadGone { .. } | Self::Traffic { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_a_later_version_is_passed_over() {
        let text = r#"{"revision":7,"event":"of_tomorrow","group":"lab"}"#;
        let update: Update = serde_json::from_str(text).unwrap();
        assert_eq!(update, Update { revision: 7, event: Event::Unknown });
        let text = r#"{"revision":8,"event":"session_ended","reason":"r","code":"c"}"#;
        let update: Update = serde_json::from_str(text).unwrap();
        assert!(matches!(update.event, Event::SessionEnded(_)));
        let again = serde_json::to_value(&update).unwrap();
        assert_eq!(
            (again["event"].as_str(), &again["revision"]),
            (Some("session_ended"), &8.into())
        );
    }
}
