//! What happened while nobody looked: events, written down in the device store.
//!
//! **Invariant:** what happened to a user only that user's session is shown. One event is written
//! down once, whichever and how many trackers tell of it.
//!
//! The thread "notifications" writes, and nobody waits for it.

use std::collections::HashMap;
use std::sync::Weak;
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, select};

use super::core::Inner;
use super::{Client, ClientError, ClientEvent};
use crate::net::Stop;
use crate::store::NotificationRow;
use crate::types::{GroupId, Label, Stamp, UserEntry, UserId};

/// Requests to join of which it is remembered that they were told of; beyond it they are forgotten,
/// and may be told of once more.
const JOINS_MAX: usize = 4096;

/// What a notification is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationKind {
    /// Somebody asks to join a group of the user's.
    JoinRequested,
    /// The user's request to join was turned down.
    JoinRejected,
    /// The user was let into a group.
    Admitted,
    /// The user is no longer a member of a group.
    Removed,
    /// A download is complete.
    DownloadComplete,
    /// A download cannot go on.
    DownloadFailed,
    /// A download has paused itself.
    DownloadPaused,
    /// A share of this device is not offered.
    ShareNotOffered,
    /// The session had ended by itself.
    SessionEnded,
}

impl NotificationKind {
    /// Every kind with the number under which it is kept, which never changes, and its name for
    /// programs: that of the event.
    const ALL: [(i64, Self, &'static str); 9] = [
        (1, Self::JoinRequested, "join_requested"),
        (2, Self::JoinRejected, "join_rejected"),
        (3, Self::Admitted, "admitted"),
        (4, Self::Removed, "removed"),
        (5, Self::DownloadComplete, "download_complete"),
        (6, Self::DownloadFailed, "download_failed"),
        (7, Self::DownloadPaused, "download_paused"),
        (8, Self::ShareNotOffered, "share_not_offered"),
        (9, Self::SessionEnded, "session_ended"),
    ];

    /// The name of the event.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind, _)| *kind == self).map_or("", |(_, _, name)| name)
    }

    fn number(self) -> i64 {
        Self::ALL.iter().find(|(_, kind, _)| *kind == self).map_or(0, |(number, _, _)| *number)
    }

    fn of_number(number: i64) -> Option<Self> {
        Self::ALL.iter().find(|(known, _, _)| *known == number).map(|(_, kind, _)| *kind)
    }
}

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

/// Which requests to join, and answers to the user's own, were told of in this session: every
/// tracker tells of them.
#[derive(Debug, Default)]
pub(crate) struct Joins {
    requested: HashMap<(GroupId, UserId), Stamp>,
    rejected: HashMap<GroupId, Stamp>,
}

impl Joins {
    /// Forgets everything: the session has ended.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Notes a time; tells whether it is later than the one before.
fn is_news<K: Eq + std::hash::Hash>(told: &mut HashMap<K, Stamp>, key: K, at: Stamp) -> bool {
    if told.len() >= JOINS_MAX {
        told.clear();
    }
    !matches!(told.insert(key, at), Some(before) if before >= at)
}

impl Inner {
    /// A tracker says that somebody asks to join a group of the user's.
    pub(crate) fn join_requested(&self, group: GroupId, label: Label, user: UserEntry, at: Stamp) {
        if is_news(&mut self.joins.lock().requested, (group, user.user), at) {
            self.bus.tell(&ClientEvent::JoinRequested { group: label, user: user.label });
        }
    }

    /// A tracker says that the user, who had asked to join, was turned down.
    pub(crate) fn join_rejected(&self, group: GroupId, label: Label, at: Stamp) {
        if is_news(&mut self.joins.lock().rejected, group, at) {
            self.bus.tell(&ClientEvent::JoinRejected { group: label });
        }
    }
}

/// Writes events down until the client stops. Runs on the thread "notifications".
pub(crate) fn record(inner: &Weak<Inner>, events: &Receiver<ClientEvent>, stop: &Stop) {
    let mut last_user = None;
    loop {
        let event = select! {
            recv(events) -> event => event.ok(),
            recv(stop.channel()) -> _ => None,
        };
        let (Some(event), Some(inner)) = (event, inner.upgrade()) else { return };
        let user = inner.library.lock().user().map(|user| user.user);
        last_user = user.or(last_user);
        if let (Some(user), Some(row)) = (last_user, to_row(&event)) {
            let stored = inner.store.add_notification(user, &row);
            inner.note_store_error(stored);
        }
    }
}

fn to_row(event: &ClientEvent) -> Option<NotificationRow> {
    use NotificationKind as Kind;
    let text = |text: &dyn ToString| text.to_string();
    let (kind, group, about, detail) = match event {
        ClientEvent::JoinRequested { group, user } => {
            (Kind::JoinRequested, text(group), text(user), String::new())
        }
        ClientEvent::JoinRejected { group } => {
            (Kind::JoinRejected, text(group), String::new(), String::new())
        }
        ClientEvent::Admitted { group } => {
            (Kind::Admitted, text(group), String::new(), String::new())
        }
        ClientEvent::Removed { group } => {
            (Kind::Removed, text(group), String::new(), String::new())
        }
        ClientEvent::DownloadComplete { group, file, path } => {
            (Kind::DownloadComplete, text(group), text(file), path.display().to_string())
        }
        ClientEvent::DownloadFailed { group, file, reason } => {
            (Kind::DownloadFailed, text(group), text(file), reason.clone())
        }
        ClientEvent::DownloadPaused { group, file, reason } => {
            (Kind::DownloadPaused, text(group), text(file), reason.clone())
        }
        ClientEvent::ShareNotOffered { group, file, reason, .. } => {
            (Kind::ShareNotOffered, text(group), text(file), reason.clone())
        }
        ClientEvent::SessionEnded { reason, .. } => {
            (Kind::SessionEnded, String::new(), String::new(), text(reason))
        }
        _ => return None,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (at_ms, kind) = (now.as_millis() as u64, kind.number());
    Some(NotificationRow { at_ms, kind, group, about, detail, is_seen: false })
}

impl Client {
    /// What happened to the session's user on this device, the oldest first: what was not shown
    /// yet, or `all` that is kept. From then on it counts as shown.
    ///
    /// # Errors
    /// [`Refusal::LoginFirst`](crate::types::Refusal::LoginFirst), [`ClientError::Store`].
    pub fn notifications(&self, all: bool) -> Result<Vec<Notification>, ClientError> {
        let inner = &self.inner;
        let user = inner.need_user()?.user;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_numbers_and_names_of_their_own() {
        for (number, kind, name) in NotificationKind::ALL {
            assert_eq!((kind.number(), kind.as_str()), (number, name));
            assert_eq!(NotificationKind::of_number(number), Some(kind));
        }
        assert_eq!(NotificationKind::of_number(0), None);
    }

    #[test]
    fn what_several_trackers_tell_is_news_once() {
        let (mut told, group) = (HashMap::new(), GroupId::from_bytes([1; 16]));
        let at = |ms| Stamp::new(ms, 0);
        let news: Vec<bool> =
            [5, 5, 4, 6].into_iter().map(|ms| is_news(&mut told, group, at(ms))).collect();
        assert_eq!(news, [true, false, false, true]);
    }
}
