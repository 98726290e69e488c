//! Last-writer-wins registers and the values the directory keeps in them.
//!
//! **Invariant:** a register holds the value with the largest tag it was ever offered, whatever the order of the offers; between
//! equal tags the larger value stays. So merging is commutative, associative and idempotent, even for input no tracker of ours
//! writes (one tag used twice).

use std::collections::BTreeMap;

use crate::types::{
    FileFacts, FileName, GroupName, InfoHash, MembershipState, PasswordHash, Sha1Digest, Stamp, Tag, UserId, UserName,
};

/// One register: the value and the tag of the write that put it there.
#[derive(Debug, Clone)]
pub(super) struct Register<V> {
    pub(super) tag: Tag,
    pub(super) value: V,
}

impl<V: Ord> Register<V> {
    /// Replaces the content if the offer wins, and returns what was there.
    fn offer(&mut self, tag: Tag, value: V) -> Option<Self> {
        let wins = (tag, &value) > (self.tag, &self.value);
        wins.then(|| std::mem::replace(self, Self { tag, value }))
    }
}

/// Offers a write to an optional register. `None`: the older value stays. `Some(previous)`: it was written.
pub(super) fn merge_one<V: Ord>(slot: &mut Option<Register<V>>, tag: Tag, value: V) -> Option<Option<Register<V>>> {
    match slot {
        Some(register) => register.offer(tag, value).map(Some),
        None => {
            *slot = Some(Register { tag, value });
            Some(None)
        }
    }
}

/// Offers a write to a register in a map. `None`: the older value stays. `Some(previous)`: it was written.
pub(super) fn merge<K: Ord, V: Ord>(
    map: &mut BTreeMap<K, Register<V>>,
    key: K,
    tag: Tag,
    value: V,
) -> Option<Option<Register<V>>> {
    match map.get_mut(&key) {
        Some(register) => register.offer(tag, value).map(Some),
        None => {
            map.insert(key, Register { tag, value });
            Some(None)
        }
    }
}

/// Value of register "user `id`".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct UserValue {
    pub(super) name: UserName,
    pub(super) hash: PasswordHash,
    pub(super) created: Stamp,
}

/// Value of register "group `id`".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupValue {
    pub(super) name: GroupName,
    pub(super) created_by: UserId,
    pub(super) created: Stamp,
}

/// Value of register "membership (group, user)".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) state: MembershipState,
    pub(super) since: Stamp,
}

impl Ord for Standing {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.state as u8, self.since).cmp(&(other.state as u8, other.since))
    }
}

impl PartialOrd for Standing {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Value of register "shared file (group, info hash)".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileValue {
    pub(super) name: FileName,
    pub(super) len: u64,
    pub(super) piece_len: u32,
    pub(super) sha1: Sha1Digest,
    pub(super) shared_by: UserId,
    pub(super) at: Stamp,
}

impl FileValue {
    /// Takes the register's value out of a write; the info hash is the register's key.
    pub(super) fn new(facts: &FileFacts, shared_by: UserId, at: Stamp) -> Self {
        let FileFacts { name, len, piece_len, sha1, .. } = facts.clone();
        Self { name, len, piece_len, sha1, shared_by, at }
    }

    /// Puts key and value together again.
    pub(super) fn facts(&self, info_hash: InfoHash) -> FileFacts {
        FileFacts { info_hash, name: self.name.clone(), len: self.len, piece_len: self.piece_len, sha1: self.sha1 }
    }
}
