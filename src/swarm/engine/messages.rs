//! A link from its registration to its end: what its reader makes of each message.
//!
//! **Invariant:** a block's data goes from the stream into the buffer of its piece, which exists
//! only if we asked for it.
//!
//! Runs on the link's own thread and blocks until the link ends; a second thread writes
//! ([`super::upload`]).

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::record::Checked;
use super::torrent::{Torrent, TorrentState};
use crate::swarm::disk::buffers::Buffer;
use crate::swarm::link::handshake::{CHAIN_ID, LinkError, METADATA_ID, TICKET_ID, requests_taken};
use crate::swarm::link::reader::LinkReader;
use crate::swarm::link::{Link, PartsOf};
use crate::swarm::serve::message_limiter::MessageLimiter;
use crate::swarm::{BlockFate, Download};
use crate::types::limits::BLOCK_LEN_MAX;
use crate::types::{Bitfield, PieceIndex, Span, Ticket};
use crate::wire::Wire;
use crate::wire::peer::{
    EXTENDED_HANDSHAKE_ID, ExtendedHandshake, Header, MetadataMessage, PeerError, PeerMessage,
};

/// Bytes that were not asked for, before the link is closed; taken-back requests account for some.
const UNWANTED_MAX: u64 = 64 << 20;

/// Serves a registered link until it ends: starts its writer, and reads.
pub(super) fn serve(
    torrent: &Arc<Torrent>,
    link: &Arc<Link>,
    reader: LinkReader,
    extended: &ExtendedHandshake,
) {
    let (to_write, written) = (torrent.clone(), link.clone());
    let spawned = torrent.services.of_links.write.begin(move || {
        if let Err(e) = super::upload::write_loop(&to_write, &written) {
            log::debug!("{}: writing ended: {e}", written.connection.peer_addr());
        }
        written.close();
    });
    if let Err(e) = spawned {
        log::warn!("{}: no thread for the link: {e}", link.connection.peer_addr());
        return;
    }
    let mut handler = MessageHandler {
        torrent,
        link,
        chunks: HashMap::new(),
        told_pieces: false,
        wanted: 0,
        unwanted: 0,
        limiter: MessageLimiter::new(torrent.geometry.piece_count()),
    };
    if let Err(e) = handler.extended(extended).and_then(|()| handler.run(reader)) {
        log::debug!("{}: link ended: {e}", link.connection.peer_addr());
    }
}

/// The state of a link's reader.
struct MessageHandler<'a> {
    torrent: &'a Arc<Torrent>,
    link: &'a Arc<Link>,
    /// The pieces on their way, each in a buffer of its own.
    chunks: HashMap<PieceIndex, Buffer>,
    /// Whether the peer has said which pieces it has; it may once.
    told_pieces: bool,
    wanted: u64,
    unwanted: u64,
    limiter: MessageLimiter,
}

impl MessageHandler<'_> {
    fn run(&mut self, mut reader: LinkReader) -> Result<(), LinkError> {
        while let Some(header) = reader.next_header()? {
            self.give_back_buffers();
            match header {
                Header::Piece { piece, begin, len } => {
                    self.block(&mut reader, piece, begin, len)?;
                }
                Header::Message(message) => self.message(message)?,
            }
        }
        Ok(())
    }

    fn message(&mut self, message: PeerMessage) -> Result<(), LinkError> {
        let (link, geometry) = (self.link.key, self.torrent.geometry);
        self.limiter.count(&message, Instant::now()).map_err(LinkError::Violation)?;
        match message {
            PeerMessage::Choke => self.download(|download, now| download.choked(now, link)),
            PeerMessage::Unchoke => self.download(|download, now| download.unchoked(now, link)),
            PeerMessage::Interested => self.set_interested(true),
            PeerMessage::NotInterested => self.set_interested(false),
            PeerMessage::Have(number) => self.have(number)?,
            PeerMessage::Bitfield(bytes) => {
                let field = Bitfield::from_bytes(bytes, geometry.piece_count());
                self.pieces(
                    field.map_err(|_| {
                        LinkError::Violation("its bitfield is not that of this file")
                    })?,
                )?;
            }
            PeerMessage::HaveAll => self.pieces(Bitfield::full(geometry.piece_count()))?,
            PeerMessage::HaveNone => self.pieces(Bitfield::empty(geometry.piece_count()))?,
            PeerMessage::Request { piece, begin, len } => {
                if !self.request(piece, begin, len) {
                    self.limiter.count_refusal(Instant::now()).map_err(LinkError::Violation)?;
                }
            }
            PeerMessage::Cancel { piece, begin, len } => {
                if let Some(span) = geometry.span(piece, begin, len) {
                    self.cancel(span);
                }
            }
            PeerMessage::Suggest(number) => {
                if let Some(piece) = geometry.index(number.into()) {
                    self.download(|download, _| download.suggested(link, piece));
                }
            }
            PeerMessage::Reject { piece, begin, len } => {
                if let Some(span) = geometry.span(piece, begin, len) {
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

    fn download(&self, tell: impl FnOnce(&mut Download, Duration)) {
        self.change(|state, now| {
            if let Some(download) = state.download() {
                tell(download, now);
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut TorrentState, Duration)) {
        let mut state = self.torrent.state.lock();
        change(&mut state, self.torrent.now());
        self.torrent.drive(&mut state);
    }

    fn set_interested(&self, is_interested: bool) {
        // On a one-way link the peer never waits for a slot, so every request of it is refused.
        if !self.link.one_way {
            self.change(|state, now| {
                state.uploads.set_interested(now, self.link.key, is_interested);
            });
        }
    }

    fn have(&mut self, number: u32) -> Result<(), LinkError> {
        self.told_pieces = true;
        let geometry = self.torrent.geometry;
        let piece = geometry
            .index(number.into())
            .ok_or(LinkError::Violation("it has a piece that does not exist"))?;
        let link = self.link;
        self.change(|state, _| {
            state.uploads.peer_have(link.key, piece);
            if let Some(download) = state.download() {
                download.peer_have(link.key, piece);
                let pieces = download.link_stats(link.key).map(|stats| stats.pieces);
                state.links.set_has_all(link, pieces == Some(geometry.piece_count()));
            }
        });
        Ok(())
    }

    fn pieces(&mut self, field: Bitfield) -> Result<(), LinkError> {
        if std::mem::replace(&mut self.told_pieces, true) {
            return Err(LinkError::Violation("it says twice which pieces it has"));
        }
        let link = self.link;
        let mut is_useless = false;
        self.change(|state, _| {
            is_useless = field.is_full() && !state.wants_links();
            state.links.set_has_all(link, field.is_full());
            state.uploads.peer_bitfield(link.key, &field);
            if let Some(download) = state.download() {
                match (field.is_full(), field.is_empty()) {
                    (true, _) => download.peer_has_all(link.key),
                    (_, true) => download.peer_has_none(link.key),
                    _ => download.peer_bitfield(link.key, field),
                }
            }
        });
        if is_useless { Err(LinkError::Refused("both ends have the whole file")) } else { Ok(()) }
    }

    /// The peer asks for a block; false if it will not get it.
    fn request(&self, piece: u32, begin: u32, len: u32) -> bool {
        let (torrent, link) = (self.torrent, self.link);
        let span = torrent.geometry.span(piece, begin, len).filter(|s| s.len <= BLOCK_LEN_MAX);
        let Some(span) = span.filter(|_| !link.one_way) else {
            link.reject_raw(piece, begin, len);
            return false;
        };
        let mut state = torrent.state.lock();
        let (piece_len, has_piece) = (torrent.geometry.len_of(span.piece), state.has(span.piece));
        let now = torrent.now();
        let is_accepted = state.uploads.request(now, link.key, span, piece_len, has_piece);
        match is_accepted {
            true => torrent.drive(&mut state),
            false => link.reject(span),
        }
        is_accepted
    }

    /// The peer takes a request back; a block that is being sent comes nevertheless.
    fn cancel(&self, span: Span) {
        let mut state = self.torrent.state.lock();
        if state.uploads.cancel(self.link.key, span) {
            self.link.reject(span);
            self.torrent.drive(&mut state);
        }
    }

    fn extension(&mut self, id: u8, payload: &[u8]) -> Result<(), LinkError> {
        match id {
            EXTENDED_HANDSHAKE_ID => {
                self.extended(&ExtendedHandshake::decode(payload).map_err(PeerError::from)?)
            }
            METADATA_ID => self.part(PartsOf::Metainfo, payload),
            CHAIN_ID => self.part(PartsOf::Chain, payload),
            TICKET_ID => self.newer_ticket(payload),
            _ => Ok(()),
        }
    }

    fn part(&mut self, of: PartsOf, payload: &[u8]) -> Result<(), LinkError> {
        let message = MetadataMessage::decode(payload).map_err(PeerError::from)?;
        if matches!(message, MetadataMessage::Request { .. }) {
            self.limiter.count_part().map_err(LinkError::Violation)?;
        }
        self.torrent.part_message(self.link, of, message);
        Ok(())
    }

    /// The peer shows a ticket that lasts longer. It must be of the same user and group: the link
    /// rests on these.
    fn newer_ticket(&mut self, payload: &[u8]) -> Result<(), LinkError> {
        self.limiter.count_ticket(Instant::now()).map_err(LinkError::Violation)?;
        let ticket = Ticket::from_bytes(payload).map_err(PeerError::from)?;
        let proof = self.torrent.services.host.check_ticket(&ticket, self.link.device);
        let old = self.link.proof();
        match proof {
            Some(proof) if (proof.group, proof.user) == (old.group, old.user) => {
                if proof.expires > old.expires {
                    self.link.set_proof(proof);
                }
                Ok(())
            }
            _ => Err(LinkError::Refused("the newer ticket it shows is worth nothing here")),
        }
    }

    fn extended(&self, told: &ExtendedHandshake) -> Result<(), LinkError> {
        self.link.set_part_ids(told.metadata_id, told.chain_id);
        self.link.set_ticket_id(told.ticket_id);
        if let Some(requests_max) = told.requests_max {
            self.download(|download, _| {
                download.requests_allowed(self.link.key, requests_taken(requests_max));
            });
        }
        self.torrent.note_offered_parts(self.link, told);
        Ok(())
    }

    /// Takes a block into the buffer of its piece; one that is not wanted is skipped.
    fn block(
        &mut self,
        reader: &mut LinkReader,
        number: u32,
        begin: u32,
        len: u32,
    ) -> Result<(), LinkError> {
        let (torrent, link) = (self.torrent, self.link);
        let span = torrent
            .geometry
            .span(number, begin, len)
            .ok_or(LinkError::Violation("its block is not of this file"))?;
        let piece = span.piece;
        if !link.wants(piece) {
            self.count_unwanted(len)?;
            return reader.skip_block(len);
        }
        let mut buffer = self.chunks.remove(&piece).unwrap_or_else(|| {
            self.download(|download, _| download.piece_arriving(link.key, piece));
            torrent.services.buffers.take(torrent.geometry.len_of(piece) as usize)
        });
        reader.read_block(&mut buffer[begin as usize..(begin + len) as usize], |came| {
            self.download(|download, now| download.data_arriving(now, link.key, piece, came));
        })?;
        link.answered(span);
        let fate = torrent.block_received(link, span);
        match fate {
            BlockFate::Completed => {
                link.done(piece);
                hash_later(torrent, link, piece, buffer);
            }
            BlockFate::Accepted | BlockFate::Unwanted => _ = self.chunks.insert(piece, buffer),
        }
        match fate {
            // It was taken back meanwhile, or came twice.
            BlockFate::Unwanted => self.count_unwanted(len)?,
            BlockFate::Completed | BlockFate::Accepted => {
                self.wanted += u64::from(len);
                link.has_brought.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Counts bytes that are of no use: a peer may send a few, for a request may be taken back
    /// while it is answered.
    fn count_unwanted(&mut self, len: u32) -> Result<(), LinkError> {
        self.unwanted += u64::from(len);
        match self.unwanted > UNWANTED_MAX + self.wanted {
            true => Err(LinkError::Violation("it sends what nobody asked for")),
            false => Ok(()),
        }
    }

    /// Gives back the buffers of pieces that are not asked for any more: a peer that begins pieces
    /// and never ends them must not hold memory.
    fn give_back_buffers(&mut self) {
        if !self.chunks.is_empty() {
            let link = self.link;
            self.chunks.retain(|piece, _| link.wants(*piece));
        }
    }
}

/// Has a worker of the pool hash a piece, and hand it to the download's thread.
///
/// # Blocking
/// While the pool's queue is full.
fn hash_later(torrent: &Arc<Torrent>, link: &Link, piece: PieceIndex, buffer: Buffer) {
    let (hashing, link) = (torrent.clone(), link.key);
    torrent.services.pool.put(Box::new(move || {
        let hash = || {
            let (checker, writer) = hashing.checker()?;
            let finding = checker.check(piece, &buffer);
            // A download that has ended meanwhile does not want it.
            writer.send(Checked { link, piece, buffer, finding }).ok()
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(hash)) {
            // Without a verdict the piece would be under check for ever.
            hashing.check_failed();
            resume_unwind(panic);
        }
    }));
}
