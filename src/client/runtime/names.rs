//! The names of users and groups seen in this session, for messages.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Runtime;
use crate::types::{GroupId, Label, UserId};

/// Maximum number of names; beyond it all are dropped and learned again.
const NAMES_MAX: usize = 65_536;

/// Groups of which it is known when their members were asked for; beyond it all are forgotten.
const ASKED_MAX: usize = 64;
/// A group's members are asked for once in this time.
const ASK_INTERVAL: Duration = Duration::from_secs(30);

/// The names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    users: HashMap<UserId, Label>,
    groups: HashMap<GroupId, Label>,
    /// When the names of a group's members were asked for.
    asked: HashMap<GroupId, Instant>,
}

impl Names {
    pub(crate) fn learn_users(&self, names: impl Iterator<Item = (UserId, Label)>) {
        remember(&mut self.known.lock().users, names);
    }

    pub(crate) fn learn_groups(&self, names: impl Iterator<Item = (GroupId, Label)>) {
        remember(&mut self.known.lock().groups, names);
    }

    pub(crate) fn user(&self, user: UserId) -> Option<Label> {
        self.known.lock().users.get(&user).cloned()
    }

    pub(crate) fn group(&self, group: GroupId) -> Option<Label> {
        self.known.lock().groups.get(&group).cloned()
    }

    /// A group's name, or a short form of its id.
    pub(crate) fn group_text(&self, group: GroupId) -> String {
        let label = self.group(group).map(|label| label.to_string());
        label.unwrap_or_else(|| format!("group {:.8}", group.to_string()))
    }

    /// Notes that the names of a group's members are asked for; false if that was done lately.
    fn begin_to_ask(&self, group: GroupId, now: Instant) -> bool {
        let asked = &mut self.known.lock().asked;
        let is_due = |at: &Instant| now.saturating_duration_since(*at) >= ASK_INTERVAL;
        if !asked.get(&group).is_none_or(is_due) {
            return false;
        }
        if asked.len() >= ASKED_MAX {
            asked.clear();
        }
        asked.insert(group, now);
        true
    }

    pub(crate) fn clear(&self) {
        *self.known.lock() = Known::default();
    }
}

impl Runtime {
    /// Asks a tracker for the names of a group's members, on a thread of its own, if that was not
    /// done lately.
    pub(crate) fn learn_members_soon(self: &Arc<Self>, group: GroupId) {
        if self.trackers.is_reachable() && self.names.begin_to_ask(group, Instant::now()) {
            let runtime = self.clone();
            // If that fails, ids are shown.
            self.sources.run(move || _ = runtime.members(group).all());
        }
    }
}

fn remember<K: std::hash::Hash + Eq>(
    names: &mut HashMap<K, Label>,
    new: impl Iterator<Item = (K, Label)>,
) {
    if names.len() >= NAMES_MAX {
        names.clear();
    }
    names.extend(new);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_asked_once_in_a_while() {
        let (names, now) = (Names::default(), Instant::now());
        let group = |n: u8| GroupId::from_bytes([n; 16]);
        assert!(names.begin_to_ask(group(1), now));
        assert!(!names.begin_to_ask(group(1), now + ASK_INTERVAL / 2));
        assert!(names.begin_to_ask(group(1), now + ASK_INTERVAL));
        (0..200).for_each(|n| _ = names.begin_to_ask(group(n), now));
        assert!(names.known.lock().asked.len() <= ASKED_MAX);
    }
}
