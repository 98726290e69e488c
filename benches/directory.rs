//! What the directory's work costs: carrying requests out, merging another tracker's operations, restoring at start, answering.
//!
//! ```text
//! cargo bench --bench directory
//! ```
//!
//! Everything is in memory: what storing, sending and hashing passwords cost is not in these figures.

use divan::Bencher;
use divan::counter::ItemsCount;
use posse::directory::{LinkId, Output, Replica, Ticket};
use posse::types::limits::{OPERATIONS_PER_BATCH_MAX, PAGE_ENTRIES_MAX};
use posse::types::{
    Change, FileFacts, GroupId, InfoHash, Operation, PasswordHash, RequestId, Sha1Digest, StoreId, SyncMessage, UserId,
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
        let mut world = Self { replica: Replica::new(origin(1), &[], 7), user, next: 0 };
        let hash = PasswordHash::from_phc("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g".to_owned());
        world.carry_out(Change::CreateUser { name: "nik".parse().expect("a plain name"), hash });
        world
    }

    fn with_groups(count: u64) -> Self {
        let mut world = Self::new();
        (0..count).for_each(|_| drop(world.create_group()));
        world
    }

    /// Carries one request out and makes it durable; returns the operations to store.
    fn carry_out(&mut self, change: Change) -> Vec<Operation> {
        let now_ms = NOW_MS + self.next;
        self.replica.submit(now_ms, Ticket(self.next), self.user, request_id(self.next), change);
        self.next += 1;
        let operations = self.drain();
        self.replica.persisted(now_ms);
        self.drain();
        operations
    }

    fn create_group(&mut self) -> Vec<Operation> {
        let name = format!("group-{}", self.next).parse().expect("a plain name");
        self.carry_out(Change::CreateGroup { name })
    }

    fn drain(&mut self) -> Vec<Operation> {
        let outputs = std::iter::from_fn(|| self.replica.poll());
        let batches =
            outputs.filter_map(|output| if let Output::Persist(batch) = output { Some(batch.operations) } else { None });
        batches.flatten().collect()
    }
}

fn request_id(number: u64) -> RequestId {
    RequestId::from_bytes((u128::from(number) + 1).to_be_bytes())
}

fn origin(number: u8) -> StoreId {
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
    }
}

/// Returns `count` operations of one origin, as its store has them.
fn operations(count: u64) -> Vec<Operation> {
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
        let (file, info_hash) = (facts(files), facts(files).info_hash);
        let shared = world.carry_out(Change::ShareFile { group, file });
        let stopped = world.carry_out(Change::StopShare { group, info_hash });
        assert_eq!((shared.len(), stopped.len()), (1, 1), "both change the directory");
    });
}

#[divan::bench]
fn merge_batch(bencher: Bencher) {
    let batch = operations(OPERATIONS_PER_BATCH_MAX as u64);
    // The account came before the groups, in an operation of its own.
    let batch: Vec<_> = batch.into_iter().map(|operation| Operation { sequence: operation.sequence - 1, ..operation }).collect();
    let fresh = || {
        let mut replica = Replica::new(origin(2), &[1], 7);
        replica.connected(NOW_MS, LinkId::From(1), origin(1));
        while replica.poll().is_some() {}
        (replica, batch.clone())
    };
    bencher.counter(ItemsCount::new(batch.len())).with_inputs(fresh).bench_local_values(|(mut replica, batch)| {
        replica.handle(NOW_MS, LinkId::From(1), SyncMessage::Operations(batch));
        while replica.poll().is_some() {}
        replica
    });
}

#[divan::bench(sample_count = 10)]
fn restore(bencher: Bencher) {
    let mut world = World::new();
    let stored: Vec<_> = (0..20_000).flat_map(|_| world.create_group()).collect();
    let stored: Vec<_> =
        stored.into_iter().map(|operation| Operation { sequence: operation.sequence - 1, ..operation }).collect();
    bencher.counter(ItemsCount::new(stored.len())).with_inputs(|| stored.clone()).bench_local_values(|stored| {
        let mut replica = Replica::new(origin(1), &[2], 7);
        stored.into_iter().for_each(|operation| replica.restore(operation).expect("they are contiguous"));
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
    bencher.bench_local(|| world.replica.directory().groups(world.user, Some(&after), page));
}

#[divan::bench(args = SIZES)]
fn digest(bencher: Bencher, groups: u64) {
    let world = World::with_groups(groups);
    bencher.bench_local(|| world.replica.directory().digest());
}
