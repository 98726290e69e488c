use proptest::prelude::*;

use super::*;
use crate::types::{Content, Version};
use crate::wire::checks::{check_canonical, check_frame, check_golden, variant_name};
use crate::wire::frame::to_frame;
use crate::wire::samples::{Sample, samples};
use crate::wire::tracker::{FromTracker, Hello, Opening, Unwelcome};

/// Every message of the acceptor, each kind and each reason once.
fn to_dialler() -> Vec<ToDialler> {
    let refusals = LinkRefusal::examples().into_iter().skip(1).map(ToDialler::Unwelcome);
    ToDialler::examples().into_iter().chain(refusals).collect()
}

#[test]
fn golden_bytes() {
    let mut messages: Vec<(String, Vec<u8>)> = ToAcceptor::examples()
        .iter()
        .map(|m| (format!("ToAcceptor {}", variant_name(m)), to_frame(m)))
        .collect();
    messages.extend(to_dialler().iter().map(|message| match message {
        ToDialler::Unwelcome(why) => {
            (format!("ToDialler Unwelcome {}", variant_name(why)), to_frame(message))
        }
        _ => (format!("ToDialler {}", variant_name(message)), to_frame(message)),
    }));
    check_golden(
        "replication.txt",
        messages.iter().map(|(name, frame)| (name.clone(), &frame[..])),
    );
}

#[test]
fn every_message_whole_cut_and_dripping() {
    ToAcceptor::examples().iter().for_each(check_frame);
    to_dialler().iter().for_each(check_frame);
}

/// A connection is turned away before its hello was read: which protocol the other end reads is not
/// known.
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
fn messages_of_later_versions_are_recognised_by_their_tags() {
    for tag in 3..=255 {
        let body = [tag, 0, 0, 0, 3, 1, 2, 3];
        assert_eq!(ToAcceptor::from_bytes(&body), Ok(ToAcceptor::Unknown { tag }));
        assert_eq!(ToDialler::from_bytes(&body), Ok(ToDialler::Unknown { tag }));
    }
    assert!(matches!(
        ToDialler::from_bytes(&[1, 3]),
        Err(WireError::UnknownTag { what: "link refusal", .. })
    ));
}

#[test]
fn a_vector_has_one_encoding() {
    let entry =
        |store: u8, sequence: u8| [&[store; 16][..], &[0, 0, 0, 0, 0, 0, 0, sequence]].concat();
    let vector = |entries: &[Vec<u8>]| {
        VersionVector::from_bytes(
            &[&(entries.len() as u32).to_be_bytes()[..], &entries.concat()].concat(),
        )
    };
    assert!(vector(&[entry(1, 5), entry(2, 1)]).is_ok());
    for bad in [[entry(2, 1), entry(1, 5)], [entry(1, 5), entry(1, 6)], [entry(1, 5), entry(2, 0)]]
    {
        assert!(matches!(vector(&bad), Err(WireError::BadValue { what: "version vector", .. })));
    }
    let many: Vec<Vec<u8>> = (0..=limits::STORES_MAX as u16)
        .map(|n| [&n.to_be_bytes()[..], &[0; 14], &[0, 0, 0, 0, 0, 0, 0, 1]].concat())
        .collect();
    assert!(vector(&many[..limits::STORES_MAX]).is_ok());
    assert!(matches!(vector(&many), Err(WireError::TooLong { what: "version vector", .. })));
}

#[test]
fn the_rows_of_the_longest_request_fit_a_frame() {
    let kind = || Content::Unknown(200, vec![], vec![7; limits::ROW_LEN_MAX - 1 - 2 - 24 - 24 - 4]);
    let rows = (0..limits::ROWS_PER_REQUEST_MAX).map(|_| Row::of(kind(), &[])).collect();
    let message = ToAcceptor::Rows(RowBatch { rows, ..RowBatch::example() });
    let body = message.to_bytes();
    assert!(body.len() <= limits::TRACKER_FRAME_LEN_MAX, "{} bytes", body.len());
    assert_eq!(ToAcceptor::from_bytes(&body), Ok(message));
}

/// Both are read before the other end has been trusted with more.
#[test]
fn the_longest_hello_and_welcome_fit_their_frames() {
    let store = |n: usize| {
        StoreId::from_bytes([(n as u64).to_be_bytes(), [0; 8]].concat().try_into().unwrap())
    };
    let address: Label = "x".repeat(limits::LABEL_LEN_MAX).parse().unwrap();
    let trackers = vec![address.clone(); limits::TRACKERS_MAX];
    let ancestors = (0..limits::ANCESTORS_MAX).map(|n| (store(n), u64::MAX)).collect();
    let lineage = Lineage { store: store(0), ancestors };
    let hello = ReplicaHello {
        address: address.clone(),
        lineage: lineage.clone(),
        trackers: trackers.clone(),
        ..Sample::example()
    };
    let vector: VersionVector = (0..limits::STORES_MAX).map(|n| (store(n), u64::MAX)).collect();
    let durable = Durable { vector, ..Durable::example() };
    let welcome =
        ReplicaWelcome { address, lineage, durable, trackers, ..ReplicaWelcome::example() };
    let opening = Opening::new(Hello::Replica(hello));
    let body = opening.to_bytes();
    assert!(body.len() <= limits::TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN, "{} bytes", body.len());
    assert_eq!(Opening::from_bytes(&body), Ok(opening));
    let message = ToDialler::Welcome(welcome);
    let body = message.to_bytes();
    assert!(body.len() <= limits::TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN, "{} bytes", body.len());
    assert_eq!(ToDialler::from_bytes(&body), Ok(message));
}

#[test]
fn a_row_of_a_later_version_passes_through_a_batch() {
    let row = Row {
        version: Version::example(),
        ..Row::of(Content::Unknown(99, b"key".into(), b"value".into()), &[])
    };
    let extended = Row::of(Content::examples().swap_remove(4), b"fields of a later version");
    let message = ToAcceptor::Rows(RowBatch { rows: vec![row, extended], ..RowBatch::example() });
    let read = ToAcceptor::from_bytes(&message.to_bytes()).unwrap();
    assert_eq!((read.to_bytes(), &read), (message.to_bytes(), &message));
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
    fn what_decodes_encodes_to_the_same_bytes(
        message in samples::<ToAcceptor>(),
        at in any::<prop::sample::Index>(),
        byte: u8,
    ) {
        let mut body = message.to_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        check_canonical::<ToAcceptor>(&body);
    }

    #[test]
    fn noise_never_panics(body: Vec<u8>) {
        let _ = ToAcceptor::from_bytes(&body);
        let _ = ToDialler::from_bytes(&body);
    }
}
