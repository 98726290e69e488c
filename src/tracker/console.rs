//! The tracker as a program: its command line, its console, its signals.
//!
//! **Invariant:** a standard input or output that is closed, or was never there, neither stops the
//! tracker nor keeps it busy.
//!
//! Standard input is read on a thread of its own that nobody joins: a read from a terminal cannot
//! be called off, and the thread ends with the process.

use std::fmt::Display;
use std::io::{self, BufRead, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use crossbeam_channel::{Receiver, Sender, bounded, select};
use log::{info, warn};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

pub use super::admin::AdminOptions;
use super::admin::{carry_out, escape_lines, help};
use super::config::{ACCOUNTS_PER_HOUR, GROUPS_PER_HOUR, REQUESTS_PER_HOUR};
use super::data_dir::{self, DataDirError};
use super::relay_config::{RELAY_PORT, RelayConfig};
use super::shared::Shared;
use super::{Tracker, TrackerConfig, TrackerError};
use crate::http::page::PageConfig;
use crate::net::{Stop, is_listening, resolve};
use crate::relay::RelayBounds;
use crate::store::StorePlace;
use crate::trust::KeyPair;
use crate::types::{Rate, TrackerAddress, TrackerInfo, escape};

/// Exit status after wrong usage, and when the tracker cannot start.
pub const EXIT_USAGE: u8 = 2;
/// Exit status when the tracker ended by itself, or not in order.
const EXIT_FAILED: u8 = 1;
/// Exit status when a second signal ends the stopping.
const EXIT_INTERRUPTED: i32 = 130;
/// How long a start that would be empty waits for each other tracker to be reached.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of a console line that are looked at.
const LINE_LEN_MAX: u64 = 1024;

/// Runs a tracker: it knows the users, groups and files of a network, and who is connected, and
/// carries no file data.
#[derive(Debug, Parser)]
#[command(
    name = "tracker",
    version,
    override_usage = "tracker [OPTIONS] <TRACKER_INFO> <NUMBER>\n       tracker [OPTIONS] <IP> <PORT>\n       tracker admin [OPTIONS] <COMMAND>"
)]
pub struct Options {
    /// The file that names the network's trackers; or the IP address of a network of one
    #[arg(value_name = "TRACKER_INFO|IP")]
    first: String,
    /// This tracker's number, from 1; or the port (0 takes any free one)
    #[arg(value_name = "NUMBER|PORT")]
    second: u32,
    /// Where to listen, if not at this tracker's own address of TRACKER_INFO, as behind port
    /// forwarding or in a container: IP:PORT, IP or PORT
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where the store is [default: one for each tracker's address below the platform's data
    /// directory]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where the directory is, if not in the data directory: a database that all of the network's
    /// trackers share, as postgres://user@host/database, or a file of mode 0600 that holds the URL
    #[arg(long, value_name = "URL|FILE")]
    store: Option<String>,
    /// Starts empty, if this tracker has no data yet, although there is other trackers' data on
    /// this machine
    #[arg(long)]
    new: bool,
    /// The network's key, shared by all its trackers; made if it is not there [default: network.key
    /// in the platform's data directory]
    #[arg(long, value_name = "FILE")]
    network_key: Option<PathBuf>,
    /// Accounts that one address may make in an hour; 0 is no bound
    #[arg(long, value_name = "N", default_value_t = ACCOUNTS_PER_HOUR)]
    accounts_per_hour: u32,
    /// Groups that one user may make in an hour; 0 is no bound
    #[arg(long, value_name = "N", default_value_t = GROUPS_PER_HOUR)]
    groups_per_hour: u32,
    /// Requests to join groups that one user may make in an hour; 0 is no bound
    #[arg(long, value_name = "N", default_value_t = REQUESTS_PER_HOUR)]
    requests_per_hour: u32,
    /// Appends a line of JSON for every change that is carried out or merged here
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
    /// Passes sealed bytes between members who cannot reach each other, at this address: IP:PORT or
    /// PORT [default: this tracker's address, port 7880]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, require_equals = true)]
    relay: Option<Option<String>>,
    /// Bytes a second that the relay moves in all, both directions; off is no bound
    #[arg(long, value_name = "RATE", default_value = "50M", value_parser = parse_rate)]
    relay_rate: RelayRate,
    /// Bytes a second that it moves for one user; off is no bound
    #[arg(long, value_name = "RATE", default_value = "25M", value_parser = parse_rate)]
    relay_user_rate: RelayRate,
    /// Bytes a second that it moves between two devices for one file; off is no bound
    #[arg(long, value_name = "RATE", default_value = "off", value_parser = parse_rate)]
    relay_pair_rate: RelayRate,
    /// GB that it moves in a day; 0 is no bound
    #[arg(long, value_name = "GB", default_value_t = 0)]
    relay_day: u32,
    /// GB that it moves for one user in a day; 0 is no bound
    #[arg(long, value_name = "GB", default_value_t = 200)]
    relay_user_day: u32,
    /// Pairs of devices that are relayed at a time
    #[arg(long, value_name = "N", default_value_t = 256)]
    relay_pairs: u16,
    /// Where the operator's page, its API and the metrics are served, as 127.0.0.1:8490
    #[arg(long, value_name = "IP:PORT|off", value_parser = parse_page)]
    page: Option<PageListen>,
    /// The page's certificates as a PEM file: needed where the page is not on loopback
    #[arg(long, value_name = "FILE", requires = "page_key")]
    page_cert: Option<PathBuf>,
    /// The certificate's private key as a PEM file
    #[arg(long, value_name = "FILE", requires = "page_cert")]
    page_key: Option<PathBuf>,
    /// The page's address at a reverse proxy: scheme, host and path; may be repeated
    #[arg(long, value_name = "URL")]
    page_origin: Vec<String>,
    /// What is logged to standard error: error, warn, info, debug or trace; RUST_LOG says it in
    /// more detail
    #[arg(long, value_name = "LEVEL")]
    log: Option<log::LevelFilter>,
}

impl Options {
    /// Starts logging to standard error.
    pub fn start_log(&self) {
        let mut logger =
            env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"));
        if let Some(level) = self.log {
            logger.filter_level(level);
        }
        // As the builder would, but what came from the network is in many a message, and stderr may
        // be a terminal.
        logger.format(|out, record| {
            let (style, time) = (out.default_level_style(record.level()), out.timestamp());
            let text = record.args().to_string();
            writeln!(
                out,
                "[{time} {style}{:<5}{style:#} {}] {}",
                record.level(),
                record.target(),
                escape(&text)
            )
        });
        // Fails only if there is a logger already, which is then the one to use.
        let _ = logger.try_init();
    }

    /// Says what to start.
    ///
    /// # Errors
    /// In words, what is wrong with the command line or the file it names.
    pub fn config(&self) -> Result<TrackerConfig, String> {
        let (info, number) =
            match TrackerAddress::new(&self.first, 0).ok().filter(TrackerAddress::is_ip) {
                Some(ip) => {
                    let port = u16::try_from(self.second)
                        .map_err(|_| format!("{} is not a port from 0 to 65535", self.second))?;
                    let address =
                        TrackerAddress::new(ip.host(), port).map_err(|e| e.to_string())?;
                    (TrackerInfo::single(address), 1)
                }
                None => (read_info(&self.first)?, self.second),
            };
        let line = info.get(number).ok_or_else(|| {
            TrackerError::NoSuchNumber { number, count: info.count() }.to_string()
        })?;
        let listen = self.listen.as_deref().map(|text| parse_listen(text, line)).transpose()?;
        let relay_at = self
            .relay
            .as_ref()
            .map(|relay| relay.as_deref().map(|text| parse_relay(text, line)).transpose());
        let relay_at = relay_at.transpose()?;
        let store = self.store.as_deref().map(StorePlace::from_argument).transpose()?;
        let data_dir = match &self.data_dir {
            Some(dir) => dir.clone(),
            None => self.default_data_dir(&info, number)?,
        };
        let path = self.network_key.clone().map_or_else(default_network_key, Ok)?;
        let (key, made) = KeyPair::load_or_make(&path).map_err(|e| e.to_string())?;
        if made {
            warn!(
                "a new network's key is in {}: copy it to the network's other trackers",
                path.display()
            );
        }
        let mut config = TrackerConfig::new(info, number, data_dir, Arc::new(key));
        config.listen = listen;
        config.store = store;
        let mut next = path.into_os_string();
        next.push(".next");
        config.next_key_file = Some(next.into());
        config.audit = self.audit.clone();
        if let Some(PageListen(Some(listen))) = self.page {
            config.page = Some(PageConfig {
                listen,
                takes_any_port: false,
                tls: self.page_cert.clone().zip(self.page_key.clone()),
                origins: self.page_origin.clone(),
            });
        }
        config.relay = relay_at.map(|address| RelayConfig { address, bounds: self.relay_bounds() });
        config.limits.accounts_per_hour = self.accounts_per_hour;
        config.limits.groups_per_hour = self.groups_per_hour;
        config.limits.requests_per_hour = self.requests_per_hour;
        Ok(config)
    }

    fn relay_bounds(&self) -> RelayBounds {
        let bytes = |gb: u32| (gb > 0).then(|| u64::from(gb) * 1_000_000_000);
        RelayBounds {
            sessions: self.relay_pairs.into(),
            rate: self.relay_rate.0,
            user_rate: self.relay_user_rate.0,
            pair_rate: self.relay_pair_rate.0,
            day: bytes(self.relay_day),
            user_day: bytes(self.relay_user_day),
            ..RelayBounds::default()
        }
    }

    fn default_data_dir(&self, info: &TrackerInfo, number: u32) -> Result<PathBuf, String> {
        let dirs = directories::ProjectDirs::from("", "", "posse")
            .ok_or("this system has no data directory; give --data-dir")?;
        self.choose_data_dir(dirs.data_dir(), info, number).map_err(|e| e.to_string())
    }

    fn choose_data_dir(
        &self,
        root: &Path,
        info: &TrackerInfo,
        number: u32,
    ) -> Result<PathBuf, DataDirError> {
        let mut others = info.iter().filter(|(other, _)| *other != number);
        // What is in a database is not missing here.
        data_dir::choose(root, info, number, self.new || self.store.is_some(), || {
            others.any(|(_, address)| is_listening(address, ASK_TIMEOUT))
        })
    }
}

/// Reads where to listen: an address, or a part of one. A port alone means every address of this
/// machine, an IP address alone the port of the tracker's line.
fn parse_listen(text: &str, line: &TrackerAddress) -> Result<SocketAddr, String> {
    let wrong =
        || format!("{text:?} is not where to listen; give IP:PORT, IP or PORT, as 0.0.0.0:5000");
    let every = if line.host().contains(':') { "::" } else { "0.0.0.0" };
    let address = match (text.parse::<u16>(), text.parse::<TrackerAddress>()) {
        (Ok(port), _) => TrackerAddress::new(every, port),
        (_, Ok(address)) => Ok(address),
        _ => TrackerAddress::new(text, line.port()),
    };
    let address = address.map_err(|_| wrong())?;
    let found = resolve(&address).map_err(|e| format!("cannot listen at {text}: {e}"))?;
    found.first().copied().ok_or_else(wrong)
}

/// Reads where to relay: as [`parse_listen`] does, but an IP address needs a port, and a port alone
/// means every address of both families.
fn parse_relay(text: &str, line: &TrackerAddress) -> Result<SocketAddr, String> {
    if text.parse::<IpAddr>().is_ok() {
        return Err(format!("{text:?} has no port; give --relay IP:PORT, as [::]:{RELAY_PORT}"));
    }
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port));
    }
    parse_listen(text, line)
}

/// A bound that may be none.
#[derive(Debug, Clone, Copy)]
struct RelayRate(Option<Rate>);

fn parse_rate(text: &str) -> Result<RelayRate, String> {
    Rate::parse_limit(text).map(RelayRate).map_err(|error| error.to_string())
}

/// Where the page is served; `None` for nowhere.
#[derive(Debug, Clone, Copy)]
struct PageListen(Option<SocketAddr>);

fn parse_page(text: &str) -> Result<PageListen, String> {
    if text == "off" {
        return Ok(PageListen(None));
    }
    let wrong = |_| format!("{text:?} is not an address; give IP:PORT, as 127.0.0.1:8490, or off");
    text.parse().map(|address| PageListen(Some(address))).map_err(wrong)
}

fn read_info(path: &str) -> Result<TrackerInfo, String> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        format!("cannot read {path}: {e}; give a tracker_info.txt, or an IP address")
    })?;
    TrackerInfo::parse(&text).map_err(|e| format!("{path}: {e}"))
}

/// One for all trackers of this machine: they are of one network unless told otherwise.
fn default_network_key() -> Result<PathBuf, String> {
    let dirs = directories::ProjectDirs::from("", "", "posse")
        .ok_or("this system has no data directory; give --network-key")?;
    Ok(dirs.data_dir().join("network.key"))
}

/// A line of the console.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Command {
    /// Words for [`carry_out`].
    Operator(Vec<String>),
    Help,
    Stop,
}

/// Takes commands from standard input and signals from the system.
#[derive(Debug)]
pub struct Console {
    /// Disconnected, or given something, when the operator wants the tracker to stop.
    quit: Receiver<()>,
    sender: Sender<()>,
    /// Set by a signal: it is seen however many commands wait.
    signalled: Stop,
}

impl Console {
    /// Starts to listen for signals, so that from now on none is lost, and asks the system for room
    /// for all connections.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Self> {
        raise_descriptor_limit();
        let (sender, quit) = bounded(1);
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let signalled = Stop::new();
        let stop = signalled.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for (count, signal) in signals.forever().enumerate() {
                info!(
                    "{}: stopping",
                    signal_hook::low_level::signal_name(signal).unwrap_or("a signal")
                );
                if count > 0 {
                    std::process::exit(EXIT_INTERRUPTED);
                }
                stop.set();
            }
        })?;
        Ok(Self { quit, sender, signalled })
    }

    /// Obeys until told to stop, then stops the tracker in order.
    ///
    /// # Blocking
    /// Until the tracker has ended.
    pub fn run(self, tracker: Tracker) -> ExitCode {
        say(
            &mut io::stdout(),
            format!("tracker {} listening on {}", tracker.number(), tracker.local_addr()),
        );
        say(&mut io::stdout(), format!("network {}", tracker.fingerprint()));
        if let Some(address) = tracker.relay_addr() {
            say(&mut io::stdout(), format!("relay {address}"));
        }
        if let Some(url) = tracker.page_url() {
            say(&mut io::stdout(), format!("page {url} (`page` prints a link that opens it)"));
        }
        let (sender, shared) = (self.sender.clone(), tracker.shared.clone());
        // Without this thread the tracker still serves, and ends at a signal.
        let _ = std::thread::Builder::new()
            .name("console".into())
            .spawn(move || obey_all(io::stdin().lock(), &shared, &sender));
        select! {
            recv(self.quit) -> _ => {}
            recv(self.signalled.channel()) -> _ => {}
            recv(tracker.ended()) -> _ => {}
        }
        match tracker.stop() {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                say(&mut io::stderr(), format!("error: {e}"));
                ExitCode::from(EXIT_FAILED)
            }
        }
    }
}

/// Says why the tracker does not start.
pub fn refuse(why: impl Display) -> ExitCode {
    say(&mut io::stderr(), format!("error: {}", escape(&why.to_string())));
    ExitCode::from(EXIT_USAGE)
}

/// A connection is a descriptor, and the usual soft limit of 1024 is far below what a tracker
/// serves.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // If the system refuses, connections beyond the limit are shed; the tracker serves the others.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Carries out what standard input says, until it ends or says to stop.
fn obey_all(input: impl BufRead, shared: &Arc<Shared>, quit: &Sender<()>) {
    read_commands(input, |command| match command {
        Command::Stop => {
            // Somebody who stops the tracker twice has said it once.
            let _ = quit.try_send(());
            false
        }
        Command::Help => {
            say(
                &mut io::stdout(),
                format!(
                    "{}\n{:<44} shows this\n{:<44} stops the tracker (exit does the same)",
                    help(),
                    "help",
                    "quit"
                ),
            );
            true
        }
        Command::Operator(words) => {
            let mut put = |line: super::admin::Line| {
                say(&mut io::stdout(), line.shown(false));
                Ok(())
            };
            if let Err(error) = carry_out(shared, &words, None, &mut put) {
                say(&mut io::stdout(), format!("error: {}", escape_lines(&error.to_string())));
            }
            true
        }
    });
}

/// Writes a line; whether anybody reads it is not the tracker's concern.
fn say(out: &mut impl Write, line: String) {
    let _ = out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush());
}

/// Hands commands to `take` until the input ends, or `take` says false.
fn read_commands(mut input: impl BufRead, mut take: impl FnMut(Command) -> bool) {
    let mut line = Vec::new();
    loop {
        line.clear();
        match input.by_ref().take(LINE_LEN_MAX).read_until(b'\n', &mut line) {
            Ok(1..) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            _ => return,
        }
        let line = String::from_utf8_lossy(&line);
        let words = shell_words::split(&line).unwrap_or_else(|_| vec![line.trim().to_owned()]);
        let command = match words.first().map(String::as_str) {
            None => continue,
            Some("help") => Command::Help,
            Some("quit" | "exit") => Command::Stop,
            Some(_) => Command::Operator(words),
        };
        if !take(command) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_until_the_input_ends() {
        let input = [
            b"status\n\n  help \nquota 'a b'\n".as_slice(),
            &[0xff, b'\n'],
            &[b'x'; 3000],
            b"\nquit\nhelp",
        ]
        .concat();
        let mut got = Vec::new();
        read_commands(&input[..], |command| {
            got.push(command);
            got.last() != Some(&Command::Stop)
        });
        let operator = |words: &[&str]| {
            Command::Operator(words.iter().map(|word| (*word).to_owned()).collect())
        };
        assert_eq!(got[..3], [operator(&["status"]), Command::Help, operator(&["quota", "a b"])]);
        assert_eq!(got.last(), Some(&Command::Stop), "nothing is read behind it");
        assert!(got.len() < 10, "an endless line is taken in parts: {got:?}");
    }

    #[test]
    fn both_forms_of_the_command_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tracker_info.txt");
        std::fs::write(&file, "127.0.0.1:5000\n127.0.0.1:7000\n").unwrap();
        let key = dir.path().join("network.key");
        let parse = |words: &[&str]| {
            Options::try_parse_from(
                [&["tracker", "--network-key", key.to_str().unwrap()], words].concat(),
            )
        };
        let options = parse(&[file.to_str().unwrap(), "2", "--data-dir", "/x"]).unwrap();
        let config = options.config().unwrap();
        assert_eq!((config.number, config.info.count(), config.listen), (2, 2, None));
        // Not the default directory of whoever runs the tests.
        let chosen = options.choose_data_dir(dir.path(), &config.info, 2).unwrap();
        assert_eq!(chosen, dir.path().join("tracker-127.0.0.1-7000"));
        let config = parse(&["::1", "0", "--data-dir", "/x"]).unwrap().config().unwrap();
        assert_eq!(
            (config.number, config.info.get(1).unwrap().to_string().as_str()),
            (1, "[::1]:0")
        );
        assert_eq!(config.data_dir, PathBuf::from("/x"));
        let per_hour = |config: TrackerConfig| {
            (
                config.limits.accounts_per_hour,
                config.limits.groups_per_hour,
                config.limits.requests_per_hour,
            )
        };
        assert_eq!(per_hour(config), (200, 100, 200));
        let words = [
            "::1",
            "0",
            "--data-dir=/x",
            "--accounts-per-hour=0",
            "--groups-per-hour=7",
            "--requests-per-hour=8",
        ];
        assert_eq!(per_hour(parse(&words).unwrap().config().unwrap()), (0, 7, 8));
        assert!(
            parse(&["127.0.0.1", "70000"]).unwrap().config().unwrap_err().contains("not a port")
        );
        assert!(
            parse(&["/no/such/file", "1"]).unwrap().config().unwrap_err().contains("cannot read")
        );
        let config = parse(&["fe80::1%lo", "5000", "--data-dir=/x"]).unwrap().config().unwrap();
        assert_eq!(config.info.get(1).unwrap().to_string(), "[fe80::1%lo]:5000");
        for bad in [
            &["x"][..],
            &["x", "y"],
            &["127.0.0.1", "1", "2"],
            &["127.0.0.1", "-1"],
            &["x", "1", "--log", "loud"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn where_to_listen_may_be_said_in_part() {
        let listen = |text: &str, line: &str| {
            parse_listen(text, &line.parse().unwrap()).map(|address| address.to_string())
        };
        for (text, line, want) in [
            ("0.0.0.0:7000", "a:5000", "0.0.0.0:7000"),
            ("[::]:7000", "a:5000", "[::]:7000"),
            ("7000", "a:5000", "0.0.0.0:7000"),
            ("7000", "[2001:db8::1]:5000", "[::]:7000"),
            ("127.0.0.1", "a:5000", "127.0.0.1:5000"),
            ("::", "a:5000", "[::]:5000"),
            ("127.0.0.1:0", "a:5000", "127.0.0.1:0"),
        ] {
            assert_eq!(listen(text, line).as_deref(), Ok(want), "{text} {line}");
        }
        for bad in ["", "70000", "a b", "1.2.3:5", "::1:70000:", "127.0.0.1:"] {
            assert!(listen(bad, "a:5000").unwrap_err().contains("give IP:PORT"), "{bad}");
        }
    }

    #[test]
    fn a_network_key_that_cannot_be_used_is_named_and_starts_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("network.key");
        let config = || {
            let words = [
                "tracker",
                "127.0.0.1",
                "0",
                "--data-dir",
                "/x",
                "--network-key",
                key.to_str().unwrap(),
            ];
            Options::try_parse_from(words).unwrap().config()
        };
        let made = config().unwrap().network_key.fingerprint();
        assert_eq!(config().unwrap().network_key.fingerprint(), made, "found again");
        std::fs::write(&key, "no key").unwrap();
        let why = config().unwrap_err();
        assert!(why.contains("network.key"), "{why}");
        std::fs::remove_file(&key).unwrap();
        std::fs::create_dir(&key).unwrap();
        assert!(config().is_err());
    }
}
