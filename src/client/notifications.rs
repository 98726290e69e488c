//! What happened while nobody looked, as the user is shown it.

use log::debug;

use super::error::ClientError;
use super::recorder::NotificationKind;
use super::start::Client;
use crate::store::NotificationRow;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What.
    pub kind: NotificationKind,
    /// The group's name then, if it is about one.
    pub group: Option<String>,
    /// The user or file that it is about, if it is about one.
    pub about: Option<String>,
    /// Where the file is, or why.
    pub detail: Option<String>,
    /// It was shown before.
    pub is_seen: bool,
}

impl Client {
    /// What happened to the session's user on this device, the oldest first: what was not shown
    /// yet, or `all` that is kept. A tracker, if one can be reached, is asked for requests to join
    /// that wait, and for the answers to the user's own, of which this device has not heard. From then on it counts as shown.
    ///
    /// # Errors
    /// [`Refusal::LoginFirst`](crate::types::Refusal::LoginFirst), [`ClientError::Store`].
    pub fn notifications(&self, all: bool) -> Result<Vec<Notification>, ClientError> {
        let inner = &self.inner;
        let user = inner.need_user()?.user;
        if inner.trackers.is_reachable()
            && let Err(error) = inner.catch_up(user)
        {
            debug!("what happened meanwhile is not known: {error}");
        }
        let rows = inner.store.notifications(user, all)?;
        if rows.iter().any(|row| !row.is_seen) {
            inner.store.notifications_seen(user)?;
        }
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let notification = |row: NotificationRow| {
            Some(Notification {
                at_ms: row.at_ms,
                // One of a later version is passed over.
                kind: NotificationKind::of_number(row.kind)?,
                group: some(row.group),
                about: some(row.about),
                detail: some(row.detail),
                is_seen: row.is_seen,
            })
        };
        Ok(rows.into_iter().filter_map(notification).collect())
    }
}
