//! The trackers of a network, as `tracker_info.txt` names them.
//!
//! **Invariant:** a [`TrackerInfo`] names 1 to [`TRACKERS_MAX`] trackers, no two alike, and a
//! tracker's number is its place among them, from 1. Reading the file is the caller's business;
//! nothing here does IO or resolves names.
//!
//! One tracker a line: `host:port`, `host port` or `number host port`; the host is a name, an IPv4
//! address or an IPv6 address (in brackets where the port follows a colon), which may be scoped:
//! `fe80::1%eth0`. Blank lines and what follows a `#` are passed over, and do not count.
//!
//! Two files of one network may differ in layout and in the order of their lines:
//! [`TrackerInfo::members_digest`] and [`TrackerInfo::differences`] compare the trackers they name,
//! and nothing else.

use std::fmt;

use sha1::{Digest, Sha1};

use super::limits::TRACKERS_MAX;
use super::tracker_address::parse_port;
use super::{Fingerprint, FingerprintError, Sha1Digest, TrackerAddress, TrackerAddressError};

/// Says what is wrong with a `tracker_info.txt`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrackerInfoError {
    /// A line that names no tracker.
    #[error("line {line}: {why}")]
    Line {
        /// Line of the file, from 1.
        line: usize,
        /// What is wrong with it.
        why: TrackerAddressError,
    },
    /// A number at the start of a line that is not the tracker's place.
    #[error(
        "line {line}: the number {number} is given to tracker {place}; number the trackers 1, 2, 3 ... in order, or not at all"
    )]
    Number {
        /// Line of the file, from 1.
        line: usize,
        /// The number given.
        number: u64,
        /// The tracker's place.
        place: usize,
    },
    /// The same tracker on two lines.
    #[error("line {line}: {address} is named twice")]
    Twice {
        /// Line of the file, from 1.
        line: usize,
        /// The tracker.
        address: TrackerAddress,
    },
    /// Too many trackers.
    #[error("more than {TRACKERS_MAX} trackers are named")]
    TooMany,
    /// A line that begins with `network` and names no network's key.
    #[error("line {line}: network sha256:... and 64 digits is expected: {why}")]
    Fingerprint {
        /// Line of the file, from 1.
        line: usize,
        /// What is wrong with it.
        why: FingerprintError,
    },
    /// A second line that names a network's key.
    #[error("line {line}: the network is named twice")]
    TwoNetworks {
        /// Line of the file, from 1.
        line: usize,
    },
    /// A tracker that is to be added is there already.
    #[error("{0} is a tracker of this network already")]
    Known(TrackerAddress),
    /// A tracker that is to be removed is not there.
    #[error("{0} is no tracker of this network")]
    Unknown(TrackerAddress),
    /// A tracker that is to be removed is the only one.
    #[error("{0} is the network's only tracker")]
    Last(TrackerAddress),
    /// No tracker at all.
    #[error("no tracker is named; write one host:port a line")]
    Empty,
}

/// The trackers of one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackerInfo {
    addresses: Vec<TrackerAddress>,
    fingerprint: Option<Fingerprint>,
}

impl TrackerInfo {
    /// Takes the text of a `tracker_info.txt`.
    ///
    /// # Errors
    /// The first line that names no tracker, names one twice or numbers it wrongly; too many
    /// trackers, or none.
    ///
    /// # Example
    /// ```
    /// let info = posse::types::TrackerInfo::parse("# ours\n127.0.0.1:5000\n2 127.0.0.1 7000\n")?;
    /// assert_eq!(info.get(2).map(ToString::to_string).as_deref(), Some("127.0.0.1:7000"));
    /// # Ok::<(), posse::types::TrackerInfoError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, TrackerInfoError> {
        let (mut addresses, mut fingerprint) = (Vec::new(), None);
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line_number = index + 1;
            let line = line.split('#').next().unwrap_or_default();
            if let Some(network) = parse_network(line, line_number)? {
                if fingerprint.replace(network).is_some() {
                    return Err(TrackerInfoError::TwoNetworks { line: line_number });
                }
                continue;
            }
            let Some(address) = parse_line(line, line_number, addresses.len() + 1)? else {
                continue;
            };
            if addresses.contains(&address) {
                return Err(TrackerInfoError::Twice { line: line_number, address });
            }
            if addresses.len() == TRACKERS_MAX {
                return Err(TrackerInfoError::TooMany);
            }
            addresses.push(address);
        }
        if addresses.is_empty() {
            Err(TrackerInfoError::Empty)
        } else {
            Ok(Self { addresses, fingerprint })
        }
    }

    /// Makes a network of one tracker.
    pub fn single(address: TrackerAddress) -> Self {
        Self { addresses: vec![address], fingerprint: None }
    }

    /// The fingerprint of the network's key, if the file names it.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint
    }

    /// The same trackers, of the network with that key.
    pub fn with_fingerprint(self, fingerprint: Fingerprint) -> Self {
        Self { fingerprint: Some(fingerprint), ..self }
    }

    /// The tracker with that number, from 1.
    pub fn get(&self, number: u32) -> Option<&TrackerAddress> {
        self.addresses.get((number as usize).checked_sub(1)?)
    }

    /// Every tracker with its number, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u32, &TrackerAddress)> {
        self.addresses.iter().enumerate().map(|(index, address)| (index as u32 + 1, address))
    }

    /// The trackers' addresses, by number.
    pub fn addresses(&self) -> &[TrackerAddress] {
        &self.addresses
    }

    /// The number of the tracker with that address, from 1.
    pub fn number_of(&self, address: &TrackerAddress) -> Option<u32> {
        self.iter().find_map(|(number, other)| (other == address).then_some(number))
    }

    /// The same trackers and one more, which gets the next number.
    ///
    /// # Errors
    /// [`TrackerInfoError::Known`], [`TrackerInfoError::TooMany`].
    pub fn with_added(&self, address: TrackerAddress) -> Result<Self, TrackerInfoError> {
        if self.addresses.contains(&address) {
            return Err(TrackerInfoError::Known(address));
        }
        if self.addresses.len() >= TRACKERS_MAX {
            return Err(TrackerInfoError::TooMany);
        }
        let addresses = self.addresses.iter().cloned().chain([address]).collect();
        Ok(Self { addresses, fingerprint: self.fingerprint })
    }

    /// The same trackers but one; those behind it move up by one number.
    ///
    /// # Errors
    /// [`TrackerInfoError::Unknown`], [`TrackerInfoError::Last`].
    pub fn without(&self, address: &TrackerAddress) -> Result<Self, TrackerInfoError> {
        if !self.addresses.contains(address) {
            return Err(TrackerInfoError::Unknown(address.clone()));
        }
        if self.addresses.len() == 1 {
            return Err(TrackerInfoError::Last(address.clone()));
        }
        let addresses = self.addresses.iter().filter(|other| *other != address).cloned().collect();
        Ok(Self { addresses, fingerprint: self.fingerprint })
    }

    /// Says in words how the trackers of another file differ from these, whatever the order of
    /// lines; `None` if they do not.
    ///
    /// # Example
    /// ```
    /// use posse::types::TrackerInfo;
    ///
    /// let (ours, theirs) = (TrackerInfo::parse("a:1\nb:2")?, TrackerInfo::parse("c:3\nb:2")?);
    /// let words = ours.differences(theirs.addresses());
    /// assert_eq!(words.as_deref(), Some("only here: a:1; only there: c:3"));
    /// # Ok::<(), posse::types::TrackerInfoError>(())
    /// ```
    pub fn differences(&self, other: &[TrackerAddress]) -> Option<String> {
        let parts = [
            ("only here", missing(&self.addresses, other)),
            ("only there", missing(other, &self.addresses)),
        ];
        let words: Vec<String> = parts
            .iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(place, list)| format!("{place}: {list}"))
            .collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// SHA-1 over the sorted addresses, each ended by a line feed: equal for files that name the
    /// same trackers, in whatever order.
    pub fn members_digest(&self) -> Sha1Digest {
        let mut sorted: Vec<&TrackerAddress> = self.addresses.iter().collect();
        sorted.sort_unstable();
        digest_of(sorted)
    }

    /// Number of trackers, at least 1.
    pub fn count(&self) -> usize {
        self.addresses.len()
    }

    /// SHA-1 over the normalised lines, each ended by a line feed: equal on all trackers of one
    /// network, however their files are laid out.
    pub fn network(&self) -> Sha1Digest {
        digest_of(&self.addresses)
    }
}

/// Writes a `tracker_info.txt` that reads back as the same: the network, if it is named, then one
/// `host:port` a line.
impl fmt::Display for TrackerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fingerprint) = self.fingerprint {
            writeln!(f, "network {fingerprint}")?;
        }
        self.addresses.iter().try_for_each(|address| writeln!(f, "{address}"))
    }
}

fn digest_of<'a>(addresses: impl IntoIterator<Item = &'a TrackerAddress>) -> Sha1Digest {
    let mut hasher = Sha1::new();
    addresses.into_iter().for_each(|address| hasher.update(format!("{address}\n")));
    Sha1Digest::from_bytes(hasher.finalize().into())
}

/// The addresses of `all` that are not among `known`, as a list in words.
fn missing(all: &[TrackerAddress], known: &[TrackerAddress]) -> String {
    let missing: Vec<String> =
        all.iter().filter(|address| !known.contains(address)).map(ToString::to_string).collect();
    missing.join(", ")
}

/// Reads a line that names the network's key; `None` for any other.
fn parse_network(line: &str, line_number: usize) -> Result<Option<Fingerprint>, TrackerInfoError> {
    let mut words = line.split_whitespace();
    if words.next() != Some("network") {
        return Ok(None);
    }
    let rest: Vec<&str> = words.collect();
    let wrong = |why| TrackerInfoError::Fingerprint { line: line_number, why };
    rest.join(" ").parse().map(Some).map_err(wrong)
}

/// Reads one line without its comment; `None` for a blank one.
fn parse_line(
    line: &str,
    line_number: usize,
    place: usize,
) -> Result<Option<TrackerAddress>, TrackerInfoError> {
    let wrong = |why| TrackerInfoError::Line { line: line_number, why };
    let words: Vec<&str> = line.split_whitespace().collect();
    let (number, address) = match words[..] {
        [] => return Ok(None),
        [address] => (None, address.parse()),
        [host, port] if port.parse::<u16>().is_ok() || !port.contains(':') => {
            (None, from_words(host, port))
        }
        [number, address] => (Some(number), address.parse()),
        [number, host, port] => (Some(number), from_words(host, port)),
        _ => return Err(wrong(TrackerAddressError::Form(line.trim().to_owned()))),
    };
    if let Some(number) = number {
        let number =
            number.parse().map_err(|_| wrong(TrackerAddressError::Form(line.trim().to_owned())))?;
        if number != place as u64 {
            return Err(TrackerInfoError::Number { line: line_number, number, place });
        }
    }
    address.map(Some).map_err(wrong)
}

fn from_words(host: &str, port: &str) -> Result<TrackerAddress, TrackerAddressError> {
    TrackerAddress::new(host, parse_port(port)?)
}

#[cfg(test)]
mod tests;
