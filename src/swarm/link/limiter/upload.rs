//! The limit of what is sent, where it is sent: link writers wait here for their turn.
//!
//! **Invariant:** while a limit is set, no byte of a block is written that [`Turns`] has not given;
//! a link that is closed stops waiting within [`LOOK`], and a changed limit counts for whoever
//! waits already.
//!
//! Runs on the links' writer threads and blocks them. Until the first byte of a block is written,
//! other messages of the link are sent meanwhile.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::swarm::engine::torrent::Torrent;
use crate::swarm::link::Link;
use crate::swarm::serve::limiter::turns::{Ticket, Turns};
use crate::types::{DeviceId, Rate};

/// How often one who waits looks whether its link is over, and sends what else is to be sent.
const LOOK: Duration = Duration::from_millis(100);

/// The limit.
pub(crate) struct UploadPace {
    limited: AtomicBool,
    epoch: Instant,
    state: Mutex<State>,
}

struct State {
    turns: Turns,
    sleepers: BTreeMap<Ticket, Arc<Condvar>>,
}

/// A turn to send one message; over when dropped.
pub(crate) struct Turn<'a> {
    /// None while nothing is limited.
    paced: Option<Paced<'a>>,
}

struct Paced<'a> {
    pace: &'a UploadPace,
    ticket: Ticket,
    batch_len: u64,
}

impl UploadPace {
    pub(crate) fn new(rate: Option<Rate>) -> Self {
        let state = State { turns: Turns::new(rate), sleepers: BTreeMap::new() };
        Self {
            limited: AtomicBool::new(rate.is_some()),
            epoch: Instant::now(),
            state: Mutex::new(state),
        }
    }

    /// Tells whether anything is limited.
    pub(crate) fn is_limited(&self) -> bool {
        self.limited.load(Ordering::Relaxed)
    }

    /// Sets another limit, or none.
    pub(crate) fn set_rate(&self, rate: Option<Rate>) {
        let mut state = self.state.lock();
        state.turns.set_rate(self.epoch.elapsed(), rate);
        self.limited.store(rate.is_some(), Ordering::Relaxed);
        state.sleepers.values().for_each(|sleeper| _ = sleeper.notify_one());
    }

    /// Waits for a turn to send a message of about `len` bytes; `meanwhile` is called now and then,
    /// and ends the waiting with an error.
    fn wait_turn(
        &self,
        device: DeviceId,
        len: u64,
        meanwhile: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<Turn<'_>> {
        if !self.is_limited() {
            return Ok(Turn { paced: None });
        }
        let mut state = self.state.lock();
        let ticket = state.turns.join(device, len);
        state.sleepers.insert(ticket, Arc::default());
        // From here on it is dropped with the turn, whatever happens.
        let mut turn = Turn { paced: Some(Paced { pace: self, ticket, batch_len: 0 }) };
        let waited = self.wait(&mut state, ticket, meanwhile);
        state.turns.begin(self.epoch.elapsed(), ticket);
        if let Some(paced) = &mut turn.paced {
            paced.batch_len = state.turns.batch_len();
        }
        drop(state);
        waited.map(|()| turn)
    }

    /// Waits until it is the ticket's turn.
    fn wait(
        &self,
        state: &mut MutexGuard<'_, State>,
        ticket: Ticket,
        meanwhile: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        let sleeper = state.sleepers.get(&ticket).cloned().unwrap_or_default();
        let mut look = Instant::now() + LOOK;
        loop {
            let now = self.epoch.elapsed();
            let until = match state.turns.next(now) {
                _ if !self.is_limited() => return Ok(()),
                Some((next, at)) if next == ticket && at <= now => return Ok(()),
                Some((next, at)) if next == ticket => look.min(self.epoch + at),
                Some((next, _)) => {
                    // Whoever is next waits for its time; it may not have known that it is.
                    state.sleepers.get(&next).inspect(|sleeper| _ = sleeper.notify_one());
                    look
                }
                None => look,
            };
            sleeper.wait_until(state, until);
            if Instant::now() >= look {
                // It may write, to somebody who takes nothing: nobody waits for that.
                let now = self.epoch.elapsed();
                state.turns.leave_for(now, ticket);
                state.wake_next(now);
                let done = MutexGuard::unlocked(state, &mut *meanwhile);
                state.turns.back(ticket);
                done?;
                look = Instant::now() + LOOK;
            }
        }
    }
}

impl State {
    /// Wakes whoever is next.
    fn wake_next(&self, now: Duration) {
        if let Some((next, _)) = self.turns.next(now) {
            self.sleepers.get(&next).inspect(|sleeper| _ = sleeper.notify_one());
        }
    }
}

impl Turn<'_> {
    /// Bytes of blocks to gather into the message, if more than one fits, at most `most`.
    pub(crate) fn batch_len(&self, most: u32) -> u32 {
        self.paced
            .as_ref()
            .map_or(most, |paced| u32::try_from(paced.batch_len).unwrap_or(u32::MAX).min(most))
    }

    /// Sends the message, as fast as it may go.
    ///
    /// # Errors
    /// Those of `send`, and one if the link is over.
    pub(crate) fn write(
        &self,
        link: &Link,
        message: &[u8],
        send: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let Some(Paced { pace, ticket, .. }) = &self.paced else { return send(message) };
        let mut rest = message;
        while !rest.is_empty() {
            let mut state = pace.state.lock();
            state.turns.again(*ticket, rest.len() as u64);
            pace.wait(&mut state, *ticket, &mut || if_open(link))?;
            let now = pace.epoch.elapsed();
            let given = match pace.is_limited() {
                true => usize::try_from(state.turns.take(now, *ticket)).unwrap_or(usize::MAX),
                false => rest.len(),
            };
            state.wake_next(now);
            drop(state);
            if_open(link)?;
            let (portion, left) = rest.split_at(given.min(rest.len()));
            send(portion)?;
            rest = left;
        }
        Ok(())
    }
}

impl Drop for Paced<'_> {
    fn drop(&mut self) {
        let mut state = self.pace.state.lock();
        state.turns.leave(self.ticket);
        state.sleepers.remove(&self.ticket);
        state.wake_next(self.pace.epoch.elapsed());
    }
}

fn if_open(link: &Link) -> io::Result<()> {
    if link.is_closed() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
}

impl Torrent {
    /// Waits until blocks may be sent on the link, and sends what else is to be sent meanwhile.
    /// `None`: no block is asked for.
    pub(crate) fn upload_turn(
        &self,
        link: &Link,
        writer: &mut impl io::Write,
    ) -> io::Result<Option<Turn<'_>>> {
        let pace = &self.engine.pace.upload;
        if !pace.is_limited() {
            return Ok(Some(Turn { paced: None }));
        }
        let Some(len) = self.state.lock().order.next_len(link.key) else { return Ok(None) };
        let mut bytes = Vec::new();
        let mut meanwhile = || {
            if_open(link)?;
            link.take_messages(&mut bytes);
            writer.write_all(&bytes)?;
            bytes.clear();
            Ok(())
        };
        pace.wait_turn(link.device, u64::from(len), &mut meanwhile).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// The one whose turn it is has something else to write, and its socket takes nothing: the
    /// others go on.
    #[test]
    fn who_is_busy_with_other_messages_holds_nobody_up() {
        let rate = Rate::new(100_000).ok();
        let pace = Arc::new(UploadPace::new(rate));
        {
            // Half a second of debt, so that both wait.
            let mut state = pace.state.lock();
            let ticket = state.turns.join(DeviceId::from_bytes([9; 32]), 50_000);
            state.turns.take(Duration::ZERO, ticket);
            (0..9).for_each(|_| _ = state.turns.take(Duration::ZERO, ticket));
            state.turns.leave(ticket);
        }
        let ((stuck, is_stuck), (free, freed)) = (mpsc::channel(), mpsc::channel::<()>());
        let (first, mut stuck) = (pace.clone(), Some(stuck));
        let thread = std::thread::spawn(move || {
            let mut meanwhile = || {
                if let Some(stuck) = stuck.take() {
                    let _ = stuck.send(());
                    let _ = freed.recv_timeout(Duration::from_secs(60));
                }
                Ok(())
            };
            first.wait_turn(DeviceId::from_bytes([1; 32]), 1000, &mut meanwhile).map(drop)
        });
        is_stuck.recv().unwrap();
        pace.wait_turn(DeviceId::from_bytes([2; 32]), 1000, &mut || Ok(())).unwrap();
        assert!(!thread.is_finished());
        free.send(()).unwrap();
        thread.join().unwrap().unwrap();
    }
}
