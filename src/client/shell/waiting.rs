//! Commands that wait: `wait`, `seed` and `sleep`, and the end of a script.
//!
//! **Invariant:** a wait looks again within [`REST_MAX`] of an event, and never lasts longer than
//! it may. Looks that take less than 5 ms take at most a tenth of its time.
//!
//! Runs on the main thread and blocks it; signals and the client's events wake it.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::answer::Answer;
use super::interrupt::Woken;
use super::output::Format;
use super::paging::all;
use super::progress::WaitBars;
use super::render;
use super::seconds::parse_seconds;
use super::session::Shell;
use super::table::Flags;
use crate::client::api::{
    ApiError, Command, Download, DownloadState, Ends, ErrorCode, Listing, Reply, SessionEnded,
};

type Result<T> = std::result::Result<T, ApiError>;

/// How often bars are drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);
/// The longest sleep without an event: a subscriber loses some when there are very many.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// After an event `wait` rests this many times as long as its last look took, so that thousands of
/// ends within seconds do not take a core.
const REST_SHARE: u32 = 10;
/// A shorter rest is none.
const REST_MIN: Duration = Duration::from_millis(2);
/// The longest rest: what `wait` returns late.
const REST_MAX: Duration = Duration::from_millis(50);
/// Abandoned downloads that are named.
const NAMED_MAX: usize = 8;

impl Shell {
    pub(super) fn wait(&mut self, seconds: Option<&str>) -> Result<Answer> {
        self.wait_limit = seconds.map(parse_seconds).transpose()?;
        let until = self.wait_limit.map(|time| Instant::now() + time);
        let ended = self.wait_for_downloads(until)?;
        Ok(Answer::default().with("downloads", ended))
    }

    /// At the end of a script: running downloads are finished, in the time that the last `wait`
    /// allowed. Downloads of an attached client go on without this program.
    pub(super) fn finish_downloads(&mut self) {
        if self.is_attached {
            return;
        }
        let until = self.wait_limit.map(|time| Instant::now() + time);
        match self.wait_for_downloads(until) {
            Ok(_) => {}
            Err(error) if error.code == ErrorCode::TimedOut => {
                let error = abandoned(&self.unfinished().unwrap_or_default()).unwrap_or(error);
                self.fail(None, &error);
            }
            Err(error) => self.fail(None, &error),
        }
    }

    /// `exit` and `quit`: a script finishes its downloads first, or says which it abandons.
    pub(super) fn exit(&mut self, flags: &Flags) -> Answer {
        let is_now = flags.has("--now") && !self.is_at_prompt() && !self.is_attached;
        let unfinished = if is_now { self.unfinished().unwrap_or_default() } else { Vec::new() };
        let answer = Answer { end: true, ..Answer::default() };
        match abandoned(&unfinished) {
            None => answer,
            Some(error) => {
                let values: Vec<Value> = unfinished.iter().map(render::to_value).collect();
                answer.with("downloads", values).but_failed(Some(error))
            }
        }
    }

    /// Waits until no download runs, and tells of each as it ends; fails if one failed, paused
    /// itself, or time ran out.
    pub(super) fn wait_for_downloads(&mut self, until: Option<Instant>) -> Result<Vec<Value>> {
        self.interrupts.clear();
        let events = self.announcer.wakes().clone();
        let mut bars = WaitBars::new(&self.output);
        let mut told = Vec::new();
        let mut failed = 0;
        let mut draw_at = Instant::now();
        loop {
            events.try_iter().for_each(drop);
            let looking = Instant::now();
            let ends = self.ends()?;
            let look = looking.elapsed();
            for status in ends.downloads {
                failed += usize::from(status.state == DownloadState::Failed);
                // At a terminal it was announced, or will be.
                if self.output.format() == Format::Plain {
                    self.output.rows(&[render::download_row(&status)]);
                }
                told.push(render::to_value(&status));
            }
            if let Some(ended) = ends.session_ended.filter(|ended| ended.unfinished > 0) {
                return Err(session_ended(&ended));
            }
            if !ends.has_unfinished {
                return finish(told, failed, ends.stuck.as_ref());
            }
            let now = Instant::now();
            if until.is_some_and(|until| now >= until) {
                return Err(timed_out());
            }
            let mut soon = now + SLEEP_MAX;
            if bars.is_visible() {
                if now >= draw_at {
                    bars.draw(&self.unfinished()?);
                    draw_at = Instant::now() + DRAW_INTERVAL;
                }
                soon = draw_at;
            }
            let no_later = |time: Instant| Some(until.map_or(time, |until| until.min(time)));
            let mut woken = self.interrupts.wait(Some(&events), no_later(soon));
            if let (Woken::Event, Some(rest)) = (&woken, rest_after(look)) {
                woken = self.interrupts.wait(None, no_later(Instant::now() + rest));
            }
            if woken == Woken::Interrupt {
                return Err(ApiError::interrupted());
            }
        }
    }

    /// Downloads that ended since the last call.
    fn ends(&mut self) -> Result<Ends> {
        let ends = self.look_for_ends(self.last_end)?;
        self.last_end = ends.last;
        Ok(ends)
    }

    fn look_for_ends(&self, after: u64) -> Result<Ends> {
        self.call(Command::ShowEnds { after })?.ends()
    }

    /// Downloads that run or wait.
    fn unfinished(&self) -> Result<Vec<Download>> {
        let command = |listing: Listing| Command::ShowDownloads { unfinished: true, listing };
        all(&*self.api, &self.interrupts.calls().stop(), command, Reply::downloads)
    }

    /// `seed` and `sleep`: lets the client work. An interrupt is how `seed` is meant to end, and
    /// cuts a `sleep` short.
    pub(super) fn rest(&mut self, seconds: Option<&str>, is_seed: bool) -> Result<Answer> {
        let until = seconds.map(parse_seconds).transpose()?.map(|time| Instant::now() + time);
        self.interrupts.clear();
        let events = is_seed.then(|| self.announcer.wakes().clone());
        loop {
            // A seeder whose session is over would sit there for nothing.
            let ended = if is_seed { self.look_for_ends(u64::MAX)?.session_ended } else { None };
            if let Some(ended) = ended {
                return Err(session_ended(&ended));
            }
            match self.interrupts.wait(events.as_ref(), until) {
                Woken::Event => {}
                Woken::Interrupt if !is_seed => return Err(ApiError::interrupted()),
                Woken::Interrupt | Woken::Time => return Ok(Answer::default()),
            }
        }
    }
}

fn session_ended(ended: &SessionEnded) -> ApiError {
    let text = format!("the session has ended: {}; log in again", ended.reason);
    ApiError::new(ErrorCode::SessionRefused, text)
}

fn timed_out() -> ApiError {
    ApiError::new(ErrorCode::TimedOut, "time ran out; it goes on in the background")
}

/// How long to rest after an event before the next look, given what the last one cost.
fn rest_after(look: Duration) -> Option<Duration> {
    Some((look * REST_SHARE).min(REST_MAX)).filter(|rest| *rest >= REST_MIN)
}

/// What a script says of the downloads that it leaves unfinished.
fn abandoned(unfinished: &[Download]) -> Option<ApiError> {
    let one = |status: &Download| {
        let percent = (status.fraction() * 100.0) as u8;
        format!("{} in {} at {percent}%", status.file, status.group)
    };
    let mut named: Vec<String> = unfinished.iter().take(NAMED_MAX).map(one).collect();
    let more = unfinished.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        named.push(format!("{more} more"));
    }
    let (count, named) = (unfinished.len(), named.join(", "));
    let text = match count {
        0 => return None,
        1 => format!("1 download is unfinished and goes on at the next login: {named}"),
        _ => format!("{count} downloads are unfinished and go on at the next login: {named}"),
    };
    Some(ApiError::new(ErrorCode::Abandoned, text))
}

fn finish(told: Vec<Value>, failed: usize, stuck: Option<&Download>) -> Result<Vec<Value>> {
    let failure = |text: String| Err(ApiError::new(ErrorCode::DownloadFailed, text));
    match (failed, stuck) {
        (0, None) => Ok(told),
        (0, Some(Download { file, group, reason, .. })) => {
            let reason = reason.as_deref().unwrap_or_default();
            failure(format!("{file} in {group} is paused: {reason}; resume_download goes on"))
        }
        (1, _) => failure("a download failed; resume_download tries again".into()),
        (count, _) => failure(format!("{count} downloads failed; resume_download tries again")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_abandoned_is_named_up_to_a_bound() {
        assert!(abandoned(&[]).is_none());
        let one = super::super::samples::download();
        let text = |count| abandoned(&vec![one.clone(); count]).unwrap().to_string();
        assert_eq!(
            text(1),
            "1 download is unfinished and goes on at the next login: big.bin in lab at 43%"
        );
        assert!(text(2).ends_with("login: big.bin in lab at 43%, big.bin in lab at 43%"));
        assert!(text(NAMED_MAX + 3).ends_with(" at 43%, 3 more"));
    }

    #[test]
    fn a_rest_follows_from_what_a_look_costs_and_has_an_end() {
        let ms = Duration::from_millis;
        assert_eq!(rest_after(Duration::from_micros(100)), None);
        assert_eq!(rest_after(ms(1)), Some(ms(10)));
        for long in [ms(6), Duration::from_secs(5)] {
            assert_eq!(rest_after(long), Some(REST_MAX));
        }
    }
}
