//! Merging has no order: whatever operations there are, however they come, however often, the directory is the same, and its answers
//! are those of the naive model.

use std::collections::BTreeSet;
use std::rc::Rc;

use proptest::prelude::*;

use super::clients::{file, info_hash, request_id};
use super::model::Model;
use crate::directory::Directory;
use crate::types::{Effect, GroupId, MembershipState, Operation, PasswordHash, Stamp, StoreId, UserId, Write};

fn user() -> impl Strategy<Value = UserId> {
    (1u8..5).prop_map(|n| UserId::from_bytes([n; 16]))
}

fn group() -> impl Strategy<Value = GroupId> {
    (1u8..3).prop_map(|n| GroupId::from_bytes([n; 16]))
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (1u64..6).prop_map(|ms| Stamp::new(ms, 0))
}

fn write() -> impl Strategy<Value = Write> {
    let names = prop_oneof![Just("x"), Just("y")];
    let files = prop_oneof![Just("a"), Just("a~2"), Just("a~3"), Just("b")];
    let states = prop_oneof![Just(MembershipState::None), Just(MembershipState::Requested), Just(MembershipState::Member)];
    prop_oneof![
        (user(), names.clone(), stamp(), "[pq]").prop_map(|(user, name, created, hash)| Write::User {
            user,
            name: name.parse().unwrap(),
            hash: PasswordHash::from_phc(hash),
            created
        }),
        (group(), names, user(), stamp()).prop_map(|(group, name, created_by, created)| Write::Group {
            group,
            name: name.parse().unwrap(),
            created_by,
            created
        }),
        (group(), user(), states, stamp()).prop_map(|(group, user, state, since)| Write::Membership {
            group,
            user,
            state,
            since
        }),
        (group(), user()).prop_map(|(group, user)| Write::Owner { group, user }),
        (group(), 0u8..4, files, user(), stamp()).prop_map(|(group, content, name, shared_by, at)| Write::File {
            group,
            file: file(content, name),
            shared_by,
            at
        }),
        (group(), 0u8..4, user(), any::<bool>()).prop_map(|(group, content, user, on)| Write::Sharing {
            group,
            info_hash: info_hash(content),
            user,
            on
        }),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    (1u8..4, 1u64..20, proptest::collection::vec(write(), 1..4)).prop_map(|(origin, ms, writes)| Operation {
        origin: StoreId::from_bytes([origin; 16]),
        sequence: 1,
        stamp: Stamp::new(ms, 0),
        request: request_id(ms * 4 + u64::from(origin)),
        actor: UserId::NOBODY,
        effect: Effect::Done,
        writes,
    })
}

fn directory(operations: &[Operation]) -> Directory {
    let mut directory = Directory::default();
    operations.iter().for_each(|operation| directory.apply(operation));
    directory
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Commutative, associative and idempotent, even where a tag is used twice.
    #[test]
    fn order_and_repetition_do_not_matter(
        operations in proptest::collection::vec(operation(), 0..40),
        order in any::<prop::sample::Index>(),
        seed in any::<u64>(),
    ) {
        let mut shuffled = operations.clone();
        let mut random = super::random::Random::new(seed);
        (1..shuffled.len()).for_each(|last| shuffled.swap(last, random.below(last + 1)));
        if !shuffled.is_empty() {
            let again = shuffled[order.index(shuffled.len())].clone();
            shuffled.push(again);
        }
        let (one, other) = (directory(&operations), directory(&shuffled));
        prop_assert_eq!(one.digest(), other.digest());
        let all = |directory: &Directory| directory.groups(UserId::NOBODY, None, usize::MAX);
        prop_assert_eq!(all(&one), all(&other));
        for group in all(&one).0 {
            let files = |directory: &Directory| directory.files(group.group, None, usize::MAX);
            prop_assert_eq!(files(&one), files(&other));
            prop_assert_eq!(one.members(group.group, None, usize::MAX), other.members(group.group, None, usize::MAX));
        }
    }

    /// The indexes say what the registers say.
    #[test]
    fn answers_are_those_of_the_model(operations in proptest::collection::vec(operation(), 0..40)) {
        let mut tags = BTreeSet::new();
        let mut operations = operations;
        operations.retain(|operation| tags.insert(operation.tag()));
        // One register once an operation: the model does not order the writes of one.
        operations.iter_mut().for_each(|operation| operation.writes.truncate(1));
        let directory = directory(&operations);
        let operations: Vec<Rc<Operation>> = operations.into_iter().map(Rc::new).collect();
        Model::of(&operations).check(&directory);
    }

    /// Pages put together are the whole list.
    #[test]
    fn pages_cover_each_list(operations in proptest::collection::vec(operation(), 0..40), max in 1usize..4) {
        let directory = directory(&operations);
        let asking = UserId::from_bytes([1; 16]);
        let mut paged = Vec::new();
        loop {
            let (page, more) = directory.groups(asking, paged.last().map(|g: &crate::types::GroupEntry| &g.label), max);
            paged.extend(page);
            if !more { break }
        }
        prop_assert_eq!(&paged, &directory.groups(asking, None, usize::MAX).0);
        for group in paged {
            let mut files = Vec::new();
            while let (page, more) = directory.files(group.group, files.last().map(|f: &crate::types::FileEntry| &f.label), max)
                && { files.extend(page); more } {}
            prop_assert_eq!(files, directory.files(group.group, None, usize::MAX).0);
            let mut members = Vec::new();
            while let (page, more) = directory.members(group.group, members.last().map(|m: &crate::types::MemberEntry| m.user.user), max)
                && { members.extend(page); more } {}
            prop_assert_eq!(members, directory.members(group.group, None, usize::MAX).0);
        }
    }
}
