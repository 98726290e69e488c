//! What the fuzz targets in `fuzz/` call: one function a target, which must not panic, hang or fill
//! the memory whatever its bytes are.
//!
//! **Invariant:** each of these does the same thing with the same bytes, and panics if what came
//! out breaks a promise of the code under test: what decodes encodes to the same bytes, what a
//! state machine says of itself holds after each step.
//!
//! Built for the tests, which run each with random and with mutated valid input, and for `cargo
//! fuzz`, which sets `cfg(fuzzing)`; no other build has this module, so no program can reach it.
//! docs/FUZZING.md says how to run it.

mod choking;
mod decoders;
mod fetching;
pub(crate) mod harness;
mod input;
mod replicas;
#[cfg(test)]
pub(crate) mod seeds;
#[cfg(test)]
mod tests;
mod texts;
mod trusting;

pub use choking::choker;
pub use decoders::{
    bitfields, extensions, metainfo, peer_messages, relay_hello, replication_frames,
    router_answers, tracker_frames,
};
pub use fetching::download;
pub(crate) use input::Input;
pub use replicas::replica;
pub use texts::{command_lines, invitation_links, names, tracker_info};
pub use trusting::{certificates, statements, tls_handshake, tls_records};

pub use crate::client::lan::fuzz::lan_datagrams;
pub use crate::http::fuzz::http_messages;
pub use crate::swarm::fuzz::{link_session, metainfo_fetch};
pub use crate::tracker::fuzz::tracker_session;

/// A fuzz target's function.
pub type Target = fn(&[u8]);

/// Every target under the name of its file in `fuzz/fuzz_targets`.
pub const TARGETS: &[(&str, Target)] = &[
    ("bitfields", bitfields),
    ("certificates", certificates),
    ("choker", choker),
    ("command_lines", command_lines),
    ("download", download),
    ("extensions", extensions),
    ("http_messages", http_messages),
    ("invitation_links", invitation_links),
    ("lan_datagrams", lan_datagrams),
    ("link_session", link_session),
    ("metainfo", metainfo),
    ("metainfo_fetch", metainfo_fetch),
    ("names", names),
    ("peer_messages", peer_messages),
    ("relay_hello", relay_hello),
    ("replica", replica),
    ("replication_frames", replication_frames),
    ("router_answers", router_answers),
    ("statements", statements),
    ("tls_handshake", tls_handshake),
    ("tls_records", tls_records),
    ("tracker_frames", tracker_frames),
    ("tracker_info", tracker_info),
    ("tracker_session", tracker_session),
];
