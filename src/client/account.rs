//! Accounts and the session.

use std::sync::atomic::Ordering;

use super::error::ClientError;
use super::session::input::Command;
use super::start::Client;
use super::trackers::{Need, PASSWORD_TIMEOUT};
use crate::types::{Label, Password, Refusal, UserEntry, UserName};
use crate::wire::tracker::{Reply, Request};

impl Client {
    /// Creates an account.
    ///
    /// # Errors
    /// [`ClientError::BadArgument`] for an invalid name, [`Refusal::NameTaken`].
    pub fn create_user(&self, name: &str, password: Password) -> Result<(), ClientError> {
        let name: UserName = name.parse()?;
        let request = self.inner.trackers.request_stamp();
        self.done(&Request::CreateUser { request, name, password }, Need::Tracker)
    }

    /// Starts a session: this device's shares of that user are offered again, unfinished downloads
    /// continue. Returns the user; the label differs from `name` if another user had taken that
    /// name first.
    ///
    /// # Errors
    /// [`Refusal::WrongPassword`], also when there is no such user;
    /// [`ClientError::AlreadyLoggedIn`].
    pub fn login(&self, name: &str, password: Password) -> Result<UserEntry, ClientError> {
        let name: Label = name.parse().map_err(|_| Refusal::WrongPassword)?;
        let user = self.inner.begin_session(|trackers| trackers.login(name, password))?;
        self.inner.staying.logged_in(user.user);
        Ok(user)
    }

    /// Ends the session: nothing is offered any more, downloads pause until the next login.
    ///
    /// # Errors
    /// [`Refusal::LoginFirst`].
    pub fn logout(&self) -> Result<(), ClientError> {
        self.inner.need_user()?;
        self.inner.staying.hold();
        self.inner.ask(Command::Leave(None)).map(drop)
    }

    /// Changes the user's password.
    ///
    /// Every other session of the user ends, on all devices.
    ///
    /// # Errors
    /// [`Refusal::WrongOldPassword`].
    pub fn change_password(&self, old: Password, new: Password) -> Result<(), ClientError> {
        let trackers = &self.inner.trackers;
        let request =
            Request::ChangePassword { request: trackers.request_stamp(), old, new: new.clone() };
        let _changing = trackers.changing_password();
        match trackers.call_within(&request, Need::Session, PASSWORD_TIMEOUT) {
            // The tracker set has taken the token already.
            Ok(Reply::Renewed(token)) => {
                // Trackers revoke the tickets from before the change.
                let until_ms = token.claims.password.stamp.ms();
                self.inner.ask(Command::OwnVoid(until_ms))?;
                self.inner.stop_staying(token.claims.user);
                if self.inner.must_change_password.swap(false, Ordering::Relaxed) {
                    // Until now the trackers have refused every request: announces this device's
                    // files again.
                    trackers.enter_again();
                }
                Ok(())
            }
            Ok(_) => Err(ClientError::BadAnswer),
            // The password was changed, so the session's token is revoked. If the change came from
            // here and its answer was lost, the new password is right.
            Err(error @ ClientError::Refused(Refusal::SessionOver)) => {
                trackers.prove_again(new).map_err(|_| error)
            }
            Err(error) => Err(error),
        }
    }

    /// Tells whether the operator has set the user's password: until [`Client::change_password`],
    /// trackers refuse all other requests. Does not ask a tracker.
    pub fn must_change_password(&self) -> bool {
        self.inner.must_change()
    }

    /// Deletes the user's account with every membership and share; the session ends. Groups of the
    /// user go to their longest-standing members.
    ///
    /// # Errors
    /// [`Refusal::LoginFirst`], and those of the trackers.
    pub fn delete_account(&self) -> Result<(), ClientError> {
        let user = self.inner.need_user()?;
        let trackers = &self.inner.trackers;
        let request = trackers.request_stamp();
        {
            // Other trackers may revoke the token before the answer arrives; that is expected.
            let _changing = trackers.changing_password();
            self.inner.ask(Command::ExpectLeaving(None))?;
            let done = self.done(&Request::DeleteAccount { request }, Need::Session);
            if let Err(ClientError::Refused(_)) = done {
                self.inner.ask(Command::UnexpectLeaving(None))?;
            }
            done?;
        }
        self.inner.stop_staying(user.user);
        match self.inner.ask(Command::Leave(None)) {
            // A tracker has reported the end of the session first.
            Ok(_) | Err(ClientError::Refused(Refusal::LoginFirst)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The session's user. Does not ask a tracker.
    ///
    /// # Errors
    /// [`Refusal::LoginFirst`].
    pub fn whoami(&self) -> Result<UserEntry, ClientError> {
        self.inner.need_user()
    }

    /// Sends a changing request, and drops the details of its success.
    pub(crate) fn done(&self, request: &Request, need: Need) -> Result<(), ClientError> {
        match self.inner.trackers.call(request, need)? {
            Reply::Done(_) => Ok(()),
            _ => Err(ClientError::BadAnswer),
        }
    }
}
