//! What the threads of one tracker share.
//!
//! **Invariant:** everything here is either fixed at the start or guarded by a lock held for a few
//! instructions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::audit_log::AuditLog;
use super::config::{TrackerError, TrackerLimits, TrackerStatus};
use super::core::{CoreHandle, View};
use super::gate::Gate;
use super::handshakes::Handshakes;
use super::keys::NetworkKeys;
use super::log_limiter::{LeftOut, LogLimiter};
use super::outbox::Notifier;
use super::password::Hasher;
use super::quota::Quota;
use super::readers::Readers;
use super::relay_config::RelayStatus;
use crate::directory::Settings;
use crate::http::access::Access;
use crate::net::{Budget, Registry, Source, Stop, Threads};
use crate::relay::Relay;
use crate::store::StorePlace;
use crate::types::limits::TRACKERS_MAX;
use crate::types::{
    Fingerprint, Label, Lineage, TrackerAddress, TrackerEntry, TrackerInfo, TrackerState,
};
use crate::wire::replication::LinkRefusal;
use crate::wire::tracker::Event;

/// Sessions that a client keeps with trackers that share a database, so that one may fail.
const SESSIONS_ENOUGH: u8 = 2;

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

/// What the operator has changed of the file's list of trackers.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    /// By number; `None` for one that was removed.
    changed: BTreeMap<u32, Option<String>>,
    /// Addresses of trackers that were removed, or that another has taken the number of.
    addresses: BTreeSet<TrackerAddress>,
}

impl Removals {
    /// Tells whether a tracker that says to have this number and address was removed.
    fn has(&self, number: u32, address: &Label) -> bool {
        match self.changed.get(&number) {
            None => false,
            Some(None) => true,
            Some(Some(now)) => {
                let is_gone = |gone: &TrackerAddress| gone.to_label() == *address;
                now != address.as_str() && self.addresses.iter().any(is_gone)
            }
        }
    }
}

/// The other trackers, by number.
#[derive(Debug)]
pub(crate) struct Others {
    /// Those that have no thread yet.
    pub(crate) new: Vec<u32>,
    /// All of them, if the list has changed or was never taken over.
    pub(crate) changed: Option<Vec<u32>>,
}

/// What the threads of one tracker share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// This tracker's number.
    pub(crate) number: u32,
    /// The trackers that the file names.
    pub(crate) info: TrackerInfo,
    /// All trackers by number: those of the file, with what the operator has changed since.
    pub(crate) trackers: Mutex<BTreeMap<u32, TrackerAddress>>,
    /// What the operator has changed of the file's list since, and the addresses that are none of
    /// the network's any more, as far as they are known: at most as many as the operator has
    /// removed while this tracker ran.
    pub(crate) removals: Mutex<Removals>,
    /// Where this tracker listens.
    pub(crate) address: SocketAddr,
    /// The local address to dial from, so that the other end's log shows the address that
    /// `tracker_info.txt` names; none if this tracker listens elsewhere (`--listen`), as behind
    /// port forwarding.
    pub(crate) dial_from: Option<IpAddr>,
    /// Who may use the page, if one is served.
    pub(crate) access: Option<Arc<Access>>,
    /// Where its data directory is.
    pub(crate) data_dir: PathBuf,
    /// Where its store is.
    pub(crate) place: StorePlace,
    /// Times and bounds.
    pub(crate) limits: TrackerLimits,
    /// This tracker's store, and those it goes on from.
    pub(crate) lineage: Lineage,
    /// The ways to the directory on the disk.
    pub(crate) readers: Readers,
    /// The way to the core.
    pub(crate) core: CoreHandle,
    /// Hashes passwords.
    pub(crate) hasher: Hasher,
    /// Slows attempts at passwords.
    pub(crate) gate: Gate,
    /// Takes changes for the audit's file, if there is one.
    pub(crate) audit_log: Option<AuditLog>,
    /// Counts what is made.
    pub(crate) quota: Quota,
    /// Memory for requests that have not come whole.
    pub(crate) unfinished: Budget,
    /// Passes bytes between members, if this tracker relays.
    pub(crate) relay: Option<Arc<Relay>>,
    /// Writes events.
    pub(crate) notifier: Notifier,
    /// The network's keys, and how connections are made with them.
    pub(crate) keys: NetworkKeys,
    /// The way to threads that wait for a handshake to make.
    pub(crate) handshakes: Handshakes,
    /// Connections that were accepted.
    pub(crate) accepted: Registry,
    /// Replication links that were dialled.
    pub(crate) dialled: Registry,
    /// Every thread but the notifier's.
    pub(crate) threads: Threads,
    /// No more connections are taken: the tracker is to end, or has ended by itself.
    pub(crate) stop: Stop,
    /// No more links are dialled, and those that stand are to end. Set after the core has ended, so
    /// that the last changes still reach the other trackers.
    pub(crate) links_stop: Stop,
    /// When the tracker started.
    pub(crate) started: Instant,
    /// Why it ended by itself.
    pub(crate) failure: Mutex<Option<TrackerError>>,
    /// Numbers given to connections.
    pub(crate) next_key: AtomicU64,
    /// Numbers of the trackers that have a thread.
    pub(crate) dialling: Mutex<std::collections::BTreeSet<u32>>,
    /// What was said of the trackers that others know.
    pub(crate) told: Mutex<HashMap<u32, String>>,
    /// Whom the log has named.
    pub(crate) named: LogLimiter<(Source, Oddity)>,
}

impl Shared {
    /// A number that no other connection of this tracker has or had.
    pub(crate) fn new_key(&self) -> u64 {
        self.next_key.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts an oddity from there. If the log is to tell of it, returns how many like it were left
    /// out since the last time.
    pub(crate) fn is_news(&self, address: IpAddr, oddity: Oddity) -> Option<LeftOut> {
        self.named.admit((Source::of(address), oddity), Instant::now())
    }

    /// All trackers as this one sees them, by number.
    pub(crate) fn trackers(&self, view: &View<'_>) -> Vec<TrackerEntry> {
        let links = view.replica.links();
        let alive = view.directory().rows().alive().unwrap_or_default();
        let entry = |(number, address): (u32, &TrackerAddress)| {
            let link = links.iter().find(|link| link.tracker == number);
            let (state, lag) = match link {
                _ if number == self.number => (TrackerState::Myself, 0),
                Some(link) => (link.state, link.lag),
                None if alive.contains(&number) => (TrackerState::Up, 0),
                None => (TrackerState::Down, 0),
            };
            TrackerEntry { number, address: address.to_label(), state, lag }
        };
        self.trackers.lock().iter().map(|(&number, address)| entry((number, address))).collect()
    }

    /// Where another tracker is to be dialled; `None` if it is no longer one of the network's.
    pub(crate) fn peer_address(&self, number: u32) -> Option<TrackerAddress> {
        self.trackers.lock().get(&number).cloned()
    }

    /// This tracker's address, as the others know it.
    pub(crate) fn own_label(&self) -> Label {
        let own = self.trackers.lock().get(&self.number).map(TrackerAddress::to_label);
        own.or_else(|| self.info.get(self.number).map(TrackerAddress::to_label))
            .unwrap_or_else(|| Label::new(&self.address.to_string(), 1))
    }

    /// Every tracker's address.
    pub(crate) fn tracker_labels(&self) -> Vec<Label> {
        self.trackers.lock().values().map(TrackerAddress::to_label).collect()
    }

    /// What clients are told of the trackers.
    pub(crate) fn trackers_event(&self) -> Event {
        let removed = self
            .removals
            .lock()
            .addresses
            .iter()
            .take(TRACKERS_MAX)
            .map(TrackerAddress::to_label)
            .collect();
        Event::Trackers { addresses: self.tracker_labels(), removed }
    }

    /// What clients are told of how many sessions they need: with trackers that share a database two,
    /// so that one may fail.
    pub(crate) fn enough_event(&self) -> Option<Event> {
        self.place.is_shared().then_some(Event::EnoughSessions { count: SESSIONS_ENOUGH })
    }

    /// What clients are told of the network's key, if another takes its place or has done so. The
    /// end of the change before comes first: a client that has missed it can take up the next one.
    pub(crate) fn key_events(&self) -> Vec<Event> {
        self.keys.ring().rotations().map(|rotation| Event::NetworkKey { rotation }).collect()
    }

    /// Tells whether the operator has removed the tracker that says to have this number and
    /// address.
    pub(crate) fn is_removed(&self, number: u32, address: &Label) -> bool {
        self.removals.lock().has(number, address)
    }

    /// Says once what differs between the trackers that this one knows and those another does.
    pub(crate) fn compare_trackers(&self, number: u32, theirs: &[Label]) {
        let ours = self.tracker_labels();
        let only = |these: &[Label], others: &[Label]| {
            let only: Vec<String> =
                these.iter().filter(|l| !others.contains(l)).map(ToString::to_string).collect();
            if only.is_empty() { "none".to_owned() } else { only.join(", ") }
        };
        if ours.iter().any(|label| !theirs.contains(label))
            || theirs.iter().any(|label| !ours.contains(label))
        {
            let words = format!(
                "tracker {number} knows other trackers than this one: only there {}; only here {}",
                only(theirs, &ours),
                only(&ours, theirs)
            );
            if self.told.lock().insert(number, words.clone()).as_ref() != Some(&words) {
                log::warn!("{words}");
            }
        }
    }

    /// Takes over the trackers that the operator has added or removed. The thread of one that was
    /// removed ends by itself.
    pub(crate) fn follow_settings(&self, settings: &Settings) -> Others {
        let mut list: BTreeMap<u32, TrackerAddress> =
            self.info.iter().map(|(number, address)| (number, address.clone())).collect();
        for (&number, address) in &settings.trackers {
            match address.as_deref().map(str::parse) {
                None => drop(list.remove(&number)),
                Some(Ok(address)) => drop(list.insert(number, address)),
                Some(Err(e)) => {
                    log::warn!("tracker {number} has an address that cannot be used: {e}")
                }
            }
        }
        let mut trackers = self.trackers.lock();
        let mut dialling = self.dialling.lock();
        let others: Vec<u32> =
            list.keys().copied().filter(|number| *number != self.number).collect();
        {
            let mut removals = self.removals.lock();
            removals.changed.clone_from(&settings.trackers);
            let known = self.info.iter().map(|(_, address)| address).chain(trackers.values());
            removals.addresses.extend(known.cloned());
            removals.addresses.retain(|address| !list.values().any(|there| there == address));
        }
        let is_new = *trackers != list || others.iter().any(|number| !dialling.contains(number));
        *trackers = list;
        drop(trackers);
        dialling.retain(|number| others.contains(number));
        let new = others.iter().copied().filter(|&number| dialling.insert(number)).collect();
        Others { new, changed: is_new.then_some(others) }
    }

    /// What the tracker says about itself.
    pub(crate) fn status(&self, view: &View<'_>) -> TrackerStatus {
        let is_degraded = view.replica.is_degraded();
        TrackerStatus {
            number: self.number,
            network: self.keys.ring().fingerprint(),
            address: self.address,
            store: self.lineage.store,
            counts: view.directory().counts(),
            directory: view.directory().digest(),
            connections: self.accepted.count(),
            sessions: view.presence.session_count(),
            trackers: self.trackers(view),
            degraded: is_degraded,
            // The core notes at its next tick since when.
            degraded_for: is_degraded
                .then(|| view.degraded_since.map_or(Duration::ZERO, |since| since.elapsed())),
            relay: self.relay.as_deref().map(RelayStatus::of),
            uptime: self.started.elapsed(),
        }
    }
}
