//! The network's keys that this tracker holds, and which of them counts.
//!
//! A network has one key. While the operator replaces it (`rotate_key`), there are two: the
//! rotation that the directory holds says which of them count, and the new one's file lies beside
//! the first one's on each tracker. No private key leaves its file: what trackers tell each other
//! is public keys and a signature.
//!
//! | stage | trackers show | sign tokens and tickets with | take |
//! |---|---|---|---|
//! | begun | the old key | the new one, as soon as they hold it | both |
//! | ended | the new one | the new one | the new one |
//! | cancelled | the old one | the old one | the old one |
//!
//! The end has a setting of its own: no other write undoes it, so trackers that were apart agree on
//! it afterwards.
//!
//! **Invariant:** everything in a [`KeyRing`] follows from the same settings and keys. A rotation
//! counts if the old key signed its stage and both keys, one of the two is held here, and the
//! rotation that has ended leads to it.
//!
//! The core follows the directory; an operator's thread may read the file again. The lock is held
//! for a moment, never while a file is read.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};
use parking_lot::Mutex;

use super::config::{KeyReplaced, TrackerError};
use crate::directory::Settings;
use crate::net::TrackerSecurity;
use crate::trust::{IdentityError, KeyError, KeyPair, NetworkPublicKey};
use crate::types::{Fingerprint, KeyRotation, RotationStage, SessionToken};
use crate::wire::replication::LinkRefusal;

/// How long a link that was made with a key may go on when that key counts no more: until the word
/// of it has reached the other end.
const LINK_GRACE: Duration = Duration::from_secs(5);

/// Which key a token was signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signer {
    /// One that counts.
    Accepted,
    /// One that counted before.
    Void,
    /// None that this tracker knows: another may have heard of it already.
    Unknown,
}

/// Which of the keys does what.
#[derive(Debug, Clone)]
struct Plan {
    shown: Arc<KeyPair>,
    signer: Arc<KeyPair>,
    accepted: Vec<NetworkPublicKey>,
    void: Option<NetworkPublicKey>,
    rotation: Option<KeyRotation>,
    /// The change before `rotation`, which has ended.
    before: Option<KeyRotation>,
}

impl Plan {
    /// Plans for the keys `held`, the first of which is the one that the tracker was started with.
    /// `ended` is the change that has ended last, if one has.
    fn new(
        held: &[Arc<KeyPair>],
        rotation: Option<&KeyRotation>,
        ended: Option<&KeyRotation>,
    ) -> Result<Self, KeyReplaced> {
        let own = &held[0];
        let find = |key: NetworkPublicKey| held.iter().find(|held| held.network() == key);
        let is_ours = |rotation: &&KeyRotation| {
            let old = NetworkPublicKey::from(rotation.old);
            (find(old).is_some() || find(rotation.new.into()).is_some())
                && old.signed_rotation(rotation)
        };
        let ended = ended.filter(is_ours).filter(|ended| ended.stage == RotationStage::Ended);
        // After an end only what goes on from its new key counts: a cancellation of it, or another
        // beginning, came too late.
        let follows = |rotation: &&KeyRotation| ended.is_none_or(|ended| ended.new == rotation.old);
        let Some(rotation) = rotation.filter(is_ours).filter(follows).or(ended).copied() else {
            let accepted = vec![own.network()];
            let (shown, signer) = (own.clone(), own.clone());
            return Ok(Self { shown, signer, accepted, void: None, rotation: None, before: None });
        };
        let before = ended.copied().filter(|ended| *ended != rotation);
        let (old, new) =
            (NetworkPublicKey::from(rotation.old), NetworkPublicKey::from(rotation.new));
        let (old_key, new_key) = (find(old), find(new));
        let replaced = |counts: NetworkPublicKey, held: NetworkPublicKey| KeyReplaced {
            counts: counts.fingerprint(),
            held: held.fingerprint(),
        };
        let (shown, signer, accepted, void) = match rotation.stage {
            RotationStage::Begun => {
                (old_key.or(new_key), new_key.or(old_key), vec![old, new], None)
            }
            RotationStage::Ended => (new_key, new_key, vec![new], Some(old)),
            RotationStage::Cancelled => (old_key, old_key, vec![old], Some(new)),
        };
        let (Some(shown), Some(signer)) = (shown, signer) else {
            return Err(replaced(accepted[0], void.unwrap_or(accepted[0])));
        };
        let void =
            void.or(before.map(|ended| ended.old.into())).filter(|void| !accepted.contains(void));
        Ok(Self {
            shown: shown.clone(),
            signer: signer.clone(),
            accepted,
            void,
            rotation: Some(rotation),
            before,
        })
    }
}

/// The keys in use at one moment.
#[derive(Debug)]
pub(crate) struct KeyRing {
    plan: Plan,
    /// When a key ceased to count.
    void_since: Option<Instant>,
    /// Makes connections.
    pub(crate) security: TrackerSecurity,
}

impl KeyRing {
    /// The key that this tracker shows: the network is known by it.
    pub(crate) fn shown(&self) -> &KeyPair {
        &self.plan.shown
    }

    /// The network's name.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.plan.shown.fingerprint()
    }

    /// The key that tokens and tickets are signed with.
    pub(crate) fn signer(&self) -> &KeyPair {
        &self.plan.signer
    }

    /// The rotation that counts.
    pub(crate) fn rotation(&self) -> Option<KeyRotation> {
        self.plan.rotation
    }

    /// What clients are told of: the change before, which has ended, and the rotation that counts.
    pub(crate) fn rotations(&self) -> impl Iterator<Item = KeyRotation> {
        self.plan.before.into_iter().chain(self.plan.rotation)
    }

    /// Why a link that was made with a key that counts no more is refused.
    pub(crate) fn refusal(&self, key: NetworkPublicKey) -> LinkRefusal {
        let voids =
            |rotation: &KeyRotation| rotation.void_key().is_some_and(|void| key == void.into());
        self.rotations().find(voids).map_or(LinkRefusal::Network, LinkRefusal::KeyReplaced)
    }

    /// Which key a token was signed with.
    pub(crate) fn signer_of(&self, token: &SessionToken) -> Signer {
        let signed = |key: &NetworkPublicKey| key.signed_token(token);
        match (self.plan.accepted.iter().any(signed), self.plan.void.as_ref().is_some_and(signed)) {
            (true, _) => Signer::Accepted,
            (false, true) => Signer::Void,
            (false, false) => Signer::Unknown,
        }
    }

    /// Tells whether trackers that show the key are of the network.
    pub(crate) fn accepts(&self, key: NetworkPublicKey) -> bool {
        self.plan.accepted.contains(&key)
    }

    /// Tells whether a link that was made with the key may go on.
    pub(crate) fn bears_link(&self, key: NetworkPublicKey) -> bool {
        self.accepts(key) || self.void_since.is_some_and(|since| since.elapsed() < LINK_GRACE)
    }

    /// Tells whether this tracker holds the key that takes the other's place, or has taken it.
    pub(crate) fn holds_new(&self) -> bool {
        self.plan.rotation.is_some_and(|rotation| self.plan.signer.network() == rotation.new.into())
    }
}

#[derive(Debug)]
struct State {
    /// The one that the tracker was started with comes first.
    held: Vec<Arc<KeyPair>>,
    /// As the directory says.
    rotation: Option<KeyRotation>,
    /// As the directory says.
    ended: Option<KeyRotation>,
    /// Another tracker has said that this rotation has ended; the row may come later.
    ended_elsewhere: Option<KeyRotation>,
    ring: Arc<KeyRing>,
}

/// The network's keys.
#[derive(Debug)]
pub(crate) struct NetworkKeys {
    /// Where the key is looked for that is to take the other's place.
    next_file: Option<PathBuf>,
    state: Mutex<State>,
}

impl NetworkKeys {
    /// Starts with the key of the tracker's own file, and the one in `next_file` if there is one.
    ///
    /// # Errors
    /// [`KeyReplaced`] and [`IdentityError`], as a [`TrackerError`].
    pub(crate) fn new(
        own: Arc<KeyPair>,
        next_file: Option<PathBuf>,
        settings: &Settings,
    ) -> Result<Self, TrackerError> {
        let mut held = vec![own];
        match load_next(next_file.as_deref()) {
            Ok(key) => hold(&mut held, key),
            Err(error) => warn!("{error}"),
        }
        let (rotation, ended) = (settings.rotation, settings.ended);
        let plan = Plan::new(&held, rotation.as_ref(), ended.as_ref())?;
        let ring = Arc::new(make_ring(plan, None)?);
        Ok(Self {
            next_file,
            state: Mutex::new(State { held, rotation, ended, ended_elsewhere: None, ring }),
        })
    }

    /// The keys in use now.
    pub(crate) fn ring(&self) -> Arc<KeyRing> {
        self.state.lock().ring.clone()
    }

    /// Where the key is looked for that is to take the other's place.
    pub(crate) fn next_file(&self) -> Option<&Path> {
        self.next_file.as_deref()
    }

    /// The key in that file, read again; `None` if there is no file, or the tracker was started
    /// without one.
    ///
    /// # Errors
    /// Every [`KeyError`] but `Random`.
    ///
    /// # Blocking
    /// For the disk.
    pub(crate) fn look_at_next(&self) -> Result<Option<NetworkPublicKey>, KeyError> {
        let key = load_next(self.next_file.as_deref())?;
        let public = key.as_ref().map(KeyPair::network);
        hold(&mut self.state.lock().held, key);
        Ok(public)
    }

    /// Takes over what the directory says. Tells whether anything has changed.
    ///
    /// # Errors
    /// [`KeyReplaced`] if this tracker holds none of the keys that count, and [`IdentityError`];
    /// then nothing has changed.
    ///
    /// # Blocking
    /// For the disk, if the new key of a rotation is not held yet: its file of a hundred bytes is
    /// read.
    pub(crate) fn follow(&self, settings: &Settings) -> Result<bool, TrackerError> {
        let is_held = |rotation: &KeyRotation| {
            let new = NetworkPublicKey::from(rotation.new);
            self.state.lock().held.iter().any(|held| held.network() == new)
        };
        if settings.rotation.iter().chain(&settings.ended).any(|rotation| !is_held(rotation))
            && let Err(error) = self.look_at_next()
        {
            warn!("{error}");
        }
        let mut state = self.state.lock();
        if settings.ended != state.ended {
            state.ended_elsewhere = None;
        }
        (state.rotation, state.ended) = (settings.rotation, settings.ended);
        Self::refresh(&mut state)
    }

    /// Another tracker says that the old key counts no more: the one that this tracker shows, which
    /// has to have signed that. Tells whether anything has changed.
    ///
    /// # Errors
    /// As [`NetworkKeys::follow`].
    pub(crate) fn note_ended(&self, ended: KeyRotation) -> Result<bool, TrackerError> {
        let mut state = self.state.lock();
        let is_it = |begun: KeyRotation| {
            begun.stage == RotationStage::Begun && begun.is_same_change(&ended)
        };
        let old = NetworkPublicKey::from(ended.old);
        if ended.stage != RotationStage::Ended
            || !state.ring.rotation().is_some_and(is_it)
            || !old.signed_rotation(&ended)
        {
            return Ok(false);
        }
        state.ended_elsewhere = Some(ended);
        Self::refresh(&mut state)
    }

    fn refresh(state: &mut State) -> Result<bool, TrackerError> {
        let ended = state.ended_elsewhere.or(state.ended);
        let plan = Plan::new(&state.held, state.rotation.as_ref(), ended.as_ref())?;
        let before = &state.ring.plan;
        let is_same = |one: &KeyPair, other: &KeyPair| one.public() == other.public();
        let is_told = (before.rotation, before.before) == (plan.rotation, plan.before);
        if is_told && is_same(&before.shown, &plan.shown) && is_same(&before.signer, &plan.signer) {
            return Ok(false);
        }
        if let Some(rotation) = &plan.rotation {
            let (old, new) = (rotation.old.fingerprint(), rotation.new.fingerprint());
            info!("the network's key {new} in place of {old}: {}", rotation.stage.as_str());
        }
        let void_before = state.ring.plan.void.zip(state.ring.void_since);
        let ring = make_ring(plan, void_before)?;
        // Keys of earlier rotations are of no more use; the first one stays what it is.
        let (shown, signer) = (ring.plan.shown.public(), ring.plan.signer.public());
        let last = state.held.len() - 1;
        let mut index = 0;
        state.held.retain(|key| {
            let is_kept = index == 0 || index == last || [shown, signer].contains(&key.public());
            index += 1;
            is_kept
        });
        state.ring = Arc::new(ring);
        Ok(true)
    }
}

fn make_ring(
    plan: Plan,
    void_before: Option<(NetworkPublicKey, Instant)>,
) -> Result<KeyRing, IdentityError> {
    let security = TrackerSecurity::with_keys(&plan.shown, &plan.accepted, plan.void)?;
    let since = |void| {
        void_before
            .filter(|(before, _)| *before == void)
            .map_or_else(Instant::now, |(_, since)| since)
    };
    let void_since = plan.void.map(since);
    Ok(KeyRing { plan, void_since, security })
}

/// Reads the next key's file, if there is one.
fn load_next(file: Option<&Path>) -> Result<Option<KeyPair>, KeyError> {
    let Some(file) = file else { return Ok(None) };
    match KeyPair::load(file) {
        Ok(key) => Ok(Some(key)),
        Err(KeyError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Adds a key to those held.
fn hold(held: &mut Vec<Arc<KeyPair>>, key: Option<KeyPair>) {
    let is_new = |key: &KeyPair| !held.iter().any(|held| held.network() == key.network());
    if let Some(key) = key.filter(is_new) {
        held.push(Arc::new(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Arc<KeyPair> {
        Arc::new(KeyPair::generate().unwrap())
    }

    fn plan_of(held: &[Arc<KeyPair>], rotation: KeyRotation) -> Result<Plan, KeyReplaced> {
        match rotation.stage {
            RotationStage::Ended => Plan::new(held, None, Some(&rotation)),
            RotationStage::Begun | RotationStage::Cancelled => {
                Plan::new(held, Some(&rotation), None)
            }
        }
    }

    fn settings(rotation: KeyRotation, ended: Option<KeyRotation>) -> Settings {
        Settings { rotation: Some(rotation), ended, ..Settings::default() }
    }

    fn names(plan: &Plan) -> (Fingerprint, Fingerprint, Vec<Fingerprint>, Option<Fingerprint>) {
        let accepted = plan.accepted.iter().map(NetworkPublicKey::fingerprint).collect();
        (
            plan.shown.fingerprint(),
            plan.signer.fingerprint(),
            accepted,
            plan.void.map(|key| key.fingerprint()),
        )
    }

    #[test]
    fn which_key_counts_follows_from_the_stage_and_what_is_held() {
        let (old, new, other) = (key(), key(), key());
        let begun = old.begin_rotation(new.network());
        let [o, n, x] = [&old, &new, &other].map(|key| key.fingerprint());
        let both = [old.clone(), new.clone()];
        let plan =
            |held: &[Arc<KeyPair>], rotation| plan_of(held, rotation).map(|plan| names(&plan));
        assert_eq!(names(&Plan::new(&both, None, None).unwrap()), (o, o, vec![o], None));
        assert_eq!(plan(&both, begun), Ok((o, n, vec![o, n], None)));
        assert_eq!(
            plan(&both[..1], begun),
            Ok((o, o, vec![o, n], None)),
            "it has not the new one yet"
        );
        assert_eq!(
            plan(&both[1..], begun),
            Ok((n, n, vec![o, n], None)),
            "the new one was put into its place too early"
        );
        let ended = old.sign_rotation(RotationStage::Ended, new.network());
        assert_eq!(plan(&both, ended), Ok((n, n, vec![n], Some(o))));
        assert_eq!(plan(&both[..1], ended), Err(KeyReplaced { counts: n, held: o }));
        let cancelled = old.sign_rotation(RotationStage::Cancelled, new.network());
        assert_eq!(plan(&both, cancelled), Ok((o, o, vec![o], Some(n))));
        assert_eq!(plan(&both[1..], cancelled), Err(KeyReplaced { counts: o, held: n }));
        // A setting that no key of this network has signed is ignored.
        assert_eq!(plan(std::slice::from_ref(&other), ended), Ok((x, x, vec![x], None)));
        let signature = other.sign_rotation(RotationStage::Ended, new.network()).signature;
        for signature in [signature, begun.signature, cancelled.signature] {
            assert_eq!(plan(&both, KeyRotation { signature, ..ended }), Ok((o, o, vec![o], None)));
        }
    }

    #[test]
    fn an_end_beats_a_cancellation_and_whatever_else_was_made_of_the_old_key() {
        let (old, new, third, own) = (key(), key(), key(), key());
        let [o, n, t] = [&old, &new, &third].map(|key| key.fingerprint());
        let ended = old.sign_rotation(RotationStage::Ended, new.network());
        let all = [old.clone(), new.clone(), third.clone()];
        let plan = |rotation: &KeyRotation| Plan::new(&all, Some(rotation), Some(&ended)).unwrap();
        let late = [
            old.begin_rotation(new.network()),
            old.sign_rotation(RotationStage::Cancelled, new.network()),
            old.begin_rotation(third.network()),
        ];
        for late in &late {
            let plan = plan(late);
            assert_eq!((names(&plan), plan.rotation), ((n, n, vec![n], Some(o)), Some(ended)));
        }
        // What goes on from the new key counts; that the old one has ended is still known, and told
        // first.
        let next = plan(&new.begin_rotation(third.network()));
        assert_eq!(names(&next), (n, t, vec![n, t], Some(o)));
        let ring = make_ring(next, None).unwrap();
        assert_eq!(
            ring.rotations().map(|rotation| rotation.stage).collect::<Vec<_>>(),
            [RotationStage::Ended, RotationStage::Begun]
        );
        assert_eq!(ring.refusal(old.network()), LinkRefusal::KeyReplaced(ended));
        // A network that began anew with the old one's directory goes by its own key.
        let begun = own.begin_rotation(third.network());
        assert_eq!(
            Plan::new(std::slice::from_ref(&own), Some(&begun), Some(&ended)).unwrap().rotation,
            Some(begun)
        );
    }

    #[test]
    fn the_file_is_read_without_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("network.key.next");
        let keys = NetworkKeys::new(key(), Some(file.clone()), &Settings::default()).unwrap();
        // A pipe: opening one end waits for the other.
        assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
        let (opened, is_open) = crossbeam_channel::bounded(1);
        std::thread::scope(|scope| {
            let lock = keys.state.lock();
            scope.spawn(|| assert!(keys.look_at_next().is_err(), "a pipe is no key"));
            scope.spawn(move || {
                opened.send(std::fs::OpenOptions::new().write(true).open(&file).is_ok())
            });
            assert_eq!(
                is_open.recv_timeout(Duration::from_secs(20)),
                Ok(true),
                "the reader waits for the lock"
            );
            drop(lock);
        });
    }

    #[test]
    fn a_tracker_takes_the_key_from_its_file_and_hears_of_the_end_either_way() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("network.key.next");
        let own = key();
        let keys = NetworkKeys::new(own.clone(), Some(file.clone()), &Settings::default()).unwrap();
        assert_eq!(keys.look_at_next().unwrap(), None);
        let (new, _) = KeyPair::load_or_make(&file).unwrap();
        let begun = own.begin_rotation(new.network());
        let before = settings(begun, None);
        assert!(keys.follow(&before).unwrap() && !keys.follow(&before).unwrap());
        let ring = keys.ring();
        assert_eq!((ring.shown().public(), ring.signer().public()), (own.public(), new.public()));
        assert!(ring.holds_new() && ring.accepts(own.network()) && ring.accepts(new.network()));
        // Told by another tracker before the row comes, which then changes nothing.
        let ended = own.sign_rotation(RotationStage::Ended, new.network());
        for unsigned in [begun, KeyRotation { stage: RotationStage::Ended, ..begun }] {
            assert!(!keys.note_ended(unsigned).unwrap(), "the old key has not signed the end");
        }
        assert!(keys.note_ended(ended).unwrap());
        assert!(!keys.follow(&before).unwrap(), "the row from before is outdated");
        assert!(!keys.follow(&settings(begun, Some(ended))).unwrap());
        let ring = keys.ring();
        assert_eq!(ring.fingerprint(), new.fingerprint());
        assert!(!ring.accepts(own.network()) && ring.bears_link(own.network()), "for a moment");
        // The next rotation, without a restart; the file of the last one was moved.
        std::fs::remove_file(&file).unwrap();
        let (third, _) = KeyPair::load_or_make(&file).unwrap();
        assert!(keys.follow(&settings(new.begin_rotation(third.network()), Some(ended))).unwrap());
        let ring = keys.ring();
        assert_eq!((ring.shown().public(), ring.signer().public()), (new.public(), third.public()));
    }

    #[test]
    fn tokens_are_told_apart_by_the_key_that_signed_them() {
        use crate::types::{DeviceId, RequestId, Stamp, TokenClaims, UserId, Version};
        let password = Version { stamp: Stamp::ZERO, request: RequestId::from_bytes([7; 16]) };
        let (user, device) = (UserId::from_bytes([1; 16]), DeviceId::from_bytes([2; 32]));
        let claims = TokenClaims { user, device, password, issued_ms: 1, expires_ms: 2 };
        let (old, new, other) = (key(), key(), key());
        let begun = old.begin_rotation(new.network());
        let ring = |rotation| {
            make_ring(plan_of(&[old.clone(), new.clone()], rotation).unwrap(), None).unwrap()
        };
        let told = |ring: &KeyRing| {
            [&old, &new, &other].map(|key| ring.signer_of(&key.sign_token(claims)))
        };
        assert_eq!(told(&ring(begun)), [Signer::Accepted, Signer::Accepted, Signer::Unknown]);
        let ended = ring(old.sign_rotation(RotationStage::Ended, new.network()));
        assert_eq!(told(&ended), [Signer::Void, Signer::Accepted, Signer::Unknown]);
        let cancelled = ring(old.sign_rotation(RotationStage::Cancelled, new.network()));
        assert_eq!(told(&cancelled), [Signer::Accepted, Signer::Void, Signer::Unknown]);
    }
}
