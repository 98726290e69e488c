//! One tracker's replica between a client and peer trackers that send whatever they like.
//!
//! Ids, names and times come from small sets, so that what one step wrote the next ones meet again. Now and then a step takes its
//! message from raw bytes, as it would arrive. After each step what goes to the disk continues each origin, and no reply tells of an
//! operation that is not there yet; at the end another replica, given the same operations in another order, holds the same directory.

use std::collections::{BTreeMap, BTreeSet};

use super::Input;
use crate::directory::{Directory, LinkId, Output, Replica, Ticket};
use crate::types::{
    Change, Effect, FileFacts, GroupId, InfoHash, Label, MembershipState, Operation, OriginId, PasswordHash, RequestId,
    Sha1Digest, Stamp, SyncMessage, UserId, VersionVector, Write,
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
    /// Own requests handed out to be stored, and not stored yet.
    unsaved: BTreeSet<RequestId>,
    /// Everything handed out to be stored, in order.
    log: Vec<Operation>,
    known: VersionVector,
}

/// A replica, step by step.
pub fn replica(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let origin = OriginId::from_bytes([1; 16]);
    let mut run = Run {
        replica: Replica::new(origin, &[2, 3], 7),
        now_ms: START_MS,
        tickets: 0,
        asked: BTreeMap::new(),
        unsaved: BTreeSet::new(),
        log: Vec::new(),
        known: VersionVector::default(),
    };
    for _ in 0..STEPS_MAX {
        if input.is_over() {
            break;
        }
        run.step(&mut input);
        run.drain();
        assert_eq!(run.replica.vector(), run.known);
    }
    run.persisted();
    check_listings(run.replica.directory());
    run.check_convergence(origin);
}

impl Run {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(16) {
            0 => self.replica.connected(self.now_ms, link(input), origin(input)),
            1 => self.replica.disconnected(self.now_ms, link(input)),
            2 => self.replica.clock_ahead(link(input)),
            3 => self.now_ms = (self.now_ms + u64::from(input.u16())).saturating_sub(u64::from(input.u16()) / 2),
            4 => self.replica.tick(self.now_ms),
            5 | 6 => self.persisted(),
            7 => self.durable(input),
            8 => self.raw(input),
            9..=11 => self.submit(input),
            _ => self.operations(input),
        }
    }

    fn persisted(&mut self) {
        self.unsaved.clear();
        self.replica.persisted(self.now_ms);
        self.drain();
    }

    fn durable(&mut self, input: &mut Input<'_>) {
        let link = link(input);
        let vector = match input.below(3) {
            0 => self.replica.vector(),
            _ => (0..input.below(4)).map(|_| (origin(input), sequence(input))).collect(),
        };
        self.replica.handle(self.now_ms, link, SyncMessage::Durable(vector));
    }

    /// A frame's body as it would come off the connection.
    fn raw(&mut self, input: &mut Input<'_>) {
        let link = link(input);
        let len = usize::from(input.u16());
        let body = input.take(len);
        if let Ok(ToAcceptor::Operations(operations)) = ToAcceptor::from_bytes(body) {
            self.replica.handle(self.now_ms, link, SyncMessage::Operations(operations));
        }
        if let Ok(ToDialler::Durable(vector)) = ToDialler::from_bytes(body) {
            self.replica.handle(self.now_ms, link, SyncMessage::Durable(vector));
        }
    }

    fn submit(&mut self, input: &mut Input<'_>) {
        self.tickets += 1;
        let (ticket, request, actor) = (Ticket(self.tickets), request(input), user(input));
        self.asked.insert(ticket, request);
        self.replica.submit(self.now_ms, ticket, actor, request, change(input));
    }

    /// A batch, mostly one that continues its origin.
    fn operations(&mut self, input: &mut Input<'_>) {
        let (link, from) = (link(input), origin(input));
        let mut next = self.replica.vector().get(from) + 1;
        let mut batch = Vec::new();
        for _ in 0..=input.below(4) {
            let sequence = if input.below(16) == 15 { sequence(input) } else { next };
            next = sequence.saturating_add(1);
            batch.push(self.operation(input, from, sequence));
        }
        self.replica.handle(self.now_ms, link, SyncMessage::Operations(batch));
    }

    fn operation(&self, input: &mut Input<'_>, origin: OriginId, sequence: u64) -> Operation {
        let effect = match input.below(3) {
            0 => Effect::Done,
            1 => Effect::User(user(input)),
            _ => Effect::Group(group(input)),
        };
        let (request, actor, stamp) = (request(input), user(input), stamp(input, self.now_ms));
        let writes = (0..input.below(4)).map(|_| write(input, self.now_ms)).collect();
        Operation { origin, sequence, stamp, request, actor, effect, writes }
    }

    fn drain(&mut self) {
        while let Some(output) = self.replica.poll() {
            match output {
                Output::Persist(batch) => batch.operations.into_iter().for_each(|operation| self.store(operation)),
                Output::Reply(ticket, outcome) => {
                    let request = self.asked.remove(&ticket).expect("a reply is for a request, and the only one");
                    assert!(outcome.is_err() || !self.unsaved.contains(&request), "{request} is answered before it is stored");
                }
                Output::Send(LinkId::From(_), SyncMessage::Operations(_))
                | Output::Send(LinkId::To(_), SyncMessage::Durable(_)) => {
                    panic!("it is sent the wrong way")
                }
                Output::SendStored { ranges, .. } => {
                    assert!(ranges.iter().all(|&(origin, first, last)| first <= last && last <= self.known.get(origin)));
                }
                Output::Notice(notice) => assert!(!notice.to_string().is_empty()),
                Output::Send(..) | Output::Drop(_) => {}
            }
        }
    }

    fn store(&mut self, operation: Operation) {
        assert_eq!(operation.sequence, self.known.get(operation.origin) + 1, "an origin is not continued");
        self.known.raise(operation.origin, operation.sequence);
        if operation.origin == self.replica.origin() {
            self.unsaved.insert(operation.request);
        }
        self.log.push(operation);
    }

    /// What is stored makes the same directory again, also when the origins come one after the other.
    fn check_convergence(&self, origin: OriginId) {
        let digest = self.replica.directory().digest();
        let mut sorted = self.log.clone();
        sorted.sort_by_key(|operation| operation.origin);
        for log in [&self.log, &sorted] {
            let mut other = Replica::new(origin, &[2, 3], 8);
            log.iter().for_each(|operation| other.restore(operation.clone()).expect("each origin is continued"));
            assert_eq!(other.directory().digest(), digest, "the order of arrival has made a difference");
            assert_eq!(other.directory().counts(), self.replica.directory().counts());
            check_listings(other.directory());
        }
    }
}

/// Every listing can be gone through to its end, page by page, and what it names is found.
fn check_listings(directory: &Directory) {
    for asking in (0..5).map(|n| UserId::from_bytes([n; 16])) {
        let groups = pages(|last| directory.groups(asking, last, PAGE_LEN), |entry| entry.label.clone());
        let mine = pages(|last| directory.my_groups(asking, last, PAGE_LEN), |entry| entry.label.clone());
        assert!(mine.iter().all(|entry| groups.contains(entry)));
        for entry in groups {
            assert_eq!(directory.find_group(entry.label.as_str()), Some(entry.group));
            check_group(directory, entry.group);
        }
    }
}

fn check_group(directory: &Directory, group: GroupId) {
    let files = pages(|last: Option<&Label>| directory.files(group, last, PAGE_LEN), |entry| entry.label.clone());
    for entry in files {
        assert_eq!(directory.find_file(group, entry.label.as_str()).as_ref(), Some(&entry));
        assert!(entry.sharer_count > 0 && directory.sharers(group, entry.facts.info_hash).count() == entry.sharer_count as usize);
    }
    let members = pages(|last: Option<&UserId>| directory.members(group, last.copied(), PAGE_LEN), |entry| entry.user.user);
    assert!(members.iter().filter(|entry| entry.owner).count() == 1, "a live group has one owner");
    assert!(members.iter().all(|entry| directory.is_member(group, entry.user.user)));
    pages(|last: Option<&UserId>| directory.requests(group, last.copied(), PAGE_LEN), |entry| entry.user.user);
}

/// Goes through a listing to its end.
fn pages<T, K>(mut page: impl FnMut(Option<&K>) -> (Vec<T>, bool), key: impl Fn(&T) -> K) -> Vec<T> {
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

fn origin(input: &mut Input<'_>) -> OriginId {
    OriginId::from_bytes([1 + input.below(4) as u8; 16])
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
        n @ 3.. => GroupId::derive(&name(n), user(input), RequestId::from_bytes([input.below(24) as u8; 16])),
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
        sha1: Sha1Digest::from_bytes([input.byte(); 20]),
    }
}

fn change(input: &mut Input<'_>) -> Change {
    match input.below(11) {
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
        9 => Change::ShareFile { group: group(input), file: file(input) },
        _ => Change::StopShare { group: group(input), info_hash: info_hash(input) },
    }
}

fn hash(input: &mut Input<'_>) -> PasswordHash {
    PasswordHash::from_phc(format!("$argon2id$v=19$m=8,t=1,p=1$c2FsdA${}", input.byte()))
}

fn write(input: &mut Input<'_>, now_ms: u64) -> Write {
    match input.below(8) {
        0 => Write::User { user: user(input), name: name(input.below(3)), hash: hash(input), created: stamp(input, now_ms) },
        1 => {
            let (group, created_by) = (group(input), user(input));
            Write::Group { group, name: name(input.below(3)), created_by, created: stamp(input, now_ms) }
        }
        2 | 3 => {
            let state = [MembershipState::None, MembershipState::Requested, MembershipState::Member][input.below(3)];
            Write::Membership { group: group(input), user: user(input), state, since: stamp(input, now_ms) }
        }
        4 => Write::Owner { group: group(input), user: user(input) },
        5 => Write::File { group: group(input), file: file(input), shared_by: user(input), at: stamp(input, now_ms) },
        _ => Write::Sharing { group: group(input), info_hash: info_hash(input), user: user(input), on: input.bool() },
    }
}
