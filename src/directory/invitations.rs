//! Invitations, their uses, and what the owner of a group has set.
//!
//! An invitation can be used while its time is not over, it was not revoked, fewer users than it
//! allows have used it, and its maker may still invite. Each use is a row of its own, so that
//! trackers which are apart merge their uses without a counter: such an invitation lets in at most
//! the number that it allows for each part of the network.
//!
//! **Invariant:** the indexes of a user's and a group's invitations hold those that were not revoked;
//! the number of uses, and of the invitations that a user has made, is the number of their rows.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::entries::{Tag, last_id};
use super::rows::{Rows, RowsMut, Scan, end_of};
use super::state::Directory;
use crate::types::{
    Content, GroupId, GroupSettings, InvitationEntry, InvitationId, InvitationRow,
    InvitationUseRow, Refusal, RequestId, RowKey, UserId, Version,
};

impl<R: Rows> Directory<R> {
    /// An invitation's row.
    pub(super) fn invitation(
        &self,
        group: GroupId,
        invitation: InvitationId,
    ) -> Option<(Version, InvitationRow)> {
        let row = self.rows.get(&RowKey::Invitation(group, invitation))?;
        match row.content {
            Content::Invitation(_, _, value) => Some((row.version, value)),
            _ => None,
        }
    }

    /// Tells whether a user has used an invitation.
    pub(super) fn has_used(&self, group: GroupId, invitation: InvitationId, user: UserId) -> bool {
        self.version(&RowKey::InvitationUse(group, invitation, user)).is_some()
    }

    /// How many users have used an invitation.
    pub fn invitation_uses(&self, group: GroupId, invitation: InvitationId) -> u32 {
        self.count_at(&uses_key(group, invitation))
    }

    /// How many invitations of a user there are, revoked ones too.
    pub(super) fn invitations_made(&self, user: UserId) -> u32 {
        self.count_at(&made_key(user))
    }

    fn count_at(&self, key: &[u8]) -> u32 {
        let count = self.rows.entry(key);
        count.and_then(|count| count.try_into().ok()).map_or(0, u32::from_be_bytes)
    }

    /// What the owner of a group has set, and the write that did.
    pub(super) fn group_settings_row(&self, group: GroupId) -> Option<(Version, GroupSettings)> {
        let row = self.rows.get(&RowKey::GroupSettings(group))?;
        match row.content {
            Content::GroupSettings(_, value) => Some((row.version, value)),
            _ => None,
        }
    }

    /// What the owner of a group has set.
    pub fn group_settings(&self, group: GroupId) -> GroupSettings {
        self.group_settings_row(group).map(|(_, settings)| settings).unwrap_or_default()
    }

    /// Tells whether a user may invite to a group, be it live or not.
    pub(super) fn may_invite(&self, group: GroupId, user: UserId) -> bool {
        let is_allowed =
            || self.owner(group) == Some(user) || self.group_settings(group).members_invite;
        self.is_in(group, user) && is_allowed()
    }

    /// Tells whether an invitation lets anybody in at a time, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// The [`Refusal`] that says why it does not.
    pub fn check_invitation(
        &self,
        group: GroupId,
        invitation: InvitationId,
        at_ms: u64,
    ) -> Result<InvitationRow, Refusal> {
        let (_, row) = self.invitation(group, invitation).ok_or(Refusal::NoSuchInvitation)?;
        if row.is_revoked {
            return Err(Refusal::InvitationRevoked);
        }
        if at_ms > row.expires_ms {
            return Err(Refusal::InvitationExpired);
        }
        let is_disabled = || self.user_row(row.inviter).is_none_or(|inviter| inviter.is_disabled);
        // A maker who left and came back has to make a new invitation.
        let has_left = || {
            let ended = self.standing(group, row.inviter).and_then(|(_, standing)| standing.ended);
            ended.is_some_and(|ended| ended > row.created)
        };
        if !self.is_live(group)
            || !self.may_invite(group, row.inviter)
            || has_left()
            || is_disabled()
        {
            return Err(Refusal::InvitationVoid);
        }
        if self.invitation_uses(group, invitation) >= row.uses {
            return Err(Refusal::InvitationUsedUp);
        }
        Ok(row)
    }

    /// Who made an invitation.
    pub fn inviter(&self, group: GroupId, invitation: InvitationId) -> Option<UserId> {
        self.invitation(group, invitation).map(|(_, row)| row.inviter)
    }

    /// Who invited a member, if the use of the invitation is remembered.
    pub fn invited_by(&self, group: GroupId, user: UserId) -> Option<UserId> {
        self.use_by(group, user).map(|(_, inviter)| inviter)
    }

    /// The invitation by which a member came, and who made it, if its use is remembered.
    pub(super) fn use_by(&self, group: GroupId, user: UserId) -> Option<(InvitationId, UserId)> {
        let admission = self.admission(group, user)?;
        let prefix = invited_prefix(group, user, admission.request);
        let (key, inviter) = Scan::prefix(&self.rows, &prefix).next()?;
        let inviter = UserId::from_bytes(inviter.try_into().ok()?);
        Some((InvitationId::from_bytes(*key.last_chunk()?), inviter))
    }

    /// The invitations of a user that were not revoked.
    pub(super) fn invitations_of(
        &self,
        user: UserId,
    ) -> impl Iterator<Item = (GroupId, InvitationId)> + '_ {
        let entries = Scan::prefix(&self.rows, &Tag::Invitations.key(&[user.as_bytes()]));
        entries.filter_map(|(key, _)| place(&key))
    }

    /// One page of the invitations that a user may revoke: their own, and those to the live groups
    /// that they own. They are in order of group and id.
    pub fn invitations(
        &self,
        asking: UserId,
        after: Option<(GroupId, InvitationId)>,
        max: usize,
    ) -> (Vec<InvitationEntry>, bool) {
        let is_owned = |group: &GroupId| self.group_owner(*group) == Some(asking);
        let own: BTreeSet<GroupId> = self.invitations_of(asking).map(|(group, _)| group).collect();
        let owned = self.tied_groups(asking).filter(is_owned);
        let groups: BTreeSet<GroupId> = own.into_iter().chain(owned).collect();
        let from = after.map_or(GroupId::from_bytes([0; GroupId::LEN]), |(group, _)| group);
        let groups = groups.range(from..).filter(|group| self.is_live(**group));
        let places = groups.flat_map(|&group| {
            let behind = after.filter(|(of, _)| *of == group).map(|(_, invitation)| invitation);
            self.open_invitations(group, (!is_owned(&group)).then_some(asking), behind)
        });
        let mut entries = places.filter_map(|(group, invitation, row)| {
            Some(InvitationEntry {
                group,
                label: self.group(group, asking)?.label,
                invitation,
                inviter: self.shown(row.inviter),
                created: row.created,
                expires_ms: row.expires_ms,
                uses: row.uses,
                used: self.invitation_uses(group, invitation),
            })
        });
        let page: Vec<InvitationEntry> = entries.by_ref().take(max).collect();
        (page, entries.next().is_some())
    }

    /// The invitations to a group that were not revoked, of one user or of all, behind an id.
    fn open_invitations(
        &self,
        group: GroupId,
        of: Option<UserId>,
        behind: Option<InvitationId>,
    ) -> impl Iterator<Item = (GroupId, InvitationId, InvitationRow)> + '_ {
        let prefix = match of {
            Some(user) => Tag::Invitations.key(&[user.as_bytes(), group.as_bytes()]),
            None => Tag::OpenInvitations.key(&[group.as_bytes()]),
        };
        let from = match behind {
            Some(last) => Bound::Excluded([&prefix[..], last.as_bytes()].concat()),
            None => Bound::Included(prefix.clone()),
        };
        Scan::range(&self.rows, from, end_of(&prefix)).filter_map(move |(key, _)| {
            let (_, invitation) = place(&key)?;
            Some((group, invitation, self.invitation(group, invitation)?.1))
        })
    }
}

impl<R: RowsMut> Directory<R> {
    /// Brings the entries of an invitation in line with its row.
    pub(super) fn index_invitation(
        &mut self,
        (group, invitation): (GroupId, InvitationId),
        before: Option<&InvitationRow>,
        after: Option<&InvitationRow>,
    ) {
        let keys = |row: &InvitationRow| {
            let ids: [&[u8]; 3] = [row.inviter.as_bytes(), group.as_bytes(), invitation.as_bytes()];
            let keys = || [Tag::Invitations.key(&ids), Tag::OpenInvitations.key(&ids[1..])];
            (!row.is_revoked).then(keys)
        };
        let (old, new) = (before.and_then(keys), after.and_then(keys));
        old.into_iter().flatten().for_each(|key| self.put(&key, false));
        new.into_iter().flatten().for_each(|key| self.put(&key, true));
        let [old, new] = [before, after].map(|row| row.map(|row| row.inviter));
        if old != new {
            old.iter().for_each(|user| self.count_one(&made_key(*user), false));
            new.iter().for_each(|user| self.count_one(&made_key(*user), true));
        }
    }

    /// Counts one more, or one less, at an entry.
    fn count_one(&mut self, key: &[u8], is_more: bool) {
        let count = self.count_at(key);
        let count = if is_more { count.saturating_add(1) } else { count.saturating_sub(1) };
        let bytes = count.to_be_bytes();
        self.rows.set_entry(key, (count > 0).then_some(&bytes[..]));
    }

    /// Brings the entries of a use in line with its row and the request that wrote it.
    pub(super) fn index_invitation_use(
        &mut self,
        (group, invitation, user): (GroupId, InvitationId, UserId),
        before: Option<RequestId>,
        after: Option<(RequestId, InvitationUseRow)>,
    ) {
        if let Some(request) = before {
            self.rows.set_entry(&invited_key(group, user, request, invitation), None);
        }
        if let Some((request, row)) = after {
            let key = invited_key(group, user, request, invitation);
            self.rows.set_entry(&key, Some(row.inviter.as_bytes()));
        }
        if before.is_some() != after.is_some() {
            self.count_one(&uses_key(group, invitation), after.is_some());
        }
    }
}

fn uses_key(group: GroupId, invitation: InvitationId) -> Vec<u8> {
    Tag::InvitationUses.key(&[group.as_bytes(), invitation.as_bytes()])
}

fn made_key(user: UserId) -> Vec<u8> {
    Tag::InvitationsMade.key(&[user.as_bytes()])
}

fn invited_prefix(group: GroupId, user: UserId, request: RequestId) -> Vec<u8> {
    Tag::InvitedBy.key(&[group.as_bytes(), user.as_bytes(), request.as_bytes()])
}

fn invited_key(
    group: GroupId,
    user: UserId,
    request: RequestId,
    invitation: InvitationId,
) -> Vec<u8> {
    let mut key = invited_prefix(group, user, request);
    key.extend_from_slice(invitation.as_bytes());
    key
}

/// Group and invitation at the end of a key.
fn place(key: &[u8]) -> Option<(GroupId, InvitationId)> {
    let (start, invitation) = key.split_last_chunk::<{ InvitationId::LEN }>()?;
    let group = last_id::<GroupId, { GroupId::LEN }>(start)?;
    Some((group, InvitationId::from_bytes(*invitation)))
}

#[cfg(test)]
mod tests;
