//! The writing end of a link: queued messages, then the blocks that the peer asked for.
//!
//! **Invariant:** a block is sent only if it is wholly inside a piece that we have, was asked for
//! while the peer was not choked or belongs to the piece that was begun before, and is read from
//! the file that was hashed. Nothing is served on a one-way link.
//!
//! Runs on the link's writer thread; blocks on the socket, the disk and the upload limit.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::torrent::Torrent;
use crate::net::Writer;
use crate::swarm::disk::seed_files::SeedError;
use crate::swarm::link::limiter::upload::SendLease;
use crate::swarm::link::{Link, Work};
use crate::types::Span;
use crate::wire::peer::{PIECE_HEADER_LEN, piece_header};

/// Bytes of blocks gathered into one write.
const BATCH_LEN: u32 = 256 << 10;
/// A link on which a write takes so long is written to in small portions, so that its rate is known
/// while it sends.
const SLOW_WRITE: Duration = Duration::from_millis(250);
/// Bytes in such a portion: one record of TLS.
const SLOW_PORTION_LEN: usize = 16 << 10;

/// Sends what is queued on a link, then blocks, until the link is closed.
///
/// # Errors
/// The connection's, and those of reading the file.
pub(super) fn write_loop(torrent: &Arc<Torrent>, link: &Link) -> io::Result<()> {
    let stream = link.connection.writer();
    let mut upload = Upload { torrent, link, stream, is_slow: false };
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let Work::Send { uploads } = link.next_work(&mut bytes) else { return Ok(()) };
        upload.stream.write_all(&bytes)?;
        // A bitfield or metainfo made it large: give that back.
        bytes.shrink_to(4096);
        if uploads && upload.serve_batch()? {
            link.serve();
        }
    }
}

struct Upload<'a> {
    torrent: &'a Arc<Torrent>,
    link: &'a Link,
    stream: Writer,
    /// The last write took long.
    is_slow: bool,
}

impl<'a> Upload<'a> {
    /// Serves the next few requests; false if there were none.
    fn serve_batch(&mut self) -> io::Result<bool> {
        let (torrent, link) = (self.torrent, self.link);
        let Some(lease) = self.lease()? else {
            self.end_turn();
            return Ok(false);
        };
        let spans = self.next_batch(lease.batch_len(BATCH_LEN));
        // A closed link gets nothing more, not even what was chosen already.
        if spans.is_empty() || link.is_closed() {
            return Ok(false);
        }
        let len: usize = spans.iter().map(|span| PIECE_HEADER_LEN + span.len as usize).sum();
        let mut batch = torrent.services.buffers.take(len);
        let mut rest = &mut batch[..];
        link.is_reading.store(true, Ordering::Relaxed);
        for span in &spans {
            let (head, tail) = rest.split_at_mut(PIECE_HEADER_LEN);
            head.copy_from_slice(&piece_header(span.piece.get(), span.begin, span.len));
            let (data, tail) = tail.split_at_mut(span.len as usize);
            self.read(*span, data)?;
            rest = tail;
        }
        link.is_reading.store(false, Ordering::Relaxed);
        lease.write(link, &batch, &mut |portion| self.write(portion))?;
        self.sent(spans.iter().map(|span| u64::from(span.len)).sum());
        Ok(true)
    }

    /// Sends bytes of blocks, and counts them as they go.
    fn write(&mut self, portion: &[u8]) -> io::Result<()> {
        let begun = Instant::now();
        let len = if self.is_slow { SLOW_PORTION_LEN } else { portion.len().max(1) };
        for part in portion.chunks(len) {
            self.stream.write_all(part)?;
            self.link.flowed.fetch_add(part.len() as u64, Ordering::Relaxed);
        }
        self.is_slow = begun.elapsed() > SLOW_WRITE;
        Ok(())
    }

    /// Waits until blocks may be sent, and sends other messages meanwhile. `None`: no block is
    /// asked for.
    fn lease(&mut self) -> io::Result<Option<SendLease<'a>>> {
        let (torrent, link) = (self.torrent, self.link);
        let limiter = &torrent.services.limiter.upload;
        let len = match limiter.is_limited() {
            true => torrent.state.lock().uploads.next_len(link.key),
            false => Some(0),
        };
        let Some(len) = len else { return Ok(None) };
        let mut bytes = Vec::new();
        let mut meanwhile = || {
            link.check_open()?;
            link.take_messages(&mut bytes);
            self.stream.write_all(&bytes)?;
            bytes.clear();
            Ok(())
        };
        limiter.acquire(link.device, u64::from(len), &mut meanwhile).map(Some)
    }

    /// Takes the next blocks of the piece that is sent in the link's turn.
    fn next_batch(&self, len_max: u32) -> Vec<Span> {
        let mut state = self.torrent.state.lock();
        if state.uploads.is_contended() {
            self.link.keep_order();
        }
        let spans = state.uploads.next_batch(self.link.key, len_max);
        if spans.is_empty() {
            self.torrent.drive_uploads(&mut state);
        }
        spans
    }

    /// Gives the link's turn to another, unless the peer asked for something meanwhile.
    fn end_turn(&self) {
        let mut state = self.torrent.state.lock();
        state.uploads.end_turn(self.link.key);
        self.torrent.drive_uploads(&mut state);
    }

    fn sent(&self, len: u64) {
        self.link.sent.fetch_add(len, Ordering::Relaxed);
        self.torrent.services.counters.sent.fetch_add(len, Ordering::Relaxed);
        let mut state = self.torrent.state.lock();
        state.uploads.sent(self.torrent.now(), self.link.key, self.link.device, len);
        state.read_error = None;
        self.torrent.drive(&mut state);
    }

    fn read(&self, span: Span, data: &mut [u8]) -> io::Result<()> {
        let torrent = self.torrent;
        let (seed, part) = {
            let state = torrent.state.lock();
            (state.seed.clone(), state.transfer.as_ref().and_then(|transfer| transfer.part.clone()))
        };
        let offset = torrent.geometry.offset(span.piece) + u64::from(span.begin);
        let Some(seed) = seed else {
            let part = part.ok_or(io::ErrorKind::NotFound)?;
            part.read(data, offset)?;
            // Looked at afterwards: what was read is what had been verified.
            return if part.is_written() { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) };
        };
        match torrent.services.seed_files.read(torrent.info_hash, &seed, data, offset) {
            Ok(()) => Ok(()),
            Err(SeedError::Io(e)) => {
                log::warn!("cannot read {}: {e}", seed.path.display());
                torrent.state.lock().read_error = Some(e.to_string());
                Err(e)
            }
            Err(SeedError::Changed) => {
                torrent.seed_changed(&seed, false);
                Err(io::ErrorKind::InvalidData.into())
            }
            Err(SeedError::Gone) => {
                torrent.seed_changed(&seed, true);
                Err(io::ErrorKind::NotFound.into())
            }
        }
    }
}
