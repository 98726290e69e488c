//! The account, its devices, and what was made for it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::access::TokenEntry;
use crate::types::{DeviceId, Label, UserId};

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
