//! Who may change what: a request becomes register writes, or is refused.
//!
//! **Invariant:** judging changes nothing. Rights are checked here, where the request is made, against the directory as it is
//! here; what another tracker has judged is merged as it is (design section 4).

use super::group::Group;
use super::state::Directory;
use crate::types::limits::{OPERATION_WRITES_MAX, SHARES_PER_MEMBER_MAX};
use crate::types::{
    Change, Effect, FileFacts, Geometry, GroupId, GroupName, InfoHash, MembershipState, PasswordHash, Refusal, RequestId, Stamp,
    UserId, UserName, Write,
};

/// What a permitted request does. Without writes there is nothing to do: what was asked for is so already.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) effect: Effect,
    pub(super) writes: Vec<Write>,
}

/// One request being judged: who asks, under which id, at which moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking {
    pub(super) at: Stamp,
    pub(super) actor: UserId,
    pub(super) request: RequestId,
}

type Judgement = Result<Plan, Refusal>;

fn done(writes: Vec<Write>) -> Judgement {
    Ok(Plan { effect: Effect::Done, writes })
}

impl Directory {
    /// Judges one change.
    ///
    /// # Errors
    /// The [`Refusal`] that the client is to read.
    pub(super) fn judge(&self, by: Asking, change: Change) -> Judgement {
        if !matches!(change, Change::CreateUser { .. }) && !self.users.contains_key(&by.actor) {
            return Err(Refusal::LoginFirst);
        }
        match change {
            Change::CreateUser { name, hash } => self.create_user(by, name, hash),
            Change::ChangePassword { hash } => self.change_password(by, hash),
            Change::CreateGroup { name } => self.create_group(by, name),
            Change::JoinGroup { group } => self.join(by, group),
            Change::LeaveGroup { group } => self.leave(by, group),
            Change::AcceptRequest { group, user } => self.accept(by, group, user),
            Change::RejectRequest { group, user } => self.reject(by, group, user),
            Change::RemoveMember { group, user } => self.remove(by, group, user),
            Change::TransferGroup { group, user } => self.transfer(by, group, user),
            Change::ShareFile { group, file } => self.share(by, group, file),
            Change::StopShare { group, info_hash } => self.stop_share(by, group, info_hash),
        }
    }

    fn create_user(&self, by: Asking, name: UserName, hash: PasswordHash) -> Judgement {
        if self.user_names.find(name.as_str()).is_some() {
            return Err(Refusal::NameTaken);
        }
        let user = UserId::derive(&name, by.request);
        Ok(Plan { effect: Effect::User(user), writes: vec![Write::User { user, name, hash, created: by.at }] })
    }

    fn change_password(&self, by: Asking, hash: PasswordHash) -> Judgement {
        let about = &self.users.get(&by.actor).ok_or(Refusal::LoginFirst)?.value;
        done(vec![Write::User { user: by.actor, name: about.name.clone(), hash, created: about.created }])
    }

    fn create_group(&self, by: Asking, name: GroupName) -> Judgement {
        if self.group_names.find(name.as_str()).is_some() {
            return Err(Refusal::NameTaken);
        }
        let group = GroupId::derive(&name, by.actor, by.request);
        let writes = vec![
            Write::Group { group, name, created_by: by.actor, created: by.at },
            by.standing(group, by.actor, MembershipState::Member),
            Write::Owner { group, user: by.actor },
        ];
        Ok(Plan { effect: Effect::Group(group), writes })
    }

    fn join(&self, by: Asking, group: GroupId) -> Judgement {
        match self.found(group)?.state(by.actor) {
            MembershipState::Member => Err(Refusal::AlreadyMember),
            MembershipState::Requested => Err(Refusal::AlreadyRequested),
            MembershipState::None => done(vec![by.standing(group, by.actor, MembershipState::Requested)]),
        }
    }

    /// The owner's place goes to the longest-standing of the others at once, so that a former owner who comes back comes as a
    /// plain member.
    fn leave(&self, by: Asking, group: GroupId) -> Judgement {
        let state = self.found_as_member(by, group)?;
        let mut writes = vec![by.standing(group, by.actor, MembershipState::None)];
        let heir = state.members.iter().map(|&(_, user)| user).find(|&user| user != by.actor);
        if let (true, Some(user)) = (state.owner() == Some(by.actor), heir) {
            writes.push(Write::Owner { group, user });
        }
        end_shares(&mut writes, state, group, by.actor);
        done(writes)
    }

    /// Shares left over from an earlier membership (made on a tracker that had not heard of its end) do not come back with the
    /// new one.
    fn accept(&self, by: Asking, group: GroupId, user: UserId) -> Judgement {
        let state = self.found_with_request(by, group, user)?;
        let mut writes = vec![by.standing(group, user, MembershipState::Member)];
        settle_owner(&mut writes, state, group, by.actor);
        end_shares(&mut writes, state, group, user);
        done(writes)
    }

    fn reject(&self, by: Asking, group: GroupId, user: UserId) -> Judgement {
        let state = self.found_with_request(by, group, user)?;
        let mut writes = vec![by.standing(group, user, MembershipState::None)];
        settle_owner(&mut writes, state, group, by.actor);
        done(writes)
    }

    fn remove(&self, by: Asking, group: GroupId, user: UserId) -> Judgement {
        let state = self.found_as_owner(by, group)?;
        if user == by.actor {
            return Err(Refusal::IsOwner);
        }
        if !state.is_member(user) {
            return Err(Refusal::UserNotMember);
        }
        let mut writes = vec![by.standing(group, user, MembershipState::None)];
        settle_owner(&mut writes, state, group, by.actor);
        end_shares(&mut writes, state, group, user);
        done(writes)
    }

    fn transfer(&self, by: Asking, group: GroupId, user: UserId) -> Judgement {
        let state = self.found_as_owner(by, group)?;
        if !state.is_member(user) {
            return Err(Refusal::UserNotMember);
        }
        let mut writes = Vec::new();
        settle_owner(&mut writes, state, group, user);
        done(writes)
    }

    /// A file that the group has already is described as it is; one that nobody shares any more is described anew.
    fn share(&self, by: Asking, group: GroupId, file: FileFacts) -> Judgement {
        let state = self.found_as_member(by, group)?;
        Geometry::new(file.len, file.piece_len).map_err(|_| Refusal::BadFile)?;
        let known = state.files.get(&file.info_hash);
        if known.is_some_and(|known| known.is_shared_by(by.actor) && known.listed().is_some()) {
            return done(Vec::new());
        }
        if state.shares_of(by.actor).len() >= SHARES_PER_MEMBER_MAX {
            return Err(Refusal::TooManyShares);
        }
        let sharing = Write::Sharing { group, info_hash: file.info_hash, user: by.actor, on: true };
        if known.is_some_and(|known| known.listed().is_some()) {
            return done(vec![sharing]);
        }
        if state.file_names.find(file.name.as_str()).is_some() {
            return Err(Refusal::FileNameTaken);
        }
        done(vec![Write::File { group, file, shared_by: by.actor, at: by.at }, sharing])
    }

    fn stop_share(&self, by: Asking, group: GroupId, info_hash: InfoHash) -> Judgement {
        let state = self.found_as_member(by, group)?;
        if !state.files.get(&info_hash).is_some_and(|file| file.is_shared_by(by.actor)) {
            return Err(Refusal::NotShared);
        }
        done(vec![Write::Sharing { group, info_hash, user: by.actor, on: false }])
    }

    fn found(&self, group: GroupId) -> Result<&Group, Refusal> {
        self.live(group).map(|(state, _)| state).ok_or(Refusal::NoSuchGroup)
    }

    fn found_as_member(&self, by: Asking, group: GroupId) -> Result<&Group, Refusal> {
        let state = self.found(group)?;
        if state.is_member(by.actor) { Ok(state) } else { Err(Refusal::NotMember) }
    }

    fn found_as_owner(&self, by: Asking, group: GroupId) -> Result<&Group, Refusal> {
        let state = self.found(group)?;
        if state.owner() == Some(by.actor) { Ok(state) } else { Err(Refusal::NotOwner) }
    }

    fn found_with_request(&self, by: Asking, group: GroupId, user: UserId) -> Result<&Group, Refusal> {
        let state = self.found_as_owner(by, group)?;
        if state.state(user) == MembershipState::Requested { Ok(state) } else { Err(Refusal::NoSuchRequest) }
    }
}

impl Asking {
    fn standing(self, group: GroupId, user: UserId, state: MembershipState) -> Write {
        Write::Membership { group, user, state, since: self.at }
    }
}

/// Names the owner in the register unless it does so already. An owner by succession who acts becomes owner by name, so that the
/// one before cannot come back into the place.
fn settle_owner(writes: &mut Vec<Write>, state: &Group, group: GroupId, user: UserId) {
    if state.owner.as_ref().map(|register| register.value) != Some(user) {
        writes.push(Write::Owner { group, user });
    }
}

/// Ends every share of the user. Two trackers that were apart may have admitted more than one operation holds; the rest stays out
/// of effect with the membership, and ends with the next operation of this kind.
fn end_shares(writes: &mut Vec<Write>, state: &Group, group: GroupId, user: UserId) {
    let room = OPERATION_WRITES_MAX - writes.len();
    writes.extend(state.shares_of(user).take(room).map(|info_hash| Write::Sharing { group, info_hash, user, on: false }));
}
