//! A few threads that start when there is work, and end when they have been idle.
//!
//! **Invariant:** work starts in the order in which it was handed over, on at most `max` threads.
//! After [`Workers::close`] no more work is queued, and a thread ends with its work.
//!
//! Called on any thread; only [`Workers::close`] blocks, until its timeout.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::Threads;

/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(5);

type Work = Box<dyn FnOnce() + Send>;

/// The threads, and the queue of their work. The queue is unbounded: each caller bounds its own
/// work.
#[derive(Clone)]
pub(crate) struct Workers {
    name: &'static str,
    max: usize,
    threads: Threads,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<WorkersState>,
    /// Signalled when there is work, or when a thread has ended.
    changed: Condvar,
}

#[derive(Default)]
struct WorkersState {
    queue: VecDeque<Work>,
    threads: usize,
    idle: usize,
    is_closed: bool,
}

impl Workers {
    pub(crate) fn new(name: &'static str, max: usize, threads: &Threads) -> Self {
        Self { name, max, threads: threads.clone(), shared: Arc::default() }
    }

    /// Queues work. Drops it if the workers are closed. If the system cannot start a first thread,
    /// the work waits for the next call.
    pub(crate) fn run(&self, work: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.state.lock();
        if state.is_closed {
            return;
        }
        state.queue.push_back(Box::new(work));
        if state.idle >= state.queue.len() || state.threads >= self.max {
            drop(state);
            self.shared.changed.notify_one();
            return;
        }
        state.threads += 1;
        drop(state);
        if let Err(error) = self.spawn(None) {
            // The other threads do the queued work, or the next call starts a thread.
            log::warn!("cannot start a thread for background work: {error}");
        }
    }

    /// Begins work at once, on an idle thread or on a new one, however many there are. To begin a
    /// thread and to end it costs more than most links to a small file.
    ///
    /// # Errors
    /// The system's, when it has no room for another thread; `work` is dropped then.
    pub(crate) fn begin(&self, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        if state.idle > state.queue.len() {
            state.queue.push_back(Box::new(work));
            drop(state);
            self.shared.changed.notify_one();
            return Ok(());
        }
        state.threads += 1;
        drop(state);
        self.spawn(Some(Box::new(work)))
    }

    /// Starts a thread that is counted already.
    fn spawn(&self, first: Option<Work>) -> io::Result<()> {
        let shared = self.shared.clone();
        let spawned = self.threads.spawn(self.name, move || shared.serve(first));
        spawned.inspect_err(|_| self.shared.state.lock().threads -= 1)
    }

    /// Accepts no more work, and waits for queued and running work until the timeout. Then drops
    /// the rest of the queue.
    pub(crate) fn close(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.state.lock();
        state.is_closed = true;
        self.shared.changed.notify_all();
        while state.threads > 0 {
            if self.shared.changed.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state.queue.clear();
    }
}

impl Shared {
    fn serve(&self, first: Option<Work>) {
        if let Some(work) = first {
            carry_out(work);
        }
        let mut state = self.state.lock();
        loop {
            if let Some(work) = state.queue.pop_front() {
                drop(state);
                carry_out(work);
                state = self.state.lock();
                continue;
            }
            if state.is_closed {
                break;
            }
            state.idle += 1;
            let is_over = self.changed.wait_for(&mut state, IDLE).timed_out();
            state.idle -= 1;
            if is_over && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
        self.changed.notify_all();
    }
}

/// A panic ends the work, but not the thread.
fn carry_out(work: Work) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err() {
        log::error!("work panicked and was ended, the others go on: that is a bug in Posse");
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{bounded, unbounded};

    use super::*;

    #[test]
    fn no_more_threads_than_allowed_and_what_is_queued_is_done_before_the_end() {
        let threads = Threads::new();
        let workers = Workers::new("worker", 2, &threads);
        let (done, seen) = unbounded();
        let (release, held) = bounded::<()>(0);
        for number in 0..5 {
            let (done, held) = (done.clone(), held.clone());
            workers.run(move || {
                if number < 2 {
                    let _ = held.recv();
                }
                done.send(number).unwrap();
            });
        }
        assert!(threads.count() <= 2);
        drop(release);
        workers.close(Duration::from_secs(30));
        let mut numbers: Vec<i32> = seen.try_iter().collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
        workers.run(|| panic!("it is closed"));
        assert!(threads.join(Duration::from_secs(30)).is_empty());
    }
    #[test]
    fn work_begins_at_once_and_an_idle_thread_is_used_again() {
        let threads = Threads::new();
        let workers = Workers::new("worker", usize::MAX, &threads);
        let (done, seen) = unbounded();
        let (release, held) = bounded::<()>(0);
        for _ in 0..3 {
            let (done, held) = (done.clone(), held.clone());
            workers
                .begin(move || {
                    let _ = held.recv();
                    done.send(std::thread::current().id()).unwrap();
                })
                .unwrap();
        }
        assert_eq!(threads.count(), 3, "each has its own");
        drop(release);
        let mut known: Vec<_> = (0..3).map(|_| seen.recv().unwrap()).collect();
        while workers.shared.state.lock().idle < 3 {
            std::thread::yield_now();
        }
        let again = done.clone();
        workers.begin(move || again.send(std::thread::current().id()).unwrap()).unwrap();
        assert!(known.contains(&seen.recv().unwrap()));
        workers.close(Duration::from_secs(30));
        workers.begin(move || done.send(std::thread::current().id()).unwrap()).unwrap();
        known.push(seen.recv().unwrap());
        known.sort_by_key(|id| format!("{id:?}"));
        known.dedup();
        assert_eq!(known.len(), 4, "the others have ended");
        assert!(threads.join(Duration::from_secs(30)).is_empty());
    }
}
