//! The engine: every file this device seeds or downloads, and every link to other clients.
//!
//! **Invariant:** every thread is started through one [`Threads`](crate::net::Threads), and ends
//! after [`Engine::stop`].
//!
//! Besides the pool, the links and the downloads there are three threads: the timer (time-outs,
//! slots, dials), the journal (makes verified pieces durable, and tells the host), and the pace
//! (sends requests that a limit held back). None is in the data's path.
//!
//! From the bottom: `services` is what all torrents share; `record`, `links`, `peers` and `windows`
//! are plain state of one `torrent`; `messages`, `upload` and `dial` are the threads of a link, `run`
//! that of a download; `torrents` says which there are, and `accept`, `journal`, `reader` and
//! [`Transfer`] look them up.

pub(crate) mod accept;
mod candidates;
mod counters;
mod dial;
mod direct_again;
pub(crate) mod handle;
mod journal;
mod links;
mod messages;
mod peers;
mod pool;
mod punch;
mod punching;
mod race;
pub(crate) mod reader;
pub(crate) mod record;
mod run;
pub(crate) mod services;
pub(crate) mod torrent;
pub(crate) mod torrents;
mod upload;
mod view;
mod windows;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use self::dial::dial_due;
use self::handle::Transfer;
use self::services::Services;
use self::torrents::Torrents;
use super::api::{
    Addresses, DownloadSpec, EngineConfig, EngineError, Host, InboundLink, Limits, LinkFacts,
    Meeting, ReadTrouble, RelayPlace, SeedSpec, Traffic, UploadStats,
};
use super::disk::part_file::{Disk, SystemDisk};
use super::disk::seed_files::IdleFiles;
use super::link::handshake::LinkError;
use crate::net::{Admission, Incoming, is_own_address};
use crate::swarm::api::Way;
use crate::types::{DeviceId, InfoHash, Ticket};
use crate::wire::relay::RelayHello;

/// How often time-outs, slots and dials are looked at.
const TICK: Duration = Duration::from_millis(250);

/// How often it is looked whether links still have an address of this machine, and shared files are
/// read.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Devices that are being met at relays: each holds a thread until the relay answers.
const MEETINGS_MAX: usize = 32;
/// Time for a relay to take a connection.
const RELAY_TIMEOUT: Duration = Duration::from_secs(3);

/// Moves files. [`Engine::stop`] ends it in good order; dropping it only tells its threads to end.
pub struct Engine {
    pub(super) torrents: Arc<Torrents>,
}

impl Engine {
    /// Starts the pool and the engine's threads.
    ///
    /// # Errors
    /// [`EngineError::Threads`] if the system has no room for them.
    pub fn start(config: EngineConfig, host: Arc<dyn Host>) -> Result<Arc<Self>, EngineError> {
        Self::start_on(config, host, Arc::new(SystemDisk))
    }

    /// As [`Engine::start`], on a disk that may fail.
    pub(super) fn start_on(
        config: EngineConfig,
        host: Arc<dyn Host>,
        disk: Arc<dyn Disk>,
    ) -> Result<Arc<Self>, EngineError> {
        let (services, inbox) = Services::start(config, host, disk);
        let torrents = Arc::new(Torrents::new(services.clone()));
        let threads = &services.threads;
        let (timed, journaled, paced) = (torrents.clone(), torrents.clone(), torrents.clone());
        let started = threads
            .spawn("posse-timer", move || keep_time(&timed))
            .and_then(|()| threads.spawn("posse-journal", move || journal::run(&journaled, &inbox)))
            .and_then(|()| threads.spawn("posse-pace", move || send_held_requests(&paced)));
        let engine = Arc::new(Self { torrents });
        match started {
            Ok(()) => Ok(engine),
            Err(e) => {
                engine.stop(Duration::from_secs(1));
                Err(EngineError::Threads(e))
            }
        }
    }

    fn services(&self) -> &Services {
        &self.torrents.services
    }

    /// Takes an inbound connection from the client's listener. Never blocks; sheds it when there
    /// are too many.
    pub fn accept(&self, incoming: Incoming) {
        self.take_in(incoming, Way::Direct);
    }

    fn take_in(&self, incoming: Incoming, way: Way) {
        let peer = incoming.peer_addr();
        let Some(mut admission) = self.services().registry.admit(peer.ip(), incoming.clone())
        else {
            log::info!("{peer}: shed, too many links are up");
            return incoming.close();
        };
        let torrents = self.torrents.clone();
        let spawned = self.services().of_links.read.begin(move || {
            let closes = incoming.clone();
            let accepted = accept::accept(&torrents, incoming, way, || admission.prove());
            if let Err(e) = accepted {
                log::info!("{peer}: connection closed: {e}");
            }
            closes.close();
        });
        if let Err(e) = spawned {
            log::warn!("{peer}: shed, no thread for it: {e}");
        }
    }

    /// Takes part in a hole punch that a device has asked for: connects to it, and takes the
    /// connection like one of the listener's.
    ///
    /// # Blocking
    /// Until the moment, and for a few seconds.
    pub(crate) fn answer_punch(&self, device: DeviceId, meeting: &Meeting) {
        let services = self.services();
        match punch::answer(services, device, meeting) {
            Ok(incoming) => self.take_in(incoming, Way::Punched),
            Err(error) => log::debug!("{}: no hole to {device}: {error}", meeting.address),
        }
    }

    /// Meets a device at a relay that wants a link. Never blocks; passes it over when too many are
    /// being met, as the device asks again.
    pub fn accept_relayed(&self, place: RelayPlace) {
        let (services, peer) = (&self.torrents.services, place.address);
        let one_more = |count| (count < MEETINGS_MAX).then_some(count + 1);
        let begun = services.meetings.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        if begun.is_err() {
            return log::info!("{peer}: too many devices are being met at relays");
        }
        let torrents = self.torrents.clone();
        let spawned = services.of_links.read.begin(move || {
            let services = torrents.services.clone();
            let met = meet(&services, &place);
            services.meetings.fetch_sub(1, Ordering::Relaxed);
            let ended = met.and_then(|(incoming, mut admission)| {
                let closes = incoming.clone();
                let prove = || admission.prove();
                let ended = accept::accept(&torrents, incoming, Way::Relayed, prove);
                closes.close();
                ended
            });
            if let Err(e) = ended {
                log::info!("{peer}: relayed connection closed: {e}");
            }
        });
        if let Err(e) = spawned {
            services.meetings.fetch_sub(1, Ordering::Relaxed);
            log::warn!("{peer}: no thread for a relayed connection: {e}");
        }
    }

    /// Offers a file, read only. Offering it again replaces the path.
    ///
    /// # Errors
    /// [`EngineError::Stopped`]; [`EngineError::Mismatch`] while a download that was told other
    /// facts about this content is there. Whether the file is still the one that was hashed is seen
    /// when a peer asks for it.
    pub fn seed(&self, spec: SeedSpec) -> Result<(), EngineError> {
        self.torrents.seed(spec).map(drop)
    }

    /// Tells whether the engine has something of a file: it was asked for, or is downloaded.
    pub(crate) fn knows(&self, info_hash: InfoHash) -> bool {
        self.torrents.get(info_hash).is_some()
    }

    /// Stops offering a file; a download of it goes on. False if it was not offered. It stays open
    /// until [`Engine::close_file`], or until others are read more.
    pub fn unseed(&self, info_hash: InfoHash) -> bool {
        self.torrents.unseed(info_hash)
    }

    /// Closes a file that was open to be served.
    ///
    /// # Blocking
    /// For the file system, if it takes its time.
    pub fn close_file(&self, info_hash: InfoHash) {
        self.services().seed_files.close(info_hash);
    }

    /// Begins or continues a download.
    ///
    /// # Errors
    /// Those that are found at once; later ones end the [`Transfer`] with a reason.
    ///
    /// # Blocking
    /// For a few system calls on the destination's file system.
    pub fn download(&self, spec: DownloadSpec) -> Result<Transfer, EngineError> {
        let is_paused = spec.paused;
        let transfer = Transfer::new(&self.torrents, self.torrents.add_download(spec)?);
        if !is_paused {
            transfer.begin();
        }
        Ok(transfer)
    }

    /// The download of this file, if there is or was one in this run.
    pub fn transfer(&self, info_hash: InfoHash) -> Option<Transfer> {
        let torrent = self.torrents.get(info_hash)?;
        let has_download = torrent.state.lock().transfer.is_some();
        has_download.then(|| Transfer::new(&self.torrents, torrent))
    }

    /// Names devices that take part in a file's swarm: a download dials them now, and again
    /// whenever a link is lost.
    pub fn add_peers<A: Into<Addresses>>(
        &self,
        info_hash: InfoHash,
        peers: impl IntoIterator<Item = (DeviceId, A)>,
    ) {
        let Some(torrent) = self.torrents.get(info_hash) else { return };
        let (services, mut state) = (self.services(), torrent.state.lock());
        for (device, addresses) in peers {
            if device != services.device() {
                let is_proven = |new: &[_]| services.dial_memory.is_proven(device, new);
                state.peers.list(device, addresses.into().0, is_proven);
            }
        }
        dial_due(&torrent, &mut state);
    }

    /// This machine's networks have changed: devices that could not be reached are dialled again.
    pub fn networks_changed(&self) {
        self.services().dial_memory.forget_failures();
        self.services().punching.forget_failures();
        for torrent in self.torrents.active() {
            let mut state = torrent.state.lock();
            state.peers.retry_now();
            dial_due(&torrent, &mut state);
        }
    }

    /// A device has left a file's swarm: it is not dialled again. A link that works stays.
    pub fn remove_peer(&self, info_hash: InfoHash, device: DeviceId) {
        if let Some(torrent) = self.torrents.get(info_hash) {
            torrent.state.lock().peers.unlist(device);
        }
    }

    /// Closes every link, of any file, on which `ends` is true: its ticket does not count any more.
    pub fn end_links(&self, ends: impl Fn(&LinkFacts) -> bool) {
        for torrent in self.torrents.active() {
            let info_hash = torrent.info_hash;
            torrent.state.lock().links.close_if(|link| ends(&link.facts(info_hash)));
        }
    }

    /// Shows a newer ticket of ours on every link that rests on its group.
    pub fn show_ticket(&self, ticket: &Ticket) {
        let group = ticket.claims.group;
        for torrent in self.torrents.active() {
            let state = torrent.state.lock();
            let links = state.links.iter().filter(|link| link.proof().group == group);
            links.for_each(|link| link.show_ticket(ticket));
        }
    }

    /// What is served to each device: one entry for every file offered, complete or not.
    pub fn uploads(&self) -> Vec<UploadStats> {
        let stats = |torrent: &Arc<torrent::Torrent>| {
            let state = torrent.state.lock();
            let target = state.transfer.as_ref().filter(|_| state.wants_links());
            let target = target.map(|transfer| &transfer.target);
            let sent_to = state.uploads.sent_to().iter().map(|(device, sent)| (*device, *sent));
            Some(UploadStats {
                info_hash: torrent.info_hash,
                path: state.seed.as_ref().map(|seed| &seed.path).or(target)?.clone(),
                peers: state.links.len() as u32,
                sent: state.uploads.sent_total(),
                sent_per_second: state.uploads.bytes_per_second(torrent.now()),
                sent_to: sent_to.collect(),
            })
        };
        self.torrents.all().iter().filter_map(stats).collect()
    }

    /// Links that others have dialled: one for each device and address of ours, ordered by these.
    pub fn inbound(&self) -> Vec<InboundLink> {
        let mut inbound = Vec::new();
        for torrent in self.torrents.active() {
            let state = torrent.state.lock();
            inbound.extend(state.links.iter().filter(|link| !link.dialled).map(|link| {
                let (from, at) = (link.connection.peer_addr(), link.connection.local_addr());
                InboundLink { device: link.device, user: link.proof().user, from, at }
            }));
        }
        inbound.sort_by_key(|link| (link.device, link.at, link.from));
        inbound.dedup_by_key(|link| (link.device, link.at));
        inbound
    }

    /// What has been moved, and moves.
    pub fn traffic(&self) -> Traffic {
        self.services().counters.traffic()
    }

    /// Why an offered file cannot be read, if that is so.
    pub fn read_trouble(&self, info_hash: InfoHash) -> Option<ReadTrouble> {
        let torrent = self.torrents.get(info_hash)?;
        let state = torrent.state.lock();
        match state.disk_hangs(&self.services().disks) {
            true => Some(ReadTrouble::DiskHangs),
            false => state.read_error.clone().map(ReadTrouble::Error),
        }
    }

    /// Limits what is sent and received from now on; blocks that were asked for already still come.
    pub fn set_limits(&self, limits: Limits) {
        self.services().limiter.set_limits(limits);
    }

    /// The limits now.
    pub fn limits(&self) -> Limits {
        self.services().limiter.limits()
    }

    /// Number of links that are up or being set up.
    pub fn link_count(&self) -> usize {
        self.services().registry.count()
    }

    /// Ends everything: what unfinished downloads have is made durable and written to the journal.
    /// Returns the names of threads that had not ended after `timeout`.
    ///
    /// # Blocking
    /// For at most `timeout`, and until the last pieces are durable.
    pub fn stop(&self, timeout: Duration) -> Vec<String> {
        let services = self.services();
        let deadline = Instant::now() + timeout;
        self.signal_end();
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut late = services.threads.join(left());
        if !services.pool.join(left()) {
            late.push("posse-pool".to_owned());
        }
        for torrent in self.torrents.take_all() {
            journal::write(&torrent);
            // The next download of it, in this process or another, finds the `.part` unlocked.
            let closed = torrent.state.lock().transfer.as_mut().and_then(|transfer| {
                let was_open = transfer.part.is_some();
                transfer.put_away();
                let verified = transfer.last_entry().filter(|_| was_open)?;
                Some((transfer.id, verified))
            });
            if let Some((id, verified)) = closed {
                services.host.journal(id, torrent.info_hash, &verified);
            }
        }
        late
    }

    fn signal_end(&self) {
        let services = self.services();
        services.stop.set();
        services.registry.close_all();
        services.end_threads();
        for torrent in self.torrents.all() {
            // Under the lock, so that a thread that is about to wait sees the signal.
            torrent.state.lock().links.close_if(|_| true);
            torrent.changed.notify_all();
        }
    }
}

impl Drop for Engine {
    /// Ends the threads without waiting for them.
    fn drop(&mut self) {
        self.signal_end();
        self.torrents.take_all();
    }
}

fn keep_time(torrents: &Torrents) {
    let mut looks_at = Instant::now();
    while !torrents.services.stop.wait(TICK) {
        let mut rates = (0, 0);
        for torrent in torrents.active() {
            let (received, sent) = torrent.tick();
            rates = (rates.0 + received, rates.1 + sent);
            dial_due(&torrent, &mut torrent.state.lock());
        }
        torrents.services.counters.set_rates(rates.0, rates.1);
        if looks_at <= Instant::now() {
            close_stranded(torrents);
            close_idle_files(&torrents.services);
            looks_at = Instant::now() + LOOK_EVERY;
        }
    }
}

/// Closes the shared files that nobody reads, on threads that may wait for a disk.
fn close_idle_files(services: &Arc<Services>) {
    for IdleFiles { device, files } in services.seed_files.take_idle() {
        let closing = services.clone();
        let close = move || {
            drop(files);
            closing.seed_files.closed(device);
        };
        if let Err(e) = services.threads.spawn("posse-close", close) {
            log::warn!("no thread closes shared files: {e}");
            services.seed_files.closed(device);
        }
    }
}

/// Closes the links whose address at this end is not this machine's any more: nothing will come on
/// them, and the other end cannot be told.
fn close_stranded(torrents: &Torrents) {
    let mut addresses: HashMap<IpAddr, bool> = HashMap::new();
    for torrent in torrents.active() {
        torrent.state.lock().links.close_if(|link| {
            let own = link.connection.local_addr();
            !*addresses.entry(own.ip()).or_insert_with(|| is_own_address(own))
        });
    }
}

fn send_held_requests(torrents: &Torrents) {
    let services = &torrents.services;
    services.limiter.download.run(&services.stop, |info_hash| {
        if let Some(torrent) = torrents.get(info_hash) {
            torrent.drive(&mut torrent.state.lock());
        }
    });
}

/// Goes to a relay, as the end that another device asked for.
fn meet(services: &Services, place: &RelayPlace) -> Result<(Incoming, Admission), LinkError> {
    let hello = RelayHello { secret: place.secret.clone() }.encode();
    let is_over = || services.stop.is_set();
    let bind_ip = services.config.bind_ip;
    let incoming = Incoming::dial_unless(place.address, bind_ip, RELAY_TIMEOUT, &is_over)?;
    let admission = services.registry.admit(place.address.ip(), incoming.clone());
    let admission = admission.ok_or(LinkError::Refused("too many links are up"))?;
    incoming.send_first(&hello, RELAY_TIMEOUT)?;
    Ok((incoming, admission))
}

#[cfg(test)]
mod tests;
