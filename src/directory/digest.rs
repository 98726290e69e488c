//! A digest of the whole directory: equal on trackers that hold the same.
//!
//! It is the sum of the digests of all rows, so that it changes with each row that is written and
//! costs nothing to ask for. That tells a tracker that lacks something from one that does not; it
//! is no proof against somebody who may write rows, for they could choose those that add up.
//!
//! Left out are requests, rows of kinds and fields that only a later version knows, and rows that
//! say that something is not there: trackers delete them at their own times. Left out are rows of
//! devices, invitations and groups' settings, too: programs from before them, which speak the same
//! version, keep them as unknown, and their digest is to be the same.

use sha1::{Digest, Sha1};

use crate::types::{Content, Place, Row, Sha1Digest, StoreId};
use crate::wire::Wire;

/// The digest that is shown for a sum.
pub(super) fn of_sum(sum: u128) -> Sha1Digest {
    Sha1Digest::from_bytes(Sha1::digest(sum.to_be_bytes()).into())
}

/// What a row adds to the sum.
pub(super) fn of_row(row: &Row) -> u128 {
    let is_left_out = matches!(
        row.content,
        Content::Unknown(..) | Content::Device(..) | Content::GroupSettings(..)
    );
    // Requests and invitations are among these.
    if row.content.is_tombstone() || is_left_out {
        return 0;
    }
    let place = Place { store: StoreId::from_bytes([0; 16]), sequence: 0 };
    let row =
        Row { content: row.content.clone(), version: row.version, place, extra: Box::default() };
    let digest: [u8; 20] = Sha1::digest(row.to_bytes()).into();
    u128::from_be_bytes(*digest.first_chunk().expect("a digest has 20 bytes"))
}
