//! What the clients believe about the directory, and what they ask next. Pure: the random generator
//! is passed in.
//!
//! **Invariant:** a client is given what it may do if everything acknowledged stands, so refusals
//! are rare. Each thing is changed a few times and then *settled*: no client changes it again, so
//! that its last acknowledged change has to stand.
//!
//! A late copy of a request does harm only if another change of the same thing came after it. So
//! clients like to go on with the thing that they changed last, and always do after a slow answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;

use crate::history::{Command, Outcome};

/// Groups of one client that are in use at a time.
const GROUPS_PER_CLIENT: usize = 2;
/// Requests after which a group is left alone.
const REQUESTS_PER_GROUP: usize = 60;
/// Files that there are.
pub(crate) const FILES: usize = 16;
/// An answer that took longer is slow: the client has asked a second tracker.
const SLOW: Duration = Duration::from_millis(500);
/// Attempts at finding something to do.
const ATTEMPTS: usize = 24;

/// A user's part in a group, by what was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Stranger,
    Requested,
    Member,
}

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    /// Nothing in particular.
    None,
    /// Where a user stands with a group, by index.
    Membership(usize, usize),
    /// Who owns a group.
    Owner(usize),
    /// A user's share of a file in a group: group, file, user.
    Share(usize, usize, usize),
}

/// How often something may still change.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    /// A request is under way.
    is_busy: bool,
    /// It is to stay as it is.
    is_settled: bool,
}

#[derive(Debug)]
struct Group {
    name: String,
    /// `None` once that cannot be known.
    owner: Option<usize>,
    standings: Vec<Standing>,
    /// File and user of the shares that are on.
    shares: BTreeSet<(usize, usize)>,
    requests: usize,
}

/// A request that is under way.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    /// What to ask.
    pub(crate) command: Command,
    subject: Subject,
    user: usize,
}

/// Everything that the clients believe.
#[derive(Debug)]
pub(crate) struct Board {
    users: usize,
    groups: Vec<Group>,
    uses: BTreeMap<Subject, Use>,
    made: usize,
    /// What each client changed last.
    last: Vec<Subject>,
    /// What each client has to change next, if it can.
    due: Vec<Option<Subject>>,
}

/// The name of a client's user.
pub(crate) fn user_name(index: usize) -> String {
    format!("u{index}")
}

/// The name of a file.
pub(crate) fn file_name(index: usize) -> String {
    format!("f{index}.bin")
}

impl Board {
    /// Begins with users alone.
    pub(crate) fn new(users: usize) -> Self {
        let (last, due) = (vec![Subject::None; users], vec![None; users]);
        Self { users, groups: Vec::new(), uses: BTreeMap::new(), made: 0, last, due }
    }

    /// Chooses what a user asks next.
    pub(crate) fn next(&mut self, user: usize, random: &mut StdRng) -> Option<Task> {
        let due =
            self.due[user].take().or_else(|| random.random_bool(0.5).then_some(self.last[user]));
        if let Some(task) = due.and_then(|subject| self.try_change(user, subject, random)) {
            return Some(task);
        }
        let own = self.in_use().filter(|&group| self.groups[group].owner == Some(user)).count();
        if own == 0 || (own < GROUPS_PER_CLIENT && random.random_bool(0.05)) {
            self.made += 1;
            let command = Command::CreateGroup { group: format!("g{}-{user}", self.made) };
            return Some(self.begin(user, Subject::None, command));
        }
        let groups: Vec<usize> = self.in_use().collect();
        for _ in 0..ATTEMPTS {
            let group = groups[random.random_range(0..groups.len())];
            if random.random_bool(0.12) {
                return self
                    .look(user, group, random)
                    .map(|command| self.begin(user, Subject::None, command));
            }
            let subject = match random.random_range(0..10) {
                0..=2 => Subject::Membership(group, user),
                3..=6 => Subject::Membership(group, random.random_range(0..self.users)),
                _ => Subject::Share(group, random.random_range(0..FILES), user),
            };
            if let Some(task) = self.try_change(user, subject, random) {
                return Some(task);
            }
        }
        None
    }

    fn try_change(&mut self, user: usize, subject: Subject, random: &mut StdRng) -> Option<Task> {
        let command =
            self.usable(subject, random).then(|| self.change(user, subject, random)).flatten()?;
        let subject = match (&command, subject) {
            (Command::Transfer { .. }, Subject::Membership(group, _)) => Subject::Owner(group),
            _ => subject,
        };
        Some(self.begin(user, subject, command))
    }

    /// Takes note of how a request ended.
    pub(crate) fn done(
        &mut self,
        task: &Task,
        outcome: &Outcome,
        latency: Duration,
        random: &mut StdRng,
    ) {
        let is_slow = latency >= SLOW;
        let settles = match outcome {
            Outcome::Acknowledged => !is_slow && random.random_bool(0.3),
            // What it is now cannot be known.
            Outcome::Refused(_) | Outcome::Unanswered(_) => random.random_bool(0.7),
        };
        if let Some(one) = self.uses.get_mut(&task.subject) {
            *one = Use { is_busy: false, is_settled: one.is_settled || settles };
        }
        self.last[task.user] = task.subject;
        if *outcome == Outcome::Acknowledged {
            self.acknowledged(task);
            if is_slow || random.random_bool(0.3) {
                self.go_on(task);
            }
        }
    }

    /// Has those who can change the same thing again do so next.
    fn go_on(&mut self, task: &Task) {
        let owner = |group: usize| self.groups[group].owner;
        let who = match task.subject {
            Subject::None => [None, None],
            Subject::Membership(group, user) => [owner(group), Some(user)],
            Subject::Owner(group) => [owner(group), None],
            Subject::Share(_, _, user) => [Some(user), None],
        };
        who.into_iter().flatten().for_each(|user| self.due[user] = Some(task.subject));
    }

    fn in_use(&self) -> impl Iterator<Item = usize> {
        let is_in_use =
            |group: &Group| group.requests < REQUESTS_PER_GROUP && group.owner.is_some();
        (0..self.groups.len())
            .rev()
            .take(self.users * 4)
            .filter(move |&group| is_in_use(&self.groups[group]))
    }

    /// Whether a subject may be changed now; now and then also while another request changes it.
    fn usable(&self, subject: Subject, random: &mut StdRng) -> bool {
        let one = self.uses.get(&subject).copied().unwrap_or_default();
        subject != Subject::None && !one.is_settled && (!one.is_busy || random.random_bool(0.05))
    }

    fn begin(&mut self, user: usize, subject: Subject, command: Command) -> Task {
        if let Subject::Membership(group, _) | Subject::Owner(group) | Subject::Share(group, ..) =
            subject
        {
            self.uses.entry(subject).or_default().is_busy = true;
            self.groups[group].requests += 1;
        }
        Task { command, subject, user }
    }

    /// A change of a subject that the user may make.
    fn change(&self, user: usize, subject: Subject, random: &mut StdRng) -> Option<Command> {
        let name = |group: usize| self.groups[group].name.clone();
        match subject {
            Subject::None => None,
            Subject::Owner(at) => {
                let group = &self.groups[at];
                let heirs = (0..self.users)
                    .filter(|&heir| heir != user && group.standings[heir] == Standing::Member);
                let heir = heirs.choose(random).filter(|_| group.owner == Some(user))?;
                Some(Command::Transfer { group: name(at), user: user_name(heir) })
            }
            Subject::Membership(at, subject_user) => {
                let group = &self.groups[at];
                let (is_self, owns) = (subject_user == user, group.owner == Some(user));
                let (group_name, user_name) = (name(at), user_name(subject_user));
                match group.standings[subject_user] {
                    Standing::Stranger if is_self => Some(Command::Join { group: group_name }),
                    Standing::Requested if owns && random.random_bool(0.85) => {
                        Some(Command::Accept { group: group_name, user: user_name })
                    }
                    Standing::Requested if owns => {
                        Some(Command::Reject { group: group_name, user: user_name })
                    }
                    Standing::Member if is_self && (!owns || random.random_bool(0.02)) => {
                        Some(Command::Leave { group: group_name })
                    }
                    Standing::Member if owns && !is_self => {
                        let is_transfer =
                            random.random_bool(0.1) && self.usable(Subject::Owner(at), random);
                        Some(match is_transfer {
                            true => Command::Transfer { group: group_name, user: user_name },
                            false => Command::Remove { group: group_name, user: user_name },
                        })
                    }
                    _ => None,
                }
            }
            Subject::Share(at, file, subject_user) => {
                let group = &self.groups[at];
                let is_member = group.standings[user] == Standing::Member && subject_user == user;
                let (group, file_name, is_on) =
                    (name(at), file_name(file), group.shares.contains(&(file, user)));
                is_member.then_some(match is_on {
                    true => Command::StopShare { group, file: file_name },
                    false => Command::Upload { group, file: file_name },
                })
            }
        }
    }

    /// A list that the user may see.
    fn look(&self, user: usize, group: usize, random: &mut StdRng) -> Option<Command> {
        let state = &self.groups[group];
        let (name, owns) = (state.name.as_str(), state.owner == Some(user));
        match random.random_range(0..20) {
            0 => Some(Command::other(&["list_groups"])),
            1..=3 => Some(Command::other(&["list_my_groups"])),
            4..=10 if state.standings[user] == Standing::Member => {
                Some(Command::other(&["list_members", name]))
            }
            11..=15 if owns => Some(Command::other(&["list_requests", name])),
            _ if state.standings[user] == Standing::Member => {
                Some(Command::other(&["list_files", name]))
            }
            _ => None,
        }
    }

    fn acknowledged(&mut self, task: &Task) {
        if let Command::CreateGroup { group } = &task.command {
            let mut standings = vec![Standing::Stranger; self.users];
            standings[task.user] = Standing::Member;
            let shares = BTreeSet::new();
            self.groups.push(Group {
                name: group.clone(),
                owner: Some(task.user),
                standings,
                shares,
                requests: 0,
            });
            return;
        }
        let (Subject::Membership(at, user) | Subject::Share(at, _, user)) = task.subject else {
            if let (Subject::Owner(at), Command::Transfer { user, .. }) =
                (task.subject, &task.command)
            {
                self.groups[at].owner = (0..self.users).find(|&index| user_name(index) == *user);
            }
            return;
        };
        let group = &mut self.groups[at];
        match &task.command {
            Command::Join { .. } => group.standings[user] = Standing::Requested,
            Command::Accept { .. } => group.standings[user] = Standing::Member,
            Command::Leave { .. } | Command::Reject { .. } | Command::Remove { .. } => {
                group.standings[user] = Standing::Stranger;
                group.shares.retain(|(_, sharer)| *sharer != user);
                // The tracker chooses the next owner.
                group.owner = group.owner.filter(|owner| *owner != user);
            }
            Command::Upload { .. } => {
                if let Subject::Share(_, file, _) = task.subject {
                    group.shares.insert((file, user));
                }
            }
            Command::StopShare { .. } => {
                if let Subject::Share(_, file, _) = task.subject {
                    group.shares.remove(&(file, user));
                }
            }
            _ => {}
        }
    }
}
