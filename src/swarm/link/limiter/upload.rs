//! The limit of what is sent: the links' writers wait here for a lease to send a message.
//!
//! **Invariant:** while a limit is set, no byte of a block is written that [`SendQueue`] has not
//! granted; a writer whose link is closed stops waiting within [`LOOK`], and a changed limit counts
//! for the writers that wait already.
//!
//! Runs on the links' writer threads and blocks them. Until the first byte of a block is written,
//! other messages of the link are sent meanwhile.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::swarm::link::Link;
use crate::swarm::serve::limiter::send_queue::{SendQueue, SenderId};
use crate::types::{DeviceId, Rate};

/// How often a writer that waits looks whether its link is closed, and sends other messages.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) struct UploadLimiter {
    limited: AtomicBool,
    epoch: Instant,
    state: Mutex<WaitingSenders>,
}

struct WaitingSenders {
    queue: SendQueue,
    sleepers: BTreeMap<SenderId, Arc<Condvar>>,
}

/// The right to send one message; over when dropped.
pub(crate) struct SendLease<'a> {
    /// `None` while nothing is limited.
    granted: Option<Grant<'a>>,
}

struct Grant<'a> {
    limiter: &'a UploadLimiter,
    id: SenderId,
    batch_len: u64,
}

impl UploadLimiter {
    pub(crate) fn new(rate: Option<Rate>) -> Self {
        let state = WaitingSenders { queue: SendQueue::new(rate), sleepers: BTreeMap::new() };
        Self {
            limited: AtomicBool::new(rate.is_some()),
            epoch: Instant::now(),
            state: Mutex::new(state),
        }
    }

    pub(crate) fn is_limited(&self) -> bool {
        self.limited.load(Ordering::Relaxed)
    }

    pub(crate) fn set_rate(&self, rate: Option<Rate>) {
        let mut state = self.state.lock();
        state.queue.set_rate(self.epoch.elapsed(), rate);
        self.limited.store(rate.is_some(), Ordering::Relaxed);
        state.sleepers.values().for_each(|sleeper| _ = sleeper.notify_one());
    }

    /// Waits for the right to send a message of about `len` bytes. `meanwhile` is called now and
    /// then; its error ends the waiting.
    ///
    /// # Blocking
    /// As long as the limit says.
    pub(crate) fn acquire(
        &self,
        device: DeviceId,
        len: u64,
        meanwhile: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<SendLease<'_>> {
        if !self.is_limited() {
            return Ok(SendLease { granted: None });
        }
        let mut state = self.state.lock();
        let id = state.queue.join(device, len);
        state.sleepers.insert(id, Arc::default());
        // Dropping it takes the sender out of the queue again, also after an error.
        let mut grant = Grant { limiter: self, id, batch_len: 0 };
        let waited = self.wait(&mut state, id, meanwhile);
        state.queue.begin(self.epoch.elapsed(), id);
        grant.batch_len = state.queue.batch_len();
        drop(state);
        waited.map(|()| SendLease { granted: Some(grant) })
    }

    fn wait(
        &self,
        state: &mut MutexGuard<'_, WaitingSenders>,
        id: SenderId,
        meanwhile: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        let sleeper = state.sleepers.get(&id).cloned().unwrap_or_default();
        let mut look = Instant::now() + LOOK;
        loop {
            let now = self.epoch.elapsed();
            let until = match state.queue.next(now) {
                _ if !self.is_limited() => return Ok(()),
                Some((next, at)) if next == id && at <= now => return Ok(()),
                Some((next, at)) if next == id => look.min(self.epoch + at),
                Some((next, _)) => {
                    // It may not know yet that it is next.
                    state.sleepers.get(&next).inspect(|sleeper| _ = sleeper.notify_one());
                    look
                }
                None => look,
            };
            sleeper.wait_until(state, until);
            if Instant::now() >= look {
                // It may block in a write meanwhile: the others do not wait for that.
                let now = self.epoch.elapsed();
                state.queue.leave_for(now, id);
                state.wake_next(now);
                let done = MutexGuard::unlocked(state, &mut *meanwhile);
                state.queue.back(id);
                done?;
                look = Instant::now() + LOOK;
            }
        }
    }
}

impl WaitingSenders {
    fn wake_next(&self, now: Duration) {
        if let Some((next, _)) = self.queue.next(now) {
            self.sleepers.get(&next).inspect(|sleeper| _ = sleeper.notify_one());
        }
    }
}

impl SendLease<'_> {
    /// Bytes of blocks to gather into the message, if more than one fits, at most `most`.
    pub(crate) fn batch_len(&self, most: u32) -> u32 {
        self.granted
            .as_ref()
            .map_or(most, |grant| u32::try_from(grant.batch_len).unwrap_or(u32::MAX).min(most))
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
        let Some(Grant { limiter, id, .. }) = &self.granted else { return send(message) };
        let mut rest = message;
        while !rest.is_empty() {
            let mut state = limiter.state.lock();
            state.queue.again(*id, rest.len() as u64);
            limiter.wait(&mut state, *id, &mut || link.check_open())?;
            let now = limiter.epoch.elapsed();
            let given = match limiter.is_limited() {
                true => usize::try_from(state.queue.take(now, *id)).unwrap_or(usize::MAX),
                false => rest.len(),
            };
            state.wake_next(now);
            drop(state);
            link.check_open()?;
            let (portion, left) = rest.split_at(given.min(rest.len()));
            send(portion)?;
            rest = left;
        }
        Ok(())
    }
}

impl Drop for Grant<'_> {
    fn drop(&mut self) {
        let mut state = self.limiter.state.lock();
        state.queue.leave(self.id);
        state.sleepers.remove(&self.id);
        state.wake_next(self.limiter.epoch.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// The sender that is next blocks in a write of another message: the others go on.
    #[test]
    fn a_sender_that_blocks_elsewhere_holds_up_no_other() {
        let rate = Rate::new(100_000).ok();
        let limiter = Arc::new(UploadLimiter::new(rate));
        {
            // Half a second of debt, so that both wait.
            let mut state = limiter.state.lock();
            let id = state.queue.join(DeviceId::from_bytes([9; 32]), 50_000);
            state.queue.take(Duration::ZERO, id);
            (0..9).for_each(|_| _ = state.queue.take(Duration::ZERO, id));
            state.queue.leave(id);
        }
        let ((stuck, is_stuck), (free, freed)) = (mpsc::channel(), mpsc::channel::<()>());
        let (first, mut stuck) = (limiter.clone(), Some(stuck));
        let thread = std::thread::spawn(move || {
            let mut meanwhile = || {
                if let Some(stuck) = stuck.take() {
                    let _ = stuck.send(());
                    let _ = freed.recv_timeout(Duration::from_secs(60));
                }
                Ok(())
            };
            first.acquire(DeviceId::from_bytes([1; 32]), 1000, &mut meanwhile).map(drop)
        });
        is_stuck.recv().unwrap();
        limiter.acquire(DeviceId::from_bytes([2; 32]), 1000, &mut || Ok(())).unwrap();
        assert!(!thread.is_finished());
        free.send(()).unwrap();
        thread.join().unwrap().unwrap();
    }
}
