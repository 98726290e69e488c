//! One file in the engine: seeded, downloaded, or both; its links and peers.
//!
//! **Invariant:** everything that changes is under one lock, which is never held across socket or
//! disk IO. Code that changes something the download or the uploads decide by calls
//! [`Torrent::drive`] before it lets go of the lock.
//!
//! Called by the links' reader and writer threads, the pool's workers, the timer and the client.
//! Lock order: the torrent's, then a link's.

mod metadata;
mod registration;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use parking_lot::{Condvar, Mutex};

use super::links::Links;
use super::peers::Peers;
use super::record::{Checked, DownloadRecord};
use super::services::{Notice, Services};
use super::windows::ReadWindows;
use crate::swarm::api::{EngineEvent, SeedSpec, TransferState};
use crate::swarm::disk::part_file::Disks;
use crate::swarm::link::Link;
use crate::swarm::pick::check::Checker;
use crate::swarm::serve::uploads::{Leecher, UploadAction, Uploads};
use crate::swarm::{Action, BlockFate, ChunkJob, Download};
use crate::types::{Bitfield, Geometry, InfoHash, PieceIndex, Span};
use crate::wire::metainfo::Metainfo;
use crate::wire::peer::PeerMessage;

static NEXT_SERIAL: AtomicU64 = AtomicU64::new(0);

pub(crate) struct Torrent {
    pub(super) info_hash: InfoHash,
    pub(super) geometry: Geometry,
    pub(super) services: Arc<Services>,
    /// Tells it from an earlier torrent of the same content.
    serial: u64,
    pub(super) metainfo: OnceLock<Arc<Metainfo>>,
    pub(super) state: Mutex<TorrentState>,
    /// Signalled when the download's phase changes, and when its thread has something to do.
    pub(super) changed: Condvar,
}

pub(super) struct TorrentState {
    /// The whole file, if we have it.
    pub(super) seed: Option<SeedSpec>,
    /// The download, if there is or was one in this run.
    pub(super) transfer: Option<DownloadRecord>,
    pub(super) links: Links,
    pub(super) peers: Peers,
    pub(super) uploads: Uploads,
    pub(super) readers: ReadWindows,
    /// The encoded metainfo, while there are links.
    pub(super) dictionary: Option<Arc<Vec<u8>>>,
    /// Why the last block that was asked for could not be read.
    pub(super) read_error: Option<String>,
}

impl Torrent {
    pub(super) fn new(services: &Arc<Services>, info_hash: InfoHash, geometry: Geometry) -> Self {
        let uploads = Uploads::new(services.config.upload_slots, rand::random());
        Self {
            info_hash,
            geometry,
            services: services.clone(),
            serial: NEXT_SERIAL.fetch_add(1, Ordering::Relaxed),
            metainfo: OnceLock::new(),
            state: Mutex::new(TorrentState {
                seed: None,
                transfer: None,
                links: Links::default(),
                peers: Peers::default(),
                uploads,
                readers: ReadWindows::default(),
                dictionary: None,
                read_error: None,
            }),
            changed: Condvar::new(),
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.services.now()
    }

    /// Has the timer and the journal look at the torrent. Called under its lock by what gives it
    /// something to do: a link, a download's thread.
    pub(super) fn activate(&self) {
        self.services.activate(self.info_hash, self.serial);
    }

    /// Has the timer and the journal pass the torrent over, unless a newer one of the same content
    /// is there. Called under its lock.
    pub(super) fn deactivate(&self) {
        self.services.deactivate(self.info_hash, self.serial);
    }

    /// Carries out what the pure parts decided. Called under the lock after every change.
    pub(super) fn drive(self: &Arc<Self>, state: &mut TorrentState) {
        self.drive_download(state);
        self.drive_uploads(state);
    }

    fn drive_download(self: &Arc<Self>, state: &mut TorrentState) {
        let now = self.now();
        let Some(download) = state.transfer.as_mut().and_then(|t| t.download.as_mut()) else {
            return;
        };
        // With seeders alone the order makes no difference to the swarm.
        download.set_in_order(state.links.are_all_complete());
        loop {
            self.drain_actions(state);
            let Some(download) = state.download() else { return };
            let limiter = &self.services.limiter.download;
            if !limiter.has_room(self.info_hash) {
                return;
            }
            let Some(job) = download.next_job(now) else { return };
            // While a limit holds requests back, whether there is room for another one is known
            // only once this one is held.
            let is_offered = !limiter.limits(self.info_hash) && {
                let torrent = self.clone();
                self.services.pool.offer(Box::new(move || torrent.fetch(&job)))
            };
            if !is_offered {
                self.start(state, now, &job);
            }
        }
    }

    fn drain_actions(&self, state: &mut TorrentState) {
        let TorrentState { transfer, links, peers, .. } = state;
        let Some(download) = transfer.as_mut().and_then(|transfer| transfer.download.as_mut())
        else {
            return;
        };
        while let Some(action) = download.poll_action() {
            match action {
                Action::Interested(link, is_interested) => {
                    let message = match is_interested {
                        true => PeerMessage::Interested,
                        false => PeerMessage::NotInterested,
                    };
                    links.get(link).inspect(|link| link.send(&message));
                }
                Action::Cancel(link, piece) => {
                    links.get(link).inspect(|link| link.cancel(piece));
                }
                Action::Have(piece) => links.iter().for_each(|link| link.have(piece)),
                Action::Ban(link) => {
                    if let Some(link) = links.get(link) {
                        peers.ban(link);
                        let (info_hash, device) = (self.info_hash, link.device);
                        self.services
                            .notify(Notice::Event(EngineEvent::Banned { info_hash, device }));
                    }
                }
                // The download's thread sees it by itself.
                Action::Complete => {}
            }
        }
    }

    /// Carries out what the uploads decided.
    pub(super) fn drive_uploads(&self, state: &mut TorrentState) {
        let TorrentState { uploads, transfer, links, .. } = state;
        let download = transfer.as_ref().and_then(|transfer| transfer.download.as_ref());
        let holders = |piece| download.map_or(0, |download| download.holders(piece));
        uploads.advance(self.now(), holders, links.len() > 1);
        while let Some(action) = uploads.poll_action() {
            let (UploadAction::Choke(key)
            | UploadAction::Unchoke(key)
            | UploadAction::Reject(key, _)
            | UploadAction::Suggest(key, _)
            | UploadAction::Serve(key)) = action;
            let Some(link) = links.get(key) else { continue };
            match action {
                UploadAction::Choke(_) => link.send(&PeerMessage::Choke),
                UploadAction::Unchoke(_) => link.send(&PeerMessage::Unchoke),
                UploadAction::Reject(_, span) => link.reject(span),
                UploadAction::Suggest(_, piece) => link.send(&PeerMessage::Suggest(piece.get())),
                UploadAction::Serve(_) => link.serve(),
            }
        }
    }

    fn fetch(self: &Arc<Self>, job: &ChunkJob) {
        let mut state = self.state.lock();
        let now = self.now();
        self.start(&mut state, now, job);
        self.drive(&mut state);
    }

    fn start(&self, state: &mut TorrentState, now: Duration, job: &ChunkJob) {
        let spans = state.download().and_then(|download| download.start(now, job));
        if let (Some(spans), Some(link)) = (spans, state.links.get(job.link)) {
            self.services.limiter.download.request(self.info_hash, link, &spans);
        }
    }

    /// A block of a link has come; further ones are asked for. Returns what becomes of it.
    pub(super) fn block_received(self: &Arc<Self>, link: &Arc<Link>, span: Span) -> BlockFate {
        let mut state = self.state.lock();
        let now = self.now();
        state.uploads.received(now, link.key, span.len.into());
        let Some(download) = state.download() else { return BlockFate::Unwanted };
        let fate = download.block_received(now, link.key, span);
        if fate != BlockFate::Unwanted {
            self.services.counters.received.fetch_add(span.len.into(), Ordering::Relaxed);
        }
        let more = download.more_requests(now, link.key);
        self.services.limiter.download.request(self.info_hash, link, &more);
        self.drive(&mut state);
        fate
    }

    /// Lets time pass. Returns the bytes per second that are received and sent.
    pub(super) fn tick(self: &Arc<Self>) -> (u64, u64) {
        let mut state = self.state.lock();
        if state.links.is_empty() && !state.wants_links() {
            if !state.is_active() {
                self.deactivate();
            }
            return (0, 0);
        }
        let (now, clock) = (self.now(), Instant::now());
        state.links.close_if(|link| link.proof().expires <= clock);
        let is_collecting = state.transfer.as_ref().is_some_and(DownloadRecord::is_collecting);
        state.links.iter().for_each(|link| link.expect_data(is_collecting));
        self.hold_uploads(&mut state);
        state.uploads.tick(now);
        self.sample_rates(&mut state, now);
        if let Some(download) = state.download() {
            self.services.limiter.download.note_held(self.info_hash, now, download);
            download.tick(now);
        }
        self.ask_parts(&mut state);
        self.give_chain_up(&mut state);
        self.drive(&mut state);
        let received = state.transfer.as_ref().map_or(0, |t| t.stats().bytes_per_second);
        (received, state.uploads.bytes_per_second(now))
    }

    fn sample_rates(&self, state: &mut TorrentState, now: Duration) {
        let TorrentState { links, uploads, .. } = state;
        for link in links.iter().filter(|link| !link.one_way) {
            uploads.sample(now, link.key, link.flowed.load(Ordering::Relaxed));
        }
    }

    /// Chokes every peer while the disk hangs. Closes links whose writer thread waits for the disk,
    /// as they can send no rejection.
    fn hold_uploads(&self, state: &mut TorrentState) {
        let hangs = state.disk_hangs(&self.services.disks);
        state.uploads.set_held(self.now(), hangs);
        if hangs {
            state.links.close_if(|link| link.is_reading.load(Ordering::Relaxed));
        }
    }

    /// Returns what pieces are checked by, and where they go then.
    pub(super) fn checker(&self) -> Option<(Checker, Sender<Checked>)> {
        let state = self.state.lock();
        let transfer = state.transfer.as_ref()?;
        Some((transfer.checker(self.metainfo.get()), transfer.writer.clone()?))
    }

    /// Gives up all pieces under check when checking one panicked, and pauses the download.
    pub(super) fn check_failed(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if let Some(download) = state.download() {
            download.checks_failed();
            let reason = "checking a piece panicked: that is a bug in Posse";
            self.pause_fetching(&mut state, reason.to_owned());
        }
        self.drive(&mut state);
    }

    /// Pauses a download that fetches, and says why.
    pub(super) fn pause_fetching(&self, state: &mut TorrentState, reason: String) {
        if state.wants_links() {
            self.pause_for(state, reason);
        }
    }

    pub(super) fn pause_for(&self, state: &mut TorrentState, reason: String) {
        log::warn!("{}: paused: {reason}", self.info_hash);
        self.stop_fetching(state, TransferState::Paused(Some(reason.clone())));
        if let Some(transfer) = &state.transfer {
            let (id, info_hash) = (transfer.id, self.info_hash);
            self.services.notify(Notice::Event(EngineEvent::Paused { id, info_hash, reason }));
        }
    }

    /// Gives up what is asked for and closes the links, unless they serve a file that we have
    /// whole.
    pub(super) fn stop_fetching(&self, state: &mut TorrentState, phase: TransferState) {
        let Some(transfer) = &mut state.transfer else { return };
        transfer.phase = phase;
        if let Some(download) = &mut transfer.download {
            download.set_paused(true);
        }
        if state.seed.is_none() {
            state.links.close_if(|_| true);
        }
        self.changed.notify_all();
    }

    /// Stops offering a file that is not what was shared, or is gone.
    pub(super) fn seed_changed(&self, seed: &SeedSpec, is_gone: bool) {
        let path = seed.path.clone();
        let what = if is_gone { "is not there" } else { "was changed after it was shared" };
        log::warn!("{} {what}; it is not offered", path.display());
        if self.state.lock().stop_seeding() {
            let info_hash = self.info_hash;
            self.services.seed_files.close(info_hash);
            self.services.notify(Notice::Unused(info_hash));
            self.services.host.event(EngineEvent::FileChanged { info_hash, path, is_gone });
        }
    }
}

impl TorrentState {
    pub(super) fn download(&mut self) -> Option<&mut Download> {
        self.transfer.as_mut()?.download.as_mut()
    }

    /// Returns the `st_dev` of the `.part` if it has verified pieces that are not in the journal.
    pub(super) fn unwritten_on(&self) -> Option<u64> {
        let transfer = self.transfer.as_ref().filter(|transfer| transfer.is_dirty)?;
        Some(transfer.part.as_ref()?.id().dev)
    }

    /// Tells whether the file system of the shared file, or of the download, hangs.
    pub(super) fn disk_hangs(&self, disks: &Disks) -> bool {
        let part_id = self.transfer.as_ref().and_then(|transfer| transfer.part_id);
        let device = self.seed.as_ref().map(|seed| seed.stamp.dev).or(part_id.map(|id| id.dev));
        device.is_some_and(|device| disks.file_systems.hangs(device))
    }

    pub(super) fn wants_links(&self) -> bool {
        let phase = self.transfer.as_ref().map(|transfer| &transfer.phase);
        matches!(phase, Some(TransferState::Metainfo | TransferState::Downloading))
    }

    /// Tells whether time has to pass for the torrent: it has links, a running download, or pieces
    /// to write to the journal.
    fn is_active(&self) -> bool {
        let is_busy = |transfer: &DownloadRecord| {
            transfer.is_running || (transfer.is_dirty && transfer.part.is_some())
        };
        !self.links.is_empty() || self.transfer.as_ref().is_some_and(is_busy)
    }

    pub(super) fn takes_links(&self) -> bool {
        let is_finishing =
            self.transfer.as_ref().is_some_and(|t| t.phase == TransferState::Finishing);
        self.seed.is_some() || is_finishing || self.wants_links()
    }

    pub(super) fn has(&self, piece: PieceIndex) -> bool {
        let download = self.transfer.as_ref().and_then(|transfer| transfer.download.as_ref());
        self.seed.is_some() || download.is_some_and(|download| download.have().has(piece))
    }

    pub(super) fn start_super_seeding(&mut self, geometry: Geometry) {
        if self.seed.is_none() || self.links.is_empty() || self.uploads.is_super_seeding() {
            return;
        }
        let download = self.transfer.as_ref().and_then(|transfer| transfer.download.as_ref());
        let pieces = |link: &Arc<Link>| match download {
            _ if link.has_all() => Bitfield::full(geometry.piece_count()),
            Some(download) => download.peer_pieces(link.key),
            None => Bitfield::empty(geometry.piece_count()),
        };
        let leechers = self.links.iter().filter(|link| link.traits.fast && !link.one_way);
        let leechers = leechers.map(|link| Leecher { link: link.key, pieces: pieces(link) });
        self.uploads.start_super_seeding(geometry, rand::random(), leechers);
    }

    /// Stops offering the file. Returns false if it was not offered.
    pub(super) fn stop_seeding(&mut self) -> bool {
        self.uploads.stop_super_seeding();
        self.uploads.set_seeding(false);
        self.links.close_if(|_| true);
        self.seed.take().is_some()
    }
}
