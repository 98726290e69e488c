//! Shows what was changed: the requests in the store, with names for ids.
//!
//! **Invariant:** the store is read page by page, and nothing is waited for while a page is read,
//! so that neither the write-ahead log nor memory grows with the length of the answer.

use std::collections::{HashSet, VecDeque};

use super::asking::{ask, find_user};
use super::command::{AuditQuery, Time};
use super::{AdminError, Line, Sink};
use crate::tracker::audit_entry::AuditEntry;
use crate::tracker::shared::Shared;
use crate::types::{Content, RequestId, Row};

/// Requests of a page; more only if as many have the same millisecond.
const PAGE_LEN: usize = 512;
/// What is shown if nothing is said about times.
const DEFAULT_SINCE: Time = Time::Ago(24 * 3_600_000);

/// Shows the changes that are asked for, the earliest first.
///
/// # Errors
/// No such user; the store's error; those of `out`.
///
/// # Blocking
/// On the disk, for the core, and for `out`.
pub(super) fn show(shared: &Shared, query: &AuditQuery, out: Sink<'_>) -> Result<(), AdminError> {
    let user = query.user.as_deref().map(|name| find_user(shared, name)).transpose()?;
    let now_ms = ask(shared, |view| view.now_ms)?;
    shared.core.flush().ok_or(AdminError::Ended)?;
    let since_ms = query.since.unwrap_or(DEFAULT_SINCE).to_ms(now_ms);
    let until_ms = query.until.map_or(u64::MAX, |until| until.to_ms(now_ms));
    let mut last = VecDeque::new();
    let mut pages =
        Pages { from_ms: since_ms, to_ms: until_ms, seen: HashSet::new(), len: PAGE_LEN };
    while let Some(rows) = pages.next(shared)? {
        let entries = ask(shared, move |view| {
            rows.iter().filter_map(|row| AuditEntry::of(row, view.directory())).collect::<Vec<_>>()
        })?;
        for entry in
            entries.into_iter().filter(|entry| user.is_none_or(|user| entry.concerns(user)))
        {
            match query.limit {
                None => out(line(&entry))?,
                Some(limit) => {
                    last.push_back(entry);
                    if last.len() > limit {
                        last.pop_front();
                    }
                }
            }
        }
    }
    last.iter().try_for_each(|entry| out(line(entry)))?;
    Ok(())
}

fn line(entry: &AuditEntry) -> Line {
    Line::new(entry.to_text(), entry.to_json())
}

/// Where the reading stands.
struct Pages {
    from_ms: u64,
    to_ms: u64,
    /// Requests of the millisecond `from_ms` that were handed out.
    seen: HashSet<RequestId>,
    len: usize,
}

impl Pages {
    /// Reads the next page; `None` at the end.
    fn next(&mut self, shared: &Shared) -> Result<Option<Vec<Row>>, AdminError> {
        loop {
            let mut rows = Vec::new();
            let reader = shared.place.reader();
            let read = reader.and_then(|reader| {
                reader.requests_between(self.from_ms, self.to_ms, self.len, |row| {
                    rows.push(row);
                    true
                })
            });
            read.map_err(|e| AdminError::Failed(format!("cannot read the store: {e}")))?;
            let is_full = rows.len() == self.len;
            let last_ms = rows.last().map(|row| row.version.stamp.ms());
            let fresh = |row: &Row| id_of(row).is_some_and(|id| !self.seen.contains(&id));
            let new: Vec<Row> = rows.into_iter().filter(fresh).collect();
            let Some(last_ms) = last_ms.filter(|_| !new.is_empty() || is_full) else {
                return Ok(None);
            };
            if new.is_empty() {
                self.len *= 2;
                continue;
            }
            if last_ms > self.from_ms {
                self.from_ms = last_ms;
                self.seen.clear();
            }
            let of_last = new.iter().filter(|row| row.version.stamp.ms() == last_ms);
            self.seen.extend(of_last.filter_map(id_of));
            return Ok(Some(new));
        }
    }
}

fn id_of(row: &Row) -> Option<RequestId> {
    match row.content {
        Content::Request(id, _) => Some(id),
        _ => None,
    }
}
