//! Clients that ask for all kinds of changes, mostly sensible ones, and repeat requests at other
//! trackers.

use std::collections::BTreeSet;

use super::model::Model;
use super::random::Random;
use super::world::{Request, World};
use crate::directory::{Directory, Rows};
use crate::types::{
    Change, DeviceId, FileFacts, FileId, GroupId, GroupSettings, InfoHash, InvitationId,
    MembershipState, Order, PasswordHash, RequestId, RequestStamp, Sha1Digest, Stamp, UserId,
    Version,
};

const USERS: [&str; 4] = ["nik", "ann", "bob", "eve"];
const GROUPS: [&str; 3] = ["lab", "den", "pub"];
const FILES: [&str; 3] = ["a", "a~2", "b"];
const DEVICES: usize = 3;
const CLIENTS: usize = 5;
/// How far a client's estimate of the true time may be off.
const ERROR_MS: i64 = 20;

/// All clients of a network.
#[derive(Debug, Default)]
pub(super) struct Clients {
    pub(super) requests: Vec<Request>,
    users: Vec<UserId>,
    groups: Vec<GroupId>,
    invitations: Vec<(GroupId, InvitationId)>,
    pub(super) reused: BTreeSet<u64>,
    /// How far each client's clock is off.
    pub(super) skews_ms: [i64; CLIENTS],
    last: [Stamp; CLIENTS],
}

impl Clients {
    /// A client makes a new request at a tracker.
    pub(super) fn ask(&mut self, world: &mut World, node: usize, random: &mut Random) {
        let client = random.below(CLIENTS);
        let at = self.time(world, client, random);
        let stamp = RequestStamp { id: request_id(self.requests.len() as u64 + 1), at };
        let change = self.invent(world, node, stamp.id, random);
        let actor = self.choose_actor(world, node, &change, random);
        match &change {
            Change::CreateUser { name, .. } | Change::CreateInvitedUser { name, .. } => {
                self.users.push(UserId::derive(name, stamp.id));
            }
            Change::CreateInvitation { group, invitation, .. } => {
                self.invitations.push((*group, *invitation));
            }
            Change::CreateGroup { name } => {
                self.groups.push(GroupId::derive(name, actor, stamp.id));
            }
            _ => {}
        }
        let (asked_ms, number) = (world.now_ms, world.next());
        self.requests.push(Request { client, stamp, actor, change, asked_ms, number });
        world.ask(node, &self.requests[self.requests.len() - 1]);
    }

    /// Clients ask again with a later time where they were told to, at the same tracker. What was
    /// acknowledged keeps its time. Returns how many do.
    pub(super) fn ask_later(&mut self, world: &mut World, random: &mut Random) -> usize {
        let mut count = 0;
        for (id, node, above) in std::mem::take(&mut world.overtaken) {
            let is_done = world.acknowledged.iter().any(|a| a.request == id);
            let index = self.requests.iter().position(|request| request.stamp.id == id).unwrap();
            if is_done {
                continue;
            }
            let client = self.requests[index].client;
            if self.requests[index].stamp.at <= above {
                world.told.entry(client).or_default().push(above);
                let at = self.time(world, client, random).max(above.next().unwrap());
                self.last[client] = at;
                self.requests[index].stamp.at = at;
            }
            world.ask(node, &self.requests[index]);
            count += 1;
        }
        count
    }

    /// The time of what a client asks now.
    fn time(&mut self, world: &mut World, client: usize, random: &mut Random) -> Stamp {
        let error_ms = random.below(2 * ERROR_MS as usize + 1) as i64 - ERROR_MS;
        let wall_ms = world.now_ms + error_ms + self.skews_ms[client];
        let told = world.told.remove(&client).unwrap_or_default();
        self.last[client] = time(wall_ms as u64, self.last[client], &told);
        self.last[client]
    }

    /// Mostly a user who may, else any.
    fn choose_actor(
        &self,
        world: &World,
        node: usize,
        change: &Change,
        random: &mut Random,
    ) -> UserId {
        let model = Model::of(world.nodes[node].view.values().map(|row| &**row));
        let able: Vec<UserId> = match *change {
            Change::CreateUser { .. } | Change::CreateInvitedUser { .. } | Change::Operator(_) => {
                return UserId::NOBODY;
            }
            Change::AcceptRequest { group, .. }
            | Change::RejectRequest { group, .. }
            | Change::TransferGroup { group, .. }
            | Change::RenameGroup { group, .. }
            | Change::DeleteGroup { group }
            | Change::CreateInvitation { group, .. }
            | Change::RevokeInvitation { group, .. }
            | Change::SetGroup { group, .. }
            | Change::RemoveMember { group, .. } => model.owner(group).into_iter().collect(),
            Change::LeaveGroup { group }
            | Change::ShareFile { group, .. }
            | Change::ReplaceFile { group, .. }
            | Change::RemoveFile { group, .. }
            | Change::StopShare { group, .. } => model.members(group),
            Change::JoinGroup { group } | Change::UseInvitation { group, .. } => {
                let is_out = |user: &UserId| model.state(group, *user) == MembershipState::None;
                model.users().into_iter().filter(is_out).collect()
            }
            _ => model.users(),
        };
        let any = if random.one_in(5) { None } else { random.pick(&able) };
        any.or_else(|| random.pick(&self.users)).unwrap_or(UserId::NOBODY)
    }

    /// A client repeats a request, at any tracker. An operator does not: a command is asked of one
    /// tracker, once.
    pub(super) fn repeat(&mut self, world: &mut World, node: usize, random: &mut Random) {
        let count = self.requests.len();
        let recent = count.min(6);
        if recent == 0 {
            return;
        }
        let index =
            if random.one_in(4) { random.below(count) } else { count - 1 - random.below(recent) };
        if !matches!(self.requests[index].change, Change::Operator(_)) {
            world.ask(node, &self.requests[index]);
        }
    }

    /// A client uses the id of a request that was acknowledged for another one.
    pub(super) fn reuse(&mut self, world: &mut World, node: usize, random: &mut Random) {
        let known: Vec<usize> = (0..self.requests.len())
            .filter(|&index| {
                let id = self.requests[index].stamp.id;
                world.nodes[node].replica.as_ref().unwrap().directory().carried_out(id).is_some()
            })
            .collect();
        let Some(index) = random.pick(&known) else { return };
        let (actor, hash) = (UserId::from_bytes([7; 16]), PasswordHash::from_phc("stolen".into()));
        let change = Change::ChangePassword { hash };
        let ticket = world.submit(node, &Request { actor, change, ..self.requests[index].clone() });
        self.reused.insert(ticket.0);
    }

    fn invent(&self, world: &World, node: usize, id: RequestId, random: &mut Random) -> Change {
        let (Some(user), Some(group)) = (random.pick(&self.users), random.pick(&self.groups))
        else {
            let is_user = self.users.is_empty() || random.one_in(2);
            return if is_user { create_user(random) } else { create_group(random) };
        };
        let directory = world.nodes[node].replica.as_ref().unwrap().directory();
        let listed = directory.files(group, None, Default::default(), None, 10).0;
        let listed: Vec<FileId> = listed.iter().map(|entry| entry.facts.id()).collect();
        let any_file = any_file(random);
        let hash = || PasswordHash::from_phc(format!("hash of {id}"));
        match random.below(56) {
            0..2 => create_user(random),
            2..4 => create_group(random),
            4..11 => Change::JoinGroup { group },
            11..18 => match directory.requests(group, None, 5).0.first() {
                Some(entry) => Change::AcceptRequest { group, user: entry.user.user },
                None => Change::JoinGroup { group },
            },
            18..20 => match directory.requests(group, None, 5).0.last() {
                Some(entry) => Change::RejectRequest { group, user: entry.user.user },
                None => Change::RemoveMember { group, user },
            },
            20..22 => Change::RemoveMember { group, user },
            22..24 => Change::TransferGroup { group, user },
            24..26 => Change::LeaveGroup { group },
            26 => Change::ChangePassword { hash: hash() },
            27..29 => Change::StopShare {
                group,
                file: random.pick(&listed).unwrap_or_else(|| any_file.id()),
            },
            29 => Change::RenameGroup { group, name: GROUPS[random.below(3)].parse().unwrap() },
            30..32 => match random.pick(&listed) {
                Some(replaces) => Change::ReplaceFile { group, file: any_file, replaces },
                None => Change::ShareFile { group, file: any_file },
            },
            32 => match random.pick(&listed) {
                Some(file) => Change::RemoveFile { group, file },
                None => Change::ShareFile { group, file: any_file },
            },
            44..56 => self.about_invitations(group, id, random),
            34..37 => stay_on_device(directory, user, random),
            37..39 => Change::ForgetDevice { device: device(random) },
            33 => rare(random, user, group, hash(), random_file(&listed, &any_file)),
            _ => Change::ShareFile { group, file: any_file },
        }
    }
}

impl Clients {
    /// Makes, revokes and uses invitations, mostly those that were made last.
    fn about_invitations(&self, group: GroupId, id: RequestId, random: &mut Random) -> Change {
        let known = self.invitations.len();
        let recent = known.saturating_sub(3);
        let index = if random.one_in(4) { 0 } else { recent } + random.below(3);
        let (of, invitation) = match self.invitations.get(index) {
            Some(&known) if !random.one_in(4) => known,
            _ => {
                let invitation = InvitationId::from_bytes(*id.as_bytes());
                let uses = 1 + random.below(3) as u32;
                return Change::CreateInvitation { group, invitation, uses, days: 1 };
            }
        };
        match random.below(12) {
            0 => Change::RevokeInvitation { group: of, invitation },
            1 => {
                let settings = GroupSettings { members_invite: random.one_in(2) };
                Change::SetGroup { group, settings }
            }
            2..4 => {
                let hash = PasswordHash::from_phc(format!("hash of {id}"));
                let name = USERS[random.below(USERS.len())].parse().unwrap();
                Change::CreateInvitedUser { name, hash, group: of, invitation }
            }
            _ => Change::UseInvitation { group: of, invitation },
        }
    }
}

fn device(random: &mut Random) -> DeviceId {
    DeviceId::from_bytes([random.below(DEVICES) as u8; 32])
}

/// The session rests on the password that the tracker knows, or, rarely, on one that it does not.
fn stay_on_device(directory: &Directory<impl Rows>, user: UserId, random: &mut Random) -> Change {
    let known = directory.password_version(user);
    let other = Version { stamp: Stamp::ZERO, request: request_id(random.below(20) as u64) };
    let password = known.filter(|_| !random.one_in(8)).unwrap_or(other);
    Change::StayOnDevice { device: device(random), name: "laptop".parse().unwrap(), password }
}

fn random_file(listed: &[FileId], other: &FileFacts) -> FileId {
    listed.first().copied().unwrap_or_else(|| other.id())
}

/// What would empty the directory if it were asked more often.
fn rare(
    random: &mut Random,
    user: UserId,
    group: GroupId,
    hash: PasswordHash,
    file: FileId,
) -> Change {
    Change::Operator(match random.below(9) {
        0 => return Change::DeleteAccount,
        1 => return Change::DeleteGroup { group },
        2 => Order::ResetPassword { user, hash },
        3 => Order::DisableUser { user, is_disabled: random.one_in(3) },
        4 => Order::DeleteUser { user },
        5 => Order::DeleteGroup { group },
        6 => Order::RemoveFile { group, file },
        _ => {
            let name = ["quota.files", "quota.groups", "accounts"][random.below(3)];
            let value = if name == "accounts" { "open" } else { ["1", "40"][random.below(2)] };
            let value = if random.one_in(2) { None } else { Some(value.to_owned()) };
            Order::Set { name: name.parse().unwrap(), value }
        }
    })
}

fn create_user(random: &mut Random) -> Change {
    let hash = PasswordHash::from_phc(format!("hash {}", random.below(1000)));
    Change::CreateUser { name: USERS[random.below(USERS.len())].parse().unwrap(), hash }
}

fn create_group(random: &mut Random) -> Change {
    Change::CreateGroup { name: GROUPS[random.below(GROUPS.len())].parse().unwrap() }
}

fn any_file(random: &mut Random) -> FileFacts {
    file(random.below(4) as u8, FILES[random.below(FILES.len())])
}

/// A request's time: later than the client's last one and what it was told, as far as trackers
/// would not refuse that.
pub(super) fn time(wall_ms: u64, last: Stamp, told: &[Stamp]) -> Stamp {
    let is_within_reach = |stamp: &&Stamp| stamp.ms() <= wall_ms + 30_000;
    let known = told.iter().chain([&last]).filter(is_within_reach).max();
    Stamp::new(wall_ms, 0).max(known.map_or(Stamp::ZERO, |known| known.next().unwrap()))
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
    FileFacts {
        info_hash: info_hash(content),
        name: name.parse().unwrap(),
        len: 1000,
        piece_len: 512 << 10,
        sha1: Sha1Digest::from_bytes([content; 20]),
        chain: None,
    }
}
