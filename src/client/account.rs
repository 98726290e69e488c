//! Accounts and the session.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use log::warn;

use super::background::Errand;
use super::core::Inner;
use super::library::{Library, Phase};
use super::trackers::{LoggedIn, Need, PASSWORD_TIMEOUT, TrackerSet};
use super::{Client, ClientError};
use crate::net::Transport;
use crate::swarm::{Engine, EngineConfig};
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
        self.inner.leave_session();
        Ok(())
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
                self.inner.password_changed(&token);
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
        self.inner.must_change_password.load(Ordering::Relaxed)
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
            let announced = self.inner.announced.lock().clone();
            self.inner.leaves_every_group();
            let done = self.done(&Request::DeleteAccount { request }, Need::Session);
            if let Err(ClientError::Refused(_)) = done {
                *self.inner.announced.lock() = announced;
            }
            done?;
        }
        self.inner.stop_staying(user.user);
        self.inner.leave_session();
        Ok(())
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

impl Inner {
    /// Logs in at the trackers and starts the session.
    pub(crate) fn begin_session(
        self: &Arc<Self>,
        login: impl FnOnce(&TrackerSet) -> Result<LoggedIn, ClientError>,
    ) -> Result<UserEntry, ClientError> {
        let inner = self;
        {
            let mut library = inner.library.lock();
            match &library.phase {
                Phase::In(user) => return Err(ClientError::AlreadyLoggedIn(user.label.clone())),
                Phase::Changing => {
                    return Err(ClientError::BadArgument(
                        "a login or logout is under way; wait for it".into(),
                    ));
                }
                Phase::Out => library.phase = Phase::Changing,
            }
        }
        let entered = login(&inner.trackers).and_then(|logged_in| {
            inner.must_change_password.store(logged_in.must_change, Ordering::Relaxed);
            self.enter_session(logged_in.user)
        });
        if entered.is_err() {
            *inner.library.lock() = Library::new();
        }
        entered
    }

    /// Starts the engine and brings back what the device store holds for the user.
    fn enter_session(self: &Arc<Self>, user: UserEntry) -> Result<UserEntry, ClientError> {
        let inner = self;
        let mut config = EngineConfig::new(Transport::Tls(inner.security.clone()));
        config.port = Some(inner.address.port());
        config.limits = inner.limits.lock().rates;
        config.bind_ip = Some(inner.address.ip()).filter(|ip| !ip.is_unspecified());
        if let Some(threads) = inner.config.threads {
            config.threads = threads.max(1);
        }
        *inner.ended.lock() = None;
        inner.tickets.lock().open(user.user, inner.security.device());
        let host = Arc::new(super::host::SessionHost::new(inner, user.user));
        let engine = Engine::start(config, host).map_err(|e| {
            inner.trackers.logout();
            ClientError::BadArgument(format!("cannot start transfers: {e}"))
        })?;
        {
            // Under their lock until everything is in its place: whoever sets others comes before
            // or after.
            let limits = inner.limits.lock();
            // Again: they may have been changed since.
            engine.set_limits(limits.rates);
            *inner.engine.lock() = Some(engine);
            let queue = inner.closed_queue(user.user, limits.downloads_max);
            *inner.library.lock() =
                Library { phase: Phase::In(user.clone()), queue, ..Library::new() };
        }
        if let Err(error) = inner.restore(&user) {
            warn!("shares and downloads of earlier sessions could not be brought back: {error}");
        }
        inner.library.lock().queue.open();
        inner.fill_slots();
        // From here on the errands thread minds the session's token too.
        inner.look_after_tickets();
        if inner.trackers.is_over().is_some() {
            // It was said before there was anything to end.
            inner.send_errand(Errand::EndSession);
        }
        Ok(user)
    }
}
