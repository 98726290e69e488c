//! Old stores become rows: those that an old tracker wrote, and those that a private encoder makes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rusqlite::params;

use super::super::RowStore;
use super::operation::Write;
use super::*;
use crate::directory::Rows as _;
use crate::types::{
    Content, Effect, FileFacts, GroupId, GroupRow, InfoHash, MembershipRow, MembershipState,
    PasswordHash, Place, RequestId, Row, RowKey, Sha1Digest, SharingRow, UserId, VersionVector,
};

/// Stores of two trackers of version 1, which had the same operations in different orders.
const FIXTURES: [&[u8]; 2] =
    [include_bytes!("fixtures/tracker-1.sqlite"), include_bytes!("fixtures/tracker-2.sqlite")];

fn id(n: u8) -> [u8; 16] {
    [n; 16]
}

fn group(n: u8) -> GroupId {
    GroupId::from_bytes(id(n))
}

fn user(n: u8) -> UserId {
    UserId::from_bytes(id(n))
}

fn facts(info_hash: u8, name: &str) -> FileFacts {
    FileFacts {
        info_hash: InfoHash::from_bytes([info_hash; 20]),
        name: name.parse().unwrap(),
        len: 1000,
        piece_len: 512 << 10,
        sha1: Sha1Digest::from_bytes([3; 20]),
        chain: None,
    }
}

fn operation(origin: u8, sequence: u64, stamp: u64, request: u8, writes: Vec<Write>) -> Operation {
    Operation {
        origin: StoreId::from_bytes(id(origin)),
        sequence,
        stamp: Stamp::from_u64(stamp),
        request: RequestId::from_bytes(id(request)),
        actor: user(1),
        effect: Effect::Done,
        writes,
    }
}

fn tie(state: MembershipState, since: u64) -> Write {
    Write::Membership { group: group(1), user: user(2), state, since: Stamp::from_u64(since) }
}

fn account(hash: &str, created: u64) -> Write {
    let hash = PasswordHash::from_phc(hash.to_owned());
    Write::User {
        user: user(1),
        name: "nik".parse().unwrap(),
        hash,
        created: Stamp::from_u64(created),
    }
}

fn sharing(info_hash: u8, on: bool) -> Write {
    let info_hash = InfoHash::from_bytes([info_hash; 20]);
    Write::Sharing { group: group(1), info_hash, user: user(2), on }
}

fn listing(facts: FileFacts, at: u64) -> Write {
    Write::File { group: group(1), facts, shared_by: user(2), at: Stamp::from_u64(at) }
}

/// Encodes an operation as version 1 did.
fn encode(operation: &Operation) -> Vec<u8> {
    let mut out = Vec::new();
    let text = |out: &mut Vec<u8>, text: &str| {
        out.extend_from_slice(&(text.len() as u16).to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    };
    let number = |out: &mut Vec<u8>, number: u64| out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(operation.origin.as_bytes());
    number(&mut out, operation.sequence);
    number(&mut out, operation.stamp.as_u64());
    out.extend_from_slice(operation.request.as_bytes());
    out.extend_from_slice(operation.actor.as_bytes());
    match &operation.effect {
        Effect::Done => out.push(0),
        Effect::User(user) => out.extend_from_slice(&[&[1], user.as_bytes().as_slice()].concat()),
        Effect::Group(group) => {
            out.extend_from_slice(&[&[2], group.as_bytes().as_slice()].concat())
        }
    }
    out.extend_from_slice(&(operation.writes.len() as u32).to_be_bytes());
    for write in &operation.writes {
        match write {
            Write::User { user, name, hash, created } => {
                out.push(0);
                out.extend_from_slice(user.as_bytes());
                text(&mut out, name.as_str());
                text(&mut out, hash.as_phc());
                number(&mut out, created.as_u64());
            }
            Write::Group { group, row } => {
                out.push(1);
                out.extend_from_slice(group.as_bytes());
                text(&mut out, row.name.as_str());
                out.extend_from_slice(row.created_by.as_bytes());
                number(&mut out, row.created.as_u64());
            }
            Write::Membership { group, user, state, since } => {
                out.push(2);
                out.extend_from_slice(group.as_bytes());
                out.extend_from_slice(user.as_bytes());
                out.push(*state as u8);
                number(&mut out, since.as_u64());
            }
            Write::Owner { group, user } => {
                out.push(3);
                out.extend_from_slice(group.as_bytes());
                out.extend_from_slice(user.as_bytes());
            }
            Write::File { group, facts, shared_by, at } => {
                out.push(4);
                out.extend_from_slice(group.as_bytes());
                out.extend_from_slice(facts.info_hash.as_bytes());
                text(&mut out, facts.name.as_str());
                number(&mut out, facts.len);
                out.extend_from_slice(&facts.piece_len.to_be_bytes());
                out.extend_from_slice(facts.sha1.as_bytes());
                out.extend_from_slice(shared_by.as_bytes());
                number(&mut out, at.as_u64());
            }
            Write::Sharing { group, info_hash, user, on } => {
                out.push(5);
                out.extend_from_slice(group.as_bytes());
                out.extend_from_slice(info_hash.as_bytes());
                out.extend_from_slice(user.as_bytes());
                out.push(u8::from(*on));
            }
        }
    }
    out
}

/// Makes an old store with these operations, in this order.
fn make_old(directory: &Path, operations: &[Operation]) {
    let old = open_database(&directory.join(FILE), KIND).unwrap();
    old.execute("INSERT INTO store VALUES ('origin', ?1)", [id(1)]).unwrap();
    let sql = "INSERT INTO operations (origin, sequence, version, body) VALUES (?1, ?2, 1, ?3)";
    old.execute_batch("BEGIN").unwrap();
    for operation in operations {
        let values =
            params![operation.origin.as_bytes(), operation.sequence as i64, encode(operation)];
        old.prepare_cached(sql).unwrap().execute(values).unwrap();
    }
    old.execute_batch("COMMIT").unwrap();
}

fn from_fixture(bytes: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE), bytes).unwrap();
    dir
}

fn open(directory: &Path) -> RowStore {
    RowStore::open(directory, StoreId::from_bytes(id(100))).unwrap()
}

fn rows_of(store: &RowStore) -> BTreeMap<RowKey, Row> {
    let rows = store.rows(&[], None, usize::MAX);
    let by_key: BTreeMap<RowKey, Row> =
        rows.iter().map(|row| (row.content.key(), row.clone())).collect();
    assert_eq!(by_key.len(), rows.len(), "a row is there twice");
    by_key
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    let is_beside = |name: &str| {
        name.ends_with("-wal") || name.ends_with("-shm") || name.starts_with("directory.journal-")
    };
    names.retain(|name| !is_beside(name));
    names.sort();
    names
}

/// What one user did: operations whose order of arrival differs from that of their stamps.
fn story() -> Vec<Operation> {
    use MembershipState::{Member, None, Requested};
    let found = GroupRow {
        name: "lab".parse().unwrap(),
        created_by: user(1),
        created: Stamp::from_u64(20),
    };
    vec![
        operation(1, 1, 10, 1, vec![account("old", 10)]),
        operation(1, 2, 20, 2, vec![Write::Group { group: group(1), row: found }]),
        operation(1, 3, 30, 3, vec![tie(Requested, 30)]),
        operation(1, 4, 31, 4, vec![tie(None, 31)]),
        operation(2, 1, 32, 5, vec![tie(Requested, 32)]),
        operation(2, 2, 40, 6, vec![tie(Member, 40)]),
        operation(2, 3, 50, 7, vec![listing(facts(1, "a"), 50), sharing(1, true)]),
        operation(2, 4, 55, 8, vec![listing(facts(2, "b"), 55), sharing(2, true)]),
        operation(1, 5, 60, 9, vec![account("new", 10)]),
        operation(1, 6, 70, 10, vec![tie(None, 70), sharing(1, false)]),
        operation(3, 1, 80, 11, vec![tie(Requested, 80)]),
        operation(
            3,
            2,
            81,
            12,
            vec![tie(Member, 81), Write::Owner { group: group(1), user: user(2) }],
        ),
        operation(3, 3, 90, 13, vec![listing(facts(1, "a again"), 90), sharing(1, true)]),
        // Written at the same moment elsewhere: the larger request stays.
        operation(4, 1, 90, 12, vec![listing(facts(1, "not this"), 90)]),
    ]
}

/// Keeps the order within each origin, as an old store does.
fn shuffled(operations: &[Operation], mut seed: u64) -> Vec<Operation> {
    let mut rest: BTreeMap<StoreId, Vec<Operation>> = BTreeMap::new();
    for operation in operations.iter().rev() {
        rest.entry(operation.origin).or_default().push(operation.clone());
    }
    let mut out = Vec::new();
    while !rest.is_empty() {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let pick = (seed >> 33) as usize % rest.len();
        let origin = *rest.keys().nth(pick).unwrap();
        out.extend(rest.get_mut(&origin).and_then(Vec::pop));
        rest.retain(|_, operations| !operations.is_empty());
    }
    out
}

#[test]
fn operations_become_rows() {
    let dir = tempfile::tempdir().unwrap();
    make_old(dir.path(), &shuffled(&story(), 1));
    let store = open(dir.path());
    let rows = rows_of(&store);
    let row = |key| &rows[&key];
    let Content::User(_, Some(about)) = &row(RowKey::User(user(1))).content else {
        panic!("no user")
    };
    assert_eq!((about.hash.as_phc(), about.created), ("new", Stamp::from_u64(10)));
    assert_eq!(about.replaced, Some(Stamp::from_u64(60)));

    let membership = row(RowKey::Membership(group(1), user(2)));
    assert_eq!(membership.version.request, RequestId::from_bytes(id(12)));
    assert_eq!(membership.place, Place { store: StoreId::from_bytes(id(3)), sequence: 2 });
    let value = MembershipRow {
        state: MembershipState::Member,
        since: Stamp::from_u64(81),
        ended: Some(Stamp::from_u64(70)),
    };
    assert_eq!(membership.content, Content::Membership(group(1), user(2), value));
    assert_eq!(row(RowKey::Owner(group(1))).content, Content::Owner(group(1), user(2)));

    let files: Vec<_> = rows.keys().filter(|key| matches!(key, RowKey::File(..))).collect();
    let [again, b] = [facts(1, "a again"), facts(2, "b")].map(|facts| facts.id());
    assert_eq!(files.len(), 2, "one for each info hash");
    let Content::File(_, _, Some(file)) = &row(RowKey::File(group(1), again)).content else {
        panic!()
    };
    assert_eq!((&file.facts, file.at), (&facts(1, "a again"), Stamp::from_u64(90)));
    let admission = RequestId::from_bytes(id(12));
    for file in [again, b] {
        let sharing = &row(RowKey::Sharing(group(1), file, user(2))).content;
        assert_eq!(
            sharing,
            &Content::Sharing(group(1), file, user(2), SharingRow { on: true, admission })
        );
    }
    assert_eq!(rows.keys().filter(|key| matches!(key, RowKey::Sharing(..))).count(), 2);
    let requests = rows.keys().filter(|key| matches!(key, RowKey::Request(..)));
    assert_eq!(requests.count(), 13, "request 12 was carried out twice");

    let state = store.state();
    assert_eq!((state.sequence, state.swept), (14, 0));
    assert!(state.lineage.ancestors.is_empty() && state.checkpoints == VersionVector::default());
    let vector = [(1, 6), (2, 4), (3, 3), (4, 1), (100, 14)];
    let vector: VersionVector =
        vector.into_iter().map(|(n, last)| (StoreId::from_bytes(id(n)), last)).collect();
    assert_eq!(state.vector, vector);
}

#[test]
fn a_user_who_was_turned_down_has_no_membership_that_ended() {
    let dir = tempfile::tempdir().unwrap();
    make_old(dir.path(), &story()[..4]);
    let rows = rows_of(&open(dir.path()));
    let value =
        MembershipRow { state: MembershipState::None, since: Stamp::from_u64(31), ended: None };
    let key = RowKey::Membership(group(1), user(2));
    assert_eq!(rows[&key].content, Content::Membership(group(1), user(2), value));
}

#[test]
fn the_order_of_arrival_does_not_matter() {
    let rows = |seed| {
        let dir = tempfile::tempdir().unwrap();
        make_old(dir.path(), &shuffled(&story(), seed));
        rows_of(&open(dir.path()))
    };
    let first = rows(0);
    (1..10).for_each(|seed| assert_eq!(rows(seed), first, "seed {seed}"));
}

#[test]
fn requests_of_earlier_days_are_left_out() {
    let day = Stamp::new(REQUESTS_MS, 0).as_u64();
    let operations = [
        operation(1, 1, 5, 1, vec![]),
        operation(1, 2, 6 + day, 2, vec![]),
        operation(1, 3, day + (9 << 16), 3, vec![]),
    ];
    let dir = tempfile::tempdir().unwrap();
    make_old(dir.path(), &operations);
    let store = open(dir.path());
    let kept: Vec<_> = rows_of(&store).into_keys().collect();
    assert_eq!(kept, [2, 3].map(|n| RowKey::Request(RequestId::from_bytes(id(n)))));
    assert_eq!(store.state().sequence, 3);
}

#[test]
fn an_operation_with_many_writes_becomes_several_transactions() {
    let writes: Vec<Write> =
        (0..100).flat_map(|n| [listing(facts(n, &format!("f{n}")), 5), sharing(n, true)]).collect();
    let dir = tempfile::tempdir().unwrap();
    make_old(
        dir.path(),
        &[
            operation(1, 1, 5, 1, writes),
            operation(1, 2, 6, 2, vec![tie(MembershipState::None, 6)]),
        ],
    );
    let store = open(dir.path());
    let mut sizes = BTreeMap::<u64, usize>::new();
    let count = |sequence, _| {
        *sizes.entry(sequence).or_default() += 1;
        true
    };
    RowStore::reader(dir.path()).unwrap().read_after(0, u64::MAX, count).unwrap();
    assert_eq!(sizes.values().sum::<usize>(), 203);
    assert!(sizes.values().all(|&size| size <= limits::ROWS_PER_REQUEST_MAX));
    assert_eq!(sizes.last_key_value(), Some((&store.state().sequence, &2)));
}

#[test]
fn stores_that_old_trackers_wrote_are_taken_over() {
    let dirs = FIXTURES.map(from_fixture);
    let stores = [0, 1].map(|n: usize| open(dirs[n].path()));
    let [first, second] = [0, 1].map(|n: usize| rows_of(&stores[n]));
    assert_eq!(first, second);
    let names = |rows: &BTreeMap<RowKey, Row>| {
        let mut names: Vec<String> = rows
            .values()
            .filter_map(|row| match &row.content {
                Content::User(_, Some(user)) => {
                    Some(format!("user {} {}", user.name, user.replaced.is_some()))
                }
                Content::Group(_, Some(group)) => Some(format!("group {}", group.name)),
                Content::File(_, _, Some(file)) => {
                    Some(format!("file {} {}", file.facts.name, file.facts.len))
                }
                _ => None,
            })
            .collect();
        names.sort();
        names
    };
    let expected = [
        "file big.bin 700000",
        "file big.bin 700000",
        "file hello.txt 6",
        "file three.txt 6",
        "file three.txt 6",
        "file über uns.txt 2",
        "group bobs",
        "group lab",
        "user bob false",
        "user dup false",
        "user dup false",
        "user eve false",
        "user nik true",
    ];
    assert_eq!(names(&first), expected);
    let member_of = |rows: &BTreeMap<RowKey, Row>, group: GroupId, user: UserId| {
        matches!(&rows[&RowKey::Membership(group, user)].content,
            Content::Membership(_, _, tie) if tie.state == MembershipState::Member)
    };
    let offers: Vec<_> = first
        .values()
        .filter_map(|row| match row.content {
            Content::Sharing(group, file, user, SharingRow { on: true, admission }) => {
                Some((group, file, user, admission))
            }
            _ => None,
        })
        .collect();
    assert_eq!(offers.len(), 4, "big.bin, hello.txt and über uns.txt of nik, three.txt of bob");
    for (group, file, user, admission) in offers {
        assert!(member_of(&first, group, user));
        assert_eq!(first[&RowKey::Membership(group, user)].version.request, admission);
        assert!(first.contains_key(&RowKey::File(group, file)));
    }
    let ended =
        |row: &Row| matches!(&row.content, Content::Membership(_, _, tie) if tie.ended.is_some());
    assert_eq!(
        first.values().filter(|row| ended(row)).count(),
        2,
        "eve left one group and was put out of the other"
    );
    for store in &stores {
        let state = store.state();
        assert_eq!((state.sequence, state.vector.iter().len()), (34, 4));
        assert_eq!(state.vector.iter().map(|(_, last)| last).sum::<u64>(), 34 + 34);
    }
}

#[test]
fn it_is_done_once_and_the_old_store_is_kept() {
    let dir = from_fixture(FIXTURES[0]);
    drop(open(dir.path()));
    assert_eq!(names_in(dir.path()), ["directory.sqlite", "tracker.sqlite.taken-over"]);
    let kept = Connection::open(dir.path().join("tracker.sqlite.taken-over")).unwrap();
    let count: u32 =
        kept.query_row("SELECT count(*) FROM operations", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 34);
    let mode = fs::metadata(dir.path().join("directory.sqlite")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let store = RowStore::open(dir.path(), StoreId::from_bytes(id(101))).unwrap();
    assert_eq!(store.state().lineage.ancestors, [(StoreId::from_bytes(id(100)), 34)]);
    let rows = rows_of(&store);
    drop(store);
    // An earlier version of this program that runs here once more makes a store that is not
    // touched.
    fs::write(dir.path().join(FILE), FIXTURES[1]).unwrap();
    assert_eq!(rows_of(&open(dir.path())), rows);
    assert_eq!(fs::read(dir.path().join(FILE)).unwrap(), FIXTURES[1]);
}

/// Copies a directory as a process that is killed now would leave it.
fn snapshot(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

#[test]
fn a_start_that_was_killed_half_way_is_begun_again() {
    let dir = from_fixture(FIXTURES[0]);
    let mut killed = Vec::new();
    let mut tick = |count| {
        if count % 6 == 1 {
            killed.push(snapshot(dir.path()));
        }
        Ok(())
    };
    take_over_with(dir.path(), None, &mut tick).unwrap();
    // Before the old store was renamed.
    killed.push(snapshot(dir.path()));
    let rows = rows_of(&open(dir.path()));
    killed.push(snapshot(dir.path()));
    // After it was renamed, and before the new store knew.
    let renamed = from_fixture(FIXTURES[0]);
    take_over_with(renamed.path(), None, &mut |_| Ok(())).unwrap();
    put_away(renamed.path()).unwrap();
    killed.push(renamed);
    assert_eq!(killed.len(), 2 * 34 / 6 + 1 + 3);
    for dir in killed {
        let store = RowStore::open(dir.path(), StoreId::from_bytes(id(102))).unwrap();
        assert_eq!((rows_of(&store).len(), store.state().sequence), (rows.len(), 34));
        assert_eq!(rows_of(&store), rows);
        drop(store);
        assert_eq!(names_in(dir.path()), ["directory.sqlite", "tracker.sqlite.taken-over"]);
    }
}

#[test]
fn a_disk_without_room_leaves_the_old_store_as_it_was() {
    let dir = from_fixture(FIXTURES[0]);
    let len = FIXTURES[0].len() as u64;
    let refused = take_over_with(dir.path(), Some(len), &mut |_| Ok(()));
    let Err(StoreError::Io { source, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    assert!(source.to_string().contains("tracker.sqlite needs 1 MB"), "{source}");
    assert_eq!(names_in(dir.path()), [FILE]);
    // The disk fills up on the way.
    for stop_at in [1, 40] {
        let full = || failed(dir.path())(io::ErrorKind::StorageFull.into());
        let mut tick = |count| if count == stop_at { Err(full()) } else { Ok(()) };
        take_over_with(dir.path(), None, &mut tick).unwrap_err();
        assert_eq!(names_in(dir.path()), [FILE]);
    }
    take_over_with(dir.path(), None, &mut |_| Ok(())).unwrap();
    assert_eq!(rows_of(&open(dir.path())), rows_of(&open(from_fixture(FIXTURES[1]).path())));
}

#[test]
fn damaged_newer_and_foreign_old_stores_are_told_apart() {
    let dir = from_fixture(FIXTURES[0]);
    let change = |sql: &str| {
        fs::write(dir.path().join(FILE), FIXTURES[0]).unwrap();
        Connection::open(dir.path().join(FILE)).unwrap().execute_batch(sql).unwrap();
        let error = RowStore::open(dir.path(), StoreId::from_bytes(id(9))).unwrap_err();
        assert_eq!(names_in(dir.path()), [FILE], "nothing is begun, and nothing lost");
        error
    };
    let gap = change("DELETE FROM operations WHERE place = 3");
    assert!(matches!(&gap, StoreError::Damaged { why, .. } if why.contains("missing")), "{gap}");
    let cut = change("UPDATE operations SET body = substr(body, 1, 100) WHERE place = 3");
    assert!(matches!(&cut, StoreError::Damaged { why, .. } if why.contains("cut short")), "{cut}");
    let body = change(
        "UPDATE operations SET body = (SELECT o.body FROM operations o WHERE o.place = 4)
         WHERE place = 3",
    );
    assert!(matches!(body, StoreError::Damaged { .. }));
    let newer = change("UPDATE operations SET version = 2 WHERE place = 3");
    assert!(matches!(newer, StoreError::Newer { found: 2, known: 1, .. }));
    assert!(matches!(change("PRAGMA user_version = 2"), StoreError::Newer { .. }));
    assert!(matches!(change("PRAGMA application_id = 2"), StoreError::Foreign { .. }));
}

#[test]
fn operations_are_decoded_as_they_were_encoded_and_no_cut_is_taken() {
    for operation in story() {
        let bytes = encode(&operation);
        assert_eq!(Operation::from_bytes(&bytes), Ok(operation));
        for len in 0..bytes.len() {
            assert!(Operation::from_bytes(&bytes[..len]).is_err());
        }
        assert!(Operation::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    }
}
