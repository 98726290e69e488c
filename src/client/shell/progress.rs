//! Progress bars, at a terminal only.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::escape::escape;
use super::output::{Format, Output};
use super::render::{peers, time_left};
use crate::client::api::Download;
use crate::types::human_bytes;

/// Work that is over sooner needs no bar.
const PATIENCE: Duration = Duration::from_millis(300);

fn style(template: &str) -> ProgressStyle {
    // The templates are our own; were one wrong, the plain bar would do.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A bar for hashing one file.
pub(super) struct HashBar<'a> {
    output: &'a Output,
    what: &'static str,
    started: Instant,
    bar: Option<ProgressBar>,
}

impl<'a> HashBar<'a> {
    pub(super) fn new(output: &'a Output, what: &'static str) -> Self {
        Self { output, what, started: Instant::now(), bar: None }
    }

    pub(super) fn draw(&mut self, done: u64, len: u64) {
        if self.output.format() != Format::Table || self.started.elapsed() < PATIENCE {
            return;
        }
        let (what, output) = (self.what, self.output);
        let make = || {
            let all = MultiProgress::new();
            let bar = all.add(ProgressBar::new(len).with_message(what));
            bar.set_style(style("{msg} {wide_bar} {percent}% {bytes_per_sec} {eta}"));
            output.set_bars(Some(all));
            bar
        };
        self.bar.get_or_insert_with(make).set_position(done);
    }
}

impl Drop for HashBar<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            self.output.set_bars(None);
        }
    }
}

/// Bars drawn at a time: what does not fit on a screen is drawn in vain.
const BARS_MAX: usize = 20;

/// One bar for each running download, and the first that wait, while `wait` waits.
pub(super) struct WaitBars {
    output: Output,
    wanted: bool,
    all: MultiProgress,
    bars: Vec<(String, ProgressBar)>,
}

impl WaitBars {
    pub(super) fn new(output: &Output) -> Self {
        let (output, wanted, all) =
            (output.clone(), output.format() == Format::Table, MultiProgress::new());
        if wanted {
            output.set_bars(Some(all.clone()));
        }
        Self { output, wanted, all, bars: Vec::new() }
    }

    pub(super) fn is_visible(&self) -> bool {
        self.wanted
    }

    pub(super) fn draw(&mut self, unfinished: &[Download]) {
        if !self.wanted {
            return;
        }
        let mut running: Vec<&Download> = unfinished.iter().collect();
        running.sort_by_key(|status| status.place.unwrap_or(0));
        running.truncate(BARS_MAX);
        let name = |status: &Download| escape(&format!("[{}] {}", status.group, status.file));
        let names: Vec<String> = running.iter().map(|status| name(status)).collect();
        self.bars.retain(|(name, bar)| {
            let stays = names.contains(name);
            if !stays {
                bar.finish_and_clear();
            }
            stays
        });
        for (name, status) in names.into_iter().zip(running) {
            let bar = match self.bars.iter().find(|(of, _)| *of == name) {
                Some((_, bar)) => bar.clone(),
                None => {
                    let bar = self.all.add(ProgressBar::new(status.size).with_prefix(name.clone()));
                    bar.set_style(style("{prefix} {wide_bar} {percent}% {msg}"));
                    self.bars.push((name, bar.clone()));
                    bar
                }
            };
            bar.set_position(status.bytes_done);
            if let Some(place) = status.place {
                bar.set_message(format!("[Q] place {place}"));
                continue;
            }
            let left = time_left(status);
            let (rate, peers) = (human_bytes(status.bytes_per_second), peers(status));
            bar.set_message(format!("{rate}/s {left} {peers}"));
        }
    }
}

impl Drop for WaitBars {
    fn drop(&mut self) {
        self.bars.iter().for_each(|(_, bar)| bar.finish_and_clear());
        self.output.set_bars(None);
    }
}
