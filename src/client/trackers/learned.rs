//! Trackers that other trackers list: they are dialled besides those of the user's list.
//!
//! **Invariant:** there is one session with each tracker. If two addresses lead to the same
//! tracker, one is used; an address of the user's list goes first.
//!
//! The list comes over a connection that the network's key has proven, and every tracker in it must
//! prove the same key.

use std::sync::Arc;

use log::{info, warn};

use super::state::{LinkState, SetState};
use super::{News, Shared, link};
use crate::types::limits::TRACKERS_MAX;
use crate::types::{Label, StoreId, TrackerAddress};

/// Maximum number of addresses that are kept, including trackers removed while this client ran.
const KNOWN_MAX: usize = 4 * TRACKERS_MAX;

impl Shared {
    /// A tracker lists the network's trackers: unknown ones are dialled from now on. The session
    /// with a removed tracker ends when no other connected tracker lists it any more: one tracker
    /// alone may be wrong.
    pub(super) fn learn(
        self: &Arc<Self>,
        teller: (usize, u64),
        addresses: Vec<Label>,
        removed: &[Label],
    ) {
        // A text that is no address may be of a kind that a later version knows; it is skipped.
        let parsed =
            addresses.iter().filter_map(|address| address.as_str().parse::<TrackerAddress>().ok());
        let addresses: Vec<String> =
            parsed.map(|address| address.to_string()).take(TRACKERS_MAX).collect();
        {
            let mut state = self.state.lock();
            if let Some(live) = state.live(teller.0, teller.1) {
                live.listed.clone_from(&addresses);
                let enough = live.enough;
                state.told_needed(enough);
            }
        }
        self.drop_removed(
            removed
                .iter()
                .filter(|label| !addresses.iter().any(|address| address == label.as_str())),
        );
        self.add(&addresses);
        self.tell(News::Trackers(addresses));
    }

    /// Dials trackers at these addresses, unless they are dialled already.
    pub(super) fn add(self: &Arc<Self>, addresses: &[String]) {
        for address in addresses {
            let index = {
                let mut state = self.state.lock();
                match state.links.iter().position(|link| link.address == *address) {
                    Some(index) => {
                        let link = &mut state.links[index];
                        // A removed tracker is back: its thread may not have noticed that it was
                        // removed.
                        if !std::mem::take(&mut link.is_removed)
                            || std::mem::replace(&mut link.has_thread, true)
                        {
                            continue;
                        }
                        index
                    }
                    None => {
                        let present = state.links.iter().filter(|link| !link.is_removed).count();
                        if present >= TRACKERS_MAX || state.links.len() >= KNOWN_MAX {
                            continue;
                        }
                        state.links.push(LinkState::new(address.clone(), true));
                        state.links.len() - 1
                    }
                }
            };
            info!("tracker {} ({address}) belongs to the network, another tracker says", index + 1);
            let shared = self.clone();
            if let Err(error) = self
                .threads
                .spawn(format!("tracker {}", index + 1), move || link::run(&shared, index))
            {
                warn!("the tracker {address} is not dialled: {error}");
            }
        }
    }
}

impl Shared {
    fn drop_removed<'a>(&self, addresses: impl Iterator<Item = &'a Label>) {
        let mut state = self.state.lock();
        for address in addresses {
            if state.is_listed(address.as_str()) {
                info!(
                    "the tracker {address} was removed from the network, as one tracker says; another still lists it"
                );
                continue;
            }
            for link in state
                .links
                .iter_mut()
                .filter(|link| link.address == address.as_str() && !link.is_removed)
            {
                info!(
                    "the tracker {address} was removed from the network; it is not used any more"
                );
                link.is_removed = true;
                link.live.iter().for_each(|live| live.connection.close());
            }
        }
    }
}

impl SetState {
    /// Tells whether a connected tracker, other than that one itself, lists this address.
    fn is_listed(&self, address: &str) -> bool {
        let others = self
            .links
            .iter()
            .filter(|link| link.address != address)
            .filter_map(|link| link.live.as_ref());
        others.flat_map(|live| &live.listed).any(|listed| listed == address)
    }

    /// Tells whether the connection at `index` must end, because another connection leads to the
    /// tracker with that store.
    pub(super) fn is_second_way(&mut self, index: usize, store: StoreId) -> bool {
        let leads_there =
            |link: &LinkState| link.live.as_ref().is_some_and(|live| live.store == store);
        let Some(other) =
            (0..self.links.len()).find(|other| *other != index && leads_there(&self.links[*other]))
        else {
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
        first.tell(&Event::Trackers {
            addresses: vec![first.address.to_string().parse().unwrap(), label],
            removed: vec![],
        });
        wait_for("the session stands there too", || second.count(is_resume) == 1);
        assert!(set.views().iter().any(|view| view.address == address));
        let told = news.try_iter().find_map(|item| {
            if let super::News::Trackers(told) = item { Some(told) } else { None }
        });
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
        fake.tell(&Event::Trackers { addresses: vec![again.parse().unwrap()], removed: vec![] });
        wait_for("it was tried", || fake.welcomed() == 2);
        wait_for("it is known for what it is", || set.views().len() == 1);
        assert_eq!(fake.count(is_resume), 0);
        set.stop(PATIENCE);
    }

    #[test]
    fn a_tracker_that_was_removed_is_dropped_at_once_and_dialled_when_it_is_back() {
        let (first, second) = (Fake::start(usual), Fake::start(usual));
        let (set, _news) = set_of(&[&first, &second]);
        log_in(&set);
        wait_for("both have the session", || first.count(is_resume) + second.count(is_resume) >= 1);
        let labels =
            [&first, &second].map(|fake| fake.address.to_string().parse::<Label>().unwrap());
        let [one, other] = labels.clone();
        first.tell(&Event::Trackers { addresses: vec![one], removed: vec![other] });
        wait_for("it is dropped", || set.views().len() == 1);
        let welcomed = second.welcomed();
        assert!(set.call(&change(1), super::super::Need::Session).is_ok());
        assert_eq!((second.count(is_change), second.welcomed()), (0, welcomed));
        first.tell(&Event::Trackers { addresses: labels.to_vec(), removed: vec![] });
        wait_for("it is back", || second.welcomed() > welcomed && set.views().len() == 2);
        set.stop(PATIENCE);
    }

    #[test]
    fn one_tracker_alone_does_not_cut_off_what_the_others_list() {
        let fakes = [(); 3].map(|()| Fake::start(usual));
        let [first, second, third] = &fakes;
        let (set, news) = set_of(&[first, second, third]);
        wait_for("all are connected", || set.views().iter().all(|view| view.number.is_some()));
        let all =
            [first, second, third].map(|fake| fake.address.to_string().parse::<Label>().unwrap());
        let rest =
            || Event::Trackers { addresses: all[..2].to_vec(), removed: vec![all[2].clone()] };
        // Told again until it has arrived: on a busy machine a connection may just be replaced.
        let tell = |fake: &Fake, event: &Event| {
            news.try_iter().for_each(drop);
            wait_for("it is told", || {
                fake.tell(event);
                let news = news.recv_timeout(std::time::Duration::from_secs(1));
                news.is_ok_and(|item| matches!(item, super::News::Trackers(_)))
            });
        };
        // The removed tracker's own list does not count.
        for fake in [second, third] {
            tell(fake, &Event::Trackers { addresses: all.to_vec(), removed: vec![] });
        }
        tell(first, &rest());
        assert_eq!(set.views().len(), 3);
        second.tell(&rest());
        wait_for("it is dropped", || set.views().len() == 2);
        set.stop(PATIENCE);
    }
}
