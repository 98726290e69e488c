//! One connection to the database: its transactions, and what becomes of them when something
//! fails.
//!
//! **Invariant:** outside of a transaction that writes, a statement that fails because the
//! connection is lost is asked again on a new one, for [`WAIT_MAX`] at most. Within one the first
//! failure ends it; whoever ends the transaction hears of that.
//!
//! Blocks on the database. A statement that takes longer than [`STATEMENT_TIMEOUT_MS`] fails.

use std::fmt;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::pg::PgConnection;
use diesel::result::{DatabaseErrorKind, Error, QueryResult};
use diesel::{Connection as _, ConnectionError};
use log::{info, warn};

use super::super::database::StoreError;
use super::address::EngineAddress;
use super::tls;

/// How long a database that cannot be reached is waited for: a failover takes some seconds.
const WAIT_MAX: Duration = Duration::from_secs(if cfg!(test) { 20 } else { 60 });
/// The same at the start, when it is the operator who waits.
const WAIT_MAX_AT_START: Duration = Duration::from_secs(10);
/// The first pause between two attempts; it doubles, up to the last.
const PAUSE_FIRST_MS: u64 = 20;
const PAUSE_LAST_MS: u64 = 1_000;
/// How often the log says that the database is waited for.
const SAY: Duration = Duration::from_secs(5);
/// Milliseconds for one statement, at the database.
const STATEMENT_TIMEOUT_MS: u32 = 15_000;

/// What a transaction may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// None has begun.
    Idle,
    /// It reads, as of one moment.
    Reading,
    /// It writes, and is serializable.
    Writing,
}

/// How transactions that write go beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Isolation {
    /// As if one went after the other.
    Serializable,
    /// Enough for rows that nobody else writes.
    Plain,
}

/// A connection, which is made when it is first needed, and made again when it is lost.
pub(super) struct Engine {
    address: EngineAddress,
    connection: Option<PgConnection>,
    phase: Phase,
    /// How long a database that cannot be used is waited for.
    patience: Duration,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({}, {:?})", self.address, self.phase)
    }
}

/// Why a transaction that writes did not end as it should.
#[derive(Debug)]
pub(super) enum Broken {
    /// The database has rolled it back.
    RolledBack(Error),
    /// The connection is lost, or the answer was odd: it is not known whether it was committed.
    Unknown(Error),
}

impl Engine {
    /// Connects to the database at once, so that a wrong address is found at the start.
    ///
    /// # Errors
    /// [`StoreError::Engine`] if it cannot be reached in [`WAIT_MAX_AT_START`], or refuses.
    pub(super) fn open(address: EngineAddress) -> Result<Self, StoreError> {
        let mut engine = Self::lazy(address);
        engine.patience = WAIT_MAX_AT_START;
        engine.connect_in_time(Instant::now())?;
        Ok(engine)
    }

    /// The start is over: from now on a failover is waited for.
    pub(super) fn be_patient(&mut self) {
        self.patience = WAIT_MAX;
    }

    /// Connects when it is needed.
    pub(super) fn lazy(address: EngineAddress) -> Self {
        Self { address, connection: None, phase: Phase::Idle, patience: WAIT_MAX }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Makes an error of the database's one of the store.
    pub(super) fn wrap(&self, source: &Error) -> StoreError {
        failed(&self.address, source.to_string())
    }

    /// Says that what is there is not what was written.
    pub(super) fn damaged(&self, why: impl fmt::Display) -> StoreError {
        failed(
            &self.address,
            format!("what is in it was not written by Posse, or is damaged: {why}"),
        )
    }

    /// Reads in one snapshot, which begins with the first call and ends with [`Engine::end_reading`], or
    /// in the transaction that writes.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub(super) fn read<T>(
        &mut self,
        mut ask: impl FnMut(&mut PgConnection) -> QueryResult<T>,
    ) -> Result<T, StoreError> {
        let since = Instant::now();
        let mut pause = Pause::default();
        loop {
            if self.phase == Phase::Idle {
                self.begin_reading(since)?;
            }
            let Some(connection) = &mut self.connection else {
                return Err(failed(&self.address, "the connection was lost".to_owned()));
            };
            let error = match ask(connection) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if self.phase == Phase::Writing {
                return Err(self.wrap(&error));
            }
            self.reset();
            if since.elapsed() > self.patience || !may_pass(&error) {
                return Err(self.wrap(&error));
            }
            pause.wait();
        }
    }

    fn begin_reading(&mut self, since: Instant) -> Result<(), StoreError> {
        self.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", Phase::Reading, since)
    }

    /// Begins a transaction, on a new connection if need be: the one that there is may be lost, or
    /// lead to a server that takes no writes any more.
    fn begin(&mut self, sql: &str, phase: Phase, since: Instant) -> Result<(), StoreError> {
        let mut pause = Pause::default();
        loop {
            self.connect_in_time(since)?;
            let error = match self.execute(sql) {
                Ok(()) => {
                    self.phase = phase;
                    return Ok(());
                }
                Err(error) => error,
            };
            self.reset();
            if since.elapsed() > self.patience {
                return Err(self.wrap(&error));
            }
            pause.wait();
        }
    }

    /// Ends the snapshot. A transaction that writes goes on.
    pub(super) fn end_reading(&mut self) {
        if self.phase == Phase::Reading {
            self.phase = Phase::Idle;
            if self.execute("COMMIT").is_err() {
                self.reset();
            }
        }
    }

    /// Begins a transaction that writes. It does not say so: where the database is set to be only
    /// read, since another takes its place, that must hold.
    ///
    /// # Errors
    /// [`StoreError::Engine`] if the database cannot be reached in [`WAIT_MAX`].
    pub(super) fn begin_writing(&mut self, isolation: Isolation) -> Result<(), StoreError> {
        self.end_reading();
        let sql = match isolation {
            Isolation::Serializable => "BEGIN ISOLATION LEVEL SERIALIZABLE",
            Isolation::Plain => "BEGIN ISOLATION LEVEL READ COMMITTED",
        };
        self.begin(sql, Phase::Writing, Instant::now())
    }

    /// Runs a statement in the transaction that writes.
    ///
    /// # Errors
    /// The database's. The transaction can only be abandoned then.
    pub(super) fn write<T>(
        &mut self,
        statement: impl FnOnce(&mut PgConnection) -> QueryResult<T>,
    ) -> QueryResult<T> {
        debug_assert_eq!(self.phase, Phase::Writing);
        let written = self.connection.as_mut().map_or(Err(Error::NotInTransaction), statement);
        if let Err(Error::DatabaseError(DatabaseErrorKind::ReadOnlyTransaction, _)) = &written {
            // Another host may take writes, or this one later.
            self.reset();
        }
        written
    }

    /// Commits the transaction that writes.
    ///
    /// # Errors
    /// [`Broken`].
    pub(super) fn commit(&mut self) -> Result<(), Broken> {
        let committed = self.execute("COMMIT");
        self.phase = Phase::Idle;
        committed.map_err(|error| match error {
            Error::DatabaseError(DatabaseErrorKind::SerializationFailure, _) => {
                Broken::RolledBack(error)
            }
            error => {
                self.reset();
                Broken::Unknown(error)
            }
        })
    }

    /// Writes in a transaction of its own, once. What the database says against it is the inner
    /// error.
    ///
    /// # Errors
    /// [`StoreError::Engine`] if the database cannot be reached in [`WAIT_MAX`].
    pub(super) fn alone<T>(
        &mut self,
        isolation: Isolation,
        write: impl FnOnce(&mut PgConnection) -> QueryResult<T>,
    ) -> Result<QueryResult<T>, StoreError> {
        self.begin_writing(isolation)?;
        let written = self.write(write).and_then(|written| match self.commit() {
            Ok(()) => Ok(written),
            Err(Broken::RolledBack(error) | Broken::Unknown(error)) => Err(error),
        });
        self.abandon();
        Ok(written)
    }

    /// Rolls back what has begun.
    pub(super) fn abandon(&mut self) {
        if self.phase != Phase::Idle {
            self.phase = Phase::Idle;
            if self.execute("ROLLBACK").is_err() {
                self.reset();
            }
        }
    }

    /// Gives the connection up.
    fn reset(&mut self) {
        self.phase = Phase::Idle;
        self.connection = None;
    }

    fn execute(&mut self, sql: &str) -> QueryResult<()> {
        match &mut self.connection {
            Some(connection) => connection.batch_execute(sql),
            None => Err(Error::NotInTransaction),
        }
    }

    /// Connects unless there is a connection, again and again.
    fn connect_in_time(&mut self, since: Instant) -> Result<(), StoreError> {
        if self.connection.is_some() {
            return Ok(());
        }
        let (mut pause, mut said) = (Pause::default(), None);
        loop {
            let error = match self.connect() {
                Ok(connection) => {
                    if said.is_some() {
                        info!("the database {} is there again", self.address);
                    }
                    self.connection = Some(connection);
                    return Ok(());
                }
                Err(error) => error,
            };
            let why = error.to_string();
            // Later it may be one of several hosts that refuses, or for a while.
            let is_final = self.patience == WAIT_MAX_AT_START && is_refusal(&why);
            if since.elapsed() > self.patience || is_final {
                let advice = tls::advice(&why).map(|advice| format!(": {advice}"));
                let why = format!("cannot connect: {why}{}", advice.unwrap_or_default());
                return Err(failed(&self.address, why));
            }
            if said.is_none_or(|said: Instant| said.elapsed() > SAY) {
                warn!("the database {} cannot be reached, waiting: {why}", self.address);
                said = Some(Instant::now());
            }
            pause.wait();
        }
    }

    fn connect(&self) -> Result<PgConnection, ConnectionError> {
        let mut connection = PgConnection::establish(self.address.url())?;
        let settings = format!(
            "SET statement_timeout = {STATEMENT_TIMEOUT_MS};
             SET idle_in_transaction_session_timeout = {STATEMENT_TIMEOUT_MS}"
        );
        connection.batch_execute(&settings).map_err(ConnectionError::CouldntSetupConfiguration)?;
        // A serializable transaction that reads a whole table, as PostgreSQL does with a small one,
        // is in the way of all that write it. Another engine may not know the setting.
        let _ = connection.batch_execute("SET enable_seqscan = off");
        Ok(connection)
    }
}

/// Tells whether an error may be gone when it is asked again: the connection was lost, or the
/// database ends or begins. One of a reading statement is asked again for whatever the database
/// says, since a database that starts says many things.
fn may_pass(error: &Error) -> bool {
    !matches!(error, Error::NotFound | Error::QueryBuilderError(_) | Error::DeserializationError(_))
}

/// Tells whether trying again is of no use: what the server or libpq says of a wrong name,
/// password or certificate.
fn is_refusal(why: &str) -> bool {
    [
        "authentication failed",
        "does not exist",
        "certificate",
        "does not support SSL",
        "no password supplied",
        "invalid",
    ]
    .iter()
    .any(|words| why.contains(words))
}

pub(super) fn failed(address: &EngineAddress, why: String) -> StoreError {
    StoreError::Engine { database: address.to_string(), why }
}

/// Waits between attempts, longer each time and never all at the same time.
#[derive(Debug, Default)]
pub(super) struct Pause {
    count: u32,
}

impl Pause {
    pub(super) fn wait(&mut self) {
        let most = PAUSE_LAST_MS.min(PAUSE_FIRST_MS << self.count.min(10));
        self.count += 1;
        std::thread::sleep(Duration::from_millis(rand::random_range(most / 2..=most)));
    }
}
