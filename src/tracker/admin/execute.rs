//! Carries out the operator's commands.
//!
//! **Invariant:** names are resolved to ids first, and what is changed is the thing with that id. A
//! long list is read from the core page by page, so that nobody waits for the whole of it.
//!
//! Runs on the thread of an operator's connection, or on the console's; blocks for the core, for an
//! Argon2 run, for the disk, and for whoever takes the lines.

use std::sync::Arc;

use rand::RngExt;
use serde_json::{Value, json};

use super::asking::{ask, done, find_user, order, set};
use super::command::{Command, parse};
use super::{AdminError, Line, Sink, history, keys, network, tokens};
use crate::directory::{Accounts, QUOTA_NAMES, Usage};
use crate::net::Source;
use crate::tracker::audit_entry::to_rfc3339;
use crate::tracker::config::TrackerStatus;
use crate::tracker::core::StoredDirectory;
use crate::tracker::password::Lane;
use crate::tracker::relay_config::RelayStatus;
use crate::tracker::shared::Shared;
use crate::types::{
    FileId, GroupId, Label, Order, Password, PasswordHash, Pattern, TrackerState, UserId,
};

/// Accounts read from the core at once.
const PAGE_LEN: usize = 512;
/// Characters of a one-time password: none that is taken for another.
const PASSWORD_ALPHABET: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
/// Their number: with 31 to choose from, 79 bits.
const PASSWORD_LEN: usize = 16;

/// Carries out one command, and hands its answer to `out` line by line. A token that it makes ends at
/// `until_ms` at the latest.
///
/// # Errors
/// Why it was not carried out, or not to its end.
///
/// # Blocking
/// Until it is carried out and `out` has taken everything.
pub(crate) fn carry_out(
    shared: &Arc<Shared>,
    words: &[String],
    until_ms: Option<u64>,
    out: Sink<'_>,
) -> Result<(), AdminError> {
    let parsed = parse(words)?;
    if parsed.command.is_final() && !parsed.is_confirmed {
        return Err(AdminError::Unconfirmed);
    }
    match parsed.command {
        Command::Status => {
            let asked = shared.clone();
            let status = ask(shared, move |view| asked.status(view))?;
            out(status_line(&status))?;
            Ok(())
        }
        Command::Users(pattern) => list_users(shared, pattern.as_ref(), out),
        Command::Sessions => list_sessions(shared, out),
        Command::ResetPassword(name) => reset_password(shared, &name, out),
        Command::SetDisabled { user: name, is_disabled } => {
            let user = find_user(shared, &name)?;
            order(shared, Order::DisableUser { user, is_disabled }, None)?;
            let word = if is_disabled { "disabled" } else { "enabled" };
            done(out, format!("{word} {name}"), json!({ "user": name, "disabled": is_disabled }))
        }
        Command::DeleteUser(name) => {
            let user = find_user(shared, &name)?;
            order(shared, Order::DeleteUser { user }, Some(&name))?;
            done(out, format!("deleted user {name}"), json!({ "user": name }))
        }
        Command::DeleteGroup(name) => {
            let group = find_group(shared, &name)?;
            order(shared, Order::DeleteGroup { group }, Some(&name))?;
            done(out, format!("deleted group {name}"), json!({ "group": name }))
        }
        Command::RemoveFile { group: group_name, file: name } => {
            let group = find_group(shared, &group_name)?;
            let file = find_file(shared, group, &name)?;
            order(shared, Order::RemoveFile { group, file }, Some(&name))?;
            done(out, format!("removed {name} from {group_name}"), json!({ "group": group_name, "file": name }))
        }
        Command::ShowQuotas(name) => {
            let quotas = ask(shared, |view| view.directory().settings().quotas)?;
            for quota in QUOTA_NAMES.iter().filter(|quota| name.as_deref().is_none_or(|name| name == **quota)) {
                let value = quotas.get(quota).unwrap_or_default();
                out(Line::new(format!("{quota} {value}"), json!({ "quota": quota, "value": value })))?;
            }
            Ok(())
        }
        Command::SetQuota { name, value } => {
            set(shared, &format!("quota.{name}"), value.map(|value| value.to_string()))?;
            let value = value.map_or_else(|| json!("default"), Value::from);
            done(out, format!("quota {name} is {}", as_word(&value)), json!({ "quota": name, "value": value }))
        }
        Command::ShowAccounts => {
            let word = match ask(shared, |view| view.directory().settings().accounts)? {
                Accounts::Open => "open",
                Accounts::Invite => "invite",
                Accounts::Closed => "closed",
            };
            done(out, format!("accounts are {word}"), json!({ "accounts": word }))
        }
        Command::SetAccounts(word) => {
            set(shared, "accounts", Some(word.clone()))?;
            done(out, format!("accounts are {word}"), json!({ "accounts": word }))
        }
        Command::Audit(query) => history::show(shared, &query, out),
        Command::Backup(file) => {
            let failed = |error| AdminError::Failed(format!("{error}"));
            if !file.is_absolute() {
                return Err(AdminError::Usage(format!("{} does not begin with /", file.display())));
            }
            // What the journal has is to be in the copy, too.
            shared.core.flush().ok_or(AdminError::Ended)?;
            let copied = shared.place.reader().and_then(|reader| reader.backup(&file)).map_err(failed)?;
            copied.ok_or_else(|| {
                let why = "the directory is in a database, which has its own backups (pg_dump); or stop the trackers and \
                    use `tracker admin export`";
                AdminError::Failed(why.to_owned())
            })?;
            let file = file.display().to_string();
            done(out, format!("backup is in {file}"), json!({ "file": file }))
        }
        Command::Restore(_) => Err(AdminError::Failed(
            "a tracker that runs has its data already; restore is for a stopped one: tracker admin --data-dir DIR restore FILE"
                .to_owned(),
        )),
        Command::Exchange(..) => Err(AdminError::Failed(
            "import and export are for a tracker that does not run: tracker admin --data-dir DIR import URL".to_owned(),
        )),
        Command::Page => tokens::link(shared, until_ms, out),
        Command::Tokens => tokens::list(shared, out),
        Command::CreateToken { name, rights, days } => {
            tokens::create(shared, &name, rights, (days, until_ms), out)
        }
        Command::RevokeToken(token) => tokens::revoke(shared, &token, out),
        Command::AddTracker(address) => network::add(shared, &address, out),
        Command::RemoveTracker(which) => network::remove(shared, &which, out),
        Command::RotateKey(step) => keys::rotate(shared, step, out),
    }
}

fn find_group(shared: &Shared, name: &str) -> Result<GroupId, AdminError> {
    let asked = name.to_owned();
    let found = ask(shared, move |view| view.directory().find_group(&asked))?;
    found.ok_or_else(|| AdminError::Failed(format!("no such group: {name}")))
}

fn find_file(shared: &Shared, group: GroupId, name: &str) -> Result<FileId, AdminError> {
    let asked = name.to_owned();
    let found = ask(shared, move |view| view.directory().find_file(group, &asked))?;
    found
        .map(|entry| entry.facts.id())
        .ok_or_else(|| AdminError::Failed(format!("no such file in the group: {name}")))
}

/// One account of `users`.
struct Account {
    name: Label,
    usage: Usage,
    is_disabled: bool,
    must_change: bool,
    is_online: bool,
}

impl Account {
    fn line(&self) -> Line {
        let Self {
            name,
            usage: Usage { groups, memberships, files },
            is_disabled,
            must_change,
            is_online,
        } = self;
        let marks = [
            (*is_disabled, "disabled"),
            (*must_change, "must change password"),
            (*is_online, "online"),
        ];
        let marks: String =
            marks.iter().filter(|(is_so, _)| *is_so).map(|(_, word)| format!(", {word}")).collect();
        Line::new(
            format!("{name}: groups {groups}, memberships {memberships}, files {files}{marks}"),
            json!({
                "user": name.as_str(), "groups": groups, "memberships": memberships, "files": files,
                "disabled": is_disabled, "must_change_password": must_change, "online": is_online,
            }),
        )
    }
}

fn list_users(shared: &Shared, pattern: Option<&Pattern>, out: Sink<'_>) -> Result<(), AdminError> {
    let mut after: Option<Label> = None;
    loop {
        let (from, pattern) = (after.take(), pattern.cloned());
        let (accounts, next) = ask(shared, move |view| {
            let directory = view.directory();
            let (entries, more) = directory.users(from.as_ref(), PAGE_LEN);
            let next = entries.last().filter(|_| more).map(|entry| entry.label.clone());
            let matching = entries
                .into_iter()
                .filter(|entry| pattern.as_ref().is_none_or(|p| p.matches(entry.label.as_str())));
            let account = |user: UserId, name: Label, directory: &StoredDirectory| {
                let row = directory.user_row(user)?;
                let (is_disabled, must_change) = (row.is_disabled, row.must_change);
                let (usage, is_online) = (directory.usage(user), view.presence.is_online(user));
                Some(Account { name, usage, is_disabled, must_change, is_online })
            };
            let accounts: Vec<Account> =
                matching.filter_map(|entry| account(entry.user, entry.label, directory)).collect();
            (accounts, next)
        })?;
        accounts.iter().try_for_each(|account| out(account.line()))?;
        match next {
            Some(label) => after = Some(label),
            None => return Ok(()),
        }
    }
}

fn list_sessions(shared: &Shared, out: Sink<'_>) -> Result<(), AdminError> {
    let mut sessions = ask(shared, |view| {
        let directory = view.replica.directory();
        let name = |user| {
            directory
                .user_entry(user)
                .map_or_else(|| format!("?{user}"), |entry| entry.label.to_string())
        };
        let all = view.presence.sessions();
        all.map(|(visitor, since_ms)| {
            (name(visitor.user), visitor.device, visitor.address, since_ms)
        })
        .collect::<Vec<_>>()
    })?;
    sessions.sort_unstable();
    for (user, device, address, since_ms) in sessions {
        let (device, since) = (device.to_string(), to_rfc3339(since_ms));
        let text = format!("{user}: device {} at {address} since {since}", &device[..16]);
        let json = json!({ "user": user, "device": device, "address": address.to_string(), "since": since, "since_ms": since_ms });
        out(Line::new(text, json))?;
    }
    Ok(())
}

fn reset_password(shared: &Shared, name: &str, out: Sink<'_>) -> Result<(), AdminError> {
    let user = find_user(shared, name)?;
    let (password, hash) = one_time_password(shared, user)?;
    order(shared, Order::ResetPassword { user, hash }, None)?;
    let text = format!(
        "the one-time password of {name} is {}; at the next login {name} must choose another",
        password.expose()
    );
    done(out, text, json!({ "user": name, "password": password.expose() }))
}

fn one_time_password(
    shared: &Shared,
    user: UserId,
) -> Result<(Password, PasswordHash), AdminError> {
    let mut rng = rand::rng();
    let character = |_| char::from(PASSWORD_ALPHABET[rng.random_range(0..PASSWORD_ALPHABET.len())]);
    let password: String = (0..PASSWORD_LEN).map(character).collect();
    let password = Password::new(password).map_err(|e| AdminError::Failed(format!("{e}")))?;
    let lane = Lane { source: Source::of(std::net::Ipv4Addr::LOCALHOST.into()), known: Some(user) };
    let hash = shared.hasher.hash(lane, &password)?;
    Ok((password, hash))
}

fn status_line(status: &TrackerStatus) -> Line {
    let counts = status.counts;
    let others = status.trackers.iter().filter(|tracker| tracker.state != TrackerState::Myself);
    let others: Vec<Value> = others
        .map(|tracker| {
            let state = match tracker.state {
                TrackerState::Myself => "myself",
                TrackerState::Up => "up",
                TrackerState::CatchingUp => "catching_up",
                TrackerState::Down => "down",
                TrackerState::MustResync => "must_resync",
            };
            json!({ "number": tracker.number, "address": tracker.address.as_str(), "state": state, "lag": tracker.lag })
        })
        .collect();
    let json = json!({
        "number": status.number, "address": status.address.to_string(), "network": status.network.to_string(),
        "store": status.store.to_string(), "uptime_s": status.uptime.as_secs(),
        "users": counts.users, "groups": counts.groups, "files": counts.files, "rows": counts.rows, "bytes": counts.bytes,
        "directory": status.directory.to_string(), "connections": status.connections, "sessions": status.sessions,
        "peers": others, "degraded": status.degraded,
        "degraded_s": status.degraded_for.map(|time| time.as_secs()),
        "relay": status.relay.map(|RelayStatus { address, stats }| json!({
            "address": address.to_string(), "pairs": stats.sessions, "waiting": stats.waiting,
            "pairs_total": stats.sessions_total, "bytes_total": stats.bytes_total,
            "refused_total": stats.refused_total, "strangers_total": stats.strangers_total,
        })),
    });
    Line::new(status.to_string(), json)
}

fn as_word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
