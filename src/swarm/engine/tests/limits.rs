//! Limits between real engines. What is asserted is what must not be exceeded, however slow the
//! machine is; never how fast it is.

use std::time::{Duration, Instant};

use super::harness::*;
use crate::swarm::disk::part_file::SystemDisk;
use crate::swarm::{EngineConfig, Limits, Transfer, TransferState};
use crate::types::Rate;

const MB: u64 = 1_000_000;
/// Bytes that may go before a limit is felt: what it saves up in a tenth of a second, and a
/// portion.
fn slack(rate: u64) -> u64 {
    rate / 10 + (512 << 10) + 1000
}

fn rate(bytes: u64) -> Option<Rate> {
    Some(Rate::new(bytes).unwrap())
}

fn limited(number: u8, limits: Limits) -> Station {
    Station::start_with(number, std::sync::Arc::new(SystemDisk), |config: &mut EngineConfig| {
        config.limits = limits
    })
}

/// The least time in which so much may have gone at a rate.
fn least(bytes: u64, rate: u64) -> Duration {
    Duration::from_secs_f64(bytes.saturating_sub(slack(rate)) as f64 / rate as f64)
}

#[test]
fn what_is_sent_keeps_to_the_limit_whoever_gets_it() {
    let seeder = limited(1, Limits { upload: rate(4 * MB), download: None });
    let leechers = [Station::start(2), Station::start(3)];
    let data = noise(3 << 20, 61);
    let facts = seeder.share("limited", &data);
    let begun = Instant::now();
    let transfers = leechers.each_ref().map(|leecher| leecher.fetch(&facts, &[&seeder]));
    for (leecher, transfer) in leechers.iter().zip(&transfers) {
        leecher.assert_complete(transfer, &data);
    }
    let sent = seeder.engine.uploads()[0].sent;
    assert!(sent >= 2 * data.len() as u64);
    assert!(begun.elapsed() >= least(sent, 4 * MB), "{sent} bytes went in {:?}", begun.elapsed());
}

#[test]
fn what_is_fetched_keeps_to_the_limit_of_all_and_to_its_own() {
    let seeder = Station::start(1);
    let leecher = limited(2, Limits { upload: None, download: rate(5 * MB) });
    let data = [62, 63].map(|seed| noise(4 << 20, seed));
    let facts = [seeder.share("own", &data[0]), seeder.share("all", &data[1])];
    let begun = Instant::now();
    let own = leecher.fetch(&facts[0], &[]);
    own.set_limit(rate(MB));
    leecher.engine.add_peers(facts[0].info_hash, [(seeder.device, seeder.address)]);
    let all = leecher.fetch(&facts[1], &[&seeder]);
    leecher.assert_complete(&all, &data[1]);
    let (status, took) = (own.status(), begun.elapsed());
    assert!(took >= least(data[1].len() as u64 + status.received, 5 * MB), "{took:?}");
    assert!(
        status.received <= slack(MB) + (took.as_secs_f64() * MB as f64) as u64,
        "{} bytes in {took:?}",
        status.received
    );
    // Freed from its own it still keeps to that of all.
    own.set_limit(rate(1000 * MB));
    leecher.assert_complete(&own, &data[0]);
    leecher.engine.set_limits(Limits::default());
    let forgotten = || {
        all.set_limit(rate(MB));
        let limits = |download: &Transfer| {
            download.torrent.services.limiter.download.limits(download.info_hash())
        };
        !limits(&own) && !limits(&all)
    };
    eventually("nothing is left of the limit of a download that is over", forgotten);
    assert!(begun.elapsed() >= least(8 << 20, 5 * MB), "{:?}", begun.elapsed());
}

#[test]
fn a_limit_is_divided_evenly_among_downloads() {
    let seeders = [Station::start(1), Station::start(2)];
    let leecher = limited(3, Limits { upload: None, download: rate(4 * MB) });
    let data = [64, 65].map(|seed| noise(4 << 20, seed));
    let facts = [seeders[0].share("one", &data[0]), seeders[1].share("other", &data[1])];
    let transfers =
        [leecher.fetch(&facts[0], &[&seeders[0]]), leecher.fetch(&facts[1], &[&seeders[1]])];
    // Whichever is complete first, the other has about as much: they had the same all the while.
    eventually("one is complete", || {
        transfers.iter().any(|transfer| transfer.status().state == TransferState::Complete)
    });
    let received = transfers.each_ref().map(|transfer| transfer.status().received);
    assert!(received.iter().all(|bytes| *bytes >= 2 << 20), "{received:?}");
    transfers
        .iter()
        .zip(&data)
        .for_each(|(transfer, data)| drop(leecher.assert_complete(transfer, data)));
}

#[test]
fn a_limit_that_is_changed_or_lifted_counts_at_once() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let least = Limits { upload: rate(10_000), download: rate(10_000) };
    for (slow, file) in [(&seeder, "up"), (&leecher, "down")] {
        slow.engine.set_limits(least);
        let data = noise(8 << 20, file.len() as u64);
        let facts = seeder.share(file, &data);
        let transfer = leecher.fetch(&facts, &[&seeder]);
        eventually("it has begun", || transfer.status().unchoked > 0);
        // A limit of its own, of a hundred times that, does not help it.
        transfer.set_limit(rate(MB));
        assert!(transfer.status().bytes_done < data.len() as u64 / 2);
        if file == "down" {
            eventually("it is told why", || transfer.why().limit == rate(10_000));
        }
        assert_eq!(slow.engine.limits(), least);
        slow.engine.set_limits(Limits::default());
        transfer.set_limit(None);
        leecher.assert_complete(&transfer, &data);
        assert_eq!(transfer.why().limit, None);
    }
}

/// Haves, keep-alives and whatever else a link has to say do not wait for blocks that may not go
/// yet; and a seeder that waits for its limit stops when it is told to.
#[test]
fn an_engine_at_its_limit_can_be_paused_shelved_and_stopped() {
    let mut seeder = limited(1, Limits { upload: rate(50_000), download: None });
    let leecher = Station::start(2);
    let data = noise(4 << 20, 66);
    let facts = seeder.share("slow", &data);
    let transfer = leecher.fetch(&facts, &[&seeder]);
    eventually("it is served", || {
        seeder.engine.uploads()[0].sent > 0 || transfer.status().unchoked > 0
    });
    assert!(transfer.pause());
    eventually("its links are closed", || {
        leecher.engine.link_count() == 0 && seeder.engine.link_count() == 0
    });
    let received = transfer.status().received;
    assert!(transfer.resume() && transfer.shelve() && transfer.shelve());
    assert_eq!(transfer.status().state, TransferState::Paused(None));
    eventually("its links are closed", || leecher.engine.link_count() == 0);
    assert!(transfer.resume());
    seeder.engine.set_limits(Limits { upload: rate(20 * MB), download: None });
    leecher.assert_complete(&transfer, &data);
    assert!(transfer.status().received >= received);
    // One that waits for hours' worth of its limit ends at once.
    seeder.engine.set_limits(Limits { upload: rate(10_000), download: None });
    let more = noise(1 << 20, 67);
    let facts = seeder.share("slower", &more);
    let transfer = leecher.fetch(&facts, &[&seeder]);
    eventually("it is unchoked", || transfer.status().unchoked > 0);
    seeder.stop();
}

/// A download that was put away while it waited goes on from what it had, and fetches nothing of
/// that again.
#[test]
fn what_is_shelved_keeps_what_it_has() {
    let (seeder, leecher) =
        (Station::start(1), limited(2, Limits { upload: None, download: rate(2 * MB) }));
    let data = noise(4 << 20, 68);
    let facts = seeder.share("shelved", &data);
    let transfer = leecher.fetch(&facts, &[&seeder]);
    let done = transfer.wait_until(PATIENCE, |status| status.bytes_done >= 1 << 20).bytes_done;
    assert!(transfer.shelve());
    assert!(leecher.part(&facts).exists() && transfer.status().bytes_done >= done);
    leecher.engine.set_limits(Limits::default());
    assert!(transfer.resume());
    leecher.assert_complete(&transfer, &data);
    let again = seeder.engine.uploads()[0].sent.saturating_sub(data.len() as u64);
    assert!(again < done, "{again} bytes were fetched twice");
}
