//! What the core has published: what counts now, and who is to be called when a download ends.
//!
//! **Invariant:** whoever waits is woken by every publication.

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
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    view: Arc<View>,
    callbacks: HashMap<InfoHash, Vec<Callback>>,
}

impl Published {
    pub(super) fn view(&self) -> Arc<View> {
        self.state.lock().view.clone()
    }

    /// Publishes a view.
    pub(super) fn set(&self, view: View) {
        self.state.lock().view = Arc::new(view);
        self.changed.notify_all();
    }

    /// Waits until there is another view than the one that was seen; false if that did not come
    /// until then.
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

    /// Keeps a callback for a download that goes on; gives it back if the download has ended. One
    /// for a download that is not there is dropped.
    pub(super) fn on_end(&self, info_hash: InfoHash, callback: Callback) -> Option<Callback> {
        let mut state = self.state.lock();
        match state.view.library.download(info_hash).map(|download| download.has_ended()) {
            None => None,
            Some(true) => Some(callback),
            Some(false) => {
                state.callbacks.entry(info_hash).or_default().push(callback);
                None
            }
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
