//! Relayed connections: the secret by which a relay knows their two ends.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{DeviceId, GroupId, UserId};

/// What one end of a relayed connection shows the relay: 256 random bits, good for one connection.
/// It prints as `[redacted]`, and is wiped when dropped.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Zeroize, ZeroizeOnDrop)]
pub struct RelaySecret([u8; Self::LEN]);

impl RelaySecret {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// Wraps bytes of a random source or of a message.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the code that sends the secret.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for RelaySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// One end of a relayed connection, as the relay is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayParty {
    /// Whose device.
    pub user: UserId,
    /// Which.
    pub device: DeviceId,
    /// What that end will show.
    pub secret: RelaySecret,
}

/// Two members of one group whose devices meet at a relay. The first dials, inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayMeeting {
    /// A group that both are in.
    pub group: GroupId,
    /// The end that asked.
    pub first: RelayParty,
    /// The end that was asked for.
    pub second: RelayParty,
}

impl RelayMeeting {
    /// Both ends.
    pub fn parties(&self) -> [&RelayParty; 2] {
        [&self.first, &self.second]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", RelaySecret::from_bytes([0xab; 32])), "[redacted]");
    }
}
