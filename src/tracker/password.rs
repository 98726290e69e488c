//! Passwords to Argon2id hashes, and the check of one against another.
//!
//! **Invariant:** at most as many runs at a time as there are processors, each in memory that is kept for it; whether a user
//! exists cannot be told from the time a check takes. (A name that two users bear is known to be one that exists: each of them is
//! tried.)
//!
//! Called on session threads. A run blocks for some tens of milliseconds, and before that for a free place. Places go round the
//! [`Lane`]s in which somebody waits, one after the other: whoever floods the tracker from one address waits behind himself.
//!
//! The parameters are OWASP's first choice for Argon2id: 19 MiB, two passes, one lane. Memory is kept between runs because an
//! allocator that gives back 19 MiB blocks at its own pace would hold hundreds of MiB in a tracker with many threads.

use std::time::Duration;

use argon2::password_hash::phc::{Ident, Output, ParamsString, PasswordHash as Phc, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use crossbeam_channel::{Sender, bounded, select};
use log::error;
use parking_lot::Mutex;

use super::turns::Turns;
use crate::net::{Source, Stop};
use crate::types::{Password, PasswordHash, Refusal};

/// Memory of a run in KiB, passes, lanes. A fuzzer's runs are to be short.
const MEMORY_KIB: u32 = if cfg!(fuzzing) { 64 } else { 19_456 };
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Memory in KiB that a stored hash may ask for: stronger parameters may come, absurd ones exhaust no tracker.
const MEMORY_KIB_MAX: u32 = 4 * MEMORY_KIB;
/// Passes that a stored hash may ask for.
const PASSES_MAX: u32 = 16;
/// Runs at a time, however many processors there are: bounds the memory kept to 304 MiB on the largest machines.
const RUNS_MAX: usize = 16;
/// How long a request waits for a place before the tracker calls itself busy.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Requests of one lane that wait at a time; one more is told that the tracker is busy. As many as an address has connections that
/// have not logged in.
const WAITING_PER_LANE_MAX: usize = 64;

/// Whom a run is for: those of one lane wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    /// Where they come from.
    pub(crate) source: Source,
    /// Whether they have shown the user's password before: guesses do not stand in the way of owners, not even of those next door.
    pub(crate) known: bool,
}

/// Memory of a run; whoever has it may run.
type Memory = Vec<Block>;

/// Somebody who waits for a place.
#[derive(Debug)]
struct Waiter {
    number: u64,
    /// Has room for one.
    memory: Sender<Memory>,
}

/// The places, and who waits for one. While somebody waits, none is free.
#[derive(Debug)]
struct Places {
    free: Vec<Memory>,
    waiting: Turns<Lane, Waiter>,
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
    /// Makes as many places as there are processors; who waits for one when `stop` is set is told that the tracker is busy.
    pub(crate) fn new(stop: Stop) -> Self {
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(RUNS_MAX);
        let free = vec![Memory::new(); count];
        let places = Mutex::new(Places { free, waiting: Turns::new(WAITING_PER_LANE_MAX), last_number: 0 });
        let dummy = to_phc(Salt::new(&[0; Salt::RECOMMENDED_LENGTH]).ok(), Output::new(&[0; Params::DEFAULT_OUTPUT_LEN]).ok());
        Self { places, dummy, stop }
    }

    /// Hashes a new password under a fresh random salt.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if no place became free in time, or too many of the lane wait for one.
    ///
    /// # Blocking
    /// For a place, and for the run.
    pub(crate) fn hash(&self, lane: Lane, password: &Password) -> Result<PasswordHash, Refusal> {
        let salt: [u8; Salt::RECOMMENDED_LENGTH] = rand::random();
        let salt = Salt::new(&salt).ok();
        let params = default_params();
        let output = self.run(lane, &params, Version::V0x13, password, salt.as_ref(), Params::DEFAULT_OUTPUT_LEN)?;
        Ok(to_phc(salt, output))
    }

    /// Tells which of the hashes, if any, the password belongs to. Without hashes it takes as long as with one.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if no place became free in time, or too many of the lane wait for one.
    ///
    /// # Blocking
    /// For a place, and for a run a hash.
    pub(crate) fn find(&self, lane: Lane, password: &Password, hashes: &[&PasswordHash]) -> Result<Option<usize>, Refusal> {
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

    fn verify(&self, lane: Lane, password: &Password, hash: &PasswordHash) -> Result<bool, Refusal> {
        let Some((params, version, phc)) = parse(hash) else {
            error!("a stored password hash cannot be understood; its user must be given a new one");
            // It takes as long as any other, lest its user be told from those who do not exist.
            return self
                .run(lane, &default_params(), Version::V0x13, password, Salt::new(&[0; 16]).ok().as_ref(), 32)
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
        let output = salt.and_then(|salt| {
            let into = |out: &mut [u8]| argon2.hash_password_into_with_memory(password.expose().as_bytes(), salt, out, blocks);
            let mut out = vec![0; len];
            into(&mut out).ok().and_then(|()| Output::new(&out).ok())
        });
        Ok(output)
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
        if got.is_none() && self.places.lock().waiting.leave(lane, |waiter| waiter.number == number) {
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
                // Nobody leaves without taking itself out of the queue; should it happen all the same, the next one gets the place.
                Err(back) => memory = back.into_inner(),
            }
        }
        places.free.push(memory);
    }
}

fn default_params() -> Params {
    Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the parameters are constants that argon2 accepts")
}

fn to_phc(salt: Option<Salt>, hash: Option<Output>) -> PasswordHash {
    let params = ParamsString::try_from(&default_params()).expect("the parameters are constants that fit a PHC string");
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
mod tests {
    use std::time::Instant;

    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text.into()).unwrap()
    }

    fn lane(last: u8) -> Lane {
        Lane { source: Source::of([10, 0, 0, last].into()), known: false }
    }

    #[test]
    fn a_hash_is_of_its_password_alone() {
        let hasher = Hasher::new(Stop::new());
        let hash = hasher.hash(lane(1), &password("secret")).unwrap();
        let other = hasher.hash(lane(1), &password("other")).unwrap();
        assert!(hash.as_phc().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.as_phc());
        assert_ne!(hash, hasher.hash(lane(1), &password("secret")).unwrap(), "salts are random");
        assert_eq!(hasher.find(lane(1), &password("secret"), &[&other, &hash]), Ok(Some(1)));
        assert_eq!(hasher.find(lane(1), &password("Secret"), &[&other, &hash]), Ok(None));
        assert_eq!(hasher.find(lane(1), &password("secret"), &[]), Ok(None));
    }

    #[test]
    fn hashes_of_others_are_read_and_absurd_ones_refused() {
        let hasher = Hasher::new(Stop::new());
        // From the test vectors of the reference implementation.
        let foreign = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert_eq!(hasher.find(lane(1), &password("password"), &[&PasswordHash::from_phc(foreign.into())]), Ok(Some(0)));
        for bad in ["", "$argon2id$", "plain", &foreign.replace("m=256", "m=4000000"), &foreign.replace("argon2id", "argon2i")] {
            assert_eq!(hasher.find(lane(1), &password("password"), &[&PasswordHash::from_phc(bad.into())]), Ok(None), "{bad}");
        }
    }

    #[test]
    fn places_come_back_and_go_round_the_lanes() {
        let hasher = Hasher::new(Stop::new());
        let count = hasher.places.lock().free.len();
        let taken: Vec<_> = (0..count).map(|_| hasher.take_place(lane(1)).unwrap()).collect();
        let (order, served) = bounded(10);
        std::thread::scope(|scope| {
            for (number, last) in [1, 1, 1, 2].into_iter().enumerate() {
                let (hasher, order) = (&hasher, order.clone());
                scope.spawn(move || {
                    let place = hasher.take_place(lane(last)).unwrap();
                    order.send(last).unwrap();
                    drop(place);
                });
                while hasher.places.lock().last_number <= number as u64 {
                    std::thread::yield_now();
                }
            }
            // One place: those who wait are served one after the other.
            let mut taken = taken.into_iter();
            drop(taken.next());
            let got: Vec<u8> = served.iter().take(4).collect();
            assert_eq!(got, [1, 2, 1, 1]);
            drop(taken);
        });
        assert_eq!(hasher.places.lock().free.len(), count, "every place came back");
    }

    #[test]
    fn a_flood_fills_its_own_lane_alone() {
        let hasher = Hasher::new(Stop::new());
        let count = hasher.places.lock().free.len();
        let _taken: Vec<_> = (0..count).map(|_| hasher.take_place(lane(1)).unwrap()).collect();
        let mut places = hasher.places.lock();
        let waiter = || Waiter { number: u64::MAX, memory: bounded(1).0 };
        while places.waiting.push(lane(1), waiter()) {}
        drop(places);
        assert_eq!(hasher.hash(lane(1), &password("x")), Err(Refusal::Busy));
        std::thread::scope(|scope| {
            let (next_door, started) = (Lane { known: true, ..lane(1) }, Instant::now());
            let waiting = [lane(2), next_door].map(|lane| {
                let hasher = &hasher;
                scope.spawn(move || hasher.take_place(lane).map(drop))
            });
            while hasher.places.lock().last_number < 3 {
                std::thread::yield_now();
            }
            // The flood's places are vain; the others' turns come all the same.
            drop(Place { hasher: &hasher, memory: Memory::new() });
            for waiting in waiting {
                assert_eq!(waiting.join().unwrap(), Ok(()));
            }
            assert!(started.elapsed() < WAIT_MAX);
        });
    }

    #[test]
    fn nobody_waits_for_a_place_in_a_tracker_that_ends() {
        let hasher = Hasher::new(Stop::new());
        let count = hasher.places.lock().free.len();
        let _taken: Vec<_> = (0..count).map(|_| hasher.take_place(lane(1)).unwrap()).collect();
        let started = Instant::now();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| hasher.hash(lane(1), &password("x")));
            hasher.stop.set();
            assert_eq!(waiting.join().unwrap(), Err(Refusal::Busy));
        });
        assert!(started.elapsed() < WAIT_MAX, "it waited to the end");
    }
}
