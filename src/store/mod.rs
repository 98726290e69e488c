//! SQLite: what must outlive the process. The only room that knows SQL.
//!
//! **Invariant:** what a call has returned from is durable; a file that is not ours, or from a later version, is never altered.

mod device;

pub use device::{DeviceStore, DeviceStoreError, DownloadRow, FileStamp, Progress, ShareRow, ShareState};
