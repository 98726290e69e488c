//! Chaining values between engines: they come before any piece, prove every piece, and a false one
//! is blamed on the right one.

use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use super::evil::{Peer, fetch_from, hashed, seed};
use super::harness::*;
use super::raw::*;
use crate::swarm::link::handshake::CHAIN_ID;
use crate::swarm::{DownloadSpec, EngineEvent, SeedSpec, TransferState};
use crate::types::{Bitfield, ChainingValues, FileFacts, Rate, Sha1Digest, VerifiedPieces};
use crate::wire::peer::{
    EXTENDED_HANDSHAKE_ID, ExtendedHandshake, MetadataMessage, PeerMessage, read_message,
};

fn completed(station: &Station) -> SeedSpec {
    let seed = |event: &EngineEvent| match event {
        EngineEvent::Completed { seed, .. } => Some(seed.clone()),
        _ => None,
    };
    station.host.events.lock().iter().find_map(seed).unwrap()
}

/// A list with one bit changed, in the value behind the piece.
fn spoilt(known: &SeedSpec, piece: usize) -> Arc<ChainingValues> {
    let mut bytes = known.chain.as_ref().unwrap().as_bytes().to_vec();
    bytes[piece * ChainingValues::VALUE_LEN + 7] ^= 4;
    Arc::new(ChainingValues::from_bytes(&bytes).unwrap())
}

#[test]
fn the_list_comes_from_a_member_and_is_handed_on() {
    let (mut seeder, middle, last) = (Station::start(1), Station::start(2), Station::start(3));
    let data = noise((8 << 20) + 33, 1);
    let facts = seeder.share("proven", &data);
    middle.assert_complete(&middle.fetch(&facts, &[&seeder]), &data);
    let values = middle.host.chains.lock()[&facts.info_hash].clone();
    assert_eq!(Some(values.hash()), facts.chain);
    assert_eq!(completed(&middle).chain, Some(values));
    seeder.stop();
    last.assert_complete(&last.fetch(&facts, &[&middle]), &data);
    assert!(last.host.chains.lock().contains_key(&facts.info_hash));
}

#[test]
fn who_sends_a_false_list_is_banned_before_any_piece_is_asked_for() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(4 << 20, 2);
    let (facts, known) = hashed(&seeder, "listed", &data);
    let (false_list, bytes, chain) = (spoilt(&known, 3), data.clone(), facts.chain);
    let liar = Peer::start(66, &facts, move |stream| {
        let told = ExtendedHandshake { chain_id: Some(9), chain, ..ExtendedHandshake::default() };
        let id = EXTENDED_HANDSHAKE_ID;
        say(stream, &PeerMessage::Extended { id, payload: told.encode() })?;
        say(stream, &PeerMessage::HaveAll)?;
        say(stream, &PeerMessage::Unchoke)?;
        loop {
            match read_message(stream).ok()? {
                PeerMessage::Extended { id: 9, payload } => {
                    let MetadataMessage::Request { part } =
                        MetadataMessage::decode(&payload).ok()?
                    else {
                        continue;
                    };
                    let bytes = false_list.as_bytes().to_vec();
                    let lie = MetadataMessage::Data { part, total: bytes.len() as u64, bytes };
                    say(stream, &PeerMessage::Extended { id: CHAIN_ID, payload: lie.encode() })?;
                }
                PeerMessage::Request { .. } => return seed(stream, &bytes, 512 << 10, |_, _| {}),
                _ => {}
            }
        }
    });
    let known = SeedSpec { chain: None, ..known };
    let transfer = fetch_from(&leecher, &facts, &known, &[&liar]);
    eventually("the liar is banned", || transfer.why().banned == [liar.device]);
    assert_eq!(transfer.status().received, 0);
    seeder.share("listed", &data);
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, seeder.address)]);
    leecher.assert_complete(&transfer, &data);
}

#[test]
fn a_false_list_in_the_facts_fails_the_download_and_blames_no_peer() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(4 << 20, 3);
    let (facts, known) = hashed(&seeder, "misled", &data);
    let chain = spoilt(&known, 3);
    let facts = FileFacts { chain: Some(chain.hash()), ..facts };
    seeder.engine.seed(SeedSpec { chain: Some(chain), ..known }).unwrap();
    let transfer = leecher.fetch(&facts, &[&seeder]);
    let TransferState::Failed(reason) = transfer.wait(PATIENCE).state else {
        panic!("it did not fail")
    };
    assert!(reason.contains("false chaining values"), "{reason}");
    assert_eq!((transfer.why().corrupt, transfer.why().banned), (0, vec![]));
    assert!(!leecher.path("misled").exists());
}

#[test]
fn who_has_the_list_of_other_facts_is_not_asked_and_not_blamed() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(2 << 20, 4);
    let facts = seeder.share("other", &data);
    let chain = Some(ChainingValues::new(vec![[9; 20]; 3]).hash());
    // Nobody has the list that these facts name: the pieces are good, and so is the whole.
    let transfer = leecher.fetch(&FileFacts { chain, ..facts }, &[&seeder]);
    leecher.assert_complete(&transfer, &data);
    assert_eq!(transfer.why().banned, []);
    assert!(leecher.host.chains.lock().is_empty());
}

#[test]
fn an_entry_without_a_list_is_hashed_at_the_end() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise((4 << 20) + 1, 5);
    let (facts, known) = hashed(&seeder, "old", &data);
    seeder.engine.seed(SeedSpec { chain: None, ..known.clone() }).unwrap();
    let old = FileFacts { chain: None, ..facts.clone() };
    leecher.assert_complete(&leecher.fetch(&old, &[&seeder]), &data);
    assert_eq!(completed(&leecher).chain, known.chain, "it can give the list now");

    let other = Station::start(3);
    let false_sha1 = FileFacts { sha1: Sha1Digest::from_bytes([1; 20]), ..old };
    let transfer = other.fetch(&false_sha1, &[&seeder]);
    assert!(matches!(transfer.wait(PATIENCE).state, TransferState::Failed(_)));
    assert!(!other.path("old").exists());
}

#[test]
fn pieces_that_came_without_the_list_are_proven_when_it_is_there() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(4 << 20, 6);
    let facts = seeder.share("begun", &data);
    let known = hashed(&leecher, "elsewhere", &data).1;
    // They are in the `.part`, and no journal vouches for them.
    std::fs::write(leecher.part(&facts), &data[..3 << 20]).unwrap();
    let metainfo = Some(completed_metainfo(&seeder, &facts));
    let verified = Some(VerifiedPieces::none(8));
    let spec = DownloadSpec { metainfo, verified, ..leecher.spec(&facts) };
    let transfer = leecher.engine.download(spec).unwrap();
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, seeder.address)]);
    let status = leecher.assert_complete(&transfer, &data);
    assert_eq!(status.received, 1 << 20);
    assert_eq!(completed(&leecher).chain, known.chain);
}

fn completed_metainfo(
    station: &Station,
    facts: &FileFacts,
) -> Arc<crate::wire::metainfo::Metainfo> {
    let path = station.path(facts.name.as_str());
    crate::swarm::hash_file(&path, &mut |_| true).unwrap().seed.metainfo
}

#[test]
fn with_the_list_a_restart_believes_the_journal_and_hashes_nothing_else() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(8 << 20, 7);
    let (facts, known) = hashed(&seeder, "resumed", &data);
    seeder.engine.seed(known.clone()).unwrap();
    let mut there = data.clone();
    there[5 << 20..].fill(0);
    std::fs::write(leecher.part(&facts), &there).unwrap();
    let mut verified = Bitfield::empty(16);
    known.metainfo.geometry().indexes().take(10).for_each(|piece| _ = verified.insert(piece));
    let spec = DownloadSpec {
        metainfo: Some(known.metainfo),
        chain: known.chain,
        verified: Some(left(&leecher.part(&facts), verified)),
        ..leecher.spec(&facts)
    };
    let transfer = leecher.engine.download(spec).unwrap();
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, seeder.address)]);
    assert_eq!(leecher.assert_complete(&transfer, &data).received, 3 << 20);
}

#[test]
fn what_was_written_into_the_part_while_no_client_ran_is_found_and_fetched_again() {
    let (mut seeder, mut leecher) = (Station::start(1), Station::start(2));
    let data = noise(16 << 20, 11);
    let facts = seeder.share("spoiled", &data);
    assert!(facts.chain.is_some());
    let transfer = leecher.fetch(&facts, &[&seeder]);
    transfer.set_limit(Rate::new(40_000_000).ok());
    transfer.wait_until(PATIENCE, |status| status.bytes_done > 4 << 20);
    seeder.stop();
    leecher.stop();
    let done = transfer.status().bytes_done;
    let journal = leecher.host.journal.lock()[&facts.info_hash].clone();
    assert_eq!(u64::from(journal.pieces.ones()) * (512 << 10), done);
    let first = journal.pieces.iter_ones().next().unwrap();
    let file = std::fs::File::options().write(true).open(leecher.part(&facts)).unwrap();
    file.write_all_at(b"theirs", u64::from(first) * (512 << 10)).unwrap();
    drop(file);
    let (seeder, next) = (Station::start(1), Station::start(2));
    seeder.share("spoiled", &data);
    let spec = DownloadSpec {
        target: transfer.target(),
        verified: Some(journal),
        metainfo: Some(leecher.host.metainfo.lock()[&facts.info_hash].clone()),
        chain: Some(leecher.host.chains.lock()[&facts.info_hash].clone()),
        ..next.spec(&facts)
    };
    let again = next.engine.download(spec).unwrap();
    next.engine.add_peers(facts.info_hash, [(seeder.device, seeder.address)]);
    let status = next.assert_complete(&again, &data);
    assert_eq!(status.received, data.len() as u64 - done + (512 << 10));
}

#[test]
fn a_member_that_never_sends_its_list_does_not_hold_the_download_up() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(2 << 20, 8);
    let (facts, known) = hashed(&seeder, "withheld", &data);
    seeder.engine.seed(SeedSpec { chain: None, ..known.clone() }).unwrap();
    let chain = facts.chain;
    let silent = Peer::start(66, &facts, move |stream| {
        let told = ExtendedHandshake { chain_id: Some(9), chain, ..ExtendedHandshake::default() };
        let id = EXTENDED_HANDSHAKE_ID;
        say(stream, &PeerMessage::Extended { id, payload: told.encode() })?;
        while read_message(stream).is_ok() {}
        Some(())
    });
    let known = SeedSpec { chain: None, ..known };
    let transfer = fetch_from(&leecher, &facts, &known, &[&silent]);
    eventually("the list is asked for", || transfer.why().awaits_chain);
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, seeder.address)]);
    leecher.assert_complete(&transfer, &data);
}

#[test]
fn a_file_of_one_piece_needs_no_metainfo_from_a_member() {
    let leecher = Station::start(2);
    let data = noise(99_999, 9);
    let (facts, _) = hashed(&leecher, "small", &data);
    std::fs::remove_file(leecher.path("small")).unwrap();
    // A client that was killed behind the write: the piece is there, and the journal empty.
    std::fs::write(leecher.part(&facts), &data).unwrap();
    let spec = DownloadSpec { verified: Some(VerifiedPieces::none(1)), ..leecher.spec(&facts) };
    let transfer = leecher.engine.download(spec).unwrap();
    leecher.assert_complete(&transfer, &data);
}

#[test]
fn the_metainfo_of_a_complete_part_is_made_from_it() {
    let leecher = Station::start(2);
    let data = noise(2 << 20, 10);
    let (facts, known) = hashed(&leecher, "unknown", &data);
    std::fs::rename(leecher.path("unknown"), leecher.part(&facts)).unwrap();
    let verified = Some(left(&leecher.part(&facts), Bitfield::full(4)));
    let chain = known.chain;
    let spec = DownloadSpec { chain, verified, ..leecher.spec(&facts) };
    leecher.assert_complete(&leecher.engine.download(spec).unwrap(), &data);
    assert_eq!(completed(&leecher).metainfo, known.metainfo);
}
