//! The commands about limits and the order of downloads.
//!
//! **Invariant:** a limit is in effect when the method returns; data that was requested before may
//! still arrive. Global limits last until the client ends, a download's own limit as long as the
//! download.

use super::error::ClientError;
use super::runtime::ClientLimits;
use super::session::input::Command;
use super::session::library::Download;
use super::session::refusals::complete_already;
use super::session::status::DownloadStatus;
use super::start::Client;
use crate::store::Progress;
use crate::swarm::Limits;
use crate::types::{GroupId, InfoHash, Label, Rate};

/// The client's limits, and the downloads with limits of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsStatus {
    /// The global rate limits.
    pub rates: Limits,
    /// Downloads that run at a time; 0 for any number.
    pub downloads_max: usize,
    /// Downloads with limits of their own that are not complete.
    pub limited: Vec<LimitedDownload>,
}

/// A download with a limit of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitedDownload {
    /// The group's display name.
    pub group: Label,
    /// The group's id.
    pub group_id: GroupId,
    /// The file's display name.
    pub file: Label,
    /// The id of its content.
    pub id: InfoHash,
    /// The limit.
    pub limit: Rate,
}

impl Client {
    /// The current limits. Needs no session.
    pub fn limits(&self) -> LimitsStatus {
        let ClientLimits { rates, downloads_max } = *self.inner.limits.lock();
        let view = self.inner.view();
        let has_limit = |download: &Download| {
            let is_limited = view.library.queue.limit(download.info_hash()).is_some();
            is_limited && download.row.progress != Progress::Complete
        };
        let statuses = self.inner.statuses(has_limit, |status| status);
        let limited = |status: DownloadStatus| {
            status.limit.map(|limit| LimitedDownload {
                group: status.group,
                group_id: status.group_id,
                file: status.file,
                id: status.id,
                limit,
            })
        };
        LimitsStatus {
            rates,
            downloads_max,
            limited: statuses.into_iter().filter_map(limited).collect(),
        }
    }

    /// Limits the total upload rate until the client ends. Needs no session.
    pub fn limit_upload(&self, rate: Option<Rate>) {
        self.set_rates(|rates| rates.upload = rate);
    }

    /// Limits the total download rate until the client ends. Needs no session.
    pub fn limit_download_rate(&self, rate: Option<Rate>) {
        self.set_rates(|rates| rates.download = rate);
    }

    fn set_rates(&self, change: impl FnOnce(&mut Limits)) {
        change(&mut self.inner.limits.lock().rates);
        self.inner.apply_rates();
    }

    /// Sets how many downloads run at a time, 0 for any number, until the client ends. If more are
    /// running, the last ones wait from now on. Needs no session.
    pub fn limit_downloads(&self, max: usize) {
        let pending = {
            let mut limits = self.inner.limits.lock();
            limits.downloads_max = max;
            self.inner.ask_soon(Command::DownloadsMax(max))
        };
        // It fails only while the client stops.
        let _ = pending.wait();
    }

    /// Limits one download, in addition to the global limit, as long as the download lasts.
    ///
    /// # Errors
    /// [`ClientError::NoSuchDownload`], [`ClientError::DownloadState`] if it is complete.
    pub fn limit_download(
        &self,
        group: &str,
        file: &str,
        rate: Option<Rate>,
    ) -> Result<(), ClientError> {
        let download = self.download(group, file)?;
        let info_hash = download.row().facts.info_hash;
        download.command(Command::Limit(info_hash, rate), complete_already)
    }

    /// Moves a download to the front. If it waits and all slots are taken, it takes the slot of the
    /// last running one, which then waits.
    ///
    /// # Errors
    /// [`ClientError::NoSuchDownload`], [`ClientError::DownloadState`] if it neither runs nor
    /// waits.
    pub fn prioritize(&self, group: &str, file: &str) -> Result<(), ClientError> {
        let download = self.download(group, file)?;
        let info_hash = download.row().facts.info_hash;
        download.command(Command::Prioritize(info_hash), complete_already)
    }
}
