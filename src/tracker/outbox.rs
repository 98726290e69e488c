//! What waits to be written to one connection, and the thread that writes what nobody else does.
//!
//! **Invariant:** at any moment at most one thread writes to a connection, and frames leave whole
//! and in the order in which they were put in. Putting in never blocks, whatever the other end
//! does.
//!
//! Two kinds of thread write. The connection's own thread sends its answers with [`Outbox::send`],
//! blocking. Whoever else has something to say puts it in with [`Outbox::push`]; the [`Notifier`]'s
//! thread hands it to the system without blocking, as far as the system takes it, and comes back
//! for the rest. The right to write is the flag `writing`; the lock around it is held for a few
//! instructions only, never while writing.
//!
//! A consumer that lets [`BACKLOG_LEN_MAX`] bytes pile up, or takes nothing for [`STALL_MAX`], is
//! disconnected.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use log::info;
use parking_lot::{Condvar, Mutex};

use crate::net::{Connection, Stop, Writer};
use crate::types::limits::{TRACKER_CONNECTIONS_MAX, TRACKER_FRAME_LEN_MAX};

/// Bytes that may wait for a consumer: the longest answer there is, and some thousands of events.
pub(crate) const BACKLOG_LEN_MAX: usize = TRACKER_FRAME_LEN_MAX / 2 + (1 << 20);
/// How long a consumer may take nothing of what waits for it.
const STALL_MAX: Duration = Duration::from_secs(10);
/// How often the notifier tries a consumer again that did not take everything.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);
/// Bytes a blocking write hands over at a time; each is a sign of life. That does not buy time: all
/// that waits has one deadline.
const CHUNK_LEN: usize = 64 << 10;
/// Time for what is waiting when the tracker stops.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(500);

/// A frame that may wait for many consumers at once.
pub(crate) type Frame = Arc<[u8]>;

/// What waits to be written to one connection.
#[derive(Debug)]
pub(crate) struct Outbox {
    connection: Connection,
    state: Mutex<State>,
    /// Signalled when `writing` becomes false.
    free: Condvar,
    notifier: Sender<Arc<Outbox>>,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    /// Bytes of the first frame that have left already.
    sent: usize,
    /// Bytes of all frames, the sent ones included.
    backlog_len: usize,
    /// Bytes that the connection took may not have left it.
    unsent: bool,
    /// Some thread is writing.
    writing: bool,
    /// The notifier knows that there is something to write.
    listed: bool,
    /// Since when something has waited without a byte leaving.
    stalled: Option<Instant>,
    closed: bool,
}

impl Outbox {
    /// Makes an empty outbox whose pushed frames `notifier` writes.
    pub(crate) fn new(connection: Connection, notifier: &Notifier) -> Arc<Self> {
        let (state, free, notifier) = (Mutex::default(), Condvar::new(), notifier.sender.clone());
        Arc::new(Self { connection, state, free, notifier })
    }

    /// Puts a frame in, to be written soon. To a closed outbox it is lost.
    pub(crate) fn push(self: &Arc<Self>, frame: Frame) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        if state.backlog_len + frame.len() > BACKLOG_LEN_MAX {
            drop(state);
            return self.give_up("it does not take its events");
        }
        state.add(frame);
        if !std::mem::replace(&mut state.listed, true)
            && self.notifier.try_send(self.clone()).is_err()
        {
            drop(state);
            self.give_up("too many connections have events waiting");
        }
    }

    /// Writes what waits, then this frame.
    ///
    /// # Errors
    /// Those of the connection, which is of no more use then.
    ///
    /// # Blocking
    /// Until the connection has taken everything, or is given up: 30 s and as long as everything
    /// takes at 16 KiB/s.
    pub(crate) fn send(&self, frame: Frame) -> io::Result<()> {
        let mut state = self.state.lock();
        while state.writing {
            self.free.wait(&mut state);
        }
        state.add(frame);
        state.writing = true;
        let (start, mut taken) = (Instant::now(), 0);
        while let Some((frame, sent)) = state.next() {
            let end = frame.len().min(sent + CHUNK_LEN);
            // What is pushed meanwhile has to go as fast as the rest.
            let deadline = Writer::deadline(start, taken + state.backlog_len - state.sent);
            drop(state);
            let written = self.connection.writer().write_all_by(&frame[sent..end], deadline);
            state = self.state.lock();
            taken += end - sent;
            match written {
                Ok(()) => state.left(end - sent),
                Err(e) => {
                    self.finish(&mut state);
                    return Err(e);
                }
            }
        }
        state.writing = false;
        self.free.notify_all();
        if state.closed { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// Ends the connection; what still waits is lost.
    pub(crate) fn close(&self) {
        self.finish(&mut self.state.lock());
        self.connection.close();
    }

    fn give_up(&self, why: &str) {
        info!("{}: {why}; connection closed", self.connection.peer_addr());
        self.close();
    }

    fn finish(&self, state: &mut State) {
        *state = State { closed: true, ..State::default() };
        self.free.notify_all();
    }

    /// Writes as much as leaves without blocking; tells whether the notifier is to come back.
    fn flush(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        if state.writing {
            // The connection's own thread takes everything along, if it gets on.
            return self.check_stall(state, now);
        }
        state.writing = true;
        while let Some((frame, sent)) = state.next() {
            drop(state);
            let written = self.connection.writer().try_write(&frame[sent..]);
            state = self.state.lock();
            match written {
                Ok(0) => break,
                Ok(len) => state.left(len),
                Err(_) => self.finish(&mut state),
            }
        }
        drop(state);
        // What was taken may still have to leave.
        let flushed = self.connection.writer().try_flush().unwrap_or(true);
        state = self.state.lock();
        state.unsent = !flushed && !state.closed;
        state.writing = false;
        self.free.notify_all();
        self.check_stall(state, now)
    }

    fn check_stall(&self, mut state: parking_lot::MutexGuard<'_, State>, now: Instant) -> bool {
        if state.frames.is_empty() && !state.unsent {
            (state.listed, state.stalled) = (false, None);
            return false;
        }
        if now.saturating_duration_since(*state.stalled.get_or_insert(now)) < STALL_MAX {
            return true;
        }
        drop(state);
        self.give_up("it has taken nothing for 10 s");
        false
    }
}

impl State {
    fn add(&mut self, frame: Frame) {
        self.backlog_len += frame.len();
        self.frames.push_back(frame);
    }

    /// The first frame, and how much of it has left.
    fn next(&self) -> Option<(Frame, usize)> {
        self.frames.front().map(|frame| (frame.clone(), self.sent))
    }

    /// Notes that `len` more bytes of the first frame have left. A closed outbox has forgotten the
    /// frame.
    fn left(&mut self, len: usize) {
        let Some(frame) = self.frames.front() else { return };
        self.stalled = None;
        self.sent += len;
        if self.sent == frame.len() {
            self.backlog_len -= frame.len();
            self.sent = 0;
            self.frames.pop_front();
        }
    }
}

/// Knows which outboxes have something to write.
#[derive(Debug)]
pub(crate) struct Notifier {
    sender: Sender<Arc<Outbox>>,
    receiver: Receiver<Arc<Outbox>>,
}

impl Notifier {
    /// Makes a notifier; [`Notifier::run`] is to be called on a thread of its own.
    pub(crate) fn new() -> Self {
        // An outbox is listed once at a time, so this is room for every connection and as many that
        // have just gone.
        let (sender, receiver) = bounded(2 * TRACKER_CONNECTIONS_MAX);
        Self { sender, receiver }
    }

    /// Writes what is pushed until `stop` is set, and then what still waits, for a moment, so that
    /// farewells arrive.
    ///
    /// # Blocking
    /// Until stopped.
    pub(crate) fn run(&self, stop: &Stop) {
        let mut stalled: Vec<Arc<Outbox>> = Vec::new();
        let mut retried = Instant::now();
        let mut farewell_until: Option<Instant> = None;
        loop {
            let timeout =
                if stalled.is_empty() { Duration::from_secs(3600) } else { RETRY_INTERVAL };
            if farewell_until.is_some() {
                stop_waiting(&self.receiver, &mut stalled);
            } else {
                select! {
                    recv(self.receiver) -> outbox => stalled.extend(outbox.into_iter().filter(|outbox| outbox.flush(Instant::now()))),
                    recv(stop.channel()) -> _ => farewell_until = Some(Instant::now() + FAREWELL_TIMEOUT),
                    default(timeout) => {}
                }
            }
            let now = Instant::now();
            stalled.extend(self.receiver.try_iter().filter(|outbox| outbox.flush(now)));
            if now.saturating_duration_since(retried) >= RETRY_INTERVAL {
                retried = now;
                stalled.retain(|outbox| outbox.flush(now));
            }
            if farewell_until.is_some_and(|until| stalled.is_empty() || now >= until) {
                return;
            }
        }
    }
}

/// While stopping, the stop signal can no longer be waited for: it is there.
fn stop_waiting(receiver: &Receiver<Arc<Outbox>>, stalled: &mut Vec<Arc<Outbox>>) {
    if let Ok(outbox) = receiver.recv_timeout(RETRY_INTERVAL) {
        stalled.push(outbox);
    }
}

#[cfg(test)]
mod tests;
