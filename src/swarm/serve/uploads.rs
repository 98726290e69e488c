//! The uploads of one file: the choker, the order of requests and super-seeding, together.
//!
//! **Invariant:** a request that was accepted is handed out by [`Uploads::next_batch`], taken back
//! by the peer, or rejected by an [`UploadAction`]; a peer that is suggested pieces as it is
//! unchoked is sent the suggestions first.
//!
//! Pure. The engine keeps it under the torrent's lock, calls [`Uploads::advance`] after every
//! change, and drains [`Uploads::poll_action`].

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::choker::{Choker, ChokerOptions};
use super::order::UploadOrder;
use super::send_rates::SendRates;
use super::super_seeding::SuperSeeder;
use crate::swarm::LinkKey;
use crate::types::{Bitfield, DeviceId, Geometry, PieceIndex, Span, UserId};

/// Blocks in one batch.
const BATCH_COUNT_MAX: usize = 64;
/// Devices whose part of the upload is remembered.
const SENT_TO_MAX: usize = 1000;

/// An effect for the engine to carry out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UploadAction {
    /// Tell the peer to stop asking.
    Choke(LinkKey),
    /// Tell the peer that it may ask.
    Unchoke(LinkKey),
    /// Tell the peer that it will not get this block.
    Reject(LinkKey, Span),
    /// Propose a piece to the peer (BEP 6).
    Suggest(LinkKey, PieceIndex),
    /// Wake the link's writer: it has blocks to send.
    Serve(LinkKey),
}

/// A link that takes part in super-seeding from its start.
pub(crate) struct Leecher {
    /// The link.
    pub(crate) link: LinkKey,
    /// The pieces that its peer has.
    pub(crate) pieces: Bitfield,
}

/// The uploads of one file.
#[derive(Debug)]
pub(crate) struct Uploads {
    choker: Choker,
    order: UploadOrder,
    super_seeder: Option<SuperSeeder>,
    actions: VecDeque<UploadAction>,
    sent: u64,
    sent_to: BTreeMap<DeviceId, u64>,
    rates: SendRates,
}

/// What is shown of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PeerView {
    /// Bytes per second sent in the last 2 s.
    pub(crate) bytes_per_second: u64,
    /// Pieces that the peer had at the beginning, if it has told us and takes suggestions.
    pub(crate) pieces: Option<u32>,
    /// The peer wants pieces of us.
    pub(crate) is_interested: bool,
    /// The peer may ask.
    pub(crate) is_unchoked: bool,
    /// Its requests that wait.
    pub(crate) requests: u32,
}

impl Uploads {
    pub(crate) fn new(slots: usize, seed: u64) -> Self {
        let options = ChokerOptions { slots, ..ChokerOptions::default() };
        Self {
            choker: Choker::new(options, seed),
            order: UploadOrder::new(),
            super_seeder: None,
            actions: VecDeque::new(),
            sent: 0,
            sent_to: BTreeMap::new(),
            rates: SendRates::default(),
        }
    }

    /// Takes in a link to a device of `user`; its peer has nothing until told otherwise.
    /// `takes_suggestions` tells whether it speaks BEP 6.
    pub(crate) fn join(
        &mut self,
        now: Duration,
        link: LinkKey,
        user: UserId,
        takes_suggestions: bool,
    ) {
        self.choker.join(now, link, user);
        if let Some(super_seeder) = self.super_seeder.as_mut().filter(|_| takes_suggestions) {
            super_seeder.join(link);
        }
    }

    pub(crate) fn leave(&mut self, now: Duration, link: LinkKey) {
        self.choker.leave(now, link);
        self.order.leave(link);
        self.rates.leave(link);
        if let Some(super_seeder) = &mut self.super_seeder {
            super_seeder.leave(link);
        }
    }

    /// Notes whether nothing can be read from the disk: requests are rejected until it can.
    pub(crate) fn set_held(&mut self, now: Duration, held: bool) {
        if held != self.choker.is_held() {
            self.choker.set_held(now, held);
        }
    }

    /// Notes whether we have the whole file: peers are not ranked by what they give then.
    pub(crate) fn set_seeding(&mut self, is_seeding: bool) {
        self.choker.set_seeding(is_seeding);
    }

    pub(crate) fn start_super_seeding(
        &mut self,
        geometry: Geometry,
        seed: u64,
        leechers: impl Iterator<Item = Leecher>,
    ) {
        let mut super_seeder = SuperSeeder::new(geometry, seed);
        for Leecher { link, pieces } in leechers {
            super_seeder.join(link);
            super_seeder.peer_bitfield(link, &pieces);
            if self.choker.is_unchoked(link) {
                super_seeder.unchoked(link);
            }
        }
        self.super_seeder = Some(super_seeder);
    }

    pub(crate) fn stop_super_seeding(&mut self) {
        self.super_seeder = None;
    }

    pub(crate) fn is_super_seeding(&self) -> bool {
        self.super_seeder.is_some()
    }

    pub(crate) fn peer_have(&mut self, link: LinkKey, piece: PieceIndex) {
        if let Some(super_seeder) = &mut self.super_seeder {
            super_seeder.peer_have(link, piece);
        }
    }

    pub(crate) fn peer_bitfield(&mut self, link: LinkKey, field: &Bitfield) {
        if let Some(super_seeder) = &mut self.super_seeder {
            super_seeder.peer_bitfield(link, field);
        }
    }

    pub(crate) fn set_interested(&mut self, now: Duration, link: LinkKey, is_interested: bool) {
        self.choker.set_interested(now, link, is_interested);
    }

    pub(crate) fn received(&mut self, now: Duration, link: LinkKey, bytes: u64) {
        self.choker.received(now, link, bytes);
    }

    /// The peer asks for a block of a piece of `piece_len` bytes. Returns false if it will not get
    /// it: the peer is choked, asks too much, or we do not have the piece.
    pub(crate) fn request(
        &mut self,
        now: Duration,
        link: LinkKey,
        span: Span,
        piece_len: u32,
        has_piece: bool,
    ) -> bool {
        self.choker.requested(link);
        let is_allowed = self.choker.is_unchoked(link)
            || !self.choker.is_held() && self.order.may_finish(now, link, span, piece_len);
        if !is_allowed || !has_piece || !self.order.push(link, span) {
            return false;
        }
        if let Some(super_seeder) = &mut self.super_seeder {
            super_seeder.requested(link, span.piece);
        }
        if self.order.is_turn_of(link) {
            // Its writer may have found nothing to send just now.
            self.actions.push_back(UploadAction::Serve(link));
        }
        true
    }

    /// The peer takes a request back. Returns false if it was not waiting.
    pub(crate) fn cancel(&mut self, link: LinkKey, span: Span) -> bool {
        let is_cancelled = self.order.cancel(link, span);
        if let Some(super_seeder) = self.super_seeder.as_mut().filter(|_| is_cancelled) {
            super_seeder.withdrawn(link, span.piece);
        }
        is_cancelled
    }

    /// Takes the next blocks to send on a link: of one piece, about `len_max` bytes. Without any
    /// the link's turn is over.
    pub(crate) fn next_batch(&mut self, link: LinkKey, len_max: u32) -> Vec<Span> {
        let (mut spans, mut len) = (Vec::new(), 0);
        while len < len_max && spans.len() < BATCH_COUNT_MAX {
            let Some(span) = self.order.next_for(link) else { break };
            len += span.len;
            spans.push(span);
        }
        if spans.is_empty() {
            self.order.end(link);
        }
        spans
    }

    /// Returns the bytes in the next block to send on a link, if it has one in its turn.
    pub(crate) fn next_len(&self, link: LinkKey) -> Option<u32> {
        self.order.next_len(link)
    }

    /// Ends a link's turn, unless the peer asked for something meanwhile.
    pub(crate) fn end_turn(&mut self, link: LinkKey) {
        match self.order.next_len(link) {
            Some(_) => self.actions.push_back(UploadAction::Serve(link)),
            None => self.order.end(link),
        }
    }

    /// Tells whether several links have something to be sent.
    pub(crate) fn is_contended(&self) -> bool {
        self.order.is_contended()
    }

    pub(crate) fn sent(&mut self, now: Duration, link: LinkKey, device: DeviceId, bytes: u64) {
        self.choker.sent(now, link, bytes);
        self.order.sent(bytes);
        self.sent += bytes;
        if self.sent_to.len() < SENT_TO_MAX || self.sent_to.contains_key(&device) {
            *self.sent_to.entry(device).or_default() += bytes;
        }
    }

    /// Notes how many bytes went out on a link so far. Call a few times a second for every link
    /// that has joined.
    pub(crate) fn sample(&mut self, now: Duration, link: LinkKey, total: u64) {
        self.rates.sample(now, link, total);
    }

    /// Bytes per second sent in the last 2 s.
    pub(crate) fn bytes_per_second(&self, now: Duration) -> u64 {
        self.rates.sum(now)
    }

    /// What is shown of a link.
    pub(crate) fn view(&self, now: Duration, link: LinkKey) -> PeerView {
        PeerView {
            bytes_per_second: self.rates.of(now, link),
            pieces: self.super_seeder.as_ref().and_then(|seeder| seeder.pieces_of(link)),
            is_interested: self.choker.is_interested(link),
            is_unchoked: self.choker.is_unchoked(link),
            requests: self.order.waiting(link) as u32,
        }
    }

    pub(crate) fn sent_total(&self) -> u64 {
        self.sent
    }

    pub(crate) fn sent_to(&self) -> &BTreeMap<DeviceId, u64> {
        &self.sent_to
    }

    pub(crate) fn tick(&mut self, now: Duration) {
        self.choker.tick(now);
    }

    /// Decides what follows from the changes since the last call. `holders` tells how many peers of
    /// the download have a piece; `suggests` whether pieces are proposed: to a single leecher they
    /// are not, as it knows best in which order it wants them.
    pub(crate) fn advance(
        &mut self,
        now: Duration,
        holders: impl Fn(PieceIndex) -> u32,
        suggests: bool,
    ) {
        while let Some(change) = self.choker.poll() {
            match change.choked {
                true => self.choke(now, change.link),
                false => self.unchoke(change.link, suggests),
            }
        }
        let Self { order, super_seeder, actions, .. } = self;
        let holders =
            |piece| super_seeder.as_ref().map_or_else(|| holders(piece), |s| s.holders(piece));
        while let Some(link) = order.begin(now, holders) {
            actions.push_back(UploadAction::Serve(link));
        }
        self.suggest(suggests);
    }

    pub(crate) fn poll_action(&mut self) -> Option<UploadAction> {
        self.actions.pop_front()
    }

    fn choke(&mut self, now: Duration, link: LinkKey) {
        self.actions.push_back(UploadAction::Choke(link));
        for span in self.order.choke(now, link) {
            self.actions.push_back(UploadAction::Reject(link, span));
            if let Some(super_seeder) = &mut self.super_seeder {
                super_seeder.withdrawn(link, span.piece);
            }
        }
        if let Some(super_seeder) = &mut self.super_seeder {
            super_seeder.choked(link);
        }
    }

    fn unchoke(&mut self, link: LinkKey, suggests: bool) {
        if let Some(super_seeder) = &mut self.super_seeder {
            super_seeder.unchoked(link);
        }
        self.suggest(suggests);
        self.actions.push_back(UploadAction::Unchoke(link));
    }

    fn suggest(&mut self, suggests: bool) {
        let Some(super_seeder) = self.super_seeder.as_mut().filter(|_| suggests) else { return };
        while let Some((link, piece)) = super_seeder.poll() {
            self.actions.push_back(UploadAction::Suggest(link, piece));
        }
    }
}
