//! What the demonstration shows: a line of progress while it works, and the table at its end.

use std::io::{IsTerminal, Write, stdout};
use std::time::{Duration, Instant};

use crate::support::{Result, show};

/// How often a line of progress is printed where it cannot be overwritten.
const LINE_INTERVAL: Duration = Duration::from_millis(500);

/// The line of progress: rewritten in place at a terminal, a new one now and then elsewhere.
#[derive(Default)]
pub(crate) struct StatusLine {
    last: Option<Instant>,
    open: bool,
}

impl StatusLine {
    /// Shows the verified bytes of each download of `len` bytes.
    pub(crate) fn show<'a>(&mut self, downloads: impl Iterator<Item = (&'a str, u64)>, len: u64) {
        let percent = |done: u64| (done * 100).checked_div(len).unwrap_or(100);
        let text: Vec<_> =
            downloads.map(|(user, done)| format!("{user} {:>3} %", percent(done))).collect();
        let line = format!("downloading    {}", text.join("   "));
        if stdout().is_terminal() {
            print!("\r{line}");
            // Nothing depends on the progress being seen.
            let _ = stdout().flush();
            self.open = true;
        } else if self.last.is_none_or(|last| last.elapsed() >= LINE_INTERVAL) {
            println!("{line}");
            self.last = Some(Instant::now());
        }
    }

    /// Ends the line in place, so that something else can be printed.
    pub(crate) fn end(&mut self) {
        if std::mem::take(&mut self.open) {
            println!();
        }
    }

    /// Prints something that happened.
    pub(crate) fn note(&mut self, text: &str) {
        self.end();
        println!("{text}");
    }
}

/// What was noted down; starts and ends are those of the leechers, in their order.
#[derive(Default)]
pub(crate) struct Report {
    /// When each download was begun.
    pub(crate) starts: Vec<Instant>,
    /// When each was complete.
    pub(crate) ends: Vec<Instant>,
    /// The tracker that was killed.
    pub(crate) killed: usize,
    /// For each sender, in order: how many bytes it sent to which device.
    pub(crate) sent: Vec<(String, Vec<(String, u64)>)>,
}

impl Report {
    /// Prints who got how much from whom, how long it took, and how fast it was; fails if that does
    /// not add up. A leecher is a user and a device.
    pub(crate) fn print(&self, leechers: &[(&str, &str)], len: u64) -> Result<()> {
        let mut header = vec!["received by".to_owned()];
        header.extend(self.sent.iter().map(|(sender, _)| format!("from {sender}")));
        header.extend(["time", "MB/s"].map(str::to_owned));
        let mut rows = vec![header];
        for (index, (leecher, device)) in leechers.iter().enumerate() {
            let from: Vec<u64> = self.sent.iter().map(|(_, to)| received(to, device)).collect();
            let total: u64 = from.iter().sum();
            if total < len {
                return Err(format!(
                    "{leecher} got {len} bytes, but only {total} bytes were sent to {leecher}"
                )
                .into());
            }
            let time = self.ends[index].saturating_duration_since(self.starts[index]);
            let mut row = vec![(*leecher).to_owned()];
            let cell = |(bytes, (sender, _)): (u64, &(String, _))| {
                if sender == leecher { "-".to_owned() } else { show::mib(bytes) }
            };
            row.extend(from.into_iter().zip(&self.sent).map(cell));
            row.extend([
                format!("{:.2} s", time.as_secs_f64()),
                format!("{:.0}", show::rate(len, time)),
            ]);
            rows.push(row);
        }
        println!();
        show::table(&rows);
        Ok(())
    }
}

fn received(sent: &[(String, u64)], by: &str) -> u64 {
    sent.iter().filter(|(device, _)| device == by).map(|(_, bytes)| bytes).sum()
}
