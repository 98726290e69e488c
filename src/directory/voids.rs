//! What was proven before and counts no longer: memberships that have ended, and passwords that
//! were replaced.
//!
//! The network's key vouches for a member with tickets, and for a user who knew a password with
//! tokens. Both name a time or a write, and the rows say up to which of them they are void. So any
//! tracker, also one that has just been started, knows it from its rows alone.
//!
//! **Invariant:** what is void stays void: the row of a user who is let in again, or asks to be,
//! says when the earlier membership ended.
//!
//! Tickets carry the time at which a tracker signed them, by its own clock, and the end of a
//! membership the time of another's. An end makes all tickets void that were signed up to
//! [`CLOCK_AHEAD_MAX`] later, and a tracker dates those it signs afterwards beyond that
//! ([`Directory::tickets_void_until_ms`]). Clocks that are further apart can leave a ticket valid
//! until it expires, which is ten minutes at most by the slower clock.

use std::ops::Bound;

use super::entries::{Tag, at, last_user};
use super::rows::{Rows, Scan, end_of};
use super::state::Directory;
use crate::types::limits::CLOCK_AHEAD_MAX;
use crate::types::{GroupId, Stamp, UserId, Version};

/// How much later than its stamp an end makes tickets void, in milliseconds.
const CLOCKS_MS: u64 = CLOCK_AHEAD_MAX.as_millis() as u64;

impl<R: Rows> Directory<R> {
    /// Tells whether what rests on the password that a write set still counts; `None` if there
    /// never was such a user. A write newer than the one known here counts: another tracker has
    /// seen it. So does another copy of the same request: it set the same password.
    pub fn is_password_current(&self, user: UserId, write: Version) -> Option<bool> {
        let (present, row) = self.account(user)?;
        let counts = write >= present || write.request == present.request;
        Some(counts && row.is_some_and(|row| !row.is_disabled))
    }

    /// When a user's password last took the place of another.
    pub fn password_replaced(&self, user: UserId) -> Option<Stamp> {
        self.user_row(user)?.replaced
    }

    /// When a user's membership last ended.
    pub fn membership_ended(&self, group: GroupId, user: UserId) -> Option<Stamp> {
        self.standing(group, user)?.1.ended
    }

    /// The time up to which signed tickets of a user for a group are void, in milliseconds; 0 if
    /// none are. Those of a member that are signed now must be dated later.
    pub fn tickets_void_until_ms(&self, group: GroupId, user: UserId) -> u64 {
        let ends = [self.membership_ended(group, user), self.password_replaced(user)];
        ends.into_iter().flatten().map(void_until_ms).max().unwrap_or_default()
    }

    /// The memberships of a group that have ended since a time, the latest first.
    pub fn ended_since(
        &self,
        group: GroupId,
        since: Stamp,
    ) -> impl Iterator<Item = (Stamp, UserId)> + '_ {
        self.latest_since(Tag::Ended.key(&[group.as_bytes()]), since)
    }

    /// The users whose password took the place of another since a time, the latest first.
    pub fn replaced_since(&self, since: Stamp) -> impl Iterator<Item = (Stamp, UserId)> + '_ {
        self.latest_since(Tag::Replaced.key(&[]), since)
    }

    fn latest_since(
        &self,
        list: Vec<u8>,
        since: Stamp,
    ) -> impl Iterator<Item = (Stamp, UserId)> + '_ {
        self.latest(list, since).filter_map(|(key, _)| last_user(&key))
    }

    /// The entries of a list by time, from that time on, the latest first.
    pub(super) fn latest(&self, list: Vec<u8>, since: Stamp) -> Scan<'_, R> {
        let from = Bound::Included([&list, &at(since)[..]].concat());
        Scan::range(&self.rows, from, end_of(&list)).backwards()
    }
}

/// Up to when an end at that time makes tickets void, in milliseconds.
pub fn void_until_ms(ended: Stamp) -> u64 {
    ended.ms().saturating_add(CLOCKS_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{
        Content, MembershipRow, MembershipState, PasswordHash, Place, RequestId, Row, StoreId,
        UserRow,
    };

    const USER: UserId = UserId::from_bytes([1; 16]);
    const GROUP: GroupId = GroupId::from_bytes([2; 16]);

    fn version(ms: u64, request: u8) -> Version {
        Version { stamp: Stamp::new(ms, 0), request: RequestId::from_bytes([request; 16]) }
    }

    fn heard(rows: &[(Version, Content)]) -> Directory {
        let mut directory: Directory = Directory::default();
        for (sequence, (version, content)) in rows.iter().enumerate() {
            let place =
                Place { store: StoreId::from_bytes([9; 16]), sequence: sequence as u64 + 1 };
            let row =
                Row { content: content.clone(), version: *version, place, extra: Box::default() };
            directory.apply(&row, place.sequence);
        }
        directory
    }

    fn standing(at: Version, state: MembershipState, ended: Option<u64>) -> (Version, Content) {
        let ended = ended.map(|ms| Stamp::new(ms, 0));
        (at, Content::Membership(GROUP, USER, MembershipRow { state, since: at.stamp, ended }))
    }

    fn password(at: Version, replaced: Option<u64>, is_disabled: bool) -> (Version, Content) {
        let row = UserRow {
            name: "nik".parse().unwrap(),
            hash: PasswordHash::from_phc(format!("{:?}", at.request)),
            created: Stamp::new(10, 0),
            replaced: replaced.map(|ms| Stamp::new(ms, 0)),
            must_change: false,
            is_disabled,
        };
        (at, Content::User(USER, Some(row)))
    }

    #[test]
    fn an_end_is_not_forgotten_when_the_user_is_let_in_again() {
        use MembershipState::{Member, None as Out};
        let rows = [
            standing(version(10, 1), Member, None),
            standing(version(20, 2), Out, Some(20)),
            standing(version(40, 3), Member, Some(20)),
        ];
        for count in [2, 3] {
            let directory = heard(&rows[..count]);
            assert_eq!(directory.membership_ended(GROUP, USER), Some(Stamp::new(20, 0)));
            assert_eq!(directory.ended_since(GROUP, Stamp::new(20, 0)).count(), 1);
            assert_eq!(directory.ended_since(GROUP, Stamp::new(21, 0)).count(), 0);
            assert_eq!(directory.tickets_void_until_ms(GROUP, USER), 20 + CLOCKS_MS);
        }
        assert_eq!(
            heard(&[standing(version(5, 1), Out, None)]).tickets_void_until_ms(GROUP, USER),
            0,
            "never in"
        );
    }

    #[test]
    fn a_replaced_password_is_void_and_one_set_twice_by_one_request_is_not() {
        let (first, second) = (version(10, 1), version(20, 2));
        let directory = heard(&[password(first, None, false), password(second, Some(20), false)]);
        let current = |version| directory.is_password_current(USER, version);
        assert_eq!(
            [current(first), current(second), current(version(30, 7))],
            [Some(false), Some(true), Some(true)]
        );
        assert_eq!(current(version(12, 2)), Some(true), "the other copy of the same request");
        assert_eq!(
            directory.replaced_since(second.stamp).collect::<Vec<_>>(),
            [(second.stamp, USER)]
        );
        assert_eq!(directory.is_password_current(UserId::NOBODY, first), None);
        let disabled = heard(&[password(second, Some(20), true)]);
        assert_eq!(disabled.is_password_current(USER, second), Some(false));
        let deleted = heard(&[password(second, None, false), (first, Content::User(USER, None))]);
        assert_eq!(deleted.is_password_current(USER, second), Some(false), "a deletion is final");
    }
}
