//! One command each: from words to the client's command, from its reply to an answer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::bounded;

use super::answer::Answer;
use super::help::help;
use super::home::from_home;
use super::listing::Look;
use super::output::Format;
use super::progress::HashBar;
use super::render::FileColumns;
use super::session::{Shell, unknown};
use super::table::Flags;
use super::upload_words::{Word, by_words, path_and_group};
use super::{render, terminal};
use crate::client::api::{
    Account, ApiError, Command, ErrorCode, File, LinkText, Reply, Tracker, TrackerRole,
    TrackerState, Trackers,
};
use crate::types::{FileOrder, Password, Pattern, Rate, human_bytes};

type Result<T> = std::result::Result<T, ApiError>;

/// The most downloads that can be asked to run at a time: each has a thread.
const DOWNLOADS_MAX: usize = 1000;

/// Time for a file system to tell what is at a path.
const LOOK_TIMEOUT: Duration = Duration::from_millis(300);

/// Tells whether a path leads to a file. A path whose file system hangs counts as one: the client
/// says then what is wrong with it.
fn is_file(path: &Path) -> bool {
    let (path, (sender, looked)) = (path.to_owned(), bounded(1));
    let look = move || {
        let _ = sender.send(path.is_file());
    };
    // Not joined: a file system that hangs must not hold up the prompt.
    let started = std::thread::Builder::new().name("look".into()).spawn(look);
    started.is_ok() && looked.recv_timeout(LOOK_TIMEOUT).unwrap_or(true)
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
        match (command, words.as_slice()) {
            ("create_user" | "login" | "logout" | "change_password" | "whoami", _) => {
                self.account(command, &words, flags)
            }
            ("join", [link]) => self.join(link),
            ("invite", [group]) => self.invite(group, flags),
            ("invites", _) => self.invites(),
            ("revoke_invite", [invite]) => self.revoke_invite(invite),
            ("group_settings", [group]) => self.group_settings(group, flags),
            ("devices", _) => self.devices(),
            ("addresses", _) => self.addresses(),
            ("forget_device", [device]) => self.forget_device(device),
            ("page", _) => self.page(),
            ("tokens", _) => self.tokens(),
            ("create_token", [name]) => self.create_token(name, flags),
            ("revoke_token", [token]) => self.revoke_token(token),
            ("notifications", _) => self.notifications(flags.has("--all")),
            ("list_groups", words) => {
                let pattern: Option<Pattern> =
                    words.first().map(|word| word.parse()).transpose()?;
                let ask = |listing| Command::ListGroups { pattern: pattern.clone(), listing };
                self.list(command, ask, Reply::groups, None, &render::GROUPS)
            }
            ("list_my_groups", _) => {
                let ask = |listing| Command::ListMyGroups { listing };
                self.list(command, ask, Reply::groups, None, &render::MY_GROUPS)
            }
            ("list_requests", [group]) => {
                let ask = |listing| Command::ListRequests { group: group.to_string(), listing };
                self.list(command, ask, Reply::requests, None, &render::REQUESTS)
            }
            ("list_members", [group]) => {
                let ask = |listing| Command::ListMembers { group: group.to_string(), listing };
                self.list(command, ask, Reply::members, None, &render::MEMBERS)
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
            ("upload_file", [first, second]) => self.upload(first, second, flags),
            ("download_file", [group, file, rest @ ..]) => {
                let place = rest.first().copied().unwrap_or(".");
                self.download(group, file, (place, flags.has("--rename-safe")))
            }
            ("show_downloads", _) => {
                let ask = |listing| Command::ShowDownloads { unfinished: false, listing };
                Ok(render::downloads(&self.all(ask, Reply::downloads)?))
            }
            ("show_uploads", _) => {
                let uploads =
                    self.all(|listing| Command::ShowUploads { listing }, Reply::uploads)?;
                Ok(render::uploads(&uploads, self.output.format()))
            }
            ("show_peers", [group, file]) => self.show_peers(group, file, flags.has("--pieces")),
            ("why", [group, file]) => {
                let (group, file) = (group.to_string(), file.to_string());
                let lines = self.call(Command::Why { group, file })?.lines()?;
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
            ("shutdown", _) => self.shutdown(),
            _ => Err(unknown(command)),
        }
    }

    fn account(&mut self, command: &str, words: &[&str], flags: &Flags) -> Result<Answer> {
        let password = |text: &str| Ok::<_, ApiError>(Password::new(text.to_owned())?);
        Ok(match (command, words) {
            ("create_user", [user, secret, link @ ..]) => {
                let password = password(secret)?;
                self.check_new_password(password.expose())?;
                let invitation = link.first().map(|link| LinkText::new(link.to_string()));
                self.call(Command::CreateUser { user: user.to_string(), password, invitation })?;
                Answer::line(format!("created user {user}")).with("user", *user)
            }
            ("login", [user, secret]) => {
                let (password, stay) = (password(secret)?, flags.has("--stay"));
                let command = Command::Login { user: user.to_string(), password, stay };
                let account = self.call(command)?.account()?;
                let mut text = match account.user.as_str() {
                    label if label == *user => format!("logged in as {label}"),
                    label => format!("logged in as {label}: another {user} was there first"),
                };
                if account.must_change_password {
                    text.push_str(
                        "; the operator has set this password: choose your own with change_password, before anything else",
                    );
                }
                if stay {
                    text.push_str(
                        "; this device stays logged in, until forget_device or another password",
                    );
                }
                Answer::line(text).with_all(&account)
            }
            ("logout", _) => {
                let stays = self.call(Command::Whoami)?.account()?;
                self.call(Command::Logout)?;
                Answer::line(match stays {
                    Account { user, stays: true, .. } => format!(
                        "logged out; this device logs in as {user} at its next start, unless you forget_device it"
                    ),
                    _ => "logged out".to_owned(),
                })
            }
            ("change_password", [old, new]) => {
                let (old, new) = (password(old)?, password(new)?);
                self.check_new_password(new.expose())?;
                let stayed = self.call(Command::Whoami)?.account()?.stays;
                self.call(Command::ChangePassword { old, new })?;
                Answer::line(if stayed {
                    "password changed; no device stays logged in any more, login --stay says so anew"
                } else {
                    "password changed"
                })
            }
            _ => {
                let Account { user, user_id, .. } = self.call(Command::Whoami)?.account()?;
                Answer::line(user.as_str())
                    .with("user", user.as_str())
                    .with("user_id", user_id.to_string())
            }
        })
    }

    fn group(&mut self, command: &str, group: &str) -> Result<Answer> {
        let name = group.to_owned();
        let (command, text) = match command {
            "create_group" => {
                (Command::CreateGroup { group: name }, format!("created group {group}"))
            }
            "join_group" => (Command::JoinGroup { group: name }, format!("asked to join {group}")),
            _ => (Command::LeaveGroup { group: name }, format!("left {group}")),
        };
        self.call(command)?;
        Ok(Answer::line(text).with("group", group))
    }

    fn list_files(&mut self, group: &str, pattern: Option<&str>, flags: &Flags) -> Result<Answer> {
        let order = match flags.value("--sort") {
            None | Some("name") => FileOrder::Name,
            Some("size") => FileOrder::Size,
            Some("date") => FileOrder::Date,
            Some(other) => {
                return Err(ApiError::bad_argument(format!(
                    "files are not sorted by {other:?}; name, size or date"
                )));
            }
        };
        let pattern: Option<Pattern> = pattern.map(str::parse).transpose()?;
        let limit = parse_limit(flags)?;
        let columns = self.file_columns(flags, order == FileOrder::Date);
        let row = |file: &File| render::file_row(file, columns);
        let look = Look { field: "files", none: "no files", row: &row, value: &render::to_value };
        let ask = |listing| {
            let (group, pattern) = (group.to_owned(), pattern.clone());
            Command::ListFiles { group, pattern, order, listing }
        };
        self.list("list_files", ask, Reply::files, limit, &look)
    }

    fn find(&mut self, pattern: &str, flags: &Flags) -> Result<Answer> {
        let pattern: Pattern = pattern.parse()?;
        let (limit, columns) = (parse_limit(flags)?, self.file_columns(flags, false));
        let row = |found: &File| {
            let mut row = vec![found.group.as_ref().map(ToString::to_string).unwrap_or_default()];
            row.extend(render::file_row(found, columns));
            row
        };
        let look = Look { field: "files", none: "no files", row: &row, value: &render::to_value };
        let ask = |listing| Command::Find { pattern: pattern.clone(), listing };
        self.list("find", ask, Reply::files, limit, &look)
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
            Some(_) => Err(ApiError::bad_argument(format!(
                "{what}; a script is not asked and has to add --yes"
            ))),
        }
    }

    fn rename_group(&mut self, group: &str, name: &str) -> Result<Answer> {
        if !self.confirm(&format!("this renames {group} to {name} for all its members"), None)? {
            return Ok(unchanged());
        }
        self.call(Command::RenameGroup { group: group.to_owned(), name: name.to_owned() })?;
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
        self.call(Command::DeleteGroup { group: group.to_owned() })?;
        Ok(Answer::line(format!("deleted {group}")).with("group", group))
    }

    fn remove_file(&mut self, group: &str, file: &str, flags: &Flags) -> Result<Answer> {
        if !self
            .confirm(&format!("this removes {file} from {group}, whoever offers it"), Some(flags))?
        {
            return Ok(unchanged());
        }
        self.call(Command::RemoveFile { group: group.to_owned(), file: file.to_owned() })?;
        Ok(Answer::line(format!("removed {file} from {group}"))
            .with("group", group)
            .with("file", file))
    }

    fn delete_account(&mut self, flags: &Flags) -> Result<Answer> {
        let user = self.call(Command::Whoami)?.account()?.user;
        let what = format!(
            "this deletes the account {user}, all its memberships and everything that it offers"
        );
        if !self.confirm(&what, Some(flags))? {
            return Ok(unchanged());
        }
        self.call(Command::DeleteAccount)?;
        Ok(Answer::line(format!("deleted the account {user}")).with("user", user.as_str()))
    }

    fn member(&mut self, command: &str, group: &str, user: &str) -> Result<Answer> {
        let (of, who) = (group.to_owned(), user.to_owned());
        let (command, text) = match command {
            "accept_request" => (
                Command::AcceptRequest { group: of, user: who },
                format!("accepted {user} into {group}"),
            ),
            "reject_request" => (
                Command::RejectRequest { group: of, user: who },
                format!("rejected {user} for {group}"),
            ),
            "remove_member" => return self.remove_member(of, who),
            _ => (
                Command::TransferGroup { group: of, user: who },
                format!("{group} now belongs to {user}"),
            ),
        };
        self.call(command)?;
        Ok(Answer::line(text).with("group", group).with("user", user))
    }

    fn file(&mut self, command: &str, group: &str, file: &str) -> Result<Answer> {
        let (of, what) = (group.to_owned(), file.to_owned());
        let (command, text) = match command {
            "pause_download" => (
                Command::PauseDownload { group: of, file: what },
                format!("paused {file} in {group}"),
            ),
            "resume_download" => (
                Command::ResumeDownload { group: of, file: what },
                format!("resumed {file} in {group}"),
            ),
            "cancel_download" => (
                Command::CancelDownload { group: of, file: what },
                format!("cancelled {file} in {group}"),
            ),
            "prioritize" => (
                Command::Prioritize { group: of, file: what },
                format!("{file} in {group} goes first"),
            ),
            _ => (
                Command::StopShare { group: of, file: what },
                format!("stopped sharing {file} in {group}"),
            ),
        };
        self.call(command)?;
        Ok(Answer::line(text).with("group", group).with("file", file))
    }

    fn upload(&mut self, first: &str, second: &str, flags: &Flags) -> Result<Answer> {
        let (path, group) = self.path_and_group(first, second)?;
        let mut bar = HashBar::new(&self.output, "hashing");
        self.interrupts.clear();
        let (path, group) = (self.absolute(path)?, group.to_owned());
        let (interrupts, stop) = (&mut self.interrupts, self.calls.stop());
        let trust_stamp = flags.has("--trust-stamp");
        let command = Command::UploadFile { path, group, trust_stamp, is_resolved: false };
        let reply = self.api.call(command, &stop, &mut |at| {
            bar.draw(at.done, at.size);
            !interrupts.is_interrupted()
        })?;
        Ok(render::shared(&reply.shared()?, self.output.format()))
    }

    /// Which of two words is the path, and which the group.
    fn path_and_group<'a>(&self, first: &'a str, second: &'a str) -> Result<(&'a str, &'a str)> {
        if let Some(told) = by_words(first, second) {
            return Ok(told);
        }
        let is_file = [first, second].map(|word| is_file(&from_home(word)));
        if is_file == [true, false] {
            // The usual case; no tracker need be asked.
            return Ok((first, second));
        }
        let word = |text: &'a str, is_file| {
            let command = Command::IsMember { group: String::from(text) };
            Ok::<_, ApiError>(Word { text, is_file, is_group: self.call(command)?.is()? })
        };
        path_and_group(word(first, is_file[0])?, word(second, is_file[1])?)
    }

    fn download(
        &mut self,
        group: &str,
        file: &str,
        (destination, rename_safe): (&str, bool),
    ) -> Result<Answer> {
        let mut bar = HashBar::new(&self.output, "comparing");
        self.interrupts.clear();
        let destination = self.absolute(destination)?;
        let command = Command::DownloadFile {
            group: group.to_owned(),
            file: file.to_owned(),
            destination,
            rename_safe,
            soon: true,
        };
        let stop = self.calls.stop();
        let (interrupts, held, api, output) =
            (&mut self.interrupts, &mut self.held, &*self.api, &self.output);
        let mut is_comparing = false;
        let reply = api.call(command, &stop, &mut |at| {
            if !std::mem::replace(&mut is_comparing, true) {
                // Comparing may take long: release the answers of earlier downloads first.
                held.release(api, output);
            }
            bar.draw(at.done, at.size);
            !interrupts.is_interrupted()
        })?;
        self.held.push(reply.download()?.info_hash);
        Ok(Answer::default())
    }

    /// The path of a word, made absolute for an attached client, whose working directory differs.
    fn absolute(&self, word: &str) -> Result<PathBuf> {
        let path = from_home(word);
        if !self.is_attached {
            return Ok(path.into_owned());
        }
        let mut absolute =
            std::path::absolute(&path).map_err(|error| ApiError::path(&path, error))?;
        if word.ends_with("/.") {
            // Keeps the mark of a directory.
            absolute.push("");
        }
        Ok(absolute)
    }

    fn limits(&self, words: &[&str]) -> Result<Answer> {
        let command = match words {
            [] => Command::Limits,
            ["upload", rate] => Command::LimitUploads { limit: Rate::parse_limit(rate)? },
            ["download", rate] => Command::LimitDownloads { limit: Rate::parse_limit(rate)? },
            ["downloads", count] => Command::LimitRunning { count: parse_count(count)? },
            _ => {
                let text = "limits shows all, `limits upload 5M`, `limits download off` or `limits downloads 3` sets one";
                return Err(ApiError::bad_argument(text));
            }
        };
        Ok(render::limits(&self.call(command)?.limits()?))
    }

    /// A script is to notice when the network is not as it should be.
    fn trackers(&self) -> Result<Answer> {
        let status = self.call(Command::Trackers)?.trackers()?;
        let failed = if self.is_at_prompt() { None } else { what_is_down(&status) };
        Ok(render::trackers(&status, self.output.format()).but_failed(failed))
    }

    fn limit_download(&self, group: &str, file: &str, rate: &str) -> Result<Answer> {
        let limit = Rate::parse_limit(rate)?;
        self.call(Command::LimitDownload {
            group: group.to_owned(),
            file: file.to_owned(),
            limit,
        })?;
        let text = match limit {
            Some(rate) => format!("{file} in {group} is limited to {}/s", human_bytes(rate.get())),
            None => format!("{file} in {group} has no limit of its own"),
        };
        Ok(Answer::line(text)
            .with("group", group)
            .with("file", file)
            .with("limit", limit.map(Rate::get)))
    }

    /// Ends the client, also an attached one.
    fn shutdown(&self) -> Result<Answer> {
        if !self.is_attached {
            return Ok(Answer { end: true, ..Answer::default() });
        }
        self.announcer.expect_end();
        self.call(Command::Shutdown)?;
        Ok(Answer { end: true, ..Answer::line("the client ends") })
    }
}

/// What a script is told of trackers that are not as they should be. One that this client has not
/// dialled yet is judged by what the others say.
fn what_is_down(status: &Trackers) -> Option<ApiError> {
    let wrong = |tracker: &Tracker| match (tracker.state, &tracker.error) {
        (TrackerState::Down, _) => Some("down"),
        (TrackerState::CatchingUp, _) => Some("catching up"),
        (TrackerState::MustResync, _) => Some("away for too long and must start anew"),
        (TrackerState::Up, Some(_)) if tracker.role == TrackerRole::Down => {
            Some("not reached from here")
        }
        (TrackerState::Up, _) => None,
    };
    let one = |tracker: &Tracker| {
        wrong(tracker)
            .map(|how| format!("tracker {} ({}) is {how}", tracker.number, tracker.address))
    };
    let mut what: Vec<String> = status.trackers.iter().filter_map(one).collect();
    if what.is_empty() && status.degraded {
        what.push("a tracker has not caught up yet".into());
    }
    let text = format!("{}; tell the operator if that stays so", what.join(", "));
    (!what.is_empty()).then_some(ApiError::new(ErrorCode::Degraded, text))
}

/// The answer to a user who would not go on.
fn unchanged() -> Answer {
    Answer::line("nothing was changed")
}

/// Reads how many entries are to be shown at most.
fn parse_limit(flags: &Flags) -> Result<Option<usize>> {
    let wrong = |text: &str| {
        ApiError::bad_argument(format!(
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
        _ => Err(ApiError::bad_argument(format!(
            "{text:?} is not a number of downloads; give one up to {DOWNLOADS_MAX}, or off"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_told_of_each_tracker_that_is_not_as_it_should_be() {
        let tracker = |state, role, error: Option<&str>| Tracker {
            number: 2,
            address: "h:1".into(),
            state,
            role,
            lag: 0,
            error: error.map(Into::into),
        };
        let told = |degraded, tracker| {
            let status =
                Trackers { trackers: vec![tracker], degraded, network: None, safe_on: Vec::new() };
            what_is_down(&status).map(|error| error.to_string())
        };
        use TrackerRole::Standby;
        use TrackerState::{CatchingUp, Down, MustResync, Up};
        let unreachable = TrackerRole::Down;
        assert_eq!(told(false, tracker(Up, Standby, None)), None);
        assert_eq!(told(false, tracker(Up, unreachable, None)), None, "it may be dialled now");
        assert!(told(false, tracker(Up, unreachable, Some("refused"))).is_some());
        for state in [Down, CatchingUp, MustResync] {
            assert!(told(false, tracker(state, Standby, None)).is_some(), "{state:?}");
        }
        assert_eq!(
            told(true, tracker(Down, unreachable, Some("refused"))).unwrap(),
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
}
