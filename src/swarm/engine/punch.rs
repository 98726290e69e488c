//! Hole punching: where no address of a device answers, both ends connect to each other at one
//! moment: the one that has asked from a port of its own for each attempt, the other from the port
//! at which it takes links (decision 028).
//!
//! **Invariant:** the end that has asked is TLS's client and expects the device's key, whatever
//! direction the connection took; nothing else than TLS's first message is sent before the key is
//! proven.
//!
//! Runs on the dial's thread, or on the thread of who takes part in a punch; blocks for some seconds
//! at most.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::candidates::Target;
use super::race::Reached;
use super::services::Services;
use crate::net::{Incoming, Listener};
use crate::swarm::api::Way;
use crate::swarm::api::{MeetError, Meeting};
use crate::types::{DeviceId, InfoHash};

/// How long both ends try from the moment on: two tries, so that a relay is had within 3 s.
const TRIES_MAX: Duration = Duration::from_millis(1_600);
/// How long one try takes at most: a router may have dropped the first packet of either.
const TRY_MAX: Duration = Duration::from_millis(800);
/// The pause behind a try that was refused.
const TRY_AGAIN: Duration = Duration::from_millis(100);
/// How long the proof of the key may take.
const PROOF_MAX: Duration = Duration::from_secs(3);

/// Has a tracker bring this device and another together, and connects to it; the other proves its
/// key.
///
/// # Errors
/// Every [`MeetError`].
pub(super) fn punch(
    services: &Arc<Services>,
    info_hash: InfoHash,
    device: DeviceId,
    is_wanted: &dyn Fn() -> bool,
) -> Result<Reached, MeetError> {
    let Some(_under_way) = services.punching.begin() else { return Err(MeetError::Busy) };
    let is_over = || services.stop.is_set() || !is_wanted();
    let reached = open_port(services).and_then(|port| {
        let from = port.local_addr();
        let meeting = services.host.meet(info_hash, device, from, &is_over)?;
        reach(services, device, (&meeting, &port), &is_over)
    });
    match &reached {
        Ok(_) => services.punching.note_done(device),
        Err(_) if is_over() => {}
        Err(error) => services.punching.note_failed(services.now(), device, error),
    }
    reached
}

/// A port for one punch: the two devices may have other links, and there is one connection between
/// two ports.
fn open_port(services: &Services) -> Result<Listener, MeetError> {
    let ip = services.config.bind_ip.unwrap_or(Ipv6Addr::UNSPECIFIED.into());
    let opened = Listener::bind_any(SocketAddr::new(ip, 0));
    let opened = opened.and_then(|port| port.share_port().map(|()| port));
    opened.map_err(|error| MeetError::Failed(error.to_string()))
}

fn reach(
    services: &Arc<Services>,
    device: DeviceId,
    (meeting, port): (&Meeting, &Listener),
    is_over: &dyn Fn() -> bool,
) -> Result<Reached, MeetError> {
    let failed = |error: io::Error| MeetError::Failed(error.to_string());
    let came = RefCell::new(None);
    // The router of the other end may choose another port for each connection.
    let has_come = || {
        let is_other = |incoming: &Incoming| incoming.peer_addr().ip() == meeting.address.ip();
        let mut came = came.borrow_mut();
        *came = came.take().or_else(|| port.try_accept().filter(is_other));
        came.is_some()
    };
    let connected = connect(services, device, meeting, &|| is_over() || has_come());
    let incoming = came.borrow_mut().take().map_or(connected, Ok).map_err(failed)?;
    let started = Instant::now();
    let too_many = || MeetError::Failed("too many links are up".into());
    let mut admission =
        services.registry.admit(meeting.address.ip(), incoming.clone()).ok_or_else(too_many)?;
    if !admission.trust() {
        return Err(too_many());
    }
    let connection =
        services.config.transport.prove(incoming, PROOF_MAX, device).map_err(failed)?;
    services.dial_memory.give_back(device, &target(meeting));
    let took = started.elapsed();
    Ok(Reached { connection, admission, started, took, way: Way::Punched })
}

/// Takes part in a punch that the device has asked for.
///
/// # Errors
/// Those of [`connect`].
pub(super) fn answer(
    services: &Services,
    device: DeviceId,
    meeting: &Meeting,
) -> io::Result<Incoming> {
    let incoming = connect(services, device, meeting, &|| services.stop.is_set())?;
    services.dial_memory.give_back(device, &target(meeting));
    Ok(incoming)
}

/// Connects at the moment, and again for as long as both ends try.
///
/// # Errors
/// The system's, of the last try; `ConnectionAborted` if it is over.
fn connect(
    services: &Services,
    device: DeviceId,
    meeting: &Meeting,
    is_over: &dyn Fn() -> bool,
) -> io::Result<Incoming> {
    // A tracker has seen the device there. It is counted all the same: this end cannot know.
    if !services.dial_memory.begin(services.now(), device, &target(meeting)) {
        return Err(io::Error::other("too many dials there have failed"));
    }
    let mut error = io::Error::from(io::ErrorKind::TimedOut);
    let until = meeting.at + TRIES_MAX;
    let mut next = meeting.at;
    loop {
        while let Some(left) = next.checked_duration_since(Instant::now()).filter(|t| !t.is_zero())
        {
            if is_over() || services.stop.wait(left.min(TRY_AGAIN)) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || is_over() {
            return Err(error);
        }
        let Meeting { address, from, .. } = *meeting;
        match Incoming::dial_from_port(address, from, left.min(TRY_MAX), is_over) {
            Ok(incoming) => return Ok(incoming),
            Err(e) => error = e,
        }
        next = match error.kind() {
            io::ErrorKind::TimedOut => Instant::now(),
            _ => Instant::now() + TRY_AGAIN,
        };
    }
}

fn target(meeting: &Meeting) -> Target {
    Target { address: meeting.address, is_hearsay: true }
}
