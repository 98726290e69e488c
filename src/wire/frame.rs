//! Frames of the tracker protocol: `u32` length of the body in bytes, then the body.
//!
//! **Invariant:** the length is checked against the limit before memory is allocated, and memory
//! grows with the bytes that have really arrived, never with the bytes promised.
//!
//! Blocks on the stream it is given; deadlines are the stream's business ([`crate::net`]).

use std::io::{self, Read, Write};

use byteorder::{BigEndian, ByteOrder, WriteBytesExt};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Wire, WireError};

/// Bytes before the body.
pub const HEADER_LEN: usize = 4;
/// Memory set aside for a body before any of it has arrived.
const FIRST_ALLOCATION: usize = 64 << 10;
/// Bytes in a frame that holds secrets, and somewhat more: two passwords and a name, or a token.
const SECRET_LEN_MAX: usize = 4 << 10;
/// Bytes that have to arrive for a message to be seen to move.
pub const PROGRESS_LEN: usize = 16 << 10;

/// Grants the memory that a message takes while it arrives; whoever reads many at a time bounds
/// them with it.
pub trait Room {
    /// Asks for memory for `more` bytes of the message.
    ///
    /// # Errors
    /// There is none: the message is given up.
    ///
    /// # Blocking
    /// Until there is memory, if need be.
    fn grow(&mut self, more: usize) -> io::Result<()>;

    /// Notes that [`PROGRESS_LEN`] bytes more of the message have arrived, or its last ones.
    fn note_progress(&mut self);
}

/// Says why no message could be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream failed, or ended within a frame.
    #[error("connection lost: {0}")]
    Io(#[from] io::Error),
    /// The stream ended between frames.
    #[error("connection closed by the other end")]
    Closed,
    /// The other end does not speak this protocol.
    #[error("protocol violated: {0}")]
    Wire(#[from] WireError),
}

/// Reads one frame's body into `body`, replacing what was there.
///
/// # Errors
/// [`FrameError::Closed`] if the stream ends before the first byte; [`WireError::TooLong`] if the
/// body has more than `max` bytes.
///
/// # Blocking
/// Until the whole frame is there.
pub fn read_frame(
    stream: &mut impl Read,
    max: usize,
    body: &mut Vec<u8>,
) -> Result<(), FrameError> {
    let len = read_len(stream, max)?;
    Ok(read_body(stream, len, body)?)
}

/// Reads a frame's header: the length of its body, which is at most `max`.
fn read_len(stream: &mut impl Read, max: usize) -> Result<usize, FrameError> {
    let mut header = [0; HEADER_LEN];
    read_first(stream, &mut header)?;
    let len = BigEndian::read_u32(&header) as usize;
    if len > max {
        return Err(WireError::TooLong { what: "frame", len: len as u64, max: max as u64 }.into());
    }
    Ok(len)
}

/// Reads and decodes one message. The bytes of one that is short enough to hold a password are
/// wiped.
///
/// # Errors
/// Those of [`read_frame`] and of the message.
///
/// # Blocking
/// Until the whole frame is there.
pub fn read_message<T: Wire>(stream: &mut impl Read, max: usize) -> Result<T, FrameError> {
    let mut body = Vec::new();
    read_frame(stream, max, &mut body)?;
    let message = T::from_bytes(&body);
    if body.len() <= SECRET_LEN_MAX {
        body.zeroize();
    }
    Ok(message?)
}

/// Does the same, and takes memory for the message as its bytes arrive.
///
/// # Errors
/// Those of [`read_message`] and of `room`.
///
/// # Blocking
/// Until the whole frame is there, and as `room` does.
pub fn read_message_within<T: Wire>(
    stream: &mut impl Read,
    max: usize,
    room: &mut impl Room,
) -> Result<T, FrameError> {
    let len = read_len(stream, max)?;
    let mut body = Vec::new();
    let message = read_body_within(stream, len, room, &mut body).map(|()| T::from_bytes(&body));
    if body.len() <= SECRET_LEN_MAX {
        body.zeroize();
    }
    Ok(message??)
}

/// Encodes a message as one frame.
pub fn to_frame<T: Wire>(message: &T) -> Vec<u8> {
    let mut frame = Vec::new();
    write_to(message, &mut frame);
    frame
}

fn write_to<T: Wire>(message: &T, frame: &mut Vec<u8>) {
    frame.extend_from_slice(&[0; HEADER_LEN]);
    message.encode(frame);
    let len = frame.len() - HEADER_LEN;
    BigEndian::write_u32(frame, u32::try_from(len).expect("no message of ours reaches 4 GiB"));
}

/// Encodes a message that may hold a secret as one frame, which is wiped when dropped. Room is set
/// aside first, so that no part of the secret is left behind where the frame has grown out of its
/// place.
pub fn to_secret_frame<T: Wire>(message: &T) -> Zeroizing<Vec<u8>> {
    let mut frame = Zeroizing::new(Vec::with_capacity(SECRET_LEN_MAX));
    write_to(message, &mut frame);
    frame
}

/// Sends one message.
///
/// # Errors
/// Those of the stream.
///
/// # Blocking
/// Until the stream has taken all of it.
pub fn write_message<T: Wire>(stream: &mut impl Write, message: &T) -> io::Result<()> {
    stream.write_all(&to_frame(message))
}

/// Sends a body that is encoded already.
///
/// # Errors
/// Those of the stream, and a body of 4 GiB or more.
///
/// # Blocking
/// Until the stream has taken all of it.
pub fn write_frame(stream: &mut impl Write, body: &[u8]) -> io::Result<()> {
    stream.write_u32::<BigEndian>(
        u32::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
    )?;
    stream.write_all(body)
}

/// Reads `len` bytes, checked already, into `body`, replacing what was there.
pub(super) fn read_body(stream: &mut impl Read, len: usize, body: &mut Vec<u8>) -> io::Result<()> {
    body.clear();
    body.reserve(len.min(FIRST_ALLOCATION));
    match stream.take(len as u64).read_to_end(body)? {
        got if got == len => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Reads `len` bytes, checked already, into `body`, which is empty. Its memory doubles as it fills,
/// and never grows before `room` has granted that.
fn read_body_within(
    stream: &mut impl Read,
    len: usize,
    room: &mut impl Room,
    body: &mut Vec<u8>,
) -> io::Result<()> {
    while body.len() < len {
        let start = body.len();
        let end = len.min((2 * start).max(SECRET_LEN_MAX));
        room.grow(end - start)?;
        // A secret is short enough for the first step: no part of it is left behind where the body
        // has grown out of its place.
        body.reserve_exact(end - start);
        body.resize(end, 0);
        for part in body[start..].chunks_mut(PROGRESS_LEN) {
            stream.read_exact(part)?;
            room.note_progress();
        }
    }
    Ok(())
}

/// Fills `header`; an end before its first byte is [`FrameError::Closed`].
pub(super) fn read_first(stream: &mut impl Read, header: &mut [u8]) -> Result<(), FrameError> {
    let first = loop {
        match stream.read(header) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    if first == 0 {
        return Err(FrameError::Closed);
    }
    Ok(stream.read_exact(&mut header[first..])?)
}

#[cfg(test)]
mod tests;
