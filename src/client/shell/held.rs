//! Answers to downloads that were begun and are not durable yet: in a script the next lines'
//! downloads share their wait for the disk.
//!
//! **Invariant:** an answer is written once what it says is durable, or as a failure if it is not;
//! what is to be told of downloads meanwhile is told behind it.

use std::time::{Duration, Instant};

use super::answer::Answer;
use super::output::Output;
use crate::client::api::{Api, Command, call};

/// Answers held back at a time.
const HELD_MAX: usize = 64;
/// How long the first of them is held back while more lines are there.
const HELD_FOR: Duration = Duration::from_millis(100);
/// The command whose answers are held back.
pub(super) const DOWNLOAD: &str = "download_file";

/// What is held back.
#[derive(Debug, Default)]
pub(super) struct Held {
    answers: Vec<Answer>,
    /// When the first of them came.
    since: Option<Instant>,
    has_failed: bool,
}

impl Held {
    /// Tells whether something that was to be durable was not, ever.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Keeps an answer.
    pub(super) fn push(&mut self, answer: Answer) {
        self.answers.push(answer);
        self.since.get_or_insert_with(Instant::now);
    }

    /// Tells whether no more is to be held back.
    pub(super) fn is_due(&self) -> bool {
        self.answers.len() >= HELD_MAX
            || self.since.is_some_and(|since| since.elapsed() >= HELD_FOR)
    }

    /// Makes durable what was begun, and says so; then what is to be told of downloads.
    pub(super) fn release(&mut self, api: &dyn Api, output: &Output) {
        self.since = None;
        if !self.answers.is_empty() {
            let durable = call(api, Command::Sync);
            for answer in std::mem::take(&mut self.answers) {
                match &durable {
                    Ok(_) => output.answer(DOWNLOAD, answer),
                    Err(error) => output.failure(Some(DOWNLOAD), error),
                }
            }
            self.has_failed |= durable.is_err();
        }
        output.release_downloads();
    }
}
