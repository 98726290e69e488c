//! The trackers of a network, as `tracker_info.txt` names them.
//!
//! **Invariant:** a [`TrackerInfo`] names 1 to [`TRACKERS_MAX`] trackers, no two alike, and a tracker's number is its place among
//! them, from 1. Reading the file is the caller's business; nothing here does IO or resolves names.
//!
//! One tracker a line: `host:port`, `host port` or `number host port`; the host is a name, an IPv4 address or an IPv6 address
//! (in brackets where the port follows a colon). Blank lines and what follows a `#` are passed over, and do not count.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use sha1::{Digest, Sha1};

use super::limits::TRACKERS_MAX;
use super::{Fingerprint, FingerprintError, Label, Sha1Digest};

/// Bytes in a host name (RFC 1035).
const HOST_LEN_MAX: usize = 253;

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
    /// No tracker at all.
    #[error("no tracker is named; write one host:port a line")]
    Empty,
}

/// Says why a text is not a tracker's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrackerAddressError {
    /// Not of the form `host:port`.
    #[error("host:port is expected, not {0:?}")]
    Form(String),
    /// Not a host.
    #[error("{0:?} is neither a host name nor an IP address")]
    Host(String),
    /// Not a port.
    #[error("{0:?} is not a port from 0 to 65535")]
    Port(String),
}

/// Where a tracker is found: a host, not yet resolved, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackerAddress {
    /// Lower case; an IP address is in its canonical form, without brackets.
    host: String,
    port: u16,
}

impl TrackerAddress {
    /// Puts an address together.
    ///
    /// # Errors
    /// A host that is neither a name nor an IP address is refused.
    pub fn new(host: &str, port: u16) -> Result<Self, TrackerAddressError> {
        Ok(Self { host: parse_host(host)?, port })
    }

    /// Host name or IP address, without brackets; together with the port it can be resolved as it is.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port; 0 stands for any free one, which only the tracker itself can make use of.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address as shown in listings.
    pub fn to_label(&self) -> Label {
        self.to_string().parse().expect("a host of at most 253 plain characters and a port make a label")
    }
}

/// Writes `host:port`, an IPv6 address in brackets.
impl fmt::Display for TrackerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Reads `host:port`.
impl FromStr for TrackerAddress {
    type Err = TrackerAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || TrackerAddressError::Form(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(form)?;
        // Without brackets nobody could tell where an IPv6 address ends.
        if host.contains(':') && !host.starts_with('[') {
            return Err(form());
        }
        Self::new(host, parse_port(port)?)
    }
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
    /// The first line that names no tracker, names one twice or numbers it wrongly; too many trackers, or none.
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
            let Some(address) = parse_line(line, line_number, addresses.len() + 1)? else { continue };
            if addresses.contains(&address) {
                return Err(TrackerInfoError::Twice { line: line_number, address });
            }
            if addresses.len() == TRACKERS_MAX {
                return Err(TrackerInfoError::TooMany);
            }
            addresses.push(address);
        }
        if addresses.is_empty() { Err(TrackerInfoError::Empty) } else { Ok(Self { addresses, fingerprint }) }
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

    /// Number of trackers, at least 1.
    pub fn count(&self) -> usize {
        self.addresses.len()
    }

    /// SHA-1 over the normalised lines, each ended by a line feed: equal on all trackers of one network, however their files
    /// are laid out.
    pub fn network(&self) -> Sha1Digest {
        let mut hasher = Sha1::new();
        self.addresses.iter().for_each(|address| hasher.update(format!("{address}\n")));
        Sha1Digest::from_bytes(hasher.finalize().into())
    }
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
fn parse_line(line: &str, line_number: usize, place: usize) -> Result<Option<TrackerAddress>, TrackerInfoError> {
    let wrong = |why| TrackerInfoError::Line { line: line_number, why };
    let words: Vec<&str> = line.split_whitespace().collect();
    let (number, address) = match words[..] {
        [] => return Ok(None),
        [address] => (None, address.parse()),
        [host, port] if port.parse::<u16>().is_ok() || !port.contains(':') => (None, from_words(host, port)),
        [number, address] => (Some(number), address.parse()),
        [number, host, port] => (Some(number), from_words(host, port)),
        _ => return Err(wrong(TrackerAddressError::Form(line.trim().to_owned()))),
    };
    if let Some(number) = number {
        let number = number.parse().map_err(|_| wrong(TrackerAddressError::Form(line.trim().to_owned())))?;
        if number != place as u64 {
            return Err(TrackerInfoError::Number { line: line_number, number, place });
        }
    }
    address.map(Some).map_err(wrong)
}

fn from_words(host: &str, port: &str) -> Result<TrackerAddress, TrackerAddressError> {
    TrackerAddress::new(host, parse_port(port)?)
}

fn parse_port(text: &str) -> Result<u16, TrackerAddressError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| TrackerAddressError::Port(text.to_owned()))
}

fn parse_host(text: &str) -> Result<String, TrackerAddressError> {
    let wrong = || TrackerAddressError::Host(text.to_owned());
    if let Some(inner) = text.strip_prefix('[') {
        let ip = inner.strip_suffix(']').and_then(|inner| inner.parse::<Ipv6Addr>().ok());
        return ip.map(|ip| ip.to_string()).ok_or_else(wrong);
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(ip.to_string());
    }
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    // Digits and dots alone are a mistyped IPv4 address; no resolver should guess at it.
    let numeric = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if text.is_empty() || text.len() > HOST_LEN_MAX || !plain || numeric || text.starts_with(['.', '-']) {
        return Err(wrong());
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        TrackerInfo::parse(text).unwrap().iter().map(|(number, address)| format!("{number} {address}")).collect()
    }

    #[test]
    fn every_form_is_understood() {
        let text = "\u{feff}# trackers\r\n\r\nExample.org:5000 # ours\n2 10.0.0.1 7000\n[::1]:1\n::0002 2\n5 [::3] 3\n6 host:4\nlocalhost 0";
        let want = ["1 example.org:5000", "2 10.0.0.1:7000", "3 [::1]:1", "4 [::2]:2", "5 [::3]:3", "6 host:4", "7 localhost:0"];
        assert_eq!(shown(text), want);
        let info = TrackerInfo::parse(text).unwrap();
        assert_eq!((info.count(), info.get(0), info.get(8)), (7, None, None));
        assert_eq!(info.get(3).unwrap().host(), "::1");
        assert_eq!(info.get(3).unwrap().to_label().as_str(), "[::1]:1");
    }

    #[test]
    fn bad_files_are_refused_with_their_line() {
        for bad in
            ["", "# nothing\n", "host", "a:b:1", "host:65536", "host:+1", "a b c d", "1.2.3.4.5:1", "é:1", "-x:1", "h ost:1 2"]
        {
            assert!(TrackerInfo::parse(bad).is_err(), "{bad:?}");
        }
        let error = TrackerInfo::parse("a:1\n\nbad").unwrap_err();
        assert_eq!(error.to_string(), "line 3: host:port is expected, not \"bad\"");
        let error = TrackerInfo::parse("a:1\n1 b 2").unwrap_err();
        assert_eq!(error, TrackerInfoError::Number { line: 2, number: 1, place: 2 });
        let error = TrackerInfo::parse("a:1\nA 1").unwrap_err();
        assert_eq!(error.to_string(), "line 2: a:1 is named twice");
        let many: String = (1..=TRACKERS_MAX + 1).map(|port| format!("a:{port}\n")).collect();
        assert_eq!(TrackerInfo::parse(&many), Err(TrackerInfoError::TooMany));
    }

    #[test]
    fn the_network_is_the_same_however_the_file_is_laid_out() {
        let one = TrackerInfo::parse("HOST:1\n::1 2\n").unwrap();
        let two = TrackerInfo::parse("# x\n1 host 1\n\n[0::1]:2").unwrap();
        assert_eq!(one.network(), two.network());
        assert_ne!(one.network(), TrackerInfo::parse("host:1").unwrap().network());
    }
}
