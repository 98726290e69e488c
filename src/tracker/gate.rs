//! Slows attempts at passwords, without locking anybody out of their own account.
//!
//! | who tries | is held to the paces of |
//! |---|---|
//! | a device that has shown this user's password before | that device with that user |
//! | anybody else | that address with that account; that address; that account, from everywhere |
//!
//! **Invariant:** a failed attempt counts in every pace it was held to; one that succeeded counts
//! for a known device, and for an address with the account in a pace of its own, so that correct
//! logins without end are bounded too, and wears off nothing of what failures are held to; one that
//! came to no verdict counts in none. Nothing that strangers do slows a known device, and nothing
//! that one account's devices do slows another's. Whether an account exists changes nothing here:
//! an account is the name that was given.
//!
//! An attempt has its time reserved and waits for it on the session's own thread; one that would
//! wait longer than [`WAIT_MAX`] is refused at once and costs no Argon2 run. What an account is
//! tried at from everywhere is not reserved: the addresses that wait take turns, so that a
//! newcomer's comes after one of each of them. With `n` other addresses that wait, that is within
//! `n / 10 s + 0.1 s` of when its address' own pace lets it through; so only if 300 addresses guess
//! at once can one that does not be kept waiting for longer than [`WAIT_MAX`], and refused.
//!
//! The wait ends early when the tracker stops or the connection had to give way; who waits for a
//! turn then makes room for those behind. Memory is bounded: see [`Paces`] for what is forgotten
//! first, and nobody waits who has no connection.
//!
//! `nik` and `nik~2` are one account here, because logging in as `nik` tries the password against
//! both.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::known::Known;
use super::pace::{Paces, Rate, Use};
use super::turns::Turns;
use crate::net::{Source, Stop};
use crate::types::{DeviceId, Refusal, UserId};

/// How long an attempt waits at most: longer than anybody has to who guesses by hand, and less than
/// the silence after which a connection is given up.
const WAIT_MAX: Duration = Duration::from_secs(if cfg!(fuzzing) { 0 } else { 30 });
/// How often an attempt that waits looks whether its connection is still there.
const LOOK: Duration = Duration::from_millis(100);
/// Attempts at one account from one address that wait for the account at a time: more than the pace
/// of the two lets through in [`WAIT_MAX`].
const WAITING_MAX: usize = 128;
/// Paces in use at a time: some 10 MiB. To fill it, thousands of addresses have to guess at once.
const PACES_MAX: usize = 65_536;
/// Users whose devices are remembered: some 16 MiB if each has as many as are kept.
const USERS_MAX: usize = 16_384;

/// What a pace is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key {
    /// One device with one of its users.
    Device(UserId, DeviceId),
    /// One account tried from one address.
    Pair(Source, Account),
    /// One account logged in to, from one address, by devices that were not known.
    Newcomers(Source, Account),
    /// Any account tried from one address.
    Source(Source),
    /// One account tried from anywhere.
    Account(Account),
}

impl Key {
    fn rate(self) -> Rate {
        match self {
            // A person who mistypes, or a client that has the old password, never feels these two.
            Self::Device(..) => Rate::per_second(10, 1),
            Self::Pair(..) => Rate::per_second(10, 2),
            // A room full of machines may log in to one account for the first time.
            Self::Newcomers(..) => Rate::per_second(100, 2),
            // A hundred people behind one router may mistype at once.
            Self::Source(_) => Rate::per_second(100, 10),
            // However many addresses join in: a password that survives a million guesses a day.
            Self::Account(_) => Rate::per_second(50, 10),
        }
    }

    /// Whether an attempt that came to this verdict counts here.
    fn counts(self, success: bool) -> bool {
        match self {
            Self::Device(..) => true,
            Self::Newcomers(..) => success,
            Self::Pair(..) | Self::Source(_) | Self::Account(_) => !success,
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
    /// The user whose password the device has shown before.
    pub(crate) fn known(&self) -> Option<UserId> {
        self.known
    }

    /// The paces in which its time is reserved.
    fn keys(&self) -> Vec<Key> {
        let &Self { source, device, account, .. } = self;
        match self.known {
            Some(user) => vec![Key::Device(user, device)],
            None => vec![
                Key::Pair(source, account),
                Key::Source(source),
                Key::Newcomers(source, account),
            ],
        }
    }
}

/// Somebody whose time has come, but for the account's.
#[derive(Debug)]
struct Waiter {
    number: u64,
    /// Takes the turn; has room for it.
    turn: Sender<Use>,
}

/// The gate's pure part.
#[derive(Debug)]
struct Core {
    paces: Paces<Key>,
    known: Known,
    /// Those who wait for an account, where somebody does.
    queues: HashMap<Account, Turns<Source, Waiter>>,
    last_number: u64,
}

/// What an attempt has reserved.
#[derive(Debug)]
struct Reserved {
    wait: Duration,
    uses: Vec<(Key, Use)>,
}

impl Core {
    fn new(paces_max: usize, users_max: usize) -> Self {
        Self {
            paces: Paces::new(paces_max),
            known: Known::new(users_max),
            queues: HashMap::new(),
            last_number: 0,
        }
    }

    /// The attempt of a device at a name that may mean these users. It is known only if it is to
    /// all of them: whoever owns `nik~2` is a stranger to `nik`.
    fn attempt(&self, source: Source, device: DeviceId, name: &str, users: &[UserId]) -> Attempt {
        let all = users.iter().all(|&user| self.known.contains(user, device));
        Attempt {
            source,
            device,
            known: users.first().copied().filter(|_| all),
            account: Account::of(name),
        }
    }

    /// Reserves the attempt's time; `None`, and nothing reserved, if it is too far away.
    fn reserve(&mut self, now: Duration, attempt: &Attempt) -> Option<Reserved> {
        let keys = attempt.keys();
        let wait =
            keys.iter().map(|&key| self.paces.wait(now, key, key.rate())).max().unwrap_or_default();
        if wait > WAIT_MAX {
            return None;
        }
        Some(Reserved {
            wait,
            uses: keys
                .into_iter()
                .map(|key| (key, self.paces.take(now, key, key.rate())))
                .collect(),
        })
    }

    fn give_back(&mut self, now: Duration, uses: &[(Key, Use)]) {
        uses.iter().for_each(|&(key, used)| self.paces.give_back(now, key, key.rate(), used));
    }

    /// Has an attempt wait for its account; `None` if too many of its address do.
    fn queue(&mut self, now: Duration, attempt: &Attempt) -> Option<(u64, Receiver<Use>)> {
        let (sender, turn) = bounded(1);
        self.last_number += 1;
        let number = self.last_number;
        let waiter = Waiter { number, turn: sender };
        if !self.queues.entry(attempt.account).or_default().push(
            attempt.source,
            WAITING_MAX,
            waiter,
        ) {
            return None;
        }
        self.serve(now, attempt.account);
        Some((number, turn))
    }

    /// Lets through whom an account's pace lets through by now; returns how long the next one has
    /// to wait.
    fn serve(&mut self, now: Duration, account: Account) -> Duration {
        let key = Key::Account(account);
        let Some(queue) = self.queues.get_mut(&account) else { return Duration::ZERO };
        while self.paces.wait(now, key, key.rate()).is_zero()
            && let Some(waiter) = queue.next()
        {
            let used = self.paces.take(now, key, key.rate());
            if waiter.turn.try_send(used).is_err() {
                // Nobody goes away without leaving the queue; should it happen all the same, the
                // next one gets the turn.
                self.paces.give_back(now, key, key.rate(), used);
            }
        }
        if queue.is_empty() {
            self.queues.remove(&account);
        }
        self.paces.wait(now, key, key.rate())
    }

    /// Takes one out of the queue who no longer waits, unless the turn has come meanwhile.
    fn leave(&mut self, attempt: &Attempt, number: u64) {
        let Some(queue) = self.queues.get_mut(&attempt.account) else { return };
        queue.leave(attempt.source, |waiter| waiter.number == number);
        if queue.is_empty() {
            self.queues.remove(&attempt.account);
        }
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
    pub(crate) fn login(
        &self,
        source: Source,
        device: DeviceId,
        name: &str,
        users: &[UserId],
    ) -> Attempt {
        self.core.lock().attempt(source, device, name, users)
    }

    /// The attempt of a device on which the user is logged in to show their password once more.
    pub(crate) fn logged_in(&self, source: Source, device: DeviceId, user: UserId) -> Attempt {
        // The account's pace is not looked at.
        Attempt { source, device, known: Some(user), account: Account::of("") }
    }

    /// Lets an attempt through in its time. Unless [`Pass::failed`] or [`Pass::succeeded`] is
    /// called, it will not have counted.
    ///
    /// # Errors
    /// [`Refusal::TooManyAttempts`] if that time is too far away; [`Refusal::Busy`] if the tracker
    /// stops, or the connection `is_over`.
    ///
    /// # Blocking
    /// Until the attempt's time, 30 s at most.
    pub(crate) fn pass(
        &self,
        attempt: &Attempt,
        is_over: impl Fn() -> bool,
    ) -> Result<Pass<'_>, Refusal> {
        let came = Instant::now();
        let Reserved { wait, uses } = self
            .core
            .lock()
            .reserve(self.started.elapsed(), attempt)
            .ok_or(Refusal::TooManyAttempts)?;
        let mut pass = Pass { gate: self, uses };
        while let Some(left) = wait.checked_sub(came.elapsed()).filter(|left| !left.is_zero()) {
            if is_over() || self.stop.wait(left.min(LOOK)) {
                return Err(Refusal::Busy);
            }
        }
        if attempt.known.is_none() {
            let used = self.take_turn(attempt, came + WAIT_MAX, is_over)?;
            pass.uses.push((Key::Account(attempt.account), used));
        }
        Ok(pass)
    }

    /// Waits for the turn of an attempt's address at its account.
    fn take_turn(
        &self,
        attempt: &Attempt,
        by: Instant,
        is_over: impl Fn() -> bool,
    ) -> Result<Use, Refusal> {
        let queued = self.core.lock().queue(self.started.elapsed(), attempt);
        let (number, turn) = queued.ok_or(Refusal::TooManyAttempts)?;
        let refusal = loop {
            if let Ok(used) = turn.try_recv() {
                return Ok(used);
            }
            // Whoever waits lets everybody through whose turn it is.
            let next = self.core.lock().serve(self.started.elapsed(), attempt.account);
            let left = by.saturating_duration_since(Instant::now());
            match turn.recv_timeout(next.min(left).min(LOOK)) {
                Ok(used) => return Ok(used),
                Err(RecvTimeoutError::Disconnected) => break Refusal::Busy,
                Err(RecvTimeoutError::Timeout) if is_over() || self.stop.is_set() => {
                    break Refusal::Busy;
                }
                Err(RecvTimeoutError::Timeout) if left.is_zero() => break Refusal::TooManyAttempts,
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        let mut core = self.core.lock();
        core.leave(attempt, number);
        // It may have come this very moment, and is then as good as before.
        turn.try_recv().map_err(|_| refusal)
    }

    /// Notes that a device has shown a user's password, here or, by a token, at another tracker.
    pub(crate) fn note_known(&self, user: UserId, device: DeviceId) {
        self.core.lock().known.note(user, device);
    }

    /// Notes that a user's password has changed: of their devices, the one that changed it alone
    /// has shown it, if it did so here.
    pub(crate) fn note_changed(&self, user: UserId, device: Option<DeviceId>) {
        self.core.lock().known.retain(user, device);
    }
}

/// An attempt that was let through. Dropped, it gives back what it had reserved and what has not
/// counted.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    gate: &'a Gate,
    uses: Vec<(Key, Use)>,
}

impl Pass<'_> {
    /// The password was wrong.
    pub(crate) fn failed(mut self) {
        self.uses.retain(|(key, _)| !key.counts(false));
    }

    /// The password was right.
    pub(crate) fn succeeded(mut self) {
        self.uses.retain(|(key, _)| !key.counts(true));
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.gate.core.lock().give_back(self.gate.started.elapsed(), &self.uses);
    }
}

#[cfg(test)]
mod tests;
