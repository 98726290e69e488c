//! One user at one client process: commands go to its stdin, answers come as JSON from its stdout.
//!
//! **Invariant:** one command is under way at a time, so the next object with a `command` is its
//! answer.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::history::{Command, Outcome, Request};
use crate::lab::Lab;
use crate::support::{Binaries, Process, Result};

/// Every account's password.
pub(crate) const PASSWORD: &str = "correct horse battery";
/// Time for a client to start.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Codes of answers that leave open whether the change was made.
const UNANSWERED: [&str; 4] = ["no_answer", "no_tracker", "interrupted", "failed"];

/// A client.
#[derive(Debug)]
pub(crate) struct User {
    process: Process,
    files: String,
}

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Answer {
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// The whole answer.
    pub(crate) object: Value,
    /// When it was asked.
    pub(crate) asked: Instant,
    /// When the answer came, or was no longer waited for.
    pub(crate) ended: Instant,
    /// The client has ended, or still owes an answer: nothing more can be asked of it.
    pub(crate) is_lost: bool,
}

impl Answer {
    /// The request that this answers, with times from `start` on.
    pub(crate) fn request(
        &self,
        client: usize,
        actor: &str,
        command: Command,
        start: Instant,
    ) -> Request {
        let (asked, ended) = (
            self.asked.saturating_duration_since(start),
            self.ended.saturating_duration_since(start),
        );
        Request {
            client,
            actor: actor.to_owned(),
            command,
            asked,
            ended,
            outcome: self.outcome.clone(),
        }
    }

    /// Whether the session is gone.
    pub(crate) fn is_logged_out(&self) -> bool {
        let is_session = self.object["code"] == "session_refused";
        is_session || self.object["error"].as_str().is_some_and(|error| error.contains("log in"))
    }
}

impl User {
    /// Starts a client on the clients' machine.
    pub(crate) fn start(
        lab: &Lab,
        binaries: &Binaries,
        dir: &Path,
        name: &str,
        address: &str,
        info: &str,
    ) -> Result<Self> {
        let (program, listen) = (binaries.client.display().to_string(), format!("{address}:0"));
        let data = format!("client-{name}");
        let words = [
            &program,
            &listen,
            info,
            "--data-dir",
            &data,
            "--json",
            "--on-error",
            "continue",
            "--log",
            "warn",
        ];
        let process = lab.start(&data, None, &words, dir)?;
        let files = dir
            .join("files")
            .to_str()
            .ok_or("the temporary directory's path is not UTF-8")?
            .to_owned();
        Ok(Self { process, files })
    }

    /// Waits until the client takes commands.
    pub(crate) fn wait_started(&mut self) -> Result<()> {
        self.process.line(Instant::now() + START_TIMEOUT).map(drop)
    }

    /// Asks, and waits for the answer until `give_up` says that it is enough.
    pub(crate) fn ask(
        &mut self,
        command: &Command,
        mut give_up: impl FnMut(Duration) -> bool,
    ) -> Answer {
        let asked = Instant::now();
        let lost = |why: String| Answer {
            outcome: Outcome::Unanswered(why),
            object: Value::Null,
            asked,
            ended: Instant::now(),
            is_lost: true,
        };
        if let Err(e) = self.process.send(&shell_words::join(command.words(&self.files, PASSWORD)))
        {
            return lost(e.to_string());
        }
        loop {
            let (ended, line) = match self.process.line(Instant::now() + Duration::from_millis(100))
            {
                Ok(line) => line,
                Err(_) if self.process.is_running() && !give_up(asked.elapsed()) => continue,
                Err(e) => return lost(e.to_string()),
            };
            let Ok(object) = serde_json::from_str::<Value>(&line) else {
                return lost(format!("a line is not JSON: {line}"));
            };
            if object.get("command").is_some() {
                return Answer { outcome: outcome(&object), object, asked, ended, is_lost: false };
            }
        }
    }

    /// Asks for something that must succeed.
    pub(crate) fn must(&mut self, words: &[&str]) -> Result<Value> {
        let answer = self.ask(&Command::other(words), |waited| waited >= START_TIMEOUT);
        match answer.outcome {
            Outcome::Acknowledged => Ok(answer.object),
            other => Err(format!("{}: {other:?}", words.join(" ")).into()),
        }
    }
}

fn outcome(object: &Value) -> Outcome {
    let code = object["code"].as_str().unwrap_or("failed");
    let why = || format!("{code}: {}", object["error"].as_str().unwrap_or_default());
    match object["ok"] == true {
        true => Outcome::Acknowledged,
        false if UNANSWERED.contains(&code) => Outcome::Unanswered(why()),
        false => Outcome::Refused(why()),
    }
}
