//! The simulator: random networks, random faults, and what must hold all the same.
//!
//! A simulation is a seed. `POSSE_SIM_SEEDS` says how many are run (by default 300, with
//! optimisation 10,000), from `POSSE_SIM_FIRST` on; `POSSE_SIM_SEED` replays a single one and
//! prints its steps:
//!
//! ```text
//! POSSE_SIM_SEED=4711 cargo test directory::sim::random_networks -- --nocapture
//! ```
//!
//! The rows are in maps; one simulation in a hundred is run over SQLite, too.
//!
//! **Faults:** two to five trackers, each with links to all others, or in a line, a ring or a star;
//! connections that are cut at any moment and lose any number of the messages under way, with each
//! end learning of it at its own time; directions that stall; disks that sync late; crashes that
//! lose what was not synced (or keep a part of it); stores that come back older or empty; trackers
//! that freeze, with requests and messages waiting for them; clocks up to 40 s apart, in some
//! networks hours; clients that repeat requests at other trackers while the first copy is still
//! under way, clients that use a request id twice, and in some networks clients whose clocks are
//! off; tombstones that are deleted, and trackers that were away too long; rows of a later version
//! of the program.
//!
//! **What must hold** after every step is listed in [`driver`]. After healing: every tracker has
//! the same rows and the same digest; every acknowledged write is there, or a later one of the same
//! row; one request has one effect; the directory's answers are those of the naive [`model`]; every
//! member was let in by the user whom the tracker held for the owner, or by an invitation that was
//! open there, or made the group; no invitation was used more often than by as many users as it allows
//! for each tracker; and of two
//! changes of one row the one that was asked after the other was acknowledged stands ([`order`]).
//!
//! **What is assumed.** An acknowledged write may be lost if every store that held it went back in
//! time; exactly those are forgiven: the ones which, at the moment a store goes back, no store
//! holds any more. A store does not go back behind the retention time, and a tracker that was away
//! for longer is dialled by the others before it dials them: only a tracker that dials it sees that
//! it must start anew, and what it sends before then is taken, with rows that were deleted
//! meanwhile.

mod clients;
mod disk;
mod driver;
mod enumerate;
mod merge;
mod model;
mod order;
mod overwritten;
mod random;
mod rows;
mod scripts;
mod world;

use std::collections::BTreeMap;
use std::rc::Rc;

use self::clients::{Clients, request_id};
use self::model::Model;
use self::random::Random;
use self::rows::Backend;
use self::world::{Topology, World};
use crate::directory::Notice;
use crate::types::{
    Content, Effect, MembershipState, Place, Refusal, RequestId, Row, RowKey, Stamp, UserId,
    Version,
};

/// Prints the seed if the simulation fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the simulation failed; replay it with POSSE_SIM_SEED={}", self.0);
        }
    }
}

/// What happened, by name: to see that the simulations do what they are for.
#[derive(Debug, Default)]
struct Tally(BTreeMap<&'static str, usize>);

impl Tally {
    fn add(&mut self, what: &'static str, count: usize) {
        *self.0.entry(what).or_default() += count;
    }
}

/// Everything that must have happened in a hundred simulations or more.
const EXPECTED: [&str; 22] = [
    "acknowledged",
    "asked again with a later time",
    "carried out twice",
    "clock far off",
    "crash",
    "cut",
    "forgiven",
    "freeze",
    "injected",
    "invited",
    "late copy",
    "line",
    "must resync",
    "refused for its time",
    "repeat",
    "request id used twice",
    "ring",
    "same names",
    "skewed clients",
    "star",
    "stored frames",
    "went back",
];

/// Simulations that may fail before the others are left out.
const FAILURES_MAX: usize = 8;

struct Simulation {
    world: World,
    topology: Topology,
    clients: Clients,
    random: Random,
    trace: bool,
    tally: Tally,
    /// Whether clocks of trackers are far off in this network.
    is_far_off: bool,
    /// Whether the clocks of all clients were right all the time.
    are_clocks_right: bool,
    /// How long tombstones are kept in this network.
    retention_ms: Option<u64>,
    injected: u64,
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[test]
fn random_networks() {
    let default = if cfg!(debug_assertions) { 300 } else { 10_000 };
    run(Backend::Memory, number("POSSE_SIM_SEEDS").unwrap_or(default));
}

/// The same simulations, with each tracker's rows in a database: one in a hundred of them, for
/// these take long.
#[test]
fn random_networks_over_sqlite() {
    let default = if cfg!(debug_assertions) { 1000 } else { 10_000 };
    run(Backend::Sqlite, number("POSSE_SIM_SEEDS").unwrap_or(default).div_ceil(100));
}

/// The same over a PostgreSQL that the test starts.
#[cfg(feature = "postgres")]
#[test]
fn random_networks_over_postgres() {
    let default = if cfg!(debug_assertions) { 400 } else { 10_000 };
    run(Backend::Postgres, number("POSSE_SIM_SEEDS").unwrap_or(default).div_ceil(100));
}

fn run(backend: Backend, count: u64) {
    if let Some(seed) = number("POSSE_SIM_SEED") {
        println!("{:?}", simulate(seed, backend, true));
        return;
    }
    let first = number("POSSE_SIM_FIRST").unwrap_or(0);
    let mut sum = Tally::default();
    let mut failed = Vec::new();
    for seed in first..first + count {
        match std::panic::catch_unwind(|| simulate(seed, backend, false)) {
            Ok(Tally(tally)) => tally.into_iter().for_each(|(what, count)| sum.add(what, count)),
            Err(_) => failed.push(seed),
        }
        assert!(failed.len() < FAILURES_MAX, "simulations fail: {failed:?}");
    }
    assert!(failed.is_empty(), "simulations fail: {failed:?}");
    println!("{count} seeds: {:#?}", sum.0);
    let missing = EXPECTED.iter().find(|what| sum.0.get(*what).is_none_or(|&count| count == 0));
    assert!(count < 100 || missing.is_none(), "it never happened: {missing:?}");
}

fn simulate(seed: u64, backend: Backend, trace: bool) -> Tally {
    let _seed = Seed(seed);
    let mut simulation = Simulation::new(seed, backend, trace);
    for _ in 0..2 {
        let steps = 200 + simulation.random.below(300);
        (0..steps).for_each(|_| simulation.step());
        simulation.say("heal", 0);
        simulation.world.heal();
        simulation.check_converged();
        if simulation.retention_ms.is_some() {
            simulation.be_away();
            simulation.check_converged();
        }
    }
    simulation.count();
    simulation.tally
}

impl Simulation {
    fn new(seed: u64, backend: Backend, trace: bool) -> Self {
        let mut random = Random::new(seed);
        let mut tally = Tally::default();
        let count = 2 + random.below(4);
        let (topology, count) = match random.below(8) {
            0 => (Topology::Line, 5),
            1 => (Topology::Ring, 5),
            2 => (Topology::Star, 5),
            _ => (Topology::Mesh, count),
        };
        let name = match topology {
            Topology::Mesh => "mesh",
            Topology::Line => "line",
            Topology::Ring => "ring",
            Topology::Star => "star",
        };
        tally.add(name, 1);
        let mut clients = Clients::default();
        if random.one_in(6) {
            tally.add("skewed clients", 1);
            clients.skews_ms.iter_mut().for_each(|skew_ms| *skew_ms = within(&mut random, 50_000));
        }
        let is_far_off = random.one_in(8);
        let retention_ms = if random.one_in(4) { Some(150_000) } else { None };
        let mut world = World::new(count, topology, backend, seed);
        world.trace = trace;
        let are_clocks_right = clients.skews_ms.iter().all(|skew_ms| *skew_ms == 0);
        Self {
            world,
            topology,
            clients,
            are_clocks_right,
            random,
            trace,
            tally,
            is_far_off,
            retention_ms,
            injected: 0,
        }
    }

    fn step(&mut self) {
        self.do_something();
        let count = self.clients.ask_later(&mut self.world, &mut self.random);
        self.tally.add("asked again with a later time", count);
    }

    fn do_something(&mut self) {
        let count = self.world.nodes.len();
        let node = self.random.below(count);
        let is_running = self.world.nodes[node].replica.is_some();
        let is_awake = self.world.is_awake(node);
        match self.random.below(200) {
            0..90 => self.deliver(),
            90..116 if is_awake => {
                self.say("sync", node);
                self.world.sync(node);
            }
            116..132 => {
                let to = self.random.below(count);
                if self.world.dial(node, to) {
                    self.say("dial from", node);
                }
            }
            132..150 if is_running => {
                self.say("ask", node);
                self.clients.ask(&mut self.world, node, &mut self.random);
                self.tell_request();
                self.arrive(node, 4);
            }
            150..158 if is_running => {
                self.say("repeat", node);
                self.tally.add("repeat", 1);
                self.clients.repeat(&mut self.world, node, &mut self.random);
                self.arrive(node, 2);
            }
            158..164 => self.arrive(node, 1),
            164 if is_awake => {
                let before = self.clients.reused.len();
                self.clients.reuse(&mut self.world, node, &mut self.random);
                self.tally.add("request id used twice", self.clients.reused.len() - before);
            }
            165..175 => {
                let ms = self.random.below(400);
                self.say("advance", ms);
                self.world.advance(ms as i64);
            }
            175..178 => self.cut(),
            178..180 => self.stall(node),
            180..183 => self.world.stalled.clear(),
            183 => self.set_clock(node),
            184 if is_awake => {
                self.say("freeze", node);
                self.tally.add("freeze", 1);
                self.world.nodes[node].is_frozen = true;
            }
            185..188 => self.thaw(node),
            188..190 if is_running => self.crash(node),
            190 if is_awake => self.inject(node),
            191 if is_awake => self.check_answers(node),
            192..200 if !is_running => {
                self.say("restart", node);
                self.world.restart(node);
            }
            _ => {}
        }
    }

    fn deliver(&mut self) {
        if let Some((connection, pipe)) = self.random.pick(&self.world.deliverable()) {
            if self.trace {
                let connection = &self.world.connections[connection];
                let [from, to] = [connection.ends[pipe], connection.ends[1 - pipe]];
                println!("{from} -> {to}: {:?}", connection.pipes[pipe].queue.front());
            }
            self.world.deliver(connection, pipe);
        }
    }

    /// Once in `n` times the requests that wait stay under way.
    fn arrive(&mut self, node: usize, n: usize) {
        if n > 1 && self.random.one_in(n) {
            return;
        }
        while self.world.is_awake(node) && !self.world.nodes[node].inbox.is_empty() {
            let (_, asked) = &self.world.nodes[node].inbox[0];
            let acknowledged = self.world.acknowledged.iter();
            let is_late = acknowledged.filter(|a| a.request == asked.request.id).count() > 0;
            self.tally.add("late copy", usize::from(is_late));
            self.say("arrive", node);
            self.world.carry_out(node);
        }
    }

    fn thaw(&mut self, node: usize) {
        if self.world.nodes[node].is_frozen {
            self.say("thaw", node);
            self.world.nodes[node].is_frozen = false;
            // The requests come before the messages that wait, or after some of them.
            self.arrive(node, 2);
        }
    }

    fn cut(&mut self) {
        let connection = self.random.below(self.world.connections.len());
        if connection < self.world.connections.len() {
            self.say("cut connection", self.world.connections[connection].id as usize);
            self.tally.add("cut", 1);
            let random = &mut self.random;
            self.world.cut(connection, &mut |len| random.below(len + 1));
        }
    }

    fn stall(&mut self, from: usize) {
        let to = self.random.below(self.world.nodes.len());
        self.say("stall from", from);
        self.world.stalled.insert((from, to));
    }

    fn set_clock(&mut self, node: usize) {
        self.world.nodes[node].skew_ms = if self.is_far_off && self.random.one_in(2) {
            self.tally.add("clock far off", 1);
            let skew_ms = within(&mut self.random, 3 * 3_600_000);
            // Some clients go by that clock.
            let client = self.random.below(self.clients.skews_ms.len());
            self.clients.skews_ms[client] = if self.random.one_in(3) { skew_ms } else { 0 };
            self.are_clocks_right &= self.clients.skews_ms[client] == 0;
            skew_ms
        } else {
            within(&mut self.random, 20_000)
        };
        self.say("set clock of", node);
    }

    fn crash(&mut self, node: usize) {
        let survive = self.random.below(self.world.nodes[node].unsynced.len() + 1);
        self.say("crash", node);
        self.tally.add("crash", 1);
        let random = &mut self.random;
        self.world.crash(node, survive, None, &mut |len| random.below(len + 1));
        if self.random.one_in(3) {
            self.tally.add("went back", 1);
            let len = self.world.nodes[node].disk.log.len();
            let keep = if self.random.one_in(2) {
                self.random.below(len + 1)
            } else {
                len.saturating_sub(1 + self.random.below(3))
            };
            // What is older than the retention time of the others must start anew.
            let keep = if keep < self.world.nodes[node].keep_min { 0 } else { keep };
            self.world.crash(node, 0, Some(keep), &mut |_| 0);
            self.say("store went back", self.world.nodes[node].disk.log.len());
        }
        // Back before the last words of its earlier life were read, which is when it matters.
        if self.random.one_in(2) {
            self.say("restart at once", node);
            self.world.restart(node);
            (0..self.world.nodes.len()).for_each(|to| _ = self.world.dial(node, to));
        }
    }

    /// Rows of a later version: of an unknown kind, and with fields that are unknown.
    fn inject(&mut self, node: usize) {
        self.say("inject", node);
        self.tally.add("injected", 1);
        self.injected += 1;
        let store = self.world.fresh_store();
        let request = request_id(1 << 32 | self.injected);
        let version = Version { stamp: Stamp::new(self.world.now_ms as u64, 0), request };
        let key = self.random.below(3) as u8;
        let content = Content::Unknown(200, vec![key], self.injected.to_be_bytes().into());
        let place = Place { store, sequence: 1 };
        let mut rows = vec![Row { content, version, place, extra: Box::default() }];
        let known: Vec<Rc<Row>> = self.world.nodes[node].view.values().cloned().collect();
        let mut can_have_more = known.iter().filter(|row| {
            !matches!(row.content, Content::Request(..) | Content::Unknown(..))
                && !row.content.is_tombstone()
                && !row.content.is_final()
        });
        let index = self.random.below(20);
        if let Some(row) = can_have_more.nth(index) {
            let version = Version { stamp: row.version.stamp.next().unwrap(), request };
            let (content, extra) = (row.content.clone(), vec![self.injected as u8; 3].into());
            let place = Place { store, sequence: 2 };
            rows.push(Row { content, version, place, extra });
            if let RowKey::Membership(..) = row.content.key() {
                self.world.let_in.insert((request, row.content.key()));
            }
        }
        self.world.inject(node, store, rows);
    }

    /// The answers in the middle of everything are those of the rows that the tracker has.
    fn check_answers(&self, node: usize) {
        let model = Model::of(self.world.nodes[node].view.values().map(|row| &**row));
        model.check(self.world.nodes[node].replica.as_ref().unwrap().directory());
    }

    /// A tracker is away while the others delete what is old: it must start anew.
    fn be_away(&mut self) {
        let Some(retention_ms) = self.retention_ms else { return };
        let count = self.world.nodes.len();
        // The others still reach each other: deletions that are older than the retention time are
        // known to all of them.
        let away = match self.topology {
            Topology::Mesh | Topology::Ring => self.random.below(count),
            Topology::Line => self.random.below(2) * (count - 1),
            Topology::Star => 1 + self.random.below(count - 1),
        };
        self.say("away", away);
        self.world.crash(away, 0, None, &mut |_| 0);
        for _ in 0..self.random.below(12) {
            let node = (away + 1 + self.random.below(count - 1)) % count;
            self.clients.ask(&mut self.world, node, &mut self.random);
            self.tell_request();
            self.arrive(node, 1);
            self.world.settle();
            self.world.advance(300);
        }
        self.world.settle();
        self.world.advance(retention_ms as i64 + 50_000);
        self.world.settle();
        let others: Vec<usize> = (0..count).filter(|&node| node != away).collect();
        let digest =
            |node: usize| self.world.nodes[node].replica.as_ref().unwrap().directory().digest();
        assert!(
            others.iter().all(|&node| digest(node) == digest(others[0])),
            "a tracker is away, and the others differ"
        );
        for node in others {
            let deleted = self.world.sweep(node, retention_ms);
            self.tally.add("swept", deleted);
        }
        self.world.notices.clear();
        // The others dial it first, and tell it; see "What is assumed".
        self.world.restart(away);
        self.world.silent = Some(away);
        self.world.settle();
        self.world.silent = None;
        if self.world.notices.contains(&(away, Notice::MustResync)) {
            self.say("must resync", away);
            self.tally.add("must resync", 1);
        }
        self.world.heal();
        self.world.nodes.iter_mut().for_each(|node| node.keep_min = node.disk.log.len());
    }

    fn check_converged(&mut self) {
        check_whole(&self.world);
        for (_, ticket, outcome) in &self.world.replies {
            let is_far = matches!(outcome, Err(Refusal::WrongTime { .. }));
            if self.clients.reused.contains(&ticket.0) && !is_far {
                assert_eq!(*outcome, Err(Refusal::RequestReused));
            }
        }
        order::check_order(&self.world, self.are_clocks_right);
    }

    fn count(&mut self) {
        let world = &self.world;
        let rows = world.rows(0);
        let model = Model::of(rows.values().map(|row| &**row));
        let is_late =
            |(_, _, outcome): &&(usize, crate::directory::Ticket, crate::types::Outcome)| {
                matches!(outcome, Err(Refusal::WrongTime { .. }))
            };
        let counts = [
            ("rows", rows.len()),
            ("acknowledged", world.acknowledged.len()),
            ("forgiven", world.forgiven.len()),
            ("carried out twice", world.writes.values().filter(|stamps| stamps.len() > 1).count()),
            ("same names", model.same_names()),
            ("invited", rows.keys().filter(|key| matches!(key, RowKey::InvitationUse(..))).count()),
            ("stored frames", world.frames_stored),
            ("refused for its time", world.replies.iter().filter(is_late).count()),
        ];
        counts.into_iter().for_each(|(what, count)| self.tally.add(what, count));
    }

    fn say(&self, what: &str, which: usize) {
        if self.trace {
            println!("{:>8} {what} {which}", self.world.now_ms % 100_000_000);
        }
    }

    fn tell_request(&self) {
        if let (true, Some(request)) = (self.trace, self.clients.requests.last()) {
            println!("         {request:?}");
        }
    }
}

fn within(random: &mut Random, most: usize) -> i64 {
    random.below(2 * most + 1) as i64 - most as i64
}

/// Checks that a healed network is whole.
fn check_whole(world: &World) {
    let live = |node: usize| {
        let is_live = |(_, row): &(RowKey, Rc<Row>)| !row.content.is_tombstone();
        let rows = world.rows(node).into_iter().filter(is_live);
        let kept =
            rows.map(|(key, row)| (key, (row.version, row.content.clone(), row.extra.clone())));
        kept.collect::<BTreeMap<_, _>>()
    };
    let rows = live(0);
    let mut digests = Vec::new();
    for node in 0..world.nodes.len() {
        let state = &world.nodes[node];
        assert!(state.unsynced.is_empty());
        let others = live(node);
        for (key, row) in &rows {
            assert_eq!(others.get(key), Some(row), "tracker {node} has another row than tracker 0");
        }
        let more = others.iter().find(|(key, _)| !rows.contains_key(key));
        assert_eq!(more, None, "tracker {node} has rows that tracker 0 lacks");
        let directory = state.replica.as_ref().unwrap().directory();
        digests.push(directory.digest());
        Model::of(world.rows(node).values().map(|row| &**row)).check(directory);
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "directories differ");
    let is_violation = |(_, notice): &&(usize, Notice)| matches!(notice, Notice::Violation { .. });
    let violation = world.notices.iter().find(is_violation);
    assert_eq!(violation, None, "a tracker of ours broke the protocol");
    check_requests(world);
    check_members(world);
}

/// Every acknowledged write is there, and each request has one effect.
fn check_requests(world: &World) {
    for node in 0..world.nodes.len() {
        for acknowledged in &world.acknowledged {
            let (request, stamp) = (acknowledged.request, acknowledged.stamp);
            let version = Version { stamp, request };
            let is_there =
                world.is_whole(version, |key| world.has(&world.nodes[node].disk, key, version));
            let is_forgiven = world.forgiven.contains(&(request, stamp));
            assert!(is_there || is_forgiven, "{request} was acknowledged, and is lost at {node}");
        }
    }
    let mut effects: BTreeMap<RequestId, Effect> = BTreeMap::new();
    for (_, ticket, outcome) in &world.replies {
        if let Ok(success) = outcome {
            let effect = effects.entry(world.tickets[&ticket.0]).or_insert(success.effect);
            assert_eq!(*effect, success.effect, "one request, two effects");
        }
    }
}

/// Every member was let in by the owner, or made the group.
fn check_members(world: &World) {
    let rows = world.rows(0);
    let model = Model::of(rows.values().map(|row| &**row));
    for group in model.live_groups() {
        for user in model.members(group) {
            let request = model.admission(group, user).unwrap().request;
            let key = RowKey::Membership(group, user);
            let let_in = world.let_in.contains(&(request, key));
            assert!(
                let_in || has_made(world, group, user, request),
                "a member whom no owner let in"
            );
        }
    }
    check_uses(world, &model);
    let is_waiting = |row: &Rc<Row>| matches!(&row.content, Content::Membership(_, _, row) if row.state == MembershipState::Requested);
    assert!(rows.values().filter(|row| is_waiting(row)).count() <= world.requests.len());
}

/// An invitation lets in no more users than it allows for each tracker: that many trackers were
/// apart at most.
fn check_uses(world: &World, model: &Model) {
    for row in world.rows(0).values() {
        if let Content::Invitation(group, invitation, row) = &row.content {
            let most = row.uses as usize * world.nodes.len();
            assert!(model.uses(*group, *invitation) <= most, "{group} {invitation}");
        }
    }
}

fn has_made(world: &World, group: crate::types::GroupId, user: UserId, request: RequestId) -> bool {
    use crate::types::{Change, GroupId};
    world.requests.get(&request).is_some_and(|asked| match &asked.change {
        Change::CreateGroup { name } => GroupId::derive(name, user, request) == group,
        _ => false,
    })
}
