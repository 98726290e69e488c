//! What trackers tell of this device's own doing, before it has the answer to its request.

use super::*;
use crate::types::{FileEntry, Stamp};
use crate::wire::tracker::Resolved;

fn entry(facts: FileFacts) -> FileEntry {
    let (label, at) = (facts.name.as_str().parse().unwrap(), Stamp::new(1, 0));
    let sharers = vec!["nik".parse().unwrap()];
    FileEntry { group: group(1), label, facts, sharers, sharer_count: 1, online: 1, at }
}

/// A client of two trackers that offers a file. A tracker answers those requests only when it is
/// told to.
struct Stage {
    client: Client,
    fakes: [Fake; 2],
    release: crossbeam_channel::Sender<()>,
    facts: FileFacts,
    events: Receiver<ClientEvent>,
    _dir: tempfile::TempDir,
}

impl Stage {
    fn new(is_held: fn(&Request) -> bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = with_share(dir.path(), [group(1)]);
        let facts = {
            let store = DeviceStore::open(&data_dir).unwrap();
            store.shares(user().user).unwrap().remove(0).facts
        };
        let (release, held) = crossbeam_channel::unbounded();
        let tracker = || {
            let (held, file) = (held.clone(), entry(facts.clone()));
            Fake::start(move |request| {
                if is_held(request) {
                    held.recv_timeout(Duration::from_secs(30)).unwrap();
                }
                match request {
                    Request::ListMyGroups { .. } => {
                        Act::Answer(Box::new(Reply::Groups { entries: vec![lab()], more: false }))
                    }
                    Request::Resolve { .. } => Act::Answer(Box::new(Reply::Resolved(Resolved {
                        group: lab(),
                        user: None,
                        file: Some(file.clone()),
                    }))),
                    other => usual(other),
                }
            })
        };
        let fakes = [tracker(), tracker()];
        let client = client_of(&data_dir, &[&fakes[0], &fakes[1]]);
        let events = client.subscribe();
        log_in(&client);
        assert_eq!(client.show_uploads().unwrap().len(), 1);
        Self { client, fakes, release, facts, events, _dir: dir }
    }

    /// Has the trackers tell of `event` between the question and the answer to it, and waits until
    /// that has ended the share.
    fn overtake(
        &self,
        event: &Event,
        is_asked: fn(&Request) -> bool,
        ask: impl FnOnce(&Client) -> Result<(), ClientError> + Send,
    ) {
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| ask(&self.client));
            wait_for("a tracker is asked", || {
                self.fakes.iter().any(|fake| fake.count(is_asked) > 0)
            });
            self.fakes.iter().for_each(|fake| fake.tell(event));
            wait_for("it is not offered", || self.client.show_uploads().unwrap().is_empty());
            (0..8).for_each(|_| self.release.send(()).unwrap());
            asked.join().unwrap().unwrap();
        });
    }
}

/// What subscribers have heard of shares and groups.
fn heard(events: &Receiver<ClientEvent>) -> Vec<ClientEvent> {
    let is_other = |event: &ClientEvent| matches!(event, ClientEvent::TrustedNetwork { .. });
    events.try_iter().filter(|event| !is_other(event)).collect()
}

fn is_stop(request: &Request) -> bool {
    matches!(request, Request::StopShare { .. })
}

fn is_leave(request: &Request) -> bool {
    matches!(request, Request::LeaveGroup { .. })
}

fn is_deletion(request: &Request) -> bool {
    matches!(request, Request::DeleteAccount { .. })
}

#[test]
fn a_share_that_this_device_stopped_was_not_stopped_on_another() {
    let stage = Stage::new(is_stop);
    let info_hash = stage.facts.info_hash;
    let event = Event::ShareStopped { group: group(1), info_hash };
    stage.overtake(&event, is_stop, |client| client.stop_share("lab", "a.bin"));
    assert_eq!(heard(&stage.events), []);
}

#[test]
fn a_share_that_another_device_stopped_is_told() {
    let stage = Stage::new(is_stop);
    let info_hash = stage.facts.info_hash;
    let is_login = |r: &Request| matches!(r, Request::Login { .. } | Request::Resume { .. });
    wait_for("the second tracker is connected", || stage.fakes[1].count(is_login) > 0);
    stage.fakes[1].tell(&Event::ShareStopped { group: group(1), info_hash });
    wait_for_event(&stage.events, |event| matches!(event, ClientEvent::ShareNotOffered { .. }));
}

#[test]
fn who_leaves_a_group_is_not_told_of_a_removal() {
    let stage = Stage::new(is_leave);
    let event = Event::Removed { group: group(1) };
    stage.overtake(&event, is_leave, |client| client.leave_group("lab"));
    assert_eq!(heard(&stage.events), []);
}

#[test]
fn who_deletes_the_account_is_not_told_of_removals() {
    let stage = Stage::new(is_deletion);
    let event = Event::Removed { group: group(1) };
    stage.overtake(&event, is_deletion, Client::delete_account);
    assert_eq!(heard(&stage.events), []);
}
