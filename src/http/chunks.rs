//! Framing of bodies: by length, in chunks, or until the connection closes (RFC 9112, section 6).
//!
//! Pure.

use super::HEAD_LEN_MAX;

/// Maximum length of a chunk's size line, with extensions.
const SIZE_LINE_LEN_MAX: usize = 256;

/// The end of the message is ambiguous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the end of the body is ambiguous")]
pub(super) struct BadFraming;

/// The framing of a body, and the reader's position in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// This many bytes remain.
    Length(u64),
    /// Chunked transfer coding.
    Chunked(Chunk),
    /// The body ends with the connection.
    Close,
}

/// The next element of a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    /// A size line.
    Size,
    /// This many bytes of chunk data.
    Data(u64),
    /// The line end after chunk data.
    DataEnd,
    /// The trailer, of which this many bytes are allowed.
    Trailer(usize),
    /// The body is complete.
    Done,
}

impl Framing {
    /// Tells whether the body is complete.
    pub(super) fn is_done(self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::Done))
    }

    /// Decodes `input` and appends to `body`, which grows to at most `max` bytes. Returns the number
    /// of bytes consumed.
    ///
    /// # Errors
    /// [`BadFraming`].
    pub(super) fn take(
        &mut self,
        input: &[u8],
        body: &mut Vec<u8>,
        max: usize,
    ) -> Result<usize, BadFraming> {
        let room = max.saturating_sub(body.len());
        match self {
            Self::Length(left) => {
                let count = input.len().min(room).min(usize::try_from(*left).unwrap_or(usize::MAX));
                body.extend_from_slice(&input[..count]);
                *left -= count as u64;
                Ok(count)
            }
            Self::Close => {
                let count = input.len().min(room);
                body.extend_from_slice(&input[..count]);
                Ok(count)
            }
            Self::Chunked(chunk) => {
                let mut taken = 0;
                while let Some(count) = chunk.step(&input[taken..], body, max)? {
                    taken += count;
                }
                Ok(taken)
            }
        }
    }
}

impl Chunk {
    /// Decodes one element; `None` if it needs more input or the body is complete.
    fn step(
        &mut self,
        input: &[u8],
        body: &mut Vec<u8>,
        max: usize,
    ) -> Result<Option<usize>, BadFraming> {
        match *self {
            Self::Size => {
                let line = &input[..input.len().min(SIZE_LINE_LEN_MAX)];
                let line_end = line.iter().position(|byte| *byte == b'\n');
                match httparse::parse_chunk_size(line) {
                    // An extension may hold a line end that others take for the line's.
                    Ok(httparse::Status::Complete((count, size)))
                        if line_end == count.checked_sub(1) =>
                    {
                        *self =
                            if size == 0 { Self::Trailer(HEAD_LEN_MAX) } else { Self::Data(size) };
                        Ok(Some(count))
                    }
                    Ok(httparse::Status::Partial)
                        if line.len() < SIZE_LINE_LEN_MAX && line_end.is_none() =>
                    {
                        Ok(None)
                    }
                    _ => Err(BadFraming),
                }
            }
            Self::Data(left) => {
                let room = max.saturating_sub(body.len());
                let count = input.len().min(room).min(usize::try_from(left).unwrap_or(usize::MAX));
                if count == 0 {
                    return Ok(None);
                }
                body.extend_from_slice(&input[..count]);
                let left = left - count as u64;
                *self = if left == 0 { Self::DataEnd } else { Self::Data(left) };
                Ok(Some(count))
            }
            Self::DataEnd => match input {
                [b'\r', b'\n', ..] => {
                    *self = Self::Size;
                    Ok(Some(2))
                }
                [] | [b'\r'] => Ok(None),
                _ => Err(BadFraming),
            },
            Self::Trailer(left) => {
                let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
                    return if input.len() < left { Ok(None) } else { Err(BadFraming) };
                };
                let left = left.checked_sub(end + 1).ok_or(BadFraming)?;
                let line = input[..end].strip_suffix(b"\r").ok_or(BadFraming)?;
                if line.contains(&b'\r') {
                    return Err(BadFraming);
                }
                *self = if line.is_empty() { Self::Done } else { Self::Trailer(left) };
                Ok(Some(end + 1))
            }
            Self::Done => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nA: b\r\n\r\nnext";

    fn read(parts: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>, bool), BadFraming> {
        let (mut framing, mut body) = (Framing::Chunked(Chunk::Size), Vec::new());
        let mut buffer = Vec::new();
        for part in parts {
            buffer.extend_from_slice(part);
            let taken = framing.take(&buffer, &mut body, 1000)?;
            buffer.drain(..taken);
        }
        Ok((body, buffer, framing.is_done()))
    }

    #[test]
    fn a_body_in_chunks_is_the_same_however_it_is_split() {
        let want = (b"hello world".to_vec(), b"next".to_vec(), true);
        assert_eq!(read(&[MESSAGE]).unwrap(), want);
        for at in 0..MESSAGE.len() {
            let (one, other) = MESSAGE.split_at(at);
            assert_eq!(read(&[one, other]).unwrap(), want, "{at}");
            let (_, _, is_done) = read(&[one]).unwrap();
            assert_eq!(is_done, at >= MESSAGE.len() - 4, "{at}");
        }
        let bytes: Vec<&[u8]> = MESSAGE.chunks(1).collect();
        assert_eq!(read(&bytes).unwrap(), want);
    }

    #[test]
    fn invalid_lengths_are_refused() {
        for bad in [
            "x\r\n",
            "-1\r\n",
            "11111111111111111\r\n",
            "5\r\nhelloXX",
            "5 5\r\n",
            // A proxy may end a line where we do not, and see another request behind it.
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "0\r\n\n",
            "0\r\nA: b\n\r\n",
            "0\r\nA: b\r\n\n",
            "0\r\nA: b\rC: d\r\n\r\n",
            &format!("5;{}", "x".repeat(300)),
            &format!("0\r\n{}", "x".repeat(HEAD_LEN_MAX + 1)),
        ] {
            assert!(read(&[bad.as_bytes()]).is_err(), "{bad:.20}");
        }
        // A large length allocates nothing before the bytes arrive.
        let (body, _, is_done) = read(&[b"ffffffffffffffff\r\nabc"]).unwrap();
        assert_eq!((body.as_slice(), is_done), (&b"abc"[..], false));
    }
}
