//! TLS 1.3 of one connection, between encrypted bytes that were received and those to be sent (RFC
//! 8446).
//!
//! **Invariant:** no IO. Whoever holds the lock of a direction encrypts or decrypts; bytes that
//! were received wait in here, so that any reader of the connection goes on where the last one
//! stopped. Whatever is not exactly what the other end has to send next ends the connection.
//!
//! The handshake is rustls's ([`handshake`]). The records behind it are ours, with the keys that
//! rustls derives ([`keys`]), because no interface of rustls decrypts to where the data is wanted:
//! it would have to be copied there from where it was decrypted. A record is decrypted on its way
//! from where it was received into the reader's buffer, and encrypted on its way from the writer's
//! to where it is sent from. Only one that does not fit into what the reader has asked for is
//! decrypted in place, and copied.
//!
//! Either direction has a lock of its own ([`receiving`], [`sending`]). What the one has to say to
//! the other is a word or two in [`Control`].

mod buffers;
mod handshake;
mod keys;
mod receiving;
mod sending;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use rustls::{AlertDescription, Error, ExtractedSecrets, InvalidMessage};

pub(super) use self::buffers::{Input, Output};
pub(super) use self::handshake::{Handshake, Progress};
use self::keys::{Key, Secrets};
use self::receiving::Receiving;
pub(super) use self::sending::Sending;

/// TLS between its handshake and its end.
#[derive(Debug)]
pub(super) struct TlsStream {
    receiving: Mutex<Receiving>,
    sending: Mutex<Sending>,
    control: Control,
}

/// What concerns both directions.
struct Control {
    /// What the next keys come from; taken when there is one to be made, and nothing is locked
    /// meanwhile but the direction it is for.
    secrets: Mutex<Secrets>,
    /// The other end has changed its key and asks for a new one of ours: it comes before the next
    /// data.
    new_key_due: AtomicBool,
    /// The connection has ended, because something was wrong with what was received: nothing more
    /// is sent but the reason.
    broken: AtomicBool,
    /// That reason, as the code of an alert.
    reason: AtomicU8,
}

/// What came of an attempt to read.
#[derive(Debug)]
pub(super) enum Received {
    /// So many bytes.
    Bytes(usize),
    /// The end.
    Closed,
    /// More has to be received first: into this, which is to be put back.
    More(Input),
}

impl TlsStream {
    /// Goes on where the handshake has ended; behind it came `input`, which is still encrypted.
    fn new(secrets: Secrets, traffic: ExtractedSecrets, input: Input) -> Result<Self, Error> {
        let is_client = matches!(secrets, Secrets::Client(_));
        let (receiving, records_max) = (Key::new(traffic.rx)?, secrets.records_max());
        Ok(Self {
            receiving: Mutex::new(Receiving::new(receiving, is_client, input)),
            sending: Mutex::new(Sending::new(Key::new(traffic.tx)?, records_max)),
            control: Control {
                secrets: Mutex::new(secrets),
                new_key_due: AtomicBool::new(false),
                broken: AtomicBool::new(false),
                reason: AtomicU8::new(AlertDescription::CloseNotify.into()),
            },
        })
    }

    /// Tells whether data, the end or an error can be read without receiving more. If not, what is
    /// not needed until more comes is given back.
    pub(super) fn has_input(&self) -> bool {
        self.control.broken.load(Ordering::Relaxed)
            || self.receiving.lock().has_input(&self.control)
    }

    /// Lends what more is to be received into, and is to be put back, where nothing has been read.
    pub(super) fn lend(&self) -> Input {
        self.receiving.lock().lend()
    }

    /// Takes back what [`Received::More`] lent, and decrypts into `buffer` what has been received,
    /// as far as there is room.
    ///
    /// # Errors
    /// `InvalidData` when a byte was altered, replayed or left out: the connection is of no more
    /// use.
    pub(super) fn read(&self, lent: Option<Input>, buffer: &mut [u8]) -> io::Result<Received> {
        let mut receiving = self.receiving.lock();
        if let Some(input) = lent {
            receiving.put_back(input);
        }
        if self.control.broken.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        receiving.read(buffer, &self.control).map_err(|e| {
            self.control.end(&e);
            invalid(e)
        })
    }

    /// Takes back what [`Received::More`] or [`TlsStream::lend`] lent.
    pub(super) fn put_back(&self, input: Input) {
        self.receiving.lock().put_back(input);
    }

    /// The sending direction, which is locked for as long as somebody sends; nothing if somebody
    /// else sends until `deadline`.
    pub(super) fn sending_by(&self, deadline: Instant) -> Option<MutexGuard<'_, Sending>> {
        self.sending.try_lock_until(deadline)
    }

    /// The sending direction of an end that nobody else uses.
    #[cfg(any(test, fuzzing))]
    pub(super) fn sending(&self) -> MutexGuard<'_, Sending> {
        self.sending.lock()
    }

    /// The same, unless somebody else sends.
    pub(super) fn try_sending(&self) -> Option<MutexGuard<'_, Sending>> {
        self.sending.try_lock()
    }

    /// Encrypts `message` behind what waits to be sent, and behind a new key if one is due.
    ///
    /// # Errors
    /// When the connection has ended.
    pub(super) fn write(&self, message: &[u8], sending: &mut Sending) -> io::Result<()> {
        if self.control.broken.load(Ordering::Acquire) {
            self.say_farewell(sending);
            return Err(io::ErrorKind::NotConnected.into());
        }
        sending.write(message, &self.control)
    }

    /// Goes over to a new key.
    #[cfg(any(test, fuzzing))]
    pub(super) fn change_key(&self, sending: &mut Sending) {
        sending.new_key(&self.control).expect("there is always another");
    }

    /// Appends what is said last to what waits to be sent: why the connection has ended, or that it
    /// is done.
    pub(super) fn say_farewell(&self, sending: &mut Sending) {
        sending.end(self.control.reason.load(Ordering::Relaxed).into());
    }
}

impl Control {
    /// Notes that the connection has ended, and what the other end is to be told.
    fn end(&self, error: &Error) {
        let reason = match error {
            // It has ended it, and knows why.
            Error::AlertReceived(_) => AlertDescription::CloseNotify,
            Error::DecryptError => AlertDescription::BadRecordMac,
            Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
            Error::InvalidMessage(InvalidMessage::InvalidKeyUpdate) => {
                AlertDescription::IllegalParameter
            }
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::InvalidEmptyPayload
                | InvalidMessage::UnexpectedMessage(_),
            ) => AlertDescription::UnexpectedMessage,
            Error::InvalidMessage(_) => AlertDescription::DecodeError,
            _ => AlertDescription::UnexpectedMessage,
        };
        self.reason.store(reason.into(), Ordering::Relaxed);
        self.broken.store(true, Ordering::Release);
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Control")
    }
}

pub(super) fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests;
