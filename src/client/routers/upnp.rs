//! UPnP's Internet Gateway Device, by `igd-next`.
//!
//! **Invariant:** only the default route's router is talked to. The library takes a description
//! only from the device that answered the search, at most 1 MiB of it, and follows no redirect.
//!
//! Blocks: a search for [`SEARCH_TIMEOUT`] and a second, a request for the library's 10 s.

use std::env;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use igd_next::{AddPortError, Gateway, PortMappingProtocol, SearchOptions};
use rand::RngExt as _;

use super::asker::Grant;
use super::error::RouterError;
use super::target::Target;
use crate::types::{Candidate, CandidateKind};

/// Where devices are searched for.
const MULTICAST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(239, 255, 255, 250)), 1900);
/// Devices answer a search within 3 s.
const SEARCH_TIMEOUT: Duration = Duration::from_millis(3_200);
/// The same if the router is asked by itself, since another device answered first.
const UNICAST_TIMEOUT: Duration = Duration::from_secs(1);
/// How many external ports are tried.
const PORTS_MAX: usize = 4;
/// What routers show in their lists.
const DESCRIPTION: &str = "Posse";

/// Finds the router's service.
pub(super) fn find(target: Target) -> Result<Gateway, RouterError> {
    let router = target.router.ip();
    if is_proxied(router, |name| env::var(name).ok()) {
        return Err(RouterError::Proxy(router));
    }
    let search = |to: SocketAddr, timeout: Duration| {
        let mut options = SearchOptions::default();
        options.bind_addr = SocketAddr::new(target.own, 0);
        options.broadcast_address = to;
        options.timeout = Some(timeout);
        options.single_search_timeout = Some(timeout);
        igd_next::search_gateway(options).ok().filter(|found| found.addr.ip() == router)
    };
    search(MULTICAST, SEARCH_TIMEOUT)
        .or_else(|| search(SocketAddr::new(router, MULTICAST.port()), UNICAST_TIMEOUT))
        .ok_or(RouterError::Silent)
}

/// Asks for a mapping, or has it renewed.
pub(super) fn map(
    gateway: &Gateway,
    internal: SocketAddr,
    wished: Option<SocketAddr>,
    lifetime: Duration,
) -> Result<Grant, RouterError> {
    let ip = gateway.get_external_ip().map_err(RouterError::refused)?;
    // Port 1 stands for any: it is the address that matters.
    if !Candidate::new(SocketAddr::new(ip, 1), CandidateKind::Mapped).is_usable(false) {
        return Err(RouterError::Unusable(ip));
    }
    let mut lease = lifetime.as_secs() as u32;
    let mut port = wished.map_or(internal.port(), |wished| wished.port());
    let mut tries = 0;
    loop {
        tries += 1;
        let tcp = PortMappingProtocol::TCP;
        match gateway.add_port(tcp, port, internal, lease, DESCRIPTION) {
            Ok(()) => {
                let lifetime = (lease > 0).then(|| Duration::from_secs(lease.into()));
                let external = SocketAddr::new(ip, port);
                return Ok(Grant { external, lifetime, epoch: None });
            }
            Err(error) if tries == PORTS_MAX => return Err(RouterError::refused(error)),
            Err(AddPortError::OnlyPermanentLeasesSupported) if lease > 0 => lease = 0,
            // Another machine has it.
            Err(AddPortError::PortInUse) => port = rand::rng().random_range(20_000..60_000),
            Err(AddPortError::SamePortValuesRequired) if port != internal.port() => {
                port = internal.port();
            }
            Err(error) => return Err(RouterError::refused(error)),
        }
    }
}

/// Takes a mapping back.
pub(super) fn unmap(gateway: &Gateway, grant: &Grant) -> Result<(), RouterError> {
    let removed = gateway.remove_port(PortMappingProtocol::TCP, grant.external.port());
    removed.map_err(RouterError::refused)
}

/// Tells whether the library would send requests for the router to a proxy, as the environment
/// says. It reads the same variables.
fn is_proxied(router: IpAddr, variable: impl Fn(&str) -> Option<String>) -> bool {
    let read = |name: &str| {
        let value = variable(name).or_else(|| variable(&name.to_uppercase()));
        value.filter(|value| !value.is_empty())
    };
    let has_proxy = ["http_proxy", "all_proxy"].into_iter().any(|name| read(name).is_some());
    let except = read("no_proxy").unwrap_or_default();
    let router = router.to_string();
    has_proxy && except != "*" && !except.split(',').any(|host| host.trim() == router)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_that_would_stand_between_is_noticed() {
        let is = |variables: &[(&str, &str)]| {
            let router = "192.168.1.1".parse().unwrap();
            is_proxied(router, |name| {
                let found = variables.iter().find(|(one, _)| *one == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let proxy = ("HTTP_PROXY", "http://proxy.example:3128");
        assert!(!is(&[]) && !is(&[("http_proxy", "")]));
        assert!(is(&[proxy]) && is(&[("all_proxy", "http://x")]));
        assert!(!is(&[proxy, ("no_proxy", "localhost, 192.168.1.1")]));
        assert!(!is(&[proxy, ("NO_PROXY", "*")]) && is(&[proxy, ("no_proxy", "192.168.1.2")]));
    }
}
