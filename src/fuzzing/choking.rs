//! Whom a seeder serves, in which order, and what it proposes to whom, under peers that ask for
//! whatever they like.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Input;
use crate::swarm::{Choker, ChokerOptions, LinkKey, REQUESTS_MAX, SuperSeeder, UploadOrder};
use crate::types::{Bitfield, Geometry, PieceIndex, Span, UserId};

/// Bytes in a piece.
const PIECE_LEN: u32 = 16 << 10;
/// Links at a time.
const LINKS: usize = 12;
/// Steps of one run.
const STEPS_MAX: usize = 2_000;

struct Run {
    geometry: Geometry,
    choker: Choker,
    order: UploadOrder,
    super_seeder: SuperSeeder,
    /// The links that are up, and whether we told each that it is served.
    served: BTreeMap<LinkKey, bool>,
    now: Duration,
}

/// The choker, the order of uploads and the super_seeder of one file, as the engine uses them together.
pub fn choker(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let len = u64::from(input.u16()) << 6;
    let geometry = Geometry::new(len, PIECE_LEN).expect("a short file has few pieces");
    let options = ChokerOptions { slots: input.below(6), ..ChokerOptions::default() };
    let seed = u64::from(input.byte());
    let mut run = Run {
        geometry,
        choker: Choker::new(options, seed),
        order: UploadOrder::new(),
        super_seeder: SuperSeeder::new(geometry, seed),
        served: BTreeMap::new(),
        now: Duration::ZERO,
    };
    for _ in 0..STEPS_MAX {
        if input.is_over() {
            break;
        }
        run.step(&mut input);
        run.settle();
        run.choker.check_invariants();
        run.super_seeder.check_invariants();
    }
}

impl Run {
    fn step(&mut self, input: &mut Input<'_>) {
        let (what, link) = (input.below(16), LinkKey(input.below(LINKS) as u64));
        match what {
            0 | 1 => self.join(link),
            2 => self.leave(link),
            3 | 4 => self.choker.set_interested(self.now, link, input.bool()),
            5 => self.choker.received(self.now, link, input.u64() >> 16),
            6 => self.choker.sent(self.now, link, input.u64() >> 16),
            7 => self.choker.set_seeding(input.bool()),
            8 => self.tick(input),
            9 => self.bitfield(input, link),
            10 => {
                if let Some(piece) = self.piece(input) {
                    self.super_seeder.peer_have(link, piece);
                }
            }
            11 | 12 => self.request(input, link),
            13 => self.cancel(input, link),
            14 => self.serve(link),
            _ => self.super_seeder.peer_has_all(link),
        }
    }

    fn join(&mut self, link: LinkKey) {
        // Every third link is of the same user.
        self.choker.join(self.now, link, UserId::from_bytes([(link.0 % 3) as u8; 16]));
        self.super_seeder.join(link);
        self.served.entry(link).or_insert(false);
    }

    fn leave(&mut self, link: LinkKey) {
        self.choker.leave(self.now, link);
        self.super_seeder.leave(link);
        self.order.leave(link);
        self.served.remove(&link);
        assert_eq!(self.order.waiting(link), 0);
    }

    fn tick(&mut self, input: &mut Input<'_>) {
        self.now += Duration::from_millis(u64::from(input.u16()));
        self.choker.tick(self.now);
    }

    fn piece(&self, input: &mut Input<'_>) -> Option<PieceIndex> {
        self.geometry.index(input.byte().into())
    }

    fn span(&self, input: &mut Input<'_>) -> Option<Span> {
        self.geometry.span(
            input.byte().into(),
            u32::from(input.byte()) << 8,
            u32::from(input.byte()) << 8,
        )
    }

    fn bitfield(&mut self, input: &mut Input<'_>, link: LinkKey) {
        let count = self.geometry.piece_count();
        if let Ok(field) =
            Bitfield::from_bytes(input.take(count.div_ceil(8) as usize).to_vec(), count)
        {
            self.super_seeder.peer_bitfield(link, &field);
        }
    }

    fn request(&mut self, input: &mut Input<'_>, link: LinkKey) {
        let Some(span) = self.span(input) else { return };
        self.choker.requested(link);
        let finishes =
            self.order.may_finish(self.now, link, span, self.geometry.len_of(span.piece));
        assert!(!finishes || self.order.current(link) == Some(span.piece));
        if (self.choker.is_unchoked(link) || finishes) && self.order.push(link, span) {
            self.super_seeder.requested(link, span.piece);
            assert!(!self.order.push(link, span), "a block waits once");
        }
        assert!(self.order.waiting(link) <= REQUESTS_MAX);
    }

    fn cancel(&mut self, input: &mut Input<'_>, link: LinkKey) {
        if let Some(span) = self.span(input)
            && self.order.cancel(link, span)
        {
            self.super_seeder.withdrawn(link, span.piece);
        }
    }

    fn serve(&mut self, link: LinkKey) {
        let waiting = self.order.waiting(link);
        let turn = self.order.begin(self.now, |piece| piece.get());
        assert!(turn.is_none_or(|link| self.order.is_turn_of(link)));
        let mine = self.order.is_turn_of(link);
        match self.order.next_for(link) {
            Some(span) => {
                assert_eq!(
                    (self.order.waiting(link), self.order.current(link)),
                    (waiting - 1, Some(span.piece))
                );
                self.choker.sent(self.now, link, span.len.into());
            }
            None => {
                assert_eq!(waiting, self.order.waiting(link));
                assert!(!mine || waiting == 0 || self.order.current(link).is_some());
                self.order.end(link);
            }
        }
    }

    /// Carries out what the choker and the super_seeder want told.
    fn settle(&mut self) {
        while let Some(change) = self.choker.poll() {
            let served = self
                .served
                .get_mut(&change.link)
                .expect("only links that are up are told anything");
            assert_ne!(*served, !change.choked, "it is told the same twice");
            *served = !change.choked;
            if change.choked {
                self.super_seeder.choked(change.link);
                self.order
                    .choke(self.now, change.link)
                    .into_iter()
                    .for_each(|span| self.super_seeder.withdrawn(change.link, span.piece));
            } else {
                self.super_seeder.unchoked(change.link);
            }
        }
        while let Some((link, _)) = self.super_seeder.poll() {
            assert!(self.served.contains_key(&link), "a link that is not up is proposed something");
        }
        assert!(self.served.iter().all(|(&link, &served)| self.choker.is_unchoked(link) == served));
    }
}
