//! Which addresses this device offers, and what came of them.

use std::net::SocketAddr;

use super::routers::RouterAttempt;
use super::runtime::LanStatus;
use super::start::Client;
use super::trackers::uptime;
use crate::swarm::InboundLink;
use crate::types::{Candidate, DeviceId, Label};

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
    /// The connected trackers that relay, if relays are used.
    pub relays: Vec<String>,
    /// Where this device relays for others, if its user is willing.
    pub relaying: Option<SocketAddr>,
    /// An address at which members could not connect lately, and how many.
    pub unreachable: Option<(SocketAddr, u32)>,
    /// The routers that were asked to forward the port, how, and what came of it.
    pub routers: Vec<RouterAttempt>,
    /// Why no router was asked, if none was.
    pub no_mapping: Option<&'static str>,
    /// What is known of this machine's networks.
    pub lan: LanReport,
}

/// Whether this device announces itself on this machine's networks, and who else does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanReport {
    /// The rotating id under which it does, or why it does not.
    pub announced: Result<String, String>,
    /// The members' devices that were recognised, with their users' names if these are known.
    pub found: Vec<FoundDevice>,
}

/// A member's device that announces itself on one of this machine's networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundDevice {
    /// The device.
    pub device: DeviceId,
    /// The name of its user, if it is known.
    pub user: Option<Label>,
    /// Where it takes links, as it says.
    pub addresses: Vec<SocketAddr>,
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
            relays: runtime.trackers.relays(),
            relaying: runtime.relay.as_ref().map(|relay| relay.local_addr()),
            unreachable: view.reports.unreachable(uptime()),
            routers: runtime.routers.attempts(),
            no_mapping: runtime.why_no_mapping(),
            lan: self.lan(),
        }
    }

    fn lan(&self) -> LanReport {
        let runtime = &self.inner;
        let book = &runtime.view().book;
        let announced = match runtime.lan.status() {
            LanStatus::On(id) => Ok(id),
            LanStatus::Off(why) => Err(why),
        };
        let found = book.found().iter().map(|(device, addresses)| FoundDevice {
            device: *device,
            user: book.user_of(*device).and_then(|user| runtime.names.user(user)),
            addresses: addresses.clone(),
        });
        LanReport { announced, found: found.collect() }
    }
}
