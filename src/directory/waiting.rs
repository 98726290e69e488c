//! Replies that wait until what they tell is safe, and the operations that were handed out last.

use std::collections::{BTreeMap, VecDeque};

use super::links::Range;
use super::output::Ticket;
use crate::types::limits::OPERATIONS_PER_BATCH_MAX;
use crate::types::{Operation, OriginId, Outcome};

/// One reply that waits.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    pub(super) outcome: Outcome,
    /// Operations that must be durable wherever it counts; each stands for those before it.
    pub(super) needs: Vec<(OriginId, u64)>,
}

/// Register writes kept in [`Recent`]: as many as fit into one frame beside the operations around them.
const RECENT_WRITES_MAX: usize = 8192;

/// The latest operations, so that links which keep up are served without reading the store.
///
/// **Invariant:** at most one batch of operations, whose writes together are bounded; an operation larger than that is not kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Recent {
    operations: BTreeMap<(OriginId, u64), Operation>,
    order: VecDeque<(OriginId, u64)>,
    write_count: usize,
}

impl Recent {
    pub(super) fn push(&mut self, operation: &Operation) {
        if operation.writes.len() > RECENT_WRITES_MAX {
            return;
        }
        let key = (operation.origin, operation.sequence);
        self.write_count += operation.writes.len();
        self.order.push_back(key);
        self.operations.insert(key, operation.clone());
        while self.order.len() > OPERATIONS_PER_BATCH_MAX || self.write_count > RECENT_WRITES_MAX {
            let gone = self.order.pop_front().and_then(|oldest| self.operations.remove(&oldest));
            self.write_count -= gone.map_or(0, |operation| operation.writes.len());
        }
    }

    /// Returns the operations of all ranges, or `None` if one is not here.
    pub(super) fn get(&self, ranges: &[Range]) -> Option<Vec<Operation>> {
        let keys = ranges.iter().flat_map(|&(origin, first, last)| (first..=last).map(move |sequence| (origin, sequence)));
        keys.map(|key| self.operations.get(&key).cloned()).collect()
    }
}
