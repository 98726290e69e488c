//! Who may change what: a request becomes rows, or is refused.
//!
//! **Invariant:** judging changes nothing. Rights are checked here, where the request is made,
//! against the directory as it is here; what another tracker has judged is merged as it is. The
//! stamp of what is written is later than that of every row that the judgement rests on. A plan
//! whose stamp is above the request's time is not carried out as a rule: see
//! [`Replica::submit`](super::Replica::submit).

mod invitations;

use std::cell::Cell;

use super::entries::{file_names, group_names, user_names};
use super::rows::Rows;
use super::settings::{Accounts, Quotas, Settings};
use super::state::Directory;
use crate::types::limits::DEVICES_PER_USER_MAX;
use crate::types::{
    Change, Content, DeviceId, DeviceName, DeviceRow, Effect, FileFacts, FileId, FileRow, Geometry,
    GroupId, GroupName, GroupRow, Limit, MembershipRow, MembershipState, Order, PasswordHash,
    Refusal, RequestId, RequestStamp, SharingRow, Stamp, UserId, UserName, UserRow, Version,
};

/// Rows of devices, which rest on a password that was replaced, that one request takes back.
const STALE_DEVICES_MAX: usize = 4;

/// What a permitted request writes.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) effect: Effect,
    /// The request's time, or one more than `seen` if that is later.
    pub(super) stamp: Stamp,
    /// The largest stamp of the rows that the judgement rests on.
    pub(super) seen: Stamp,
    pub(super) contents: Vec<Content>,
}

/// One request being judged: who asks, under which id and time.
#[derive(Debug)]
struct Asking {
    actor: UserId,
    request: RequestId,
    at: Stamp,
    /// The largest stamp of the rows that were looked at.
    seen: Cell<Stamp>,
}

type Judgement = Result<Vec<Content>, Refusal>;

impl<R: Rows> Directory<R> {
    /// Judges one change.
    ///
    /// # Errors
    /// The [`Refusal`] that the client is to read.
    pub(super) fn judge(
        &self,
        actor: UserId,
        request: RequestStamp,
        change: &Change,
    ) -> Result<Plan, Refusal> {
        let by =
            Asking { actor, request: request.id, at: request.at, seen: Cell::new(Stamp::ZERO) };
        let effect = effect_of(request.id, actor, change);
        loop {
            let stamp = by.stamp();
            let contents = self.decide(&by, change)?;
            // Rows that are written without having been looked at count, too.
            contents
                .iter()
                .filter_map(|content| self.version(&content.key()))
                .for_each(|version| by.saw(version.stamp));
            if by.stamp() == stamp {
                return Ok(Plan { effect, stamp, seen: by.seen.get(), contents });
            }
            // The values hold the stamp: once more, with the one that came out.
        }
    }

    fn decide(&self, by: &Asking, change: &Change) -> Judgement {
        match change {
            Change::CreateUser { .. } | Change::CreateInvitedUser { .. } | Change::Operator(_) => {}
            _ => self.check_account(by, matches!(change, Change::ChangePassword { .. }))?,
        }
        match change {
            Change::CreateUser { name, hash } => self.create_user(by, name, hash),
            Change::ChangePassword { hash } => self.change_password(by, hash),
            Change::CreateGroup { name } => self.create_group(by, name),
            Change::JoinGroup { group } => self.join(by, *group),
            Change::LeaveGroup { group } => self.leave(by, *group),
            Change::AcceptRequest { group, user } => self.accept(by, *group, *user),
            Change::RejectRequest { group, user } => self.reject(by, *group, *user),
            Change::RemoveMember { group, user } => self.remove(by, *group, *user),
            Change::TransferGroup { group, user } => self.transfer(by, *group, *user),
            Change::ShareFile { group, file } => self.share(by, *group, file, None),
            Change::ReplaceFile { group, file, replaces } => {
                self.share(by, *group, file, Some(*replaces))
            }
            Change::StopShare { group, file } => self.stop_share(by, *group, *file),
            Change::RemoveFile { group, file } => self.remove_file(by, *group, *file),
            Change::RenameGroup { group, name } => self.rename_group(by, *group, name),
            Change::DeleteGroup { group } => {
                self.found_as_owner(by, *group)?;
                Ok(vec![Content::Group(*group, None)])
            }
            Change::DeleteAccount => Ok(vec![Content::User(by.actor, None)]),
            Change::StayOnDevice { device, name, password } => {
                self.stay_on_device(by, *device, name, *password)
            }
            Change::ForgetDevice { device } => Ok(vec![self.forgotten(by, by.actor, *device)?]),
            Change::CreateInvitation { group, invitation, uses, days } => {
                self.create_invitation(by, (*group, *invitation), *uses, *days)
            }
            Change::RevokeInvitation { group, invitation } => {
                self.revoke_invitation(by, *group, *invitation)
            }
            Change::UseInvitation { group, invitation } => {
                self.use_invitation(by, *group, *invitation)
            }
            Change::CreateInvitedUser { name, hash, group, invitation } => {
                self.create_invited_user(by, (name, hash), *group, *invitation)
            }
            Change::SetGroup { group, settings } => self.set_group(by, *group, *settings),
            Change::Operator(order) => self.obey(by, order),
        }
    }

    /// The account must be there, and may have been disabled, or given a one-time password.
    fn check_account(&self, by: &Asking, changes_password: bool) -> Result<(), Refusal> {
        let row = self.user_row(by.actor).ok_or(Refusal::LoginFirst)?;
        if row.is_disabled {
            return Err(Refusal::Disabled);
        }
        if row.must_change && !changes_password {
            return Err(Refusal::MustChangePassword);
        }
        Ok(())
    }

    fn create_user(&self, by: &Asking, name: &UserName, hash: &PasswordHash) -> Judgement {
        let settings = self.settings();
        if settings.accounts != Accounts::Open {
            return Err(Refusal::AccountsClosed);
        }
        self.check_room(&settings.quotas)?;
        if user_names().find(&self.rows, name.as_str()).is_some() {
            return Err(Refusal::NameTaken);
        }
        Ok(vec![by.new_user(name, hash)])
    }

    fn change_password(&self, by: &Asking, hash: &PasswordHash) -> Judgement {
        let row = self.user(by, by.actor)?;
        let row =
            UserRow { hash: hash.clone(), replaced: Some(by.stamp()), must_change: false, ..row };
        Ok(vec![Content::User(by.actor, Some(row))])
    }

    fn create_group(&self, by: &Asking, name: &GroupName) -> Judgement {
        if group_names().find(&self.rows, name.as_str()).is_some() {
            return Err(Refusal::NameTaken);
        }
        let Quotas { groups, memberships, .. } = self.check_room(&self.settings().quotas)?;
        let usage = self.usage(by.actor);
        check_quota(usage.groups, groups, Limit::Groups)?;
        check_quota(usage.memberships, memberships, Limit::Memberships)?;
        let group = GroupId::derive(name, by.actor, by.request);
        let row = GroupRow { name: name.clone(), created_by: by.actor, created: by.stamp() };
        Ok(vec![
            Content::Group(group, Some(row)),
            self.standing_row(by, group, by.actor, MembershipState::Member),
            Content::Owner(group, by.actor),
        ])
    }

    fn join(&self, by: &Asking, id: GroupId) -> Judgement {
        self.found(by, id)?;
        match self.state(id, by.actor) {
            MembershipState::Member => return Err(Refusal::AlreadyMember),
            MembershipState::Requested => return Err(Refusal::AlreadyRequested),
            MembershipState::None => {}
        }
        let quotas = self.check_room(&self.settings().quotas)?;
        check_quota(self.usage(by.actor).memberships, quotas.memberships, Limit::Memberships)?;
        self.check_members(id, &quotas)?;
        Ok(vec![self.standing_row(by, id, by.actor, MembershipState::Requested)])
    }

    /// The owner's place goes to the longest-standing of the others at once, so that a former owner
    /// who comes back comes as a plain member.
    fn leave(&self, by: &Asking, id: GroupId) -> Judgement {
        self.found_as_member(by, id)?;
        let mut contents = vec![self.standing_row(by, id, by.actor, MembershipState::None)];
        if self.owner(id) == Some(by.actor)
            && let Some(heir) = self.member_ids(id).find(|&user| user != by.actor)
        {
            contents.push(Content::Owner(id, heir));
        }
        Ok(contents)
    }

    fn accept(&self, by: &Asking, id: GroupId, user: UserId) -> Judgement {
        self.found_with_request(by, id, user)?;
        let mut contents = vec![self.standing_row(by, id, user, MembershipState::Member)];
        self.settle_owner(&mut contents, id, by.actor);
        Ok(contents)
    }

    fn reject(&self, by: &Asking, id: GroupId, user: UserId) -> Judgement {
        self.found_with_request(by, id, user)?;
        let mut contents = vec![self.standing_row(by, id, user, MembershipState::None)];
        self.settle_owner(&mut contents, id, by.actor);
        Ok(contents)
    }

    fn remove(&self, by: &Asking, id: GroupId, user: UserId) -> Judgement {
        self.found_as_owner(by, id)?;
        if user == by.actor {
            return Err(Refusal::IsOwner);
        }
        if !self.is_in(id, user) {
            return Err(Refusal::UserNotMember);
        }
        let mut contents = vec![self.standing_row(by, id, user, MembershipState::None)];
        contents.extend(self.revoke_used(by, id, user));
        self.settle_owner(&mut contents, id, by.actor);
        Ok(contents)
    }

    /// Handing a group to its present owner writes, too: it is later than what this tracker has not
    /// heard of.
    fn transfer(&self, by: &Asking, id: GroupId, user: UserId) -> Judgement {
        self.found_as_owner(by, id)?;
        if !self.is_in(id, user) {
            return Err(Refusal::UserNotMember);
        }
        Ok(vec![Content::Owner(id, user)])
    }

    /// A file that the group has already keeps its row; one that no member shares any more is
    /// described anew. Sharing what is shared writes, too, as transferring does.
    fn share(
        &self,
        by: &Asking,
        id: GroupId,
        facts: &FileFacts,
        replaces: Option<FileId>,
    ) -> Judgement {
        self.found_as_member(by, id)?;
        Geometry::new(facts.len, facts.piece_len).map_err(|_| Refusal::BadFile)?;
        let file = facts.id();
        if !self.is_in_effect(id, file, by.actor) {
            let Quotas { files, .. } = self.check_room(&self.settings().quotas)?;
            check_quota(self.usage(by.actor).files, files, Limit::Files)?;
        }
        let mut contents = Vec::new();
        let replaces = replaces.filter(|replaced| *replaced != file);
        if let Some(replaced) = replaces
            && let Some(row) = self.listed(id, replaced)
        {
            self.saw_file(by, id, replaced);
            if row.shared_by != by.actor && self.owner(id) != Some(by.actor) {
                return Err(Refusal::NotSharer);
            }
            contents.push(Content::File(id, replaced, None));
        }
        if self.listed(id, file).is_none() {
            let (names, name) = (file_names(id), facts.name.as_str());
            // The first bearer of a name has it for its label.
            let labelled = names.find(&self.rows, name);
            let mut same_name = labelled
                .into_iter()
                .flat_map(|one| names.bearers_of(&self.rows, name).chain([one]));
            if same_name.any(|other| Some(other) != replaces) {
                return Err(Refusal::FileNameTaken);
            }
            self.saw_file(by, id, file);
            let removed = self.file_row(id, file).and_then(|(version, before)| match before {
                Some(row) => row.removed,
                None => Some(version.stamp),
            });
            let row = FileRow {
                facts: facts.clone(),
                shared_by: by.actor,
                at: by.stamp(),
                replaces,
                removed,
            };
            contents.push(Content::File(id, file, Some(row)));
        }
        let admission = self.admitted_by(by, id)?;
        contents.push(Content::Sharing(id, file, by.actor, SharingRow { on: true, admission }));
        Ok(contents)
    }

    fn stop_share(&self, by: &Asking, id: GroupId, file: FileId) -> Judgement {
        self.found_as_member(by, id)?;
        if !self.is_in_effect(id, file, by.actor) {
            return Err(Refusal::NotShared);
        }
        let admission = self.admitted_by(by, id)?;
        Ok(vec![Content::Sharing(id, file, by.actor, SharingRow { on: false, admission })])
    }

    fn remove_file(&self, by: &Asking, id: GroupId, file: FileId) -> Judgement {
        self.found_as_member(by, id)?;
        let row = self.listed(id, file).ok_or(Refusal::NoSuchFile)?;
        if row.shared_by != by.actor && self.owner(id) != Some(by.actor) {
            return Err(Refusal::NotSharer);
        }
        Ok(vec![Content::File(id, file, None)])
    }

    fn rename_group(&self, by: &Asking, id: GroupId, name: &GroupName) -> Judgement {
        let row = self.found_as_owner(by, id)?;
        if row.name != *name && group_names().find(&self.rows, name.as_str()).is_some() {
            return Err(Refusal::NameTaken);
        }
        let created = if row.name == *name { row.created } else { by.stamp() };
        Ok(vec![Content::Group(
            id,
            Some(GroupRow { name: name.clone(), created, created_by: row.created_by }),
        )])
    }

    /// Devices that stayed by a password which was replaced since make room, a few at a time. Their
    /// sessions go on.
    fn stay_on_device(
        &self,
        by: &Asking,
        device: DeviceId,
        name: &DeviceName,
        password: Version,
    ) -> Judgement {
        let quotas = self.settings().quotas;
        self.user(by, by.actor)?;
        let others = self.devices(by.actor).filter(|(other, _)| *other != device).count();
        if others >= DEVICES_PER_USER_MAX {
            return Err(Refusal::Quota(Limit::Devices));
        }
        let before = self.device(by.actor, device).map(|(version, row)| {
            by.saw(version.stamp);
            row
        });
        if before.as_ref().is_none_or(|row| !row.on) {
            self.check_room(&quotas)?;
        }
        let mut contents = Vec::new();
        let stale = self.stale_devices(by.actor).filter(|(other, ..)| *other != device);
        for (other, version, row) in stale.take(STALE_DEVICES_MAX) {
            by.saw(version.stamp);
            contents.push(Content::Device(by.actor, other, DeviceRow { on: false, ..row }));
        }
        let row = DeviceRow {
            on: true,
            name: Some(name.clone()),
            since: by.stamp(),
            password,
            ended: before.and_then(|row| row.ended),
        };
        contents.push(Content::Device(by.actor, device, row));
        Ok(contents)
    }

    /// A device may be forgotten that has no row: it is logged in with the password.
    fn forgotten(&self, by: &Asking, user: UserId, device: DeviceId) -> Result<Content, Refusal> {
        let (password, _) = self.account(user).ok_or(Refusal::NoSuchUser)?;
        if let Some((version, _)) = self.device(user, device) {
            by.saw(version.stamp);
        }
        let ended = Some(by.stamp());
        let row = DeviceRow { on: false, name: None, since: by.stamp(), password, ended };
        Ok(Content::Device(user, device, row))
    }

    fn obey(&self, by: &Asking, order: &Order) -> Judgement {
        match order {
            Order::ResetPassword { user, hash } => {
                let row = self.user(by, *user)?;
                let row = UserRow {
                    hash: hash.clone(),
                    replaced: Some(by.stamp()),
                    must_change: true,
                    ..row
                };
                Ok(vec![Content::User(*user, Some(row))])
            }
            Order::DisableUser { user, is_disabled } => {
                let row = self.user(by, *user)?;
                // Tickets and tokens from before are void, as after a change of the password.
                let replaced = if *is_disabled { Some(by.stamp()) } else { row.replaced };
                Ok(vec![Content::User(
                    *user,
                    Some(UserRow { is_disabled: *is_disabled, replaced, ..row }),
                )])
            }
            Order::DeleteUser { user } => {
                self.user(by, *user)?;
                Ok(vec![Content::User(*user, None)])
            }
            Order::DeleteGroup { group } => {
                self.found(by, *group)?;
                Ok(vec![Content::Group(*group, None)])
            }
            Order::RemoveFile { group, file } => {
                self.found(by, *group)?;
                self.listed(*group, *file).ok_or(Refusal::NoSuchFile)?;
                Ok(vec![Content::File(*group, *file, None)])
            }
            Order::ForgetDevice { user, device } => {
                let is_forgotten = |(_, row): (Version, DeviceRow)| !row.on && row.ended.is_some();
                if !self.device(*user, *device).is_some_and(is_forgotten) {
                    return Err(Refusal::NoSuchDevice);
                }
                Ok(vec![self.forgotten(by, *user, *device)?])
            }
            Order::Set { name, value } => {
                if !Settings::is_valid(name, value.as_deref()) {
                    return Err(Refusal::BadSetting);
                }
                Ok(vec![Content::Setting(name.clone(), value.clone())])
            }
        }
    }

    /// Refuses what grows once the network holds as much as it may.
    fn check_room(&self, quotas: &Quotas) -> Result<Quotas, Refusal> {
        let counts = self.counts();
        let has_room = counts.rows < quotas.rows && counts.bytes < quotas.bytes;
        if has_room { Ok(*quotas) } else { Err(Refusal::NetworkFull) }
    }

    fn user(&self, by: &Asking, user: UserId) -> Result<UserRow, Refusal> {
        let (version, row) = self.account(user).ok_or(Refusal::NoSuchUser)?;
        by.saw(version.stamp);
        row.ok_or(Refusal::NoSuchUser)
    }

    /// A live group. The judgement rests on it, its owner, and the asking user's membership.
    fn found(&self, by: &Asking, id: GroupId) -> Result<GroupRow, Refusal> {
        let row = self.live(id).ok_or(Refusal::NoSuchGroup)?;
        let group = self.group_row(id).map(|(version, _)| version);
        let owner = self.owner_row(id).map(|(version, _)| version);
        let own = self.standing(id, by.actor).map(|(version, _)| version);
        [group, owner, own].into_iter().flatten().for_each(|version| by.saw(version.stamp));
        Ok(row)
    }

    fn found_as_member(&self, by: &Asking, id: GroupId) -> Result<GroupRow, Refusal> {
        let row = self.found(by, id)?;
        if self.is_in(id, by.actor) { Ok(row) } else { Err(Refusal::NotMember) }
    }

    fn found_as_owner(&self, by: &Asking, id: GroupId) -> Result<GroupRow, Refusal> {
        let row = self.found(by, id)?;
        if self.owner(id) == Some(by.actor) { Ok(row) } else { Err(Refusal::NotOwner) }
    }

    fn found_with_request(&self, by: &Asking, id: GroupId, user: UserId) -> Result<(), Refusal> {
        self.found_as_owner(by, id)?;
        if self.state(id, user) == MembershipState::Requested {
            Ok(())
        } else {
            Err(Refusal::NoSuchRequest)
        }
    }

    fn saw_file(&self, by: &Asking, group: GroupId, file: FileId) {
        if let Some((version, _)) = self.file_row(group, file) {
            by.saw(version.stamp);
        }
    }

    /// The request that let the asking user in.
    fn admitted_by(&self, by: &Asking, group: GroupId) -> Result<RequestId, Refusal> {
        self.admission(group, by.actor).map(|version| version.request).ok_or(Refusal::NotMember)
    }

    /// A membership row; the end of an earlier membership is carried over.
    fn standing_row(
        &self,
        by: &Asking,
        group: GroupId,
        user: UserId,
        state: MembershipState,
    ) -> Content {
        let before = self.standing(group, user);
        let before = before.map(|(version, row)| {
            by.saw(version.stamp);
            row
        });
        let since = by.stamp();
        let ends = before.is_some_and(|row| row.state == MembershipState::Member)
            && state == MembershipState::None;
        let ended = if ends { Some(since) } else { before.and_then(|row| row.ended) };
        Content::Membership(group, user, MembershipRow { state, since, ended })
    }

    /// Names the owner in the row unless it does so already. An owner by succession who acts
    /// becomes owner by name, so that the one before cannot come back into the place.
    fn settle_owner(&self, contents: &mut Vec<Content>, group: GroupId, user: UserId) {
        if self.owner_row(group).map(|(_, owner)| owner) != Some(user) {
            contents.push(Content::Owner(group, user));
        }
    }
}

impl Asking {
    /// The stamp of what is written, as far as rows have been looked at.
    fn stamp(&self) -> Stamp {
        let seen = self.seen.get();
        self.at.max(seen.next().unwrap_or(seen))
    }

    /// The account that the request makes.
    fn new_user(&self, name: &UserName, hash: &PasswordHash) -> Content {
        let row = UserRow {
            name: name.clone(),
            hash: hash.clone(),
            created: self.stamp(),
            replaced: None,
            must_change: false,
            is_disabled: false,
        };
        Content::User(UserId::derive(name, self.request), Some(row))
    }

    /// The judgement rests on a row with that stamp.
    fn saw(&self, stamp: Stamp) {
        self.seen.set(self.seen.get().max(stamp));
    }
}

/// What a change brings about.
pub(super) fn effect_of(request: RequestId, actor: UserId, change: &Change) -> Effect {
    match change {
        Change::CreateUser { name, .. } | Change::CreateInvitedUser { name, .. } => {
            Effect::User(UserId::derive(name, request))
        }
        Change::CreateGroup { name } => Effect::Group(GroupId::derive(name, actor, request)),
        _ => Effect::Done,
    }
}

fn check_quota(kept: u64, quota: u64, limit: Limit) -> Result<(), Refusal> {
    if kept < quota { Ok(()) } else { Err(Refusal::Quota(limit)) }
}
