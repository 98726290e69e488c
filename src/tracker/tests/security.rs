//! Who is kept out, who is put out, and who hears of it.

use std::io::ErrorKind;
use std::net::TcpStream;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned, version,
};

use super::replication::Net;
use super::*;
use crate::types::limits::{CLOCK_AHEAD_MAX, TICKET_LIFETIME, TOKEN_LIFETIME};
use crate::types::{Ticket, TokenClaims};

/// Nik's group, with bob in it.
fn lab(nik: &mut Guest, bob: &mut Guest, bob_id: UserId, name: &str) -> GroupId {
    let group = nik.create_group(name);
    admit(nik, bob, bob_id, group);
    group
}

fn now_ms() -> u64 {
    super::super::clock::wall_ms(0)
}

fn tickets(guest: &mut Guest, groups: &[GroupId]) -> Vec<Ticket> {
    match guest.ask(Request::Tickets { groups: groups.to_vec() }) {
        Reply::Tickets(tickets) => tickets,
        other => panic!("{other:?}"),
    }
}

/// The voids among events: of which group, of whom, until when.
fn voids(events: Vec<Event>) -> Vec<(Option<GroupId>, UserId, u64)> {
    let void = |event| match event {
        Event::Void { group, user, until_ms } => Some((group, user, until_ms)),
        _ => None,
    };
    events.into_iter().filter_map(void).collect()
}

/// Whom voids are about.
fn about(events: Vec<Event>) -> Vec<(Option<GroupId>, UserId)> {
    voids(events).into_iter().map(|(group, user, _)| (group, user)).collect()
}

#[test]
fn the_end_of_a_membership_is_told_to_every_member_on_every_tracker() {
    let net = Net::start(2);
    let (mut nik, _) = Guest::new(net.tracker(1), "nik", 1);
    let (mut bob, bob_id) = Guest::new(net.tracker(1), "bob", 2);
    let (mut eve, eve_id) = Guest::new(net.tracker(1), "eve", 3);
    let group = lab(&mut nik, &mut bob, bob_id, "lab");
    lab(&mut eve, &mut bob, bob_id, "other");
    net.settle();
    let mut far = Guest::again(net.tracker(2), "nik", 1);
    let mut bob_far = Guest::again(net.tracker(2), "bob", 2);
    eve.done(Request::JoinGroup { request: request_id(), group });
    nik.done(Request::RejectRequest { request: request_id(), group, user: eve_id });
    for guest in [&mut nik, &mut far, &mut bob, &mut bob_far, &mut eve] {
        assert_eq!(voids(guest.heard()), [], "who was turned down was never in");
    }
    let before = tickets(&mut bob, &[group])[0];
    nik.done(Request::RemoveMember { request: request_id(), group, user: bob_id });
    for guest in [&mut nik, &mut far] {
        let [(Some(of), user, until_ms)] = voids(guest.heard())[..] else {
            panic!("one void is told")
        };
        assert_eq!((of, user), (group, bob_id));
        assert!(
            until_ms >= before.claims.issued_ms
                && until_ms <= now_ms() + CLOCK_AHEAD_MAX.as_millis() as u64
        );
    }
    for guest in [&mut bob, &mut bob_far] {
        assert_eq!(guest.heard(), [Event::Removed { group }]);
    }
    assert_eq!(about(eve.heard()), [], "a stranger to the group hears nothing");
    // Whoever leaves by themself, likewise, and by way of the other tracker.
    admit(&mut nik, &mut bob, bob_id, group);
    nik.heard();
    far.heard();
    bob_far.done(Request::LeaveGroup { request: request_id(), group });
    assert_eq!(
        [about(nik.heard()), about(far.heard())],
        [[(Some(group), bob_id)], [(Some(group), bob_id)]]
    );
}

#[test]
fn a_new_password_ends_all_other_sessions_on_every_tracker() {
    let net = Net::start(2);
    let (mut nik, _) = Guest::new(net.tracker(1), "nik", 1);
    let (mut bob, bob_id) = Guest::new(net.tracker(1), "bob", 2);
    let (mut eve, _) = Guest::new(net.tracker(1), "eve", 3);
    let group = lab(&mut nik, &mut bob, bob_id, "lab");
    lab(&mut nik, &mut bob, bob_id, "second");
    net.settle();
    let (mut bob_far, mut nik_far) =
        (Guest::again(net.tracker(2), "bob", 2), Guest::again(net.tracker(2), "nik", 1));
    let (mut thief, mut thief_far) =
        (Guest::again(net.tracker(1), "bob", 4), Guest::again(net.tracker(2), "bob", 4));
    let (stolen, first) = (thief.token.clone().unwrap(), bob.token.clone().unwrap());
    let before = tickets(&mut thief, &[group])[0];
    let request = Request::ChangePassword {
        request: request_id(),
        old: password("pw"),
        new: password("next"),
    };
    let Reply::Renewed(token) = bob.ask(request.clone()) else { panic!("not changed") };
    for guest in [&mut thief, &mut thief_far, &mut bob_far] {
        assert_eq!(guest.event(), Event::SessionOver);
        guest.refused(Request::WhoAmI, Refusal::LoginFirst);
        guest.refused(Request::Renew, Refusal::LoginFirst);
        guest.refused(Request::Tickets { groups: vec![group] }, Refusal::LoginFirst);
        guest.refused(
            Request::CreateGroup { request: request_id(), name: "x".parse().unwrap() },
            Refusal::LoginFirst,
        );
    }
    // The members of bob's groups hear of it, each session once, bob's own too; who shares no group
    // with bob does not.
    for guest in [&mut nik, &mut nik_far, &mut bob] {
        let [(None, user, until_ms)] = voids(guest.heard())[..] else { panic!("one void is told") };
        assert!(user == bob_id && until_ms >= before.claims.issued_ms);
    }
    assert_eq!(eve.heard(), []);
    // The session that asked goes on, and what it is given from now on is not void.
    assert!(matches!(bob.ask(Request::WhoAmI), Reply::User(_)));
    let after = tickets(&mut bob, &[group])[0];
    assert!(
        after.claims.issued_ms > before.claims.issued_ms + CLOCK_AHEAD_MAX.as_millis() as u64 - 1
    );
    assert!(after.claims.expires_ms <= now_ms() + TICKET_LIFETIME.as_millis() as u64);
    // Old tokens are void on both trackers, the new one counts on both, on the connections that
    // stayed too.
    for number in [1, 2] {
        let mut guest = Guest::connect(net.tracker(number).local_addr(), 4);
        assert_eq!(guest.resume(&stolen), Err(Refusal::SessionOver));
        let mut guest = Guest::connect(net.tracker(number).local_addr(), 2);
        assert_eq!(guest.resume(&first), Err(Refusal::SessionOver));
    }
    assert_eq!(bob_far.resume(&token), Ok(bob_id));
    assert!(matches!(bob_far.ask(Request::Renew), Reply::Renewed(_)));
    // The thief cannot pass for the one who asked.
    let guess = |new: &str| match request.clone() {
        Request::ChangePassword { request, old, .. } => {
            Request::ChangePassword { request, old, new: password(new) }
        }
        other => panic!("{other:?}"),
    };
    thief_far.refused(guess("guess"), Refusal::LoginFirst);
    thief_far.refused(
        Request::ChangePassword { request: request_id(), old: password("pw"), new: password("x") },
        Refusal::LoginFirst,
    );
}

#[test]
fn a_new_password_whose_answer_was_lost_is_confirmed_to_whoever_repeats_the_request() {
    let net = Net::start(2);
    let (mut bob, bob_id) = Guest::new(net.tracker(1), "bob", 2);
    net.settle();
    let mut far = Guest::again(net.tracker(2), "bob", 2);
    let old = far.token.clone().unwrap();
    let request = Request::ChangePassword {
        request: request_id(),
        old: password("pw"),
        new: password("next"),
    };
    assert!(matches!(bob.ask(request.clone()), Reply::Renewed(_)));
    drop(bob);
    // At the other tracker, whose session has ended meanwhile.
    assert_eq!(far.event(), Event::SessionOver);
    let Reply::Renewed(token) = far.ask(request.clone()) else { panic!("not confirmed") };
    assert!(matches!(far.ask(Request::WhoAmI), Reply::User(entry) if entry.user == bob_id));
    // At one to which the device connects anew, with the token it has.
    let mut again = Guest::connect(net.tracker(1).local_addr(), 2);
    again.refused(request.clone(), Refusal::LoginFirst);
    assert_eq!(again.resume(&old), Err(Refusal::SessionOver));
    assert!(matches!(again.ask(request), Reply::Renewed(_)));
    assert_eq!(Guest::connect(net.tracker(1).local_addr(), 2).resume(&token), Ok(bob_id));
}

#[test]
fn a_new_password_is_confirmed_with_a_token_whatever_was_signed_before() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let (mut nik, _) = Guest::new(&tracker, "nik", 1);
    while nik.ask(Request::Renew) != Reply::Refused(Refusal::Busy) {}
    nik.change_password("pw", "next");
    assert!(matches!(nik.ask(Request::WhoAmI), Reply::User(_)));
}

#[test]
fn every_tracker_forgets_which_devices_knew_the_old_password() {
    let net = Net::start(2);
    let (mut nik, user) = Guest::new(net.tracker(1), "nik", 1);
    net.settle();
    let others = [
        Guest::again(net.tracker(1), "nik", 2),
        Guest::again(net.tracker(2), "nik", 1),
        Guest::again(net.tracker(2), "nik", 2),
    ];
    let known = || {
        let is_known = |number, device| {
            let source = crate::net::Source::of(LOCALHOST);
            net.tracker(number)
                .shared
                .gate
                .login(source, security(device).device(), "nik", &[user])
                .known()
                .is_some()
        };
        [is_known(1, 1), is_known(1, 2), is_known(2, 1), is_known(2, 2)]
    };
    assert_eq!(known(), [true; 4]);
    let request = Request::ChangePassword {
        request: request_id(),
        old: password("pw"),
        new: password("next"),
    };
    assert!(matches!(nik.ask(request.clone()), Reply::Renewed(_)));
    assert_eq!(known(), [true, false, false, false]);
    drop(others);
    let mut second = Guest::connect(net.tracker(1).local_addr(), 2);
    assert_eq!(second.log_in("nik", "next"), Ok(user));
    assert!(matches!(nik.ask(request), Reply::Renewed(_)));
    assert_eq!(known(), [true, true, false, false], "a repeated request changes nothing");
}

#[test]
fn a_token_counts_for_its_device_in_its_network_and_for_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let (guest, user) = Guest::new(&tracker, "nik", 1);
    let token = guest.token.clone().unwrap();
    let resume = |tracker: &Tracker, device, token: &SessionToken| {
        Guest::connect(tracker.local_addr(), device).resume(token)
    };
    assert_eq!(resume(&tracker, 1, &token), Ok(user));
    assert_eq!(resume(&tracker, 2, &token), Err(Refusal::SessionOver), "another device's");
    let claims = |change: &dyn Fn(&mut TokenClaims)| {
        let mut claims = token.claims;
        change(&mut claims);
        claims
    };
    let other = security(2).device();
    // What no key signed that this tracker knows another tracker may know: it is not void, and of
    // no use.
    for altered in
        [claims(&|claims| claims.device = other), claims(&|claims| claims.expires_ms += 1)]
    {
        let device = if altered.device == other { 2 } else { 1 };
        let altered = SessionToken { claims: altered, signature: token.signature };
        assert_eq!(resume(&tracker, device, &altered), Err(Refusal::Busy), "altered");
    }
    let foreign = KeyPair::generate().unwrap().sign_token(token.claims);
    assert_eq!(resume(&tracker, 1, &foreign), Err(Refusal::Busy), "another network's");
    let unheard_of =
        NETWORK_KEY.sign_token(claims(&|claims| claims.user = UserId::from_bytes([9; 16])));
    assert_eq!(
        resume(&tracker, 1, &unheard_of),
        Err(Refusal::Busy),
        "perhaps another tracker knows the account"
    );
    // A write that this tracker has not heard of, but another, which signed the token.
    let newer = NETWORK_KEY.sign_token(claims(&|claims| {
        claims.password.stamp = crate::types::Stamp::new(claims.password.stamp.ms() + 1000, 0);
    }));
    assert_eq!(resume(&tracker, 1, &newer), Ok(user));
    drop(guest);
    tracker.stop().unwrap();
    for (hours, outcome) in [(23, Ok(user)), (25, Err(Refusal::SessionOver))] {
        let mut config = config(TrackerInfo::parse("127.0.0.1:0").unwrap(), 1, dir.path());
        config.limits.clock_offset_ms = hours * 3_600_000;
        let tracker = Tracker::start(config).unwrap();
        assert_eq!(resume(&tracker, 1, &token), outcome, "after {hours} hours");
        tracker.stop().unwrap();
    }
    assert_eq!(token.claims.expires_ms - token.claims.issued_ms, TOKEN_LIFETIME.as_millis() as u64);
}

#[test]
fn tickets_are_for_members_and_name_the_device() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let (mut nik, _) = Guest::new(&tracker, "nik", 1);
    let (mut bob, bob_id) = Guest::new(&tracker, "bob", 2);
    let (group, foreign) = (lab(&mut nik, &mut bob, bob_id, "lab"), nik.create_group("other"));
    let got = tickets(&mut bob, &[group, foreign, GroupId::from_bytes([9; 16]), group]);
    let [ticket] = got[..] else { panic!("{got:?}") };
    assert!(NETWORK_KEY.network().signed_ticket(&ticket));
    assert_eq!(
        (ticket.claims.group, ticket.claims.user, ticket.claims.device),
        (group, bob_id, bob.device)
    );
    assert_eq!(
        ticket.claims.expires_ms - ticket.claims.issued_ms,
        TICKET_LIFETIME.as_millis() as u64
    );
    nik.done(Request::RemoveMember { request: request_id(), group, user: bob_id });
    assert_eq!(tickets(&mut bob, &[group]), []);
    let [(_, _, until_ms)] = voids(nik.heard())[..] else { panic!("one void is told") };
    assert!(ticket.claims.issued_ms <= until_ms, "the old ticket is void");
    admit(&mut nik, &mut bob, bob_id, group);
    let again = tickets(&mut bob, &[group])[0];
    assert!(
        again.claims.issued_ms > until_ms
            && again.claims.expires_ms < now_ms() + TICKET_LIFETIME.as_millis() as u64 + 1
    );
    let mut stranger = Guest::connect(tracker.local_addr(), 3);
    stranger.refused(Request::Tickets { groups: vec![group] }, Refusal::LoginFirst);
    stranger.refused(Request::Renew, Refusal::LoginFirst);
    // A device that asks without end is told to wait, and the others are not.
    let mut asked = 0;
    while matches!(bob.ask(Request::Renew), Reply::Renewed(_)) {
        asked += 1;
        assert!(asked < 100_000, "nothing bounds it");
    }
    assert_eq!(tickets(&mut nik, &[group]).len(), 1);
}

#[test]
fn whoever_logs_in_or_is_let_in_hears_which_tickets_are_void_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut tracker = alone(dir.path());
    let (mut nik, _) = Guest::new(&tracker, "nik", 1);
    let (mut bob, bob_id) = Guest::new(&tracker, "bob", 2);
    let (mut eve, eve_id) = Guest::new(&tracker, "eve", 3);
    let (mut max, max_id) = Guest::new(&tracker, "max", 4);
    let group = lab(&mut nik, &mut bob, bob_id, "lab");
    admit(&mut nik, &mut eve, eve_id, group);
    let foreign = lab(&mut max, &mut bob, bob_id, "other");
    drop(nik);
    bob.done(Request::LeaveGroup { request: request_id(), group });
    bob.done(Request::LeaveGroup { request: request_id(), group: foreign });
    eve.change_password("pw", "next");
    let mut expected = vec![(Some(group), bob_id), (None, eve_id)];
    expected.sort_unstable();
    for restarted in [false, true] {
        if restarted {
            tracker.stop().unwrap();
            tracker = alone(dir.path());
        }
        let mut nik = Guest::connect(tracker.local_addr(), 1);
        nik.log_in("nik", "pw").unwrap();
        let mut told = about(nik.events.drain(..).collect());
        told.sort_unstable();
        assert_eq!(told, expected, "before the answer to the login, restarted: {restarted}");
        let token = nik.token.clone().unwrap();
        let mut nik = Guest::connect(tracker.local_addr(), 1);
        nik.resume(&token).unwrap();
        assert_eq!(nik.events.len(), 2, "and to a resumption");
        let mut max = Guest::again(&tracker, "max", 4);
        assert_eq!(about(max.heard()), [(Some(foreign), bob_id)]);
        if restarted {
            admit(&mut nik, &mut max, max_id, group);
            let mut told = about(max.heard());
            told.sort_unstable();
            assert_eq!(told, expected, "on being let in");
        }
    }
    tracker.stop().unwrap();
    // When no ticket from then can still be shown, nothing is told any more.
    let mut config = config(TrackerInfo::parse("127.0.0.1:0").unwrap(), 1, dir.path());
    config.limits.clock_offset_ms = 15 * 60_000;
    let tracker = Tracker::start(config).unwrap();
    assert_eq!(Guest::again(&tracker, "max", 4).heard(), []);
}

#[test]
fn a_device_that_stops_by_itself_is_withdrawn_from_the_whole_swarm_and_one_that_dies_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let (mut nik, _) = Guest::new(&tracker, "nik", 1);
    let (mut bob, bob_id) = Guest::new(&tracker, "bob", 2);
    let (mut eve, eve_id) = Guest::new(&tracker, "eve", 3);
    let group = lab(&mut nik, &mut bob, bob_id, "lab");
    admit(&mut nik, &mut eve, eve_id, group);
    let info_hash = nik.share(group, "a.bin");
    bob.share(group, "a.bin");
    let second = |tracker: &Tracker| Guest::again(tracker, "bob", 5);
    let withdrawn = |events: Vec<Event>| {
        events
            .into_iter()
            .filter(|event| matches!(event, Event::Withdrawn { .. }))
            .collect::<Vec<_>>()
    };
    nik.announce(group, info_hash, DownloadState::Seeding);
    eve.announce(group, info_hash, DownloadState::Leeching);
    let device = bob.device;
    let by_bob = |device| vec![Event::Withdrawn { group, info_hash, user: bob_id, device }];
    for stop in 0..3 {
        bob.announce(group, info_hash, DownloadState::Seeding);
        let mut other = second(&tracker);
        other.announce(group, info_hash, DownloadState::Seeding);
        nik.heard();
        eve.heard();
        match stop {
            0 => drop(bob.announce(group, info_hash, DownloadState::Stopped)),
            1 => drop(bob.ask(Request::Logout)),
            _ => {
                assert_eq!(bob.log_in("bob", "pw"), Ok(bob_id));
                bob.announce(group, info_hash, DownloadState::Seeding);
                bob.heard();
                bob.done(Request::StopShare {
                    request: request_id(),
                    group,
                    file: facts("a.bin").id(),
                });
                let is_stopped = |event: &Event| matches!(event, Event::ShareStopped { .. });
                assert!(!bob.heard().iter().any(is_stopped), "who asked knows it by the answer");
                let both = withdrawn(nik.heard());
                assert!(
                    both.len() == 2
                        && both.contains(&by_bob(device)[0])
                        && both.contains(&by_bob(other.device)[0])
                );
                assert_eq!(withdrawn(eve.heard()).len(), 2);
                assert!(
                    other.heard().contains(&Event::ShareStopped { group, info_hash }),
                    "bob's other device"
                );
                bob.share(group, "a.bin");
                continue;
            }
        }
        // A seeder and a leecher alike.
        assert_eq!(
            (withdrawn(nik.heard()), withdrawn(eve.heard())),
            (by_bob(device), by_bob(device)),
            "{stop}"
        );
        if stop == 1 {
            assert_eq!(bob.log_in("bob", "pw"), Ok(bob_id));
            bob.ask(Request::Logout);
        }
    }
    // A connection that dies may come back: links stay.
    bob.announce(group, info_hash, DownloadState::Seeding);
    eve.heard();
    nik.heard();
    drop(bob);
    loop {
        match eve.event() {
            Event::Peer(peer) if peer.device == device && peer.state == DownloadState::Stopped => {
                break;
            }
            Event::Withdrawn { device: other, .. } if other != device => {}
            Event::Peer(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(withdrawn(eve.heard()), []);
    // Removal needs no more than the void, and no device of the removed is told that it stopped
    // sharing.
    let mut bob = second(&tracker);
    bob.announce(group, info_hash, DownloadState::Seeding);
    bob.heard();
    nik.done(Request::RemoveMember { request: request_id(), group, user: bob_id });
    assert_eq!(bob.heard(), [Event::Removed { group }]);
    assert_eq!((withdrawn(nik.heard()), withdrawn(eve.heard())), (vec![], vec![]));
}

/// Takes every certificate.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[test]
fn without_a_certificate_there_is_no_session() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(&[&version::TLS13]).unwrap();
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"posse-tracker".to_vec()];
    let name = ServerName::try_from("tracker.posse").unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(tls, TcpStream::connect(tracker.local_addr()).unwrap());
    stream.sock.set_read_timeout(Some(PATIENCE)).unwrap();
    // The handshake is over for whoever dials before the other end has looked at what it was shown.
    let _ = write_message(&mut stream, &Opening::new(Hello::Client(ClientHello { port: 1 })));
    match read_message::<FromTracker>(&mut stream, TRACKER_FRAME_LEN_MAX) {
        Err(FrameError::Closed) => {}
        Err(FrameError::Io(e)) => assert_ne!(e.kind(), ErrorKind::WouldBlock, "not refused"),
        other => panic!("{other:?}"),
    }
    wait_for("it to be gone", || status(&tracker).connections == 0);
}

#[test]
fn a_key_of_another_network_than_the_file_names_starts_no_tracker() {
    let dir = tempfile::tempdir().unwrap();
    let other = KeyPair::generate().unwrap().fingerprint();
    let start = |named| {
        Tracker::start(config(
            TrackerInfo::parse(&format!("network {named}\n127.0.0.1:0")).unwrap(),
            1,
            dir.path(),
        ))
    };
    let why = start(other).unwrap_err().to_string();
    let own = NETWORK_KEY.fingerprint();
    assert!(
        why.contains(&other.to_string())
            && why.contains(&own.to_string())
            && why.contains("--network-key"),
        "{why}"
    );
    let tracker = start(own).unwrap();
    assert_eq!(status(&tracker).network, own);
    assert!(status(&tracker).to_string().lines().any(|line| line == format!("network {own}")));
}
