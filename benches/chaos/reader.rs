//! What users see at one tracker: a client that knows this tracker alone logs in as one user after
//! the other.
//!
//! **Invariant:** every group is read as its owner, who alone sees the requests to join it.

use std::path::Path;
use std::time::Duration;

use serde_json::Value as Json;

use crate::board::user_name;
use crate::cluster::Cluster;
use crate::history::{Command, Observed, Outcome, Request, Thing, Value};
use crate::lab::reader_address;
use crate::support::{Binaries, Result};
use crate::user::{PASSWORD, User};

/// Accounts that are looked at, at most: each look is a login, and trackers limit logins.
const ACCOUNTS_MAX: usize = 20;
/// Time for an answer to a log-in.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(40);

/// Starts a client for each tracker, in the main thread: a client ends with the thread that started
/// it.
pub(crate) fn start_all(cluster: &Cluster, binaries: &Binaries, dir: &Path) -> Result<Vec<User>> {
    let start = |tracker: usize| {
        let (name, info) = (format!("reader-{tracker}"), Cluster::info_of_only(tracker));
        let mut user =
            User::start(cluster.lab(), binaries, dir, &name, &reader_address(tracker), &info)?;
        user.wait_started()?;
        Ok(user)
    };
    (1..=cluster.count()).map(start).collect()
}

/// Reads all that `users` users and the accounts of the history's newcomers see at one tracker.
pub(crate) fn read(
    tracker: usize,
    user: &mut User,
    users: usize,
    history: &[Request],
) -> Result<Observed> {
    let mut seen = Observed { tracker, ..Observed::default() };
    for index in 0..users {
        let name = user_name(index);
        user.must(&["login", &name, PASSWORD])?;
        read_as(user, &name, &mut seen)?;
        if index + 1 == users {
            compare_groups(user, &seen)?;
        }
        user.must(&["logout"])?;
    }
    for account in accounts(history) {
        let answer = user
            .ask(&Command::other(&["login", &account, PASSWORD]), |waited| waited >= LOGIN_TIMEOUT);
        let value = match answer.outcome {
            Outcome::Acknowledged if answer.object["user"] == account.as_str() => Value::Present,
            Outcome::Acknowledged | Outcome::Refused(_) => Value::Absent,
            Outcome::Unanswered(why) => {
                return Err(format!("login {account} at tracker {tracker}: {why}").into());
            }
        };
        if answer.object["ok"] == true {
            user.must(&["logout"])?;
        }
        seen.things.insert(Thing::Account { user: account }, value);
    }
    Ok(seen)
}

/// Accounts that were made: the last ones, and those whose making took long.
fn accounts(history: &[Request]) -> Vec<String> {
    let made = history.iter().filter_map(|request| match &request.command {
        Command::CreateUser { user } if request.is_acknowledged() => {
            Some((request.latency(), user.clone()))
        }
        _ => None,
    });
    let mut made: Vec<(Duration, String)> = made.collect();
    made.sort();
    made.into_iter().rev().take(ACCOUNTS_MAX).map(|(_, user)| user).collect()
}

/// Reads the groups that belong to the user who is logged in.
fn read_as(user: &mut User, name: &str, seen: &mut Observed) -> Result<()> {
    let groups = user.must(&["list_my_groups"])?;
    for group in list(&groups["groups"]).iter().filter(|group| group["part"] == "owner") {
        let label = text(&group["group"])?;
        if label.contains('~') {
            seen.doubles.push(label);
            continue;
        }
        let membership = |user: String| Thing::Membership { group: label.clone(), user };
        seen.things.insert(Thing::Owner { group: label.clone() }, Value::User(name.to_owned()));
        for member in list(&user.must(&["list_members", &label])?["members"]) {
            seen.things.insert(membership(text(&member["user"])?), Value::Member);
        }
        for request in list(&user.must(&["list_requests", &label])?["requests"]) {
            seen.things.insert(membership(text(&request["user"])?), Value::Requested);
        }
        for file in list(&user.must(&["list_files", &label])?["files"]) {
            let name = text(&file["file"])?;
            if name.contains('~') {
                seen.doubles.push(format!("{name} in {label}"));
                continue;
            }
            for sharer in list(&file["sharers"]) {
                let share =
                    Thing::Share { group: label.clone(), file: name.clone(), user: text(sharer)? };
                seen.things.insert(share, Value::Present);
            }
        }
    }
    Ok(())
}

/// Checks that the list of all groups says of each what its own lists say.
fn compare_groups(user: &mut User, seen: &Observed) -> Result<()> {
    let groups = user.must(&["list_groups"])?;
    for group in list(&groups["groups"])
        .iter()
        .filter(|group| !group["group"].as_str().is_some_and(|name| name.contains('~')))
    {
        let name = text(&group["group"])?;
        let owner = seen.value(&Thing::Owner { group: name.clone() });
        let is_member = |(thing, value): &(&Thing, &Value)| match thing {
            Thing::Membership { group, .. } => *group == name && **value == Value::Member,
            _ => false,
        };
        let members = seen.things.iter().filter(is_member).count();
        if owner != Some(Value::User(text(&group["owner"])?)) || group["members"] != members {
            return Err(format!(
                "list_groups says {group}, and its own lists say {owner:?} and {members} members"
            )
            .into());
        }
    }
    Ok(())
}

fn list(value: &Json) -> &[Json] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Json) -> Result<String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("{value} is not a name").into())
}
