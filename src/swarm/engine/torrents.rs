//! The torrents of an engine: which there are, and what is offered.
//!
//! **Invariant:** a content is there once, under its info hash, however many groups offer it. One
//! change at a time decides which torrents there are.
//!
//! Called by the client's threads and the links'. Blocks only where [`Host::seed`] does.
//!
//! [`Host::seed`]: crate::swarm::api::Host::seed

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::record::DownloadRecord;
use super::run;
use super::services::Services;
use super::torrent::{Torrent, TorrentState};
use crate::swarm::ReaderKey;
use crate::swarm::api::{DownloadSpec, EngineError, SeedSpec, TransferState};
use crate::types::{Geometry, GroupId, InfoHash};
use crate::wire::metainfo::Metainfo;

/// Readers at a time: half of the connections that a control socket serves.
pub const READERS_MAX: usize = 32;

pub(crate) struct Torrents {
    pub(super) services: Arc<Services>,
    by_hash: RwLock<HashMap<InfoHash, Arc<Torrent>>>,
    changes: Mutex<()>,
    /// The readers that are open, with the group in whose name each reads.
    readers: Mutex<BTreeMap<ReaderKey, (Arc<Torrent>, GroupId)>>,
    next_reader: AtomicU64,
}

impl Torrents {
    pub(super) fn new(services: Arc<Services>) -> Self {
        Self {
            services,
            by_hash: RwLock::default(),
            changes: Mutex::default(),
            readers: Mutex::default(),
            next_reader: AtomicU64::new(1),
        }
    }

    pub(crate) fn get(&self, info_hash: InfoHash) -> Option<Arc<Torrent>> {
        self.by_hash.read().get(&info_hash).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Torrent>> {
        self.by_hash.read().values().cloned().collect()
    }

    pub(crate) fn active(&self) -> Vec<Arc<Torrent>> {
        self.services.active().into_iter().filter_map(|info_hash| self.get(info_hash)).collect()
    }

    pub(super) fn take_all(&self) -> Vec<Arc<Torrent>> {
        std::mem::take(&mut *self.by_hash.write()).into_values().collect()
    }

    fn get_or_insert(
        &self,
        info_hash: InfoHash,
        geometry: Geometry,
    ) -> Result<Arc<Torrent>, EngineError> {
        if self.services.stop.is_set() {
            return Err(EngineError::Stopped);
        }
        let mut by_hash = self.by_hash.write();
        let torrent = by_hash
            .entry(info_hash)
            .or_insert_with(|| Arc::new(Torrent::new(&self.services, info_hash, geometry)));
        if torrent.geometry != geometry {
            return Err(EngineError::Mismatch);
        }
        Ok(torrent.clone())
    }

    /// Adds a download, paused.
    pub(super) fn add_download(&self, spec: DownloadSpec) -> Result<Arc<Torrent>, EngineError> {
        let geometry = Geometry::new(spec.facts.len, spec.facts.piece_len)?;
        let record = DownloadRecord::new(&spec, geometry)?;
        let _changes = self.changes.lock();
        let torrent = self.get_or_insert(spec.facts.info_hash, geometry)?;
        {
            let mut state = torrent.state.lock();
            match &state.transfer {
                Some(other) if !other.phase.has_ended() && !other.is_put_away() => {
                    return Err(EngineError::AlreadyDownloading(other.target.clone()));
                }
                _ => state.transfer = Some(record),
            }
        }
        let of_small = || Metainfo::of_small(&spec.facts).map(Arc::new);
        if let Some(metainfo) = spec.metainfo.or_else(of_small) {
            let _ = torrent.metainfo.set(metainfo);
        }
        Ok(torrent)
    }

    pub(super) fn seed(&self, spec: SeedSpec) -> Result<Arc<Torrent>, EngineError> {
        let (info_hash, geometry) = (spec.metainfo.info_hash(), spec.metainfo.geometry());
        let _changes = self.changes.lock();
        let torrent = self.get_or_insert(info_hash, geometry)?;
        let _ = torrent.metainfo.set(spec.metainfo.clone());
        self.services.seed_files.close(info_hash);
        let mut state = torrent.state.lock();
        state.uploads.set_seeding(true);
        if state.seed.replace(spec).is_none() {
            take_from_seed(&torrent, &mut state);
        }
        state.start_super_seeding(geometry);
        drop(state);
        Ok(torrent)
    }

    /// Returns the torrent that a peer asks for, if it is offered or being downloaded. The host is
    /// asked for a file that no peer has asked for yet.
    pub(super) fn offered(&self, info_hash: InfoHash) -> Option<Arc<Torrent>> {
        let known = self.get(info_hash);
        if known.as_ref().is_some_and(|torrent| torrent.state.lock().seed.is_some()) {
            return known;
        }
        // A download of it may be paused, while the file is offered in another group. If the file
        // is withdrawn before the link is registered, the registration is refused.
        let spec = self.services.host.seed(info_hash);
        spec.and_then(|spec| self.seed(spec).ok()).or(known)
    }

    /// Adds a reader of a torrent; `None` if there are too many.
    pub(super) fn add_reader(&self, torrent: &Arc<Torrent>, group: GroupId) -> Option<ReaderKey> {
        let key = ReaderKey(self.next_reader.fetch_add(1, Ordering::Relaxed));
        // The torrent first: a reader that is found by its group can then be revoked.
        if !torrent.state.lock().readers.add(key) {
            return None;
        }
        let mut readers = self.readers.lock();
        if readers.len() < READERS_MAX {
            readers.insert(key, (torrent.clone(), group));
            return Some(key);
        }
        drop(readers);
        self.remove_reader(torrent, key);
        None
    }

    pub(super) fn remove_reader(&self, torrent: &Torrent, key: ReaderKey) {
        self.readers.lock().remove(&key);
        let state = &mut *torrent.state.lock();
        let download = state.transfer.as_mut().and_then(|transfer| transfer.download.as_mut());
        state.readers.remove(key, download);
    }

    pub(super) fn end_readers(&self, ends: impl Fn(InfoHash, GroupId) -> bool) {
        let ended: Vec<(ReaderKey, Arc<Torrent>)> = {
            let readers = self.readers.lock();
            let ended =
                readers.iter().filter(|(_, (torrent, group))| ends(torrent.info_hash, *group));
            ended.map(|(key, (torrent, _))| (*key, torrent.clone())).collect()
        };
        for (key, torrent) in ended {
            torrent.state.lock().readers.revoke(key);
            torrent.changed.notify_all();
        }
    }

    /// Stops offering a file; false if it was not offered.
    pub(super) fn unseed(&self, info_hash: InfoHash) -> bool {
        let Some(torrent) = self.get(info_hash) else { return false };
        let was_offered = torrent.state.lock().stop_seeding();
        self.forget_unused(info_hash);
        was_offered
    }

    pub(super) fn forget_unused(&self, info_hash: InfoHash) {
        let _changes = self.changes.lock();
        let Some(torrent) = self.get(info_hash) else { return };
        let state = torrent.state.lock();
        let is_over = |record: &DownloadRecord| {
            matches!(record.phase, TransferState::Complete | TransferState::Cancelled)
        };
        if state.seed.is_none() && state.transfer.as_ref().is_none_or(is_over) {
            torrent.deactivate();
            self.by_hash.write().remove(&info_hash);
        }
    }
}

/// The file is offered from another place now: a download of it takes from there what it lacks. The
/// links end: the other ends know only what the download had, and seeders would not stay.
fn take_from_seed(torrent: &Arc<Torrent>, state: &mut TorrentState) {
    let Some(transfer) = &mut state.transfer else { return };
    match transfer.phase {
        TransferState::Paused(_) => transfer.leave_thread(),
        TransferState::Checking | TransferState::Metainfo | TransferState::Downloading => {
            transfer.leave_thread();
            run::start(torrent, state);
        }
        _ => return,
    }
    state.links.close_if(|_| true);
}
