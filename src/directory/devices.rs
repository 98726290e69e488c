//! Devices that may log in as a user by their key, and devices that were forgotten.
//!
//! A device's row says that it may, which password that rests on, and when the device was last
//! forgotten. The right ends with the row, with that password and with the account. A token or
//! ticket of the device is void if it was signed up to [`CLOCK_AHEAD_MAX`] after the device was
//! forgotten, as with the end of a membership.
//!
//! **Invariant:** the index of devices holds the rows that are on, and so does not grow with the
//! rows of devices that were forgotten.
//!
//! [`CLOCK_AHEAD_MAX`]: crate::types::limits::CLOCK_AHEAD_MAX

use super::entries::{Tag, at, last_device, last_id};
use super::rows::{Rows, RowsMut, Scan};
use super::state::Directory;
use super::voids::void_until_ms;
use crate::types::{Content, DeviceId, DeviceRow, Refusal, RowKey, Stamp, UserId, Version};

impl<R: Rows> Directory<R> {
    /// A device's row.
    pub(super) fn device(&self, user: UserId, device: DeviceId) -> Option<(Version, DeviceRow)> {
        let row = self.rows.get(&RowKey::Device(user, device))?;
        if let Content::Device(_, _, value) = row.content {
            Some((row.version, value))
        } else {
            None
        }
    }

    /// The write that set the password on which a device's right to log in by its key rests.
    ///
    /// # Errors
    /// [`Refusal::NoSuchDevice`] if nothing is known of that right here, [`Refusal::NotStaying`]
    /// and [`Refusal::Disabled`] if it has ended.
    pub fn login_by_key(&self, user: UserId, device: DeviceId) -> Result<Version, Refusal> {
        let (_, account) = self.account(user).ok_or(Refusal::NoSuchDevice)?;
        let (_, row) = self.device(user, device).ok_or(Refusal::NoSuchDevice)?;
        if account.is_some_and(|account| account.is_disabled) {
            return Err(Refusal::Disabled);
        }
        if self.is_in_force(user, &row) { Ok(row.password) } else { Err(Refusal::NotStaying) }
    }

    /// Tells whether a row lets its device log in.
    fn is_in_force(&self, user: UserId, row: &DeviceRow) -> bool {
        row.on && self.is_password_current(user, row.password) == Some(true)
    }

    /// The devices that may log in as a user by their key.
    pub fn devices(&self, user: UserId) -> impl Iterator<Item = (DeviceId, DeviceRow)> + '_ {
        self.devices_on(user)
            .map(|(device, _, row)| (device, row))
            .filter(move |(_, row)| self.is_in_force(user, row))
    }

    /// The rows that are on, but rest on a password that was replaced.
    pub(super) fn stale_devices(
        &self,
        user: UserId,
    ) -> impl Iterator<Item = (DeviceId, Version, DeviceRow)> + '_ {
        self.devices_on(user).filter(move |(_, _, row)| !self.is_in_force(user, row))
    }

    fn devices_on(
        &self,
        user: UserId,
    ) -> impl Iterator<Item = (DeviceId, Version, DeviceRow)> + '_ {
        let entries = Scan::prefix(&self.rows, &Tag::Devices.key(&[user.as_bytes()]));
        entries.filter_map(move |(key, _)| {
            let device = last_id::<DeviceId, { DeviceId::LEN }>(&key)?;
            let (version, row) = self.device(user, device)?;
            Some((device, version, row))
        })
    }

    /// The time up to which signed tokens and tickets of a user's device are void, in milliseconds;
    /// 0 if none are. Those that are signed now must be dated later.
    pub fn device_void_until_ms(&self, user: UserId, device: DeviceId) -> u64 {
        let ended = self.device(user, device).and_then(|(_, row)| row.ended);
        ended.map_or(0, void_until_ms)
    }

    /// The devices that were forgotten since a time, the latest first.
    pub fn devices_forgotten_since(
        &self,
        since: Stamp,
    ) -> impl Iterator<Item = (Stamp, UserId, DeviceId)> + '_ {
        let list = Tag::DevicesForgotten.key(&[]);
        self.latest(list, since).filter_map(|(key, _)| last_device(&key))
    }
}

impl<R: RowsMut> Directory<R> {
    /// Brings the entries of a device in line with its row.
    pub(super) fn index_device(
        &mut self,
        (user, device): (UserId, DeviceId),
        before: Option<&DeviceRow>,
        after: Option<&DeviceRow>,
    ) {
        let ids: [&[u8]; 2] = [user.as_bytes(), device.as_bytes()];
        let forgotten = |ended: Stamp| Tag::DevicesForgotten.key(&[&at(ended), ids[0], ids[1]]);
        let ended = |row: Option<&DeviceRow>| row.and_then(|row| row.ended);
        if ended(before) != ended(after) {
            ended(before).into_iter().for_each(|ended| self.put(&forgotten(ended), false));
        }
        ended(after).into_iter().for_each(|ended| self.put(&forgotten(ended), true));
        let is_on = |row: Option<&DeviceRow>| row.is_some_and(|row| row.on);
        if is_on(before) != is_on(after) {
            self.put(&Tag::Devices.key(&ids), is_on(after));
        }
    }
}
