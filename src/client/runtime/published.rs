//! What the core has published: what counts now, and who is to be called when a download ends.
//!
//! **Invariant:** those who wait are woken when a download has changed, with the view in which it has.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::client::session::View;
use crate::client::session::status::DownloadStatus;
use crate::types::InfoHash;

/// Called once with the status in which a download ended.
pub(crate) type Callback = Box<dyn FnOnce(&DownloadStatus) + Send>;

/// The present view.
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

    /// Publishes a view, and wakes those who wait if a download has changed in it.
    pub(super) fn set(&self, view: View, has_changed: bool) {
        self.state.lock().view = Arc::new(view);
        if has_changed {
            self.changed.notify_all();
        }
    }

    /// Waits until a download has changed after the view that was seen; false if none has until
    /// then.
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

    /// Keeps a callback for a download that goes on; gives it back if the download has ended, or is
    /// not in memory.
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

    /// The callbacks of a download that has ended.
    pub(super) fn take_callbacks(&self, info_hash: InfoHash) -> Vec<Callback> {
        let mut state = self.state.lock();
        let view = state.view.clone();
        match view.library.download(info_hash) {
            Some(download) if !download.has_ended() => Vec::new(),
            _ => state.callbacks.remove(&info_hash).unwrap_or_default(),
        }
    }

    /// The session is over: nobody is called.
    pub(super) fn drop_callbacks(&self) {
        self.state.lock().callbacks.clear();
    }
}
