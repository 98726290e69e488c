//! Who shows a certificate: a tracker of some network, or a device.
//!
//! A tracker shows two certificates: its own, made at its start, and the network's, which signed
//! it. A device shows one, which it signed itself. Names, dates and serial numbers in them mean
//! nothing; the keys do.
//!
//! **Invariant:** a [`Chain`] says whose keys the certificates carry and that the network's key
//! signed the tracker's. That the other end *has* the private key is proven by the handshake around
//! it (RFC 8446, section 4.4.3).

use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::NetworkPublicKey;
use crate::types::DeviceId;

/// What stands before the key in the DER encoding of an Ed25519 SubjectPublicKeyInfo (RFC 8410,
/// section 4).
const SPKI_HEAD: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A time at which every certificate of ours is valid: dates mean nothing here, and a machine
/// without a clock is to know its trackers too.
pub(crate) const ANY_TIME: UnixTime =
    UnixTime::since_unix_epoch(Duration::from_secs(1_700_000_000));

/// Whose certificates were shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// A tracker's of the network with this key.
    Tracker(NetworkPublicKey),
    /// A device's.
    Device(DeviceId),
}

/// Tells whose certificates these are; `None` if they are nobody's.
pub fn chain_of(leaf: &CertificateDer<'_>, above: &[CertificateDer<'_>]) -> Option<Chain> {
    let key = EndEntityCert::try_from(leaf).ok()?;
    let public = ed25519_key(key.subject_public_key_info().as_ref())?;
    match above {
        [] => Some(Chain::Device(DeviceId::from_bytes(Sha256::digest(public).into()))),
        [network] => {
            let anchor = anchor_from_trusted_cert(network).ok()?;
            let network_cert = EndEntityCert::try_from(network).ok()?;
            let network_key = ed25519_key(network_cert.subject_public_key_info().as_ref())?;
            key.verify_for_usage(
                &[webpki::aws_lc_rs::ED25519],
                &[anchor],
                &[],
                ANY_TIME,
                KeyUsage::server_auth(),
                None,
                None,
            )
            .ok()?;
            Some(Chain::Tracker(NetworkPublicKey::from_bytes(network_key)))
        }
        _ => None,
    }
}

fn ed25519_key(spki: &[u8]) -> Option<[u8; 32]> {
    spki.strip_prefix(&SPKI_HEAD)?.try_into().ok()
}
