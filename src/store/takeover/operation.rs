//! Operations as stores of the time before rows hold them: version 1 of their encoding, which
//! changes no more.
//!
//! Integers are big-endian, ids and digests their bytes, texts a `u16` length and UTF-8.
//!
//! | part | bytes |
//! |---|---|
//! | operation | origin 16, sequence 8, stamp 8, request 16, actor 16, effect, writes |
//! | writes | `u32` count, each |
//! | effect | 0; or 1 and a user; or 2 and a group |
//! | write 0, user | user 16, name, password hash, created 8 |
//! | write 1, group | group 16, name, created by 16, created 8 |
//! | write 2, membership | group 16, user 16, state 1 (none, requested, member), since 8 |
//! | write 3, owner | group 16, user 16 |
//! | write 4, file | group 16, facts, shared by 16, at 8 |
//! | write 5, sharing | group 16, info hash 20, user 16, on 1 |
//! | facts | info hash 20, name, length 8, piece length 4, SHA-1 20 |
//!
//! **Invariant:** decoding allocates no more than a small multiple of the bytes that are there.

use std::str::FromStr;

use crate::types::{
    Effect, FileFacts, GroupId, GroupRow, InfoHash, MembershipState, PasswordHash, RequestId,
    Sha1Digest, Stamp, StoreId, UserId, UserName,
};

/// One request's effect on the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Operation {
    /// The tracker store that recorded it first.
    pub(super) origin: StoreId,
    /// Its number there, contiguous from 1.
    pub(super) sequence: u64,
    /// Clock reading.
    pub(super) stamp: Stamp,
    /// The request that it carried out.
    pub(super) request: RequestId,
    /// The user who asked.
    pub(super) actor: UserId,
    /// What the client was told.
    pub(super) effect: Effect,
    /// The registers written.
    pub(super) writes: Vec<Write>,
}

/// The new value of one register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Write {
    /// Register "user".
    User { user: UserId, name: UserName, hash: PasswordHash, created: Stamp },
    /// Register "group".
    Group { group: GroupId, row: GroupRow },
    /// Register "membership (group, user)".
    Membership { group: GroupId, user: UserId, state: MembershipState, since: Stamp },
    /// Register "owner (group)".
    Owner { group: GroupId, user: UserId },
    /// Register "file (group, info hash)".
    File { group: GroupId, facts: FileFacts, shared_by: UserId, at: Stamp },
    /// Register "sharing (group, info hash, user)".
    Sharing { group: GroupId, info_hash: InfoHash, user: UserId, on: bool },
}

/// Why bytes are no operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum OperationError {
    #[error("it is cut short")]
    Truncated,
    #[error("it has bytes too many")]
    Trailing,
    #[error("it has an unknown {what} {tag}")]
    Unknown { what: &'static str, tag: u8 },
    #[error("it has a bad {what}")]
    Bad { what: &'static str },
}

type Result<T> = std::result::Result<T, OperationError>;

impl Operation {
    /// Decodes one operation.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut from = Reader { rest: bytes };
        let mut operation = Self {
            origin: StoreId::from_bytes(from.array()?),
            sequence: from.u64()?,
            stamp: from.stamp()?,
            request: RequestId::from_bytes(from.array()?),
            actor: from.user()?,
            effect: from.effect()?,
            writes: Vec::new(),
        };
        let count = u32::from_be_bytes(from.array()?);
        for _ in 0..count {
            operation.writes.push(from.write()?);
        }
        if from.rest.is_empty() { Ok(operation) } else { Err(OperationError::Trailing) }
    }
}

/// Reads values off the front of an operation.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(OperationError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn stamp(&mut self) -> Result<Stamp> {
        self.u64().map(Stamp::from_u64)
    }

    fn user(&mut self) -> Result<UserId> {
        self.array().map(UserId::from_bytes)
    }

    fn group(&mut self) -> Result<GroupId> {
        self.array().map(GroupId::from_bytes)
    }

    fn text(&mut self, what: &'static str) -> Result<&'a str> {
        let len = usize::from(u16::from_be_bytes(self.array()?));
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(OperationError::Truncated)?;
        self.rest = rest;
        std::str::from_utf8(taken).map_err(|_| OperationError::Bad { what })
    }

    fn name<T: FromStr>(&mut self, what: &'static str) -> Result<T> {
        self.text(what)?.parse().map_err(|_| OperationError::Bad { what })
    }

    fn effect(&mut self) -> Result<Effect> {
        match self.u8()? {
            0 => Ok(Effect::Done),
            1 => self.user().map(Effect::User),
            2 => self.group().map(Effect::Group),
            tag => Err(OperationError::Unknown { what: "effect", tag }),
        }
    }

    fn state(&mut self) -> Result<MembershipState> {
        match self.u8()? {
            0 => Ok(MembershipState::None),
            1 => Ok(MembershipState::Requested),
            2 => Ok(MembershipState::Member),
            tag => Err(OperationError::Unknown { what: "membership", tag }),
        }
    }

    fn switch(&mut self) -> Result<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(OperationError::Unknown { what: "bool", tag }),
        }
    }

    fn facts(&mut self) -> Result<FileFacts> {
        Ok(FileFacts {
            info_hash: InfoHash::from_bytes(self.array()?),
            name: self.name("file name")?,
            len: self.u64()?,
            piece_len: u32::from_be_bytes(self.array()?),
            sha1: Sha1Digest::from_bytes(self.array()?),
            chain: None,
        })
    }

    fn write(&mut self) -> Result<Write> {
        Ok(match self.u8()? {
            0 => Write::User {
                user: self.user()?,
                name: self.name("user name")?,
                hash: PasswordHash::from_phc(self.text("password hash")?.to_owned()),
                created: self.stamp()?,
            },
            1 => Write::Group {
                group: self.group()?,
                row: GroupRow {
                    name: self.name("group name")?,
                    created_by: self.user()?,
                    created: self.stamp()?,
                },
            },
            2 => Write::Membership {
                group: self.group()?,
                user: self.user()?,
                state: self.state()?,
                since: self.stamp()?,
            },
            3 => Write::Owner { group: self.group()?, user: self.user()? },
            4 => Write::File {
                group: self.group()?,
                facts: self.facts()?,
                shared_by: self.user()?,
                at: self.stamp()?,
            },
            5 => Write::Sharing {
                group: self.group()?,
                info_hash: InfoHash::from_bytes(self.array()?),
                user: self.user()?,
                on: self.switch()?,
            },
            tag => return Err(OperationError::Unknown { what: "register", tag }),
        })
    }
}
