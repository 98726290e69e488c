//! A client's metrics, from its snapshot and its trackers' state.

use std::io;

use crate::client::api::{Api, Command, DownloadState, Reply, call};
use crate::client::routes::answer::fail;
use crate::http::{Metrics, Responder};

/// Sends the metrics.
pub(super) fn send(api: &dyn Api, responder: Responder<'_>) -> io::Result<()> {
    let snapshot = match api.snapshot() {
        Ok(snapshot) => snapshot,
        Err(error) => return fail(responder, &error),
    };
    let mut metrics = Metrics::default();
    let states = [
        ("running", DownloadState::Running),
        ("queued", DownloadState::Queued),
        ("paused", DownloadState::Paused),
        ("failed", DownloadState::Failed),
    ];
    let downloads = &snapshot.downloads;
    let counts = states.map(|(word, state)| {
        (word, downloads.iter().filter(|download| download.state == state).count() as u64)
    });
    metrics.gauges("downloads", "Unfinished downloads by their state", "state", counts);
    let missing = downloads.iter().map(|d| d.size.saturating_sub(d.bytes_done)).sum();
    metrics.bytes("downloads_missing", "Bytes that unfinished downloads still need", missing);
    let rate = downloads.iter().map(|download| download.bytes_per_second).sum();
    metrics.gauge("receive_bytes_per_second", "Bytes received in the last second", rate);
    let links = downloads.iter().map(|download| u64::from(download.peers)).sum();
    metrics.gauge("download_links", "Links of running downloads to other clients", links);
    metrics.gauge("logged_in", "1 while a user is logged in", snapshot.account.is_some().into());
    metrics.gauge("ended_downloads", "Ends of downloads in this session", snapshot.last_end);
    // It needs no tracker.
    if let Ok(uploads) =
        call(api, Command::ShowUploads { listing: Default::default() }).and_then(Reply::uploads)
    {
        metrics.gauge(
            "shares",
            "Offered files, of the first thousand",
            uploads.entries.len() as u64,
        );
        let sent = uploads.entries.iter().map(|upload| upload.bytes_sent).sum();
        metrics.bytes("shares_sent", "Bytes that these have sent since the login", sent);
    }
    metrics.send(responder)
}

/// Tells whether the client serves: a user is logged in. It asks for nothing that grows with the
/// client's downloads, since no token is needed.
pub(super) fn ready(api: &dyn Api) -> Result<(), String> {
    match call(api, Command::Whoami) {
        Ok(_) => Ok(()),
        Err(_) => Err("no user is logged in".to_owned()),
    }
}
