//! What outlives a process: the tracker's rows and the client's device state, each in one SQLite
//! file.
//!
//! **Invariant:** what a method here has returned success for survives `kill -9` and a power cut:
//! write-ahead log, `synchronous=FULL`, one transaction a call; or one for the calls of several
//! threads at the same time.
//!
//! Every call blocks on the disk. A data directory is used by one process at a time, which
//! [`DirectoryLock`] sees to.

mod database;
mod device;
mod files;
mod opening;
mod rows;
mod shared;
#[cfg(feature = "postgres")]
mod sql;
mod takeover;
mod tracker_store;

pub use database::{DatabaseKind, DirectoryLock, StoreError, open_database};
pub use device::{
    AskedRow, DeviceStore, DownloadRow, NotificationRow, OwnPart, Progress, QueuedRow, ShareRow,
    ShareState, StayingRow, SuccessorRow, Write,
};
pub use rows::{Entries, RowReader, RowStore, Tables, restore};
pub use shared::{Committed, Counts, News, PresenceChanges, Present, PresentAt, Swarm};
#[cfg(all(test, feature = "postgres"))]
pub(crate) use sql::tests::cluster;
#[cfg(feature = "postgres")]
pub use sql::{EngineAddress, EngineAddressError, SqlReader, SqlStore, SqlTables};
pub use tracker_store::{StorePlace, StoreReader, TrackerStore};
