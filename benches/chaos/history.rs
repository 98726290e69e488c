//! A history: every request that a client made, when, and how it ended. Plain data.
//!
//! **Invariant:** `asked` is before the client process could have read the command, and `ended` is
//! after its answer was read, so a request took effect, if it did, between the two; one without an
//! answer may take effect at any time after `asked`.

use std::collections::BTreeMap;
use std::time::Duration;

/// One command of a client, as far as its effect on the directory goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Makes an account.
    CreateUser { user: String },
    /// Makes a group.
    CreateGroup { group: String },
    /// Asks to be let into a group.
    Join { group: String },
    /// Leaves a group.
    Leave { group: String },
    /// Lets a user in.
    Accept { group: String, user: String },
    /// Turns a user down.
    Reject { group: String, user: String },
    /// Ends a membership.
    Remove { group: String, user: String },
    /// Hands a group over.
    Transfer { group: String, user: String },
    /// Shares a file.
    Upload { group: String, file: String },
    /// Stops sharing a file.
    StopShare { group: String, file: String },
    /// Changes nothing: a session or a list.
    Other { words: Vec<String> },
}

impl Command {
    /// The words of a command that changes nothing in the directory.
    pub(crate) fn other(words: &[&str]) -> Self {
        Self::Other { words: words.iter().map(|word| (*word).to_owned()).collect() }
    }

    /// Whether it changes the directory.
    pub(crate) fn is_change(&self) -> bool {
        !matches!(self, Self::Other { .. })
    }

    /// The words as a client reads them. A file is named by its path below `files`; an account has
    /// `password`.
    pub(crate) fn words(&self, files: &str, password: &str) -> Vec<String> {
        let words: Vec<&str> = match self {
            Self::CreateUser { user } => vec!["create_user", user, password],
            Self::CreateGroup { group } => vec!["create_group", group],
            Self::Join { group } => vec!["join_group", group],
            Self::Leave { group } => vec!["leave_group", group],
            Self::Accept { group, user } => vec!["accept_request", group, user],
            Self::Reject { group, user } => vec!["reject_request", group, user],
            Self::Remove { group, user } => vec!["remove_member", group, user],
            Self::Transfer { group, user } => vec!["transfer_group", group, user],
            Self::Upload { group, file } => {
                return vec!["upload_file".to_owned(), format!("{files}/{file}"), group.clone()];
            }
            Self::StopShare { group, file } => vec!["stop_share", group, file],
            Self::Other { words } => words.iter().map(String::as_str).collect(),
        };
        words.into_iter().map(str::to_owned).collect()
    }
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The client said that it was done.
    Acknowledged,
    /// The client said that it will not be done, with this code and error. Another copy of it may
    /// be carried out all the same.
    Refused(String),
    /// The client said that no tracker answered, or said nothing. It may be carried out, also
    /// later.
    Unanswered(String),
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Index of the client.
    pub(crate) client: usize,
    /// The user who was logged in.
    pub(crate) actor: String,
    /// What was asked.
    pub(crate) command: Command,
    /// Time from the start of the schedule until it was asked.
    pub(crate) asked: Duration,
    /// The same until it was answered or given up.
    pub(crate) ended: Duration,
    /// How it ended.
    pub(crate) outcome: Outcome,
}

impl Request {
    /// Whether it was acknowledged.
    pub(crate) fn is_acknowledged(&self) -> bool {
        self.outcome == Outcome::Acknowledged
    }

    /// How long it took.
    pub(crate) fn latency(&self) -> Duration {
        self.ended.saturating_sub(self.asked)
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let outcome = match &self.outcome {
            Outcome::Acknowledged => "ok".to_owned(),
            Outcome::Refused(why) => format!("refused: {why}"),
            Outcome::Unanswered(why) => format!("no answer: {why}"),
        };
        let words = self.command.words("", "*").join(" ");
        format!(
            "{:9.3} s to {:9.3} s  {}  {words}: {outcome}",
            self.asked.as_secs_f64(),
            self.ended.as_secs_f64(),
            self.actor
        )
    }
}

/// One thing that the directory knows, as users see it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thing {
    /// Whether an account exists.
    Account { user: String },
    /// Where a user stands with a group. A group exists while it has a member.
    Membership { group: String, user: String },
    /// Who owns a group.
    Owner { group: String },
    /// Whether a user shares a file in a group.
    Share { group: String, file: String, user: String },
}

/// What a thing is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    /// It is not there: no account, no membership, no share. Every thing begins so.
    Absent,
    /// The account or the share is there.
    Present,
    /// The user has asked to be let in.
    Requested,
    /// The user is a member.
    Member,
    /// This user owns the group.
    User(String),
}

/// What users saw at one tracker in the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed {
    /// The tracker's number.
    pub(crate) tracker: usize,
    /// Everything that is not absent. An account is judged only if it is named here.
    pub(crate) things: BTreeMap<Thing, Value>,
    /// Names with `~2` behind them: something was made twice.
    pub(crate) doubles: Vec<String>,
}

impl Observed {
    /// What a thing is at this tracker; `None` if it was not looked at.
    pub(crate) fn value(&self, thing: &Thing) -> Option<Value> {
        match (self.things.get(thing), thing) {
            (None, Thing::Account { .. }) => None,
            (value, _) => Some(value.cloned().unwrap_or(Value::Absent)),
        }
    }

    /// Whether the group is listed.
    pub(crate) fn has_group(&self, group: &str) -> bool {
        self.things.contains_key(&Thing::Owner { group: group.to_owned() })
    }
}
