//! Connections to the store for threads that answer questions.
//!
//! **Invariant:** there are never more than [`READERS_MAX`], so the memory of their caches is bounded
//! however many sessions ask at once; the others wait for their turn.

use std::path::PathBuf;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use log::error;

use crate::directory::Directory;
use crate::store::{RowReader, RowStore};

/// Connections at once: somewhat more than a small machine has processors, since some wait for the disk.
const READERS_MAX: usize = 6;
/// How long a question waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Connections that are lent out.
#[derive(Debug)]
pub(crate) struct Readers {
    data_dir: PathBuf,
    /// One token for each connection, which is opened when it is first needed.
    idle: Receiver<Option<RowReader>>,
    back: Sender<Option<RowReader>>,
}

impl Readers {
    /// Makes the tokens for the store in `data_dir`.
    pub(crate) fn new(data_dir: PathBuf) -> Self {
        let (back, idle) = bounded(READERS_MAX);
        // There is room for all of them.
        (0..READERS_MAX).for_each(|_| _ = back.send(None));
        Self { data_dir, idle, back }
    }

    /// Has the directory looked at as it is on the disk at one moment; `None` if too many others ask, or
    /// the store cannot be read, which the log says.
    ///
    /// # Blocking
    /// On the disk, and while others look.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Directory<RowReader>) -> T) -> Option<T> {
        let reader = self.idle.recv_timeout(WAIT_MAX).ok()?;
        let opened = reader.map_or_else(|| RowStore::reader(&self.data_dir), Ok);
        let (reader, seen) = match opened.and_then(|reader| reader.look(look)) {
            Ok((reader, seen)) => (Some(reader), Some(seen)),
            Err(e) => {
                error!("cannot read the directory: {e}");
                (None, None)
            }
        };
        // The token's own place is free.
        let _ = self.back.send(reader);
        seen
    }
}
