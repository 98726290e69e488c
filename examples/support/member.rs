//! One user at one client process: commands typed into its stdin, results and events read as JSON
//! from its stdout.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::network::PATIENCE;
use super::{Network, Process, Result, Usage};

/// Time for a command that hashes or moves a whole file.
const PATIENCE_WITH_FILES: Duration = Duration::from_secs(300);

/// A user and their client.
#[derive(Debug)]
pub(crate) struct Member {
    user: String,
    device: String,
    dir: PathBuf,
    process: Process,
    /// Events that came while an answer was waited for, oldest first, with their time of arrival.
    events: Vec<(Instant, Value)>,
}

/// Where a download stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// `running`, `complete`, `paused` or `failed`.
    pub(crate) state: String,
    /// Verified bytes.
    pub(crate) done: u64,
}

impl Member {
    /// Starts a client for a new account `user`, and logs in.
    pub(crate) fn start(network: &Network, user: &str) -> Result<Self> {
        let dir = network.dir().join(format!("files-{user}"));
        std::fs::create_dir_all(&dir)?;
        let data_dir = format!("client-{user}");
        let args =
            ["127.0.0.1:0", network.info(), "--data-dir", &data_dir, "--json", "--log", "info"];
        let process = Process::start(&data_dir, &network.binaries().client, &args, network.dir())?;
        Self::begin(process, user, dir)
    }

    /// Takes over a client that was just started with `--json`: makes the account `user`, and logs
    /// in. Downloads go to `dir`.
    pub(crate) fn begin(process: Process, user: &str, dir: PathBuf) -> Result<Self> {
        let mut member =
            Self { user: user.to_owned(), device: String::new(), dir, process, events: Vec::new() };
        let (_, listening) = member.wait_event("listening")?;
        member.device = listening["device"]
            .as_str()
            .ok_or("the client does not say which device it is")?
            .to_owned();
        member.ask(&["create_user", user, "correct horse"])?;
        member.ask(&["login", user, "correct horse"])?;
        Ok(member)
    }

    /// The account's name.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// The client's own identity, as the others know it.
    pub(crate) fn device(&self) -> &str {
        &self.device
    }

    /// Where this member's downloads go.
    pub(crate) fn path_of(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// What the client process has used so far.
    pub(crate) fn usage(&self) -> Usage {
        self.process.usage()
    }

    /// Types one command and waits for its result, which must be a success.
    pub(crate) fn ask(&mut self, words: &[&str]) -> Result<Value> {
        let object = self.result(words)?;
        match object["ok"] == true {
            true => Ok(object),
            false => Err(format!(
                "{}: {}: {}",
                self.user,
                words.join(" "),
                object["error"].as_str().unwrap_or("failed")
            )
            .into()),
        }
    }

    /// Carries out a command, and returns its result, whether or not it succeeded.
    fn result(&mut self, words: &[&str]) -> Result<Value> {
        self.process.send(&shell_words::join(words))?;
        let deadline =
            Instant::now() + if words[0] == "upload_file" { PATIENCE_WITH_FILES } else { PATIENCE };
        loop {
            let (at, object) = self.object(deadline)?;
            if object["command"] == words[0] {
                return Ok(object);
            }
            self.events.push((at, object));
        }
    }

    /// Waits for an event of that kind, and returns it with its time of arrival.
    fn wait_event(&mut self, kind: &str) -> Result<(Instant, Value)> {
        let deadline = Instant::now() + PATIENCE_WITH_FILES;
        loop {
            if let Some(at) = self.events.iter().position(|(_, event)| event["event"] == kind) {
                return Ok(self.events.remove(at));
            }
            let event = self.object(deadline)?;
            if event.1["event"] == "download_failed" {
                return Err(format!("{}: {}", self.user, event.1).into());
            }
            self.events.push(event);
        }
    }

    fn object(&mut self, deadline: Instant) -> Result<(Instant, Value)> {
        let (at, line) = self.process.line(deadline).map_err(|e| format!("{}: {e}", self.user))?;
        let value = serde_json::from_str(&line)
            .map_err(|e| format!("{} wrote a line that is not JSON: {line}: {e}", self.user))?;
        Ok((at, value))
    }

    /// Enters a group that `owner` owns: asks, and is let in.
    pub(crate) fn enter(&mut self, owner: &mut Self, group: &str) -> Result<()> {
        self.ask(&["join_group", group])?;
        owner.ask(&["accept_request", group, &self.user])?;
        Ok(())
    }

    /// Shares a file with a group; returns how long it took.
    pub(crate) fn upload(&mut self, path: &Path, group: &str) -> Result<Duration> {
        let path = path.to_str().ok_or("the file's path is not UTF-8")?;
        let start = Instant::now();
        self.ask(&["upload_file", path, group])?;
        Ok(start.elapsed())
    }

    /// Begins to download a file into this member's own directory.
    pub(crate) fn download(&mut self, group: &str, file: &str) -> Result<Instant> {
        let destination =
            self.dir.to_str().ok_or("the temporary directory's path is not UTF-8")?.to_owned();
        let start = Instant::now();
        self.ask(&["download_file", group, file, &destination])?;
        Ok(start)
    }

    /// The same without waiting for the answer: many begin at the same moment.
    pub(crate) fn type_download(&mut self, group: &str, file: &str) -> Result<Instant> {
        let destination =
            self.dir.to_str().ok_or("the temporary directory's path is not UTF-8")?.to_owned();
        self.process.send(&shell_words::join(["download_file", group, file, &destination]))?;
        Ok(Instant::now())
    }

    /// Kills the client as `kill -9` does.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Waits until a download is complete, and says when it was.
    pub(crate) fn wait_complete(&mut self) -> Result<Instant> {
        self.wait_event("download_complete").map(|(at, _)| at)
    }

    /// Asks how far the only download is.
    pub(crate) fn progress(&mut self) -> Result<Progress> {
        let answer = self.ask(&["show_downloads"])?;
        let download = &answer["downloads"][0];
        let state = download["state"].as_str().unwrap_or_default().to_owned();
        if state == "failed" {
            return Err(format!("{}'s download failed: {download}", self.user).into());
        }
        Ok(Progress { state, done: download["bytes_done"].as_u64().unwrap_or(0) })
    }

    /// Asks how many bytes went to each device.
    pub(crate) fn sent(&mut self) -> Result<Vec<(String, u64)>> {
        let answer = self.ask(&["show_uploads"])?;
        let uploads = answer["uploads"].as_array().into_iter().flatten();
        let peers = uploads.flat_map(|upload| upload["to"].as_array().into_iter().flatten());
        Ok(peers
            .filter_map(|peer| {
                Some((peer["device"].as_str()?.to_owned(), peer["bytes_sent"].as_u64()?))
            })
            .collect())
    }

    /// Asks which tracker answers this client's commands.
    pub(crate) fn primary(&mut self) -> Result<usize> {
        // It fails where a tracker is behind, and tells of them all the same.
        let answer = self.result(&["trackers"])?;
        let mut trackers = answer["trackers"].as_array().into_iter().flatten();
        let primary =
            trackers.find(|tracker| tracker["role"] == "primary").ok_or("no tracker is primary")?;
        Ok(primary["number"].as_u64().ok_or("a tracker without a number")? as usize)
    }

    /// Types a command without waiting for its result.
    pub(crate) fn type_words(&mut self, words: &[&str]) -> Result<()> {
        self.process.send(&shell_words::join(words))
    }

    /// Waits for the next result or event, whichever it is, that came after those taken before.
    pub(crate) fn next(&mut self) -> Result<(Instant, Value)> {
        match self.events.is_empty() {
            true => self.object(Instant::now() + PATIENCE_WITH_FILES),
            false => Ok(self.events.remove(0)),
        }
    }

    /// Leaves in order: the client must end by itself, with success.
    pub(crate) fn leave(mut self) -> Result<()> {
        self.process.send("exit")?;
        let status = self.process.wait(Instant::now() + PATIENCE)?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("{}'s client ended with {status}", self.user).into())
        }
    }
}
