//! To how many links pieces are sent side by side: as few as fill the uplink.
//!
//! **Invariant:** the width lies between [`WIDTH_MIN`] and [`WIDTH_MAX`], and is changed only by
//! what was measured while all of it was in use.
//!
//! Where our uplink is the bottleneck, few are best: side by side pieces take as long together, and
//! each arrives later. One alone would be too few, as an idle connection starts slowly. Where the
//! receivers are the bottleneck, few would leave most of the uplink unused. Only a trial tells: the
//! width is doubled for a moment and stays so if clearly more goes out, or halved and stays so if
//! as much goes out.
//!
//! Pure; time is an argument. Part of [`super::order::UploadOrder`].

use std::time::Duration;

/// Fewest and most links served side by side.
const WIDTH_MIN: usize = 4;
pub(crate) const WIDTH_MAX: usize = 64;
/// Shortest time over which is measured what goes out: with several pieces in it, at speeds where
/// it matters.
const SAMPLE: Duration = Duration::from_millis(400);
/// Bytes in a sample: what a link takes at once when it is added is little of that.
const SAMPLE_LEN: u64 = 2 << 20;
/// Longest sample, however little went out in it.
const SAMPLE_MAX: Duration = Duration::from_secs(2);
/// Time between two trials.
const TRIAL_EVERY: Duration = Duration::from_secs(10);
/// What a doubled width has to bring to stay.
const WIDER_GAIN: f64 = 1.25;
/// What a halved one has to keep to stay.
const NARROWER_LOSS: f64 = 0.93;

/// How many links are served side by side.
#[derive(Debug)]
pub(crate) struct Width {
    now: usize,
    /// The sample that runs: since when, and what went out. None while the width is not used in
    /// full.
    sample: Option<(Duration, u64)>,
    /// Bytes per second at the width that is settled.
    rate: Option<f64>,
    /// The settled width, while another one is tried.
    trial: Option<usize>,
    tried: Duration,
    /// Whether the next trial is of a narrower one.
    narrow: bool,
}

impl Default for Width {
    fn default() -> Self {
        Self {
            now: WIDTH_MIN,
            sample: None,
            rate: None,
            trial: None,
            tried: Duration::ZERO,
            narrow: false,
        }
    }
}

impl Width {
    pub(crate) fn get(&self) -> usize {
        self.now
    }

    pub(crate) fn sent(&mut self, bytes: u64) {
        if let Some((_, sum)) = &mut self.sample {
            *sum += bytes;
        }
    }

    /// There is not enough to do: what goes out now says nothing about the uplink.
    pub(crate) fn unused(&mut self) {
        self.sample = None;
    }

    /// Lets time pass while as many links are served as may be; `more` tells whether others wait.
    pub(crate) fn pass(&mut self, now: Duration, more: impl FnOnce() -> bool) {
        let (since, sum) = *self.sample.get_or_insert((now, 0));
        let span = now.saturating_sub(since);
        if (span >= SAMPLE && sum >= SAMPLE_LEN) || span >= SAMPLE_MAX {
            self.sample = Some((now, 0));
            self.measured(now, sum as f64 / span.as_secs_f64(), more());
        }
    }

    fn measured(&mut self, now: Duration, rate: f64, more: bool) {
        if rate == 0.0 {
            // The links whose turn it is take nothing at all: others do not wait for them.
            (self.rate, self.trial, self.now) = (None, None, (2 * self.now).min(WIDTH_MAX));
            return;
        }
        let Some(settled) = self.trial.take() else { return self.settled(now, rate, more) };
        let before = self.rate.unwrap_or(0.0);
        let wider = self.now > settled;
        let stays =
            if wider { rate >= before * WIDER_GAIN } else { rate >= before * NARROWER_LOSS };
        self.tried = now;
        if !stays {
            self.now = settled;
            return;
        }
        self.rate = Some(rate);
        if wider && more {
            self.try_width(self.now * 2);
        }
    }

    /// A sample at the settled width: remembers it, and begins a trial if it is time for one, or
    /// less goes out than did.
    fn settled(&mut self, now: Duration, rate: f64, more: bool) {
        let before = self.rate.replace(rate);
        let fell = before.is_some_and(|before| rate < before / 2.0);
        let due = before.is_none() || fell || now.saturating_sub(self.tried) >= TRIAL_EVERY;
        if !due {
            return;
        }
        let narrow = self.narrow && !fell && self.now > WIDTH_MIN;
        self.narrow = !narrow && !fell;
        match narrow {
            true => self.try_width(self.now / 2),
            false if more => self.try_width(self.now * 2),
            false => {}
        }
    }

    fn try_width(&mut self, width: usize) {
        let width = width.clamp(WIDTH_MIN, WIDTH_MAX);
        if width != self.now {
            self.trial = Some(self.now);
            self.now = width;
        }
    }

    /// Checks the invariant.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        assert!((WIDTH_MIN..=WIDTH_MAX).contains(&self.now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a minute of an uplink of `uplink` bytes a second to receivers of `receiver` each;
    /// returns the width at the end of each second.
    fn run(uplink: f64, receiver: f64) -> Vec<usize> {
        let mut width = Width::default();
        let step = Duration::from_millis(50);
        let widths = (1..=1_200).map(|tick| {
            width.sent((uplink.min(receiver * width.get() as f64) * step.as_secs_f64()) as u64);
            width.pass(step * tick, || true);
            width.check();
            width.get()
        });
        widths.collect::<Vec<_>>().into_iter().step_by(20).collect()
    }

    /// Where the uplink is full with few links, few they stay, but for a moment now and then.
    #[test]
    fn a_full_uplink_is_not_shared() {
        let widths = run(5e6, 1e9);
        assert!(widths.iter().filter(|&&width| width == WIDTH_MIN).count() > 45, "{widths:?}");
    }

    /// Slow receivers are served side by side, as many as fill the uplink.
    #[test]
    fn slow_receivers_share_the_uplink() {
        let widths = run(100e6, 4e6);
        assert!(widths[5..].iter().filter(|&&width| width >= 16).count() > 45, "{widths:?}");
    }

    /// What a peer that takes nothing holds up is given to others.
    #[test]
    fn a_link_that_takes_nothing_holds_up_no_other() {
        let mut width = Width::default();
        for tick in 1..60 {
            width.sent(if tick < 20 { 500_000 } else { 0 });
            width.pass(Duration::from_millis(100) * tick, || true);
        }
        assert!(width.get() > WIDTH_MIN);
    }
}
