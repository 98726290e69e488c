//! A link from its registration ([`crate::swarm::engine::opening`]) to its end: what its reader makes of each
//! message.
//!
//! **Invariant:** a block's data goes from the stream into the buffer of its piece, which exists
//! only if we asked for it. A peer may be silent for long, but a message that has begun must be
//! there within a minute; and nothing is done any more for a link that was closed.
//!
//! Runs on the link's own thread; a second thread writes. Blocks until the link ends.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::net::Reader;
use crate::swarm::disk::buffers::Buffer;
use crate::swarm::engine::pool::Job;
use crate::swarm::engine::torrent::{State, Torrent};
use crate::swarm::engine::verify::Check;
use crate::swarm::link::Link;
use crate::swarm::serve::message_limiter::Manners;
use crate::swarm::{BlockFate, Download};
use crate::types::{Bitfield, PieceIndex};
use crate::wire::peer::{ExtendedHandshake, Header, PeerError, PeerMessage, read_header, skip};

/// Requests that we keep waiting for a peer, told in `reqq`.
pub(crate) const REQUESTS_MAX: u32 = crate::swarm::REQUESTS_MAX as u32;
/// The extension id under which we take metadata messages.
pub(crate) const METADATA_ID: u8 = 1;
/// The extension id under which we take messages about chaining values.
pub(crate) const CHAIN_ID: u8 = 3;
/// The extension id under which we take newer tickets.
pub(crate) const TICKET_ID: u8 = 2;
/// Silence between two messages: a keep-alive comes every two minutes (BEP 3).
const SILENCE_MAX: Duration = Duration::from_secs(150);
/// Bytes that nobody asked for, before the link is closed; taken-back requests account for some.
const UNWANTED_MAX: u64 = 64 << 20;
/// How often a slow block's arrival is reported.
const ARRIVING: Duration = Duration::from_millis(500);

/// Says why a link ended, or did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("protocol violated: {0}")]
    Violation(&'static str),
    #[error("{0}")]
    Refused(&'static str),
    /// Nothing that is that device answers there.
    #[error("{0}")]
    Unreachable(io::Error),
}

/// Requests that a peer is sent at a time, of those it says it keeps.
pub(crate) fn requests_taken(told: u32) -> u32 {
    told.clamp(1, 2 * REQUESTS_MAX)
}

/// Serves a registered link until it ends: starts its writer, reads, and drops it.
pub(crate) fn serve(
    torrent: &Arc<Torrent>,
    link: &Arc<Link>,
    reader: BufReader<Reader>,
    extended: &ExtendedHandshake,
) {
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
        if let Err(e) = crate::swarm::engine::upload::write_loop(&writes, &written) {
            log::debug!("{}: writing ended: {e}", written.connection.peer_addr());
        }
        written.close();
    });
    if let Err(e) = spawned {
        log::warn!("{}: no thread for the link: {e}", link.connection.peer_addr());
        return;
    }
    let (chunks, bounds) = (HashMap::new(), Manners::new(torrent.geometry.piece_count()));
    let mut session = Session {
        torrent,
        link,
        reader,
        chunks,
        told_pieces: false,
        wanted: 0,
        unwanted: 0,
        manners: bounds,
    };
    let ended = session.extended(extended).and_then(|()| session.run());
    if let Err(e) = ended {
        log::debug!("{}: link ended: {e}", link.connection.peer_addr());
    }
}

/// The reading end of a link.
pub(crate) struct Session<'a> {
    pub(crate) torrent: &'a Arc<Torrent>,
    pub(crate) link: &'a Arc<Link>,
    reader: BufReader<Reader>,
    /// The pieces on their way, each in a buffer of its own.
    chunks: HashMap<PieceIndex, Buffer>,
    /// Whether the peer has said which pieces it has; it may once.
    told_pieces: bool,
    wanted: u64,
    unwanted: u64,
    pub(crate) manners: Manners,
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
            self.reader
                .get_mut()
                .set_deadline(Some(Instant::now() + self.torrent.engine.config.message_timeout));
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
                self.pieces(
                    field.map_err(|_| {
                        LinkError::Violation("its bitfield is not that of this file")
                    })?,
                )?;
            }
            PeerMessage::HaveAll => {
                self.pieces(Bitfield::full(self.torrent.geometry.piece_count()))?
            }
            PeerMessage::HaveNone => {
                self.pieces(Bitfield::empty(self.torrent.geometry.piece_count()))?
            }
            PeerMessage::Request { piece, begin, len } => {
                if !self.torrent.requested(self.link, piece, begin, len) {
                    self.manners.refused(Instant::now()).map_err(LinkError::Violation)?;
                }
            }
            PeerMessage::Cancel { piece, begin, len } => {
                self.torrent.cancelled(self.link, piece, begin, len)
            }
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
    pub(crate) fn download(&self, tell: impl FnOnce(&mut Download, Duration)) {
        self.with(|state, now| {
            if let Some(download) =
                state.transfer.as_mut().and_then(|transfer| transfer.download.as_mut())
            {
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
        // Whoever is not to be served never waits for a slot, so none is given, and every request
        // is refused.
        if self.link.one_way {
            return;
        }
        self.with(|state, now| state.choker.interested(now, self.link.key, on));
    }

    fn have(&mut self, number: u32) -> Result<(), LinkError> {
        self.told_pieces = true;
        let piece = self
            .torrent
            .geometry
            .index(number.into())
            .ok_or(LinkError::Violation("it has a piece that does not exist"))?;
        let link = self.link;
        self.with(|state, _| {
            if let Some(spreader) = &mut state.spreader {
                spreader.peer_have(link.key, piece);
            }
            if let Some(download) =
                state.transfer.as_mut().and_then(|transfer| transfer.download.as_mut())
            {
                download.peer_have(link.key, piece);
                let whole = download
                    .link_stats(link.key)
                    .is_some_and(|stats| stats.pieces == self.torrent.geometry.piece_count());
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
            if let Some(download) =
                state.transfer.as_mut().and_then(|transfer| transfer.download.as_mut())
            {
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
        let span = self
            .torrent
            .geometry
            .span(number, begin, len)
            .ok_or(LinkError::Violation("its block is not of this file"))?;
        if !self.link.wants(span.piece) {
            self.unasked(len)?;
            return Ok(skip(&mut self.reader, len)?);
        }
        let buffers = &self.torrent.engine.buffers;
        let whole = self.torrent.geometry.len_of(span.piece) as usize;
        let mut buffer = self.chunks.remove(&span.piece).unwrap_or_else(|| {
            self.download(|download, _| download.piece_arriving(self.link.key, span.piece));
            buffers.take(whole)
        });
        self.fill(span.piece, &mut buffer[begin as usize..(begin + len) as usize])?;
        self.link.answered(span);
        match self.block_came(span) {
            BlockFate::Completed => {
                self.wanted += u64::from(len);
                self.link.done(span.piece);
                let check = Check { link: self.link.key, piece: span.piece, buffer };
                self.torrent.engine.pool.put(Job::Verify(self.torrent.clone(), check));
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

    /// Counts what came and was of no use: a peer may send a little of it, for a request may be
    /// taken back while it is answered.
    fn unasked(&mut self, len: u32) -> Result<(), LinkError> {
        self.unwanted += u64::from(len);
        match self.unwanted > UNWANTED_MAX + self.wanted {
            true => Err(LinkError::Violation("it sends what nobody asked for")),
            false => Ok(()),
        }
    }

    /// Gives back the buffers of pieces that are not asked for any more. A peer that begins pieces
    /// and never ends them must not hold memory.
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
        let Some(download) =
            state.transfer.as_mut().and_then(|transfer| transfer.download.as_mut())
        else {
            return BlockFate::Unwanted;
        };
        let fate = download.block_received(now, link, span);
        let more = download.more_requests(now, link);
        self.torrent.request(self.link, &more);
        self.torrent.drive(&mut state);
        fate
    }

    /// Reads a block's data, and says now and then that it is coming.
    fn fill(&mut self, piece: PieceIndex, mut rest: &mut [u8]) -> Result<(), LinkError> {
        let mut reported = None;
        while !rest.is_empty() {
            match self.reader.read(rest) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(_) if self.link.is_closed() => {
                    return Err(io::Error::from(io::ErrorKind::ConnectionAborted).into());
                }
                Ok(len) => rest = &mut rest[len..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
            let now = Instant::now();
            if now.duration_since(*reported.get_or_insert(now)) > ARRIVING {
                reported = Some(now);
                let link = self.link.key;
                self.download(|download, now| download.data_arriving(now, link, piece));
            }
        }
        Ok(())
    }
}
