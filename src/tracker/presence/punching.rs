//! Who may ask for a hole punch with whom.
//!
//! **Invariant:** only sessions whose devices take part in one file's swarm in one group, as the
//! directory allows them to, are told to punch.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::punches::{Go, Party, Punches, UnknownProbe, can_meet};
use super::{Presence, SessionKey, SwarmKey};
use crate::directory::{Directory, Rows};
use crate::types::{DeviceId, PunchSecret, Refusal, UserId};
use crate::wire::tracker::{Event, Reply};

/// The punches, and the clock that they go by.
#[derive(Debug)]
pub(super) struct Punching {
    started: Instant,
    punches: Punches,
}

impl Default for Punching {
    fn default() -> Self {
        Self { started: Instant::now(), punches: Punches::default() }
    }
}

impl Presence {
    /// A session asks for a hole punch with a device in a file's swarm; `secrets` are random.
    pub(crate) fn punch(
        &mut self,
        key: SessionKey,
        user: UserId,
        (swarm, device): (SwarmKey, DeviceId),
        secrets: [PunchSecret; 2],
        directory: &Directory<impl Rows>,
    ) -> Reply {
        if self.password_of(key, user, directory).is_none() {
            return Reply::Refused(Refusal::LoginFirst);
        }
        let Some(ends) = self.parties(key, swarm, device) else {
            return Reply::Refused(Refusal::NoSuchDevice);
        };
        let now = self.punching.started.elapsed();
        if !self.punching.punches.begin(now, swarm, ends, secrets) {
            return Reply::Refused(Refusal::Busy);
        }
        let (info_hash, group) = swarm;
        for (side, secret) in secrets.into_iter().enumerate() {
            let (own, other) = (ends[side], ends[1 - side]);
            let (device, is_asker) = (other.device, side == 0);
            let event = Event::PunchBegun { secret, group, info_hash, device, is_asker };
            self.push(&[own.session], event);
        }
        Reply::Pong
    }

    /// Both ends, if both take part in the swarm and a punch between them can be of use.
    fn parties(&self, key: SessionKey, swarm: SwarmKey, device: DeviceId) -> Option<[Party; 2]> {
        let sessions = self.swarms.get(&swarm)?;
        let other = self.devices.get(&device)?.iter().find(|key| sessions.contains_key(key))?;
        let visitor = |key: SessionKey| Some(&self.sessions.get(&key)?.visitor);
        let (own, other_visitor) = (visitor(key)?, visitor(*other)?);
        let is_of_use = own.device != device && can_meet(own.address, other_visitor.address);
        let party = |session| {
            let visitor = visitor(session)?;
            Some(Party { session, user: visitor.user, device: visitor.device })
        };
        let is_in = sessions.contains_key(&key);
        (is_in && is_of_use).then_some([party(key)?, party(*other)?])
    }

    /// Takes a probe of a device: a connection from the port of a punch, which came from `address`.
    ///
    /// # Errors
    /// [`UnknownProbe`]: nothing is told, and the connection ends.
    pub(crate) fn probed(
        &mut self,
        probe: (PunchSecret, DeviceId),
        address: SocketAddr,
        rtt: Duration,
    ) -> Result<(), UnknownProbe> {
        let now = self.punching.started.elapsed();
        let told = self.punching.punches.probed(now, probe, address, rtt)?;
        for Go { session, secret, address, after } in told.into_iter().flatten() {
            let in_ms = after.as_millis() as u32;
            self.push(&[session], Event::PunchNow { secret, address, in_ms });
        }
        Ok(())
    }
}
