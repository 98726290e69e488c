//! What a network's key vouches for: that a device may act as a user, and that a user's device is
//! in a group.
//!
//! **Invariant:** a statement is worth nothing before its signature was checked, and nothing to any
//! device but the one it names: whoever takes it also checks the key at the other end of the
//! connection.
//!
//! Times are milliseconds since the Unix epoch on the trackers' clocks.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroize;

use super::id::opaque_id;
use super::{DeviceId, GroupId, UserId, Version};

opaque_id!(
    /// An Ed25519 signature (RFC 8032).
    Signature,
    64
);

/// What a session token says: this device may act as this user.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenClaims {
    /// The user.
    pub user: UserId,
    /// The only device that may use it.
    pub device: DeviceId,
    /// The write that set the user's password: a newer one makes the token void.
    pub password: Version,
    /// When it was signed.
    pub issued_ms: u64,
    /// From when on it is void.
    pub expires_ms: u64,
}

/// A session token: claims signed with the network's key. Prints as `[redacted]`, and its signature
/// is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken {
    /// What it says.
    pub claims: TokenClaims,
    /// Over the claims, with the network's key.
    pub signature: Signature,
}

impl Drop for SessionToken {
    fn drop(&mut self) {
        self.signature.0.zeroize();
    }
}

impl fmt::Debug for TokenClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What a membership ticket says: this device's user is a member of this group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TicketClaims {
    /// The group.
    pub group: GroupId,
    /// The member.
    pub user: UserId,
    /// The only device that may show it.
    pub device: DeviceId,
    /// When it was signed.
    pub issued_ms: u64,
    /// From when on it is void.
    pub expires_ms: u64,
}

/// A membership ticket: claims signed with the network's key. Prints without its signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// What it says.
    pub claims: TicketClaims,
    /// Over the claims, with the network's key.
    pub signature: Signature,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("claims", &self.claims)
            .field("signature", &"[redacted]")
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{RequestId, Stamp};

    #[test]
    fn tokens_do_not_print() {
        let password = Version { stamp: Stamp::ZERO, request: RequestId::from_bytes([7; 16]) };
        let (user, device) = (UserId::from_bytes([1; 16]), DeviceId::from_bytes([2; 32]));
        let claims = TokenClaims { user, device, password, issued_ms: 1, expires_ms: 2 };
        let token = SessionToken { claims, signature: Signature::from_bytes([0xab; 64]) };
        assert_eq!(format!("{token:?} {claims:?}"), "[redacted] [redacted]");
        let claims = TicketClaims {
            group: GroupId::from_bytes([3; 16]),
            user,
            device,
            issued_ms: 1,
            expires_ms: 2,
        };
        assert!(
            !format!("{:?}", Ticket { claims, signature: Signature::from_bytes([0xab; 64]) })
                .contains("abab")
        );
    }
}
