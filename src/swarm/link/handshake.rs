//! What both ends of a link say before they are a link: tickets, and the handshakes of BEP 3 and
//! BEP 10.
//!
//! **Invariant:** all of it together has [`HANDSHAKE_TIMEOUT`].
//!
//! Runs on the link's own thread and blocks on the connection.

use std::io::{self, BufReader};
use std::time::Instant;

use crate::net::{Connection, Reader};
use crate::swarm::{LinkTraits, REQUESTS_MAX};
use crate::types::limits::{BLOCK_LEN, BLOCK_LEN_MAX, HANDSHAKE_TIMEOUT};
use crate::types::{DeviceId, Ticket};
use crate::wire::frame::{FrameError, read_message};
use crate::wire::peer::{
    EXTENDED_HANDSHAKE_ID, ExtendedHandshake, Handshake, Header, PeerError, PeerMessage,
    read_header,
};

/// The extension ids under which we take messages about the info dictionary and the chaining
/// values, and newer tickets.
pub(crate) const METADATA_ID: u8 = 1;
pub(crate) const TICKET_ID: u8 = 2;
pub(crate) const CHAIN_ID: u8 = 3;
/// Requests that a peer keeps that says nothing about it.
const REQUESTS_MAX_UNTOLD: u32 = 128;
/// Bytes in the longest message that is read as a ticket.
const TICKET_LEN_MAX: usize = 256;
/// Bytes read from the stream at a time when no buffer takes them directly.
const READ_AHEAD: usize = 16 << 10;

/// Says why a link ended, or did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("protocol violated: {0}")]
    Violation(&'static str),
    #[error("{0}")]
    Refused(&'static str),
    /// No address of it may be dialled now: that says nothing about the device.
    #[error("each of its addresses failed a moment ago")]
    LeftAlone,
    /// Nothing that is that device answers there.
    #[error("{0}")]
    Unreachable(io::Error),
    /// The same, and a hole punch has failed.
    #[error("{error}; hole punching was tried and failed: {punch}")]
    NotPunched { error: io::Error, punch: String },
}

/// Makes the reader of a connection whose handshake began at `started`.
pub(crate) fn reader(connection: &Connection, started: Instant) -> BufReader<Reader> {
    let mut reader = connection.reader();
    reader.set_deadline(Some(started + HANDSHAKE_TIMEOUT));
    BufReader::with_capacity(READ_AHEAD, reader)
}

pub(crate) fn read_ticket(reader: &mut BufReader<Reader>) -> Result<Ticket, LinkError> {
    read_message(reader, TICKET_LEN_MAX).map_err(|e| match e {
        FrameError::Closed => LinkError::Refused("it takes no ticket of ours"),
        FrameError::Io(e) => e.into(),
        FrameError::Wire(e) => PeerError::from(e).into(),
    })
}

/// Reads the extension handshake, which the other end sends without waiting for ours.
pub(crate) fn read_extended(
    device: DeviceId,
    reader: &mut BufReader<Reader>,
    theirs: &Handshake,
) -> Result<ExtendedHandshake, LinkError> {
    if !theirs.peer_id.matches(&device) || !theirs.has_extensions() {
        return Err(LinkError::Violation(
            "its peer id is not that of its device, or it speaks no extensions",
        ));
    }
    let Header::Message(PeerMessage::Extended { id: EXTENDED_HANDSHAKE_ID, payload }) =
        read_header(reader)?
    else {
        return Err(LinkError::Violation("its first message is not the extension handshake"));
    };
    Ok(ExtendedHandshake::decode(&payload).map_err(PeerError::from)?)
}

/// What the handshakes settle.
pub(crate) fn link_traits(theirs: &Handshake, told: &ExtendedHandshake) -> LinkTraits {
    LinkTraits {
        block_len_max: told.block_len_max.unwrap_or(BLOCK_LEN).clamp(BLOCK_LEN, BLOCK_LEN_MAX),
        requests_max: requests_taken(told.requests_max.unwrap_or(REQUESTS_MAX_UNTOLD)),
        fast: theirs.has_fast(),
    }
}

/// Requests that a peer is sent at a time, of those it says it keeps.
pub(crate) fn requests_taken(told: u32) -> u32 {
    told.clamp(1, 2 * REQUESTS_MAX as u32)
}
