//! The program around a [`Client`]: command line, prompt, scripts, output and exit status.
//!
//! **Invariant:** every command comes from the one table, [`COMMANDS`]: its words, usage, help and
//! completion cannot differ. What came from the network is escaped before it is shown.
//!
//! Threads: commands run on the main thread; "announcer" prints what happens by itself; "signals"
//! turns signals into values; "input" reads a piped stdin, so that a signal is noticed while it is
//! silent; "bars" has progress drawn at the prompt.

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
mod history;
mod input;
mod interrupt;
mod listing;
mod notifications;
mod options;
mod output;
mod pager;
mod progress;
mod render;
mod seconds;
mod session;
mod table;
mod terminal;
#[cfg(test)]
mod tests;
mod topics;
mod typed;
mod upload_words;
mod waiting;

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use log::LevelFilter;

use self::input::Input;
use self::interrupt::Interrupts;
use self::options::Arguments;
use self::output::{Format, Output};
use self::session::Shell;
use super::{Client, ClientError};

pub use escape::escape;
pub use table::{Argument, ArgumentKind, COMMANDS, CommandSpec, Flag};

/// Time that the prompt waits for the first tracker.
const FIRST_TRACKER_TIMEOUT: Duration = Duration::from_secs(3);

/// Exit status: a command or a download failed.
pub const EXIT_FAILED: u8 = 1;
/// Exit status: the program was started in a wrong way, or cannot start.
pub const EXIT_USAGE: u8 = 2;
/// Exit status: no tracker could be reached.
pub const EXIT_NO_TRACKER: u8 = 3;

/// Runs the client program with these command line arguments, the program's name first; returns its
/// exit status.
///
/// # Blocking
/// Until the user, the end of the input or a signal ends it.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let status = error.exit_code().clamp(0, 255) as u8;
            // Of help that cannot be printed nothing is left but the status.
            let printed = error.print().and_then(|()| std::io::stdout().flush());
            return ExitCode::from(if printed.is_err() { EXIT_FAILED.max(status) } else { status });
        }
    };
    ExitCode::from(run(&arguments).unwrap_or_else(|error| {
        eprintln!("error: {}", escape(&error.to_string()));
        EXIT_USAGE
    }))
}

fn run(arguments: &Arguments) -> Result<u8, ClientError> {
    let input = Input::of(arguments)?;
    let interactive = matches!(input, Input::Terminal);
    start_log(arguments, interactive);
    let format = match (arguments.json, std::io::stdout().is_terminal()) {
        (true, _) => Format::Json,
        (false, true) => Format::Table,
        (false, false) => Format::Plain,
    };
    let output = Output::new(format);
    // Before any other thread starts: none of them is to be ended by a signal.
    let interrupts =
        Interrupts::start().map_err(|e| ClientError::system("cannot take signals", e))?;
    let (setup, data_dir) = arguments.setup()?;
    let config = options::to_config(&setup, data_dir);
    let unreachable = config.unreachable();
    let client = Client::start(config).map_err(|error| arguments.explain(error))?;
    output.listening(client.address(), client.device());
    let unwritten = setup.save(client.data_dir()).err().map(|error| {
        format!("the next start will need the address and the trackers again: {error}")
    });
    for text in unreachable.iter().chain(&unwritten) {
        match format {
            Format::Json => output.event("warning", serde_json::json!({ "text": text })),
            Format::Plain | Format::Table => output.error_line(&format!("warning: {text}")),
        }
    }
    let mut shell = Shell::new(client, output, interrupts, arguments);
    let patience = if interactive { FIRST_TRACKER_TIMEOUT } else { arguments.wait_trackers };
    if !shell.wait_for_tracker(patience) {
        shell.fail(None, &shell.client.why_no_tracker());
        if !interactive {
            shell.end();
            return Ok(EXIT_NO_TRACKER);
        }
    }
    shell.client.wait_for_staying(patience);
    Ok(match input {
        Input::Terminal => terminal::run(shell),
        Input::Lines(lines) => shell.run_lines(lines, Input::can_ask(arguments)),
    })
}

/// Logs to stderr; at a prompt only what somebody must act on, as it would garble the line being
/// edited.
fn start_log(arguments: &Arguments, interactive: bool) {
    let default = if interactive { LevelFilter::Error } else { LevelFilter::Warn };
    let mut builder = env_logger::Builder::new();
    builder.filter_level(default);
    // As the builder would, but what came from the network is in many a message, and stderr may be
    // a terminal.
    builder.format(|out, record| {
        let (style, time) = (out.default_level_style(record.level()), out.timestamp());
        let text = escape(&record.args().to_string());
        writeln!(out, "[{time} {style}{:<5}{style:#} {}] {text}", record.level(), record.target())
    });
    if let Ok(filters) = std::env::var("RUST_LOG") {
        builder.parse_filters(&filters);
    }
    if let Some(filters) = &arguments.log {
        builder.parse_filters(filters);
    }
    // A program that embeds this one may have set up a log already.
    let _ = builder.try_init();
}
