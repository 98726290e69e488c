//! Dialling: which peers are due, and how a link to one comes about.
//!
//! **Invariant:** at most [`DIALS_MAX`] addresses are being dialled, over all files.
//!
//! [`dial_due`] never blocks; each dial has a thread of its own, which then serves the link. Where
//! a device has several addresses, [`race`] tries them.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::candidates::Target;
use super::messages;
use super::punch::punch;
use super::race::{AskRelay, DIALS_MAX, Dialling, Reached, race};
use super::services::Services;
use super::torrent::{Torrent, TorrentState};
use crate::net::Connection;
use crate::swarm::api::{EngineEvent, Proof, Way};
use crate::swarm::link::Link;
use crate::swarm::link::handshake::{LinkError, link_traits, read_extended, read_ticket, reader};
use crate::swarm::link::reader::LinkReader;
use crate::types::{Candidate, DeviceId, Ticket};
use crate::wire::frame::write_message;
use crate::wire::peer::{ExtendedHandshake, Handshake, PeerId, PeerMessage};

/// Links of one file beyond which we dial no others; inbound ones may be more.
const LINKS_MAX: usize = 60;
/// Time before a device is due again whose addresses were all left alone.
const LEFT_ALONE_FOR: Duration = Duration::from_secs(1);
/// A link that has brought something a moment ago works, wherever trackers see its device.
const SILENT_MIN: Duration = Duration::from_secs(2);
/// How much longer a ticket has to last to be shown in place of another at once: less is not worth
/// the check.
const NEWER_BY_MS: u64 = 1_000;

/// Dials the peers that are due. Called under the torrent's lock when a download begins, a link
/// ends or a device is listed, and by the timer.
pub(super) fn dial_due(torrent: &Arc<Torrent>, state: &mut TorrentState) {
    let services = &torrent.services;
    if !state.wants_links() || services.stop.is_set() {
        return;
    }
    let links_max = services.config.links_per_file_max.min(LINKS_MAX);
    let room = links_max.saturating_sub(state.links.len());
    let dials = DIALS_MAX.saturating_sub(services.dials.load(Ordering::Relaxed));
    let (now, TorrentState { peers, links, .. }) = (torrent.now(), &mut *state);
    let first_free =
        |device, candidates: &[Candidate]| services.dial_memory.first_free(now, device, candidates);
    let is_silent = |link| links.get(link).is_none_or(|link| link.silence() >= SILENT_MIN);
    for (device, candidates) in peers.take_due(now, room, dials, first_free, is_silent) {
        let (for_link, dialling) = (torrent.clone(), Dialling::begin(services));
        let spawned = services.of_links.read.begin(move || {
            if let Err(e) = dial(&for_link, device, &candidates, dialling) {
                log::debug!("{}: no link to {device}: {e}", for_link.info_hash);
                dial_failed(&for_link, device, &e);
            }
        });
        if let Err(e) = spawned {
            peers.dial_failed(torrent.now(), device, format!("no thread for it: {e}"));
        }
    }
}

fn dial_failed(torrent: &Torrent, device: DeviceId, error: &LinkError) {
    let (info_hash, now) = (torrent.info_hash, torrent.now());
    let mut state = torrent.state.lock();
    if state.peers.is_elsewhere(device) {
        state.peers.put_off(now, device);
        return;
    }
    if matches!(error, LinkError::LeftAlone) {
        state.peers.put_off(now + LEFT_ALONE_FOR, device);
        return;
    }
    state.peers.dial_failed(now, device, error.to_string());
    let is_unreachable = matches!(error, LinkError::Unreachable(_) | LinkError::NotPunched { .. });
    let is_told = state.peers.note_answer(now, device, is_unreachable);
    drop(state);
    if is_told {
        torrent.services.host.event(EngineEvent::Unreachable { info_hash, device });
    }
}

/// Dials a device and serves the link until it ends; fails only if no link comes about.
fn dial(
    torrent: &Arc<Torrent>,
    device: DeviceId,
    candidates: &[Candidate],
    dialling: Dialling,
) -> Result<(), LinkError> {
    let services = &torrent.services;
    let own = services
        .host
        .ticket_for(torrent.info_hash, device)
        .ok_or(LinkError::Refused("no ticket is at hand"))?;
    let own_networks = services.host.interfaces();
    let order = services.dial_memory.round(services.now(), device, candidates, &own_networks);
    let wanting = torrent.clone();
    let is_wanted = move || {
        let state = wanting.state.lock();
        state.wants_links() && !state.peers.is_elsewhere(device)
    };
    let reached = reach(torrent, device, order, is_wanted)?;
    let Reached { connection, admission: _admission, started, took, way } = reached;
    let proven = Instant::now();
    let mut stream = reader(&connection, started);
    write_message(&mut connection.writer(), &own)?;
    let shown = read_ticket(&mut stream)?;
    // A round trip, unless the other end took its time; connecting is two, unless something nearer
    // answered for TCP.
    let delay = took.min(proven.elapsed());
    let proof =
        services.host.check_ticket(&shown, device).filter(|proof| proof.group == own.claims.group);
    let proof = proof.ok_or(LinkError::Refused("the ticket it shows is worth nothing here"))?;
    let _quota = services
        .quota
        .dialled(device)
        .ok_or(LinkError::Refused("enough links to that device are up"))?;
    if way != Way::Relayed {
        torrent.drain_relayed(device);
    }
    let told = torrent.extended_handshake();
    connection.writer().write_all(&opening(torrent, &told))?;
    let theirs = Handshake::read(&mut stream)?;
    if theirs.info_hash != torrent.info_hash {
        return Err(LinkError::Violation("it answers for another file"));
    }
    let extended = read_extended(device, &mut stream, &theirs)?;
    let mut link = new_link(services, (device, proof), true, &theirs, &extended, connection);
    link.way = way.to(link.connection.peer_addr().ip(), &own_networks);
    let registered = Registered::new(torrent, link, &[])?;
    registered.check_tickets_again(&shown, &own)?;
    if let Some(download) = torrent.state.lock().download() {
        download.delay_measured(registered.link.key, delay);
    }
    drop(dialling);
    let reader = LinkReader::new(registered.link.clone(), stream, services.config.message_timeout);
    registered.serve(reader, &extended, &told);
    Ok(())
}

/// Makes a connection to a device: to one of its addresses; else by a hole punch, if that can be
/// tried now; else through a relay.
fn reach(
    torrent: &Arc<Torrent>,
    device: DeviceId,
    order: Vec<Target>,
    is_wanted: impl Fn() -> bool + Clone + Send + Sync + 'static,
) -> Result<Reached, LinkError> {
    let services = &torrent.services;
    let relay = relay_for(torrent, device);
    let can_punch = services.punching.is_due(services.now(), device)
        && services.host.can_meet(torrent.info_hash, device);
    if !can_punch {
        let reached = race(services, device, order, relay, false, is_wanted);
        return reached.map_err(|error| not_punched(services, device, error));
    }
    if services.punching.has_worked(device)
        && let Ok(reached) = punch(services, torrent.info_hash, device, &is_wanted)
    {
        return Ok(reached);
    }
    let error = match race(services, device, order, None, true, is_wanted.clone()) {
        Err(LinkError::Unreachable(error)) => LinkError::Unreachable(error),
        reached => return reached,
    };
    if services.punching.is_due(services.now(), device) {
        match punch(services, torrent.info_hash, device, &is_wanted) {
            Ok(reached) => return Ok(reached),
            Err(why) => log::debug!("{}: no hole to {device}: {why}", torrent.info_hash),
        }
    }
    let error = not_punched(services, device, error);
    if relay.is_none() {
        return Err(error);
    }
    race(services, device, Vec::new(), relay, false, is_wanted).map_err(|_| error)
}

/// Adds to the error of a device that no address reaches why no hole was punched to it.
fn not_punched(services: &Services, device: DeviceId, error: LinkError) -> LinkError {
    match (error, services.punching.failure(device)) {
        (LinkError::Unreachable(error), Some(punch)) => LinkError::NotPunched { error, punch },
        (error, _) => error,
    }
}

/// How a relay is asked for; `None` while the device is linked through one: then a direct link is
/// all that is wanted.
fn relay_for(torrent: &Arc<Torrent>, device: DeviceId) -> Option<AskRelay> {
    if torrent.state.lock().links.to_device(device).is_some() {
        return None;
    }
    let torrent = torrent.clone();
    Some(Box::new(move || torrent.services.host.relay(torrent.info_hash, device)))
}

/// The handshakes of BEP 3 and BEP 10, as we send them.
pub(super) fn opening(torrent: &Torrent, extended: &PeerMessage) -> Vec<u8> {
    let peer_id = PeerId::of_device(torrent.services.device());
    let mut opening = Handshake::new(torrent.info_hash, peer_id).encode().to_vec();
    extended.encode(&mut opening);
    opening
}

pub(super) fn new_link(
    services: &Services,
    peer: (DeviceId, Proof),
    dialled: bool,
    theirs: &Handshake,
    told: &ExtendedHandshake,
    connection: Connection,
) -> Link {
    let (key, traits) = (services.next_link_key(), link_traits(theirs, told));
    let link = Link::new(key, peer, dialled, traits, theirs.has_extensions(), connection);
    // Before the link is registered: newer tickets are shown on every link that is.
    link.set_ticket_id(told.ticket_id);
    link
}

/// A link that is registered until this is dropped.
pub(super) struct Registered<'a> {
    torrent: &'a Arc<Torrent>,
    pub(super) link: Arc<Link>,
}

impl<'a> Registered<'a> {
    pub(super) fn new(
        torrent: &'a Arc<Torrent>,
        link: Link,
        opening: &[u8],
    ) -> Result<Self, LinkError> {
        let link = torrent.register(link, opening);
        let link = link.ok_or(LinkError::Refused("the link is not needed"))?;
        Ok(Self { torrent, link })
    }

    /// Checks both tickets again, now that the link is found when links are ended or newer tickets
    /// shown: what happened meanwhile must not be missed.
    pub(super) fn check_tickets_again(
        &self,
        shown: &Ticket,
        own: &Ticket,
    ) -> Result<(), LinkError> {
        let (host, device) = (&self.torrent.services.host, self.link.device);
        let is_offered =
            |proof: Proof| host.is_offered(self.torrent.info_hash, proof.group, device);
        if !host.check_ticket(shown, device).is_some_and(is_offered) {
            return Err(LinkError::Refused("its ticket was voided"));
        }
        let is_newer = |newer: &Ticket| {
            newer.claims.expires_ms > own.claims.expires_ms.saturating_add(NEWER_BY_MS)
        };
        if let Some(newer) = host.own_ticket(own.claims.group).filter(is_newer) {
            self.link.show_ticket(&newer);
        }
        Ok(())
    }

    /// Serves the link until it ends. `told` is the extension handshake that the peer has heard:
    /// what has come since is told first.
    pub(super) fn serve(
        self,
        reader: LinkReader,
        extended: &ExtendedHandshake,
        told: &PeerMessage,
    ) {
        let current = self.torrent.extended_handshake();
        if current != *told && self.link.extensions {
            self.link.send(&current);
        }
        messages::serve(self.torrent, &self.link, reader, extended);
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.torrent.unregister(&self.link);
        dial_due(self.torrent, &mut self.torrent.state.lock());
    }
}
