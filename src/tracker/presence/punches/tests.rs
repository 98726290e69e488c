//! Punches by numbers: no session and no clock.

use super::*;
use crate::types::{GroupId, InfoHash};

const LATER: Duration = Duration::from_secs(1_000);

fn party(number: u8) -> Party {
    Party {
        session: number.into(),
        user: UserId::from_bytes([number; 16]),
        device: DeviceId::from_bytes([number; 32]),
    }
}

fn secret(number: u8) -> PunchSecret {
    PunchSecret::from_bytes([number; 16])
}

fn begin_for(punches: &mut Punches, now: Duration, file: u8, ends: [u8; 2]) -> bool {
    let swarm = (InfoHash::from_bytes([file; 20]), GroupId::from_bytes([9; 16]));
    punches.begin(now, swarm, ends.map(party), ends.map(secret))
}

fn begin(punches: &mut Punches, now: Duration, ends: [u8; 2]) -> bool {
    begin_for(punches, now, 0, ends)
}

/// A probe of that end, seen at that address.
fn probe(
    punches: &mut Punches,
    now: Duration,
    end: u8,
    address: &str,
    rtt_ms: u64,
) -> Result<Option<[Go; 2]>, UnknownProbe> {
    let (shown, rtt) = ((secret(end), party(end).device), Duration::from_millis(rtt_ms));
    punches.probed(now, shown, address.parse().unwrap(), rtt)
}

#[test]
fn each_is_told_where_the_other_was_seen_and_both_connect_at_one_moment() {
    let mut punches = Punches::default();
    assert!(begin(&mut punches, LATER, [1, 2]));
    assert_eq!(probe(&mut punches, LATER, 1, "198.51.100.1:7", 20), Ok(None));
    let told = probe(&mut punches, LATER, 2, "203.0.113.1:8", 120).unwrap().unwrap();
    let of = |go: Go| (go.session, go.secret, go.address.to_string());
    assert_eq!(of(told[0]), (1, secret(1), "203.0.113.1:8".into()));
    assert_eq!(of(told[1]), (2, secret(2), "198.51.100.1:7".into()));
    let moment = |go: Go, rtt_ms| go.after + Duration::from_millis(rtt_ms) / 2;
    assert_eq!(moment(told[0], 20), moment(told[1], 120));
    assert!(told[0].after >= LEAD && told[1].after >= LEAD);
}

#[test]
fn a_secret_counts_once_and_for_its_own_device_while_the_punch_lasts() {
    let mut punches = Punches::default();
    assert!(begin(&mut punches, LATER, [1, 2]));
    let at = "198.51.100.1:7";
    assert_eq!(probe(&mut punches, LATER, 3, at, 0), Err(UnknownProbe), "nobody was given it");
    let stolen = (secret(1), party(2).device);
    let taken = punches.probed(LATER, stolen, at.parse().unwrap(), Duration::ZERO);
    assert_eq!(taken, Err(UnknownProbe));
    assert_eq!(probe(&mut punches, LATER, 1, at, 0), Ok(None));
    assert_eq!(probe(&mut punches, LATER, 1, at, 0), Err(UnknownProbe), "it was used");
    assert_eq!(probe(&mut punches, LATER + PROBES_MAX, 2, at, 0), Err(UnknownProbe));
    assert_eq!(punches.len(), 0);
}

#[test]
fn those_who_could_not_meet_are_told_nothing() {
    for (one, other) in [
        ("198.51.100.1:7", "198.51.100.1:8"),
        ("198.51.100.1:7", "[2001:db8::1]:8"),
        ("[2001:db8::1]:7", "[2001:db8::2]:8"),
        ("198.51.100.1:7", "127.0.0.1:8"),
    ] {
        let mut punches = Punches::default();
        assert!(begin(&mut punches, LATER, [1, 2]));
        assert_eq!(probe(&mut punches, LATER, 1, one, 0), Ok(None));
        assert_eq!(probe(&mut punches, LATER, 2, other, 0), Ok(None), "{one} {other}");
    }
    assert!(can_meet("[2001:db8::1]:7".parse().unwrap(), "[2001:db8:1::1]:7".parse().unwrap()));
}

#[test]
fn two_devices_wait_for_one_punch_of_each_file_and_have_a_few_a_minute() {
    let mut punches = Punches::default();
    assert!(begin(&mut punches, LATER, [1, 2]));
    assert!(!begin(&mut punches, LATER, [1, 2]) && !begin(&mut punches, LATER, [2, 1]));
    assert!(begin(&mut punches, LATER, [1, 3]), "it has nothing to do with others");
    assert!(begin_for(&mut punches, LATER, 1, [1, 2]), "each file takes a link");
    assert!(probe(&mut punches, LATER, 1, "198.51.100.1:7", 0).is_ok());
    assert!(probe(&mut punches, LATER, 2, "203.0.113.1:7", 0).unwrap().is_some());
    assert!(begin(&mut punches, LATER, [1, 2]), "both connect now");
    let mut punches = Punches::default();
    let mut begun = |now, file| {
        let is_begun = begin_for(&mut punches, now, file, [1, 2]);
        punches.under_way.clear();
        is_begun
    };
    assert_eq!((0..200).filter(|file| begun(LATER, *file)).count(), 32);
    let later = LATER + Duration::from_secs(5);
    assert_eq!((0..200).filter(|file| begun(later, *file)).count(), 10);
}

#[test]
fn one_session_and_the_whole_have_a_bounded_number_under_way() {
    let mut punches = Punches::default();
    let begun = (10..200).filter(|other| begin(&mut punches, LATER, [1, *other])).count();
    assert_eq!(begun, OF_SESSION_MAX);
    // Of many devices that all ask one.
    let mut punches = Punches::default();
    let begun = (10..200).filter(|other| begin(&mut punches, LATER, [*other, 1])).count();
    assert_eq!(begun, OF_SESSION_MAX);
    let mut punches = Punches::default();
    let mut begun = 0;
    for one in 0..200 {
        for other in 200..=255 {
            begun += usize::from(begin(&mut punches, LATER, [one, other]));
        }
    }
    assert!(begun <= UNDER_WAY_MAX && punches.len() == begun, "{begun}");
}
