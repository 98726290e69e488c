//! A whole client against a scripted tracker.

use std::path::Path;
use std::time::{Duration, Instant};

use super::trackers::tests::{Fake, usual};
use super::*;
use crate::store::{DeviceStore, ShareRow, ShareState};
use crate::swarm::hash_file;
use crate::types::{FileFacts, GroupId, Password, TrackerInfo, UserId};
use crate::wire::tracker::Request;

/// Notes a share of the user that scripted trackers log in.
fn put_share(store: &DeviceStore, path: &Path) {
    let hashed = hash_file(path, &mut |_| true).unwrap();
    let metainfo = &hashed.seed.metainfo;
    let (name, geometry) = (metainfo.name().clone(), metainfo.geometry());
    let (len, piece_len) = (geometry.len(), geometry.piece_len());
    store.put_metainfo(metainfo).unwrap();
    let row = ShareRow {
        user: UserId::from_bytes([5; 16]),
        group: GroupId::from_bytes([6; 16]),
        group_label: "lab".parse().unwrap(),
        label: name.as_str().parse().unwrap(),
        facts: FileFacts { info_hash: metainfo.info_hash(), name, len, piece_len, sha1: hashed.sha1 },
        path: path.to_owned(),
        stamp: hashed.seed.stamp,
        state: ShareState::Offered,
    };
    store.put_share(&row).unwrap();
}

#[test]
fn the_shares_of_a_device_are_announced_together_at_login() {
    const SHARES: usize = 40;
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    {
        let store = DeviceStore::open(&data_dir).unwrap();
        for number in 0..SHARES {
            let path = dir.path().join(format!("{number}.bin"));
            std::fs::write(&path, number.to_string()).unwrap();
            put_share(&store, &path);
        }
    }
    let fake = Fake::start(usual);
    let trackers = TrackerInfo::parse(&fake.address.to_string()).unwrap();
    let config = ClientConfig { data_dir, ..ClientConfig::new("127.0.0.1:0".parse().unwrap(), trackers) };
    let client = Client::start(config).unwrap();
    client.login("nik", Password::new("pw".into()).unwrap()).unwrap();
    assert_eq!(client.show_uploads().unwrap().len(), SHARES);
    let announced = || -> Vec<usize> {
        let asked = fake.asked().into_iter();
        asked.filter_map(|r| if let Request::Announce { entries } = r { Some(entries.len()) } else { None }).collect()
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while announced().iter().sum::<usize>() < SHARES {
        assert!(Instant::now() < deadline, "only {:?} were announced", announced());
        std::thread::park_timeout(Duration::from_millis(2));
    }
    assert!(announced().len() <= 2, "a message a share fills a tracker's queue: {:?}", announced());
}
