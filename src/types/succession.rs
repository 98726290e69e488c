//! The network's key taking another's place: what the old key signs, and how far the operator is
//! with it.
//!
//! **Invariant:** a rotation is worth nothing before its signature was checked. It holds public
//! keys alone.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::id::opaque_id;
use super::{Fingerprint, Signature};

opaque_id!(
    /// An Ed25519 public key (RFC 8032).
    PublicKey,
    32
);

impl PublicKey {
    /// The name of the network whose key this is.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::from_bytes(Sha256::digest(self.as_bytes()).into())
    }
}

/// Which of two keys of a network counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RotationStage {
    /// Both.
    Begun,
    /// The new one alone.
    Ended,
    /// The old one alone.
    Cancelled,
}

impl RotationStage {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Ended => "ended",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A network's key and the one that takes its place.
///
/// As text: the stage, both keys and the signature in hexadecimal, with a space between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyRotation {
    /// How far it is.
    pub stage: RotationStage,
    /// The key before.
    pub old: PublicKey,
    /// The key after.
    pub new: PublicKey,
    /// Over the stage and both keys, with the old one.
    pub signature: Signature,
}

impl KeyRotation {
    /// Tells whether the other is of the same two keys.
    pub fn is_same_change(&self, other: &Self) -> bool {
        (self.old, self.new) == (other.old, other.new)
    }

    /// The key that counts no more.
    pub const fn void_key(&self) -> Option<PublicKey> {
        match self.stage {
            RotationStage::Begun => None,
            RotationStage::Ended => Some(self.old),
            RotationStage::Cancelled => Some(self.new),
        }
    }
}

impl fmt::Display for KeyRotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.stage.as_str(), self.old, self.new, self.signature)
    }
}

/// Says that a text is no rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a change of keys has a stage, two public keys and a signature")]
pub struct KeyRotationError;

impl FromStr for KeyRotation {
    type Err = KeyRotationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<&str> = text.split(' ').collect();
        let [stage, old, new, signature] = words[..] else { return Err(KeyRotationError) };
        let stages = [RotationStage::Begun, RotationStage::Ended, RotationStage::Cancelled];
        let stage =
            stages.into_iter().find(|known| known.as_str() == stage).ok_or(KeyRotationError)?;
        let key = |text: &str| text.parse().map_err(|_| KeyRotationError);
        let signature = signature.parse().map_err(|_| KeyRotationError)?;
        Ok(Self { stage, old: key(old)?, new: key(new)?, signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_is_read_as_it_is_shown() {
        let [old, new] = [1, 2].map(|byte| PublicKey::from_bytes([byte; 32]));
        for stage in [RotationStage::Begun, RotationStage::Ended, RotationStage::Cancelled] {
            let rotation =
                KeyRotation { stage, old, new, signature: Signature::from_bytes([3; 64]) };
            assert_eq!(rotation.to_string().parse(), Ok(rotation));
        }
        for bad in
            ["", "begun", "begun 01 02 03", "over 01 02 03", &format!("begun {old} {new} {old}")]
        {
            assert_eq!(bad.parse::<KeyRotation>(), Err(KeyRotationError), "{bad}");
        }
    }
}
