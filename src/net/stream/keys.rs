//! The keys of a connection's two directions, and how a record is encrypted and decrypted with them
//! (RFC 8446, sections 5.2 to 5.5).
//!
//! **Invariant:** a nonce is the number of a record, and no number is used twice with one key: it
//! only ever grows, and a key that has none left encrypts nothing. Keys are wiped when they are
//! dropped.

use std::fmt;

use aws_lc_rs::aead::{
    self, AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{ConnectionTrafficSecrets, Error, PeerMisbehaved};
use zeroize::Zeroizing;

use super::buffers::{DATA, HEADER_LEN, Output};

/// Bytes of data in a full record.
pub(super) const RECORD_LEN: usize = 16 << 10;
/// Bytes behind the content of a record of ours: its type and the tag.
const TRAILER_LEN: usize = 1 + TAG_LEN;
/// Bytes of the tag in each cipher of TLS 1.3.
const TAG_LEN: usize = 16;
/// Bytes that encrypting adds to a record.
pub(super) const OVERHEAD: usize = HEADER_LEN + TRAILER_LEN;

/// What later keys are derived from.
pub(super) enum Secrets {
    /// At the end that dialled.
    Client(KernelConnection<ClientConnectionData>),
    /// At the end that accepted.
    Server(KernelConnection<ServerConnectionData>),
}

impl Secrets {
    /// Number of records that one key may encrypt.
    pub(super) fn records_max(&self) -> u64 {
        let suite = match self {
            Self::Client(kernel) => kernel.negotiated_cipher_suite(),
            Self::Server(kernel) => kernel.negotiated_cipher_suite(),
        };
        // There is no other version here; were there one, its first record would be refused.
        suite.tls13().map_or(0, |suite| suite.common.confidentiality_limit)
    }

    /// The next key to encrypt with.
    ///
    /// # Errors
    /// When rustls has none.
    pub(super) fn next_to_send(&mut self) -> Result<Key, Error> {
        Key::new(match self {
            Self::Client(kernel) => kernel.update_tx_secret()?,
            Self::Server(kernel) => kernel.update_tx_secret()?,
        })
    }

    /// The next key to decrypt with.
    ///
    /// # Errors
    /// When rustls has none.
    pub(super) fn next_to_receive(&mut self) -> Result<Key, Error> {
        Key::new(match self {
            Self::Client(kernel) => kernel.update_rx_secret()?,
            Self::Server(kernel) => kernel.update_rx_secret()?,
        })
    }
}

/// The key of one direction.
pub(super) struct Key {
    key: LessSafeKey,
    iv: Zeroizing<[u8; aead::NONCE_LEN]>,
    /// The number of the next record.
    number: u64,
}

impl Key {
    /// Takes the number of the first record, and the key of it and of those that follow.
    ///
    /// # Errors
    /// When it is of a cipher that is not offered here.
    pub(super) fn new((number, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self, Error> {
        let (algorithm, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(Error::General("a cipher that was not offered".to_owned())),
        };
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| Error::EncryptError)?;
        let iv = iv.as_ref().try_into().map_err(|_| Error::EncryptError)?;
        Ok(Self { key: LessSafeKey::new(key), iv: Zeroizing::new(iv), number })
    }

    /// The number of the next record.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    fn next_nonce(&mut self) -> Option<Nonce> {
        let mut nonce = *self.iv;
        nonce[aead::NONCE_LEN - 8..]
            .iter_mut()
            .zip(self.number.to_be_bytes())
            .for_each(|(byte, number)| *byte ^= number);
        self.number = self.number.checked_add(1)?;
        Some(Nonce::assume_unique_for_key(nonce))
    }

    /// Appends a record with `content` of that type, of at most [`RECORD_LEN`] bytes, encrypted on
    /// its way.
    ///
    /// # Errors
    /// When the key has encrypted all it can.
    pub(super) fn seal(
        &mut self,
        kind: u8,
        content: &[u8],
        output: &mut Output,
    ) -> Result<(), Error> {
        let body_len = content.len() + TRAILER_LEN;
        let [high, low] = u16::try_from(body_len).map_err(|_| Error::EncryptError)?.to_be_bytes();
        let header = [DATA, 3, 3, high, low];
        let (head, body) =
            output.room(HEADER_LEN + body_len)[..HEADER_LEN + body_len].split_at_mut(HEADER_LEN);
        head.copy_from_slice(&header);
        let (encrypted, trailer) = body.split_at_mut(content.len());
        let nonce = self.next_nonce().ok_or(Error::EncryptError)?;
        self.key
            .seal_out_of_place_scatter(
                nonce,
                Aad::from(header),
                content,
                encrypted,
                &[kind],
                trailer,
            )
            .map_err(|_| Error::EncryptError)?;
        output.filled(HEADER_LEN + body_len);
        Ok(())
    }

    /// Decrypts a record's body into the front of `room`, or where it is if there is not enough;
    /// returns its type, the length of its content, and whether that is in `room`.
    ///
    /// # Errors
    /// When a byte was altered, or it is not the record of this number.
    pub(super) fn open(
        &mut self,
        header: &[u8; HEADER_LEN],
        body: &mut [u8],
        room: &mut [u8],
    ) -> Result<(u8, usize, bool), Error> {
        let (inner, tag) = body.split_last_chunk_mut::<TAG_LEN>().ok_or(Error::DecryptError)?;
        if inner.len() > RECORD_LEN + 1 {
            return Err(Error::PeerSentOversizedRecord);
        }
        let nonce = self.next_nonce().ok_or(Error::DecryptError)?;
        let (opened, plain, in_room) = match room.get_mut(..inner.len()) {
            Some(room) => (
                self.key.open_separate_gather(nonce, Aad::from(header), inner, tag, room),
                &*room,
                true,
            ),
            None => {
                let opened = self
                    .key
                    .open_in_place_separate_tag(nonce, Aad::from(header), tag, inner)
                    .map(drop);
                (opened, &*inner, false)
            }
        };
        opened.map_err(|_| Error::DecryptError)?;
        // The type is the last byte that is not zero; what is behind it is there to hide the
        // length.
        let len = plain
            .iter()
            .rposition(|byte| *byte != 0)
            .ok_or(PeerMisbehaved::IllegalTlsInnerPlaintext)?;
        Ok((plain[len], len, in_room))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
