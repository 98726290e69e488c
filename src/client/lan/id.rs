//! The name by which a device announces itself on a local network.
//!
//! **Invariant:** an id follows from the network, the device and the epoch alone. So those who know
//! the device's id recognise it, and others cannot tell whether two ids are of one device.
//!
//! Pure.

use std::fmt;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::types::{DeviceId, Fingerprint};

/// How long a device has one id, in milliseconds.
const EPOCH_MS: u64 = 10 * 60 * 1_000;
const PURPOSE: &[u8] = b"posse lan id 1\0";

/// The epoch of a time on the trackers' clocks.
pub(crate) fn epoch(clock_ms: u64) -> u64 {
    clock_ms / EPOCH_MS
}

/// A device's name in one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RotatingId([u8; 16]);

impl RotatingId {
    /// The id of a device.
    pub(crate) fn new(network: Fingerprint, device: DeviceId, epoch: u64) -> Self {
        let mut hash = Sha256::new_with_prefix(PURPOSE);
        hash.update(network.as_bytes());
        hash.update(device.as_bytes());
        hash.update(epoch.to_be_bytes());
        let hash: [u8; 32] = hash.finalize().into();
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        Self(id)
    }

    /// Reads 32 hexadecimal digits.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let bytes = HEXLOWER.decode(&text.to_ascii_lowercase()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for RotatingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: Fingerprint = Fingerprint::from_bytes([1; 32]);
    const DEVICE: DeviceId = DeviceId::from_bytes([2; 32]);

    #[test]
    fn the_id_is_that_of_the_document() {
        // docs/PROTOCOL.md has these values.
        let id = RotatingId::new(NETWORK, DEVICE, 2_900_000);
        assert_eq!(id.to_string(), "80be33fba01682f4a5161628217aae0b");
        assert_eq!(epoch(1_740_000_000_000), 2_900_000);
    }

    #[test]
    fn an_id_is_of_one_network_device_and_epoch() {
        let id = RotatingId::new(NETWORK, DEVICE, 7);
        assert_ne!(id, RotatingId::new(NETWORK, DEVICE, 8));
        assert_ne!(id, RotatingId::new(NETWORK, DeviceId::from_bytes([3; 32]), 7));
        assert_ne!(id, RotatingId::new(Fingerprint::from_bytes([3; 32]), DEVICE, 7));
        assert_eq!(RotatingId::parse(id.to_string().as_bytes()), Some(id));
        assert_eq!(RotatingId::parse(id.to_string().to_uppercase().as_bytes()), Some(id));
    }

    #[test]
    fn other_names_are_no_ids() {
        for name in ["", "nik", "0123", &"0".repeat(31), &"0".repeat(33), &"g".repeat(32)] {
            assert_eq!(RotatingId::parse(name.as_bytes()), None, "{name}");
        }
    }
}
