//! Numbers events and sends them to subscribers.
//!
//! **Invariant:** a subscriber gets updates in the order of their revisions. A slow subscriber loses
//! updates, and gets a snapshot before the next update, or is disconnected after [`BEHIND_MAX`].
//! Sending never blocks.
//!
//! The thread "updates" receives the client's events. While a subscriber wants progress, the thread
//! compares the downloads with their last state every [`LOOK_INTERVAL`].

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::Mutex;

use super::super::api::{Download, Event, Traffic, Update};
use super::super::{Client, ClientEvent};
use super::{convert, peers, snapshot};
use crate::net::{Stop, Threads};
use crate::types::InfoHash;

/// Length of a subscriber's queue.
const QUEUE_LEN: usize = 1024;
/// A lagging subscriber gets a snapshot once its queue is no longer than this.
const QUEUE_ROOM: usize = QUEUE_LEN / 2;
/// A subscriber that has made no room for so long is disconnected.
const BEHIND_MAX: Duration = Duration::from_secs(60);
/// Interval between comparisons of the downloads.
const LOOK_INTERVAL: Duration = Duration::from_millis(220);
/// Shortest interval between two events about what all move.
const TRAFFIC_INTERVAL: Duration = Duration::from_secs(1);
/// Time for the thread to send the remaining events.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The subscribers of one client.
pub(super) struct Updates {
    hub: Arc<Hub>,
    threads: Threads,
    stop: Stop,
}

struct Hub {
    state: Mutex<State>,
    /// Wakes the thread.
    wake: Sender<()>,
}

#[derive(Default)]
struct State {
    revision: u64,
    subscribers: Vec<Subscriber>,
    /// Events before the first subscription, as those of the start.
    early: Vec<Event>,
    has_been_heard: bool,
    has_ended: bool,
}

struct Subscriber {
    sender: Sender<Update>,
    /// Receives the progress of downloads.
    moving: bool,
    /// Since when it has lost updates and waits for a snapshot.
    behind_since: Option<Instant>,
}

/// Maximum number of early events.
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
            // The queue has room for all of them.
            state.early.drain(..).for_each(|event| {
                let _ = sender.try_send(Update { revision, event });
            });
            state.subscribers.push(Subscriber { sender, moving, behind_since: None });
        }
        drop(state);
        let _ = self.hub.wake.try_send(());
        receiver
    }

    pub(super) fn tell(&self, event: Event) {
        self.hub.tell(event);
        // A subscriber may be lagging now.
        let _ = self.hub.wake.try_send(());
    }

    /// Sends the remaining events and disconnects all subscribers.
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
        if !state.has_been_heard && event.is_kept() && state.early.len() < EARLY_MAX {
            state.early.push(event.clone());
        }
        let update = Update { revision: state.revision, event };
        state.subscribers.retain_mut(|subscriber| subscriber.take(&update));
    }

    /// Tells whether any subscriber wants progress.
    fn is_watched(&self) -> bool {
        self.state.lock().subscribers.iter().any(|subscriber| subscriber.moving)
    }

    /// Sends a snapshot to lagging subscribers that have room again.
    fn catch_up(&self, snapshot: impl FnOnce(u64) -> Event) {
        let is_late = |subscriber: &Subscriber| {
            subscriber.behind_since.is_some() && subscriber.sender.len() <= QUEUE_ROOM
        };
        let revision = {
            let mut state = self.state.lock();
            let is_lost = |since: Instant| since.elapsed() > BEHIND_MAX;
            state.subscribers.retain(|subscriber| !subscriber.behind_since.is_some_and(is_lost));
            if !state.subscribers.iter().any(is_late) {
                return;
            }
            state.revision
        };
        // Without the lock, because the snapshot takes the client's lock.
        let event = snapshot(revision);
        let mut state = self.state.lock();
        // The snapshot may lack an update that lagging subscribers did not get.
        if state.revision != revision {
            return;
        }
        state.subscribers.retain_mut(|subscriber| {
            let is_late = is_late(subscriber);
            subscriber.behind_since = subscriber.behind_since.filter(|_| !is_late);
            !is_late || subscriber.take(&Update { revision, event: event.clone() })
        });
    }

    /// Tells whether any subscriber is lagging.
    fn has_late(&self) -> bool {
        self.state.lock().subscribers.iter().any(|subscriber| subscriber.behind_since.is_some())
    }
}

impl Subscriber {
    /// Queues an update; false if the subscriber is gone.
    fn take(&mut self, update: &Update) -> bool {
        if self.behind_since.is_some() || (update.event.is_movement() && !self.moving) {
            // The next event that it wants shows whether the subscriber is gone.
            return true;
        }
        match self.sender.try_send(update.clone()) {
            Ok(()) => true,
            Err(crossbeam_channel::TrySendError::Full(_)) => {
                self.behind_since = Some(Instant::now());
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

/// Running and queued downloads: those that may make progress.
fn unfinished(client: &Client) -> Vec<Download> {
    client.running_downloads().into_iter().map(convert::download).collect()
}

/// What was sent last: running and queued downloads, and what all move.
#[derive(Default)]
struct Seen {
    downloads: HashMap<InfoHash, Download>,
    traffic: Option<(Instant, Traffic)>,
}

impl Seen {
    fn look(&mut self, now: Vec<Download>, client: &Client, mut tell: impl FnMut(Event)) {
        let now: HashMap<InfoHash, Download> =
            now.into_iter().map(|download| (download.info_hash, download)).collect();
        let gone: Vec<&Download> =
            self.downloads.values().filter(|d| !now.contains_key(&d.info_hash)).collect();
        if !gone.is_empty() {
            // They are complete, failed, paused or removed.
            let all = client.session_downloads(convert::download);
            for before in gone {
                let found = all.iter().find(|download| download.info_hash == before.info_hash);
                tell(match found {
                    Some(download) => Event::Download { download: download.clone() },
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
        let is_due = |(told, _): (Instant, Traffic)| told.elapsed() >= TRAFFIC_INTERVAL;
        let traffic = peers::traffic(client.traffic());
        if self.traffic.is_none_or(is_due) && self.traffic.map(|(_, last)| last) != Some(traffic) {
            self.traffic = Some((Instant::now(), traffic));
            tell(Event::Traffic { traffic });
        }
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
        hub.state.lock().subscribers.push(Subscriber { sender, moving, behind_since: None });
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
    fn progress_goes_to_the_subscribers_that_want_it() {
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
        assert!(slow.is_empty(), "a snapshot must come first");
        // This event stands for the snapshot.
        hub.catch_up(|_| Event::Unknown);
        hub.tell(Event::LoggedOut);
        let last = QUEUE_LEN as u64 + 11;
        let told: Vec<Update> = slow.try_iter().collect();
        assert_eq!(told[0], Update { revision: last, event: Event::Unknown });
        assert_eq!(told[1], Update { revision: last + 1, event: Event::LoggedOut });
        assert!(!hub.has_late());
    }

    #[test]
    fn a_subscriber_that_never_makes_room_is_disconnected() {
        let hub = hub();
        let slow = subscribe(&hub, false);
        for _ in 0..QUEUE_LEN + 1 {
            hub.tell(Event::LoggedOut);
        }
        hub.catch_up(|_| panic!("it has no room yet"));
        assert!(hub.has_late());
        let long_ago = Instant::now().checked_sub(BEHIND_MAX * 2);
        hub.state.lock().subscribers[0].behind_since = long_ago;
        hub.catch_up(|_| panic!("it has no room yet"));
        assert!(hub.state.lock().subscribers.is_empty());
        assert_eq!(slow.iter().count(), QUEUE_LEN, "then its channel ends");
    }
}
