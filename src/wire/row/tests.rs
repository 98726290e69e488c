use proptest::prelude::*;

use super::*;
use crate::wire::checks::check_golden;
use crate::wire::samples::{Sample, samples};

/// Where the value's length stands in a row without extra fields.
fn value_at(row: &Row) -> usize {
    4 + 1 + 2 + key_bytes(&row.content.key()).len() + 24 + 24
}

#[test]
fn golden_bytes() {
    let rows = Row::examples();
    let name = |row: &Row| {
        let deleted = if format!("{:?}", row.content).ends_with("None)") { " deleted" } else { "" };
        let extra = if row.extra.is_empty() { "" } else { " of a later version" };
        format!("{}{deleted}{extra}", crate::wire::checks::variant_name(&row.content))
    };
    let encoded: Vec<(String, Vec<u8>)> =
        rows.iter().map(|row| (name(row), encode_row(row))).collect();
    check_golden("row.txt", encoded.iter().map(|(name, bytes)| (name.clone(), &bytes[..])));
}

#[test]
fn every_row_whole_and_cut() {
    for row in Row::examples() {
        let bytes = encode_row(&row);
        assert_eq!(decode_row(&bytes).as_ref(), Ok(&row));
        for len in 0..bytes.len() {
            assert!(
                decode_row(&bytes[..len]).is_err(),
                "{len} of {} bytes of {row:?}",
                bytes.len()
            );
        }
        assert_eq!(decode_row(&[&bytes[..], &[0]].concat()), Err(WireError::Trailing(1)));
    }
}

/// A value of a known kind that is too short is an error, wherever it ends, but for the empty ones
/// that say that the thing was deleted.
#[test]
fn every_value_cut() {
    for row in Row::examples().into_iter().filter(|row| row.extra.is_empty()) {
        if matches!(row.content, Content::Unknown(..)) {
            continue;
        }
        let bytes = encode_row(&row);
        let at = value_at(&row);
        for len in 1..bytes.len() - at - 4 {
            let mut cut = bytes[..at + 4 + len].to_vec();
            cut[at..at + 4].copy_from_slice(&(len as u32).to_be_bytes());
            let whole = (cut.len() as u32 - 4).to_be_bytes();
            cut[..4].copy_from_slice(&whole);
            assert!(
                matches!(decode_row(&cut), Err(WireError::Truncated { .. })),
                "{len} bytes of {row:?}"
            );
        }
    }
}

#[test]
fn fields_of_later_versions_are_kept() {
    for content in Content::examples() {
        for extra in [&[0][..], &[0xff; 5], &[1; 300]] {
            let row = Row::of(content.clone(), extra);
            let bytes = encode_row(&row);
            assert_eq!(decode_row(&bytes).as_ref(), Ok(&row));
            assert_eq!(encode_row(&decode_row(&bytes).unwrap()), bytes);
        }
    }
}

#[test]
fn a_deleted_thing_has_no_extra_fields() {
    let row = Row { extra: [1, 2].into(), ..Row::of(Content::User(UserId::example(), None), &[]) };
    let read = decode_row(&encode_row(&row)).unwrap();
    assert_eq!((&read.content, read.extra.len()), (&row.content, 0));
}

#[test]
fn rows_of_unknown_kinds_are_kept_byte_for_byte() {
    for kind in 12..=255 {
        for (key, value) in [(&b""[..], &b""[..]), (b"k", b""), (b"key", &[0xff; 100])] {
            let row = Row::of(Content::Unknown(kind, key.into(), value.into()), &[]);
            let bytes = encode_row(&row);
            assert_eq!(bytes[4], kind);
            assert_eq!(decode_row(&bytes).as_ref(), Ok(&row));
            assert_eq!(row.content.key(), decode_key(kind, key).unwrap());
        }
    }
    // As a program wrote it that knows the kind.
    let bytes =
        [&[0, 0, 0, 59, 99, 0, 2, 7, 8][..], &[1; 24], &[2; 24], &[0, 0, 0, 2, 5, 6]].concat();
    assert_eq!(encode_row(&decode_row(&bytes).unwrap()), bytes);
}

#[test]
fn nothing_follows_the_value() {
    let mut bytes = encode_row(&Row::example());
    bytes.push(0);
    let len = (bytes.len() as u32 - 4).to_be_bytes();
    bytes[..4].copy_from_slice(&len);
    assert!(matches!(decode_row(&bytes), Err(WireError::BadValue { what: "row", .. })));
}

#[test]
fn a_row_is_bounded_before_it_is_looked_at() {
    let len = limits::ROW_LEN_MAX as u64 + 1;
    let bytes = [&(len as u32).to_be_bytes()[..], &vec![0; len as usize]].concat();
    let want = WireError::TooLong { what: "row", len, max: limits::ROW_LEN_MAX as u64 };
    assert_eq!(decode_row(&bytes), Err(want.clone()));
    assert_eq!(decode_row(&bytes[..4]), Err(want));
}

#[test]
fn keys_have_one_encoding() {
    for row in Row::examples() {
        let key = row.content.key();
        let bytes = key_bytes(&key);
        assert_eq!(decode_key(kind(&key), &bytes), Ok(key.clone()));
        assert_eq!(
            (kind(&key), u16::from_be_bytes([encode_row(&row)[5], encode_row(&row)[6]])),
            (encode_row(&row)[4], bytes.len() as u16)
        );
        if kind(&key) < 7 {
            assert!(decode_key(kind(&key), &[&bytes[..], &[0]].concat()).is_err());
            assert!(decode_key(kind(&key), &bytes[1..]).is_err());
        }
    }
    for bad in [&b""[..], b"a b", b"\xff", &[b'x'; 301]] {
        assert!(matches!(decode_key(7, bad), Err(WireError::BadValue { what: "setting", .. })));
    }
}

#[test]
fn a_key_of_another_length_spoils_a_row() {
    let mut bytes = encode_row(&Row::example());
    bytes.insert(7, 0);
    bytes[6] += 1;
    let len = (bytes.len() as u32 - 4).to_be_bytes();
    bytes[..4].copy_from_slice(&len);
    assert!(matches!(decode_row(&bytes), Err(WireError::BadValue { what: "key of a row", .. })));
}

proptest! {
    #[test]
    fn rows_round_trip(row in samples::<Row>()) {
        prop_assert_eq!(decode_row(&encode_row(&row)), Ok(row));
    }

    #[test]
    fn keys_are_in_the_order_of_their_bytes(one in samples::<Row>(), other in samples::<Row>()) {
        let (one, other) = (one.content.key(), other.content.key());
        if kind(&one) == kind(&other) {
            prop_assert_eq!(one.cmp(&other), key_bytes(&one).cmp(&key_bytes(&other)));
        }
    }

    #[test]
    fn what_decodes_encodes_to_the_same_bytes(
        row in samples::<Row>(),
        at in any::<prop::sample::Index>(),
        byte: u8,
    ) {
        let mut bytes = encode_row(&row);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(row) = decode_row(&bytes) {
            prop_assert_eq!(encode_row(&row), bytes);
        }
    }

    #[test]
    fn noise_never_panics(bytes: Vec<u8>, kind: u8) {
        let _ = decode_row(&bytes);
        let _ = decode_key(kind, &bytes);
    }
}
