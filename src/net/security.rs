//! Who may talk to whom: TLS 1.3 between clients, trackers and each other (RFC 8446), and nothing
//! else.
//!
//! A tracker's port takes devices, each known by its key, and trackers that show a certificate of
//! the same network. A client's port takes devices. Both ends of every connection prove who they
//! are; what a device *may* do is decided above, by what it then shows.
//!
//! **Invariant:** a [`Connection`] handed out here was made by a handshake in which the other end
//! proved to have the key that it is known by; there is no option to ignore a certificate, to
//! resume an earlier session or to send before the handshake is over. The one exception is
//! [`Transport::Plain`], which exists to be measured against and which no program offers.
//!
//! The application protocol is named in the handshake (ALPN, RFC 7301), so that what was meant for
//! a tracker is not taken by a client. Everything here that dials or accepts blocks, for the time
//! it is given.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::UnbufferedServerConnection;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerMisbehaved, ServerConfig, SignatureScheme, version,
};

use super::connection::is_timeout;
use super::stream::{Handshake, Input, Output, Progress, invalid};
use super::{Connection, Incoming};
use crate::trust::{
    ANY_TIME, Chain, Identity, IdentityError, KeyPair, NetworkPublicKey, TRACKER_NAME, chain_of,
};
use crate::types::{DeviceId, Fingerprint};

/// What is spoken at a tracker's port.
const ALPN_TRACKER: &[u8] = b"posse-tracker";
/// What is spoken at a client's port.
const ALPN_LINK: &[u8] = b"posse-link";

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
    /// Finds out whether this is why a connection was not made.
    pub fn of(error: &io::Error) -> Option<Self> {
        match error.get_ref()?.downcast_ref::<Error>()? {
            Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) => {
                cause.downcast_ref().copied()
            }
            _ => None,
        }
    }
}

/// Tells whether a connection was not made because the other end would not: it has said so, as who
/// does not take our certificate does.
pub fn refused_us(error: &io::Error) -> bool {
    matches!(error.get_ref().and_then(|inner| inner.downcast_ref()), Some(Error::AlertReceived(_)))
}

/// Who dialled a tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visitor {
    /// A device.
    Device(DeviceId),
    /// A tracker that shows this key of the network.
    Tracker(NetworkPublicKey),
}

/// What a tracker makes connections with.
#[derive(Clone)]
pub struct TrackerSecurity {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl TrackerSecurity {
    /// Makes the tracker's own certificate and everything else from the network's key.
    ///
    /// # Errors
    /// Every [`IdentityError`].
    pub fn new(network: &KeyPair) -> Result<Self, IdentityError> {
        Self::with_keys(network, &[network.network()], None)
    }

    /// The same for a network whose key is being replaced: trackers of all `accepted` keys are its
    /// own. One that shows the key `void`, which counts no more, may dial, so that it can be told
    /// so; it is not dialled.
    ///
    /// # Errors
    /// Every [`IdentityError`].
    pub fn with_keys(
        shown: &KeyPair,
        accepted: &[NetworkPublicKey],
        void: Option<NetworkPublicKey>,
    ) -> Result<Self, IdentityError> {
        let identity = Identity::of_tracker(shown)?;
        let visitors = Visitors {
            networks: accepted.iter().copied().chain(void).collect(),
            own: Some(shown.fingerprint()),
        };
        let server = server_config(&identity, visitors, ALPN_TRACKER)?;
        let wanted = accepted.iter().map(NetworkPublicKey::fingerprint).collect();
        let client = client_config(&identity, Want::Network(wanted), ALPN_TRACKER)?;
        Ok(Self { server: Arc::new(server), client: Arc::new(client) })
    }

    /// Makes a connection of what the listener accepted.
    ///
    /// # Errors
    /// The system's; `InvalidData` for whoever speaks no TLS 1.3 or shows what proves nothing.
    ///
    /// # Blocking
    /// For at most `timeout`.
    pub fn accept(
        &self,
        incoming: Incoming,
        timeout: Duration,
    ) -> io::Result<(Connection, Visitor)> {
        let (connection, chain) =
            shake_hands(incoming, server(&self.server)?, ALPN_TRACKER, timeout)?;
        let visitor = match chain {
            Chain::Device(device) => Visitor::Device(device),
            Chain::Tracker(key) => Visitor::Tracker(key),
        };
        Ok((connection, visitor))
    }

    /// Dials another tracker of the network, from the local address `from` if that is possible, and
    /// tells which key it shows.
    ///
    /// # Errors
    /// The system's; [`WrongNetwork`] inside one, if another network's tracker answers.
    ///
    /// # Blocking
    /// For at most twice `timeout`.
    pub fn dial(
        &self,
        address: SocketAddr,
        from: Option<IpAddr>,
        timeout: Duration,
    ) -> io::Result<(Connection, NetworkPublicKey)> {
        let incoming = Incoming::dial(address, from, timeout)?;
        of_tracker(shake_hands(incoming, client(&self.client)?, ALPN_TRACKER, timeout)?)
    }
}

impl fmt::Debug for TrackerSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrackerSecurity")
    }
}

/// What a device makes connections with.
#[derive(Clone)]
pub struct DeviceSecurity {
    device: DeviceId,
    identity: Identity,
    links: Arc<ServerConfig>,
}

impl DeviceSecurity {
    /// Makes the device's certificate and everything else from its key.
    ///
    /// # Errors
    /// Every [`IdentityError`].
    pub fn new(key: &KeyPair) -> Result<Self, IdentityError> {
        let identity = Identity::of_device(key)?;
        let links =
            server_config(&identity, Visitors { networks: Vec::new(), own: None }, ALPN_LINK)?;
        Ok(Self { device: key.device(), identity, links: Arc::new(links) })
    }

    /// The device.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// Dials a tracker of the network that one of the keys `expected` names, or of any if none is
    /// known yet, and tells whose it is.
    ///
    /// # Errors
    /// The system's; [`WrongNetwork`] inside one, if another network's tracker answers.
    ///
    /// # Blocking
    /// For at most twice `timeout`.
    pub fn dial_tracker(
        &self,
        address: SocketAddr,
        from: Option<IpAddr>,
        timeout: Duration,
        expected: &[Fingerprint],
    ) -> io::Result<(Connection, NetworkPublicKey)> {
        let config = client_config(&self.identity, Want::Network(expected.to_vec()), ALPN_TRACKER)
            .map_err(invalid)?;
        let incoming = Incoming::dial(address, from, timeout)?;
        of_tracker(shake_hands(incoming, client(&Arc::new(config))?, ALPN_TRACKER, timeout)?)
    }
}

impl fmt::Debug for DeviceSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceSecurity({})", self.device)
    }
}

/// How devices make connections with each other.
#[derive(Debug, Clone)]
pub enum Transport {
    /// TLS 1.3, in which each proves its id.
    Tls(DeviceSecurity),
    /// Bytes in clear and an id that is only claimed: to measure what encryption costs, and for
    /// nothing else.
    Plain(DeviceId),
}

impl Transport {
    /// Which device this is.
    pub fn device(&self) -> DeviceId {
        match self {
            Self::Tls(security) => security.device,
            Self::Plain(device) => *device,
        }
    }

    /// Dials `device`, from the local address `from` if that is possible. Whoever else answers
    /// learns nothing.
    ///
    /// # Errors
    /// The system's; `InvalidData` if another device answers.
    ///
    /// # Blocking
    /// For at most `timeout`.
    pub fn dial(
        &self,
        address: SocketAddr,
        from: Option<IpAddr>,
        timeout: Duration,
        device: DeviceId,
    ) -> io::Result<Connection> {
        let started = Instant::now();
        let incoming = Incoming::dial(address, from, timeout)?;
        self.prove(incoming, timeout.saturating_sub(started.elapsed()), device)
    }

    /// Makes the handshake on a connection that was dialled: `device` has to answer.
    ///
    /// # Errors
    /// The system's; `InvalidData` if another device answers.
    ///
    /// # Blocking
    /// For at most `timeout`, and until the connection is closed.
    pub fn prove(
        &self,
        dialled: Incoming,
        timeout: Duration,
        device: DeviceId,
    ) -> io::Result<Connection> {
        match self {
            Self::Tls(security) => {
                let config = client_config(&security.identity, Want::Device(device), ALPN_LINK)
                    .map_err(invalid)?;
                Ok(shake_hands(dialled, client(&Arc::new(config))?, ALPN_LINK, timeout)?.0)
            }
            Self::Plain(own) => {
                let (connection, answered) = introduce(dialled, *own, timeout)?;
                if answered == device {
                    Ok(connection)
                } else {
                    Err(io::ErrorKind::InvalidData.into())
                }
            }
        }
    }

    /// Makes a connection of what the listener accepted, and tells whose it is.
    ///
    /// # Errors
    /// The system's; `InvalidData` for whoever speaks no TLS 1.3 or shows what proves nothing.
    ///
    /// # Blocking
    /// For at most `timeout`.
    pub fn accept(
        &self,
        incoming: Incoming,
        timeout: Duration,
    ) -> io::Result<(Connection, DeviceId)> {
        match self {
            Self::Tls(security) => {
                match shake_hands(incoming, server(&security.links)?, ALPN_LINK, timeout)? {
                    (connection, Chain::Device(device)) => Ok((connection, device)),
                    (_, Chain::Tracker(_)) => Err(io::ErrorKind::InvalidData.into()),
                }
            }
            Self::Plain(own) => introduce(incoming, *own, timeout),
        }
    }
}

/// The plain transport's introduction: each end says its id.
fn introduce(
    incoming: Incoming,
    own: DeviceId,
    timeout: Duration,
) -> io::Result<(Connection, DeviceId)> {
    let connection = incoming.into_connection(None);
    connection.writer().write_all(own.as_bytes())?;
    let (mut reader, mut id) = (connection.reader(), [0; DeviceId::LEN]);
    reader.set_deadline(Some(Instant::now() + timeout));
    reader.read_exact(&mut id)?;
    Ok((connection, DeviceId::from_bytes(id)))
}

/// Keeps the machine's clock out of handshakes: no date in a certificate means anything here, and
/// the library's own source of time panics where the clock is set before 1970.
#[derive(Debug)]
struct Dateless;

impl TimeProvider for Dateless {
    fn current_time(&self) -> Option<UnixTime> {
        Some(ANY_TIME)
    }
}

/// AES-128 first: every processor that has AES at all is fastest at it, and nobody breaks it.
fn provider() -> Arc<CryptoProvider> {
    use aws_lc_rs::cipher_suite::{
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    };
    let cipher_suites =
        vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];
    Arc::new(CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() })
}

fn server_config(
    identity: &Identity,
    visitors: Visitors,
    alpn: &[u8],
) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_details(provider(), Arc::new(Dateless))
        .with_protocol_versions(&[&version::TLS13])?;
    let mut config = builder
        .with_client_cert_verifier(Arc::new(visitors))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())));
    config.alpn_protocols = vec![alpn.to_vec()];
    config.send_tls13_tickets = 0;
    // The records behind the handshake are ours.
    config.enable_secret_extraction = true;
    config.max_early_data_size = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(config)
}

fn client_config(identity: &Identity, want: Want, alpn: &[u8]) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(Dateless))
        .with_protocol_versions(&[&version::TLS13])?;
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Host { want }))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())));
    config.alpn_protocols = vec![alpn.to_vec()];
    config.enable_sni = false;
    config.enable_secret_extraction = true;
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn client(config: &Arc<ClientConfig>) -> io::Result<Handshake> {
    let name = ServerName::try_from(TRACKER_NAME)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
    let tls = UnbufferedClientConnection::new(config.clone(), name).map_err(invalid)?;
    Ok(Handshake::Client(Box::new(tls)))
}

fn server(config: &Arc<ServerConfig>) -> io::Result<Handshake> {
    let tls = UnbufferedServerConnection::new(config.clone()).map_err(invalid)?;
    Ok(Handshake::Server(Box::new(tls)))
}

/// Passes on a connection whose other end is a tracker, and the key that it shows.
fn of_tracker(
    (connection, chain): (Connection, Chain),
) -> io::Result<(Connection, NetworkPublicKey)> {
    match chain {
        Chain::Tracker(network) => Ok((connection, network)),
        Chain::Device(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Makes the handshake, and tells whose certificates the other end has shown.
fn shake_hands(
    incoming: Incoming,
    mut tls: Handshake,
    alpn: &[u8],
    timeout: Duration,
) -> io::Result<(Connection, Chain)> {
    let (deadline, mut input) = (Instant::now() + timeout, Input::default());
    exchange(&incoming, &mut tls, &mut input, deadline).inspect_err(|_| incoming.close())?;
    let chain = tls
        .peer_certificates()
        .and_then(|certificates| chain_of(certificates.first()?, &certificates[1..]));
    match chain {
        Some(chain) if tls.alpn_protocol() == Some(alpn) => {
            Ok((incoming.into_connection(Some(tls.into_stream(input)?)), chain))
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it speaks another protocol")),
    }
}

/// Sends and receives until the handshake is over. What came right behind it is left in `input`.
fn exchange(
    incoming: &Incoming,
    tls: &mut Handshake,
    input: &mut Input,
    deadline: Instant,
) -> io::Result<()> {
    let (socket, mut output) = (incoming.socket(), Output::default());
    loop {
        match tls.advance(input, &mut output) {
            Ok(progress) => {
                socket.send_all(&mut output, deadline)?;
                match progress {
                    Progress::Done => return socket.stream.set_read_timeout(None),
                    Progress::Closed => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Progress::Receive => {}
                }
            }
            Err(e) => {
                // The other end may as well hear why.
                tls.refuse(input, &mut output);
                let _ = socket.send_all(&mut output, deadline);
                return Err(invalid(e));
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.stream.set_read_timeout(Some(left))?;
        match (&socket.stream).read(input.room()) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => input.received(len),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(timed_out(e)),
        }
    }
}

fn timed_out(error: io::Error) -> io::Error {
    if is_timeout(&error) { io::ErrorKind::TimedOut.into() } else { error }
}

/// Whom a dialler expects.
#[derive(Debug, Clone)]
enum Want {
    /// A tracker of the network that one of these keys names; of any if there are none.
    Network(Vec<Fingerprint>),
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

/// Checks who answers.
#[derive(Debug)]
struct Host {
    want: Want,
}

impl ServerCertVerifier for Host {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match (chain_of(end_entity, intermediates), &self.want) {
            (Some(Chain::Tracker(network)), Want::Network(wanted)) => {
                match (network.fingerprint(), wanted.first()) {
                    (found, Some(&expected)) if !wanted.contains(&found) => {
                        Err(other(WrongNetwork { expected, found }))
                    }
                    _ => Ok(ServerCertVerified::assertion()),
                }
            }
            (Some(Chain::Device(device)), Want::Device(expected)) if device == *expected => {
                Ok(ServerCertVerified::assertion())
            }
            _ => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    only_tls13_with_ed25519!();
}

/// Checks who has dialled: devices, and at a tracker's port other trackers of the network.
#[derive(Debug)]
struct Visitors {
    /// Trackers that show one of these keys are taken.
    networks: Vec<NetworkPublicKey>,
    /// The network that others are told; none at a client's port, which takes no trackers.
    own: Option<Fingerprint>,
}

impl ClientCertVerifier for Visitors {
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

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
