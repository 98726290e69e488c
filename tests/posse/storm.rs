//! The primary is killed in the middle of 2,000 changing requests from 8 clients: whatever was
//! acknowledged is on the survivor, and on the killed one once it is back; and nothing was carried
//! out twice.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use posse::types::{Change, Effect, FileFacts, GroupId, Sha1Digest};
use posse::wire::tracker::Reply;

use crate::harness::{RawClient, World, device, eventually, request_id, sha1_hex};

const CLIENTS: usize = 8;
const CHANGES: usize = 250;

/// One acknowledged change.
#[derive(Debug)]
enum Acked {
    Group(String),
    File(GroupId, FileFacts),
}

/// A client that goes to the next tracker when one is lost.
struct Stormer {
    user: String,
    trackers: Vec<SocketAddr>,
    at: usize,
    session: Option<RawClient>,
}

impl Stormer {
    /// Repeats one change under one request id until some tracker acknowledges it.
    fn change(&mut self, change: &Change) -> Effect {
        let request = request_id();
        eventually("a change is acknowledged", || {
            let reply = self.session().and_then(|session| session.change(request, change));
            match reply {
                Ok(Reply::Done(success)) => Some(success.effect),
                Ok(Reply::Refused(posse::types::Refusal::Busy)) => None,
                Ok(other) => panic!("{}: {change:?} was answered by {other:?}", self.user),
                Err(_) => {
                    self.session = None;
                    self.at += 1;
                    None
                }
            }
        })
    }

    fn session(&mut self) -> std::io::Result<&mut RawClient> {
        if self.session.is_none() {
            let mut session =
                RawClient::connect(self.trackers[self.at % self.trackers.len()], &device(), 1)?;
            session.login(&self.user)?;
            self.session = Some(session);
        }
        Ok(self.session.as_mut().expect("it was just made"))
    }

    fn storm(&mut self, acked_count: &AtomicUsize) -> Vec<Acked> {
        let mut acked = Vec::new();
        let mut group = None;
        for number in 0..CHANGES {
            let name = format!("{}-{number}", self.user);
            match group {
                Some(group) if number % 5 != 0 => {
                    let file = facts(&name);
                    self.change(&Change::ShareFile { group, file: file.clone() });
                    acked.push(Acked::File(group, file));
                }
                _ => {
                    let effect = self.change(&Change::CreateGroup { name: name.parse().unwrap() });
                    let Effect::Group(id) = effect else {
                        panic!("a group was made, and {effect:?} came of it")
                    };
                    group = Some(id);
                    acked.push(Acked::Group(name));
                }
            }
            acked_count.fetch_add(1, Ordering::SeqCst);
        }
        acked
    }
}

fn facts(name: &str) -> FileFacts {
    let sha1: Sha1Digest = sha1_hex(name.as_bytes()).parse().unwrap();
    let info_hash = posse::types::InfoHash::from_bytes(*sha1.as_bytes());
    FileFacts {
        info_hash,
        name: name.parse().unwrap(),
        len: 1,
        piece_len: 512 << 10,
        sha1,
        chain: None,
    }
}

/// Everything acknowledged to these users is in this tracker's directory, once.
fn check(tracker: SocketAddr, acked: &[(String, Vec<Acked>)]) {
    for (user, acked) in acked {
        let mut session = RawClient::enter(tracker, user);
        let groups = session.group_names();
        for entry in acked {
            match entry {
                Acked::Group(name) => {
                    assert!(groups.contains(name), "{tracker} lost the acknowledged group {name}");
                    assert!(!groups.contains(&format!("{name}~2")), "{name} was made twice");
                }
                Acked::File(..) => {}
            }
        }
        let by_group = |id: GroupId| {
            acked.iter().filter_map(move |a| match a {
                Acked::File(group, file) if *group == id => Some(file),
                _ => None,
            })
        };
        let ids: std::collections::BTreeSet<GroupId> = acked
            .iter()
            .filter_map(|a| if let Acked::File(group, _) = a { Some(*group) } else { None })
            .collect();
        for id in ids {
            let files = session.files(id);
            for file in by_group(id) {
                assert!(
                    files.iter().any(|f| f.1 == file.info_hash),
                    "{tracker} lost the acknowledged file {}",
                    file.name
                );
            }
            assert_eq!(files.len(), by_group(id).count(), "{tracker} has files twice: {files:?}");
        }
    }
}

#[test]
fn every_acknowledged_request_survives_the_kill_of_the_primary() {
    let mut world = World::new(2);
    let trackers = vec![world.tracker(1), world.tracker(2)];
    let acked_count = AtomicUsize::new(0);
    let users: Vec<String> = (0..CLIENTS).map(|n| format!("u{n}")).collect();
    users.iter().for_each(|user| drop(RawClient::enter(trackers[0], user)));
    let acked: Vec<(String, Vec<Acked>)> = std::thread::scope(|scope| {
        let storms: Vec<_> = users
            .iter()
            .map(|user| {
                let (trackers, acked_count) = (trackers.clone(), &acked_count);
                scope.spawn(move || {
                    let acked = Stormer { user: user.clone(), trackers, at: 0, session: None }
                        .storm(acked_count);
                    (user.clone(), acked)
                })
            })
            .collect();
        eventually("a third of the storm is over", || {
            (acked_count.load(Ordering::SeqCst) > CLIENTS * CHANGES / 3).then_some(())
        });
        world.trackers[0].kill9();
        assert!(
            acked_count.load(Ordering::SeqCst) < CLIENTS * CHANGES,
            "the storm was over before the kill"
        );
        storms.into_iter().map(|storm| storm.join().expect("a storm ends well")).collect()
    });
    check(world.tracker(2), &acked);
    world.trackers[0].restart();
    world.wait_synced();
    check(world.tracker(1), &acked);
    // The one that returned stands alone, too.
    world.trackers[1].kill9();
    check(world.tracker(1), &acked);
}
