//! Tokens and tickets: how they are signed, and how a signature is checked.
//!
//! **Invariant:** what is signed is a text that names the kind of statement and its version, a zero
//! byte, and the claims as they go over the wire; so no statement can be taken for one of another
//! kind.
//!
//! No IO. A signature costs about 20 microseconds, a check about 50.

use std::fmt;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use sha2::{Digest, Sha256};

use super::KeyPair;
use crate::types::{
    Fingerprint, KeyRotation, PublicKey, RotationStage, SessionToken, Signature, Ticket,
    TicketClaims, TokenClaims,
};
use crate::wire::Wire;

const TOKEN: &[u8] = b"posse session token 1\0";
const TICKET: &[u8] = b"posse membership ticket 1\0";
const SUCCESSION: &[u8] = b"posse network succession 1\0";

/// A network's public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NetworkPublicKey([u8; 32]);

impl NetworkPublicKey {
    /// Wraps the 32 bytes of an Ed25519 public key.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the Ed25519 public key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The network's name.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::from_bytes(Sha256::digest(self.0).into())
    }

    /// Tells whether the network's key signed the token. Expiry, device and password are for the
    /// caller to check.
    pub fn signed_token(&self, token: &SessionToken) -> bool {
        self.signed(TOKEN, &token.claims, &token.signature)
    }

    /// Tells whether the network's key signed the ticket. Expiry, device and group are for the
    /// caller to check.
    pub fn signed_ticket(&self, ticket: &Ticket) -> bool {
        self.signed(TICKET, &ticket.claims, &ticket.signature)
    }

    /// Tells whether the network's key signed that another takes its place, and how far that is.
    pub fn signed_rotation(&self, rotation: &KeyRotation) -> bool {
        let claims = (rotation.stage, (rotation.old, rotation.new));
        *self == rotation.old.into() && self.signed(SUCCESSION, &claims, &rotation.signature)
    }

    fn signed(&self, kind: &[u8], claims: &impl Wire, signature: &Signature) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(&message(kind, claims), signature.as_bytes())
            .is_ok()
    }
}

impl From<PublicKey> for NetworkPublicKey {
    fn from(key: PublicKey) -> Self {
        Self(*key.as_bytes())
    }
}

impl From<NetworkPublicKey> for PublicKey {
    fn from(key: NetworkPublicKey) -> Self {
        Self::from_bytes(key.0)
    }
}

impl fmt::Debug for NetworkPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetworkPublicKey({})", self.fingerprint())
    }
}

impl KeyPair {
    /// The public half of a network's key.
    pub fn network(&self) -> NetworkPublicKey {
        NetworkPublicKey(self.public())
    }

    /// Signs a session token.
    pub fn sign_token(&self, claims: TokenClaims) -> SessionToken {
        SessionToken { signature: self.sign(&message(TOKEN, &claims)), claims }
    }

    /// Signs a membership ticket.
    pub fn sign_ticket(&self, claims: TicketClaims) -> Ticket {
        Ticket { signature: self.sign(&message(TICKET, &claims)), claims }
    }

    /// Signs that another key is to take the place of this one; both count until the operator ends
    /// that.
    pub fn begin_rotation(&self, new: NetworkPublicKey) -> KeyRotation {
        self.sign_rotation(RotationStage::Begun, new)
    }

    /// Signs how far it is that another key takes the place of this one.
    pub fn sign_rotation(&self, stage: RotationStage, new: NetworkPublicKey) -> KeyRotation {
        let (old, new): (PublicKey, PublicKey) = (self.network().into(), new.into());
        let signature = self.sign(&message(SUCCESSION, &(stage, (old, new))));
        KeyRotation { stage, old, new, signature }
    }
}

fn message(kind: &[u8], claims: &impl Wire) -> Vec<u8> {
    let mut message = kind.to_vec();
    claims.encode(&mut message);
    message
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;
    use crate::types::limits::{TICKET_LIFETIME, TOKEN_LIFETIME};
    use crate::types::{DeviceId, GroupId, RequestId, Stamp, UserId, Version};

    /// The bytes that docs/PROTOCOL.md gives for a vector.
    fn documented(vector: &str) -> String {
        let rows = include_str!("../../docs/PROTOCOL.md")
            .lines()
            .filter_map(|line| line.strip_prefix(&format!("| {vector} | `")));
        let rows: Vec<&str> = rows.collect();
        assert_eq!(rows.len(), 1, "{vector}");
        rows[0].trim_end_matches("` |").to_owned()
    }

    /// The vectors were computed by another program, from the document alone.
    #[test]
    fn statements_are_signed_as_documented() {
        let pkcs8 = [
            &b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"[..],
            &Vec::from_iter(0..32),
        ]
        .concat();
        let key = KeyPair::from_pkcs8(&pkcs8).unwrap();
        assert_eq!(HEXLOWER.encode(&key.public()), documented("public key"));
        assert_eq!(
            key.device().to_string(),
            documented("fingerprint of the network, or id of the device, with that key")
        );
        assert_eq!(key.fingerprint().to_string(), format!("sha256:{}", key.device()));
        let (user, device) = (UserId::from_bytes([0x11; 16]), DeviceId::from_bytes([0x55; 32]));
        let password = Version {
            stamp: Stamp::new(1_700_000_000_000, 7),
            request: RequestId::from_bytes([0x44; 16]),
        };
        let issued_ms = 1_700_000_100_000;
        let expires_ms = issued_ms + TOKEN_LIFETIME.as_millis() as u64;
        let token = key.sign_token(TokenClaims { user, device, password, issued_ms, expires_ms });
        assert_eq!(HEXLOWER.encode(&token.claims.to_bytes()), documented("token claims"));
        assert_eq!(HEXLOWER.encode(token.signature.as_bytes()), documented("token signature"));
        assert_eq!(
            token.to_bytes(),
            [token.claims.to_bytes(), token.signature.to_bytes()].concat()
        );
        let expires_ms = issued_ms + TICKET_LIFETIME.as_millis() as u64;
        let ticket = key.sign_ticket(TicketClaims {
            group: GroupId::from_bytes([0x22; 16]),
            user,
            device,
            issued_ms,
            expires_ms,
        });
        assert_eq!(HEXLOWER.encode(&ticket.claims.to_bytes()), documented("ticket claims"));
        assert_eq!(HEXLOWER.encode(ticket.signature.as_bytes()), documented("ticket signature"));
        for text in [TOKEN, TICKET, SUCCESSION] {
            let text = std::str::from_utf8(text).unwrap().strip_suffix('\0').unwrap();
            assert!(
                include_str!("../../docs/PROTOCOL.md")
                    .contains(&format!("the ASCII text `{text}`, a zero byte"))
            );
        }
    }

    #[test]
    fn a_statement_holds_for_its_key_its_kind_and_its_words_alone() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let (user, device) = (UserId::from_bytes([1; 16]), DeviceId::from_bytes([2; 32]));
        let claims = TicketClaims {
            group: GroupId::from_bytes([3; 16]),
            user,
            device,
            issued_ms: 1,
            expires_ms: 2,
        };
        let ticket = key.sign_ticket(claims);
        assert!(key.network().signed_ticket(&ticket) && !other.network().signed_ticket(&ticket));
        for changed in [
            TicketClaims { group: GroupId::from_bytes([4; 16]), ..claims },
            TicketClaims { user: UserId::from_bytes([9; 16]), ..claims },
            TicketClaims { device: DeviceId::from_bytes([9; 32]), ..claims },
            TicketClaims { issued_ms: 3, ..claims },
            TicketClaims { expires_ms: 3, ..claims },
        ] {
            assert!(!key.network().signed_ticket(&Ticket { claims: changed, ..ticket }));
        }
        let password = Version { stamp: Stamp::ZERO, request: RequestId::from_bytes([7; 16]) };
        let token =
            key.sign_token(TokenClaims { user, device, password, issued_ms: 1, expires_ms: 2 });
        assert!(key.network().signed_token(&token) && !other.network().signed_token(&token));
        assert!(
            !key.network().signed_token(&SessionToken { signature: ticket.signature, ..token })
        );
    }

    #[test]
    fn the_old_key_alone_names_the_one_that_follows() {
        let [old, new, other] = [(); 3].map(|()| KeyPair::generate().unwrap());
        let rotation = old.begin_rotation(new.network());
        assert!(old.network().signed_rotation(&rotation));
        // The signature of one stage is none of another.
        for stage in [RotationStage::Ended, RotationStage::Cancelled] {
            assert!(!old.network().signed_rotation(&KeyRotation { stage, ..rotation }));
            assert!(old.network().signed_rotation(&old.sign_rotation(stage, new.network())));
        }
        assert!(
            !new.network().signed_rotation(&rotation)
                && !other.network().signed_rotation(&rotation)
        );
        let forged = KeyRotation { old: rotation.old, ..other.begin_rotation(new.network()) };
        assert!(!old.network().signed_rotation(&forged));
        assert!(
            !old.network()
                .signed_rotation(&KeyRotation { new: other.network().into(), ..rotation })
        );
    }
}
