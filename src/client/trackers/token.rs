//! The session's token: trackers accept it instead of the password. How it is renewed, and when it
//! is revoked for good.
//!
//! **Invariant:** of two tokens, the one with the newer password is kept. Of two with the same
//! password, the one that expires later is kept, unless its date is ahead of the network's clock.
//! The session is over when a tracker refuses the kept token and no new one is on its way. A
//! tracker whose clock is wrong cannot end a session: if the token has expired for that tracker
//! alone, the client only pauses its logins there.

use std::time::{Duration, Instant};

use log::{debug, warn};

use super::login::{Login, RENEW_RETRY_MIN, Session, lifetime};
use super::state::SetState;
use super::{Need, Shared, TrackerSet};
use crate::client::error::{ClientError, SessionEnd};
use crate::trust::NetworkPublicKey;
use crate::types::{DeviceId, Password, Refusal, SessionToken, UserId};
use crate::wire::tracker::{Reply, Request};

/// Time after a change of the password in which a revoked token is about to be replaced. It equals
/// the limit of a command: a second tracker that was asked may have carried out the change again.
const CHANGE_SETTLES: Duration = Duration::from_secs(10);
/// Longest pause before a renewal when the new token was signed with a key that is not valid here.
const RENEW_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Time limit of one such attempt.
const RENEW_TIMEOUT: Duration = Duration::from_secs(5);

impl TrackerSet {
    /// Why the session is over, if it is and the client has not ended it yet.
    pub(crate) fn is_over(&self) -> Option<SessionEnd> {
        self.shared.state.lock().over
    }

    /// Marks that a revoked token is about to be replaced, until a while after the value is
    /// dropped.
    pub(crate) fn changing_password(&self) -> Changing<'_> {
        self.shared.state.lock().changing_until = Some(Instant::now() + Duration::from_secs(3600));
        Changing(self)
    }

    /// Shows the session's user's password to a tracker again, since the token is revoked; takes
    /// the new token.
    ///
    /// # Errors
    /// Those of [`TrackerSet::call`].
    ///
    /// # Blocking
    /// As [`TrackerSet::call`].
    pub(crate) fn prove_again(&self, password: Password) -> Result<(), ClientError> {
        let Some(session) = self.session() else { return Err(Refusal::LoginFirst.into()) };
        let request = Request::Login { name: session.user.label.clone(), password };
        match self.call(&request, Need::Login(session.generation))? {
            Reply::LoggedIn { user, token, .. } if user.user == session.user.user => {
                self.shared.take_token(&token);
                Ok(())
            }
            _ => Err(Refusal::SessionOver.into()),
        }
    }

    /// The time at which [`TrackerSet::renew`] is due.
    pub(crate) fn renew_due(&self) -> Option<Instant> {
        let state = self.shared.state.lock();
        state.session.as_ref().filter(|_| state.over.is_none()).map(|session| session.renew_at)
    }

    /// Makes a renewal due now: the current token's key may not be valid any more.
    pub(crate) fn renew_soon(&self) {
        if let Some(session) = &mut self.shared.state.lock().session {
            session.renew_at = Instant::now();
        }
    }

    /// Requests a token that expires later. If none comes, the renewal is due again after a pause
    /// that grows.
    ///
    /// # Blocking
    /// For some seconds at most.
    pub(crate) fn renew(&self) {
        let mut pause = RENEW_RETRY_MIN;
        if let Some(session) = &mut self.shared.state.lock().session {
            pause = session.renew_pause;
            let longest = (lifetime(&session.token) / 8).max(RENEW_RETRY_MIN);
            session.renew_at = Instant::now() + session.renew_pause;
            session.renew_pause = (session.renew_pause * 2).min(longest);
        }
        if !self.is_reachable() {
            return;
        }
        match self.patient().call_within(&Request::Renew, Need::Session, RENEW_TIMEOUT) {
            // `answered` has taken the token. A tracker that has not heard of a key rotation signs
            // with a key that is not valid here.
            Ok(_) => {
                let keys = self.shared.options.network.keys();
                if let Some(session) = &mut self.shared.state.lock().session
                    && !keys.iter().any(|key| key.signed_token(&session.token))
                {
                    (session.renew_at, session.renew_pause) =
                        (Instant::now() + pause, (pause * 2).min(RENEW_PAUSE_MAX));
                }
            }
            Err(error) => debug!("the session's token is not renewed yet: {error}"),
        }
    }
}

/// Held while the user's password is being changed.
pub(crate) struct Changing<'a>(&'a TrackerSet);

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.shared.state.lock().changing_until = Some(Instant::now() + CHANGE_SETTLES);
    }
}

impl SetState {
    /// The error for a command whose session, of that generation, has ended; `None` while it is
    /// open.
    pub(super) fn session_error(&self, generation: u64) -> Option<ClientError> {
        match (&self.session, self.over) {
            (Some(session), Some(end)) if session.generation == generation => {
                Some(ClientError::SessionEnded(end))
            }
            (Some(session), None) if session.generation == generation => None,
            _ => Some(Refusal::LoginFirst.into()),
        }
    }

    /// Tracker `index` has refused the session's token with `why`, and no newer token is on its
    /// way. `keys` are the network's. Returns the session's generation if the session is over by
    /// that; `None` if the token has expired by that tracker's wrong clock only.
    pub(super) fn give_up_session(
        &mut self,
        index: usize,
        why: Refusal,
        keys: &[NetworkPublicKey],
    ) -> Option<u64> {
        let session = self.session.as_ref().filter(|_| self.over.is_none())?;
        if why == Refusal::Disabled {
            self.over = Some(SessionEnd::Disabled);
            return Some(session.generation);
        }
        if self.is_forgotten {
            self.over = Some(SessionEnd::DeviceForgotten);
            return Some(session.generation);
        }
        let expired_at = |now_ms: u64| session.token.claims.expires_ms <= now_ms;
        // By the clock of the tracker that refused it.
        let expired = self.links[index].clock.is_some_and(|clock| expired_at(clock.now_ms()));
        if expired && !expired_at(self.now_ms()) {
            warn!(
                "the clock of tracker {} is ahead of the others', so the session has expired there",
                index + 1
            );
            return None;
        }
        let is_signed = keys.iter().any(|key| key.signed_token(&session.token));
        self.over = Some(match (expired, is_signed) {
            (true, _) => SessionEnd::Expired,
            (false, true) => SessionEnd::PasswordChanged,
            (false, false) => SessionEnd::KeyReplaced,
        });
        Some(session.generation)
    }

    pub(super) fn is_changing(&self) -> bool {
        self.changing_until.is_some_and(|until| Instant::now() < until)
    }
}

impl Shared {
    /// A user's device was forgotten. If it is this device, trackers decide by the token whether
    /// the session is over.
    pub(super) fn note_forgotten(&self, user: UserId, device: DeviceId, until_ms: u64) {
        let mut state = self.state.lock();
        let rests_on = |session: &Session| {
            session.user.user == user && session.token.claims.issued_ms <= until_ms
        };
        if device == self.options.security.device() && state.session.as_ref().is_some_and(rests_on)
        {
            state.is_forgotten = true;
        }
    }

    /// Takes a newer token, and shows it to the trackers that refused the earlier one.
    pub(super) fn take_token(&self, token: &SessionToken) {
        let waiting: Vec<(usize, u64)> = {
            let mut state = self.state.lock();
            let now_ms = state.now_ms();
            if !state.session.as_mut().is_some_and(|session| session.take(token, now_ms)) {
                return;
            }
            let live = state
                .links
                .iter_mut()
                .enumerate()
                .filter_map(|(index, link)| Some((index, link.live.as_mut()?)));
            let refused = live.filter(|(_, live)| matches!(live.login, Login::Refused { .. }));
            refused
                .map(|(index, live)| {
                    live.login = Login::No;
                    (index, live.key)
                })
                .collect()
        };
        waiting.into_iter().for_each(|(index, key)| self.login_again(index, key));
        // The renewing thread is not told: at worst it checks once too early.
    }
}
