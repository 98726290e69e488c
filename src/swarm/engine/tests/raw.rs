//! A link's other end, spoken by hand: TLS with a key of its own, then whatever a test says.

use std::io::{self, BufReader, Read, Write};
use std::net::IpAddr;
use std::time::Instant;

use super::harness::*;
use crate::net::{Connection, DeviceSecurity, Reader, Transport};
use crate::types::limits::HANDSHAKE_TIMEOUT;
use crate::types::{FileFacts, InfoHash, Ticket};
use crate::wire::frame;
use crate::wire::peer::{ExtendedHandshake, Handshake, PeerId, PeerMessage};

/// One end of a connection that counts what came.
pub(super) struct Raw {
    pub(super) connection: Connection,
    reader: Reader,
}

pub(super) type Stream = BufReader<Raw>;

impl Read for Raw {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl Write for Raw {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.connection.writer().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn raw(connection: Connection) -> Stream {
    let mut reader = connection.reader();
    reader.set_deadline(Some(Instant::now() + PATIENCE));
    BufReader::new(Raw { connection, reader })
}

/// Dials a station: TLS is up, and nothing was said.
pub(super) fn dial(station: &Station, device: &DeviceSecurity) -> Stream {
    dial_from(station, device, None)
}

/// The same from another address of this machine.
pub(super) fn dial_from(
    station: &Station,
    device: &DeviceSecurity,
    from: Option<IpAddr>,
) -> Stream {
    let transport = Transport::Tls(device.clone());
    raw(transport.dial(station.address, from, HANDSHAKE_TIMEOUT, station.device).unwrap())
}

/// Shows a ticket.
pub(super) fn show(stream: &mut Stream, ticket: &Ticket) {
    let _ = frame::write_message(stream.get_mut(), ticket);
}

/// Reads the other end's ticket, if it shows one.
pub(super) fn hear_ticket(stream: &mut Stream) -> Option<Ticket> {
    frame::read_message(stream, 256).ok()
}

/// Says who we are and for which file we come.
pub(super) fn greet(stream: &mut Stream, info_hash: InfoHash, device: &DeviceSecurity) {
    let hello = Handshake::new(info_hash, PeerId::of_device(device.device()));
    let _ = stream.get_mut().write_all(&hello.encode());
}

/// Links to a station that offers the file, as a user of the common group.
pub(super) fn enter(
    station: &Station,
    device: &DeviceSecurity,
    number: u8,
    facts: &FileFacts,
) -> Stream {
    enter_with(station, device, facts, &ticket(COMMON, user(number), device.device(), PATIENCE))
}

/// The same with another ticket that is good.
pub(super) fn enter_with(
    station: &Station,
    device: &DeviceSecurity,
    facts: &FileFacts,
    ticket: &Ticket,
) -> Stream {
    try_enter(dial(station, device), device, facts, ticket).unwrap()
}

/// The same on a connection that is there; `None` if it is closed.
pub(super) fn try_enter(
    mut stream: Stream,
    device: &DeviceSecurity,
    facts: &FileFacts,
    ticket: &Ticket,
) -> Option<Stream> {
    show(&mut stream, ticket);
    assert_eq!(hear_ticket(&mut stream)?.claims.group, ticket.claims.group);
    greet(&mut stream, facts.info_hash, device);
    introduce(&mut stream, None)?;
    assert_eq!(Handshake::read(&mut stream).ok()?.info_hash, facts.info_hash);
    Some(stream)
}

pub(super) fn say(stream: &mut Stream, message: &PeerMessage) -> Option<()> {
    stream.get_mut().write_all(&message.to_bytes()).ok()
}

/// Says what one of our own clients would.
pub(super) fn introduce(stream: &mut Stream, metadata_size: Option<u64>) -> Option<()> {
    let block_len_max = Some(512 << 10);
    let told = ExtendedHandshake {
        metadata_id: Some(9),
        metadata_size,
        block_len_max,
        ..ExtendedHandshake::default()
    };
    say_extensions(stream, &told)
}

pub(super) fn say_extensions(stream: &mut Stream, told: &ExtendedHandshake) -> Option<()> {
    say(stream, &PeerMessage::Extended { id: 0, payload: told.encode() })
}

/// Reads to the end: what came, whether the end was orderly or not.
pub(super) fn rest(stream: &mut Stream) -> Vec<u8> {
    let mut got = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut got);
    got
}
