//! The operator's commands as words.
//!
//! **Invariant:** what parses has the right number of words, and numbers, times and addresses that
//! can be meant. Whether users, groups and files are there, the directory says later.

use std::path::PathBuf;

use super::AdminError;
use super::exchange::Way;
use crate::directory::QUOTA_NAMES;
use crate::http::access::Rights;
use crate::types::{Pattern, TrackerAddress};

/// Name, arguments, and what it does.
const COMMANDS: &[(&str, &str, &str)] = &[
    ("status", "", "shows this tracker, its directory and the other trackers"),
    ("users", "[pattern]", "lists the accounts and what they keep"),
    ("sessions", "", "lists who is connected to this tracker"),
    ("reset_password", "<user>", "gives a user a one-time password"),
    ("disable_user", "<user>", "lets a user log in no more"),
    ("enable_user", "<user>", "lets a user log in again"),
    ("delete_user", "<user> --yes", "deletes an account for good"),
    ("delete_group", "<group> --yes", "deletes a group for good"),
    ("remove_file", "<group> <file> --yes", "removes a file from a group"),
    ("quota", "[name [value|default]]", "shows or sets how much may be kept"),
    ("accounts", "[open|invite|closed]", "shows or sets who may make an account"),
    (
        "audit",
        "[--since TIME] [--until TIME] [--user NAME] [--limit N]",
        "shows what was changed, by whom",
    ),
    ("backup", "<file>", "copies the store to a new file"),
    ("restore", "<file>", "puts a backup into an empty data directory; only as `tracker admin`"),
    (
        "import",
        "<url|file>",
        "copies the directory of a stopped tracker into a database; only as `tracker admin`",
    ),
    (
        "export",
        "<url|file>",
        "copies the directory in a database into an empty data directory; only as `tracker admin`",
    ),
    ("add_tracker", "<host:port>", "adds a tracker to the network"),
    ("remove_tracker", "<number|host:port>", "removes a tracker from the network"),
    ("page", "", "prints a link that opens the operator's page, one time"),
    ("tokens", "", "lists the tokens of browsers and programs"),
    ("create_token", "<name> [read|manage] [days]", "makes a token for a program, as Prometheus"),
    ("revoke_token", "<token>", "ends a token at once; by name or id"),
    (
        "rotate_key",
        "[make|begin|cancel|end --yes]",
        "shows or moves on how the network's key is replaced",
    ),
];

/// Changes shown at most by `audit --limit`.
const AUDIT_LIMIT_MAX: usize = 10_000;

/// What the operator wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Status,
    Users(Option<Pattern>),
    Sessions,
    ResetPassword(String),
    SetDisabled { user: String, is_disabled: bool },
    DeleteUser(String),
    DeleteGroup(String),
    RemoveFile { group: String, file: String },
    ShowQuotas(Option<String>),
    SetQuota { name: String, value: Option<u64> },
    ShowAccounts,
    SetAccounts(String),
    Audit(AuditQuery),
    Backup(PathBuf),
    Restore(PathBuf),
    Exchange(Way, String),
    AddTracker(TrackerAddress),
    RemoveTracker(Which),
    RotateKey(KeyStep),
    Page,
    Tokens,
    CreateToken { name: String, rights: Rights, days: Option<u32> },
    RevokeToken(String),
}

/// A step of replacing the network's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyStep {
    Show,
    Make,
    Begin,
    Cancel,
    End,
}

/// Which changes the audit is to show.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct AuditQuery {
    /// From this time on.
    pub(super) since: Option<Time>,
    /// Before this time.
    pub(super) until: Option<Time>,
    /// By or about this user.
    pub(super) user: Option<String>,
    /// The last so many of them.
    pub(super) limit: Option<usize>,
}

/// A time as the operator writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    /// Milliseconds since the Unix epoch.
    At(u64),
    /// Milliseconds before now.
    Ago(u64),
}

impl Time {
    /// Returns the time in milliseconds since the Unix epoch.
    pub(super) fn to_ms(self, now_ms: u64) -> u64 {
        match self {
            Self::At(ms) => ms,
            Self::Ago(ms) => now_ms.saturating_sub(ms),
        }
    }
}

/// A tracker as the operator names it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Which {
    Number(u32),
    Address(TrackerAddress),
}

/// A command, and whether `--yes` was said.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) command: Command,
    pub(super) is_confirmed: bool,
}

impl Command {
    /// Tells whether it needs `--yes`.
    pub(super) fn is_final(&self) -> bool {
        matches!(
            self,
            Self::DeleteUser(_)
                | Self::DeleteGroup(_)
                | Self::RemoveFile { .. }
                | Self::RotateKey(KeyStep::End)
        )
    }
}

/// Tells whether these words are a command that changes nothing.
///
/// # Errors
/// [`AdminError::Usage`].
pub(crate) fn is_read(words: &[String]) -> Result<bool, AdminError> {
    Ok(match parse(words)?.command {
        Command::Status
        | Command::Users(_)
        | Command::Sessions
        | Command::ShowQuotas(_)
        | Command::ShowAccounts
        | Command::Audit(_)
        | Command::RotateKey(KeyStep::Show)
        | Command::Tokens => true,
        Command::ResetPassword(_)
        | Command::SetDisabled { .. }
        | Command::DeleteUser(_)
        | Command::DeleteGroup(_)
        | Command::RemoveFile { .. }
        | Command::SetQuota { .. }
        | Command::SetAccounts(_)
        | Command::Backup(_)
        | Command::Restore(_)
        | Command::Exchange(..)
        | Command::AddTracker(_)
        | Command::RemoveTracker(_)
        | Command::RotateKey(_)
        | Command::Page
        | Command::CreateToken { .. }
        | Command::RevokeToken(_) => false,
    })
}

/// Lists the commands, one a line.
pub(crate) fn help() -> String {
    let lines: Vec<String> = COMMANDS
        .iter()
        .map(|(name, arguments, about)| format!("{:<44} {about}", format!("{name} {arguments}")))
        .collect();
    lines.join("\n")
}

/// Takes a command and its arguments.
///
/// # Errors
/// [`AdminError::Usage`].
pub(super) fn parse(words: &[String]) -> Result<Parsed, AdminError> {
    let Some((name, arguments)) = words.split_first() else {
        return Err(AdminError::Usage(format!("a command is missing; there are:\n{}", help())));
    };
    let Some((_, form, _)) = COMMANDS.iter().find(|(known, ..)| known == name) else {
        return Err(AdminError::Usage(format!("unknown command {name:?}; there are:\n{}", help())));
    };
    let usage = |why: String| AdminError::Usage(format!("{why}; usage: {name} {form}"));
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let is_confirmed = form.contains("--yes") && arguments.last() == Some(&"--yes");
    if is_confirmed {
        arguments.pop();
    }
    let command = match (name.as_str(), &arguments[..]) {
        ("status", []) => Command::Status,
        ("users", []) => Command::Users(None),
        ("users", [pattern]) => {
            Command::Users(Some(pattern.parse().map_err(|e| usage(format!("{e}")))?))
        }
        ("sessions", []) => Command::Sessions,
        ("reset_password", [user]) => Command::ResetPassword((*user).to_owned()),
        ("disable_user", [user]) => {
            Command::SetDisabled { user: (*user).to_owned(), is_disabled: true }
        }
        ("enable_user", [user]) => {
            Command::SetDisabled { user: (*user).to_owned(), is_disabled: false }
        }
        ("delete_user", [user]) => Command::DeleteUser((*user).to_owned()),
        ("delete_group", [group]) => Command::DeleteGroup((*group).to_owned()),
        ("remove_file", [group, file]) => {
            Command::RemoveFile { group: (*group).to_owned(), file: (*file).to_owned() }
        }
        ("quota", []) => Command::ShowQuotas(None),
        ("quota", [name, ..]) if !QUOTA_NAMES.contains(name) => {
            return Err(usage(format!(
                "{name:?} is no quota; there are {}",
                QUOTA_NAMES.join(", ")
            )));
        }
        ("quota", [name]) => Command::ShowQuotas(Some((*name).to_owned())),
        ("quota", [name, "default"]) => Command::SetQuota { name: (*name).to_owned(), value: None },
        ("quota", [name, value]) => {
            let value =
                value.parse().map_err(|_| usage(format!("{value:?} is no number from 0")))?;
            Command::SetQuota { name: (*name).to_owned(), value: Some(value) }
        }
        ("accounts", []) => Command::ShowAccounts,
        ("accounts", [value @ ("open" | "invite" | "closed")]) => {
            Command::SetAccounts((*value).to_owned())
        }
        ("audit", options) => Command::Audit(parse_audit(options).map_err(usage)?),
        ("backup", [file]) => Command::Backup(file.into()),
        ("restore", [file]) => Command::Restore(file.into()),
        ("import", [store]) => Command::Exchange(Way::Import, (*store).to_owned()),
        ("export", [store]) => Command::Exchange(Way::Export, (*store).to_owned()),
        ("add_tracker", [address]) => Command::AddTracker(parse_address(address).map_err(usage)?),
        ("remove_tracker", [which]) => Command::RemoveTracker(match which.parse() {
            Ok(number) => Which::Number(number),
            Err(_) => Which::Address(parse_address(which).map_err(usage)?),
        }),
        ("page", []) => Command::Page,
        ("tokens", []) => Command::Tokens,
        ("create_token", [name, rest @ ..]) => {
            let (rights, rest) = match rest {
                ["manage", rest @ ..] => (Rights::Manage, rest),
                ["read", rest @ ..] => (Rights::Read, rest),
                rest => (Rights::Read, rest),
            };
            let days = match rest {
                [] => None,
                [days] => Some(days.parse().ok().filter(|days| *days > 0).ok_or_else(|| {
                    usage(format!("{days:?} is neither rights nor a number of days"))
                })?),
                _ => return Err(usage("these are not its arguments".to_owned())),
            };
            Command::CreateToken { name: (*name).to_owned(), rights, days }
        }
        ("revoke_token", [token]) => Command::RevokeToken((*token).to_owned()),
        ("rotate_key", []) if !is_confirmed => Command::RotateKey(KeyStep::Show),
        ("rotate_key", ["make"]) if !is_confirmed => Command::RotateKey(KeyStep::Make),
        ("rotate_key", ["begin"]) if !is_confirmed => Command::RotateKey(KeyStep::Begin),
        ("rotate_key", ["cancel"]) if !is_confirmed => Command::RotateKey(KeyStep::Cancel),
        ("rotate_key", ["end"]) => Command::RotateKey(KeyStep::End),
        _ => return Err(usage("these are not its arguments".to_owned())),
    };
    Ok(Parsed { command, is_confirmed })
}

fn parse_address(text: &str) -> Result<TrackerAddress, String> {
    let address: TrackerAddress = text.parse().map_err(|e| format!("{e}"))?;
    if address.port() == 0 {
        Err("a tracker needs a port of its own, not 0".to_owned())
    } else {
        Ok(address)
    }
}

fn parse_audit(options: &[&str]) -> Result<AuditQuery, String> {
    let mut query = AuditQuery::default();
    let (pairs, []) = options.as_chunks::<2>() else {
        return Err("each option takes a value".to_owned());
    };
    for [option, value] in pairs {
        match *option {
            "--since" => query.since = Some(parse_time(value)?),
            "--until" => query.until = Some(parse_time(value)?),
            "--user" => query.user = Some((*value).to_owned()),
            "--limit" => {
                let limit =
                    value.parse().ok().filter(|limit| (1..=AUDIT_LIMIT_MAX).contains(limit));
                query.limit =
                    Some(limit.ok_or_else(|| format!("a limit is from 1 to {AUDIT_LIMIT_MAX}"))?);
            }
            _ => return Err(format!("there is no option {option:?}")),
        }
    }
    Ok(query)
}

/// Reads `90s`, `30m`, `24h` or `7d` ago, or a date with or without a time, in UTC.
fn parse_time(text: &str) -> Result<Time, String> {
    let wrong =
        || format!("{text:?} is no time; give 30m, 24h or 7d, 2025-01-31, or 2025-01-31T12:00:00Z");
    let unit = |unit: char| {
        Some(match unit {
            's' => 1_000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => 86_400_000,
            _ => return None,
        })
    };
    if let Some(ms) = text.chars().last().and_then(unit)
        && let Ok(count) = text[..text.len() - 1].parse::<u64>()
    {
        return count.checked_mul(ms).map(Time::Ago).ok_or_else(wrong);
    }
    let (date, time) = text.trim_end_matches('Z').split_once('T').unwrap_or((text, "00:00:00"));
    let numbers = |text: &str, sign: char| -> Option<Vec<u64>> {
        text.split(sign).map(|part| part.parse().ok()).collect()
    };
    match (numbers(date, '-').as_deref(), numbers(time, ':').as_deref()) {
        (
            Some(&[year @ 1970..=9999, month @ 1..=12, day @ 1..=31]),
            Some(&[hour @ 0..24, minute @ 0..60, ref rest @ ..]),
        ) => {
            let second = match rest {
                [] => 0,
                [second @ 0..60] => *second,
                _ => return Err(wrong()),
            };
            let days = days_from_civil(year, month, day);
            Ok(Time::At((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000))
        }
        _ => Err(wrong()),
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; the year begins in March here.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year % 400 * 365 + year % 400 / 4 - year % 400 / 100 + day_of_year;
    year / 400 * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::super::super::audit_entry::to_rfc3339;
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn every_command_is_read_and_its_usage_told() {
        for (text, want) in [
            ("status", Command::Status),
            (
                "disable_user nik~2",
                Command::SetDisabled { user: "nik~2".into(), is_disabled: true },
            ),
            (
                "remove_file lab x.pdf",
                Command::RemoveFile { group: "lab".into(), file: "x.pdf".into() },
            ),
            ("quota files 7", Command::SetQuota { name: "files".into(), value: Some(7) }),
            ("quota files default", Command::SetQuota { name: "files".into(), value: None }),
            ("remove_tracker 3", Command::RemoveTracker(Which::Number(3))),
            ("rotate_key", Command::RotateKey(KeyStep::Show)),
            (
                "create_token prometheus",
                Command::CreateToken {
                    name: "prometheus".into(),
                    rights: Rights::Read,
                    days: None,
                },
            ),
            (
                "create_token x manage 7",
                Command::CreateToken { name: "x".into(), rights: Rights::Manage, days: Some(7) },
            ),
            ("rotate_key begin", Command::RotateKey(KeyStep::Begin)),
            ("rotate_key end", Command::RotateKey(KeyStep::End)),
            ("remove_tracker a:5", Command::RemoveTracker(Which::Address("a:5".parse().unwrap()))),
        ] {
            let parsed = parse(&words(text)).unwrap();
            assert!(parsed.command == want && !parsed.is_confirmed, "{text}");
        }
        assert!(parse(&words("delete_user nik --yes")).unwrap().is_confirmed);
        let end = parse(&words("rotate_key end --yes")).unwrap();
        assert!(end.is_confirmed && end.command.is_final());
        for bad in [
            "",
            "fly",
            "status x",
            "quota sheep",
            "quota files many",
            "accounts ajar",
            "audit --limit 0",
            "audit --since",
            "audit --since soon",
            "add_tracker a",
            "add_tracker a:0",
            "remove_file lab",
            "users --yes x",
            "rotate_key start",
            "rotate_key begin new.key",
            "rotate_key begin --yes",
            "rotate_key --yes",
            "disable_user",
            "create_token",
            "create_token x 0",
            "create_token x read 1 2",
            "page x",
        ] {
            let error = parse(&words(bad)).unwrap_err();
            assert!(matches!(error, AdminError::Usage(_)), "{bad}");
        }
    }

    #[test]
    fn times_are_read_as_they_are_shown() {
        for (text, shown) in [
            ("1970-01-01", "1970-01-01T00:00:00Z"),
            ("2024-02-29T23:59:58Z", "2024-02-29T23:59:58Z"),
            ("2000-03-01T12:30", "2000-03-01T12:30:00Z"),
            ("2099-12-31", "2099-12-31T00:00:00Z"),
        ] {
            let Ok(Time::At(ms)) = parse_time(text) else { panic!("{text}") };
            assert_eq!(to_rfc3339(ms), shown);
        }
        assert_eq!(parse_time("2h"), Ok(Time::Ago(7_200_000)));
        assert_eq!(Time::Ago(5).to_ms(3), 0);
        for bad in [
            "",
            "h",
            "2025-13-01",
            "2025-01-01T25:00",
            "2025-01-01T1:2:3:4",
            "1969-01-01",
            "99999999999999999999d",
            "ä",
        ] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
