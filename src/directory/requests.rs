//! The requests that were carried out lately: a repeated request has its effect once.
//!
//! **Invariant:** a request found here is in the directory. Refused requests are not kept: a repeated
//! one is judged again. Only requests of the last minutes are in memory: an older copy is refused for
//! its own time.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::{Change, Effect, GroupId, Place, RequestId, RequestStamp, Stamp, UserId};

/// How long a request is in memory: far longer than its own time may be off.
pub(super) const REMEMBERED_MS: u64 = 10 * 60_000;

/// One request that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) actor: UserId,
    pub(super) effect: Effect,
    /// The stamp of what it wrote.
    pub(super) stamp: Stamp,
    /// The update sequence here.
    pub(super) sequence: u64,
    /// Where it was carried out.
    pub(super) place: Place,
}

impl Carried {
    /// Tells whether asking for `change` under this request id repeats the request; otherwise the id
    /// is used twice.
    pub(super) fn is_repeated_by(&self, request: RequestStamp, actor: UserId, change: &Change) -> bool {
        actor == self.actor && effect_of(request.id, actor, change) == self.effect
    }
}

/// What a change brings about.
pub(super) fn effect_of(request: RequestId, actor: UserId, change: &Change) -> Effect {
    match change {
        Change::CreateUser { name, .. } => Effect::User(UserId::derive(name, request)),
        Change::CreateGroup { name } => Effect::Group(GroupId::derive(name, actor, request)),
        _ => Effect::Done,
    }
}

/// The requests that were carried out lately.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests {
    carried: BTreeMap<RequestId, Carried>,
    by_time: BTreeSet<(Stamp, RequestId)>,
}

impl Requests {
    /// Notes a request.
    pub(super) fn record(&mut self, request: RequestId, carried: Carried) {
        if let Some(before) = self.carried.insert(request, carried) {
            self.by_time.remove(&(before.stamp, request));
        }
        self.by_time.insert((carried.stamp, request));
    }

    /// Finds a request.
    pub(super) fn get(&self, request: RequestId) -> Option<&Carried> {
        self.carried.get(&request)
    }

    /// Forgets those of which every copy is refused for its time.
    pub(super) fn forget(&mut self, now_ms: u64) {
        let limit = Stamp::new(now_ms.saturating_sub(REMEMBERED_MS), 0);
        while let Some(&(stamp, request)) = self.by_time.first().filter(|(stamp, _)| *stamp < limit) {
            self.by_time.remove(&(stamp, request));
            self.carried.remove(&request);
        }
    }
}
