//! How a link comes about: TLS, the tickets, the handshakes of BEP 3 and BEP 10, and its
//! registration.
//!
//! **Invariant:** an inbound stranger hears nothing, not even whether we know the file, before the
//! host has said that the device may have it. Before its ticket is known to be good it hears
//! nothing at all.
//!
//! All of that together has [`HANDSHAKE_TIMEOUT`]. Runs on the link's own thread, which then
//! becomes its reader ([`crate::swarm::engine::session`]).

use std::io::{self, BufReader};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::net::{Connection, Incoming, Reader};
use crate::swarm::api::Proof;
use crate::swarm::engine::Inner;
use crate::swarm::engine::peers::Dialling;
use crate::swarm::engine::session::{
    CHAIN_ID, LinkError, METADATA_ID, REQUESTS_MAX, TICKET_ID, requests_taken, serve,
};
use crate::swarm::engine::torrent::Torrent;
use crate::swarm::link::Link;
use crate::swarm::{LinkKey, LinkTraits};
use crate::types::limits::{BLOCK_LEN, BLOCK_LEN_MAX, HANDSHAKE_TIMEOUT};
use crate::types::{DeviceId, Ticket};
use crate::wire::frame::{FrameError, read_message, write_message};
use crate::wire::peer::{
    EXTENDED_HANDSHAKE_ID, ExtendedHandshake, Handshake, Header, PeerError, PeerId, PeerMessage,
    read_header,
};

/// Requests that a peer keeps that says nothing about it.
const REQUESTS_MAX_UNTOLD: u32 = 128;
/// Bytes in a ticket, and more: nobody makes us wait for a longer one.
const TICKET_LEN_MAX: usize = 256;
/// How much longer a ticket has to last to be shown in place of another at once: less is not worth
/// the check.
const NEWER_BY_MS: u64 = 1_000;
/// Bytes read from the stream at a time when no buffer takes them directly.
const READ_AHEAD: usize = 16 << 10;

/// Dials a device and serves the link until it ends.
///
/// # Errors
/// Only if no link came about.
pub(crate) fn dial(
    torrent: &Arc<Torrent>,
    device: DeviceId,
    address: SocketAddr,
    dialling: Dialling,
) -> Result<(), LinkError> {
    let engine = &torrent.engine;
    let own = engine
        .host
        .ticket_for(torrent.info_hash, device)
        .ok_or(LinkError::Refused("no ticket is at hand"))?;
    let started = Instant::now();
    let dialled = Incoming::dial(address, engine.config.bind_ip, HANDSHAKE_TIMEOUT)
        .map_err(LinkError::Unreachable)?;
    // Before the handshake, so that the end of the engine ends it.
    let mut admission = engine
        .registry
        .admit(address.ip(), dialled.clone())
        .ok_or(LinkError::Refused("too many links are up"))?;
    // Whom we dial is our own choice: the bounds are there against those who come.
    if !admission.trust() {
        return Err(LinkError::Refused("too many links are up"));
    }
    let left = HANDSHAKE_TIMEOUT.saturating_sub(started.elapsed());
    let connection = engine.config.transport.prove(dialled, left, device);
    let connection = connection.map_err(LinkError::Unreachable)?;
    let connected = started.elapsed();
    let mut reader = reader(&connection, started);
    write_message(&mut connection.writer(), &own)?;
    let shown = read_ticket(&mut reader)?;
    // A round trip, unless the other end took its time; connecting is two, unless something nearer
    // answered for TCP.
    let delay = connected.min(started.elapsed() - connected);
    let proof =
        engine.host.check_ticket(&shown, device).filter(|proof| proof.group == own.claims.group);
    let proof = proof.ok_or(LinkError::Refused("the ticket it shows is worth nothing here"))?;
    let _share = engine
        .shares
        .dialled(device)
        .ok_or(LinkError::Refused("enough links to that device are up"))?;
    let mut opening =
        Handshake::new(torrent.info_hash, PeerId::of_device(engine.device())).encode().to_vec();
    let told = our_extensions(torrent);
    told.encode(&mut opening);
    io::Write::write_all(&mut connection.writer(), &opening)?;
    let theirs = Handshake::read(&mut reader)?;
    if theirs.info_hash != torrent.info_hash {
        return Err(LinkError::Violation("it answers for another file"));
    }
    let extended = introduce(device, &mut reader, &theirs)?;
    let link = new_link(engine, (device, proof), true, &theirs, &extended, connection);
    let link = torrent.register(link, &[]).ok_or(LinkError::Refused("the link is not needed"))?;
    look_again(torrent, &link, &shown, &own)?;
    if let Some(download) =
        torrent.state.lock().transfer.as_mut().and_then(|transfer| transfer.download.as_mut())
    {
        download.delay_measured(link.key, delay);
    }
    tell_news(torrent, &link, &told);
    drop(dialling);
    serve(torrent, &link, reader, &extended);
    Ok(())
}

/// Serves an inbound connection until it ends. Calls `proven` when the peer turned out to be one;
/// it tells whether there is room.
///
/// # Errors
/// Only if no link came about.
pub(crate) fn accept(
    engine: &Arc<Inner>,
    incoming: Incoming,
    proven: impl FnOnce() -> bool,
) -> Result<(), LinkError> {
    let started = Instant::now();
    let (connection, device) = engine.config.transport.accept(incoming, HANDSHAKE_TIMEOUT)?;
    let mut reader = reader(&connection, started);
    let shown = read_ticket(&mut reader)?;
    let proof = engine
        .host
        .check_ticket(&shown, device)
        .ok_or(LinkError::Refused("the ticket it shows is worth nothing here"))?;
    let _share = engine
        .shares
        .inbound(device, proof.user)
        .ok_or(LinkError::Refused("enough links to its user are up"))?;
    let own = engine
        .host
        .own_ticket(proof.group)
        .ok_or(LinkError::Refused("it is of a group that we are not in"))?;
    write_message(&mut connection.writer(), &own)?;
    let theirs = Handshake::read(&mut reader)?;
    // One answer for a file that is not here and for one that is not in that group.
    let is_offered = engine.host.is_offered(theirs.info_hash, proof.group, device);
    let torrent = is_offered.then(|| engine.offered(theirs.info_hash)).flatten();
    let torrent =
        torrent.ok_or(LinkError::Refused("the file it asks for is not offered in that group"))?;
    let extended = introduce(device, &mut reader, &theirs)?;
    if !proven() {
        return Err(LinkError::Refused("too many links are up"));
    }
    let mut opening =
        Handshake::new(torrent.info_hash, PeerId::of_device(engine.device())).encode().to_vec();
    let told = our_extensions(&torrent);
    told.encode(&mut opening);
    let link = new_link(engine, (device, proof), false, &theirs, &extended, connection);
    let link =
        torrent.register(link, &opening).ok_or(LinkError::Refused("the link is not needed"))?;
    look_again(&torrent, &link, &shown, &own)?;
    tell_news(&torrent, &link, &told);
    serve(&torrent, &link, reader, &extended);
    Ok(())
}

/// Reads the ticket that the other end shows.
fn read_ticket(reader: &mut BufReader<Reader>) -> Result<Ticket, LinkError> {
    read_message(reader, TICKET_LEN_MAX).map_err(|e| match e {
        FrameError::Closed => LinkError::Refused("it takes no ticket of ours"),
        FrameError::Io(e) => e.into(),
        FrameError::Wire(e) => PeerError::from(e).into(),
    })
}

/// Looks at both tickets again, now that whoever ends links, or shows newer tickets on them, finds
/// this one: what happened meanwhile must not be missed.
fn look_again(
    torrent: &Arc<Torrent>,
    link: &Arc<Link>,
    shown: &Ticket,
    own: &Ticket,
) -> Result<(), LinkError> {
    let host = &torrent.engine.host;
    let is_offered = |proof: Proof| host.is_offered(torrent.info_hash, proof.group, link.device);
    let good = host.check_ticket(shown, link.device).is_some_and(is_offered);
    if !good {
        torrent.unregister(link);
        return Err(LinkError::Refused("its ticket was voided"));
    }
    let newer = |newer: &Ticket| {
        newer.claims.expires_ms > own.claims.expires_ms.saturating_add(NEWER_BY_MS)
    };
    if let Some(newer) = host.own_ticket(own.claims.group).filter(newer) {
        link.show_ticket(&newer);
    }
    Ok(())
}

/// The metainfo or the chaining values may have come while the link was made: tells the peer.
fn tell_news(torrent: &Torrent, link: &Link, told: &PeerMessage) {
    let now = our_extensions(torrent);
    if now != *told && link.extensions {
        link.send(&now);
    }
}

/// The reader of a connection whose making began at `started`.
fn reader(connection: &Connection, started: Instant) -> BufReader<Reader> {
    let mut reader = connection.reader();
    reader.set_deadline(Some(started + HANDSHAKE_TIMEOUT));
    BufReader::with_capacity(READ_AHEAD, reader)
}

/// Learns what the other end can do. It says so at once, without waiting for our handshake.
fn introduce(
    device: DeviceId,
    reader: &mut BufReader<Reader>,
    theirs: &Handshake,
) -> Result<ExtendedHandshake, LinkError> {
    if !theirs.peer_id.matches(&device) || !theirs.has_extensions() {
        return Err(LinkError::Violation(
            "its peer id is not that of its device, or it speaks no extensions",
        ));
    }
    let Header::Message(PeerMessage::Extended { id: EXTENDED_HANDSHAKE_ID, payload }) =
        read_header(reader)?
    else {
        return Err(LinkError::Violation("its first message is not the extension handshake"));
    };
    Ok(ExtendedHandshake::decode(&payload).map_err(PeerError::from)?)
}

fn new_link(
    engine: &Inner,
    peer: (DeviceId, Proof),
    dialled: bool,
    theirs: &Handshake,
    told: &ExtendedHandshake,
    connection: Connection,
) -> Link {
    let traits = LinkTraits {
        block_len_max: told.block_len_max.unwrap_or(BLOCK_LEN).clamp(BLOCK_LEN, BLOCK_LEN_MAX),
        requests_max: requests_taken(told.requests_max.unwrap_or(REQUESTS_MAX_UNTOLD)),
        fast: theirs.has_fast(),
    };
    let key = LinkKey(engine.next_link.fetch_add(1, Ordering::Relaxed));
    let link = Link::new(key, peer, dialled, traits, theirs.has_extensions(), connection);
    // Before anybody finds the link: whoever shows newer tickets needs it.
    link.set_ticket_id(told.ticket_id);
    link
}

pub(crate) fn our_extensions(torrent: &Torrent) -> PeerMessage {
    let config = &torrent.engine.config;
    let handshake = ExtendedHandshake {
        metadata_id: Some(METADATA_ID),
        metadata_size: torrent.dictionary().map(|bytes| bytes.len() as u64),
        requests_max: Some(REQUESTS_MAX),
        client: Some(concat!("Posse ", env!("CARGO_PKG_VERSION")).to_owned()),
        port: config.port.filter(|port| *port != 0),
        ticket_id: Some(TICKET_ID),
        block_len_max: Some(BLOCK_LEN_MAX),
        chain_id: Some(CHAIN_ID),
        chain: torrent.chaining_values().map(|values| values.hash()),
    };
    PeerMessage::Extended { id: EXTENDED_HANDSHAKE_ID, payload: handshake.encode() }
}
