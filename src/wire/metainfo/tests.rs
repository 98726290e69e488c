use proptest::prelude::*;

use super::*;
use crate::wire::checks::check_golden;
use crate::wire::samples::{Sample, samples};

/// An info dictionary written by hand, with one part of its text exchanged for another.
fn exchanged(from: &str, to: &str) -> Vec<u8> {
    let text = "d6:lengthi5e4:name5:a.txt12:piece lengthi524288e6:pieces20:xxxxxxxxxxxxxxxxxxxx7:privatei1ee";
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1).into_bytes()
}

#[test]
fn golden_bytes() {
    let metainfo = Metainfo::example();
    let (bytes, hash) = (metainfo.to_bytes(), metainfo.info_hash());
    let messages =
        [("InfoDictionary".to_owned(), &bytes[..]), ("InfoHash".to_owned(), &hash.as_bytes()[..])];
    check_golden("metainfo.txt", messages);
}

/// The dictionary written by hand, its SHA-1 taken with another program.
#[test]
fn an_info_dictionary_as_bep_3_lays_it_out() {
    let bytes = exchanged("", "");
    let metainfo = Metainfo::from_bytes(&bytes).unwrap();
    assert_eq!(
        (metainfo.name().as_str(), metainfo.geometry().len(), metainfo.pieces().len()),
        ("a.txt", 5, 1)
    );
    assert_eq!(
        metainfo.piece_hash(metainfo.geometry().index(0).unwrap()).as_bytes(),
        b"xxxxxxxxxxxxxxxxxxxx"
    );
    assert_eq!(metainfo.to_bytes(), bytes);
    assert_eq!(metainfo.info_hash().to_string(), "3ef1859f660495f1a659e3cbba9d0f8e69561988");
}

#[test]
fn empty_and_whole_piece_files() {
    let name: FileName = "x".parse().unwrap();
    let empty = Metainfo::new(name.clone(), Geometry::for_file(0).unwrap(), vec![]).unwrap();
    assert_eq!(
        empty.to_bytes(),
        b"d6:lengthi0e4:name1:x12:piece lengthi524288e6:pieces0:7:privatei1ee"
    );
    assert_eq!(Metainfo::from_bytes(&empty.to_bytes()), Ok(empty));
    let one = Geometry::for_file(524_288).unwrap();
    assert!(Metainfo::new(name.clone(), one, vec![]).is_err());
    assert!(Metainfo::new(name.clone(), one, vec![Sample::example(); 2]).is_err());
    assert!(Metainfo::new(name, one, vec![Sample::example()]).is_ok());
}

#[test]
fn the_largest_file_there_is_fits_the_limit() {
    let geometry =
        Geometry::for_file(limits::PIECE_COUNT_MAX * u64::from(limits::PIECE_LEN)).unwrap();
    let pieces = vec![Sha1Digest::example(); limits::PIECE_COUNT_MAX as usize];
    let metainfo = Metainfo::new(FileName::example(), geometry, pieces).unwrap();
    let bytes = metainfo.to_bytes();
    assert!(bytes.len() < limits::INFO_DICTIONARY_LEN_MAX);
    assert_eq!(Metainfo::from_bytes(&bytes), Ok(metainfo));
}

#[test]
fn every_cut_is_refused() {
    let bytes = Metainfo::example().to_bytes();
    (0..bytes.len()).for_each(|len| assert!(Metainfo::from_bytes(&bytes[..len]).is_err()));
    assert_eq!(Metainfo::from_bytes(&[&bytes[..], b"x"].concat()), Err(WireError::Trailing(1)));
    assert!(
        Metainfo::from_bytes(&vec![b'd'; limits::INFO_DICTIONARY_LEN_MAX + 1])
            .is_err_and(|e| matches!(e, WireError::TooLong { .. }))
    );
}

#[test]
fn whatever_is_not_the_canonical_form_of_one_private_file_is_refused() {
    for (from, to) in [
        ("i5e", "i05e"),
        ("i5e", "i-5e"),
        ("i5e", "i-0e"),
        ("i5e", "i+5e"),
        ("i5e", "ie"),
        ("i5e", "i99999999999999999999e"),
        ("i5e", "i1099511627777e"),
        ("i5e", "i524289e"),
        ("i5e", "1:5"),
        ("5:a.txt", "05:a.txt"),
        ("5:a.txt", "6:a.txt"),
        ("5:a.txt", "99999999999999999999:a.txt"),
        ("5:a.txt", "-5:a.txt"),
        ("5:a.txt", "5:../xx"),
        ("5:a.txt", "5:a/txt"),
        ("5:a.txt", "0:"),
        ("5:a.txt", "i5e"),
        ("i524288e", "i0e"),
        ("i524288e", "i524287e"),
        ("i524288e", "i8192e"),
        ("i524288e", "i134217728e"),
        ("i524288e", "i4295491584e"),
        ("20:xxxxxxxxxxxxxxxxxxxx", "19:xxxxxxxxxxxxxxxxxxx"),
        ("20:xxxxxxxxxxxxxxxxxxxx", "0:"),
        ("20:xxxxxxxxxxxxxxxxxxxx", "40:xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
        ("20:xxxxxxxxxxxxxxxxxxxx", "l20:xxxxxxxxxxxxxxxxxxxxe"),
        ("7:privatei1e", ""),
        ("7:privatei1e", "7:privatei0e"),
        ("7:privatei1e", "7:privatei2e"),
        ("7:privatei1e", "7:privatei1e7:privatei1e"),
        ("7:privatei1e", "7:privatei1e6:source1:x"),
        ("7:privatei1e", "7:privatei1e1:z1:x"),
        ("6:lengthi5e", ""),
        ("6:lengthi5e", "5:filesld6:lengthi5e4:pathl1:aeee"),
        ("6:lengthi5e", "4:name5:a.txt6:lengthi5e"),
        ("4:name5:a.txt", ""),
        ("d6:", "i1ed6:"),
        ("d6:", "ld6:"),
    ] {
        let bytes = exchanged(from, to);
        assert!(Metainfo::from_bytes(&bytes).is_err(), "{}", bytes.escape_ascii());
    }
    let mut bad_name = exchanged("", "");
    let at = bad_name.windows(5).position(|w| w == b"a.txt").unwrap();
    bad_name[at] = 0xff;
    assert!(Metainfo::from_bytes(&bad_name).is_err());
}

#[test]
fn nesting_costs_neither_stack_nor_memory() {
    for deep in [
        vec![b'l'; 1 << 20],
        vec![b'd'; 1 << 20],
        b"d1:a".repeat(1 << 18),
        [&b"d1:a"[..], &vec![b'l'; 1 << 20]].concat(),
    ] {
        let mut result = Ok(Metainfo::example());
        let held = allocation_counter::measure(|| result = Metainfo::from_bytes(&deep)).bytes_max;
        assert!(result.is_err());
        assert!(held < 1 << 20, "{held} bytes were held");
    }
}

proptest! {
    #[test]
    fn info_dictionaries_round_trip(metainfo in samples::<Metainfo>()) {
        let bytes = metainfo.to_bytes();
        prop_assert_eq!(Metainfo::from_bytes(&bytes), Ok(metainfo));
    }

    #[test]
    fn what_decodes_encodes_to_the_same_bytes(metainfo in samples::<Metainfo>(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = metainfo.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(other) = Metainfo::from_bytes(&bytes) {
            prop_assert_eq!(other.to_bytes(), bytes);
        }
    }

    #[test]
    fn noise_never_panics(bytes: Vec<u8>) {
        let _ = Metainfo::from_bytes(&bytes);
    }
}
