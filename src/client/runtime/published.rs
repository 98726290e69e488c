//! The core's published view, and the callbacks for the end of downloads.
//!
//! **Invariant:** a change of a download wakes the waiting threads, and they find it in the view.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::client::session::View;
use crate::client::session::status::DownloadStatus;
use crate::types::InfoHash;

/// Called once with the status in which a download ended.
pub(crate) type Callback = Box<dyn FnOnce(&DownloadStatus) + Send>;

/// The current view.
#[derive(Default)]
pub(super) struct Published {
    state: Mutex<PublishedState>,
    changed: Condvar,
}

#[derive(Default)]
struct PublishedState {
    view: Arc<View>,
    callbacks: HashMap<InfoHash, Vec<Callback>>,
}

impl Published {
    pub(super) fn view(&self) -> Arc<View> {
        self.state.lock().view.clone()
    }

    /// Publishes a view; wakes the waiting threads if a download has changed in it.
    pub(super) fn set(&self, view: View, has_changed: bool) {
        self.state.lock().view = Arc::new(view);
        if has_changed {
            self.changed.notify_all();
        }
    }

    /// Waits for a newer view than `seen`; false if there is none at `until`.
    pub(super) fn wait(&self, seen: &Arc<View>, until: Option<Instant>) -> bool {
        let mut state = self.state.lock();
        while Arc::ptr_eq(&state.view, seen) {
            match until {
                None => self.changed.wait(&mut state),
                Some(until) => {
                    if self.changed.wait_until(&mut state, until).timed_out() {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Stores a callback for a download that has not ended. Returns it if the download has ended,
    /// or is not in memory.
    pub(super) fn on_end(&self, info_hash: InfoHash, callback: Callback) -> Option<Callback> {
        let mut state = self.state.lock();
        match state.view.library.download(info_hash) {
            Some(download) if !download.has_ended() => {
                state.callbacks.entry(info_hash).or_default().push(callback);
                None
            }
            _ => Some(callback),
        }
    }

    /// Takes the callbacks of a download that has ended.
    pub(super) fn take_callbacks(&self, info_hash: InfoHash) -> Vec<Callback> {
        let mut state = self.state.lock();
        let view = state.view.clone();
        match view.library.download(info_hash) {
            Some(download) if !download.has_ended() => Vec::new(),
            _ => state.callbacks.remove(&info_hash).unwrap_or_default(),
        }
    }

    /// The session is over: drops the callbacks.
    pub(super) fn drop_callbacks(&self) {
        self.state.lock().callbacks.clear();
    }
}
