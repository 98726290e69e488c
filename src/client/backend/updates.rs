//! Numbers what happens and hands it to subscribers.
//!
//! **Invariant:** a subscriber gets updates in the order of their revisions. One that does not keep
//! up loses some, and gets a snapshot with the revision that it holds before any other update.
//! Nothing here waits for a subscriber.
//!
//! The thread "updates" takes the client's events and, while somebody wants to see downloads move,
//! compares them with what it saw before, [`LOOK_INTERVAL`] apart.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::Mutex;

use super::super::api::{Download, Event, Update};
use super::super::{Client, ClientEvent};
use super::{convert, snapshot};
use crate::net::{Stop, Threads};
use crate::types::InfoHash;

/// Updates that wait for one subscriber.
const QUEUE_LEN: usize = 1024;
/// Room that a subscriber has to have before it is told again.
const QUEUE_ROOM: usize = QUEUE_LEN / 2;
/// Time between two looks at the downloads.
const LOOK_INTERVAL: Duration = Duration::from_millis(220);
/// Time for the thread to tell what is still to tell.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The subscribers of one client.
pub(super) struct Updates {
    hub: Arc<Hub>,
    threads: Threads,
    stop: Stop,
}

struct Hub {
    state: Mutex<State>,
    /// Has the thread look at the downloads now.
    wake: Sender<()>,
}

#[derive(Default)]
struct State {
    revision: u64,
    subscribers: Vec<Subscriber>,
    /// Events from before anybody had subscribed: those of a start.
    early: Vec<Event>,
    has_been_heard: bool,
    has_ended: bool,
}

struct Subscriber {
    sender: Sender<Update>,
    /// Wants to see downloads move.
    moving: bool,
    /// It has lost an update.
    is_behind: bool,
}

/// Early events that are kept.
const EARLY_MAX: usize = 16;

impl Updates {
    pub(super) fn start(client: Arc<Client>) -> io::Result<Self> {
        let (wake, woken) = bounded(1);
        let hub = Arc::new(Hub { state: Mutex::default(), wake });
        let (threads, stop) = (Threads::new(), Stop::new());
        let events = client.subscribe();
        let (of_thread, stopped) = (hub.clone(), stop.clone());
        threads.spawn("updates", move || run(&of_thread, &client, &events, &woken, &stopped))?;
        Ok(Self { hub, threads, stop })
    }

    pub(super) fn revision(&self) -> u64 {
        self.hub.state.lock().revision
    }

    pub(super) fn subscribe(&self, moving: bool) -> Receiver<Update> {
        let (sender, receiver) = bounded(QUEUE_LEN);
        let mut state = self.hub.state.lock();
        state.has_been_heard = true;
        if !state.has_ended {
            let revision = state.revision;
            // There is room for them all.
            state.early.drain(..).for_each(|event| {
                let _ = sender.try_send(Update { revision, event });
            });
            state.subscribers.push(Subscriber { sender, moving, is_behind: false });
        }
        drop(state);
        let _ = self.hub.wake.try_send(());
        receiver
    }

    pub(super) fn tell(&self, event: Event) {
        self.hub.tell(event);
    }

    /// Tells what is still to tell and ends all channels.
    pub(super) fn stop(&self) {
        self.stop.set();
        self.threads.join(STOP_TIMEOUT);
        let mut state = self.hub.state.lock();
        state.has_ended = true;
        state.subscribers.clear();
    }
}

impl Hub {
    fn tell(&self, event: Event) {
        let mut state = self.state.lock();
        state.revision += 1;
        if !state.has_been_heard && !event.is_movement() && state.early.len() < EARLY_MAX {
            state.early.push(event.clone());
        }
        let update = Update { revision: state.revision, event };
        state.subscribers.retain_mut(|subscriber| subscriber.take(&update));
    }

    /// Tells whether anybody wants to see downloads move.
    fn is_watched(&self) -> bool {
        self.state.lock().subscribers.iter().any(|subscriber| subscriber.moving)
    }

    /// Brings subscribers that were behind and have room again up to date.
    fn catch_up(&self, snapshot: impl FnOnce(u64) -> Event) {
        let is_late =
            |subscriber: &Subscriber| subscriber.is_behind && subscriber.sender.len() <= QUEUE_ROOM;
        let revision = {
            let state = self.state.lock();
            if !state.subscribers.iter().any(is_late) {
                return;
            }
            state.revision
        };
        // Made without the lock: it takes the client's.
        let event = snapshot(revision);
        let mut state = self.state.lock();
        // Told in between: it may not be in the snapshot, and those behind have not got it.
        if state.revision != revision {
            return;
        }
        state.subscribers.retain_mut(|subscriber| {
            let is_late = is_late(subscriber);
            subscriber.is_behind &= !is_late;
            !is_late || subscriber.take(&Update { revision, event: event.clone() })
        });
    }

    /// Tells whether anybody waits to be brought up to date.
    fn has_late(&self) -> bool {
        self.state.lock().subscribers.iter().any(|subscriber| subscriber.is_behind)
    }
}

impl Subscriber {
    /// Hands an update over, if there is room; false if nobody takes it any more.
    fn take(&mut self, update: &Update) -> bool {
        if self.is_behind || (update.event.is_movement() && !self.moving) {
            // One that has gone is noticed at the next event that it wants.
            return true;
        }
        match self.sender.try_send(update.clone()) {
            Ok(()) => true,
            Err(crossbeam_channel::TrySendError::Full(_)) => {
                self.is_behind = true;
                true
            }
            Err(crossbeam_channel::TrySendError::Disconnected(_)) => false,
        }
    }
}

fn run(
    hub: &Hub,
    client: &Client,
    events: &Receiver<ClientEvent>,
    woken: &Receiver<()>,
    stop: &Stop,
) {
    let mut seen = Seen::default();
    let mut look_at = Instant::now();
    loop {
        let is_watched = hub.is_watched();
        let timer = match is_watched || hub.has_late() {
            true => crossbeam_channel::at(look_at),
            false => crossbeam_channel::never(),
        };
        select! {
            recv(events) -> event => match event {
                Ok(event) => hub.tell(convert::event(event)),
                Err(_) => return,
            },
            recv(woken) -> _ => {}
            recv(timer) -> _ => {
                if is_watched {
                    seen.look(unfinished(client), client, |event| hub.tell(event));
                } else {
                    seen = Seen::default();
                }
                hub.catch_up(|revision| Event::Snapshot {
                    snapshot: Box::new(snapshot(client, revision)),
                });
                look_at = Instant::now() + LOOK_INTERVAL;
            }
            recv(stop.channel()) -> _ => break,
        }
    }
    events.try_iter().for_each(|event| hub.tell(convert::event(event)));
}

/// The downloads that run or wait: what may move.
fn unfinished(client: &Client) -> Vec<Download> {
    client.running_downloads().iter().map(convert::download).collect()
}

/// What was told of downloads that run or wait.
#[derive(Default)]
struct Seen {
    downloads: HashMap<InfoHash, Download>,
}

impl Seen {
    fn look(&mut self, now: Vec<Download>, client: &Client, mut tell: impl FnMut(Event)) {
        let now: HashMap<InfoHash, Download> =
            now.into_iter().map(|download| (download.info_hash, download)).collect();
        let gone: Vec<&Download> =
            self.downloads.values().filter(|d| !now.contains_key(&d.info_hash)).collect();
        if !gone.is_empty() {
            // Complete, failed or paused now, or taken away.
            let all = client.show_downloads().unwrap_or_default();
            for before in gone {
                let found = all.iter().find(|status| status.id == before.info_hash);
                tell(match found {
                    Some(status) => Event::Download { download: convert::download(status) },
                    None => Event::DownloadGone {
                        group_id: before.group_id,
                        info_hash: before.info_hash,
                    },
                });
            }
        }
        for (info_hash, download) in &now {
            if self.downloads.get(info_hash) != Some(download) {
                tell(Event::Download { download: download.clone() });
            }
        }
        self.downloads = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub() -> Hub {
        Hub { state: Mutex::default(), wake: bounded(1).0 }
    }

    fn subscribe(hub: &Hub, moving: bool) -> Receiver<Update> {
        let (sender, receiver) = bounded(QUEUE_LEN);
        hub.state.lock().subscribers.push(Subscriber { sender, moving, is_behind: false });
        receiver
    }

    fn gone() -> Event {
        let (group_id, info_hash) = (
            crate::types::GroupId::from_bytes([1; 16]),
            crate::types::InfoHash::from_bytes([1; 20]),
        );
        Event::DownloadGone { group_id, info_hash }
    }

    #[test]
    fn only_who_wants_to_is_told_of_movements() {
        let hub = hub();
        let (all, few) = (subscribe(&hub, true), subscribe(&hub, false));
        hub.tell(gone());
        hub.tell(Event::LoggedOut);
        let revisions = |updates: &Receiver<Update>| {
            updates.try_iter().map(|update| update.revision).collect::<Vec<_>>()
        };
        assert_eq!((revisions(&all), revisions(&few)), (vec![1, 2], vec![2]));
    }

    #[test]
    fn a_subscriber_that_is_behind_gets_nothing_before_a_snapshot() {
        let hub = hub();
        let slow = subscribe(&hub, false);
        for _ in 0..QUEUE_LEN + 10 {
            hub.tell(Event::LoggedOut);
        }
        assert!(hub.has_late());
        assert_eq!(slow.try_iter().count(), QUEUE_LEN);
        hub.tell(Event::LoggedOut);
        assert!(slow.is_empty(), "there is a gap before this one");
        // The test's event stands for the snapshot.
        hub.catch_up(|_| Event::Unknown);
        hub.tell(Event::LoggedOut);
        let last = QUEUE_LEN as u64 + 11;
        let told: Vec<Update> = slow.try_iter().collect();
        assert_eq!(told[0], Update { revision: last, event: Event::Unknown });
        assert_eq!(told[1], Update { revision: last + 1, event: Event::LoggedOut });
        assert!(!hub.has_late());
    }

    #[test]
    fn a_subscriber_that_is_behind_and_goes_away_is_forgotten() {
        let hub = hub();
        let slow = subscribe(&hub, false);
        for _ in 0..QUEUE_LEN + 1 {
            hub.tell(Event::LoggedOut);
        }
        hub.catch_up(|_| panic!("it has no room yet"));
        drop(slow);
        hub.catch_up(|_| Event::Unknown);
        assert!(hub.state.lock().subscribers.is_empty());
    }
}
