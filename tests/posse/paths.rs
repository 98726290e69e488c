//! The file system's edge: links and pipes where a download is to be, another file where a shared
//! one was, and names made to mislead.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

use crate::harness::{ClientProcess, Content, RawClient, World, eventually, sha1_of};

/// A group of nik, who shares `a.bin`, and bob.
struct Lab {
    nik: ClientProcess,
    bob: ClientProcess,
    content: Content,
    world: World,
}

impl Lab {
    fn new(seed: u64) -> Self {
        let world = World::new(1);
        world.group("lab", &["nik", "bob"]);
        let content = Content::new("a.bin", 900_000, seed);
        world.put("nik", &content);
        let (mut nik, mut bob) = (world.client("nik"), world.client("bob"));
        nik.login("nik");
        nik.ok("upload_file a.bin lab", &[]);
        bob.login("bob");
        Self { nik, bob, content, world }
    }

    /// Waits until nik is told that the file is not offered.
    #[track_caller]
    fn wait_not_offered(&mut self) {
        self.nik.process().wait_out("that it is not offered", |line| {
            let object: Value = serde_json::from_str(line).unwrap();
            (object["event"] == "share_not_offered" && object["file"] == "a.bin").then_some(())
        });
        assert_eq!(self.nik.object("show_uploads")["uploads"].as_array().map(Vec::len), Some(0));
    }

    /// Bob asks for the file, and gets nothing of it while nik offers nothing.
    #[track_caller]
    fn check_not_served(&mut self) {
        self.bob.ok("download_file lab a.bin", &[]);
        self.wait_not_offered();
        self.bob.refused("wait 1", "");
        assert_eq!(
            self.bob.bytes_done("a.bin"),
            0,
            "something else than the shared file was served"
        );
        assert!(!self.bob.path("a.bin").exists());
    }
}

fn make_pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from(0o600), 0).unwrap();
}

/// Puts a copy of the file in its place by a rename: the same bytes, length and time, but another
/// file.
fn swap(path: &Path) {
    let (facts, other) = (path.metadata().unwrap(), path.with_extension("other"));
    std::fs::copy(path, &other).unwrap();
    std::fs::File::options()
        .write(true)
        .open(&other)
        .unwrap()
        .set_modified(facts.modified().unwrap())
        .unwrap();
    std::fs::rename(&other, path).unwrap();
    let now = path.metadata().unwrap();
    assert_eq!(
        (now.len(), now.mtime(), now.mtime_nsec()),
        (facts.len(), facts.mtime(), facts.mtime_nsec())
    );
    assert_ne!(now.ino(), facts.ino());
}

#[test]
fn what_stands_where_a_download_is_to_be_is_refused_and_not_followed() {
    let mut lab = Lab::new(301);
    let bob = &mut lab.bob;
    let victim = bob.path("victim");
    std::fs::write(&victim, "keep me").unwrap();
    for name in ["a.bin.part", "a.bin"] {
        let place = bob.path(name);
        for target in ["victim", "dangling"] {
            symlink(target, &place).unwrap();
            bob.refused("download_file lab a.bin", "symbolic link");
            std::fs::remove_file(&place).unwrap();
        }
        // Nobody holds the other end of the pipe: whoever opened it without care would wait for
        // ever.
        make_pipe(&place);
        bob.refused("download_file lab a.bin", "named pipe");
        std::fs::remove_file(&place).unwrap();
        std::fs::create_dir(&place).unwrap();
        bob.refused("download_file lab a.bin", "is a directory");
        std::fs::remove_dir(&place).unwrap();
    }
    assert_eq!(std::fs::read(&victim).unwrap(), b"keep me");
    assert!(!bob.path("dangling").exists());
    // The directory may be a link: the user typed it.
    std::fs::create_dir(bob.path("real")).unwrap();
    symlink("real", bob.path("out")).unwrap();
    bob.ok("download_file lab a.bin out", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("real/a.bin")), lab.content.sha1());
}

#[test]
fn what_takes_the_place_of_a_part_meanwhile_is_not_written_through() {
    let mut world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("a.bin", 4 << 20, 302);
    world.put("nik", &content);
    let (mut nik, gate) = world.gated("nik");
    let mut bob = world.client("bob");
    nik.login("nik");
    nik.ok("upload_file a.bin lab", &[]);
    bob.login("bob");
    gate.allow(1 << 20);
    bob.ok("download_file lab a.bin", &[]);
    eventually("something is there", || (bob.bytes_done("a.bin") >= 512 << 10).then_some(()));
    let (part, kept, victim) = (bob.path("a.bin.part"), bob.path("kept"), bob.path("victim"));
    std::fs::write(&victim, "keep me").unwrap();
    bob.ok("pause_download lab a.bin", &[]);
    bob.ok("logout", &[]);
    std::fs::rename(&part, &kept).unwrap();
    let theirs = vec![b'x'; 5 << 20];
    for (name, says) in [
        ("link", "symbolic link"),
        ("pipe", "named pipe"),
        ("file", "was not begun by this device"),
    ] {
        match name {
            "link" => symlink(&victim, &part).unwrap(),
            "pipe" => make_pipe(&part),
            _ => std::fs::write(&part, &theirs).unwrap(),
        }
        bob.login("bob");
        bob.object("resume_download lab a.bin");
        let failed = eventually("it has failed", || {
            Some(bob.download("a.bin")).filter(|d| d["state"] == "failed")
        });
        let reason = failed["reason"].as_str().unwrap();
        assert!(reason.contains(says), "{reason}");
        bob.ok("logout", &[]);
        if name == "file" {
            assert!(
                std::fs::read(&part).unwrap() == theirs,
                "somebody's file was cut or written to"
            );
        }
        std::fs::remove_file(&part).unwrap();
    }
    assert_eq!(std::fs::read(&victim).unwrap(), b"keep me");
    // With its own data back in place it goes on.
    std::fs::rename(&kept, &part).unwrap();
    gate.lift();
    bob.login("bob");
    bob.ok("resume_download lab a.bin", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("a.bin")), content.sha1());
}

#[test]
fn another_file_of_the_same_length_and_time_is_not_served() {
    let mut lab = Lab::new(303);
    let path = lab.nik.path("a.bin");
    swap(&path);
    lab.check_not_served();
    // Shared again it is the shared file, and the same content.
    lab.nik.ok("upload_file a.bin lab", &[]);
    lab.bob.wait_downloads();
    assert_eq!(sha1_of(&lab.bob.path("a.bin")), lab.content.sha1());
}

#[test]
fn another_file_put_there_between_two_sessions_is_not_offered() {
    let mut lab = Lab::new(304);
    lab.nik.process().kill9();
    swap(&lab.nik.path("a.bin"));
    lab.nik = lab.world.client("nik");
    lab.nik.login("nik");
    lab.check_not_served();
}

#[test]
fn a_link_put_in_the_place_of_a_shared_file_is_not_followed() {
    let mut lab = Lab::new(305);
    let (path, moved) = (lab.nik.path("a.bin"), lab.nik.path("moved"));
    std::fs::rename(&path, &moved).unwrap();
    symlink(&moved, &path).unwrap();
    lab.check_not_served();
    // The same after a restart: the share is of the file at that path, and there is none.
    lab.nik.process().kill9();
    lab.nik = lab.world.client("nik");
    lab.nik.login("nik");
    lab.wait_not_offered();
}

#[test]
fn a_link_that_the_user_shares_is_followed_once() {
    let mut lab = Lab::new(306);
    let nik = &mut lab.nik;
    let content = Content::new("real.bin", 700_000, 307);
    lab.world.put("nik", &content);
    symlink("real.bin", nik.path("alias.bin")).unwrap();
    nik.ok("upload_file alias.bin lab", &[]);
    // Wherever it leads from now on: what was shared is what it led to.
    std::fs::write(nik.path("secret"), "nobody's business").unwrap();
    std::fs::remove_file(nik.path("alias.bin")).unwrap();
    symlink("secret", nik.path("alias.bin")).unwrap();
    nik.process().kill9();
    lab.nik = lab.world.client("nik");
    lab.nik.login("nik");
    lab.bob.ok("download_file lab alias.bin", &[]);
    lab.bob.wait_downloads();
    assert_eq!(sha1_of(&lab.bob.path("alias.bin")), content.sha1());
    symlink("nowhere", lab.nik.path("dangling")).unwrap();
    lab.nik.refused("upload_file dangling lab", "no such file");
    make_pipe(&lab.nik.path("pipe"));
    lab.nik.refused("upload_file pipe lab", "not a plain file");
}

#[test]
fn names_that_mislead_are_not_shared_and_never_shown_or_written_as_they_are() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let mut nik = world.client("nik");
    nik.login("nik");
    let name = "a\u{202e}gpj.exe";
    world.put("nik", &Content::new(name, 10, 308));
    nik.refused(&format!("upload_file {name} lab"), "turn text around");
    // Another program shares it all the same, and one with a control character of the 8-bit kind.
    let mut evil = RawClient::enter(world.tracker(1), "nik");
    let group = evil.group("lab").group;
    evil.share(group, Content::new(name, 10, 308).facts());
    let mut bob = world.client("bob");
    bob.login("bob");
    assert_eq!(bob.object("list_files lab")["files"][0]["file"], name);
    let begun = bob.object(&format!("download_file lab {name}"));
    assert_eq!(begun["path"].as_str(), bob.path("a_gpj.exe").to_str());
    bob.object("show_downloads");
    bob.refused("wait 1", "");
    bob.object(&format!("cancel_download lab {name}"));
    let mut plain = world.plain("bob2");
    plain.ok("login bob pw-bob", &["logged in as bob"]);
    plain.ok("list_files lab", &["a\\u{202e}gpj.exe*"]);
    for process in [bob.process(), plain.process()] {
        let said = process.said();
        let shown = said.out.iter().chain(&said.err).find(|line| line.contains('\u{202e}'));
        assert_eq!(shown, None, "it was shown as it is");
    }
    assert!(!bob.path(name).exists() && !bob.path(&format!("{name}.part")).exists());
}

#[test]
fn what_a_client_keeps_is_its_users_alone_and_what_it_fetches_is_as_the_user_wants() {
    let mut lab = Lab::new(309);
    lab.bob.ok("download_file lab a.bin", &[]);
    lab.bob.wait_downloads();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let usual = lab.bob.path("usual");
    std::fs::write(&usual, "").unwrap();
    assert_eq!(
        mode(&lab.bob.path("a.bin")),
        mode(&usual),
        "a download has the rights of any new file"
    );
    let mut private = vec![lab.nik.path(".posse"), lab.bob.path(".posse")];
    private.push(lab.world.path().join("tracker1"));
    for directory in private {
        assert_eq!(mode(&directory), 0o700, "{}", directory.display());
        for entry in std::fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            assert_eq!(mode(&entry.path()), 0o600, "{}", entry.path().display());
        }
    }
}
