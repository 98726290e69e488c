//! How one operation becomes rows.
//!
//! **Invariant:** the rows that an operation becomes depend on the operations that there are, and
//! not on the order in which they arrived.
//!
//! Most of a row is in the write itself. What operations elsewhere decide is looked up: see
//! [`Latest`].

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::rows::put_row;
use super::operation::{Operation, Write};
use crate::types::{
    Content, FileFacts, FileId, FileRow, GroupId, InfoHash, MembershipRow, MembershipState, Place,
    RequestId, RequestRow, Row, SharingRow, Stamp, UserId, UserRow, Version, limits,
};

/// Something about a register that later operations decide, whatever their own register.
#[derive(Debug, Clone, Copy)]
enum Latest {
    /// The last password that took the place of another; by user.
    Password,
    /// The request that let the user in last; by group and user.
    Admission,
    /// The last end of a tie; by group and user.
    End,
    /// The file that has the info hash; by group and info hash.
    File,
}

/// Orders all operations: by version, and one request that two trackers carried out at one stamp by
/// where that was.
fn version_bytes(operation: &Operation) -> Vec<u8> {
    let mut bytes = operation.stamp.as_u64().to_be_bytes().to_vec();
    bytes.extend_from_slice(operation.request.as_bytes());
    bytes.extend_from_slice(operation.origin.as_bytes());
    bytes.extend_from_slice(&operation.sequence.to_be_bytes());
    bytes
}

/// Notes an operation for the second pass.
pub(super) fn note(
    new: &Connection,
    operation: &Operation,
    place: i64,
    sequence: u64,
) -> rusqlite::Result<()> {
    let version = version_bytes(operation);
    let sql = "INSERT INTO scratch.operations (version, place, sequence) VALUES (?1, ?2, ?3)";
    new.prepare_cached(sql)?.execute(params![version, place, sequence as i64])?;
    let stamp = operation.stamp.as_u64().to_be_bytes();
    let latest = |what, key: &[u8], value: &[u8]| put_latest(new, what, key, &version, value);
    for write in &operation.writes {
        match write {
            Write::User { user, created, .. } if *created != operation.stamp => {
                latest(Latest::Password, user.as_bytes(), &stamp)?;
            }
            Write::Membership { group, user, state: MembershipState::Member, .. } => {
                latest(Latest::Admission, &tie(*group, *user), operation.request.as_bytes())?;
            }
            Write::Membership { group, user, state: MembershipState::None, .. } => {
                latest(Latest::End, &tie(*group, *user), &stamp)?;
            }
            Write::File { group, facts, .. } => {
                latest(Latest::File, &content(*group, facts.info_hash), facts.id().as_bytes())?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Writes the rows of one operation. At most as many share an update sequence as one request may
/// write today: an operation of old could write tens of thousands, which no frame holds.
pub(super) fn write(
    new: &Connection,
    operation: &Operation,
    sequence: u64,
    keep_request: bool,
) -> rusqlite::Result<()> {
    let Operation { actor, effect, .. } = *operation;
    let version = Version { stamp: operation.stamp, request: operation.request };
    let place = Place { store: operation.origin, sequence: operation.sequence };
    let request = RequestRow { actor, effect, note: String::new() };
    let request = keep_request.then_some(Content::Request(operation.request, request));
    let contents = operation.writes.iter().map(|write| content_of(new, write));
    for (slot, content) in std::iter::once(Ok(request)).chain(contents).enumerate() {
        if let Some(content) = content? {
            let row = Row { content, version, place, extra: Box::default() };
            put_row(new, sequence + (slot / limits::ROWS_PER_REQUEST_MAX) as u64, &row)?;
        }
    }
    Ok(())
}

/// Makes a row of a write; `None` if a later write took its place altogether.
fn content_of(new: &Connection, write: &Write) -> rusqlite::Result<Option<Content>> {
    Ok(Some(match write.clone() {
        Write::User { user, name, hash, created } => {
            let replaced = get_latest(new, Latest::Password, user.as_bytes())?;
            let replaced = replaced.map(stamp_from_bytes);
            let row =
                UserRow { name, hash, created, replaced, must_change: false, is_disabled: false };
            Content::User(user, Some(row))
        }
        Write::Group { group, row } => Content::Group(group, Some(row)),
        Write::Membership { group, user, state, since } => {
            // A request to join that was turned down has ended no membership.
            let was_member = admission(new, group, user)?.is_some();
            let ended = get_latest(new, Latest::End, &tie(group, user))?.filter(|_| was_member);
            let row = MembershipRow { state, since, ended: ended.map(stamp_from_bytes) };
            Content::Membership(group, user, row)
        }
        Write::Owner { group, user } => Content::Owner(group, user),
        Write::File { group, facts, shared_by, at } => {
            let id = facts.id();
            if file(new, group, facts.info_hash)? != Some(id) {
                return Ok(None);
            }
            let facts = FileFacts { chain: None, ..facts };
            Content::File(
                group,
                id,
                Some(FileRow { facts, shared_by, at, replaces: None, removed: None }),
            )
        }
        Write::Sharing { group, info_hash, user, on } => {
            let Some(file) = file(new, group, info_hash)? else { return Ok(None) };
            // A share of a user who was never let in is in effect nowhere.
            let admission = admission(new, group, user)?.unwrap_or(RequestId::from_bytes([0; 16]));
            Content::Sharing(group, file, user, SharingRow { on, admission })
        }
    }))
}

fn admission(
    new: &Connection,
    group: GroupId,
    user: UserId,
) -> rusqlite::Result<Option<RequestId>> {
    Ok(get_latest(new, Latest::Admission, &tie(group, user))?.map(RequestId::from_bytes))
}

fn file(new: &Connection, group: GroupId, info_hash: InfoHash) -> rusqlite::Result<Option<FileId>> {
    Ok(get_latest(new, Latest::File, &content(group, info_hash))?.map(FileId::from_bytes))
}

fn tie(group: GroupId, user: UserId) -> Vec<u8> {
    [group.as_bytes().as_slice(), user.as_bytes()].concat()
}

fn content(group: GroupId, info_hash: InfoHash) -> Vec<u8> {
    [group.as_bytes().as_slice(), info_hash.as_bytes()].concat()
}

fn stamp_from_bytes(bytes: [u8; 8]) -> Stamp {
    Stamp::from_u64(u64::from_be_bytes(bytes))
}

/// Notes a value, unless that of a later version is there.
fn put_latest(
    new: &Connection,
    what: Latest,
    key: &[u8],
    version: &[u8],
    value: &[u8],
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO scratch.latest (register, key, version, value) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (register, key) DO UPDATE SET version = excluded.version, value = excluded.value
        WHERE excluded.version > version";
    new.prepare_cached(sql)?.execute(params![what as u8, key, version, value]).map(drop)
}

fn get_latest<const N: usize>(
    new: &Connection,
    what: Latest,
    key: &[u8],
) -> rusqlite::Result<Option<[u8; N]>> {
    let sql = "SELECT value FROM scratch.latest WHERE register = ?1 AND key = ?2";
    new.prepare_cached(sql)?.query_row(params![what as u8, key], |row| row.get(0)).optional()
}
