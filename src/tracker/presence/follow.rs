//! What sessions are told, and lose, when the directory changes, whoever recorded the change.
//!
//! **Invariant:** a session whose password was replaced takes part in nothing any more, except the
//! one that asked for that; and whoever logs in has heard of everything that makes tickets void
//! which could still be shown.
//!
//! Links between clients end by [`Event::Void`]: it goes to every online member of the group, or,
//! for a password, of any of the user's groups. It is pushed in the same turn of the core in which
//! the change became durable here.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use log::warn;

use super::swarm::Word;
use super::{Presence, Replaced, SessionKey, event_frame};
use crate::directory::{Directory, Rows, void_until_ms};
use crate::tracker::outbox::Frame;
use crate::types::limits::{CLOCK_AHEAD_MAX, TICKET_LIFETIME};
use crate::types::{
    Content, DeviceId, FileId, FileRow, GroupId, InfoHash, Label, MembershipRow, MembershipState,
    RequestId, RowKey, Stamp, Transaction, UserId, Version,
};
use crate::wire::tracker::Event;

/// How long after an end a ticket from before may still be shown: until the last one signed
/// elsewhere has expired on the slowest clock.
const VOID_KEPT_MS: u64 = (TICKET_LIFETIME.as_millis() + 2 * CLOCK_AHEAD_MAX.as_millis()) as u64;
/// Ends told at a login: far more than happen in that time. If there are more the latest are told,
/// whose tickets live longest.
const VOIDS_TOLD_MAX: usize = 4096;
/// Groups of one user that are looked through rather than those of another.
const FEW_GROUPS: usize = 32;
/// A row that comes so much later than its stamp was written while the trackers were apart: this
/// one, or another, has gone on signing tickets for whoever was removed by it.
const LATE_MS: u64 = 5_000;

impl Presence {
    /// Follows what a transaction has changed: lets in, throws out, shows and hides. `now_ms` is
    /// the time on this tracker's clock. Returns the users whose password it has replaced.
    pub(crate) fn observe(
        &mut self,
        transaction: &Transaction,
        directory: &Directory<impl Rows>,
        now_ms: u64,
    ) -> Vec<Replaced> {
        let mut replaced = Vec::new();
        // By request, who asked: a group's maker is not told of being let in.
        let actors: HashMap<RequestId, UserId> = transaction
            .rows
            .iter()
            .filter_map(|row| match &row.content {
                Content::Request(request, asked) => Some((*request, asked.actor)),
                _ => None,
            })
            .collect();
        for (row, displaced) in transaction.rows.iter().zip(&transaction.displaced) {
            self.note_group_change(&row.content, displaced.as_ref());
            let version = row.version;
            let actor = actors.get(&version.request).copied().unwrap_or(UserId::NOBODY);
            match &row.content {
                Content::User(user, value) => {
                    replaced.extend(self.password_written(version, *user, directory, now_ms));
                    if value.is_none() {
                        self.user_deleted(*user, directory, now_ms);
                    }
                }
                Content::Group(_, Some(_))
                    if matches!(displaced, Some(Content::Group(_, Some(_)))) => {}
                Content::Group(group, _) => {
                    // Memberships may have arrived before the group itself, and all of them end
                    // with it.
                    for user in directory
                        .tied_to(*group)
                        .filter(|user| self.is_online(*user))
                        .collect::<Vec<_>>()
                    {
                        self.membership_changed((*group, user), actor, directory, now_ms);
                    }
                }
                Content::Membership(group, user, value) => {
                    // The directory may be ahead, where trackers share it: then a later write has let
                    // the user in, and its own transaction tells of that.
                    let is_behind = value.state != MembershipState::Member
                        && directory.is_member(*group, *user);
                    if self.is_online(*user) && !is_behind {
                        self.membership_changed((*group, *user), actor, directory, now_ms);
                    }
                    self.membership_written(version, (*group, *user), value, directory, now_ms);
                    let before = match displaced {
                        Some(Content::Membership(_, _, before)) => Some(before.state),
                        _ => None,
                    };
                    self.request_written((*group, *user), before, value, directory);
                    // With a member come the files that this member shares.
                    let is_waited_for = !self.waiting.is_empty();
                    for info_hash in is_waited_for
                        .then(|| directory.shares_of(*group, *user))
                        .into_iter()
                        .flatten()
                    {
                        self.refresh_waiting((info_hash, *group), directory);
                    }
                }
                Content::File(group, _, Some(value)) => {
                    self.refresh_waiting((value.facts.info_hash, *group), directory)
                }
                Content::File(group, file, None) => {
                    if let Some(Content::File(_, _, Some(before))) = displaced {
                        let is_successor = |content: &&Content| matches!(content, Content::File(_, _, Some(next)) if next.replaces == Some(*file));
                        let successor =
                            transaction.rows.iter().map(|row| &row.content).find(is_successor);
                        let replaced_by = successor.and_then(|content| match content.key() {
                            RowKey::File(_, next) => {
                                directory.file(*group, next).map(|entry| entry.label)
                            }
                            _ => None,
                        });
                        self.file_removed((*group, *file), before, replaced_by, directory);
                    }
                }
                Content::Sharing(group, file, user, value) => {
                    // The content is in the file's row; without that row the share is not in
                    // effect.
                    if let Some(info_hash) = directory.content_of(*group, *file) {
                        self.sharing_written(
                            version,
                            (info_hash, *group),
                            *user,
                            !value.on,
                            directory,
                        );
                    }
                }
                Content::Device(user, device, value) => {
                    self.device_written(version, (*user, *device), value, directory, now_ms);
                }
                Content::InvitationUse(group, _, user, value) => {
                    // An old one comes with the rows of a tracker that was away.
                    let is_new = displaced.is_none()
                        && version.stamp.ms().saturating_add(VOID_KEPT_MS) > now_ms;
                    if is_new {
                        self.member_joined((*group, *user), value.inviter, version, directory);
                    }
                }
                Content::Owner(..)
                | Content::Request(..)
                | Content::Setting(..)
                | Content::Invitation(..)
                | Content::GroupSettings(..)
                | Content::Unknown(..) => {}
            }
        }
        replaced
    }

    /// Notes what members of a group see differently from now on.
    fn note_group_change(&mut self, content: &Content, displaced: Option<&Content>) {
        match content {
            Content::File(group, ..) | Content::Sharing(group, ..) => {
                self.group_changes.note_files(*group);
            }
            Content::Owner(group, ..) | Content::Group(group, _) => {
                self.group_changes.note_members(*group);
            }
            Content::Membership(group, _, row) => {
                let is_member = |state| state == MembershipState::Member;
                let was_member = match displaced {
                    Some(Content::Membership(_, _, before)) => is_member(before.state),
                    _ => false,
                };
                if was_member != is_member(row.state) {
                    self.group_changes.note_members(*group);
                }
            }
            _ => {}
        }
    }

    /// A user's account was deleted: sessions end, and with the memberships everything that rests
    /// on them.
    fn user_deleted(&mut self, user: UserId, directory: &Directory<impl Rows>, now_ms: u64) {
        self.late.note((None, user), now_ms);
        let groups: Vec<GroupId> = directory.tied_groups(user).collect();
        for group in groups {
            self.group_changes.note_members(group);
            self.group_changes.note_files(group);
            let told: Vec<SessionKey> = self.members_online(group).collect();
            self.push(&told, Event::Void { group: Some(group), user, until_ms: now_ms });
        }
    }

    /// A file was taken out of a group: nobody offers it there any more.
    fn file_removed(
        &mut self,
        (group, file): (GroupId, FileId),
        before: &FileRow,
        replaced_by: Option<Label>,
        directory: &Directory<impl Rows>,
    ) {
        let info_hash = before.facts.info_hash;
        let keys = self.sessions_in((info_hash, group));
        let label = Label::new(before.facts.name.as_str(), 1);
        for &key in &keys {
            self.refresh(key, (info_hash, group), Word::All, directory);
        }
        self.push(&keys, Event::FileRemoved { group, file, info_hash, label, replaced_by });
    }

    /// Tells sessions, which have come to be in these groups, which tickets are void there. Returns
    /// how many things it has looked at.
    pub(super) fn tell_voids(
        &mut self,
        keys: &[SessionKey],
        groups: &[GroupId],
        directory: &Directory<impl Rows>,
        now_ms: u64,
    ) -> usize {
        self.late.forget(now_ms);
        self.late_devices.forget(now_ms);
        let (voids, looked) = self.voids_of(groups, directory, now_ms);
        if voids.len() > VOIDS_TOLD_MAX {
            warn!(
                "a session is told the latest {VOIDS_TOLD_MAX} of {} ends of memberships and passwords",
                voids.len()
            );
        }
        let mut frames = Vec::new();
        for (until_ms, group, user) in voids.into_iter().take(VOIDS_TOLD_MAX) {
            frames.extend_from_slice(&event_frame(Event::Void { group, user, until_ms }));
        }
        let (devices, more) = self.void_devices_of(groups, directory, now_ms);
        for (user, device, until_ms) in devices {
            frames.extend_from_slice(&event_frame(Event::DeviceVoid { user, device, until_ms }));
        }
        if !frames.is_empty() {
            let frames: Frame = frames.into();
            keys.iter()
                .filter_map(|key| self.sessions.get(key))
                .for_each(|session| self.send(session, frames.clone()));
        }
        looked + more
    }

    /// What is void in groups, the latest first, and how many things were looked at.
    fn voids_of(
        &self,
        groups: &[GroupId],
        directory: &Directory<impl Rows>,
        now_ms: u64,
    ) -> (Vec<(u64, Option<GroupId>, UserId)>, usize) {
        let since = Stamp::new(now_ms.saturating_sub(VOID_KEPT_MS), 0);
        let (mut looked, mut until) = (groups.len(), HashMap::new());
        let mut note = |group: Option<GroupId>, user: UserId, until_ms: u64| {
            let latest = until.entry((group, user)).or_insert(until_ms);
            *latest = until_ms.max(*latest);
        };
        for &group in groups {
            let ended =
                directory.ended_since(group, since).map(|(at, user)| (user, void_until_ms(at)));
            for (user, until_ms) in ended.take(VOIDS_TOLD_MAX).chain(self.late.of(Some(group))) {
                looked += 1;
                note(Some(group), user, until_ms);
            }
        }
        let own: HashSet<GroupId> = groups.iter().copied().collect();
        let replaced = directory.replaced_since(since).map(|(at, user)| (user, void_until_ms(at)));
        for (user, until_ms) in replaced.take(VOIDS_TOLD_MAX).chain(self.late.of(None)) {
            if is_near(groups, &own, user, directory, &mut looked) {
                note(None, user, until_ms);
            }
            looked += 1;
        }
        let mut voids: Vec<_> =
            until.into_iter().map(|((group, user), until_ms)| (until_ms, group, user)).collect();
        voids.sort_unstable_by(|a, b| b.cmp(a));
        (voids, looked)
    }

    /// The forgotten devices of users who are in one of these groups, the latest first, and how many
    /// things were looked at.
    fn void_devices_of(
        &self,
        groups: &[GroupId],
        directory: &Directory<impl Rows>,
        now_ms: u64,
    ) -> (Vec<(UserId, DeviceId, u64)>, usize) {
        let since = Stamp::new(now_ms.saturating_sub(VOID_KEPT_MS), 0);
        let own: HashSet<GroupId> = groups.iter().copied().collect();
        let (mut looked, mut voids) = (0, Vec::new());
        let forgotten = directory
            .devices_forgotten_since(since)
            .map(|(at, user, device)| (user, device, void_until_ms(at)));
        let late = self.late_devices.all().map(|((user, device), until)| (user, device, until));
        for (user, device, until_ms) in forgotten.take(VOIDS_TOLD_MAX).chain(late) {
            looked += 1;
            if is_near(groups, &own, user, directory, &mut looked) {
                voids.push((user, device, until_ms));
            }
        }
        voids.truncate(VOIDS_TOLD_MAX);
        (voids, looked)
    }

    fn password_written(
        &mut self,
        write: Version,
        user: UserId,
        directory: &Directory<impl Rows>,
        now_ms: u64,
    ) -> Option<Replaced> {
        let mut by = None;
        for key in self.sessions_of(user) {
            let Some(session) = self.sessions.get_mut(&key) else { continue };
            let asked = session.asked == Some(write.request);
            by = by.or(Some(session.visitor.device).filter(|_| asked));
            let is_current =
                directory.is_password_current(user, session.visitor.password) != Some(false);
            if is_current {
                continue;
            }
            if asked && directory.is_password_current(user, write) == Some(true) {
                session.visitor.password = write;
                continue;
            }
            session.visitor.over.store(true, Ordering::Relaxed);
            let outbox = session.visitor.outbox.clone();
            self.leaving.get_mut().push((outbox, event_frame(Event::SessionOver)));
            self.log_out(key, Word::All);
        }
        if directory.password_replaced(user) != Some(write.stamp) {
            return None;
        }
        let is_late = is_late(write.stamp, now_ms);
        if is_late {
            self.late.note((None, user), now_ms);
        }
        let until_ms = void_until_ms(write.stamp).max(if is_late { now_ms } else { 0 });
        let mut told: Vec<SessionKey> =
            directory.groups_of(user).flat_map(|group| self.members_online(group)).collect();
        told.sort_unstable();
        told.dedup();
        self.push(&told, Event::Void { group: None, user, until_ms });
        Some(Replaced { user, by })
    }

    /// Tells the owner of a request to join, and who had asked that it was turned down.
    fn request_written(
        &self,
        (group, user): (GroupId, UserId),
        before: Option<MembershipState>,
        row: &MembershipRow,
        directory: &Directory<impl Rows>,
    ) {
        use MembershipState::{None as Out, Requested};
        if before == Some(row.state) {
            return;
        }
        let (told, since) = match (before, row.state) {
            (_, Requested) => {
                let owner = directory.group_owner(group);
                (owner.into_iter().flat_map(|owner| self.sessions_of(owner)).collect(), row.since)
            }
            (Some(Requested), Out) => (self.sessions_of(user), row.since),
            _ => return,
        };
        let told: Vec<SessionKey> = told;
        if told.is_empty() {
            return;
        }
        let Some(label) = directory.group(group, user).map(|entry| entry.label) else { return };
        let event = match row.state {
            Requested => match directory.user_entry(user) {
                Some(user) => Event::JoinRequested { group, label, user, since },
                None => return,
            },
            _ => Event::JoinRejected { group, label, at: since },
        };
        self.push(&told, event);
    }

    /// Tells the owner, and who made the invitation, of a user who has joined by it.
    fn member_joined(
        &self,
        (group, user): (GroupId, UserId),
        inviter: UserId,
        write: Version,
        directory: &Directory<impl Rows>,
    ) {
        let owner = directory.group_owner(group).filter(|owner| *owner != inviter);
        // An inviter who has left since learns nothing of the group any more.
        let invited = Some(inviter).filter(|inviter| directory.is_member(group, *inviter));
        let told: Vec<SessionKey> = [invited, owner]
            .into_iter()
            .flatten()
            .flat_map(|user| self.sessions_of(user))
            .collect();
        if told.is_empty() || !directory.is_member(group, user) {
            return;
        }
        let label = directory.group(group, user).map(|entry| entry.label);
        let entries = label.zip(directory.user_entry(user)).zip(directory.user_entry(inviter));
        let Some(((label, user), inviter)) = entries else { return };
        let (inviter, since) = (inviter.label, write.stamp);
        self.push(&told, Event::MemberJoined { group, label, user, inviter, since });
    }

    fn membership_written(
        &mut self,
        write: Version,
        (group, user): (GroupId, UserId),
        row: &MembershipRow,
        directory: &Directory<impl Rows>,
        now_ms: u64,
    ) {
        // Only the write that ended the membership, not the later ones that carry its time over.
        let Some(ended) = row.ended.filter(|ended| *ended == write.stamp) else { return };
        let is_late = is_late(ended, now_ms) && !directory.is_member(group, user);
        if is_late {
            self.late.note((Some(group), user), now_ms);
        }
        let until_ms = void_until_ms(ended).max(if is_late { now_ms } else { 0 });
        let told: Vec<SessionKey> = self.members_online(group).collect();
        self.push(&told, Event::Void { group: Some(group), user, until_ms });
    }

    fn sharing_written(
        &mut self,
        write: Version,
        swarm: (InfoHash, GroupId),
        user: UserId,
        by_choice: bool,
        directory: &Directory<impl Rows>,
    ) {
        let by_choice = by_choice && !directory.shares(swarm.1, swarm.0, user);
        let sessions = self.sessions_of(user);
        for &key in &sessions {
            self.refresh(
                key,
                swarm,
                if by_choice { Word::Withdrawn } else { Word::All },
                directory,
            );
        }
        if by_choice {
            let asked = |key: &SessionKey| {
                self.sessions.get(key).is_some_and(|session| session.asked == Some(write.request))
            };
            let others: Vec<SessionKey> = sessions.into_iter().filter(|key| !asked(key)).collect();
            self.push(&others, Event::ShareStopped { group: swarm.1, info_hash: swarm.0 });
        }
        self.refresh_waiting(swarm, directory);
    }

    fn membership_changed(
        &mut self,
        (group, user): (GroupId, UserId),
        actor: UserId,
        directory: &Directory<impl Rows>,
        now_ms: u64,
    ) {
        let is_member = directory.is_member(group, user);
        let Some(online) = self.users.get_mut(&user) else { return };
        let changed =
            if is_member { online.groups.insert(group) } else { online.groups.remove(&group) };
        if !changed {
            return;
        }
        let sessions = self.sessions_of(user);
        for &key in &sessions {
            let Some(session) = self.sessions.get(&key) else { continue };
            let swarms: Vec<_> =
                session.entries.keys().filter(|swarm| swarm.1 == group).copied().collect();
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

    /// The sessions of a group's members. The members are those that
    /// [`Presence::membership_changed`] has noted: looking for them among all online is less than
    /// reading all that there are.
    pub(super) fn members_online(&self, group: GroupId) -> impl Iterator<Item = SessionKey> + '_ {
        let online = self.users.values().filter(move |online| online.groups.contains(&group));
        online.flat_map(|online| online.sessions.iter().copied())
    }
}

/// Tells whether a user is in one of these groups, by the shorter of two ways; `own` are the same
/// groups. Counts what it looks at.
fn is_near(
    groups: &[GroupId],
    own: &HashSet<GroupId>,
    user: UserId,
    directory: &Directory<impl Rows>,
    looked: &mut usize,
) -> bool {
    if groups.len() <= FEW_GROUPS {
        groups.iter().inspect(|_| *looked += 1).any(|&group| directory.is_member(group, user))
    } else {
        directory.groups_of(user).inspect(|_| *looked += 1).any(|group| own.contains(&group))
    }
}

/// Tells whether what ended then is heard of late.
pub(super) fn is_late(ended: Stamp, now_ms: u64) -> bool {
    now_ms.saturating_sub(ended.ms()) > LATE_MS
}
