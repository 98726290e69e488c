//! What a tracker is started with, what it says about itself, and why it may fail.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::relay_config::{RelayConfig, RelayStatus};
use crate::directory::Counts;
use crate::http::access::TokenError;
use crate::http::page::{PageConfig, PageError};
use crate::relay::RelayStats;
use crate::store::{StoreError, StorePlace};
use crate::trust::{IdentityError, KeyError, KeyPair};
use crate::types::limits::{
    HANDSHAKE_TIMEOUT, MESSAGE_TIMEOUT, PRESENCE_TIMEOUT, TRACKER_CONNECTIONS_MAX,
};
use crate::types::{Fingerprint, Sha1Digest, StoreId, TrackerEntry, TrackerInfo, TrackerState};

/// Connections from one address that have logged in: a site behind one router has all it needs, and
/// others a third of the tracker.
const CONNECTIONS_PER_ADDRESS: usize = 8_000;
/// Bytes of all requests that have not come whole, beyond the first few KiB of each.
const UNFINISHED: usize = 64 << 20;
/// Those from one address: a site behind one router has 16 of the largest at a time.
const UNFINISHED_PER_ADDRESS: usize = 16 << 20;
/// Accounts made from one address in an hour: a class signs up at once, a flood of them takes days.
pub(crate) const ACCOUNTS_PER_HOUR: u32 = 200;
/// Groups made by one user in an hour: more than anybody wants, few enough that nobody fills the
/// directory with them.
pub(crate) const GROUPS_PER_HOUR: u32 = 100;
/// Requests to join made by one user in an hour: each of them is a line that an owner has to read.
pub(crate) const REQUESTS_PER_HOUR: u32 = 200;

/// What a tracker is started with.
#[derive(Debug, Clone)]
pub struct TrackerConfig {
    /// The network's trackers.
    pub info: TrackerInfo,
    /// This tracker's number among them, from 1.
    pub number: u32,
    /// Where the store is; made if need be.
    pub data_dir: PathBuf,
    /// Where the directory is, if not in the data directory.
    pub store: Option<StorePlace>,
    /// Where to listen, if not at the address that `info` names.
    pub listen: Option<SocketAddr>,
    /// The network's key, which all its trackers hold.
    pub network_key: Arc<KeyPair>,
    /// Where the key is looked for that is to take its place, while the operator replaces it;
    /// without it this tracker takes no part in that.
    pub next_key_file: Option<PathBuf>,
    /// Where a line is appended for every change that is carried out or merged here.
    pub audit: Option<PathBuf>,
    /// How the operator's page is served, if it is.
    pub page: Option<PageConfig>,
    /// How it passes bytes between members who cannot reach each other, if it does.
    pub relay: Option<RelayConfig>,
    /// Times and bounds.
    pub limits: TrackerLimits,
}

impl TrackerConfig {
    /// The configuration of tracker `number` of the network with that key, with its store in
    /// `data_dir`.
    pub fn new(
        info: TrackerInfo,
        number: u32,
        data_dir: impl Into<PathBuf>,
        network_key: Arc<KeyPair>,
    ) -> Self {
        let limits = TrackerLimits::default();
        Self {
            info,
            number,
            data_dir: data_dir.into(),
            store: None,
            listen: None,
            network_key,
            next_key_file: None,
            audit: None,
            page: None,
            relay: None,
            limits,
        }
    }
}

/// Times and bounds of a tracker. Tests shorten the defaults.
#[derive(Debug, Clone)]
pub struct TrackerLimits {
    /// Time for a connection's first frame.
    pub handshake: Duration,
    /// Silence after which a client's connection and presence end.
    pub idle: Duration,
    /// Time for any later frame to arrive whole.
    pub message: Duration,
    /// Silence after which a replication link is given up.
    pub link_silence: Duration,
    /// How often the dialling end of an idle replication link asks for a sign of life.
    pub link_ping: Duration,
    /// Connections of clients that have logged in.
    pub connections: usize,
    /// Such connections from one address.
    pub connections_per_address: usize,
    /// Bytes of requests that have not come whole; when they are used up, those that have stalled
    /// give way.
    pub unfinished: usize,
    /// Such bytes from one address; at least a whole request of 1 MiB.
    pub unfinished_per_address: usize,
    /// Accounts that one address may make in an hour; 0 is no bound, as in the next two.
    pub accounts_per_hour: u32,
    /// Groups that one user may make in an hour.
    pub groups_per_hour: u32,
    /// Requests to join that one user may make in an hour.
    pub requests_per_hour: u32,
    /// Milliseconds added to the wall clock.
    pub clock_offset_ms: i64,
}

impl Default for TrackerLimits {
    fn default() -> Self {
        Self {
            handshake: HANDSHAKE_TIMEOUT,
            idle: PRESENCE_TIMEOUT,
            message: MESSAGE_TIMEOUT,
            // A peer that answers late is waited for this long; its replies count as late after a
            // second already.
            link_silence: Duration::from_secs(10),
            link_ping: Duration::from_secs(2),
            connections: TRACKER_CONNECTIONS_MAX,
            connections_per_address: CONNECTIONS_PER_ADDRESS,
            unfinished: UNFINISHED,
            unfinished_per_address: UNFINISHED_PER_ADDRESS,
            accounts_per_hour: ACCOUNTS_PER_HOUR,
            groups_per_hour: GROUPS_PER_HOUR,
            requests_per_hour: REQUESTS_PER_HOUR,
            clock_offset_ms: 0,
        }
    }
}

/// This tracker holds none of the keys that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the network goes on under the key {counts}, and this tracker has only the one before, {held}: put the new key into its place, \
     change the `network` line of tracker_info.txt, and start again"
)]
pub struct KeyReplaced {
    /// The key that counts.
    pub counts: Fingerprint,
    /// The one that is held.
    pub held: Fingerprint,
}

/// Why a tracker did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum TrackerError {
    /// The network has no tracker of that number.
    #[error("there is no tracker {number}: tracker_info.txt names {count}")]
    NoSuchNumber {
        /// The number given.
        number: u32,
        /// Number of trackers there are.
        count: usize,
    },
    /// Another tracker's port is left open, so that nobody could dial it.
    #[error(
        "tracker {number} has port 0: in a network of several trackers each needs a port of its own"
    )]
    PeerPort {
        /// Its number.
        number: u32,
    },
    /// The file names another network than the key.
    #[error(
        "tracker_info.txt names the network {expected}, and this tracker's key is that of {found}; copy the network's key from \
         another tracker and name it with --network-key"
    )]
    OtherNetwork {
        /// As the file says.
        expected: Fingerprint,
        /// As the key says.
        found: Fingerprint,
    },
    /// The network's key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No certificate can be made with it.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The network's key has been replaced, and this tracker has not the new one.
    #[error(transparent)]
    KeyReplaced(#[from] KeyReplaced),
    /// The host's address cannot be found.
    #[error("cannot find the address of {host}: {source}")]
    Resolve {
        /// The host.
        host: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The port cannot be listened at.
    #[error("cannot listen at {address}: {source}{}", hint(source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The store cannot be used: not opened, or, later, not written to. Nothing is acknowledged
    /// that is not stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file that changes are to be written to cannot be opened.
    #[error("cannot write the audit to {}: {source}", path.display())]
    Audit {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The relay cannot listen.
    #[error("cannot relay at {address}: {source}; name another port with --relay ADDR:PORT")]
    Relay {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The page cannot be served.
    #[error(transparent)]
    Page(#[from] PageError),
    /// The tokens of the page cannot be read.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The system has no room for the tracker's threads.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// A part of the tracker ended that must not: a mistake in this program. The log has the
    /// details.
    #[error("the tracker's core ended unexpectedly; its log says where")]
    Core,
    /// Some threads did not end in time.
    #[error("stopped, but these threads did not end in time: {0}")]
    Stayed(String),
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program uses the port: stop it, or choose another port"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; if others reach this tracker through a router or a container's host, say with --listen where it listens here"
        }
        io::ErrorKind::PermissionDenied => "; ports below 1024 need special rights: choose another",
        _ => "",
    }
}

/// What a tracker says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackerStatus {
    /// Its number, from 1.
    pub number: u32,
    /// The network's fingerprint.
    pub network: Fingerprint,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its store.
    pub store: StoreId,
    /// Sizes of the directory.
    pub counts: Counts,
    /// Digest of the directory: equal on trackers that know the same.
    pub directory: Sha1Digest,
    /// Connections, logged in or not, of peer trackers too.
    pub connections: usize,
    /// Sessions that have logged in.
    pub sessions: usize,
    /// All trackers of the network, this one too, by number.
    pub trackers: Vec<TrackerEntry>,
    /// Whether some other tracker is not up, so that a change is safe on fewer trackers than there
    /// are.
    pub degraded: bool,
    /// For how long that has been so.
    pub degraded_for: Option<Duration>,
    /// Its relay, if it has one.
    pub relay: Option<RelayStatus>,
    /// Time since the start.
    pub uptime: Duration,
}

/// One fact a line, as the console's `status` prints it.
impl fmt::Display for TrackerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { users, groups, files, rows, bytes } = self.counts;
        let seconds = self.uptime.as_secs();
        writeln!(f, "tracker {} at {}", self.number, self.address)?;
        writeln!(f, "network {}", self.network)?;
        writeln!(f, "store {}", self.store)?;
        writeln!(f, "uptime {}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
        writeln!(f, "users {users}\ngroups {groups}\nfiles {files}")?;
        writeln!(f, "rows {rows} in {} KiB of memory", bytes / 1024)?;
        writeln!(f, "directory {}", self.directory)?;
        writeln!(f, "connections {}\nsessions {}", self.connections, self.sessions)?;
        if let Some(RelayStatus { address, stats }) = self.relay {
            let RelayStats { sessions, waiting, sessions_total, bytes_total, .. } = stats;
            let RelayStats { refused_total, strangers_total, .. } = stats;
            writeln!(
                f,
                "relay at {address}: {sessions} pairs, {waiting} waiting; since the start \
                 {sessions_total} pairs, {bytes_total} bytes, {refused_total} refused, \
                 {strangers_total} strangers"
            )?;
        }
        for peer in self.trackers.iter().filter(|peer| peer.state != TrackerState::Myself) {
            writeln!(
                f,
                "peer {} at {}: {}, lag {}",
                peer.number,
                peer.address,
                state_words(peer.state),
                peer.lag
            )?;
        }
        write!(
            f,
            "degraded {}",
            if self.degraded { "yes: changes are not yet safe on every tracker" } else { "no" }
        )
    }
}

fn state_words(state: TrackerState) -> &'static str {
    match state {
        TrackerState::Myself => "myself",
        TrackerState::Up => "up",
        TrackerState::CatchingUp => "catching up",
        TrackerState::Down => "down",
        TrackerState::MustResync => "must resync",
    }
}
