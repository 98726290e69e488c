//! Bounds the memory that unfinished requests take, in all and per address.
//!
//! **Invariant:** the bytes granted and not yet given back are never more than the budget's total,
//! and those of one source never more than its share.
//!
//! The first [`FREE_LEN`] bytes of a request are not counted, so small requests always go on. A
//! larger one is granted bytes as its own arrive. When none are left, stalled requests are evicted,
//! the one that moved the longest ago first: its connection is closed. If a source has used up its
//! share, only requests of that source are evicted. One that moved in the last [`STALL`] is not,
//! nor one that itself waits for room, unless all wait for each other.
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
    inner: Arc<BudgetInner>,
}

#[derive(Debug)]
struct BudgetInner {
    total: usize,
    per_source: usize,
    leases: Mutex<Leases>,
    /// Bytes were given back, or a lease was evicted.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Leases {
    used: usize,
    peak: usize,
    /// Bytes of evicted leases that have not been given back yet.
    evicted_len: usize,
    last_key: u64,
    by_key: HashMap<u64, Granted>,
    /// Leases that may be evicted: the one that moved the longest ago first.
    by_age: BTreeSet<Rank>,
    sources: HashMap<Source, SourceLeases>,
}

/// Whether it waits for room, when it moved last, and its key.
type Rank = (bool, Instant, u64);

/// What the leases of one source hold.
#[derive(Debug, Default)]
struct SourceLeases {
    used: usize,
    evicted_len: usize,
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
    /// Its connection was closed; its bytes come back when its thread has noticed.
    evicted: bool,
}

impl Budget {
    /// Makes a budget of `total` bytes, of which one source has `per_source` at most.
    pub fn new(total: usize, per_source: usize) -> Self {
        let inner =
            BudgetInner { total, per_source, leases: Mutex::default(), changed: Condvar::new() };
        Self { inner: Arc::new(inner) }
    }

    /// Begins a request from `address`, which has to be there by `deadline`. It holds nothing yet;
    /// `close` ends the connection that it comes on.
    pub fn lease(&self, address: IpAddr, close: impl Close, deadline: Instant) -> Lease {
        let (source, close) = (Source::of(address), Arc::new(close));
        Lease { inner: self.inner.clone(), source, close, deadline, len: 0, key: None }
    }

    /// Bytes granted now.
    pub fn used(&self) -> usize {
        self.inner.leases.lock().used
    }

    /// The most bytes that were granted at any time.
    pub fn peak(&self) -> usize {
        self.inner.leases.lock().peak
    }
}

/// The memory of one request; given back when dropped.
pub struct Lease {
    inner: Arc<BudgetInner>,
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
    /// `QuotaExceeded` if the request was evicted, or there is no room until the deadline.
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
            self.inner.leases.lock().change(key, |granted| granted.at = Instant::now());
        }
    }
}

impl Lease {
    fn take(&mut self, len: usize) -> io::Result<()> {
        let inner = self.inner.clone();
        let mut leases = inner.leases.lock();
        if self.try_take(&mut leases, len)? {
            return Ok(());
        }
        let source_leases = leases.sources.entry(self.source).or_default();
        if source_leases.waiting >= WAITING_MAX || len > inner.per_source.min(inner.total) {
            leases.forget_idle(self.source);
            return Err(full());
        }
        source_leases.waiting += 1;
        if let Some(key) = self.key {
            leases.change(key, |granted| granted.waiting = true);
        }
        let taken = self.wait(&mut leases, len);
        if let Some(key) = self.key {
            leases.change(key, |granted| granted.waiting = false);
        }
        leases.sources.entry(self.source).or_default().waiting -= 1;
        leases.forget_idle(self.source);
        taken
    }

    fn try_take(&mut self, leases: &mut Leases, len: usize) -> io::Result<bool> {
        if self.key.is_some_and(|key| leases.by_key[&key].evicted) {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "it had stalled, and others needed its place",
            ));
        }
        let of_source = leases.used_by(self.source);
        if of_source + len > self.inner.per_source || leases.used + len > self.inner.total {
            return Ok(false);
        }
        self.key = Some(leases.grant(self.key, self.source, &self.close, len, Instant::now()));
        Ok(true)
    }

    fn wait(&mut self, leases: &mut MutexGuard<'_, Leases>, len: usize) -> io::Result<()> {
        let inner = self.inner.clone();
        while !self.try_take(leases, len)? {
            let now = Instant::now();
            if now >= self.deadline {
                return Err(full());
            }
            let of_source = leases.used_by(self.source);
            let over_share = (of_source + len).saturating_sub(inner.per_source);
            let over_total = (leases.used + len).saturating_sub(inner.total);
            let mut stalled = leases.pick_stalled(over_share, self.key, Some(self.source), now);
            stalled.extend(leases.pick_stalled(over_total, self.key, None, now));
            if stalled.is_empty() {
                inner.changed.wait_until(leases, self.deadline.min(now + LOOK));
            } else {
                // Of those some may wait for room, and learn here that they get none.
                inner.changed.notify_all();
                MutexGuard::unlocked(leases, || stalled.iter().for_each(|close| close.close()));
            }
        }
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.inner.leases.lock().give_back(key);
            self.inner.changed.notify_all();
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
            if self.evicted { ", evicted" } else { "" }
        )
    }
}

impl Granted {
    fn rank(&self, key: u64) -> Rank {
        (self.waiting, self.at, key)
    }
}

impl Leases {
    fn used_by(&self, source: Source) -> usize {
        self.sources.get(&source).map_or(0, |source_leases| source_leases.used)
    }

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
                evicted: false,
            };
            self.by_key.insert(self.last_key, granted);
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
        let Some(granted) = self.by_key.get_mut(&key) else { return };
        let old = granted.rank(key);
        change(granted);
        let (new, evicted) = (granted.rank(key), granted.evicted);
        let source_leases = self.sources.entry(granted.source).or_default();
        for by_age in [&mut self.by_age, &mut source_leases.by_age] {
            by_age.remove(&old);
            if !evicted {
                by_age.insert(new);
            }
        }
    }

    fn give_back(&mut self, key: u64) {
        let Some(granted) = self.by_key.remove(&key) else { return };
        let left = if granted.evicted { granted.len } else { 0 };
        self.by_age.remove(&granted.rank(key));
        self.used -= granted.len;
        self.evicted_len -= left;
        let source_leases = self.sources.entry(granted.source).or_default();
        source_leases.by_age.remove(&granted.rank(key));
        source_leases.used -= granted.len;
        source_leases.evicted_len -= left;
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
            let source_leases = source.map(|source| self.sources.entry(source).or_default());
            let (by_age, evicted_len) = match &source_leases {
                Some(source_leases) => (&source_leases.by_age, source_leases.evicted_len),
                None => (&self.by_age, self.evicted_len),
            };
            // Those that wait for room come behind all others.
            let Some(&(_, at, key)) = by_age.iter().find(|(_, _, key)| Some(*key) != own) else {
                break;
            };
            if evicted_len >= len || now.saturating_duration_since(at) < STALL {
                break;
            }
            picked.push(self.evict(key));
        }
        picked
    }

    fn evict(&mut self, key: u64) -> Arc<dyn Close> {
        self.change(key, |granted| granted.evicted = true);
        let granted = self.by_key.get(&key).expect("a lease is in the sets while it is in the map");
        self.sources.entry(granted.source).or_default().evicted_len += granted.len;
        self.evicted_len += granted.len;
        granted.close.clone()
    }

    fn forget_idle(&mut self, source: Source) {
        if self
            .sources
            .get(&source)
            .is_some_and(|source_leases| source_leases.used == 0 && source_leases.waiting == 0)
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
