//! How much a member may take: of links, of our attention, of time; and how soon it is over when it
//! is.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::harness::*;
use super::raw::*;
use crate::swarm::disk::part_file::SystemDisk;
use crate::wire::Wire;
use crate::wire::peer::{MetadataMessage, PeerMessage, read_message};

/// Writes the same again and again until the other end has closed; says how often.
fn flood(stream: &mut Stream, bytes: &[u8]) -> usize {
    let batch = bytes.repeat(100);
    let mut sent = 0;
    let started = Instant::now();
    while stream.get_mut().write_all(&batch).is_ok() {
        sent += 100;
        assert!(started.elapsed() < PATIENCE, "{sent} of them did not end the link");
    }
    sent
}

#[test]
fn one_member_takes_no_more_than_half_of_the_links() {
    let seeder = Station::start_with(1, Arc::new(SystemDisk), |config| config.links_max = 20);
    let files: Vec<_> = (0..12u8).map(|i| seeder.share(&format!("file {i}"), &[i; 100])).collect();
    let devices = [device(), device()];
    let enter = |i: usize, owner: u8, from: [u8; 4]| {
        let device = &devices[i % 2];
        let stream = dial_from(&seeder, device, Some(IpAddr::from(from)));
        try_enter(
            stream,
            device,
            &files[i],
            &ticket(COMMON, user(owner), device.device(), PATIENCE),
        )
    };
    let held: Vec<_> =
        (0..10).map(|i| enter(i, 5, [127, 0, 0, 2 + i as u8 % 2]).unwrap()).collect();
    assert!(enter(10, 5, [127, 0, 0, 4]).is_none(), "the user has half of them");
    let (other, shown) = (device(), ticket(COMMON, user(6), devices[0].device(), PATIENCE));
    let stream = dial_from(&seeder, &other, Some(IpAddr::from([127, 0, 0, 4])));
    assert!(
        try_enter(stream, &other, &files[0], &shown).is_none(),
        "another's ticket does not help"
    );
    let stream = dial_from(&seeder, &other, Some(IpAddr::from([127, 0, 0, 4])));
    let shown = ticket(COMMON, user(6), other.device(), PATIENCE);
    assert!(try_enter(stream, &other, &files[0], &shown).is_some(), "another user gets in");
    drop(held);
    eventually("they are given back", || enter(10, 5, [127, 0, 0, 2]).is_some());
}

#[test]
fn one_address_takes_no_more_than_half_of_the_links_and_ours_have_room() {
    let station = Station::start_with(1, Arc::new(SystemDisk), |config| config.links_max = 20);
    let facts = station.share("crowded", b"crowded");
    let enter = |owner: u8, from: [u8; 4]| {
        let device = device();
        let stream = dial_from(&station, &device, Some(IpAddr::from(from)));
        try_enter(stream, &device, &facts, &ticket(COMMON, user(owner), device.device(), PATIENCE))
    };
    let held: Vec<_> = (0..10).map(|i| enter(10 + i, [127, 0, 0, 2]).unwrap()).collect();
    assert!(enter(50, [127, 0, 0, 2]).is_none(), "the address has half of them");
    let more: Vec<_> = (0..5).map(|i| enter(30 + i, [127, 0, 0, 3]).unwrap()).collect();
    assert!(enter(60, [127, 0, 0, 4]).is_none(), "three in four are taken");
    let seeder = Station::start(2);
    let data = noise(1 << 20, 1);
    let wanted = seeder.share("wanted", &data);
    let transfer = station.fetch(&wanted, &[&seeder]);
    station.assert_complete(&transfer, &data);
    drop((held, more));
}

#[test]
fn a_hundred_thousand_tickets_cost_a_handful_of_checks() {
    let seeder = Station::start(1);
    let facts = seeder.share("shown", b"shown");
    let own = device();
    let mut stream = enter(&seeder, &own, 5, &facts);
    let newer = ticket(COMMON, user(5), own.device(), PATIENCE);
    let message = PeerMessage::Extended { id: 2, payload: newer.to_bytes() }.to_bytes();
    flood(&mut stream, &message);
    let checks = seeder.host.checks.load(Ordering::SeqCst);
    assert!(checks <= 8, "{checks} tickets were looked at");
}

#[test]
fn who_asks_for_the_metainfo_for_ever_or_talks_without_end_is_cut_off() {
    let seeder = Station::start(1);
    let facts = seeder.share("described", b"described");
    let own = device();
    let part =
        PeerMessage::Extended { id: 1, payload: MetadataMessage::Request { part: 0 }.encode() };
    let mut stream = enter(&seeder, &own, 5, &facts);
    for _ in 0..1_000 {
        let _ = say(&mut stream, &part);
    }
    let mut answers = 0;
    while let Ok(message) = read_message(&mut stream) {
        answers += usize::from(matches!(message, PeerMessage::Extended { id: 9, .. }));
    }
    assert!(answers < 100, "{answers} parts were served");
    let toggled =
        [PeerMessage::Interested.to_bytes(), PeerMessage::NotInterested.to_bytes()].concat();
    for bytes in [
        toggled,
        PeerMessage::Have(0).to_bytes(),
        PeerMessage::Request { piece: 9, begin: 0, len: 1 }.to_bytes(),
    ] {
        flood(&mut enter(&seeder, &own, 5, &facts), &bytes);
    }
}

#[test]
fn silence_may_be_long_but_a_message_that_has_begun_must_go_on() {
    const TIMEOUT: Duration = Duration::from_millis(500);
    let seeder =
        Station::start_with(1, Arc::new(SystemDisk), |config| config.message_timeout = TIMEOUT);
    let facts = seeder.share("slow", &noise(1 << 20, 1));
    let (quiet, slow) = (device(), device());
    let mut silent = enter(&seeder, &quiet, 5, &facts);
    let mut dripping = enter(&seeder, &slow, 6, &facts);
    let started = Instant::now();
    let bytes = PeerMessage::Bitfield(vec![0; 1]).to_bytes();
    dripping.get_mut().write_all(&bytes[..5]).unwrap();
    rest(&mut dripping);
    let took = started.elapsed();
    assert!(
        took >= TIMEOUT && took < TIMEOUT + Duration::from_secs(5),
        "it was cut off after {took:?}"
    );
    // The other said nothing for as long, and is served.
    say(&mut silent, &PeerMessage::Interested).unwrap();
    while read_message(&mut silent).unwrap() != PeerMessage::Unchoke {}
    say(&mut silent, &PeerMessage::Request { piece: 0, begin: 0, len: 10 }).unwrap();
    while !matches!(read_message(&mut silent).unwrap(), PeerMessage::Piece { .. }) {}
}

/// A link whose writer is stuck, with megabytes on their way in the system: all of it stops.
#[test]
fn an_ended_link_is_over_within_a_second_and_what_is_under_way_is_thrown_away() {
    let seeder = Station::start(1);
    let facts = seeder.share("removed", &noise(64 << 20, 2));
    let own = device();
    let mut stream = enter(&seeder, &own, 5, &facts);
    say(&mut stream, &PeerMessage::Interested).unwrap();
    while read_message(&mut stream).unwrap() != PeerMessage::Unchoke {}
    for piece in 0..128 {
        say(&mut stream, &PeerMessage::Request { piece, begin: 0, len: 512 << 10 }).unwrap();
    }
    eventually("data flows", || seeder.engine.uploads()[0].sent > 0);
    let started = Instant::now();
    seeder.engine.end_links(|link| link.proof.user == user(6));
    assert_eq!(seeder.engine.uploads()[0].peers, 1, "another's links are not concerned");
    seeder.engine.end_links(|link| link.proof.user == user(5));
    eventually("the link is gone", || seeder.engine.link_count() == 0);
    let took = started.elapsed();
    println!("the link was over after {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    let sent = seeder.engine.uploads()[0].sent;
    let mut got = 0;
    let end = loop {
        match stream.read(&mut [0; 65_536]) {
            Ok(0) => break None,
            Ok(len) => got += len,
            Err(e) => break Some(e.kind()),
        }
    };
    assert_eq!(
        end,
        Some(io::ErrorKind::ConnectionReset),
        "what the system had not sent went on its way"
    );
    assert_eq!(seeder.engine.uploads()[0].sent, sent, "and nothing more was sent");
    assert!(got < 64 << 20, "{got} bytes");
}

/// The same at the receiving end: a piece that is half here stays half.
#[test]
fn an_ended_link_brings_nothing_more() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let facts = seeder.share("left", &noise(256 << 20, 3));
    let transfer = leecher.fetch(&facts, &[&seeder]);
    transfer.wait_until(PATIENCE, |status| status.received > 1 << 20);
    leecher.host.membership.lock().groups.clear();
    leecher.engine.remove_peer(facts.info_hash, seeder.device);
    let started = Instant::now();
    leecher.engine.end_links(|_| true);
    eventually("the links are gone", || {
        leecher.engine.link_count() == 0 && seeder.engine.link_count() == 0
    });
    let took = started.elapsed();
    println!("both ends were over after {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    let received = transfer.status().received;
    assert!(received < 256 << 20);
    assert_eq!(transfer.status().received, received);
}
