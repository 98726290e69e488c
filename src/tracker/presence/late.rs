//! Ends of memberships and passwords that this tracker heard of late: the trackers were apart, and
//! tickets have been signed meanwhile which the time of the end does not make void.
//!
//! **Invariant:** what is void because of a late end is remembered for longer than any ticket
//! lives, so whoever logs in afterwards is told the same as those who were there, and tickets that
//! are signed afterwards are dated later.
//!
//! In memory only: the tickets that another tracker has signed meanwhile that one makes void, and
//! of its own a tracker that was restarted has made void all that it heard of late before.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;

use crate::types::limits::{CLOCK_AHEAD_MAX, TICKET_LIFETIME};
use crate::types::{GroupId, UserId};

/// How long an end is remembered: twice as long as a ticket lives.
const KEPT_MS: u64 = 2 * TICKET_LIFETIME.as_millis() as u64;
const _: () =
    assert!(KEPT_MS >= (TICKET_LIFETIME.as_millis() + 2 * CLOCK_AHEAD_MAX.as_millis()) as u64);
/// Ends remembered: some 10 MiB. Of more, those heard of first are forgotten.
const ENDS_MAX: usize = 65_536;

/// Whose tickets, and in which group; in every group if none is named.
type About = (Option<GroupId>, UserId);

/// What was heard of late, by what it is about.
#[derive(Debug)]
pub(super) struct LateEnds<K = About> {
    /// Up to when tickets are void, and when that was heard.
    until: BTreeMap<K, (u64, u64)>,
    heard: VecDeque<(u64, K)>,
}

impl<K> Default for LateEnds<K> {
    fn default() -> Self {
        Self { until: BTreeMap::new(), heard: VecDeque::new() }
    }
}

impl<K: Copy + Ord + Debug> LateEnds<K> {
    /// Notes that tickets which were signed until now are void.
    pub(super) fn note(&mut self, about: K, now_ms: u64) {
        self.forget(now_ms);
        self.until.insert(about, (now_ms, now_ms));
        self.heard.push_back((now_ms, about));
        if self.heard.len() > ENDS_MAX {
            self.forget_first();
        }
    }

    /// Forgets what no ticket can rest on any more.
    pub(super) fn forget(&mut self, now_ms: u64) {
        while self
            .heard
            .front()
            .is_some_and(|(heard_ms, _)| heard_ms.saturating_add(KEPT_MS) < now_ms)
        {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((heard_ms, about)) = self.heard.pop_front()
            && self.until.get(&about).is_some_and(|&(_, last_ms)| last_ms == heard_ms)
        {
            self.until.remove(&about);
        }
    }

    /// The time up to which tickets are void for an end that is known by itself; 0 if none are.
    pub(super) fn of_key(&self, about: &K) -> u64 {
        self.until.get(about).map_or(0, |&(until_ms, _)| until_ms)
    }

    /// All ends: what they are about, and until when tickets are void.
    pub(super) fn all(&self) -> impl Iterator<Item = (K, u64)> + '_ {
        self.until.iter().map(|(&about, &(until_ms, _))| (about, until_ms))
    }
}

impl LateEnds {
    /// The time up to which tickets of a user for a group are void; 0 if none are.
    pub(super) fn until_ms(&self, group: GroupId, user: UserId) -> u64 {
        let ends = [self.until.get(&(Some(group), user)), self.until.get(&(None, user))];
        ends.into_iter().flatten().map(|&(until_ms, _)| until_ms).max().unwrap_or_default()
    }

    /// The ends of one group, or those of passwords: whose, and until when.
    pub(super) fn of(&self, group: Option<GroupId>) -> impl Iterator<Item = (UserId, u64)> + '_ {
        let all = (group, UserId::from_bytes([0; UserId::LEN]))
            ..=(group, UserId::from_bytes([0xff; UserId::LEN]));
        self.until.range(all).map(|(&(_, user), &(until_ms, _))| (user, until_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_heard_last_counts_and_is_forgotten_when_no_ticket_is_left() {
        let (group, other) = (GroupId::from_bytes([1; 16]), GroupId::from_bytes([2; 16]));
        let user = |number: u8| UserId::from_bytes([number; 16]);
        let mut late = LateEnds::default();
        late.note((Some(group), user(1)), 1_000);
        late.note((None, user(1)), 2_000);
        late.note((Some(group), user(255)), 2_000);
        late.note((Some(group), user(1)), 3_000);
        assert_eq!(
            [
                late.until_ms(group, user(1)),
                late.until_ms(other, user(1)),
                late.until_ms(other, user(255))
            ],
            [3_000, 2_000, 0]
        );
        assert_eq!(
            late.of(Some(group)).collect::<Vec<_>>(),
            [(user(1), 3_000), (user(255), 2_000)]
        );
        assert_eq!(
            (late.of(None).collect::<Vec<_>>(), late.of(Some(other)).count()),
            (vec![(user(1), 2_000)], 0)
        );
        late.forget(KEPT_MS + 2_500);
        assert_eq!(
            (late.until_ms(group, user(1)), late.until.len(), late.heard.len()),
            (3_000, 1, 1)
        );
        late.forget(KEPT_MS + 3_001);
        assert!(late.until.is_empty() && late.heard.is_empty());
        (0..ENDS_MAX as u64 + 10).for_each(|number| {
            late.note((None, UserId::from_bytes(u128::from(number).to_be_bytes())), 1)
        });
        assert_eq!(late.heard.len(), ENDS_MAX);
        assert!(late.until.len() <= ENDS_MAX);
    }
}
