//! The network's keys that this tracker holds, and which of them counts.
//!
//! A network has one key. While the operator replaces it (`rotate_key`), there are two: the rotation that the
//! directory holds says which of them count, and the new one's file lies beside the first one's on each
//! tracker. No private key leaves its file: what trackers tell each other is public keys and a signature.
//!
//! | stage | trackers show | sign tokens and tickets with | take |
//! |---|---|---|---|
//! | begun | the old key | the new one, as soon as they hold it | both |
//! | ended | the new one | the new one | the new one |
//! | cancelled | the old one | the old one | the old one |
//!
//! **Invariant:** everything in a [`KeyRing`] follows from one rotation and the same keys; a rotation counts
//! if the old key signed it and one of its keys is held here.
//!
//! The core follows the directory, an operator's thread may read the file again; the lock is held while the file is
//! read, and taken for a moment by whoever needs the ring.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};
use parking_lot::Mutex;

use crate::net::TrackerSecurity;
use crate::trust::{IdentityError, KeyError, KeyPair, NetworkPublicKey};
use crate::types::{Fingerprint, KeyRotation, RotationStage, SessionToken};

/// How long a link that was made with a key may go on when that key counts no more: until the word of it has
/// reached the other end.
const LINK_GRACE: Duration = Duration::from_secs(5);

/// This tracker holds none of the keys that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the network goes on under the key {counts}, and this tracker has only the one before, {held}: put the new key into its place, \
     change the `network` line of tracker_info.txt, and start again"
)]
pub struct KeyReplaced {
    /// The key that counts.
    pub counts: Fingerprint,
    /// The one that is held.
    pub held: Fingerprint,
}

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
}

impl Plan {
    /// Plans for the keys `held`, the first of which is the one that the tracker was started with.
    fn new(held: &[Arc<KeyPair>], rotation: Option<&KeyRotation>) -> Result<Self, KeyReplaced> {
        let own = &held[0];
        let find = |key: NetworkPublicKey| held.iter().find(|held| held.network() == key);
        let relevant = rotation.and_then(|rotation| {
            let (old, new) = (NetworkPublicKey::from(rotation.old), NetworkPublicKey::from(rotation.new));
            let pair = (find(old), find(new));
            let is_ours = pair.0.is_some() || pair.1.is_some();
            (is_ours && old.signed_rotation(rotation)).then_some((*rotation, old, new, pair))
        });
        let Some((rotation, old, new, (old_key, new_key))) = relevant else {
            let accepted = vec![own.network()];
            return Ok(Self { shown: own.clone(), signer: own.clone(), accepted, void: None, rotation: None });
        };
        let replaced = |counts: NetworkPublicKey, held: NetworkPublicKey| KeyReplaced {
            counts: counts.fingerprint(),
            held: held.fingerprint(),
        };
        let (shown, signer, accepted, void) = match rotation.stage {
            RotationStage::Begun => (old_key.or(new_key), new_key.or(old_key), vec![old, new], None),
            RotationStage::Ended => (new_key, new_key, vec![new], Some(old)),
            RotationStage::Cancelled => (old_key, old_key, vec![old], Some(new)),
        };
        let (Some(shown), Some(signer)) = (shown, signer) else {
            return Err(replaced(accepted[0], void.unwrap_or(accepted[0])));
        };
        Ok(Self { shown: shown.clone(), signer: signer.clone(), accepted, void, rotation: Some(rotation) })
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

    /// The rotation that clients are told of.
    pub(crate) fn rotation(&self) -> Option<KeyRotation> {
        self.plan.rotation
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
    /// Another tracker has shown the new key and said that this rotation has ended; the row may come later.
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
    /// [`KeyReplaced`] and [`IdentityError`], as a [`TrackerError`](super::config::TrackerError).
    pub(crate) fn new(
        own: Arc<KeyPair>,
        next_file: Option<PathBuf>,
        rotation: Option<KeyRotation>,
    ) -> Result<Self, super::config::TrackerError> {
        let mut held = vec![own];
        if let Err(error) = load_next(next_file.as_deref(), &mut held) {
            warn!("{error}");
        }
        let plan = Plan::new(&held, rotation.as_ref())?;
        let ring = Arc::new(make_ring(plan, None)?);
        Ok(Self { next_file, state: Mutex::new(State { held, rotation, ended_elsewhere: None, ring }) })
    }

    /// The keys in use now.
    pub(crate) fn ring(&self) -> Arc<KeyRing> {
        self.state.lock().ring.clone()
    }

    /// Where the key is looked for that is to take the other's place.
    pub(crate) fn next_file(&self) -> Option<&Path> {
        self.next_file.as_deref()
    }

    /// The key in that file, read again; `None` if there is no file, or the tracker was started without one.
    ///
    /// # Errors
    /// Every [`KeyError`] but `Random`.
    pub(crate) fn look_at_next(&self) -> Result<Option<NetworkPublicKey>, KeyError> {
        load_next(self.next_file.as_deref(), &mut self.state.lock().held)
    }

    /// Takes over what the directory says; reads the file of the next key again. Tells whether anything has changed.
    ///
    /// # Errors
    /// [`KeyReplaced`] if this tracker holds none of the keys that count, and [`IdentityError`]; then nothing has changed.
    pub(crate) fn follow(&self, rotation: Option<KeyRotation>) -> Result<bool, super::config::TrackerError> {
        let mut state = self.state.lock();
        if let Err(error) = load_next(self.next_file.as_deref(), &mut state.held) {
            warn!("{error}");
        }
        state.rotation = rotation;
        Self::refresh(&mut state)
    }

    /// Another tracker has shown this key and said that the old one counts no more: it may, if it is the one that takes its
    /// place. Tells whether anything has changed.
    ///
    /// # Errors
    /// As [`NetworkKeys::follow`].
    pub(crate) fn note_ended(&self, shown: NetworkPublicKey) -> Result<bool, super::config::TrackerError> {
        let mut state = self.state.lock();
        let is_it = |rotation: &KeyRotation| rotation.stage == RotationStage::Begun && shown == rotation.new.into();
        let Some(rotation) = state.ring.plan.rotation.filter(is_it) else { return Ok(false) };
        state.ended_elsewhere = Some(rotation);
        Self::refresh(&mut state)
    }

    fn refresh(state: &mut State) -> Result<bool, super::config::TrackerError> {
        let ended = |rotation: &KeyRotation| state.ended_elsewhere.is_some_and(|ended| ended == *rotation);
        let rotation = state.rotation.map(|rotation| match ended(&rotation) {
            true => KeyRotation { stage: RotationStage::Ended, ..rotation },
            false => rotation,
        });
        let plan = Plan::new(&state.held, rotation.as_ref())?;
        let before = &state.ring.plan;
        let is_same = |one: &KeyPair, other: &KeyPair| one.public() == other.public();
        if before.rotation == plan.rotation && is_same(&before.shown, &plan.shown) && is_same(&before.signer, &plan.signer) {
            return Ok(false);
        }
        if let Some(rotation) = &plan.rotation {
            let (old, new) = (rotation.old.fingerprint(), rotation.new.fingerprint());
            info!("the network's key {new} in place of {old}: {}", rotation.stage.as_str());
        }
        let ring = make_ring(plan, state.ring.void_since)?;
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

fn make_ring(plan: Plan, void_before: Option<Instant>) -> Result<KeyRing, IdentityError> {
    let security = TrackerSecurity::with_keys(&plan.shown, &plan.accepted, plan.void)?;
    let void_since = plan.void.map(|_| void_before.unwrap_or_else(Instant::now));
    Ok(KeyRing { plan, void_since, security })
}

/// Reads the next key's file, and adds its key to those held.
fn load_next(file: Option<&Path>, held: &mut Vec<Arc<KeyPair>>) -> Result<Option<NetworkPublicKey>, KeyError> {
    let Some(file) = file else { return Ok(None) };
    let key = match KeyPair::load(file) {
        Ok(key) => key,
        Err(KeyError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let public = key.network();
    if !held.iter().any(|held| held.network() == public) {
        held.push(Arc::new(key));
    }
    Ok(Some(public))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Arc<KeyPair> {
        Arc::new(KeyPair::generate().unwrap())
    }

    fn staged(rotation: KeyRotation, stage: RotationStage) -> KeyRotation {
        KeyRotation { stage, ..rotation }
    }

    fn names(plan: &Plan) -> (Fingerprint, Fingerprint, Vec<Fingerprint>, Option<Fingerprint>) {
        let accepted = plan.accepted.iter().map(NetworkPublicKey::fingerprint).collect();
        (plan.shown.fingerprint(), plan.signer.fingerprint(), accepted, plan.void.map(|key| key.fingerprint()))
    }

    #[test]
    fn which_key_counts_follows_from_the_stage_and_what_is_held() {
        let (old, new, other) = (key(), key(), key());
        let begun = old.begin_rotation(new.network());
        let [o, n, x] = [&old, &new, &other].map(|key| key.fingerprint());
        let both = [old.clone(), new.clone()];
        let plan = |held: &[Arc<KeyPair>], rotation: KeyRotation| Plan::new(held, Some(&rotation)).map(|plan| names(&plan));
        assert_eq!(names(&Plan::new(&both, None).unwrap()), (o, o, vec![o], None));
        assert_eq!(plan(&both, begun), Ok((o, n, vec![o, n], None)));
        assert_eq!(plan(&both[..1], begun), Ok((o, o, vec![o, n], None)), "it has not the new one yet");
        assert_eq!(plan(&both[1..], begun), Ok((n, n, vec![o, n], None)), "the new one was put into its place too early");
        let ended = staged(begun, RotationStage::Ended);
        assert_eq!(plan(&both, ended), Ok((n, n, vec![n], Some(o))));
        assert_eq!(plan(&both[..1], ended), Err(KeyReplaced { counts: n, held: o }));
        let cancelled = staged(begun, RotationStage::Cancelled);
        assert_eq!(plan(&both, cancelled), Ok((o, o, vec![o], Some(n))));
        assert_eq!(plan(&both[1..], cancelled), Err(KeyReplaced { counts: o, held: n }));
        // What another network's key signed, or nobody's, says nothing here.
        assert_eq!(plan(std::slice::from_ref(&other), ended), Ok((x, x, vec![x], None)));
        let forged = KeyRotation { signature: other.begin_rotation(new.network()).signature, ..ended };
        assert_eq!(plan(&both, forged), Ok((o, o, vec![o], None)));
    }

    #[test]
    fn a_tracker_takes_the_key_from_its_file_and_hears_of_the_end_either_way() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("network.key.next");
        let own = key();
        let keys = NetworkKeys::new(own.clone(), Some(file.clone()), None).unwrap();
        assert_eq!(keys.look_at_next().unwrap(), None);
        let (new, _) = KeyPair::load_or_make(&file).unwrap();
        let begun = own.begin_rotation(new.network());
        assert!(keys.follow(Some(begun)).unwrap() && !keys.follow(Some(begun)).unwrap());
        let ring = keys.ring();
        assert_eq!((ring.shown().public(), ring.signer().public()), (own.public(), new.public()));
        assert!(ring.holds_new() && ring.accepts(own.network()) && ring.accepts(new.network()));
        // Told by another tracker before the row comes, which then changes nothing.
        assert!(!keys.note_ended(own.network()).unwrap() && keys.note_ended(new.network()).unwrap());
        assert!(!keys.follow(Some(begun)).unwrap(), "the row from before is outdated");
        assert!(!keys.follow(Some(staged(begun, RotationStage::Ended))).unwrap());
        let ring = keys.ring();
        assert_eq!(ring.fingerprint(), new.fingerprint());
        assert!(!ring.accepts(own.network()) && ring.bears_link(own.network()), "for a moment");
        // The next rotation, without a restart; the file of the last one was moved.
        std::fs::remove_file(&file).unwrap();
        let (third, _) = KeyPair::load_or_make(&file).unwrap();
        assert!(keys.follow(Some(new.begin_rotation(third.network()))).unwrap());
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
            let plan = Plan::new(&[old.clone(), new.clone()], Some(&rotation)).unwrap();
            make_ring(plan, None).unwrap()
        };
        let told = |ring: &KeyRing| [&old, &new, &other].map(|key| ring.signer_of(&key.sign_token(claims)));
        assert_eq!(told(&ring(begun)), [Signer::Accepted, Signer::Accepted, Signer::Unknown]);
        let ended = ring(staged(begun, RotationStage::Ended));
        assert_eq!(told(&ended), [Signer::Void, Signer::Accepted, Signer::Unknown]);
        let cancelled = ring(staged(begun, RotationStage::Cancelled));
        assert_eq!(told(&cancelled), [Signer::Accepted, Signer::Void, Signer::Unknown]);
    }
}
