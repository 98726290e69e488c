//! What the tracker vouches for with the network's key: session tokens and membership tickets.
//!
//! **Invariant:** a token or ticket is signed for the device that proved its key on the connection it goes out on; and one that comes in
//! counts only on a connection whose other end has the key it names.
//!
//! Called on session threads; the directory's facts come in as arguments. Nothing here blocks.

use std::time::Duration;

use super::clock::wall_ms;
use super::shared::Shared;
use crate::types::limits::{TICKET_LIFETIME, TOKEN_LIFETIME};
use crate::types::{DeviceId, GroupId, SessionToken, Stamp, Tag, Ticket, TicketClaims, TokenClaims, UserId};

impl Shared {
    /// Signs a token for a user on a device; `password` is the write that set the password which was proven.
    pub(crate) fn token(&self, user: UserId, device: DeviceId, password: Tag) -> SessionToken {
        let issued_ms = wall_ms(self.limits.clock_offset_ms);
        let expires_ms = issued_ms + ms(TOKEN_LIFETIME);
        self.network_key.sign_token(TokenClaims { user, device, password, issued_ms, expires_ms })
    }

    /// Tells whether a token is the network's, this device's, and not expired. Whether the password has changed since, the directory knows.
    pub(crate) fn takes_token(&self, token: &SessionToken, device: DeviceId) -> bool {
        let live = token.claims.expires_ms > wall_ms(self.limits.clock_offset_ms);
        live && token.claims.device == device && self.network_key.network().signed_token(token)
    }

    /// Signs a ticket for a member's device. `since` is when the membership began: a ticket is never older than that, however far apart
    /// the trackers' clocks are.
    pub(crate) fn ticket(&self, group: GroupId, user: UserId, device: DeviceId, since: Stamp) -> Ticket {
        let issued_ms = wall_ms(self.limits.clock_offset_ms).max(since.ms() + 1);
        let expires_ms = issued_ms + ms(TICKET_LIFETIME);
        self.network_key.sign_ticket(TicketClaims { group, user, device, issued_ms, expires_ms })
    }
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}
