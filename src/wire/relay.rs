//! What each end of a relayed connection sends the relay first.
//!
//! **Invariant:** the relay reads exactly [`RELAY_HELLO_LEN`] bytes; those behind them are the other
//! end's.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `PSRL` |
//! | 4 | 2 | version, 1 |
//! | 6 | 32 | the secret of this end |

use super::WireError;
use crate::types::RelaySecret;

/// Bytes of a [`RelayHello`].
pub const RELAY_HELLO_LEN: usize = 6 + RelaySecret::LEN;
/// What a relayed connection begins with.
pub const RELAY_MAGIC: [u8; 4] = *b"PSRL";
/// The version of the hello.
pub const RELAY_VERSION: u16 = 1;

/// The first bytes of a connection to a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayHello {
    /// Which end it is.
    pub secret: RelaySecret,
}

impl RelayHello {
    /// Its bytes.
    pub fn encode(&self) -> [u8; RELAY_HELLO_LEN] {
        let mut bytes = [0; RELAY_HELLO_LEN];
        bytes[..4].copy_from_slice(&RELAY_MAGIC);
        bytes[4..6].copy_from_slice(&RELAY_VERSION.to_be_bytes());
        bytes[6..].copy_from_slice(self.secret.as_bytes());
        bytes
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`WireError`] for another beginning, and for a version that is not known here.
    pub fn decode(bytes: &[u8; RELAY_HELLO_LEN]) -> Result<Self, WireError> {
        if bytes[..4] != RELAY_MAGIC {
            return Err(WireError::bad("relay hello", "it is no connection for a relay"));
        }
        let version = u16::from_be_bytes([bytes[4], bytes[5]]);
        if version != RELAY_VERSION {
            return Err(WireError::bad("relay hello", format_args!("version {version}")));
        }
        let mut secret = [0; RelaySecret::LEN];
        secret.copy_from_slice(&bytes[6..]);
        Ok(Self { secret: RelaySecret::from_bytes(secret) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_document() {
        let hello = RelayHello { secret: RelaySecret::from_bytes([0xdd; 32]) };
        let bytes = hello.encode();
        assert_eq!(bytes[..6], [0x50, 0x53, 0x52, 0x4c, 0, 1]);
        assert_eq!(bytes[6..], [0xdd; 32]);
        assert_eq!(RelayHello::decode(&bytes), Ok(hello));
    }

    #[test]
    fn other_beginnings_and_versions_are_refused() {
        let good = RelayHello { secret: RelaySecret::from_bytes([1; 32]) }.encode();
        for at in 0..6 {
            for bit in 0..8 {
                let mut bad = good;
                bad[at] ^= 1 << bit;
                assert!(RelayHello::decode(&bad).is_err(), "byte {at}, bit {bit}");
            }
        }
    }
}
