//! The first 68 bytes of a link, the same from both ends (BEP 3).
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | 19 |
//! | 1 | 19 | `BitTorrent protocol` |
//! | 20 | 8 | reserved: `0x10` in byte 25 is BEP 10 (extensions), `0x04` in byte 27 is BEP 6 (fast) |
//! | 28 | 20 | info hash |
//! | 48 | 20 | peer id |

use std::fmt;
use std::io::Read;

use super::{PeerError, WireError, read_first};
use crate::types::{DeviceId, InfoHash};

/// Names the protocol in every handshake.
pub const PROTOCOL: &[u8; 19] = b"BitTorrent protocol";
/// Bytes in a handshake.
pub const HANDSHAKE_LEN: usize = 68;
/// First bytes of our peer ids: client `PS`, version 0.1.0.0 (BEP 20).
pub const PEER_ID_PREFIX: &[u8; 8] = b"-PS0100-";

/// The bytes before the reserved ones.
const HEAD_LEN: usize = 1 + PROTOCOL.len();
/// Reserved byte and bit of BEP 10.
const EXTENSIONS: (usize, u8) = (5, 0x10);
/// Reserved byte and bit of BEP 6.
const FAST: (usize, u8) = (7, 0x04);

/// What a client calls itself on a link.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerId([u8; 20]);

impl PeerId {
    /// Wraps bytes that came from a peer.
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// Returns the id's bytes.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// Makes the id under which `device` appears: [`PEER_ID_PREFIX`], then the first 12 bytes of
    /// the device id.
    pub fn of_device(device: DeviceId) -> Self {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(PEER_ID_PREFIX);
        bytes[8..].copy_from_slice(&device.as_bytes()[..12]);
        Self(bytes)
    }

    /// Tells whether `device` appears under this id.
    pub fn matches(&self, device: &DeviceId) -> bool {
        *self == Self::of_device(*device)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

/// What both ends of a link say first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// Which additions to the protocol the sender speaks, one bit each; unknown bits mean nothing.
    pub reserved: [u8; 8],
    /// The file.
    pub info_hash: InfoHash,
    /// The sender.
    pub peer_id: PeerId,
}

impl Handshake {
    /// Makes our own handshake: BEP 6 and BEP 10 are spoken.
    pub fn new(info_hash: InfoHash, peer_id: PeerId) -> Self {
        let mut reserved = [0; 8];
        for (byte, bit) in [EXTENSIONS, FAST] {
            reserved[byte] |= bit;
        }
        Self { reserved, info_hash, peer_id }
    }

    /// Tells whether the sender speaks the extension protocol (BEP 10).
    pub fn has_extensions(&self) -> bool {
        self.reserved[EXTENSIONS.0] & EXTENSIONS.1 != 0
    }

    /// Tells whether the sender speaks the fast extension (BEP 6).
    pub fn has_fast(&self) -> bool {
        self.reserved[FAST.0] & FAST.1 != 0
    }

    /// Encodes the handshake.
    pub fn encode(&self) -> [u8; HANDSHAKE_LEN] {
        let mut bytes = [0; HANDSHAKE_LEN];
        bytes[0] = PROTOCOL.len() as u8;
        bytes[1..20].copy_from_slice(PROTOCOL);
        bytes[20..28].copy_from_slice(&self.reserved);
        bytes[28..48].copy_from_slice(self.info_hash.as_bytes());
        bytes[48..].copy_from_slice(self.peer_id.as_bytes());
        bytes
    }

    /// Decodes a handshake.
    ///
    /// # Errors
    /// [`WireError::BadValue`] for another protocol.
    pub fn decode(bytes: &[u8; HANDSHAKE_LEN]) -> Result<Self, WireError> {
        check_head(&bytes[..HEAD_LEN])?;
        let (mut reserved, mut info_hash, mut peer_id) = ([0; 8], [0; 20], [0; 20]);
        reserved.copy_from_slice(&bytes[20..28]);
        info_hash.copy_from_slice(&bytes[28..48]);
        peer_id.copy_from_slice(&bytes[48..]);
        Ok(Self { reserved, info_hash: InfoHash::from_bytes(info_hash), peer_id: PeerId(peer_id) })
    }

    /// Reads a handshake. Another protocol is noticed after its first 20 bytes.
    ///
    /// # Errors
    /// Those of [`Handshake::decode`] and of the stream; [`PeerError::Closed`] if it ends before
    /// the first byte.
    ///
    /// # Blocking
    /// Until the whole handshake is there.
    pub fn read(stream: &mut impl Read) -> Result<Self, PeerError> {
        let mut bytes = [0; HANDSHAKE_LEN];
        read_first(stream, &mut bytes[..HEAD_LEN])?;
        check_head(&bytes[..HEAD_LEN])?;
        stream.read_exact(&mut bytes[HEAD_LEN..])?;
        Ok(Self::decode(&bytes)?)
    }
}

fn check_head(head: &[u8]) -> Result<(), WireError> {
    match head.split_first() {
        Some((&len, name)) if usize::from(len) == PROTOCOL.len() && name == PROTOCOL => Ok(()),
        _ => Err(WireError::bad("handshake", "it is not that of the BitTorrent protocol")),
    }
}
