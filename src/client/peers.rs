//! Who takes part in which file's swarm, as the trackers tell.
//!
//! **Invariant:** a device counts as present in a group's swarm while at least one tracker says so; a tracker that dies does not
//! unsay what it said, one that comes back starts from nothing.
//!
//! Pure: no IO, no locks; the client keeps it behind one.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use crate::types::{DeviceId, DownloadState, GroupId, InfoHash, PeerEntry, UserId};

/// What the engine is to be told after a tracker's news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PeerChange {
    /// The device can be dialled there.
    Here(InfoHash, DeviceId, SocketAddr),
    /// Nobody says any more that the device is there.
    Gone(InfoHash, DeviceId),
}

/// One device's part in one file's swarm.
#[derive(Debug, Clone)]
struct Known {
    user: UserId,
    /// Bit mask of the trackers that say so, for each group.
    groups: HashMap<GroupId, u64>,
}

/// Everything the trackers have said.
#[derive(Debug, Default)]
pub(crate) struct PeerBook {
    files: HashMap<InfoHash, HashMap<DeviceId, Known>>,
    /// Whose devices these are, also after they have gone: names for `why`.
    users: HashMap<DeviceId, UserId>,
}

impl PeerBook {
    /// Takes what a tracker said about one device.
    pub(crate) fn apply(&mut self, tracker: usize, peer: &PeerEntry) -> Option<PeerChange> {
        self.users.insert(peer.device, peer.user);
        let devices = self.files.entry(peer.info_hash).or_default();
        if peer.state != DownloadState::Stopped {
            let known = devices.entry(peer.device).or_insert_with(|| Known { user: peer.user, groups: HashMap::new() });
            known.user = peer.user;
            *known.groups.entry(peer.group).or_default() |= bit(tracker);
            return Some(PeerChange::Here(peer.info_hash, peer.device, peer.address));
        }
        let known = devices.get_mut(&peer.device)?;
        if let Some(trackers) = known.groups.get_mut(&peer.group) {
            *trackers &= !bit(tracker);
        }
        self.sweep(peer.info_hash, peer.device)
    }

    /// Forgets what a tracker said before: its session is new, and it will say everything again.
    pub(crate) fn forget_tracker(&mut self, tracker: usize) {
        for known in self.files.values_mut().flat_map(HashMap::values_mut) {
            // The last to vouch for a device stays believed until it says otherwise.
            known
                .groups
                .values_mut()
                .filter(|trackers| **trackers != bit(tracker))
                .for_each(|trackers| *trackers &= !bit(tracker));
        }
    }

    /// Forgets a user's devices in one group: the membership has ended.
    pub(crate) fn forget_member(&mut self, group: GroupId, user: UserId) {
        for known in self.files.values_mut().flat_map(HashMap::values_mut).filter(|known| known.user == user) {
            known.groups.remove(&group);
        }
    }

    /// Tells whether the device takes part in the file's swarm in one of the groups.
    pub(crate) fn takes_part(&self, info_hash: InfoHash, device: DeviceId, groups: &[GroupId]) -> bool {
        let known = self.files.get(&info_hash).and_then(|devices| devices.get(&device));
        known.is_some_and(|known| groups.iter().any(|group| known.groups.get(group).is_some_and(|trackers| *trackers != 0)))
    }

    /// Whose device it is, or was when last heard of.
    pub(crate) fn user_of(&self, device: DeviceId) -> Option<UserId> {
        self.users.get(&device).copied()
    }

    /// The devices that take part in the file's swarm in one of the groups.
    pub(crate) fn devices_in(&self, info_hash: InfoHash, groups: &[GroupId]) -> HashSet<DeviceId> {
        let devices = self.files.get(&info_hash).into_iter().flat_map(HashMap::keys).copied();
        devices.filter(|device| self.takes_part(info_hash, *device, groups)).collect()
    }

    /// Every device that the user was heard of with.
    pub(crate) fn devices_of(&self, user: UserId) -> Vec<DeviceId> {
        self.users.iter().filter(|(_, of)| **of == user).map(|(device, _)| *device).collect()
    }

    /// Forgets everything: the session has ended.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn sweep(&mut self, info_hash: InfoHash, device: DeviceId) -> Option<PeerChange> {
        let devices = self.files.get_mut(&info_hash)?;
        let known = devices.get_mut(&device)?;
        known.groups.retain(|_, trackers| *trackers != 0);
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
        assert!(matches!(book.apply(0, &entry(5, DownloadState::Seeding)), Some(PeerChange::Here(..))));
        book.apply(1, &entry(5, DownloadState::Leeching));
        assert!(book.takes_part(FILE, DEVICE, &[other, group]) && !book.takes_part(FILE, DEVICE, &[other]));
        assert_eq!(book.apply(0, &entry(5, DownloadState::Stopped)), None);
        assert!(book.takes_part(FILE, DEVICE, &[group]));
        assert_eq!(book.apply(1, &entry(5, DownloadState::Stopped)), Some(PeerChange::Gone(FILE, DEVICE)));
        assert!(!book.takes_part(FILE, DEVICE, &[group]));
        assert!(book.files.is_empty());
        assert_eq!(book.user_of(DEVICE), Some(UserId::from_bytes([3; 16])));
    }

    #[test]
    fn what_the_last_tracker_said_holds_until_it_says_otherwise() {
        let mut book = PeerBook::default();
        let group = GroupId::from_bytes([5; 16]);
        book.apply(0, &entry(5, DownloadState::Seeding));
        book.apply(1, &entry(5, DownloadState::Seeding));
        book.forget_tracker(0);
        book.forget_tracker(1);
        assert!(book.takes_part(FILE, DEVICE, &[group]));
        book.forget_member(group, UserId::from_bytes([3; 16]));
        assert!(!book.takes_part(FILE, DEVICE, &[group]));
    }
}
