//! Tests of the picker: swarms as short strings, and random histories against a naive picker.
//!
//! In a string each character is a piece: `x` the peer (or we) have it, `.` not.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::types::Geometry;

fn field(text: &str) -> Bitfield {
    let mut field = Bitfield::empty(text.len() as u32);
    let pieces = geometry(text.len() as u32);
    text.bytes()
        .zip(pieces.indexes())
        .filter(|(c, _)| *c == b'x')
        .for_each(|(_, piece)| _ = field.insert(piece));
    field
}

fn geometry(pieces: u32) -> Geometry {
    Geometry::new(u64::from(pieces) << 14, 1 << 14).unwrap()
}

/// A picker that has `have`, with one link for each string, numbered from 0.
fn swarm(have: &str, peers: &[&str], seed: u64) -> Picker {
    let mut picker = Picker::new(field(have), seed);
    for (link, peer) in (0..).map(LinkKey).zip(peers) {
        picker.join(link);
        picker.has_some(link, &field(peer));
    }
    picker.check();
    picker
}

/// Every piece that is ever chosen for the link, over many seeds.
fn choices(have: &str, peers: &[&str], link: u64) -> Vec<u32> {
    let pick = |seed| swarm(have, peers, seed).pick(LinkKey(link), |_, _| true);
    (0..200).filter_map(pick).collect::<BTreeSet<u32>>().into_iter().collect()
}

#[test]
fn the_rarest_is_chosen_and_ties_are_random() {
    assert_eq!(choices(".....", &["xxxxx", "xx.x.", "x..x."], 0), [2, 4]);
    assert_eq!(choices(".....", &["xxxxx", "xx.x.", "x..x."], 1), [1]);
    assert_eq!(choices(".....", &["xxxxx", "xx.x.", "x..x."], 2), [0, 3]);
    assert_eq!(choices("..x..", &["xxxxx", "xx.x.", "x..x."], 0), [4]);
    assert_eq!(choices(".....", &["xxxxx"], 0), [0, 1, 2, 3, 4]);
}

#[test]
fn nothing_is_chosen_where_nothing_is_wanted() {
    assert_eq!(choices("xxx", &["xxx"], 0), [0; 0]);
    assert_eq!(choices("x..", &["x.."], 0), [0; 0]);
    assert_eq!(choices("...", &["..."], 0), [0; 0]);
    assert_eq!(choices("", &[""], 0), [0; 0]);
    assert_eq!(choices("...", &["xxx"], 9), [0; 0]);
}

#[test]
fn what_nobody_offers_is_listed() {
    let mut picker = swarm("x....", &["xx...", "..x.."], 1);
    assert_eq!(picker.unoffered(10), (2, vec![3, 4]));
    assert_eq!(picker.unoffered(1), (2, vec![3]));
    assert_eq!(picker.unoffered(0), (2, vec![]));
    picker.join(LinkKey(7));
    picker.has_all(LinkKey(7));
    assert_eq!(picker.unoffered(10), (0, vec![]));
    picker.leave(LinkKey(7));
    picker.leave(LinkKey(1));
    assert_eq!(picker.unoffered(10), (3, vec![2, 3, 4]));
}

#[test]
fn pieces_on_their_way_are_not_chosen() {
    let mut picker = swarm("....", &["xxxx", "xx.."], 1);
    picker.shift(0, PieceState::Missing, PieceState::Queued);
    picker.shift(2, PieceState::Missing, PieceState::Queued);
    assert_eq!((picker.wanted(LinkKey(0)), picker.wanted(LinkKey(1))), (2, 1));
    assert_eq!(picker.pick(LinkKey(1), |_, _| true), Some(1));
    picker.shift(0, PieceState::Queued, PieceState::Missing);
    assert_eq!((picker.wanted(LinkKey(1)), picker.lacking(LinkKey(1))), (2, 2));
    picker.check();
}

/// A link with one piece in two million is found without looking at the others, and so is one
/// behind many rarer pieces.
#[test]
fn a_needle_is_found() {
    let count = 1 << 21;
    let pieces = geometry(count);
    let mut picker = Picker::new(Bitfield::empty(count), 3);
    let (needle, hay) = (LinkKey(1), LinkKey(2));
    picker.join(needle);
    picker.gained(needle, 1_234_567);
    assert_eq!(picker.pick(needle, |_, _| true), Some(1_234_567));
    picker.join(hay);
    let mut rare = Bitfield::empty(count);
    pieces.indexes().filter(|piece| piece.get() % 2 == 0).for_each(|piece| _ = rare.insert(piece));
    picker.has_some(hay, &rare);
    (0..200).for_each(|i| picker.gained(needle, (i * 10_001) | 1));
    for _ in 0..50 {
        let piece = picker.pick(needle, |_, _| true).unwrap();
        assert!(picker.offers(needle, piece) && picker.state(piece) == PieceState::Missing);
        picker.shift(piece, PieceState::Missing, PieceState::Queued);
    }
}

/// One step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Join(u64),
    Leave(u64),
    All(u64),
    None(u64),
    Some(u64, Vec<bool>),
    Gained(u64, u32),
    Pick(u64),
    Back(u32),
    Verified(u32),
}

fn step(pieces: u32) -> impl Strategy<Value = Step> {
    let (link, piece) = (0..5u64, 0..pieces);
    prop_oneof![
        1 => link.clone().prop_map(Step::Join),
        1 => link.clone().prop_map(Step::Leave),
        1 => link.clone().prop_map(Step::All),
        1 => link.clone().prop_map(Step::None),
        1 => (link.clone(), prop::collection::vec(any::<bool>(), pieces as usize)).prop_map(|(l, f)| Step::Some(l, f)),
        3 => (link.clone(), piece.clone()).prop_map(|(l, p)| Step::Gained(l, p)),
        6 => link.prop_map(Step::Pick),
        2 => piece.clone().prop_map(Step::Back),
        2 => piece.prop_map(Step::Verified),
    ]
}

fn apply(picker: &mut Picker, step: &Step) {
    let pieces = geometry(picker.count);
    match *step {
        Step::Join(link) => picker.join(LinkKey(link)),
        Step::Leave(link) => picker.leave(LinkKey(link)),
        Step::All(link) => picker.has_all(LinkKey(link)),
        Step::None(link) => picker.has_none(LinkKey(link)),
        Step::Some(link, ref bits) => {
            let text: String = bits.iter().map(|&bit| if bit { 'x' } else { '.' }).collect();
            picker.has_some(LinkKey(link), &field(&text));
        }
        Step::Gained(link, piece) => picker.gained(LinkKey(link), piece),
        Step::Pick(link) => {
            let chosen = picker.pick(LinkKey(link), |_, _| true);
            let wanted = (0..picker.count).filter(|&p| {
                picker.state(p) == PieceState::Missing && picker.offers(LinkKey(link), p)
            });
            let rarest = wanted.map(|piece| picker.buckets.level(piece)).min();
            assert_eq!(
                chosen.map(|piece| picker.buckets.level(piece)),
                rarest,
                "not the rarest, or none"
            );
            if let Some(piece) = chosen {
                picker.shift(piece, PieceState::Missing, PieceState::Queued);
            }
        }
        Step::Back(piece) if picker.state(piece) == PieceState::Queued => {
            picker.shift(piece, PieceState::Queued, PieceState::Missing)
        }
        Step::Verified(piece) if picker.state(piece) == PieceState::Queued => {
            picker.shift(piece, PieceState::Queued, PieceState::Verifying);
            picker.verified(pieces.index(u64::from(piece)).unwrap());
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever happened, the counts hold and the choice is the naive one's: up to 256 pieces all
    /// are looked at.
    #[test]
    fn random_histories_agree_with_a_naive_picker(
        (pieces, steps) in (1..200u32).prop_flat_map(|pieces| (Just(pieces), prop::collection::vec(step(pieces), 1..60))),
        seed in any::<u64>(),
    ) {
        let mut picker = Picker::new(Bitfield::empty(pieces), seed);
        for step in &steps {
            apply(&mut picker, step);
            picker.check();
        }
    }

    /// A search from any start finds every word with a member, each once.
    #[test]
    fn summaries_are_searched_around(words in prop::collection::btree_set(0..5_000usize, 0..50), start in 0..5_000usize) {
        let mut summary = set::Summary::empty(5_000);
        words.iter().for_each(|&word| summary.set(word, true));
        let found: Vec<usize> = summary.words_from(start).collect();
        let expected: Vec<usize> = words.range(start..).chain(words.range(..start)).copied().collect();
        prop_assert_eq!(found, expected);
    }
}
