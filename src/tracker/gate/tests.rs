//! Who waits, for how long, and who does not.

use proptest::prelude::*;

use super::*;

fn source(last: u8) -> Source {
    Source::of([10, 0, 0, last].into())
}

fn user(number: u8) -> UserId {
    UserId::from_bytes([number; 16])
}

fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 32])
}

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Fails as often as it may at one moment; returns how often at once, and how often in all.
fn exhaust(core: &mut Core, now: Duration, attempt: &Attempt) -> (usize, usize) {
    let waits: Vec<Duration> =
        std::iter::from_fn(|| core.reserve(now, attempt).map(|reserved| reserved.wait)).collect();
    (waits.iter().filter(|wait| wait.is_zero()).count(), waits.len())
}

#[test]
fn guesses_are_paced_by_pair_address_and_account() {
    let mut core = Core::new(1000, 10);
    let nik = core.attempt(source(1), device(1), "nik", &[user(1)]);
    assert_eq!(
        exhaust(&mut core, secs(0), &nik),
        (10, 10 + 2 * 30),
        "one account from one address"
    );
    let after = core.reserve(secs(10), &nik);
    assert!(after.is_some_and(|reserved| reserved.wait > secs(19)), "time alone lets more through");

    let mut core = Core::new(1000, 10);
    let spread = (0..=255_u8).flat_map(|name| [0, 1].map(|round| (name, round)));
    let spray: Vec<_> = spread
        .map(|(name, _)| core.attempt(source(1), device(1), &format!("u{name}"), &[]))
        .collect();
    let passed = spray.iter().filter(|attempt| core.reserve(secs(0), attempt).is_some()).count();
    assert_eq!(passed, 100 + 10 * 30, "many accounts from one address");

    let mut core = Core::new(10_000, 10);
    let crowd: Vec<_> =
        (0..=255).map(|last| core.attempt(source(last), device(last), "nik", &[user(1)])).collect();
    let waiting: Vec<_> = crowd
        .iter()
        .cycle()
        .take(1000)
        .map(|attempt| core.queue(secs(0), attempt).unwrap().1)
        .collect();
    core.serve(secs(30), crowd[0].account);
    let through =
        |waiting: &[Receiver<Use>]| waiting.iter().filter(|turn| turn.try_recv().is_ok()).count();
    assert_eq!(through(&waiting), 50 + 50, "one account from many addresses, at two moments");
    (1..=300).for_each(|step| _ = core.serve(secs(30) + LOOK * step, crowd[0].account));
    assert_eq!(through(&waiting), 300);
}

/// An owner on a new device is let in within the time that the module promises, however much others
/// guess.
#[test]
fn a_newcomers_turn_comes_after_one_of_each_address_that_guesses() {
    for addresses in [1, 5, 50, 200_u8] {
        let mut core = Core::new(10_000, 10);
        let guesses: Vec<_> = (1..=addresses)
            .map(|last| core.attempt(source(last), device(9), "nik", &[user(1)]))
            .collect();
        let mut now = secs(0);
        let mut waiting = Vec::new();
        // Each has as many waiting as it may, and has had for long.
        let mut fill = |core: &mut Core, now| {
            guesses.iter().for_each(|guess| {
                while let Some(one) = core.queue(now, guess) {
                    waiting.push(one);
                }
            });
        };
        for _ in 0..100 {
            fill(&mut core, now);
            now += LOOK;
        }
        let owner = core.attempt(source(0), device(1), "nik", &[user(1)]);
        assert!(core.reserve(now, &owner).unwrap().wait.is_zero());
        let (_, turn) = core.queue(now, &owner).unwrap();
        let came = now;
        while turn.try_recv().is_err() {
            now += LOOK;
            core.serve(now, owner.account);
            fill(&mut core, now);
        }
        let promised = LOOK * u32::from(addresses) + LOOK;
        assert!(now - came <= promised, "{:?} with {addresses} addresses", now - came);
    }
}

#[test]
fn who_goes_away_makes_room_and_leaves_nothing() {
    let mut core = Core::new(10_000, 10);
    let guess = core.attempt(source(1), device(9), "nik", &[user(1)]);
    let first: Vec<_> = (0..100).map(|_| core.queue(secs(0), &guess).unwrap()).collect();
    let (_, last) = core.queue(secs(0), &guess).unwrap();
    first.iter().for_each(|(number, _)| core.leave(&guess, *number));
    core.serve(secs(0) + LOOK, guess.account);
    assert!(last.try_recv().is_ok(), "nobody is before it any more");
    assert!(core.queues.is_empty());
    // Should one have gone without leaving, the next one gets the turn.
    drop(core.queue(secs(0) + LOOK, &guess).unwrap());
    let (_, last) = core.queue(secs(0) + LOOK, &guess).unwrap();
    core.serve(secs(0) + LOOK * 2, guess.account);
    assert!(last.try_recv().is_ok() && core.queues.is_empty());
}

#[test]
fn an_account_that_does_not_exist_is_paced_alike() {
    let (mut core, mut other) = (Core::new(1000, 10), Core::new(1000, 10));
    let real = core.attempt(source(1), device(1), "nik", &[user(1)]);
    let unreal = other.attempt(source(1), device(1), "nobody", &[]);
    assert_eq!(exhaust(&mut core, secs(5), &real), exhaust(&mut other, secs(5), &unreal));
    assert_eq!(Account::of("nik"), Account::of("nik~2"));
    assert_ne!(Account::of("nik"), Account::of("Nik"));
}

#[test]
fn the_owners_device_is_not_slowed_by_strangers() {
    let mut core = Core::new(10_000, 10);
    core.known.note(user(1), device(1));
    // Strangers have used up every pace of the account and of the owner's own address.
    for last in 0..=255 {
        let guess = core.attempt(source(last), device(9), "nik", &[user(1)]);
        exhaust(&mut core, secs(0), &guess);
    }
    let stranger = core.attempt(source(1), device(2), "nik", &[user(1)]);
    assert!(core.reserve(secs(0), &stranger).is_none());
    let owner = core.attempt(source(1), device(1), "nik", &[user(1)]);
    assert!(owner.known().is_some() && core.reserve(secs(0), &owner).unwrap().wait.is_zero());
    assert_eq!(
        exhaust(&mut core, secs(0), &owner).1,
        9 + 30,
        "it may not guess without end either"
    );
    // Whoever owns nik~2 is a stranger to nik.
    core.known.note(user(2), device(2));
    assert!(core.attempt(source(1), device(2), "nik", &[user(1), user(2)]).known().is_none());
    assert!(core.attempt(source(1), device(2), "nik~2", &[user(2)]).known().is_some());
}

#[test]
fn the_owners_device_is_not_slowed_by_the_known_devices_of_neighbours() {
    let mut core = Core::new(10_000, 1000);
    for number in 0..=100 {
        core.known.note(user(number), device(number));
    }
    for number in 1..=100 {
        let neighbour = core.attempt(source(1), device(number), "eve", &[user(number)]);
        assert!(neighbour.known().is_some());
        exhaust(&mut core, secs(0), &neighbour);
    }
    let owner = core.attempt(source(1), device(0), "nik", &[user(0)]);
    assert!(core.reserve(secs(0), &owner).unwrap().wait.is_zero());
}

#[test]
fn successes_count_too_but_wear_off_nothing_of_what_failures_are_held_to() {
    let gate = Gate::new(Stop::new());
    let reserve = |attempt: &Attempt| gate.core.lock().reserve(gate.started.elapsed(), attempt);
    // A new device each time, so that none is known.
    let new = gate.login(source(1), device(1), "nik", &[user(1)]);
    (0..50).for_each(|_| gate.pass(&new, || false).unwrap().succeeded());
    let more = std::iter::from_fn(|| reserve(&new)).count();
    assert!((10 + 60..=10 + 62).contains(&more), "guesses have all that they have: {more}");
    let gate = Gate::new(Stop::new());
    let reserve = |attempt: &Attempt| gate.core.lock().reserve(gate.started.elapsed(), attempt);
    (0..100).for_each(|_| gate.pass(&new, || false).unwrap().succeeded());
    assert!(
        reserve(&new).is_some_and(|reserved| reserved.wait > secs(0)),
        "a hundred newcomers at once, and then they wait"
    );
    // A known device.
    gate.note_known(user(1), device(1));
    let known = gate.login(source(1), device(1), "nik", &[user(1)]);
    (0..10).for_each(|_| gate.pass(&known, || false).unwrap().succeeded());
    assert!(reserve(&known).is_some_and(|reserved| reserved.wait > secs(0)));
    let other = gate.logged_in(source(1), device(2), user(1));
    assert!(
        reserve(&other).unwrap().wait.is_zero(),
        "the user's next device has a pace of its own"
    );
}

#[test]
fn only_verdicts_count() {
    let gate = Gate::new(Stop::new());
    let attempt = gate.login(source(1), device(1), "nik", &[user(1)]);
    for _ in 0..500 {
        drop(gate.pass(&attempt, || false).unwrap());
    }
    let started = Instant::now();
    for _ in 0..12 {
        gate.pass(&attempt, || false).unwrap().failed();
    }
    assert!(
        started.elapsed() >= Duration::from_millis(900),
        "the eleventh and twelfth wait for half a second each"
    );
}

#[test]
fn nobody_waits_in_vain() {
    let gate = Gate::new(Stop::new());
    let attempt = gate.login(source(1), device(1), "nik", &[user(1)]);
    // Far ahead, so that no pause of this thread brings the account back into reach.
    while gate.core.lock().reserve(secs(1000), &attempt).is_some() {}
    let started = Instant::now();
    assert_eq!(gate.pass(&attempt, || false).unwrap_err(), Refusal::TooManyAttempts);
    let stranger = gate.login(source(2), device(1), "bob", &[user(2)]);
    while gate
        .core
        .lock()
        .reserve(gate.started.elapsed(), &stranger)
        .is_some_and(|reserved| reserved.wait < secs(25))
    {}
    assert_eq!(gate.pass(&stranger, || true).unwrap_err(), Refusal::Busy, "its connection is over");
    gate.stop.set();
    assert_eq!(gate.pass(&stranger, || false).unwrap_err(), Refusal::Busy, "the tracker stops");
    assert!(started.elapsed() < secs(20));
}

proptest! {
    /// However strangers mix addresses, devices and names, no more get through at an account than
    /// its pace says, and the owner's device goes at once.
    #[test]
    fn strangers_never_exceed_the_accounts_pace(guesses in proptest::collection::vec((0_u64..300, 0_u8..40, 2_u8..6), 1..400)) {
        let mut core = Core::new(10_000, 10);
        core.known.note(user(1), device(1));
        let (mut now, mut waiting, mut times) = (Duration::ZERO, Vec::new(), Vec::new());
        for (pause, from, with) in guesses {
            now += Duration::from_millis(pause);
            let guess = core.attempt(source(from), device(with), "nik", &[user(1)]);
            core.serve(now, guess.account);
            waiting.extend(core.queue(now, &guess).map(|(_, turn)| turn));
            waiting.retain(|turn| {
                let waits = turn.try_recv().is_err();
                times.extend((!waits).then_some(now));
                waits
            });
        }
        let span = (times[times.len() - 1] - times[0]).as_millis() / 100;
        prop_assert!(times.len() as u128 <= 50 + span);
        let owner = core.attempt(source(0), device(1), "nik", &[user(1)]);
        prop_assert!(core.reserve(now, &owner).unwrap().wait.is_zero());
    }
}
