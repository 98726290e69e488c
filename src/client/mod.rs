//! client
mod error;
mod trackers;
pub use error::ClientError;
