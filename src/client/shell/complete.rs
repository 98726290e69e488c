//! What the line editor asks: completion of commands, groups, files, downloads and paths, and how
//! the prompt looks now.

use std::borrow::Cow;
use std::sync::Arc;

use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use super::bars::PromptBars;
use super::devices::short_id;
use super::home::from_home;
use super::invitations::short_id as short_invite;
use super::paging::all;
use super::table::{ArgumentKind, COMMANDS, CommandSpec};
use super::typed::{Typed, common_prefix};
use crate::client::api::{Api, ApiError, Command, Listing, Page, Reply, UserDevice};
use crate::net::Stop;
use crate::types::{FileOrder, Pattern, is_safe};

/// Entries of a directory that are looked at.
const ENTRIES_MAX: usize = 10_000;

/// What the line editor asks.
pub(super) struct ShellHelper {
    api: Arc<dyn Api>,
    bars: Arc<PromptBars>,
}

impl ShellHelper {
    pub(super) fn new(api: Arc<dyn Api>, bars: Arc<PromptBars>) -> Self {
        Self { api, bars }
    }

    /// What may stand where a word of that kind is wanted. Asks the primary tracker where it must;
    /// one that fails completes nothing.
    fn candidates(
        &self,
        kind: ArgumentKind,
        before: &[String],
        word: &str,
        stop: &Stop,
    ) -> Vec<String> {
        // The first page of what matches: nobody reads on behind it.
        let (pattern, listing) = (pattern_for(word), Listing::default());
        let group = before.get(1).cloned().unwrap_or_default();
        let ask = |command| self.api.call(command, stop, &mut |_| true);
        match kind {
            ArgumentKind::Group | ArgumentKind::PathOrGroup => {
                let command = match before[0].as_str() {
                    "join_group" => Command::ListGroups { pattern, listing },
                    _ => Command::ListMyGroups { listing },
                };
                names(ask(command).and_then(Reply::groups), |group| group.group.to_string())
            }
            ArgumentKind::User if before.len() > 1 => match before[0].ends_with("_request") {
                true => names(
                    ask(Command::ListRequests { group, listing }).and_then(Reply::requests),
                    |request| request.user.to_string(),
                ),
                false => names(
                    ask(Command::ListMembers { group, listing }).and_then(Reply::members),
                    |member| member.user.to_string(),
                ),
            },
            ArgumentKind::File => {
                let order = FileOrder::Name;
                let files = ask(Command::ListFiles { group, pattern, order, listing });
                names(files.and_then(Reply::files), |file| file.file.to_string())
            }
            ArgumentKind::Download => {
                let command = |listing| Command::ShowDownloads { unfinished: false, listing };
                let downloads = all(&*self.api, stop, command, Reply::downloads);
                downloads
                    .unwrap_or_default()
                    .iter()
                    .filter(|d| d.group.as_str() == group)
                    .map(|d| d.file.to_string())
                    .collect()
            }
            ArgumentKind::Upload => {
                let command = |listing| Command::ShowUploads { listing };
                let uploads = all(&*self.api, stop, command, Reply::uploads);
                uploads
                    .unwrap_or_default()
                    .iter()
                    .filter(|u| u.group.as_str() == group)
                    .map(|u| u.file.to_string())
                    .collect()
            }
            ArgumentKind::Limit => ["upload", "download", "downloads"].map(str::to_owned).to_vec(),
            ArgumentKind::Device => {
                let devices = self.api.call(Command::Devices, stop, &mut |_| true);
                let devices = devices.and_then(Reply::devices).unwrap_or_default();
                let text = |device: UserDevice| match device.name {
                    Some(name) => name,
                    None => short_id(device.device),
                };
                devices.into_iter().map(text).collect()
            }
            ArgumentKind::Token => {
                let tokens = self.api.call(Command::Tokens, stop, &mut |_| true);
                let tokens = tokens.and_then(Reply::tokens).unwrap_or_default();
                tokens.into_iter().map(|token| token.name).collect()
            }
            ArgumentKind::Invite => {
                let invites =
                    all(&*self.api, stop, |listing| Command::Invites { listing }, Reply::invites);
                invites.unwrap_or_default().iter().map(|one| short_invite(one.invite)).collect()
            }
            ArgumentKind::Rate => vec!["off".to_owned()],
            ArgumentKind::Command => {
                COMMANDS.iter().map(|command| command.name.to_owned()).collect()
            }
            ArgumentKind::User
            | ArgumentKind::Password
            | ArgumentKind::NewPassword
            | ArgumentKind::Link
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
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        // Where nothing can stand, nothing is offered.
        let nothing = Ok((pos, Vec::new()));
        let Some(typed) = Typed::parse(&line[..pos]) else { return nothing };
        let Some(first) = typed.before.first() else {
            return Ok(self.offer(&typed, COMMANDS.iter().map(|spec| spec.name.to_owned())));
        };
        let Some(spec) = CommandSpec::find(first) else { return nothing };
        if let Some(words) = option_words(spec, &typed.before, &typed.word) {
            return Ok(self.offer(&typed, words.into_iter()));
        }
        let before: Vec<String> = match spec.take_flags(&typed.before[1..]) {
            Ok((rest, _)) => std::iter::once(first).chain(rest.iter()).cloned().collect(),
            Err(_) => return nothing,
        };
        let Some(kind) = spec.arguments.get(before.len() - 1).map(|argument| argument.kind) else {
            return nothing;
        };
        let mut names =
            self.bars.completing(|stop| self.candidates(kind, &before, &typed.word, stop));
        if matches!(kind, ArgumentKind::Path | ArgumentKind::PathOrGroup) {
            names.extend(paths(&typed.word));
        }
        Ok(self.offer(&typed, names.into_iter()))
    }
}

impl ShellHelper {
    /// Those of `names` that the word at the cursor may become.
    fn offer(&self, typed: &Typed<'_>, names: impl Iterator<Item = String>) -> (usize, Vec<Pair>) {
        // The editor extends the line to what all replacements begin with, unless it is to go
        // through them one by one: then each is whole.
        let one_by_one = self.bars.has_lines();
        (typed.start, pairs(typed, names, one_by_one))
    }
}

/// The pattern that names which begin with `word` match, if there can be one.
fn pattern_for(word: &str) -> Option<Pattern> {
    // No name is asked for that holds a sign of the pattern: any character stands for it.
    Some(word).filter(|word| !word.is_empty())?;
    format!("{}*", word.replace('*', "?")).parse().ok()
}

/// The paths that begin with `word`, directories with `/` at their ends.
fn paths(word: &str) -> Vec<String> {
    if word == "~" {
        return vec!["~/".to_owned()];
    }
    let (dir, begin) = word.split_at(word.rfind('/').map_or(0, |at| at + 1));
    let path = from_home(if dir.is_empty() { "." } else { dir });
    let Ok(entries) = std::fs::read_dir(&path) else { return Vec::new() };
    let name = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let is_wanted =
            name.starts_with(begin) && (!name.starts_with('.') || begin.starts_with('.'));
        let end = if is_wanted && entry.path().is_dir() { "/" } else { "" };
        is_wanted.then(|| format!("{dir}{name}{end}"))
    };
    entries.take(ENTRIES_MAX).flatten().filter_map(name).collect()
}

/// The options of a command, or the words behind one, where those are wanted.
fn option_words(spec: &CommandSpec, before: &[String], word: &str) -> Option<Vec<String>> {
    let ends_in = before.last().and_then(|last| spec.flags.iter().find(|flag| flag.name == last));
    if let Some(values) = ends_in.and_then(|flag| flag.value) {
        return Some(values.split('|').map(str::to_owned).collect());
    }
    let is_option = word.starts_with('-') && !spec.flags.is_empty();
    is_option.then(|| spec.flags.iter().map(|flag| flag.name.to_owned()).collect())
}

/// The names on a page; none if it could not be had.
fn names<T>(page: Result<Page<T>, ApiError>, name: impl Fn(&T) -> String) -> Vec<String> {
    page.map_or(Vec::new(), |page| page.entries.iter().map(name).collect())
}

fn pairs(typed: &Typed<'_>, names: impl Iterator<Item = String>, one_by_one: bool) -> Vec<Pair> {
    // A name that cannot be shown as it is would not be seen for what it is in the line, either.
    let mut names: Vec<String> =
        names.filter(|name| name.starts_with(&typed.word) && is_safe(name)).collect();
    names.sort_unstable();
    names.dedup();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let shared = typed.extended(common_prefix(&all));
    let whole = |name: &str| {
        // Behind a directory more is to come.
        if name.ends_with('/') { typed.extended(name) } else { typed.completed(name) }
    };
    let pair = |name: &&str| Pair {
        display: (*name).to_owned(),
        replacement: if one_by_one || all.len() == 1 { whole(name) } else { shared.clone() },
    };
    all.iter().map(pair).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(line: &str, names: &[&str], one_by_one: bool) -> Vec<(String, String)> {
        let typed = Typed::parse(line).unwrap();
        let names = names.iter().map(|name| (*name).to_owned());
        let pairs = pairs(&typed, names, one_by_one);
        pairs.into_iter().map(|pair| (pair.display, pair.replacement)).collect()
    }

    #[test]
    fn one_name_is_completed_and_several_to_where_they_part() {
        let names = ["Holiday (1).mp4", "Holiday 2.mp4", "other", "Hol\u{202e}x"];
        let pair = |display: &str, replacement: &str| (display.to_owned(), replacement.to_owned());
        assert_eq!(offered("get lab o", &names, false), [pair("other", "other ")]);
        assert_eq!(
            offered("get lab 'Hol", &names, false),
            [pair("Holiday (1).mp4", "'Holiday "), pair("Holiday 2.mp4", "'Holiday ")]
        );
        assert_eq!(
            offered("get lab Hol", &names, true),
            [
                pair("Holiday (1).mp4", "Holiday\\ (1).mp4 "),
                pair("Holiday 2.mp4", "Holiday\\ 2.mp4 ")
            ]
        );
        assert_eq!(offered("up '/tm", &["/tmp/"], false), [pair("/tmp/", "'/tmp/")]);
        assert!(offered("get lab x", &names, false).is_empty());
    }

    #[test]
    fn paths_are_those_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("my file"), "x").unwrap();
        std::fs::write(dir.path().join(".hidden"), "x").unwrap();
        std::fs::create_dir(dir.path().join("my dir")).unwrap();
        let base = format!("{}/", dir.path().display());
        let found = |word: &str| {
            let mut found = paths(&format!("{base}{word}"));
            found.sort_unstable();
            found
        };
        assert_eq!(found("my"), [format!("{base}my dir/"), format!("{base}my file")]);
        assert_eq!(found(".h"), [format!("{base}.hidden")]);
        assert_eq!(found("").len(), 2);
        assert!(found("no").is_empty() && found("no/such/").is_empty());
        assert_eq!(paths("~"), ["~/"]);
    }

    #[test]
    fn the_pattern_finds_what_begins_so() {
        let matches = |word: &str, name: &str| pattern_for(word).unwrap().matches(name);
        assert!(matches("Hol", "Holiday") && !matches("Hol", "A Holiday"));
        assert!(matches("a*b", "a*bc") && matches("it's", "it's") && matches("a?", "a?b"));
        assert_eq!(pattern_for(""), None);
    }
}
