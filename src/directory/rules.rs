//! Who may change what: a request becomes rows, or is refused.
//!
//! **Invariant:** judging changes nothing. Rights are checked here, where the request is made, against
//! the directory as it is here; what another tracker has judged is merged as it is. The stamp of what
//! is written is later than that of every row that the judgement rests on. A plan whose stamp is above
//! the request's time is not carried out as a rule: see [`Replica::submit`](super::Replica::submit).

use std::cell::Cell;

use super::group::Group;
use super::requests::effect_of;
use super::settings::{Accounts, Settings};
use super::state::Directory;
use crate::types::{
    Change, Content, Effect, FileFacts, FileId, FileRow, Geometry, GroupId, GroupName, GroupRow, Limit, MembershipRow,
    MembershipState, Order, PasswordHash, Refusal, RequestId, RequestStamp, SharingRow, Stamp, UserId, UserName, UserRow,
};

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

impl Directory {
    /// Judges one change.
    ///
    /// # Errors
    /// The [`Refusal`] that the client is to read.
    pub(super) fn judge(&self, actor: UserId, request: RequestStamp, change: &Change) -> Result<Plan, Refusal> {
        let by = Asking { actor, request: request.id, at: request.at, seen: Cell::new(Stamp::ZERO) };
        let effect = effect_of(request.id, actor, change);
        loop {
            let stamp = by.stamp();
            let contents = self.decide(&by, change)?;
            // Rows that are written without having been looked at count, too.
            contents.iter().filter_map(|content| self.version(&content.key())).for_each(|version| by.saw(version.stamp));
            if by.stamp() == stamp {
                return Ok(Plan { effect, stamp, seen: by.seen.get(), contents });
            }
            // The values hold the stamp: once more, with the one that came out.
        }
    }

    fn decide(&self, by: &Asking, change: &Change) -> Judgement {
        match change {
            Change::CreateUser { .. } | Change::Operator(_) => {}
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
            Change::ReplaceFile { group, file, replaces } => self.share(by, *group, file, Some(*replaces)),
            Change::StopShare { group, file } => self.stop_share(by, *group, *file),
            Change::RemoveFile { group, file } => self.remove_file(by, *group, *file),
            Change::RenameGroup { group, name } => self.rename_group(by, *group, name),
            Change::DeleteGroup { group } => {
                self.found_as_owner(by, *group)?;
                Ok(vec![Content::Group(*group, None)])
            }
            Change::DeleteAccount => Ok(vec![Content::User(by.actor, None)]),
            Change::Operator(order) => self.obey(by, order),
        }
    }

    /// The account must be there, and may have been disabled, or given a one-time password.
    fn check_account(&self, by: &Asking, changes_password: bool) -> Result<(), Refusal> {
        let row = self.users.get(&by.actor).and_then(|register| register.value.as_ref()).ok_or(Refusal::LoginFirst)?;
        if row.is_disabled {
            return Err(Refusal::Disabled);
        }
        if row.must_change && !changes_password {
            return Err(Refusal::MustChangePassword);
        }
        Ok(())
    }

    fn create_user(&self, by: &Asking, name: &UserName, hash: &PasswordHash) -> Judgement {
        if self.settings.accounts != Accounts::Open {
            return Err(Refusal::AccountsClosed);
        }
        self.check_room()?;
        if self.user_names.find(name.as_str()).is_some() {
            return Err(Refusal::NameTaken);
        }
        let row = UserRow {
            name: name.clone(),
            hash: hash.clone(),
            created: by.stamp(),
            replaced: None,
            must_change: false,
            is_disabled: false,
        };
        Ok(vec![Content::User(UserId::derive(name, by.request), Some(row))])
    }

    fn change_password(&self, by: &Asking, hash: &PasswordHash) -> Judgement {
        let row = self.user(by, by.actor)?;
        let row = UserRow { hash: hash.clone(), replaced: Some(by.stamp()), must_change: false, ..row.clone() };
        Ok(vec![Content::User(by.actor, Some(row))])
    }

    fn create_group(&self, by: &Asking, name: &GroupName) -> Judgement {
        if self.group_names.find(name.as_str()).is_some() {
            return Err(Refusal::NameTaken);
        }
        self.check_room()?;
        let owned = self.owned.get(&by.actor).copied().unwrap_or(0);
        check_quota(u64::from(owned), self.settings.quotas.groups, Limit::Groups)?;
        self.check_memberships(by.actor)?;
        let group = GroupId::derive(name, by.actor, by.request);
        let row = GroupRow { name: name.clone(), created_by: by.actor, created: by.stamp() };
        Ok(vec![
            Content::Group(group, Some(row)),
            by.standing(None, group, by.actor, MembershipState::Member),
            Content::Owner(group, by.actor),
        ])
    }

    fn join(&self, by: &Asking, id: GroupId) -> Judgement {
        let group = self.found(by, id)?;
        match group.state(by.actor) {
            MembershipState::Member => return Err(Refusal::AlreadyMember),
            MembershipState::Requested => return Err(Refusal::AlreadyRequested),
            MembershipState::None => {}
        }
        self.check_room()?;
        self.check_memberships(by.actor)?;
        let ties = (group.members.len() + group.requests.len()) as u64;
        check_quota(ties, self.settings.quotas.members, Limit::Members)?;
        Ok(vec![by.standing(Some(group), id, by.actor, MembershipState::Requested)])
    }

    /// The owner's place goes to the longest-standing of the others at once, so that a former owner who
    /// comes back comes as a plain member.
    fn leave(&self, by: &Asking, id: GroupId) -> Judgement {
        let group = self.found_as_member(by, id)?;
        let mut contents = vec![by.standing(Some(group), id, by.actor, MembershipState::None)];
        let heir = group.members.iter().map(|&(_, user)| user).find(|&user| user != by.actor);
        if let (true, Some(user)) = (group.owner() == Some(by.actor), heir) {
            contents.push(Content::Owner(id, user));
        }
        Ok(contents)
    }

    fn accept(&self, by: &Asking, id: GroupId, user: UserId) -> Judgement {
        let group = self.found_with_request(by, id, user)?;
        let mut contents = vec![by.standing(Some(group), id, user, MembershipState::Member)];
        settle_owner(&mut contents, group, id, by.actor);
        Ok(contents)
    }

    fn reject(&self, by: &Asking, id: GroupId, user: UserId) -> Judgement {
        let group = self.found_with_request(by, id, user)?;
        let mut contents = vec![by.standing(Some(group), id, user, MembershipState::None)];
        settle_owner(&mut contents, group, id, by.actor);
        Ok(contents)
    }

    fn remove(&self, by: &Asking, id: GroupId, user: UserId) -> Judgement {
        let group = self.found_as_owner(by, id)?;
        if user == by.actor {
            return Err(Refusal::IsOwner);
        }
        if !group.is_member(user) {
            return Err(Refusal::UserNotMember);
        }
        let mut contents = vec![by.standing(Some(group), id, user, MembershipState::None)];
        settle_owner(&mut contents, group, id, by.actor);
        Ok(contents)
    }

    /// Handing a group to its present owner writes, too: it is later than what this tracker has not
    /// heard of.
    fn transfer(&self, by: &Asking, id: GroupId, user: UserId) -> Judgement {
        let group = self.found_as_owner(by, id)?;
        if !group.is_member(user) {
            return Err(Refusal::UserNotMember);
        }
        Ok(vec![Content::Owner(id, user)])
    }

    /// A file that the group has already keeps its row; one that no member shares any more is described
    /// anew. Sharing what is shared writes, too, as transferring does.
    fn share(&self, by: &Asking, id: GroupId, facts: &FileFacts, replaces: Option<FileId>) -> Judgement {
        let group = self.found_as_member(by, id)?;
        Geometry::new(facts.len, facts.piece_len).map_err(|_| Refusal::BadFile)?;
        let file_id = facts.id();
        let known = group.files.get(&file_id);
        let listed = known.and_then(|file| file.listed());
        if known.is_none_or(|file| !file.is_shared_by(by.actor)) {
            self.check_room()?;
            let shared = self.shared.get(&by.actor).copied().unwrap_or(0);
            check_quota(u64::from(shared), self.settings.quotas.files, Limit::Files)?;
        }
        let mut contents = Vec::new();
        let replaces = replaces.filter(|replaced| *replaced != file_id);
        if let Some(replaced) = replaces
            && let Some(row) = group.files.get(&replaced).and_then(|file| file.listed())
        {
            by.saw_file(group, replaced);
            if row.shared_by != by.actor && group.owner() != Some(by.actor) {
                return Err(Refusal::NotSharer);
            }
            contents.push(Content::File(id, replaced, None));
        }
        if listed.is_none() {
            let name = facts.name.as_str();
            let same_name = group.file_names.bearers_of(name).chain(group.file_names.find(name));
            if same_name.into_iter().any(|other| Some(other) != replaces) {
                return Err(Refusal::FileNameTaken);
            }
            by.saw_file(group, file_id);
            let before = known.and_then(|file| file.about.as_ref());
            let removed = before.and_then(|about| match &about.value {
                Some(row) => row.removed,
                None => Some(about.version.stamp),
            });
            let row = FileRow { facts: facts.clone(), shared_by: by.actor, at: by.stamp(), replaces, removed };
            contents.push(Content::File(id, file_id, Some(row)));
        }
        let admission = by.admission(group)?;
        contents.push(Content::Sharing(id, file_id, by.actor, SharingRow { on: true, admission }));
        Ok(contents)
    }

    fn stop_share(&self, by: &Asking, id: GroupId, file: FileId) -> Judgement {
        let group = self.found_as_member(by, id)?;
        if !group.files.get(&file).is_some_and(|file| file.is_shared_by(by.actor)) {
            return Err(Refusal::NotShared);
        }
        let admission = by.admission(group)?;
        Ok(vec![Content::Sharing(id, file, by.actor, SharingRow { on: false, admission })])
    }

    fn remove_file(&self, by: &Asking, id: GroupId, file: FileId) -> Judgement {
        let group = self.found_as_member(by, id)?;
        let row = group.files.get(&file).and_then(|file| file.listed()).ok_or(Refusal::NoSuchFile)?;
        if row.shared_by != by.actor && group.owner() != Some(by.actor) {
            return Err(Refusal::NotSharer);
        }
        Ok(vec![Content::File(id, file, None)])
    }

    fn rename_group(&self, by: &Asking, id: GroupId, name: &GroupName) -> Judgement {
        let group = self.found_as_owner(by, id)?;
        let row = group.row().ok_or(Refusal::NoSuchGroup)?;
        if row.name != *name && self.group_names.find(name.as_str()).is_some() {
            return Err(Refusal::NameTaken);
        }
        let created = if row.name == *name { row.created } else { by.stamp() };
        Ok(vec![Content::Group(id, Some(GroupRow { name: name.clone(), created, created_by: row.created_by }))])
    }

    fn obey(&self, by: &Asking, order: &Order) -> Judgement {
        match order {
            Order::ResetPassword { user, hash } => {
                let row = self.user(by, *user)?.clone();
                let row = UserRow { hash: hash.clone(), replaced: Some(by.stamp()), must_change: true, ..row };
                Ok(vec![Content::User(*user, Some(row))])
            }
            Order::DisableUser { user, is_disabled } => {
                let row = self.user(by, *user)?.clone();
                // Tickets and tokens from before are void, as after a change of the password.
                let replaced = if *is_disabled { Some(by.stamp()) } else { row.replaced };
                Ok(vec![Content::User(*user, Some(UserRow { is_disabled: *is_disabled, replaced, ..row }))])
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
                let state = self.found(by, *group)?;
                state.files.get(file).and_then(|file| file.listed()).ok_or(Refusal::NoSuchFile)?;
                Ok(vec![Content::File(*group, *file, None)])
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
    fn check_room(&self) -> Result<(), Refusal> {
        let quotas = &self.settings.quotas;
        let has_room = self.row_count < quotas.rows && self.byte_count < quotas.bytes;
        if has_room { Ok(()) } else { Err(Refusal::NetworkFull) }
    }

    fn check_memberships(&self, user: UserId) -> Result<(), Refusal> {
        let ties = self.user_groups.get(&user).map_or(0, |groups| groups.len());
        check_quota(ties as u64, self.settings.quotas.memberships, Limit::Memberships)
    }

    fn user(&self, by: &Asking, user: UserId) -> Result<&UserRow, Refusal> {
        let register = self.users.get(&user).ok_or(Refusal::NoSuchUser)?;
        by.saw(register.version.stamp);
        register.value.as_ref().ok_or(Refusal::NoSuchUser)
    }

    fn found(&self, by: &Asking, id: GroupId) -> Result<&Group, Refusal> {
        let group = self.live(id).ok_or(Refusal::NoSuchGroup)?;
        by.saw_group(group);
        Ok(group)
    }

    fn found_as_member(&self, by: &Asking, id: GroupId) -> Result<&Group, Refusal> {
        let group = self.found(by, id)?;
        if group.is_member(by.actor) { Ok(group) } else { Err(Refusal::NotMember) }
    }

    fn found_as_owner(&self, by: &Asking, id: GroupId) -> Result<&Group, Refusal> {
        let group = self.found(by, id)?;
        if group.owner() == Some(by.actor) { Ok(group) } else { Err(Refusal::NotOwner) }
    }

    fn found_with_request(&self, by: &Asking, id: GroupId, user: UserId) -> Result<&Group, Refusal> {
        let group = self.found_as_owner(by, id)?;
        if group.state(user) == MembershipState::Requested { Ok(group) } else { Err(Refusal::NoSuchRequest) }
    }
}

impl Asking {
    /// The stamp of what is written, as far as rows have been looked at.
    fn stamp(&self) -> Stamp {
        let seen = self.seen.get();
        self.at.max(seen.next().unwrap_or(seen))
    }

    /// The judgement rests on a row with that stamp.
    fn saw(&self, stamp: Stamp) {
        self.seen.set(self.seen.get().max(stamp));
    }

    /// The judgement rests on the group, its owner, and the asking user's membership.
    fn saw_group(&self, group: &Group) {
        let about = group.about.as_ref().map(|register| register.version);
        let owner = group.owner.as_ref().map(|register| register.version);
        let own = group.standings.get(&self.actor).map(|register| register.version);
        [about, owner, own].into_iter().flatten().for_each(|version| self.saw(version.stamp));
    }

    fn saw_file(&self, group: &Group, file: FileId) {
        if let Some(about) = group.files.get(&file).and_then(|file| file.about.as_ref()) {
            self.saw(about.version.stamp);
        }
    }

    fn admission(&self, group: &Group) -> Result<RequestId, Refusal> {
        group.admission(self.actor).map(|version| version.request).ok_or(Refusal::NotMember)
    }

    /// A membership row; the end of an earlier membership is carried over.
    fn standing(&self, group: Option<&Group>, id: GroupId, user: UserId, state: MembershipState) -> Content {
        let before = group.and_then(|group| group.standings.get(&user));
        before.inspect(|register| self.saw(register.version.stamp));
        let since = self.stamp();
        let ends =
            before.is_some_and(|register| register.value.state == MembershipState::Member) && state == MembershipState::None;
        let ended = if ends { Some(since) } else { before.and_then(|register| register.value.ended) };
        Content::Membership(id, user, MembershipRow { state, since, ended })
    }
}

/// Names the owner in the row unless it does so already. An owner by succession who acts becomes owner
/// by name, so that the one before cannot come back into the place.
fn settle_owner(contents: &mut Vec<Content>, group: &Group, id: GroupId, user: UserId) {
    if group.owner.as_ref().map(|register| register.value) != Some(user) {
        contents.push(Content::Owner(id, user));
    }
}

fn check_quota(kept: u64, quota: u64, limit: Limit) -> Result<(), Refusal> {
    if kept < quota { Ok(()) } else { Err(Refusal::Quota(limit)) }
}
