//! Devices of users: when and from where each was seen last, and the end of one that is forgotten.
//!
//! **Invariant:** in the turn in which a device was forgotten its sessions end, and every member of
//! the user's groups who is online is told that its tickets are void.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use super::follow::is_late;
use super::swarm::Word;
use super::{Presence, SessionKey, event_frame};
use crate::directory::{Directory, Rows, void_until_ms};
use crate::types::limits::DEVICES_PER_LIST_MAX;
use crate::types::{DeviceEntry, DeviceId, DeviceRow, UserId, Version};
use crate::wire::tracker::Event;

/// Devices remembered: some 10 MiB. Of more, the one that was noted first is forgotten.
const SEEN_MAX: usize = 65_536;

/// A user on a device.
pub(super) type UserDevice = (UserId, DeviceId);

/// When and from where devices were seen last; lost when the tracker ends.
#[derive(Debug, Default)]
pub(super) struct LastSeen {
    seen: BTreeMap<UserDevice, (SocketAddr, u64)>,
    noted: VecDeque<UserDevice>,
}

impl LastSeen {
    fn note(&mut self, device: UserDevice, address: SocketAddr, now_ms: u64) {
        if self.seen.insert(device, (address, now_ms)).is_none() {
            self.noted.push_back(device);
        }
        if self.noted.len() > SEEN_MAX
            && let Some(first) = self.noted.pop_front()
        {
            self.seen.remove(&first);
        }
    }
}

impl Presence {
    /// Lists the devices that may log in as a user, and those that are logged in.
    pub(crate) fn devices(
        &self,
        user: UserId,
        directory: &Directory<impl Rows>,
        now_ms: u64,
    ) -> Vec<DeviceEntry> {
        let online: BTreeMap<DeviceId, SocketAddr> = self
            .sessions_of(user)
            .iter()
            .filter_map(|key| self.sessions.get(key))
            .map(|session| (session.visitor.device, session.visitor.address))
            .collect();
        let entry = |device: DeviceId, row: Option<DeviceRow>| {
            let seen = self.last_seen.seen.get(&(user, device)).copied();
            let seen = online.get(&device).map(|address| (*address, now_ms)).or(seen);
            let stays_since = row.as_ref().map(|row| row.since);
            DeviceEntry {
                device,
                name: row.and_then(|row| row.name),
                stays_since,
                online: online.contains_key(&device),
                address: seen.map(|(address, _)| address),
                seen_ms: seen.map_or(0, |(_, at_ms)| at_ms),
            }
        };
        let mut entries: Vec<DeviceEntry> =
            directory.devices(user).map(|(device, row)| entry(device, Some(row))).collect();
        let others: Vec<DeviceId> = online
            .keys()
            .copied()
            .filter(|device| entries.iter().all(|entry| entry.device != *device))
            .collect();
        entries.extend(others.into_iter().map(|device| entry(device, None)));
        entries.truncate(DEVICES_PER_LIST_MAX);
        entries
    }

    /// Notes that a session's device is there.
    pub(super) fn note_seen(&mut self, key: SessionKey, now_ms: u64) {
        if let Some(session) = self.sessions.get(&key) {
            let visitor = &session.visitor;
            self.last_seen.note((visitor.user, visitor.device), visitor.address, now_ms);
        }
    }

    /// The time up to which tokens and tickets of a user's device are void, in milliseconds; 0 if
    /// none are.
    pub(crate) fn device_void_until_ms(
        &self,
        user: UserId,
        device: DeviceId,
        directory: &Directory<impl Rows>,
    ) -> u64 {
        let late_ms = self.late_devices.of_key(&(user, device));
        directory.device_void_until_ms(user, device).max(late_ms)
    }

    /// The devices that this tracker has heard of late that they were forgotten: other trackers may
    /// have given them tokens meanwhile.
    pub(crate) fn take_forgotten_late(&mut self) -> Vec<UserDevice> {
        std::mem::take(&mut self.forgotten_late)
    }

    pub(super) fn device_written(
        &mut self,
        write: Version,
        (user, device): UserDevice,
        row: &DeviceRow,
        directory: &Directory<impl Rows>,
        now_ms: u64,
    ) {
        // Only the write that forgot the device, not the later ones that carry its time over.
        let Some(ended) = row.ended.filter(|ended| *ended == write.stamp) else { return };
        let is_late = is_late(ended, now_ms);
        if is_late {
            self.late_devices.note((user, device), now_ms);
            self.forgotten_late.push((user, device));
        }
        let until_ms = void_until_ms(ended).max(if is_late { now_ms } else { 0 });
        let void = Event::DeviceVoid { user, device, until_ms };
        for key in self.sessions_of(user) {
            let Some(session) = self.sessions.get(&key) else { continue };
            let visitor = &session.visitor;
            if visitor.device != device || visitor.proven_ms > until_ms {
                continue;
            }
            visitor.over.store(true, Ordering::Relaxed);
            let outbox = visitor.outbox.clone();
            // Which device it is tells the client why.
            for event in [void.clone(), Event::SessionOver] {
                self.leaving.get_mut().push((outbox.clone(), event_frame(event)));
            }
            self.log_out(key, Word::All);
        }
        let mut told: Vec<SessionKey> =
            directory.groups_of(user).flat_map(|group| self.members_online(group)).collect();
        told.extend(self.sessions_of(user));
        told.sort_unstable();
        told.dedup();
        self.push(&told, void);
    }
}
