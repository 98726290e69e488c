//! The session of this device: its shares, downloads, queue, tickets and peers, and every decision
//! about them.
//!
//! **Invariant:** a command changes nothing unless the store has agreed ([`turn`]); every command
//! is answered once; an event of a transfer that is not known is dropped; a revocation ends links
//! before anything else happens.
//!
//! What a tracker, the engine or a file system tells is a *fact*: it counts at once, and is written
//! as soon as the store can. What the user asks for is a *command*: it counts once it is written.
//!
//! Pure. The contract: tell [`Session::input`] what has happened, call [`Session::advance`], carry
//! out what [`Session::poll`] returns, and call again at [`Session::wake_at`]. The driver is
//! [`super::runtime`]; a simulator drives it through faults.

mod cancelling;
mod commands;
mod downloads;
mod endings;
pub(crate) mod input;
pub(crate) mod library;
mod life;
mod membership;
pub(crate) mod news;
pub(crate) mod peers;
pub(crate) mod queue;
pub(crate) mod refusals;
pub(crate) mod reports;
mod shares;
#[cfg(test)]
mod sim;
mod slots;
mod source_groups;
mod sources;
pub(crate) mod status;
mod ticketing;
pub(crate) mod tickets;
mod turn;
pub(crate) mod withdrawn;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use self::input::{Command, Effect, Input, Now, ReplyTo, TransferId};
use self::library::Library;
use self::life::{Entering, Leaving};
use self::peers::PeerBook;
use self::reports::Reports;
use self::slots::Watch;
pub(crate) use self::ticketing::TICKET_TIMEOUT;
use self::tickets::Tickets;
use self::turn::Turn;
use self::withdrawn::Withdrawn;
use crate::types::{DownloadState, FileId, GroupId, InfoHash};

/// How long a command waits for a file system to answer before it is answered itself.
pub(crate) const DISK_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How often links are looked at for tickets that have expired while the machine slept.
const EXPIRED_EVERY: Duration = Duration::from_secs(15);

/// What links and commands may read at any time: a copy of what counts now.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub(crate) library: Library,
    pub(crate) tickets: Tickets,
    pub(crate) book: PeerBook,
    pub(crate) withdrawn: Withdrawn,
    pub(crate) reports: Reports,
}

/// What is being planned: decides when its effects leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Planning {
    /// Nothing that is written: at once.
    Nothing,
    /// Facts: orders leave at once, what is told leaves when the store has answered.
    Facts,
    /// Commands: everything leaves when the store has agreed.
    Commands,
}

/// The session.
#[derive(Debug)]
pub(crate) struct Session {
    /// As planned.
    library: Library,
    /// As it counts: without the commands that wait for the store.
    committed: Library,
    tickets: Tickets,
    book: PeerBook,
    withdrawn: Withdrawn,
    reports: Reports,
    inbox: VecDeque<Input>,
    turn: Option<Turn>,
    out: VecDeque<Effect>,
    held: Vec<Effect>,
    planning: Planning,
    last_store: u64,
    last_transfer: u64,
    last_end: u64,
    /// When facts that could not be written are tried again.
    retry_at: Option<Duration>,
    /// Trackers that are back, and when what they said before counts no more.
    back: HashMap<usize, Duration>,
    /// Groups whose joining or leaving was told last, true for joining: every tracker tells of it.
    told_groups: HashMap<GroupId, bool>,
    joins: membership::Joins,
    /// The user leaves every group by choice.
    leaves_all: bool,
    /// Files that this device has removed from groups or replaced there: every tracker tells.
    own_removals: HashMap<(GroupId, InfoHash), FileId>,
    sources_due: sources::Due,
    /// Trackers are being asked for sources: one question at a time.
    asks_for_sources: bool,
    /// Who waits for a download to be cancelled, and when they are answered at the latest.
    cancels: HashMap<InfoHash, (ReplyTo, Duration)>,
    /// When those who wait for a download to be begun are answered at the latest.
    begins: VecDeque<(Duration, InfoHash, TransferId)>,
    /// Links that wait for a ticket of ours.
    ticket_waiters: Vec<(GroupId, ReplyTo)>,
    watch: Watch,
    /// When running downloads are next looked at while others wait.
    pulses_at: Duration,
    expired_at: Duration,
    entering: Option<Entering>,
    leaving: Option<Leaving>,
    /// Completed downloads of which the directory is to be told, and of which it is being told.
    to_share: BTreeSet<(GroupId, InfoHash)>,
    sharing: BTreeSet<(GroupId, InfoHash)>,
    downloads_max: usize,
}

impl Session {
    /// A session of nobody.
    pub(crate) fn new(downloads_max: usize) -> Self {
        Self {
            library: Library::default(),
            committed: Library::default(),
            tickets: Tickets::default(),
            book: PeerBook::default(),
            withdrawn: Withdrawn::default(),
            reports: Reports::default(),
            inbox: VecDeque::new(),
            turn: None,
            out: VecDeque::new(),
            held: Vec::new(),
            planning: Planning::Nothing,
            last_store: 0,
            last_transfer: 0,
            last_end: 0,
            retry_at: None,
            back: HashMap::new(),
            told_groups: HashMap::new(),
            joins: membership::Joins::default(),
            leaves_all: false,
            own_removals: HashMap::new(),
            sources_due: sources::Due::default(),
            asks_for_sources: false,
            cancels: HashMap::new(),
            begins: VecDeque::new(),
            ticket_waiters: Vec::new(),
            watch: Watch::default(),
            pulses_at: Duration::ZERO,
            expired_at: Duration::ZERO,
            entering: None,
            leaving: None,
            to_share: BTreeSet::new(),
            sharing: BTreeSet::new(),
            downloads_max,
        }
    }

    /// What counts now. Costs a few pointers.
    pub(crate) fn view(&self) -> View {
        View {
            library: self.committed.clone(),
            tickets: self.tickets.clone(),
            book: self.book.clone(),
            withdrawn: self.withdrawn.clone(),
            reports: self.reports.clone(),
        }
    }

    /// The next thing to be done outside.
    pub(crate) fn poll(&mut self) -> Option<Effect> {
        self.out.pop_front()
    }

    /// Tells whether everything is written that can be.
    pub(crate) fn is_idle(&self) -> bool {
        self.turn.is_none() && self.inbox.is_empty() && self.out.is_empty()
    }

    fn emit(&mut self, effect: Effect) {
        let leaves_now = match self.planning {
            Planning::Nothing => true,
            Planning::Facts => !matches!(
                effect,
                Effect::Tell(_) | Effect::TellRemoved(..) | Effect::Changed(_) | Effect::Reply(..)
            ),
            Planning::Commands => false,
        };
        if leaves_now {
            self.out.push_back(effect);
        } else {
            self.held.push(effect);
        }
    }

    /// Tells the trackers what this device now does with files.
    fn announce(&mut self, files: impl IntoIterator<Item = (GroupId, InfoHash)>, now: Now) {
        let files: Vec<(GroupId, InfoHash)> = files.into_iter().collect();
        if files.is_empty() {
            return;
        }
        let parts: Vec<(GroupId, InfoHash, DownloadState)> = self
            .and_lapsed_sources(files)
            .into_iter()
            .map(|(group, info_hash)| (group, info_hash, self.library.part_in(group, info_hash)))
            .collect();
        let taking_part = parts.iter().filter(|(_, _, state)| *state != DownloadState::Stopped);
        let groups: BTreeSet<GroupId> = taking_part.map(|(group, ..)| *group).collect();
        self.emit(Effect::Announce(parts));
        self.want_tickets(groups, now);
    }

    /// When [`Session::advance`] is to be called again, if nothing happens before.
    pub(crate) fn wake_at(&self, now: Now) -> Option<Duration> {
        let inbox = (!self.inbox.is_empty()).then_some(now.up);
        // While the store has not answered, there is nothing to plan.
        let planned = [inbox, self.retry_at, self.planned_at()];
        let planned = planned.into_iter().filter(|_| self.turn.is_none());
        let always = [
            self.tickets.look_at(),
            self.back.values().min().copied(),
            self.library.user().map(|_| self.expired_at),
        ];
        planned.chain(always).flatten().min()
    }

    /// When something is to be planned because time has passed.
    fn planned_at(&self) -> Option<Duration> {
        let times = [
            self.begins.front().map(|(at, ..)| *at),
            self.cancels.values().map(|(_, at)| *at).min(),
            self.entering.as_ref().map(|entering| entering.deadline),
            self.library.queue.has_running().then_some(self.pulses_at),
            self.sources_at(),
        ];
        times.into_iter().flatten().min()
    }

    /// What is due at that time and writes nothing.
    fn at_times(&mut self, now: Now) {
        if self.tickets.look_at().is_some_and(|at| at <= now.up) {
            self.ask_for_due_tickets(now);
        }
        let back: Vec<usize> = self
            .back
            .iter()
            .filter(|(_, at)| **at <= now.up)
            .map(|(tracker, _)| *tracker)
            .collect();
        for tracker in back {
            self.back.remove(&tracker);
            self.expire_peers(tracker);
        }
        if self.library.user().is_some() && self.expired_at <= now.up {
            self.end_expired(now);
        }
    }

    /// What is due at that time and may write something.
    fn at_planned_times(&mut self, now: Now) {
        while self.begins.front().is_some_and(|(at, ..)| *at <= now.up) {
            if let Some((_, info_hash, id)) = self.begins.pop_front() {
                self.begins_late(info_hash, id, now);
            }
        }
        let late: Vec<InfoHash> = self
            .cancels
            .iter()
            .filter(|(_, (_, at))| *at <= now.up)
            .map(|(info_hash, _)| *info_hash)
            .collect();
        late.into_iter().for_each(|info_hash| self.cancels_late(info_hash));
        if self.entering.as_ref().is_some_and(|entering| entering.deadline <= now.up) {
            self.enter_late(now);
        }
        if self.library.queue.has_running() && self.pulses_at <= now.up {
            self.ask_for_pulses(now);
        }
        self.ask_for_sources(now);
        self.share_on();
    }
}

/// A command's answer, if it is there already.
type Answered = Result<Option<input::Answer>, crate::client::error::ClientError>;

/// Tells a command from a fact that somebody waits for.
fn is_fact(command: &Command) -> bool {
    !matches!(
        command,
        Command::Claim(_)
            | Command::Unclaim(_)
            | Command::Begin(_)
            | Command::Adopt(..)
            | Command::Pause(_)
            | Command::Resume(_)
            | Command::Cancel(_)
            | Command::FinishCancel(_)
            | Command::Prioritize(_)
            | Command::Limit(..)
            | Command::PutShare(_)
    )
}
