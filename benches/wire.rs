//! How fast messages become bytes and bytes messages: replication batches, listings, and the heads
//! of peer messages.
//!
//! `cargo bench --bench wire`. Throughput is in bytes of the encoded message.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use posse::types::{
    Content, FileEntry, FileFacts, FileRow, GroupId, InfoHash, Label, Place, RequestId, Row,
    RowBatch, Sha1Digest, SharingRow, Stamp, StoreId, UserId, Version,
};
use posse::wire::Wire;
use posse::wire::metainfo::Metainfo;
use posse::wire::peer::{
    ExtendedHandshake, Header, MetadataMessage, PeerMessage, piece_header, read_header, skip,
};
use posse::wire::replication::ToAcceptor;
use posse::wire::tracker::{FromTracker, Reply};

fn main() {
    divan::main();
}

/// A batch of a thousand shared files, two rows each.
fn rows() -> ToAcceptor {
    let group = GroupId::from_bytes([2; 16]);
    let user = UserId::from_bytes([1; 16]);
    let pair = |sequence: u64| {
        let stamp = Stamp::new(1_700_000_000_000 + sequence, 0);
        let facts = facts(sequence);
        let file = facts.id();
        let request = RequestId::from_bytes([sequence as u8; 16]);
        let shared = FileRow { facts, shared_by: user, at: stamp, replaces: None, removed: None };
        let sharing = SharingRow { on: true, admission: request };
        let row = |content| Row {
            content,
            version: Version { stamp, request },
            place: Place { store: StoreId::from_bytes([3; 16]), sequence },
            extra: Box::default(),
        };
        [Content::File(group, file, Some(shared)), Content::Sharing(group, file, user, sharing)]
            .map(row)
    };
    ToAcceptor::Rows(RowBatch {
        rows: (1..=1000).flat_map(pair).collect(),
        through: 1000,
        complete: None,
    })
}

fn facts(number: u64) -> FileFacts {
    FileFacts {
        info_hash: InfoHash::from_bytes([number as u8; 20]),
        name: format!("holiday film {number:05}.mkv").parse().expect("a plain name"),
        len: number << 20,
        piece_len: 512 << 10,
        sha1: Sha1Digest::from_bytes([number as u8; 20]),
        chain: None,
    }
}

/// A page of a thousand files.
fn listing() -> FromTracker {
    let label = |text: &str| text.parse::<Label>().expect("a plain name");
    let entry = |number: u64| {
        let facts = facts(number);
        let sharers = vec![label("nik"), label("mia"), label("ole~2")];
        let group = GroupId::from_bytes([2; 16]);
        let at = Stamp::new(1_700_000_000_000 + number, 0);
        FileEntry {
            group,
            label: Label::new(facts.name.as_str(), 1),
            facts,
            sharers,
            sharer_count: 3,
            online: 2,
            at,
        }
    };
    FromTracker::Reply {
        number: 7,
        clock_ms: 1,
        reply: Reply::Files { entries: (0..1000).map(entry).collect(), more: true },
    }
}

fn bench_encode<T: Wire + Sync>(bencher: Bencher<'_, '_>, message: &T) {
    let mut out = message.to_bytes();
    bencher.counter(BytesCount::of_slice(&out)).bench_local(|| {
        out.clear();
        black_box(message).encode(&mut out);
    });
}

fn bench_decode<T: Wire>(bencher: Bencher<'_, '_>, message: &T) {
    let body = message.to_bytes();
    bencher.counter(BytesCount::of_slice(&body)).bench(|| T::from_bytes(black_box(&body)));
}

#[divan::bench]
fn encode_rows(bencher: Bencher<'_, '_>) {
    bench_encode(bencher, &rows());
}

#[divan::bench]
fn decode_rows(bencher: Bencher<'_, '_>) {
    bench_decode(bencher, &rows());
}

#[divan::bench]
fn encode_listing(bencher: Bencher<'_, '_>) {
    bench_encode(bencher, &listing());
}

#[divan::bench]
fn decode_listing(bencher: Bencher<'_, '_>) {
    bench_decode(bencher, &listing());
}

#[divan::bench]
fn encode_requests(bencher: Bencher<'_, '_>) {
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(1024usize)).bench_local(|| {
        out.clear();
        (0..1024).for_each(|piece| {
            PeerMessage::Request { piece, begin: 0, len: 16 << 10 }.encode(&mut out)
        });
    });
}

#[divan::bench]
fn read_requests(bencher: Bencher<'_, '_>) {
    let mut bytes = Vec::new();
    (0..1024).for_each(|piece| {
        PeerMessage::Request { piece, begin: 0, len: 16 << 10 }.encode(&mut bytes)
    });
    bencher.counter(ItemsCount::new(1024usize)).bench(|| {
        let mut stream = black_box(&bytes[..]);
        while !stream.is_empty() {
            black_box(read_header(&mut stream).expect("they were encoded above"));
        }
    });
}

#[divan::bench]
fn write_piece_headers(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(1024usize)).bench(|| {
        for piece in 0..1024 {
            black_box(piece_header(black_box(piece), 0, 16 << 10));
        }
    });
}

/// The heads of 64 blocks of 16 KiB, whose data is passed over.
#[divan::bench]
fn read_piece_headers(bencher: Bencher<'_, '_>) {
    let block = vec![0; 16 << 10];
    let bytes: Vec<u8> = (0..64)
        .flat_map(|piece| PeerMessage::Piece { piece, begin: 0, data: block.clone() }.to_bytes())
        .collect();
    bencher.counter(ItemsCount::new(64usize)).bench(|| {
        let mut stream = black_box(&bytes[..]);
        while let Ok(Header::Piece { len, .. }) = read_header(&mut stream) {
            skip(&mut stream, len).expect("the data is there");
        }
    });
}

#[divan::bench]
fn decode_extended_handshake(bencher: Bencher<'_, '_>) {
    let handshake = ExtendedHandshake {
        ticket_id: Some(2),
        metadata_id: Some(1),
        chain_id: Some(3),
        metadata_size: Some(40_000),
        requests_max: Some(250),
        client: Some("Posse 0.1.0".to_owned()),
        port: Some(6881),
        block_len_max: Some(512 << 10),
        chain: None,
    };
    let payload = handshake.encode();
    bencher.bench(|| ExtendedHandshake::decode(black_box(&payload)));
}

#[divan::bench]
fn decode_metadata_part(bencher: Bencher<'_, '_>) {
    let payload =
        MetadataMessage::Data { part: 0, total: 1 << 20, bytes: vec![7; 16 << 10] }.encode();
    bencher
        .counter(BytesCount::of_slice(&payload))
        .bench(|| MetadataMessage::decode(black_box(&payload)));
}

/// The metainfo of a file of 64 GiB.
#[divan::bench]
fn decode_metainfo(bencher: Bencher<'_, '_>) {
    let geometry = posse::types::Geometry::for_file(64 << 30).expect("it is within the limits");
    let pieces = vec![Sha1Digest::from_bytes([6; 20]); geometry.piece_count() as usize];
    let bytes = Metainfo::new("film.mkv".parse().expect("a plain name"), geometry, pieces)
        .expect("one digest a piece")
        .to_bytes();
    bencher.counter(BytesCount::of_slice(&bytes)).bench(|| Metainfo::from_bytes(black_box(&bytes)));
}
