//! Who is connected: bounds the number of connections, in all and per address, and closes them all at the end.
//!
//! **Invariant:** a connection is counted exactly while its [`Admission`] lives.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Incoming;

/// The connections of one listener; clones are the same registry.
#[derive(Debug, Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    connections_max: usize,
    unproven_per_address_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next_key: u64,
    closed: bool,
    connections: HashMap<u64, Incoming>,
    unproven: HashMap<IpAddr, usize>,
}

/// Counts one connection until dropped.
#[derive(Debug)]
pub struct Admission {
    shared: Arc<Shared>,
    key: u64,
    /// The address it is counted against until the connection has proven who it is.
    unproven: Option<IpAddr>,
}

impl Registry {
    /// Makes a registry for at most `connections_max` connections, of which `unproven_per_address_max` from one address may not
    /// have proven who they are.
    pub fn new(connections_max: usize, unproven_per_address_max: usize) -> Self {
        let state = Mutex::default();
        Self { shared: Arc::new(Shared { connections_max, unproven_per_address_max, state }) }
    }

    /// Counts a connection in; `None` if it would be one too many, or everything is closing.
    pub fn admit(&self, connection: &Incoming) -> Option<Admission> {
        let address = connection.peer_addr().ip();
        let mut state = self.shared.state.lock();
        if state.closed || state.connections.len() >= self.shared.connections_max {
            return None;
        }
        let unproven = state.unproven.entry(address).or_default();
        if *unproven >= self.shared.unproven_per_address_max {
            return None;
        }
        *unproven += 1;
        state.next_key += 1;
        let key = state.next_key;
        state.connections.insert(key, connection.clone());
        Some(Admission { shared: self.shared.clone(), key, unproven: Some(address) })
    }

    /// Number of connections counted.
    pub fn count(&self) -> usize {
        self.shared.state.lock().connections.len()
    }

    /// Closes every connection and admits no more.
    pub fn close_all(&self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        state.connections.values().for_each(Incoming::close);
    }
}

impl Admission {
    /// Notes that the connection has proven who it is: it no longer counts against its address.
    pub fn prove(&mut self) {
        if let Some(address) = self.unproven.take() {
            self.shared.state.lock().release(address);
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.prove();
        self.shared.state.lock().connections.remove(&self.key);
    }
}

impl State {
    fn release(&mut self, address: IpAddr) {
        if let Some(count) = self.unproven.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.unproven.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::time::Duration;

    #[test]
    fn bounds_hold_and_are_given_back() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dial = || Incoming::dial(listener.local_addr().unwrap(), None, Duration::from_secs(5)).unwrap();
        let registry = Registry::new(3, 2);
        let (a, b, c) = (dial(), dial(), dial());
        let mut first = registry.admit(&a).unwrap();
        let second = registry.admit(&b).unwrap();
        assert!(registry.admit(&c).is_none(), "two strangers from one address are the most");
        first.prove();
        let third = registry.admit(&c).unwrap();
        assert!(registry.admit(&dial()).is_none(), "three connections are the most");
        drop((second, third));
        assert_eq!(registry.count(), 1);
        registry.close_all();
        assert!(registry.admit(&b).is_none());
        drop(first);
        assert_eq!(registry.count(), 0);
        assert!(registry.shared.state.lock().unproven.is_empty());
    }
}
