//! Passwords to Argon2id hashes, and the check of one against another.
//!
//! **Invariant:** at most as many runs at a time as there are processors, each in memory that is kept for it; whether a user
//! exists cannot be told from the time a check takes.
//!
//! Called on session threads. A run blocks for some tens of milliseconds, and before that for a free place.
//!
//! The parameters are OWASP's first choice for Argon2id: 19 MiB, two passes, one lane. Memory is kept between runs because an
//! allocator that gives back 19 MiB blocks at its own pace would hold hundreds of MiB in a tracker with many threads.

use std::time::Duration;

use argon2::password_hash::phc::{Ident, Output, ParamsString, PasswordHash as Phc, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use crossbeam_channel::{Receiver, Sender, bounded, select};
use log::error;

use crate::net::Stop;
use crate::types::{Password, PasswordHash, Refusal};

/// Memory of a run in KiB, passes, lanes.
const MEMORY_KIB: u32 = 19_456;
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

/// Hashes and checks passwords; shared by all sessions.
#[derive(Debug)]
pub(crate) struct Hasher {
    /// The places: whoever takes one may run, in the memory that comes with it.
    places: Receiver<Vec<Block>>,
    give_back: Sender<Vec<Block>>,
    /// What a password is checked against when there is no such user.
    dummy: PasswordHash,
    /// Nobody waits for a place any more.
    stop: Stop,
}

impl Hasher {
    /// Makes as many places as there are processors; who waits for one when `stop` is set is told that the tracker is busy.
    pub(crate) fn new(stop: Stop) -> Self {
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(RUNS_MAX);
        let (give_back, places) = bounded(count);
        for _ in 0..count {
            // Cannot fail: the channel has exactly that much room.
            let _ = give_back.try_send(Vec::new());
        }
        let dummy = to_phc(Salt::new(&[0; Salt::RECOMMENDED_LENGTH]).ok(), Output::new(&[0; Params::DEFAULT_OUTPUT_LEN]).ok());
        Self { places, give_back, dummy, stop }
    }

    /// Hashes a new password under a fresh random salt.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if no place became free in time.
    ///
    /// # Blocking
    /// For a place, and for the run.
    pub(crate) fn hash(&self, password: &Password) -> Result<PasswordHash, Refusal> {
        let salt: [u8; Salt::RECOMMENDED_LENGTH] = rand::random();
        let salt = Salt::new(&salt).ok();
        let params = default_params();
        let output = self.run(&params, Version::V0x13, password, salt.as_ref(), Params::DEFAULT_OUTPUT_LEN)?;
        Ok(to_phc(salt, output))
    }

    /// Tells which of the hashes, if any, the password belongs to. Without hashes it takes as long as with one.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if no place became free in time.
    ///
    /// # Blocking
    /// For a place, and for a run a hash.
    pub(crate) fn find(&self, password: &Password, hashes: &[&PasswordHash]) -> Result<Option<usize>, Refusal> {
        if hashes.is_empty() {
            self.verify(password, &self.dummy)?;
            return Ok(None);
        }
        for (index, hash) in hashes.iter().enumerate() {
            if self.verify(password, hash)? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    fn verify(&self, password: &Password, hash: &PasswordHash) -> Result<bool, Refusal> {
        let Some((params, version, phc)) = parse(hash) else {
            error!("a stored password hash cannot be understood; its user must be given a new one");
            return Ok(false);
        };
        let Some(want) = phc.hash else { return Ok(false) };
        let got = self.run(&params, version, password, phc.salt.as_ref(), want.len())?;
        // Comparing outputs takes the same time wherever they differ.
        Ok(got.is_some_and(|got| got == want))
    }

    /// One run; `None` if the parameters do not fit together.
    fn run(
        &self,
        params: &Params,
        version: Version,
        password: &Password,
        salt: Option<&Salt>,
        len: usize,
    ) -> Result<Option<Output>, Refusal> {
        let mut memory = select! {
            recv(self.places) -> memory => memory.map_err(|_| Refusal::Busy)?,
            recv(self.stop.channel()) -> _ => return Err(Refusal::Busy),
            default(WAIT_MAX) => return Err(Refusal::Busy),
        };
        memory.resize(params.block_count().max(memory.len()), Block::default());
        let argon2 = Argon2::new(Algorithm::Argon2id, version, params.clone());
        let blocks = &mut memory[..params.block_count()];
        let output = salt.and_then(|salt| {
            let into = |out: &mut [u8]| argon2.hash_password_into_with_memory(password.expose().as_bytes(), salt, out, blocks);
            let mut out = vec![0; len];
            into(&mut out).ok().and_then(|()| Output::new(&out).ok())
        });
        // Cannot fail: the place taken above left room for this one.
        let _ = self.give_back.try_send(memory);
        Ok(output)
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

    #[test]
    fn a_hash_is_of_its_password_alone() {
        let hasher = Hasher::new(Stop::new());
        let hash = hasher.hash(&password("secret")).unwrap();
        let other = hasher.hash(&password("other")).unwrap();
        assert!(hash.as_phc().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.as_phc());
        assert_ne!(hash, hasher.hash(&password("secret")).unwrap(), "salts are random");
        assert_eq!(hasher.find(&password("secret"), &[&other, &hash]), Ok(Some(1)));
        assert_eq!(hasher.find(&password("Secret"), &[&other, &hash]), Ok(None));
        assert_eq!(hasher.find(&password("secret"), &[]), Ok(None));
    }

    #[test]
    fn hashes_of_others_are_read_and_absurd_ones_refused() {
        let hasher = Hasher::new(Stop::new());
        // From the test vectors of the reference implementation.
        let foreign = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert_eq!(hasher.find(&password("password"), &[&PasswordHash::from_phc(foreign.into())]), Ok(Some(0)));
        for bad in ["", "$argon2id$", "plain", &foreign.replace("m=256", "m=4000000"), &foreign.replace("argon2id", "argon2i")] {
            assert_eq!(hasher.find(&password("password"), &[&PasswordHash::from_phc(bad.into())]), Ok(None), "{bad}");
        }
    }

    #[test]
    fn no_place_means_busy_and_places_come_back() {
        let hasher = Hasher::new(Stop::new());
        let taken: Vec<_> = hasher.places.try_iter().collect();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| hasher.hash(&password("x")));
            hasher.give_back.send(Vec::new()).unwrap();
            assert!(waiting.join().unwrap().is_ok());
        });
        assert_eq!(hasher.places.len(), 1, "the place came back");
        drop(taken);
    }

    #[test]
    fn nobody_waits_for_a_place_in_a_tracker_that_ends() {
        let hasher = Hasher::new(Stop::new());
        let _taken: Vec<_> = hasher.places.try_iter().collect();
        let started = Instant::now();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| hasher.hash(&password("x")));
            hasher.stop.set();
            assert_eq!(waiting.join().unwrap(), Err(Refusal::Busy));
        });
        assert!(started.elapsed() < WAIT_MAX, "it waited to the end");
    }
}
