//! What was proven before and counts no longer: memberships that have ended, and passwords that were replaced.
//!
//! The network's key vouches for a member with tickets, and for whoever knew a password with tokens. Both name a time or a write, and the
//! registers say up to which of them they are void. So any tracker, also one that has just been started, knows it from its operations
//! alone, and all that know the same operations say the same.
//!
//! **Invariant:** what is void never rises from the dead: an end is remembered when its user is let in again, or asks to be.
//!
//! Tickets carry the time at which a tracker signed them, by its own clock, and the end of a membership the time of another's. Two
//! clocks that replicate with each other differ by [`CLOCK_AHEAD_MAX`] at most; so an end makes all tickets void that were signed up to
//! that much later, and a tracker dates those it signs afterwards beyond that ([`Directory::tickets_void_until_ms`]).

use std::collections::{BTreeMap, BTreeSet};

use super::state::Directory;
use crate::types::limits::CLOCK_AHEAD_MAX;
use crate::types::{GroupId, MembershipState, RequestId, Stamp, Tag, UserId};

/// How much later than its stamp an end makes tickets void, in milliseconds.
const CLOCKS_MS: u64 = CLOCK_AHEAD_MAX.as_millis() as u64;

/// The memberships of one group that have ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Ended {
    /// Whoever was let in at some time. Who was only turned down has nothing that could be void.
    let_in: BTreeSet<UserId>,
    /// The latest write that said of a user that they are not in.
    last: BTreeMap<UserId, Stamp>,
    by_time: BTreeSet<(Stamp, UserId)>,
}

impl Ended {
    /// Takes note of a write of a membership register, whether it stays or not.
    pub(super) fn note(&mut self, user: UserId, tag: Tag, state: MembershipState) {
        match state {
            MembershipState::Requested => {}
            MembershipState::Member => {
                self.let_in.insert(user);
            }
            MembershipState::None => {
                let last = self.last.entry(user).or_default();
                if tag.stamp > *last {
                    self.by_time.remove(&(*last, user));
                    self.by_time.insert((tag.stamp, user));
                    *last = tag.stamp;
                }
            }
        }
    }

    fn of(&self, user: UserId) -> Option<Stamp> {
        self.last.get(&user).copied().filter(|_| self.let_in.contains(&user))
    }
}

/// Who set whose password, and when it was replaced.
#[derive(Debug, Clone, Default)]
pub(super) struct Passwords {
    set: BTreeMap<UserId, SetBy>,
    /// The latest time at which a password took the place of another, by user and by time.
    replaced: BTreeMap<UserId, Stamp>,
    by_time: BTreeSet<(Stamp, UserId)>,
}

/// The request that set the present password. Two trackers that both carried it out wrote the same password twice: who has shown it to
/// one of them need not show it again because of the other.
#[derive(Debug, Clone)]
struct SetBy {
    request: RequestId,
    writes: Vec<Tag>,
}

impl Passwords {
    /// Takes note of a write of a user's register: whether it is the one in force now, and whether it replaced a password.
    pub(super) fn note(&mut self, user: UserId, request: RequestId, tag: Tag, in_force: bool, replaces: bool) {
        let anew = || SetBy { request, writes: vec![tag] };
        let set = self.set.entry(user).or_insert_with(anew);
        if set.request == request && !set.writes.contains(&tag) {
            set.writes.push(tag);
        } else if set.request != request && in_force {
            *set = anew();
        }
        if in_force && replaces {
            if let Some(before) = self.replaced.insert(user, tag.stamp) {
                self.by_time.remove(&(before, user));
            }
            self.by_time.insert((tag.stamp, user));
        }
    }
}

impl Directory {
    /// Tells whether what rests on the password that a write set still counts; `None` if there is no such user. A write newer than
    /// those known here counts: another tracker has seen it.
    pub fn is_password_current(&self, user: UserId, write: Tag) -> Option<bool> {
        let present = self.users.get(&user)?.tag;
        Some(write >= present || self.passwords.set.get(&user).is_some_and(|set| set.writes.contains(&write)))
    }

    /// When a user's password last took the place of another.
    pub fn password_replaced(&self, user: UserId) -> Option<Stamp> {
        self.passwords.replaced.get(&user).copied()
    }

    /// When a user's membership last ended.
    pub fn membership_ended(&self, group: GroupId, user: UserId) -> Option<Stamp> {
        self.groups.get(&group)?.ended.of(user)
    }

    /// The time up to which signed tickets of a user for a group are void, in milliseconds; 0 if none are. Those of a member that are
    /// signed now must be dated later.
    pub fn tickets_void_until_ms(&self, group: GroupId, user: UserId) -> u64 {
        let ends = [self.membership_ended(group, user), self.password_replaced(user)];
        ends.into_iter().flatten().map(void_until_ms).max().unwrap_or_default()
    }

    /// The memberships of a group that have ended since a time, the latest first.
    pub fn ended_since(&self, group: GroupId, since: Stamp) -> impl Iterator<Item = (Stamp, UserId)> + '_ {
        let ended = self.groups.get(&group).map(|state| &state.ended).into_iter();
        ended.flat_map(move |ended| {
            ended.by_time.range((since, UserId::NOBODY)..).rev().copied().filter(|(_, user)| ended.let_in.contains(user))
        })
    }

    /// The users whose password took the place of another since a time, the latest first.
    pub fn replaced_since(&self, since: Stamp) -> impl Iterator<Item = (Stamp, UserId)> + '_ {
        self.passwords.by_time.range((since, UserId::NOBODY)..).rev().copied()
    }
}

/// Up to when an end at that time makes tickets void, in milliseconds.
pub fn void_until_ms(ended: Stamp) -> u64 {
    ended.ms().saturating_add(CLOCKS_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Effect, Operation, OriginId, PasswordHash, Write};

    const USER: UserId = UserId::from_bytes([1; 16]);
    const GROUP: GroupId = GroupId::from_bytes([2; 16]);

    fn tag(ms: u64, origin: u8) -> Tag {
        Tag { stamp: Stamp::new(ms, 0), origin: OriginId::from_bytes([origin; 16]) }
    }

    /// A directory that has heard of these writes, in this order.
    fn heard(writes: &[(Tag, u8, Write)]) -> Directory {
        let mut directory = Directory::default();
        for (sequence, (tag, request, write)) in writes.iter().enumerate() {
            directory.apply(&Operation {
                origin: tag.origin,
                sequence: sequence as u64 + 1,
                stamp: tag.stamp,
                request: RequestId::from_bytes([*request; 16]),
                actor: USER,
                effect: Effect::Done,
                writes: vec![write.clone()],
            });
        }
        directory
    }

    fn standing(at: Tag, state: MembershipState) -> (Tag, u8, Write) {
        (at, 0, Write::Membership { group: GROUP, user: USER, state, since: at.stamp })
    }

    fn password(at: Tag, request: u8, created_ms: u64) -> (Tag, u8, Write) {
        let hash = PasswordHash::from_phc(format!("{at:?}"));
        (at, request, Write::User { user: USER, name: "nik".parse().unwrap(), hash, created: Stamp::new(created_ms, 0) })
    }

    #[test]
    fn an_end_is_known_in_whatever_order_it_is_heard_of_and_is_not_forgotten() {
        use MembershipState::{Member, None, Requested};
        let (let_in, out) = (standing(tag(10, 1), Member), standing(tag(20, 2), None));
        for order in [[let_in.clone(), out.clone()], [out.clone(), let_in.clone()]] {
            let directory = heard(&order);
            assert_eq!(directory.membership_ended(GROUP, USER), Some(Stamp::new(20, 0)));
            assert_eq!(directory.ended_since(GROUP, Stamp::new(20, 0)).collect::<Vec<_>>(), [(Stamp::new(20, 0), USER)]);
            assert_eq!(directory.ended_since(GROUP, Stamp::new(21, 0)).count(), 0);
        }
        let asked = standing(tag(30, 1), Requested);
        let again = standing(tag(40, 1), Member);
        let directory = heard(&[let_in, out.clone(), asked.clone(), again]);
        assert_eq!(directory.tickets_void_until_ms(GROUP, USER), 20 + 60_000, "also for a member who was out once");
        let directory = heard(&[asked, standing(tag(50, 1), None)]);
        assert_eq!(directory.tickets_void_until_ms(GROUP, USER), 0, "turned down, never in");
    }

    #[test]
    fn a_replaced_password_is_void_and_one_set_twice_by_one_request_is_not() {
        let (one, two, three, four) = (tag(10, 1), tag(12, 2), tag(20, 1), tag(25, 2));
        // Two trackers made the account, under one request id.
        for order in [[password(one, 7, 10), password(two, 7, 12)], [password(two, 7, 12), password(one, 7, 10)]] {
            let directory = heard(&order);
            assert!([one, two, three].iter().all(|write| directory.is_password_current(USER, *write) == Some(true)));
            assert_eq!(directory.password_replaced(USER), None);
        }
        let directory = heard(&[password(one, 7, 10), password(two, 7, 12), password(three, 8, 10)]);
        assert_eq!(
            [one, two, three].map(|write| directory.is_password_current(USER, write)),
            [Some(false), Some(false), Some(true)]
        );
        assert_eq!(directory.password_replaced(USER), Some(three.stamp));
        // And both changed it, under one request id.
        for order in [[three, four], [four, three]] {
            let directory = heard(&[password(one, 7, 10), password(order[0], 8, 10), password(order[1], 8, 10)]);
            assert_eq!(
                [one, three, four].map(|write| directory.is_password_current(USER, write)),
                [Some(false), Some(true), Some(true)]
            );
            assert_eq!(directory.replaced_since(four.stamp).collect::<Vec<_>>(), [(four.stamp, USER)]);
        }
        assert_eq!(directory.is_password_current(UserId::NOBODY, one), None);
    }
}
