//! A row that is overwritten at one tracker after it came from another: nothing that was
//! acknowledged is lost, wherever the links break, and whichever of the two never comes back.
//!
//! Three trackers `a`, `b` and `c`. A request is carried out at `a` and its rows reach `b`, where
//! another request overwrites one of them. Between any two steps all links of `a` or of `b` are
//! cut, with any of the messages under way lost, and that tracker is gone for good; the others
//! meet, and a client repeats the first request at one of them. Stores start anew in some runs, so
//! that rows are read from them.

use super::clients::request_id;
use super::rows::Backend;
use super::world::{Request, Topology, World};
use super::{check_requests, order};
use crate::types::{Change, GroupId, PasswordHash, RequestStamp, Stamp, UserId};

const NIK: u64 = 1;
const LAB: u64 = 2;
const LET_IN: u64 = 10;
const REMOVED: u64 = 11;

#[test]
fn nothing_is_lost_when_a_tracker_goes_for_good() {
    let (mut runs, mut acknowledged) = (0, 0);
    // Without optimisation only some of the stores start anew.
    let restarts: &[u8] = if cfg!(debug_assertions) { &[0, 3] } else { &[0, 1, 2, 3, 4, 5, 6, 7] };
    for &restarted in restarts {
        for (gone, lost) in [(0, 0), (0, 1), (0, 9), (1, 0), (1, 1), (1, 9)] {
            for order in 0..6 {
                let mut at = 0;
                while let Some(count) = run(restarted, gone, lost, order, at) {
                    runs += 1;
                    acknowledged += count;
                    at += 1;
                }
                assert!(at > 10, "the run ends too early");
            }
        }
    }
    println!("{runs} runs, {acknowledged} acknowledgements");
    assert!(runs > 500 && acknowledged > runs);
}

/// Runs until step `at`, when tracker `gone` goes; `None` if there are not so many steps. Returns
/// the number of acknowledgements.
fn run(restarted: u8, gone: usize, lost: usize, order: usize, at: usize) -> Option<usize> {
    let mut world = World::new(3, Topology::Mesh, Backend::Memory, order as u64);
    prepare(&mut world);
    for node in 0..3 {
        if restarted & (1 << node) != 0 {
            world.crash(node, 0, None, &mut |_| 0);
            world.restart(node);
        }
    }
    let requests = requests(&world);
    world.submit(0, &requests[0]);
    let mut second = Some(&requests[1]);
    for _ in 0..at {
        // The second request comes to `b` as soon as it has rows of the first.
        if let Some(request) = second
            && world.nodes[1]
                .view
                .contains_key(&crate::types::RowKey::Request(requests[0].stamp.id))
        {
            world.submit(1, request);
            second = None;
            continue;
        }
        if !step(&mut world, order) {
            return None;
        }
    }
    world.crash(gone, 0, None, &mut |_| lost);
    world.wipe(gone);
    // What only the tracker that has gone had, and had not acknowledged to be elsewhere, is lost.
    let others = [1 - gone, 2];
    for node in others {
        world.submit(node, &requests[0]);
        for _ in 0..order {
            step(&mut world, 5 - order);
        }
    }
    world.heal();
    check_requests(&world);
    order::check_order(&world, true);
    Some(world.acknowledged.len())
}

/// One thing that can happen does; `order` says which. False if there is none.
fn step(world: &mut World, order: usize) -> bool {
    let deliverable = world.deliverable();
    let unsynced: Vec<usize> = (0..3)
        .filter(|&node| world.is_awake(node) && !world.nodes[node].unsynced.is_empty())
        .collect();
    let pairs = [(0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0)];
    let wish = |world: &mut World| pairs.iter().any(|&(from, to)| world.dial(from, to));
    let pick = |count: usize| if order.is_multiple_of(2) { 0 } else { count - 1 };
    match order / 2 {
        0 if !unsynced.is_empty() => world.sync(unsynced[pick(unsynced.len())]),
        1 if wish(world) => {}
        _ if !deliverable.is_empty() => {
            let (connection, pipe) = deliverable[pick(deliverable.len())];
            world.deliver(connection, pipe);
        }
        _ if !unsynced.is_empty() => world.sync(unsynced[pick(unsynced.len())]),
        _ => return wish(world),
    }
    true
}

/// A user with a group, known to all.
fn prepare(world: &mut World) {
    let hash = PasswordHash::from_phc("x".into());
    let changes = [
        (
            NIK,
            UserId::NOBODY,
            Change::CreateUser { name: "nik".parse().unwrap(), hash: hash.clone() },
        ),
        (LAB, nik(), Change::CreateGroup { name: "lab".parse().unwrap() }),
        (3, UserId::NOBODY, Change::CreateUser { name: "ann".parse().unwrap(), hash }),
        (4, ann(), Change::JoinGroup { group: lab() }),
    ];
    for (id, actor, change) in changes {
        let request = request(world, id, actor, change);
        world.submit(0, &request);
        world.settle();
        world.now_ms += 100;
    }
}

fn nik() -> UserId {
    UserId::derive(&"nik".parse().unwrap(), request_id(NIK))
}

fn ann() -> UserId {
    UserId::derive(&"ann".parse().unwrap(), request_id(3))
}

fn lab() -> GroupId {
    GroupId::derive(&"lab".parse().unwrap(), nik(), request_id(LAB))
}

/// The owner lets ann in; then ann's membership is written again.
fn requests(world: &World) -> [Request; 2] {
    [
        request(world, LET_IN, nik(), Change::AcceptRequest { group: lab(), user: ann() }),
        request(world, REMOVED, nik(), Change::RemoveMember { group: lab(), user: ann() }),
    ]
}

fn request(world: &World, id: u64, actor: UserId, change: Change) -> Request {
    let stamp = RequestStamp { id: request_id(id), at: Stamp::new(world.now_ms as u64 + id, 0) };
    Request { client: 0, stamp, actor, change, asked_ms: world.now_ms, number: id }
}
