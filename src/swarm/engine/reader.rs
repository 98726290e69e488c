//! A reader of a file that is shared or comes: its pieces are fetched first.
//!
//! **Invariant:** a reader returns only bytes of pieces that were verified and written, read from
//! the `.part` or, once the file has its name, from the very file that was verified. Dropping it
//! takes its window from the download.
//!
//! Runs on its caller's thread. [`Reader::read_at`] blocks until the first byte is there, and on
//! the disk, without a lock: a disk that hangs holds up nothing else.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::Engine;
use super::torrent::{Torrent, TorrentState};
pub use super::torrents::READERS_MAX;
use super::torrents::Torrents;
use crate::swarm::api::{SeedSpec, TransferState};
use crate::swarm::disk::part_file::PartFile;
use crate::swarm::disk::seed_files::SeedError;
use crate::swarm::{ReaderKey, pick};
use crate::types::{GroupId, InfoHash};

/// Readers of one file at a time; there are at most [`READERS_MAX`] in all.
pub const READERS_PER_FILE_MAX: usize = pick::download::READERS_MAX;

/// Says why a file cannot be read, or not on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is neither shared nor downloaded here, or is not any more.
    #[error("it is neither shared nor being downloaded here")]
    NotHere,
    /// Others read as many files as may be read, or this one.
    #[error(
        "it has {READERS_PER_FILE_MAX} readers already, or there are {READERS_MAX} in all; end one of them"
    )]
    Crowded,
    /// The download was cancelled.
    #[error("the download was cancelled")]
    Cancelled,
    /// The download has failed.
    #[error("the download has failed: {0}")]
    Failed(String),
    /// The right to read it has ended.
    #[error("it may not be read here any more")]
    Revoked,
    /// The file on the disk is another now.
    #[error("the file on the disk is not the one that was shared")]
    Changed,
    /// It cannot be read from the disk.
    #[error("it cannot be read: {0}")]
    Io(#[source] io::Error),
    /// What is asked for has not come yet.
    #[error("it has not come in time")]
    TimedOut,
    /// The engine ends.
    #[error("the client ends its transfers")]
    Stopped,
}

/// One reader of one file.
pub struct Reader {
    torrents: Arc<Torrents>,
    torrent: Arc<Torrent>,
    key: ReaderKey,
}

/// Where verified bytes are, and how many of those wanted.
enum Source {
    Shared(Box<SeedSpec>, usize),
    Part(Arc<PartFile>, usize),
}

impl Engine {
    /// Opens a file that is shared or being downloaded, in the name of a group.
    ///
    /// # Errors
    /// [`ReadError::NotHere`], [`ReadError::Crowded`].
    ///
    /// # Blocking
    /// Where the host looks a shared file up.
    pub fn open_reader(&self, info_hash: InfoHash, group: GroupId) -> Result<Reader, ReadError> {
        let torrent = self.torrents.offered(info_hash).ok_or(ReadError::NotHere)?;
        let key = self.torrents.add_reader(&torrent, group).ok_or(ReadError::Crowded)?;
        Ok(Reader { torrents: self.torrents.clone(), torrent, key })
    }

    /// Ends every reader on which `ends` is true, by file and group.
    pub fn end_readers(&self, ends: impl Fn(InfoHash, GroupId) -> bool) {
        self.torrents.end_readers(ends);
    }
}

impl Reader {
    /// The file.
    pub fn info_hash(&self) -> InfoHash {
        self.torrent.info_hash
    }

    /// Reads from `offset` what is there, at least one byte unless the file ends there; returns the
    /// number of bytes.
    ///
    /// # Errors
    /// [`ReadError::TimedOut`] if nothing has come until `until`; it may be tried again. All others
    /// are final.
    ///
    /// # Blocking
    /// Until `until`, and while the disk reads.
    pub fn read_at(
        &self,
        bytes: &mut [u8],
        offset: u64,
        until: Instant,
    ) -> Result<usize, ReadError> {
        let torrent = &self.torrent;
        let left = torrent.geometry.len().saturating_sub(offset);
        let len = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if len == 0 {
            return Ok(0);
        }
        loop {
            match self.wait(offset, len, until)? {
                Source::Shared(seed, len) => {
                    let files = &torrent.services.seed_files;
                    let read = files.read(torrent.info_hash, &seed, &mut bytes[..len], offset);
                    return match read {
                        Ok(()) => Ok(len),
                        Err(SeedError::Io(error)) => Err(ReadError::Io(error)),
                        Err(error) => {
                            torrent.seed_changed(&seed, matches!(error, SeedError::Gone));
                            Err(ReadError::Changed)
                        }
                    };
                }
                Source::Part(part, len) => {
                    part.read(&mut bytes[..len], offset).map_err(ReadError::Io)?;
                    // What was written and lost counts as never written: it is fetched again. Looked
                    // at afterwards: what was read is what had been verified.
                    if !part.has_lost() && !part.is_written() {
                        return Ok(len);
                    }
                }
            }
            if Instant::now() >= until {
                return Err(ReadError::TimedOut);
            }
            torrent.services.stop.wait(super::run::LOCKED_RETRY);
        }
    }

    /// Waits until the byte at `offset` can be read.
    fn wait(&self, offset: u64, len: usize, until: Instant) -> Result<Source, ReadError> {
        let torrent = &self.torrent;
        let mut state = torrent.state.lock();
        loop {
            if let Some(source) = self.look(&state, offset, len)? {
                self.place(&mut state, offset);
                return Ok(source);
            }
            self.place(&mut state, offset);
            if Instant::now() >= until {
                return Err(ReadError::TimedOut);
            }
            torrent.changed.wait_until(&mut state, until);
        }
    }

    /// Looks for verified bytes; `None` if they have to be waited for.
    fn look(
        &self,
        state: &TorrentState,
        offset: u64,
        len: usize,
    ) -> Result<Option<Source>, ReadError> {
        if self.torrent.services.stop.is_set() {
            return Err(ReadError::Stopped);
        }
        if state.readers.is_revoked(self.key) {
            return Err(ReadError::Revoked);
        }
        if let Some(seed) = &state.seed {
            return Ok(Some(Source::Shared(Box::new(seed.clone()), len)));
        }
        let transfer = state.transfer.as_ref().ok_or(ReadError::NotHere)?;
        match &transfer.phase {
            TransferState::Cancelled => return Err(ReadError::Cancelled),
            TransferState::Failed(reason) => return Err(ReadError::Failed(reason.clone())),
            // It was complete, and is not offered any more.
            TransferState::Complete => return Err(ReadError::NotHere),
            _ => {}
        }
        // Without a download what the journal lists was not looked at in this run.
        let (Some(part), Some(download)) = (&transfer.part, &transfer.download) else {
            return Ok(None);
        };
        let there = verified_from(&self.torrent, download.have(), offset, len);
        Ok((there > 0).then(|| Source::Part(part.clone(), there)))
    }

    fn place(&self, state: &mut TorrentState, offset: u64) {
        let geometry = self.torrent.geometry;
        let Some(piece) = geometry.index(offset / u64::from(geometry.piece_len())) else { return };
        let TorrentState { readers, transfer, .. } = &mut *state;
        let download = transfer.as_mut().and_then(|transfer| transfer.download.as_mut());
        if readers.place(self.key, piece, geometry, download) {
            self.torrent.drive(state);
        }
    }
}

/// Bytes from `offset` on in verified pieces that follow each other, at most `len`.
fn verified_from(
    torrent: &Torrent,
    have: &crate::types::Bitfield,
    offset: u64,
    len: usize,
) -> usize {
    let geometry = torrent.geometry;
    let (piece_len, end) = (u64::from(geometry.piece_len()), offset + len as u64);
    let mut to = offset;
    while to < end
        && let Some(piece) = geometry.index(to / piece_len).filter(|piece| have.has(*piece))
    {
        to = geometry.offset(piece) + u64::from(geometry.len_of(piece));
    }
    (to.min(end) - offset) as usize
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.torrents.remove_reader(&self.torrent, self.key);
    }
}
