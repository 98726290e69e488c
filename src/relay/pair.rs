//! Two connections between which bytes are passed on, in both directions.
//!
//! **Invariant:** bytes leave in the order in which they came, and none is kept once it was sent. A
//! direction reads nothing while it has bytes that its receiver has not taken, so it holds one
//! portion at most. The end of one direction is passed on behind its last byte.
//!
//! No call blocks.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::bounds::RelayBounds;
use super::fair::PairShare;
use super::meetings::MeetingKey;
use crate::types::UserId;

/// One direction.
#[derive(Debug, Default)]
struct Flow {
    /// Bytes that the receiver has not taken yet, from `sent` on.
    held: Vec<u8>,
    sent: usize,
    /// The sender has ended.
    has_ended: bool,
    /// The receiver was told so.
    is_shut: bool,
}

impl Flow {
    fn holds(&self) -> bool {
        self.sent < self.held.len()
    }

    /// Sends what is held; true if nothing is left.
    fn flush(&mut self, to: &TcpStream) -> io::Result<bool> {
        while self.holds() {
            match try_send(to, &self.held[self.sent..])? {
                0 => return Ok(false),
                len => self.sent += len,
            }
        }
        // Gives the memory back: most pairs hold nothing most of the time.
        (self.held, self.sent) = (Vec::new(), 0);
        if self.has_ended && !self.is_shut {
            self.is_shut = true;
            // It fails only if the receiver has gone, which ends the pair elsewhere.
            let _ = to.shutdown(Shutdown::Write);
        }
        Ok(true)
    }
}

/// A connected pair.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) key: MeetingKey,
    pub(super) users: [UserId; 2],
    pub(super) share: PairShare,
    streams: [TcpStream; 2],
    /// The first leads from the first stream to the second.
    flows: [Flow; 2],
    began: Duration,
    moved_at: Duration,
    bytes: u64,
}

/// What a direction has done in its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moved {
    /// Bytes taken from the sender.
    pub(super) bytes: u64,
    /// Whether it would go on at once.
    pub(super) has_more: bool,
}

impl Pair {
    pub(super) fn new(
        now: Duration,
        key: MeetingKey,
        users: [UserId; 2],
        share: PairShare,
        streams: [TcpStream; 2],
    ) -> Self {
        let flows = [Flow::default(), Flow::default()];
        Self { key, users, share, streams, flows, began: now, moved_at: now, bytes: 0 }
    }

    pub(super) fn stream(&self, side: usize) -> &TcpStream {
        &self.streams[side]
    }

    /// What is waited for at one of the streams.
    pub(super) fn interest(&self, side: usize, may_move: bool) -> PollFlags {
        let (from, to) = (&self.flows[side], &self.flows[1 - side]);
        let mut flags = PollFlags::empty();
        if may_move && !from.has_ended && !from.holds() {
            flags |= PollFlags::IN;
        }
        if to.holds() {
            flags |= PollFlags::OUT;
        }
        flags
    }

    /// Tells whether both directions have ended.
    pub(super) fn has_ended(&self) -> bool {
        self.flows.iter().all(|flow| flow.is_shut)
    }

    /// Why it is over, if it has lasted too long, been idle for too long, or moved too much.
    pub(super) fn is_over(&self, now: Duration, bounds: &RelayBounds) -> Option<&'static str> {
        if now.saturating_sub(self.moved_at) >= bounds.idle {
            Some("nothing came for too long")
        } else if now.saturating_sub(self.began) >= bounds.pair_time {
            Some("it has lasted as long as one may")
        } else if self.bytes >= bounds.pair_bytes {
            Some("it has moved as much as one may")
        } else {
            None
        }
    }

    /// Moves one portion of a direction: `max` bytes and a buffer's worth at most.
    ///
    /// # Errors
    /// The system's: the pair is over.
    pub(super) fn step(
        &mut self,
        now: Duration,
        side: usize,
        buffer: &mut [u8],
        max: u64,
    ) -> io::Result<Moved> {
        let (from, to) = (&self.streams[side], &self.streams[1 - side]);
        let flow = &mut self.flows[side];
        if !flow.flush(to)? || flow.has_ended {
            return Ok(Moved { bytes: 0, has_more: false });
        }
        let room = buffer.len().min(usize::try_from(max).unwrap_or(usize::MAX));
        if room == 0 {
            return Ok(Moved { bytes: 0, has_more: false });
        }
        let len = match recv(from, &mut buffer[..room], RecvFlags::DONTWAIT) {
            Ok((0, _)) => {
                flow.has_ended = true;
                flow.flush(to)?;
                return Ok(Moved { bytes: 0, has_more: false });
            }
            Ok((len, _)) => len,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Moved { bytes: 0, has_more: false }),
            Err(error) => return Err(error.into()),
        };
        self.moved_at = now;
        self.bytes += len as u64;
        let sent = try_send(to, &buffer[..len])?;
        if sent < len {
            flow.held.extend_from_slice(&buffer[sent..len]);
        }
        Ok(Moved { bytes: len as u64, has_more: len == room && sent == len })
    }

    /// Ends both connections.
    pub(super) fn close(&self) {
        for stream in &self.streams {
            // It fails only if the connection has ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn try_send(to: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match send(to, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(len) => Ok(len),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}
