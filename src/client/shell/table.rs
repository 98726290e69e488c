//! The table of commands: what there is, its words, and what it does.

use std::borrow::Cow;

use crate::types::invitation_link::is_link;
use zeroize::Zeroizing;

/// What a word of a command is, for completion and for what may be kept in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgumentKind {
    /// A user's name.
    User,
    /// A password: asked for without echo when left out at a terminal, never kept.
    Password,
    /// A password that is to be: as [`ArgumentKind::Password`], and asked for twice.
    NewPassword,
    /// A group's name.
    Group,
    /// The name of a file offered in the group before it.
    File,
    /// The name of a download of the group before it.
    Download,
    /// The name of a file that this device offers in the group before it.
    Upload,
    /// A path on this machine.
    Path,
    /// A path or a group, whichever fits.
    PathOrGroup,
    /// A number of seconds, perhaps with a fraction.
    Seconds,
    /// What a limit is for: `upload`, `download` or `downloads`.
    Limit,
    /// A rate in bytes a second, a number of downloads, or `off`.
    Rate,
    /// A command's name.
    Command,
    /// A pattern for names.
    Pattern,
    /// A name that is to be.
    NewName,
    /// A device's name, or the beginning of its id.
    Device,
    /// A token's name or id.
    Token,
    /// The link of an invitation: asked for without echo when left out at a terminal, never kept.
    Link,
    /// The beginning of an invitation's id.
    Invite,
}

/// One word of a command.
#[derive(Debug, Clone, Copy)]
pub struct Argument {
    /// As it stands in the usage.
    pub name: &'static str,
    /// What it is.
    pub kind: ArgumentKind,
    /// Whether it may be left out.
    pub optional: bool,
}

/// An option of a command, as `--limit 10`.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// With its dashes.
    pub name: &'static str,
    /// What stands behind it, if something does: a word, or words to choose from with `|` between
    /// them.
    pub value: Option<&'static str>,
}

/// The options that were given with a command.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(Vec<(&'static str, String)>);

impl Flags {
    /// Tells whether an option was given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The word behind an option, empty for one that has none; the last if it was given more than
    /// once.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(of, _)| *of == name).map(|(_, value)| value.as_str())
    }
}

/// One command.
#[derive(Debug, Clone, Copy)]
pub struct CommandSpec {
    /// Its first word.
    pub name: &'static str,
    /// The words behind it.
    pub arguments: &'static [Argument],
    /// The options that it knows, which may stand anywhere behind it.
    pub flags: &'static [Flag],
    /// What it does, in one line.
    pub summary: &'static str,
}

const fn need(name: &'static str, kind: ArgumentKind) -> Argument {
    Argument { name, kind, optional: false }
}

const fn may(name: &'static str, kind: ArgumentKind) -> Argument {
    Argument { name, kind, optional: true }
}

const USER: Argument = need("user", ArgumentKind::User);
const PASSWORD: Argument = need("password", ArgumentKind::Password);
const NEW_PASSWORD: Argument = need("password", ArgumentKind::NewPassword);
const GROUP: Argument = need("group", ArgumentKind::Group);
const DOWNLOAD: &[Argument] = &[GROUP, need("file", ArgumentKind::Download)];
const MEMBER: &[Argument] = &[GROUP, USER];

const fn command(
    name: &'static str,
    arguments: &'static [Argument],
    summary: &'static str,
) -> CommandSpec {
    CommandSpec { name, arguments, flags: &[], summary }
}

const fn flag(name: &'static str) -> Flag {
    Flag { name, value: None }
}

const fn flag_with(name: &'static str, value: &'static str) -> Flag {
    Flag { name, value: Some(value) }
}

/// A script is not asked.
const YES: &[Flag] = &[flag("--yes")];
/// Also what was shown before.
const ALL: &[Flag] = &[flag("--all")];
/// The device logs in by its key from now on.
const STAY: &[Flag] = &[flag("--stay")];
/// A script does not want a file of which nothing seems to have changed to be read again.
const TRUST_STAMP: &[Flag] = &[flag("--trust-stamp")];
/// The file system at the destination does not take every name.
const RENAME_SAFE: &[Flag] = &[flag("--rename-safe")];
/// Also a map of the pieces.
const PIECES: &[Flag] = &[flag("--pieces")];
/// A script waits for its downloads.
const NOW: &[Flag] = &[flag("--now")];
const END: &str = "ends the client, in a script after its downloads or --now; attached, leaves it";
/// What a token allows, and for how long.
const TOKEN: &[Flag] = &[flag_with("--rights", "read|manage"), flag_with("--days", "N")];
const SORT: Flag = flag_with("--sort", "name|size|date");
const LIMIT: Flag = flag_with("--limit", "N");
const SHA1: Flag = flag("--sha1");

/// Whom an invitation lets in, and for how long.
const INVITE: &[Flag] = &[flag_with("--uses", "N"), flag_with("--days", "N")];
const MEMBERS_INVITE: &[Flag] = &[flag_with("--members-invite", "on|off")];

/// Every command, in the order in which `help` lists them.
pub const COMMANDS: &[CommandSpec] = &[
    command(
        "create_user",
        &[USER, NEW_PASSWORD, may("link", ArgumentKind::Link)],
        "makes an account; with the link of an invitation, one that is in its group",
    ),
    CommandSpec {
        flags: STAY,
        ..command(
            "login",
            &[USER, PASSWORD],
            "starts a session: shares are offered again, downloads go on; --stay: also after a restart",
        )
    },
    command("logout", &[], "stops offering, pauses downloads, ends the session"),
    command("create_group", &[GROUP], "makes a group that you own"),
    command("join_group", &[GROUP], "asks the group's owner to let you in"),
    command(
        "join",
        &[need("link", ArgumentKind::Link)],
        "lets you into a group by the link of an invitation; a pasted link does the same",
    ),
    command("leave_group", &[GROUP], "leaves the group; your shares there stop"),
    command("list_requests", &[GROUP], "shows who asks to join, oldest first; owner only"),
    command("accept_request", MEMBER, "lets a user in; owner only"),
    command("reject_request", MEMBER, "turns a user down; owner only"),
    command("remove_member", MEMBER, "ends a membership; owner only"),
    command("transfer_group", MEMBER, "hands the group to another member; owner only"),
    command(
        "rename_group",
        &[GROUP, need("name", ArgumentKind::NewName)],
        "gives the group another name; owner only",
    ),
    CommandSpec {
        flags: INVITE,
        ..command(
            "invite",
            &[GROUP],
            "prints a link that lets one user in within 7 days, or as said; owner, or members if allowed",
        )
    },
    command("invites", &[], "shows the open invitations that you made, and those to your groups"),
    command(
        "revoke_invite",
        &[need("invite", ArgumentKind::Invite)],
        "ends an invitation; by the beginning of its id, or its link",
    ),
    CommandSpec {
        flags: MEMBERS_INVITE,
        ..command(
            "group_settings",
            &[GROUP],
            "shows or sets whether members may invite; owner only",
        )
    },
    CommandSpec {
        flags: YES,
        ..command("delete_group", &[GROUP], "deletes the group for everybody; owner only")
    },
    command(
        "list_groups",
        &[may("pattern", ArgumentKind::Pattern)],
        "shows all groups, or those whose names match, as lab*",
    ),
    command("list_my_groups", &[], "shows your groups and your part in each"),
    command("list_members", &[GROUP], "shows the members, the owner, who is online"),
    CommandSpec {
        flags: TRUST_STAMP,
        ..command(
            "upload_file",
            &[need("path", ArgumentKind::PathOrGroup), need("group", ArgumentKind::PathOrGroup)],
            "shares a file, or its new version; --trust-stamp: does not read it again if its size \
             and times are as before",
        )
    },
    CommandSpec {
        flags: &[SORT, LIMIT, SHA1],
        ..command(
            "list_files",
            &[GROUP, may("pattern", ArgumentKind::Pattern)],
            "shows name, size, who shares it, how many are online; of all, or of those whose names match",
        )
    },
    CommandSpec {
        flags: &[LIMIT, SHA1],
        ..command(
            "find",
            &[need("pattern", ArgumentKind::Pattern)],
            "shows the files of all your groups whose names match",
        )
    },
    CommandSpec {
        flags: RENAME_SAFE,
        ..command(
            "download_file",
            &[GROUP, need("file", ArgumentKind::File), may("destination", ArgumentKind::Path)],
            "fetches a file in the background, into the current directory or as told; \
             --rename-safe: saves it under a name that every file system takes",
        )
    },
    command(
        "show_downloads",
        &[],
        "shows each download: [D] running, [Q] waiting, [C] complete, [P] paused, [F] failed",
    ),
    command("pause_download", DOWNLOAD, "pauses a download"),
    command("resume_download", DOWNLOAD, "goes on with a paused or failed download"),
    command("cancel_download", DOWNLOAD, "gives a download up and removes what was fetched"),
    command("prioritize", DOWNLOAD, "lets a download go before all others"),
    command(
        "limit_download",
        &[GROUP, need("file", ArgumentKind::Download), need("rate", ArgumentKind::Rate)],
        "limits one download, as 500K or 1.5M a second; off: not any more",
    ),
    command(
        "limits",
        &[may("upload|download|downloads", ArgumentKind::Limit), may("limit", ArgumentKind::Rate)],
        "shows or sets what is sent and fetched a second, or how many downloads run",
    ),
    command("show_uploads", &[], "shows what this device offers, to how many, how much was sent"),
    CommandSpec {
        flags: PIECES,
        ..command(
            "show_peers",
            DOWNLOAD,
            "shows who gives and who takes a file, how fast, since when; --pieces: also a map of \
             its pieces",
        )
    },
    command("why", DOWNLOAD, "tells why a download is not moving"),
    command("stop_share", &[GROUP, need("file", ArgumentKind::Upload)], "stops offering a file"),
    CommandSpec {
        flags: YES,
        ..command(
            "remove_file",
            &[GROUP, need("file", ArgumentKind::File)],
            "removes a file from the group, whoever offers it; its first sharer or the owner",
        )
    },
    command(
        "change_password",
        &[need("old", ArgumentKind::Password), need("new", ArgumentKind::NewPassword)],
        "changes your password",
    ),
    CommandSpec {
        flags: YES,
        ..command(
            "delete_account",
            &[],
            "deletes your account, your memberships and what you offer",
        )
    },
    command("whoami", &[], "shows who is logged in"),
    command("devices", &[], "shows the devices that may log in as you, and those logged in now"),
    command(
        "forget_device",
        &[need("device", ArgumentKind::Device)],
        "ends a device's session and its right to log in by itself, everywhere; by name or id",
    ),
    CommandSpec {
        flags: ALL,
        ..command(
            "notifications",
            &[],
            "shows what happened while nobody looked; --all: since long ago",
        )
    },
    command("page", &[], "prints a link that opens the page in a browser, one time"),
    command("tokens", &[], "shows the tokens by which browsers and programs use the HTTP API"),
    CommandSpec {
        flags: TOKEN,
        ..command(
            "create_token",
            &[need("name", ArgumentKind::NewName)],
            "makes a token for a program; it may look, or with --rights manage do everything",
        )
    },
    command(
        "revoke_token",
        &[need("token", ArgumentKind::Token)],
        "ends a token at once; by name or id",
    ),
    command(
        "addresses",
        &[],
        "shows the addresses that others dial this device at, who reached it at which, and what routers let in",
    ),
    command("trackers", &[], "shows each tracker's state, which is primary, how far each lags"),
    command(
        "wait",
        &[may("seconds", ArgumentKind::Seconds)],
        "waits until every download has ended, or the time is over",
    ),
    command(
        "seed",
        &[may("seconds", ArgumentKind::Seconds)],
        "keeps serving until interrupted, or for that long",
    ),
    command("sleep", &[need("seconds", ArgumentKind::Seconds)], "does nothing for that long"),
    command("help", &[may("command", ArgumentKind::Command)], "shows all commands, or one"),
    CommandSpec { flags: NOW, ..command("exit", &[], END) },
    CommandSpec { flags: NOW, ..command("quit", &[], END) },
    command("shutdown", &[], "ends the client, also the one that this prompt is attached to"),
];

impl ArgumentKind {
    /// Tells whether it is a password or a link.
    pub fn is_secret(self) -> bool {
        matches!(self, Self::Password | Self::NewPassword | Self::Link)
    }
}

impl CommandSpec {
    /// Finds a command by its name.
    pub fn find(name: &str) -> Option<&'static Self> {
        COMMANDS.iter().find(|command| command.name == name)
    }

    /// The command that somebody who typed `name` may have meant.
    pub fn nearest(name: &str) -> Option<&'static Self> {
        let name = name.to_lowercase().replace('-', "_");
        let distance = |command: &&Self| strsim::osa_distance(&name, command.name);
        let near = COMMANDS
            .iter()
            .min_by_key(distance)
            .filter(|command| distance(command) <= (name.chars().count() / 3).max(1));
        // A part of a name is a good hint where only one begins with it, or has it.
        let only = |fits: &dyn Fn(&Self) -> bool| {
            let mut fitting = COMMANDS.iter().filter(|command| name.len() > 2 && fits(command));
            fitting.next().filter(|_| fitting.next().is_none())
        };
        near.or_else(|| only(&|command| command.name.starts_with(&name)))
            .or_else(|| only(&|command| command.name.contains(&name)))
    }

    /// The command with its words, as `login <user> <password>`.
    pub fn usage(&self) -> String {
        let mut usage = self.name.to_owned();
        for argument in self.arguments {
            let (open, close) = if argument.optional { ('[', ']') } else { ('<', '>') };
            usage.extend([' ', open]);
            usage.push_str(argument.name);
            usage.push(close);
        }
        for flag in self.flags {
            usage.push_str(&format!(
                " [{}{}{}]",
                flag.name,
                if flag.value.is_some() { " " } else { "" },
                flag.value.unwrap_or_default()
            ));
        }
        usage
    }

    /// Takes the options out of the words behind a command. Behind `--` there are none.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn take_flags<'a>(
        &self,
        words: &'a [String],
    ) -> Result<(Cow<'a, [String]>, Flags), String> {
        let mut flags = Flags::default();
        if self.flags.is_empty() {
            return Ok((Cow::Borrowed(words), flags));
        }
        let mut rest = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let is_known = |name: &str| {
                self.flags.iter().any(|flag| Some(flag.name) == name.split('=').next())
            };
            let takes_any = self.takes_secret() || self.name == "download_file";
            if takes_any && !is_known(word) && (word != "--" || words.len() == 0) {
                // A password may begin like an option, and so may a file's name.
                rest.push(word.clone());
            } else if word == "--" {
                rest.extend(words.by_ref().cloned());
            } else if word.starts_with("--") {
                // Also `--limit=10`.
                let (name, behind) = word
                    .split_once('=')
                    .map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
                let flag = self.flags.iter().find(|flag| flag.name == name);
                let flag = flag.ok_or_else(|| {
                    format!("{name} is no option of {}; usage: {}", self.name, self.usage())
                })?;
                let value = match (flag.value, behind) {
                    (None, None) => String::new(),
                    (Some(_), Some(value)) => value.to_owned(),
                    (Some(_), None) => words.next().cloned().ok_or_else(|| {
                        format!("a word is missing behind {name}; usage: {}", self.usage())
                    })?,
                    (None, Some(_)) => {
                        return Err(format!("{name} stands alone; usage: {}", self.usage()));
                    }
                };
                flags.0.push((flag.name, value));
            } else {
                rest.push(word.clone());
            }
        }
        Ok((Cow::Owned(rest), flags))
    }

    /// Number of words that have to be given.
    pub fn needed(&self) -> usize {
        self.arguments.iter().filter(|argument| !argument.optional).count()
    }

    /// Tells whether a password or a link is among its words.
    pub fn takes_secret(&self) -> bool {
        self.arguments.iter().any(|argument| argument.kind.is_secret())
    }

    /// The words, without any password or link, that the history may keep. The first is the command,
    /// perhaps mistyped.
    pub fn without_passwords(&self, words: &[String]) -> Vec<String> {
        // A line that was joined by mistake may hold another command with its password.
        let inner = words.iter().enumerate().skip(1).filter_map(|(at, word)| {
            Self::find(word).filter(|spec| spec.takes_secret()).map(|spec| (at, spec))
        });
        let commands: Vec<(usize, &Self)> = std::iter::once((0, self)).chain(inner).collect();
        let may_be_secret = |place: usize| {
            commands.iter().any(|(at, spec)| place > *at && spec.hides(&words[*at..], place - at))
        };
        let kept = words
            .iter()
            .enumerate()
            .filter(|(place, word)| !may_be_secret(*place) && !is_link(word));
        kept.map(|(_, word)| word.clone()).collect()
    }

    /// Tells whether the word at `place` behind the command may be a password or a part of one.
    fn hides(&self, words: &[String], place: usize) -> bool {
        let is_flag = |word: &String| self.flags.iter().any(|flag| flag.name == word);
        if !self.takes_secret() || is_flag(&words[place]) {
            return false;
        }
        let argument = words[1..place].iter().filter(|word| !is_flag(word)).count();
        // Words too many behind a password may be parts of it.
        self.arguments.get(argument).is_none_or(|argument| argument.kind.is_secret())
    }
}

/// Splits a line into words as a shell does; nothing is left of a blank line or a comment. A word
/// may be a password, so they are wiped when dropped.
///
/// # Errors
/// What is wrong with the quotes.
pub(super) fn split(line: &str) -> Result<Zeroizing<Vec<String>>, String> {
    if line.trim_start().starts_with('#') {
        return Ok(Zeroizing::default());
    }
    let words = shell_words::split(line).map(Zeroizing::new).map_err(|_| {
        String::from("a quote is not closed; close it, or write \\' for the character itself")
    });
    words.map(|mut words| {
        // A link that was pasted as it is.
        if words.first().is_some_and(|word| is_link(word)) {
            words.insert(0, "join".to_owned());
        }
        words
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Zeroizing<Vec<String>> {
        split(line).unwrap()
    }

    #[test]
    fn lines_are_split_as_a_shell_does() {
        assert_eq!(
            *words("upload_file 'my file' \"a b\" c\\ d"),
            ["upload_file", "my file", "a b", "c d"]
        );
        assert!(
            words("").is_empty()
                && words("  \t ").is_empty()
                && words("# login x y").is_empty()
                && words("  #").is_empty()
        );
        assert!(split("login 'nik").is_err());
    }

    #[test]
    fn names_are_unique_and_optional_words_come_last() {
        for (i, command) in COMMANDS.iter().enumerate() {
            assert!(
                COMMANDS[..i].iter().all(|other| other.name != command.name),
                "{}",
                command.name
            );
            assert!(
                command.arguments.is_sorted_by_key(|argument| argument.optional),
                "{}",
                command.name
            );
        }
        assert_eq!(
            CommandSpec::find("download_file").unwrap().usage(),
            "download_file <group> <file> [destination] [--rename-safe]"
        );
        assert!(CommandSpec::find("Login").is_none());
    }

    /// The rows of the command table that the project promises; `/` separates commands that share a
    /// row.
    #[test]
    fn the_table_is_the_one_that_was_promised() {
        let promised = "create_user <user> <password> [link]/login <user> <password> [--stay]/logout/create_group <group>/join_group <group>/join <link>/\
            leave_group <group>/list_requests <group>/accept_request <group> <user>/reject_request <group> <user>/\
            remove_member <group> <user>/transfer_group <group> <user>/rename_group <group> <name>/invite <group> [--uses N] [--days N]/invites/revoke_invite <invite>/group_settings <group> [--members-invite on|off]/delete_group <group> [--yes]/\
            list_groups [pattern]/list_my_groups/list_members <group>/upload_file <path> <group> [--trust-stamp]/\
            list_files <group> [pattern] [--sort name|size|date] [--limit N] [--sha1]/find <pattern> [--limit N] [--sha1]/download_file <group> <file> [destination] [--rename-safe]/show_downloads/\
            pause_download <group> <file>/resume_download <group> <file>/cancel_download <group> <file>/prioritize <group> <file>/limit_download <group> <file> <rate>/\
            limits [upload|download|downloads] [limit]/show_uploads/\
            show_peers <group> <file> [--pieces]/why <group> <file>/stop_share <group> <file>/remove_file <group> <file> [--yes]/change_password <old> <new>/\
            delete_account [--yes]/whoami/devices/forget_device <device>/notifications [--all]/page/tokens/create_token <name> [--rights read|manage] [--days N]/revoke_token <token>/addresses/trackers/wait [seconds]/\
            seed [seconds]/sleep <seconds>/help [command]/exit [--now]/quit [--now]/shutdown";
        let usages: Vec<String> = COMMANDS.iter().map(CommandSpec::usage).collect();
        assert_eq!(usages, promised.split('/').collect::<Vec<_>>());
    }

    #[test]
    fn options_stand_anywhere_behind_a_command_that_knows_them() {
        let take = |line: &str| {
            let words = words(line);
            let (rest, flags) = CommandSpec::find(&words[0]).unwrap().take_flags(&words[1..])?;
            Ok::<_, String>((rest.join(" "), flags))
        };
        let (rest, flags) = take("list_files --sort size lab --limit=3 *.bin --sha1").unwrap();
        assert_eq!(rest, "lab *.bin");
        assert_eq!(
            (flags.value("--sort"), flags.value("--limit"), flags.has("--sha1")),
            (Some("size"), Some("3"), true)
        );
        assert!(!flags.has("--yes"));
        for (line, rest, stays) in [
            ("login nik --stay secret", "nik secret", true),
            ("login nik --stay", "nik", true),
            ("login nik --secret", "nik --secret", false),
            ("login nik -- --stay", "nik --stay", false),
            ("login nik --", "nik --", false),
        ] {
            let (words, flags) = take(line).unwrap();
            assert_eq!((words.as_str(), flags.has("--stay")), (rest, stays), "{line}");
        }
        assert_eq!(
            take("remove_file -- lab --yes").unwrap(),
            ("lab --yes".into(), Flags::default())
        );
        assert_eq!(
            take("stop_share lab --yes").unwrap().0,
            "lab --yes",
            "a command without options takes every word"
        );
        for bad in ["list_files lab --sort", "list_files lab --yes", "remove_file lab x --yes=1"] {
            assert!(take(bad).unwrap_err().contains("usage: "), "{bad}");
        }
    }

    #[test]
    fn a_mistyped_command_is_recognised() {
        let nearest = |name| CommandSpec::nearest(name).map(|command| command.name);
        for (typed, meant) in [
            ("list_group", "list_groups"),
            ("Login", "login"),
            ("list-members", "list_members"),
            ("dowload_file", "download_file"),
            ("upload", "upload_file"),
            ("exti", "exit"),
        ] {
            assert_eq!(nearest(typed), Some(meant), "{typed}");
        }
        for typed in ["no_such_command", "x", "", "list", "rm", "owner"] {
            assert_eq!(nearest(typed), None, "{typed}");
        }
    }

    #[test]
    fn the_history_gets_no_password() {
        let kept = |line: &str| {
            let words = words(line);
            CommandSpec::nearest(&words[0]).unwrap().without_passwords(&words).join(" ")
        };
        assert_eq!(kept("login nik secret"), "login nik");
        assert_eq!(kept("login nik my secret phrase"), "login nik");
        assert_eq!(kept("change_password old new"), "change_password");
        assert_eq!(kept("whoami login nik secret phrase"), "whoami login nik");
        assert_eq!(kept("login login secret"), "login login");
        assert_eq!(kept("list_groups; change_password old new"), "list_groups; change_password");
        assert_eq!(kept("help login"), "help login");
        for line in ["join posse:join/abc", "posse:join/abc", "POSSE:join/abc def"] {
            assert_eq!(kept(line), "join");
        }
        assert_eq!(kept("revoke_invite posse:join/abc"), "revoke_invite");
        assert_eq!(kept("create_user nik secret posse:join/abc"), "create_user nik");
        assert_eq!(kept("download_file lab x /tmp extra"), "download_file lab x /tmp extra");
    }
}
