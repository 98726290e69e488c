//! The sending direction: data becomes records behind what waits to be sent.
//!
//! **Invariant:** a key encrypts no more records than its cipher is good for, and nothing follows
//! the last word.

use std::io;
use std::sync::atomic::Ordering;

use rustls::{AlertDescription, Error};

use super::buffers::{ALERT, DATA, HANDSHAKE, Output};
use super::keys::{Key, OVERHEAD, RECORD_LEN};
use super::{Control, invalid};

/// Says that what follows is encrypted with the next key, and asks for none (RFC 8446, section
/// 4.6.3).
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
/// Levels of alerts: of a farewell, and of everything else.
const WARNING: u8 = 1;
const FATAL: u8 = 2;

#[derive(Debug)]
pub(in crate::net) struct Sending {
    /// What waits to be sent.
    pub(in crate::net) output: Output,
    key: Key,
    /// Records that a key may encrypt.
    pub(super) records_max: u64,
    /// The last word was said.
    ended: bool,
}

impl Sending {
    pub(super) fn new(key: Key, records_max: u64) -> Self {
        Self { output: Output::default(), key, records_max, ended: false }
    }

    pub(super) fn write(&mut self, message: &[u8], control: &Control) -> io::Result<()> {
        if self.ended {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.encrypt(message, control).map_err(|e| {
            self.ended = true;
            invalid(e)
        })
    }

    fn encrypt(&mut self, message: &[u8], control: &Control) -> Result<(), Error> {
        if control.new_key_due.load(Ordering::Relaxed)
            && control.new_key_due.swap(false, Ordering::Acquire)
        {
            self.new_key(control)?;
        }
        let records = message.len().div_ceil(RECORD_LEN);
        self.output.room(message.len() + records * OVERHEAD);
        for content in message.chunks(RECORD_LEN) {
            // The last record that a key may encrypt is the one that says so.
            if self.key.number().saturating_add(1) >= self.records_max {
                self.new_key(control)?;
            }
            self.key.seal(DATA, content, &mut self.output)?;
        }
        Ok(())
    }

    /// Says that another key follows, and takes it.
    pub(super) fn new_key(&mut self, control: &Control) -> Result<(), Error> {
        self.key.seal(HANDSHAKE, &KEY_UPDATE, &mut self.output)?;
        self.key = control.secrets.lock().next_to_send()?;
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn key_number(&self) -> u64 {
        self.key.number()
    }

    /// Ends it without a word, because sending has failed: what waits was to go into a stream that
    /// has broken off.
    pub(in crate::net) fn fail(&mut self) {
        self.ended = true;
        self.output = Output::default();
    }

    /// Says the last word.
    pub(super) fn end(&mut self, reason: AlertDescription) {
        if !std::mem::replace(&mut self.ended, true) {
            let level = if reason == AlertDescription::CloseNotify { WARNING } else { FATAL };
            // A key that can encrypt nothing more leaves it unsaid.
            let _ = self.key.seal(ALERT, &[level, reason.into()], &mut self.output);
        }
    }
}
