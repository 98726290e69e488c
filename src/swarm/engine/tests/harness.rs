//! An engine with a listener, a directory, and a host that remembers what it was told.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tempfile::TempDir;

use crate::net::{Listener, Stop};
use crate::swarm::storage::{Disk, SystemDisk};
use crate::swarm::{
    DownloadSpec, Engine, EngineConfig, EngineEvent, Hashed, Host, Transfer, TransferState, TransferStatus, hash_file, part_path,
};
use crate::types::{Bitfield, DeviceId, FileFacts, InfoHash};
use crate::wire::metainfo::Metainfo;

pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a condition.
pub(super) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it never happened: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

#[derive(Default)]
pub(super) struct Recorder {
    pub(super) events: Mutex<Vec<EngineEvent>>,
    pub(super) journal: Mutex<HashMap<InfoHash, Bitfield>>,
    pub(super) metainfo: Mutex<HashMap<InfoHash, Arc<Metainfo>>>,
    pub(super) refuses: AtomicBool,
}

impl Host for Recorder {
    fn may_link(&self, _: InfoHash, _: DeviceId) -> bool {
        !self.refuses.load(Ordering::SeqCst)
    }

    fn journal(&self, info_hash: InfoHash, verified: &Bitfield) {
        self.journal.lock().insert(info_hash, verified.clone());
    }

    fn metainfo(&self, info_hash: InfoHash, metainfo: &Arc<Metainfo>) {
        self.metainfo.lock().insert(info_hash, metainfo.clone());
    }

    fn event(&self, event: EngineEvent) {
        self.events.lock().push(event);
    }
}

/// One client, as far as the engine sees it.
pub(super) struct Station {
    pub(super) engine: Arc<Engine>,
    pub(super) host: Arc<Recorder>,
    pub(super) device: DeviceId,
    pub(super) address: SocketAddr,
    pub(super) directory: TempDir,
    listener: Arc<Listener>,
    stop: Stop,
    accepting: Option<std::thread::JoinHandle<()>>,
}

impl Station {
    pub(super) fn start(number: u8) -> Self {
        Self::start_with(number, Arc::new(SystemDisk), |_| {})
    }

    pub(super) fn start_with(number: u8, disk: Arc<dyn Disk>, adjust: impl FnOnce(&mut EngineConfig)) -> Self {
        let _ = env_logger::builder().is_test(true).try_init();
        let device = DeviceId::from_bytes([number; 32]);
        let mut config = EngineConfig { journal_interval: Duration::from_millis(20), ..EngineConfig::new(device) };
        adjust(&mut config);
        let host = Arc::new(Recorder::default());
        let engine = Engine::start_on(config, host.clone(), disk).unwrap();
        let listener = Arc::new(Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap());
        let (stop, address) = (Stop::new(), listener.local_addr());
        let (accepts, listens, stops) = (engine.clone(), listener.clone(), stop.clone());
        let accepting = std::thread::spawn(move || listens.run(&stops, |connection| accepts.accept(connection)));
        let directory = tempfile::tempdir().unwrap();
        Self { engine, host, device, address, directory, listener, stop, accepting: Some(accepting) }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Shares new data under a name; returns what the directory would say about it.
    pub(super) fn share(&self, name: &str, data: &[u8]) -> FileFacts {
        std::fs::write(self.path(name), data).unwrap();
        let hashed = hash_file(&self.path(name), &mut |_| true).unwrap();
        self.engine.seed(hashed.seed.clone()).unwrap();
        facts(&hashed)
    }

    pub(super) fn spec(&self, facts: &FileFacts) -> DownloadSpec {
        let target = self.path(facts.name.as_str());
        DownloadSpec { facts: facts.clone(), target, metainfo: None, verified: None, paused: false }
    }

    pub(super) fn fetch(&self, facts: &FileFacts, from: &[&Station]) -> Transfer {
        let transfer = self.engine.download(self.spec(facts)).unwrap();
        self.engine.add_peers(facts.info_hash, from.iter().map(|station| (station.device, station.address)));
        transfer
    }

    pub(super) fn part(&self, facts: &FileFacts) -> PathBuf {
        part_path(&self.path(facts.name.as_str()), facts.info_hash)
    }

    pub(super) fn assert_complete(&self, transfer: &Transfer, data: &[u8]) -> TransferStatus {
        let status = transfer.wait(PATIENCE);
        assert_eq!(status.state, TransferState::Complete, "{:?}", transfer.why());
        assert!(std::fs::read(transfer.target()).unwrap() == data, "the copy differs");
        assert_eq!(status.bytes_done, data.len() as u64);
        let completed = || self.host.events.lock().iter().any(|e| matches!(e, EngineEvent::Completed { .. }));
        eventually("the host hears of the completion", completed);
        status
    }

    pub(super) fn stop(&mut self) {
        self.stop.set();
        self.listener.wake();
        if let Some(thread) = self.accepting.take() {
            thread.join().unwrap();
        }
        let stayed = self.engine.stop(PATIENCE);
        assert!(stayed.is_empty() || std::thread::panicking(), "threads stayed: {stayed:?}");
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(super) fn facts(hashed: &Hashed) -> FileFacts {
    let (metainfo, sha1) = (&hashed.seed.metainfo, hashed.sha1);
    let geometry = metainfo.geometry();
    let (info_hash, name) = (metainfo.info_hash(), metainfo.name().clone());
    FileFacts { info_hash, name, len: geometry.len(), piece_len: geometry.piece_len(), sha1 }
}

/// Bytes that repeat nowhere, the same for the same seed.
pub(super) fn noise(len: usize, seed: u64) -> Vec<u8> {
    use rand::{RngExt, SeedableRng};
    let mut data = vec![0; len];
    rand::rngs::SmallRng::seed_from_u64(seed).fill(&mut data[..]);
    data
}
