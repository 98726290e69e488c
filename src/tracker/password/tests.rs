//! Hashes and their checks; who gets a place, and when.

use std::time::Instant;

use super::*;

fn password(text: &str) -> Password {
    Password::new(text.into()).unwrap()
}

fn lane(last: u8) -> Lane {
    Lane { source: Source::of([10, 0, 0, last].into()), known: None }
}

#[test]
fn a_hash_is_of_its_password_alone() {
    let hasher = Hasher::new(Stop::new());
    let hash = hasher.hash(lane(1), &password("secret")).unwrap();
    let other = hasher.hash(lane(1), &password("other")).unwrap();
    assert!(hash.as_phc().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.as_phc());
    assert_ne!(hash, hasher.hash(lane(1), &password("secret")).unwrap(), "salts are random");
    assert_eq!(hasher.find(lane(1), &password("secret"), &[&other, &hash]), Ok(Some(1)));
    assert_eq!(hasher.find(lane(1), &password("Secret"), &[&other, &hash]), Ok(None));
    assert_eq!(hasher.find(lane(1), &password("secret"), &[]), Ok(None));
}

#[test]
fn hashes_of_others_are_read_and_absurd_ones_refused() {
    let hasher = Hasher::new(Stop::new());
    // From the test vectors of the reference implementation.
    let foreign =
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    assert_eq!(
        hasher.find(lane(1), &password("password"), &[&PasswordHash::from_phc(foreign.into())]),
        Ok(Some(0))
    );
    for bad in [
        "",
        "$argon2id$",
        "plain",
        &foreign.replace("m=256", "m=4000000"),
        &foreign.replace("argon2id", "argon2i"),
    ] {
        assert_eq!(
            hasher.find(lane(1), &password("password"), &[&PasswordHash::from_phc(bad.into())]),
            Ok(None),
            "{bad}"
        );
    }
}

#[test]
fn places_come_back_and_go_round_the_lanes() {
    let hasher = Hasher::new(Stop::new());
    let count = hasher.places.lock().free.len();
    let taken: Vec<_> = (0..count).map(|_| hasher.take_place(lane(1)).unwrap()).collect();
    let (order, served) = bounded(10);
    std::thread::scope(|scope| {
        for (number, last) in [1, 1, 1, 2].into_iter().enumerate() {
            let (hasher, order) = (&hasher, order.clone());
            scope.spawn(move || {
                let place = hasher.take_place(lane(last)).unwrap();
                order.send(last).unwrap();
                drop(place);
            });
            while hasher.places.lock().last_number <= number as u64 {
                std::thread::yield_now();
            }
        }
        // One place: those who wait are served one after the other.
        let mut taken = taken.into_iter();
        drop(taken.next());
        let got: Vec<u8> = served.iter().take(4).collect();
        assert_eq!(got, [1, 2, 1, 1]);
        drop(taken);
    });
    assert_eq!(hasher.places.lock().free.len(), count, "every place came back");
}

#[test]
fn a_flood_fills_its_own_lane_alone() {
    let hasher = Hasher::new(Stop::new());
    let count = hasher.places.lock().free.len();
    let _taken: Vec<_> = (0..count).map(|_| hasher.take_place(lane(1)).unwrap()).collect();
    let mut places = hasher.places.lock();
    let waiter = || Waiter { number: u64::MAX, memory: bounded(1).0 };
    while places.waiting.push(lane(1), waiter()) {}
    drop(places);
    assert_eq!(hasher.hash(lane(1), &password("x")), Err(Refusal::Busy));
    std::thread::scope(|scope| {
        let (next_door, started) =
            (Lane { known: Some(UserId::from_bytes([1; 16])), ..lane(1) }, Instant::now());
        let waiting = [lane(2), next_door].map(|lane| {
            let hasher = &hasher;
            scope.spawn(move || hasher.take_place(lane).map(drop))
        });
        while hasher.places.lock().last_number < 3 {
            std::thread::yield_now();
        }
        // The flood's places are vain; the others' turns come all the same.
        drop(Place { hasher: &hasher, memory: Memory::new() });
        for waiting in waiting {
            assert_eq!(waiting.join().unwrap(), Ok(()));
        }
        assert!(started.elapsed() < WAIT_MAX);
    });
}

#[test]
fn one_user_fills_no_lane_and_takes_turns_with_the_neighbours() {
    let hasher = Hasher::new(Stop::new());
    let user = |number: u8| Lane { known: Some(UserId::from_bytes([number; 16])), ..lane(1) };
    let mut taken = hasher.occupy(lane(1).source);
    let mut places = hasher.places.lock();
    let mut channels = Vec::new();
    let mut push = |lane: Lane, number| {
        let (memory, given) = bounded(1);
        channels.push((number, given));
        places.waiting.push(lane, Waiter { number, memory })
    };
    // A hundred sessions of one account, and then somebody else's only one.
    let waiting = (0..100).filter(|&number| push(user(1), number)).count();
    assert_eq!(waiting, WAITING_PER_USER_MAX);
    assert!(push(user(2), 1000));
    drop(places);
    // Two places that become free are enough, though four came before.
    let given = |number| channels.iter().find(|(other, _)| *other == number).unwrap().1.clone();
    drop(taken.pop());
    let first = Place { hasher: &hasher, memory: given(0).try_recv().unwrap() };
    assert!(given(1000).try_recv().is_err());
    drop(first);
    assert!(given(1000).try_recv().is_ok());
}

#[test]
fn nobody_waits_for_a_place_in_a_tracker_that_ends() {
    let hasher = Hasher::new(Stop::new());
    let count = hasher.places.lock().free.len();
    let _taken: Vec<_> = (0..count).map(|_| hasher.take_place(lane(1)).unwrap()).collect();
    let started = Instant::now();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| hasher.hash(lane(1), &password("x")));
        hasher.stop.set();
        assert_eq!(waiting.join().unwrap(), Err(Refusal::Busy));
    });
    assert!(started.elapsed() < WAIT_MAX, "it waited to the end");
}

#[test]
fn every_other_place_goes_to_those_who_are_known() {
    let mut queue = Queue::default();
    let push = |queue: &mut Queue, lane, number| {
        assert!(queue.push(lane, Waiter { number, memory: bounded(1).0 }))
    };
    // Guesses from many addresses, and then two owners at one.
    (1..=50).for_each(|last| push(&mut queue, lane(last), u64::from(last)));
    for number in [100, 101] {
        push(
            &mut queue,
            Lane { known: Some(UserId::from_bytes([number; 16])), ..lane(1) },
            u64::from(number),
        );
    }
    let order: Vec<u64> = std::iter::from_fn(|| queue.next()).map(|waiter| waiter.number).collect();
    assert_eq!(order[..6], [1, 100, 2, 101, 3, 4]);
    assert_eq!(order.len(), 52, "nobody is left out");
}
