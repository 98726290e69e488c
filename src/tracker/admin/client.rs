//! `tracker admin`: the operator's end of the control socket.
//!
//! **Invariant:** standard output has the answer alone, standard error what went wrong; the exit
//! status is 0 if the command was carried out, 1 if it was refused or failed, 2 for wrong usage,
//! and 3 if no tracker runs there.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use serde_json::{Value, json};

use super::command::{Command, parse};
use super::exchange::exchange;
use super::restore::restore;
use super::{AdminError, SOCKET, VERSION, escape_lines, help};
use crate::store::StorePlace;
use crate::tracker::data_dir;
use crate::types::{escape, escape_json};

/// Exit status when no tracker runs there.
const EXIT_NO_TRACKER: u8 = 3;

/// Asks a running tracker of this machine, or puts a backup back.
#[derive(Debug, Parser)]
#[command(name = "tracker admin", version, after_help = format!("Commands:\n{}", help()))]
pub struct AdminOptions {
    /// The tracker's data directory [default: that of the one tracker that runs on this machine]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Answers with a JSON object a line; the last one says whether the command was carried out
    #[arg(long)]
    json: bool,
    /// The command and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    words: Vec<String>,
}

/// What ended the command early.
enum End {
    Error(AdminError),
    /// The tracker's own words, and its status.
    Told(u8, String),
    NoTracker(String),
}

impl From<AdminError> for End {
    fn from(error: AdminError) -> Self {
        Self::Error(error)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Error(AdminError::Failed(format!("the tracker's answer was cut off: {error}")))
    }
}

impl AdminOptions {
    /// Takes the program's arguments if they are those of `tracker admin`; ends the process if they
    /// are and are wrong.
    pub fn from_arguments(arguments: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let mut arguments = arguments.into_iter().skip(1);
        if arguments.next()? != "admin" {
            return None;
        }
        Some(Self::parse_from(std::iter::once("tracker admin".into()).chain(arguments)))
    }

    /// Carries the command out, and says how it went.
    ///
    /// # Blocking
    /// Until the tracker has answered.
    pub fn run(mut self) -> ExitCode {
        let (status, error) = match self.carry_out() {
            Ok(()) => (0, None),
            Err(End::Error(error)) => (error.exit_status(), Some(error.to_string())),
            Err(End::Told(status, error)) => (status, Some(error)),
            Err(End::NoTracker(error)) => (EXIT_NO_TRACKER, Some(error)),
        };
        if let Some(error) = &error {
            // Nobody may be there to read it.
            let _ = writeln!(io::stderr(), "error: {}", escape_lines(error));
        }
        if self.json {
            let end = match error {
                None => json!({ "ok": true }),
                Some(error) => json!({ "ok": false, "error": error }),
            };
            let _ = writeln!(io::stdout(), "{}", escape_json(&end.to_string()));
        }
        ExitCode::from(status)
    }

    fn carry_out(&mut self) -> Result<(), End> {
        let parsed = parse(&self.words)?;
        match &parsed.command {
            Command::Restore(file) => {
                let Some(directory) = &self.data_dir else {
                    let why = "say with --data-dir where the tracker's data is to be";
                    return Err(AdminError::Usage(why.to_owned()).into());
                };
                restore(file, directory)?;
                let (file, directory) =
                    (file.display().to_string(), directory.display().to_string());
                let text = format!(
                    "{file} is in {directory}; start the tracker with --data-dir {directory}"
                );
                let json = json!({ "file": file, "data_dir": directory });
                self.print(&super::Line::new(text, json).shown(self.json));
                return Ok(());
            }
            Command::Exchange(way, store) => {
                let Some(directory) = &self.data_dir else {
                    let why = "say with --data-dir which tracker's data directory it is";
                    return Err(AdminError::Usage(why.to_owned()).into());
                };
                let place = StorePlace::from_argument(store).map_err(AdminError::Usage)?;
                let (text, count) = exchange(*way, directory, &place)?;
                let json = json!({ "rows": count, "data_dir": directory.display().to_string() });
                self.print(&super::Line::new(text, json).shown(self.json));
                return Ok(());
            }
            Command::Backup(file) => {
                // The tracker has another working directory.
                let absolute = std::path::absolute(file)
                    .map_err(|e| AdminError::Failed(format!("{}: {e}", file.display())))?;
                let text = absolute
                    .to_str()
                    .ok_or_else(|| AdminError::Usage("the file's name is not UTF-8".to_owned()))?;
                self.words[1] = text.to_owned();
            }
            _ if parsed.command.is_final() && !parsed.is_confirmed => {
                if !io::stdin().is_terminal() || !confirm(&self.words)? {
                    return Err(AdminError::Unconfirmed.into());
                }
                self.words.push("--yes".to_owned());
            }
            _ => {}
        }
        self.ask(&self.find_tracker()?)
    }

    /// Finds the data directory of a tracker that runs.
    fn find_tracker(&self) -> Result<UnixStream, End> {
        if let Some(directory) = &self.data_dir {
            let words = |e| {
                format!(
                    "no tracker runs in {}, or it has no control socket: {e}",
                    directory.display()
                )
            };
            return UnixStream::connect(directory.join(SOCKET))
                .map_err(|e| End::NoTracker(words(e)));
        }
        let mut running: Vec<(PathBuf, UnixStream)> = default_directories()
            .into_iter()
            .filter_map(|directory| {
                UnixStream::connect(directory.join(SOCKET)).ok().map(|stream| (directory, stream))
            })
            .collect();
        match (running.pop(), running.is_empty()) {
            (Some((_, stream)), true) => Ok(stream),
            (Some((last, _)), false) => {
                let all = running.iter().map(|(directory, _)| directory).chain([&last]);
                let all: Vec<String> =
                    all.map(|directory| directory.display().to_string()).collect();
                let why = format!(
                    "several trackers run here; say with --data-dir which one: {}",
                    all.join(", ")
                );
                Err(AdminError::Usage(why).into())
            }
            (None, _) => Err(End::NoTracker(
                "no tracker runs here; name its data directory with --data-dir".to_owned(),
            )),
        }
    }

    fn ask(&self, mut stream: &UnixStream) -> Result<(), End> {
        let (command, arguments) = (&self.words[0], &self.words[1..]);
        let request = json!({ "version": VERSION, "command": command, "arguments": arguments, "json": self.json });
        stream.write_all(format!("{request}\n").as_bytes())?;
        for line in BufReader::new(stream).lines() {
            let answer: Value = serde_json::from_str(&line?).map_err(io::Error::from)?;
            if let Some(line) = answer["line"].as_str() {
                self.print(line);
                continue;
            }
            let status =
                answer["status"].as_u64().and_then(|status| u8::try_from(status).ok()).unwrap_or(1);
            let error = answer["error"].as_str().unwrap_or_default();
            return if status == 0 { Ok(()) } else { Err(End::Told(status, error.to_owned())) };
        }
        Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
    }

    /// Prints a line of the answer; whether anybody reads it is not the tracker's concern.
    fn print(&self, line: &str) {
        let _ = writeln!(io::stdout(), "{line}");
    }
}

/// Asks at the terminal whether what cannot be undone is meant.
fn confirm(words: &[String]) -> Result<bool, End> {
    eprint!("{} cannot be undone; go on? [y/N] ", escape(&words.join(" ")));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

/// Data directories of trackers of this machine, in their default places.
fn default_directories() -> Vec<PathBuf> {
    let dirs = directories::ProjectDirs::from("", "", "posse");
    dirs.map_or_else(Vec::new, |dirs| data_dir::all_below(Path::new(dirs.data_dir())))
}
