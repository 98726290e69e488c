//! Checks the certificates that the other end shows.
//!
//! **Invariant:** a signature of the handshake is checked with Ed25519 and no other scheme, and a
//! certificate counts only as a chain of [`chain_of`] that is expected here.
//!
//! Called by rustls during a handshake; nothing blocks.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerMisbehaved,
    SignatureScheme,
};

use crate::trust::{Chain, NetworkPublicKey, chain_of};
use crate::types::{DeviceId, Fingerprint};

/// The other end belongs to a network that is not the one expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it belongs to the network {found}, and not to {expected}")]
pub struct WrongNetwork {
    /// The network whose key was expected.
    pub expected: Fingerprint,
    /// The one whose key was shown.
    pub found: Fingerprint,
}

impl WrongNetwork {
    /// Returns it if it is the reason why a connection was not made.
    pub fn of(error: &io::Error) -> Option<Self> {
        match error.get_ref()?.downcast_ref::<Error>()? {
            Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) => {
                cause.downcast_ref().copied()
            }
            _ => None,
        }
    }
}

/// Tells whether a connection was not made because the other end refused: it has sent an alert, as
/// an end does that does not accept our certificate.
pub fn is_refused_by_peer(error: &io::Error) -> bool {
    matches!(error.get_ref().and_then(|inner| inner.downcast_ref()), Some(Error::AlertReceived(_)))
}

/// The ends that a dialler accepts.
#[derive(Debug, Clone)]
pub(super) enum Expected {
    /// A tracker of the network that one of these keys names; of any if there are none.
    Network(Vec<Fingerprint>),
    /// This device.
    Device(DeviceId),
}

/// What the checks of both ends have in common: signatures of TLS 1.3 with Ed25519, and no others.
macro_rules! only_tls13_with_ed25519 {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, dss, &algorithms())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }
    };
}

/// Checks the end that was dialled.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    pub(super) expected: Expected,
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match (chain_of(end_entity, intermediates), &self.expected) {
            (Some(Chain::Tracker(network)), Expected::Network(wanted)) => {
                match (network.fingerprint(), wanted.first()) {
                    (found, Some(&expected)) if !wanted.contains(&found) => {
                        Err(other(WrongNetwork { expected, found }))
                    }
                    _ => Ok(ServerCertVerified::assertion()),
                }
            }
            (Some(Chain::Device(device)), Expected::Device(expected)) if device == *expected => {
                Ok(ServerCertVerified::assertion())
            }
            _ => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    only_tls13_with_ed25519!();
}

/// Checks the end that dialled: a device, or at a tracker's port another tracker of the network.
#[derive(Debug)]
pub(super) struct DiallerVerifier {
    /// Trackers that show one of these keys are taken.
    pub(super) networks: Vec<NetworkPublicKey>,
    /// The network that other trackers are told of; `None` at a client's port, which takes no
    /// trackers.
    pub(super) own: Option<Fingerprint>,
}

impl ClientCertVerifier for DiallerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match (chain_of(end_entity, intermediates), self.own) {
            (Some(Chain::Device(_)), _) => Ok(ClientCertVerified::assertion()),
            (Some(Chain::Tracker(network)), _) if self.networks.contains(&network) => {
                Ok(ClientCertVerified::assertion())
            }
            (Some(Chain::Tracker(network)), Some(expected)) => {
                Err(other(WrongNetwork { expected, found: network.fingerprint() }))
            }
            _ => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    only_tls13_with_ed25519!();
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    aws_lc_rs::default_provider().signature_verification_algorithms
}

fn other(cause: WrongNetwork) -> Error {
    CertificateError::Other(OtherError(Arc::new(cause))).into()
}
