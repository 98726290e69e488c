//! What clients and trackers say to each other.
//!
//! The first frame of a connection is an [`Opening`]; the tracker answers [`Welcome`]. Then the
//! client sends [`Request`]s, each with a number of its own choosing, and the tracker answers every
//! one with a [`Reply`] under that number, in order. Between replies the tracker sends [`Event`]s.
//! Every frame from the tracker is one [`FromTracker`].
//!
//! A request, reply, event or refusal of a later version decodes to the variant that names its tag.

mod event;
mod reply;
mod request;

use std::net::SocketAddr;

pub use self::event::Event;
pub use self::reply::{Reply, Resolved};
pub use self::request::{AnnounceEntry, FromClient, Request};
use super::codec::{wire_enum, wire_leaf_enum, wire_struct};
use super::frame::to_frame;
use super::version::VERSION_FIRST_WITH_RANGE;
use super::{Decoder, VersionRange, Wire, WireError};
use crate::types::{PunchSecret, StoreId};

/// First bytes of every first frame: a stranger who speaks something else is noticed at once.
pub const MAGIC: [u8; 4] = *b"PSSE";

/// The kind of a probe's hello.
const PROBE_TAG: u8 = 20;

/// The first frame of a connection to a tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The versions that the sender speaks.
    pub versions: VersionRange,
    /// Who the sender is.
    pub hello: Hello,
}

impl Opening {
    /// Makes the first frame of this program.
    pub fn new(hello: Hello) -> Self {
        Self { versions: VersionRange::OURS, hello }
    }
}

/// What the first frame of a connection to a tracker says about its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hello {
    /// A client opens a session.
    Client(ClientHello),
    /// A peer tracker opens a replication link.
    Replica(super::replication::ReplicaHello),
    /// A client has the tracker see a port of its own from outside, for a hole punch.
    Probe(ProbeHello),
}

/// What a client says over a connection from such a port, in the first frame and in each later
/// one: the tracker notes where it sees the connection come from. It answers nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeHello {
    /// What the client's session was told.
    pub secret: PunchSecret,
    /// Round-trip time to this tracker, in milliseconds.
    pub rtt_ms: u32,
}

/// A client's first words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    /// The port on which it takes links.
    pub port: u16,
}

/// A tracker's first words to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// Version spoken from here on.
    pub version: u16,
    /// The answering tracker's number among the network's trackers, from 1.
    pub number: u32,
    /// Its store.
    pub store: StoreId,
    /// The client's address as the tracker sees it, with the port it announced.
    pub observed: SocketAddr,
    /// The tracker's wall clock, milliseconds since the Unix epoch: tickets expire by it.
    pub clock_ms: u64,
}

/// One frame from a tracker to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromTracker {
    /// The first one.
    Welcome(Welcome),
    /// Instead of the first one: this tracker cannot serve the client, and why.
    Unwelcome(Unwelcome),
    /// The answer to the request with that number.
    Reply {
        /// The number.
        number: u32,
        /// The tracker's wall clock, milliseconds since the Unix epoch.
        clock_ms: u64,
        /// The answer.
        reply: Reply,
    },
    /// Something unasked.
    Event(Event),
}

/// Why a tracker will not serve a connection. The frame is the same in every version of the
/// protocol, and the dialler of a replication link reads the same bytes as the first reasons of
/// [`LinkRefusal`](super::replication::LinkRefusal).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwelcome {
    /// It speaks another version of the protocol.
    #[error("the tracker speaks another version of the protocol; update the older program")]
    Version,
    /// It serves as many connections as it may.
    #[error("the tracker is full; try another, or again later")]
    Full,
}

/// Encodes the frame that tells a client or tracker of version 2 that its version is not spoken
/// here.
pub fn unwelcome_of_version_2() -> Vec<u8> {
    to_frame(&FromTracker::Unwelcome(Unwelcome::Version))
}

/// Magic, the oldest and the newest version that the sender speaks, one byte kind, and the hello of
/// that kind. The rest is not looked at if no version is spoken at both ends. Up to version 2 one
/// version stood there instead of two.
impl Wire for Opening {
    const LEN_MIN: usize = 4 + 2 + 2 + 1 + 4;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        self.versions.oldest.encode(out);
        self.versions.newest.encode(out);
        match &self.hello {
            Hello::Client(hello) => {
                out.push(0);
                hello.encode(out);
            }
            Hello::Replica(hello) => {
                out.push(1);
                hello.encode(out);
            }
            Hello::Probe(hello) => {
                out.push(PROBE_TAG);
                hello.encode(out);
            }
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        if from.array::<4>()? != MAGIC {
            return Err(WireError::bad("first frame", "it does not begin with PSSE"));
        }
        let oldest = u16::decode(from)?;
        if oldest < VERSION_FIRST_WITH_RANGE {
            return Err(WireError::OldVersion(oldest));
        }
        let versions = VersionRange { oldest, newest: Wire::decode(from)? };
        if versions.common(VersionRange::OURS).is_none() {
            return Err(WireError::NoCommonVersion(versions));
        }
        let hello = match u8::decode(from)? {
            0 => Hello::Client(Wire::decode(from)?),
            1 => Hello::Replica(Wire::decode(from)?),
            PROBE_TAG => Hello::Probe(Wire::decode(from)?),
            tag => return Err(WireError::UnknownTag { what: "hello", tag: tag.into() }),
        };
        Ok(Self { versions, hello })
    }
}

wire_struct! {
    ClientHello { port: u16 }
    ProbeHello { secret: PunchSecret, rtt_ms: u32 }
    Welcome { version: u16, number: u32, store: StoreId, observed: SocketAddr, clock_ms: u64 }
}
wire_enum!(FromTracker "frame" {
    0 => Welcome(welcome),
    1 => #[leaf] Unwelcome(why),
    2 => Reply { number, clock_ms, reply },
    3 => Event(event),
});
wire_leaf_enum!(Unwelcome "unwelcome" { 0 => Version, 1 => Full });
#[cfg(test)]
mod tests;
