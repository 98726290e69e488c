//! Listeners, connections, named threads and stopping: everything about sockets and threads that
//! knows no message.
//!
//! **Invariant:** a byte stream is made in one place, [`Connection`]; every thread is started in
//! one place, [`Threads`]; and after [`Stop::set`] and [`Registry::close_all`] nothing here blocks
//! for good.
//!
//! Blocking sockets and operating-system threads, nothing else.

mod budget;
mod connection;
mod gateways;
mod interfaces;
mod listener;
mod multicast;
mod registry;
mod resolve;
mod security;
mod socket;
mod source;
mod stop;
mod stream;
mod threads;
mod workers;

#[cfg(any(test, fuzzing))]
pub(crate) use security::fuzz;

pub use budget::{Budget, Lease};
pub use connection::{Connection, Reader, Writer};
pub use gateways::{Gateway, default_gateways};
pub use interfaces::{Interface, InterfaceAddress, interface_addresses, interfaces};
pub use listener::Listener;
pub(crate) use multicast::{Multicast, MulticastGroup};
pub use registry::{Admission, Bounds, Close, Registry};
pub use resolve::{is_listening, resolve};
pub use security::{
    DeviceSecurity, PeerIdentity, TrackerSecurity, Transport, WrongNetwork, is_refused_by_peer,
};
pub use socket::{Incoming, is_own_address};
pub use source::Source;
pub use stop::Stop;
pub use threads::Threads;
pub(crate) use workers::Workers;
