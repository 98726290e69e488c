//! What was stored is there after any end of the process, whole, in order and private.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::types::{
    Content, Effect, GroupId, GroupSettings, InvitationId, InvitationRow, InvitationUseRow,
    MembershipRow, MembershipState, Place, RequestId, RequestRow, Stamp, UserId, Version, limits,
};

fn store_id(number: u16) -> StoreId {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    StoreId::from_bytes(bytes)
}

fn row(content: Content, at_ms: u64) -> Row {
    let version = Version { stamp: Stamp::new(at_ms, 7), request: RequestId::from_bytes([9; 16]) };
    Row {
        content,
        version,
        place: Place { store: store_id(1), sequence: 3 },
        extra: Box::default(),
    }
}

fn owner(group: u8, user: u8, at_ms: u64) -> Row {
    row(Content::Owner(GroupId::from_bytes([group; 16]), UserId::from_bytes([user; 16])), at_ms)
}

fn tie(group: u8, state: MembershipState, at_ms: u64) -> Row {
    let value = MembershipRow { state, since: Stamp::new(at_ms, 0), ended: None };
    let key = (GroupId::from_bytes([group; 16]), UserId::from_bytes([1; 16]));
    row(Content::Membership(key.0, key.1, value), at_ms)
}

fn request(number: u8, at_ms: u64) -> Row {
    let value =
        RequestRow { actor: UserId::NOBODY, effect: Effect::Done, note: format!("no. {number}") };
    row(Content::Request(RequestId::from_bytes([number; 16]), value), at_ms)
}

fn transaction(sequence: u64, rows: Vec<Row>) -> Transaction {
    Transaction { sequence, rows, ..Transaction::default() }
}

fn open(dir: &tempfile::TempDir, id: u16) -> RowStore {
    RowStore::open(dir.path(), store_id(id)).unwrap()
}

fn load(store: &RowStore, since_ms: u64) -> Vec<Row> {
    let is_wanted = |row: &Row| {
        !matches!(row.content, Content::Request(..)) || row.version.stamp.ms() >= since_ms
    };
    store.rows(&[], None, usize::MAX).into_iter().filter(is_wanted).collect()
}

fn read(reader: &RowReader, after: u64, through: u64) -> Vec<(u64, Row)> {
    let mut rows = Vec::new();
    let take = |sequence, row| {
        rows.push((sequence, row));
        true
    };
    reader.read_after(after, through, take).unwrap();
    rows
}

/// Another connection, which writes what no store does.
fn saboteur(dir: &tempfile::TempDir) -> Connection {
    Connection::open(dir.path().join(FILE)).unwrap()
}

#[test]
fn what_was_appended_is_there_after_another_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir, 1);
    assert_eq!(store.state().lineage, Lineage::new(store_id(1)));
    let first = Transaction {
        sequence: 1,
        rows: vec![owner(1, 1, 10), tie(1, MembershipState::Member, 10), request(1, 10)],
        checkpoints: vec![(store_id(50), u64::MAX)],
        vector: vec![(store_id(51), 8), (store_id(1), 1)],
        ..Transaction::default()
    };
    store.append(&[first, transaction(2, vec![owner(2, 1, 11)])]).unwrap();
    let before = store.state();
    assert_eq!((before.sequence, before.vector.get(store_id(1))), (2, 2));
    // As after `kill -9`: nothing is closed in order.
    std::mem::forget(store);
    let store = open(&dir, 2);
    let state = store.state();
    assert_eq!(state.lineage, Lineage { store: store_id(2), ancestors: vec![(store_id(1), 2)] });
    assert_eq!(state.checkpoints, [(store_id(50), u64::MAX)].into_iter().collect());
    let vector = [(store_id(1), 2), (store_id(2), 2), (store_id(51), 8)];
    assert_eq!((state.sequence, state.vector), (2, vector.into_iter().collect()));
    let rows = load(&store, 0);
    let written =
        [owner(1, 1, 10), tie(1, MembershipState::Member, 10), request(1, 10), owner(2, 1, 11)];
    assert!(rows.len() == 4 && written.iter().all(|row| rows.contains(row)), "{rows:?}");
    assert_eq!(load(&store, 10).len(), 4);
    assert!(!load(&store, 11).contains(&request(1, 10)), "an old request is not loaded");
}

#[test]
fn a_transaction_is_stored_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir, 1);
    store.append(&[transaction(1, vec![owner(1, 1, 1)])]).unwrap();
    let before = store.state();
    store.journal.fill_disk();
    let second =
        Transaction { checkpoints: vec![(store_id(5), 9)], ..transaction(2, vec![owner(2, 2, 2)]) };
    let both = [second, transaction(3, vec![owner(3, 3, 3)])];
    assert!(matches!(store.append(&both), Err(StoreError::Io { .. })));
    assert_eq!(store.state(), before);
    assert!(store.commit(&[]).is_err(), "it stays failed");
    drop(store);
    let mut store = open(&dir, 2);
    assert_eq!(store.state().sequence, before.sequence);
    assert_eq!(load(&store, 0), [owner(1, 1, 1)]);
    store.append(&both).unwrap();
    assert_eq!((load(&store, 0).len(), store.state().checkpoints.get(store_id(5))), (3, 9));
}

#[test]
fn what_is_committed_stays_if_it_cannot_be_moved_to_the_tables() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir, 1);
    let all = |store: &RowStore| {
        let entries = store.entries((Bound::Unbounded, Bound::Unbounded), false, 100);
        (store.rows(&[], None, 100), entries, store.entry(&[2]), store.state().sequence)
    };
    let (mut seen, mut expected) = (Vec::new(), Vec::new());
    for sequence in 1..=3 {
        let row = owner(sequence as u8, 1, sequence);
        expected.push(row.clone());
        store.put(sequence, &row);
        store.set_entry(&[sequence as u8], Some(b"x"));
        store.set_entry(&[sequence as u8 - 1], None);
        store.commit(&[transaction(sequence, vec![row])]).unwrap();
        assert!(store.unflushed().load(Ordering::Relaxed));
        seen = vec![all(&store)];
    }
    assert_eq!(seen, [(expected, vec![(vec![3], b"x".to_vec())], None, 3)]);
    // Stands for a disk that is full at the last row.
    let connection = saboteur(&dir);
    let stop = "CREATE TRIGGER stop BEFORE INSERT ON rows WHEN new.sequence = 3
        BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";
    connection.execute_batch(stop).unwrap();
    assert!(matches!(store.flush(), Err(StoreError::Database { .. })));
    assert!(store.flush().is_err(), "it stays failed");
    drop(store);
    connection.execute_batch("DROP TRIGGER stop").unwrap();
    let store = open(&dir, 2);
    assert_eq!(vec![all(&store)], seen);
    assert!(!store.unflushed().load(Ordering::Relaxed), "a start moves what the journal holds");
    let reader = RowStore::reader(dir.path()).unwrap();
    assert_eq!(read(&reader, 0, u64::MAX).len(), 3);
}

/// All that a store holds, as far as it is seen.
fn all(store: &RowStore) -> (Vec<Row>, Vec<Entry>, StoreState) {
    let entries = store.entries((Bound::Unbounded, Bound::Unbounded), false, 1000);
    (store.rows(&[], None, 1000), entries, store.state())
}

/// What is on the disk now, as a power cut leaves it.
fn image_of(dir: &tempfile::TempDir) -> tempfile::TempDir {
    let image = tempfile::tempdir().unwrap();
    for file in fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
        if !file.file_name().to_string_lossy().ends_with("-shm") {
            fs::copy(file.path(), image.path().join(file.file_name())).unwrap();
        }
    }
    image
}

/// Opens the files as a power cut leaves them; returns all rows and entries of that store.
fn after_power_cut(dir: &tempfile::TempDir) -> (Vec<Row>, Vec<Entry>, u64) {
    let image = image_of(dir);
    let (rows, entries, state) = all(&open(&image, 77));
    (rows, entries, state.sequence)
}

/// Commits go on while the writer waits for the disk, everything is seen meanwhile, and a power cut
/// at any time leaves what was committed. Then as much waits as may, and commits wait, too.
#[test]
fn commits_go_on_beside_a_disk_that_hangs_until_as_much_waits_as_may() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir, 1);
    let (release, hung) = crossbeam_channel::bounded::<()>(0);
    let mut rows: BTreeMap<u8, Row> = BTreeMap::new();
    let mut entries: BTreeMap<u8, u8> = BTreeMap::new();
    let mut step = |store: &mut RowStore, sequence: u64| {
        let group = sequence as u8 % 50;
        let row = owner(group, 1, sequence);
        store.put(sequence, &row);
        rows.insert(group, row.clone());
        for key in [group, group / 2] {
            store.set_entry(&[key], Some(&[sequence as u8]));
            entries.insert(key, sequence as u8);
        }
        store.set_entry(&[group ^ 5], None);
        entries.remove(&(group ^ 5));
        if sequence.is_multiple_of(7) {
            store.delete(&owner(group ^ 3, 1, 0).content.key());
            rows.remove(&(group ^ 3));
        }
        store.commit(&[transaction(sequence, vec![row])]).unwrap();
        let (seen, listed, state) = all(store);
        assert_eq!(seen, rows.values().cloned().collect::<Vec<_>>());
        let expected = entries.iter().map(|(&key, &value)| (vec![key], vec![value]));
        assert_eq!(listed, expected.collect::<Vec<_>>());
        store.check().unwrap();
        (seen, listed, state.sequence)
    };
    let mut sequence = 0;
    // A change writes no more than five.
    while store.memtable.len() < MEMTABLE_MAX - 5 {
        sequence += 1;
        let seen = step(&mut store, sequence);
        if sequence.is_multiple_of(4) {
            assert_eq!(after_power_cut(&dir), seen, "after change {sequence}");
        }
        assert!(store.unflushed().load(Ordering::Relaxed) && sequence < 200);
        if sequence == 10 {
            let hung = hung.clone();
            // Stands for a disk that hangs while the writer commits.
            store.begin_move(move |_| {
                let _ = hung.recv();
                Ok(())
            });
        }
    }
    // A question does not hold up the core.
    store.begin_flush();
    assert_eq!(store.moved(), 0);
    // The next one waits until the disk answers.
    std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        drop(release);
    });
    assert!(store.frozen.is_some());
    let since = std::time::Instant::now();
    let mut seen = None;
    while store.moved() == 0 {
        sequence += 1;
        seen = Some(step(&mut store, sequence));
        assert!(store.memtable.len() < MEMTABLE_MAX);
    }
    assert!(since.elapsed() >= std::time::Duration::from_millis(100));
    let seen = seen.unwrap();
    // The writer is done and the store has not heard of it: it has all of one file, none of the
    // other.
    while store.writer.is_busy() && store.moves().is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(after_power_cut(&dir), seen);
    store.check().unwrap();
    let seen = step(&mut store, sequence + 1);
    store.wait();
    assert_eq!(after_power_cut(&dir), seen);
    store.flush().unwrap();
    assert!(!store.unflushed().load(Ordering::Relaxed));
    assert_eq!((store.committed(), after_power_cut(&dir)), (sequence + 1, seen.clone()));
    journal::remove_files(dir.path()).unwrap();
    assert_eq!(after_power_cut(&dir), seen, "the tables have everything");
}

#[test]
fn a_question_waits_for_what_was_committed_before_it_and_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir, 1);
    let reader = RowStore::reader(dir.path()).unwrap();
    let commit = |store: &mut RowStore, sequence| {
        store.put(sequence, &owner(sequence as u8, 1, sequence));
        store.commit(&[transaction(sequence, vec![owner(1, 1, sequence)])]).unwrap();
    };
    let before = store.committed();
    commit(&mut store, 1);
    store.begin_flush();
    commit(&mut store, 2);
    let until = |store: &mut RowStore, commit| {
        while store.moved() < commit {
            store.wait();
            store.check().unwrap();
        }
    };
    until(&mut store, before + 1);
    assert_eq!(read(&reader, 0, u64::MAX).len(), 1);
    assert!(store.unflushed().load(Ordering::Relaxed));
    // Another one, while the writer is at work.
    store.begin_flush();
    commit(&mut store, 3);
    store.begin_flush();
    until(&mut store, before + 3);
    assert_eq!(read(&reader, 0, u64::MAX).len(), 3);
    assert!(!store.unflushed().load(Ordering::Relaxed));
}

#[test]
fn a_store_whose_journal_is_a_table_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let version_3 = DatabaseKind { migrations: &KIND.migrations[..3], ..KIND };
    let before = open_database(&dir.path().join(FILE), version_3).unwrap();
    // One row, an entry, and one that is deleted.
    let row = owner(1, 1, 5);
    let mut record = 1u32.to_be_bytes().to_vec();
    record.extend(3u64.to_be_bytes());
    record.extend((row.to_bytes().len() as u32).to_be_bytes());
    record.extend(row.to_bytes());
    record.extend([0, 0, 0, 2, 0, 0, 0, 1, b'a', 0, 0, 0, 1, b'x']);
    record.extend([0, 0, 0, 1, b'b', 255, 255, 255, 255]);
    before.execute("INSERT INTO journal (body) VALUES (?1)", [record]).unwrap();
    before.execute("INSERT INTO entries VALUES (x'62', x'00')", []).unwrap();
    meta::put_number(&before, meta::SEQUENCE, 3).unwrap();
    drop(before);
    let (rows, entries, state) = all(&open(&dir, 1));
    assert_eq!((rows, entries, state.sequence), (vec![row], vec![(vec![b'a'], vec![b'x'])], 3));
    let store = open(&dir, 2);
    assert_eq!(read(&RowStore::reader(dir.path()).unwrap(), 0, 9).len(), 1);
    drop(store);
    let error = open_database(&dir.path().join(FILE), version_3).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 4, known: 3, .. }));
    let connection = saboteur(&dir);
    let sql = "INSERT INTO journal_of_version_3 (body) VALUES (x'00000001')";
    connection.execute(sql, []).unwrap();
    assert!(matches!(RowStore::open(dir.path(), store_id(3)), Err(StoreError::Damaged { .. })));
}

/// A database that was put back by hand beside the journal of a later time is not opened as if
/// nothing were missing.
#[test]
fn a_journal_that_does_not_follow_the_tables_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir, 1);
    let commit = |store: &mut RowStore, n: u64| {
        store.put(n, &owner(n as u8, 1, n));
        store.commit(&[transaction(n, vec![owner(n as u8, 1, n)])]).unwrap();
    };
    let early = image_of(&dir);
    commit(&mut store, 1);
    store.flush().unwrap();
    commit(&mut store, 2);
    store.flush().unwrap();
    commit(&mut store, 3);
    let late = image_of(&dir);
    assert_eq!(open(&image_of(&late), 9).state().sequence, 3);
    for name in [FILE, "directory.sqlite-wal"] {
        fs::copy(early.path().join(name), late.path().join(name)).unwrap();
    }
    let error = RowStore::open(late.path(), store_id(2)).unwrap_err().to_string();
    assert!(error.contains("directory.journal") && error.contains("missing"), "{error}");
}

#[test]
fn rows_are_read_in_the_order_of_their_sequences_and_move_when_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir, 1);
    let reader = RowStore::reader(dir.path()).unwrap();
    let rows = |group| vec![owner(group, 1, 1), tie(group, MembershipState::Member, 1)];
    store.append(&(1..=5).map(|n| transaction(n, rows(9 - n as u8))).collect::<Vec<_>>()).unwrap();
    let expect =
        |sequence: u64| rows(9 - sequence as u8).into_iter().map(move |row| (sequence, row));
    assert_eq!(read(&reader, 1, 4), (2..=4).flat_map(expect).collect::<Vec<_>>());
    assert_eq!(read(&reader, 5, u64::MAX), []);
    store.append(&[transaction(6, vec![owner(8, 2, 2)])]).unwrap();
    let all = read(&reader, 0, u64::MAX);
    assert_eq!(all.len(), 10);
    assert_eq!(all.first(), Some(&(1, tie(8, MembershipState::Member, 1))));
    assert_eq!(all.last(), Some(&(6, owner(8, 2, 2))));
    let mut count = 0;
    let stop_after_three = |_, _| {
        count += 1;
        count < 3
    };
    reader.read_after(0, u64::MAX, stop_after_three).unwrap();
    assert_eq!(count, 3);
}

#[test]
fn tombstones_and_requests_are_swept_once_they_are_old() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir, 1);
    let (none, member) = (MembershipState::None, MembershipState::Member);
    let late = row(Content::Unknown(200, vec![1], vec![2]), 1);
    store
        .append(&[
            transaction(1, vec![tie(1, none, 10), owner(1, 1, 10), late.clone()]),
            transaction(2, vec![tie(2, none, 20), tie(3, member, 10)]),
            transaction(3, vec![request(1, 10), request(2, 30)]),
            transaction(4, vec![row(Content::User(UserId::from_bytes([4; 16]), None), 19)]),
            transaction(5, vec![row(tie(5, none, 1).content, u64::MAX >> 16)]),
        ])
        .unwrap();
    let sweep = |store: &mut RowStore, before_ms, limit| {
        let (rows, swept) = store.old_rows(before_ms, limit).unwrap();
        let keys: Vec<RowKey> = rows.iter().map(|row| row.content.key()).collect();
        keys.iter().for_each(|key| store.delete(key));
        store.flush().unwrap();
        (keys, swept)
    };
    assert_eq!(sweep(&mut store, 10, 100), (vec![], 0));
    assert_eq!(store.state().swept, 0);
    let (swept, last) = sweep(&mut store, 20, 2);
    assert_eq!(swept.len(), 2, "no more than it may");
    assert_eq!(last, 1);
    assert_eq!(sweep(&mut store, 20, 2), (vec![], 1));
    let deleted = [tie(1, none, 10), request(1, 10)].map(|row| row.content.key());
    assert!(deleted.iter().all(|key| swept.contains(key)) && swept.len() == 2, "{swept:?}");
    let user = RowKey::User(UserId::from_bytes([4; 16]));
    assert!(!swept.contains(&user), "a deletion that is final is kept");
    assert_eq!(store.state().swept, 1);
    assert_eq!(load(&store, 0).len(), 7);
    drop(store);
    let mut store = open(&dir, 2);
    assert_eq!(store.state().swept, 1);
    assert_eq!(sweep(&mut store, 31, 10).0.len(), 2);
    assert_eq!(store.state().swept, 2, "a request is missed by nobody");
    assert!(load(&store, 0).contains(&late), "a row of an unknown kind is kept");
    assert_eq!(sweep(&mut store, u64::MAX, 10).0.len(), 1, "a stamp from the far future");
}

#[test]
fn invitations_are_swept_and_missed_by_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir, 1);
    let (group, invitation) = (GroupId::from_bytes([1; 16]), InvitationId::from_bytes([2; 16]));
    let user = UserId::from_bytes([3; 16]);
    let made = InvitationRow {
        inviter: user,
        created: Stamp::new(10, 0),
        expires_ms: 20,
        uses: 1,
        is_revoked: false,
    };
    let used = InvitationUseRow { inviter: user };
    let on = GroupSettings { members_invite: true };
    let rows = vec![
        row(Content::Invitation(group, invitation, made), 10),
        row(Content::InvitationUse(group, invitation, user, used), 11),
        row(Content::GroupSettings(group, on), 10),
        request(1, 10),
    ];
    store.append(&[transaction(1, rows)]).unwrap();
    // One that was revoked would come back with a tracker that has not heard of that.
    let revoked = InvitationRow { is_revoked: true, ..made };
    let other = InvitationId::from_bytes([4; 16]);
    let (old, swept) = store.old_rows(100, 9).unwrap();
    let kinds: Vec<u8> = old.iter().map(|row| crate::wire::row::kind(&row.content.key())).collect();
    assert_eq!((kinds.len(), kinds.contains(&9), kinds.contains(&10), swept), (3, true, true, 0));
    // They are not among the requests of the audit.
    let reader = RowStore::reader(dir.path()).unwrap();
    let mut count = 0;
    let take = |_: Row| {
        count += 1;
        true
    };
    reader.requests_between(0, 100, 9, take).unwrap();
    assert_eq!(count, 1);
    let rows = vec![row(Content::Invitation(group, other, revoked), 10)];
    store.append(&[transaction(2, rows)]).unwrap();
    assert_eq!(store.old_rows(100, 9).unwrap().1, 2);
}

#[test]
fn requests_are_found_by_their_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir, 1);
    let rows =
        (1..=9).rev().map(|n| request(n, u64::from(n) * 10)).chain([owner(1, 1, 40)]).collect();
    store.append(&[transaction(1, rows)]).unwrap();
    let reader = RowStore::reader(dir.path()).unwrap();
    let between = |from_ms, to_ms, limit| {
        let mut found = Vec::new();
        let take = |row: Row| {
            found.push(row.version.stamp.ms());
            true
        };
        reader.requests_between(from_ms, to_ms, limit, take).unwrap();
        found
    };
    assert_eq!(between(30, 60, 10), [30, 40, 50]);
    assert_eq!(between(0, u64::MAX, 2), [10, 20]);
}

#[test]
fn lookups_use_their_indexes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, 1);
    let plan = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        let mut statement =
            store.tables.connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let lines = statement.query_map(values, |row| row.get::<_, String>(3)).unwrap();
        lines.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    };
    let by_age = plan(OLD, params![1, 1]);
    assert!(by_age.contains("rows_by_age (class=? AND stamp_ms<?)"), "{by_age}");
    let requests = plan(reader::REQUESTS, params![2, 1, 1, 1]);
    assert!(requests.contains("rows_by_age (class=? AND stamp_ms>? AND stamp_ms<?)"), "{requests}");
    let after = plan(reader::READ_AFTER, params![1, 1]);
    assert!(after.contains("rows_by_sequence") && !after.contains("TEMP B-TREE"), "{after}");
}

#[test]
fn peers_are_bounded_and_the_one_untouched_longest_goes() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir, 1);
    let raise = |n: usize| (store_id(1000 + n as u16), 1);
    let many =
        Transaction { vector: (0..PEERS_MAX).map(raise).collect(), ..transaction(0, vec![]) };
    store.append(&[many]).unwrap();
    let touch = Transaction { checkpoints: vec![(store_id(1000), 4)], ..transaction(0, vec![]) };
    let new =
        Transaction { vector: vec![(store_id(7), 7)], ..transaction(1, vec![owner(1, 1, 1)]) };
    store.append(&[touch, new]).unwrap();
    for store in [&store, &open(&dir, 2)] {
        let vector = store.state().vector;
        assert_eq!((vector.get(store_id(1000)), vector.get(store_id(7))), (1, 7));
        assert_eq!(vector.get(store_id(1001)), 0);
        assert!(vector.iter().len() <= limits::STORES_MAX);
    }
}

#[test]
fn ids_of_starts_that_wrote_nothing_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    open(&dir, 1).append(&[transaction(1, vec![owner(1, 1, 1)])]).unwrap();
    for id in 2..100 {
        assert_eq!(open(&dir, id).state().lineage.ancestors, [(store_id(1), 1)]);
    }
    let last = limits::ANCESTORS_MAX as u16 + 20;
    for id in 1..last {
        let sequence = u64::from(id) + 1;
        let mut store = open(&dir, 1000 + id);
        store.append(&[transaction(sequence, vec![owner(1, 1, 1)])]).unwrap();
    }
    let state = open(&dir, 5).state();
    assert_eq!(state.lineage.ancestors.len(), limits::ANCESTORS_MAX);
    assert_eq!(state.lineage.ancestors[0], (store_id(1000 + last - 1), u64::from(last)));
    assert_eq!(
        state.vector.get(store_id(1)),
        1,
        "an id that is no ancestor any more is known all the same"
    );
    assert_eq!(state.vector.get(store_id(1001)), 2);
}

#[test]
fn a_backup_is_made_while_rows_are_written_and_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir, 1);
    let pair = |n: u64| {
        transaction(n, vec![owner(n as u8, 1, n), tie(n as u8, MembershipState::Member, n)])
    };
    store.append(&(1..=50).map(pair).collect::<Vec<_>>()).unwrap();
    let target = tempfile::tempdir().unwrap();
    let file = target.path().join("copy");
    std::thread::scope(|scope| {
        let backup = scope.spawn(|| RowStore::reader(dir.path()).unwrap().backup(&file));
        for n in 51..=150 {
            store.append(&[pair(n)]).unwrap();
        }
        backup.join().unwrap().unwrap();
    });
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 1, "nothing else is left there");
    let taken = store.backup(&file);
    use std::io::ErrorKind::AlreadyExists;
    assert!(matches!(taken, Err(StoreError::Io { source, .. }) if source.kind() == AlreadyExists));

    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("directory.sqlite-wal"), "of a store that was here before")
        .unwrap();
    restore(&file, other.path()).unwrap();
    let put_back = open(&other, 2);
    let state = put_back.state();
    assert!((50..=150).contains(&state.sequence));
    assert_eq!(state.lineage.ancestors, [(store_id(1), state.sequence)]);
    let rows = load(&put_back, 0);
    assert_eq!(rows.len() as u64, 2 * state.sequence, "no transaction is cut");
    for name in fs::read_dir(other.path()).unwrap() {
        assert_eq!(name.unwrap().metadata().unwrap().permissions().mode() & 0o077, 0);
    }
    assert!(matches!(restore(&file, other.path()), Err(StoreError::Io { .. })), "a store is there");
}

#[test]
fn what_is_no_backup_is_not_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let [file, to] = ["file", "to"].map(|name| dir.path().join(name));
    fs::create_dir(&to).unwrap();
    assert!(matches!(restore(&file, &to), Err(StoreError::Database { .. })), "no such file");
    fs::write(&file, "").unwrap();
    assert!(matches!(restore(&file, &to), Err(StoreError::Foreign { .. })));
    fs::write(&file, [b'x'; 5000]).unwrap();
    assert!(matches!(restore(&file, &to), Err(StoreError::Damaged { .. })));
    fs::remove_file(&file).unwrap();
    let other = DatabaseKind { application_id: 5, ..KIND };
    drop(open_database(&file, other).unwrap());
    assert!(matches!(restore(&file, &to), Err(StoreError::Foreign { .. })));
    let mut store = open(&dir, 1);
    fs::remove_file(&file).unwrap();
    meta::put_meta(&saboteur(&dir), meta::ENCODING, &2u32.to_be_bytes()).unwrap();
    store.backup(&file).unwrap();
    assert!(matches!(restore(&file, &to), Err(StoreError::Newer { found: 2, known: 1, .. })));
    assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
}

#[test]
fn a_backup_holds_what_waits_in_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (file, to) = (dir.path().join("copy"), dir.path().join("to"));
    fs::create_dir(&to).unwrap();
    let mut store = open(&dir, 1);
    store.put(1, &owner(1, 1, 1));
    store.set_entry(b"a", Some(b"b"));
    store.commit(&[transaction(1, vec![owner(1, 1, 1)])]).unwrap();
    assert!(store.unflushed().load(Ordering::Relaxed));
    store.backup(&file).unwrap();
    fs::write(to.join("directory.journal-1"), "of a store that was here before").unwrap();
    restore(&file, &to).unwrap();
    assert_eq!(fs::read_dir(&to).unwrap().count(), 1);
    let restored = RowStore::open(&to, store_id(2)).unwrap();
    assert_eq!(
        (load(&restored, 0), restored.entry(b"a")),
        (vec![owner(1, 1, 1)], Some(b"b".to_vec()))
    );
    assert_eq!(restored.state().sequence, 1);
}

#[test]
fn newer_and_damaged_stores_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir, 1);
    let unknown = row(Content::Unknown(77, vec![1, 2], vec![3]), 5);
    store.append(&[transaction(1, vec![unknown.clone()])]).unwrap();
    assert_eq!(load(&store, 0), [unknown], "a row of an unknown kind is no damage");
    store.check().unwrap();
    let saboteur = saboteur(&dir);
    let again = || RowStore::open(dir.path(), store_id(2));
    for (version, is_newer) in [(2u32, true), (0, false)] {
        meta::put_meta(&saboteur, meta::ENCODING, &version.to_be_bytes()).unwrap();
        assert_eq!(matches!(again(), Err(StoreError::Newer { .. })), is_newer);
        assert_eq!(matches!(again(), Err(StoreError::Damaged { .. })), !is_newer);
    }
    meta::put_meta(&saboteur, meta::ENCODING, &1u32.to_be_bytes()).unwrap();
    let version = KIND.migrations.len() as u32;
    saboteur.pragma_update(None, "user_version", version + 1).unwrap();
    assert!(matches!(again(), Err(StoreError::Newer { .. })));
    saboteur.pragma_update(None, "user_version", version).unwrap();
    saboteur.execute("UPDATE rows SET key = x'00'", []).unwrap();
    assert_eq!(store.rows(&[], None, 10), []);
    assert!(matches!(store.check(), Err(StoreError::Damaged { .. })), "in another's place");
    assert!(
        matches!(store.commit(&[]), Err(StoreError::Damaged { .. })),
        "once failed, always failed"
    );
    saboteur.execute("UPDATE rows SET body = x'00'", []).unwrap();
    drop(store.tables.take_failure());
    store.lately.get_mut().clear();
    assert_eq!(store.rows(&[], None, 10), []);
    assert!(matches!(store.check(), Err(StoreError::Damaged { .. })));
    let reader = RowStore::reader(dir.path()).unwrap();
    assert!(matches!(reader.read_after(0, 9, |_, _| true), Err(StoreError::Damaged { .. })));
    meta::put_meta(&saboteur, meta::SEQUENCE, b"odd").unwrap();
    assert!(matches!(again(), Err(StoreError::Damaged { .. })));
}

#[test]
fn others_on_the_machine_cannot_read_the_store() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let _store = open(&dir, 1);
    for entry in fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.path());
    }
}
