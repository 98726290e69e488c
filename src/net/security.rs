//! The other end of every connection proves its key: TLS 1.3 between clients, trackers and each
//! other (RFC 8446), and nothing else.
//!
//! A tracker's port takes devices, each known by its key, and trackers that show a certificate of
//! the same network. A client's port takes devices. Both ends of every connection prove who they
//! are. What a device *may* do is decided in the layers above, by the tokens and tickets it shows.
//!
//! **Invariant:** a [`Connection`] made here has behind it a handshake in which the other end proved
//! that it has the key by which it is known. No option ignores a certificate, resumes an earlier
//! session or sends before the handshake is over. The one exception is [`Transport::Plain`], which
//! exists to measure the cost of encryption and which no program offers.
//!
//! The application protocol is named in the handshake (ALPN, RFC 7301), so that a connection meant
//! for a tracker is not taken by a client.
//!
//! Called on threads that dial or accept; each method blocks, for the time that it is given.

mod config;
mod handshake;
mod verify;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ServerConfig};

use self::config::{ALPN_LINK, ALPN_TRACKER, client_config, server_config};
use self::handshake::{client, introduce, server, shake_hands};
use self::verify::{DiallerVerifier, Expected};
pub use self::verify::{WrongNetwork, is_refused_by_peer};
use super::stream::invalid;
use super::{Connection, Incoming};
use crate::trust::{Chain, Identity, IdentityError, KeyPair, NetworkPublicKey};
use crate::types::{DeviceId, Fingerprint};

/// The end that dialled a tracker, as its handshake has proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerIdentity {
    /// A device.
    Device(DeviceId),
    /// A tracker that shows this key of the network.
    Tracker(NetworkPublicKey),
}

/// The keys and certificates with which a tracker makes connections.
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
    /// own. One that shows the key `void`, which is no longer valid, may dial, so that it can be told
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
        let visitors = DiallerVerifier {
            networks: accepted.iter().copied().chain(void).collect(),
            own: Some(shown.fingerprint()),
        };
        let server = server_config(&identity, visitors, ALPN_TRACKER)?;
        let wanted = accepted.iter().map(NetworkPublicKey::fingerprint).collect();
        let client = client_config(&identity, Expected::Network(wanted), ALPN_TRACKER)?;
        Ok(Self { server: Arc::new(server), client: Arc::new(client) })
    }

    /// Makes the handshake on a connection that the listener accepted.
    ///
    /// # Errors
    /// The system's; `InvalidData` if the other end speaks no TLS 1.3 or proves no identity.
    ///
    /// # Blocking
    /// For at most `timeout`.
    pub fn accept(
        &self,
        incoming: Incoming,
        timeout: Duration,
    ) -> io::Result<(Connection, PeerIdentity)> {
        let (connection, chain) =
            shake_hands(incoming, server(&self.server)?, ALPN_TRACKER, timeout)?;
        let identity = match chain {
            Chain::Device(device) => PeerIdentity::Device(device),
            Chain::Tracker(key) => PeerIdentity::Tracker(key),
        };
        Ok((connection, identity))
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

/// The key and certificate with which a device makes connections.
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
        let links = server_config(
            &identity,
            DiallerVerifier { networks: Vec::new(), own: None },
            ALPN_LINK,
        )?;
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
        let incoming = Incoming::dial(address, from, timeout)?;
        self.prove_tracker(incoming, timeout, expected)
    }

    /// Makes the handshake on a connection that was dialled: a tracker of the network has to answer.
    ///
    /// # Errors
    /// Those of [`DeviceSecurity::dial_tracker`].
    ///
    /// # Blocking
    /// For at most `timeout`.
    pub fn prove_tracker(
        &self,
        incoming: Incoming,
        timeout: Duration,
        expected: &[Fingerprint],
    ) -> io::Result<(Connection, NetworkPublicKey)> {
        let config =
            client_config(&self.identity, Expected::Network(expected.to_vec()), ALPN_TRACKER)
                .map_err(invalid)?;
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

    /// Dials `device`, from the local address `from` if that is possible. Another device that
    /// answers is told nothing.
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
                let config = client_config(&security.identity, Expected::Device(device), ALPN_LINK)
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
    /// The system's; `InvalidData` if the other end speaks no TLS 1.3 or proves no identity.
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

/// Passes on a connection whose other end is a tracker, and the key that it shows.
fn of_tracker(
    (connection, chain): (Connection, Chain),
) -> io::Result<(Connection, NetworkPublicKey)> {
    match chain {
        Chain::Tracker(network) => Ok((connection, network)),
        Chain::Device(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
