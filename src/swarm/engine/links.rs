//! The registered links of one torrent, with the indexes that are asked for at every message.
//!
//! **Invariant:** at most one link to a device; `incomplete` counts the links whose peer has not
//! said that it has every piece.
//!
//! Plain state under the torrent's lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::swarm::LinkKey;
use crate::swarm::api::Way;
use crate::swarm::link::Link;
use crate::types::DeviceId;

/// The links of a torrent.
#[derive(Default)]
pub(super) struct Links {
    by_key: BTreeMap<LinkKey, Arc<Link>>,
    by_device: HashMap<DeviceId, LinkKey>,
    incomplete: usize,
}

impl Links {
    pub(super) fn insert(&mut self, link: Arc<Link>) {
        self.incomplete += usize::from(!link.has_all());
        self.by_device.insert(link.device, link.key);
        self.by_key.insert(link.key, link);
    }

    pub(super) fn remove(&mut self, key: LinkKey) -> Option<Arc<Link>> {
        let link = self.by_key.remove(&key)?;
        self.by_device.remove(&link.device);
        self.incomplete -= usize::from(!link.has_all());
        Some(link)
    }

    pub(super) fn get(&self, key: LinkKey) -> Option<&Arc<Link>> {
        self.by_key.get(&key)
    }

    pub(super) fn to_device(&self, device: DeviceId) -> Option<&Arc<Link>> {
        self.by_key.get(self.by_device.get(&device)?)
    }

    /// Notes whether a link's peer has every piece.
    pub(super) fn set_has_all(&mut self, link: &Link, has_all: bool) {
        let had_all = link.set_has_all(has_all);
        if self.by_key.contains_key(&link.key) {
            self.incomplete += usize::from(had_all);
            self.incomplete -= usize::from(has_all);
        }
    }

    pub(super) fn are_all_complete(&self) -> bool {
        self.incomplete == 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.by_key.values()
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// How many came about in this way.
    pub(super) fn count(&self, way: Way) -> u32 {
        self.iter().filter(|link| link.way == way).count() as u32
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    pub(super) fn close_if(&self, mut is_over: impl FnMut(&Link) -> bool) {
        self.iter().filter(|link| is_over(link)).for_each(|link| link.close());
    }
}
