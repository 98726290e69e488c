//! How a download begins: anew, again in the place of an earlier one, by a file that is there
//! already, or after a restart.
//!
//! **Invariant:** a user has at most one download of a content, and one that makes a file; it is in
//! the device store before the engine begins, and what the engine refuses leaves everything as it
//! was. A `.part` is a download's own once the engine has said which file it made or opened, and
//! not before.
//!
//! Runs on the thread of whoever commands; after a restart a file at a destination is compared on a
//! thread of its own.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::ClientError;
use super::core::Inner;
use super::handle::{DownloadHandle, state};
use super::library::{Download, Library};
use super::place::{check_place, has_part, is_there, missing, move_part, refuse_odd, remove_part};
use crate::store::{DownloadRow, Progress, ShareRow};
use crate::swarm::{
    DownloadSpec, EngineError, HashError, SeedSpec, Transfer, hash_file_as, stamp_of,
};
use crate::types::{Bitfield, FileEntry, Geometry, GroupId, InfoHash, Label};

/// What the engine is told to be there of a download: nothing, as long as it has no `.part` of its
/// own; else a journal, if an empty one.
fn journal(row: &DownloadRow) -> Option<Bitfield> {
    let pieces = || {
        Geometry::new(row.facts.len, row.facts.piece_len)
            .map_or(0, |geometry| geometry.piece_count())
    };
    row.part.map(|_| row.verified.clone().unwrap_or_else(|| Bitfield::empty(pieces())))
}

impl Inner {
    /// The unfinished download of this content, set going if need be; refused if it goes elsewhere.
    /// One that failed elsewhere is none, and one that is complete.
    pub(crate) fn going_on(
        self: &Arc<Self>,
        entry: &FileEntry,
        target: &Path,
    ) -> Result<Option<DownloadHandle>, ClientError> {
        let row = self
            .library
            .lock()
            .download(entry.facts.info_hash)
            .map(|download| download.row.clone());
        let Some(row) = row else { return Ok(None) };
        match &row.progress {
            Progress::Complete => return Ok(None),
            // One that failed in a group which the user has left would be gone on with in vain.
            Progress::Failed(_)
                if row.target != target || row.group != entry.group || is_there(target) =>
            {
                return Ok(None);
            }
            _ if row.target != target => return Err(taken(&row)),
            Progress::Running => {}
            Progress::Paused(_) | Progress::Failed(_) => self.handle(&row).resume()?,
        }
        Ok(Some(self.handle(&row)))
    }

    /// Begins a download that was asked for. It takes the place of one of the same content that is
    /// complete or has failed, and goes on from what a failed one has fetched.
    pub(crate) fn begin_new(
        self: &Arc<Self>,
        row: DownloadRow,
    ) -> Result<DownloadHandle, ClientError> {
        let (group, info_hash) = (row.group, row.facts.info_hash);
        refuse_rival(&self.library.lock(), &row)?;
        self.drop_other_version(&row)?;
        let in_place = |failed: &DownloadRow| failed.target == row.target && has_part(failed);
        if !self.failed(info_hash).is_some_and(|(failed, _)| in_place(&failed)) {
            check_place(&row.target, info_hash)?;
        }
        let failed = self.put_away_failed(info_hash);
        let moved = failed
            .as_ref()
            .is_some_and(|failed| in_place(failed) || move_part(failed, &row.target));
        let (verified, part) = failed
            .clone()
            .filter(|_| moved)
            .map_or((None, None), |failed| (failed.verified, failed.part));
        self.drop_stale(info_hash);
        let begun = self.begin(DownloadRow { verified, part, ..row.clone() });
        // Durable before what belongs to the one of before is removed: else a crash could leave
        // that one in the store, and nothing of it on the disk.
        let durable = if failed.is_some() && begun.is_ok() { self.store.flush() } else { Ok(()) };
        match (&begun, failed) {
            (Ok(_), Some(failed)) if !moved && failed.target != row.target && durable.is_ok() => {
                remove_part(&failed)
            }
            (Err(_), Some(failed)) if moved => {
                let back = DownloadRow { target: row.target, ..failed.clone() };
                move_part(&back, &failed.target);
            }
            _ => {}
        }
        self.announce([(group, info_hash)]);
        durable?;
        begun
    }

    /// The failed download of this content, if there is one, and what the engine holds of it.
    fn failed(&self, info_hash: InfoHash) -> Option<(DownloadRow, Option<Transfer>)> {
        let mut library = self.library.lock();
        let download = library
            .download(info_hash)
            .filter(|d| matches!(d.row.progress, Progress::Failed(_)))?;
        Some((download.row.clone(), download.transfer.clone()))
    }

    /// The failed download of this content, if there is one; the engine holds it no more.
    fn put_away_failed(&self, info_hash: InfoHash) -> Option<DownloadRow> {
        let (row, transfer) = self.failed(info_hash)?;
        // Failed by our own word, as when the membership ended, it is only paused there.
        if let Some(transfer) = transfer.filter(|transfer| !transfer.status().state.has_ended()) {
            transfer.cancel();
        }
        Some(row)
    }

    /// Shares of this content whose file is gone or has changed are offered no more: what is begun
    /// now has nothing to do with them.
    fn drop_stale(&self, info_hash: InfoHash) {
        let offered: Vec<ShareRow> = {
            let library = self.library.lock();
            library
                .shares_of(info_hash)
                .filter(|share| share.offered)
                .map(|share| share.row.clone())
                .collect()
        };
        let (intact, stale): (Vec<ShareRow>, Vec<ShareRow>) =
            offered.into_iter().partition(is_intact);
        for row in &stale {
            if let Some(share) = self.library.lock().share(row.group, info_hash) {
                share.offered = false;
            }
        }
        let Some(engine) = self.engine().filter(|_| !stale.is_empty()) else { return };
        engine.unseed(info_hash);
        if let (Some(row), Ok(Some(metainfo))) = (intact.first(), self.store.metainfo(info_hash)) {
            let seed =
                SeedSpec { metainfo: Arc::new(metainfo), path: row.path.clone(), stamp: row.stamp };
            // It only ends with the engine itself.
            let _ = engine.seed(seed);
        }
        self.announce(stale.iter().map(|row| (row.group, info_hash)));
    }

    /// Has the engine begin a download, or go on with one that has something on disk; or has it
    /// wait for its turn. If the engine will not, all is as before. The trackers are not told, and
    /// the store has it on the disk with the next write, or when it is flushed.
    pub(crate) fn begin(self: &Arc<Self>, row: DownloadRow) -> Result<DownloadHandle, ClientError> {
        self.need_engine()?;
        if let Some(reason) = missing(&row) {
            return Err(state(&format!("{reason} cancel_download gives it up")));
        }
        let guard = self.coming_and_going.lock();
        let before = self.insert(Download::new(row.clone()))?;
        // Durable before a byte is written: the note which file the `.part` is waits for all that
        // was noted before.
        let begun = self
            .store
            .put_download_soon(&row)
            .map_err(ClientError::from)
            .and_then(|()| self.note_change(&row));
        drop(guard);
        match begun.and_then(|()| if self.take_slot(&row) { self.start(&row) } else { Ok(()) }) {
            Ok(()) => {
                self.changed.notify_all();
                Ok(self.handle(&row))
            }
            Err(error) => {
                self.free_slot(row.facts.info_hash);
                self.put_back(&row, before)?;
                Err(error)
            }
        }
    }

    /// Has the store say, too, that a download was paused between its coming into the library and
    /// into the store.
    fn note_change(&self, row: &DownloadRow) -> Result<(), ClientError> {
        let now = self
            .library
            .lock()
            .download(row.facts.info_hash)
            .map(|download| download.row.progress.clone());
        match now.filter(|now| *now != row.progress) {
            Some(now) => Ok(self.store.set_progress(row.user, row.facts.info_hash, &now)?),
            // If it is gone the session is over, and it is for the next.
            None => Ok(()),
        }
    }

    /// Has the engine begin a download that has a slot. One that was paused or cancelled meanwhile
    /// is so in the engine, too.
    pub(crate) fn start(&self, row: &DownloadRow) -> Result<(), ClientError> {
        let engine = self.need_engine()?;
        let info_hash = row.facts.info_hash;
        let metainfo = self.store.metainfo(info_hash)?.map(Arc::new);
        // Nobody cancels it, or begins another in its place, before it is known here what the
        // engine holds of it.
        let _guard = self.coming_and_going.lock();
        let is_to_begin = {
            let library = &mut *self.library.lock();
            let there = library.downloads.get_mut(info_hash);
            if there.is_none() {
                library.queue.leave(info_hash);
            }
            there.is_some_and(|download| !download.is_live())
        };
        if !is_to_begin {
            // Cancelled meanwhile, or begun by somebody else.
            self.mind_slots();
            return Ok(());
        }
        let (facts, target, part) =
            (row.facts.clone(), row.target.clone(), row.part.and_then(|part| part.file()));
        let spec =
            DownloadSpec { facts, target, part, metainfo, verified: journal(row), paused: false };
        let transfer =
            engine.download(spec).map_err(|error| ClientError::DownloadState(explain(&error)))?;
        let mut library = self.library.lock();
        transfer.set_limit(library.queue.limit(info_hash));
        let is_session = library.user().is_some_and(|user| user.user == row.user);
        let Some(download) = library.download(info_hash) else {
            library.queue.leave(info_hash);
            drop(library);
            self.mind_slots();
            // Cancelled meanwhile; or the session is over, and what was fetched is for the next.
            _ = if is_session { transfer.cancel() } else { transfer.shelve() };
            return Ok(());
        };
        (download.transfer, download.starting) = (Some(transfer), false);
        if !download.is_let_run() {
            download.steer();
            if download.row.progress != Progress::Running {
                library.queue.leave(info_hash);
                drop(library);
                self.mind_slots();
            }
        }
        Ok(())
    }

    /// Undoes an insert.
    fn put_back(&self, row: &DownloadRow, before: Option<Download>) -> Result<(), ClientError> {
        let info_hash = row.facts.info_hash;
        let before_row = before.as_ref().map(|download| download.row.clone());
        let _guard = self.coming_and_going.lock();
        let mut gone = None;
        let cancelled = {
            let mut library = self.library.lock();
            let tried = library.take_download(info_hash);
            let is_session = library.user().is_some_and(|user| user.user == row.user);
            let cancelled = tried.is_none() && is_session;
            match before {
                Some(mut before) if is_session && !cancelled => {
                    before.callbacks.extend(tried.into_iter().flat_map(|tried| tried.callbacks));
                    library.downloads.push(before);
                }
                other => gone = other,
            }
            cancelled
        };
        if let Some(transfer) = gone.and_then(|gone| gone.transfer).filter(|_| cancelled) {
            // What the engine held of the earlier one goes with it.
            transfer.cancel();
        }
        match before_row.filter(|_| !cancelled) {
            Some(before) => self.store.put_download(&before)?,
            None => self.store.remove_download(row.user, info_hash)?,
        }
        Ok(())
    }

    /// Puts a download in the place of an earlier one of the same content, which it returns;
    /// refused if that one runs, or if another one makes the same file.
    fn insert(&self, mut download: Download) -> Result<Option<Download>, ClientError> {
        let mut library = self.library.lock();
        let info_hash = download.info_hash();
        if let Some(old) = library.download(info_hash)
            && old.row.progress == Progress::Running
        {
            return Err(taken(&old.row));
        }
        refuse_rival(&library, &download.row)?;
        let mut old = library.take_download(info_hash);
        if let Some(old) = &mut old {
            download.callbacks = std::mem::take(&mut old.callbacks);
        }
        library.downloads.push(download);
        Ok(old)
    }

    /// The destination exists: if it is the file itself, it is shared on; anything else is left
    /// alone.
    pub(crate) fn adopt(
        self: &Arc<Self>,
        row: DownloadRow,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<DownloadHandle, ClientError> {
        let seed = compare(&row, progress)?;
        let failed = self.put_away_failed(row.facts.info_hash);
        let handle = self.adopted(row, &seed)?;
        failed.iter().for_each(remove_part);
        Ok(handle)
    }

    /// The file is there and was compared: it counts as downloaded.
    fn adopted(
        self: &Arc<Self>,
        mut row: DownloadRow,
        seed: &SeedSpec,
    ) -> Result<DownloadHandle, ClientError> {
        row.progress = Progress::Complete;
        self.store.put_metainfo(&seed.metainfo)?;
        self.need_engine()?
            .seed(seed.clone())
            .map_err(|e| ClientError::BadArgument(e.to_string()))?;
        self.keep_share(&row, seed);
        self.store.put_download(&row)?;
        {
            let mut library = self.library.lock();
            let mut download = Download::new(row.clone());
            download.callbacks = library
                .take_download(row.facts.info_hash)
                .map(|old| old.callbacks)
                .unwrap_or_default();
            library.downloads.push(download);
        }
        self.share_later(row.group, row.facts.info_hash);
        Ok(self.handle(&row))
    }

    /// Notes a new progress here and in the store.
    pub(crate) fn set_progress(
        &self,
        row: &DownloadRow,
        progress: Progress,
    ) -> Result<(), ClientError> {
        self.store.set_progress(row.user, row.facts.info_hash, &progress)?;
        if let Some(download) = self.library.lock().download(row.facts.info_hash) {
            if progress == Progress::Running {
                (download.is_of_session, download.ended) = (true, None);
            }
            download.row.progress = progress;
        }
        self.changed.notify_all();
        Ok(())
    }

    /// Takes a download of an earlier session into this one, and goes on with it if it was running.
    /// The trackers are not told.
    pub(crate) fn restore_download(
        self: &Arc<Self>,
        row: DownloadRow,
        mine: Option<&HashMap<GroupId, Label>>,
    ) {
        let running = row.progress == Progress::Running;
        let (info_hash, group) = (row.facts.info_hash, row.group);
        let mut restored = Download::new(row.clone());
        (restored.settled, restored.is_of_session) = (row.progress == Progress::Complete, running);
        if running && is_there(&row.target) {
            // The client was killed between giving the file its name and noting so.
            let mut library = self.library.lock();
            library.downloads.push(restored);
            let shared = library
                .share(group, info_hash)
                .is_some_and(|share| share.offered && share.row.path == row.target);
            drop(library);
            if !shared {
                return self.look_whether_complete(row);
            }
            let noted = self.set_progress(&row, Progress::Complete);
            self.note_error(noted);
            return self.share_later(group, info_hash);
        }
        if running {
            // Until it is begun, or if it cannot be.
            restored.row.progress = Progress::Paused(None);
        }
        self.library.lock().downloads.push(restored);
        if !running {
            return;
        }
        let result = if mine.is_some_and(|mine| !mine.contains_key(&group)) {
            Err(Progress::Failed("you are no longer a member of the group".to_owned()))
        } else if let Some(reason) = missing(&row) {
            Err(Progress::Paused(Some(reason)))
        } else {
            self.begin(row.clone()).map(drop).map_err(|error| Progress::Failed(error.to_string()))
        };
        if let Err(progress) = result {
            if let Progress::Failed(reason) | Progress::Paused(Some(reason)) = &progress {
                log::warn!("{}: {reason}", row.label);
            }
            let noted = self.set_progress(&row, progress);
            self.note_error(noted);
            self.tell_end(info_hash);
        }
    }

    /// Compares the file that stands where a download's is to be, on a thread of its own; it is
    /// complete, or has failed.
    fn look_whether_complete(self: &Arc<Self>, row: DownloadRow) {
        let weak = Arc::downgrade(self);
        let (user, info_hash) = (row.user, row.facts.info_hash);
        let work = move || {
            let Some(inner) = weak.upgrade() else { return };
            let is_wanted = || {
                let library = &mut *inner.library.lock();
                let ours = library.user().is_some_and(|now| now.user == user);
                !inner.stop.is_set() && ours && library.is_downloading(info_hash)
            };
            let looked = compare(&row, &mut |_, _| is_wanted());
            if !is_wanted() {
                return;
            }
            if let Err(error) = looked.and_then(|seed| inner.adopted(row.clone(), &seed)) {
                let noted = inner.set_progress(&row, Progress::Failed(error.to_string()));
                inner.note_error(noted);
                inner.tell_end(info_hash);
            }
        };
        if let Err(error) = self.threads.spawn("compare", work) {
            log::warn!("the file of a download cannot be compared: {error}");
        }
    }
}

/// Tells whether a shared file looks as it did when it was hashed.
pub(crate) fn is_intact(row: &ShareRow) -> bool {
    stamp_of(&row.path).is_ok_and(|stamp| stamp.is_same_file(&row.stamp))
}

/// Reads the file at a download's destination: it is the one that is wanted, or an error.
fn compare(
    row: &DownloadRow,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<SeedSpec, ClientError> {
    let other =
        || ClientError::path(&row.target, "it exists with other content; name another destination");
    refuse_odd(&row.target)?;
    if stamp_of(&row.target).ok().map(|stamp| stamp.len) != Some(row.facts.len) {
        return Err(other());
    }
    let hashed = match hash_file_as(&row.target, row.facts.name.clone(), &mut |done| {
        progress(done, row.facts.len)
    }) {
        Ok(hashed) if hashed.sha1 == row.facts.sha1 => hashed,
        Err(HashError::Cancelled) => return Err(ClientError::Interrupted),
        Err(error @ (HashError::Read { .. } | HashError::Threads(_))) => {
            return Err(ClientError::path(
                &row.target,
                format!("it exists and cannot be compared: {error}"),
            ));
        }
        _ => return Err(other()),
    };
    // Whatever its name, it is the group's if it makes the group's info dictionary.
    if hashed.seed.metainfo.info_hash() == row.facts.info_hash {
        Ok(hashed.seed)
    } else {
        Err(other())
    }
}

fn refuse_rival(library: &Library, row: &DownloadRow) -> Result<(), ClientError> {
    let refusal = |rival: &DownloadRow| {
        let (group, file) = (&rival.group_label, &rival.label);
        state(&format!(
            "{file} in {group} is being downloaded to that place; name another destination"
        ))
    };
    library.rival(row).map_or(Ok(()), |rival| Err(refusal(rival)))
}

fn taken(row: &DownloadRow) -> ClientError {
    let place = row.target.display();
    state(&format!(
        "this content is being downloaded to {place} already; cancel_download that one first"
    ))
}

/// What the engine will not do, in words that say what to do.
fn explain(error: &EngineError) -> String {
    match error {
        EngineError::TargetExists(_) => format!("{error}; name another destination"),
        EngineError::NoRoom { .. } => format!("{error}; make room or name another destination"),
        _ => error.to_string(),
    }
}
