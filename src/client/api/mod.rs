//! The interface of a client: commands, replies, events and the snapshot, as serde types.
//!
//! The prompt, scripts, `--json`, the control socket and every other front end use a client through
//! [`Api`] only. Field names are those of `docs/JSON.md`. Ids stand beside labels, because labels
//! change.
//!
//! **Invariant:** fields, events and commands are only added. A reader skips unknown fields and
//! events, and a field that was added later has a default. [`VERSION`] grows if a change breaks this
//! rule.
//!
//! [`Api::call`] and [`Content::read_at`] block their caller; nothing else here does.

mod command;
mod content;
mod error;
mod event;
mod peers;
mod progress;
mod reply;
#[cfg(test)]
pub(crate) mod samples;
mod snapshot;

use crossbeam_channel::Receiver;

use crate::net::Stop;

pub use crate::http::access::{Rights, TokenEntry};
pub use command::{Command, LinkText, Listing};
pub use content::Content;
pub use error::{ApiError, ErrorCode};
pub use event::{Event, Update};
pub use peers::{Direction, Peer, Peers, Pieces, Traffic};
pub use progress::{Progress, Work};
pub use reply::{
    Account, Addresses, Begun, Device, Download, DownloadState, Ends, File, FoundDevice, Group,
    GroupSettings, Invite, Joined, Lan, Limited, Limits, Link, Member, NewInvite, NewToken,
    Notification, ObservedAddress, OfferedAddress, Page, QrImage, ReachedAddress, Reply, Request,
    RouterMapping, SessionEnded, Shared, Tracker, TrackerRole, TrackerState, Trackers, Unreachable,
    Upload, UserDevice,
};
pub use snapshot::Snapshot;

/// The version of these types. Two programs of different versions cannot talk to each other.
pub const VERSION: u32 = 1;

/// Receives the progress of a command; returns false to interrupt the command.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress) -> bool;

/// A client, in this process or behind a control socket.
pub trait Api: Send + Sync {
    /// Carries out a command. Setting `stop` ends this call with [`ErrorCode::Interrupted`], and no
    /// other call. The change may be carried out all the same.
    ///
    /// # Errors
    /// The client's error, as a code and as a message.
    ///
    /// # Blocking
    /// As long as the command takes, 35 s at most where trackers are asked.
    fn call(
        &self,
        command: Command,
        stop: &Stop,
        progress: OnProgress<'_>,
    ) -> Result<Reply, ApiError>;

    /// Returns the client's state.
    ///
    /// # Errors
    /// [`ErrorCode::ClientGone`] if the client has ended.
    fn snapshot(&self) -> Result<Snapshot, ApiError>;

    /// Returns a channel of all updates from now on, in order. With `moving` it includes the
    /// progress of downloads, several times a second. A slow reader loses updates, and gets a
    /// snapshot after the gap. The channel is disconnected when the client ends.
    ///
    /// # Errors
    /// [`ErrorCode::ClientGone`] if the client has ended.
    fn subscribe(&self, moving: bool) -> Result<Receiver<Update>, ApiError>;

    /// Opens a file that the client shares or downloads, by the names of its group and itself.
    ///
    /// # Errors
    /// [`ErrorCode::NotHere`] if the file has to be downloaded first, [`ErrorCode::DownloadState`]
    /// for a failed download, [`ErrorCode::Crowded`]; [`ErrorCode::Unsupported`] for a client
    /// behind a control socket, whose server has a route for it.
    fn open(&self, group: &str, file: &str) -> Result<Box<dyn Content>, ApiError>;
}

/// Carries out a command without progress and without a way to interrupt it.
///
/// # Errors
/// Those of [`Api::call`].
pub fn call(api: &dyn Api, command: Command) -> Result<Reply, ApiError> {
    api.call(command, &Stop::new(), &mut |_| true)
}
