//! The connections of a listener: bounds their number, in all and per address, and closes them all
//! at the end.
//!
//! **Invariant:** a connection is counted exactly while its [`Admission`] lives and the registry
//! has not evicted it. Of those evicted whose admission still lives there are never more than there
//! may be connections.
//!
//! **Eviction.** A connection is *unproven* until its other end has shown who it is. When an
//! address has as many unproven connections as it may, the oldest of them is closed for the new
//! one; when the whole is full, the oldest of the address with the most. A proven connection is
//! never evicted. So slow handshakes by the thousand do not lock out quick ones, and cost others
//! nothing as long as they come from few addresses. An address is a [`Source`].
//!
//! Called on any thread; nothing blocks, and an evicted connection is closed outside the lock. An
//! admission costs the logarithm of the number of connections.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Connection, Incoming, Source};

/// A connection that can be closed from any thread, more than once. Its users then see an end or an
/// error.
pub trait Close: Send + Sync + 'static {
    /// Closes it. Does not block.
    fn close(&self);
}

impl Close for Incoming {
    fn close(&self) {
        Self::close(self);
    }
}

impl Close for Connection {
    fn close(&self) {
        Self::close(self);
    }
}

/// How many connections a [`Registry`] admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections that have proven who they are, trusted ones aside.
    pub proven: usize,
    /// Such connections from one address.
    pub proven_per_address: usize,
    /// Connections that have not, from one address.
    pub unproven_per_address: usize,
    /// Room for connections beyond `proven`: for unproven ones when that many are there, and for
    /// trusted ones.
    pub spare: usize,
}

impl Bounds {
    fn total(&self) -> usize {
        self.proven.saturating_add(self.spare)
    }
}

/// The connections of one listener; clones are the same registry.
#[derive(Debug, Clone)]
pub struct Registry {
    inner: Arc<RegistryInner>,
}

#[derive(Debug)]
struct RegistryInner {
    bounds: Bounds,
    admitted: Mutex<Admitted>,
}

#[derive(Debug, Default)]
struct Admitted {
    /// The key given last; a connection with a smaller one is older.
    last_key: u64,
    closed: bool,
    held: HashMap<u64, Held>,
    sources: HashMap<Source, SourceConnections>,
    /// The sources with unproven connections; the last one is evicted from first.
    by_rank: BTreeSet<Rank>,
    /// Connections proven and not trusted.
    proven: usize,
    /// Evicted connections whose admissions still live.
    evicted_count: usize,
}

/// Number of unproven connections, age of the oldest of them, their source.
type Rank = (usize, Reverse<u64>, Source);

/// One connection.
struct Held {
    close: Arc<dyn Close>,
    source: Source,
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Unproven,
    Proven,
    Trusted,
}

/// The connections of one source.
#[derive(Debug, Default)]
struct SourceConnections {
    /// Keys of the unproven ones: the oldest first.
    unproven: BTreeSet<u64>,
    proven: usize,
}

impl SourceConnections {
    fn rank(&self, source: Source) -> Option<Rank> {
        Some((self.unproven.len(), Reverse(*self.unproven.first()?), source))
    }
}

/// Counts one connection until dropped.
#[derive(Debug)]
pub struct Admission {
    inner: Arc<RegistryInner>,
    key: u64,
}

impl Registry {
    /// Makes a registry that keeps to `bounds`.
    pub fn new(bounds: Bounds) -> Self {
        Self { inner: Arc::new(RegistryInner { bounds, admitted: Mutex::default() }) }
    }

    /// Admits a connection from `address`, unproven. Another may be evicted for it; `None` if none
    /// can be, or everything is closing.
    pub fn admit(&self, address: IpAddr, close: impl Close) -> Option<Admission> {
        let held = Held {
            close: Arc::new(close),
            source: Source::of(address),
            standing: Standing::Unproven,
        };
        let (key, evicted) = self.inner.admitted.lock().admit(&self.inner.bounds, held)?;
        if let Some(evicted) = evicted {
            evicted.close();
        }
        Some(Admission { inner: self.inner.clone(), key })
    }

    /// Number of connections counted.
    pub fn count(&self) -> usize {
        self.inner.admitted.lock().held.len()
    }

    /// Tells whether there are as many proven connections as there may be.
    pub fn is_full(&self) -> bool {
        self.inner.admitted.lock().proven >= self.inner.bounds.proven
    }

    /// Closes every connection and admits no more.
    pub fn close_all(&self) {
        let mut admitted = self.inner.admitted.lock();
        admitted.closed = true;
        let all: Vec<_> = admitted.held.values().map(|held| held.close.clone()).collect();
        drop(admitted);
        all.iter().for_each(|close| close.close());
    }
}

impl Admission {
    /// Notes that the connection has proven who it is: it counts as such from now on. False, and
    /// nothing changes, if its address or the whole has as many of them as it may, or if the
    /// connection was evicted meanwhile.
    #[must_use]
    pub fn prove(&mut self) -> bool {
        self.inner.admitted.lock().prove(&self.inner.bounds, self.key)
    }

    /// Notes that the connection is one to which no bound but that of the whole applies. False if
    /// it was evicted meanwhile.
    #[must_use]
    pub fn trust(&mut self) -> bool {
        self.inner.admitted.lock().set_standing(self.key, Standing::Trusted)
    }

    /// Notes that the connection is unproven again, as if it had been admitted just now.
    pub fn unprove(&mut self) {
        let mut admitted = self.inner.admitted.lock();
        // It is absent if it was evicted.
        let Some(held) =
            admitted.held.get(&self.key).filter(|held| held.standing != Standing::Unproven)
        else {
            return;
        };
        let (close, source) = (held.close.clone(), held.source);
        if admitted.closed {
            return;
        }
        admitted.remove(self.key);
        let held = Held { close: close.clone(), source, standing: Standing::Unproven };
        let evicted = match admitted.admit(&self.inner.bounds, held) {
            Some((key, evicted)) => {
                self.key = key;
                evicted
            }
            None => {
                admitted.evicted_count += 1;
                Some(close)
            }
        };
        drop(admitted);
        if let Some(evicted) = evicted {
            evicted.close();
        }
    }

    /// Tells whether the connection was evicted, or everything is closing: work for it is in vain.
    pub fn is_over(&self) -> bool {
        let admitted = self.inner.admitted.lock();
        admitted.closed || !admitted.held.contains_key(&self.key)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut admitted = self.inner.admitted.lock();
        if admitted.remove(self.key).is_none() {
            admitted.evicted_count -= 1;
        }
    }
}

impl Admitted {
    /// Admits a connection; returns its key, and the connection that was evicted.
    fn admit(&mut self, bounds: &Bounds, held: Held) -> Option<(u64, Option<Arc<dyn Close>>)> {
        let source = held.source;
        if self.closed || self.evicted_count >= bounds.total() || bounds.unproven_per_address == 0 {
            return None;
        }
        let own = self.sources.get(&source).map_or(0, |connections| connections.unproven.len());
        let oldest = if own >= bounds.unproven_per_address {
            self.sources.get(&source).and_then(|connections| connections.unproven.first().copied())
        } else if self.held.len() >= bounds.total() {
            Some(self.by_rank.last()?.1.0)
        } else {
            None
        };
        let evicted = oldest.and_then(|key| self.remove(key)).map(|held| held.close);
        self.evicted_count += usize::from(evicted.is_some());
        self.last_key += 1;
        let key = self.last_key;
        self.held.insert(key, held);
        self.change_source(source, |connections| connections.unproven.insert(key));
        Some((key, evicted))
    }

    fn prove(&mut self, bounds: &Bounds, key: u64) -> bool {
        let Some(held) = self.held.get(&key) else { return false };
        if held.standing == Standing::Proven {
            return true;
        }
        let connections =
            self.sources.get(&held.source).map_or(0, |connections| connections.proven);
        if self.proven >= bounds.proven || connections >= bounds.proven_per_address {
            return false;
        }
        self.set_standing(key, Standing::Proven)
    }

    fn set_standing(&mut self, key: u64, new: Standing) -> bool {
        let Some(held) = self.held.get_mut(&key) else { return false };
        let (source, old) = (held.source, std::mem::replace(&mut held.standing, new));
        self.uncount(key, source, old);
        if new == Standing::Proven {
            self.proven += 1;
            self.change_source(source, |connections| connections.proven += 1);
        }
        true
    }

    fn remove(&mut self, key: u64) -> Option<Held> {
        let held = self.held.remove(&key)?;
        self.uncount(key, held.source, held.standing);
        Some(held)
    }

    /// Takes a connection out of the counts of its standing.
    fn uncount(&mut self, key: u64, source: Source, standing: Standing) {
        match standing {
            Standing::Unproven => {
                self.change_source(source, |connections| connections.unproven.remove(&key))
            }
            Standing::Proven => {
                self.proven -= 1;
                self.change_source(source, |connections| connections.proven -= 1);
            }
            Standing::Trusted => {}
        }
    }

    /// Changes the counts of a source, and its rank with them.
    fn change_source<T>(
        &mut self,
        source: Source,
        change: impl FnOnce(&mut SourceConnections) -> T,
    ) {
        let connections = self.sources.entry(source).or_default();
        let old = connections.rank(source);
        change(connections);
        let new = connections.rank(source);
        if connections.unproven.is_empty() && connections.proven == 0 {
            self.sources.remove(&source);
        }
        if old != new {
            old.map(|rank| self.by_rank.remove(&rank));
            self.by_rank.extend(new);
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.source, self.standing)
    }
}

#[cfg(test)]
mod tests;
