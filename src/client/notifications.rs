//! Stored events, as shown to the user.

use log::debug;

use super::error::ClientError;
use super::recorder::NotificationKind;
use super::start::Client;
use crate::store::NotificationRow;

/// A stored event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The kind of event.
    pub kind: NotificationKind,
    /// The group's name at that time, if the event is about a group.
    pub group: Option<String>,
    /// The user or file that it is about, if there is one.
    pub about: Option<String>,
    /// The file's path, or the reason.
    pub detail: Option<String>,
    /// It was shown before.
    pub is_seen: bool,
}

impl Client {
    /// The events of the session's user on this device, the oldest first: those that were not shown
    /// yet, or `all` that are stored. They count as shown afterwards. A tracker, if one can be
    /// reached, is asked first for requests to join that wait, and for answers to the user's own.
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
                // A kind of a later version is skipped.
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
