//! What the operator asks of a tracker: the commands, their control socket, and its client.
//!
//! **Invariant:** an operator's change takes the way of every other change: judged by the rules,
//! replicated, and answered when it is safe. Nothing here holds up the core: passwords are hashed,
//! rows are read, and answers are written on the threads of the operator's connections.
//!
//! The console, the socket and [`AdminOptions`] share one parser ([`command`]) and one way to carry
//! commands out ([`execute`]). Who can open the socket, which only its owner can, is the operator.

mod asking;
mod client;
mod command;
mod exchange;
mod execute;
mod history;
mod keys;
mod network;
mod restore;
mod socket;
mod tokens;

use serde_json::Value;

pub use self::client::AdminOptions;
pub(super) use self::command::{help, is_read};
pub(super) use self::execute::carry_out;
pub(super) use self::socket::AdminSocket;
use crate::types::{Refusal, escape, escape_json};

/// Name of the control socket in a tracker's data directory.
const SOCKET: &str = "control.sock";
/// Version of the control protocol.
const VERSION: u64 = 1;

/// One line of an answer, in both its forms.
#[derive(Debug)]
pub(super) struct Line {
    /// For people.
    pub(super) text: String,
    /// For programs: an object.
    pub(super) json: Value,
}

impl Line {
    fn new(text: impl Into<String>, json: Value) -> Self {
        Self { text: text.into(), json }
    }

    /// Returns the form that is wanted, safe to show at a terminal.
    pub(super) fn shown(&self, as_json: bool) -> String {
        let json = || escape_json(&self.json.to_string()).into_owned();
        if as_json { json() } else { escape_lines(&self.text) }
    }
}

/// Makes a text of several lines safe to show, line by line.
pub(super) fn escape_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(escape).collect();
    lines.join("\n")
}

/// Takes the lines of an answer one by one.
///
/// # Errors
/// Why no more lines are taken.
pub(super) type Sink<'a> = &'a mut dyn FnMut(Line) -> std::io::Result<()>;

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminError {
    /// It is not understood.
    #[error("{0}")]
    Usage(String),
    /// The directory refuses it.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// It names something that is not there, or something failed.
    #[error("{0}")]
    Failed(String),
    /// It cannot be undone, and the operator has not said that this is meant.
    #[error("this cannot be undone; say it again with --yes")]
    Unconfirmed,
    /// The core has ended.
    #[error("the tracker has ended")]
    Ended,
    /// The answer did not come in time.
    #[error("no answer in time: it is not known whether this was carried out; look, and try again")]
    Late,
    /// Nobody takes the answer.
    #[error("the answer cannot be written: {0}")]
    Output(#[from] std::io::Error),
}

impl AdminError {
    /// Returns the exit status of the operator's command.
    pub(super) fn exit_status(&self) -> u8 {
        if matches!(self, Self::Usage(_)) { 2 } else { 1 }
    }
}
