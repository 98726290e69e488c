//! How much of what lasts may be made: accounts by an address; groups, requests to join, and all
//! other changes by a user.
//!
//! **Invariant:** no address and no user makes more than its bound at once, nor more than twice
//! that in any hour (of the other changes: no more than [`CHANGES_AT_ONCE`], and
//! [`CHANGES_PER_SECOND`] from then on); what was refused, repeated, or came to nothing, does not
//! count.
//!
//! Called on session threads; nothing blocks. Kept in memory: a restart forgets it, and each
//! tracker counts for itself. What is kept is bounded: see [`Paces`] for what is forgotten first.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::config::TrackerLimits;
use super::pace::{Paces, Rate, Use};
use crate::net::Source;
use crate::types::{Change, UserId};

/// Addresses and users that are counted at a time: some 8 MiB.
const COUNTED_MAX: usize = 65_536;

/// Changes that a user may make at once, and then a second: each of them is kept by every tracker
/// for good, in some hundred bytes. A user who shares all files they have, leaves, and comes back
/// makes tens of thousands at once, and never as many again the next hour; whoever does nothing
/// else fills a few GiB a day, instead of a disk in hours.
const CHANGES_AT_ONCE: u32 = 100_000;
/// See [`CHANGES_AT_ONCE`].
const CHANGES_PER_SECOND: u32 = 50;

/// What is counted, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// Accounts made from an address.
    Account(Source),
    /// Groups made by a user.
    Group(UserId),
    /// Requests to join, invitations and their uses made by a user.
    Request(UserId),
    /// Any other change made by a user.
    Change(UserId),
}

impl Kind {
    /// What a change counts as.
    pub(crate) fn of(source: Source, actor: UserId, change: &Change) -> Self {
        match change {
            Change::CreateUser { .. } | Change::CreateInvitedUser { .. } => Self::Account(source),
            Change::CreateGroup { .. } => Self::Group(actor),
            // What is made for others to see is counted as requests are.
            Change::JoinGroup { .. }
            | Change::CreateInvitation { .. }
            | Change::UseInvitation { .. } => Self::Request(actor),
            _ => Self::Change(actor),
        }
    }
}

/// Counts what is made; shared by all sessions.
#[derive(Debug)]
pub(crate) struct Quota {
    accounts: Option<Rate>,
    groups: Option<Rate>,
    requests: Option<Rate>,
    started: Instant,
    paces: Mutex<Paces<Kind>>,
}

impl Quota {
    /// Counts from nothing.
    pub(crate) fn new(limits: &TrackerLimits) -> Self {
        Self {
            accounts: Rate::per_hour(limits.accounts_per_hour),
            groups: Rate::per_hour(limits.groups_per_hour),
            requests: Rate::per_hour(limits.requests_per_hour),
            started: Instant::now(),
            paces: Mutex::new(Paces::new(COUNTED_MAX)),
        }
    }

    /// Counts one; `None` if it is one too many.
    pub(crate) fn take(&self, kind: Kind) -> Option<Charge<'_>> {
        self.take_at(self.started.elapsed(), kind)
    }

    /// Counts one as of a time after the start.
    pub(crate) fn take_at(&self, now: Duration, kind: Kind) -> Option<Charge<'_>> {
        let rate = match kind {
            Kind::Account(_) => self.accounts,
            Kind::Group(_) => self.groups,
            Kind::Request(_) => self.requests,
            Kind::Change(_) => Some(Rate::per_second(CHANGES_AT_ONCE, CHANGES_PER_SECOND)),
        };
        let Some(rate) = rate else { return Some(Charge(None)) };
        let mut paces = self.paces.lock();
        if !paces.wait(now, kind, rate).is_zero() {
            return None;
        }
        let used = paces.take(now, kind, rate);
        Some(Charge(Some(Taken { quota: self, kind, rate, used })))
    }
}

/// One that was counted. Dropped, it is counted no longer.
#[derive(Debug)]
pub(crate) struct Charge<'a>(Option<Taken<'a>>);

#[derive(Debug)]
struct Taken<'a> {
    quota: &'a Quota,
    kind: Kind,
    rate: Rate,
    used: Use,
}

impl Charge<'_> {
    /// A charge for nothing.
    pub(crate) const FREE: Self = Self(None);

    /// It was made: it counts.
    pub(crate) fn spend(mut self) {
        self.0 = None;
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        if let Some(Taken { quota, kind, rate, used }) = self.0.take() {
            quota.paces.lock().give_back(quota.started.elapsed(), kind, rate, used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{FileId, GroupId};

    fn quota(count: u32) -> Quota {
        Quota::new(&TrackerLimits {
            accounts_per_hour: count,
            groups_per_hour: count,
            requests_per_hour: 0,
            ..Default::default()
        })
    }

    fn user(number: u8) -> UserId {
        UserId::from_bytes([number; 16])
    }

    #[test]
    fn so_many_and_no_more_until_time_has_passed() {
        let quota = quota(3);
        let address = |last: u8| Kind::Account(Source::of([10, 0, 0, last].into()));
        (0..3).for_each(|_| quota.take(address(1)).unwrap().spend());
        assert!(quota.take(address(1)).is_none());
        assert!(quota.take(address(2)).is_some() && quota.take(Kind::Group(user(1))).is_some());
        assert!(quota.take_at(Duration::from_secs(1100), address(1)).is_none());
        quota.take_at(Duration::from_secs(1300), address(1)).unwrap().spend();
        assert!(quota.take_at(Duration::from_secs(1300), address(1)).is_none());
    }

    #[test]
    fn what_came_to_nothing_does_not_count() {
        let quota = quota(2);
        (0..100).for_each(|_| drop(quota.take(Kind::Group(user(1))).unwrap()));
        let _held =
            [quota.take(Kind::Group(user(1))).unwrap(), quota.take(Kind::Group(user(1))).unwrap()];
        assert!(quota.take(Kind::Group(user(1))).is_none(), "what is under way counts");
    }

    #[test]
    fn any_other_change_is_bounded_whatever_the_operator_says() {
        let quota = quota(0);
        let (group, request) = (GroupId::from_bytes([1; 16]), Kind::Change(user(1)));
        let changes = [
            Change::LeaveGroup { group },
            Change::StopShare { group, file: FileId::from_bytes([1; 20]) },
        ];
        changes.iter().for_each(|change| {
            assert_eq!(Kind::of(Source::of([10, 0, 0, 1].into()), user(1), change), request)
        });
        let spend_all =
            |now| std::iter::from_fn(|| quota.take_at(now, request)).map(Charge::spend).count();
        assert_eq!(spend_all(Duration::from_secs(1)), 100_000);
        assert_eq!(spend_all(Duration::from_secs(11)), 500);
        assert!(quota.take_at(Duration::from_secs(11), Kind::Change(user(2))).is_some());
    }

    #[test]
    fn zero_is_no_bound() {
        let quota = quota(0);
        (0..1000).for_each(|_| quota.take(Kind::Group(user(1))).unwrap().spend());
        (0..1000).for_each(|_| quota.take(Kind::Request(user(1))).unwrap().spend());
        assert!(
            quota
                .paces
                .lock()
                .wait(Duration::ZERO, Kind::Group(user(1)), Rate::per_hour(1).unwrap())
                .is_zero()
        );
    }
}
