//! One client of a virtual swarm: the real download, choker, super-seeder and upload order, and a
//! link's worth of glue.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::{
    Action, BlockFate, Choke, Choker, ChokerOptions, Download, LinkKey, LinkTraits, Options,
    SuperSeeder, UploadOrder,
};
use crate::types::{Bitfield, Geometry, PieceIndex, Span, UserId};

/// What goes over a virtual link.
#[derive(Debug, Clone)]
pub(super) enum Message {
    Field(Bitfield),
    Interested(bool),
    Choked(bool),
    Have(PieceIndex),
    Request(Span),
    Cancel(Span),
    Reject(Span),
    Suggest(PieceIndex),
    Block(Span),
}

/// A client. Its links are named by the number of the client at the other end.
pub(super) struct Node {
    pub(super) download: Download,
    geometry: Geometry,
    pub(super) choker: Choker,
    pub(super) order: UploadOrder,
    pub(super) super_seeder: Option<SuperSeeder>,
    /// What was asked for on each link and has not come.
    asked: BTreeMap<LinkKey, Vec<Span>>,
    /// Messages to send.
    pub(super) outbox: Vec<(LinkKey, Message)>,
    /// Whole chunks whose hash is to be computed.
    pub(super) to_hash: Vec<(LinkKey, PieceIndex)>,
    pub(super) completed: Option<Duration>,
    pub(super) uploaded: u64,
}

impl Node {
    pub(super) fn new(
        geometry: Geometry,
        seeder: bool,
        suggests: bool,
        options: Options,
        choker: ChokerOptions,
        seed: u64,
    ) -> Self {
        let count = geometry.piece_count();
        let have = if seeder { Bitfield::full(count) } else { Bitfield::empty(count) };
        let mut choker = Choker::new(choker, seed);
        choker.set_seeding(seeder);
        Self {
            download: Download::new(geometry, have, options, seed),
            geometry,
            choker,
            order: UploadOrder::new(),
            super_seeder: (seeder && suggests).then(|| SuperSeeder::new(geometry, seed)),
            asked: BTreeMap::new(),
            outbox: Vec::new(),
            to_hash: Vec::new(),
            completed: None,
            uploaded: 0,
        }
    }

    pub(super) fn join(&mut self, now: Duration, link: LinkKey) {
        let traits = LinkTraits { block_len_max: 512 << 10, requests_max: 256, fast: true };
        self.download.join(now, link, traits);
        let mut user = [0; UserId::LEN];
        user[..8].copy_from_slice(&link.0.to_be_bytes());
        self.choker.join(now, link, UserId::from_bytes(user));
        if let Some(super_seeder) = &mut self.super_seeder {
            super_seeder.join(link);
        }
        self.outbox.push((link, Message::Field(self.download.have().clone())));
    }

    pub(super) fn leave(&mut self, now: Duration, link: LinkKey) {
        self.download.leave(now, link);
        self.choker.leave(now, link);
        self.order.leave(link);
        self.asked.remove(&link);
        if let Some(super_seeder) = &mut self.super_seeder {
            super_seeder.leave(link);
        }
    }

    pub(super) fn handle(&mut self, now: Duration, link: LinkKey, message: Message) {
        match message {
            Message::Field(field) => {
                if let Some(super_seeder) = &mut self.super_seeder {
                    super_seeder.peer_bitfield(link, &field);
                }
                self.download.peer_bitfield(link, field);
            }
            Message::Have(piece) => {
                self.download.peer_have(link, piece);
                if let Some(super_seeder) = &mut self.super_seeder {
                    super_seeder.peer_have(link, piece);
                }
            }
            Message::Interested(on) => self.choker.set_interested(now, link, on),
            Message::Choked(true) => self.download.choked(now, link),
            Message::Choked(false) => self.download.unchoked(now, link),
            Message::Request(span) => self.requested(now, link, span),
            Message::Cancel(span) => {
                if self.order.cancel(link, span)
                    && let Some(super_seeder) = &mut self.super_seeder
                {
                    super_seeder.withdrawn(link, span.piece);
                }
            }
            Message::Reject(span) => {
                self.answered(link, span);
                self.download.block_rejected(now, link, span);
            }
            Message::Suggest(piece) => self.download.suggested(link, piece),
            Message::Block(span) => self.block(now, link, span),
        }
    }

    fn requested(&mut self, now: Duration, link: LinkKey, span: Span) {
        self.choker.requested(link);
        let piece_len = self.geometry.len_of(span.piece);
        let may =
            self.choker.is_unchoked(link) || self.order.may_finish(now, link, span, piece_len);
        let served = may && self.download.have().has(span.piece) && self.order.push(link, span);
        if !served {
            return self.outbox.push((link, Message::Reject(span)));
        }
        if let Some(super_seeder) = &mut self.super_seeder {
            super_seeder.requested(link, span.piece);
        }
    }

    fn block(&mut self, now: Duration, link: LinkKey, span: Span) {
        self.answered(link, span);
        self.choker.received(now, link, u64::from(span.len));
        if self.download.block_received(now, link, span) == BlockFate::Completed {
            self.to_hash.push((link, span.piece));
        }
        for span in self.download.more_requests(now, link) {
            self.ask(link, span);
        }
    }

    pub(super) fn sent(&mut self, now: Duration, link: LinkKey, span: Span) {
        self.uploaded += u64::from(span.len);
        self.choker.sent(now, link, u64::from(span.len));
        self.order.sent(u64::from(span.len));
    }

    /// Whose turn it is to be sent a piece.
    pub(super) fn next_turn(&mut self, now: Duration) -> Option<LinkKey> {
        let Self { order, download, super_seeder, .. } = self;
        order.begin(now, |piece| match &*super_seeder {
            Some(super_seeder) => super_seeder.holders(piece),
            None => download.holders(piece),
        })
    }

    fn ask(&mut self, link: LinkKey, span: Span) {
        self.asked.entry(link).or_default().push(span);
        self.outbox.push((link, Message::Request(span)));
    }

    fn answered(&mut self, link: LinkKey, span: Span) {
        if let Some(asked) = self.asked.get_mut(&link) {
            asked.retain(|&waiting| waiting != span);
        }
    }

    /// What the engine does after every event: effects out, jobs in.
    pub(super) fn pump(&mut self, now: Duration) {
        while let Some(job) = self.download.next_job(now) {
            let spans = self.download.start(now, &job).unwrap_or_default();
            spans.into_iter().for_each(|span| self.ask(job.link, span));
        }
        while let Some(action) = self.download.poll_action() {
            self.act(now, action);
        }
        while let Some(Choke { link, choked }) = self.choker.poll() {
            self.outbox.push((link, Message::Choked(choked)));
            let rejects = if choked { self.order.choke(now, link) } else { Vec::new() };
            self.outbox.extend(rejects.iter().map(|&span| (link, Message::Reject(span))));
            if let Some(super_seeder) = &mut self.super_seeder {
                rejects.iter().for_each(|span| super_seeder.withdrawn(link, span.piece));
                if choked { super_seeder.choked(link) } else { super_seeder.unchoked(link) }
            }
        }
        while let Some((link, piece)) = self.super_seeder.as_mut().and_then(SuperSeeder::poll) {
            self.outbox.push((link, Message::Suggest(piece)));
        }
    }

    fn act(&mut self, now: Duration, action: Action) {
        match action {
            Action::Interested(link, on) => self.outbox.push((link, Message::Interested(on))),
            Action::Cancel(link, piece) => {
                let asked = self.asked.entry(link).or_default();
                let gone: Vec<Span> =
                    asked.iter().copied().filter(|span| span.piece == piece).collect();
                asked.retain(|span| span.piece != piece);
                self.outbox.extend(gone.into_iter().map(|span| (link, Message::Cancel(span))));
            }
            Action::Have(piece) => self.outbox.push((EVERY, Message::Have(piece))),
            Action::Ban(link) => panic!("nobody sends bad data here, and yet {link:?} is banned"),
            Action::Complete => {
                self.completed.get_or_insert(now);
                self.choker.set_seeding(true);
            }
        }
    }
}

/// Stands for every link the client has.
pub(super) const EVERY: LinkKey = LinkKey(u64::MAX);
