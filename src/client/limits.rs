//! The commands about limits and the order of downloads.
//!
//! **Invariant:** a limit counts from when the method returns; what was asked for before may still
//! come. Limits of all together hold until the client ends, those of a download as long as it is
//! there.

use super::handle::state;
use super::library::DownloadPhase;
use super::{Client, ClientError};
use crate::store::Progress;
use crate::swarm::Limits;
use crate::types::{GroupId, InfoHash, Label, Rate};

/// What a client keeps to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientLimits {
    pub(crate) rates: Limits,
    pub(crate) downloads_max: usize,
}

/// What a client keeps to, and which downloads to limits of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsStatus {
    /// What is sent and received a second.
    pub rates: Limits,
    /// Downloads that run at a time; 0 for any number.
    pub downloads_max: usize,
    /// Downloads with limits of their own that are not complete.
    pub limited: Vec<LimitedDownload>,
}

/// A download with a limit of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitedDownload {
    /// The group's name as shown.
    pub group: Label,
    /// The group's id.
    pub group_id: GroupId,
    /// The file's name as shown.
    pub file: Label,
    /// The id of its content.
    pub id: InfoHash,
    /// The limit.
    pub limit: Rate,
}

impl Client {
    /// The limits now. Needs no session.
    pub fn limits(&self) -> LimitsStatus {
        let ClientLimits { rates, downloads_max } = *self.inner.limits.lock();
        let mut statuses = self.inner.library.lock().statuses();
        statuses.retain(|status| status.phase != DownloadPhase::Complete);
        let limited = |status: super::DownloadStatus| {
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

    /// Limits what is sent to all together, until the client ends. Needs no session.
    pub fn limit_upload(&self, rate: Option<Rate>) {
        self.set_rates(|rates| rates.upload = rate);
    }

    /// Limits what is fetched in all, until the client ends. Needs no session.
    pub fn limit_download_rate(&self, rate: Option<Rate>) {
        self.set_rates(|rates| rates.download = rate);
    }

    fn set_rates(&self, change: impl FnOnce(&mut Limits)) {
        let mut limits = self.inner.limits.lock();
        change(&mut limits.rates);
        // Under the lock: the last word is the one that counts.
        if let Some(engine) = self.inner.engine() {
            engine.set_limits(limits.rates);
        }
    }

    /// Lets so many downloads run at a time, 0 for any number, until the client ends. With fewer
    /// than run now, the last ones wait from now on. Needs no session.
    pub fn limit_downloads(&self, max: usize) {
        let displaced = {
            let mut limits = self.inner.limits.lock();
            limits.downloads_max = max;
            self.inner.library.lock().queue.set_max(max)
        };
        self.inner.displace(displaced);
    }

    /// Limits one download, beside the limit of all together, for as long as it is there.
    ///
    /// # Errors
    /// [`ClientError::NoSuchDownload`], [`ClientError::DownloadState`] if it is complete.
    pub fn limit_download(
        &self,
        group: &str,
        file: &str,
        rate: Option<Rate>,
    ) -> Result<(), ClientError> {
        let info_hash = self.unfinished(group, file)?;
        {
            let mut library = self.inner.library.lock();
            library.queue.set_limit(info_hash, rate);
            if let Some(transfer) =
                library.download(info_hash).and_then(|download| download.transfer.clone())
            {
                transfer.set_limit(rate);
            }
        }
        self.inner.keep_queued(info_hash);
        Ok(())
    }

    /// Moves a download before all others. If it waits, and as many run as may, it takes the place
    /// of the last of these, which waits from now on as the next.
    ///
    /// # Errors
    /// [`ClientError::NoSuchDownload`], [`ClientError::DownloadState`] if it neither runs nor
    /// waits.
    pub fn prioritize(&self, group: &str, file: &str) -> Result<(), ClientError> {
        let info_hash = self.unfinished(group, file)?;
        let moved = self.inner.library.lock().queue.prioritize(info_hash);
        let Some(moved) = moved else {
            return Err(state(
                "the download neither runs nor waits; resume_download goes on with it",
            ));
        };
        self.inner.keep_queued(info_hash);
        self.inner.displace(moved.displaced);
        Ok(())
    }

    fn unfinished(&self, group: &str, file: &str) -> Result<InfoHash, ClientError> {
        self.inner.need_user()?;
        let mut library = self.inner.library.lock();
        match library.find_download(group, file) {
            Some(download) if download.row.progress == Progress::Complete => {
                Err(state("the download is complete already"))
            }
            Some(download) => Ok(download.info_hash()),
            None => Err(ClientError::NoSuchDownload { group: group.into(), file: file.into() }),
        }
    }
}
