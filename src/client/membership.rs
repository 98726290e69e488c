//! Our tickets, asked of trackers in time: for every group in which this device takes part, before
//! anybody wants to see one.
//!
//! **Invariant:** trackers are asked for tickets of those groups only, once at a time, and not
//! again at once after an attempt in vain: whoever dials this device makes it ask for nothing.
//!
//! The errands thread renews; link threads that find no ticket wait for it, or ask themselves, for
//! some seconds at most.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use log::debug;

use super::background::Errand;
use super::core::Inner;
use crate::swarm::Proof;
use crate::types::limits::TICKETS_PER_REQUEST_MAX;
use crate::types::{DeviceId, GroupId, SessionToken, Ticket, UserId};
use crate::wire::tracker::{Reply, Request};

/// How long a link waits for a ticket of ours: the other end has ten seconds for the whole
/// handshake.
const TICKET_TIMEOUT: Duration = Duration::from_secs(3);

impl Inner {
    /// Our ticket for a group in which this device takes part: the one at hand, else one that a
    /// tracker gives now.
    ///
    /// # Blocking
    /// For some seconds at most.
    pub(crate) fn own_ticket(&self, group: GroupId) -> Option<Ticket> {
        if !self.library.lock().takes_part(group) {
            return None;
        }
        let deadline = Instant::now() + TICKET_TIMEOUT;
        let mut may_ask = true;
        loop {
            {
                let mut tickets = self.tickets.lock();
                let at_hand = tickets.own(group, self.trackers.clock_ms());
                if at_hand.is_some() {
                    return at_hand;
                }
                if tickets.is_asked(group) {
                    if self.tickets_changed.wait_until(&mut tickets, deadline).timed_out() {
                        return None;
                    }
                    continue;
                }
                if !std::mem::take(&mut may_ask) || !tickets.may_ask(Instant::now()) {
                    return None;
                }
            }
            self.ask_tickets(&[group]);
        }
    }

    /// This device may take part in a group for which it has no ticket yet: the errands thread sees
    /// to it.
    pub(crate) fn want_tickets(&self, groups: impl IntoIterator<Item = GroupId>) {
        let now_ms = self.trackers.clock_ms();
        if self.tickets.lock().lacks(groups, now_ms) {
            self.look_after_tickets();
        }
    }

    /// Has the errands thread look which tickets are due, at once.
    pub(crate) fn look_after_tickets(&self) {
        self.tickets.lock().look_now(Instant::now());
        // With a full queue the thread comes round anyway.
        self.send_errand(Errand::LookAfterTickets);
    }

    /// When the errands thread has something to renew.
    pub(crate) fn renewal_due(&self) -> Option<Instant> {
        let tickets = self.tickets.lock().look_at();
        [tickets, self.trackers.renew_due()].into_iter().flatten().min()
    }

    /// Renews what is due: the session's token, and tickets. Belongs to the errands thread.
    ///
    /// # Blocking
    /// For some seconds at most.
    pub(crate) fn renew(&self) {
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= Instant::now());
        if is_due(self.trackers.renew_due()) {
            self.trackers.renew();
        }
        let look_at = self.tickets.lock().look_at();
        if is_due(look_at) {
            self.renew_tickets();
        }
    }

    fn renew_tickets(&self) {
        let groups = self.library.lock().groups();
        let due = self.tickets.lock().look(&groups, self.trackers.clock_ms());
        due.chunks(TICKETS_PER_REQUEST_MAX).all(|part| self.ask_tickets(part));
        self.tickets.lock().looked(&groups, Instant::now(), self.trackers.clock_ms());
    }

    /// Asks trackers for tickets that nobody asks for yet: the nearest, and the next ones for what
    /// it leaves out, since it may not have heard that the user was let in. False if none answered.
    fn ask_tickets(&self, groups: &[GroupId]) -> bool {
        let mut left = self.tickets.lock().ask(groups);
        if left.is_empty() {
            return true;
        }
        let (deadline, mut passed) = (Instant::now() + TICKET_TIMEOUT, Vec::new());
        while !left.is_empty() {
            let Some((list, tracker)) = self.tickets_of_next(&left, &passed, deadline) else {
                break;
            };
            passed.push(tracker);
            // One of a key that does not count is none: that tracker has not heard yet which does,
            // or this device has not.
            let keys = self.network.keys();
            let list = list
                .into_iter()
                .filter(|ticket| keys.iter().any(|key| key.signed_ticket(ticket)))
                .collect();
            let given = self.tickets.lock().answered(&left, list, self.trackers.clock_ms());
            self.tickets_changed.notify_all();
            if let Some(engine) = self.engine() {
                given.kept.iter().for_each(|ticket| engine.show_ticket(ticket));
            }
            self.dial_again(&given.fresh);
            left = given.left;
        }
        if !left.is_empty() {
            debug!("{} trackers give no tickets for {} groups now", passed.len(), left.len());
        }
        self.tickets.lock().done(&left, Instant::now());
        self.tickets_changed.notify_all();
        !passed.is_empty()
    }

    /// What the nearest tracker answers that was not passed over, and which that is; `None` if
    /// there is none, or none answers in time.
    fn tickets_of_next(
        &self,
        groups: &[GroupId],
        passed: &[usize],
        deadline: Instant,
    ) -> Option<(Vec<Ticket>, usize)> {
        let request = Request::Tickets { groups: groups.to_vec() };
        let timeout = deadline.saturating_duration_since(Instant::now());
        match self.trackers.patient().call_next(&request, passed, timeout)? {
            Ok((Reply::Tickets(list), tracker)) => Some((list, tracker)),
            other => {
                debug!("no tickets for {} groups now: {:?}", groups.len(), other.err());
                None
            }
        }
    }

    /// Ends the links whose tickets have expired by the trackers' clocks. The engine does so by a
    /// clock that stands still while the machine sleeps.
    pub(crate) fn end_expired(&self) {
        let Some(engine) = self.engine() else { return };
        let now_ms = self.trackers.clock_ms();
        engine.end_links(|link| link.proof.expires_ms <= now_ms);
    }

    /// There is a ticket for groups for which there was none: devices that could not be dialled
    /// without are dialled now.
    fn dial_again(&self, groups: &[GroupId]) {
        let Some(engine) = self.engine() else { return };
        for info_hash in self.library.lock().running_in(groups) {
            let peers = self.book.lock().peers_in(info_hash, groups);
            engine.add_peers(info_hash, peers);
        }
    }

    /// Tickets are void, each time those of a user in one group or in all that were signed until
    /// then. That is noted first, so that a link which is being made meanwhile sees it.
    pub(crate) fn void_tickets(&self, voids: &[(Option<GroupId>, UserId, u64)]) {
        let (mut ours, mut latest) = (false, HashMap::new());
        {
            let mut tickets = self.tickets.lock();
            for &(group, user, until_ms) in voids {
                ours |= tickets.void(group, user, until_ms);
                let until = latest.entry((group, user)).or_insert(until_ms);
                *until = until_ms.max(*until);
            }
        }
        if let Some(engine) = self.engine() {
            engine.end_links(|link| {
                let Proof { group, user, issued_ms, .. } = link.proof;
                [Some(group), None].into_iter().any(|group| {
                    latest.get(&(group, user)).is_some_and(|until| issued_ms <= *until)
                })
            });
        }
        if ours {
            self.look_after_tickets();
        }
    }

    /// Ends the links with devices that were forgotten. What they showed is void from now on.
    pub(crate) fn void_devices(&self, voids: &[(UserId, DeviceId, u64)]) {
        {
            let mut tickets = self.tickets.lock();
            voids
                .iter()
                .for_each(|&(user, device, until)| tickets.void_device(user, device, until));
        }
        if let Some(engine) = self.engine() {
            engine.end_links(|link| {
                voids.iter().any(|&(user, device, until_ms)| {
                    link.device == device
                        && link.proof.user == user
                        && link.proof.issued_ms <= until_ms
                })
            });
        }
    }

    /// The user's password was changed from here: the tickets of before are void wherever trackers
    /// say so.
    pub(crate) fn password_changed(&self, token: &SessionToken) {
        let (user, until_ms) = (token.claims.user, token.claims.password.stamp.ms());
        if self.tickets.lock().void(None, user, until_ms) {
            self.look_after_tickets();
        }
    }
}
