//! docs/CONFORMANCE.md lists every statement that the program sends to a database, and no other.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::cluster::LOGGING;
use super::*;
use crate::store::sql::{exchange, feed};
use crate::types::Content;

const LIST: &str = include_str!("../../../../docs/CONFORMANCE.md");

/// The statements of the first table of the list, and the clauses that each of them needs.
fn listed() -> Vec<(String, BTreeSet<&'static str>)> {
    let rows = LIST.lines().filter_map(|line| line.strip_prefix("| `"));
    let pairs = rows.filter_map(|row| row.split_once("` | "));
    let clauses = |text: &'static str| {
        text.trim_end_matches(" |").split(", ").filter(|id| id.starts_with('C')).collect()
    };
    pairs.map(|(statement, rest)| (statement.to_owned(), clauses(rest))).collect()
}

/// Does all that a tracker does, and what an operator does with `import` and `export`.
fn live(cluster: &Cluster) {
    let url = cluster.url();
    let mut first = Driven::open(&url, 1);
    first.create_user("nik").unwrap();
    first.create_user("nik").unwrap_err();
    let address = EngineAddress::parse(&url).unwrap();
    assert_eq!(Driven::open(&url, 2).replica.directory().counts().users, 1);
    let reader = SqlReader::new(address.clone());
    let mut second = Driven::open(&url, 2);
    second.create_user("ann").unwrap();
    first.replica.store_mut().poll().unwrap();
    second.replica.store_mut().close().unwrap();
    reader.look(|directory| directory.users(None, 10).0.len()).unwrap();
    reader.requests_between((0, u64::MAX), 10, |_| true).unwrap();

    let swarm = (InfoHash::from_bytes([1; 20]), GroupId::from_bytes([2; 16]));
    let (user, device) = (UserId::from_bytes([3; 16]), DeviceId::from_bytes([4; 32]));
    let changed = PresenceChanges::from([(
        PresentAt::User(user, device),
        crate::store::shared::Present::User { is_online: true },
    )]);
    let mut third = open(&url, 4);
    assert!(third.put_presence(&changed).unwrap());
    let store = first.replica.store_mut();
    store.poll().unwrap();
    assert!(store.peers_elsewhere(&[swarm], 9).is_empty());
    assert_eq!(store.count_present(&[swarm], &[user]).users[&user], 1);
    assert_eq!(store.still_there(&[PresentAt::User(user, device)]).len(), 1);
    store.check().unwrap();
    let ended = third.store;
    store.remove_presence(ended).unwrap();
    third.presence.gone.push_back((Instant::now() - Duration::from_secs(60), 1));
    assert!(third.put_presence(&PresenceChanges::new()).unwrap());
    third.close().unwrap();
    assert!(store.write_alone(|connection| feed::remove(connection, ended, feed::ENDED)).unwrap());

    let every = |store: &SqlStore, from: Bound<&[u8]>, to: Bound<&[u8]>| {
        store.entries((from, to), false, 10);
        store.entries((from, to), true, 10);
    };
    for to in [Bound::Unbounded, Bound::Excluded(&[9][..]), Bound::Included(&[9][..])] {
        for from in [Bound::Unbounded, Bound::Excluded(&[1][..]), Bound::Included(&[1][..])] {
            every(store, from, to);
        }
    }
    for prefix in [&[][..], &[1]] {
        store.rows(prefix, None, 10);
        store.rows(prefix, Some(&[1, 2]), 10);
    }
    store.check().unwrap();
    store.begin().unwrap();
    let old = store.old_rows(u64::MAX, 10);
    assert!(old.iter().any(|row| matches!(row.content, Content::Request(..))));
    old.iter().for_each(|row| store.delete(&row.content.key()));
    store.set_entry(b"nothing", None);
    assert!(matches!(store.commit(&[]).unwrap(), Committed::Stored));
    store.begin().unwrap();
    store.abandon();
    assert!(!store.was_committed(store.sequence + 1).unwrap());
    let id = store.store;
    store.write_alone(|connection| feed::remove_told(connection, id, 0)).unwrap();
    // Beats, and what one has told that is not needed any more.
    let since = Instant::now();
    while cluster.sql("SELECT max(beat) FROM posse_trackers") == "0" {
        assert!(since.elapsed() < Duration::from_secs(20), "no beat is counted");
        store.poll().unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    store.close().unwrap();
    drop(first);

    let (there, back) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    cluster.sql("DELETE FROM posse_trackers");
    exchange::export(&address, there.path()).unwrap();
    cluster.sql("DELETE FROM posse_rows; DELETE FROM posse_entries");
    let mut store =
        crate::store::RowStore::open(there.path(), StoreId::from_bytes([7; 16])).unwrap();
    store.begin_entries(ENTRIES_VERSION).unwrap();
    let mut directory = Directory::new(store);
    directory.make_entries(Vec::new(), |_, _| Ok::<_, ()>(())).unwrap();
    directory.rows_mut().end_entries(ENTRIES_VERSION).unwrap();
    directory.rows_mut().close().unwrap();
    drop(directory);
    exchange::import(there.path(), &address).unwrap();
    exchange::export(&address, back.path()).unwrap();
    assert_eq!(open(&url, 3).state().sequence, 0);
}

#[test]
fn the_list_has_every_statement_that_is_sent_and_every_clause_of_these() {
    let mut cluster = Cluster::make(&[&["fsync=off"], &LOGGING[..]].concat());
    cluster.start_server();
    live(&cluster);
    let (sent, listed) = (cluster.statements(), listed());
    let known: BTreeSet<String> = listed.iter().map(|(statement, _)| statement.clone()).collect();
    let missing: Vec<_> = sent.difference(&known).collect();
    let unused: Vec<_> = known.difference(&sent).collect();
    assert!(
        missing.is_empty() && unused.is_empty(),
        "not in it: {missing:#?}; only there: {unused:#?}"
    );
    let described: BTreeSet<&str> = LIST
        .lines()
        .filter_map(|line| line.strip_prefix("| C"))
        .filter_map(|line| line.split_once(' ').map(|(number, _)| number))
        .filter(|number| number.parse::<u32>().is_ok())
        .collect();
    let needed: BTreeSet<&str> =
        listed.iter().flat_map(|(_, clauses)| clauses).map(|id| &id[1..]).collect();
    assert!(listed.iter().all(|(_, clauses)| !clauses.is_empty()), "each needs some");
    assert_eq!(described, needed, "each clause is described, and needed");
}
