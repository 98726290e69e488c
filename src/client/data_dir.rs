//! Finds a client's default data directory: one for each user and network, for any address that the
//! client listens on.
//!
//! **Invariant:** a start never takes the store of another network. It never begins an empty one
//! where stores of this network exist; if it cannot tell which one is meant, it refuses and lists
//! them.
//!
//! The contents of a directory tell its network: the network that its store trusts, else the
//! trackers of its last start (see [`super::setup`]). Directories of earlier versions are named by
//! the address that the client listened on (`client-<ip>-<port>`); they stay where they are, and
//! are used from there.
//!
//! Called once, at the start, on the program's main thread. Blocks on the disk.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::ClientError;
use super::setup::Setup;
use crate::store::{DeviceStore, SuccessorRow};
use crate::types::{Fingerprint, TrackerAddress, TrackerInfo};

/// Prefix of the directories named by networks.
const NETWORK_PREFIX: &str = "network-";
/// Prefix of the directories of profiles.
const PROFILE_PREFIX: &str = "profile-";
/// Prefix of the directories of earlier versions.
const EARLIER_PREFIX: &str = "client-";
/// Hexadecimal digits of a network in a directory's name.
const DIGITS: usize = 16;
/// Maximum length of a profile's name.
const PROFILE_LEN_MAX: usize = 64;

/// The parent of all default directories: the platform's data directory, or one in the working
/// directory if there is none.
pub(crate) fn root() -> PathBuf {
    directories::ProjectDirs::from("", "", "posse")
        .map_or_else(|| PathBuf::from(".posse"), |d| d.data_dir().to_owned())
}

/// The default data directory of a client of that network, if it has none yet: named by the
/// network's fingerprint, if the user or `trackers` names it, else by the trackers' addresses.
pub fn default_data_dir(trackers: &TrackerInfo, network: Option<Fingerprint>) -> PathBuf {
    root().join(network_name(trackers, network))
}

fn network_name(trackers: &TrackerInfo, network: Option<Fingerprint>) -> String {
    let digits = match network.or(trackers.fingerprint()) {
        Some(network) => network.to_string().trim_start_matches("sha256:").to_owned(),
        None => trackers.members_digest().to_string(),
    };
    format!("{NETWORK_PREFIX}{}", &digits[..DIGITS])
}

/// The data directory of a profile.
///
/// # Errors
/// [`ClientError::BadArgument`] for an invalid name of a profile.
pub(crate) fn of_profile(root: &Path, name: &str) -> Result<PathBuf, ClientError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > PROFILE_LEN_MAX || !name.chars().all(is_plain) {
        return Err(ClientError::BadArgument(format!(
            "{name:?} is no name of a profile; give up to {PROFILE_LEN_MAX} letters, digits, '.', '_' and '-'"
        )));
    }
    Ok(root.join(format!("{PROFILE_PREFIX}{name}")))
}

/// A default data directory that holds a client's state.
#[derive(Debug)]
struct Found {
    path: PathBuf,
    /// The address in its name, if an earlier version made it.
    earlier: Option<(IpAddr, u16)>,
    /// The network that its store trusts.
    network: Option<Fingerprint>,
    successors: Vec<SuccessorRow>,
    /// The trackers of its last start, and those that trackers have listed since.
    trackers: Vec<TrackerAddress>,
    setup: Option<Setup>,
}

impl Found {
    fn read(path: PathBuf) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let setup = Setup::load(&path).ok().flatten();
        // A store that cannot be read tells nothing; the start that takes it reports why.
        let (network, successors, told) = DeviceStore::look(&path).unwrap_or_default();
        let told = told.iter().filter_map(|address| address.parse().ok());
        let given = setup.iter().flat_map(|setup| setup.trackers.addresses().iter().cloned());
        let trackers = given.chain(told).collect();
        Self { earlier: parse_earlier(&name), network, successors, trackers, setup, path }
    }

    /// Tells whether it may be a store of that network; `None` if its contents do not tell.
    fn is_of(&self, trackers: &TrackerInfo, network: Option<Fingerprint>) -> Option<bool> {
        let wanted = network.or(trackers.fingerprint());
        if let (Some(wanted), Some(own)) = (wanted, self.network) {
            let is_next = |row: &SuccessorRow| {
                (row.old, row.new.fingerprint()) == (own, wanted)
                    || (row.old, row.new.fingerprint()) == (wanted, own)
            };
            return Some(
                own == wanted
                    || super::network::latest(wanted, &self.successors) == own
                    || self.successors.iter().any(is_next),
            );
        }
        let shares = |address: &TrackerAddress| trackers.addresses().contains(address);
        match &self.trackers[..] {
            [] => None,
            trackers => Some(trackers.iter().any(shares)),
        }
    }

    fn has_port(&self, listen: SocketAddr) -> bool {
        self.earlier.is_some_and(|(_, port)| port == listen.port())
    }
}

/// Chooses the default data directory below `root` of a client that listens there; does not create
/// it.
///
/// # Errors
/// [`ClientError::BadArgument`] if several may be meant.
pub(crate) fn choose(
    root: &Path,
    listen: SocketAddr,
    trackers: &TrackerInfo,
    network: Option<Fingerprint>,
) -> Result<PathBuf, ClientError> {
    let new = root.join(network_name(trackers, network));
    let all = find_all(root);
    // Earlier versions used the directory of that very address, so it is meant, unless it is known
    // to belong to another network.
    let is_at = |(ip, port): (IpAddr, u16)| {
        let is_every = ip.is_unspecified() && listen.ip().is_unspecified();
        port == listen.port() && (ip == listen.ip() || is_every)
    };
    let is_this = |found: &&Found| {
        found.earlier.is_some_and(is_at) && found.is_of(trackers, network) != Some(false)
    };
    if let Some(found) = all.iter().find(is_this) {
        return Ok(found.path.clone());
    }
    let mut fitting: Vec<&Found> =
        all.iter().filter(|found| found.is_of(trackers, network) == Some(true)).collect();
    if fitting.is_empty() {
        // Directories that tell no network: of earlier versions that have met no tracker. A
        // directory left by an aborted `client join` is used only if the user names it.
        let is_left = |found: &&Found| found.earlier.is_some() || found.setup.is_some();
        let fits = |found: &&Found| found.is_of(trackers, network).is_none();
        fitting = all.iter().filter(fits).filter(is_left).collect();
    }
    for narrower in [
        |found: &Found, _: SocketAddr| found.earlier.is_none(),
        |found: &Found, listen: SocketAddr| found.has_port(listen),
    ] {
        if fitting.len() > 1 && fitting.iter().any(|found| narrower(found, listen)) {
            fitting.retain(|found| narrower(found, listen));
        }
    }
    match fitting[..] {
        [] => Ok(new),
        [found] => Ok(found.path.clone()),
        _ => Err(several("may be meant", &fitting)),
    }
}

/// Refuses a data directory that belongs to another network than an invitation.
///
/// # Errors
/// [`ClientError::BadArgument`].
pub(crate) fn check_network(
    dir: &Path,
    trackers: &TrackerInfo,
    network: Fingerprint,
) -> Result<(), ClientError> {
    if !DeviceStore::is_in(dir) {
        return Ok(());
    }
    let found = Found::read(dir.to_owned());
    match (found.is_of(trackers, Some(network)), found.network) {
        (Some(false), own) => {
            let own = own.map_or("another network".to_owned(), |own| format!("the network {own}"));
            Err(ClientError::BadArgument(format!(
                "the invitation is to a group of the network {network}, and {} belongs to {own}; \
                 start another client with --profile NAME",
                dir.display()
            )))
        }
        _ => Ok(()),
    }
}

/// Tells whether a client with that data directory has met no network so far, or was not set up.
pub(crate) fn is_first_contact(dir: &Path) -> bool {
    if !DeviceStore::is_in(dir) {
        return true;
    }
    let found = Found::read(dir.to_owned());
    found.network.is_none() || found.setup.is_none()
}

/// Finds the only default data directory below `root` that has been set up, for a start that names
/// no trackers.
///
/// # Errors
/// [`ClientError::BadArgument`] if there is none, or if there are several.
pub(crate) fn find_only(root: &Path) -> Result<PathBuf, ClientError> {
    let all = find_all(root);
    let set_up: Vec<&Found> = all.iter().filter(|found| found.setup.is_some()).collect();
    match set_up[..] {
        [found] => Ok(found.path.clone()),
        [] => Err(ClientError::BadArgument(
            "no client has been set up here; give <ip:port> <tracker_info.txt> at the first start"
                .into(),
        )),
        _ => Err(several("have been set up", &set_up)),
    }
}

fn several(what: &str, found: &[&Found]) -> ClientError {
    let one = |found: &&Found| {
        let trackers = found.setup.as_ref().map(|setup| setup.trackers.addresses());
        match trackers.and_then(<[_]>::first) {
            Some(tracker) => format!("{} (tracker {tracker})", found.path.display()),
            None => found.path.display().to_string(),
        }
    };
    ClientError::BadArgument(format!(
        "several data directories {what}: {}; name one with --data-dir, or start anew with --profile NAME",
        found.iter().map(one).collect::<Vec<_>>().join(", ")
    ))
}

/// The default directories that hold a store, without those of profiles, by name.
fn find_all(root: &Path) -> Vec<Found> {
    let is_default = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let has_state = DeviceStore::is_in(path);
        (name.starts_with(NETWORK_PREFIX) || parse_earlier(&name).is_some()) && has_state
    };
    let entries = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = entries.filter(is_default).collect();
    paths.sort_unstable();
    paths.into_iter().map(Found::read).collect()
}

/// Parses the address in the name of a directory of an earlier version.
fn parse_earlier(name: &str) -> Option<(IpAddr, u16)> {
    let (ip, port) = name.strip_prefix(EARLIER_PREFIX)?.rsplit_once('-')?;
    // Underscores replace the colons of IPv6.
    Some((ip.replace('_', ":").parse().ok()?, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Home(tempfile::TempDir);

    impl Home {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        /// A directory with a store that trusts that network, and was set up with these trackers.
        fn put(&self, name: &str, network: Option<u8>, trackers: Option<&str>) -> PathBuf {
            let path = self.0.path().join(name);
            let store = DeviceStore::open(&path).unwrap();
            network.iter().for_each(|byte| store.set_network(key(*byte)).unwrap());
            if let Some(trackers) = trackers {
                Setup::new("0.0.0.0:6001".parse().unwrap(), info(trackers)).save(&path).unwrap();
            }
            path
        }

        fn choose(
            &self,
            listen: &str,
            trackers: &str,
            network: Option<u8>,
        ) -> Result<PathBuf, ClientError> {
            choose(self.0.path(), listen.parse().unwrap(), &info(trackers), network.map(key))
        }
    }

    fn key(byte: u8) -> Fingerprint {
        Fingerprint::from_bytes([byte; 32])
    }

    fn info(text: &str) -> TrackerInfo {
        TrackerInfo::parse(text).unwrap()
    }

    #[test]
    fn a_network_has_one_directory_whatever_address_is_typed_and_two_networks_have_two() {
        let home = Home::new();
        let one = home.choose("127.0.0.1:6001", "a:1\nb:2", None).unwrap();
        assert_eq!(home.choose("0.0.0.0:7001", "b:2\na:1", None).unwrap(), one, "any order");
        assert_ne!(home.choose("127.0.0.1:6001", "c:3", None).unwrap(), one);
        let named = home.choose("127.0.0.1:6001", "a:1\nb:2", Some(7)).unwrap();
        assert!(named.ends_with("network-0707070707070707"), "{named:?}");
        let line = format!("network {}\na:1", key(7));
        assert_eq!(home.choose("[::]:1", &line, None).unwrap(), named, "by the file's line");
    }

    #[test]
    fn the_store_says_whose_it_is_when_the_file_changes() {
        let home = Home::new();
        // Begun without a fingerprint; then the network was met.
        let path = home.put("network-0123456789abcdef", Some(7), Some("a:1\nb:2"));
        for (trackers, network) in
            [("a:1\nb:2", None), ("b:2\nc:3", None), ("x:1", Some(7)), ("a:1", Some(7))]
        {
            assert_eq!(home.choose("0.0.0.0:1", trackers, network).unwrap(), path, "{trackers}");
        }
        for (trackers, network) in [("x:1", None), ("a:1", Some(8))] {
            assert_ne!(home.choose("0.0.0.0:1", trackers, network).unwrap(), path, "{trackers}");
        }
        // The operator has replaced the key since.
        let store = DeviceStore::open(&path).unwrap();
        let new = crate::types::PublicKey::from_bytes([9; 32]);
        store.set_successor(&SuccessorRow { old: key(7), new, has_ended: true }).unwrap();
        drop(store);
        for network in [key(7), new.fingerprint()] {
            let listen = "0.0.0.0:1".parse().unwrap();
            let chosen = choose(home.0.path(), listen, &info("x:1"), Some(network)).unwrap();
            assert_eq!(chosen, path);
        }
    }

    #[test]
    fn directories_of_earlier_versions_are_found_and_used() {
        let home = Home::new();
        let first = home.put("client-127.0.0.1-6001", Some(7), None);
        assert_eq!(home.choose("0.0.0.0:6001", "a:1", Some(7)).unwrap(), first, "another address");
        assert_eq!(home.choose("0.0.0.0:9", "a:1", Some(7)).unwrap(), first, "another port");
        assert_ne!(
            home.choose("127.0.0.1:6001", "a:1", Some(8)).unwrap(),
            first,
            "not its network"
        );
        let second = home.put("client-__1-6002", Some(7), None);
        assert_eq!(home.choose("127.0.0.1:6001", "a:1", Some(7)).unwrap(), first);
        assert_eq!(home.choose("[::1]:6002", "a:1", Some(7)).unwrap(), second);
        assert_eq!(home.choose("0.0.0.0:6002", "a:1", Some(7)).unwrap(), second, "by its port");
        let error = home.choose("0.0.0.0:9", "a:1", Some(7)).unwrap_err().to_string();
        for part in ["client-127.0.0.1-6001", "client-__1-6002", "--data-dir", "--profile"] {
            assert!(error.contains(part), "{error}");
        }
        // A directory that has met no network yet is meant by its address alone, or if it is the
        // only one.
        let home = Home::new();
        let unmet = home.put("client-127.0.0.1-6001", None, None);
        assert_eq!(home.choose("127.0.0.1:6001", "a:1", Some(7)).unwrap(), unmet);
        assert_eq!(home.choose("0.0.0.0:6001", "a:1", None).unwrap(), unmet);
    }

    #[test]
    fn a_directory_by_network_goes_before_those_of_earlier_versions() {
        let home = Home::new();
        let earlier = home.put("client-127.0.0.1-6001", Some(7), None);
        let new = home.put("network-0707070707070707", Some(7), Some("a:1"));
        assert_eq!(home.choose("0.0.0.0:6001", "a:1", Some(7)).unwrap(), new);
        assert_eq!(home.choose("127.0.0.1:6001", "a:1", Some(7)).unwrap(), earlier);
    }

    #[test]
    fn without_a_word_the_only_one_that_was_set_up_goes_on() {
        let home = Home::new();
        assert!(find_only(home.0.path()).unwrap_err().to_string().contains("first start"));
        home.put("client-127.0.0.1-6009", Some(7), None);
        assert!(find_only(home.0.path()).is_err(), "it was never set up");
        let path = home.put("network-0707070707070707", Some(7), Some("a:1"));
        home.put("profile-work", Some(8), Some("b:1"));
        assert_eq!(find_only(home.0.path()).unwrap(), path);
        home.put("network-0808080808080808", Some(8), Some("b:1"));
        let error = find_only(home.0.path()).unwrap_err().to_string();
        assert!(error.contains("tracker a:1") && error.contains("tracker b:1"), "{error}");
    }

    #[test]
    fn a_profile_has_a_plain_name() {
        let root = Path::new("/data");
        assert_eq!(of_profile(root, "work-2").unwrap(), Path::new("/data/profile-work-2"));
        for bad in ["", "a/b", "a b", "ü", &"x".repeat(65)] {
            assert!(of_profile(root, bad).is_err(), "{bad:?}");
        }
        for name in ["client-x", "client-127.0.0.1-70000", "client-127.0.0.1", "network-1"] {
            assert_eq!(parse_earlier(name), None, "{name}");
        }
        assert_eq!(parse_earlier("client-0.0.0.0-0"), Some(("0.0.0.0".parse().unwrap(), 0)));
    }
}
