//! Whom we serve.

use std::time::Duration;

use super::LinkKey;
use crate::types::{PieceIndex, Span};

/// One change to tell a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choke {
    /// The link.
    pub link: LinkKey,
    /// True: stop asking (send choke). False: ask (send unchoke).
    pub choked: bool,
}

/// Bounds of a choker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChokerOptions {
    /// Peers served at a time, the optimistic one included.
    pub slots: usize,
    /// How often slots change hands.
    pub interval: Duration,
}

/// Chooses whom to serve.
#[derive(Debug)]
pub struct Choker {}

#[allow(unused_variables, clippy::needless_pass_by_ref_mut)]
impl Choker {
    /// Makes a choker without links.
    pub fn new(options: ChokerOptions, seed: u64) -> Self {
        Self {}
    }
    /// Takes a link in: choked, not interested.
    pub fn join(&mut self, now: Duration, link: LinkKey) {}
    /// Drops a link; an unknown one is ignored.
    pub fn leave(&mut self, now: Duration, link: LinkKey) {}
    /// The peer wants something we have, or no longer does.
    pub fn interested(&mut self, now: Duration, link: LinkKey, on: bool) {}
    /// Bytes of blocks came from the peer.
    pub fn received(&mut self, now: Duration, link: LinkKey, bytes: u64) {}
    /// Bytes of blocks went to the peer.
    pub fn sent(&mut self, now: Duration, link: LinkKey, bytes: u64) {}
    /// We have every piece: nothing comes back, so turns count instead of what peers give.
    pub fn seeding(&mut self, on: bool) {}
    /// Lets slots change hands. Call at least once a second.
    pub fn tick(&mut self, now: Duration) {}
    /// Takes the next change to tell a peer.
    pub fn poll(&mut self) -> Option<Choke> {
        None
    }
    /// Tells whether we serve the link.
    pub fn is_unchoked(&self, link: LinkKey) -> bool {
        false
    }
    /// Checks everything that must hold; for tests.
    pub fn check_invariants(&self) {}
}

impl Default for ChokerOptions {
    fn default() -> Self {
        Self { slots: 8, interval: Duration::from_secs(5) }
    }
}

/// The requests that wait to be served, and in which order.
#[derive(Debug, Default)]
pub struct UploadOrder {}

#[allow(unused_variables, clippy::needless_pass_by_ref_mut)]
impl UploadOrder {
    /// Makes an empty order.
    pub fn new() -> Self {
        Self {}
    }
    /// A peer asks for a block; false if it asks twice or has too many waiting (reject it).
    pub fn push(&mut self, link: LinkKey, span: Span) -> bool {
        false
    }
    /// The peer takes a request back; false if it was not waiting (being served, or never asked).
    pub fn cancel(&mut self, link: LinkKey, span: Span) -> bool {
        false
    }
    /// We choke the peer: takes out what is to be rejected. Blocks of the piece being served to it stay.
    pub fn choke(&mut self, link: LinkKey) -> Vec<Span> {
        Vec::new()
    }
    /// Drops everything of a link.
    pub fn leave(&mut self, link: LinkKey) {}
    /// The next block to send on whichever link: whole pieces, links in turn.
    pub fn next_any(&mut self) -> Option<(LinkKey, Span)> {
        None
    }
    /// The next block to send on this link, for one writer a link.
    pub fn next_for(&mut self, link: LinkKey) -> Option<Span> {
        None
    }
    /// Requests waiting on the link.
    pub fn waiting(&self, link: LinkKey) -> usize {
        0
    }
    /// Piece being served to the link.
    pub fn current(&self, link: LinkKey) -> Option<PieceIndex> {
        None
    }
}
