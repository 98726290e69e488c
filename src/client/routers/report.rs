//! What was tried at which router, and what came of it.
//!
//! **Invariant:** a target has at most one entry a protocol.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use parking_lot::Mutex;

use super::target::Target;
use crate::types::is_private;

/// How a router is asked to forward a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouterProtocol {
    /// Port Control Protocol, RFC 6887; also for IPv6, where it opens the router's firewall.
    Pcp,
    /// NAT Port Mapping Protocol, RFC 6886.
    NatPmp,
    /// UPnP's Internet Gateway Device.
    Upnp,
}

impl RouterProtocol {
    /// The word for it in JSON and at the prompt.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pcp => "pcp",
            Self::NatPmp => "nat-pmp",
            Self::Upnp => "upnp",
        }
    }
}

impl fmt::Display for RouterProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP",
        })
    }
}

/// What came of asking a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouterOutcome {
    /// It is being asked.
    Asking,
    /// It forwards the port.
    Mapped {
        /// Its address and port.
        external: SocketAddr,
        /// Until when it does, unless that is renewed; `None` until it is taken back.
        until: Option<SystemTime>,
    },
    /// It does not, for this reason.
    Failed(String),
}

/// One way in which one router was asked to forward the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterAttempt {
    /// How it was asked.
    pub protocol: RouterProtocol,
    /// The router's address on the network that it shares with this device.
    pub router: IpAddr,
    /// The address of this device to which the router is to forward.
    pub own: SocketAddr,
    /// What came of it.
    pub outcome: RouterOutcome,
}

impl RouterAttempt {
    /// The address at which the router forwards, if it does.
    pub fn external(&self) -> Option<SocketAddr> {
        match self.outcome {
            RouterOutcome::Mapped { external, .. } => Some(external),
            _ => None,
        }
    }

    /// Tells whether the router forwards from an address that is private itself: another router is
    /// in front of it, as with providers that share an address among their customers.
    pub fn is_behind_another(&self) -> bool {
        self.external().is_some_and(|external| is_private(external.ip()))
    }
}

impl fmt::Display for RouterAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, router, own, outcome } = self;
        match outcome {
            RouterOutcome::Asking => write!(f, "the router {router} is being asked by {protocol}"),
            RouterOutcome::Mapped { external, .. } if external == own => {
                write!(f, "the router {router} lets connections to {own} in ({protocol})")
            }
            RouterOutcome::Mapped { external, .. } => {
                write!(f, "the router {router} forwards {external} to {own} ({protocol})")?;
                if self.is_behind_another() {
                    f.write_str("; that address is private: another router is in front of it")?;
                }
                Ok(())
            }
            RouterOutcome::Failed(why) => {
                write!(f, "the router {router} forwards nothing by {protocol}: {why}")
            }
        }
    }
}

/// What the mapper's thread tells the others.
#[derive(Debug, Default)]
pub(crate) struct Report {
    attempts: Mutex<Vec<RouterAttempt>>,
}

impl Report {
    /// Every attempt, those of one target in the order in which they were made.
    pub(crate) fn attempts(&self) -> Vec<RouterAttempt> {
        self.attempts.lock().clone()
    }

    /// Replaces what is told of a target.
    pub(super) fn set(&self, target: Target, new: &[RouterAttempt]) {
        let mut attempts = self.attempts.lock();
        let is_of =
            |one: &RouterAttempt| one.router == target.router.ip() && one.own.ip() == target.own;
        attempts.retain(|one| !is_of(one));
        attempts.extend_from_slice(new);
        attempts.sort_by_key(|one| (one.own.is_ipv6(), one.router, one.own));
    }

    pub(super) fn clear(&self) {
        self.attempts.lock().clear();
    }
}
