//! The schedules: which faults happen when. Pure: a plan follows from its name, the numbers of
//! trackers and clients, the time, and the random generator that is passed in.
//!
//! **Invariant:** every plan ends its own faults: after its last step all trackers run, and nothing
//! is in their way.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// Time at the end of a plan in which nothing is wrong any more, and the clients still work.
const CALM: f64 = 0.7;

/// A machine that packets come from or go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    /// A tracker, from 1.
    Tracker(usize),
    /// A client, from 0.
    Client(usize),
}

/// One direction in which packets are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Way {
    /// Where the packets come from.
    pub(crate) from: Node,
    /// Where they do not arrive.
    pub(crate) to: Node,
}

/// One change of what is wrong. Trackers count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Stops a tracker's process where it stands.
    Freeze(usize),
    /// Lets it go on.
    Thaw(usize),
    /// Stops the file system that holds a tracker's data.
    HangDisk(usize),
    /// Lets it go on.
    FreeDisk(usize),
    /// Kills a tracker's process.
    Kill(usize),
    /// Starts it again.
    Start(usize),
    /// Loses all packets in these directions, and in no others.
    Cut(Vec<Way>),
    /// Takes a tracker's cable out.
    Unplug(usize),
    /// Puts it in again.
    Plug(usize),
    /// Sets a tracker's clock so many seconds ahead of the right time.
    Clock(usize, i64),
    /// Fills the disk that holds a tracker's data.
    FillDisk(usize),
    /// Makes room again; a tracker that has ended is started.
    DrainDisk(usize),
    /// Stops a tracker, copies its data, and starts it.
    Copy(usize),
    /// Stops a tracker, puts the copy in the place of its data, and starts it.
    Restore(usize),
    /// Limits a tracker's link to so many kbit/s.
    Throttle(usize, u32),
    /// Removes the limit.
    Unthrottle(usize),
}

/// An action and its time.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// Time from the start of the schedule.
    pub(crate) at: Duration,
    /// What happens.
    pub(crate) action: Action,
}

/// A program without which a schedule cannot be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    /// A file system that passes everything on.
    Bindfs,
    /// A library that sets a process's clock.
    Faketime,
    /// Packet filter rules.
    Nft,
    /// Token buckets.
    Tc,
}

/// What holds a tracker's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disk {
    /// A directory.
    Plain,
    /// A file system whose process can be stopped.
    Hangable,
    /// A small file system in memory.
    Small,
}

/// A kind of schedule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What happens, for `--list`.
    pub(crate) summary: &'static str,
    /// The programs that it needs.
    pub(crate) tools: &'static [Tool],
    /// Where the trackers' data is.
    pub(crate) disk: Disk,
    /// Whether buffers of sockets are small, so that they are full soon after a process stops.
    pub(crate) small_buffers: bool,
    plan: fn(&mut Planner),
}

const fn schedule(name: &'static str, summary: &'static str, plan: fn(&mut Planner)) -> Schedule {
    Schedule { name, summary, tools: &[], disk: Disk::Plain, small_buffers: false, plan }
}

/// All schedules.
pub(crate) const SCHEDULES: [Schedule; 17] = [
    schedule("quiet", "nothing is wrong", |_| {}),
    Schedule {
        small_buffers: true,
        ..schedule(
            "freeze-one",
            "a tracker stops for 2 to 12 s, then goes on; then another",
            |plan| plan.freeze(2.0..12.0, 1.0),
        )
    },
    Schedule {
        small_buffers: true,
        ..schedule(
            "freeze-two-in-turn",
            "a tracker stops; as it goes on, the next one does",
            |plan| plan.freeze(2.0..5.0, 0.1),
        )
    },
    Schedule {
        tools: &[Tool::Bindfs],
        disk: Disk::Hangable,
        ..schedule("hung-disk", "a tracker's disk hangs for 2 to 8 s", Planner::hang)
    },
    schedule("kill9-one", "one tracker is killed and started again, several times", |plan| {
        plan.kill(false)
    }),
    schedule("kill9-all-in-turn", "each tracker in turn is killed and started again", |plan| {
        plan.kill(true)
    }),
    Schedule {
        tools: &[Tool::Nft],
        ..schedule(
            "one-way-cut",
            "packets are lost in one direction: from a tracker, or to it",
            Planner::one_way,
        )
    },
    Schedule {
        tools: &[Tool::Nft],
        ..schedule(
            "partition-majority",
            "one tracker and some clients are cut off from the rest",
            Planner::partition_majority,
        )
    },
    Schedule {
        tools: &[Tool::Nft],
        ..schedule(
            "partition-each",
            "each tracker is alone with its part of the clients",
            Planner::partition_each,
        )
    },
    schedule(
        "flapping-link",
        "a tracker's cable comes out and goes in, twice a second",
        Planner::flap,
    ),
    Schedule {
        tools: &[Tool::Faketime],
        ..schedule(
            "clock-seconds",
            "a tracker's clock jumps by up to 20 s, ahead and back",
            |plan| plan.clock(2..20),
        )
    },
    Schedule {
        tools: &[Tool::Faketime],
        ..schedule(
            "clock-minutes",
            "a tracker's clock jumps by up to 20 min, ahead and back",
            |plan| plan.clock(90..1200),
        )
    },
    Schedule {
        tools: &[Tool::Faketime],
        ..schedule(
            "clock-hours-and-back",
            "a tracker's clock is hours ahead for a while, then right",
            Planner::clock_hours,
        )
    },
    Schedule {
        disk: Disk::Small,
        ..schedule("full-disk", "a tracker's disk is full, then has room again", Planner::fill)
    },
    schedule(
        "old-copy",
        "a tracker is stopped, and started with an older copy of its data",
        Planner::old_copy,
    ),
    Schedule {
        tools: &[Tool::Tc],
        ..schedule("slow-link", "a tracker's link carries very little", Planner::throttle)
    },
    Schedule {
        tools: &[Tool::Bindfs, Tool::Faketime, Tool::Nft, Tool::Tc],
        disk: Disk::Hangable,
        small_buffers: true,
        ..schedule(
            "everything-mixed",
            "all of these one after the other, two at a time",
            Planner::mixed,
        )
    },
];

impl Schedule {
    /// Finds one by its name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        SCHEDULES.iter().find(|schedule| schedule.name == name)
    }

    /// Makes the steps, in the order of time, for `seconds` of work.
    pub(crate) fn plan(
        &self,
        trackers: usize,
        clients: usize,
        seconds: f64,
        random: StdRng,
    ) -> Vec<Step> {
        let end = (seconds - CALM).max(0.5);
        let mut planner = Planner { random, trackers, clients, at: 0.4, end, steps: Vec::new() };
        (self.plan)(&mut planner);
        let mut steps = planner.steps;
        steps.sort_by_key(|step| step.at);
        steps
    }
}

/// A plan in the making.
struct Planner {
    random: StdRng,
    trackers: usize,
    clients: usize,
    /// The present moment, in seconds.
    at: f64,
    /// The moment at which everything has to be in order.
    end: f64,
    steps: Vec<Step>,
}

impl Planner {
    fn push(&mut self, action: Action) {
        self.steps.push(Step { at: Duration::from_secs_f64(self.at.min(self.end)), action });
    }

    /// A tracker.
    fn any(&mut self) -> usize {
        self.random.random_range(1..=self.trackers)
    }

    fn seconds(&mut self, from: f64, to: f64) -> f64 {
        self.random.random_range(from..to)
    }

    /// Whether there is time for a fault that lasts that long.
    fn has(&self, seconds: f64) -> bool {
        self.at + seconds <= self.end
    }

    /// Begins a fault, lets it last, ends it.
    fn fault(&mut self, begin: Action, seconds: f64, end: Action) {
        self.push(begin);
        self.at += seconds;
        self.push(end);
    }

    /// Does something again and again with trackers in turn, as long as there are `least` seconds
    /// left; at least once.
    fn repeat(&mut self, least: f64, mut each: impl FnMut(&mut Self, usize)) {
        let mut tracker = self.any();
        loop {
            each(self, tracker);
            tracker = tracker % self.trackers + 1;
            if !self.has(least) {
                return;
            }
        }
    }

    fn freeze(&mut self, seconds: std::ops::Range<f64>, pause: f64) {
        self.repeat(seconds.start, |plan, tracker| {
            let longest = (plan.end - plan.at).clamp(seconds.start + 0.1, seconds.end);
            let time = plan.seconds(seconds.start, longest);
            plan.fault(Action::Freeze(tracker), time, Action::Thaw(tracker));
            plan.at += pause;
        });
    }

    fn hang(&mut self) {
        self.repeat(2.0, |plan, tracker| {
            let longest = (plan.end - plan.at).clamp(2.1, 8.0);
            let time = plan.seconds(2.0, longest);
            plan.fault(Action::HangDisk(tracker), time, Action::FreeDisk(tracker));
            plan.at += 1.0;
        });
    }

    fn kill(&mut self, in_turn: bool) {
        let one = self.any();
        self.repeat(1.5, |plan, tracker| {
            let tracker = if in_turn { tracker } else { one };
            let time = plan.seconds(0.1, 1.2);
            plan.fault(Action::Kill(tracker), time, Action::Start(tracker));
            plan.at += plan.random.random_range(0.5..1.5);
        });
    }

    fn one_way(&mut self) {
        self.repeat(1.5, |plan, tracker| {
            let other = tracker % plan.trackers + 1;
            let one = Node::Tracker(tracker);
            let clients: Vec<Node> = (0..plan.clients).map(Node::Client).collect();
            let others: Vec<Node> =
                (1..=plan.trackers).map(Node::Tracker).filter(|node| *node != one).collect();
            let everything = [clients.clone(), others].concat();
            let ways = match plan.random.random_range(0..5) {
                0 => vec![Way { from: one, to: Node::Tracker(other) }],
                1 => clients.iter().map(|&client| Way { from: one, to: client }).collect(),
                2 => clients.iter().map(|&client| Way { from: client, to: one }).collect(),
                3 => everything.iter().map(|&node| Way { from: one, to: node }).collect(),
                _ => everything.iter().map(|&node| Way { from: node, to: one }).collect(),
            };
            let time = plan.seconds(1.0, 3.0);
            plan.fault(Action::Cut(ways), time, Action::Cut(vec![]));
            plan.at += 0.5;
        });
    }

    /// Cuts between nodes of different sides.
    fn sides(&self, side: impl Fn(Node) -> usize) -> Vec<Way> {
        let trackers: Vec<Node> = (1..=self.trackers).map(Node::Tracker).collect();
        let all: Vec<Node> =
            trackers.iter().copied().chain((0..self.clients).map(Node::Client)).collect();
        let both = trackers.iter().flat_map(|&a| {
            all.iter().flat_map(move |&b| [Way { from: a, to: b }, Way { from: b, to: a }])
        });
        let mut ways: Vec<Way> = both.filter(|way| side(way.from) != side(way.to)).collect();
        ways.sort_unstable();
        ways.dedup();
        ways
    }

    fn partition_majority(&mut self) {
        self.repeat(2.0, |plan, tracker| {
            let away = plan.random.random_range(1..=plan.clients / 2);
            let mut clients: Vec<usize> = (0..plan.clients).collect();
            clients.shuffle(&mut plan.random);
            let ways = plan.sides(|node| match node {
                Node::Tracker(number) => usize::from(number == tracker),
                Node::Client(index) => usize::from(clients[..away].contains(&index)),
            });
            let time = plan.seconds(1.5, 5.0);
            plan.fault(Action::Cut(ways), time, Action::Cut(vec![]));
            plan.at += 0.7;
        });
    }

    fn partition_each(&mut self) {
        self.repeat(2.0, |plan, _| {
            let (trackers, first) = (plan.trackers, plan.random.random_range(0..plan.trackers));
            let ways = plan.sides(|node| match node {
                Node::Tracker(number) => number - 1,
                Node::Client(index) => (index + first) % trackers,
            });
            let time = plan.seconds(1.5, 4.0);
            plan.fault(Action::Cut(ways), time, Action::Cut(vec![]));
            plan.at += 0.7;
        });
    }

    fn flap(&mut self) {
        let tracker = self.any();
        self.repeat(0.5, |plan, _| {
            let time = plan.seconds(0.1, 0.5);
            plan.fault(Action::Unplug(tracker), time, Action::Plug(tracker));
            plan.at += plan.random.random_range(0.1..0.5);
        });
    }

    fn clock(&mut self, seconds: std::ops::Range<i64>) {
        let mut sign = 1;
        self.repeat(2.5, |plan, tracker| {
            let offset = plan.random.random_range(seconds.clone()) * sign;
            let time = plan.seconds(1.5, 3.0);
            plan.fault(Action::Clock(tracker, offset), time, Action::Clock(tracker, 0));
            plan.at += 1.5;
            sign = -sign;
        });
    }

    fn clock_hours(&mut self) {
        let (tracker, hours) = (self.any(), self.random.random_range(1..5));
        let time = (self.end - self.at) * 0.5;
        self.fault(Action::Clock(tracker, hours * 3600), time, Action::Clock(tracker, 0));
    }

    fn fill(&mut self) {
        self.repeat(2.5, |plan, tracker| {
            let time = plan.seconds(1.5, 3.0);
            plan.fault(Action::FillDisk(tracker), time, Action::DrainDisk(tracker));
            plan.at += 1.0;
        });
    }

    fn old_copy(&mut self) {
        self.repeat(4.0, |plan, tracker| {
            plan.push(Action::Copy(tracker));
            plan.at += plan.seconds(1.5, 3.0);
            plan.push(Action::Restore(tracker));
            plan.at += 1.0;
        });
    }

    fn throttle(&mut self) {
        self.repeat(2.5, |plan, tracker| {
            let (time, rate) = (plan.seconds(2.0, 5.0), plan.random.random_range(64..512));
            plan.fault(Action::Throttle(tracker, rate), time, Action::Unthrottle(tracker));
            plan.at += 0.5;
        });
    }

    /// Faults of processes, disks and clocks, and beside them faults of the network.
    fn mixed(&mut self) {
        let start = self.at;
        self.repeat(2.0, |plan, _| {
            let (tracker, time) = (
                plan.any(),
                plan.random.random_range(0.8..4.0_f64).min((plan.end - plan.at).max(0.8)),
            );
            let (begin, end) = match plan.random.random_range(0..4) {
                0 => (Action::Freeze(tracker), Action::Thaw(tracker)),
                1 => (Action::Kill(tracker), Action::Start(tracker)),
                2 => (Action::HangDisk(tracker), Action::FreeDisk(tracker)),
                _ => (
                    Action::Clock(tracker, plan.random.random_range(-120..120)),
                    Action::Clock(tracker, 0),
                ),
            };
            plan.fault(begin, time, end);
            plan.at += 0.3;
        });
        self.at = start + 0.5;
        while self.has(2.0) {
            match self.random.random_range(0..5) {
                0 => self.once(2.0, Self::one_way),
                1 => self.once(2.0, Self::partition_majority),
                2 => self.once(2.0, Self::partition_each),
                3 => self.once(1.0, Self::flap),
                _ => self.once(2.0, Self::throttle),
            }
            self.at += 0.3;
        }
    }

    /// Plans a little of another schedule.
    fn once(&mut self, seconds: f64, plan: fn(&mut Self)) {
        let sooner = (self.at + seconds).min(self.end);
        let end = std::mem::replace(&mut self.end, sooner);
        plan(self);
        (self.at, self.end) = (self.at.min(self.end), end);
    }
}
