use super::*;
use crate::trust::KeyPair;

/// A root with these directories, each of which holds data; those with an owner remember it.
fn root(dirs: &[(&str, Option<&str>)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let network = KeyPair::generate().unwrap().fingerprint();
    for (name, owner) in dirs {
        let dir = root.path().join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("tracker.sqlite"), name).unwrap();
        if let Some(owner) = owner {
            remember(&dir, &owner.parse().unwrap(), network).unwrap();
        }
    }
    root
}

/// The directory chosen for a line, and what its database holds.
fn chosen(
    root: &tempfile::TempDir,
    lines: &str,
    number: u32,
) -> Result<(String, Option<String>), String> {
    chosen_with(root, lines, number, false, false)
}

fn chosen_with(
    root: &tempfile::TempDir,
    lines: &str,
    number: u32,
    start_empty: bool,
    can_ask: bool,
) -> Result<(String, Option<String>), String> {
    let info = TrackerInfo::parse(lines).unwrap();
    let path =
        choose(root.path(), &info, number, start_empty, || can_ask).map_err(|e| e.to_string())?;
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    Ok((name, fs::read_to_string(path.join("tracker.sqlite")).ok()))
}

fn found(name: &str, data: &str) -> Result<(String, Option<String>), String> {
    Ok((name.to_owned(), Some(data.to_owned())))
}

fn empty(name: &str) -> Result<(String, Option<String>), String> {
    Ok((name.to_owned(), None))
}

#[test]
fn the_first_start_makes_a_directory_named_by_the_address() {
    let root = root(&[]);
    assert_eq!(chosen(&root, "Example.org:5000\nb:2", 1), empty("tracker-example.org-5000"));
    assert_eq!(chosen(&root, "a:1\n[fe80::1%eth0]:5000", 2), empty("tracker-fe80__1_eth0-5000"));
    let absent = root.path().join("absent");
    let info = TrackerInfo::parse("a:1").unwrap();
    assert_eq!(
        choose(&absent, &info, 1, false, || panic!("no need to ask")).unwrap(),
        absent.join("tracker-a-1")
    );
    assert!(!absent.exists());
    let long = format!("{}:5000", "a".repeat(250));
    assert!(chosen(&root, &long, 1).unwrap().0.len() < 255);
}

#[test]
fn lines_that_move_change_nothing() {
    let root = root(&[("tracker-a-1", Some("a:1")), ("tracker-b-2", Some("b:2"))]);
    for (lines, number) in
        [("a:1\nb:2", 1), ("b:2\na:1", 2), ("a:1", 1), ("c:3\nd:4\na:1\nb:2", 3), ("# x\nA 1", 1)]
    {
        assert_eq!(chosen(&root, lines, number), found("tracker-a-1", "tracker-a-1"), "{lines}");
    }
    assert_eq!(chosen(&root, "b:2\na:1", 1), found("tracker-b-2", "tracker-b-2"));
}

#[test]
fn a_directory_is_known_by_what_it_remembers_whatever_its_name() {
    let root = root(&[("tracker-1-5000", Some("a:1"))]);
    assert_eq!(chosen(&root, "b:2\na:1", 2), found("tracker-1-5000", "tracker-1-5000"));
    // Written by hand, or half: it does not count.
    fs::write(root.path().join("tracker-1-5000/tracker.txt"), "what?").unwrap();
    assert_eq!(chosen(&root, "b:2\na:5000", 2), found("tracker-a-5000", "tracker-1-5000"));
}

#[test]
fn a_directory_of_an_earlier_version_is_renamed() {
    // The only one.
    let one = root(&[("tracker-1-5000", None)]);
    assert_eq!(chosen(&one, "b:2\na:5000", 2), found("tracker-a-5000", "tracker-1-5000"));
    assert_eq!(chosen(&one, "a:5000", 1), found("tracker-a-5000", "tracker-1-5000"));
    let moved = root(&[("tracker-1-5000", None)]);
    assert_eq!(chosen(&moved, "a:6000", 1), found("tracker-a-6000", "tracker-1-5000"));
    // Two trackers of one machine, as in the quick start, and their lines swapped.
    let two = root(&[("tracker-1-5000", None), ("tracker-2-7000", None)]);
    assert_eq!(chosen(&two, "a:7000\na:5000", 1), found("tracker-a-7000", "tracker-2-7000"));
    assert_eq!(chosen(&two, "a:7000\na:5000", 2), found("tracker-a-5000", "tracker-1-5000"));
    // The only one there is belongs to another line.
    let other = root(&[("tracker-1-5000", None)]);
    assert_eq!(chosen(&other, "a:5000\na:7000", 2), empty("tracker-a-7000"));
    // Something is in the way: it stays where it is.
    let blocked = root(&[("tracker-1-5000", None)]);
    fs::create_dir(blocked.path().join("tracker-a-5000")).unwrap();
    fs::write(blocked.path().join("tracker-a-5000/notes"), "keep").unwrap();
    assert_eq!(chosen(&blocked, "a:5000", 1), found("tracker-1-5000", "tracker-1-5000"));
}

#[test]
fn several_directories_of_earlier_versions_are_listed() {
    for lines in ["a:5000", "a:6000"] {
        let root = root(&[("tracker-1-5000", None), ("tracker-2-5000", None)]);
        let why = chosen(&root, lines, 1).unwrap_err();
        assert!(
            ["tracker-1-5000", "tracker-2-5000", "--data-dir"]
                .iter()
                .all(|word| why.contains(word)),
            "{why}"
        );
        assert!(
            root.path().join("tracker-1-5000").exists()
                && root.path().join("tracker-2-5000").exists()
        );
    }
}

#[test]
fn one_in_use_is_not_renamed() {
    let root = root(&[("tracker-1-5000", None)]);
    let _lock = DirectoryLock::take(&root.path().join("tracker-1-5000")).unwrap();
    let why = chosen(&root, "a:5000", 1).unwrap_err();
    assert!(why.contains("in use") && why.contains("--data-dir"), "{why}");
    assert!(root.path().join("tracker-1-5000").exists());
}

#[test]
fn an_empty_start_beside_other_data_is_refused_unless_somebody_can_be_asked() {
    let root = root(&[("tracker-a-1", Some("a:1")), ("tracker-b-2", Some("b:2"))]);
    // The machine has a new address.
    let why = chosen(&root, "x:1\nb:2", 1).unwrap_err();
    assert!(
        ["tracker-a-1", "a:1", "--data-dir", "--new"].iter().all(|word| why.contains(word)),
        "{why}"
    );
    assert!(!why.contains("tracker-b-2"), "that of another line is none of ours: {why}");
    assert_eq!(chosen_with(&root, "x:1\nb:2", 1, false, true), empty("tracker-x-1"));
    assert_eq!(chosen_with(&root, "x:1\nb:2", 1, true, false), empty("tracker-x-1"));
    // Once it has data the option does no harm.
    assert_eq!(chosen_with(&root, "a:1", 1, true, false), found("tracker-a-1", "tracker-a-1"));
    // Other lines' data is no reason: two trackers of one machine.
    assert_eq!(chosen(&root, "a:1\nb:2\nc:3", 3), empty("tracker-c-3"));
}

#[test]
fn a_directory_of_another_tracker_is_not_taken() {
    let root = root(&[("tracker-a-1", Some("b:2"))]);
    let why = chosen(&root, "a:1", 1).unwrap_err();
    assert!(why.contains("is the data directory of the tracker b:2, not of a:1"), "{why}");
}

#[test]
fn what_is_remembered_follows_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let network = KeyPair::generate().unwrap().fingerprint();
    for text in ["a:1", "[fe80::1%eth0]:5000", "[fe80::1%eth0]:5000"] {
        let address: TrackerAddress = text.parse().unwrap();
        remember(dir.path(), &address, network).unwrap();
        let info = owner_of(dir.path()).unwrap();
        assert_eq!((info.get(1), info.fingerprint()), (Some(&address), Some(network)));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
