//! Which files on this disk should have a download's content: what its user shares, or shared,
//! whether or not it came from others.
//!
//! **Invariant:** a session takes nothing from the files of another user of this device, and does
//! not tell by its speed that they are there.
//!
//! Only the names and facts at hand are looked at; the engine opens the files, and looks whether
//! they are what they were.

use super::library::Library;
use crate::swarm::LocalCopy;
use crate::types::FileFacts;

/// Files looked at: of so many that have one content, one will be intact.
const COPIES_MAX: usize = 8;
/// Length from which a file is looked for under other info hashes too: for that all shares are gone
/// through.
const OTHER_NAMES_LEN: u64 = 1 << 20;

impl Library {
    /// Files that should have that content: first those with the same info hash, in whatever group,
    /// then those of the same length and SHA-1.
    pub(crate) fn copies_of(&self, facts: &FileFacts) -> Vec<LocalCopy> {
        let mut copies: Vec<LocalCopy> = Vec::new();
        let same_bytes = |share: &&super::library::Share| {
            (share.row.facts.len, share.row.facts.sha1) == (facts.len, facts.sha1)
        };
        let others =
            self.shares.values().filter(|_| facts.len >= OTHER_NAMES_LEN).filter(same_bytes);
        for share in self.shares_of(facts.info_hash).chain(others) {
            let copy = LocalCopy { path: share.row.path.clone(), stamp: share.row.stamp };
            if copies.len() < COPIES_MAX && !copies.contains(&copy) {
                copies.push(copy);
            }
        }
        copies
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{ShareRow, ShareState};
    use crate::types::{FileStamp, Sha1Digest, UserId};
    use crate::types::{GroupId, InfoHash};

    fn facts(info_hash: u8, sha1: u8, len: u64) -> FileFacts {
        let (info_hash, sha1) =
            (InfoHash::from_bytes([info_hash; 20]), Sha1Digest::from_bytes([sha1; 20]));
        FileFacts {
            info_hash,
            name: "big.bin".parse().unwrap(),
            len,
            piece_len: 512 << 10,
            sha1,
            chain: None,
        }
    }

    fn put(library: &mut Library, group: u8, facts: FileFacts, path: &str) {
        let [group_label, label] = ["lab", "big.bin"].map(|text| text.parse().unwrap());
        let stamp = FileStamp { len: facts.len, modified_ns: 0, dev: 0, inode: 0, born_ns: None };
        let (user, group, path, state) = (
            UserId::from_bytes([1; 16]),
            GroupId::from_bytes([group; 16]),
            path.into(),
            ShareState::Stopped,
        );
        library.put_share(
            ShareRow { user, group, group_label, label, facts, path, stamp, state },
            false,
        );
    }

    #[test]
    fn the_same_info_hash_comes_first_then_the_same_bytes_and_nothing_else() {
        let mut library = Library::new();
        let big = OTHER_NAMES_LEN;
        put(&mut library, 1, facts(9, 1, big), "/other name");
        put(&mut library, 2, facts(1, 1, big), "/same");
        put(&mut library, 3, facts(1, 1, big), "/same");
        put(&mut library, 0xff, facts(1, 1, big), "/same too");
        put(&mut library, 2, facts(8, 2, big), "/other bytes");
        put(&mut library, 2, facts(7, 1, big + 1), "/other length");
        let paths = |library: &Library, facts: FileFacts| -> Vec<_> {
            library.copies_of(&facts).into_iter().map(|copy| copy.path).collect()
        };
        assert_eq!(
            paths(&library, facts(1, 1, big)),
            ["/same", "/same too", "/other name"].map(std::path::PathBuf::from)
        );
        assert_eq!(
            paths(&library, facts(5, 1, big)),
            ["/other name", "/same", "/same too"].map(std::path::PathBuf::from)
        );
        assert!(paths(&library, facts(5, 5, big)).is_empty());
        assert!(Library::new().copies_of(&facts(1, 1, big)).is_empty());
        for number in 0..20 {
            put(&mut library, 4, facts(100 + number, 3, big), &format!("/{number}"));
        }
        assert_eq!(paths(&library, facts(5, 3, big)).len(), COPIES_MAX);
        put(&mut library, 4, facts(50, 4, 100), "/small");
        assert!(
            paths(&library, facts(51, 4, 100)).is_empty(),
            "for a small file not all shares are gone through"
        );
        assert_eq!(paths(&library, facts(50, 4, 100)).len(), 1);
    }
}
