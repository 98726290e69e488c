//! A link from its first byte to its last: the handshakes, then the reader's loop.
//!
//! **Invariant:** an inbound stranger hears nothing, not even whether we know the file, before the host has said that the device may have it;
//! and a block's data goes from the stream into the buffer of its piece, which exists only if we asked for it.
//!
//! Deadlines are for the whole: everything up to the link's registration together has [`HANDSHAKE_TIMEOUT`]; a peer may be silent for
//! long, but a message that has begun must be there within a minute.
//!
//! Runs on the link's own thread, which becomes its reader; a second thread writes. Blocks until the link ends.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::api::Proof;
use super::engine::Inner;
use super::link::Link;
use super::manners::Manners;
use super::peers::Dialling;
use super::pool::{Buffer, Job};
use super::torrent::{State, Torrent};
use super::{BlockFate, Download, LinkKey, LinkTraits};
use crate::net::{Connection, Incoming, Reader};
use crate::types::limits::{BLOCK_LEN, BLOCK_LEN_MAX, HANDSHAKE_TIMEOUT};
use crate::types::{Bitfield, DeviceId, PieceIndex, Ticket};
use crate::wire::frame::{FrameError, read_message, write_message};
use crate::wire::peer::{
    EXTENDED_HANDSHAKE_ID, ExtendedHandshake, Handshake, Header, PeerError, PeerId, PeerMessage, read_header, skip,
};

/// Requests that we keep waiting for a peer, told in `reqq`.
pub(super) const REQUESTS_MAX: u32 = super::REQUESTS_MAX as u32;
/// Requests that a peer keeps that says nothing about it.
const REQUESTS_MAX_UNTOLD: u32 = 128;
/// The extension id under which we take metadata messages.
pub(super) const METADATA_ID: u8 = 1;
/// The extension id under which we take newer tickets.
pub(super) const TICKET_ID: u8 = 2;
/// Bytes in a ticket, and more: nobody makes us wait for a longer one.
const TICKET_LEN_MAX: usize = 256;
/// Silence between two messages: a keep-alive comes every two minutes (BEP 3).
const SILENCE_MAX: Duration = Duration::from_secs(150);
/// Bytes that nobody asked for, before the link is closed; taken-back requests account for some.
const UNWANTED_MAX: u64 = 64 << 20;
/// Bytes read from the stream at a time when no buffer takes them directly.
const READ_AHEAD: usize = 16 << 10;
/// How often a slow block's arrival is reported.
const ARRIVING: Duration = Duration::from_millis(500);

/// Says why a link ended, or did not come about.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("protocol violated: {0}")]
    Violation(&'static str),
    #[error("{0}")]
    Refused(&'static str),
}

/// Dials a device and serves the link until it ends.
///
/// # Errors
/// Only if no link came about.
pub(super) fn dial(torrent: &Arc<Torrent>, device: DeviceId, address: SocketAddr, dialling: Dialling) -> Result<(), LinkError> {
    let engine = &torrent.engine;
    let own = engine.host.ticket_for(torrent.info_hash, device).ok_or(LinkError::Refused("no ticket is at hand"))?;
    let started = Instant::now();
    let connection = engine.config.transport.dial(address, engine.config.bind_ip, HANDSHAKE_TIMEOUT, device)?;
    let delay = started.elapsed() / 3;
    let mut admission =
        engine.registry.admit(address.ip(), connection.clone()).ok_or(LinkError::Refused("too many links are up"))?;
    // Whom we dial is our own choice: the bounds are there against those who come.
    if !admission.trust() {
        return Err(LinkError::Refused("too many links are up"));
    }
    let mut reader = reader(&connection, started);
    write_message(&mut connection.writer(), &own)?;
    let shown = read_ticket(&mut reader)?;
    let proof = engine.host.check_ticket(&shown, device).filter(|proof| proof.group == own.claims.group);
    let proof = proof.ok_or(LinkError::Refused("the ticket it shows is worth nothing here"))?;
    let _share = engine.shares.dialled(device).ok_or(LinkError::Refused("enough links to that device are up"))?;
    let mut opening = Handshake::new(torrent.info_hash, PeerId::of_device(engine.device())).encode().to_vec();
    let knew = torrent.metainfo.get().is_some();
    our_extensions(torrent).encode(&mut opening);
    io::Write::write_all(&mut connection.writer(), &opening)?;
    let theirs = Handshake::read(&mut reader)?;
    if theirs.info_hash != torrent.info_hash {
        return Err(LinkError::Violation("it answers for another file"));
    }
    let extended = introduce(device, &mut reader, &theirs)?;
    let link = new_link(engine, (device, proof), true, &theirs, &extended, connection);
    let link = torrent.register(link, &[]).ok_or(LinkError::Refused("the link is not needed"))?;
    still_good(torrent, &link, &shown)?;
    if let Some(download) = torrent.state.lock().transfer.as_mut().and_then(|transfer| transfer.download.as_mut()) {
        download.delay_measured(link.key, delay);
    }
    if !knew {
        tell_metainfo(torrent, &link);
    }
    drop(dialling);
    serve(torrent, &link, reader, &extended);
    Ok(())
}

/// Serves an inbound connection until it ends. Calls `proven` when the peer turned out to be one; it tells whether there is room.
///
/// # Errors
/// Only if no link came about.
pub(super) fn accept(engine: &Arc<Inner>, incoming: Incoming, proven: impl FnOnce() -> bool) -> Result<(), LinkError> {
    let started = Instant::now();
    let (connection, device) = engine.config.transport.accept(incoming, HANDSHAKE_TIMEOUT)?;
    let mut reader = reader(&connection, started);
    let shown = read_ticket(&mut reader)?;
    let proof =
        engine.host.check_ticket(&shown, device).ok_or(LinkError::Refused("the ticket it shows is worth nothing here"))?;
    let _share = engine.shares.inbound(device, proof.user).ok_or(LinkError::Refused("enough links to its user are up"))?;
    let own = engine.host.own_ticket(proof.group).ok_or(LinkError::Refused("it is of a group that we are not in"))?;
    write_message(&mut connection.writer(), &own)?;
    let theirs = Handshake::read(&mut reader)?;
    // One answer for a file that is not here and for one that is not in that group.
    let torrent = engine.torrent(theirs.info_hash).filter(|_| engine.host.is_offered(theirs.info_hash, proof.group, device));
    let torrent = torrent.ok_or(LinkError::Refused("the file it asks for is not offered in that group"))?;
    let extended = introduce(device, &mut reader, &theirs)?;
    if !proven() {
        return Err(LinkError::Refused("too many links are up"));
    }
    let mut opening = Handshake::new(torrent.info_hash, PeerId::of_device(engine.device())).encode().to_vec();
    let knew = torrent.metainfo.get().is_some();
    our_extensions(&torrent).encode(&mut opening);
    let link = new_link(engine, (device, proof), false, &theirs, &extended, connection);
    let link = torrent.register(link, &opening).ok_or(LinkError::Refused("the link is not needed"))?;
    still_good(&torrent, &link, &shown)?;
    if !knew {
        tell_metainfo(&torrent, &link);
    }
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

/// Looks at the ticket again, now that whoever ends links finds this one: what was said meanwhile must not be missed.
fn still_good(torrent: &Arc<Torrent>, link: &Arc<Link>, shown: &Ticket) -> Result<(), LinkError> {
    let host = &torrent.engine.host;
    let is_offered = |proof: Proof| host.is_offered(torrent.info_hash, proof.group, link.device);
    let good = host.check_ticket(shown, link.device).is_some_and(is_offered);
    if !good {
        torrent.unregister(link);
        return Err(LinkError::Refused("its ticket was voided"));
    }
    Ok(())
}

/// The metainfo may have come while we shook hands: then the peer has not heard that we have it.
fn tell_metainfo(torrent: &Torrent, link: &Link) {
    if torrent.metainfo.get().is_some() && link.extensions {
        link.send(&our_extensions(torrent));
    }
}

/// The reader of a connection whose making began at `started`.
fn reader(connection: &Connection, started: Instant) -> BufReader<Reader> {
    let mut reader = connection.reader();
    reader.set_deadline(Some(started + HANDSHAKE_TIMEOUT));
    BufReader::with_capacity(READ_AHEAD, reader)
}

/// Learns what the other end can do. It says so at once, without waiting for our handshake.
fn introduce(device: DeviceId, reader: &mut BufReader<Reader>, theirs: &Handshake) -> Result<ExtendedHandshake, LinkError> {
    if !theirs.peer_id.matches(&device) || !theirs.has_extensions() {
        return Err(LinkError::Violation("its peer id is not that of its device, or it speaks no extensions"));
    }
    let Header::Message(PeerMessage::Extended { id: EXTENDED_HANDSHAKE_ID, payload }) = read_header(reader)? else {
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
    Link::new(key, peer, dialled, traits, theirs.has_extensions(), connection)
}

/// Requests that a peer is sent at a time, of those it says it keeps.
pub(super) fn requests_taken(told: u32) -> u32 {
    told.clamp(1, 2 * REQUESTS_MAX)
}

pub(super) fn our_extensions(torrent: &Torrent) -> PeerMessage {
    let config = &torrent.engine.config;
    let handshake = ExtendedHandshake {
        metadata_id: Some(METADATA_ID),
        metadata_size: torrent.dictionary().map(|bytes| bytes.len() as u64),
        requests_max: Some(REQUESTS_MAX),
        client: Some(concat!("Posse ", env!("CARGO_PKG_VERSION")).to_owned()),
        port: config.port.filter(|port| *port != 0),
        ticket_id: Some(TICKET_ID),
        block_len_max: Some(BLOCK_LEN_MAX),
    };
    PeerMessage::Extended { id: EXTENDED_HANDSHAKE_ID, payload: handshake.encode() }
}

/// Serves a registered link until it ends: starts its writer, reads, and drops it.
fn serve(torrent: &Arc<Torrent>, link: &Arc<Link>, reader: BufReader<Reader>, extended: &ExtendedHandshake) {
    /// Drops the link whatever ends its thread.
    struct Registered<'a>(&'a Arc<Torrent>, &'a Arc<Link>);
    impl Drop for Registered<'_> {
        fn drop(&mut self) {
            self.0.unregister(self.1);
        }
    }
    let _registered = Registered(torrent, link);
    let (writes, written) = (torrent.clone(), link.clone());
    let spawned = torrent.engine.threads.spawn("posse-link-w", move || {
        if let Err(e) = super::serve::write_loop(&writes, &written) {
            log::debug!("{}: writing ended: {e}", written.connection.peer_addr());
        }
        written.close();
    });
    if let Err(e) = spawned {
        log::warn!("{}: no thread for the link: {e}", link.connection.peer_addr());
        return;
    }
    let (chunks, bounds) = (HashMap::new(), Manners::new(torrent.geometry.piece_count()));
    let mut session = Session { torrent, link, reader, chunks, told_pieces: false, wanted: 0, unwanted: 0, manners: bounds };
    let ended = session.extended(extended).and_then(|()| session.run());
    if let Err(e) = ended {
        log::debug!("{}: link ended: {e}", link.connection.peer_addr());
    }
}

/// The reading end of a link.
pub(super) struct Session<'a> {
    pub(super) torrent: &'a Arc<Torrent>,
    pub(super) link: &'a Arc<Link>,
    reader: BufReader<Reader>,
    /// The pieces on their way, each in a buffer of its own.
    chunks: HashMap<PieceIndex, Buffer>,
    /// Whether the peer has said which pieces it has; it may once.
    told_pieces: bool,
    wanted: u64,
    unwanted: u64,
    pub(super) manners: Manners,
}

impl Session<'_> {
    fn run(&mut self) -> Result<(), LinkError> {
        loop {
            if self.reader.buffer().is_empty() {
                self.reader.get_mut().set_deadline(Some(Instant::now() + SILENCE_MAX));
                self.reader.fill_buf()?;
            }
            // What came before the link was closed and was not looked at is of no use any more.
            if self.link.is_closed() {
                return Ok(());
            }
            self.reader.get_mut().set_deadline(Some(Instant::now() + self.torrent.engine.config.message_timeout));
            let header = read_header(&mut self.reader);
            self.give_back();
            match header {
                Ok(Header::Piece { piece, begin, len }) => self.block(piece, begin, len)?,
                Ok(Header::Message(message)) => self.message(message)?,
                Err(PeerError::Closed) => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn message(&mut self, message: PeerMessage) -> Result<(), LinkError> {
        let link = self.link.key;
        self.manners.heard(&message, Instant::now()).map_err(LinkError::Violation)?;
        match message {
            PeerMessage::Choke => self.download(|download, now| download.choked(now, link)),
            PeerMessage::Unchoke => self.download(|download, now| download.unchoked(now, link)),
            PeerMessage::Interested => self.interested(true),
            PeerMessage::NotInterested => self.interested(false),
            PeerMessage::Have(number) => self.have(number)?,
            PeerMessage::Bitfield(bytes) => {
                let field = Bitfield::from_bytes(bytes, self.torrent.geometry.piece_count());
                self.pieces(field.map_err(|_| LinkError::Violation("its bitfield is not that of this file"))?)?;
            }
            PeerMessage::HaveAll => self.pieces(Bitfield::full(self.torrent.geometry.piece_count()))?,
            PeerMessage::HaveNone => self.pieces(Bitfield::empty(self.torrent.geometry.piece_count()))?,
            PeerMessage::Request { piece, begin, len } => {
                if !self.torrent.requested(self.link, piece, begin, len) {
                    self.manners.refused(Instant::now()).map_err(LinkError::Violation)?;
                }
            }
            PeerMessage::Cancel { piece, begin, len } => self.torrent.cancelled(self.link, piece, begin, len),
            PeerMessage::Suggest(number) => {
                if let Some(piece) = self.torrent.geometry.index(number.into()) {
                    self.download(|download, _| download.suggested(link, piece));
                }
            }
            PeerMessage::Reject { piece, begin, len } => {
                if let Some(span) = self.torrent.geometry.span(piece, begin, len) {
                    self.link.answered(span);
                    self.download(|download, now| download.block_rejected(now, link, span));
                }
            }
            PeerMessage::Extended { id, payload } => self.extension(id, &payload)?,
            PeerMessage::KeepAlive
            | PeerMessage::Port(_)
            | PeerMessage::AllowedFast(_)
            | PeerMessage::Piece { .. }
            | PeerMessage::Unknown { .. } => {}
        }
        Ok(())
    }

    /// Tells the download something and carries out what follows.
    pub(super) fn download(&self, tell: impl FnOnce(&mut Download, Duration)) {
        self.with(|state, now| {
            if let Some(download) = state.transfer.as_mut().and_then(|transfer| transfer.download.as_mut()) {
                tell(download, now);
            }
        });
    }

    fn with(&self, change: impl FnOnce(&mut State, Duration)) {
        let mut state = self.torrent.state.lock();
        let now = self.torrent.now();
        change(&mut state, now);
        self.torrent.drive(&mut state);
    }

    fn interested(&self, on: bool) {
        self.with(|state, now| state.choker.interested(now, self.link.key, on));
    }

    fn have(&mut self, number: u32) -> Result<(), LinkError> {
        self.told_pieces = true;
        let piece =
            self.torrent.geometry.index(number.into()).ok_or(LinkError::Violation("it has a piece that does not exist"))?;
        let link = self.link;
        self.with(|state, _| {
            if let Some(spreader) = &mut state.spreader {
                spreader.peer_have(link.key, piece);
            }
            if let Some(download) = state.transfer.as_mut().and_then(|transfer| transfer.download.as_mut()) {
                download.peer_have(link.key, piece);
                let whole =
                    download.link_stats(link.key).is_some_and(|stats| stats.pieces == self.torrent.geometry.piece_count());
                link.has_all.store(whole, Ordering::Relaxed);
            }
        });
        Ok(())
    }

    fn pieces(&mut self, field: Bitfield) -> Result<(), LinkError> {
        if std::mem::replace(&mut self.told_pieces, true) {
            return Err(LinkError::Violation("it says twice which pieces it has"));
        }
        let link = self.link;
        link.has_all.store(field.is_full(), Ordering::Relaxed);
        let mut useless = false;
        self.with(|state, _| {
            useless = field.is_full() && !state.wants_links();
            if let Some(spreader) = &mut state.spreader {
                match field.is_full() {
                    true => spreader.peer_has_all(link.key),
                    false => spreader.peer_bitfield(link.key, &field),
                }
            }
            if let Some(download) = state.transfer.as_mut().and_then(|transfer| transfer.download.as_mut()) {
                match (field.is_full(), field.is_empty()) {
                    (true, _) => download.peer_has_all(link.key),
                    (_, true) => download.peer_has_none(link.key),
                    _ => download.peer_bitfield(link.key, field),
                }
            }
        });
        if useless { Err(LinkError::Refused("both ends have the whole file")) } else { Ok(()) }
    }

    /// Takes a block into the buffer of its piece; one that nobody waits for is skipped.
    fn block(&mut self, number: u32, begin: u32, len: u32) -> Result<(), LinkError> {
        let span = self.torrent.geometry.span(number, begin, len).ok_or(LinkError::Violation("its block is not of this file"))?;
        if !self.link.wants(span.piece) {
            self.unasked(len)?;
            return Ok(skip(&mut self.reader, len)?);
        }
        let buffers = &self.torrent.engine.buffers;
        let whole = self.torrent.geometry.len_of(span.piece) as usize;
        let mut buffer = self.chunks.remove(&span.piece).unwrap_or_else(|| buffers.take(whole));
        self.fill(&mut buffer[begin as usize..(begin + len) as usize])?;
        self.link.answered(span);
        match self.block_came(span) {
            BlockFate::Completed => {
                self.wanted += u64::from(len);
                self.link.done(span.piece);
                let (torrent, link, piece) = (self.torrent.clone(), self.link.key, span.piece);
                self.torrent.engine.pool.put(Job::Verify { torrent, link, piece, buffer });
            }
            BlockFate::Accepted => {
                self.wanted += u64::from(len);
                self.chunks.insert(span.piece, buffer);
            }
            // It was taken back meanwhile, or came twice.
            BlockFate::Unwanted => {
                self.chunks.insert(span.piece, buffer);
                self.unasked(len)?;
            }
        }
        Ok(())
    }

    /// Counts what came and was of no use: a peer may send a little of it, for a request may be taken back while it is answered.
    fn unasked(&mut self, len: u32) -> Result<(), LinkError> {
        self.unwanted += u64::from(len);
        match self.unwanted > UNWANTED_MAX + self.wanted {
            true => Err(LinkError::Violation("it sends what nobody asked for")),
            false => Ok(()),
        }
    }

    /// Gives back the buffers of pieces that are not asked for any more. A peer that begins pieces and never ends them must not hold memory.
    fn give_back(&mut self) {
        if !self.chunks.is_empty() {
            let link = self.link;
            self.chunks.retain(|piece, _| link.wants(*piece));
        }
    }

    fn block_came(&self, span: crate::types::Span) -> BlockFate {
        let mut state = self.torrent.state.lock();
        let (now, link) = (self.torrent.now(), self.link.key);
        state.choker.received(now, link, span.len.into());
        let Some(download) = state.transfer.as_mut().and_then(|transfer| transfer.download.as_mut()) else {
            return BlockFate::Unwanted;
        };
        let fate = download.block_received(now, link, span);
        let more = download.more_requests(now, link);
        self.link.request(&more);
        self.torrent.drive(&mut state);
        fate
    }

    /// Reads a block's data, and says now and then that it is coming.
    fn fill(&mut self, mut rest: &mut [u8]) -> Result<(), LinkError> {
        let mut reported = None;
        while !rest.is_empty() {
            match self.reader.read(rest) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(_) if self.link.is_closed() => return Err(io::Error::from(io::ErrorKind::ConnectionAborted).into()),
                Ok(len) => rest = &mut rest[len..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
            let now = Instant::now();
            if now.duration_since(*reported.get_or_insert(now)) > ARRIVING {
                reported = Some(now);
                let link = self.link.key;
                self.download(|download, now| download.data_arriving(now, link));
            }
        }
        Ok(())
    }
}
