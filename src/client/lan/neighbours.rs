//! The devices that announce themselves on this machine's networks.
//!
//! **Invariant:** an announcement is kept for as long as it says and 20 minutes at most. Those whose
//! device is known are kept apart from the others, so a flood of false ones displaces none of them.
//! Bounded by [`KNOWN_MAX`], [`STRANGERS_MAX`] and [`SENDERS_MAX`].
//!
//! Pure. Times are those of `uptime`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Announcement, RotatingId};
use crate::types::{DeviceId, Fingerprint};

/// Devices that would be recognised.
const KNOWN_MAX: usize = 16_384;
/// Announcements of devices that are not known: they may be, a moment later.
const STRANGERS_MAX: usize = 256;
/// The same of one sender: several clients of one machine.
const STRANGERS_PER_SENDER_MAX: usize = 8;
/// Senders who announce the same device: it has an address for each of its networks. Anybody who
/// heard its id can announce it.
const SENDERS_MAX: usize = 3;
/// Addresses told of one device.
const ADDRESSES_MAX: usize = 4;

/// The recognised devices, and where they announce themselves.
pub(crate) type Found = BTreeMap<DeviceId, Vec<SocketAddr>>;

/// An announcement that holds.
#[derive(Debug, Clone)]
struct Heard {
    sender: IpAddr,
    addresses: Vec<SocketAddr>,
    until: Duration,
}

/// What has been announced.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    networks: Vec<Fingerprint>,
    epoch: u64,
    /// The devices in `by_id`.
    known: HashSet<DeviceId>,
    /// Each known device's ids of this epoch, the one before and the next: clocks differ.
    by_id: HashMap<RotatingId, DeviceId>,
    members: HashMap<DeviceId, Vec<Heard>>,
    /// By id and sender.
    strangers: HashMap<(RotatingId, IpAddr), Heard>,
}

impl Neighbours {
    /// Another epoch may have begun, or the network have another key.
    pub(crate) fn turn(&mut self, networks: &[Fingerprint], epoch: u64) {
        if (&self.networks[..], self.epoch) == (networks, epoch) {
            return;
        }
        (self.networks, self.epoch) = (networks.to_vec(), epoch);
        self.by_id.clear();
        let known = std::mem::take(&mut self.known);
        self.know(known);
    }

    /// Learns of devices whose announcements are to be recognised.
    pub(crate) fn know(&mut self, devices: impl IntoIterator<Item = DeviceId>) {
        let before = self.known.len();
        for device in devices {
            if self.known.len() >= KNOWN_MAX || !self.known.insert(device) {
                continue;
            }
            for epoch in self.epoch.saturating_sub(1)..=self.epoch.saturating_add(1) {
                for network in &self.networks {
                    self.by_id.insert(RotatingId::new(*network, device, epoch), device);
                }
            }
        }
        if self.known.len() == before {
            return;
        }
        let is_known = |(id, _): &(RotatingId, IpAddr), _: &mut Heard| self.by_id.contains_key(id);
        let recognised: Vec<_> = self.strangers.extract_if(is_known).collect();
        for ((id, _), heard) in recognised {
            if let Some(device) = self.by_id.get(&id) {
                put(self.members.entry(*device).or_default(), heard);
            }
        }
    }

    /// Tells whether anything is announced: without that there is nobody to recognise.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.strangers.is_empty()
    }

    /// Takes an announcement from a sender. `is_here` tells whether an address is on one of this
    /// machine's networks: no other counts, so nobody is sent to a third party's.
    pub(crate) fn hear(
        &mut self,
        announcement: &Announcement,
        sender: IpAddr,
        now: Duration,
        is_here: impl Fn(IpAddr) -> bool,
    ) {
        let Announcement { id, port, ref addresses, ttl } = *announcement;
        let device = self.by_id.get(&id).copied();
        if ttl == 0 {
            match device {
                Some(device) => {
                    if let Some(all) = self.members.get_mut(&device) {
                        all.retain(|heard| heard.sender != sender);
                    }
                    self.members.retain(|_, all| !all.is_empty());
                }
                None => drop(self.strangers.remove(&(id, sender))),
            }
            return;
        }
        let here = addresses.iter().copied().filter(|ip| is_here(*ip));
        let addresses: Vec<SocketAddr> =
            here.map(|ip| SocketAddr::new(ip, port)).take(ADDRESSES_MAX).collect();
        if addresses.is_empty() {
            return;
        }
        let heard = Heard { sender, addresses, until: now + Duration::from_secs(ttl.into()) };
        match device {
            Some(device) => put(self.members.entry(device).or_default(), heard),
            None => self.keep_stranger(id, heard),
        }
    }

    fn keep_stranger(&mut self, id: RotatingId, heard: Heard) {
        let key = (id, heard.sender);
        if !self.strangers.contains_key(&key) {
            let is_of_sender = |(_, sender): &&(RotatingId, IpAddr)| *sender == heard.sender;
            let has_too_many =
                self.strangers.keys().filter(is_of_sender).count() >= STRANGERS_PER_SENDER_MAX;
            let ends_first = self
                .strangers
                .iter()
                .filter(|(key, _)| !has_too_many || is_of_sender(key))
                .min_by_key(|(_, other)| other.until)
                .map(|(key, _)| *key);
            if has_too_many || self.strangers.len() >= STRANGERS_MAX {
                ends_first.map(|first| self.strangers.remove(&first));
            }
        }
        self.strangers.insert(key, heard);
    }

    /// Forgets what holds no more.
    pub(crate) fn expire(&mut self, now: Duration) {
        self.strangers.retain(|_, heard| heard.until > now);
        self.members.values_mut().for_each(|all| all.retain(|heard| heard.until > now));
        self.members.retain(|_, all| !all.is_empty());
    }

    /// The recognised devices: at most [`ADDRESSES_MAX`] addresses each, the latest first.
    pub(crate) fn found(&self) -> Found {
        let addresses = |all: &Vec<Heard>| {
            let mut addresses: Vec<SocketAddr> = Vec::new();
            for address in all.iter().rev().flat_map(|heard| &heard.addresses) {
                if addresses.len() < ADDRESSES_MAX && !addresses.contains(address) {
                    addresses.push(*address);
                }
            }
            addresses
        };
        self.members.iter().map(|(device, all)| (*device, addresses(all))).collect()
    }
}

/// Keeps one announcement a sender, the latest ones at the end.
fn put(all: &mut Vec<Heard>, heard: Heard) {
    match all.iter_mut().find(|other| other.sender == heard.sender) {
        Some(before) => *before = heard,
        None => {
            if all.len() >= SENDERS_MAX {
                all.remove(0);
            }
            all.push(heard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: Fingerprint = Fingerprint::from_bytes([1; 32]);
    const SECOND: Duration = Duration::from_secs(1);

    fn device(number: u16) -> DeviceId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        DeviceId::from_bytes(bytes)
    }

    fn says(number: u16, epoch: u64, ip: &str) -> Announcement {
        let id = RotatingId::new(NETWORK, device(number), epoch);
        Announcement::new(id, 6001, vec![ip.parse().unwrap()])
    }

    fn knowing(numbers: &[u16], epoch: u64) -> Neighbours {
        let mut neighbours = Neighbours::default();
        neighbours.turn(&[NETWORK], epoch);
        neighbours.know(numbers.iter().map(|number| device(*number)));
        neighbours
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn found(neighbours: &Neighbours, number: u16) -> Vec<String> {
        let found = neighbours.found();
        found.get(&device(number)).into_iter().flatten().map(ToString::to_string).collect()
    }

    #[test]
    fn a_known_device_is_recognised_for_one_epoch_around() {
        for (epoch, is_known) in [(8, false), (9, true), (10, true), (11, true), (12, false)] {
            let mut neighbours = knowing(&[1], 10);
            neighbours.hear(&says(1, epoch, "10.0.0.1"), ip("10.0.0.1"), SECOND, |_| true);
            assert_eq!(found(&neighbours, 1).len(), usize::from(is_known), "{epoch}");
        }
        // The id that the clock's turn brings into reach.
        let mut neighbours = knowing(&[1], 10);
        neighbours.turn(&[NETWORK], 11);
        neighbours.hear(&says(1, 12, "10.0.0.1"), ip("10.0.0.1"), SECOND, |_| true);
        assert_eq!(found(&neighbours, 1), ["10.0.0.1:6001"]);
    }

    #[test]
    fn a_device_that_becomes_known_has_been_heard() {
        let mut neighbours = knowing(&[], 10);
        neighbours.hear(&says(1, 10, "10.0.0.1"), ip("10.0.0.1"), SECOND, |_| true);
        assert!(neighbours.found().is_empty() && !neighbours.is_empty());
        neighbours.know([device(1)]);
        assert_eq!(found(&neighbours, 1), ["10.0.0.1:6001"]);
    }

    #[test]
    fn an_announcement_ends_with_its_time_or_when_its_sender_takes_it_back() {
        let mut neighbours = knowing(&[1], 10);
        let (says, from) = (says(1, 10, "10.0.0.1"), ip("10.0.0.1"));
        neighbours.hear(&says, from, SECOND, |_| true);
        let gone = says.clone().taken_back();
        neighbours.hear(&gone, ip("10.0.0.9"), SECOND, |_| true);
        assert_eq!(found(&neighbours, 1), ["10.0.0.1:6001"], "another sender");
        neighbours.hear(&gone, from, SECOND, |_| true);
        assert!(neighbours.is_empty());
        neighbours.hear(&says, from, SECOND, |_| true);
        neighbours.expire(SECOND * 1_200);
        assert!(!neighbours.is_empty());
        neighbours.expire(SECOND * 1_201);
        assert!(neighbours.is_empty());
    }

    #[test]
    fn nobody_is_sent_to_another_network() {
        let mut neighbours = knowing(&[1], 10);
        let mut both = says(1, 10, "203.0.113.5");
        neighbours.hear(&both, ip("10.0.0.1"), SECOND, |ip| ip.to_string().starts_with("10."));
        assert!(neighbours.is_empty());
        both.addresses.push(ip("10.0.0.1"));
        neighbours.hear(&both, ip("10.0.0.1"), SECOND, |ip| ip.to_string().starts_with("10."));
        assert_eq!(found(&neighbours, 1), ["10.0.0.1:6001"]);
    }

    #[test]
    fn a_flood_is_bounded_and_displaces_no_member() {
        let mut neighbours = knowing(&[1], 10);
        neighbours.hear(&says(1, 10, "10.0.0.1"), ip("10.0.0.1"), SECOND, |_| true);
        for number in 2..5_000_u16 {
            let [high, low] = number.to_be_bytes();
            let sender = IpAddr::from([10, 0, high, low]);
            neighbours.hear(&says(number, 10, "10.0.0.66"), sender, SECOND, |_| true);
            neighbours.hear(&says(number, 10, "10.0.0.66"), ip("10.0.0.66"), SECOND, |_| true);
        }
        assert_eq!(neighbours.strangers.len(), STRANGERS_MAX);
        let of_one = |heard: &&Heard| heard.sender == ip("10.0.0.66");
        assert!(neighbours.strangers.values().filter(of_one).count() <= STRANGERS_PER_SENDER_MAX);
        assert_eq!(found(&neighbours, 1), ["10.0.0.1:6001"]);
        neighbours.know((0..u16::MAX).map(device));
        assert_eq!(neighbours.known.len(), KNOWN_MAX);
    }

    #[test]
    fn one_sender_has_few_strangers() {
        let mut neighbours = knowing(&[], 10);
        for number in 0..100 {
            neighbours.hear(&says(number, 10, "10.0.0.66"), ip("10.0.0.66"), SECOND, |_| true);
        }
        assert_eq!(neighbours.strangers.len(), STRANGERS_PER_SENDER_MAX);
    }

    #[test]
    fn those_who_announce_another_device_give_it_few_addresses() {
        let mut neighbours = knowing(&[1], 10);
        for number in 0..100_u8 {
            let address = format!("10.0.0.{number}");
            neighbours.hear(&says(1, 10, &address), ip(&address), SECOND, |_| true);
        }
        assert_eq!(found(&neighbours, 1), ["10.0.0.99:6001", "10.0.0.98:6001", "10.0.0.97:6001"]);
    }
}
