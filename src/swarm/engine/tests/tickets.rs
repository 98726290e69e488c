//! Who gets in, and for how long: every ticket but the right one is worth nothing, and its end is
//! the link's.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::harness::*;
use super::raw::*;
use crate::trust::KeyPair;
use crate::types::limits::HANDSHAKE_TIMEOUT;
use crate::types::{InfoHash, Ticket};
use crate::wire::Wire;
use crate::wire::frame;
use crate::wire::peer::{Handshake, PeerError, PeerId, PeerMessage, read_message};

/// What a station answers to some bytes after TLS.
fn answer(station: &Station, device: &crate::net::DeviceSecurity, bytes: &[u8]) -> Vec<u8> {
    let mut stream = dial(station, device);
    let _ = stream.get_mut().write_all(bytes);
    rest(&mut stream)
}

#[test]
fn not_a_byte_is_said_to_whoever_has_no_ticket_that_is_good() {
    let seeder = Station::start(1);
    let facts = seeder.share("quiet", b"quiet");
    let own = device();
    let id = own.device();
    seeder.host.membership.lock().void.insert(user(66));
    let good = ticket(COMMON, user(5), id, PATIENCE);
    let false_network = KeyPair::generate().unwrap().sign_ticket(good.claims);
    let mut altered = good;
    altered.claims.user = user(6);
    let cases: [(&str, Ticket); 6] = [
        ("expired", ticket(COMMON, user(5), id, Duration::ZERO)),
        ("another device's", ticket(COMMON, user(5), device().device(), PATIENCE)),
        ("another network's", false_network),
        ("altered", altered),
        ("voided", ticket(COMMON, user(66), id, PATIENCE)),
        ("of a group that it is not in", ticket(OTHER, user(5), id, PATIENCE)),
    ];
    let hello = Handshake::new(facts.info_hash, PeerId::of_device(id)).encode();
    for (what, ticket) in cases {
        let bytes = [frame::to_frame(&ticket), hello.to_vec()].concat();
        assert!(answer(&seeder, &own, &bytes).is_empty(), "{what}");
    }
    let garbage = [&100u32.to_be_bytes()[..], &[0xa5; 100]].concat();
    let short = [&3u32.to_be_bytes()[..], &good.to_bytes()[..3]].concat();
    for (what, bytes) in [
        ("no ticket", &hello[..]),
        ("garbage", &garbage),
        ("a long one", &[0xff; 4096]),
        ("a short one", &short),
    ] {
        assert!(answer(&seeder, &own, bytes).is_empty(), "{what}");
    }
    eventually("the links are gone", || seeder.engine.link_count() == 0);
}

#[test]
fn who_speaks_no_tls_gets_no_answer() {
    let seeder = Station::start(1);
    let facts = seeder.share("clear", b"clear");
    let hello = Handshake::new(facts.info_hash, PeerId::of_device(device().device())).encode();
    for bytes in [&hello[..], b"GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n"] {
        let mut stream = std::net::TcpStream::connect(seeder.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        let mut got = Vec::new();
        let _ = stream.read_to_end(&mut got);
        // At most TLS's own word for it: an alert is seven bytes.
        assert!(got.is_empty() || (got.len() == 7 && got[0] == 21), "{got:?}");
    }
    eventually("the links are gone", || seeder.engine.link_count() == 0);
}

#[test]
fn a_file_of_another_group_is_as_unknown_as_one_that_is_not_here() {
    let seeder = Station::start(1);
    let facts = seeder.share("elsewhere", b"elsewhere");
    let (only_other, both) = ([OTHER].into(), [COMMON, OTHER].into());
    seeder.host.membership.lock().groups = both;
    seeder.host.membership.lock().offered_in.insert(facts.info_hash, only_other);
    let own = device();
    let ask = |group, info_hash| {
        let mut stream = dial(&seeder, &own);
        show(&mut stream, &ticket(group, user(5), own.device(), PATIENCE));
        assert_eq!(
            hear_ticket(&mut stream).unwrap().claims.group,
            group,
            "it shows its ticket of the same group"
        );
        greet(&mut stream, info_hash, &own);
        introduce(&mut stream, None);
        rest_until_handshake(&mut stream)
    };
    assert!(ask(COMMON, facts.info_hash).is_empty(), "offered elsewhere");
    assert!(ask(COMMON, InfoHash::from_bytes([9; 20])).is_empty(), "not here");
    assert!(!ask(OTHER, facts.info_hash).is_empty(), "offered there");
}

/// The first bytes of a handshake, or none if the other end closes.
fn rest_until_handshake(stream: &mut Stream) -> Vec<u8> {
    let mut first = vec![0; 20];
    match stream.read_exact(&mut first) {
        Ok(()) => first,
        Err(_) => Vec::new(),
    }
}

#[test]
fn a_ticket_that_is_voided_while_the_link_is_made_ends_it_unanswered() {
    let seeder = Station::start(1);
    let facts = seeder.share("voided", b"voided");
    let own = device();
    let mut stream = dial(&seeder, &own);
    show(&mut stream, &ticket(COMMON, user(5), own.device(), PATIENCE));
    hear_ticket(&mut stream).unwrap();
    seeder.host.membership.lock().void.insert(user(5));
    // Nothing ends a link that nobody knows of yet: it has to be found out when it is.
    seeder.engine.end_links(|facts| facts.proof.user == user(5));
    greet(&mut stream, facts.info_hash, &own);
    introduce(&mut stream, None);
    assert!(rest(&mut stream).is_empty());
    eventually("the link is gone", || {
        seeder.engine.link_count() == 0 && seeder.engine.uploads()[0].peers == 0
    });
}

#[test]
fn a_dialler_believes_no_false_ticket_either() {
    let seeder = Station::start(1);
    let facts = seeder.share("believed", b"believed");
    let good = seeder.host.membership.lock().clone();
    for (what, change) in [
        (
            "expired",
            &(|m: &mut Membership| m.lifetime = Duration::ZERO) as &dyn Fn(&mut Membership),
        ),
        ("another device's", &|m: &mut Membership| m.device = device().device()),
        ("no ticket", &|m: &mut Membership| m.groups.clear()),
    ] {
        change(&mut seeder.host.membership.lock());
        let leecher = Station::start(2);
        let transfer = leecher.fetch(&facts, &[&seeder]);
        eventually(what, || !transfer.why().unreachable.is_empty());
        assert_eq!(seeder.engine.uploads()[0].peers, 0, "{what}");
        *seeder.host.membership.lock() = good.clone();
        leecher.assert_complete(&transfer, b"believed");
    }
}

/// Reads messages until the other end closes; says how long that took.
fn lives(stream: &mut Stream) -> Duration {
    let started = Instant::now();
    loop {
        match read_message(stream) {
            Ok(_) => {}
            Err(PeerError::Io(e)) if e.kind() == std::io::ErrorKind::TimedOut => {
                panic!("it lives for ever")
            }
            Err(_) => return started.elapsed(),
        }
    }
}

fn newer(stream: &mut Stream, ticket: &Ticket) {
    say(stream, &PeerMessage::Extended { id: 2, payload: ticket.to_bytes() });
}

#[test]
fn a_link_ends_with_its_ticket_unless_a_newer_one_was_shown() {
    const SHORT: Duration = Duration::from_secs(2);
    let seeder = Station::start(1);
    let facts = seeder.share("expiring", &noise(1 << 20, 1));
    let (ends, goes_on) = (device(), device());
    let mut ending =
        enter_with(&seeder, &ends, &facts, &ticket(COMMON, user(5), ends.device(), SHORT));
    let mut living =
        enter_with(&seeder, &goes_on, &facts, &ticket(COMMON, user(6), goes_on.device(), SHORT));
    newer(&mut living, &ticket(COMMON, user(6), goes_on.device(), PATIENCE));
    let lived = lives(&mut ending);
    assert!(lived < SHORT + Duration::from_secs(1), "it lived for {lived:?}");
    say(&mut living, &PeerMessage::Interested).unwrap();
    while read_message(&mut living).unwrap() != PeerMessage::Unchoke {}
    // And one that expires earlier than what was shown takes nothing away.
    newer(&mut living, &ticket(COMMON, user(6), goes_on.device(), Duration::from_secs(1)));
    say(&mut living, &PeerMessage::Request { piece: 0, begin: 0, len: 10 }).unwrap();
    while !matches!(read_message(&mut living).unwrap(), PeerMessage::Piece { .. }) {}
}

#[test]
fn a_newer_ticket_that_is_not_as_good_ends_the_link() {
    let seeder = Station::start(1);
    let facts = seeder.share("newer", b"newer");
    seeder.host.membership.lock().groups.insert(OTHER);
    let own = device();
    let id = own.device();
    for (what, shown) in [
        ("another group's", ticket(OTHER, user(5), id, PATIENCE)),
        ("another user's", ticket(COMMON, user(6), id, PATIENCE)),
        ("another device's", ticket(COMMON, user(5), device().device(), PATIENCE)),
        ("expired", ticket(COMMON, user(5), id, Duration::ZERO)),
    ] {
        let mut stream = enter(&seeder, &own, 5, &facts);
        newer(&mut stream, &shown);
        let lived = lives(&mut stream);
        assert!(lived < PATIENCE / 2, "{what}: {lived:?}");
    }
    let mut stream = enter(&seeder, &own, 5, &facts);
    say(&mut stream, &PeerMessage::Extended { id: 2, payload: vec![0; 9] }).unwrap();
    lives(&mut stream);
}

#[test]
fn our_newer_ticket_is_shown_on_the_links_that_rest_on_its_group() {
    let seeder = Station::start(1);
    let facts = seeder.share("shown", b"shown");
    let own = device();
    let mut stream = dial(&seeder, &own);
    show(&mut stream, &ticket(COMMON, user(5), own.device(), PATIENCE));
    hear_ticket(&mut stream).unwrap();
    greet(&mut stream, facts.info_hash, &own);
    let told = crate::wire::peer::ExtendedHandshake { ticket_id: Some(7), ..Default::default() };
    say_extensions(&mut stream, &told).unwrap();
    Handshake::read(&mut stream).unwrap();
    let other = ticket(OTHER, user(1), seeder.device, PATIENCE);
    let newer = ticket(COMMON, user(1), seeder.device, PATIENCE);
    eventually("the link is up", || seeder.engine.uploads()[0].peers == 1);
    seeder.engine.show_ticket(&other);
    seeder.engine.show_ticket(&newer);
    loop {
        if let PeerMessage::Extended { id: 7, payload } = read_message(&mut stream).unwrap() {
            assert_eq!(Ticket::from_bytes(&payload).unwrap(), newer);
            return;
        }
    }
}

/// Our tickets are renewed while a link is being made: what it was shown is about to expire.
#[test]
fn a_ticket_renewed_during_the_handshake_is_shown_behind_it() {
    let seeder = Station::start(1);
    let facts = seeder.share("renewed", b"renewed");
    let own = device();
    seeder.host.membership.lock().lifetime = Duration::from_secs(30);
    let mut stream = dial(&seeder, &own);
    show(&mut stream, &ticket(COMMON, user(5), own.device(), PATIENCE));
    let first = hear_ticket(&mut stream).unwrap();
    seeder.host.membership.lock().lifetime = Duration::from_secs(300);
    greet(&mut stream, facts.info_hash, &own);
    let told = crate::wire::peer::ExtendedHandshake { ticket_id: Some(7), ..Default::default() };
    say_extensions(&mut stream, &told).unwrap();
    Handshake::read(&mut stream).unwrap();
    let newer = loop {
        if let PeerMessage::Extended { id: 7, payload } = read_message(&mut stream).unwrap() {
            break Ticket::from_bytes(&payload).unwrap();
        }
    };
    assert!(newer.claims.expires_ms > first.claims.expires_ms + 200_000);
}

/// Every way of going slow at once: all of it has to be over when the time for a handshake is.
#[test]
fn a_handshake_that_is_not_over_in_time_is_cut_off() {
    let seeder = Station::start(1);
    let facts = seeder.share("patient", b"patient");
    let started = Instant::now();
    let silent = std::net::TcpStream::connect(seeder.address).unwrap();
    let own = device();
    let after_tls = dial(&seeder, &own);
    let mut after_ticket = dial(&seeder, &own);
    show(&mut after_ticket, &ticket(COMMON, user(5), own.device(), PATIENCE));
    hear_ticket(&mut after_ticket).unwrap();
    let mut half = dial(&seeder, &own);
    show(&mut half, &ticket(COMMON, user(5), own.device(), PATIENCE));
    hear_ticket(&mut half).unwrap();
    half.get_mut()
        .write_all(&Handshake::new(facts.info_hash, PeerId::of_device(own.device())).encode()[..30])
        .unwrap();
    let mut dripping = dial(&seeder, &own);
    let dripper = dripping.get_ref().connection.clone();
    let shown = frame::to_frame(&ticket(COMMON, user(5), own.device(), PATIENCE));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut writer = dripper.writer();
            // A byte a quarter of a second: the ticket alone would take half a minute.
            for byte in shown {
                std::thread::park_timeout(Duration::from_millis(250));
                if writer.write_all(&[byte]).is_err() {
                    return;
                }
            }
        });
        let (mut silent, mut got) = (silent, Vec::new());
        silent.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = silent.read_to_end(&mut got);
        assert!(got.is_empty());
        for mut stream in [after_tls, after_ticket, half] {
            assert!(rest(&mut stream).is_empty());
        }
        assert!(rest(&mut dripping).is_empty());
    });
    let took = started.elapsed();
    assert!(took > HANDSHAKE_TIMEOUT / 2, "they were cut off before their time: {took:?}");
    assert!(took < HANDSHAKE_TIMEOUT + Duration::from_secs(3), "it took {took:?}");
    eventually("the links are gone", || seeder.engine.link_count() == 0);
}
