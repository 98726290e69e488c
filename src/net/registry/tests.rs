//! Admission and eviction.

use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::*;

/// A connection that only knows whether it was closed.
#[derive(Debug, Clone, Default)]
struct Flag(Arc<AtomicBool>);

impl Flag {
    fn is_closed(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Close for Flag {
    fn close(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

const SMALL: Bounds =
    Bounds { proven: 3, proven_per_address: 2, unproven_per_address: 2, spare: 1 };

fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn admit(registry: &Registry, last: u8) -> (Flag, Option<Admission>) {
    let flag = Flag::default();
    let admission = registry.admit(ip(last), flag.clone());
    (flag, admission)
}

#[test]
fn the_oldest_unproven_connection_of_an_address_is_evicted() {
    let registry = Registry::new(SMALL);
    let (a, mut first) = admit(&registry, 1);
    let (b, second) = admit(&registry, 1);
    assert!(first.as_mut().unwrap().prove());
    let (c, _third) = admit(&registry, 1);
    let (d, _fourth) = admit(&registry, 1);
    assert!(!a.is_closed(), "it has proven who it is");
    assert!(
        b.is_closed() && !c.is_closed() && !d.is_closed(),
        "the oldest unproven one is evicted"
    );
    assert!(second.as_ref().unwrap().is_over() && !first.as_ref().unwrap().is_over());
    assert!(!second.unwrap().prove(), "it was evicted");
    assert_eq!(registry.count(), 3);
}

#[test]
fn the_address_with_the_most_is_evicted_from_when_all_is_full() {
    let registry = Registry::new(SMALL);
    let (_a, _first) = admit(&registry, 1);
    let (b, _second) = admit(&registry, 2);
    let (c, _third) = admit(&registry, 2);
    let (d, mut fourth) = admit(&registry, 3);
    assert!(fourth.as_mut().unwrap().prove());
    let (_e, _fifth) = admit(&registry, 4);
    assert!(b.is_closed() && !c.is_closed() && !d.is_closed());
    assert_eq!(registry.count(), 4);
}

#[test]
fn proven_ones_are_bounded_and_never_evicted() {
    let registry = Registry::new(SMALL);
    let (mut flags, mut kept) = (Vec::new(), Vec::new());
    for (address, may) in [(1, true), (1, true), (1, false), (2, true), (3, false)] {
        let (flag, admission) = admit(&registry, address);
        let mut admission = admission.unwrap();
        assert_eq!(admission.prove(), may, "{address}");
        if may {
            flags.push(flag);
            kept.push(admission);
        }
    }
    assert!(registry.is_full());
    let (unproven, admission) = admit(&registry, 9);
    let mut peer = admit(&registry, 8).1.unwrap();
    assert!(unproven.is_closed() && admission.unwrap().is_over());
    assert!(peer.trust(), "no bound but that of the whole applies to it");
    assert!(admit(&registry, 7).1.is_none(), "none can be evicted");
    assert!(flags.iter().all(|flag| !flag.is_closed()));
    kept.pop();
    assert!(!registry.is_full() && admit(&registry, 7).1.is_some());
}

#[test]
fn a_connection_that_is_unproven_again_counts_as_new() {
    let registry = Registry::new(SMALL);
    let (a, mut first) = admit(&registry, 1);
    let first = first.as_mut().unwrap();
    assert!(first.prove() && first.prove());
    let (b, _second) = admit(&registry, 1);
    let (c, _third) = admit(&registry, 1);
    first.unprove();
    first.unprove();
    assert!(!a.is_closed() && b.is_closed() && !c.is_closed());
    let (_d, _fourth) = admit(&registry, 1);
    assert!(c.is_closed() && !a.is_closed() && !first.is_over());
}

#[test]
fn as_many_leave_as_may_be_there() {
    let registry = Registry::new(Bounds {
        proven: 2,
        proven_per_address: 2,
        unproven_per_address: 1,
        spare: 0,
    });
    let mut admitted: Vec<_> = (0..3).map(|_| admit(&registry, 1).1.unwrap()).collect();
    assert_eq!(registry.count(), 1);
    assert!(admit(&registry, 2).1.is_none(), "two that gave way have not ended yet");
    admitted.remove(0);
    assert!(admit(&registry, 2).1.is_some());
}

#[test]
fn closing_closes_all_and_nothing_is_left() {
    let registry = Registry::new(SMALL);
    let (a, first) = admit(&registry, 1);
    let (b, second) = admit(&registry, 2);
    registry.close_all();
    assert!(a.is_closed() && b.is_closed() && first.as_ref().unwrap().is_over());
    assert!(admit(&registry, 3).1.is_none());
    drop((first, second));
    let state = registry.inner.admitted.lock();
    assert!(
        state.held.is_empty()
            && state.sources.is_empty()
            && state.by_rank.is_empty()
            && state.evicted_count == 0
    );
}

/// Two thousand slow handshakes from one address, and as many from many, lock out no honest
/// connection.
#[test]
fn slow_handshakes_lock_out_no_quick_one() {
    let registry = Registry::new(Bounds {
        proven: 500,
        proven_per_address: 400,
        unproven_per_address: 64,
        spare: 128,
    });
    let mut slow: Vec<_> = (0..500).map(|_| admit(&registry, 1).1.unwrap()).collect();
    assert_eq!(registry.count(), 64);
    slow.retain(|admission| !admission.is_over());
    for round in 0..1500_u32 {
        slow.extend(registry.admit(IpAddr::from([11, 0, (round % 40) as u8, 1]), Flag::default()));
        slow.retain(|admission| !admission.is_over());
    }
    let mut honest: Vec<_> = (0..200).map(|last| admit(&registry, last)).collect();
    assert!(
        honest
            .iter_mut()
            .all(|(flag, admission)| admission.as_mut().unwrap().prove() && !flag.is_closed())
    );
    assert_eq!(registry.count(), registry.inner.bounds.total());
}

#[derive(Debug, Clone)]
enum Step {
    Admit(u8),
    Prove(usize),
    Trust(usize),
    Unprove(usize),
    Drop(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u8).prop_map(Step::Admit),
        2 => (0..30_usize).prop_map(Step::Prove),
        1 => (0..30_usize).prop_map(Step::Trust),
        1 => (0..30_usize).prop_map(Step::Unprove),
        2 => (0..30_usize).prop_map(Step::Drop),
    ]
}

proptest! {
    /// After every step each bound holds, the counts agree with the connections, and no proven
    /// connection was closed.
    #[test]
    fn bounds_hold_and_counts_agree(steps in proptest::collection::vec(step(), 0..200)) {
        let bounds = Bounds { proven: 5, proven_per_address: 3, unproven_per_address: 3, spare: 3 };
        let registry = Registry::new(bounds);
        let mut alive: Vec<(Flag, Admission, bool)> = Vec::new();
        for step in steps {
            let len = alive.len().max(1);
            match step {
                Step::Admit(last) => {
                    let (flag, admission) = admit(&registry, last);
                    alive.extend(admission.map(|admission| (flag, admission, false)));
                }
                Step::Prove(index) => alive.get_mut(index % len).into_iter().for_each(|one| one.2 |= one.1.prove()),
                Step::Trust(index) => alive.get_mut(index % len).into_iter().for_each(|one| one.2 |= one.1.trust()),
                Step::Unprove(index) => alive.get_mut(index % len).into_iter().for_each(|one| {
                    one.1.unprove();
                    one.2 = false;
                }),
                Step::Drop(index) if index < alive.len() => drop(alive.swap_remove(index)),
                Step::Drop(_) => {}
            }
            for (flag, admission, proven) in &alive {
                prop_assert_eq!(flag.is_closed(), admission.is_over());
                prop_assert!(!(*proven && flag.is_closed()), "a proven connection was closed");
            }
            let state = registry.inner.admitted.lock();
            prop_assert!(state.held.len() <= bounds.total() && state.proven <= bounds.proven);
            prop_assert_eq!(state.held.len() + state.evicted_count, alive.len());
            prop_assert_eq!(state.held.values().filter(|held| held.standing == Standing::Proven).count(), state.proven);
            let unproven: usize = state.sources.values().map(|crowd| crowd.unproven.len()).sum();
            prop_assert_eq!(state.held.values().filter(|held| held.standing == Standing::Unproven).count(), unproven);
            for (source, crowd) in &state.sources {
                prop_assert!(crowd.unproven.len() <= bounds.unproven_per_address && crowd.proven <= bounds.proven_per_address);
                prop_assert!(crowd.rank(*source).is_none_or(|rank| state.by_rank.contains(&rank)));
            }
        }
    }
}
