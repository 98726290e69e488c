//! Reading a file that is shared or being downloaded, from any place, as it comes.
//!
//! **Invariant:** a file is read only while the session that opened it goes on and this device
//! shares the file in the group, or downloads it from there. A removal from the group ends the
//! reading at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::ClientError;
use super::runtime::Runtime;
use super::session::View;
use super::session::library::Download;
use super::session::refusals::state;
use super::start::Client;
use crate::net::Stop;
use crate::store::Progress;
use crate::swarm::{ReadError, Reader};
use crate::types::{FileFacts, GroupId, Refusal, UserId};

/// Interval between checks of the caller's stop, and of the right to read on.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A file that is open for reading.
pub struct OpenFile {
    inner: Arc<Runtime>,
    user: UserId,
    group: GroupId,
    /// As typed, for errors.
    names: (String, String),
    facts: FileFacts,
    /// None while the engine does not have the file, as a download that waits for a slot.
    reader: Option<Reader>,
}

impl Client {
    /// Opens a file that this device shares in the group or downloads from it. Does not ask a
    /// tracker. A download that waits or is paused can be opened; reading waits until it runs.
    ///
    /// # Errors
    /// [`ClientError::NotHere`], [`ClientError::DownloadState`] for a failed download,
    /// [`ClientError::Crowded`], [`Refusal::LoginFirst`].
    pub fn open_file(&self, group: &str, file: &str) -> Result<OpenFile, ClientError> {
        let inner = &self.inner;
        let user = inner.need_user()?.user;
        let view = inner.view();
        let names = (group.to_owned(), file.to_owned());
        let found = find(&view, group, file).ok_or_else(|| not_here(&names))?;
        let (group, facts) = found?;
        let mut open = OpenFile { inner: inner.clone(), user, group, names, facts, reader: None };
        open.attach()?;
        open.check()?;
        Ok(open)
    }
}

/// Finds a file by its names: its group and its facts, or the reason why the download of that name
/// cannot be read.
fn find(view: &View, group: &str, file: &str) -> Option<Result<(GroupId, FileFacts), ClientError>> {
    let library = &view.library;
    let download = library.find(group, file);
    if let Some(row) = download.filter(|download| is_under_way(download)).map(|d| &d.row) {
        return Some(Ok((row.group, row.facts.clone())));
    }
    let share = library.share_named(group, file).filter(|share| share.offered);
    if let Some(row) = share.map(|share| &share.row) {
        return Some(Ok((row.group, row.facts.clone())));
    }
    download.and_then(failure).map(Err)
}

/// Tells whether a download has pieces or will have some, and is not a share yet.
fn is_under_way(download: &Download) -> bool {
    match download.row.progress {
        Progress::Running | Progress::Paused(_) => true,
        Progress::Complete => !download.settled,
        Progress::Failed(_) | Progress::Cancelled => false,
    }
}

fn failure(download: &Download) -> Option<ClientError> {
    let Progress::Failed(reason) = &download.row.progress else { return None };
    Some(state(&format!("it has failed: {reason}; resume_download tries again")))
}

fn not_here((group, file): &(String, String)) -> ClientError {
    ClientError::NotHere { group: group.clone(), file: file.clone() }
}

impl OpenFile {
    /// What the directory says about the file.
    pub fn facts(&self) -> &FileFacts {
        &self.facts
    }

    /// Reads from `offset` what is there, at least one byte unless the file ends there; returns the
    /// number of bytes.
    ///
    /// # Errors
    /// [`ClientError::Interrupted`] when `stop` is set; [`ClientError::NotHere`] when the download
    /// was cancelled or the share stopped, [`ClientError::DownloadState`] when the download has
    /// failed, [`Refusal::NotMember`] after a removal from the group, [`Refusal::LoginFirst`] after
    /// the end of the session; [`ClientError::System`] if the disk cannot be read.
    ///
    /// # Blocking
    /// Until the bytes are there, and while the disk reads them.
    pub fn read_at(
        &mut self,
        bytes: &mut [u8],
        offset: u64,
        stop: &Stop,
    ) -> Result<usize, ClientError> {
        loop {
            if stop.is_set() {
                return Err(ClientError::Interrupted);
            }
            // In this order: a removal is either in the view already, or revokes the reader.
            self.attach()?;
            self.check()?;
            let Some(reader) = &self.reader else {
                stop.wait(LOOK_INTERVAL);
                continue;
            };
            match reader.read_at(bytes, offset, Instant::now() + LOOK_INTERVAL) {
                Ok(count) => return Ok(count),
                Err(ReadError::TimedOut) => {}
                // The engine has given the file up; the session knows why, or is about to.
                Err(ReadError::NotHere | ReadError::Cancelled | ReadError::Stopped) => {
                    self.reader = None;
                    stop.wait(LOOK_INTERVAL);
                }
                Err(ReadError::Failed(reason)) => {
                    return Err(state(&format!("it has failed: {reason}")));
                }
                Err(ReadError::Revoked) => {
                    self.inner.need_user()?;
                    return Err(Refusal::NotMember.into());
                }
                Err(ReadError::Crowded) => return Err(ClientError::Crowded),
                Err(error @ ReadError::Changed) => return Err(state(&error.to_string())),
                Err(ReadError::Io(error)) => {
                    let what = format!("cannot read {} from the disk", self.facts.name);
                    return Err(ClientError::system(what, error));
                }
            }
        }
    }

    /// Checks that this device may still read the file.
    fn check(&self) -> Result<(), ClientError> {
        if self.inner.is_stopping() {
            return Err(ClientError::Stopping);
        }
        let view = self.inner.view();
        let is_ours = view.library.user().is_some_and(|user| user.user == self.user);
        if !is_ours {
            return Err(Refusal::LoginFirst.into());
        }
        if view.revoked.contains(&self.group) {
            return Err(Refusal::NotMember.into());
        }
        let info_hash = self.facts.info_hash;
        let share = view.library.share(self.group, info_hash);
        if share.is_some_and(|share| share.offered) {
            return Ok(());
        }
        let download =
            view.library.download(info_hash).filter(|download| download.row.group == self.group);
        match download {
            Some(download) if is_under_way(download) => Ok(()),
            Some(download) => Err(failure(download).unwrap_or_else(|| not_here(&self.names))),
            None => Err(not_here(&self.names)),
        }
    }

    /// Opens the file in the engine, if the engine has it.
    fn attach(&mut self) -> Result<(), ClientError> {
        let Some(engine) = self.inner.engine().filter(|_| self.reader.is_none()) else {
            return Ok(());
        };
        match engine.open_reader(self.facts.info_hash, self.group) {
            Ok(reader) => self.reader = Some(reader),
            Err(ReadError::Crowded) => return Err(ClientError::Crowded),
            // It waits for a slot.
            Err(_) => {}
        }
        Ok(())
    }
}
