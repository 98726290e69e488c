use super::*;
use std::sync::atomic::{AtomicBool, Ordering};

const KIB: usize = 1 << 10;
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection that remembers whether it was closed.
#[derive(Debug, Clone, Default)]
struct Door(Arc<AtomicBool>);

impl Close for Door {
    fn close(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Door {
    fn is_closed(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

fn lease(budget: &Budget, host: u8, patience: Duration) -> (Lease, Door) {
    let door = Door::default();
    (budget.lease([10, 0, 0, host].into(), door.clone(), Instant::now() + patience), door)
}

#[test]
fn small_requests_cost_nothing_and_large_ones_give_back() {
    let budget = Budget::new(100 * KIB, 100 * KIB);
    let (mut small, _) = lease(&budget, 1, PATIENCE);
    small.grow(FREE_LEN / 2).unwrap();
    small.grow(FREE_LEN / 2).unwrap();
    assert_eq!(budget.used(), 0);
    small.grow(1).unwrap();
    assert_eq!(budget.used(), 1);
    let (mut large, _) = lease(&budget, 1, PATIENCE);
    large.grow(FREE_LEN + 60 * KIB).unwrap();
    assert_eq!(budget.used(), 60 * KIB + 1);
    drop((small, large));
    assert_eq!((budget.used(), budget.peak()), (0, 60 * KIB + 1));
    assert!(budget.inner.leases.lock().sources.is_empty());
}

#[test]
fn what_can_never_fit_is_refused_at_once() {
    let budget = Budget::new(100 * KIB, 50 * KIB);
    let (mut large, _) = lease(&budget, 1, PATIENCE);
    let error = large.grow(FREE_LEN + 51 * KIB).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
}

#[test]
fn the_one_that_has_stalled_for_longest_gives_way() {
    let budget = Budget::new(100 * KIB, 100 * KIB);
    let (mut first, first_door) = lease(&budget, 1, PATIENCE);
    first.grow(FREE_LEN + 40 * KIB).unwrap();
    let (mut second, second_door) = lease(&budget, 2, PATIENCE);
    second.grow(FREE_LEN + 40 * KIB).unwrap();
    // The first one goes on, so the second has been granted something the longest ago.
    first.grow(10 * KIB).unwrap();
    let started = Instant::now();
    std::thread::scope(|scope| {
        let new_request = scope.spawn(|| {
            let (mut third, door) = lease(&budget, 3, PATIENCE);
            third.grow(FREE_LEN + 30 * KIB).unwrap();
            assert!(!door.is_closed());
        });
        while !second_door.is_closed() {
            assert!(started.elapsed() < PATIENCE, "no request was evicted");
            std::thread::yield_now();
        }
        assert!(started.elapsed() > STALL / 2, "it was not asked to before it had stalled");
        assert!(budget.used() <= 100 * KIB, "its bytes count until its thread has given them back");
        assert_eq!(second.grow(1).unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
        drop(second);
        new_request.join().unwrap();
    });
    assert!(!first_door.is_closed());
    assert!(budget.peak() <= 100 * KIB);
}

#[test]
fn a_source_that_has_used_its_share_up_closes_its_own() {
    let budget = Budget::new(1000 * KIB, 50 * KIB);
    let (mut other, other_door) = lease(&budget, 2, PATIENCE);
    other.grow(FREE_LEN + 40 * KIB).unwrap();
    let (mut own, own_door) = lease(&budget, 1, PATIENCE);
    own.grow(FREE_LEN + 40 * KIB).unwrap();
    let (mut more, _) = lease(&budget, 1, 2 * STALL);
    // No bytes are given back, so there is no room by the deadline.
    assert_eq!(more.grow(FREE_LEN + 40 * KIB).unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
    assert!(own_door.is_closed() && !other_door.is_closed());
    drop(own);
    let (mut more, _) = lease(&budget, 1, PATIENCE);
    more.grow(FREE_LEN + 40 * KIB).unwrap();
}

#[test]
fn two_that_wait_for_each_other_do_not_wait_for_long() {
    let budget = Budget::new(100 * KIB, 100 * KIB);
    let results: Vec<bool> = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=2)
            .map(|host| {
                let (mut lease, _) = lease(&budget, host, PATIENCE);
                lease.grow(FREE_LEN + 50 * KIB).unwrap();
                scope.spawn(move || lease.grow(50 * KIB).is_ok())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(results.contains(&true), "one of them has gone on");
    assert_eq!(budget.used(), 0);
}

#[test]
fn the_total_holds_whatever_many_threads_do() {
    let budget = Budget::new(256 * KIB, 128 * KIB);
    std::thread::scope(|scope| {
        for host in 1..=16u8 {
            let budget = &budget;
            scope.spawn(move || {
                for round in 0..20usize {
                    let (mut lease, _) = lease(budget, host % 4, Duration::from_millis(20));
                    let granted =
                        (0..8).take_while(|step| lease.grow((round + step) * KIB).is_ok()).count();
                    assert!(granted <= 8 && budget.used() <= 256 * KIB);
                }
            });
        }
    });
    assert_eq!(budget.used(), 0);
    assert!(budget.peak() <= 256 * KIB && budget.peak() > 0);
}

#[test]
fn one_that_moves_keeps_its_place() {
    let budget = Budget::new(100 * KIB, 100 * KIB);
    let (mut moving, door) = lease(&budget, 1, PATIENCE);
    moving.grow(FREE_LEN + 60 * KIB).unwrap();
    std::thread::scope(|scope| {
        let new_request = scope.spawn(|| {
            let (mut other, _) = lease(&budget, 2, STALL + STALL / 2);
            other.grow(FREE_LEN + 60 * KIB).is_ok()
        });
        while !new_request.is_finished() {
            moving.note_progress();
            std::thread::park_timeout(LOOK);
        }
        assert!(!new_request.join().unwrap());
    });
    assert!(!door.is_closed());
    assert_eq!(budget.used(), 60 * KIB);
}
