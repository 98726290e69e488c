//! Has routers forward the port on which this client takes links: PCP, NAT-PMP, UPnP IGD.
//!
//! **Invariant:** only the port for links of other clients is mapped, only at a default route's
//! router, and only while the runtime wants it. Answers count only if they come from that router;
//! what it says of the outside is a hint, as every candidate.
//!
//! [`Mapper`] blocks on the routers, within bounds; it runs on the client's thread "routers".

mod asker;
mod error;
mod mapper;
mod report;
mod target;
#[cfg(test)]
mod tests;
mod udp;
mod upnp;

pub(crate) use mapper::{Mapper, Surroundings};
pub(crate) use report::Report;
pub use report::{RouterAttempt, RouterOutcome, RouterProtocol};
pub(crate) use target::targets;
