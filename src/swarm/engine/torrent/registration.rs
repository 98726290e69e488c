//! How a link of a torrent comes and goes.
//!
//! **Invariant:** at most one link to a device is registered; of two that cross, both ends keep the
//! one dialled by the lower device id.
//!
//! Called on the link's own thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Torrent, TorrentState};
use crate::swarm::link::{Link, PartsOf};
use crate::types::{Bitfield, DeviceId};
use crate::wire::peer::PeerMessage;

/// How long a relayed link may take to bring what was asked for on it, before a direct one takes its
/// place: the two ends wait one after the other, and a handshake has 10 s.
const DRAIN_MAX: Duration = Duration::from_secs(3);
/// How often it is looked whether it has.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

impl Torrent {
    /// Takes a link in, unless there is no room, no use, or a better link to that device. Sends
    /// `opening` on it, then what we have.
    pub(crate) fn register(self: &Arc<Self>, mut link: Link, opening: &[u8]) -> Option<Arc<Link>> {
        link.one_way = !self.services.host.serves(self.info_hash, link.proof().group);
        let link = Arc::new(link);
        let mut state = self.state.lock();
        let (now, device, user) = (self.now(), link.device, link.proof().user);
        let is_full = state.links.len() >= self.services.config.links_per_file_max;
        if !state.takes_links()
            || is_full
            || self.services.stop.is_set()
            || state.peers.is_banned(device, user)
        {
            return None;
        }
        if let Some(older) = state.links.to_device(device).cloned() {
            if !self.supersedes(&link, &older) {
                return None;
            }
            older.close();
            self.forget(&mut state, &older);
        }
        state.peers.linked(now, &link);
        link.send_raw(opening);
        self.greet(&state, &link);
        state.links.insert(link.clone());
        self.activate();
        if !link.one_way {
            state.uploads.join(now, link.key, user, link.traits.fast);
        }
        state.start_super_seeding(self.geometry);
        if state.seed.is_some() && !link.dialled && !link.one_way {
            // A peer that dials a seeder wants something: it need not say so first.
            state.uploads.set_interested(now, link.key, true);
        }
        let is_suspect = state.peers.is_suspect(device);
        if let Some(download) = state.download() {
            download.join(now, link.key, link.traits);
            if is_suspect {
                download.suspect(link.key);
            }
        }
        // That the peer may ask leaves with the first bytes.
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
    }

    /// Of two links to one device a direct one stays rather than a relayed one; of two of a kind the one
    /// dialled by the lower id stays; of two dialled by the
    /// same end, the newer.
    fn supersedes(&self, new: &Link, older: &Link) -> bool {
        if new.is_relayed() != older.is_relayed() {
            return older.is_relayed();
        }
        let is_lower = self.services.device() < new.device;
        new.dialled == older.dialled || new.dialled == is_lower
    }

    /// Lets a relayed link to the device bring what was asked for on it, and asks nothing more there:
    /// a direct one is about to take its place.
    ///
    /// # Blocking
    /// For at most [`DRAIN_MAX`]; what is not there by then is asked for again.
    pub(crate) fn drain_relayed(&self, device: DeviceId) {
        let mut state = self.state.lock();
        let Some(link) = state.links.to_device(device).filter(|link| link.is_relayed()).cloned()
        else {
            return;
        };
        let until = self.now() + DRAIN_MAX;
        if let Some(download) = state.download() {
            // A while longer, in which the other link is registered.
            download.hold_link(link.key, until + DRAIN_MAX);
        }
        while self.now() < until && !link.is_closed() && !self.services.stop.is_set() {
            if state.download().is_none_or(|download| download.is_link_idle(link.key)) {
                return;
            }
            self.changed.wait_for(&mut state, DRAIN_LOOK);
        }
    }

    fn forget(&self, state: &mut TorrentState, link: &Link) {
        let Some(link) = state.links.remove(link.key) else { return };
        let now = self.now();
        let is_useful =
            link.sent.load(Ordering::Relaxed) > 0 || link.has_brought.load(Ordering::Relaxed);
        let mut pieces = 0;
        if let Some(transfer) = &mut state.transfer {
            if let Some(download) = &mut transfer.download {
                let stats = download.link_stats(link.key).unwrap_or_default();
                pieces = stats.pieces;
                download.leave(now, link.key);
            }
            for of in [PartsOf::Metainfo, PartsOf::Chain] {
                if let Some(fetch) = transfer.parts(of) {
                    fetch.leave(link.key);
                }
            }
        }
        state.uploads.leave(now, link.key);
        state.peers.unlinked(now, link.device, link.key, pieces, is_useful);
        if state.links.is_empty() {
            state.dictionary = None;
            state.uploads.stop_super_seeding();
        }
    }

    fn greet(&self, state: &TorrentState, link: &Link) {
        let download = state.transfer.as_ref().and_then(|transfer| transfer.download.as_ref());
        let have = download.map(|download| download.have()).filter(|_| !link.one_way);
        let has_all =
            !link.one_way && (state.seed.is_some() || have.is_some_and(Bitfield::is_full));
        let full = || Bitfield::full(self.geometry.piece_count()).as_bytes().to_vec();
        match have {
            _ if has_all && link.traits.fast => link.send(&PeerMessage::HaveAll),
            _ if has_all => link.send(&PeerMessage::Bitfield(full())),
            Some(have) if !have.is_empty() => {
                link.send(&PeerMessage::Bitfield(have.as_bytes().to_vec()))
            }
            _ if link.traits.fast => link.send(&PeerMessage::HaveNone),
            _ => {}
        }
    }
}
