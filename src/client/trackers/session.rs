//! The user's session, which every tracker confirms separately.
//!
//! **Invariant:** the password goes to one tracker, once. Its token is kept in memory only, and is
//! shown to the other trackers. A confirmation counts only for its login (by generation) and its
//! user.

use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use log::{debug, warn};

use super::clock::TrackerClock;
use super::login::{Login, Session};
use super::stamps::told_by;
use super::state::{Answer, Live, Pending, SetState};
use super::{News, Shared, TrackerSet};
use crate::types::{Refusal, SessionToken, UserEntry};
use crate::wire::tracker::{Reply, Request};

/// Pause before a login that a tracker refused is tried there again: the tracker may not know the
/// account yet.
const RETRY_MIN: Duration = Duration::from_millis(200);
/// Longest such pause.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// How long a logout waits for the trackers; it ends here in any case.
const LOGOUT_TIMEOUT: Duration = Duration::from_secs(1);

impl TrackerSet {
    /// The current session.
    pub(crate) fn session(&self) -> Option<Session> {
        self.shared.state.lock().session.clone()
    }

    /// Logs in again at every tracker with the token, and announces everything there.
    pub(crate) fn enter_again(&self) {
        let connected: Vec<(usize, u64)> = {
            let state = self.shared.state.lock();
            state
                .links
                .iter()
                .enumerate()
                .filter_map(|(i, link)| link.live.as_ref().map(|live| (i, live.key)))
                .collect()
        };
        connected.into_iter().for_each(|(index, key)| self.shared.session_lost(index, key));
    }

    /// Starts a generation of logins; answers to earlier ones are dropped.
    pub(super) fn next_generation(&self) -> u64 {
        let mut state = self.shared.state.lock();
        state.generation += 1;
        state.generation
    }

    /// Makes `user` the session, and logs in on every other tracker.
    pub(super) fn establish(&self, generation: u64, user: UserEntry, token: SessionToken) {
        let mut state = self.shared.state.lock();
        (state.session, state.over) = (Some(Session::new(generation, user, token)), None);
        state.is_forgotten = false;
        let connected: Vec<_> = state
            .links
            .iter()
            .enumerate()
            .filter_map(|(i, link)| link.live.as_ref().map(|live| (i, live.key)))
            .collect();
        drop(state);
        for (index, key) in connected {
            self.shared.login_again(index, key);
            self.shared.joined(index, key);
        }
        self.shared.changed.notify_all();
    }

    /// Ends the session at every tracker. Trackers that cannot be reached see the connection end.
    ///
    /// # Blocking
    /// For at most a second.
    pub(crate) fn logout(&self) {
        let (sender, answers) = crossbeam_channel::unbounded();
        self.shared.state.lock().end_session(&|| Pending::Call(sender.clone()));
        drop(sender);
        let deadline = Instant::now() + LOGOUT_TIMEOUT;
        while answers.recv_deadline(deadline).is_ok() {}
    }
}

impl SetState {
    /// Ends the session, or the login that is under way. A tracker handles requests in order, so
    /// one that has not answered the login yet receives the logout after it.
    pub(super) fn end_session(&mut self, pending: &dyn Fn() -> Pending) {
        (self.session, self.over, self.changing_until) = (None, None, None);
        self.is_forgotten = false;
        self.generation += 1;
        self.announced.clear();
        for live in self.links.iter_mut().filter_map(|link| link.live.as_mut()) {
            live.unannounced.clear();
            if !matches!(live.login, Login::No) {
                live.send(Request::Logout, pending());
                live.login = Login::No;
            }
        }
    }
}

impl Shared {
    /// Shows the session's token on a connection that has not confirmed it and has no login under
    /// way.
    pub(super) fn login_again(&self, index: usize, key: u64) {
        let mut state = self.state.lock();
        if state.over.is_some() {
            return;
        }
        let Some(session) = state.session.clone() else { return };
        let Some(live) = state.live(index, key) else { return };
        let due = match live.login {
            Login::No => true,
            Login::Asked(generation) | Login::In { generation, .. } => {
                generation != session.generation
            }
            Login::Refused { retry, .. } => retry <= Instant::now(),
        };
        let request = || Request::Resume { token: session.token.clone() };
        let pending = Pending::Login {
            generation: session.generation,
            token: Some(session.token.clone()),
            caller: None,
        };
        if due && live.send(request(), pending) {
            // Keeps a pause that has grown, for the next failure.
            if let Login::Refused { retry, pause, .. } = &mut live.login {
                *retry = Instant::now() + *pause;
            } else {
                live.login = Login::Asked(session.generation);
            }
        }
    }

    /// A tracker has ended or forgotten the session that it had confirmed: logs in there again.
    pub(super) fn session_lost(&self, index: usize, key: u64) {
        if let Some(live) = self.state.lock().live(index, key) {
            (live.login, live.announced_for) = (Login::No, 0);
        }
        self.login_again(index, key);
    }

    /// When a refused login is due again.
    pub(super) fn login_due(&self, index: usize, key: u64) -> Option<Instant> {
        let mut state = self.state.lock();
        state.session.as_ref().filter(|_| state.over.is_none())?;
        match state.live(index, key)?.login {
            Login::Refused { retry, .. } => Some(retry),
            _ => None,
        }
    }

    /// Takes a tracker's reply: notes its clock and stamps, and passes it to the caller.
    pub(super) fn answered(
        &self,
        (index, key): (usize, u64),
        number: u32,
        clock_ms: u64,
        reply: Reply,
    ) {
        let mut state = self.state.lock();
        if state.live(index, key).is_none() {
            return;
        }
        state.links[index].clock = Some(TrackerClock::told(clock_ms));
        if let Some(stamp) = told_by(&reply) {
            let now_ms = state.now_ms();
            state.requests.told(stamp, now_ms);
        }
        if let Reply::Trackers { entries, .. } = &reply {
            self.told_states(&mut state, entries);
        }
        let Some(live) = state.live(index, key) else { return };
        live.suspect = false;
        match live.pending.remove(&number) {
            Some(Pending::Call(caller)) => {
                drop(state);
                // Also without a caller: a change of the password may succeed after its caller has
                // given up.
                if let Reply::Renewed(token) = &reply {
                    self.take_token(token);
                }
                let _ = caller.try_send(Answer { tracker: index, key, reply: Some(reply) });
            }
            Some(Pending::Ping(sent)) => live.rtt = (live.rtt * 3 + sent.elapsed()) / 4,
            Some(Pending::Announce) => {
                live.announces -= 1;
                if reply == Reply::Refused(Refusal::Busy) {
                    // The tracker has dropped this announce and would have an incomplete list. The
                    // next connection announces everything.
                    debug!("tracker {}: too busy for an announce; connecting anew", index + 1);
                    return live.connection.close();
                }
                state.announce_changes(index);
                drop(state);
                match reply {
                    Reply::Peers(peers) if !peers.is_empty() => {
                        self.tell(News::Peers { tracker: index, peers })
                    }
                    // The tracker keeps the announce, and applies it when its directory has caught
                    // up.
                    Reply::Refused(why) => {
                        debug!("tracker {}: an announce does not count yet: {why}", index + 1)
                    }
                    _ => {}
                }
            }
            Some(Pending::Login { generation, token, caller }) => {
                drop(state);
                self.login_answered((index, key), generation, token.as_ref(), &reply);
                if let Some(caller) = caller {
                    let _ = caller.try_send(Answer { tracker: index, key, reply: Some(reply) });
                }
                self.joined(index, key);
                self.changed.notify_all();
            }
            Some(Pending::Candidates) => self.candidates_answered(&mut state, index, &reply),
            Some(Pending::RelayUse) => live.relay.has_one = reply == Reply::Pong,
            Some(Pending::Ignored) | None => {}
        }
    }

    /// Handles a tracker's reply to a login of that generation. `token` is the one that was shown;
    /// `None` for a password.
    fn login_answered(
        &self,
        (index, key): (usize, u64),
        generation: u64,
        token: Option<&SessionToken>,
        reply: &Reply,
    ) {
        let mut state = self.state.lock();
        let (current, session) = (state.generation, state.session.clone());
        let Some(live) = state.live(index, key) else { return };
        // The user has logged out meanwhile, and the tracker was told; a newer login may be under
        // way.
        if generation != current {
            return;
        }
        match reply {
            Reply::LoggedIn { user, .. }
                if session.as_ref().is_some_and(|session| session.user.user != user.user) =>
            {
                warn!(
                    "tracker {} knows another user of that name and password; it is not used for commands",
                    index + 1
                );
                live.refused(Refusal::LoginFirst);
            }
            Reply::LoggedIn { user, token, .. } => {
                live.login = Login::In { generation, user: user.user };
                drop(state);
                self.take_token(token);
            }
            Reply::Refused(why @ (Refusal::SessionOver | Refusal::Disabled)) if token.is_some() => {
                live.refused(*why);
                let newer = session.as_ref().map(|session| &session.token) != token;
                if newer {
                    live.login = Login::No;
                    drop(state);
                    self.login_again(index, key);
                } else if !state.is_changing() {
                    let over = state.give_up_session(index, *why, &self.options.network.keys());
                    drop(state);
                    self.changed.notify_all();
                    over.into_iter()
                        .for_each(|generation| self.tell(News::SessionOver(generation)));
                }
            }
            Reply::Refused(why) => {
                log::info!("tracker {} refuses the login for now: {why}", index + 1);
                live.refused(*why);
            }
            _ => live.refused(Refusal::LoginFirst),
        }
    }

    /// Announces everything, once, on a connection whose login was just confirmed.
    fn joined(&self, index: usize, key: u64) {
        let mut state = self.state.lock();
        let Some(session) = state.session.clone() else { return };
        let Some(live) = state.live(index, key) else { return };
        if !live.login.is_for(&session)
            || std::mem::replace(&mut live.announced_for, session.generation) == session.generation
        {
            return;
        }
        live.told.forget();
        // Before the files: who hears of this device in their swarms hears where it is.
        state.tell_candidates(index);
        state.tell_relay_use(index, self.options.relays);
        state.announce_all(index);
        #[cfg(feature = "later-version")]
        if let Some(live) = state.live(index, key) {
            live.send(
                Request::Unknown { tag: crate::wire::later::TAG },
                super::state::Pending::Ignored,
            );
        }
        drop(state);
        self.tell(News::Joined { tracker: index });
    }
}

impl Live {
    /// The tracker has refused the login: it is tried again after a pause that grows.
    fn refused(&mut self, why: Refusal) {
        let pause = match self.login {
            Login::Refused { pause, .. } => (pause * 2).min(RETRY_MAX),
            _ => RETRY_MIN,
        };
        self.login = Login::Refused { retry: Instant::now() + pause, pause, why };
        self.wake_writer();
    }
}

/// The pending entry of a login request, as [`super::call`] sends it.
pub(super) fn pending_login(generation: u64, caller: Sender<Answer>) -> Pending {
    Pending::Login { generation, token: None, caller: Some(caller) }
}
