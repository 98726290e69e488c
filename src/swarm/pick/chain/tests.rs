use proptest::prelude::*;
use sha1::{Digest, Sha1};

use super::*;

/// Bytes in the pieces of the files here: the smallest that there may be.
const PIECE_LEN: u32 = 16 << 10;

fn bytes(len: usize, seed: u64) -> Vec<u8> {
    use rand::{RngExt, SeedableRng};
    let mut bytes = vec![0; len];
    rand::rngs::SmallRng::seed_from_u64(seed).fill(&mut bytes[..]);
    bytes
}

fn hash(bytes: &[u8], piece_len: u32) -> (Sha1Digest, ChainingValues) {
    let mut hasher = ChainHasher::new(piece_len);
    hasher.update(bytes);
    hasher.finish()
}

fn chain(bytes: &[u8], piece_len: u32) -> Chain {
    let (sha1, values) = hash(bytes, piece_len);
    let geometry = Geometry::new(bytes.len() as u64, piece_len).unwrap();
    Chain::new(geometry, Arc::new(values), sha1).unwrap()
}

/// The pieces that the chain does not prove.
fn unproven(chain: &Chain, bytes: &[u8]) -> Vec<u32> {
    let piece = |piece: PieceIndex| {
        let start = chain.geometry.offset(piece) as usize;
        &bytes[start..start + chain.geometry.len_of(piece) as usize]
    };
    let pieces = chain.geometry.indexes();
    pieces.filter(|index| !chain.proves(*index, piece(*index))).map(PieceIndex::get).collect()
}

/// Lengths around a block's, a piece's, and several pieces' end.
fn lengths() -> impl Strategy<Value = usize> {
    let near = |at: usize| at.saturating_sub(70)..at + 70;
    let piece = PIECE_LEN as usize;
    prop_oneof![1..200usize, near(piece), near(2 * piece), near(5 * piece), 1..6 * piece]
}

proptest! {
    #[test]
    fn the_hasher_makes_the_sha1_and_the_state_at_every_boundary(len in lengths(), seed: u64) {
        let bytes = bytes(len, seed);
        let (sha1, values) = hash(&bytes, PIECE_LEN);
        prop_assert_eq!(&sha1.as_bytes()[..], &Sha1::digest(&bytes)[..]);
        prop_assert_eq!(values.values().len(), len.div_ceil(PIECE_LEN as usize) - 1);
        // Of the beginning of the file the value, padded, is the SHA-1.
        for (at, value) in values.values().iter().enumerate() {
            let start = &bytes[..(at + 1) * PIECE_LEN as usize];
            let ended = Sha1State::from_value(value).finish(&[], start.len() as u64);
            prop_assert_eq!(&ended.as_bytes()[..], &Sha1::digest(start)[..]);
        }
    }

    #[test]
    fn the_parts_in_which_a_file_comes_make_no_difference(
        len in lengths(), seed: u64, blocks in 1..600usize
    ) {
        let bytes = bytes(len, seed);
        let mut hasher = ChainHasher::new(PIECE_LEN);
        bytes.chunks(blocks * BLOCK_LEN).for_each(|part| hasher.update(part));
        prop_assert_eq!(hasher.finish(), hash(&bytes, PIECE_LEN));
    }

    #[test]
    fn a_whole_file_is_proven_and_a_flipped_bit_of_data_is_found_in_its_piece(
        len in lengths(), seed: u64, at: prop::sample::Index, bit in 0..8u8
    ) {
        let mut bytes = bytes(len, seed);
        let chain = chain(&bytes, PIECE_LEN);
        prop_assert_eq!(unproven(&chain, &bytes), Vec::<u32>::new());
        let at = at.index(len);
        bytes[at] ^= 1u8 << bit;
        prop_assert_eq!(unproven(&chain, &bytes), [at as u32 / PIECE_LEN]);
    }

    #[test]
    fn a_flipped_bit_of_the_list_changes_its_hash_and_fails_both_pieces_at_the_boundary(
        len in PIECE_LEN as usize + 1..6 * PIECE_LEN as usize,
        seed: u64,
        at: prop::sample::Index,
        bit in 0..8u8,
    ) {
        let bytes = bytes(len, seed);
        let mut chain = chain(&bytes, PIECE_LEN);
        let mut list = chain.values.as_bytes().to_vec();
        let at = at.index(list.len());
        list[at] ^= 1u8 << bit;
        let false_list = ChainingValues::from_bytes(&list).unwrap();
        prop_assert_ne!(false_list.hash(), chain.values.hash());
        chain.values = Arc::new(false_list);
        let boundary = (at / ChainingValues::VALUE_LEN) as u32;
        prop_assert_eq!(unproven(&chain, &bytes), [boundary, boundary + 1]);
    }

    #[test]
    fn a_flipped_bit_of_the_sha1_fails_the_last_piece(
        len in lengths(), seed: u64, at in 0..Sha1Digest::LEN, bit in 0..8u8
    ) {
        let bytes = bytes(len, seed);
        let mut chain = chain(&bytes, PIECE_LEN);
        let mut sha1 = *chain.sha1.as_bytes();
        sha1[at] ^= 1u8 << bit;
        chain.sha1 = Sha1Digest::from_bytes(sha1);
        prop_assert_eq!(unproven(&chain, &bytes), [chain.geometry.piece_count() - 1]);
    }
}

#[test]
fn a_piece_in_another_pieces_place_is_not_proven() {
    let bytes = bytes(4 * PIECE_LEN as usize, 1);
    let chain = chain(&bytes, PIECE_LEN);
    let pieces: Vec<&[u8]> = bytes.chunks(PIECE_LEN as usize).collect();
    for (index, other) in chain.geometry.indexes().zip([1, 2, 3, 0]) {
        assert!(!chain.proves(index, pieces[other]));
        assert!(!chain.proves(index, &pieces[index.get() as usize][1..]), "it is too short");
    }
}

#[test]
fn a_list_of_another_length_makes_no_chain() {
    let geometry = |len| Geometry::new(len, PIECE_LEN).unwrap();
    let values = |count| Arc::new(ChainingValues::new(vec![[1; 20]; count]));
    let sha1 = Sha1Digest::from_bytes([2; 20]);
    for (len, count) in [(1, 0), (PIECE_LEN, 0), (PIECE_LEN + 1, 1), (5 * PIECE_LEN, 4)] {
        assert!(Chain::new(geometry(len.into()), values(count), sha1).is_some());
        assert!(Chain::new(geometry(len.into()), values(count + 1), sha1).is_none());
    }
    assert!(Chain::new(geometry(0), values(0), sha1).is_none(), "nothing proves an empty file");
    assert_eq!(ChainingValues::from_bytes(&[0; 39]), None);
}

#[test]
fn files_around_one_piece_and_of_many_pieces_are_proven() {
    for len in [1, 511 << 10, 512 << 10, 513 << 10] {
        let bytes = bytes(len, 3);
        let chain = chain(&bytes, 512 << 10);
        assert_eq!(unproven(&chain, &bytes), [0; 0], "{len} bytes");
    }
    // A file of 2^21 pieces, of which only the ends are looked at: all its values are the same.
    let geometry = Geometry::new(u64::from(PIECE_LEN) << 21, PIECE_LEN).unwrap();
    let first = bytes(PIECE_LEN as usize, 4);
    let mut state = Sha1State::START;
    state.take(&first);
    let values = Arc::new(ChainingValues::new(vec![state.value(); (1 << 21) - 1]));
    let mut end = state;
    let last = bytes(PIECE_LEN as usize, 5);
    end.take(&last);
    let chain = Chain::new(geometry, values, end.finish(&[], geometry.len())).unwrap();
    assert!(chain.proves(geometry.index(0).unwrap(), &first));
    assert!(chain.proves(geometry.index((1 << 21) - 1).unwrap(), &last));
    assert!(!chain.proves(geometry.index(1).unwrap(), &last));
}
