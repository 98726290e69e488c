//! What is on this disk already is copied, whatever its name; and links on which we only take.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tempfile::TempDir;

use super::harness::*;
use super::raw::*;
use crate::swarm::disk::part_file::Disk;
use crate::swarm::link::handshake::METADATA_ID;
use crate::swarm::{DownloadSpec, LocalCopy, TransferState, hash_file, hash_file_as, stamp_of};
use crate::types::FileFacts;
use crate::wire::peer::{MetadataMessage, PeerMessage, read_message};

const PIECE: usize = 512 << 10;

/// Has a station know of a file that should have a download's content; returns what the directory
/// would say of it.
fn put_copy(station: &Station, name: &str, data: &[u8]) -> FileFacts {
    let path = station.path(name);
    std::fs::write(&path, data).unwrap();
    let hashed = hash_file(&path, &mut |_| true).unwrap();
    station.host.copies.lock().push(LocalCopy { path, stamp: hashed.seed.stamp });
    facts(&hashed)
}

/// The same content under another name has another info hash.
fn renamed(station: &Station, data: &[u8], name: &str) -> FileFacts {
    let path = station.path(&format!("{name}.other"));
    std::fs::write(&path, data).unwrap();
    let hashed = hash_file_as(&path, name.parse().unwrap(), &mut |_| true).unwrap();
    std::fs::remove_file(&path).unwrap();
    facts(&hashed)
}

#[test]
fn what_is_here_under_another_name_is_copied_without_any_peer() {
    let station = Station::start(1);
    // One with a thread for the whole, one without, an odd length, and holes.
    let holes = [noise(PIECE, 1), vec![0; 9 * PIECE], noise(77, 2)].concat();
    for (i, data) in
        [noise((8 << 20) + 5, 3), noise(3, 4), noise(3 * PIECE, 5), holes].into_iter().enumerate()
    {
        put_copy(&station, &format!("first {i}"), &data);
        let facts = renamed(&station, &data, &format!("second {i}"));
        station.host.events.lock().clear();
        let transfer = station.fetch(&facts, &[]);
        let status = station.assert_complete(&transfer, &data);
        assert_eq!((status.received, status.peers), (0, 0));
        assert!(
            data.len() <= PIECE || station.host.metainfo.lock().contains_key(&facts.info_hash),
            "the metainfo is kept for the next start, unless it follows from the facts"
        );
        assert_eq!(
            std::fs::read(station.path(&format!("first {i}"))).unwrap(),
            data,
            "what was copied is as it was"
        );
    }
}

#[test]
fn only_good_pieces_of_a_copy_count_and_the_rest_is_fetched() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(16 * PIECE, 6);
    let facts = seeder.share("spoilt", &data);
    // It was noted as it is now, and yet is not what it should be: like a file that changes while
    // it is copied.
    let mut spoilt = data.clone();
    (spoilt[3 * PIECE], spoilt[9 * PIECE + 1]) = (!data[3 * PIECE], !data[9 * PIECE + 1]);
    let copy = leecher.path("copy");
    std::fs::write(&copy, &spoilt).unwrap();
    let stamp = stamp_of(&copy).unwrap();
    leecher.host.copies.lock().push(LocalCopy { path: copy.clone(), stamp });
    let known = hash_file(&seeder.path("spoilt"), &mut |_| true).unwrap().seed;
    let (metainfo, chain) = (Some(known.metainfo), known.chain);
    let spec = DownloadSpec { metainfo, chain, ..leecher.spec(&facts) };
    let transfer = leecher.engine.download(spec).unwrap();
    transfer.wait_until(PATIENCE, |status| status.state == TransferState::Downloading);
    assert_eq!(transfer.status().bytes_done, 14 * PIECE as u64);
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, seeder.address)]);
    let status = leecher.assert_complete(&transfer, &data);
    assert_eq!(status.received, 2 * PIECE as u64, "only what the copy did not have is fetched");
    assert_eq!(std::fs::read(copy).unwrap(), spoilt);
}

#[test]
fn a_file_that_is_not_what_was_noted_is_passed_over() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(4 * PIECE, 7);
    let facts = seeder.share("changed", &data);
    for name in ["rewritten", "gone", "a link", "shorter"] {
        put_copy(&leecher, name, &data);
    }
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    File::options()
        .write(true)
        .open(leecher.path("rewritten"))
        .unwrap()
        .set_modified(later)
        .unwrap();
    std::fs::remove_file(leecher.path("gone")).unwrap();
    std::fs::rename(leecher.path("a link"), leecher.path("there")).unwrap();
    std::os::unix::fs::symlink("there", leecher.path("a link")).unwrap();
    File::options().write(true).open(leecher.path("shorter")).unwrap().set_len(5).unwrap();
    let transfer = leecher.fetch(&facts, &[&seeder]);
    let status = leecher.assert_complete(&transfer, &data);
    assert_eq!(status.received, facts.len, "all of it is fetched");
}

/// A disk that takes nothing while it is shut.
#[derive(Default)]
struct Shut {
    /// Whether it is, and how many wait.
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Shut {
    fn set(&self, shut: bool) {
        self.state.lock().0 = shut;
        self.changed.notify_all();
    }
}

impl Disk for Shut {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.1 += 1;
        while state.0 {
            self.changed.wait(&mut state);
        }
        drop(state);
        file.write_all_at(bytes, offset)
    }
}

#[test]
fn a_copy_is_paused_resumed_and_cancelled_like_any_download() {
    let disk = Arc::new(Shut::default());
    let station = Station::start_with(1, disk.clone(), |_| {});
    let data = noise(20 * PIECE, 8);
    put_copy(&station, "first", &data);
    let facts = renamed(&station, &data, "second");
    for cancelled in [false, true] {
        disk.set(true);
        let waited = disk.state.lock().1;
        let transfer = station.fetch(&facts, &[]);
        eventually("a piece is about to be written", || disk.state.lock().1 > waited);
        assert_eq!(transfer.status().state, TransferState::Checking);
        assert!(transfer.pause());
        disk.set(false);
        eventually("the piece is written", || {
            transfer.why().state == TransferState::Paused(None) && written(&station, &facts)
        });
        assert!(disk.state.lock().1 <= waited + 1, "a paused download is copied on");
        if cancelled {
            assert!(transfer.cancel());
            eventually("what was copied is gone", || !station.part(&facts).exists());
        } else {
            assert!(transfer.resume());
            station.assert_complete(&transfer, &data);
            std::fs::remove_file(transfer.target()).unwrap();
            station.engine.unseed(facts.info_hash);
        }
    }
    assert!(!station.path("second").exists());
}

/// Whether the first piece of a download is in its `.part`.
fn written(station: &Station, facts: &FileFacts) -> bool {
    std::fs::read(station.part(facts))
        .is_ok_and(|bytes| bytes[..PIECE].iter().any(|byte| *byte != 0))
}

#[test]
fn where_the_disk_is_full_a_copy_fails_with_the_reason_and_goes_on_later() {
    struct Full(Mutex<bool>);
    impl Disk for Full {
        fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
            match offset > 0 && *self.0.lock() {
                true => Err(rustix::io::Errno::NOSPC.into()),
                false => file.write_all_at(bytes, offset),
            }
        }
    }
    let disk = Arc::new(Full(Mutex::new(true)));
    let station = Station::start_with(1, disk.clone(), |_| {});
    let data = noise(6 * PIECE, 9);
    put_copy(&station, "first", &data);
    let facts = renamed(&station, &data, "second");
    let transfer = station.fetch(&facts, &[]);
    let status = transfer.wait(PATIENCE);
    let TransferState::Failed(reason) = &status.state else { panic!("{status:?}") };
    assert!(reason.contains("No space left"), "{reason}");
    assert!(!station.path("second").exists());
    *disk.0.lock() = false;
    assert!(transfer.resume());
    station.assert_complete(&transfer, &data);
}

/// A file system of its own that knows reflinks, if one can be made here.
struct Btrfs(TempDir);

impl Btrfs {
    fn make() -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|e| e.to_string())?;
        let (image, place) = (directory.path().join("image"), directory.path().join("mounted"));
        std::fs::create_dir(&place)
            .and_then(|()| File::create(&image)?.set_len(256 << 20))
            .map_err(|e| e.to_string())?;
        let run = |program: &str, arguments: &[&std::ffi::OsStr]| {
            let output = Command::new(program)
                .args(arguments)
                .output()
                .map_err(|e| format!("{program}: {e}"))?;
            let said = || format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
            if output.status.success() { Ok(()) } else { Err(said()) }
        };
        run("mkfs.btrfs", &["-q".as_ref(), image.as_ref()])?;
        run("mount", &["-o".as_ref(), "loop".as_ref(), image.as_ref(), place.as_ref()])?;
        Ok(Self(directory))
    }
}

impl Drop for Btrfs {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path().join("mounted")).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()) || std::thread::panicking(),
            "the file system stays mounted"
        );
    }
}

#[test]
fn a_reflink_shares_the_blocks_and_is_checked_all_the_same() {
    let system = match Btrfs::make() {
        Ok(system) => system,
        Err(why) => return println!("no reflinks are tried: {why}"),
    };
    let station = Station::start(1);
    let place = system.0.path().join("mounted");
    let data = noise(32 << 20, 10);
    let path = place.join("first");
    std::fs::write(&path, &data).unwrap();
    let stamp = stamp_of(&path).unwrap();
    station.host.copies.lock().push(LocalCopy { path: path.clone(), stamp });
    let free = || rustix::fs::statvfs(&place).map(|room| room.f_bavail * room.f_frsize).unwrap();
    rustix::fs::syncfs(File::open(&place).unwrap()).unwrap();
    let before = free();
    let facts = renamed(&station, &data, "second");
    let spec = DownloadSpec { target: place.join("second"), ..station.spec(&facts) };
    let transfer = station.engine.download(spec).unwrap();
    station.assert_complete(&transfer, &data);
    rustix::fs::syncfs(File::open(&place).unwrap()).unwrap();
    assert!(
        before - free().min(before) < 16 << 20,
        "the copy took {} bytes of its own",
        before - free()
    );
    // Of a bad one the good pieces count, and a later write to the copy leaves the first as it was.
    let mut spoilt = data.clone();
    spoilt[5 * PIECE] = !data[5 * PIECE];
    std::fs::write(&path, &spoilt).unwrap();
    station.host.copies.lock().clear();
    station
        .host
        .copies
        .lock()
        .push(LocalCopy { path: path.clone(), stamp: stamp_of(&path).unwrap() });
    let seeder = Station::start(2);
    let third = seeder.share("third", &data);
    let metainfo = Some(hash_file(&seeder.path("third"), &mut |_| true).unwrap().seed.metainfo);
    let spec = DownloadSpec { target: place.join("third"), metainfo, ..station.spec(&third) };
    let transfer = station.engine.download(spec).unwrap();
    station.engine.add_peers(third.info_hash, [(seeder.device, seeder.address)]);
    assert_eq!(station.assert_complete(&transfer, &data).received, PIECE as u64);
    assert_eq!(std::fs::read(path).unwrap(), spoilt);
}

#[test]
fn in_a_group_that_is_only_a_source_nothing_is_given() {
    let (seeder, taker, other) = (Station::start(1), Station::start(2), Station::start(3));
    let data = noise(24 << 20, 11);
    let facts = seeder.share("taken", &data);
    taker.host.membership.lock().only_takes.insert(COMMON);
    // The other dials the taker alone: what it has by the end it has from there.
    let empty = other.fetch(&facts, &[&taker]);
    let transfer = taker.fetch(&facts, &[&seeder]);
    other.engine.add_peers(facts.info_hash, [(taker.device, taker.address)]);
    taker.assert_complete(&transfer, &data);
    assert_eq!((transfer.status().sent, empty.status().received), (0, 0));
    assert!(!empty.why().metainfo_known, "it has not even heard of the pieces");
    // The same device gives as soon as the group is more than a source.
    taker.host.membership.lock().only_takes.clear();
    taker.engine.end_links(|_| true);
    other.engine.add_peers(facts.info_hash, [(taker.device, taker.address)]);
    other.assert_complete(&empty, &data);
}

#[test]
fn whoever_asks_on_a_link_on_which_we_only_take_is_refused() {
    let taker = Station::start(1);
    let facts = taker.share("kept", &noise(4 * PIECE, 12));
    taker.host.membership.lock().only_takes.insert(COMMON);
    let own = device();
    let mut stream = enter(&taker, &own, 5, &facts);
    let part = MetadataMessage::Request { part: 0 }.encode();
    for asked in [PeerMessage::Interested, PeerMessage::Extended { id: METADATA_ID, payload: part }]
    {
        say(&mut stream, &asked).unwrap();
    }
    say(&mut stream, &PeerMessage::Request { piece: 0, begin: 0, len: 16 << 10 }).unwrap();
    let (mut block, mut part) = (false, false);
    while !(block && part) {
        match read_message(&mut stream).unwrap() {
            PeerMessage::Reject { piece: 0, .. } => block = true,
            PeerMessage::Extended { id: 9, payload } => {
                assert!(matches!(
                    MetadataMessage::decode(&payload),
                    Ok(MetadataMessage::Reject { part: 0 })
                ));
                part = true;
            }
            PeerMessage::Extended { .. } | PeerMessage::HaveNone | PeerMessage::KeepAlive => {}
            said => panic!("it says {said:?}"),
        }
    }
}
