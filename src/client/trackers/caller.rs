//! Who waits for a call, and what ends it.
//!
//! **Invariant:** a caller's stop ends the calls that this caller waits for, and no others;
//! [`super::TrackerSet::interrupt`] ends those of all callers.

use std::cell::RefCell;
use std::time::Duration;

use crate::net::Stop;

/// How often a call that has nobody to ask looks whether its caller gave up.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(100);

thread_local! {
    /// The stop of the caller whose command this thread carries out.
    static CALLER: RefCell<Option<Stop>> = const { RefCell::new(None) };
}

/// Carries out `work`: calls that it makes on this thread end when `stop` is set.
pub(crate) fn with_caller<T>(stop: &Stop, work: impl FnOnce() -> T) -> T {
    /// Puts back what was there, also after a panic.
    struct Back(Option<Stop>);
    impl Drop for Back {
        fn drop(&mut self) {
            CALLER.set(self.0.take());
        }
    }
    let _back = Back(CALLER.replace(Some(stop.clone())));
    work()
}

/// The stop of this thread's caller; one that is never set if there is none.
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
    fn a_caller_ends_what_it_waits_for_and_nothing_else() {
        // A tracker that answers pings and nothing else.
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
