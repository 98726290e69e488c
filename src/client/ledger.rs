//! The downloads of a session in the order in which they were asked for, found by their content and
//! by the places where they write.
//!
//! **Invariant:** a download is in the order, under its info hash, and under its target and the
//! place of its `.part`; or in none of them. There is one a content.
//!
//! Ten thousand downloads may be asked for at once, and each is looked up a dozen times on its way:
//! none of that may look at all of them. Pure; the library keeps it behind the session's lock.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::library::Download;
use crate::swarm::part_path;
use crate::types::InfoHash;

/// The downloads.
#[derive(Default)]
pub(crate) struct Ledger {
    /// By when they were asked for.
    order: BTreeMap<u64, Download>,
    next: u64,
    by_content: HashMap<InfoHash, u64>,
    /// By where the file is to be, and where its data is until then.
    by_place: HashMap<PathBuf, Vec<u64>>,
}

impl Ledger {
    /// Adds one behind all others; one of the same content goes.
    pub(crate) fn push(&mut self, download: Download) {
        self.remove(download.info_hash());
        let number = self.next;
        self.next += 1;
        self.by_content.insert(download.info_hash(), number);
        for place in places(&download) {
            self.by_place.entry(place).or_default().push(number);
        }
        self.order.insert(number, download);
    }

    /// Takes one out.
    pub(crate) fn remove(&mut self, info_hash: InfoHash) -> Option<Download> {
        let number = self.by_content.remove(&info_hash)?;
        let download = self.order.remove(&number)?;
        for place in places(&download) {
            if let Some(numbers) = self.by_place.get_mut(&place) {
                numbers.retain(|other| *other != number);
                if numbers.is_empty() {
                    self.by_place.remove(&place);
                }
            }
        }
        Some(download)
    }

    /// The download of that content.
    pub(crate) fn get(&self, info_hash: InfoHash) -> Option<&Download> {
        self.order.get(self.by_content.get(&info_hash)?)
    }

    /// The same, to change anything of it but its content and its target.
    pub(crate) fn get_mut(&mut self, info_hash: InfoHash) -> Option<&mut Download> {
        self.order.get_mut(self.by_content.get(&info_hash)?)
    }

    /// Those that make a file there, or keep what they have fetched there.
    pub(crate) fn at(&self, place: &Path) -> impl Iterator<Item = &Download> {
        self.by_place.get(place).into_iter().flatten().filter_map(|number| self.order.get(number))
    }

    /// All, in the order in which they were asked for.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Download> {
        self.order.values()
    }

    /// The same, to change anything of them but their content and their targets.
    pub(crate) fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Download> {
        self.order.values_mut()
    }
}

fn places(download: &Download) -> [PathBuf; 2] {
    let target = &download.row.target;
    [target.clone(), part_path(target, download.info_hash())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{DownloadRow, Progress};
    use crate::types::{FileFacts, GroupId, Sha1Digest, UserId};

    fn download(byte: u8, target: &str) -> Download {
        let facts = FileFacts {
            info_hash: InfoHash::from_bytes([byte; 20]),
            name: "big.bin".parse().unwrap(),
            len: 1,
            piece_len: 512 << 10,
            sha1: Sha1Digest::from_bytes([byte; 20]),
            chain: None,
        };
        Download::new(DownloadRow {
            user: UserId::from_bytes([1; 16]),
            group: GroupId::from_bytes([2; 16]),
            group_label: "lab".parse().unwrap(),
            label: "big.bin".parse().unwrap(),
            facts,
            target: target.into(),
            progress: Progress::Running,
            verified: None,
            part: None,
            begun_ms: 0,
        })
    }

    fn bytes<'a>(downloads: impl Iterator<Item = &'a Download>) -> Vec<u8> {
        downloads.map(|download| download.info_hash().as_bytes()[0]).collect()
    }

    #[test]
    fn each_is_found_by_content_and_place_until_it_is_taken_out() {
        let mut ledger = Ledger::default();
        [(1, "/a"), (2, "/b"), (3, "/a")]
            .into_iter()
            .for_each(|(byte, target)| ledger.push(download(byte, target)));
        assert_eq!(bytes(ledger.iter()), [1, 2, 3]);
        assert_eq!(
            (bytes(ledger.at("/a".as_ref())), bytes(ledger.at("/b.part".as_ref()))),
            (vec![1, 3], vec![2])
        );
        let taken = ledger.remove(InfoHash::from_bytes([1; 20])).unwrap();
        assert_eq!(bytes(ledger.at("/a".as_ref())), [3]);
        assert!(
            ledger.get(taken.info_hash()).is_none() && ledger.remove(taken.info_hash()).is_none()
        );
        ledger.push(taken);
        ledger.push(download(2, "/c"));
        assert_eq!(
            bytes(ledger.iter()),
            [3, 1, 2],
            "what is put in again is the latest, and once in it"
        );
        assert!(ledger.at("/b".as_ref()).next().is_none());
        [1, 2, 3]
            .into_iter()
            .for_each(|byte| drop(ledger.remove(InfoHash::from_bytes([byte; 20])).unwrap()));
        assert!(
            ledger.order.is_empty() && ledger.by_content.is_empty() && ledger.by_place.is_empty()
        );
    }
}
