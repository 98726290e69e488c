//! The links and the pieces of one file, and what the client moves.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::{DeviceId, GroupId, InfoHash, Label, UserId};

/// The links to other devices for one file: those that a download takes from, and those that a
/// share gives to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Peers {
    /// The id of the content.
    pub info_hash: InfoHash,
    /// Number of pieces in the file.
    pub pieces: u32,
    /// The links, the oldest first; at most as many as a client has, 288.
    pub peers: Vec<Peer>,
}

/// Which end made a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The other device connected to this one.
    In,
    /// This device connected to the other one.
    Out,
}

/// A link to another device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    /// The name of its user as shown, if it is known.
    pub user: Option<Label>,
    /// The user's id.
    pub user_id: UserId,
    /// The id of the device.
    pub device: DeviceId,
    /// The address of the other end.
    pub address: SocketAddr,
    /// Which end made the link.
    pub direction: Direction,
    /// It goes through a relay, whose address is named above.
    #[serde(default)]
    pub relayed: bool,
    /// Both devices connected at one moment, since no address of the other answered.
    #[serde(default)]
    pub punched: bool,
    /// Both are on one network: the other's address is on a network of this device's machine.
    #[serde(default)]
    pub lan: bool,
    /// The group in which both take part.
    pub group_id: GroupId,
    /// When the link was made, by this device's clock.
    pub since_ms: u64,
    /// Known pieces of the other device. A downloader reports its pieces to a seeder once, at the
    /// start, so the pieces sent since are added.
    pub pieces: Option<u32>,
    /// Bytes per second received lately; 0 if nothing came for 2 seconds.
    pub received_per_second: u64,
    /// Bytes per second sent in the last 2 seconds.
    pub sent_per_second: u64,
    /// Bytes received on this link.
    pub bytes_received: u64,
    /// Bytes sent on this link.
    pub bytes_sent: u64,
    /// This device wants pieces of the other.
    pub interested: bool,
    /// The other device does not let this one ask.
    pub choked: bool,
    /// The other device wants pieces of this one.
    pub peer_interested: bool,
    /// This device does not let the other ask.
    pub peer_choked: bool,
    /// Requests of this device that are not answered.
    pub requests: u32,
    /// Requests of the other device that wait here.
    pub peer_requests: u32,
}

/// The pieces of a file in at most 1000 buckets of equal size, in the order of the file. Each list
/// has one number a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pieces {
    /// The id of the content.
    pub info_hash: InfoHash,
    /// Length of the file in bytes.
    pub size: u64,
    /// Length of a piece in bytes.
    pub piece_size: u32,
    /// Number of pieces in the file.
    pub pieces: u32,
    /// Number of pieces in a bucket; the last one may have fewer.
    pub pieces_per_bucket: u32,
    /// Verified pieces.
    pub have: Vec<u32>,
    /// Pieces of which some data is here, and not verified.
    pub partial: Vec<u32>,
    /// Pieces that are asked for, and of which nothing is here.
    pub requested: Vec<u32>,
    /// Number of connected devices that have the rarest piece of the bucket; `None` where nothing
    /// is downloaded, since only a download learns it.
    pub availability: Option<Vec<u32>>,
}

/// What the client has moved since the login, and moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Traffic {
    /// Bytes per second received lately; 0 if nothing came for 2 seconds.
    pub received_per_second: u64,
    /// Bytes per second sent in the last 2 seconds.
    pub sent_per_second: u64,
    /// Bytes received since the login.
    pub bytes_received: u64,
    /// Bytes sent since the login.
    pub bytes_sent: u64,
}
