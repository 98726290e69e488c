//! What goes into a session, and what comes out of it: plain values.
//!
//! **Invariant:** every [`ReplyTo`] that goes in with an input comes out once, with its answer.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::news::{KeyChange, News};
use crate::client::error::{ClientError, SessionEnd};
use crate::client::event::ClientEvent;
use crate::store::{DownloadRow, QueuedRow, ShareRow, StoreError, Write};
pub(crate) use crate::swarm::TransferId;
use crate::swarm::{DownloadSpec, Pulse, SeedSpec};
use crate::trust::NetworkPublicKey;
use crate::types::{
    Bitfield, DeviceId, DownloadState, FileFacts, FileId, FileStamp, Fingerprint, GroupId,
    InfoHash, InodeId, Label, PublicKey, Rate, Ticket, UserEntry, UserId,
};
use crate::wire::metainfo::Metainfo;

/// Where an answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ReplyTo(pub(crate) u64);

/// The time of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    /// Since some moment before; goes on while the machine sleeps.
    pub(crate) up: Duration,
    /// On the trackers' clocks, in milliseconds since the Unix epoch.
    pub(crate) clock_ms: u64,
}

/// Something that has happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// Somebody asks for something.
    Command(ReplyTo, Command),
    /// A tracker tells something unasked.
    News(News),
    /// The engine tells of a download.
    Engine(TransferId, InfoHash, EngineNews),
    /// The engine found that a shared file is not what it was.
    FileChanged(InfoHash, PathBuf),
    /// A link needs our ticket for a group.
    WantTicket(ReplyTo, GroupId),
    /// What came of an [`Ask`].
    Asked(Asked),
    /// What came of a [`Job`].
    Done(Done),
    /// A download was to halt. False: it is being finished, or is complete.
    Halted(TransferId, InfoHash, bool),
    /// Another key of the network counts than before; these count now.
    KeysChanged(KeyChange, Vec<NetworkPublicKey>),
    /// The network's trackers.
    Trackers(Fingerprint, Vec<String>),
    /// How the downloads move that hold slots.
    Pulses(Vec<(InfoHash, TransferId, Pulse)>),
    /// What came of an [`Effect::Store`].
    Stored(u64, Result<(), Arc<StoreError>>),
    /// Time has passed.
    Tick,
}

/// What the engine tells of a download.
#[derive(Debug, Clone)]
pub(crate) enum EngineNews {
    /// Its `.part` is this file. The reply leaves when the store has it.
    Opened(ReplyTo, InodeId),
    /// These pieces are on the disk for good.
    Journal(Bitfield),
    /// The metainfo has come. The reply, if one is wanted, leaves when the store has it.
    Metainfo(Option<ReplyTo>, Arc<Metainfo>),
    /// It is complete, under its name.
    Completed(SeedSpec),
    /// It cannot go on.
    Failed(String),
    /// It has paused itself.
    Paused(String),
}

/// What somebody asks for.
#[derive(Debug)]
pub(crate) enum Command {
    /// A login begins: no other is let in beside it.
    Reserve,
    /// The login has come to nothing.
    Release,
    /// The trackers have let the user in. The answer leaves when the file systems have said what is
    /// there, or after [`DISK_TIMEOUT`](super::DISK_TIMEOUT).
    Enter(Box<Entry>),
    /// The session ends: the user ends it (`None`), or it is over.
    Leave(Option<SessionEnd>),
    /// A download is about to be begun: nobody else is to meddle with its content or its place.
    Claim(Box<DownloadRow>),
    /// What was claimed is left alone.
    Unclaim(InfoHash),
    /// Begins what was claimed.
    Begin(Box<Begin>),
    /// The file is there and was compared: it counts as downloaded.
    Adopt(Box<DownloadRow>, Box<SeedSpec>, StaleShares),
    /// Stops fetching until resumed.
    Pause(InfoHash),
    /// Goes on after a pause or a failure.
    Resume(InfoHash),
    /// Gives a download up.
    Cancel(InfoHash),
    /// The engine has halted a download that is to be cancelled.
    FinishCancel(InfoHash),
    /// Moves a download before all others.
    Prioritize(InfoHash),
    /// Limits one download.
    Limit(InfoHash, Option<Rate>),
    /// Lets so many downloads run at a time; 0 for any number.
    DownloadsMax(usize),
    /// Puts a share in the store, before the directory is told.
    PutShare(Box<ShareRow>),
    /// The directory has taken a share.
    ShareTaken(Box<ShareRow>),
    /// It has not: as before; without an answer it is stopped.
    ShareNotTaken {
        /// What was put.
        row: Box<ShareRow>,
        /// What was there before.
        before: Option<Box<ShareRow>>,
        /// The directory has refused it.
        is_refused: bool,
    },
    /// A version is offered no more; its download fails with the reason, if there is one.
    EndVersion {
        group: GroupId,
        facts: Box<FileFacts>,
        /// Why downloads of it end.
        reason: Option<String>,
    },
    /// This device is about to end its offer of a file itself.
    ExpectRemoval(GroupId, InfoHash, FileId),
    /// It does not, or offers it again.
    UnexpectRemoval(GroupId, InfoHash),
    /// The user is about to leave groups by choice; `None`: every group.
    ExpectLeaving(Option<GroupId>),
    /// The user does not leave.
    UnexpectLeaving(Option<GroupId>),
    /// The user has left a group.
    Left(GroupId),
    /// A group is shown under another name.
    Relabel(GroupId, Label),
    /// Our tickets that were signed until then are void.
    OwnVoid(u64),
}

/// What a session begins with.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) user: UserEntry,
    pub(crate) device: DeviceId,
    /// The groups the user is in, with their names, if a tracker tells.
    pub(crate) mine: Option<std::collections::HashMap<GroupId, Label>>,
    pub(crate) shares: Vec<ShareRow>,
    /// Those that are not complete.
    pub(crate) downloads: Vec<DownloadRow>,
    pub(crate) queued: Vec<QueuedRow>,
}

/// Shares of a content whose files are gone or have changed.
pub(crate) type StaleShares = Vec<GroupId>;

/// A download to begin.
#[derive(Debug, Clone)]
pub(crate) struct Begin {
    pub(crate) row: DownloadRow,
    /// What the store has of the content, if the session has forgotten it: counts again if the
    /// engine refuses.
    pub(crate) before: Option<DownloadRow>,
    pub(crate) stale: StaleShares,
}

/// An answer to a command.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It is done.
    Done,
    /// The failed download of the same content, and one of another version to the same place, if
    /// there are such.
    Claimed { failed: Option<Arc<DownloadRow>>, other_version: Option<InfoHash> },
    /// Our ticket, if there is one.
    Ticket(Option<Ticket>),
}

/// Something to be done outside.
#[derive(Debug)]
pub(crate) enum Effect {
    /// All or nothing, in one transaction.
    Store(u64, Vec<Write>),
    /// The engine is to do this.
    Engine(Order),
    /// Trackers are to be asked.
    Ask(Ask),
    /// Trackers are to be told what this device does with files.
    Announce(Vec<(GroupId, InfoHash, DownloadState)>),
    /// A file system is to be asked.
    Job(Job),
    /// Subscribers are to hear of this.
    Tell(ClientEvent),
    /// The user is out of a group: subscribers are to hear of that, if its name is known.
    TellRemoved(GroupId, Option<Label>),
    /// A download has ended, paused, or run again.
    Changed(InfoHash),
    /// An answer.
    Reply(ReplyTo, Result<Answer, ClientError>),
    /// The session has ended, and nothing of it is left.
    SessionEnded,
}

/// What the engine is to do; nothing of it waits for a disk.
#[derive(Debug)]
pub(crate) enum Order {
    /// Go on, as the download has a slot.
    Run(TransferId),
    /// Pause.
    Pause(TransferId),
    /// Pause, and let go of the thread and the file.
    Shelve(TransferId),
    /// Pause so that the download can be cancelled, unless it is being finished; answered by
    /// [`Input::Halted`].
    Halt(TransferId, InfoHash),
    /// Pause, let go of the file, and forget the transfer.
    Release(TransferId),
    /// The transfer is of no interest any more.
    Forget(TransferId),
    /// A download's own limit.
    Limit(TransferId, Option<Rate>),
    /// Devices that take part in a file's swarm.
    AddPeers(InfoHash, Vec<(DeviceId, SocketAddr)>),
    /// A device that has left it.
    RemovePeer(InfoHash, DeviceId),
    /// Links that are to end.
    EndLinks(Ends),
    /// A newer ticket of ours.
    ShowTicket(Ticket),
    /// A file is offered no more.
    Unseed(InfoHash),
    /// A file is offered from another path, perhaps.
    Reseed(InfoHash),
    /// Asks for the pulses of these.
    Pulses(Vec<(InfoHash, TransferId)>),
}

/// Which links are to end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ends {
    /// All, and no more are taken.
    All,
    /// Those that rest on a group.
    Group(GroupId),
    /// Those of these files' swarms in these groups.
    Swarms(HashSet<(GroupId, InfoHash)>),
    /// Those of these devices, in these files' swarms in these groups.
    Parts(HashSet<(InfoHash, DeviceId, GroupId)>),
    /// Those whose tickets are void, by group (or all) and user, signed until then.
    Void(std::collections::HashMap<(Option<GroupId>, UserId), u64>),
    /// Those with a user's device that was forgotten, whose tickets were signed until then.
    Device(UserId, DeviceId, u64),
    /// Those whose tickets have expired by then.
    Expired(u64),
    /// Those that rest on other keys than these.
    OtherKeys(Vec<PublicKey>),
}

/// A question to the trackers that nobody waits for.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Our tickets, of a tracker that is not among those passed over.
    Tickets { groups: Vec<GroupId>, passed: Vec<usize>, deadline: Duration },
    /// The directory is to be told of a completed download.
    Share(Arc<ShareRow>),
    /// Which other groups offer these files.
    Sources(Vec<Wanted>),
}

/// A download of which other sources are asked for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) group: GroupId,
    pub(crate) label: Label,
    pub(crate) facts: FileFacts,
}

/// What came of an [`Ask`].
#[derive(Debug)]
pub(crate) enum Asked {
    Tickets {
        groups: Vec<GroupId>,
        passed: Vec<usize>,
        deadline: Duration,
        /// Tickets that a key of the network signed, and the tracker that gave them; `None`: none
        /// answered.
        given: Option<(Vec<Ticket>, usize)>,
    },
    Share(Arc<ShareRow>, Told),
    Sources {
        /// What was asked for.
        wanted: Vec<InfoHash>,
        /// Groups in which it was found; `None`: no tracker told which groups there are.
        found: Option<Vec<(InfoHash, GroupId)>>,
    },
}

/// What the directory said to a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// It knows.
    Taken,
    /// It will not, for this reason.
    Refused(String),
    /// No definite answer.
    Nothing(String),
}

/// Something that waits for a file system.
#[derive(Debug)]
pub(crate) enum Job {
    /// Has the engine begin a download.
    Begin(TransferId, Box<DownloadSpec>, Option<Rate>),
    /// Removes what a download has fetched.
    Remove(Option<TransferId>, Arc<DownloadRow>),
    /// Looks at the files of shares; answered in portions.
    LookAtShares(Vec<Arc<ShareRow>>),
    /// Looks what is at a download's place.
    LookAtDownload(Arc<DownloadRow>),
    /// Compares the file at a download's place with what is wanted.
    Compare(Arc<DownloadRow>),
    /// Ends the engine, and the session at the trackers.
    StopEngine,
}

/// What came of a [`Job`].
#[derive(Debug)]
pub(crate) enum Done {
    Begun(TransferId, InfoHash, Result<(), String>),
    Removed(InfoHash),
    Shares(Vec<(Arc<ShareRow>, Looked)>),
    Download(Arc<DownloadRow>, Place),
    Compared(Arc<DownloadRow>, Result<Box<SeedSpec>, String>),
    EngineStopped,
}

/// How a share's file looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Looked {
    /// It is the file that was hashed; more may be known of it than before.
    Same(Box<(PathBuf, FileStamp)>),
    /// It is not, and why.
    Other(String),
}

/// What is at a download's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file with its final name.
    TargetThere,
    /// What was fetched is not where it was.
    Missing(String),
    /// What was fetched, or nothing, as it should be.
    Fine,
}
