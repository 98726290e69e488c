//! The tables in the database, and how they come there.
//!
//! **Invariant:** a version's number is written after all of its statements were carried out. Each
//! statement is a transaction of its own, as engines that spread over machines want it, and can be
//! carried out again: of programs that start together, or after one that was killed, one goes on
//! where another has ended.
//!
//! Portable SQL: tables, primary keys and two indexes. Keys are bytes and compared as such, so no
//! collation matters.

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;

use super::super::database::StoreError;
use super::address::EngineAddress;
use super::connection::{Engine, Isolation, Pause, failed};

diesel::table! {
    posse_meta (key) {
        key -> Text,
        value -> Binary,
    }
}
diesel::table! {
    posse_rows (key) {
        key -> Binary,
        class -> SmallInt,
        stamp_ms -> BigInt,
        body -> Binary,
    }
}
diesel::table! {
    posse_entries (key) {
        key -> Binary,
        value -> Binary,
    }
}
diesel::table! {
    posse_trackers (store) {
        store -> Binary,
        number -> BigInt,
        sequence -> BigInt,
        kept_from -> BigInt,
        beat -> BigInt,
    }
}
diesel::table! {
    posse_feed (store, sequence) {
        store -> Binary,
        sequence -> BigInt,
        body -> Binary,
    }
}

diesel::table! {
    posse_presence (place, device, tracker) {
        place -> Binary,
        device -> Binary,
        tracker -> Binary,
        sequence -> BigInt,
        state -> SmallInt,
        body -> Binary,
    }
}

/// Statements that lead from each version to the next, each up to its semicolon; the first one
/// starts from nothing. All of them can be carried out again.
const MIGRATIONS: [&str; 2] = [
    "
    CREATE TABLE IF NOT EXISTS posse_rows (
        key BYTEA PRIMARY KEY,
        class SMALLINT NOT NULL,
        stamp_ms BIGINT NOT NULL,
        body BYTEA NOT NULL
    );
    CREATE INDEX IF NOT EXISTS posse_rows_by_age ON posse_rows (class, stamp_ms, key) WHERE class > 0;
    CREATE TABLE IF NOT EXISTS posse_entries (key BYTEA PRIMARY KEY, value BYTEA NOT NULL);
    CREATE TABLE IF NOT EXISTS posse_trackers (
        store BYTEA PRIMARY KEY,
        number BIGINT NOT NULL,
        sequence BIGINT NOT NULL,
        kept_from BIGINT NOT NULL,
        beat BIGINT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS posse_feed (
        store BYTEA NOT NULL,
        sequence BIGINT NOT NULL,
        body BYTEA NOT NULL,
        PRIMARY KEY (store, sequence)
    );",
    "
    CREATE TABLE IF NOT EXISTS posse_presence (
        place BYTEA NOT NULL,
        device BYTEA NOT NULL,
        tracker BYTEA NOT NULL,
        sequence BIGINT NOT NULL,
        state SMALLINT NOT NULL,
        body BYTEA NOT NULL,
        PRIMARY KEY (place, device, tracker)
    );
    CREATE INDEX IF NOT EXISTS posse_presence_by_sequence ON posse_presence (tracker, sequence);",
];

/// The table that says which version there is. Making it fails where another program makes it at
/// the same moment.
const META: &str =
    "CREATE TABLE IF NOT EXISTS posse_meta (key TEXT PRIMARY KEY, value BYTEA NOT NULL)";

/// The version of the tables.
const SCHEMA: &str = "schema";
/// Version of the encoding of rows, as in SQLite.
const ENCODING: &str = "encoding";
/// The one that is written here.
const ENCODING_VERSION: u32 = 1;
/// Version of the entries of the indexes.
const ENTRIES: &str = "entries";
/// Attempts before the last error is told.
const ATTEMPTS_MAX: u32 = 30;

/// Makes or migrates the tables, and checks that this program knows what is in them.
///
/// # Errors
/// [`StoreError::Engine`].
///
/// # Blocking
/// On the database.
pub(super) fn prepare(
    engine: &mut Engine,
    address: &EngineAddress,
    entries_version: u32,
) -> Result<(), StoreError> {
    let mut pause = Pause::default();
    for attempt in 1.. {
        match migrate(engine, address, entries_version)? {
            Ok(()) => return Ok(()),
            Err(error) if attempt < ATTEMPTS_MAX => {
                log::debug!("making the tables of {address}, attempt {attempt}: {error}");
                pause.wait();
            }
            Err(error) => return Err(engine.wrap(&error)),
        }
    }
    unreachable!("the attempts are bounded")
}

#[derive(QueryableByName)]
struct Shown {
    #[diesel(sql_type = diesel::sql_types::Text)]
    transaction_isolation: String,
}

/// Refuses an engine that takes the word for serializable transactions and isolates them less: two
/// trackers could then break a rule together that neither has broken.
///
/// # Errors
/// [`StoreError::Engine`].
///
/// # Blocking
/// On the database.
pub(super) fn check_isolation(
    engine: &mut Engine,
    address: &EngineAddress,
) -> Result<(), StoreError> {
    engine.begin_writing(Isolation::Serializable)?;
    let found = engine.write(|connection| {
        diesel::sql_query("SHOW transaction_isolation").get_result::<Shown>(connection)
    });
    engine.abandon();
    match found {
        Ok(found) => require_serializable(address, &found.transaction_isolation),
        Err(error) => Err(engine.wrap(&error)),
    }
}

fn require_serializable(address: &EngineAddress, isolation: &str) -> Result<(), StoreError> {
    if isolation.eq_ignore_ascii_case("serializable") {
        return Ok(());
    }
    let why = format!(
        "isolates transactions by `{isolation}` where serializable ones are asked for, so trackers on it would break \
         rules: use another engine (docs/CONFORMANCE.md)"
    );
    Err(failed(address, why))
}

/// Tries once: what the database says against it may be another program that does the same.
fn migrate(
    engine: &mut Engine,
    address: &EngineAddress,
    entries_version: u32,
) -> Result<QueryResult<()>, StoreError> {
    // Without a write where the tables are: also a role that may not create any can use them.
    let known = engine.read(|connection| {
        match read_version(connection, SCHEMA) {
            // There is no such table.
            Err(diesel::result::Error::DatabaseError(..)) => Ok(Err(())),
            other => other.map(Ok),
        }
    });
    engine.abandon();
    let known = known?.unwrap_or_default().unwrap_or(0) as usize;
    if known > MIGRATIONS.len() {
        return Err(newer(address, known as u32));
    }
    if known < MIGRATIONS.len() {
        let statements = MIGRATIONS.iter().skip(known).flat_map(|of_version| of_version.split(';'));
        let statements = statements.map(str::trim).filter(|statement| !statement.is_empty());
        for statement in std::iter::once(META).chain(statements) {
            if let Err(error) = engine
                .alone(Isolation::Serializable, |connection| connection.batch_execute(statement))?
            {
                return Ok(Err(error));
            }
        }
        let put = |connection: &mut PgConnection| put_versions(connection, entries_version);
        if let Err(error) = engine.alone(Isolation::Serializable, put)? {
            return Ok(Err(error));
        }
    }
    check(engine, address, entries_version).map(Ok)
}

/// Writes the numbers of the versions, unless another program has been faster.
fn put_versions(connection: &mut PgConnection, entries_version: u32) -> QueryResult<()> {
    let found = read_version(connection, SCHEMA)?.unwrap_or(0) as usize;
    if found == 0 {
        put_version(connection, ENCODING, ENCODING_VERSION)?;
        put_version(connection, ENTRIES, entries_version)?;
    }
    if found < MIGRATIONS.len() {
        put_version(connection, SCHEMA, MIGRATIONS.len() as u32)?;
    }
    Ok(())
}

fn check(
    engine: &mut Engine,
    address: &EngineAddress,
    entries_version: u32,
) -> Result<(), StoreError> {
    let found = engine.read(|connection| {
        Ok((read_version(connection, ENCODING)?, read_version(connection, ENTRIES)?))
    });
    engine.abandon();
    match found? {
        (Some(ENCODING_VERSION), Some(found)) if found == entries_version => Ok(()),
        (Some(found), _) if found > ENCODING_VERSION => Err(newer(address, found)),
        (Some(ENCODING_VERSION), Some(found)) if found > entries_version => {
            Err(newer(address, found))
        }
        (Some(ENCODING_VERSION), Some(found)) => Err(failed(
            address,
            format!(
                "its indexes are of version {found}, this program writes {entries_version}: export it with the program \
                 that has used it, and import that into an empty database with this one"
            ),
        )),
        _ => Err(failed(address, "its tables are not those of Posse, or damaged".to_owned())),
    }
}

fn newer(address: &EngineAddress, found: u32) -> StoreError {
    failed(
        address,
        format!(
            "was made by a later version of Posse (format {found}): update this program; the data is not touched"
        ),
    )
}

fn read_version(connection: &mut PgConnection, name: &str) -> QueryResult<Option<u32>> {
    let found = posse_meta::table.find(name).select(posse_meta::value);
    let found: Option<Vec<u8>> = found.first(connection).optional()?;
    Ok(found.map(|bytes| bytes.try_into().map_or(u32::MAX, u32::from_be_bytes)))
}

fn put_version(connection: &mut PgConnection, name: &str, version: u32) -> QueryResult<()> {
    let value = version.to_be_bytes().to_vec();
    diesel::insert_into(posse_meta::table)
        .values((posse_meta::key.eq(name), posse_meta::value.eq(&value)))
        .on_conflict(posse_meta::key)
        .do_update()
        .set(posse_meta::value.eq(&value))
        .execute(connection)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_without_serializable_transactions_is_refused() {
        let address = EngineAddress::parse("postgres://db/posse").unwrap();
        assert!(require_serializable(&address, "SERIALIZABLE").is_ok());
        let refused = require_serializable(&address, "repeatable read").unwrap_err().to_string();
        assert!(refused.contains("`repeatable read`") && refused.contains("another engine"));
    }
}
