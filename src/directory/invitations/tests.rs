//! Who may invite, whom an invitation lets in, and what ends it.

use super::*;
use crate::directory::{Asked, Output, Replica, Ticket};
use crate::types::limits::{
    INVITATION_DAYS_MAX, INVITATION_USES_MAX, INVITATIONS_KEPT_MAX, INVITATIONS_PER_USER_MAX,
};
use crate::types::{
    Change, Effect, InvitationSecret, Limit, Order, Outcome, Part, PasswordHash, RequestStamp,
    Stamp, StoreId, StoreState,
};

const DAY_MS: u64 = 24 * 3600 * 1000;

/// A tracker alone, and a group of nik's.
struct Scene {
    replica: Replica,
    now_ms: u64,
    nik: UserId,
    group: GroupId,
}

impl Scene {
    fn new() -> Self {
        let replica = Replica::new(StoreState::new(StoreId::from_bytes([1; 16])), &[]);
        let group = GroupId::from_bytes([0; 16]);
        let mut scene = Self { replica, now_ms: 1_000_000, nik: UserId::NOBODY, group };
        scene.nik = scene.user("nik");
        let made = scene.ask(scene.nik, Change::CreateGroup { name: "lab".parse().unwrap() });
        let Effect::Group(group) = made.unwrap().effect else { panic!() };
        Self { group, ..scene }
    }

    fn ask(&mut self, actor: UserId, change: Change) -> Outcome {
        self.now_ms += 10;
        let id = RequestId::from_bytes(u128::from(self.now_ms).to_be_bytes());
        let request = RequestStamp { id, at: Stamp::new(self.now_ms, 0) };
        let asked = Asked { actor, request, change, note: String::new() };
        self.replica.submit(self.now_ms, Ticket(1), asked);
        loop {
            match self.replica.poll().expect("an answer") {
                Output::Reply(_, outcome) => return outcome,
                Output::Persist(_) => {}
                other => panic!("{other:?}"),
            }
            self.replica.persisted(self.now_ms);
        }
    }

    fn user(&mut self, name: &str) -> UserId {
        let hash = PasswordHash::from_phc("hash".into());
        let made =
            self.ask(UserId::NOBODY, Change::CreateUser { name: name.parse().unwrap(), hash });
        let Effect::User(user) = made.unwrap().effect else { panic!() };
        user
    }

    fn invite(&mut self, by: UserId, number: u8, uses: u32, days: u32) -> Outcome {
        let (group, invitation) = (self.group, id(number));
        self.ask(by, Change::CreateInvitation { group, invitation, uses, days })
    }

    fn join(&mut self, user: UserId, number: u8) -> Outcome {
        let (group, invitation) = (self.group, id(number));
        self.ask(user, Change::UseInvitation { group, invitation })
    }

    fn join_as(&mut self, name: &str, number: u8) -> Outcome {
        let (group, invitation) = (self.group, id(number));
        let (name, hash) = (name.parse().unwrap(), PasswordHash::from_phc("hash".into()));
        self.ask(UserId::NOBODY, Change::CreateInvitedUser { name, hash, group, invitation })
    }

    fn revoke(&mut self, by: UserId, number: u8) -> Outcome {
        let (group, invitation) = (self.group, id(number));
        self.ask(by, Change::RevokeInvitation { group, invitation })
    }

    fn members_invite(&mut self, by: UserId, members_invite: bool) -> Outcome {
        let (group, settings) = (self.group, GroupSettings { members_invite });
        self.ask(by, Change::SetGroup { group, settings })
    }

    fn remove(&mut self, user: UserId) {
        let group = self.group;
        self.ask(self.nik, Change::RemoveMember { group, user }).unwrap();
    }

    fn directory(&self) -> &Directory {
        self.replica.directory()
    }

    fn is_in(&self, user: UserId) -> bool {
        self.directory().is_member(self.group, user)
    }

    fn listed(&self, user: UserId) -> Vec<u8> {
        let (entries, more) = self.directory().invitations(user, None, usize::MAX);
        assert!(!more);
        entries.iter().map(|entry| entry.invitation.as_bytes()[0]).collect()
    }
}

fn id(number: u8) -> InvitationId {
    InvitationId::from_bytes([number; 16])
}

#[test]
fn an_invitation_lets_in_as_many_as_it_says_and_tells_who_invited() {
    let mut scene = Scene::new();
    let [ann, bob, eve] = ["ann", "bob", "eve"].map(|name| scene.user(name));
    scene.invite(scene.nik, 1, 2, 7).unwrap();
    scene.join(ann, 1).unwrap();
    assert_eq!(scene.join(ann, 1), Err(Refusal::AlreadyMember));
    scene.join(bob, 1).unwrap();
    assert_eq!(scene.join(eve, 1), Err(Refusal::InvitationUsedUp));
    assert_eq!(scene.join(eve, 9), Err(Refusal::NoSuchInvitation));
    assert!(scene.is_in(ann) && scene.is_in(bob) && !scene.is_in(eve));
    assert_eq!(scene.directory().invitation_uses(scene.group, id(1)), 2);
    let members = scene.directory().members(scene.group, None, 10).0;
    let invited: Vec<_> =
        members.iter().map(|m| m.invited_by.as_ref().map(|label| label.as_str())).collect();
    assert_eq!(invited, [None, Some("nik"), Some("nik")]);
    let (entries, _) = scene.directory().invitations(scene.nik, None, 10);
    assert_eq!((entries[0].used, entries[0].uses, entries[0].label.as_str()), (2, 2, "lab"));
    // Who comes back on the owner's word was not invited.
    scene.remove(ann);
    scene.ask(ann, Change::JoinGroup { group: scene.group }).unwrap();
    scene.ask(scene.nik, Change::AcceptRequest { group: scene.group, user: ann }).unwrap();
    assert_eq!(scene.directory().invited_by(scene.group, ann), None);
    assert_eq!(scene.directory().invited_by(scene.group, bob), Some(scene.nik));
}

#[test]
fn an_account_is_made_with_its_membership_or_not_at_all() {
    let mut scene = Scene::new();
    scene.invite(scene.nik, 1, 1, 7).unwrap();
    let mode = |value: &str| {
        let (name, value) = ("accounts".parse().unwrap(), Some(value.to_owned()));
        Change::Operator(Order::Set { name, value })
    };
    scene.ask(UserId::NOBODY, mode("invite")).unwrap();
    let hash = PasswordHash::from_phc("hash".into());
    let alone = Change::CreateUser { name: "ann".parse().unwrap(), hash };
    assert_eq!(scene.ask(UserId::NOBODY, alone), Err(Refusal::AccountsClosed));
    assert_eq!(scene.join_as("nik", 1), Err(Refusal::NameTaken));
    assert_eq!(scene.join_as("ann", 2), Err(Refusal::NoSuchInvitation));
    let Effect::User(ann) = scene.join_as("ann", 1).unwrap().effect else { panic!() };
    assert!(scene.is_in(ann));
    assert_eq!(scene.directory().invited_by(scene.group, ann), Some(scene.nik));
    assert_eq!(scene.directory().usage(ann).memberships, 1);
    assert_eq!(scene.join_as("bob", 1), Err(Refusal::InvitationUsedUp));
    assert_eq!(scene.directory().find_user("bob"), None, "nothing was made");
    scene.invite(scene.nik, 3, 1, 7).unwrap();
    scene.ask(UserId::NOBODY, mode("closed")).unwrap();
    assert_eq!(scene.join_as("bob", 3), Err(Refusal::AccountsClosed));
}

#[test]
fn a_request_is_settled_by_an_invitation() {
    let mut scene = Scene::new();
    let ann = scene.user("ann");
    scene.ask(ann, Change::JoinGroup { group: scene.group }).unwrap();
    scene.invite(scene.nik, 1, 1, 7).unwrap();
    scene.join(ann, 1).unwrap();
    assert!(scene.is_in(ann));
    assert!(scene.directory().requests(scene.group, None, 10).0.is_empty());
}

#[test]
fn the_owner_invites_and_members_if_the_group_lets_them() {
    let mut scene = Scene::new();
    let [ann, bob] = ["ann", "bob"].map(|name| scene.user(name));
    assert_eq!(scene.invite(ann, 1, 1, 7), Err(Refusal::NotMember));
    scene.invite(scene.nik, 1, 1, 7).unwrap();
    scene.join(ann, 1).unwrap();
    assert_eq!(scene.invite(ann, 2, 1, 7), Err(Refusal::MayNotInvite));
    assert_eq!(scene.members_invite(ann, true), Err(Refusal::NotOwner));
    scene.members_invite(scene.nik, true).unwrap();
    assert_eq!(
        scene.directory().group(scene.group, ann).unwrap().settings,
        Some(GroupSettings { members_invite: true })
    );
    scene.invite(ann, 2, 1, 7).unwrap();
    assert_eq!((scene.listed(ann), scene.listed(scene.nik)), (vec![2], vec![1, 2]));
    scene.members_invite(scene.nik, false).unwrap();
    assert_eq!(scene.join(bob, 2), Err(Refusal::InvitationVoid));
    scene.members_invite(scene.nik, true).unwrap();
    scene.join(bob, 2).unwrap();
    assert_eq!(scene.directory().invited_by(scene.group, bob), Some(ann));
    // The group's row is as it was: the name and its maker are another matter.
    assert_eq!(scene.directory().find_group("lab"), Some(scene.group));
}

#[test]
fn bounds_are_kept() {
    let mut scene = Scene::new();
    for (uses, days) in [(0, 7), (INVITATION_USES_MAX + 1, 7), (1, 0), (1, INVITATION_DAYS_MAX + 1)]
    {
        assert_eq!(scene.invite(scene.nik, 1, uses, days), Err(Refusal::BadInvitation));
    }
    let most = INVITATIONS_PER_USER_MAX as u8;
    (0..most).for_each(|number| _ = scene.invite(scene.nik, number, 1, 1).unwrap());
    let full = Err(Refusal::Quota(Limit::Invitations));
    assert_eq!(scene.invite(scene.nik, 250, 1, 1), full);
    scene.revoke(scene.nik, 3).unwrap();
    scene.invite(scene.nik, 250, 1, 1).unwrap();
    assert_eq!(scene.invite(scene.nik, 251, 1, 1), full);
    // Those that have expired make room, a few at a time.
    scene.now_ms += DAY_MS + 1;
    scene.invite(scene.nik, 252, 1, 1).unwrap();
    assert_eq!(scene.listed(scene.nik).len(), usize::from(most) - 4 + 1);
}

#[test]
fn revoked_invitations_are_bounded_until_their_rows_are_deleted() {
    let mut scene = Scene::new();
    let wide = |number: usize| {
        InvitationId::from_bytes(u128::try_from(number + 1000).unwrap().to_be_bytes())
    };
    let group = scene.group;
    let make = |scene: &mut Scene, number| {
        let invitation = wide(number);
        scene.ask(scene.nik, Change::CreateInvitation { group, invitation, uses: 1, days: 1 })
    };
    for number in 0..INVITATIONS_KEPT_MAX {
        make(&mut scene, number).unwrap();
        let revoke = Change::RevokeInvitation { group, invitation: wide(number) };
        scene.ask(scene.nik, revoke).unwrap();
    }
    assert!(scene.listed(scene.nik).is_empty());
    let full = Err(Refusal::Quota(Limit::Invitations));
    assert_eq!(make(&mut scene, INVITATIONS_KEPT_MAX), full);
    let rows: Vec<_> = scene.directory().rows_with(vec![9]).take(1).collect();
    scene.replica.sweep(&rows, 0, false);
    make(&mut scene, INVITATIONS_KEPT_MAX).unwrap();
    assert_eq!(make(&mut scene, INVITATIONS_KEPT_MAX + 1), full);
}

#[test]
fn nobody_makes_the_invitation_of_another_anew() {
    let mut scene = Scene::new();
    scene.invite(scene.nik, 1, 1, 7).unwrap();
    scene.members_invite(scene.nik, true).unwrap();
    let ann = scene.user("ann");
    scene.join(ann, 1).unwrap();
    assert_eq!(scene.invite(ann, 1, 9, 7), Err(Refusal::RequestReused));
    scene.revoke(scene.nik, 1).unwrap();
    assert_eq!(scene.invite(scene.nik, 1, 9, 7), Err(Refusal::RequestReused));
}

#[test]
fn what_ends_an_invitation() {
    let mut scene = Scene::new();
    let [ann, bob, eve] = ["ann", "bob", "eve"].map(|name| scene.user(name));
    scene.members_invite(scene.nik, true).unwrap();
    (1..=2).for_each(|number| _ = scene.invite(scene.nik, number, 9, 7).unwrap());
    scene.join(ann, 1).unwrap();
    (3..=5).for_each(|number| _ = scene.invite(ann, number, 9, 7).unwrap());
    // Revoked, by its maker or the owner, and by nobody else.
    assert_eq!(scene.revoke(ann, 2), Err(Refusal::NotOwner));
    assert_eq!(scene.revoke(eve, 3), Err(Refusal::NotOwner));
    scene.revoke(ann, 3).unwrap();
    scene.revoke(scene.nik, 4).unwrap();
    for number in [3, 4] {
        assert_eq!(scene.join(bob, number), Err(Refusal::InvitationRevoked));
    }
    assert_eq!(scene.revoke(scene.nik, 77), Err(Refusal::NoSuchInvitation));
    scene.revoke(scene.nik, 4).unwrap();
    // The maker was disabled, and let in again.
    let disable = |is_disabled| Change::Operator(Order::DisableUser { user: ann, is_disabled });
    scene.ask(UserId::NOBODY, disable(true)).unwrap();
    assert_eq!(scene.join(bob, 5), Err(Refusal::InvitationVoid));
    scene.ask(UserId::NOBODY, disable(false)).unwrap();
    scene.join(bob, 5).unwrap();
    // The maker has left: what is made from then on counts again, and nothing from before.
    scene.remove(ann);
    assert_eq!(scene.join(eve, 5), Err(Refusal::InvitationVoid));
    scene.invite(scene.nik, 6, 1, 7).unwrap();
    scene.join(ann, 6).unwrap();
    assert_eq!(scene.join(eve, 5), Err(Refusal::InvitationVoid));
    scene.invite(ann, 7, 1, 7).unwrap();
    // The maker's account was deleted.
    scene.ask(ann, Change::DeleteAccount).unwrap();
    assert_eq!(scene.join(eve, 7), Err(Refusal::InvitationVoid));
    // Another name is no matter; the end of the time and of the group is.
    let rename = Change::RenameGroup { group: scene.group, name: "den".parse().unwrap() };
    scene.ask(scene.nik, rename).unwrap();
    let (entries, _) = scene.directory().invitations(scene.nik, None, 9);
    assert!(entries.iter().all(|entry| entry.label.as_str() == "den"));
    scene.invite(scene.nik, 8, 1, 1).unwrap();
    scene.now_ms += DAY_MS - 100;
    scene.join(eve, 8).unwrap();
    scene.now_ms += 200;
    let late = scene.user("late");
    assert_eq!(scene.join(late, 8), Err(Refusal::InvitationExpired));
    assert_eq!(scene.join_as("later", 8), Err(Refusal::InvitationExpired));
    scene.ask(scene.nik, Change::DeleteGroup { group: scene.group }).unwrap();
    assert_eq!(scene.join(late, 2), Err(Refusal::InvitationVoid));
    assert!(scene.listed(scene.nik).is_empty());
}

#[test]
fn the_owner_who_hands_the_group_on_invites_no_more() {
    let mut scene = Scene::new();
    let [ann, bob] = ["ann", "bob"].map(|name| scene.user(name));
    scene.invite(scene.nik, 1, 9, 7).unwrap();
    scene.join(ann, 1).unwrap();
    scene.ask(scene.nik, Change::TransferGroup { group: scene.group, user: ann }).unwrap();
    assert_eq!(scene.join(bob, 1), Err(Refusal::InvitationVoid));
    assert_eq!(scene.listed(ann), [1], "the new owner sees what is open");
    scene.revoke(ann, 1).unwrap();
    assert_eq!(scene.directory().part(scene.group, scene.nik), Part::Member);
}

#[test]
fn a_removal_stands() {
    let mut scene = Scene::new();
    let [ann, bob] = ["ann", "bob"].map(|name| scene.user(name));
    // Both links are known to ann before the removal; one of them was used, and ends with it.
    (1..=2).for_each(|number| _ = scene.invite(scene.nik, number, 9, 7).unwrap());
    scene.join(ann, 1).unwrap();
    scene.remove(ann);
    assert_eq!(scene.join(ann, 1), Err(Refusal::InvitationRevoked));
    assert_eq!(scene.join_as("ann2", 1), Err(Refusal::InvitationRevoked));
    assert_eq!(scene.join(ann, 2), Err(Refusal::InvitationTooOld));
    assert_eq!(scene.directory().invitation_uses(scene.group, id(1)), 1);
    assert_eq!(scene.listed(scene.nik), [2]);
    scene.join(bob, 2).unwrap();
    // Leaving ends no link of the others, nor does the removal of a member who was accepted.
    scene.ask(bob, Change::LeaveGroup { group: scene.group }).unwrap();
    scene.ask(bob, Change::JoinGroup { group: scene.group }).unwrap();
    let accept = Change::AcceptRequest { group: scene.group, user: bob };
    scene.ask(scene.nik, accept).unwrap();
    scene.remove(bob);
    assert_eq!(scene.listed(scene.nik), [2]);
    // A new one means ann.
    scene.invite(scene.nik, 3, 1, 7).unwrap();
    scene.join(ann, 3).unwrap();
}

#[test]
fn quotas_bound_who_comes_by_invitation() {
    let mut scene = Scene::new();
    let [ann, bob] = ["ann", "bob"].map(|name| scene.user(name));
    let set = |name: &str, value: &str| {
        let (name, value) = (name.parse().unwrap(), Some(value.to_owned()));
        Change::Operator(Order::Set { name, value })
    };
    scene.invite(scene.nik, 1, 9, 7).unwrap();
    scene.ask(UserId::NOBODY, set("quota.members", "2")).unwrap();
    scene.join(ann, 1).unwrap();
    assert_eq!(scene.join(bob, 1), Err(Refusal::Quota(Limit::Members)));
    assert_eq!(scene.join_as("eve", 1), Err(Refusal::Quota(Limit::Members)));
    scene.ask(UserId::NOBODY, set("quota.members", "9")).unwrap();
    scene.ask(UserId::NOBODY, set("quota.rows", "1")).unwrap();
    for outcome in [scene.join(bob, 1), scene.join_as("eve", 1), scene.invite(scene.nik, 2, 1, 7)] {
        assert_eq!(outcome, Err(Refusal::NetworkFull));
    }
}

#[test]
fn what_is_old_is_swept_and_leaves_no_entries() {
    let mut scene = Scene::new();
    let ann = scene.user("ann");
    let before = scene.directory().rows().all_entries().clone();
    scene.invite(scene.nik, 1, 9, 7).unwrap();
    scene.invite(scene.nik, 2, 9, 7).unwrap();
    scene.join(ann, 1).unwrap();
    scene.ask(ann, Change::LeaveGroup { group: scene.group }).unwrap();
    let old: Vec<_> = [9, 10]
        .into_iter()
        .flat_map(|kind| scene.directory().rows_with(vec![kind]).collect::<Vec<_>>())
        .collect();
    assert_eq!(old.len(), 3);
    assert!(old.iter().all(|row| row.content.is_tombstone()));
    scene.replica.sweep(&old, 0, false);
    let after = scene.directory().rows().all_entries();
    let is_new = |(key, _): &(&Vec<u8>, &Vec<u8>)| !before.contains_key(*key);
    let left: Vec<u8> = after.iter().filter(is_new).map(|(key, _)| key[0]).collect();
    assert_eq!(left, [super::super::entries::Tag::Ended as u8], "the end of the membership");
    assert_eq!(scene.join(ann, 1), Err(Refusal::NoSuchInvitation));
}

#[test]
fn listings_come_in_pages() {
    let mut scene = Scene::new();
    let mut ids: Vec<u8> = (0..20).collect();
    let first = scene.group;
    for number in 0..10 {
        scene.invite(scene.nik, number, 1, 7).unwrap();
    }
    let made = scene.ask(scene.nik, Change::CreateGroup { name: "den".parse().unwrap() });
    let Effect::Group(second) = made.unwrap().effect else { panic!() };
    scene.group = second;
    for number in 10..20 {
        scene.invite(scene.nik, number, 1, 7).unwrap();
    }
    if second < first {
        ids.rotate_left(10);
    }
    for max in [1, 3, 10, 100] {
        let (mut after, mut read) = (None, Vec::new());
        loop {
            let (entries, more) = scene.directory().invitations(scene.nik, after, max);
            after = entries.last().map(|entry| (entry.group, entry.invitation));
            read.extend(entries.iter().map(|entry| entry.invitation.as_bytes()[0]));
            if !more {
                break;
            }
        }
        assert_eq!(read, ids, "pages of {max}");
    }
}

#[test]
fn the_id_is_the_hash_of_group_and_secret() {
    let secret = InvitationSecret::from_bytes([7; 16]);
    let group = GroupId::from_bytes([2; 16]);
    assert_eq!(secret.id(group).to_string().len(), 32);
}
