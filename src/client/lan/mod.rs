//! Members on one local network find each other by multicast DNS, without a tracker
//! ([decision 029](../../../docs/decisions/029-lan.md)).
//!
//! **Invariant:** what is announced is a rotating id, addresses and a port, and nothing else. What
//! is heard is a hint: the key of the device that answers there decides.
//!
//! No IO. The thread "lan" of [`super::runtime`] sends and receives.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod id;
mod message;
mod neighbours;

use std::net::{Ipv4Addr, Ipv6Addr};

pub(crate) use self::id::{RotatingId, epoch};
pub(crate) use self::message::{Announcement, DATAGRAM_MAX, Message, announce, query, read};
pub(crate) use self::neighbours::{Found, Neighbours};
use crate::net::MulticastGroup;

/// Multicast DNS (RFC 6762, section 3).
pub(crate) const GROUP: MulticastGroup = MulticastGroup {
    v4: Ipv4Addr::new(224, 0, 0, 251),
    v6: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb),
    port: 5353,
};
