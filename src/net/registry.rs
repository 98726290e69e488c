//! Who is connected: bounds the number of connections, in all and per address, and closes them all
//! at the end.
//!
//! **Invariant:** a connection is counted exactly while its [`Admission`] lives and the registry
//! has not closed it to make room; of those closed and not yet gone there are never more than there
//! may be connections.
//!
//! **Who gives way.** A connection is *unproven* until its other end has shown who it is. When an
//! address has as many unproven connections as it may, the oldest of them is closed for the
//! newcomer; when the whole is full, the oldest of the address with the most. A proven connection
//! never gives way to an unproven one. So slow handshakes by the thousand keep nobody out who is
//! quick, and cost others nothing as long as they come from few addresses. An address is a
//! [`Source`].
//!
//! Called on any thread; nothing blocks, and the connection that gives way is closed outside the
//! lock. An admission costs the logarithm of the number of connections.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Connection, Incoming, Source};

/// Something that can be closed from any thread, at once and more than once; whoever uses it then
/// finds out.
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
    /// Room for connections beyond `proven`: for newcomers when that many are there, and for
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
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bounds: Bounds,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The key given last; a connection with a smaller one is older.
    last_key: u64,
    closed: bool,
    held: HashMap<u64, Held>,
    sources: HashMap<Source, Crowd>,
    /// The sources with unproven connections, the one that gives way first at the end.
    crowds: BTreeSet<Rank>,
    /// Connections proven and not trusted.
    proven: usize,
    /// Connections that had to give way and whose admissions still live.
    leaving: usize,
}

/// Number of unproven connections, then the age of the oldest of them, then whose they are.
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
struct Crowd {
    /// Keys of the unproven ones: the oldest first.
    unproven: BTreeSet<u64>,
    proven: usize,
}

impl Crowd {
    fn rank(&self, source: Source) -> Option<Rank> {
        Some((self.unproven.len(), Reverse(*self.unproven.first()?), source))
    }
}

/// Counts one connection until dropped.
#[derive(Debug)]
pub struct Admission {
    shared: Arc<Shared>,
    key: u64,
}

impl Registry {
    /// Makes a registry that keeps to `bounds`.
    pub fn new(bounds: Bounds) -> Self {
        Self { shared: Arc::new(Shared { bounds, state: Mutex::default() }) }
    }

    /// Counts a connection from `address` in, unproven. Another may be closed for it; `None` if
    /// none can, or everything is closing.
    pub fn admit(&self, address: IpAddr, close: impl Close) -> Option<Admission> {
        let held = Held {
            close: Arc::new(close),
            source: Source::of(address),
            standing: Standing::Unproven,
        };
        let (key, gone) = self.shared.state.lock().admit(&self.shared.bounds, held)?;
        if let Some(gone) = gone {
            gone.close();
        }
        Some(Admission { shared: self.shared.clone(), key })
    }

    /// Number of connections counted.
    pub fn count(&self) -> usize {
        self.shared.state.lock().held.len()
    }

    /// Tells whether there are as many proven connections as there may be.
    pub fn is_full(&self) -> bool {
        self.shared.state.lock().proven >= self.shared.bounds.proven
    }

    /// Closes every connection and admits no more.
    pub fn close_all(&self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        let all: Vec<_> = state.held.values().map(|held| held.close.clone()).collect();
        drop(state);
        all.iter().for_each(|close| close.close());
    }
}

impl Admission {
    /// Notes that the connection has proven who it is: it counts as such from now on. False, and
    /// nothing changes, if its address or the whole has as many of them as it may, or if the
    /// connection had to give way meanwhile.
    #[must_use]
    pub fn prove(&mut self) -> bool {
        self.shared.state.lock().prove(&self.shared.bounds, self.key)
    }

    /// Notes that the connection is one to which no bound but that of the whole applies. False if
    /// it had to give way meanwhile.
    #[must_use]
    pub fn trust(&mut self) -> bool {
        self.shared.state.lock().set_standing(self.key, Standing::Trusted)
    }

    /// Notes that the connection no longer has anything to show: it is as if it had come just now.
    pub fn unprove(&mut self) {
        let mut state = self.shared.state.lock();
        // It is there, unless it had to give way or has nothing to lose.
        let Some(held) =
            state.held.get(&self.key).filter(|held| held.standing != Standing::Unproven)
        else {
            return;
        };
        let (close, source) = (held.close.clone(), held.source);
        if state.closed {
            return;
        }
        state.remove(self.key);
        let held = Held { close: close.clone(), source, standing: Standing::Unproven };
        let gone = match state.admit(&self.shared.bounds, held) {
            Some((key, gone)) => {
                self.key = key;
                gone
            }
            None => {
                state.leaving += 1;
                Some(close)
            }
        };
        drop(state);
        if let Some(gone) = gone {
            gone.close();
        }
    }

    /// Tells whether the connection had to give way, or everything is closing: whatever is done for
    /// it is in vain.
    pub fn is_over(&self) -> bool {
        let state = self.shared.state.lock();
        state.closed || !state.held.contains_key(&self.key)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if state.remove(self.key).is_none() {
            state.leaving -= 1;
        }
    }
}

impl State {
    /// Counts a connection in; returns its key, and the connection that gave way.
    fn admit(&mut self, bounds: &Bounds, held: Held) -> Option<(u64, Option<Arc<dyn Close>>)> {
        let source = held.source;
        if self.closed || self.leaving >= bounds.total() || bounds.unproven_per_address == 0 {
            return None;
        }
        let own = self.sources.get(&source).map_or(0, |crowd| crowd.unproven.len());
        let oldest = if own >= bounds.unproven_per_address {
            self.sources.get(&source).and_then(|crowd| crowd.unproven.first().copied())
        } else if self.held.len() >= bounds.total() {
            Some(self.crowds.last()?.1.0)
        } else {
            None
        };
        let gone = oldest.and_then(|key| self.remove(key)).map(|held| held.close);
        self.leaving += usize::from(gone.is_some());
        self.last_key += 1;
        let key = self.last_key;
        self.held.insert(key, held);
        self.change_crowd(source, |crowd| crowd.unproven.insert(key));
        Some((key, gone))
    }

    fn prove(&mut self, bounds: &Bounds, key: u64) -> bool {
        let Some(held) = self.held.get(&key) else { return false };
        if held.standing == Standing::Proven {
            return true;
        }
        let crowd = self.sources.get(&held.source).map_or(0, |crowd| crowd.proven);
        if self.proven >= bounds.proven || crowd >= bounds.proven_per_address {
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
            self.change_crowd(source, |crowd| crowd.proven += 1);
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
            Standing::Unproven => self.change_crowd(source, |crowd| crowd.unproven.remove(&key)),
            Standing::Proven => {
                self.proven -= 1;
                self.change_crowd(source, |crowd| crowd.proven -= 1);
            }
            Standing::Trusted => {}
        }
    }

    /// Changes what is counted for a source, and its rank with it.
    fn change_crowd<T>(&mut self, source: Source, change: impl FnOnce(&mut Crowd) -> T) {
        let crowd = self.sources.entry(source).or_default();
        let old = crowd.rank(source);
        change(crowd);
        let new = crowd.rank(source);
        if crowd.unproven.is_empty() && crowd.proven == 0 {
            self.sources.remove(&source);
        }
        if old != new {
            old.map(|rank| self.crowds.remove(&rank));
            self.crowds.extend(new);
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
