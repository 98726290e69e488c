//! A device that stays logged in: it logs in by its key, at the start and after its session has
//! ended by itself, until the user, a changed password or the operator ends that.
//!
//! **Invariant:** only a tracker's definite refusal, the user's command or a change of the password
//! from here ends staying. After any other failure the login is tried again, without limit, after
//! pauses that grow. After a `logout` it is not tried until the next start or login.
//!
//! The thread "staying" logs in and blocks on trackers; the other threads only wake it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use log::{debug, warn};
use parking_lot::{Condvar, Mutex};

use super::Runtime;
use crate::client::error::ClientError;
use crate::client::event::ClientEvent;
use crate::client::session::library::Phase;
use crate::net::Stop;
use crate::store::{DeviceStore, StayingRow};
use crate::types::{Refusal, UserId};

/// Pause before a failed login is tried again; doubled up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(200);
/// Longest such pause.
const RETRY_MAX: Duration = Duration::from_secs(15);
/// How long one attempt waits for a connected tracker.
const TRACKER_WAIT: Duration = Duration::from_secs(5);

/// Whether this device logs in by its key.
#[derive(Debug)]
pub(crate) struct Staying {
    state: Mutex<StayingState>,
    /// Notified when an attempt has ended.
    attempted: Condvar,
    wake: Sender<()>,
    woken: Receiver<()>,
}

#[derive(Debug)]
struct StayingState {
    row: Option<StayingRow>,
    /// The user has logged out, or another user has logged in.
    is_held: bool,
    /// The first attempt has ended, with or without success.
    has_attempted: bool,
}

impl Staying {
    /// Starts from the row in the store.
    pub(crate) fn new(row: Option<StayingRow>) -> Self {
        let (wake, woken) = bounded(1);
        let state = StayingState { row, is_held: false, has_attempted: false };
        Self { state: Mutex::new(state), attempted: Condvar::new(), wake, woken }
    }

    /// Wakes the thread: the session may have ended.
    pub(crate) fn wake(&self) {
        // If the channel is full, the thread will wake anyway.
        let _ = self.wake.try_send(());
    }

    /// The user ends the session: no attempt is made until the next login.
    pub(crate) fn hold(&self) {
        self.state.lock().is_held = true;
    }

    /// A user has logged in.
    pub(crate) fn logged_in(&self, user: UserId) {
        let mut state = self.state.lock();
        state.is_held = state.row.as_ref().is_some_and(|row| row.user != user);
    }

    pub(crate) fn row(&self) -> Option<StayingRow> {
        self.state.lock().row.clone()
    }

    fn wanted(&self) -> Option<StayingRow> {
        let state = self.state.lock();
        state.row.clone().filter(|_| !state.is_held)
    }

    /// Sets or removes the user whom this device logs in. The store comes first.
    pub(crate) fn set(
        &self,
        store: &DeviceStore,
        row: Option<StayingRow>,
    ) -> Result<(), ClientError> {
        store.set_staying(row.as_ref())?;
        let mut state = self.state.lock();
        (state.row, state.is_held) = (row, false);
        Ok(())
    }

    /// Waits for the end of the first attempt since the start, if one is due; false if it has not
    /// ended in time.
    pub(crate) fn wait_for_attempt(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.state.lock();
        while state.row.is_some() && !state.has_attempted {
            if self.attempted.wait_until(&mut state, deadline).timed_out() {
                return false;
            }
        }
        true
    }

    fn note_attempt(&self) {
        self.state.lock().has_attempted = true;
        self.attempted.notify_all();
    }
}

/// The result of an attempt.
enum Attempt {
    /// There is a session, or none is wanted.
    Settled,
    /// Try again.
    Later,
}

/// Logs in by the device's key until the client stops. Runs on the thread "staying".
pub(crate) fn run(inner: &Arc<Runtime>, stop: &Stop) {
    let (mut pause, staying) = (RETRY_MIN, &inner.staying);
    while !stop.is_set() {
        let attempt = inner.stay_in();
        staying.note_attempt();
        match attempt {
            Attempt::Settled => {
                pause = RETRY_MIN;
                select! {
                    recv(staying.woken) -> _ => {}
                    recv(stop.channel()) -> _ => return,
                }
            }
            Attempt::Later => {
                if stop.wait(pause.mul_f64(rand::random_range(0.5..1.0))) {
                    return;
                }
                pause = (pause * 2).min(RETRY_MAX);
            }
        }
    }
}

impl Runtime {
    /// Logs in by the device's key, if the device stays and no session is open.
    fn stay_in(self: &Arc<Self>) -> Attempt {
        let Some(row) = self.staying.wanted() else { return Attempt::Settled };
        if self.view().library.phase != Phase::Out {
            // The end of the session wakes this thread.
            return Attempt::Settled;
        }
        if !self.trackers.wait_for_any(TRACKER_WAIT) {
            return Attempt::Later;
        }
        match self.begin_session(|trackers| trackers.patient().login_by_key(row.user)) {
            Ok(user) => {
                self.staying.logged_in(user.user);
                self.bus.tell(&ClientEvent::LoggedInByKey { user: user.label, user_id: user.user });
                Attempt::Settled
            }
            Err(ClientError::Refused(
                refusal @ (Refusal::NotStaying | Refusal::Disabled | Refusal::SessionOver),
            )) => {
                self.end_staying(&row, &refusal.to_string());
                Attempt::Settled
            }
            Err(error) => {
                debug!("{} is not logged in by the device's key yet: {error}", row.label);
                Attempt::Later
            }
        }
    }

    /// A tracker has refused this device as one that stays.
    fn end_staying(&self, row: &StayingRow, reason: &str) {
        if let Err(error) = self.staying.set(&self.store, None) {
            warn!("cannot store that this device no longer stays logged in: {error}");
            self.staying.hold();
        }
        let (user, user_id) = (row.label.clone(), row.user);
        let event = ClientEvent::StayingEnded { user, user_id, reason: reason.into() };
        self.bus.tell(&event);
    }

    /// The user has ended staying on this device.
    pub(crate) fn stop_staying(&self, user: UserId) {
        if self.staying.row().is_some_and(|row| row.user == user) {
            let stopped = self.staying.set(&self.store, None);
            if let Err(error) = stopped {
                warn!("cannot store that this device no longer stays logged in: {error}");
                self.staying.hold();
            }
        }
    }
}
