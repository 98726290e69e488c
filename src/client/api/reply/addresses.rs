//! The addresses of this device.

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::transfers::Unreachable;
use crate::types::{DeviceId, Label};

/// The addresses of this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Addresses {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What it tells trackers, the best first.
    pub offered: Vec<OfferedAddress>,
    /// Where each connected tracker sees it.
    pub observed: Vec<ObservedAddress>,
    /// Links that others have dialled and that are up.
    pub reached: Vec<ReachedAddress>,
    /// The connected trackers that relay: links go through them when there is no other way.
    #[serde(default)]
    pub relays: Vec<String>,
    /// Where this device relays for members of its user's groups.
    #[serde(default)]
    pub relaying: Option<SocketAddr>,
    /// Members could not connect to it lately.
    #[serde(default)]
    pub unreachable: Option<Unreachable>,
    /// The routers that were asked to forward the port on which this device listens, one entry for
    /// each way in which one was asked.
    #[serde(default)]
    pub routers: Vec<RouterMapping>,
    /// Why no router was asked, if none was.
    #[serde(default)]
    pub no_mapping: Option<String>,
    /// What is known of its networks; `null` from a client of an earlier version.
    #[serde(default)]
    pub lan: Option<Lan>,
}

/// Whether this device announces itself on its networks, and who else does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lan {
    /// The rotating id under which it does.
    pub announced: Option<String>,
    /// Why it does not.
    pub reason: Option<String>,
    /// The members' devices that were recognised.
    pub found: Vec<FoundDevice>,
}

/// A member's device that announces itself on a network of this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FoundDevice {
    /// The device.
    pub device: DeviceId,
    /// Its user, if the name is known.
    #[serde(default)]
    pub user: Option<Label>,
    /// Where it takes links, as it says.
    pub addresses: Vec<SocketAddr>,
}

/// What came of asking a router to forward a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouterMapping {
    /// How it was asked: `pcp`, `nat-pmp` or `upnp`; later versions add protocols.
    pub protocol: String,
    /// The router's address, on the side of this device.
    pub router: IpAddr,
    /// The address of this device to which it is to forward.
    pub address: SocketAddr,
    /// Where it forwards; none as long as it does not.
    #[serde(default)]
    pub external: Option<SocketAddr>,
    /// Until when it forwards unless that is renewed, in milliseconds since 1970 by this device's
    /// clock; none if it does not forward, or until that is taken back.
    #[serde(default)]
    pub until_ms: Option<u64>,
    /// That address is private: another router is in front of this one.
    #[serde(default)]
    pub behind_another: bool,
    /// Why it does not forward. If it neither does nor says why, it is being asked.
    #[serde(default)]
    pub error: Option<String>,
    /// All of it as a sentence.
    pub text: String,
}

/// An address that this device tells trackers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfferedAddress {
    /// The address.
    pub address: SocketAddr,
    /// How the device came by it: `interface`, `mapped` or `advertised`; later versions add kinds.
    pub kind: String,
}

/// Where a tracker sees this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObservedAddress {
    /// The tracker's address.
    pub tracker: String,
    /// This device's, with the port on which it listens.
    pub address: SocketAddr,
}

/// A link that another device has dialled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReachedAddress {
    /// The other device.
    pub device: DeviceId,
    /// Its user, if the name is known.
    #[serde(default)]
    pub user: Option<Label>,
    /// The address of this device that it dialled.
    pub at: SocketAddr,
    /// The address from which it did.
    pub from: SocketAddr,
}
