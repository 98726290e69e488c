//! The names of users and groups seen in this session, for messages.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::types::{GroupId, Label, UserId};

/// Maximum number of names; beyond it all are dropped and learned again.
const NAMES_MAX: usize = 65_536;

/// The names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    users: HashMap<UserId, Label>,
    groups: HashMap<GroupId, Label>,
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

    pub(crate) fn clear(&self) {
        *self.known.lock() = Known::default();
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
