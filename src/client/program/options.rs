//! The client's command line.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use super::joining::WORD;
use super::page::PageArguments;
use crate::client::setup::{ADVERTISED_MAX, Setup};
use crate::client::shell::{OnError, parse_seconds};
use crate::client::{ClientConfig, ClientError, DOWNLOADS_MAX, data_dir};
use crate::store::StoreError;
use crate::types::invitation_link::InvitationLink;
use crate::types::{
    Candidate, CandidateKind, Fingerprint, Rate, RateError, TrackerAddress, TrackerInfo,
};

/// Shares files inside private groups, peer to peer.
#[derive(Debug, Parser)]
#[command(
    name = "client",
    version,
    override_usage = "client [OPTIONS] <IP:PORT> <TRACKER_INFO.TXT>\n       client [OPTIONS] <IP> <PORT> <TRACKER IP> <TRACKER PORT>\n       client [OPTIONS] [IP:PORT]      once it has been set up\n       client [OPTIONS] join [LINK]    by the link of an invitation, which is else read from the input",
    after_help = "Commands are read from the terminal or from stdin; `help` lists them.\n\
                  Exit status: 0 all well, 1 a command or download failed, 2 wrong usage, 3 no tracker could be reached."
)]
pub(super) struct Arguments {
    /// Address to listen on (port 0: any free one) and the file that names the trackers; or each as
    /// IP and port. Later starts go on with what was given last
    #[arg(num_args = 0..=4, value_name = "ADDRESSES")]
    addresses: Vec<String>,
    /// Directory of this device's state: identity, shares, downloads, and how it was started
    /// [default: one for each network, below the platform's data directory]
    #[arg(long, value_name = "DIR", conflicts_with = "profile")]
    data_dir: Option<PathBuf>,
    /// Keeps that state in a directory of that name, beside the default one: for a second client or
    /// another user
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// The network's fingerprint, as a tracker prints it at its start (sha256:...): its trackers
    /// are trusted, and no others
    #[arg(long, value_name = "FINGERPRINT")]
    network: Option<Fingerprint>,
    /// With `join`: reads the link of the invitation from a file
    #[arg(long, value_name = "FILE")]
    pub(super) link_file: Option<PathBuf>,
    /// An address at which others can reach this device, beside those that it finds out; its port
    /// is the one listened on if none is named. May be repeated; `off` names none from now on
    #[arg(long, value_name = "ADDR", value_parser = parse_advertised)]
    advertise: Vec<Advertised>,
    /// Relays for members of this user's groups who cannot reach each other, at this port of every
    /// address listened on: PORT [default: any free one]; `off` ends that
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true, value_parser = parse_relay, default_missing_value = "0")]
    relay: Option<RelayOffer>,
    /// What is relayed a second, in all: 500K, 1.5M, 20MB, or off [default: 2M]
    #[arg(long, value_name = "RATE", value_parser = parse_limit)]
    relay_rate: Option<RateLimit>,
    /// Makes no links through relays, from now on
    #[arg(long)]
    no_relays: bool,
    /// Makes links through relays again, when there is no other way
    #[arg(long, conflicts_with = "no_relays")]
    use_relays: bool,
    /// Does not announce this device on local networks, and looks for no others there
    #[arg(long, overrides_with = "lan")]
    no_lan: bool,
    /// Takes back a --no-lan of an earlier start
    #[arg(long, overrides_with = "no_lan")]
    lan: bool,
    /// Keeps the addresses of this machine's interfaces from the other members. They reach it where
    /// trackers see it, where a router forwards, and at what --advertise names
    #[arg(long, overrides_with = "interface_addresses")]
    no_interface_addresses: bool,
    /// Tells them again, in place of a --no-interface-addresses of earlier
    #[arg(long, overrides_with = "no_interface_addresses")]
    interface_addresses: bool,
    /// Does not ask routers to forward the port that is listened on (PCP, NAT-PMP, UPnP)
    #[arg(long, overrides_with = "port_mapping")]
    no_port_mapping: bool,
    /// Asks them again, in place of a --no-port-mapping of earlier
    #[arg(long, overrides_with = "no_port_mapping")]
    port_mapping: bool,
    /// What is logged on stderr: error, warn, info, debug, or a filter as in RUST_LOG
    #[arg(long, value_name = "LEVEL")]
    pub(super) log: Option<String>,
    /// Workers that fetch, hash and write [default: twice the number of cores, at least 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// What is sent to others a second, in all: 500K, 1.5M, 20MB, or off
    #[arg(long, value_name = "RATE", value_parser = parse_limit)]
    upload_limit: Option<RateLimit>,
    /// What is fetched a second, in all
    #[arg(long, value_name = "RATE", value_parser = parse_limit)]
    download_limit: Option<RateLimit>,
    /// Downloads that run at a time; the others wait for their turn. 0: any number [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1000))]
    max_downloads: Option<u16>,
    /// Runs without a prompt until a signal or `shutdown` ends it. A client that is started with
    /// the same data directory attaches to it
    #[arg(long, conflicts_with_all = ["script", "commands", "on_error", "wait_trackers"])]
    pub(super) service: bool,
    #[command(flatten)]
    pub(super) page: PageArguments,
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
    /// Puts together what the client is started with, and finds its data directory. A start that
    /// names no trackers goes on with what the last one was given there, but for what is given
    /// again; one that names them begins anew.
    ///
    /// # Errors
    /// One line that says what is wrong with an address or the tracker file, or which data
    /// directories could be meant.
    pub(super) fn setup(
        &self,
        link: Option<&InvitationLink>,
    ) -> Result<(Setup, PathBuf), ClientError> {
        self.setup_below(&data_dir::root(), link)
    }

    /// Tells whether the program is started to join by an invitation.
    pub(super) fn joins(&self) -> bool {
        self.addresses.first().is_some_and(|word| word == WORD)
    }

    /// Refuses what does not go together with `join`, or without it.
    ///
    /// # Errors
    /// One line that says what.
    pub(super) fn check_join(&self) -> Result<(), ClientError> {
        let wrong = match &self.addresses[..] {
            // A link is not here any more.
            [word] | [word, ..] if word == WORD && self.service => {
                "join asks for a name and a password; run it without --service first"
            }
            [word] if word == WORD => return Ok(()),
            [word, dash] if word == WORD && dash == "-" && self.link_file.is_none() => {
                return Ok(());
            }
            [word, ..] if word == WORD => {
                "behind join, give the link of an invitation, or nothing to have it read from the input"
            }
            _ if self.link_file.is_some() => "--link-file belongs to join",
            _ => return Ok(()),
        };
        Err(bad(wrong.into()))
    }

    fn setup_below(
        &self,
        root: &Path,
        link: Option<&InvitationLink>,
    ) -> Result<(Setup, PathBuf), ClientError> {
        let named = match (&self.data_dir, &self.profile) {
            (Some(dir), _) => Some(dir.clone()),
            (None, Some(profile)) => Some(data_dir::of_profile(root, profile)?),
            (None, None) => None,
        };
        let given = link.map_or_else(|| self.given(), |link| Ok(Given::Invited(link)));
        let (mut setup, dir) = match given? {
            Given::All(listen, trackers) => {
                let choose = || data_dir::choose(root, listen, &trackers, self.network);
                let dir = named.map_or_else(choose, Ok)?;
                (Setup::new(listen, trackers), dir)
            }
            Given::Invited(link) => {
                let (trackers, network) = (link.tracker_info(), Some(link.network));
                // Any free port: the link names none.
                let listen = parse_address("0")?;
                let choose = || data_dir::choose(root, listen, &trackers, network);
                let dir = named.map_or_else(choose, Ok)?;
                data_dir::check_network(&dir, &trackers, link.network)?;
                let setup = match Setup::load(&dir)? {
                    Some(setup) if data_dir::is_first_contact(&dir) => add_link(setup, link),
                    Some(setup) => setup,
                    None => Setup::new(listen, trackers),
                };
                (setup, dir)
            }
            Given::Some(listen) => {
                let dir = named.map_or_else(|| data_dir::find_only(root), Ok)?;
                let mut setup = Setup::load(&dir)?.ok_or_else(|| not_set_up(&dir))?;
                if let Some(listen) = listen {
                    setup.listen = parse_address(listen)?;
                }
                (setup, dir)
            }
        };
        setup.network = self.network.or(setup.network);
        setup.threads = self.threads.map(usize::from).or(setup.threads);
        if let Some(RateLimit(limit)) = self.upload_limit {
            setup.limits.upload = limit;
        }
        if let Some(RateLimit(limit)) = self.download_limit {
            setup.limits.download = limit;
        }
        if !self.advertise.is_empty() {
            setup.advertise = self.advertise.iter().filter_map(|named| named.0).collect();
        }
        if let Some(RelayOffer(port)) = self.relay {
            setup.relays.offers = port;
        }
        if let Some(RateLimit(rate)) = self.relay_rate {
            setup.relays.rate = rate;
        }
        if self.no_relays || self.use_relays {
            setup.relays.uses = self.use_relays;
        }
        let chosen = |no: bool, yes: bool, earlier: bool| if no || yes { yes } else { earlier };
        setup.tell_interfaces =
            chosen(self.no_interface_addresses, self.interface_addresses, setup.tell_interfaces);
        setup.map_port = chosen(self.no_port_mapping, self.port_mapping, setup.map_port);
        if setup.advertise.len() > ADVERTISED_MAX {
            return Err(bad(format!("--advertise names at most {ADVERTISED_MAX} addresses")));
        }
        setup.lan = (setup.lan || self.lan) && !self.no_lan;
        self.page.apply(&mut setup.page)?;
        setup.downloads_max = self.max_downloads.map(usize::from).or(setup.downloads_max);
        Ok((setup, dir))
    }

    fn given(&self) -> Result<Given<'_>, ClientError> {
        match &self.addresses[..] {
            [] => Ok(Given::Some(None)),
            [listen] => Ok(Given::Some(Some(listen))),
            [listen, file] => {
                let trackers = read_trackers(Path::new(file))?;
                Ok(Given::All(parse_address(listen)?, trackers))
            }
            [ip, port, tracker_ip, tracker_port] => {
                let tracker = TrackerAddress::new(tracker_ip, parse_port(tracker_port)?);
                let tracker =
                    tracker.map_err(|e| bad(format!("{e}; give the tracker's IP and port")))?;
                let ip: IpAddr = ip
                    .parse()
                    .map_err(|_| bad(format!("{ip:?} is not an IP address to listen on")))?;
                let listen = SocketAddr::new(ip, parse_port(port)?);
                Ok(Given::All(listen, TrackerInfo::single(tracker)))
            }
            _ => Err(bad(
                "give <ip:port> <tracker_info.txt>, or <ip> <port> <tracker ip> <tracker port>"
                    .into(),
            )),
        }
    }

    /// What to say of a client that cannot start: the default data directory is for one client at a
    /// time.
    pub(super) fn explain(&self, error: ClientError) -> ClientError {
        let is_default = self.data_dir.is_none() && self.profile.is_none();
        match &error {
            ClientError::Store(store) if is_default => match &**store {
                StoreError::InUse { path } => bad(format!(
                    "{} is in use by another client; stop it, or give this one a --profile NAME of its own",
                    path.display()
                )),
                _ => error,
            },
            _ => error,
        }
    }
}

/// Which addresses a start names.
enum Given<'a> {
    /// Where it listens, and the trackers.
    All(SocketAddr, TrackerInfo),
    /// At most where it listens.
    Some(Option<&'a str>),
    /// An invitation.
    Invited(&'a InvitationLink),
}

/// What a device was set up with that has met no network so far, with what a link says of it.
fn add_link(mut setup: Setup, link: &InvitationLink) -> Setup {
    setup.network = setup.network.or(setup.trackers.fingerprint()).or(Some(link.network));
    for address in &link.trackers {
        // It is there already, or there are as many as there may be.
        if let Ok(more) = setup.trackers.with_added(address.clone()) {
            setup.trackers = more;
        }
    }
    setup
}

fn not_set_up(dir: &Path) -> ClientError {
    ClientError::path(
        dir,
        "no client has been set up there; give <ip:port> <tracker_info.txt> at the first start",
    )
}

/// What a client is started with.
pub(super) fn to_config(setup: &Setup, data_dir: PathBuf) -> ClientConfig {
    ClientConfig {
        data_dir,
        network: setup.network,
        threads: setup.threads,
        limits: setup.limits,
        advertise: setup.advertise.clone(),
        relays: setup.relays,
        lan: setup.lan,
        tell_interfaces: setup.tell_interfaces,
        map_port: setup.map_port,
        downloads_max: setup.downloads_max.unwrap_or(DOWNLOADS_MAX),
        ..ClientConfig::new(setup.listen, setup.trackers.clone())
    }
}

/// A rate, or none. An `Option` would be taken for an option that may be left out.
#[derive(Debug, Clone, Copy)]
struct RateLimit(Option<Rate>);

fn parse_limit(text: &str) -> Result<RateLimit, RateError> {
    Rate::parse_limit(text).map(RateLimit)
}

/// A port to relay at, or none. An `Option` would be taken for an option that may be left out.
#[derive(Debug, Clone, Copy)]
struct RelayOffer(Option<u16>);

fn parse_relay(text: &str) -> Result<RelayOffer, String> {
    match text {
        "off" => Ok(RelayOffer(None)),
        port => port.parse().map(|port| RelayOffer(Some(port))).map_err(|_| {
            format!(
                "{port:?} is not a port from 0 to 65535; give --relay, --relay=PORT or --relay=off"
            )
        }),
    }
}

/// An address, or none. An `Option` would be taken for an option that may be left out.
#[derive(Debug, Clone, Copy)]
struct Advertised(Option<SocketAddr>);

fn parse_advertised(text: &str) -> Result<Advertised, String> {
    if text == "off" {
        return Ok(Advertised(None));
    }
    let ip = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0));
    let address: SocketAddr = text.parse().or_else(|_| ip()).map_err(|_| {
        format!("{text:?} is not an IP address; give one, as 203.0.113.9 or 203.0.113.9:6001")
    })?;
    let with_any_port = SocketAddr::new(address.ip(), address.port().max(1));
    if !Candidate::new(with_any_port, CandidateKind::Advertised).is_usable(false) {
        return Err(format!(
            "others cannot reach this device at {}; give an address that they can dial",
            address.ip()
        ));
    }
    Ok(Advertised(Some(address)))
}

fn bad(text: String) -> ClientError {
    ClientError::BadArgument(text)
}

fn parse_port(text: &str) -> Result<u16, ClientError> {
    text.parse().map_err(|_| bad(format!("{text:?} is not a port from 0 to 65535")))
}

/// A port alone stands for every address of the machine, of IPv4 and of IPv6.
fn parse_address(text: &str) -> Result<SocketAddr, ClientError> {
    let wrong = || {
        bad(format!(
            "{text:?} is not an address to listen on; give a port, as 6001, or <ip:port>, as 127.0.0.1:6001"
        ))
    };
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), parse_port(text)?));
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
    use crate::swarm::Limits;

    fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once(&"client").chain(words))
    }

    #[test]
    fn both_forms_are_understood() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.txt");
        std::fs::write(&file, "127.0.0.1:5000\n").unwrap();
        let config = |words: &[&str]| {
            let (setup, dir) = parse(words).unwrap().setup_below(dir.path(), None).unwrap();
            to_config(&setup, dir)
        };
        let config_of = config;
        let config = config_of(&["127.0.0.1:6001", file.to_str().unwrap(), "--threads", "3"]);
        assert_eq!(
            (config.listen.to_string().as_str(), config.threads),
            ("127.0.0.1:6001", Some(3))
        );
        let config = config_of(&["--json", "::1", "0", "10.0.0.1", "7000"]);
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
            let words = [words, &["::1", "0", "10.0.0.1", "7000", "--data-dir", "/x"]].concat();
            parse(&words).map(|arguments| {
                let (setup, dir) = arguments.setup(None).unwrap();
                to_config(&setup, dir)
            })
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
    fn addresses_to_advertise_are_taken_remembered_and_taken_back() {
        let root = tempfile::tempdir().unwrap();
        let start = |words: &[&str]| {
            let (setup, dir) = parse(words).unwrap().setup_below(root.path(), None).unwrap();
            crate::store::DeviceStore::open(&dir).unwrap();
            setup.save(&dir).unwrap();
            let named = to_config(&setup, dir).advertise;
            named.iter().map(|address| address.to_string()).collect::<Vec<_>>()
        };
        let words = ["0.0.0.0", "6001", "10.0.0.1", "7000", "--advertise", "203.0.113.9"];
        let more = ["--advertise", "[2001:db8::1]:9"];
        let want = ["203.0.113.9:0", "[2001:db8::1]:9"];
        assert_eq!(start(&[&words[..], &more].concat()), want);
        assert_eq!(start(&[]), want);
        assert!(start(&["--advertise", "off"]).is_empty() && start(&[]).is_empty());
        for wrong in ["x", "127.0.0.1", "0.0.0.0:1", "255.255.255.255", "example.org:1", "[::]"] {
            assert!(parse(&["--advertise", wrong]).is_err(), "{wrong}");
        }
        let nine = ["--advertise", "203.0.113.9"].repeat(9);
        assert!(parse(&nine).unwrap().setup_below(root.path(), None).is_err());
    }

    #[test]
    fn relaying_is_taken_remembered_and_taken_back() {
        let root = tempfile::tempdir().unwrap();
        let start = |words: &[&str]| {
            let (setup, dir) = parse(words).unwrap().setup_below(root.path(), None).unwrap();
            crate::store::DeviceStore::open(&dir).unwrap();
            setup.save(&dir).unwrap();
            let relays = to_config(&setup, dir).relays;
            (relays.uses, relays.offers, relays.rate.map(Rate::get))
        };
        let words = ["--relay", "0.0.0.0", "6001", "10.0.0.1", "7000"];
        assert_eq!(start(&words), (true, Some(0), Some(2_000_000)));
        assert_eq!(start(&["--relay=7881"]), (true, Some(7881), Some(2_000_000)));
        let rate = ["--no-relays", "--relay-rate", "off"];
        assert_eq!(start(&rate), (false, Some(7881), None));
        assert_eq!(start(&[]), (false, Some(7881), None));
        assert_eq!(start(&["--use-relays", "--relay=off"]), (true, None, None));
        for wrong in ["--relay=x", "--relay=65536", "--relay=-1", "--relay-rate=1"] {
            assert!(parse(&[wrong]).is_err(), "{wrong}");
        }
        assert!(parse(&["--use-relays", "--no-relays"]).is_err());
    }

    #[test]
    fn switches_are_remembered_and_taken_back() {
        let root = tempfile::tempdir().unwrap();
        let start = |words: &[&str]| {
            let (setup, dir) = parse(words).unwrap().setup_below(root.path(), None).unwrap();
            crate::store::DeviceStore::open(&dir).unwrap();
            setup.save(&dir).unwrap();
            let config = to_config(&setup, dir);
            (config.tell_interfaces, config.map_port, config.lan)
        };
        assert_eq!(start(&["0.0.0.0", "6001", "10.0.0.1", "7000"]), (true, true, true));
        assert_eq!(start(&["--no-port-mapping"]), (true, false, true));
        assert_eq!(start(&["--no-interface-addresses"]), (false, false, true));
        assert_eq!(start(&[]), (false, false, true));
        assert_eq!(start(&["--port-mapping", "--no-lan"]), (false, true, false));
        let last =
            ["--no-port-mapping", "--interface-addresses", "--port-mapping", "--no-lan", "--lan"];
        assert_eq!(start(&last), (true, true, true), "the last one counts");
    }

    #[test]
    fn a_link_tells_a_device_that_has_met_no_network_whom_to_trust() {
        use crate::types::{GroupId, InvitationSecret};
        let root = tempfile::tempdir().unwrap();
        let words = ["127.0.0.1", "6001", "10.0.0.1", "7000"];
        let (setup, dir) = parse(&words).unwrap().setup_below(root.path(), None).unwrap();
        let store = crate::store::DeviceStore::open(&dir).unwrap();
        setup.save(&dir).unwrap();
        let network = Fingerprint::from_bytes([3; 32]);
        let trackers = ["10.0.0.1:7000", "10.0.0.2:7000"].map(|text| text.parse().unwrap());
        let group = (GroupId::from_bytes([1; 16]), "lab".parse().unwrap());
        let secret = InvitationSecret::from_bytes([2; 16]);
        let link = InvitationLink::new(network, group, secret, &trackers);
        let join = || parse(&["join"]).unwrap().setup_below(root.path(), Some(&link)).unwrap();
        let (joining, same) = join();
        assert_eq!(same, dir);
        assert_eq!((joining.listen, joining.network), (setup.listen, Some(network)));
        assert_eq!(joining.trackers.addresses(), trackers);
        // A device that knows its network takes no trackers from a link.
        store.set_network(network).unwrap();
        assert_eq!(join(), (setup, dir));
    }

    #[test]
    fn wrong_usage_is_named() {
        assert!(parse(&["1", "2", "3", "4", "5"]).is_err());
        assert!(parse(&["1", "t", "--profile", "a", "--data-dir", "b"]).is_err());
        let root = tempfile::tempdir().unwrap();
        for words in [
            &[][..],
            &["6001"],
            &["--data-dir", "/nowhere"],
            &["--profile", "a/b", "127.0.0.1:0", "t"],
            &["x", "y"],
            &["127.0.0.1:0", "/nowhere"],
            &["127.0.0.1", "0", "h"],
            &["127.0.0.1", "z", "h", "1"],
        ] {
            let error =
                parse(words).unwrap().setup_below(root.path(), None).unwrap_err().to_string();
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_start_goes_on_with_what_the_last_one_was_given() {
        let root = tempfile::tempdir().unwrap();
        let start = |words: &[&str]| {
            let (setup, dir) = parse(words).unwrap().setup_below(root.path(), None).unwrap();
            crate::store::DeviceStore::open(&dir).unwrap();
            setup.save(&dir).unwrap();
            (to_config(&setup, dir.clone()), dir)
        };
        let (first, dir) = start(&[
            "0.0.0.0",
            "6001",
            "10.0.0.1",
            "7000",
            "--upload-limit",
            "50K",
            "--threads",
            "2",
        ]);
        let (again, same) = start(&[]);
        assert_eq!((again.listen, &again.trackers, same), (first.listen, &first.trackers, dir));
        assert_eq!((again.limits, again.threads), (first.limits, Some(2)));
        // What is given again replaces it, and is remembered in its turn.
        start(&["6002", "--upload-limit", "off", "--max-downloads", "3"]);
        let (later, _) = start(&[]);
        assert_eq!(later.listen.to_string(), "[::]:6002");
        assert_eq!((later.limits, later.downloads_max), (Limits::default(), 3));
        // A start that names the trackers begins anew.
        let (anew, dir) = start(&["0.0.0.0", "6001", "10.0.0.1", "7000"]);
        assert_eq!((anew.threads, anew.downloads_max), (None, DOWNLOADS_MAX));
        // A profile is another client.
        let (_, profile) =
            start(&["0.0.0.0", "6003", "10.0.0.1", "7000", "--profile", "bob", "--threads", "9"]);
        assert_ne!(profile, dir);
        assert_eq!(start(&["--profile", "bob"]).0.threads, Some(9));
        assert_eq!(start(&[]).0.listen.port(), 6001);
    }
}
