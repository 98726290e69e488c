//! Progress at the prompt: a line for each running download above the line being edited.
//!
//! **Invariant:** the lines are part of the prompt, so the line editor itself knows where they are,
//! draws them and clears them; nothing here moves the cursor. Their number is fixed while a prompt
//! stands: where a download has ended, a line is empty.
//!
//! The editor draws the prompt with whatever [`PromptBars::fill`] makes of it at that moment; the
//! thread "bars" has it drawn again when the figures have changed, [`INTERVAL`] apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::escape::escape;
use super::output::{Output, screen_columns};
use super::render::time_left;
use crate::client::api::{Api, Command, Download, Listing, Reply};
use crate::net::Stop;
use crate::types::human_bytes;

/// Time between two looks at the figures.
const INTERVAL: Duration = Duration::from_millis(300);
/// Time for a completion that asks a tracker.
const COMPLETION_MAX: Duration = Duration::from_secs(1);
/// Downloads with a line of their own; of more, the last line says how many.
const LINES_MAX: usize = 4;
/// Columns of a bar.
const BAR_LEN: usize = 20;
/// What stands for a line until it is drawn: it takes one row on every terminal.
const PLACE: &str = ".\n";

/// The lines above the prompt.
pub(super) struct PromptBars {
    api: Arc<dyn Api>,
    /// Lines of the prompt that stands now; 0 while none does.
    count: AtomicUsize,
    /// Start and stop of the running completion, during which Ctrl-C is not noticed.
    completing: Mutex<Option<(Instant, Stop)>>,
}

impl PromptBars {
    pub(super) fn new(api: Arc<dyn Api>) -> Self {
        Self { api, count: AtomicUsize::new(0), completing: Mutex::default() }
    }

    /// The prompt that is to stand from now on: places for lines, then `prompt`.
    pub(super) fn raise(&self, prompt: &str) -> String {
        let count = self.running().len().min(LINES_MAX);
        self.count.store(count, Ordering::Release);
        PLACE.repeat(count) + prompt
    }

    /// Tells whether lines stand above the prompt.
    pub(super) fn has_lines(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// No prompt stands any more.
    pub(super) fn lower(&self) {
        self.count.store(0, Ordering::Release);
    }

    /// Does what may ask a tracker for a completion; it is given up after [`COMPLETION_MAX`].
    pub(super) fn completing<T>(&self, work: impl FnOnce(&Stop) -> T) -> T {
        let stop = Stop::new();
        *self.completing.lock() = Some((Instant::now(), stop.clone()));
        let done = work(&stop);
        *self.completing.lock() = None;
        done
    }

    fn give_up_completion(&self) {
        if let Some((since, stop)) = &*self.completing.lock()
            && since.elapsed() > COMPLETION_MAX
        {
            stop.set();
        }
    }

    /// Puts the lines into their places.
    pub(super) fn fill(&self, prompt: &str) -> Option<String> {
        let rest = prompt.trim_start_matches(PLACE);
        let count = (prompt.len() - rest.len()) / PLACE.len();
        let lines = |line: String| line + "\n";
        (count > 0)
            .then(|| self.lines(count).into_iter().map(lines).chain([rest.to_owned()]).collect())
    }

    /// Those that run, then those that wait, in their order.
    fn running(&self) -> Vec<Download> {
        let command = Command::ShowDownloads { unfinished: true, listing: Listing::default() };
        let reply = self.api.call(command, &Stop::new(), &mut |_| true);
        let mut all = reply.and_then(Reply::downloads).map_or(Vec::new(), |page| page.entries);
        all.sort_by_key(|status| status.place.unwrap_or(0));
        all
    }

    fn lines(&self, count: usize) -> Vec<String> {
        let columns = screen_columns().unwrap_or(80);
        // The last column stays free: some terminals wrap as soon as it is written to.
        lines(&self.running(), count, columns.saturating_sub(1))
    }
}

fn lines(running: &[Download], count: usize, columns: usize) -> Vec<String> {
    let shown = if running.len() > count { count.saturating_sub(1) } else { running.len() };
    let mut lines: Vec<String> =
        running[..shown].iter().map(|status| line(status, columns)).collect();
    if running.len() > count {
        lines.push(clip(&format!("and {} more", running.len() - shown), columns));
    }
    lines.resize(count, String::new());
    lines
}

/// One download in so many columns: the figures are whole, the name is cut if need be.
fn line(status: &Download, columns: usize) -> String {
    let fraction = status.fraction().clamp(0.0, 1.0);
    let done = (fraction * BAR_LEN as f64) as usize;
    let bar = format!("[{}{}]", "=".repeat(done), " ".repeat(BAR_LEN - done));
    let left = time_left(status);
    let rate = human_bytes(status.bytes_per_second);
    let figures = if let Some(place) = status.place {
        format!(" {bar} {:3.0}%  [Q] place {place}", (fraction * 100.0).floor())
    } else {
        format!(" {bar} {:3.0}%  {rate}/s  {left}", (fraction * 100.0).floor())
    };
    let name = escape(&format!("[{}] {}", status.group, status.file));
    match columns.checked_sub(figures.len()) {
        Some(room @ 8..) => clip(&name, room) + &figures,
        _ => clip(&format!("{:3.0}%  {name}", (fraction * 100.0).floor()), columns),
    }
}

/// Cuts a text to so many columns at most. What is not ASCII may be two wide, and counts so.
fn clip(text: &str, columns: usize) -> String {
    let width = |character: char| if character.is_ascii() { 1 } else { 2 };
    if text.chars().map(width).sum::<usize>() <= columns {
        return text.to_owned();
    }
    let mut left = columns.saturating_sub(2);
    let fits = |character: &char| {
        let fits = width(*character) <= left;
        left = left.saturating_sub(width(*character));
        fits
    };
    let cut: String = text.chars().take_while(fits).collect();
    cut + &".."[..columns.min(2)]
}

/// The thread "bars".
pub(super) struct Ticker {
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(super) fn start(bars: Arc<PromptBars>, output: Output) -> Self {
        let stop = Stop::new();
        let stopped = stop.clone();
        let work = move || {
            let mut drawn = Vec::new();
            while !stopped.wait(INTERVAL) {
                bars.give_up_completion();
                let count = bars.count.load(Ordering::Acquire);
                if count == 0 {
                    continue;
                }
                let lines = bars.lines(count);
                if lines != drawn {
                    drawn = lines;
                    output.redraw();
                }
            }
        };
        // Without the thread the lines change with each key only.
        let thread = std::thread::Builder::new().name("bars".into()).spawn(work).ok();
        Self { stop, thread }
    }

    pub(super) fn stop(mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(file: &str) -> Download {
        Download { file: file.parse().unwrap(), ..crate::client::shell::samples::download() }
    }

    #[test]
    fn a_line_has_its_figures_and_fits() {
        let status = status("big.bin");
        assert_eq!(
            line(&status, 79),
            "[lab] big.bin [========            ]  43%  8 B/s  0:01:11 left"
        );
        assert_eq!(line(&status, 58), "[lab] b.. [========            ]  43%  8 B/s  0:01:11 left");
        assert_eq!(line(&status, 20), " 43%  [lab] big.bin");
        let slow = Download { size: 1_000_000_000, seconds_left: None, ..status.clone() };
        assert_eq!(line(&slow, 79), "[lab] big.bin [                    ]   0%  8 B/s  -- left");
        let wide = self::status(&"漢".repeat(80));
        for columns in 0..200 {
            let shown = line(&wide, columns);
            let width: usize = shown.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum();
            assert!(width <= columns, "{columns}: {shown}");
        }
    }

    #[test]
    fn the_number_of_lines_is_fixed() {
        let all: Vec<Download> = ["a", "b", "c"].into_iter().map(status).collect();
        assert!(lines(&all, 3, 79).iter().all(|line| line.starts_with("[lab]")));
        assert_eq!(lines(&all, 2, 79)[1], "and 2 more");
        assert_eq!(lines(&all[..1], 2, 79)[1], "");
        assert_eq!(lines(&[], 1, 79), [""]);
    }
}
