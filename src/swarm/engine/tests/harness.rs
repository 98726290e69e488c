//! An engine with a listener, a network that signs tickets, and a host that remembers what it was
//! told.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tempfile::TempDir;

use crate::net::{DeviceSecurity, Listener, Stop, Transport};
use crate::swarm::api::{MeetError, Meeting};
use crate::swarm::disk::part_file::{Disk, SystemDisk};
use crate::swarm::{
    DownloadSpec, Engine, EngineConfig, EngineEvent, Hashed, Host, LocalCopy, Proof, RelayPlace,
    Transfer, TransferId, TransferState, TransferStatus, hash_file, part_path,
};
use crate::trust::KeyPair;
use crate::types::{
    Bitfield, ChainingValues, DeviceId, FileFacts, GroupId, InfoHash, PartStamp, Ticket,
    TicketClaims, UserId, VerifiedPieces,
};
use crate::wire::metainfo::Metainfo;

pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// The group that everybody is in, unless a test says otherwise.
pub(super) const COMMON: GroupId = GroupId::from_bytes([1; 16]);
/// A group that nobody is in, unless a test says so.
pub(super) const OTHER: GroupId = GroupId::from_bytes([2; 16]);
/// How long a ticket lives, unless a test says otherwise.
const LIFETIME: Duration = Duration::from_secs(600);

static NETWORK: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate().unwrap());
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Waits for a condition.
pub(super) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it never happened: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// The network's clock.
pub(super) fn clock_ms() -> u64 {
    1_000_000 + START.elapsed().as_millis() as u64
}

/// A new device: its key's security.
pub(super) fn device() -> DeviceSecurity {
    DeviceSecurity::new(&KeyPair::generate().unwrap()).unwrap()
}

/// The user whose number it is.
pub(super) fn user(number: u8) -> UserId {
    UserId::from_bytes([number; 16])
}

/// Signs a ticket that is good for `lifetime`.
pub(super) fn ticket(group: GroupId, user: UserId, device: DeviceId, lifetime: Duration) -> Ticket {
    let (issued_ms, life_ms) = (clock_ms(), lifetime.as_millis() as u64);
    NETWORK.sign_ticket(TicketClaims {
        group,
        user,
        device,
        issued_ms,
        expires_ms: issued_ms + life_ms,
    })
}

/// What a host knows of groups.
#[derive(Clone)]
pub(super) struct Membership {
    pub(super) device: DeviceId,
    pub(super) user: UserId,
    /// The groups that we are in.
    pub(super) groups: BTreeSet<GroupId>,
    /// Those in which a file is offered; every file is in the first group.
    pub(super) offered_in: HashMap<InfoHash, BTreeSet<GroupId>>,
    /// Groups that are only sources: whoever is met there gets nothing.
    pub(super) only_takes: BTreeSet<GroupId>,
    /// Users whose tickets are void.
    pub(super) void: BTreeSet<UserId>,
    /// How long our tickets live.
    pub(super) lifetime: Duration,
}

pub(super) struct Recorder {
    pub(super) events: Mutex<Vec<EngineEvent>>,
    pub(super) journal: Mutex<HashMap<InfoHash, VerifiedPieces>>,
    pub(super) metainfo: Mutex<HashMap<InfoHash, Arc<Metainfo>>>,
    pub(super) chains: Mutex<HashMap<InfoHash, Arc<ChainingValues>>>,
    pub(super) membership: Mutex<Membership>,
    /// Files that are said to have a download's content.
    pub(super) copies: Mutex<Vec<LocalCopy>>,
    /// Tickets looked at.
    pub(super) checks: AtomicU32,
    /// Names a relay for a device.
    pub(super) relay: Mutex<Option<AskRelay>>,
    /// Brings this device and another together, as a tracker would; `None`: none can.
    pub(super) meets: Mutex<Option<Meets>>,
}

/// How a test names a relay for a device.
pub(super) type AskRelay = Box<dyn Fn(DeviceId) -> Option<RelayPlace> + Send>;

/// What a tracker does when it is asked for a hole punch.
pub(super) type Meets = Box<dyn Fn(SocketAddr) -> Result<Meeting, MeetError> + Send>;

impl Recorder {
    pub(super) fn new(device: DeviceId, number: u8) -> Self {
        let (groups, offered_in) = (BTreeSet::from([COMMON]), HashMap::new());
        let (only_takes, void, user) = (BTreeSet::new(), BTreeSet::new(), user(number));
        let membership =
            Membership { device, user, groups, offered_in, only_takes, void, lifetime: LIFETIME };
        Self {
            events: Mutex::default(),
            journal: Mutex::default(),
            metainfo: Mutex::default(),
            chains: Mutex::default(),
            membership: Mutex::new(membership),
            copies: Mutex::default(),
            checks: AtomicU32::new(0),
            relay: Mutex::default(),
            meets: Mutex::default(),
        }
    }
}

impl Host for Recorder {
    fn ticket_for(&self, info_hash: InfoHash, _: DeviceId) -> Option<Ticket> {
        let group = self.membership.lock().offered(info_hash).first().copied()?;
        self.own_ticket(group)
    }

    fn own_ticket(&self, group: GroupId) -> Option<Ticket> {
        let membership = self.membership.lock();
        let is_in = membership.groups.contains(&group);
        is_in.then(|| ticket(group, membership.user, membership.device, membership.lifetime))
    }

    fn check_ticket(&self, ticket: &Ticket, device: DeviceId) -> Option<Proof> {
        self.checks.fetch_add(1, Ordering::SeqCst);
        let claims = &ticket.claims;
        let left_ms = claims.expires_ms.checked_sub(clock_ms()).filter(|left| *left > 0)?;
        let void = self.membership.lock().void.contains(&claims.user);
        if claims.device != device || void || !NETWORK.network().signed_ticket(ticket) {
            return None;
        }
        let expires = Instant::now() + Duration::from_millis(left_ms);
        let (issued_ms, expires_ms) = (claims.issued_ms, claims.expires_ms);
        Some(Proof {
            group: claims.group,
            user: claims.user,
            issued_ms,
            expires_ms,
            expires,
            key: NETWORK.network().into(),
        })
    }

    fn is_offered(&self, info_hash: InfoHash, group: GroupId, _: DeviceId) -> bool {
        self.membership.lock().offered(info_hash).contains(&group)
    }

    fn serves(&self, _: InfoHash, group: GroupId) -> bool {
        !self.membership.lock().only_takes.contains(&group)
    }

    fn copies(&self, _: &FileFacts) -> Vec<LocalCopy> {
        self.copies.lock().clone()
    }

    fn journal(&self, _: TransferId, info_hash: InfoHash, verified: &VerifiedPieces) {
        self.journal.lock().insert(info_hash, verified.clone());
    }

    fn metainfo(&self, info_hash: InfoHash, metainfo: &Arc<Metainfo>) {
        self.metainfo.lock().insert(info_hash, metainfo.clone());
    }

    fn chain(&self, info_hash: InfoHash, values: &Arc<ChainingValues>) {
        self.chains.lock().insert(info_hash, values.clone());
    }

    fn relay(&self, _: InfoHash, device: DeviceId) -> Option<RelayPlace> {
        self.relay.lock().as_ref().and_then(|ask| ask(device))
    }

    fn can_meet(&self, _: InfoHash, _: DeviceId) -> bool {
        self.meets.lock().is_some()
    }

    fn meet(
        &self,
        _: InfoHash,
        _: DeviceId,
        from: SocketAddr,
        _: &dyn Fn() -> bool,
    ) -> Result<Meeting, MeetError> {
        self.meets.lock().as_ref().map_or(Err(MeetError::Unable), |meets| meets(from))
    }

    fn event(&self, event: EngineEvent) {
        self.events.lock().push(event);
    }
}

impl Membership {
    fn offered(&self, info_hash: InfoHash) -> BTreeSet<GroupId> {
        self.offered_in.get(&info_hash).cloned().unwrap_or_else(|| BTreeSet::from([COMMON]))
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
    /// Starts a client of the user with this number, on a new device.
    pub(super) fn start(number: u8) -> Self {
        Self::start_with(number, Arc::new(SystemDisk), |_| {})
    }

    pub(super) fn start_with(
        number: u8,
        disk: Arc<dyn Disk>,
        adjust: impl FnOnce(&mut EngineConfig),
    ) -> Self {
        let _ = env_logger::builder().is_test(true).try_init();
        let transport = Transport::Tls(device());
        let device = transport.device();
        let mut config = EngineConfig {
            journal_interval: Duration::from_millis(20),
            ..EngineConfig::new(transport)
        };
        adjust(&mut config);
        let host = Arc::new(Recorder::new(device, number));
        let engine = Engine::start_on(config, host.clone(), disk).unwrap();
        let listener = Arc::new(Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap());
        let _ = listener.share_port();
        let (stop, address) = (Stop::new(), listener.local_addr());
        let (accepts, listens, stops) = (engine.clone(), listener.clone(), stop.clone());
        let accepting =
            std::thread::spawn(move || listens.run(&stops, |incoming| accepts.accept(incoming)));
        let directory = tempfile::tempdir().unwrap();
        Self {
            engine,
            host,
            device,
            address,
            directory,
            listener,
            stop,
            accepting: Some(accepting),
        }
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
        DownloadSpec {
            id: TransferId(1),
            facts: facts.clone(),
            target,
            metainfo: None,
            chain: None,
            part: None,
            verified: None,
            paused: false,
        }
    }

    pub(super) fn fetch(&self, facts: &FileFacts, from: &[&Station]) -> Transfer {
        let transfer = self.engine.download(self.spec(facts)).unwrap();
        self.engine.add_peers(
            facts.info_hash,
            from.iter().map(|station| (station.device, station.address)),
        );
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
        let completed =
            || self.host.events.lock().iter().any(|e| matches!(e, EngineEvent::Completed { .. }));
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
    hashed.facts()
}

/// Bytes that repeat nowhere, the same for the same seed.
pub(super) fn noise(len: usize, seed: u64) -> Vec<u8> {
    use rand::{RngExt, SeedableRng};
    let mut data = vec![0; len];
    rand::rngs::SmallRng::seed_from_u64(seed).fill(&mut data[..]);
    data
}

/// The journal of a `.part` that the download left as it is now.
pub(super) fn left(part: &std::path::Path, pieces: Bitfield) -> VerifiedPieces {
    let facts = std::fs::metadata(part).ok();
    VerifiedPieces {
        pieces,
        part: facts
            .map(|facts| PartStamp { changed_ns: PartStamp::changed_ns(&facts), is_final: true }),
    }
}
