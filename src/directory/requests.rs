//! Which requests were carried out: what makes a repeated request have its effect once.
//!
//! **Invariant:** a request found here is in the directory. Refused requests are not kept: a repeated one is judged again.

use std::collections::BTreeMap;

use crate::types::{Change, Effect, GroupId, Operation, OriginId, RequestId, UserId};

/// One request that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) actor: UserId,
    pub(super) effect: Effect,
    /// The operation that did it; where two trackers both did, the one that became known here first.
    pub(super) origin: OriginId,
    pub(super) sequence: u64,
}

impl Carried {
    /// Tells whether asking for `change` under this request id repeats the request; otherwise the id is used twice.
    pub(super) fn is_repeated_by(&self, request: RequestId, actor: UserId, change: &Change) -> bool {
        let effect = match change {
            Change::CreateUser { name, .. } => Effect::User(UserId::derive(name, request)),
            Change::CreateGroup { name } => Effect::Group(GroupId::derive(name, actor, request)),
            _ => Effect::Done,
        };
        actor == self.actor && effect == self.effect
    }
}

/// All requests that were carried out.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests(BTreeMap<RequestId, Carried>);

impl Requests {
    /// Notes the request behind an operation.
    pub(super) fn record(&mut self, operation: &Operation) {
        let Operation { origin, sequence, actor, effect, .. } = *operation;
        self.0.entry(operation.request).or_insert(Carried { actor, effect, origin, sequence });
    }

    /// Finds a request.
    pub(super) fn get(&self, request: RequestId) -> Option<&Carried> {
        self.0.get(&request)
    }
}
