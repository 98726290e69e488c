//! The current session, and the state of the login on one connection.

use std::time::{Duration, Instant};

use crate::client::session::tickets::is_ahead;
use crate::types::{Refusal, SessionToken, UserEntry, UserId};

/// Shortest pause between two attempts to renew a token; the longest is an eighth of its lifetime.
pub(super) const RENEW_RETRY_MIN: Duration = Duration::from_millis(200);

/// The state of the login on one connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Login {
    /// No user is logged in there.
    No,
    /// A login of that generation was sent.
    Asked(u64),
    /// The tracker has confirmed it.
    In {
        /// The login's generation.
        generation: u64,
        /// The user that the tracker named.
        user: UserId,
    },
    /// The tracker has refused it, or has named another user. It is tried again.
    Refused {
        /// When.
        retry: Instant,
        /// Pause after the next failure.
        pause: Duration,
        /// The tracker's refusal.
        why: Refusal,
    },
}

impl Login {
    /// A command waits for the session there: makes a refused login due `after` its refusal, if
    /// that is earlier. Tells whether it is.
    pub(super) fn retry_soon(&mut self, after: Duration) -> bool {
        match self {
            Self::Refused { retry, pause, .. } if *pause > after => {
                *retry -= *pause - after;
                *pause = after;
                true
            }
            _ => false,
        }
    }

    pub(super) fn is_for(&self, session: &Session) -> bool {
        matches!(self, Self::In { generation, user } if *generation == session.generation && *user == session.user.user)
    }
}

/// The logged-in user and the token.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) generation: u64,
    /// The user, with the display name.
    pub(crate) user: UserEntry,
    /// All trackers accept it instead of the password, from this device only.
    pub(super) token: SessionToken,
    /// When a renewal is due.
    pub(super) renew_at: Instant,
    /// Pause after the next attempt that fails.
    pub(super) renew_pause: Duration,
}

impl Session {
    pub(super) fn new(generation: u64, user: UserEntry, token: SessionToken) -> Self {
        let renew_at = Instant::now() + lifetime(&token) / 2;
        Self { generation, user, token, renew_at, renew_pause: RENEW_RETRY_MIN }
    }

    /// Takes a token with a newer password or a later expiry, or in place of one that is dated
    /// ahead of the network's clock, `now_ms`. Tells whether it did.
    pub(super) fn take(&mut self, token: &SessionToken, now_ms: u64) -> bool {
        let rank = |token: &SessionToken| {
            let claims = &token.claims;
            (claims.password, !is_ahead(claims.issued_ms, now_ms), claims.expires_ms)
        };
        let better = token.claims.user == self.user.user && rank(token) > rank(&self.token);
        if better {
            *self = Self::new(self.generation, self.user.clone(), token.clone());
        }
        better
    }
}

/// How long a token is valid after its signing.
pub(super) fn lifetime(token: &SessionToken) -> Duration {
    Duration::from_millis(token.claims.expires_ms.saturating_sub(token.claims.issued_ms))
}
