//! The fuzzer's end of a link: says what the input chooses, answers what it is asked well or badly,
//! and checks what it hears.

use std::collections::VecDeque;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::{File, OWN, PIECES, STEPS_MAX, ticket};
use crate::fuzzing::Input;
use crate::swarm::link::handshake::{METADATA_ID, TICKET_ID};
use crate::types::{DeviceId, GroupId, Ticket, UserId, limits};
use crate::wire::Wire;
use crate::wire::frame::{read_message as read_frame_message, to_frame};
use crate::wire::peer::{
    ExtendedHandshake, Handshake, MetadataMessage, PeerError, PeerId, PeerMessage, read_message,
};

/// Requests that a run waits for: each takes a moment.
const WAITS_MAX: usize = 4;
/// How long a run waits for a request.
const WAIT: Duration = Duration::from_millis(5);

/// What the other end asks for.
enum Asked {
    Block { piece: u32, begin: u32, len: u32 },
    Part { part: u32 },
}

/// The fuzzer's end of a link.
pub(super) struct Peer {
    ours: TcpStream,
    reader: BufReader<TcpStream>,
    file: File,
    device: DeviceId,
    /// What the other end has said of what comes before any message: nothing, its ticket, its
    /// handshake.
    heard: u8,
    asked: VecDeque<Asked>,
    waits: usize,
    blocks: usize,
    requests: usize,
}

impl Peer {
    /// Takes its end of a connection, and the file that is talked about.
    pub(super) fn new(ours: TcpStream, file: File) -> Self {
        let reader = BufReader::new(ours.try_clone().expect("there is room for a descriptor"));
        Self {
            ours,
            reader,
            file,
            device: OWN,
            heard: 0,
            asked: VecDeque::new(),
            waits: 0,
            blocks: 0,
            requests: 0,
        }
    }

    /// Does what the input says until it is over; returns how many blocks came, and how many
    /// requests.
    pub(super) fn run(mut self, input: &mut Input<'_>, number: u8) -> (usize, usize) {
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
        // Each run has a device of its own: one that was banned for bad data would not be heard
        // again.
        self.device = DeviceId::from_bytes([number; 32]);
        let mut opening = self.device.as_bytes().to_vec();
        opening.extend(to_frame(&match how & 3 {
            0 => ticket(DeviceId::from_bytes([0; 32]), u64::MAX),
            1 => ticket(self.device, u64::from(input.byte())),
            _ => ticket(self.device, u64::MAX),
        }));
        let handshake =
            Handshake::new(self.file.metainfo.info_hash(), PeerId::of_device(self.device));
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
            10 => PeerMessage::Request {
                piece: number(input),
                begin: begin(input),
                len: begin(input),
            },
            11 => {
                PeerMessage::Cancel { piece: number(input), begin: begin(input), len: begin(input) }
            }
            12 => {
                PeerMessage::Reject { piece: number(input), begin: begin(input), len: begin(input) }
            }
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
        PeerMessage::Extended { id: TICKET_ID, payload: ticket.to_bytes() }
    }

    fn metadata(&self, input: &mut Input<'_>) -> PeerMessage {
        let part = number(input);
        let message = match input.below(3) {
            0 => MetadataMessage::Request { part },
            1 => MetadataMessage::Reject { part },
            _ => self.part(part % 2, input.bool()),
        };
        PeerMessage::Extended { id: METADATA_ID, payload: message.encode() }
    }

    fn part(&self, part: u32, honest: bool) -> MetadataMessage {
        let mut dictionary = self.file.metainfo.to_bytes();
        if !honest {
            dictionary[20] ^= 1;
        }
        let bytes = dictionary
            .chunks(limits::METADATA_PART_LEN)
            .nth(part as usize)
            .unwrap_or_default()
            .to_vec();
        MetadataMessage::Data { part, total: dictionary.len() as u64, bytes }
    }

    fn unasked_block(&self, input: &mut Input<'_>) -> PeerMessage {
        let (piece, begin, len) =
            (number(input), begin(input), begin(input).min(limits::BLOCK_LEN));
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
                PeerMessage::Extended { id: METADATA_ID, payload }
            }
            Some(Asked::Block { piece, begin, len }) => {
                let mut data = self
                    .file
                    .block(piece, begin, len)
                    .expect("only blocks of the file are asked for")
                    .to_vec();
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
                let shown: Ticket =
                    read_frame_message(&mut self.reader, limits::TRACKER_FRAME_LEN_MAX).ok()?;
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
                assert_eq!(
                    right,
                    Some(&data[..]),
                    "block {begin} of piece {piece} is not what is in the file"
                );
                self.blocks += 1;
            }
            Ok(PeerMessage::Extended { id: 3, payload }) => {
                match MetadataMessage::decode(&payload).expect("it can be read") {
                    MetadataMessage::Request { part } => self.asked.push_back(Asked::Part { part }),
                    MetadataMessage::Data { part, bytes, .. } => {
                        assert!(
                            self.part(part, true)
                                == MetadataMessage::Data { part, total: self.total(), bytes }
                        );
                    }
                    MetadataMessage::Reject { .. } | MetadataMessage::Unknown { .. } => {}
                }
            }
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
