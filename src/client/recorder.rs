//! Stores events in the device store, for users who were away when they happened.
//!
//! **Invariant:** a user's stored events are shown in that user's session only. One event is stored
//! once, however many trackers report it.
//!
//! The thread "notifications" writes; no other thread waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::Receiver;
use log::warn;

use super::event::ClientEvent;
use crate::store::{DeviceStore, NotificationRow, StoreError};
use crate::types::{UserId, bad_data_text, unreachable_text};

/// Two answers for one group within that are one: it was found in a list, and a tracker told of it.
const SAME_ANSWER: Duration = Duration::from_secs(10);

/// How long events are gathered for one transaction; what came in that time is lost at a `kill -9`.
const GATHER: Duration = Duration::from_millis(50);
/// Maximum number of events in one transaction.
const BATCH_LEN: usize = 256;

/// The kind of a stored event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationKind {
    /// A user asks to join a group of this user.
    JoinRequested,
    /// The user's request to join was rejected.
    JoinRejected,
    /// The user was accepted into a group.
    Admitted,
    /// The user is no longer a member of a group.
    Removed,
    /// A download is complete.
    DownloadComplete,
    /// A download has failed.
    DownloadFailed,
    /// A download has paused for a reason.
    DownloadPaused,
    /// A share of this device is no longer offered.
    ShareNotOffered,
    /// The session has ended by itself.
    SessionEnded,
    /// Members say that what this device sends of a file is wrong.
    BadDataReported,
    /// Members could not connect to this device.
    Unreachable,
    /// A user has joined by an invitation.
    MemberJoined,
}

impl NotificationKind {
    /// Every kind, with its stored number, which never changes, and its name for programs: the
    /// event's.
    const ALL: [(i64, Self, &'static str); 12] = [
        (1, Self::JoinRequested, "join_requested"),
        (2, Self::JoinRejected, "join_rejected"),
        (3, Self::Admitted, "admitted"),
        (4, Self::Removed, "removed"),
        (5, Self::DownloadComplete, "download_complete"),
        (6, Self::DownloadFailed, "download_failed"),
        (7, Self::DownloadPaused, "download_paused"),
        (8, Self::ShareNotOffered, "share_not_offered"),
        (9, Self::SessionEnded, "session_ended"),
        (10, Self::BadDataReported, "bad_data_reported"),
        (11, Self::Unreachable, "unreachable"),
        (12, Self::MemberJoined, "member_joined"),
    ];

    /// The name of the event.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind, _)| *kind == self).map_or("", |(_, _, name)| name)
    }

    fn number(self) -> i64 {
        Self::ALL.iter().find(|(_, kind, _)| *kind == self).map_or(0, |(number, _, _)| *number)
    }

    pub(crate) fn of_number(number: i64) -> Option<Self> {
        Self::ALL.iter().find(|(known, _, _)| *known == number).map(|(_, kind, _)| *kind)
    }
}

/// Stores events until the client stops. Runs on the thread "notifications".
pub(crate) fn record(
    store: &Arc<DeviceStore>,
    events: &Receiver<ClientEvent>,
    user: impl Fn() -> Option<UserId>,
) {
    let mut last_user = None;
    let mut batch: Vec<Recorded> = Vec::new();
    while let Ok(first) = events.recv() {
        // Thousands of small files complete one after the other: one transaction for many.
        let deadline = Instant::now() + GATHER;
        let mut next = Some(first);
        while let Some(event) = next {
            last_user = user().or(last_user);
            if let (Some(user), Some(row)) = (last_user, to_row(&event)) {
                batch.push(Recorded { user, event, row });
            }
            let is_full = batch.len() >= BATCH_LEN;
            next = if is_full { None } else { events.recv_deadline(deadline).ok() };
        }
        let is_together = |one: &Recorded, other: &Recorded| {
            one.user == other.user && is_told_once(&one.event) && is_told_once(&other.event)
        };
        for run in batch.chunk_by(is_together) {
            if let Err(error) = write(store, run) {
                warn!("{error}");
            }
        }
        batch.clear();
    }
}

/// An event that is to be stored.
struct Recorded {
    user: UserId,
    event: ClientEvent,
    row: NotificationRow,
}

/// Tells whether an event has one source only, so that it cannot be stored already.
fn is_told_once(event: &ClientEvent) -> bool {
    !matches!(
        event,
        ClientEvent::JoinRequested { .. }
            | ClientEvent::Admitted { .. }
            | ClientEvent::JoinRejected { .. }
    )
}

/// Stores events of one user: several that are told once, or one that may be stored already, as it
/// was found out on another way.
fn write(store: &DeviceStore, run: &[Recorded]) -> Result<(), StoreError> {
    let Some(Recorded { user, event, row }) = run.first() else { return Ok(()) };
    let within = match event {
        ClientEvent::JoinRequested { .. } => Duration::ZERO,
        ClientEvent::Admitted { group_id, .. } | ClientEvent::JoinRejected { group_id, .. }
            if !store.take_asked(*user, *group_id)? =>
        {
            SAME_ANSWER
        }
        _ => {
            let rows: Vec<NotificationRow> = run.iter().map(|of| of.row.clone()).collect();
            return store.add_notifications(*user, &rows);
        }
    };
    store.add_notification_once(*user, row, within).map(drop)
}

/// This machine's clock, in milliseconds since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// What to write down of an event, if anything.
pub(super) fn to_row(event: &ClientEvent) -> Option<NotificationRow> {
    use NotificationKind as Kind;
    let text = |text: &dyn ToString| text.to_string();
    let (kind, group, about, detail) = match event {
        ClientEvent::JoinRequested { group, user, .. } => {
            (Kind::JoinRequested, text(group), text(user), String::new())
        }
        ClientEvent::MemberJoined { group, user, .. } => {
            (Kind::MemberJoined, text(group), text(user), String::new())
        }
        ClientEvent::JoinRejected { group, .. } => {
            (Kind::JoinRejected, text(group), String::new(), String::new())
        }
        ClientEvent::Admitted { group, .. } => {
            (Kind::Admitted, text(group), String::new(), String::new())
        }
        ClientEvent::Removed { group, .. } => {
            (Kind::Removed, text(group), String::new(), String::new())
        }
        ClientEvent::DownloadComplete { group, file, path, .. } => {
            (Kind::DownloadComplete, text(group), text(file), path.display().to_string())
        }
        ClientEvent::DownloadFailed { group, file, reason, .. } => {
            (Kind::DownloadFailed, text(group), text(file), reason.clone())
        }
        ClientEvent::DownloadPaused { group, file, reason, .. } => {
            (Kind::DownloadPaused, text(group), text(file), reason.clone())
        }
        ClientEvent::ShareNotOffered { group, file, reason, .. } => {
            (Kind::ShareNotOffered, text(group), text(file), reason.clone())
        }
        ClientEvent::SessionEnded { reason, .. } => {
            (Kind::SessionEnded, String::new(), String::new(), text(reason))
        }
        ClientEvent::BadDataReported { group, file, members, .. } => {
            let reason = bad_data_text(*members, file.as_str());
            (Kind::BadDataReported, text(group), text(file), reason)
        }
        ClientEvent::Unreachable { address, members } => {
            let reason = unreachable_text(*members, *address);
            (Kind::Unreachable, String::new(), String::new(), reason)
        }
        _ => return None,
    };
    let at_ms = match event {
        // Found out later, it is the same request.
        ClientEvent::JoinRequested { since, .. } => since.ms(),
        _ => now_ms(),
    };
    let kind = kind.number();
    Some(NotificationRow { at_ms, kind, group, about, detail, is_seen: false })
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
}
