//! The pool: the workers that fetch and hash.
//!
//! **Invariant:** the jobs queue is bounded. A full queue holds up a link's reader, and so the peer; a fetch job that finds it full is carried out
//! by whoever made it.
//!
//! Workers run on the threads of a fixed `threadpool` and take jobs until the engine stops.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded, select};
use log::error;
use parking_lot::Mutex;
use threadpool::ThreadPool;

use crate::net::Stop;
use crate::swarm::ChunkJob;
use crate::swarm::engine::torrent::Torrent;
use crate::swarm::engine::verify::Check;

/// What a worker does.
pub(crate) enum Job {
    /// Ask for a piece.
    Fetch(Arc<Torrent>, ChunkJob),
    /// Hash a piece that has come.
    Verify(Arc<Torrent>, Check),
}

impl Job {
    fn run(self) {
        match self {
            Self::Fetch(torrent, job) => torrent.fetch(&job),
            Self::Verify(torrent, check) => checking(&torrent, || torrent.check(check)),
        }
    }
}

/// Checks a piece.
fn checking(torrent: &Arc<Torrent>, work: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
        // Without a verdict it would be under check for ever.
        torrent.check_failed();
        resume_unwind(panic);
    }
}

/// The workers and their queue.
pub(crate) struct Pool {
    jobs: Sender<Job>,
    stop: Stop,
    /// Kept for its threads; they end when the engine stops.
    _threads: Mutex<ThreadPool>,
    /// Disconnected when the last worker has ended.
    ended: Receiver<()>,
}

impl Pool {
    /// Starts `threads` workers.
    pub(crate) fn start(threads: usize, stop: &Stop) -> Self {
        let (jobs, queue) = bounded::<Job>(4 * threads);
        let (alive, ended) = bounded::<()>(0);
        let pool = threadpool::Builder::new()
            .num_threads(threads)
            .thread_name("posse-pool".to_owned())
            .build();
        for _ in 0..threads {
            let (queue, stop, alive) = (queue.clone(), stop.clone(), alive.clone());
            pool.execute(move || {
                work(&queue, &stop);
                // The queue first: whoever waits for the workers finds nothing in it that keeps a
                // file open.
                drop(queue);
                drop(alive);
            });
        }
        Self { jobs, stop: stop.clone(), _threads: Mutex::new(pool), ended }
    }

    /// Queues a job; hands it back if the queue is full.
    pub(crate) fn offer(&self, job: Job) -> Result<(), Job> {
        match self.jobs.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => Err(job),
        }
    }

    /// Queues a job, waiting for room; drops it if the engine stops.
    pub(crate) fn put(&self, job: Job) {
        if let Err(job) = self.offer(job) {
            select! {
                send(self.jobs, job) -> _ => {}
                recv(self.stop.channel()) -> _ => {}
            }
        }
    }

    /// Waits until every worker has ended; false if some had not after `timeout`.
    pub(crate) fn join(&self, timeout: Duration) -> bool {
        self.ended.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected)
    }
}

fn run(job: Job) {
    if catch_unwind(AssertUnwindSafe(|| job.run())).is_err() {
        error!("a job of the pool panicked and was given up; the others go on");
    }
}

fn work(queue: &Receiver<Job>, stop: &Stop) {
    loop {
        let job = select! {
            recv(queue) -> job => job,
            // Nothing stays in the queue, which would keep its files open.
            recv(stop.channel()) -> _ => return queue.try_iter().for_each(drop),
        };
        let Ok(job) = job else { return };
        run(job);
    }
}
