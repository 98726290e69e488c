//! The handshake and the first frame of an accepted connection, and the thread behind it: a
//! client's session or a peer tracker's link.
//!
//! **Invariant:** until the handshake is made and the first frame has arrived whole and made sense,
//! a connection costs a thread and at most 64 KiB, for at most 10 s in all, and whoever sends
//! something else is closed with one line in the log.
//!
//! A replication link takes a certificate of the network's key, and nothing else will do: not the
//! address, which a tracker behind a router does not choose, nor what a hello says.

use std::fmt;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use log::{debug, warn};

use super::core::Input;
use super::handshakes::Newcomer;
use super::outbox::Outbox;
use super::probe;
use super::session;
use super::shared::{Oddity, Shared};
use super::sink::LinkSink;
use crate::directory::LinkId;
use crate::net::{
    Admission, Connection, Incoming, PeerIdentity, Reader, WrongNetwork, is_refused_by_peer,
};
use crate::trust::NetworkPublicKey;
use crate::types::limits::{TRACKER_FRAME_LEN_MAX, TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN};
use crate::types::{Label, SyncMessage, escape};
use crate::wire::frame::{FrameError, read_frame, read_message, to_frame, write_message};
use crate::wire::replication::{LinkRefusal, ReplicaHello, ToAcceptor, ToDialler};
use crate::wire::tracker::{Hello, Opening, unwelcome_of_version_2};
use crate::wire::{VersionRange, Wire, WireError};

/// Has a connection's handshake made, if there is room for it. Does not block.
pub(crate) fn take(shared: &Arc<Shared>, incoming: Incoming) {
    let Some(admission) = shared.accepted.admit(incoming.peer_addr().ip(), incoming.clone()) else {
        return shed(&incoming, "as many connections as there may be");
    };
    let Err(newcomer) = shared.handshakes.offer((incoming.clone(), admission)) else { return };
    let work = {
        let shared = shared.clone();
        move || make_handshakes(&shared, newcomer)
    };
    spawn(shared, "handshake".to_owned(), &incoming, work);
}

/// Makes the handshake of a connection, and of others until none comes for a while.
fn make_handshakes(shared: &Arc<Shared>, first: Newcomer) {
    let mut next = Some(first);
    while let Some((incoming, admission)) = next {
        secure(shared, incoming, admission);
        next = shared.handshakes.next(&shared.stop);
    }
}

/// Starts a thread for a connection, or ends the connection.
fn spawn(shared: &Shared, name: String, incoming: &Incoming, work: impl FnOnce() + Send + 'static) {
    if let Err(e) = shared.threads.spawn(name, work) {
        warn!("{}: no thread for it: {e}", incoming.peer_addr());
        shed(incoming, "no room for another thread");
    }
}

/// Turns a connection away without waiting for it: a word about why would take a handshake.
fn shed(incoming: &Incoming, why: &str) {
    debug!("{}: turned away: {why}", incoming.peer_addr());
    incoming.close();
}

/// Makes a connection of it, and starts the thread that serves it to its end.
///
/// # Blocking
/// Until the handshake is made, or has taken too long.
fn secure(shared: &Arc<Shared>, incoming: Incoming, admission: Admission) {
    let peer = incoming.peer_addr();
    let deadline = Instant::now() + shared.limits.handshake;
    match shared.keys.ring().security.accept(incoming.clone(), shared.limits.handshake) {
        Ok((connection, visitor)) => {
            let work = {
                let shared = shared.clone();
                move || serve(&shared, &connection, admission, visitor, deadline)
            };
            spawn(shared, format!("s {peer}"), &incoming, work);
        }
        Err(e) => report(shared, peer, &e),
    }
}

/// Says why no connection was made. Trackers of two networks that know each other's address dial
/// again and again.
fn report(shared: &Shared, peer: SocketAddr, error: &std::io::Error) {
    let own = shared.keys.ring().fingerprint();
    if let Some(WrongNetwork { found, .. }) = WrongNetwork::of(error) {
        let words = format_args!(
            "a tracker of the network {found} has dialled, and this one belongs to {own}; refused"
        );
        complain(shared, peer, Oddity::OtherNetwork(found), words);
    } else if is_refused_by_peer(error) {
        let words = format_args!(
            "it refused this tracker's certificate, which is of the network {own}; connection closed"
        );
        complain(shared, peer, Oddity::RefusedUs, words);
    } else if error.kind() == std::io::ErrorKind::InvalidData {
        complain(
            shared,
            peer,
            Oddity::Protocol,
            format_args!("{}; connection closed", escape(&error.to_string())),
        );
    } else {
        debug!("{peer}: no connection was made: {error}");
    }
}

/// Warns of a connection, at growing intervals if more like it come from there.
fn complain(shared: &Shared, peer: SocketAddr, oddity: Oddity, words: fmt::Arguments<'_>) {
    match shared.is_news(peer.ip(), oddity) {
        Some(left_out) => warn!("{peer}: {words}{left_out}"),
        None => debug!("{peer}: {words}"),
    }
}

/// Serves a connection to its end.
///
/// # Blocking
/// Until the connection ends.
pub(super) fn serve(
    shared: &Arc<Shared>,
    connection: &Connection,
    admission: Admission,
    visitor: PeerIdentity,
    deadline: Instant,
) {
    let peer = connection.peer_addr();
    let served = match (first_frame(connection, deadline), visitor) {
        (Ok((Hello::Client(hello), version)), PeerIdentity::Device(device)) => {
            session::serve(shared, connection, admission, hello, device, version)
        }
        (Ok((Hello::Replica(hello), version)), PeerIdentity::Tracker(key)) => {
            serve_link(shared, connection, admission, hello, (version, key))
        }
        (Ok((Hello::Probe(hello), _)), PeerIdentity::Device(device)) => {
            probe::serve(shared, connection, hello, device)
        }
        (Ok((Hello::Client(_) | Hello::Probe(_), _)), PeerIdentity::Tracker(_)) => {
            Err(WireError::bad("hello", "a tracker opens no session").into())
        }
        (Ok((Hello::Replica(_), _)), PeerIdentity::Device(_)) => {
            Err(WireError::bad("hello", "a replication link takes a certificate of the network")
                .into())
        }
        (Err(e), _) => Err(e),
    };
    connection.close();
    match served {
        Ok(()) | Err(FrameError::Closed) => debug!("{peer}: closed"),
        Err(FrameError::Io(e)) => debug!("{peer}: connection lost: {e}"),
        Err(FrameError::Wire(e)) => {
            complain(
                shared,
                peer,
                Oddity::Protocol,
                format_args!("{}; connection closed", escape(&e.to_string())),
            );
        }
    }
}

/// Reads who is there, and which version is spoken from here on: the highest that both ends know.
fn first_frame(connection: &Connection, deadline: Instant) -> Result<(Hello, u16), FrameError> {
    let mut reader = connection.reader();
    reader.set_deadline(Some(deadline));
    let mut body = Vec::new();
    read_frame(&mut reader, TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN, &mut body)?;
    let opening = Opening::from_bytes(&body);
    if let Err(WireError::OldVersion(_) | WireError::NoCommonVersion(_)) = opening {
        // The same bytes in every version.
        connection.writer().write_all(&unwelcome_of_version_2())?;
    }
    let Opening { versions, hello } = opening?;
    let version =
        versions.common(VersionRange::OURS).ok_or(WireError::NoCommonVersion(versions))?;
    Ok((hello, version))
}

/// Serves the accepting end of a replication link.
fn serve_link(
    shared: &Arc<Shared>,
    connection: &Connection,
    mut admission: Admission,
    hello: ReplicaHello,
    (version, key): (u16, NetworkPublicKey),
) -> Result<(), FrameError> {
    if let Some(why) = check(shared, connection, &hello, key) {
        return Ok(write_message(&mut connection.writer(), &ToDialler::Unwelcome(why))?);
    }
    if !admission.trust() {
        return Err(FrameError::Closed);
    }
    let link = LinkId::From(shared.new_key());
    let outbox = Outbox::new(connection.clone(), &shared.notifier);
    debug!("tracker {} has dialled, from {}: {link}", hello.number, connection.peer_addr());
    let sink = LinkSink::Accepted(outbox.clone(), version);
    shared.core.send(Input::LinkUp { link, lineage: hello.lineage, greeting: None, sink });
    let sender = (hello.number, hello.address);
    let ended = listen(shared, link, (key, &sender), &mut connection.reader(), &outbox);
    shared.core.send(Input::LinkDown(link));
    outbox.close();
    ended
}

fn listen(
    shared: &Shared,
    link: LinkId,
    (key, (number, address)): (NetworkPublicKey, &(u32, Label)),
    reader: &mut Reader,
    outbox: &Arc<Outbox>,
) -> Result<(), FrameError> {
    loop {
        if !shared.keys.ring().bears_link(key) {
            let why = shared.keys.ring().refusal(key);
            return Ok(outbox.send(to_frame(&ToDialler::Unwelcome(why)).into())?);
        }
        if shared.is_removed(*number, address) {
            return Ok(outbox.send(to_frame(&ToDialler::Unwelcome(LinkRefusal::Removed)).into())?);
        }
        if !reader.wait(shared.limits.link_silence)? {
            return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
        }
        reader.set_deadline(Some(Instant::now() + shared.limits.message));
        match read_message(reader, TRACKER_FRAME_LEN_MAX)? {
            ToAcceptor::Ping => {
                #[cfg(feature = "later-version")]
                outbox.push(to_frame(&ToDialler::Unknown { tag: crate::wire::later::TAG }).into());
                outbox.push(to_frame(&ToDialler::Durable(Default::default())).into());
            }
            ToAcceptor::Unknown { .. } => {}
            ToAcceptor::MustResync => {
                shared.core.send(Input::LinkSaid(link, SyncMessage::MustResync));
            }
            ToAcceptor::Rows(batch) => {
                if !shared.core.send(Input::LinkSaid(link, SyncMessage::Rows(batch))) {
                    return Ok(());
                }
            }
        }
    }
}

/// Why the dialler, which has shown a certificate of the network, is not another tracker of it, if
/// it is not.
fn check(
    shared: &Shared,
    connection: &Connection,
    hello: &ReplicaHello,
    key: NetworkPublicKey,
) -> Option<LinkRefusal> {
    let ring = shared.keys.ring();
    if !ring.accepts(key) {
        let words =
            format_args!("tracker {} shows a key that counts no more; refused", hello.number);
        complain(shared, connection.peer_addr(), Oddity::Link(ring.refusal(key)), words);
        return Some(ring.refusal(key));
    }
    if hello.lineage.store == shared.lineage.store || hello.number == shared.number {
        let words =
            format_args!("a tracker with this one's own number or store has dialled; refused");
        complain(shared, connection.peer_addr(), Oddity::Link(LinkRefusal::Myself), words);
        return Some(LinkRefusal::Myself);
    }
    if shared.place.is_shared() {
        let words = format_args!(
            "tracker {} has dialled to replicate, but this one shares a database with the others: start all of them with \
             the same --store; refused",
            hello.number
        );
        complain(shared, connection.peer_addr(), Oddity::Link(LinkRefusal::Network), words);
        return Some(LinkRefusal::Network);
    }
    if shared.is_removed(hello.number, &hello.address) {
        let words = format_args!(
            "tracker {} has dialled, which the operator has removed; refused",
            hello.number
        );
        complain(shared, connection.peer_addr(), Oddity::Link(LinkRefusal::Removed), words);
        return Some(LinkRefusal::Removed);
    }
    shared.compare_trackers(hello.number, &hello.trackers);
    None
}
