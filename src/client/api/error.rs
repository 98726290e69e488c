//! Errors: a code for programs and a message for people.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::{NameError, PatternError, RateError};

/// The kind of an error, as `docs/JSON.md` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// The directory refused the request.
    Refused,
    /// No tracker can be reached.
    NoTracker,
    /// The trackers' clocks differ too much.
    WrongTime,
    /// Concurrent changes of the same thing came first, again and again.
    Overtaken,
    /// The account holds as much as it may.
    Quota,
    /// The network holds as much as it may.
    NetworkFull,
    /// The operator has disabled the account.
    Disabled,
    /// The operator has set the password.
    MustChangePassword,
    /// The network accepts no new accounts.
    AccountsClosed,
    /// An invitation does not let the user in: expired, revoked, used up, void, too old or unknown.
    Invitation,
    /// Only the first sharer or the owner of the group may.
    NotSharer,
    /// The tracker or client is older than the caller and does not know the command.
    Unsupported,
    /// The trackers that answer belong to another network.
    WrongNetwork,
    /// The peer at a tracker's address does not prove to be a tracker.
    UntrustedTracker,
    /// Trackers are connected, but none answered in time.
    NoAnswer,
    /// The session has ended by itself.
    SessionRefused,
    /// The session was begun, but this device does not stay logged in.
    CannotStay,
    /// A session exists.
    AlreadyLoggedIn,
    /// Invalid words, numbers or names.
    BadArgument,
    /// A path that cannot be shared or written.
    Path,
    /// There is no download of that name.
    NoSuchDownload,
    /// The file is neither shared nor being downloaded here.
    NotHere,
    /// As many callers as may read the file.
    Crowded,
    /// The download cannot do that now.
    DownloadState,
    /// A download failed or paused itself.
    DownloadFailed,
    /// Time ran out.
    TimedOut,
    /// A script ended before its downloads.
    Abandoned,
    /// A tracker that should be up is not.
    Degraded,
    /// The caller ended the command.
    Interrupted,
    /// The token may not do that, or the path is in no directory that the page may use.
    NotAllowed,
    /// The request shows no valid token.
    NoToken,
    /// The client to which this program was attached has ended.
    ClientGone,
    /// Any other error, including those of later versions.
    #[serde(other)]
    Failed,
}

/// An error of a command. The message says what was wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Its kind.
    pub code: ErrorCode,
    /// The sentence that people see.
    pub message: String,
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The same text as in JSON.
        self.serialize(f)
    }
}

impl ApiError {
    /// Makes an error.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Makes an error about invalid words, numbers or names.
    pub fn bad_argument(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadArgument, message)
    }

    /// Makes the error of an interrupted command.
    pub fn interrupted() -> Self {
        Self::new(ErrorCode::Interrupted, "interrupted")
    }

    /// Makes an error about a path.
    pub fn path(path: &std::path::Path, why: impl fmt::Display) -> Self {
        Self::new(ErrorCode::Path, format!("{}: {why}", path.display()))
    }

    /// Makes an error from one of the system's; `what` names the attempt.
    pub fn system(what: impl fmt::Display, source: &std::io::Error) -> Self {
        Self::new(ErrorCode::Failed, format!("{what}: {source}"))
    }

    /// Makes the error for a reply that does not belong to the command.
    pub fn bad_reply() -> Self {
        let text = "the client's answer does not fit the command; update the older of the two";
        Self::new(ErrorCode::Failed, text)
    }
}

impl From<NameError> for ApiError {
    fn from(error: NameError) -> Self {
        Self::bad_argument(error.to_string())
    }
}

impl From<PatternError> for ApiError {
    fn from(error: PatternError) -> Self {
        Self::bad_argument(error.to_string())
    }
}

impl From<RateError> for ApiError {
    fn from(error: RateError) -> Self {
        Self::bad_argument(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_documentation() {
        assert_eq!(ErrorCode::NoSuchDownload.to_string(), "no_such_download");
        let documented = include_str!("../../../docs/JSON.md");
        for code in ["refused", "wrong_network", "client_gone", "bad_argument", "failed"] {
            let read: ErrorCode = serde_json::from_str(&format!("\"{code}\"")).unwrap();
            assert_eq!(read.to_string(), code);
            assert!(documented.contains(&format!("| `{code}`")), "{code} is not documented");
        }
        let later: ErrorCode = serde_json::from_str("\"of_a_later_version\"").unwrap();
        assert_eq!(later, ErrorCode::Failed);
    }
}
