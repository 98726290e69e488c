//! The relay's thread: waits for all sockets together, and moves what may move, in a fair order.
//!
//! **Invariant:** no call but `poll` blocks. A connection that has not said which it is holds a few
//! bytes and is closed after [`HELLO_WITHIN`]; of such there are [`NEWCOMERS_MAX`] at most.
//!
//! Each round moves [`ROUND_MAX`] at most before the sockets are looked at again, so one that has
//! much to move does not make the others wait.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, warn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::bounds::{DEAD_AFTER, HELLO_WITHIN, NEWCOMERS_MAX, NEWCOMERS_PER_SOURCE_MAX};
use super::fair::Fair;
use super::meetings::{MeetingKey, Shown};
use super::pair::Pair;
use super::shared::RelayShared;
use crate::net::Source;
use crate::wire::relay::{RELAY_HELLO_LEN, RelayHello};

/// Bytes moved at a time: enough that a system call costs little, few enough to be fair.
const PORTION: usize = 128 << 10;
/// Bytes moved before the sockets are looked at again.
const ROUND_MAX: u64 = 1 << 20;
/// How often what time ends is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long nothing is accepted when the system has no room for another connection.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// A connection that has not said which it is.
#[derive(Debug)]
struct Newcomer {
    stream: TcpStream,
    source: Source,
    since: Duration,
    hello: [u8; RELAY_HELLO_LEN],
    len: usize,
}

/// What a descriptor that is waited for belongs to.
#[derive(Debug, Clone, Copy)]
enum Waited {
    Waker,
    Listener,
    Newcomer(usize),
    Pair(usize, usize),
}

#[derive(Debug)]
pub(super) struct Pump {
    inner: Arc<RelayShared>,
    waker: UnixStream,
    started: Instant,
    newcomers: Vec<Newcomer>,
    pairs: Vec<Pair>,
    fair: Fair,
    buffer: Vec<u8>,
    /// Nothing is accepted before that.
    accepts_at: Duration,
}

impl Pump {
    pub(super) fn new(inner: Arc<RelayShared>, waker: UnixStream, started: Instant) -> Self {
        let bounds = &inner.bounds;
        let fair = Fair::new(bounds.rate, bounds.user_rate, bounds.pair_rate);
        Self {
            inner,
            waker,
            started,
            newcomers: Vec::new(),
            pairs: Vec::new(),
            fair,
            buffer: vec![0; PORTION],
            accepts_at: Duration::ZERO,
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Runs until the relay is stopped.
    pub(super) fn run(mut self) {
        while !self.inner.stop.is_set() {
            let now = self.now();
            let wake_at = self.expire(now);
            match self.wait(now, wake_at) {
                Ok(ready) => self.serve(ready),
                Err(error) => {
                    warn!("the relay cannot wait for its connections: {error}");
                    self.inner.stop.wait(SHORTAGE_PAUSE);
                }
            }
        }
        self.pairs.iter().for_each(Pair::close);
    }

    /// Ends what time has ended; returns when to look next.
    fn expire(&mut self, now: Duration) -> Duration {
        let mut next = now + LOOK_EVERY;
        self.newcomers.retain(|newcomer| now.saturating_sub(newcomer.since) < HELLO_WITHIN);
        let over = {
            let mut meetings = self.inner.meetings.lock();
            next = meetings.expire(now).map_or(next, |at| next.min(at));
            meetings.take_over()
        };
        for at in (0..self.pairs.len()).rev() {
            let pair = &self.pairs[at];
            let why = match over.contains(&pair.key) {
                true => Some("a member may not use it any more"),
                false => pair.is_over(now, &self.inner.bounds),
            };
            if let Some(why) = why {
                self.end(at, why);
            }
        }
        next
    }

    fn end(&mut self, at: usize, why: &str) {
        let pair = self.pairs.swap_remove(at);
        debug!("a relayed connection has ended: {why}");
        pair.close();
        self.fair.leave(pair.users);
        self.inner.meetings.lock().end(pair.key);
    }

    /// Waits for sockets, until `wake_at` at most or until a rate lets a pair go on.
    fn wait(
        &self,
        now: Duration,
        mut wake_at: Duration,
    ) -> Result<Vec<(Waited, PollFlags)>, Errno> {
        let count = 2 + self.newcomers.len() + 2 * self.pairs.len();
        let (mut waited, mut descriptors) = (Vec::with_capacity(count), Vec::with_capacity(count));
        waited.push(Waited::Waker);
        descriptors.push(PollFd::new(&self.waker, PollFlags::IN));
        if self.accepts_at <= now {
            waited.push(Waited::Listener);
            descriptors.push(PollFd::new(&self.inner.listener, PollFlags::IN));
        } else {
            wake_at = wake_at.min(self.accepts_at);
        }
        for (at, newcomer) in self.newcomers.iter().enumerate() {
            waited.push(Waited::Newcomer(at));
            descriptors.push(PollFd::new(&newcomer.stream, PollFlags::IN));
        }
        for (at, pair) in self.pairs.iter().enumerate() {
            let may_move = match self.fair.allowance(now, &pair.share, pair.users) {
                Ok(_) => true,
                Err(free_at) => {
                    wake_at = wake_at.min(free_at);
                    false
                }
            };
            for side in [0, 1] {
                // A descriptor without interest would report its end again and again.
                let interest = pair.interest(side, may_move);
                if !interest.is_empty() {
                    waited.push(Waited::Pair(at, side));
                    descriptors.push(PollFd::new(pair.stream(side), interest));
                }
            }
        }
        let wait = Timespec::try_from(wake_at.saturating_sub(now)).unwrap_or_default();
        match poll(&mut descriptors, Some(&wait)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let happened = descriptors.iter().map(PollFd::revents);
        Ok(waited.into_iter().zip(happened).filter(|(_, flags)| !flags.is_empty()).collect())
    }

    fn serve(&mut self, ready: Vec<(Waited, PollFlags)>) {
        let (mut moving, mut saying) = (Vec::new(), Vec::new());
        let mut accepts = false;
        for (waited, flags) in ready {
            match waited {
                Waited::Waker => drop((&self.waker).read(&mut [0; 64])),
                Waited::Listener => accepts = true,
                Waited::Newcomer(at) => saying.push(at),
                Waited::Pair(at, side) => {
                    let failed = flags.intersects(PollFlags::ERR | PollFlags::HUP);
                    if failed || flags.contains(PollFlags::IN) {
                        moving.push((at, side));
                    }
                    if failed || flags.contains(PollFlags::OUT) {
                        moving.push((at, 1 - side));
                    }
                }
            }
        }
        moving.sort_unstable();
        moving.dedup();
        self.move_bytes(moving);
        // From the end, as those that have spoken are taken out.
        saying.into_iter().rev().for_each(|at| self.hear(at));
        if accepts {
            self.accept();
        }
    }

    /// Moves portions, each time of the direction that is due first.
    fn move_bytes(&mut self, mut ready: Vec<(usize, usize)>) {
        let (now, mut room) = (self.now(), ROUND_MAX);
        let (mut over, mut moved) = (Vec::new(), HashMap::<MeetingKey, u64>::new());
        while room > 0
            && let Some(next) = (0..ready.len()).min_by_key(|next| {
                let pair = &self.pairs[ready[*next].0];
                self.fair.rank(&pair.share, pair.users)
            })
        {
            let (at, side) = ready[next];
            let pair = &mut self.pairs[at];
            // What is held already may go in any case: it was counted as it came.
            let allowed = self.fair.allowance(now, &pair.share, pair.users).unwrap_or(0);
            let step = match allowed {
                0 => pair.step(now, side, &mut [], 0),
                _ => pair.step(now, side, &mut self.buffer, allowed),
            };
            match step {
                Ok(step) => {
                    if step.bytes > 0 {
                        self.fair.moved(now, &mut pair.share, pair.users, step.bytes);
                        *moved.entry(pair.key).or_default() += step.bytes;
                        room = room.saturating_sub(step.bytes);
                    }
                    if pair.has_ended() {
                        over.push((at, "both ends have ended it"));
                    }
                    if !step.has_more || allowed == 0 {
                        ready.swap_remove(next);
                    }
                }
                Err(error) => {
                    debug!("a relayed connection has broken: {error}");
                    over.push((at, "one end has broken"));
                    ready.retain(|(other, _)| *other != at);
                }
            }
        }
        {
            let mut meetings = self.inner.meetings.lock();
            for (key, bytes) in moved {
                if !meetings.moved(now, key, bytes)
                    && let Some(at) = self.pairs.iter().position(|pair| pair.key == key)
                {
                    over.push((at, "the bytes of the day are used up"));
                }
            }
        }
        over.sort_unstable();
        over.dedup_by_key(|(at, _)| *at);
        over.into_iter().rev().for_each(|(at, why)| self.end(at, why));
    }

    fn accept(&mut self) {
        let now = self.now();
        match self.inner.listener.accept_now(DEAD_AFTER) {
            Ok(None) => {}
            Ok(Some((stream, peer))) => {
                let source = Source::of(peer.ip());
                let of_source = |newcomer: &&Newcomer| newcomer.source == source;
                let is_full = self.newcomers.len() >= NEWCOMERS_MAX;
                if self.newcomers.iter().filter(of_source).count() >= NEWCOMERS_PER_SOURCE_MAX {
                    // They are in the order in which they came.
                    let oldest = self.newcomers.iter().position(|one| one.source == source);
                    oldest.into_iter().for_each(|oldest| drop(self.newcomers.remove(oldest)));
                } else if is_full {
                    self.newcomers.remove(0);
                }
                let hello = [0; RELAY_HELLO_LEN];
                self.newcomers.push(Newcomer { stream, source, since: now, hello, len: 0 });
            }
            Err(error) => {
                warn!("the relay cannot accept connections: {error}");
                self.accepts_at = now + SHORTAGE_PAUSE;
            }
        }
    }

    /// Reads what a newcomer says, and no byte more; finds its other end once it has said all.
    fn hear(&mut self, at: usize) {
        let newcomer = &mut self.newcomers[at];
        let room = &mut newcomer.hello[newcomer.len..];
        match recv(&newcomer.stream, room, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return drop(self.newcomers.remove(at)),
            Ok((len, _)) => newcomer.len += len,
            Err(Errno::AGAIN | Errno::INTR) => return,
            Err(_) => return drop(self.newcomers.remove(at)),
        }
        if newcomer.len < RELAY_HELLO_LEN {
            return;
        }
        let Newcomer { stream, hello, source, .. } = self.newcomers.remove(at);
        let hello = match RelayHello::decode(&hello) {
            Ok(hello) => hello,
            Err(error) => return debug!("{source}: {error}"),
        };
        let shown = self.inner.meetings.lock().show(&hello.secret, stream);
        match shown.0 {
            Shown::Unknown => debug!("{source}: no introduction is known for it, or no more"),
            Shown::First => {}
            Shown::Both(key, meeting, streams) => {
                let users = meeting.parties().map(|party| party.user);
                let share = self.fair.join(users);
                let now = self.now();
                self.pairs.push(Pair::new(now, key, users, share, streams));
            }
        }
    }
}

/// The two ends of what wakes the thread; neither blocks.
pub(super) fn waker() -> io::Result<(UnixStream, UnixStream)> {
    let (here, there) = UnixStream::pair()?;
    here.set_nonblocking(true)?;
    there.set_nonblocking(true)?;
    Ok((here, there))
}
