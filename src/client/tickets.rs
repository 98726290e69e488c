//! The tickets by which this device proves to others that its user is in a group, and the check of theirs.
//!
//! **Invariant:** a ticket counts while the network's key signed it, it names the device at the other end of the connection, it has not
//! expired on the trackers' clock, and no tracker has said that it is void.
//!
//! Pure but for the clock of this machine; the client keeps it behind a lock.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::swarm::Proof;
use crate::trust::NetworkPublicKey;
use crate::types::limits::TICKET_LIFETIME;
use crate::types::{DeviceId, GroupId, Ticket, UserId};

/// How long it is remembered that tickets are void: longer than any lives, however far apart the trackers' clocks are.
const VOID_KEPT: Duration = Duration::from_secs(2 * TICKET_LIFETIME.as_secs());

/// Our own tickets, and what is known of others'.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    own: HashMap<GroupId, Ticket>,
    /// Until when tickets of a user, in one group or in all, were signed that are void; and when that was said.
    void: HashMap<(Option<GroupId>, UserId), (u64, Instant)>,
}

impl Tickets {
    /// Our ticket for a group, if it is still good.
    pub(crate) fn own(&self, group: GroupId, now_ms: u64) -> Option<Ticket> {
        self.own.get(&group).filter(|ticket| ticket.claims.expires_ms > now_ms).copied()
    }

    /// Takes a ticket of ours.
    pub(crate) fn keep(&mut self, ticket: Ticket) {
        self.own.insert(ticket.claims.group, ticket);
    }

    /// Forgets our ticket for a group.
    pub(crate) fn drop_group(&mut self, group: GroupId) {
        self.own.remove(&group);
    }

    /// The groups whose ticket is past half of its life.
    pub(crate) fn due(&self, now_ms: u64) -> Vec<GroupId> {
        let half = |ticket: &Ticket| ticket.claims.issued_ms.midpoint(ticket.claims.expires_ms);
        self.own.values().filter(|ticket| half(ticket) <= now_ms).map(|ticket| ticket.claims.group).collect()
    }

    /// A tracker says that a user's tickets are void that were signed until then, in one group or in all.
    pub(crate) fn void(&mut self, group: Option<GroupId>, user: UserId, until_ms: u64) {
        let now = Instant::now();
        self.void.retain(|_, (_, said)| now.duration_since(*said) < VOID_KEPT);
        let entry = self.void.entry((group, user)).or_insert((until_ms, now));
        *entry = (entry.0.max(until_ms), now);
    }

    /// Checks a ticket that `device` has shown; `now_ms` is the time on the trackers' clock.
    pub(crate) fn check(&self, ticket: &Ticket, device: DeviceId, network: NetworkPublicKey, now_ms: u64) -> Option<Proof> {
        let claims = &ticket.claims;
        let left_ms = claims.expires_ms.checked_sub(now_ms).filter(|left| *left > 0)?;
        let void = |group| self.void.get(&(group, claims.user)).is_some_and(|(until_ms, _)| claims.issued_ms <= *until_ms);
        if claims.device != device || void(None) || void(Some(claims.group)) || !network.signed_ticket(ticket) {
            return None;
        }
        let expires = Instant::now() + Duration::from_millis(left_ms);
        Some(Proof { group: claims.group, user: claims.user, issued_ms: claims.issued_ms, expires })
    }

    /// Forgets everything: the session has ended.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::KeyPair;
    use crate::types::TicketClaims;

    #[test]
    fn a_ticket_counts_while_all_of_it_holds() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let (user, device, group) = (UserId::from_bytes([1; 16]), DeviceId::from_bytes([2; 32]), GroupId::from_bytes([3; 16]));
        let ticket = key.sign_ticket(TicketClaims { group, user, device, issued_ms: 1_000, expires_ms: 2_000 });
        let mut tickets = Tickets::default();
        let check = |tickets: &Tickets, device, network, now| tickets.check(&ticket, device, network, now).is_some();
        assert!(check(&tickets, device, key.network(), 1_999));
        assert!(!check(&tickets, device, key.network(), 2_000), "expired");
        assert!(!check(&tickets, DeviceId::from_bytes([9; 32]), key.network(), 1_500), "another's");
        assert!(!check(&tickets, device, other.network(), 1_500), "another network's");
        tickets.void(Some(GroupId::from_bytes([4; 16])), user, 5_000);
        tickets.void(Some(group), user, 999);
        assert!(check(&tickets, device, key.network(), 1_500), "void are others");
        tickets.void(Some(group), user, 1_000);
        tickets.void(Some(group), user, 10);
        assert!(!check(&tickets, device, key.network(), 1_500), "void");
        let mut tickets = Tickets::default();
        tickets.void(None, user, 1_000);
        assert!(!check(&tickets, device, key.network(), 1_500), "void in every group");
        tickets.keep(ticket);
        assert_eq!((tickets.due(1_499).len(), tickets.due(1_500).len()), (0, 1));
        assert!(tickets.own(group, 1_999).is_some() && tickets.own(group, 2_000).is_none());
    }
}
