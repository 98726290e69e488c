//! The handle on a relay: its start, its introductions and its end.
//!
//! Called on any thread; nothing here blocks but [`Relay::stop`].

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::bounds::{RelayBounds, RelayRefusal, RelayStats};
use super::meetings::Meetings;
use super::pump::{Pump, waker};
use super::shared::RelayShared;
use crate::net::{Listener, Stop, Threads};
use crate::types::RelayMeeting;

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    inner: Arc<RelayShared>,
    started: Instant,
    waker: UnixStream,
    threads: Threads,
}

impl Relay {
    /// Binds the port and starts the thread. `[::]` means every address of both families.
    ///
    /// # Errors
    /// The system's: the port is in use, there is no room for a thread.
    pub fn start(address: SocketAddr, bounds: RelayBounds) -> io::Result<Self> {
        let listener = Listener::bind_any(address)?;
        listener.set_nonblocking()?;
        let (here, there) = waker()?;
        let (started, threads) = (Instant::now(), Threads::new());
        let inner = Arc::new(RelayShared {
            bounds,
            listener,
            meetings: Mutex::new(Meetings::new(bounds)),
            stop: Stop::new(),
        });
        let pump = Pump::new(inner.clone(), there, started);
        threads.spawn("relay", move || pump.run())?;
        Ok(Self { inner, started, waker: here, threads })
    }

    /// Where it listens, with the port chosen.
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.listener.local_addr()
    }

    /// Introduces two devices: from now on their secrets count, once each and for a few seconds.
    ///
    /// # Errors
    /// Which bound is in the way.
    pub fn introduce(&self, meeting: RelayMeeting) -> Result<(), RelayRefusal> {
        self.inner.meetings.lock().introduce(self.started.elapsed(), meeting)
    }

    /// Ends the meetings for which `is_over` is true.
    pub fn end_if(&self, is_over: impl Fn(&RelayMeeting) -> bool) {
        if self.inner.meetings.lock().end_if(is_over) {
            self.wake();
        }
    }

    /// Who meets here now.
    pub fn meetings(&self) -> Vec<RelayMeeting> {
        self.inner.meetings.lock().all().cloned().collect()
    }

    /// What it has done, and does.
    pub fn stats(&self) -> RelayStats {
        self.inner.meetings.lock().stats()
    }

    fn wake(&self) {
        // A full pipe wakes it as well.
        let _ = (&self.waker).write(&[1]);
    }

    /// Ends every connection and the thread; returns its name if it did not end in time.
    ///
    /// # Blocking
    /// For at most `timeout`.
    pub fn stop(&self, timeout: Duration) -> Vec<String> {
        self.inner.stop.set();
        self.wake();
        self.threads.join(timeout)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.inner.stop.set();
        self.wake();
    }
}
