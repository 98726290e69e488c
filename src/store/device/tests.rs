use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use super::*;
use crate::types::{ChainHash, ChainingValues, FileName, Geometry, Sha1Digest};

fn facts(len: u64) -> FileFacts {
    FileFacts {
        info_hash: InfoHash::from_bytes([len as u8; 20]),
        name: "big.bin".parse().unwrap(),
        len,
        piece_len: 512 << 10,
        sha1: Sha1Digest::from_bytes([2; 20]),
        chain: len.is_multiple_of(2).then(|| ChainHash::from_bytes([3; 20])),
    }
}

fn share(path: &str, state: ShareState) -> ShareRow {
    ShareRow {
        user: UserId::from_bytes([1; 16]),
        group: GroupId::from_bytes([2; 16]),
        group_label: "lab".parse().unwrap(),
        label: "big.bin~2".parse().unwrap(),
        facts: facts(77),
        path: path.into(),
        stamp: FileStamp { len: 77, modified_ns: -5, dev: u64::MAX, inode: 9, born_ns: Some(-1) },
        state,
    }
}

const PART: InodeId = InodeId { dev: u64::MAX, inode: 9, born_ns: Some(-1) };

fn download(len: u64) -> DownloadRow {
    DownloadRow {
        user: UserId::from_bytes([1; 16]),
        group: GroupId::from_bytes([2; 16]),
        group_label: "lab".parse().unwrap(),
        label: "big.bin".parse().unwrap(),
        facts: facts(len),
        target: "/tmp/with space/\u{fc}".into(),
        progress: Progress::Running,
        verified: None,
        part: None,
        begun_ms: 5,
    }
}

fn metainfo() -> Metainfo {
    let name: FileName = "big.bin".parse().unwrap();
    let geometry = Geometry::for_file(600_000).unwrap();
    Metainfo::new(name, geometry, vec![Sha1Digest::from_bytes([7; 20]); 2]).unwrap()
}

fn facts_of(metainfo: &Metainfo) -> FileFacts {
    let (info_hash, len) = (metainfo.info_hash(), metainfo.geometry().len());
    FileFacts { info_hash, name: metainfo.name().clone(), len, ..facts(len) }
}

/// What is known of a file that looks so.
fn known_file(store: &DeviceStore, path: &Path, stamp: FileStamp) -> Option<FileFacts> {
    store
        .shares_at(path)
        .unwrap()
        .into_iter()
        .find(|row| stamp.is_same_file(&row.stamp))
        .map(|row| row.facts)
}

#[test]
fn everything_survives_a_restart_and_keeps_to_its_user() {
    let dir = tempfile::tempdir().unwrap();
    let (user, group) = {
        let store = DeviceStore::open(dir.path()).unwrap();
        let row = share("/a/b", ShareState::Pending);
        store.apply(&[Write::Share(Arc::new(row.clone()))]).unwrap();
        store.apply(&[Write::Download(Arc::new(download(3 << 20)))]).unwrap();
        assert_eq!(store.downloads(row.user).unwrap(), [download(3 << 20)]);
        let mut verified = VerifiedPieces::none(6);
        verified.pieces.insert(Geometry::new(3 << 20, 512 << 10).unwrap().index(4).unwrap());
        verified.part = Some(PartStamp { changed_ns: 1 << 60, is_final: true });
        let now = DownloadRow {
            part: Some(OwnPart::File(PART)),
            verified: Some(verified),
            progress: Progress::Paused(Some("disk full".into())),
            ..download(3 << 20)
        };
        store.apply(&[Write::Download(now.into())]).unwrap();
        (row.user, row.group)
    };
    let store = DeviceStore::open(dir.path()).unwrap();
    assert_eq!(store.shares(user).unwrap(), [share("/a/b", ShareState::Pending)]);
    assert!(store.shares(UserId::from_bytes([9; 16])).unwrap().is_empty());
    let downloads = store.downloads(user).unwrap();
    assert_eq!(downloads[0].progress, Progress::Paused(Some("disk full".into())));
    assert_eq!(downloads[0].part, Some(OwnPart::File(PART)));
    for part in [None, Some(OwnPart::Any), Some(OwnPart::File(InodeId { born_ns: None, ..PART }))] {
        let row = DownloadRow { part, ..downloads[0].clone() };
        store.apply(&[Write::Download(Arc::new(row.clone()))]).unwrap();
        assert_eq!(store.downloads(user).unwrap(), [row]);
    }
    assert_eq!(downloads[0].verified.as_ref().unwrap().pieces.iter_ones().collect::<Vec<_>>(), [4]);
    let writes = [
        Write::NoShare { user, group, info_hash: facts(77).info_hash },
        Write::NoDownload { user, info_hash: facts(3 << 20).info_hash },
    ];
    store.apply(&writes).unwrap();
    assert!(store.shares(user).unwrap().is_empty() && store.downloads(user).unwrap().is_empty());
}

#[test]
fn a_known_file_is_recognised_only_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let store = DeviceStore::open(dir.path()).unwrap();
    let row = share("/a/b", ShareState::Stopped);
    store.apply(&[Write::Share(Arc::new(row.clone()))]).unwrap();
    assert_eq!(known_file(&store, &row.path, row.stamp), Some(row.facts.clone()));
    assert_eq!(known_file(&store, &row.path, FileStamp { modified_ns: -4, ..row.stamp }), None);
    assert_eq!(known_file(&store, &row.path, FileStamp { inode: 8, ..row.stamp }), None);
    assert_eq!(known_file(&store, Path::new("/a/c"), row.stamp), None);
}

#[test]
fn metainfos_are_kept_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let store = DeviceStore::open(dir.path()).unwrap();
    let metainfo = metainfo();
    let facts = facts_of(&metainfo);
    assert_eq!(store.metainfo(&facts).unwrap(), None);
    store.put_metainfo(&metainfo).unwrap();
    assert_eq!(store.metainfo(&facts).unwrap(), Some(metainfo));
    let other = FileFacts { info_hash: InfoHash::from_bytes([1; 20]), ..facts };
    assert_eq!(store.metainfo(&other).unwrap(), None);
}

#[test]
fn the_metainfo_of_a_small_file_follows_from_its_facts() {
    let dir = tempfile::tempdir().unwrap();
    let store = DeviceStore::open(dir.path()).unwrap();
    for len in [0, 1, 524_288] {
        let (geometry, sha1) = (Geometry::for_file(len).unwrap(), Sha1Digest::from_bytes([7; 20]));
        let pieces = vec![sha1; geometry.piece_count() as usize];
        let metainfo = Metainfo::new("big.bin".parse().unwrap(), geometry, pieces).unwrap();
        let facts = FileFacts { sha1, ..facts_of(&metainfo) };
        assert_eq!(store.metainfo(&facts).unwrap(), Some(metainfo), "{len} bytes");
        assert!(store.has_metainfo(&facts).unwrap());
        let false_facts = FileFacts { len: len + 1, ..facts };
        assert!(!store.has_metainfo(&false_facts).unwrap());
    }
}

#[test]
fn what_no_share_or_download_needs_is_gone_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = DeviceStore::open(dir.path()).unwrap();
    let values = ChainingValues::new(vec![[3; 20]]);
    let known = metainfo();
    let facts = FileFacts { chain: Some(values.hash()), ..facts_of(&known) };
    let row = ShareRow { facts: facts.clone(), ..share("/a/b", ShareState::Stopped) };
    store.put_metainfo(&known).unwrap();
    store.put_chain(facts.info_hash, &values).unwrap();
    store.apply(&[Write::Share(Arc::new(row))]).unwrap();
    let unused = InfoHash::from_bytes([9; 20]);
    store.put_chain(unused, &values).unwrap();
    drop(store);
    let store = DeviceStore::open(dir.path()).unwrap();
    assert!(store.has_metainfo(&facts).unwrap());
    assert!(store.chain_of(&facts).unwrap().is_some());
    assert_eq!(store.chain_of(&FileFacts { info_hash: unused, ..facts }).unwrap(), None);
}

#[test]
fn chaining_values_are_kept_by_what_the_facts_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = DeviceStore::open(dir.path()).unwrap();
    let values = ChainingValues::new(vec![[4; 20]; 3]);
    let named = FileFacts { chain: Some(values.hash()), ..facts(2) };
    store.put_chain(named.info_hash, &values).unwrap();
    assert_eq!(store.chain_of(&named).unwrap().as_deref(), Some(&values));
    assert_eq!(store.chain_of(&facts(2)).unwrap(), None, "it is another list");
    assert_eq!(store.chain_of(&FileFacts { chain: None, ..named.clone() }).unwrap(), None);
    let spoil = "UPDATE chain SET bytes = zeroblob(60)";
    store.write(|connection| execute(connection, spoil, [])).unwrap();
    assert_eq!(store.chain_of(&named).unwrap(), None, "it was spoilt");
}

/// A client of before wrote down what the facts name, and checked pieces by the info dictionary.
#[test]
fn a_journal_from_before_chaining_values_vouches_for_nothing_they_prove() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DATABASE);
    let connection = open_database(&path, KIND).unwrap();
    let of = |pieces| Some(VerifiedPieces { pieces, part: None });
    let all = |row: DownloadRow| DownloadRow { verified: of(Bitfield::full(5)), ..row };
    let (named, unnamed) = (all(download(5 << 19)), all(download((5 << 19) - 1)));
    assert!(named.facts.chain.is_some() && unnamed.facts.chain.is_none());
    let unnamed = DownloadRow { user: UserId::from_bytes([9; 16]), ..unnamed };
    put_download(&connection, &named).unwrap();
    put_download(&connection, &unnamed).unwrap();
    let back = "
        DROP TABLE chain;
        ALTER TABLE download DROP COLUMN part_changed_ns;
        ALTER TABLE download DROP COLUMN part_is_final;
        PRAGMA user_version = 10;";
    connection.execute_batch(back).unwrap();
    drop(connection);
    let store = DeviceStore::open(dir.path()).unwrap();
    let verified = |row: &DownloadRow| store.downloads(row.user).unwrap()[0].verified.clone();
    assert_eq!(verified(&named), of(Bitfield::empty(5)));
    assert_eq!(verified(&unnamed), of(Bitfield::full(5)));
}

#[test]
fn a_directory_is_one_clients_and_the_users_alone() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("new/data");
    let store = DeviceStore::open(&data).unwrap();
    assert!(matches!(DeviceStore::open(&data), Err(StoreError::InUse { .. })));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&data), mode(&data.join(DATABASE))), (0o700, 0o600));
    drop(store);
    DeviceStore::open(&data).unwrap();
}

#[test]
fn damage_and_later_versions_are_named_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DATABASE);
    fs::write(&path, "this is no database, and never was one".repeat(100)).unwrap();
    let error = DeviceStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(fs::read(&path).unwrap().starts_with(b"this is no database"));
    fs::remove_file(&path).unwrap();
    drop(DeviceStore::open(dir.path()).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(DeviceStore::open(dir.path()), Err(StoreError::Newer { found: 99, .. })));
}

#[test]
fn a_store_of_the_first_version_opens_and_keeps_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DATABASE);
    let want = ShareRow {
        stamp: FileStamp { born_ns: None, ..share("", ShareState::Offered).stamp },
        ..share("/a/b", ShareState::Offered)
    };
    {
        let first = DatabaseKind { migrations: &[SCHEMA], ..KIND };
        let connection = open_database(&path, first).unwrap();
        let device = [7; 32];
        connection.execute("INSERT INTO identity VALUES (?1)", [device]).unwrap();
        let facts = &want.facts;
        let values = params![
            want.user.as_bytes(),
            want.group.as_bytes(),
            facts.info_hash.as_bytes(),
            "lab",
            "big.bin~2",
            "big.bin",
            77,
            facts.piece_len,
            facts.sha1.as_bytes(),
            b"/a/b",
            -5,
            -1,
            9,
            1
        ];
        let sql = "INSERT INTO share VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
        connection.execute(sql, values).unwrap();
        let sql = "INSERT INTO download VALUES (?1, ?2, ?3, 'lab', 'b', 'b', 3145728, 524288, ?2, x'2f62', 0, NULL, ?4, ?5)";
        for (number, verified) in [(1u8, None), (2, Some([0u8])), (3, Some([0x40]))] {
            let row = params![
                want.user.as_bytes(),
                [number; 20],
                want.group.as_bytes(),
                verified,
                number
            ];
            connection.execute(sql, row).unwrap();
        }
    }
    let store = DeviceStore::open(dir.path()).unwrap();
    assert_eq!(store.shares(want.user).unwrap(), std::slice::from_ref(&want));
    assert_eq!(store.network().unwrap(), None);
    let parts: Vec<_> = store.downloads(want.user).unwrap().iter().map(|row| row.part).collect();
    assert_eq!(parts, [None, None, Some(OwnPart::Any)], "where there are pieces there is a file");
    // What the file system says is taken over, and kept from then on.
    let taken = ShareRow { stamp: FileStamp { born_ns: Some(5), ..want.stamp }, ..want.clone() };
    assert_eq!(known_file(&store, &taken.path, taken.stamp), Some(taken.facts.clone()));
    store.apply(&[Write::Share(Arc::new(taken.clone()))]).unwrap();
    drop(store);
    assert_eq!(DeviceStore::open(dir.path()).unwrap().shares(want.user).unwrap(), [taken]);
}

#[test]
fn the_place_and_limit_of_a_download_are_kept_as_long_as_it_is() {
    use crate::types::Rate;
    let dir = tempfile::tempdir().unwrap();
    let (row, rate) = (download(5), Rate::new(500_000).unwrap());
    let queued = QueuedRow { info_hash: row.facts.info_hash, place: Some(-1), limit: Some(rate) };
    {
        let store = DeviceStore::open(dir.path()).unwrap();
        store.apply(&[Write::Download(Arc::new(row.clone()))]).unwrap();
        store.apply(&[Write::Queued(row.user, queued)]).unwrap();
        // To be written again is not to be gone.
        store.apply(&[Write::Download(Arc::new(row.clone()))]).unwrap();
    }
    let store = DeviceStore::open(dir.path()).unwrap();
    assert_eq!(store.queued(row.user).unwrap(), [queued]);
    assert!(store.queued(UserId::from_bytes([9; 16])).unwrap().is_empty());
    store.apply(&[Write::Queued(row.user, QueuedRow { place: None, ..queued })]).unwrap();
    assert_eq!(store.queued(row.user).unwrap()[0].place, None);
    store
        .apply(&[Write::Queued(row.user, QueuedRow { place: None, limit: None, ..queued })])
        .unwrap();
    assert!(store.queued(row.user).unwrap().is_empty());
    store.apply(&[Write::Queued(row.user, queued)]).unwrap();
    let info_hash = row.facts.info_hash;
    store.apply(&[Write::NoDownload { user: row.user, info_hash }]).unwrap();
    assert!(store.queued(row.user).unwrap().is_empty());
}

/// A store as the version before limits left it: what is in it stays, and there is room for what is
/// new.
#[test]
fn a_store_of_the_version_before_limits_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let before = DatabaseKind { migrations: &[SCHEMA, SCHEMA_2], ..KIND };
    let path = dir.path().join(DATABASE);
    drop(open_database(&path, before).unwrap());
    let old = {
        // That version wrote downloads as this one does.
        let connection = open_database(&path, before).unwrap();
        let version: u32 =
            connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        connection
            .execute(
                "INSERT INTO download VALUES (?1, ?2, ?3, 'lab', 'big.bin', 'big.bin', 5, 524288, ?4, ?5, 0, NULL, NULL, 5, NULL, NULL, NULL)",
                params![[1u8; 16], [5u8; 20], [2u8; 16], [2u8; 20], "/tmp/with space/\u{fc}".as_bytes()],
            )
            .unwrap();
        version
    };
    assert_eq!(old, 2);
    let store = DeviceStore::open(dir.path()).unwrap();
    let row = download(5);
    assert_eq!(store.downloads(row.user).unwrap(), std::slice::from_ref(&row));
    assert!(store.queued(row.user).unwrap().is_empty());
    let queued = QueuedRow { info_hash: row.facts.info_hash, place: Some(3), limit: None };
    store.apply(&[Write::Queued(row.user, queued)]).unwrap();
    assert_eq!(store.queued(row.user).unwrap(), [queued]);
}

#[test]
fn the_changes_of_one_call_are_written_all_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = DeviceStore::open(dir.path()).unwrap();
    let metainfo = metainfo();
    let mut row = ShareRow { facts: facts_of(&metainfo), ..share("/a/b", ShareState::Pending) };
    row.stamp.len = row.facts.len;
    let download = download(3 << 20);
    let all = [
        Write::Metainfo(metainfo.clone().into()),
        Write::Share(row.clone().into()),
        Write::Download(download.clone().into()),
    ];
    Connection::open(store.path.clone())
        .unwrap()
        .execute_batch(
            "CREATE TRIGGER no BEFORE INSERT ON download BEGIN SELECT RAISE(FAIL, 'no'); END",
        )
        .unwrap();
    store.apply(&all).unwrap_err();
    assert!(store.shares(row.user).unwrap().is_empty());
    assert!(!store.has_metainfo(&facts_of(&metainfo)).unwrap());
    Connection::open(store.path.clone()).unwrap().execute_batch("DROP TRIGGER no").unwrap();
    store.apply(&all).unwrap();
    drop(store);
    let store = DeviceStore::open(dir.path()).unwrap();
    assert_eq!(store.shares(row.user).unwrap(), std::slice::from_ref(&row));
    assert_eq!(store.downloads(row.user).unwrap(), std::slice::from_ref(&download));
    assert_eq!(store.metainfo(&facts_of(&metainfo)).unwrap(), Some(metainfo));
}

#[test]
fn complete_downloads_are_found_by_name_and_left_out_of_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = DeviceStore::open(dir.path()).unwrap();
    let complete = DownloadRow { progress: Progress::Complete, ..download(3 << 20) };
    let (running, user) = (download(5), complete.user);
    let rows = [&complete, &running].map(|row| Write::Download(row.clone().into()));
    store.apply(&rows).unwrap();
    assert_eq!(store.unfinished_downloads(user).unwrap(), [running]);
    let found = |group, file| store.complete_download(user, group, file).unwrap();
    assert_eq!(found("lab", "big.bin"), Some(complete));
    assert_eq!((found("lab", "x"), found("x", "big.bin")), (None, None));
}
