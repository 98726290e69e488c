//! The link of an invitation, as people pass it on: `posse:join/` and the URL-safe base64 of
//!
//! | field | bytes |
//! |---|---|
//! | version | `u8`, 1 |
//! | fingerprint of the network's key | 32 |
//! | group | 16 |
//! | secret | 16 |
//! | the group's name as shown | `u8` length, UTF-8 |
//! | number of trackers | `u8`, 1 to [`TRACKERS_IN_LINK_MAX`] |
//! | each tracker | `u8` 4 or 6, the IP address; or `u8` 0, `u8` length, the host's name; `u16` port |
//! | checksum | first 4 bytes of SHA-256 over all of the above |
//!
//! A later form has another version, and an earlier program asks to be updated.
//!
//! **Invariant:** a text that parses is the text that the link is written as. Only [`to_text`]
//! shows the secret.
//!
//! [`to_text`]: InvitationLink::to_text

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Fingerprint, GroupId, InvitationSecret, Label, TrackerAddress, TrackerInfo};

/// What the program is registered for with the desktop.
pub const SCHEME: &str = "posse:";
/// Tells whether a word is a link of this program.
pub fn is_link(word: &str) -> bool {
    word.get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME))
}

/// What stands before the base64.
const PREFIX: &str = "posse:join/";
/// The version that this program writes and reads.
const VERSION: u8 = 1;
/// Trackers in one link: enough to reach one of them, and few enough for a small QR code.
pub const TRACKERS_IN_LINK_MAX: usize = 8;
/// Bytes of trackers that a link is filled with: a QR code of 300 letters is easily scanned.
const TRACKERS_LEN: usize = 96;
/// Letters in a link: eight trackers with the longest names take fewer.
pub const LINK_LEN_MAX: usize = 4096;
/// Bytes in the checksum.
const CHECKSUM_LEN: usize = 4;

/// What lets its bearer into a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationLink {
    /// The key of the network, which the bearer trusts from then on.
    pub network: Fingerprint,
    /// The group.
    pub group: GroupId,
    /// The group's name as shown when the link was made.
    pub label: Label,
    /// The secret.
    pub secret: InvitationSecret,
    /// Some trackers of the network.
    pub trackers: Vec<TrackerAddress>,
}

/// Says why a text is not the link of an invitation. The text is not quoted: it holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvitationLinkError {
    /// It begins otherwise.
    #[error("a link of an invitation begins with {PREFIX}")]
    Prefix,
    /// It has spaces or line breaks in it.
    #[error("the link has spaces or line breaks in it; paste it as one line, without them")]
    Spaces,
    /// It has letters that no link has.
    #[error("the link has letters in it that no link has; copy it again, and nothing else")]
    Letters,
    /// It is of a later form.
    #[error("the link was made by a later version of Posse (form {0}); update this program")]
    Later(u8),
    /// It was cut short, or altered.
    #[error("the link is cut short or damaged; copy the whole of it again")]
    Damaged,
}

impl InvitationLink {
    /// Makes a link. Of the trackers it takes the first ones that keep it short, and one at least.
    ///
    /// # Panics
    /// Without a tracker.
    pub fn new(
        network: Fingerprint,
        (group, label): (GroupId, Label),
        secret: InvitationSecret,
        trackers: &[TrackerAddress],
    ) -> Self {
        assert!(!trackers.is_empty(), "a network has a tracker");
        let mut len = 0;
        let fits = |address: &&TrackerAddress| {
            let is_first = len == 0;
            len += tracker_bytes(address).len();
            is_first || len <= TRACKERS_LEN
        };
        let trackers: Vec<TrackerAddress> =
            trackers.iter().take(TRACKERS_IN_LINK_MAX).take_while(fits).cloned().collect();
        Self { network, group, label, secret, trackers }
    }

    /// The trackers and the network, as a `tracker_info.txt` names them.
    pub fn tracker_info(&self) -> TrackerInfo {
        let lines: String = self.trackers.iter().map(|address| format!("{address}\n")).collect();
        let info = TrackerInfo::parse(&lines).expect("a link's trackers are valid and differ");
        info.with_fingerprint(self.network)
    }

    /// Writes the link, with its secret.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(512));
        bytes.push(VERSION);
        bytes.extend_from_slice(self.network.as_bytes());
        bytes.extend_from_slice(self.group.as_bytes());
        bytes.extend_from_slice(self.secret.as_bytes());
        let label = self.label.as_str().as_bytes();
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label);
        bytes.push(self.trackers.len() as u8);
        self.trackers.iter().for_each(|address| bytes.extend(tracker_bytes(address)));
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + bytes.len() * 2));
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(&*bytes, &mut text);
        text
    }

    /// Parses a link. White space around it does not count.
    ///
    /// # Errors
    /// What is wrong with it, without quoting it.
    pub fn parse(text: &str) -> Result<Self, InvitationLinkError> {
        let text = text.trim();
        let begins = |prefix: &str| {
            text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        if !begins(PREFIX) {
            // Of `posse:jo` the rest was not copied.
            let is_cut = begins(SCHEME) && PREFIX.starts_with(&text.to_ascii_lowercase());
            return Err(if is_cut {
                InvitationLinkError::Damaged
            } else {
                InvitationLinkError::Prefix
            });
        }
        let letters = &text[PREFIX.len()..];
        if letters.contains(char::is_whitespace) {
            return Err(InvitationLinkError::Spaces);
        }
        let is_letter = |letter: u8| letter.is_ascii_alphanumeric() || b"-_".contains(&letter);
        if !letters.bytes().all(is_letter) {
            return Err(InvitationLinkError::Letters);
        }
        if text.len() > LINK_LEN_MAX {
            return Err(InvitationLinkError::Damaged);
        }
        let bytes = URL_SAFE_NO_PAD.decode(letters).map(Zeroizing::new);
        // The first four letters hold the version, however the rest was cut.
        let version = letters.get(..4).and_then(|start| URL_SAFE_NO_PAD.decode(start).ok());
        match version.and_then(|start| start.first().copied()) {
            Some(VERSION) => {}
            Some(later) if later > VERSION => return Err(InvitationLinkError::Later(later)),
            _ => return Err(InvitationLinkError::Damaged),
        }
        let bytes = bytes.map_err(|_| InvitationLinkError::Damaged)?;
        let (body, sum) =
            bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or(InvitationLinkError::Damaged)?;
        if checksum(body) != *sum {
            return Err(InvitationLinkError::Damaged);
        }
        let link = Self::read(&body[1..]).ok_or(InvitationLinkError::Damaged)?;
        // Letters of another case before the slash are as good.
        let is_same = link.to_text()[PREFIX.len()..] == *letters;
        if is_same { Ok(link) } else { Err(InvitationLinkError::Damaged) }
    }

    /// Reads what stands between version and checksum.
    fn read(body: &[u8]) -> Option<Self> {
        let mut from = body;
        let network = Fingerprint::from_bytes(take(&mut from)?);
        let group = GroupId::from_bytes(take(&mut from)?);
        let secret = InvitationSecret::from_bytes(take(&mut from)?);
        let label = take_text(&mut from)?.parse().ok()?;
        let [count] = take(&mut from)?;
        let mut trackers: Vec<TrackerAddress> = Vec::new();
        for _ in 0..count {
            let address = take_tracker(&mut from)?;
            if trackers.contains(&address) {
                return None;
            }
            trackers.push(address);
        }
        let is_whole = from.is_empty() && (1..=TRACKERS_IN_LINK_MAX).contains(&trackers.len());
        is_whole.then_some(Self { network, group, label, secret, trackers })
    }
}

fn tracker_bytes(address: &TrackerAddress) -> Vec<u8> {
    let mut bytes = Vec::new();
    match address.host().parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => {
            bytes.push(4);
            bytes.extend_from_slice(&ip.octets());
        }
        Ok(IpAddr::V6(ip)) => {
            bytes.push(6);
            bytes.extend_from_slice(&ip.octets());
        }
        Err(_) => {
            bytes.push(0);
            // A host's name has at most 253 bytes.
            bytes.push(address.host().len() as u8);
            bytes.extend_from_slice(address.host().as_bytes());
        }
    }
    bytes.extend_from_slice(&address.port().to_be_bytes());
    bytes
}

fn take_tracker(from: &mut &[u8]) -> Option<TrackerAddress> {
    let host = match take(from)? {
        [4] => IpAddr::from(take::<4>(from)?).to_string(),
        [6] => format!("[{}]", IpAddr::from(take::<16>(from)?)),
        [0] => {
            let name = take_text(from)?;
            // A scoped IPv6 address.
            if name.contains(':') { format!("[{name}]") } else { name.to_owned() }
        }
        _ => return None,
    };
    TrackerAddress::new(&host, u16::from_be_bytes(take(from)?)).ok()
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    from.split_off(..N)?.try_into().ok()
}

fn take_text<'a>(from: &mut &'a [u8]) -> Option<&'a str> {
    let [len] = take(from)?;
    std::str::from_utf8(from.split_off(..usize::from(len))?).ok()
}

/// A link with these contents, whether they are any or not.
#[cfg(any(test, fuzzing))]
pub(crate) fn sealed(bytes: &[u8]) -> String {
    let bytes = [bytes, &checksum(bytes)].concat();
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    *digest.first_chunk().expect("a digest has 32 bytes")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn link(trackers: &[&str]) -> InvitationLink {
        let trackers: Vec<TrackerAddress> =
            trackers.iter().map(|text| text.parse().unwrap()).collect();
        InvitationLink::new(
            Fingerprint::from_bytes(std::array::from_fn(|i| i as u8)),
            (GroupId::from_bytes([0x22; 16]), "lab~2".parse().unwrap()),
            InvitationSecret::from_bytes(std::array::from_fn(|i| 0xf0 + i as u8)),
            &trackers,
        )
    }

    fn bytes_of(link: &InvitationLink) -> Vec<u8> {
        let mut bytes = URL_SAFE_NO_PAD.decode(&link.to_text()[PREFIX.len()..]).unwrap();
        bytes.truncate(bytes.len() - CHECKSUM_LEN);
        bytes
    }

    #[test]
    fn a_link_reads_back_as_it_was_written() {
        let small = link(&["203.0.113.7:5000"]);
        let text = small.to_text();
        // The form that is out there: it may not change.
        assert_eq!(
            *text,
            "posse:join/AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fIiIiIiIiIiIiIiIiIiIiIvDx8vP09fb3-Pn6-_z9_v8FbGFifjIBBMsAcQcTiB97W1k"
        );
        for link in [
            small.clone(),
            link(&["tracker.example:5000", "[2001:db8::7]:7000", "10.0.0.1:1"]),
            link(&["[fe80::1%eth0]:7000"]),
        ] {
            assert_eq!(InvitationLink::parse(&link.to_text()).as_ref(), Ok(&link));
            assert_eq!(link.tracker_info().addresses(), link.trackers);
            assert_eq!(link.tracker_info().fingerprint(), Some(link.network));
        }
        let around = format!(" \tPOSSE:Join/{}\r\n", &text[PREFIX.len()..]);
        assert_eq!(InvitationLink::parse(&around), Ok(small.clone()));
        assert!(!format!("{small:?}").contains("f0f1"), "{small:?}");
    }

    #[test]
    fn a_link_takes_as_many_trackers_as_keep_it_short() {
        let addresses: Vec<String> = (1..20).map(|n| format!("10.0.0.{n}:5000")).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        assert_eq!(link(&addresses).trackers.len(), TRACKERS_IN_LINK_MAX);
        let long = format!("{}.example:5000", "x".repeat(200));
        assert_eq!(link(&[&long, "10.0.0.1:1"]).trackers.len(), 1);
        assert_eq!(link(&["10.0.0.1:1", &long]).trackers.len(), 1);
        assert!(link(&addresses).to_text().len() < 300);
    }

    #[test]
    fn what_is_no_link_is_named() {
        use InvitationLinkError::{Damaged, Later, Letters, Prefix, Spaces};
        let text = link(&["a.example:1", "10.0.0.1:2"]).to_text();
        let parse = |text: &str| InvitationLink::parse(text).unwrap_err();
        for other in ["", "join", "https://posse.example/join/AQAB", "posse:open/AQAB"] {
            assert_eq!(parse(other), Prefix, "{other:?}");
        }
        for len in 1..text.len() {
            let want = if len < SCHEME.len() { Prefix } else { Damaged };
            assert_eq!(parse(&text[..len]), want, "{len} letters of it");
        }
        assert_eq!(parse(&format!("{} {}", &text[..40], &text[40..])), Spaces);
        assert_eq!(parse(&format!("{}\n{}", &text[..40], &text[40..])), Spaces);
        assert_eq!(parse(&format!("{}=", &*text)), Letters);
        assert_eq!(parse(&format!("{}ü", &*text)), Letters);
        assert_eq!(parse(&format!("{}A", &*text)), Damaged);
        let mut later = bytes_of(&link(&["a.example:1"]));
        later[0] = 2;
        assert_eq!(parse(&sealed(&later)), Later(2));
        assert_eq!(parse(&sealed(&later)[..60]), Later(2));
        later[0] = 0;
        assert_eq!(parse(&sealed(&later)), Damaged);
        assert_eq!(parse(&format!("{PREFIX}{}", "A".repeat(LINK_LEN_MAX))), Damaged);
    }

    #[test]
    fn odd_contents_are_refused_although_the_checksum_is_right() {
        let link = link(&["10.0.0.1:1"]);
        let bytes = bytes_of(&link);
        let head = bytes.len() - 8;
        let with = |trackers: &[u8]| sealed(&[&bytes[..head], trackers].concat());
        let tracker = [4, 10, 0, 0, 1, 0, 1];
        assert_eq!(InvitationLink::parse(&with(&[&[1][..], &tracker].concat())), Ok(link));
        for odd in [
            [&[0][..], &[]].concat(),
            [&[2][..], &tracker, &tracker].concat(),
            [&[1][..], &tracker, &[0]].concat(),
            [&[2][..], &tracker].concat(),
            [&[1][..], &[5, 1, 2, 3, 4, 0, 1]].concat(),
            // An IP address as a name, and a name that is none.
            [&[1, 0, 8][..], b"10.0.0.1", &[0, 1]].concat(),
            [&[1, 0, 1][..], b"/", &[0, 1]].concat(),
            [&[1, 0, 2][..], &[0xff, 0xff], &[0, 1]].concat(),
            [&[9][..], &(1..=9).flat_map(|n| [4, 10, 0, 0, n, 0, 1]).collect::<Vec<_>>()].concat(),
        ] {
            let parsed = InvitationLink::parse(&with(&odd));
            assert_eq!(parsed, Err(InvitationLinkError::Damaged), "{odd:?}");
        }
    }

    proptest! {
        #[test]
        fn what_parses_is_written_as_it_was(bytes in prop::collection::vec(any::<u8>(), 0..200), flip in any::<u8>()) {
            let base = bytes_of(&link(&["a.example:1"]));
            let mixed: Vec<u8> = base.iter().enumerate()
                .map(|(at, byte)| if at == usize::from(flip) { bytes.first().copied().unwrap_or(0) } else { *byte })
                .chain(bytes.iter().skip(1).take(usize::from(flip) % 4).copied())
                .collect();
            for text in [sealed(&bytes), sealed(&mixed), String::from_utf8_lossy(&bytes).into_owned()] {
                if let Ok(link) = InvitationLink::parse(&text) {
                    prop_assert_eq!(&*link.to_text(), &text);
                }
            }
        }

        #[test]
        fn one_wrong_letter_is_noticed(at in 11usize..120, letter in "[A-Za-z0-9_-]") {
            let text = link(&["203.0.113.7:5000"]).to_text();
            let at = at.min(text.len() - 1);
            let altered = format!("{}{letter}{}", &text[..at], &text[at + 1..]);
            prop_assume!(altered != *text);
            prop_assert!(InvitationLink::parse(&altered).is_err());
        }
    }
}
