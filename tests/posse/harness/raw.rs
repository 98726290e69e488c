//! The tracker protocol spoken by hand: for what no client of ours would do, and for many changes a
//! second.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use posse::types::{
    Change, DownloadState, Effect, FileFacts, FileOrder, GroupEntry, GroupId, InfoHash, Label,
    Password, PeerEntry, Refusal, RequestId, RequestStamp, SessionToken, Stamp, Success, Ticket,
    UserEntry, limits,
};
use posse::wire::frame::{FrameError, read_message, write_message};
use posse::wire::tracker::{
    AnnounceEntry, ClientHello, Event, FromClient, FromTracker, Hello, Opening, Reply, Request,
};

use super::{Device, Secured, device};

/// Events that are kept.
const HEARD_MAX: usize = 64;

/// A new request, asked now and after those before.
pub(crate) fn request_id() -> RequestStamp {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("it is later than 1970");
    LAST.fetch_max(Stamp::new(now.as_millis() as u64, 0).as_u64(), Ordering::Relaxed);
    let at = Stamp::from_u64(LAST.fetch_add(1, Ordering::Relaxed));
    RequestStamp { id: RequestId::from_bytes(rand::random()), at }
}

/// A password, or what is taken for one.
pub(crate) fn password(text: &str) -> Password {
    Password::new(text.to_owned()).expect("passwords of tests are short")
}

/// One session with one tracker.
#[derive(Debug)]
pub(crate) struct RawClient {
    pub(crate) stream: Secured,
    pub(crate) device: Device,
    /// What the last login gave.
    pub(crate) token: Option<SessionToken>,
    number: u32,
    /// The last events that came before replies.
    pub(crate) heard: Vec<Event>,
}

impl RawClient {
    /// Dials a tracker and says hello for a device that listens on `port`.
    pub(crate) fn connect(tracker: SocketAddr, device: &Device, port: u16) -> io::Result<Self> {
        let mut stream = device.dial_tracker(tracker)?;
        write_message(&mut stream, &Opening::new(Hello::Client(ClientHello { port })))?;
        match read_message(&mut stream, limits::TRACKER_FRAME_LEN_MAX).map_err(lost)? {
            FromTracker::Welcome(_) => Ok(Self {
                stream,
                device: device.clone(),
                token: None,
                number: 0,
                heard: Vec::new(),
            }),
            other => Err(io::Error::other(format!("the tracker does not welcome us: {other:?}"))),
        }
    }

    /// A session of a new device of `user`, whose account is made if there is none.
    #[track_caller]
    pub(crate) fn enter(tracker: SocketAddr, user: &str) -> Self {
        let mut client =
            Self::connect(tracker, &device(), 1).expect("the tracker takes connections");
        client.create_user(user);
        client.login(user).expect("the tracker answers");
        client
    }

    /// Sends a request and waits for its reply; events that come between are kept. As a
    /// client does, asks again with a later time where the tracker wants one.
    pub(crate) fn ask(&mut self, mut request: Request) -> io::Result<Reply> {
        loop {
            let reply = self.ask_once(request.clone())?;
            let (Reply::Refused(Refusal::Overtaken { above }), Some(stamp)) =
                (&reply, request.stamp_mut())
            else {
                return Ok(reply);
            };
            stamp.at = above.next().expect("it is before the end of time");
        }
    }

    fn ask_once(&mut self, request: Request) -> io::Result<Reply> {
        self.number += 1;
        write_message(&mut self.stream, &FromClient { number: self.number, request })?;
        loop {
            match self.receive()? {
                FromTracker::Reply { number, reply, .. } if number == self.number => {
                    return Ok(reply);
                }
                FromTracker::Event(event) => {
                    if self.heard.len() >= HEARD_MAX {
                        self.heard.remove(0);
                    }
                    self.heard.push(event);
                }
                other => {
                    return Err(io::Error::other(format!("an answer out of order: {other:?}")));
                }
            }
        }
    }

    /// Waits for one frame.
    pub(crate) fn receive(&mut self) -> io::Result<FromTracker> {
        read_message(&mut self.stream, limits::TRACKER_FRAME_LEN_MAX).map_err(lost)
    }

    /// Makes the account `user` with the password that [`RawClient::login`] uses; one that exists
    /// is left as it is.
    #[track_caller]
    pub(crate) fn create_user(&mut self, user: &str) {
        let name = user.parse().expect("a user name");
        let request = Request::CreateUser {
            request: request_id(),
            name,
            password: password(&format!("pw-{user}")),
        };
        self.ask(request).expect("the tracker answers");
    }

    /// Logs in as `user`.
    pub(crate) fn login(&mut self, user: &str) -> io::Result<UserEntry> {
        self.login_with(user, &format!("pw-{user}"))
    }

    /// Logs in as `user` with a password of the caller's.
    pub(crate) fn login_with(&mut self, user: &str, secret: &str) -> io::Result<UserEntry> {
        let name: Label = user.parse().expect("a name");
        match self.ask(Request::Login { name, password: password(secret) })? {
            Reply::LoggedIn { user, token, .. } => {
                self.token = Some(token);
                Ok(user)
            }
            other => Err(io::Error::other(format!("no login for {user}: {other:?}"))),
        }
    }

    /// Asks for a ticket of a group; none is given to whoever is not in it.
    pub(crate) fn ticket(&mut self, group: GroupId) -> Option<Ticket> {
        match self.ask(Request::Tickets { groups: vec![group] }).expect("the tracker answers") {
            Reply::Tickets(tickets) => tickets.into_iter().next(),
            other => panic!("tickets: {other:?}"),
        }
    }

    /// Makes a group.
    #[track_caller]
    pub(crate) fn create_group(&mut self, name: &str) -> GroupId {
        let request = Request::CreateGroup {
            request: request_id(),
            name: name.parse().expect("a group name"),
        };
        match self.ask(request).expect("the tracker answers") {
            Reply::Done(Success { effect: Effect::Group(group), .. }) => group,
            other => panic!("no group {name}: {other:?}"),
        }
    }

    /// Finds a group by name.
    #[track_caller]
    pub(crate) fn group(&mut self, name: &str) -> GroupEntry {
        let group = name.parse().expect("a label");
        match self
            .ask(Request::Resolve { group, user: None, file: None })
            .expect("the tracker answers")
        {
            Reply::Resolved(resolved) => resolved.group,
            other => panic!("no group {name}: {other:?}"),
        }
    }

    /// Offers a file, which must be accepted.
    #[track_caller]
    pub(crate) fn share(&mut self, group: GroupId, file: FileFacts) {
        let reply = self
            .ask(Request::ShareFile { request: request_id(), group, file })
            .expect("the tracker answers");
        assert!(matches!(reply, Reply::Done(_)), "share: {reply:?}");
    }

    /// Says what the device does with a file, and returns who else is there.
    #[track_caller]
    pub(crate) fn announce(
        &mut self,
        group: GroupId,
        info_hash: InfoHash,
        state: DownloadState,
    ) -> Vec<PeerEntry> {
        match self.announce_raw(group, info_hash, state) {
            Reply::Peers(peers) => peers,
            Reply::Pong | Reply::Done(_) => Vec::new(),
            other => panic!("announce: {other:?}"),
        }
    }

    /// Says what the device does with a file, and returns whatever the tracker replies.
    #[track_caller]
    pub(crate) fn announce_raw(
        &mut self,
        group: GroupId,
        info_hash: InfoHash,
        state: DownloadState,
    ) -> Reply {
        let entries = vec![AnnounceEntry { group, info_hash, state }];
        self.ask(Request::Announce { entries }).expect("the tracker answers")
    }

    /// The names of all groups, over all pages.
    #[track_caller]
    pub(crate) fn group_names(&mut self) -> Vec<String> {
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            match self
                .ask(Request::ListGroups { after: after.take(), pattern: None })
                .expect("the tracker answers")
            {
                Reply::Groups { entries, more } => {
                    names.extend(entries.iter().map(|e| e.label.to_string()));
                    after = entries.last().map(|e| e.label.clone());
                    if !more {
                        return names;
                    }
                }
                other => panic!("list_groups: {other:?}"),
            }
        }
    }

    /// The names and info hashes of the files in a group, over all pages.
    #[track_caller]
    pub(crate) fn files(&mut self, group: GroupId) -> Vec<(String, InfoHash)> {
        let (mut files, mut after) = (Vec::new(), None);
        loop {
            match self
                .ask(Request::ListFiles {
                    group,
                    after: after.take(),
                    pattern: None,
                    order: FileOrder::Name,
                })
                .expect("the tracker answers")
            {
                Reply::Files { entries, more } => {
                    files.extend(entries.iter().map(|e| (e.label.to_string(), e.facts.info_hash)));
                    after = entries.last().map(|e| e.label.clone());
                    if !more {
                        return files;
                    }
                }
                other => panic!("list_files: {other:?}"),
            }
        }
    }

    /// How many devices seed the group's files, and how many of its members are online.
    #[cfg(feature = "postgres")]
    #[track_caller]
    pub(crate) fn online(&mut self, group: GroupId) -> (u32, usize) {
        let (after, pattern) = (None, None);
        let files = Request::ListFiles { group, after, pattern, order: FileOrder::Name };
        let seeders = match self.ask(files).expect("the tracker answers") {
            Reply::Files { entries, .. } => entries.iter().map(|entry| entry.online).sum(),
            other => panic!("list_files: {other:?}"),
        };
        let members = Request::ListMembers { group, after: None };
        match self.ask(members).expect("the tracker answers") {
            Reply::Members { entries, .. } => {
                (seeders, entries.iter().filter(|entry| entry.online).count())
            }
            other => panic!("list_members: {other:?}"),
        }
    }

    /// Carries out a change that carries no password, under a request id of the caller's.
    pub(crate) fn change(&mut self, request: RequestStamp, change: &Change) -> io::Result<Reply> {
        self.ask(match change.clone() {
            Change::CreateGroup { name } => Request::CreateGroup { request, name },
            Change::JoinGroup { group } => Request::JoinGroup { request, group },
            Change::LeaveGroup { group } => Request::LeaveGroup { request, group },
            Change::AcceptRequest { group, user } => {
                Request::AcceptRequest { request, group, user }
            }
            Change::RejectRequest { group, user } => {
                Request::RejectRequest { request, group, user }
            }
            Change::RemoveMember { group, user } => Request::RemoveMember { request, group, user },
            Change::TransferGroup { group, user } => {
                Request::TransferGroup { request, group, user }
            }
            Change::ShareFile { group, file } => Request::ShareFile { request, group, file },
            Change::ReplaceFile { group, file, replaces } => {
                Request::ReplaceFile { request, group, file, replaces }
            }
            Change::StopShare { group, file } => Request::StopShare { request, group, file },
            Change::RemoveFile { group, file } => Request::RemoveFile { request, group, file },
            Change::RenameGroup { group, name } => Request::RenameGroup { request, group, name },
            Change::DeleteGroup { group } => Request::DeleteGroup { request, group },
            Change::DeleteAccount => Request::DeleteAccount { request },
            Change::ForgetDevice { device } => Request::ForgetDevice { request, device },
            Change::CreateInvitation { group, invitation, uses, days } => {
                Request::CreateInvitation { request, group, invitation, uses, days }
            }
            Change::RevokeInvitation { group, invitation } => {
                Request::RevokeInvitation { request, group, invitation }
            }
            Change::SetGroup { group, settings } => Request::SetGroup { request, group, settings },
            Change::UseInvitation { .. } | Change::CreateInvitedUser { .. } => {
                panic!("it carries a secret")
            }
            Change::CreateUser { .. }
            | Change::ChangePassword { .. }
            | Change::StayOnDevice { .. } => {
                panic!("it carries a password")
            }
            Change::Operator(_) => panic!("no client may ask for it"),
        })
    }

    /// Sends bytes as they are.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }
}

fn lost(error: FrameError) -> io::Error {
    match error {
        FrameError::Io(error) => error,
        other => io::Error::other(other),
    }
}
