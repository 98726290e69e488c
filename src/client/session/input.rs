//! The inputs and effects of a session: plain values.
//!
//! **Invariant:** every [`ReplyTo`] that goes in with an input comes out once, with its answer.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::news::{KeyChange, News};
use crate::client::error::{ClientError, SessionEnd};
use crate::client::event::ClientEvent;
use crate::client::lan::Found;
use crate::store::{DownloadRow, QueuedRow, ShareRow, StoreError, Write};
pub(crate) use crate::swarm::TransferId;
use crate::swarm::{DownloadSpec, Pulse, SeedSpec};
use crate::trust::NetworkPublicKey;
use crate::types::{
    Candidate, ChainingValues, DeviceId, DownloadState, FileFacts, FileId, FileStamp, Fingerprint,
    GroupId, InfoHash, InodeId, Label, PublicKey, Rate, Ticket, UserEntry, UserId, VerifiedPieces,
};
use crate::wire::metainfo::Metainfo;

/// Identifies the caller that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ReplyTo(pub(crate) u64);

/// The time of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    /// Monotonic; counts while the machine sleeps.
    pub(crate) up: Duration,
    /// The trackers' clock, in milliseconds since the Unix epoch.
    pub(crate) clock_ms: u64,
}

/// An event for the session.
#[derive(Debug)]
pub(crate) enum Input {
    /// A caller asks for something.
    Command(ReplyTo, Command),
    /// A notification from a tracker.
    News(News),
    /// The engine reports on a download.
    Engine(TransferId, InfoHash, EngineNews),
    /// A shared file has changed, or is gone.
    FileChanged {
        /// The content that it had.
        info_hash: InfoHash,
        path: PathBuf,
        is_gone: bool,
    },
    /// A command wants to know which shared files are there.
    LookAtShares,
    /// A link needs our ticket for a group.
    WantTicket(ReplyTo, GroupId),
    /// The result of an [`Ask`].
    Asked(Asked),
    /// The result of a [`Job`].
    Done(Done),
    /// The engine was told to halt a download. False: it is finishing the file, or has completed
    /// it.
    Halted(TransferId, InfoHash, bool),
    /// The network's keys have changed; the list holds the valid ones.
    KeysChanged(KeyChange, Vec<NetworkPublicKey>),
    /// The network's trackers.
    Trackers(Fingerprint, Vec<String>),
    /// These devices announce themselves on this machine's networks, and no others do.
    Found(Found),
    /// The progress of downloads that run.
    Pulses(Vec<(InfoHash, TransferId, Pulse)>),
    /// The result of an [`Effect::Store`].
    Stored(u64, Result<(), Arc<StoreError>>),
    /// Time has passed.
    Tick,
}

/// A report of the engine on a download.
#[derive(Debug, Clone)]
pub(crate) enum EngineNews {
    /// The `.part` file was opened. The reply leaves when the store has answered.
    Opened(ReplyTo, InodeId),
    /// These pieces are durable on the disk.
    Journal(VerifiedPieces),
    /// The metainfo has arrived. The reply leaves when the store has answered.
    Metainfo(ReplyTo, Arc<Metainfo>),
    /// The chaining values have arrived.
    Chain(Arc<ChainingValues>),
    /// The file is complete, under its final name.
    Completed(SeedSpec),
    /// The download has failed, with the reason.
    Failed(String),
    /// The engine has paused the download, with the reason.
    Paused(String),
}

/// A request to the session.
#[derive(Debug)]
pub(crate) enum Command {
    /// A login begins: a second one is refused.
    Reserve,
    /// The login has failed.
    Release,
    /// The trackers have accepted the login. The answer leaves when the file systems have answered,
    /// or after [`DISK_TIMEOUT`](super::DISK_TIMEOUT).
    Enter(Box<Entry>),
    /// Ends the session: by the user (`None`), or for a reason.
    Leave(Option<SessionEnd>),
    /// Reserves a content and a target path for a download that is about to begin.
    Claim(Box<DownloadRow>),
    /// Gives up a reservation.
    Unclaim(InfoHash),
    /// Begins the reserved download.
    Begin(Box<Begin>),
    /// The target file exists and matches the content: it counts as downloaded.
    Adopt(Box<DownloadRow>, Box<SeedSpec>, StaleShares),
    /// Pauses a download until it is resumed.
    Pause(InfoHash),
    /// Resumes a paused or failed download.
    Resume(InfoHash),
    /// Cancels a download.
    Cancel(InfoHash),
    /// The engine has halted a download that is to be cancelled.
    FinishCancel(InfoHash),
    /// Moves a download to the front of the queue.
    Prioritize(InfoHash),
    /// Sets or removes the rate limit of one download.
    Limit(InfoHash, Option<Rate>),
    /// Sets how many downloads run at a time; 0 for any number.
    DownloadsMax(usize),
    /// Writes a share to the store, before the directory is asked.
    PutShare(Box<ShareRow>),
    /// The directory has accepted a share.
    ShareTaken(Box<ShareRow>),
    /// The directory has not: the share from before is restored. Without one, it is removed if the
    /// directory has refused, and stopped if the directory has not answered.
    ShareNotTaken {
        /// The row that was written.
        row: Box<ShareRow>,
        /// The row from before.
        before: Option<Box<ShareRow>>,
        /// The directory has refused it.
        is_refused: bool,
    },
    /// Stops offering a version of a file; its download fails if there is a reason.
    EndVersion {
        group: GroupId,
        facts: Box<FileFacts>,
        /// Why downloads of it end.
        reason: Option<String>,
    },
    /// This device is about to stop offering a file. Notifications of that are not shown.
    ExpectRemoval(GroupId, InfoHash, FileId),
    /// Undoes [`Command::ExpectRemoval`]: the removal failed, or the file is offered again.
    UnexpectRemoval(GroupId, InfoHash),
    /// The user is about to leave a group by choice; `None`: every group.
    ExpectLeaving(Option<GroupId>),
    /// Undoes [`Command::ExpectLeaving`].
    UnexpectLeaving(Option<GroupId>),
    /// The user has left a group.
    Left(GroupId),
    /// A group has a new display name.
    Relabel(GroupId, Label),
    /// Our tickets that were signed until this time are revoked.
    OwnVoid(u64),
}

/// The state that a session begins with.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) user: UserEntry,
    pub(crate) device: DeviceId,
    /// The user's groups and their names; `None` if no tracker has answered.
    pub(crate) mine: Option<std::collections::HashMap<GroupId, Label>>,
    pub(crate) shares: Vec<ShareRow>,
    /// The downloads that are not complete.
    pub(crate) downloads: Vec<DownloadRow>,
    pub(crate) queued: Vec<QueuedRow>,
}

/// Groups in which the shared file of a content is gone or has changed.
pub(crate) type StaleShares = Vec<GroupId>;

/// A download to begin.
#[derive(Debug, Clone)]
pub(crate) struct Begin {
    pub(crate) row: DownloadRow,
    /// The store's row of the content, if the session holds none. It is restored if the engine
    /// refuses.
    pub(crate) before: Option<DownloadRow>,
    pub(crate) stale: StaleShares,
}

/// An answer to a command.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The command is done.
    Done,
    /// The content is reserved. Returns its failed download, and a failed download of another
    /// version to the same path, if there are any.
    Claimed { failed: Option<Arc<DownloadRow>>, other_version: Option<InfoHash> },
    /// The content is being downloaded to that path already.
    Running(Arc<DownloadRow>),
    /// Our ticket, if there is one.
    Ticket(Option<Ticket>),
}

/// Work for the driver.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Write all rows in one transaction.
    Store(u64, Vec<Write>),
    /// Give an order to the engine.
    Engine(Order),
    /// Ask the trackers.
    Ask(Ask),
    /// Announce to the trackers what this device seeds and leeches.
    Announce(Vec<(GroupId, InfoHash, DownloadState)>),
    /// Run a job on a file system.
    Job(Job),
    /// Send an event to the subscribers.
    Tell(ClientEvent),
    /// The user was removed from a group: send an event if the group's name is known.
    TellRemoved(GroupId, Option<Label>),
    /// A download has ended, paused, or resumed.
    Changed(InfoHash),
    /// Answer a caller.
    Reply(ReplyTo, Result<Answer, ClientError>),
    /// The session has ended, and all of its state is gone.
    SessionEnded,
}

/// An order to the engine. None waits for a disk.
#[derive(Debug)]
pub(crate) enum Order {
    /// Run: the download has a slot.
    Run(TransferId),
    /// Pause.
    Pause(TransferId),
    /// Pause, and free the thread and the file.
    Shelve(TransferId),
    /// Pause before cancelling, unless the file is being finished. Answered by [`Input::Halted`].
    Halt(TransferId, InfoHash),
    /// Pause, close the file, and forget the transfer.
    Release(TransferId),
    /// Forget the transfer.
    Forget(TransferId),
    /// Set the download's own rate limit.
    Limit(TransferId, Option<Rate>),
    /// Add devices of a file's swarm.
    AddPeers(InfoHash, Vec<(DeviceId, Vec<Candidate>)>),
    /// Remove a device that has left the swarm.
    RemovePeer(InfoHash, DeviceId),
    /// End these links.
    EndLinks(Ends),
    /// Show a newer ticket of ours on the links.
    ShowTicket(Ticket),
    /// Stop seeding a file.
    Unseed(InfoHash),
    /// Seed a file again; its path may have changed.
    Reseed(InfoHash),
    /// Report the progress of these downloads.
    Pulses(Vec<(InfoHash, TransferId)>),
}

/// Selects links to end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ends {
    /// All, and accept no more.
    All,
    /// Those that rest on a group.
    Group(GroupId),
    /// Those of these swarms, each a file in a group.
    Swarms(HashSet<(GroupId, InfoHash)>),
    /// Those of these devices, in these swarms.
    Parts(HashSet<(InfoHash, DeviceId, GroupId)>),
    /// Those with a revoked ticket: by group (or all) and user, signed until this time.
    Void(std::collections::HashMap<(Option<GroupId>, UserId), u64>),
    /// Those of a forgotten device of a user, whose tickets were signed until this time.
    Device(UserId, DeviceId, u64),
    /// Those whose tickets had expired at this time.
    Expired(u64),
    /// Those whose tickets were signed by other keys than these.
    OtherKeys(Vec<PublicKey>),
}

/// A question to the trackers that no command waits for.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Our tickets, from a tracker that is not in `passed`.
    Tickets { groups: Vec<GroupId>, passed: Vec<usize>, deadline: Duration },
    /// Tell the directory of a completed download.
    Share(Arc<ShareRow>),
    /// Which other groups offer these files.
    Sources(Vec<Wanted>),
}

/// A download that looks for other sources.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) group: GroupId,
    pub(crate) label: Label,
    pub(crate) facts: FileFacts,
}

/// The result of an [`Ask`].
#[derive(Debug)]
pub(crate) enum Asked {
    Tickets {
        groups: Vec<GroupId>,
        passed: Vec<usize>,
        deadline: Duration,
        /// Tickets signed by a key of the network, and the tracker that gave them; `None`: no
        /// tracker answered.
        given: Option<(Vec<Ticket>, usize)>,
    },
    Share(Arc<ShareRow>, Told),
    Sources {
        /// The files that were asked for.
        wanted: Vec<InfoHash>,
        /// The groups that offer them; `None`: no tracker listed the user's groups.
        found: Option<Vec<(InfoHash, GroupId)>>,
    },
}

/// The directory's reply to a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// Accepted.
    Taken,
    /// Refused, with the reason.
    Refused(String),
    /// No definite answer, with the reason.
    Nothing(String),
}

/// Work that waits for a file system.
#[derive(Debug)]
pub(crate) enum Job {
    /// Have the engine begin a download.
    Begin(TransferId, Box<DownloadSpec>, Option<Rate>),
    /// Remove the data of a download.
    Remove(Option<TransferId>, Arc<DownloadRow>),
    /// Check the files of shares; each file system answers separately.
    LookAtShares(Vec<Arc<ShareRow>>),
    /// Check the target path of a download.
    LookAtDownload(Arc<DownloadRow>),
    /// Compare the file at the target path with the content.
    Compare(Arc<DownloadRow>),
    /// Stop the engine, and log out of the trackers.
    StopEngine,
}

/// The result of a [`Job`].
#[derive(Debug)]
pub(crate) enum Done {
    Begun(TransferId, InfoHash, Result<(), String>),
    Removed(InfoHash),
    Shares(Vec<(Arc<ShareRow>, Looked)>),
    Download(Arc<DownloadRow>, Place),
    Compared(Arc<DownloadRow>, Result<Box<SeedSpec>, String>),
    EngineStopped,
}

/// The result of checking a share's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Looked {
    /// The file that was hashed, with its path and stamp as seen now.
    Same(Box<(PathBuf, FileStamp)>),
    /// Another file or none, with the reason.
    Other(String),
}

/// The state of a download's target path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file with the final name exists.
    TargetThere,
    /// The fetched data is missing, with the reason.
    Missing(String),
    /// The fetched data is there, or none was fetched yet.
    Fine,
}
