//! The devices in each file's swarm, as the trackers list them.
//!
//! **Invariant:** a device counts as present in a group's swarm while a connected tracker lists it.
//! The list of a tracker whose connection has ended counts until a connected tracker says
//! otherwise, or until the tracker has reconnected and has had time to list its peers again. So the
//! loss of a tracker disturbs no transfer, and a device that left meanwhile does not stay for good.
//!
//! Pure. A clone costs a few pointers.

use std::net::SocketAddr;
use std::sync::Arc;

use imbl::{HashMap, OrdMap};

use crate::client::lan::Found;
use crate::types::limits::CANDIDATES_MAX;
use crate::types::{
    Candidate, CandidateKind, DeviceId, DownloadState, GroupId, InfoHash, PeerEntry, UserId,
    usable_candidates,
};

/// A change for the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PeerChange {
    /// The device can be dialled, at [`PeerBook::candidates`].
    Here(InfoHash, DeviceId),
    /// No tracker lists the device any more.
    Gone(InfoHash, DeviceId),
}

/// One device in one file's swarm in one group. It is small and holds no pointers: a turn copies
/// the entries beside the one that it changes.
#[derive(Debug, Clone, Copy)]
struct Known {
    user: UserId,
    /// Where a tracker sees it, with the port on which it listens.
    address: SocketAddr,
    /// The connected trackers that list it, as a bit mask.
    now: u64,
    /// The trackers that listed it before their connection ended.
    before: u64,
}

impl Known {
    fn is_listed(&self) -> bool {
        self.now | self.before != 0
    }
}

/// Maximum number of devices whose users are kept after they have gone. Only `why` uses them, so
/// little is lost when all are forgotten.
const USERS_MAX: usize = 8_192;
/// Maximum number of devices whose other addresses are kept. When there are more, all are
/// forgotten: a device is then dialled where trackers see it, until they list it again.
const ADDRESSED_MAX: usize = 8_192;

/// The least id of a group.
const FIRST_GROUP: GroupId = GroupId::from_bytes([0; GroupId::LEN]);

/// An address that a device told: only what a tracker sees itself is *observed*.
fn as_told(candidate: &Candidate) -> Candidate {
    let kind = match candidate.kind {
        CandidateKind::Observed => CandidateKind::Mapped,
        kind => kind,
    };
    Candidate { kind, ..*candidate }
}

/// The lists of all trackers.
#[derive(Debug, Clone, Default)]
pub(crate) struct PeerBook {
    parts: OrdMap<(InfoHash, DeviceId, GroupId), Known>,
    /// The user of each device, also after it has gone: names for `why`.
    users: HashMap<DeviceId, UserId>,
    /// Where else each device may take links, as a tracker said last.
    candidates: HashMap<DeviceId, Arc<[Candidate]>>,
    /// The devices that announce themselves on this machine's networks.
    found: Arc<Found>,
}

impl PeerBook {
    /// Applies a tracker's entry about one device.
    pub(crate) fn apply(&mut self, tracker: usize, peer: &PeerEntry) -> Option<PeerChange> {
        let (info_hash, device, user) = (peer.info_hash, peer.device, peer.user);
        self.note_user(device, user);
        let key = (info_hash, device, peer.group);
        if peer.state != DownloadState::Stopped {
            let address = peer.address;
            let now = self.parts.get(&key).map_or(0, |known| known.now) | bit(tracker);
            self.parts.insert(key, Known { user, address, now, before: 0 });
            self.note_address(info_hash, device, address);
            self.note_candidates(device, peer.candidates.as_deref());
            return Some(PeerChange::Here(info_hash, device));
        }
        let known = self.parts.get_mut(&key)?;
        (known.now, known.before) = (known.now & !bit(tracker), 0);
        self.sweep(key)
    }

    fn note_user(&mut self, device: DeviceId, user: UserId) {
        if self.users.get(&device) == Some(&user) {
            return;
        }
        if self.users.len() >= USERS_MAX && !self.users.contains_key(&device) {
            self.users.clear();
        }
        self.users.insert(device, user);
    }

    /// A device has one address: that of the latest entry.
    fn note_address(&mut self, info_hash: InfoHash, device: DeviceId, address: SocketAddr) {
        let has_other = |(_, known): &(_, &Known)| known.address != address;
        let others: Vec<_> =
            self.of_device(info_hash, device).filter(has_other).map(|(key, _)| *key).collect();
        for key in others {
            if let Some(known) = self.parts.get_mut(&key) {
                known.address = address;
            }
        }
    }

    /// A tracker that does not tell changes nothing: another may have told.
    fn note_candidates(&mut self, device: DeviceId, told: Option<&[Candidate]>) {
        let Some(told) = told else { return };
        if self.candidates.get(&device).map_or(&[][..], |known| known) == told {
            return;
        }
        if self.candidates.len() >= ADDRESSED_MAX && !self.candidates.contains_key(&device) {
            self.candidates.clear();
        }
        self.candidates.insert(device, told.into());
    }

    /// Where a device that takes part in a file's swarm may take links: where a tracker sees it,
    /// and what it said itself. A tracker on this machine names its loopback addresses.
    pub(crate) fn candidates(&self, info_hash: InfoHash, device: DeviceId) -> Vec<Candidate> {
        let known = self.of_device(info_hash, device).next();
        let told = self.candidates.get(&device).map_or(&[][..], |told| told);
        let seen = known.map(|(_, known)| {
            let seen = Candidate::new(known.address, CandidateKind::Observed);
            // If a tracker has no usable address, it puts the device's first candidate into
            // `address`.
            let is_told = |candidate: &&Candidate| candidate.address == seen.address;
            told.iter().find(is_told).map_or(seen, as_told)
        });
        let here = self.found.get(&device).into_iter().flatten();
        let here = here.map(|address| Candidate::new(*address, CandidateKind::Lan));
        let all = seen.into_iter().chain(here).chain(told.iter().map(as_told));
        usable_candidates(all, true, CANDIDATES_MAX)
    }

    /// Replaces the devices that announce themselves on this machine's networks. Returns each file
    /// and device with other addresses.
    pub(crate) fn set_found(&mut self, found: Found) -> Vec<(InfoHash, DeviceId)> {
        let before = std::mem::replace(&mut self.found, Arc::new(found));
        let is_other = |device: &DeviceId| self.found.get(device) != before.get(device);
        let listed = self.parts.iter().filter(|(_, known)| known.is_listed());
        let mut parts: Vec<(InfoHash, DeviceId)> = listed
            .filter(|((_, device, _), _)| is_other(device))
            .map(|((info_hash, device, _), _)| (*info_hash, *device))
            .collect();
        // Those of one device are adjacent.
        parts.dedup();
        parts
    }

    /// The devices that announce themselves on this machine's networks.
    pub(crate) fn found(&self) -> &Arc<Found> {
        &self.found
    }

    /// The devices that a tracker lists, or listed before its connection ended, for any file.
    pub(crate) fn devices(&self) -> impl Iterator<Item = DeviceId> {
        self.parts.keys().map(|(_, device, _)| *device)
    }

    /// A tracker's connection has ended: its entries are from before.
    pub(crate) fn lost(&mut self, tracker: usize) {
        for key in self.keys_of(|known| known.now & bit(tracker) != 0) {
            if let Some(known) = self.parts.get_mut(&key) {
                known.before |= bit(tracker);
                known.now &= !bit(tracker);
            }
        }
    }

    /// A reconnected tracker has had time to list its peers again: removes its entries from before,
    /// and returns the changes for the engine.
    pub(crate) fn expire(&mut self, tracker: usize) -> Vec<PeerChange> {
        let mut changes = Vec::new();
        for key in self.keys_of(|known| known.before & bit(tracker) != 0) {
            if let Some(known) = self.parts.get_mut(&key) {
                known.before &= !bit(tracker);
            }
            changes.extend(self.sweep(key));
        }
        changes
    }

    fn keys_of(&self, is_it: impl Fn(&Known) -> bool) -> Vec<(InfoHash, DeviceId, GroupId)> {
        self.parts.iter().filter(|(_, known)| is_it(known)).map(|(key, _)| *key).collect()
    }

    /// A device's entries for one file, by group.
    fn of_device(
        &self,
        info_hash: InfoHash,
        device: DeviceId,
    ) -> impl Iterator<Item = (&(InfoHash, DeviceId, GroupId), &Known)> {
        self.parts
            .range((info_hash, device, FIRST_GROUP)..)
            .take_while(move |((file, of, _), _)| (*file, *of) == (info_hash, device))
    }

    /// Tells whether the device takes part in the file's swarm in the group.
    pub(crate) fn takes_part(&self, info_hash: InfoHash, device: DeviceId, group: GroupId) -> bool {
        self.parts.get(&(info_hash, device, group)).is_some_and(Known::is_listed)
    }

    /// The connected trackers that list the device in the file's swarm in the group, as a bit mask.
    pub(crate) fn seen_by(&self, info_hash: InfoHash, device: DeviceId, group: GroupId) -> u64 {
        self.parts.get(&(info_hash, device, group)).map_or(0, |known| known.now)
    }

    /// The devices that take part in the file's swarm in one of the groups, with their addresses.
    pub(crate) fn peers_in(
        &self,
        info_hash: InfoHash,
        groups: &[GroupId],
    ) -> Vec<(DeviceId, Vec<Candidate>)> {
        let first = (info_hash, DeviceId::from_bytes([0; DeviceId::LEN]), FIRST_GROUP);
        let mut devices: Vec<DeviceId> = self
            .parts
            .range(first..)
            .take_while(|((file, ..), _)| *file == info_hash)
            .filter(|((.., group), known)| groups.contains(group) && known.is_listed())
            .map(|((_, device, _), _)| *device)
            .collect();
        // Those of one device are adjacent.
        devices.dedup();
        let named = |device| (device, self.candidates(info_hash, device));
        devices.into_iter().map(named).collect()
    }

    /// The user of a device, as last reported.
    pub(crate) fn user_of(&self, device: DeviceId) -> Option<UserId> {
        let here = || self.parts.iter().find(|((_, of, _), _)| *of == device);
        self.users.get(&device).copied().or_else(|| here().map(|(_, known)| known.user))
    }

    /// Forgets everything: the session has ended.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Removes an entry that no tracker vouches for; returns the change if it was the device's
    /// last one for the file.
    fn sweep(&mut self, key: (InfoHash, DeviceId, GroupId)) -> Option<PeerChange> {
        if self.parts.get(&key)?.is_listed() {
            return None;
        }
        self.parts.remove(&key);
        let (info_hash, device, _) = key;
        let is_gone = self.of_device(info_hash, device).next().is_none();
        is_gone.then_some(PeerChange::Gone(info_hash, device))
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
            candidates: None,
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
        let seen_by = |group| book.seen_by(FILE, DEVICE, group);
        assert_eq!((seen_by(group), seen_by(other)), (0b11, 0), "these can help to punch");
        let observed = Candidate::new("127.0.0.1:9".parse().unwrap(), CandidateKind::Observed);
        let peers = [(DEVICE, vec![observed])];
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
        assert!(book.parts.is_empty());
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
    fn a_device_is_dialled_where_it_is_seen_and_where_it_says() {
        let mut book = PeerBook::default();
        let told = |address: &str| {
            vec![Candidate::new(address.parse().unwrap(), CandidateKind::Interface)]
        };
        let seen = |book: &PeerBook| -> Vec<String> {
            let all = book.candidates(FILE, DEVICE);
            all.iter().map(|candidate| candidate.address.to_string()).collect()
        };
        let with = |candidates| PeerEntry { candidates, ..entry(5, DownloadState::Seeding) };
        book.apply(0, &with(Some(told("10.0.0.1:9"))));
        assert_eq!(seen(&book), ["127.0.0.1:9", "10.0.0.1:9"]);
        let kinds = |book: &PeerBook| -> Vec<CandidateKind> {
            book.candidates(FILE, DEVICE).iter().map(|candidate| candidate.kind).collect()
        };
        assert_eq!(kinds(&book), [CandidateKind::Observed, CandidateKind::Interface]);
        let lie = |address: &str| {
            Some(vec![Candidate::new(address.parse().unwrap(), CandidateKind::Observed)])
        };
        let mut said = book.clone();
        said.apply(0, &with(lie("127.0.0.1:9")));
        assert_eq!(kinds(&said), [CandidateKind::Mapped], "no tracker has seen it there");
        // A tracker of before does not tell.
        book.apply(1, &with(None));
        assert_eq!(seen(&book), ["127.0.0.1:9", "10.0.0.1:9"]);
        // One that sees it at an address that means nothing here names another, or none.
        let nowhere = "0.0.0.0:0".parse().unwrap();
        book.apply(1, &PeerEntry { address: nowhere, ..with(Some(told("10.0.0.2:9"))) });
        assert_eq!(seen(&book), ["10.0.0.2:9"]);
        book.apply(1, &PeerEntry { address: nowhere, ..with(Some(Vec::new())) });
        assert!(seen(&book).is_empty());
    }

    #[test]
    fn a_device_that_is_found_here_is_dialled_here_too() {
        let mut book = PeerBook::default();
        let here = || Found::from([(DEVICE, vec!["10.0.0.7:9".parse().unwrap()])]);
        assert!(book.set_found(here()).is_empty(), "it is listed for no file");
        book.set_found(Found::new());
        book.apply(0, &entry(5, DownloadState::Seeding));
        book.apply(0, &entry(6, DownloadState::Seeding));
        book.lost(0);
        assert_eq!(book.devices().collect::<Vec<_>>(), [DEVICE, DEVICE]);
        assert_eq!(book.set_found(here()), [(FILE, DEVICE)]);
        let kinds = |book: &PeerBook| -> Vec<CandidateKind> {
            book.candidates(FILE, DEVICE).iter().map(|candidate| candidate.kind).collect()
        };
        assert_eq!(kinds(&book), [CandidateKind::Observed, CandidateKind::Lan]);
        assert!(book.set_found(here()).is_empty(), "that is no news");
        assert_eq!(book.set_found(Found::new()), [(FILE, DEVICE)]);
        assert_eq!(kinds(&book), [CandidateKind::Observed]);
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
