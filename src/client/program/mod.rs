//! The client program: command line, start or attach, front end, exit status.
//!
//! This is the only module that uses both the client and its front ends.

mod joining;
mod options;
mod page;
mod service;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser as _;
use log::{LevelFilter, info, warn};
use rustix::process::{Signal, getpid, kill_process};

use self::options::Arguments;
use super::api::{Api, ApiError, ErrorCode};
use super::service::{Remote, Service, find};
use super::setup::Setup;
use super::shell::{
    self, EXIT_FAILED, EXIT_USAGE, EndClient, Format, Input, Interrupts, Invitation, KeepSetup,
    Output, Parts, Settings, escape,
};
use super::{Backend, Client, ClientConfig, ClientError};
use crate::http::page::{PageConfig, PageServer};
use crate::store::StoreError;
use crate::types::invitation_link::InvitationLink;

/// Time for a starting client to bind its socket, or for an ending client to release its lock.
const START_TIMEOUT: Duration = Duration::from_secs(3);
/// Interval between attempts meanwhile.
const START_INTERVAL: Duration = Duration::from_millis(50);

/// Runs the client program with these command line arguments, the program's name first; returns its
/// exit status.
///
/// # Blocking
/// Until the user, the end of the input or a signal ends it.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Err(error) = joining::hide_link(&mut arguments) {
        eprintln!("error: {}", escape(&error.to_string()));
        return ExitCode::from(EXIT_USAGE);
    }
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

/// Why the program cannot start, in one line.
type StartError = Box<dyn std::error::Error>;

fn run(arguments: &Arguments) -> Result<u8, StartError> {
    arguments.check_join()?;
    let mut input = if arguments.service {
        None
    } else {
        Some(Input::of(arguments.script.as_deref(), &arguments.commands, arguments.json)?)
    };
    start_log(arguments, input.as_ref());
    let format = match (arguments.json, std::io::stdout().is_terminal()) {
        (true, _) => Format::Json,
        (false, true) => Format::Table,
        (false, false) => Format::Plain,
    };
    let output = Output::new(format);
    // Before any other thread starts: none of them is to be ended by a signal.
    let interrupts = Interrupts::start(arguments.service)
        .map_err(|e| ClientError::system("cannot take signals", e))?;
    let can_ask = Input::can_ask(arguments.script.as_deref(), &arguments.commands);
    let mut invitation = read_invitation(arguments, input.as_mut(), can_ask)?;
    let link = match &invitation {
        Some(invitation) => {
            Some(InvitationLink::parse(&invitation.link).map_err(ClientError::from)?)
        }
        None => None,
    };
    let (setup, data_dir) = arguments.setup(link.as_ref())?;
    let is_first_contact = super::data_dir::is_first_contact(&data_dir);
    invitation.iter_mut().for_each(|invitation| invitation.is_first_contact = is_first_contact);
    // A network that is named by a link alone leaves nothing behind before it has proven itself.
    let is_kept_later = invitation.is_some() && is_first_contact;
    let config = options::to_config(&setup, data_dir.clone());
    let program = find_or_start(config, &setup, arguments, is_kept_later)?;
    let Some(input) = input else {
        return match &program {
            Program::Own(backend, page) => {
                service::run(backend, page.as_ref(), &data_dir, &output, interrupts)
            }
            Program::Attached(_) => Err(is_running(&data_dir).into()),
        };
    };
    let mut keep_setup: Option<KeepSetup> = None;
    let (api, end_client, is_attached): (Arc<dyn Api>, EndClient, bool) = match program {
        Program::Attached(remote) => (Arc::new(remote), Arc::new(|| {}), true),
        Program::Own(backend, page) => {
            let service = serve(&backend, &data_dir);
            if is_kept_later {
                let (backend, data_dir) = (backend.clone(), data_dir.clone());
                keep_setup = Some(Box::new(move || save(&setup, &data_dir, &backend)));
            }
            let of_end = backend.clone();
            let end = move || {
                page.iter().for_each(PageServer::stop);
                service.iter().for_each(Service::stop);
                of_end.stop();
            };
            (backend, Arc::new(end), false)
        }
    };
    let parts = Parts {
        api,
        output,
        interrupts,
        input,
        can_ask,
        patience: arguments.wait_trackers,
        history: data_dir.join("history"),
        invitation,
    };
    let settings = Settings {
        on_error: arguments.on_error,
        allows_short_passwords: arguments.allow_short_passwords,
        is_attached,
        end_client,
        keep_setup,
    };
    Ok(shell::run(parts, settings)?)
}

/// Reads the link, if the program was started to join.
fn read_invitation(
    arguments: &Arguments,
    input: Option<&mut Input>,
    can_ask: bool,
) -> Result<Option<Invitation>, StartError> {
    let Some(input) = input.filter(|_| arguments.joins()) else { return Ok(None) };
    let is_stdin = arguments.script.is_none() && arguments.commands.is_empty();
    let (link, answers) =
        joining::read_link(arguments.link_file.as_deref(), input, can_ask, is_stdin)?;
    Ok(Some(Invitation { link, answers, is_first_contact: true }))
}

/// The client that the program uses.
enum Program {
    /// The program's own client, and its page.
    Own(Arc<Backend>, Option<PageServer>),
    /// A client of another process.
    Attached(Remote),
}

/// Attaches to the running client of the data directory, or starts one.
fn find_or_start(
    config: ClientConfig,
    setup: &Setup,
    arguments: &Arguments,
    is_kept_later: bool,
) -> Result<Program, StartError> {
    let data_dir = config.data_dir.clone();
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        if let Some(remote) = find(&data_dir)? {
            if arguments.no_attach || arguments.service {
                return Err(is_running(&data_dir).into());
            }
            return Ok(Program::Attached(remote));
        }
        match Client::start(config.clone()) {
            // The other client may be starting or ending.
            Err(ClientError::Store(error))
                if matches!(*error, StoreError::InUse { .. })
                    && !arguments.no_attach
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(START_INTERVAL);
            }
            started => {
                let client = started.map_err(|error| arguments.explain(error))?;
                let page = page::to_config(&setup.page, arguments.service);
                let (backend, page) = serve_client(client, page)?;
                // Last, so that a start that fails is not repeated.
                if !is_kept_later {
                    save(setup, &data_dir, &backend);
                }
                return Ok(Program::Own(backend, page));
            }
        }
    }
}

fn is_running(data_dir: &Path) -> ApiError {
    let text = format!(
        "a client runs with {} already; leave --no-attach and --service out to use it, or give this one a --profile NAME or a --data-dir of its own",
        data_dir.display()
    );
    ApiError::new(ErrorCode::Failed, text)
}

/// Remembers how the program was started.
fn save(setup: &Setup, data_dir: &Path, backend: &Backend) {
    if let Err(error) = setup.save(data_dir) {
        backend
            .warn(format!("the next start will need the address and the trackers again: {error}"));
    }
}

/// Serves a started client and its page. Its shutdown sends SIGTERM to this process.
fn serve_client(
    client: Client,
    page: Option<(PageConfig, Vec<PathBuf>)>,
) -> Result<(Arc<Backend>, Option<PageServer>), StartError> {
    let client = Arc::new(client);
    let backend = Arc::new(Backend::new(client.clone(), || {
        // A process may always signal itself.
        let _ = kill_process(getpid(), Signal::TERM);
    })?);
    let page = page.map(|config| serve_page(&backend, config)).transpose()?;
    Ok((backend, page))
}

/// Opens the control socket of a client with a prompt or script; without it, the client works all
/// the same.
fn serve(backend: &Arc<Backend>, data_dir: &Path) -> Option<Service> {
    match Service::start(backend.clone(), data_dir) {
        Ok(service) => Some(service),
        Err(error) => {
            info!("{}: no program can attach to this client: {error}", data_dir.display());
            None
        }
    }
}

/// Serves the page of a client, and says who can reach it if others can.
fn serve_page(
    backend: &Arc<Backend>,
    (config, directories): (PageConfig, Vec<PathBuf>),
) -> Result<PageServer, StartError> {
    let access = backend.access().clone();
    let private = [super::data_dir::root()];
    let page = super::page::start(backend.clone(), access, &config, &directories, &private)?;
    if !config.listen.ip().is_loopback() {
        warn!(
            "the page at {} is open to everyone who can reach this machine and has a token or a link",
            backend.access().url().unwrap_or_default()
        );
    }
    Ok(page)
}

/// Logs to stderr; at a prompt only what somebody must act on, as it would garble the line being
/// edited.
fn start_log(arguments: &Arguments, input: Option<&Input>) {
    let default = match input {
        Some(Input::Terminal) => LevelFilter::Error,
        Some(Input::Lines(_)) => LevelFilter::Warn,
        // The service manager keeps it.
        None => LevelFilter::Info,
    };
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
