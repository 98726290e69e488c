//! The address of one tracker: `host:port`, as a line of `tracker_info.txt` names it.
//!
//! **Invariant:** a [`TrackerAddress`] names one host and one port in their normal form, so two
//! that are equal as text are the same tracker. Nothing here does IO or resolves names.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::Label;

/// Bytes in a host name (RFC 1035).
const HOST_LEN_MAX: usize = 253;
/// Bytes in the zone of a scoped IPv6 address: the name of an interface on Linux has one less.
const ZONE_LEN_MAX: usize = 16;

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
    /// A name in lower case, or an IP address in its canonical form, without brackets. The zone of
    /// a scoped IPv6 address keeps its case.
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

    /// Host name or IP address, without brackets; together with the port it can be resolved as it
    /// is.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Tells an IP address, which needs no resolver, from a name.
    pub fn is_ip(&self) -> bool {
        self.host.contains(':') || self.host.parse::<IpAddr>().is_ok()
    }

    /// Port; 0 stands for any free one, which only the tracker itself can make use of.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address as shown in listings.
    pub fn to_label(&self) -> Label {
        self.to_string()
            .parse()
            .expect("a host of at most 253 plain characters and a port make a label")
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

pub(super) fn parse_port(text: &str) -> Result<u16, TrackerAddressError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| TrackerAddressError::Port(text.to_owned()))
}

fn parse_host(text: &str) -> Result<String, TrackerAddressError> {
    let wrong = || TrackerAddressError::Host(text.to_owned());
    if let Some(inner) = text.strip_prefix('[') {
        return inner.strip_suffix(']').and_then(parse_ipv6).ok_or_else(wrong);
    }
    if let Some(ip) = parse_ipv6(text) {
        return Ok(ip);
    }
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Ok(ip.to_string());
    }
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    // Digits and dots alone are a mistyped IPv4 address; no resolver should guess at it.
    let numeric = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if text.is_empty()
        || text.len() > HOST_LEN_MAX
        || !plain
        || numeric
        || text.starts_with(['.', '-'])
    {
        return Err(wrong());
    }
    Ok(text.to_ascii_lowercase())
}

/// Reads an IPv6 address, scoped or not (RFC 4007, section 11): `fe80::1%eth0`. The zone is an
/// interface of the machine that dials; whether there is such an interface is found out then.
fn parse_ipv6(text: &str) -> Option<String> {
    let Some((ip, zone)) = text.split_once('%') else {
        return Some(text.parse::<Ipv6Addr>().ok()?.to_string());
    };
    let is_zone = (1..=ZONE_LEN_MAX).contains(&zone.len())
        && zone.chars().all(|c| c.is_ascii_alphanumeric() || "._-@".contains(c));
    is_zone.then_some(())?;
    Some(format!("{}%{zone}", ip.parse::<Ipv6Addr>().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_is_read() {
        for (text, want) in [
            ("HOST.example:5000", "host.example:5000"),
            ("10.0.0.1:0", "10.0.0.1:0"),
            ("[0::1]:7", "[::1]:7"),
            ("[FE80::1%Eth0]:7", "[fe80::1%Eth0]:7"),
            ("[fe80::1%2]:7", "[fe80::1%2]:7"),
        ] {
            let address: TrackerAddress = text.parse().unwrap();
            assert_eq!((address.to_string().as_str(), address.to_label().as_str()), (want, want));
            assert_eq!(address.to_string().parse(), Ok(address.clone()));
            assert_eq!(address.is_ip(), !text.starts_with('H'), "{text}");
        }
        for bad in [
            "[fe80::1%]:7",
            "[fe80::1%a/b]:7",
            "[fe80::1%a%b]:7",
            "[x%eth0]:7",
            "fe80::1%eth0:7",
            "10.0.0.1%eth0:7",
        ] {
            assert!(bad.parse::<TrackerAddress>().is_err(), "{bad}");
        }
        assert!(
            TrackerAddress::new("fe80::1%0123456789abcdefg", 1).is_err(),
            "no interface has so long a name"
        );
    }
}
