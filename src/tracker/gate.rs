//! Slows attempts at passwords, without locking anybody out of their own account.
//!
//! | who tries | is held to the paces of |
//! |---|---|
//! | a device that has shown this user's password before | that device with that user; all such devices of its address |
//! | anybody else | that address with that account; that address; that account, from everywhere |
//!
//! **Invariant:** a failed attempt counts in every pace it was held to, one that succeeded, or that came to no verdict, in none. Nothing
//! that strangers do slows a known device. Whether an account exists changes nothing here: an account is the name that was given.
//!
//! An attempt has its time reserved and waits for it on the session's own thread; one that would wait longer than [`WAIT_MAX`] is
//! refused at once and costs no Argon2 run. The wait ends early when the tracker stops or the connection had to give way. Memory is
//! bounded: see [`Paces`] for what is forgotten first.
//!
//! `nik` and `nik~2` are one account here, because logging in as `nik` tries the password against both.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::known::Known;
use super::pace::{Paces, Rate, Use};
use crate::net::{Source, Stop};
use crate::types::{DeviceId, Refusal, UserId};

/// How long an attempt waits at most: longer than anybody has to who guesses by hand, and less than the silence after which
/// a connection is given up.
const WAIT_MAX: Duration = Duration::from_secs(if cfg!(fuzzing) { 0 } else { 30 });
/// How often an attempt that waits looks whether its connection is still there.
const LOOK: Duration = Duration::from_millis(100);
/// Paces in use at a time: some 10 MiB. To fill it, thousands of addresses have to guess at once.
const PACES_MAX: usize = 65_536;
/// Users whose devices are remembered: some 16 MiB if each has as many as are kept.
const USERS_MAX: usize = 16_384;

/// What a pace is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key {
    /// One device with one of its users.
    Device(UserId, DeviceId),
    /// All known devices at an address, with any of their users.
    Devices(Source),
    /// One account tried from one address.
    Pair(Source, Account),
    /// Any account tried from one address.
    Source(Source),
    /// One account tried from anywhere.
    Account(Account),
}

impl Key {
    fn rate(self) -> Rate {
        match self {
            // A person who mistypes, or a client that has the old password, never feels this.
            Self::Device(..) | Self::Pair(..) => Rate::per_second(10, 2),
            // A hundred people behind one router may mistype at once.
            Self::Devices(_) | Self::Source(_) => Rate::per_second(100, 10),
            // However many addresses join in: a password that survives a million guesses a day.
            Self::Account(_) => Rate::per_second(50, 10),
        }
    }
}

/// An account as it is named at a login, whether it exists or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Account([u8; 16]);

impl Account {
    fn of(name: &str) -> Self {
        let stem = name.split('~').next().unwrap_or_default();
        let mut id = [0; 16];
        // A digest has one size however long the name, and nobody finds two names with the same.
        id.copy_from_slice(&Sha256::digest(stem)[..16]);
        Self(id)
    }
}

/// Who tries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    source: Source,
    device: DeviceId,
    /// The user whose known device it is.
    known: Option<UserId>,
    account: Account,
}

impl Attempt {
    /// Whether the device is one that has shown the password before.
    pub(crate) fn is_known(&self) -> bool {
        self.known.is_some()
    }

    fn keys(&self) -> Vec<Key> {
        let &Self { source, device, account, .. } = self;
        match self.known {
            Some(user) => vec![Key::Device(user, device), Key::Devices(source)],
            None => vec![Key::Pair(source, account), Key::Source(source), Key::Account(account)],
        }
    }
}

/// The gate's pure part.
#[derive(Debug)]
struct Core {
    paces: Paces<Key>,
    known: Known,
}

/// What an attempt has reserved.
#[derive(Debug)]
struct Reserved {
    wait: Duration,
    uses: Vec<(Key, Use)>,
}

impl Core {
    fn new(paces_max: usize, users_max: usize) -> Self {
        Self { paces: Paces::new(paces_max), known: Known::new(users_max) }
    }

    /// The attempt of a device at a name that may mean these users. It is known only if it is to all of them: whoever owns `nik~2` is
    /// a stranger to `nik`.
    fn attempt(&self, source: Source, device: DeviceId, name: &str, users: &[UserId]) -> Attempt {
        let all = users.iter().all(|&user| self.known.contains(user, device));
        Attempt { source, device, known: users.first().copied().filter(|_| all), account: Account::of(name) }
    }

    /// Reserves the attempt's time; `None`, and nothing reserved, if it is too far away.
    fn reserve(&mut self, now: Duration, attempt: &Attempt) -> Option<Reserved> {
        let keys = attempt.keys();
        let wait = keys.iter().map(|&key| self.paces.wait(now, key, key.rate())).max().unwrap_or_default();
        if wait > WAIT_MAX {
            return None;
        }
        Some(Reserved { wait, uses: keys.into_iter().map(|key| (key, self.paces.take(now, key, key.rate()))).collect() })
    }

    fn give_back(&mut self, now: Duration, reserved: &Reserved) {
        reserved.uses.iter().for_each(|&(key, used)| self.paces.give_back(now, key, key.rate(), used));
    }
}

/// Slows attempts at passwords; shared by all sessions.
#[derive(Debug)]
pub(crate) struct Gate {
    started: Instant,
    core: Mutex<Core>,
    stop: Stop,
}

impl Gate {
    /// Makes a gate at which nobody waits any more once `stop` is set.
    pub(crate) fn new(stop: Stop) -> Self {
        Self { started: Instant::now(), core: Mutex::new(Core::new(PACES_MAX, USERS_MAX)), stop }
    }

    /// The attempt of a device to log in under a name, which means these users.
    pub(crate) fn login(&self, source: Source, device: DeviceId, name: &str, users: &[UserId]) -> Attempt {
        self.core.lock().attempt(source, device, name, users)
    }

    /// The attempt of a device on which the user is logged in to show their password once more.
    pub(crate) fn logged_in(&self, source: Source, device: DeviceId, user: UserId) -> Attempt {
        // The account's pace is not looked at.
        Attempt { source, device, known: Some(user), account: Account::of("") }
    }

    /// Lets an attempt through in its time. Unless [`Pass::failed`] is called, it will not have counted.
    ///
    /// # Errors
    /// [`Refusal::TooManyAttempts`] if that time is too far away; [`Refusal::Busy`] if the tracker stops, or the connection `is_over`.
    ///
    /// # Blocking
    /// Until the attempt's time, 30 s at most.
    pub(crate) fn pass(&self, attempt: &Attempt, is_over: impl Fn() -> bool) -> Result<Pass<'_>, Refusal> {
        let came = Instant::now();
        let reserved = self.core.lock().reserve(self.started.elapsed(), attempt).ok_or(Refusal::TooManyAttempts)?;
        let pass = Pass { gate: self, reserved };
        while let Some(left) = pass.reserved.wait.checked_sub(came.elapsed()).filter(|left| !left.is_zero()) {
            if is_over() || self.stop.wait(left.min(LOOK)) {
                return Err(Refusal::Busy);
            }
        }
        Ok(pass)
    }

    /// Notes that a device has shown a user's password, here or, by a token, at another tracker.
    pub(crate) fn note_known(&self, user: UserId, device: DeviceId) {
        self.core.lock().known.note(user, device);
    }

    /// Notes that a user's password has changed: of their devices, the one that changed it alone has shown it, if it did so here.
    pub(crate) fn note_changed(&self, user: UserId, device: Option<DeviceId>) {
        self.core.lock().known.retain(user, device);
    }
}

/// An attempt that was let through. Dropped, it gives back what it had reserved.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    gate: &'a Gate,
    reserved: Reserved,
}

impl Pass<'_> {
    /// The password was wrong: the attempt counts.
    pub(crate) fn failed(mut self) {
        self.reserved.uses.clear();
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.gate.core.lock().give_back(self.gate.started.elapsed(), &self.reserved);
    }
}

#[cfg(test)]
mod tests;
