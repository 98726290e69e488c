//! Downloads that are being begun: in a script the next lines' downloads share their wait for the
//! disk.
//!
//! **Invariant:** an answer is written once what it says is durable, or as a failure if it is not;
//! what is to be told of downloads meanwhile is told behind it.

use std::time::{Duration, Instant};

use super::answer::Answer;
use super::output::Output;
use crate::client::downloads::Beginning;
use crate::client::{DownloadPhase, DownloadStatus};

/// Answers held back at a time.
const HELD_MAX: usize = 64;
/// How long the first of them is held back while more lines are there.
const HELD_FOR: Duration = Duration::from_millis(100);
/// The command whose answers are held back.
pub(super) const DOWNLOAD: &str = "download_file";

/// What is held back.
#[derive(Default)]
pub(super) struct Held {
    beginnings: Vec<Beginning>,
    /// When the first of them came.
    since: Option<Instant>,
    has_failed: bool,
}

impl Held {
    /// Tells whether a download that was to be begun was not, ever.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Keeps a download that is being begun.
    pub(super) fn push(&mut self, beginning: Beginning) {
        self.beginnings.push(beginning);
        self.since.get_or_insert_with(Instant::now);
    }

    /// Tells whether no more is to be held back.
    pub(super) fn is_due(&self) -> bool {
        self.beginnings.len() >= HELD_MAX
            || self.since.is_some_and(|since| since.elapsed() >= HELD_FOR)
    }

    /// Waits until all are begun, and says so; then what is to be told of downloads.
    pub(super) fn release(&mut self, output: &Output) {
        self.since = None;
        for beginning in std::mem::take(&mut self.beginnings) {
            match beginning.wait() {
                Ok(handle) => output.answer(DOWNLOAD, begun(&handle.status())),
                Err(error) => {
                    self.has_failed = true;
                    output.failure(Some(DOWNLOAD), &error);
                }
            }
        }
        output.release_downloads();
    }
}

fn begun(status: &DownloadStatus) -> Answer {
    let path = status.path.to_string_lossy().into_owned();
    let text = match status.phase {
        DownloadPhase::Queued(place) => {
            format!(
                "{} from {} to {path} waits for other downloads, at place {place}",
                status.file, status.group
            )
        }
        _ => format!("downloading {} from {} to {path}", status.file, status.group),
    };
    Answer::line(text)
        .with("group", status.group.as_str())
        .with("file", status.file.as_str())
        .with("path", path)
}
