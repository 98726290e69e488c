//! What the handle on a relay and its thread share.
//!
//! **Invariant:** the lock is held for moments, and never while a socket is used.

use std::net::TcpStream;

use parking_lot::Mutex;

use super::bounds::RelayBounds;
use super::meetings::Meetings;
use crate::net::{Listener, Stop};

/// What the handle and the thread share.
#[derive(Debug)]
pub(super) struct RelayShared {
    pub(super) bounds: RelayBounds,
    pub(super) listener: Listener,
    pub(super) meetings: Mutex<Meetings<TcpStream>>,
    pub(super) stop: Stop,
}
