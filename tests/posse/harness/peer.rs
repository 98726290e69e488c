//! A peer of the test's own: it serves a file's metainfo and pieces as told, well or badly, and
//! remembers what it was asked for.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use posse::net::Reader;
use posse::types::{DownloadState, FileFacts, Ticket};
use posse::wire::frame::{read_message as read_frame, write_message};
use posse::wire::peer::{
    ExtendedHandshake, Handshake, MetadataMessage, PeerId, PeerMessage, read_message,
};

use super::sipper::END;
use super::{Content, Device, PATIENCE, RawClient, Sipped, device};

/// The extension id under which this peer wants metadata messages.
const METADATA_ID: u8 = 7;

/// How a peer serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// As it should.
    Honest,
    /// As it should, with that much time before every block.
    Slow(Duration),
    /// One byte of every block is wrong.
    Corrupt,
    /// It offers everything, unchokes, and answers no request.
    Silent,
    /// It sends a byte a second of the first block that it is asked for.
    Drips,
    /// It takes links and says nothing at all.
    Mute,
    /// It closes the link in the middle of a block once it has served that many requests; then it
    /// takes no links any more.
    Dies(usize),
    /// It sends a bitfield with one byte too few.
    ShortBitfield,
    /// It sends an info dictionary that is not the file's.
    FalseInfo,
}

/// What a peer has seen so far.
#[derive(Debug, Default)]
struct Seen {
    requests: Vec<(u32, u32, u32)>,
    links: usize,
    /// Bytes of blocks sent.
    sent: u64,
    /// Bytes of blocks that may be sent in all.
    allowed: u64,
    /// When the last block was sent.
    last: Option<Instant>,
    /// When the last link ended.
    ended: Option<Instant>,
    /// Links that stand.
    open: usize,
    /// Raised by [`EvilPeer::forget`]: older links end.
    epoch: usize,
}

#[derive(Debug)]
struct Shared {
    content: Content,
    info: Vec<u8>,
    behaviour: Behaviour,
    device: Device,
    /// What it shows; set before it announces itself.
    ticket: Mutex<Option<Ticket>>,
    seen: Mutex<Seen>,
    changed: Condvar,
    gone: AtomicBool,
}

/// A peer with a session at one tracker; both end with this value.
#[derive(Debug)]
pub(crate) struct EvilPeer {
    shared: Arc<Shared>,
    pub(crate) address: SocketAddr,
    /// Keeps the announce alive.
    session: RawClient,
}

impl EvilPeer {
    /// Logs `user` in, who is a member of `group`, shares `content` there, and serves it.
    #[track_caller]
    pub(crate) fn start(
        tracker: SocketAddr,
        user: &str,
        group: &str,
        content: &Content,
        behaviour: Behaviour,
    ) -> Self {
        Self::start_as(tracker, user, group, content, &content.facts(), behaviour)
    }

    /// Does the same, and tells the tracker what it likes of the file.
    #[track_caller]
    pub(crate) fn start_as(
        tracker: SocketAddr,
        user: &str,
        group: &str,
        content: &Content,
        facts: &FileFacts,
        behaviour: Behaviour,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let info = content.metainfo().to_bytes();
        let seen = Mutex::new(Seen { allowed: u64::MAX, ..Seen::default() });
        let (content, device) = (content.clone(), device());
        let (changed, gone) = (Condvar::new(), AtomicBool::new(false));
        let ticket = Mutex::new(None);
        let shared =
            Arc::new(Shared { content, info, behaviour, device, ticket, seen, changed, gone });
        std::thread::spawn({
            let shared = shared.clone();
            move || shared.accept(&listener)
        });
        let mut session = RawClient::connect(tracker, &shared.device, address.port())
            .expect("the tracker takes connections");
        session.login(user).expect("the user exists");
        let group = session.group(group).group;
        *shared.ticket.lock() = session.ticket(group);
        session.share(group, facts.clone());
        session.announce(group, facts.info_hash, DownloadState::Seeding);
        Self { shared, address, session }
    }

    /// Its user's session on its device.
    pub(crate) fn session(&mut self) -> &mut RawClient {
        &mut self.session
    }

    /// Waits until all its links have ended, and returns what it had given.
    #[track_caller]
    pub(crate) fn wait_ended(&self) -> Sipped {
        let mut seen = self.shared.seen.lock();
        let late = self
            .shared
            .changed
            .wait_while_for(&mut seen, |seen| seen.open > 0 || seen.ended.is_none(), END)
            .timed_out();
        assert!(!late, "{} links were never ended", seen.open);
        Sipped { bytes: seen.sent, last: seen.last, ended: seen.ended }
    }

    /// Sends `bytes` of blocks in all, counted from the start, and holds further ones back.
    pub(crate) fn allow_bytes(&self, bytes: u64) {
        self.shared.seen.lock().allowed = bytes;
        self.shared.changed.notify_all();
    }

    /// Holds nothing back any more.
    pub(crate) fn lift(&self) {
        self.allow_bytes(u64::MAX);
    }

    /// What was asked for so far: piece, begin, len.
    pub(crate) fn requests(&self) -> Vec<(u32, u32, u32)> {
        self.shared.seen.lock().requests.clone()
    }

    /// Forgets what was asked for so far, and ends the links there are.
    pub(crate) fn forget(&self) {
        let mut seen = self.shared.seen.lock();
        seen.requests.clear();
        seen.epoch += 1;
        self.shared.changed.notify_all();
    }

    /// How many links it has taken.
    pub(crate) fn links(&self) -> usize {
        self.shared.seen.lock().links
    }

    /// Waits until it has been asked for `count` blocks.
    #[track_caller]
    pub(crate) fn wait_requests(&self, count: usize) {
        let mut seen = self.shared.seen.lock();
        let late = self
            .shared
            .changed
            .wait_while_for(&mut seen, |seen| seen.requests.len() < count, PATIENCE)
            .timed_out();
        assert!(!late, "only {} of {count} requests came", seen.requests.len());
    }

    /// Bytes of blocks it has sent.
    pub(crate) fn sent(&self) -> u64 {
        self.shared.seen.lock().sent
    }
}

impl Drop for EvilPeer {
    fn drop(&mut self) {
        self.shared.gone.store(true, Ordering::SeqCst);
        self.shared.changed.notify_all();
        // Wakes the accepting thread, which may be gone.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

impl Shared {
    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming().flatten() {
            if self.is_gone() {
                return;
            }
            let epoch = {
                let mut seen = self.seen.lock();
                seen.links += 1;
                seen.open += 1;
                seen.epoch
            };
            let shared = self.clone();
            // The link's end, for whatever reason, is the link's own business.
            std::thread::spawn(move || {
                let _ = shared.serve(stream, epoch);
                let mut seen = shared.seen.lock();
                seen.open -= 1;
                seen.ended = Some(Instant::now());
                shared.changed.notify_all();
            });
        }
    }

    fn serve(&self, stream: TcpStream, epoch: usize) -> io::Result<()> {
        let (stream, _) = self.device.accept(stream)?;
        let (reader, mut writer) = stream.split();
        let mut reader = BufReader::new(reader);
        // Whatever is shown is taken: whether the dialler may have the file is not what this peer
        // is about.
        let _: Ticket = read_frame(&mut reader, 256).map_err(io::Error::other)?;
        write_message(&mut writer, &self.ticket.lock().ok_or(io::ErrorKind::NotConnected)?)?;
        let theirs = Handshake::read(&mut reader).map_err(io::Error::other)?;
        writer.write_all(
            &Handshake::new(theirs.info_hash, PeerId::of_device(self.device.id)).encode(),
        )?;
        if self.behaviour == Behaviour::Mute {
            return self.wait_end(reader);
        }
        self.greet(&mut writer)?;
        let mut metadata_id = 0;
        while let Ok(message) = read_message(&mut reader) {
            match message {
                PeerMessage::Extended { id: 0, payload } => {
                    metadata_id = ExtendedHandshake::decode(&payload)
                        .ok()
                        .and_then(|h| h.metadata_id)
                        .unwrap_or(0);
                }
                PeerMessage::Extended { id: METADATA_ID, payload } => {
                    self.send_metadata(&mut writer, metadata_id, &payload)?
                }
                PeerMessage::Interested => writer.write_all(&PeerMessage::Unchoke.to_bytes())?,
                PeerMessage::Request { piece, begin, len } => {
                    self.answer(&mut writer, (piece, begin, len), epoch)?
                }
                _ => {}
            }
            if self.is_gone() {
                break;
            }
        }
        Ok(())
    }

    fn wait_end(&self, mut reader: BufReader<Reader>) -> io::Result<()> {
        io::copy(&mut reader, &mut io::sink()).map(|_| ())
    }

    /// Extension handshake, and the claim to have it all.
    fn greet(&self, writer: &mut impl Write) -> io::Result<()> {
        let hello = ExtendedHandshake {
            metadata_id: Some(METADATA_ID),
            metadata_size: Some(self.info.len() as u64),
            requests_max: Some(250),
            ..ExtendedHandshake::default()
        };
        writer.write_all(&PeerMessage::Extended { id: 0, payload: hello.encode() }.to_bytes())?;
        let claim = match self.behaviour {
            Behaviour::ShortBitfield => PeerMessage::Bitfield(vec![
                    0xff;
                    (self.content.geometry().piece_count() as usize / 8)
                        .max(1)
                ]),
            _ => PeerMessage::HaveAll,
        };
        writer.write_all(&claim.to_bytes())
    }

    fn send_metadata(&self, writer: &mut impl Write, id: u8, payload: &[u8]) -> io::Result<()> {
        let Ok(MetadataMessage::Request { part }) = MetadataMessage::decode(payload) else {
            return Ok(());
        };
        let total = self.info.len() as u64;
        let Some(len) = MetadataMessage::part_len(part, total) else {
            return Ok(());
        };
        let begin = part as usize * posse::types::limits::METADATA_PART_LEN;
        let mut bytes = self.info[begin..begin + len].to_vec();
        if self.behaviour == Behaviour::FalseInfo {
            bytes[len / 2] ^= 1;
        }
        let data = MetadataMessage::Data { part, total, bytes };
        writer.write_all(&PeerMessage::Extended { id, payload: data.encode() }.to_bytes())
    }

    fn answer(
        &self,
        writer: &mut impl Write,
        request: (u32, u32, u32),
        epoch: usize,
    ) -> io::Result<()> {
        let (piece, begin, len) = request;
        let number = self.admit(request, epoch).ok_or(io::ErrorKind::ConnectionAborted)?;
        if self.behaviour == Behaviour::Silent {
            return Ok(());
        }
        if self.behaviour == Behaviour::Drips {
            return self.drip(writer, request);
        }
        if let Behaviour::Slow(pace) = self.behaviour {
            std::thread::sleep(pace);
        }
        let from = piece as usize * self.content.piece_len as usize + begin as usize;
        let mut data = self.content.read(from, len as usize);
        if self.behaviour == Behaviour::Corrupt {
            data[0] ^= 0xff;
        }
        let mut bytes = PeerMessage::Piece { piece, begin, data }.to_bytes();
        if matches!(self.behaviour, Behaviour::Dies(after) if number > after) {
            self.gone.store(true, Ordering::SeqCst);
            bytes.truncate(bytes.len() / 2);
            writer.write_all(&bytes)?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        writer.write_all(&bytes)?;
        self.seen.lock().last = Some(Instant::now());
        Ok(())
    }

    fn drip(
        &self,
        writer: &mut impl Write,
        (piece, begin, len): (u32, u32, u32),
    ) -> io::Result<()> {
        let from = piece as usize * self.content.piece_len as usize + begin as usize;
        let data = self.content.read(from, len as usize);
        let bytes = PeerMessage::Piece { piece, begin, data }.to_bytes();
        let (head, data) = bytes.split_at(bytes.len() - len as usize);
        writer.write_all(head)?;
        let mut seen = self.seen.lock();
        for byte in data {
            writer.write_all(&[*byte])?;
            writer.flush()?;
            self.changed.wait_for(&mut seen, Duration::from_secs(1));
            if self.is_gone() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(())
    }

    /// Remembers a request, holds it back until it is allowed, and returns its number, from 1; none
    /// if the link is to end.
    fn admit(&self, request: (u32, u32, u32), epoch: usize) -> Option<usize> {
        let mut seen = self.seen.lock();
        if seen.epoch != epoch {
            return None;
        }
        seen.requests.push(request);
        let number = seen.requests.len();
        self.changed.notify_all();
        let len = u64::from(request.2);
        while seen.sent.saturating_add(len) > seen.allowed {
            if self.is_gone() || seen.epoch != epoch {
                return None;
            }
            self.changed.wait_for(&mut seen, Duration::from_millis(100));
        }
        seen.sent += len;
        (seen.epoch == epoch).then_some(number)
    }
}
