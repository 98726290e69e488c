//! The surroundings of a session, simulated: store, file systems, engine, trackers, and users.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::client::error::{ClientError, SessionEnd};
use crate::client::lan::Found;
use crate::client::session::Session;
use crate::client::session::input::*;
use crate::client::session::library::{Phase, Work};
use crate::client::session::news::{News, RemovedFile};
use crate::store::{DownloadRow, Progress, QueuedRow, ShareRow, ShareState, StoreError, Write};
use crate::swarm::{Pulse, SeedSpec, TransferState};
use crate::types::{
    Bitfield, DeviceId, DownloadState, FileFacts, FileStamp, Geometry, GroupId, InfoHash, InodeId,
    Label, PeerEntry, Sha1Digest, UserEntry, UserId, VerifiedPieces,
};
use crate::wire::metainfo::Metainfo;

const FILES: u8 = 6;
const GROUPS: u8 = 2;
pub(super) const USER: UserId = UserId::from_bytes([1; 16]);

pub(super) fn group(number: u8) -> GroupId {
    GroupId::from_bytes([number + 10; 16])
}

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

pub(super) fn metainfo(file: u8) -> Arc<Metainfo> {
    let name = format!("f{file}").parse().unwrap();
    let geometry = Geometry::for_file(100 + u64::from(file)).unwrap();
    Arc::new(Metainfo::new(name, geometry, vec![Sha1Digest::from_bytes([file; 20])]).unwrap())
}

pub(super) fn facts(file: u8) -> FileFacts {
    let metainfo = metainfo(file);
    FileFacts {
        info_hash: metainfo.info_hash(),
        name: metainfo.name().clone(),
        len: metainfo.geometry().len(),
        piece_len: metainfo.geometry().piece_len(),
        sha1: Sha1Digest::from_bytes([file; 20]),
        chain: None,
    }
}

pub(crate) fn download_row(file: u8) -> DownloadRow {
    DownloadRow {
        user: USER,
        group: group(file % GROUPS),
        group_label: label(&format!("g{}", file % GROUPS)),
        label: label(&format!("f{file}")),
        facts: facts(file),
        // Files 4 and 5 have different contents and the same target path.
        target: PathBuf::from(format!("/disk{}/f{}", file % 2, if file == 5 { 4 } else { file })),
        progress: Progress::Running,
        verified: None,
        part: None,
        begun_ms: u64::from(file),
    }
}

pub(super) fn share_row(file: u8) -> ShareRow {
    ShareRow {
        user: USER,
        group: group(file % GROUPS),
        group_label: label(&format!("g{}", file % GROUPS)),
        label: label(&format!("f{file}")),
        facts: facts(file),
        path: format!("/shared/f{file}").into(),
        stamp: stamp(),
        state: ShareState::Pending,
    }
}

pub(super) fn stamp() -> FileStamp {
    FileStamp { len: 100, modified_ns: 1, dev: 1, inode: 1, born_ns: Some(1) }
}

pub(super) fn seed(file: u8) -> SeedSpec {
    SeedSpec {
        metainfo: metainfo(file),
        chain: None,
        path: download_row(file).target,
        stamp: stamp(),
    }
}

pub(super) fn user() -> UserEntry {
    UserEntry { user: USER, label: label("nik") }
}

/// The rows that are durable.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Rows {
    pub(super) shares: BTreeMap<(GroupId, InfoHash), ShareRow>,
    pub(super) downloads: BTreeMap<InfoHash, DownloadRow>,
    queued: BTreeMap<InfoHash, QueuedRow>,
}

impl Rows {
    fn apply(&mut self, write: &Write) {
        match write {
            Write::Share(row) => {
                self.shares.insert((row.group, row.facts.info_hash), (**row).clone());
            }
            Write::NoShare { group, info_hash, .. } => {
                self.shares.remove(&(*group, *info_hash));
            }
            Write::Download(row) => {
                self.downloads.insert(row.facts.info_hash, (**row).clone());
            }
            Write::NoDownload { info_hash, .. } => {
                self.downloads.remove(info_hash);
            }
            Write::Queued(_, row) => {
                self.queued.insert(row.info_hash, *row);
            }
            Write::Metainfo(_)
            | Write::Chain(..)
            | Write::GroupLabel(..)
            | Write::Trackers(..)
            | Write::LastRequest(_) => {}
        }
    }
}

/// One download in the engine.
#[derive(Debug, Clone)]
struct Transfer {
    file: u8,
    state: TransferState,
}

/// The session and its simulated surroundings.
pub(super) struct World {
    pub(super) session: Session,
    rng: SmallRng,
    pub(super) now: Now,
    pub(super) rows: Rows,
    /// The transaction that waits for the store.
    pub(super) transaction: Option<(u64, Vec<Write>)>,
    /// Percentage of transactions that fail.
    pub(super) store_fails: u32,
    /// Whether anything fails at all.
    pub(super) is_faulty: bool,
    engine: BTreeMap<TransferId, Transfer>,
    is_engine_up: bool,
    /// Inputs on their way to the session; they arrive in any order.
    pub(super) coming: Vec<Input>,
    last_reply: u64,
    /// Commands that are not answered yet.
    waiting: HashMap<ReplyTo, String>,
    pub(super) answers: Vec<(ReplyTo, Result<Answer, ClientError>)>,
    pub(super) told: usize,
    /// Inputs and effects are printed.
    is_traced: bool,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut session = Session::new(2);
        session.input(Input::Tick, Now { up: Duration::ZERO, clock_ms: 0 });
        Self {
            session,
            rng: SmallRng::seed_from_u64(seed),
            now: Now { up: Duration::from_secs(1_000), clock_ms: 1_000_000 },
            rows: Rows::default(),
            transaction: None,
            store_fails: 30,
            is_faulty: true,
            engine: BTreeMap::new(),
            is_engine_up: false,
            coming: Vec::new(),
            last_reply: 0,
            waiting: HashMap::new(),
            answers: Vec::new(),
            told: 0,
            is_traced: std::env::var_os("POSSE_SIM_TRACE").is_some(),
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now.up += time;
        self.now.clock_ms += time.as_millis() as u64;
        self.drain();
    }

    /// Sends a command to the session.
    pub(super) fn command(&mut self, command: Command) -> ReplyTo {
        self.last_reply += 1;
        let reply = ReplyTo(self.last_reply);
        self.waiting.insert(reply, format!("{command:?}"));
        if self.is_traced {
            eprintln!("{reply:?} {command:?}");
        }
        self.session.input(Input::Command(reply, command), self.now);
        self.drain();
        reply
    }

    /// The answer to a command, if it is there.
    pub(super) fn answer(&mut self, reply: ReplyTo) -> Option<Result<Answer, ClientError>> {
        let at = self.answers.iter().position(|(to, _)| *to == reply)?;
        Some(self.answers.swap_remove(at).1)
    }

    pub(super) fn input(&mut self, input: Input) {
        if self.is_traced {
            eprintln!("{input:?}");
        }
        self.session.input(input, self.now);
        self.drain();
    }

    /// Carries out the session's effects.
    pub(super) fn drain(&mut self) {
        loop {
            self.session.advance(self.now);
            let Some(effect) = self.session.poll() else { return };
            self.carry_out(effect);
            while let Some(effect) = self.session.poll() {
                self.carry_out(effect);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        if self.is_traced {
            eprintln!("    {effect:?}");
        }
        match effect {
            Effect::Store(number, writes) => {
                assert!(self.transaction.is_none(), "two transactions at a time");
                assert!(!writes.is_empty(), "a transaction of nothing");
                self.transaction = Some((number, writes));
            }
            Effect::Engine(order) => self.order(order),
            Effect::Ask(Ask::Tickets { groups, passed, deadline }) => {
                let given = None;
                self.coming.push(Input::Asked(Asked::Tickets { groups, passed, deadline, given }));
            }
            Effect::Ask(Ask::Share(row)) => {
                let told = match self.rng.random_range(0..3) {
                    0 => Told::Taken,
                    1 => Told::Refused("no".into()),
                    _ => Told::Nothing("no answer".into()),
                };
                self.coming.push(Input::Asked(Asked::Share(row, told)));
            }
            Effect::Ask(Ask::Sources(wanted)) => {
                let wanted: Vec<InfoHash> =
                    wanted.into_iter().map(|wanted| wanted.facts.info_hash).collect();
                let found = wanted.iter().map(|file| (*file, group(0))).collect();
                let found = Some(found).filter(|_| self.chance(70));
                self.coming.push(Input::Asked(Asked::Sources { wanted, found }));
            }
            Effect::Announce(parts) => assert!(!parts.is_empty()),
            Effect::Job(job) => self.job(job),
            Effect::Tell(_) | Effect::TellRemoved(..) => self.told += 1,
            Effect::Changed(_) => {}
            Effect::Reply(reply, answer) => {
                let asked = self.waiting.remove(&reply);
                assert!(asked.is_some() || reply == ReplyTo(0), "answered twice: {answer:?}");
                self.answers.push((reply, answer));
            }
            Effect::SessionEnded => assert!(self.engine.is_empty() && !self.is_engine_up),
        }
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Run(id) => self.steer(id, |state| {
                let halted = matches!(state, TransferState::Paused(_) | TransferState::Failed(_));
                halted.then_some(TransferState::Downloading)
            }),
            Order::Pause(id) | Order::Shelve(id) => self.steer(id, pause),
            Order::Halt(id, info_hash) => {
                self.steer(id, pause);
                let is_finished = |transfer: &Transfer| {
                    matches!(transfer.state, TransferState::Finishing | TransferState::Complete)
                };
                let has_halted = !self.engine.get(&id).is_some_and(is_finished);
                self.coming.push(Input::Halted(id, info_hash, has_halted));
            }
            Order::Release(id) | Order::Forget(id) => drop(self.engine.remove(&id)),
            Order::Pulses(wanted) => {
                let pulse = |(info_hash, id): (InfoHash, TransferId)| {
                    let state = self.engine.get(&id)?.state.clone();
                    Some((info_hash, id, Pulse { state, came: 0, is_held_back: false }))
                };
                let pulses = wanted.into_iter().filter_map(pulse).collect();
                self.coming.push(Input::Pulses(pulses));
            }
            Order::EndLinks(Ends::All) => self.is_engine_up = false,
            _ => {}
        }
    }

    fn steer(&mut self, id: TransferId, to: impl Fn(&TransferState) -> Option<TransferState>) {
        if let Some(transfer) = self.engine.get_mut(&id)
            && let Some(state) = to(&transfer.state)
        {
            transfer.state = state;
        }
    }

    fn job(&mut self, job: Job) {
        let done = match job {
            Job::Begin(id, spec, _) => {
                let info_hash = spec.facts.info_hash;
                let result = match self.chance(20) && self.is_faulty {
                    true => Err("no room".to_owned()),
                    false if !self.is_engine_up => Err("the session has ended".to_owned()),
                    false => Ok(()),
                };
                if result.is_ok() {
                    let file = (0..FILES).find(|file| facts(*file).info_hash == info_hash);
                    let state = TransferState::Downloading;
                    self.engine.insert(id, Transfer { file: file.unwrap(), state });
                }
                Done::Begun(id, info_hash, result)
            }
            Job::Remove(id, row) => {
                id.into_iter().for_each(|id| drop(self.engine.remove(&id)));
                Done::Removed(row.facts.info_hash)
            }
            Job::LookAtShares(rows) => {
                let look = |row: Arc<ShareRow>| {
                    let looked = match row.facts.len % 3 {
                        0 => Looked::Other("gone".into()),
                        _ => Looked::Same(Box::new((row.path.clone(), row.stamp))),
                    };
                    (row, looked)
                };
                let looked: Vec<(Arc<ShareRow>, Looked)> = rows.into_iter().map(look).collect();
                // Each file system answers separately.
                let (first, rest) = looked.into_iter().partition(|(row, _)| row.stamp.dev == 1);
                for looked in [first, rest] {
                    self.coming.push(Input::Done(Done::Shares(looked)));
                }
                return;
            }
            Job::LookAtDownload(row) => {
                let place = match self.rng.random_range(0..4) {
                    0 => Place::TargetThere,
                    1 if row.part.is_some() => Place::Missing("not mounted".into()),
                    _ => Place::Fine,
                };
                Done::Download(row, place)
            }
            Job::Compare(row) => {
                let file = (0..FILES).find(|file| facts(*file).info_hash == row.facts.info_hash);
                let result = match self.chance(50) {
                    true => Ok(Box::new(seed(file.unwrap()))),
                    false => Err("other content".to_owned()),
                };
                Done::Compared(row, result)
            }
            Job::StopEngine => {
                self.engine.clear();
                self.is_engine_up = false;
                Done::EngineStopped
            }
        };
        self.coming.push(Input::Done(done));
    }

    /// One random event.
    pub(super) fn step(&mut self) {
        let time = self.rng.random_range(0..400);
        self.pass(Duration::from_millis(time));
        match self.rng.random_range(0..10) {
            0..=3 => self.ask(),
            4 => self.engine_does_something(),
            5 if self.chance(30) => self.network_tells(),
            5 => self.tracker_tells(),
            6 | 7 => self.deliver(),
            _ => self.store_answers(),
        }
    }

    /// A random command of the user.
    fn ask(&mut self) {
        let file = self.rng.random_range(0..FILES);
        let info_hash = facts(file).info_hash;
        let command = match self.rng.random_range(0..20) {
            0 | 1 => return self.log_in(),
            2..=5 => return self.begin(file),
            6 | 7 => Command::Pause(info_hash),
            8 | 9 => Command::Resume(info_hash),
            10 | 11 => Command::Cancel(info_hash),
            12 => Command::Prioritize(info_hash),
            13 => Command::Limit(info_hash, None),
            14 => Command::DownloadsMax(self.rng.random_range(0..4)),
            15 => return self.share(file),
            16 => Command::EndVersion {
                group: group(file % GROUPS),
                facts: Box::new(facts(file)),
                reason: Some("removed".into()),
            },
            17 if self.chance(30) => Command::Left(group(file % GROUPS)),
            18 if self.chance(20) => {
                let reason = self.chance(50).then_some(SessionEnd::Disabled);
                return self.leave(reason);
            }
            _ => Command::Relabel(group(0), label("g0")),
        };
        self.command(command);
    }

    fn leave(&mut self, reason: Option<SessionEnd>) {
        let is_in = self.session.view().library.user().is_some();
        self.last_reply += 1;
        let reply = ReplyTo(self.last_reply);
        self.waiting.insert(reply, "leave".into());
        self.session.input(Input::Command(reply, Command::Leave(reason)), self.now);
        if reason.is_some() && is_in && self.is_engine_up {
            self.links_end_first();
        }
        self.drain();
    }

    /// Checks that links end before any other effect, also while the store hangs.
    fn links_end_first(&mut self) {
        let first = self.session.poll();
        let Some(Effect::Engine(order @ Order::EndLinks(_))) = first else {
            panic!("links do not end first, but {first:?}")
        };
        self.order(order);
    }

    pub(super) fn log_in(&mut self) {
        let reply = self.command(Command::Reserve);
        if !matches!(self.answer(reply), Some(Ok(_))) {
            return;
        }
        if self.is_faulty && self.chance(20) {
            self.command(Command::Release);
            return;
        }
        let tells = self.chance(50);
        let mine: Vec<u8> = (0..GROUPS).filter(|_| self.chance(80)).collect();
        self.enter(Some(&mine[..]).filter(|_| tells));
    }

    /// Begins the session of a reserved login; `mine` are the groups that the trackers list, if any
    /// answers.
    pub(super) fn enter(&mut self, mine: Option<&[u8]>) -> ReplyTo {
        let named = |number: &u8| (group(*number), label(&format!("g{number}")));
        let mine = mine.map(|numbers| numbers.iter().map(named).collect());
        self.is_engine_up = true;
        let shares = self.rows.shares.values().cloned().collect();
        let is_open = |row: &&DownloadRow| row.progress != Progress::Complete;
        let downloads = self.rows.downloads.values().filter(is_open).cloned().collect();
        self.command(Command::Enter(Box::new(Entry {
            user: user(),
            device: DeviceId::from_bytes([3; 32]),
            mine,
            shares,
            downloads,
            queued: self.rows.queued.values().copied().collect(),
        })))
    }

    fn begin(&mut self, file: u8) {
        let row = download_row(file);
        let claim = self.command(Command::Claim(Box::new(row.clone())));
        // The answer may come later: the store may still be busy with the turn before.
        let command = match self.rng.random_range(0..10) {
            0 => Command::Unclaim(row.facts.info_hash),
            1 => Command::Adopt(Box::new(row), Box::new(seed(file)), Vec::new()),
            _ => Command::Begin(Box::new(Begin { row, before: None, stale: Vec::new() })),
        };
        match self.answer(claim) {
            Some(Err(_)) => {}
            _ => _ = self.command(command),
        }
    }

    fn share(&mut self, file: u8) {
        let row = share_row(file);
        let key = (row.group, row.facts.info_hash);
        let before = self.session.view().library.share(key.0, key.1).map(|share| share.row.clone());
        let put = self.command(Command::PutShare(Box::new(row.clone())));
        let command = match self.rng.random_range(0..3) {
            0 => Command::ShareTaken(Box::new(row)),
            number => Command::ShareNotTaken {
                row: Box::new(row),
                before: before.map(|before| Box::new((*before).clone())),
                is_refused: number == 1,
            },
        };
        // A client whose share is not in the store does not ask the directory.
        if matches!(self.answer(put), Some(Ok(_))) {
            self.command(command);
        }
    }

    fn engine_does_something(&mut self) {
        let ids: Vec<TransferId> = self.engine.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let id = ids[self.rng.random_range(0..ids.len())];
        let (what, part) = (self.rng.random_range(0..8), self.rng.random_range(1..1_000));
        let Some(transfer) = self.engine.get_mut(&id) else { return };
        let info_hash = facts(transfer.file).info_hash;
        let news = match (&transfer.state, what) {
            (TransferState::Downloading, 0) => {
                transfer.state = TransferState::Finishing;
                return;
            }
            (TransferState::Finishing, 0..=3) => {
                transfer.state = TransferState::Complete;
                EngineNews::Completed(seed(transfer.file))
            }
            (TransferState::Finishing | TransferState::Downloading, 4) => {
                transfer.state = TransferState::Failed("disk".into());
                EngineNews::Failed("disk".into())
            }
            (TransferState::Downloading, 5) => {
                transfer.state = TransferState::Paused(Some("full".into()));
                EngineNews::Paused("full".into())
            }
            (TransferState::Downloading, 6) => {
                self.last_reply += 1;
                let reply = ReplyTo(self.last_reply);
                self.waiting.insert(reply, "opened".into());
                EngineNews::Opened(reply, InodeId { dev: 1, inode: part, born_ns: None })
            }
            (TransferState::Downloading, 7) => {
                EngineNews::Journal(VerifiedPieces { pieces: Bitfield::full(1), part: None })
            }
            _ => return,
        };
        let is_lost = self.chance(10) && !matches!(news, EngineNews::Opened(..));
        if !is_lost {
            self.coming.push(Input::Engine(id, info_hash, news));
        }
    }

    fn network_tells(&mut self) {
        let device = DeviceId::from_bytes([self.rng.random_range(0..3); 32]);
        let at = ([10, 0, 0, 1], self.rng.random_range(1..9)).into();
        let file = self.rng.random_range(0..FILES);
        let peer = PeerEntry {
            info_hash: facts(file).info_hash,
            group: group(file % GROUPS),
            device,
            user: UserId::from_bytes([9; 16]),
            address: at,
            state: DownloadState::Seeding,
            candidates: None,
        };
        let input = match self.rng.random_range(0..3) {
            0 => Input::Found(Found::new()),
            1 => Input::Found([(device, vec![at])].into()),
            _ => Input::News(News::Peers { tracker: 0, peers: vec![peer] }),
        };
        self.session.input(input, self.now);
        self.drain();
        let view = self.session.view();
        assert!(view.library.phase != Phase::Out || view.book.found().is_empty());
    }

    fn tracker_tells(&mut self) {
        let file = self.rng.random_range(0..FILES);
        let (of, facts) = (group(file % GROUPS), facts(file));
        let news = match self.rng.random_range(0..6) {
            0 => News::Joined { tracker: 0 },
            1 => News::Lost { tracker: 0 },
            2 => News::Removed(of),
            3 => News::ShareStopped(of, facts.info_hash),
            4 => News::FileRemoved(RemovedFile {
                group: of,
                file: facts.id(),
                info_hash: facts.info_hash,
                label: label("f"),
                replaced_by: None,
            }),
            _ => News::Void { group: Some(of), user: UserId::from_bytes([9; 16]), until_ms: 5 },
        };
        let ends = matches!(news, News::Removed(_) | News::Void { .. });
        self.session.input(Input::News(news), self.now);
        if ends {
            self.links_end_first();
        }
        self.drain();
    }

    /// Delivers one of the inputs on their way.
    fn deliver(&mut self) {
        if !self.coming.is_empty() {
            let at = self.rng.random_range(0..self.coming.len());
            let input = self.coming.swap_remove(at);
            self.input(input);
        }
    }

    pub(super) fn store_answers(&mut self) {
        let Some((number, writes)) = self.transaction.take() else { return };
        let result = match self.chance(self.store_fails) {
            true => Err(Arc::new(StoreError::Foreign { path: "/full".into(), kind: "store" })),
            false => {
                writes.iter().for_each(|write| self.rows.apply(write));
                Ok(())
            }
        };
        self.input(Input::Stored(number, result));
    }

    /// Checks what holds at any time.
    pub(super) fn check(&self) {
        let view = self.session.view();
        let library = &view.library;
        library.check();
        if self.session.is_idle() && !library.is_dirty() && library.owner.is_some() {
            for download in library.downloads() {
                let stored = self.rows.downloads.get(&download.info_hash());
                assert_eq!(stored, Some(&*download.row), "told otherwise than stored");
            }
            for ((group, info_hash), share) in &library.shares {
                let stored = self.rows.shares.get(&(*group, *info_hash));
                assert_eq!(stored, Some(&*share.row), "told otherwise than stored");
            }
        }
        for share in library.shares.values() {
            assert!(!share.offered || share.row.state != ShareState::Stopped, "{share:?}");
        }
    }

    /// No more faults: after a while the session, the store and the engine agree.
    pub(super) fn heal(&mut self) {
        (self.is_faulty, self.store_fails) = (false, 0);
        for _ in 0..400 {
            self.pass(Duration::from_millis(250));
            for (id, transfer) in &mut self.engine {
                if transfer.state == TransferState::Finishing {
                    transfer.state = TransferState::Complete;
                    let (file, news) = (transfer.file, EngineNews::Completed(seed(transfer.file)));
                    self.coming.push(Input::Engine(*id, facts(file).info_hash, news));
                }
            }
            self.store_answers();
            while !self.coming.is_empty() {
                self.deliver();
                self.store_answers();
            }
            self.check();
        }
        assert!(self.waiting.is_empty(), "never answered: {:?}", self.waiting);
        let view = self.session.view();
        let library = &view.library;
        assert!(self.session.is_idle() && !library.is_dirty() && self.transaction.is_none());
        assert!(library.claims.is_empty(), "claimed for ever: {:?}", library.claims);
        if library.user().is_none() {
            return;
        }
        let (running, waiting) = (library.queue.running(), library.queue.places());
        assert!(!library.queue.is_unused(), "a slot is free and a download waits");
        for download in library.downloads() {
            let info_hash = download.info_hash();
            let state = match download.work {
                Work::None => None,
                Work::Live(id) => self.engine.get(&id).map(|transfer| transfer.state.clone()),
                other => panic!("{info_hash} is {other:?} for ever"),
            };
            let is_at_work =
                matches!(state, Some(TransferState::Downloading | TransferState::Finishing));
            match &download.row.progress {
                Progress::Running => {
                    let is_let_run = running.contains(&info_hash);
                    assert_eq!(is_let_run, !download.queued, "{download:?}");
                    assert_eq!(is_at_work, is_let_run, "{download:?} {state:?}");
                    assert_eq!(waiting.contains_key(&info_hash), download.queued);
                }
                Progress::Cancelled => panic!("{info_hash} is being cancelled for ever"),
                _ => {
                    assert!(!is_at_work, "{download:?} {state:?}");
                    let is_queued =
                        running.contains(&info_hash) || waiting.contains_key(&info_hash);
                    assert!(!is_queued, "{download:?}");
                }
            }
        }
        for (id, transfer) in &self.engine {
            let info_hash = facts(transfer.file).info_hash;
            assert!(
                library.of_transfer(info_hash, *id).is_some(),
                "the engine has {id:?} {transfer:?}, which the session does not know"
            );
        }
    }
}

fn pause(state: &TransferState) -> Option<TransferState> {
    let runs = matches!(state, TransferState::Downloading);
    runs.then_some(TransferState::Paused(None))
}
