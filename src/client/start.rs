//! Starts and stops the client.
//!
//! **Invariant:** there is an engine exactly while a user is logged in, and it works for that user
//! alone. So a logout leaves no data of one user to the next.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use log::warn;

use super::config::ClientConfig;
use super::error::ClientError;
use super::event::ClientEvent;
use super::network::{Network, Trust, latest};
use super::runtime::{Parts, Routers, Runtime, relays};
use super::session::library::Ended;
use super::session::news::News;
use super::trackers::{RelayWish, SetOptions, TrackerSet};
use crate::net::{DeviceSecurity, Listener};
use crate::relay::Relay;
use crate::store::{DeviceStore, StoreError, SuccessorRow};
use crate::trust::KeyPair;
use crate::types::limits::TRACKERS_MAX;
use crate::types::{DeviceId, Fingerprint, RotationStage, Stamp, TrackerAddress};

/// Notifications that wait for the core; the trackers' readers block while the channel is full.
const NEWS_LEN: usize = 1024;
/// Name of the device's key in the data directory.
const DEVICE_KEY: &str = "device.key";

/// One installed client: sessions with all trackers, shares, downloads, and links to other clients.
///
/// Every method may be called from any thread. Methods that ask the trackers block until one has
/// answered: for about 10 s at most, or 35 s if a tracker checks a password. Dropping the client
/// stops it.
///
/// # Example
/// ```no_run
/// use posse::types::{Password, TrackerInfo};
/// use posse::{Client, ClientConfig};
///
/// let trackers = TrackerInfo::parse("127.0.0.1:5000\n127.0.0.1:7000")?;
/// let client = Client::start(ClientConfig::new("127.0.0.1:0".parse()?, trackers))?;
/// client.login("nik", Password::new("secret".into())?)?;
/// let download = client.download_file("lab", "big.bin", "/tmp".as_ref())?;
/// download.on_end(|status| println!("{} is {:?}", status.file, status.phase));
/// let path = download.wait(None)?;
/// println!("{}", path.display());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Client {
    pub(crate) inner: Arc<Runtime>,
}

impl Client {
    /// Opens the data directory, binds the port, and begins to connect to the trackers; does not
    /// wait for them.
    ///
    /// # Errors
    /// [`ClientError::Store`] if the data directory cannot be used or another client uses it,
    /// [`ClientError::System`] if the address cannot be bound.
    pub fn start(config: ClientConfig) -> Result<Self, ClientError> {
        let listener = Listener::bind_any(config.listen).map_err(|e| {
            let what =
                format!("cannot listen on {}; free the port or choose another", config.listen);
            ClientError::system(what, e)
        })?;
        let store = Arc::new(DeviceStore::open(&config.data_dir)?);
        let key = open_key(&config)?;
        let security = DeviceSecurity::new(&key)?;
        let (network, early) = open_network(&config, &store)?;
        let (news, news_in) = bounded(NEWS_LEN);
        let relay = start_relay(&config, listener.local_addr())?;
        let relays_at = relay.as_ref().map(|relay| relay.local_addr().port());
        let wish = RelayWish { accepts: config.relays.uses, relays_at };
        let trackers = start_trackers(
            &config,
            &store,
            &listener,
            security.clone(),
            network.clone(),
            news,
            wish,
        )?;
        let news = news_in;
        let routers = Routers::new(&config, key.secret_for("mappings of routers"));
        let parts = Parts {
            config,
            listener,
            store,
            security,
            network,
            trackers,
            routers,
            news,
            early,
            relay,
        };
        Ok(Self { inner: Runtime::start(parts)? })
    }

    /// The address on which links are accepted, with the actual port.
    pub fn address(&self) -> SocketAddr {
        self.inner.address
    }

    /// The device's identity.
    pub fn device(&self) -> DeviceId {
        self.inner.security.device()
    }

    /// The directory of the device's state.
    pub fn data_dir(&self) -> &std::path::Path {
        &self.inner.config.data_dir
    }

    /// Waits until a tracker is connected; false if none is when `timeout` has passed.
    ///
    /// # Blocking
    /// For at most `timeout`; [`Client::interrupt`] ends it.
    pub fn wait_for_tracker(&self, timeout: Duration) -> bool {
        self.inner.trackers.wait_for_any(timeout)
    }

    /// The error of a command when no tracker can be asked: none can be reached, or those that
    /// answer are not trusted.
    pub fn why_no_tracker(&self) -> ClientError {
        self.inner.trackers.why_unreachable()
    }

    /// The network that this device trusts, if one was named or met.
    pub fn network(&self) -> Option<Fingerprint> {
        self.inner.network.expected()
    }

    /// How the last session ended, if it ended by itself and no user has logged in since.
    pub(crate) fn ended(&self) -> Option<Ended> {
        self.inner.view().library.ended
    }

    /// Returns a channel with every event from now on. The first subscriber also receives up to 16
    /// events from before.
    pub fn subscribe(&self) -> Receiver<ClientEvent> {
        self.inner.bus.subscribe()
    }

    /// Interrupts commands that wait for a tracker, on all threads, with
    /// [`ClientError::Interrupted`]. A change that they requested may be made all the same.
    /// Transfers continue.
    pub fn interrupt(&self) {
        self.inner.trackers.interrupt();
    }

    /// Ends the session, the transfers and all threads; unfinished downloads continue at the next
    /// login. Calling it again does nothing.
    ///
    /// # Blocking
    /// For some seconds at most.
    pub fn stop(&self) {
        self.inner.stop();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The relay of a willing member, at the address on which links are accepted.
fn start_relay(config: &ClientConfig, address: SocketAddr) -> Result<Option<Relay>, ClientError> {
    let Some(port) = config.relays.offers else { return Ok(None) };
    let address = SocketAddr::new(address.ip(), port);
    let relay = relays::start(address, config.relays.rate).map_err(|e| {
        ClientError::system(format!("cannot relay on {address}; name another port"), e)
    })?;
    Ok(Some(relay))
}

/// The device's key; made with the data directory.
fn open_key(config: &ClientConfig) -> Result<KeyPair, ClientError> {
    Ok(KeyPair::load_or_make(&config.data_dir.join(DEVICE_KEY))?.0)
}

/// The network that the user has named, else the stored one, else none yet. Also returns the events
/// for a network that differs from the stored one, or from this start's option.
fn open_network(
    config: &ClientConfig,
    store: &Arc<DeviceStore>,
) -> Result<(Arc<Network>, Vec<ClientEvent>), ClientError> {
    let (remembered, successors) = (store.network()?, store.successors()?);
    // The named key may be outdated by a rotation, as when a script names it at each start.
    let named =
        config.network.or(config.trackers.fingerprint()).map(|named| latest(named, &successors));
    let outdated = config.network.zip(named).filter(|(option, latest)| option != latest);
    // A key that will replace the network's key names the same network.
    let is_next = |row: &&SuccessorRow| !row.has_ended && Some(row.old) == remembered;
    let next = successors.iter().find(is_next).copied();
    let named = named.map(|named| {
        next.filter(|row| row.new.fingerprint() == named).map_or(named, |row| row.old)
    });
    let new = named.filter(|named| remembered != Some(*named));
    // A device's first network is stored when a tracker has proven that it belongs to it.
    if let Some(new) = new.filter(|_| remembered.is_some()) {
        store.set_network(new)?;
    }
    let store = store.clone();
    let expected = named.or(remembered);
    let next = next.filter(|row| Some(row.old) == expected).map(|row| row.new.into());
    let network = Network::new(expected, remembered.is_some(), next, move |trust| match trust {
        Trust::First(fingerprint) => store.set_network(fingerprint),
        Trust::Successor(row) => store.set_successor(&row),
        Trust::NoSuccessor(old) => store.remove_successor(old),
    });
    let replaced = new.zip(remembered).map(|(network, before)| ClientEvent::TrustedNetwork {
        network,
        before: Some(before),
        unwritten: None,
    });
    let followed = outdated.map(|(old, new)| ClientEvent::NetworkKey {
        stage: RotationStage::Ended,
        old,
        new,
    });
    Ok((Arc::new(network), replaced.into_iter().chain(followed).collect()))
}

fn start_trackers(
    config: &ClientConfig,
    store: &DeviceStore,
    listener: &Listener,
    security: DeviceSecurity,
    network: Arc<Network>,
    news: Sender<News>,
    relays: RelayWish,
) -> Result<TrackerSet, ClientError> {
    let memory = TrackerMemory::load(store, network.expected());
    let address = listener.local_addr();
    let peer_port = listener.share_port().is_ok().then_some(address);
    let options = SetOptions {
        addresses: config.trackers.iter().map(|(_, address)| address.to_string()).collect(),
        bind_ip: address.ip(),
        security,
        network,
        port: address.port(),
        peer_port,
        learned: memory.addresses,
        last_request: memory.last_request,
        relays,
    };
    TrackerSet::start(options, news).map_err(|e| ClientError::system("cannot start a thread", e))
}

/// The stored state of the trackers.
#[derive(Debug, Default)]
struct TrackerMemory {
    /// `host:port` of each.
    addresses: Vec<String>,
    /// The largest time of a request.
    last_request: Stamp,
}

impl TrackerMemory {
    /// Reads the state of earlier runs, for that network only. If it cannot be read, the client
    /// starts without it.
    fn load(store: &DeviceStore, network: Option<Fingerprint>) -> Self {
        let known = |what: Result<Self, StoreError>| {
            what.unwrap_or_else(|error| {
                warn!("the stored state of the trackers cannot be read: {error}");
                Self::default()
            })
        };
        known(network.map_or(Ok(Self::default()), |network| {
            let addresses = store.trackers(network)?;
            // The addresses were checked when they arrived, but a disk may have damaged them.
            let addresses =
                addresses.into_iter().filter(|text| text.parse::<TrackerAddress>().is_ok());
            let last_request = store.last_request()?.unwrap_or_default();
            Ok(Self { addresses: addresses.take(TRACKERS_MAX).collect(), last_request })
        }))
    }
}
