//! Which trackers a device keeps sessions with, where the trackers share one database: with a few of
//! them, since each answers for all.
//!
//! **Invariant:** until a tracker has said that a few sessions are enough, there is one with each.
//! The few are the first of the device's own order of trackers that work; one further back is dialled
//! when one of these fails, and left when that is back.
//!
//! The order is that of rendezvous hashing (Thaler and Ravishankar, 1998): each tracker has its part
//! of the devices, and when one fails its devices go to all others alike.

use std::time::Duration;

use sha1::{Digest as _, Sha1};

use super::Shared;
use super::pause::NEEDED_AFTER;
use super::state::{LinkState, SetState};
use crate::types::DeviceId;

/// How often a tracker that is not needed looks whether it is, in case nobody has told it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A tracker's place in a device's order; the largest is the first.
pub(super) fn weight(device: DeviceId, address: &str) -> [u8; 20] {
    Sha1::new().chain_update(device.as_bytes()).chain_update(address).finalize().into()
}

impl LinkState {
    /// Its first dial is under way.
    fn is_new(&self) -> bool {
        self.live.is_none() && self.attempts == 0
    }
}

impl SetState {
    /// Trackers before that one in the device's order for which `counts` is true.
    fn ahead(&self, index: usize, counts: impl Fn(&LinkState) -> bool) -> usize {
        let weight = |link: &LinkState| weight(self.device, &link.address);
        let own = (weight(&self.links[index]), index);
        let is_ahead = |(other, link): &(usize, &LinkState)| (weight(link), *other) > own;
        let others = self.links.iter().enumerate().filter(is_ahead);
        others.filter(|(_, link)| !link.is_alias && !link.is_removed && counts(link)).count()
    }

    /// Tells whether a tracker works: it takes commands, and answers them.
    fn works(&self, link: &LinkState) -> bool {
        let is_suspect = link.live.as_ref().is_some_and(|live| live.suspect);
        !is_suspect && link.is_ready(self.session.as_ref())
    }

    /// Tells whether a tracker that is not connected is to be.
    pub(super) fn is_needed(&self, index: usize) -> bool {
        let is_enough = |enough| {
            self.ahead(index, |link| self.works(link) || link.is_new()) >= usize::from(enough)
        };
        !self.sessions_needed.is_some_and(is_enough)
    }

    /// Tells whether enough others work, so that a session can end.
    pub(super) fn is_spare(&self, index: usize) -> bool {
        let is_enough = |enough| self.ahead(index, |link| self.works(link)) >= usize::from(enough);
        self.sessions_needed.is_some_and(is_enough)
    }

    /// A tracker says with how many of them a session is enough; `None` if its list of trackers came
    /// without that. At least one always is.
    pub(super) fn told_needed(&mut self, enough: Option<u8>) {
        self.sessions_needed = enough.map(|enough| enough.max(1));
    }
}

impl Shared {
    /// Waits until a tracker is needed; false if it is not used any more, or the set stops.
    ///
    /// # Blocking
    /// Until then.
    pub(super) fn wait_until_needed(&self, index: usize) -> bool {
        let mut has_waited = false;
        loop {
            {
                let mut state = self.state.lock();
                loop {
                    if self.stop.is_set() || !state.links[index].goes_on() {
                        return false;
                    }
                    if state.is_needed(index) {
                        break;
                    }
                    has_waited = true;
                    state.links[index].error = None;
                    self.changed.wait_for(&mut state, LOOK_EVERY);
                }
            }
            // Another may only be about to log in.
            if !std::mem::take(&mut has_waited) || self.stop.wait(NEEDED_AFTER) {
                return !self.stop.is_set();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Need;
    use super::super::tests::*;
    use super::*;
    use crate::types::{DownloadState, GroupId, InfoHash};
    use crate::wire::tracker::{Reply, Request};

    fn sharing(enough: Option<u8>) -> Fake {
        let terms = Terms { enough, ..Terms::default() };
        Fake::start_at("127.0.0.1:0".parse().unwrap(), network_key(), terms, usual)
    }

    /// Indexes of the trackers that are connected.
    fn connected(set: &super::super::TrackerSet) -> Vec<usize> {
        let views = set.views().into_iter().enumerate();
        views.filter(|(_, view)| view.number.is_some()).map(|(index, _)| index).collect()
    }

    #[test]
    fn of_many_trackers_that_share_a_database_two_are_kept_and_others_take_the_place_of_the_dead() {
        let mut fakes: Vec<Option<Fake>> = (0..5).map(|_| Some(sharing(Some(2)))).collect();
        let (set, _news) = set_of(&fakes.iter().flatten().collect::<Vec<_>>());
        log_in(&set);
        let entry = (GroupId::from_bytes([1; 16]), InfoHash::from_bytes([1; 20]));
        set.announce([(entry.0, entry.1, DownloadState::Seeding)]);
        let mut best: Vec<usize> = (0..5).collect();
        let address = |index: usize| set.shared.state.lock().links[index].address.clone();
        let device = set.shared.options.security.device();
        best.sort_by_key(|&index| std::cmp::Reverse(weight(device, &address(index))));
        let two = |indexes: &[usize]| {
            let mut two = indexes[..2].to_vec();
            two.sort_unstable();
            two
        };
        wait_for("the two first are kept", || connected(&set) == two(&best));
        let spares = set.views().into_iter().filter(|view| view.is_spare && view.error.is_none());
        assert_eq!(spares.count(), 3);
        let first = fakes[best[0]].take().unwrap().kill();
        wait_for("the third takes the first's place", || connected(&set) == two(&best[1..]));
        let is_announce = |request: &Request| matches!(request, Request::Announce { entries } if entries.len() == 1);
        let third = fakes[best[2]].as_ref().unwrap();
        wait_for("and is told everything", || third.count(is_announce) > 0);
        assert!(matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))));
        let terms = Terms { enough: Some(2), ..Terms::default() };
        let _first = Fake::start_at(first, network_key(), terms, usual);
        wait_for("the first is back", || connected(&set) == two(&best));
        set.stop(PATIENCE);
    }

    #[test]
    fn where_no_tracker_says_that_a_few_are_enough_there_is_a_session_with_each() {
        let fakes = [None, None, None].map(sharing);
        let (set, _news) = set_of(&fakes.each_ref());
        log_in(&set);
        wait_for("all have a session", || fakes.iter().all(|fake| !fake.asked().is_empty()));
        let state = set.shared.state.lock();
        assert!((0..3).all(|index| state.is_needed(index) && !state.is_spare(index)));
        drop(state);
        set.stop(PATIENCE);
    }

    #[test]
    fn each_tracker_has_its_part_of_the_devices_and_a_dead_ones_go_to_all_others() {
        let addresses: Vec<String> = (1..=5).map(|n| format!("tracker-{n}:7878")).collect();
        let first = |number: u32, of: &[String]| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            let device = DeviceId::from_bytes(bytes);
            of.iter().max_by_key(|address| weight(device, address)).unwrap().clone()
        };
        let devices = 2_000;
        for address in &addresses {
            let own: Vec<u32> =
                (0..devices).filter(|n| first(*n, &addresses) == *address).collect();
            assert!((300..500).contains(&own.len()), "{} of {address}", own.len());
            let left: Vec<String> = addresses.iter().filter(|a| *a != address).cloned().collect();
            for other in &left {
                let taken = own.iter().filter(|n| first(**n, &left) == *other).count();
                assert!(taken * 8 > own.len(), "{other} takes {taken} of {}", own.len());
            }
        }
    }
}
