//! Many small files at once, which share their waits for the disk: what was said of each holds all
//! the same.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::{Content, PATIENCE, World, sha1_of};

const FILES: usize = 200;

/// The files of the answers and events that `is` accepts.
fn files(out: &[String], is: impl Fn(&Value) -> bool) -> BTreeSet<String> {
    let objects = out.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    objects.filter(is).filter_map(|object| object["file"].as_str().map(str::to_owned)).collect()
}

fn is_answered(object: &Value) -> bool {
    object["command"] == "download_file" && object["ok"] == true
}

fn is_complete(object: &Value) -> bool {
    object["event"] == "download_complete"
}

#[test]
fn what_was_said_of_hundreds_of_downloads_holds_after_kill_9() {
    let world = World::new(2);
    world.group("lab", &["nik", "bob"]);
    let contents: Vec<Content> = (0..FILES)
        .map(|number| Content::new(&format!("f{number}"), 20_000 + number, number as u64 + 1))
        .collect();
    let mut nik = world.client("nik");
    nik.login("nik");
    for content in &contents {
        let path = world.put("nik", content);
        nik.ok(&format!("upload_file {} lab", path.display()), &[]);
    }
    let mut bob = world.client("bob");
    bob.login("bob");
    contents
        .iter()
        .for_each(|content| bob.process().send(&format!("download_file lab {}", content.name)));
    let some = bob.process().wait_said(PATIENCE, |said| {
        (files(&said.out, is_complete).len() >= FILES / 4).then_some(())
    });
    some.expect("a quarter is complete");
    bob.process().kill9();
    bob.process().wait_said(PATIENCE, |said| said.is_over().then_some(()));
    let out = bob.process().said().out;
    let (answered, complete) = (files(&out, is_answered), files(&out, is_complete));
    for (at, line) in out.iter().enumerate().filter(|(_, line)| line.contains("download_complete"))
    {
        let told = files(std::slice::from_ref(line), is_complete);
        assert!(
            told.is_subset(&files(&out[..at], is_answered)),
            "told before the command was answered: {line}"
        );
    }
    assert!(complete.len() >= FILES / 4);
    for content in contents.iter().filter(|content| complete.contains(&content.name)) {
        assert_eq!(
            sha1_of(&bob.path(&content.name)),
            content.sha1(),
            "{} was called complete",
            content.name
        );
    }
    let mut bob = world.client("bob");
    bob.login("bob");
    let all = bob.object("show_downloads");
    let known: BTreeSet<String> = all["downloads"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|d| d["file"].as_str().map(str::to_owned))
        .collect();
    assert!(
        answered.is_subset(&known),
        "forgotten: {:?}",
        answered.difference(&known).collect::<Vec<_>>()
    );
    bob.wait_downloads();
    for content in contents.iter().filter(|content| answered.contains(&content.name)) {
        assert_eq!(sha1_of(&bob.path(&content.name)), content.sha1(), "{}", content.name);
    }
    // Each is offered on, and the directory knows.
    let uploads = bob.object("show_uploads");
    let offered = uploads["uploads"].as_array().unwrap().len();
    assert!(offered >= answered.len(), "{offered} of {} are offered", answered.len());
    bob.finish();
}
