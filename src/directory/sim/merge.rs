//! Merging has no order: whatever rows there are, however they come, however often, the directory
//! is the same, and its answers are those of the naive model.

use std::collections::BTreeSet;
use std::ops::Bound;

use proptest::prelude::*;

use super::clients::{file, request_id};
use super::model::Model;
use crate::directory::{Counts, Directory, Entry, Rows, RowsMut};
use crate::store::{Entries, RowStore};
use crate::types::{
    Content, DeviceId, DeviceRow, FileFacts, FileOrder, FileRow, GroupId, GroupRow, GroupSettings,
    InvitationId, InvitationRow, InvitationUseRow, MembershipRow, MembershipState, PasswordHash,
    Place, Row, SharingRow, Stamp, StoreId, Transaction, UserId, UserRow, Version,
};

fn user() -> impl Strategy<Value = UserId> {
    (1u8..5).prop_map(|n| UserId::from_bytes([n; 16]))
}

fn group() -> impl Strategy<Value = GroupId> {
    (1u8..3).prop_map(|n| GroupId::from_bytes([n; 16]))
}

fn invitation() -> impl Strategy<Value = InvitationId> {
    (1u8..4).prop_map(|n| InvitationId::from_bytes([n; 16]))
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (1u64..6).prop_map(|ms| Stamp::new(ms, 0))
}

fn facts() -> impl Strategy<Value = FileFacts> {
    let names = prop_oneof![Just("a"), Just("a~2"), Just("a~3"), Just("b")];
    (0u8..3, names).prop_map(|(content, name)| file(content, name))
}

fn user_row() -> impl Strategy<Value = UserRow> {
    let names = prop_oneof![Just("x"), Just("y")];
    (names, stamp(), "[pq]", proptest::option::of(stamp())).prop_map(
        |(name, created, hash, replaced)| UserRow {
            name: name.parse().unwrap(),
            hash: PasswordHash::from_phc(hash),
            created,
            replaced,
            must_change: false,
            is_disabled: false,
        },
    )
}

fn content() -> impl Strategy<Value = Content> {
    let names = prop_oneof![Just("x"), Just("y")];
    let states = prop_oneof![1 => Just(MembershipState::None), 1 => Just(MembershipState::Requested), 3 => Just(MembershipState::Member)];
    let group_row = (names, user(), stamp()).prop_map(|(name, created_by, created)| GroupRow {
        name: name.parse().unwrap(),
        created_by,
        created,
    });
    let file_row = (user(), stamp(), proptest::option::of(stamp()));
    let most = |row| proptest::option::weighted(0.9, row);
    prop_oneof![
        1 => (user(), proptest::option::weighted(0.9, user_row())).prop_map(|(user, row)| Content::User(user, row)),
        1 => (group(), proptest::option::weighted(0.9, group_row)).prop_map(|(group, row)| Content::Group(group, row)),
        3 => (group(), user(), states, stamp(), proptest::option::of(stamp())).prop_map(|(group, user, state, since, ended)| {
            Content::Membership(group, user, MembershipRow { state, since, ended })
        }),
        1 => (group(), user()).prop_map(|(group, user)| Content::Owner(group, user)),
        2 => (group(), facts(), most(file_row)).prop_map(|(group, facts, row)| {
            let row = row.map(|(shared_by, at, removed)| FileRow { facts: facts.clone(), shared_by, at, replaces: None, removed });
            Content::File(group, facts.id(), row)
        }),
        3 => (group(), facts(), user(), any::<bool>(), 1u64..20).prop_map(|(group, facts, user, on, admission)| {
            Content::Sharing(group, facts.id(), user, SharingRow { on, admission: request_id(admission) })
        }),
        2 => (user(), 1u8..4, any::<bool>(), stamp(), 1u64..20, proptest::option::of(stamp())).prop_map(
            |(user, device, on, since, request, ended)| {
                let name = on.then(|| "laptop".parse().unwrap());
                let password = Version { stamp: since, request: request_id(request) };
                let device = DeviceId::from_bytes([device; 32]);
                Content::Device(user, device, DeviceRow { on, name, since, password, ended })
            },
        ),
        2 => (group(), invitation(), user(), stamp(), any::<bool>()).prop_map(
            |(group, invitation, inviter, created, is_revoked)| {
                let row = InvitationRow { inviter, created, expires_ms: 7, uses: 2, is_revoked };
                Content::Invitation(group, invitation, row)
            },
        ),
        2 => (group(), invitation(), user(), user()).prop_map(|(group, invitation, user, inviter)| {
            Content::InvitationUse(group, invitation, user, InvitationUseRow { inviter })
        }),
        1 => (group(), any::<bool>()).prop_map(|(group, members_invite)| {
            Content::GroupSettings(group, GroupSettings { members_invite })
        }),
        1 => (0u8..2, "[a-c]").prop_map(|(key, value)| Content::Unknown(99, vec![key], value.into_bytes())),
    ]
}

/// Versions are few, so that one version is used for several contents.
fn row() -> impl Strategy<Value = Row> {
    (content(), 1u64..12, 1u64..20).prop_map(|(content, ms, request)| {
        let version = Version { stamp: Stamp::new(ms, 0), request: request_id(request) };
        let place = Place { store: StoreId::from_bytes([1; 16]), sequence: 1 };
        Row { content, version, place, extra: Box::default() }
    })
}

fn directory(rows: &[Row]) -> Directory {
    applied(Directory::default(), rows)
}

fn applied<R: RowsMut>(mut directory: Directory<R>, rows: &[Row]) -> Directory<R> {
    rows.iter().for_each(|row| drop(directory.apply(row, 1)));
    directory.end_transaction();
    directory
}

fn all_entries(rows: &impl Rows) -> Vec<Entry> {
    rows.entries((Bound::Unbounded, Bound::Unbounded), false, usize::MAX)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Commutative, associative and idempotent, even where a version is used twice.
    #[test]
    fn order_and_repetition_do_not_matter(
        rows in proptest::collection::vec(row(), 0..60),
        order in any::<prop::sample::Index>(),
        seed in any::<u64>(),
    ) {
        let mut shuffled = rows.clone();
        let mut random = super::random::Random::new(seed);
        (1..shuffled.len()).for_each(|last| shuffled.swap(last, random.below(last + 1)));
        if !shuffled.is_empty() {
            let again = shuffled[order.index(shuffled.len())].clone();
            shuffled.push(again);
        }
        let (one, other) = (directory(&rows), directory(&shuffled));
        prop_assert_eq!(one.digest(), other.digest());
        prop_assert_eq!(one.counts(), other.counts());
        prop_assert_eq!(one.rows().all_entries(), other.rows().all_entries());
        let all = |directory: &Directory| directory.groups(UserId::NOBODY, None, None, usize::MAX);
        prop_assert_eq!(all(&one), all(&other));
        for group in all(&one).0 {
            let files = |directory: &Directory| directory.files(group.group, None, FileOrder::Name, None, usize::MAX);
            prop_assert_eq!(files(&one), files(&other));
            prop_assert_eq!(one.members(group.group, None, usize::MAX), other.members(group.group, None, usize::MAX));
        }
    }

    /// Entries that are made anew are those that had been made one by one.
    #[test]
    fn entries_follow_from_the_rows(rows in proptest::collection::vec(row(), 0..60)) {
        let one_by_one = directory(&rows);
        let mut anew = Directory::new(one_by_one.rows().clone().without_entries());
        let Ok(()) = anew.make_entries(Vec::new(), |_, _| Ok::<(), std::convert::Infallible>(()));
        prop_assert_eq!(one_by_one.rows().all_entries(), anew.rows().all_entries());
    }

    /// The indexes say what the rows say.
    #[test]
    fn answers_are_those_of_the_model(rows in proptest::collection::vec(row(), 0..60)) {
        Model::of(&rows).check(&directory(&rows));
    }

    /// What was deleted for its age leaves the directory as a start from the other rows makes it.
    #[test]
    fn what_is_forgotten_leaves_nothing_behind(rows in proptest::collection::vec(row(), 0..60)) {
        let mut forgetful = directory(&rows);
        let rows = Model::of(&rows).rows();
        let old: BTreeSet<usize> = (0..rows.len()).filter(|&index| rows[index].content.is_tombstone()).collect();
        old.iter().for_each(|&index| forgetful.forget(&rows[index]));
        let kept: Vec<Row> = rows.iter().filter(|row| !row.content.is_tombstone()).cloned().collect();
        let fresh = directory(&kept);
        prop_assert_eq!(fresh.digest(), forgetful.digest());
        prop_assert_eq!(fresh.counts(), forgetful.counts());
        prop_assert_eq!(fresh.rows().all_entries(), forgetful.rows().all_entries());
        Model::of(&kept).check(&forgetful);
    }

    /// Pages put together are the whole list.
    #[test]
    fn pages_cover_each_list(rows in proptest::collection::vec(row(), 0..60), max in 1usize..4) {
        let directory = directory(&rows);
        let asking = UserId::from_bytes([1; 16]);
        let mut groups: Vec<crate::types::GroupEntry> = Vec::new();
        loop {
            let after = groups.last().map(|group| group.label.clone());
            let (page, more) = directory.groups(asking, None, after.as_ref(), max);
            groups.extend(page);
            if !more { break }
        }
        prop_assert_eq!(&groups, &directory.groups(asking, None, None, usize::MAX).0);
        let mut invitations: Vec<crate::types::InvitationEntry> = Vec::new();
        loop {
            let after = invitations.last().map(|entry| (entry.group, entry.invitation));
            let (page, more) = directory.invitations(asking, after, max);
            invitations.extend(page);
            if !more { break }
        }
        prop_assert_eq!(invitations, directory.invitations(asking, None, usize::MAX).0);
        for group in groups {
            for order in [FileOrder::Name, FileOrder::Size, FileOrder::Date] {
                let whole = directory.files(group.group, None, order, None, usize::MAX).0;
                let mut files: Vec<crate::types::FileEntry> = Vec::new();
                loop {
                    let after = files.last().map(|file| file.label.clone());
                    let (page, more) = directory.files(group.group, None, order, after.as_ref(), max);
                    files.extend(page);
                    if !more { break }
                }
                prop_assert_eq!(files, whole);
            }
            let mut members: Vec<crate::types::MemberEntry> = Vec::new();
            loop {
                let (page, more) = directory.members(group.group, members.last().map(|m| m.user.user), max);
                members.extend(page);
                if !more { break }
            }
            prop_assert_eq!(members, directory.members(group.group, None, usize::MAX).0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// The same rules over SQLite: the same entries, the same answers, also read beside the writer.
    #[test]
    fn a_database_holds_what_memory_holds(rows in proptest::collection::vec(row(), 0..60)) {
        let dir = tempfile::tempdir().unwrap();
        let store = RowStore::open(dir.path(), StoreId::from_bytes([1; 16])).unwrap();
        let in_memory = directory(&rows);
        let mut stored = applied(Directory::new(store), &rows);
        prop_assert_eq!(all_entries(in_memory.rows()), all_entries(stored.rows()));
        prop_assert_eq!(in_memory.digest(), stored.digest());
        let reader = RowStore::reader(dir.path()).unwrap();
        let before = reader.look(|directory| directory.counts()).unwrap();
        prop_assert_eq!(before, Counts::default(), "nothing is seen before it is on the disk");
        stored.rows_mut().commit(&[]).unwrap();
        stored.rows_mut().flush().unwrap();
        let seen = reader.look(|directory| (directory.counts(), all_entries(directory.rows()))).unwrap();
        prop_assert_eq!(seen, (in_memory.counts(), all_entries(in_memory.rows())));
        let groups = |directory: &Directory| directory.groups(UserId::NOBODY, None, None, usize::MAX);
        prop_assert_eq!(groups(&in_memory), stored.groups(UserId::NOBODY, None, None, usize::MAX));
    }
    /// Entries that are made anew after a store of before was opened, in two goes.
    #[test]
    fn entries_are_made_to_the_end_after_an_interruption(rows in proptest::collection::vec(row(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let open = || RowStore::open(dir.path(), StoreId::from_bytes(rand::random())).unwrap();
        let model = Model::of(&rows).rows();
        let transaction = Transaction { sequence: 1, rows: model.clone(), ..Transaction::default() };
        open().append(&[transaction]).unwrap();
        let interrupt = |store: &mut RowStore, through: &[u8]| {
            store.pause_entries(1, through).unwrap();
            Err(())
        };
        let mut store = open();
        prop_assert_eq!(store.begin_entries(1).unwrap(), Entries::Behind(Vec::new()));
        prop_assert_eq!(Directory::new(store).make_entries(Vec::new(), interrupt), Err(()));
        let mut store = open();
        let Entries::Behind(through) = store.begin_entries(1).unwrap() else { panic!("all are there") };
        prop_assert!(!through.is_empty());
        let mut stored = Directory::new(store);
        stored.make_entries(through, |store, through| store.pause_entries(1, through)).unwrap();
        stored.rows_mut().end_entries(1).unwrap();
        prop_assert_eq!(stored.rows_mut().begin_entries(1).unwrap(), Entries::All);
        prop_assert_eq!(all_entries(directory(&model).rows()), all_entries(stored.rows()));
        prop_assert_eq!(stored.rows_mut().begin_entries(2).unwrap(), Entries::Behind(Vec::new()));
        prop_assert_eq!(all_entries(stored.rows()), Vec::new());
    }
}
