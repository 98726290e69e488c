//! Tests of the choker: slots are given at once, bounded, and go round.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Every link is another user's, unless a test says otherwise.
fn user(number: u64) -> UserId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    UserId::from_bytes(bytes)
}

fn with(peers: u64, slots: usize) -> Choker {
    let mut choker = Choker::new(ChokerOptions { slots, ..ChokerOptions::default() }, 1);
    for link in (0..peers).map(LinkKey) {
        choker.join(Duration::ZERO, link, user(link.0));
        choker.set_interested(Duration::ZERO, link, true);
        choker.check_invariants();
    }
    choker
}

fn served(choker: &Choker) -> Vec<u64> {
    choker.unchoked().map(|(link, _)| link.0).collect()
}

#[test]
fn free_slots_are_given_at_once() {
    let mut choker = with(3, 8);
    assert_eq!(served(&choker), [0, 1, 2]);
    assert_eq!(choker.poll(), Some(Choke { link: LinkKey(0), choked: false }));
}

#[test]
fn an_idle_peer_keeps_its_slot_until_another_wants_it() {
    let mut choker = with(2, 2);
    choker.set_interested(SECOND, LinkKey(0), false);
    assert_eq!(served(&choker), [0, 1]);
    choker.join(SECOND, LinkKey(2), user(2));
    choker.set_interested(SECOND, LinkKey(2), true);
    assert_eq!(served(&choker), [1, 2]);
    choker.leave(SECOND, LinkKey(1));
    choker.set_interested(SECOND, LinkKey(0), true);
    assert_eq!(served(&choker), [0, 2]);
    choker.check_invariants();
}

#[test]
fn whoever_asks_for_nothing_makes_room_for_those_that_wait() {
    let mut choker = with(3, 2);
    choker.requested(LinkKey(0));
    choker.tick(SECOND / 2);
    assert_eq!(served(&choker), [0, 1]);
    choker.tick(SECOND);
    assert_eq!(served(&choker), [0, 2], "the second said no word for a second");
    choker.requested(LinkKey(2));
    choker.tick(3 * SECOND);
    assert_eq!(served(&choker), [0, 2]);
    choker.leave(3 * SECOND, LinkKey(0));
    choker.tick(30 * SECOND);
    assert_eq!(served(&choker), [1, 2], "nobody else wants it");
    choker.check_invariants();
}

/// Nobody starves: 200 peers at 8 slots are all served in turn, seeding or not.
#[test]
fn everybody_is_served_in_turn() {
    for seeding in [false, true] {
        let mut choker = with(200, 8);
        choker.set_seeding(seeding);
        let mut seen: std::collections::BTreeSet<u64> = served(&choker).into_iter().collect();
        let limit = if seeding { 250 } else { 1_000 };
        for second in 1..=limit {
            choker.tick(SECOND * second);
            choker.check_invariants();
            seen.extend(served(&choker));
        }
        assert_eq!(seen.len(), 200, "seeding: {seeding}");
    }
}

/// Who gives most keeps a slot; the optimistic one goes round among the others.
#[test]
fn the_fastest_stay() {
    let mut choker = with(20, 4);
    let mut held = [0; 20];
    for second in 1..=300 {
        (0..20).for_each(|link| {
            choker.received(
                SECOND * second,
                LinkKey(link),
                if link >= 17 { 1_000_000 } else { 1_000 },
            )
        });
        served(&choker).into_iter().for_each(|link| choker.requested(LinkKey(link)));
        choker.tick(SECOND * second);
        choker.check_invariants();
        served(&choker).into_iter().for_each(|link| held[link as usize] += 1);
    }
    assert!(held[17..].iter().all(|&seconds| seconds > 250), "{held:?}");
    assert!(held[..17].iter().all(|&seconds| seconds >= 5), "{held:?}");
}

/// A user with twenty devices holds every slot while nobody else wants one, and one as soon as
/// enough others do.
#[test]
fn several_devices_of_one_user_count_as_one_when_others_want_slots() {
    for seeding in [false, true] {
        let mut choker = Choker::new(ChokerOptions { slots: 4, ..ChokerOptions::default() }, 1);
        choker.set_seeding(seeding);
        let join = |choker: &mut Choker, link: u64, owner: u64| {
            choker.join(SECOND, LinkKey(link), user(owner));
            choker.set_interested(SECOND, LinkKey(link), true);
            choker.check_invariants();
        };
        (0..20).for_each(|link| join(&mut choker, link, 1));
        assert_eq!(served(&choker), [0, 1, 2, 3]);
        join(&mut choker, 20, 2);
        assert!(served(&choker).contains(&20), "at once, not at the next interval");
        (21..25).for_each(|link| join(&mut choker, link, link));
        let crowd = |choker: &Choker| served(choker).into_iter().filter(|link| *link < 20).count();
        let mut seen = std::collections::BTreeSet::new();
        for second in 2..1_000 {
            (0..20).for_each(|link| choker.received(SECOND * second, LinkKey(link), 1_000_000));
            choker.tick(SECOND * second);
            choker.check_invariants();
            assert!(crowd(&choker) <= 1, "{:?}", served(&choker));
            seen.extend(served(&choker));
        }
        assert!((20..25).all(|link| seen.contains(&link)), "{seen:?}");
        // Where nothing comes back there is no fastest, and its devices take turns.
        assert!(!seeding || seen.iter().filter(|link| **link < 20).count() > 1, "{seen:?}");
    }
}

/// Two hundred leechers on a seeder of 20 MB/s: what the slowest has after a while is a good part
/// of what they have on average.
#[test]
fn where_very_many_wait_nobody_waits_for_long() {
    const TICK: Duration = Duration::from_millis(250);
    let mut choker = with(200, 8);
    choker.set_seeding(true);
    let mut got = [0_u64; 200];
    for tick in 1..=120 {
        let (now, unchoked) = (TICK * tick, served(&choker));
        for link in &unchoked {
            let bytes = 5_000_000 / unchoked.len() as u64;
            got[*link as usize] += bytes;
            choker.sent(now, LinkKey(*link), bytes);
        }
        choker.tick(now);
        choker.check_invariants();
        while choker.poll().is_some() {}
    }
    let (slowest, mean) = (got.iter().min().copied().unwrap_or(0), got.iter().sum::<u64>() / 200);
    assert!(
        4 * slowest >= mean,
        "the slowest has {slowest} bytes after 30 s, and they have {mean} on average"
    );
}

/// Few waiting: a slot is held for an interval, as a turn costs a round trip.
#[test]
fn where_few_wait_slots_are_not_passed_on_early() {
    let mut choker = with(32, 8);
    choker.set_seeding(true);
    let first = served(&choker);
    for tick in 1..20 {
        first.iter().for_each(|link| choker.sent(SECOND * tick / 4, LinkKey(*link), 10 << 20));
        choker.tick(SECOND * tick / 4);
    }
    assert_eq!(served(&choker), first);
}
