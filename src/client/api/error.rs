//! What goes wrong, as a code for programs and a sentence for people.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::{NameError, PatternError, RateError};

/// The kind of an error, as `docs/JSON.md` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// The directory will not.
    Refused,
    /// No tracker can be reached.
    NoTracker,
    /// The trackers' clocks differ too much.
    WrongTime,
    /// Others were changing the same thing all the time.
    Overtaken,
    /// The account holds as much as it may.
    Quota,
    /// The network holds as much as it may.
    NetworkFull,
    /// The operator lets the account log in no more.
    Disabled,
    /// The operator has set the password.
    MustChangePassword,
    /// The network takes no new accounts.
    AccountsClosed,
    /// Only the first sharer or the owner of the group may.
    NotSharer,
    /// Who is asked is older than the caller and does not know the command.
    Unsupported,
    /// The trackers that answer belong to another network.
    WrongNetwork,
    /// What answers does not prove to be a tracker.
    UntrustedTracker,
    /// Trackers are connected, none answered in time.
    NoAnswer,
    /// The session has ended by itself.
    SessionRefused,
    /// A session exists.
    AlreadyLoggedIn,
    /// Words, numbers or names that cannot be meant.
    BadArgument,
    /// A path that cannot be shared or written.
    Path,
    /// No download of that name is known.
    NoSuchDownload,
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
    /// The client that was attached to has ended.
    ClientGone,
    /// Anything else, also what a later version knows.
    #[serde(other)]
    Failed,
}

/// Why a command was not carried out. The message reads "what was wrong, and what to do".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Its kind.
    pub code: ErrorCode,
    /// The sentence that people see.
    pub message: String,
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As serde writes it, so that the two cannot differ.
        self.serialize(f)
    }
}

impl ApiError {
    /// Puts an error together.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Words, numbers or names that cannot be meant.
    pub fn bad_argument(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadArgument, message)
    }

    /// The caller ended the command.
    pub fn interrupted() -> Self {
        Self::new(ErrorCode::Interrupted, "interrupted")
    }

    /// A path that cannot be used, and why.
    pub fn path(path: &std::path::Path, why: impl fmt::Display) -> Self {
        Self::new(ErrorCode::Path, format!("{}: {why}", path.display()))
    }

    /// The system's error, with what was tried.
    pub fn system(what: impl fmt::Display, source: &std::io::Error) -> Self {
        Self::new(ErrorCode::Failed, format!("{what}: {source}"))
    }

    /// A reply that does not belong to the command.
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
