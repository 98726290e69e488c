use proptest::prelude::*;

use super::*;
use crate::wire::checks::{check_frame, check_golden, variant_name};
use crate::wire::frame::to_frame;
use crate::wire::samples::{Sample, samples};

/// Every message a client sends, each kind once.
fn from_client() -> Vec<FromClient> {
    Request::examples().into_iter().map(|request| FromClient { number: 9, request }).collect()
}

/// Every message a tracker sends, each kind and each reason once.
fn from_tracker() -> Vec<FromTracker> {
    let refusals = Refusal::examples().into_iter().skip(1).map(Reply::Refused);
    let effects = Effect::examples().into_iter().skip(1).map(Reply::Done);
    let replies = Reply::examples().into_iter().chain(refusals).chain(effects);
    let mut messages = vec![FromTracker::Welcome(Welcome::example())];
    messages.extend(Unwelcome::examples().into_iter().map(FromTracker::Unwelcome));
    messages.extend(replies.map(|reply| FromTracker::Reply { number: 9, reply }));
    messages.extend(Event::examples().into_iter().map(FromTracker::Event));
    messages
}

fn name(message: &FromTracker) -> String {
    match message {
        FromTracker::Welcome(_) => "Welcome".into(),
        FromTracker::Unwelcome(why) => format!("Unwelcome {why:?}"),
        FromTracker::Reply { reply: Reply::Refused(refusal), .. } => format!("Reply Refused {refusal:?}"),
        FromTracker::Reply { reply: Reply::Done(effect), .. } => format!("Reply Done {}", variant_name(effect)),
        FromTracker::Reply { reply, .. } => format!("Reply {}", variant_name(reply)),
        FromTracker::Event(event) => format!("Event {}", variant_name(event)),
    }
}

#[test]
fn golden_bytes() {
    let mut messages: Vec<(String, Vec<u8>)> =
        Hello::examples().iter().map(|hello| (format!("Hello {}", variant_name(hello)), to_frame(hello))).collect();
    messages.extend(from_client().iter().map(|m| (format!("Request {}", variant_name(&m.request)), to_frame(m))));
    messages.extend(from_tracker().iter().map(|m| (name(m), to_frame(m))));
    check_golden(include_str!("../golden/tracker.txt"), messages.iter().map(|(name, frame)| (name.clone(), &frame[..])));
}

#[test]
fn every_message_whole_cut_and_dripping() {
    Hello::examples().iter().for_each(check_frame);
    from_client().iter().for_each(check_frame);
    from_tracker().iter().for_each(check_frame);
}

#[test]
fn strangers_are_noticed_by_their_first_bytes() {
    let body = Hello::example().to_bytes();
    let with = |offset: usize, byte: u8| {
        let mut body = body.clone();
        body[offset] = byte;
        Hello::from_bytes(&body)
    };
    assert!(matches!(with(0, b'G'), Err(WireError::BadValue { what: "first frame", .. })));
    assert_eq!(with(5, 1), Err(WireError::UnknownTag { what: "protocol version", tag: 1 }));
    assert_eq!(with(6, 9), Err(WireError::UnknownTag { what: "hello", tag: 9 }));
    assert!(Hello::from_bytes(b"PSSE\x00\x01").is_err_and(|e| matches!(e, WireError::UnknownTag { .. })));
}

#[test]
fn names_are_checked_where_they_arrive() {
    let login = |name: &[u8]| {
        let mut body = vec![0, 0, 0, 9, 2, 0, name.len() as u8];
        body.extend_from_slice(name);
        body.extend_from_slice(b"\x00\x01x");
        FromClient::from_bytes(&body)
    };
    assert!(login(b"nik~2").is_ok());
    for bad in [&b""[..], b"a/b", b"a\\b", b"a\nb", b"a\0", b"\xff", b"\xc3", b"\xed\xa0\x80"] {
        assert!(matches!(login(bad), Err(WireError::BadValue { what: "name", .. })), "{bad:?}");
    }
    let create = |name: &[u8]| {
        let mut body = vec![0, 0, 0, 9, 5];
        body.extend_from_slice(&[0x44; 16]);
        body.extend_from_slice(&[0, name.len() as u8]);
        body.extend_from_slice(name);
        FromClient::from_bytes(&body)
    };
    assert!(create(b"lab").is_ok());
    for bad in [&b""[..], b".x", b"-x", b"a b", b"lab~2", b"\xc3\xbc"] {
        assert!(matches!(create(bad), Err(WireError::BadValue { what: "group name", .. })), "{bad:?}");
    }
    assert_eq!(create(&[b'x'; 65]), Err(WireError::TooLong { what: "group name", len: 65, max: 64 }));
}

#[test]
fn file_names_are_one_path_component() {
    let share = |name: &str| {
        let mut body = vec![0, 0, 0, 9, 12];
        body.extend_from_slice(&[0x44; 16 + 16 + 20]);
        body.extend_from_slice(&(name.len() as u16).to_be_bytes());
        body.extend_from_slice(name.as_bytes());
        body.extend_from_slice(&[0; 8 + 4 + 20]);
        FromClient::from_bytes(&body)
    };
    assert!(share("a b.pdf").is_ok());
    for bad in ["", ".", "..", "../x", "a/b", "a\\b", "nul", "x.", "a\u{7f}"] {
        assert!(matches!(share(bad), Err(WireError::BadValue { what: "file name", .. })), "{bad:?}");
    }
    assert!(matches!(share(&"x".repeat(256)), Err(WireError::TooLong { len: 256, max: 255, .. })));
}

#[test]
fn passwords_show_in_no_error() {
    let mut body = vec![0, 0, 0, 9, 2, 0, 1, b'x', 4, 1];
    body.extend_from_slice(&[b'p'; 1025]);
    let error = FromClient::from_bytes(&body).unwrap_err();
    assert_eq!(error, WireError::TooLong { what: "password", len: 1025, max: 1024 });
    let error = FromClient::from_bytes(&[0, 0, 0, 9, 2, 0, 1, b'x', 0, 3, b'p', b'w', 0xff]).unwrap_err();
    assert!(!error.to_string().contains("pw"), "{error}");
}

#[test]
fn options_and_bools_are_0_or_1() {
    assert!(FromClient::from_bytes(&[0, 0, 0, 9, 15, 0]).is_ok());
    let error = FromClient::from_bytes(&[0, 0, 0, 9, 15, 2]).unwrap_err();
    assert_eq!(error, WireError::UnknownTag { what: "bool", tag: 2 });
}

proptest! {
    #[test]
    fn hellos_round_trip(message in samples::<Hello>()) {
        prop_assert_eq!(Hello::from_bytes(&message.to_bytes()), Ok(message));
    }

    #[test]
    fn what_clients_say_round_trips(message in samples::<FromClient>()) {
        prop_assert_eq!(FromClient::from_bytes(&message.to_bytes()), Ok(message));
    }

    #[test]
    fn what_trackers_say_round_trips(message in samples::<FromTracker>()) {
        prop_assert_eq!(FromTracker::from_bytes(&message.to_bytes()), Ok(message));
    }

    #[test]
    fn what_decodes_encodes_to_the_same_bytes(message in samples::<FromTracker>(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut body = message.to_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        if let Ok(other) = FromTracker::from_bytes(&body) {
            prop_assert_eq!(other.to_bytes(), body);
        }
    }

    #[test]
    fn noise_never_panics(body: Vec<u8>) {
        let _ = Hello::from_bytes(&body);
        let _ = FromClient::from_bytes(&body);
        let _ = FromTracker::from_bytes(&body);
    }
}
