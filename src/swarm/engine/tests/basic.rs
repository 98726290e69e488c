//! Files of every size, from one and several members.

use std::sync::Arc;

use super::harness::*;
use crate::swarm::{EngineEvent, TransferState};

#[test]
fn files_of_every_size_arrive_from_one_seeder() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    for (i, len) in [0usize, 1, 512 << 10, (512 << 10) + 1, 5_000_000].into_iter().enumerate() {
        let data = noise(len, i as u64);
        let facts = seeder.share(&format!("file {i}"), &data);
        let transfer = leecher.fetch(&facts, &[&seeder]);
        leecher.assert_complete(&transfer, &data);
        assert!(!leecher.part(&facts).exists());
    }
}

#[test]
fn two_seeders_share_the_work() {
    let (a, b, leecher) = (Station::start(1), Station::start(2), Station::start(3));
    let data = noise(64 << 20, 7);
    let facts = a.share("both", &data);
    assert_eq!(b.share("both", &data), facts);
    let transfer = leecher.fetch(&facts, &[&a, &b]);
    leecher.assert_complete(&transfer, &data);
    let sent = |station: &Station| station.engine.uploads()[0].sent;
    assert!(sent(&a) > 0 && sent(&b) > 0, "{} and {} bytes", sent(&a), sent(&b));
}

#[test]
fn leechers_trade_what_they_have() {
    let stations: Vec<Station> = (1..=4).map(Station::start).collect();
    let data = noise(20 << 20, 3);
    let facts = stations[0].share("traded", &data);
    let transfers: Vec<_> = stations[1..]
        .iter()
        .map(|station| station.fetch(&facts, &stations.iter().collect::<Vec<_>>()))
        .collect();
    for (station, transfer) in stations[1..].iter().zip(&transfers) {
        station.assert_complete(transfer, &data);
    }
    let from_leechers: u64 = transfers.iter().map(|transfer| transfer.status().sent).sum();
    assert!(from_leechers > 0, "leechers gave each other nothing");
}

#[test]
fn a_partial_peer_serves_what_it_has_when_the_seeder_is_gone() {
    let (mut seeder, middle, last) = (Station::start(1), Station::start(2), Station::start(3));
    let data = noise(8 << 20, 9);
    let facts = seeder.share("chain", &data);
    let first = middle.fetch(&facts, &[&seeder]);
    middle.assert_complete(&first, &data);
    seeder.stop();
    let second = last.fetch(&facts, &[&middle, &seeder]);
    last.assert_complete(&second, &data);
    assert_eq!(second.why().state, TransferState::Complete);
}

#[test]
fn a_stranger_is_refused_before_anything_is_said() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    // Of several pieces: the metainfo of one piece follows from the facts.
    let data = noise(1 << 20, 7);
    let facts = seeder.share("secret", &data);
    seeder.host.membership.lock().groups.clear();
    let transfer = leecher.fetch(&facts, &[&seeder]);
    eventually("the refusal is noticed", || !transfer.why().unreachable.is_empty());
    assert_eq!(transfer.status().state, TransferState::Metainfo);
    seeder.host.membership.lock().groups.insert(COMMON);
    leecher.assert_complete(&transfer, &data);
}

#[test]
fn pause_stops_and_resume_goes_on() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(30 << 20, 5);
    let facts = seeder.share("paused", &data);
    let transfer = leecher.fetch(&facts, &[]);
    assert!(transfer.pause() && !transfer.pause());
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, seeder.address)]);
    assert_eq!(transfer.status().state, TransferState::Paused(None));
    assert_eq!(leecher.engine.link_count(), 0);
    assert!(transfer.resume() && !transfer.resume());
    transfer.wait_until(PATIENCE, |status| status.bytes_done > 0);
    transfer.pause();
    eventually("links are closed", || leecher.engine.link_count() == 0);
    transfer.resume();
    leecher.assert_complete(&transfer, &data);
}

#[test]
fn cancel_removes_the_part_and_nothing_else() {
    let leecher = Station::start(2);
    let seeder = Station::start(1);
    let facts = seeder.share("unwanted", &noise(3 << 20, 1));
    let transfer = leecher.fetch(&facts, &[]);
    eventually("the part is made", || leecher.part(&facts).exists());
    std::fs::write(leecher.path("bystander"), b"stays").unwrap();
    assert!(transfer.cancel() && !transfer.cancel());
    assert_eq!(transfer.wait(PATIENCE).state, TransferState::Cancelled);
    eventually("the part is gone", || !leecher.part(&facts).exists());
    assert!(leecher.path("bystander").exists());
    assert!(leecher.engine.transfer(facts.info_hash).is_none());
    // And it can be begun again.
    let again = leecher.fetch(&facts, &[&seeder]);
    assert_eq!(again.wait(PATIENCE).state, TransferState::Complete);
}

/// Time passes for a download of what was just cancelled, whatever is left of the cancelled one.
#[test]
fn a_download_begun_right_after_a_cancel_is_not_forgotten() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(8 << 20, 6);
    let facts = seeder.share("again", &data);
    let torrents = &leecher.engine.torrents;
    let first = leecher.fetch(&facts, &[&seeder]);
    eventually("it is linked", || leecher.engine.link_count() > 0);
    let old = torrents.get(facts.info_hash).unwrap();
    // Until the timer has looked, it is still one for which time passes, with links or without.
    assert!(first.cancel());
    let again = leecher.fetch(&facts, &[&seeder]);
    let new = torrents.get(facts.info_hash).unwrap();
    assert!(!Arc::ptr_eq(&old, &new));
    old.deactivate();
    assert!(
        torrents.active().iter().any(|torrent| Arc::ptr_eq(torrent, &new)),
        "no time passes for it"
    );
    leecher.assert_complete(&again, &data);
}

#[test]
fn what_is_seeded_already_is_copied() {
    let station = Station::start(1);
    let data = noise(4 << 20, 2);
    let facts = station.share("twice", &data);
    let mut spec = station.spec(&facts);
    spec.target = station.path("copy of twice");
    let transfer = station.engine.download(spec).unwrap();
    let status = station.assert_complete(&transfer, &data);
    assert_eq!(status.received, 0);
}

#[test]
fn a_file_that_changed_is_not_offered_any_more() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let facts = seeder.share("changing", &noise(2 << 20, 4));
    std::fs::write(seeder.path("changing"), noise(3 << 20, 5)).unwrap();
    let transfer = leecher.fetch(&facts, &[&seeder]);
    let changed = || {
        seeder
            .host
            .events
            .lock()
            .iter()
            .any(|event| matches!(event, EngineEvent::FileChanged { .. }))
    };
    eventually("the change is noticed", changed);
    assert!(seeder.engine.uploads().is_empty());
    assert!(!transfer.status().state.has_ended());
}

#[test]
fn two_devices_that_dial_each_other_keep_one_link() {
    let (maker, a, b) = (Station::start(1), Station::start(2), Station::start(3));
    let data = noise(2 << 20, 8);
    let facts = maker.share("mutual", &data);
    let (x, y) = (a.fetch(&facts, &[&b]), b.fetch(&facts, &[&a]));
    for _ in 0..20 {
        // Told again and again, as trackers do.
        a.engine.add_peers(facts.info_hash, [(b.device, b.address), (a.device, a.address)]);
        b.engine.add_peers(facts.info_hash, [(a.device, a.address)]);
        std::thread::yield_now();
    }
    let settled = || {
        x.status().peers == 1
            && y.status().peers == 1
            && a.engine.link_count() == 1
            && b.engine.link_count() == 1
    };
    eventually("one link is left", settled);
    a.engine.add_peers(facts.info_hash, [(maker.device, maker.address)]);
    a.assert_complete(&x, &data);
    b.assert_complete(&y, &data);
    assert!(
        maker.engine.uploads()[0].sent_to.iter().all(|(device, _)| *device == a.device),
        "b had it from a"
    );
}

#[test]
fn a_dropped_engine_ends_by_itself() {
    let transport = crate::net::Transport::Tls(device());
    let host = std::sync::Arc::new(Recorder::new(transport.device(), 9));
    let engine =
        crate::swarm::Engine::start(crate::swarm::EngineConfig::new(transport), host.clone())
            .unwrap();
    drop(engine);
    eventually("the threads let go of the host", || std::sync::Arc::strong_count(&host) == 1);
}

#[test]
fn time_passes_only_for_files_that_have_something_to_do() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let shared: Vec<_> = (0..100)
        .map(|number| seeder.share(&format!("idle {number}"), &noise(1000, number)))
        .collect();
    assert_eq!(seeder.engine.torrents.active().len(), 0);
    let data = noise(3 << 20, 200);
    let facts = seeder.share("wanted", &data);
    let transfer = leecher.fetch(&facts, &[&seeder]);
    leecher.assert_complete(&transfer, &data);
    eventually("both rest", || {
        [&seeder, &leecher].iter().all(|station| station.engine.torrents.active().is_empty())
    });
    let again = leecher.fetch(&shared[7], &[&seeder]);
    leecher.assert_complete(&again, &noise(1000, 7));
}

#[test]
fn a_download_that_was_given_up_is_forgotten() {
    let (mut seeder, leecher) = (Station::start(1), Station::start(2));
    let facts = seeder.share("gone", &noise(3 << 20, 201));
    seeder.stop();
    let transfer = leecher.fetch(&facts, &[&seeder]);
    eventually("it waits for somebody", || transfer.status().state != TransferState::Checking);
    assert_eq!(leecher.engine.torrents.active().len(), 1);
    assert!(transfer.cancel());
    eventually("it is forgotten", || leecher.engine.torrents.active().is_empty());
}
