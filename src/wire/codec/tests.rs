use std::fmt::Debug;

use super::*;
use crate::types::{Operation, VersionVector, Write};
use crate::wire::replication::{ToAcceptor, ToDialler};
use crate::wire::samples::Sample;
use crate::wire::tracker::{AnnounceEntry, FromClient, FromTracker, Reply, Request};

/// The most memory that decoding `body` held at any time.
fn memory<T: Wire>(body: &[u8]) -> u64 {
    allocation_counter::measure(|| drop(T::from_bytes(body))).bytes_max
}

/// A list that claims `count` items and holds those of `bytes`.
fn list(count: u32, bytes: &[u8]) -> Vec<u8> {
    [&count.to_be_bytes()[..], bytes].concat()
}

fn check_list_limit<T: ListItem + Debug + PartialEq>(item_bytes: &[u8]) {
    let max = T::COUNT_MAX as u64;
    let beyond = list(T::COUNT_MAX as u32 + 1, &item_bytes.repeat(2));
    assert_eq!(Vec::<T>::from_bytes(&beyond), Err(WireError::TooLong { what: T::WHAT, len: max + 1, max }));
    assert!(matches!(Vec::<T>::from_bytes(&list(u32::MAX, &[])), Err(WireError::TooLong { .. })));
    assert!(matches!(Vec::<T>::from_bytes(&list(T::COUNT_MAX as u32, &[])), Err(WireError::Truncated { .. })));
    let full = list(T::COUNT_MAX as u32, &item_bytes.repeat(T::COUNT_MAX));
    assert_eq!(Vec::<T>::from_bytes(&full).map(|items| items.len()), Ok(T::COUNT_MAX));
}

#[test]
fn lists_end_at_their_limits() {
    check_list_limit::<Label>(&Label::example().to_bytes());
    check_list_limit::<GroupEntry>(&GroupEntry::example().to_bytes());
    check_list_limit::<MemberEntry>(&MemberEntry::example().to_bytes());
    check_list_limit::<RequestEntry>(&RequestEntry::example().to_bytes());
    check_list_limit::<FileEntry>(&FileEntry::example().to_bytes());
    check_list_limit::<PeerEntry>(&PeerEntry::example().to_bytes());
    check_list_limit::<TrackerEntry>(&TrackerEntry::example().to_bytes());
    check_list_limit::<AnnounceEntry>(&AnnounceEntry::example().to_bytes());
    check_list_limit::<GroupId>(&GroupId::example().to_bytes());
    check_list_limit::<Ticket>(&Ticket::example().to_bytes());
    check_list_limit::<Operation>(&Operation::example().to_bytes());
    check_list_limit::<Write>(&Write::example().to_bytes());
}

/// Counts that promise much, in front of bytes that look like items as long as nobody looks twice: the memory held stays within
/// a small multiple of the bytes that are there.
#[test]
fn memory_is_bounded_by_what_has_arrived() {
    let filler = vec![0; 1 << 20];
    let hostile = |head: &[u8], count: usize| [head, &(count as u32).to_be_bytes(), &filler].concat();
    let request = FromClient { number: 0, request: Request::Announce { entries: vec![] } }.to_bytes();
    let reply = FromTracker::Reply { number: 0, reply: Reply::Files { entries: vec![], more: false } }.to_bytes();
    let mut operation = Operation::example();
    operation.writes.clear();
    let operation = [&[1, 0, 0, 0, 1][..], &operation.to_bytes()].concat();
    for (held, len) in [
        (memory::<FromClient>(&hostile(&request[..5], limits::ANNOUNCE_ENTRIES_MAX)), request.len() + filler.len()),
        (memory::<FromTracker>(&hostile(&reply[..6], limits::PAGE_ENTRIES_MAX)), reply.len() + filler.len()),
        (memory::<ToAcceptor>(&hostile(&[1], limits::OPERATIONS_PER_BATCH_MAX)), filler.len()),
        (memory::<ToAcceptor>(&hostile(&operation[..operation.len() - 4], limits::OPERATION_WRITES_MAX)), filler.len()),
        (memory::<ToDialler>(&hostile(&[2], limits::ORIGINS_MAX)), filler.len()),
    ] {
        assert!(held <= 4 * len as u64, "{held} bytes were held for a message of {len}");
    }
}

#[test]
fn memory_without_bytes_is_next_to_nothing() {
    for tag in 0..=255 {
        for tail in [[0xff; 8], [0; 8]] {
            let body = [&[0, 0, 0, 1, tag][..], &tail].concat();
            assert!(memory::<FromClient>(&body) < 1024, "request {tag}");
            assert!(memory::<FromTracker>(&[&[2][..], &body].concat()) < 1024, "reply {tag}");
        }
    }
}

#[test]
fn a_page_ends_where_its_frame_does() {
    let entry = RequestEntry::example();
    let len = entry.to_bytes().len();
    let entries = vec![entry; limits::PAGE_ENTRIES_MAX + 5];
    assert_eq!(count_fitting(&entries, 10 * len), 10);
    assert_eq!(count_fitting(&entries, 10 * len - 1), 9);
    assert_eq!(count_fitting(&entries, usize::MAX), limits::PAGE_ENTRIES_MAX);
    assert_eq!(count_fitting(&entries, 0), 1, "a page without entries would never end");
    assert_eq!(count_fitting::<RequestEntry>(&[], 100), 0);
}

#[test]
fn the_longest_answer_about_peers_fits_a_frame() {
    let address = SocketAddr::examples().pop().expect("an IPv6 address is the longer one");
    let entry = PeerEntry { address, ..PeerEntry::example() };
    assert!(PEERS_PER_FRAME_MAX * entry.to_bytes().len() + 64 <= limits::TRACKER_FRAME_LEN_MAX);
}

#[test]
fn decoders_take_what_is_there() {
    let mut decoder = Decoder::new(&[1, 2, 3]);
    assert_eq!(decoder.array::<2>(), Ok([1, 2]));
    assert_eq!(decoder.bytes(5), Err(WireError::Truncated { want: 4 }));
    assert_eq!(decoder.remaining(), 1);
    assert_eq!(decoder.finish(), Err(WireError::Trailing(1)));
    assert_eq!(VersionVector::from_bytes(&[0, 0, 0, 0]), Ok(VersionVector::default()));
}

#[test]
fn no_value_is_shorter_than_its_least_length() {
    fn check<T: Wire + Sample>() {
        assert!(T::examples().iter().all(|value| value.to_bytes().len() >= T::LEN_MIN));
    }
    check::<GroupEntry>();
    check::<MemberEntry>();
    check::<RequestEntry>();
    check::<FileEntry>();
    check::<PeerEntry>();
    check::<TrackerEntry>();
    check::<AnnounceEntry>();
    check::<Operation>();
    check::<Write>();
}
