use std::io::Cursor;

use super::*;
use crate::types::limits;
use crate::wire::Decoder;
use crate::wire::checks::at_every_split;

fn body_of(mut stream: impl Read, max: usize) -> Result<Vec<u8>, FrameError> {
    let mut body = b"left over".to_vec();
    read_frame(&mut stream, max, &mut body).map(|()| body)
}

/// A stream that never ends.
fn endless(head: &[u8]) -> impl Read {
    Cursor::new(head.to_vec()).chain(io::repeat(0))
}

#[test]
fn a_frame_is_a_length_and_a_body() {
    let mut out = Vec::new();
    write_frame(&mut out, b"abc").unwrap();
    assert_eq!(out, b"\x00\x00\x00\x03abc");
    at_every_split(&out, |stream| assert_eq!(body_of(stream, 3).unwrap(), b"abc"));
    assert_eq!(body_of(&b"\0\0\0\0rest"[..], 0).unwrap(), b"");
}

#[test]
fn two_frames_that_arrive_glued_are_two() {
    let mut stream = &b"\0\0\0\x01a\0\0\0\x02bc"[..];
    let mut body = Vec::new();
    read_frame(&mut stream, 10, &mut body).unwrap();
    assert_eq!(body, b"a");
    read_frame(&mut stream, 10, &mut body).unwrap();
    assert_eq!(body, b"bc");
    assert!(matches!(read_frame(&mut stream, 10, &mut body), Err(FrameError::Closed)));
}

#[test]
fn an_end_between_frames_is_not_an_end_within_one() {
    assert!(matches!(body_of(&b""[..], 10), Err(FrameError::Closed)));
    for cut in [&b"\0"[..], b"\0\0\0", b"\0\0\0\x02", b"\0\0\0\x02a"] {
        assert!(
            matches!(body_of(cut, 10), Err(FrameError::Io(e)) if e.kind() == io::ErrorKind::UnexpectedEof),
            "{cut:?}"
        );
    }
}

#[test]
fn a_length_beyond_the_limit_is_refused_unread() {
    let max = limits::TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN;
    for head in [[0, 1, 0, 1], [0xff; 4], *b"GET "] {
        assert!(matches!(
            body_of(endless(&head), max),
            Err(FrameError::Wire(WireError::TooLong { .. }))
        ));
    }
    assert_eq!(body_of(endless(&[0, 1, 0, 0]), max).unwrap().len(), max);
}

#[test]
fn memory_grows_with_the_bytes_that_arrive() {
    let promised = (limits::TRACKER_FRAME_LEN_MAX as u32).to_be_bytes();
    let hold = |arrived: usize| {
        let stream = [&promised[..], &vec![0; arrived]].concat();
        allocation_counter::measure(|| drop(body_of(&stream[..], limits::TRACKER_FRAME_LEN_MAX)))
            .bytes_max
    };
    assert!(hold(0) <= 80 << 10);
    assert!(hold(1 << 20) <= 4 << 20);
}

#[test]
fn interrupted_reads_go_on() {
    /// Every other read is interrupted, the others give one byte.
    struct Stream<'a>(bool, Cursor<&'a [u8]>);
    impl Read for Stream<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 = !self.0;
            let len = buffer.len().min(1);
            if self.0 {
                Err(io::ErrorKind::Interrupted.into())
            } else {
                self.1.read(&mut buffer[..len])
            }
        }
    }
    assert_eq!(body_of(Stream(false, Cursor::new(b"\0\0\0\x02ab")), 2).unwrap(), b"ab");
}

#[test]
fn a_frame_with_passwords_never_outgrows_the_room_set_aside_for_it() {
    use crate::types::limits::PASSWORD_LEN_MAX;
    use crate::types::{Password, RequestId, RequestStamp, Stamp};
    use crate::wire::tracker::{FromClient, Request};
    let password = || Password::new("p".repeat(PASSWORD_LEN_MAX)).unwrap();
    let request = RequestStamp { id: RequestId::from_bytes([1; 16]), at: Stamp::ZERO };
    let request = Request::ChangePassword { request, old: password(), new: password() };
    let message = FromClient { number: 1, request };
    let frame = to_secret_frame(&message);
    assert_eq!(
        (frame.as_slice(), frame.capacity()),
        (to_frame(&message).as_slice(), SECRET_LEN_MAX)
    );
    let read: FromClient = read_message(&mut frame.as_slice(), SECRET_LEN_MAX).unwrap();
    assert_eq!(read, message);
}

/// Grants so many bytes, and counts them.
struct Purse {
    left: usize,
    granted: usize,
}

impl Room for Purse {
    fn grow(&mut self, more: usize) -> io::Result<()> {
        self.left = self.left.checked_sub(more).ok_or(io::ErrorKind::QuotaExceeded)?;
        self.granted += more;
        Ok(())
    }

    fn note_progress(&mut self) {}
}

/// So many bytes of 7.
#[derive(Debug)]
struct Sevens(usize);

impl Wire for Sevens {
    const LEN_MIN: usize = 0;

    fn encode(&self, out: &mut Vec<u8>) {
        out.resize(out.len() + self.0, 7);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        Ok(Self(std::iter::from_fn(|| u8::decode(from).ok().filter(|byte| *byte == 7)).count()))
    }
}

#[test]
fn memory_is_taken_as_bytes_arrive_and_never_unasked() {
    for len in [0, 1, 4095, 4096, 4097, 50_000, 1 << 20] {
        let frame = [&(len as u32).to_be_bytes()[..], &vec![7; len]].concat();
        let mut purse = Purse { left: len, granted: 0 };
        let Sevens(read) = read_message_within(&mut &frame[..], 1 << 20, &mut purse).unwrap();
        assert_eq!((read, purse.granted), (len, len));
        let Some(too_few) = len.checked_sub(1) else { continue };
        let mut purse = Purse { left: too_few, granted: 0 };
        let refused =
            read_message_within::<Sevens>(&mut &frame[..], 1 << 20, &mut purse).unwrap_err();
        assert!(matches!(refused, FrameError::Io(e) if e.kind() == io::ErrorKind::QuotaExceeded));
    }
    // 10,000 of 1 MiB have arrived: no more than twice that is asked for.
    let stream = [&(1u32 << 20).to_be_bytes()[..], &[0; 10_000]].concat();
    let mut purse = Purse { left: 1 << 20, granted: 0 };
    let ended = read_message_within::<Sevens>(&mut &stream[..], 1 << 20, &mut purse).unwrap_err();
    assert!(matches!(ended, FrameError::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof));
    assert!(purse.granted <= 20_000, "{}", purse.granted);
}
