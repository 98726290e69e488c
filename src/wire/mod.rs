//! Bytes to messages and back: the only place that knows how anything is laid out on a connection.
//!
//! **Invariant:** decoding never panics, never reads beyond its input, and allocates no more than a
//! small multiple of the bytes that have arrived. What decodes without error encodes to the same
//! bytes, but for the fields and messages of later versions, which are skipped.
//!
//! Called on connection threads. Nothing here blocks but [`frame`], which reads from and writes to
//! the stream it is given. Integers are big-endian. docs/PROTOCOL.md describes the same protocol in
//! prose, and a test holds the two together.

pub mod bencode;
pub mod codec;
pub mod frame;
pub mod later;
pub mod metainfo;
pub mod peer;
pub mod port_mapping;
pub mod relay;
pub mod replication;
pub mod row;
pub mod tracker;
pub mod version;

#[cfg(test)]
pub(crate) mod checks;
#[cfg(test)]
mod document;
#[cfg(test)]
pub(crate) mod samples;

pub use codec::{Decoder, ListItem, Wire, WireError};
pub use version::{VERSION_NEWEST, VERSION_OLDEST, VersionRange};
