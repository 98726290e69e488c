//! Tests of when a group is a source, and of the effects.

use super::super::library::{Download, Library};
use super::*;
use crate::store::{DownloadRow, Progress, ShareRow, ShareState};
use crate::types::FileFacts;
use crate::types::{DownloadState, FileStamp, Sha1Digest, UserId};

const A: GroupId = GroupId::from_bytes([1; 16]);
const B: GroupId = GroupId::from_bytes([2; 16]);
const FILE: InfoHash = InfoHash::from_bytes([3; 20]);
const USER: UserId = UserId::from_bytes([4; 16]);

fn facts() -> FileFacts {
    let sha1 = Sha1Digest::from_bytes([5; 20]);
    FileFacts {
        info_hash: FILE,
        name: "big.bin".parse().unwrap(),
        len: 1,
        piece_len: 512 << 10,
        sha1,
        chain: None,
    }
}

/// A library in which the file is downloaded from A, and B is a source.
fn library() -> Library {
    let [group_label, label] = ["lab", "big.bin"].map(|text| text.parse().unwrap());
    let mut library = Library::default();
    library.push(Download::new(DownloadRow {
        user: USER,
        group: A,
        group_label,
        label,
        facts: facts(),
        target: "/a".into(),
        progress: Progress::Running,
        verified: None,
        part: None,
        begun_ms: 0,
    }));
    assert!(library.sources.add(FILE, B) && !library.sources.add(FILE, B));
    library
}

fn share(library: &mut Library, group: GroupId) {
    let [group_label, label] = ["club", "big.bin"].map(|text| text.parse().unwrap());
    let stamp = FileStamp { len: 1, modified_ns: 0, dev: 0, inode: 0, born_ns: None };
    let (path, state) = ("/b".into(), ShareState::Offered);
    library.put_share(
        ShareRow { user: USER, group, group_label, label, facts: facts(), path, stamp, state },
        true,
    );
}

#[test]
fn a_source_is_taken_from_and_nothing_is_given_there() {
    let library = library();
    assert_eq!([A, B].map(|group| library.part_in(group, FILE)), [DownloadState::Leeching; 2]);
    assert!(
        [A, B].iter().all(|group| library.is_offered(FILE, *group) && library.takes_part(*group))
    );
    assert_eq!([A, B].map(|group| library.serves(FILE, group)), [true, false]);
    assert_eq!(
        (library.groups_of(FILE), library.sources_of(FILE).collect::<Vec<_>>()),
        (vec![A], vec![B])
    );
    assert_eq!((library.groups(), library.running_in(&[B])), ([A, B].into(), vec![FILE]));
    let other = InfoHash::from_bytes([9; 20]);
    assert!(!library.is_offered(other, B) && library.part_in(B, other) == DownloadState::Stopped);
}

#[test]
fn a_source_lapses_with_its_download_and_when_the_file_is_shared_there() {
    let mut going = library();
    assert!(going.take_lapsed(FILE).is_empty(), "it goes on");
    let end = |library: &mut Library, progress| library.change(FILE, |row| row.progress = progress);
    for progress in [Progress::Paused(None), Progress::Failed("why".into())] {
        let mut library = library();
        end(&mut library, progress);
        assert!(
            !library.is_offered(FILE, B) && !library.takes_part(B) && library.groups().is_empty(),
            "before anybody looks"
        );
        assert_eq!(library.take_lapsed(FILE), [(B, FILE)]);
        end(&mut library, Progress::Running);
        assert_eq!(
            [A, B].map(|group| library.part_in(group, FILE)),
            [DownloadState::Leeching, DownloadState::Stopped]
        );
    }
    let mut shared = library();
    share(&mut shared, B);
    assert!(shared.serves(FILE, B) && shared.part_in(B, FILE) == DownloadState::Seeding);
    assert_eq!(shared.take_lapsed(FILE), [(B, FILE)], "links on which nothing is given end");
    assert!(shared.sources.is_empty() && shared.groups_of(FILE) == [A, B]);
}

#[test]
fn a_former_member_has_no_source_in_the_group() {
    let mut library = library();
    assert_eq!((library.sources.files_in(B), library.sources.files_in(A)), (vec![FILE], vec![]));
    library.sources.remove(FILE, B);
    assert!(
        library.sources.is_empty() && !library.is_offered(FILE, B) && library.is_offered(FILE, A)
    );
}
