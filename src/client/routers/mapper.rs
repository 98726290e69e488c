//! Keeps the mappings: asks, renews, notices that a router has lost them, takes them back.
//!
//! **Invariant:** a target has at most one mapping. What was asked for is taken back by
//! [`Mapper::withdraw`], or ends with its lifetime. At most [`TARGETS_MAX`](super::target) targets.
//!
//! Blocks on routers, within the bounds of [`super::udp`] and [`super::upnp`].

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use log::{debug, info};
use sha2::{Digest as _, Sha256};

use super::asker::{Asker, Grant};
use super::error::RouterError;
use super::report::{Report, RouterAttempt, RouterOutcome, RouterProtocol};
use super::target::Target;
use super::upnp;
use crate::client::trackers::uptime;
use crate::wire::port_mapping::{self, Nonce};

/// For how long a router is asked to forward: if the program is killed, that ends by itself.
const LIFETIME: Duration = Duration::from_secs(3600);
/// A mapping is renewed after half of its lifetime, but not more often than this.
const RENEW_MIN: Duration = Duration::from_secs(20);
/// The same at most where the protocol has no clock of the router's: one that has started anew is
/// noticed by the next renewal alone.
const RENEW_MAX_WITHOUT_CLOCK: Duration = Duration::from_secs(600);
/// How often the router's clock is looked at.
const CHECK_EVERY: Duration = Duration::from_secs(20);
/// Pauses before a router that forwarded nothing is asked again: from, doubling, to.
const RETRY_MIN: Duration = Duration::from_secs(30);
const RETRY_MAX: Duration = Duration::from_secs(900);

/// The mappings of one port.
pub(crate) struct Mapper {
    port: u16,
    secret: [u8; 32],
    pub(super) router_port: u16,
    places: Vec<Place>,
}

/// What the mapper shares with the thread that runs it.
pub(crate) struct Surroundings<'a> {
    /// What is told of each attempt.
    pub(crate) report: &'a Report,
    /// Set while a router forwards, or may.
    pub(crate) holds: &'a AtomicBool,
    /// Tells that mappings are not wanted any more.
    pub(crate) is_over: &'a dyn Fn() -> bool,
}

/// One target.
struct Place {
    asker: Asker,
    state: State,
}

enum State {
    Unmapped { retry_at: Duration, pause: Duration },
    Mapped(Box<Mapping>),
}

struct Mapping {
    protocol: RouterProtocol,
    grant: Grant,
    until: Option<Duration>,
    renew_at: Duration,
    check_at: Duration,
    igd: Option<igd_next::Gateway>,
}

impl Mapper {
    /// No mapping so far, of that port. From the secret follow the nonces: a router renews what it
    /// still has from before a crash, which it refuses to others.
    pub(crate) fn new(port: u16, secret: [u8; 32]) -> Self {
        Self { port, secret, router_port: port_mapping::PORT, places: Vec::new() }
    }

    /// Does what is due for these targets, and forgets others: their networks are gone. With
    /// `look_again` everything is due.
    ///
    /// Returns until when nothing is due.
    pub(crate) fn step(
        &mut self,
        targets: &[Target],
        look_again: bool,
        around: &Surroundings<'_>,
    ) -> Duration {
        self.places.retain(|place| {
            let is_there = targets.contains(&place.asker.target);
            if !is_there {
                around.report.set(place.asker.target, &[]);
            }
            is_there
        });
        for target in targets {
            if self.places.iter().all(|place| place.asker.target != *target) {
                let (port, router_port) = (self.port, self.router_port);
                let nonce = self.nonce(*target);
                let asker = Asker { target: *target, port, router_port, nonce };
                self.places.push(Place { asker, state: State::at_first() });
            }
        }
        for place in &mut self.places {
            place.step(look_again, around);
        }
        self.note(around);
        let due = self.places.iter().map(|place| place.state.due_at());
        due.min().unwrap_or(uptime() + CHECK_EVERY)
    }

    fn nonce(&self, target: Target) -> Nonce {
        let text = format!("{} {} {}", target.router, target.own, self.port);
        let digest = Sha256::new_with_prefix(self.secret).chain_update(text).finalize();
        let mut nonce = Nonce::default();
        nonce.copy_from_slice(&digest[..12]);
        nonce
    }

    /// The addresses at which routers forward to this device.
    pub(crate) fn external(&self) -> Vec<SocketAddr> {
        let mapped = self.places.iter().filter_map(|place| match &place.state {
            State::Mapped(mapping) => Some(mapping.grant.external),
            State::Unmapped { .. } => None,
        });
        mapped.collect()
    }

    /// Takes every mapping back.
    ///
    /// # Blocking
    /// For less than half a second for each PCP or NAT-PMP mapping, up to 10 s for one of UPnP,
    /// if the router does not answer.
    pub(crate) fn withdraw(&mut self, around: &Surroundings<'_>) {
        for place in self.places.drain(..) {
            if let State::Mapped(mapping) = &place.state {
                place.unmap(mapping);
            }
        }
        around.report.clear();
        self.note(around);
    }

    fn note(&self, around: &Surroundings<'_>) {
        around.holds.store(!self.external().is_empty(), Ordering::Relaxed);
    }
}

impl State {
    fn at_first() -> Self {
        Self::Unmapped { retry_at: Duration::ZERO, pause: RETRY_MIN }
    }

    fn due_at(&self) -> Duration {
        match self {
            Self::Unmapped { retry_at, .. } => *retry_at,
            Self::Mapped(mapping) => mapping.renew_at.min(mapping.check_at),
        }
    }
}

impl Place {
    fn step(&mut self, look_again: bool, around: &Surroundings<'_>) {
        let now = uptime();
        match &mut self.state {
            State::Unmapped { retry_at, .. } if !look_again && now < *retry_at => {}
            State::Unmapped { pause, .. } => {
                let pause = if look_again { RETRY_MIN } else { *pause };
                self.try_all(pause, None, around);
            }
            State::Mapped(mapping) => {
                let is_due = look_again || now >= mapping.renew_at;
                if is_due || !self.asker.is_kept(mapping, around) {
                    self.renew(around);
                }
            }
        }
    }

    /// Asks in one way after the other, until the router forwards.
    fn try_all(&mut self, pause: Duration, wished: Option<SocketAddr>, around: &Surroundings<'_>) {
        use RouterProtocol::{NatPmp, Pcp, Upnp};
        let ways: &[RouterProtocol] =
            if self.asker.target.own.is_ipv4() { &[Pcp, NatPmp, Upnp] } else { &[Pcp] };
        let mut attempts: Vec<RouterAttempt> = Vec::new();
        let mut is_port_closed = false;
        for protocol in ways {
            attempts.push(self.attempt(*protocol, RouterOutcome::Asking));
            around.report.set(self.asker.target, &attempts);
            // PCP and NAT-PMP share a port.
            let is_closed = is_port_closed && *protocol == NatPmp;
            let mapping = if is_closed {
                Err(RouterError::Closed)
            } else {
                self.asker.map_by(*protocol, wished, None, around)
            };
            is_port_closed = matches!(mapping, Err(RouterError::Closed));
            match mapping {
                Ok(mapping) => {
                    info!(
                        "the router {} forwards {} to this device ({protocol})",
                        self.asker.target.router.ip(),
                        mapping.grant.external
                    );
                    attempts.pop();
                    self.take(mapping, attempts, around);
                    return;
                }
                Err(error) => {
                    debug!("the router {}, {protocol}: {error}", self.asker.target.router.ip());
                    attempts.pop();
                    let failed = RouterOutcome::Failed(error.to_string());
                    attempts.push(self.attempt(*protocol, failed));
                }
            }
            around.report.set(self.asker.target, &attempts);
            if (around.is_over)() {
                break;
            }
        }
        let pause = pause.min(RETRY_MAX);
        self.state = State::Unmapped { retry_at: uptime() + pause, pause: pause * 2 };
    }

    /// Has the mapping renewed in the way in which it was made. If the router is silent, it stays
    /// until its end; if the router refuses, it is made anew.
    fn renew(&mut self, around: &Surroundings<'_>) {
        let State::Mapped(mapping) = &mut self.state else { return };
        let (protocol, external) = (mapping.protocol, mapping.grant.external);
        let renewed = self.asker.map_by(protocol, Some(external), mapping.igd.clone(), around);
        let now = uptime();
        match renewed {
            Ok(renewed) => {
                if renewed.grant.external != external {
                    info!("a router forwards {} instead of {external}", renewed.grant.external);
                }
                self.take(renewed, Vec::new(), around);
            }
            Err(RouterError::Over) => {}
            Err(RouterError::Silent | RouterError::Closed | RouterError::System(_))
                if mapping.until.is_some_and(|until| now < until) =>
            {
                mapping.renew_at = now + RENEW_MIN;
                mapping.check_at = mapping.renew_at;
            }
            Err(error) => {
                info!("a router does not forward {external} any more: {error}");
                self.state = State::at_first();
                self.try_all(RETRY_MIN, Some(external), around);
            }
        }
    }

    fn take(
        &mut self,
        mapping: Mapping,
        mut attempts: Vec<RouterAttempt>,
        around: &Surroundings<'_>,
    ) {
        let external = mapping.grant.external;
        let until = mapping.grant.lifetime.map(|lifetime| SystemTime::now() + lifetime);
        attempts.push(self.attempt(mapping.protocol, RouterOutcome::Mapped { external, until }));
        around.report.set(self.asker.target, &attempts);
        self.state = State::Mapped(Box::new(mapping));
    }

    fn attempt(&self, protocol: RouterProtocol, outcome: RouterOutcome) -> RouterAttempt {
        let Asker { target, port, .. } = &self.asker;
        let own = SocketAddr::new(target.own, *port);
        RouterAttempt { protocol, router: target.router.ip(), own, outcome }
    }

    fn unmap(&self, mapping: &Mapping) {
        let Mapping { protocol, grant, igd, .. } = mapping;
        let taken_back = match igd {
            Some(gateway) => upnp::unmap(gateway, grant),
            None => self.asker.unmap(*protocol, grant),
        };
        match taken_back {
            Ok(()) => info!("a router forwards {} no more", grant.external),
            Err(error) => {
                debug!("a router was to forward {} no more: {error}", grant.external);
            }
        }
    }
}

impl Asker {
    /// Asks for a mapping in one way. A router of UPnP that was found before is asked again.
    fn map_by(
        &self,
        protocol: RouterProtocol,
        wished: Option<SocketAddr>,
        igd: Option<igd_next::Gateway>,
        around: &Surroundings<'_>,
    ) -> Result<Mapping, RouterError> {
        let igd = match igd {
            None if protocol == RouterProtocol::Upnp => Some(upnp::find(self.target)?),
            igd => igd,
        };
        if (around.is_over)() {
            return Err(RouterError::Over);
        }
        // An answer that does not come may have been granted all the same.
        around.holds.store(true, Ordering::Relaxed);
        let grant = match &igd {
            Some(gateway) => {
                let internal = SocketAddr::new(self.target.own, self.port);
                upnp::map(gateway, internal, wished, LIFETIME)?
            }
            None => self.map(protocol, wished, LIFETIME, around.is_over)?,
        };
        let now = uptime();
        let half = grant.lifetime.unwrap_or(LIFETIME) / 2;
        let (renew, check) = match grant.epoch {
            Some(_) => (half, CHECK_EVERY),
            None => (half.min(RENEW_MAX_WITHOUT_CLOCK), half),
        };
        let until = grant.lifetime.map(|lifetime| now + lifetime);
        let (renew_at, check_at) = (now + renew.max(RENEW_MIN), now + check);
        Ok(Mapping { protocol, grant, until, renew_at, check_at, igd })
    }

    /// Tells whether the router has a mapping that is not due, if that is to be looked at. A silent
    /// router is given time.
    fn is_kept(&self, mapping: &mut Mapping, around: &Surroundings<'_>) -> bool {
        if uptime() < mapping.check_at || mapping.grant.epoch.is_none() {
            return true;
        }
        mapping.check_at = uptime() + CHECK_EVERY;
        self.has_kept(mapping.protocol, &mapping.grant, around.is_over).unwrap_or(true)
    }
}
