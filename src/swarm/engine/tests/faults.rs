//! What goes wrong on our own side: deaths, disks, names that are taken, restarts.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::harness::*;
use crate::files::Naming;
use crate::swarm::disk::part_file::{Disk, SystemDisk};
use crate::swarm::{DownloadSpec, EngineError, EngineEvent, TransferState, TransferStatus};
use crate::types::{Bitfield, FileFacts, Rate, Sha1Digest, VerifiedPieces};

/// A disk that is full after some bytes, until it is given more.
struct SmallDisk {
    left: AtomicU64,
    sync_fails: AtomicBool,
}

impl SmallDisk {
    fn new(left: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(left), sync_fails: AtomicBool::new(false) })
    }
}

impl Disk for SmallDisk {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let take = |left: u64| left.checked_sub(bytes.len() as u64);
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            Ok(_) => file.write_all_at(bytes, offset),
            Err(_) => Err(io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error())),
        }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        match self.sync_fails.load(Ordering::SeqCst) {
            true => Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())),
            false => file.sync_data(),
        }
    }
}

#[test]
fn a_full_disk_pauses_and_resume_goes_on() {
    let disk = SmallDisk::new(5 << 20);
    let (seeder, leecher) = (Station::start(1), Station::start_with(2, disk.clone(), |_| {}));
    let data = noise(12 << 20, 1);
    let facts = seeder.share("large", &data);
    let transfer = leecher.fetch(&facts, &[&seeder]);
    let status =
        transfer.wait_until(PATIENCE, |status| matches!(status.state, TransferState::Paused(_)));
    let TransferState::Paused(Some(reason)) = &status.state else { panic!("{status:?}") };
    assert!(reason.contains("No space left"), "{reason}");
    let told = || {
        leecher.host.events.lock().iter().any(|event| matches!(event, EngineEvent::Paused { .. }))
    };
    eventually("the host hears of the pause", told);
    // A piece whose write succeeded may still be on its way to being counted when another's failure
    // pauses the download.
    eventually("what the disk took counts", || transfer.status().bytes_done == 5 << 20);
    disk.left.store(1 << 30, Ordering::SeqCst);
    assert!(transfer.resume());
    let status = leecher.assert_complete(&transfer, &data);
    assert!(status.received < (14 << 20) + (64 << 20), "{status:?}");
}

#[test]
fn a_disk_that_cannot_sync_pauses() {
    let disk = SmallDisk::new(1 << 30);
    disk.sync_fails.store(true, Ordering::SeqCst);
    let (seeder, leecher) = (Station::start(1), Station::start_with(2, disk.clone(), |_| {}));
    let data = noise(2 << 20, 1);
    let facts = seeder.share("unsafe", &data);
    let transfer = leecher.fetch(&facts, &[]);
    transfer.wait_until(PATIENCE, |status| status.state == TransferState::Metainfo);
    let paused = |status: &crate::swarm::TransferStatus| {
        matches!(status.state, TransferState::Paused(Some(_)))
    };
    assert!(paused(&transfer.wait_until(PATIENCE, paused)));
    disk.sync_fails.store(false, Ordering::SeqCst);
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, seeder.address)]);
    transfer.resume();
    leecher.assert_complete(&transfer, &data);
}

#[test]
fn a_seeder_dies_and_the_other_goes_on() {
    let (mut dies, lives, leecher) = (Station::start(1), Station::start(2), Station::start(3));
    let data = noise(48 << 20, 2);
    let facts = dies.share("orphan", &data);
    lives.share("orphan", &data);
    let transfer = leecher.fetch(&facts, &[&dies, &lives]);
    transfer.wait_until(PATIENCE, |status| status.bytes_done > 4 << 20);
    dies.stop();
    leecher.assert_complete(&transfer, &data);
}

#[test]
fn without_a_seeder_it_waits_and_says_what_is_missing() {
    let (mut first, leecher) = (Station::start(1), Station::start(2));
    let data = noise(48 << 20, 3);
    let facts = first.share("waiting", &data);
    let transfer = leecher.fetch(&facts, &[&first]);
    // So that it is not complete before it was looked at.
    transfer.set_limit(Rate::new(20_000_000).ok());
    transfer.wait_until(PATIENCE, |status| status.bytes_done > 0);
    first.stop();
    // A piece that is being checked is neither there nor missing.
    eventually("what nobody has is known", || {
        let why = transfer.why();
        why.links == 0
            && why.unoffered > 0
            && why.unoffered == why.pieces - why.have
            && !why.seen.is_empty()
    });
    let second = Station::start(4);
    second.share("waiting", &data);
    transfer.set_limit(None);
    leecher.engine.add_peers(facts.info_hash, [(second.device, second.address)]);
    leecher.assert_complete(&transfer, &data);
}

#[test]
fn a_restart_fetches_only_what_is_missing() {
    let (mut seeder, mut leecher) = (Station::start(1), Station::start(2));
    let data = noise(32 << 20, 4);
    let facts = seeder.share("continued", &data);
    let transfer = leecher.fetch(&facts, &[&seeder]);
    // So that it is not complete before it was looked at.
    transfer.set_limit(Rate::new(40_000_000).ok());
    transfer.wait_until(PATIENCE, |status| status.bytes_done > 4 << 20);
    seeder.stop();
    leecher.stop();
    let done = transfer.status().bytes_done;
    let journal = leecher.host.journal.lock()[&facts.info_hash].clone();
    assert_eq!(
        u64::from(journal.pieces.ones()) * (512 << 10),
        done,
        "the last journal has everything"
    );
    let metainfo = leecher.host.metainfo.lock()[&facts.info_hash].clone();
    let (seeder, next) = (Station::start(1), Station::start(2));
    seeder.share("continued", &data);
    // Half of the journal is lost: these pieces are hashed.
    let mut vouched = journal.clone();
    metainfo
        .geometry()
        .indexes()
        .filter(|piece| piece.get() % 2 == 0)
        .for_each(|piece| assert!(!vouched.pieces.has(piece) || vouched.pieces.remove(piece)));
    let mut spec = next.spec(&facts);
    (spec.target, spec.verified, spec.metainfo) =
        (transfer.target(), Some(vouched), Some(metainfo));
    let again = next.engine.download(spec).unwrap();
    next.engine.add_peers(facts.info_hash, [(seeder.device, seeder.address)]);
    let status = next.assert_complete(&again, &data);
    assert_eq!(status.received, data.len() as u64 - done);
}

#[test]
fn a_journal_that_lies_about_a_lost_part_is_not_believed() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(4 << 20, 5);
    let facts = seeder.share("lost", &data);
    let mut spec = leecher.spec(&facts);
    spec.verified = Some(left(&leecher.part(&facts), Bitfield::full(8)));
    let transfer = leecher.engine.download(spec).unwrap();
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, seeder.address)]);
    leecher.assert_complete(&transfer, &data);
}

#[test]
fn what_is_there_is_never_overwritten() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(1 << 20, 6);
    let facts = seeder.share("taken", &data);
    std::fs::write(leecher.path("taken"), b"mine").unwrap();
    assert!(matches!(
        leecher.engine.download(leecher.spec(&facts)),
        Err(EngineError::TargetExists(_))
    ));
    std::fs::remove_file(leecher.path("taken")).unwrap();
    std::fs::write(leecher.part(&facts), b"somebody's").unwrap();
    let transfer = leecher.fetch(&facts, &[&seeder]);
    assert!(matches!(transfer.wait(PATIENCE).state, TransferState::Failed(_)));
    assert_eq!(std::fs::read(leecher.part(&facts)).unwrap(), b"somebody's");
    std::fs::remove_file(leecher.part(&facts)).unwrap();
    // It appears while the download waits for its seeder: the data stays, and resume finishes it
    // once the name is free.
    let transfer = leecher.fetch(&facts, &[]);
    eventually("the part is made", || leecher.part(&facts).exists());
    std::fs::write(leecher.path("taken"), b"mine").unwrap();
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, seeder.address)]);
    let TransferState::Failed(reason) = transfer.wait(PATIENCE).state else {
        panic!("it did not fail")
    };
    assert!(reason.contains("appeared meanwhile"), "{reason}");
    assert_eq!(std::fs::read(leecher.path("taken")).unwrap(), b"mine");
    std::fs::remove_file(leecher.path("taken")).unwrap();
    let received = transfer.status().received;
    assert!(transfer.resume());
    assert_eq!(leecher.assert_complete(&transfer, &data).received, received);
}

#[test]
fn what_was_fetched_and_is_gone_is_not_begun_anew() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(1 << 20, 61);
    let facts = seeder.share("away", &data);
    let transfer = leecher.fetch(&facts, &[]);
    eventually("the part is made", || transfer.status().state == TransferState::Metainfo);
    assert!(transfer.shelve());
    // As if its disk had been unmounted.
    let (part, elsewhere) = (leecher.part(&facts), leecher.path("elsewhere"));
    std::fs::rename(&part, &elsewhere).unwrap();
    assert!(transfer.resume());
    let is_paused = |status: &TransferStatus| matches!(status.state, TransferState::Paused(_));
    let TransferState::Paused(Some(reason)) = transfer.wait_until(PATIENCE, is_paused).state else {
        panic!("it did not pause")
    };
    assert!(reason.contains("is the disk mounted?"), "{reason}");
    assert!(!part.exists());
    std::fs::rename(&elsewhere, &part).unwrap();
    assert!(transfer.resume());
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, seeder.address)]);
    leecher.assert_complete(&transfer, &data);
}

#[test]
fn links_and_directories_in_place_of_the_part_are_refused() {
    let leecher = Station::start(2);
    let seeder = Station::start(1);
    let facts = seeder.share("odd", &noise(1 << 20, 7));
    let victim = leecher.path("victim");
    std::fs::write(&victim, b"keep me").unwrap();
    for prepare in [0, 1, 2] {
        match prepare {
            0 => std::os::unix::fs::symlink(&victim, leecher.part(&facts)).unwrap(),
            1 => std::fs::hard_link(&victim, leecher.part(&facts)).unwrap(),
            _ => std::fs::create_dir(leecher.part(&facts)).unwrap(),
        }
        let mut spec = leecher.spec(&facts);
        spec.verified = Some(VerifiedPieces::none(2));
        let transfer = leecher.engine.download(spec).unwrap();
        assert!(
            matches!(transfer.wait(PATIENCE).state, TransferState::Failed(_)),
            "case {prepare}"
        );
        assert_eq!(std::fs::read(&victim).unwrap(), b"keep me");
        let _ = std::fs::remove_file(leecher.part(&facts));
        assert!(transfer.cancel());
    }
}

#[test]
fn a_whole_file_that_differs_from_the_facts_never_gets_its_name() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let mut facts = seeder.share("false", &noise(2 << 20, 8));
    facts.sha1 = Sha1Digest::from_bytes([1; 20]);
    let transfer = leecher.fetch(&facts, &[&seeder]);
    assert!(matches!(transfer.wait(PATIENCE).state, TransferState::Failed(_)));
    assert!(!leecher.path("false").exists());
}

#[test]
fn the_longest_name_has_room_for_its_part() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(1 << 20, 9);
    let facts = seeder.share(&"ü".repeat(127), &data);
    let transfer = leecher.fetch(&facts, &[&seeder]);
    leecher.assert_complete(&transfer, &data);
}

#[test]
fn no_room_is_said_at_once() {
    let leecher = Station::start_with(2, Arc::new(SystemDisk), |_| {});
    let seeder = Station::start(1);
    let mut facts = seeder.share("vast", b"small");
    facts.len = 1 << 46;
    facts.piece_len = 1 << 26;
    assert!(matches!(
        leecher.engine.download(leecher.spec(&facts)),
        Err(EngineError::NoRoom { .. })
    ));
}

#[test]
fn a_hundred_and_thirty_thousand_pieces_are_kept_account_of() {
    // 2 GiB in pieces of 16 KiB, all holes but the last piece; nothing but the bookkeeping is
    // large.
    use crate::types::Geometry;
    use crate::wire::metainfo::Metainfo;
    use sha1::{Digest, Sha1};
    let station = Station::start(1);
    let geometry = Geometry::new(131_072 * (16 << 10), 16 << 10).unwrap();
    let zeros = Sha1Digest::from_bytes(Sha1::digest([0; 16 << 10]).into());
    let pieces = vec![zeros; 131_072];
    let metainfo = Arc::new(Metainfo::new("sparse".parse().unwrap(), geometry, pieces).unwrap());
    let file = File::create(station.path("sparse")).unwrap();
    file.set_len(geometry.len()).unwrap();
    let stamp = crate::types::FileStamp::new(&file.metadata().unwrap());
    let seed = crate::swarm::SeedSpec {
        metainfo: metainfo.clone(),
        chain: None,
        path: station.path("sparse"),
        stamp,
    };
    station.engine.seed(seed).unwrap();
    let leecher = Station::start(2);
    let sha1 = Sha1Digest::from_bytes([0; 20]);
    let (info_hash, name) = (metainfo.info_hash(), metainfo.name().clone());
    let facts =
        FileFacts { info_hash, name, len: geometry.len(), piece_len: 16 << 10, sha1, chain: None };
    let transfer = leecher.fetch(&facts, &[&station]);
    transfer.wait_until(PATIENCE, |status| status.bytes_done > 20 << 20);
    assert!(
        leecher.host.metainfo.lock().contains_key(&info_hash),
        "2.6 MB of metainfo came in parts"
    );
    assert!(transfer.cancel());
}

#[test]
fn pausing_cancelling_and_restarting_at_random_loses_nothing() {
    use rand::{RngExt, SeedableRng};
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let mut rng = rand::rngs::SmallRng::seed_from_u64(seed);
    let stations: Vec<Station> = (1..=4).map(Station::start).collect();
    let data = noise(24 << 20, 10);
    let facts = stations[0].share("stormy", &data);
    let everybody: Vec<&Station> = stations.iter().collect();
    let mut transfers: Vec<_> =
        stations[1..].iter().map(|station| station.fetch(&facts, &everybody)).collect();
    for _ in 0..60 {
        let who = rng.random_range(0..3);
        match rng.random_range(0..8) {
            0 if transfers[who].cancel() => {
                transfers[who] = stations[who + 1].fetch(&facts, &everybody)
            }
            1..4 => _ = transfers[who].pause(),
            _ => _ = transfers[who].resume(),
        }
        std::thread::park_timeout(std::time::Duration::from_millis(rng.random_range(0..20)));
    }
    for (station, transfer) in stations[1..].iter().zip(&transfers) {
        transfer.resume();
        station.assert_complete(transfer, &data);
    }
}

/// A disk that loses what was written before its first sync, which fails; it notes the offsets
/// written afterwards.
#[derive(Default)]
struct LossyDisk {
    synced: AtomicBool,
    written: parking_lot::Mutex<std::collections::BTreeSet<u64>>,
}

impl Disk for LossyDisk {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.written.lock().insert(offset);
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        if self.written.lock().is_empty() || self.synced.swap(true, Ordering::SeqCst) {
            return file.sync_data();
        }
        self.written.lock().clear();
        Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()))
    }
}

/// After a failed sync the system holds the pages for written, reads them, and has lost them.
#[test]
fn what_a_failed_sync_lost_is_written_again() {
    let disk = Arc::new(LossyDisk::default());
    let (seeder, leecher) = (Station::start(1), Station::start_with(2, disk.clone(), |_| {}));
    let data = noise(8 << 20, 21);
    let facts = seeder.share("lossy", &data);
    let transfer = leecher.fetch(&facts, &[&seeder]);
    let status = transfer.wait_until(PATIENCE, |status| {
        matches!(status.state, TransferState::Paused(Some(_)) | TransferState::Failed(_))
    });
    assert_eq!(
        leecher
            .host
            .journal
            .lock()
            .get(&facts.info_hash)
            .map_or(0, |verified| verified.pieces.ones()),
        0,
        "{status:?}"
    );
    assert!(transfer.resume());
    leecher.assert_complete(&transfer, &data);
    let again: Vec<u64> = disk.written.lock().iter().copied().collect();
    assert_eq!(again, (0..16).map(|piece| piece * (512 << 10)).collect::<Vec<_>>());
}

/// A disk on which the check of a piece panics, once.
struct PanickyDisk(AtomicBool);

impl Disk for PanickyDisk {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        assert!(self.0.swap(true, Ordering::SeqCst), "on purpose");
        file.write_all_at(bytes, offset)
    }
}

#[test]
fn a_piece_whose_check_panics_is_not_stuck() {
    let disk = Arc::new(PanickyDisk(AtomicBool::new(false)));
    let (seeder, leecher) = (Station::start(1), Station::start_with(2, disk, |_| {}));
    let data = noise(4 << 20, 22);
    let facts = seeder.share("panicky", &data);
    let transfer = leecher.fetch(&facts, &[&seeder]);
    let paused = transfer
        .wait_until(PATIENCE, |status| matches!(status.state, TransferState::Paused(Some(_))));
    assert!(matches!(paused.state, TransferState::Paused(Some(_))), "{paused:?}");
    assert!(transfer.resume());
    leecher.assert_complete(&transfer, &data);
}

/// Zeros with some data here and there.
fn sparse(station: &Station, name: &str, len: u64, places: &[u64]) -> Vec<u8> {
    let file = File::create_new(station.path(name)).unwrap();
    file.set_len(len).unwrap();
    for place in places {
        file.write_all_at(&noise(300_000, *place), *place).unwrap();
    }
    std::fs::read(station.path(name)).unwrap()
}

fn bytes_on_disk(path: &std::path::Path) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(path).unwrap()) * 512
}

#[test]
fn a_sparse_file_stays_sparse_and_needs_no_more_room_than_it_takes() {
    // Room for the pieces with data alone: three, for the one in the middle lies across two.
    let disk = SmallDisk::new(4 * (512 << 10));
    let (seeder, mut leecher) = (Station::start(1), Station::start_with(2, disk, |_| {}));
    let data = sparse(&seeder, "holes", (48 << 20) + 7, &[0, (20 << 20) - 1000, 47 << 20]);
    let hashed = crate::swarm::hash_file(&seeder.path("holes"), &mut |_| true).unwrap();
    seeder.engine.seed(hashed.seed.clone()).unwrap();
    let facts = facts(&hashed);
    let transfer = leecher.fetch(&facts, &[&seeder]);
    leecher.assert_complete(&transfer, &data);
    assert!(
        bytes_on_disk(&transfer.target()) < 4 << 20,
        "{} bytes",
        bytes_on_disk(&transfer.target())
    );
    leecher.stop();
    // Its holes count as there after a restart, if the journal says so; what had data and is a hole
    // now does not.
    let next = Station::start(3);
    let (mut spec, part) = (next.spec(&facts), next.part(&facts));
    std::fs::copy(transfer.target(), &part).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&part).unwrap();
    file.set_len(40 << 20).unwrap();
    file.set_len(facts.len).unwrap();
    (spec.verified, spec.metainfo) =
        (Some(left(&part, Bitfield::full(97))), Some(hashed.seed.metainfo));
    let again = next.engine.download(spec).unwrap();
    next.engine.add_peers(facts.info_hash, [(seeder.device, seeder.address)]);
    assert_eq!(next.assert_complete(&again, &data).received, 512 << 10);
}

#[test]
fn without_a_chain_a_piece_that_changed_on_the_disk_is_found_and_fetched_again() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(4 << 20, 23);
    let facts = FileFacts { chain: None, ..seeder.share("spoiled", &data) };
    let mut spoiled = data.clone();
    spoiled[3_000_000] ^= 1;
    std::fs::write(leecher.part(&facts), &spoiled).unwrap();
    let mut spec = leecher.spec(&facts);
    spec.verified = Some(left(&leecher.part(&facts), Bitfield::full(8)));
    spec.metainfo = Some(
        crate::swarm::hash_file(&seeder.path("spoiled"), &mut |_| true).unwrap().seed.metainfo,
    );
    let transfer = leecher.engine.download(spec).unwrap();
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, seeder.address)]);
    assert_eq!(leecher.assert_complete(&transfer, &data).received, 512 << 10);
}

#[test]
fn much_that_was_verified_is_journalled_before_its_time() {
    let (seeder, leecher) = (
        Station::start(1),
        Station::start_with(2, Arc::new(SystemDisk), |config| config.journal_interval = PATIENCE),
    );
    let data = noise(80 << 20, 24);
    let facts = seeder.share("much", &data);
    let transfer = leecher.fetch(&facts, &[&seeder]);
    leecher.assert_complete(&transfer, &data);
    let journalled = || {
        leecher
            .host
            .journal
            .lock()
            .get(&facts.info_hash)
            .is_some_and(|have| have.pieces.ones() >= 128)
    };
    eventually("the journal was written", journalled);
}

#[test]
fn a_download_that_waits_for_metainfo_goes_on_when_the_file_is_offered_here() {
    let (maker, leecher) = (Station::start(1), Station::start(2));
    let data = noise(2 << 20, 25);
    let facts = maker.share("twice", &data);
    let transfer = leecher.fetch(&facts, &[]);
    transfer.wait_until(PATIENCE, |status| status.state == TransferState::Metainfo);
    std::fs::create_dir(leecher.path("elsewhere")).unwrap();
    std::fs::write(leecher.path("elsewhere/twice"), &data).unwrap();
    let hashed = crate::swarm::hash_file(&leecher.path("elsewhere/twice"), &mut |_| true).unwrap();
    leecher.engine.seed(hashed.seed).unwrap();
    assert_eq!(leecher.assert_complete(&transfer, &data).received, 0, "it was there already");
}

#[test]
fn facts_that_lie_about_the_length_do_not_spoil_the_true_file() {
    let station = Station::start(1);
    let data = noise(2 << 20, 26);
    std::fs::write(station.path("true"), &data).unwrap();
    let hashed = crate::swarm::hash_file(&station.path("true"), &mut |_| true).unwrap();
    let mut spec = station.spec(&facts(&hashed));
    (spec.facts.len, spec.target) = (700 << 20, station.path("lie"));
    let lie = station.engine.download(spec).unwrap();
    assert!(matches!(station.engine.seed(hashed.seed.clone()), Err(EngineError::Mismatch)));
    assert!(lie.cancel());
    station.engine.seed(hashed.seed).unwrap();
}

#[test]
fn a_copy_that_changed_does_not_keep_others_from_giving() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(4 << 20, 30);
    let facts = seeder.share("copied", &data);
    std::fs::create_dir(leecher.path("elsewhere")).unwrap();
    std::fs::write(leecher.path("elsewhere/copied"), &data).unwrap();
    leecher
        .engine
        .seed(
            crate::swarm::hash_file(&leecher.path("elsewhere/copied"), &mut |_| true).unwrap().seed,
        )
        .unwrap();
    std::fs::write(leecher.path("elsewhere/copied"), b"something else").unwrap();
    let transfer = leecher.fetch(&facts, &[&seeder]);
    leecher.assert_complete(&transfer, &data);
    assert!(
        leecher
            .host
            .events
            .lock()
            .iter()
            .any(|event| matches!(event, EngineEvent::FileChanged { .. }))
    );
}

#[test]
fn a_stop_while_the_part_is_waited_for_loses_nothing_and_fails_nothing() {
    let (seeder, mut leecher) = (Station::start(1), Station::start(2));
    let facts = seeder.share("held", &noise(2 << 20, 31));
    std::fs::write(leecher.part(&facts), b"some of it").unwrap();
    let holder = File::open(leecher.part(&facts)).unwrap();
    rustix::fs::flock(&holder, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut spec = leecher.spec(&facts);
    spec.verified = Some(VerifiedPieces::none(4));
    let transfer = leecher.engine.download(spec).unwrap();
    leecher.stop();
    assert_eq!(transfer.status().state, TransferState::Checking);
    assert!(leecher.host.events.lock().is_empty());
    assert_eq!(std::fs::read(leecher.part(&facts)).unwrap(), b"some of it");
}

/// A file system that takes no colons, and cannot rename without replacing.
struct OldDisk;

impl Disk for OldDisk {
    fn naming(&self) -> &dyn Naming {
        self
    }
}

impl Naming for OldDisk {
    fn create(&self, at: &OwnedFd, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        match name.as_encoded_bytes().contains(&b':') {
            true => Err(Errno::INVAL),
            false => SystemDisk.naming().create(at, name, flags),
        }
    }

    fn rename_new(&self, _: &OwnedFd, _: &OsStr, _: &OsStr) -> Result<(), Errno> {
        Err(Errno::INVAL)
    }

    fn link(&self, _: &OwnedFd, _: &OsStr, _: &OsStr) -> Result<(), Errno> {
        Err(Errno::PERM)
    }
}

#[test]
fn a_name_that_the_file_system_refuses_is_told_with_what_to_do() {
    let (seeder, leecher) = (Station::start(1), Station::start_with(2, Arc::new(OldDisk), |_| {}));
    let data = noise(1 << 20, 71);
    let facts = seeder.share("a:b", &data);
    let transfer = leecher.fetch(&facts, &[&seeder]);
    let TransferState::Failed(reason) = transfer.wait(PATIENCE).state else {
        panic!("it is there")
    };
    assert!(
        reason.contains("a:b refuses that name") && reason.contains("--rename-safe"),
        "{reason}"
    );
    assert!(transfer.cancel());
    let spec = DownloadSpec { target: leecher.path("a_b"), ..leecher.spec(&facts) };
    let transfer = leecher.engine.download(spec).unwrap();
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, seeder.address)]);
    leecher.assert_complete(&transfer, &data);
}

#[test]
fn what_others_write_into_the_part_is_fetched_again() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(24 << 20, 72);
    let facts = seeder.share("disturbed", &data);
    let transfer = leecher.fetch(&facts, &[&seeder]);
    transfer.set_limit(Rate::new(8_000_000).ok());
    for at in [4_u64, 12, 20] {
        transfer.wait_until(PATIENCE, |status| status.bytes_done >= at << 20);
        let part = File::options().write(true).open(leecher.part(&facts)).unwrap();
        part.write_all_at(&[0x55; 70_000], (at - 3) << 20).unwrap();
    }
    leecher.assert_complete(&transfer, &data);
    // What is offered from there is what was verified.
    let third = Station::start(3);
    let transfer = third.fetch(&facts, &[&leecher]);
    third.assert_complete(&transfer, &data);
    assert_eq!(transfer.why().corrupt, 0);
}

/// A disk to which another program writes whenever it is synced.
struct TornDisk;

impl Disk for TornDisk {
    fn sync(&self, file: &File) -> io::Result<()> {
        file.write_all_at(&[0x55; 1000], 0)?;
        file.sync_data()
    }
}

#[test]
fn who_writes_into_the_part_without_end_is_told_of() {
    let (seeder, leecher) = (Station::start(1), Station::start_with(2, Arc::new(TornDisk), |_| {}));
    let facts = seeder.share("torn", &noise(1 << 20, 73));
    let transfer = leecher.fetch(&facts, &[&seeder]);
    let TransferState::Failed(reason) = transfer.wait(PATIENCE).state else {
        panic!("it is there")
    };
    assert!(reason.contains("keeps writing to"), "{reason}");
    assert!(!leecher.path("torn").exists());
}
