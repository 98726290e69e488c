//! What every message must stand, written once for the tests beside each protocol.

use std::fmt::{Debug, Write as _};
use std::io::{self, Read};
use std::path::Path;
use std::{env, fs};

use super::frame::{HEADER_LEN, read_message, to_frame};
use super::{Wire, WireError};

/// A stream that hands out its bytes in pieces of at most `chunk` bytes, the first of `first`.
pub(crate) struct Drip<'a> {
    rest: &'a [u8],
    first: usize,
    chunk: usize,
}

impl<'a> Drip<'a> {
    /// Hands out `chunk` bytes at a time.
    pub(crate) fn by(chunk: usize, bytes: &'a [u8]) -> Self {
        Self { rest: bytes, first: chunk, chunk }
    }

    /// Hands out `first` bytes, then the rest.
    pub(crate) fn split(first: usize, bytes: &'a [u8]) -> Self {
        Self { rest: bytes, first, chunk: bytes.len().max(1) }
    }
}

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.first.min(buffer.len()).min(self.rest.len());
        self.first = self.chunk;
        self.rest.read(&mut buffer[..len])
    }
}

/// Calls `read` with every way of cutting `bytes` in two, and with every chunk length from 1 up.
pub(crate) fn at_every_split(bytes: &[u8], mut read: impl FnMut(Drip<'_>)) {
    (1..bytes.len()).for_each(|first| read(Drip::split(first, bytes)));
    (1..=bytes.len().min(300)).for_each(|chunk| read(Drip::by(chunk, bytes)));
}

/// Checks that a message comes back as it went, whole or dripping, and that neither less nor more
/// is taken for one.
pub(crate) fn check_frame<T: Wire + Debug + PartialEq>(message: &T) {
    let frame = to_frame(message);
    let body = &frame[HEADER_LEN..];
    assert_eq!(T::from_bytes(body).as_ref(), Ok(message));
    for len in 0..body.len() {
        assert!(
            T::from_bytes(&body[..len]).is_err(),
            "{len} of {} bytes of {message:?}",
            body.len()
        );
    }
    for len in 0..frame.len() {
        assert!(read_message::<T>(&mut &frame[..len], body.len()).is_err());
    }
    assert_eq!(T::from_bytes(&[body, &[0]].concat()), Err(WireError::Trailing(1)));
    at_every_split(&frame, |mut stream| {
        assert_eq!(&read_message::<T>(&mut stream, body.len()).unwrap(), message)
    });
}

/// Writes messages as a golden file holds them: a name, then its bytes, sixteen a line.
pub(crate) fn to_golden<'a>(messages: impl IntoIterator<Item = (String, &'a [u8])>) -> String {
    let mut text = String::new();
    for (name, bytes) in messages {
        writeln!(text, "{name}").unwrap();
        for line in bytes.chunks(16) {
            let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            let shown: String =
                line.iter().map(|&b| if b.is_ascii_graphic() { b as char } else { '.' }).collect();
            writeln!(text, "  {:47}  {shown}", hex.join(" ")).unwrap();
        }
    }
    text
}

/// Checks messages against the golden file of that name. A message that is to change is a new
/// version of the protocol; with `POSSE_WRITE_GOLDEN=1` in the environment the file is written
/// instead.
pub(crate) fn check_golden<'a>(name: &str, messages: impl IntoIterator<Item = (String, &'a [u8])>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wire/golden").join(name);
    let actual = to_golden(messages);
    if env::var_os("POSSE_WRITE_GOLDEN").is_some_and(|value| value == "1") {
        fs::write(&path, &actual).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap();
    if actual != golden {
        let differs = actual.lines().zip(golden.lines()).find(|(actual, golden)| actual != golden);
        println!("{actual}");
        panic!(
            "the bytes of a message have changed (all of them are printed above); the first line that \
             differs: {differs:?}"
        );
    }
}

/// Checks what decodes: it encodes to bytes that mean the same, and to no more of them. To fewer if
/// something of a later version was skipped; to others if a block took the last field of the one
/// around it for something of a later version, which then lacks it as in an earlier one.
pub(crate) fn check_canonical<T: Wire + Debug + PartialEq>(body: &[u8]) {
    let Ok(message) = T::from_bytes(body) else { return };
    let again = message.to_bytes();
    assert!(again.len() <= body.len(), "{message:?}");
    assert_eq!(T::from_bytes(&again), Ok(message));
}

/// Puts `more` at the end of the block whose length stands at `at`, and of the blocks around it.
pub(crate) fn grow(body: &mut Vec<u8>, around: &[usize], more: &[u8]) {
    let len_at = |body: &[u8], at: usize| u32::from_be_bytes(body[at..at + 4].try_into().unwrap());
    let last = *around.last().expect("a block");
    let end = last + 4 + len_at(body, last) as usize;
    for &at in around {
        let len = len_at(body, at) + more.len() as u32;
        body[at..at + 4].copy_from_slice(&len.to_be_bytes());
    }
    body.splice(end..end, more.iter().copied());
}

/// Names a value by its Debug form up to the fields.
pub(crate) fn variant_name(value: &impl Debug) -> String {
    format!("{value:?}").chars().take_while(|c| c.is_alphanumeric()).collect()
}
