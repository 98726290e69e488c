//! A link that a client accepted, from its first byte to its last, and the collection of a metainfo: for the fuzz targets.
//!
//! The engine is real, with its pool and its disk, and knows three files: one that it seeds, one that it downloads, and one whose metainfo it
//! has to ask for first. The link is served by a thread of this run; the engine is made anew every few runs.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sha1::{Digest, Sha1};

use super::fetch::{self, Collected, MetainfoFetch};
use super::{DownloadSpec, Engine, EngineConfig, EngineEvent, Host, LinkKey, Proof, SeedSpec, session};
use crate::fuzzing::Input;
use crate::fuzzing::harness::{Scratch, check_threads, pair};
use crate::net::Transport;
use crate::types::{
    Bitfield, DeviceId, FileFacts, FileStamp, Geometry, GroupId, InfoHash, Sha1Digest, Signature, Ticket, TicketClaims, UserId,
    limits,
};
use crate::wire::Wire;
use crate::wire::frame::{read_message as read_frame_message, to_frame};
use crate::wire::metainfo::Metainfo;
use crate::wire::peer::{ExtendedHandshake, Handshake, MetadataMessage, PeerError, PeerId, PeerMessage, read_message};

/// Runs that one engine serves.
const RUNS: u8 = 64;
/// Steps of one run.
const STEPS_MAX: usize = 200;
/// Requests that a run waits for: each takes a moment.
const WAITS_MAX: usize = 4;
/// How long a run waits for a request.
const WAIT: Duration = Duration::from_millis(5);
/// Pieces in each file, and bytes in the last one.
const PIECES: usize = 5;
const LAST_LEN: usize = 1000;

/// The group that everybody is in, and this engine's device.
const GROUP: GroupId = GroupId::from_bytes([0x22; 16]);
const OWN: DeviceId = DeviceId::from_bytes([0xee; 32]);

/// Lets everybody in whose ticket names the right device and group.
struct Anybody;

impl Host for Anybody {
    fn ticket_for(&self, _: InfoHash, _: DeviceId) -> Option<Ticket> {
        None
    }

    fn own_ticket(&self, group: GroupId) -> Option<Ticket> {
        (group == GROUP).then(|| ticket(OWN, u64::MAX))
    }

    fn check_ticket(&self, ticket: &Ticket, device: DeviceId) -> Option<Proof> {
        let TicketClaims { group, user, issued_ms, expires_ms, .. } = ticket.claims;
        let expires = Instant::now() + Duration::from_millis(expires_ms.min(600_000));
        (ticket.claims.device == device && expires_ms > 0).then_some(Proof { group, user, issued_ms, expires })
    }

    fn is_offered(&self, _: InfoHash, group: GroupId) -> bool {
        group == GROUP
    }

    fn journal(&self, _: InfoHash, _: &Bitfield) {}

    fn metainfo(&self, _: InfoHash, _: &Arc<Metainfo>) {}

    fn event(&self, _: EngineEvent) {}
}

/// A ticket of the group, good for milliseconds; nobody here looks at signatures.
fn ticket(device: DeviceId, expires_ms: u64) -> Ticket {
    let claims = TicketClaims { group: GROUP, user: UserId::from_bytes([7; 16]), device, issued_ms: 1, expires_ms };
    Ticket { claims, signature: Signature::from_bytes([0xab; 64]) }
}

struct Running {
    engine: Arc<Engine>,
    runs: u8,
    files: [File; 3],
    _directory: Scratch,
}

#[derive(Clone)]
struct File {
    data: Vec<u8>,
    metainfo: Arc<Metainfo>,
}

static RUNNING: Mutex<Option<Running>> = Mutex::new(None);

/// One link that a client accepted.
pub fn link_session(bytes: &[u8]) {
    run(bytes);
}

/// Serves one link; returns how many blocks came of it, and how many requests.
fn run(bytes: &[u8]) -> (usize, usize) {
    check_threads();
    let mut place = RUNNING.lock();
    let running = place.get_or_insert_with(Running::start);
    running.runs += 1;
    let mut input = Input::new(bytes);
    let file = running.files[input.below(3)].clone();
    let (ours, theirs) = pair(false);
    let engine = running.engine.clone();
    let came = std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = session::accept(&engine.inner, theirs.clone(), || true);
            theirs.close();
        });
        let peer = Peer::new(ours, file);
        peer.run(&mut input, running.runs)
    });
    if running.runs == RUNS {
        let stayed = running.engine.stop(Duration::from_secs(8));
        assert!(stayed.is_empty(), "threads stayed: {stayed:?}");
        *place = None;
    }
    check_threads();
    came
}

impl Running {
    fn start() -> Self {
        let directory = Scratch::new();
        let mut config = EngineConfig::new(Transport::Plain(OWN));
        (config.threads, config.bind_ip) = (2, None);
        let engine = Engine::start(config, Arc::new(Anybody)).expect("there is room for a few threads");
        let files = ["seeded", "fetched", "unknown"].map(File::new);
        for (at, file) in files.iter().enumerate() {
            let path = directory.path().join(file.metainfo.name().as_str());
            if at == 0 {
                std::fs::write(&path, &file.data).expect("the directory can be written");
                let stamp = FileStamp::new(&std::fs::metadata(&path).expect("it has just been written"));
                engine.seed(SeedSpec { metainfo: file.metainfo.clone(), path, stamp }).expect("nothing is in its way");
            } else {
                let metainfo = (at == 1).then(|| file.metainfo.clone());
                let spec = DownloadSpec { facts: file.facts(), target: path, metainfo, verified: None, paused: false };
                engine.download(spec).expect("nothing is in its way");
            }
        }
        Self { engine, runs: 0, files, _directory: directory }
    }
}

impl File {
    /// Makes a small file that its name determines.
    fn new(name: &str) -> Self {
        let len = (PIECES - 1) * limits::BLOCK_LEN as usize + LAST_LEN;
        let first = name.as_bytes()[0];
        let data: Vec<u8> = (0..len).map(|at| (at / 251) as u8 ^ (at as u8) ^ first).collect();
        let geometry = Geometry::new(len as u64, limits::BLOCK_LEN).expect("a short file has few pieces");
        let hashes = data.chunks(limits::BLOCK_LEN as usize).map(|piece| Sha1Digest::from_bytes(Sha1::digest(piece).into()));
        let metainfo = Metainfo::new(name.parse().expect("a plain name"), geometry, hashes.collect());
        Self { data, metainfo: Arc::new(metainfo.expect("one hash a piece")) }
    }

    fn facts(&self) -> FileFacts {
        let (geometry, name) = (self.metainfo.geometry(), self.metainfo.name().clone());
        let sha1 = Sha1Digest::from_bytes(Sha1::digest(&self.data).into());
        FileFacts { info_hash: self.metainfo.info_hash(), name, len: geometry.len(), piece_len: geometry.piece_len(), sha1 }
    }

    fn block(&self, piece: u32, begin: u32, len: u32) -> Option<&[u8]> {
        let span = self.metainfo.geometry().span(piece, begin, len)?;
        let start = (self.metainfo.geometry().offset(span.piece) + u64::from(begin)) as usize;
        Some(&self.data[start..start + len as usize])
    }
}

/// What the other end asks for.
enum Asked {
    Block { piece: u32, begin: u32, len: u32 },
    Part { part: u32 },
}

/// The fuzzer's end of a link.
struct Peer {
    ours: TcpStream,
    reader: BufReader<TcpStream>,
    file: File,
    device: DeviceId,
    /// What the other end has said of what comes before any message: nothing, its ticket, its handshake.
    heard: u8,
    asked: VecDeque<Asked>,
    waits: usize,
    blocks: usize,
    requests: usize,
}

impl Peer {
    fn new(ours: TcpStream, file: File) -> Self {
        let reader = BufReader::new(ours.try_clone().expect("there is room for a descriptor"));
        Self { ours, reader, file, device: OWN, heard: 0, asked: VecDeque::new(), waits: 0, blocks: 0, requests: 0 }
    }

    fn run(mut self, input: &mut Input<'_>, number: u8) -> (usize, usize) {
        self.begin(input, number);
        for _ in 0..STEPS_MAX {
            // Who is hung up on has nothing more to say.
            if input.is_over() || self.step(input).is_none() {
                break;
            }
        }
        let _ = self.ours.shutdown(Shutdown::Write);
        while self.hear().is_some() {}
        (self.blocks, self.requests)
    }

    /// Shakes hands, well or badly.
    fn begin(&mut self, input: &mut Input<'_>, number: u8) {
        let how = input.byte();
        // Each run has a device of its own: one that was banned for bad data would not be heard again.
        self.device = DeviceId::from_bytes([number; 32]);
        let mut opening = self.device.as_bytes().to_vec();
        opening.extend(to_frame(&match how & 3 {
            0 => ticket(DeviceId::from_bytes([0; 32]), u64::MAX),
            1 => ticket(self.device, u64::from(input.byte())),
            _ => ticket(self.device, u64::MAX),
        }));
        let handshake = Handshake::new(self.file.metainfo.info_hash(), PeerId::of_device(self.device));
        if how & 4 == 0 {
            opening.extend(handshake.encode());
        }
        if how & 8 == 0 {
            let told = ExtendedHandshake {
                metadata_id: (how & 16 == 0).then_some(3),
                ticket_id: Some(4),
                metadata_size: (how & 32 == 0).then_some(self.total()),
                block_len_max: (how & 64 == 0).then_some(limits::BLOCK_LEN_MAX),
                requests_max: (how & 128 == 0).then_some(250),
                ..ExtendedHandshake::default()
            };
            PeerMessage::Extended { id: 0, payload: told.encode() }.encode(&mut opening);
        }
        let _ = self.ours.write_all(&opening);
        let _ = self.hear_opening();
    }

    /// Reads what comes before any message: a device, a ticket, a handshake.
    fn hear_opening(&mut self) -> Option<()> {
        let mut id = [0; DeviceId::LEN];
        self.reader.read_exact(&mut id).ok()?;
        assert_eq!(DeviceId::from_bytes(id), OWN);
        Some(())
    }

    fn step(&mut self, input: &mut Input<'_>) -> Option<()> {
        let message = match input.below(21) {
            0 => PeerMessage::Choke,
            1 | 2 => PeerMessage::Unchoke,
            3 => PeerMessage::Interested,
            4 => PeerMessage::NotInterested,
            5 => PeerMessage::Have(number(input)),
            6 => PeerMessage::Bitfield(vec![input.byte()]),
            7 => PeerMessage::HaveAll,
            8 => PeerMessage::HaveNone,
            9 => PeerMessage::Suggest(number(input)),
            10 => PeerMessage::Request { piece: number(input), begin: begin(input), len: begin(input) },
            11 => PeerMessage::Cancel { piece: number(input), begin: begin(input), len: begin(input) },
            12 => PeerMessage::Reject { piece: number(input), begin: begin(input), len: begin(input) },
            13 => self.metadata(input),
            14 => self.unasked_block(input),
            15 | 16 => return self.answer(input),
            17 => self.extended(input),
            18 => self.newer_ticket(input),
            _ => {
                let len = usize::from(input.byte());
                return self.ours.write_all(input.take(len)).ok();
            }
        };
        self.say(&message)
    }

    fn say(&mut self, message: &PeerMessage) -> Option<()> {
        self.ours.write_all(&message.to_bytes()).ok()
    }

    fn extended(&self, input: &mut Input<'_>) -> PeerMessage {
        let id = input.byte() % 4;
        let len = usize::from(input.byte());
        PeerMessage::Extended { id, payload: input.take(len).to_vec() }
    }

    fn newer_ticket(&self, input: &mut Input<'_>) -> PeerMessage {
        let mut ticket = ticket(self.device, u64::from(input.byte()) << 8);
        match input.below(6) {
            0 => ticket.claims.group = GroupId::from_bytes([input.byte(); 16]),
            1 => ticket.claims.user = UserId::from_bytes([input.byte(); 16]),
            2 => ticket.claims.device = OWN,
            _ => {}
        }
        PeerMessage::Extended { id: session::TICKET_ID, payload: ticket.to_bytes() }
    }

    fn metadata(&self, input: &mut Input<'_>) -> PeerMessage {
        let part = number(input);
        let message = match input.below(3) {
            0 => MetadataMessage::Request { part },
            1 => MetadataMessage::Reject { part },
            _ => self.part(part % 2, input.bool()),
        };
        PeerMessage::Extended { id: session::METADATA_ID, payload: message.encode() }
    }

    fn part(&self, part: u32, honest: bool) -> MetadataMessage {
        let mut dictionary = self.file.metainfo.to_bytes();
        if !honest {
            dictionary[20] ^= 1;
        }
        let bytes = dictionary.chunks(limits::METADATA_PART_LEN).nth(part as usize).unwrap_or_default().to_vec();
        MetadataMessage::Data { part, total: dictionary.len() as u64, bytes }
    }

    fn unasked_block(&self, input: &mut Input<'_>) -> PeerMessage {
        let (piece, begin, len) = (number(input), begin(input), begin(input).min(limits::BLOCK_LEN));
        PeerMessage::Piece { piece, begin, data: vec![input.byte(); len as usize] }
    }

    /// Waits for a request, and answers it well or badly.
    fn answer(&mut self, input: &mut Input<'_>) -> Option<()> {
        self.hear_requests();
        let how = input.below(6);
        let message = match self.asked.pop_front() {
            None => return Some(()),
            Some(Asked::Part { part }) => {
                let payload = self.part(part, how != 0).encode();
                PeerMessage::Extended { id: session::METADATA_ID, payload }
            }
            Some(Asked::Block { piece, begin, len }) => {
                let mut data = self.file.block(piece, begin, len).expect("only blocks of the file are asked for").to_vec();
                match how {
                    0 => data[0] ^= 1,
                    1 => return self.say(&PeerMessage::Reject { piece, begin, len }),
                    2 => data.truncate(usize::from(input.byte())),
                    _ => {}
                }
                PeerMessage::Piece { piece, begin, data }
            }
        };
        self.say(&message)
    }

    /// Takes in what the other end has said, until there is a request or nothing for a moment.
    fn hear_requests(&mut self) {
        if self.waits == WAITS_MAX {
            return;
        }
        while self.asked.is_empty() {
            if self.reader.buffer().is_empty() {
                self.waits += 1;
                let _ = self.ours.set_read_timeout(Some(WAIT));
                let came = self.ours.peek(&mut [0]);
                let _ = self.ours.set_read_timeout(Some(Duration::from_secs(8)));
                if !matches!(came, Ok(1..)) || self.waits == WAITS_MAX {
                    return;
                }
            }
            // What has begun to come comes whole.
            if self.hear().is_none() {
                return;
            }
        }
    }

    /// Reads one message and checks that it is one that a client may send; `None` at the end.
    fn hear(&mut self) -> Option<()> {
        match self.heard {
            // A ticket comes before everything else, and only in answer to a good one.
            0 => {
                let shown: Ticket = read_frame_message(&mut self.reader, limits::TRACKER_FRAME_LEN_MAX).ok()?;
                assert_eq!(shown, ticket(OWN, u64::MAX));
            }
            1 => {
                let handshake = Handshake::read(&mut self.reader).ok()?;
                assert_eq!(handshake.info_hash, self.file.metainfo.info_hash());
            }
            _ => return self.hear_message(),
        }
        self.heard += 1;
        Some(())
    }

    fn hear_message(&mut self) -> Option<()> {
        match read_message(&mut self.reader) {
            Ok(PeerMessage::Request { piece, begin, len }) => {
                self.requests += 1;
                self.asked.push_back(Asked::Block { piece, begin, len });
            }
            Ok(PeerMessage::Piece { piece, begin, data }) => {
                let right = self.file.block(piece, begin, data.len() as u32);
                assert_eq!(right, Some(&data[..]), "block {begin} of piece {piece} is not what is in the file");
                self.blocks += 1;
            }
            Ok(PeerMessage::Extended { id: 3, payload }) => match MetadataMessage::decode(&payload).expect("it can be read") {
                MetadataMessage::Request { part } => self.asked.push_back(Asked::Part { part }),
                MetadataMessage::Data { part, bytes, .. } => {
                    assert!(self.part(part, true) == MetadataMessage::Data { part, total: self.total(), bytes });
                }
                MetadataMessage::Reject { .. } | MetadataMessage::Unknown { .. } => {}
            },
            Ok(PeerMessage::Unknown { id, .. }) => panic!("a client of ours sends message {id}"),
            Ok(_) => {}
            Err(PeerError::Wire(error)) => panic!("{error}"),
            Err(_) => return None,
        }
        Some(())
    }

    fn total(&self) -> u64 {
        self.file.metainfo.to_bytes().len() as u64
    }
}

/// The number of a piece or part, mostly one that there is.
fn number(input: &mut Input<'_>) -> u32 {
    match input.byte() {
        255 => input.u32(),
        byte => u32::from(byte) % (PIECES as u32 + 1),
    }
}

/// A place or a length within a piece, mostly one that there is.
fn begin(input: &mut Input<'_>) -> u32 {
    match input.byte() {
        255 => input.u32(),
        254 => limits::BLOCK_LEN,
        byte => u32::from(byte) << 7,
    }
}

/// The collection of a metainfo from peers that send whatever they like.
pub fn metainfo_fetch(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let piece_count = 1 + u64::from(input.u16()) % 4096;
    let geometry = Geometry::new(piece_count * u64::from(limits::BLOCK_LEN), limits::BLOCK_LEN).expect("it has few pieces");
    let hashes = geometry.indexes().map(|_| Sha1Digest::from_bytes([7; 20])).collect();
    let metainfo = Metainfo::new("film.mp4".parse().expect("a file name"), geometry, hashes).expect("one hash a piece");
    let facts = FileFacts {
        info_hash: metainfo.info_hash(),
        name: metainfo.name().clone(),
        len: geometry.len(),
        piece_len: geometry.piece_len(),
        sha1: Sha1Digest::from_bytes([0; 20]),
    };
    let dictionary = metainfo.to_bytes();
    assert_eq!(fetch::dictionary_len(&facts, geometry), dictionary.len());
    let mut run =
        FetchRun { fetch: MetainfoFetch::new(dictionary.len()), dictionary, facts, now: Duration::ZERO, asked: BTreeMap::new() };
    for _ in 0..STEPS_MAX {
        if input.is_over() || run.step(&mut input) {
            return;
        }
    }
}

struct FetchRun {
    fetch: MetainfoFetch,
    dictionary: Vec<u8>,
    facts: FileFacts,
    now: Duration,
    /// What was asked of whom, and never more than they may be asked.
    asked: BTreeMap<(LinkKey, u32), Duration>,
}

impl FetchRun {
    /// Takes one step; true when the metainfo is there.
    fn step(&mut self, input: &mut Input<'_>) -> bool {
        let (what, link) = (input.below(12), LinkKey(input.below(4) as u64));
        match what {
            0 | 1 => self.fetch.offer(link, self.dictionary.len() as u64),
            2 => self.fetch.offer(link, input.u64()),
            3 => self.fetch.leave(link),
            4 => self.fetch.refuse(link),
            5 => self.now += Duration::from_millis(u64::from(input.u16())),
            6 | 7 => {
                for (link, part) in self.fetch.ask(self.now) {
                    assert!(MetadataMessage::part_len(part, self.dictionary.len() as u64).is_some());
                    self.asked.insert((link, part), self.now);
                }
            }
            8 => return self.part(link, input.u32(), input.take(9).to_vec()),
            _ => return self.answer(input),
        }
        false
    }

    /// Answers something that was asked, rightly or not.
    fn answer(&mut self, input: &mut Input<'_>) -> bool {
        if self.asked.is_empty() {
            return false;
        }
        let at = usize::from(input.byte()) % self.asked.len();
        let Some(((link, part), _)) = self.asked.iter().nth(at).map(|(key, since)| (*key, *since)) else { return false };
        self.asked.remove(&(link, part));
        let bytes = self.dictionary.chunks(limits::METADATA_PART_LEN).nth(part as usize).unwrap_or_default();
        let mut bytes = bytes.to_vec();
        match input.below(8) {
            0 => bytes[0] ^= 1,
            1 => bytes.truncate(usize::from(input.byte())),
            _ => {}
        }
        self.part(link, part, bytes)
    }

    fn part(&mut self, link: LinkKey, part: u32, bytes: Vec<u8>) -> bool {
        let Collected::Bytes(bytes) = self.fetch.part(self.now, link, part, bytes) else { return false };
        match fetch::check(&bytes, &self.facts) {
            Some(metainfo) => {
                assert_eq!(metainfo.to_bytes(), self.dictionary);
                true
            }
            None => {
                self.fetch.bad();
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::seeds::seeds;

    /// A run that is refused everything proves nothing.
    #[test]
    fn who_shows_a_good_ticket_is_served_and_asked() {
        let seeds = seeds("link_session");
        let seed = |name: &str| &seeds.iter().find(|(seed, _)| seed == name).unwrap().1;
        // A request may come too late for a run on a busy machine.
        let often = |name: &str| (0..50).map(|_| run(seed(name))).reduce(|a, b| (a.0.max(b.0), a.1.max(b.1))).unwrap();
        assert!(often("served").0 > 0);
        assert!(often("fetched").1 > 0);
        assert_eq!(often("stranger"), (0, 0));
    }
}
