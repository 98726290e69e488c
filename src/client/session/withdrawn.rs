//! Devices that have left a file's swarm by their user's choice while their ticket is still valid.
//!
//! **Invariant:** such a device is not served that file in that group until a tracker lists it
//! there again, or every ticket from before has expired. So a link that was being made at that
//! moment is refused, and so is a later one of a client that ignores its own withdrawal.
//!
//! Pure. A clone costs a few pointers.

use std::time::Duration;

use imbl::HashMap;

use crate::types::limits::TICKET_LIFETIME;
use crate::types::{DeviceId, GroupId, InfoHash};

/// Maximum number of withdrawals that are kept. Trackers report only swarms in which this device
/// takes part, so far fewer are expected; beyond it all are forgotten, and tickets alone decide.
const NOTED_MAX: usize = 65_536;

/// One device's part in one file's swarm in one group.
pub(crate) type Part = (InfoHash, DeviceId, GroupId);

/// The withdrawals, and when each was reported.
#[derive(Debug, Clone, Default)]
pub(crate) struct Withdrawn(HashMap<Part, Duration>);

impl Withdrawn {
    /// A tracker reports that the device has left; `uptime` is the time now.
    pub(crate) fn note(&mut self, part: Part, uptime: Duration) {
        if self.0.len() >= NOTED_MAX {
            self.0.retain(|_, said| is_fresh(*said, uptime));
        }
        if self.0.len() >= NOTED_MAX {
            self.0.clear();
        }
        self.0.insert(part, uptime);
    }

    /// A tracker lists the device again.
    pub(crate) fn lists(&mut self, part: &Part) {
        self.0.remove(part);
    }

    /// Tells whether the device has left.
    pub(crate) fn has_left(&self, part: &Part, uptime: Duration) -> bool {
        self.0.get(part).is_some_and(|said| is_fresh(*said, uptime))
    }

    /// Forgets everything: the session has ended.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

fn is_fresh(said: Duration, uptime: Duration) -> bool {
    uptime.saturating_sub(said) < TICKET_LIFETIME
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(file: u32) -> Part {
        let mut bytes = [1; 20];
        bytes[..4].copy_from_slice(&file.to_be_bytes());
        (InfoHash::from_bytes(bytes), DeviceId::from_bytes([2; 32]), GroupId::from_bytes([3; 16]))
    }

    #[test]
    fn a_device_that_left_is_refused_until_listed_again_or_for_one_ticket_lifetime() {
        let (mut withdrawn, now) = (Withdrawn::default(), Duration::from_secs(1_000));
        let other = (part(1).0, part(1).1, GroupId::from_bytes([4; 16]));
        withdrawn.note(part(1), now);
        assert!(withdrawn.has_left(&part(1), now + TICKET_LIFETIME / 2));
        assert!(
            !withdrawn.has_left(&other, now) && !withdrawn.has_left(&part(2), now),
            "in one group, of one file"
        );
        assert!(!withdrawn.has_left(&part(1), now + TICKET_LIFETIME));
        withdrawn.lists(&other);
        assert!(withdrawn.has_left(&part(1), now));
        withdrawn.lists(&part(1));
        assert!(!withdrawn.has_left(&part(1), now));
    }

    #[test]
    fn withdrawals_are_bounded_and_expired_ones_go_first() {
        let (mut withdrawn, now) = (Withdrawn::default(), Duration::from_secs(1_000));
        (1..NOTED_MAX as u32).for_each(|file| withdrawn.note(part(file), now));
        let later = now + TICKET_LIFETIME / 2;
        withdrawn.note(part(0), later);
        let now = now + TICKET_LIFETIME;
        withdrawn.note(part(NOTED_MAX as u32), now);
        assert!(withdrawn.has_left(&part(0), now) && withdrawn.0.len() == 2);
        (0..2 * NOTED_MAX as u32).for_each(|file| withdrawn.note(part(file), now));
        assert!(withdrawn.0.len() <= NOTED_MAX);
    }
}
