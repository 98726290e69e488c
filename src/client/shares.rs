//! Sharing files: the commands of the user.
//!
//! **Invariant:** a user's file is only read. The offered file is the one that was hashed, with the
//! same stamp. A symbolic link that the user names is followed once, when it is shared; its target
//! at that time is the shared file.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::warn;

use super::error::ClientError;
use super::place::follow_once;
use super::runtime::Runtime;
use super::session::input::{Command, Input};
use super::start::Client;
use super::trackers::{Need, uptime};
use crate::store::{DownloadRow, ShareRow, ShareState};
use crate::swarm::{HashError, UploadStats, hash_file_as, open_plain};
use crate::types::{
    DeviceId, FileEntry, FileFacts, FileName, FileStamp, GroupEntry, GroupId, InfoHash, Label,
    Refusal, Stamp, UserEntry,
};
use crate::wire::tracker::{Request, Resolved};

/// A file that is now shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// The group's display name.
    pub group: Label,
    /// The group's id.
    pub group_id: GroupId,
    /// The content.
    pub facts: FileFacts,
    /// When the replaced version was shared, if there was one.
    pub replaces: Option<Stamp>,
}

/// A file that this device offers in one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The group's display name.
    pub group: Label,
    /// The group's id.
    pub group_id: GroupId,
    /// The file's display name.
    pub file: Label,
    /// The id of its content.
    pub id: InfoHash,
    /// Its path, now or when it is complete.
    pub path: PathBuf,
    /// Its length in bytes.
    pub len: u64,
    /// Bytes of it that are here, if it is an unfinished download; `None` if all are.
    pub part: Option<u64>,
    /// Links to other members for it.
    pub peers: u32,
    /// Bytes sent since login.
    pub sent: u64,
    /// Bytes per second sent in the last 2 s.
    pub sent_per_second: u64,
    /// Bytes sent to each device since login, in the order of the devices' ids.
    pub sent_to: Vec<(DeviceId, u64)>,
    /// Members who say that what this device sends of it is wrong.
    pub bad_data_members: u32,
    /// Where members could not connect to this device lately, and how many.
    pub unreachable: Option<(SocketAddr, u32)>,
}

/// How a file that is to be shared is found and read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// A file with the size and times of an earlier share is not read again.
    pub(crate) trusts_stamp: bool,
    /// A symbolic link is followed.
    pub(crate) follows_link: bool,
}

/// A file on disk whose content is known.
struct Content {
    facts: FileFacts,
    stamp: FileStamp,
}

/// A file that is to be shared.
struct Offer {
    path: PathBuf,
    content: Content,
}

/// How long an answer of the directory from before the hashing is used.
const RESOLVED_FOR: Duration = Duration::from_secs(1);

impl Content {
    /// As the group lists it, if that differs only in that a sharer with an earlier version
    /// computed no chaining values: there it is the same file.
    fn into_listed(mut self, listed: Option<&FileEntry>) -> Self {
        let older = FileFacts { chain: None, ..self.facts.clone() };
        if listed.is_some_and(|entry| entry.facts == older) {
            self.facts = older;
        }
        self
    }
}

impl Client {
    /// Shares a file with a group: hashes it, tells the directory, offers it.
    ///
    /// With `trusts_stamp` a file with the size and times of an earlier share is not read again. A
    /// file that the group already has gets one more seeder. A symbolic link is shared under its
    /// own name, with its current target. Another version in the group is replaced, if the user
    /// shared it first or owns the group. `progress` is called with the bytes hashed, and returns
    /// false to cancel.
    ///
    /// # Errors
    /// [`Refusal::NotMember`], [`ClientError::FileNameTaken`]; [`ClientError::Path`] if it is no
    /// plain readable file; [`ClientError::Interrupted`] if `progress` has cancelled.
    pub fn upload_file(
        &self,
        path: &Path,
        group: &str,
        trusts_stamp: bool,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Shared, ClientError> {
        let how = Reading { trusts_stamp, follows_link: true };
        self.share_file(path, group, how, progress)
    }

    /// Shares a file as [`Client::upload_file`] does.
    pub(crate) fn share_file(
        &self,
        path: &Path,
        group: &str,
        how: Reading,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Shared, ClientError> {
        let inner = &self.inner;
        let user = inner.need_user()?;
        let path = std::path::absolute(path).map_err(|e| ClientError::path(path, e.to_string()))?;
        let name = share_name(&path)?;
        let wanted = path.clone();
        let (path, stamp) = inner.disks.within(&path, move || {
            let path = match how.follows_link {
                true => follow_once(&wanted).map_err(|error| unreadable(&wanted, &error))?,
                false => wanted,
            };
            let (_, stamp) = open_plain(&path).map_err(|error| unreadable(&path, &error))?;
            Ok::<_, ClientError>((path, stamp))
        })??;
        let mut resolved = inner.resolve(group, None, Some(name.as_str()))?;
        if !resolved.group.part.is_member() {
            return Err(Refusal::NotMember.into());
        }
        let known = inner.store.shares_at(&path)?;
        let started = Instant::now();
        let trusted: &[ShareRow] = if how.trusts_stamp { &known } else { &[] };
        let listed = resolved.file.as_ref();
        let content = inner.content(&path, &name, (stamp, trusted), listed, progress)?;
        if started.elapsed() > RESOLVED_FOR {
            resolved = inner.resolve(group, None, Some(name.as_str()))?;
        }
        let content = content.into_listed(resolved.file.as_ref());
        let offer = Offer { path, content };
        let shared = inner.share_or_replace(&user, resolved, &known, &offer);
        inner.end_shares_of_other_content(&offer, &known);
        match shared {
            Err(ClientError::Refused(Refusal::FileNameTaken)) => Err(inner.name_taken(group)),
            other => other,
        }
    }

    /// Stops offering a file in a group, also on the user's other devices.
    ///
    /// # Errors
    /// [`Refusal::NotShared`], [`Refusal::NoSuchGroup`].
    pub fn stop_share(&self, group: &str, file: &str) -> Result<(), ClientError> {
        let resolved = self.inner.resolve(group, None, Some(file))?;
        let group = resolved.group.group;
        let facts = match resolved.file {
            Some(file) => file.facts,
            None if !resolved.group.part.is_member() => return Err(Refusal::NotMember.into()),
            None => return Err(Refusal::NotShared.into()),
        };
        self.inner.stop_share(group, &facts)?;
        self.inner.end_version(group, &facts, None)
    }

    /// The files that this device offers, by group and name, including unfinished downloads. Does
    /// not ask a tracker.
    ///
    /// # Errors
    /// [`Refusal::LoginFirst`].
    pub fn show_uploads(&self) -> Result<Vec<Upload>, ClientError> {
        self.inner.need_user()?;
        let engine = self.inner.engine().ok_or(Refusal::LoginFirst)?;
        self.inner.tell(Input::LookAtShares);
        let stats: HashMap<InfoHash, UploadStats> =
            engine.uploads().into_iter().map(|stats| (stats.info_hash, stats)).collect();
        let view = self.inner.view();
        let library = &view.library;
        let unreachable = view.reports.unreachable(uptime());
        let upload =
            |group_id, (group, file, path): (&Label, &Label, &Path), facts: &FileFacts, part| {
                let info_hash = facts.info_hash;
                let stats = stats.get(&info_hash);
                Upload {
                    group: group.clone(),
                    group_id,
                    file: file.clone(),
                    id: info_hash,
                    path: path.to_owned(),
                    len: facts.len,
                    part,
                    peers: stats.map_or(0, |stats| stats.peers),
                    sent: stats.map_or(0, |stats| stats.sent),
                    sent_per_second: stats.map_or(0, |stats| stats.sent_per_second),
                    sent_to: stats.map(|stats| in_order(&stats.sent_to)).unwrap_or_default(),
                    bad_data_members: view.reports.bad_data((group_id, info_hash)),
                    unreachable,
                }
            };
        let shares = library.shares.values().filter(|share| share.offered).map(|share| {
            let row = &share.row;
            let names = (&row.group_label, &row.label, row.path.as_path());
            upload(row.group, names, &row.facts, None)
        });
        let is_share = |row: &DownloadRow| {
            let share = library.share(row.group, row.facts.info_hash);
            share.is_some_and(|share| share.offered)
        };
        let parts = library.downloads().filter_map(|download| {
            let (row, live) = (&download.row, self.inner.live(download)?.status());
            let is_offered = download.takes_part() && live.bytes_done + live.sent > 0;
            (is_offered && !is_share(row)).then(|| {
                let names = (&row.group_label, &row.label, row.target.as_path());
                upload(row.group, names, &row.facts, Some(live.bytes_done))
            })
        });
        let mut uploads: Vec<Upload> = shares.chain(parts).collect();
        uploads.sort_by(|a, b| (&a.group, &a.file).cmp(&(&b.group, &b.file)));
        Ok(uploads)
    }
}

fn in_order(sent_to: &[(DeviceId, u64)]) -> Vec<(DeviceId, u64)> {
    let mut sorted = sent_to.to_vec();
    sorted.sort_unstable();
    sorted
}

/// Tells whether both are of the same bytes, under whatever names.
fn is_same_content(one: &FileFacts, other: &FileFacts) -> bool {
    (one.len, one.sha1) == (other.len, other.sha1)
}

/// The name under which a file is shared: its own.
fn share_name(path: &Path) -> Result<FileName, ClientError> {
    let name = path
        .file_name()
        .ok_or_else(|| ClientError::path(path, "it ends in no file name; name a file"))?;
    let name =
        name.to_str().ok_or_else(|| ClientError::path(path, "its name is not UTF-8; rename it"))?;
    let name: FileName =
        name.parse().map_err(|e| ClientError::path(path, format!("{e}; rename it")))?;
    match name.turns_text() {
        true => Err(ClientError::path(
            path,
            "its name holds characters that turn text around, and would mislead others; rename it",
        )),
        false => Ok(name),
    }
}

/// The error for a file that cannot be read.
fn unreadable(path: &Path, error: &io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::NotFound => ClientError::path(path, "there is no such file; check the path"),
        io::ErrorKind::PermissionDenied => {
            ClientError::path(path, "you may not read it; change its permissions")
        }
        io::ErrorKind::InvalidInput => ClientError::path(path, "it is not a plain file; name one"),
        _ => ClientError::path(path, error.to_string()),
    }
}

impl Runtime {
    /// Hashes a file, or takes its stored facts.
    fn content(
        &self,
        path: &Path,
        name: &FileName,
        (stamp, known): (FileStamp, &[ShareRow]),
        listed: Option<&FileEntry>,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Content, ClientError> {
        // A download may have another name on disk than in its group; it is shared under the name
        // on disk.
        let known: Vec<&FileFacts> = known
            .iter()
            .filter(|row| stamp.is_same_file(&row.stamp) && row.facts.name == *name)
            .map(|row| &row.facts)
            .collect();
        // Facts from before chaining values do where the file has one piece, and where the group
        // lists the file with them.
        let is_enough = |facts: &&&FileFacts| {
            facts.len <= u64::from(facts.piece_len)
                || listed.is_some_and(|entry| entry.facts == ***facts)
        };
        let facts = known.iter().find(|facts| facts.chain.is_some());
        if let Some(facts) = facts.or_else(|| known.iter().find(is_enough))
            && self.store.has_metainfo(facts)?
        {
            return Ok(Content { facts: (*facts).clone(), stamp });
        }
        let hashed = hash_file_as(path, name.clone(), &mut |done| progress(done, stamp.len))
            .map_err(|error| match error {
                HashError::Cancelled => ClientError::Interrupted,
                other => ClientError::BadArgument(other.to_string()),
            })?;
        if hashed.seed.stamp != stamp {
            return Err(ClientError::path(
                path,
                "it changed while it was read; share it again when it is finished",
            ));
        }
        self.store.put_metainfo(&hashed.seed.metainfo)?;
        if let Some(chain) = &hashed.seed.chain {
            self.store.put_chain(hashed.seed.metainfo.info_hash(), chain)?;
        }
        Ok(Content { facts: hashed.facts(), stamp })
    }

    /// Ends the shares, in every group, of what the file held before: its bytes are gone.
    fn end_shares_of_other_content(&self, offer: &Offer, known: &[ShareRow]) {
        let offered = known.iter().filter(|row| row.state != ShareState::Stopped);
        let others: BTreeSet<InfoHash> = offered
            .filter(|row| !is_same_content(&row.facts, &offer.content.facts))
            .map(|row| row.facts.info_hash)
            .collect();
        for info_hash in others {
            self.engine().inspect(|engine| _ = engine.unseed(info_hash));
            let path = offer.path.clone();
            self.tell(Input::FileChanged { info_hash, path, is_gone: false });
        }
    }

    /// Shares a file, in place of another version if there is one in the group.
    fn share_or_replace(
        &self,
        user: &UserEntry,
        Resolved { group, file, .. }: Resolved,
        known: &[ShareRow],
        offer: &Offer,
    ) -> Result<Shared, ClientError> {
        let Content { stamp, facts } = &offer.content;
        let stale = |row: &&ShareRow| {
            let ours = row.user == user.user
                && row.group == group.group
                && row.state != ShareState::Stopped;
            ours && !(stamp.is_same_file(&row.stamp) && is_same_content(&row.facts, facts))
        };
        let stale: Vec<&ShareRow> = known.iter().filter(stale).collect();
        if let Some(present) = file.filter(|entry| entry.facts.id() != offer.content.facts.id()) {
            match self.share(user, &group, offer, Some(&present)) {
                // Another user shared it, or it is gone meanwhile.
                Err(ClientError::Refused(Refusal::NotSharer | Refusal::NoSuchFile)) => {}
                Err(error) => return Err(error),
                Ok(shared) => {
                    let others: Vec<&ShareRow> =
                        stale.into_iter().filter(|row| row.facts != present.facts).collect();
                    self.give_up_replaced(&others)?;
                    return Ok(shared);
                }
            }
        }
        self.give_up_replaced(&stale)?;
        self.share(user, &group, offer, None)
    }

    /// Tells the directory, then offers the file. The share is stored first, so that a crash in
    /// between loses nothing.
    fn share(
        &self,
        user: &UserEntry,
        group: &GroupEntry,
        offer: &Offer,
        present: Option<&FileEntry>,
    ) -> Result<Shared, ClientError> {
        let Offer { path, content: Content { facts, stamp } } = offer;
        let info_hash = facts.info_hash;
        let mut row = ShareRow {
            user: user.user,
            group: group.group,
            group_label: group.label.clone(),
            label: Label::new(facts.name.as_str(), 1),
            facts: facts.clone(),
            path: path.clone(),
            stamp: *stamp,
            state: ShareState::Pending,
        };
        let view = self.view();
        let before = view.library.share(group.group, info_hash).map(|share| share.row.clone());
        self.ask(Command::PutShare(Box::new(row.clone())))?;
        match self.tell_directory(group.group, facts, present) {
            Ok(label) => row.label = label.unwrap_or(row.label),
            Err(error) => {
                let is_refused = matches!(error, ClientError::Refused(_));
                let before = before.map(|before| Box::new((*before).clone()));
                self.ask(Command::ShareNotTaken { row: Box::new(row), before, is_refused })?;
                return Err(error);
            }
        }
        self.ask(Command::ShareTaken(Box::new(row)))?;
        Ok(Shared {
            group: group.label.clone(),
            group_id: group.group,
            facts: facts.clone(),
            replaces: present.map(|entry| entry.at),
        })
    }

    /// Tells the directory that the user no longer shares a file.
    fn stop_share(&self, group: GroupId, facts: &FileFacts) -> Result<(), ClientError> {
        let (request, file) = (self.trackers.request_stamp(), facts.id());
        self.ask(Command::ExpectRemoval(group, facts.info_hash, file))?;
        let request = Request::StopShare { request, group, file };
        let stopped = self.trackers.call(&request, Need::Session).map(drop);
        // Without an answer it may have been carried out all the same.
        if let Err(ClientError::Refused(_)) = stopped {
            self.ask(Command::UnexpectRemoval(group, facts.info_hash))?;
        }
        stopped
    }

    /// Tells the directory of a file, which replaces `present` if there is one. Returns the file's
    /// display name, if a tracker answers.
    fn tell_directory(
        &self,
        group: GroupId,
        facts: &FileFacts,
        present: Option<&FileEntry>,
    ) -> Result<Option<Label>, ClientError> {
        let (request, file) = (self.trackers.request_stamp(), facts.clone());
        self.ask(Command::UnexpectRemoval(group, facts.info_hash))?;
        let request = match present {
            None => Request::ShareFile { request, group, file },
            Some(entry) => {
                let replaces = entry.facts.id();
                self.ask(Command::ExpectRemoval(group, entry.facts.info_hash, replaces))?;
                Request::ReplaceFile { request, group, file, replaces }
            }
        };
        if let Err(error) = self.trackers.call(&request, Need::Session) {
            if let Some(entry) = present {
                self.ask(Command::UnexpectRemoval(group, entry.facts.info_hash))?;
            }
            return Err(error);
        }
        if let Some(entry) = present {
            self.end_version(group, &entry.facts, None)?;
        }
        self.listed_as_sent(group, facts)
    }

    /// Stops offering a version that this device has removed, replaced or stopped sharing.
    pub(crate) fn end_version(
        &self,
        group: GroupId,
        facts: &FileFacts,
        reason: Option<&str>,
    ) -> Result<(), ClientError> {
        let (facts, reason) = (Box::new(facts.clone()), reason.map(str::to_owned));
        let ended = self.ask(Command::EndVersion { group, facts, reason });
        ended.map(drop).map_err(|error| match error {
            ClientError::Store(error) => {
                let text = format!(
                    "the group has the file from here no more, but that cannot be stored: {error}; \
                     make room, or the next start offers it again"
                );
                ClientError::path(&self.config.data_dir, text)
            }
            other => other,
        })
    }

    /// Stops the user's shares whose files were replaced at the same path: they can never be served
    /// again, and their names become free.
    fn give_up_replaced(&self, stale: &[&ShareRow]) -> Result<(), ClientError> {
        for row in stale {
            match self.stop_share(row.group, &row.facts) {
                Ok(()) | Err(ClientError::Refused(Refusal::NotShared | Refusal::NoSuchFile)) => {
                    self.end_version(row.group, &row.facts, None)?;
                }
                Err(error) => warn!("{} is still listed in its old version: {error}", row.label),
            }
        }
        Ok(())
    }
}
