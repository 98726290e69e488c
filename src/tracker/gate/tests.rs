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
    let waits: Vec<Duration> = std::iter::from_fn(|| core.reserve(now, attempt).map(|reserved| reserved.wait)).collect();
    (waits.iter().filter(|wait| wait.is_zero()).count(), waits.len())
}

#[test]
fn guesses_are_paced_by_pair_address_and_account() {
    let mut core = Core::new(1000, 10);
    let nik = core.attempt(source(1), device(1), "nik", &[user(1)]);
    assert_eq!(exhaust(&mut core, secs(0), &nik), (10, 10 + 2 * 30), "one account from one address");
    let after = core.reserve(secs(10), &nik);
    assert!(after.is_some_and(|reserved| reserved.wait > secs(19)), "time alone lets more through");

    let mut core = Core::new(1000, 10);
    let spread = (0..=255_u8).flat_map(|name| [0, 1].map(|round| (name, round)));
    let spray: Vec<_> = spread.map(|(name, _)| core.attempt(source(1), device(1), &format!("u{name}"), &[])).collect();
    let passed = spray.iter().filter(|attempt| core.reserve(secs(0), attempt).is_some()).count();
    assert_eq!(passed, 100 + 10 * 30, "many accounts from one address");

    let mut core = Core::new(10_000, 10);
    let crowd: Vec<_> = (0..=255).map(|last| core.attempt(source(last), device(last), "nik", &[user(1)])).collect();
    let passed = crowd.iter().cycle().take(1000).filter(|attempt| core.reserve(secs(0), attempt).is_some()).count();
    assert_eq!(passed, 50 + 10 * 30, "one account from many addresses");
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
    assert!(owner.is_known() && core.reserve(secs(0), &owner).unwrap().wait.is_zero());
    assert_eq!(exhaust(&mut core, secs(0), &owner).1, 9 + 2 * 30, "it may not guess without end either");
    // Whoever owns nik~2 is a stranger to nik.
    core.known.note(user(2), device(2));
    assert!(!core.attempt(source(1), device(2), "nik", &[user(1), user(2)]).is_known());
    assert!(core.attempt(source(1), device(2), "nik~2", &[user(2)]).is_known());
}

#[test]
fn only_failures_count() {
    let gate = Gate::new(Stop::new());
    let attempt = gate.login(source(1), device(1), "nik", &[user(1)]);
    for _ in 0..500 {
        drop(gate.pass(&attempt, || false).unwrap());
    }
    let started = Instant::now();
    for _ in 0..12 {
        gate.pass(&attempt, || false).unwrap().failed();
    }
    assert!(started.elapsed() >= Duration::from_millis(900), "the eleventh and twelfth wait for half a second each");
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
    while gate.core.lock().reserve(gate.started.elapsed(), &stranger).is_some_and(|reserved| reserved.wait < secs(25)) {}
    assert_eq!(gate.pass(&stranger, || true).unwrap_err(), Refusal::Busy, "its connection is over");
    gate.stop.set();
    assert_eq!(gate.pass(&stranger, || false).unwrap_err(), Refusal::Busy, "the tracker stops");
    assert!(started.elapsed() < secs(20));
}

proptest! {
    /// However strangers mix addresses, devices and names, no more get through at an account than its pace says, and the owner's
    /// device goes at once.
    #[test]
    fn strangers_never_exceed_the_accounts_pace(guesses in proptest::collection::vec((0_u64..300, 0_u8..40, 2_u8..6), 1..400)) {
        let mut core = Core::new(10_000, 10);
        core.known.note(user(1), device(1));
        let (mut now, mut times) = (Duration::ZERO, Vec::new());
        for (pause, from, with) in guesses {
            now += Duration::from_millis(pause);
            let guess = core.attempt(source(from), device(with), "nik", &[user(1)]);
            times.extend(core.reserve(now, &guess).map(|reserved| now + reserved.wait));
        }
        times.sort_unstable();
        let span = (times[times.len() - 1] - times[0]).as_millis() / 100;
        prop_assert!(times.len() as u128 <= 50 + span);
        let owner = core.attempt(source(0), device(1), "nik", &[user(1)]);
        prop_assert!(core.reserve(now, &owner).unwrap().wait.is_zero());
    }
}
