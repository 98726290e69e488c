//! What ties the two ends of one hole punch to their sessions.

use std::fmt;

/// Names one end's part in a hole punch: 128 random bits that a tracker tells that end's session
/// alone. It prints as `[redacted]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PunchSecret([u8; Self::LEN]);

impl PunchSecret {
    /// Length in bytes.
    pub const LEN: usize = 16;

    /// Wraps bytes of a random source or of a message.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the code that sends the secret.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for PunchSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
