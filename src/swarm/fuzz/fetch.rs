//! The collection of a metainfo, or of the chaining values, from peers that lie, stay silent and
//! leave: for the fuzz targets.

use std::collections::BTreeMap;
use std::time::Duration;

use super::STEPS_MAX;
use crate::fuzzing::Input;
use crate::swarm::LinkKey;
use crate::swarm::pick::parts::{self, Collected, PartsFetch};
use crate::types::{ChainingValues, FileFacts, Geometry, Sha1Digest, limits};
use crate::wire::metainfo::Metainfo;
use crate::wire::peer::MetadataMessage;

/// The collection of a metainfo or of chaining values from peers that send anything.
pub fn metainfo_fetch(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let first = input.u16();
    let piece_count = 1 + u64::from(first) % 4096;
    let geometry = Geometry::new(piece_count * u64::from(limits::BLOCK_LEN), limits::BLOCK_LEN)
        .expect("it has few pieces");
    let hashes = geometry.indexes().map(|_| Sha1Digest::from_bytes([7; 20])).collect();
    let metainfo = Metainfo::new("film.mp4".parse().expect("a file name"), geometry, hashes)
        .expect("one hash a piece");
    let values = (1..geometry.piece_count()).map(|at| [at as u8; 20]).collect();
    let chain = ChainingValues::new(values);
    let facts = FileFacts {
        info_hash: metainfo.info_hash(),
        name: metainfo.name().clone(),
        len: geometry.len(),
        piece_len: geometry.piece_len(),
        sha1: Sha1Digest::from_bytes([0; 20]),
        chain: Some(chain.hash()),
    };
    let of_chain = first & 0x8000 != 0 && geometry.piece_count() > 1;
    let wanted = match of_chain {
        true => chain.as_bytes().to_vec(),
        false => metainfo.to_bytes(),
    };
    let len = match of_chain {
        true => parts::chain_len(geometry),
        false => parts::dictionary_len(&facts, geometry),
    };
    assert_eq!(len, wanted.len());
    let mut run = FetchRun {
        fetch: PartsFetch::new(len),
        wanted,
        of_chain,
        facts,
        geometry,
        now: Duration::ZERO,
        asked: BTreeMap::new(),
    };
    for _ in 0..STEPS_MAX {
        if input.is_over() || run.step(&mut input) {
            return;
        }
    }
}

struct FetchRun {
    fetch: PartsFetch,
    /// The bytes of what is collected.
    wanted: Vec<u8>,
    of_chain: bool,
    facts: FileFacts,
    geometry: Geometry,
    now: Duration,
    /// What was asked of whom, and never more than they may be asked.
    asked: BTreeMap<(LinkKey, u32), Duration>,
}

impl FetchRun {
    /// Takes one step; true when all of it is there.
    fn step(&mut self, input: &mut Input<'_>) -> bool {
        let (what, link) = (input.below(12), LinkKey(input.below(4) as u64));
        match what {
            0 | 1 => self.fetch.offer(link, self.wanted.len() as u64),
            2 => self.fetch.offer(link, input.u64()),
            3 => self.fetch.leave(link),
            4 => self.fetch.refuse(link),
            5 => self.now += Duration::from_millis(u64::from(input.u16())),
            6 | 7 => {
                for (link, part) in self.fetch.ask(self.now) {
                    assert!(MetadataMessage::part_len(part, self.wanted.len() as u64).is_some());
                    self.asked.insert((link, part), self.now);
                }
            }
            8 => return self.part(link, input.u32(), input.take(9).to_vec()),
            _ => return self.answer(input),
        }
        false
    }

    /// Answers something that was asked, rightly or not.
    fn answer(&mut self, input: &mut Input<'_>) -> bool {
        if self.asked.is_empty() {
            return false;
        }
        let at = usize::from(input.byte()) % self.asked.len();
        let Some(((link, part), _)) = self.asked.iter().nth(at).map(|(key, since)| (*key, *since))
        else {
            return false;
        };
        self.asked.remove(&(link, part));
        let bytes =
            self.wanted.chunks(limits::METADATA_PART_LEN).nth(part as usize).unwrap_or_default();
        let mut bytes = bytes.to_vec();
        match input.below(8) {
            0 => bytes[0] ^= 1,
            1 => bytes.truncate(usize::from(input.byte())),
            _ => {}
        }
        self.part(link, part, bytes)
    }

    fn part(&mut self, link: LinkKey, part: u32, bytes: Vec<u8>) -> bool {
        let Collected::Bytes(bytes, id) = self.fetch.part(self.now, link, part, bytes) else {
            return false;
        };
        let is_right = match self.of_chain {
            true => parts::check_chain(&bytes, &self.facts, self.geometry).is_some(),
            false => parts::check(&bytes, &self.facts).is_some(),
        };
        // The hash names one list, and the info hash one dictionary.
        assert_eq!(is_right, bytes == self.wanted);
        if !is_right {
            self.fetch.restart(&id);
        }
        is_right
    }
}
