//! What happened to requests to join while this device was away: those that wait for the user's
//! answer, and the answers to the user's own.
//!
//! **Invariant:** one request, and one answer, is written down once. The list of a tracker that has
//! not heard of a request yet, though it was acknowledged, is taken at its word.
//!
//! Blocks on a tracker.

use std::time::Duration;

use super::error::ClientError;
use super::event::ClientEvent;
use super::recorder::{now_ms, to_row};
use super::runtime::Runtime;
use crate::store::AskedRow;
use crate::types::{GroupEntry, Part, UserId};

/// Groups whose requests are asked for; the others are looked at when these are answered.
const GROUPS_MAX: usize = 64;

impl Runtime {
    /// Writes down what happened to requests to join while nobody looked. Returns what is new.
    pub(crate) fn catch_up(&self, user: UserId) -> Result<Vec<ClientEvent>, ClientError> {
        // First, so that the list shows whatever was asked for by then.
        let asked = self.store.asked(user)?;
        let mine = self.my_groups().all()?;
        let mut news = Vec::new();
        for event in self.requests_that_wait(&mine)? {
            let is_new = self.write_once(user, &event, Duration::ZERO)?;
            news.extend(Some(event).filter(|_| is_new));
        }
        for AskedRow { group: group_id, label: group, at_ms } in asked {
            let entry = mine.iter().find(|entry| entry.group == group_id);
            let event = match entry.map(|entry| entry.part) {
                Some(Part::Requested) => continue,
                Some(_) => ClientEvent::Admitted { group, group_id },
                None => ClientEvent::JoinRejected { group, group_id },
            };
            // A tracker may have told of it already.
            let since = Duration::from_millis(now_ms().saturating_sub(at_ms));
            let is_new = self.write_once(user, &event, since)?;
            self.store.take_asked(user, group_id)?;
            news.extend(Some(event).filter(|_| is_new));
        }
        for entry in mine.iter().filter(|entry| entry.part == Part::Requested) {
            self.store.note_asked(user, entry.group, &entry.label, now_ms())?;
        }
        Ok(news)
    }

    /// Writes an event down, unless that was done within that time.
    fn write_once(
        &self,
        user: UserId,
        event: &ClientEvent,
        within: Duration,
    ) -> Result<bool, ClientError> {
        match to_row(event) {
            Some(row) => Ok(self.store.add_notification_once(user, &row, within)?),
            None => Ok(false),
        }
    }

    /// The requests to join the user's own groups.
    fn requests_that_wait(&self, mine: &[GroupEntry]) -> Result<Vec<ClientEvent>, ClientError> {
        let mut events = Vec::new();
        let asked_for = mine.iter().filter(|entry| entry.requests.is_some_and(|count| count > 0));
        for entry in asked_for.take(GROUPS_MAX) {
            let (requests, _) = self.request_page(entry.group, None)?;
            events.extend(requests.into_iter().map(|request| ClientEvent::JoinRequested {
                group: entry.label.clone(),
                group_id: entry.group,
                user: request.user.label,
                user_id: request.user.user,
                since: request.since,
            }));
        }
        Ok(events)
    }
}
