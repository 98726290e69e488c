//! Which hole punches are under way, and with which devices they have failed.
//!
//! **Invariant:** a device with which punching has failed is left alone for a time that doubles from
//! [`PAUSE_MIN`], over all files. At most [`UNDER_WAY_MAX`] punches that this device asks for are
//! under way.
//!
//! Plain state under a lock of its own, which nothing else is locked within.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;

use crate::swarm::api::MeetError;
use crate::types::DeviceId;

/// Punches that this device asks for, under way at a time.
const UNDER_WAY_MAX: usize = 8;
/// First and longest time for which a device is left alone with which punching has failed.
const PAUSE_MIN: Duration = Duration::from_secs(30);
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// The pause when a tracker is busy.
const BUSY_PAUSE: Duration = Duration::from_secs(5);
/// Devices remembered with which it has worked; when there are more, all are forgotten.
const WORKED_MAX: usize = 4_096;
/// Devices remembered with which it has failed; when there are more, all are forgotten.
const FAILED_MAX: usize = 4_096;

#[derive(Debug, Default)]
struct Failed {
    count: u32,
    until: Duration,
    /// Why, if it was tried.
    reason: Option<String>,
}

/// What came of earlier punches, and those under way.
#[derive(Debug, Default)]
pub(super) struct Punching {
    state: Mutex<PunchingState>,
}

#[derive(Debug, Default)]
struct PunchingState {
    failed: HashMap<DeviceId, Failed>,
    under_way: usize,
    /// Devices that were reached by punching last.
    worked: HashSet<DeviceId>,
}

/// Counts a punch until dropped.
pub(super) struct UnderWay<'a>(&'a Punching);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.state.lock().under_way -= 1;
    }
}

impl Punching {
    /// Tells whether a punch with the device may be tried now.
    pub(super) fn is_due(&self, now: Duration, device: DeviceId) -> bool {
        let state = self.state.lock();
        state.failed.get(&device).is_none_or(|failed| failed.until <= now)
    }

    /// Tells whether the device was reached by punching last: no address of it answered then.
    pub(super) fn has_worked(&self, device: DeviceId) -> bool {
        self.state.lock().worked.contains(&device)
    }

    /// Why punching with the device failed, if it was tried and did.
    pub(super) fn failure(&self, device: DeviceId) -> Option<String> {
        self.state.lock().failed.get(&device)?.reason.clone()
    }

    /// This machine's networks have changed: what failed may work now.
    pub(super) fn forget_failures(&self) {
        let mut state = self.state.lock();
        state.failed.clear();
        state.worked.clear();
    }

    pub(super) fn begin(&self) -> Option<UnderWay<'_>> {
        let mut state = self.state.lock();
        (state.under_way < UNDER_WAY_MAX).then(|| {
            state.under_way += 1;
            UnderWay(self)
        })
    }

    pub(super) fn note_failed(&self, now: Duration, device: DeviceId, error: &MeetError) {
        let mut state = self.state.lock();
        if state.failed.len() >= FAILED_MAX && !state.failed.contains_key(&device) {
            state.failed.clear();
        }
        state.worked.remove(&device);
        let failed = state.failed.entry(device).or_default();
        let pause = match error {
            MeetError::Busy => BUSY_PAUSE,
            _ => PAUSE_MIN.saturating_mul(1 << failed.count.min(16)).min(PAUSE_MAX),
        };
        failed.until = now + pause;
        match error {
            MeetError::Busy => {}
            MeetError::Unable => failed.count += 1,
            MeetError::Failed(reason) => {
                failed.count += 1;
                failed.reason = Some(reason.clone());
            }
        }
    }

    pub(super) fn note_done(&self, device: DeviceId) {
        let mut state = self.state.lock();
        state.failed.remove(&device);
        if state.worked.len() >= WORKED_MAX {
            state.worked.clear();
        }
        state.worked.insert(device);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: DeviceId = DeviceId::from_bytes([1; 32]);

    #[test]
    fn a_device_with_which_it_failed_is_left_alone_for_longer_each_time() {
        let (punching, mut now) = (Punching::default(), Duration::from_secs(100));
        let failed = MeetError::Failed("it timed out".into());
        for seconds in [30, 60, 120, 240, 480, 600, 600] {
            assert!(punching.is_due(now, DEVICE));
            punching.note_failed(now, DEVICE, &failed);
            now += Duration::from_secs(seconds);
            assert!(!punching.is_due(now - Duration::from_millis(1), DEVICE), "{seconds}");
        }
        assert!(punching.is_due(now, DEVICE));
        assert_eq!(punching.failure(DEVICE).as_deref(), Some("it timed out"));
        punching.note_failed(now, DEVICE, &failed);
        assert!(
            !punching.is_due(now, DEVICE) && punching.is_due(now, DeviceId::from_bytes([2; 32]))
        );
        punching.forget_failures();
        assert!(punching.is_due(now, DEVICE) && punching.failure(DEVICE).is_none());
    }

    #[test]
    fn a_busy_tracker_is_asked_again_soon_and_is_no_failure() {
        let punching = Punching::default();
        punching.note_failed(Duration::ZERO, DEVICE, &MeetError::Busy);
        assert!(!punching.is_due(Duration::ZERO, DEVICE) && punching.is_due(BUSY_PAUSE, DEVICE));
        assert_eq!(punching.failure(DEVICE), None);
    }

    #[test]
    fn what_is_under_way_and_remembered_is_bounded() {
        let punching = Punching::default();
        let under_way: Vec<_> = (0..20).map_while(|_| punching.begin()).collect();
        assert_eq!(under_way.len(), UNDER_WAY_MAX);
        drop(under_way);
        assert!(punching.begin().is_some());
        for number in 0..2 * FAILED_MAX as u32 {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&number.to_be_bytes());
            let device = DeviceId::from_bytes(id);
            punching.note_failed(Duration::ZERO, device, &MeetError::Unable);
        }
        assert!(punching.state.lock().failed.len() <= FAILED_MAX);
    }
}
