//! Clients that ask for all kinds of changes, mostly sensible ones, and repeat requests at other trackers.

use std::collections::{BTreeMap, BTreeSet};

use super::model::Model;
use super::random::Random;
use super::world::{Request, World};
use crate::types::{Change, FileFacts, GroupId, InfoHash, MembershipState, PasswordHash, RequestId, Sha1Digest, UserId};

const USERS: [&str; 4] = ["nik", "ann", "bob", "eve"];
const GROUPS: [&str; 2] = ["lab", "den"];
const FILES: [&str; 3] = ["a", "a~2", "b"];

/// All clients of a network.
#[derive(Debug, Default)]
pub(super) struct Clients {
    pub(super) requests: Vec<Request>,
    users: Vec<UserId>,
    groups: Vec<GroupId>,
    /// Requests by which an owner, in the eyes of the tracker that was asked, let somebody in who had asked to be.
    pub(super) let_in: BTreeMap<RequestId, (GroupId, UserId)>,
    pub(super) reused: BTreeSet<u64>,
}

impl Clients {
    /// A client makes a new request at a tracker.
    pub(super) fn ask(&mut self, world: &mut World, node: usize, random: &mut Random) {
        let id = request_id(self.requests.len() as u64 + 1);
        let change = self.invent(world, node, id, random);
        let actor = self.choose_actor(world, node, &change, random);
        match &change {
            Change::CreateUser { name, .. } => self.users.push(UserId::derive(name, id)),
            Change::CreateGroup { name } => self.groups.push(GroupId::derive(name, actor, id)),
            _ => {}
        }
        self.requests.push(Request { id, actor, change });
        self.send(world, node, self.requests.len() - 1);
    }

    /// Mostly somebody who may, else anybody.
    fn choose_actor(&self, world: &World, node: usize, change: &Change, random: &mut Random) -> UserId {
        let model = Model::of(&world.applied(node));
        let members = |group| model.members(group).into_iter().map(|member| member.1).collect::<Vec<_>>();
        let able: Vec<UserId> = match *change {
            Change::CreateUser { .. } => return UserId::NOBODY,
            Change::AcceptRequest { group, .. }
            | Change::RejectRequest { group, .. }
            | Change::TransferGroup { group, .. }
            | Change::RemoveMember { group, .. } => model.owner(group).into_iter().collect(),
            Change::LeaveGroup { group } | Change::ShareFile { group, .. } | Change::StopShare { group, .. } => members(group),
            Change::JoinGroup { group } => {
                let stranger = |user: &UserId| model.state(group, *user) == MembershipState::None;
                model.users().into_iter().filter(stranger).collect()
            }
            _ => model.users(),
        };
        let anybody = if random.one_in(5) { None } else { random.pick(&able) };
        anybody.or_else(|| random.pick(&self.users)).unwrap_or(UserId::NOBODY)
    }

    /// A client repeats a request, at whatever tracker; now and then somebody else uses its id.
    pub(super) fn repeat(&mut self, world: &mut World, node: usize, random: &mut Random) {
        let recent = self.requests.len().min(6);
        if recent == 0 {
            return;
        }
        let index =
            if random.one_in(4) { random.below(self.requests.len()) } else { self.requests.len() - 1 - random.below(recent) };
        self.send(world, node, index);
    }

    /// A client uses the id of a request that was acknowledged for another one.
    pub(super) fn reuse(&mut self, world: &mut World, node: usize, random: &mut Random) {
        let Some(request) = self.requests.get(random.below(self.requests.len())) else { return };
        let known = world.applied(node).iter().any(|operation| operation.request == request.id);
        let actor = UserId::from_bytes([7; 16]);
        if known {
            let change = Change::ChangePassword { hash: PasswordHash::from_phc("stolen".into()) };
            let ticket = world.submit(node, &Request { id: request.id, actor, change });
            self.reused.insert(ticket.0);
        }
    }

    fn send(&mut self, world: &mut World, node: usize, index: usize) {
        let request = &self.requests[index];
        if let Change::AcceptRequest { group, user } = request.change {
            let model = Model::of(&world.applied(node));
            let asked = model.state(group, user) == MembershipState::Requested;
            if model.owner(group) == Some(request.actor) && asked {
                self.let_in.insert(request.id, (group, user));
            }
        }
        world.submit(node, request);
    }

    fn invent(&self, world: &World, node: usize, id: RequestId, random: &mut Random) -> Change {
        let (Some(user), Some(group)) = (random.pick(&self.users), random.pick(&self.groups)) else {
            return if self.users.is_empty() || random.one_in(2) { create_user(random) } else { create_group(random) };
        };
        let directory = world.nodes[node].replica.as_ref().unwrap().directory();
        match random.below(20) {
            0 => create_user(random),
            1 => create_group(random),
            2..=5 => Change::JoinGroup { group },
            6..=9 => match directory.requests(group, None, 5).0.first() {
                Some(entry) => Change::AcceptRequest { group, user: entry.user.user },
                None => Change::JoinGroup { group },
            },
            10 => match directory.requests(group, None, 5).0.last() {
                Some(entry) => Change::RejectRequest { group, user: entry.user.user },
                None => Change::RemoveMember { group, user },
            },
            11 => Change::RemoveMember { group, user },
            12 => Change::TransferGroup { group, user },
            13 => Change::LeaveGroup { group },
            14 => Change::ChangePassword { hash: PasswordHash::from_phc(format!("hash of {id}")) },
            15 => Change::StopShare { group, info_hash: info_hash(random.below(4) as u8) },
            _ => Change::ShareFile { group, file: file(random.below(4) as u8, FILES[random.below(FILES.len())]) },
        }
    }
}

fn create_user(random: &mut Random) -> Change {
    let hash = PasswordHash::from_phc(format!("hash {}", random.below(1000)));
    Change::CreateUser { name: USERS[random.below(USERS.len())].parse().unwrap(), hash }
}

fn create_group(random: &mut Random) -> Change {
    Change::CreateGroup { name: GROUPS[random.below(GROUPS.len())].parse().unwrap() }
}

/// A request id made from a number.
pub(super) fn request_id(number: u64) -> RequestId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    RequestId::from_bytes(bytes)
}

pub(super) fn info_hash(content: u8) -> InfoHash {
    InfoHash::from_bytes([content; 20])
}

/// The facts of a small file with the given content and name.
pub(super) fn file(content: u8, name: &str) -> FileFacts {
    let sha1 = Sha1Digest::from_bytes([content; 20]);
    FileFacts { info_hash: info_hash(content), name: name.parse().unwrap(), len: 1000, piece_len: 512 << 10, sha1 }
}
