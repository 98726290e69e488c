//! What sessions are told, and lose, when the directory changes, whoever recorded the change.
//!
//! **Invariant:** a session whose password was replaced takes part in nothing any more, except the one that asked for that; and whoever
//! logs in has heard of everything that makes tickets void which could still be shown.
//!
//! Links between clients end by [`Event::Void`]: it goes to every online member of the group, or, for a password, of any of the user's
//! groups. It is pushed in the same turn of the core in which the operation became durable here.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use log::warn;

use super::swarm::Word;
use super::{Presence, Replaced, SessionKey, event_frame};
use crate::directory::{Directory, void_until_ms};
use crate::tracker::outbox::Frame;
use crate::types::limits::{CLOCK_AHEAD_MAX, TICKET_LIFETIME};
use crate::types::{GroupId, InfoHash, MembershipState, Operation, Stamp, UserId, Write};
use crate::wire::tracker::Event;

/// How long after an end a ticket from before may still be shown: until the last one signed elsewhere has expired on the slowest clock.
const VOID_KEPT_MS: u64 = (TICKET_LIFETIME.as_millis() + 2 * CLOCK_AHEAD_MAX.as_millis()) as u64;
/// Ends told at a login: far more than happen in that time. If there are more the latest are told, whose tickets live longest.
const VOIDS_TOLD_MAX: usize = 4096;
/// An operation that comes so much later than its stamp was made while the trackers were apart: this one, or another, has gone on signing
/// tickets for whoever was removed by it.
const LATE_MS: u64 = 5_000;

impl Presence {
    /// Follows what an operation has changed: lets in, throws out, shows and hides. `now_ms` is the time on this tracker's clock. Returns
    /// whose password it has replaced.
    pub(crate) fn observe(&mut self, operation: &Operation, directory: &Directory, now_ms: u64) -> Option<Replaced> {
        let mut replaced = None;
        // Shares that end with a membership are not ended by their user's wish.
        let moved: Vec<(GroupId, UserId)> = operation.writes.iter().filter_map(moved).collect();
        for write in &operation.writes {
            match *write {
                Write::User { user, .. } => replaced = self.password_written(operation, user, directory, now_ms).or(replaced),
                Write::Group { group, .. } => {
                    // Memberships may have arrived before the group itself.
                    for user in directory.member_ids(group).filter(|user| self.is_online(*user)).collect::<Vec<_>>() {
                        self.membership_changed((group, user), operation.actor, directory, now_ms);
                    }
                }
                Write::Membership { group, user, state, .. } => {
                    if self.is_online(user) {
                        self.membership_changed((group, user), operation.actor, directory, now_ms);
                    }
                    self.membership_written(operation, (group, user), state, directory, now_ms);
                    // With a member come the files that this member shares.
                    for info_hash in directory.shares_of(group, user).collect::<Vec<_>>() {
                        self.refresh_waiting((info_hash, group), directory);
                    }
                }
                Write::File { group, ref file, .. } => self.refresh_waiting((file.info_hash, group), directory),
                Write::Sharing { group, info_hash, user, on } => {
                    let by_choice = !on && !moved.contains(&(group, user));
                    self.sharing_written(operation, (info_hash, group), user, by_choice, directory);
                }
                Write::Owner { .. } => {}
            }
        }
        replaced
    }

    /// Tells sessions, which have come to be in these groups, which tickets are void there. Returns how many things it has looked at.
    pub(super) fn tell_voids(&mut self, keys: &[SessionKey], groups: &[GroupId], directory: &Directory, now_ms: u64) -> usize {
        self.late.forget(now_ms);
        let (voids, looked) = self.voids_of(groups, directory, now_ms);
        if voids.len() > VOIDS_TOLD_MAX {
            warn!("a session is told the latest {VOIDS_TOLD_MAX} of {} ends of memberships and passwords", voids.len());
        }
        let mut frames = Vec::new();
        for (until_ms, group, user) in voids.into_iter().take(VOIDS_TOLD_MAX) {
            frames.extend_from_slice(&event_frame(Event::Void { group, user, until_ms }));
        }
        if !frames.is_empty() {
            let frames: Frame = frames.into();
            keys.iter().filter_map(|key| self.sessions.get(key)).for_each(|session| session.visitor.outbox.push(frames.clone()));
        }
        looked
    }

    /// What is void in groups, the latest first, and how many things were looked at.
    fn voids_of(&self, groups: &[GroupId], directory: &Directory, now_ms: u64) -> (Vec<(u64, Option<GroupId>, UserId)>, usize) {
        let since = Stamp::new(now_ms.saturating_sub(VOID_KEPT_MS), 0);
        let (mut looked, mut until) = (groups.len(), HashMap::new());
        let mut note = |group: Option<GroupId>, user: UserId, until_ms: u64| {
            let latest = until.entry((group, user)).or_insert(until_ms);
            *latest = until_ms.max(*latest);
        };
        for &group in groups {
            let ended = directory.ended_since(group, since).map(|(at, user)| (user, void_until_ms(at)));
            for (user, until_ms) in ended.take(VOIDS_TOLD_MAX).chain(self.late.of(Some(group))) {
                looked += 1;
                note(Some(group), user, until_ms);
            }
        }
        let own: HashSet<GroupId> = groups.iter().copied().collect();
        let replaced = directory.replaced_since(since).map(|(at, user)| (user, void_until_ms(at)));
        for (user, until_ms) in replaced.chain(self.late.of(None)) {
            let mut theirs = directory.groups_of(user).inspect(|_| looked += 1);
            if theirs.any(|group| own.contains(&group)) {
                note(None, user, until_ms);
            }
            looked += 1;
        }
        let mut voids: Vec<_> = until.into_iter().map(|((group, user), until_ms)| (until_ms, group, user)).collect();
        voids.sort_unstable_by(|a, b| b.cmp(a));
        (voids, looked)
    }

    fn password_written(&mut self, operation: &Operation, user: UserId, directory: &Directory, now_ms: u64) -> Option<Replaced> {
        let mut by = None;
        for key in self.sessions_of(user) {
            let Some(session) = self.sessions.get_mut(&key) else { continue };
            let asked = session.asked == Some(operation.request);
            by = by.or(Some(session.visitor.device).filter(|_| asked));
            if directory.is_password_current(user, session.visitor.password) != Some(false) {
                continue;
            }
            if asked {
                session.visitor.password = operation.tag();
                continue;
            }
            session.visitor.over.store(true, Ordering::Relaxed);
            session.visitor.outbox.push(event_frame(Event::SessionOver));
            self.log_out(key, Word::All);
        }
        if directory.password_replaced(user) != Some(operation.stamp) {
            return None;
        }
        let is_late = is_late(operation.stamp, now_ms);
        if is_late {
            self.late.note((None, user), now_ms);
        }
        let until_ms = void_until_ms(operation.stamp).max(if is_late { now_ms } else { 0 });
        let mut told: Vec<SessionKey> =
            directory.groups_of(user).flat_map(|group| self.members_online(group, directory)).collect();
        told.sort_unstable();
        told.dedup();
        self.push(&told, Event::Void { group: None, user, until_ms });
        Some(Replaced { user, by })
    }

    fn membership_written(
        &mut self,
        operation: &Operation,
        (group, user): (GroupId, UserId),
        state: MembershipState,
        directory: &Directory,
        now_ms: u64,
    ) {
        let Some(ended) = directory.membership_ended(group, user) else { return };
        // A write that lets in may be heard of after the one that throws out, and only then it is known that there was something to end.
        let ends = state == MembershipState::None || (state == MembershipState::Member && ended > operation.stamp);
        if !ends {
            return;
        }
        let is_late = is_late(ended, now_ms) && !directory.is_member(group, user);
        if is_late {
            self.late.note((Some(group), user), now_ms);
        }
        let until_ms = void_until_ms(ended).max(if is_late { now_ms } else { 0 });
        let told: Vec<SessionKey> = self.members_online(group, directory).collect();
        self.push(&told, Event::Void { group: Some(group), user, until_ms });
    }

    fn sharing_written(
        &mut self,
        operation: &Operation,
        swarm: (InfoHash, GroupId),
        user: UserId,
        by_choice: bool,
        directory: &Directory,
    ) {
        let by_choice = by_choice && !directory.shares(swarm.1, swarm.0, user);
        let sessions = self.sessions_of(user);
        for &key in &sessions {
            self.refresh(key, swarm, if by_choice { Word::Withdrawn } else { Word::All }, directory);
        }
        if by_choice {
            let asked = |key: &SessionKey| self.sessions.get(key).is_some_and(|session| session.asked == Some(operation.request));
            let others: Vec<SessionKey> = sessions.into_iter().filter(|key| !asked(key)).collect();
            self.push(&others, Event::ShareStopped { group: swarm.1, info_hash: swarm.0 });
        }
        self.refresh_waiting(swarm, directory);
    }

    fn membership_changed(&mut self, (group, user): (GroupId, UserId), actor: UserId, directory: &Directory, now_ms: u64) {
        let is_member = directory.is_member(group, user);
        let Some(online) = self.users.get_mut(&user) else { return };
        let changed = if is_member { online.groups.insert(group) } else { online.groups.remove(&group) };
        if !changed {
            return;
        }
        let sessions = self.sessions_of(user);
        for &key in &sessions {
            let Some(session) = self.sessions.get(&key) else { continue };
            let swarms: Vec<_> = session.entries.keys().filter(|swarm| swarm.1 == group).copied().collect();
            swarms.into_iter().for_each(|swarm| self.refresh(key, swarm, Word::All, directory));
        }
        let event = match is_member {
            false => Some(Event::Removed { group }),
            // Whoever makes a group is in it by their own doing.
            true if actor == user => None,
            true => directory.group(group, user).map(|group| Event::Admitted { group }),
        };
        if is_member {
            self.tell_voids(&sessions, &[group], directory, now_ms);
        }
        if let Some(event) = event {
            self.push(&sessions, event);
        }
    }

    fn members_online<'a>(&'a self, group: GroupId, directory: &'a Directory) -> impl Iterator<Item = SessionKey> + 'a {
        directory.member_ids(group).flat_map(|user| self.sessions_of(user))
    }
}

/// Tells whether what ended then is heard of late.
fn is_late(ended: Stamp, now_ms: u64) -> bool {
    now_ms.saturating_sub(ended.ms()) > LATE_MS
}

fn moved(write: &Write) -> Option<(GroupId, UserId)> {
    match *write {
        Write::Membership { group, user, .. } => Some((group, user)),
        _ => None,
    }
}
