//! The receiving direction: records are taken one after the other, and what the protocol itself says in them is heeded.
//!
//! **Invariant:** data is handed out after its whole record was found to be genuine, in the order in which it was sent, once. After the other
//! end's farewell there is none.

use std::sync::atomic::Ordering;

use rustls::{AlertDescription, Error, HandshakeType, InvalidMessage, PeerMisbehaved};

use super::buffers::{ALERT, DATA, HANDSHAKE, HEADER_LEN, Input};
use super::keys::Key;
use super::{Control, Received};

/// New keys in a row without data between them: each costs more than the record it came in.
const NEW_KEYS_MAX: u32 = 32;

#[derive(Debug)]
pub(super) struct Receiving {
    input: Input,
    key: Key,
    /// Whether the other end is the one that may send tickets.
    is_client: bool,
    /// New keys since the last data.
    new_keys: u32,
    /// The other end has said farewell.
    closed: bool,
}

impl Receiving {
    pub(super) fn new(key: Key, is_client: bool, input: Input) -> Self {
        Self { input, key, is_client, new_keys: 0, closed: false }
    }

    pub(super) fn has_input(&mut self) -> bool {
        if self.closed || self.input.is_readable() {
            return true;
        }
        self.input.shrink();
        false
    }

    pub(super) fn put_back(&mut self, input: Input) {
        self.input = input;
    }

    pub(super) fn read(&mut self, buffer: &mut [u8], control: &Control) -> Result<Received, Error> {
        let mut filled = self.input.take(buffer);
        while filled < buffer.len() && !self.closed {
            match self.next(&mut buffer[filled..], control)? {
                Some(len) => filled += len,
                None if filled > 0 => break,
                None => return Ok(Received::More(std::mem::take(&mut self.input))),
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
            self.heed(kind, &content, control)?;
            return Ok(Some(0));
        }
        if len > 0 {
            self.new_keys = 0;
        }
        if in_room {
            self.input.done(record_len);
            return Ok(Some(len));
        }
        self.input.decrypted(record_len, len);
        Ok(Some(self.input.take(room)))
    }

    fn heed(&mut self, kind: u8, content: &[u8], control: &Control) -> Result<(), Error> {
        match kind {
            ALERT => self.alert(content),
            HANDSHAKE if !content.is_empty() => self.messages(content, control),
            HANDSHAKE => Err(InvalidMessage::InvalidEmptyPayload.into()),
            _ => Err(InvalidMessage::InvalidContentType.into()),
        }
    }

    /// An alert fills its record (RFC 8446, section 5.1), and all but two of them end the connection whatever level they name (section 6).
    fn alert(&mut self, content: &[u8]) -> Result<(), Error> {
        let &[_, code] = content else { return Err(InvalidMessage::MessageTooLarge.into()) };
        match AlertDescription::from(code) {
            AlertDescription::CloseNotify => self.closed = true,
            // The farewell follows.
            AlertDescription::UserCanceled => {}
            other => return Err(Error::AlertReceived(other)),
        }
        Ok(())
    }

    /// What comes as part of the handshake, behind it. Each message has a few bytes, and comes whole: nobody honest sends half a one.
    fn messages(&mut self, mut content: &[u8], control: &Control) -> Result<(), Error> {
        while !content.is_empty() {
            let half = || Error::General("it sends half a message of TLS itself".to_owned());
            let (&[kind, high, middle, low], rest) = content.split_first_chunk().ok_or_else(half)?;
            let len = u32::from_be_bytes([0, high, middle, low]) as usize;
            let (message, rest) = rest.split_at_checked(len).ok_or_else(half)?;
            match (HandshakeType::from(kind), message) {
                // A key must not change in the middle of a record.
                (HandshakeType::KeyUpdate, _) if !rest.is_empty() => {
                    return Err(PeerMisbehaved::MessageInterleavedWithHandshakeMessage.into());
                }
                (HandshakeType::KeyUpdate, [0]) => self.new_key(control)?,
                (HandshakeType::KeyUpdate, [1]) => {
                    self.new_key(control)?;
                    control.new_key_due.store(true, Ordering::Release);
                }
                (HandshakeType::KeyUpdate, _) => return Err(InvalidMessage::InvalidKeyUpdate.into()),
                // Sessions are not resumed here, so that nothing is to be remembered.
                (HandshakeType::NewSessionTicket, _) if self.is_client => {}
                _ => return Err(InvalidMessage::UnexpectedMessage("a handshake behind the handshake").into()),
            }
            content = rest;
        }
        Ok(())
    }

    fn new_key(&mut self, control: &Control) -> Result<(), Error> {
        self.new_keys += 1;
        if self.new_keys > NEW_KEYS_MAX {
            return Err(PeerMisbehaved::TooManyKeyUpdateRequests.into());
        }
        self.key = control.secrets.lock().next_to_receive()?;
        Ok(())
    }
}
