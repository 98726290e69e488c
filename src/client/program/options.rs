//! The client's command line.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use crate::client::shell::{OnError, parse_seconds};
use crate::client::{ClientConfig, ClientError, DOWNLOADS_MAX};
use crate::swarm::Limits;
use crate::types::{Fingerprint, Rate, RateError, TrackerAddress, TrackerInfo};

/// Shares files inside private groups, peer to peer.
#[derive(Debug, Parser)]
#[command(
    name = "client",
    version,
    override_usage = "client [OPTIONS] <IP:PORT> <TRACKER_INFO.TXT>\n       client [OPTIONS] <IP> <PORT> <TRACKER IP> <TRACKER PORT>",
    after_help = "Commands are read from the terminal or from stdin; `help` lists them.\n\
                  Exit status: 0 all well, 1 a command or download failed, 2 wrong usage, 3 no tracker could be reached."
)]
pub(super) struct Arguments {
    /// Address to listen on (port 0: any free one) and the file that names the trackers; or each as
    /// IP and port.
    #[arg(required = true, num_args = 2..=4, value_name = "ADDRESSES")]
    addresses: Vec<String>,
    /// Directory of this device's state: identity, shares, downloads [default: one for each
    /// address, below the platform's data directory]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The network's fingerprint, as a tracker prints it at its start (sha256:...): its trackers
    /// are trusted, and no others
    #[arg(long, value_name = "FINGERPRINT")]
    network: Option<Fingerprint>,
    /// What is logged on stderr: error, warn, info, debug, or a filter as in RUST_LOG
    #[arg(long, value_name = "LEVEL")]
    pub(super) log: Option<String>,
    /// Workers that fetch, hash and write [default: twice the number of cores, at least 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// What is sent to others a second, in all: 500K, 1.5M, 20MB, or off
    #[arg(long, value_name = "RATE", value_parser = parse_limit, default_value = "off")]
    upload_limit: RateLimit,
    /// What is fetched a second, in all
    #[arg(long, value_name = "RATE", value_parser = parse_limit, default_value = "off")]
    download_limit: RateLimit,
    /// Downloads that run at a time; the others wait for their turn. 0: any number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1000), default_value_t = DOWNLOADS_MAX as u16)]
    max_downloads: u16,
    /// Runs without a prompt until a signal or `shutdown` ends it. A client that is started with
    /// the same data directory attaches to it
    #[arg(long, conflicts_with_all = ["script", "commands", "on_error", "wait_trackers"])]
    pub(super) service: bool,
    /// Fails instead of attaching, if a client runs with the data directory already
    #[arg(long)]
    pub(super) no_attach: bool,
    /// Reads commands from a file instead of stdin
    #[arg(long, value_name = "FILE")]
    pub(super) script: Option<PathBuf>,
    /// Carries out one command; may be repeated. Others on this machine can read it: leave
    /// passwords out to be asked for them, or put them in a pipe or a --script
    #[arg(short = 'c', value_name = "COMMAND", allow_hyphen_values = true)]
    pub(super) commands: Vec<String>,
    /// How long a script waits for its first tracker before it ends with exit status 3
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, default_value = "10")]
    pub(super) wait_trackers: Duration,
    /// Lets scripts choose passwords of fewer than 8 characters
    #[arg(long)]
    pub(super) allow_short_passwords: bool,
    /// What happens when a command fails, unless commands are typed
    #[arg(long, value_enum, value_name = "WHAT", default_value = "continue")]
    pub(super) on_error: OnError,
    /// Writes results and events as JSON, one object a line
    #[arg(long)]
    pub(super) json: bool,
}

impl Arguments {
    /// Puts the client's configuration together.
    ///
    /// # Errors
    /// One line that says what is wrong with an address or the tracker file.
    pub(super) fn config(&self) -> Result<ClientConfig, ClientError> {
        let (listen, trackers) =
            match &self.addresses[..] {
                [listen, file] => {
                    let trackers = read_trackers(Path::new(file))?;
                    (parse_address(listen, &trackers)?, trackers)
                }
                [ip, port, tracker_ip, tracker_port] => {
                    let tracker = TrackerAddress::new(tracker_ip, parse_port(tracker_port)?);
                    let tracker = tracker.map_err(|e| {
                        ClientError::BadArgument(format!("{e}; give the tracker's IP and port"))
                    })?;
                    let ip: IpAddr = ip
                        .parse()
                        .map_err(|_| bad(format!("{ip:?} is not an IP address to listen on")))?;
                    (SocketAddr::new(ip, parse_port(port)?), TrackerInfo::single(tracker))
                }
                _ => return Err(bad(
                    "give <ip:port> <tracker_info.txt>, or <ip> <port> <tracker ip> <tracker port>"
                        .into(),
                )),
            };
        let mut config = ClientConfig::new(listen, trackers);
        config.threads = self.threads.map(usize::from);
        config.network = self.network;
        config.limits = Limits { upload: self.upload_limit.0, download: self.download_limit.0 };
        config.downloads_max = self.max_downloads.into();
        if let Some(dir) = &self.data_dir {
            config.data_dir.clone_from(dir);
        }
        Ok(config)
    }
}

/// A rate, or none. An `Option` would be taken for an option that may be left out.
#[derive(Debug, Clone, Copy)]
struct RateLimit(Option<Rate>);

fn parse_limit(text: &str) -> Result<RateLimit, RateError> {
    Rate::parse_limit(text).map(RateLimit)
}

fn bad(text: String) -> ClientError {
    ClientError::BadArgument(text)
}

fn parse_port(text: &str) -> Result<u16, ClientError> {
    text.parse().map_err(|_| bad(format!("{text:?} is not a port from 0 to 65535")))
}

/// A port alone stands for every address of the machine, of the family that the trackers have.
fn parse_address(text: &str, trackers: &TrackerInfo) -> Result<SocketAddr, ClientError> {
    let wrong = || {
        bad(format!(
            "{text:?} is not an address to listen on; give a port, as 6001, or <ip:port>, as 127.0.0.1:6001"
        ))
    };
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let is_v6 = trackers.iter().all(|(_, tracker)| tracker.host().contains(':'));
        let every: IpAddr =
            if is_v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        return Ok(SocketAddr::new(every, parse_port(text)?));
    }
    text.parse().or_else(|_| text.to_socket_addrs().map_err(|_| wrong())?.next().ok_or_else(wrong))
}

fn read_trackers(path: &Path) -> Result<TrackerInfo, ClientError> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| ClientError::path(path, format!("cannot read it: {e}")))?;
    TrackerInfo::parse(&text).map_err(|e| ClientError::path(path, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once(&"client").chain(words))
    }

    #[test]
    fn both_forms_are_understood() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.txt");
        std::fs::write(&file, "127.0.0.1:5000\n").unwrap();
        let config = parse(&["127.0.0.1:6001", file.to_str().unwrap(), "--threads", "3"])
            .unwrap()
            .config()
            .unwrap();
        assert_eq!(
            (config.listen.to_string().as_str(), config.threads),
            ("127.0.0.1:6001", Some(3))
        );
        let config = parse(&["--json", "::1", "0", "10.0.0.1", "7000"]).unwrap().config().unwrap();
        assert_eq!(config.listen.to_string(), "[::1]:0");
        assert_eq!(config.trackers.get(1).unwrap().to_string(), "10.0.0.1:7000");
        let arguments =
            parse(&["127.0.0.1:0", "t", "-c", "whoami", "-c", "exit", "--on-error", "stop"])
                .unwrap();
        assert_eq!((arguments.commands.len(), arguments.on_error), (2, OnError::Stop));
    }

    #[test]
    fn limits_are_taken_and_nonsense_is_refused() {
        let config = |words: &[&str]| {
            parse(&[words, &["::1", "0", "10.0.0.1", "7000"]].concat()).map(|a| a.config().unwrap())
        };
        let plain = config(&[]).unwrap();
        assert_eq!((plain.limits, plain.downloads_max), (Limits::default(), DOWNLOADS_MAX));
        let some = config(&[
            "--upload-limit",
            "5M",
            "--download-limit",
            "1.5MB/s",
            "--max-downloads",
            "3",
        ])
        .unwrap();
        let rates = [some.limits.upload, some.limits.download].map(|rate| rate.map(Rate::get));
        assert_eq!((rates, some.downloads_max), ([Some(5_000_000), Some(1_500_000)], 3));
        assert_eq!(
            config(&["--max-downloads", "0", "--upload-limit", "off"]).unwrap().downloads_max,
            0
        );
        for bad in [
            ["--upload-limit", "fast"],
            ["--download-limit", "5K"],
            ["--max-downloads", "-1"],
            ["--max-downloads", "x"],
        ] {
            assert!(config(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn wrong_usage_is_named() {
        assert!(
            parse(&[]).is_err()
                && parse(&["one"]).is_err()
                && parse(&["1", "2", "3", "4", "5"]).is_err()
        );
        for words in [
            &["x", "y"][..],
            &["127.0.0.1:0", "/nowhere"],
            &["127.0.0.1", "0", "h"],
            &["127.0.0.1", "z", "h", "1"],
        ] {
            let error = parse(words).unwrap().config().unwrap_err().to_string();
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
