use std::io::Write;
use std::net::{TcpListener, TcpStream};

use super::*;

const TIMEOUT: Duration = Duration::from_secs(30);

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

/// What each end sees of one handshake.
fn meet<A: Send, D>(
    accept: impl FnOnce(Incoming) -> A + Send,
    dial: impl FnOnce(SocketAddr) -> D,
) -> (A, D) {
    let (listener, address) = listener();
    std::thread::scope(|scope| {
        let accepted =
            scope.spawn(move || accept(Incoming::new(listener.accept().unwrap().0).unwrap()));
        let dialled = dial(address);
        (accepted.join().unwrap(), dialled)
    })
}

#[test]
fn trackers_of_one_network_and_devices_know_each_other() {
    let (network, device) = (key(), key());
    let [here, there] = [(); 2].map(|()| TrackerSecurity::new(&network).unwrap());
    let (accepted, dialled) =
        meet(|incoming| here.accept(incoming, TIMEOUT), |at| there.dial(at, None, TIMEOUT));
    assert_eq!(accepted.unwrap().1, PeerIdentity::Tracker(network.network()));
    dialled.unwrap();
    let security = DeviceSecurity::new(&device).unwrap();
    for expected in [vec![], vec![network.fingerprint()]] {
        let dial = |at| security.dial_tracker(at, None, TIMEOUT, &expected);
        let (accepted, dialled) = meet(|incoming| here.accept(incoming, TIMEOUT), dial);
        assert_eq!(accepted.unwrap().1, PeerIdentity::Device(device.device()));
        assert_eq!(dialled.unwrap().1, network.network());
    }
}

#[test]
fn another_network_is_refused_by_name() {
    let (network, other) = (key(), key());
    let (here, there) =
        (TrackerSecurity::new(&network).unwrap(), TrackerSecurity::new(&other).unwrap());
    let wrong = WrongNetwork { expected: network.fingerprint(), found: other.fingerprint() };
    // A tracker of another network, dialled by a client and by a tracker.
    let client = DeviceSecurity::new(&key()).unwrap();
    let dial = |at| client.dial_tracker(at, None, TIMEOUT, &[wrong.expected]).map(drop);
    let (accepted, dialled) = meet(|incoming| there.accept(incoming, TIMEOUT), dial);
    assert!(accepted.is_err());
    assert_eq!(WrongNetwork::of(&dialled.unwrap_err()), Some(wrong));
    let (accepted, dialled) =
        meet(|incoming| there.accept(incoming, TIMEOUT), |at| here.dial(at, None, TIMEOUT));
    assert!(accepted.is_err());
    assert_eq!(WrongNetwork::of(&dialled.unwrap_err()), Some(wrong));
    // A tracker that would take anybody: the one that dials it shows what it has, and is refused by
    // the one that accepts.
    let anybody = client_config(
        &Identity::of_tracker(&other).unwrap(),
        Expected::Network(Vec::new()),
        ALPN_TRACKER,
    )
    .unwrap();
    let dial = |at| {
        shake_hands(
            Incoming::dial(at, None, TIMEOUT).unwrap(),
            super::client(&Arc::new(anybody)).unwrap(),
            ALPN_TRACKER,
            TIMEOUT,
        )
        .map(drop)
    };
    let (accepted, _) = meet(|incoming| here.accept(incoming, TIMEOUT), dial);
    assert_eq!(WrongNetwork::of(&accepted.unwrap_err()), Some(wrong));
}

#[test]
fn a_device_connects_to_the_device_it_dials_or_to_none() {
    let [one, other] = [key(), key()].map(|key| Transport::Tls(DeviceSecurity::new(&key).unwrap()));
    let (accepted, dialled) = meet(
        |incoming| other.accept(incoming, TIMEOUT),
        |at| one.dial(at, None, TIMEOUT, other.device()),
    );
    assert_eq!(accepted.unwrap().1, one.device());
    dialled.unwrap();
    let (accepted, dialled) = meet(
        |incoming| other.accept(incoming, TIMEOUT),
        |at| one.dial(at, None, TIMEOUT, one.device()),
    );
    assert!(accepted.is_err() && dialled.is_err());
}

#[test]
fn what_was_meant_for_one_port_is_not_taken_at_another() {
    let (network, device, peer) = (key(), key(), key());
    let tracker = TrackerSecurity::new(&network).unwrap();
    let (device, peer) =
        (DeviceSecurity::new(&device).unwrap(), DeviceSecurity::new(&peer).unwrap());
    let links = Transport::Tls(peer.clone());
    // A tracker is dialled as if it were a device, a device as if it were a tracker, and a tracker
    // dials a device.
    let (accepted, dialled) = meet(
        |incoming| tracker.accept(incoming, TIMEOUT),
        |at| links.dial(at, None, TIMEOUT, device.device()),
    );
    assert!(accepted.is_err() && dialled.is_err());
    let (accepted, dialled) = meet(
        |incoming| links.accept(incoming, TIMEOUT),
        |at| device.dial_tracker(at, None, TIMEOUT, &[]),
    );
    assert!(accepted.is_err() && dialled.is_err());
    let (accepted, dialled) =
        meet(|incoming| links.accept(incoming, TIMEOUT), |at| tracker.dial(at, None, TIMEOUT));
    assert!(accepted.is_err() && dialled.is_err());
}

#[test]
fn an_end_that_proves_nothing_or_says_nothing_is_refused() {
    let links = Transport::Tls(DeviceSecurity::new(&key()).unwrap());
    let (accepted, _) = meet(
        |incoming| links.accept(incoming, TIMEOUT),
        |at| TcpStream::connect(at).unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap(),
    );
    assert_eq!(accepted.unwrap_err().kind(), io::ErrorKind::InvalidData);
    let started = Instant::now();
    let (accepted, _held) = meet(
        |incoming| links.accept(incoming, Duration::from_millis(100)),
        |at| TcpStream::connect(at).unwrap(),
    );
    assert_eq!(accepted.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(started.elapsed() < TIMEOUT);
}

#[test]
fn while_a_key_is_replaced_both_count_and_then_the_new_one_alone() {
    let (old, new, device) = (key(), key(), DeviceSecurity::new(&key()).unwrap());
    let both = [old.network(), new.network()];
    let before = TrackerSecurity::new(&old).unwrap();
    let [shows_old, shows_new] =
        [&old, &new].map(|shown| TrackerSecurity::with_keys(shown, &both, None).unwrap());
    let after = TrackerSecurity::with_keys(&new, &[new.network()], Some(old.network())).unwrap();
    let link = |acceptor: &TrackerSecurity, dialler: &TrackerSecurity| {
        let (accepted, dialled) = meet(
            |incoming| acceptor.accept(incoming, TIMEOUT),
            |at| dialler.dial(at, None, TIMEOUT),
        );
        (accepted.ok().map(|(_, visitor)| visitor), dialled.ok().map(|(_, key)| key))
    };
    for (acceptor, dialler) in
        [(&shows_old, &shows_new), (&shows_new, &shows_old), (&shows_old, &shows_old)]
    {
        assert!(matches!(link(acceptor, dialler), (Some(PeerIdentity::Tracker(_)), Some(_))));
    }
    // One that has not heard of the end is let in, to be told so, and is not dialled.
    assert_eq!(
        link(&after, &shows_old),
        (Some(PeerIdentity::Tracker(old.network())), Some(new.network()))
    );
    assert_eq!(link(&shows_old, &after).1, None);
    assert_eq!(
        link(&after, &before).1,
        None,
        "one that has not even heard of the begin takes no other key"
    );
    let fingerprints = both.map(|key| key.fingerprint());
    for (tracker, expected, is_taken) in [
        (&shows_old, &fingerprints[..1], true),
        (&after, &fingerprints[..], true),
        (&after, &fingerprints[..1], false),
        (&shows_old, &fingerprints[1..], false),
    ] {
        let dial = |at| device.dial_tracker(at, None, TIMEOUT, expected);
        let (_, dialled) = meet(|incoming| tracker.accept(incoming, TIMEOUT), dial);
        assert_eq!(dialled.is_ok(), is_taken);
    }
}
