use proptest::prelude::*;

use super::*;
use crate::wire::checks::{check_frame, check_golden, variant_name};
use crate::wire::frame::to_frame;
use crate::wire::samples::{Sample, samples};
use crate::wire::tracker::{FromTracker, Unwelcome};

/// Every message of the acceptor, each kind and each reason once.
fn to_dialler() -> Vec<ToDialler> {
    let refusals = LinkRefusal::examples().into_iter().skip(1).map(ToDialler::Unwelcome);
    ToDialler::examples().into_iter().chain(refusals).collect()
}

#[test]
fn golden_bytes() {
    let mut messages: Vec<(String, Vec<u8>)> =
        ToAcceptor::examples().iter().map(|m| (format!("ToAcceptor {}", variant_name(m)), to_frame(m))).collect();
    messages.extend(to_dialler().iter().map(|message| match message {
        ToDialler::Unwelcome(why) => (format!("ToDialler Unwelcome {why:?}"), to_frame(message)),
        _ => (format!("ToDialler {}", variant_name(message)), to_frame(message)),
    }));
    check_golden(include_str!("../golden/replication.txt"), messages.iter().map(|(name, frame)| (name.clone(), &frame[..])));
}

#[test]
fn every_message_whole_cut_and_dripping() {
    ToAcceptor::examples().iter().for_each(check_frame);
    to_dialler().iter().for_each(check_frame);
}

/// Whoever turns a connection away before its hello was read cannot know which protocol the other end reads.
#[test]
fn being_turned_away_means_the_same_to_clients_and_trackers() {
    for why in Unwelcome::examples() {
        let read = ToDialler::from_bytes(&FromTracker::Unwelcome(why).to_bytes());
        assert!(
            matches!(&read, Ok(ToDialler::Unwelcome(read)) if format!("{read:?}") == format!("{why:?}")),
            "{why:?}: {read:?}"
        );
    }
}

#[test]
fn a_vector_has_one_encoding() {
    let entry = |origin: u8, sequence: u8| [&[origin; 16][..], &[0, 0, 0, 0, 0, 0, 0, sequence]].concat();
    let vector =
        |entries: &[Vec<u8>]| VersionVector::from_bytes(&[&(entries.len() as u32).to_be_bytes()[..], &entries.concat()].concat());
    assert!(vector(&[entry(1, 5), entry(2, 1)]).is_ok());
    for bad in [[entry(2, 1), entry(1, 5)], [entry(1, 5), entry(1, 6)], [entry(1, 5), entry(2, 0)]] {
        assert!(matches!(vector(&bad), Err(WireError::BadValue { what: "version vector", .. })));
    }
}

#[test]
fn an_operation_of_every_share_of_a_member_fits_a_frame() {
    let sharing = Write::examples().pop().unwrap();
    let operation = Operation { writes: vec![sharing; limits::OPERATION_WRITES_MAX], ..Operation::example() };
    let message = ToAcceptor::Operations(vec![operation]);
    let body = message.to_bytes();
    assert!(body.len() <= limits::TRACKER_FRAME_LEN_MAX, "{} bytes", body.len());
    assert_eq!(ToAcceptor::from_bytes(&body), Ok(message));
}

#[test]
fn the_largest_vector_fits_a_frame() {
    let origin = |n: usize| StoreId::from_bytes(std::array::from_fn(|i| if i < 8 { (n >> (8 * (7 - i))) as u8 } else { 0 }));
    let durable: VersionVector = (0..limits::ORIGINS_MAX).map(|n| (origin(n), u64::MAX)).collect();
    let message = ToDialler::Welcome(ReplicaWelcome { durable, ..ReplicaWelcome::example() });
    let body = message.to_bytes();
    assert!(body.len() <= limits::TRACKER_FRAME_LEN_MAX);
    assert_eq!(ToDialler::from_bytes(&body), Ok(message));
}

proptest! {
    #[test]
    fn what_diallers_say_round_trips(message in samples::<ToAcceptor>()) {
        prop_assert_eq!(ToAcceptor::from_bytes(&message.to_bytes()), Ok(message));
    }

    #[test]
    fn what_acceptors_say_round_trips(message in samples::<ToDialler>()) {
        prop_assert_eq!(ToDialler::from_bytes(&message.to_bytes()), Ok(message));
    }

    #[test]
    fn what_decodes_encodes_to_the_same_bytes(message in samples::<ToAcceptor>(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut body = message.to_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        if let Ok(other) = ToAcceptor::from_bytes(&body) {
            prop_assert_eq!(other.to_bytes(), body);
        }
    }

    #[test]
    fn noise_never_panics(body: Vec<u8>) {
        let _ = ToAcceptor::from_bytes(&body);
        let _ = ToDialler::from_bytes(&body);
    }
}
