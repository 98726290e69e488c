//! What the tracker vouches for with the network's key: session tokens and membership tickets.
//!
//! **Invariant:** a token or ticket is signed for the device that proved its key on the connection
//! it goes out on; and one that comes in counts only on a connection whose other end has the key it
//! names.
//!
//! A login rests on what was shown when it began: a token that expires meanwhile does not end it,
//! and its tickets are good for their own ten minutes, since what they prove, the membership, the
//! directory has just confirmed. A connection that is made anew needs a token that has not expired.
//!
//! Called on session threads; the directory's facts come in as arguments. Nothing here blocks. A
//! signature costs some tens of microseconds, so each connection has an [`Allowance`].

use std::time::{Duration, Instant};

use super::clock::wall_ms;
use super::keys::Signer;
use super::shared::Shared;
use crate::types::limits::{TICKET_LIFETIME, TICKETS_PER_REQUEST_MAX, TOKEN_LIFETIME};
use crate::types::{
    DeviceId, GroupId, Refusal, SessionToken, Ticket, TicketClaims, TokenClaims, UserId, Version,
};

/// What a resumption costs: a signature is checked, which takes about twice as long as making one,
/// and one is made.
pub(crate) const RESUME_COST: usize = 3;
/// Signatures at once: what a member of as many groups as one request may name needs, twice.
const SIGNATURES_MAX: u32 = 2 * TICKETS_PER_REQUEST_MAX as u32;
/// On average a signature in this time: a tenth of a per cent of a processor for a connection that
/// asks without a pause, and enough for 5,000 groups.
const SIGNATURE_INTERVAL: Duration = Duration::from_millis(50);

/// How many signatures one connection may still cost.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    /// Up to when the time is spoken for.
    until: Option<Instant>,
}

impl Allowance {
    /// Takes `count` signatures, unless that is more than may be had now.
    pub(crate) fn take(&mut self, now: Instant, count: usize) -> bool {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let until = self.until.map_or(now, |until| until.max(now))
            + SIGNATURE_INTERVAL.saturating_mul(count);
        let fits = until <= now + SIGNATURE_INTERVAL * SIGNATURES_MAX;
        if fits {
            self.until = Some(until);
        }
        fits
    }

    /// Charges for what has been done already: what comes next waits for it.
    pub(crate) fn owe(&mut self, now: Instant, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(SIGNATURES_MAX);
        self.until =
            Some(self.until.map_or(now, |until| until.max(now)) + SIGNATURE_INTERVAL * count);
    }
}

impl Shared {
    /// Signs a token for a user on a device; `password` is the write that set the password which
    /// was proven. It is dated later than what is void of the device.
    pub(crate) fn token(
        &self,
        user: UserId,
        device: DeviceId,
        password: Version,
        void_until_ms: u64,
    ) -> SessionToken {
        let now_ms = wall_ms(self.limits.clock_offset_ms);
        let issued_ms = later_than(void_until_ms, now_ms);
        let expires_ms = now_ms + ms(TOKEN_LIFETIME);
        self.keys.ring().signer().sign_token(TokenClaims {
            user,
            device,
            password,
            issued_ms,
            expires_ms,
        })
    }

    /// Checks that a token is the network's, this device's, and not expired. Whether the password
    /// has changed since, the directory knows.
    ///
    /// # Errors
    /// `SessionOver` if it is not; `Busy` if another tracker may have signed it with a key that
    /// this one has not heard of.
    pub(crate) fn check_token(
        &self,
        token: &SessionToken,
        device: DeviceId,
    ) -> Result<(), Refusal> {
        let live = token.claims.expires_ms > wall_ms(self.limits.clock_offset_ms);
        if !live || token.claims.device != device {
            return Err(Refusal::SessionOver);
        }
        match self.keys.ring().signer_of(token) {
            Signer::Accepted => Ok(()),
            Signer::Void => Err(Refusal::SessionOver),
            Signer::Unknown => Err(Refusal::Busy),
        }
    }

    /// Signs a ticket for a member's device, dated later than what is void, however far apart the
    /// trackers' clocks are. It expires by the clock in any case.
    pub(crate) fn ticket(
        &self,
        group: GroupId,
        user: UserId,
        device: DeviceId,
        void_until_ms: u64,
    ) -> Ticket {
        let now_ms = wall_ms(self.limits.clock_offset_ms);
        let issued_ms = later_than(void_until_ms, now_ms);
        let expires_ms = now_ms + ms(TICKET_LIFETIME);
        self.keys.ring().signer().sign_ticket(TicketClaims {
            group,
            user,
            device,
            issued_ms,
            expires_ms,
        })
    }
}

/// The time of something that is signed now, and is not to be void.
pub(crate) fn later_than(void_until_ms: u64, now_ms: u64) -> u64 {
    match void_until_ms {
        0 => now_ms,
        _ => now_ms.max(void_until_ms.saturating_add(1)),
    }
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_for_one_connection_is_bounded() {
        let (mut allowance, now) = (Allowance::default(), Instant::now());
        assert!(
            allowance.take(now, TICKETS_PER_REQUEST_MAX)
                && allowance.take(now, TICKETS_PER_REQUEST_MAX)
        );
        assert!(!allowance.take(now, 1));
        let later = now + 10 * SIGNATURE_INTERVAL;
        assert!(
            !allowance.take(later, 11) && allowance.take(later, 10) && !allowance.take(later, 1)
        );
        let later = later + Duration::from_secs(3600);
        assert!(!allowance.take(later, usize::MAX), "no sum of counts runs over");
        allowance.owe(later, 10);
        allowance.owe(later, usize::MAX);
        assert!(
            !allowance.take(later + 9 * SIGNATURE_INTERVAL, 1)
                && allowance.take(later + 11 * SIGNATURE_INTERVAL, 1)
        );
    }
}
