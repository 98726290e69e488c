//! What decides whom to believe: tokens, tickets, certificates, keys, and the handshake that comes
//! before everything else.
//!
//! Besides not breaking, none of these may believe a forger: a fuzzer knows no private key, so
//! whatever it makes up or alters is refused.

use std::io::Write as _;
use std::net::Shutdown;
use std::sync::LazyLock;
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use super::Input;
use super::harness::{key, network_key, pair};
use crate::net::{DeviceSecurity, TrackerSecurity, Transport};
use crate::trust::{Chain, Identity, KeyPair, chain_of};
use crate::types::{
    DeviceId, GroupId, RequestId, SessionToken, Stamp, Ticket, TicketClaims, TokenClaims, UserId,
    Version,
};
use crate::wire::Wire;

/// The private key of the device in every valid input.
const DEVICE_KEY: [u8; 32] = [0x64; 32];
/// Time for a handshake whose first half is all there is: its end is seen at once.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A token and a ticket, from the wire. The first byte chooses which; others behind the statement
/// change it where it was good.
pub fn statements(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.below(4) {
        0 => check_statement(input.rest(), &good_token(), |token: &SessionToken| {
            network_key().network().signed_token(token)
        }),
        1 => check_statement(input.rest(), &good_ticket(), |ticket: &Ticket| {
            network_key().network().signed_ticket(ticket)
        }),
        2 => {
            let altered = alter(good_token().to_bytes(), &mut input);
            check_statement(&altered, &good_token(), |token: &SessionToken| {
                network_key().network().signed_token(token)
            });
        }
        _ => {
            let altered = alter(good_ticket().to_bytes(), &mut input);
            check_statement(&altered, &good_ticket(), |ticket: &Ticket| {
                network_key().network().signed_ticket(ticket)
            });
        }
    }
}

fn check_statement<T: Wire + PartialEq>(bytes: &[u8], good: &T, is_signed: impl Fn(&T) -> bool) {
    let Ok(statement) = T::from_bytes(bytes) else { return };
    assert!(statement.to_bytes() == bytes, "it encodes to other bytes");
    assert!(!is_signed(&statement) || statement == *good, "a forged signature is believed");
}

/// A token that the network's key has signed.
pub(crate) fn good_token() -> SessionToken {
    let password = Version {
        stamp: Stamp::new(1_700_000_000_000, 1),
        request: RequestId::from_bytes([0x33; 16]),
    };
    let (user, device) = (UserId::from_bytes([0x11; 16]), DeviceId::from_bytes([0x55; 32]));
    network_key().sign_token(TokenClaims {
        user,
        device,
        password,
        issued_ms: 1,
        expires_ms: u64::MAX,
    })
}

/// A ticket that the network's key has signed.
pub(crate) fn good_ticket() -> Ticket {
    let (group, user) = (GroupId::from_bytes([0x22; 16]), UserId::from_bytes([0x11; 16]));
    let device = DeviceId::from_bytes([0x55; 32]);
    network_key().sign_ticket(TicketClaims {
        group,
        user,
        device,
        issued_ms: 1,
        expires_ms: u64::MAX,
    })
}

/// Changes some bytes: each change is two bytes place, one byte exclusive-or.
fn alter(mut bytes: Vec<u8>, input: &mut Input<'_>) -> Vec<u8> {
    while !input.is_over() {
        let at = usize::from(input.u16()) % bytes.len();
        bytes[at] ^= input.byte();
    }
    bytes
}

/// Certificates as the other end of a connection shows them, and a key's file. The first byte
/// chooses: made up, or good ones altered.
pub fn certificates(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.below(4) {
        0 => {
            let len = usize::from(input.u16());
            let leaf = CertificateDer::from(input.take(len));
            let above = input.rest();
            let above: &[CertificateDer<'_>] =
                if above.is_empty() { &[] } else { &[CertificateDer::from(above)] };
            // A made-up chain may be one of another network; that it has the key behind it, the
            // handshake asks.
            assert_ne!(chain_of(&leaf, above), Some(Chain::Tracker(network_key().network())));
        }
        1 => check_altered_tracker(&mut input),
        2 => {
            let device = &DEVICE.certified().cert[0];
            let _ = chain_of(&CertificateDer::from(alter(device.to_vec(), &mut input)), &[]);
        }
        _ => {
            if let Some(key) = KeyPair::from_pkcs8(input.rest()) {
                assert!(
                    key.network().fingerprint() == key.fingerprint()
                        && format!("{key:?}") == "[redacted]"
                );
            }
        }
    }
}

/// What a tracker of the network shows, and what a device does. Made once: the first has a key that
/// is random.
static TRACKER: LazyLock<Identity> =
    LazyLock::new(|| Identity::of_tracker(&network_key()).expect("it is a good key"));
static DEVICE: LazyLock<Identity> =
    LazyLock::new(|| Identity::of_device(&key(DEVICE_KEY)).expect("it is a good key"));

/// The device's certificate.
#[cfg(test)]
pub(super) fn device_certificate() -> Vec<u8> {
    DEVICE.certified().cert[0].to_vec()
}

/// Whatever is changed about a tracker's own certificate, it is no longer one of the network.
fn check_altered_tracker(input: &mut Input<'_>) {
    let good = TRACKER.certified().cert.clone();
    assert_eq!(chain_of(&good[0], &good[1..]), Some(Chain::Tracker(network_key().network())));
    let leaf = CertificateDer::from(alter(good[0].to_vec(), input));
    let is_same = leaf == good[0];
    assert_eq!(
        chain_of(&leaf, &good[1..]) == Some(Chain::Tracker(network_key().network())),
        is_same
    );
}

/// The first bytes of a connection to a tracker or to a client: nobody gets in without a key.
pub fn tls_handshake(bytes: &[u8]) {
    static TRACKERS: LazyLock<TrackerSecurity> =
        LazyLock::new(|| TrackerSecurity::new(&network_key()).expect("it is a good key"));
    static DEVICES: LazyLock<Transport> = LazyLock::new(|| {
        Transport::Tls(DeviceSecurity::new(&key(DEVICE_KEY)).expect("it is a good key"))
    });
    let mut input = Input::new(bytes);
    let is_tracker = input.bool();
    let (mut ours, theirs) = pair(false);
    let hello = input.rest();
    // It may be hung up on at any time.
    let _ = ours.write_all(&hello[..hello.len().min(64 << 10)]);
    let _ = ours.shutdown(Shutdown::Write);
    let came = std::time::Instant::now();
    let is_in = match is_tracker {
        true => TRACKERS.accept(theirs, TIMEOUT).is_ok(),
        false => DEVICES.accept(theirs, TIMEOUT).is_ok(),
    };
    assert!(!is_in, "somebody without a key was let in");
    assert!(came.elapsed() < TIMEOUT, "an end was not noticed");
}

/// Records between two ends, which are cut, altered, lost and made up on their way: none of that is
/// taken for data.
pub fn tls_records(bytes: &[u8]) {
    crate::net::fuzz::tls_records(&key(DEVICE_KEY), bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A target that refuses everything proves nothing.
    #[test]
    fn what_is_good_is_believed() {
        assert!(
            network_key().network().signed_token(&good_token())
                && network_key().network().signed_ticket(&good_ticket())
        );
        let device = &DEVICE.certified().cert;
        assert_eq!(chain_of(&device[0], &[]), Some(Chain::Device(key(DEVICE_KEY).device())));
    }
}
