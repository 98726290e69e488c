//! The encrypted floor's bytes: records as TLS 1.3 has them, of 16 KiB, sealed with AES-128-GCM,
//! and nothing else of TLS.
//!
//! As few copies as there can be: the file is read to where its bytes are sealed and sent from;
//! what is received is opened where it is, hashed while it is in the nearest cache, and written
//! from there. One thread at either end.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::TcpStream;
use std::ops::Range;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sha1::{Digest, Sha1};

/// Bytes of data in a record.
const DATA_LEN: usize = 16 << 10;
/// Bytes before a record's data: type, version, length.
const HEADER_LEN: usize = 5;
/// Bytes behind it: the type of what is inside, and the tag.
const TRAILER_LEN: usize = 1 + 16;
const RECORD_LEN: usize = HEADER_LEN + DATA_LEN + TRAILER_LEN;
/// Records sent by one call.
const BATCH: usize = 16;
/// Records received by one call, at most.
const ROOM: usize = 32;
/// The type of application data.
const DATA_TYPE: u8 = 23;

/// One direction's key and the number of its next record. Both ends know the key beforehand.
struct Cipher {
    key: LessSafeKey,
    number: u64,
}

impl Cipher {
    fn new() -> io::Result<Self> {
        let key = UnboundKey::new(&AES_128_GCM, &[0x5a; 16]).map_err(io::Error::other)?;
        Ok(Self { key: LessSafeKey::new(key), number: 0 })
    }

    fn nonce(&mut self) -> Nonce {
        let mut bytes = [0x3c; 12];
        for (byte, number) in bytes[4..].iter_mut().zip(self.number.to_be_bytes()) {
            *byte ^= number;
        }
        self.number += 1;
        Nonce::assume_unique_for_key(bytes)
    }

    /// Makes `len` bytes of data, which are in their place already, a record; returns its length.
    fn seal(&mut self, record: &mut [u8], len: usize) -> io::Result<usize> {
        let inner = (len + TRAILER_LEN) as u16;
        let header = [DATA_TYPE, 3, 3, inner.to_be_bytes()[0], inner.to_be_bytes()[1]];
        record[..HEADER_LEN].copy_from_slice(&header);
        let (data, tail) = record[HEADER_LEN..].split_at_mut(len + 1);
        data[len] = DATA_TYPE;
        let nonce = self.nonce();
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(header), data)
            .map_err(io::Error::other)?;
        tail[..TRAILER_LEN - 1].copy_from_slice(tag.as_ref());
        Ok(HEADER_LEN + len + TRAILER_LEN)
    }

    /// Opens the record at the front of `bytes`, if all of it is there; returns its length.
    fn open(&mut self, bytes: &mut [u8]) -> io::Result<Option<usize>> {
        let Some((header, rest)) = bytes.split_first_chunk_mut::<HEADER_LEN>() else {
            return Ok(None);
        };
        let inner = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let Some(sealed) = rest.get_mut(..inner) else { return Ok(None) };
        let nonce = self.nonce();
        self.key.open_in_place(nonce, Aad::from(*header), sealed).map_err(io::Error::other)?;
        Ok(Some(HEADER_LEN + inner))
    }
}

/// Sends the whole file.
pub(crate) fn send(file: &mut File, stream: &mut TcpStream) -> io::Result<()> {
    let (mut cipher, mut bytes) = (Cipher::new()?, vec![0; BATCH * RECORD_LEN]);
    loop {
        let places = bytes
            .chunks_exact_mut(RECORD_LEN)
            .map(|record| &mut record[HEADER_LEN..HEADER_LEN + DATA_LEN]);
        let mut places: Vec<IoSliceMut<'_>> = places.map(IoSliceMut::new).collect();
        let mut left = file.read_vectored(&mut places)?;
        if left == 0 {
            return Ok(());
        }
        let mut end = 0;
        while left > 0 {
            let len = left.min(DATA_LEN);
            end += cipher.seal(&mut bytes[end..], len)?;
            left -= len;
        }
        stream.write_all(&bytes[..end])?;
    }
}

/// Receives until the end: opens, hashes, writes.
pub(crate) fn receive(stream: &mut TcpStream, out: &mut File) -> io::Result<()> {
    let (mut cipher, mut hasher, mut bytes, mut end) =
        (Cipher::new()?, Sha1::new(), vec![0; ROOM * RECORD_LEN], 0);
    loop {
        match stream.read(&mut bytes[end..])? {
            0 => break,
            len => end += len,
        }
        let (mut data, mut start): (Vec<Range<usize>>, usize) = (Vec::with_capacity(ROOM), 0);
        while let Some(len) = cipher.open(&mut bytes[start..end])? {
            data.push(start + HEADER_LEN..start + len - TRAILER_LEN);
            hasher.update(&bytes[start + HEADER_LEN..start + len - TRAILER_LEN]);
            start += len;
        }
        let mut slices: Vec<IoSlice<'_>> =
            data.into_iter().map(|range| IoSlice::new(&bytes[range])).collect();
        let mut slices = &mut slices[..];
        while !slices.is_empty() {
            let written = out.write_vectored(slices)?;
            IoSlice::advance_slices(&mut slices, written);
        }
        bytes.copy_within(start..end, 0);
        end -= start;
    }
    std::hint::black_box(hasher.finalize());
    Ok(())
}
