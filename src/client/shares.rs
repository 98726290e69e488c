//! Sharing files, and bringing shares back at login.
//!
//! **Invariant:** a user's file is only ever read; what is offered is the very file that was hashed, and looks as it did then. A link
//! that the user names is followed once, when it is shared: what it led to then is what is shared.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log::warn;

use super::account::request_id;
use super::background::Errand;
use super::core::Inner;
use super::groups::is_member;
use super::place::follow_once;
use super::trackers::Need;
use super::{Client, ClientError, ClientEvent};
use crate::store::{ShareRow, ShareState};
use crate::swarm::{HashError, SeedSpec, UploadStats, hash_file_as, open_plain, stamp_of};
use crate::types::{DeviceId, FileFacts, FileName, FileStamp, GroupEntry, GroupId, InfoHash, Label, Refusal, UserEntry};
use crate::wire::metainfo::Metainfo;
use crate::wire::tracker::Request;

/// A file that is now shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// The group's name as shown.
    pub group: Label,
    /// The content.
    pub facts: FileFacts,
}

/// What this device offers of one file in one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The group's name as shown.
    pub group: Label,
    /// The file's name as shown.
    pub file: Label,
    /// Where it is.
    pub path: PathBuf,
    /// Links to other members for it.
    pub peers: u32,
    /// Bytes sent since login.
    pub sent: u64,
    /// Bytes sent to each device since login, in the order of the devices' ids.
    pub sent_to: Vec<(DeviceId, u64)>,
}

/// A file on disk whose content is known.
struct Content {
    facts: FileFacts,
    metainfo: Arc<Metainfo>,
    stamp: FileStamp,
}

impl Client {
    /// Shares a file with a group: hashes it, tells the directory, offers it. A file that was shared before and has not changed
    /// is not hashed again; one that the group has already gets one more seeder. A link is shared under its own name; what it leads
    /// to now is what is served, wherever it leads later. `progress` is told the bytes hashed now and then, and returns false to cancel.
    ///
    /// # Errors
    /// [`Refusal::NotMember`], [`Refusal::FileNameTaken`]; [`ClientError::Path`] if it is no plain readable file;
    /// [`ClientError::Interrupted`] if `progress` said so.
    pub fn upload_file(
        &self,
        path: &Path,
        group: &str,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Shared, ClientError> {
        let user = self.inner.need_user()?;
        let path = std::path::absolute(path).map_err(|e| ClientError::path(path, e.to_string()))?;
        let name = share_name(&path)?;
        let path = follow_once(&path).map_err(|error| unreadable(&path, &error))?;
        let (_, stamp) = open_plain(&path).map_err(|error| unreadable(&path, &error))?;
        let resolved = self.inner.resolve(group, None, Some(name.as_str()))?;
        if !is_member(resolved.group.part) {
            return Err(Refusal::NotMember.into());
        }
        let known = self.inner.store.shares_at(&path)?;
        self.inner.give_up_replaced(&user, &resolved.group, &known, stamp);
        let content = self.inner.content(&path, &name, (stamp, &known), progress)?;
        self.inner.share(&user, &resolved.group, path, content)
    }

    /// Stops offering a file in a group. Works for a share of the user's other device too.
    ///
    /// # Errors
    /// [`Refusal::NotShared`], [`Refusal::NoSuchGroup`].
    pub fn stop_share(&self, group: &str, file: &str) -> Result<(), ClientError> {
        let resolved = self.inner.resolve(group, None, Some(file))?;
        let group = resolved.group.group;
        let info_hash = match resolved.file {
            Some(file) => file.facts.info_hash,
            None if !is_member(resolved.group.part) => return Err(Refusal::NotMember.into()),
            None => return Err(Refusal::NotShared.into()),
        };
        self.done(&Request::StopShare { request: request_id(), group, info_hash }, Need::Session)?;
        self.inner.stop_offering(group, info_hash);
        Ok(())
    }

    /// What this device offers, by group and name. Does not ask a tracker.
    ///
    /// # Errors
    /// [`Refusal::LoginFirst`].
    pub fn show_uploads(&self) -> Result<Vec<Upload>, ClientError> {
        self.inner.need_user()?;
        let stats: HashMap<InfoHash, UploadStats> =
            self.inner.need_engine()?.uploads().into_iter().map(|stats| (stats.info_hash, stats)).collect();
        let library = self.inner.library.lock();
        let upload = |row: &ShareRow| {
            let stats = stats.get(&row.facts.info_hash);
            Upload {
                group: row.group_label.clone(),
                file: row.label.clone(),
                path: row.path.clone(),
                peers: stats.map_or(0, |stats| stats.peers),
                sent: stats.map_or(0, |stats| stats.sent),
                sent_to: stats.map(|stats| in_order(&stats.sent_to)).unwrap_or_default(),
            }
        };
        let mut uploads: Vec<Upload> =
            library.shares.values().filter(|share| share.offered).map(|share| upload(&share.row)).collect();
        uploads.sort_by(|a, b| (&a.group, &a.file).cmp(&(&b.group, &b.file)));
        Ok(uploads)
    }
}

fn in_order(sent_to: &[(DeviceId, u64)]) -> Vec<(DeviceId, u64)> {
    let mut sorted = sent_to.to_vec();
    sorted.sort_unstable();
    sorted
}

/// The name under which a file is shared: its own.
fn share_name(path: &Path) -> Result<FileName, ClientError> {
    let name = path.file_name().ok_or_else(|| ClientError::path(path, "it ends in no file name; name a file"))?;
    let name = name.to_str().ok_or_else(|| ClientError::path(path, "its name is not UTF-8; rename it"))?;
    let name: FileName = name.parse().map_err(|e| ClientError::path(path, format!("{e}; rename it")))?;
    match name.turns_text() {
        true => {
            Err(ClientError::path(path, "its name holds characters that turn text around, and would mislead others; rename it"))
        }
        false => Ok(name),
    }
}

/// Why a file cannot be shared.
fn unreadable(path: &Path, error: &io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::NotFound => ClientError::path(path, "there is no such file; check the path"),
        io::ErrorKind::PermissionDenied => ClientError::path(path, "you may not read it; change its permissions"),
        io::ErrorKind::InvalidInput => ClientError::path(path, "it is not a plain file; name one"),
        _ => ClientError::path(path, error.to_string()),
    }
}

/// A share of an earlier session, as its file looks now.
struct FoundAgain {
    row: ShareRow,
    /// Whether that is the file that was hashed.
    same: io::Result<bool>,
    /// More is known about it than the store holds.
    renewed: bool,
}

/// Looks for the file of a share. An earlier version noted less about it, and the link that the user named instead of the file: the rest
/// is taken over if all that was noted fits.
fn found_again(row: ShareRow) -> FoundAgain {
    let path = if row.stamp.born_ns.is_none() { follow_once(&row.path) } else { Ok(row.path.clone()) };
    let same = match path.and_then(|path| Ok((stamp_of(&path)?, path))) {
        Ok((stamp, path)) if row.state != ShareState::Stopped && stamp.is_same_file(&row.stamp) => {
            let renewed = (stamp.born_ns, &path) != (row.stamp.born_ns, &row.path);
            return FoundAgain { row: ShareRow { stamp, path, ..row }, same: Ok(true), renewed };
        }
        Ok(_) => Ok(false),
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(false),
        Err(e) => Err(e),
    };
    FoundAgain { row, same, renewed: false }
}

impl Inner {
    /// Hashes a file, or takes what is known of it from an earlier time.
    fn content(
        &self,
        path: &Path,
        name: &FileName,
        (stamp, known): (FileStamp, &[ShareRow]),
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Content, ClientError> {
        let known = known.iter().find(|row| stamp.is_same_file(&row.stamp)).map(|row| row.facts.clone());
        // A download may have been given another name than it has in its group; as a share it bears its own.
        if let Some(facts) = known.filter(|facts| facts.name == *name)
            && let Some(metainfo) = self.store.metainfo(facts.info_hash)?
        {
            return Ok(Content { facts, metainfo: Arc::new(metainfo), stamp });
        }
        let hashed = hash_file_as(path, name.clone(), &mut |done| progress(done, stamp.len)).map_err(|error| match error {
            HashError::Cancelled => ClientError::Interrupted,
            other => ClientError::BadArgument(other.to_string()),
        })?;
        if hashed.seed.stamp != stamp {
            return Err(ClientError::path(path, "it changed while it was read; share it again when it is finished"));
        }
        let metainfo = hashed.seed.metainfo;
        // Durable with the share, which comes next.
        self.store.put_metainfo_soon(&metainfo)?;
        let geometry = metainfo.geometry();
        let facts = FileFacts {
            info_hash: metainfo.info_hash(),
            name: metainfo.name().clone(),
            len: geometry.len(),
            piece_len: geometry.piece_len(),
            sha1: hashed.sha1,
        };
        Ok(Content { facts, metainfo, stamp })
    }

    /// Tells the directory, then offers. The share is in the store first, so that a crash in between loses nothing.
    fn share(&self, user: &UserEntry, group: &GroupEntry, path: PathBuf, content: Content) -> Result<Shared, ClientError> {
        let Content { facts, metainfo, stamp } = content;
        let info_hash = facts.info_hash;
        let label = Label::new(facts.name.as_str(), 1);
        let mut row = ShareRow {
            user: user.user,
            group: group.group,
            group_label: group.label.clone(),
            label,
            facts: facts.clone(),
            path,
            stamp,
            state: ShareState::Pending,
        };
        let before = self.library.lock().share(group.group, info_hash).map(|share| share.row.clone());
        self.store.put_share(&row)?;
        let request = Request::ShareFile { request: request_id(), group: group.group, file: facts.clone() };
        let answer = self.trackers.call(&request, Need::Session);
        if let Err(error) = answer {
            // Refused: as before. No answer: it may have been carried out; stopped here, it can be shared again at no cost.
            match before {
                Some(before) => self.store.put_share(&before)?,
                None if matches!(error, ClientError::Refused(_)) => self.store.remove_share(user.user, group.group, info_hash)?,
                None => self.store.set_share_state(user.user, group.group, info_hash, ShareState::Stopped)?,
            }
            return Err(error);
        }
        row.state = ShareState::Offered;
        self.offer(&row, metainfo)?;
        self.announce([(row.group, info_hash)]);
        // Nobody waits for the store: a share that seems to be pending at the next start is told of once more.
        self.send_errand(Errand::Noted(Box::new(row)));
        Ok(Shared { group: group.label.clone(), facts })
    }

    /// Has the engine serve a share. The trackers are not told.
    fn offer(&self, row: &ShareRow, metainfo: Arc<Metainfo>) -> Result<(), ClientError> {
        let spec = SeedSpec { metainfo, path: row.path.clone(), stamp: row.stamp };
        self.need_engine()?.seed(spec).map_err(|e| ClientError::BadArgument(e.to_string()))?;
        self.library.lock().put_share(row.clone(), true);
        Ok(())
    }

    /// A share of ours whose file was replaced by another at the same path can never be served again: it gives up the name.
    fn give_up_replaced(&self, user: &UserEntry, group: &GroupEntry, known: &[ShareRow], stamp: FileStamp) {
        let replaced = |row: &&ShareRow| {
            let ours = row.user == user.user && row.group == group.group && row.state != ShareState::Stopped;
            ours && !stamp.is_same_file(&row.stamp)
        };
        for row in known.iter().filter(replaced) {
            let request = Request::StopShare { request: request_id(), group: row.group, info_hash: row.facts.info_hash };
            match self.trackers.call(&request, Need::Session) {
                Ok(_) | Err(ClientError::Refused(Refusal::NotShared)) => self.stop_offering(row.group, row.facts.info_hash),
                Err(error) => warn!("{} is still listed as it was: {error}", row.label),
            }
        }
    }

    /// Brings back what the device store holds for the user.
    pub(crate) fn restore(self: &Arc<Self>, user: &UserEntry) -> Result<(), ClientError> {
        let rows = self.store.shares(user.user)?;
        let downloads = self.store.downloads(user.user)?;
        if rows.is_empty() && downloads.is_empty() {
            return Ok(());
        }
        let mine = self.groups_of_user();
        let shares = rows.iter().map(|row| (row.group, row.facts.info_hash));
        let files: Vec<_> = shares.chain(downloads.iter().map(|row| (row.group, row.facts.info_hash))).collect();
        let rows: Vec<_> = rows.into_iter().map(found_again).collect();
        let renewed = rows.iter().filter(|again| again.renewed).map(|again| &again.row);
        let stored = self.store.put_shares(renewed);
        self.note_store_error(stored);
        for again in rows {
            self.restore_share(again, mine.as_ref());
        }
        for row in downloads {
            self.restore_download(row, mine.as_ref());
        }
        // All at once: thousands of shares are a few messages, where one each would be more than a tracker's queue takes.
        self.announce(files);
        Ok(())
    }

    /// The groups the user is a member of; `None` if no tracker tells.
    fn groups_of_user(&self) -> Option<HashSet<GroupId>> {
        let groups = self.my_groups();
        groups.ok().map(|groups| groups.into_iter().filter(|g| is_member(g.part)).map(|g| g.group).collect())
    }

    fn restore_share(&self, again: FoundAgain, mine: Option<&HashSet<GroupId>>) {
        let FoundAgain { row, same, .. } = again;
        if row.state == ShareState::Stopped {
            return self.library.lock().put_share(row, false);
        }
        let reason = match (mine.is_none_or(|mine| mine.contains(&row.group)), same) {
            (false, _) => "you are no longer a member of the group".into(),
            (true, Ok(true)) => match self.store.metainfo(row.facts.info_hash) {
                Ok(Some(metainfo)) => match self.offer(&row, Arc::new(metainfo)) {
                    Ok(()) => {
                        if row.state == ShareState::Pending {
                            self.send_errand(Errand::Share(row.group, row.facts.info_hash));
                        }
                        return;
                    }
                    Err(error) => error.to_string(),
                },
                _ => "its metainfo is lost; upload it again".into(),
            },
            (true, Ok(false)) => "it changed since it was shared; upload it again to share it as it is now".into(),
            (true, Err(e)) if e.kind() == io::ErrorKind::NotFound => "the file is not there any more".into(),
            (true, Err(e)) => e.to_string(),
        };
        self.bus.tell(&ClientEvent::ShareNotOffered {
            group: row.group_label.clone(),
            file: row.label.clone(),
            path: row.path.clone(),
            reason,
        });
        self.library.lock().put_share(row, false);
    }
}
