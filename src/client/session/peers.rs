//! The devices in each file's swarm, as the trackers list them.
//!
//! **Invariant:** a device counts as present in a group's swarm while a connected tracker lists it.
//! The list of a tracker whose connection has ended counts until a connected tracker says
//! otherwise, or until the tracker has reconnected and has had time to list its peers again. So the
//! loss of a tracker disturbs no transfer, and a device that left meanwhile does not stay for good.
//!
//! Pure. A clone costs a few pointers.

use std::net::SocketAddr;

use imbl::HashMap;

use crate::types::{DeviceId, DownloadState, GroupId, InfoHash, PeerEntry, UserId};

/// A change for the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PeerChange {
    /// The device can be dialled at that address.
    Here(InfoHash, DeviceId, SocketAddr),
    /// No tracker lists the device any more.
    Gone(InfoHash, DeviceId),
}

/// One device in one file's swarm.
#[derive(Debug, Clone)]
struct Known {
    user: UserId,
    /// The address on which it listens.
    address: SocketAddr,
    /// The trackers that list it, for each group.
    groups: HashMap<GroupId, Vouchers>,
}

impl Known {
    fn is_in(&self, groups: &[GroupId]) -> bool {
        groups.iter().any(|group| self.groups.get(group).is_some_and(|vouchers| vouchers.any()))
    }
}

/// The trackers that list a device, as bit masks.
#[derive(Debug, Clone, Copy, Default)]
struct Vouchers {
    /// Connected trackers.
    now: u64,
    /// Trackers that listed it before their connection ended.
    before: u64,
}

impl Vouchers {
    fn any(self) -> bool {
        self.now | self.before != 0
    }
}

/// Maximum number of devices whose users are kept after they have gone. Only `why` uses them, so
/// little is lost when all are forgotten.
const USERS_MAX: usize = 8_192;

/// The lists of all trackers.
#[derive(Debug, Clone, Default)]
pub(crate) struct PeerBook {
    files: HashMap<InfoHash, HashMap<DeviceId, Known>>,
    /// The user of each device, also after it has gone: names for `why`.
    users: HashMap<DeviceId, UserId>,
}

impl PeerBook {
    /// Applies a tracker's entry about one device.
    pub(crate) fn apply(&mut self, tracker: usize, peer: &PeerEntry) -> Option<PeerChange> {
        if self.users.len() >= USERS_MAX && !self.users.contains_key(&peer.device) {
            self.users.clear();
        }
        self.users.insert(peer.device, peer.user);
        if peer.state != DownloadState::Stopped {
            let devices = self.files.entry(peer.info_hash).or_default();
            let known = devices.entry(peer.device).or_insert_with(|| Known {
                user: peer.user,
                address: peer.address,
                groups: HashMap::new(),
            });
            (known.user, known.address) = (peer.user, peer.address);
            let vouchers = known.groups.entry(peer.group).or_default();
            *vouchers = Vouchers { now: vouchers.now | bit(tracker), before: 0 };
            return Some(PeerChange::Here(peer.info_hash, peer.device, peer.address));
        }
        let known = self.files.get_mut(&peer.info_hash)?.get_mut(&peer.device)?;
        if let Some(vouchers) = known.groups.get_mut(&peer.group) {
            *vouchers = Vouchers { now: vouchers.now & !bit(tracker), before: 0 };
        }
        self.sweep(peer.info_hash, peer.device)
    }

    /// A tracker's connection has ended: its entries are from before.
    pub(crate) fn lost(&mut self, tracker: usize) {
        for (_, devices) in self.files.iter_mut() {
            for (_, known) in devices.iter_mut() {
                for (_, vouchers) in known.groups.iter_mut() {
                    vouchers.before |= vouchers.now & bit(tracker);
                    vouchers.now &= !bit(tracker);
                }
            }
        }
    }

    /// A reconnected tracker has had time to list its peers again: removes its entries from before,
    /// and returns the changes for the engine.
    pub(crate) fn expire(&mut self, tracker: usize) -> Vec<PeerChange> {
        let mut gone = Vec::new();
        for (info_hash, devices) in self.files.iter_mut() {
            for (device, known) in devices.iter_mut() {
                for (_, vouchers) in known.groups.iter_mut() {
                    vouchers.before &= !bit(tracker);
                }
                if !known.groups.values().all(|vouchers| vouchers.any()) {
                    gone.push((*info_hash, *device));
                }
            }
        }
        gone.into_iter().filter_map(|(info_hash, device)| self.sweep(info_hash, device)).collect()
    }

    /// Tells whether the device takes part in the file's swarm in the group.
    pub(crate) fn takes_part(&self, info_hash: InfoHash, device: DeviceId, group: GroupId) -> bool {
        let known = self.files.get(&info_hash).and_then(|devices| devices.get(&device));
        known.is_some_and(|known| known.is_in(&[group]))
    }

    /// The devices that take part in the file's swarm in one of the groups, with their addresses.
    pub(crate) fn peers_in(
        &self,
        info_hash: InfoHash,
        groups: &[GroupId],
    ) -> Vec<(DeviceId, SocketAddr)> {
        let devices = self.files.get(&info_hash).into_iter().flatten();
        devices
            .filter(|(_, known)| known.is_in(groups))
            .map(|(device, known)| (*device, known.address))
            .collect()
    }

    /// The user of a device, as last reported.
    pub(crate) fn user_of(&self, device: DeviceId) -> Option<UserId> {
        let here =
            || self.files.values().find_map(|devices| devices.get(&device)).map(|known| known.user);
        self.users.get(&device).copied().or_else(here)
    }

    /// Forgets everything: the session has ended.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn sweep(&mut self, info_hash: InfoHash, device: DeviceId) -> Option<PeerChange> {
        let devices = self.files.get_mut(&info_hash)?;
        let known = devices.get_mut(&device)?;
        known.groups.retain(|_, vouchers| vouchers.any());
        if !known.groups.is_empty() {
            return None;
        }
        devices.remove(&device);
        if devices.is_empty() {
            self.files.remove(&info_hash);
        }
        Some(PeerChange::Gone(info_hash, device))
    }
}

fn bit(tracker: usize) -> u64 {
    1 << (tracker % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: InfoHash = InfoHash::from_bytes([1; 20]);
    const DEVICE: DeviceId = DeviceId::from_bytes([2; 32]);

    fn entry(group: u8, state: DownloadState) -> PeerEntry {
        PeerEntry {
            info_hash: FILE,
            group: GroupId::from_bytes([group; 16]),
            device: DEVICE,
            user: UserId::from_bytes([3; 16]),
            address: "127.0.0.1:9".parse().unwrap(),
            state,
        }
    }

    #[test]
    fn a_device_is_here_while_one_tracker_says_so() {
        let mut book = PeerBook::default();
        let [group, other] = [5, 6].map(|n| GroupId::from_bytes([n; 16]));
        assert!(matches!(
            book.apply(0, &entry(5, DownloadState::Seeding)),
            Some(PeerChange::Here(..))
        ));
        book.apply(1, &entry(5, DownloadState::Leeching));
        assert!(book.takes_part(FILE, DEVICE, group) && !book.takes_part(FILE, DEVICE, other));
        let peers = [(DEVICE, "127.0.0.1:9".parse().unwrap())];
        assert_eq!(
            (book.peers_in(FILE, &[other, group]), book.peers_in(FILE, &[other])),
            (peers.to_vec(), Vec::new())
        );
        assert_eq!(book.apply(0, &entry(5, DownloadState::Stopped)), None);
        assert!(book.takes_part(FILE, DEVICE, group));
        assert_eq!(
            book.apply(1, &entry(5, DownloadState::Stopped)),
            Some(PeerChange::Gone(FILE, DEVICE))
        );
        assert!(!book.takes_part(FILE, DEVICE, group));
        assert!(book.files.is_empty());
        assert_eq!(book.user_of(DEVICE), Some(UserId::from_bytes([3; 16])));
    }

    #[test]
    fn of_devices_that_have_gone_a_bounded_number_is_remembered() {
        let mut book = PeerBook::default();
        book.apply(0, &entry(5, DownloadState::Seeding));
        for number in 0..2 * USERS_MAX as u32 {
            let mut device = [9; 32];
            device[..4].copy_from_slice(&number.to_be_bytes());
            book.apply(
                0,
                &PeerEntry {
                    device: DeviceId::from_bytes(device),
                    ..entry(5, DownloadState::Stopped)
                },
            );
        }
        assert!(book.users.len() <= USERS_MAX);
        assert_eq!(book.user_of(DEVICE), Some(UserId::from_bytes([3; 16])), "it is here");
    }

    #[test]
    fn a_peer_list_outlives_its_connection_until_another_tracker_contradicts() {
        let mut book = PeerBook::default();
        let group = GroupId::from_bytes([5; 16]);
        book.apply(0, &entry(5, DownloadState::Seeding));
        book.apply(1, &entry(5, DownloadState::Seeding));
        book.lost(0);
        book.lost(1);
        assert!(book.takes_part(FILE, DEVICE, group), "without trackers transfers go on");
    }

    #[test]
    fn a_tracker_that_is_down_cannot_keep_a_device_that_left() {
        let mut book = PeerBook::default();
        let group = GroupId::from_bytes([5; 16]);
        book.apply(0, &entry(5, DownloadState::Seeding));
        book.apply(1, &entry(5, DownloadState::Seeding));
        book.lost(0);
        assert_eq!(
            book.apply(1, &entry(5, DownloadState::Stopped)),
            Some(PeerChange::Gone(FILE, DEVICE))
        );
        assert!(!book.takes_part(FILE, DEVICE, group));
    }

    #[test]
    fn a_tracker_that_returns_and_does_not_say_it_again_vouches_no_more() {
        let mut book = PeerBook::default();
        let group = GroupId::from_bytes([5; 16]);
        book.apply(0, &entry(5, DownloadState::Seeding));
        book.apply(
            0,
            &PeerEntry {
                device: DeviceId::from_bytes([9; 32]),
                ..entry(5, DownloadState::Seeding)
            },
        );
        book.lost(0);
        book.apply(0, &entry(5, DownloadState::Seeding));
        let gone = PeerChange::Gone(FILE, DeviceId::from_bytes([9; 32]));
        assert_eq!(book.expire(0), [gone]);
        assert!(book.expire(0).is_empty());
        assert!(book.takes_part(FILE, DEVICE, group));
        assert!(!book.takes_part(FILE, DeviceId::from_bytes([9; 32]), group));
    }
}
