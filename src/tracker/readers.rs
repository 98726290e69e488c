//! Connections to the store for threads that answer questions.
//!
//! **Invariant:** there are never more than [`READERS_MAX`], so the memory of their caches is
//! bounded however many sessions ask at once; the others wait for their turn. Searches, which may
//! look at a great many names, have [`SEARCHERS_MAX`] of them at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use log::error;

use crate::directory::{Directory, Rows};
use crate::store::{StoreError, StorePlace, StoreReader};

/// Connections at once: somewhat more than a small machine has processors, since some wait for the
/// disk.
const READERS_MAX: usize = 6;
/// Those that search.
const SEARCHERS_MAX: usize = 2;
/// How long a question waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Something by its name or place.
    Up,
    /// All that matches a pattern: not at one moment, so that the store's log need not be kept for
    /// it.
    Search,
}

/// Connections that are lent out.
#[derive(Debug)]
pub(crate) struct Readers {
    place: StorePlace,
    /// The store's own word, see [`TrackerStore::unflushed`](crate::store::TrackerStore::unflushed).
    unflushed: Arc<AtomicBool>,
    up: Pool,
    search: Pool,
}

/// One token for each connection, which is opened when it is first needed.
#[derive(Debug)]
struct Pool {
    idle: Receiver<Option<StoreReader>>,
    back: Sender<Option<StoreReader>>,
}

impl Pool {
    fn new(count: usize) -> Self {
        let (back, idle) = bounded(count);
        // There is room for all of them.
        (0..count).for_each(|_| _ = back.send(None));
        Self { idle, back }
    }
}

/// Gives a token back when it is dropped, so also when its thread panics.
struct Token<'a> {
    back: &'a Sender<Option<StoreReader>>,
    reader: Option<StoreReader>,
}

impl Drop for Token<'_> {
    fn drop(&mut self) {
        // The token's own place is free.
        let _ = self.back.send(self.reader.take());
    }
}

impl Readers {
    /// Makes the tokens for a store.
    pub(crate) fn new(place: StorePlace, unflushed: Arc<AtomicBool>) -> Self {
        Self {
            place,
            unflushed,
            up: Pool::new(READERS_MAX - SEARCHERS_MAX),
            search: Pool::new(SEARCHERS_MAX),
        }
    }

    /// Tells whether something committed is not visible here yet: the core is to be asked for a
    /// flush first.
    pub(crate) fn are_behind(&self) -> bool {
        self.unflushed.load(Ordering::Acquire)
    }

    /// Has the directory looked at as it is in the store's tables; `None` if too many others ask,
    /// or the system has no room for a connection or the disk fails, which the log says.
    ///
    /// # Errors
    /// [`StoreError::Damaged`]: what is there is not what was written, and this tracker must not answer from it.
    ///
    /// # Blocking
    /// On the disk, and while others look.
    pub(crate) fn look<T>(
        &self,
        how: Look,
        look: impl FnOnce(&Directory<&dyn Rows>) -> T,
    ) -> Result<Option<T>, StoreError> {
        let pool = if how == Look::Search { &self.search } else { &self.up };
        let Ok(reader) = pool.idle.recv_timeout(WAIT_MAX) else { return Ok(None) };
        let mut token = Token { back: &pool.back, reader: None };
        let opened = reader.map_or_else(|| self.place.reader(), Ok);
        let looked = opened.and_then(|reader| {
            let seen = if how == Look::Search { reader.search(look) } else { reader.look(look) }?;
            token.reader = Some(reader);
            Ok(seen)
        });
        match looked {
            Err(damaged @ StoreError::Damaged { .. }) => Err(damaged),
            other => Ok(other.inspect_err(|e| error!("cannot read the directory: {e}")).ok()),
        }
    }
}
