//! Debian's `transmission-remote` steers a client by the RPC of its page.

use std::process::Command;

use rustix::process::Signal;

use crate::harness::{Content, PATIENCE, World, eventually, sha1_of};

/// Runs `transmission-remote` and returns what it prints; `None` where it is not installed, which CI
/// takes for a failure.
fn remote(host: &str, token: &str, words: &[&str]) -> Option<String> {
    let mut command = Command::new("transmission-remote");
    command.arg(host).args(["-n", &format!("posse:{token}")]).args(words);
    match command.output() {
        Ok(done) => {
            let (out, err) = (done.stdout, done.stderr);
            Some(String::from_utf8_lossy(&[out, err].concat()).into_owned())
        }
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "transmission-remote: {error}");
            eprintln!("transmission-remote is not installed: it is not tested");
            None
        }
    }
}

#[test]
fn transmission_remote_lists_adds_stops_limits_and_removes_a_download() {
    let mut world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("big file.bin", 16 << 20, 77);
    world.put("nik", &content);
    let (mut nik, gate) = world.gated("nik");
    nik.login("nik");
    nik.ok("upload_file 'big file.bin' lab", &[]);
    let home = world.home("bob");
    let directory = home.to_str().unwrap().to_owned();
    let service = world.spawn(
        "bob",
        &["--service", "--json", "--page", "127.0.0.1:0", "--page-directory", &directory],
    );
    let host = service.wait_out("where its page is", |line| {
        let event: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(event["page"].as_str()?.strip_prefix("http://")?.trim_end_matches('/').to_owned())
    });
    let mut bob = world.client("bob");
    bob.login("bob");
    let mut token = |name: &str, rights: &str| {
        let made = bob.object(&format!("create_token {name} --rights {rights}"));
        made["token"].as_str().unwrap().to_owned()
    };
    let (manage, read) = (token("manage", "manage"), token("read", "read"));
    gate.allow(4 << 20);
    let Some(added) = remote(&host, &manage, &["-a", "posse:lab/big file.bin", "-w", &directory])
    else {
        return;
    };
    assert!(added.contains("success"), "{added}");
    let ask = |words: &[&str]| remote(&host, &manage, words).unwrap();
    let does = |words: &[&str]| {
        let said = ask(words);
        assert!(said.contains("success"), "{words:?}: {said}");
    };
    let is_listed = |words: &[&str]| {
        eventually(&format!("it is listed as {words:?}"), || {
            let list = ask(&["-l"]);
            let line = list.lines().find(|line| line.contains("big file.bin"))?;
            let is_so = words.iter().any(|word| line.contains(word));
            (is_so && line.trim_start().starts_with('1')).then_some(())
        });
    };
    // While nothing comes through the gate.
    let running = ["Downloading", "Idle"];
    is_listed(&running);
    does(&["-t", "1", "-d", "500"]);
    assert_eq!(bob.download("big file.bin")["limit"], 500_000);
    for (words, want) in
        [(["-t", "1", "-i"], "Name: big file.bin"), (["-t", "1", "-f"], "big file.bin (1 files)")]
    {
        let said = ask(&words);
        assert!(said.contains(want), "{said}");
    }
    eventually("a peer is listed", || ask(&["-t", "1", "-ip"]).contains("Posse").then_some(()));
    let info = ask(&["-t", "1", "-i"]);
    assert!(info.contains(&format!("Location: {directory}")), "{info}");
    assert!(info.contains("Download Limit: 500 kB/s"), "{info}");
    does(&["-t", "1", "-D"]);
    does(&["-t", "1", "-S"]);
    is_listed(&["Stopped"]);
    assert_eq!(bob.download("big file.bin")["state"], "paused");
    does(&["-t", "1", "-s"]);
    is_listed(&running);
    does(&["-d", "9000"]);
    assert_eq!(bob.object("limits")["download"], 9_000_000);
    does(&["-D"]);
    let session = ask(&["-si"]);
    assert!(session.contains("(Posse "), "{session}");
    // A token that may look.
    let list = remote(&host, &read, &["-l"]).unwrap();
    assert!(list.contains("big file.bin"), "{list}");
    let stopped = remote(&host, &read, &["-t", "1", "-S"]).unwrap();
    assert!(stopped.contains("may look and change nothing"), "{stopped}");
    let refused = remote(&host, "wrong", &["-l"]).unwrap();
    assert!(refused.contains("401") || refused.contains("token"), "{refused}");
    // What is unfinished goes with its data, and comes again.
    does(&["-t", "1", "-rad"]);
    let rest = || {
        std::fs::read_dir(&home).unwrap().filter(|entry| {
            entry.as_ref().unwrap().file_name().to_string_lossy().contains("big file")
        })
    };
    eventually("the part is gone", || (rest().count() == 0).then_some(()));
    gate.lift();
    does(&["-a", "lab/big file.bin", "-w", &directory]);
    is_listed(&["100%"]);
    let target = home.join("big file.bin");
    eventually("the file is there", || target.is_file().then_some(()));
    // What is complete stays.
    let said = ask(&["-t", "1", "-rad"]);
    assert!(said.contains("Posse deletes no complete file"), "{said}");
    does(&["-t", "1", "-r"]);
    assert!(!ask(&["-l"]).contains("big file.bin"));
    assert_eq!(sha1_of(&target), content.sha1());
    service.signal(Signal::TERM);
    assert_eq!(service.finish(PATIENCE).status, Some(0));
}
