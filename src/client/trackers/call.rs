//! One command, sent to as many trackers as it needs.
//!
//! **Invariant:** every copy of a changing request carries the same request id, so it is carried
//! out once however many trackers are asked. Later copies never carry an earlier time. Success ends
//! the command at once; a refusal only when no other tracker that was asked may still report
//! success.
//!
//! The primary is asked first. If its connection fails, the next tracker is asked at once. If it
//! stays silent for [`HEDGE_AFTER`], it becomes suspect, and the next tracker is asked as well.
//!
//! A password goes to one tracker at a time: to the next one only when that connection has ended or
//! the tracker is busy. So the connection to a tracker that stays silent for [`PASSWORD_TURN`] is
//! closed, if there is another tracker to ask.
//!
//! "Busy" and "log in first" are answers of the tracker, not of the directory: the next one is
//! asked.
//!
//! A tracker that knows rows later than the request has done nothing ([`Refusal::Overtaken`]). It
//! is asked again with a later time, and so is every tracker from then on. The id stays, since a
//! copy with the earlier time may be carried out elsewhere. Once a tracker has acknowledged the
//! request, it gets no later time: it would overtake the user's next request.
//!
//! A tracker for whose clock the request's time is wrong has done nothing: the next one is asked
//! with the same stamp. If all that were asked say so, no copy was carried out, and the request is
//! sent once more with a stamp by the clock of the last of them.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, at, never, select, unbounded};

use super::login::Login;
use super::session::pending_login;
use super::state::{Answer, Pending, SetState};
use super::{TrackerSet, caller};
use crate::client::ClientError;
use crate::net::Stop;
use crate::types::{Label, Password, Refusal, UserEntry, UserId};
use crate::wire::tracker::{Reply, Request};

/// Silence after which the next tracker is asked as well.
pub(super) const HEDGE_AFTER: Duration = Duration::from_millis(700);
/// Silence after which a name and password go to the next tracker: far longer than a healthy
/// tracker needs to check them. Under a guessing attack a tracker may take longer, so the last
/// tracker has no such limit.
const PASSWORD_TURN: Duration = Duration::from_millis(1500);
/// How long a refusal waits for the success of another tracker that was asked before.
const REFUSAL_GRACE: Duration = Duration::from_millis(250);
/// Time limit of a command.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit of a command with a password: after many wrong passwords, trackers delay every login
/// for up to 30 s.
pub(crate) const PASSWORD_TIMEOUT: Duration = Duration::from_secs(35);
/// Maximum number of later times that one command may try.
const LATER_TIMES_MAX: u32 = 8;
/// How long a command waits for any connection.
const UNREACHABLE_TIMEOUT: Duration = Duration::from_secs(3);

/// The login that a request needs on the tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// None.
    Tracker,
    /// The session's user.
    Session,
    /// The request is itself a login of this generation.
    Login(u64),
}

/// The result of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoggedIn {
    pub(crate) user: UserEntry,
    /// The operator has set the password: until the user has changed it, trackers refuse all other
    /// requests.
    pub(crate) must_change: bool,
}

impl TrackerSet {
    /// Asks the trackers until one gives a definite answer, which may be a refusal.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the directory's refusal; [`ClientError::NoTracker`] if no
    /// tracker can be asked; [`ClientError::NoAnswer`] if none answers.
    ///
    /// # Blocking
    /// For at most [`CALL_TIMEOUT`]. Must not be called by the consumer of the notifications.
    pub(crate) fn call(&self, request: &Request, need: Need) -> Result<Reply, ClientError> {
        self.call_within(request, need, CALL_TIMEOUT)
    }

    /// The same with the caller's own time limit.
    ///
    /// # Errors
    /// Those of [`TrackerSet::call`].
    ///
    /// # Blocking
    /// For at most `timeout`.
    pub(crate) fn call_within(
        &self,
        request: &Request,
        need: Need,
        timeout: Duration,
    ) -> Result<Reply, ClientError> {
        let started = Instant::now();
        if carries_password(request) {
            self.probe(need, timeout.min(CALL_TIMEOUT))?;
        }
        Call::new(self, request, need, &[], timeout.saturating_sub(started.elapsed()))
            .run()
            .map(|(reply, _)| reply)
    }

    /// The same for the session, at a tracker that is not in `passed`; also returns that tracker's
    /// index. `None` if there is none.
    ///
    /// # Blocking
    /// For at most `timeout`.
    pub(crate) fn call_next(
        &self,
        request: &Request,
        passed: &[usize],
        timeout: Duration,
    ) -> Option<Result<(Reply, usize), ClientError>> {
        let is_there = match passed {
            [] => self.is_reachable(),
            _ => self
                .shared
                .state
                .lock()
                .candidates(true)
                .iter()
                .any(|index| !passed.contains(index)),
        };
        is_there.then(|| Call::new(self, request, Need::Session, passed, timeout).run())
    }

    /// Finds a tracker that answers before one receives a password. A password at a silent tracker
    /// cannot go to another one until the connection ends.
    fn probe(&self, need: Need, timeout: Duration) -> Result<(), ClientError> {
        let need = if need == Need::Session { need } else { Need::Tracker };
        Call::new(self, &Request::Ping, need, &[], timeout).run().map(drop)
    }

    /// Logs in on the nearest tracker, then, in the background, on all others.
    ///
    /// # Errors
    /// Those of [`TrackerSet::call`].
    ///
    /// # Blocking
    /// For at most [`PASSWORD_TIMEOUT`].
    pub(crate) fn login(&self, name: Label, password: Password) -> Result<LoggedIn, ClientError> {
        self.log_in(&Request::Login { name, password })
    }

    /// The same with this device's key instead of a password.
    ///
    /// # Errors
    /// Those of [`TrackerSet::call`].
    ///
    /// # Blocking
    /// For at most [`CALL_TIMEOUT`].
    pub(crate) fn login_by_key(&self, user: UserId) -> Result<LoggedIn, ClientError> {
        self.log_in(&Request::LoginByKey { user })
    }

    fn log_in(&self, request: &Request) -> Result<LoggedIn, ClientError> {
        let generation = self.next_generation();
        let timeout = if carries_password(request) { PASSWORD_TIMEOUT } else { CALL_TIMEOUT };
        match self.call_within(request, Need::Login(generation), timeout) {
            Ok(Reply::LoggedIn { user, token, must_change }) => {
                self.establish(generation, user.clone(), token);
                Ok(LoggedIn { user, must_change })
            }
            other => {
                // A tracker that accepts the login later receives the logout.
                self.shared.state.lock().end_session(&|| Pending::Ignored);
                Err(other.err().unwrap_or(ClientError::BadAnswer))
            }
        }
    }
}

/// Tells whether a request contains a password.
fn carries_password(request: &Request) -> bool {
    matches!(
        request,
        Request::CreateUser { .. }
            | Request::CreateInvitedUser { .. }
            | Request::Login { .. }
            | Request::ChangePassword { .. }
            | Request::StayOnDevice { .. }
    )
}

/// The result of looking for one more tracker to ask.
enum Asked {
    /// One more tracker was asked.
    Sent,
    /// All ready trackers were asked already.
    Nobody,
}

/// A command under way.
struct Call<'a> {
    set: &'a TrackerSet,
    request: Cow<'a, Request>,
    need: Need,
    /// The session that it belongs to, if it needs one: it is never sent for another session.
    generation: u64,
    deadline: Instant,
    sender: Sender<Answer>,
    answers: Receiver<Answer>,
    /// Connections asked, by tracker and key. They are asked again only with another stamp, or
    /// after a new login.
    asked: Vec<(usize, u64)>,
    /// Those of them that have not answered.
    waiting: Vec<(usize, u64)>,
    /// Trackers that must not be asked.
    passed: &'a [usize],
    /// Whether the next tracker is asked when one is silent.
    hedges: bool,
    /// The tracker that gave the answer.
    answered_by: usize,
    /// The refusal to report if no tracker reports success.
    refusal: Option<(Refusal, Instant)>,
    busy: bool,
    /// The refusal of a tracker that cannot carry it out, where another one may be able to.
    unable: Option<Refusal>,
    /// The clock of the last tracker for which the request's time is wrong.
    wrong_time: Option<u64>,
    /// The request has its second stamp.
    is_restamped: bool,
    /// How often trackers have refused its time as too early.
    overtaken_count: u32,
    /// A connection ended before its tracker answered: the tracker may have carried it out.
    may_be_done: bool,
    /// A tracker that had forgotten the session was asked once more.
    relogged: bool,
    /// After this time a silent tracker that has a name and password may lose its connection.
    turn: Option<Instant>,
    /// Interrupts the calls of all callers.
    interrupt: Stop,
    /// Interrupts the calls of one caller.
    caller: Option<Stop>,
    started: Instant,
}

impl<'a> Call<'a> {
    fn new(
        set: &'a TrackerSet,
        request: &'a Request,
        need: Need,
        passed: &'a [usize],
        timeout: Duration,
    ) -> Self {
        let generation = set.session().map_or(0, |session| session.generation);
        let hedges = !carries_password(request);
        let (sender, answers) = unbounded();
        let started = Instant::now();
        let (asked, waiting) = (Vec::new(), Vec::new());
        let (interrupt, caller) = match set.patient {
            true => (Stop::new(), None),
            false => (set.shared.interrupt.lock().clone(), caller::current()),
        };
        let (refusal, busy, unable, relogged) = (None, false, None, false);
        let (request, wrong_time, is_restamped, may_be_done) =
            (Cow::Borrowed(request), None, false, false);
        let overtaken_count = 0;
        let deadline = started + timeout;
        Self {
            set,
            request,
            need,
            generation,
            deadline,
            sender,
            answers,
            asked,
            waiting,
            passed,
            hedges,
            answered_by: 0,
            refusal,
            busy,
            unable,
            wrong_time,
            is_restamped,
            overtaken_count,
            may_be_done,
            relogged,
            turn: None,
            interrupt,
            caller,
            started,
        }
    }

    fn run(mut self) -> Result<(Reply, usize), ClientError> {
        let deadline = self.deadline;
        let mut hedge = Instant::now();
        loop {
            let now = Instant::now();
            if now >= deadline {
                self.suspect_silent();
                return Err(self.give_up());
            }
            if self.set.shared.stop.is_set() {
                return Err(ClientError::Stopping);
            }
            if self.is_interrupted() {
                return Err(ClientError::Interrupted);
            }
            if let Some((refusal, since)) = self.refusal
                && (self.waiting.is_empty() || now >= since + REFUSAL_GRACE)
            {
                return Err(refusal.into());
            }
            if self.turn_is_over(now) {
                self.end_turn();
                continue;
            }
            let hedges_now = self.hedges && now >= hedge;
            if self.refusal.is_none() && (self.waiting.is_empty() || hedges_now) {
                if hedges_now {
                    self.suspect_silent();
                }
                match self.ask_next()? {
                    Asked::Sent => {
                        hedge = Instant::now() + HEDGE_AFTER;
                        // Then a second tracker is asked although the first may still carry it out.
                        // That is safe: two writes under one request's id and time are one, and a
                        // login writes nothing.
                        self.turn = Some(Instant::now() + PASSWORD_TURN)
                            .filter(|_| carries_password(&self.request));
                    }
                    Asked::Nobody if self.waiting.is_empty() => {
                        self.wait_for_change()?;
                        continue;
                    }
                    Asked::Nobody => hedge = now + HEDGE_AFTER,
                }
            }
            let next = if self.hedges {
                hedge
            } else {
                self.turn.filter(|turn| *turn > now).unwrap_or(deadline)
            };
            let until = self.refusal.map_or(next, |(_, since)| since + REFUSAL_GRACE).min(deadline);
            let no_caller = never();
            let answer = select! {
                recv(self.answers) -> answer => answer.ok(),
                recv(self.interrupt.channel()) -> _ => None,
                recv(self.caller.as_ref().map_or(&no_caller, Stop::channel)) -> _ => None,
                recv(at(until)) -> _ => None,
            };
            if let Some(reply) = answer.and_then(|answer| self.take(answer)) {
                return Ok((reply, self.answered_by));
            }
        }
    }

    /// Tells whether the call is interrupted.
    fn is_interrupted(&self) -> bool {
        self.interrupt.is_set() || self.caller.as_ref().is_some_and(Stop::is_set)
    }

    /// Tells whether a silent tracker has had a name and password for long enough, and another
    /// tracker can be asked.
    fn turn_is_over(&mut self, now: Instant) -> bool {
        if self.waiting.is_empty() || self.turn.is_none_or(|turn| now < turn) {
            return false;
        }
        let mut state = self.set.shared.state.lock();
        let candidates = state.candidates(false);
        let is_new = |index: &usize| {
            !self.asked.iter().any(|(asked, _)| asked == index) && !self.passed.contains(index)
        };
        let has_other = candidates.iter().any(|index| {
            is_new(index) && state.links[*index].live.as_ref().is_some_and(|live| !live.suspect)
        });
        if !has_other {
            // One may connect: checked again a little later.
            self.set.shared.dial_soon(&mut state);
            self.turn = Some(now + HEDGE_AFTER);
        }
        has_other
    }

    /// Closes the connections to the silent trackers; their requests count as lost.
    fn end_turn(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.may_be_done |= !waiting.is_empty();
        let mut state = self.set.shared.state.lock();
        waiting.into_iter().for_each(|(index, key)| state.detach(index, key));
        self.turn = None;
    }

    /// Sends the request to the best tracker that was not asked over its current connection.
    fn ask_next(&mut self) -> Result<Asked, ClientError> {
        let mut state = self.set.shared.state.lock();
        self.check_session(&state)?;
        for index in state.candidates(self.need == Need::Session) {
            let Some(live) = state.links[index].live.as_mut() else { continue };
            let id = (index, live.key);
            if self.asked.contains(&id) || self.passed.contains(&index) {
                continue;
            }
            let pending = match self.need {
                Need::Login(generation) => {
                    live.login = Login::Asked(generation);
                    pending_login(generation, self.sender.clone())
                }
                _ => Pending::Call(self.sender.clone()),
            };
            self.asked.push(id);
            if live.send(self.request.clone().into_owned(), pending) {
                self.waiting.push(id);
                return Ok(Asked::Sent);
            }
            live.suspect = true;
        }
        self.set.shared.dial_soon(&mut state);
        Ok(Asked::Nobody)
    }

    /// Ends the command if its session has ended.
    fn check_session(&self, state: &SetState) -> Result<(), ClientError> {
        let error =
            if self.need == Need::Session { state.session_error(self.generation) } else { None };
        error.map_or(Ok(()), Err)
    }

    /// Marks the trackers that were asked and are silent as suspect, so that other commands avoid
    /// them.
    fn suspect_silent(&self) {
        let mut state = self.set.shared.state.lock();
        for &(index, key) in &self.waiting {
            if let Some(live) = state.live(index, key) {
                live.suspect = true;
            }
        }
    }

    /// Handles one answer; returns it if it ends the command.
    fn take(&mut self, answer: Answer) -> Option<Reply> {
        let id = (answer.tracker, answer.key);
        self.waiting.retain(|waiting| *waiting != id);
        let Some(reply) = answer.reply else {
            self.may_be_done = true;
            return None;
        };
        match reply {
            Reply::Refused(Refusal::Busy) => self.busy = true,
            // Another tracker may have a later version, or newer rows.
            Reply::Refused(
                refusal
                @ (Refusal::Unsupported | Refusal::NoSuchDevice | Refusal::NoSuchInvitation),
            ) => {
                self.unable = Some(refusal);
            }
            Reply::Refused(Refusal::WrongTime { clock_ms }) => {
                self.wrong_time = Some(clock_ms);
                self.set.shared.note_wrong_time(id.0);
            }
            Reply::Refused(Refusal::Overtaken { above })
                if self.overtaken_count < LATER_TIMES_MAX =>
            {
                self.overtaken_count += 1;
                self.set.ask_later(self.request.to_mut(), above);
                self.asked.retain(|asked| *asked != id);
            }
            Reply::Refused(Refusal::LoginFirst | Refusal::SessionOver)
                if self.need == Need::Session =>
            {
                self.set.shared.session_lost(id.0, id.1);
                if !std::mem::replace(&mut self.relogged, true) {
                    self.asked.retain(|asked| *asked != id);
                }
            }
            Reply::Refused(refusal) => {
                self.refusal = self.refusal.or(Some((refusal, Instant::now())))
            }
            reply => {
                self.answered_by = id.0;
                return Some(reply);
            }
        }
        None
    }

    /// No tracker is left to ask: waits for a connection or a confirmed login.
    fn wait_for_change(&mut self) -> Result<(), ClientError> {
        if self.busy {
            return Err(Refusal::Busy.into());
        }
        let shared = &self.set.shared;
        let mut state = shared.state.lock();
        // A tracker that is about to confirm the session may take the request as it is.
        let is_late = self.started.elapsed() > UNREACHABLE_TIMEOUT;
        if let Some(refusal) = self.unable.filter(|_| is_late || !self.is_another_coming(&state)) {
            return Err(refusal.into());
        }
        if let Some(clock_ms) =
            self.wrong_time.filter(|_| is_late || !self.is_another_coming(&state))
        {
            drop(state);
            return self.ask_again_at(clock_ms);
        }
        self.check_session(&state)?;
        if self.is_interrupted() {
            return Ok(());
        }
        let new = state.candidates(self.need == Need::Session).into_iter().any(|index| {
            let key = state.links[index].live.as_ref().map(|live| live.key);
            key.is_some_and(|key| {
                !self.asked.contains(&(index, key)) && !self.passed.contains(&index)
            })
        });
        if new {
            return Ok(());
        }
        let connected = state.links.iter().any(|link| link.live.is_some());
        let until = if connected {
            self.deadline
        } else {
            self.deadline.min(self.started + UNREACHABLE_TIMEOUT)
        };
        if Instant::now() >= until && !connected {
            return Err(state.why_unreachable());
        }
        if let Some(why) = state.session_refused().filter(|_| self.need == Need::Session) {
            // A change of the password that was carried out ends the session of its request; the
            // answer may be lost.
            let done = why == Refusal::SessionOver
                && matches!(*self.request, Request::ChangePassword { .. });
            if done || self.started.elapsed() > UNREACHABLE_TIMEOUT {
                return Err(why.into());
            }
        }
        let step = self.caller.as_ref().map_or(HEDGE_AFTER, |_| caller::LOOK_INTERVAL);
        let step = Instant::now() + step;
        shared.changed.wait_until(&mut state, until.min(step));
        Ok(())
    }

    /// Tells whether a tracker that was not asked is connected and may still confirm the session.
    fn is_another_coming(&self, state: &SetState) -> bool {
        let is_new = |index: usize, key: u64| {
            !self.asked.contains(&(index, key)) && !self.passed.contains(&index)
        };
        let mut live = state
            .links
            .iter()
            .enumerate()
            .filter_map(|(index, link)| Some((index, link.live.as_ref()?)));
        live.any(|(index, live)| {
            is_new(index, live.key) && !matches!(live.login, Login::Refused { .. })
        })
    }

    /// The time was wrong for every tracker that answered: asks all of them once more with another
    /// stamp, if none can have carried the request out.
    fn ask_again_at(&mut self, clock_ms: u64) -> Result<(), ClientError> {
        if self.may_be_done || self.is_restamped {
            return Err(Refusal::WrongTime { clock_ms }.into());
        }
        (self.wrong_time, self.is_restamped) = (None, true);
        self.set.stamp_again(self.request.to_mut(), clock_ms);
        self.asked.clear();
        Ok(())
    }

    fn give_up(&self) -> ClientError {
        let state = self.set.shared.state.lock();
        match (self.refusal.map(|(refusal, _)| refusal).or(self.unable), self.wrong_time) {
            (Some(refusal), _) => refusal.into(),
            (None, _) if self.busy => Refusal::Busy.into(),
            (None, Some(clock_ms)) => Refusal::WrongTime { clock_ms }.into(),
            (None, None) if state.links.iter().any(|link| link.live.is_some()) => {
                ClientError::NoAnswer
            }
            (None, None) => state.why_unreachable(),
        }
    }
}

impl SetState {
    /// The refusal, if every connected tracker has refused the session's login.
    fn session_refused(&self) -> Option<Refusal> {
        let refusals =
            self.links.iter().filter_map(|link| link.live.as_ref()).map(|live| match live.login {
                Login::Refused { why, .. } => Some(why),
                _ => None,
            });
        refusals.collect::<Option<Vec<Refusal>>>()?.first().copied()
    }
}
