//! Which network's trackers are trusted.
//!
//! **Invariant:** once a network is known, by what the user said or by the first tracker met, a tracker of another is never spoken to.
//!
//! Called on the trackers' threads; remembering blocks on the disk, once in a device's life.

use log::warn;
use parking_lot::Mutex;

use crate::net::WrongNetwork;
use crate::store::StoreError;
use crate::trust::NetworkPublicKey;
use crate::types::Fingerprint;

/// Writes the network down that is trusted from now on.
type Remember = Box<dyn Fn(Fingerprint) -> Result<(), StoreError> + Send + Sync>;

/// How to accept another network than the one that is trusted.
pub(crate) fn accept_hint(WrongNetwork { found, .. }: &WrongNetwork) -> String {
    format!("if that is meant, put the line `network {found}` into tracker_info.txt, or start with --network {found}")
}

/// The first network that was ever met here; it is trusted from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FirstMet {
    pub(crate) network: Fingerprint,
    /// Why it is not written down, if it is not: the next start would trust the first that it meets.
    pub(crate) unwritten: Option<String>,
}

/// The network that this device belongs to.
pub(crate) struct Network {
    state: Mutex<State>,
    remember: Remember,
}

#[derive(Debug, Default)]
struct State {
    expected: Option<Fingerprint>,
    key: Option<NetworkPublicKey>,
}

impl Network {
    /// Expects the network of that fingerprint; without one, the first that is met is taken, and handed to `remember`.
    pub(crate) fn new(
        expected: Option<Fingerprint>,
        remember: impl Fn(Fingerprint) -> Result<(), StoreError> + Send + Sync + 'static,
    ) -> Self {
        Self { state: Mutex::new(State { expected, key: None }), remember: Box::new(remember) }
    }

    /// The network that trackers have to be of, if it is known.
    pub(crate) fn expected(&self) -> Option<Fingerprint> {
        self.state.lock().expected
    }

    /// The network's key, once a tracker was met.
    pub(crate) fn key(&self) -> Option<NetworkPublicKey> {
        self.state.lock().key
    }

    /// A tracker has proven to be of the network with this key. Tells if it is the first that was ever met.
    ///
    /// # Errors
    /// [`WrongNetwork`] if it is not of the network that is known.
    pub(crate) fn meet(&self, key: NetworkPublicKey) -> Result<Option<FirstMet>, WrongNetwork> {
        let mut state = self.state.lock();
        let found = key.fingerprint();
        match state.expected {
            Some(expected) if expected != found => return Err(WrongNetwork { expected, found }),
            Some(_) => {
                state.key = Some(key);
                return Ok(None);
            }
            None => (state.expected, state.key) = (Some(found), Some(key)),
        }
        // Under the lock, once: nobody speaks to a tracker before it is written down which network that was.
        let unwritten = (self.remember)(found).err().map(|error| error.to_string());
        if let Some(error) = &unwritten {
            warn!("the network {found} is trusted, but that cannot be written down: {error}");
        }
        Ok(Some(FirstMet { network: found, unwritten }))
    }
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
        let network = Network::new(None, move |fingerprint| {
            to.lock().push(fingerprint);
            Ok(())
        });
        assert_eq!((network.expected(), network.key()), (None, None));
        assert_eq!(network.meet(one), Ok(Some(FirstMet { network: one.fingerprint(), unwritten: None })));
        assert_eq!(network.meet(one), Ok(None));
        let (expected, found) = (one.fingerprint(), other.fingerprint());
        assert_eq!(network.meet(other), Err(WrongNetwork { expected, found }));
        assert_eq!((network.expected(), network.key()), (Some(expected), Some(one)));
        assert_eq!(*written.lock(), [expected]);
    }

    #[test]
    fn what_the_user_said_is_not_written_down_again() {
        let one = KeyPair::generate().unwrap().network();
        let network = Network::new(Some(one.fingerprint()), |_| panic!("it is known"));
        assert_eq!(network.meet(one), Ok(None));
    }

    #[test]
    fn a_first_network_that_cannot_be_written_down_is_said_so() {
        let one = KeyPair::generate().unwrap().network();
        let full = || StoreError::Foreign { path: "/full".into(), kind: "store" };
        let met = Network::new(None, move |_| Err(full())).meet(one).unwrap().unwrap();
        assert_eq!((met.network, met.unwritten), (one.fingerprint(), Some(full().to_string())));
    }
}
