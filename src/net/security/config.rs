//! The configurations that rustls makes connections with.
//!
//! **Invariant:** TLS 1.3, Ed25519 certificates at both ends, no resumption, no early data, no
//! server name.
//!
//! Plain values; nothing blocks.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::UnixTime;
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, Error, ServerConfig, version};

use super::verify::{DiallerVerifier, Expected, PeerVerifier};
use crate::trust::{ANY_TIME, Identity};

/// The application protocol at a tracker's port.
pub(super) const ALPN_TRACKER: &[u8] = b"posse-tracker";
/// The application protocol at a client's port.
pub(super) const ALPN_LINK: &[u8] = b"posse-link";

/// Keeps the machine's clock out of handshakes: dates in certificates mean nothing here, and
/// the library's own source of time panics where the clock is set before 1970.
#[derive(Debug)]
struct Dateless;

impl TimeProvider for Dateless {
    fn current_time(&self) -> Option<UnixTime> {
        Some(ANY_TIME)
    }
}

/// AES-128 comes first: it is the fastest where the processor has AES, and it is not broken.
fn provider() -> Arc<CryptoProvider> {
    use aws_lc_rs::cipher_suite::{
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    };
    let cipher_suites =
        vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];
    Arc::new(CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() })
}

pub(super) fn server_config(
    identity: &Identity,
    verifier: DiallerVerifier,
    alpn: &[u8],
) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_details(provider(), Arc::new(Dateless))
        .with_protocol_versions(&[&version::TLS13])?;
    let mut config = builder
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())));
    config.alpn_protocols = vec![alpn.to_vec()];
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(config)
}

pub(super) fn client_config(
    identity: &Identity,
    expected: Expected,
    alpn: &[u8],
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(Dateless))
        .with_protocol_versions(&[&version::TLS13])?;
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PeerVerifier { expected }))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())));
    config.alpn_protocols = vec![alpn.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}
