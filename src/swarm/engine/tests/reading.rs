//! Readers of files that come: what they get, when, and how their reading ends.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::harness::*;
use crate::swarm::disk::part_file::{Disk, SystemDisk};
use crate::swarm::{Limits, READERS_MAX, READERS_PER_FILE_MAX, ReadError, Reader, Transfer};
use crate::types::{FileFacts, InfoHash, Rate};

const PIECE: u64 = 512 << 10;

/// A seeder that sends so many bytes a second.
fn slow_seeder(rate: u64) -> Station {
    Station::start_with(1, Arc::new(SystemDisk), |config| {
        config.limits = Limits { upload: Some(Rate::new(rate).unwrap()), download: None };
    })
}

fn open(station: &Station, facts: &FileFacts) -> Reader {
    station.engine.open_reader(facts.info_hash, COMMON).unwrap()
}

/// Reads `len` bytes from `offset`, whole.
fn read(reader: &Reader, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut done = 0;
    while done < len {
        let until = Instant::now() + PATIENCE;
        let count = reader.read_at(&mut bytes[done..], offset + done as u64, until).unwrap();
        assert!(count > 0, "the file ends after {done} bytes");
        done += count;
    }
    bytes
}

/// What a read of a piece that is not there ends with.
fn end(reader: &Reader, offset: u64) -> ReadError {
    reader.read_at(&mut [0; 16], offset, Instant::now() + PATIENCE).unwrap_err()
}

fn has(transfer: &Transfer, pieces: impl IntoIterator<Item = u64>) -> bool {
    let state = transfer.torrent.state.lock();
    let have = state.transfer.as_ref().unwrap().have();
    pieces.into_iter().all(|piece| have.has(transfer.torrent.geometry.index(piece).unwrap()))
}

#[test]
fn a_reader_gets_the_middle_of_a_file_long_before_the_rest() {
    let (seeder, leecher) = (slow_seeder(8_000_000), Station::start(2));
    let data = noise(24 << 20, 1);
    let facts = seeder.share("film", &data);
    let transfer = leecher.fetch(&facts, &[]);
    let reader = open(&leecher, &facts);
    // The window is there before there is anybody to ask.
    let early = reader.read_at(&mut [0; 1], 20 * PIECE, Instant::now() + Duration::from_millis(1));
    assert!(matches!(early, Err(ReadError::TimedOut)));
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, seeder.address)]);
    let (from, len) = (20 * PIECE + 1000, 4 << 20);
    let bytes = read(&reader, from, len);
    assert!(bytes == data[from as usize..from as usize + len], "other bytes");
    let status = transfer.status();
    assert!(status.bytes_done < 16 << 20, "{status:?}");
    assert!(has(&transfer, [0, 47]), "the ends of the file come early");
    // Where nothing is left to wait for, a read takes what is there.
    let mut rest = vec![0; 1 << 20];
    let count = reader.read_at(&mut rest, (24 << 20) - 5, Instant::now() + PATIENCE).unwrap();
    assert!(count == 5 && rest[..5] == data[(24 << 20) - 5..]);
    assert_eq!(reader.read_at(&mut rest, 24 << 20, Instant::now()).unwrap(), 0);
    assert_eq!(reader.read_at(&mut [], 0, Instant::now()).unwrap(), 0);
    drop(reader);
    assert!(transfer.torrent.state.lock().readers.is_empty());
    seeder.engine.set_limits(Limits::default());
    leecher.assert_complete(&transfer, &data);
}

/// The reader follows the download over its end: from the `.part` to the file with its name.
#[test]
fn reading_goes_on_over_the_rename_and_of_a_shared_file() {
    let (seeder, leecher) = (slow_seeder(20_000_000), Station::start(2));
    let data = noise(12 << 20, 2);
    let facts = seeder.share("renamed", &data);
    let transfer = leecher.fetch(&facts, &[&seeder]);
    let (reader, mut got) = (open(&leecher, &facts), Vec::new());
    // In small steps, so that many reads meet the end of the download.
    while got.len() < data.len() {
        got.extend(read(&reader, got.len() as u64, (1 << 14).min(data.len() - got.len())));
        if got.len() == 10 << 20 {
            leecher.assert_complete(&transfer, &data);
        }
    }
    assert!(got == data);
    assert!(read(&open(&seeder, &facts), 5, 3 << 20) == data[5..5 + (3 << 20)]);
    // Another file in its place is not read.
    std::fs::write(leecher.path("renamed"), noise(12 << 20, 3)).unwrap();
    assert!(matches!(end(&reader, 0), ReadError::Changed));
    assert!(matches!(end(&reader, 0), ReadError::NotHere), "it is not offered any more");
}

#[test]
fn a_paused_download_is_read_where_it_has_come_and_waited_for_elsewhere() {
    let (seeder, leecher) = (slow_seeder(4_000_000), Station::start(2));
    let data = noise(16 << 20, 4);
    let facts = seeder.share("paused", &data);
    let transfer = leecher.fetch(&facts, &[&seeder]);
    let reader = open(&leecher, &facts);
    assert!(read(&reader, 10 * PIECE, 100) == data[10 * PIECE as usize..][..100]);
    assert!(transfer.pause());
    assert!(read(&reader, 10 * PIECE, 100) == data[10 * PIECE as usize..][..100]);
    let waits = |offset| {
        let until = Instant::now() + Duration::from_millis(50);
        matches!(reader.read_at(&mut [0; 1], offset, until), Err(ReadError::TimedOut))
    };
    let missing = (0..32).find(|piece| !has(&transfer, [*piece])).unwrap();
    assert!(waits(missing * PIECE));
    // Put away, not even what has come is read: nobody looks after the file.
    assert!(transfer.shelve());
    assert!(waits(10 * PIECE));
    assert!(transfer.resume());
    seeder.engine.set_limits(Limits::default());
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, seeder.address)]);
    assert!(read(&reader, missing * PIECE, 100) == data[(missing * PIECE) as usize..][..100]);
    leecher.assert_complete(&transfer, &data);
}

#[test]
fn what_ends_a_download_or_a_right_ends_its_readers() {
    let leecher = Station::start(2);
    let seeder = slow_seeder(1_000_000);
    let nothing =
        FileFacts { info_hash: InfoHash::from_bytes([9; 20]), ..seeder.share("none", &[1; 10]) };
    let other = leecher.engine.open_reader(nothing.info_hash, COMMON);
    assert!(matches!(other, Err(ReadError::NotHere)));
    // Nobody is there to fetch from: they wait.
    let waiting = |name: &str, seed: u64| {
        let facts = seeder.share(name, &noise(4 << 20, seed));
        let transfer = leecher.fetch(&facts, &[]);
        (open(&leecher, &facts), transfer, facts)
    };
    std::thread::scope(|scope| {
        let (reader, transfer, _) = waiting("cancelled", 5);
        let cancelled = scope.spawn(move || end(&reader, PIECE));
        let (reader, _, of_revoked) = waiting("revoked", 6);
        let revoked = scope.spawn(move || end(&reader, PIECE));
        let (reader, _, _) = waiting("of another group", 7);
        assert!(transfer.cancel());
        assert!(matches!(cancelled.join().unwrap(), ReadError::Cancelled));
        leecher.engine.end_readers(|of, group| of == of_revoked.info_hash && group == OTHER);
        assert!(!revoked.is_finished());
        leecher.engine.end_readers(|of, group| of == of_revoked.info_hash && group == COMMON);
        assert!(matches!(revoked.join().unwrap(), ReadError::Revoked));
        let until = Instant::now() + Duration::from_millis(10);
        assert!(matches!(reader.read_at(&mut [0; 1], 0, until), Err(ReadError::TimedOut)));
        let stopped = scope.spawn(move || end(&reader, PIECE));
        leecher.engine.stop(PATIENCE);
        assert!(matches!(stopped.join().unwrap(), ReadError::Stopped));
    });
    let mine = open(&seeder, &seeder.share("mine", &[7; 100]));
    assert!(read(&mine, 0, 100) == [7; 100]);
    assert!(seeder.engine.unseed(mine.info_hash()));
    assert!(matches!(end(&mine, 0), ReadError::NotHere), "it is not shared any more");
}

#[test]
fn readers_of_a_file_are_bounded() {
    let station = Station::start(1);
    let facts = station.share("popular", &noise(1000, 8));
    let readers: Vec<Reader> = (0..READERS_PER_FILE_MAX).map(|_| open(&station, &facts)).collect();
    let one_more = || station.engine.open_reader(facts.info_hash, COMMON);
    assert!(matches!(one_more(), Err(ReadError::Crowded)));
    let others: Vec<FileFacts> =
        (0..3).map(|seed| station.share(&format!("other {seed}"), &noise(1000, seed))).collect();
    let mut more: Vec<Reader> = Vec::new();
    for other in others.iter().cycle().take(READERS_MAX - READERS_PER_FILE_MAX) {
        more.push(open(&station, other));
    }
    let of_other = station.engine.open_reader(others[0].info_hash, COMMON);
    assert!(matches!(of_other, Err(ReadError::Crowded)), "too many in all");
    drop(readers);
    assert!(one_more().is_ok());
}

/// A disk whose reads hang while it is told to, and the number of those that do.
#[derive(Default)]
struct HangingDisk {
    hangs: AtomicBool,
    hanging: AtomicU64,
}

impl Disk for HangingDisk {
    fn read(&self, file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.hanging.fetch_add(1, Ordering::SeqCst);
        while self.hangs.load(Ordering::SeqCst) {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        self.hanging.fetch_sub(1, Ordering::SeqCst);
        file.read_exact_at(bytes, offset)
    }
}

#[test]
fn a_read_that_hangs_holds_up_nothing_else() {
    let disk = Arc::new(HangingDisk::default());
    let seeder = slow_seeder(20_000_000);
    let leecher = Station::start_with(2, disk.clone(), |_| {});
    let data = noise(8 << 20, 9);
    let facts = seeder.share("hanging", &data);
    let transfer = leecher.fetch(&facts, &[&seeder]);
    let reader = open(&leecher, &facts);
    assert!(read(&reader, 3 * PIECE, 10) == data[3 * PIECE as usize..][..10]);
    disk.hangs.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let read = scope.spawn(|| read(&reader, 3 * PIECE, 10));
        eventually("it hangs", || disk.hanging.load(Ordering::SeqCst) > 0);
        // Writing goes on, and others open and close.
        drop(open(&leecher, &facts));
        leecher.assert_complete(&transfer, &data);
        assert!(!read.is_finished());
        disk.hangs.store(false, Ordering::SeqCst);
        assert!(read.join().unwrap() == data[3 * PIECE as usize..][..10]);
    });
}

/// A disk where another program writes, while it is told to, just before a read.
#[cfg(target_os = "linux")]
#[derive(Default)]
struct SpoiltDisk(AtomicBool);

#[cfg(target_os = "linux")]
impl Disk for SpoiltDisk {
    fn read(&self, file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        if self.0.load(Ordering::SeqCst) {
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
            File::options().write(true).open(path)?.write_all_at(&[0x55; 1000], offset)?;
        }
        file.read_exact_at(bytes, offset)
    }
}

#[test]
#[cfg(target_os = "linux")]
fn what_another_program_writes_into_the_part_is_not_read() {
    let disk = Arc::new(SpoiltDisk::default());
    let seeder = slow_seeder(4_000_000);
    let leecher = Station::start_with(2, disk.clone(), |_| {});
    let data = noise(16 << 20, 10);
    let facts = seeder.share("spoilt", &data);
    let transfer = leecher.fetch(&facts, &[&seeder]);
    let reader = open(&leecher, &facts);
    let want = &data[10 * PIECE as usize..][..100];
    assert!(read(&reader, 10 * PIECE, 100) == want);
    // Nobody checks the pieces of a download that is paused.
    assert!(transfer.pause());
    disk.0.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    let until = begun + Duration::from_millis(300);
    let read_late = reader.read_at(&mut [0; 100], 10 * PIECE, until);
    assert!(matches!(read_late, Err(ReadError::TimedOut)), "{read_late:?}");
    assert!(begun.elapsed() < PATIENCE / 2, "it minds its deadline");
    disk.0.store(false, Ordering::SeqCst);
    seeder.engine.set_limits(Limits::default());
    assert!(transfer.resume());
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, seeder.address)]);
    assert!(read(&reader, 10 * PIECE, 100) == want);
    leecher.assert_complete(&transfer, &data);
}
