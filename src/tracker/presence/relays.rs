//! Introduces two members' devices at a relay: this tracker's own, or a willing member's.
//!
//! **Invariant:** both ends are logged in here, their users are members of the group named, and the
//! one that is asked for has said that it takes relayed connections. A member's relay is told of
//! meetings in its user's own groups alone, and is dialled at the address at which this tracker sees
//! it: so nobody is sent to a third party.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use log::debug;

use super::{Presence, Session, SessionKey};
use crate::directory::{Directory, Rows};
use crate::relay::Relay;
use crate::tracker::pace::{Paces, Rate};
use crate::types::{
    Candidate, CandidateKind, DeviceId, GroupId, Refusal, RelayMeeting, RelayParty, RelaySecret,
    UserId,
};
use crate::wire::tracker::{Event, Reply};

/// Asks of one user: of all peers of a few downloads at once, then one a second.
const RATE: Rate = Rate::per_second(64, 1);
/// Users whose rate is remembered.
const RATES_MAX: usize = 16_384;
/// Members' relays that are looked at for one ask.
const WILLING_MAX: usize = 64;

/// How a session's device uses relays, as it said.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RelayUse {
    accepts: bool,
    relays_at: Option<u16>,
}

/// What this tracker remembers for introductions.
#[derive(Debug)]
pub(super) struct Introductions {
    started: std::time::Instant,
    rates: Paces<UserId>,
    /// Sessions of willing members, in the order in which their turn comes.
    willing: Vec<SessionKey>,
}

impl Default for Introductions {
    fn default() -> Self {
        let started = std::time::Instant::now();
        Self { started, rates: Paces::new(RATES_MAX), willing: Vec::new() }
    }
}

/// A relay that two devices can be sent to.
enum Place<'a> {
    Own(&'a Relay, SocketAddr),
    Members(SessionKey, SocketAddr),
}

impl Presence {
    /// Notes how a session's device uses relays.
    pub(crate) fn set_relay_use(
        &mut self,
        key: SessionKey,
        user: UserId,
        (accepts, relays_at): (bool, Option<u16>),
        directory: &Directory<impl Rows>,
        has_own: bool,
    ) -> Reply {
        if self.password_of(key, user, directory).is_none() {
            return Reply::Refused(Refusal::LoginFirst);
        }
        let Some(session) = self.sessions.get_mut(&key) else {
            return Reply::Refused(Refusal::LoginFirst);
        };
        let relays_at = relays_at.filter(|port| *port != 0);
        session.relay_use = RelayUse { accepts, relays_at };
        let willing = &mut self.introductions.willing;
        willing.retain(|other| *other != key && self.sessions.contains_key(other));
        if relays_at.is_some() {
            willing.push(key);
        }
        if has_own { Reply::Pong } else { Reply::Refused(Refusal::Unsupported) }
    }

    /// Introduces a session's device to another member's. Both are told where they meet.
    pub(crate) fn introduce(
        &mut self,
        key: SessionKey,
        user: UserId,
        (group, device): (GroupId, DeviceId),
        directory: &Directory<impl Rows>,
        own: Option<(&Relay, SocketAddr)>,
    ) -> Reply {
        match self.meeting(key, user, (group, device), directory) {
            Ok((meeting, other)) => self.send_to_relay(key, other, meeting, directory, own),
            Err(refusal) => Reply::Refused(refusal),
        }
    }

    /// Checks who asks and who is asked for; returns their meeting, and the other one's session.
    fn meeting(
        &mut self,
        key: SessionKey,
        user: UserId,
        (group, device): (GroupId, DeviceId),
        directory: &Directory<impl Rows>,
    ) -> Result<(RelayMeeting, SessionKey), Refusal> {
        self.password_of(key, user, directory).ok_or(Refusal::LoginFirst)?;
        if !directory.is_member(group, user) {
            return Err(Refusal::NotMember);
        }
        let now = self.introductions.started.elapsed();
        if !self.introductions.rates.wait(now, user, RATE).is_zero() {
            return Err(Refusal::Busy);
        }
        self.introductions.rates.take(now, user, RATE);
        let own = self.sessions.get(&key).ok_or(Refusal::LoginFirst)?.visitor.device;
        let is_asked_for = |other: &SessionKey| {
            self.sessions.get(other).is_some_and(|session| {
                session.relay_use.accepts
                    && directory.is_member(group, session.visitor.user)
                    && self.is_good(&session.visitor, directory)
            })
        };
        let others = self.devices.get(&device).filter(|_| device != own);
        let other = others.into_iter().flatten().copied().find(is_asked_for);
        let other = other.ok_or(Refusal::NoSuchDevice)?;
        let asked_for = self.user_of(other).ok_or(Refusal::NoSuchDevice)?;
        let party = |user, device| RelayParty {
            user,
            device,
            secret: RelaySecret::from_bytes(rand::random()),
        };
        let (first, second) = (party(user, own), party(asked_for, device));
        Ok((RelayMeeting { group, first, second }, other))
    }

    fn send_to_relay(
        &mut self,
        key: SessionKey,
        other: SessionKey,
        meeting: RelayMeeting,
        directory: &Directory<impl Rows>,
        own: Option<(&Relay, SocketAddr)>,
    ) -> Reply {
        let has_own = own.is_some();
        let own = own.map(|(relay, address)| Place::Own(relay, address));
        let taken = own.filter(|place| match place {
            Place::Own(relay, _) => match relay.introduce(meeting.clone()) {
                Ok(()) => true,
                Err(why) => {
                    debug!("no relayed connection for {}: {why}", meeting.first.device);
                    false
                }
            },
            Place::Members(..) => true,
        });
        let place = taken.or_else(|| {
            let (willing, address) = self.willing_member((key, other), &meeting, directory)?;
            Some(Place::Members(willing, address))
        });
        let address = match place {
            Some(Place::Own(_, address)) => address,
            Some(Place::Members(willing, address)) => {
                self.push(&[willing], Event::RelayFor { meeting: meeting.clone() });
                address
            }
            None if has_own => return Reply::Refused(Refusal::Busy),
            None => return Reply::Refused(Refusal::Unsupported),
        };
        let RelayMeeting { group, first, second } = meeting;
        for (to, own, other, is_dialler) in
            [(key, &first, &second, true), (other, &second, &first, false)]
        {
            let (device, secret) = (other.device, own.secret.clone());
            self.push(&[to], Event::Relayed { group, device, is_dialler, address, secret });
        }
        Reply::Pong
    }

    /// The next willing member's relay that both ends could reach, and where.
    fn willing_member(
        &mut self,
        ends: (SessionKey, SessionKey),
        meeting: &RelayMeeting,
        directory: &Directory<impl Rows>,
    ) -> Option<(SessionKey, SocketAddr)> {
        let are_local = self.is_local(ends.0) && self.is_local(ends.1);
        let of = |key: &SessionKey| -> Option<SocketAddr> {
            let session = self.sessions.get(key)?;
            let port = session.relay_use.relays_at?;
            let visitor = &session.visitor;
            let is_end = meeting.parties().iter().any(|party| party.device == visitor.device);
            let address = SocketAddr::new(visitor.address.ip(), port);
            let can_be_dialled =
                Candidate::new(address, CandidateKind::Observed).is_usable(are_local);
            let is_fit = !is_end
                && can_be_dialled
                && directory.is_member(meeting.group, visitor.user)
                && self.is_good(visitor, directory);
            is_fit.then_some(address)
        };
        let mut found = None;
        for (at, key) in self.introductions.willing.iter().take(WILLING_MAX).enumerate() {
            if let Some(address) = of(key) {
                found = Some((at, *key, address));
                break;
            }
        }
        // Those that were looked at have had their turn.
        let looked_at = found.map_or(WILLING_MAX, |(at, ..)| at + 1);
        let willing = &mut self.introductions.willing;
        let count = willing.len();
        willing.rotate_left(looked_at.min(count));
        found.map(|(_, key, address)| (key, address))
    }

    /// Forgets a session that relayed.
    pub(super) fn relays_no_more(&mut self, key: SessionKey, session: &Session) {
        if session.relay_use.relays_at.is_some() {
            self.introductions.willing.retain(|other| *other != key);
        }
    }
}

/// What clients are told of where this tracker's relay is: at the tracker's own IP, as they reach it,
/// unless the operator has named another.
pub(crate) fn told_address(relay: SocketAddr, tracker: SocketAddr) -> SocketAddr {
    let is_same = relay.ip() == tracker.ip() || relay.ip().is_unspecified();
    let ip = if is_same { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { relay.ip() };
    SocketAddr::new(ip, relay.port())
}
