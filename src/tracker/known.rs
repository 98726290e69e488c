//! Which devices have shown a user's password before.
//!
//! **Invariant:** at most [`DEVICES_MAX`] devices a user and `users_max` users are remembered,
//! those seen last. So a user who logs in from devices without end pushes out nobody else's.
//!
//! Pure, and in memory only: after a restart nobody is known, which costs an owner something only
//! while the account is attacked.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::types::{DeviceId, UserId};

/// Devices remembered for one user.
const DEVICES_MAX: usize = 16;

/// The devices of one user, the one seen last at the end.
#[derive(Debug)]
struct Devices {
    seen: u64,
    devices: VecDeque<DeviceId>,
}

/// Devices that have shown a password.
#[derive(Debug)]
pub(crate) struct Known {
    users_max: usize,
    /// Counts what was seen.
    seen: u64,
    users: HashMap<UserId, Devices>,
    by_seen: BTreeMap<u64, UserId>,
}

impl Known {
    /// Makes room for `users_max` users.
    pub(crate) fn new(users_max: usize) -> Self {
        Self { users_max, seen: 0, users: HashMap::new(), by_seen: BTreeMap::new() }
    }

    /// Tells whether a device has shown a user's password.
    pub(crate) fn contains(&self, user: UserId, device: DeviceId) -> bool {
        self.users.get(&user).is_some_and(|known| known.devices.contains(&device))
    }

    /// Notes that a device has shown a user's password.
    pub(crate) fn note(&mut self, user: UserId, device: DeviceId) {
        self.seen += 1;
        let known =
            self.users.entry(user).or_insert_with(|| Devices { seen: 0, devices: VecDeque::new() });
        self.by_seen.remove(&known.seen);
        self.by_seen.insert(self.seen, user);
        known.seen = self.seen;
        known.devices.retain(|other| *other != device);
        if known.devices.len() >= DEVICES_MAX {
            known.devices.pop_front();
        }
        known.devices.push_back(device);
        if self.users.len() > self.users_max
            && let Some((_, oldest)) = self.by_seen.pop_first()
        {
            self.users.remove(&oldest);
        }
    }

    /// Forgets a user's devices, but for that one, if one is named.
    pub(crate) fn retain(&mut self, user: UserId, device: Option<DeviceId>) {
        if let Some(known) = self.users.get_mut(&user) {
            known.devices.retain(|other| Some(*other) == device);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u8) -> UserId {
        UserId::from_bytes([number; 16])
    }

    fn device(number: u8) -> DeviceId {
        DeviceId::from_bytes([number; 32])
    }

    #[test]
    fn those_seen_last_are_known() {
        let mut known = Known::new(2);
        (0..DEVICES_MAX as u8 + 1).for_each(|number| known.note(user(1), device(number)));
        assert!(!known.contains(user(1), device(0)) && known.contains(user(1), device(1)));
        known.note(user(1), device(1));
        known.note(user(1), device(99));
        assert!(known.contains(user(1), device(1)), "seen again, it is no longer the oldest");
        known.note(user(2), device(1));
        known.note(user(1), device(1));
        known.note(user(3), device(1));
        assert!(known.contains(user(1), device(1)) && known.contains(user(3), device(1)));
        assert!(!known.contains(user(2), device(1)) && !known.contains(user(2), device(2)));
        assert_eq!((known.users.len(), known.by_seen.len()), (2, 2));
        known.retain(user(1), Some(device(99)));
        assert!(known.contains(user(1), device(99)) && !known.contains(user(1), device(1)));
    }
}
