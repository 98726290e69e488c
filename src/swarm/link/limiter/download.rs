//! The limit of what is received: requests that a download has chosen are held here until they may
//! go.
//!
//! **Invariant:** a request that is held counts as sent for the download, and is wanted from the
//! link; it goes, or is taken back like any other. While it is held its chunk is not late.
//!
//! The thread "posse-pace" sends what was held when its time has come, and has downloads choose
//! more; it sleeps while nothing is held.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::Mutex;

use crate::swarm::Download;
use crate::swarm::engine::Inner;
use crate::swarm::engine::torrent::Torrent;
use crate::swarm::link::Link;
use crate::swarm::serve::limiter::held::{Held, Next};
use crate::types::{InfoHash, Rate, Span};

/// Shortest sleep: what may go a little later goes together.
const SLEEP_MIN: Duration = Duration::from_millis(2);
/// Longest sleep while something is held.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Requests sent before downloads are asked for more.
const BATCH: usize = 64;

/// A request that waits.
struct Request {
    link: Arc<Link>,
    span: Span,
}

impl Request {
    fn lives(&self) -> bool {
        !self.link.is_closed() && self.link.wants_block(self.span)
    }
}

/// The limits.
pub(crate) struct DownloadPace {
    limited: AtomicBool,
    epoch: Instant,
    held: Mutex<Held<Request>>,
    /// Holds a token while the thread has something to look at.
    wake: Sender<()>,
    woken: Receiver<()>,
}

impl DownloadPace {
    pub(crate) fn new(rate: Option<Rate>) -> Self {
        let (wake, woken) = bounded(1);
        let limited = AtomicBool::new(rate.is_some());
        Self { limited, epoch: Instant::now(), held: Mutex::new(Held::new(rate)), wake, woken }
    }

    /// Tells whether anything is limited.
    fn is_limited(&self) -> bool {
        self.limited.load(Ordering::Relaxed)
    }

    /// Sets another limit of all together, or none.
    pub(crate) fn set_rate(&self, rate: Option<Rate>) {
        self.change(|held, now| held.set_rate(now, rate));
    }

    /// Sets another limit of one download, or none.
    pub(crate) fn set_limit(&self, info_hash: InfoHash, rate: Option<Rate>) {
        self.change(|held, now| held.set_limit(now, info_hash, rate));
    }

    fn change(&self, change: impl FnOnce(&mut Held<Request>, Duration)) {
        let mut held = self.held.lock();
        change(&mut held, self.epoch.elapsed());
        // What is held goes on being paced, by no limit at all, until it is gone.
        self.limited.store(held.is_any_limited(), Ordering::Relaxed);
        drop(held);
        self.wake();
    }

    fn wake(&self) {
        // If a token is there, it is about to look.
        let _ = self.wake.try_send(());
    }

    /// The limit that holds up requests of the download now.
    pub(crate) fn holding(&self, info_hash: InfoHash) -> Option<Rate> {
        let held = self.held.lock();
        held.of(info_hash).next().and_then(|_| held.rate_of(info_hash))
    }

    /// Sends what is held when its time has come, until the engine stops.
    pub(crate) fn run(&self, engine: &Inner) {
        let mut ready = Vec::new();
        let mut hungry = BTreeSet::new();
        loop {
            let sleep = self.take_ready(&mut self.held.lock(), &mut ready);
            for (info_hash, Request { link, span }) in ready.drain(..) {
                link.ask_if_wanted(span);
                hungry.insert(info_hash);
            }
            for torrent in std::mem::take(&mut hungry)
                .into_iter()
                .filter_map(|info_hash| engine.torrent(info_hash))
            {
                torrent.drive(&mut torrent.state.lock());
            }
            let wait = |sleep| crossbeam_channel::after(sleep);
            select! {
                recv(self.woken) -> _ => {}
                recv(engine.stop.channel()) -> _ => return,
                recv(sleep.map_or_else(crossbeam_channel::never, wait)) -> _ => {}
            }
        }
    }

    fn ask_or_hold(&self, info_hash: InfoHash, link: &Arc<Link>, spans: &[Span]) {
        let mut held = self.held.lock();
        if !held.is_limited(info_hash) {
            drop(held);
            return link.ask(spans);
        }
        let nobody_waits = held.is_empty();
        for &span in spans {
            held.push(info_hash, u64::from(span.len), Request { link: link.clone(), span });
        }
        let mut ready = Vec::new();
        if nobody_waits {
            // What may go at once need not wait for the thread to wake.
            self.take_ready(&mut held, &mut ready);
        }
        let waits = !held.is_empty();
        drop(held);
        // Nobody else waited: they are all of this link.
        link.ask(&ready.iter().map(|(_, request)| request.span).collect::<Vec<_>>());
        if waits {
            self.wake();
        }
    }

    /// Takes what may go now; returns how long to sleep, or none if nothing is held.
    fn take_ready(
        &self,
        held: &mut Held<Request>,
        ready: &mut Vec<(InfoHash, Request)>,
    ) -> Option<Duration> {
        while ready.len() < BATCH {
            let now = self.epoch.elapsed();
            match held.next(now, Request::lives) {
                Next::Send(info_hash, request) => ready.push((info_hash, request)),
                Next::At(at) => return Some(at.saturating_sub(now).clamp(SLEEP_MIN, SLEEP_MAX)),
                Next::Nothing => {
                    self.limited.store(held.is_any_limited(), Ordering::Relaxed);
                    return None;
                }
            }
        }
        Some(Duration::ZERO)
    }
}

impl Torrent {
    /// Asks a link for blocks, or holds the requests until they may go. Called under the torrent's
    /// lock.
    pub(crate) fn request(&self, link: &Arc<Link>, spans: &[Span]) {
        let pace = &self.engine.pace.download;
        link.want(spans);
        match pace.is_limited() {
            true => pace.ask_or_hold(self.info_hash, link, spans),
            false => link.ask(spans),
        }
    }

    /// Tells whether requests of the download may have to wait.
    pub(crate) fn is_paced(&self) -> bool {
        let pace = &self.engine.pace.download;
        pace.is_limited() && pace.held.lock().is_limited(self.info_hash)
    }

    /// The download is over: its own limit is forgotten. Called under the torrent's lock.
    pub(crate) fn unlimit(&self) {
        let pace = &self.engine.pace.download;
        if pace.is_limited() {
            pace.set_limit(self.info_hash, None);
        }
    }

    /// Tells whether the download may choose something more to ask for.
    pub(crate) fn may_ask(&self) -> bool {
        let pace = &self.engine.pace.download;
        !pace.is_limited() || pace.held.lock().has_room(self.info_hash, Request::lives)
    }

    /// What waits here is not late. Called a few times a second, under the torrent's lock.
    pub(crate) fn note_held(&self, download: &mut Download, now: Duration) {
        let pace = &self.engine.pace.download;
        if pace.is_limited() {
            let links: BTreeSet<_> =
                pace.held.lock().of(self.info_hash).map(|request| request.link.key).collect();
            links.into_iter().for_each(|link| download.held_back(now, link));
        }
    }
}
