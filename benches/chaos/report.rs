//! The figures of a schedule, and how they are printed.
//!
//! Pure but for the printing.

use std::time::Duration;

use crate::history::{Outcome, Request};
use crate::impairment::Impairments;
use crate::rules::{Finding, Kind, count_things};
use crate::support::show::table;

/// Time in which trackers have to agree once nothing is wrong any more.
pub(crate) const CONVERGENCE_BAR: Duration = Duration::from_secs(5);
/// Time after which a request counts as not answered.
pub(crate) const ANSWER_BAR: Duration = Duration::from_secs(5);
/// Findings that are shown in full, for each schedule.
const SHOWN: usize = 12;

/// What came of a schedule.
#[derive(Debug)]
pub(crate) struct Outcomes {
    /// The schedule's name.
    pub(crate) name: &'static str,
    /// Everything that was asked.
    pub(crate) history: Vec<Request>,
    /// Things that are not as the history demands.
    pub(crate) findings: Vec<Finding>,
    /// Time until all trackers agreed; `None` if they did not.
    pub(crate) convergence: Option<Duration>,
    /// Requests that took longer than [`ANSWER_BAR`] although a tracker was there for their client,
    /// by index.
    pub(crate) stuck: Vec<usize>,
    /// What else there is to say.
    pub(crate) remarks: Vec<String>,
    /// Trackers whose directory could not be read.
    pub(crate) unread: Vec<String>,
}

impl Outcomes {
    /// Requests that took too long, and no fault explains it.
    pub(crate) fn find_stuck(
        history: &[Request],
        impairments: &Impairments,
        trackers: usize,
    ) -> Vec<usize> {
        let is_stuck = |request: &Request| {
            request.latency() > ANSWER_BAR && impairments.had_tracker(request, trackers)
        };
        (0..history.len()).filter(|&index| is_stuck(&history[index])).collect()
    }

    /// Acknowledged changes.
    pub(crate) fn acknowledged(&self) -> usize {
        self.history
            .iter()
            .filter(|request| request.command.is_change() && request.is_acknowledged())
            .count()
    }

    /// Things that are wrong by the rules.
    pub(crate) fn wrong(&self) -> usize {
        self.findings.iter().filter(|finding| finding.kind != Kind::Late).count()
    }

    fn late(&self) -> usize {
        self.findings.len() - self.wrong()
    }

    fn count(&self, is_one: impl Fn(&Outcome) -> bool) -> usize {
        self.history.iter().filter(|request| is_one(&request.outcome)).count()
    }

    /// Whether the trackers agreed in time.
    pub(crate) fn has_converged(&self) -> bool {
        self.convergence.is_some_and(|time| time <= CONVERGENCE_BAR)
    }

    /// Whether anything is wrong.
    pub(crate) fn is_bad(&self) -> bool {
        self.wrong() > 0 || !self.has_converged() || !self.unread.is_empty()
    }

    /// Prints what is wrong, with its history.
    pub(crate) fn show(&self) {
        for finding in self.findings.iter().take(SHOWN) {
            let found: Vec<String> = finding
                .found
                .iter()
                .map(|(number, value)| format!("tracker {number}: {value}"))
                .collect();
            let kind = match finding.kind {
                Kind::Undone => "wrong",
                Kind::Late => "late",
                Kind::Double => "made twice",
                Kind::Unasked => "never asked for",
            };
            println!("  {kind}: {}; {}", finding.thing, found.join(", "));
            finding
                .requests
                .iter()
                .for_each(|&index| println!("    {}", self.history[index].line()));
        }
        if self.findings.len() > SHOWN {
            println!("  and {} more", self.findings.len() - SHOWN);
        }
        for &index in self.stuck.iter().take(SHOWN) {
            println!(
                "  {:.1} s: {}",
                self.history[index].latency().as_secs_f64(),
                self.history[index].line()
            );
        }
        self.remarks.iter().chain(&self.unread).for_each(|remark| println!("  {remark}"));
    }

    fn latencies(&self) -> Vec<Duration> {
        let mut all: Vec<Duration> = self.history.iter().map(Request::latency).collect();
        all.sort_unstable();
        all
    }
}

/// The value below which `part` of a sorted list lies.
fn quantile(sorted: &[Duration], part: f64) -> Duration {
    let index = ((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}

/// Prints one line for each schedule, and one for all.
pub(crate) fn summary(all: &[Outcomes]) {
    let header = [
        "",
        "acked",
        "things",
        "wrong",
        "late",
        "agree s",
        "stuck",
        "requests",
        "refused",
        "no answer",
        "p50 ms",
        "p99 ms",
        "max ms",
    ];
    let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
    let row = |one: &Outcomes| {
        let latencies = one.latencies();
        let agree =
            one.convergence.map_or("never".to_owned(), |time| format!("{:.2}", time.as_secs_f64()));
        let refused = one.count(|outcome| matches!(outcome, Outcome::Refused(_)));
        let unanswered = one.count(|outcome| matches!(outcome, Outcome::Unanswered(_)));
        let counts = [one.history.len(), refused, unanswered].map(|count| count.to_string());
        let before = [one.acknowledged(), count_things(&one.history), one.wrong(), one.late()]
            .map(|count| count.to_string());
        let times =
            [quantile(&latencies, 0.5), quantile(&latencies, 0.99), quantile(&latencies, 1.0)]
                .map(ms);
        let cells = [
            vec![one.name.to_owned()],
            before.to_vec(),
            vec![agree, one.stuck.len().to_string()],
            counts.to_vec(),
        ];
        [cells.concat(), times.to_vec()].concat()
    };
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(row));
    println!();
    table(&rows);
    let sum = |count: fn(&Outcomes) -> usize| all.iter().map(count).sum::<usize>();
    println!(
        "\ntotal: {} acknowledged, {} wrong, {} late; {} of {} schedules agreed within {} s; {} requests stuck for over {} s",
        sum(Outcomes::acknowledged),
        sum(Outcomes::wrong),
        sum(Outcomes::late),
        all.iter().filter(|one| one.has_converged()).count(),
        all.len(),
        CONVERGENCE_BAR.as_secs(),
        sum(|one| one.stuck.len()),
        ANSWER_BAR.as_secs(),
    );
}
