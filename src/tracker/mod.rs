//! The tracker: knows the directory and who is connected, and never sees file data.
//!
//! **Invariant:** what a client was told is on the disk, here and on every tracker that was up when
//! it was told.
//!
//! | thread | number | owns | waits for |
//! |---|---|---|---|
//! | `accept` | 1 | the listener | the next connection |
//! | `core` | 1 | the replica, the store, presence | its queue; the disk |
//! | `notifier` | 1 | nothing | outboxes with something to write |
//! | `s <address>` | one a connection | one session, or the accepting end of one replication link | its socket; the core |
//! | `tracker-<n>` | one a peer tracker | the dialling end of one replication link | orders from the core; its socket |
//! | `admin` | 1 | the control socket | the next operator |
//! | `operator` | one an operator, at most 4 | one connection of the control socket | its socket; the core; the disk |
//! | `audit` | 1, if wanted | the audit's file | the core; the disk |
//! | `relay` | 1, with `--relay` | connections that members' bytes are passed between | all of them together |
//! | `relay-watch` | 1, with `--relay` | nothing | the core |
//! | `acks-<n>` | one a dialled link | nothing | that link's socket |
//!
//! The core never waits for a socket, and no lock is held while waiting for anything: whoever has
//! something for a connection that is not its own puts it into an outbox. Left out on purpose: an
//! asynchronous runtime, and a second thread a client.

mod accept;
mod admin;
mod answer;
mod audit;
mod audit_entry;
mod audit_log;
mod clock;
mod config;
pub mod console;
mod core;
mod data_dir;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod gate;
mod guard;
mod handshakes;
mod keys;
mod known;
mod link;
mod log_limiter;
mod outbox;
mod pace;
mod page;
mod password;
mod presence;
mod probe;
mod quota;
mod readers;
mod relay;
mod relay_config;
mod replicator;
mod request_log;
mod server;
mod session;
mod shared;
mod sink;
#[cfg(test)]
mod tests;
mod turns;
mod vouch;

pub use config::{TrackerConfig, TrackerError, TrackerLimits, TrackerStatus};
pub use relay_config::{RELAY_PORT, RelayConfig, RelayStatus};
pub use server::Tracker;
