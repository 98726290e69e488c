//! Begins a session: at the trackers, with an engine, and with the rows of the store.
//!
//! Blocks on the trackers, and for a moment on disks.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Runtime;
use crate::client::error::ClientError;
use crate::client::session::input::{Command, Entry};
use crate::client::trackers::{LoggedIn, TrackerSet};
use crate::types::UserEntry;

impl Runtime {
    /// Logs in at the trackers and starts the session.
    pub(crate) fn begin_session(
        self: &Arc<Self>,
        login: impl FnOnce(&TrackerSet) -> Result<LoggedIn, ClientError>,
    ) -> Result<UserEntry, ClientError> {
        self.ask(Command::Reserve)?;
        let entered = login(&self.trackers).and_then(|logged_in| {
            self.must_change_password.store(logged_in.must_change, Ordering::Relaxed);
            self.enter_session(logged_in.user)
        });
        if entered.is_err() {
            self.ask(Command::Release)?;
        }
        entered
    }

    /// Starts the engine and restores the user's rows from the device store.
    fn enter_session(self: &Arc<Self>, user: UserEntry) -> Result<UserEntry, ClientError> {
        let entered = self.start_engine(user.user).and_then(|()| {
            let entry = self.entry_of(user.clone())?;
            self.ask(Command::Enter(Box::new(entry))).map(drop)
        });
        if let Err(error) = entered {
            self.stop_engine();
            return Err(error);
        }
        self.end_session_if_over();
        self.lan.wake();
        let (runtime, id) = (self.clone(), user.user);
        self.errands.run(move || match runtime.catch_up(id) {
            Ok(news) => news.iter().for_each(|event| runtime.bus.tell(event)),
            Err(error) => log::debug!("what happened meanwhile is not known: {error}"),
        });
        Ok(user)
    }

    /// The user's rows in the store, and the user's groups.
    fn entry_of(&self, user: UserEntry) -> Result<Entry, ClientError> {
        let shares = self.store.shares(user.user)?;
        let downloads = self.store.unfinished_downloads(user.user)?;
        let queued = self.store.queued(user.user)?;
        let mine = match shares.is_empty() && downloads.is_empty() {
            true => None,
            false => self.groups_of_user(),
        };
        let device = self.security.device();
        Ok(Entry { user, device, mine, shares, downloads, queued })
    }
}
