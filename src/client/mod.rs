//! client
mod config;
mod error;
mod event;
mod library;
mod peers;
mod trackers;
pub use error::ClientError;
