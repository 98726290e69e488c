//! The links of a download, and which of them may have room for another piece.
//!
//! **Invariant:** a link that is not in `candidates` has no room. What changes a link makes it a
//! candidate; [`Links::candidates`] drops those that turn out to have no room.
//!
//! So a choice looks at the links that something happened to, and not at all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::link::Link;
use super::values::{LinkKey, Options};
use crate::types::{Geometry, PieceIndex};

/// The links by key.
#[derive(Debug, Default)]
pub(super) struct Links {
    by_key: BTreeMap<LinkKey, Link>,
    candidates: BTreeSet<LinkKey>,
    /// Links looked at by [`Links::candidates`] so far.
    looked_at: u64,
}

impl Links {
    pub(super) fn insert(&mut self, key: LinkKey, link: Link) {
        self.by_key.entry(key).or_insert(link);
        self.candidates.insert(key);
    }

    pub(super) fn remove(&mut self, key: LinkKey) {
        self.by_key.remove(&key);
        self.candidates.remove(&key);
    }

    pub(super) fn get(&self, key: LinkKey) -> Option<&Link> {
        self.by_key.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: LinkKey) -> Option<&mut Link> {
        let link = self.by_key.get_mut(&key)?;
        self.candidates.insert(key);
        Some(link)
    }

    /// Returns a link to change what its room does not depend on.
    pub(super) fn get_mut_unindexed(&mut self, key: LinkKey) -> Option<&mut Link> {
        self.by_key.get_mut(&key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (LinkKey, &Link)> {
        self.by_key.iter().map(|(&key, link)| (key, link))
    }

    pub(super) fn keys(&self) -> Vec<LinkKey> {
        self.by_key.keys().copied().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Tells whether another link than this one can be asked for a piece and is one that `fits`.
    pub(super) fn others_can(
        &self,
        link: LinkKey,
        piece: u32,
        fits: impl Fn(LinkKey, &Link) -> bool,
    ) -> bool {
        self.iter().any(|(other, state)| {
            other != link
                && state.unchoked
                && !state.avoid.contains_key(&piece)
                && fits(other, state)
        })
    }

    /// Forgets for all links that a piece was to be asked elsewhere.
    pub(super) fn stop_avoiding(&mut self, piece: PieceIndex) {
        self.by_key.values_mut().for_each(|link| _ = link.avoid.remove(&piece.get()));
    }

    /// Returns the links whose window has room, in the order of their keys.
    pub(super) fn candidates(
        &mut self,
        geometry: &Geometry,
        options: &Options,
    ) -> impl Iterator<Item = (LinkKey, &Link)> {
        let Self { by_key, candidates, looked_at } = self;
        *looked_at += candidates.len() as u64;
        candidates.retain(|key| by_key.get(key).is_some_and(|link| link.fits(geometry, options)));
        candidates.iter().filter_map(|key| by_key.get(key).map(|link| (*key, link)))
    }

    /// Returns how many links were looked at to find those with room.
    pub(super) fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// Checks the invariant; for tests.
    #[cfg(any(test, fuzzing))]
    pub(super) fn check(&self, geometry: &Geometry, options: &Options) {
        for (key, link) in &self.by_key {
            let is_known = self.candidates.contains(key);
            assert!(is_known || !link.fits(geometry, options), "link {key:?} has room unnoticed");
        }
    }
}
