//! What the line editor asks: completion of commands, groups, files, downloads and paths, and how the prompt looks now.

use std::borrow::Cow;
use std::sync::Arc;

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use super::bars::PromptBars;
use super::escape::escape;
use super::table::{ArgumentKind, COMMANDS, CommandSpec};
use crate::client::Client;

/// What the line editor asks.
pub(super) struct ShellHelper {
    client: Arc<Client>,
    bars: Arc<PromptBars>,
    paths: FilenameCompleter,
}

impl ShellHelper {
    pub(super) fn new(client: Arc<Client>, bars: Arc<PromptBars>) -> Self {
        Self { client, bars, paths: FilenameCompleter::new() }
    }

    /// What may stand where a word of that kind is wanted. Asks the primary tracker where it must; one that fails completes nothing.
    fn candidates(&self, kind: ArgumentKind, before: &[String]) -> Vec<String> {
        let client = &self.client;
        let group = before.get(1).map(String::as_str).unwrap_or_default();
        match kind {
            ArgumentKind::Group | ArgumentKind::PathOrGroup => {
                let groups = if before[0] == "join_group" { client.list_groups() } else { client.list_my_groups() };
                groups.unwrap_or_default().iter().map(|group| group.label.to_string()).collect()
            }
            ArgumentKind::User if before.len() > 1 => {
                let asking = before[0].ends_with("_request");
                let asked = || client.list_requests(group).unwrap_or_default().iter().map(|r| r.user.label.to_string()).collect();
                let inside = || client.list_members(group).unwrap_or_default().iter().map(|m| m.user.label.to_string()).collect();
                if asking { asked() } else { inside() }
            }
            ArgumentKind::File => client.list_files(group).unwrap_or_default().iter().map(|f| f.label.to_string()).collect(),
            ArgumentKind::Download => {
                let downloads = client.show_downloads().unwrap_or_default();
                downloads.iter().filter(|d| d.group.as_str() == group).map(|d| d.file.to_string()).collect()
            }
            ArgumentKind::Upload => {
                let uploads = client.show_uploads().unwrap_or_default();
                uploads.iter().filter(|u| u.group.as_str() == group).map(|u| u.file.to_string()).collect()
            }
            ArgumentKind::Limit => ["upload", "download", "downloads"].map(str::to_owned).to_vec(),
            ArgumentKind::Rate => vec!["off".to_owned()],
            ArgumentKind::Command => COMMANDS.iter().map(|command| command.name.to_owned()).collect(),
            ArgumentKind::User
            | ArgumentKind::Password
            | ArgumentKind::NewPassword
            | ArgumentKind::Path
            | ArgumentKind::Seconds => Vec::new(),
        }
    }
}

impl Completer for ShellHelper {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, context: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = &line[..pos];
        let start = typed.rfind(|c: char| c.is_whitespace()).map_or(0, |at| at + 1);
        let (before, word) = typed.split_at(start);
        let Ok(before) = shell_words::split(before) else {
            return self.paths.complete(line, pos, context);
        };
        if before.is_empty() {
            return Ok((start, pairs(COMMANDS.iter().map(|command| format!("{} ", command.name)), word)));
        }
        let kind = CommandSpec::find(&before[0]).and_then(|spec| spec.arguments.get(before.len() - 1)).map(|a| a.kind);
        let Some(kind) = kind else { return Ok((start, Vec::new())) };
        let names = self
            .bars
            .completing(|| self.candidates(kind, &before))
            .into_iter()
            .map(|name| format!("{} ", shell_words::quote(&name)));
        let mut found = pairs(names, word);
        if matches!(kind, ArgumentKind::Path | ArgumentKind::PathOrGroup) {
            let (from, paths) = self.paths.complete(line, pos, context)?;
            if from == start || found.is_empty() {
                found.extend(paths);
                return Ok((from, found));
            }
        }
        Ok((start, found))
    }
}

fn pairs(names: impl Iterator<Item = String>, word: &str) -> Vec<Pair> {
    // A name that cannot be shown as it is could not be typed either.
    let plain = names.filter(|name| name.starts_with(word) && escape(name) == *name);
    let mut pairs: Vec<Pair> = plain.map(|name| Pair { display: name.trim_end().to_owned(), replacement: name }).collect();
    pairs.sort_by(|a, b| a.display.cmp(&b.display));
    pairs
}

impl Helper for ShellHelper {}

impl Highlighter for ShellHelper {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, default: bool) -> Cow<'b, str> {
        // While the history is searched there is another prompt.
        self.bars.fill(prompt).filter(|_| default).map_or(Cow::Borrowed(prompt), Cow::Owned)
    }
}

impl Validator for ShellHelper {}

impl Hinter for ShellHelper {
    type Hint = String;
}
