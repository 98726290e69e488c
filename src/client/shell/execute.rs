//! One command each: from words to the client's method, from its result to an answer.

use std::borrow::Cow;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::answer::Answer;
use super::interrupt::Woken;
use super::listing::Look;
use super::output::Format;
use super::progress::{HashBar, WaitBars};
use super::render::FileColumns;
use super::session::{Shell, unknown};
use super::table::{ArgumentKind, COMMANDS, CommandSpec, Flags};
use super::upload_words::{Word, path_and_group};
use super::{render, terminal};
use crate::client::{ClientError, DownloadPhase, FoundFile, human_bytes};
use crate::types::{FileEntry, FileOrder, Password, Rate};

type Result<T> = std::result::Result<T, ClientError>;

/// The longest time that can be asked for: a year.
const SECONDS_MAX: f64 = 366.0 * 86_400.0;
/// The most downloads that can be asked to run at a time: each has a thread.
const DOWNLOADS_MAX: usize = 1000;
/// How often bars are drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

/// `wait` rests this many times as long as it takes to look at all downloads; not for less than
/// [`PAUSE_MIN`].
const LOOK_SHARE: u32 = 10;
/// See [`LOOK_SHARE`].
const PAUSE_MIN: Duration = Duration::from_millis(2);

/// The path that a word names: `~` and `~/...` begin at the user's home directory, as in a shell.
fn from_home(word: &str) -> Cow<'_, Path> {
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
                self.account(command, &words)
            }
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
            ("show_uploads", _) => Ok(render::uploads(&client.show_uploads()?)),
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
            ("trackers", _) => Ok(render::trackers(&client.trackers()?)),
            ("wait", words) => self.wait(words.first().copied()),
            ("seed", words) => self.rest(words.first().copied(), true),
            ("sleep", words) => self.rest(words.first().copied(), false),
            ("help", words) => help(words.first().copied()),
            ("exit" | "quit", _) => Ok(Answer { end: true, ..Answer::default() }),
            _ => Err(unknown(command)),
        }
    }

    fn account(&mut self, command: &str, words: &[&str]) -> Result<Answer> {
        let password = |text: &str| Ok::<_, ClientError>(Password::new(text.to_owned())?);
        let client = &self.client;
        Ok(match (command, words) {
            ("create_user", [user, secret]) => {
                client.create_user(user, password(secret)?)?;
                Answer::line(format!("created user {user}")).with("user", *user)
            }
            ("login", [user, secret]) => {
                let entry = client.login(user, password(secret)?)?;
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
                Answer::line(text)
                    .with("user", entry.label.as_str())
                    .with("must_change_password", must_change)
            }
            ("logout", _) => {
                client.logout()?;
                Answer::line("logged out")
            }
            ("change_password", [old, new]) => {
                client.change_password(password(old)?, password(new)?)?;
                Answer::line("password changed")
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
        Ok(render::shared(&shared))
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

    fn wait(&mut self, seconds: Option<&str>) -> Result<Answer> {
        let until = seconds.map(parse_seconds).transpose()?.map(|time| Instant::now() + time);
        let ended = self.wait_for_downloads(until)?;
        Ok(Answer::default().with("downloads", ended))
    }

    /// Waits until no download runs, and tells of each as it ends; fails if one failed, paused
    /// itself, or time ran out.
    pub(super) fn wait_for_downloads(&mut self, until: Option<Instant>) -> Result<Vec<Value>> {
        self.interrupts.clear();
        let events = self.client.subscribe();
        let mut bars = WaitBars::new(&self.output);
        let mut told = Vec::new();
        let mut failed = 0;
        loop {
            let looked = Instant::now();
            for status in self.client.take_ended() {
                failed += usize::from(matches!(status.phase, DownloadPhase::Failed(_)));
                // At a terminal it was announced, or will be.
                if self.output.format() == Format::Plain {
                    self.output.rows(&[render::download_row(&status)]);
                }
                told.push(render::download_value(&status));
            }
            if let Some(ended) = self.client.ended().filter(|ended| ended.unfinished > 0) {
                return Err(ClientError::SessionEnded(ended.reason));
            }
            let running = self.client.running_downloads();
            if running.is_empty() {
                return finish(told, failed, self.client.stuck());
            }
            bars.draw(&running.iter().collect::<Vec<_>>());
            let draw = bars.is_visible().then(|| Instant::now() + DRAW_INTERVAL);
            // Events wake us; a subscriber may lose some when there are very many, so a second is
            // the longest sleep.
            let soon = draw.unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
            match self
                .interrupts
                .wait(Some(&events), Some(until.map_or(soon, |until| until.min(soon))))
            {
                Woken::Interrupt => return Err(ClientError::Interrupted),
                Woken::Event => {
                    // Where thousands of downloads end within seconds, looking at all of them at
                    // each end would take a core.
                    let pause = looked.elapsed() * LOOK_SHARE;
                    if pause > PAUSE_MIN
                        && self.interrupts.wait(None, Some(Instant::now() + pause))
                            == Woken::Interrupt
                    {
                        return Err(ClientError::Interrupted);
                    }
                    events.try_iter().for_each(drop);
                }
                Woken::Time if until.is_some_and(|until| Instant::now() >= until) => {
                    return Err(ClientError::TimedOut);
                }
                Woken::Time => {}
            }
        }
    }

    /// `seed` and `sleep`: lets the client work. An interrupt is how `seed` is meant to end, and
    /// cuts a `sleep` short.
    fn rest(&mut self, seconds: Option<&str>, is_seed: bool) -> Result<Answer> {
        let until = seconds.map(parse_seconds).transpose()?.map(|time| Instant::now() + time);
        self.interrupts.clear();
        let events = is_seed.then(|| self.client.subscribe());
        loop {
            // A seeder whose session is over would sit there for nothing.
            if let Some(ended) = self.client.ended().filter(|_| is_seed) {
                return Err(ClientError::SessionEnded(ended.reason));
            }
            match self.interrupts.wait(events.as_ref(), until) {
                Woken::Event => {}
                Woken::Interrupt if !is_seed => return Err(ClientError::Interrupted),
                Woken::Interrupt | Woken::Time => return Ok(Answer::default()),
            }
        }
    }

    /// Adds passwords that were left out at a terminal; new ones are asked for twice, as nobody
    /// sees what is typed.
    pub(super) fn ask_passwords(&mut self, words: &mut Vec<String>) -> Result<()> {
        let Some(spec) = words.first().and_then(|name| CommandSpec::find(name)) else {
            return Ok(());
        };
        let missing: Vec<_> = spec.arguments.iter().skip(words.len() - 1).collect();
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

fn finish(told: Vec<Value>, failed: usize, stuck: Option<String>) -> Result<Vec<Value>> {
    match (failed, stuck) {
        (0, None) => Ok(told),
        (0, Some(stuck)) => {
            Err(ClientError::DownloadFailed(format!("{stuck}; resume_download goes on")))
        }
        (1, _) => Err(ClientError::DownloadFailed(
            "a download failed; resume_download tries again".into(),
        )),
        (count, _) => Err(ClientError::DownloadFailed(format!(
            "{count} downloads failed; resume_download tries again"
        ))),
    }
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

/// Reads a number of seconds, perhaps with a fraction.
fn parse_seconds(text: &str) -> Result<Duration> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=SECONDS_MAX).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err(ClientError::BadArgument(format!(
            "{text:?} is not a number of seconds; give one, as 2.5"
        ))),
    }
}

fn help(command: Option<&str>) -> Result<Answer> {
    let shown: Vec<&CommandSpec> = match command {
        None => COMMANDS.iter().collect(),
        Some(name) => {
            vec![CommandSpec::find(name).ok_or_else(|| unknown(name))?]
        }
    };
    let rows = shown.iter().map(|spec| vec![spec.usage(), spec.summary.to_owned()]).collect();
    let value = |spec: &&CommandSpec| serde_json::json!({ "command": spec.name, "usage": spec.usage(), "summary": spec.summary });
    Ok(Answer::rows(rows, "no commands")
        .with("commands", shown.iter().map(value).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_plain_numbers() {
        assert_eq!(parse_seconds("2.5").unwrap(), Duration::from_millis(2500));
        assert_eq!(parse_seconds("0").unwrap(), Duration::ZERO);
        for bad in ["-1", "x", "", "inf", "NaN", "1e30"] {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
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
    fn help_knows_every_command() {
        assert_eq!(help(None).unwrap().rows.len(), COMMANDS.len());
        assert_eq!(help(Some("login")).unwrap().rows[0][0], "login <user> <password>");
        assert!(help(Some("x")).is_err());
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
