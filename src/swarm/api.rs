//! What the client says to the engine, and what it hears back: plain values and one trait.
//!
//! **Invariant:** nothing here blocks or holds a lock; the engine's own threads call [`Host`], and
//! say so at each method.

mod picture;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::net::{InterfaceAddress, Transport};
use crate::types::{
    Candidate, CandidateKind, ChainingValues, DeviceId, FileFacts, FileStamp, GroupId, InfoHash,
    InodeId, PieceIndex, PublicKey, Rate, RelaySecret, Sha1Digest, Ticket, UserId, VerifiedPieces,
    limits,
};
use crate::wire::metainfo::Metainfo;

pub use self::picture::{LinkPicture, PieceBucket, PieceMap, Traffic, Way};

/// One download in the engine, from its beginning to its end: of another one of the same content it
/// is told by this number, which the client chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransferId(pub u64);

/// What a link rests on: the ticket that its other end has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// The group that both ends are in.
    pub group: GroupId,
    /// The user at the other end.
    pub user: UserId,
    /// When the ticket was signed, in milliseconds since the Unix epoch.
    pub issued_ms: u64,
    /// When it counts no more by the trackers' clocks, in milliseconds since the Unix epoch: the
    /// client's to look at.
    pub expires_ms: u64,
    /// When it expires, and with it the link, if no newer one is shown.
    pub expires: Instant,
    /// The network's key that signed the ticket.
    pub key: PublicKey,
}

/// One link, as far as the client decides about it.
#[derive(Debug, Clone, Copy)]
pub struct LinkFacts {
    /// The file.
    pub info_hash: InfoHash,
    /// The device at the other end.
    pub device: DeviceId,
    /// The ticket it rests on.
    pub proof: Proof,
}

/// What the whole engine may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Bytes of blocks sent a second, to all together.
    pub upload: Option<Rate>,
    /// Bytes of blocks asked for a second, of all together.
    pub download: Option<Rate>,
}

/// Bounds and identity of an engine.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Who we are to other clients, and how connections with them are made.
    pub transport: Transport,
    /// The port on which the client listens, told to peers.
    pub port: Option<u16>,
    /// The local address to dial from, so that others see the one we listen on.
    pub bind_ip: Option<IpAddr>,
    /// Workers in the pool that fetches, hashes and writes.
    pub threads: usize,
    /// Time for a peer's message to arrive whole once it has begun.
    pub message_timeout: Duration,
    /// Links in all, both directions.
    pub links_max: usize,
    /// Links of one file.
    pub links_per_file_max: usize,
    /// Peers that may ask at a time, per file.
    pub upload_slots: usize,
    /// Bytes of chunk buffers, shared among the downloads that run when one begins.
    pub window_sum_max: u64,
    /// Shared files kept open at a time.
    pub open_files_max: usize,
    /// How often verified pieces are made durable and written to the journal.
    pub journal_interval: Duration,
    /// What may be moved a second.
    pub limits: Limits,
}

impl EngineConfig {
    /// Takes the defaults for a device.
    pub fn new(transport: Transport) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            transport,
            port: None,
            bind_ip: None,
            threads: (2 * cores).max(4),
            message_timeout: limits::MESSAGE_TIMEOUT,
            links_max: limits::CLIENT_CONNECTIONS_MAX,
            links_per_file_max: limits::CLIENT_CONNECTIONS_MAX,
            upload_slots: 8,
            window_sum_max: limits::WINDOW_SUM_MAX as u64,
            open_files_max: 128,
            journal_interval: Duration::from_secs(2),
            limits: Limits::default(),
        }
    }
}

/// Where a device may take links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses(pub Vec<Candidate>);

impl From<Vec<Candidate>> for Addresses {
    fn from(candidates: Vec<Candidate>) -> Self {
        Self(candidates)
    }
}

/// One address, at which the device was seen.
impl From<SocketAddr> for Addresses {
    fn from(address: SocketAddr) -> Self {
        Self(vec![Candidate::new(address, CandidateKind::Observed)])
    }
}

/// Where and when to connect to a device that does so at the same moment.
pub struct Meeting {
    /// Where a tracker sees the port that the device connects from.
    pub address: SocketAddr,
    /// The port to connect from, which the tracker has seen.
    pub from: SocketAddr,
    /// When.
    pub at: Instant,
    /// Keeps the ways of this end's router open until dropped.
    pub kept: Option<Box<dyn Send + Sync>>,
}

/// Why two devices are not brought together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MeetError {
    /// No tracker can, or not these two.
    #[error("no tracker can bring the two together")]
    Unable,
    /// Not now.
    #[error("too many others are being brought together")]
    Busy,
    /// It was tried.
    #[error("{0}")]
    Failed(String),
}

/// What the engine needs from the client. Implementations must not call back into the engine from
/// `journal`, `metainfo` and `chain`.
pub trait Host: Send + Sync + 'static {
    /// Our ticket to show a device that is to be dialled for a file: of a group in which it takes
    /// part in the file's swarm, as we do. `None`: there is none at hand now. Called on the link's
    /// own thread; may block for a few seconds.
    fn ticket_for(&self, info_hash: InfoHash, device: DeviceId) -> Option<Ticket>;
    /// Our ticket for a group. `None`: we are not in it, or no tracker gives one now. Called on the
    /// link's own thread; may block for a few seconds.
    fn own_ticket(&self, group: GroupId) -> Option<Ticket>;
    /// Checks a ticket that the device at the other end has shown: signature, device, expiry, and
    /// that it was not voided. `None`: it is worthless. Must not block; asked again after the link
    /// was registered, so that no word of a tracker is missed.
    fn check_ticket(&self, ticket: &Ticket, device: DeviceId) -> Option<Proof>;
    /// Tells whether this device takes part in the file's swarm in that group, and the other end
    /// has not left it. Must not block; asked again after the link was registered.
    fn is_offered(&self, info_hash: InfoHash, group: GroupId, device: DeviceId) -> bool;
    /// Tells whether others in that group may have the file from us. If not, a link that rests on
    /// the group only brings data: nothing is said on it of what we have. Must not block; asked
    /// once for each link, of a file that is offered.
    fn serves(&self, _info_hash: InfoHash, _group: GroupId) -> bool {
        true
    }
    /// The download's `.part` was made, or opened again, and is this file: to be named in later
    /// runs. Called on the download's thread before it gets its length, or a byte is written there;
    /// may block. If that cannot be noted, the download pauses with the reason.
    fn opened(&self, _id: TransferId, _info_hash: InfoHash, _part: InodeId) -> Result<(), String> {
        Ok(())
    }
    /// A file that this device offers and the engine does not know yet, if it is so. Called on a
    /// link's thread, for a file whose swarm the other end may take part in; may block.
    fn seed(&self, _info_hash: InfoHash) -> Option<SeedSpec> {
        None
    }
    /// Other files on this disk that should have this content, the likeliest first: what they have
    /// is copied, and checked like what comes from others. Called on the download's thread before
    /// any peer is asked for pieces; may block.
    fn copies(&self, _facts: &FileFacts) -> Vec<LocalCopy> {
        Vec::new()
    }
    /// These pieces are on disk for good: after a restart they need not be hashed again. Where the
    /// facts name chaining values, they are proven by those. Called on the journal thread; may
    /// block.
    fn journal(&self, id: TransferId, info_hash: InfoHash, verified: &VerifiedPieces);
    /// The file's metainfo has come from a member and is checked: keep it for the next start.
    /// Called on a link's thread; may block.
    fn metainfo(&self, info_hash: InfoHash, metainfo: &Arc<Metainfo>);
    /// The file's chaining values have come from a member and are checked: keep them for the next
    /// start. Called on a link's thread; may block.
    fn chain(&self, _info_hash: InfoHash, _values: &Arc<ChainingValues>) {}
    /// The addresses of this machine's interfaces: addresses on the same networks are dialled
    /// first. Must not block.
    fn interfaces(&self) -> Arc<[InterfaceAddress]> {
        Arc::default()
    }
    /// A relay at which the device will be met, for a file in whose swarm both take part. `None`: no
    /// relay can be had, or the device takes no relayed links. Called on a dial's thread when no
    /// address of the device has answered for a moment; may block for a few seconds.
    fn relay(&self, _info_hash: InfoHash, _device: DeviceId) -> Option<RelayPlace> {
        None
    }
    /// Tells whether a tracker may help to connect to a device that no address reaches. Must not
    /// block.
    fn can_meet(&self, _info_hash: InfoHash, _device: DeviceId) -> bool {
        false
    }
    /// Has a tracker bring this device, which connects from the port of `from`, and another of a
    /// file's swarm together. Called on a dial's thread; may block for a few seconds, until `is_over` says so.
    ///
    /// # Errors
    /// Every [`MeetError`].
    fn meet(
        &self,
        _info_hash: InfoHash,
        _device: DeviceId,
        _from: SocketAddr,
        _is_over: &dyn Fn() -> bool,
    ) -> Result<Meeting, MeetError> {
        Err(MeetError::Unable)
    }
    /// Something happened that the user may want to hear of. Called on any of the engine's threads;
    /// must not block for long.
    fn event(&self, event: EngineEvent);
}

/// Where two devices meet, and what this one shows there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayPlace {
    /// The relay.
    pub address: SocketAddr,
    /// By which it knows this device.
    pub secret: RelaySecret,
}

/// Something the user may want to hear of.
#[derive(Debug, Clone)]
pub enum EngineEvent {
    /// A download is complete, checked, and under its final name; the engine seeds it from there
    /// on.
    Completed {
        /// The download.
        id: TransferId,
        /// The file.
        info_hash: InfoHash,
        /// Everything a later [`SeedSpec`] needs.
        seed: SeedSpec,
    },
    /// A download cannot go on. `resume` tries again from what is on disk.
    Failed {
        /// The download.
        id: TransferId,
        /// The file.
        info_hash: InfoHash,
        /// Why, in words for the user.
        reason: String,
    },
    /// A download paused itself. `resume` goes on.
    Paused {
        /// The download.
        id: TransferId,
        /// The file.
        info_hash: InfoHash,
        /// Why, in words for the user.
        reason: String,
    },
    /// A shared file is not what it was when it was hashed, or is gone: it is no longer offered.
    FileChanged {
        /// The file.
        info_hash: InfoHash,
        /// Where it is, or was.
        path: PathBuf,
        /// Nothing is there: its disk may be unmounted.
        is_gone: bool,
    },
    /// A device sent pieces with a wrong hash: it is not asked again.
    Banned {
        /// The file.
        info_hash: InfoHash,
        /// The device.
        device: DeviceId,
    },
    /// A device that the tracker lists cannot be connected to. Told again while that lasts.
    Unreachable {
        /// The file.
        info_hash: InfoHash,
        /// The device.
        device: DeviceId,
    },
}

/// A complete file to offer, read only.
#[derive(Debug, Clone)]
pub struct SeedSpec {
    /// Its metainfo.
    pub metainfo: Arc<Metainfo>,
    /// Its chaining values, if they are known: for others to prove it by.
    pub chain: Option<Arc<ChainingValues>>,
    /// Where it is.
    pub path: PathBuf,
    /// How it looked when it was hashed: which file it is, its length and its time. Nothing else is
    /// served.
    pub stamp: FileStamp,
}

/// A file on this disk that should have a download's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalCopy {
    /// Where it is.
    pub path: PathBuf,
    /// How it looked when its content was known. Nothing is taken from another one.
    pub stamp: FileStamp,
}

/// A file to fetch.
#[derive(Debug, Clone)]
pub struct DownloadSpec {
    /// The number of this download.
    pub id: TransferId,
    /// What the directory knows about it.
    pub facts: FileFacts,
    /// The file to make; until it is complete the data is in `<target>.part`.
    pub target: PathBuf,
    /// Which file the `.part` is that an earlier run made or went on with; any other one there is
    /// refused. `None`: not known.
    pub part: Option<InodeId>,
    /// Its metainfo, if it came in an earlier run.
    pub metainfo: Option<Arc<Metainfo>>,
    /// Its chaining values, if they came in an earlier run; others than those of the facts are
    /// passed over.
    pub chain: Option<Arc<ChainingValues>>,
    /// `None`: a new download, and an existing `.part` is not ours and refused. `Some`:
    /// begun earlier by this device; the `.part` is continued. These pieces are trusted if its
    /// time fits; others found there are hashed.
    pub verified: Option<VerifiedPieces>,
    /// Whether to wait for [`resume`](super::Transfer::resume) before doing anything.
    pub paused: bool,
}

/// Where a download is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferState {
    /// Opening the `.part` and hashing what the journal does not vouch for.
    Checking,
    /// Waiting for the metainfo or the chaining values from a member.
    Metainfo,
    /// Fetching pieces.
    Downloading,
    /// Every piece is here; checking what was not proven as it came, then giving the file its
    /// name.
    Finishing,
    /// Complete, under its final name.
    Complete,
    /// Paused by the user (`None`) or by itself.
    Paused(Option<String>),
    /// It cannot go on as it is.
    Failed(String),
    /// Cancelled; the `.part` is gone.
    Cancelled,
}

impl TransferState {
    /// Tells whether nothing more will happen by itself: complete, failed or cancelled.
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Complete | Self::Failed(_) | Self::Cancelled)
    }
}

/// Where a download stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferStatus {
    /// Where it is in its life.
    pub state: TransferState,
    /// Length of the file in bytes.
    pub len: u64,
    /// Bytes verified and written.
    pub bytes_done: u64,
    /// Bytes per second received lately.
    pub bytes_per_second: u64,
    /// Links to other clients for this file.
    pub peers: u32,
    /// Of these, links on a network that both devices are on.
    pub lan: u32,
    /// Of these, links for which a hole was punched.
    pub punched: u32,
    /// Of these, links that go through a relay.
    pub relayed: u32,
    /// Of these, links on which we may ask.
    pub unchoked: u32,
    /// Bytes of blocks received since the engine started.
    pub received: u64,
    /// Bytes that came and were of no use.
    pub wasted: u64,
    /// Bytes served to others from this file since the engine started.
    pub sent: u64,
    /// Bytes per second served to others in the last 2 s.
    pub sent_per_second: u64,
}

/// Why a download does not move: facts for the command of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// Where it is in its life, with the reason if it paused or failed.
    pub state: TransferState,
    /// Whether the metainfo is known.
    pub metainfo_known: bool,
    /// Whether the list of chaining values is still being collected.
    pub awaits_chain: bool,
    /// Whether its disk does not answer.
    pub disk_hangs: bool,
    /// Pieces in the file.
    pub pieces: u32,
    /// Pieces verified.
    pub have: u32,
    /// Missing pieces that no connected peer offers.
    pub unoffered: u32,
    /// The first of these.
    pub unoffered_first: Vec<PieceIndex>,
    /// Links that are up.
    pub links: u32,
    /// Links that go through a relay.
    pub relayed: u32,
    /// Links that let us ask.
    pub unchoked: u32,
    /// Pieces that came with a wrong hash.
    pub corrupt: u32,
    /// The limit that holds up requests at this moment.
    pub limit: Option<Rate>,
    /// Devices that were linked and are not any more, with what they had and how long ago: the
    /// latest first.
    pub seen: Vec<SeenPeer>,
    /// Devices that the tracker lists and that cannot be reached.
    pub unreachable: Vec<UnreachablePeer>,
    /// Devices that sent bad data twice: not linked again this session.
    pub banned: Vec<DeviceId>,
}

/// Why an offered file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadTrouble {
    /// Its disk does not answer.
    DiskHangs,
    /// The system's error at the last attempt.
    Error(String),
}

/// A device that was linked earlier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenPeer {
    /// Who.
    pub device: DeviceId,
    /// Pieces it had when it left.
    pub pieces: u32,
    /// How long ago it left.
    pub ago: Duration,
}

/// A link that another device has dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboundLink {
    /// The device at the other end.
    pub device: DeviceId,
    /// Its user.
    pub user: UserId,
    /// The other end's address.
    pub from: SocketAddr,
    /// The address of this device that was dialled.
    pub at: SocketAddr,
}

/// A device that cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreachablePeer {
    /// Who.
    pub device: DeviceId,
    /// Where it should listen.
    pub address: SocketAddr,
    /// What went wrong last.
    pub error: String,
}

/// What this device serves of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadStats {
    /// The file.
    pub info_hash: InfoHash,
    /// Where it is.
    pub path: PathBuf,
    /// Links to other clients for it.
    pub peers: u32,
    /// Bytes of blocks sent since the engine started.
    pub sent: u64,
    /// Bytes per second sent in the last 2 s.
    pub sent_per_second: u64,
    /// Bytes sent to each device, in no order.
    pub sent_to: Vec<(DeviceId, u64)>,
}

/// The result of hashing a file.
#[derive(Debug, Clone)]
pub struct Hashed {
    /// All that is needed to seed it.
    pub seed: SeedSpec,
    /// SHA-1 of the whole file.
    pub sha1: Sha1Digest,
}

impl Hashed {
    /// What the directory is to know about it.
    pub fn facts(&self) -> FileFacts {
        let metainfo = &self.seed.metainfo;
        let geometry = metainfo.geometry();
        let chain = self.seed.chain.as_ref().filter(|chain| !chain.values().is_empty());
        FileFacts {
            info_hash: metainfo.info_hash(),
            name: metainfo.name().clone(),
            len: geometry.len(),
            piece_len: geometry.piece_len(),
            sha1: self.sha1,
            chain: chain.map(|chain| chain.hash()),
        }
    }
}

/// Says why the engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine is stopping.
    #[error("the transfer engine has stopped")]
    Stopped,
    /// The system has no room for the threads needed.
    #[error("cannot start a thread: {0}")]
    Threads(#[source] std::io::Error),
    /// This content is being downloaded already, to another place.
    #[error("this content is being downloaded already, to {}", .0.display())]
    AlreadyDownloading(PathBuf),
    /// The destination is there already; nothing is ever overwritten.
    #[error("{} exists already", .0.display())]
    TargetExists(PathBuf),
    /// The destination cannot be used.
    #[error("cannot write {}: {source}", .path.display())]
    Target {
        /// The destination.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The facts make no file.
    #[error("the directory describes an impossible file: {0}")]
    Geometry(#[from] crate::types::GeometryError),
    /// Metainfo and facts, or the journal and the facts, are not of the same file.
    #[error("what is stored about this download does not fit the file")]
    Mismatch,
    /// Not enough space.
    #[error("no room: {need} bytes are needed and {free} are free")]
    NoRoom {
        /// Bytes needed.
        need: u64,
        /// Bytes free.
        free: u64,
    },
}

/// Says why a file could not be hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// The system's error.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A directory, device, pipe or socket.
    #[error("{} is not a plain file", .0.display())]
    NotAFile(PathBuf),
    /// Its name cannot be shared.
    #[error(transparent)]
    Name(#[from] crate::types::NameError),
    /// The path ends in no name, or in one that is not UTF-8.
    #[error("{} has no name that can be shared", .0.display())]
    NoName(PathBuf),
    /// It is too large.
    #[error(transparent)]
    Geometry(#[from] crate::types::GeometryError),
    /// It was written to while it was hashed.
    #[error("{} changed while it was read; share it again when it is finished", .0.display())]
    Changed(PathBuf),
    /// The caller said so.
    #[error("hashing was cancelled")]
    Cancelled,
    /// No thread for the hashes.
    #[error("cannot start a thread: {0}")]
    Threads(#[source] std::io::Error),
}
