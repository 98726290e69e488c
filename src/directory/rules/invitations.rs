//! Who may invite, and whom an invitation lets in.

use super::{Asking, Judgement, check_quota};
use crate::directory::entries::user_names;
use crate::directory::rows::Rows;
use crate::directory::settings::{Accounts, Quotas};
use crate::directory::state::Directory;
use crate::types::limits::{
    INVITATION_DAYS_MAX, INVITATION_USES_MAX, INVITATIONS_KEPT_MAX, INVITATIONS_PER_USER_MAX,
};
use crate::types::{
    Content, GroupId, GroupSettings, InvitationId, InvitationRow, InvitationUseRow, Limit,
    MembershipRow, MembershipState, PasswordHash, Refusal, UserId, UserName, invitation_expires_ms,
};

/// Expired invitations that one request takes back.
const EXPIRED_MAX: usize = 4;

impl<R: Rows> Directory<R> {
    /// Invitations of the asking user that have expired make room, a few at a time. An id that was
    /// used before is refused: a member cannot make another's invitation anew.
    pub(super) fn create_invitation(
        &self,
        by: &Asking,
        (group, invitation): (GroupId, InvitationId),
        uses: u32,
        days: u32,
    ) -> Judgement {
        if !(1..=INVITATION_USES_MAX).contains(&uses) || !(1..=INVITATION_DAYS_MAX).contains(&days)
        {
            return Err(Refusal::BadInvitation);
        }
        self.found_as_member(by, group)?;
        self.saw_group_settings(by, group);
        if !self.may_invite(group, by.actor) {
            return Err(Refusal::MayNotInvite);
        }
        if self.invitation(group, invitation).is_some() {
            return Err(Refusal::RequestReused);
        }
        self.check_room(&self.settings().quotas)?;
        let rows = self.invitations_of(by.actor).filter_map(|(group, invitation)| {
            let (version, row) = self.invitation(group, invitation)?;
            Some((group, invitation, version, row))
        });
        let (open, expired): (Vec<_>, Vec<_>) =
            rows.partition(|(_, _, _, row)| row.expires_ms >= by.at.ms());
        check_quota(open.len() as u64, INVITATIONS_PER_USER_MAX as u64, Limit::Invitations)?;
        let made = u64::from(self.invitations_made(by.actor));
        check_quota(made, INVITATIONS_KEPT_MAX as u64, Limit::Invitations)?;
        let mut contents = Vec::new();
        for (group, invitation, version, row) in expired.into_iter().take(EXPIRED_MAX) {
            by.saw(version.stamp);
            let row = InvitationRow { is_revoked: true, ..row };
            contents.push(Content::Invitation(group, invitation, row));
        }
        let created = by.stamp();
        let expires_ms = invitation_expires_ms(created.ms(), days);
        let inviter = by.actor;
        let row = InvitationRow { inviter, created, expires_ms, uses, is_revoked: false };
        contents.push(Content::Invitation(group, invitation, row));
        Ok(contents)
    }

    /// Revokes again what was revoked already: the new write is later than writes that this tracker
    /// has not received.
    pub(super) fn revoke_invitation(
        &self,
        by: &Asking,
        group: GroupId,
        invitation: InvitationId,
    ) -> Judgement {
        self.found(by, group)?;
        let (_, row) = self.invitation(group, invitation).ok_or(Refusal::NoSuchInvitation)?;
        if row.inviter != by.actor && self.owner(group) != Some(by.actor) {
            return Err(Refusal::NotOwner);
        }
        let row = InvitationRow { is_revoked: true, ..row };
        Ok(vec![Content::Invitation(group, invitation, row)])
    }

    /// Revokes the invitation by which a member joined, if it is known and open. The user could
    /// join by it again with another account.
    pub(super) fn revoke_used(&self, by: &Asking, group: GroupId, user: UserId) -> Option<Content> {
        let (invitation, _) = self.use_by(group, user)?;
        let (version, row) = self.invitation(group, invitation)?;
        by.saw(version.stamp);
        let revoked = InvitationRow { is_revoked: true, ..row };
        (!row.is_revoked).then_some(Content::Invitation(group, invitation, revoked))
    }

    /// A user whose membership has ended since the invitation was made is not let in by it: a
    /// removal stands.
    pub(super) fn use_invitation(
        &self,
        by: &Asking,
        group: GroupId,
        invitation: InvitationId,
    ) -> Judgement {
        let (version, _) = self.invitation(group, invitation).ok_or(Refusal::NoSuchInvitation)?;
        by.saw(version.stamp);
        let state = self.state(group, by.actor);
        if state == MembershipState::Member && self.is_live(group) {
            return Err(Refusal::AlreadyMember);
        }
        let row = self.usable(by, group, invitation)?;
        self.found(by, group)?;
        let ended = self.standing(group, by.actor).and_then(|(_, standing)| standing.ended);
        if ended.is_some_and(|ended| ended > row.created)
            || self.has_used(group, invitation, by.actor)
        {
            return Err(Refusal::InvitationTooOld);
        }
        let quotas = self.check_room(&self.settings().quotas)?;
        if state == MembershipState::None {
            let memberships = self.usage(by.actor).memberships;
            check_quota(memberships, quotas.memberships, Limit::Memberships)?;
            self.check_members(group, &quotas)?;
        }
        let used = InvitationUseRow { inviter: row.inviter };
        Ok(vec![
            self.standing_row(by, group, by.actor, MembershipState::Member),
            Content::InvitationUse(group, invitation, by.actor, used),
        ])
    }

    /// Account and membership are one change: neither is there without the other.
    pub(super) fn create_invited_user(
        &self,
        by: &Asking,
        (name, hash): (&UserName, &PasswordHash),
        group: GroupId,
        invitation: InvitationId,
    ) -> Judgement {
        let settings = self.settings();
        if settings.accounts == Accounts::Closed {
            return Err(Refusal::AccountsClosed);
        }
        let quotas = self.check_room(&settings.quotas)?;
        if user_names().find(&self.rows, name.as_str()).is_some() {
            return Err(Refusal::NameTaken);
        }
        let row = self.usable(by, group, invitation)?;
        self.found(by, group)?;
        check_quota(0, quotas.memberships, Limit::Memberships)?;
        self.check_members(group, &quotas)?;
        let user = UserId::derive(name, by.request);
        let (state, since) = (MembershipState::Member, by.stamp());
        let used = InvitationUseRow { inviter: row.inviter };
        Ok(vec![
            by.new_user(name, hash),
            Content::Membership(group, user, MembershipRow { state, since, ended: None }),
            Content::InvitationUse(group, invitation, user, used),
        ])
    }

    pub(super) fn set_group(
        &self,
        by: &Asking,
        group: GroupId,
        settings: GroupSettings,
    ) -> Judgement {
        self.found_as_owner(by, group)?;
        let mut contents = vec![Content::GroupSettings(group, settings)];
        self.settle_owner(&mut contents, group, by.actor);
        Ok(contents)
    }

    /// An invitation that can be used. The judgement rests on it, and on its maker's rights.
    fn usable(
        &self,
        by: &Asking,
        group: GroupId,
        invitation: InvitationId,
    ) -> Result<InvitationRow, Refusal> {
        let row = self.check_invitation(group, invitation, by.at.ms())?;
        let seen = [
            self.invitation(group, invitation).map(|(version, _)| version),
            self.standing(group, row.inviter).map(|(version, _)| version),
            self.account(row.inviter).map(|(version, _)| version),
        ];
        seen.into_iter().flatten().for_each(|version| by.saw(version.stamp));
        self.saw_group_settings(by, group);
        Ok(row)
    }

    fn saw_group_settings(&self, by: &Asking, group: GroupId) {
        if let Some((version, _)) = self.group_settings_row(group) {
            by.saw(version.stamp);
        }
    }

    /// Refuses one more member or request than a group may have.
    pub(super) fn check_members(&self, group: GroupId, quotas: &Quotas) -> Result<(), Refusal> {
        let summary = self.group_summary(group);
        let tied = u64::from(summary.members) + u64::from(summary.requests);
        check_quota(tied, quotas.members, Limit::Members)
    }
}
