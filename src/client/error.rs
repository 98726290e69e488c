//! The errors of commands. Each message says what was wrong, and what to do.

use std::path::PathBuf;
use std::sync::Arc;

use crate::http::access::TokenError;
use crate::net::WrongNetwork;
use crate::trust::{IdentityError, KeyError};
use crate::types::{FileName, Fingerprint, Label, NameError, PatternError, RateError, Refusal};

/// Why a session ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionEnd {
    /// The password was changed on another device.
    #[error("the password was changed elsewhere")]
    PasswordChanged,
    /// The user has forgotten this device, from here or another one.
    #[error("this device was forgotten, from another one")]
    DeviceForgotten,
    /// The operator has disabled the account.
    #[error("the operator has disabled the account")]
    Disabled,
    /// The network's key that had signed the token is no longer valid, and no token of the current
    /// one came in time.
    #[error("the network's key was replaced meanwhile")]
    KeyReplaced,
    /// No tracker could be reached for so long that the token has expired.
    #[error("no tracker could be reached for too long")]
    Expired,
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The directory has refused; nothing was changed.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// Another file of that name is in the group, and this user may not replace it.
    #[error(
        "another file of that name is in the group; rename yours: only the member who shared that one first, or the owner of \
         the group ({owner}), may replace it"
    )]
    FileNameTaken {
        /// The owner's display name.
        owner: Label,
    },
    /// A tracker has acknowledged a share, but lists other facts than were sent.
    #[error(
        "the tracker lists {0} with other facts than were sent, so it is not offered; tell the operator of the trackers"
    )]
    ListedOtherwise(FileName),
    /// The device's key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No certificate can be made with the key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No tracker of the list can be reached.
    #[error(
        "no tracker can be reached; check tracker_info.txt and the network, the client keeps trying"
    )]
    NoTracker,
    /// The trackers that answer belong to another network than the trusted one.
    #[error("no tracker can be reached: what answers belongs to the network {found}, and not to {expected}, which this device trusts; {hint}",
        found = .0.found, expected = .0.expected, hint = accept_hint(.0))]
    WrongNetwork(WrongNetwork),
    /// An invitation is to a group of another network.
    #[error(
        "the invitation is to a group of the network {invited}, and this client belongs to {own}; \
         `client join --profile NAME` starts another one for it"
    )]
    OtherNetwork {
        /// The network of the invitation.
        invited: Fingerprint,
        /// This client's.
        own: Fingerprint,
    },
    /// The peer at a tracker's address does not prove to be a tracker.
    #[error(
        "no tracker can be reached: the peer at {address} does not prove to be a tracker ({why}); check tracker_info.txt"
    )]
    UntrustedTracker {
        /// `host:port` as configured.
        address: String,
        /// What was wrong with its proof.
        why: String,
    },
    /// Trackers are connected, but none gave a definite answer in time.
    #[error("no tracker answered in time; try again, `trackers` shows their state")]
    NoAnswer,
    /// No page is served.
    #[error("this client serves no page; start it with --page 127.0.0.1:8480, or with --service")]
    NoPage,
    /// The tokens of the HTTP API were not changed.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The session has ended by itself.
    #[error("the session has ended: {0}; log in again")]
    SessionEnded(SessionEnd),
    /// A user is logged in already.
    #[error("already logged in here as {0}; log out first")]
    AlreadyLoggedIn(Label),
    /// The session was begun, but this device does not stay logged in.
    #[error("logged in as {user}, but this device does not stay logged in: {why}")]
    CannotStay {
        /// The user who is logged in.
        user: Label,
        /// Why not.
        #[source]
        why: Box<ClientError>,
    },
    /// An invalid name, number or path.
    #[error("{0}")]
    BadArgument(String),
    /// A path that cannot be shared or written.
    #[error("{}: {why}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// No download of that name is known here.
    #[error("no such download: {file} in {group}; show_downloads lists them")]
    NoSuchDownload {
        /// Group as typed.
        group: String,
        /// File as typed.
        file: String,
    },
    /// The file is neither shared here nor being downloaded.
    #[error(
        "{file} in {group} is neither shared nor being downloaded here; download_file brings it"
    )]
    NotHere {
        /// Group as typed.
        group: String,
        /// File as typed.
        file: String,
    },
    /// As many callers as may read the file.
    #[error("too many are reading files already, or this one; end one of them")]
    Crowded,
    /// The download's state does not allow the command.
    #[error("{0}")]
    DownloadState(String),
    /// A download ended without its file.
    #[error("{0}")]
    DownloadFailed(String),
    /// The timeout has passed; the work goes on.
    #[error("time ran out; it goes on in the background")]
    TimedOut,
    /// Trackers are down that should be up, or changes are not on all of them.
    #[error("{0}")]
    Degraded(String),
    /// A script ended before its downloads.
    #[error("{0}")]
    Abandoned(String),
    /// The user interrupted the command.
    #[error("interrupted")]
    Interrupted,
    /// The client's data directory cannot be used.
    #[error("{0}")]
    Store(Arc<crate::store::StoreError>),
    /// The client could not start, or the system lacks a resource.
    #[error("{what}: {source}")]
    System {
        /// What was tried, and what to do.
        what: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The tracker's answer does not fit the request.
    #[error("the tracker's answer does not fit the question; update the older of the two programs")]
    BadAnswer,
    /// The client is stopping.
    #[error("the client is stopping")]
    Stopping,
}

impl ClientError {
    /// Wraps the system's error with what was tried.
    pub(crate) fn system(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::System { what: what.into(), source }
    }

    /// An error about a path.
    pub(crate) fn path(path: impl Into<PathBuf>, why: impl Into<String>) -> Self {
        Self::Path { path: path.into(), why: why.into() }
    }
}

impl From<crate::store::StoreError> for ClientError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<NameError> for ClientError {
    fn from(error: NameError) -> Self {
        Self::BadArgument(error.to_string())
    }
}

impl From<PatternError> for ClientError {
    fn from(error: PatternError) -> Self {
        Self::BadArgument(error.to_string())
    }
}

impl From<RateError> for ClientError {
    fn from(error: RateError) -> Self {
        Self::BadArgument(error.to_string())
    }
}

/// Advice on how to trust another network than the current one.
pub(super) fn accept_hint(WrongNetwork { found, .. }: &WrongNetwork) -> String {
    format!(
        "if the network's key was replaced while this device was away, ask the operator for the new one; if it is this one, put \
         the line `network {found}` into tracker_info.txt, or start with --network {found}"
    )
}
