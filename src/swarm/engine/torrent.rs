//! One file in the engine: seeded, downloaded, or both; its links and peers.
//!
//! **Invariant:** everything that changes is under one lock, which is never held across socket or
//! disk IO; whoever changes something the download or the choker cares about calls
//! [`Torrent::drive`] before letting go of it.
//!
//! Called by the links' reader and writer threads, the pool's workers, the timer and the client.
//! Lock order: the torrent's, then a link's.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::swarm::api::{EngineEvent, SeedSpec, TransferState};
use crate::swarm::engine::Inner;
use crate::swarm::engine::peers::Peers;
use crate::swarm::engine::pool::Job;
use crate::swarm::engine::transfer::TransferPart;
use crate::swarm::link::Link;
use crate::swarm::{Action, Choker, ChokerOptions, ChunkJob, LinkKey, Spreader, UploadOrder};
use crate::types::{DeviceId, Geometry, InfoHash, PieceIndex};
use crate::wire::metainfo::Metainfo;
use crate::wire::peer::PeerMessage;

/// One file.
pub(crate) struct Torrent {
    pub(crate) info_hash: InfoHash,
    pub(crate) geometry: Geometry,
    pub(crate) engine: Arc<Inner>,
    pub(crate) metainfo: OnceLock<Arc<Metainfo>>,
    pub(crate) state: Mutex<State>,
    /// Signalled when the transfer's state changes, and when its thread has something to do.
    pub(crate) changed: Condvar,
}

/// What changes.
pub(crate) struct State {
    /// The whole file, if we have it.
    pub(crate) seed: Option<SeedSpec>,
    /// The download, if there is or was one in this run.
    pub(crate) transfer: Option<TransferPart>,
    pub(crate) links: BTreeMap<LinkKey, Arc<Link>>,
    pub(crate) peers: Peers,
    pub(crate) choker: Choker,
    pub(crate) order: UploadOrder,
    /// Only while we have the whole file and somebody is linked.
    pub(crate) spreader: Option<Spreader>,
    pub(crate) sent: u64,
    pub(crate) sent_to: HashMap<DeviceId, u64>,
    /// The encoded metainfo, while somebody may ask for it.
    pub(crate) dictionary: Option<Arc<Vec<u8>>>,
}

impl Torrent {
    pub(crate) fn new(engine: &Arc<Inner>, info_hash: InfoHash, geometry: Geometry) -> Self {
        let options =
            ChokerOptions { slots: engine.config.upload_slots, ..ChokerOptions::default() };
        Self {
            info_hash,
            geometry,
            engine: engine.clone(),
            metainfo: OnceLock::new(),
            state: Mutex::new(State {
                seed: None,
                transfer: None,
                links: BTreeMap::new(),
                peers: Peers::default(),
                choker: Choker::new(options, rand::random()),
                order: UploadOrder::new(),
                spreader: None,
                sent: 0,
                sent_to: HashMap::new(),
                dictionary: None,
            }),
            changed: Condvar::new(),
        }
    }

    /// Time since the engine started: the clock of everything pure.
    pub(crate) fn now(&self) -> Duration {
        self.engine.epoch.elapsed()
    }

    /// Carries out what the pure parts decided. Called under the lock after every change.
    pub(crate) fn drive(self: &Arc<Self>, state: &mut State) {
        let now = self.now();
        self.drive_download(state, now);
        self.drive_choker(state);
        self.give_turns(state);
        suggest(state);
    }

    fn drive_download(self: &Arc<Self>, state: &mut State, now: Duration) {
        let State { transfer, links, peers, .. } = state;
        let Some(transfer) = transfer.as_mut() else { return };
        let sole_seeders = links.values().all(|link| link.has_all.load(Ordering::Relaxed));
        loop {
            let hint = if sole_seeders { transfer.next_in_order(&self.geometry) } else { None };
            let Some(download) = transfer.download.as_mut() else { return };
            while let Some(action) = download.poll_action() {
                match action {
                    Action::Interested(link, on) => {
                        let message =
                            if on { PeerMessage::Interested } else { PeerMessage::NotInterested };
                        links.get(&link).inspect(|link| link.send(&message));
                    }
                    Action::Cancel(link, piece) => {
                        links.get(&link).inspect(|link| link.cancel(piece));
                    }
                    Action::Have(piece) => links.values().for_each(|link| link.have(piece)),
                    Action::Ban(link) => {
                        if let Some(link) = links.get(&link) {
                            peers.ban(link);
                            let (info_hash, device) = (self.info_hash, link.device);
                            let event = EngineEvent::Banned { info_hash, device };
                            self.engine.later(move |engine| engine.host.event(event));
                        }
                    }
                    // The download's thread sees it by itself.
                    Action::Complete => {}
                }
            }
            if let Some(piece) = hint {
                links.keys().for_each(|link| download.suggested(*link, piece));
            }
            if !self.may_ask() {
                return;
            }
            let Some(job) = download.next_job(now) else { return };
            transfer.asked_for(job.piece);
            // While a limit holds requests back, whether there is room for another is seen only
            // once this one is held.
            if self.is_paced() || self.engine.pool.offer(Job::Fetch(self.clone(), job)).is_err() {
                // The workers are busy hashing: asking for more costs little and keeps the links
                // full.
                if let Some(download) = &mut transfer.download {
                    self.start(download, links, now, &job);
                }
            }
        }
    }

    fn drive_choker(&self, state: &mut State) {
        while let Some(change) = state.choker.poll() {
            let Some(link) = state.links.get(&change.link) else { continue };
            let link = link.clone();
            let rejected =
                if change.choked { state.order.choke(self.now(), change.link) } else { Vec::new() };
            if change.choked {
                link.send(&PeerMessage::Choke);
            }
            rejected.iter().for_each(|span| link.reject(*span));
            if let Some(spreader) = &mut state.spreader {
                rejected.iter().for_each(|span| spreader.withdrawn(change.link, span.piece));
                match change.choked {
                    true => spreader.choked(change.link),
                    false => spreader.unchoked(change.link),
                }
            }
            if !change.choked {
                // What it should ask for is there before it may ask.
                suggest(state);
                link.send(&PeerMessage::Unchoke);
            }
        }
    }

    /// Wakes the writers of the links whose turn it is to be sent a piece.
    pub(crate) fn give_turns(&self, state: &mut State) {
        let now = self.now();
        let State { order, spreader, transfer, links, .. } = state;
        let download = transfer.as_ref().and_then(|transfer| transfer.download.as_ref());
        let holders = |piece| match (&*spreader, download) {
            (Some(spreader), _) => spreader.holders(piece),
            (None, Some(download)) => download.holders(piece),
            (None, None) => 0,
        };
        while let Some(link) = order.begin(now, holders) {
            links.get(&link).inspect(|link| link.serve());
        }
    }

    /// A worker took a fetch job: sends its requests.
    pub(crate) fn fetch(self: &Arc<Self>, job: &ChunkJob) {
        let mut state = self.state.lock();
        let now = self.now();
        let State { transfer, links, .. } = &mut *state;
        if let Some(download) = transfer.as_mut().and_then(|transfer| transfer.download.as_mut()) {
            self.start(download, links, now, job);
        }
        self.drive(&mut state);
    }

    fn start(
        &self,
        download: &mut crate::swarm::Download,
        links: &BTreeMap<LinkKey, Arc<Link>>,
        now: Duration,
        job: &ChunkJob,
    ) {
        if let (Some(spans), Some(link)) = (download.start(now, job), links.get(&job.link)) {
            self.request(link, &spans);
        }
    }

    /// Lets time pass: time-outs, slots, dials. Called by the timer a few times a second.
    pub(crate) fn tick(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.links.is_empty() && !state.wants_links() {
            return self.rest(&state);
        }
        let now = self.now();
        let clock = Instant::now();
        state.close_links(|link| link.proof().expires > clock);
        state.choker.tick(now);
        if let Some(download) =
            state.transfer.as_mut().and_then(|transfer| transfer.download.as_mut())
        {
            self.note_held(download, now);
            download.tick(now);
        }
        self.ask_parts(&mut state);
        self.give_chain_up(&mut state, now);
        self.drive(&mut state);
        self.dial_due(&mut state);
    }
}

impl State {
    /// Tells whether we look for others: a download that runs.
    pub(crate) fn wants_links(&self) -> bool {
        let life = self.transfer.as_ref().map(|transfer| &transfer.life);
        matches!(life, Some(TransferState::Metainfo | TransferState::Downloading))
    }

    /// Tells whether time has to pass for the file: it has links, or a download whose thread runs,
    /// or pieces to write to the journal.
    pub(crate) fn is_active(&self) -> bool {
        !self.links.is_empty()
            || self.transfer.as_ref().is_some_and(|transfer| {
                transfer.running || (transfer.dirty && transfer.part.is_some())
            })
    }

    /// Tells whether others may link to us.
    pub(crate) fn takes_links(&self) -> bool {
        let finishing = self
            .transfer
            .as_ref()
            .is_some_and(|transfer| transfer.life == TransferState::Finishing);
        self.seed.is_some() || finishing || self.wants_links()
    }

    /// Tells whether we have the piece and may serve it.
    pub(crate) fn has(&self, piece: PieceIndex) -> bool {
        let download = self.transfer.as_ref().and_then(|transfer| transfer.download.as_ref());
        self.seed.is_some() || download.is_some_and(|download| download.have().has(piece))
    }

    /// Makes the spreader, once we have the whole file and somebody is linked, and tells it of the
    /// links that are there.
    pub(crate) fn spread(&mut self, geometry: Geometry) {
        if self.seed.is_none() || self.links.is_empty() || self.spreader.is_some() {
            return;
        }
        let download = self.transfer.as_ref().and_then(|transfer| transfer.download.as_ref());
        let mut spreader = Spreader::new(geometry, rand::random());
        for (&key, link) in self.links.iter().filter(|(_, link)| link.traits.fast && !link.one_way)
        {
            spreader.join(key);
            match download {
                _ if link.has_all.load(Ordering::Relaxed) => spreader.peer_has_all(key),
                Some(download) => spreader.peer_bitfield(key, &download.peer_pieces(key)),
                None => {}
            }
            if self.choker.is_unchoked(key) {
                spreader.unchoked(key);
            }
        }
        self.spreader = Some(spreader);
    }

    /// Closes the links on which `keep` is false.
    pub(crate) fn close_links(&self, keep: impl Fn(&Link) -> bool) {
        self.links.values().filter(|link| !keep(link)).for_each(|link| link.close());
    }

    /// Closes the links to peers that have everything, as we have.
    pub(crate) fn close_useless(&self) {
        self.close_links(|link| !link.has_all.load(Ordering::Relaxed));
    }
}

/// Proposes pieces. With one leecher there is nothing to spread: it takes the pieces in the order
/// that suits it.
fn suggest(state: &mut State) {
    let spreads = state.links.len() > 1;
    while let Some((link, piece)) =
        state.spreader.as_mut().filter(|_| spreads).and_then(Spreader::poll)
    {
        if let Some(link) = state.links.get(&link) {
            link.send(&PeerMessage::Suggest(piece.get()));
        }
    }
}
