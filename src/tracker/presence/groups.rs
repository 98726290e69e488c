//! Tells members that the files or the members of their groups have changed.
//!
//! **Invariant:** a session hears of a group at most once in a call of [`Presence::tell_changes`],
//! which the core makes once a second: a million changes cost what one costs. At most
//! [`GROUPS_MAX`] groups are noted between two calls; changes of further groups are not told.

use std::collections::HashMap;

use super::{Presence, event_frame};
use crate::tracker::outbox::Frame;
use crate::types::GroupId;
use crate::wire::tracker::Event;

/// Groups that are noted between two calls: more than change in a second.
const GROUPS_MAX: usize = 65_536;

/// What has changed in groups since the members were told.
#[derive(Debug, Default)]
pub(super) struct GroupChanges(HashMap<GroupId, What>);

#[derive(Debug, Clone, Copy, Default)]
struct What {
    files: bool,
    members: bool,
}

impl GroupChanges {
    /// Notes that files came, went, or have other sharers.
    pub(super) fn note_files(&mut self, group: GroupId) {
        self.note(group, |what| what.files = true);
    }

    /// Notes that members came, went, or have another part, or that the group has another name.
    pub(super) fn note_members(&mut self, group: GroupId) {
        self.note(group, |what| what.members = true);
    }

    fn note(&mut self, group: GroupId, set: impl FnOnce(&mut What)) {
        if self.0.len() < GROUPS_MAX || self.0.contains_key(&group) {
            set(self.0.entry(group).or_default());
        }
    }
}

impl Presence {
    /// Tells the members who are online what has changed since the last call.
    pub(crate) fn tell_changes(&mut self) {
        let GroupChanges(changed) = std::mem::take(&mut self.group_changes);
        if changed.is_empty() {
            return;
        }
        let frame = |(&group, &What { files, members }): (&GroupId, &What)| {
            (group, event_frame(Event::GroupChanged { group, files, members }))
        };
        let frames: HashMap<GroupId, Frame> = changed.iter().map(frame).collect();
        for online in self.users.values() {
            // The shorter of two ways.
            let told: Vec<&Frame> = match online.groups.len() <= frames.len() {
                true => online.groups.iter().filter_map(|group| frames.get(group)).collect(),
                false => {
                    let theirs = frames.iter().filter(|(group, _)| online.groups.contains(*group));
                    theirs.map(|(_, frame)| frame).collect()
                }
            };
            for session in online.sessions.iter().filter_map(|key| self.sessions.get(key)) {
                told.iter().for_each(|frame| self.send(session, (*frame).clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_bounded() {
        let mut changes = GroupChanges::default();
        for number in 0..2 * GROUPS_MAX as u32 {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            changes.note_files(GroupId::from_bytes(bytes));
        }
        assert_eq!(changes.0.len(), GROUPS_MAX);
        changes.note_members(GroupId::from_bytes([0; 16]));
        let what = changes.0[&GroupId::from_bytes([0; 16])];
        assert!(what.files && what.members);
    }
}
