//! What the directory's work costs: carrying requests out, merging another tracker's rows, restoring at start, answering.
//!
//! ```text
//! cargo bench --bench directory
//! ```
//!
//! Everything is in memory: what storing, sending and hashing passwords cost is not in these figures.

use divan::Bencher;
use divan::counter::ItemsCount;
use posse::directory::{Asked, LinkId, Output, Replica, Ticket};
use posse::types::limits::{PAGE_ENTRIES_MAX, ROWS_PER_BATCH_MAX};
use posse::types::{
    Change, FileFacts, GroupId, InfoHash, Lineage, PasswordHash, RequestId, RequestStamp, Row, RowBatch, Sha1Digest, Stamp,
    StoreId, StoreState, SyncMessage, UserId,
};

/// A moment in the year 2026, in milliseconds.
const NOW_MS: u64 = 1_780_000_000_000;
/// Groups in a small directory and in a large one: no cost may grow with them.
const SIZES: [u64; 2] = [1_000, 100_000];

fn main() {
    divan::main();
}

/// A replica, its one user, and the number of the next request.
struct World {
    replica: Replica,
    user: UserId,
    next: u64,
}

impl World {
    fn new() -> Self {
        let request = request_id(0);
        let user = UserId::derive(&"nik".parse().expect("a plain name"), request);
        let mut world = Self { replica: Replica::new(StoreState::new(store(1)), &[]), user, next: 0 };
        let hash = PasswordHash::from_phc("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g".to_owned());
        world.carry_out(Change::CreateUser { name: "nik".parse().expect("a plain name"), hash });
        world
    }

    fn with_groups(count: u64) -> Self {
        let mut world = Self::new();
        (0..count).for_each(|_| drop(world.create_group()));
        world
    }

    /// Carries one request out and makes it durable; returns the rows to store.
    fn carry_out(&mut self, change: Change) -> Vec<Row> {
        let now_ms = NOW_MS + self.next;
        let request = RequestStamp { id: request_id(self.next), at: Stamp::new(now_ms, 0) };
        let asked = Asked { actor: self.user, request, change, note: String::new() };
        self.replica.submit(now_ms, Ticket(self.next), asked);
        self.next += 1;
        let rows = self.drain();
        self.replica.persisted(now_ms);
        self.drain();
        rows
    }

    fn create_group(&mut self) -> Vec<Row> {
        let name = format!("group-{}", self.next).parse().expect("a plain name");
        self.carry_out(Change::CreateGroup { name })
    }

    fn drain(&mut self) -> Vec<Row> {
        let outputs = std::iter::from_fn(|| self.replica.poll());
        let batches = outputs.filter_map(|output| if let Output::Persist(batch) = output { Some(batch.rows) } else { None });
        batches.flatten().collect()
    }
}

fn request_id(number: u64) -> RequestId {
    RequestId::from_bytes((u128::from(number) + 1).to_be_bytes())
}

fn store(number: u8) -> StoreId {
    StoreId::from_bytes([number; StoreId::LEN])
}

fn facts(number: u64) -> FileFacts {
    let mut hash = [0; InfoHash::LEN];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    FileFacts {
        info_hash: InfoHash::from_bytes(hash),
        name: format!("file-{number}.bin").parse().expect("a plain name"),
        len: 1 << 30,
        piece_len: 512 << 10,
        sha1: Sha1Digest::from_bytes([7; Sha1Digest::LEN]),
        chain: None,
    }
}

/// Returns the rows of `count` groups, as their store has them.
fn rows(count: u64) -> Vec<Row> {
    let mut world = World::new();
    (0..count).flat_map(|_| world.create_group()).collect()
}

#[divan::bench(args = SIZES)]
fn create_group(bencher: Bencher, groups: u64) {
    let mut world = World::with_groups(groups);
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| world.create_group());
}

#[divan::bench(args = SIZES)]
fn share_and_stop(bencher: Bencher, files: u64) {
    let mut world = World::new();
    let group =
        GroupId::derive(&format!("group-{}", world.next).parse().expect("a plain name"), world.user, request_id(world.next));
    world.create_group();
    // More shares than a member may have in one group are refused.
    let files = files.min(40_000);
    (0..files).for_each(|number| drop(world.carry_out(Change::ShareFile { group, file: facts(number) })));
    bencher.counter(ItemsCount::new(2u32)).bench_local(|| {
        let (facts, file) = (facts(files), facts(files).id());
        let shared = world.carry_out(Change::ShareFile { group, file: facts });
        let stopped = world.carry_out(Change::StopShare { group, file });
        assert_eq!((shared.len(), stopped.len()), (3, 2), "both change the directory");
    });
}

#[divan::bench]
fn merge_batch(bencher: Bencher) {
    // A group is four rows with its request's.
    let batch = RowBatch { rows: rows(ROWS_PER_BATCH_MAX as u64 / 4), through: 1, complete: None };
    let fresh = || {
        let mut replica = Replica::new(StoreState::new(store(2)), &[1]);
        replica.connected(NOW_MS, LinkId::From(1), &Lineage::new(store(1)));
        while replica.poll().is_some() {}
        (replica, batch.clone())
    };
    bencher.counter(ItemsCount::new(batch.rows.len())).with_inputs(fresh).bench_local_values(|(mut replica, batch)| {
        replica.handle(NOW_MS, LinkId::From(1), SyncMessage::Rows(batch));
        while replica.poll().is_some() {}
        replica
    });
}

#[divan::bench(sample_count = 10)]
fn restore(bencher: Bencher) {
    let stored = rows(20_000);
    bencher.counter(ItemsCount::new(stored.len())).with_inputs(|| stored.clone()).bench_local_values(|stored| {
        let mut replica = Replica::new(StoreState::new(store(1)), &[2]);
        stored.iter().for_each(|row| replica.restore(row));
        replica
    });
}

#[divan::bench(args = SIZES)]
fn find_group(bencher: Bencher, groups: u64) {
    let world = World::with_groups(groups);
    bencher.bench_local(|| world.replica.directory().find_group("group-500"));
}

#[divan::bench(args = SIZES)]
fn page_of_groups(bencher: Bencher, groups: u64) {
    let world = World::with_groups(groups);
    let page = PAGE_ENTRIES_MAX.min(100);
    let after = "group-500".parse().expect("a plain name");
    bencher.bench_local(|| world.replica.directory().groups(world.user, None, Some(&after), page));
}

#[divan::bench(args = SIZES)]
fn digest(bencher: Bencher, groups: u64) {
    let world = World::with_groups(groups);
    bencher.bench_local(|| world.replica.directory().digest());
}
