//! Commands from a prompt, a script or a pipe, carried out through the client's interface: words,
//! output and exit status.
//!
//! It sees [`crate::client::api`] and nothing else of the client, which may be in another process.
//!
//! **Invariant:** every command comes from the one table, [`COMMANDS`]: its words, usage, help and
//! completion cannot differ. What came from the network is escaped before it is shown.
//!
//! Threads: commands run on the main thread; "announcer" prints what happens by itself; "signals"
//! turns signals into values; "input" reads a piped stdin, so that a signal is noticed while it is
//! silent; "bars" has progress drawn at the prompt; "look" asks a file system that may hang.

mod addresses;
mod announce;
mod answer;
mod bars;
mod columns;
mod complete;
mod devices;
mod escape;
mod execute;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod held;
mod help;
mod history;
mod home;
mod input;
mod interrupt;
mod invitations;
mod joining;
mod listing;
mod notifications;
mod output;
mod pager;
mod paging;
mod passwords;
mod peers;
mod progress;
mod render;
#[cfg(test)]
mod samples;
mod seconds;
mod session;
mod table;
mod terminal;
mod tokens;
mod topics;
mod typed;
mod upload_words;
mod waiting;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::session::Shell;
use super::api::{Api, ApiError, Snapshot};

pub(crate) use announce::Announcer;
pub use escape::escape;
pub(crate) use input::Input;
pub(crate) use interrupt::{Interrupts, Woken};
pub(crate) use joining::{Answers, Invitation, ask_link, read_stdin};
pub(crate) use output::{Format, Output};
pub(crate) use seconds::parse_seconds;
pub(crate) use session::{EndClient, KeepSetup, OnError, Settings};
pub use table::{Argument, ArgumentKind, COMMANDS, CommandSpec, Flag};

/// Time that the prompt waits for the first tracker.
const FIRST_TRACKER_TIMEOUT: Duration = Duration::from_secs(3);

/// Exit status: a command or a download failed.
pub const EXIT_FAILED: u8 = 1;
/// Exit status: the program was started in a wrong way, or cannot start.
pub const EXIT_USAGE: u8 = 2;
/// Exit status: no tracker could be reached.
pub const EXIT_NO_TRACKER: u8 = 3;

/// The parts of a shell.
pub(crate) struct Parts {
    /// The client.
    pub(crate) api: Arc<dyn Api>,
    /// The output.
    pub(crate) output: Output,
    /// Signals.
    pub(crate) interrupts: Interrupts,
    /// The source of commands.
    pub(crate) input: Input,
    /// Passwords that a script leaves out can be asked for.
    pub(crate) can_ask: bool,
    /// How long a script waits for its first tracker.
    pub(crate) patience: Duration,
    /// The history file.
    pub(crate) history: PathBuf,
    /// An invitation to be used first.
    pub(crate) invitation: Option<Invitation>,
}

/// Serves the prompt or carries out the script, and ends the client; returns the exit status.
///
/// # Errors
/// Those of [`Api::subscribe`] and [`Api::snapshot`].
///
/// # Blocking
/// Until the user, the end of the input or a signal ends it.
pub(crate) fn run(parts: Parts, settings: Settings) -> Result<u8, ApiError> {
    let Parts { api, output, interrupts, mut input, can_ask, patience, history, invitation } =
        parts;
    let snapshot = api.snapshot()?;
    begin(&snapshot, &output);
    let mut shell = Shell::new(api, output, interrupts, settings, snapshot.last_end)?;
    let is_terminal = matches!(input, Input::Terminal);
    // Whether a person can be asked matters to the joining, which comes before the first line.
    (shell.is_script, shell.asks_passwords) = (!is_terminal, !is_terminal && can_ask);
    let is_patient = !is_terminal || invitation.is_some();
    let patience = if is_patient { patience } else { FIRST_TRACKER_TIMEOUT };
    if let Err(error) = shell.wait_for_tracker(patience) {
        shell.fail(None, &error);
        if !is_terminal {
            shell.end();
            return Ok(EXIT_NO_TRACKER);
        }
    } else if let Some(invitation) = invitation {
        let lines = if let Input::Lines(lines) = &mut input { Some(lines) } else { None };
        let has_joined = shell.begin_by_joining(&invitation, lines);
        if !has_joined && !is_terminal {
            shell.end();
            return Ok(EXIT_FAILED);
        }
    }
    Ok(match input {
        Input::Terminal => terminal::run(shell, &history),
        Input::Lines(lines) => shell.run_lines(lines, can_ask),
    })
}

/// Prints the listening address and the warning about it.
pub(crate) fn begin(snapshot: &Snapshot, output: &Output) {
    output.listening(&snapshot.address, snapshot.device, snapshot.page.as_deref());
    if let Some(text) = &snapshot.warning {
        match output.format() {
            Format::Json => output.event("warning", serde_json::json!({ "text": text })),
            Format::Plain | Format::Table => output.error_line(&format!("warning: {text}")),
        }
    }
}
