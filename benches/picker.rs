//! What a pick costs, by number of pieces and links: it must not grow with the pieces.
//!
//! `cargo bench --bench picker`. One round is a whole life of a piece: chosen, started, received,
//! and given back.

use std::collections::VecDeque;
use std::time::Duration;

use posse::swarm::{BlockFate, Download, LinkKey, LinkTraits, Options, ReaderKey};
use posse::types::{Bitfield, Geometry, Span};

const TRAITS: LinkTraits = LinkTraits { block_len_max: 512 << 10, requests_max: 256, fast: true };
const PIECES: [u32; 3] = [2_048, 131_072, 1 << 21];

fn main() {
    divan::main();
}

/// A download with `seeds` links that have everything and `partial` ones that have every second
/// piece, each other ones.
fn download(pieces: u32, seeds: u64, partial: u64) -> (Geometry, Download) {
    download_of(Bitfield::empty(pieces), seeds, partial)
}

/// The same, of which `have` is there already.
fn download_of(have: Bitfield, seeds: u64, partial: u64) -> (Geometry, Download) {
    let (pieces, piece_len) = (have.count(), 512 << 10);
    let geometry =
        Geometry::new(u64::from(pieces) * u64::from(piece_len), piece_len).expect("valid sizes");
    let mut download = Download::new(geometry, have, Options::default(), 1);
    for link in 0..seeds + partial {
        download.join(Duration::ZERO, LinkKey(link), TRAITS);
        match link < seeds {
            true => download.peer_has_all(LinkKey(link)),
            false => download.peer_bitfield(LinkKey(link), some(pieces, link)),
        }
        download.unchoked(Duration::ZERO, LinkKey(link));
    }
    (geometry, download)
}

fn some(pieces: u32, link: u64) -> Bitfield {
    let mut state = link.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes: Vec<u8> = (0..pieces / 8)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect();
    bytes.resize(pieces.div_ceil(8) as usize, 0);
    Bitfield::from_bytes(bytes, pieces)
        .expect("the length is right and the counts are multiples of 8")
}

fn round(download: &mut Download, now: &mut Duration) {
    *now += Duration::from_micros(500);
    let job = download.next_job(*now).expect("pieces are missing and links have room");
    let spans = download.start(*now, &job).expect("nothing has overtaken the job");
    for span in spans {
        download.block_received(*now, job.link, span);
    }
    download.write_failed(job.piece);
    while download.poll_action().is_some() {}
}

#[divan::bench(args = PIECES)]
fn four_seeders(bencher: divan::Bencher, pieces: u32) {
    let (_, mut download) = download(pieces, 4, 0);
    let mut now = Duration::ZERO;
    bencher.bench_local(|| round(&mut download, &mut now));
}

#[divan::bench(args = PIECES)]
fn two_hundred_links(bencher: divan::Bencher, pieces: u32) {
    let (_, mut download) = download(pieces, 20, 180);
    let mut now = Duration::ZERO;
    bencher.bench_local(|| round(&mut download, &mut now));
}

/// As many readers as there may be, whose windows have come: all of these are looked at in vain.
#[divan::bench(args = PIECES)]
fn four_seeders_and_sixteen_readers(bencher: divan::Bencher, pieces: u32) {
    let (geometry, _) = download(pieces, 0, 0);
    let mut have = Bitfield::empty(pieces);
    let read = geometry.indexes().take(16 * 32).chain(geometry.indexes().last());
    read.for_each(|piece| _ = have.insert(piece));
    let (_, mut download) = download_of(have, 4, 0);
    for reader in 0..16 {
        assert!(download.set_reader(ReaderKey(reader), reader as u32 * 32..u32::MAX));
    }
    let mut now = Duration::ZERO;
    bencher.bench_local(|| round(&mut download, &mut now));
}

/// A block comes on one of many links whose windows are full, and what follows from it is chosen.
#[divan::bench(args = [20, 200])]
fn a_block_among_full_links(bencher: divan::Bencher, links: u64) {
    let (_, mut download) = download(131_072, links, 0);
    let (mut asked, mut now) = (VecDeque::new(), Duration::ZERO);
    choose(&mut download, &mut asked, now);
    bencher.bench_local(|| {
        now += Duration::from_micros(500);
        let (link, span) = asked.pop_front().expect("blocks are asked for");
        if download.block_received(now, link, span) == BlockFate::Completed {
            download.write_failed(span.piece);
        }
        choose(&mut download, &mut asked, now);
        while download.poll_action().is_some() {}
    });
}

fn choose(download: &mut Download, asked: &mut VecDeque<(LinkKey, Span)>, now: Duration) {
    while let Some(job) = download.next_job(now) {
        let spans = download.start(now, &job).expect("nothing has overtaken the job");
        asked.extend(spans.into_iter().map(|span| (job.link, span)));
    }
}

#[divan::bench(args = PIECES)]
fn a_seeder_comes_and_goes(bencher: divan::Bencher, pieces: u32) {
    let (_, mut download) = download(pieces, 4, 4);
    bencher.bench_local(|| {
        download.join(Duration::ZERO, LinkKey(1_000), TRAITS);
        download.peer_has_all(LinkKey(1_000));
        download.leave(Duration::ZERO, LinkKey(1_000));
        while download.poll_action().is_some() {}
    });
}

#[divan::bench(args = PIECES)]
fn a_have_arrives(bencher: divan::Bencher, pieces: u32) {
    let (geometry, mut download) = download(pieces, 4, 4);
    download.join(Duration::ZERO, LinkKey(1_000), TRAITS);
    let mut indexes = geometry.indexes().cycle();
    bencher.bench_local(|| {
        let piece = indexes.next().expect("a cycle has no end");
        download.peer_have(LinkKey(1_000), piece);
        while download.poll_action().is_some() {}
    });
}
