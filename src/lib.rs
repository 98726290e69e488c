//! Posse shares large files inside private groups, peer to peer.
//!
//! Trackers know who exists, who belongs to which group and who shares what; they never see file
//! data. Clients move the data among themselves, 512 KiB pieces at a time, from every member who
//! has them.

pub mod client;
pub mod directory;
mod files;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod net;
pub mod relay;
pub mod store;
pub mod swarm;
pub mod tracker;
pub mod trust;
pub mod types;
pub mod wire;

pub use client::{
    Client, ClientConfig, ClientError, ClientEvent, DownloadHandle, DownloadPhase, DownloadStatus,
};
pub use tracker::{Tracker, TrackerConfig, TrackerError, TrackerLimits, TrackerStatus};
