//! Errors for a download that is not in the state that a command needs.

use crate::client::error::ClientError;
use crate::store::DownloadRow;

/// An error that names the download's state.
pub(crate) fn state(text: &str) -> ClientError {
    ClientError::DownloadState(text.into())
}

/// No such download is known; the caller fills in the names.
pub(crate) fn gone() -> ClientError {
    ClientError::NoSuchDownload { group: String::new(), file: String::new() }
}

pub(crate) fn complete_already() -> ClientError {
    state("the download is complete already")
}

pub(crate) fn complete_stays() -> ClientError {
    state("the download is complete; the file stays, stop_share stops offering it")
}

pub(super) fn being_cancelled() -> ClientError {
    state("the download is being cancelled; try again in a moment")
}

pub(super) fn waits_already(place: usize) -> ClientError {
    state(&format!(
        "the download waits for others to end, at place {place} of the queue; prioritize lets it go first"
    ))
}

pub(crate) fn taken(row: &DownloadRow) -> ClientError {
    let place = row.target.display();
    state(&format!(
        "this content is being downloaded to {place} already; cancel_download that one first"
    ))
}
