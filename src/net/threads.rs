//! Threads with a name and an owner.
//!
//! **Invariant:** every thread started here is counted until it has ended, and a panic in it ends
//! that thread alone.
//!
//! Called on any thread; only [`Threads::join`] blocks, until its time-out.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use log::error;
use parking_lot::{Condvar, Mutex};

/// Stack of a connection's thread in bytes: sessions keep their buffers on the heap.
const STACK_LEN: usize = 256 << 10;

/// A group of threads that ends together; clones are the same group.
#[derive(Debug, Clone, Default)]
pub struct Threads {
    inner: Arc<ThreadsInner>,
}

#[derive(Debug, Default)]
struct ThreadsInner {
    handles: Mutex<Handles>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Handles {
    next_key: u64,
    running: HashMap<u64, String>,
    /// Handles by key; a thread that ended before its handle arrived is found in `finished`.
    by_key: HashMap<u64, JoinHandle<()>>,
    finished: Vec<u64>,
}

impl Threads {
    /// Makes an empty group.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a thread called `name`. A panic in `work` is logged and ends only that thread.
    ///
    /// # Errors
    /// The system's, when it has no room for another thread; `work` is dropped then.
    pub fn spawn(
        &self,
        name: impl Into<String>,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let name = name.into();
        self.reap();
        let key = {
            let mut handles = self.inner.handles.lock();
            handles.next_key += 1;
            let key = handles.next_key;
            handles.running.insert(key, name.clone());
            key
        };
        let end = End { inner: self.inner.clone(), key };
        let started = Builder::new().name(name.clone()).stack_size(STACK_LEN).spawn(move || {
            let _end = end;
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                error!("thread {name} panicked and was ended; the others go on");
            }
        });
        let mut handles = self.inner.handles.lock();
        match started {
            Ok(handle) => {
                handles.by_key.insert(key, handle);
                Ok(())
            }
            Err(e) => {
                // `work` was dropped, and its end reported, without a thread to join.
                handles.finished.retain(|finished| *finished != key);
                Err(e)
            }
        }
    }

    /// Number of threads that have not ended.
    pub fn count(&self) -> usize {
        self.inner.handles.lock().running.len()
    }

    /// Waits until every thread has ended and joins them; returns the names of those still running
    /// after `timeout`.
    ///
    /// # Blocking
    /// For at most `timeout`.
    pub fn join(&self, timeout: Duration) -> Vec<String> {
        let deadline = Instant::now() + timeout;
        let mut handles = self.inner.handles.lock();
        while !handles.running.is_empty() {
            if self.inner.ended.wait_until(&mut handles, deadline).timed_out() {
                break;
            }
        }
        let stayed = handles.running.values().cloned().collect();
        drop(handles);
        self.reap();
        stayed
    }

    /// Joins the threads that have said they are done; each is a few instructions from its end.
    fn reap(&self) {
        let mut handles = self.inner.handles.lock();
        let Handles { by_key, finished, .. } = &mut *handles;
        let mut done = Vec::new();
        finished.retain(|key| match by_key.remove(key) {
            Some(handle) => {
                done.push(handle);
                false
            }
            None => true,
        });
        drop(handles);
        let own = std::thread::current().id();
        done.into_iter().filter(|handle| handle.thread().id() != own).for_each(|handle| {
            // The panic, if there was one, was logged by the thread itself.
            let _ = handle.join();
        });
    }
}

/// Reports a thread's end, however it comes.
struct End {
    inner: Arc<ThreadsInner>,
    key: u64,
}

impl Drop for End {
    fn drop(&mut self) {
        let mut handles = self.inner.handles.lock();
        handles.running.remove(&self.key);
        handles.finished.push(self.key);
        self.inner.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Stop;

    #[test]
    fn threads_are_counted_joined_and_survive_a_panic() {
        let (threads, stop) = (Threads::new(), Stop::new());
        let waits = stop.clone();
        threads.spawn("waiter", move || while !waits.wait(Duration::from_secs(60)) {}).unwrap();
        threads.spawn("panics", || panic!("on purpose")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while threads.count() > 1 {
            assert!(Instant::now() < deadline, "the panicking thread did not end");
            std::thread::yield_now();
        }
        assert_eq!(threads.join(Duration::from_millis(1)), ["waiter"]);
        stop.set();
        assert!(threads.join(Duration::from_secs(10)).is_empty());
        assert_eq!(threads.count(), 0);
        assert!(threads.inner.handles.lock().by_key.is_empty());
    }
}
