//! The thread that writes the tables, with the database's only writing connection.
//!
//! **Invariant:** each job is one transaction, and at most one is under way. After the first error
//! nothing is written any more.
//!
//! The thread ends when its [`Writer`] is dropped, after the job that is under way.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use log::warn;
use rusqlite::Connection;

use super::super::database::StoreError;
use super::damaged;
use super::memtable::Memtable;

/// What is written in one transaction.
type Write = Box<dyn FnOnce(&Connection) -> rusqlite::Result<()> + Send>;

enum Job {
    Write(Write),
    /// Frees memory, which takes a while, too.
    Free(Arc<Memtable>),
}

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    jobs: Option<Sender<Job>>,
    done: Receiver<Result<(), StoreError>>,
    thread: Option<JoinHandle<()>>,
    is_busy: bool,
}

/// Statements kept prepared.
const STATEMENTS_MAX: usize = 32;
/// How often the log says that the disk is slow.
const SLOW: Duration = Duration::from_secs(5);

impl Writer {
    /// Starts the thread for the database at `path`, whose pages may take `cache_kib` KiB.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the system has no room for a thread.
    pub(super) fn start(
        path: PathBuf,
        connection: Connection,
        cache_kib: i64,
    ) -> Result<Self, StoreError> {
        connection
            .pragma_update(None, "cache_size", -cache_kib)
            .map_err(|source| StoreError::of(&path, source))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        // One that writes, and one to free.
        let (jobs, queue) = bounded(2);
        let (sender, done) = bounded(1);
        let wrap = |source| StoreError::Io { path: path.clone(), source };
        let own_path = path.clone();
        let run = move || write_all(&own_path, &connection, &queue, &sender);
        let thread = Builder::new().name("store-writer".to_owned()).spawn(run).map_err(wrap)?;
        Ok(Self { path, jobs: Some(jobs), done, thread: Some(thread), is_busy: false })
    }

    /// Tells whether a job is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Is ready to be received from once the job that is under way has ended. [`Writer::poll`]
    /// receives.
    pub(super) fn done(&self) -> &Receiver<Result<(), StoreError>> {
        &self.done
    }

    /// Has this written in a transaction. No job is under way.
    pub(super) fn begin(
        &mut self,
        write: impl FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static,
    ) {
        debug_assert!(!self.is_busy, "one job at a time");
        self.is_busy = true;
        self.send(Job::Write(Box::new(write)));
    }

    /// Has memory freed.
    pub(super) fn free(&self, memtable: Arc<Memtable>) {
        self.send(Job::Free(memtable));
    }

    /// Fails only if the thread has ended, which [`Writer::wait`] and [`Writer::poll`] tell.
    fn send(&self, job: Job) {
        let _ = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
    }

    /// What came of the job, if it has ended by now.
    pub(super) fn poll(&mut self) -> Option<Result<(), StoreError>> {
        if !self.is_busy {
            return None;
        }
        let done = match self.done.try_recv() {
            Err(crossbeam_channel::TryRecvError::Empty) => return None,
            Ok(done) => done,
            Err(crossbeam_channel::TryRecvError::Disconnected) => Err(self.ended()),
        };
        self.is_busy = false;
        Some(done)
    }

    /// Waits until no job is under way. `waiting` rows and entries wait behind it, for the log.
    ///
    /// # Errors
    /// Why the job has failed.
    ///
    /// # Blocking
    /// On the disk.
    pub(super) fn wait(&mut self, waiting: usize) -> Result<(), StoreError> {
        use crossbeam_channel::RecvTimeoutError::{Disconnected, Timeout};
        let since = Instant::now();
        while self.is_busy {
            match self.done.recv_timeout(SLOW) {
                Err(Timeout) => warn!(
                    "{}: the disk is slow: for {} s nothing more is taken, as {waiting} rows and entries wait",
                    self.path.display(),
                    since.elapsed().as_secs()
                ),
                Ok(done) => {
                    self.is_busy = false;
                    done?;
                }
                Err(Disconnected) => {
                    self.is_busy = false;
                    return Err(self.ended());
                }
            }
        }
        Ok(())
    }

    fn ended(&self) -> StoreError {
        damaged(&self.path, "the thread that writes it has ended")
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        // A panic there has been told of.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn write_all(
    path: &std::path::Path,
    connection: &Connection,
    jobs: &Receiver<Job>,
    done: &Sender<Result<(), StoreError>>,
) {
    let mut has_failed = false;
    for job in jobs {
        let write = match job {
            Job::Write(write) if !has_failed => write,
            Job::Write(_) => {
                let _ = done.send(Err(damaged(path, "it has failed before")));
                continue;
            }
            Job::Free(memtable) => {
                drop(memtable);
                continue;
            }
        };
        let written = in_transaction(connection, write);
        has_failed = written.is_err();
        // Fails only if the store has been dropped.
        let _ = done.send(written.map_err(|source| StoreError::of(path, source)));
    }
}

/// Writes in a transaction; if that fails, nothing of it stays.
fn in_transaction(connection: &Connection, write: Write) -> rusqlite::Result<()> {
    let run = |sql| connection.prepare_cached(sql)?.execute([]).map(drop);
    run("BEGIN IMMEDIATE")?;
    write(connection).and_then(|()| run("COMMIT")).inspect_err(|_| {
        // The error that is known already is the one to tell.
        let _ = connection.execute_batch("ROLLBACK");
    })
}
