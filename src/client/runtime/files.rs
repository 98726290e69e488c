//! Questions to file systems and to the engine, on threads that may wait for a disk.

use std::io;
use std::sync::Arc;

use super::Runtime;
use crate::client::error::ClientError;
use crate::client::place::{follow_once, is_there, missing, refuse_odd};
use crate::client::session::input::{Done, Input, Looked, Place, TransferId};
use crate::client::session::shares::{FILE_CHANGED, FILE_GONE};
use crate::store::{DeviceStore, DownloadRow, ShareRow};
use crate::swarm::{
    DownloadSpec, Engine, EngineError, HashError, SeedSpec, hash_file_as, is_same, stamp_of,
};
use crate::types::{InfoHash, Rate};

impl Runtime {
    /// Has the engine begin a download.
    pub(super) fn begin(
        &self,
        id: TransferId,
        spec: DownloadSpec,
        limit: Option<Rate>,
    ) -> Result<(), String> {
        let engine = self.engine().ok_or("the session has ended")?;
        let metainfo = self.store.metainfo(&spec.facts).map_err(|e| e.to_string())?;
        let chain = self.store.chain_of(&spec.facts).map_err(|e| e.to_string())?;
        let spec = DownloadSpec { metainfo: metainfo.map(Arc::new), chain, ..spec };
        let transfer = engine.download(spec).map_err(|error| explain(&error))?;
        transfer.set_limit(limit);
        self.running.lock().transfers.insert(id, transfer);
        Ok(())
    }

    /// An offered share of that content, as the engine needs it.
    pub(super) fn seed_of(&self, info_hash: InfoHash) -> Option<SeedSpec> {
        let view = self.view();
        let offered = || view.library.shares_of(info_hash).filter(|share| share.offered);
        let row = &offered().next()?.row;
        // One of its groups may list it without chaining values, which are those of the content.
        let chain =
            offered().find_map(|share| self.store.chain_of(&share.row.facts).ok().flatten());
        match self.store.metainfo(&row.facts) {
            Ok(Some(metainfo)) => Some(SeedSpec {
                metainfo: Arc::new(metainfo),
                // Without them the file can be offered all the same.
                chain,
                path: row.path.clone(),
                stamp: row.stamp,
            }),
            Ok(None) => None,
            Err(error) => {
                log::warn!("{} cannot be offered now: {error}", row.label);
                None
            }
        }
    }

    /// Checks the files of shares, and tells the session.
    pub(super) fn look_at_shares(&self, rows: Vec<Arc<ShareRow>>) {
        let looked = rows.into_iter().map(|row| {
            let looked = look_at_share(&self.store, &row);
            (row, looked)
        });
        self.tell(Input::Done(Done::Shares(looked.collect())));
    }

    /// Has the engine seed a file that it knows from its current path.
    pub(super) fn reseed(&self, engine: &Engine, info_hash: InfoHash) {
        if let Some(spec) = self.seed_of(info_hash)
            && let Err(error) = engine.seed(spec)
        {
            log::warn!("{info_hash} cannot be offered now: {error}");
        }
    }
}

/// Checks the file of a share. An earlier version stored fewer fields of the stamp, and the path of
/// a symbolic link instead of its target: if the stored fields match, the others are filled in.
fn look_at_share(store: &DeviceStore, row: &ShareRow) -> Looked {
    let path =
        if row.stamp.born_ns.is_none() { follow_once(&row.path) } else { Ok(row.path.clone()) };
    let changed = || Looked::Other(FILE_CHANGED.into());
    match path.and_then(|path| Ok((stamp_of(&path)?, path))) {
        Ok((stamp, path)) if is_same(&path, &stamp, &row.stamp) => {
            match store.has_metainfo(&row.facts) {
                Ok(true) => Looked::Same(Box::new((path, stamp))),
                Ok(false) => Looked::Other("its metainfo is lost; upload it again".into()),
                Err(error) => Looked::Other(error.to_string()),
            }
        }
        Ok(_) => changed(),
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => changed(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Looked::Other(FILE_GONE.into()),
        Err(e) => Looked::Other(format!("it cannot be read: {e}")),
    }
}

/// Checks the target path of a download.
pub(crate) fn look_at_place(row: &DownloadRow) -> Place {
    if is_there(&row.target) {
        return Place::TargetThere;
    }
    missing(row).map_or(Place::Fine, Place::Missing)
}

/// Tells whether a shared file is unchanged since it was hashed.
pub(crate) fn is_intact(row: &ShareRow) -> bool {
    stamp_of(&row.path).is_ok_and(|stamp| is_same(&row.path, &stamp, &row.stamp))
}

/// Compares the file at a download's target path with its content; an error if it differs.
pub(crate) fn compare(
    row: &DownloadRow,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<SeedSpec, ClientError> {
    let other =
        || ClientError::path(&row.target, "it exists with other content; name another destination");
    refuse_odd(&row.target)?;
    if stamp_of(&row.target).ok().map(|stamp| stamp.len) != Some(row.facts.len) {
        return Err(other());
    }
    let hashed = match hash_file_as(&row.target, row.facts.name.clone(), &mut |done| {
        progress(done, row.facts.len)
    }) {
        Ok(hashed) if hashed.sha1 == row.facts.sha1 => hashed,
        Err(HashError::Cancelled) => return Err(ClientError::Interrupted),
        Err(error @ (HashError::Read { .. } | HashError::Threads(_))) => {
            return Err(ClientError::path(
                &row.target,
                format!("it exists and cannot be compared: {error}"),
            ));
        }
        _ => return Err(other()),
    };
    // Under its own name the file must produce the same info dictionary.
    if hashed.seed.metainfo.info_hash() == row.facts.info_hash {
        Ok(hashed.seed)
    } else {
        Err(other())
    }
}

/// The engine's error, with advice where there is some.
fn explain(error: &EngineError) -> String {
    match error {
        EngineError::TargetExists(_) => format!("{error}; name another destination"),
        EngineError::NoRoom { .. } => format!("{error}; make room or name another destination"),
        _ => error.to_string(),
    }
}
