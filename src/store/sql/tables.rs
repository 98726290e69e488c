//! Rows and entries in the database, for reading, as the directory asks for them.
//!
//! **Invariant:** after the first error nothing is read, until the owner takes the error. Every
//! statement here names a key or a range of keys, and how many rows it wants at most.

use std::cell::RefCell;
use std::ops::Bound;

use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::super::database::StoreError;
use super::connection::Engine;
use super::schema::{posse_entries, posse_rows};
use crate::directory::{Entry, Rows, TOTALS_KEY, add_totals, end_of, stored_key};
use crate::types::{Row, RowKey};
use crate::wire::Wire as _;

/// Rows asked for at once at most.
const LIMIT_MAX: usize = 10_000;

/// A range of keys.
pub(super) type Range<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The tables as one connection sees them.
#[derive(Debug)]
pub struct SqlTables {
    pub(super) engine: RefCell<Engine>,
    failure: RefCell<Option<StoreError>>,
}

impl SqlTables {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine: RefCell::new(engine), failure: RefCell::default() }
    }

    /// Tells whether something has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    /// Notes an error, unless there has been one before.
    pub(super) fn fail(&self, error: StoreError) {
        self.failure.borrow_mut().get_or_insert(error);
    }

    /// Takes the first error. Reading goes on after that.
    pub(super) fn take_failure(&self) -> Option<StoreError> {
        self.failure.take()
    }

    /// Reads unless something has failed; notes the error.
    pub(super) fn read<T: Default>(
        &self,
        ask: impl FnMut(&mut PgConnection) -> QueryResult<T>,
    ) -> T {
        if self.has_failed() {
            return T::default();
        }
        let answered = self.engine.borrow_mut().read(ask);
        answered.unwrap_or_else(|error| {
            self.fail(error);
            T::default()
        })
    }

    /// Decodes a row, and notes damage.
    pub(super) fn decode(&self, key: Option<&[u8]>, body: &[u8]) -> Option<Row> {
        let why = match Row::from_bytes(body) {
            Ok(row) if key.is_none_or(|key| stored_key(&row.content.key()) == key) => {
                return Some(row);
            }
            Ok(_) => "a row is stored in another's place".to_owned(),
            Err(error) => format!("a row: {error}"),
        };
        let damaged = self.engine.borrow().damaged(why);
        self.fail(damaged);
        None
    }

    /// Returns the first `limit` rows in a range of stored keys, with these.
    pub(super) fn keyed_rows(&self, range: Range<'_>, limit: usize) -> Vec<(Vec<u8>, Row)> {
        let found = self.read(|connection| {
            let mut query =
                posse_rows::table.select((posse_rows::key, posse_rows::body)).into_boxed();
            query = match range.0 {
                Bound::Included(from) => query.filter(posse_rows::key.ge(from)),
                Bound::Excluded(from) => query.filter(posse_rows::key.gt(from)),
                Bound::Unbounded => query,
            };
            query = match range.1 {
                Bound::Included(to) => query.filter(posse_rows::key.le(to)),
                Bound::Excluded(to) => query.filter(posse_rows::key.lt(to)),
                Bound::Unbounded => query,
            };
            query
                .order(posse_rows::key.asc())
                .limit(limit_of(limit))
                .load::<(Vec<u8>, Vec<u8>)>(connection)
        });
        let row = |(key, body): (Vec<u8>, Vec<u8>)| {
            let row = self.decode(Some(&key), &body)?;
            Some((key, row))
        };
        found.into_iter().map_while(row).collect()
    }

    /// Returns at most `limit` rows of a class whose stamps have `from_ms` <= milliseconds <
    /// `to_ms`, the earliest first.
    pub(super) fn rows_between(
        &self,
        class: i16,
        (from_ms, to_ms): (u64, u64),
        limit: usize,
    ) -> Vec<Row> {
        let bound = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let found = self.read(|connection| {
            posse_rows::table
                // As it stands in the index's own condition.
                .filter(diesel::dsl::sql::<Bool>("class > 0"))
                .filter(posse_rows::class.eq(class))
                .filter(posse_rows::stamp_ms.ge(bound(from_ms)))
                .filter(posse_rows::stamp_ms.lt(bound(to_ms)))
                .order((posse_rows::class.asc(), posse_rows::stamp_ms.asc(), posse_rows::key.asc()))
                .limit(limit_of(limit))
                .select(posse_rows::body)
                .load::<Vec<u8>>(connection)
        });
        found.iter().map_while(|body| self.decode(None, body)).collect()
    }

    /// The entries of one tag: the totals' parts.
    pub(super) fn totals_parts(&self) -> Vec<Entry> {
        let end = end_of(&TOTALS_KEY);
        self.entries(
            (Bound::Included(&TOTALS_KEY), end.as_ref().map(Vec::as_slice)),
            false,
            LIMIT_MAX,
        )
    }
}

impl Rows for SqlTables {
    fn get(&self, key: &RowKey) -> Option<Row> {
        let stored = stored_key(key);
        let body = self.read(|connection| {
            posse_rows::table
                .find(&stored)
                .select(posse_rows::body)
                .first::<Vec<u8>>(connection)
                .optional()
        });
        self.decode(Some(&stored), &body?)
    }

    fn rows(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<Row> {
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let end = end_of(prefix);
        let rows = self.keyed_rows((from, end.as_ref().map(Vec::as_slice)), limit);
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// The totals are the sum of their parts.
    fn entry(&self, key: &[u8]) -> Option<Vec<u8>> {
        if key == TOTALS_KEY {
            let parts = self.totals_parts();
            return (!parts.is_empty())
                .then(|| parts.iter().fold(Vec::new(), |sum, (_, part)| add_totals(&sum, part)));
        }
        self.read(|connection| {
            posse_entries::table
                .find(key)
                .select(posse_entries::value)
                .first::<Vec<u8>>(connection)
                .optional()
        })
    }

    fn entries(&self, range: Range<'_>, backwards: bool, limit: usize) -> Vec<Entry> {
        self.read(|connection| {
            let mut query = posse_entries::table.into_boxed();
            query = match range.0 {
                Bound::Included(from) => query.filter(posse_entries::key.ge(from)),
                Bound::Excluded(from) => query.filter(posse_entries::key.gt(from)),
                Bound::Unbounded => query,
            };
            query = match range.1 {
                Bound::Included(to) => query.filter(posse_entries::key.le(to)),
                Bound::Excluded(to) => query.filter(posse_entries::key.lt(to)),
                Bound::Unbounded => query,
            };
            query = if backwards {
                query.order(posse_entries::key.desc())
            } else {
                query.order(posse_entries::key.asc())
            };
            query.limit(limit_of(limit)).load::<Entry>(connection)
        })
    }
}

/// More than that is never wanted at once; callers that want all ask in pages.
fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
