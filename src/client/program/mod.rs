//! The client program: what its command line asks for, from the start to the exit status.
//!
//! This is the one place that sees both the client and its front ends.

mod options;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use log::LevelFilter;
use rustix::process::{Signal, getpid, kill_process};

use self::options::Arguments;
use super::shell::{
    self, EXIT_FAILED, EXIT_USAGE, Format, Input, Interrupts, Output, Parts, Settings, escape,
};
use super::{Backend, Client, ClientConfig, ClientError};

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

/// Why the program cannot start: one line.
type StartError = Box<dyn std::error::Error>;

fn run(arguments: &Arguments) -> Result<u8, StartError> {
    let input = Input::of(arguments.script.as_deref(), &arguments.commands, arguments.json)?;
    let interactive = matches!(input, Input::Terminal);
    start_log(arguments, interactive);
    let format = match (arguments.json, std::io::stdout().is_terminal()) {
        (true, _) => Format::Json,
        (false, true) => Format::Table,
        (false, false) => Format::Plain,
    };
    // Before any other thread starts: none of them is to be ended by a signal.
    let interrupts =
        Interrupts::start().map_err(|e| ClientError::system("cannot take signals", e))?;
    let config = arguments.config()?;
    let history = config.data_dir.join("history");
    let backend = start_client(config)?;
    let parts = Parts {
        api: backend.clone(),
        output: Output::new(format),
        interrupts,
        input,
        can_ask: Input::can_ask(arguments.script.as_deref(), &arguments.commands),
        patience: arguments.wait_trackers,
        history,
    };
    let settings = Settings {
        on_error: arguments.on_error,
        allows_short_passwords: arguments.allow_short_passwords,
        is_attached: false,
        end_client: Arc::new(move || backend.stop()),
    };
    Ok(shell::run(parts, settings)?)
}

/// Starts a client of this process. [`Backend`]'s shutdown is a signal to end.
fn start_client(config: ClientConfig) -> Result<Arc<Backend>, ClientError> {
    let client = Arc::new(Client::start(config)?);
    let backend = Backend::new(client, || {
        // Cannot fail: the process is its own.
        let _ = kill_process(getpid(), Signal::TERM);
    })?;
    Ok(Arc::new(backend))
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
