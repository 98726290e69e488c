//! The receiving direction: records are taken one after the other, and what the protocol itself
//! says in them is heeded.
//!
//! **Invariant:** data is handed out after its whole record was found to be genuine, in the order
//! in which it was sent, once. After the other end's farewell there is none.

use std::sync::atomic::Ordering;

use rustls::{AlertDescription, Error, HandshakeType, InvalidMessage, PeerMisbehaved};

use super::buffers::{ALERT, DATA, HANDSHAKE, HEADER_LEN, Input};
use super::keys::Key;
use super::{Control, Received};

/// Records in a row without data: each costs more than it takes to send, a new key above all.
const EMPTY_MAX: u32 = 32;

#[derive(Debug)]
pub(super) struct Receiving {
    input: Input,
    key: Key,
    /// Whether the other end is the one that may send tickets.
    is_client: bool,
    /// Records since the last data.
    empty: u32,
    /// The other end has said farewell.
    closed: bool,
    /// What was wrong with the record behind data that was handed out.
    failed: Option<Error>,
}

impl Receiving {
    pub(super) fn new(key: Key, is_client: bool, input: Input) -> Self {
        Self { input, key, is_client, empty: 0, closed: false, failed: None }
    }

    /// Tells whether data, the end or an error can be read of what has come. What the protocol
    /// itself says is heeded meanwhile.
    pub(super) fn has_input(&mut self, control: &Control) -> bool {
        while !self.closed && self.failed.is_none() && !self.input.has_plain() {
            match self.next(&mut [], control) {
                Ok(Some(_)) => {}
                Ok(None) => {
                    self.input.shrink();
                    return false;
                }
                Err(e) => self.failed = Some(e),
            }
        }
        true
    }

    pub(super) fn lend(&mut self) -> Input {
        std::mem::take(&mut self.input)
    }

    pub(super) fn put_back(&mut self, input: Input) {
        self.input = input;
    }

    pub(super) fn read(&mut self, buffer: &mut [u8], control: &Control) -> Result<Received, Error> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut filled = self.input.take(buffer);
        while filled < buffer.len() && !self.closed {
            match self.next(&mut buffer[filled..], control) {
                Ok(Some(len)) => filled += len,
                Err(e) if filled > 0 => {
                    // What came before it is genuine.
                    self.failed = Some(e);
                    break;
                }
                Err(e) => return Err(e),
                Ok(None) if filled > 0 => break,
                Ok(None) => return Ok(Received::More(self.lend())),
            }
        }
        match filled {
            0 if self.closed => Ok(Received::Closed),
            _ => Ok(Received::Bytes(filled)),
        }
    }

    /// Takes the next record, if it is there; returns how much data of it is in `room`.
    fn next(&mut self, room: &mut [u8], control: &Control) -> Result<Option<usize>, Error> {
        let Some((header, body)) = self.input.record()? else { return Ok(None) };
        let record_len = HEADER_LEN + body.len();
        let (kind, len, in_room) = self.key.open(header, body, room)?;
        if kind != DATA {
            // These are rare and short.
            let content = if in_room { room[..len].to_vec() } else { body[..len].to_vec() };
            self.input.done(record_len);
            self.count(0)?;
            self.heed(kind, &content, control)?;
            return Ok(Some(0));
        }
        self.count(len)?;
        if in_room {
            self.input.done(record_len);
            return Ok(Some(len));
        }
        self.input.decrypted(record_len, len);
        Ok(Some(self.input.take(room)))
    }

    fn count(&mut self, len: usize) -> Result<(), Error> {
        self.empty = if len > 0 { 0 } else { self.empty + 1 };
        if self.empty > EMPTY_MAX {
            Err(PeerMisbehaved::TooManyEmptyFragments.into())
        } else {
            Ok(())
        }
    }

    fn heed(&mut self, kind: u8, content: &[u8], control: &Control) -> Result<(), Error> {
        match kind {
            ALERT | HANDSHAKE if content.is_empty() => {
                Err(InvalidMessage::InvalidEmptyPayload.into())
            }
            ALERT => self.alert(content),
            HANDSHAKE => self.messages(content, control),
            _ => Err(InvalidMessage::InvalidContentType.into()),
        }
    }

    /// An alert fills its record (RFC 8446, section 5.1), and all but two of them end the
    /// connection whatever level they name (section 6).
    fn alert(&mut self, content: &[u8]) -> Result<(), Error> {
        let code = match *content {
            [_, code] => code,
            [_, _, ..] => return Err(InvalidMessage::TrailingData("an alert").into()),
            _ => return Err(InvalidMessage::MissingData("an alert").into()),
        };
        match AlertDescription::from(code) {
            AlertDescription::CloseNotify => self.closed = true,
            // The farewell follows.
            AlertDescription::UserCanceled => {}
            other => return Err(Error::AlertReceived(other)),
        }
        Ok(())
    }

    /// What comes as part of the handshake, behind it. Each message has a few bytes, and comes
    /// whole: nobody honest sends half a one.
    fn messages(&mut self, mut content: &[u8], control: &Control) -> Result<(), Error> {
        while !content.is_empty() {
            let half = || Error::General("it sends half a message of TLS itself".to_owned());
            let (&[kind, high, middle, low], rest) =
                content.split_first_chunk().ok_or_else(half)?;
            let len = u32::from_be_bytes([0, high, middle, low]) as usize;
            let (message, rest) = rest.split_at_checked(len).ok_or_else(half)?;
            match (HandshakeType::from(kind), message) {
                // A key must not change in the middle of a record.
                (HandshakeType::KeyUpdate, _) if !rest.is_empty() => {
                    return Err(PeerMisbehaved::MessageInterleavedWithHandshakeMessage.into());
                }
                (HandshakeType::KeyUpdate, [0]) => {
                    self.key = control.secrets.lock().next_to_receive()?
                }
                (HandshakeType::KeyUpdate, [1]) => {
                    self.key = control.secrets.lock().next_to_receive()?;
                    control.new_key_due.store(true, Ordering::Release);
                }
                (HandshakeType::KeyUpdate, _) => {
                    return Err(InvalidMessage::InvalidKeyUpdate.into());
                }
                // Sessions are not resumed here, so that nothing is to be remembered.
                (HandshakeType::NewSessionTicket, _) if self.is_client => {}
                _ => {
                    return Err(InvalidMessage::UnexpectedMessage(
                        "a handshake behind the handshake",
                    )
                    .into());
                }
            }
            content = rest;
        }
        Ok(())
    }
}
