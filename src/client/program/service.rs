//! `--service`: a client without a prompt, until a signal or `shutdown` ends it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::StartError;
use crate::client::api::{Api, DownloadState, Snapshot};
use crate::client::service::{Service, State, notify};
use crate::client::shell::{Announcer, Interrupts, Output, Woken, begin};
use crate::client::{Backend, ClientError};
use crate::http::page::PageServer;

/// Interval between updates of the service manager's status line.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// Serves the control socket, beside the page, until the end; returns the exit status.
///
/// # Errors
/// A service needs its control socket.
///
/// # Blocking
/// Until a signal or `shutdown` ends it.
pub(super) fn run(
    backend: &Arc<Backend>,
    page: Option<&PageServer>,
    data_dir: &Path,
    output: &Output,
    mut interrupts: Interrupts,
) -> Result<u8, StartError> {
    let service = Service::start(backend.clone(), data_dir).map_err(|error| {
        let what = format!("{}: cannot make the control socket", data_dir.display());
        ClientError::system(what, error)
    })?;
    let announcer = Announcer::start(backend.subscribe(false)?, output.clone(), || {});
    let mut told = status(&backend.snapshot()?);
    notify(&[State::Ready, State::Status(told.clone())]);
    // Last, so that the socket is there when this line appears.
    let snapshot = backend.snapshot()?;
    begin(&snapshot, output);
    snapshot.page.iter().for_each(|url| output.page_at(url));
    while interrupts.wait(None, Some(Instant::now() + STATUS_INTERVAL)) == Woken::Time {
        let now = status(&backend.snapshot()?);
        if now != told {
            notify(&[State::Status(now.clone())]);
            told = now;
        }
    }
    notify(&[State::Stopping, State::Status("ending".into())]);
    announcer.expect_end();
    page.into_iter().for_each(PageServer::stop);
    service.stop();
    backend.stop();
    announcer.stop();
    Ok(0)
}

/// A line about the client's state.
fn status(snapshot: &Snapshot) -> String {
    let count = |state| snapshot.downloads.iter().filter(|d| d.state == state).count();
    let user = match (&snapshot.account, &snapshot.session_ended) {
        (Some(account), _) => format!("logged in as {}", account.user),
        (None, Some(ended)) => format!("the session has ended: {}", ended.reason),
        (None, None) => "not logged in".into(),
    };
    let counts: Vec<String> = [
        (DownloadState::Running, "running"),
        (DownloadState::Queued, "waiting"),
        (DownloadState::Paused, "paused"),
        (DownloadState::Failed, "failed"),
    ]
    .into_iter()
    .filter_map(|(state, word)| match count(state) {
        0 => None,
        count => Some(format!("{count} {word}")),
    })
    .collect();
    let downloads = if counts.is_empty() { "none".into() } else { counts.join(", ") };
    format!("{user}; downloads: {downloads}")
}
