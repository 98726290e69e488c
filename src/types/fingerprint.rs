//! How a network's key is named where a person has to compare it: `sha256:` and 64 hexadecimal
//! digits.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;

use super::ParseIdError;
use super::id::parse_hex;

/// What stands before the digits.
const PREFIX: &str = "sha256:";

/// SHA-256 of a network's Ed25519 public key, its 32 bytes: the name of the network that nobody
/// else can bear.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// Wraps the bytes of a digest.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Says why a text is not a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    /// It does not begin as one.
    #[error("a network's fingerprint begins with sha256:")]
    Prefix,
    /// What follows is not its digits.
    #[error("behind sha256: {0}")]
    Digits(#[from] ParseIdError),
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix(PREFIX).ok_or(FingerprintError::Prefix)?;
        Ok(Self(parse_hex(digits)?))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        fmt::Display::fmt(&HEXLOWER.encode_display(&self.0), f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_shown_and_read_back() {
        let fingerprint = Fingerprint::from_bytes(std::array::from_fn(|i| i as u8));
        let text = fingerprint.to_string();
        assert!(text.starts_with("sha256:000102") && text.len() == 7 + 64);
        assert_eq!(text.parse(), Ok(fingerprint));
        assert_eq!(text[7..].parse::<Fingerprint>(), Err(FingerprintError::Prefix));
        assert!(text[..70].parse::<Fingerprint>().is_err());
    }
}
