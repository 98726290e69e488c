//! Accepting: how a link that another client dialled comes about.
//!
//! **Invariant:** a peer hears nothing before its ticket is known to be good, and nothing of a
//! file, not even whether we know it, before the host has said that the device may have it.
//!
//! Runs on the link's own thread, and blocks until the link ends.

use std::sync::Arc;
use std::time::Instant;

use super::dial::{Registered, new_link, opening};
use super::torrents::Torrents;
use crate::net::Incoming;
use crate::swarm::api::Way;
use crate::swarm::link::handshake::{LinkError, read_extended, read_ticket, reader};
use crate::swarm::link::reader::LinkReader;
use crate::types::limits::HANDSHAKE_TIMEOUT;
use crate::wire::frame::write_message;
use crate::wire::peer::Handshake;

/// Serves an inbound connection, or one of a hole punch that the peer has asked for, until it ends; fails only if no link comes about. `prove` is called
/// once the peer is known to be one, and tells whether there is room.
pub(crate) fn accept(
    torrents: &Arc<Torrents>,
    incoming: Incoming,
    way: Way,
    prove: impl FnOnce() -> bool,
) -> Result<(), LinkError> {
    let started = Instant::now();
    let services = &torrents.services;
    let (connection, device) = services.config.transport.accept(incoming, HANDSHAKE_TIMEOUT)?;
    let mut stream = reader(&connection, started);
    let shown = read_ticket(&mut stream)?;
    let proof = services
        .host
        .check_ticket(&shown, device)
        .ok_or(LinkError::Refused("the ticket it shows is worth nothing here"))?;
    let _quota = services
        .quota
        .inbound(device, proof.user)
        .ok_or(LinkError::Refused("enough links to its user are up"))?;
    let own = services
        .host
        .own_ticket(proof.group)
        .ok_or(LinkError::Refused("it is of a group that we are not in"))?;
    write_message(&mut connection.writer(), &own)?;
    let theirs = Handshake::read(&mut stream)?;
    // One answer for a file that is not here and for one that is not in that group.
    let is_offered = services.host.is_offered(theirs.info_hash, proof.group, device);
    let torrent = is_offered.then(|| torrents.offered(theirs.info_hash)).flatten();
    let torrent =
        torrent.ok_or(LinkError::Refused("the file it asks for is not offered in that group"))?;
    let extended = read_extended(device, &mut stream, &theirs)?;
    if !prove() {
        return Err(LinkError::Refused("too many links are up"));
    }
    if way != Way::Relayed {
        torrent.drain_relayed(device);
    }
    let told = torrent.extended_handshake();
    let opening = opening(&torrent, &told);
    let mut link = new_link(services, (device, proof), false, &theirs, &extended, connection);
    link.way = way.to(link.connection.peer_addr().ip(), &services.host.interfaces());
    let registered = Registered::new(&torrent, link, &opening)?;
    registered.check_tickets_again(&shown, &own)?;
    let reader = LinkReader::new(registered.link.clone(), stream, services.config.message_timeout);
    registered.serve(reader, &extended, &told);
    Ok(())
}
