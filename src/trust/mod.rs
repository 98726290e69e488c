//! Keys, and what is signed with them: the network's key, each device's key, certificates, session
//! tokens and membership tickets.
//!
//! The trackers of a network, and nobody else, hold the network's key. It signs three things: the
//! certificate that a tracker shows when a connection is made, the token by which a device goes on
//! as a user without a password, and the ticket by which a member's device proves to another's that
//! it is in a group. A device's key is its identity: its id is the SHA-256 of its public key.
//!
//! **Invariant:** a private key is in memory and in its own file, readable by its owner alone, and
//! nowhere else; it never prints.
//!
//! Every signature is Ed25519 (RFC 8032). What is signed begins with a text that says what it is
//! ([`statement`]), so that a signature over one kind of statement is never one over another.

mod certificate;
mod key;
pub mod statement;
mod verify;

pub use certificate::{Identity, IdentityError};
pub use key::{KeyError, KeyPair};
pub use statement::NetworkPublicKey;
pub(crate) use verify::ANY_TIME;
pub use verify::{Chain, chain_of};

pub(crate) use certificate::TRACKER_NAME;
