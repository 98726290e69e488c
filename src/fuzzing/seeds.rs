//! The inputs that every fuzzing run begins with: valid ones of each kind, made from the examples
//! of the wire's tests.

use std::net::Ipv4Addr;

use super::Input;
use crate::tracker::fuzz::{begin, known};
use crate::types::invitation_link::InvitationLink;
use crate::types::{
    DownloadState, FileOrder, Fingerprint, InfoHash, RequestId, RequestStamp, Row, RowBatch, Stamp,
};
use crate::wire::Wire;
use crate::wire::checks::variant_name;
use crate::wire::frame::to_frame;
use crate::wire::metainfo::Metainfo;
use crate::wire::peer::{ExtendedHandshake, Handshake, MetadataMessage, PeerId, PeerMessage};
use crate::wire::port_mapping::{Answer, PcpMapping};
use crate::wire::relay::RelayHello;
use crate::wire::replication::{ToAcceptor, ToDialler};
use crate::wire::samples::Sample;
use crate::wire::tracker::{
    AnnounceEntry, Event, FromClient, FromTracker, Hello, Opening, Reply, Request,
};

/// A file's name and its bytes.
pub(crate) type Seed = (String, Vec<u8>);

/// The seeds of a target.
pub(crate) fn seeds(target: &str) -> Vec<Seed> {
    match target {
        "bitfields" => bitfields(),
        "certificates" => certificates(),
        "statements" => statements(),
        "tls_handshake" => vec![
            seed("alert", [1, 21, 3, 3, 0, 2, 2, 40]),
            seed("plain", b"\0\x13BitTorrent protocol".to_vec()),
        ],
        "tls_records" => tls_records(),
        "choker" | "download" | "metainfo_fetch" | "replica" => noise(target),
        "command_lines" => command_lines(),
        "extensions" => extensions(),
        "http_messages" => http_messages(),
        "invitation_links" => invitation_links(),
        "lan_datagrams" => crate::client::lan::fuzz::seeds(),
        "link_session" => link_sessions(),
        "relay_hello" => {
            let hello = RelayHello { secret: Sample::example() }.encode();
            vec![seed("hello", hello), seed("later", behind(b"PSRL\0\x02", &[7; 40]))]
        }
        "metainfo" => {
            vec![seed("example", Metainfo::example().to_bytes()), seed("empty", empty_metainfo())]
        }
        "names" => names(),
        "peer_messages" => peer_messages(),
        "replication_frames" => replication_frames(),
        "router_answers" => router_answers(),
        "tracker_frames" => tracker_frames(),
        "tracker_info" => tracker_infos(),
        "tracker_session" => tracker_sessions(),
        other => panic!("{other} has no seeds"),
    }
}

fn seed(name: &str, bytes: impl Into<Vec<u8>>) -> Seed {
    (name.to_lowercase(), bytes.into())
}

fn behind(head: &[u8], bytes: &[u8]) -> Vec<u8> {
    [head, bytes].concat()
}

/// What happens on the wire between two ends: data, new keys, cuts; and then something that should
/// not.
fn tls_records() -> Vec<Seed> {
    let honest = [
        0, 7, 0x4e, 0x20, 7, 0x10, 0, 0x20, 0, 3, 1, 8, 0, 5, 7, 0xff, 0xff, 0, 100, 2, 9, 0x40, 0,
        3,
    ];
    let then = |name: &str, more: &[u8]| seed(name, behind(&honest, more));
    vec![
        then("honest", &[]),
        then("altered", &[4, 0, 9, 3, 0, 1, 0, 10]),
        then("lost", &[5, 0, 40, 0, 1, 0, 10]),
        then("made-up", &[6, 7, 21, 3, 3, 0, 2, 1, 0]),
    ]
}

fn bitfields() -> Vec<Seed> {
    let seed_of = |name: &str, len: u32, bits: &[u8]| {
        let numbers: Vec<u8> = [len, 3, 1 << 13, 1 << 13]
            .iter()
            .flat_map(|number: &u32| number.to_be_bytes())
            .collect();
        seed(name, [&[0, 0, 0][..], &numbers, bits].concat())
    };
    vec![
        seed_of("nine", 9 << 14, &[0xa5, 0x80]),
        seed_of("full", 8 << 14, &[0xff]),
        seed_of("spare", 9 << 14, &[0, 1]),
    ]
}

/// What a state machine is told is drawn from the bytes; any bytes are a valid run.
fn noise(target: &str) -> Vec<Seed> {
    let mut state = target
        .bytes()
        .fold(0x9e37_79b9_7f4a_7c15, |state: u64, byte| state.rotate_left(8) ^ u64::from(byte));
    let mut byte = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (1..=6)
        .map(|n| seed(&format!("run-{n}"), (0..n * 128).map(|_| byte()).collect::<Vec<u8>>()))
        .collect()
}

fn certificates() -> Vec<Seed> {
    let device = super::trusting::device_certificate();
    let shown = behind(&(device.len() as u16).to_be_bytes(), &device);
    vec![
        seed("device", behind(&[0], &shown)),
        seed("two", [&[0][..], &shown, &device].concat()),
        seed("altered-tracker", [1, 0, 20, 1, 0, 90, 0x80]),
        seed("altered-device", [2, 0, 4, 1]),
        seed("key", behind(&[3], &super::harness::pkcs8([0x61; 32]))),
    ]
}

fn statements() -> Vec<Seed> {
    vec![
        seed("token", behind(&[0], &super::trusting::good_token().to_bytes())),
        seed("ticket", behind(&[1], &super::trusting::good_ticket().to_bytes())),
        seed("altered-token", [2, 0, 7, 1]),
        seed("altered-ticket", [3, 0, 90, 0x80]),
    ]
}

fn http_messages() -> Vec<Seed> {
    let chunks = "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nA: b\r\n\r\n";
    let head = "POST /api/v1/command HTTP/1.1\r\nHost: h\r\n";
    vec![
        seed("get", "GET /x?a=1&b HTTP/1.1\r\nHost: h\r\nAccept: a/b, c/d;q=1\r\n\r\n"),
        seed("post", format!("{head}Content-Length: 5\r\nConnection: close\r\n\r\nhello")),
        seed("chunked", format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}GET /")),
        seed(
            "range",
            "GET /groups/a%20b/files/%22x/content HTTP/1.1\r\nHost: h\r\nRange: bytes=1-5\r\n\
             If-Range: \"x\"\r\n\r\n",
        ),
        seed("answer", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
        seed(
            "parts",
            format!(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
            ),
        ),
        seed("to-the-end", "HTTP/1.0 404 Not Found\r\n\r\nnothing"),
    ]
}

fn command_lines() -> Vec<Seed> {
    let lines = [
        "login nik 'open sesame'",
        "change_password \"a b\" c\\ d",
        "upload_file ~/'my file.pdf' lab",
        "download_file lab a.pdf /tmp",
        "# a comment",
        "wait 2.5",
        "lgin nik x",
        "help login",
    ];
    lines.iter().enumerate().map(|(n, line)| seed(&format!("line-{n}"), *line)).collect()
}

fn names() -> Vec<Seed> {
    let id = |len: usize| "0123456789abcdef".repeat(6)[..2 * len].to_owned();
    let texts = [
        ("user", "nik".to_owned()),
        ("group", "lab_1.x-y".to_owned()),
        ("file", "über uns.pdf".to_owned()),
        ("label", "nik~2".to_owned()),
        ("user-id", id(16)),
        ("device-id", id(32)),
        ("info-hash", id(20)),
        ("sha1", id(20)),
    ];
    texts
        .iter()
        .enumerate()
        .map(|(kind, (name, text))| seed(name, behind(&[kind as u8], text.as_bytes())))
        .collect()
}

/// First byte: 0 for a text, 1 for contents.
fn invitation_links() -> Vec<Seed> {
    let trackers = ["203.0.113.7:5000", "[2001:db8::7]:7000", "tracker.example:1"];
    let trackers = trackers.map(|text| text.parse().expect("an address"));
    let group = (Sample::example(), Sample::example());
    let network = Fingerprint::from_bytes([7; 32]);
    let link = InvitationLink::new(network, group, Sample::example(), &trackers);
    let contents = [&[1][..], &[7; 32], &[0x22; 16], &[0xcc; 16], b"\x03lab\x01\x04"].concat();
    vec![
        seed("text", behind(&[0], link.to_text().as_bytes())),
        seed("contents", behind(&[1], &[&contents[..], &[10, 0, 0, 1, 0, 1]].concat())),
        seed("later", behind(&[1], &[2, 1, 2, 3])),
    ]
}

fn tracker_infos() -> Vec<Seed> {
    vec![
        seed("example", include_str!("../../tracker_info.txt")),
        seed(
            "forms",
            "\u{feff}# ours\r\nExample.org:5000\n2 10.0.0.1 7000\n[::1]:1\n::2 2\n5 [::3] 3\n6 host:4\n",
        ),
        seed("address", "[2001:db8::9]:6881"),
    ]
}

fn extensions() -> Vec<Seed> {
    let handshakes = ExtendedHandshake::examples().into_iter().map(|message| message.encode());
    let messages = MetadataMessage::examples().into_iter().map(|message| message.encode());
    let foreign =
        b"d1:md11:ut_metadatai3e6:ut_pexi1ee13:metadata_sizei31235e4:reqqi500e1:v5:other6:yourip4:\x7f\0\0\x01e".to_vec();
    let all = handshakes.chain(messages).chain([foreign]);
    all.enumerate().map(|(n, bytes)| seed(&format!("payload-{n}"), bytes)).collect()
}

fn empty_metainfo() -> Vec<u8> {
    b"d6:lengthi0e4:name1:a12:piece lengthi524288e6:pieces0:7:privatei1ee".to_vec()
}

fn peer_messages() -> Vec<Seed> {
    let handshake =
        Handshake::new(Sample::example(), PeerId::of_device(Sample::example())).encode();
    let extended = ExtendedHandshake::examples().into_iter().map(|message| message.encode());
    let extended = extended.map(|payload| PeerMessage::Extended { id: 0, payload });
    let all: Vec<PeerMessage> = PeerMessage::examples().into_iter().chain(extended).collect();
    let stream: Vec<u8> = all.iter().flat_map(PeerMessage::to_bytes).collect();
    let mut seeds = vec![
        seed("stream", [&[6, 0][..], &handshake, &stream].concat()),
        seed("messages", behind(&[0, 1], &stream)),
    ];
    seeds.extend(all.iter().enumerate().map(|(n, message)| {
        seed(
            &format!("message-{n}-{}", variant_name(message)),
            behind(&[15, 1], &message.to_bytes()),
        )
    }));
    seeds
}

fn tracker_frames() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let (mut said, mut heard) = (vec![3, 6], vec![4, 0]);
    for hello in Hello::examples() {
        let name = format!("hello-{}", variant_name(&hello));
        let opening = Opening::new(hello);
        seeds.push(seed(&name, behind(&[0, 0], &opening.to_bytes())));
        said.extend(to_frame(&opening));
    }
    seeds.push(seed("hello-of-version-2", behind(&[0, 0], b"PSSE\x00\x02\x00\x1a\xe1")));
    for request in Request::examples() {
        let name = format!("request-{}", variant_name(&request));
        let message = FromClient { number: 9, request };
        seeds.push(seed(&name, behind(&[1, 0], &message.to_bytes())));
        said.extend(to_frame(&message));
    }
    for message in FromTracker::examples() {
        seeds.push(seed(
            &format!("from-tracker-{}", variant_name(&message)),
            behind(&[2, 0], &message.to_bytes()),
        ));
        heard.extend(to_frame(&message));
    }
    for reply in Reply::examples() {
        let name = format!("reply-{}", variant_name(&reply));
        let message = FromTracker::Reply { number: 9, clock_ms: 7, reply };
        seeds.push(seed(&name, behind(&[2, 0], &message.to_bytes())));
    }
    for event in Event::examples() {
        let name = format!("event-{}", variant_name(&event));
        seeds.push(seed(&name, behind(&[2, 0], &FromTracker::Event(event).to_bytes())));
    }
    seeds.extend([seed("stream-said", said), seed("stream-heard", heard)]);
    seeds
}

fn router_answers() -> Vec<Seed> {
    let mapping = PcpMapping {
        nonce: [7; 12],
        internal_port: 6001,
        external: "203.0.113.9:7001".parse().unwrap(),
    };
    let external = Ipv4Addr::new(203, 0, 113, 9);
    let answers = [
        ("pcp-map", Answer::PcpMap { result: 0, epoch: 9, lifetime: 3600, mapping }),
        ("pcp-refused", Answer::PcpMap { result: 8, epoch: 9, lifetime: 30, mapping }),
        ("pcp-other", Answer::PcpOther { result: 1, epoch: 7 }),
        ("nat-pmp-address", Answer::NatPmpAddress { epoch: 1, external }),
        (
            "nat-pmp-map",
            Answer::NatPmpMap { epoch: 1, internal_port: 1, external_port: 2, lifetime: 3 },
        ),
        ("nat-pmp-refused", Answer::NatPmpError { opcode: 2, result: 3 }),
    ];
    answers.map(|(name, answer)| seed(name, answer.to_bytes())).into()
}

fn replication_frames() -> Vec<Seed> {
    let row = |(n, row): (usize, Row)| {
        let name = format!("row-{n}-{}", variant_name(&row.content));
        seed(&name, behind(&[2, 0], &row.to_bytes()))
    };
    let mut seeds: Vec<Seed> = Row::examples().into_iter().enumerate().map(row).collect();
    let mut stream = vec![3, 2];
    for message in ToAcceptor::examples() {
        seeds.push(seed(
            &format!("to-acceptor-{}", variant_name(&message)),
            behind(&[0, 0], &message.to_bytes()),
        ));
        stream.extend(to_frame(&message));
    }
    for message in ToDialler::examples() {
        seeds.push(seed(
            &format!("to-dialler-{}", variant_name(&message)),
            behind(&[1, 0], &message.to_bytes()),
        ));
        stream.extend(to_frame(&message));
    }
    seeds.push(seed("stream", stream));
    seeds
}

/// Requests that name what the tracker of the target knows.
fn known_requests() -> Vec<Request> {
    let known = known();
    let (group, file, info_hash) = (known.group, known.file.id(), known.file.info_hash);
    let request = |n: u8| RequestStamp {
        id: RequestId::from_bytes([0x80 | n; 16]),
        at: Stamp::new(1_700_000_000_000, n.into()),
    };
    let other = crate::types::FileFacts {
        info_hash: InfoHash::from_bytes([0x78; 20]),
        ..known.file.clone()
    };
    let mut requests = Request::examples();
    // To hash a password takes as long as a thousand other requests.
    requests.retain(|request| {
        !matches!(
            request,
            Request::CreateUser { .. }
                | Request::CreateInvitedUser { .. }
                | Request::ChangePassword { .. }
                | Request::Login { .. }
        )
    });
    requests.retain(|request| !matches!(request, Request::Logout));
    requests.extend([
        Request::CreateGroup { request: request(1), name: "lab".parse().expect("a name") },
        Request::ShareFile { request: request(2), group, file: other },
        Request::Announce {
            entries: vec![
                AnnounceEntry { group, info_hash, state: DownloadState::Seeding },
                AnnounceEntry {
                    group,
                    info_hash: InfoHash::from_bytes([0x78; 20]),
                    state: DownloadState::Leeching,
                },
            ],
        },
        Request::Resolve {
            group: "lab".parse().expect("a label"),
            user: Some("bob".parse().expect("a label")),
            file: None,
        },
        Request::ListGroups { after: None, pattern: Some("l*".parse().expect("a pattern")) },
        Request::ListMyGroups { after: None },
        Request::ListRequests { group, after: None },
        Request::ListMembers { group, after: Some(known.owner) },
        Request::ListFiles { group, after: None, pattern: None, order: FileOrder::Size },
        Request::FindFile { group, file },
        Request::FindFiles { pattern: "pdf".parse().expect("a pattern"), after: None },
        Request::Tickets { groups: vec![group, Sample::example()] },
        Request::Renew,
        Request::TransferGroup { request: request(3), group, user: known.member },
        Request::RemoveMember { request: request(4), group, user: known.member },
        Request::StopShare { request: request(5), group, file },
        Request::RemoveFile { request: request(7), group, file },
        Request::LeaveGroup { request: request(6), group },
        Request::StayOnDevice {
            request: request(8),
            name: Sample::example(),
            password: Sample::example(),
        },
        Request::ListDevices,
        Request::ForgetDevice { request: request(9), device: Sample::example() },
        Request::CreateInvitation {
            request: request(10),
            group,
            invitation: Sample::example(),
            uses: 1,
            days: 7,
        },
        Request::ListInvitations { after: None },
        Request::UseInvitation { request: request(11), group, secret: Sample::example() },
        Request::RevokeInvitation { request: request(12), group, invitation: Sample::example() },
        Request::SetGroup { request: request(13), group, settings: Sample::example() },
        Request::LoginByKey { user: known.owner },
        Request::Logout,
        Request::WhoAmI,
    ]);
    requests
}

fn record(body: &[u8]) -> Vec<u8> {
    behind(&(body.len() as u16).to_be_bytes(), body)
}

fn tracker_sessions() -> Vec<Seed> {
    let bodies: Vec<Vec<u8>> = known_requests()
        .into_iter()
        .zip(2..)
        .map(|(request, number)| FromClient { number, request }.to_bytes())
        .collect();
    let records: Vec<u8> = bodies.iter().flat_map(|body| record(body)).collect();
    let hello = Opening::new(Hello::Client(Sample::example()));
    let login =
        Request::Login { name: "nik".parse().expect("a label"), password: Sample::example() };
    let stream = [to_frame(&hello), to_frame(&FromClient { number: 1, request: login })].concat();
    let secrets: Vec<u8> = Request::examples()
        .into_iter()
        .filter(|request| {
            matches!(
                request,
                Request::CreateUser { .. }
                    | Request::CreateInvitedUser { .. }
                    | Request::ChangePassword { .. }
                    | Request::Login { .. }
            )
        })
        .flat_map(|request| record(&FromClient { number: 7, request }.to_bytes()))
        .collect();
    let sync: Vec<u8> = ToAcceptor::examples()
        .iter()
        .chain([&rows()])
        .flat_map(|said| record(&said.to_bytes()))
        .collect();
    let client = begin::CLIENT | begin::RECORDS;
    vec![
        seed("stranger", behind(&[client, 9], &records)),
        seed("owner", behind(&[client | begin::OWNER, 9], &records)),
        seed("member", behind(&[client | begin::MEMBER, 9], &records)),
        seed("passwords", behind(&[client | begin::OWNER, 9], &secrets)),
        seed("stream", behind(&[0], &stream)),
        seed("replica", behind(&[begin::REPLICA | begin::RECORDS, 5], &sync)),
        seed(
            "replica-hello",
            behind(&[0], &to_frame(&Opening::new(Hello::Replica(Sample::example())))),
        ),
    ]
}

/// A batch without a vector.
fn rows() -> ToAcceptor {
    ToAcceptor::Rows(RowBatch { rows: Row::examples(), through: 3, complete: None })
}

/// First byte: the file. Second: how the handshake is made. Then steps, see `swarm::fuzz`.
fn link_sessions() -> Vec<Seed> {
    let (well, stranger) = (2, 0);
    let request = |piece: u8, begin: u8| [10, piece, begin, 254];
    let served = [
        &[3][..],
        &request(0, 0),
        &request(1, 0),
        &request(4, 0),
        &[10, 4, 0, 7, 11, 0, 0, 254, 4, 3],
        &request(2, 0),
        &[15, 5, 15, 5],
    ]
    .concat();
    let fetched = [&[7, 2][..], &[15, 5].repeat(6)].concat();
    let poisoned = [&[7, 2][..], &[15, 0].repeat(6)].concat();
    let rejected = [
        &[7, 1, 15, 1, 15, 2, 3, 0, 1, 15, 3, 12, 0, 0, 254][..],
        &[14, 1, 0, 254, 7],
        &[9, 3, 5, 2],
    ]
    .concat();
    let informed = [&[7, 1][..], &[15, 5].repeat(4), &[13, 2, 0, 1], &[13, 2, 2, 1]].concat();
    let payload = ExtendedHandshake::example().encode();
    let extended = [&[17, 0, payload.len() as u8][..], &payload].concat();
    vec![
        seed("served", behind(&[0, well], &served)),
        seed("stranger", behind(&[0, stranger], &served)),
        seed("fetched", behind(&[1, well], &fetched)),
        seed("poisoned", behind(&[1, well], &poisoned)),
        seed("rejected", behind(&[1, well], &rejected)),
        seed("informed", behind(&[2, well], &informed)),
        seed("extended", behind(&[2, well], &extended)),
        seed("raw", behind(&[0, 12], &[18, 8, 19, b'B', b'i', b't', 0, 0, 0, 0])),
        seed("silent", [1, 15]),
    ]
}

/// A seed, changed as a fuzzer would: the bytes of `tape` say how.
pub(super) fn mutate(seeds: &[Seed], tape: &[u8]) -> Vec<u8> {
    let mut input = Input::new(tape);
    let mut bytes = seeds[usize::from(input.byte()) % seeds.len()].1.clone();
    while !input.is_over() {
        let at = usize::from(input.u16()) % (bytes.len() + 1);
        let end = (at + usize::from(input.byte())).min(bytes.len());
        match input.below(7) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => drop(bytes.splice(at..at, input.take(8).iter().copied())),
            3 => {
                let copy = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, copy));
            }
            4 => {
                let other = &seeds[usize::from(input.byte()) % seeds.len()].1;
                bytes.truncate(at);
                bytes.extend_from_slice(&other[at.min(other.len())..]);
            }
            how => {
                let value =
                    if how == 5 { input.byte() } else { [0, 1, 0x7f, 0x80, 0xff][input.below(5)] };
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
        }
    }
    bytes
}
