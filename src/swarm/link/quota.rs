//! The connection quotas: how many of this client's links one device and one user may have.
//!
//! **Invariant:** a link is counted exactly while its [`QuotaGuard`] lives.
//!
//! An address has its bound in [`crate::net::Registry`]. Called on the links' own threads; nothing
//! blocks.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::types::{DeviceId, UserId};

/// Links to one device, in both directions, over all files: one for each file that two members have
/// in hand at once. More files than that go one after the other.
const LINKS_PER_DEVICE_MAX: usize = 64;

/// The counts of links.
#[derive(Debug)]
pub(crate) struct LinkQuota {
    /// Links that the devices of one user may have dialled.
    per_user: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    devices: HashMap<DeviceId, usize>,
    users: HashMap<UserId, usize>,
}

/// One counted link, until dropped.
#[derive(Debug)]
pub(crate) struct QuotaGuard {
    home: Arc<LinkQuota>,
    device: DeviceId,
    user: Option<UserId>,
}

impl LinkQuota {
    /// For a client that has at most `links_max` links: one member may have half of them, so that
    /// there is room for others.
    pub(crate) fn new(links_max: usize) -> Arc<Self> {
        Arc::new(Self { per_user: (links_max / 2).max(1), counts: Mutex::default() })
    }

    /// Counts a link that a user's device has dialled; `None` if that is too much.
    pub(crate) fn inbound(self: &Arc<Self>, device: DeviceId, user: UserId) -> Option<QuotaGuard> {
        self.take(device, Some(user))
    }

    /// Counts a link to a device that we dialled; `None` if that is too much.
    pub(crate) fn dialled(self: &Arc<Self>, device: DeviceId) -> Option<QuotaGuard> {
        self.take(device, None)
    }

    fn take(self: &Arc<Self>, device: DeviceId, user: Option<UserId>) -> Option<QuotaGuard> {
        let mut counts = self.counts.lock();
        let users = user.map_or(0, |user| count(&counts.users, user));
        if users >= self.per_user || count(&counts.devices, device) >= LINKS_PER_DEVICE_MAX {
            return None;
        }
        *counts.devices.entry(device).or_default() += 1;
        if let Some(user) = user {
            *counts.users.entry(user).or_default() += 1;
        }
        Some(QuotaGuard { home: self.clone(), device, user })
    }
}

impl Drop for QuotaGuard {
    fn drop(&mut self) {
        let mut counts = self.home.counts.lock();
        give_back(&mut counts.devices, self.device);
        if let Some(user) = self.user {
            give_back(&mut counts.users, user);
        }
    }
}

fn count<K: Eq + Hash>(counts: &HashMap<K, usize>, key: K) -> usize {
    counts.get(&key).copied().unwrap_or(0)
}

fn give_back<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_and_a_user_have_their_bounds_and_give_back() {
        let quota = LinkQuota::new(200);
        let device = |n| DeviceId::from_bytes([n; 32]);
        let user = |n| UserId::from_bytes([n; 16]);
        let mut guards: Vec<QuotaGuard> =
            (0..LINKS_PER_DEVICE_MAX).map(|_| quota.inbound(device(1), user(1)).unwrap()).collect();
        assert!(
            quota.inbound(device(1), user(1)).is_none() && quota.dialled(device(1)).is_none(),
            "enough of one device"
        );
        guards.extend(
            (LINKS_PER_DEVICE_MAX..100).map(|_| quota.inbound(device(2), user(1)).unwrap()),
        );
        assert!(quota.inbound(device(2), user(1)).is_none(), "enough of one user");
        let dialled = quota.dialled(device(2)).unwrap();
        guards.push(quota.inbound(device(3), user(2)).unwrap());
        guards.swap_remove(0);
        guards.push(quota.inbound(device(1), user(1)).unwrap());
        drop((guards, dialled));
        let counts = quota.counts.lock();
        assert!(counts.devices.is_empty() && counts.users.is_empty());
    }
}
