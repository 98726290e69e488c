//! Which peers to serve, and in which order: the choker, the upload order, super-seeding, and the
//! limits of what a link may cost.
//!
//! Pure.

pub(crate) mod choker;
pub(crate) mod limiter;
pub(crate) mod message_limiter;
pub(crate) mod order;
pub(crate) mod send_rates;
pub(crate) mod super_seeding;
pub(crate) mod uploads;
pub(crate) mod width;
