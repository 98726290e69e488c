//! Tickets: this device's own, by which it proves to others that its user is in a group, and the
//! check of the tickets that others show.
//!
//! **Invariant:** a ticket is valid while the network's key signed it, it names the device at the
//! other end of the connection, it has not expired on the trackers' clock, and no tracker has
//! revoked it. There is one request at a time for each group.
//!
//! **Clocks.** Trackers may be up to [`CLOCK_AHEAD_MAX`] apart, and a ticket carries the time of
//! the tracker that signed it. The check uses the *earliest* of the clocks that agree; a later one
//! would expire the tickets of a slow tracker early. No further leeway is needed: a ticket is
//! renewed at half of its ten minutes, so a shown ticket has minutes left on every clock. The
//! price: where the clocks differ by a minute, the last ticket of a former member is valid for up
//! to a minute longer, if no tracker could report the removal.
//!
//! From the moment when it is shown, no ticket is valid for longer than a ticket's lifetime, for
//! any dates. A ticket dated further ahead than trackers date any ([`AHEAD_MAX_MS`]) is invalid,
//! since no revocation could cover it. Between two messages of a tracker, its clock is extrapolated
//! with a clock of this machine that counts while the machine sleeps.
//!
//! Pure. A clone costs a few pointers. Times are those of [`Now::up`](super::input::Now).

use std::collections::HashSet;
use std::time::Duration;

use imbl::HashMap;

use crate::trust::NetworkPublicKey;
use crate::types::limits::{CLOCK_AHEAD_MAX, TICKET_LIFETIME};
use crate::types::{DeviceId, GroupId, Ticket, TicketClaims, UserId};

/// How long a revocation is kept: longer than any ticket lives, at any difference of the trackers'
/// clocks.
const VOID_KEPT: Duration = Duration::from_secs(2 * TICKET_LIFETIME.as_secs());
/// How much later than now a ticket may be dated, in milliseconds: a removal revokes tickets up to
/// [`CLOCK_AHEAD_MAX`] after it, a readmitted member's is dated later still, and the clock that
/// dated the removal may be twice that span ahead of ours. The rest is the time of a message on its
/// way.
const AHEAD_MAX_MS: u64 = 3 * CLOCK_AHEAD_MAX.as_millis() as u64 + 5_000;
/// A ticket's lifetime, in milliseconds.
const LIFETIME_MS: u64 = TICKET_LIFETIME.as_millis() as u64;
/// Pause before missing tickets are requested again; doubled up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(250);
/// Longest such pause. A tracker that reconnects is asked at once.
const RETRY_MAX: Duration = Duration::from_secs(20);

/// Our own tickets, and the revocations of others'.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tickets {
    /// The session's user and device; `None` without a session.
    holder: Option<(UserId, DeviceId)>,
    own: HashMap<GroupId, Own>,
    /// Groups with a request under way.
    asked: imbl::HashSet<GroupId>,
    /// When to check which tickets are due.
    look_at: Option<Duration>,
    /// Failed requests in a row, and the end of the pause that follows from them.
    failures: u32,
    not_before: Option<Duration>,
    /// Revocations by group (or all) and user: the time of signing up to which tickets are revoked,
    /// and when the tracker said so.
    void: HashMap<(Option<GroupId>, UserId), (u64, Duration)>,
    /// The same for forgotten devices.
    void_devices: HashMap<(UserId, DeviceId), (u64, Duration)>,
}

/// A ticket of ours.
#[derive(Debug, Clone)]
struct Own {
    ticket: Ticket,
    /// Half of the time that was left when it arrived. The next ticket is due when this much is
    /// left.
    half_ms: u64,
}

/// The result of asking a tracker.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Given {
    /// Valid tickets that arrived.
    pub(crate) kept: Vec<Ticket>,
    /// Their groups for which there was no valid ticket before.
    pub(crate) fresh: Vec<GroupId>,
    /// Groups for which no valid ticket arrived: another tracker may have newer rows.
    pub(crate) left: Vec<GroupId>,
}

impl Tickets {
    /// Begins a session of this user on this device.
    pub(crate) fn open(&mut self, user: UserId, device: DeviceId) {
        *self = Self { holder: Some((user, device)), ..Self::default() };
    }

    /// Forgets everything: the session has ended.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Our ticket for a group, if it is still valid. Others refuse a ticket that is dated too far
    /// ahead, as after the clock of the tracker that signed it has been set back.
    pub(crate) fn own(&self, group: GroupId, now_ms: u64) -> Option<Ticket> {
        self.own
            .get(&group)
            .map(|own| own.ticket)
            .filter(|ticket| left_ms(&ticket.claims, now_ms).is_some())
    }

    /// Tells whether a tracker is being asked for that group now.
    pub(crate) fn is_asked(&self, group: GroupId) -> bool {
        self.asked.contains(&group)
    }

    /// Tells whether a request is allowed: the last one succeeded, or its pause is over.
    pub(crate) fn may_ask(&self, now: Duration) -> bool {
        self.not_before.is_none_or(|until| until <= now)
    }

    /// Marks those of the groups that have no request under way, and returns them; none without a
    /// session.
    pub(crate) fn ask(&mut self, groups: &[GroupId]) -> Vec<GroupId> {
        let asked = &mut self.asked;
        groups
            .iter()
            .copied()
            .filter(|group| self.holder.is_some() && asked.insert(*group).is_none())
            .collect()
    }

    /// A tracker has answered for these groups. It signs no ticket for a group in which it does not
    /// know the user as a member. It may lag behind, so the earlier ticket stays until it expires.
    pub(crate) fn answered(
        &mut self,
        groups: &[GroupId],
        tickets: Vec<Ticket>,
        now_ms: u64,
    ) -> Given {
        let mut given = Given::default();
        for ticket in tickets {
            let claims = ticket.claims;
            // A tracker that has not heard of a revocation may sign a ticket that the revocation
            // covers. Others would also refuse a ticket of a tracker whose clock is wrong.
            let ours = self.holder == Some((claims.user, claims.device)) && !self.is_void(&claims);
            let Some(left_ms) = left_ms(&claims, now_ms).filter(|_| ours) else { continue };
            if !groups.contains(&claims.group) || self.asked.remove(&claims.group).is_none() {
                continue;
            }
            if self.own(claims.group, now_ms).is_none() {
                given.fresh.push(claims.group);
            }
            self.own.insert(claims.group, Own { ticket, half_ms: left_ms / 2 });
            given.kept.push(ticket);
        }
        given.left = groups.iter().copied().filter(|group| self.asked.contains(group)).collect();
        given
    }

    /// Ends the request: no more trackers are asked, and none has given a ticket for `left`.
    pub(crate) fn done(&mut self, left: &[GroupId], now: Duration) {
        left.iter().for_each(|group| _ = self.asked.remove(group));
        let pause = RETRY_MIN.saturating_mul(1 << self.failures.min(16)).min(RETRY_MAX);
        (self.failures, self.not_before) =
            if left.is_empty() { (0, None) } else { (self.failures + 1, Some(now + pause)) };
    }

    /// Tickets may be missing and a tracker may answer: checks at once, without a pause.
    pub(crate) fn look_now(&mut self, now: Duration) {
        if self.holder.is_some() {
            (self.failures, self.not_before, self.look_at) = (0, None, Some(now));
        }
    }

    /// When to check which tickets are due.
    pub(crate) fn look_at(&self) -> Option<Duration> {
        self.look_at
    }

    /// Begins a check: returns those of `groups` that need a new ticket, because there is none or
    /// half of its life is over.
    pub(crate) fn look(&mut self, groups: &HashSet<GroupId>, now_ms: u64) -> Vec<GroupId> {
        self.look_at = None;
        groups.iter().copied().filter(|group| self.wait_ms(*group, now_ms) == 0).collect()
    }

    /// Ends a check: schedules the next one for these groups. A check that was requested since
    /// [`Tickets::look`] goes first.
    pub(crate) fn looked(&mut self, groups: &HashSet<GroupId>, now: Duration, now_ms: u64) {
        let wait = |group: &GroupId| Duration::from_millis(self.wait_ms(*group, now_ms));
        let next = groups.iter().map(|group| now + wait(group)).min();
        let next = next.map(|next| next.max(now + RETRY_MIN).max(self.not_before.unwrap_or(now)));
        self.look_at = self.look_at.or(next);
    }

    /// Tells whether one of the groups has no valid ticket.
    pub(crate) fn lacks(&self, groups: impl IntoIterator<Item = GroupId>, now_ms: u64) -> bool {
        groups.into_iter().any(|group| self.own(group, now_ms).is_none())
    }

    /// In how many milliseconds a ticket for that group is due.
    fn wait_ms(&self, group: GroupId, now_ms: u64) -> u64 {
        let own = self.own.get(&group).filter(|own| left_ms(&own.ticket.claims, now_ms).is_some());
        let due_ms = own.map(|own| own.ticket.claims.expires_ms.saturating_sub(own.half_ms));
        due_ms.map_or(0, |due_ms| due_ms.saturating_sub(now_ms))
    }

    /// Forgets our ticket for a group.
    pub(crate) fn drop_group(&mut self, group: GroupId) {
        self.own.remove(&group);
    }

    /// A tracker revokes a user's tickets that were signed until this time, in one group or in all.
    /// Tells whether it revoked one of ours.
    pub(crate) fn void(
        &mut self,
        group: Option<GroupId>,
        user: UserId,
        until_ms: u64,
        now: Duration,
    ) -> bool {
        self.void.retain(|_, (_, said)| now.saturating_sub(*said) < VOID_KEPT);
        let entry = self.void.entry((group, user)).or_insert((until_ms, now));
        *entry = (entry.0.max(until_ms), now);
        if self.holder.is_none_or(|(holder, _)| holder != user) {
            return false;
        }
        let void: Vec<GroupId> = self
            .own
            .values()
            .map(|own| &own.ticket.claims)
            .filter(|claims| self.is_void(claims))
            .map(|claims| claims.group)
            .collect();
        void.iter().for_each(|group| self.drop_group(*group));
        !void.is_empty()
    }

    /// A tracker reports a forgotten device of a user: its tickets that were signed until this time
    /// are revoked.
    pub(crate) fn void_device(
        &mut self,
        user: UserId,
        device: DeviceId,
        until_ms: u64,
        now: Duration,
    ) {
        self.void_devices.retain(|_, (_, said)| now.saturating_sub(*said) < VOID_KEPT);
        let entry = self.void_devices.entry((user, device)).or_insert((until_ms, now));
        *entry = (entry.0.max(until_ms), now);
        if self.holder == Some((user, device)) {
            self.own.retain(|_, own| own.ticket.claims.issued_ms > until_ms);
        }
    }

    /// Drops those of our tickets that none of these keys signed.
    pub(crate) fn keep_signed_by(&mut self, keys: &[NetworkPublicKey]) {
        self.own.retain(|_, own| keys.iter().any(|key| key.signed_ticket(&own.ticket)));
    }

    fn is_void(&self, claims: &TicketClaims) -> bool {
        let void = |group| {
            self.void
                .get(&(group, claims.user))
                .is_some_and(|(until_ms, _)| claims.issued_ms <= *until_ms)
        };
        let of_device = self.void_devices.get(&(claims.user, claims.device));
        void(None)
            || void(Some(claims.group))
            || of_device.is_some_and(|(until_ms, _)| claims.issued_ms <= *until_ms)
    }

    /// Checks a ticket that `device` has shown, except for its signature; `now_ms` is the trackers'
    /// time. Returns for how many milliseconds it is valid.
    pub(crate) fn check(
        &self,
        claims: &TicketClaims,
        device: DeviceId,
        now_ms: u64,
    ) -> Option<u64> {
        let left_ms = left_ms(claims, now_ms)?;
        (claims.device == device && !self.is_void(claims)).then_some(left_ms)
    }
}

/// For how long a ticket is valid from now on: at most a lifetime, and not at all if it is dated
/// further ahead than trackers date any.
fn left_ms(claims: &TicketClaims, now_ms: u64) -> Option<u64> {
    let left_ms = claims.expires_ms.checked_sub(now_ms).filter(|left| *left > 0)?;
    (!is_ahead(claims.issued_ms, now_ms)).then(|| left_ms.min(LIFETIME_MS))
}

/// Tells whether a time of signing is further ahead than trackers date any.
pub(crate) fn is_ahead(issued_ms: u64, now_ms: u64) -> bool {
    issued_ms > now_ms.saturating_add(AHEAD_MAX_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::KeyPair;
    use crate::types::Signature;

    #[test]
    fn our_ticket_that_is_dated_ahead_is_asked_for_again() {
        let key = KeyPair::generate().unwrap();
        let (user, device) = (UserId::from_bytes([1; 16]), DeviceId::from_bytes([2; 32]));
        let group = GroupId::from_bytes([3; 16]);
        let sign = |issued_ms: u64| {
            let expires_ms = issued_ms + LIFETIME_MS;
            key.sign_ticket(TicketClaims { group, user, device, issued_ms, expires_ms })
        };
        let mut tickets = Tickets::default();
        tickets.open(user, device);
        let now_ms = 10 * LIFETIME_MS;
        let groups: HashSet<GroupId> = [group].into();
        let give = |tickets: &mut Tickets, now_ms| {
            tickets.ask(&[group]);
            tickets.answered(&[group], vec![sign(now_ms)], now_ms);
            assert!(
                tickets.own(group, now_ms).is_some() && tickets.look(&groups, now_ms).is_empty()
            );
        };
        give(&mut tickets, now_ms);
        // The tracker's clock is set back by no more than trackers' clocks differ anyway.
        assert!(tickets.own(group, now_ms - AHEAD_MAX_MS).is_some());
        let back_ms = now_ms - AHEAD_MAX_MS - 1;
        assert!(tickets.own(group, back_ms).is_none());
        assert_eq!(tickets.look(&groups, back_ms), [group]);
        give(&mut tickets, back_ms);
    }

    #[test]
    fn a_ticket_counts_while_all_of_it_holds() {
        let key = KeyPair::generate().unwrap();
        let (user, device, group) = (
            UserId::from_bytes([1; 16]),
            DeviceId::from_bytes([2; 32]),
            GroupId::from_bytes([3; 16]),
        );
        let ticket = key.sign_ticket(TicketClaims {
            group,
            user,
            device,
            issued_ms: 1_000,
            expires_ms: 2_000,
        });
        let mut tickets = Tickets::default();
        let check =
            |tickets: &Tickets, device, now| tickets.check(&ticket.claims, device, now).is_some();
        assert!(check(&tickets, device, 1_999));
        assert!(!check(&tickets, device, 2_000), "expired");
        assert!(!check(&tickets, DeviceId::from_bytes([9; 32]), 1_500), "another's");
        tickets.void(Some(GroupId::from_bytes([4; 16])), user, 5_000, NOW);
        tickets.void(Some(group), user, 999, NOW);
        assert!(check(&tickets, device, 1_500), "void are others");
        tickets.void(Some(group), user, 1_000, NOW);
        tickets.void(Some(group), user, 10, NOW);
        assert!(!check(&tickets, device, 1_500), "void");
        let mut tickets = Tickets::default();
        tickets.void(None, user, 1_000, NOW);
        assert!(!check(&tickets, device, 1_500), "void in every group");
    }

    const NOW: Duration = Duration::from_secs(1_000);
    const USER: UserId = UserId::from_bytes([1; 16]);
    const DEVICE: DeviceId = DeviceId::from_bytes([2; 32]);

    fn group(byte: u8) -> GroupId {
        GroupId::from_bytes([byte; 16])
    }

    fn ticket(group: GroupId, issued_ms: u64) -> Ticket {
        let claims = TicketClaims {
            group,
            user: USER,
            device: DEVICE,
            issued_ms,
            expires_ms: issued_ms + 1_000,
        };
        Ticket { claims, signature: Signature::from_bytes([0; 64]) }
    }

    fn opened() -> Tickets {
        let mut tickets = Tickets::default();
        tickets.open(USER, DEVICE);
        tickets
    }

    fn give(tickets: &mut Tickets, group: GroupId, issued_ms: u64) -> Given {
        assert_eq!(tickets.ask(&[group]), [group]);
        answer(tickets, &[group], vec![ticket(group, issued_ms)], issued_ms)
    }

    /// One tracker answers, and no other is asked.
    fn answer(tickets: &mut Tickets, groups: &[GroupId], list: Vec<Ticket>, now_ms: u64) -> Given {
        let given = tickets.answered(groups, list, now_ms);
        tickets.done(&given.left, NOW);
        given
    }

    #[test]
    fn a_ticket_is_due_at_half_of_its_life_and_of_a_group_it_is_asked_once_at_a_time() {
        let (mut tickets, groups) = (opened(), HashSet::from([group(3)]));
        assert!(tickets.lacks([group(3)], 1_000));
        assert_eq!(tickets.look(&groups, 1_000), [group(3)], "there is none");
        assert_eq!(give(&mut tickets, group(3), 1_000).fresh, [group(3)]);
        assert!(tickets.look(&groups, 1_499).is_empty());
        assert_eq!(tickets.look(&groups, 1_500), [group(3)]);
        assert_eq!(tickets.ask(&[group(3)]), [group(3)]);
        assert!(
            tickets.is_asked(group(3)) && tickets.ask(&[group(3)]).is_empty(),
            "somebody asks already"
        );
        let given = answer(&mut tickets, &[group(3)], vec![ticket(group(3), 1_500)], 1_500);
        assert_eq!((given.kept.len(), given.fresh.len()), (1, 0));
        assert!(tickets.own(group(3), 2_499).is_some() && tickets.own(group(3), 2_500).is_none());
    }

    #[test]
    fn a_ticket_that_a_tracker_does_not_renew_is_asked_of_the_next_one_and_stays_until_it_expires()
    {
        let mut tickets = opened();
        give(&mut tickets, group(3), 1_000);
        let now = NOW;
        assert_eq!(tickets.ask(&[group(3), group(4), group(5)]).len(), 3);
        let given =
            tickets.answered(&[group(3), group(4), group(5)], vec![ticket(group(4), 1_500)], 1_500);
        assert_eq!((given.left, given.fresh), (vec![group(3), group(5)], vec![group(4)]));
        assert!(
            tickets.is_asked(group(3)) && !tickets.is_asked(group(4)),
            "another tracker is asked"
        );
        let given = tickets.answered(&[group(3), group(5)], vec![ticket(group(5), 1_500)], 1_500);
        assert_eq!((&given.left[..], &given.fresh[..]), (&[group(3)][..], &[group(5)][..]));
        tickets.done(&given.left, now);
        assert!(
            !tickets.is_asked(group(3)) && !tickets.may_ask(now),
            "it may not have heard of us yet"
        );
        assert!(tickets.may_ask(now + RETRY_MIN));
        assert!(tickets.own(group(3), 1_999).is_some() && tickets.own(group(3), 2_000).is_none());
    }

    #[test]
    fn a_ticket_of_a_tracker_whose_clock_is_wrong_is_asked_of_the_next_one() {
        let (mut tickets, hour) = (opened(), 3_600_000);
        for issued_ms in [9 * hour, 11 * hour] {
            tickets.ask(&[group(3)]);
            let given =
                answer(&mut tickets, &[group(3)], vec![ticket(group(3), issued_ms)], 10 * hour);
            assert_eq!((given.kept.len(), given.left), (0, vec![group(3)]));
        }
        assert_eq!(give(&mut tickets, group(3), 10 * hour).fresh, [group(3)]);
    }

    #[test]
    fn a_ticket_is_renewed_in_time_for_any_first_date() {
        let (mut tickets, groups) = (opened(), HashSet::from([group(3)]));
        // The tracker's clock was set back after it had dated a removal.
        let claims = TicketClaims {
            group: group(3),
            user: USER,
            device: DEVICE,
            issued_ms: 700_000,
            expires_ms: 620_000,
        };
        tickets.ask(&[group(3)]);
        let list = vec![Ticket { claims, signature: Signature::from_bytes([0; 64]) }];
        assert_eq!(answer(&mut tickets, &[group(3)], list, 600_000).kept.len(), 1);
        assert!(tickets.look(&groups, 609_999).is_empty());
        assert_eq!(tickets.look(&groups, 610_000), [group(3)]);
    }

    #[test]
    fn while_no_tracker_answers_the_pause_grows_and_the_ticket_stays() {
        let mut tickets = opened();
        give(&mut tickets, group(3), 1_000);
        let (now, groups) = (NOW, HashSet::from([group(3)]));
        for _ in 0..20 {
            assert_eq!(tickets.look(&groups, 1_600), [group(3)]);
            tickets.ask(&[group(3)]);
            tickets.done(&[group(3)], now);
            tickets.looked(&groups, now, 1_600);
        }
        assert_eq!(tickets.look_at(), Some(now + RETRY_MAX));
        assert!(tickets.own(group(3), 1_999).is_some());
        tickets.look_now(now);
        assert!(tickets.may_ask(now) && tickets.look_at() == Some(now), "a tracker is back");
    }

    #[test]
    fn a_check_that_is_requested_during_a_check_is_kept() {
        let (mut tickets, now, groups) = (opened(), NOW, HashSet::from([group(3)]));
        give(&mut tickets, group(3), 1_000);
        tickets.look(&groups, 1_000);
        tickets.look_now(now);
        tickets.looked(&groups, now, 1_000);
        assert_eq!(tickets.look_at(), Some(now));
        tickets.look(&groups, 1_000);
        tickets.looked(&groups, now, 1_000);
        assert_eq!(tickets.look_at(), Some(now + Duration::from_millis(500)));
    }

    #[test]
    fn our_own_tickets_can_be_void_too_and_are_then_asked_for_again() {
        let mut tickets = opened();
        give(&mut tickets, group(3), 1_000);
        give(&mut tickets, group(4), 1_200);
        assert!(!tickets.void(None, UserId::from_bytes([9; 16]), 5_000, NOW));
        assert!(tickets.void(None, USER, 1_100, NOW));
        assert!(tickets.lacks([group(3)], 1_300) && !tickets.lacks([group(4)], 1_300));
        let given = give(&mut tickets, group(3), 1_050);
        assert_eq!(
            (given.kept.len(), given.left),
            (0, vec![group(3)]),
            "signed by a tracker that has not heard of it"
        );
        assert_eq!(give(&mut tickets, group(3), 1_150).fresh, [group(3)]);
    }

    #[test]
    fn nothing_of_one_session_comes_into_the_next() {
        let mut tickets = opened();
        tickets.ask(&[group(3)]);
        tickets.clear();
        let late = |tickets: &mut Tickets| {
            answer(tickets, &[group(3)], vec![ticket(group(3), 1_000)], 1_000)
        };
        assert_eq!(late(&mut tickets), Given::default());
        tickets.look_now(NOW);
        assert_eq!((tickets.look_at(), tickets.ask(&[group(3)])), (None, Vec::new()));
        tickets.open(UserId::from_bytes([9; 16]), DEVICE);
        tickets.ask(&[group(3)]);
        assert!(late(&mut tickets).kept.is_empty(), "it is another user's");
    }

    #[test]
    fn a_ticket_from_the_future_counts_for_no_longer_than_any_lives_and_not_beyond_what_can_be_void()
     {
        let now_ms = 10_000_000;
        let check = |issued_ms, expires_ms| {
            let claims =
                TicketClaims { group: group(3), user: USER, device: DEVICE, issued_ms, expires_ms };
            opened().check(&claims, DEVICE, now_ms)
        };
        assert_eq!(check(now_ms + 60_000, now_ms + 60_000 + LIFETIME_MS), Some(LIFETIME_MS));
        assert_eq!(check(now_ms, u64::MAX), Some(LIFETIME_MS));
        // The latest date that a tracker gives to a readmitted member, and then somewhat later.
        assert!(check(now_ms + 180_001, now_ms + LIFETIME_MS).is_some());
        assert!(check(now_ms + AHEAD_MAX_MS + 1, now_ms + LIFETIME_MS).is_none());
        // The tracker's clock was set back after it had dated a removal: the ticket expires before
        // its time of signing, and is valid.
        assert_eq!(check(now_ms + 90_000, now_ms + 30_000), Some(30_000));
    }
}
