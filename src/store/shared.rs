//! What a store that several trackers write says of its transactions, and of who is present where.

use std::collections::BTreeMap;

use crate::types::{DeviceId, GroupId, InfoHash, PeerEntry, Transaction, UserId};

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// It is stored.
    Stored,
    /// Nothing of it is stored, for that reason: another tracker has changed what it rests on, or
    /// the database refuses. It may be tried again.
    RolledBack(String),
}

/// What the other trackers of a database have done.
#[derive(Debug, Default)]
pub struct News {
    /// Their transactions, those of each tracker in order. Each was committed before.
    pub transactions: Vec<Transaction>,
    /// Some of their transactions were not read, and cannot be read any more.
    pub is_lost: bool,
    /// Devices whose part in a swarm has changed there, in the order in which it has.
    pub present: Vec<Present>,
}

/// A file in a group.
pub type Swarm = (InfoHash, GroupId);

/// What a device is present in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PresentAt {
    /// A swarm.
    Swarm {
        /// Which.
        swarm: Swarm,
        /// Whose device.
        user: UserId,
        /// Which device.
        device: DeviceId,
    },
    /// The network, with a login of that user.
    User(UserId, DeviceId),
}

/// How it is present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Present {
    /// In a swarm; not any more if it has stopped.
    Peer {
        /// Its part.
        peer: PeerEntry,
        /// It has stopped by its user's own doing.
        is_withdrawn: bool,
    },
    /// With a login, or not any more.
    User {
        /// Which of the two.
        is_online: bool,
    },
}

/// What has changed in who is present at one tracker.
pub type PresenceChanges = BTreeMap<PresentAt, Present>;

/// How many devices are present, by what they are present in.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Those that have the whole file.
    pub seeders: BTreeMap<Swarm, u32>,
    /// Those of a user.
    pub users: BTreeMap<UserId, u32>,
}
