//! The session as it is known here, and how far a connection is with it.

use std::time::{Duration, Instant};

use crate::client::session::tickets::is_ahead;
use crate::types::{Refusal, SessionToken, UserEntry, UserId};

/// Shortest pause between two attempts to renew a token; the longest is an eighth of its life.
pub(super) const RENEW_RETRY_MIN: Duration = Duration::from_millis(200);

/// How far one connection is with the session.
#[derive(Debug, Clone, Copy)]
pub(super) enum Login {
    /// Nobody is logged in there.
    No,
    /// Asked, not answered.
    Asked(u64),
    /// Confirmed.
    In {
        /// Which login.
        generation: u64,
        /// Whom it named.
        user: UserId,
    },
    /// Turned down, or another user was named; to be tried again.
    Refused {
        /// When.
        retry: Instant,
        /// Pause after the next failure.
        pause: Duration,
        /// What the tracker said.
        why: Refusal,
    },
}

impl Login {
    /// A command waits for the session there: a refused login is tried again `after` it was refused,
    /// if that is earlier. Tells whether it is.
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

/// Who is logged in.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) generation: u64,
    /// The user, with the name under which they are shown.
    pub(crate) user: UserEntry,
    /// What every tracker takes instead of the password, from this device alone.
    pub(super) token: SessionToken,
    /// When a token that lasts longer is to be asked for.
    pub(super) renew_at: Instant,
    /// Pause after the next attempt that fails.
    pub(super) renew_pause: Duration,
}

impl Session {
    pub(super) fn new(generation: u64, user: UserEntry, token: SessionToken) -> Self {
        let renew_at = Instant::now() + lifetime(&token) / 2;
        Self { generation, user, token, renew_at, renew_pause: RENEW_RETRY_MIN }
    }

    /// Takes a token that rests on a newer password, or lasts longer; or in the place of one that is
    /// dated ahead of the network's clock, `now_ms`. Tells whether it did.
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

/// How long a token is good for from when it was signed.
pub(super) fn lifetime(token: &SessionToken) -> Duration {
    Duration::from_millis(token.claims.expires_ms.saturating_sub(token.claims.issued_ms))
}
