//! PCP and NAT-PMP: asking a router for a mapping, and noticing that it has lost it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::error::RouterError;
use super::report::RouterProtocol;
use super::target::Target;
use super::udp::{LAST_PATIENCE, PATIENCE, RouterSocket};
use crate::client::trackers::uptime;
use crate::types::{Candidate, CandidateKind};
use crate::wire::port_mapping::{
    Answer, Nonce, PcpMapping, RouterRequest, nat_pmp_result_text, pcp_result_text,
};

/// What a router has granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) external: SocketAddr,
    /// `None` if it ends only when it is taken back.
    pub(super) lifetime: Option<Duration>,
    /// The router's clock, if its protocol tells it.
    pub(super) epoch: Option<Epoch>,
}

/// A router's clock, and when it was read. It starts anew when the router has lost its mappings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch {
    seconds: u64,
    at: Duration,
}

impl Epoch {
    fn now(seconds: u32) -> Self {
        Self { seconds: seconds.into(), at: uptime() }
    }

    /// Tells whether the router has kept its mappings since `earlier`: RFC 6887, section 8.5.
    fn is_continuing(self, earlier: Self) -> bool {
        let ours = self.at.saturating_sub(earlier.at).as_secs();
        let Some(theirs) = (self.seconds + 1).checked_sub(earlier.seconds) else { return false };
        let theirs = theirs.saturating_sub(1);
        ours + 2 >= theirs - theirs / 16 && theirs + 2 >= ours - ours / 16
    }
}

/// Asks one router for one address and port of this machine.
pub(super) struct Asker {
    pub(super) target: Target,
    pub(super) port: u16,
    /// The router's port for PCP and NAT-PMP.
    pub(super) router_port: u16,
    pub(super) nonce: Nonce,
}

impl Asker {
    fn socket(&self) -> Result<RouterSocket, RouterError> {
        let mut router = self.target.router;
        router.set_port(self.router_port);
        RouterSocket::open(self.target.own, router)
    }

    /// Asks for a mapping by PCP or NAT-PMP, or has it renewed.
    pub(super) fn map(
        &self,
        protocol: RouterProtocol,
        wished: Option<SocketAddr>,
        lifetime: Duration,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Grant, RouterError> {
        let seconds = lifetime.as_secs() as u32;
        let grant = if protocol == RouterProtocol::Pcp {
            self.pcp(wished, seconds, PATIENCE, is_over)?
        } else {
            self.nat_pmp(wished, seconds, is_over)?
        };
        let external = Candidate::new(grant.external, CandidateKind::Mapped);
        let is_usable = external.is_usable(false);
        if is_usable { Ok(grant) } else { Err(RouterError::Unusable(grant.external.ip())) }
    }

    fn pcp(
        &self,
        wished: Option<SocketAddr>,
        lifetime: u32,
        patience: &[Duration],
        is_over: &dyn Fn() -> bool,
    ) -> Result<Grant, RouterError> {
        let any = match self.target.own {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            // An address of IPv6 is not translated: the firewall is to let its port in.
            own => own,
        };
        let external = wished.unwrap_or(SocketAddr::new(any, self.port));
        let (nonce, internal_port) = (self.nonce, self.port);
        let mapping = PcpMapping { nonce, internal_port, external };
        let request = RouterRequest::PcpMap { mapping, client: self.target.own, lifetime };
        self.socket()?.ask(request, patience, is_over, |answer| match answer {
            Answer::PcpMap { result, epoch, lifetime: granted, mapping } => {
                let is_ours = mapping.nonce == nonce && mapping.internal_port == internal_port;
                is_ours.then(|| match result {
                    0 if granted > 0 || lifetime == 0 => Ok(Grant {
                        external: mapping.external,
                        lifetime: Some(Duration::from_secs(granted.min(lifetime).into())),
                        epoch: Some(Epoch::now(epoch)),
                    }),
                    0 => Err(RouterError::refused("it maps for 0 seconds")),
                    _ => Err(RouterError::refused(pcp_result_text(result))),
                })
            }
            Answer::PcpOther { result, .. } if result != 0 => {
                Some(Err(RouterError::refused(pcp_result_text(result))))
            }
            // A router that has NAT-PMP alone says that it does not know the version.
            Answer::NatPmpError { .. } => Some(Err(RouterError::NotOffered)),
            _ => None,
        })
    }

    fn nat_pmp(
        &self,
        wished: Option<SocketAddr>,
        lifetime: u32,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Grant, RouterError> {
        let socket = self.socket()?;
        let refusal = |result| RouterError::refused(nat_pmp_result_text(result));
        let external =
            socket.ask(RouterRequest::NatPmpAddress, PATIENCE, is_over, |answer| match answer {
                Answer::NatPmpAddress { external, .. } => Some(Ok(external)),
                Answer::NatPmpError { result, .. } => Some(Err(refusal(result))),
                _ => None,
            })?;
        let external_port = wished.map_or(self.port, |wished| wished.port());
        let internal_port = self.port;
        let request = RouterRequest::NatPmpMap { internal_port, external_port, lifetime };
        socket.ask(request, PATIENCE, is_over, |answer| match answer {
            Answer::NatPmpMap { epoch, internal_port: of, external_port, lifetime: granted } => {
                (of == internal_port && granted > 0).then(|| {
                    Ok(Grant {
                        external: SocketAddr::new(external.into(), external_port),
                        lifetime: Some(Duration::from_secs(granted.min(lifetime).into())),
                        epoch: Some(Epoch::now(epoch)),
                    })
                })
            }
            Answer::NatPmpError { result, .. } => Some(Err(refusal(result))),
            _ => None,
        })
    }

    /// Tells whether the router still has a mapping, by its clock and its address.
    pub(super) fn has_kept(
        &self,
        protocol: RouterProtocol,
        grant: &Grant,
        is_over: &dyn Fn() -> bool,
    ) -> Result<bool, RouterError> {
        let Some(earlier) = grant.epoch else { return Ok(true) };
        let is_kept = |seconds| Epoch::now(seconds).is_continuing(earlier);
        if protocol == RouterProtocol::Pcp {
            let request = RouterRequest::PcpAnnounce { client: self.target.own };
            return self.socket()?.ask(request, PATIENCE, is_over, |answer| match answer {
                // Also a refusal tells the clock.
                Answer::PcpOther { epoch, .. } => Some(Ok(is_kept(epoch))),
                Answer::NatPmpError { .. } => Some(Ok(false)),
                _ => None,
            });
        }
        self.socket()?.ask(RouterRequest::NatPmpAddress, PATIENCE, is_over, |answer| match answer {
            Answer::NatPmpAddress { epoch, external } => {
                Some(Ok(is_kept(epoch) && IpAddr::from(external) == grant.external.ip()))
            }
            Answer::NatPmpError { .. } => Some(Ok(false)),
            _ => None,
        })
    }

    /// Takes a mapping back. If no answer comes, the mapping ends with its lifetime.
    pub(super) fn unmap(&self, protocol: RouterProtocol, grant: &Grant) -> Result<(), RouterError> {
        if protocol == RouterProtocol::Pcp {
            return self.pcp(Some(grant.external), 0, LAST_PATIENCE, &|| false).map(drop);
        }
        let internal_port = self.port;
        // RFC 6886, section 3.4: with an external port of 0.
        let request = RouterRequest::NatPmpMap { internal_port, external_port: 0, lifetime: 0 };
        self.socket()?.ask(request, LAST_PATIENCE, &|| false, |answer| match answer {
            Answer::NatPmpMap { internal_port: of, .. } => (of == internal_port).then_some(Ok(())),
            Answer::NatPmpError { result, .. } => {
                Some(Err(RouterError::refused(nat_pmp_result_text(result))))
            }
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_goes_back_or_jumps_is_of_a_router_that_has_started_anew() {
        let epoch = |seconds: u64, at: u64| Epoch { seconds, at: Duration::from_secs(at) };
        let earlier = epoch(1_000, 50);
        for (seconds, at) in [(1_000, 50), (999, 50), (1_060, 110), (1_057, 110), (1_064, 110)] {
            assert!(epoch(seconds, at).is_continuing(earlier), "{seconds} at {at}");
        }
        for (seconds, at) in [(3, 110), (998, 50), (1_010, 110), (1_200, 110)] {
            assert!(!epoch(seconds, at).is_continuing(earlier), "{seconds} at {at}");
        }
        // A router that keeps no clock tells 0 each time.
        assert!(!epoch(0, 110).is_continuing(epoch(0, 50)));
    }
}
