//! Serving others: a link's writer, the blocks it sends, and the parts of the metainfo.
//!
//! **Invariant:** a block is served only if it is wholly inside a piece that we have, was asked for
//! while the peer was not choked or belongs to the piece that was begun before, and is read from a
//! file that is still the one that was hashed. Nothing is served on a one-way link. Shared files
//! are only ever read.
//!
//! [`write_loop`] runs on the link's writer thread and blocks on the socket and the disk; the rest
//! takes the torrent's lock briefly.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::swarm::api::{EngineEvent, SeedSpec};
use crate::swarm::disk::seed_files::SeedError;
use crate::swarm::engine::torrent::{State, Torrent};
use crate::swarm::link::{Link, Work};
use crate::types::limits::BLOCK_LEN_MAX;
use crate::types::{ChainingValues, Span};
use crate::wire::metainfo::Metainfo;
use crate::wire::peer::{PIECE_HEADER_LEN, piece_header};

/// Bytes of blocks gathered into one write.
const BATCH_LEN: u32 = 256 << 10;
/// Blocks gathered into one write.
const BATCH_COUNT: usize = 64;
/// Devices whose share of the upload is remembered.
const SENT_TO_MAX: usize = 1000;

/// Sends what is queued on a link, then blocks, until it is closed.
pub(crate) fn write_loop(torrent: &Arc<Torrent>, link: &Link) -> io::Result<()> {
    let mut writer = link.connection.writer();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let Work::Send { uploads } = link.next_work(&mut bytes) else { return Ok(()) };
        writer.write_all(&bytes)?;
        // A bitfield or metainfo made it large: give that back.
        bytes.shrink_to(4096);
        if uploads && serve_batch(torrent, link, &mut writer)? {
            link.serve();
        }
    }
}

/// Serves the next few requests; false if there were none.
fn serve_batch(torrent: &Arc<Torrent>, link: &Link, writer: &mut impl Write) -> io::Result<bool> {
    let Some(turn) = torrent.upload_turn(link, writer)? else {
        torrent.end_turn(link);
        return Ok(false);
    };
    let spans = torrent.next_uploads(link, turn.batch_len(BATCH_LEN));
    // A link that was ended gets nothing more, not even what was chosen already.
    if spans.is_empty() || link.is_closed() {
        return Ok(false);
    }
    let len: usize = spans.iter().map(|span| PIECE_HEADER_LEN + span.len as usize).sum();
    let mut batch = torrent.engine.buffers.take(len);
    let mut rest = &mut batch[..];
    for span in &spans {
        let (head, tail) = rest.split_at_mut(PIECE_HEADER_LEN);
        head.copy_from_slice(&piece_header(span.piece.get(), span.begin, span.len));
        let (data, tail) = tail.split_at_mut(span.len as usize);
        torrent.read(*span, data)?;
        rest = tail;
    }
    turn.write(link, &batch, &mut |portion| writer.write_all(portion))?;
    torrent.served(link, spans.iter().map(|span| u64::from(span.len)).sum());
    Ok(true)
}

impl Torrent {
    /// A peer asks for a block; false if it will not get it.
    pub(crate) fn requested(
        self: &Arc<Self>,
        link: &Link,
        piece: u32,
        begin: u32,
        len: u32,
    ) -> bool {
        let Some(span) =
            self.geometry.span(piece, begin, len).filter(|span| span.len <= BLOCK_LEN_MAX)
        else {
            link.reject_raw(piece, begin, len);
            return false;
        };
        if link.one_way {
            link.reject(span);
            return false;
        }
        let mut state = self.state.lock();
        let now = self.now();
        state.choker.requested(link.key);
        let may = state.choker.is_unchoked(link.key)
            || state.order.may_finish(now, link.key, span, self.geometry.len_of(span.piece));
        if !may || !state.has(span.piece) || !state.order.push(link.key, span) {
            link.reject(span);
            return false;
        }
        if let Some(spreader) = &mut state.spreader {
            spreader.requested(link.key, span.piece);
        }
        if state.order.is_turn_of(link.key) {
            // Its writer may have found nothing to send just now.
            link.serve();
        }
        self.drive(&mut state);
        true
    }

    /// A peer takes a request back; one that is being served comes nevertheless.
    pub(crate) fn cancelled(self: &Arc<Self>, link: &Link, piece: u32, begin: u32, len: u32) {
        let Some(span) = self.geometry.span(piece, begin, len) else { return };
        let mut state = self.state.lock();
        if state.order.cancel(link.key, span) {
            link.reject(span);
            if let Some(spreader) = &mut state.spreader {
                spreader.withdrawn(link.key, span.piece);
            }
            self.drive(&mut state);
        }
    }

    /// The next blocks of the piece that is sent in the link's turn; none if it is not its turn, or
    /// no longer.
    fn next_uploads(&self, link: &Link, batch_len: u32) -> Vec<Span> {
        let mut state = self.state.lock();
        if state.order.is_contended() {
            link.keep_order();
        }
        let (mut spans, mut len) = (Vec::new(), 0);
        while len < batch_len && spans.len() < BATCH_COUNT {
            let Some(span) = state.order.next_for(link.key) else { break };
            len += span.len;
            spans.push(span);
        }
        if spans.is_empty() {
            state.order.end(link.key);
            self.give_turns(&mut state);
        }
        spans
    }

    /// There is nothing to send in the link's turn: it is another's. Unless something was asked for
    /// meanwhile.
    fn end_turn(&self, link: &Link) {
        let mut state = self.state.lock();
        match state.order.next_len(link.key) {
            Some(_) => link.serve(),
            None => {
                state.order.end(link.key);
                self.give_turns(&mut state);
            }
        }
    }

    fn served(self: &Arc<Self>, link: &Link, len: u64) {
        link.sent.fetch_add(len, Ordering::Relaxed);
        let mut state = self.state.lock();
        let now = self.now();
        state.choker.sent(now, link.key, len);
        state.order.sent(len);
        state.sent += len;
        let State { sent_to, .. } = &mut *state;
        if sent_to.len() < SENT_TO_MAX || sent_to.contains_key(&link.device) {
            *sent_to.entry(link.device).or_default() += len;
        }
        self.drive(&mut state);
    }

    /// Reads from the shared file, or from the download in progress.
    fn read(self: &Arc<Self>, span: Span, data: &mut [u8]) -> io::Result<()> {
        let (seed, part) = {
            let state = self.state.lock();
            (state.seed.clone(), state.transfer.as_ref().and_then(|transfer| transfer.part.clone()))
        };
        let offset = self.geometry.offset(span.piece) + u64::from(span.begin);
        let Some(seed) = seed else {
            return part.ok_or(io::ErrorKind::NotFound)?.read(data, offset);
        };
        match self.engine.files.read(self.info_hash, &seed, data, offset) {
            Ok(()) => Ok(()),
            Err(SeedError::Io(e)) => {
                log::warn!("cannot read {}: {e}", seed.path.display());
                Err(e)
            }
            Err(SeedError::Changed) => {
                self.seed_changed(&seed);
                Err(io::ErrorKind::InvalidData.into())
            }
        }
    }

    /// The shared file is not what was hashed: it is offered no more.
    pub(crate) fn seed_changed(&self, seed: &SeedSpec) {
        log::warn!(
            "{} is not the file that was shared any more; it is not offered",
            seed.path.display()
        );
        if self.engine.unseed(self.info_hash) {
            self.engine.files.forget(self.info_hash);
            self.engine.host.event(EngineEvent::FileChanged {
                info_hash: self.info_hash,
                path: seed.path.clone(),
            });
        }
    }

    /// The file's chaining values, if we have them and there are any.
    pub(crate) fn chaining_values(&self) -> Option<Arc<ChainingValues>> {
        let state = self.state.lock();
        let seeded = state.seed.as_ref().and_then(|seed| seed.chain.as_ref());
        let chain = state.transfer.as_ref().and_then(|transfer| transfer.chain.as_ref());
        let values = seeded.or(chain.map(|chain| chain.values()));
        values.filter(|values| !values.values().is_empty()).cloned()
    }

    /// The encoded metainfo, kept while there are links; `None` while we do not have it.
    pub(crate) fn dictionary(&self) -> Option<Arc<Vec<u8>>> {
        let metainfo = self.metainfo.get()?;
        if let Some(bytes) = &self.state.lock().dictionary {
            return Some(bytes.clone());
        }
        let bytes = Arc::new(Metainfo::to_bytes(metainfo));
        self.state.lock().dictionary = Some(bytes.clone());
        Some(bytes)
    }
}
