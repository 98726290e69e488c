//! What is shown of links and pieces, also while data moves and while the disk hangs.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::harness::*;
use crate::swarm::disk::part_file::Disk;
use crate::swarm::{Limits, LinkPicture, PieceMap};
use crate::types::{InfoHash, Rate};

const RATE: u64 = 2_000_000;

fn the_link(station: &Station, info_hash: InfoHash) -> LinkPicture {
    let mut links = station.engine.link_pictures(info_hash);
    assert_eq!(links.len(), 1);
    links.remove(0)
}

/// The sums over a map: verified, partial, requested.
fn sums(map: &PieceMap) -> (u32, u32, u32) {
    map.buckets.iter().fold((0, 0, 0), |(have, partial, requested), bucket| {
        (have + bucket.have, partial + bucket.partial, requested + bucket.requested)
    })
}

#[test]
fn both_ends_show_who_gives_whom_how_much() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let upload = Some(Rate::new(RATE).unwrap());
    seeder.engine.set_limits(Limits { upload, download: None });
    let data = noise(12 << 20, 1);
    let facts = seeder.share("shown", &data);
    let id = facts.info_hash;
    let transfer = leecher.fetch(&facts, &[&seeder]);
    transfer.wait_until(PATIENCE, |status| status.bytes_done > 3 << 20);
    let near = |rate: u64| (RATE / 2..RATE * 2).contains(&rate);
    eventually("rates of both ends", || {
        near(the_link(&leecher, id).received_per_second)
            && near(the_link(&seeder, id).sent_per_second)
            && near(leecher.engine.traffic().received_per_second)
            && near(seeder.engine.traffic().sent_per_second)
    });
    let down = the_link(&leecher, id);
    assert_eq!((down.device, down.user, down.group), (seeder.device, user(1), COMMON));
    assert_eq!((down.address, down.is_dialled), (seeder.address, true));
    assert_eq!(down.pieces, Some(24));
    assert!(down.is_interested && !down.is_choked && down.requests > 0, "{down:?}");
    assert!(down.received > 3 << 20 && down.sent_per_second == 0 && !down.is_peer_interested);
    let up = the_link(&seeder, id);
    assert_eq!((up.device, up.user, up.is_dialled), (leecher.device, user(2), false));
    assert!(up.is_peer_interested && !up.is_peer_choked && !up.is_interested, "{up:?}");
    assert!(up.sent > 3 << 20, "{up:?}");
    assert!(up.pieces.is_some_and(|pieces| (5..24).contains(&pieces)), "{up:?}");
    assert!(seeder.engine.uploads()[0].sent_per_second > 0);

    let map = leecher.engine.piece_map(id).unwrap();
    let (have, partial, requested) = sums(&map);
    assert_eq!((map.pieces, map.bucket_len, map.buckets.len()), (24, 1, 24));
    assert!(have >= 6 && partial + requested > 0 && have + partial + requested <= 24, "{map:?}");
    assert!(map.knows_availability);
    assert!(map.buckets.iter().all(|bucket| bucket.availability == 1));
    let offered = seeder.engine.piece_map(id).unwrap();
    assert_eq!(sums(&offered), (24, 0, 0));
    assert!(!offered.knows_availability);

    // When nothing has moved for 2 s nothing is claimed, and the totals stay.
    transfer.pause();
    eventually("no rate is claimed", || {
        let (down, up) = (leecher.engine.traffic(), seeder.engine.traffic());
        down.received_per_second == 0 && up.sent_per_second == 0
    });
    assert!(leecher.engine.traffic().received > 3 << 20);
    assert!(seeder.engine.traffic().sent >= leecher.engine.traffic().received);
    let paused = leecher.engine.piece_map(id).unwrap();
    assert!(sums(&paused).0 >= have);
    assert!(paused.buckets.iter().all(|bucket| bucket.partial + bucket.requested == 0));
    assert!(leecher.engine.piece_map(InfoHash::from_bytes([9; 20])).is_none());
}

/// A disk that hangs in a write until it is let go.
#[derive(Default)]
struct HungDisk {
    is_free: Mutex<bool>,
    changed: Condvar,
}

impl Disk for HungDisk {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut is_free = self.is_free.lock();
        while !*is_free {
            self.changed.wait(&mut is_free);
        }
        drop(is_free);
        file.write_all_at(bytes, offset)
    }
}

#[test]
fn a_download_whose_disk_hangs_shows_what_is_known() {
    let disk = Arc::new(HungDisk::default());
    let (seeder, leecher) = (Station::start(1), Station::start_with(2, disk.clone(), |_| {}));
    let data = noise(4 << 20, 1);
    let facts = seeder.share("hung", &data);
    let transfer = leecher.fetch(&facts, &[&seeder]);
    transfer.wait_until(PATIENCE, |status| status.received >= 1 << 20);
    let asked = Instant::now();
    let link = the_link(&leecher, facts.info_hash);
    let map = leecher.engine.piece_map(facts.info_hash).unwrap();
    assert!(asked.elapsed() < Duration::from_secs(2));
    assert!(link.received >= 1 << 20);
    let (have, partial, _) = sums(&map);
    assert!(have == 0 && partial > 0, "{map:?}");
    *disk.is_free.lock() = true;
    disk.changed.notify_all();
    leecher.assert_complete(&transfer, &data);
}
