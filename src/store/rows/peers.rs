//! How far other stores are merged and known.
//!
//! **Invariant:** entries only rise, and there are at most [`PEERS_MAX`]: the one that changed
//! longest ago goes, which costs time when its rows are sent here once more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::{Connection, params};

use super::super::database::StoreError;
use crate::types::{StoreId, VersionVector, limits};

/// Stores known besides this one and its ancestors, so that a version vector holds all of them.
pub(in crate::store) const PEERS_MAX: usize = limits::STORES_MAX - limits::ANCESTORS_MAX - 1;

/// What is known about one store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::store) struct Peer {
    /// How far the stream of that store is merged.
    pub(in crate::store) checkpoint: u64,
    /// Its entry in the version vector.
    pub(in crate::store) complete: u64,
    /// Larger for those that changed later.
    pub(in crate::store) touched: u64,
}

/// The table `peers` as it is to be, and which of it has changed.
#[derive(Debug, Clone, Default)]
pub(super) struct Peers {
    entries: BTreeMap<StoreId, Peer>,
    changed: BTreeSet<StoreId>,
    touched: u64,
}

impl Peers {
    /// Reads the table.
    pub(super) fn read(path: &Path, connection: &Connection) -> Result<Self, StoreError> {
        let wrap = |source| StoreError::of(path, source);
        let sql = "SELECT store, checkpoint, complete, touched FROM peers";
        let mut statement = connection.prepare(sql).map_err(wrap)?;
        let read = |row: &rusqlite::Row<'_>| {
            let number = |column| row.get::<_, i64>(column).map(|number| number as u64);
            let peer = Peer { checkpoint: number(1)?, complete: number(2)?, touched: number(3)? };
            Ok((StoreId::from_bytes(row.get(0)?), peer))
        };
        let found = statement.query_map([], read).and_then(Iterator::collect);
        let entries: BTreeMap<_, Peer> = found.map_err(wrap)?;
        let touched = entries.values().map(|peer| peer.touched).max().unwrap_or(0);
        Ok(Self { entries, changed: BTreeSet::new(), touched })
    }

    /// Raises what is known about a store.
    pub(super) fn raise(&mut self, store: StoreId, checkpoint: u64, complete: u64) {
        let known = self.entries.get(&store).copied().unwrap_or_default();
        if checkpoint <= known.checkpoint && complete <= known.complete {
            return;
        }
        self.touched += 1;
        let peer = Peer {
            checkpoint: known.checkpoint.max(checkpoint),
            complete: known.complete.max(complete),
            touched: self.touched,
        };
        self.entries.insert(store, peer);
        self.changed.insert(store);
    }

    /// Takes over what a record of the journal says of a store; `None` if it is forgotten.
    pub(super) fn replay(&mut self, store: StoreId, peer: Option<Peer>) {
        match peer {
            Some(peer) => drop(self.entries.insert(store, peer)),
            None => drop(self.entries.remove(&store)),
        }
        self.touched = self.touched.max(peer.map_or(0, |peer| peer.touched));
        self.changed.insert(store);
    }

    /// Forgets those that there is no room for, and takes what has changed; `None` for one that is
    /// forgotten.
    pub(super) fn take_changed(&mut self) -> Vec<(StoreId, Option<Peer>)> {
        while self.entries.len() > PEERS_MAX {
            let oldest =
                self.entries.iter().min_by_key(|(_, peer)| peer.touched).map(|(&store, _)| store);
            let Some(store) = oldest else { break };
            self.entries.remove(&store);
            self.changed.insert(store);
        }
        let changed = std::mem::take(&mut self.changed).into_iter();
        changed.map(|store| (store, self.entries.get(&store).copied())).collect()
    }

    /// How far each stream is merged.
    pub(super) fn checkpoints(&self) -> VersionVector {
        self.entries.iter().map(|(&store, peer)| (store, peer.checkpoint)).collect()
    }

    /// How far each store is known.
    pub(super) fn vector(&self) -> VersionVector {
        self.entries.iter().map(|(&store, peer)| (store, peer.complete)).collect()
    }
}

/// Writes what has changed into the table.
pub(super) fn put_peers(
    connection: &Connection,
    changed: &[(StoreId, Option<Peer>)],
) -> rusqlite::Result<()> {
    for (store, peer) in changed {
        match peer {
            Some(peer) => put_peer(connection, *store, peer)?,
            None => {
                let sql = "DELETE FROM peers WHERE store = ?1";
                connection.prepare_cached(sql)?.execute([store.as_bytes()])?;
            }
        }
    }
    Ok(())
}

/// Writes one row of the table.
pub(in crate::store) fn put_peer(
    connection: &Connection,
    store: StoreId,
    peer: &Peer,
) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO peers (store, checkpoint, complete, touched)
        VALUES (?1, ?2, ?3, ?4)";
    let [checkpoint, complete, touched] =
        [peer.checkpoint, peer.complete, peer.touched].map(|number| number as i64);
    let values = params![store.as_bytes(), checkpoint, complete, touched];
    connection.prepare_cached(sql)?.execute(values).map(drop)
}
