//! A tracker's accepted connection, from its first byte to its last, under whatever bytes come: for the fuzz targets.
//!
//! The tracker is real, with its core and its store; what is left out are the listener, and TCP's own delays. The connection is served on the
//! caller's thread, so that what a fuzzer sees follows from its bytes. The tracker is made anew every few runs.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};

use parking_lot::Mutex;

use super::accept;
use super::shared::Shared;
use super::{Tracker, TrackerConfig};
use crate::fuzzing::Input;
use crate::fuzzing::harness::{Scratch, check_threads, network_key, pair};
use crate::net::Visitor;
use crate::types::limits::TRACKER_FRAME_LEN_MAX;
use crate::types::{
    Change, DeviceId, FileFacts, GroupId, InfoHash, OriginId, Password, PasswordHash, RequestId, Sha1Digest, TrackerInfo, UserId,
};
use crate::wire::Wire;
use crate::wire::frame::{FrameError, read_frame, to_frame};
use crate::wire::replication::{ReplicaHello, ToDialler};
use crate::wire::tracker::{ClientHello, FromClient, FromTracker, Hello, Request};

/// Runs that one tracker serves: what they leave behind stays small, and a crash follows from few inputs.
const RUNS: usize = 64;
/// Bytes of one run.
const INPUT_LEN_MAX: usize = 32 << 10;
/// The device at the other end.
const DEVICE: DeviceId = DeviceId::from_bytes([0x55; 32]);
/// Everybody's password, and its hash with the least cost that Argon2 has.
const PASSWORD: &str = "open sesame";
const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$59VJuj9HND9twqKjJXSk0AbMwIzezcmEQLtP7Rj0F7Q";

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
    /// What follows are records: two bytes length, a frame's body. Otherwise it is the stream itself.
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
    std::thread::scope(|scope| {
        let reader = ours.try_clone().expect("there is room for a descriptor");
        scope.spawn(move || check_answers(reader, how));
        // It may be hung up on at any time.
        let _ = ours.write_all(&stream);
        let _ = ours.shutdown(Shutdown::Write);
        let visitor = if how & begin::REPLICA != 0 { Visitor::Tracker } else { Visitor::Device(DEVICE) };
        let connection = theirs.into_plain();
        accept::serve(&shared, &connection, admission, visitor);
    });
    assert!(shared.core.ask(|view| view.replica.vector()).is_some(), "the core has ended");
    running.runs += 1;
    if running.runs == RUNS {
        *place = None;
    }
    check_threads();
}

impl Running {
    fn start() -> Self {
        let directory = Scratch::new();
        // The other tracker is never there.
        let info = TrackerInfo::parse("127.0.0.1:0\n127.0.0.1:1").expect("these are two trackers");
        let tracker =
            Tracker::start(TrackerConfig::new(info, 1, directory.path(), network_key().into())).expect("nothing is in its way");
        furnish(&tracker.shared);
        Self { tracker, runs: 0, _directory: directory }
    }
}

/// Makes two users, a group of both, and a file in it.
fn furnish(shared: &Shared) {
    let Known { owner, member, group, file } = known();
    let hash = || PasswordHash::from_phc(HASH.to_owned());
    let nobody = UserId::NOBODY;
    let changes = [
        (nobody, 1, Change::CreateUser { name: "nik".parse().expect("a name"), hash: hash() }),
        (nobody, 2, Change::CreateUser { name: "bob".parse().expect("a name"), hash: hash() }),
        (owner, 3, Change::CreateGroup { name: "lab".parse().expect("a name") }),
        (member, 4, Change::JoinGroup { group }),
        (owner, 5, Change::AcceptRequest { group, user: member }),
        (owner, 6, Change::ShareFile { group, file }),
    ];
    for (actor, number, change) in changes {
        let outcome = shared.core.change(actor, request(number), change);
        assert!(matches!(outcome, Some(Ok(_))), "request {number}: {outcome:?}");
    }
}

/// The ids that [`furnish`] makes.
pub(crate) fn known() -> Known {
    let [owner, member] = [("nik", 1), ("bob", 2)].map(|(name, n)| UserId::derive(&name.parse().expect("a name"), request(n)));
    let group = GroupId::derive(&"lab".parse().expect("a name"), owner, request(3));
    let (info_hash, sha1) = (InfoHash::from_bytes([0x77; 20]), Sha1Digest::from_bytes([0x66; 20]));
    let file = FileFacts { info_hash, name: "a.pdf".parse().expect("a file name"), len: 600_000, piece_len: 512 << 10, sha1 };
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
        let origin = OriginId::from_bytes([input.byte(); 16]);
        let hello = ReplicaHello { network: shared.network, number: 2, origin, clock_ms: 0 };
        stream.extend(to_frame(&Hello::Replica(hello)));
    } else if how & begin::CLIENT != 0 {
        stream.extend(to_frame(&Hello::Client(ClientHello { port: u16::from(input.byte()) })));
        if how & begin::TOKEN != 0 {
            let user = known().owner;
            let tag = shared.core.ask(move |view| view.directory().password_tag(user)).flatten().expect("the owner is there");
            let token = shared.token(user, DEVICE, tag);
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

/// Everything that a tracker says can be read by whom it talks to.
fn check_answers(mut stream: TcpStream, how: u8) {
    let mut body = Vec::new();
    loop {
        match read_frame(&mut stream, TRACKER_FRAME_LEN_MAX, &mut body) {
            Ok(()) => {}
            Err(FrameError::Wire(error)) => panic!("{error}"),
            // It was hung up on, perhaps in the middle of something.
            Err(FrameError::Closed | FrameError::Io(_)) => return,
        }
        let is_read = match how & (begin::REPLICA | begin::CLIENT) {
            0 => FromTracker::from_bytes(&body).is_ok() || ToDialler::from_bytes(&body).is_ok(),
            begin::CLIENT => FromTracker::from_bytes(&body).is_ok(),
            _ => ToDialler::from_bytes(&body).is_ok(),
        };
        assert!(is_read, "{body:x?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Source;
    use crate::tracker::password::Lane;

    #[test]
    fn a_run_logs_in() {
        let mut place = RUNNING.lock();
        let running = place.get_or_insert_with(Running::start);
        let hash = PasswordHash::from_phc(HASH.to_owned());
        let password = Password::new(PASSWORD.to_owned()).unwrap();
        let lane = Lane { source: Source::of([127, 0, 0, 1].into()), known: true };
        assert_eq!(running.tracker.shared.hasher.find(lane, &password, &[&hash]), Ok(Some(0)));
    }
}
