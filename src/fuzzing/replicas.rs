//! One tracker's replica between a client and peer trackers that send whatever they like.
//!
//! Ids, names and times come from small sets, so that what one step wrote the next ones meet again.
//! Now and then a step takes its message from raw bytes, as it would arrive. After each step what
//! goes to the disk has the next update sequence, and no reply tells of a row that is not there
//! yet; at the end another replica, given the stored rows in another order, holds the same
//! directory.

use std::collections::{BTreeMap, BTreeSet};

use super::Input;
use crate::directory::{Asked, Directory, LinkId, Output, Replica, Ticket};
use crate::types::{
    ChainHash, Change, Content, DeviceId, DeviceName, DeviceRow, Durable, Effect, FileFacts,
    FileId, FileOrder, FileRow, GroupId, GroupRow, GroupSettings, InfoHash, InvitationId,
    InvitationRow, InvitationUseRow, Label, Lineage, MembershipRow, MembershipState, Order,
    PasswordHash, Pattern, Place, RequestId, RequestRow, RequestStamp, Row, RowBatch, RowKey,
    Sha1Digest, SharingRow, Stamp, StoreId, StoreState, SyncMessage, Transaction, UserId, UserRow,
    Version, VersionVector,
};
use crate::wire::Wire;
use crate::wire::replication::{ToAcceptor, ToDialler};

/// When the run begins, in milliseconds since 1970.
const START_MS: u64 = 1_700_000_000_000;
/// Steps of one run.
const STEPS_MAX: usize = 500;
/// Entries in a page of a listing: few, so that there are several.
const PAGE_LEN: usize = 2;

struct Run {
    replica: Replica,
    now_ms: u64,
    tickets: u64,
    /// Tickets that wait for their answer, with the request.
    asked: BTreeMap<Ticket, RequestId>,
    /// Requests handed out to be stored, and not stored yet.
    unsaved: BTreeSet<RequestId>,
    /// Requests that were stored; the row of one may be replaced by a later one.
    saved: BTreeSet<RequestId>,
    /// What the store holds: each row as it was handed out last.
    rows: BTreeMap<RowKey, Row>,
    /// The last update sequence handed out, and stored.
    sequence: u64,
    stored: u64,
}

/// A replica, step by step.
pub fn replica(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut run = Run {
        replica: fresh(),
        now_ms: START_MS,
        tickets: 0,
        asked: BTreeMap::new(),
        unsaved: BTreeSet::new(),
        saved: BTreeSet::new(),
        rows: BTreeMap::new(),
        sequence: 0,
        stored: 0,
    };
    for _ in 0..STEPS_MAX {
        if input.is_over() {
            break;
        }
        run.step(&mut input);
        run.drain();
        assert_eq!(run.replica.sequence(), run.sequence);
    }
    run.persisted();
    check_listings(run.replica.directory());
    run.check_restored();
}

fn fresh() -> Replica {
    Replica::new(StoreState::new(StoreId::from_bytes([1; 16])), &[2, 3])
}

impl Run {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(17) {
            0 => self.replica.connected(self.now_ms, link(input), &lineage(input)),
            1 => self.replica.disconnected(self.now_ms, link(input)),
            2 => {
                let (number, durable) = (2 + input.below(3) as u32, self.any_durable(input));
                self.replica.greeted(self.now_ms, number, durable, input.bool());
            }
            3 => {
                self.now_ms = (self.now_ms + u64::from(input.u16()))
                    .saturating_sub(u64::from(input.u16()) / 2)
            }
            4 => self.replica.tick(self.now_ms),
            5 | 6 => self.persisted(),
            7 => {
                let (link, durable) = (link(input), self.any_durable(input));
                self.replica.handle(self.now_ms, link, SyncMessage::Durable(durable));
            }
            8 => self.raw(input),
            9..=11 => self.submit(input),
            12 => self.sweep(input),
            _ => self.batch(input),
        }
    }

    fn persisted(&mut self) {
        self.saved.append(&mut self.unsaved);
        self.stored = self.sequence;
        self.replica.persisted(self.now_ms);
        self.drain();
    }

    fn any_durable(&self, input: &mut Input<'_>) -> Durable {
        let checkpoint = if input.bool() { self.stored } else { sequence(input) };
        Durable { checkpoint, vector: vector(input) }
    }

    /// A frame's body as it would come off the connection.
    fn raw(&mut self, input: &mut Input<'_>) {
        let link = link(input);
        let len = usize::from(input.u16());
        let body = input.take(len);
        if let Ok(ToAcceptor::Rows(batch)) = ToAcceptor::from_bytes(body) {
            self.replica.handle(self.now_ms, link, SyncMessage::Rows(batch));
        }
        if let Ok(ToDialler::Durable(durable)) = ToDialler::from_bytes(body) {
            self.replica.handle(self.now_ms, link, SyncMessage::Durable(durable));
        }
    }

    fn submit(&mut self, input: &mut Input<'_>) {
        self.tickets += 1;
        let (ticket, id, actor) = (Ticket(self.tickets), request(input), user(input));
        self.asked.insert(ticket, id);
        let at = stamp(input, self.now_ms);
        let note = "n".repeat(input.below(4) * 400);
        let asked = Asked { actor, request: RequestStamp { id, at }, change: change(input), note };
        self.replica.submit(self.now_ms, ticket, asked);
    }

    fn batch(&mut self, input: &mut Input<'_>) {
        let link = link(input);
        let rows = (0..input.below(6)).map(|_| row(input, self.now_ms)).collect();
        let complete = if input.bool() { Some(vector(input)) } else { None };
        let batch = RowBatch { rows, through: sequence(input), complete };
        self.replica.handle(self.now_ms, link, SyncMessage::Rows(batch));
    }

    /// Deletes what may be deleted, as the store does when it is told to; only what is stored.
    fn sweep(&mut self, input: &mut Input<'_>) {
        if self.stored < self.sequence {
            return;
        }
        let count = input.below(4);
        let old: Vec<Row> = self
            .rows
            .values()
            .filter(|row| row.content.is_tombstone())
            .take(count)
            .cloned()
            .collect();
        old.iter().for_each(|row| drop(self.rows.remove(&row.content.key())));
        self.replica.sweep(&old, self.stored, false);
    }

    fn drain(&mut self) {
        while let Some(output) = self.replica.poll() {
            match output {
                Output::Persist(transaction) => self.store(transaction),
                Output::Reply(ticket, outcome) => {
                    let request = self
                        .asked
                        .remove(&ticket)
                        .expect("a reply is for a request, and the only one");
                    assert!(
                        outcome.is_err() || !self.unsaved.contains(&request),
                        "{request} is answered before it is stored"
                    );
                }
                Output::Send(LinkId::From(_), SyncMessage::Rows(_) | SyncMessage::MustResync)
                | Output::Send(LinkId::To(_), SyncMessage::Durable(_)) => {
                    panic!("it is sent the wrong way")
                }
                Output::Send(_, SyncMessage::Durable(durable)) => {
                    assert!(
                        durable.vector.get(self.replica.lineage().store) <= self.stored,
                        "more is told than is stored"
                    );
                }
                Output::Send(_, SyncMessage::Rows(batch)) => {
                    assert!(batch.through <= self.stored, "rows are sent before they are stored");
                }
                Output::SendStored { after, through, .. } => {
                    assert!(after < through && through <= self.stored)
                }
                Output::Notice(notice) => assert!(!notice.to_string().is_empty()),
                Output::Send(..) | Output::Drop(_) | Output::Sweep(_) => {}
            }
        }
    }

    fn store(&mut self, transaction: Transaction) {
        assert_eq!(
            transaction.sequence,
            self.sequence + 1,
            "an update sequence is left out or used twice"
        );
        assert!(
            !transaction.rows.is_empty() && transaction.rows.len() == transaction.displaced.len()
        );
        self.sequence = transaction.sequence;
        for row in transaction.rows {
            if let Content::Request(request, _) = &row.content
                && !self.saved.contains(request)
            {
                self.unsaved.insert(*request);
            }
            self.rows.insert(row.content.key(), row);
        }
    }

    /// What is stored makes the same directory again, whatever the order in which it is read.
    fn check_restored(&self) {
        let digest = self.replica.directory().digest();
        let check = |rows: &mut dyn Iterator<Item = &Row>| {
            let mut other = fresh();
            rows.for_each(|row| other.restore(row));
            assert_eq!(
                other.directory().digest(),
                digest,
                "the order of the rows has made a difference"
            );
            assert_eq!(other.directory().counts(), self.replica.directory().counts());
            check_listings(other.directory());
        };
        check(&mut self.rows.values());
        check(&mut self.rows.values().rev());
    }
}

/// Every listing can be gone through to its end, page by page, and what it names is found.
fn check_listings(directory: &Directory) {
    for asking in (0..5).map(|n| UserId::from_bytes([n; 16])) {
        let groups = pages(
            |last| directory.groups(asking, None, last, PAGE_LEN),
            |entry| entry.label.clone(),
        );
        let mine =
            pages(|last| directory.my_groups(asking, last, PAGE_LEN), |entry| entry.label.clone());
        assert!(mine.iter().all(|entry| groups.contains(entry)));
        for entry in groups {
            assert_eq!(directory.find_group(entry.label.as_str()), Some(entry.group));
            check_group(directory, entry.group);
        }
    }
}

fn check_group(directory: &Directory, group: GroupId) {
    let [by_name, by_size, by_date] =
        [FileOrder::Name, FileOrder::Size, FileOrder::Date].map(|order| {
            pages(
                |last: Option<&Label>| directory.files(group, None, order, last, PAGE_LEN),
                |entry| entry.label.clone(),
            )
        });
    assert!(by_name.len() == by_size.len() && by_name.len() == by_date.len());
    for entry in by_name {
        assert!(by_size.contains(&entry) && by_date.contains(&entry));
        assert_eq!(directory.find_file(group, entry.label.as_str()).as_ref(), Some(&entry));
        assert!(
            entry.sharer_count > 0
                && directory.sharers(group, entry.facts.id()).count()
                    == entry.sharer_count as usize
        );
        let pattern: Pattern = entry.facts.name.as_str().parse().expect("a name is a pattern");
        let found = directory.files(group, Some(&pattern), FileOrder::Name, None, usize::MAX).0;
        assert!(found.contains(&entry));
    }
    let members = pages(
        |last: Option<&UserId>| directory.members(group, last.copied(), PAGE_LEN),
        |entry| entry.user.user,
    );
    assert!(members.iter().filter(|entry| entry.owner).count() == 1, "a live group has one owner");
    assert!(members.iter().all(|entry| directory.is_member(group, entry.user.user)));
    pages(
        |last: Option<&UserId>| directory.requests(group, last.copied(), PAGE_LEN),
        |entry| entry.user.user,
    );
}

/// Goes through a listing to its end.
fn pages<T, K>(
    mut page: impl FnMut(Option<&K>) -> (Vec<T>, bool),
    key: impl Fn(&T) -> K,
) -> Vec<T> {
    let mut all = Vec::new();
    let mut last = None;
    loop {
        let (entries, more) = page(last.as_ref());
        assert!(!more || !entries.is_empty(), "a page without entries says that there are more");
        last = entries.last().map(&key).or(last);
        all.extend(entries);
        if !more {
            return all;
        }
        assert!(all.len() < 10_000, "a listing does not end");
    }
}

fn link(input: &mut Input<'_>) -> LinkId {
    match input.below(6) {
        0 | 1 => LinkId::To(2),
        2 => LinkId::To(3),
        3 => LinkId::To(9),
        n => LinkId::From(n as u64),
    }
}

fn store(input: &mut Input<'_>) -> StoreId {
    StoreId::from_bytes([1 + input.below(4) as u8; 16])
}

fn lineage(input: &mut Input<'_>) -> Lineage {
    let ancestors = (0..input.below(3)).map(|_| (store(input), sequence(input))).collect();
    Lineage { store: store(input), ancestors }
}

fn vector(input: &mut Input<'_>) -> VersionVector {
    (0..input.below(4)).map(|_| (store(input), sequence(input))).collect()
}

fn sequence(input: &mut Input<'_>) -> u64 {
    match input.below(8) {
        0 => u64::MAX - u64::from(input.byte()),
        1 => i64::MAX as u64 + u64::from(input.byte()),
        _ => u64::from(input.byte()),
    }
}

fn stamp(input: &mut Input<'_>, now_ms: u64) -> Stamp {
    match input.below(8) {
        0 => Stamp::from_u64(input.u64()),
        1 => Stamp::new(now_ms + 120_000 + u64::from(input.byte()), 0),
        2 => Stamp::new(now_ms + 120_000, u16::MAX),
        _ => Stamp::new(now_ms + u64::from(input.byte()) - 128, u16::from(input.byte())),
    }
}

fn request(input: &mut Input<'_>) -> RequestId {
    RequestId::from_bytes([input.below(24) as u8; 16])
}

fn user(input: &mut Input<'_>) -> UserId {
    match input.below(8) {
        // The accounts and groups that `submit` makes have derived ids.
        n @ 5.. => UserId::derive(&name(n), RequestId::from_bytes([input.below(24) as u8; 16])),
        n => UserId::from_bytes([n as u8; 16]),
    }
}

fn group(input: &mut Input<'_>) -> GroupId {
    match input.below(6) {
        n @ 3.. => GroupId::derive(
            &name(n),
            user(input),
            RequestId::from_bytes([input.below(24) as u8; 16]),
        ),
        n => GroupId::from_bytes([n as u8; 16]),
    }
}

fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(number: usize) -> T {
    ["nik", "bob", "eve"][number % 3].parse().expect("it is a plain name")
}

fn info_hash(input: &mut Input<'_>) -> InfoHash {
    InfoHash::from_bytes([input.below(4) as u8; 20])
}

fn file(input: &mut Input<'_>) -> FileFacts {
    let names = ["a", "a~2", "über uns.pdf", "a~02"];
    let (len, piece_len) = match input.below(4) {
        0 => (input.u64(), input.u32()),
        n => (1 << n, 512 << 10),
    };
    FileFacts {
        info_hash: info_hash(input),
        name: names[input.below(4)].parse().expect("it is a file's name"),
        len,
        piece_len,
        sha1: Sha1Digest::from_bytes([input.below(2) as u8; 20]),
        chain: if input.bool() {
            None
        } else {
            Some(ChainHash::from_bytes([input.below(2) as u8; 20]))
        },
    }
}

/// Mostly that of some file.
fn file_id(input: &mut Input<'_>) -> FileId {
    if input.below(4) == 0 {
        FileId::from_bytes([input.below(3) as u8; 20])
    } else {
        file(input).id()
    }
}

fn change(input: &mut Input<'_>) -> Change {
    match input.below(20) {
        0 | 1 => Change::CreateUser { name: name(input.below(3)), hash: hash(input) },
        2 => Change::ChangePassword { hash: hash(input) },
        3 => Change::CreateGroup { name: name(input.below(3)) },
        4 => Change::JoinGroup { group: group(input) },
        5 => Change::LeaveGroup { group: group(input) },
        6 => Change::AcceptRequest { group: group(input), user: user(input) },
        7 => Change::RejectRequest { group: group(input), user: user(input) },
        8 => match input.bool() {
            true => Change::RemoveMember { group: group(input), user: user(input) },
            false => Change::TransferGroup { group: group(input), user: user(input) },
        },
        9 | 10 => Change::ShareFile { group: group(input), file: file(input) },
        11 => {
            Change::ReplaceFile { group: group(input), file: file(input), replaces: file_id(input) }
        }
        12 => Change::RemoveFile { group: group(input), file: file_id(input) },
        13 => Change::RenameGroup { group: group(input), name: name(input.below(3)) },
        14 => Change::DeleteGroup { group: group(input) },
        15 => Change::DeleteAccount,
        16 => Change::Operator(order(input)),
        17 => {
            let password =
                Version { stamp: Stamp::new(u64::from(input.byte()), 0), request: request(input) };
            Change::StayOnDevice {
                device: device(input),
                name: DeviceName::from_text("laptop"),
                password,
            }
        }
        18 => Change::ForgetDevice { device: device(input) },
        _ => rare_change(input),
    }
}

fn rare_change(input: &mut Input<'_>) -> Change {
    match input.below(8) {
        0 | 1 => Change::CreateInvitation {
            group: group(input),
            invitation: invitation(input),
            uses: input.below(4) as u32,
            days: [0, 1, 60, 61][input.below(4)],
        },
        2 => Change::RevokeInvitation { group: group(input), invitation: invitation(input) },
        3 | 4 => Change::UseInvitation { group: group(input), invitation: invitation(input) },
        5 => Change::CreateInvitedUser {
            name: name(input.below(3)),
            hash: hash(input),
            group: group(input),
            invitation: invitation(input),
        },
        6 => {
            let settings = GroupSettings { members_invite: input.bool() };
            Change::SetGroup { group: group(input), settings }
        }
        _ => Change::StopShare { group: group(input), file: file_id(input) },
    }
}

fn invitation(input: &mut Input<'_>) -> InvitationId {
    InvitationId::from_bytes([input.below(4) as u8; 16])
}

fn device(input: &mut Input<'_>) -> DeviceId {
    DeviceId::from_bytes([input.below(3) as u8; 32])
}

fn order(input: &mut Input<'_>) -> Order {
    match input.below(7) {
        0 => Order::ResetPassword { user: user(input), hash: hash(input) },
        1 => Order::DisableUser { user: user(input), is_disabled: input.bool() },
        2 => Order::DeleteUser { user: user(input) },
        3 => Order::DeleteGroup { group: group(input) },
        4 => Order::RemoveFile { group: group(input), file: file_id(input) },
        5 => Order::ForgetDevice { user: user(input), device: device(input) },
        _ => {
            let (name, value) = setting(input);
            Order::Set { name, value }
        }
    }
}

fn setting(input: &mut Input<'_>) -> (crate::types::SettingName, Option<String>) {
    let name =
        ["accounts", "quota.groups", "quota.rows", "tracker.3", "quota.sheep"][input.below(5)];
    let value = [None, Some("open"), Some("closed"), Some("3"), Some("1000000")][input.below(5)];
    (name.parse().expect("a setting's name"), value.map(str::to_owned))
}

fn hash(input: &mut Input<'_>) -> PasswordHash {
    PasswordHash::from_phc(format!("$argon2id$v=19$m=8,t=1,p=1$c2FsdA${}", input.byte()))
}

/// A row as another tracker sends it.
fn row(input: &mut Input<'_>, now_ms: u64) -> Row {
    let content = content(input, now_ms);
    let version = Version { stamp: stamp(input, now_ms), request: request(input) };
    let place = Place { store: store(input), sequence: sequence(input) };
    let extra = (0..input.below(3) as u8).collect();
    Row { content, version, place, extra }
}

fn content(input: &mut Input<'_>, now_ms: u64) -> Content {
    let at = |input: &mut Input<'_>| if input.bool() { Some(stamp(input, now_ms)) } else { None };
    match input.below(13) {
        0 => {
            let (name, hash, created) = (name(input.below(3)), hash(input), stamp(input, now_ms));
            let (replaced, flags) = (at(input), input.byte());
            let row = UserRow {
                name,
                hash,
                created,
                replaced,
                must_change: flags & 1 != 0,
                is_disabled: flags & 2 != 0,
            };
            Content::User(user(input), if flags >> 5 == 0 { None } else { Some(row) })
        }
        1 => {
            let row = GroupRow {
                name: name(input.below(3)),
                created_by: user(input),
                created: stamp(input, now_ms),
            };
            Content::Group(group(input), if input.below(6) == 0 { None } else { Some(row) })
        }
        2 | 3 => {
            let state =
                [MembershipState::None, MembershipState::Requested, MembershipState::Member]
                    [input.below(3)];
            let row = MembershipRow { state, since: stamp(input, now_ms), ended: at(input) };
            Content::Membership(group(input), user(input), row)
        }
        4 => Content::Owner(group(input), user(input)),
        5 | 6 => {
            let (facts, shared_by, time) = (file(input), user(input), stamp(input, now_ms));
            let (id, removed) = (facts.id(), at(input));
            let row = FileRow { facts, shared_by, at: time, replaces: None, removed };
            Content::File(group(input), id, if input.below(4) == 0 { None } else { Some(row) })
        }
        7 | 8 => {
            let row = SharingRow { on: input.bool(), admission: request(input) };
            Content::Sharing(group(input), file_id(input), user(input), row)
        }
        9 => {
            let effect = match input.below(3) {
                0 => Effect::Done,
                1 => Effect::User(user(input)),
                _ => Effect::Group(group(input)),
            };
            Content::Request(
                request(input),
                RequestRow { actor: user(input), effect, note: String::new() },
            )
        }
        10 => {
            let (name, value) = setting(input);
            Content::Setting(name, value)
        }
        11 => {
            let password = Version { stamp: stamp(input, now_ms), request: request(input) };
            let (on, since, ended) = (input.bool(), stamp(input, now_ms), at(input));
            let name = if input.bool() { Some(DeviceName::from_text("laptop")) } else { None };
            let row = DeviceRow { on, name, since, password, ended };
            Content::Device(user(input), device(input), row)
        }
        _ => match input.below(6) {
            0 | 1 => {
                let (inviter, created) = (user(input), stamp(input, now_ms));
                let (expires_ms, uses) = (now_ms + u64::from(input.byte()), input.u32());
                let is_revoked = input.bool();
                let row = InvitationRow { inviter, created, expires_ms, uses, is_revoked };
                Content::Invitation(group(input), invitation(input), row)
            }
            2 => {
                let row = InvitationUseRow { inviter: user(input) };
                Content::InvitationUse(group(input), invitation(input), user(input), row)
            }
            3 => {
                let settings = GroupSettings { members_invite: input.bool() };
                Content::GroupSettings(group(input), settings)
            }
            _ => Content::Unknown(
                12 + input.below(2) as u8,
                vec![input.byte()],
                vec![input.byte(); 3],
            ),
        },
    }
}
