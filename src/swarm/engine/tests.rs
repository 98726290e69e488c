//! Engines in one process over loopback: what a group of clients does, with the client's part
//! played by [`harness::Station`].

mod basic;
mod bounds;
mod chain;
mod evil;
mod faults;
mod harness;
mod limits;
mod local;
#[cfg(target_os = "linux")]
mod punching;
mod raw;
mod reaching;
mod reading;
mod relayed;
mod tickets;
mod viewing;
