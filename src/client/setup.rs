//! The arguments of the last start, stored in the data directory, so that the next start needs
//! none.
//!
//! **Invariant:** the file is complete or missing: it is written under another name and renamed.
//!
//! It is JSON, with the version of its format. A reader skips unknown fields. A later format that
//! an earlier program would misread has a larger version, which that program refuses with a
//! message.
//!
//! Blocks on the disk.

mod page;

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Deserialize as _;
use serde_json::{Value, json};

pub(crate) use self::page::{PageListen, PageSetup};
use super::ClientError;
use super::relay_options::RelayOptions;
use crate::swarm::Limits;
use crate::types::{Fingerprint, Rate, TrackerInfo};

/// Name of the file in the data directory.
const FILE: &str = "setup.json";
/// Version of the format.
const VERSION: u64 = 1;
/// Maximum length of the file in bytes.
const LEN_MAX: u64 = 64 << 10;

/// Addresses that a user names.
pub(crate) const ADVERTISED_MAX: usize = 8;

/// Address, trackers and options of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) listen: SocketAddr,
    /// At most [`ADVERTISED_MAX`].
    pub(crate) advertise: Vec<SocketAddr>,
    /// Whether it announces itself on local networks.
    pub(crate) lan: bool,
    /// Whether others are told the interfaces' addresses, and routers are asked to forward.
    pub(crate) tell_interfaces: bool,
    pub(crate) map_port: bool,
    pub(crate) trackers: TrackerInfo,
    /// The option; the line of the trackers' file is in `trackers`.
    pub(crate) network: Option<Fingerprint>,
    pub(crate) threads: Option<usize>,
    pub(crate) limits: Limits,
    /// `None` for the default number.
    pub(crate) downloads_max: Option<usize>,
    pub(crate) page: PageSetup,
    pub(crate) relays: RelayOptions,
}

impl Setup {
    /// A start without options.
    pub(crate) fn new(listen: SocketAddr, trackers: TrackerInfo) -> Self {
        let (network, threads, downloads_max) = (None, None, None);
        let (limits, page) = (Limits::default(), PageSetup::default());
        Self {
            listen,
            advertise: Vec::new(),
            tell_interfaces: true,
            map_port: true,
            lan: true,
            trackers,
            network,
            threads,
            limits,
            downloads_max,
            page,
            relays: RelayOptions::default(),
        }
    }

    /// Reads the arguments of the last start; `None` if there are none.
    ///
    /// # Errors
    /// [`ClientError::Path`] for a file that cannot be read or parsed.
    pub(crate) fn load(data_dir: &Path) -> Result<Option<Self>, ClientError> {
        let path = data_dir.join(FILE);
        let wrong = |why: String| {
            ClientError::path(
                &path,
                format!("{why}; give <ip:port> <tracker_info.txt> again to write it anew"),
            )
        };
        let text = match fs::metadata(&path) {
            Ok(facts) if facts.len() > LEN_MAX => return Err(wrong("it is too long".into())),
            Ok(_) => {
                fs::read_to_string(&path).map_err(|e| wrong(format!("cannot read it: {e}")))?
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(wrong(format!("cannot read it: {e}"))),
        };
        let value: Value =
            serde_json::from_str(&text).map_err(|e| wrong(format!("it is no JSON: {e}")))?;
        match value["version"].as_u64() {
            Some(VERSION) => {}
            Some(later) if later > VERSION => {
                return Err(ClientError::path(
                    &path,
                    format!(
                        "it was made by a later version of Posse (form {later}; this one knows {VERSION}): update this program, or give \
                         another --data-dir"
                    ),
                ));
            }
            _ => return Err(wrong("it has no version".into())),
        }
        Self::of(&value).map(Some).map_err(wrong)
    }

    fn of(value: &Value) -> Result<Self, String> {
        let text = |name: &str| {
            value[name].as_str().ok_or_else(|| format!("{name} is missing")).map(str::to_owned)
        };
        let listen = text("listen")?.parse().map_err(|e| format!("listen: {e}"))?;
        let trackers =
            TrackerInfo::parse(&text("trackers")?).map_err(|e| format!("trackers: {e}"))?;
        let number = |name: &str| {
            value[name].as_u64().map(|number| usize::try_from(number).unwrap_or(usize::MAX))
        };
        let rate = |name: &str| match value[name].as_u64() {
            Some(rate) => Rate::new(rate).map(Some).map_err(|e| format!("{name}: {e}")),
            None => Ok(None),
        };
        let network = match value["network"].as_str() {
            Some(network) => Some(network.parse().map_err(|e| format!("network: {e}"))?),
            None => None,
        };
        let advertise = match &value["advertise"] {
            Value::Null => Vec::new(),
            all => Vec::deserialize(all).map_err(|e| format!("advertise: {e}"))?,
        };
        if advertise.len() > ADVERTISED_MAX {
            return Err(format!("advertise: more than {ADVERTISED_MAX} addresses"));
        }
        Ok(Self {
            listen,
            advertise,
            lan: value["lan"].as_bool().unwrap_or(true),
            tell_interfaces: value["tell_interfaces"].as_bool().unwrap_or(true),
            map_port: value["map_port"].as_bool().unwrap_or(true),
            trackers,
            network,
            threads: number("threads"),
            limits: Limits { upload: rate("upload_limit")?, download: rate("download_limit")? },
            downloads_max: number("max_downloads"),
            relays: match &value["relays"] {
                Value::Null => RelayOptions::default(),
                relays => read_relays(relays).map_err(|e| format!("relays: {e}"))?,
            },
            page: match &value["page"] {
                Value::Null => PageSetup::default(),
                page => PageSetup::deserialize(page).map_err(|e| format!("page: {e}"))?,
            },
        })
    }

    /// Stores the arguments for the next start.
    ///
    /// # Errors
    /// [`ClientError::Path`] if the file cannot be written.
    pub(crate) fn save(&self, data_dir: &Path) -> Result<(), ClientError> {
        let (path, new) = (data_dir.join(FILE), data_dir.join(format!("{FILE}.new")));
        let mut lines: String =
            self.trackers.addresses().iter().map(|address| format!("{address}\n")).collect();
        if let Some(network) = self.trackers.fingerprint() {
            lines.insert_str(0, &format!("network {network}\n"));
        }
        let value = json!({
            "version": VERSION,
            "listen": self.listen.to_string(),
            "advertise": self.advertise,
            "lan": self.lan,
            "tell_interfaces": self.tell_interfaces,
            "map_port": self.map_port,
            "trackers": lines,
            "network": self.network.map(|network| network.to_string()),
            "threads": self.threads,
            "upload_limit": self.limits.upload.map(Rate::get),
            "download_limit": self.limits.download.map(Rate::get),
            "max_downloads": self.downloads_max,
            "page": self.page,
            "relays": {
                "uses": self.relays.uses,
                "port": self.relays.offers,
                "rate": self.relays.rate.map(Rate::get),
            },
        });
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = options.open(&new).and_then(|mut file| {
            writeln!(file, "{value:#}")?;
            file.sync_all()
        });
        written
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|e| ClientError::path(path, format!("cannot write it: {e}")))
    }
}

fn read_relays(value: &Value) -> Result<RelayOptions, String> {
    let port = |port: u64| u16::try_from(port).map_err(|_| format!("{port} is not a port"));
    let rate = |rate| Rate::new(rate).map_err(|e| e.to_string());
    Ok(RelayOptions {
        uses: value["uses"].as_bool().ok_or("uses is missing")?,
        offers: value["port"].as_u64().map(port).transpose()?,
        rate: value["rate"].as_u64().map(rate).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> Setup {
        let trackers = "a.example:5000\n[fe80::1%eth0]:7000\n127.0.0.1:1";
        let network = Fingerprint::from_bytes([7; 32]);
        Setup {
            network: Some(network),
            threads: Some(3),
            advertise: vec!["203.0.113.9:0".parse().unwrap(), "[2001:db8::1]:9".parse().unwrap()],
            lan: false,
            limits: Limits { upload: Some(Rate::new(50_000).unwrap()), download: None },
            downloads_max: Some(0),
            relays: RelayOptions { uses: false, offers: Some(7881), rate: None },
            tell_interfaces: false,
            map_port: false,
            page: PageSetup {
                listen: PageListen::At("127.0.0.1:8480".parse().unwrap()),
                origins: vec!["https://posse.example".into()],
                directories: vec!["/srv/files".into()],
                ..PageSetup::default()
            },
            ..Setup::new(
                "[::]:6001".parse().unwrap(),
                TrackerInfo::parse(trackers).unwrap().with_fingerprint(network),
            )
        }
    }

    #[test]
    fn what_was_given_is_there_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Setup::load(dir.path()).unwrap(), None);
        let plain = Setup::new(
            "0.0.0.0:6001".parse().unwrap(),
            TrackerInfo::parse("127.0.0.1:5000").unwrap(),
        );
        for setup in [setup(), plain] {
            setup.save(dir.path()).unwrap();
            assert_eq!(Setup::load(dir.path()).unwrap(), Some(setup));
        }
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn fields_of_later_programs_are_passed_over_and_later_forms_are_named() {
        let dir = tempfile::tempdir().unwrap();
        setup().save(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        let write = |text: String| fs::write(&path, text).unwrap();
        write(text.replace("\"version\"", "\"later\": {\"on\": true}, \"version\""));
        assert_eq!(Setup::load(dir.path()).unwrap(), Some(setup()));
        write(text.replace("\"version\": 1", "\"version\": 2"));
        let error = Setup::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("later version of Posse"), "{error}");
    }

    #[test]
    fn what_is_damaged_is_named_and_not_guessed() {
        let dir = tempfile::tempdir().unwrap();
        setup().save(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        let long = "x".repeat(LEN_MAX as usize + 1);
        for bad in [
            "",
            "{}",
            "{\"version\": 1}",
            &long,
            &text.replace("[::]:6001", "6001"),
            &text.replace("a.example:5000", "a.example"),
            &text.replace("50000", "5"),
            &text[..text.len() / 2],
        ] {
            fs::write(&path, bad).unwrap();
            let error = Setup::load(dir.path()).unwrap_err().to_string();
            assert!(error.contains("setup.json") && error.contains("again"), "{error}");
        }
    }
}
