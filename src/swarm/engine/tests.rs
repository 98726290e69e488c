//! Engines in one process over loopback: what a group of clients does, with the client's part played by [`harness::Station`].

mod basic;
mod evil;
mod faults;
mod harness;
mod raw;
mod tickets;
