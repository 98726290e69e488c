//! Hole punches under way: two devices whose ports this tracker has seen connect at one moment
//! (decision 028).
//!
//! **Invariant:** the address that one end is told of the other is one at which this tracker has
//! seen a connection of the other's device that showed the secret of the other's session. Of two
//! devices at most one punch for each file waits for its probes. At most [`UNDER_WAY_MAX`] do, and
//! [`OF_SESSION_MAX`] of one session.
//!
//! Plain state: time and secrets are arguments, and what sessions are to be told goes out as values.

use std::net::SocketAddr;
use std::time::Duration;

use super::{SessionKey, SwarmKey};
use crate::net::Source;
use crate::tracker::pace::{Paces, Rate};
use crate::types::{Candidate, CandidateKind, DeviceId, PunchSecret, UserId};

/// How long both ends may take to show their ports.
const PROBES_MAX: Duration = Duration::from_secs(5);
/// Punches under way at a time.
const UNDER_WAY_MAX: usize = 1_024;
/// The same, of one session at either end: a client takes part in a few at a time.
const OF_SESSION_MAX: usize = 16;
/// The shortest time between the word and the moment, for the end that is farther away.
const LEAD: Duration = Duration::from_millis(50);
/// The longest round trip that the moment waits for.
const RTT_MAX: Duration = Duration::from_millis(1_000);

/// Punches that one session asks for: one for each peer of each file that is behind a router.
const SESSION_RATE: Rate = Rate::per_second(64, 4);
/// The same of all sessions of a user.
const USER_RATE: Rate = Rate::per_second(128, 8);
/// Punches with one device that one user asks for: each file takes a link.
const PAIR_RATE: Rate = Rate::per_second(32, 2);
/// Punches in which one device is asked to take part, by whomever.
const ASKED_RATE: Rate = Rate::per_second(64, 8);
/// Paces in use at a time: some 2 MiB.
const PACES_MAX: usize = 16_384;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key {
    Session(SessionKey),
    User(UserId),
    Pair(UserId, DeviceId),
    Asked(DeviceId),
}

/// One end of a punch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Party {
    pub(super) session: SessionKey,
    pub(super) user: UserId,
    pub(super) device: DeviceId,
}

/// What one end is to be told when both ports were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Go {
    pub(super) session: SessionKey,
    pub(super) secret: PunchSecret,
    /// Where the other's port was seen.
    pub(super) address: SocketAddr,
    pub(super) after: Duration,
}

/// Why a probe is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnknownProbe;

#[derive(Debug)]
struct End {
    party: Party,
    secret: PunchSecret,
    /// Where its port was seen, and how long a message takes to it and back.
    seen: Option<(SocketAddr, Duration)>,
}

#[derive(Debug)]
struct Punch {
    swarm: SwarmKey,
    ends: [End; 2],
    until: Duration,
}

/// All hole punches of this tracker.
#[derive(Debug)]
pub(super) struct Punches {
    /// The oldest first.
    under_way: Vec<Punch>,
    rates: Paces<Key>,
}

impl Default for Punches {
    fn default() -> Self {
        Self { under_way: Vec::new(), rates: Paces::new(PACES_MAX) }
    }
}

impl Punches {
    /// Begins a punch; each end is then told its secret. False if it has to wait.
    pub(super) fn begin(
        &mut self,
        now: Duration,
        swarm: SwarmKey,
        ends: [Party; 2],
        secrets: [PunchSecret; 2],
    ) -> bool {
        self.under_way.retain(|punch| punch.until > now);
        let devices = ends.map(|end| end.device);
        let is_of_them =
            |punch: &Punch| punch.ends.iter().all(|end| devices.contains(&end.party.device));
        let is_same = |punch: &Punch| punch.swarm == swarm && is_of_them(punch);
        let of_session = |session| {
            let has = |punch: &&Punch| punch.ends.iter().any(|end| end.party.session == session);
            self.under_way.iter().filter(has).count()
        };
        if self.under_way.len() >= UNDER_WAY_MAX
            || self.under_way.iter().any(is_same)
            || ends.iter().any(|end| of_session(end.session) >= OF_SESSION_MAX)
        {
            return false;
        }
        let [asker, asked] = ends;
        let keys = [
            (Key::Session(asker.session), SESSION_RATE),
            (Key::User(asker.user), USER_RATE),
            (Key::Pair(asker.user, asked.device), PAIR_RATE),
            (Key::Asked(asked.device), ASKED_RATE),
        ];
        if keys.iter().any(|(key, rate)| !self.rates.wait(now, *key, *rate).is_zero()) {
            return false;
        }
        for (key, rate) in keys {
            self.rates.take(now, key, rate);
        }
        let [first, second] = secrets;
        let end = |party, secret| End { party, secret, seen: None };
        let ends = [end(asker, first), end(asked, second)];
        self.under_way.push(Punch { swarm, ends, until: now + PROBES_MAX });
        true
    }

    /// Takes what a connection from a port has shown. Once both ends' were seen, returns what
    /// they are to be told; nothing if a connection between them would be of no use.
    ///
    /// # Errors
    /// [`UnknownProbe`] if no punch under way has given that device this secret, or it was used.
    pub(super) fn probed(
        &mut self,
        now: Duration,
        (secret, device): (PunchSecret, DeviceId),
        address: SocketAddr,
        rtt: Duration,
    ) -> Result<Option<[Go; 2]>, UnknownProbe> {
        self.under_way.retain(|punch| punch.until > now);
        let is_it =
            |end: &End| end.secret == secret && end.party.device == device && end.seen.is_none();
        let has_it = |punch: &Punch| punch.ends.iter().any(is_it);
        let index = self.under_way.iter().position(has_it).ok_or(UnknownProbe)?;
        let ends = &mut self.under_way[index].ends;
        if let Some(end) = ends.iter_mut().find(|end| is_it(end)) {
            end.seen = Some((address, rtt.min(RTT_MAX)));
        }
        let [Some((first, near)), Some((second, far))] = [ends[0].seen, ends[1].seen] else {
            return Ok(None);
        };
        let punch = self.under_way.remove(index);
        if !can_meet(first, second) {
            return Ok(None);
        }
        let slowest = near.max(far);
        let go = |end: &End, address, rtt| Go {
            session: end.party.session,
            secret: end.secret,
            address,
            after: LEAD + (slowest - rtt) / 2,
        };
        Ok(Some([go(&punch.ends[0], second, near), go(&punch.ends[1], first, far)]))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.under_way.len()
    }
}

/// Tells whether a punch between two observed addresses can be of use. Devices behind one address
/// meet inside.
pub(super) fn can_meet(one: SocketAddr, other: SocketAddr) -> bool {
    let is_usable = |at: SocketAddr| Candidate::new(at, CandidateKind::Observed).is_usable(false);
    one.is_ipv4() == other.is_ipv4()
        && Source::of(one.ip()) != Source::of(other.ip())
        && is_usable(one)
        && is_usable(other)
}

#[cfg(test)]
mod tests;
