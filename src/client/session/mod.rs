//! The session of this device: its shares, downloads, queue, tickets and peers, and every decision
//! about them.
//!
//! **Invariant:** a command changes nothing unless the store has agreed ([`turn`]). Every command
//! is answered once. An event of an unknown transfer is dropped. A revocation ends links before
//! anything else happens.
//!
//! An input from a tracker, the engine or a file system is a *fact*: it counts at once, and is
//! written as soon as the store can. A request of the user is a *command*: it counts once it is
//! written.
//!
//! Pure. The contract: pass each event to [`Session::input`], call [`Session::advance`], carry out
//! the effects that [`Session::poll`] returns, and call again at [`Session::wake_at`]. The driver
//! is [`super::runtime`]; a simulator drives it through faults.

mod cancelling;
mod commands;
mod downloads;
mod endings;
pub(crate) mod input;
pub(crate) mod library;
mod life;
mod looks;
mod membership;
pub(crate) mod news;
pub(crate) mod peers;
pub(crate) mod queue;
pub(crate) mod refusals;
pub(crate) mod reports;
pub(crate) mod shares;
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
use self::looks::Looks;
use self::peers::PeerBook;
use self::reports::Reports;
use self::slots::Watch;
pub(crate) use self::ticketing::TICKET_TIMEOUT;
use self::tickets::Tickets;
use self::turn::Turn;
use self::withdrawn::Withdrawn;
use crate::types::{DownloadState, FileId, GroupId, InfoHash};

/// A command that waits for a file system is answered after this time at the latest.
pub(crate) const DISK_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Interval of the check for expired tickets. The engine's own timer stops while the machine
/// sleeps.
const EXPIRED_EVERY: Duration = Duration::from_secs(15);

/// A copy of the committed state. Links and commands may read it at any time.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub(crate) library: Library,
    pub(crate) tickets: Tickets,
    pub(crate) book: PeerBook,
    pub(crate) withdrawn: Withdrawn,
    pub(crate) reports: Reports,
    /// Groups from which the user was removed but which the library still lists, because the store
    /// is writing an earlier turn.
    pub(crate) revoked: BTreeSet<GroupId>,
}

/// The kind of input that is being planned. It decides when the effects leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Planning {
    /// Input that writes nothing: effects leave at once.
    Nothing,
    /// Facts: orders leave at once, events and replies leave when the store has answered.
    Facts,
    /// Commands: all effects leave when the store has agreed.
    Commands,
}

/// The session's state.
#[derive(Debug)]
pub(crate) struct Session {
    /// The planned state.
    library: Library,
    /// The committed state: without the commands that wait for the store.
    committed: Library,
    tickets: Tickets,
    book: PeerBook,
    withdrawn: Withdrawn,
    reports: Reports,
    inbox: VecDeque<Input>,
    /// Groups whose removal is in the inbox.
    revoked: BTreeSet<GroupId>,
    turn: Option<Turn>,
    out: VecDeque<Effect>,
    held: Vec<Effect>,
    /// Facts of this plan that are answered when they are written, or with the store's error.
    answered_written: Vec<ReplyTo>,
    planning: Planning,
    last_store: u64,
    last_transfer: u64,
    last_end: u64,
    /// When facts that could not be written are tried again, or those that wait for others are
    /// written without them.
    retry_at: Option<Duration>,
    /// Reconnected trackers, and when their peer lists from before the disconnection expire.
    back: HashMap<usize, Duration>,
    known: KnownChanges,
    source_questions: SourceQuestions,
    waiting: Waiting,
    watch: Watch,
    looks: Looks,
    /// When the engine is next asked for the progress of running downloads.
    pulses_at: Duration,
    expired_at: Duration,
    entering: Option<Entering>,
    leaving: Option<Leaving>,
    sharing: Sharing,
    downloads_max: usize,
    /// The view has changed since it was taken.
    has_new_view: bool,
}

/// Changes that the user knows of: reported before, or made by this device. Every tracker reports
/// a change, and the user hears of it once.
#[derive(Debug, Default)]
struct KnownChanges {
    /// Groups, and whether joining (true) or leaving (false) was reported last.
    groups: HashMap<GroupId, bool>,
    joins: membership::Joins,
    /// The user is leaving every group by choice.
    leaves_all: bool,
    /// Files that this device has removed or replaced.
    removals: HashMap<(GroupId, InfoHash), FileId>,
}

/// Questions for sources of downloads.
#[derive(Debug, Default)]
struct SourceQuestions {
    due: sources::Due,
    /// A question is under way; there is one at a time.
    is_asking: bool,
}

/// Callers that wait for a file system or a tracker.
#[derive(Debug, Default)]
struct Waiting {
    /// Cancellations under way: where the answer goes, and its deadline.
    cancels: HashMap<InfoHash, (ReplyTo, Duration)>,
    /// Downloads that the engine is told to begin, with the deadline of the caller's answer.
    begins: VecDeque<(Duration, InfoHash, TransferId)>,
    /// Links that wait for a ticket of ours.
    tickets: Vec<(GroupId, ReplyTo)>,
}

/// Completed downloads that the directory does not know yet.
#[derive(Debug, Default)]
struct Sharing {
    /// To be reported to the directory.
    due: BTreeSet<(GroupId, InfoHash)>,
    /// Being reported now.
    under_way: BTreeSet<(GroupId, InfoHash)>,
}

impl Session {
    /// A session without a user.
    pub(crate) fn new(downloads_max: usize) -> Self {
        Self {
            library: Library::default(),
            committed: Library::default(),
            tickets: Tickets::default(),
            book: PeerBook::default(),
            withdrawn: Withdrawn::default(),
            reports: Reports::default(),
            inbox: VecDeque::new(),
            revoked: BTreeSet::new(),
            turn: None,
            out: VecDeque::new(),
            held: Vec::new(),
            answered_written: Vec::new(),
            planning: Planning::Nothing,
            last_store: 0,
            last_transfer: 0,
            last_end: 0,
            retry_at: None,
            back: HashMap::new(),
            known: KnownChanges::default(),
            source_questions: SourceQuestions::default(),
            waiting: Waiting::default(),
            watch: Watch::default(),
            looks: Looks::default(),
            pulses_at: Duration::ZERO,
            expired_at: Duration::ZERO,
            entering: None,
            leaving: None,
            sharing: Sharing::default(),
            downloads_max,
            has_new_view: true,
        }
    }

    /// The view, if it may have changed since it was taken last.
    pub(crate) fn take_view(&mut self) -> Option<View> {
        std::mem::take(&mut self.has_new_view).then(|| self.view())
    }

    /// A copy of the committed state. Costs a few pointers.
    pub(crate) fn view(&self) -> View {
        View {
            library: self.committed.clone(),
            tickets: self.tickets.clone(),
            book: self.book.clone(),
            withdrawn: self.withdrawn.clone(),
            reports: self.reports.clone(),
            revoked: self.revoked.clone(),
        }
    }

    /// Returns the next effect for the driver to carry out.
    pub(crate) fn poll(&mut self) -> Option<Effect> {
        self.out.pop_front()
    }

    /// Tells whether the inbox and the effects are empty and no turn waits for the store.
    pub(crate) fn is_idle(&self) -> bool {
        self.turn.is_none()
            && self.inbox.is_empty()
            && self.out.is_empty()
            && self.leaving.is_none()
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

    /// Announces to the trackers whether this device seeds, leeches or neither, and asks for
    /// missing tickets.
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

    /// When [`Session::advance`] must be called again if no input comes before.
    pub(crate) fn wake_at(&self, now: Now) -> Option<Duration> {
        let inbox = (!self.inbox.is_empty()).then_some(now.up);
        // While the store has not answered, nothing can be planned.
        let planned = [inbox, self.retry_at, self.planned_at()];
        let planned = planned.into_iter().filter(|_| self.turn.is_none());
        let always = [
            self.tickets.look_at(),
            self.back.values().min().copied(),
            self.library.user().map(|_| self.expired_at),
        ];
        planned.chain(always).flatten().min()
    }

    /// The earliest time at which a timer needs planning.
    fn planned_at(&self) -> Option<Duration> {
        let times = [
            self.waiting.begins.front().map(|(at, ..)| *at),
            self.waiting.cancels.values().map(|(_, at)| *at).min(),
            self.entering.as_ref().map(|entering| entering.deadline),
            self.leaving.as_ref().and_then(Leaving::answers_at),
            self.library.queue.has_running().then_some(self.pulses_at),
            self.sources_at(),
            self.looks_at(),
        ];
        times.into_iter().flatten().min()
    }

    /// Runs the timers that write nothing.
    fn at_times(&mut self, now: Now) {
        if self.tickets.look_at().is_some_and(|at| at <= now.up) {
            self.has_new_view = true;
            self.ask_for_due_tickets(now);
        }
        let back: Vec<usize> = self
            .back
            .iter()
            .filter(|(_, at)| **at <= now.up)
            .map(|(tracker, _)| *tracker)
            .collect();
        for tracker in back {
            self.has_new_view = true;
            self.back.remove(&tracker);
            self.expire_peers(tracker);
        }
        if self.library.user().is_some() && self.expired_at <= now.up {
            self.has_new_view = true;
            self.end_expired(now);
        }
    }

    /// Runs the timers that may write something.
    fn at_planned_times(&mut self, now: Now) {
        while self.waiting.begins.front().is_some_and(|(at, ..)| *at <= now.up) {
            if let Some((_, info_hash, id)) = self.waiting.begins.pop_front() {
                self.begins_late(info_hash, id, now);
            }
        }
        let late: Vec<InfoHash> = self
            .waiting
            .cancels
            .iter()
            .filter(|(_, (_, at))| *at <= now.up)
            .map(|(info_hash, _)| *info_hash)
            .collect();
        late.into_iter().for_each(|info_hash| self.cancels_late(info_hash));
        if self.entering.as_ref().is_some_and(|entering| entering.deadline <= now.up) {
            self.enter_late(now);
        }
        if self.leaving.as_ref().and_then(Leaving::answers_at).is_some_and(|at| at <= now.up) {
            self.leaves_late();
        }
        if self.library.queue.has_running() && self.pulses_at <= now.up {
            self.ask_for_pulses(now);
        }
        self.look_if_due(now);
        self.ask_for_sources(now);
        self.share_on();
    }
}

/// A command's answer; `None` if it comes later.
type Answered = Result<Option<input::Answer>, crate::client::error::ClientError>;

/// Tells whether a command reports something that has happened already. It is then planned with the
/// facts, although a caller waits for its answer.
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
