use std::fmt::Debug;

use super::*;
use std::net::SocketAddr;

use crate::types::{
    FileEntry, GroupEntry, GroupId, Label, MemberEntry, PeerEntry, RequestEntry, Row, RowBatch,
    Ticket, TrackerEntry, VersionVector, limits,
};
use crate::wire::checks::grow;
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
    assert_eq!(
        Vec::<T>::from_bytes(&beyond),
        Err(WireError::TooLong { what: T::WHAT, len: max + 1, max })
    );
    assert!(matches!(Vec::<T>::from_bytes(&list(u32::MAX, &[])), Err(WireError::TooLong { .. })));
    assert!(matches!(
        Vec::<T>::from_bytes(&list(T::COUNT_MAX as u32, &[])),
        Err(WireError::Truncated { .. })
    ));
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
    check_list_limit::<Row>(&Row::example().to_bytes());
    check_list_limit::<(crate::types::StoreId, u64)>(&[0; 24]);
}

/// Counts that promise much, in front of bytes that look like items at first sight: the memory held
/// stays within a small multiple of the bytes that are there.
#[test]
fn memory_is_bounded_by_what_has_arrived() {
    let filler = vec![0; 1 << 20];
    // A message in whose blocks a list of no items stands, `behind` bytes before the end.
    let hostile = |mut body: Vec<u8>, around: &[usize], behind: usize, count: usize| {
        let at = body.len() - behind - 4;
        assert_eq!(body[at..at + 4], [0; 4]);
        grow(&mut body, around, &filler);
        body[at..at + 4].copy_from_slice(&(count as u32).to_be_bytes());
        body
    };
    let announce =
        FromClient { number: 0, request: Request::Announce { entries: vec![] } }.to_bytes();
    let files = Reply::Files { entries: vec![], more: false };
    let reply = FromTracker::Reply { number: 0, clock_ms: 0, reply: files }.to_bytes();
    let rows = ToAcceptor::Rows(RowBatch::default()).to_bytes();
    let durable = ToDialler::Durable(Default::default()).to_bytes();
    for (held, len) in [
        (
            memory::<FromClient>(&hostile(announce, &[0, 9], 0, limits::ANNOUNCE_ENTRIES_MAX)),
            filler.len(),
        ),
        (
            memory::<FromTracker>(&hostile(reply, &[1, 18], 1, limits::PAGE_ENTRIES_MAX)),
            filler.len(),
        ),
        (
            memory::<ToAcceptor>(&hostile(rows, &[1, 5], 9, 2 * limits::ROWS_PER_BATCH_MAX)),
            filler.len(),
        ),
        (memory::<ToDialler>(&hostile(durable, &[1, 5], 0, limits::STORES_MAX)), filler.len()),
    ] {
        assert!(held <= 4 * len as u64, "{held} bytes were held for a message of {len}");
    }
    // Rows as short as they can be, of an unknown kind: a row takes more memory than its bytes.
    let row = [&[0, 0, 0, 55, 99][..], &[0; 54]].concat();
    let list =
        list(2 * limits::ROWS_PER_BATCH_MAX as u32, &row.repeat(2 * limits::ROWS_PER_BATCH_MAX));
    assert_eq!(
        Vec::<Row>::from_bytes(&list).map(|rows| rows.len()),
        Ok(2 * limits::ROWS_PER_BATCH_MAX)
    );
    let (held, len) = (memory::<Vec<Row>>(&list), list.len() as u64);
    assert!(held <= 16 * len, "{held} bytes were held for {len}");
}

#[test]
fn memory_without_bytes_is_next_to_nothing() {
    for tag in 0..=255 {
        for tail in [[0xff; 8], [0; 8]] {
            let fields = [&[0, 0, 0, 1, tag, 0, 0, 0, 8][..], &tail].concat();
            let body = [&(fields.len() as u32).to_be_bytes()[..], &fields].concat();
            assert!(memory::<FromClient>(&body) < 1024, "request {tag}");
            let fields = [&[0; 12], &[tag, 0, 0, 0, 8][..], &tail].concat();
            let body = [&[2], &(fields.len() as u32).to_be_bytes()[..], &fields].concat();
            assert!(memory::<FromTracker>(&body) < 1024, "reply {tag}");
            assert!(
                memory::<FromTracker>(&[&[tag, 0, 0, 0, 8][..], &tail].concat()) < 1024,
                "frame {tag}"
            );
            assert!(
                memory::<ToAcceptor>(&[&[tag, 0, 0, 0, 8][..], &tail].concat()) < 1024,
                "rows {tag}"
            );
        }
    }
}

#[test]
fn a_block_that_promises_more_than_is_there_is_cut_short() {
    for len in [4u32, 5, u32::MAX] {
        let body = [&len.to_be_bytes()[..], &[1, 2, 3]].concat();
        let want = len as usize - 3;
        assert!(
            matches!(Decoder::new(&body).block(), Err(WireError::Truncated { want: w }) if w == want)
        );
    }
    let mut decoder = Decoder::new(&[0, 0, 0, 2, 7, 8, 9]);
    let mut block = decoder.block().unwrap();
    assert_eq!(
        (block.bytes(3), block.rest(), decoder.rest()),
        (Err(WireError::Truncated { want: 1 }), &[7, 8][..], &[9][..])
    );
    let too_long = Decoder::new(&[0, 0, 0, 3, 0, 0, 0]).block_within("thing", 2).map(drop);
    assert_eq!(too_long, Err(WireError::TooLong { what: "thing", len: 3, max: 2 }));
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
fn as_many_peers_as_earlier_trackers_name_fit_a_frame() {
    let address = SocketAddr::examples().pop().expect("an IPv6 address is the longer one");
    let entry = PeerEntry { address, candidates: None, ..PeerEntry::example() };
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
    check::<Row>();
    check::<RowBatch>();
    check::<FromClient>();
    check::<FromTracker>();
    check::<ToAcceptor>();
    check::<ToDialler>();
}
