//! The methods that change torrents.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};

use super::Call;
use super::fields::Torrent;
use super::request::{self, AddTorrent, Arguments, Chosen, Ids, RemoveTorrents, SetTorrents};
use crate::client::api::{ApiError, Command, DownloadState, ErrorCode};
use crate::types::{Rate, invitation_link};

/// What a name of a file to add may begin with.
/// Bytes in Transmission's kB.
const KILO: u64 = 1000;

impl Call<'_> {
    /// The torrents that a request names; all, if it names none.
    fn chosen(&self, ids: Option<&Ids>) -> Result<Vec<Torrent>, ApiError> {
        let torrents = self.torrents()?;
        let Some(ids) = ids else { return Ok(torrents) };
        if ids.is_recent() {
            return Ok(torrents.into_iter().filter(|torrent| torrent.is_recent).collect());
        }
        let is_there = |id: &&request::Id| torrents.iter().any(|t| id.names(t.id, &t.hash));
        if let Some(missing) = ids.all().iter().find(|id| !is_there(id)) {
            let text = format!("there is no torrent {missing}; list them with torrent-get");
            return Err(ApiError::new(ErrorCode::NoSuchDownload, text));
        }
        Ok(torrents.into_iter().filter(|torrent| ids.name(torrent.id, &torrent.hash)).collect())
    }

    /// Does something with each of the torrents that a request names. An error does not spare the
    /// others; the first one is told.
    fn with_each(
        &self,
        ids: Option<&Ids>,
        act: impl Fn(&Torrent) -> Result<(), ApiError>,
    ) -> Result<Value, ApiError> {
        let mut first = None;
        for torrent in self.chosen(ids)? {
            if let Err(mut error) = act(&torrent) {
                error.message = format!("{}: {}", torrent.file, error.message);
                first = first.or(Some(error));
            }
        }
        first.map_or_else(|| Ok(json!({})), Err)
    }

    pub(super) fn torrent_add(&self, arguments: &Arguments) -> Result<Value, ApiError> {
        let asked: AddTorrent = request::read(arguments)?;
        if asked.metainfo.is_some() {
            let text = "Posse takes no .torrent files; add posse:<group>/<file>";
            return Err(ApiError::new(ErrorCode::Unsupported, text));
        }
        let (group, file) = names(asked.filename.as_deref().unwrap_or_default())?;
        let told = |word: &str, torrent: &Torrent| json!({ word: { "id": torrent.id, "name": torrent.file, "hashString": torrent.hash } });
        let is_it = |torrent: &&Torrent| torrent.group == group && torrent.file == file;
        if let Some(torrent) = self.torrents()?.iter().find(is_it) {
            return Ok(told("torrent-duplicate", torrent));
        }
        let (directory, starts) = {
            let settings = self.rpc.settings.lock();
            (settings.download_dir.clone(), settings.starts_added)
        };
        let destination = asked.download_dir.map(PathBuf::from).or(directory);
        let destination = destination.ok_or_else(|| {
            ApiError::bad_argument("download-dir is missing; there is no default")
        })?;
        let command = Command::DownloadFile {
            group: group.to_owned(),
            file: file.to_owned(),
            destination,
            rename_safe: false,
            soon: false,
        };
        let mut download = self.command(command)?.download()?;
        if asked.paused.unwrap_or(!starts) && download.is_unfinished() {
            let (group, file) = (download.group.to_string(), download.file.to_string());
            match self.command(Command::PauseDownload { group, file }) {
                Ok(_) => download.state = DownloadState::Paused,
                // It may be complete by now.
                Err(error) if error.code == ErrorCode::DownloadState => {}
                Err(error) => return Err(error),
            }
        }
        let mut table = self.rpc.table.lock();
        Ok(told("torrent-added", &table.add(download, Instant::now())))
    }

    pub(super) fn torrent_start(
        &self,
        arguments: &Arguments,
        is_now: bool,
    ) -> Result<Value, ApiError> {
        let Chosen { ids } = request::read(arguments)?;
        self.with_each(ids.as_ref(), |torrent| {
            let (group, file) = torrent.names();
            let is_stopped =
                matches!(torrent.state, Some(DownloadState::Paused | DownloadState::Failed));
            if is_stopped {
                self.command(Command::ResumeDownload { group: group.clone(), file: file.clone() })?;
            }
            if is_now && (is_stopped || torrent.state == Some(DownloadState::Queued)) {
                match self.command(Command::Prioritize { group, file }) {
                    // It runs by now.
                    Err(error) if error.code == ErrorCode::DownloadState => {}
                    done => _ = done?,
                }
            }
            Ok(())
        })
    }

    pub(super) fn torrent_stop(&self, arguments: &Arguments) -> Result<Value, ApiError> {
        let Chosen { ids } = request::read(arguments)?;
        self.with_each(ids.as_ref(), |torrent| {
            let (group, file) = torrent.names();
            match torrent.state {
                Some(DownloadState::Running | DownloadState::Queued) => {
                    self.command(Command::PauseDownload { group, file }).map(|_| ())
                }
                Some(_) => Ok(()),
                None => Err(ApiError::new(
                    ErrorCode::DownloadState,
                    "it is shared, and a share has no pause; torrent-remove ends it",
                )),
            }
        })
    }

    pub(super) fn torrent_remove(&self, arguments: &Arguments) -> Result<Value, ApiError> {
        let asked: RemoveTorrents = request::read(arguments)?;
        self.with_each(asked.ids.as_ref(), |torrent| {
            let (group, file) = torrent.names();
            match torrent.state {
                None if asked.delete_local_data => Err(ApiError::new(
                    ErrorCode::DownloadState,
                    "it is complete, and Posse deletes no complete file; remove it without \
                     delete-local-data, and delete the file yourself",
                )),
                None => self.command(Command::StopShare { group, file }).map(|_| ()),
                Some(_) => self.command(Command::CancelDownload { group, file }).map(|_| ()),
            }
        })
    }

    pub(super) fn torrent_set(&self, arguments: &Arguments) -> Result<Value, ApiError> {
        let asked: SetTorrents = request::read(arguments)?;
        let (wanted, is_limited) = (asked.download_limit, asked.download_limited);
        if wanted.is_none() && is_limited.is_none() {
            return Ok(json!({}));
        }
        self.with_each(asked.ids.as_ref(), |torrent| {
            let (group, file) = torrent.names();
            let limit = match (is_limited.unwrap_or(torrent.limit.is_some()), wanted) {
                (true, Some(kilo)) => Some(rate(kilo)?),
                (false, None) => None,
                // The number alone limits nothing.
                (false, Some(_)) if is_limited.is_some() => None,
                (false, Some(_)) => {
                    return Err(ApiError::bad_argument("downloadLimited is missing"));
                }
                (true, None) if torrent.limit.is_some() => return Ok(()),
                (true, None) => return Err(ApiError::bad_argument("downloadLimit is missing")),
            };
            self.command(Command::LimitDownload { group, file, limit }).map(|_| ())
        })
    }

    pub(super) fn queue_move_top(&self, arguments: &Arguments) -> Result<Value, ApiError> {
        let Chosen { ids } = request::read(arguments)?;
        self.with_each(ids.as_ref(), |torrent| {
            let (group, file) = torrent.names();
            match torrent.state {
                Some(DownloadState::Queued) => {
                    self.command(Command::Prioritize { group, file }).map(|_| ())
                }
                // Nothing waits in front of it.
                _ => Ok(()),
            }
        })
    }
}

/// A limit in kB/s.
pub(super) fn rate(kilo: u64) -> Result<Rate, ApiError> {
    Ok(Rate::new(kilo.saturating_mul(KILO))?)
}

/// Group and file of a name to add.
fn names(text: &str) -> Result<(&str, &str), ApiError> {
    let names = text.strip_prefix(invitation_link::SCHEME).unwrap_or(text).split_once('/');
    names.filter(|(group, file)| !group.is_empty() && !file.is_empty()).ok_or_else(|| {
        ApiError::bad_argument(format!(
            "{text:?} names no file of a group; add posse:<group>/<file>"
        ))
    })
}
