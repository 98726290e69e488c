//! One fact that changed the directory, and how far each origin's facts are known.

use std::collections::BTreeMap;

use super::{Effect, FileFacts, GroupId, GroupName, InfoHash, OriginId, PasswordHash, RequestId, Stamp, UserId, UserName};

/// What decides which of two writes of one register stays: the larger one (design section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// Clock reading of the write.
    pub stamp: Stamp,
    /// Breaks ties.
    pub origin: OriginId,
}

/// Where a user stands with a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MembershipState {
    /// No tie: never asked, turned down, left or removed.
    None,
    /// Waits for the owner's answer.
    Requested,
    /// Is in.
    Member,
}

/// The new value of one register (design section 4); the operation around it carries the tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Register "user `id`".
    User {
        /// The register.
        user: UserId,
        /// Name wished for at creation.
        name: UserName,
        /// Argon2id hash of the password.
        hash: PasswordHash,
        /// When the account was made: the earliest bearer keeps the plain name.
        created: Stamp,
    },
    /// Register "group `id`".
    Group {
        /// The register.
        group: GroupId,
        /// Name wished for at creation.
        name: GroupName,
        /// Who made it.
        created_by: UserId,
        /// When: the earliest bearer keeps the plain name.
        created: Stamp,
    },
    /// Register "membership (group, user)".
    Membership {
        /// First half of the register's key.
        group: GroupId,
        /// Second half of the register's key.
        user: UserId,
        /// The new state.
        state: MembershipState,
        /// Since when: orders requests, and members for the owner's succession.
        since: Stamp,
    },
    /// Register "owner (group)".
    Owner {
        /// The register.
        group: GroupId,
        /// In effect only while this user is a member.
        user: UserId,
    },
    /// Register "shared file (group, info hash)".
    File {
        /// First half of the register's key; the info hash in `file` is the second.
        group: GroupId,
        /// What is offered.
        file: FileFacts,
        /// Who offered it first.
        shared_by: UserId,
        /// When: the earliest bearer keeps the plain name.
        at: Stamp,
    },
    /// Register "sharing (group, info hash, user)".
    Sharing {
        /// First part of the register's key.
        group: GroupId,
        /// Second part.
        info_hash: InfoHash,
        /// Third part.
        user: UserId,
        /// Whether the user offers the file.
        on: bool,
    },
}

/// One request's effect on the directory: never edited, never reordered within its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The tracker store that recorded it first.
    pub origin: OriginId,
    /// Its number there, contiguous from 1.
    pub sequence: u64,
    /// Clock reading; larger than that of every operation its origin knew before.
    pub stamp: Stamp,
    /// The request that it carried out.
    pub request: RequestId,
    /// Who asked; [`UserId::NOBODY`] for a new account.
    pub actor: UserId,
    /// What the client was, or is to be, told.
    pub effect: Effect,
    /// The registers written, at most [`crate::types::limits::OPERATION_WRITES_MAX`].
    pub writes: Vec<Write>,
}

impl Operation {
    /// Returns the tag of every write in the operation.
    pub fn tag(&self) -> Tag {
        Tag { stamp: self.stamp, origin: self.origin }
    }
}

/// The highest contiguous sequence known of each origin. An absent origin is known up to 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionVector(BTreeMap<OriginId, u64>);

impl VersionVector {
    /// Returns the highest contiguous sequence known of `origin`.
    pub fn get(&self, origin: OriginId) -> u64 {
        self.0.get(&origin).copied().unwrap_or(0)
    }

    /// Raises `origin` to `sequence`; a lower one changes nothing.
    pub fn raise(&mut self, origin: OriginId, sequence: u64) {
        if sequence > self.get(origin) {
            self.0.insert(origin, sequence);
        }
    }

    /// Raises every origin to what `other` knows.
    pub fn merge(&mut self, other: &Self) {
        other.iter().for_each(|(origin, sequence)| self.raise(origin, sequence));
    }

    /// Tells whether everything that `other` knows is known here.
    pub fn covers(&self, other: &Self) -> bool {
        other.iter().all(|(origin, sequence)| self.get(origin) >= sequence)
    }

    /// Number of operations that `other` knows beyond this one.
    pub fn lag_behind(&self, other: &Self) -> u64 {
        other.iter().map(|(origin, sequence)| sequence.saturating_sub(self.get(origin))).sum()
    }

    /// The origins known, in order, each with its sequence.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (OriginId, u64)> + '_ {
        self.0.iter().map(|(&origin, &sequence)| (origin, sequence))
    }
}

impl FromIterator<(OriginId, u64)> for VersionVector {
    fn from_iter<T: IntoIterator<Item = (OriginId, u64)>>(entries: T) -> Self {
        let mut vector = Self::default();
        entries.into_iter().for_each(|(origin, sequence)| vector.raise(origin, sequence));
        vector
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_only_rise() {
        let [a, b] = [1, 2].map(|n| OriginId::from_bytes([n; 16]));
        let mut mine: VersionVector = [(a, 5)].into_iter().collect();
        let theirs: VersionVector = [(a, 3), (b, 4)].into_iter().collect();
        assert!(!mine.covers(&theirs));
        assert_eq!(mine.lag_behind(&theirs), 4);
        mine.merge(&theirs);
        assert_eq!((mine.get(a), mine.get(b)), (5, 4));
        assert!(mine.covers(&theirs));
        assert!(mine.covers(&VersionVector::default()));
    }
}
