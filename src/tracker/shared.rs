//! What the threads of one tracker share.
//!
//! **Invariant:** everything here is either fixed at the start or guarded by a lock held for a few instructions.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use super::config::{TrackerError, TrackerLimits, TrackerStatus};
use super::core::{CoreHandle, View};
use super::gate::Gate;
use super::log_limiter::{LeftOut, LogLimiter};
use super::outbox::Notifier;
use super::password::Hasher;
use super::quota::Quota;
use crate::net::{Budget, Registry, Source, Stop, Threads, TrackerSecurity};
use crate::trust::KeyPair;
use crate::types::{Fingerprint, OriginId, Sha1Digest, TrackerEntry, TrackerInfo, TrackerState};
use crate::wire::replication::LinkRefusal;

/// What a connection was refused or closed for, as far as the log tells such events apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Oddity {
    /// It is a tracker of that network.
    OtherNetwork(Fingerprint),
    /// It does not take this tracker's certificate.
    RefusedUs,
    /// It made no handshake, or broke the protocol.
    Protocol,
    /// It is a tracker that this one makes no link with.
    Link(LinkRefusal),
}

/// What the threads of one tracker share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// This tracker's number.
    pub(crate) number: u32,
    /// All trackers.
    pub(crate) info: TrackerInfo,
    /// Digest of `info`.
    pub(crate) network: Sha1Digest,
    /// Where this tracker listens.
    pub(crate) address: SocketAddr,
    /// The local address to dial from, so that the other end's log shows the address that `tracker_info.txt` names; none if
    /// this tracker listens elsewhere (`--listen`), as behind port forwarding.
    pub(crate) dial_from: Option<IpAddr>,
    /// Where its store is.
    pub(crate) data_dir: PathBuf,
    /// Times and bounds.
    pub(crate) limits: TrackerLimits,
    /// The store's name, as it is on the disk.
    pub(crate) origin: Mutex<OriginId>,
    /// The way to the core.
    pub(crate) core: CoreHandle,
    /// Hashes passwords.
    pub(crate) hasher: Hasher,
    /// Slows attempts at passwords.
    pub(crate) gate: Gate,
    /// Counts what is made.
    pub(crate) quota: Quota,
    /// Memory for requests that have not come whole.
    pub(crate) unfinished: Budget,
    /// Writes events.
    pub(crate) notifier: Notifier,
    /// The network's key.
    pub(crate) network_key: Arc<KeyPair>,
    /// Makes connections.
    pub(crate) security: TrackerSecurity,
    /// Connections that were accepted.
    pub(crate) accepted: Registry,
    /// Replication links that were dialled.
    pub(crate) dialled: Registry,
    /// Every thread but the notifier's.
    pub(crate) threads: Threads,
    /// No more connections are taken: the tracker is to end, or has ended by itself.
    pub(crate) stop: Stop,
    /// No more links are dialled, and those that stand are to end. Set after the core has ended, so that the last changes still reach
    /// the other trackers.
    pub(crate) links_stop: Stop,
    /// When the tracker started.
    pub(crate) started: Instant,
    /// Why it ended by itself.
    pub(crate) failure: Mutex<Option<TrackerError>>,
    /// Numbers given to connections.
    pub(crate) next_key: AtomicU64,
    /// Whom the log has named.
    pub(crate) named: LogLimiter<(Source, Oddity)>,
}

impl Shared {
    /// A number that no other connection of this tracker has or had.
    pub(crate) fn new_key(&self) -> u64 {
        self.next_key.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts an oddity from there. If the log is to tell of it, returns how many like it were left out since the last time.
    pub(crate) fn is_news(&self, address: IpAddr, oddity: Oddity) -> Option<LeftOut> {
        self.named.admit((Source::of(address), oddity), Instant::now())
    }

    /// All trackers as this one sees them, by number.
    pub(crate) fn trackers(&self, view: &View<'_>) -> Vec<TrackerEntry> {
        let links = view.replica.links();
        let entry = |(number, address): (u32, &crate::types::TrackerAddress)| {
            let link = links.iter().find(|link| link.tracker == number);
            let (state, lag) = match link {
                _ if number == self.number => (TrackerState::Myself, 0),
                Some(link) => (link.state, link.lag),
                None => (TrackerState::Down, 0),
            };
            TrackerEntry { number, address: address.to_label(), state, lag }
        };
        self.info.iter().map(entry).collect()
    }

    /// What the tracker says about itself.
    pub(crate) fn status(&self, view: &View<'_>) -> TrackerStatus {
        TrackerStatus {
            number: self.number,
            network: self.network_key.fingerprint(),
            address: self.address,
            origin: view.replica.origin(),
            counts: view.directory().counts(),
            directory: view.directory().digest(),
            connections: self.accepted.count(),
            sessions: view.presence.session_count(),
            trackers: self.trackers(view),
            degraded: view.replica.is_degraded(),
            uptime: self.started.elapsed(),
        }
    }
}
