//! Collects the metainfo and the chaining values of a file from members, in parts (BEP 9).
//!
//! **Invariant:** the lengths of both follow from the facts of the directory, so no member can make
//! us hold more; and what comes out has the hash that the facts name, and fits them.
//!
//! Pure state under the torrent's lock: effects are returned.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::swarm::LinkKey;
use crate::swarm::pick::chain::Chain;
use crate::types::{ChainingValues, FileFacts, Geometry, InfoHash, Sha1Digest, limits};
use crate::wire::metainfo::Metainfo;
use sha1::{Digest, Sha1};

/// Parts asked of one link at a time.
const ASKED_MAX: usize = 16;
/// Time for a part to come.
pub(crate) const PART_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct PartsFetch {
    len: usize,
    parts: Vec<Option<Vec<u8>>>,
    missing: usize,
    asked: HashMap<u32, (LinkKey, Duration)>,
    sources: BTreeSet<LinkKey>,
    /// Links that were silent: asked again when there are no others.
    silent: BTreeSet<LinkKey>,
    contributors: BTreeSet<LinkKey>,
    /// After parts from several peers did not fit together: one peer at a time, so that the liar is
    /// known.
    alone: bool,
    /// When the first part was asked for, or the last one came.
    moved: Option<Duration>,
    id: CollectionId,
}

/// One attempt to collect all parts: the download may have begun another when its check ends.
#[derive(Clone, Default)]
pub(crate) struct CollectionId(Arc<()>);

/// What became of a part.
pub(crate) enum Collected {
    /// The link was not asked for it.
    Unasked,
    /// Other parts are missing.
    NotYet,
    /// All parts are there: check them with [`check`], outside the lock.
    Bytes(Vec<u8>, CollectionId),
}

impl PartsFetch {
    pub(crate) fn new(len: usize) -> Self {
        let count = len.div_ceil(limits::METADATA_PART_LEN);
        Self {
            len,
            parts: vec![None; count],
            missing: count,
            asked: HashMap::new(),
            sources: BTreeSet::new(),
            silent: BTreeSet::new(),
            contributors: BTreeSet::new(),
            alone: false,
            moved: None,
            id: CollectionId::default(),
        }
    }

    /// A link can be asked: it says that it has `len` bytes.
    pub(crate) fn offer(&mut self, link: LinkKey, len: u64) {
        if len == self.len as u64 {
            self.sources.insert(link);
        }
    }

    /// A link can be asked: it says that it has everything.
    pub(crate) fn offer_all(&mut self, link: LinkKey) {
        self.sources.insert(link);
    }

    pub(crate) fn has_sources(&self) -> bool {
        !self.sources.is_empty() || !self.silent.is_empty()
    }

    /// How long nothing has come of what was asked for.
    pub(crate) fn stalled_for(&self, now: Duration) -> Duration {
        self.moved.map_or(Duration::ZERO, |moved| now.saturating_sub(moved))
    }

    pub(crate) fn leave(&mut self, link: LinkKey) {
        self.silent.remove(&link);
        self.drop_source(link);
    }

    /// A link will not send a part.
    pub(crate) fn refuse(&mut self, link: LinkKey) {
        self.drop_source(link);
    }

    fn drop_source(&mut self, link: LinkKey) {
        self.sources.remove(&link);
        self.asked.retain(|_, (asked, _)| *asked != link);
        if self.alone && self.contributors.contains(&link) {
            // All parts must come from one link.
            self.begin_again();
        }
    }

    pub(crate) fn ask(&mut self, now: Duration) -> Vec<(LinkKey, u32)> {
        let late: Vec<LinkKey> = self
            .asked
            .values()
            .filter(|(_, since)| now.saturating_sub(*since) > PART_TIMEOUT)
            .map(|(link, _)| *link)
            .collect();
        for link in late {
            self.silent.insert(link);
            self.drop_source(link);
        }
        if self.sources.is_empty() {
            // No other link has it: a silent one may answer now.
            self.sources = std::mem::take(&mut self.silent);
        }
        let mut sources: Vec<LinkKey> = self.sources.iter().copied().collect();
        if self.alone {
            let current = self
                .contributors
                .first()
                .or(self.asked.values().map(|(link, _)| link).next())
                .copied();
            sources.retain(|link| current.is_none_or(|current| *link == current));
            sources.truncate(1);
        }
        let mut wanted =
            (0..self.parts.len() as u32).filter(|part| self.parts[*part as usize].is_none());
        let mut room: Vec<(LinkKey, usize)> = sources
            .iter()
            .map(|link| {
                (
                    *link,
                    ASKED_MAX.saturating_sub(
                        self.asked.values().filter(|(asked, _)| asked == link).count(),
                    ),
                )
            })
            .collect();
        let mut requests = Vec::new();
        while room.iter().any(|(_, room)| *room > 0) {
            for (link, room) in room.iter_mut().filter(|(_, room)| *room > 0) {
                let Some(part) = wanted.by_ref().find(|part| !self.asked.contains_key(part)) else {
                    return requests;
                };
                self.asked.insert(part, (*link, now));
                self.moved.get_or_insert(now);
                requests.push((*link, part));
                *room -= 1;
            }
        }
        requests
    }

    /// Takes a part, if this link was asked for it.
    pub(crate) fn part(
        &mut self,
        now: Duration,
        link: LinkKey,
        part: u32,
        bytes: Vec<u8>,
    ) -> Collected {
        let asked = self.asked.get(&part).is_some_and(|(asked, _)| *asked == link);
        let want = limits::METADATA_PART_LEN
            .min(self.len.saturating_sub(part as usize * limits::METADATA_PART_LEN));
        if !asked || bytes.len() != want {
            return Collected::Unasked;
        }
        self.asked.remove(&part);
        self.moved = Some(now);
        // Parts come one after the other: on a slow link the last may take long, and the time
        // counts from the one before.
        self.asked
            .values_mut()
            .filter(|(asked, _)| *asked == link)
            .for_each(|(_, since)| *since = now);
        self.contributors.insert(link);
        if self.parts[part as usize].replace(bytes).is_none() {
            self.missing -= 1;
        }
        if self.missing > 0 {
            return Collected::NotYet;
        }
        // They are not needed again: if they do not fit together, all are asked for anew.
        let parts = std::mem::take(&mut self.parts);
        Collected::Bytes(parts.into_iter().flatten().flatten().collect(), self.id.clone())
    }

    /// The parts of that collection did not make what was asked for: begins again, if it has not
    /// been done. Returns the liar, if it can only have been one.
    pub(crate) fn restart(&mut self, id: &CollectionId) -> Option<LinkKey> {
        if !Arc::ptr_eq(&self.id.0, &id.0) {
            return None;
        }
        let liar = match self.contributors.len() {
            1 => self.contributors.first().copied(),
            _ => None,
        };
        self.alone = true;
        self.begin_again();
        if let Some(liar) = liar {
            self.refuse(liar);
        }
        liar
    }

    fn begin_again(&mut self) {
        let (sources, silent) =
            (std::mem::take(&mut self.sources), std::mem::take(&mut self.silent));
        let (alone, moved) = (self.alone, self.moved);
        *self = Self { sources, silent, alone, moved, ..Self::new(self.len) };
    }
}

/// Bytes in the info dictionary of the file: they follow from its name and lengths.
pub(crate) fn dictionary_len(facts: &FileFacts, geometry: Geometry) -> usize {
    let empty = Geometry::new(0, geometry.piece_len()).ok();
    let base = empty
        .and_then(|empty| Metainfo::new(facts.name.clone(), empty, Vec::new()).ok())
        .map_or(0, |m| m.to_bytes().len());
    let pieces = geometry.piece_count() as usize * Sha1Digest::LEN;
    // The two numbers were written as "0": add the digits they really have.
    base + pieces + digits(geometry.len()) - 1 + digits(pieces as u64) - 1
}

fn digits(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// Checks that bytes are the metainfo that the facts speak of.
pub(crate) fn check(bytes: &[u8], facts: &FileFacts) -> Option<Metainfo> {
    if InfoHash::from_bytes(Sha1::digest(bytes).into()) != facts.info_hash {
        return None;
    }
    Metainfo::from_bytes(bytes).ok().filter(|metainfo| fits(metainfo, facts))
}

/// Bytes in the list of chaining values of a file.
pub(crate) fn chain_len(geometry: Geometry) -> usize {
    ChainingValues::count(geometry.piece_count()) * ChainingValues::VALUE_LEN
}

/// Checks that bytes are the list of chaining values that the facts name, and makes the chain.
pub(crate) fn check_chain(bytes: &[u8], facts: &FileFacts, geometry: Geometry) -> Option<Chain> {
    let values = ChainingValues::from_bytes(bytes)?;
    chain_of(&Arc::new(values), facts, geometry)
}

/// Makes the chain of the file that the facts speak of, if they name that list.
pub(crate) fn chain_of(
    values: &Arc<ChainingValues>,
    facts: &FileFacts,
    geometry: Geometry,
) -> Option<Chain> {
    let is_named = facts.chain == Some(values.hash());
    Chain::new(geometry, values.clone(), facts.sha1).filter(|_| is_named)
}

/// Makes the chain of a file of one piece: its SHA-1 is all there is.
pub(crate) fn chain_of_one(facts: &FileFacts, geometry: Geometry) -> Option<Chain> {
    Chain::new(geometry, Arc::new(ChainingValues::new(Vec::new())), facts.sha1)
}

/// Tells whether a metainfo has the name and lengths that the facts say.
pub(crate) fn fits(metainfo: &Metainfo, facts: &FileFacts) -> bool {
    let geometry = metainfo.geometry();
    geometry.len() == facts.len
        && geometry.piece_len() == facts.piece_len
        && *metainfo.name() == facts.name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(len: u64) -> (FileFacts, Metainfo) {
        let geometry = Geometry::for_file(len).unwrap();
        let pieces = geometry.indexes().map(|_| Sha1Digest::from_bytes([7; 20])).collect();
        let metainfo = Metainfo::new("some file.bin".parse().unwrap(), geometry, pieces).unwrap();
        let (info_hash, name) = (metainfo.info_hash(), metainfo.name().clone());
        let sha1 = Sha1Digest::from_bytes([0; 20]);
        (
            FileFacts { info_hash, name, len, piece_len: geometry.piece_len(), sha1, chain: None },
            metainfo,
        )
    }

    #[test]
    fn the_length_is_known_beforehand() {
        for len in [0, 1, 9, 10, 999_999, 524_288 * 5, 524_288 * 50, 1 << 32] {
            let (facts, metainfo) = facts(len);
            assert_eq!(
                dictionary_len(&facts, metainfo.geometry()),
                metainfo.to_bytes().len(),
                "length {len}"
            );
        }
    }

    #[test]
    fn parts_come_from_several_links_and_a_liar_is_found() {
        let (facts, metainfo) = facts(524_288 * 5_000);
        let bytes = metainfo.to_bytes();
        let part = |part: u32| {
            bytes.chunks(limits::METADATA_PART_LEN).nth(part as usize).unwrap().to_vec()
        };
        let (honest, liar) = (LinkKey(2), LinkKey(1));
        let mut fetch = PartsFetch::new(bytes.len());
        fetch.offer(honest, bytes.len() as u64);
        fetch.offer(liar, bytes.len() as u64);
        fetch.offer(LinkKey(3), 1 << 20);
        let mut blamed = Vec::new();
        for _ in 0..3 {
            let mut outcome = Collected::NotYet;
            for (link, number) in fetch.ask(Duration::ZERO) {
                let mut data = part(number);
                data[0] ^= u8::from(link == liar);
                outcome = fetch.part(Duration::ZERO, link, number, data);
            }
            let Collected::Bytes(bytes, id) = outcome else { panic!("all parts were asked for") };
            match check(&bytes, &facts) {
                Some(got) => {
                    assert_eq!(got, metainfo);
                    assert_eq!(blamed, [liar]);
                    return;
                }
                None => {
                    blamed.extend(fetch.restart(&id));
                    assert_eq!(fetch.restart(&id), None, "it has begun again");
                }
            }
        }
        panic!("the honest peer's parts were never enough");
    }

    #[test]
    fn a_silent_link_is_not_asked_again() {
        let mut fetch = PartsFetch::new(20_000);
        fetch.offer(LinkKey(1), 20_000);
        assert_eq!(fetch.ask(Duration::ZERO).len(), 2);
        fetch.offer(LinkKey(2), 20_000);
        assert!(fetch.ask(Duration::from_secs(1)).is_empty());
        let again = fetch.ask(Duration::from_secs(20));
        assert_eq!(again.iter().map(|(link, _)| link.0).collect::<Vec<_>>(), [2, 2]);
        assert!(matches!(
            fetch.part(Duration::from_secs(20), LinkKey(1), 0, vec![0; 16_384]),
            Collected::Unasked
        ));
    }

    #[test]
    fn a_silent_peer_is_asked_again_when_there_is_no_other() {
        let mut fetch = PartsFetch::new(20_000);
        fetch.offer(LinkKey(1), 20_000);
        assert_eq!(fetch.ask(Duration::ZERO).len(), 2);
        assert_eq!(fetch.ask(Duration::from_secs(11)).len(), 2);
        fetch.leave(LinkKey(1));
        assert_eq!(fetch.ask(Duration::from_secs(30)).len(), 0);
    }

    #[test]
    fn parts_that_come_slowly_are_waited_for() {
        let mut fetch = PartsFetch::new(16_384 * 16);
        fetch.offer(LinkKey(1), 16_384 * 16);
        assert_eq!(fetch.ask(Duration::ZERO).len(), 16);
        for part in 0..16 {
            let now = Duration::from_secs(8 * u64::from(part));
            assert!(fetch.ask(now).is_empty(), "part {part} was asked for again");
            let complete =
                matches!(fetch.part(now, LinkKey(1), part, vec![0; 16_384]), Collected::Bytes(..));
            assert_eq!(complete, part == 15);
        }
    }

    #[test]
    fn when_one_is_asked_alone_and_leaves_the_next_begins_again() {
        let mut fetch = PartsFetch::new(16_384 * 40);
        fetch.offer(LinkKey(1), 16_384 * 40);
        fetch.offer(LinkKey(2), 16_384 * 40);
        fetch.contributors.extend([LinkKey(1), LinkKey(2)]);
        let id = fetch.id.clone();
        assert_eq!(fetch.restart(&id), None);
        let asked = fetch.ask(Duration::ZERO);
        assert!(!asked.is_empty() && asked.iter().all(|(link, _)| *link == LinkKey(1)));
        fetch.part(Duration::ZERO, LinkKey(1), asked[0].1, vec![0; 16_384]);
        fetch.leave(LinkKey(1));
        let asked = fetch.ask(Duration::ZERO);
        assert_eq!(asked.first(), Some(&(LinkKey(2), 0)));
    }
}
