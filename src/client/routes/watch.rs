//! Notices callers that disconnect, or lose their rights, while their commands run.
//!
//! **Invariant:** the command of such a caller is interrupted within [`INTERVAL`]; other commands go
//! on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::caller::Validity;
use crate::http::Socket;
use crate::net::{Stop, Threads};

/// Interval between checks, while commands run.
const INTERVAL: Duration = Duration::from_millis(100);

/// The callers of running commands.
pub(super) struct Watch {
    state: Mutex<State>,
    changed: Condvar,
    threads: Threads,
}

#[derive(Default)]
struct State {
    next_key: u64,
    callers: Vec<Caller>,
    has_ended: bool,
}

struct Caller {
    key: u64,
    socket: Arc<dyn Socket>,
    is_valid: Validity,
    stop: Stop,
}

/// A watched caller; dropping the value ends the watch.
pub(super) struct Watched<'a> {
    watch: &'a Watch,
    key: u64,
    /// Set when the caller disconnects or loses its rights.
    pub(super) stop: Stop,
}

impl Watch {
    pub(super) fn start() -> io::Result<Arc<Self>> {
        let watch = Arc::new(Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            threads: Threads::new(),
        });
        let of_thread = watch.clone();
        watch.threads.spawn("control watch", move || of_thread.run())?;
        Ok(watch)
    }

    /// Begins to watch a caller.
    pub(super) fn caller(&self, socket: Arc<dyn Socket>, is_valid: Validity) -> Watched<'_> {
        let stop = Stop::new();
        let mut state = self.state.lock();
        state.next_key += 1;
        let key = state.next_key;
        if state.has_ended || !is_valid() {
            stop.set();
        }
        state.callers.push(Caller { key, socket, is_valid, stop: stop.clone() });
        self.changed.notify_all();
        Watched { watch: self, key, stop }
    }

    /// Interrupts all commands, present and future.
    pub(super) fn stop(&self) {
        let mut state = self.state.lock();
        state.has_ended = true;
        state.callers.iter().for_each(|caller| caller.stop.set());
        self.changed.notify_all();
        drop(state);
        self.threads.join(INTERVAL * 10);
    }

    fn run(&self) {
        let mut state = self.state.lock();
        while !state.has_ended {
            if state.callers.is_empty() {
                self.changed.wait(&mut state);
                continue;
            }
            // Neither blocks.
            let ended = |caller: &&Caller| caller.socket.is_gone() || !(caller.is_valid)();
            state.callers.iter().filter(ended).for_each(|caller| caller.stop.set());
            self.changed.wait_for(&mut state, INTERVAL);
        }
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.watch.state.lock().callers.retain(|caller| caller.key != self.key);
    }
}
