//! One command each: from words to the client's method, from its result to an answer.

use std::borrow::Cow;
use std::path::Path;

use super::answer::Answer;
use super::listing::Look;
use super::output::Format;
use super::progress::HashBar;
use super::render::FileColumns;
use super::session::{Shell, unknown};
use super::table::{ArgumentKind, COMMANDS, CommandSpec, Flags};
use super::topics::{details, overview};
use super::upload_words::{Word, path_and_group};
use super::{render, terminal};
use crate::client::{
    ClientError, DownloadPhase, FoundFile, TrackerRole, TrackerStatus, TrackersStatus, human_bytes,
};
use crate::types::{FileEntry, FileOrder, Password, Rate, TrackerState};

type Result<T> = std::result::Result<T, ClientError>;

/// The most downloads that can be asked to run at a time: each has a thread.
const DOWNLOADS_MAX: usize = 1000;
/// Characters of a password below which its user is warned.
const PASSWORD_CHARS_MIN: usize = 8;

/// Tells whether a password is soon guessed for its length alone.
fn is_short(password: &str) -> bool {
    password.chars().count() < PASSWORD_CHARS_MIN
}

/// The path that a word names: `~` and `~/...` begin at the user's home directory, as in a shell.
pub(super) fn from_home(word: &str) -> Cow<'_, Path> {
    let rest = if word == "~" { Some("") } else { word.strip_prefix("~/") };
    match (rest, directories::BaseDirs::new()) {
        (Some(rest), Some(dirs)) => Cow::Owned(dirs.home_dir().join(rest)),
        _ => Cow::Borrowed(Path::new(word)),
    }
}

impl Shell {
    /// Carries out a command whose number of words has been checked.
    pub(super) fn execute(
        &mut self,
        command: &str,
        words: &[String],
        flags: &Flags,
    ) -> Result<Answer> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let client = self.client.clone();
        match (command, words.as_slice()) {
            ("create_user" | "login" | "logout" | "change_password" | "whoami", _) => {
                self.account(command, &words, flags)
            }
            ("devices", _) => self.devices(),
            ("notifications", _) => self.notifications(flags.has("--all")),
            ("forget_device", [device]) => self.forget_device(device),
            ("list_groups", words) => {
                let pattern = words.first().map(|word| word.parse()).transpose()?;
                self.list(command, client.list_groups(pattern), None, &render::GROUPS)
            }
            ("list_my_groups", _) => {
                self.list(command, client.list_my_groups(), None, &render::MY_GROUPS)
            }
            ("list_requests", [group]) => {
                self.list(command, client.list_requests(group)?, None, &render::REQUESTS)
            }
            ("list_members", [group]) => {
                self.list(command, client.list_members(group)?, None, &render::MEMBERS)
            }
            ("list_files", [group, rest @ ..]) => {
                self.list_files(group, rest.first().copied(), flags)
            }
            ("find", [pattern]) => self.find(pattern, flags),
            ("rename_group", [group, name]) => self.rename_group(group, name),
            ("delete_group", [group]) => self.delete_group(group, flags),
            ("remove_file", [group, file]) => self.remove_file(group, file, flags),
            ("delete_account", _) => self.delete_account(flags),
            ("create_group" | "join_group" | "leave_group", [group]) => self.group(command, group),
            (
                "accept_request" | "reject_request" | "remove_member" | "transfer_group",
                [group, user],
            ) => self.member(command, group, user),
            ("upload_file", [first, second]) => self.upload(first, second),
            ("download_file", [group, file, rest @ ..]) => {
                self.download(group, file, rest.first().copied().unwrap_or("."))
            }
            ("show_downloads", _) => Ok(render::downloads(&client.show_downloads()?)),
            ("show_uploads", _) => {
                Ok(render::uploads(&client.show_uploads()?, self.output.format()))
            }
            ("why", [group, file]) => {
                let lines = client.why(group, file)?;
                let rows = lines.iter().map(|line| vec![line.clone()]).collect();
                Ok(Answer::rows(rows, "nothing to tell").with("lines", lines))
            }
            (
                "pause_download" | "resume_download" | "cancel_download" | "prioritize"
                | "stop_share",
                [group, file],
            ) => self.file(command, group, file),
            ("limits", words) => self.limits(words),
            ("limit_download", [group, file, rate]) => self.limit_download(group, file, rate),
            ("trackers", _) => self.trackers(),
            ("wait", words) => self.wait(words.first().copied()),
            ("seed", words) => self.rest(words.first().copied(), true),
            ("sleep", words) => self.rest(words.first().copied(), false),
            ("help", words) => help(words.first().copied(), self.output.format()),
            ("exit" | "quit", _) => Ok(self.exit(flags)),
            _ => Err(unknown(command)),
        }
    }

    /// A person may choose a short password after a warning; a script has to be allowed to.
    fn check_new_password(&self, secret: &str) -> Result<()> {
        if self.allows_short_passwords || !is_short(secret) {
            return Ok(());
        }
        if self.is_at_prompt() || self.asks_passwords {
            return terminal::warn(&format!(
                "a password of fewer than {PASSWORD_CHARS_MIN} characters is soon guessed"
            ));
        }
        Err(ClientError::BadArgument(format!(
            "the new password has fewer than {PASSWORD_CHARS_MIN} characters; choose a longer one, or \
             start with --allow-short-passwords"
        )))
    }

    fn account(&mut self, command: &str, words: &[&str], flags: &Flags) -> Result<Answer> {
        let password = |text: &str| Ok::<_, ClientError>(Password::new(text.to_owned())?);
        let client = &self.client;
        Ok(match (command, words) {
            ("create_user", [user, secret]) => {
                let secret = password(secret)?;
                self.check_new_password(secret.expose())?;
                client.create_user(user, secret)?;
                Answer::line(format!("created user {user}")).with("user", *user)
            }
            ("login", [user, secret]) => {
                let stay = flags.has("--stay");
                let entry = client.login_with(user, password(secret)?, stay)?;
                let mut text = match entry.label.as_str() {
                    label if label == *user => format!("logged in as {label}"),
                    label => format!("logged in as {label}: another {user} was there first"),
                };
                let must_change = client.must_change_password();
                if must_change {
                    text.push_str(
                        "; the operator has set this password: choose your own with change_password, before anything else",
                    );
                }
                if stay {
                    text.push_str(
                        "; this device stays logged in, until forget_device or another password",
                    );
                }
                Answer::line(text)
                    .with("user", entry.label.as_str())
                    .with("stays", stay)
                    .with("must_change_password", must_change)
            }
            ("logout", _) => {
                client.logout()?;
                Answer::line(match client.stays_as() {
                    Some(user) => format!(
                        "logged out; this device logs in as {user} at its next start, unless you forget_device it"
                    ),
                    None => "logged out".to_owned(),
                })
            }
            ("change_password", [old, new]) => {
                let (old, new) = (password(old)?, password(new)?);
                self.check_new_password(new.expose())?;
                let stayed = client.stays_as().is_some();
                client.change_password(old, new)?;
                let ends = stayed && client.stays_as().is_none();
                Answer::line(if ends {
                    "password changed; no device stays logged in any more, login --stay says so anew"
                } else {
                    "password changed"
                })
            }
            _ => {
                let label = client.whoami()?.label;
                Answer::line(label.as_str()).with("user", label.as_str())
            }
        })
    }

    fn group(&mut self, command: &str, group: &str) -> Result<Answer> {
        let text = match command {
            "create_group" => {
                self.client.create_group(group).map(|()| format!("created group {group}"))
            }
            "join_group" => {
                self.client.join_group(group).map(|()| format!("asked to join {group}"))
            }
            _ => self.client.leave_group(group).map(|()| format!("left {group}")),
        }?;
        Ok(Answer::line(text).with("group", group))
    }

    fn list_files(&mut self, group: &str, pattern: Option<&str>, flags: &Flags) -> Result<Answer> {
        let order = match flags.value("--sort") {
            None | Some("name") => FileOrder::Name,
            Some("size") => FileOrder::Size,
            Some("date") => FileOrder::Date,
            Some(other) => {
                return Err(ClientError::BadArgument(format!(
                    "files are not sorted by {other:?}; name, size or date"
                )));
            }
        };
        let (pattern, limit) = (pattern.map(str::parse).transpose()?, parse_limit(flags)?);
        let columns = self.file_columns(flags, order == FileOrder::Date);
        let client = self.client.clone();
        let (row, value) = (|file: &FileEntry| render::file_row(file, columns), render::file_value);
        let look = Look { field: "files", none: "no files", row: &row, value: &value };
        self.list("list_files", client.list_files(group, pattern, order)?, limit, &look)
    }

    fn find(&mut self, pattern: &str, flags: &Flags) -> Result<Answer> {
        let (pattern, limit, columns) =
            (pattern.parse()?, parse_limit(flags)?, self.file_columns(flags, false));
        let client = self.client.clone();
        let row = |found: &FoundFile| {
            let mut row = vec![found.group.to_string()];
            row.extend(render::file_row(&found.file, columns));
            row
        };
        let value = |found: &FoundFile| {
            let mut value = render::file_value(&found.file);
            value["group"] = found.group.as_str().into();
            value
        };
        let look = Look { field: "files", none: "no files", row: &row, value: &value };
        self.list("find", client.find(pattern), limit, &look)
    }

    /// People want sizes that they can read, and hashes when they ask for them; scripts get all
    /// there is.
    fn file_columns(&self, flags: &Flags, with_date: bool) -> FileColumns {
        match self.output.format() {
            Format::Table => FileColumns::People { with_sha1: flags.has("--sha1"), with_date },
            Format::Plain | Format::Json => FileColumns::Script,
        }
    }

    /// Asks at a terminal before something is done; a script has to say `--yes` where that cannot
    /// be undone. Tells whether to go on.
    fn confirm(&self, what: &str, flags: Option<&Flags>) -> Result<bool> {
        match flags {
            Some(flags) if flags.has("--yes") => Ok(true),
            _ if self.is_at_prompt() => terminal::confirm(&format!("{what}; go on?")),
            None => Ok(true),
            Some(_) => Err(ClientError::BadArgument(format!(
                "{what}; a script is not asked and has to add --yes"
            ))),
        }
    }

    fn rename_group(&mut self, group: &str, name: &str) -> Result<Answer> {
        if !self.confirm(&format!("this renames {group} to {name} for all its members"), None)? {
            return Ok(unchanged());
        }
        self.client.rename_group(group, name)?;
        Ok(Answer::line(format!("{group} is now called {name}"))
            .with("group", group)
            .with("name", name))
    }

    fn delete_group(&mut self, group: &str, flags: &Flags) -> Result<Answer> {
        if !self.confirm(
            &format!("this deletes {group} for all its members, with all its shares"),
            Some(flags),
        )? {
            return Ok(unchanged());
        }
        self.client.delete_group(group)?;
        Ok(Answer::line(format!("deleted {group}")).with("group", group))
    }

    fn remove_file(&mut self, group: &str, file: &str, flags: &Flags) -> Result<Answer> {
        if !self
            .confirm(&format!("this removes {file} from {group}, whoever offers it"), Some(flags))?
        {
            return Ok(unchanged());
        }
        self.client.remove_file(group, file)?;
        Ok(Answer::line(format!("removed {file} from {group}"))
            .with("group", group)
            .with("file", file))
    }

    fn delete_account(&mut self, flags: &Flags) -> Result<Answer> {
        let user = self.client.whoami()?.label;
        let what = format!(
            "this deletes the account {user}, all its memberships and everything that it offers"
        );
        if !self.confirm(&what, Some(flags))? {
            return Ok(unchanged());
        }
        self.client.delete_account()?;
        Ok(Answer::line(format!("deleted the account {user}")).with("user", user.as_str()))
    }

    fn member(&mut self, command: &str, group: &str, user: &str) -> Result<Answer> {
        let client = &self.client;
        let text = match command {
            "accept_request" => {
                client.accept_request(group, user).map(|()| format!("accepted {user} into {group}"))
            }
            "reject_request" => {
                client.reject_request(group, user).map(|()| format!("rejected {user} for {group}"))
            }
            "remove_member" => {
                client.remove_member(group, user).map(|()| format!("removed {user} from {group}"))
            }
            _ => client
                .transfer_group(group, user)
                .map(|()| format!("{group} now belongs to {user}")),
        }?;
        Ok(Answer::line(text).with("group", group).with("user", user))
    }

    fn file(&mut self, command: &str, group: &str, file: &str) -> Result<Answer> {
        let client = &self.client;
        let text = match command {
            "pause_download" => {
                client.pause_download(group, file).map(|()| format!("paused {file} in {group}"))
            }
            "resume_download" => {
                client.resume_download(group, file).map(|()| format!("resumed {file} in {group}"))
            }
            "cancel_download" => {
                client.cancel_download(group, file).map(|()| format!("cancelled {file} in {group}"))
            }
            "prioritize" => {
                client.prioritize(group, file).map(|()| format!("{file} in {group} goes first"))
            }
            _ => client
                .stop_share(group, file)
                .map(|()| format!("stopped sharing {file} in {group}")),
        }?;
        Ok(Answer::line(text).with("group", group).with("file", file))
    }

    fn upload(&mut self, first: &str, second: &str) -> Result<Answer> {
        let (path, group) = self.path_and_group(first, second)?;
        let mut bar = HashBar::new(&self.output, "hashing");
        self.interrupts.clear();
        let interrupts = &mut self.interrupts;
        let shared = self.client.upload_file(&from_home(path), group, &mut |done, len| {
            bar.draw(done, len);
            !interrupts.is_interrupted()
        })?;
        Ok(render::shared(&shared, self.output.format()))
    }

    /// Which of two words is the path, and which the group.
    fn path_and_group<'a>(&self, first: &'a str, second: &'a str) -> Result<(&'a str, &'a str)> {
        let is_file = [first, second].map(|word| from_home(word).is_file());
        if is_file == [true, false] {
            // The usual case; no tracker need be asked.
            return Ok((first, second));
        }
        let word = |text, is_file| {
            Ok::<_, ClientError>(Word { text, is_file, is_group: self.client.is_member(text)? })
        };
        path_and_group(word(first, is_file[0])?, word(second, is_file[1])?)
    }

    fn download(&mut self, group: &str, file: &str, destination: &str) -> Result<Answer> {
        let mut bar = HashBar::new(&self.output, "comparing");
        self.interrupts.clear();
        let (interrupts, held, client, output) =
            (&mut self.interrupts, &mut self.held, &self.client, &self.output);
        let mut is_comparing = false;
        let handle =
            client.download_file_soon(group, file, &from_home(destination), &mut |done, len| {
                if !std::mem::replace(&mut is_comparing, true) {
                    // That may take long: what was begun before does not wait for it.
                    held.release(client, output);
                }
                bar.draw(done, len);
                !interrupts.is_interrupted()
            })?;
        let status = handle.status();
        let path = status.path.to_string_lossy().into_owned();
        let text = match status.phase {
            DownloadPhase::Queued(place) => {
                format!(
                    "{} from {} to {path} waits for other downloads, at place {place}",
                    status.file, status.group
                )
            }
            _ => format!("downloading {} from {} to {path}", status.file, status.group),
        };
        Ok(Answer::line(text)
            .with("group", status.group.as_str())
            .with("file", status.file.as_str())
            .with("path", path))
    }

    fn limits(&self, words: &[&str]) -> Result<Answer> {
        let client = &self.client;
        match words {
            [] => {}
            ["upload", rate] => client.limit_upload(Rate::parse_limit(rate)?),
            ["download", rate] => client.limit_download_rate(Rate::parse_limit(rate)?),
            ["downloads", count] => client.limit_downloads(parse_count(count)?),
            _ => {
                let text = "limits shows all, `limits upload 5M`, `limits download off` or `limits downloads 3` sets one";
                return Err(ClientError::BadArgument(text.into()));
            }
        }
        Ok(render::limits(&client.limits()))
    }

    /// A script is to notice when the network is not as it should be.
    fn trackers(&self) -> Result<Answer> {
        let status = self.client.trackers()?;
        let failed = if self.is_at_prompt() { None } else { what_is_down(&status) };
        Ok(render::trackers(&status, self.output.format()).but_failed(failed))
    }

    fn limit_download(&self, group: &str, file: &str, rate: &str) -> Result<Answer> {
        let rate = Rate::parse_limit(rate)?;
        self.client.limit_download(group, file, rate)?;
        let text = match rate {
            Some(rate) => format!("{file} in {group} is limited to {}/s", human_bytes(rate.get())),
            None => format!("{file} in {group} has no limit of its own"),
        };
        Ok(Answer::line(text)
            .with("group", group)
            .with("file", file)
            .with("limit", rate.map(Rate::get)))
    }

    /// Adds passwords that were left out at a terminal; new ones are asked for twice, as nobody
    /// sees what is typed.
    pub(super) fn ask_passwords(&mut self, words: &mut Vec<String>) -> Result<()> {
        let Some(spec) = words.first().and_then(|name| CommandSpec::find(name)) else {
            return Ok(());
        };
        let is_flag = |word: &&String| spec.flags.iter().any(|flag| flag.name == **word);
        let given = words.iter().skip(1).filter(|word| !is_flag(word)).count();
        let missing: Vec<_> = spec.arguments.iter().skip(given).collect();
        if missing.is_empty() || !missing.iter().all(|argument| argument.kind.is_secret()) {
            return Ok(());
        }
        for argument in missing {
            self.interrupts.clear();
            let what = if argument.name == "password" {
                "password".to_owned()
            } else {
                format!("{} password", argument.name)
            };
            let mut word = terminal::ask_password(&what)?;
            let again = match argument.kind {
                ArgumentKind::NewPassword => {
                    Some(terminal::ask_password(&format!("{what} again"))?)
                }
                _ => None,
            };
            if self.interrupts.is_interrupted() {
                return Err(ClientError::Interrupted);
            }
            if again.is_some_and(|again| again != word) {
                return Err(ClientError::BadArgument(
                    "the two passwords differ; nothing was changed, try again".into(),
                ));
            }
            words.push(std::mem::take(&mut *word));
        }
        Ok(())
    }
}

/// What a script is told of trackers that are not as they should be. One that this client has not
/// dialled yet is judged by what the others say.
fn what_is_down(status: &TrackersStatus) -> Option<ClientError> {
    let wrong = |tracker: &TrackerStatus| match (tracker.state, &tracker.error) {
        (TrackerState::Down, _) => Some("down"),
        (TrackerState::CatchingUp, _) => Some("catching up"),
        (TrackerState::MustResync, _) => Some("away for too long and must start anew"),
        (TrackerState::Up | TrackerState::Myself, Some(_))
            if tracker.role == TrackerRole::Unreachable =>
        {
            Some("not reached from here")
        }
        (TrackerState::Up | TrackerState::Myself, _) => None,
    };
    let one = |tracker: &TrackerStatus| {
        wrong(tracker)
            .map(|how| format!("tracker {} ({}) is {how}", tracker.number, tracker.address))
    };
    let mut what: Vec<String> = status.trackers.iter().filter_map(one).collect();
    if what.is_empty() && status.degraded {
        what.push("a tracker has not caught up yet".into());
    }
    let text = format!("{}; tell the operator if that stays so", what.join(", "));
    (!what.is_empty()).then_some(ClientError::Degraded(text))
}

/// The answer to a user who would not go on.
fn unchanged() -> Answer {
    Answer::line("nothing was changed")
}

/// Reads how many entries are to be shown at most.
fn parse_limit(flags: &Flags) -> Result<Option<usize>> {
    let wrong = |text: &str| {
        ClientError::BadArgument(format!(
            "{text:?} is not a number of lines; give one, as --limit 20"
        ))
    };
    flags.value("--limit").map(|text| text.parse::<usize>().map_err(|_| wrong(text))).transpose()
}

/// Reads how many downloads may run, 0 for any number.
pub(super) fn parse_count(text: &str) -> Result<usize> {
    match text.parse::<usize>() {
        _ if text.eq_ignore_ascii_case("off") => Ok(0),
        Ok(count) if count <= DOWNLOADS_MAX => Ok(count),
        _ => Err(ClientError::BadArgument(format!(
            "{text:?} is not a number of downloads; give one up to {DOWNLOADS_MAX}, or off"
        ))),
    }
}

fn help(command: Option<&str>, format: Format) -> Result<Answer> {
    let shown: Vec<&CommandSpec> = match command {
        None => COMMANDS.iter().collect(),
        Some(name) => {
            vec![CommandSpec::find(name).ok_or_else(|| unknown(name))?]
        }
    };
    let rows = match (format, command) {
        (Format::Table, None) => overview(),
        (Format::Table, Some(_)) => shown.iter().flat_map(|spec| details(spec)).collect(),
        _ => shown.iter().map(|spec| vec![spec.usage(), spec.summary.to_owned()]).collect(),
    };
    let value = |spec: &&CommandSpec| {
        serde_json::json!({
            "command": spec.name, "usage": spec.usage(), "summary": spec.summary,
            "topic": spec.topic(),
        })
    };
    Ok(Answer::rows(rows, "no commands")
        .with("commands", shown.iter().map(value).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_told_of_each_tracker_that_is_not_as_it_should_be() {
        let tracker = |state, role, error: Option<&str>| TrackerStatus {
            number: 2,
            address: "h:1".into(),
            state,
            role,
            lag: 0,
            error: error.map(Into::into),
        };
        let told = |degraded, tracker| {
            let status = TrackersStatus {
                trackers: vec![tracker],
                degraded,
                network: None,
                safe_on: Vec::new(),
            };
            what_is_down(&status).map(|error| error.to_string())
        };
        use TrackerRole::{Standby, Unreachable};
        use TrackerState::{CatchingUp, Down, MustResync, Up};
        assert_eq!(told(false, tracker(Up, Standby, None)), None);
        assert_eq!(told(false, tracker(Up, Unreachable, None)), None, "it may be dialled now");
        assert!(told(false, tracker(Up, Unreachable, Some("refused"))).is_some());
        for state in [Down, CatchingUp, MustResync] {
            assert!(told(false, tracker(state, Standby, None)).is_some(), "{state:?}");
        }
        assert_eq!(
            told(true, tracker(Down, Unreachable, Some("refused"))).unwrap(),
            "tracker 2 (h:1) is down; tell the operator if that stays so"
        );
        assert!(told(true, tracker(Up, Standby, None)).unwrap().contains("not caught up"));
    }

    #[test]
    fn counts_are_plain_numbers() {
        assert_eq!(
            (parse_count("3").unwrap(), parse_count("off").unwrap(), parse_count("0").unwrap()),
            (3, 0, 0)
        );
        for bad in ["-1", "x", "", "1.5", "1001", "many"] {
            assert!(parse_count(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn passwords_are_measured_in_characters() {
        assert!(is_short("x") && is_short("seven77") && is_short("äöüäöü"));
        assert!(!is_short("eight888") && !is_short("äöüäöüäö") && !is_short("correct horse"));
    }

    #[test]
    fn help_knows_every_command() {
        for format in [Format::Plain, Format::Table] {
            assert!(help(Some("login"), format).unwrap().rows[0][0].starts_with("login <user> "));
            assert!(help(Some("x"), format).is_err());
        }
        assert_eq!(help(None, Format::Plain).unwrap().rows.len(), COMMANDS.len());
    }

    #[test]
    fn help_at_a_terminal_fits_a_small_screen() {
        let rows = help(None, Format::Table).unwrap().rows;
        // A line for what was typed, and one for the next prompt.
        assert!(rows.len() <= 22, "{}", rows.len());
        let lines: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
        assert!(lines.iter().all(|line| line.len() < 80), "{lines:#?}");
        let (_, names) = lines.split_last().unwrap();
        let words: Vec<&str> = names.iter().flat_map(|line| line.split_whitespace()).collect();
        for spec in COMMANDS {
            assert_eq!(words.iter().filter(|word| **word == spec.name).count(), 1, "{}", spec.name);
        }
    }

    #[test]
    fn a_tilde_is_the_home_directory_and_only_at_the_start() {
        let home = directories::BaseDirs::new().unwrap().home_dir().to_path_buf();
        assert_eq!(*from_home("~"), *home);
        assert_eq!(*from_home("~/a b"), *home.join("a b"));
        for plain in ["a~", "~nik/x", "/tmp/~", "x/~/y"] {
            assert_eq!(*from_home(plain), *Path::new(plain));
        }
    }
}
