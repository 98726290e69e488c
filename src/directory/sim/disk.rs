//! A tracker's store as plain data.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use crate::types::{Operation, RequestId, StoreId, VersionVector};

/// What a store holds, in the order it was stored: going back in time is cutting off the end.
#[derive(Clone)]
pub(super) enum Entry {
    Origin(StoreId),
    Operation(Rc<Operation>),
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Origin(origin) => write!(f, "{origin}"),
            Self::Operation(operation) => write!(f, "{}/{}", operation.origin, operation.sequence),
        }
    }
}

/// One tracker's store.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    pub(super) log: Vec<Entry>,
    pub(super) vector: VersionVector,
    requests: BTreeMap<RequestId, u32>,
}

impl Disk {
    pub(super) fn push(&mut self, entry: Entry) {
        if let Entry::Operation(operation) = &entry {
            assert_eq!(operation.sequence, self.vector.get(operation.origin) + 1, "a store has a gap");
            self.vector.raise(operation.origin, operation.sequence);
            *self.requests.entry(operation.request).or_default() += 1;
        }
        self.log.push(entry);
    }

    pub(super) fn origin(&self) -> StoreId {
        let origin = |entry: &Entry| if let Entry::Origin(origin) = entry { Some(*origin) } else { None };
        self.log.iter().rev().find_map(origin).unwrap()
    }

    pub(super) fn operations(&self) -> impl Iterator<Item = &Rc<Operation>> {
        self.log.iter().filter_map(|entry| if let Entry::Operation(operation) = entry { Some(operation) } else { None })
    }

    pub(super) fn has(&self, request: RequestId) -> bool {
        self.requests.contains_key(&request)
    }
}
