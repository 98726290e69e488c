//! What the tests share: processes, a world of trackers and clients, files, and ends of both protocols that do as a test wants.

mod client;
mod files;
mod gate;
mod peer;
mod process;
mod raw;
mod tracker;
mod wait;
mod world;

pub(crate) use client::{ClientProcess, matches};
pub(crate) use files::{Content, sha1_hex, sha1_of};
pub(crate) use gate::Gate;
pub(crate) use peer::{Behaviour, EvilPeer};
pub(crate) use process::{Finished, Process};
pub(crate) use raw::{RawClient, device, request_id};
pub(crate) use tracker::TrackerProcess;
pub(crate) use wait::{PATIENCE, eventually, until};
pub(crate) use world::{World, free_port};
