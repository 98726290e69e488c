//! What happens by itself.

use serde::{Deserialize, Serialize};

use super::{Account, Download, SessionEnded, Snapshot};
use crate::types::{Fingerprint, GroupId, InfoHash, Label, RotationStage};

/// One event, and how many came before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// Grows with every update of a client; after a gap comes a snapshot.
    pub revision: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Something that happened. Fields are called what they are in `docs/JSON.md`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "fields are called what they are")]
pub enum Event {
    /// Everything: updates before it may be missing.
    Snapshot { snapshot: Box<Snapshot> },
    /// A download was begun, has moved, or is in another state.
    Download { download: Download },
    /// A download is no longer there.
    DownloadGone { group_id: GroupId, info_hash: InfoHash },
    /// A user has logged in.
    LoggedIn { account: Account },
    /// The user has logged out.
    LoggedOut,
    /// A download is complete, checked and under its name.
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
    /// The user was let into a group.
    Admitted { group: Label, group_id: GroupId },
    /// The user is no longer a member of a group.
    Removed { group: Label, group_id: GroupId },
    /// This device trusts another network than before.
    NetworkTrusted { network: Fingerprint, before: Option<Fingerprint>, unwritten: Option<String> },
    /// The operator replaces the network's key.
    NetworkKey { stage: RotationStage, old: Fingerprint, new: Fingerprint },
    /// The clocks of two trackers differ too much.
    ClocksDiffer { trackers: [String; 2], difference_ms: u64 },
    /// The session has ended by itself.
    SessionEnded(SessionEnded),
    /// Something that a later version tells.
    #[serde(other)]
    Unknown,
}

impl Event {
    /// Tells whether it says nothing but how far a download is.
    pub fn is_movement(&self) -> bool {
        matches!(self, Self::Download { .. } | Self::DownloadGone { .. })
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
