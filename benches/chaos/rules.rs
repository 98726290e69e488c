//! Which states of the directory a history allows. Pure.
//!
//! **Invariant:** of two acknowledged changes of one thing, of which the second was asked after the
//! first was answered, the first never decides what the thing is. Everything else is allowed:
//! changes that overlap in time count in any order, and a change that was refused or not answered
//! has happened or has not, at any time after it was asked.
//!
//! Some changes touch more than the thing they name:
//!
//! - `leave_group` and `remove_member` end the user's shares in the group. `accept_request` may end
//!   shares that an earlier membership left behind.
//! - The owner of a group is the user who was named last, while that user is a member. A named
//!   owner whose membership may have ended since can be followed by any other member.
//! - A group whose last member has left is not listed, nor are the requests to join it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::history::{Command, Observed, Outcome, Request, Thing, Value};

/// What is wrong with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An acknowledged change does not stand, or something was acknowledged and is not there.
    Undone,
    /// A change without an answer, or a refused one, decides although an acknowledged one was asked
    /// after the client had given it up. The rules allow that; users do not like it.
    Late,
    /// Something was made twice.
    Double,
    /// No request asked for it.
    Unasked,
}

/// One thing that is not what the history demands.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    /// What is wrong.
    pub(crate) kind: Kind,
    /// The thing, in words.
    pub(crate) thing: String,
    /// What each tracker that is wrong shows.
    pub(crate) found: Vec<(usize, String)>,
    /// Indices of the requests that concern the thing, in the order of asking.
    pub(crate) requests: Vec<usize>,
}

/// One request's effect on one thing.
#[derive(Debug, Clone)]
struct Event {
    /// Index of the request.
    request: usize,
    value: Value,
    asked: Duration,
    ended: Duration,
    /// It was answered: what was asked later comes later.
    is_answered: bool,
    /// It certainly had this effect.
    is_certain: bool,
}

impl Event {
    fn new(request: usize, of: &Request, value: Value, is_certain: bool) -> Self {
        let is_answered = of.is_acknowledged();
        let (asked, ended) = (of.asked, of.ended);
        Self { request, value, asked, ended, is_answered, is_certain: is_certain && is_answered }
    }

    /// Whether a change that certainly happened was asked after this one had ended.
    fn is_superseded(&self, all: &[Event], strictly: bool) -> bool {
        (self.is_answered || strictly)
            && all.iter().any(|other| other.is_certain && other.asked > self.ended)
    }
}

/// All effects by thing, each list in the order of asking.
type Effects = BTreeMap<Thing, Vec<Event>>;

/// Compares what each tracker shows in the end with the history.
pub(crate) fn judge(history: &[Request], observed: &[Observed]) -> Vec<Finding> {
    let effects = effects(history);
    let mut findings: Vec<Finding> = effects
        .iter()
        .filter_map(|(thing, events)| judge_thing(thing, events, &effects, observed))
        .collect();
    findings.extend(unasked(&effects, observed));
    for name in observed.iter().flat_map(|observed| &observed.doubles) {
        if !findings.iter().any(|finding| finding.kind == Kind::Double && finding.thing == *name) {
            findings.push(double(name, history, observed));
        }
    }
    findings
}

/// Counts the things that a history touches.
pub(crate) fn count_things(history: &[Request]) -> usize {
    effects(history).len()
}

fn effects(history: &[Request]) -> Effects {
    let mut effects = Effects::new();
    for (index, request) in history.iter().enumerate() {
        for (thing, value) in direct(request) {
            effects.entry(thing).or_default().push(Event::new(index, request, value, true));
        }
    }
    let mut implied: Vec<(Thing, Event)> = Vec::new();
    for (index, request) in history.iter().enumerate() {
        let (group, user, is_certain) = match &request.command {
            Command::Leave { group } => (group, &request.actor, true),
            Command::Remove { group, user } => (group, user, true),
            Command::Accept { group, user } => (group, user, false),
            _ => continue,
        };
        let from = Thing::Share { group: group.clone(), file: String::new(), user: String::new() };
        let shares = effects
            .range(from..)
            .map(|(thing, _)| thing)
            .take_while(|thing| is_share_in(thing, group));
        let of_user = shares
            .filter(|thing| matches!(thing, Thing::Share { user: sharer, .. } if sharer == user));
        implied.extend(
            of_user.map(|thing| {
                (thing.clone(), Event::new(index, request, Value::Absent, is_certain))
            }),
        );
    }
    implied.into_iter().for_each(|(thing, event)| effects.entry(thing).or_default().push(event));
    effects.values_mut().for_each(|events| events.sort_by_key(|event| event.asked));
    effects
}

fn is_share_in(thing: &Thing, of: &str) -> bool {
    matches!(thing, Thing::Share { group, .. } if group == of)
}

/// The things that a request names, and what they are to become.
fn direct(request: &Request) -> Vec<(Thing, Value)> {
    let actor = &request.actor;
    let membership = |group: &String, user: &String, value| {
        (Thing::Membership { group: group.clone(), user: user.clone() }, value)
    };
    let share = |group: &String, file: &String, value| {
        (Thing::Share { group: group.clone(), file: file.clone(), user: actor.clone() }, value)
    };
    let owner = |group: &String, user: &String| {
        (Thing::Owner { group: group.clone() }, Value::User(user.clone()))
    };
    match &request.command {
        Command::CreateUser { user } => {
            vec![(Thing::Account { user: user.clone() }, Value::Present)]
        }
        Command::CreateGroup { group } => {
            vec![membership(group, actor, Value::Member), owner(group, actor)]
        }
        Command::Join { group } => vec![membership(group, actor, Value::Requested)],
        Command::Leave { group } => vec![membership(group, actor, Value::Absent)],
        Command::Accept { group, user } => vec![membership(group, user, Value::Member)],
        Command::Reject { group, user } | Command::Remove { group, user } => {
            vec![membership(group, user, Value::Absent)]
        }
        Command::Transfer { group, user } => vec![owner(group, user)],
        Command::Upload { group, file } => vec![share(group, file, Value::Present)],
        Command::StopShare { group, file } => vec![share(group, file, Value::Absent)],
        Command::Other { .. } => vec![],
    }
}

fn judge_thing(
    thing: &Thing,
    events: &[Event],
    effects: &Effects,
    observed: &[Observed],
) -> Option<Finding> {
    let mut worst = None;
    let mut found = Vec::new();
    for at in observed {
        let Some(value) = at.value(thing) else { continue };
        let kind = match (0..2)
            .map(|strict| is_allowed(thing, &value, events, effects, at, strict == 1))
            .collect::<Vec<_>>()[..]
        {
            [false, _] => Kind::Undone,
            [true, false] => Kind::Late,
            _ => continue,
        };
        if worst != Some(Kind::Undone) {
            worst = Some(kind);
        }
        found.push((at.tracker, words(&value)));
    }
    let requests = related(thing, events, effects);
    worst.map(|kind| Finding { kind, thing: describe(thing), found, requests })
}

/// Whether a thing may be `value` in the end. Strictly, a request that was given up before another
/// one was asked counts as earlier than that one.
fn is_allowed(
    thing: &Thing,
    value: &Value,
    events: &[Event],
    effects: &Effects,
    at: &Observed,
    strictly: bool,
) -> bool {
    let last: Vec<&Event> =
        events.iter().filter(|event| !event.is_superseded(events, strictly)).collect();
    let untouched = !events.iter().any(|event| event.is_certain);
    let is_possible = |value: &Value| {
        last.iter().any(|event| event.value == *value) || (untouched && *value == Value::Absent)
    };
    match thing {
        Thing::Account { .. } => is_possible(value),
        // Without a member there is no group to list a request in.
        Thing::Membership { group, .. } if *value == Value::Absent && !at.has_group(group) => {
            is_possible(value) || is_possible(&Value::Requested)
        }
        Thing::Membership { .. } => is_possible(value),
        // The memberships say whether there is to be a group.
        Thing::Owner { .. } if *value == Value::Absent => true,
        Thing::Owner { group } => {
            is_possible(value)
                || last
                    .iter()
                    .any(|event| may_have_left(group, event, effects) || !is_in(group, event, at))
        }
        // A share is in effect for a member alone.
        Thing::Share { group, user, .. } => {
            let membership = Thing::Membership { group: group.clone(), user: user.clone() };
            let is_member = at.value(&membership) == Some(Value::Member);
            if is_member { is_possible(value) } else { *value == Value::Absent }
        }
    }
}

/// Whether the owner whom the event names is a member; if not, the membership's own rules say
/// whether that is right.
fn is_in(group: &str, event: &Event, at: &Observed) -> bool {
    let Value::User(user) = &event.value else { return false };
    at.value(&Thing::Membership { group: group.to_owned(), user: user.clone() })
        == Some(Value::Member)
}

/// Whether the membership of the owner whom the event names may have ended after the event began.
fn may_have_left(group: &str, event: &Event, effects: &Effects) -> bool {
    let Value::User(user) = &event.value else { return false };
    let membership = Thing::Membership { group: group.to_owned(), user: user.clone() };
    let is_end = |other: &&Event| {
        other.value == Value::Absent && !(other.is_answered && other.ended < event.asked)
    };
    effects.get(&membership).is_some_and(|events| events.iter().any(|other| is_end(&other)))
}

/// Things that are there although no request named them.
fn unasked(effects: &Effects, observed: &[Observed]) -> Vec<Finding> {
    let mut found: BTreeMap<&Thing, Vec<(usize, String)>> = BTreeMap::new();
    for at in observed {
        for (thing, value) in at.things.iter().filter(|(thing, _)| !effects.contains_key(thing)) {
            found.entry(thing).or_default().push((at.tracker, words(value)));
        }
    }
    let finding = |(thing, found)| Finding {
        kind: Kind::Unasked,
        thing: describe(thing),
        found,
        requests: vec![],
    };
    found.into_iter().map(finding).collect()
}

/// The requests that a reader needs to follow a finding.
fn related(thing: &Thing, events: &[Event], effects: &Effects) -> Vec<usize> {
    let more = match thing {
        Thing::Share { group, user, .. } => {
            effects.get(&Thing::Membership { group: group.clone(), user: user.clone() })
        }
        _ => None,
    };
    let mut events: Vec<&Event> = events.iter().chain(more.into_iter().flatten()).collect();
    events.sort_by_key(|event| (event.asked, event.request));
    events.dedup_by_key(|event| event.request);
    events.iter().map(|event| event.request).collect()
}

/// A finding for a name that something bears a second time.
fn double(name: &str, history: &[Request], observed: &[Observed]) -> Finding {
    let plain = name.split('~').next().unwrap_or_default();
    let makes = |request: &Request| match &request.command {
        Command::CreateUser { user: made }
        | Command::CreateGroup { group: made }
        | Command::Upload { file: made, .. } => {
            made == plain && !matches!(request.outcome, Outcome::Refused(_))
        }
        _ => false,
    };
    let requests = (0..history.len()).filter(|&index| makes(&history[index])).collect();
    let shows = |observed: &&Observed| observed.doubles.iter().any(|double| double == name);
    let found = observed
        .iter()
        .filter(shows)
        .map(|observed| (observed.tracker, "there".to_owned()))
        .collect();
    Finding { kind: Kind::Double, thing: name.to_owned(), found, requests }
}

fn describe(thing: &Thing) -> String {
    match thing {
        Thing::Account { user } => format!("account {user}"),
        Thing::Membership { group, user } => format!("membership of {user} in {group}"),
        Thing::Owner { group } => format!("owner of {group}"),
        Thing::Share { group, file, user } => format!("share of {file} by {user} in {group}"),
    }
}

fn words(value: &Value) -> String {
    match value {
        Value::Absent => "none".to_owned(),
        Value::Present => "there".to_owned(),
        Value::Requested => "requested".to_owned(),
        Value::Member => "member".to_owned(),
        Value::User(user) => user.clone(),
    }
}
