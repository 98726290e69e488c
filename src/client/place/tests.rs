use std::ffi::OsStr;
use std::os::unix::fs::symlink;
use std::path::Component;

use proptest::prelude::*;

use super::*;
use crate::store::OwnPart;
use crate::types::limits::FILE_NAME_LEN_MAX;
use crate::types::{FileFacts, Label, Sha1Digest};

const HASH: InfoHash = InfoHash::from_bytes([1; 20]);

fn entry_of(label: &str, name: &str) -> Option<FileEntry> {
    let facts = FileFacts {
        info_hash: HASH,
        name: name.parse().ok()?,
        len: 1,
        piece_len: 512 << 10,
        sha1: Sha1Digest::from_bytes([2; 20]),
        chain: None,
    };
    let group = crate::types::GroupId::from_bytes([3; 16]);
    let (label, at) = (label.parse().ok()?, Default::default());
    Some(FileEntry { group, label, facts, sharers: Vec::new(), sharer_count: 1, online: 1, at })
}

fn entry() -> FileEntry {
    entry_of("big.bin~2", "big.bin").unwrap()
}

#[test]
fn what_can_only_be_a_directory_is_not_taken_for_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let place = |text: &str| target_path(&dir.path().join(text), &entry(), false).ok();
    assert_eq!(place(""), Some(dir.path().join("big.bin~2")));
    assert_eq!(place("out"), Some(dir.path().join("out")));
    for none in ["out/", "out/.", "out/..", "no/out"] {
        assert_eq!(place(none), None, "{none}");
    }
    std::fs::create_dir(dir.path().join("out")).unwrap();
    for there in ["out", "out/", "out/."] {
        assert_eq!(place(there), Some(dir.path().join("out/big.bin~2")), "{there}");
    }
    std::fs::write(dir.path().join("file"), "x").unwrap();
    assert_eq!((place("file/"), place("file")), (None, Some(dir.path().join("file"))));
    // The directory itself may be a link: the user typed it.
    symlink("out", dir.path().join("link")).unwrap();
    assert_eq!(place("link"), Some(dir.path().join("link/big.bin~2")));
}

#[test]
fn a_part_that_is_not_ours_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("x");
    assert!(check_place(&target, HASH).is_ok());
    let part = dir.path().join("x.part");
    std::fs::write(&part, "").unwrap();
    assert!(check_place(&target, HASH).is_ok(), "what a client leaves that was killed too early");
    std::fs::write(&part, "somebody's").unwrap();
    assert!(check_place(&target, HASH).is_err());
    std::fs::remove_file(&part).unwrap();
    symlink("nowhere", &part).unwrap();
    let error = check_place(&target, HASH).unwrap_err().to_string();
    assert!(error.contains("x.part") && error.contains("symbolic link"), "{error}");
}

#[test]
fn a_part_that_the_download_did_not_make_is_neither_moved_nor_removed() {
    let dir = tempfile::tempdir().unwrap();
    let [target, to] = ["x", "y"].map(|name| dir.path().join(name));
    let [part, moved, kept] = ["x.part", "y.part", "kept"].map(|name| dir.path().join(name));
    std::fs::write(&part, "ours").unwrap();
    let own = OwnPart::File(InodeId::new(&part.symlink_metadata().unwrap()));
    let row = |part| DownloadRow {
        user: crate::types::UserId::from_bytes([1; 16]),
        group: entry().group,
        group_label: "lab".parse().unwrap(),
        label: entry().label,
        facts: entry().facts,
        target: target.clone(),
        progress: crate::store::Progress::Failed("why".into()),
        verified: Some(crate::types::VerifiedPieces::none(1)),
        part,
        begun_ms: 0,
    };
    // Begun, and ended before it had made anything.
    assert!(!move_part(&row(None), &to));
    remove_part(&row(None));
    std::fs::rename(&part, &kept).unwrap();
    std::fs::write(&part, "somebody's").unwrap();
    assert!(!move_part(&row(Some(own)), &to));
    remove_part(&row(Some(own)));
    assert_eq!(std::fs::read(&part).unwrap(), b"somebody's");
    std::fs::rename(&kept, &part).unwrap();
    assert!(move_part(&row(Some(own)), &to) && !part.exists());
    let there = DownloadRow { target: to, ..row(Some(own)) };
    remove_part(&there);
    assert!(!moved.exists());
}

#[test]
fn names_that_turn_text_around_are_straight_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let place = |label: &str, name: &str| {
        target_path(dir.path(), &entry_of(label, name).unwrap(), false).unwrap()
    };
    assert_eq!(place("a\u{202e}gpj.exe", "a"), dir.path().join("a_gpj.exe"));
    // A label that is no file name: the name stands for it.
    for label in ["..", ".", "CON~2", "x. "] {
        if let Some(entry) = entry_of(label, "name") {
            let place = target_path(dir.path(), &entry, false).unwrap();
            assert_eq!(place.parent(), Some(dir.path()), "{label:?}");
        }
    }
    assert_eq!(place("..", "name"), dir.path().join("name"));
}

/// Texts made of what names of this kind are made of, as well as any at all.
fn hostile() -> impl Strategy<Value = String> {
    const PARTS: [&str; 24] = [
        "..",
        ".",
        "/",
        "\\",
        "\0",
        "~2",
        "~",
        "a",
        "CON",
        "nul",
        ".part",
        "\u{202e}",
        "\u{2066}",
        "\u{9b}",
        "\u{1b}[2J",
        "\n",
        " ",
        "-",
        "C:",
        "//",
        "ü",
        "\u{2028}",
        "%2e%2e%2f",
        "\u{ff0f}",
    ];
    let mixed = proptest::collection::vec(prop::sample::select(&PARTS[..]), 1..6)
        .prop_map(|parts| parts.concat());
    let long = (200usize..300, "[a-zü./]").prop_map(|(count, text)| text.repeat(count));
    prop_oneof![mixed, any::<String>(), long]
}

proptest! {
    /// Whatever a name is: either it is none, or it names something in the directory and nowhere
    /// else.
    #[test]
    fn no_name_leads_out_of_the_directory(label in hostile(), name in hostile()) {
        let dir = Path::new("/");
        if let Some(entry) = entry_of(&label, &name).or_else(|| entry_of(&label, "name")) {
            let path = target_path(dir, &entry, false).unwrap();
            let parts: Vec<Component<'_>> = path.components().collect();
            prop_assert!(matches!(parts[..], [Component::RootDir, Component::Normal(_)]), "{path:?}");
            let own = path.file_name().unwrap_or_default();
            prop_assert!(own.len() <= FILE_NAME_LEN_MAX && own != OsStr::new(".."));
            let shown = own.to_str().unwrap();
            let straight = !shown.contains(|c: char| c.is_control() || "\u{202a}\u{202e}\u{2066}\u{2069}".contains(c));
            prop_assert!(straight, "{:?}", shown);
            // The part stands beside it, and its name fits, too.
            let part = part_path(&path, HASH);
            prop_assert_eq!(part.parent(), path.parent());
            prop_assert!(part.file_name().is_some_and(|part| part.len() <= FILE_NAME_LEN_MAX && part != own));
        }
    }

    /// A label is made of a name that was checked and a number; as a path it is checked again.
    #[test]
    fn numbered_labels_stay_names(name in hostile(), ordinal in 1usize..100_000) {
        if let Ok(name) = name.parse::<FileName>() {
            let label = Label::new(name.as_str(), ordinal);
            let mut entry = entry();
            (entry.label, entry.facts.name) = (label, name);
            let path = target_path(Path::new("/"), &entry, false).unwrap();
            prop_assert_eq!(path.components().count(), 2);
        }
    }
}
