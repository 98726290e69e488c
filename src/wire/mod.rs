//! Bytes to messages and back: the only place that knows how anything is laid out on a connection.
//!
//! **Invariant:** decoding never panics, never reads beyond its input, and allocates no more than a small multiple of the bytes
//! that have arrived; what decodes without error encodes to the same bytes.
//!
//! Called on connection threads. Nothing here blocks but [`frame`], which reads from and writes to the stream it is given.
//! Integers are big-endian. docs/PROTOCOL.md describes the same protocol in prose, and a test holds the two together.

pub mod bencode;
pub mod codec;
pub mod frame;
pub mod metainfo;
pub mod peer;
pub mod replication;
pub mod tracker;

#[cfg(test)]
pub(crate) mod checks;
#[cfg(test)]
mod document;
#[cfg(test)]
pub(crate) mod samples;

pub use codec::{Decoder, ListItem, Wire, WireError};
