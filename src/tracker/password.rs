//! Passwords to Argon2id hashes, and the check of one against another.
//!
//! **Invariant:** at most as many runs at a time as there are processors, each in memory that is
//! kept for it; whether a user exists cannot be told from the time a check takes. (A name that two
//! users bear is known to be one that exists: each of them is tried.)
//!
//! Called on session threads. A run blocks for some tens of milliseconds, and before that for a
//! free place. It has a thread of its own: two pages of stack that only Argon2 needs would stay
//! with each session that has ever logged in. Every other place goes to those who have shown their user's password before; of
//! these, as of the strangers, the addresses take turns, and the users of one address do. So
//! whoever floods the tracker waits behind himself, guesses stand in no owner's way, and a
//! neighbour with accounts of his own has one turn in a round for each of them.
//!
//! The parameters are OWASP's first choice for Argon2id: 19 MiB, two passes, one lane. Memory is
//! kept between runs because an allocator that gives back 19 MiB blocks at its own pace would hold
//! hundreds of MiB in a tracker with many threads.

use std::thread::Builder;
use std::time::Duration;

use argon2::password_hash::phc::{Ident, Output, ParamsString, PasswordHash as Phc, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use crossbeam_channel::{Sender, bounded, select};
use log::{error, warn};
use parking_lot::Mutex;

use super::turns::{Lanes, Turns};
use crate::net::{Source, Stop};
use crate::types::{Password, PasswordHash, Refusal, UserId};

/// Memory of a run in KiB, passes, lanes. A fuzzer's runs are to be short.
const MEMORY_KIB: u32 = if cfg!(fuzzing) { 64 } else { 19_456 };
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Memory in KiB that a stored hash may ask for: stronger parameters may come, absurd ones exhaust
/// no tracker.
const MEMORY_KIB_MAX: u32 = 4 * MEMORY_KIB;
/// Passes that a stored hash may ask for.
const PASSES_MAX: u32 = 16;
/// Runs at a time, however many processors there are: bounds the memory kept to 304 MiB on the
/// largest machines.
const RUNS_MAX: usize = 16;
/// How long a request waits for a place before the tracker calls itself busy.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Requests of strangers at one address that wait at a time; one more is told that the tracker is
/// busy. As many as an address has connections that have not logged in.
const STRANGERS_WAITING_MAX: usize = 64;
/// Requests for one user who is known that wait at a time: more than a person makes at once.
const WAITING_PER_USER_MAX: usize = 4;

/// Whom a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    /// Where they come from.
    pub(crate) source: Source,
    /// Whose password they have shown before.
    pub(crate) known: Option<UserId>,
}

/// Stack of a run's thread.
const STACK_LEN: usize = 64 << 10;

/// Memory of a run; whoever has it may run.
type Memory = Vec<Block>;

/// Somebody who waits for a place.
#[derive(Debug)]
struct Waiter {
    number: u64,
    /// Has room for one.
    memory: Sender<Memory>,
}

/// Who waits for a place.
#[derive(Debug, Default)]
struct Queue {
    known: Lanes<Source, UserId, Waiter>,
    strangers: Turns<Source, Waiter>,
    /// Whether it is the strangers' turn.
    is_strangers_turn: bool,
}

impl Queue {
    /// Has one wait; false if as many of its lane do as may.
    fn push(&mut self, lane: Lane, waiter: Waiter) -> bool {
        match lane.known {
            Some(user) => self.known.push(lane.source, user, WAITING_PER_USER_MAX, waiter),
            None => self.strangers.push(lane.source, STRANGERS_WAITING_MAX, waiter),
        }
    }

    /// Takes the next one out.
    fn next(&mut self) -> Option<Waiter> {
        self.is_strangers_turn = !self.is_strangers_turn;
        if self.is_strangers_turn {
            self.strangers.next().or_else(|| self.known.next())
        } else {
            self.known.next().or_else(|| self.strangers.next())
        }
    }

    /// Takes one out; false if it is not there.
    fn leave(&mut self, lane: Lane, number: u64) -> bool {
        let leaves = |waiter: &Waiter| waiter.number == number;
        match lane.known {
            Some(user) => self.known.leave(lane.source, user, leaves),
            None => self.strangers.leave(lane.source, leaves),
        }
    }
}

/// The places, and who waits for one. While somebody waits, none is free.
#[derive(Debug)]
struct Places {
    free: Vec<Memory>,
    waiting: Queue,
    last_number: u64,
}

/// A place that was taken; given back when dropped.
struct Place<'a> {
    hasher: &'a Hasher,
    memory: Memory,
}

/// Hashes and checks passwords; shared by all sessions.
#[derive(Debug)]
pub(crate) struct Hasher {
    places: Mutex<Places>,
    /// What a password is checked against when there is no such user.
    dummy: PasswordHash,
    /// Nobody waits for a place any more.
    stop: Stop,
}

impl Hasher {
    /// Makes as many places as there are processors; who waits for one when `stop` is set is told
    /// that the tracker is busy.
    pub(crate) fn new(stop: Stop) -> Self {
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(RUNS_MAX);
        let free = vec![Memory::new(); count];
        let places = Mutex::new(Places { free, waiting: Queue::default(), last_number: 0 });
        let dummy = to_phc(
            Salt::new(&[0; Salt::RECOMMENDED_LENGTH]).ok(),
            Output::new(&[0; Params::DEFAULT_OUTPUT_LEN]).ok(),
        );
        Self { places, dummy, stop }
    }

    /// Hashes a new password under a fresh random salt.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if no place became free in time, or as many of the lane wait for one as
    /// may.
    ///
    /// # Blocking
    /// For a place, and for the run.
    pub(crate) fn hash(&self, lane: Lane, password: &Password) -> Result<PasswordHash, Refusal> {
        let salt: [u8; Salt::RECOMMENDED_LENGTH] = rand::random();
        let salt = Salt::new(&salt).ok();
        let params = default_params();
        let output = self.run(
            lane,
            &params,
            Version::V0x13,
            password,
            salt.as_ref(),
            Params::DEFAULT_OUTPUT_LEN,
        )?;
        Ok(to_phc(salt, output))
    }

    /// Tells which of the hashes, if any, the password belongs to. Without hashes it takes as long
    /// as with one.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if no place became free in time, or as many of the lane wait for one as
    /// may.
    ///
    /// # Blocking
    /// For a place, and for a run a hash.
    pub(crate) fn find(
        &self,
        lane: Lane,
        password: &Password,
        hashes: &[&PasswordHash],
    ) -> Result<Option<usize>, Refusal> {
        if hashes.is_empty() {
            self.verify(lane, password, &self.dummy)?;
            return Ok(None);
        }
        for (index, hash) in hashes.iter().enumerate() {
            if self.verify(lane, password, hash)? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    fn verify(
        &self,
        lane: Lane,
        password: &Password,
        hash: &PasswordHash,
    ) -> Result<bool, Refusal> {
        let Some((params, version, phc)) = parse(hash) else {
            error!("a stored password hash cannot be understood; its user must be given a new one");
            // It takes as long as any other, lest its user be told from those who do not exist.
            return self
                .run(
                    lane,
                    &default_params(),
                    Version::V0x13,
                    password,
                    Salt::new(&[0; 16]).ok().as_ref(),
                    32,
                )
                .map(|_| false);
        };
        let Some(want) = phc.hash else { return Ok(false) };
        let got = self.run(lane, &params, version, password, phc.salt.as_ref(), want.len())?;
        // Comparing outputs takes the same time wherever they differ.
        Ok(got.is_some_and(|got| got == want))
    }

    /// One run; `None` if the parameters do not fit together.
    fn run(
        &self,
        lane: Lane,
        params: &Params,
        version: Version,
        password: &Password,
        salt: Option<&Salt>,
        len: usize,
    ) -> Result<Option<Output>, Refusal> {
        let mut place = self.take_place(lane)?;
        let memory = &mut place.memory;
        memory.resize(params.block_count().max(memory.len()), Block::default());
        let argon2 = Argon2::new(Algorithm::Argon2id, version, params.clone());
        let blocks = &mut memory[..params.block_count()];
        let password = password.expose().as_bytes();
        let run = move || {
            let mut out = vec![0; len];
            argon2.hash_password_into_with_memory(password, salt?, &mut out, blocks).ok()?;
            Output::new(&out).ok()
        };
        std::thread::scope(|scope| {
            let thread = Builder::new().name("argon2".to_owned()).stack_size(STACK_LEN);
            let run = thread.spawn_scoped(scope, run).map_err(|e| {
                warn!("no thread to check a password on: {e}");
                Refusal::Busy
            })?;
            run.join().map_err(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A hash that is no password's: stands in where none is looked at.
    pub(crate) fn no_hash(&self) -> PasswordHash {
        self.dummy.clone()
    }

    /// Takes every place, so that nothing that needs a run goes on until they are given back.
    #[cfg(test)]
    pub(crate) fn occupy(&self, source: Source) -> Vec<impl Drop> {
        let count = self.places.lock().free.len();
        (0..count).map(|_| self.take_place(Lane { source, known: None }).unwrap()).collect()
    }

    fn take_place(&self, lane: Lane) -> Result<Place<'_>, Refusal> {
        let place = |memory| Place { hasher: self, memory };
        let (sender, memory) = bounded(1);
        let number = {
            let mut places = self.places.lock();
            if let Some(memory) = places.free.pop() {
                return Ok(place(memory));
            }
            places.last_number += 1;
            let number = places.last_number;
            if !places.waiting.push(lane, Waiter { number, memory: sender }) {
                return Err(Refusal::Busy);
            }
            number
        };
        let got = select! {
            recv(memory) -> got => got.ok(),
            recv(self.stop.channel()) -> _ => None,
            default(WAIT_MAX) => None,
        };
        if got.is_none() && self.places.lock().waiting.leave(lane, number) {
            return Err(Refusal::Busy);
        }
        // Who is in the queue no longer has been given a place, perhaps this very moment.
        got.or_else(|| memory.try_recv().ok()).map(place).ok_or(Refusal::Busy)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut memory = std::mem::take(&mut self.memory);
        let mut places = self.hasher.places.lock();
        while let Some(waiter) = places.waiting.next() {
            match waiter.memory.try_send(memory) {
                Ok(()) => return,
                // Nobody leaves without taking itself out of the queue; should it happen all the
                // same, the next one gets the place.
                Err(back) => memory = back.into_inner(),
            }
        }
        places.free.push(memory);
    }
}

fn default_params() -> Params {
    Params::new(MEMORY_KIB, PASSES, LANES, None)
        .expect("the parameters are constants that argon2 accepts")
}

fn to_phc(salt: Option<Salt>, hash: Option<Output>) -> PasswordHash {
    let params = ParamsString::try_from(&default_params())
        .expect("the parameters are constants that fit a PHC string");
    let algorithm = Ident::new("argon2id").expect("argon2id is an identifier");
    let phc = Phc { algorithm, version: Some(Version::V0x13.into()), params, salt, hash };
    PasswordHash::from_phc(phc.to_string())
}

/// Takes a stored hash apart; `None` if it is not Argon2id, or asks for more than a tracker gives.
fn parse(hash: &PasswordHash) -> Option<(Params, Version, Phc)> {
    let phc = Phc::new(hash.as_phc()).ok()?;
    if phc.algorithm.as_str() != "argon2id" {
        return None;
    }
    let params = Params::try_from(&phc).ok()?;
    let version = Version::try_from(phc.version?).ok()?;
    let modest = params.m_cost() <= MEMORY_KIB_MAX && params.t_cost() <= PASSES_MAX;
    modest.then_some((params, version, phc))
}

#[cfg(test)]
mod tests;
