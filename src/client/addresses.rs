//! Which addresses this device offers, and what came of them.

use std::net::SocketAddr;

use super::routers::RouterAttempt;
use super::start::Client;
use super::trackers::uptime;
use crate::swarm::InboundLink;
use crate::types::{Candidate, Label};

/// The addresses of this device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressReport {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What it tells trackers, the best first. A tracker adds the address at which it sees the
    /// device.
    pub offered: Vec<Candidate>,
    /// Each connected tracker, and where it sees this device.
    pub observed: Vec<(String, SocketAddr)>,
    /// Links that others have dialled and that are up, with the user's name if it is known.
    pub reached: Vec<(InboundLink, Option<Label>)>,
    /// An address at which members could not connect lately, and how many.
    pub unreachable: Option<(SocketAddr, u32)>,
    /// The routers that were asked to forward the port, how, and what came of it.
    pub routers: Vec<RouterAttempt>,
    /// Why no router was asked, if none was.
    pub no_mapping: Option<&'static str>,
}

impl Client {
    /// Reports which addresses this device offers, where trackers see it, and who has reached it.
    pub fn addresses(&self) -> AddressReport {
        let runtime = &self.inner;
        let view = runtime.view();
        let links = runtime.engine().map(|engine| engine.inbound()).unwrap_or_default();
        let name = |link: &InboundLink| runtime.names.user(link.user);
        AddressReport {
            listen: runtime.address,
            offered: runtime.own_addresses.offered(),
            observed: runtime.trackers.observed(),
            reached: links.into_iter().map(|link| (link, name(&link))).collect(),
            unreachable: view.reports.unreachable(uptime()),
            routers: runtime.routers.attempts(),
            no_mapping: runtime.why_no_mapping(),
        }
    }
}
