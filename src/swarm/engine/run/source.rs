//! Reads a file of this disk for a download that takes its pieces from there.
//!
//! **Invariant:** the caller waits for at most [`HANGS_AFTER`] for the file system of that file.
//!
//! The reading has a thread of its own. If it does not answer, the download goes on without the
//! file; the thread ends once the file system answers.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::scan::piece_buffer;
use crate::swarm::api::LocalCopy;
use crate::swarm::disk::buffers::Buffer;
use crate::swarm::disk::file_systems::HANGS_AFTER;
use crate::swarm::disk::seed_files::{is_same, open_plain};
use crate::swarm::engine::torrent::Torrent;

/// A read: the buffer, the offset, and the number of bytes.
type Read = (Buffer, u64, usize);

/// An open file.
pub(super) struct Source {
    file: Arc<File>,
    reads: Sender<Read>,
    done: Receiver<(Buffer, io::Result<()>)>,
    /// Gone with the first read that is not answered.
    buffer: Option<Buffer>,
}

/// What came of opening a file.
pub(super) enum Opened {
    /// It is the file that was noted.
    Same(Source),
    /// It is another one, or cannot be opened.
    Other,
    /// Its file system does not answer.
    Hangs,
}

impl Source {
    /// Opens a file, if it looks as noted.
    ///
    /// # Blocking
    /// For at most [`HANGS_AFTER`].
    pub(super) fn open(torrent: &Torrent, copy: &LocalCopy) -> Opened {
        let (opened, file) = bounded(1);
        let (reads, asked) = bounded::<Read>(1);
        let (answer, done) = bounded(1);
        let (of, len) = (copy.clone(), torrent.geometry.len());
        let work = move || {
            let Some(file) = open(&of, len).map(Arc::new) else { return };
            if opened.send(file.clone()).is_err() {
                return;
            }
            for (mut buffer, offset, len) in asked {
                let read = file.read_exact_at(&mut buffer[..len], offset);
                if answer.send((buffer, read)).is_err() {
                    return;
                }
            }
        };
        if let Err(error) = torrent.services.threads.spawn("posse-source", work) {
            log::warn!("no thread reads {}: {error}", copy.path.display());
            return Opened::Other;
        }
        match file.recv_timeout(HANGS_AFTER) {
            Ok(file) => {
                let buffer = Some(piece_buffer(torrent));
                Opened::Same(Self { file, reads, done, buffer })
            }
            Err(RecvTimeoutError::Timeout) => {
                let path = copy.path.display();
                log::warn!("{path}: its file system does not answer; nothing is copied from it");
                Opened::Hangs
            }
            Err(RecvTimeoutError::Disconnected) => Opened::Other,
        }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Reads `len` bytes, at most a piece.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::TimedOut`] if it does not answer, and at once from then on.
    ///
    /// # Blocking
    /// For at most [`HANGS_AFTER`].
    pub(super) fn read(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        let buffer = self.buffer.take().ok_or_else(late)?;
        self.reads.send((buffer, offset, len)).map_err(|_| late())?;
        let (buffer, read) = self.done.recv_timeout(HANGS_AFTER).map_err(|_| late())?;
        let bytes = self.buffer.insert(buffer);
        read.map(|()| &bytes[..len])
    }
}

fn open(copy: &LocalCopy, len: u64) -> Option<File> {
    let (file, stamp) = open_plain(&copy.path).ok()?;
    (stamp.len == len && is_same(&copy.path, &stamp, &copy.stamp)).then_some(file)
}
