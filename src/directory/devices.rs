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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::{Asked, Output, Replica, Ticket};
    use crate::types::limits::DEVICES_PER_USER_MAX;
    use crate::types::{
        Change, Limit, Order, Outcome, PasswordHash, RequestId, RequestStamp, StoreId, StoreState,
    };

    struct Scene {
        replica: Replica,
        now_ms: u64,
        user: UserId,
    }

    impl Scene {
        fn new() -> Self {
            let replica = Replica::new(StoreState::new(StoreId::from_bytes([1; 16])), &[]);
            let mut scene = Self { replica, now_ms: 1_000_000, user: UserId::NOBODY };
            let hash = PasswordHash::from_phc("first".into());
            let made = scene.ask(Change::CreateUser { name: "nik".parse().unwrap(), hash });
            let crate::types::Effect::User(user) = made.unwrap().effect else { panic!() };
            Self { user, ..scene }
        }

        fn ask(&mut self, change: Change) -> Outcome {
            self.now_ms += 10;
            let id = RequestId::from_bytes(u128::from(self.now_ms).to_be_bytes());
            let request = RequestStamp { id, at: Stamp::new(self.now_ms, 0) };
            let asked = Asked { actor: self.user, request, change, note: String::new() };
            self.replica.submit(self.now_ms, Ticket(1), asked);
            loop {
                match self.replica.poll().expect("an answer") {
                    Output::Reply(_, outcome) => return outcome,
                    Output::Persist(_) => {}
                    other => panic!("{other:?}"),
                }
                self.replica.persisted(self.now_ms);
            }
        }

        fn stay(&mut self, device: u8) -> Outcome {
            let password = self.replica.directory().password_version(self.user).unwrap();
            let (device, name) = (id(device), "laptop".parse().unwrap());
            self.ask(Change::StayOnDevice { device, name, password })
        }

        fn log_in(&self, device: u8) -> Result<Version, Refusal> {
            self.replica.directory().login_by_key(self.user, id(device))
        }

        fn void_until_ms(&self, device: u8) -> u64 {
            self.replica.directory().device_void_until_ms(self.user, id(device))
        }
    }

    fn id(device: u8) -> DeviceId {
        DeviceId::from_bytes([device; 32])
    }

    #[test]
    fn a_device_stays_until_it_is_forgotten_and_may_come_back() {
        let mut scene = Scene::new();
        assert_eq!(scene.log_in(1), Err(Refusal::NoSuchDevice));
        scene.stay(1).unwrap();
        assert_eq!((scene.log_in(1).is_ok(), scene.void_until_ms(1)), (true, 0));
        let at = scene.ask(Change::ForgetDevice { device: id(1) }).unwrap().stamp;
        assert_eq!(scene.log_in(1), Err(Refusal::NotStaying));
        assert_eq!(scene.void_until_ms(1), void_until_ms(at));
        let forgotten = |scene: &Scene| {
            scene.replica.directory().devices_forgotten_since(at).collect::<Vec<_>>()
        };
        assert_eq!(forgotten(&scene), [(at, scene.user, id(1))]);
        scene.stay(1).unwrap();
        assert!(scene.log_in(1).is_ok());
        assert_eq!(forgotten(&scene).len(), 1, "what was void stays void");
        assert_eq!(scene.void_until_ms(1), void_until_ms(at));
        // One that never stayed can be forgotten as well.
        scene.ask(Change::ForgetDevice { device: id(2) }).unwrap();
        assert!(scene.void_until_ms(2) > 0 && scene.log_in(2).is_err());
    }

    #[test]
    fn a_tracker_makes_void_again_what_is_forgotten_and_nothing_else() {
        let mut scene = Scene::new();
        scene.stay(1).unwrap();
        let user = scene.user;
        let again = |device| Change::Operator(Order::ForgetDevice { user, device: id(device) });
        assert_eq!(scene.ask(again(1)), Err(Refusal::NoSuchDevice), "it stays");
        assert_eq!(scene.ask(again(2)), Err(Refusal::NoSuchDevice), "nothing is known of it");
        let first = scene.ask(Change::ForgetDevice { device: id(1) }).unwrap().stamp;
        let second = scene.ask(again(1)).unwrap().stamp;
        assert!(second > first && scene.void_until_ms(1) == void_until_ms(second));
    }

    #[test]
    fn an_account_has_a_bounded_number_and_those_of_an_old_password_make_room() {
        let mut scene = Scene::new();
        let most = DEVICES_PER_USER_MAX as u8;
        (0..most).for_each(|device| _ = scene.stay(device).unwrap());
        assert_eq!(scene.stay(100), Err(Refusal::Quota(Limit::Devices)));
        scene.stay(0).unwrap();
        scene.ask(Change::ForgetDevice { device: id(3) }).unwrap();
        scene.stay(100).unwrap();
        assert_eq!(scene.replica.directory().devices(scene.user).count(), most as usize);
        let hash = PasswordHash::from_phc("second".into());
        scene.ask(Change::ChangePassword { hash }).unwrap();
        assert_eq!(scene.log_in(1), Err(Refusal::NotStaying));
        let (user, entries) =
            (scene.user, |scene: &Scene| scene.replica.directory().devices_on(scene.user).count());
        assert_eq!(entries(&scene), most as usize);
        (0..most).for_each(|device| _ = scene.stay(device + 120).unwrap());
        assert_eq!(scene.stay(200), Err(Refusal::Quota(Limit::Devices)));
        assert_eq!(scene.replica.directory().devices(user).count(), most as usize);
        assert_eq!(entries(&scene), most as usize, "rows of the old password are off");
        assert_eq!(scene.void_until_ms(1), 0, "and their devices' sessions go on");
    }
}
