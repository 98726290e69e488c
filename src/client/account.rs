//! Accounts and the session.

use std::sync::atomic::Ordering;

use super::error::ClientError;
use super::session::input::Command;
use super::start::Client;
use super::trackers::{Need, PASSWORD_TIMEOUT};
use crate::types::{Label, Password, Refusal, UserEntry, UserName};
use crate::wire::tracker::{Reply, Request};

impl Client {
    /// Makes an account.
    ///
    /// # Errors
    /// [`ClientError::BadArgument`] for a name that cannot be one, [`Refusal::NameTaken`].
    pub fn create_user(&self, name: &str, password: Password) -> Result<(), ClientError> {
        let name: UserName = name.parse()?;
        let request = self.inner.trackers.request_stamp();
        self.done(&Request::CreateUser { request, name, password }, Need::Tracker)
    }

    /// Starts a session: what this device shared as that user is offered again, unfinished
    /// downloads go on. Returns the user; the label differs from `name` when another user of that
    /// name was there first.
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

    /// Replaces the user's password.
    ///
    /// Every other session of the user ends, on whatever device.
    ///
    /// # Errors
    /// [`Refusal::WrongOldPassword`].
    pub fn change_password(&self, old: Password, new: Password) -> Result<(), ClientError> {
        let trackers = &self.inner.trackers;
        let request =
            Request::ChangePassword { request: trackers.request_stamp(), old, new: new.clone() };
        let _changing = trackers.changing_password();
        match trackers.call_within(&request, Need::Session, PASSWORD_TIMEOUT) {
            // The set has taken it for itself.
            Ok(Reply::Renewed(token)) => {
                // The tickets of before are void wherever trackers say so.
                let until_ms = token.claims.password.stamp.ms();
                self.inner.ask(Command::OwnVoid(until_ms))?;
                self.inner.stop_staying(token.claims.user);
                if self.inner.must_change_password.swap(false, Ordering::Relaxed) {
                    // Trackers have refused everything until now: they are told anew what this
                    // device does.
                    trackers.enter_again();
                }
                Ok(())
            }
            Ok(_) => Err(ClientError::BadAnswer),
            // The password was changed, so the session's token is void: if from here, and the
            // answer was lost, the new one is right.
            Err(error @ ClientError::Refused(Refusal::SessionOver)) => {
                trackers.prove_again(new).map_err(|_| error)
            }
            Err(error) => Err(error),
        }
    }

    /// Tells whether the operator has set the user's password: until [`Client::change_password`]
    /// trackers refuse everything else. Does not ask a tracker.
    pub fn must_change_password(&self) -> bool {
        self.inner.must_change()
    }

    /// Deletes the user's account, and with it every membership and share; the session ends. Groups
    /// that the user owns go to their longest-standing members.
    ///
    /// # Errors
    /// [`Refusal::LoginFirst`], and those of the trackers.
    pub fn delete_account(&self) -> Result<(), ClientError> {
        let user = self.inner.need_user()?;
        let trackers = &self.inner.trackers;
        let request = trackers.request_stamp();
        {
            // Trackers that hear of it first call the token void, which is no surprise now.
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
            // A tracker has told that it is over.
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

    /// Asks for a change and drops what it brought about.
    pub(crate) fn done(&self, request: &Request, need: Need) -> Result<(), ClientError> {
        match self.inner.trackers.call(request, need)? {
            Reply::Done(_) => Ok(()),
            _ => Err(ClientError::BadAnswer),
        }
    }
}
