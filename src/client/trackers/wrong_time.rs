//! Trackers whose clocks differ by more than a request tolerates.

use std::time::Duration;

use super::state::SetState;
use super::{ClocksDiffer, News, Shared};
use crate::types::limits::CLOCK_AHEAD_MAX;

impl Shared {
    /// Tracker `index` has refused a request for its time. If two trackers' clocks differ and there
    /// is no third, nothing tells which is right: the user is told, once.
    pub(super) fn note_wrong_time(&self, index: usize) {
        let differ = {
            let mut state = self.state.lock();
            let Some(differ) = state.clocks_differ(index).filter(|_| !state.has_told_clocks) else {
                return;
            };
            state.has_told_clocks = true;
            differ
        };
        self.tell(News::ClocksDiffer(differ));
    }
}

impl SetState {
    /// The clock of a connected tracker that differs too much from tracker `index`'s, if no third
    /// clock decides between them.
    fn clocks_differ(&self, index: usize) -> Option<ClocksDiffer> {
        let clocks = || self.links.iter().filter_map(|link| Some((link, link.clock?.now_ms())));
        let its_ms = self.links[index].clock?.now_ms();
        let is_far = |ms: u64| ms.abs_diff(its_ms) > CLOCK_AHEAD_MAX.as_millis() as u64;
        let (other, ms) = clocks().find(|(link, ms)| link.live.is_some() && is_far(*ms))?;
        let difference = Duration::from_millis(ms.abs_diff(its_ms));
        let trackers = [other.address.clone(), self.links[index].address.clone()];
        (clocks().count() == 2).then_some(ClocksDiffer { trackers, difference })
    }
}
