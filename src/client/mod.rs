//! One installed client: sessions with all trackers, shares, downloads, and the shell for the
//! user's commands.
//!
//! [`Client`] has every command as a method; [`shell`] is the program around it. Below them, the
//! tracker set (`trackers`) keeps the sessions and repeats a command on the next tracker when one
//! fails, the device store keeps the state that must outlive the process, and the engine of
//! [`crate::swarm`] moves the data.
//!
//! **Invariant:** names and answers of trackers and peers are data. They cause no write, removal or
//! output except for the user's request and at the place that the user named.
//!
//! The client does not know the directory's rules: it asks the trackers, and shows their refusals.

mod account;
mod addresses;
pub mod api;
mod backend;
mod catch_up;
mod config;
mod data_dir;
mod devices;
mod downloads;
mod error;
mod event;
mod groups;
mod handle;
mod invitations;
pub(crate) mod lan;
mod limits;
mod listing;
mod network;
mod notifications;
mod page;
mod peers;
mod place;
mod program;
mod reading;
mod recorder;
mod relay_options;
mod routers;
mod routes;
mod runtime;
mod service;
mod session;
mod setup;
mod shares;
pub mod shell;
mod start;
mod staying;
#[cfg(test)]
mod tests;
mod trackers;
mod versions;
mod why;

pub(crate) use crate::types::human_bytes;
pub use addresses::{AddressReport, FoundDevice, LanReport};
pub use backend::Backend;
pub use config::{ClientConfig, DOWNLOADS_MAX};
pub use data_dir::default_data_dir;
pub use devices::Device;
pub use error::{ClientError, SessionEnd};
pub use event::ClientEvent;
pub use groups::{TrackerRole, TrackerStatus, TrackersStatus};
pub use handle::DownloadHandle;
pub use limits::{LimitedDownload, LimitsStatus};
pub use listing::FoundFile;
pub use notifications::Notification;
pub use peers::Peer;
pub use program::main;
pub use reading::OpenFile;
pub use recorder::NotificationKind;
pub use relay_options::RelayOptions;
pub use routers::{RouterAttempt, RouterOutcome, RouterProtocol};
pub use runtime::Pages;
pub use session::status::{DownloadPhase, DownloadStatus};
pub use shares::{Shared, Upload};
pub use start::Client;
