//! The swarms that are measured.
//!
//! The bound of each swarm is the time that a fluid would take. It is the later of two times: when
//! the seeder has sent the file once, and when all uplinks together have sent it to each leecher. It
//! takes the caps as they are: headers count against us, and so does every second in which nothing
//! is sent yet, or nothing any more. Where leechers are killed or come late, those that are there
//! in the end are counted as if they had been there from the start.

use std::time::Duration;

/// One kind of swarm.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// Bytes of the file.
    pub(crate) len: u64,
    /// Bytes per second that the seeder may send.
    pub(crate) seeder: u64,
    /// The same of each leecher that is there from the start.
    pub(crate) leechers: Vec<u64>,
    /// What happens on the way.
    pub(crate) event: Event,
    /// The ratio to the bound that is to be reached.
    pub(crate) bar: Option<f64>,
}

/// What happens on the way.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// Nothing.
    None,
    /// Every second leecher is killed after this time, and another one begins.
    Replace(Duration),
    /// These come all at once after this time; what is measured begins then.
    Crowd(Duration, Vec<u64>),
}

const MB: u64 = 1_000_000;

impl Scenario {
    /// The names there are.
    pub(crate) const NAMES: [&str; 6] =
        ["eight", "eight-large", "thirty-two", "mixed", "churn", "crowd"];

    /// Looks one up.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let equal = |name, mib: u64, leechers, rate, bar| Self {
            name,
            len: mib << 20,
            seeder: rate,
            leechers: vec![rate; leechers],
            event: Event::None,
            bar,
        };
        Some(match name {
            "eight" => equal("eight", 128, 8, 20 * MB, Some(1.10)),
            "eight-large" => equal("eight-large", 512, 8, 20 * MB, Some(1.05)),
            "thirty-two" => equal("thirty-two", 128, 32, 5 * MB, Some(1.15)),
            "mixed" => {
                let leechers = [2, 5, 10, 20].repeat(2).into_iter().map(|rate| rate * MB).collect();
                Self { leechers, ..equal("mixed", 128, 0, 20 * MB, None) }
            }
            "churn" => Self {
                event: Event::Replace(Duration::from_secs(3)),
                ..equal("churn", 128, 8, 20 * MB, None)
            },
            "crowd" => Self {
                event: Event::Crowd(Duration::from_secs(5), vec![5 * MB; 30]),
                ..equal("crowd", 128, 2, 5 * MB, None)
            },
            _ => return None,
        })
    }

    /// The caps of all leechers that there ever are: those from the start, then those that come
    /// later.
    pub(crate) fn all(&self) -> Vec<u64> {
        let late: Vec<u64> = match &self.event {
            Event::None => Vec::new(),
            Event::Replace(_) => self.leechers.iter().skip(1).step_by(2).copied().collect(),
            Event::Crowd(_, late) => late.clone(),
        };
        self.leechers.iter().copied().chain(late).collect()
    }

    /// Tells whether a leecher is killed on the way.
    pub(crate) fn is_killed(&self, leecher: usize) -> bool {
        matches!(self.event, Event::Replace(_)) && leecher < self.leechers.len() && leecher % 2 == 1
    }

    /// Seconds that no swarm can beat.
    pub(crate) fn bound(&self) -> f64 {
        let all = self.all();
        let stay: Vec<u64> = (0..all.len())
            .filter(|&leecher| !self.is_killed(leecher))
            .map(|leecher| all[leecher])
            .collect();
        let (len, sum) = (self.len as f64, (self.seeder + stay.iter().sum::<u64>()) as f64);
        (len / self.seeder as f64).max(stay.len() as f64 * len / sum)
    }
}
