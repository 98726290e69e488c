//! A tracker's accepted connection, from its first byte to its last, under whatever bytes come: for
//! the fuzz targets.
//!
//! The tracker is real, with its core and its store; what is left out are the listener, and TCP's
//! own delays. The connection is served on the caller's thread, so that what a fuzzer sees follows
//! from its bytes. The tracker is made anew every few runs.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::Instant;

use parking_lot::Mutex;

use super::accept;
use super::shared::Shared;
use super::{Tracker, TrackerConfig};
use crate::fuzzing::Input;
use crate::fuzzing::harness::{Scratch, check_threads, network_key, pair};
use crate::net::PeerIdentity;
use crate::store::RowStore;
use crate::types::limits::TRACKER_FRAME_LEN_MAX;
use crate::types::{
    Content, DeviceId, FileFacts, FileRow, GroupId, GroupRow, InfoHash, Lineage, MembershipRow,
    MembershipState, Password, PasswordHash, Place, RequestId, Row, Sha1Digest, SharingRow, Stamp,
    StoreId, TrackerInfo, Transaction, UserId, UserRow, Version,
};
use crate::wire::Wire;
use crate::wire::frame::{FrameError, read_frame, to_frame};
use crate::wire::replication::{ReplicaHello, ToDialler};
use crate::wire::tracker::{ClientHello, FromClient, FromTracker, Hello, Opening, Reply, Request};

/// Runs that one tracker serves: what they leave behind stays small, and a crash follows from few
/// inputs.
const RUNS: usize = 64;
/// Bytes of one run.
const INPUT_LEN_MAX: usize = 32 << 10;
/// The device at the other end.
const DEVICE: DeviceId = DeviceId::from_bytes([0x55; 32]);
/// Everybody's password, and its hash with the least cost that Argon2 has.
const PASSWORD: &str = "open sesame";
const HASH: &str =
    "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$59VJuj9HND9twqKjJXSk0AbMwIzezcmEQLtP7Rj0F7Q";

/// The first byte of an input: how its connection begins.
pub(crate) mod begin {
    /// With the hello of a client.
    pub(crate) const CLIENT: u8 = 1;
    /// And the login of the owner of the group.
    pub(crate) const OWNER: u8 = 2;
    /// Or of a member.
    pub(crate) const MEMBER: u8 = 4;
    /// With the hello of another tracker.
    pub(crate) const REPLICA: u8 = 8;
    /// What follows are records: two bytes length, a frame's body. Otherwise it is the stream
    /// itself.
    pub(crate) const RECORDS: u8 = 16;
    /// The owner comes with a token instead of a password.
    pub(crate) const TOKEN: u8 = 32;
}

/// The ids that every tracker begins with, so that an input can name them.
pub(crate) struct Known {
    pub(crate) owner: UserId,
    pub(crate) member: UserId,
    pub(crate) group: GroupId,
    pub(crate) file: FileFacts,
}

struct Running {
    tracker: Tracker,
    runs: usize,
    _directory: Scratch,
}

static RUNNING: Mutex<Option<Running>> = Mutex::new(None);

/// One connection that a tracker accepted.
pub fn tracker_session(bytes: &[u8]) {
    run(bytes);
}

/// Serves one connection; returns how many answers came that grant something.
fn run(bytes: &[u8]) -> usize {
    check_threads();
    let mut place = RUNNING.lock();
    let running = place.get_or_insert_with(Running::start);
    let shared = running.tracker.shared.clone();
    let stream = stream(&shared, &bytes[..bytes.len().min(INPUT_LEN_MAX)]);
    let how = bytes.first().copied().unwrap_or_default();
    let (mut ours, theirs) = pair(how & begin::REPLICA != 0);
    let Some(admission) = shared.accepted.admit(theirs.peer_addr().ip(), theirs.clone()) else {
        panic!("a single connection is too many")
    };
    let granted = std::thread::scope(|scope| {
        let reader = ours.try_clone().expect("there is room for a descriptor");
        let answers = scope.spawn(move || check_answers(reader, how));
        // It may be hung up on at any time.
        let _ = ours.write_all(&stream);
        let _ = ours.shutdown(Shutdown::Write);
        let visitor = if how & begin::REPLICA != 0 {
            PeerIdentity::Tracker(network_key().network())
        } else {
            PeerIdentity::Device(DEVICE)
        };
        let connection = theirs.into_plain();
        let deadline = Instant::now() + shared.limits.handshake;
        accept::serve(&shared, &connection, admission, visitor, deadline);
        answers.join().expect("every answer can be read")
    });
    assert!(shared.core.ask(|view| view.replica.sequence()).is_some(), "the core has ended");
    running.runs += 1;
    if running.runs == RUNS {
        *place = None;
    }
    check_threads();
    granted
}

impl Running {
    fn start() -> Self {
        let directory = Scratch::new();
        furnish(directory.path());
        // The other tracker is never there.
        let info = TrackerInfo::parse("127.0.0.1:0\n127.0.0.1:1").expect("these are two trackers");
        let tracker =
            Tracker::start(TrackerConfig::new(info, 1, directory.path(), network_key().into()))
                .expect("nothing is in its way");
        Self { tracker, runs: 0, _directory: directory }
    }
}

/// Stores two users, a group of both, and a file in it, as an earlier run of the tracker would
/// have.
fn furnish(directory: &Path) {
    let Known { owner, member, group, file } = known();
    let hash = || PasswordHash::from_phc(HASH.to_owned());
    let (at, id) = (Stamp::new(1_700_000_000_000, 0), file.id());
    let joined = |user| {
        Content::Membership(
            group,
            user,
            MembershipRow { state: MembershipState::Member, since: at, ended: None },
        )
    };
    let account = |user, name: &str| {
        let (name, hash) = (name.parse().expect("a name"), hash());
        let row = UserRow {
            name,
            hash,
            created: at,
            replaced: None,
            must_change: false,
            is_disabled: false,
        };
        Content::User(user, Some(row))
    };
    let listed = FileRow { facts: file, shared_by: owner, at, replaces: None, removed: None };
    let contents = vec![
        account(owner, "nik"),
        account(member, "bob"),
        Content::Group(
            group,
            Some(GroupRow { name: "lab".parse().expect("a name"), created_by: owner, created: at }),
        ),
        joined(owner),
        joined(member),
        Content::Owner(group, owner),
        Content::File(group, id, Some(listed)),
        Content::Sharing(group, id, owner, SharingRow { on: true, admission: request(9) }),
    ];
    let mut store =
        RowStore::open(directory, StoreId::from_bytes([0x98; 16])).expect("the directory is empty");
    let version = Version { stamp: at, request: request(9) };
    let place = Place { store: store.state().lineage.store, sequence: 1 };
    let row = |content| Row { content, version, place, extra: Box::default() };
    let rows: Vec<Row> = contents.into_iter().map(row).collect();
    let displaced = vec![None; rows.len()];
    let transaction = Transaction { sequence: 1, rows, displaced, ..Transaction::default() };
    store.append(&[transaction]).expect("there is room for some rows");
}

/// The ids that [`furnish`] makes.
pub(crate) fn known() -> Known {
    let [owner, member] = [("nik", 1), ("bob", 2)]
        .map(|(name, n)| UserId::derive(&name.parse().expect("a name"), request(n)));
    let group = GroupId::derive(&"lab".parse().expect("a name"), owner, request(3));
    let (info_hash, sha1) = (InfoHash::from_bytes([0x77; 20]), Sha1Digest::from_bytes([0x66; 20]));
    let (name, len, piece_len) = ("a.pdf".parse().expect("a file name"), 600_000, 512 << 10);
    let file = FileFacts { info_hash, name, len, piece_len, sha1, chain: None };
    Known { owner, member, group, file }
}

fn request(number: u8) -> RequestId {
    RequestId::from_bytes([number; 16])
}

/// The bytes that the client, or the other tracker, sends.
fn stream(shared: &Shared, bytes: &[u8]) -> Vec<u8> {
    let mut input = Input::new(bytes);
    let how = input.byte();
    let mut stream = Vec::new();
    if how & begin::REPLICA != 0 {
        let hello = ReplicaHello {
            number: 2,
            address: shared.own_label(),
            lineage: Lineage::new(StoreId::from_bytes([input.byte(); 16])),
            clock_ms: 0,
            trackers: Vec::new(),
        };
        stream.extend(to_frame(&Opening::new(Hello::Replica(hello))));
    } else if how & begin::CLIENT != 0 {
        stream.extend(to_frame(&Opening::new(Hello::Client(ClientHello {
            port: u16::from(input.byte()),
        }))));
        if how & begin::TOKEN != 0 {
            let user = known().owner;
            let tag = shared
                .core
                .ask(move |view| view.directory().password_version(user))
                .flatten()
                .expect("the owner is there");
            let token = shared.token(user, DEVICE, tag, 0);
            stream.extend(to_frame(&FromClient { number: 1, request: Request::Resume { token } }));
        }
        for (flag, name) in [(begin::OWNER, "nik"), (begin::MEMBER, "bob")] {
            if how & flag != 0 {
                let password = Password::new(PASSWORD.to_owned()).expect("a password");
                let request = Request::Login { name: name.parse().expect("a name"), password };
                stream.extend(to_frame(&FromClient { number: 1, request }));
            }
        }
    }
    if how & begin::RECORDS == 0 {
        stream.extend(input.rest());
    }
    while !input.is_over() {
        let len = usize::from(input.u16());
        let body = input.take(len);
        stream.extend((body.len() as u32).to_be_bytes());
        stream.extend(body);
    }
    stream
}

/// Everything that a tracker says can be read by whom it talks to. Returns how many answers grant
/// something.
fn check_answers(mut stream: TcpStream, how: u8) -> usize {
    let (mut body, mut granted) = (Vec::new(), 0);
    loop {
        match read_frame(&mut stream, TRACKER_FRAME_LEN_MAX, &mut body) {
            Ok(()) => {}
            Err(FrameError::Wire(error)) => panic!("{error}"),
            // It was hung up on, perhaps in the middle of something.
            Err(FrameError::Closed | FrameError::Io(_)) => return granted,
        }
        match (FromTracker::from_bytes(&body), ToDialler::from_bytes(&body)) {
            (Ok(FromTracker::Reply { reply, .. }), _) if how & begin::REPLICA == 0 => {
                granted += usize::from(!matches!(reply, Reply::Refused(_) | Reply::Pong));
            }
            (Ok(_), _) if how & begin::REPLICA == 0 => {}
            (_, Ok(_)) if how & begin::CLIENT == 0 || how & begin::REPLICA != 0 => {}
            _ => panic!("nobody understands {body:x?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run that is refused everything proves nothing.
    #[test]
    fn who_logs_in_is_granted_something() {
        let request = FromClient { number: 2, request: Request::WhoAmI }.to_bytes();
        let asks = |how: u8| {
            [&[begin::CLIENT | begin::RECORDS | how, 1, 0, request.len() as u8][..], &request]
                .concat()
        };
        assert_eq!(run(&asks(0)), 0);
        for how in [begin::OWNER, begin::MEMBER, begin::TOKEN] {
            assert_eq!(run(&asks(how)), 2, "{how}");
        }
    }
}
