//! A second, naive directory: every register in one map, every answer computed from scratch. What it says and what the real one
//! says must be the same.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::directory::Directory;
use crate::types::{
    FileFacts, FileName, GroupId, InfoHash, Label, MembershipState, Operation, Part, RequestId, Stamp, Tag, UserId, Write,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    User(UserId),
    Group(GroupId),
    Membership(GroupId, UserId),
    Owner(GroupId),
    File(GroupId, InfoHash),
    Sharing(GroupId, InfoHash, UserId),
}

/// The registers, each with the request that wrote it last.
#[derive(Debug, Default)]
pub(super) struct Model(BTreeMap<Key, (Tag, Write, RequestId)>);

impl Model {
    pub(super) fn of(operations: &[Rc<Operation>]) -> Self {
        let mut model = Self::default();
        for operation in operations {
            for write in &operation.writes {
                let slot = model.0.entry(key(write)).or_insert_with(|| (operation.tag(), write.clone(), operation.request));
                if operation.tag() > slot.0 {
                    *slot = (operation.tag(), write.clone(), operation.request);
                }
            }
        }
        model
    }

    /// Members with the request that let each one in, longest-standing first.
    pub(super) fn members(&self, group: GroupId) -> Vec<(Stamp, UserId, RequestId)> {
        let mut members: Vec<_> = self
            .0
            .values()
            .filter_map(|(_, write, request)| match *write {
                Write::Membership { group: g, user, state: MembershipState::Member, since } if g == group => {
                    Some((since, user, *request))
                }
                _ => None,
            })
            .collect();
        members.sort();
        members
    }

    pub(super) fn owner(&self, group: GroupId) -> Option<UserId> {
        let members = self.members(group);
        let named = match self.0.get(&Key::Owner(group)) {
            Some((_, Write::Owner { user, .. }, _)) => Some(*user),
            _ => None,
        };
        named.filter(|user| members.iter().any(|member| member.1 == *user)).or(members.first().map(|member| member.1))
    }

    pub(super) fn state(&self, group: GroupId, user: UserId) -> MembershipState {
        match self.0.get(&Key::Membership(group, user)) {
            Some((_, Write::Membership { state, .. }, _)) => *state,
            _ => MembershipState::None,
        }
    }

    pub(super) fn users(&self) -> Vec<UserId> {
        self.0.keys().filter_map(|key| if let Key::User(user) = key { Some(*user) } else { None }).collect()
    }

    pub(super) fn live_groups(&self) -> Vec<GroupId> {
        let groups = self.0.keys().filter_map(|key| if let Key::Group(group) = key { Some(*group) } else { None });
        groups.filter(|&group| !self.members(group).is_empty()).collect()
    }

    /// How many users bear a name that another one bears too.
    pub(super) fn same_names(&self) -> usize {
        let users: BTreeSet<&str> = self
            .0
            .values()
            .filter_map(|w| if let Write::User { name, .. } = &w.1 { Some(name.as_str()) } else { None })
            .collect();
        self.users().len() - users.len()
    }

    /// Compares every answer with the real directory's.
    pub(super) fn check(&self, directory: &Directory) {
        let users = self.users();
        self.check_users(directory);
        let groups = self.live_groups();
        let named = groups.iter().map(|&group| match &self.0[&Key::Group(group)].1 {
            Write::Group { name, created, .. } => (name.as_str().to_owned(), *created, group),
            _ => unreachable!(),
        });
        let labels = labels(named.collect());
        let (listed, more) = directory.groups(UserId::NOBODY, None, usize::MAX);
        assert!(!more);
        assert_eq!(
            listed.iter().map(|g| (g.label.clone(), g.group)).collect::<Vec<_>>(),
            labels.clone().into_iter().collect::<Vec<_>>()
        );
        for (label, group) in labels {
            assert_eq!(directory.find_group(label.as_str()), Some(group));
            self.check_group(directory, group, &users);
        }
        for &user in &users {
            let mine: BTreeSet<GroupId> = directory.my_groups(user, None, usize::MAX).0.into_iter().map(|g| g.group).collect();
            let expected = groups.iter().filter(|&&group| self.state(group, user) != MembershipState::None);
            assert_eq!(mine, expected.copied().collect());
        }
        let counts = directory.counts();
        assert_eq!((counts.users, counts.groups), (users.len() as u64, groups.len() as u64));
    }

    fn check_users(&self, directory: &Directory) {
        let named = self.0.values().filter_map(|(_, write, _)| match write {
            Write::User { user, name, created, .. } => Some((name.as_str().to_owned(), *created, *user)),
            _ => None,
        });
        for (label, user) in labels(named.collect()) {
            assert_eq!(directory.find_user(label.as_str()), Some(user));
            assert_eq!(directory.user_entry(user).unwrap().label, label);
            let name = label.as_str().split('~').next().unwrap();
            assert!(
                directory.login_candidates(name).len() == 8 || directory.login_candidates(name).iter().any(|c| c.0.user == user)
            );
            assert_eq!(directory.login_candidates(label.as_str())[0].0.user, user);
        }
    }

    fn check_group(&self, directory: &Directory, group: GroupId, users: &[UserId]) {
        let members: Vec<UserId> = self.members(group).iter().map(|member| member.1).collect();
        let (listed, _) = directory.members(group, None, usize::MAX);
        assert_eq!(listed.iter().map(|m| m.user.user).collect::<Vec<_>>(), members);
        let owner = self.owner(group);
        assert_eq!(listed.iter().find(|m| m.owner).map(|m| m.user.user), owner);
        for &user in users {
            let expected = match self.state(group, user) {
                MembershipState::None => Part::Stranger,
                MembershipState::Requested => Part::Requested,
                MembershipState::Member if owner == Some(user) => Part::Owner,
                MembershipState::Member => Part::Member,
            };
            assert_eq!(directory.part(group, user), expected);
        }
        let requested = users.iter().filter(|&&user| self.state(group, user) == MembershipState::Requested).count();
        let known = directory.requests(group, None, usize::MAX).0.iter().filter(|r| users.contains(&r.user.user)).count();
        assert_eq!(known, requested);
        self.check_files(directory, group, &members);
    }

    fn check_files(&self, directory: &Directory, group: GroupId, members: &[UserId]) {
        let sharers = |info_hash: InfoHash| -> BTreeSet<UserId> {
            let on = |user: &UserId| match self.0.get(&Key::Sharing(group, info_hash, *user)) {
                Some((_, Write::Sharing { on, .. }, _)) => *on,
                _ => false,
            };
            members.iter().copied().filter(on).collect()
        };
        let files: Vec<(&FileFacts, Stamp)> = self
            .0
            .values()
            .filter_map(|(_, write, _)| match write {
                Write::File { group: g, file, at, .. } if *g == group => Some((file, *at)),
                _ => None,
            })
            .filter(|(file, _)| !sharers(file.info_hash).is_empty())
            .collect();
        let named = files.iter().map(|(file, at)| (FileName::as_str(&file.name).to_owned(), *at, file.info_hash));
        let expected: Vec<(Label, InfoHash)> = labels(named.collect()).into_iter().collect();
        let (listed, _) = directory.files(group, None, usize::MAX);
        assert_eq!(listed.iter().map(|f| (f.label.clone(), f.facts.info_hash)).collect::<Vec<_>>(), expected);
        for entry in listed {
            assert_eq!(directory.sharers(group, entry.facts.info_hash).collect::<BTreeSet<_>>(), sharers(entry.facts.info_hash));
            assert_eq!(entry.sharer_count as usize, sharers(entry.facts.info_hash).len());
            assert!(files.iter().any(|(facts, _)| **facts == entry.facts));
            assert_eq!(directory.find_file(group, entry.label.as_str()), Some(entry));
        }
    }
}

/// Numbers the bearers of each name: the earliest bears it plainly, the others get the numbers that no real name takes.
fn labels<K: Copy + Ord + std::fmt::Debug>(mut bearers: Vec<(String, Stamp, K)>) -> BTreeMap<Label, K> {
    bearers.sort();
    let real: BTreeSet<String> = bearers.iter().map(|bearer| bearer.0.clone()).collect();
    let mut labels = BTreeMap::new();
    let mut before: Option<(String, usize)> = None;
    for (name, _, key) in bearers {
        let ordinal = match before.take().filter(|(other, _)| *other == name) {
            None => 1,
            Some((_, last)) => (last + 1..).find(|n| !real.contains(&format!("{name}~{n}"))).unwrap(),
        };
        assert_eq!(labels.insert(Label::new(&name, ordinal), key), None);
        before = Some((name, ordinal));
    }
    labels
}

fn key(write: &Write) -> Key {
    match *write {
        Write::User { user, .. } => Key::User(user),
        Write::Group { group, .. } => Key::Group(group),
        Write::Membership { group, user, .. } => Key::Membership(group, user),
        Write::Owner { group, .. } => Key::Owner(group),
        Write::File { group, ref file, .. } => Key::File(group, file.info_hash),
        Write::Sharing { group, info_hash, user, .. } => Key::Sharing(group, info_hash, user),
    }
}
