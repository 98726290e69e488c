//! How much of what lasts may be made in an hour: accounts by an address, groups and requests to join by a user.
//!
//! **Invariant:** no address and no user makes more than its bound at once, nor more than twice that in any hour; what was refused, or
//! came to nothing, does not count.
//!
//! Called on session threads; nothing blocks. Kept in memory: a restart forgets it, and each tracker counts for itself. What is kept
//! is bounded: see [`Paces`] for what is forgotten first.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::config::TrackerLimits;
use super::pace::{Paces, Rate, Use};
use crate::net::Source;
use crate::types::{Change, UserId};

/// Addresses and users that are counted at a time: some 8 MiB.
const COUNTED_MAX: usize = 65_536;

/// What is counted, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// Accounts made from an address.
    Account(Source),
    /// Groups made by a user.
    Group(UserId),
    /// Requests to join made by a user.
    Request(UserId),
}

impl Kind {
    /// What a change counts as; `None` for changes that are not counted.
    pub(crate) fn of(source: Source, actor: UserId, change: &Change) -> Option<Self> {
        match change {
            Change::CreateUser { .. } => Some(Self::Account(source)),
            Change::CreateGroup { .. } => Some(Self::Group(actor)),
            Change::JoinGroup { .. } => Some(Self::Request(actor)),
            _ => None,
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

    fn take_at(&self, now: Duration, kind: Kind) -> Option<Charge<'_>> {
        let rate = match kind {
            Kind::Account(_) => self.accounts,
            Kind::Group(_) => self.groups,
            Kind::Request(_) => self.requests,
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
        let _held = [quota.take(Kind::Group(user(1))).unwrap(), quota.take(Kind::Group(user(1))).unwrap()];
        assert!(quota.take(Kind::Group(user(1))).is_none(), "what is under way counts");
    }

    #[test]
    fn zero_is_no_bound() {
        let quota = quota(0);
        (0..1000).for_each(|_| quota.take(Kind::Group(user(1))).unwrap().spend());
        (0..1000).for_each(|_| quota.take(Kind::Request(user(1))).unwrap().spend());
        assert!(quota.paces.lock().wait(Duration::ZERO, Kind::Group(user(1)), Rate::per_hour(1).unwrap()).is_zero());
    }
}
