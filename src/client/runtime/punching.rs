//! Takes part in hole punches: those of this device's dials, and those that other devices ask for.
//!
//! **Invariant:** this device takes part only for a file that it offers in the group, and in at most
//! [`ANSWERS_MAX`] punches of others at a time; more are passed over, and the others try again.
//!
//! The core passes offers on without waiting. Each has a thread "punch" for a few seconds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use log::debug;

use super::Runtime;
use crate::client::session::news::PunchOffer;
use crate::client::trackers::uptime;
use crate::swarm::{MeetError, Meeting};
use crate::types::{DeviceId, GroupId, InfoHash};

/// Punches that other devices have asked for, under way at a time.
pub(super) const ANSWERS_MAX: usize = 32;

/// Counts a punch as under way until dropped.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Runtime {
    /// Tells whether this device takes part in the file's swarm in that group, and the other has not
    /// left it.
    pub(super) fn is_offered(&self, info_hash: InfoHash, group: GroupId, device: DeviceId) -> bool {
        let view = self.view();
        let has_left = view.withdrawn.has_left(&(info_hash, device, group), uptime());
        !has_left && view.library.is_offered(info_hash, group)
    }

    /// Tells whether a tracker that lists the device may help to punch.
    pub(super) fn can_meet(&self, info_hash: InfoHash, device: DeviceId) -> bool {
        self.places(info_hash, device)
            .into_iter()
            .any(|(_, trackers)| self.trackers.can_punch(trackers))
    }

    /// Has a tracker bring this device and another together.
    pub(super) fn meet(
        &self,
        info_hash: InfoHash,
        device: DeviceId,
        from: SocketAddr,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Meeting, MeetError> {
        let places = self.places(info_hash, device);
        let is_helped = |(_, trackers): &(GroupId, u64)| self.trackers.can_punch(*trackers);
        let Some((group, trackers)) = places.into_iter().find(is_helped) else {
            return Err(MeetError::Unable);
        };
        self.trackers.punch(trackers, (group, info_hash, device), from, is_over)
    }

    /// The groups in which both take part in the file's swarm, and the trackers that say so.
    fn places(&self, info_hash: InfoHash, device: DeviceId) -> Vec<(GroupId, u64)> {
        let view = self.view();
        let groups = view.library.groups_of(info_hash).into_iter();
        let all = groups.chain(view.library.sources_of(info_hash));
        let seen = all.map(|group| (group, view.book.seen_by(info_hash, device, group)));
        seen.filter(|(_, trackers)| *trackers != 0).collect()
    }

    /// Another device asks for a hole punch with this one. Does not block.
    pub(super) fn answer_punch(self: &Arc<Self>, offer: PunchOffer) {
        let has_room = |count| (count < ANSWERS_MAX).then_some(count + 1);
        let counted = self.punches.fetch_update(Ordering::Relaxed, Ordering::Relaxed, has_room);
        if counted.is_err() {
            return debug!("{}: too many hole punches are under way", offer.device);
        }
        let runtime = self.clone();
        self.punchers.run(move || {
            let _counted = Counted(&runtime.punches);
            if let Err(error) = runtime.take_part(&offer) {
                debug!("{}: no hole: {error}", offer.device);
            }
        });
    }

    fn take_part(&self, offer: &PunchOffer) -> Result<(), MeetError> {
        let PunchOffer { group, info_hash, device, .. } = *offer;
        let engine = self.engine().filter(|_| self.is_offered(info_hash, group, device));
        let engine = engine.ok_or(MeetError::Unable)?;
        let meeting = self.trackers.answer_punch(offer, &|| self.is_stopping())?;
        engine.answer_punch(device, &meeting);
        Ok(())
    }
}
