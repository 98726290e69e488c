use proptest::prelude::*;

use super::*;
use crate::types::{Effect, Refusal, RequestId, RequestStamp, Stamp, Success};
use crate::wire::checks::{check_canonical, check_frame, check_golden, variant_name};
use crate::wire::codec::encode_block;
use crate::wire::frame::to_frame;
use crate::wire::samples::{Sample, samples};

/// Every message a client sends, each kind once.
fn from_client() -> Vec<FromClient> {
    Request::examples().into_iter().map(|request| FromClient { number: 9, request }).collect()
}

/// Every message a tracker sends, each kind and each reason once.
fn from_tracker() -> Vec<FromTracker> {
    let refusals = Refusal::examples().into_iter().skip(1).map(Reply::Refused);
    let effects = Effect::examples().into_iter().skip(1);
    let effects = effects.map(|effect| Reply::Done(Success { effect, ..Success::example() }));
    let replies = Reply::examples().into_iter().chain(refusals).chain(effects);
    let mut messages = vec![FromTracker::Welcome(Welcome::example())];
    messages.extend(Unwelcome::examples().into_iter().map(FromTracker::Unwelcome));
    messages.extend(replies.map(|reply| FromTracker::Reply { number: 9, clock_ms: 7, reply }));
    messages.extend(Event::examples().into_iter().map(FromTracker::Event));
    messages
}

fn name(message: &FromTracker) -> String {
    match message {
        FromTracker::Welcome(_) => "Welcome".into(),
        FromTracker::Unwelcome(why) => format!("Unwelcome {why:?}"),
        FromTracker::Reply { reply: Reply::Refused(refusal), .. } => {
            format!("Reply Refused {}", variant_name(refusal))
        }
        FromTracker::Reply { reply: Reply::Done(success), .. } => {
            format!("Reply Done {}", variant_name(&success.effect))
        }
        FromTracker::Reply { reply, .. } => format!("Reply {}", variant_name(reply)),
        FromTracker::Event(event) => format!("Event {}", variant_name(event)),
    }
}

fn openings() -> Vec<Opening> {
    Hello::examples().into_iter().map(Opening::new).collect()
}

#[test]
fn golden_bytes() {
    let hello = |opening: &Opening| format!("Hello {}", variant_name(&opening.hello));
    let mut messages: Vec<(String, Vec<u8>)> =
        openings().iter().map(|opening| (hello(opening), to_frame(opening))).collect();
    let request = |message: &FromClient| format!("Request {}", variant_name(&message.request));
    messages.extend(from_client().iter().map(|message| (request(message), to_frame(message))));
    messages.extend(from_tracker().iter().map(|message| (name(message), to_frame(message))));
    check_golden("tracker.txt", messages.iter().map(|(name, frame)| (name.clone(), &frame[..])));
}

#[test]
fn every_message_whole_cut_and_dripping() {
    openings().iter().for_each(check_frame);
    from_client().iter().for_each(check_frame);
    from_tracker().iter().for_each(check_frame);
}

#[test]
fn strangers_are_noticed_by_their_first_bytes() {
    let body = Opening::new(Hello::example()).to_bytes();
    let with = |offset: usize, byte: u8| {
        let mut body = body.clone();
        body[offset] = byte;
        Opening::from_bytes(&body)
    };
    assert!(matches!(with(0, b'G'), Err(WireError::BadValue { what: "first frame", .. })));
    assert_eq!(with(8, 9), Err(WireError::UnknownTag { what: "hello", tag: 9 }));
    let later = VersionRange { oldest: 9, newest: 12 };
    let theirs = Opening { versions: later, ..Opening::example() }.to_bytes();
    assert_eq!(Opening::from_bytes(&theirs), Err(WireError::NoCommonVersion(later)));
    let unlike_any = [&theirs[..8], &[77, 1, 2]].concat();
    assert_eq!(Opening::from_bytes(&unlike_any), Err(WireError::NoCommonVersion(later)));
    let inverted = VersionRange { oldest: 4, newest: 2 };
    let theirs = Opening { versions: inverted, ..Opening::example() }.to_bytes();
    assert_eq!(Opening::from_bytes(&theirs), Err(WireError::NoCommonVersion(inverted)));
}

#[test]
fn a_later_program_that_speaks_our_version_is_understood() {
    let versions = VersionRange { oldest: 3, newest: 8 };
    let opening = Opening { versions, hello: Hello::example() };
    let mut body = opening.to_bytes();
    crate::wire::checks::grow(&mut body, &[9], b"more");
    assert_eq!(Opening::from_bytes(&body), Ok(opening));
    assert_eq!(versions.common(VersionRange::OURS), Some(3));
}

/// What a client and a tracker of version 2 sent first, and how they were told that it is not
/// spoken.
#[test]
fn version_2_is_recognised_and_answered_in_its_own_language() {
    let client = b"PSSE\x00\x02\x00\x1a\xe1";
    let replica = [&b"PSSE\x00\x02\x01"[..], &[0x66; 48]].concat();
    for body in [&client[..], &replica, b"PSSE\x00\x02"] {
        assert_eq!(Opening::from_bytes(body), Err(WireError::OldVersion(2)));
    }
    assert_eq!(Opening::from_bytes(b"PSSE\x00\x01"), Err(WireError::OldVersion(1)));
    assert_eq!(unwelcome_of_version_2(), [0, 0, 0, 2, 1, 0]);
    // A tracker of version 2 answers us in the same bytes.
    assert_eq!(FromTracker::from_bytes(&[1, 0]), Ok(FromTracker::Unwelcome(Unwelcome::Version)));
    assert_eq!(FromTracker::from_bytes(&[1, 1]), Ok(FromTracker::Unwelcome(Unwelcome::Full)));
}

/// A client's frame with a request of that tag and those bytes.
fn request(tag: u8, fields: &[u8]) -> Result<FromClient, WireError> {
    let mut body = Vec::new();
    encode_block(&mut body, |body| {
        9u32.encode(body);
        body.push(tag);
        encode_block(body, |body| body.extend_from_slice(fields));
    });
    FromClient::from_bytes(&body)
}

#[test]
fn messages_of_later_versions_are_recognised_by_their_tags() {
    for tag in (45..48).chain([51]).chain(53..=255) {
        for fields in [&[][..], &[0xff; 9]] {
            assert_eq!(
                request(tag, fields),
                Ok(FromClient { number: 9, request: Request::Unknown { tag } })
            );
        }
    }
    let reply = |tag: u8| {
        let mut body = vec![2];
        encode_block(&mut body, |body| {
            9u32.encode(body);
            7u64.encode(body);
            body.push(tag);
            encode_block(body, |body| body.extend_from_slice(b"more"));
        });
        FromTracker::from_bytes(&body)
    };
    let want = FromTracker::Reply { number: 9, clock_ms: 7, reply: Reply::Unknown { tag: 99 } };
    assert_eq!(reply(99), Ok(want));
    let event = FromTracker::from_bytes(&[3, 0, 0, 0, 7, 200, 0, 0, 0, 2, 1, 2]);
    assert_eq!(event, Ok(FromTracker::Event(Event::Unknown { tag: 200 })));
    assert_eq!(Refusal::from_bytes(&[150, 0, 0, 0, 3, 1, 2, 3]), Ok(Refusal::Other(150)));
    assert!(matches!(FromTracker::from_bytes(&[9, 0, 0, 0, 0]), Err(WireError::UnknownTag { .. })));
    for cut in [&[200][..], &[200, 0, 0, 0], &[200, 0, 0, 0, 3, 1, 2]] {
        assert!(matches!(Event::from_bytes(cut), Err(WireError::Truncated { .. })));
    }
}

#[test]
fn every_change_without_a_password_is_one() {
    let stamp = RequestStamp { id: RequestId::from_bytes([0x44; 16]), at: Stamp::example() };
    let all = Request::examples();
    let changes: Vec<_> = all.iter().filter_map(Request::to_change).collect();
    assert!(changes.iter().all(|(request, _)| *request == stamp));
    let with_stamp =
        all.iter().filter(|request| format!("{request:?}").contains("RequestStamp")).count();
    assert_eq!(changes.len(), with_stamp - 4, "all but those with a password");
}

#[test]
fn names_are_checked_where_they_arrive() {
    let text = |text: &[u8]| [&(text.len() as u16).to_be_bytes(), text].concat();
    let login = |name: &[u8]| request(2, &[&text(name)[..], b"\x00\x01x"].concat());
    assert!(login(b"nik~2").is_ok());
    for bad in [&b""[..], b"a/b", b"a\\b", b"a\nb", b"a\0", b"\xff", b"\xc3", b"\xed\xa0\x80"] {
        assert!(matches!(login(bad), Err(WireError::BadValue { what: "name", .. })), "{bad:?}");
    }
    let create = |name: &[u8]| request(5, &[&[0x44; 24][..], &text(name)].concat());
    assert!(create(b"lab").is_ok());
    for bad in [&b""[..], b".x", b"-x", b"a b", b"lab~2", b"\xc3\xbc"] {
        assert!(
            matches!(create(bad), Err(WireError::BadValue { what: "group name", .. })),
            "{bad:?}"
        );
    }
    assert_eq!(
        create(&[b'x'; 65]),
        Err(WireError::TooLong { what: "group name", len: 65, max: 64 })
    );
    let list = |pattern: &[u8]| request(15, &[&[0, 1][..], &text(pattern)].concat());
    assert!(list(b"*.pdf").is_ok());
    assert!(matches!(list(b""), Err(WireError::BadValue { what: "pattern", .. })));
    assert!(matches!(list(&[b'x'; 300]), Err(WireError::TooLong { what: "pattern", .. })));
}

#[test]
fn file_names_are_one_path_component() {
    let share = |name: &str| {
        let mut fields = vec![0x44; 24 + 16];
        encode_block(&mut fields, |fields| {
            fields.extend_from_slice(&[0x44; 20]);
            fields.extend_from_slice(&(name.len() as u16).to_be_bytes());
            fields.extend_from_slice(name.as_bytes());
            fields.extend_from_slice(&[0; 8 + 4 + 20 + 1]);
        });
        request(12, &fields)
    };
    assert!(share("a b.pdf").is_ok());
    for bad in ["", ".", "..", "../x", "a/b", "a\\b", "nul", "x.", "a\u{7f}"] {
        assert!(
            matches!(share(bad), Err(WireError::BadValue { what: "file name", .. })),
            "{bad:?}"
        );
    }
    assert!(matches!(share(&"x".repeat(256)), Err(WireError::TooLong { len: 256, max: 255, .. })));
}

#[test]
fn passwords_show_in_no_error() {
    let error = request(2, &[&[0, 1, b'x', 4, 1][..], &[b'p'; 1025]].concat()).unwrap_err();
    assert_eq!(error, WireError::TooLong { what: "password", len: 1025, max: 1024 });
    let error = request(2, &[0, 1, b'x', 0, 3, b'p', b'w', 0xff]).unwrap_err();
    assert!(!error.to_string().contains("pw"), "{error}");
}

#[test]
fn options_and_bools_are_0_or_1() {
    assert!(request(15, &[0, 0]).is_ok());
    assert_eq!(request(15, &[2, 0]), Err(WireError::UnknownTag { what: "bool", tag: 2 }));
}

#[test]
fn nothing_is_read_beyond_the_end_of_a_block() {
    // The second option stands outside of the request's block, and outside of the frame's.
    assert!(matches!(request(15, &[0]), Err(WireError::Truncated { want: 1 })));
    let body = [0, 0, 0, 10, 0, 0, 0, 9, 15, 0, 0, 0, 1, 0, 0];
    assert_eq!(FromClient::from_bytes(&body), Err(WireError::Truncated { want: 1 }));
    let beyond = [0, 0, 0, 9, 0, 0, 0, 9, 15, 0, 0, 0, 2, 0, 0];
    assert!(matches!(FromClient::from_bytes(&beyond), Err(WireError::Truncated { .. })));
}

proptest! {
    #[test]
    fn hellos_round_trip(message in samples::<Opening>()) {
        prop_assert_eq!(Opening::from_bytes(&message.to_bytes()), Ok(message));
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
    fn what_decodes_encodes_to_the_same_bytes(
        client in samples::<FromClient>(),
        tracker in samples::<FromTracker>(),
        at in any::<prop::sample::Index>(),
        byte: u8,
    ) {
        let altered = |mut body: Vec<u8>| {
            let at = at.index(body.len());
            body[at] = byte;
            body
        };
        check_canonical::<FromClient>(&altered(client.to_bytes()));
        check_canonical::<FromTracker>(&altered(tracker.to_bytes()));
    }

    #[test]
    fn noise_never_panics(body: Vec<u8>) {
        let _ = Opening::from_bytes(&body);
        let _ = FromClient::from_bytes(&body);
        let _ = FromTracker::from_bytes(&body);
    }
}

/// A tracker of before tells of a group without the number of requests or the settings.
#[test]
fn a_group_without_a_number_of_requests_is_as_it_came() {
    use crate::types::{GroupEntry, MemberEntry};
    let today = GroupEntry::example();
    for (entry, less) in [
        (GroupEntry { settings: None, ..today.clone() }, 5),
        (GroupEntry { requests: None, settings: None, ..today.clone() }, 9),
    ] {
        let bytes = entry.to_bytes();
        assert_eq!(bytes.len() + less, today.to_bytes().len());
        let read = GroupEntry::from_bytes(&bytes);
        assert_eq!((read.as_ref(), read.as_ref().unwrap().to_bytes()), (Ok(&entry), bytes));
    }
    // And of a member without who invited them.
    let entry = MemberEntry { invited_by: None, ..Sample::example() };
    let mut bytes = entry.to_bytes();
    bytes.pop();
    bytes[3] -= 1;
    assert_eq!(MemberEntry::from_bytes(&bytes), Ok(entry));
}
