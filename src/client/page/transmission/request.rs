//! What callers send.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::client::api::ApiError;

/// The arguments of a method.
pub(super) type Arguments = Map<String, Value>;

/// A request.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "TransmissionRequest")]
pub(in crate::client::page) struct Asked {
    /// The name of the method.
    pub(super) method: String,
    /// Its arguments, which docs/TRANSMISSION.md lists.
    #[serde(default)]
    pub(super) arguments: Arguments,
    /// Comes back with the response.
    #[serde(default)]
    pub(super) tag: Option<i64>,
}

/// Reads the arguments of a method.
///
/// # Errors
/// [`ErrorCode::BadArgument`](crate::client::api::ErrorCode::BadArgument).
pub(super) fn read<T: DeserializeOwned>(arguments: &Arguments) -> Result<T, ApiError> {
    serde_json::from_value(Value::Object(arguments.clone()))
        .map_err(|error| ApiError::bad_argument(format!("an argument is not valid: {error}")))
}

/// A torrent, by its number or by its info hash in hexadecimal digits.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Id {
    Number(i64),
    Text(String),
}

/// The torrents of a request.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Ids {
    One(Id),
    Many(Vec<Id>),
}

impl Ids {
    /// Those that have changed lately are meant.
    pub(super) fn is_recent(&self) -> bool {
        matches!(self, Self::One(Id::Text(text)) if text == "recently-active")
    }

    pub(super) fn all(&self) -> &[Id] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }

    /// Tells whether a torrent is among them.
    pub(super) fn name(&self, id: i64, hash: &str) -> bool {
        self.all().iter().any(|one| one.names(id, hash))
    }
}

impl Id {
    pub(super) fn names(&self, id: i64, hash: &str) -> bool {
        match self {
            Self::Number(number) => *number == id,
            Self::Text(text) => text.eq_ignore_ascii_case(hash),
        }
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// `torrent-get`.
#[derive(Debug, Deserialize)]
pub(super) struct GetTorrents {
    pub(super) ids: Option<Ids>,
    #[serde(default)]
    pub(super) fields: Vec<String>,
    pub(super) format: Option<String>,
}

/// `torrent-start`, `torrent-stop` and others.
#[derive(Debug, Deserialize)]
pub(super) struct Chosen {
    pub(super) ids: Option<Ids>,
}

/// `torrent-add`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct AddTorrent {
    pub(super) filename: Option<String>,
    pub(super) metainfo: Option<String>,
    pub(super) download_dir: Option<String>,
    pub(super) paused: Option<bool>,
}

/// `torrent-remove`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RemoveTorrents {
    pub(super) ids: Option<Ids>,
    #[serde(default)]
    pub(super) delete_local_data: bool,
}

/// `torrent-set`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SetTorrents {
    pub(super) ids: Option<Ids>,
    /// In kB/s.
    pub(super) download_limit: Option<u64>,
    pub(super) download_limited: Option<bool>,
}

/// `session-get`.
#[derive(Debug, Deserialize)]
pub(super) struct GetSession {
    pub(super) fields: Option<Vec<String>>,
}

/// `session-set`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct SetSession {
    /// In kB/s.
    pub(super) speed_limit_down: Option<u64>,
    pub(super) speed_limit_down_enabled: Option<bool>,
    /// In kB/s.
    pub(super) speed_limit_up: Option<u64>,
    pub(super) speed_limit_up_enabled: Option<bool>,
    pub(super) download_queue_size: Option<usize>,
    pub(super) download_queue_enabled: Option<bool>,
    pub(super) download_dir: Option<String>,
    pub(super) start_added_torrents: Option<bool>,
}

/// `free-space`.
#[derive(Debug, Deserialize)]
pub(super) struct AskFreeSpace {
    pub(super) path: String,
}
