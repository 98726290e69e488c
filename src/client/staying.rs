//! Devices that stay logged in: the commands of the user.

use std::time::Duration;

use super::error::ClientError;
use super::start::Client;
use super::trackers::{Need, PASSWORD_TIMEOUT};
use crate::store::StayingRow;
use crate::types::{DeviceName, Label, Password, UserEntry};
use crate::wire::tracker::{Reply, Request};

impl Client {
    /// Starts a session as [`Client::login`] does. If the device is to `stay`, it logs in by its
    /// key from now on, also after a restart, until [`Client::forget_device`], a change of the
    /// password or the operator ends that. An open session of the same user continues.
    ///
    /// # Errors
    /// Those of [`Client::login`]; [`ClientError::CannotStay`] if the session was begun and the
    /// device does not stay.
    pub fn login_with(
        &self,
        name: &str,
        password: Password,
        stay: bool,
    ) -> Result<UserEntry, ClientError> {
        if !stay {
            return self.login(name, password);
        }
        let user = match self.login(name, password.clone()) {
            Err(ClientError::AlreadyLoggedIn(label)) if label.as_str() == name => self.whoami()?,
            other => other?,
        };
        self.stay(&user, password).map_err(|why| ClientError::CannotStay {
            user: user.label.clone(),
            why: Box::new(why),
        })?;
        Ok(user)
    }

    fn stay(&self, user: &UserEntry, password: Password) -> Result<(), ClientError> {
        let inner = &self.inner;
        let request = inner.trackers.request_stamp();
        let name = DeviceName::from_text(&rustix::system::uname().nodename().to_string_lossy());
        let asked = Request::StayOnDevice { request, name, password };
        match inner.trackers.call_within(&asked, Need::Session, PASSWORD_TIMEOUT)? {
            Reply::Done(done) => {
                let (label, since) = (user.label.clone(), done.stamp);
                inner.staying.set(&inner.store, Some(StayingRow { user: user.user, label, since }))
            }
            _ => Err(ClientError::BadAnswer),
        }
    }

    /// The user as whom this device stays logged in. Does not ask a tracker.
    pub fn stays_as(&self) -> Option<Label> {
        self.inner.staying.row().map(|row| row.label)
    }

    /// Waits for the end of the first attempt to log in after the start, if this device stays
    /// logged in; false if it has not ended in time.
    ///
    /// # Blocking
    /// For at most `timeout`.
    pub fn wait_for_staying(&self, timeout: Duration) -> bool {
        self.inner.staying.wait_for_attempt(timeout)
    }
}
