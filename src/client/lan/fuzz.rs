//! A datagram of multicast DNS, as anybody on a local network sends it: for the fuzz targets.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{Announcement, DATAGRAM_MAX, Message, Neighbours, announce, read};
use crate::types::{DeviceId, Fingerprint};

const NETWORK: Fingerprint = Fingerprint::from_bytes([1; 32]);
/// The device that is recognised.
const DEVICE: DeviceId = DeviceId::from_bytes([2; 32]);
const EPOCH: u64 = 1;
/// No announcement holds for longer.
const HOLDS_MAX: Duration = Duration::from_secs(20 * 60);
/// Machines that say the same: more than are kept of one device.
const SENDERS: u8 = 5;

/// Reads a datagram, and has what it announces heard from several senders.
pub fn lan_datagrams(bytes: &[u8]) {
    let Some(message) = read(bytes) else { return };
    assert!(bytes.len() <= DATAGRAM_MAX);
    let Message::Announcements(all) = message else { return };
    assert!((1..=8).contains(&all.len()), "{} announcements", all.len());
    all.iter().for_each(check_announcement);
    let mut neighbours = Neighbours::default();
    neighbours.turn(&[NETWORK], EPOCH);
    neighbours.know([DEVICE]);
    for sender in 1..=SENDERS {
        let sender = Ipv4Addr::new(10, 0, 0, sender).into();
        all.iter().for_each(|one| neighbours.hear(one, sender, Duration::ZERO, is_here));
    }
    let found = neighbours.found();
    assert!(found.keys().all(|device| *device == DEVICE), "{found:?}");
    let addresses = found.get(&DEVICE).map(Vec::as_slice).unwrap_or_default();
    assert!(addresses.len() <= 4 && addresses.iter().all(|at| is_here(at.ip())), "{found:?}");
    neighbours.expire(HOLDS_MAX);
    assert!(neighbours.is_empty());
}

fn is_here(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.is_private())
}

/// Announced again it is read as it was.
fn check_announcement(announcement: &Announcement) {
    let Announcement { port, addresses, ttl, .. } = announcement;
    assert!(*port != 0 && addresses.len() <= 8, "{announcement:?}");
    assert!(Duration::from_secs((*ttl).into()) <= HOLDS_MAX, "{announcement:?}");
    let mut same = announcement.clone();
    if *ttl == 0 {
        same.addresses.clear();
    }
    let bytes = announce(announcement).expect("what was read can be written");
    assert_eq!(read(&bytes), Some(Message::Announcements(vec![same])));
}

/// The inputs that every fuzzing run begins with.
#[cfg(test)]
pub(crate) fn seeds() -> Vec<(String, Vec<u8>)> {
    let says = |device: u8, addresses: &[&str]| {
        let id = super::RotatingId::new(NETWORK, DeviceId::from_bytes([device; 32]), EPOCH);
        let addresses = addresses.iter().map(|ip| ip.parse().expect("an address")).collect();
        Announcement::new(id, 6001, addresses)
    };
    let known = says(2, &["192.168.1.7", "fd00::7"]);
    let stranger = says(3, &["10.0.0.7", "::ffff:10.0.0.8", "203.0.113.9"]);
    let made = [
        ("query", super::query()),
        ("known", announce(&known)),
        ("taken-back", announce(&known.taken_back())),
        ("stranger", announce(&stranger)),
    ];
    made.map(|(name, bytes)| (name.to_owned(), bytes.expect("it can be written"))).into()
}
