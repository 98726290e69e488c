//! What other members report of this device: that it sends bad data of a file, or cannot be
//! connected to.
//!
//! **Invariant:** a report changes nothing but what is shown: a member can lie. The user hears of
//! one thing at most once in [`TOLD_AGAIN`].
//!
//! Bounded by the files that this device offers. Pure.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::types::{GroupId, InfoHash};

/// How long it is remembered that members could not connect: trackers repeat it while it lasts.
const UNREACHABLE_FOR: Duration = Duration::from_secs(15 * 60);
/// How often the user is told the same.
const TOLD_AGAIN: Duration = Duration::from_secs(3_600);

/// What is reported of one thing.
#[derive(Debug, Clone, Copy)]
struct Report {
    members: u32,
    at: Duration,
    told: Duration,
}

impl Report {
    /// Takes what a tracker says; tells whether the user is to hear of it.
    fn note(report: &mut Option<Self>, members: u32, now: Duration) -> bool {
        let told = report.map(|report| report.told);
        let is_told = told.is_none_or(|told| now.saturating_sub(told) >= TOLD_AGAIN);
        let told = told.filter(|_| !is_told).unwrap_or(now);
        *report = Some(Self { members, at: now, told });
        is_told
    }
}

/// What other members report of this device.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reports {
    bad_data: HashMap<(GroupId, InfoHash), Option<Report>>,
    unreachable: Option<(SocketAddr, Option<Report>)>,
}

impl Reports {
    /// Members say that what this device sends of an offered file is wrong; tells whether the user
    /// is to hear of it.
    pub(super) fn note_bad_data(
        &mut self,
        file: (GroupId, InfoHash),
        members: u32,
        now: Duration,
    ) -> bool {
        Report::note(self.bad_data.entry(file).or_default(), members, now)
    }

    /// Members cannot connect to this device; tells whether the user is to hear of it.
    pub(super) fn note_unreachable(
        &mut self,
        address: SocketAddr,
        members: u32,
        now: Duration,
    ) -> bool {
        if self.unreachable.is_none_or(|(before, _)| before != address) {
            self.unreachable = Some((address, None));
        }
        self.unreachable.as_mut().is_some_and(|(_, report)| Report::note(report, members, now))
    }

    /// The file is offered anew: what was said of it before is over.
    pub(super) fn forget_bad_data(&mut self, file: (GroupId, InfoHash)) {
        self.bad_data.remove(&file);
    }

    /// Forgets everything: the session has ended.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many members say that what this device sends of a file is wrong.
    pub(crate) fn bad_data(&self, file: (GroupId, InfoHash)) -> u32 {
        self.bad_data.get(&file).copied().flatten().map_or(0, |report| report.members)
    }

    /// Where members could not connect to this device lately, and how many.
    pub(crate) fn unreachable(&self, now: Duration) -> Option<(SocketAddr, u32)> {
        let (address, report) = self.unreachable?;
        let report = report.filter(|report| now.saturating_sub(report.at) < UNREACHABLE_FOR)?;
        Some((address, report.members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: (GroupId, InfoHash) = (GroupId::from_bytes([1; 16]), InfoHash::from_bytes([2; 20]));

    #[test]
    fn the_user_is_told_once_an_hour() {
        let (mut reports, at) = (Reports::default(), Duration::from_secs);
        assert!(reports.note_bad_data(FILE, 1, at(0)));
        assert!(!reports.note_bad_data(FILE, 2, at(60)));
        assert_eq!(reports.bad_data(FILE), 2);
        assert!(reports.note_bad_data(FILE, 2, at(3_600)));
        assert!(!reports.note_bad_data(FILE, 2, at(3_700)));
        reports.forget_bad_data(FILE);
        assert_eq!(reports.bad_data(FILE), 0);
        assert!(reports.note_bad_data(FILE, 1, at(3_800)));
    }

    #[test]
    fn an_address_that_failed_is_forgotten_after_a_while() {
        let (mut reports, at) = (Reports::default(), Duration::from_secs);
        let [first, second] = ["1.2.3.4:5", "1.2.3.4:6"].map(|text| text.parse().unwrap());
        assert!(reports.note_unreachable(first, 2, at(0)));
        assert!(!reports.note_unreachable(first, 3, at(60)));
        assert_eq!(reports.unreachable(at(100)), Some((first, 3)));
        assert_eq!(reports.unreachable(at(1_000)), None);
        assert!(reports.note_unreachable(second, 2, at(70)), "another address is news");
    }
}
