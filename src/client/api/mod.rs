//! The one interface of a client: commands, replies, events and the snapshot, as types that are
//! also JSON.
//!
//! The prompt, scripts, `--json`, the control socket and every other front end use a client through
//! [`Api`] and see nothing else of it. Names of fields are those of `docs/JSON.md`; ids stand beside
//! the names that are shown, since those may change.
//!
//! **Invariant:** the types are only ever added to: a reader passes over fields and events that it
//! does not know, and a field that was added later has a default. [`VERSION`] grows if that rule is
//! ever broken.
//!
//! [`Api::call`] blocks its caller; nothing else here does.

mod command;
mod error;
mod event;
mod progress;
mod reply;
mod snapshot;

use crossbeam_channel::Receiver;

use crate::net::Stop;

pub use command::{Command, Listing};
pub use error::{ApiError, ErrorCode};
pub use event::{Event, Update};
pub use progress::{Progress, Work};
pub use reply::{
    Account, Device, Download, DownloadState, Ends, File, Group, Limited, Limits, Member, Page,
    Reply, Request, Shared, Tracker, TrackerRole, TrackerState, Trackers, Upload,
};
pub use snapshot::{SessionEnded, Snapshot};

/// The version of these types: another one cannot be spoken to.
pub const VERSION: u32 = 1;

/// Is told how far a command is; returns false to end it.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress) -> bool;

/// A client, in this process or behind a control socket.
pub trait Api: Send + Sync {
    /// Carries out a command. `stop` ends it with [`ErrorCode::Interrupted`], and nothing else that
    /// is under way; what it asked for may be carried out all the same.
    ///
    /// # Errors
    /// What the client says, in words for people and as a code.
    ///
    /// # Blocking
    /// As long as the command takes, 35 s at most where trackers are asked.
    fn call(
        &self,
        command: Command,
        stop: &Stop,
        progress: OnProgress<'_>,
    ) -> Result<Reply, ApiError>;

    /// Everything at one moment.
    ///
    /// # Errors
    /// [`ErrorCode::ClientGone`] if the client has ended.
    fn snapshot(&self) -> Result<Snapshot, ApiError>;

    /// Returns a channel on which everything that happens arrives from now on, in order; with
    /// `moving` also how far downloads are, several times a second. A reader that does not keep up
    /// loses updates, and gets a snapshot behind the gap. The channel is disconnected when the
    /// client ends.
    ///
    /// # Errors
    /// [`ErrorCode::ClientGone`] if the client has ended.
    fn subscribe(&self, moving: bool) -> Result<Receiver<Update>, ApiError>;
}

/// Carries out a command that reports no progress and that nothing ends early.
///
/// # Errors
/// Those of [`Api::call`].
pub fn call(api: &dyn Api, command: Command) -> Result<Reply, ApiError> {
    api.call(command, &Stop::new(), &mut |_| true)
}
