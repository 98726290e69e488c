//! The caller of a command, whose stop interrupts the calls to trackers.
//!
//! **Invariant:** a caller's stop interrupts this caller's calls only;
//! [`super::TrackerSet::interrupt`] interrupts those of all callers.

use std::cell::RefCell;
use std::time::Duration;

use crate::net::Stop;

/// Interval between checks of the caller's stop while no tracker can be asked.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(100);

thread_local! {
    /// The stop of the command that runs on this thread.
    static CALLER: RefCell<Option<Stop>> = const { RefCell::new(None) };
}

/// Runs `work`. Its calls to trackers on this thread are interrupted when `stop` is set.
pub(crate) fn with_caller<T>(stop: &Stop, work: impl FnOnce() -> T) -> T {
    /// Restores the previous value, also after a panic.
    struct Back(Option<Stop>);
    impl Drop for Back {
        fn drop(&mut self) {
            CALLER.set(self.0.take());
        }
    }
    let _back = Back(CALLER.replace(Some(stop.clone())));
    work()
}

/// The stop of the command that runs on this thread, if there is one.
pub(super) fn current() -> Option<Stop> {
    CALLER.with_borrow(Clone::clone)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use crate::client::ClientError;
    use crate::client::trackers::tests::*;
    use crate::client::trackers::{Need, with_caller};
    use crate::net::Stop;
    use crate::wire::tracker::Request;

    #[test]
    fn a_stop_interrupts_the_calls_of_its_caller_only() {
        // The tracker answers pings only, until it is released.
        let (release, held) = crossbeam_channel::unbounded::<()>();
        let fake = Fake::start(move |request| {
            if !matches!(request, Request::Ping) {
                let _ = held.recv_timeout(PATIENCE);
            }
            usual(request)
        });
        let (set, _news) = set_of(&[&fake]);
        let (one, other) = (Stop::new(), Stop::new());
        std::thread::scope(|scope| {
            let call = |stop: &Stop| {
                let (set, stop) = (set.clone(), stop.clone());
                scope.spawn(move || {
                    with_caller(&stop, || set.call(&Request::ListTrackers, Need::Tracker))
                })
            };
            let (first, second) = (call(&one), call(&other));
            wait_for("both are asked", || {
                fake.count(|request| matches!(request, Request::ListTrackers)) >= 1
            });
            let asked = Instant::now();
            one.set();
            assert!(matches!(first.join().unwrap(), Err(ClientError::Interrupted)));
            assert!(asked.elapsed() < std::time::Duration::from_secs(2));
            assert!(!second.is_finished());
            (0..8).for_each(|_| release.send(()).unwrap());
            assert!(second.join().unwrap().is_ok());
        });
        set.stop(PATIENCE);
    }
}
