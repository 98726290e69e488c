//! Finds a tracker's default data directory, whatever became of its line in `tracker_info.txt`.
//!
//! **Invariant:** a tracker that has data on this machine, in a default directory, never starts
//! with an empty one unasked.
//!
//! A directory belongs to a tracker's address, not to the number of its line, and a file in it
//! ([`remember`]) says to which one. Lines may thus be added, removed and reordered. Where that
//! does not decide, the start is refused and the directories are listed: two that could be meant;
//! or data of a tracker that the file does not name, and no other tracker to fill an empty
//! directory from.
//!
//! Called once, at the start, on the program's main thread. Blocks on the disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use log::{info, warn};

use crate::store::{DirectoryLock, StoreError};
use crate::types::{Fingerprint, TrackerAddress, TrackerInfo};

/// What the names of all default directories begin with.
const PREFIX: &str = "tracker-";
/// Name of the file that says whose directory it is. It has the form of a `tracker_info.txt` of one
/// line.
const OWNER_FILE: &str = "tracker.txt";
/// Bytes of that file that are looked at.
const OWNER_LEN_MAX: u64 = 4096;
/// Characters of a host in a directory's name; the system takes 255 bytes for a name.
const HOST_LEN_MAX: usize = 200;

/// Says why no data directory was chosen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataDirError {
    /// Several directories could be meant.
    #[error(
        "several data directories may be that of the tracker {address}: {}; name one with --data-dir",
        list(found)
    )]
    Several {
        /// The tracker.
        address: TrackerAddress,
        /// The directories.
        found: Vec<Found>,
    },
    /// The directory that bears the tracker's address is another tracker's.
    #[error("{} is the data directory of the tracker {owner}, not of {address}; name one with --data-dir", path.display())]
    Taken {
        /// The tracker.
        address: TrackerAddress,
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: TrackerAddress,
    },
    /// The tracker would start empty, beside data of others, and there is no tracker to ask.
    #[error(
        "there is no data of the tracker {address} here, no other tracker of the file answers, and there is other data: {}; \
         go on with that by naming it with --data-dir, or start empty with --new",
        list(found)
    )]
    Empty {
        /// The tracker.
        address: TrackerAddress,
        /// The other data.
        found: Vec<Found>,
    },
    /// A directory of an earlier version is in use, or cannot be locked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory above cannot be read.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

fn list(found: &[Found]) -> String {
    let one = |found: &Found| match &found.owner {
        Owner::Known(address) => format!("{} (of the tracker {address})", found.path.display()),
        Owner::Earlier(_) | Owner::Unknown => found.path.display().to_string(),
    };
    found.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A default data directory that holds data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    path: PathBuf,
    owner: Owner,
}

/// Whose a directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    /// That of the tracker with this address.
    Known(TrackerAddress),
    /// An earlier version made it, for a tracker with this port.
    Earlier(u16),
    /// It does not say.
    Unknown,
}

impl Found {
    /// Tells whether it is that of the tracker with this address; of a directory of an earlier
    /// version the port decides.
    fn is_of(&self, tracker: &TrackerAddress) -> bool {
        match &self.owner {
            Owner::Known(address) => address == tracker,
            Owner::Earlier(port) => *port == tracker.port(),
            Owner::Unknown => false,
        }
    }
}

/// Chooses the directory of tracker `number` below `root`; makes none. With `start_empty` one that
/// has no data may be empty whatever there is beside it. `can_ask` tells whether another tracker of
/// the network can be reached now.
///
/// A directory of an earlier version is renamed.
///
/// # Errors
/// Every [`DataDirError`].
///
/// # Panics
/// If `info` has no such number.
///
/// # Blocking
/// On the disk, and as `can_ask` does.
pub(crate) fn choose(
    root: &Path,
    info: &TrackerInfo,
    number: u32,
    start_empty: bool,
    can_ask: impl FnOnce() -> bool,
) -> Result<PathBuf, DataDirError> {
    let own = info.get(number).expect("the caller has checked the number");
    let preferred = root.join(dir_name(own));
    let all =
        find_all(root).map_err(|source| DataDirError::Io { path: root.to_owned(), source })?;
    if let Some(found) = all.iter().find(|found| found.path == preferred) {
        return match &found.owner {
            Owner::Known(owner) if owner != own => Err(DataDirError::Taken {
                address: own.clone(),
                path: preferred,
                owner: owner.clone(),
            }),
            _ => Ok(preferred),
        };
    }
    if start_empty {
        return Ok(preferred);
    }
    let of_others = |found: &Found| {
        info.addresses().iter().any(|address| address != own && found.is_of(address))
    };
    let is_known = |found: &Found| matches!(found.owner, Owner::Known(_));
    let mut mine: Vec<Found> = all.iter().filter(|found| found.is_of(own)).cloned().collect();
    if mine.iter().any(is_known) {
        mine.retain(is_known);
    }
    let mut left: Vec<Found> =
        all.into_iter().filter(|found| !found.is_of(own) && !of_others(found)).collect();
    // Directories of earlier versions alone: the tracker's port has changed, too.
    if mine.is_empty() && left.iter().all(|found| matches!(found.owner, Owner::Earlier(_))) {
        mine.append(&mut left);
    }
    match &mine[..] {
        [one] if is_known(one) => Ok(one.path.clone()),
        [one] => take_over(&one.path, preferred),
        [] if left.is_empty() => Ok(preferred),
        [] if can_ask() => {
            warn!(
                "the tracker {own} has no data on this machine and will be filled from the others; other data here: {}",
                list(&left)
            );
            Ok(preferred)
        }
        [] => Err(DataDirError::Empty { address: own.clone(), found: left }),
        _ => Err(DataDirError::Several { address: own.clone(), found: mine }),
    }
}

/// Gives a directory of an earlier version its new name, unless a process uses it.
fn take_over(earlier: &Path, preferred: PathBuf) -> Result<PathBuf, DataDirError> {
    let _lock = DirectoryLock::take(earlier)?;
    match fs::rename(earlier, &preferred) {
        Ok(()) => {
            info!("the data directory {} is now {}", earlier.display(), preferred.display());
            Ok(preferred)
        }
        // It is used under its old name, and found there the next time: it remembers whose it is.
        Err(why) => {
            warn!("the data directory {} stays where it is: {why}", earlier.display());
            Ok(earlier.to_owned())
        }
    }
}

/// Notes in a data directory which tracker it is that of. The caller has locked it.
///
/// # Errors
/// The system's.
pub(crate) fn remember(
    dir: &Path,
    address: &TrackerAddress,
    network: Fingerprint,
) -> io::Result<()> {
    if let Some(was) =
        owner_of(dir).and_then(|info| info.fingerprint()).filter(|was| *was != network)
    {
        warn!(
            "{} was last used for the network {was}; this tracker is of {network}",
            dir.display()
        );
    }
    let info = TrackerInfo::single(address.clone()).with_fingerprint(network);
    let text = format!(
        "# The tracker that this data directory belongs to, as it was last started.\n{info}"
    );
    if fs::read_to_string(dir.join(OWNER_FILE)).is_ok_and(|was| was == text) {
        return Ok(());
    }
    // Renamed into its place, so that it is never half written.
    let new = dir.join(format!("{OWNER_FILE}.new"));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    io::Write::write_all(&mut options.open(&new)?, text.as_bytes())?;
    fs::rename(new, dir.join(OWNER_FILE))
}

/// The tracker that a directory remembers; none where there is no such file, or one that makes no
/// sense.
fn owner_of(dir: &Path) -> Option<TrackerInfo> {
    let mut text = String::new();
    let file = fs::File::open(dir.join(OWNER_FILE)).ok()?;
    io::Read::read_to_string(&mut io::Read::take(file, OWNER_LEN_MAX), &mut text).ok()?;
    TrackerInfo::parse(&text).ok()
}

/// The name of the default directory of the tracker with that address.
fn dir_name(address: &TrackerAddress) -> String {
    let host: String = address
        .host()
        .chars()
        .take(HOST_LEN_MAX)
        .map(|c| if ":%".contains(c) { '_' } else { c })
        .collect();
    format!("{PREFIX}{host}-{}", address.port())
}

/// The port in a name as earlier versions gave it: `tracker-<number>-<port>`. No host is a number.
fn earlier_port(name: &str) -> Option<u16> {
    let (number, port) = name.strip_prefix(PREFIX)?.split_once('-')?;
    number.parse::<u32>().ok()?;
    port.parse().ok()
}

/// Every default directory below `root` that holds data, by name.
fn find_all(root: &Path) -> io::Result<Vec<Found>> {
    let entries = match fs::read_dir(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        if !holds_data(&path) {
            continue;
        }
        let owner =
            match (owner_of(&path).and_then(|info| info.get(1).cloned()), earlier_port(name)) {
                (Some(address), _) => Owner::Known(address),
                (None, Some(port)) => Owner::Earlier(port),
                (None, None) => Owner::Unknown,
            };
        all.push(Found { path, owner });
    }
    all.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(all)
}

/// Every default directory below `root` that holds data; none if that cannot be read.
pub(crate) fn all_below(root: &Path) -> Vec<PathBuf> {
    find_all(root)
        .map_or_else(|_| Vec::new(), |found| found.into_iter().map(|found| found.path).collect())
}

/// Tells whether a directory holds a database, of whatever version.
fn holds_data(dir: &Path) -> bool {
    let mut entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.any(|entry| entry.path().extension().is_some_and(|extension| extension == "sqlite"))
}

#[cfg(test)]
mod tests;
