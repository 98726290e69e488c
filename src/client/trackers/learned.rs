//! Trackers that other trackers tell of: they are dialled beside those that the user's list names.
//!
//! **Invariant:** there is one session with each tracker. An address that leads to a tracker which another address leads to as
//! well is not used; of the two the one that the user has listed stays.
//!
//! The list comes over a connection that the network's key has proven, and every tracker of it has to prove the same key.

use std::sync::Arc;

use log::{info, warn};

use super::state::{LinkState, SetState};
use super::{News, Shared, link};
use crate::types::limits::TRACKERS_MAX;
use crate::types::{Label, StoreId, TrackerAddress};

impl Shared {
    /// A tracker tells which trackers the network has: those that are not known yet are dialled from now on.
    pub(super) fn learn(self: &Arc<Self>, addresses: Vec<Label>) {
        // What is no address cannot be dialled: it may be one of a kind that a later version knows.
        let parsed = addresses.iter().filter_map(|address| address.as_str().parse::<TrackerAddress>().ok());
        let addresses: Vec<String> = parsed.map(|address| address.to_string()).take(TRACKERS_MAX).collect();
        self.add(&addresses);
        self.tell(News::Trackers(addresses));
    }

    /// Dials trackers at these addresses, but for those that are dialled already.
    pub(super) fn add(self: &Arc<Self>, addresses: &[String]) {
        for address in addresses {
            let index = {
                let mut state = self.state.lock();
                let is_known = state.links.iter().any(|link| link.address == *address);
                if is_known || state.links.len() >= TRACKERS_MAX {
                    continue;
                }
                state.links.push(LinkState::new(address.clone(), true));
                state.links.len() - 1
            };
            info!("tracker {} ({address}) is one of the network, as another tracker says", index + 1);
            let shared = self.clone();
            if let Err(error) = self.threads.spawn(format!("tracker {}", index + 1), move || link::run(&shared, index)) {
                warn!("the tracker {address} is not dialled: {error}");
            }
        }
    }
}

impl SetState {
    /// A connection at `index` leads to the tracker with that store. Tells whether it is to end, as another one does too.
    pub(super) fn is_second_way(&mut self, index: usize, store: StoreId) -> bool {
        let leads_there = |link: &LinkState| link.live.as_ref().is_some_and(|live| live.store == store);
        let Some(other) = (0..self.links.len()).find(|other| *other != index && leads_there(&self.links[*other])) else {
            return false;
        };
        if self.links[index].is_learned {
            self.links[index].is_alias = true;
        } else if self.links[other].is_learned {
            let link = &mut self.links[other];
            link.is_alias = true;
            link.live.iter().for_each(|live| live.connection.close());
        }
        self.links[index].is_alias
    }
}

#[cfg(test)]
mod tests {
    use crate::client::trackers::tests::*;
    use crate::types::Label;
    use crate::wire::tracker::Event;

    #[test]
    fn a_tracker_that_another_tells_of_is_dialled_and_asked() {
        let (first, second) = (Fake::start(usual), Fake::start(usual));
        let (set, news) = set_of(&[&first]);
        log_in(&set);
        let address = second.address.to_string();
        let label: Label = address.parse().unwrap();
        first.tell(&Event::Trackers { addresses: vec![first.address.to_string().parse().unwrap(), label] });
        wait_for("the session stands there too", || second.count(is_resume) == 1);
        assert!(set.views().iter().any(|view| view.address == address));
        let told = news.try_iter().find_map(|item| if let super::News::Trackers(told) = item { Some(told) } else { None });
        assert_eq!(told.unwrap(), [first.address.to_string(), address]);
        first.kill();
        assert!(set.call(&change(1), super::super::Need::Session).is_ok());
        set.stop(PATIENCE);
    }

    #[test]
    fn another_address_of_the_same_tracker_makes_no_second_session() {
        let fake = Fake::start(usual);
        let (set, _news) = set_of(&[&fake]);
        log_in(&set);
        let again = format!("localhost:{}", fake.address.port());
        fake.tell(&Event::Trackers { addresses: vec![again.parse().unwrap()] });
        wait_for("it was tried", || fake.welcomed() == 2);
        wait_for("it is known for what it is", || set.views().len() == 1);
        assert_eq!(fake.count(is_resume), 0);
        set.stop(PATIENCE);
    }
}
