//! A file's metainfo: the v1 info dictionary of BEP 3, restricted to one private file (BEP 27), in
//! canonical bencode.
//!
//! | key | value | limit |
//! |---|---|---|
//! | `length` | integer: bytes in the file | 2^21 pieces |
//! | `name` | byte string: the file's name, UTF-8 | 1-255 bytes, one path component |
//! | `piece length` | integer: bytes in every piece but the last | a power of two from 16 KiB to 64 MiB |
//! | `pieces` | byte string: SHA-1 of each piece in order | 20 bytes a piece, exactly |
//! | `private` | integer 1 | |
//!
//! The SHA-1 of these bytes is the info hash, so there is one encoding: exactly these keys, in this
//! order.
//!
//! **Invariant:** a [`Metainfo`] has one digest for each piece of its geometry, and
//! `from_bytes(to_bytes())` returns it.
//!
//! Pure; called where a file is shared and where its metainfo arrives. The parts in which it
//! arrives are [`super::peer::MetadataMessage`].

use sha1::{Digest, Sha1};

use super::{WireError, bencode};
use crate::types::{FileFacts, FileName, Geometry, InfoHash, PieceIndex, Sha1Digest, limits};

const WHAT: &str = "info dictionary";

/// What a file is to the swarm: its name, its length, and the digest of every piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metainfo {
    name: FileName,
    geometry: Geometry,
    pieces: Vec<Sha1Digest>,
}

impl Metainfo {
    /// Takes the parts of a file that was hashed here.
    ///
    /// # Errors
    /// [`WireError::BadValue`] if there are more or fewer digests than pieces.
    pub fn new(
        name: FileName,
        geometry: Geometry,
        pieces: Vec<Sha1Digest>,
    ) -> Result<Self, WireError> {
        if pieces.len() != geometry.piece_count() as usize {
            let why = format!("{} digests for {} pieces", pieces.len(), geometry.piece_count());
            return Err(WireError::bad(WHAT, why));
        }
        Ok(Self { name, geometry, pieces })
    }

    /// The metainfo of a file of one piece or none, which follows from its facts; `None` for a
    /// longer one, and if the facts contradict each other.
    pub fn of_small(facts: &FileFacts) -> Option<Self> {
        let geometry = Geometry::new(facts.len, facts.piece_len).ok()?;
        let pieces = match geometry.piece_count() {
            0 => Vec::new(),
            1 => vec![facts.sha1],
            _ => return None,
        };
        let metainfo = Self { name: facts.name.clone(), geometry, pieces };
        (metainfo.info_hash() == facts.info_hash).then_some(metainfo)
    }

    /// The file's name.
    pub fn name(&self) -> &FileName {
        &self.name
    }

    /// The file's length and how it is cut into pieces.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The digests of all pieces, in order.
    pub fn pieces(&self) -> &[Sha1Digest] {
        &self.pieces
    }

    /// The digest that the piece must have.
    ///
    /// # Panics
    /// If the piece belongs to a longer file.
    pub fn piece_hash(&self, piece: PieceIndex) -> Sha1Digest {
        self.pieces[piece.as_usize()]
    }

    /// Encodes the info dictionary.
    pub fn to_bytes(&self) -> Vec<u8> {
        let pieces: Vec<u8> =
            self.pieces.iter().flat_map(|digest| digest.as_bytes()).copied().collect();
        bencode::write(|value| {
            value.emit_dict(|mut pairs| {
                pairs.emit_pair(b"length", self.geometry.len())?;
                pairs.emit_pair(b"name", self.name.as_str())?;
                pairs.emit_pair(b"piece length", self.geometry.piece_len())?;
                pairs.emit_pair_with(b"pieces", |value| value.emit_bytes(&pieces))?;
                pairs.emit_pair(b"private", 1)
            })
        })
    }

    /// Hashes the info dictionary.
    pub fn info_hash(&self) -> InfoHash {
        InfoHash::from_bytes(Sha1::digest(self.to_bytes()).into())
    }

    /// Decodes an info dictionary. Whoever wants a certain file compares [`Metainfo::info_hash`]
    /// with what they want.
    ///
    /// # Errors
    /// Whatever is not canonical, has other keys, or more bytes than
    /// [`limits::INFO_DICTIONARY_LEN_MAX`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let metainfo = Parts::read(bytes)?.join()?;
        match metainfo.to_bytes() == bytes {
            true => Ok(metainfo),
            false => Err(WireError::bad(WHAT, "it is not in canonical form")),
        }
    }
}

/// The values of an info dictionary, as far as they were there.
#[derive(Default)]
struct Parts<'a> {
    len: Option<u64>,
    name: Option<FileName>,
    piece_len: Option<u64>,
    pieces: Option<&'a [u8]>,
    private: Option<u64>,
}

impl<'a> Parts<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, WireError> {
        if bytes.len() > limits::INFO_DICTIONARY_LEN_MAX {
            let (len, max) = (bytes.len() as u64, limits::INFO_DICTIONARY_LEN_MAX as u64);
            return Err(WireError::TooLong { what: WHAT, len, max });
        }
        let mut parts = Self::default();
        let end = bencode::read_dictionary(WHAT, bytes, |key, value| {
            match key {
                b"length" => {
                    parts.len = Some(bencode::integer("length of a file", value, u64::MAX)?)
                }
                b"name" => parts.name = Some(file_name(bencode::bytes("file name", value)?)?),
                b"piece length" => {
                    parts.piece_len =
                        Some(bencode::integer("piece length", value, u32::MAX.into())?)
                }
                b"pieces" => parts.pieces = Some(bencode::bytes("pieces", value)?),
                b"private" => parts.private = Some(bencode::integer("private flag", value, 1)?),
                key => {
                    return Err(WireError::bad(
                        WHAT,
                        format!("it has the key {:?}", key.escape_ascii().to_string()),
                    ));
                }
            }
            Ok(())
        })?;
        match bytes.len() - end {
            0 => Ok(parts),
            left => Err(WireError::Trailing(left)),
        }
    }

    fn join(self) -> Result<Metainfo, WireError> {
        let Self {
            len: Some(len),
            name: Some(name),
            piece_len: Some(piece_len),
            pieces: Some(pieces),
            private: Some(1),
        } = self
        else {
            return Err(WireError::bad(WHAT, "it is not that of one private file"));
        };
        // `Parts::read` held the piece length to 32 bits.
        let geometry = Geometry::new(len, piece_len as u32).map_err(|e| WireError::bad(WHAT, e))?;
        let (digests, rest) = pieces.as_chunks::<{ Sha1Digest::LEN }>();
        if !rest.is_empty() {
            return Err(WireError::bad(WHAT, "its pieces are not a whole number of digests"));
        }
        if digests.len() != geometry.piece_count() as usize {
            return Err(WireError::bad(
                WHAT,
                format!("{} digests for {} pieces", digests.len(), geometry.piece_count()),
            ));
        }
        Metainfo::new(name, geometry, digests.iter().copied().map(Sha1Digest::from_bytes).collect())
    }
}

fn file_name(bytes: &[u8]) -> Result<FileName, WireError> {
    let text = std::str::from_utf8(bytes).map_err(|e| WireError::bad("file name", e))?;
    text.parse().map_err(|e| WireError::bad("file name", e))
}

#[cfg(test)]
mod tests;
