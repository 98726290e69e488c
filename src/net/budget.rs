//! Bounds the memory that unfinished requests take, in all and per address.
//!
//! **Invariant:** the bytes granted and not yet given back are never more than the budget's total,
//! and of one source never more than its share.
//!
//! The first [`FREE_LEN`] bytes of a request are not counted, so small requests always go on. A
//! larger one takes bytes as its own arrive. When there are none left, requests that have stalled
//! give way, the one that moved the longest ago first: its connection is closed. If a source has
//! used up its share, requests of that source alone give way. One that moved in the last [`STALL`]
//! is not closed, nor one that itself waits for room, unless all wait for each other.
//!
//! A [`Lease`] is used by the thread that reads the request; it blocks until there is room, and
//! until its deadline at most. The lock is never held while a connection is closed.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{Close, Source};
use crate::wire::frame::Room;

/// Bytes of each request that are not counted: a connection costs more than that anyway.
const FREE_LEN: usize = 8 << 10;
/// A request that has been granted nothing for so long has stalled. A whole one of 1 MiB comes at
/// 10 Mbit/s in less.
const STALL: Duration = Duration::from_secs(1);
/// How often a request that waits looks whether another has stalled meanwhile.
const LOOK: Duration = Duration::from_millis(100);
/// Requests of one source that wait at a time; further ones are refused at once.
const WAITING_MAX: usize = 64;

/// The memory for unfinished requests; clones are the same budget.
#[derive(Debug, Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    total: usize,
    per_source: usize,
    state: Mutex<State>,
    /// Something was given back, or has to give way.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    peak: usize,
    /// Bytes of leases that have to give way and have not been given back yet.
    leaving: usize,
    last_key: u64,
    leases: HashMap<u64, Granted>,
    /// Leases that may have to give way: the one that moved the longest ago first.
    by_age: BTreeSet<Rank>,
    sources: HashMap<Source, OfSource>,
}

/// Whether it waits for room, when it moved last, and its key.
type Rank = (bool, Instant, u64);

/// What the leases of one source hold.
#[derive(Debug, Default)]
struct OfSource {
    used: usize,
    leaving: usize,
    by_age: BTreeSet<Rank>,
    /// Leases that wait for room.
    waiting: usize,
}

/// What one lease holds.
struct Granted {
    len: usize,
    source: Source,
    /// When it moved last.
    at: Instant,
    /// It waits for room, so that it does not move is not its peer's doing.
    waiting: bool,
    close: Arc<dyn Close>,
    /// It has to give way; its bytes come back when its thread has noticed.
    leaving: bool,
}

impl Budget {
    /// Makes a budget of `total` bytes, of which one source has `per_source` at most.
    pub fn new(total: usize, per_source: usize) -> Self {
        let shared = Shared { total, per_source, state: Mutex::default(), changed: Condvar::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Begins a request from `address`, which has to be there by `deadline`. It holds nothing yet;
    /// `close` ends the connection that it comes on.
    pub fn lease(&self, address: IpAddr, close: impl Close, deadline: Instant) -> Lease {
        let (source, close) = (Source::of(address), Arc::new(close));
        Lease { shared: self.shared.clone(), source, close, deadline, len: 0, key: None }
    }

    /// Bytes granted now.
    pub fn used(&self) -> usize {
        self.shared.state.lock().used
    }

    /// The most bytes that were granted at any time.
    pub fn peak(&self) -> usize {
        self.shared.state.lock().peak
    }
}

/// The memory of one request; given back when dropped.
pub struct Lease {
    shared: Arc<Shared>,
    source: Source,
    close: Arc<dyn Close>,
    deadline: Instant,
    /// Bytes asked for so far, those included that are not counted.
    len: usize,
    /// Its entry among those that hold something.
    key: Option<u64>,
}

impl Room for Lease {
    /// Takes `more` bytes.
    ///
    /// # Errors
    /// `QuotaExceeded` if the request has to give way, or there is no room until the deadline.
    ///
    /// # Blocking
    /// Until there is room.
    fn grow(&mut self, more: usize) -> io::Result<()> {
        let counted =
            (self.len + more).saturating_sub(FREE_LEN) - self.len.saturating_sub(FREE_LEN);
        if counted > 0 {
            self.take(counted)?;
        }
        self.len += more;
        Ok(())
    }

    fn note_progress(&mut self) {
        if let Some(key) = self.key {
            self.shared.state.lock().change(key, |granted| granted.at = Instant::now());
        }
    }
}

impl Lease {
    fn take(&mut self, len: usize) -> io::Result<()> {
        let shared = self.shared.clone();
        let mut state = shared.state.lock();
        if self.try_take(&mut state, len)? {
            return Ok(());
        }
        let of_source = state.sources.entry(self.source).or_default();
        if of_source.waiting >= WAITING_MAX || len > shared.per_source.min(shared.total) {
            state.forget_idle(self.source);
            return Err(full());
        }
        of_source.waiting += 1;
        if let Some(key) = self.key {
            state.change(key, |granted| granted.waiting = true);
        }
        let taken = self.wait(&mut state, len);
        if let Some(key) = self.key {
            state.change(key, |granted| granted.waiting = false);
        }
        state.sources.entry(self.source).or_default().waiting -= 1;
        state.forget_idle(self.source);
        taken
    }

    fn try_take(&mut self, state: &mut State, len: usize) -> io::Result<bool> {
        if self.key.is_some_and(|key| state.leases[&key].leaving) {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "it had stalled, and others needed its place",
            ));
        }
        let of_source = state.sources.get(&self.source).map_or(0, |of_source| of_source.used);
        if of_source + len > self.shared.per_source || state.used + len > self.shared.total {
            return Ok(false);
        }
        self.key = Some(state.grant(self.key, self.source, &self.close, len, Instant::now()));
        Ok(true)
    }

    fn wait(&mut self, state: &mut MutexGuard<'_, State>, len: usize) -> io::Result<()> {
        let shared = self.shared.clone();
        while !self.try_take(state, len)? {
            let now = Instant::now();
            if now >= self.deadline {
                return Err(full());
            }
            let of_source = state.sources.get(&self.source).map_or(0, |of_source| of_source.used);
            let over_share = (of_source + len).saturating_sub(shared.per_source);
            let over_total = (state.used + len).saturating_sub(shared.total);
            let mut stalled = state.pick_stalled(over_share, self.key, Some(self.source), now);
            stalled.extend(state.pick_stalled(over_total, self.key, None, now));
            if stalled.is_empty() {
                shared.changed.wait_until(state, self.deadline.min(now + LOOK));
            } else {
                // Of those some may wait for room, and learn here that they get none.
                shared.changed.notify_all();
                MutexGuard::unlocked(state, || stalled.iter().for_each(|close| close.close()));
            }
        }
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.shared.state.lock().give_back(key);
            self.shared.changed.notify_all();
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({}, {} bytes)", self.source, self.len)
    }
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} bytes{}",
            self.source,
            self.len,
            if self.leaving { ", leaving" } else { "" }
        )
    }
}

impl Granted {
    fn rank(&self, key: u64) -> Rank {
        (self.waiting, self.at, key)
    }
}

impl State {
    fn grant(
        &mut self,
        key: Option<u64>,
        source: Source,
        close: &Arc<dyn Close>,
        len: usize,
        now: Instant,
    ) -> u64 {
        let key = key.unwrap_or_else(|| {
            self.last_key += 1;
            let granted = Granted {
                len: 0,
                source,
                at: now,
                waiting: false,
                close: close.clone(),
                leaving: false,
            };
            self.leases.insert(self.last_key, granted);
            self.last_key
        });
        self.change(key, |granted| (granted.len, granted.at) = (granted.len + len, now));
        self.sources.entry(source).or_default().used += len;
        self.used += len;
        self.peak = self.peak.max(self.used);
        key
    }

    /// Changes a lease that holds something, and its rank with it.
    fn change(&mut self, key: u64, change: impl FnOnce(&mut Granted)) {
        let Some(granted) = self.leases.get_mut(&key) else { return };
        let old = granted.rank(key);
        change(granted);
        let (new, leaving) = (granted.rank(key), granted.leaving);
        let of_source = self.sources.entry(granted.source).or_default();
        for by_age in [&mut self.by_age, &mut of_source.by_age] {
            by_age.remove(&old);
            if !leaving {
                by_age.insert(new);
            }
        }
    }

    fn give_back(&mut self, key: u64) {
        let Some(granted) = self.leases.remove(&key) else { return };
        let left = if granted.leaving { granted.len } else { 0 };
        self.by_age.remove(&granted.rank(key));
        self.used -= granted.len;
        self.leaving -= left;
        let of_source = self.sources.entry(granted.source).or_default();
        of_source.by_age.remove(&granted.rank(key));
        of_source.used -= granted.len;
        of_source.leaving -= left;
        self.forget_idle(granted.source);
    }

    /// Marks stalled leases, of `source` alone if one is named, until they and those marked before
    /// hold `len` bytes. Returns what closes them.
    fn pick_stalled(
        &mut self,
        len: usize,
        own: Option<u64>,
        source: Option<Source>,
        now: Instant,
    ) -> Vec<Arc<dyn Close>> {
        let mut picked = Vec::new();
        loop {
            let of_source = source.map(|source| self.sources.entry(source).or_default());
            let (by_age, leaving) = match &of_source {
                Some(of_source) => (&of_source.by_age, of_source.leaving),
                None => (&self.by_age, self.leaving),
            };
            // Those that wait for room come behind all others.
            let Some(&(_, at, key)) = by_age.iter().find(|(_, _, key)| Some(*key) != own) else {
                break;
            };
            if leaving >= len || now.saturating_duration_since(at) < STALL {
                break;
            }
            picked.push(self.mark_leaving(key));
        }
        picked
    }

    fn mark_leaving(&mut self, key: u64) -> Arc<dyn Close> {
        self.change(key, |granted| granted.leaving = true);
        let granted = self.leases.get(&key).expect("a lease is in the sets while it is in the map");
        self.sources.entry(granted.source).or_default().leaving += granted.len;
        self.leaving += granted.len;
        granted.close.clone()
    }

    fn forget_idle(&mut self, source: Source) {
        if self
            .sources
            .get(&source)
            .is_some_and(|of_source| of_source.used == 0 && of_source.waiting == 0)
        {
            self.sources.remove(&source);
        }
    }
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::QuotaExceeded, "there is no room for so many large requests")
}

#[cfg(test)]
mod tests;
