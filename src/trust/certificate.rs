//! The certificates that trackers and devices show, made at each start from their keys.
//!
//! **Invariant:** a tracker's own key lives as long as its process and is nowhere else; a
//! certificate is made in one place.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PublicKeyData, SignatureAlgorithm, SigningKey,
};
use rustls::crypto::aws_lc_rs::sign::any_eddsa_type;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use super::{KeyError, KeyPair};

/// The name that every tracker's certificate bears: names mean nothing here, but the certificate
/// must have one.
pub(crate) const TRACKER_NAME: &str = "tracker.posse";
/// The same for devices.
const DEVICE_NAME: &str = "device.posse";
/// 2100-01-01, as time since the Unix epoch: no clock that is right shows a later year.
const CLOCK_MAX: Duration = Duration::from_secs(4_102_444_800);

/// Says why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is no key for it.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The library that makes certificates would not.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The library that makes connections does not take the key.
    #[error("cannot use the key for connections: {0}")]
    Tls(#[from] rustls::Error),
    /// The machine's clock shows a year before 1970 or after 2099.
    #[error("this machine's clock is set {0}; set it right, then start again")]
    Clock(&'static str),
}

/// What one end of a connection shows and proves to be.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
}

impl Identity {
    /// What a tracker shows: a key made now, vouched for by the network's.
    ///
    /// # Errors
    /// Every [`IdentityError`].
    pub fn of_tracker(network: &KeyPair) -> Result<Self, IdentityError> {
        check_clock(SystemTime::now())?;
        let mut authority = params("network.posse")?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let network_certificate = authority.self_signed(&Signer(network))?;
        let own = KeyPair::generate()?;
        let certificate = params(TRACKER_NAME)?
            .signed_by(&Signer(&own), &Issuer::new(authority, Signer(network)))?;
        Self::new(vec![certificate.into(), network_certificate.into()], &own)
    }

    /// What a device shows: its own key, vouched for by nobody.
    ///
    /// # Errors
    /// Every [`IdentityError`].
    pub fn of_device(device: &KeyPair) -> Result<Self, IdentityError> {
        check_clock(SystemTime::now())?;
        Self::new(vec![params(DEVICE_NAME)?.self_signed(&Signer(device))?.into()], device)
    }

    fn new(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Result<Self, IdentityError> {
        let signing = any_eddsa_type(&key.pkcs8())?;
        Ok(Self { certified: Arc::new(CertifiedKey::new(chain, signing)) })
    }

    /// The certificates and the key, as the TLS library takes them.
    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        self.certified.clone()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity([redacted])")
    }
}

/// Signs certificates without giving the key away.
struct Signer<'a>(&'a KeyPair);

impl PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign(message).as_bytes().to_vec())
    }
}

/// Refuses a clock that no stamp, token or ticket could be dated by.
fn check_clock(now: SystemTime) -> Result<(), IdentityError> {
    match now.duration_since(SystemTime::UNIX_EPOCH) {
        Err(_) => Err(IdentityError::Clock("before the year 1970")),
        Ok(since) if since >= CLOCK_MAX => Err(IdentityError::Clock("after the year 2099")),
        Ok(_) => Ok(()),
    }
}

/// Valid at all times: what ends a tracker's certificate is the end of its process, what ends a
/// network's is a new key.
fn params(name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{Chain, chain_of};

    fn shown(identity: &Identity) -> Option<Chain> {
        let chain = &identity.certified.cert;
        chain_of(&chain[0], &chain[1..])
    }

    #[test]
    fn a_clock_before_1970_or_after_2099_is_an_error() {
        let epoch = SystemTime::UNIX_EPOCH;
        let second = Duration::from_secs(1);
        assert!(check_clock(epoch).is_ok() && check_clock(epoch + CLOCK_MAX - second).is_ok());
        let early = check_clock(epoch - second).unwrap_err();
        assert!(early.to_string().contains("before the year 1970; set it right"), "{early}");
        let late = check_clock(epoch + CLOCK_MAX).unwrap_err();
        assert!(late.to_string().contains("after the year 2099; set it right"), "{late}");
    }

    #[test]
    fn certificates_say_whose_they_are() {
        let (network, device) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let tracker = Identity::of_tracker(&network).unwrap();
        assert_eq!(shown(&tracker), Some(Chain::Tracker(network.network())));
        assert_eq!(
            shown(&Identity::of_device(&device).unwrap()),
            Some(Chain::Device(device.device()))
        );
        let other = Identity::of_tracker(&KeyPair::generate().unwrap()).unwrap();
        let (own, theirs) = (&tracker.certified.cert, &other.certified.cert);
        assert_eq!(chain_of(&own[0], &theirs[1..]), None, "not signed by that network");
        assert_eq!(chain_of(&own[0], &[own[1].clone(), own[1].clone()]), None);
        assert!(!format!("{tracker:?}").contains("PRIVATE"));
    }
}
