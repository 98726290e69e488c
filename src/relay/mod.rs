//! A relay: passes sealed bytes between the devices of two members who cannot reach each other.
//!
//! A tracker introduces the two ends: it has checked who they are and that both are members, and
//! makes a secret for each. The relay knows its connections by these secrets alone. What it passes
//! on is TLS from device to device, which it neither begins nor ends.
//!
//! **Invariant:** nothing is passed on between connections but those of one introduction; an
//! introduction counts once, for `MEET_WITHIN`; no structure here grows
//! beyond [`RelayBounds`].
//!
//! One thread, "relay", does everything with the sockets, and waits for all of them together. From
//! the bottom: `bounds`, `fair` (who may move how much now; pure), `meetings` (who is introduced and
//! who has come; no IO), `pair` (two connections), `pump` (the thread), `server` (the handle).

mod bounds;
mod fair;
mod meetings;
mod pair;
mod pump;
mod server;
mod shared;
#[cfg(test)]
mod tests;

pub use self::bounds::{RelayBounds, RelayRefusal, RelayStats};
pub use self::server::Relay;
