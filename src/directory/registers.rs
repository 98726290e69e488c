//! Last-writer-wins registers: one for each row, with the version of the write that it holds.
//!
//! **Invariant:** a register holds the largest write that it was ever offered, whatever the order of
//! the offers. So merging is commutative, associative and idempotent, even for input that no tracker
//! of ours writes (one version used for two contents).

use std::collections::BTreeMap;

use crate::types::Version;

/// One register: the value and the version of the write that put it there.
#[derive(Debug, Clone)]
pub(super) struct Register<V> {
    pub(super) version: Version,
    pub(super) value: V,
    /// Fields of the value that a later version of this program knows.
    pub(super) extra: Box<[u8]>,
}

impl<V: Ord> Register<V> {
    /// Replaces the content if the offer wins, and returns what was there.
    fn offer(&mut self, other: Self) -> Option<Self> {
        let wins = (other.version, &other.value, &other.extra) > (self.version, &self.value, &self.extra);
        wins.then(|| std::mem::replace(self, other))
    }
}

/// Offers a write to an optional register. `None`: the older value stays. `Some(previous)`: it was
/// written.
pub(super) fn merge_one<V: Ord>(slot: &mut Option<Register<V>>, write: Register<V>) -> Option<Option<Register<V>>> {
    match slot {
        Some(register) => register.offer(write).map(Some),
        None => {
            *slot = Some(write);
            Some(None)
        }
    }
}

/// Offers a write to a register in a map, as [`merge_one`].
pub(super) fn merge<K: Ord, V: Ord>(
    map: &mut BTreeMap<K, Register<V>>,
    key: K,
    write: Register<V>,
) -> Option<Option<Register<V>>> {
    match map.get_mut(&key) {
        Some(register) => register.offer(write).map(Some),
        None => {
            map.insert(key, write);
            Some(None)
        }
    }
}

/// Offers a write to a register whose deletion is final: a deleted one keeps the deletion with the
/// largest version.
pub(super) fn merge_final<V: Ord>(
    slot: &mut Option<Register<Option<V>>>,
    write: Register<Option<V>>,
) -> Option<Option<Register<Option<V>>>> {
    match slot {
        Some(register) if register.value.is_none() != write.value.is_none() => {
            write.value.is_none().then(|| Some(std::mem::replace(register, write)))
        }
        _ => merge_one(slot, write),
    }
}
