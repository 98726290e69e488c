//! The pool: workers that send the requests of chunk jobs and hash pieces.
//!
//! **Invariant:** the queue of jobs is bounded. A full queue holds up a link's reader, and so the
//! peer; a caller that finds it full carries the fetch job out itself.
//!
//! Workers run on the threads of a fixed `threadpool` and take jobs until the engine stops.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select};
use parking_lot::Mutex;
use threadpool::ThreadPool;

use crate::net::Stop;

/// Jobs that wait, for each worker.
const QUEUED_PER_WORKER: usize = 4;

/// What a worker does: sends the requests for a chunk, or hashes one.
pub(super) type Job = Box<dyn FnOnce() + Send>;

pub(super) struct Pool {
    jobs: Sender<Job>,
    stop: Stop,
    /// Kept for its threads; they end when the engine stops.
    _threads: Mutex<ThreadPool>,
    /// Disconnected when the last worker has ended.
    ended: Receiver<()>,
}

impl Pool {
    pub(super) fn start(threads: usize, stop: &Stop) -> Self {
        let (jobs, queue) = bounded::<Job>(QUEUED_PER_WORKER * threads);
        let (alive, ended) = bounded::<()>(0);
        let pool = threadpool::Builder::new()
            .num_threads(threads)
            .thread_name("posse-pool".to_owned())
            .build();
        for _ in 0..threads {
            let (queue, stop, alive) = (queue.clone(), stop.clone(), alive.clone());
            pool.execute(move || {
                work(&queue, &stop);
                // The queue first: the jobs in it keep files open.
                drop(queue);
                drop(alive);
            });
        }
        Self { jobs, stop: stop.clone(), _threads: Mutex::new(pool), ended }
    }

    /// Queues a job. Returns false, and drops it, if the queue is full.
    pub(super) fn offer(&self, job: Job) -> bool {
        self.jobs.try_send(job).is_ok()
    }

    /// Queues a job, waiting for room; drops it if the engine stops.
    pub(super) fn put(&self, job: Job) {
        if let Err(unsent) = self.jobs.try_send(job) {
            select! {
                send(self.jobs, unsent.into_inner()) -> _ => {}
                recv(self.stop.channel()) -> _ => {}
            }
        }
    }

    pub(super) fn join(&self, timeout: Duration) -> bool {
        self.ended.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected)
    }
}

fn work(queue: &Receiver<Job>, stop: &Stop) {
    loop {
        let job = select! {
            recv(queue) -> job => job,
            // Jobs that stayed in the queue would keep their files open.
            recv(stop.channel()) -> _ => return queue.try_iter().for_each(drop),
        };
        let Ok(job) = job else { return };
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            log::error!("a job of the pool panicked and was given up; the others go on");
        }
    }
}
