//! What hashing costs: the bare digest, and `hash_file` with both hashes in one pass.
//!
//! `cargo bench --bench hashing`. The figure to look at is the throughput; `hash_file` is to reach
//! 0.9 of one core's SHA-1.

use std::path::PathBuf;

use divan::Bencher;
use divan::counter::BytesCount;
use sha1::{Digest, Sha1};

const LEN: usize = 64 << 20;

fn main() {
    divan::main();
}

#[divan::bench(sample_count = 20)]
fn sha1_of_memory(bencher: Bencher) {
    let data = vec![7u8; LEN];
    bencher.counter(BytesCount::new(LEN)).bench_local(|| Sha1::digest(divan::black_box(&data)));
}

#[divan::bench(sample_count = 20)]
fn sha1_of_pieces(bencher: Bencher) {
    let data = vec![7u8; LEN];
    bencher
        .counter(BytesCount::new(LEN))
        .bench_local(|| data.chunks(512 << 10).map(|piece| Sha1::digest(piece)[0]).max());
}

#[divan::bench(sample_count = 20)]
fn hash_file(bencher: Bencher) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let path: PathBuf = directory.path().join("hashed");
    std::fs::write(&path, vec![7u8; LEN]).expect("the temporary directory can be written");
    bencher.counter(BytesCount::new(LEN)).bench_local(|| {
        posse::swarm::hash_file(&path, &mut |_| true).expect("the file can be read")
    });
}
