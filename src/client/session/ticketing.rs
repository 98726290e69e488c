//! Requests tickets from the trackers in time: for every group in which this device takes part,
//! before a link needs one.
//!
//! **Invariant:** trackers are asked for tickets of those groups only, once at a time, and with a
//! pause after a failed attempt. So a device that dials this one cannot make it ask the trackers.

use std::time::Duration;

use super::Session;
use super::input::{Answer, Ask, Effect, Ends, Now, Order, ReplyTo};
use crate::types::limits::TICKETS_PER_REQUEST_MAX;
use crate::types::{GroupId, Ticket};

/// How long a link waits for a ticket of ours: the other end allows ten seconds for the whole
/// handshake.
pub(crate) const TICKET_TIMEOUT: Duration = Duration::from_secs(3);

impl Session {
    /// Schedules a check if this device lacks a ticket for one of these groups.
    pub(super) fn want_tickets(&mut self, groups: impl IntoIterator<Item = GroupId>, now: Now) {
        if self.tickets.lacks(groups, now.clock_ms) {
            self.tickets.look_now(now.up);
        }
    }

    /// Requests the tickets that are due.
    pub(super) fn ask_for_due_tickets(&mut self, now: Now) {
        let groups = self.library.groups();
        let due = self.tickets.look(&groups, now.clock_ms);
        for part in due.chunks(TICKETS_PER_REQUEST_MAX) {
            self.ask_for_tickets(part, now);
        }
        self.tickets.looked(&groups, now.up, now.clock_ms);
    }

    fn ask_for_tickets(&mut self, groups: &[GroupId], now: Now) {
        let groups = self.tickets.ask(groups);
        if !groups.is_empty() {
            let (passed, deadline) = (Vec::new(), now.up + TICKET_TIMEOUT);
            self.out.push_back(Effect::Ask(Ask::Tickets { groups, passed, deadline }));
        }
    }

    /// A tracker has given tickets, or none has answered. The next tracker is asked for the missing
    /// ones: this one may not know yet that the user is a member.
    pub(super) fn tickets_given(
        &mut self,
        groups: Vec<GroupId>,
        mut passed: Vec<usize>,
        deadline: Duration,
        given: Option<(Vec<Ticket>, usize)>,
        now: Now,
    ) {
        let Some((list, tracker)) = given else { return self.tickets_done(&groups, now) };
        let given = self.tickets.answered(&groups, list, now.clock_ms);
        for ticket in &given.kept {
            self.out.push_back(Effect::Engine(Order::ShowTicket(*ticket)));
            self.serve_waiters(ticket.claims.group, Some(*ticket));
        }
        self.dial_again(&given.fresh);
        if given.left.is_empty() || now.up >= deadline {
            return self.tickets_done(&given.left, now);
        }
        passed.push(tracker);
        let ask = Ask::Tickets { groups: given.left, passed, deadline };
        self.out.push_back(Effect::Ask(ask));
    }

    fn tickets_done(&mut self, left: &[GroupId], now: Now) {
        self.tickets.done(left, now.up);
        left.iter().for_each(|group| self.serve_waiters(*group, None));
        if !left.is_empty() {
            let groups = self.library.groups();
            self.tickets.looked(&groups, now.up, now.clock_ms);
        }
    }

    fn serve_waiters(&mut self, group: GroupId, ticket: Option<Ticket>) {
        let waiting = std::mem::take(&mut self.waiting.tickets);
        let (served, still) = waiting.into_iter().partition(|(wanted, _)| *wanted == group);
        self.waiting.tickets = still;
        for (_, reply) in served {
            self.out.push_back(Effect::Reply(reply, Ok(Answer::Ticket(ticket))));
        }
    }

    /// A link needs our ticket for a group in which this device takes part. Answers with the ticket
    /// at hand, else with one that a tracker gives now.
    pub(super) fn ticket_wanted(&mut self, reply: ReplyTo, group: GroupId, now: Now) {
        let at_hand = self.tickets.own(group, now.clock_ms);
        let is_asked = self.tickets.is_asked(group);
        let takes_part = self.library.user().is_some() && self.library.takes_part(group);
        if !takes_part || at_hand.is_some() || !is_asked && !self.tickets.may_ask(now.up) {
            let ticket = at_hand.filter(|_| takes_part);
            return self.out.push_back(Effect::Reply(reply, Ok(Answer::Ticket(ticket))));
        }
        self.waiting.tickets.push((group, reply));
        if !is_asked {
            self.ask_for_tickets(&[group], now);
        }
    }

    /// Ends the links whose tickets have expired on the trackers' clocks. The engine's own timer
    /// stops while the machine sleeps.
    pub(super) fn end_expired(&mut self, now: Now) {
        self.expired_at = now.up + super::EXPIRED_EVERY;
        self.out.push_back(Effect::Engine(Order::EndLinks(Ends::Expired(now.clock_ms))));
    }

    /// Dials devices that could not be dialled before, because there was no ticket for these
    /// groups.
    fn dial_again(&mut self, groups: &[GroupId]) {
        for info_hash in self.library.running_in(groups) {
            let peers = self.book.peers_in(info_hash, groups);
            if !peers.is_empty() {
                self.out.push_back(Effect::Engine(Order::AddPeers(info_hash, peers)));
            }
        }
    }
}
