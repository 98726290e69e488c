//! The limit of what is received: requests that a download has chosen wait here until they may be
//! sent.
//!
//! **Invariant:** a request that waits counts as sent for the download, and is wanted from the
//! link; it is sent, or taken back like any other. While it waits, its chunk is not late.
//!
//! The thread "posse-pace" ([`DownloadLimiter::run`]) sends requests when their time has come, and
//! sleeps while none waits. All other methods may be called under a torrent's lock.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, after, bounded, never, select};
use parking_lot::Mutex;

use crate::net::Stop;
use crate::swarm::Download;
use crate::swarm::link::Link;
use crate::swarm::serve::limiter::request_queue::{NextRequest, RequestQueue};
use crate::types::{InfoHash, Rate, Span};

/// Shortest sleep: what may be sent a little later is sent together.
const SLEEP_MIN: Duration = Duration::from_millis(2);
/// Longest sleep while a request waits.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Requests sent before downloads choose more.
const BATCH: usize = 64;

struct Request {
    link: Arc<Link>,
    span: Span,
}

impl Request {
    fn is_live(&self) -> bool {
        !self.link.is_closed() && self.link.wants_block(self.span)
    }
}

pub(crate) struct DownloadLimiter {
    is_active: AtomicBool,
    epoch: Instant,
    queue: Mutex<RequestQueue<Request>>,
    /// Holds a token while the thread has something to look at.
    wake: Sender<()>,
    woken: Receiver<()>,
}

impl DownloadLimiter {
    pub(crate) fn new(rate: Option<Rate>) -> Self {
        let (wake, woken) = bounded(1);
        Self {
            is_active: AtomicBool::new(rate.is_some()),
            epoch: Instant::now(),
            queue: Mutex::new(RequestQueue::new(rate)),
            wake,
            woken,
        }
    }

    pub(crate) fn set_rate(&self, rate: Option<Rate>) {
        self.change(|queue, now| queue.set_rate(now, rate));
    }

    pub(crate) fn set_limit(&self, info_hash: InfoHash, rate: Option<Rate>) {
        if rate.is_none() && !self.is_active() {
            // No download has a limit, and the thread need not wake.
            return;
        }
        self.change(|queue, now| queue.set_limit(now, info_hash, rate));
    }

    pub(crate) fn forget(&self, info_hash: InfoHash) {
        self.set_limit(info_hash, None);
    }

    /// Returns the limit that holds up requests of the download now.
    pub(crate) fn holding(&self, info_hash: InfoHash) -> Option<Rate> {
        let queue = self.queue.lock();
        queue.of(info_hash).next().and_then(|_| queue.rate_of(info_hash))
    }

    pub(crate) fn limits(&self, info_hash: InfoHash) -> bool {
        self.is_active() && self.queue.lock().is_limited(info_hash)
    }

    pub(crate) fn has_room(&self, info_hash: InfoHash) -> bool {
        !self.is_active() || self.queue.lock().has_room(info_hash, Request::is_live)
    }

    /// Asks a link for blocks, or has the requests wait until they may be sent.
    pub(crate) fn request(&self, info_hash: InfoHash, link: &Arc<Link>, spans: &[Span]) {
        link.want(spans);
        match self.is_active() {
            true => self.send_or_queue(info_hash, link, spans),
            false => link.ask(spans),
        }
    }

    /// Tells a download on which links requests wait here: what they bring is not late.
    pub(crate) fn note_held(&self, info_hash: InfoHash, now: Duration, download: &mut Download) {
        if self.is_active() {
            let links: BTreeSet<_> =
                self.queue.lock().of(info_hash).map(|request| request.link.key).collect();
            links.into_iter().for_each(|link| download.held_back(now, link));
        }
    }

    /// Sends requests when their time has come, until the engine stops. Calls `choose_more` for
    /// each download that has room again.
    ///
    /// # Blocking
    /// Until the engine stops.
    pub(crate) fn run(&self, stop: &Stop, choose_more: impl Fn(InfoHash)) {
        let mut ready = Vec::new();
        loop {
            let sleep = self.take_ready(&mut self.queue.lock(), &mut ready);
            let mut downloads = BTreeSet::new();
            for (info_hash, Request { link, span }) in ready.drain(..) {
                link.ask_if_wanted(span);
                downloads.insert(info_hash);
            }
            downloads.into_iter().for_each(&choose_more);
            select! {
                recv(self.woken) -> _ => {}
                recv(stop.channel()) -> _ => return,
                recv(sleep.map_or_else(never, after)) -> _ => {}
            }
        }
    }

    fn is_active(&self) -> bool {
        self.is_active.load(Ordering::Relaxed)
    }

    fn change(&self, change: impl FnOnce(&mut RequestQueue<Request>, Duration)) {
        let mut queue = self.queue.lock();
        change(&mut queue, self.epoch.elapsed());
        // Requests that wait still pass through the queue when there is no limit any more.
        self.is_active.store(queue.is_any_limited(), Ordering::Relaxed);
        drop(queue);
        self.wake();
    }

    fn wake(&self) {
        // A token that is there already is about to be taken.
        let _ = self.wake.try_send(());
    }

    fn send_or_queue(&self, info_hash: InfoHash, link: &Arc<Link>, spans: &[Span]) {
        let mut queue = self.queue.lock();
        if !queue.is_limited(info_hash) {
            drop(queue);
            return link.ask(spans);
        }
        let was_empty = queue.is_empty();
        for &span in spans {
            queue.push(info_hash, u64::from(span.len), Request { link: link.clone(), span });
        }
        let mut ready = Vec::new();
        if was_empty {
            // What may be sent at once need not wait for the thread. It is all of this link.
            self.take_ready(&mut queue, &mut ready);
        }
        let is_empty = queue.is_empty();
        drop(queue);
        link.ask(&ready.iter().map(|(_, request)| request.span).collect::<Vec<_>>());
        if !is_empty {
            self.wake();
        }
    }

    /// Takes what may be sent now; returns how long to sleep, or `None` if no request waits.
    fn take_ready(
        &self,
        queue: &mut RequestQueue<Request>,
        ready: &mut Vec<(InfoHash, Request)>,
    ) -> Option<Duration> {
        while ready.len() < BATCH {
            let now = self.epoch.elapsed();
            match queue.next(now, Request::is_live) {
                NextRequest::Send(info_hash, request) => ready.push((info_hash, request)),
                NextRequest::At(at) => {
                    return Some(at.saturating_sub(now).clamp(SLEEP_MIN, SLEEP_MAX));
                }
                NextRequest::Nothing => {
                    self.is_active.store(queue.is_any_limited(), Ordering::Relaxed);
                    return None;
                }
            }
        }
        Some(Duration::ZERO)
    }
}
