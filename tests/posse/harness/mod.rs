//! What the tests share: processes, a world of trackers and clients, files, and ends of both
//! protocols that do as a test wants.

mod client;
mod device;
mod files;
mod gate;
mod house;
mod link;
mod local_network;
mod mounts;
pub(crate) mod network;
mod outside;
mod pace;
mod peer;
#[cfg(feature = "postgres")]
#[allow(dead_code, reason = "shared with the tests of the store")]
mod postgres;
mod process;
mod raw;
mod recorder;
mod sipper;
mod street;
mod tracker;
mod wait;
mod world;

pub(crate) use client::{ClientProcess, matches};
pub(crate) use device::{Device, Secured, device};
pub(crate) use files::{Content, sha1_hex, sha1_of};
pub(crate) use gate::{Forwarder, Gate};
pub(crate) use house::House;
pub(crate) use link::RawLink;
pub(crate) use local_network::LocalNetwork;
pub(crate) use mounts::{FuseDisk, ImageDisk, SmallDisk};
pub(crate) use network::Cable;
pub(crate) use outside::{Asked, Home, Outside};
pub(crate) use pace::Pace;
pub(crate) use peer::{Behaviour, EvilPeer};
#[cfg(feature = "postgres")]
pub(crate) use postgres::{Cluster, LOGGING};
pub(crate) use process::{Finished, Process, set_home};
pub(crate) use raw::{RawClient, password, request_id};
pub(crate) use recorder::{Mischief, Plan, Recorder};
pub(crate) use sipper::{Sipped, Sipper};
pub(crate) use street::{Router, Street};
pub(crate) use tracker::TrackerProcess;
pub(crate) use wait::{PATIENCE, eventually, until};
pub(crate) use world::{World, any_port, free_port, two_addresses};
