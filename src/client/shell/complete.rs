//! What the line editor asks: completion of commands, groups, files, downloads and paths, and how
//! the prompt looks now.

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
use crate::client::{Client, Pages};
use crate::types::FileOrder;

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

    /// What may stand where a word of that kind is wanted. Asks the primary tracker where it must;
    /// one that fails completes nothing.
    fn candidates(&self, kind: ArgumentKind, before: &[String], word: &str) -> Vec<String> {
        let client = &self.client;
        // The first page of what matches: nobody reads on behind it.
        let pattern = Some(word)
            .filter(|word| !word.is_empty() && !word.contains(['*', '?', '\'', '"', '\\']));
        let pattern = pattern.and_then(|word| format!("{word}*").parse().ok());
        let group = before.get(1).map(String::as_str).unwrap_or_default();
        match kind {
            ArgumentKind::Group | ArgumentKind::PathOrGroup => {
                let mut groups = if before[0] == "join_group" {
                    client.list_groups(pattern)
                } else {
                    client.list_my_groups()
                };
                first(&mut groups, |group| group.label.to_string())
            }
            ArgumentKind::User if before.len() > 1 => {
                let asking = before[0].ends_with("_request");
                match asking {
                    true => client
                        .list_requests(group)
                        .map(|mut pages| first(&mut pages, |r| r.user.label.to_string())),
                    false => client
                        .list_members(group)
                        .map(|mut pages| first(&mut pages, |m| m.user.label.to_string())),
                }
                .unwrap_or_default()
            }
            ArgumentKind::File => {
                let files = client.list_files(group, pattern, FileOrder::Name);
                files
                    .map(|mut pages| first(&mut pages, |file| file.label.to_string()))
                    .unwrap_or_default()
            }
            ArgumentKind::Download => {
                let downloads = client.show_downloads().unwrap_or_default();
                downloads
                    .iter()
                    .filter(|d| d.group.as_str() == group)
                    .map(|d| d.file.to_string())
                    .collect()
            }
            ArgumentKind::Upload => {
                let uploads = client.show_uploads().unwrap_or_default();
                uploads
                    .iter()
                    .filter(|u| u.group.as_str() == group)
                    .map(|u| u.file.to_string())
                    .collect()
            }
            ArgumentKind::Limit => ["upload", "download", "downloads"].map(str::to_owned).to_vec(),
            ArgumentKind::Rate => vec!["off".to_owned()],
            ArgumentKind::Command => {
                COMMANDS.iter().map(|command| command.name.to_owned()).collect()
            }
            ArgumentKind::User
            | ArgumentKind::Password
            | ArgumentKind::NewPassword
            | ArgumentKind::Path
            | ArgumentKind::Pattern
            | ArgumentKind::NewName
            | ArgumentKind::Seconds => Vec::new(),
        }
    }
}

impl Completer for ShellHelper {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = &line[..pos];
        let start = typed.rfind(|c: char| c.is_whitespace()).map_or(0, |at| at + 1);
        let (before, word) = typed.split_at(start);
        let Ok(before) = shell_words::split(before) else {
            return self.paths.complete(line, pos, context);
        };
        if before.is_empty() {
            return Ok((
                start,
                pairs(COMMANDS.iter().map(|command| format!("{} ", command.name)), word),
            ));
        }
        let Some(spec) = CommandSpec::find(&before[0]) else { return Ok((start, Vec::new())) };
        if let Some(words) = option_words(spec, &before, word) {
            return Ok((start, pairs(words.into_iter(), word)));
        }
        let before: Vec<String> = match spec.take_flags(&before[1..]) {
            Ok((rest, _)) => std::iter::once(&before[0]).chain(rest.iter()).cloned().collect(),
            Err(_) => return Ok((start, Vec::new())),
        };
        let Some(kind) = spec.arguments.get(before.len() - 1).map(|argument| argument.kind) else {
            return Ok((start, Vec::new()));
        };
        let names = self
            .bars
            .completing(|| self.candidates(kind, &before, word))
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

/// The options of a command, or the words behind one, where those are wanted.
fn option_words(spec: &CommandSpec, before: &[String], word: &str) -> Option<Vec<String>> {
    let ends_in = before.last().and_then(|last| spec.flags.iter().find(|flag| flag.name == last));
    if let Some(values) = ends_in.and_then(|flag| flag.value) {
        return Some(values.split('|').map(|value| format!("{value} ")).collect());
    }
    let is_option = word.starts_with('-') && !spec.flags.is_empty();
    is_option.then(|| spec.flags.iter().map(|flag| format!("{} ", flag.name)).collect())
}

/// The names on a listing's first page.
fn first<T: Clone>(pages: &mut Pages<'_, T>, name: impl Fn(&T) -> String) -> Vec<String> {
    pages.next().and_then(Result::ok).unwrap_or_default().iter().map(name).collect()
}

fn pairs(names: impl Iterator<Item = String>, word: &str) -> Vec<Pair> {
    // A name that cannot be shown as it is could not be typed either.
    let plain = names.filter(|name| name.starts_with(word) && escape(name) == *name);
    let mut pairs: Vec<Pair> =
        plain.map(|name| Pair { display: name.trim_end().to_owned(), replacement: name }).collect();
    pairs.sort_by(|a, b| a.display.cmp(&b.display));
    pairs
}

impl Helper for ShellHelper {}

impl Highlighter for ShellHelper {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(
        &'s self,
        prompt: &'p str,
        default: bool,
    ) -> Cow<'b, str> {
        // While the history is searched there is another prompt.
        self.bars.fill(prompt).filter(|_| default).map_or(Cow::Borrowed(prompt), Cow::Owned)
    }
}

impl Validator for ShellHelper {}

impl Hinter for ShellHelper {
    type Hint = String;
}
