//! Names that try to be more than names.

use std::os::unix::ffi::OsStrExt;

use posse::types::Label;
use posse::wire::frame::to_frame;
use posse::wire::tracker::{FromClient, Request};

use crate::harness::{Content, RawClient, World, request_id, sha1_of};

#[test]
fn odd_but_lawful_file_names_travel() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let (mut nik, mut bob) = (world.client("nik"), world.client("bob"));
    nik.login("nik");
    bob.login("bob");
    let long = "l".repeat(255);
    let wide = "ü".repeat(127);
    let names = [
        "two words",
        " leading",
        "-rf",
        "--json",
        "..x",
        ".hidden",
        "a;b",
        "a|b",
        "a,b:c",
        "$HOME",
        "`ls`",
        "a#b",
        "#c",
        "a\"b",
        "it's",
        "a*b?",
        "x~2",
        "a%20b",
        "über.txt",
        "日本語.bin",
        &long,
        &wide,
        "emoji🦀",
        "a=b",
        "(x)",
        "[D] [lab] y",
        "nul-like.nul.x",
    ];
    for (i, name) in names.iter().enumerate() {
        let content = Content::new(name, 100 + i, i as u64);
        world.put("nik", &content);
        nik.ok(&format!("upload_file {} lab", shell_words::quote(&format!("./{name}"))), &[]);
        bob.ok(&format!("download_file lab {}", shell_words::quote(name)), &[]);
    }
    bob.wait_downloads();
    for (i, name) in names.iter().enumerate() {
        assert_eq!(
            sha1_of(&bob.path(name)),
            Content::new(name, 100 + i, i as u64).sha1(),
            "{name:?}"
        );
    }
    let listed = bob.object("list_files lab");
    assert_eq!(listed["files"].as_array().map(Vec::len), Some(names.len()));
}

#[test]
fn unlawful_file_names_are_refused_where_they_are_shared() {
    let world = World::new(1);
    world.group("lab", &["nik"]);
    let mut nik = world.client("nik");
    nik.login("nik");
    for name in [
        "a\nb",
        "a\tb",
        "a\x1b[31mb",
        "back\\slash",
        "CON",
        "nul.txt",
        "trailing.",
        "trailing ",
        "\u{7f}",
    ] {
        std::fs::write(nik.path(name), "x").unwrap();
        // A line break cannot be typed on one line: the file is named through its directory's only
        // entry instead.
        if name.contains('\n') {
            continue;
        }
        nik.refused(&format!("upload_file {} lab", shell_words::quote(name)), "name");
    }
    std::fs::write(nik.home.join(std::ffi::OsStr::from_bytes(b"not\xffutf8")), "x").unwrap();
    nik.process().send_bytes(b"upload_file not\xffutf8 lab\n").unwrap();
    // The line that was no text is an error of its own, before the answer.
    let object = nik.object("whoami");
    assert_eq!(object["ok"], false, "{object}");
    assert_eq!(nik.object_of("whoami")["ok"], true);
    assert_eq!(nik.object("show_uploads")["uploads"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_file_name_that_is_a_path_never_gets_past_the_tracker() {
    let mut world = World::new(1);
    world.group("lab", &["nik"]);
    let mut session = RawClient::enter(world.tracker(1), "nik");
    let group = session.group("lab").group;
    for (lawful, evil) in [
        ("aa_aa_etc_passwd", "../../etc/passwd"),
        ("zz", ".."),
        ("z.bin", "a\0bin"),
        ("z.bin", "a/bin"),
        ("z.bin", "a\nbin"),
    ] {
        let file = Content::new(lawful, 10, 1).facts();
        let request = FromClient {
            number: 99,
            request: Request::ShareFile { request: request_id(), group, file },
        };
        let mut frame = to_frame(&request);
        let at = frame.windows(lawful.len()).position(|w| w == lawful.as_bytes()).unwrap();
        frame[at..at + lawful.len()].copy_from_slice(evil.as_bytes());
        let mut other = RawClient::enter(world.tracker(1), "nik");
        other.send_bytes(&frame).unwrap();
        // Refused or thrown out: never taken.
        let answer = other.receive().map(|frame| format!("{frame:?}")).unwrap_or_default();
        assert!(!answer.contains("Done"), "{evil:?} was taken: {answer}");
    }
    assert!(session.files(group).is_empty());
    assert!(world.trackers[0].process().is_running());
}

#[test]
fn user_and_group_names_with_separators_and_controls_are_refused_everywhere() {
    let world = World::new(1);
    let mut nik = world.client("nik");
    nik.enter("nik");
    for name in ["a b", "a,b", "a\tb", "a/b", "..", "a\x1b[2J", "ünder", "a~2", "", "-x", ".x"] {
        let word = shell_words::quote(name);
        nik.refused(&format!("create_group {word}"), "group name");
    }
    let frame = |name: &str| {
        let request =
            Request::CreateGroup { request: request_id(), name: "zzzzz".parse().unwrap() };
        let mut frame = to_frame(&FromClient { number: 9, request });
        let at = frame.windows(5).position(|w| w == b"zzzzz").unwrap();
        frame[at..at + 5].copy_from_slice(name.as_bytes());
        frame
    };
    for name in ["a\tb c", "../..", "\x1b[2Jx", "a\0\0\0b"] {
        let mut session = RawClient::enter(world.tracker(1), "nik");
        session.send_bytes(&frame(name)).unwrap();
        let answer = session.receive().map(|frame| format!("{frame:?}")).unwrap_or_default();
        assert!(!answer.contains("Done"), "{name:?} was taken: {answer}");
    }
    let mut session = RawClient::enter(world.tracker(1), "nik");
    assert_eq!(session.group_names(), Vec::<String>::new());
    // A label may hold more than a name, and stands for nothing here.
    let group: Label = "no such group".parse().unwrap();
    let reply = session.ask(Request::Resolve { group, user: None, file: None }).unwrap();
    assert!(format!("{reply:?}").contains("NoSuchGroup"), "{reply:?}");
}

#[test]
fn a_file_is_saved_under_a_name_that_every_file_system_takes_if_one_asks_for_it() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("what: 1*2?.tar.gz", 1000, 303);
    world.put("nik", &content);
    let mut nik = world.client("nik");
    nik.login("nik");
    nik.ok("upload_file 'what: 1*2?.tar.gz' lab", &[]);
    let mut bob = world.client("bob");
    bob.login("bob");
    bob.ok("download_file lab 'what: 1*2?.tar.gz' --rename-safe", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("what_ 1_2_.tar.gz")), content.sha1());
    // A name that the user gives stays.
    bob.ok("download_file lab 'what: 1*2?.tar.gz' my:name --rename-safe", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("my:name")), content.sha1());
}
