//! How often what others are told of a user's part in swarms may change.
//!
//! **Invariant:** whoever waits as long as [`Changes::wait`] says changes their part in one swarm
//! at most 64 times at once and 4 times a second, on all their devices together, and all their
//! parts 262,144 times at once and 1,024 times a second, those of one announce aside. Being told
//! again who is there counts as a change. So does a file that the directory does not allow: it
//! costs a look at the disk. Logging out never waits, and counts.
//!
//! Kept by user and not by session, so that neither another connection nor another login is a way
//! around it. Memory is bounded: see [`Paces`] for what is forgotten first.

use std::time::{Duration, Instant};

use super::SwarmKey;
use crate::tracker::pace::{Paces, Rate};
use crate::types::UserId;

/// Paces in use at a time: some 20 MiB. A swarm is forgotten when it has been quiet for a moment.
const PACES_MAX: usize = 65_536;
/// All devices of a user at once, several times, and then what nobody does by hand.
const SWARM_RATE: Rate = Rate::per_second(64, 4);
/// Several devices with as many files as they may have, at once, and the same again every few
/// minutes.
const USER_RATE: Rate = Rate::per_second(262_144, 1_024);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key {
    User(UserId),
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

    /// Notes that the directory was asked about a file in vain.
    pub(super) fn note_looked_up(&mut self, user: UserId) {
        self.paces.take(self.started.elapsed(), Key::User(user), USER_RATE);
    }
}
