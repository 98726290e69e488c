//! The status of downloads: the session's published view, and the engine's figures.

use std::collections::HashSet;

use super::Runtime;
use crate::client::error::ClientError;
use crate::client::session::View;
use crate::client::session::library::Download;
use crate::client::session::status::DownloadStatus;
use crate::store::Progress;
use crate::swarm::Transfer;
use crate::types::InfoHash;

impl Runtime {
    /// The engine's handle on a download, for its figures.
    pub(crate) fn live(&self, download: &Download) -> Option<Transfer> {
        self.transfer(download.transfer()?)
    }

    /// The status of a download that is in memory.
    pub(crate) fn status(&self, info_hash: InfoHash) -> Option<DownloadStatus> {
        let view = self.view();
        let download = view.library.download(info_hash).filter(|download| download.is_shown())?;
        let live = self.live(download).map(|transfer| transfer.status());
        let place = view.library.queue.place_of(info_hash);
        Some(view.library.status(download, live.as_ref(), place))
    }

    /// The status of a complete download that is only in the store.
    pub(crate) fn earlier_status(&self, info_hash: InfoHash) -> Option<DownloadStatus> {
        let user = self.need_user().ok()?.user;
        let row = self.store.download(user, info_hash).ok()??;
        (row.progress == Progress::Complete).then(|| DownloadStatus::of_row(&row))
    }

    /// The status of chosen downloads in memory, in the order of requests, each converted by `each`
    /// before the next is looked at: thousands need not be held twice.
    pub(crate) fn statuses<T>(
        &self,
        which: impl Fn(&Download) -> bool,
        each: impl FnMut(DownloadStatus) -> T,
    ) -> Vec<T> {
        let view = self.view();
        self.statuses_in(&view, which, each)
    }

    fn statuses_in<T>(
        &self,
        view: &View,
        which: impl Fn(&Download) -> bool,
        mut each: impl FnMut(DownloadStatus) -> T,
    ) -> Vec<T> {
        let library = &view.library;
        let transfers: Vec<(&Download, Option<Transfer>)> = {
            let running = self.running.lock();
            let of = |download: &Download| running.transfers.get(&download.transfer()?).cloned();
            let chosen = library.downloads().filter(|d| d.is_shown() && which(d));
            chosen.map(|download| (download, of(download))).collect()
        };
        let places = library.queue.places();
        let status = |(download, transfer): (&Download, Option<Transfer>)| {
            let live = transfer.map(|transfer| transfer.status());
            let place = places.get(&download.info_hash()).copied();
            each(library.status(download, live.as_ref(), place))
        };
        transfers.into_iter().map(status).collect()
    }

    /// The status of every download of the user, also of complete ones of earlier sessions, in the
    /// order of requests.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn all_statuses(&self) -> Result<Vec<DownloadStatus>, ClientError> {
        let user = self.need_user()?.user;
        let rows = self.store.downloads(user)?;
        // After the store, so that a download that begins meanwhile is included.
        let view = self.view();
        let here = self.statuses_in(&view, |_| true, |status| status);
        let known: HashSet<InfoHash> =
            view.library.downloads().map(|download| download.info_hash()).collect();
        let earlier = rows
            .iter()
            .filter(|row| row.progress == Progress::Complete)
            .filter(|row| !known.contains(&row.facts.info_hash));
        let begun = |info_hash: InfoHash| {
            view.library.download(info_hash).map_or(0, |download| download.row.begun_ms)
        };
        let mut all: Vec<(u64, DownloadStatus)> = here
            .into_iter()
            .map(|status| (begun(status.id), status))
            .chain(earlier.map(|row| (row.begun_ms, DownloadStatus::of_row(row))))
            .collect();
        all.sort_by_key(|(begun, _)| *begun);
        Ok(all.into_iter().map(|(_, status)| status).collect())
    }
}
