//! What the history keeps of the lines that were typed.
//!
//! **Invariant:** no entry holds a password or a link, as far as words can tell: what stands where a command
//! takes one is left out, also of a mistyped command, and what comes behind a command that asked
//! for one is kept only if it is a command.
//!
//! Pure.

use super::table::{CommandSpec, split};
use crate::types::invitation_link::is_link;

/// Decides what is kept, line by line.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    /// The last command takes a password: what was to be one may come as the next line.
    is_behind_secret: bool,
    /// One of the lines that were pasted together takes a password.
    has_pasted_secret: bool,
}

impl Keeper {
    /// The entry for a line, if one is kept. `is_pasted` tells that it came together with the line
    /// before it.
    pub(super) fn entry(&mut self, line: &str, is_pasted: bool) -> Option<String> {
        let hides_rest = is_pasted && self.has_pasted_secret;
        let entry = self.entry_of(line.trim());
        self.has_pasted_secret = hides_rest || self.is_behind_secret;
        entry.filter(|_| !hides_rest)
    }

    fn entry_of(&mut self, line: &str) -> Option<String> {
        let Ok(words) = split(line) else { return self.entry_of_open_quote(line) };
        let (spec, is_known) = find(words.first()?)?;
        let is_kept = is_known || !self.is_behind_secret;
        self.is_behind_secret = spec.takes_secret();
        let kept = spec.without_passwords(&words);
        let entry =
            if kept.len() == words.len() { line.to_owned() } else { shell_words::join(kept) };
        is_kept.then_some(entry)
    }

    /// A line whose last quote is not closed: where its words end cannot be told.
    fn entry_of_open_quote(&mut self, line: &str) -> Option<String> {
        let may_hold_secret = |word: &str| find(word).is_some_and(|(spec, _)| spec.takes_secret());
        let (_, is_known) = find(line.split_whitespace().next()?)?;
        let is_kept = is_known || !self.is_behind_secret;
        let holds_link =
            line.split_whitespace().any(|word| is_link(word.trim_matches(['\'', '"'])));
        let is_harmless = !holds_link && !line.split_whitespace().any(may_hold_secret);
        (is_kept && is_harmless).then(|| line.to_owned())
    }
}

/// The command that a word names or is likely to mean, and whether it names it.
fn find(word: &str) -> Option<(&'static CommandSpec, bool)> {
    let known = CommandSpec::find(word).map(|spec| (spec, true));
    known.or_else(|| CommandSpec::nearest(word).map(|spec| (spec, false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(lines: &[&str], is_pasted: bool) -> Vec<String> {
        let mut keeper = Keeper::default();
        let entry = |(i, line): (usize, &&str)| keeper.entry(line, is_pasted && i > 0);
        lines.iter().enumerate().filter_map(entry).collect()
    }

    #[test]
    fn a_mistyped_command_is_kept_without_its_password() {
        for (line, want) in [
            ("  list_files lab 'a b'  ", "list_files lab 'a b'"),
            ("dowload_file lab 'a b'", "dowload_file lab 'a b'"),
            ("logn nik secret", "logn nik"),
            ("Login nik my secret", "Login nik"),
            ("download_file lab 'a b", "download_file lab 'a b"),
            ("change_pasword old new", "change_pasword"),
        ] {
            assert_eq!(kept(&[line], false), [want]);
        }
        // What is like no command may be a password, and a quote hides where one ends.
        for line in
            ["tr0ub4dor", "signin nik secret", "login 'nik secret", "logn nik 'secret", "", "# x"]
        {
            assert_eq!(kept(&[line], false), [""; 0], "{line}");
        }
    }

    #[test]
    fn a_link_is_not_kept() {
        for (line, want) in [
            ("posse:join/AQAB", vec!["join"]),
            ("  posse:join/AQAB  ", vec!["join"]),
            ("join 'posse:join/AQAB'", vec!["join"]),
            ("jon posse:join/AQAB", vec!["jon"]),
            ("list_files posse:join/AQAB", vec!["list_files"]),
            ("'posse:join/AQAB", vec![]),
            ("list_files 'posse:join/AQAB", vec![]),
            ("xposse posse:join/AQAB", vec![]),
        ] {
            assert_eq!(kept(&[line], false), want, "{line}");
        }
        // The rest of a link that was broken into lines.
        assert_eq!(kept(&["posse:join/AQAB", "AgMEBQYHCAkK"], true), ["join"]);
    }

    #[test]
    fn behind_a_password_only_commands_are_kept() {
        assert_eq!(kept(&["login nik", "downloads"], false), ["login nik"]);
        assert_eq!(kept(&["login nik", "whoam"], false), ["login nik"]);
        let lines = ["list_groups", "login nik secret", "whoami", "secret"];
        assert_eq!(kept(&lines, false), ["list_groups", "login nik", "whoami"]);
        assert_eq!(kept(&lines, true), ["list_groups", "login nik"]);
        let mut keeper = Keeper::default();
        for (i, line) in lines.into_iter().enumerate() {
            keeper.entry(line, i > 0);
        }
        assert_eq!(keeper.entry("list_grops", false).as_deref(), Some("list_grops"));
        let lines = ["whoami", "whoam", "trackers"];
        assert_eq!(kept(&lines, true), lines);
    }
}
