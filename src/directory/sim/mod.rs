//! The simulator: random networks, random faults, and what must hold all the same.
//!
//! A simulation is a seed. `POSSE_SIM_SEEDS` says how many are run (by default 300, with optimisation 10,000), `POSSE_SIM_SEED`
//! replays a single one and prints its steps:
//!
//! ```text
//! POSSE_SIM_SEED=4711 cargo test directory::sim::random_networks -- --nocapture
//! ```
//!
//! **Faults:** two to five trackers; connections that are cut at any moment and lose any number of the messages under way, with
//! each end learning of it at its own time; directions that stall; disks that sync late; crashes that lose what was not synced
//! (or keep a part of it); stores that come back older or empty; clocks up to a minute off, that jump; clients that repeat requests
//! at other trackers while the first try is still under way, and others that use the same request id for something else.
//!
//! **What must hold** after every step is listed in [`driver`]. After healing: every tracker has the same operations and the same
//! digest; every acknowledged request is known everywhere, with one effect; the directory's answers are those of the naive
//! [`model`], in which registers are overwritten by later tags alone; and every member was let in by whom the tracker asked held
//! for the owner at that moment, or made the group.
//!
//! **What is assumed.** An acknowledged request may be lost if every store that held it went back in time; exactly those are
//! forgiven: the ones which, at the moment a store goes back, no store holds any more. And a store does not go back while
//! another that did so has not yet either heard all others or taken a new origin, nor while the last words of another tracker's
//! dead connection are still unread (its own may be): two stores that go back within the same moments can lose the only evidence
//! that an origin was used further, and would then use the same sequence twice. An empty store is not started with its old origin.

mod clients;
mod disk;
mod driver;
mod enumerate;
mod merge;
mod model;
mod random;
mod scripts;
mod world;

use std::collections::BTreeMap;
use std::rc::Rc;

use self::clients::Clients;
use self::model::Model;
use self::random::Random;
use self::world::World;
use crate::directory::Notice;
use crate::types::{Change, Effect, GroupId, Operation, Refusal, RequestId};

/// Prints the seed if the simulation fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the simulation failed; replay it with POSSE_SIM_SEED={}", self.0);
        }
    }
}

/// What happened in all simulations together, to see that they do what they are for.
#[derive(Debug, Default)]
struct Tally {
    operations: usize,
    acknowledged: usize,
    forgiven: usize,
    retries: usize,
    went_back: usize,
    fresh_origins: usize,
    /// Operations whose request another one had carried out already.
    carried_twice: usize,
    /// Users who bear a name which another one bears too.
    same_names: usize,
}

struct Simulation {
    world: World,
    clients: Clients,
    random: Random,
    trace: bool,
    tally: Tally,
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[test]
fn random_networks() {
    if let Some(seed) = number("POSSE_SIM_SEED") {
        _ = simulate(seed, true);
        return;
    }
    let count = number("POSSE_SIM_SEEDS").unwrap_or(if cfg!(debug_assertions) { 300 } else { 10_000 });
    let mut sum = Tally::default();
    for seed in 0..count {
        let tally = simulate(seed, false);
        sum.operations += tally.operations;
        sum.acknowledged += tally.acknowledged;
        sum.forgiven += tally.forgiven;
        sum.retries += tally.retries;
        sum.went_back += tally.went_back;
        sum.fresh_origins += tally.fresh_origins;
        sum.carried_twice += tally.carried_twice;
        sum.same_names += tally.same_names;
    }
    println!("{count} seeds: {sum:?}");
    assert!(count < 100 || (sum.carried_twice > 0 && sum.same_names > 0 && sum.went_back > 0 && sum.fresh_origins > 0));
}

fn simulate(seed: u64, trace: bool) -> Tally {
    let _seed = Seed(seed);
    let mut random = Random::new(seed);
    let count = 2 + random.below(4);
    let world = World::new(count, seed);
    let mut simulation = Simulation { world, clients: Clients::default(), random, trace, tally: Tally::default() };
    for _ in 0..2 {
        let steps = 200 + simulation.random.below(300);
        (0..steps).for_each(|_| simulation.step());
        simulation.say("heal", 0);
        simulation.world.heal();
        simulation.check_converged();
    }
    simulation.tally
}

impl Simulation {
    fn step(&mut self) {
        let node = self.random.below(self.world.nodes.len());
        let is_up = self.world.nodes[node].replica.is_some();
        match self.random.below(100) {
            0..50 => self.deliver(),
            50..64 if is_up => {
                self.say("sync", node);
                self.world.sync(node);
            }
            64..72 => {
                let to = self.random.below(self.world.nodes.len());
                if self.world.dial(node, to) {
                    self.say("dial from", node);
                }
            }
            72..82 if is_up => {
                self.say("ask", node);
                self.clients.ask(&mut self.world, node, &mut self.random);
                self.tell_request();
            }
            82..86 if is_up => {
                self.say("repeat", node);
                self.tally.retries += 1;
                self.clients.repeat(&mut self.world, node, &mut self.random);
            }
            86 if is_up => self.clients.reuse(&mut self.world, node, &mut self.random),
            87..91 => {
                let ms = self.random.below(400);
                self.say("advance", ms);
                self.world.advance(ms as i64);
            }
            91 | 92 => self.cut(),
            93 => self.stall(node),
            94 => self.world.stalled.clear(),
            95 => self.world.nodes[node].skew_ms = self.random.below(120_001) as i64 - 60_000,
            96 if is_up => self.crash(node),
            97..100 if !is_up => {
                self.say("restart", node);
                self.world.restart(node);
            }
            _ => {}
        }
    }

    fn deliver(&mut self) {
        if let Some((connection, pipe)) = self.random.pick(&self.world.deliverable()) {
            self.say("deliver on connection", self.world.connections[connection].id as usize * 10 + pipe);
            self.world.deliver(connection, pipe);
        }
    }

    fn cut(&mut self) {
        let connection = self.random.below(self.world.connections.len());
        if connection < self.world.connections.len() {
            self.say("cut connection", self.world.connections[connection].id as usize);
            let random = &mut self.random;
            self.world.cut(connection, &mut |len| random.below(len + 1));
        }
    }

    fn stall(&mut self, from: usize) {
        let to = self.random.below(self.world.nodes.len());
        self.say("stall from", from);
        self.world.stalled.insert((from, to));
    }

    fn crash(&mut self, node: usize) {
        let survive = self.random.below(self.world.nodes[node].unsynced.len() + 1);
        self.say("crash", node);
        let random = &mut self.random;
        self.world.crash(node, survive, None, &mut |len| random.below(len + 1));
        let log = &self.world.nodes[node].disk.log;
        if self.random.one_in(3) && self.world.may_go_back(node) {
            self.tally.went_back += 1;
            // An empty store has no origin to use again: it is made anew.
            let len = log.len();
            let keep =
                if self.random.one_in(2) { self.random.below(len + 1) } else { len.saturating_sub(1 + self.random.below(3)) };
            match keep {
                0 | 1 => self.world.wipe(node),
                keep => self.world.crash(node, 0, Some(keep), &mut |_| 0),
            }
            self.say("store went back", self.world.nodes[node].disk.log.len());
        }
        // Back before the last words of its earlier life were read, which is when it matters.
        if self.random.one_in(2) {
            self.say("restart at once", node);
            self.world.restart(node);
            (0..self.world.nodes.len()).for_each(|to| _ = self.world.dial(node, to));
        }
    }

    fn check_converged(&mut self) {
        let operations = check_whole(&self.world);
        for (_, ticket, outcome) in &self.world.replies {
            if self.clients.reused.contains(&ticket.0) {
                assert_eq!(*outcome, Err(Refusal::RequestReused));
            }
        }
        let model = Model::of(&operations);
        self.check_members(&model);
        self.count(&operations, &model);
    }

    fn check_members(&self, model: &Model) {
        for group in model.live_groups() {
            for (_, user, request) in model.members(group) {
                let made = self.clients.requests.iter().any(|r| match &r.change {
                    Change::CreateGroup { name } => r.id == request && GroupId::derive(name, user, r.id) == group,
                    _ => false,
                });
                assert!(made || self.clients.let_in.get(&request) == Some(&(group, user)), "a member whom no owner let in");
            }
        }
    }

    fn count(&mut self, operations: &[Rc<Operation>], model: &Model) {
        let origins: std::collections::BTreeSet<_> = operations.iter().map(|operation| operation.origin).collect();
        self.tally.operations = operations.len();
        self.tally.acknowledged = self.world.acknowledged.len();
        self.tally.forgiven = self.world.forgiven.len();
        self.tally.fresh_origins = origins.len().saturating_sub(self.world.nodes.len());
        let requests: std::collections::BTreeSet<_> = operations.iter().map(|operation| operation.request).collect();
        self.tally.carried_twice = operations.len() - requests.len();
        self.tally.same_names = model.same_names();
    }

    fn say(&self, what: &str, which: usize) {
        if self.trace {
            println!("{:>8} {what} {which}", self.world.now_ms % 100_000_000);
        }
    }

    fn tell_request(&self) {
        if let (true, Some(request)) = (self.trace, self.clients.requests.last()) {
            println!("         {:?} by {}", request.change, request.actor);
        }
    }
}

/// Checks that a healed network is whole, and returns the operations that every tracker has.
fn check_whole(world: &World) -> Vec<Rc<Operation>> {
    let sorted = |node: usize| {
        let mut operations = world.applied(node);
        operations.sort_by_key(|operation| (operation.origin, operation.sequence));
        operations
    };
    let operations = sorted(0);
    let model = Model::of(&operations);
    let mut digests = Vec::new();
    for node in 0..world.nodes.len() {
        assert!(world.nodes[node].unsynced.is_empty());
        assert_eq!(sorted(node), operations, "trackers know different operations");
        let directory = world.nodes[node].replica.as_ref().unwrap().directory();
        digests.push(directory.digest());
        model.check(directory);
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "directories differ");
    let violation = world.notices.iter().find(|(_, notice)| matches!(notice, Notice::Violation { .. }));
    assert_eq!(violation, None, "a tracker of ours broke the protocol");
    check_requests(world, &operations);
    operations
}

/// Every acknowledged request is known, and has one effect however often it was carried out.
fn check_requests(world: &World, operations: &[Rc<Operation>]) {
    let mut carried: BTreeMap<RequestId, &Operation> = BTreeMap::new();
    for operation in operations {
        let first = carried.entry(operation.request).or_insert(operation);
        assert_eq!((first.actor, first.effect), (operation.actor, operation.effect), "one request, two effects");
    }
    for request in &world.acknowledged {
        let known = carried.contains_key(request) || world.forgiven.contains(request);
        assert!(known, "an acknowledged request is lost: {request}");
    }
    let made = carried.values().filter(|operation| matches!(operation.effect, Effect::User(_))).count();
    assert_eq!(world.nodes[0].replica.as_ref().unwrap().directory().counts().users, made as u64);
}
