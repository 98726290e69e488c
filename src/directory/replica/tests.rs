//! What a replica does with its links, one step at a time, and with peers that are broken or hostile.

use super::*;
use crate::types::limits::{OPERATION_WRITES_MAX, OPERATIONS_PER_BATCH_MAX};
use crate::types::{Effect, PasswordHash, Stamp, TrackerState, Write};

const NOW: u64 = 1_700_000_000_000;

fn origin(n: u8) -> StoreId {
    StoreId::from_bytes([n; 16])
}

fn request(n: u64) -> RequestId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    RequestId::from_bytes(bytes)
}

fn operation(from: u8, sequence: u64) -> Operation {
    let user = UserId::from_bytes([from; 16]);
    let stamp = Stamp::new(NOW, sequence as u16);
    Operation {
        origin: origin(from),
        sequence,
        stamp,
        request: request(u64::from(from) << 32 | sequence),
        actor: user,
        effect: Effect::Done,
        writes: vec![Write::Owner { group: crate::types::GroupId::from_bytes([1; 16]), user }],
    }
}

fn operations(from: u8, sequences: std::ops::RangeInclusive<u64>) -> SyncMessage {
    SyncMessage::Operations(sequences.map(|sequence| operation(from, sequence)).collect())
}

fn vector(entries: &[(u8, u64)]) -> VersionVector {
    entries.iter().map(|&(n, sequence)| (origin(n), sequence)).collect()
}

fn drain(replica: &mut Replica) -> Vec<Output> {
    std::iter::from_fn(|| replica.poll()).collect()
}

fn create_user(replica: &mut Replica, n: u64) {
    let change = Change::CreateUser { name: format!("user{n}").parse().unwrap(), hash: PasswordHash::from_phc(String::new()) };
    replica.submit(NOW, Ticket(n), UserId::NOBODY, request(n), change);
}

/// A replica of origin 1 whose link to tracker 2 (origin 2) is up.
fn linked() -> Replica {
    let mut replica = Replica::new(origin(1), &[2], 7);
    replica.connected(NOW, LinkId::To(2), origin(2));
    replica.handle(NOW, LinkId::To(2), SyncMessage::Durable(VersionVector::default()));
    assert_eq!(drain(&mut replica), [Output::Notice(Notice::Up { tracker: 2 })]);
    replica
}

fn has_reply(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Reply(..)))
}

fn drops(outputs: &[Output]) -> Vec<LinkId> {
    outputs.iter().filter_map(|output| if let Output::Drop(link) = output { Some(*link) } else { None }).collect()
}

#[test]
fn a_reply_waits_for_the_disk_and_for_the_peer() {
    let mut replica = linked();
    create_user(&mut replica, 1);
    assert!(
        matches!(&drain(&mut replica)[..], [Output::Persist(batch)] if batch.operations.len() == 1 && batch.origin.is_none())
    );
    replica.persisted(NOW);
    assert!(matches!(&drain(&mut replica)[..], [Output::Send(LinkId::To(2), SyncMessage::Operations(sent))] if sent.len() == 1));
    replica.handle(NOW, LinkId::To(2), SyncMessage::Durable(vector(&[(1, 1)])));
    assert!(has_reply(&drain(&mut replica)));
}

#[test]
fn requests_between_two_drains_make_one_batch() {
    let mut replica = Replica::new(origin(1), &[], 7);
    (1..=3).for_each(|n| create_user(&mut replica, n));
    assert!(matches!(&drain(&mut replica)[..], [Output::Persist(batch)] if batch.operations.len() == 3));
    create_user(&mut replica, 4);
    replica.persisted(NOW);
    let outputs = drain(&mut replica);
    assert_eq!(
        outputs.iter().filter(|o| matches!(o, Output::Reply(..))).count(),
        3,
        "the fourth was not handed out yet: {outputs:?}"
    );
}

#[test]
fn a_silent_peer_holds_replies_for_a_second() {
    let mut replica = linked();
    create_user(&mut replica, 1);
    drain(&mut replica);
    replica.persisted(NOW);
    drain(&mut replica);
    (1..10).for_each(|n| replica.tick(NOW + n * 100));
    assert_eq!(drain(&mut replica), []);
    assert!(!replica.is_degraded());
    replica.tick(NOW + 1000);
    assert!(has_reply(&drain(&mut replica)) && replica.is_degraded());
    assert_eq!(replica.links()[0], LinkInfo { tracker: 2, state: TrackerState::CatchingUp, lag: 1 });
    replica.handle(NOW + 1100, LinkId::To(2), SyncMessage::Durable(vector(&[(1, 1)])));
    assert_eq!(drain(&mut replica), [Output::Notice(Notice::Up { tracker: 2 })]);
}

#[test]
fn a_link_that_goes_releases_its_replies() {
    let mut replica = linked();
    create_user(&mut replica, 1);
    drain(&mut replica);
    replica.persisted(NOW);
    drain(&mut replica);
    replica.disconnected(NOW, LinkId::To(2));
    assert!(has_reply(&drain(&mut replica)));
}

/// Under steady load a link that catches up must come up, and nothing may be acknowledged behind its back meanwhile.
#[test]
fn a_link_comes_up_under_load() {
    let mut replica = Replica::new(origin(1), &[2], 7);
    create_user(&mut replica, 1);
    drain(&mut replica);
    replica.persisted(NOW);
    assert!(has_reply(&drain(&mut replica)), "nobody is connected");
    replica.connected(NOW, LinkId::To(2), origin(2));
    replica.handle(NOW, LinkId::To(2), SyncMessage::Durable(VersionVector::default()));
    drain(&mut replica);
    create_user(&mut replica, 2);
    drain(&mut replica);
    replica.persisted(NOW);
    assert!(!has_reply(&drain(&mut replica)), "the batch under way reaches all that was durable: the link counts");
    replica.handle(NOW, LinkId::To(2), SyncMessage::Durable(vector(&[(1, 1)])));
    assert_eq!(replica.links()[0].state, TrackerState::Up);
    assert!(!has_reply(&drain(&mut replica)));
    replica.handle(NOW, LinkId::To(2), SyncMessage::Durable(vector(&[(1, 2)])));
    assert!(has_reply(&drain(&mut replica)));
}

#[test]
fn a_long_lag_is_sent_from_the_store_batch_by_batch() {
    let mut replica = Replica::new(origin(1), &[2], 7);
    let last = OPERATIONS_PER_BATCH_MAX as u64 + 500;
    (1..=last).for_each(|sequence| replica.restore(operation(3, sequence)).unwrap());
    replica.connected(NOW, LinkId::To(2), origin(2));
    replica.handle(NOW, LinkId::To(2), SyncMessage::Durable(VersionVector::default()));
    let link = LinkId::To(2);
    assert_eq!(drain(&mut replica), [Output::SendStored { link, ranges: vec![(origin(3), 1, 1024)] }]);
    replica.handle(NOW, link, SyncMessage::Durable(vector(&[(3, 1000)])));
    assert_eq!(drain(&mut replica), [], "one batch at a time");
    replica.handle(NOW, link, SyncMessage::Durable(vector(&[(3, 1024)])));
    assert_eq!(drain(&mut replica), [Output::SendStored { link, ranges: vec![(origin(3), 1025, last)] }]);
    replica.handle(NOW, link, SyncMessage::Durable(vector(&[(3, last)])));
    assert_eq!(drain(&mut replica), [Output::Notice(Notice::Up { tracker: 2 })]);
}

#[test]
fn the_store_must_be_whole() {
    let mut replica = Replica::new(origin(1), &[], 7);
    replica.restore(operation(3, 1)).unwrap();
    assert_eq!(replica.restore(operation(3, 3)), Err(RestoreError::Gap { origin: origin(3), got: 3, want: 2 }));
    assert!(replica.restore(operation(3, 1)).is_err());
}

#[test]
fn the_first_vector_waits_for_what_is_on_its_way_to_the_disk() {
    let mut replica = Replica::new(origin(1), &[], 7);
    replica.connected(NOW, LinkId::From(1), origin(2));
    drain(&mut replica);
    replica.handle(NOW, LinkId::From(1), operations(2, 1..=3));
    drain(&mut replica);
    replica.connected(NOW, LinkId::From(2), origin(2));
    assert_eq!(drain(&mut replica), [Output::Drop(LinkId::From(1))], "superseded, and no vector yet");
    replica.handle(NOW, LinkId::From(1), operations(2, 4..=4));
    assert_eq!(drain(&mut replica), [], "a superseded link is not heard");
    replica.persisted(NOW);
    assert_eq!(drain(&mut replica), [Output::Send(LinkId::From(2), SyncMessage::Durable(vector(&[(2, 3)])))]);
}

#[test]
fn an_older_store_takes_a_fresh_origin() {
    let mut replica = Replica::new(origin(1), &[2], 7);
    replica.restore(operation(1, 1)).unwrap();
    replica.connected(NOW, LinkId::To(2), origin(2));
    replica.handle(NOW, LinkId::To(2), SyncMessage::Durable(vector(&[(1, 3)])));
    assert_ne!(replica.origin(), origin(1));
    let outputs = drain(&mut replica);
    assert!(matches!(&outputs[0], Output::Persist(batch) if batch.origin == Some(replica.origin())));
    assert_eq!(drops(&outputs), [LinkId::To(2)]);
    replica.connected(NOW, LinkId::From(1), origin(2));
    replica.handle(NOW, LinkId::From(1), operations(1, 2..=3));
    assert_eq!(replica.vector().get(origin(1)), 3);
}

#[test]
fn a_confirmed_store_keeps_its_origin() {
    let mut replica = Replica::new(origin(1), &[2], 7);
    replica.restore(operation(1, 1)).unwrap();
    replica.connected(NOW, LinkId::To(2), origin(2));
    replica.handle(NOW, LinkId::To(2), SyncMessage::Durable(vector(&[(1, 1)])));
    create_user(&mut replica, 1);
    assert_eq!((replica.origin(), replica.vector().get(origin(1))), (origin(1), 2));
}

/// Each of these ends the link and changes nothing.
/// A tracker that is there must have an operation before it is acknowledged, also when this one hangs up to take a fresh origin.
#[test]
fn replies_wait_for_a_link_that_was_dropped_only_to_be_dialled_again() {
    let fresh = || {
        let mut replica = Replica::new(origin(1), &[2, 3], 7);
        replica.restore(operation(1, 1)).unwrap();
        replica.connected(NOW, LinkId::To(2), origin(2));
        replica.handle(NOW, LinkId::To(2), SyncMessage::Durable(vector(&[(1, 1)])));
        assert_eq!(drain(&mut replica), [Output::Notice(Notice::Up { tracker: 2 })]);
        // Tracker 3 has not confirmed the origin.
        create_user(&mut replica, 1);
        assert_eq!(drops(&drain(&mut replica)), [LinkId::To(2)]);
        replica.persisted(NOW);
        replica.disconnected(NOW, LinkId::To(2));
        assert_eq!(drain(&mut replica), []);
        replica
    };
    let mut replica = fresh();
    replica.connected(NOW + 100, LinkId::To(2), origin(2));
    replica.handle(NOW + 100, LinkId::To(2), SyncMessage::Durable(vector(&[(1, 1)])));
    assert!(matches!(&drain(&mut replica)[..], [Output::Send(LinkId::To(2), SyncMessage::Operations(sent))] if sent.len() == 1));
    replica.handle(NOW + 200, LinkId::To(2), SyncMessage::Durable([(replica.origin(), 1)].into_iter().collect()));
    assert!(has_reply(&drain(&mut replica)));
    // One that does not come back is waited for as long as one that does not acknowledge.
    let mut replica = fresh();
    (1..10).for_each(|n| replica.tick(NOW + n * 100));
    assert_eq!(drain(&mut replica), []);
    replica.tick(NOW + 1000);
    assert!(has_reply(&drain(&mut replica)));
}

#[test]
fn broken_peers_are_dropped() {
    let mut big = operation(2, 1);
    big.writes = vec![big.writes[0].clone(); OPERATION_WRITES_MAX + 1];
    let mut late = operation(2, 1);
    late.stamp = Stamp::new(NOW + 120_001, 0);
    let mut end = operation(2, 1);
    end.stamp = Stamp::from_u64(u64::MAX);
    let cases = [
        operations(2, 2..=3),
        SyncMessage::Operations(vec![operation(2, u64::MAX)]),
        SyncMessage::Operations(vec![big]),
        SyncMessage::Operations(vec![late]),
        SyncMessage::Operations(vec![end]),
        SyncMessage::Operations(vec![operation(2, 0); OPERATIONS_PER_BATCH_MAX + 1]),
        SyncMessage::Durable(VersionVector::default()),
    ];
    for message in cases {
        let mut replica = Replica::new(origin(1), &[2], 7);
        replica.connected(NOW, LinkId::From(5), origin(2));
        drain(&mut replica);
        replica.handle(NOW, LinkId::From(5), message);
        assert_eq!(drops(&drain(&mut replica)), [LinkId::From(5)]);
        assert_eq!(replica.vector(), VersionVector::default());
        replica.handle(NOW, LinkId::From(5), operations(2, 1..=1));
        assert_eq!(drain(&mut replica), []);
    }
}

#[test]
fn links_to_nobody_and_to_oneself_are_dropped() {
    let mut replica = linked();
    replica.connected(NOW, LinkId::To(9), origin(9));
    assert_eq!(drops(&drain(&mut replica)), [LinkId::To(9)]);
    replica.connected(NOW, LinkId::From(1), origin(1));
    assert_eq!(drops(&drain(&mut replica)), [LinkId::From(1)]);
    replica.handle(NOW, LinkId::To(2), operations(2, 1..=1));
    assert_eq!(drops(&drain(&mut replica)), [LinkId::To(2)]);
    for link in [LinkId::To(2), LinkId::To(77), LinkId::From(77)] {
        replica.handle(NOW, link, operations(2, 1..=1));
        replica.handle(NOW, link, SyncMessage::Durable(vector(&[(1, 1)])));
        replica.disconnected(NOW, link);
        replica.clock_ahead(link);
    }
    assert_eq!(drain(&mut replica), []);
    assert_eq!(replica.links()[0].state, TrackerState::ClockAhead);
}

#[test]
fn what_is_known_already_is_passed_over() {
    let mut replica = Replica::new(origin(1), &[2], 7);
    replica.connected(NOW, LinkId::From(5), origin(2));
    replica.handle(NOW, LinkId::From(5), operations(2, 1..=3));
    drain(&mut replica);
    replica.handle(NOW, LinkId::From(5), operations(2, 2..=4));
    assert!(matches!(&drain(&mut replica)[..], [Output::Persist(batch)] if batch.operations == [operation(2, 4)]));
}
