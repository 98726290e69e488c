//! Downloads that are being begun: in a script the next lines' downloads share their wait for the
//! disk.
//!
//! **Invariant:** an answer is written once the download survives a crash, or as a failure. Events
//! of downloads are written after it.

use std::time::{Duration, Instant};

use super::answer::Answer;
use super::output::Output;
use crate::client::api::{Api, ApiError, Begun, Command, Download, DownloadState, Reply, call};
use crate::types::InfoHash;

/// Answers held back at a time.
const HELD_MAX: usize = 64;
/// How long the first of them is held back while more lines are there.
const HELD_FOR: Duration = Duration::from_millis(100);
/// The command whose answers are held back.
pub(super) const DOWNLOAD: &str = "download_file";

/// What is held back.
#[derive(Debug, Default)]
pub(super) struct Held {
    downloads: Vec<InfoHash>,
    /// When the first of them came.
    since: Option<Instant>,
    has_failed: bool,
}

impl Held {
    /// Tells whether something that was to be durable was not, ever.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Keeps a download that is being begun.
    pub(super) fn push(&mut self, download: InfoHash) {
        self.downloads.push(download);
        self.since.get_or_insert_with(Instant::now);
    }

    /// Tells whether no more is to be held back.
    pub(super) fn is_due(&self) -> bool {
        self.downloads.len() >= HELD_MAX
            || self.since.is_some_and(|since| since.elapsed() >= HELD_FOR)
    }

    /// Waits until all are begun and writes the answers, then the held events.
    pub(super) fn release(&mut self, api: &dyn Api, output: &Output) {
        self.since = None;
        let downloads = std::mem::take(&mut self.downloads);
        if !downloads.is_empty() {
            let count = downloads.len();
            match call(api, Command::Sync { downloads }).and_then(Reply::begun) {
                Ok(results) => results.into_iter().for_each(|begun| self.answer(begun, output)),
                Err(error) => (0..count).for_each(|_| self.fail(&error, output)),
            }
        }
        output.release_downloads();
    }

    fn answer(&mut self, begun: Begun, output: &Output) {
        match (begun.download, begun.error) {
            (Some(download), _) => output.answer(DOWNLOAD, to_answer(&download)),
            (None, Some(error)) => self.fail(&error, output),
            (None, None) => self.fail(&ApiError::bad_reply(), output),
        }
    }

    fn fail(&mut self, error: &ApiError, output: &Output) {
        self.has_failed = true;
        output.failure(Some(DOWNLOAD), error);
    }
}

fn to_answer(download: &Download) -> Answer {
    let (group, file, path) = (&download.group, &download.file, &download.path);
    let text = match (download.state, download.place) {
        (DownloadState::Queued, Some(place)) => {
            format!("{file} from {group} to {path} waits for other downloads, at place {place}")
        }
        _ => format!("downloading {file} from {group} to {path}"),
    };
    Answer::line(text)
        .with("group", group.as_str())
        .with("group_id", download.group_id.to_string())
        .with("file", file.as_str())
        .with("info_hash", download.info_hash.to_string())
        .with("path", path.as_str())
}
