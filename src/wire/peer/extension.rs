//! The extension handshake (BEP 10) and the metadata exchange (BEP 9): bencoded payloads of
//! [`PeerMessage::Extended`](super::PeerMessage).
//!
//! Extension handshake, extension id 0: one dictionary; keys that are not in the table are ignored.
//!
//! | key | value | limit |
//! |---|---|---|
//! | `m` | dictionary: extension name to the id under which the sender wants it; we know `posse_chain`, `posse_ticket` and `ut_metadata` | ids 1-255, 0 is "not spoken" |
//! | `metadata_size` | integer: bytes in the info dictionary, if the sender has it | [`limits::INFO_DICTIONARY_LEN_MAX`] |
//! | `p` | integer: port on which the sender takes links | 1-65,535 |
//! | `posse_block` | integer: bytes in the largest block the sender answers requests for (ours alone) | from 16 KiB; above 512 KiB is 512 KiB |
//! | `posse_chain` | byte string: the hash of the file's chaining values, if the sender has them (ours alone) | 20 bytes |
//! | `reqq` | integer: requests that the sender queues | 1 to 2^32-1 |
//! | `v` | byte string: the sender's program, UTF-8 | [`CLIENT_NAME_LEN_MAX`] bytes; anything else is ignored |
//!
//! Metadata message, under the id of the *receiver's* `ut_metadata` for the info dictionary, or
//! `posse_chain` for the list of chaining values: one dictionary, behind it the bytes of a part.
//!
//! | `msg_type` | message | other keys | behind the dictionary |
//! |---|---|---|---|
//! | 0 | request | `piece` | nothing |
//! | 1 | data | `piece`, `total_size` | the part: 16 KiB, the last one shorter |
//! | 2 | reject | `piece` | nothing |
//!
//! **Invariant:** the data of a part has exactly the length that its number and the total say.

use bendy::decoding::Object;

use super::WireError;
use crate::types::{ChainHash, limits};
use crate::wire::bencode;

/// Key of the largest block that the sender answers requests for.
pub const KEY_BLOCK: &str = "posse_block";
/// Name of the extension by which a file's chaining values are asked for and sent, with the messages
/// of BEP 9; also the key of their hash.
pub const EXTENSION_CHAIN: &str = "posse_chain";
/// Name of the extension by which newer tickets are shown: the payload is a ticket, as trackers
/// send it.
pub const EXTENSION_TICKET: &str = "posse_ticket";
/// Bytes in an extension handshake: ours have about 150, others a few hundred more.
pub const EXTENDED_HANDSHAKE_LEN_MAX: usize = 16 << 10;
/// Bytes in a program's name that is worth showing.
pub const CLIENT_NAME_LEN_MAX: usize = 64;

const WHAT: &str = "extension handshake";
const METADATA: &str = "metadata message";

/// What a client says about itself beyond the handshake; what it left out is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtendedHandshake {
    /// The extension id under which the sender takes metadata messages, never 0.
    pub metadata_id: Option<u8>,
    /// The extension id under which the sender takes messages about chaining values, never 0.
    pub chain_id: Option<u8>,
    /// The extension id under which the sender takes newer tickets, never 0.
    pub ticket_id: Option<u8>,
    /// Bytes in the info dictionary, if the sender has it, never 0.
    pub metadata_size: Option<u64>,
    /// Requests that the sender queues, never 0.
    pub requests_max: Option<u32>,
    /// The sender's program: not to be trusted, and to be escaped where it is shown.
    pub client: Option<String>,
    /// The port on which the sender takes links, never 0.
    pub port: Option<u16>,
    /// Bytes in the largest block that the sender answers requests for, from [`limits::BLOCK_LEN`]
    /// to [`limits::BLOCK_LEN_MAX`].
    pub block_len_max: Option<u32>,
    /// The hash of the file's chaining values, if the sender has them.
    pub chain: Option<ChainHash>,
}

impl ExtendedHandshake {
    /// Encodes the payload.
    pub fn encode(&self) -> Vec<u8> {
        bencode::write(|value| {
            value.emit_dict(|mut pairs| {
                pairs.emit_pair_with(b"m", |value| {
                    value.emit_dict(|mut names| {
                        if let Some(id) = self.chain_id {
                            names.emit_pair(EXTENSION_CHAIN.as_bytes(), id)?;
                        }
                        if let Some(id) = self.ticket_id {
                            names.emit_pair(EXTENSION_TICKET.as_bytes(), id)?;
                        }
                        match self.metadata_id {
                            Some(id) => names.emit_pair(b"ut_metadata", id),
                            None => Ok(()),
                        }
                    })
                })?;
                if let Some(size) = self.metadata_size {
                    pairs.emit_pair(b"metadata_size", size)?;
                }
                if let Some(port) = self.port {
                    pairs.emit_pair(b"p", port)?;
                }
                if let Some(len) = self.block_len_max {
                    pairs.emit_pair(KEY_BLOCK.as_bytes(), len)?;
                }
                if let Some(hash) = &self.chain {
                    pairs.emit_pair_with(EXTENSION_CHAIN.as_bytes(), |value| {
                        value.emit_bytes(hash.as_bytes())
                    })?;
                }
                if let Some(requests) = self.requests_max {
                    pairs.emit_pair(b"reqq", requests)?;
                }
                match &self.client {
                    Some(client) => pairs.emit_pair(b"v", client.as_str()),
                    None => Ok(()),
                }
            })
        })
    }

    /// Decodes a payload.
    ///
    /// # Errors
    /// Whatever is not canonical bencode, and a known key with a value beyond its limit.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        if payload.len() > EXTENDED_HANDSHAKE_LEN_MAX {
            let (len, max) = (payload.len() as u64, EXTENDED_HANDSHAKE_LEN_MAX as u64);
            return Err(WireError::TooLong { what: WHAT, len, max });
        }
        let mut handshake = Self::default();
        let end = bencode::read_dictionary(WHAT, payload, |key, value| handshake.take(key, value))?;
        match payload.len() - end {
            0 => Ok(handshake),
            left => Err(WireError::Trailing(left)),
        }
    }

    fn take(&mut self, key: &[u8], value: Object<'_, '_>) -> Result<(), WireError> {
        match key {
            b"m" => self.take_extensions(value)?,
            b"metadata_size" => {
                let size = bencode::integer(
                    "metadata_size",
                    value,
                    limits::INFO_DICTIONARY_LEN_MAX as u64,
                )?;
                self.metadata_size = (size > 0).then_some(size);
            }
            b"p" => self.port = nonzero("p", value)?,
            b"posse_block" => self.block_len_max = Some(block_len(value)?),
            b"posse_chain" => self.chain = Some(chain_hash(value)?),
            b"reqq" => self.requests_max = nonzero("reqq", value)?,
            b"v" => self.client = bencode::bytes("v", value).ok().and_then(client_name),
            _ => {}
        }
        Ok(())
    }

    /// Finds the extensions that we know among the sender's.
    fn take_extensions(&mut self, value: Object<'_, '_>) -> Result<(), WireError> {
        let Object::Dict(mut names) = value else {
            return Err(WireError::bad(WHAT, "m is not a dictionary"));
        };
        while let Some((name, value)) = names.next_pair().map_err(|e| WireError::bad(WHAT, e))? {
            match name {
                b"ut_metadata" => self.metadata_id = nonzero("ut_metadata", value)?,
                name if name == EXTENSION_CHAIN.as_bytes() => {
                    self.chain_id = nonzero(EXTENSION_CHAIN, value)?
                }
                name if name == EXTENSION_TICKET.as_bytes() => {
                    self.ticket_id = nonzero(EXTENSION_TICKET, value)?
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// One message of the metadata exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataMessage {
    /// Asks for a part of the info dictionary.
    Request {
        /// 0-based number of the part.
        part: u32,
    },
    /// A part.
    Data {
        /// 0-based number of the part.
        part: u32,
        /// Bytes in the whole info dictionary.
        total: u64,
        /// The part's bytes.
        bytes: Vec<u8>,
    },
    /// The part will not be sent.
    Reject {
        /// 0-based number of the part.
        part: u32,
    },
    /// A message of a later version, to be ignored (BEP 9).
    Unknown {
        /// Its `msg_type`.
        kind: u64,
    },
}

impl MetadataMessage {
    /// Encodes the payload.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, part, total) = match *self {
            Self::Request { part } => (0, Some(part), None),
            Self::Data { part, total, .. } => (1, Some(part), Some(total)),
            Self::Reject { part } => (2, Some(part), None),
            Self::Unknown { kind } => (kind, None, None),
        };
        let mut payload = bencode::write(|value| {
            value.emit_dict(|mut pairs| {
                pairs.emit_pair(b"msg_type", kind)?;
                if let Some(part) = part {
                    pairs.emit_pair(b"piece", part)?;
                }
                match total {
                    Some(total) => pairs.emit_pair(b"total_size", total),
                    None => Ok(()),
                }
            })
        });
        if let Self::Data { bytes, .. } = self {
            payload.extend_from_slice(bytes);
        }
        payload
    }

    /// Decodes a payload.
    ///
    /// # Errors
    /// Whatever is not canonical bencode, and a part whose number, total and bytes do not agree.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let (mut kind, mut part, mut total) = (None, None, None);
        let end = bencode::read_dictionary(METADATA, payload, |key, value| {
            match key {
                b"msg_type" => kind = Some(bencode::integer("msg_type", value, u64::MAX)?),
                b"piece" => part = Some(bencode::integer("piece", value, u32::MAX.into())? as u32),
                b"total_size" => {
                    total = Some(bencode::integer(
                        "total_size",
                        value,
                        limits::INFO_DICTIONARY_LEN_MAX as u64,
                    )?)
                }
                _ => {}
            }
            Ok(())
        })?;
        let bytes = &payload[end..];
        match (kind, part) {
            (Some(1), Some(part)) => Self::data(part, total, bytes),
            (Some(0 | 2), Some(_)) if !bytes.is_empty() => Err(WireError::Trailing(bytes.len())),
            (Some(0), Some(part)) => Ok(Self::Request { part }),
            (Some(2), Some(part)) => Ok(Self::Reject { part }),
            (Some(kind @ 3..), _) => Ok(Self::Unknown { kind }),
            _ => Err(WireError::bad(METADATA, "msg_type or piece is missing")),
        }
    }

    fn data(part: u32, total: Option<u64>, bytes: &[u8]) -> Result<Self, WireError> {
        let total = total.ok_or_else(|| WireError::bad(METADATA, "total_size is missing"))?;
        match Self::part_len(part, total) {
            Some(len) if len == bytes.len() => {
                Ok(Self::Data { part, total, bytes: bytes.to_vec() })
            }
            _ => Err(WireError::bad(
                METADATA,
                format!("{} bytes for part {part} of {total}", bytes.len()),
            )),
        }
    }

    /// Number of parts of an info dictionary of `total` bytes.
    pub fn part_count(total: u64) -> u64 {
        total.div_ceil(limits::METADATA_PART_LEN as u64)
    }

    /// Length in bytes of a part of an info dictionary of `total` bytes; `None` if there is no such
    /// part.
    pub fn part_len(part: u32, total: u64) -> Option<usize> {
        let rest = total.checked_sub(u64::from(part) * limits::METADATA_PART_LEN as u64)?;
        (rest > 0).then(|| rest.min(limits::METADATA_PART_LEN as u64) as usize)
    }
}

/// Takes an integer that its type holds; 0 is the same as nothing.
fn nonzero<T: TryFrom<u64>>(
    what: &'static str,
    value: Object<'_, '_>,
) -> Result<Option<T>, WireError> {
    let number = bencode::integer(what, value, u32::MAX.into())?;
    let typed = T::try_from(number).map_err(|_| WireError::bad(what, "it is too large"))?;
    Ok((number > 0).then_some(typed))
}

fn chain_hash(value: Object<'_, '_>) -> Result<ChainHash, WireError> {
    let bytes = bencode::bytes(EXTENSION_CHAIN, value)?;
    let hash = bytes.try_into().map_err(|_| WireError::bad(EXTENSION_CHAIN, "it is no hash"))?;
    Ok(ChainHash::from_bytes(hash))
}

fn block_len(value: Object<'_, '_>) -> Result<u32, WireError> {
    let len = bencode::integer(KEY_BLOCK, value, u32::MAX.into())? as u32;
    match len < limits::BLOCK_LEN {
        true => Err(WireError::bad(KEY_BLOCK, "it is below 16 KiB")),
        false => Ok(len.min(limits::BLOCK_LEN_MAX)),
    }
}

fn client_name(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (text.len() <= CLIENT_NAME_LEN_MAX).then(|| text.to_owned())
}
