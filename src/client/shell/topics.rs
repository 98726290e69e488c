//! The commands by what they are about, as `help` shows them on one screen.

use super::table::{COMMANDS, CommandSpec};

/// Commands by topic, in the order of `help`; a command that is missing here is shown last.
const TOPICS: &[(&str, &[&str])] = &[
    (
        "account",
        &[
            "create_user",
            "login",
            "logout",
            "change_password",
            "delete_account",
            "whoami",
            "devices",
            "forget_device",
            "page",
            "tokens",
            "create_token",
            "revoke_token",
        ],
    ),
    (
        "groups",
        &[
            "list_groups",
            "list_my_groups",
            "create_group",
            "join_group",
            "join",
            "leave_group",
            "list_members",
            "notifications",
        ],
    ),
    (
        "owners",
        &[
            "list_requests",
            "accept_request",
            "reject_request",
            "remove_member",
            "transfer_group",
            "rename_group",
            "delete_group",
            "invite",
            "invites",
            "revoke_invite",
            "group_settings",
        ],
    ),
    ("files", &["list_files", "find", "upload_file", "show_uploads", "stop_share", "remove_file"]),
    (
        "downloads",
        &[
            "download_file",
            "show_downloads",
            "show_peers",
            "why",
            "pause_download",
            "resume_download",
            "cancel_download",
            "prioritize",
            "limit_download",
            "limits",
        ],
    ),
    ("client", &["trackers", "wait", "seed", "sleep", "help", "exit", "quit", "shutdown"]),
];

/// The topic of a command that is in none.
const MORE: &str = "more";
/// Columns that the overview takes.
const WIDTH: usize = 79;
/// Columns of a topic.
const MARGIN: usize = 11;

impl CommandSpec {
    /// What the command is about, in a word.
    pub(super) fn topic(&self) -> &'static str {
        let topic = TOPICS.iter().find(|(_, names)| names.contains(&self.name));
        topic.map_or(MORE, |(topic, _)| topic)
    }
}

/// All commands by topic, one line a row.
pub(super) fn overview() -> Vec<Vec<String>> {
    let topics = TOPICS.iter().map(|(topic, _)| *topic).chain([MORE]);
    let names = |topic| COMMANDS.iter().filter(move |spec| spec.topic() == topic).map(|s| s.name);
    let lines = topics.flat_map(|topic| fill(topic, MARGIN, "  ", names(topic)));
    let end = "`help` and a command tells what it does and which words it takes".to_owned();
    lines.chain([end]).map(|line| vec![line]).collect()
}

/// One command, one line a row.
pub(super) fn details(spec: &CommandSpec) -> Vec<Vec<String>> {
    let usage = spec.usage();
    let (name, words) = usage.split_once(' ').unwrap_or((&usage, ""));
    let mut lines = fill(name, name.len() + 1, " ", words.split(' '));
    lines.extend(fill("", 4, " ", spec.summary.split(' ')));
    lines.into_iter().map(|line| vec![line]).collect()
}

/// Words in lines behind a margin, in the first of which `begin` stands.
fn fill<'a>(
    begin: &str,
    margin: usize,
    gap: &str,
    words: impl Iterator<Item = &'a str>,
) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut().filter(|line| line.len() + gap.len() + word.len() <= WIDTH) {
            Some(line) => line.extend([gap, word]),
            None => {
                let begin = if lines.is_empty() { begin } else { "" };
                lines.push(format!("{begin:margin$}{word}").trim_end().to_owned());
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_one_topic() {
        let named: Vec<&str> = TOPICS.iter().flat_map(|(_, names)| *names).copied().collect();
        for (i, name) in named.iter().enumerate() {
            assert!(CommandSpec::find(name).is_some(), "{name} is no command");
            assert!(!named[..i].contains(name), "{name} is there twice");
        }
        for spec in COMMANDS {
            assert_ne!(spec.topic(), MORE, "{} has no topic", spec.name);
        }
    }

    #[test]
    fn details_are_whole_and_fit() {
        for spec in COMMANDS {
            let lines: Vec<String> = details(spec).concat();
            assert!(lines.iter().all(|line| line.len() <= WIDTH), "{lines:#?}");
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(
                words(&lines.join(" ")),
                words(&format!("{} {}", spec.usage(), spec.summary))
            );
        }
    }
}
