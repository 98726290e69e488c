//! The network whose trackers this device trusts.
//!
//! **Invariant:** once a network is known, named by the user or by the first tracker met, a tracker
//! of another network is not trusted. A key replaces the network's key only if that key has signed
//! the rotation, and the change is stored before it takes effect.
//!
//! Called on the trackers' threads. Storing blocks on the disk, once in a device's life and at each
//! rotation of the network's key; links, which need the keys, do not wait for that.

use log::warn;
use parking_lot::Mutex;

use super::session::news::{FirstMet, KeyChange};
use crate::net::WrongNetwork;
use crate::store::{StoreError, SuccessorRow};
use crate::trust::NetworkPublicKey;
use crate::types::{Fingerprint, KeyRotation, RotationStage};

/// A change of trust, which is stored before it takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The network, the first that was met.
    First(Fingerprint),
    /// A key that will replace the network's key, or has replaced it.
    Successor(SuccessorRow),
    /// The rotation of that key was cancelled.
    NoSuccessor(Fingerprint),
}

/// Stores a change of trust.
type Remember = Box<dyn Fn(Trust) -> Result<(), StoreError> + Send + Sync>;

/// The network that this device belongs to.
pub(crate) struct Network {
    /// Never held while a change is being stored.
    state: Mutex<State>,
    /// Held by a thread that stores a change, until the change takes effect. It is taken before
    /// `state`.
    writer: Mutex<()>,
    remember: Remember,
}

#[derive(Debug, Default)]
struct State {
    expected: Option<Fingerprint>,
    /// The store knows the expected network.
    is_stored: bool,
    key: Option<NetworkPublicKey>,
    /// The key that will replace the expected one. Both are valid.
    next: Option<NetworkPublicKey>,
}

impl State {
    /// Checks a tracker's key; `None` if no network is known, or the store does not know it yet.
    fn meet(&mut self, key: NetworkPublicKey) -> Option<Result<(), WrongNetwork>> {
        let (expected, found) = (self.expected?, key.fingerprint());
        if expected == found {
            if !self.is_stored {
                return None;
            }
            self.key = Some(key);
        } else if self.next != Some(key) {
            return Some(Err(WrongNetwork { expected, found }));
        }
        Some(Ok(()))
    }
}

impl Network {
    /// Expects the network of that fingerprint, or of the key that will replace it; without one,
    /// the first network met is trusted. `remember` stores changes. It stores a new network as soon
    /// as one of its trackers has proven its key.
    pub(crate) fn new(
        expected: Option<Fingerprint>,
        is_stored: bool,
        next: Option<NetworkPublicKey>,
        remember: impl Fn(Trust) -> Result<(), StoreError> + Send + Sync + 'static,
    ) -> Self {
        let state = Mutex::new(State { expected, is_stored, key: None, next });
        Self { state, writer: Mutex::default(), remember: Box::new(remember) }
    }

    /// The expected network, if it is known.
    pub(crate) fn expected(&self) -> Option<Fingerprint> {
        self.state.lock().expected
    }

    /// The keys that a tracker may show; none if the network is not known.
    pub(crate) fn accepted(&self) -> Vec<Fingerprint> {
        let state = self.state.lock();
        state.expected.into_iter().chain(state.next.map(|key| key.fingerprint())).collect()
    }

    /// The network's known keys: a ticket is valid if one of them signed it.
    pub(crate) fn keys(&self) -> Vec<NetworkPublicKey> {
        let state = self.state.lock();
        state.key.into_iter().chain(state.next).collect()
    }

    /// A tracker has proven that it belongs to the network of this key. Tells of the network if it
    /// is the first one ever met and was not named, or cannot be stored.
    ///
    /// # Errors
    /// [`WrongNetwork`] if it is not the known network.
    pub(crate) fn meet(&self, key: NetworkPublicKey) -> Result<Option<FirstMet>, WrongNetwork> {
        if let Some(met) = self.state.lock().meet(key) {
            return met.map(|()| None);
        }
        let _writer = self.writer.lock();
        // Another thread may have met the first tracker meanwhile.
        if let Some(met) = self.state.lock().meet(key) {
            return met.map(|()| None);
        }
        // Before any message to the tracker, its network is stored.
        let found = key.fingerprint();
        let unwritten = (self.remember)(Trust::First(found)).err().map(|error| error.to_string());
        if let Some(error) = &unwritten {
            warn!("the network {found} is trusted, but that cannot be stored: {error}");
        }
        let mut state = self.state.lock();
        let was_named = state.expected.is_some();
        (state.expected, state.key, state.is_stored) = (Some(found), Some(key), true);
        let is_news = !was_named || unwritten.is_some();
        Ok(is_news.then_some(FirstMet { network: found, unwritten }))
    }

    /// A tracker of the network reports a key rotation. Returns the change; `None` if the trusted
    /// key has not signed it, or if it is known.
    ///
    /// # Errors
    /// Those of the store; then nothing changes.
    pub(crate) fn told(&self, rotation: &KeyRotation) -> Result<Option<KeyChange>, StoreError> {
        let _writer = self.writer.lock();
        let (old_key, new_key) =
            (NetworkPublicKey::from(rotation.old), NetworkPublicKey::from(rotation.new));
        let (old, new) = (old_key.fingerprint(), new_key.fingerprint());
        let State { expected, next, .. } = *self.state.lock();
        // If the new key is the network's key already, a report of the beginning is late.
        if expected != Some(old) || !old_key.signed_rotation(rotation) {
            return Ok(None);
        }
        let successor =
            |has_ended| Trust::Successor(SuccessorRow { old, new: rotation.new, has_ended });
        match rotation.stage {
            RotationStage::Begun if next != Some(new_key) => {
                (self.remember)(successor(false))?;
                let mut state = self.state.lock();
                (state.key, state.next) = (Some(old_key), Some(new_key));
            }
            RotationStage::Ended => {
                (self.remember)(successor(true))?;
                let (expected, key) = (Some(new), Some(new_key));
                *self.state.lock() = State { expected, is_stored: true, key, next: None };
            }
            RotationStage::Cancelled if next == Some(new_key) => {
                (self.remember)(Trust::NoSuccessor(old))?;
                self.state.lock().next = None;
            }
            RotationStage::Begun | RotationStage::Cancelled => return Ok(None),
        }
        Ok(Some(KeyChange { stage: rotation.stage, old, new }))
    }
}

/// The current key for a named one, which may be outdated: each key was signed by the one before.
pub(crate) fn latest(named: Fingerprint, successors: &[SuccessorRow]) -> Fingerprint {
    let mut latest = named;
    for _ in successors {
        match successors.iter().find(|row| row.old == latest && row.has_ended) {
            Some(row) => latest = row.new.fingerprint(),
            None => break,
        }
    }
    latest
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.state.lock().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::trust::KeyPair;

    #[test]
    fn the_first_network_is_remembered_and_no_other_taken() {
        let [one, other] = [(); 2].map(|()| KeyPair::generate().unwrap().network());
        let written = Arc::new(Mutex::new(Vec::new()));
        let to = written.clone();
        let network = Network::new(None, false, None, move |trust| {
            to.lock().push(trust);
            Ok(())
        });
        assert_eq!((network.expected(), network.keys()), (None, vec![]));
        assert_eq!(
            network.meet(one),
            Ok(Some(FirstMet { network: one.fingerprint(), unwritten: None }))
        );
        assert_eq!(network.meet(one), Ok(None));
        let (expected, found) = (one.fingerprint(), other.fingerprint());
        assert_eq!(network.meet(other), Err(WrongNetwork { expected, found }));
        assert_eq!((network.expected(), network.keys()), (Some(expected), vec![one]));
        assert_eq!(*written.lock(), [Trust::First(expected)]);
    }

    #[test]
    fn what_the_user_said_is_not_written_down_again() {
        let one = KeyPair::generate().unwrap().network();
        let network = Network::new(Some(one.fingerprint()), true, None, |_| panic!("it is known"));
        assert_eq!(network.meet(one), Ok(None));
    }

    #[test]
    fn a_named_network_is_stored_when_its_first_tracker_has_proven_itself() {
        let [one, other] = [(); 2].map(|()| KeyPair::generate().unwrap().network());
        let written = Arc::new(Mutex::new(Vec::new()));
        let to = written.clone();
        let network = Network::new(Some(one.fingerprint()), false, None, move |trust| {
            to.lock().push(trust);
            Ok(())
        });
        assert!(network.meet(other).is_err());
        assert_eq!(*written.lock(), []);
        assert_eq!((network.meet(one), network.meet(one)), (Ok(None), Ok(None)));
        assert_eq!(*written.lock(), [Trust::First(one.fingerprint())]);
        assert_eq!(network.keys(), [one]);
    }

    #[test]
    fn a_first_network_that_cannot_be_written_down_is_said_so() {
        let one = KeyPair::generate().unwrap().network();
        let full = || StoreError::Foreign { path: "/full".into(), kind: "store" };
        let met = Network::new(None, false, None, move |_| Err(full())).meet(one).unwrap().unwrap();
        assert_eq!((met.network, met.unwritten), (one.fingerprint(), Some(full().to_string())));
    }

    #[test]
    fn a_key_is_followed_by_the_one_that_it_has_signed_and_no_other() {
        let [old, new, other] = [(); 3].map(|()| KeyPair::generate().unwrap());
        let [o, n] = [&old, &new].map(|key| key.fingerprint());
        let written = Arc::new(Mutex::new(Vec::new()));
        let to = written.clone();
        let network = Network::new(Some(o), true, None, move |trust| {
            to.lock().push(trust);
            Ok(())
        });
        let begun = old.begin_rotation(new.network());
        let at = |stage| old.sign_rotation(stage, new.network());
        let change = |stage| Some(KeyChange { stage, old: o, new: n });
        for forged in [
            KeyRotation { signature: other.begin_rotation(new.network()).signature, ..begun },
            other.begin_rotation(new.network()),
            new.begin_rotation(old.network()),
            KeyRotation { stage: RotationStage::Ended, ..begun },
            KeyRotation { stage: RotationStage::Cancelled, ..begun },
        ] {
            assert_eq!(network.told(&forged).unwrap(), None);
        }
        assert!(network.meet(new.network()).is_err());
        assert_eq!(network.told(&begun).unwrap(), change(RotationStage::Begun));
        assert_eq!(network.told(&begun).unwrap(), None, "it is known");
        assert_eq!(
            (network.accepted(), network.keys()),
            (vec![o, n], vec![old.network(), new.network()])
        );
        assert_eq!(
            (network.meet(new.network()), network.meet(old.network())),
            (Ok(None), Ok(None))
        );
        assert_eq!(
            network.told(&at(RotationStage::Cancelled)).unwrap(),
            change(RotationStage::Cancelled)
        );
        assert_eq!(network.accepted(), [o]);
        // A device that has missed the beginning hears of the end.
        assert_eq!(network.told(&at(RotationStage::Ended)).unwrap(), change(RotationStage::Ended));
        assert_eq!((network.accepted(), network.keys()), (vec![n], vec![new.network()]));
        for late in [begun, at(RotationStage::Cancelled)] {
            assert_eq!(network.told(&late).unwrap(), None);
        }
        assert!(network.meet(old.network()).is_err());
        let row = |has_ended| SuccessorRow { old: o, new: begun.new, has_ended };
        let rows =
            [Trust::Successor(row(false)), Trust::NoSuccessor(o), Trust::Successor(row(true))];
        assert_eq!(*written.lock(), rows);
        assert_eq!(
            (latest(o, &[row(true)]), latest(n, &[row(true)]), latest(o, &[row(false)])),
            (n, n, o)
        );
    }

    #[test]
    fn one_that_has_missed_an_end_takes_up_the_next_change() {
        let [first, second, third] = [(); 3].map(|()| KeyPair::generate().unwrap());
        let [_, b, c] = [&first, &second, &third].map(|key| key.fingerprint());
        let network =
            Network::new(Some(first.fingerprint()), true, Some(second.network()), |_| Ok(()));
        let next = second.begin_rotation(third.network());
        // The first rotation has not ended, and the new key alone cannot end it: the second one
        // waits until a tracker reports that end.
        assert_eq!(network.told(&next).unwrap(), None);
        let told = [first.sign_rotation(RotationStage::Ended, second.network()), next];
        let stages = told.map(|rotation| network.told(&rotation).unwrap().unwrap().stage);
        assert_eq!(stages, [RotationStage::Ended, RotationStage::Begun]);
        assert_eq!((network.expected(), network.accepted()), (Some(b), vec![b, c]));
    }

    #[test]
    fn links_do_not_wait_for_what_is_written_down() {
        let [old, new] = [(); 2].map(|()| KeyPair::generate().unwrap());
        let (begin, begun) = crossbeam_channel::bounded(1);
        let (go_on, told) = crossbeam_channel::bounded(1);
        let network = Network::new(None, false, None, move |trust| {
            begin.send(trust).unwrap();
            told.recv().map_err(|_| StoreError::Foreign { path: "/full".into(), kind: "store" })
        });
        std::thread::scope(|scope| {
            let first = scope.spawn(|| network.meet(old.network()).unwrap());
            assert_eq!(begun.recv().unwrap(), Trust::First(old.fingerprint()));
            assert!(
                network.state.try_lock().is_some_and(|state| state.expected.is_none()),
                "it does not count yet"
            );
            go_on.send(()).unwrap();
            assert!(first.join().unwrap().is_some_and(|met| met.unwritten.is_none()));
            let change = scope.spawn(|| network.told(&old.begin_rotation(new.network())).unwrap());
            assert!(matches!(begun.recv().unwrap(), Trust::Successor(_)));
            assert!(
                network.state.try_lock().is_some_and(|state| state.next.is_none()),
                "it does not count yet"
            );
            go_on.send(()).unwrap();
            assert_eq!(
                change.join().unwrap().map(|change| change.stage),
                Some(RotationStage::Begun)
            );
        });
        assert_eq!(network.accepted(), [old.fingerprint(), new.fingerprint()]);
    }

    #[test]
    fn what_cannot_be_written_down_does_not_count() {
        let [old, new] = [(); 2].map(|()| KeyPair::generate().unwrap());
        let full = || StoreError::Foreign { path: "/full".into(), kind: "store" };
        let network = Network::new(Some(old.fingerprint()), true, None, move |_| Err(full()));
        assert!(network.told(&old.begin_rotation(new.network())).is_err());
        assert_eq!(network.accepted(), [old.fingerprint()]);
    }
}
