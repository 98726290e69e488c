//! Every order in which two requests, at two trackers, and one cut of a connection can happen: not
//! a sample, all of them.
//!
//! The moves are: a client's request arrives; a disk syncs; a message, or the news of a cut, is
//! delivered; a tracker dials again; and, once, a connection is cut and any number of its messages
//! is lost in each direction. Two orders that lead to the same state go on as one, so the number of
//! states is small while the number of orders is not. At the end of each order the network heals
//! and must be whole.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher};

use super::check_whole;
use super::clients::{file, request_id};
use super::rows::Backend;
use super::world::{Request, Topology, World};
use crate::types::{Change, GroupId, PasswordHash, RequestStamp, Stamp, UserId};

#[derive(Clone)]
struct State {
    world: World,
    /// Requests still to be made: the first at tracker 0, the second at tracker 1.
    left: [Option<Request>; 2],
    cut: bool,
}

#[derive(Default)]
struct Explorer {
    /// Number of orders from each state to an end.
    seen: BTreeMap<u64, u128>,
    ends: usize,
    both_acknowledged: usize,
}

#[test]
fn every_order_of_two_requests_and_a_cut() {
    // Without optimisation one of them takes as long as all others do with it.
    let count = if cfg!(debug_assertions) { 1 } else { usize::MAX };
    for (name, first, second) in cases().into_iter().take(count) {
        let mut world = World::new(2, Topology::Mesh, Backend::Memory, 1);
        prepare(&mut world);
        let mut explorer = Explorer::default();
        let orders =
            explorer.explore(State { world, left: [Some(first), Some(second)], cut: false });
        println!("{name}: {orders} orders, {} states, {} ends", explorer.seen.len(), explorer.ends);
        assert!(orders > 10_000 && explorer.both_acknowledged > 0);
    }
}

impl Explorer {
    fn explore(&mut self, state: State) -> u128 {
        let key = fingerprint(&state);
        if let Some(&orders) = self.seen.get(&key) {
            return orders;
        }
        let next = next_states(&state);
        let is_end = next.is_empty();
        let mut orders = u128::from(is_end);
        if is_end {
            self.finish(state.world);
        }
        for state in next {
            orders += self.explore(state);
        }
        self.seen.insert(key, orders);
        orders
    }

    fn finish(&mut self, mut world: World) {
        self.ends += 1;
        self.both_acknowledged += usize::from(
            world.replies.iter().filter(|(_, _, outcome)| outcome.is_ok()).count() == 2,
        );
        world.heal();
        check_whole(&world);
        assert!(world.forgiven.is_empty());
    }
}

fn next_states(state: &State) -> Vec<State> {
    let mut next = Vec::new();
    let mut push = |act: &dyn Fn(&mut State)| {
        let mut after = state.clone();
        act(&mut after);
        next.push(after);
    };
    for node in 0..2 {
        if let Some(request) = &state.left[node] {
            push(&|after| {
                after.world.submit(node, request);
                after.left[node] = None;
            });
        }
        if !state.world.nodes[node].unsynced.is_empty() {
            push(&|after| after.world.sync(node));
        }
        if state.world.can_dial(node, 1 - node) {
            push(&|after| assert!(after.world.dial(node, 1 - node)));
        }
    }
    for (connection, pipe) in state.world.deliverable() {
        push(&|after| after.world.deliver(connection, pipe));
    }
    if state.cut {
        return next;
    }
    for connection in 0..state.world.connections.len() {
        let [there, back] =
            state.world.connections[connection].pipes.each_ref().map(|pipe| pipe.queue.len());
        for losses in (0..=there).flat_map(|a| (0..=back).map(move |b| [a, b])) {
            push(&|after| {
                let mut losses = losses.into_iter();
                after.world.cut(connection, &mut |_| losses.next().unwrap());
                after.cut = true;
            });
        }
    }
    next
}

/// Two accounts and a group with both in it, known to both trackers.
fn prepare(world: &mut World) {
    let (nik, ann, lab) = cast();
    let hash = PasswordHash::from_phc("x".into());
    let changes = [
        (UserId::NOBODY, Change::CreateUser { name: "nik".parse().unwrap(), hash: hash.clone() }),
        (UserId::NOBODY, Change::CreateUser { name: "ann".parse().unwrap(), hash }),
        (nik, Change::CreateGroup { name: "lab".parse().unwrap() }),
        (ann, Change::JoinGroup { group: lab }),
        (nik, Change::AcceptRequest { group: lab, user: ann }),
    ];
    for (place, (actor, change)) in changes.into_iter().enumerate() {
        world.submit(0, &request(place as u64, actor, change));
    }
    world.settle();
    world.replies.clear();
}

fn cast() -> (UserId, UserId, GroupId) {
    let nik = UserId::derive(&"nik".parse().unwrap(), request_id(0));
    let ann = UserId::derive(&"ann".parse().unwrap(), request_id(1));
    (nik, ann, GroupId::derive(&"lab".parse().unwrap(), nik, request_id(2)))
}

fn request(id: u64, actor: UserId, change: Change) -> Request {
    let stamp = RequestStamp { id: request_id(id), at: Stamp::new(1_700_000_000_000, id as u16) };
    Request { client: id as usize, stamp, actor, change, asked_ms: 1_700_000_000_000, number: id }
}

fn cases() -> Vec<(&'static str, Request, Request)> {
    let (nik, ann, lab) = cast();
    let bob = || Change::CreateUser {
        name: "bob".parse().unwrap(),
        hash: PasswordHash::from_phc("x".into()),
    };
    let share = |content| Change::ShareFile { group: lab, file: file(content, "a") };
    vec![
        (
            "one request at both trackers",
            request(10, UserId::NOBODY, bob()),
            request(10, UserId::NOBODY, bob()),
        ),
        (
            "two users of one name",
            request(10, UserId::NOBODY, bob()),
            request(11, UserId::NOBODY, bob()),
        ),
        ("two files of one name", request(10, nik, share(1)), request(11, ann, share(2))),
        (
            "the owner leaves and hands over",
            request(10, nik, Change::LeaveGroup { group: lab }),
            request(11, nik, Change::TransferGroup { group: lab, user: ann }),
        ),
    ]
}

/// A hash of everything that decides how the state goes on.
fn fingerprint(state: &State) -> u64 {
    struct Sink(DefaultHasher);
    impl std::fmt::Write for Sink {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    let mut sink = Sink(DefaultHasher::new());
    state.world.outline(&mut sink).unwrap();
    write!(sink, "{:?} {}", state.left, state.cut).unwrap();
    sink.0.finish()
}
