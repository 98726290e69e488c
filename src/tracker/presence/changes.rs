//! How often what others are told of a user's part in swarms may change.
//!
//! **Invariant:** whoever waits as long as [`Changes::wait`] says changes their part in one swarm
//! at most 64 times at once and 4 times a second, on all their devices together, and all their
//! parts 262,144 times at once and 1,024 times a second, those of one announce aside. Being told
//! again who is there counts as a change. So does a file that the directory does not allow: it
//! costs a look at the disk. Logging out never waits, and counts. A session may change its
//! addresses 4 times at once, then 30 times a minute; all sessions of a user 64 times, then 120.
//! Each change makes the tracker look at every file of the device.
//!
//! Kept by user and not by session, so that neither another connection nor another login is a way
//! around it. Memory is bounded: see [`Paces`] for what is forgotten first.

use std::time::{Duration, Instant};

use super::{SessionKey, SwarmKey};
use crate::tracker::pace::{Paces, Rate};
use crate::types::UserId;

/// Paces in use at a time: some 20 MiB. A swarm is forgotten when it has been quiet for a moment.
const PACES_MAX: usize = 65_536;
/// All devices of a user at once, several times, and then what nobody does by hand.
const SWARM_RATE: Rate = Rate::per_second(64, 4);
/// Several devices with as many files as they may have, at once, and the same again every few
/// minutes.
const USER_RATE: Rate = Rate::per_second(262_144, 1_024);

/// Addresses that one session tells: a machine that moves has a few in a row.
const ADDRESSES_RATE: Rate = Rate::per_minute(4, 30);
/// The same of all sessions of a user.
const USER_ADDRESSES_RATE: Rate = Rate::per_minute(64, 120);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key {
    User(UserId),
    Addresses(SessionKey),
    UserAddresses(UserId),
    Swarm(UserId, SwarmKey),
}

/// What has changed lately.
#[derive(Debug)]
pub(super) struct Changes {
    started: Instant,
    paces: Paces<Key>,
}

impl Default for Changes {
    fn default() -> Self {
        Self { started: Instant::now(), paces: Paces::new(PACES_MAX) }
    }
}

impl Changes {
    /// How long a user has to wait before they may change their part in these swarms.
    pub(super) fn wait(&self, user: UserId, swarms: impl Iterator<Item = SwarmKey>) -> Duration {
        let now = self.started.elapsed();
        let of_swarms =
            swarms.map(|swarm| self.paces.wait(now, Key::Swarm(user, swarm), SWARM_RATE)).max();
        of_swarms.map_or(Duration::ZERO, |wait| {
            wait.max(self.paces.wait(now, Key::User(user), USER_RATE))
        })
    }

    /// Notes that others are told of a change, or are named.
    pub(super) fn note(&mut self, user: UserId, swarm: SwarmKey) {
        let now = self.started.elapsed();
        self.paces.take(now, Key::Swarm(user, swarm), SWARM_RATE);
        self.paces.take(now, Key::User(user), USER_RATE);
    }

    /// How long a session has to wait before it may tell other addresses; counts it if it need not.
    pub(super) fn take_addresses(&mut self, key: SessionKey, user: UserId) -> Duration {
        let now = self.started.elapsed();
        let keys = [
            (Key::Addresses(key), ADDRESSES_RATE),
            (Key::UserAddresses(user), USER_ADDRESSES_RATE),
        ];
        let waits = keys.map(|(key, rate)| self.paces.wait(now, key, rate));
        let wait = waits[0].max(waits[1]);
        if wait.is_zero() {
            for (key, rate) in keys {
                self.paces.take(now, key, rate);
            }
        }
        wait
    }

    /// Notes that the directory was asked about a file in vain.
    pub(super) fn note_looked_up(&mut self, user: UserId) {
        self.paces.take(self.started.elapsed(), Key::User(user), USER_RATE);
    }
}
