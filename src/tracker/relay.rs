//! This tracker's relay: its start, and the end of what a former member uses.
//!
//! **Invariant:** a pair whose users are not both members of its group any more ends within
//! [`LOOK_EVERY`].
//!
//! The thread "relay-watch" asks the core while there are pairs.

use std::sync::Arc;
use std::time::Duration;

use super::shared::Shared;
use crate::types::RelayMeeting;

/// How often it is looked whether those who use it are members still.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Ends what former members use, until the tracker ends.
pub(super) fn watch(shared: &Arc<Shared>) {
    let Some(relay) = shared.relay.clone() else { return };
    while !shared.stop.wait(LOOK_EVERY) {
        let mut meetings = relay.meetings();
        if meetings.is_empty() {
            continue;
        }
        let over = shared.core.ask(move |view| {
            let directory = view.directory();
            let is_member = |meeting: &RelayMeeting| {
                let users = meeting.parties().map(|party| party.user);
                users.into_iter().all(|user| directory.is_member(meeting.group, user))
            };
            meetings.retain(|meeting| !is_member(meeting));
            meetings
        });
        let Some(over) = over else { return };
        if !over.is_empty() {
            relay.end_if(|meeting| over.contains(meeting));
        }
    }
}
