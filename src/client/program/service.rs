//! A client without a prompt, as `--service` asks for: it works until a signal or `shutdown` ends
//! it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::StartError;
use crate::client::api::{Api, DownloadState, Snapshot};
use crate::client::service::{Service, State, notify};
use crate::client::shell::{Announcer, Interrupts, Output, Woken, begin};
use crate::client::{Backend, ClientError};

/// Time between two looks at how the client is, for the service manager.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// Serves the control socket until the end; returns the exit status.
///
/// # Errors
/// Without its socket nobody could use it.
///
/// # Blocking
/// Until a signal or `shutdown` ends it.
pub(super) fn run(
    backend: &Arc<Backend>,
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
    // Last: whoever waits for this line finds the socket.
    begin(&backend.snapshot()?, output);
    while interrupts.wait(None, Some(Instant::now() + STATUS_INTERVAL)) == Woken::Time {
        let now = status(&backend.snapshot()?);
        if now != told {
            notify(&[State::Status(now.clone())]);
            told = now;
        }
    }
    notify(&[State::Stopping, State::Status("ending".into())]);
    announcer.expect_end();
    service.stop();
    backend.stop();
    announcer.stop();
    Ok(0)
}

/// How a client is, in a line.
fn status(snapshot: &Snapshot) -> String {
    let count = |state| snapshot.downloads.iter().filter(|d| d.state == state).count();
    let user = match (&snapshot.account, &snapshot.session_ended) {
        (Some(account), _) => format!("logged in as {}", account.user),
        (None, Some(ended)) => format!("the session has ended: {}", ended.reason),
        (None, None) => "nobody is logged in".into(),
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
