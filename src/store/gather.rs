//! One connection for many threads: what they write at the same time shares one transaction, and
//! one wait for the disk.
//!
//! **Invariant:** [`Gather::write`] returns success once what it wrote has been committed, with all
//! that was written before it. A write that fails takes none of the others of its transaction with
//! it; a commit that fails, fails all of them.
//!
//! While one thread waits for the disk others come; the last of these to have written commits for
//! all. Nobody waits for writers that have not come yet: a lone write is committed at once.
//! [`Gather::write_soon`] leaves its write to the next commit, for callers that have several and
//! then [`Gather::flush`], which fails if any of it was lost since the last one, whoever was to
//! commit it. Blocks on the disk; calls from several threads take turns.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use rusqlite::{Connection, Error, ErrorCode, Result, ffi};

/// Writes in one transaction: bounds how long the first of them waits for the others.
const WRITES_MAX: usize = 256;
/// How often a writer looks whether whoever was to commit for it has gone.
const LOOK: Duration = Duration::from_millis(20);

/// The connection and its open transaction.
#[derive(Debug)]
pub(super) struct Gather {
    state: Mutex<State>,
    /// Writers that are about to write.
    coming: AtomicUsize,
    /// Signalled when a transaction ends.
    ended: Condvar,
}

#[derive(Debug)]
struct State {
    connection: Connection,
    /// The open transaction, if one is.
    open: Option<Arc<Transaction>>,
    writes: usize,
    /// The open transaction holds writes that nobody waits for.
    has_soon: bool,
    /// Why writes that nobody waited for were lost, until somebody asks for them.
    lost: Option<Failure>,
}

/// What can be told to several.
type Failure = (ffi::Error, Option<String>);

/// How a transaction ended, once it has.
#[derive(Debug, Default)]
struct Transaction {
    outcome: OnceLock<std::result::Result<(), Failure>>,
}

impl Gather {
    /// Takes a connection over, which has no transaction open.
    pub(super) fn new(connection: Connection) -> Self {
        let state = State { connection, open: None, writes: 0, has_soon: false, lost: None };
        Self { state: Mutex::new(state), coming: AtomicUsize::new(0), ended: Condvar::new() }
    }

    /// Looks something up. What was written and is not committed yet is seen.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        look(&self.state.lock().connection)
    }

    /// Writes, all or nothing, and waits until that is committed.
    pub(super) fn write<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.coming.fetch_add(1, Ordering::SeqCst);
        let mut state = self.state.lock();
        self.coming.fetch_sub(1, Ordering::SeqCst);
        let (transaction, result) = state.add(work)?;
        self.settle(&mut state, &transaction)?;
        result
    }

    /// Writes, all or nothing, and leaves it to the next write or [`Gather::flush`] to commit that.
    pub(super) fn write_soon<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let mut state = self.state.lock();
        let (transaction, result) = state.add_soon(work)?;
        // With a transaction that has been given up, this write has been, too.
        if state.writes >= WRITES_MAX || transaction.outcome.get().is_some() {
            self.settle(&mut state, &transaction)?;
        }
        result
    }

    /// Waits until everything written so far is committed. Fails if something that was left for
    /// soon has been lost since the last time.
    pub(super) fn flush(&self) -> Result<()> {
        let mut state = self.state.lock();
        let settled =
            state.open.clone().map_or(Ok(()), |transaction| self.settle(&mut state, &transaction));
        let lost = state.lost.take();
        settled?;
        lost.map_or(Ok(()), |lost| Err(told(&lost)))
    }

    /// Commits the transaction, or waits until somebody else has who is about to add to it.
    fn settle(&self, state: &mut MutexGuard<'_, State>, transaction: &Transaction) -> Result<()> {
        loop {
            if let Some(outcome) = transaction.outcome.get() {
                return outcome.clone().map_err(|failure| told(&failure));
            }
            if self.coming.load(Ordering::SeqCst) == 0 || state.writes >= WRITES_MAX {
                state.commit();
                self.ended.notify_all();
            } else {
                self.ended.wait_for(state, LOOK);
            }
        }
    }
}

impl State {
    /// As [`State::add`], for work whose commit nobody waits for.
    fn add_soon<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<(Arc<Transaction>, Result<T>)> {
        let added = self.add(work)?;
        self.has_soon |= self.open.is_some() && added.1.is_ok();
        Ok(added)
    }

    /// Carries work out in the open transaction, or in a new one; undoes it alone if it fails.
    fn add<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<(Arc<Transaction>, Result<T>)> {
        let transaction = match &self.open {
            Some(transaction) => transaction.clone(),
            None => {
                self.run("BEGIN IMMEDIATE")?;
                (self.writes, self.has_soon) = (0, false);
                self.open.insert(Arc::default()).clone()
            }
        };
        self.writes += 1;
        self.run("SAVEPOINT one")?;
        let result = work(&self.connection);
        let undone = if result.is_err() { self.run("ROLLBACK TO one") } else { Ok(()) };
        let released = undone.and_then(|()| self.run("RELEASE one"));
        if self.connection.is_autocommit() || released.is_err() {
            // On a disk that is full or broken SQLite gives the whole transaction up, and with it
            // what others wrote.
            let cause = result.as_ref().err().or(released.as_ref().err());
            let outcome = Err(cause.map_or_else(unknown, describe));
            self.end(outcome);
        }
        Ok((transaction, result))
    }

    fn commit(&mut self) {
        let outcome = self.run("COMMIT").map_err(|error| describe(&error));
        self.end(outcome);
    }

    /// Notes how the open transaction ended; one that failed is undone.
    fn end(&mut self, outcome: std::result::Result<(), Failure>) {
        if outcome.is_err() && !self.connection.is_autocommit() {
            // If this fails too, the next transaction cannot begin, and says so.
            let _ = self.run("ROLLBACK");
        }
        if let (true, Err(failure)) = (std::mem::take(&mut self.has_soon), &outcome) {
            self.lost = Some(failure.clone());
        }
        if let Some(transaction) = self.open.take() {
            // It ends once: whoever ends it takes it out under the lock.
            let _ = transaction.outcome.set(outcome);
        }
    }

    fn run(&self, sql: &str) -> Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }
}

fn told((error, text): &Failure) -> Error {
    Error::SqliteFailure(*error, text.clone())
}

fn describe(error: &Error) -> Failure {
    match error {
        Error::SqliteFailure(code, text) => (*code, text.clone()),
        other => {
            (ffi::Error { code: ErrorCode::Unknown, extended_code: 0 }, Some(other.to_string()))
        }
    }
}

fn unknown() -> Failure {
    (
        ffi::Error { code: ErrorCode::Unknown, extended_code: 0 },
        Some("the transaction was given up".to_owned()),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    fn gather(dir: &tempfile::TempDir) -> (Gather, Connection) {
        let path = dir.path().join("x.sqlite");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.execute_batch("CREATE TABLE t (x INTEGER PRIMARY KEY)").unwrap();
        (Gather::new(connection), Connection::open(path).unwrap())
    }

    fn insert(number: i64) -> impl FnOnce(&Connection) -> Result<()> {
        move |connection| connection.execute("INSERT INTO t VALUES (?1)", [number]).map(drop)
    }

    /// What somebody sees who opens the database after a crash now.
    fn committed(other: &Connection) -> i64 {
        other.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn what_has_returned_is_committed_whoever_did_it() {
        let dir = tempfile::tempdir().unwrap();
        let (gather, other) = gather(&dir);
        let (barrier, threads) = (Barrier::new(8), 8);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (gather, barrier) = (&gather, &barrier);
                let path = dir.path().join("x.sqlite");
                scope.spawn(move || {
                    let own = Connection::open(path).unwrap();
                    barrier.wait();
                    for number in 0..50 {
                        let id = thread * 1000 + number;
                        gather.write(insert(id)).unwrap();
                        let there: bool = own
                            .query_row("SELECT count(*) FROM t WHERE x = ?1", [id], |row| {
                                row.get(0)
                            })
                            .unwrap();
                        assert!(there, "{id} was called written, and is not committed");
                    }
                });
            }
        });
        assert_eq!(committed(&other), threads * 50);
    }

    #[test]
    fn a_write_that_fails_takes_no_other_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let (gather, other) = gather(&dir);
        gather.write_soon(insert(1)).unwrap();
        let both =
            |connection: &Connection| insert(2)(connection).and_then(|()| insert(1)(connection));
        gather.write(both).unwrap_err();
        assert_eq!(committed(&other), 1, "the first is kept, and of the failed one nothing");
        gather.write(insert(2)).unwrap();
        assert_eq!(committed(&other), 2);
    }

    #[test]
    fn what_is_left_for_soon_is_seen_here_and_committed_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let (gather, other) = gather(&dir);
        gather.write_soon(insert(1)).unwrap();
        let here = gather.read(|connection| Ok(committed(connection))).unwrap();
        assert_eq!((here, committed(&other)), (1, 0));
        gather.write(insert(2)).unwrap();
        assert_eq!(committed(&other), 2);
        gather.flush().unwrap();
        gather.write_soon(insert(3)).unwrap();
        gather.flush().unwrap();
        assert_eq!(committed(&other), 3);
        (4..4 + WRITES_MAX as i64).for_each(|number| gather.write_soon(insert(number)).unwrap());
        assert_eq!(committed(&other), 3 + WRITES_MAX as i64, "a transaction has its bound");
    }

    #[test]
    fn a_commit_that_fails_fails_all_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let (gather, other) = gather(&dir);
        gather
            .read(|connection| {
                connection.execute_batch(
                    "CREATE TABLE p (y INTEGER PRIMARY KEY);
            CREATE TABLE c (y REFERENCES p DEFERRABLE INITIALLY DEFERRED); PRAGMA foreign_keys = ON",
                )
            })
            .unwrap();
        gather.write_soon(insert(1)).unwrap();
        // A constraint that is looked at when the transaction is to end stands for a disk that
        // fails then.
        gather.write(|connection| connection.execute("INSERT INTO c VALUES (7)", [])).unwrap_err();
        assert_eq!(committed(&other), 0);
        gather
            .flush()
            .expect_err("what was left for soon is lost, and only the other writer has heard");
        gather.flush().expect("said once");
        gather.write(insert(1)).unwrap();
        assert_eq!(committed(&other), 1, "and the next one works");
        gather.write(|connection| connection.execute("INSERT INTO c VALUES (7)", [])).unwrap_err();
        gather.flush().expect("nothing was lost that its writer has not heard of");
    }
}
