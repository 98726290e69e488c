//! The changes that a session makes to the device's state, as values.
//!
//! **Invariant:** the changes of one call are written all or none.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::{
    DeviceStore, DownloadRow, QueuedRow, Result, ShareRow, execute, put_download, put_metainfo,
    put_share,
};
use crate::types::{ChainingValues, Fingerprint, GroupId, InfoHash, Label, Stamp, UserId};
use crate::wire::metainfo::Metainfo;

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Adds a share, or replaces what was known about it.
    Share(Arc<ShareRow>),
    /// Forgets a share.
    NoShare {
        /// Whose.
        user: UserId,
        /// In which group.
        group: GroupId,
        /// Of what.
        info_hash: InfoHash,
    },
    /// Adds a download, or replaces the user's earlier one of the same content.
    Download(Arc<DownloadRow>),
    /// Forgets a download.
    NoDownload {
        /// Whose.
        user: UserId,
        /// Of what.
        info_hash: InfoHash,
    },
    /// Keeps a download's place and limit; with neither, nothing is kept.
    Queued(UserId, QueuedRow),
    /// Keeps a metainfo.
    Metainfo(Arc<Metainfo>),
    /// Keeps the chaining values of a content.
    Chain(InfoHash, Arc<ChainingValues>),
    /// Notes the name under which a group is shown now, in shares and downloads of every user.
    GroupLabel(GroupId, Label),
    /// Notes the addresses of a network's trackers.
    Trackers(Fingerprint, Vec<String>),
    /// Notes the time of this device's last request.
    LastRequest(Stamp),
}

impl DeviceStore {
    /// Makes these changes, all or none, in order.
    ///
    /// # Errors
    /// SQLite's; then nothing was written.
    pub fn apply(&self, writes: &[Write]) -> Result<()> {
        self.write(|connection| writes.iter().try_for_each(|write| apply(connection, write)))
    }
}

fn apply(connection: &Connection, write: &Write) -> rusqlite::Result<()> {
    match write {
        Write::Share(row) => put_share(connection, row),
        Write::NoShare { user, group, info_hash } => execute(
            connection,
            "DELETE FROM share WHERE user = ?1 AND grp = ?2 AND info_hash = ?3",
            params![user.as_bytes(), group.as_bytes(), info_hash.as_bytes()],
        ),
        Write::Download(row) => put_download(connection, row),
        Write::NoDownload { user, info_hash } => execute(
            connection,
            "DELETE FROM download WHERE user = ?1 AND info_hash = ?2",
            params![user.as_bytes(), info_hash.as_bytes()],
        ),
        Write::Queued(user, row) => super::queued::put(connection, *user, row),
        Write::Metainfo(metainfo) => put_metainfo(connection, metainfo),
        Write::Chain(info_hash, values) => super::chains::put(connection, *info_hash, values),
        Write::GroupLabel(group, label) => relabel_group(connection, *group, label),
        Write::Trackers(network, addresses) => {
            super::trackers::set_trackers(connection, *network, addresses)
        }
        Write::LastRequest(stamp) => super::trackers::set_last_request(connection, *stamp),
    }
}

fn relabel_group(connection: &Connection, group: GroupId, label: &Label) -> rusqlite::Result<()> {
    let params = params![group.as_bytes(), label.as_str()];
    execute(
        connection,
        "UPDATE share SET group_label = ?2 WHERE grp = ?1 AND group_label <> ?2",
        params,
    )?;
    execute(
        connection,
        "UPDATE download SET group_label = ?2 WHERE grp = ?1 AND group_label <> ?2",
        params,
    )
}
