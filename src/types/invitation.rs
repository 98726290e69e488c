//! Invitations: their secrets and ids, and what a member says when making one.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{GroupId, id::opaque_id};

/// When an invitation expires that was made for some days.
pub fn invitation_expires_ms(created_ms: u64, days: u32) -> u64 {
    created_ms.saturating_add(u64::from(days) * 24 * 3600 * 1000)
}

opaque_id!(
    /// An invitation: a hash over its group and its secret, so that who knows the id cannot use it.
    InvitationId,
    16
);

/// What lets its bearer into a group: 128 random bits, which only the link holds. It prints as
/// `[redacted]`, and is wiped when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct InvitationSecret([u8; Self::LEN]);

impl InvitationSecret {
    /// Length in bytes.
    pub const LEN: usize = 16;

    /// Wraps bytes of a random source or of a link.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the code that sends the secret or writes the link.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The id of the invitation to that group with this secret: the first 16 bytes of SHA-256.
    pub fn id(&self, group: GroupId) -> InvitationId {
        let mut hasher = Sha256::new();
        hasher.update(b"posse invitation");
        hasher.update(group.as_bytes());
        hasher.update(self.0);
        let mut id = [0; InvitationId::LEN];
        id.copy_from_slice(&hasher.finalize()[..InvitationId::LEN]);
        InvitationId::from_bytes(id)
    }
}

impl fmt::Debug for InvitationSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What the owner of a group has set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupSettings {
    /// Whether every member may invite, or the owner alone.
    pub members_invite: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print_and_its_id_depends_on_the_group() {
        let secret = InvitationSecret::from_bytes([0xab; 16]);
        assert_eq!(format!("{secret:?}"), "[redacted]");
        let [one, other] = [1, 2].map(|byte| secret.id(GroupId::from_bytes([byte; 16])));
        assert_ne!(one, other);
        assert!(!one.to_string().contains("abab"));
        assert_eq!(one, secret.clone().id(GroupId::from_bytes([1; 16])));
    }
}
