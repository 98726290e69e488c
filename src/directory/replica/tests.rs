//! What a replica does with its links, one step at a time, and with peers that are broken or
//! hostile.

use super::*;
use crate::types::{
    Durable, Effect, GroupId, Order, PasswordHash, RequestId, RowBatch, Stamp, StoreId,
    TrackerState, UserName,
};

const NOW: u64 = 1_700_000_000_000;
const LINK: LinkId = LinkId::To(2);

fn store(n: u8) -> StoreId {
    StoreId::from_bytes([n; 16])
}

fn request(n: u64) -> RequestId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    RequestId::from_bytes(bytes)
}

fn vector(entries: &[(u8, u64)]) -> VersionVector {
    entries.iter().map(|&(n, sequence)| (store(n), sequence)).collect()
}

fn durable(checkpoint: u64, entries: &[(u8, u64)]) -> SyncMessage {
    SyncMessage::Durable(Durable { checkpoint, vector: vector(entries) })
}

/// A row that another store wrote.
fn row(from: u8, sequence: u64) -> Row {
    let content =
        Content::Owner(GroupId::from_bytes([sequence as u8; 16]), UserId::from_bytes([from; 16]));
    let version = Version {
        stamp: Stamp::new(NOW, sequence as u16),
        request: request(u64::from(from) << 32 | sequence),
    };
    Row { content, version, place: Place { store: store(from), sequence }, extra: Box::default() }
}

fn rows(from: u8, sequences: std::ops::RangeInclusive<u64>, complete: &[(u8, u64)]) -> SyncMessage {
    let through = *sequences.end();
    let complete = if complete.is_empty() { None } else { Some(vector(complete)) };
    SyncMessage::Rows(RowBatch {
        rows: sequences.map(|sequence| row(from, sequence)).collect(),
        through,
        complete,
    })
}

fn state(n: u8) -> StoreState {
    StoreState::new(store(n))
}

fn drain(replica: &mut Replica) -> Vec<Output> {
    std::iter::from_fn(|| replica.poll())
        .filter(|output| !matches!(output, Output::Sweep(_)))
        .collect()
}

fn persist(replica: &mut Replica) -> Vec<Output> {
    replica.persisted(NOW);
    drain(replica)
}

fn user_name(n: u64) -> UserName {
    format!("user{n}").parse().unwrap()
}

fn asked(n: u64) -> Asked {
    let change =
        Change::CreateUser { name: user_name(n), hash: PasswordHash::from_phc(String::new()) };
    let request = RequestStamp { id: request(n), at: Stamp::new(NOW, n as u16) };
    Asked { actor: UserId::NOBODY, request, change, note: String::new() }
}

fn create_user(replica: &mut Replica, n: u64) {
    replica.submit(NOW, Ticket(n), asked(n));
}

fn greet(
    replica: &mut Replica,
    now_ms: u64,
    checkpoint: u64,
    entries: &[(u8, u64)],
    is_empty: bool,
) {
    replica.connected(now_ms, LINK, &Lineage::new(store(2)));
    replica.greeted(now_ms, 2, Durable { checkpoint, vector: vector(entries) }, is_empty);
}

/// A replica with store 1 whose link to tracker 2 (store 2) is up.
fn linked() -> Replica {
    let mut replica = Replica::new(state(1), &[2]);
    greet(&mut replica, NOW, 0, &[], true);
    let outputs = drain(&mut replica);
    assert_eq!(outputs[0], Output::Notice(Notice::Up { tracker: 2 }));
    assert!(
        matches!(&outputs[1..], [Output::Send(LINK, SyncMessage::Rows(batch))] if batch.rows.is_empty())
    );
    replica
}

fn has_reply(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Reply(_, Ok(_))))
}

fn drops(outputs: &[Output]) -> Vec<LinkId> {
    outputs
        .iter()
        .filter_map(|output| if let Output::Drop(link) = output { Some(*link) } else { None })
        .collect()
}

#[test]
fn a_reply_waits_for_the_disk_and_for_the_peer() {
    let mut replica = linked();
    create_user(&mut replica, 1);
    assert!(
        matches!(&drain(&mut replica)[..], [Output::Persist(t)] if t.sequence == 1 && t.rows.len() == 2)
    );
    let outputs = persist(&mut replica);
    assert!(
        matches!(&outputs[..], [Output::Send(LINK, SyncMessage::Rows(sent))] if sent.rows.len() == 2 && sent.complete.is_some())
    );
    replica.handle(NOW, LINK, durable(1, &[(1, 1)]));
    assert!(has_reply(&drain(&mut replica)));
}

#[test]
fn what_is_not_handed_out_yet_is_not_durable() {
    let mut replica = Replica::new(state(1), &[]);
    (1..=3).for_each(|n| create_user(&mut replica, n));
    assert_eq!(drain(&mut replica).len(), 3);
    create_user(&mut replica, 4);
    let replies = persist(&mut replica)
        .into_iter()
        .filter(|output| matches!(output, Output::Reply(..)))
        .count();
    assert_eq!(replies, 3, "the fourth was not handed out yet");
}

#[test]
fn a_silent_peer_holds_replies_for_a_second() {
    let mut replica = linked();
    create_user(&mut replica, 1);
    drain(&mut replica);
    persist(&mut replica);
    (1..10).for_each(|n| replica.tick(NOW + n * 100));
    assert_eq!(drain(&mut replica), []);
    assert!(!replica.is_degraded());
    replica.tick(NOW + 1000);
    assert!(has_reply(&drain(&mut replica)) && replica.is_degraded());
    assert_eq!(
        replica.links()[0],
        LinkInfo { tracker: 2, state: TrackerState::CatchingUp, lag: 1 }
    );
    replica.handle(NOW + 1100, LINK, durable(1, &[(1, 1)]));
    assert_eq!(drain(&mut replica), [Output::Notice(Notice::Up { tracker: 2 })]);
}

#[test]
fn a_link_that_goes_releases_its_replies() {
    let mut replica = linked();
    create_user(&mut replica, 1);
    drain(&mut replica);
    persist(&mut replica);
    replica.disconnected(NOW, LINK);
    assert!(has_reply(&drain(&mut replica)));
}

/// Under steady load a link that catches up must come up, and nothing may be acknowledged behind
/// its back meanwhile.
#[test]
fn a_link_comes_up_under_load() {
    let mut replica = Replica::new(state(1), &[2]);
    create_user(&mut replica, 1);
    drain(&mut replica);
    assert!(has_reply(&persist(&mut replica)), "no tracker is connected");
    greet(&mut replica, NOW, 0, &[], true);
    drain(&mut replica);
    create_user(&mut replica, 2);
    drain(&mut replica);
    assert!(
        !has_reply(&persist(&mut replica)),
        "the batch under way reaches all that was durable: the link counts"
    );
    replica.handle(NOW, LINK, durable(1, &[(1, 1)]));
    assert_eq!(replica.links()[0].state, TrackerState::Up);
    assert!(!has_reply(&drain(&mut replica)));
    replica.handle(NOW, LINK, durable(2, &[(1, 2)]));
    assert!(has_reply(&drain(&mut replica)));
}

/// A store with rows that are not in memory as transactions.
fn with_a_lag(last: u64) -> Replica {
    let state = StoreState { sequence: last, ..state(1) };
    let mut replica = Replica::new(state, &[2]);
    (1..=last).for_each(|sequence| replica.restore(&row(1, sequence)));
    greet(&mut replica, NOW, 0, &[], true);
    replica
}

#[test]
fn a_long_lag_is_sent_from_the_store_part_by_part() {
    let mut replica = with_a_lag(7);
    let stored = |after, through| Output::SendStored {
        link: LINK,
        after,
        through,
        known: VersionVector::default(),
    };
    assert_eq!(drain(&mut replica), [stored(0, 5)]);
    replica.handle(NOW, LINK, durable(4, &[]));
    assert_eq!(drain(&mut replica), [], "one part at a time");
    replica.handle(NOW, LINK, durable(5, &[]));
    assert_eq!(drain(&mut replica), [stored(5, 7)]);
    replica.handle(NOW, LINK, durable(7, &[]));
    let outputs = drain(&mut replica);
    assert_eq!(outputs[0], Output::Notice(Notice::Up { tracker: 2 }));
    assert!(
        matches!(&outputs[1..], [Output::Send(LINK, SyncMessage::Rows(told))] if told.complete == Some(vector(&[(1, 7)]))),
        "what came from the store was never complete"
    );
}

/// A row may move while the store is read for a link: then the acknowledgement of what was read
/// does not tell of it.
#[test]
fn what_was_read_from_the_store_makes_no_reply_safe() {
    let mut replica = with_a_lag(3);
    assert!(matches!(&drain(&mut replica)[..], [Output::SendStored { through: 3, .. }]));
    create_user(&mut replica, 1);
    drain(&mut replica);
    assert!(has_reply(&persist(&mut replica)), "the link does not count yet");
    replica.handle(NOW, LINK, durable(3, &[]));
    assert!(
        matches!(&drain(&mut replica)[..], [Output::Send(LINK, SyncMessage::Rows(sent))] if sent.through == 4)
    );
    assert!(!replica.outbound[&2].is_up());
    replica.handle(NOW, LINK, durable(4, &[(1, 4)]));
    assert!(replica.outbound[&2].is_up());
}

#[test]
fn rows_are_acknowledged_once_they_are_durable() {
    let mut replica = Replica::new(state(1), &[]);
    replica.connected(NOW, LinkId::From(1), &Lineage::new(store(2)));
    assert_eq!(drain(&mut replica), [Output::Send(LinkId::From(1), durable(0, &[]))]);
    replica.handle(NOW, LinkId::From(1), rows(2, 1..=3, &[(2, 3), (9, 7)]));
    assert!(
        matches!(&drain(&mut replica)[..], [Output::Persist(t)] if t.rows.len() == 3 && t.checkpoints == [(store(2), 3)])
    );
    replica.connected(NOW, LinkId::From(2), &Lineage::new(store(2)));
    let outputs = drain(&mut replica);
    assert_eq!(
        outputs,
        [Output::Drop(LinkId::From(1)), Output::Send(LinkId::From(2), durable(0, &[]))],
        "superseded"
    );
    replica.handle(NOW, LinkId::From(1), rows(2, 4..=4, &[]));
    assert_eq!(drain(&mut replica), [], "a superseded link is not heard");
    assert_eq!(persist(&mut replica), [Output::Send(LinkId::From(2), durable(0, &[(1, 1)]))]);
    replica.handle(NOW, LinkId::From(2), rows(2, 1..=3, &[(2, 3), (9, 7)]));
    assert_eq!(
        drain(&mut replica),
        [Output::Send(LinkId::From(2), durable(3, &[(2, 3), (9, 7)]))],
        "nothing is new"
    );
}

/// What was merged of an ancestor's stream in the middle counts no more: rows may be before it
/// again.
#[test]
fn only_what_is_complete_is_taken_over_from_an_ancestor() {
    let mut replica = Replica::new(state(1), &[]);
    replica.connected(NOW, LinkId::From(1), &Lineage::new(store(2)));
    replica.handle(NOW, LinkId::From(1), rows(2, 1..=3, &[(2, 3)]));
    replica.handle(NOW, LinkId::From(1), rows(2, 4..=8, &[]));
    drain(&mut replica);
    persist(&mut replica);
    let child = Lineage::new(store(2)).restarted(store(3), 6);
    replica.connected(NOW, LinkId::From(2), &child);
    let Some(Output::Send(_, SyncMessage::Durable(told))) = drain(&mut replica).pop() else {
        panic!("it says what it has")
    };
    assert_eq!((told.checkpoint, told.vector.get(store(3))), (3, 3));
}

/// An empty store is told so once.
#[test]
fn two_empty_stores_do_not_talk_without_end() {
    let mut replica = linked();
    replica.handle(NOW, LINK, durable(0, &[]));
    assert_eq!(drain(&mut replica), []);
}

#[test]
fn a_peer_that_was_away_too_long_must_start_anew() {
    let state = StoreState { sequence: 9, swept: 5, ..state(1) };
    for (checkpoint, is_empty, must) in [(4, false, true), (4, true, false), (5, false, false)] {
        let mut replica = Replica::new(state.clone(), &[2]);
        greet(&mut replica, NOW, checkpoint, &[], is_empty);
        let told = drain(&mut replica).contains(&Output::Send(LINK, SyncMessage::MustResync));
        assert_eq!(told, must);
        assert_eq!(replica.links()[0].state == TrackerState::MustResync, must);
        replica.disconnected(NOW, LINK);
        assert_eq!(
            replica.links()[0].state == TrackerState::MustResync,
            must,
            "the operator can still see it"
        );
    }
    let mut replica = Replica::new(StoreState::new(store(3)), &[]);
    assert!(replica.is_empty());
    replica.connected(NOW, LinkId::From(1), &Lineage::new(store(2)));
    replica.handle(NOW, LinkId::From(1), rows(2, 1..=1, &[]));
    assert!(replica.is_empty(), "it fills itself for the first time");
    replica.handle(NOW, LinkId::From(1), SyncMessage::MustResync);
    let outputs = drain(&mut replica);
    assert!(
        outputs.contains(&Output::Notice(Notice::MustResync))
            && drops(&outputs) == [LinkId::From(1)]
    );
    let mut replica = linked();
    replica.connected(NOW, LinkId::From(1), &Lineage::new(store(2)));
    replica.handle(NOW, LinkId::From(1), SyncMessage::MustResync);
    assert_eq!(drops(&drain(&mut replica)), [LinkId::From(1), LINK], "it sends nothing any more");
    replica.connected(NOW, LINK, &Lineage::new(store(2)));
    assert_eq!(drops(&drain(&mut replica)), [LINK]);
}

/// A part of what a request wrote may come before the rest: until then it is not acknowledged.
#[test]
fn a_request_that_came_in_part_is_waited_for() {
    let at = |sequence| Place { store: store(2), sequence };
    let version = Version { stamp: Stamp::new(NOW, 1), request: request(1) };
    let effect = Effect::User(UserId::derive(&user_name(1), request(1)));
    let content = Content::Request(
        request(1),
        RequestRow { actor: UserId::NOBODY, effect, note: String::new() },
    );
    let known = Row { content, version, place: at(1), extra: Box::default() };
    let begin = || {
        let mut replica = Replica::new(state(1), &[]);
        replica.connected(NOW, LinkId::From(1), &Lineage::new(store(2)));
        let part = RowBatch { rows: vec![known.clone()], through: 1, complete: None };
        replica.handle(NOW, LinkId::From(1), SyncMessage::Rows(part));
        drain(&mut replica);
        persist(&mut replica);
        create_user(&mut replica, 1);
        assert_eq!(drain(&mut replica), []);
        replica
    };
    let mut replica = begin();
    replica.handle(NOW, LinkId::From(1), rows(2, 2..=2, &[(2, 2)]));
    drain(&mut replica);
    assert!(has_reply(&persist(&mut replica)));
    let mut replica = begin();
    (1..=11).for_each(|n| replica.tick(NOW + n * 500));
    assert_eq!(drain(&mut replica), [Output::Reply(Ticket(1), Err(Refusal::Busy))]);
}

#[test]
fn a_request_from_another_time_is_refused() {
    let mut replica = Replica::new(state(1), &[]);
    for (n, now_ms) in [(1, NOW + 60_001), (2, NOW - 60_001)] {
        replica.submit(now_ms, Ticket(n), asked(n));
        let outputs = drain(&mut replica);
        assert_eq!(
            outputs,
            [Output::Reply(Ticket(n), Err(Refusal::WrongTime { clock_ms: now_ms }))]
        );
    }
    replica.submit(NOW + 60_000, Ticket(3), asked(3));
    drain(&mut replica);
    assert!(has_reply(&persist(&mut replica)));
    replica.submit(NOW + 90_000, Ticket(4), asked(3));
    assert!(has_reply(&drain(&mut replica)), "what was carried out is remembered");
}

/// A late copy is given no later time here; what no client's time reaches, and what has no copies,
/// is.
#[test]
fn a_request_that_was_overtaken_is_refused_with_what_its_time_must_be_above() {
    let setting = |value: &str| {
        Change::Operator(Order::Set {
            name: "quota.files".parse().unwrap(),
            value: Some(value.into()),
        })
    };
    let user = UserId::derive(&user_name(1), request(1));
    let password = |n: u64, at| Asked {
        actor: user,
        request: RequestStamp { id: request(n), at },
        change: Change::ChangePassword { hash: PasswordHash::from_phc("other".into()) },
        note: String::new(),
    };
    let mut replica = Replica::new(state(1), &[]);
    create_user(&mut replica, 1);
    persist(&mut replica);
    let written = asked(1).request.at;
    let outcome = |replica: &mut Replica, now_ms, asked: Asked| {
        replica.submit(now_ms, Ticket(9), asked);
        let mut outputs = drain(replica);
        outputs.extend(persist(replica));
        outputs
            .into_iter()
            .find_map(
                |output| if let Output::Reply(_, outcome) = output { Some(outcome) } else { None },
            )
            .unwrap()
    };
    for at in [Stamp::new(NOW - 50_000, 0), written] {
        assert_eq!(
            outcome(&mut replica, NOW, password(2, at)),
            Err(Refusal::Overtaken { above: written })
        );
    }
    let later = written.next().unwrap();
    assert_eq!(
        outcome(&mut replica, NOW, password(2, later)).map(|success| success.stamp),
        Ok(later)
    );
    // A copy with the time of before has the same outcome.
    assert_eq!(
        outcome(&mut replica, NOW, password(2, written)).map(|success| success.stamp),
        Ok(later)
    );
    // The clock was ahead by more than a client may ask.
    let behind_ms = NOW - 60_001;
    let raised = outcome(&mut replica, behind_ms, password(3, Stamp::new(behind_ms, 0)));
    assert_eq!(raised.map(|success| success.stamp), Ok(later.next().unwrap()));
    for (n, value) in [(4, "1"), (5, "2")] {
        let order = Asked { actor: UserId::NOBODY, change: setting(value), ..password(n, written) };
        assert!(outcome(&mut replica, NOW, order).is_ok());
    }
}

#[test]
fn a_long_note_is_cut_between_characters() {
    let mut replica = Replica::new(state(1), &[]);
    replica.submit(NOW, Ticket(1), Asked { note: "ü".repeat(NOTE_LEN_MAX), ..asked(1) });
    let [Output::Persist(transaction)] = &drain(&mut replica)[..] else {
        panic!("it is carried out")
    };
    let Content::Request(_, row) = &transaction.rows[1].content else {
        panic!("the request comes last")
    };
    assert_eq!(row.note.len(), NOTE_LEN_MAX);
}

#[test]
fn broken_peers_are_dropped() {
    use crate::types::limits::{ROWS_PER_BATCH_MAX, STORES_MAX};
    let many =
        RowBatch { rows: vec![row(2, 1); 2 * ROWS_PER_BATCH_MAX + 1], through: 1, complete: None };
    let stores = |n: usize| {
        (0..n).map(|n| {
            (
                StoreId::from_bytes([
                    n as u8,
                    (n >> 8) as u8,
                    1,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                ]),
                1,
            )
        })
    };
    let wide = RowBatch { complete: Some(stores(STORES_MAX + 2).collect()), ..RowBatch::default() };
    let cases =
        [SyncMessage::Rows(many), SyncMessage::Rows(wide), rows(1, 1..=1, &[]), durable(0, &[])];
    for message in cases {
        let mut replica = Replica::new(state(1), &[2]);
        replica.connected(NOW, LinkId::From(5), &Lineage::new(store(2)));
        drain(&mut replica);
        replica.handle(NOW, LinkId::From(5), message);
        assert_eq!(drops(&drain(&mut replica)), [LinkId::From(5)]);
        assert_eq!(replica.sequence(), 0);
        replica.handle(NOW, LinkId::From(5), rows(2, 1..=1, &[]));
        assert_eq!(drain(&mut replica), []);
    }
    for message in [durable(1, &[]), durable(0, &[(1, 1)]), rows(2, 1..=1, &[])] {
        let mut replica = linked();
        replica.handle(NOW, LINK, message);
        assert_eq!(drops(&drain(&mut replica)), [LINK]);
    }
}

#[test]
fn links_to_nobody_and_to_oneself_are_dropped() {
    let mut replica = linked();
    replica.connected(NOW, LinkId::To(9), &Lineage::new(store(9)));
    assert_eq!(drops(&drain(&mut replica)), [LinkId::To(9)]);
    replica.connected(NOW, LinkId::From(1), &Lineage::new(store(1)));
    assert_eq!(drops(&drain(&mut replica)), [LinkId::From(1)]);
    replica.set_peer(2, false);
    assert_eq!(drops(&drain(&mut replica)), [LINK]);
    for link in [LINK, LinkId::To(77), LinkId::From(77)] {
        replica.handle(NOW, link, rows(2, 1..=1, &[]));
        replica.handle(NOW, link, durable(1, &[(1, 1)]));
        replica.disconnected(NOW, link);
    }
    assert_eq!(drain(&mut replica), []);
    assert_eq!(replica.links(), []);
}

#[test]
fn what_is_known_already_is_passed_over() {
    let mut replica = Replica::new(state(1), &[2]);
    replica.connected(NOW, LinkId::From(5), &Lineage::new(store(2)));
    replica.handle(NOW, LinkId::From(5), rows(2, 1..=3, &[]));
    drain(&mut replica);
    replica.handle(NOW, LinkId::From(5), rows(2, 2..=4, &[]));
    assert!(
        matches!(&drain(&mut replica)[..], [Output::Persist(t)] if t.rows == [row(2, 4)] && t.sequence == 2)
    );
}
