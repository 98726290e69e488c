//! The devices that take part in a file's swarm: which are linked, which are to be dialled and
//! when, which are banned; and how a link comes and goes.
//!
//! **Invariant:** at most one link a device and file is registered; of two that cross, both ends
//! keep the one dialled by the lower device id.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::swarm::LinkKey;
use crate::swarm::api::{EngineEvent, SeenPeer, UnreachablePeer};
use crate::swarm::engine::Inner;
use crate::swarm::engine::session::LinkError;
use crate::swarm::engine::torrent::{State, Torrent};
use crate::swarm::link::{Link, PartsOf};
use crate::types::{Bitfield, DeviceId, UserId};
use crate::wire::peer::PeerMessage;

/// Peers remembered a file: more than will ever be linked.
const PEERS_MAX: usize = 1000;
/// Devices of one user that send bad data of a file before no device of theirs is linked for it:
/// nobody has so many that are broken.
const BAD_DEVICES_MAX: u32 = 4;
/// Links of one file beyond which we dial no others; inbound ones may be more.
const DIAL_LINKS_MAX: usize = 60;
/// Dials under way at a time, for all files: each holds a thread, for ten seconds if nobody
/// answers.
const DIALS_MAX: usize = 128;
/// First and longest wait before a lost or unreachable peer is dialled again.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Dials that fail before that is told: a device may be starting again.
const UNREACHABLE_AFTER: u32 = 3;
/// How often it is told again while they go on failing.
const UNREACHABLE_AGAIN: Duration = Duration::from_secs(300);

/// The peers of one file.
#[derive(Default)]
pub(crate) struct Peers {
    known: HashMap<DeviceId, Peer>,
    /// Devices of each user that sent bad data.
    bad: HashMap<UserId, u32>,
}

#[derive(Default)]
struct Peer {
    /// Where it listens, while a tracker lists it.
    address: Option<SocketAddr>,
    link: Option<LinkKey>,
    dialling: bool,
    failures: u32,
    retry_at: Duration,
    banned: bool,
    /// It sent bad data once.
    suspect: bool,
    error: Option<String>,
    /// Dials in a row to which nothing answered, and when that was told last.
    unanswered: (u32, Option<Duration>),
    /// When its last link ended, and the pieces it had then.
    seen: Option<(Duration, u32)>,
}

impl Peers {
    /// A tracker lists the device at this address: it may be dialled at once.
    pub(crate) fn list(&mut self, device: DeviceId, address: SocketAddr) {
        if !self.has_room_for(device) {
            return;
        }
        let peer = self.known.entry(device).or_default();
        peer.address = Some(address);
        peer.failures = 0;
        peer.retry_at = Duration::ZERO;
    }

    /// No tracker lists the device any more.
    pub(crate) fn unlist(&mut self, device: DeviceId) {
        if let Some(peer) = self.known.get_mut(&device) {
            peer.address = None;
        }
    }

    /// Tells whether the device is known or can be; where many are, those that left make room.
    fn has_room_for(&mut self, device: DeviceId) -> bool {
        if self.known.len() >= PEERS_MAX && !self.known.contains_key(&device) {
            self.known.retain(|_, peer| {
                peer.address.is_some()
                    || peer.link.is_some()
                    || peer.dialling
                    || peer.banned
                    || peer.suspect
            });
        }
        self.known.len() < PEERS_MAX || self.known.contains_key(&device)
    }

    /// Closes the link of a peer that sent bad data, for good if it is one of our own clients.
    pub(crate) fn ban(&mut self, link: &Link) {
        log::warn!(
            "{}: sent bad data; it is not asked again in this session",
            link.connection.peer_addr()
        );
        self.suspect(link);
        self.known.entry(link.device).or_default().banned = true;
        link.close();
    }

    /// Notes that a link brought a piece with a wrong hash.
    pub(crate) fn suspect(&mut self, link: &Link) {
        let peer = self.known.entry(link.device).or_default();
        if !std::mem::replace(&mut peer.suspect, true) {
            *self.bad.entry(link.proof().user).or_default() += 1;
        }
    }

    fn is_suspect(&self, device: DeviceId) -> bool {
        self.known.get(&device).is_some_and(|peer| peer.suspect)
    }

    /// Tells whether the device is banned, or its user for what others of their devices sent: a
    /// device is made for nothing.
    pub(crate) fn is_banned(&self, device: DeviceId, user: UserId) -> bool {
        self.known.get(&device).is_some_and(|peer| peer.banned)
            || self.bad.get(&user).is_some_and(|bad| *bad >= BAD_DEVICES_MAX)
    }

    /// Takes the peers to dial now.
    fn take_due(
        &mut self,
        now: Duration,
        room: usize,
        dials: usize,
    ) -> Vec<(DeviceId, SocketAddr)> {
        let due = |peer: &Peer| {
            peer.link.is_none() && !peer.dialling && !peer.banned && peer.retry_at <= now
        };
        let under_way = self.known.values().filter(|peer| peer.dialling).count();
        let listed = self.known.iter_mut().filter_map(|(device, peer)| {
            Some((*device, peer.address.filter(|_| due(peer))?, peer))
        });
        let take = |(device, address, peer): (DeviceId, SocketAddr, &mut Peer)| {
            peer.dialling = true;
            (device, address)
        };
        listed.take(room.saturating_sub(under_way).min(dials)).map(take).collect()
    }

    fn dial_failed(&mut self, now: Duration, device: DeviceId, error: String) {
        let Some(peer) = self.known.get_mut(&device) else { return };
        peer.dialling = false;
        peer.retry_at = now + retry_after(peer.failures);
        peer.failures += 1;
        peer.error = Some(error);
    }

    /// Notes whether something answered a dial that failed; tells whether the host is to hear that
    /// the device cannot be reached.
    fn note_answer(&mut self, now: Duration, device: DeviceId, is_unreachable: bool) -> bool {
        let Some(peer) = self.known.get_mut(&device) else { return false };
        let (count, told) = &mut peer.unanswered;
        *count = if is_unreachable { *count + 1 } else { 0 };
        let is_due = *count >= UNREACHABLE_AFTER
            && peer.address.is_some()
            && peer.link.is_none()
            && told.is_none_or(|told| now.saturating_sub(told) >= UNREACHABLE_AGAIN);
        if is_due {
            *told = Some(now);
        }
        is_due
    }

    fn linked(&mut self, device: DeviceId, link: LinkKey) {
        if self.has_room_for(device) {
            let peer = self.known.entry(device).or_default();
            peer.link = Some(link);
            peer.dialling = false;
            (peer.error, peer.unanswered.0) = (None, 0);
        }
    }

    fn unlinked(
        &mut self,
        now: Duration,
        device: DeviceId,
        link: LinkKey,
        pieces: u32,
        useful: bool,
    ) {
        let Some(peer) = self.known.get_mut(&device).filter(|peer| peer.link == Some(link)) else {
            return;
        };
        peer.link = None;
        peer.seen = Some((now, pieces));
        peer.failures = if useful { 0 } else { peer.failures + 1 };
        peer.retry_at = now + retry_after(peer.failures);
    }

    /// Who was linked and is not, the latest first.
    pub(crate) fn seen(&self, now: Duration) -> Vec<SeenPeer> {
        let gone = self.known.iter().filter(|(_, peer)| peer.link.is_none());
        let seen =
            gone.filter_map(|(device, peer)| peer.seen.map(|(at, pieces)| (*device, at, pieces)));
        let mut seen: Vec<_> = seen
            .map(|(device, at, pieces)| SeenPeer { device, pieces, ago: now.saturating_sub(at) })
            .collect();
        seen.sort_by_key(|peer| peer.ago);
        seen
    }

    /// Who is listed and could not be reached.
    pub(crate) fn unreachable(&self) -> Vec<UnreachablePeer> {
        let absent = self.known.iter().filter(|(_, peer)| peer.link.is_none());
        let failed =
            absent.filter_map(|(device, peer)| Some((*device, peer.address?, peer.error.clone()?)));
        failed.map(|(device, address, error)| UnreachablePeer { device, address, error }).collect()
    }

    /// Who is banned.
    pub(crate) fn banned(&self) -> Vec<DeviceId> {
        self.known.iter().filter(|(_, peer)| peer.banned).map(|(device, _)| *device).collect()
    }
}

/// Counts a dial as under way until dropped.
pub(crate) struct Dialling(Arc<Inner>);

impl Dialling {
    fn begin(engine: &Arc<Inner>) -> Self {
        engine.dials.fetch_add(1, Ordering::Relaxed);
        Self(engine.clone())
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        self.0.dials.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Doubles from half a second to a minute, a quarter of it at random, so that clients that lost
/// each other do not dial in step.
fn retry_after(failures: u32) -> Duration {
    let base = RETRY_MIN.saturating_mul(1 << failures.min(16)).min(RETRY_MAX);
    base.mul_f64(0.75 + rand::random::<f64>() / 4.0)
}

impl Torrent {
    /// Dials the peers that are due, each on a thread that then serves the link.
    pub(crate) fn dial_due(self: &Arc<Self>, state: &mut State) {
        if !state.wants_links() || self.engine.stop.is_set() {
            return;
        }
        let room = self
            .engine
            .config
            .links_per_file_max
            .min(DIAL_LINKS_MAX)
            .saturating_sub(state.links.len());
        let dials = DIALS_MAX.saturating_sub(self.engine.dials.load(Ordering::Relaxed));
        if dials == 0 {
            return;
        }
        for (device, address) in state.peers.take_due(self.now(), room, dials) {
            let (torrent, dialling) = (self.clone(), Dialling::begin(&self.engine));
            let spawned = self.engine.threads.spawn("posse-link", move || {
                if let Err(e) =
                    crate::swarm::engine::opening::dial(&torrent, device, address, dialling)
                {
                    log::debug!("{}: no link to {address}: {e}", torrent.info_hash);
                    let (info_hash, now) = (torrent.info_hash, torrent.now());
                    let is_unreachable = matches!(e, LinkError::Unreachable(_));
                    let mut state = torrent.state.lock();
                    state.peers.dial_failed(now, device, e.to_string());
                    let is_told = state.peers.note_answer(now, device, is_unreachable);
                    drop(state);
                    if is_told {
                        let event = EngineEvent::Unreachable { info_hash, device };
                        torrent.engine.host.event(event);
                    }
                }
            });
            if let Err(e) = spawned {
                state.peers.dial_failed(self.now(), device, format!("no thread for it: {e}"));
            }
        }
    }

    /// Takes a link in, unless there is no room, no use, or a better link to that device. The first
    /// thing sent on it is `opening`, the second what we have.
    pub(crate) fn register(self: &Arc<Self>, mut link: Link, opening: &[u8]) -> Option<Arc<Link>> {
        link.one_way = !self.engine.host.serves(self.info_hash, link.proof().group);
        let link = Arc::new(link);
        let mut state = self.state.lock();
        let now = self.now();
        let full = state.links.len() >= self.engine.config.links_per_file_max;
        if !state.takes_links() || full || self.engine.stop.is_set() {
            return None;
        }
        let device = link.device;
        let older = state.links.values().find(|other| other.device == device).cloned();
        if state.peers.is_banned(device, link.proof().user)
            || older.as_ref().is_some_and(|older| !self.supersedes(device, &link, older))
        {
            return None;
        }
        if let Some(older) = older {
            older.close();
            self.forget(&mut state, &older);
        }
        state.peers.linked(device, link.key);
        link.send_raw(opening);
        self.greet(&state, &link);
        state.links.insert(link.key, link.clone());
        self.activate();
        if !link.one_way {
            state.choker.join(now, link.key, link.proof().user);
        }
        if let Some(spreader) =
            state.spreader.as_mut().filter(|_| link.traits.fast && !link.one_way)
        {
            spreader.join(link.key);
        }
        state.spread(self.geometry);
        if state.seed.is_some() && !link.dialled && !link.one_way {
            // Whoever dials a seeder wants something: it need not say so first.
            state.choker.interested(now, link.key, true);
        }
        let State { transfer, peers, .. } = &mut *state;
        if let Some(download) = transfer.as_mut().and_then(|transfer| transfer.download.as_mut()) {
            download.join(now, link.key, link.traits);
            if peers.is_suspect(device) {
                download.suspect(link.key);
            }
        }
        // That it may ask leaves with the first bytes.
        self.drive(&mut state);
        Some(link)
    }

    /// Drops a link that has ended; what it was to bring is asked for elsewhere at once.
    pub(crate) fn unregister(self: &Arc<Self>, link: &Link) {
        link.close();
        let mut state = self.state.lock();
        self.forget(&mut state, link);
        self.ask_parts(&mut state);
        self.drive(&mut state);
        self.dial_due(&mut state);
    }

    /// Of two links to one device, the one dialled by the lower id stays; of two dialled by the
    /// same end, the newer.
    fn supersedes(&self, device: DeviceId, new: &Link, older: &Link) -> bool {
        let lower_is_us = self.engine.device() < device;
        new.dialled == older.dialled || new.dialled == lower_is_us
    }

    fn forget(self: &Arc<Self>, state: &mut State, link: &Link) {
        let Some(link) = state.links.remove(&link.key) else { return };
        let now = self.now();
        let (mut pieces, mut useful) = (0, link.sent.load(Ordering::Relaxed) > 0);
        if let Some(transfer) = &mut state.transfer {
            if let Some(download) = &mut transfer.download {
                let stats = download.link_stats(link.key).unwrap_or_default();
                (pieces, useful) = (stats.pieces, useful || stats.received > 0);
                download.leave(now, link.key);
            }
            for of in [PartsOf::Metainfo, PartsOf::Chain] {
                if let Some(fetch) = transfer.parts(of) {
                    fetch.leave(link.key);
                }
            }
        }
        state.choker.leave(now, link.key);
        state.order.leave(link.key);
        if let Some(spreader) = &mut state.spreader {
            spreader.leave(link.key);
        }
        state.peers.unlinked(now, link.device, link.key, pieces, useful);
        if state.links.is_empty() {
            (state.dictionary, state.spreader) = (None, None);
        }
    }

    /// Tells the peer what we have.
    fn greet(&self, state: &State, link: &Link) {
        let download = state.transfer.as_ref().and_then(|transfer| transfer.download.as_ref());
        let have = download.map(|download| download.have()).filter(|_| !link.one_way);
        let all = !link.one_way && (state.seed.is_some() || have.is_some_and(Bitfield::is_full));
        match have {
            _ if all && link.traits.fast => link.send(&PeerMessage::HaveAll),
            _ if all => link.send(&PeerMessage::Bitfield(
                Bitfield::full(self.geometry.piece_count()).as_bytes().to_vec(),
            )),
            Some(have) if !have.is_empty() => {
                link.send(&PeerMessage::Bitfield(have.as_bytes().to_vec()))
            }
            _ if link.traits.fast => link.send(&PeerMessage::HaveNone),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: u32) -> DeviceId {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        DeviceId::from_bytes(bytes)
    }

    #[test]
    fn those_that_left_do_not_stand_in_the_way_of_those_that_came() {
        let mut peers = Peers::default();
        let address = "127.0.0.1:1".parse().unwrap();
        for number in 0..PEERS_MAX as u32 {
            peers.list(device(number), address);
            peers.unlist(device(number));
        }
        peers.list(device(5000), address);
        peers.list(device(5001), address);
        for number in 0..500 {
            peers.list(device(number), address);
            peers.unlist(device(number));
        }
        assert_eq!(peers.take_due(Duration::ZERO, 1, 10).len(), 1);
        assert_eq!(peers.take_due(Duration::ZERO, 1, 10).len(), 0, "one is under way");
        assert_eq!(peers.take_due(Duration::ZERO, 9, 10).len(), 1);
    }
}
