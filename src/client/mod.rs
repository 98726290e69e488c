//! One installed client: sessions with all trackers, shares, downloads, and the shell at which a
//! user gives commands.
//!
//! [`Client`] has every command as a method; [`shell`] is the program around it. Below them, the
//! tracker set (`trackers`) keeps the sessions and repeats a command on the next tracker when one
//! fails, the device store keeps what must outlive the process, and the engine of [`crate::swarm`]
//! moves the data.
//!
//! **Invariant:** names and answers of trackers and peers are data: nothing is written, removed or
//! shown because of them but what the user asked for, where the user asked for it.
//!
//! Left out on purpose: nothing here knows the directory's rules; it asks, and shows the refusal.

mod account;
mod background;
mod begin;
mod config;
mod core;
mod data_dir;
pub(crate) mod devices;
mod downloads;
mod error;
mod event;
mod groups;
mod handle;
mod host;
mod ledger;
mod library;
mod limits;
mod listing;
mod local;
mod membership;
mod memory;
mod network;
mod notifications;
mod peers;
mod place;
mod queue;
mod setup;
mod shares;
pub mod shell;
mod slots;
mod sources;
mod staying;
#[cfg(test)]
mod tests;
mod tickets;
mod trackers;
mod versions;
mod why;
mod withdrawn;

pub use self::core::Client;
pub use config::{ClientConfig, DOWNLOADS_MAX};
pub use data_dir::default_data_dir;
pub use devices::Device;
pub use error::ClientError;
pub use event::ClientEvent;
pub use groups::{TrackerRole, TrackerStatus, TrackersStatus};
pub use handle::DownloadHandle;
pub use library::{DownloadPhase, DownloadStatus};
pub use limits::{LimitedDownload, LimitsStatus};
pub use listing::{FoundFile, Pages};
pub use notifications::{Notification, NotificationKind};
pub use shares::{Shared, Upload};
pub use trackers::SessionEnd;

/// A number of bytes as people say it: decimal units, one digit behind the point.
pub(crate) fn human_bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}
